from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import random
import sqlite3
import stat
import weakref
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from conftest import BOTH, CREDENTIALS, Account, Leads, phone, write, write_csv

from pipeline import records, sqlite, statedb
from pipeline.delivery import Endpoint, World
from pipeline.feed import Batch
from pipeline.journal import Journal, JournalError, Scope, open_journal
from pipeline.model import Held, Judgement, Outcome, Payload, Request, Status, UserError
from pipeline.push import Limits, Push
from pipeline.watch import ErrorLimit, Watch
from pipeline.wire import Wire
from pipeline.writer_sqlite import SqliteWriter
from pipeline.writes import Statement, Write
from schemas.dialedin import INSERT_LEAD
from schemas.spec import Verdict

NOW = datetime(2030, 1, 1, tzinfo=UTC)
SCOPE = Scope("run-1", "account", "InsertLead")
OTHER_RUN = Scope("run-2", "account", "UpdateLead")
OTHER_ACCOUNT = Scope("run-3", "another", "InsertLead")
ACCEPTED = Outcome(Status.ACCEPTED, "ok", Judgement(Verdict.ACCEPTED, "ok", "", 200, "Result: OK"), 1, 12.5)


def payload(row: int, *, of: str | None = None, identifier: str = "") -> Payload:
    mine = phone(row) if of is None else of
    return Payload(0, row, f"{row:032x}", mine, identifier, "", f"row={row}".encode(), f"{row:064x}")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


@pytest.fixture
def state(database: str) -> sa.Engine:
    return statedb.engine(database)


@pytest.fixture
def elsewhere(state: sa.Engine, path: Path) -> Iterator[sqlite3.Connection]:
    """A second connection: it sees what is committed, and nothing else."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None, timeout=1)) as connection:
        yield connection


def told(state: sa.Engine, query: str = "SELECT row, state, status FROM sends ORDER BY run_id, row") -> list[Any]:
    """What is committed: the connection is another one."""
    with state.connect() as connection:
        return [tuple(row) for row in connection.exec_driver_sql(query)]


@BOTH
def test_a_row_is_on_disk_before_its_request_leaves(state: sa.Engine) -> None:
    """Whoever looks while the request is under way finds the row `sending`; afterwards, its outcome."""
    seen: list[tuple[Any, ...]] = []

    def vendor(request: httpx.Request) -> httpx.Response:
        row = int(request.content.decode().removeprefix("row=").partition("&")[0])
        seen.extend(told(state, f"SELECT row, state, status, phone FROM sends WHERE row = {row}"))
        return httpx.Response(200, text="<br><br>Result:  OK")

    async def pushing() -> None:
        wire = Wire(
            url="https://vendor.test/",
            credentials=CREDENTIALS,
            transport=httpx.MockTransport(vendor),
            timeout_seconds=30,
        )
        with open_journal(state, SCOPE) as written:
            push = Push(
                Endpoint.of(INSERT_LEAD, wire),
                None,
                written,
                limits=Limits(0, 4, 5, 30, 60),
                watch=Watch(ErrorLimit(0, None)),
                world=World(lambda: NOW, random.Random(1), lambda _: None),
            )
            await push.run(iter([Batch([payload(n) for n in range(20)], [])]))

    asyncio.run(pushing())
    assert sorted(seen) == [(n, "sending", None, phone(n)) for n in range(20)]
    assert told(state) == [(n, "settled", "accepted") for n in range(20)]


def test_a_claim_in_the_way_holds_up_its_own_row_alone(state: sa.Engine) -> None:
    """Rows are written many at once; where one can't be, the others of its group are."""

    async def write_all() -> list[bool]:
        with open_journal(state, SCOPE) as written:
            await written.begin(payload(1), 1)
            some = [payload(n) for n in range(2, 40)] + [payload(40, of=phone(1))] + [payload(n) for n in range(41, 80)]
            return await asyncio.gather(*(written.begin(one, 2) for one in some))

    begun = asyncio.run(write_all())
    assert begun == [True] * 38 + [False] + [True] * 39
    assert [row for row, *_ in told(state)] == [n for n in range(1, 80) if n != 40]


def test_a_settlement_frees_its_claim_for_what_is_asked_for_with_it(state: sa.Engine) -> None:
    async def write_all() -> list[bool]:
        with open_journal(state, SCOPE) as written:
            await written.begin(payload(1), 1)
            return await asyncio.gather(
                written.settle(payload(1), ACCEPTED, 2), written.begin(payload(2, of=phone(1)), 2)
            )

    assert asyncio.run(write_all()) == [True, True]


def test_a_row_that_begins_and_ends_in_one_group_has_ended(state: sa.Engine) -> None:
    """As where a worker is stopped while the journal writes."""

    async def write_all() -> None:
        with open_journal(state, SCOPE) as written:
            begun = written.begin(payload(1), 1)
            await asyncio.gather(begun, written.settle(payload(1), ACCEPTED, 2), written.begin(payload(2), 2))

    asyncio.run(write_all())
    assert told(state) == [(1, "settled", "accepted"), (2, "sending", None)]


REJECTED = Outcome(Status.REJECTED, "bad_phone", Judgement(Verdict.REJECTED, "bad_phone", "no", 400, "Bad"), 2, None)


@BOTH
def test_each_row_of_a_group_has_its_own_outcome(state: sa.Engine) -> None:
    """Outcomes that are alike share a statement; what differs from row to row stays with its row."""

    async def write_all() -> None:
        with open_journal(state, SCOPE) as written:
            rows = [payload(n) for n in range(70)]
            await asyncio.gather(*(written.begin(row, row.row) for row in rows))
            outcomes = [REJECTED if row.row % 3 else replace(ACCEPTED, latency_ms=row.row / 2) for row in rows]
            settled = [written.settle(row, outcome, 100 + row.row) for row, outcome in zip(rows, outcomes, strict=True)]
            assert await asyncio.gather(*settled) == [True] * 70

    asyncio.run(write_all())
    columns = "row, status, code, message, attempts, http_status, reply, first_sent_at, settled_at, latency_ms"
    assert told(state, f"SELECT {columns} FROM sends ORDER BY row") == [
        (n, "rejected", "bad_phone", "no", 2, 400, "Bad", n, 100 + n, None)
        if n % 3
        else (n, "accepted", "ok", "", 1, 200, "Result: OK", n, 100 + n, n / 2)
        for n in range(70)
    ]


@BOTH
def test_what_is_said_last_of_a_row_counts(state: sa.Engine) -> None:
    """Also where it is settled in two ways within one group, and shares both with other rows."""

    async def write_all() -> None:
        with open_journal(state, SCOPE) as written:
            await asyncio.gather(written.begin(payload(1), 1), written.begin(payload(2), 1))
            said = [(1, ACCEPTED), (2, REJECTED), (2, ACCEPTED), (1, REJECTED)]
            await asyncio.gather(*(written.settle(payload(row), outcome, 2) for row, outcome in said))

    asyncio.run(write_all())
    assert told(state) == [(1, "settled", "rejected"), (2, "settled", "accepted")]


@BOTH
def test_what_is_awaited_is_committed(state: sa.Engine) -> None:
    """Beginning, settling and holding are seen by everyone as soon as they resolve."""

    async def write_all() -> None:
        with open_journal(state, SCOPE) as written:
            assert await written.begin(payload(1), 1_000)
            assert told(state) == [(1, "sending", None)]
            written.note(payload(1), Request("InsertLead", 2_000, "throttled", 429, "slow down", 7.5))
            assert await written.settle(payload(1), ACCEPTED, 3_000)
            assert told(state) == [(1, "settled", "accepted")]
            assert await written.hold(Held(0, 2, Status.SKIPPED, "suppressed", "on the list"), 4_000)
            assert told(state, "SELECT row, status, code FROM held") == [(2, "skipped", "suppressed")]

    asyncio.run(write_all())
    assert records.requests_of(state, "run-1", 0, 1) == [
        Request("InsertLead", 2_000, "throttled", 429, "slow down", 7.5)
    ]
    sends, held = records.settled_between(state, "run-1", 0, (1, 9))
    (sent,) = sends.to_pylist()
    assert (sent["attempts"], sent["http_status"], sent["reply"]) == (1, 200, "Result: OK")
    assert (sent["first_sent_at"], sent["settled_at"], sent["latency_ms"]) == (1_000, 3_000, 12.5)
    assert held.num_rows == 1


@BOTH
def test_rows_of_other_runs_sources_and_places_are_not_read(state: sa.Engine) -> None:
    """The report asks for a stretch of one source of one run, and gets that."""

    async def write_all() -> None:
        for scope in (SCOPE, OTHER_ACCOUNT):
            with open_journal(state, scope) as written:
                for row in (3, 1, 2, 9):
                    await written.begin(payload(row), 0)

    asyncio.run(write_all())
    assert records.settled_between(state, "run-1", 0, (1, 3))[0]["row"].to_pylist() == [1, 2, 3]
    assert records.settled_between(state, "run-1", 1, (1, 9))[0].num_rows == 0
    assert [table.num_rows for table in records.nothing()] == [0, 0]
    assert records.nothing()[0].schema == records.settled_between(state, "run-1", 0, (1, 9))[0].schema


@BOTH
@pytest.mark.parametrize(
    ("first", "second"),
    [
        (payload(1, of=phone(7)), payload(2, of=phone(7))),
        (payload(1, of="", identifier="ClientId:7"), payload(2, of="", identifier="ClientId:7")),
        (payload(1, identifier="ClientId:7"), payload(2, identifier="ClientId:7")),
    ],
)
def test_a_claim_is_unique_in_its_account(state: sa.Engine, first: Payload, second: Payload) -> None:
    """While a row is under way nobody else in the account has its phone or identifier; then it is free."""

    async def compete() -> None:
        with (
            open_journal(state, SCOPE) as one,
            open_journal(state, OTHER_RUN) as two,
            open_journal(state, OTHER_ACCOUNT) as three,
        ):
            assert await one.begin(first, 0)
            assert not await two.begin(second, 0)
            assert await three.begin(second, 0)
            await one.settle(first, ACCEPTED, 0)
            assert await two.begin(second, 0)

    asyncio.run(compete())


@BOTH
def test_rows_without_phone_and_identifier_claim_nothing(state: sa.Engine) -> None:
    """What names no one stands in no one's way."""

    async def begin() -> None:
        with open_journal(state, SCOPE) as written:
            assert all([await written.begin(payload(n, of=""), 0) for n in range(5)])

    asyncio.run(begin())


@BOTH
def test_claims_outlive_their_process(state: sa.Engine) -> None:
    """A run that ended without a word leaves its claims; another one does not get them."""

    async def begin(scope: Scope) -> bool:
        with open_journal(state, scope) as written:
            return await written.begin(payload(1), 0)

    assert asyncio.run(begin(SCOPE))
    assert not asyncio.run(begin(OTHER_RUN))


def test_what_waits_is_committed_together(state: sa.Engine, path: Path, elsewhere: sqlite3.Connection) -> None:
    """Rows that come while the disk is busy cost one commit, not one each; each still gets its own answer."""
    statements: list[str] = []
    with contextlib.closing(sqlite3.connect(path, check_same_thread=False, isolation_level=None)) as connection:
        connection.execute("PRAGMA busy_timeout=30000")
        connection.set_trace_callback(statements.append)
        written = Journal(SqliteWriter(connection), SCOPE)

        async def begin() -> list[bool]:
            elsewhere.execute("BEGIN IMMEDIATE")  # the disk is busy
            futures = [written.begin(payload(n // 2), 0) for n in range(200)]
            elsewhere.execute("COMMIT")
            return await asyncio.gather(*futures)

        answers = asyncio.run(begin())
        written.close()
    assert answers == [True, False] * 100
    assert statements.count("COMMIT") <= 2


@BOTH
def test_a_settlement_frees_a_claim_for_the_next_of_the_same_group(state: sa.Engine) -> None:
    """Order counts, also within one commit."""

    async def write_all() -> list[bool]:
        with open_journal(state, SCOPE) as written:
            rows = [payload(n, of=phone(1)) for n in range(3)]
            futures = []
            for row in rows:
                futures += [written.begin(row, 0), written.settle(row, ACCEPTED, 0)]
            return await asyncio.gather(*futures)

    assert asyncio.run(write_all()) == [True] * 6


@pytest.mark.parametrize("damage", ["closed", "read-only", "table gone"])
def test_what_cannot_be_written_is_an_error(
    state: sa.Engine, path: Path, elsewhere: sqlite3.Connection, damage: str
) -> None:
    """After one failure every write fails, also where the cause is gone: an order must not be lost."""
    connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
    written = Journal(SqliteWriter(connection), SCOPE)

    async def write_all() -> None:
        assert await written.begin(payload(1), 0)
        if damage == "closed":
            connection.close()
        elif damage == "read-only":
            connection.execute("PRAGMA query_only=ON")
        else:
            elsewhere.execute("ALTER TABLE sends RENAME TO gone")
        with pytest.raises(JournalError, match="can't be written"):
            await written.begin(payload(2), 0)
        if damage == "table gone":
            elsewhere.execute("ALTER TABLE gone RENAME TO sends")  # nobody holds a lock on account of the failure
        with pytest.raises(JournalError):
            await written.settle(payload(1), ACCEPTED, 0)
        with pytest.raises(JournalError):
            await written.hold(Held(0, 3, Status.SKIPPED, "suppressed", ""), 0)

    asyncio.run(write_all())
    written.close()
    connection.close()
    assert told(state) == [(1, "sending", None)]


def test_a_run_whose_journal_cannot_be_written_sends_nothing(leads: Leads, home: Path, account: Account) -> None:
    """A database that was made for something else: exit code 70, in words, before anything is sent."""
    with contextlib.closing(sqlite3.connect(home / "state.db")) as database:
        database.execute("CREATE TABLE sends (run_id TEXT, account TEXT, phone TEXT, identifier TEXT, state TEXT)")
    mapping = 'operation = "InsertLead"\n[fields]\nPrimaryPhone = "Phone"\nCampaign = { value = "Demo" }\n'
    write(home / "m.toml", mapping)
    write_csv(home / "l.csv", [["Phone"], [phone(1)], [phone(2)]])
    result = leads("load", "l.csv", "-m", "m.toml", env=account.env)
    assert result.code in (2, 70)
    assert "Traceback" not in result.err
    assert account.requests == 0


def test_the_database_is_for_its_owner_and_survives_a_power_cut(
    state: sa.Engine, path: Path, elsewhere: sqlite3.Connection
) -> None:
    """WAL, with a sync for each commit; the log beside it is as private as the file."""
    umask = os.umask(0o077)
    try:
        with open_journal(state, SCOPE) as written:
            connection = written._writer._connection
            synchronous = connection.execute("PRAGMA synchronous").fetchone()
            assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    finally:
        os.umask(umask)
    assert synchronous == (2,)
    assert {stat.S_IMODE(file.stat().st_mode) for file in path.parent.glob("state.db-*")} <= {0o600, 0o644}


def test_a_group_waits_while_another_process_recovers_the_log(state: sa.Engine, path: Path) -> None:
    """SQLite says busy in more than one way; none of them breaks the journal."""
    answers = [sqlite3.SQLITE_BUSY_RECOVERY, sqlite3.SQLITE_BUSY]

    class Busy(sqlite3.Cursor):
        def execute(self, text: str, *values: object) -> sqlite3.Cursor:
            if text == "BEGIN IMMEDIATE" and answers:
                error = sqlite3.OperationalError("database is locked")
                error.sqlite_errorcode = answers.pop()
                raise error
            return super().execute(text, *values)

    class Connection(sqlite3.Connection):
        def cursor(self) -> sqlite3.Cursor:
            return super().cursor(Busy)

    with contextlib.closing(sqlite3.connect(path, factory=Connection)) as connection:
        assert SqliteWriter(connection).commit([Write(Statement.LOOK, ()), Write(Statement.LOOK, ())]) == [False, False]
    assert not answers


def test_an_old_sqlite_is_refused_before_anything_is_sent() -> None:
    """Python may have been built with one that knows no UPDATE … FROM."""
    sqlite.check_version((3, 33, 0))
    with pytest.raises(UserError, match=r"SQLite 3\.26\.0, and its state needs 3\.33"):
        sqlite.check_version((3, 26, 0))


class _Key(str):
    """A row key of which somebody may tell whether it is still in memory."""

    __slots__ = ("__weakref__",)


@BOTH
def test_what_the_ledger_was_asked_for_is_not_kept(state: sa.Engine) -> None:
    """Not even until Python looks through its garbage, which it puts off: a list of millions would all be there."""
    keys = [_Key(f"{at:032x}") for at in range(3)]
    asked = [weakref.ref(key) for key in keys]
    gc.disable()
    try:
        assert records.entries(state, None, keys) == {}
        keys.clear()
        assert [key() for key in asked] == [None] * 3
    finally:
        gc.enable()
