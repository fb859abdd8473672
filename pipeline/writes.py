"""What the journal has written: statements with their values, and the fence behind which alone they are."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class Statement(StrEnum):
    """What a write does; `docs/delivery.md` says when."""

    BEGIN = "begin"
    BEGIN_AGAIN = "begin again"
    SETTLE = "settle"
    RESTATE = "restate"
    NOTE = "note"
    HOLD = "hold"
    FORBID = "forbid"
    FREE = "free"
    LOOK = "look"  # whether the journal can be written: it changes nothing


class Write(NamedTuple):
    """One statement and its values, in the order of their numbers in its text."""

    statement: Statement
    values: tuple[object, ...]


class LeaseLostError(Exception):
    """Somebody else is to send what this process was sending: it must do nothing more."""


class Fence(NamedTuple):
    """The lease under which alone a writer may write. Whoever revokes it waits for the commit that has begun."""

    run_id: str
    partition: int
    epoch: int
