"""What follows from what came back: the retry table, by how an operation settles doubts and what a duplicate does.

One table, as data: the push acts by it, `leads operations NAME` shows it, a test goes through it cell by cell. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

from pipeline.model import Judgement
from schemas.spec import Operation, Settle, Verdict


class Duplicates(StrEnum):
    """What sending a lead once more would do at the vendor."""

    SUPPRESSED = "suppressed"  # the vendor refuses what it has already
    STORED = "stored"  # it would be there twice
    DIALED = "dialed"  # it would be there twice, and its phone may ring twice


class Case(StrEnum):
    """What is known of a row after a request, or after a look-up."""

    NEVER_SENT = "never_sent"
    THROTTLED = "throttled"
    IN_DOUBT = "in_doubt"
    MAYBE_REFUSED = "maybe_refused"
    DUPLICATE_AFTER_DOUBT = "duplicate_after_doubt"
    FOUND = "found"
    SEARCH_UNCLEAR = "search_unclear"
    NOT_FOUND = "not_found"
    MAYBE_REFUSED_NOT_FOUND = "maybe_refused_not_found"
    DUPLICATE_NOT_FOUND = "duplicate_not_found"
    THERE = "there"


class Action(StrEnum):
    """What is done with the row."""

    SEND_AGAIN = "send again"
    LOOK_UP = "look up"
    ACCEPT = "accepted"
    DUPLICATE = "duplicate"
    REJECT = "rejected"
    FAIL = "failed"  # attempts used up, and known not to be there
    GIVE_UP = "unknown"


CASES: Mapping[Case, str] = MappingProxyType(
    {
        Case.NEVER_SENT: "never sent: no address, no connection, no TLS; CURL error[5|6|7|35]",
        Case.THROTTLED: "429, or 503 with Retry-After",
        Case.IN_DOUBT: "no reply, cut off, 5xx, unreadable; CURL error[28] and its kin",
        Case.MAYBE_REFUSED: "CURL error[500] with a page or with words that no rule knows",
        Case.DUPLICATE_AFTER_DOUBT: "“duplicate”, after a request of this row that is in doubt",
        Case.FOUND: "looked up: there, with our ClientId and phone",
        Case.SEARCH_UNCLEAR: "looked up: no clear answer",
        Case.NOT_FOUND: "looked up twice, not there",
        Case.MAYBE_REFUSED_NOT_FOUND: "the same, where it may have been refused",
        Case.DUPLICATE_NOT_FOUND: "the same, where the vendor said “duplicate”",
        Case.THERE: "looked up: there, perhaps from before; what goes out is its update",
    }
)

_NOTHING_ARRIVED = {Case.NEVER_SENT: Action.SEND_AGAIN, Case.THROTTLED: Action.SEND_AGAIN}
_ANY_TIME = _NOTHING_ARRIVED | {
    Case.IN_DOUBT: Action.SEND_AGAIN,
    Case.MAYBE_REFUSED: Action.SEND_AGAIN,
    Case.DUPLICATE_AFTER_DOUBT: Action.GIVE_UP,
}
_LOOKED_UP = _NOTHING_ARRIVED | {
    Case.IN_DOUBT: Action.LOOK_UP,
    Case.MAYBE_REFUSED: Action.LOOK_UP,
    Case.DUPLICATE_AFTER_DOUBT: Action.LOOK_UP,
    Case.FOUND: Action.ACCEPT,
    Case.SEARCH_UNCLEAR: Action.GIVE_UP,
    Case.NOT_FOUND: Action.SEND_AGAIN,
    Case.MAYBE_REFUSED_NOT_FOUND: Action.REJECT,
    Case.DUPLICATE_NOT_FOUND: Action.DUPLICATE,
}
_NOBODY_CAN_TELL = _NOTHING_ARRIVED | {
    Case.IN_DOUBT: Action.GIVE_UP,
    Case.MAYBE_REFUSED: Action.GIVE_UP,
    Case.DUPLICATE_AFTER_DOUBT: Action.GIVE_UP,
}

RETRIES: Mapping[tuple[Settle, Duplicates], Mapping[Case, Action]] = MappingProxyType(
    {
        **{(Settle.REPEAT, duplicates): MappingProxyType(_ANY_TIME) for duplicates in Duplicates},
        **{(Settle.NEVER, duplicates): MappingProxyType(_NOBODY_CAN_TELL) for duplicates in Duplicates},
        (Settle.SEARCH, Duplicates.SUPPRESSED): MappingProxyType(_LOOKED_UP),
        (Settle.SEARCH, Duplicates.STORED): MappingProxyType(_LOOKED_UP),
        # Sending again is a bet that the vendor has finished, and that bet may ring a phone.
        (Settle.SEARCH, Duplicates.DIALED): MappingProxyType(_LOOKED_UP | {Case.NOT_FOUND: Action.GIVE_UP}),
    }
)

Follows = Mapping[Case, Action]


def follows(
    operation: Operation, duplicates: Duplicates = Duplicates.SUPPRESSED, resend_unfound: bool | None = None
) -> Follows:
    """One column of the table, with the policy's own word on rows that were not found, where it has one."""
    column = RETRIES[operation.settle, duplicates]
    if operation.composed is not None:  # the row begins anew, and what is there gets an update, which may be repeated
        column = MappingProxyType({**column, Case.THERE: Action.SEND_AGAIN})
    if resend_unfound is None or Case.NOT_FOUND not in column:
        return column
    return MappingProxyType({**column, Case.NOT_FOUND: Action.SEND_AGAIN if resend_unfound else Action.GIVE_UP})


_CASE_OF = {
    Verdict.NOT_DELIVERED: Case.NEVER_SENT,
    Verdict.THROTTLED: Case.THROTTLED,
    Verdict.DUPLICATE: Case.DUPLICATE_AFTER_DOUBT,
}


def case_of(judgement: Judgement) -> Case | None:
    """What a request's judgement is in the table; None where it is final by itself.

    A "duplicate" is in the table only after a doubt: whoever asks knows.
    """
    if judgement.verdict is Verdict.IN_DOUBT:
        return Case.MAYBE_REFUSED if judgement.maybe_refused else Case.IN_DOUBT
    return _CASE_OF.get(judgement.verdict)


def not_found(judgement: Judgement) -> Case:
    """What it is when a row with this judgement has been looked up twice and is not there."""
    case = case_of(judgement)
    if case is Case.DUPLICATE_AFTER_DOUBT:
        return Case.DUPLICATE_NOT_FOUND
    return Case.MAYBE_REFUSED_NOT_FOUND if case is Case.MAYBE_REFUSED else Case.NOT_FOUND
