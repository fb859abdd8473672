"""pandera schemas, built from the declarations. The one place that knows pandera.

Checks answer per column with Arrow's own functions. A check's `name` is the problem's code, its `title` the
field and its `description` what to tell a person. No coercion, no row dropping: both have lost rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import pandas as pd
import pandera.pandas as pandera
import pyarrow as pa
import pyarrow.compute as pc

from schemas.spec import CLEARED, AnyBeside, Field, OnlyWhen, Operation, Range, RequiredWhen, Rule, Together

TEXT = pd.ArrowDtype(pa.string())
_NOTHING = ("", CLEARED)  # passes where only some values do

_Mask = Callable[[pd.Series], pa.Array]


def frame_schema(operation: Operation, columns: Sequence[str], lengths: Mapping[str, int]) -> pandera.DataFrameSchema:
    """The schema for a text frame with these `columns` (names as sent); any other column fails.

    `lengths` holds the account's own limits by name: [extra_fields] and [lengths] of the mapping.
    """
    return pandera.DataFrameSchema(
        {name: pandera.Column(TEXT, _checks(_field(operation, name, lengths))) for name in columns},
        checks=[check for rule in operation.rules if (check := _rule_check(rule, columns))],
        index=pandera.Index(int, unique=True),
        strict=True,
    )


def max_length(operation: Operation, name: str, lengths: Mapping[str, int]) -> int | None:
    """The longest value, in characters, that `name` takes in this account; None where nothing is known."""
    known = operation.by_name.get(name)
    return lengths.get(name, known.max_length if known else None)


def _field(operation: Operation, name: str, lengths: Mapping[str, int]) -> tuple[Field, int | None]:
    return operation.by_name.get(name, Field(name=name)), max_length(operation, name, lengths)


def _checks(limited: tuple[Field, int | None]) -> list[pandera.Check]:
    field, limit = limited
    checks = []
    if field.required:
        checks.append(_check(field.name, "missing", "is required and empty", _given))
    if limit is not None:
        text = f"is longer than {limit} characters"
        checks.append(_check(field.name, "too_long", text, lambda s: _fits(_arrow(s), limit)))
    if field.choices:
        text = "must be one of " + ", ".join(field.choices)
        allowed = pa.array([*_NOTHING, *field.choices])
        checks.append(_check(field.name, "not_allowed", text, lambda s: pc.is_in(_arrow(s), value_set=allowed)))
    if field.number:
        checks.append(_check(field.name, "out_of_range", _range_text(field.number), _in_range(field.number)))
    if field.pattern:
        pattern = f"^({field.pattern}|{CLEARED})?$"
        form = field.doc.partition(";")[0]
        text = f"is not of the form {form}" if form else "has not the form that the vendor asks for"
        checks.append(
            _check(field.name, "bad_format", text, lambda s: pc.match_substring_regex(_arrow(s), pattern=pattern))
        )
    return checks


def _fits(column: pa.Array, limit: int) -> pa.Array:
    """Where a value has at most so many characters: of bytes, which cost nothing to count, it never has fewer."""
    by_bytes = pc.less_equal(pc.binary_length(column), limit)
    return by_bytes if pc.all(by_bytes).as_py() else pc.less_equal(pc.utf8_length(column), limit)


def _range_text(number: Range) -> str:
    return f"must be a whole number from {number.least} to {number.most}"


def _in_range(number: Range) -> _Mask:
    allowed = pa.array([*_NOTHING, *(str(n) for n in range(number.least, number.most + 1))])
    return lambda s: pc.is_in(_arrow(s), value_set=allowed)


def _rule_check(rule: Rule, columns: Sequence[str]) -> pandera.Check | None:
    """The check of a rule across fields; None where no row of a frame with these columns can break it."""
    present = set(columns)
    match rule:
        case Together(fields, _, code) if present & set(fields):
            text = "goes with " + ", ".join(fields[1:]) + ": give all of them or none"
            return _frame_check(fields[0], code, text, lambda f: _all_alike(f, fields))
        case RequiredWhen(field, when, values, _, code) if when in present:
            text = f"is required where {when} is {', '.join(values)}"
            return _frame_check(
                field, code, text, lambda f: pc.or_(_has_value(f, field), pc.invert(_has(f, when, values)))
            )
        case OnlyWhen(field, when, values, default, _, code) if field in present:
            text = f"goes only with {when} = {', '.join(values)}"
            return _frame_check(
                field,
                code,
                text,
                lambda f: pc.or_(pc.invert(_filled(f, field)), _has(f, when, values, default)),
            )
        case AnyBeside(fields, _, code):
            beside = [name for name in columns if name not in fields]
            text = "no other field has a value: there is nothing to send"
            return _frame_check(fields[-1], code, text, lambda f: _any_filled(f, beside))
    return None


def _check(field: str, code: str, text: str, mask: _Mask) -> pandera.Check:
    def passes(series: pd.Series) -> pd.Series:
        return pd.Series(mask(series).to_numpy(zero_copy_only=False), index=series.index)

    return pandera.Check(passes, name=code, title=field, description=text, ignore_na=False, n_failure_cases=1)


def _frame_check(field: str, code: str, text: str, mask: Callable[[pd.DataFrame], pa.Array]) -> pandera.Check:
    def passes(frame: pd.DataFrame) -> pd.Series:
        return pd.Series(mask(frame).to_numpy(zero_copy_only=False), index=frame.index)

    return pandera.Check(passes, name=code, title=field, description=text, ignore_na=False, n_failure_cases=1)


def _arrow(series: pd.Series) -> pa.Array:
    return pa.array(series)


def _given(series: pd.Series) -> pa.Array:
    return pc.not_equal(_arrow(series), "")


def _filled(frame: pd.DataFrame, name: str) -> pa.Array:
    """Where `name` is sent, with a value or empty."""
    if name not in frame:
        return pa.repeat(False, len(frame))
    return _given(frame[name])


def _has_value(frame: pd.DataFrame, name: str) -> pa.Array:
    if name not in frame:
        return pa.repeat(False, len(frame))
    return pc.invert(_is_nothing(_arrow(frame[name])))


def _is_nothing(column: pa.Array) -> pa.Array:
    return pc.is_in(column, value_set=pa.array(_NOTHING))


def _any_filled(frame: pd.DataFrame, names: Sequence[str]) -> pa.Array:
    anywhere = pa.repeat(False, len(frame))
    for name in names:
        anywhere = pc.or_(anywhere, _filled(frame, name))
    return anywhere


def _all_alike(frame: pd.DataFrame, names: Sequence[str]) -> pa.Array:
    """Where all of `names` have a value, all are cleared, or all are left alone."""
    first, *rest = (_kind(frame, name) for name in names)
    alike = pa.repeat(True, len(frame))
    for kind in rest:
        alike = pc.and_(alike, pc.equal(first, kind))
    return alike


def _kind(frame: pd.DataFrame, name: str) -> pa.Array:
    """By row: 0 left alone, 1 cleared, 2 a value."""
    if name not in frame:
        return pa.repeat(pa.scalar(0, pa.int32()), len(frame))
    return pc.fill_null(pc.index_in(_arrow(frame[name]), value_set=pa.array(_NOTHING)), len(_NOTHING))


def _has(frame: pd.DataFrame, name: str, values: Sequence[str], default: str = "") -> pa.Array:
    if name not in frame:
        return pa.repeat(default in values, len(frame))
    column = _arrow(frame[name])
    actual = pc.if_else(_is_nothing(column), default, column)
    return pc.is_in(actual, value_set=pa.array(list(values)))
