"""When to stop: what a run has seen, and what of it halts the run. Pure: no clock, no I/O."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from pipeline.model import Status, UserError
from schemas.spec import Verdict


@dataclass(frozen=True, slots=True)
class ErrorLimit:
    """`--max-errors`: a number of rows, or a share of the verdicts."""

    rows: int | None
    share: float | None

    @classmethod
    def parse(cls, text: str) -> ErrorLimit:
        """The limit in "500" or "20%". Raises UserError for anything else."""
        number = text.strip().removesuffix("%")
        if not number.isdecimal() or (text.strip().endswith("%") and int(number) > 100):
            raise UserError(f"--max-errors {text!r}: give a number of rows (500) or a share (20%)")
        if text.strip().endswith("%"):
            return cls(None, int(number) / 100)
        return cls(int(number), None)


@dataclass(frozen=True, slots=True)
class Halt:
    """Why a run stopped before its end."""

    code: str
    message: str
    exit_code: int


JUDGED_AFTER = 200  # verdicts before a share is judged
IN_A_ROW = 50
UNKNOWN_AT_MOST = 100
REFUSALS_WITHOUT_CONNECTION = 20


@dataclass(frozen=True, slots=True)
class Seen:
    """What the workers of a run have seen: verdicts, errors among them, and rows in doubt."""

    verdicts: int = 0
    errors: int = 0
    unknown: int = 0
    judged: int = 0  # leads of which the vendor said something: it knows us
    credentials: int = 0  # rows whose credentials it refused
    refusals: int = 0  # connections that it did not take
    connected: bool = False  # it has taken one

    def __add__(self, other: Seen) -> Seen:
        return Seen(
            self.verdicts + other.verdicts,
            self.errors + other.errors,
            self.unknown + other.unknown,
            self.judged + other.judged,
            self.credentials + other.credentials,
            self.refusals + other.refusals,
            self.connected or other.connected,
        )


@dataclass(slots=True)
class Watch:
    """Watches verdicts and says when a run must stop. `halt` is None while it may go on.

    `others` is what the run's other workers have seen, as far as is known here: limits are those of the whole run.
    """

    limit: ErrorLimit
    halt: Halt | None = None
    others: Seen = field(default_factory=Seen)
    _verdicts: int = 0
    _errors: int = 0
    _errors_in_a_row: int = 0
    _errors_of_all_in_a_row: int = 0  # as far as is known here
    _unknown: int = 0
    _judged: int = 0
    _credentials: int = 0
    _credentials_of_all_in_a_row: int = 0  # since the last verdict on a lead, as far as is known here
    _refusals: int = 0
    _connected: bool = False

    @property
    def doubts_credentials(self) -> bool:
        """One row's credentials were refused: nothing new goes until a second verdict confirms or denies it."""
        return self._credentials_of_all_in_a_row == 1

    @property
    def refused(self) -> int:
        """How often the vendor would not have us here: by our credentials, or by no connection while it took none."""
        return self._credentials + (0 if self._was_reached else self._refusals)

    @property
    def _was_reached(self) -> bool:
        return self._connected or self.others.connected

    @property
    def end(self) -> Halt | None:
        """Why the run as a whole failed: a halt, or the same seen in fewer rows than a halt needs.

        Where the vendor judged no lead at all, the cause of that says more than that errors were too many.
        """
        seen = self.seen + self.others
        if self.halt == _UNREACHABLE and seen.connected:  # a call that was under way has had its reply since
            return Halt("unreachable", "the vendor took no more connections", 3)
        if seen.judged or (self.halt and self.halt.code != _TOO_MANY_ERRORS):
            return self.halt
        if seen.credentials:
            return _CREDENTIALS
        return _UNREACHABLE if seen.refusals and not seen.connected else self.halt

    @property
    def seen(self) -> Seen:
        """What was seen here."""
        return Seen(
            self._verdicts,
            self._errors,
            self._unknown,
            self._judged,
            self._credentials,
            self._refusals,
            self._connected,
        )

    @classmethod
    def merged(cls, watches: Sequence[Watch], seen: Seen, first: Halt | None) -> Watch:
        """One watch for several, which have `seen` so much together, where `first` was the first halt.

        Refused credentials say more than what came first.
        """
        halts = [watch.halt for watch in watches if watch.halt is not None]
        halt = _CREDENTIALS if _CREDENTIALS in halts else first or next(iter(halts), None)
        return cls(ErrorLimit(None, 1.0), halt, others=seen)

    def hear(self, others: Seen) -> None:
        """Takes in what the others have seen by now: a success of theirs ends a row of the run's errors, too."""
        verdicts, errors = others.verdicts - self.others.verdicts, others.errors - self.others.errors
        self._errors_of_all_in_a_row = self._errors_of_all_in_a_row + errors if errors == verdicts else 0
        refused = others.credentials - self.others.credentials
        is_known = others.judged > self.others.judged
        self._credentials_of_all_in_a_row = 0 if is_known else self._credentials_of_all_in_a_row + refused
        self.others = others
        self._check_refusals()

    def saw_attempt(self, verdict: Verdict, http_status: int | None) -> None:
        """Counts one request, before it is known whether it will be tried again."""
        if http_status is not None or verdict is not Verdict.NOT_DELIVERED:
            self._connected = True
            return
        self._refusals += 1
        self._check_refusals()

    def saw_row(self, status: Status, code: str) -> None:
        """Counts one row's outcome."""
        if code == "credentials":
            self._credentials += 1
            self._credentials_of_all_in_a_row += 1
            self._check_refusals()
        elif status in (Status.ACCEPTED, Status.DUPLICATE, Status.REJECTED):
            self._judged += 1
            self._credentials_of_all_in_a_row = 0
        if status is Status.UNKNOWN:
            self._saw_unknown()
        elif status in (Status.ACCEPTED, Status.DUPLICATE, Status.REJECTED, Status.FAILED):
            self._saw_verdict(error=status in (Status.REJECTED, Status.FAILED))

    def _check_refusals(self) -> None:
        if self._credentials_of_all_in_a_row >= 2:
            self._stop(_CREDENTIALS)
        if not self._was_reached and self._refusals + self.others.refusals >= REFUSALS_WITHOUT_CONNECTION:
            self._stop(_UNREACHABLE)

    def _saw_unknown(self) -> None:
        self._unknown += 1
        unknown = self._unknown + self.others.unknown
        if unknown >= UNKNOWN_AT_MOST:
            self._stop(Halt("too_many_unknown", f"{unknown} rows are in doubt", 3))

    def _saw_verdict(self, *, error: bool) -> None:
        self._verdicts += 1
        self._errors += error
        self._errors_in_a_row = self._errors_in_a_row + 1 if error else 0
        self._errors_of_all_in_a_row = self._errors_of_all_in_a_row + 1 if error else 0
        errors, verdicts = self._errors + self.others.errors, self._verdicts + self.others.verdicts
        if self._too_many(errors, verdicts):
            text = f"{errors} of {verdicts} rows were rejected or failed (--max-errors)"
            self._stop(Halt(_TOO_MANY_ERRORS, text, 3))

    def _too_many(self, errors: int, verdicts: int) -> bool:
        if self.limit.rows is not None:
            return errors > self.limit.rows
        share = self.limit.share if self.limit.share is not None else 1.0
        # A quotient is rounded as the share was: 58 of 200 is not more than 29%.
        judged = verdicts >= JUDGED_AFTER and errors / verdicts > share
        return judged or (share < 1 and max(self._errors_in_a_row, self._errors_of_all_in_a_row) >= IN_A_ROW)

    def _stop(self, halt: Halt) -> None:
        self.halt = self.halt or halt


_TOO_MANY_ERRORS = "too_many_errors"
_CREDENTIALS = Halt("credentials", "the vendor refused the credentials", 77)
_UNREACHABLE = Halt("unreachable", "no connection to the vendor could be made", 75)
