"""Lists that come once, as local files: standard input, pipes and addresses are kept in their run's folder.

They stay there until the run is done, so that it can be resumed; nothing is read or fetched a second time.
"""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from pipeline.files import STDIN, GivenFile, is_address, redacted, scheme_of, secrets_in
from pipeline.folder import RunFolder, replacing
from pipeline.model import InputError, UserError
from pipeline.unpack import bounded
from pipeline.words import plain

if TYPE_CHECKING:
    import aiohttp
    import fsspec

_BLOCK_BYTES = 1 << 20
_LOOK_SECONDS = 0.5
_FETCH_BYTES = 8 << 20  # where a file system reads ahead
_CONNECT_SECONDS = 30
_SILENCE_SECONDS = 60
_EXTRAS = {"s3": "s3", "s3a": "s3", "sftp": "sftp", "ssh": "sftp"}


def local(given: GivenFile, run: RunFolder, number: int, most: int) -> Path:
    """The file to read for the source of this number. What comes once is read to its end, up to `most` bytes.

    Raises InputError where it can't be had or has more, UserError where nothing is piped or a library is missing.
    """
    if not given.comes_once:
        return Path(given.place)
    path = run.kept(number)
    if not path.exists():
        path.parent.mkdir(mode=0o700, exist_ok=True)
        with replacing(path) as file:
            file.writelines(bounded(_blocks(given), most, f"{given.shown}: it has more than {most:,} bytes"))
    return path


def check_kept(run: RunFolder, number: int, of: Mapping[str, Any]) -> None:
    """Raises InputError where what came once, and is not read to its end, is kept no more."""
    if not run.kept(number).exists():
        raise InputError(
            f"{of['name']}: what was read of it is not kept any more; load it again: the ledger knows what was sent"
        )


def _blocks(given: GivenFile) -> Iterator[bytes]:
    if given.place == STDIN:
        return _read(_stdin(), given.shown)
    return _fetched(given.place) if is_address(given.place) else _piped(given)


# --- Standard input and pipes ---


def _stdin() -> IO[bytes]:
    if sys.stdin is None or sys.stdin.closed:
        raise UserError("standard input is closed; name a file, or pipe a list in: zcat leads.csv.gz | leads load - …")
    if sys.stdin.isatty():
        raise UserError(
            "standard input is this terminal; name a file, or pipe a list in: zcat leads.csv.gz | leads load - …"
        )
    return sys.stdin.buffer


def _piped(given: GivenFile) -> Iterator[bytes]:
    try:
        with Path(given.place).open("rb") as file:
            if file.isatty():
                raise UserError(f"{given.shown}: that is a terminal; name a file")
            yield from _read(file, given.shown)
    except OSError as error:
        raise InputError(f"{given.shown}: {error.strerror or error}; start the command again") from None


def _read(file: IO[bytes], shown: str) -> Iterator[bytes]:
    """What comes, as it comes."""
    try:
        while block := _next(file.fileno()):
            yield block
    except OSError as error:
        raise InputError(f"{shown}: {error.strerror or error}; pipe the list once more") from None


def _next(pipe: int) -> bytes:
    # A signal in the very moment before a read is heard only after it: no read may wait for whoever writes.
    while not select.select([pipe], [], [], _LOOK_SECONDS)[0]:
        pass
    return os.read(pipe, _BLOCK_BYTES)


# --- Addresses ---


def _fetched(address: str) -> Iterator[bytes]:
    shown = plain(redacted(address))
    system, path = _file_system(address, shown)
    size = 0
    try:
        with _opened(system, path) as file:
            while block := file.read(_BLOCK_BYTES):
                size += len(block)
                yield block
        still = None if _is_http(address) else system.size(path)  # of HTTP, the connection tells
    except UserError as error:
        raise type(error)(f"{shown}: {error}") from None
    except Exception as error:  # noqa: BLE001 every file system has errors of its own
        raise InputError(f"{shown}: can't be fetched: {_reason(error, address)}; check the address") from None
    if still is not None and still != size:
        raise InputError(f"{shown}: it is still being written; try again when it is complete")


def _is_http(address: str) -> bool:
    return scheme_of(address) in {"http", "https"}


def _file_system(address: str, shown: str) -> tuple[fsspec.AbstractFileSystem, str]:
    """The file system of an address, and the path in it."""
    import fsspec  # only where an address is given: it takes 60 ms

    try:
        fsspec.get_filesystem_class(scheme_of(address))
    except ValueError:
        raise UserError(f"{shown}: {scheme_of(address)}:// is not known; https://, s3:// and sftp:// are") from None
    except ImportError as error:
        raise UserError(f"{shown}: {_missing(scheme_of(address), error)}") from None
    try:
        system, path = fsspec.url_to_fs(address, skip_instance_cache=True, **_options(address))
    except Exception as error:  # noqa: BLE001 SFTP connects here, and every file system has errors of its own
        raise InputError(f"{shown}: can't be fetched: {_reason(error, address)}; check the address") from None
    return system, path


def _missing(scheme: str, error: ImportError) -> str:
    extra = _EXTRAS.get(scheme)
    if extra:
        return f"{scheme}:// needs a library that is not there; install it: pip install 'dialedin-leads[{extra}]'"
    return f"{scheme}:// needs a library that is not there: {plain(str(error))}"


def _options(address: str) -> dict[str, Any]:
    """What HTTP needs: time without end as long as bytes come, and no step down from https."""
    if not _is_http(address):
        return {}
    import aiohttp

    tracing = aiohttp.TraceConfig()
    tracing.on_request_redirect.append(_check_redirect)
    timeout = aiohttp.ClientTimeout(total=None, connect=_CONNECT_SECONDS, sock_read=_SILENCE_SECONDS)
    # What is quoted stays as it is: a signature may hang on its spelling.
    return {"encoded": "%" in address, "client_kwargs": {"timeout": timeout, "trace_configs": [tracing]}}


async def _check_redirect(_session: object, _context: object, step: aiohttp.TraceRequestRedirectParams) -> None:
    to = step.url.join(type(step.url)(step.response.headers.get("Location", "")))
    if to.scheme != "https" and (step.url.scheme, step.url.host) != (to.scheme, to.host):
        raise InputError(f"it redirects to {redacted(str(to))}, which is not https; download the list yourself")


def _opened(system: fsspec.AbstractFileSystem, path: str) -> Any:
    if _is_http(path):  # with a size, so that nobody asks for it first: an address may work once
        return system.open(path, "rb", block_size=0, size=1)
    return system.open(path, "rb", block_size=_FETCH_BYTES)


def _reason(error: BaseException, address: str) -> str:
    """Why an address can't be read, in a line that holds nothing of its secrets."""
    if status := getattr(error, "status", None):
        return f"HTTP {status}"
    if isinstance(error, FileNotFoundError):
        return "nothing is there"
    if isinstance(error, PermissionError):
        return "access is denied"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    told = " ".join(str(error).split())[:200]
    if not told or any(secret in told for secret in secrets_in(address)):
        return type(error).__name__
    return plain(told)
