"""When to send: one request per phone or identifier, how many at once, when to wait. Pure: no clock, no I/O."""

from __future__ import annotations

import math
import random
from collections import deque
from dataclasses import dataclass

from pipeline.model import Judgement, Payload
from schemas.spec import Verdict

BACKOFF_SECONDS = 0.5  # the first wait is at most this, then twice as long, and so on
BACKOFF_AT_MOST_SECONDS = 30.0
BURST_SECONDS = 0.1  # after a pause, this much of a second's calls may go at once
LEAST_GRACE_SECONDS = 0.05  # for a call to leave in, once its moment has come
TURN_SECONDS = 0.025  # of a rate that several share, this much goes to one worker at once
FARTHEST_SECONDS = 1.0


class Turnstile:
    """Lets rows through so that none shares a phone or an identifier with one under way.

    Rows of one key pass in the order in which they came. A row that must wait holds nothing else up.
    """

    def __init__(self) -> None:
        self._busy: set[str] = set()
        self._waiting: deque[Payload] = deque()
        self._ready: deque[Payload] = deque()

    @property
    def waiting(self) -> int:
        """How many rows wait for another one of theirs to end."""
        return len(self._waiting) + len(self._ready)

    def enter(self, payload: Payload) -> bool:
        """Whether this row may go now; if not, it waits here and comes back from `next_ready`."""
        if self._is_free(payload, self._waiting):
            self._busy.update(claims(payload))
            return True
        self._waiting.append(payload)
        return False

    def leave(self, payload: Payload) -> None:
        """The row has ended: what it held is free, and rows that waited for it become ready, in order."""
        self._busy.difference_update(claims(payload))
        held: deque[Payload] = deque()
        for waiting in self._waiting:
            if self._is_free(waiting, held):
                self._busy.update(claims(waiting))
                self._ready.append(waiting)
            else:
                held.append(waiting)
        self._waiting = held

    def next_ready(self) -> Payload | None:
        """A row whose turn has come, already let through; None where there is none."""
        return self._ready.popleft() if self._ready else None

    def _is_free(self, payload: Payload, ahead: deque[Payload]) -> bool:
        mine = claims(payload)
        return not mine & self._busy and not any(mine & claims(other) for other in ahead)


def claims(payload: Payload) -> set[str]:
    """What no other request may touch while this one is under way."""
    return {claim for claim in (payload.phone, payload.identifier) if claim}


class Window:
    """How many calls may be under way: half as many after trouble, one more after as many good ones as there may be.

    Trouble is being throttled, a 5xx, or no reply. What was on its way when the window shrank says nothing new.
    """

    def __init__(self, most: int) -> None:
        self.size, self.most = most, most
        self._good = 0
        self._shrunk_at = float("-inf")

    def grow(self, most: int) -> None:
        """There may be more from now on: what another worker needs no more. A calm window is as wide at once."""
        if self.size == self.most:
            self.size = max(self.size, most)
        self.most = max(self.most, most)

    def saw(self, judgement: Judgement, began: float, ended: float) -> None:
        """Takes note of one call, from `began` to `ended` on one clock, in seconds."""
        if _is_trouble(judgement):
            if began >= self._shrunk_at:
                self.size, self._shrunk_at = max(1, self.size // 2), ended
            self._good = 0
            return
        self._good += 1
        if self._good >= self.size:
            self.size, self._good = min(self.most, self.size + 1), 0


def _is_trouble(judgement: Judgement) -> bool:
    if judgement.verdict is Verdict.IN_DOUBT:
        return judgement.http_status is None or judgement.http_status >= 500 or judgement.still_at_work
    return judgement.verdict is Verdict.THROTTLED


@dataclass(frozen=True, slots=True)
class Line:
    """The line of a run's calls under its rate: each has a moment, `1 / rate` seconds after the one before.

    A call may leave from its moment on until `grace` seconds later, and no more than so far back may the line begin
    again after a pause: so in any W seconds at most `rate * (W + grace) + 1` calls leave, whoever makes them.
    """

    rate: float  # calls per second
    sharers: int
    grace: float

    @classmethod
    def of(cls, rate: float, sharers: int) -> Line:
        """The line whose calls burst no more than those of one process: BURST_SECONDS of them, or one."""
        return cls(rate, sharers, max(BURST_SECONDS - 1 / rate, LEAST_GRACE_SECONDS))

    @property
    def at_once(self) -> int:
        """How many moments are given to one worker at once, so that the others' turn comes soon."""
        return math.ceil(self.rate * TURN_SECONDS)

    def next(self, free_at: float, ready_at: float) -> float:
        """The next free moment, where the line was left at `free_at`, for a call that can't leave before `ready_at`.

        Each of the sharers may have taken some ahead; a moment that is farther away is a clock's that was set back.
        """
        farthest = ready_at + FARTHEST_SECONDS + 2 * self.sharers * self.at_once / self.rate
        return ready_at if free_at > farthest else max(free_at, ready_at - self.grace)


def backoff_seconds(attempt: int, asked_seconds: float | None, rng: random.Random) -> float:
    """How long to wait after attempt number `attempt` (from 1): jittered, doubling, never less than was asked."""
    most = min(BACKOFF_SECONDS * 2 ** min(attempt - 1, 30), BACKOFF_AT_MOST_SECONDS)
    jitter = rng.uniform(0, most)
    return jitter if asked_seconds is None else asked_seconds + jitter
