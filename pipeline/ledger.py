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
    """What one earlier run did with one key. A request of it may have been under way until `last_at`, in microseconds.

    `order` says which came first: clocks are set back now and then.
    """

    run_id: str
    status: str | None  # None: it was being sent when its run died
    payload_sha256: str
    last_at: int
    order: int

    @property
    def is_delivered(self) -> bool:
        """Whether the vendor has it, or said so."""
        return self.status in _DELIVERED


def decide(
    operation: Operation, entries: Iterable[Entry], payload_sha256: str, as_of: int | None = None
) -> tuple[Decision, Entry | None]:
    """The decision for a row, with the entry that it rests on; `entries` are all that its key has, oldest first.

    `as_of` is the order up to which the row was fresh, where it is not now.
    """
    known = [e for e in entries if _is_known(e)]
    if operation.ledger is LedgerRule.NONE or not known:
        return Decision.SEND, None
    if operation.ledger is LedgerRule.LAST_PAYLOAD:
        latest = _latest(known)
        return _by_latest(latest, payload_sha256, as_of) if latest.is_delivered else _in_doubt(operation, latest)
    delivered = [entry for entry in known if entry.is_delivered]
    return (Decision.SKIP, delivered[-1]) if delivered else _in_doubt(operation, known[-1])


def is_in_doubt(entries: Iterable[Entry]) -> bool:
    """Whether what came last, of all that is known of a key, has no outcome."""
    known = [e for e in entries if _is_known(e)]
    return bool(known) and not _latest(known).is_delivered


def _is_known(entry: Entry) -> bool:
    return entry.is_delivered or entry.status in (None, Status.UNKNOWN.value)


def _latest(known: Iterable[Entry]) -> Entry:
    return max(known, key=lambda entry: entry.order)


def _by_latest(latest: Entry, payload_sha256: str, as_of: int | None) -> tuple[Decision, Entry | None]:
    if latest.payload_sha256 == payload_sha256:
        return Decision.SKIP, latest
    if as_of is not None and latest.order > as_of:
        return Decision.SUPERSEDED, latest
    return Decision.SEND, None


def _in_doubt(operation: Operation, entry: Entry) -> tuple[Decision, Entry | None]:
    if operation.settle is Settle.REPEAT:
        return Decision.SEND, None
    return (Decision.LOOK_UP if operation.settle is Settle.SEARCH else Decision.LEAVE), entry
