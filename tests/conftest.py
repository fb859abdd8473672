"""What tests share: an account that is simulated, the command in this process, and a clock that is moved by hand."""

from __future__ import annotations

import asyncio
import contextlib
import csv
import io
import json
import os
import selectors
import shutil
import socket
import socketserver
import sqlite3
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from multiprocessing import forkserver
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import httpx
import hypothesis
import openpyxl
import postgresql
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa

from pipeline import cli, statedb
from pipeline.sandbox.config import SandboxConfig
from pipeline.sandbox.serve import running

# The machine may be busy: nothing is timed. Every run tries other examples, but for CI's, which are the same ones.
hypothesis.settings.register_profile("searching", deadline=None)
# CI tries the same examples every time: more of them would find something once, and never again.
hypothesis.settings.register_profile("repeatable", deadline=None, derandomize=True, max_examples=50)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "searching"))

TOKEN = "tok/3b9f+Zq=71"  # looks different when it is quoted
CREDENTIALS = {"token": TOKEN, "accid": "sandbox"}


# --- Time ---

TICK_SECONDS = 1e-6  # what a turn of the loop takes: on a clock that stands still, rounding can wait for ever


class _Selector(selectors.DefaultSelector):
    """Finds what is ready; where nothing is, time passes at once instead of being waited for."""

    loop: ClockLoop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self.loop.now += TICK_SECONDS
        if self.loop.threads_are_at_work:
            return super().select(None if timeout is None or timeout > 0 else 0)
        found = super().select(0)
        if not found and timeout is None:
            raise AssertionError("everything waits, and nothing will ever happen")
        if not found and timeout:
            self.loop.now += timeout
        return found


class ClockLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock jumps to the next timer as soon as nothing else is to be done.

    What threads do (the journal, `to_thread`) takes no time on this clock, and is waited for.
    """

    def __init__(self) -> None:
        self.now = 0.0
        self._from_threads: set[asyncio.Future[Any]] = set()
        selector = _Selector()
        selector.loop = self
        super().__init__(selector)

    @property
    def threads_are_at_work(self) -> bool:
        self._from_threads = {future for future in self._from_threads if not future.done()}
        return bool(self._from_threads)

    def time(self) -> float:
        return self.now

    def create_future(self) -> asyncio.Future[Any]:
        future = super().create_future()
        caller = sys._getframe(1)
        if caller.f_globals["__name__"] == "pipeline.journal" or caller.f_code.co_name == "shutdown_default_executor":
            self._from_threads.add(future)
        return future

    def run_in_executor(self, *args: Any) -> asyncio.Future[Any]:
        future = super().run_in_executor(*args)
        self._from_threads.add(future)
        return future


def run_on_clock(coroutine: Any) -> Any:
    """The coroutine's result; hours of its time pass in no time."""
    with asyncio.Runner(loop_factory=ClockLoop) as runner:
        return runner.run(coroutine)


def _since_the_last_good_hour() -> timedelta:
    """How long ago people could last be called in all of `AREAS`, be it on a Sunday: at 19:30 UTC."""
    now = datetime.now(UTC)
    today = now.replace(hour=19, minute=30)
    return now - (today if today <= now else today - timedelta(days=1))


LATE_BY = _since_the_last_good_hour()


def by_day() -> datetime:
    """The clock by which commands run in tests: it is late by so much that people may be called, whenever tests run."""
    return datetime.now(UTC) - LATE_BY


def wait_until(condition: Callable[[], object]) -> None:
    """Looks at what another process does until it holds; fails where it never does."""
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.002)  # between two looks


# --- Files ---

AREAS = ("202", "303", "206", "312", "617", "212", "415", "512", "702", "503")


def phone(number: int) -> str:
    """One of 1,000 phones that belong to nobody: 555-0100 to 555-0199."""
    return f"{AREAS[number // 100]}55501{number % 100:02}"


def write(path: Path, content: str | bytes) -> Path:
    """A file that nobody is writing any more: changed an hour ago."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return settled(path)


def settled(path: Path) -> Path:
    """The file, with a time of change an hour back."""
    hour_ago = path.stat().st_mtime_ns - 3600 * 10**9
    os.utime(path, ns=(hour_ago, hour_ago))
    return path


def write_csv(path: Path, rows: Sequence[Sequence[str]]) -> Path:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return write(path, text.getvalue())


def write_xlsx(path: Path, rows: Sequence[Sequence[str]], sheet: str = "Leads") -> Path:
    book = openpyxl.Workbook()
    book.active.title = sheet
    for row in rows:
        book.active.append(list(row))
    book.save(path)
    return settled(path)


@contextlib.contextmanager
def piped(content: bytes) -> Iterator[None]:
    """Standard input, with this in it."""
    before = sys.stdin
    with tempfile.TemporaryFile("w+") as file:
        file.buffer.write(content)
        file.seek(0)
        sys.stdin = file
        try:
            yield
        finally:
            sys.stdin = before


# --- The vendor ---


@dataclass(frozen=True, slots=True)
class Account:
    """A sandbox that runs, and how to reach it."""

    url: str

    @property
    def env(self) -> dict[str, str]:
        return {
            "DIALEDIN_BASE_URL": self.url,
            "DIALEDIN_TOKEN": TOKEN,
            "DIALEDIN_ACCID": "sandbox",
            "LEADS_RATE": "0",
        }

    def see(self, name: str) -> Any:
        # There is no TLS here, and to load certificates takes longer than the rest.
        return httpx.get(self.url.replace("/HttpImport/", f"/sandbox/{name}"), verify=False).json()

    @property
    def requests(self) -> int:
        return self.see("state")["requests"]

    def leads(self) -> dict[str, dict[str, Any]]:
        """Stored leads by phone; no phone may be stored twice."""
        found = self.see("leads")
        by_phone = {lead["PrimaryPhone"]: lead for lead in found}
        assert len(by_phone) == len(found)
        return by_phone

    def dials(self) -> list[dict[str, Any]]:
        return self.see("dials")

    def call(self, script: str, **fields: str) -> str:
        return httpx.post(f"{self.url}{script}.php", data=CREDENTIALS | fields, verify=False).text

    def insert(self, phone: str, **fields: str) -> None:
        given = {"Campaign": "Spring Renewals", "PrimaryPhone": phone, "ImportOnly": "1"} | fields
        assert "OK" in self.call("InjectLead", **given)

    def forbid(self, phone: str) -> None:
        assert "OK" in self.call("LeadOperations", Action="InsertDnc", Number=phone)


@pytest.fixture
def start_account(tmp_path: Path) -> Iterator[Callable[..., Account]]:
    """Starts sandboxes, each with a state of its own; they end with the test."""
    with contextlib.ExitStack() as stack:

        def start(**given: Any) -> Account:
            state = tmp_path / f"sandbox-{len(list(tmp_path.glob('sandbox-*.db')))}.db"
            config = SandboxConfig(**({"state_path": state, "token": TOKEN} | given))
            return Account(stack.enter_context(running(config)))

        yield start


@pytest.fixture(scope="session")
def shared_sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    state = tmp_path_factory.mktemp("sandbox") / "state.db"
    with running(SandboxConfig(state_path=state, token=TOKEN)) as url:
        yield url, state


@pytest.fixture
def account(shared_sandbox: tuple[str, Path]) -> Account:
    """An account in which nothing has happened yet. Its server is shared: to start one takes longer than most tests."""
    url, state = shared_sandbox
    with contextlib.closing(sqlite3.connect(state)) as database, database:
        for (table,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            database.execute(f"DELETE FROM {table}")
    return Account(url)


class RawVendor(socketserver.ThreadingTCPServer):
    """A server that reads a request, and answers with whatever bytes the test wants; none: it hangs up."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, answer: Callable[[dict[str, str]], bytes]) -> None:
        super().__init__(("127.0.0.1", 0), _RawRequest)
        self.answer = answer
        self.forms: list[dict[str, str]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/HttpImport/"

    @property
    def env(self) -> dict[str, str]:
        return Account(self.url).env


class _RawRequest(socketserver.StreamRequestHandler):
    server: RawVendor

    def handle(self) -> None:
        length = 0
        while (line := self.rfile.readline().strip()) != b"":
            name, _, value = line.partition(b":")
            length = int(value) if name.lower() == b"content-length" else length
        form = dict(parse_qsl(self.rfile.read(length).decode(), keep_blank_values=True))
        self.server.forms.append(form)
        self.wfile.write(self.server.answer(form))


def http_reply(body: str, status: str = "200 OK", headers: str = "") -> bytes:
    content = body.encode()
    head = f"HTTP/1.1 {status}\r\n{headers}Content-Type: text/html\r\nConnection: close\r\n"
    return f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content


@pytest.fixture
def raw_vendor() -> Iterator[Callable[[Callable[[dict[str, str]], bytes]], RawVendor]]:
    with contextlib.ExitStack() as stack:

        def start(answer: Callable[[dict[str, str]], bytes]) -> RawVendor:
            server = stack.enter_context(RawVendor(answer))
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
            thread.start()
            stack.callback(thread.join)
            stack.callback(server.shutdown)
            return server

        yield start


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port that is ours, so that nobody else takes it, and that nobody listens on."""
    with socket.socket() as kept:
        kept.bind(("127.0.0.1", 0))
        yield kept.getsockname()[1]


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate for 127.0.0.1 with its key, in one file."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl makes the certificate")
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    subject = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", str(path)]
    made = subprocess.run([openssl, "req", "-x509", *key, *subject, "-days", "2"], capture_output=True, check=True)
    path.write_bytes(path.read_bytes() + made.stdout)
    return path


def tls_server(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


# --- The command ---


@dataclass(frozen=True)
class Result:
    """How a command ended."""

    code: int
    out: str
    err: str

    @cached_property
    def json(self) -> dict[str, Any]:
        """stdout, which holds one JSON object and nothing else."""
        lines = self.out.splitlines()
        assert len(lines) == 1, self.out + self.err
        found = json.loads(lines[0])
        assert isinstance(found, dict)
        return found

    @cached_property
    def table(self) -> pa.Table:
        return pq.read_table(self.json["report"])

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        """The report. It adds up: every row that was read is in it once."""
        summary, rows = self.json, self.table.to_pylist()
        assert summary["rows_read"] == len(rows) == sum(summary["counts"].values())
        assert len({(row["source"], row["sheet"], row["row"]) for row in rows}) == len(rows)
        assert summary["exit_code"] == self.code
        for status, count in summary["counts"].items():
            assert sum(row["status"] == status for row in rows) == count
        return rows

    @cached_property
    def by_row(self) -> dict[int, dict[str, Any]]:
        return {row["row"]: row for row in self.rows}

    @cached_property
    def fates(self) -> dict[int, str]:
        """row → status, or status/code where the code says more."""
        return {
            row["row"]: row["status"] + (f"/{row['code']}" if row["code"] not in (None, "ok") else "")
            for row in self.rows
        }

    @cached_property
    def folder(self) -> Path:
        return Path(self.json["report"]).parent


Leads = Callable[..., Result]


# The databases that a state may be in: a test that is marked so runs once with each.
BOTH = pytest.mark.parametrize("database", ["sqlite", "postgresql"], indirect=True)


@pytest.fixture(scope="session")
def server() -> Iterator[postgresql.Server]:
    """A PostgreSQL server of this process's own. Where none is installed its tests are skipped; in CI they fail."""
    programs = postgresql.bin_folder()
    if programs is None and not os.environ.get("LEADS_REQUIRE_POSTGRESQL"):
        pytest.skip("no PostgreSQL server is installed")
    assert programs is not None, "no PostgreSQL server is installed"
    with postgresql.server(programs) as running_server:
        yield running_server


@pytest.fixture
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a state database with nothing in it: SQLite's, unless the test is marked to go by another as well."""
    if getattr(request, "param", "sqlite") == "sqlite":
        yield f"sqlite:///{tmp_path / 'state.db'}"
        return
    with request.getfixturevalue("server").database() as url:
        yield url


def state_now() -> sa.Engine:
    """The state database that commands use now."""
    return statedb.engine(os.environ["LEADS_STATE"])


def in_state(statement: str) -> list[tuple[Any, ...]]:
    """What a statement finds there, or changes."""
    with state_now().begin() as connection:
        found = connection.exec_driver_sql(statement)
        return [tuple(row) for row in found] if found.returns_rows else []


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, database: str) -> Path:
    """The working directory: empty, with nothing of ours in the environment."""
    for name in [n for n in os.environ if n.startswith(("LEADS_", "DIALEDIN_", "DIALOGTECH_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("LEADS_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("LEADS_STATE", database)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def leads(home: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Iterator[Leads]:
    """Runs the command in this process; `env` comes on top of the environment, `now` is the clock it goes by."""
    umask = os.umask(0o022)

    def run(*args: object, env: Mapping[str, str] | None = None, now: Callable[[], datetime] = by_day) -> Result:
        capfd.readouterr()
        with monkeypatch.context() as patch:
            patch.setattr(sys, "argv", ["leads", *map(str, args)])
            for name, value in (env or {}).items():
                patch.setenv(name, value)
            with pytest.raises(SystemExit) as ended:
                cli.main(now)
        forkserver._forkserver._stop()  # type: ignore[attr-defined]  # a command's own: it has its environment
        out, err = capfd.readouterr()
        code = ended.value.code
        assert isinstance(code, int)
        return Result(code, out, err)

    yield run
    os.umask(umask)
