"""The client's side of leases: it grants them to workers, and tells and hears what concerns the whole run."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass

import sqlalchemy as sa

from pipeline.leases import SEEN, Lease, row, writing
from pipeline.tables import FLEETS, LEASES
from pipeline.watch import Halt, Seen


@dataclass(frozen=True, slots=True)
class Granted:
    """A lease as its run's client sees it."""

    lease: Lease
    holder: str | None
    concurrency: int
    beat: int
    settled: Counter[str]  # rows by status
    seen: Seen
    has_ended: bool


def open_fleet(state: sa.Engine, run_id: str, account: str) -> None:
    """Begins to send a run by several workers.

    Leases that it has had have ended; their epochs are never granted again.
    """
    values = {"account": account, "beat": 0, "is_stopped": False, "signal": None, "halt": None, "free_at": 0.0}
    with writing(state) as connection:
        connection.execute(sa.delete(FLEETS).where(FLEETS.c.run_id == run_id))
        connection.execute(
            sa.update(LEASES).where(LEASES.c.run_id == run_id).values(asdict(Seen()) | {"settled": "{}"})
        )
        connection.execute(sa.insert(FLEETS).values(run_id=run_id, **values))


def grant(state: sa.Engine, run_id: str, partition: int, concurrency: int) -> Lease:
    """The next epoch of a partition, for whoever takes it. The one before has ended."""
    mine = (LEASES.c.run_id == run_id, LEASES.c.partition == partition)
    with writing(state) as connection:
        epochs = connection.execute(
            sa.select(sa.func.max(LEASES.c.epoch), sa.func.min(LEASES.c.has_ended.cast(sa.Integer))).where(*mine)
        ).one()
        if epochs[1] == 0:
            raise RuntimeError(f"partition {partition} of run {run_id} is somebody's already")
        lease = Lease(run_id, partition, (epochs[0] or 0) + 1)
        values = asdict(Seen()) | {"beat": 0, "is_revoked": False, "has_ended": False, "settled": "{}"}
        connection.execute(sa.insert(LEASES).values(**lease._asdict(), concurrency=concurrency, **values))
    return lease


def granted(state: sa.Engine, run_id: str) -> list[Granted]:
    """Every lease of a run, with what its worker has seen as far as it has told."""
    columns = (LEASES.c.holder, LEASES.c.concurrency, LEASES.c.beat, LEASES.c.has_ended, LEASES.c.settled)
    query = sa.select(LEASES.c.partition, LEASES.c.epoch, *columns, *SEEN).where(LEASES.c.run_id == run_id)
    found = []
    with state.connect() as connection:
        for partition, epoch, holder, concurrency, beat, has_ended, settled, *seen in connection.execute(query):
            lease, counts = Lease(run_id, partition, epoch), Counter(json.loads(settled))
            found.append(Granted(lease, holder, concurrency, beat, counts, Seen(*seen), has_ended))
    return found


def give_more(state: sa.Engine, lease: Lease, concurrency: int) -> None:
    """Raises a lease's share of the concurrency: somebody else has ended."""
    with writing(state) as connection:
        connection.execute(sa.update(LEASES).where(*row(lease)).values(concurrency=concurrency))


def beat(state: sa.Engine, run_id: str) -> None:
    """Shows the workers that their client lives."""
    with writing(state) as connection:
        connection.execute(sa.update(FLEETS).where(FLEETS.c.run_id == run_id).values(beat=FLEETS.c.beat + 1))


def stop(state: sa.Engine, run_id: str, signal: int | None = None) -> None:
    """No worker of the run takes another row from now on; after a signal those under way have the drain's time."""
    told = {"is_stopped": True} | ({} if signal is None else {"signal": signal})
    with writing(state) as connection:
        connection.execute(sa.update(FLEETS).where(FLEETS.c.run_id == run_id).values(told))


def stopped(state: sa.Engine, run_id: str) -> tuple[bool, Halt | None]:
    """Whether no worker of the run takes another row, and the halt of the worker that stopped it, if one did."""
    with state.connect() as connection:
        query = sa.select(FLEETS.c.is_stopped, FLEETS.c.halt).where(FLEETS.c.run_id == run_id)
        is_stopped, halt = connection.execute(query).one()
    return is_stopped, None if halt is None else Halt(**json.loads(halt))
