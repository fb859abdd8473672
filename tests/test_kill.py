"""Loads under the worst of circumstances: whatever happens, every valid row is stored once, and nothing is lost.

The real command runs in a process of its own and is killed, asked to end, doubled, starved of disk, or told the wrong
time; the vendor fails 15% of its calls in all ways there are. `make soak` does it for longer.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import moved_clock
import postgresql
import pytest
from conftest import BOTH, Account, Leads, Result, phone, write, write_csv
from killing import (
    FLAKY,
    LEADS,
    LOAD,
    PATIENCE,
    ROUNDS,
    TOUCHY,
    Books,
    Deal,
    Desk,
    Scene,
    Story,
    Vendor,
    Way,
    at_the_vendor,
    counted,
    finish,
    is_there,
    killed,
    violations,
    write_list,
)

from pipeline.delivery import utc_now
from pipeline.sandbox.profiles import profile_named

STORIES = tuple(
    Story(seed, deal, way, kills=3, leads=60, database=database)
    for seed, (deal, way, database) in enumerate(
        [
            (Deal("1", client_id=False), Way.RESUME, "sqlite"),
            (Deal("0", client_id=True), Way.LOAD, "sqlite"),
            (Deal("1", client_id=True), Way.RECONCILE, "sqlite"),
            (Deal("0", client_id=False), Way.ANY, "sqlite"),
            (Deal("1", client_id=False), Way.LOAD, "postgresql"),
            (Deal("0", client_id=True), Way.RECONCILE, "postgresql"),
        ]
    )
)
SLOWLY = (*LOAD, "--rate", "15")  # four seconds and more
IN_THE_MIDDLE = 0.5  # seconds
UNHURRIED = replace(profile_named("default"), latency_seconds=0.02)

StartDesk = Callable[..., Desk]


@pytest.fixture
def start_desk(home: Path, database: str, start_account: Callable[..., Account]) -> StartDesk:
    """A list of 60 leads in the working directory, and an account that fails 15% of its calls."""

    def start(**given: Any) -> Desk:
        account = start_account(**{**TOUCHY, "profile": FLAKY, "seed": 7, **given})
        server = database if database.startswith("postgresql") else None
        return Desk(home, write_list(home, Deal(), 60), account, database=server)

    return start


@pytest.fixture(scope="module", autouse=True)
def scenes(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Mapping[Story, Future[Scene]]]:
    """The stories that are asked for, up to their end. They mostly wait, so other tests go on meanwhile."""
    parameters = (item.callspec.params for item in request.session.items if hasattr(item, "callspec"))
    stories = [given["story"] for given in parameters if given.get("story") in STORIES]
    if postgresql.bin_folder() is None:
        stories = [story for story in stories if story.database == "sqlite"]
    with ExitStack() as stack, ThreadPoolExecutor(2) as two:

        def database(story: Story) -> str | None:
            return (
                None
                if story.database == "sqlite"
                else stack.enter_context(request.getfixturevalue("server").database())
            )

        told = [killed(story, tmp_path_factory.mktemp("story"), database(story)) for story in stories]
        yield {story: two.submit(stack.enter_context, scene) for story, scene in zip(stories, told, strict=True)}


def here(leads: Leads, desk: Desk) -> Callable[..., Result]:
    """The command in this process, which has done its imports: for what is not to be killed. By the others' clock."""
    return partial(leads, env=desk.environment, now=utc_now)


# --- Dead for a while ---


@BOTH
def test_what_was_under_way_when_a_run_died_rests_a_whole_settle(leads: Leads, start_desk: StartDesk) -> None:
    """However long ago it was first sent: nobody knows when it was last, and the vendor may still be at work on it."""
    desk = start_desk(profile=UNHURRIED)
    here(leads, desk)(*LOAD)
    hour = 3600 * 1_000_000
    desk.in_state(f"UPDATE sends SET state='sending', first_sent_at=first_sent_at-{hour} WHERE row=2")
    began = time.time()
    assert here(leads, desk)("resume", "--json").by_row[2]["reconciled"]
    asked = "SELECT sent_at FROM requests WHERE row=2 AND operation='LeadOperations.SearchLead'"
    ((looked_up_at,),) = desk.in_state(asked)
    assert looked_up_at / 1_000_000 - began >= float(PATIENCE["LEADS_SETTLE"])


# --- Asked to end ---


@BOTH
def test_a_load_that_is_asked_to_end_reports_what_it_has_done(leads: Leads, start_desk: StartDesk) -> None:
    """SIGTERM: exit 143; what is said to be accepted is there, what is not_attempted is not; then the rest goes."""
    desk = start_desk()
    ended = desk.interrupted((*SLOWLY, "--json"), IN_THE_MIDDLE, signal.SIGTERM)
    assert ended.code == 143
    stored = Books(desk.account)
    for row in ended.rows:
        if row["status"] == "accepted":
            assert is_there(row, desk.listed.leads[row["row"]], stored)
        if row["status"] == "not_attempted":
            assert row["phone"] not in stored.by_phone
    assert ended.json["counts"].keys() >= {"accepted", "not_attempted"}
    finish(desk, Way.RECONCILE, here(leads, desk))
    assert violations(desk) == []


# --- The vendor is gone for a while ---


def test_a_vendor_that_is_restarted_in_mid_push_has_every_row_once(leads: Leads, home: Path) -> None:
    """It is killed with calls under way, refuses connections, and comes back with what it had committed."""
    with Vendor(home).open() as vendor:
        desk = Desk(home, write_list(home, Deal(), 60), vendor.account)
        with desk.started(*SLOWLY) as command:
            assert command.says("sending")
            assert not command.ends_within(IN_THE_MIDDLE)
            vendor.kill()
            vendor.start()
            assert command.ended().code in (1, 5)
        finish(desk, Way.RESUME, here(leads, desk))
        assert violations(desk, vendor_restarted=True) == []


# --- Two at once ---


@BOTH
def test_a_second_run_is_refused_while_the_first_goes_on(leads: Leads, start_desk: StartDesk) -> None:
    """Whatever it is, it ends with exit code 6, sends nothing and leaves nothing; the first is not disturbed."""
    desk = start_desk()
    with desk.started(*SLOWLY) as first:
        assert first.says("sending")
        run = desk.runs[0]
        for command in (LOAD, ("resume", run.run_id), ("reconcile", run.run_id), ("show", run.run_id, "--rebuild")):
            refused = here(leads, desk)(*command)
            assert (refused.code, refused.out) == (6, ""), command
            assert run.run_id in refused.err
        assert not first.ends_within(0)
        assert first.ended().code in (1, 5)
    assert desk.runs == [run]
    finish(desk, Way.RESUME, here(leads, desk))
    assert violations(desk) == []


# --- No disk ---

# Files may not grow beyond so many bytes: a full disk for those who may not mount one.
_SMALL_FILES = """
import os, resource, sys
most = int(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
os.execv(sys.argv[2], sys.argv[2:])
"""
Disk = Callable[[str, int], None]


def mount(*args: str | Path) -> None:
    """Mounts a file system; the test is skipped where that is not allowed."""
    done = subprocess.run(["mount", *args], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"only root can mount a small disk ({done.stderr.splitlines()[0]})")


@pytest.fixture
def disk(home: Path) -> Iterator[Disk]:
    """Makes a disk of so many kilobytes at a folder of the working directory, or gives it another size."""
    with ExitStack() as stack:

        def resize(name: str, kilobytes: int) -> None:
            path = home / name
            if path.is_mount():
                mount("-o", f"remount,size={kilobytes}k", path)
            else:
                path.mkdir()
                mount("-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", path)
                stack.callback(subprocess.run, ["umount", "--lazy", path], check=True)

        yield resize


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """The folder can't be written meanwhile."""
    folder.chmod(0o500)
    is_root = os.access(folder, os.W_OK)  # who writes all the same, unless the file system can't be written
    if is_root:
        mount("--bind", folder, folder)
        mount("-o", "remount,bind,ro", folder)
    try:
        yield
    finally:
        if is_root:
            subprocess.run(["umount", "--lazy", folder], check=True)
        folder.chmod(0o700)


def refused(ended: Result) -> str:
    """What a command says that could not write: words, and an exit code that is no fault of ours."""
    assert ended.code in (2, 70)
    assert ended.out == ""
    assert "a fault of ours" not in ended.err
    return ended.err


def test_a_journal_that_may_not_grow_ends_the_push(leads: Leads, start_desk: StartDesk) -> None:
    """Nothing leaves that is not recorded; with room again the run goes on."""
    desk = start_desk()
    small = replace(desk, program=(sys.executable, "-c", _SMALL_FILES, "200000", LEADS))
    assert "the journal can't be written" in refused(small.run(*LOAD))
    recorded = {number for (number,) in desk.in_state("SELECT phone FROM sends")}
    sent = {asked["phone"] for asked in Books(desk.account).inserts}
    assert set() < sent <= recorded
    finish(desk, Way.RESUME, here(leads, desk))
    assert violations(desk) == []


@pytest.mark.parametrize("kilobytes", [60, 80, 100, 300])
def test_a_state_on_a_full_disk_ends_the_run(leads: Leads, start_desk: StartDesk, disk: Disk, kilobytes: int) -> None:
    """However early it is full, also when the next load begins; with room again that load sends all that is left."""
    desk = start_desk(profile=UNHURRIED)
    disk("state", kilobytes)
    for _ in range(2):
        assert "disk" in refused(here(leads, desk)(*LOAD))
    disk("state", 64_000)
    finish(desk, Way.LOAD, here(leads, desk))
    assert violations(desk) == []


@pytest.mark.parametrize(("kilobytes", "is_sent"), [(4, False), (12, False), (28, True), (40, True)])
def test_a_run_folder_on_a_full_disk_ends_the_run(
    leads: Leads, start_desk: StartDesk, disk: Disk, kilobytes: int, is_sent: bool
) -> None:
    """Without room for what precedes it nothing is sent; without room for the report that can be made later."""
    desk = start_desk(profile=UNHURRIED)
    disk("runs", kilobytes)
    assert "No space left on device" in refused(here(leads, desk)(*LOAD))
    assert bool(Books(desk.account).inserts) == is_sent
    disk("runs", 64_000)
    finish(desk, Way.RESUME if is_sent else Way.LOAD, here(leads, desk))
    assert violations(desk) == []


@pytest.mark.parametrize("name", ["runs", "state"])
def test_a_folder_that_cannot_be_written_is_told_before_anything_is_sent(
    leads: Leads, start_desk: StartDesk, name: str
) -> None:
    desk = start_desk(profile=UNHURRIED)
    here(leads, desk)(*LOAD, "--limit", "1")
    with read_only(desk.home / name):
        assert str(desk.home / name) in refused(here(leads, desk)(*LOAD))
    assert len(Books(desk.account).inserts) == 1
    finish(desk, Way.LOAD, here(leads, desk))
    assert violations(desk) == []


# --- The clock is moved ---

DAY = 24 * 3600


def test_a_clock_that_jumps_about_costs_no_row(leads: Leads, start_desk: StartDesk) -> None:
    """A day ahead, then a day behind, then right: rows in doubt are looked up in good time, and stored once."""
    desk = start_desk()
    for seconds, command in ((DAY, LOAD), (-DAY, ("resume",))):
        moved = replace(desk, program=(sys.executable, moved_clock.__file__, str(seconds)))
        ended = moved.interrupted((*command, *(run.run_id for run in desk.runs)), 0.3, signal.SIGKILL)
        assert ended.code == -signal.SIGKILL, ended
    finish(desk, Way.RESUME, here(leads, desk))
    assert violations(desk) == []


def test_an_update_is_not_forgotten_over_one_from_a_clock_that_was_ahead(
    leads: Leads, home: Path, account: Account
) -> None:
    """What was sent last is what the vendor has, whatever the clock said: going back to an older value is an update."""
    account.insert(phone(1), ClientId="C-1")
    write(
        home / "m.toml",
        'operation = "UpdateLead"\n[fields]\nSearchField = { value = "ClientId" }\nIdentifier = "Id"\nCity = "City"\n',
    )
    for ahead, city in ((timedelta(days=1), "Oslo"), (timedelta(), "Rome"), (timedelta(), "Oslo")):
        write_csv(home / "list.csv", [["Id", "City"], ["C-1", city]])
        ended = leads("load", "list.csv", "-m", "m.toml", env=account.env, now=lambda ahead=ahead: utc_now() + ahead)
        assert ended.code == 0
        assert account.leads()[phone(1)]["City"] == city


# --- A vendor that says OK and stores nothing ---


def test_what_was_not_stored_in_spite_of_an_ok_is_found_and_sent_again(leads: Leads, start_desk: StartDesk) -> None:
    """Also where the load is killed while it reads back: the resume reads all, and a retry sends what is missing."""
    desk = start_desk(profile=replace(profile_named("false-ok"), latency_seconds=0.05))
    with desk.started(*LOAD, "--verify", "100%") as command:
        assert command.says("reading")
        command.signal(signal.SIGKILL)
        assert command.ended().code == -signal.SIGKILL
    ended = here(leads, desk)("resume", "--json")
    wanted = {number for number, *_ in desk.listed.leads.values()}
    missing = wanted - Books(desk.account).by_phone.keys()
    found = {row["phone"] for row in ended.rows if (row["status"], row["code"]) == ("failed", "false_ok")}
    assert missing
    assert found & wanted == missing
    for _ in range(ROUNDS):
        if "failed" in ended.json["counts"]:
            ended = here(leads, desk)("retry", "--only", "failed", "--json")
    assert list(at_the_vendor(desk, Books(desk.account))) == []


# --- Killed ---


@pytest.mark.parametrize("story", STORIES, ids=str)
def test_killed_at_any_moment_every_row_is_stored_once(
    leads: Leads,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
    scenes: Mapping[Story, Future[Scene]],
    story: Story,
) -> None:
    """And the journal and every report agree with the vendor's own books, row by row."""
    if story.database == "postgresql":
        request.getfixturevalue("server")
    scene = scenes[story].result()
    monkeypatch.chdir(scene.desk.home)
    assert scene.end(here(leads, scene.desk)) == []
    assert scene.kills
    assert counted(scene.desk)["faults"]
