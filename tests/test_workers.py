"""More processes for one run: the same report, nothing of the list over Dask, and nothing left when one dies."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import socketserver
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import TOKEN, Account, Leads, Result, phone, wait_until, write, write_csv
from killing import LEADS

from pipeline import worker

MAPPING = """
operation = "InsertLead"
[fields]
PrimaryPhone = "Phone"
FirstName = "Name"
State = "State"
Notes = "Notes"
Campaign = { value = "Spring Renewals" }
[policy]
duplicates_in_file = "%s"
"""
NAME = "Unmistakable"  # a value that is to be seen nowhere


def write_mapping(home: Path, repeats: str = "first") -> Path:
    return write(home / f"{repeats}.toml", MAPPING % repeats)


def nasty_list(path: Path, rows: int = 2_500, seed: int = 1) -> Path:
    """A list of several chunks: repeats within and across them, bad cells, line breaks, ragged and blank records."""
    rng = random.Random(seed)
    records = [["Phone", "Name", "State", "Notes"]]
    for number in range(rows):
        note = rng.choice(["x", "é", "a,b", 'a "b"', "line\nbreak"]) * rng.choice([1, 400, 2_000])
        record = [
            phone(rng.randrange(1_000)),
            f"{NAME} {number}",
            rng.choice(["NY", "new york", "zz", ""]),
            note[:4_000],
        ]
        match rng.randrange(40):
            case 0:
                record[0] = rng.choice(["", "12", "n/a"])
            case 1:
                record.append("beyond the header")
            case 2:
                record = record[:2]
            case 3:
                records.append([])
        records.append(record)
    return write_csv(path, records)


def without_run(result: Result) -> pa.Table:
    return result.table.drop(["run_id"])


def told(result: Result) -> dict[str, object]:
    """The summary, but for what differs from run to run."""
    return {key: value for key, value in result.json.items() if key not in ("run_id", "report", "seconds", "rejected")}


def files_of(result: Result) -> dict[str, bytes]:
    """The rejected files, and the parts' tables."""
    rejected = {path.name: path.read_bytes() for path in result.folder.glob("rejected*")}
    return rejected | {
        path.name: str(pq.read_table(path).to_pylist()).encode() for path in result.folder.glob("parts/*")
    }


@pytest.mark.parametrize(("repeats", "workers"), [("first", 1), ("first", 3), ("last", 2), ("error", 2), ("keep", 2)])
def test_workers_give_what_one_process_gives(leads: Leads, home: Path, repeats: str, workers: int) -> None:
    """Report, parts, rejected files and summary are the same, row by row, over several lists that repeat each other."""
    lists = nasty_list(home / "b.csv"), nasty_list(home / "a.csv", 900, seed=2)
    given = ("check", *lists, "-m", write_mapping(home, repeats), "--json", "--quiet")
    env = {"DIALEDIN_ACCID": "sandbox"}
    alone, shared = leads(*given, env=env), leads(*given, "--workers", workers, env=env)
    assert len(files_of(alone)) > 4
    assert without_run(shared).equals(without_run(alone))
    assert told(shared) == told(alone)
    assert files_of(shared) == files_of(alone)
    assert shared.err == ""


def test_rows_that_go_once_more_are_shared_too(leads: Leads, home: Path, account: Account) -> None:
    """A retry with workers takes the rows that it names, and no others; a load with workers sends each row once."""
    rows = [[phone(at), "New" if at % 9 else "zz"] for at in range(300)]
    listed = write_csv(home / "list.csv", [["Phone", "State"], *rows])
    mapping = 'operation = "InsertLead"\nunmapped = "ignore"\n[fields]\nPrimaryPhone = "Phone"\n'
    mapping += 'Campaign = { value = "Spring Renewals" }\n'
    strict = write(home / "strict.toml", mapping + 'State = { column = "State", map = { New = "NY" } }\n')
    lax = write(home / "lax.toml", mapping)
    first = leads("load", listed, "-m", strict, "--workers", 2, "--json", env=account.env)
    again = leads("retry", "--only", "invalid", "-m", lax, "--workers", 2, "--json", env=account.env)
    assert first.json["counts"] == {"accepted": 266, "invalid": 34}
    assert again.json["counts"] == {"accepted": 34}
    assert {row["row"] for row in again.rows} == {row["row"] for row in first.rows if row["status"] == "invalid"}
    assert len(account.leads()) == 300


# --- What can't be ---


def test_who_shares_the_work_is_said_once(leads: Leads, home: Path) -> None:
    listed, mapping = write_csv(home / "list.csv", [["Phone"], [phone(1)]]), write_mapping(home)
    both = leads("check", listed, "-m", mapping, "--workers", 2, "--scheduler", "tcp://127.0.0.1:1")
    strange = leads("check", listed, "-m", mapping, "--scheduler", "127.0.0.1:8786")
    assert (both.code, strange.code) == (2, 2)
    assert "give one of them" in both.err
    assert "tcp://HOST:PORT" in strange.err


@pytest.mark.parametrize("address", ["tcp://127.0.0.1", "tcp://127.0.0.1:", "tcp://me:hunter2@127.0.0.1:8786"])
def test_what_is_no_address_of_a_scheduler_is_told_before_anybody_is_called(
    leads: Leads, home: Path, address: str
) -> None:
    """In one line; a password that somebody believes to belong there is not in it."""
    listed = write_csv(home / "list.csv", [["Phone"], [phone(1)]])
    ended = leads("check", listed, "-m", write_mapping(home), "--scheduler", address)
    assert ended.code == 2
    assert "tcp://HOST:PORT" in ended.err
    assert "hunter2" not in ended.err


def test_tls_without_certificates_is_told(leads: Leads, home: Path) -> None:
    listed = write_csv(home / "list.csv", [["Phone", "Name", "State", "Notes"], [phone(1), "Ada", "NY", ""]])
    ended = leads("check", listed, "-m", write_mapping(home), "--scheduler", "tls://127.0.0.1:8786")
    assert ended.code == 2
    assert "DASK_DISTRIBUTED__COMM__TLS__CA_FILE" in ended.err
    assert len(ended.err.splitlines()) == 1


def test_a_scheduler_that_is_not_there_is_told(leads: Leads, home: Path, closed_port: int) -> None:
    """Nothing is left of the run."""
    listed = write_csv(home / "list.csv", [["Phone", "Name", "State", "Notes"], [phone(1), "Ada", "NY", ""]])
    address = f"tcp://127.0.0.1:{closed_port}"
    ended = leads("check", listed, "-m", write_mapping(home), "--scheduler", address)
    assert ended.code == 2
    assert ended.err.startswith(f"leads: --scheduler {address}: can't be reached")
    assert len(ended.err.splitlines()) == 1
    assert not list((home / "runs").glob("*"))


def test_what_has_to_be_installed_is_told(leads: Leads, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = write_csv(home / "list.csv", [["Phone"], [phone(1)]])
    monkeypatch.setitem(sys.modules, "distributed", None)
    ended = leads("check", listed, "-m", write_mapping(home), "--workers", 1)
    assert ended.code == 2
    assert "pip install 'dialedin-leads[dask]'" in ended.err


def test_one_process_takes_no_dask(home: Path) -> None:
    listed = write_csv(home / "list.csv", [["Phone", "Name", "State", "Notes"], [phone(1), "Ada", "NY", ""]])
    program = "import sys; from pipeline.cli import main\ntry: main()\nfinally: print(*sys.modules, file=sys.stderr)"
    given = [sys.executable, "-c", program, "check", str(listed), "-m", str(write_mapping(home)), "--quiet"]
    done = subprocess.run(given, capture_output=True, text=True, check=True)
    assert not set(done.stderr.split()) & {"dask", "distributed"}


def test_a_worker_that_does_not_see_the_run_says_so(tmp_path: Path) -> None:
    assert "all of a run's workers need the same folder" in (worker.unfit(str(tmp_path / "elsewhere")) or "")


# --- Somebody else's scheduler ---


@dataclass
class Line:
    """What went through a scheduler's door, in either direction."""

    address: str
    heard: bytearray = field(default_factory=bytearray)


@pytest.fixture
def listened(tmp_path: Path) -> Iterator[Line]:
    """The address of a scheduler with one worker, which has no credentials; all that a client says there is heard."""
    python, quiet = [sys.executable, "-m"], {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    env = {name: value for name, value in os.environ.items() if not name.startswith("DIALEDIN_")}
    command = ["distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard"]
    scheduler = subprocess.Popen([*python, *command], cwd=tmp_path, env=env, **quiet)
    command = ["distributed.cli.dask_worker", f"tcp://127.0.0.1:{port}", "--nthreads", "1", "--no-dashboard"]
    worker = subprocess.Popen([*python, *command], cwd=tmp_path, env=env, **quiet)
    try:
        with _between(port) as line:
            yield line
    finally:
        for process in (worker, scheduler):
            process.terminate()
            process.wait()


@contextlib.contextmanager
def _between(port: int) -> Iterator[Line]:
    """A door before the port, at which one can listen."""

    class Door(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with socket.create_connection(("127.0.0.1", port)) as behind:
                back = threading.Thread(target=_pass_on, args=(behind, self.request, line.heard))
                back.start()
                _pass_on(self.request, behind, line.heard)
                back.join()

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True

    with Server(("127.0.0.1", 0), Door) as server:
        line = Line(f"tcp://127.0.0.1:{server.server_address[1]}")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield line
        server.shutdown()
        thread.join()


def _pass_on(one: socket.socket, other: socket.socket, heard: bytearray) -> None:
    with contextlib.suppress(OSError):
        while found := one.recv(1 << 16):
            heard += found
            other.sendall(found)
    with contextlib.suppress(OSError):
        other.shutdown(socket.SHUT_WR)


def test_a_scheduler_s_workers_do_it_and_hear_nothing_of_the_list(
    leads: Leads, home: Path, listened: Line, account: Account
) -> None:
    """The report is that of one process; neither token nor value nor phone goes over Dask."""
    listed, mapping = nasty_list(home / "list.csv"), write_mapping(home)
    given = ("check", listed, "-m", mapping, "--json")
    alone = leads(*given, env=account.env)

    def shared() -> Result:
        return leads(*given, "--scheduler", listened.address, env=account.env)

    wait_until(lambda: shared().code != 2)  # the worker may still be starting
    found = shared()
    assert without_run(found).equals(without_run(alone))
    assert found.folder.name.encode() in listened.heard  # what is said can be read here
    assert not [word for word in (TOKEN, NAME, *map(phone, range(1_000))) if word.encode() in listened.heard]
    refused = leads("load", listed, "-m", mapping, "--scheduler", listened.address, env=account.env)
    assert refused.code == 2
    assert "leads: worker tcp://127.0.0.1:" in refused.err
    assert "no credentials for DialedIn" in refused.err
    assert account.requests == 0
    leads("load", listed, "-m", mapping, "--limit", 1, env=account.env)
    refused = leads("resume", "--scheduler", listened.address, env=account.env)
    assert refused.code == 2
    assert "leads: worker tcp://127.0.0.1:" in refused.err
    assert account.requests == 1


# --- Processes that die ---


def start(home: Path, *args: object) -> subprocess.Popen[str]:
    """The command in a process group of its own."""
    given = [LEADS, *map(str, args)]
    return subprocess.Popen(given, cwd=home, text=True, stdout=-1, stderr=-1, start_new_session=True)


def workers_of(process: subprocess.Popen[str]) -> Sequence[psutil.Process]:
    """The worker processes: what the process that forks them has forked."""
    children = psutil.Process(process.pid).children()
    return [worker for child in children for worker in child.children()]


def parts_of(home: Path) -> Sequence[Path]:
    return list(home.glob("runs/*/parts/000-*.parquet"))


@pytest.fixture
def long_list(home: Path) -> tuple[str, ...]:
    """A check that takes some seconds."""
    row = [phone(1), NAME, "NY", "x" * 1_000]
    listed = write_csv(home / "long.csv", [["Phone", "Name", "State", "Notes"], *([row] * 30_000)])
    return "check", str(listed), "-m", str(write_mapping(home, "keep")), "--workers", "2", "--json", "--quiet"


def test_what_a_dead_worker_had_is_done_by_another(home: Path, long_list: Sequence[str]) -> None:
    """All rows are there."""
    with start(home, *long_list) as process:
        wait_until(lambda: parts_of(home))
        workers_of(process)[0].kill()
        out, err = process.communicate()
    assert (process.returncode, err) == (0, "")
    assert '"rows_read": 30000' in out
    assert not list(home.glob("runs/*/parts/.*")) + list(home.glob("runs/*/spool"))


def test_no_worker_outlives_its_client(home: Path, long_list: Sequence[str]) -> None:
    with start(home, *long_list) as process:
        wait_until(lambda: parts_of(home))
        below = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        process.communicate()
    assert len(below) >= 3
    wait_until(lambda: not any(one.is_running() for one in below))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_check_leaves_nothing(home: Path, long_list: Sequence[str], number: int) -> None:
    """The signal goes to all processes, as a terminal's Ctrl-C does."""
    with start(home, *long_list) as process:
        wait_until(lambda: parts_of(home))
        os.killpg(process.pid, number)
        out, err = process.communicate()
    assert (process.returncode, out) == (128 + number, "")
    assert err == "leads: interrupted; nothing was sent\n"
    assert not list((home / "runs").glob("*"))
