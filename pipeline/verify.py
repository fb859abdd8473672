"""Reading back: accepted rows are searched, and what is stored is compared with what was sent."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from functools import partial

from pipeline.delivery import Delivery, Endpoint, Gate, Sender, Trail, World, micros, own_limiter
from pipeline.feed import Batch, Feed
from pipeline.journal import Journal, Restated
from pipeline.model import STORED_DIFFERENTLY, Judgement, Payload, Status
from pipeline.pace import Window
from pipeline.push import Limits
from pipeline.readback import Finding, Reading, compare, search_form
from pipeline.retries import Action, Case
from pipeline.watch import ErrorLimit, Watch

_NEVER = ErrorLimit(rows=None, share=1.0)


class ReadBack:
    """Reads rows of one operation back. A lead that is not found is looked for once more, one settle later."""

    def __init__(self, leads: Endpoint, search: Endpoint, journal: Journal, limits: Limits, world: World) -> None:
        self._operation, self._search, self._journal, self._limits = leads.operation, search, journal, limits
        # Where sending again is a bet that may ring a phone, a search that finds nothing proves too little.
        is_bet = leads.follows.get(Case.NOT_FOUND) is Action.GIVE_UP
        self._missing_is = Status.UNKNOWN if is_bet else Status.FAILED
        self._world = world
        gate = Gate(Window(limits.concurrency))
        self._sender = Sender(own_limiter(limits.rate_per_second), limits.attempts, Watch(_NEVER), gate, world)
        self._found: Counter[Finding] = Counter()
        self._missing: list[Payload] = []
        self._turn = asyncio.Lock()  # a feed has one reader at a time

    @property
    def signal(self) -> int | None:
        """The signal that stopped it."""
        return self._sender.signal

    def interrupt(self, number: int) -> None:
        """Someone asked the run to end: what is not read back stays as it is."""
        self._sender.interrupt(number)

    async def run(self, batches: Iterator[Batch]) -> Counter[Finding]:
        """Rows by what was found. What differs or is missing is in the journal when this returns."""
        await self._read(batches, is_last=False)
        if self._missing:
            await self._sender.pause(self._limits.settle_seconds)
            await self._read(iter([Batch(self._missing, [])]), is_last=True)
        return self._found

    async def _read(self, batches: Iterator[Batch], *, is_last: bool) -> None:
        feed = Feed(batches, lambda _held: None)
        workers = [asyncio.create_task(self._work(feed, is_last=is_last)) for _ in range(self._limits.concurrency)]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
            await feed.close()

    async def _work(self, feed: Feed, *, is_last: bool) -> None:
        while await self._sender.admitted() and (payload := await self._next(feed)) is not None:
            body = search_form(self._operation, self._search.operation, payload)
            trail = Trail(partial(self._journal.note, payload))
            answer = await Delivery(self._sender, self._search, payload, body, trail).outcome()
            reading = compare(self._operation, payload, answer.judgement)
            if reading.finding is Finding.MISSING and not is_last:
                self._missing.append(payload)
            else:
                await self._tell(payload, answer.judgement, reading)

    async def _next(self, feed: Feed) -> Payload | None:
        async with self._turn:
            return await feed.next()

    async def _tell(self, payload: Payload, answer: Judgement, reading: Reading) -> None:
        self._found[reading.finding] += 1
        if reading.finding is Finding.UNCLEAR:
            return
        status, code = _TOLD.get(reading.finding, (self._missing_is, "false_ok"))
        message = "" if reading.finding is Finding.MATCHES else reading.message
        proved = reading.finding is not Finding.MISSING
        said = Restated(status, code, message, reading.as_json(), answer.lead_id, proved)
        await self._journal.restate(payload, said, micros(self._world.now()))


_TOLD = {
    Finding.MATCHES: (Status.ACCEPTED, None),
    Finding.DIFFERS: (Status.ACCEPTED, STORED_DIFFERENTLY),
}
