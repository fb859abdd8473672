"""The push: a fixed number of workers take rows from one feed, send each at most once at a time, and settle it.

Every row is durably `sending` before its bytes leave. A failure that is known not to have arrived is tried
again; one that may have arrived is tried again where repeating changes nothing, looked up where a search can
tell, and `unknown` else. A row that rests before it is looked up holds its claims and no worker.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from pipeline import doubt
from pipeline.delivery import Delivery, Endpoint, Gate, Limiter, Sender, Trail, World, micros, own_limiter
from pipeline.doubt import Sighting
from pipeline.feed import Batch, Feed
from pipeline.journal import Journal
from pipeline.model import Held, Judgement, Outcome, Payload, Status
from pipeline.pace import Turnstile, Window
from pipeline.retries import Action
from pipeline.watch import Halt, Watch
from schemas.spec import Verdict

WAITING_AT_MOST = 64  # rows that wait for their own phone before the feed pauses
DOUBTS_AT_MOST = 100  # rows that rest in doubt before the feed pauses


@dataclass(frozen=True, slots=True)
class Limits:
    """How fast, how often, and how patiently."""

    rate_per_second: float  # 0: no cap
    concurrency: int
    attempts: int
    drain_seconds: float
    settle_seconds: float


@dataclass(frozen=True, slots=True)
class Pushed:
    """How a push ended: `halt` where it stopped early, `signal` where someone stopped it."""

    halt: Halt | None
    signal: int | None


class _Bell:
    """Wakes whoever waits when it rings; costs nothing where nobody does."""

    def __init__(self) -> None:
        self.rings = 0
        self._waiting: list[asyncio.Future[None]] = []

    async def wait(self, heard: int) -> None:
        """Returns once there were more rings than `heard`."""
        if self.rings > heard:
            return
        rung: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(rung)
        await rung

    def ring(self) -> None:
        """Something has changed."""
        self.rings += 1
        waiting, self._waiting = self._waiting, []
        for rung in waiting:
            if not rung.done():
                rung.set_result(None)


Deliveries = Callable[[Sender, Endpoint, Payload, Trail], Delivery]


def plainly(sender: Sender, endpoint: Endpoint, payload: Payload, trail: Trail) -> Delivery:
    """The delivery of a row whose payload is what goes out."""
    return Delivery(sender, endpoint, payload, payload.body, trail)


@dataclass(frozen=True, slots=True)
class Shared:
    """What a worker that sends a part of a run shares with the others.

    `may_leave` is asked right before each request. `concurrency` is its share to begin with.
    """

    limiter: Limiter
    concurrency: int
    may_leave: Callable[[], bool]


def _always() -> bool:
    return True


class Push:
    """One push of one operation's rows. `search` is where rows in doubt are looked up, if they can be."""

    def __init__(
        self,
        leads: Endpoint,
        search: Endpoint | None,
        journal: Journal,
        *,
        limits: Limits,
        watch: Watch,
        world: World,
        deliveries: Deliveries = plainly,
        shared: Shared | None = None,
    ) -> None:
        self._leads, self._search, self._journal, self._deliveries = leads, search, journal, deliveries
        self._limits, self._watch, self._world, self._shared = limits, watch, world, shared
        self._window = Window(shared.concurrency if shared else limits.concurrency)
        limiter = shared.limiter if shared else own_limiter(limits.rate_per_second)
        may_leave = shared.may_leave if shared else _always
        self._sender = Sender(limiter, limits.attempts, watch, Gate(self._window), world, may_leave=may_leave)
        self._turnstile = Turnstile()
        self.was_cut = False  # it ended before its rows did
        self._turn, self._moved = asyncio.Lock(), _Bell()
        self._under_way = 0
        self._again: deque[Delivery] = deque()
        self._doubts: set[asyncio.Task[None]] = set()
        self._failure: BaseException | None = None
        self._settling: set[asyncio.Future[bool]] = set()

    async def run(self, batches: Iterator[Batch]) -> Pushed:
        """Sends every row of `batches` once its turn comes. Raises JournalError where nothing can be recorded."""
        feed = Feed(batches, self._hold)
        workers = [asyncio.create_task(self._work(feed)) for _ in range(self._limits.concurrency)]
        try:
            await self._finish(workers)
        finally:
            self.was_cut = self._sender.stop.is_set()
            self._sender.stop.set()  # a worker that is cancelled settles its row, and must not take another
            await _cancel([*workers, *self._doubts])
            await feed.close()
            for delivery in self._again:  # they were not found, and nobody came to send them again
                self._settle(delivery, delivery.interrupted())
            await asyncio.gather(*self._settling, return_exceptions=True)
        if self._failure is not None:
            raise self._failure
        return Pushed(self._watch.end, self._sender.signal)

    def interrupt(self, number: int) -> None:
        """Someone asked the run to end, by this signal: no more rows are taken, and those under way may end."""
        self._sender.interrupt(number)

    def stop(self) -> None:
        """No more rows are taken, and those under way may end: another worker of the run says so."""
        self._sender.stop.set()
        self._moved.ring()

    def grow(self, concurrency: int) -> None:
        """So many calls may be under way here from now on, or as many as before."""
        if concurrency > self._window.most:
            self._window.grow(concurrency)
            self._moved.ring()

    async def _finish(self, workers: Sequence[asyncio.Task[None]]) -> None:
        """Waits for the workers; after a signal, no longer than the drain. The first failure of one is raised."""
        everyone: asyncio.Future[Any] = asyncio.gather(*workers)
        everyone.add_done_callback(lambda ended: ended.cancelled() or ended.exception())  # after the drain nobody asks
        signalled: asyncio.Future[Any] = asyncio.create_task(self._sender.signalled.wait())
        await asyncio.wait({everyone, signalled}, return_when=asyncio.FIRST_COMPLETED)
        signalled.cancel()
        done, _ = await asyncio.wait({everyone}, timeout=self._limits.drain_seconds)
        if done:
            everyone.result()

    async def _work(self, feed: Feed) -> None:
        while (delivery := await self._take(feed)) is not None:
            resting = False
            try:
                resting = await self._deliver(delivery)
            except Exception:
                self._sender.stop.set()  # a fault of ours: nobody takes another row
                raise
            finally:
                self._done(None if resting else delivery.payload)

    async def _take(self, feed: Feed) -> Delivery | None:
        """The next row that may go now; None at the end, or when the run stops."""
        while True:
            heard = self._moved.rings
            async with self._turn:
                if self._sender.stop.is_set():
                    return None
                if not self._must_pause() and (delivery := await self._ready(feed)) is not None:
                    self._under_way += 1
                    return delivery
            if not (self._under_way or self._doubts or self._turnstile.waiting):
                return None
            await self._moved.wait(heard)  # someone is under way or in doubt, and will tell

    async def _ready(self, feed: Feed) -> Delivery | None:
        if self._again:
            return self._again.popleft()
        payload = self._turnstile.next_ready() or await self._fresh(feed)
        return None if payload is None else self._delivery(payload)

    def _delivery(self, payload: Payload) -> Delivery:
        trail = Trail(partial(self._journal.note, payload))
        return self._deliveries(self._sender, self._leads, payload, trail)

    def _must_pause(self) -> bool:
        """While credentials are doubted, one probe at a time; and never more rows than calls may be under way."""
        return (self._watch.doubts_credentials and self._under_way > 0) or self._under_way >= self._window.most

    async def _fresh(self, feed: Feed) -> Payload | None:
        """A row from the feed, unless too many rest already."""
        while self._turnstile.waiting < WAITING_AT_MOST and len(self._doubts) < DOUBTS_AT_MOST:
            if (payload := await feed.next()) is None:
                return None
            if self._turnstile.enter(payload):
                return payload
        return None

    def _done(self, payload: Payload | None) -> None:
        """A worker is free again; `payload` has ended, or is None where it rests in doubt."""
        self._under_way -= 1
        if payload is not None:
            self._turnstile.leave(payload)
        self._moved.ring()

    async def _deliver(self, delivery: Delivery) -> bool:
        """Sends a row and settles it; True where it rests in doubt instead."""
        if not await self._sender.admitted():
            if delivery.begun:  # it was not found, and the run stopped before it could be sent again
                self._settle(delivery, delivery.interrupted())
            return False
        try:
            return await self._begin(delivery) and await self._send(delivery)
        except asyncio.CancelledError:
            self._settle(delivery, delivery.interrupted())
            return False

    async def _begin(self, delivery: Delivery) -> bool:
        """Whether the row is durably `sending`; if its claim is held elsewhere, it is not sent."""
        payload = delivery.payload
        if delivery.begun or await self._journal.begin(payload, micros(self._world.now())):
            delivery.begun = True
            return True
        if (bar := self._leads.bars(payload)) is not None:  # that call is why
            self._hold(Held(payload.source, payload.row, Status.SKIPPED, bar.code, bar.message))
            return False
        text = "another run's call for this phone or identifier has no outcome yet"
        self._hold(Held(payload.source, payload.row, Status.UNKNOWN, "in_doubt_elsewhere", text))
        return False

    async def _send(self, delivery: Delivery) -> bool:
        earlier = self._doubt_of_before(delivery)
        if self._sender.stop.is_set():  # the run stopped while the journal wrote
            self._settle(delivery, earlier or delivery.interrupted())
            return False
        if earlier is not None:
            return self._rest(delivery, earlier)
        doubted_before = delivery.was_in_doubt
        outcome = await delivery.outcome()
        is_doubtful = outcome.status is Status.UNKNOWN or (outcome.status is Status.DUPLICATE and doubted_before)
        if is_doubtful and not self._sender.stop.is_set():
            return self._rest(delivery, replace(outcome, status=Status.UNKNOWN))
        self._settle(delivery, replace(outcome, status=Status.UNKNOWN) if is_doubtful else outcome)
        return False

    def _doubt_of_before(self, delivery: Delivery) -> Outcome | None:
        """The doubt in which this run, before it was interrupted, or another one has left this row."""
        prior = delivery.payload.prior
        if delivery.payload.doubted_at is None or delivery.looked_up:
            return None
        code, text = "in_doubt_elsewhere", "an earlier run may have delivered it"
        if prior is not None and prior.in_doubt:
            code, text = prior.code, prior.message
        return delivery.outcome_of(Status.UNKNOWN, Judgement(Verdict.IN_DOUBT, code, text))

    def _rest(self, delivery: Delivery, outcome: Outcome) -> bool:
        """Lets a row in doubt rest, so that it holds its claims and no worker: True. Where none can tell, it ends."""
        if self._search is None or not delivery.can_be_looked_up:
            self._settle(delivery, outcome)
            return False
        delivery.trail.tell()
        task = asyncio.create_task(self._resolve(delivery, outcome))
        self._doubts.add(task)
        task.add_done_callback(self._resolved)
        return True

    async def _resolve(self, delivery: Delivery, doubtful: Outcome) -> None:
        """Lets a row in doubt rest, looks it up, and settles it or lets it be sent again."""
        ended = True
        try:
            action = await self._look_up(delivery, doubtful.judgement)
            if action is Action.SEND_AGAIN:
                self._again.append(delivery)
                ended = False
            else:
                self._settle(delivery, _after(delivery, doubtful, action))
        except asyncio.CancelledError:
            self._settle(delivery, _after(delivery, doubtful, Action.GIVE_UP))
        finally:
            self._rested(delivery.payload if ended else None)

    def _rested(self, payload: Payload | None) -> None:
        """A row rests no more; `payload` has ended, or is None where it goes on."""
        self._doubts.discard(_this_task())
        if payload is not None:
            self._turnstile.leave(payload)
        self._moved.ring()

    def _resolved(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (failure := task.exception()) is not None:
            self._fail(failure)

    async def _look_up(self, delivery: Delivery, doubtful: Judgement) -> Action:
        assert self._search is not None
        looks: list[Sighting] = []
        rest = doubt.rest_seconds(doubtful, self._limits.settle_seconds)
        if not delivery.looked_up and delivery.payload.doubted_at is not None:
            rested = (micros(self._world.now()) - delivery.payload.doubted_at) / 1_000_000
            rest -= max(rested, 0)  # a clock that was set back says nothing
        delivery.looked_up = True
        action = Action.LOOK_UP
        while action is Action.LOOK_UP:
            await self._sender.pause(max(rest, 0))
            rest = doubt.rest_seconds(doubtful, self._limits.settle_seconds)
            if not await self._sender.admitted():
                return Action.GIVE_UP
            looks.append(await delivery.look(self._search))
            action = doubt.next_step(doubtful, looks, self._leads.follows)
        if action is Action.SEND_AGAIN and not delivery.payload.may_resend:
            return Action.GIVE_UP
        is_not_there = action is Action.SEND_AGAIN and looks[-1] is Sighting.NOBODY
        return Action.FAIL if is_not_there and not delivery.attempts_left else action

    def _fail(self, failure: BaseException) -> None:
        self._failure = self._failure or failure
        self._sender.stop.set()

    def _settle(self, delivery: Delivery, outcome: Outcome) -> None:
        if outcome.status in (Status.UNKNOWN, Status.NOT_ATTEMPTED):
            delivery.trail.tell()
        delivery.trail.end()
        self._watch.saw_row(outcome.status, outcome.code)
        self._sender.check_halt()
        self._expect(self._journal.settle(delivery.payload, outcome, micros(self._world.now())), outcome.status)

    def _hold(self, held: Held) -> None:
        if held.status is Status.UNKNOWN:
            self._watch.saw_row(held.status, held.code)
            self._sender.check_halt()
        self._expect(self._journal.hold(held, micros(self._world.now())), held.status)

    def _expect(self, durable: asyncio.Future[bool], status: Status) -> None:
        """The run counts a row only when its outcome is on disk."""

        def told(future: asyncio.Future[bool]) -> None:
            self._settling.discard(future)
            if (failure := future.exception()) is None:
                self._world.settled(status)
            else:
                self._fail(failure)

        self._settling.add(durable)
        durable.add_done_callback(told)


_STATUS_AFTER = {
    Action.DUPLICATE: Status.DUPLICATE,
    Action.REJECT: Status.REJECTED,
    Action.FAIL: Status.FAILED,
    Action.GIVE_UP: Status.UNKNOWN,
}


def _after(delivery: Delivery, doubtful: Outcome, action: Action) -> Outcome:
    """The outcome that a look-up leads to; reconciled where the lead was found."""
    return delivery.found(doubtful) if action is Action.ACCEPT else replace(doubtful, status=_STATUS_AFTER[action])


def _this_task() -> asyncio.Task[None]:
    task = asyncio.current_task()
    assert task is not None
    return task


async def _cancel(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
