"""A person is removed everywhere, everybody else stays as they are, and no later load contacts that phone."""

from __future__ import annotations

import json
import shutil
import sqlite3
import zipfile
from collections.abc import Callable, Mapping
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import BOTH, Account, Leads, Result, in_state, phone, state_now, write, write_csv, write_xlsx
from hypothesis import given, settings
from hypothesis import strategies as st
from test_people import spellings

from pipeline import forget, lock, rejected, statedb, suppress
from pipeline.model import Status, UserError
from pipeline.report import PART

ADA, BEN, CLEO, DORA = phone(0), phone(1), phone(2), phone(3)
COLUMNS = ["Phone", "Name", "Notes"]
PEOPLE = [
    COLUMNS,
    [BEN, "Ben", "R&B = 100%"],
    ["(202) 555-0100", "Adamarlow", "likes tea"],
    [CLEO, "Cleo", "wife of +1 202\u2011555\u20110100, call her"],
    ["555-0103", "Dora", ""],
    ["202 555 0100", "Adamarlow", "again"],
    [phone(4), "Eve", "after 17:00"],
]
ADAS = (3, 4, 6)  # rows that hold her phone
INSERT = """operation = "InsertLead"
[fields]
PrimaryPhone = "Phone"
FirstName = "Name"
Notes = "Notes"
Campaign = { value = "Demo" }
"""
SEARCH = """operation = "LeadOperations.SearchLead"
unmapped = "ignore"
[fields]
SearchField = { value = "Phone" }
Identifier = "Phone"
Detailed = { value = "1" }
"""


@pytest.fixture
def listed(home: Path) -> Path:
    write(home / "insert.toml", INSERT)
    write(home / "search.toml", SEARCH)
    return write_csv(home / "people.csv", PEOPLE)


@pytest.fixture
def loaded(leads: Leads, account: Account, listed: Path) -> Result:
    return leads("load", listed, "-m", "insert.toml", "--json", env=account.env)


def contents(path: Path) -> str:
    """All that a file holds, unpacked."""
    if path.suffix == ".parquet":
        file = pq.ParquetFile(path)
        return repr(file.read().to_pylist()) + repr(file.metadata.to_dict())
    if path.suffix == ".xlsx":
        with zipfile.ZipFile(path) as parts:
            return "".join(parts.read(name).decode() for name in parts.namelist())
    return ""


def traces(home: Path, *words: str) -> list[str]:
    """Files of ours that hold one of the words, as they are on disk or unpacked."""
    found = [*(home / "runs").rglob("*"), *home.glob("state.db*")]
    return [
        f"{word} in {path}"
        for path in found
        for word in words
        if path.is_file() and (word.encode() in path.read_bytes() or word in contents(path))
    ]


def rows_of(run: Path) -> list[dict[str, Any]]:
    return pq.read_table(run / "results.parquet").to_pylist()


def snapshot(home: Path) -> dict[str, bytes]:
    files = [*(home / "runs").rglob("*"), home / "state.db"]
    return {str(path): path.read_bytes() for path in files if path.is_file()}


# What goes


@BOTH
def test_nothing_of_a_person_is_left(leads: Leads, home: Path, account: Account, loaded: Result) -> None:
    """Neither phone nor name is in any file of any run, or in the state database, whatever the run did with them."""
    rows = [["Phone", "Name", "Notes"], ["202.555.0100", "Adamarlow", "x" * 40], ["202555010", "Zoe", f"or {ADA}"]]
    write(home / "short.toml", INSERT + "[lengths]\nNotes = 10\n")
    for name in (write_xlsx(home / "book.xlsx", rows), write_csv(home / "bad.csv", rows)):
        assert leads("load", name, "-m", "short.toml", "--json", env=account.env).code == 1
    leads("check", home / "people.csv", "-m", "insert.toml")
    account.insert(ADA, FirstName="Adamarlow")
    found = leads("load", home / "people.csv", "-m", "search.toml", "--json", env=account.env)
    assert "Adamarlow" in repr(found.rows)
    assert len(traces(home, ADA, "Adamarlow")) > 10

    done = leads("forget", "+1 202 555 0100")

    assert (done.code, done.err) == (0, "")
    assert traces(home, ADA, "Adamarlow", "likes tea", "wife of") == []
    assert len(list((home / "runs").iterdir())) == 5


def test_everybody_else_stays_as_they_are(leads: Leads, home: Path, loaded: Result) -> None:
    """The rows without the phone are in the parts, the report, the rejected file and the database as before."""
    before = {path: pq.read_table(path).to_pylist() for path in loaded.folder.rglob("*.parquet")}
    sends = "SELECT * FROM sends WHERE row NOT IN (3, 4, 6) ORDER BY row"
    known = in_state(sends)
    mended = (loaded.folder / "rejected.csv").read_bytes()
    leads("forget", ADA)
    for path, rows in before.items():
        now = pq.read_table(path)
        assert now.schema.equals(pq.read_schema(path), check_metadata=True)
        assert [row for row in now.to_pylist() if row["row"] not in ADAS] == [r for r in rows if r["row"] not in ADAS]
        assert [row["row"] for row in now.to_pylist()] == [row["row"] for row in rows]
    assert in_state(sends) == known != []
    assert (loaded.folder / "rejected.csv").read_bytes() == mended


def test_rows_keep_their_status_and_the_report_adds_up(leads: Leads, loaded: Result) -> None:
    """What was sent keeps its outcome, and what was not is skipped; `show --rebuild` says the same."""
    assert loaded.fates == {
        2: "accepted",
        3: "accepted",
        4: "accepted",
        5: "invalid/bad_phone",
        6: "skipped/duplicate_in_file",
        7: "accepted",
    }
    leads("forget", ADA)
    edited = leads("show", loaded.json["run_id"], "--json")
    rows = rows_of(loaded.folder)
    assert {row["row"]: row["status"] for row in rows} == {row["row"]: row["status"] for row in loaded.rows}
    assert [row["row"] for row in rows if row["code"] == "forgotten"] == list(ADAS)
    assert edited.json["codes"] == {"accepted/forgotten": 2, "accepted/ok": 2} | {
        "invalid/bad_phone": 1,
        "skipped/forgotten": 1,
    }
    again = leads("show", loaded.json["run_id"], "--rebuild", "--json")
    assert rows_of(loaded.folder) == rows
    assert again.json == edited.json


@pytest.mark.parametrize("status", [s.value for s in Status if s not in (Status.VALID, Status.INVALID)])
def test_the_report_made_again_says_the_same(leads: Leads, home: Path, loaded: Result, status: str) -> None:
    """However a row that was to be sent had ended."""
    in_state(f"UPDATE sends SET status = '{status}', code = 'why', lead_id = '7' WHERE row = 3")
    leads("show", "--rebuild")
    leads("forget", ADA)
    rows = rows_of(loaded.folder)
    expected = "skipped" if status == "not_attempted" else status
    assert [(row["status"], row["code"]) for row in rows if row["row"] == 3] == [(expected, "forgotten")]
    leads("show", "--rebuild")
    assert rows_of(loaded.folder) == rows


def test_so_it_does_of_rows_that_were_held_back(leads: Leads, account: Account, listed: Path, loaded: Result) -> None:
    """They were not sent, and are told not to be known any more."""
    again = leads("load", listed, "-m", "insert.toml", "--json", env=account.env)
    assert again.fates[3] == "skipped/already_loaded"
    leads("forget", ADA)
    rows = rows_of(again.folder)
    assert {row["row"]: row["code"] for row in rows if row["row"] in ADAS} == dict.fromkeys(ADAS, "forgotten")
    leads("show", again.json["run_id"], "--rebuild")
    assert rows_of(again.folder) == rows


def test_a_report_without_parts_is_emptied_as_well(leads: Leads, home: Path, loaded: Result) -> None:
    """Somebody may have removed them to save space."""
    shutil.rmtree(loaded.folder / "parts")
    leads("forget", ADA)
    assert traces(home, ADA) == []
    assert [row["code"] for row in rows_of(loaded.folder) if row["row"] == 3] == ["forgotten"]


def test_a_row_that_was_refused_has_nothing_to_mend(leads: Leads, home: Path, account: Account) -> None:
    """It goes from the rejected file; so does the file where it was the only one, also when it is made again."""
    account.forbid(ADA)
    write(home / "insert.toml", INSERT)
    path = write_csv(home / "one.csv", [COLUMNS, [ADA, "Ada", ""]])
    run = leads("load", path, "-m", "insert.toml", "--json", env=account.env)
    assert run.fates == {2: "rejected/dnc"}
    assert leads("forget", ADA).code == 0
    for args in ((), ("--rebuild",)):
        shown = leads("show", *args, "--json").json
        assert (shown["counts"], shown["codes"], shown["rejected"]) == ({"rejected": 1}, {"rejected/forgotten": 1}, [])
        assert not list(run.folder.glob("rejected*"))
    assert "mend" not in leads("show").out


def test_explain_shows_nothing_of_the_person(leads: Leads, loaded: Result) -> None:
    told = leads("explain", "latest", "--row", 3, "--json")
    assert ADA in told.out
    leads("forget", ADA)
    told = leads("explain", "latest", "--row", 3, "--json")
    assert (told.json["cells"], told.json["payload"]) == (dict.fromkeys(COLUMNS, ""), None)
    assert told.json["outcome"]["status"] == "accepted"
    assert ADA not in told.out


def test_what_a_dead_process_left_goes(leads: Leads, home: Path, loaded: Result) -> None:
    """Spools, files that were half written, and those of a run that died before it had read its files."""
    unbegun = home / "runs" / "20260102T030405Z-people-0123abcd"
    for folder in (loaded.folder, unbegun):
        write(folder / "spool" / "sheet-x.arrow", ADA)
        write(folder / ".results.parquet.tmp", ADA)
        write(folder / "parts" / ".000-000001.parquet.tmp", ADA)
    leads("forget", ADA)
    assert traces(home, ADA) == []
    assert not unbegun.exists()


@BOTH
def test_what_the_vendor_said_of_the_person_goes_from_the_rows_of_others(
    leads: Leads, home: Path, account: Account
) -> None:
    """A search by name found her: its answer goes, and the row, which does not hold her phone, stays."""
    account.insert(ADA, FirstName="Ada", LastName="Marlow", ClientId="A-1")
    write(home / "name.toml", SEARCH.replace('"Phone"', '"ClientId"', 1).replace('= "Phone"', '= "Id"'))
    path = write_csv(home / "ids.csv", [["Id"], ["A-1"], ["A-2"]])
    run = leads("load", path, "-m", "name.toml", "--json", env=account.env)
    assert "Marlow" in run.by_row[2]["result"]
    leads("forget", ADA)
    assert traces(home, ADA, "Marlow") == []
    told = rows_of(run.folder)
    assert [(row["status"], row["code"]) for row in told] == [("accepted", "found"), ("accepted", "not_found")]
    leads("show", run.json["run_id"], "--rebuild")
    assert rows_of(run.folder) == told


@BOTH
def test_requests_go_with_the_row_and_elsewhere_with_what_they_say(leads: Leads, home: Path, loaded: Result) -> None:
    """Every request of the person's rows; of a row of somebody else only the reply that names the phone."""
    said = [(3, "OK"), (7, f"there is +1 {ADA} with that id"), (7, "OK")]
    for number, (row, reply) in enumerate(said, 1):
        values = f"'{loaded.json['run_id']}', 0, {row}, {number}, 'InsertLead', 0, 'ok', '{reply}'"
        columns = "run_id, source, row, number, operation, sent_at, code, reply"
        in_state(f"INSERT INTO requests ({columns}) VALUES ({values})")
    leads("forget", ADA)
    assert in_state("SELECT row, reply FROM requests ORDER BY number") == [(7, None), (7, "OK")]


# What stays


@BOTH
def test_a_later_load_does_not_contact_the_phone(leads: Leads, home: Path, account: Account, loaded: Result) -> None:
    """In whatever spelling it comes; a search is no contact."""
    leads("forget", ADA)
    before = account.requests
    path = write_csv(home / "new.csv", [COLUMNS, ["1-202-555-0100", "Ada", ""]])
    again = leads("load", path, "-m", "insert.toml", "--again", "--json", env=account.env)
    assert again.fates == {2: "skipped/suppressed"}
    assert account.requests == before
    found = leads("load", path, "-m", "search.toml", "--json", env=account.env)
    assert found.fates == {2: "accepted/found"}
    told = leads("forget", ADA, "--json").json
    assert (told["state_rows"], told["accepted"]) == (1, 0)


@BOTH
def test_the_mark_does_not_show_the_phone(leads: Leads, home: Path, loaded: Result) -> None:
    """It is a hash under a key that each database makes for itself."""
    leads("forget", ADA)
    ((key,),) = in_state("SELECT key FROM marks_key")
    assert len(key) == 32
    assert in_state("SELECT hash FROM forgotten") == [(statedb.hashed(ADA, key),)]
    leads("forget", BEN)
    assert in_state("SELECT key FROM marks_key") == [(key,)]
    assert len(in_state("SELECT hash FROM forgotten")) == 2


def test_the_ledger_still_knows_the_lead_of_somebody_who_names_the_phone(
    leads: Leads, account: Account, listed: Path, loaded: Result
) -> None:
    """Cleo is not called twice because her notes named Ada."""
    leads("forget", ADA)
    again = leads("load", listed, "-m", "insert.toml", "--json", env=account.env)
    assert again.fates == {
        2: "skipped/already_loaded",
        3: "skipped/suppressed",
        4: "skipped/already_loaded",
        5: "invalid/bad_phone",
        6: "skipped/duplicate_in_file",
        7: "skipped/already_loaded",
    }


def test_a_client_id_that_is_the_phone_goes_and_the_key_stays(leads: Leads, home: Path, account: Account) -> None:
    """The lead is another person's, with the forgotten phone as its id: the ledger knows that it was delivered."""
    write(home / "id.toml", INSERT + 'ClientId = "Id"\n')
    path = write_csv(home / "ids.csv", [[*COLUMNS, "Id"], [BEN, "Ben", "", ADA]])
    assert leads("load", path, "-m", "id.toml", "--json", env=account.env).fates == {2: "accepted"}
    leads("forget", ADA)
    assert traces(home, ADA) == []
    again = leads("load", path, "-m", "id.toml", "--json", env=account.env)
    assert again.fates == {2: "skipped/already_loaded"}


def test_sums_are_as_before_where_the_phone_is_unknown(leads: Leads, home: Path, loaded: Result) -> None:
    """Nothing of any run is written anew for somebody who is in none."""
    before = {path: path.stat().st_ino for path in loaded.folder.rglob("*")}
    done = leads("forget", DORA, "--json")
    assert (done.json["runs"], done.json["state_rows"]) == ({}, 0)
    assert {path: path.stat().st_ino for path in loaded.folder.rglob("*")} == before


# Runs that go on


@BOTH
def test_resume_does_not_send_to_whom_was_forgotten(leads: Leads, home: Path, account: Account, listed: Path) -> None:
    """A run that was refused goes on with everybody else."""
    wrong = account.env | {"DIALEDIN_TOKEN": "wrong"}
    halted = leads("load", listed, "-m", "insert.toml", "--concurrency", 1, "--json", env=wrong)
    assert halted.code == 77
    leads("forget", ADA)
    resumed = leads("resume", "--json", env=account.env)
    assert resumed.json["run_id"] == halted.json["run_id"]
    assert ADA not in account.leads()
    assert phone(4) in account.leads()
    assert {row["row"]: row["code"] for row in resumed.rows if row["row"] in ADAS} == dict.fromkeys(ADAS, "forgotten")
    assert traces(home, ADA) == []


def test_a_run_that_has_not_begun_to_send_is_still_seen_as_such(
    leads: Leads, home: Path, account: Account, loaded: Result
) -> None:
    """Its log begins with sending; resume reads the list again, and the mark holds the row back."""
    for name in ("run.log.jsonl", "summary.json", "results.parquet"):
        (loaded.folder / name).unlink()
    in_state("DELETE FROM sends")
    in_state("DELETE FROM runs")
    leads("forget", ADA)
    assert traces(home, ADA) == []
    assert not (loaded.folder / "run.log.jsonl").exists()
    assert leads("resume", "--json", env=account.env).fates[3] == "skipped/suppressed"


def test_retry_leaves_out_whom_was_forgotten(leads: Leads, account: Account, listed: Path) -> None:
    """Rows without values are not tried again."""
    wrong = account.env | {"DIALEDIN_TOKEN": "wrong"}
    failed = leads("load", listed, "-m", "insert.toml", "--concurrency", 1, "--json", env=wrong)
    assert {"failed", "not_attempted", "invalid"} <= set(failed.json["counts"])
    leads("forget", ADA)
    retried = leads("retry", "--only", "failed,not_attempted,invalid,skipped", "--json", env=account.env)
    assert sorted(retried.by_row) == [2, 5, 7]


def test_resume_reads_back_nobody_who_was_forgotten(leads: Leads, account: Account, listed: Path) -> None:
    """Of an accepted row without values there is nothing to compare."""
    first = leads("load", listed, "-m", "insert.toml", "--verify", "100%", "--json", env=account.env)
    assert first.json["read_back"] == {"matches": 4}
    leads("forget", ADA)
    assert leads("resume", "--json", env=account.env).json["read_back"] == {"matches": 2}


@pytest.mark.parametrize("claim", ["phone", "identifier"])
def test_a_row_that_was_under_way_claims_nothing_any_more(
    leads: Leads, home: Path, account: Account, loaded: Result, claim: str
) -> None:
    """Its run died; the row stays in doubt, and neither resume nor reconcile touches it."""
    named = {"phone": ADA, "identifier": f"Phone:{ADA}"}
    values = ", ".join(f"{name} = '{named[name] if name == claim else ''}'" for name in named)
    dying = f"UPDATE sends SET state = 'sending', status = NULL, code = NULL, settled_at = NULL, {values} WHERE row = 3"
    in_state(dying)
    for name in ("results.parquet", "summary.json"):
        (loaded.folder / name).unlink()
    told = leads("forget", ADA, "--json").json
    assert (told["in_doubt"], told["state_rows"]) == (1, 1)
    assert in_state("SELECT state, status, code, phone, identifier, row_key FROM sends WHERE row = 3") == [
        ("settled", "unknown", "forgotten", "", "", "")
    ]
    before = account.requests
    resumed = leads("resume", "--json", env=account.env)
    assert resumed.fates[3] == "unknown/forgotten"
    assert account.requests == before
    assert "reconcile" not in leads("show").out
    assert "no row is in doubt" in leads("doctor", env=account.env).out


@BOTH
def test_runs_that_are_sending_are_not_disturbed(leads: Leads, home: Path, loaded: Result) -> None:
    """While any account is being sent to: exit code 6, nothing changed, no mark."""
    before = snapshot(home)
    with lock.held(state_now(), "another@http://127.0.0.1/", "20260102T030405Z-x-0123abcd"):
        refused = leads("forget", ADA)
    assert refused.code == 6
    assert "nothing was changed: try again later" in refused.err
    assert snapshot(home) == before
    assert leads("forget", ADA).code == 0


@BOTH
def test_searches_and_calls_are_not_disturbed_either(leads: Leads, home: Path, loaded: Result) -> None:
    """They take no lock, and go on beside a run."""
    before = snapshot(home)
    with lock.beside(state_now(), "another@http://127.0.0.1/"):
        refused = leads("forget", ADA)
    assert refused.code == 6
    assert "a search or a call by hand is under way; nothing was changed" in refused.err
    assert snapshot(home) == before
    assert leads("forget", ADA).code == 0


def test_a_call_is_forgotten_like_a_row(leads: Leads, home: Path, account: Account) -> None:
    """No file of the user's has held it."""
    called = leads("call", "InsertLead", f"PrimaryPhone={ADA}", "Campaign=Demo", "FirstName=Adamarlow", env=account.env)
    assert called.code == 0
    told = leads("forget", ADA, "--json").json
    assert (sum(told["runs"].values()), told["accepted"], told["sources"], told["still_in"]) == (1, 1, [], [])
    assert traces(home, ADA, "Adamarlow") == []


# Once more


@BOTH
def test_forgetting_again_changes_nothing(leads: Leads, home: Path, loaded: Result) -> None:
    """And finds nothing."""
    first = leads("forget", ADA, "--json").json
    assert (first["runs"], first["state_rows"], first["accepted"]) == ({loaded.json["run_id"]: 3}, 1, 1)
    before = snapshot(home)
    second = leads("forget", ADA, "--json").json
    assert (second["runs"], second["state_rows"], second["sources"]) == ({}, 0, [])
    assert {name: content for name, content in snapshot(home).items() if "/runs/" in name} == {
        name: content for name, content in before.items() if "/runs/" in name
    }


@pytest.mark.parametrize("undone", [["results.parquet", "rejected.csv", "state.db"], ["rejected.csv"], ["state.db"]])
def test_after_a_crash_the_rest_goes(leads: Leads, home: Path, loaded: Result, undone: list[str]) -> None:
    """The parts go first, so that whoever starts again knows which rows they were."""
    paths = [home / name if name == "state.db" else loaded.folder / name for name in undone]
    rejected = loaded.folder / "rejected.csv"
    rejected.write_bytes(rejected.read_bytes() + b"their,Adamarlow,mate,4,invalid,why\r\n")
    for path in paths:
        shutil.copy(path, home / f"{path.name}.before")
    leads("forget", ADA)
    for path in paths:
        shutil.move(home / f"{path.name}.before", path)
    assert traces(home, "Adamarlow" if undone == ["rejected.csv"] else ADA)
    leads("forget", ADA)
    assert traces(home, ADA, "Adamarlow") == []
    rows = rows_of(loaded.folder)
    leads("show", "--rebuild")
    assert rows_of(loaded.folder) == rows


@BOTH
def test_a_dry_run_changes_nothing(leads: Leads, home: Path, loaded: Result) -> None:
    """It says what would go."""
    before = snapshot(home)
    told = leads("forget", ADA, "--dry-run", "--json").json
    assert (told["runs"], told["state_rows"], told["dry_run"]) == ({loaded.json["run_id"]: 3}, 1, True)
    assert "would be forgotten in 3 rows" in leads("forget", ADA, "--dry-run").out
    assert snapshot(home) == before


# What is said


def test_the_output_names_what_is_not_touched(leads: Leads, account: Account, listed: Path, loaded: Result) -> None:
    """The user's own files, and the dialer; the phone is there as its user wrote it, and in no log."""
    out = leads("forget", "(202) 555-0100").out
    assert f"not touched: {listed}, your own file" in out
    assert "the dialer took 1 of these rows" in out
    assert "(202) 555-0100: forgotten in 3 rows of 1 runs" in out
    assert ADA not in out
    log = (loaded.folder / "run.log.jsonl").read_text()
    assert json.loads(log.splitlines()[-1])["rows"] == 3
    assert "555-0100" not in log
    assert ADA not in log
    assert listed.read_text().count("0100") == 3
    assert ADA in account.leads()


def test_a_phone_in_a_mapping_is_pointed_at(leads: Leads, home: Path) -> None:
    """The manifest keeps the mapping's text: that is not ours to change."""
    write(home / "constant.toml", INSERT.replace('"Notes"', f'{{ value = "ask {ADA}" }}') + "\n")
    path = write_csv(home / "list.csv", [["Phone", "Name"], [BEN, "Ben"]])
    run = leads("check", path, "-m", "constant.toml", "--json")
    told = leads("forget", ADA, "--json").json
    assert told["still_in"] == [str(run.folder / "manifest.json")]
    assert "still in" in leads("forget", ADA).out


def test_a_run_with_another_journal_is_named(leads: Leads, home: Path, loaded: Result) -> None:
    """Its folder is emptied; its journal has to be named."""
    other = f"sqlite:///{home / 'other.db'}"
    told = leads("forget", ADA, "--state", other, "--json").json
    assert told["elsewhere"] == [loaded.json["run_id"]]
    assert in_state(f"SELECT count(*) FROM sends WHERE phone = '{ADA}'") == [(1,)]
    assert leads("forget", ADA, "--json").json["state_rows"] == 1
    assert traces(home, ADA, "Adamarlow") == []


@pytest.mark.parametrize(
    ("given_phone", "words"),
    [
        ("555-0100", "The area code is missing"),
        ("", "A US phone has 10 digits, this has 0"),
        ("Ada", "letters"),
        ("800-555-0100", "toll-free"),
        ("202-555-0100 x5", "extension"),
        ("+44 20 7946 0958", "outside the US"),
    ],
)
def test_what_is_no_phone_is_refused(leads: Leads, home: Path, given_phone: str, words: str) -> None:
    """Nothing is guessed, and nothing removed."""
    refused = leads("forget", given_phone)
    assert refused.code == 2
    assert words in refused.err
    assert not (home / "state.db").exists()


def test_phones_of_every_region_can_be_forgotten() -> None:
    """A mapping may allow them."""
    assert forget.phone_of("(416) 555-0100") == "4165550100"


# The rejected file


def drop(path: Path, *delimiters: str) -> None:
    """Takes Ada's records out, and those of row 4."""
    rejected.drop(path, delimiters, partial(forget._is_theirs, ADA, {"4"}))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252", "utf-16", "utf-16-le"])
@pytest.mark.parametrize("mark", [",", ";", "^"])
def test_a_mended_file_keeps_what_its_user_wrote(tmp_path: Path, encoding: str, mark: str) -> None:
    """Byte by byte, in whatever form it was saved, but for the records that go."""
    head = mark.join(["Phone", "Name", "_row", "_status", "_problems"])
    kept = [mark.join(['"a\nb"', "José", "2", "invalid", '"x""y"']), mark.join(["4", "x", "5", "rejected", ""])]
    gone = [mark.join(["202-555-0100", "A", "3", "invalid", ""]), mark.join(["", "B", "4", "invalid", '"two\nlines"'])]
    path = tmp_path / "rejected.csv"
    path.write_bytes("\r\n".join([head, kept[0], *gone, kept[1], ""]).encode(encoding))
    drop(path, mark)
    assert path.read_bytes() == "\r\n".join([head, *kept, ""]).encode(encoding)


def test_a_mended_workbook_keeps_what_its_user_wrote(tmp_path: Path) -> None:
    """Every other row is there, in order."""
    kept = [["Phone", "_row", "_status", "_problems"], ["4", "2", "invalid", None], [BEN, "5", "rejected", "x"]]
    gone = [[2025550100, "3", "invalid", None], ["?", "4", "invalid", "x"]]
    path = write_xlsx(tmp_path / "rejected.xlsx", [*kept[:2], *gone, kept[2]])  # type: ignore[list-item]
    drop(path)
    page = openpyxl.load_workbook(path).active
    assert [list(row) for row in page.iter_rows(values_only=True)] == kept
    drop(write_xlsx(tmp_path / "rejected.xlsx", [kept[0], *gone]))  # type: ignore[list-item]
    assert not path.exists()


@pytest.mark.parametrize("name", ["rejected.xlsx", "rejected.csv"])
def test_a_rejected_file_that_is_none_any_more_is_named(tmp_path: Path, name: str) -> None:
    """Whoever has put it there has to look."""
    path = write(tmp_path / name, b"\xff\xfe1")
    with pytest.raises(UserError, match="can't be read"):
        drop(path)


def test_each_source_has_its_own_rejected_file(leads: Leads, home: Path) -> None:
    """Row 2 of the one is not row 2 of the other."""
    write(home / "insert.toml", INSERT)
    first = write_csv(home / "a.csv", [COLUMNS, ["555-0100", "Ann", f"or {ADA}"]])
    second = write_csv(home / "b.csv", [COLUMNS, ["555-0100", "Bea", ""], ["555-0101", "Bob", ""]])
    run = leads("check", first, second, "-m", "insert.toml", "--json")
    assert [Path(name).name for name in run.json["rejected"]] == ["rejected-1.csv", "rejected-2.csv"]
    leads("forget", ADA)
    assert [path.name for path in run.folder.glob("rejected*")] == ["rejected-2.csv"]
    assert (run.folder / "rejected-2.csv").read_text().count("invalid") == 2
    assert [Path(name).name for name in leads("show", run.json["run_id"], "--json").json["rejected"]] == [
        "rejected-2.csv"
    ]


# The state database


def test_a_database_without_marks_gets_their_tables(leads: Leads, home: Path, loaded: Result) -> None:
    """It was made before there were any."""
    for table in ("forgotten", "marks_key"):
        in_state(f"DROP TABLE {table}")
    assert leads("forget", ADA).code == 0
    assert len(in_state("SELECT * FROM forgotten")) == 1


def test_writing_the_database_anew_keeps_the_order_of_what_was_sent(home: Path, loaded: Result) -> None:
    """The ledger goes by row ids."""
    in_state("DELETE FROM sends WHERE row = 3")
    before = in_state("SELECT rowid, row FROM sends ORDER BY rowid")
    statedb.compact(statedb.engine(f"sqlite:///{home / 'state.db'}"))
    assert in_state("SELECT rowid, row FROM sends ORDER BY rowid") == before
    assert [rowid for rowid, _ in before] != list(range(1, len(before) + 1))


def test_a_database_in_use_is_told(leads: Leads, home: Path, loaded: Result) -> None:
    """Its log still holds what was removed: exit code 6, and to be done again."""
    with closing(sqlite3.connect(home / "state.db")) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM sends").fetchone()
        told = leads("forget", ADA)
    assert told.code == 6
    assert "do this again" in told.err
    assert leads("forget", ADA).code == 0
    assert traces(home, ADA) == []


# Tables, whatever they hold

TEXTS = st.one_of(st.none(), st.text(max_size=8), st.just(BEN), st.just("20255501001"))
PROBLEM = {"field": "Notes", "rule": "too_long", "message": "x"}
REPAIR = {"field": "Notes", "rule": "trimmed", "lossless": True, "value": "x"}
HIDING_PLACES: Mapping[str, Callable[[str], dict[str, Any]]] = {
    "cell": lambda text: {"cell_1": text},
    "ragged": lambda text: {"ragged": ["x", text]},
    "client_id": lambda text: {"client_id": text},
    "message": lambda text: {"message": text},
    "problem": lambda text: {"problems": [PROBLEM | {"value": text}]},
    "repair": lambda text: {"repairs": [REPAIR | {"raw": "y"}, REPAIR | {"raw": text}]},
    "payload": lambda text: {"payload": "Notes=" + quote_plus(text)},
}


@st.composite
def parts(draw: st.DrawFn) -> tuple[pa.Table, str]:
    """A part whose first row holds a phone somewhere, in some spelling, and its second does not; and the phone."""
    spelled = draw(spellings().filter(lambda text: len(suppress.numbers_in(text)) == 1))
    (number,) = suppress.numbers_in(spelled)
    rows: list[dict[str, Any]] = [_part_row(draw, 2), _part_row(draw, 3)]
    hidden = draw(st.sampled_from(["{}", "call {} now", "{}; other"])).format(spelled)
    rows[0] |= HIDING_PLACES[draw(st.sampled_from(sorted(HIDING_PLACES)))](hidden)
    schema = PART.append(pa.field("cell_0", pa.string())).append(pa.field("cell_1", pa.string()))
    return pa.Table.from_pylist(rows, schema=schema), number


def _part_row(draw: st.DrawFn, row: int) -> dict[str, Any]:
    texts = {name: draw(TEXTS) for name in ("cell_0", "cell_1", "message", "client_id")}
    return {"row": row, "status": draw(st.sampled_from(["valid", "invalid", "skipped"])), "problems": [], **texts}


@settings(max_examples=200)
@given(parts())
def test_whatever_is_spelled_however_and_wherever_is_found_and_goes(found: tuple[pa.Table, str]) -> None:
    """And no other row does."""
    table, number = found
    theirs = forget.holding(table, number)
    assert theirs.tolist() == [True, False] or number == BEN
    after = forget.emptied(table, theirs)
    after.validate(full=True)
    assert after.schema.equals(table.schema, check_metadata=True)
    assert not forget.holding(after, number).any()
    if not theirs[1]:
        assert after.slice(1).equals(table.slice(1))
    empty = after.to_pylist()[0]
    assert {name for name, value in empty.items() if value} == {"row", "status", "code"}
    assert (empty["row"], empty["status"], empty["code"]) == (2, "skipped", "forgotten")
