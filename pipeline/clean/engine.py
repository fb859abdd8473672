"""From a cleaner for one value to a cleaned column: fast where values are right, exact everywhere.

Three stages, each for what the one before left: a pattern tells the values that are right as they
are, common spellings are rewritten by column, and the rest is judged once per distinct value.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.clean.text import Fix, Refusal, cell_error, tidy
from pipeline.model import PROBLEMS, REPAIRS, Cleaned

Indices = npt.NDArray[np.int64]
Mark = Fix | Refusal | None  # what became of a value; None: it is right as it is


@dataclass(frozen=True, slots=True)
class CleanOptions:
    """What the mapping declares about the values of its source."""

    date_order: str | None = None  # "mdy", "dmy" or "ymd"
    regions: tuple[str, ...] = ("US",)  # ISO regions, by area code, that may be called


class Format(NamedTuple):
    """A common spelling: an RE2 pattern of the whole value, what it becomes, and the rule of that repair.

    It only saves time: `mend` says the same of such a value.
    """

    pattern: str
    replacement: str
    rule: str


@dataclass(frozen=True, slots=True)
class Cleaner:
    """What a cleaner knows.

    `right` gives the RE2 pattern of whole values that stay as they are. `mend` judges one other value
    after general tidying: (value, options, value of the field `beside` in the same row).
    """

    right: Callable[[CleanOptions], str]
    mend: Callable[[str, CleanOptions, str], Mark]
    formats: tuple[Format, ...] = ()
    beside: str = ""


def clean_column(
    cleaner: Cleaner, field: str, values: pa.StringArray, options: CleanOptions, beside: pa.StringArray
) -> Cleaned:
    """`values` cleaned; `beside` has their length."""
    left = np.flatnonzero(~_matches(values, cleaner.right(options)))
    if not left.size:
        return Cleaned(values, REPAIRS.empty_table(), PROBLEMS.empty_table())
    done = _judged(cleaner, _at(values, left), options, _at(beside, left))
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


def _judged(cleaner: Cleaner, raw: pa.StringArray, options: CleanOptions, beside: pa.StringArray) -> _Judged:
    words = [_AS_IT_IS, *(_Word(Fix, spelling.rule) for spelling in cleaner.formats)]
    new, codes = _rewrite(cleaner, raw, options)
    rest = np.flatnonzero(codes == 0)
    if rest.size:
        pairs = _distinct(_at(raw, rest), _at(beside, rest))
        marked = [_marked(value, judge(cleaner, value, options, other)) for value, other in pairs.keys]
        number = {word: n for n, word in enumerate(dict.fromkeys(word for _, word in marked), start=len(words))}
        codes[rest] = np.array([number[word] for _, word in marked])[pairs.inverse]
        new = _scatter(new, rest, _at(pa.array([value for value, _ in marked]), pairs.inverse))
        words += number
    return _Judged(raw, new, codes, words)


def _marked(raw: str, mark: Mark) -> tuple[str, _Word]:
    if isinstance(mark, Fix):
        return mark.value, _Word(Fix, mark.rule, mark.lossless)
    return raw, _Word(Refusal, mark.rule, message=mark.message) if mark else _AS_IT_IS


def judge(cleaner: Cleaner, raw: str, options: CleanOptions, beside: str) -> Mark:
    """What becomes of one value: tidied as any text is, then as its kind asks."""
    text = tidy(raw)
    value = text.value if text else raw
    if not value:
        return text
    mark = cell_error(value) or cleaner.mend(value, options, beside)
    if not isinstance(mark, Fix) or text is None:
        return mark or text
    return Fix(mark.value, mark.rule, mark.lossless and text.lossless)


def _matches(values: pa.StringArray, pattern: str) -> npt.NDArray[np.bool_]:
    mask = pc.match_substring_regex(values, f"^(?:{pattern})?$")  # "" is "not given", and always right
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


class _Pairs(NamedTuple):
    keys: list[tuple[str, str]]  # distinct (value, value beside it)
    inverse: Indices  # for each row the index of its pair


def _distinct(values: pa.StringArray, beside: pa.StringArray) -> _Pairs:
    of, by = values.dictionary_encode(), beside.dictionary_encode()
    width = len(by.dictionary)
    both = of.indices.to_numpy().astype(np.int64) * width + by.indices.to_numpy()
    if width == 1:  # the codes are dense: no sort is needed
        other = by.dictionary[0].as_py()
        return _Pairs([(value, other) for value in of.dictionary.to_pylist()], both)
    codes, inverse = np.unique(both, return_inverse=True)
    left, right = _at(of.dictionary, codes // width), _at(by.dictionary, codes % width)
    return _Pairs(list(zip(left.to_pylist(), right.to_pylist(), strict=True)), inverse)


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
