"""The ledger: what earlier runs delivered or left in doubt, by row key, and what follows for a row. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from pipeline.model import Status
from schemas.spec import LedgerRule, Operation, Settle

_DELIVERED = (Status.ACCEPTED.value, Status.DUPLICATE.value)


class Decision(StrEnum):
    """What the ledger says of a row whose turn has come."""

    SEND = "send"
    SKIP = "skip"  # it was delivered
    LOOK_UP = "look_up"  # an earlier run may have delivered it: a search tells
    LEAVE = "leave"  # an earlier run may have delivered it, and nothing can tell
    SUPERSEDED = "superseded"  # something newer was delivered, and this would undo it


@dataclass(frozen=True, slots=True)
class Entry:
    """What one earlier run did with one key. Times are microseconds since 1970, UTC."""

    run_id: str
    status: str | None  # None: it was being sent when its run died
    payload_sha256: str
    sent_at: int

    @property
    def is_delivered(self) -> bool:
        """Whether the vendor has it, or said so."""
        return self.status in _DELIVERED


def decide(
    operation: Operation, entries: Iterable[Entry], payload_sha256: str, as_of: int | None = None
) -> tuple[Decision, Entry | None]:
    """The decision for a row, with the entry that it rests on; `entries` are all that its key has, oldest first.

    `as_of` is when the row was fresh, where it is not now: microseconds since 1970.
    """
    known = [e for e in entries if e.is_delivered or e.status in (None, Status.UNKNOWN.value)]
    if operation.ledger is LedgerRule.NONE or not known:
        return Decision.SEND, None
    if operation.ledger is LedgerRule.LAST_PAYLOAD:
        return _by_latest(known, payload_sha256, as_of)
    delivered = [entry for entry in known if entry.is_delivered]
    if delivered:
        return Decision.SKIP, delivered[-1]
    if operation.settle is Settle.REPEAT:
        return Decision.SEND, None
    return (Decision.LOOK_UP if operation.settle is Settle.SEARCH else Decision.LEAVE), known[-1]


def _by_latest(known: list[Entry], payload_sha256: str, as_of: int | None) -> tuple[Decision, Entry | None]:
    latest = max(known, key=lambda entry: entry.sent_at)
    if latest.is_delivered and latest.payload_sha256 == payload_sha256:
        return Decision.SKIP, latest
    if as_of is not None and latest.is_delivered and latest.sent_at > as_of:
        return Decision.SUPERSEDED, latest
    return Decision.SEND, None
