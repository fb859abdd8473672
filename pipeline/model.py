"""The words of a run as types: statuses, problems, repairs, payloads, replies, outcomes.

Frames are text from reader to payload: no coercion, no nulls, "" is "not given".
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from schemas.spec import Verdict


class Status(StrEnum):
    """The end state of a row."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    REJECTED = "rejected"
    INVALID = "invalid"
    SKIPPED = "skipped"
    FAILED = "failed"
    UNKNOWN = "unknown"
    NOT_ATTEMPTED = "not_attempted"
    VALID = "valid"


AFTER = -1  # in the place of a source: the steps after a load, which no source holds
SUPPRESSED = "suppressed"  # code of a row whose number must not be contacted
OUTSIDE_HOURS = "outside_hours"  # code of a row that waits until its person may be contacted
FORGOTTEN = "forgotten"  # code of a row whose person was to be forgotten
STORED_DIFFERENTLY = "stored_differently"  # code of an accepted row whose values were changed at the vendor


class UserError(Exception):
    """Something its user can mend: one line that says what and where, and what to do next."""

    exit_code = 2  # usage or configuration


class InputError(UserError):
    """The input can't be used; nothing was sent."""

    exit_code = 4


class DiskError(UserError):
    """A file of the run can't be written. What was sent is in the journal."""

    exit_code = 70


class JournalError(Exception):
    """The journal can't be written: nothing more may be sent."""


@dataclass(frozen=True, slots=True)
class Prior:
    """What this run did with a row before it was interrupted."""

    attempts: int
    sent: bool  # a byte of some attempt may have left
    in_doubt: bool
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Place:
    """Where somebody may be: IANA zones and states, each sorted; no zone where no hour is known to be fit."""

    zones: tuple[str, ...]
    states: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Payload:
    """The form of one call, without credentials, and what is claimed while it is under way."""

    source: int  # index of the source in the run
    row: int
    row_key: str
    phone: str  # "" where the operation has none
    identifier: str  # "ClientId:17", "LeadId:4"; "" where there is none
    client_id: str
    body: bytes  # application/x-www-form-urlencoded
    sha256: str
    doubted_at: int | None = None  # microseconds since 1970: until then a request of it may have been under way
    prior: Prior | None = None  # None: this run has not begun with it yet
    may_resend: bool = True  # False: where it is looked up and not found, it stays in doubt
    place: Place | None = None  # where its person may be; None: it goes at any hour


@dataclass(frozen=True, slots=True)
class Held:
    """A valid row that is not sent, by a decision made when its turn came."""

    source: int
    row: int
    status: Status
    code: str
    message: str
    because_of: str | None = None  # the run that has delivered it, or may have


@dataclass(frozen=True, slots=True)
class Bar:
    """Why a row may not go out at this moment."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back: HTTP status, the headers that matter, and the text."""

    http_status: int
    body: str
    content_type: str = ""
    retry_after: str = ""
    date: str = ""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a reply, or a failure of the transport, means for its row.

    `result` is the JSON text of what a search found; `retry_after_seconds` is what the reply asks for.
    """

    verdict: Verdict
    code: str
    message: str = ""
    http_status: int | None = None
    reply: str | None = None
    result: str | None = None
    lead_id: str | None = None
    retry_after_seconds: float | None = None
    still_at_work: bool = False  # the vendor may not have finished with the call
    maybe_refused: bool = False  # in doubt, and likely a refusal


@dataclass(frozen=True, slots=True)
class Request:
    """One request that was made for a row, and what came of it."""

    operation: str
    sent_at: int  # microseconds since 1970, UTC
    code: str
    http_status: int | None
    reply: str | None
    latency_ms: float | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end state of a row that was sent."""

    status: Status
    code: str
    judgement: Judgement
    attempts: int
    latency_ms: float | None
    sent: bool = True  # a byte of some attempt may have left
    reconciled: bool = False  # a search has proved it
