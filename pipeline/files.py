"""What a FILE on the command line names: a file, one in an archive, standard input, a pipe, an address.

Addresses may hold passwords and signatures: what is told or kept of one goes through `redacted`.
"""

from __future__ import annotations

import glob
import ipaddress
import os
import re
import stat
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

from pipeline.model import InputError, UserError
from pipeline.words import plain

STDIN = "-"

_OPEN_FILES = ("/dev/fd/", "/proc/self/fd/")  # where a shell puts <(…)
_STDIN_PATHS = {STDIN, "/dev/stdin", *(f"{folder}0" for folder in _OPEN_FILES)}
_ARCHIVE = re.compile(r"(.*?\.zip(?:\?[^#]*)?)#(.+)", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class GivenFile:
    """One list, as its user names it. `member` is the file meant, where it is an archive.

    What comes once (standard input, a pipe, an address) has to be kept until it isn't needed any more.
    """

    place: str = field(repr=False)  # "-", a path, or an address with whatever secrets it has
    member: str | None = None
    comes_once: bool = False

    @property
    def name(self) -> str:
        """What the list is called in reports."""
        return plain(self._last + (f"#{self.member}" if self.member else ""))

    @property
    def _last(self) -> str:
        """The last part of the place."""
        if self.place == STDIN:
            return "stdin"
        if is_address(self.place):
            path = redacted(self.place).partition("://")[2].removesuffix("?…").rstrip("/…")
            return unquote(path.rpartition("/")[2]) or "address"
        return "pipe" if self.place.startswith(_OPEN_FILES) else Path(self.place).name

    @property
    def shown(self) -> str:
        """What the list is called in messages."""
        place = "standard input" if self.place == STDIN else redacted(self.place)
        return plain(place) + (f"#{plain(self.member)}" if self.member else "")

    @property
    def kept(self) -> str:
        """What a run keeps of the place: `-`, an absolute path, or an address without its secrets."""
        is_path = self.place != STDIN and not is_address(self.place)
        return os.path.abspath(self.place) if is_path else redacted(self.place)  # noqa: PTH100 "" must not be "."


def find(arguments: Iterable[str]) -> tuple[GivenFile, ...]:
    """The lists that FILE arguments name: patterns expanded, each sorted by name.

    Raises InputError where a pattern matches nothing, UserError where an argument can't be meant or is given twice.
    """
    found = [one for argument in arguments for one in _meant(argument)]
    times = Counter((_identity(one.place), one.member) for one in found)
    for one in found:
        if one.place == STDIN and sum(other.place == STDIN for other in found) > 1:
            raise UserError("standard input is given more than once, and can be read once only; name each file once")
        if times[_identity(one.place), one.member] > 1:
            raise UserError(f"{one.shown}: given more than once; name each file once")
    return tuple(found)


def _identity(place: str) -> str:
    return place if place == STDIN or is_address(place) else os.path.realpath(place)


def _meant(argument: str) -> list[GivenFile]:
    if "://" in argument:
        return [_address(argument)]
    if not argument:
        raise UserError("a file name is empty; name the list")
    place, member = _split(argument)
    if place in _STDIN_PATHS:
        return [GivenFile(STDIN, member, comes_once=True)]
    if not glob.has_magic(place) or os.path.lexists(place):
        return [_local(place, member)]
    matches = [path for path in sorted(glob.glob(place, recursive=True)) if not os.path.isdir(path)]  # noqa: PTH112, PTH207 a Path would change how its user spells it
    if not matches:
        raise InputError(f"{plain(argument)}: no file matches; check the pattern")
    return [_local(path, member) for path in matches]


def _split(argument: str) -> tuple[str, str | None]:
    """The place and the file in it: after a # where what is before it is there, or has the name of an archive."""
    if os.path.lexists(argument):
        return argument, None
    for at in (mark.start() for mark in re.finditer("#", argument)):
        if argument[:at] in _STDIN_PATHS or os.path.isfile(argument[:at]):  # noqa: PTH113 see above
            return argument[:at], _member(argument[at + 1 :], argument)
    found = _ARCHIVE.fullmatch(argument)
    return (found[1], _member(found[2], argument)) if found else (argument, None)


def _member(text: str, argument: str) -> str:
    if not text.strip("/"):
        raise UserError(f"{plain(redacted(argument))}: no file is named after the #; name one, or leave the # out")
    return text.lstrip("/")


def _local(place: str, member: str | None) -> GivenFile:
    try:
        is_pipe = stat.S_ISFIFO(os.stat(place).st_mode)  # noqa: PTH116 see above
    except (OSError, ValueError):  # whoever reads it says what is wrong
        is_pipe = False
    return GivenFile(place, member, comes_once=is_pipe or place.startswith(_OPEN_FILES))


# --- Addresses ---

_IN_THE_CLEAR = frozenset({"http", "ftp", "webhdfs", "hdfs", "arrow_hdfs", "jupyter", "jlab"})


def is_address(place: str) -> bool:
    """Whether a place is an address, and no path."""
    return "://" in place


def scheme_of(address: str) -> str:
    """The kind of address: https, s3, sftp, …"""
    return address.partition("://")[0].lower()


def _address(argument: str) -> GivenFile:
    shown = plain(redacted(argument))
    found = _ARCHIVE.fullmatch(argument)
    address, member = (found[1], _member(found[2], argument)) if found else (argument, None)
    if not found and scheme_of(argument) in {"http", "https"} and "#" in argument:
        address, _, fragment = argument.partition("#")
        member = _member(fragment, argument)
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*", address.partition("://")[0]) or "::" in address:
        raise UserError(f"{shown}: that is no address; write https://…, s3://…, sftp://… or the path of a file")
    if "@" in (member or ""):
        raise UserError(f"{shown}: it has an @ after a #; in a password, write %23 for # and %40 for @")
    if scheme_of(address) in {"file", "local"}:
        raise UserError(f"{shown}: name the file by its path, without {scheme_of(address)}://")
    if scheme_of(address) in _IN_THE_CLEAR and not is_loopback(_host(address)):
        raise UserError(
            f"{shown}: {scheme_of(address)}:// is not encrypted: anyone on the way could read the list, or change it; "
            "use https://, or download it yourself"
        )
    return GivenFile(scheme_of(address) + address[address.index("://") :], member, comes_once=True)


def _host(address: str) -> str:
    try:
        return urlsplit(address).hostname or ""
    except ValueError:
        return ""


def is_loopback(host: str) -> bool:
    """Whether a host is this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def redacted(place: str) -> str:
    """An address without user, password and query, which may be a signature; a path as it is."""
    if not is_address(place):
        return place
    scheme, _, rest = place.partition("://")
    head = re.split(r"[?#]", rest, maxsplit=1)[0]
    if "@" in rest[len(head) :]:  # a password may hold ? and #: then nobody can tell where the host begins
        return f"{scheme.rpartition('::')[2]}://…"
    hidden = "?…" if len(head) < len(rest) else ""
    return f"{scheme.rpartition('::')[2]}://{head.rpartition('@')[2]}{hidden}"


def secrets_in(address: str) -> set[str]:
    """The pieces of an address that must not be seen, as they are and unquoted."""
    rest = address.partition("://")[2]
    head, _, query = rest.partition("?")
    pieces = {*re.split(":", head.rpartition("@")[0]), *(pair.partition("=")[2] or pair for pair in query.split("&"))}
    return {spelling for piece in pieces if piece for spelling in (piece, unquote(piece))}
