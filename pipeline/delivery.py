"""One row's requests: rate, retries, and what they amount to. Nothing here knows of other rows."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import httpx
from aiolimiter import AsyncLimiter
from tenacity import AsyncRetrying, RetryCallState, retry_if_result

from pipeline.model import Judgement, Outcome, Payload, Status
from pipeline.pace import Watch, backoff_seconds
from pipeline.replies import judge
from pipeline.wire import Wire, judge_failure
from schemas.spec import Operation, Settle, Verdict

BURST_SECONDS = 0.1  # after a pause, this much of a second's calls may go at once

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
class World:
    """What a run takes from outside: wall clock, randomness, and who is told of each settled row."""

    now: Callable[[], datetime]
    rng: random.Random
    settled: Callable[[Status], None]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An operation and the wire that it goes over."""

    operation: Operation
    wire: Wire


class Sender:
    """Makes requests under one rate, until it is stopped. Leads and searches share it."""

    def __init__(self, rate_per_second: float, attempts: int, watch: Watch, world: World) -> None:
        self._limiter = _limiter(rate_per_second)
        self.attempts, self.watch, self.world = attempts, watch, world
        self.stop = asyncio.Event()
        self.signal: int | None = None

    def check_halt(self) -> None:
        """Stops where the watch says so."""
        if self.watch.halt is not None:
            self.stop.set()

    async def admitted(self) -> bool:
        """Takes the rate limiter; False where the run has stopped meanwhile and nothing more may leave."""
        if self._limiter is not None and not self._limiter.has_capacity():
            await self._wait_for(self._limiter)
        elif self._limiter is not None:
            await self._limiter.acquire()
        return not self.stop.is_set()

    async def _wait_for(self, limiter: AsyncLimiter) -> None:
        """A place under the rate, but no waiting beyond the run's stop."""
        place = asyncio.ensure_future(limiter.acquire())
        stopped = asyncio.ensure_future(self.stop.wait())
        try:
            await asyncio.wait({place, stopped}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            place.cancel()
            stopped.cancel()

    async def call(self, endpoint: Endpoint, body: bytes) -> tuple[Judgement, float]:
        """One request and what it means, with its latency in milliseconds."""
        started = time.perf_counter()
        try:
            reply = await endpoint.wire.post(body)
            judgement = endpoint.wire.cleansed(judge(endpoint.operation, reply, self.world.now()), reply)
        except httpx.TransportError as error:
            judgement = judge_failure(error)
        self.watch.saw_attempt(judgement.verdict, judgement.http_status)
        self.check_halt()
        return judgement, (time.perf_counter() - started) * 1000

    async def pause(self, seconds: float) -> None:
        """Sleeps, but no longer than until the run stops."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.stop.wait(), seconds)


class Delivery:
    """The requests of one row at one endpoint, from the first to the one that decides."""

    def __init__(self, sender: Sender, endpoint: Endpoint, payload: Payload, body: bytes) -> None:
        self._sender, self._endpoint = sender, endpoint
        self.payload, self._body = payload, body
        self._attempts = 0
        self._sending = self._entered = self._left = False
        self._last: tuple[Judgement, float] | None = None
        self._doubt: Judgement | None = None
        self.note: Callable[[Judgement, int], None] = lambda _judgement, _attempt: None
        self.begun = self.was_in_doubt = self.looked_up = False

    @property
    def attempts_left(self) -> bool:
        """Whether it may be requested once more."""
        return self._attempts < self._sender.attempts

    async def outcome(self) -> Outcome:
        """The outcome after the last attempt. UNKNOWN means in doubt."""
        self._doubt = None
        result = await self._request()
        if self._may_repeat(result[0]) and self.attempts_left:
            # tenacity's loop costs more than the request's own share, so only rows that need it enter it.
            self._entered = False
            result = await self._retrying()(self._next)
        return self._decided(*result)

    def _retrying(self) -> AsyncRetrying:
        """tenacity's loop: what is tried again, how often, and after how long."""
        rng = self._sender.world.rng
        return AsyncRetrying(
            sleep=self._sender.pause,
            stop=lambda _: not self.attempts_left,
            wait=lambda s: backoff_seconds(s.attempt_number, _result(s).retry_after_seconds, rng),
            retry=retry_if_result(lambda result: self._may_repeat(result[0])),
            retry_error_callback=lambda _: self._last,
            before_sleep=lambda s: self.note(_result(s), self._attempts),
        )

    def _may_repeat(self, judgement: Judgement) -> bool:
        if self._sender.stop.is_set():
            return False
        in_doubt = judgement.verdict is Verdict.IN_DOUBT
        return judgement.verdict in _AGAIN or (in_doubt and self._endpoint.operation.settle is Settle.REPEAT)

    async def _next(self) -> tuple[Judgement, float]:
        """tenacity's attempts: the first is the one that was made; then new ones, while the run goes on."""
        assert self._last is not None
        if not self._entered or not await self._sender.admitted():
            self._entered = True
            return self._last
        return await self._request()

    async def _request(self) -> tuple[Judgement, float]:
        self._attempts += 1
        self._sending = True
        self._last = await self._sender.call(self._endpoint, self._body)
        self._sending = False
        judgement = self._last[0]
        self._left |= judgement.http_status is not None or judgement.verdict is Verdict.IN_DOUBT
        if judgement.verdict is Verdict.IN_DOUBT:
            self._doubt, self.was_in_doubt = judgement, True
        return self._last

    def _decided(self, judgement: Judgement, latency_ms: float) -> Outcome:
        status = STATUS_OF[judgement.verdict]
        if status in (Status.FAILED, Status.DUPLICATE) and self._doubt is not None:
            # An earlier request of this row may have arrived, whatever became of the last one.
            judgement, status = replace(self._doubt, reply=judgement.reply), Status.UNKNOWN
        if status is Status.FAILED and judgement.verdict in _AGAIN and self.attempts_left:
            status = Status.NOT_ATTEMPTED  # the run stopped before its attempts were used up
        return self.outcome_of(status, judgement, latency_ms)

    def outcome_of(self, status: Status, judgement: Judgement, latency_ms: float | None = None) -> Outcome:
        """An outcome with this row's count of attempts."""
        return Outcome(status, judgement.code, judgement, self._attempts, latency_ms, sent=self._left)

    def interrupted(self) -> Outcome:
        """The outcome of a row that was cut short: in doubt if a request was under way or is in doubt already."""
        if self._sending or self._doubt is not None:
            self._left = True
            judgement = Judgement(Verdict.IN_DOUBT, "interrupted", "the run was stopped before the reply came")
            return self.outcome_of(Status.UNKNOWN, judgement)
        judgement = Judgement(Verdict.NOT_DELIVERED, "interrupted", "the run was stopped before it was sent")
        return self.outcome_of(Status.NOT_ATTEMPTED, judgement)


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
