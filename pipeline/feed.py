"""Rows one by one, from batches that a thread prepares ahead."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from pipeline.model import Held, Payload


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows whose turn has come: to be sent, or held back with a reason."""

    payloads: Sequence[Payload]
    held: Sequence[Held]


class Feed:
    """Rows one by one from batches that a thread prepares ahead, one batch at a time."""

    def __init__(self, batches: Iterator[Batch], hold: Callable[[Held], None]) -> None:
        self._batches, self._hold = batches, hold
        self._rows: Iterator[Payload] = iter(())
        self._ahead: asyncio.Task[Batch | None] | None = self._fetch()

    def _fetch(self) -> asyncio.Task[Batch | None]:
        return asyncio.create_task(asyncio.to_thread(next, self._batches, None))

    async def next(self) -> Payload | None:
        """The next row to send; None at the end. Rows that are held back are told to `hold` on the way."""
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
        """Waits for the thread to end."""
        if self._ahead is not None:
            await asyncio.wait({self._ahead})
