"""Request fields as a PHP script finds them in $_REQUEST (grade C: the gateway is PHP by its file names)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from urllib.parse import parse_qsl

Form = Mapping[str, str]

_TO_UNDERSCORE = str.maketrans(" .[", "___")


def pairs(encoded: str) -> list[tuple[str, str | None]]:
    """The names and values of a query or an urlencoded body, in order; bytes that are no UTF-8 become U+FFFD."""
    return list(parse_qsl(encoded, keep_blank_values=True, encoding="utf-8", errors="replace"))


def mangled(name: str) -> tuple[str, bool]:
    """`name` as PHP registers it, and whether it became an array."""
    name = name.lstrip(" ")
    head, bracket, rest = name.partition("[")
    is_array = bool(bracket) and "]" in rest
    return (head if is_array else name).translate(_TO_UNDERSCORE), is_array


def request_fields(query: Iterable[tuple[str, str | None]], body: Iterable[tuple[str, str | None]]) -> dict[str, str]:
    """$_REQUEST: the body wins over the query, and the last of a repeated name wins.

    An array (`x[]=1`), or an uploaded file (None), hides the field: no script expects either.
    """
    fields: dict[str, str | None] = {}
    for name, value in (*query, *body):
        key, is_array = mangled(name)
        fields[key] = None if is_array else value
    return {key: value for key, value in fields.items() if key and value is not None}
