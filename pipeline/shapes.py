"""What a column's values look like, judged on a sample by the cleaners that its rows would meet."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from types import MappingProxyType

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.clean import CleanOptions, clean
from pipeline.clean.phone import ANYWHERE, area_regions
from schemas.meanings import NULL_WORDS, Shape

_CLEANERS = MappingProxyType(
    {Shape.PHONE: "us_phone", Shape.STATE: "us_state", Shape.ZIP: "us_zip", Shape.DATE: "callback_date"}
)
_PATTERNS = MappingProxyType(
    {
        # Too short to be dialed, or from elsewhere: a phone all the same, and not another field's value.
        Shape.PHONE: re.compile(r"(p:)?[\s+(]*[0-9](?:[\s()+./x-]*[0-9]){6,14}[\s.)]*"),
        Shape.DATE: re.compile(
            r"[0-9]{1,4}([-/.])[0-9]{1,2}\1[0-9]{1,4}([ T,].*)?|[0-9]{1,2}[- ][A-Za-z]{3}[- ][0-9]{2,4}.*"
        ),
        Shape.ZIP: re.compile(r"(z:)?[0-9]{4,5}(-?[0-9]{4})?"),  # a zero in front may be lost
        Shape.EMAIL: re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+"),
        Shape.PERSON: re.compile(r"(?=.*[^\W\d_])[^@:]{1,100}"),
    }
)
_NO_SUCH_THING = frozenset(
    {"bad_phone", "bad_state", "state_region", "bad_zip", "zip_region", "bad_date", "cell_error"}
)
_UNIQUE = 0.95  # of ids, but for a person who is there twice
_DAY_AND_MONTH = re.compile(r"([0-9]{1,2})([-/.])([0-9]{1,2})\2[0-9]{2,4}\b.*")
_TEN_DIGITS = re.compile("[0-9]{10}")


def reaches_somebody(cells: Iterable[str]) -> bool:
    """Whether a cell holds a phone or an email address: such a row is no header."""
    return any(ANYWHERE.search(cell) or _PATTERNS[Shape.EMAIL].fullmatch(cell.strip()) for cell in cells)


@cache
def _any_region() -> CleanOptions:
    return CleanOptions(regions=tuple(sorted(set(area_regions().values()))))


@dataclass(frozen=True, slots=True)
class Share:
    """How many of `total` values look right."""

    right: int
    total: int

    @property
    def agreement(self) -> float:
        """0 to 1: half of the values suffice, and a few prove little."""
        return min(1.0, 2 * (self.right + 1) / (self.total + 2))


@dataclass(frozen=True)
class Column:
    """A column by a sample of its cells, "" where nothing is given."""

    header: str
    cells: pa.StringArray

    @cached_property
    def given(self) -> pa.StringArray:
        """The values that say something, trimmed."""
        trimmed = pc.utf8_trim_whitespace(self.cells)
        nothing = pc.is_in(trimmed, value_set=pa.array(["", *NULL_WORDS]))
        return trimmed.filter(pc.invert(nothing))

    @cached_property
    def filled(self) -> float:
        """The share of cells that say something."""
        return len(self.given) / len(self.cells) if len(self.cells) else 0.0

    @cached_property
    def nulls(self) -> tuple[str, ...]:
        """The words for "nothing" that it holds."""
        held = set(pc.utf8_trim_whitespace(self.cells).unique().to_pylist())
        return tuple(word for word in NULL_WORDS if word in held)

    def examples(self, count: int = 2) -> tuple[str, ...]:
        """The first different values."""
        return tuple(self.given.unique()[:count].to_pylist())

    @cached_property
    def _counts(self) -> Counter[str]:
        return Counter(self.given.to_pylist())

    @cached_property
    def _shares(self) -> dict[Shape, Share]:
        return {}

    def share(self, shape: Shape) -> Share:
        """How many values look like `shape`; of what any text is, none is asked."""
        if shape not in self._shares:
            right = len(self.given) if shape is Shape.TEXT else self._right(shape)
            self._shares[shape] = Share(right, len(self.given))
        return self._shares[shape]

    def _right(self, shape: Shape) -> int:
        if shape is Shape.ID:
            unique = len(self._counts) >= _UNIQUE * len(self.given)
            return len(self.given) if unique else 0
        right = {value for value in self._counts if self._matches(shape, value)} | self._cleanable(shape)
        if shape is Shape.PHONE:
            right = {value for value in right if not self._matches(Shape.DATE, value)}
        return sum(self._counts[value] for value in right)

    def _matches(self, shape: Shape, value: str) -> bool:
        return shape in _PATTERNS and _PATTERNS[shape].fullmatch(value) is not None

    def _cleanable(self, shape: Shape) -> set[str]:
        """The values that the shape's cleaner accepts, or refuses for what they are and not for what they aren't."""
        if shape not in _CLEANERS:
            return set()
        values = list(self._counts)
        problems = clean(_CLEANERS[shape], "", pa.array(values, pa.string()), CleanOptions()).problems
        refused = zip(problems["position"].to_pylist(), problems["rule"].to_pylist(), strict=True)
        wrong = {values[position] for position, rule in refused if rule in _NO_SUCH_THING}
        return set(values) - wrong

    @cached_property
    def regions(self) -> Mapping[str, int]:
        """How many of its phones have an area code of which region, the most frequent first."""
        whole = clean("us_phone", "", pa.array(self._counts, pa.string()), _any_region())
        found: Counter[str] = Counter()
        for digits, count in zip(whole.values.to_pylist(), self._counts.values(), strict=True):
            found[area_regions().get(digits[:3], "")] += count if _TEN_DIGITS.fullmatch(digits) else 0
        return {region: count for region, count in found.most_common() if region and count}

    @cached_property
    def date_order(self) -> str | None:
        """`mdy` or `dmy` where the values prove it, and "" where they need neither; None where they leave it open."""
        told = [found for value in self._counts if (found := _DAY_AND_MONTH.fullmatch(value))]
        orders = {"dmy" for found in told if int(found[1]) > 12} | {"mdy" for found in told if int(found[3]) > 12}
        if not told:
            return ""
        return orders.pop() if len(orders) == 1 else None
