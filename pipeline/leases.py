"""Leases: what one is, under which a worker sends a partition of a run; and its end, before somebody else sends.

A partition is one worker's at a time. What a worker writes is fenced by its epoch (`writes.Fence`), and what it sends
by its own monotonic clock: it stops TTL_SECONDS after the last renewal that succeeded was begun. So a lease that is
revoked has surely ended UNTIL_DEAD_SECONDS later, by the clock of whoever revoked it; no two machines' clocks are
compared.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields

import sqlalchemy as sa

from pipeline import processes, sqlite
from pipeline.tables import FLEETS, LEASES, RUNS
from pipeline.watch import Seen
from pipeline.writes import Fence

TTL_SECONDS = 15.0
RENEW_SECONDS = 0.25  # what the workers know of each other is so old
LEAVING_SECONDS = 12.0  # from the last look at the clock until a call's first byte leaves: it may connect first
UNTIL_DEAD_SECONDS = TTL_SECONDS + LEAVING_SECONDS
_LOOK_SECONDS = 0.1  # between two looks whether somebody is dead

Lease = Fence  # one turn of one worker at a partition


def clock() -> float:
    """Seconds that pass alike for all processes of this machine, also while it or a process sleeps."""
    return time.clock_gettime(_CLOCK)


_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)

SEEN = [LEASES.c[field.name] for field in fields(Seen)]  # its worker has told
NOT_REVOKED = LEASES.c.is_revoked.is_(sa.false())
NOT_ENDED = LEASES.c.has_ended.is_(sa.false())


def row(lease: Lease) -> tuple[sa.ColumnElement[bool], ...]:
    """Where it is in the table."""
    return LEASES.c.run_id == lease.run_id, LEASES.c.partition == lease.partition, LEASES.c.epoch == lease.epoch


@contextmanager
def writing(state: sa.Engine) -> Iterator[sa.Connection]:
    """A transaction that writes, over a connection of its own."""
    with connected(state) as connection, begun(connection):
        yield connection


@contextmanager
def connected(state: sa.Engine, *pragmas: str) -> Iterator[sa.Connection]:
    """A connection that waits for whoever writes; `pragmas` are set besides where the database is SQLite's."""
    with state.connect() as connection:
        if connection.dialect.name == "sqlite":
            for pragma in ("busy_timeout=30000", f"wal_autocheckpoint={sqlite.LOG_PAGES}", *pragmas):
                connection.exec_driver_sql(f"PRAGMA {pragma}")
            connection.commit()
        yield connection


@contextmanager
def begun(connection: sa.Connection) -> Iterator[None]:
    """A transaction that writes."""
    with connection.begin():
        if connection.dialect.name == "sqlite":  # to read first and write then would fail while others write
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        yield


# --- Their end ---


def revoke(state: sa.Engine, lease: Lease) -> str | None:
    """From now on nothing more is written under this lease. Gives who holds it; None: nobody, or not any more."""
    with writing(state) as connection:
        connection.execute(sa.update(LEASES).where(*row(lease)).values(is_revoked=True))
        found = connection.execute(sa.select(LEASES.c.holder, LEASES.c.has_ended).where(*row(lease))).one()
    return None if found.has_ended else found.holder


def bury(state: sa.Engine, lease: Lease) -> None:
    """A revoked lease's worker is dead by now, or has given up: nothing more leaves under it."""
    with writing(state) as connection:
        connection.execute(sa.update(LEASES).where(*row(lease)).values(has_ended=True))


@dataclass(slots=True)
class Passing:
    """Leases that were revoked, until nothing more can leave under them."""

    state: sa.Engine
    holders: dict[Lease, str | None]
    revoked_at: float

    @classmethod
    def begin(cls, state: sa.Engine, leases: Sequence[Lease]) -> Passing:
        """Revokes the leases."""
        holders = {lease: revoke(state, lease) for lease in leases}
        return cls(state, holders, clock())

    def is_over(self) -> bool:
        """Whether all have ended. Each that has is buried."""
        waited = clock() - self.revoked_at > UNTIL_DEAD_SECONDS
        for lease, holder in [*self.holders.items()]:
            if waited or holder is None or processes.is_surely_dead(holder) or _has_ended(self.state, lease):
                bury(self.state, lease)
                del self.holders[lease]
        return not self.holders


def _has_ended(state: sa.Engine, lease: Lease) -> bool:
    with state.connect() as connection:
        return bool(connection.execute(sa.select(LEASES.c.has_ended).where(*row(lease))).scalar_one())


def clear(
    state: sa.Engine,
    *,
    account: str | None = None,
    run_id: str | None = None,
    beside: bool = True,
    tell: Callable[[str], object] = lambda _: None,
) -> None:
    """Ends what workers of dead clients still hold, and waits until nothing more can leave: half a minute at most.

    Call it under the account's lock (None: under every account's): then no living client has a lease there, save of
    runs that take no lock, which are left alone unless `beside`. With `run_id` only that run's are ended.
    """
    passing = Passing.begin(state, _left(state, account, run_id, beside=beside))
    if not passing.is_over():
        who = ", ".join(sorted({processes.shown(holder) for holder in passing.holders.values() if holder}))
        tell(f"workers of a run that was cut short may still be sending ({who}): up to {UNTIL_DEAD_SECONDS:.0f} s")
    while not passing.is_over():
        time.sleep(_LOOK_SECONDS)


def _left(state: sa.Engine, account: str | None, run_id: str | None, *, beside: bool) -> list[Lease]:
    query = sa.select(LEASES.c.run_id, LEASES.c.partition, LEASES.c.epoch).where(NOT_ENDED)
    if account is not None:
        query = query.where(LEASES.c.run_id.in_(sa.select(FLEETS.c.run_id).where(FLEETS.c.account == account)))
    if run_id is not None:
        query = query.where(LEASES.c.run_id == run_id)
    if not beside:
        query = query.where(LEASES.c.run_id.not_in(sa.select(RUNS.c.run_id).where(RUNS.c.goes_beside)))
    with state.connect() as connection:
        return [Lease(*values) for values in connection.execute(query)]
