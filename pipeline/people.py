"""The rules that protect people: who may not be contacted, and how many may be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import parse_qsl

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline import hours
from pipeline.hours import CallingHours, Opening
from pipeline.mapping import VENDOR, MappingFile, Policy, heeds_hours
from pipeline.marked import DoNotCall
from pipeline.model import OUTSIDE_HOURS, SUPPRESSED, Bar, Payload, Place, Status, UserError
from pipeline.retries import Duplicates
from pipeline.statedb import hashed
from schemas.spec import Operation

_SENT = "(?:^|&){}=(?P<sent>[^&]+)"
_BETWEEN = "%7C"  # "|" as it is sent, between several phones
MUST_NOT_BE_CONTACTED = Bar(SUPPRESSED, "the number must not be contacted")


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


@dataclass(frozen=True, slots=True)
class Barred:
    """Who must not be contacted: the suppress files' numbers, sorted, the marks of the forgotten, and `listed`.

    Those are the numbers that this account's own calls have put on do-not-call.
    """

    numbers: npt.NDArray[np.int64]
    marks: Marks | None = None
    listed: DoNotCall | None = None

    def among(self, phones: pa.Array) -> npt.NDArray[np.bool_]:
        """Which of `phones` are barred."""
        barred = is_suppressed(phones, self.numbers)
        texts: Collection[str] = phones.to_pylist() if self.listed or (self.marks and self.marks.hashes) else ()
        if self.marks is not None and self.marks.hashes:
            barred |= np.array([bool(phone) and self.marks.holds(phone) for phone in texts], dtype=np.bool_)
        if self.listed is not None and (found := self.listed.among(texts)):
            barred |= np.array([phone in found for phone in texts], dtype=np.bool_)
        return barred

    def by_now(self, operation: Operation, payload: Payload) -> Bar | None:
        """Why a payload that could go when its turn came may not go any more: others forbid numbers meanwhile."""
        if self.listed is None or operation.protects_people:
            return None
        phones = [payload.phone, *(_others(operation, payload.body.decode()) if operation.also_contacts else ())]
        return MUST_NOT_BE_CONTACTED if self.listed.among(phones) else None

    def rows(self, operation: Operation, part: pa.Table) -> npt.NDArray[np.bool_]:
        """Which rows of a part would contact someone who is barred, by their phone or by another that may ring."""
        if operation.protects_people:
            return np.zeros(part.num_rows, dtype=np.bool_)
        barred = self.among(part["phone"])
        for name in operation.also_contacts:
            sent = pc.struct_field(pc.extract_regex(part["payload"], _SENT.format(name)), "sent")
            listed = pc.split_pattern(pc.fill_null(sent, ""), _BETWEEN).combine_chunks()
            found = self.among(pc.list_flatten(listed))
            barred[pc.list_parent_indices(listed).to_numpy()[found]] = True
        return barred


def _others(operation: Operation, body: str) -> list[str]:
    """The phones in a form that its call may contact, besides the one that it is about."""
    sent = dict(parse_qsl(body))
    return [phone for name in operation.also_contacts for phone in sent.get(name, "").split("|")]


@dataclass(frozen=True, slots=True)
class Curfew:
    """When the people of a run may be contacted.

    A row for which it was not open when the run `began` is left to a later one: so many people were told beforehand.
    """

    hours: CallingHours
    began: datetime
    now: Callable[[], datetime]

    def openings(self, places: Sequence[Place]) -> list[Opening | None]:
        """When the person at each of these places may be contacted; None: now."""
        now = self.now()
        known = {place: self._opening(place, now) for place in set(places)}
        return [known[place] for place in places]

    def _opening(self, place: Place, now: datetime) -> Opening | None:
        return self.hours.opening(place, now) or self.hours.opening(place, self.began)

    def bar(self, opening: Opening) -> Bar:
        """What is said of a row that waits for an opening."""
        return Bar(OUTSIDE_HOURS, f"it is outside calling hours; it may go {opening.told(self.now())}")

    def by_now(self, payload: Payload) -> Bar | None:
        """Why a payload that could go when its turn came may not go any more."""
        if payload.place is None or (opening := self.hours.opening(payload.place, self.now())) is None:
            return None
        return self.bar(opening)

    def waiting(self, operation: Operation, part: pa.Table) -> Counter[Opening]:
        """How many valid rows of a part (`status`, `phone`, `payload`) have to wait, and until when."""
        valid = part.filter(pa.array(part["status"].to_numpy() == Status.VALID.value))
        return Counter(filter(None, self.openings(hours.places(operation, valid))))

    def notes(self, waiting: Counter[Opening]) -> list[str]:
        """What the user should know of rows that have to wait."""
        if not waiting:
            return []
        lines = "; ".join(hours.summary(waiting, self.now()))
        return [f"outside calling hours now, and not sent: {lines}"]


def curfew(operation: Operation, policy: Policy, now: Callable[[], datetime]) -> Curfew | None:
    """When the people of a run that begins now may be contacted; None where nobody is, or the vendor sees to it."""
    if not _rings(operation, policy) or (policy.calling_hours == VENDOR and heeds_hours(operation, policy)):
        return None
    given = policy.calling_hours
    return Curfew(CallingHours() if given is None else CallingHours.parse(given), now(), now)


def _rings(operation: Operation, policy: Policy) -> bool:
    """Whether a phone may ring, or a text arrive, because of a row of this run."""
    return operation.contacts(policy.dialing) or policy.allow_dialing_dups


def contacts(operation: Operation, policy: Policy) -> bool:
    """Whether rows of this run may make a phone ring, or free people to be called."""
    return _rings(operation, policy) or operation.frees_people


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


def is_suppressed(phones: pa.Array, numbers: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Which of `phones` are among the suppressed `numbers`, which are sorted; what is no ten digits is not."""
    if not len(numbers):
        return np.zeros(len(phones), dtype=np.bool_)
    ten = pc.fill_null(pc.match_substring_regex(phones, pattern=r"^[0-9]{10}$"), False)
    asked = np.asarray(pc.if_else(ten, phones, "0").cast(pa.int64()), dtype=np.int64)
    nearest = numbers[np.minimum(np.searchsorted(numbers, asked), len(numbers) - 1)]
    barred: npt.NDArray[np.bool_] = np.asarray(ten) & (nearest == asked)
    return barred


def why(operation: Operation, policy: Policy) -> str:
    """Which of its people's concerns a run has, in words."""
    if operation.frees_people:
        return f"{operation.name} frees people to be called"
    if operation.dialing and operation.contacts(policy.dialing):
        return f'this run contacts people (dialing = "{policy.dialing}")'
    if policy.allow_dialing_dups:
        return "this run contacts people (allow_dialing_dups)"
    return f"{operation.name} contacts people"
