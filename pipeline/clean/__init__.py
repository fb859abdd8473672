"""Cleaners by column: values as the vendors take them, and a record of each change and each refusal.

Pure functions over Arrow columns. A cell that can't be made right keeps its value and gets a problem;
a cell that is changed gets a repair; "" is "not given" and passes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import pyarrow as pa

from pipeline.clean.date import CALLBACK_DATE
from pipeline.clean.email import EMAIL
from pipeline.clean.engine import Cleaner, CleanOptions, Format, clean_column
from pipeline.clean.number import IDENTIFIER, WHOLE_NUMBER
from pipeline.clean.parts import Take, take
from pipeline.clean.phone import OFFICE_PHONE, PHONE_LIST, REGIONS, US_PHONE
from pipeline.clean.place import US_STATE, US_ZIP
from pipeline.clean.text import PLAIN_TEXT, Fix, Refusal
from pipeline.marks import Cleaned

__all__ = ["CLEANERS", "CLEANERS_VERSION", "REGIONS", "CleanOptions", "Cleaner", "Take", "clean", "take"]

_FLAG_WORDS = {
    "1": ("1", "1.0", "true", "t", "yes", "y", "on"),
    "0": ("0", "0.0", "false", "f", "no", "n", "off"),
}
_FLAGS = {word: flag for flag, words in _FLAG_WORDS.items() for word in words}


def flag(value: str, _options: CleanOptions, _beside: Sequence[str] = ()) -> Fix | Refusal | None:
    """`0` or `1`. Repair: `flag_word` (true, t, yes, y, on and their opposites). Problem: `bad_flag`."""
    found = _FLAGS.get(value.lower())
    if found is None:
        return Refusal("bad_flag", "This must be 1 or 0, or a word such as yes or no.")
    return None if found == value else Fix(found, "flag_word")


def text(_value: str, _options: CleanOptions, _beside: Sequence[str] = ()) -> Fix | Refusal | None:
    """Any text. What `tidy` does to every value is all."""
    return None


CLEANERS: Mapping[str, Cleaner] = MappingProxyType(
    {
        "us_phone": US_PHONE,
        "office_phone": OFFICE_PHONE,
        "phone_list": PHONE_LIST,
        "us_state": US_STATE,
        "us_zip": US_ZIP,
        "callback_date": CALLBACK_DATE,
        "email": EMAIL,
        "identifier": IDENTIFIER,
        "whole_number": WHOLE_NUMBER,
        "flag": Cleaner(right=lambda _: "[01]", mend=flag),
        "text": Cleaner(
            right=lambda _: PLAIN_TEXT, mend=text, formats=(Format(rf" *({PLAIN_TEXT}) *", r"\1", "trimmed"),)
        ),
    }
)
CLEANERS_VERSION = 2  # goes up when a cleaner says something else of any value

_NOTHING_BESIDE: Mapping[str, pa.StringArray] = MappingProxyType({})


def clean(
    name: str,
    field: str,
    column: pa.StringArray | pa.ChunkedArray,
    options: CleanOptions,
    context: Mapping[str, pa.StringArray | pa.ChunkedArray] = _NOTHING_BESIDE,
) -> Cleaned:
    """`column` cleaned by the cleaner called `name`.

    `context` has cleaned columns of the same rows by vendor field: what a cleaner looks at beside the value is cleaned
    before it. Problems that any cleaner reports: `cell_error`. Repairs that any makes: `trimmed`, `newline`, `space`,
    `invisible`, `nfc`, `quotes`, `text_formula`.
    """
    cleaner = CLEANERS[name]
    values = _whole(column)
    names = [other.field for other in cleaner.beside]
    beside = [_whole(context[name]) if name in context else pa.repeat("", len(values)) for name in names]
    return clean_column(cleaner, field, values, options, beside)


def _whole(column: pa.StringArray | pa.ChunkedArray) -> pa.StringArray:
    """One array of plain strings, whichever kind of text column came."""
    whole = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    return whole.cast(pa.string()).fill_null("")
