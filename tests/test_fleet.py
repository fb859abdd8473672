"""Runs whose rows are sent by several workers: nothing differs from one process but who sends what."""

from __future__ import annotations

import json
import os
import random
import re
import threading
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import dask
import distributed
import pytest
from conftest import TOKEN, Account, Leads, RawVendor, Result, http_reply, phone, write, write_csv

from pipeline import kept, worker
from pipeline.crew import Task, send_partition
from pipeline.fleet import FleetError
from pipeline.folder import RunFolder
from pipeline.leases import Lease
from pipeline.model import UserError
from pipeline.outgoing import Choice
from pipeline.pace import BURST_SECONDS
from pipeline.sandbox.profiles import profile_named

# Dask leaves a socket to the collector now and then.
pytestmark = pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning")

WORKERS = 3
QUICKLY = {"LEADS_SETTLE": "0.05", "LEADS_TIMEOUT": "5", "LEADS_RATE": "0"}
TIMES = ("run_id", "first_sent_at", "settled_at", "latency_ms")


@pytest.fixture(scope="module")
def scheduler() -> Iterator[str]:
    """A scheduler with three workers, which are threads of this process; its address."""
    given = {"threads_per_worker": 1, "processes": False, "protocol": "tcp", "host": "127.0.0.1"}
    own_port = {"dashboard": False, "dashboard_address": "127.0.0.1:0"}  # else it wants port 8787
    with (
        dask.config.set({"distributed.worker.profile.enabled": False}),
        distributed.LocalCluster(n_workers=WORKERS, scheduler_kwargs=own_port, silence_logs=60, **given) as cluster,
    ):
        yield cluster.scheduler_address


# --- The same report ---


class Vendor:
    """Answers by what it is asked, whoever asks: one lead in three goes wrong in one of several ways."""

    def __init__(self) -> None:
        self.stored: dict[str, str] = {}  # ClientId → phone
        self.asked: Counter[str] = Counter()
        self._one_at_a_time = threading.Lock()

    def answer(self, form: dict[str, str]) -> bytes:
        with self._one_at_a_time:
            return self._found(form["Identifier"]) if "Identifier" in form else self._insert(form)

    def _found(self, client_id: str) -> bytes:
        leads = [{"ClientId": client_id, "PrimaryPhone": self.stored[client_id]}] if client_id in self.stored else []
        return http_reply(json.dumps({"Leads": leads}))

    def _insert(self, form: dict[str, str]) -> bytes:
        number, client_id = form["PrimaryPhone"], form["ClientId"]
        self.asked[client_id] += 1
        kind = int(number[-1])
        if kind == 1:
            return http_reply("<br><br>Result: CURL error[500]: Campaign does not exist.")
        if kind == 2 and self.asked[client_id] == 1:
            return http_reply("slow down", "429 Too Many Requests", "Retry-After: 0\r\n")
        if kind == 3 and self.asked[client_id] == 1:
            return b""  # not stored, and nobody says so
        self.stored[client_id] = number
        return b"" if kind == 4 and self.asked[client_id] == 1 else http_reply("<br><br>Result: OK")


def told(ended: Result) -> list[dict[str, Any]]:
    """The report, but for when, and for what runs are called."""
    kept = [{name: value for name, value in row.items() if name not in TIMES} for row in ended.rows]
    return [row | {"message": re.sub(r"run \S+", "run", row["message"] or "")} for row in kept]


MAPPING = """
operation = "InsertLead"
unmapped = "ignore"
[fields]
PrimaryPhone = "Phone"
FirstName = "Name"
Campaign = {{ value = "Demo" }}
DuplicatesCheck = {{ value = "1" }}
{client_id}
[policy]
duplicates_in_file = "{repeats}"
"""


@pytest.mark.parametrize("seed", range(4))
def test_the_report_of_several_workers_is_that_of_one_process(
    leads: Leads, home: Path, raw_vendor: Callable[..., RawVendor], scheduler: str, seed: int
) -> None:
    """Row by row, also where it is loaded again, and with --again; the vendor has the same leads."""
    rng = random.Random(seed)
    numbers = [rng.randrange(26) for _ in range(rng.choice([1, 12, 30]))]
    has_ids, repeats, limit = seed % 2 == 0, rng.choice(["first", "last", "keep"]), rng.choice([None, 0, 3, 7])
    rows = [[phone(n), f"N{at}", f"C{n // 2}"] for at, n in enumerate(numbers)]  # a ClientId has two phones
    write_csv(home / "l.csv", [["Phone", "Name", "Id"], *rows])
    mapped = 'ClientId = "Id"' if has_ids else ""
    write(home / "m.toml", MAPPING.format(client_id=mapped, repeats=repeats))
    server, seen = raw_vendor(Vendor().answer), []
    for shared in ([], *(["--scheduler", scheduler, "--concurrency", str(count)] for count in (1 + seed % 2, 3))):
        vendor = Vendor()
        server.answer = vendor.answer
        env = {**server.env, **QUICKLY, "LEADS_STATE": f"sqlite:///{home}/{len(seen)}.db"}
        limited = [] if limit is None else ["--limit", str(limit)]
        first = leads("load", "l.csv", "-m", "m.toml", "--max-errors", "100%", "--json", *limited, *shared, env=env)
        again = leads("load", "l.csv", "-m", "m.toml", "--max-errors", "100%", "--json", *shared, env=env)
        once_more = leads("load", "l.csv", "-m", "m.toml", "--again", "--limit", "2", "--json", *shared, env=env)
        reports = [(ended.code, told(ended)) for ended in (first, again, once_more)]
        seen.append((reports, vendor.stored, vendor.asked))
    for one in seen[1:]:
        assert one == seen[0]


def test_updates_of_one_lead_go_in_the_order_of_the_file(
    leads: Leads, home: Path, account: Account, scheduler: str
) -> None:
    """Whoever sends them: what the vendor has in the end is what the file says last."""
    for number in range(12):
        account.insert(phone(number), ClientId=f"C-{number}")
    rows = [[f"C-{number}", f"City {turn}"] for turn in range(6) for number in range(12)]
    write_csv(home / "l.csv", [["Id", "City"], *rows])
    write(
        home / "m.toml",
        'operation = "UpdateLead"\n[fields]\nSearchField = { value = "ClientId" }\nIdentifier = "Id"\nCity = "City"\n'
        '[policy]\nduplicates_in_file = "keep"\n',
    )
    ended = leads("load", "l.csv", "-m", "m.toml", "--scheduler", scheduler, "--json", env=account.env)
    assert ended.json["counts"] == {"accepted": 72}
    assert {lead["City"] for lead in account.leads().values()} == {"City 5"}


# --- One phone ---


def test_rows_of_one_phone_go_one_by_one_in_the_order_of_the_file(
    leads: Leads, home: Path, start_account: Callable[..., Account], scheduler: str
) -> None:
    """Whatever their ClientIds are: they are one worker's, and so are all rows of a ClientId with several phones."""
    account = start_account(profile=replace(profile_named("default"), latency_seconds=0.02))
    rows = [[phone(at % 7), f"N{at}", f"C-{at // 2}" if at < 8 else f"C-{at}"] for at in range(28)]
    write_csv(home / "l.csv", [["Phone", "Name", "Id"], *rows])
    write(home / "m.toml", MAPPING.format(client_id='ClientId = "Id"', repeats="keep"))
    ended = leads("load", "l.csv", "-m", "m.toml", "--scheduler", scheduler, "--json", env=account.env)
    assert ended.json["counts"] == {"accepted": 28}
    assert account.see("state")["same_phone_in_flight"] == 0
    sent = sorted((row["first_sent_at"], row["row"]) for row in ended.rows)
    for shared in {row[0] for row in rows} | {row[2] for row in rows}:
        numbers = [number for _, number in sent if shared in rows[number - 2]]
        assert numbers == sorted(numbers)


# --- One limit ---


def list_of(home: Path, count: int) -> list[str]:
    """A list of so many leads, and the words that load it."""
    rows = [[phone(at), f"N{at}"] for at in range(count)]
    write_csv(home / "l.csv", [["Phone", "Name"], *rows])
    write(home / "m.toml", MAPPING.format(client_id="", repeats="first"))
    return ["load", "l.csv", "-m", "m.toml", "--json"]


def test_errors_are_counted_over_all_workers(
    leads: Leads, home: Path, raw_vendor: Callable[..., RawVendor], scheduler: str
) -> None:
    """A number of them halts the run: each worker alone has fewer."""
    server = raw_vendor(lambda _: http_reply("<br><br>Result: CURL error[500]: Campaign does not exist."))
    told = [*list_of(home, 300), "--max-errors", "30", "--rate", "40", "--scheduler", scheduler]
    ended = leads(*told, env=server.env)
    assert ended.code == 3
    assert 30 < ended.json["counts"]["rejected"] < 60
    assert ended.json["counts"]["not_attempted"] == 300 - ended.json["counts"]["rejected"]
    assert "(--max-errors)" in ended.json["halted"]


@pytest.mark.parametrize(("rate", "most"), [("0", 8), ("20", 2 + WORKERS)])
def test_refused_credentials_halt_all_workers(
    leads: Leads, home: Path, raw_vendor: Callable[..., RawVendor], scheduler: str, rate: str, most: int
) -> None:
    """Two of all together are enough, besides what is under way: a worker that is refused hears the others first."""
    server = raw_vendor(lambda _: http_reply("unauthorized", "401 Unauthorized"))
    ended = leads(*list_of(home, 100), "--scheduler", scheduler, "--rate", rate, env=server.env)
    assert ended.code == 77
    assert len(server.forms) <= most


@pytest.mark.parametrize("rate", ["0", "100"])
def test_a_vendor_that_no_worker_can_reach_halts_all(
    leads: Leads, home: Path, account: Account, closed_port: int, scheduler: str, rate: str
) -> None:
    """Twenty refused connections are enough, besides what is under way by then."""
    env = account.env | {"DIALEDIN_BASE_URL": f"http://127.0.0.1:{closed_port}/"}
    ended = leads(*list_of(home, 100), "--attempts", "1", "--rate", rate, "--scheduler", scheduler, env=env)
    assert ended.code == 75
    assert 20 <= ended.json["counts"]["failed"] <= 20 + 2 * 8
    assert ended.json["counts"].keys() == {"failed", "not_attempted"}


def test_a_worker_without_credentials_says_what_is_missing(
    leads: Leads, home: Path, account: Account, scheduler: str
) -> None:
    """What a client has read is not handed over: each worker reads for itself, and a pipe says it once."""
    reader, writer = os.pipe()
    os.write(writer, TOKEN.encode())
    os.close(writer)
    env = account.env | {"DIALEDIN_TOKEN": "", "DIALEDIN_TOKEN_FILE": f"/dev/fd/{reader}"}
    ended = leads(*list_of(home, 10), "--scheduler", scheduler, env=env)
    os.close(reader)
    assert ended.code == 2
    assert "DIALEDIN_TOKEN" in ended.err
    assert account.requests == 0


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_the_rate_is_that_of_all_workers(
    leads: Leads, home: Path, account: Account, scheduler: str, workers: int
) -> None:
    """By the vendor's own log: never more in any second than the rate and its burst."""
    rate = 60
    shared = ["--rate", str(rate), "--concurrency", str(workers), "--scheduler", scheduler]
    ended = leads(*list_of(home, 90), *shared, env=account.env)
    assert ended.json["counts"] == {"accepted": 90}
    times = sorted(datetime.fromisoformat(asked["received_at"]).timestamp() for asked in account.see("requests"))
    for at, first in enumerate(times):
        in_a_second = bisect_left(times, first + 1) - at
        assert in_a_second <= rate * (1 + BURST_SECONDS) + 1 + workers  # one of each may be held up on its way


# --- What the client does itself ---


def test_a_canary_goes_first_and_a_sample_is_read_back(
    leads: Leads, home: Path, account: Account, scheduler: str
) -> None:
    shared = ["--canary", "5", "--verify", "100%", "--limit", "40", "--scheduler", scheduler]
    ended = leads(*list_of(home, 60), *shared, env=account.env | QUICKLY)
    assert ended.json["counts"] == {"accepted": 40, "not_attempted": 20}
    assert [row["status"] for row in ended.rows] == ["accepted"] * 40 + ["not_attempted"] * 20
    assert ended.json["read_back"] == {"matches": 40}


# --- Who may be a worker ---


@pytest.fixture
def loaded(leads: Leads, home: Path, account: Account) -> Path:
    """The folder of a run whose one row was sent."""
    return leads(*list_of(home, 1), env=account.env).folder


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("DIALEDIN_ACCID", "another", "set up for account another at"),
        ("DIALEDIN_ACCID", "", "set DIALEDIN_ACCID"),
        ("DIALEDIN_BASE_URL", "http://127.0.0.1:1/", "set up for account sandbox at 127.0.0.1:1"),
    ],
)
def test_a_worker_of_another_account_is_refused(
    home: Path,
    account: Account,
    task: Task,
    loaded: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    value: str,
    told: str,
) -> None:
    """Whose account it is and what proves it are of one place, where the worker runs: the run does not name it."""
    for variable, given in (account.env | {name: value}).items():
        monkeypatch.setenv(variable, given)
    assert told in (worker.unfit(str(loaded)) or "")
    told_it = json.loads((loaded / "manifest.json").read_text())["settings"]
    with pytest.raises(UserError, match=re.escape(told)):
        send_partition(replace(task, run=loaded, settings=told_it))
    assert account.requests == 1


def test_a_worker_goes_by_the_settings_of_the_run(
    account: Account, loaded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own say nothing but who it is: neither those of its environment nor those of a file where it was started."""
    for variable, given in (account.env | {"DIALEDIN_BASE_URL": "", "LEADS_RATE": "7"}).items():
        monkeypatch.setenv(variable, given)
    Path("leads.toml").write_text('settle = 3\nendpoints = "InjectLead.php=Other.php"\n')
    assert worker.unfit(str(loaded)) is None
    job = kept.on_worker(RunFolder(loaded))
    assert (job.settings.rate, job.settings.settle, job.settings.endpoints) == (0, None, None)
    assert job.scope == f"sandbox@{account.url}"
    assert kept.own_credentials(job) == {"token": TOKEN, "accid": "sandbox"}


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_a_worker_that_the_state_database_does_not_let_in_says_so_beforehand(
    leads: Leads, home: Path, account: Account, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run's manifest has no password: each worker brings its own."""
    given = account.env | {"LEADS_STATE": database}
    run = leads(*list_of(home, 1), env=given).folder
    for variable, value in given.items():
        monkeypatch.setenv(variable, value)
    assert worker.unfit(str(run)) is None
    monkeypatch.setenv("LEADS_STATE", "")
    told = worker.unfit(str(run)) or ""
    assert "--state postgresql+psycopg://" in told
    assert "password" in told


@pytest.fixture
def task(home: Path) -> Task:
    """A task of a run that is not there: whoever may not do it says so before it looks."""
    state = {"state": f"sqlite:///{home}/state.db"}
    return Task(home, state, Lease("run", 0, 1), 1, None, Choice.ALL, None, may_resend=True, handed=home)


def test_a_state_that_is_a_file_is_for_workers_of_one_machine(task: Task) -> None:
    """SQLite's locks do not hold over a network."""
    with pytest.raises(UserError, match="PostgreSQL"):
        send_partition(replace(task, machine="another"))


def test_a_worker_of_another_version_sends_nothing(task: Task) -> None:
    with pytest.raises(UserError, match="install the same"):
        send_partition(replace(task, version="0.0.1"))


def test_who_gives_up_on_workers_says_why_they_ended() -> None:
    """Workers that all fail alike have not died: their own words say what is wrong."""
    assert "(KeyError: 'columns'); see" in str(FleetError.after(20, KeyError("columns"), "run"))
    assert "rows; see" in str(FleetError.after(20, None, "run"))
