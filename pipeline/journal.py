"""The journal: what was about to be sent and what came back, durable before it counts.

A row is committed as `sending` before its bytes leave, and its settlement is one transaction. While a row is
`sending`, unique indexes claim its phone and its identifier in its account, whatever the run or operation.
One thread writes, one group at a time; what is asked for while it commits goes into the next one.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass
from typing import NamedTuple

import sqlalchemy as sa

from pipeline import statedb, writer
from pipeline.model import Held, JournalError, Outcome, Payload, Request, Status
from pipeline.writer import Writer
from pipeline.writes import Fence, LeaseLostError, Statement, Write

GROUP_AT_MOST = 500  # operations in one commit
QUIET_TURNS = 3  # of the event loop, in which nothing was asked for: whoever came in with the others has asked by then
_TEXT = {status: status.value for status in Status}  # an enum's member takes the driver three times as long


@dataclass(frozen=True, slots=True)
class Scope:
    """What all rows of one run share in the journal."""

    run_id: str
    account: str  # the account at its base URL: claims are unique within it
    operation: str


class _Group(NamedTuple):
    """Writes, and who waits for each: None where nobody does."""

    writes: list[Write]
    waiting: list[asyncio.Future[bool] | None]
    loop: asyncio.AbstractEventLoop


@dataclass(frozen=True, slots=True)
class Marking:
    """That the rows of a run put numbers on do-not-call, or take them off. `key` is the state database's."""

    key: bytes
    forbids: bool  # False: it frees them


@dataclass(frozen=True, slots=True)
class Restated:
    """What reading a settled row back has found."""

    status: Status
    code: str | None  # None: as it was
    message: str
    result: str
    lead_id: str | None
    reconciled: bool


class Journal:
    """One run's writes to the state database. Use `open_journal`; methods are called from the event loop."""

    def __init__(self, writer: Writer, scope: Scope, marking: Marking | None = None) -> None:
        self._writer = writer
        self._scope, self._marking = scope, marking
        self._writes: list[Write] = []  # not handed over yet
        self._waiting: list[asyncio.Future[bool] | None] = []  # for each of them
        self._loop: asyncio.AbstractEventLoop | None = None  # whose they are; to ask which one runs is a system call
        self._is_due = False  # the thread has a group, or gets one in the loop's next turn
        self._groups: queue.SimpleQueue[_Group | None] = queue.SimpleQueue()
        self._broken: Exception | None = None
        self._thread = threading.Thread(target=self._write_groups, name="journal", daemon=True)
        self._thread.start()

    def begin(self, payload: Payload, at: int) -> asyncio.Future[bool]:
        """Resolves once the row is durably `sending`; False where its phone or identifier is claimed elsewhere.

        A number that it puts on do-not-call is known as such from now on, whatever becomes of the row.
        """
        scope = self._scope
        if self._marking is not None and self._marking.forbids and payload.phone:
            mark = statedb.hashed(payload.phone, self._marking.key)
            self._tell(Statement.FORBID, (scope.account, mark, at))
        if payload.prior is not None:
            place = (scope.run_id, payload.source, payload.row)
            return self._submit(Statement.BEGIN_AGAIN, (payload.sha256, at, *place))
        alike = (scope.run_id, payload.source, scope.account, scope.operation)
        claim = (payload.row_key, payload.phone, payload.identifier, payload.sha256)
        return self._submit(Statement.BEGIN, (*alike, payload.row, *claim, at))

    def settle(self, payload: Payload, outcome: Outcome, at: int) -> asyncio.Future[bool]:
        """Resolves once the row's outcome is durable and its claims are free.

        Only where the vendor has taken a number off do-not-call, it is not known as such any more.
        """
        if self._marking is not None and not self._marking.forbids and outcome.status is Status.ACCEPTED:
            mark = statedb.hashed(payload.phone, self._marking.key)
            self._tell(Statement.FREE, (self._scope.account, mark))
        j = outcome.judgement
        said = (_TEXT[outcome.status], outcome.code, j.message, outcome.attempts, j.http_status, j.reply, j.result)
        alike = (self._scope.run_id, payload.source, *said, j.lead_id, outcome.sent, outcome.reconciled)
        return self._submit(Statement.SETTLE, (*alike, payload.row, at, outcome.latency_ms))

    def restate(self, payload: Payload, said: Restated, at: int) -> asyncio.Future[bool]:
        """Resolves once what reading a settled row back has found is durable."""
        place = (self._scope.run_id, payload.source, payload.row)
        return self._submit(Statement.RESTATE, (*astuple(said), at, *place))

    def note(self, payload: Payload, request: Request) -> None:
        """Records one request of a row that needs more than one."""
        place = (self._scope.run_id, payload.source, payload.row)
        self._tell(Statement.NOTE, (*place, *astuple(request)))

    def hold(self, held: Held, at: int) -> asyncio.Future[bool]:
        """Records that a valid row is not sent, and why."""
        place = (self._scope.run_id, held.source, held.row)
        return self._submit(Statement.HOLD, (*place, held.status, held.code, held.message, at))

    @property
    def may_be_lost(self) -> bool:
        """Whether it can be lost without a word while nothing is written: `look` tells."""
        return self._writer.may_be_lost

    def look(self) -> asyncio.Future[bool]:
        """Resolves once it is known that the journal can be written, and is this run's still."""
        return self._submit(Statement.LOOK, ())

    def close(self) -> None:
        """Ends the writing thread after all that was asked for."""
        self._hand_over(len(self._writes))
        self._groups.put(None)
        self._thread.join()

    def _submit(self, statement: Statement, values: tuple[object, ...]) -> asyncio.Future[bool]:
        done: asyncio.Future[bool] = self._running().create_future()
        self._add(Write(statement, values), done)
        return done

    def _tell(self, statement: Statement, values: tuple[object, ...]) -> None:
        """Has something written that nobody waits for."""
        self._add(Write(statement, values), None)

    def _add(self, write: Write, done: asyncio.Future[bool] | None) -> None:
        self._writes.append(write)
        self._waiting.append(done)
        if not self._is_due:
            self._is_due = True
            self._running().call_soon(self._gather, 0, 0)

    def _running(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        return self._loop

    def _gather(self, seen: int, quiet: int) -> None:
        """Hands a group over once nothing more was asked for in some turns of the loop: a commit costs many writes."""
        asked = len(self._writes)
        quiet = quiet + 1 if asked == seen else 0
        if quiet < QUIET_TURNS and asked < GROUP_AT_MOST:
            self._running().call_soon(self._gather, asked, quiet)
        else:
            self._hand_over()

    def _hand_over(self, at_most: int = GROUP_AT_MOST) -> None:
        """Gives the thread its next group, if anything was asked for."""
        writes, self._writes = self._writes[:at_most], self._writes[at_most:]
        waiting, self._waiting = self._waiting[:at_most], self._waiting[at_most:]
        self._is_due = bool(writes)
        if writes:
            self._groups.put(_Group(writes, waiting, self._running()))

    def _write_groups(self) -> None:
        while (group := self._groups.get()) is not None:
            written = self._write(group.writes)
            group.loop.call_soon_threadsafe(self._answer, group.waiting, written)

    def _write(self, writes: Sequence[Write]) -> list[bool]:
        """Commits a group. After one failure nothing is written: an order must not be lost."""
        try:
            if self._broken is None:
                return self._writer.commit(writes)
        except Exception as error:  # noqa: BLE001 whatever it is, whoever waits must be told
            self._broken = error
        return []

    def _answer(self, waiting: Sequence[asyncio.Future[bool] | None], written: Sequence[bool]) -> None:
        """Tells who waits. What that makes them ask for is in the next group."""
        if written:
            for done, was in zip(waiting, written, strict=True):
                if done is not None and not done.cancelled():
                    done.set_result(was)
        else:
            for done in waiting:
                if done is not None and not done.cancelled():
                    done.set_exception(self._failure())
        self._running().call_soon(self._gather, 0, 0)

    def _failure(self) -> Exception:
        """What whoever waits is told."""
        if isinstance(self._broken, LeaseLostError):
            return self._broken
        said = str(self._broken).partition("\n")[0]  # a server's details quote the row: its phone, and its reply
        return JournalError(f"the journal can't be written: {said}")


@contextlib.contextmanager
def open_journal(
    state: sa.Engine, scope: Scope, marking: Marking | None = None, fence: Fence | None = None
) -> Iterator[Journal]:
    """The journal of one run. Its thread is the only user of its connection. With a fence it writes only behind it."""
    with writer.opened(state, fence) as own:
        journal = Journal(own, scope, marking)
        try:
            yield journal
        finally:
            journal.close()
