"""Addresses of email: one, as it is written to; or a reason. No name is looked up."""

from __future__ import annotations

import re
from collections.abc import Sequence

from pipeline.clean.engine import Cleaner, CleanOptions
from pipeline.clean.text import Fix, Refusal

# What is right at a glance: plain letters, a host of a common kind, no part too long. The rest is judged one by one.
_WORD = "[A-Za-z0-9_+-]{1,30}"
_LABEL = "[a-z0-9]{1,30}"
_RIGHT = rf"{_WORD}(?:\.{_WORD})?@(?:{_LABEL}\.){{1,2}}(?:com|net|org|edu|gov|us|ca|co|io|info|biz)"

_NAMED = re.compile(r"[^<>@]*<([^<>]+)>")  # Ana Diaz <ana@example.com>
_LINK = "mailto:"
_BEHIND = " .,;"
_BETWEEN = re.compile(r"[\s,;|/]+")


def _bad(message: str) -> Refusal:
    return Refusal("bad_email", message)


_TWO = _bad("There is more than one address in this cell. Leave one.")


def email(value: str, _options: CleanOptions, _beside: Sequence[str] = ()) -> Fix | Refusal | None:
    """One address, its host in small letters.

    Repair: `email_format` (a name with the address in angle brackets, `mailto:`, signs behind it, capitals in the
    host), not lossless where a name is left out. Problem: `bad_email`.
    """
    from email_validator import EmailNotValidError, validate_email  # takes 0.1 s to load: only where one is asked for

    address, has_name = _bare(value)
    if len([part for part in _BETWEEN.split(address) if "@" in part]) > 1:
        return _TWO
    try:
        found = validate_email(address, check_deliverability=False).normalized
    except EmailNotValidError as error:
        return _bad(f"This is no email address. {error}")
    return None if found == value else Fix(found, "email_format", lossless=not has_name)


def _bare(value: str) -> tuple[str, bool]:
    """The address without what programs write around it, and whether there was a person's name."""
    named = _NAMED.fullmatch(value.rstrip(_BEHIND))
    text = (named[1] if named else value).strip()
    if text[: len(_LINK)].lower() == _LINK:
        text = text[len(_LINK) :]
    return text.strip().rstrip(_BEHIND), bool(named and not named[0].startswith("<"))


EMAIL = Cleaner(right=lambda _: _RIGHT, mend=email)
