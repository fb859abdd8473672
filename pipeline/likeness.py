"""How far a header is like what columns of lead lists are called."""

from __future__ import annotations

import re
import unicodedata
from functools import cache
from typing import NamedTuple

from rapidfuzz.distance import OSA

from schemas.meanings import MEANINGS, NEUTRAL, SYNONYMS, Meaning

_WEIGHTS = (1.0, 0.96, 0.92, 0.88)  # of a meaning's tiers
_NEARLY = 0.98  # of a header with a word more that says nothing
_MORE_WORDS = 0.62  # of a header with words that may say whose it is: "Agent Phone"
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|(?<=[^\W\d_])(?=\d)|(?<=\d)(?=[^\W\d_])")
_SHORT = 4  # letters: shorter words have no slips that could be told from other words
_LONG = 7  # from here on there may be two


class Likeness(NamedTuple):
    """How like a header is to a meaning: `same` where it is one of its spellings, which is more than any slip of one.

    `score` is from 0 to 1.
    """

    same: bool
    score: float


NOT_LIKE = Likeness(same=False, score=0.0)


def words(header: str) -> tuple[str, ...]:
    """The words of a header in lower case without accents, as synonyms have them: "E-Mail", "PhoneNo1", "prénom"."""
    text = "".join(c for c in unicodedata.normalize("NFKD", header) if not unicodedata.combining(c))
    text = _CAMEL.sub(" ", text.replace("#", " number ")).casefold()
    return tuple(SYNONYMS.get(word, word) for word in re.findall(r"[^\W_]+", text))


def likeness(header: str, meaning: Meaning) -> Likeness:
    """How like `header` is to the spellings of `meaning`."""
    return _likeness(words(header), meaning)


@cache
def _likeness(said: tuple[str, ...], meaning: Meaning) -> Likeness:
    core = tuple(word for word in said if word not in NEUTRAL) or said
    best = max(_spelled(said, core, spelling, weight, meaning) for spelling, weight in _spellings()[meaning])
    return max(best, _with_more(core, meaning)) if meaning.loose else best


def _spelled(
    said: tuple[str, ...], core: tuple[str, ...], spelling: tuple[str, ...], weight: float, meaning: Meaning
) -> Likeness:
    if "".join(said) == "".join(spelling):
        return Likeness(same=True, score=weight)
    whole = "".join(spelling)
    bare = [word for word in core if word not in meaning.qualifiers or word in spelling]
    if whole in {"".join(core), "".join(bare), _without_neutral(said)} or sorted(core) == sorted(spelling):
        return Likeness(same=True, score=weight * _NEARLY)
    return Likeness(same=False, score=weight * _slip("".join(core), whole))


def _without_neutral(said: tuple[str, ...]) -> str:
    """A header written as one word, such as "leadphone", without the word in front that says nothing."""
    first = said[0] if len(said) == 1 else ""
    front = next((word for word in NEUTRAL if len(word) >= _SHORT and first.startswith(word) and first != word), "")
    return SYNONYMS.get(first.removeprefix(front), first.removeprefix(front)) if front else ""


def _slip(said: str, whole: str) -> float:
    """How like two words are that differ by a slip of the pen; 0 where they differ by more."""
    shorter = min(len(said), len(whole))
    allowed = 0 if shorter < _SHORT else 1 if shorter < _LONG else 2
    slips = OSA.distance(said, whole, score_cutoff=allowed)
    return 1 - 0.5 * slips / shorter - 0.05 if 0 < slips <= allowed else 0.0


def _with_more(core: tuple[str, ...], meaning: Meaning) -> Likeness:
    """Whether a spelling is among the words of a longer header."""
    said = set(core)
    weights = [weight for spelling, weight in _spellings()[meaning] if set(spelling) < said]
    return Likeness(same=False, score=_MORE_WORDS * max(weights, default=0.0))


@cache
def _spellings() -> dict[Meaning, tuple[tuple[tuple[str, ...], float], ...]]:
    """The words of each spelling with the weight of its tier."""
    return {
        meaning: tuple(
            (words(spelling), weight)
            for spellings, weight in zip(meaning.tiers, _WEIGHTS, strict=False)
            for spelling in spellings
        )
        for meaning in MEANINGS
    }
