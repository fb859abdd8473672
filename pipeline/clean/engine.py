"""From a cleaner for one value to a cleaned column: fast where values are right, exact everywhere.

Three stages, each for what the one before left: a pattern tells the values that are right as they
are, common spellings are rewritten by column, and the rest is judged once per distinct value.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.clean.text import Fix, Refusal, cell_error, readable
from pipeline.distinct import each_once
from pipeline.marks import PROBLEMS, REPAIRS, Cleaned

Indices = npt.NDArray[np.int64]
Mark = Fix | Refusal | None  # what became of a value; None: it is right as it is


@dataclass(frozen=True, slots=True)
class CleanOptions:
    """What the mapping declares about the values of its source."""

    date_order: str | None = None  # "mdy", "dmy" or "ymd"
    regions: tuple[str, ...] = ("US",)  # ISO regions, by area code, that may be called
    now: datetime | None = None  # with its zone: callbacks before it are refused; None: they may be past


class Format(NamedTuple):
    """A common spelling: an RE2 pattern of the whole value, what it becomes, and the rule of that repair.

    It only saves time: `mend` says the same of such a value.
    """

    pattern: str
    replacement: str
    rule: str


def _itself(column: pa.StringArray) -> pa.StringArray:
    return column


class Beside(NamedTuple):
    """Another field of the row, cleaned before, by which a value is judged.

    `seen_as` makes of its column what counts of it: the fewer values that has, the fewer pairs are judged.
    """

    field: str
    seen_as: Callable[[pa.StringArray], pa.StringArray] = _itself


@dataclass(frozen=True, slots=True)
class Cleaner:
    """What a cleaner knows.

    `right` gives the RE2 pattern of whole values that stay as they are, whatever stands beside them. `mend` judges
    one other value after general tidying: (value, options, what each of `beside` is in the same row).
    """

    right: Callable[[CleanOptions], str]
    mend: Callable[[str, CleanOptions, Sequence[str]], Mark]
    formats: tuple[Format, ...] = ()
    beside: tuple[Beside, ...] = ()


def clean_column(
    cleaner: Cleaner, field: str, values: pa.StringArray, options: CleanOptions, beside: Sequence[pa.StringArray]
) -> Cleaned:
    """`values` cleaned; `beside` has a column of their length for each field that the cleaner looks at."""
    left = np.flatnonzero(~_matches(values, cleaner.right(options)))
    if not left.size:
        return Cleaned(values, REPAIRS.empty_table(), PROBLEMS.empty_table())
    done = _judged(cleaner, _at(values, left), options, [_at(column, left) for column in beside])
    return Cleaned(_scatter(values, left, done.new), _repairs(field, left, done), _problems(field, left, done))


class _Word(NamedTuple):
    """What a mark says besides the value; few differ in a column, however many values do."""

    kind: type[Fix | Refusal] | None
    rule: str = ""
    lossless: bool = True
    message: str = ""


_AS_IT_IS = _Word(None)


class _Judged(NamedTuple):
    """The cells that were not right as they are. `codes` has for each its index in `words`."""

    raw: pa.StringArray
    new: pa.StringArray
    codes: Indices
    words: list[_Word]


def _judged(cleaner: Cleaner, raw: pa.StringArray, options: CleanOptions, beside: Sequence[pa.StringArray]) -> _Judged:
    words = [_AS_IT_IS, *(_Word(Fix, spelling.rule) for spelling in cleaner.formats)]
    new, codes = _rewrite(cleaner, raw, options)
    rest = np.flatnonzero(codes == 0)
    if rest.size:
        others = [of.seen_as(_at(column, rest)) for of, column in zip(cleaner.beside, beside, strict=True)]
        cases = _distinct(_at(raw, rest), others)
        marked = [_marked(value, judge(cleaner, value, options, around)) for value, *around in cases.keys]
        number = {word: n for n, word in enumerate(dict.fromkeys(word for _, word in marked), start=len(words))}
        codes[rest] = np.array([number[word] for _, word in marked])[cases.inverse]
        new = _scatter(new, rest, _at(pa.array([value for value, _ in marked]), cases.inverse))
        words += number
    return _Judged(raw, new, codes, words)


def _marked(raw: str, mark: Mark) -> tuple[str, _Word]:
    if isinstance(mark, Fix):
        return mark.value, _Word(Fix, mark.rule, mark.lossless)
    return raw, _Word(Refusal, mark.rule, message=mark.message) if mark else _AS_IT_IS


def judge(cleaner: Cleaner, raw: str, options: CleanOptions, beside: Sequence[str]) -> Mark:
    """What becomes of one value: made readable as any text is, then as its kind asks."""
    text = readable(raw)
    value = text.value if text else raw
    if not value:
        return text
    mark = cell_error(value) or cleaner.mend(value, options, beside)
    if not isinstance(mark, Fix) or text is None:
        return mark or text
    return Fix(mark.value, mark.rule, mark.lossless and text.lossless)


def _matches(values: pa.StringArray, pattern: str) -> npt.NDArray[np.bool_]:
    whole = f"^(?:{pattern})?$"  # "" is "not given", and always right
    mask = each_once(lambda column: pc.match_substring_regex(column, whole), values)
    return np.asarray(mask.to_numpy(zero_copy_only=False))


def _rewrite(cleaner: Cleaner, raw: pa.StringArray, options: CleanOptions) -> tuple[pa.StringArray, Indices]:
    """Values after the common spellings, and for each the number of its format, 0 for none."""
    # What comes out is in the vendor's own order of dates, whatever the order in the source.
    right = cleaner.right(replace(options, date_order="mdy"))
    new, codes = raw, np.zeros(len(raw), np.int64)
    for number, spelling in enumerate(cleaner.formats, start=1):
        tried = pc.replace_substring_regex(raw, f"^{spelling.pattern}$", spelling.replacement)
        hit = (codes == 0) & np.asarray(pc.not_equal(tried, raw)) & _matches(tried, right)
        new = tried if hit.all() else pc.if_else(pa.array(hit), tried, new)
        codes[hit] = number
        if codes.all():
            break
    return new, codes


class _Cases(NamedTuple):
    keys: list[tuple[str, ...]]  # distinct (value, what stands beside it …)
    inverse: Indices  # for each row the index of its key


def _distinct(values: pa.StringArray, beside: Sequence[pa.StringArray]) -> _Cases:
    of = values.dictionary_encode()
    columns, inverse = [of.dictionary], of.indices.to_numpy().astype(np.int64)
    for column in beside:
        by = column.dictionary_encode()
        width = len(by.dictionary)
        if width == 1:  # no row differs from another by it: no sort is needed
            columns.append(pa.repeat(by.dictionary[0], len(columns[0])))
            continue
        codes, inverse = np.unique(inverse * width + by.indices.to_numpy(), return_inverse=True)
        columns = [*(_at(known, codes // width) for known in columns), _at(by.dictionary, codes % width)]
    return _Cases(list(zip(*(column.to_pylist() for column in columns), strict=True)), inverse)


def _at(values: pa.Array, rows: Indices) -> pa.Array:
    return values.take(pa.array(rows))


def _scatter(values: pa.StringArray, rows: Indices, new: pa.StringArray) -> pa.StringArray:
    if len(new) == len(values):
        return new
    mask = np.zeros(len(values), np.bool_)
    mask[rows] = True
    return pc.replace_with_mask(values, pa.array(mask), new)


def _repairs(field: str, left: Indices, done: _Judged) -> pa.Table:
    rows = _rows(done, Fix)
    columns = {
        "position": pa.array(left[rows]),
        "field": pa.repeat(field, len(rows)),
        "raw": _at(done.raw, rows),
        "value": _at(done.new, rows),
        "rule": _at(pa.array([word.rule for word in done.words]), done.codes[rows]),
        "lossless": _at(pa.array([word.lossless for word in done.words]), done.codes[rows]),
    }
    return pa.table(columns, schema=REPAIRS)


def _problems(field: str, left: Indices, done: _Judged) -> pa.Table:
    rows = _rows(done, Refusal)
    columns = {
        "position": pa.array(left[rows]),
        "field": pa.repeat(field, len(rows)),
        "rule": _at(pa.array([word.rule for word in done.words]), done.codes[rows]),
        "value": _at(done.raw, rows),
        "message": _at(pa.array([word.message for word in done.words]), done.codes[rows]),
    }
    return pa.table(columns, schema=PROBLEMS)


def _rows(done: _Judged, kind: type[Fix | Refusal]) -> Indices:
    return np.flatnonzero(np.array([word.kind is kind for word in done.words])[done.codes])
