"""Leases: taken once, fenced by their epoch, and over when nothing more can leave under them."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa
from conftest import BOTH, phone, run_on_clock, wait_until
from hypothesis import given
from hypothesis import strategies as st

from pipeline import granting, holding, leases, processes, statedb, tables
from pipeline.granting import grant, open_fleet
from pipeline.journal import Scope, open_journal
from pipeline.leases import Lease, Passing, clear
from pipeline.model import Payload, Status
from pipeline.pace import Line
from pipeline.watch import ErrorLimit, Halt, Seen, Watch
from pipeline.writes import LeaseLostError
from schemas.spec import Verdict

RUN = "20300101T000000Z-list-00000001"
ACCOUNT = "sandbox@http://127.0.0.1/"
SCOPE = Scope(RUN, ACCOUNT, "InsertLead")
ONE = Seen(verdicts=5, errors=2, unknown=1, connected=True)


@pytest.fixture
def state(database: str) -> sa.Engine:
    made = statedb.engine(database)
    open_fleet(made, RUN, ACCOUNT)
    return made


@pytest.fixture
def lease(state: sa.Engine) -> Lease:
    return grant(state, RUN, 0, 4)


def row(number: int) -> Payload:
    return Payload(0, number, f"{number:032x}", phone(number), "", "", b"", "")


def begun(state: sa.Engine, lease: Lease, number: int = 1) -> bool:
    """Whether a row could be begun under the lease."""

    async def begin() -> bool:
        with open_journal(state, SCOPE, fence=lease) as written:
            return await written.begin(row(number), 0)

    return bool(run_on_clock(begin()))


def test_who_keeps_a_lease_syncs_the_journal_s_log_before_it_is_written_back(tmp_path: Path) -> None:
    """Any connection may be the one that writes SQLite's log back: none may do it without the disk's word."""
    state = statedb.engine(f"sqlite:///{tmp_path}/state.db")
    with holding.working(state, Lease(RUN, 0, 1)) as held:
        said = [held._connection.exec_driver_sql(f"PRAGMA {name}").scalar_one() for name in _OF_THE_LOG]
    assert said == ["wal", 1, 8000]


_OF_THE_LOG = ("journal_mode", "synchronous", "wal_autocheckpoint")

# --- Taken once ---


@BOTH
def test_a_lease_is_taken_once(state: sa.Engine, lease: Lease) -> None:
    """A task that is run a second time finds it taken, and sends nothing."""
    with holding.working(state, lease) as first, holding.working(state, lease) as again:
        first.take()
        with pytest.raises(LeaseLostError):
            again.take()


@BOTH
def test_a_lease_that_was_revoked_is_not_to_be_had(state: sa.Engine, lease: Lease) -> None:
    leases.revoke(state, lease)
    with holding.working(state, lease) as worker, pytest.raises(LeaseLostError):
        worker.take()


def test_a_partition_is_not_granted_while_somebody_may_still_send_it(state: sa.Engine, lease: Lease) -> None:
    leases.revoke(state, lease)
    with pytest.raises(RuntimeError, match="already"):
        grant(state, RUN, 0, 4)
    leases.bury(state, lease)
    assert grant(state, RUN, 0, 4).epoch == 2


def test_a_fleet_that_begins_anew_grants_no_epoch_twice(state: sa.Engine, lease: Lease) -> None:
    leases.bury(state, lease)
    open_fleet(state, RUN, ACCOUNT)
    assert grant(state, RUN, 0, 4).epoch == 2


# --- Fenced ---


@BOTH
def test_nothing_is_written_under_a_lease_that_was_revoked(state: sa.Engine, lease: Lease) -> None:
    assert begun(state, lease)
    leases.revoke(state, lease)
    with pytest.raises(LeaseLostError):
        begun(state, lease, 2)
    with state.connect() as connection:
        assert connection.execute(sa.select(tables.SENDS.c.row)).scalars().all() == [1]


@BOTH
def test_a_lease_is_not_revoked_in_the_middle_of_a_commit(state: sa.Engine, lease: Lease) -> None:
    """Whoever revokes it waits: what was written is there when the rows under way are counted."""
    locks = "BEGIN IMMEDIATE" if state.dialect.name == "sqlite" else "SELECT 1 FROM leases FOR SHARE"
    revoking = threading.Thread(target=leases.revoke, args=(state, lease))
    with state.connect() as committing, committing.begin():
        committing.exec_driver_sql(locks)
        revoking.start()
        revoking.join(0.2)
        assert revoking.is_alive()
    revoking.join(30)
    assert not revoking.is_alive()


# --- Heard ---


@BOTH
def test_workers_hear_what_the_others_have_seen_and_what_is_asked_of_them(state: sa.Engine, lease: Lease) -> None:
    other = grant(state, RUN, 1, 4)
    with holding.working(state, lease) as one, holding.working(state, other) as two:
        one.take()
        two.take()
        one.renew(ONE, {"accepted": 3})
        assert two.renew(Seen(), {}).others == ONE
        granting.give_more(state, other, 7)
        granting.beat(state, RUN)
        granting.stop(state, RUN, 15)
        heard = two.renew(Seen(), {})
        assert (heard.concurrency, heard.is_stopped, heard.signal, heard.beat) == (7, True, 15, 1)


@BOTH
def test_the_first_halt_is_the_runs(state: sa.Engine, lease: Lease) -> None:
    with holding.working(state, lease) as worker:
        worker.halt(Halt("first", "why", 3))
        worker.halt(Halt("second", "why", 3))
    assert granting.stopped(state, RUN) == (True, Halt("first", "why", 3))


def test_a_share_of_errors_is_judged_over_all_workers() -> None:
    watch = Watch(ErrorLimit(None, 0.2))
    watch.hear(Seen(verdicts=199, errors=40))
    watch.saw_row(Status.REJECTED, "x")
    assert watch.halt is not None


def test_errors_in_a_row_are_those_of_all_workers() -> None:
    """Of four workers each has thirteen, and nobody had a success: that is what halts one process after fifty."""
    watch = Watch(ErrorLimit(None, 0.2))
    for turn in range(1, 14):
        watch.hear(Seen(verdicts=turn * 3, errors=turn * 3))
        watch.saw_row(Status.FAILED, "x")
    assert watch.halt is not None


@pytest.mark.parametrize("own", [0, 1])
def test_a_success_of_any_worker_ends_a_row_of_errors(own: int) -> None:
    watch = Watch(ErrorLimit(None, 0.2))
    watch.hear(Seen(verdicts=40, errors=40))
    if own:
        watch.saw_row(Status.ACCEPTED, "ok")
    watch.hear(Seen(verdicts=60, errors=59 + own))
    for _ in range(25):
        watch.saw_row(Status.FAILED, "x")
    assert watch.halt is None


def test_credentials_that_two_workers_were_refused_halt_each() -> None:
    watch = Watch(ErrorLimit(None, 0.2))
    watch.saw_row(Status.FAILED, "credentials")
    assert watch.doubts_credentials
    watch.hear(Seen(verdicts=1, errors=1, credentials=1))
    assert watch.halt is not None
    assert watch.halt.code == "credentials"


def test_a_lead_that_any_worker_had_judged_ends_the_doubt_of_credentials() -> None:
    """As in one process, where two refusals halt only if nothing was judged in between."""
    watch = Watch(ErrorLimit(None, 0.2))
    watch.hear(Seen(verdicts=1, errors=1, credentials=1))
    assert watch.doubts_credentials
    watch.hear(Seen(verdicts=2, errors=1, credentials=1, judged=1))
    watch.saw_row(Status.FAILED, "credentials")
    assert watch.doubts_credentials
    assert watch.halt is None


@pytest.mark.parametrize("connected", [False, True])
def test_refused_connections_are_counted_over_all_workers(connected: bool) -> None:
    """But where any of them was ever connected, they say nothing of the whole run."""
    watch = Watch(ErrorLimit(None, 0.2))
    watch.saw_attempt(Verdict.NOT_DELIVERED, None)
    watch.hear(Seen(refusals=18))
    assert watch.halt is None
    watch.hear(Seen(refusals=19, connected=connected))
    assert (watch.halt is None) is connected
    assert watch.refused == (0 if connected else 1)


# --- Over ---


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    """A process that waits."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as waiting:
        yield waiting
        waiting.kill()


def held_by(state: sa.Engine, lease: Lease, holder: str) -> None:
    with state.begin() as connection:
        connection.execute(sa.update(tables.LEASES).values(holder=holder))


def holder_of(process: subprocess.Popen[bytes]) -> str:
    mine = processes.this_process().split("/")
    stat = Path(f"/proc/{process.pid}/stat").read_text()
    return "/".join([*mine[:-2], str(process.pid), stat.split()[21]])


def test_a_lease_is_over_when_its_holder_is_dead(
    state: sa.Engine, lease: Lease, process: subprocess.Popen[bytes]
) -> None:
    held_by(state, lease, holder_of(process))
    passing = Passing.begin(state, [lease])
    assert not passing.is_over()
    process.kill()
    wait_until(passing.is_over)


@pytest.mark.parametrize("place", [0, -1])
def test_a_holder_elsewhere_is_never_taken_for_dead(place: int) -> None:
    """Another host's, whose process has a number that is free here; or this one, were it another process."""
    parts = processes.this_process().split("/")
    parts[place] += "1"
    assert processes.is_surely_dead("/".join(parts)) == (place == -1)


def test_a_lease_is_over_when_its_holder_says_so(state: sa.Engine, lease: Lease) -> None:
    with holding.working(state, lease) as worker:
        worker.take()
        passing = Passing.begin(state, [lease])
        assert not passing.is_over()
        worker.give_up()
        assert passing.is_over()


def test_a_lease_of_a_holder_elsewhere_is_over_after_a_time(state: sa.Engine, lease: Lease) -> None:
    held_by(state, lease, "elsewhere/boot/space/1/1")
    passing = Passing.begin(state, [lease])
    assert not passing.is_over()
    assert replace(passing, revoked_at=passing.revoked_at - leases.UNTIL_DEAD_SECONDS - 1).is_over()


def test_leases_that_nobody_took_are_cleared_at_once(state: sa.Engine, lease: Lease) -> None:
    clear(state, account=ACCOUNT)
    assert grant(state, RUN, 0, 4).epoch == 2


def test_leases_of_other_accounts_are_left_alone(state: sa.Engine, lease: Lease) -> None:
    clear(state, account="other@http://127.0.0.1/")
    with holding.working(state, lease) as worker:
        worker.take()


# --- The rate ---


@BOTH
def test_workers_share_one_line(state: sa.Engine, lease: Lease) -> None:
    """No moment is given twice, and none is left out."""
    line = Line.of(1000.0, 2)
    with holding.working(state, lease) as one, holding.working(state, grant(state, RUN, 1, 4)) as two:
        pairs = [pair for _ in range(10) for worker in (one, two) for pair in worker.moments(line, 5, 0.0).pairs]
    assert len(pairs) == 100
    with state.connect() as connection:
        free_at = connection.execute(sa.select(tables.FLEETS.c.free_at)).scalar_one()
    assert free_at > 0


@given(
    rate=st.floats(0.1, 2000),
    workers=st.integers(1, 4),
    asks=st.lists(st.tuples(st.floats(0, 0.5), st.integers(1, 40)), min_size=1, max_size=60),
    seed=st.integers(0, 9),
)
def test_no_more_calls_leave_than_the_rate_and_its_burst(
    rate: float, workers: int, asks: list[tuple[float, int]], seed: int
) -> None:
    """Whenever workers ask, and whenever between its moment and the end of its grace each call leaves."""
    line, rng = Line.of(rate, workers), random.Random(seed)
    ready, free_at, left = [100.0] * workers, 0.0, []
    for pause, wanted in asks:
        who = ready.index(min(ready))
        now = ready[who] + pause * rng.random()
        ready = [max(at, now) for at in ready]
        first, count = line.next(free_at, now), min(wanted, line.at_once)
        free_at = first + count / rate
        left += [
            max(now, first + at / rate) + rng.uniform(0, max(0, line.grace - max(0, now - first - at / rate)))
            for at in range(count)
        ]
        ready[who] = max(left)  # whoever asks has used what it had
    for window in (0.01, 0.1, 1.0, 5.0):
        for start in left:
            inside = sum(start <= at < start + window for at in left)
            assert inside <= rate * (window + line.grace) + 1 + 1e-6 * rate


def test_a_clock_that_was_set_back_stops_nobody() -> None:
    line = Line.of(10.0, 2)
    assert line.next(free_at=5000.0, ready_at=100.0) == 100.0


@given(rate=st.floats(0.01, 2000), free_at=st.floats(0, 200), ready_at=st.floats(100, 110))
def test_no_moment_is_given_that_is_missed_before_it_can_be_used(rate: float, free_at: float, ready_at: float) -> None:
    """After a pause the line begins as far back as its grace, but by when the call can leave."""
    line = Line.of(rate, 2)
    assert line.next(free_at, ready_at) + line.grace >= ready_at - 1e-9


@BOTH
def test_whoever_takes_long_to_ask_gets_moments_that_are_as_far_ahead(state: sa.Engine, lease: Lease) -> None:
    """Else a slow database would have every moment missed, and no call would ever leave."""
    with holding.working(state, lease) as worker:
        asked_at = leases.clock()
        ((_, ends),) = worker.moments(Line.of(50.0, 2), 1, 5.0).pairs
    assert ends >= asked_at + 5.0


# --- A database that is older ---


def test_a_database_without_leases_is_read_and_gets_them_when_something_is_sent(state: sa.Engine) -> None:
    """It was made before several workers could send."""
    with state.begin() as connection:
        for table in (tables.FLEETS, tables.LEASES):
            table.drop(connection)
    url = state.url.render_as_string()
    with statedb.reading(url).connect() as connection:
        assert not sa.inspect(connection).has_table(tables.LEASES.name)
    open_fleet(statedb.engine(url), RUN, ACCOUNT)
