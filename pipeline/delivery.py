"""One row's requests: rate, retries, and what they amount to. Nothing here knows of other rows."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Protocol

import httpx
from aiolimiter import AsyncLimiter
from tenacity import AsyncRetrying, RetryCallState, retry_if_result

from pipeline import doubt
from pipeline.doubt import Sighting
from pipeline.model import Bar, Judgement, Outcome, Payload, Prior, Request, Status
from pipeline.pace import BURST_SECONDS, Window, backoff_seconds
from pipeline.replies import judge
from pipeline.retries import Action, Case, Follows, case_of, follows
from pipeline.watch import Watch
from pipeline.wire import Wire, judge_failure
from schemas.spec import Operation, Verdict

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


def nothing_bars(_: Payload) -> Bar | None:
    """Whatever it is, it may go."""
    return None


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An operation, the wire that it goes over, and its column of the retry table.

    `bars` is asked right before each request whether a payload may still go.
    """

    operation: Operation
    wire: Wire
    follows: Follows
    bars: Callable[[Payload], Bar | None] = nothing_bars

    @classmethod
    def of(cls, operation: Operation, wire: Wire) -> Endpoint:
        """An endpoint under the retry table alone."""
        return cls(operation, wire, follows(operation))


@dataclass(slots=True)
class Trail:
    """The requests of one row, its look-ups among them, until they are recorded.

    What a row's only request was is told by its outcome: it is recorded once there is more to tell.
    """

    record: Callable[[Request], None]
    _pending: list[Request] = field(default_factory=list)
    _told: bool = False

    def add(self, request: Request) -> None:
        """One more request was made."""
        self._pending.append(request)

    def tell(self) -> None:
        """Records what is not recorded yet: this row's story goes on, or ends in doubt."""
        for request in self._pending:
            self.record(request)
        self._told |= bool(self._pending)
        self._pending.clear()

    def end(self) -> None:
        """The row has ended: records its last requests, if there is more than the one of its outcome."""
        if self._told or len(self._pending) > 1:
            self.tell()


class Gate:
    """Lets as many calls go at once as its window has room for; first come, first served."""

    def __init__(self, window: Window) -> None:
        self.window = window
        self._in_flight = 0
        self._waiting: deque[asyncio.Future[Any]] = deque()

    async def enter(self, stop: asyncio.Event) -> bool:
        """A place, to be given back by `leave`; False where the run stopped while it was waited for."""
        if self._in_flight < self.window.size and not self._waiting:
            self._in_flight += 1
            return True
        turn: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        stopped: asyncio.Future[Any] = asyncio.ensure_future(stop.wait())
        try:
            await asyncio.wait({turn, stopped}, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            if turn.done():
                self.leave()
            raise
        finally:
            stopped.cancel()
            if not turn.done():
                self._waiting.remove(turn)
        if turn.done() and stop.is_set():
            self.leave()
            return False
        return turn.done()

    def leave(self) -> None:
        """Gives a place back."""
        self._in_flight -= 1
        while self._waiting and self._in_flight < self.window.size:
            self._in_flight += 1
            self._waiting.popleft().set_result(None)


class Limiter(Protocol):
    """Spaces calls under a rate: aiolimiter's own for one process, or one that several share."""

    def has_capacity(self) -> bool:
        """Whether `acquire` returns at once."""

    async def acquire(self) -> None:
        """Waits for a place under the rate."""


class Sender:
    """Makes requests under one rate and through one gate, until it is stopped. Leads and searches share it.

    `may_leave` is asked right before each request; once it says no, the sender is stopped and nothing more leaves.
    """

    def __init__(
        self,
        limiter: Limiter | None,
        attempts: int,
        watch: Watch,
        gate: Gate,
        world: World,
        *,
        may_leave: Callable[[], bool] = lambda: True,
    ) -> None:
        self._limiter, self._may_leave = limiter, may_leave
        self.attempts, self.watch, self._gate, self.world = attempts, watch, gate, world
        self.stop, self.signalled = asyncio.Event(), asyncio.Event()
        self.signal: int | None = None

    def interrupt(self, number: int) -> None:
        """Someone asked the run to end, by this signal."""
        self.signal = number
        self.signalled.set()
        self.stop.set()

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

    async def _wait_for(self, limiter: Limiter) -> None:
        """A place under the rate, but no waiting beyond the run's stop."""
        place = asyncio.ensure_future(limiter.acquire())
        stopped = asyncio.ensure_future(self.stop.wait())
        try:
            await asyncio.wait({place, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if place.done():
                place.result()  # where it can't be had, nothing may leave
        finally:
            place.cancel()
            stopped.cancel()

    async def place(self) -> bool:
        """A place among the calls under way, for one `call`; False where the run has stopped meanwhile."""
        if not await self._gate.enter(self.stop):
            return False
        if self._may_leave():
            return True
        self._gate.leave()
        self.stop.set()
        return False

    def give_back(self) -> None:
        """Gives a place back for which there is no call."""
        self._gate.leave()

    async def call(self, endpoint: Endpoint, body: bytes) -> tuple[Judgement, float]:
        """One request and what it means, with its latency in milliseconds. Gives its place back."""
        started = time.perf_counter()
        try:
            reply = await endpoint.wire.post(body)
            judgement = endpoint.wire.cleansed(judge(endpoint.operation, reply, self.world.now()), reply)
        except httpx.TransportError as error:
            judgement = judge_failure(error)
        except BaseException:
            self._gate.leave()
            raise
        self.watch.saw_attempt(judgement.verdict, judgement.http_status)
        ended = time.perf_counter()
        self._gate.window.saw(judgement, started, ended)
        self.check_halt()
        self._gate.leave()  # last: nobody comes in behind a call that ends the run
        return judgement, (ended - started) * 1000

    async def pause(self, seconds: float) -> None:
        """Sleeps, but no longer than until the run stops."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.stop.wait(), seconds)


class Delivery:
    """The requests of one row at one endpoint, from the first to the one that decides."""

    def __init__(self, sender: Sender, endpoint: Endpoint, payload: Payload, body: bytes, trail: Trail) -> None:
        self._sender, self._endpoint = sender, endpoint
        self.payload, self._body, self.trail = payload, body, trail
        self._prior = payload.prior or _NOTHING
        self._attempts = 0
        self._sending = self._entered = False
        self._left = self._prior.sent
        self._last: tuple[Judgement, float] | None = None
        self._is_barred = False
        self._doubt = _doubt_of(self._prior)
        self.begun = self.looked_up = False
        self.was_in_doubt = self._prior.in_doubt or payload.doubted_at is not None

    @property
    def attempts(self) -> int:
        """How many requests were made."""
        return self._attempts

    @property
    def attempts_left(self) -> bool:
        """Whether it may be requested once more."""
        return self._attempts < self._sender.attempts

    @property
    def can_be_looked_up(self) -> bool:
        """Whether a search can tell what became of it."""
        return self._endpoint.follows[Case.IN_DOUBT] is Action.LOOK_UP and self.payload.client_id != ""

    async def look(self, search: Endpoint) -> Sighting:
        """What one search says of it, while it is in doubt."""
        body = doubt.search_form(search.operation, self.payload)
        answer = await Delivery(self._sender, search, self.payload, body, self.trail).outcome()
        self.trail.tell()
        return doubt.sighting(answer.judgement, self.payload)

    def found(self, doubtful: Outcome) -> Outcome:
        """What its doubtful outcome becomes where a look has shown that it has arrived."""
        judgement = replace(doubtful.judgement, verdict=Verdict.ACCEPTED, message="found by a search")
        return replace(doubtful, status=Status.ACCEPTED, code="ok", judgement=judgement, reconciled=True)

    async def outcome(self) -> Outcome:
        """The outcome after the last attempt. UNKNOWN means in doubt."""
        if self.looked_up:
            self._doubt = None  # it is not there: what counts is what comes now
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
            before_sleep=lambda _: self.trail.tell(),
        )

    def _may_repeat(self, judgement: Judgement) -> bool:
        if self._sender.stop.is_set() or self._is_barred:
            return False
        case = None if judgement.verdict is Verdict.DUPLICATE else case_of(judgement)
        return case is not None and self._endpoint.follows[case] is Action.SEND_AGAIN

    async def _next(self) -> tuple[Judgement, float]:
        """tenacity's attempts: the first is the one that was made; then new ones, while the run goes on."""
        assert self._last is not None
        if not self._entered or not await self._sender.admitted():
            self._entered = True
            return self._last
        return await self._request()

    async def _request(self) -> tuple[Judgement, float]:
        if not await self._sender.place():
            return self._last or (_NOT_SENT, 0.0)
        if (bar := self._endpoint.bars(self.payload)) is not None:
            self._sender.give_back()
            self._is_barred = True
            return Judgement(Verdict.NOT_DELIVERED, bar.code, bar.message), 0.0
        self._attempts += 1
        self._sending = True
        sent_at = micros(self._sender.world.now())
        self._last = await self._sender.call(self._endpoint, self._body)
        self._sending = False
        judgement, latency_ms = self._last
        told = (judgement.code, judgement.http_status, judgement.reply, latency_ms)
        self.trail.add(Request(self._endpoint.operation.name, sent_at, *told))
        self._left |= judgement.http_status is not None or judgement.verdict is Verdict.IN_DOUBT
        if judgement.verdict is Verdict.IN_DOUBT:
            self._doubt, self.was_in_doubt = judgement, True
        return self._last

    def _decided(self, judgement: Judgement, latency_ms: float) -> Outcome:
        status = Status.SKIPPED if self._is_barred else STATUS_OF[judgement.verdict]
        if status in (Status.FAILED, Status.DUPLICATE, Status.SKIPPED) and self._doubt is not None:
            # An earlier request of this row may have arrived, whatever became of the last one.
            judgement, status = replace(self._doubt, reply=judgement.reply), Status.UNKNOWN
        if status is Status.FAILED and judgement.verdict in _AGAIN and self.attempts_left:
            status = Status.NOT_ATTEMPTED  # the run stopped before its attempts were used up
        return self.outcome_of(status, judgement, latency_ms)

    def outcome_of(self, status: Status, judgement: Judgement, latency_ms: float | None = None) -> Outcome:
        """An outcome with this row's count of attempts."""
        attempts = self._prior.attempts + self.attempts
        return Outcome(status, judgement.code, judgement, attempts, latency_ms, sent=self._left)

    def interrupted(self) -> Outcome:
        """The outcome of a row that was cut short: in doubt if a request was under way or is in doubt already."""
        if self._sending or self._doubt is not None:
            self._left = True
            judgement = Judgement(Verdict.IN_DOUBT, "interrupted", "the run was stopped before the reply came")
            return self.outcome_of(Status.UNKNOWN, judgement)
        return self.outcome_of(Status.NOT_ATTEMPTED, _NOT_SENT)


_NOT_SENT = Judgement(Verdict.NOT_DELIVERED, "interrupted", "the run was stopped before it was sent")
_NOTHING = Prior(0, sent=False, in_doubt=False, code="", message="")


def _doubt_of(prior: Prior) -> Judgement | None:
    return Judgement(Verdict.IN_DOUBT, prior.code, prior.message) if prior.in_doubt else None


def own_limiter(rate_per_second: float) -> Limiter | None:
    """The limiter of a process that shares its rate with nobody; None where there is no cap."""
    if not rate_per_second:
        return None
    burst = max(1.0, rate_per_second * BURST_SECONDS)
    return AsyncLimiter(burst, burst / rate_per_second)


def _result(state: RetryCallState) -> Judgement:
    assert state.outcome is not None
    result: tuple[Judgement, float] = state.outcome.result()
    return result[0]


def micros(moment: datetime) -> int:
    """Microseconds since 1970, UTC."""
    return int(moment.timestamp() * 1_000_000)


def utc_now() -> datetime:
    """The wall clock."""
    return datetime.now(UTC)
