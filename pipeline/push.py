"""The push: a fixed number of workers take rows from one feed, send each at most once at a time, and settle it.

Every row is durably `sending` before its bytes leave. A failure that is known not to have arrived is tried
again; one that may have arrived is tried again only where repeating changes nothing, else it is `unknown`.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import httpx
from aiolimiter import AsyncLimiter
from tenacity import AsyncRetrying, RetryCallState, retry_if_result, stop_after_attempt

from pipeline.journal import Journal
from pipeline.model import Held, Judgement, Outcome, Payload, Status
from pipeline.pace import Halt, Turnstile, Watch, backoff_seconds
from pipeline.replies import judge
from pipeline.wire import Wire, judge_failure
from schemas.spec import Operation, Settle, Verdict

BURST_SECONDS = 0.1  # after a pause, this much of a second's calls may go at once
WAITING_AT_MOST = 64  # rows that wait for their own phone before the feed pauses

STATUS_OF = {
    Verdict.ACCEPTED: Status.ACCEPTED,
    Verdict.DUPLICATE: Status.DUPLICATE,
    Verdict.REJECTED: Status.REJECTED,
    Verdict.CREDENTIALS: Status.FAILED,
    Verdict.MISCONFIGURED: Status.FAILED,
    Verdict.THROTTLED: Status.FAILED,
    Verdict.NOT_DELIVERED: Status.FAILED,
    Verdict.IN_DOUBT: Status.UNKNOWN,
}
_AGAIN = frozenset({Verdict.THROTTLED, Verdict.NOT_DELIVERED})


@dataclass(frozen=True, slots=True)
class Limits:
    """How fast and how often."""

    rate_per_second: float  # 0: no cap
    concurrency: int
    attempts: int
    drain_seconds: float


@dataclass(frozen=True, slots=True)
class World:
    """What a run takes from outside: wall clock, randomness, and who is told of each settled row."""

    now: Callable[[], datetime]
    rng: random.Random
    settled: Callable[[Status], None]


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows whose turn has come: to be sent, or held back with a reason."""

    payloads: Sequence[Payload]
    held: Sequence[Held]


@dataclass(frozen=True, slots=True)
class Pushed:
    """How a push ended: `halt` where it stopped early, `signal` where someone stopped it."""

    halt: Halt | None
    signal: int | None


def micros(moment: datetime) -> int:
    """Microseconds since 1970, UTC."""
    return int(moment.timestamp() * 1_000_000)


class Push:
    """One push of one operation's rows over one wire."""

    def __init__(
        self, operation: Operation, wire: Wire, journal: Journal, *, limits: Limits, watch: Watch, world: World
    ) -> None:
        self._operation, self._wire, self._journal = operation, wire, journal
        self._limits, self._watch, self._world = limits, watch, world
        self._turnstile = Turnstile()
        self._moved = asyncio.Condition()
        self._stop = asyncio.Event()
        self._signal: int | None = None
        self._under_way = 0
        self._unrecorded: BaseException | None = None
        self._settling: set[asyncio.Future[bool]] = set()
        self._limiter = _limiter(limits.rate_per_second)

    async def run(self, batches: Iterator[Batch]) -> Pushed:
        """Sends every row of `batches` once its turn comes. Raises JournalError where nothing can be recorded."""
        feed = _Feed(batches, self._hold)
        workers = [asyncio.create_task(self._work(feed)) for _ in range(self._limits.concurrency)]
        try:
            await self._finish(workers)
        finally:
            self._stop.set()  # a worker that is cancelled settles its row, and must not take another
            await _cancel(workers)
            await feed.close()
            await asyncio.gather(*self._settling, return_exceptions=True)
        if self._unrecorded is not None:
            raise self._unrecorded
        return Pushed(self._watch.end, self._signal)

    async def _finish(self, workers: Sequence[asyncio.Task[None]]) -> None:
        """Waits for the workers; after a signal, no longer than the drain. The first failure of one is raised."""
        everyone: asyncio.Future[Any] = asyncio.gather(*workers)
        stopped: asyncio.Future[Any] = asyncio.create_task(self._stop.wait())
        await asyncio.wait({everyone, stopped}, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        drain = self._limits.drain_seconds if self._signal else None
        done, _ = await asyncio.wait({everyone}, timeout=drain)
        if done:
            everyone.result()

    async def _work(self, feed: _Feed) -> None:
        while (payload := await self._take(feed)) is not None:
            try:
                await self._deliver(payload)
            finally:
                await self._leave(payload)

    async def _take(self, feed: _Feed) -> Payload | None:
        """The next row that may go now; None at the end, or when the run stops."""
        async with self._moved:
            while not self._stop.is_set():
                if self._must_pause():
                    await self._moved.wait()  # someone is under way, and will tell
                elif (payload := self._turnstile.next_ready() or await self._fresh(feed)) is not None:
                    self._under_way += 1
                    return payload
                elif not self._turnstile.waiting:
                    return None
                else:
                    await self._moved.wait()
        return None

    def _must_pause(self) -> bool:
        """While credentials are doubted, one probe at a time; while many rows wait for their phone, no more."""
        doubted = self._watch.doubts_credentials and self._under_way > 0
        return doubted or (self._turnstile.waiting >= WAITING_AT_MOST and self._under_way > 0)

    async def _fresh(self, feed: _Feed) -> Payload | None:
        while self._turnstile.waiting < WAITING_AT_MOST and (payload := await feed.next()) is not None:
            if self._turnstile.enter(payload):
                return payload
        return None

    async def _leave(self, payload: Payload) -> None:
        async with self._moved:
            self._under_way -= 1
            self._turnstile.leave(payload)
            self._moved.notify_all()

    async def _deliver(self, payload: Payload) -> None:
        if not await self.admitted():
            return  # never begun: the journal does not know it, and the report says not_attempted
        delivery = _Delivery(self, payload)
        try:
            if await self._journal.begin(payload, micros(self._world.now())):
                self._settle(payload, await delivery.outcome())
            else:
                text = "another run's call for this phone or identifier has no outcome yet"
                self._hold(Held(payload.source, payload.row, Status.UNKNOWN, "in_doubt_elsewhere", text))
        except asyncio.CancelledError:
            self._settle(payload, delivery.interrupted())

    async def admitted(self) -> bool:
        """Takes the rate limiter; False where the run has stopped meanwhile and nothing more may leave."""
        if self._limiter is not None and not self._stop.is_set():
            await self._limiter.acquire()
        return not self._stop.is_set()

    async def request(self, payload: Payload) -> tuple[Judgement, float]:
        """One request and what it means, with its latency in milliseconds."""
        started = time.perf_counter()
        try:
            judgement = judge(self._operation, await self._wire.post(payload.body), self._world.now())
        except httpx.TransportError as error:
            judgement = judge_failure(error)
        self._watch.saw_attempt(judgement.verdict, judgement.http_status)
        self._check_halt()
        return judgement, (time.perf_counter() - started) * 1000

    def retrying(self, payload: Payload) -> AsyncRetrying:
        """tenacity's loop for one row: what is tried again, how often, and after how long."""

        def note(state: RetryCallState) -> None:
            judgement = _result(state)
            http = (judgement.http_status, judgement.reply)
            self._journal.note_attempt(payload, state.attempt_number, micros(self._world.now()), judgement.code, http)

        return AsyncRetrying(
            sleep=self._pause,
            stop=stop_after_attempt(self._limits.attempts),
            wait=lambda s: backoff_seconds(s.attempt_number, _result(s).retry_after_seconds, self._world.rng),
            retry=retry_if_result(lambda result: self.may_repeat(result[0])),
            retry_error_callback=lambda state: state.outcome.result() if state.outcome else None,
            before_sleep=note,
        )

    def may_repeat(self, judgement: Judgement) -> bool:
        """Whether a row with this judgement may be sent again, as long as the run goes on."""
        if self._stop.is_set():
            return False
        in_doubt = judgement.verdict is Verdict.IN_DOUBT
        return judgement.verdict in _AGAIN or (in_doubt and self._operation.settle is Settle.REPEAT)

    @property
    def stopped_by_signal(self) -> bool:
        """Whether someone asked the run to end."""
        return self._signal is not None

    async def _pause(self, seconds: float) -> None:
        """Sleeps, but no longer than until the run stops."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stop.wait(), seconds)

    def _settle(self, payload: Payload, outcome: Outcome) -> None:
        self._watch.saw_row(outcome.status, outcome.code)
        self._check_halt()
        self._expect(self._journal.settle(payload, outcome, micros(self._world.now())), outcome.status)

    def _hold(self, held: Held) -> None:
        if held.status is Status.UNKNOWN:
            self._watch.saw_row(held.status, held.code)
            self._check_halt()
        self._expect(self._journal.hold(held, micros(self._world.now())), held.status)

    def _expect(self, durable: asyncio.Future[bool], status: Status) -> None:
        """The run counts a row only when its outcome is on disk."""

        def told(future: asyncio.Future[bool]) -> None:
            self._settling.discard(future)
            if (failure := future.exception()) is None:
                self._world.settled(status)
            else:
                self._unrecorded = failure
                self._stop.set()

        self._settling.add(durable)
        durable.add_done_callback(told)

    def _check_halt(self) -> None:
        if self._watch.halt is not None:
            self._stop.set()

    def interrupt(self, number: int) -> None:
        """Someone asked the run to end, by this signal: no more rows are taken, and those under way may end."""
        self._signal = number
        self._stop.set()


class _Delivery:
    """One row's requests, from the first to the one that decides."""

    def __init__(self, push: Push, payload: Payload) -> None:
        self._push, self._payload = push, payload
        self._attempts = 0
        self._sending = self._entered = self._left = False
        self._last: tuple[Judgement, float] | None = None
        self._doubt: Judgement | None = None

    async def outcome(self) -> Outcome:
        """The row's outcome after the last attempt."""
        result = await self._request()
        if self._push.may_repeat(result[0]):
            # tenacity's loop costs more than the request's own share, so only rows that need it enter it.
            result = await self._push.retrying(self._payload)(self._next)
        return self._decided(*result)

    async def _next(self) -> tuple[Judgement, float]:
        """tenacity's attempts: the first is the one that was made; then new ones, while the run goes on."""
        assert self._last is not None
        if not self._entered or not await self._push.admitted():
            self._entered = True
            return self._last
        return await self._request()

    async def _request(self) -> tuple[Judgement, float]:
        self._attempts += 1
        self._sending = True
        self._last = await self._push.request(self._payload)
        self._sending = False
        judgement = self._last[0]
        self._left |= judgement.http_status is not None or judgement.verdict is Verdict.IN_DOUBT
        if judgement.verdict is Verdict.IN_DOUBT:
            self._doubt = judgement
        return self._last

    def _decided(self, judgement: Judgement, latency_ms: float) -> Outcome:
        status = STATUS_OF[judgement.verdict]
        if status is Status.FAILED and self._doubt is not None:
            # An earlier request of this row may have arrived, whatever became of the last one.
            judgement, status = replace(self._doubt, reply=judgement.reply), Status.UNKNOWN
        if status is Status.FAILED and judgement.verdict in _AGAIN and self._push.stopped_by_signal:
            status = Status.NOT_ATTEMPTED
        return Outcome(status, judgement.code, judgement, self._attempts, latency_ms, sent=self._left)

    def interrupted(self) -> Outcome:
        """The outcome of a row that was cut short: in doubt if a request was under way or is in doubt already."""
        if self._sending or self._doubt is not None:
            judgement = Judgement(Verdict.IN_DOUBT, "interrupted", "the run was stopped before the reply came")
            return Outcome(Status.UNKNOWN, judgement.code, judgement, self._attempts, None, sent=True)
        judgement = Judgement(Verdict.NOT_DELIVERED, "interrupted", "the run was stopped before it was sent")
        return Outcome(Status.NOT_ATTEMPTED, judgement.code, judgement, self._attempts, None, sent=self._left)


class _Feed:
    """Rows one by one from batches that a thread prepares ahead, one batch at a time."""

    def __init__(self, batches: Iterator[Batch], hold: Callable[[Held], None]) -> None:
        self._batches, self._hold = batches, hold
        self._rows: Iterator[Payload] = iter(())
        self._ahead: asyncio.Task[Batch | None] | None = self._fetch()

    def _fetch(self) -> asyncio.Task[Batch | None]:
        return asyncio.create_task(asyncio.to_thread(next, self._batches, None))

    async def next(self) -> Payload | None:
        while True:
            if (payload := next(self._rows, None)) is not None:
                return payload
            if self._ahead is None or (batch := await asyncio.shield(self._ahead)) is None:
                self._ahead = None
                return None
            self._ahead = self._fetch()
            self._rows = iter(batch.payloads)
            for held in batch.held:
                self._hold(held)

    async def close(self) -> None:
        if self._ahead is not None:
            await asyncio.wait({self._ahead})


async def _cancel(workers: Sequence[asyncio.Task[None]]) -> None:
    for worker in workers:
        worker.cancel()
    await asyncio.gather(*workers, return_exceptions=True)


def _limiter(rate_per_second: float) -> AsyncLimiter | None:
    if not rate_per_second:
        return None
    burst = max(1.0, rate_per_second * BURST_SECONDS)
    return AsyncLimiter(burst, burst / rate_per_second)


def _result(state: RetryCallState) -> Judgement:
    assert state.outcome is not None
    result: tuple[Judgement, float] = state.outcome.result()
    return result[0]


def utc_now() -> datetime:
    """The wall clock."""
    return datetime.now(UTC)
