"""Read-back: which accepted rows are looked up after a load, and whether the vendor stored what was sent. Pure."""

from __future__ import annotations

import json
import random
import re
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from pipeline import doubt, matches
from pipeline.doubt import Sighting, our_leads, sent_fields, sighting
from pipeline.matches import Lead, alike
from pipeline.model import Judgement, Payload, UserError
from schemas.spec import Operation


class Finding(StrEnum):
    """What reading one row back says."""

    MATCHES = "matches"
    DIFFERS = "differs"
    MISSING = "missing"  # a clear answer: nobody is there
    UNCLEAR = "unclear"  # no answer, a lead that may not be ours, or one without details


class Kind(StrEnum):
    """What became of a value that is not stored as it was sent."""

    DROPPED = "dropped"
    TRUNCATED = "truncated"
    REPLACED = "replaced"  # characters became "?"
    CHANGED = "changed"


@dataclass(frozen=True, slots=True)
class Difference:
    """One field, as it was sent and as it is stored; `stored` is None where the lead shows nothing of it."""

    field: str
    sent: str
    stored: str | None
    kind: Kind


@dataclass(frozen=True, slots=True)
class Reading:
    """What was found for one row; `differences` are in the order in which the fields were sent."""

    finding: Finding
    differences: tuple[Difference, ...] = ()

    @property
    def message(self) -> str:
        """The finding in plain words; fields are named, values are not shown."""
        fields = ", ".join(f"{difference.field} ({difference.kind})" for difference in self.differences)
        return _MESSAGES[self.finding].format(fields)

    def as_json(self) -> str:
        """The reading with the values, on one line; characters that can't be stored become "?"."""
        text = json.dumps(asdict(self), ensure_ascii=False, separators=(",", ":"))
        return text.encode("utf-8", "replace").decode()


_MESSAGES: Mapping[Finding, str] = MappingProxyType(
    {
        Finding.MATCHES: "stored as it was sent",
        Finding.DIFFERS: "stored differently: {}",
        Finding.MISSING: "the vendor said OK, and a search does not find the lead",
        Finding.UNCLEAR: "a search gave no clear answer, so what is stored is not known",
    }
)


@dataclass(frozen=True, slots=True)
class Sample:
    """`--verify`: so many of the accepted rows, or so many percent of them."""

    number: int
    is_percent: bool

    @classmethod
    def parse(cls, text: str) -> Sample:
        """The sample in "50" or "5%". Raises UserError for anything else."""
        found = re.fullmatch(r"([0-9]{1,9})(%?)", text.strip())
        if not found or (found[2] and int(found[1]) > 100):
            raise UserError(f"--verify {text!r}: give a number of accepted rows (50) or a share of them (5%)")
        return cls(int(found[1]), is_percent=bool(found[2]))

    def __str__(self) -> str:
        """As it is written: "50", "5%"."""
        return f"{self.number}%" if self.is_percent else str(self.number)

    def size(self, accepted: int) -> int:
        """How many of so many accepted rows are read back; a share is rounded up."""
        return -(-accepted * self.number // 100) if self.is_percent else min(self.number, accepted)

    def choose(self, total: int, rng: random.Random) -> list[int]:
        """The rows to read back, as ascending positions from 0 among `total` accepted ones."""
        return sorted(rng.sample(range(total), self.size(total)))


def search_form(operation: Operation, search: Operation, payload: Payload) -> bytes:
    """The body of the search that reads an accepted row of this operation back."""
    return matches.search_form(operation, payload) if operation.composed else doubt.search_form(search, payload)


def compare(operation: Operation, payload: Payload, answer: Judgement) -> Reading:
    """What the answer to `search_form` says of an accepted row. Of several leads, the best match decides."""
    leads = _leads(operation, payload, answer)
    if not leads:
        return Reading(Finding.UNCLEAR if leads is None else Finding.MISSING)
    sent = _lead_data(operation, payload)
    differences = min((_differences(operation, sent, lead) for lead in leads), key=len)
    return Reading(Finding.DIFFERS if differences else Finding.MATCHES, differences)


def _leads(operation: Operation, payload: Payload, answer: Judgement) -> list[Lead] | None:
    """The leads that are the row's; [] where nobody is there, None where it is no clear answer."""
    if operation.composed is not None:
        found = matches.found(operation, payload, answer)
        return None if found is None else list(found.values())
    if sighting(answer, payload) is Sighting.UNCLEAR:
        return None
    return [*our_leads(answer, payload)]


def _lead_data(operation: Operation, payload: Payload) -> dict[str, str]:
    """What was sent to be stored, by the name that was sent."""
    orders = set(operation.fixed) | {field.name for field in operation.fields if not field.stored}
    sent = matches.update_fields(operation, payload) if operation.composed else sent_fields(payload)
    return {name: value for name, value in sent.items() if name not in orders}


def _differences(operation: Operation, sent: Mapping[str, str], lead: Mapping[str, Any]) -> tuple[Difference, ...]:
    compared = ((name, value, _shown(operation, name, sent, lead)) for name, value in sent.items())
    found = (_difference(operation, *one) for one in compared)
    return tuple(difference for difference in found if difference is not None)


def _difference(operation: Operation, name: str, sent: str, shown: list[str]) -> Difference | None:
    """What is wrong with one field that is stored as one of `shown`; None where nothing is, or nobody can tell."""
    if not shown and name in operation.by_name:
        return None  # which documented columns an answer shows is not known
    plain = alike(operation, name)
    stored = shown[0] if shown else None
    if any(plain(text) == plain(sent) for text in shown or [""]):
        return None
    return Difference(name, sent, stored, _kind(plain(sent), plain(stored or "")))


# In a column without Unicode other characters become "?"; beyond U+FFFF, where UTF-16 takes a pair, also "??".
_CHARSETS = ("cp1252", "latin-1", "ascii")
_PAIRED = re.compile("[\U00010000-\U0010ffff]")


def _kind(sent: str, stored: str) -> Kind:
    """What became of `sent`, given that `stored` is not the same."""
    if not stored:
        return Kind.DROPPED
    texts = (sent, _PAIRED.sub("\ufffd\ufffd", sent))
    replaced = {text.encode(charset, "replace").decode(charset) for text in texts for charset in _CHARSETS}
    if stored in replaced:
        return Kind.REPLACED
    return Kind.TRUNCATED if any(text.startswith(stored) for text in (sent, *replaced)) else Kind.CHANGED


def _shown(operation: Operation, name: str, sent: Iterable[str], lead: Mapping[str, Any]) -> list[str]:
    """The values that the lead may show for one field; [] where it shows none."""
    if name in operation.by_name:
        return [text for shown, text in _texts(lead) if shown == name]
    others = {*operation.by_name, *sent} - {name}  # a custom field may be called like a column
    return _anywhere(operation, name, {column: value for column, value in lead.items() if column not in others})


def _anywhere(operation: Operation, name: str, lead: Mapping[str, Any]) -> list[str]:
    """The values of a field that the document doesn't list: as it was sent, else without prefix, else in other case.

    How an answer nests and spells custom fields is not known (grade ?): any depth, blanks or their stand-in.
    """
    prefix, space = (operation.custom.prefix, operation.custom.space) if operation.custom else ("", " ")
    members = [(shown.replace(" ", space), text) for shown, text in _members(lead)]
    for spelled in (str, str.casefold):
        for wanted in (name, name.removeprefix(prefix)):
            if found := [text for shown, text in members if spelled(shown) == spelled(wanted)]:
                return found
    return []


def _members(lead: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Name and text of every value in the lead and in what is nested in it, the outermost first."""
    inside: deque[Any] = deque([lead])
    while inside:
        part = inside.popleft()
        if isinstance(part, dict):
            texts = _texts(part)
            yield from texts
            if len(texts) == len(part) == 2:  # .NET writes a dictionary as [{"Key": name, "Value": value}, …]
                yield texts[0][1], texts[1][1]
            inside.extend(part.values())
        elif isinstance(part, list):
            inside.extend(part)


def _texts(part: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Names and texts of the plain values in an object of JSON: null is "", true is "true"."""
    plain = ((name, value) for name, value in part.items() if not isinstance(value, dict | list))
    return [(name, _text(value)) for name, value in plain]


def _text(value: object) -> str:
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)
