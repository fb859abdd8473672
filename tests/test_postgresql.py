"""What is of PostgreSQL's own: reaching it, beginning at once, losing it, and who must not see its password."""

from __future__ import annotations

import contextlib
import json
import logging.handlers
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from urllib.parse import quote, quote_plus

import psycopg
import pytest
import sqlalchemy as sa
from conftest import Account, Leads, RawVendor, Result, in_state, phone, state_now, wait_until, write
from killing import LOAD, TOUCHY, Books, Deal, Desk, Way, finish, violations, write_list
from postgresql import PASSWORD, Server

from pipeline import lock, records, statedb, tables, writer
from pipeline.delivery import utc_now
from pipeline.model import UserError
from pipeline.sandbox.profiles import profile_named
from pipeline.writes import Statement, Write

pytestmark = pytest.mark.parametrize("database", ["postgresql"], indirect=True)
SLOWLY = (*LOAD, "--rate", "15")
UNHURRIED = replace(profile_named("default"), latency_seconds=0.02)
MAPPING = """operation = "InsertLead"
[fields]
PrimaryPhone = "Phone"
Campaign = { value = "Demo" }
"""


@pytest.fixture
def state(database: str) -> sa.Engine:
    return statedb.engine(database)


def begin(row: int, number: str | None = None, run: str = "run") -> Write:
    mine = phone(row) if number is None else number
    return Write(Statement.BEGIN, (run, 0, "account", "InsertLead", row, f"{row:032x}", mine, "", "", 1))


def settle(row: int, status: str = "accepted", reply: str = "", run: str = "run") -> Write:
    said = (status, "ok", "", 1, 200, reply, None, None, True, False)
    return Write(Statement.SETTLE, (run, 0, *said, row, 2, 1.5))


def begin_again(row: int, run: str = "run") -> Write:
    return Write(Statement.BEGIN_AGAIN, ("sha", 3, run, 0, row))


# --- Beginning ---


def test_many_begin_at_once_on_an_empty_database(database: str) -> None:
    """One makes the tables, the others wait; all of them can go on."""
    together = threading.Barrier(6)

    def begun(_: int) -> bool:
        together.wait()
        return records.knows(statedb.engine(database), "run")

    with ThreadPoolExecutor(6) as six:
        assert list(six.map(begun, range(6))) == [False] * 6


def test_who_only_looks_makes_nothing(leads: Leads, home: Path, account: Account) -> None:
    """A check asks the ledger of an empty database, and leaves it empty."""
    write(home / "l.csv", f"Phone\n{phone(1)}\n")
    write(home / "m.toml", MAPPING)
    assert leads("check", "l.csv", "-m", "m.toml", env=account.env).code == 0
    with psycopg.connect(os.environ["LEADS_STATE"].replace("+psycopg", "")) as connection:
        assert connection.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone() == (0,)
    leads("load", "l.csv", "-m", "m.toml", env=account.env)
    assert "1 in run" in leads("check", "l.csv", "-m", "m.toml", env=account.env).out


def test_tables_of_another_version_are_left_alone(database: str, state: sa.Engine) -> None:
    with state.begin() as connection:
        connection.exec_driver_sql("UPDATE state_version SET version = 99")
    with pytest.raises(UserError, match=r"its tables are of version 99, these are 1"):
        statedb.engine(database)


def test_a_database_that_can_not_hold_every_text_is_refused(server: Server, database: str) -> None:
    name = database.rpartition("/")[2]
    with contextlib.closing(server.connect()) as connection:
        connection.execute(f"CREATE DATABASE {name}_latin ENCODING 'LATIN1' TEMPLATE template0")
    try:
        with pytest.raises(UserError, match="its encoding is LATIN1; make a database for it: CREATE DATABASE"):
            statedb.engine(f"{database}_latin")
    finally:
        with contextlib.closing(server.connect()) as connection:
            connection.execute(f"DROP DATABASE {name}_latin")


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("postgresql://leads:x@127.0.0.1:{port}/leads", "authentication failed.*; put its password into LEADS_STATE"),
        ("postgresql://leads@127.0.0.1:{port}/leads", "no password supplied; put its password into LEADS_STATE"),
        ("postgresql+psycopg://{known}/nowhere", 'database "nowhere" does not exist; make it: createdb'),
        ("postgresql://leads@127.0.0.1:1/leads", "refused.*; see that its server runs"),
        ("postgresql://leads@127.0.0.1:1", "names no database"),
        ("postgresql+asyncpg://leads@127.0.0.1:1/leads", "the driver is psycopg"),
        ("mysql://leads@127.0.0.1:1/leads", "only sqlite:///path/to/state.db or postgresql"),
        ("postgresql://leads:s@cret@127.0.0.1:1/leads", "%40 for @"),
        ("postgresql://leads@127.0.0.1:1/leads?password=s@cret", "can't be told from the rest"),
    ],
)
def test_what_can_not_be_reached_is_told_in_one_line_with_what_to_do(
    leads: Leads, server: Server, home: Path, account: Account, url: str, words: str
) -> None:
    """And without its password; nothing is sent."""
    known = server.url("x").partition("://")[2].rpartition("/")[0]
    write(home / "l.csv", f"Phone\n{phone(1)}\n")
    write(home / "m.toml", MAPPING)
    given = {"LEADS_STATE": url.format(port=server.port, known=known)}
    told = leads("load", "l.csv", "-m", "m.toml", env=account.env | given)
    assert (told.code, account.requests, told.err.count("\n")) == (2, 0, 1)
    assert told.err.startswith(("leads: --state", "leads: LEADS_STATE:"))
    assert re.search(words, told.err), told.err
    assert "cret" not in told.err
    assert PASSWORD not in told.err


def test_without_its_driver_the_extra_is_named(database: str, home: Path) -> None:
    program = "import sys; sys.modules['psycopg'] = None; from pipeline import cli; cli.main()"
    command = [sys.executable, "-c", program, "prune", "--older-than", "1d"]
    told = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (told.returncode, told.stderr.count("\n")) == (2, 1)
    assert "pip install 'dialedin-leads[postgresql]'" in told.stderr


# --- Writing ---


def test_a_commit_waits_for_the_disk_whatever_the_server_does_by_itself(state: sa.Engine, server: Server) -> None:
    with contextlib.closing(server.connect()) as connection:
        assert connection.execute("SHOW synchronous_commit").fetchone() == ("off",)
    with lock.held(state, "account", "run") as held, writer.opened(held) as own:
        assert own._session.execute("SHOW synchronous_commit").fetchone() == ("on",)
        assert own._session.execute("SHOW lock_timeout").fetchone() == ("30s",)


def test_any_text_can_be_kept(state: sa.Engine) -> None:
    """PostgreSQL knows no NUL: an answer that has one must not break the journal."""
    with writer.opened(state) as own:
        assert own.commit([begin(1), settle(1, reply="a\0b\ud800c" + "x" * 100_000)]) == [True, True]
    (told,) = records.settled_between(state, "run", 0, (1, 1))[0].to_pylist()
    assert told["reply"] == "a\ufffdb?c" + "x" * 100_000


def test_a_group_is_written_as_a_whole_or_not_at_all(state: sa.Engine) -> None:
    """After a failure the session can be used on, and others are not in the way."""
    with writer.opened(state) as own:
        with pytest.raises(psycopg.Error):
            own.commit([begin(1), Write(Statement.HOLD, ("run", 0, 2, None, "", "", 0))])
        assert own.commit([begin(1), begin(2, phone(1)), settle(1), begin(2, phone(1))]) == [True, False, True, True]


@contextlib.contextmanager
def listened_to(handler: logging.Handler) -> Iterator[None]:
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)


def test_the_driver_says_nothing_of_its_own_when_a_session_is_lost(state: sa.Engine, server: Server) -> None:
    """What matters of it is raised, and told in our words."""
    terminal = logging.handlers.BufferingHandler(100)  # of whoever logs; pytest's own listens to each logger besides
    with listened_to(terminal), writer.opened(state) as lost:
        lost.commit([begin(1)])
        assert ended_sessions(server, "COMMIT") == 1
        with pytest.raises(psycopg.OperationalError):
            lost.commit([begin(row) for row in range(2, 500)])
    assert terminal.buffer == []


def test_groups_that_stand_in_each_others_way_are_both_written(state: sa.Engine) -> None:
    """Two that claim the same phones in opposite order: the server ends one of them, which is written once more."""
    together = threading.Barrier(2)

    def claim(run: str, rows: list[int]) -> int:
        with writer.opened(state) as own:
            together.wait()
            return sum(own.commit([begin(row, run=run) for row in rows]))

    with ThreadPoolExecutor(2) as two:
        rows = list(range(400))
        claimed = [two.submit(claim, "one", rows), two.submit(claim, "two", rows[::-1])]
        assert sum(future.result() for future in claimed) == len(rows)


def test_a_row_is_not_begun_again_while_its_phone_is_claimed(state: sa.Engine) -> None:
    """Also by a claim that is made at that very moment: whoever is second waits for the first, and is told no."""
    with writer.opened(state) as own, writer.opened(state) as other, ThreadPoolExecutor(1) as one:
        own.commit([begin(1), settle(1, "unknown"), begin(2, phone(1))])
        assert own.commit([begin_again(1)]) == [False]
        own.commit([settle(2)])
        other._session.execute("BEGIN")
        other._session.execute("UPDATE sends SET state = 'sending' WHERE row = 2")
        answer = one.submit(own.commit, [begin_again(1)])
        wait_until(lambda: waiting(state))
        other._session.execute("COMMIT")
        assert answer.result() == [False]
        other.commit([settle(2)])
        assert own.commit([begin_again(1)]) == [True]


def waiting(state: sa.Engine) -> bool:
    with state.connect() as connection:
        return bool(connection.exec_driver_sql("SELECT count(*) FROM pg_locks WHERE NOT granted").scalar_one())


def test_what_a_failure_quotes_of_a_row_is_not_told(leads: Leads, home: Path, account: Account) -> None:
    """The server's words hold the whole row: its phone, and what was said of it."""
    state_now()
    in_state("ALTER TABLE sends ADD CONSTRAINT none CHECK (phone = '')")
    write(home / "l.csv", f"Phone\n{phone(1)}\n")
    write(home / "m.toml", MAPPING)
    told = leads("load", "l.csv", "-m", "m.toml", env=account.env)
    assert (told.code, account.requests) == (70, 0)
    assert "the journal can't be written: new row for relation" in told.err
    assert phone(1) not in told.err


def test_a_database_that_is_not_as_it_was_is_told_in_words(leads: Leads, home: Path, account: Account) -> None:
    """Also by a command that sends nothing."""
    write(home / "l.csv", f"Phone\n{phone(1)}\n")
    write(home / "m.toml", MAPPING)
    leads("load", "l.csv", "-m", "m.toml", env=account.env)
    in_state("ALTER TABLE requests RENAME COLUMN reply TO answer")
    told = leads("explain", "--row", "2")
    assert told.code == 70
    assert "the state database can't be used: column requests.reply does not exist" in told.err


# --- Losing it ---


@pytest.fixture
def desk(home: Path, database: str, start_account: Callable[..., Account]) -> Desk:
    account = start_account(**{**TOUCHY, "profile": UNHURRIED})
    return Desk(home, write_list(home, Deal(), 60), account, database=database)


def here(leads: Leads, desk: Desk) -> Callable[..., Result]:
    return partial(leads, env=desk.environment, now=utc_now)


def ended_sessions(server: Server, words: str) -> int:
    """Ends the sessions whose last statement held these words; how many that were."""
    query = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE query LIKE %s"
    with contextlib.closing(server.connect()) as connection:
        ((number,),) = connection.execute(query, [f"{words}%"]).fetchall()
    return number


def test_a_run_that_loses_its_journal_ends_and_can_be_resumed(leads: Leads, desk: Desk, server: Server) -> None:
    """Its lock went with it, so that another run may have begun: nothing more is sent; the resume settles the rest."""
    with desk.started(*SLOWLY) as command:
        assert command.says("sending")
        wait_until(lambda: len(Books(desk.account).inserts) > 5)
        assert ended_sessions(server, "COMMIT") == 1
        ended = command.ended()
    assert ended.code == 70
    assert "the journal can't be written" in ended.err
    assert "leads resume" in ended.err
    assert "fault of ours" not in ended.err
    assert len(Books(desk.account).inserts) < 60
    finish(desk, Way.RESUME, here(leads, desk))
    assert violations(desk) == []


def test_a_run_that_only_waits_notices_that_its_lock_is_gone(
    leads: Leads, home: Path, server: Server, raw_vendor: Callable[..., RawVendor]
) -> None:
    """Rows that rest write nothing, and another run may be at them by now: it looks now and then."""
    vendor = raw_vendor(lambda form: b"")  # each row is in doubt, and rests for a minute
    write(home / "l.csv", f"Phone\n{phone(1)}\n")
    write(home / "m.toml", MAPPING)
    command = [Path(sys.executable).with_name("leads"), "load", "l.csv", "-m", "m.toml"]
    with subprocess.Popen(command, env=os.environ | vendor.env, stderr=subprocess.PIPE, text=True) as process:
        wait_until(lambda: vendor.forms and ended_sessions(server, "COMMIT"))
        _, err = process.communicate(timeout=40)
    assert process.returncode == 70
    assert "the journal can't be written" in err
    assert len(vendor.forms) == 1


def test_a_server_that_is_restarted_in_mid_push_costs_no_row(leads: Leads, desk: Desk, server: Server) -> None:
    """The run ends with words; when the server is there again it goes on."""
    with desk.started(*SLOWLY) as command:
        assert command.says("sending")
        wait_until(lambda: len(Books(desk.account).inserts) > 5)
        server.stop()
        try:
            ended = command.ended()
            refused = here(leads, desk)("resume")
        finally:
            server.start()
    assert ended.code == 70
    assert (refused.code, refused.err.count("\n")) == (2, 1)
    assert "see that its server runs" in refused.err
    finish(desk, Way.RESUME, here(leads, desk))
    assert violations(desk) == []


def test_a_killed_run_holds_nobody_up(leads: Leads, desk: Desk) -> None:
    """Its session dies with it, and so does its lock."""
    ended = desk.interrupted(SLOWLY, 0.3, signal.SIGKILL)
    assert ended.code == -signal.SIGKILL
    wait_until(lambda: here(leads, desk)("resume", "--limit", "0").code != 6)
    finish(desk, Way.RESUME, here(leads, desk))
    assert violations(desk) == []


def test_accounts_are_locked_one_by_one(state: sa.Engine) -> None:
    with lock.held(state, "one", "r1"), lock.held(state, "two", "r2"), lock.beside(state, "one"):
        with pytest.raises(lock.LockedError, match="run r1, process"), lock.held(state, "one", "r3"):
            pass
        with lock.nobody_beside(state, "one") as alone:
            assert not alone
        with lock.nobody_beside(state, "two") as alone:
            assert alone
        with pytest.raises(lock.LockedError, match="nothing was changed"), lock.all_alone(state, "r4"):
            pass
    with lock.all_alone(state, "r5"), pytest.raises(lock.LockedError), lock.held(state, "one", "r6"):
        pass


# --- Its password ---


def test_its_password_is_nowhere(leads: Leads, home: Path, account: Account) -> None:
    """In no file, and in nothing that is said."""
    write(home / "l.csv", f"Phone\n{phone(1)}\n{phone(2)}\n5\n")
    write(home / "m.toml", MAPPING)
    commands = [("load", "l.csv", "-m", "m.toml"), ("check", "l.csv", "-m", "m.toml"), ("config",), ("doctor",)]
    commands += [
        ("show", "--rebuild"),
        ("explain", "latest", "--row", "2"),
        ("resume",),
        ("runs",),
        ("prune", "--older-than", "1d"),
    ]
    told = "".join(result.out + result.err for result in (leads(*command, env=account.env) for command in commands))
    files = b"".join(path.read_bytes() for path in home.rglob("*") if path.is_file())
    for spelling in {PASSWORD, quote(PASSWORD), quote_plus(PASSWORD), quote(PASSWORD, safe="")}:
        assert spelling not in told
        assert spelling.encode() not in files


def test_settings_show_its_address_without_the_password(
    leads: Leads, home: Path, server: Server, database: str
) -> None:
    told = leads("config", "--json").json
    assert "leads:***@127.0.0.1" in json.dumps(told)
    secret = write(home / "url", database + "\n")
    told = leads("config", "--json", env={"LEADS_STATE": "", "LEADS_STATE_FILE": str(secret)}).json
    assert told["state"] == {"value": database.replace(quote(PASSWORD, safe=""), "***"), "from": "LEADS_STATE_FILE"}


@pytest.mark.parametrize("command", [("prune", "--older-than", "1d"), ("runs",), ("config",)])
def test_a_password_on_the_command_line_is_refused(leads: Leads, database: str, command: tuple[str, ...]) -> None:
    """It would be in the shell's history, and in every list of processes."""
    told = leads(*command, "--state", database)
    assert told.code == 2
    assert "LEADS_STATE" in told.err
    assert PASSWORD not in told.err
    assert quote(PASSWORD, safe="") not in told.err


def test_a_password_in_the_settings_file_is_refused(leads: Leads, home: Path, database: str) -> None:
    write(home / "leads.toml", f'state = "{database}"\n')
    told = leads("config", env={"LEADS_STATE": ""})
    assert told.code == 2
    assert told.err.startswith("leads: leads.toml: state")


@pytest.mark.parametrize(
    "url",
    ["postgresql://host/db?password=sesame", "Postgresql://host/db?PassWord=sesame", "mysql://me:ses@me@host/sesame"],
)
def test_a_password_that_can_not_be_told_from_the_rest_is_refused_unseen(leads: Leads, url: str) -> None:
    told = leads("config", env={"LEADS_STATE": url})
    assert told.code == 2
    assert "PGPASSWORD" in told.err
    assert "sesame" not in told.err
    assert "ses@me" not in told.err


def test_a_run_is_told_again_with_the_password_that_is_set_now(
    leads: Leads, home: Path, server: Server, database: str, account: Account
) -> None:
    """A run keeps its database without the password: it comes from LEADS_STATE, or as libpq finds it."""
    write(home / "l.csv", f"Phone\n{phone(1)}\n")
    write(home / "m.toml", MAPPING)
    run_id = leads("load", "l.csv", "-m", "m.toml", "--json", env=account.env).json["run_id"]
    kept = json.loads((home / "runs" / run_id / "manifest.json").read_text())["settings"]["state"]
    assert kept == server.url(database.rpartition("/")[2], password=False)
    for command in (("show", "--rebuild"), ("explain", run_id, "--row", 2), ("resume", run_id)):
        assert leads(*command, env=account.env).code == 0
        assert leads(*command, env=account.env | {"LEADS_STATE": "", "PGPASSWORD": PASSWORD}).code == 0
        lacking = leads(*command, env=account.env | {"LEADS_STATE": ""})
        assert lacking.code == 2
        assert "put its password into LEADS_STATE, PGPASSWORD or ~/.pgpass" in lacking.err


# --- Being looked at, and written anew ---


def test_a_server_without_fsync_is_told(leads: Leads, account: Account) -> None:
    """A power cut there would lose what was sent."""
    told = leads("doctor", "--json", env=account.env)
    assert told.code == 70
    (found,) = (one for one in told.json["checks"] if one["name"] == "state")
    assert "fsync off" in found["message"]


def test_what_was_forgotten_is_in_no_table_of_the_server(
    leads: Leads, home: Path, account: Account, server: Server, database: str
) -> None:
    """Its tables are written anew, as a file is."""
    write(home / "l.csv", f"Phone\n{phone(1)}\n{phone(2)}\n")
    write(home / "m.toml", MAPPING)
    leads("load", "l.csv", "-m", "m.toml", env=account.env)
    held = partial(pages_with, server, database)
    assert held(phone(1))
    assert leads("forget", phone(1), env=account.env).code == 0
    assert not held(phone(1))
    assert held(phone(2))


def pages_with(server: Server, database: str, text: str) -> list[str]:
    """The files of a database that hold a text, once what is in memory is on disk."""
    with contextlib.closing(server.connect()) as connection:
        connection.execute("CHECKPOINT")
        query = "SELECT oid FROM pg_database WHERE datname = %s"
        ((oid,),) = connection.execute(query, [database.rpartition("/")[2]]).fetchall()
    files = (server.folder / "data" / "base" / str(oid)).iterdir()
    return [path.name for path in files if text.encode() in path.read_bytes()]


def test_what_is_old_is_removed_and_its_space_given_back(state: sa.Engine) -> None:
    with writer.opened(state) as own:
        own.commit([begin(row, "") for row in range(5000)])
    size = statedb.size_bytes(state)
    with state.begin() as connection:
        connection.execute(sa.delete(tables.SENDS))
    wait_until(lambda: statedb.free_share(state) > 0.9)
    statedb.compact(state)
    assert statedb.size_bytes(state) < size / 4


def test_tables_that_others_use_are_not_written_anew(state: sa.Engine, server: Server, database: str) -> None:
    """They are waited for, as long as for any lock."""
    impatient = statedb.engine(f"{database}?options=-c%20lock_timeout%3D50ms")
    with state.begin() as other:
        other.execute(sa.select(tables.SENDS.c.row))
        with pytest.raises(statedb.BusyError, match="another process uses it"):
            statedb.compact(impatient)
