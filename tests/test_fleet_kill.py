"""Workers and clients that are killed or stopped in the middle of a load: every row is stored once, none is lost."""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import distributed
import pytest
import sqlalchemy as sa
from conftest import BOTH, Account, Leads, Result, wait_until
from killing import FLAKY, LOAD, TOUCHY, Books, Command, Deal, Desk, Way, finish, holders, violations, write_list

from pipeline.delivery import utc_now

SHARED = (*LOAD, "--workers", "2", "--rate", "35")  # three seconds and more, once they send


@pytest.fixture
def desk(home: Path, start_account: Callable[..., Account], database: str) -> Desk:
    """A list of 70 leads, and an account that fails 15% of its calls."""
    account = start_account(**{**TOUCHY, "profile": FLAKY, "seed": 7})
    return Desk(home, write_list(home, Deal(), 70), account, database=database)


def here(leads: Leads, desk: Desk) -> Callable[..., Result]:
    return partial(leads, env=desk.environment, now=utc_now)


def sent(desk: Desk) -> int:
    """How many rows were sent, or are being sent."""
    return int(desk.in_state("SELECT count(*) FROM sends")[0][0])


def until_under_way(desk: Desk, command: Command) -> list[int]:
    """Waits until both workers send; their processes."""
    assert command.says("sending")
    wait_until(lambda: len(holders(desk)) == 2)
    wait_until(lambda: sent(desk) > 20)
    return holders(desk)


def stop(desk: Desk, process: int) -> None:
    """Stops a process between two of its writes: with SQLite's lock in its hands it would stop everybody."""
    while True:
        os.kill(process, signal.SIGSTOP)
        with closing(sqlite3.connect(str(sa.make_url(desk.state_url).database), timeout=1)) as state:
            try:
                state.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                os.kill(process, signal.SIGCONT)
            else:
                return


@BOTH
def test_a_worker_that_is_killed_costs_no_row(leads: Leads, desk: Desk) -> None:
    """Its rows under way are looked up, and the rest of its partition is sent, before the command ends."""
    with desk.started(*SHARED) as command:
        os.kill(until_under_way(desk, command)[0], signal.SIGKILL)
        ended = command.ended()
    assert ended.code in (0, 1, 5), ended
    assert desk.in_state("SELECT max(epoch) FROM leases") == [(2,)]
    assert desk.in_state("SELECT count(*) FROM sends WHERE status = 'not_attempted'") == [(0,)]
    finish(desk, Way.RESUME, here(leads, desk))
    assert violations(desk) == []


def test_a_worker_that_is_killed_leaves_its_own_rows_in_doubt_and_no_others(
    home: Path, start_account: Callable[..., Account]
) -> None:
    """Of rows that are one worker's since they share ClientIds, which for that very reason can't be looked up."""
    account = start_account(**{**TOUCHY, "profile": replace(FLAKY, faults={})})
    desk = Desk(home, write_list(home, Deal(client_id=True, phones=2), 70), account)
    with desk.started(*SHARED, "--json") as command:
        os.kill(until_under_way(desk, command)[0], signal.SIGKILL)
        ended = command.ended()
    assert desk.in_state("SELECT count(*) FROM sends WHERE state = 'sending'") == [(0,)]
    counts = Counter(ended.json["counts"])
    assert (counts["accepted"] + counts["unknown"], counts["unknown"] <= 4) == (70, True)  # half of --concurrency
    books = Books(account)
    assert (books.state["stored_twice"], len(books.leads) >= counts["accepted"]) == (0, True)


@BOTH
def test_a_client_that_is_killed_costs_no_row(leads: Leads, desk: Desk) -> None:
    """Its workers end with it, or are waited for; the run is resumed by one process."""
    with desk.started(*SHARED) as command:
        until_under_way(desk, command)
        command.signal(signal.SIGKILL)
        assert command.ended().code == -signal.SIGKILL
    finish(desk, Way.RESUME, here(leads, desk))
    assert violations(desk) == []


def test_a_client_that_is_asked_to_end_has_its_workers_settle_their_rows(leads: Leads, desk: Desk) -> None:
    with desk.started(*SHARED, "--json") as command:
        until_under_way(desk, command)
        command.signal(signal.SIGTERM)
        ended = command.ended()
    assert ended.code == 143
    assert ended.json["counts"].keys() >= {"accepted", "not_attempted"}
    assert desk.in_state("SELECT count(*) FROM sends WHERE state = 'sending'") == [(0,)]
    finish(desk, Way.RECONCILE, here(leads, desk))
    assert violations(desk) == []


def test_a_worker_that_was_stopped_for_too_long_sends_nothing_more(leads: Leads, desk: Desk) -> None:
    """When it goes on its lease is over: it leaves its rows to whoever has its partition by then."""
    slowly = (*SHARED, "--rate", "10")  # so that the first worker has rows left when the second has begun, too
    with desk.started(*slowly) as command:
        stopped = until_under_way(desk, command)[0]
        stop(desk, stopped)
        try:
            wait_until(lambda: desk.in_state("SELECT 1 FROM leases WHERE is_revoked"))
        finally:
            with suppress(ProcessLookupError):
                os.kill(stopped, signal.SIGCONT)
        ended = command.ended()
    assert ended.code in (0, 1, 5), ended
    finish(desk, Way.RESUME, here(leads, desk))
    assert violations(desk) == []


@contextmanager
def scheduler(desk: Desk) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """A scheduler's address, and its process. It has one worker, which may call as the account."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    address = f"tcp://127.0.0.1:{port}"

    def started(program: str, *args: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", f"distributed.cli.{program}", *args, "--no-dashboard"]
        quiet = subprocess.DEVNULL
        return subprocess.Popen(command, cwd=desk.home, env=os.environ | desk.environment, stdout=quiet, stderr=quiet)

    with (
        started("dask_scheduler", "--host", "127.0.0.1", "--port", str(port)) as leading,
        started("dask_worker", address, "--nthreads", "1", "--no-nanny") as worker,
    ):
        try:
            with distributed.Client(address, timeout=30, set_as_default=False) as client:
                client.wait_for_workers(1, timeout=30)
            yield address, leading
        finally:
            worker.kill()
            leading.kill()


def test_a_scheduler_that_dies_costs_no_row(leads: Leads, desk: Desk) -> None:
    """Its workers settle what they have under way, and only then the command ends; another one goes on."""
    with scheduler(desk) as (address, process):
        with desk.started(*LOAD, "--scheduler", address, "--rate", "35") as command:
            assert command.says("sending"), command.ended()
            wait_until(lambda: sent(desk) > 20)
            process.kill()
            ended = command.ended()
        assert ended.code == 70
        assert ended.err.splitlines()[-1].startswith("leads: the scheduler has gone")
        assert ended.err.endswith(f"leads resume {desk.runs[0].run_id}\n")
        lost = "SELECT count(*) FROM sends WHERE state = 'sending' OR (status = 'unknown' AND code = 'interrupted')"
        assert desk.in_state(lost) == [(0,)]
        finish(desk, Way.RESUME, here(leads, desk))
    assert violations(desk) == []
