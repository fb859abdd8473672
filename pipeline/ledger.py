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


@dataclass(frozen=True, slots=True)
class Entry:
    """What one earlier run did with one key. Times are microseconds since 1970, UTC."""

    run_id: str
    status: str | None  # None: it was being sent when its run died
    payload_sha256: str
    sent_at: int


def decide(operation: Operation, entries: Iterable[Entry], payload_sha256: str) -> tuple[Decision, Entry | None]:
    """The decision for a row, with the entry that it rests on; `entries` are all that its key has, oldest first."""
    known = list(entries)
    delivered = [entry for entry in known if entry.status in _DELIVERED]
    doubtful = [entry for entry in known if entry.status in (None, Status.UNKNOWN.value)]
    if operation.ledger is LedgerRule.LAST_PAYLOAD:
        latest = max(delivered + doubtful, key=lambda entry: entry.sent_at, default=None)
        same = latest in delivered and latest is not None and latest.payload_sha256 == payload_sha256
        return (Decision.SKIP, latest) if same else (Decision.SEND, None)
    if operation.ledger is LedgerRule.NONE or not (delivered or doubtful):
        return Decision.SEND, None
    if delivered:
        return Decision.SKIP, delivered[-1]
    if operation.settle is Settle.REPEAT:
        return Decision.SEND, None
    return (Decision.LOOK_UP if operation.settle is Settle.SEARCH else Decision.LEAVE), doubtful[-1]
