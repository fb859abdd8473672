"""Loads that are cut short, gone on with, and judged by the vendor's own books. Kill tests and soak share it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from random import Random
from typing import IO, Any

import pyarrow.parquet as pq
from conftest import TOKEN, Account, Result, phone, write, write_csv

from pipeline import ending, folder, statedb
from pipeline.folder import RunFolder
from pipeline.sandbox.faults import FAULTS, Phase
from pipeline.sandbox.profiles import Profile, profile_named

LEADS = Path(sys.executable).with_name("leads")
PATIENCE = {"LEADS_TIMEOUT": "0.6", "LEADS_SETTLE": "0.8", "LEADS_ATTEMPTS": "10", "LEADS_MAX_ERRORS": "100%"}
LOAD = ("load", "list.csv", "-m", "kill.toml")
LONGEST_SECONDS = 0.8  # from the beginning of a push until it is killed
ROUNDS = 12  # commands after which nothing may be in doubt any more
HUNG_SECONDS = 120.0  # no command takes a tenth of that

# `leads sandbox --profile flaky` on the time scale of PATIENCE: what is stored late is there before a row has settled.
# What looks like markup is refused with a page, as a crash would look; characters beyond Latin are stored as "?".
FLAKY = replace(profile_named("flaky"), latency_seconds=0.05)
HASTE: Mapping[str, Any] = {"silence_seconds": 1.0, "slow_seconds": 0.2, "late_seconds": 0.3}
TOUCHY: Mapping[str, Any] = {**HASTE, "token": TOKEN, "refuse_html": True, "latin_only": True}


# --- The list ---


@dataclass(frozen=True, slots=True)
class Deal:
    """What a mapping says that matters for a row that is sent twice."""

    duplicates_check: str = "1"  # "1": the vendor stores whatever comes, so that a blind repeat does visible damage
    client_id: bool = False  # whether the file has one, or the row key stands in for it
    phones: int = 1  # of each ClientId in the file

    @property
    def mapping(self) -> str:
        return (
            'operation = "InsertLead"\n[fields]\nPrimaryPhone = "Phone"\nFirstName = "Name"\n'
            f'Campaign = {{ value = "Demo" }}\nDuplicatesCheck = {{ value = "{self.duplicates_check}" }}\n'
            + ('ClientId = "Id"\n' if self.client_id else "")
        )


@dataclass(frozen=True, slots=True)
class Listed:
    """What is in the file, by row number."""

    leads: Mapping[int, tuple[str, str, str]]  # phone, name as it is stored, id
    others: Mapping[int, tuple[str, str]]  # status and code of those that are not to be stored

    @property
    def numbers(self) -> list[int]:
        return sorted({*self.leads, *self.others})


def write_list(home: Path, deal: Deal, leads: int) -> Listed:
    """Writes kill.toml, and list.csv with so many leads; among them are rows that are not to be stored."""
    rows = [["Phone", "Name", "Id"]]
    good, others = {}, {}
    for at in range(leads):
        name = f"Zoë {at}" if at % 7 else f"Łucja {at}"
        rows.append([phone(at), name, f"C-{at // deal.phones}"])
        good[len(rows)] = (phone(at), name.replace("Ł", "?"), f"C-{at // deal.phones}")
        if at % 9 == 4:
            rows.append(["555-01", name, f"I-{at}"])
            others[len(rows)] = ("invalid", "bad_phone")
        if at % 11 == 7:
            rows.append([phone(at - 5), name, f"D-{at}"])
            others[len(rows)] = ("skipped", "duplicate_in_file")
        if at % 20 == 10:
            rows.append([phone(500 + at), "<b>Ada</b>", f"M-{at}"])
            others[len(rows)] = ("rejected", "")
    write(home / "kill.toml", deal.mapping)
    write_csv(home / "list.csv", rows if deal.client_id else [row[:2] for row in rows])
    return Listed(good, others)


# --- The vendor, in a process of its own ---

_SERVE = """
import json, pathlib, sys
from pipeline.sandbox.config import SandboxConfig
from pipeline.sandbox.profiles import Profile
from pipeline.sandbox.serve import serve
profile, state, given = json.loads(sys.argv[1])
serve(SandboxConfig(profile=Profile(**profile), state_path=pathlib.Path(state), **given))
"""


class Vendor:
    """A sandbox that can be killed, and started again at the same address with the same books."""

    def __init__(self, home: Path, profile: Profile = FLAKY, seed: int = 0) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._port = free.getsockname()[1]
        self._profile = {name: getattr(profile, name) for name in profile.__slots__} | {"faults": dict(profile.faults)}
        self._state, self._seed = str(home / "vendor.db"), seed
        self.account = Account(f"http://127.0.0.1:{self._port}/HttpImport/")
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Starts it; it takes connections when this returns. Each time its faults come in another order."""
        self._seed += 1
        given = [self._profile, self._state, {**TOUCHY, "port": self._port, "seed": self._seed}]
        command = [sys.executable, "-c", _SERVE, json.dumps(given)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        assert self._process.stdout.readline(), "the sandbox does not start"

    def kill(self) -> None:
        """Ends it in the middle of whatever it does; what it has committed stays."""
        assert self._process is not None
        with self._process as process:
            process.kill()

    @contextmanager
    def open(self) -> Iterator[Vendor]:
        self.start()
        try:
            yield self
        finally:
            self.kill()


# --- The commands ---

_OTHERS = {name: value for name, value in os.environ.items() if not name.startswith(("LEADS_", "DIALEDIN_"))}


class Command:
    """A `leads` command that runs in a process of its own."""

    def __init__(self, process: subprocess.Popen[str], out: IO[str]) -> None:
        self._process, self._out, self._err = process, out, ""

    def says(self, words: str) -> bool:
        """Waits for a line of progress that begins so; False where it ended without one."""
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self._err += line
            if line.startswith(words):
                return True
        return False

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    def ends_within(self, seconds: float) -> bool:
        """Waits for its end, or so long."""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def ended(self) -> Result:
        """How it ended, once it has; a negative code is the signal that killed it."""
        assert self._process.stderr is not None
        assert self.ends_within(HUNG_SECONDS), f"{self._process.args} hangs"
        self._err += self._process.stderr.read()
        self._out.seek(0)
        return Result(self._process.returncode, self._out.read(), self._err)


@dataclass(frozen=True)
class Desk:
    """Where a list is loaded from: the working directory, the list, the account."""

    home: Path
    listed: Listed
    account: Account
    program: tuple[str | Path, ...] = (LEADS,)
    database: str | None = None  # None: a file below `home`

    @property
    def environment(self) -> dict[str, str]:
        kept = {"LEADS_RUNS": str(self.home / "runs"), "LEADS_STATE": self.state_url}
        return kept | PATIENCE | self.account.env

    @property
    def state_url(self) -> str:
        return self.database or f"sqlite:///{self.home / 'state' / 'state.db'}"

    def in_state(self, statement: str) -> list[tuple[Any, ...]]:
        """What a statement finds in the state database, or changes."""
        with statedb.engine(self.state_url).begin() as connection:
            found = connection.exec_driver_sql(statement)
            return [tuple(row) for row in found] if found.returns_rows else []

    @property
    def runs(self) -> list[RunFolder]:
        return folder.all_runs(self.home / "runs")

    @contextmanager
    def started(self, *args: str) -> Iterator[Command]:
        """A command that has been started; it is killed at the end, should it still go on."""
        with (
            tempfile.TemporaryFile("w+", encoding="utf-8") as out,
            subprocess.Popen(
                [*self.program, *args],
                cwd=self.home,
                env=_OTHERS | self.environment,
                stdout=out,
                stderr=subprocess.PIPE,
                text=True,
            ) as process,
        ):
            try:
                yield Command(process, out)
            finally:
                process.kill()

    def run(self, *args: str) -> Result:
        with self.started(*args) as command:
            return command.ended()

    def interrupted(self, args: Sequence[str], seconds: float, *numbers: int) -> Result:
        """A command that gets these signals so many seconds after it has begun to send."""
        with self.started(*args) as command:
            if command.says("sending") and not command.ends_within(seconds):
                for number in numbers:
                    command.signal(number)
            return command.ended()


# --- Being killed, and coming to an end all the same ---


class Way(StrEnum):
    """How a load that was killed goes on."""

    RESUME = "resumed"
    LOAD = "loaded again"
    RECONCILE = "reconciled and resumed"
    ANY = "any of these"

    def command(self, turn: int, runs: Sequence[RunFolder], rng: Random) -> tuple[str, ...]:
        """What is done next, the load itself being turn 0."""
        if turn == 0 or self is Way.LOAD:
            return LOAD
        if self is Way.ANY:
            return rng.choice([Way.RESUME, Way.LOAD, Way.RECONCILE]).command(turn, [rng.choice(runs)], rng)
        can_reconcile = self is Way.RECONCILE and runs[0].has_sent and turn % 2
        return ("reconcile" if can_reconcile else "resume", runs[0].run_id)


def holders(desk: Desk) -> list[int]:
    """The processes that hold a lease, which send."""
    held = desk.in_state("SELECT holder FROM leases WHERE holder IS NOT NULL AND NOT has_ended ORDER BY partition")
    return [int(holder.split("/")[-2]) for (holder,) in held]


def kill_shared(desk: Desk, way: Way, turn: int, rng: Random) -> bool:
    """Kills a worker of a command that has two, or the client, at a random moment of the push; whether it was hit."""
    with desk.started(*way.command(turn, desk.runs, rng), "--workers", "2") as command:
        if command.says("sending"):
            while not holders(desk) and not command.ends_within(0.01):
                pass  # its workers are still starting
            command.ends_within(rng.uniform(0, LONGEST_SECONDS))
        workers = holders(desk) if not command.ends_within(0) else []
        hits = bool(workers)
        if hits and rng.random() < 0.5:
            with suppress(ProcessLookupError):
                os.kill(rng.choice(workers), signal.SIGKILL)
        elif hits:
            command.signal(signal.SIGKILL)
        ended = command.ended()
    assert ended.code in (0, 1, 5, -signal.SIGKILL), ended
    return hits


def kill(desk: Desk, way: Way, turn: int, rng: Random) -> bool:
    """Kills a command at a random moment of its push; whether it was hit before it came to its end."""
    command = way.command(turn, desk.runs, rng)
    ended = desk.interrupted(command, rng.uniform(0, LONGEST_SECONDS), signal.SIGKILL)
    assert ended.code in (0, 1, 5, -signal.SIGKILL), (command, ended)
    return ended.code == -signal.SIGKILL


def finish(desk: Desk, way: Way, run: Callable[..., Result] | None = None) -> Result:
    """Goes on until nothing is left to do, then settles what other runs have left in doubt; how the last one ended."""
    run = run or desk.run
    first = desk.runs[0].run_id if way in (Way.RESUME, Way.RECONCILE) else ""
    if way is Way.RECONCILE and desk.runs[0].has_sent:
        _until_settled(run, "reconcile", first)
    last = _until_settled(run, *(("resume", first) if first else LOAD), "--json")
    for other in desk.runs:
        if other.has_sent and other.run_id != last.json["run_id"]:
            ending.rebuild(other, desk.state_url)
            if "unknown" in other.read_json("summary.json")["counts"]:
                _until_settled(run, "reconcile", other.run_id)
    return last


def _until_settled(run: Callable[..., Result], *command: str) -> Result:
    """How a command ends that is repeated as long as it leaves something in doubt."""
    for _ in range(ROUNDS):
        ended = run(*command)
        if ended.code != 5:
            assert ended.code in (0, 1), (command, ended)
            return ended
    raise AssertionError(f"in doubt for ever: {command}: {ended}")


# --- What must hold ---


@dataclass
class Books:
    """What the vendor has and what it was asked, read once."""

    account: Account
    state: dict[str, Any] = field(init=False)
    leads: list[dict[str, Any]] = field(init=False)
    inserts: list[dict[str, Any]] = field(init=False)  # requests

    def __post_init__(self) -> None:
        self.state, self.leads = self.account.see("state"), self.account.see("leads")
        self.inserts = [asked for asked in self.account.see("requests") if asked["operation"] == "InsertLead"]

    @cached_property
    def by_phone(self) -> dict[str, dict[str, Any]]:
        return {lead["PrimaryPhone"]: lead for lead in self.leads}

    @property
    def asked_to_store(self) -> Counter[str]:
        """By phone of a stored lead, how many requests were stored, or would have been if it had not been there."""
        met = ((asked["phone"], asked["fault"]) for asked in self.inserts if asked["phone"] in self.by_phone)
        return Counter(number for number, fault in met if not fault or FAULTS[fault].phase is not Phase.BEFORE_STORE)


def violations(desk: Desk, *, vendor_restarted: bool = False) -> list[str]:
    """What is wrong after a load that came to its end; [] where every lead is there once and all accounts agree.

    A vendor that was restarted may have lost what it was to store a moment later: that was sent again with reason.
    """
    books = Books(desk.account)
    asked = {} if vendor_restarted else books.asked_to_store
    return [
        *at_the_vendor(desk, books),
        *(f"{number} was sent again though it was there" for number, times in asked.items() if times > 1),
        *_in_the_journal(desk, books),
        *_in_the_reports(desk, books),
    ]


def at_the_vendor(desk: Desk, books: Books) -> Iterator[str]:
    """What is wrong with the vendor's books."""
    wanted = {number: name for number, name, _ in desk.listed.leads.values()}
    stored = Counter(lead["PrimaryPhone"] for lead in books.leads)
    yield from (f"{number} is lost" for number in wanted if not stored[number])
    yield from (f"{number} is stored {times} times" for number, times in stored.items() if times > 1)
    yield from (f"{number} was not to be sent" for number in stored if number not in wanted)
    for number in wanted.keys() & stored.keys():
        if (name := books.by_phone[number]["FirstName"]) != wanted[number]:
            yield f"{number} is stored as {name}"
    for count in ("stored_twice", "same_phone_in_flight", "dials", "late_pending"):
        if books.state[count]:
            yield f"the vendor counts {count}: {books.state[count]}"


def _in_the_journal(desk: Desk, books: Books) -> Iterator[str]:
    sends = desk.in_state("SELECT run_id, phone, state, attempts FROM sends")
    recorded: Counter[str] = Counter()
    for _, number, state, attempts in sends:
        recorded[number] += attempts
        if state != "settled":
            yield f"{number} is still {state}"
    for number, made in Counter(asked["phone"] for asked in books.inserts).items():
        if made > recorded[number]:
            yield f"{number} was sent {made} times, and {recorded[number]} are recorded"
    known = {run.run_id for run in desk.runs if run.has_sent}
    yield from (f"{run_id} has sent, and its folder does not say so" for run_id in {row[0] for row in sends} - known)


def _in_the_reports(desk: Desk, books: Books) -> Iterator[str]:
    accepted = set()
    *earlier, last = (run for run in desk.runs if run.has_sent)
    for run in earlier:
        ending.rebuild(run, desk.state_url)
    for run in (*earlier, last):
        rows = pq.read_table(run.results).to_pylist()
        accepted |= {row["phone"] for row in rows if row["status"] == "accepted"}
        yield from (f"{run.run_id}: {wrong}" for wrong in _in_a_report(desk.listed, books, rows, is_last=run == last))
    for number, *_ in desk.listed.leads.values():
        if number not in accepted:
            yield f"{number} is accepted in no report"


def _in_a_report(listed: Listed, books: Books, rows: Sequence[dict[str, Any]], *, is_last: bool) -> Iterator[str]:
    if [row["row"] for row in rows] != listed.numbers:
        yield "its rows are not those of the list, each once and in order"
    for row in rows:
        waits = not is_last and row["status"] == "not_attempted"
        if (lead := listed.leads.get(row["row"])) is not None:
            is_right = waits or is_there(row, lead, books)
        else:
            status, code = listed.others[row["row"]]
            is_right = (waits and status == "rejected") or (
                row["status"] == status and (row["code"] or "").startswith(code)
            )
        if not is_right:
            yield f"row {row['row']} is said to be {row['status']}/{row['code']} ({row['message']})"


def is_there(row: Mapping[str, Any], listed: tuple[str, str, str], books: Books) -> bool:
    """Whether a row is said to be delivered, and its lead is at the vendor under the ClientId that the report names."""
    number, _, client_id = listed
    is_delivered = row["status"] == "accepted" or (row["status"], row["code"]) == ("skipped", "already_loaded")
    lead = books.by_phone.get(number)
    if lead is None or not is_delivered or row["phone"] != number:
        return False
    return lead["ClientId"] == row["client_id"] and row["client_id"] in (client_id, row["row_key"])


# --- A whole story ---


@dataclass(frozen=True, slots=True)
class Story:
    """One list, loaded to its end against all odds: killed so often, and finished."""

    seed: int
    deal: Deal
    way: Way
    kills: int
    leads: int
    vendor_restarts: bool = False
    database: str = "sqlite"
    is_shared: bool = False  # two workers send, and are killed as their client is

    def __str__(self) -> str:
        mapped = "ClientId" if self.deal.client_id else "no ClientId"
        restarts = ", vendor restarted" if self.vendor_restarts else ""
        shared = ", two workers" if self.is_shared else ""
        return f"DuplicatesCheck={self.deal.duplicates_check}, {mapped}, {self.way}{restarts}{shared}, {self.database}"


@dataclass(frozen=True, slots=True)
class Scene:
    """Where a story has come to: everything was killed, nothing is finished."""

    story: Story
    desk: Desk
    kills: int

    def end(self, run: Callable[..., Result] | None = None) -> list[str]:
        """Finishes the load; what is wrong then."""
        finish(self.desk, self.story.way, run)
        return violations(self.desk, vendor_restarted=self.story.vendor_restarts)


@contextmanager
def killed(story: Story, home: Path, database: str | None = None) -> Iterator[Scene]:
    """A story up to its end, in a folder of its own, with its vendor; `database` is the state's URL, if no file's."""
    rng = Random(story.seed)
    with Vendor(home, seed=story.seed * 100).open() as vendor:
        desk = Desk(home, write_list(home, story.deal, story.leads), vendor.account, database=database)
        hits, strike = 0, kill_shared if story.is_shared else kill
        for turn in range(story.kills + 2):  # what was missed, since it had nothing left to do, is made up for
            hits += hits < story.kills and strike(desk, story.way, turn, rng)
            if story.vendor_restarts:
                vendor.kill()
                vendor.start()
        yield Scene(story, desk, hits)


_LOOKED_UP = """
SELECT count(*), coalesce(sum(CASE WHEN reconciled THEN 1 ELSE 0 END), 0) FROM sends
WHERE status = 'accepted' AND EXISTS (
    SELECT 1 FROM requests WHERE operation = 'LeadOperations.SearchLead'
    AND (requests.run_id, requests.source, requests.row) = (sends.run_id, sends.source, sends.row))
"""


def counted(desk: Desk) -> Counter[str]:
    """Faults that the vendor made; rows that were looked up before they were accepted, and how many were found."""
    ((doubts, found),) = desk.in_state(_LOOKED_UP)
    return Counter(faults=sum(desk.account.see("state")["faults"].values()), doubts=doubts, found=found)
