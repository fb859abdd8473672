"""What spreadsheets have in a cell instead of a value, and what they keep of a long number."""

from __future__ import annotations

import re

DIGITS_KEPT = 15  # of those that are typed: the rest become 0
EXACT_BELOW = 2**53  # from here on one number stands for several

# What a workbook's reader writes for a formula that was saved without its value, and before a number that lost digits.
UNCALCULATED = "#UNCALCULATED!"
LOSSY = "#LOSSY!"

# What spreadsheets show for an error: in English, and in German, French, Spanish, Portuguese and Italian.
_ERROR_WORDS = (
    *("REF", "VALUE", "NULL", "NUM", "ERROR", "SPILL", "CALC", "FIELD", "BLOCKED", "CONNECT", "BUSY", "UNKNOWN"),
    *("PYTHON", "EXTERNAL", "TIMEOUT", "DIV/0", "BEZUG", "WERT", "ZAHL", "VALEUR", "NOMBRE", "VALOR", "VALORE"),
    *("RIF", "NUL"),
    *("¡REF", "¡VALOR", "¡NUM", "¡NULO", "¡DIV/0", "NULO", "NULLO"),
)
_ERROR_QUESTIONS = ("NAME", "NOM", "¿NOMBRE", "NOME")
_ERRORS = re.compile(
    rf"#(?:(?:{'|'.join(_ERROR_WORDS)}) ?!|(?:{'|'.join(_ERROR_QUESTIONS)}) ?\?|N/[AD]|NV|GETTING_DATA)|#{{4,}}"
)


def stands_in(text: str) -> bool:
    """Whether the whole text is what a cell has instead of a value.

    That is an error, the fill of a narrow column, a formula that was never calculated, or a number that lost digits.
    """
    return text == UNCALCULATED or text.startswith(LOSSY) or _ERRORS.fullmatch(text) is not None
