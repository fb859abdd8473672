"""Names and lists of names as they stand in a line for people."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


def plain(name: str) -> str:
    """A name as one line of text: bytes that are no UTF-8 and characters that can't be seen are escaped."""
    text = name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def listed(names: Sequence[str], most: int = 20) -> str:
    """The names, the first of them where they are many: "a, b and 37 more"."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def nearest(word: str, known: Iterable[str]) -> str:
    """ "; did you mean …?" where one of `known` is close to `word`, else ""."""
    names = list(known)
    by_fold = {k.rpartition(".")[2].casefold(): k for k in names} | {k.casefold(): k for k in names}
    close = difflib.get_close_matches(word.casefold(), list(by_fold), n=1, cutoff=0.6)
    return f"; did you mean {by_fold[close[0]]!r}?" if close else ""
