"""The rules that protect people: who may not be contacted, and how many may be."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline import source
from pipeline.clean.phone import ANYWHERE
from pipeline.clean.text import tidy
from pipeline.mapping import MappingFile, Policy
from pipeline.model import InputError, UserError
from pipeline.retries import Duplicates
from schemas.spec import Operation

_LOST_DIGITS = re.compile(r"\d([.,]\d+)?[eE]\+?\d+")
_OTHER_DIGIT = re.compile(r"[^\D0-9]")  # full-width, Arabic, …

NOBODY = "none"  # [policy] suppress = "none": said on purpose


@dataclass(frozen=True, slots=True)
class Consent:
    """What the operator allowed on the command line."""

    max_contacts: int | None
    dial_non_callables: bool


@dataclass(frozen=True, slots=True)
class Marks:
    """People who are to be forgotten: hashes of their phones, under a key of this state database."""

    key: bytes
    hashes: frozenset[bytes]

    def holds(self, phone: str) -> bool:
        """Whether this phone is marked."""
        return hashed(phone, self.key) in self.hashes


def hashed(phone: str, key: bytes) -> bytes:
    """16 bytes that stand for a phone of ten digits."""
    return hashlib.blake2b(phone.encode(), key=key, digest_size=16).digest()


@dataclass(frozen=True, slots=True)
class Barred:
    """Who must not be contacted: the suppress file's numbers, sorted, and the marks of the forgotten."""

    numbers: npt.NDArray[np.int64]
    marks: Marks | None = None

    def among(self, phones: pa.Array) -> npt.NDArray[np.bool_]:
        """Which of `phones` are barred."""
        barred = is_suppressed(phones, self.numbers)
        if self.marks is None or not self.marks.hashes:
            return barred
        held = np.array([bool(phone) and self.marks.holds(phone) for phone in phones.to_pylist()], dtype=np.bool_)
        return barred | held

    def rows(self, operation: Operation, part: pa.Table) -> npt.NDArray[np.bool_]:
        """Which rows of a part would contact someone who is barred, by their phone or by another that may ring."""
        if operation.protects_people:
            return np.zeros(part.num_rows, dtype=np.bool_)
        barred = self.among(part["phone"])
        if operation.also_contacts:
            others = [_others(operation, body or "") for body in part["payload"].to_pylist()]
            row_of = np.repeat(np.arange(len(others)), [len(phones) for phones in others])
            found = self.among(pa.array([phone for phones in others for phone in phones], pa.string()))
            barred[row_of[found]] = True
        return barred


def _others(operation: Operation, body: str) -> list[str]:
    """The phones in a form that its call may contact, besides the one that it is about."""
    sent = dict(parse_qsl(body))
    return [phone for name in operation.also_contacts for phone in sent.get(name, "").split("|")]


def contacts(operation: Operation, policy: Policy) -> bool:
    """Whether rows of this run may make a phone ring, or free people to be called."""
    return operation.contacts(policy.dialing) or operation.frees_people or policy.allow_dialing_dups


def duplicates(operation: Operation, mapping: MappingFile) -> Duplicates:
    """What sending a row of this mapping once more might do. A column may hold any value."""
    if operation.stores_again is None:
        return Duplicates.SUPPRESSED
    name, value = operation.stores_again
    given = mapping.fields.get(name)
    if given is None or given.value not in (None, value):
        return Duplicates.SUPPRESSED
    return Duplicates.DIALED if contacts(operation, mapping.policy) else Duplicates.STORED


def check_consent(operation: Operation, mapping: MappingFile, consent: Consent) -> None:
    """Raises UserError where this run needs a word of the operator that was not given."""
    policy = mapping.policy
    if policy.dial_non_callables and not consent.dial_non_callables:
        raise UserError(
            "the mapping's policy dials do-not-call numbers (dial_non_callables): that is a legal act; "
            "say so again with --dial-non-callables"
        )
    if not contacts(operation, policy):
        return
    others = [name for name in mapping.fields if name.endswith("Phone") and name != operation.phone]
    if others:
        raise UserError(
            f"{why(operation, policy)}: {others[0]} can't be checked against the suppress list; leave it out"
        )
    if consent.max_contacts is None:
        raise UserError(f"{why(operation, policy)}: say how many people at most with --max-contacts N")
    if policy.suppress is None:
        raise UserError(
            f"{why(operation, policy)}: name the numbers that must not be called in the mapping, "
            '[policy] suppress = "dnc.csv" (or "none", on purpose)'
        )


def check_read_back(operation: Operation, mapping: MappingFile, *, wanted: bool) -> None:
    """Raises UserError where rows are to be read back and can't be."""
    if not wanted:
        return
    if operation.lookup is None:
        raise UserError(f"--verify and --canary: no search finds what {operation.name} has stored; leave them out")
    unmarked = mapping.policy.client_id == "none" and operation.client_id not in mapping.fields
    if unmarked and operation.composed is None:
        raise UserError(
            f"--verify and --canary find leads by {operation.client_id}: map it, or leave out client_id in [policy]"
        )


def check_number(operation: Operation, policy: Policy, consent: Consent, rows: int, steps: int = 0) -> None:
    """Raises UserError where more people would be contacted than the operator allowed; nothing was sent.

    `steps` is how many would be by what follows the rows.
    """
    going = steps + (rows if contacts(operation, policy) else 0)
    if consent.max_contacts is not None and going > consent.max_contacts:
        raise UserError(
            f"{going} people would be contacted and --max-contacts allows {consent.max_contacts}; nothing was sent"
        )


def suppressed(policy: Policy, beside: Path, spool: Path) -> npt.NDArray[np.int64]:
    """The numbers that may not be contacted, sorted: every 10-digit phone in the suppress file.

    A relative path is looked up beside the mapping, then in the working directory.
    Raises InputError where the file can't be read or holds no number: it would protect nobody.
    """
    if policy.suppress is None or policy.suppress == NOBODY:
        return np.empty(0, dtype=np.int64)
    near = beside / policy.suppress
    path = near if near.exists() else Path(policy.suppress)
    options = source.SourceOptions(header_row=0)
    try:
        found = [_numbers(chunk) for chunk in source.read(source.inspect(path, options, spool))]
    except InputError as error:
        raise InputError(f"[policy] suppress: {error}") from None
    numbers = np.unique(np.concatenate(found)) if found else np.empty(0, dtype=np.int64)
    if not len(numbers):
        raise InputError(f"suppress = {policy.suppress!r}: no 10-digit phone number in {path}; is it the right file?")
    return numbers


def is_suppressed(phones: pa.Array, numbers: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Which of `phones` are among the suppressed `numbers`, which are sorted; what is no ten digits is not."""
    if not len(numbers):
        return np.zeros(len(phones), dtype=np.bool_)
    ten = pc.fill_null(pc.match_substring_regex(phones, pattern=r"^[0-9]{10}$"), False)
    asked = np.asarray(pc.if_else(ten, phones, "0").cast(pa.int64()), dtype=np.int64)
    nearest = numbers[np.minimum(np.searchsorted(numbers, asked), len(numbers) - 1)]
    barred: npt.NDArray[np.bool_] = np.asarray(ten) & (nearest == asked)
    return barred


def _numbers(chunk: source.Chunk) -> npt.NDArray[np.int64]:
    """Every phone in every cell, whatever stands beside it: a number too many costs a lead, one too few a stranger."""
    loose = [cell for row in chunk.ragged for cell in row.cells]
    columns = [*(pa.array(chunk.frame[name]) for name in chunk.frame.columns), pa.array(loose, pa.string())]
    cells = pa.chunked_array(columns)
    plain = pc.match_substring_regex(cells, pattern=r"^[0-9]{10}$")
    found = {int(number) for cell in cells.filter(pc.invert(plain)).unique().to_pylist() for number in _listed(cell)}
    numbers = cells.filter(plain).cast(pa.int64()).to_numpy()
    return np.concatenate([numbers, np.fromiter(found, dtype=np.int64, count=len(found))])


def _listed(cell: str) -> set[str]:
    text = _plain(cell)
    if _LOST_DIGITS.fullmatch(text):
        raise InputError(
            f"the suppress file holds {cell!r}: digits were lost in a spreadsheet; export it again as text"
        )
    return numbers_in(text)


def numbers_in(text: str) -> set[str]:
    """Every phone in a text as ten digits, in whatever spelling and whatever stands beside it."""
    return {"".join(parts) for parts in ANYWHERE.findall(_plain(text))}


def _plain(text: str) -> str:
    fix = tidy(text)
    return _OTHER_DIGIT.sub(lambda digit: str(int(digit[0])), fix.value if fix else text)


def why(operation: Operation, policy: Policy) -> str:
    """Which of its people's concerns a run has, in words."""
    if operation.frees_people:
        return f"{operation.name} frees people to be called"
    if operation.dialing and operation.contacts(policy.dialing):
        return f'this run contacts people (dialing = "{policy.dialing}")'
    if policy.allow_dialing_dups:
        return "this run contacts people (allow_dialing_dups)"
    return f"{operation.name} contacts people"
