"""Text, names and lists as TOML has them, for mappings that are suggested and lines that would mend one."""

from __future__ import annotations

import re
from collections.abc import Iterable

_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


def quoted(value: str) -> str:
    """A string on one line: whatever can't be seen is escaped."""
    return '"' + "".join(map(_escaped, value)) + '"'


def key(name: str) -> str:
    """A key, in quotes only where it needs them."""
    return name if _BARE_KEY.fullmatch(name) else quoted(name)


def array(values: Iterable[str]) -> str:
    """A list of strings."""
    return f"[{', '.join(map(quoted, values))}]"


def comment(value: str) -> str:
    """Text behind a #: on one line, as it is."""
    return "".join(character if character.isprintable() else _escaped(character) for character in value)


def _escaped(character: str) -> str:
    if character in _ESCAPES:
        return _ESCAPES[character]
    if character.isprintable():
        return character
    return f"\\u{ord(character):04x}" if ord(character) < 0x10000 else f"\\U{ord(character):08x}"
