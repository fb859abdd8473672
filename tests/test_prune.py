"""Old runs go, folder and ledger alike; what is in doubt, under way or young stays whole."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from conftest import BOTH, Account, Leads, Result, by_day, in_state, phone, state_now, write, write_csv
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import folder, journal, lock, prune, records, statedb, tables
from pipeline.delivery import micros
from pipeline.folder import RunFolder

INSERT = """operation = "InsertLead"
[fields]
PrimaryPhone = "Phone"
Campaign = { value = "Demo" }
"""
NOW = by_day()


@pytest.fixture
def listed(home: Path) -> Path:
    write(home / "insert.toml", INSERT)
    return write_csv(home / "list.csv", [["Phone"], [phone(0)], [phone(1)]])


@pytest.fixture
def loaded(leads: Leads, account: Account, listed: Path) -> Result:
    """A load that began 100 days ago."""
    return aged(load(leads, account, listed), days=100)


def load(leads: Leads, account: Account, path: Path, *args: str) -> Result:
    result = leads("load", path, "-m", "insert.toml", "--json", *args, env=account.env)
    assert result.code == 0
    return result


def aged(result: Result, days: float) -> Result:
    """The run, as if it had begun so many days ago."""
    began = NOW - timedelta(days=days)
    manifest = result.folder / "manifest.json"
    told = json.loads(manifest.read_text())
    manifest.write_text(json.dumps(told | {"started_at": began.isoformat()}))
    with state_now().begin() as connection:
        this = tables.RUNS.c.run_id == result.json["run_id"]
        connection.execute(tables.RUNS.update().values(began_at=micros(began)).where(this))
    return result


def rows_in(home: Path) -> dict[str, int]:
    return {name: in_state(f"SELECT count(*) FROM {name}")[0][0] for name in ("sends", "held", "requests", "runs")}


NONE_LEFT = {"sends": 0, "held": 0, "requests": 0, "runs": 0}


@pytest.mark.parametrize(
    ("text", "hours"), [("36h", 36), ("90d", 90 * 24), ("12w", 12 * 7 * 24), ("1h", 1), ("99999w", 99999 * 7 * 24)]
)
def test_ages(text: str, hours: int) -> None:
    assert prune.age(text) == timedelta(hours=hours)


@pytest.mark.parametrize("text", ["", "90", "0d", "-1d", "1.5d", "90 d", "90D", "3m", "100000d", "d", "٣d"])
def test_what_is_no_age_is_refused(leads: Leads, text: str) -> None:
    refused = leads("prune", f"--older-than={text}")
    assert refused.code == 2
    assert "such as 36h, 90d or 12w" in refused.err


def test_an_age_must_be_given(leads: Leads) -> None:
    """What is old is never guessed."""
    refused = leads("prune")
    assert refused.code == 2
    assert "--older-than" in refused.err


@BOTH
def test_an_old_run_goes_and_a_young_one_stays(leads: Leads, home: Path, account: Account, loaded: Result) -> None:
    """The folder, and all that the state database knows of it."""
    path = write_csv(home / "new.csv", [["Phone"], [phone(0)], [phone(2)]])
    young = aged(load(leads, account, path), days=89)
    assert young.fates == {2: "skipped/already_loaded", 3: "accepted"}
    size = sum(path.stat().st_size for path in loaded.folder.rglob("*") if path.is_file())
    told = leads("prune", "--older-than", "90d", "--json").json
    assert (told["runs"], told["rows"], told["kept"]) == ([loaded.json["run_id"]], 2, [])
    assert told["bytes"] >= size
    assert [run.run_id for run in folder.all_runs(home / "runs")] == [young.json["run_id"]]
    assert rows_in(home) == {"sends": 1, "held": 1, "requests": 0, "runs": 1}
    assert leads("show", young.json["run_id"], "--rebuild", "--json").json["counts"] == young.json["counts"]


def test_what_was_pruned_would_be_sent_again(leads: Leads, account: Account, listed: Path, loaded: Result) -> None:
    """As the output says, and the help."""
    known = load(leads, account, listed)
    assert known.json["counts"] == {"skipped": 2}
    assert "loaded again, are sent again" in leads("prune", "--older-than", "90d").out
    again = load(leads, account, listed)
    assert again.json["counts"] == {"duplicate": 2}
    assert "would be sent again" in " ".join(leads("prune", "--help").out.split())


def test_a_check_goes_as_well(leads: Leads, home: Path, listed: Path) -> None:
    """It holds as many people's data as a load."""
    checked = leads("check", listed, "-m", "insert.toml", "--json")
    aged(checked, days=100)
    assert leads("prune", "--older-than", "90d", "--json").json["runs"] == [checked.json["run_id"]]
    assert list((home / "runs").iterdir()) == []


@BOTH
def test_rows_go_where_the_folder_has_gone(leads: Leads, home: Path, loaded: Result) -> None:
    """By the time at which the run began to send."""
    RunFolder(loaded.folder).remove()
    assert rows_in(home) == {"sends": 2, "held": 0, "requests": 0, "runs": 1}
    told = leads("prune", "--older-than", "90d", "--json").json
    assert (told["runs"], told["rows"]) == ([loaded.json["run_id"]], 2)
    assert rows_in(home) == NONE_LEFT


def test_folders_that_never_became_a_run_go_by_their_names(leads: Leads, home: Path) -> None:
    """With what was spooled there; other folders are nobody's business of ours."""
    dead, young, other = (home / "runs" / name for name in (
        "20200102T030405Z-list-0123abcd", f"{NOW:%Y%m%dT%H%M%SZ}-list-0123abcd", "20200102T030405Z-list",
    ))  # fmt: skip
    for path in (dead, young, other):
        write(path / "spool" / "sheet.arrow", "5" * 1000)
    told = leads("prune", "--older-than", "1h", "--json").json
    assert (told["runs"], told["bytes"]) == ([dead.name], 1000)
    assert [path.exists() for path in (dead, young, other)] == [False, True, True]


@BOTH
@pytest.mark.parametrize(
    "doubt",
    [
        "UPDATE sends SET status = 'unknown', code = 'read_timeout' WHERE row = 2",
        "UPDATE sends SET state = 'sending', status = NULL, code = NULL WHERE row = 2",
        "INSERT INTO held SELECT run_id, 0, 9, 'unknown', 'in_doubt_elsewhere', '', 0 FROM runs",
    ],
)
def test_a_run_in_doubt_stays_and_the_next_step_is_named(leads: Leads, home: Path, loaded: Result, doubt: str) -> None:
    """Its rows may be in the dialer, and only its folder says what they were; --in-doubt removes it all the same."""
    in_state(doubt)
    before = rows_in(home)
    run_id = loaded.json["run_id"]
    told = leads("prune", "--older-than", "90d", "--json").json
    assert (told["runs"], told["rows"]) == ([], 0)
    assert told["kept"] == [{"run_id": run_id, "why": "1 rows in doubt", "next": f"leads reconcile {run_id}"}]
    assert rows_in(home) == before
    assert loaded.folder.exists()
    assert f"next: leads reconcile {run_id}" in leads("prune", "--older-than", "90d").out
    assert leads("prune", "--older-than", "90d", "--in-doubt", "--json").json["runs"] == [run_id]
    assert rows_in(home) == NONE_LEFT


@pytest.mark.parametrize(
    "settled",
    [
        "UPDATE sends SET status = 'unknown', code = 'forgotten', row_key = '' WHERE row = 2",
        "INSERT INTO held SELECT run_id, source, row, 'skipped', 'superseded', '', 0 FROM sends",
    ],
)
def test_what_can_not_be_settled_any_more_keeps_no_run(leads: Leads, home: Path, loaded: Result, settled: str) -> None:
    """A doubt about someone who was forgotten, and one that was overtaken."""
    in_state("UPDATE sends SET status = 'unknown', code = 'read_timeout' WHERE row = 2")
    in_state("DELETE FROM sends WHERE row = 3")
    in_state(settled)
    assert leads("prune", "--older-than", "90d", "--json").json["runs"] == [loaded.json["run_id"]]


@BOTH
@pytest.mark.parametrize("args", [(), ("--in-doubt",)])
def test_runs_of_an_account_that_is_being_sent_to_stay(
    leads: Leads, home: Path, account: Account, loaded: Result, args: tuple[str, ...]
) -> None:
    """One of them may be what is sent; the runs of other accounts go."""
    other = leads("check", home / "list.csv", "-m", "insert.toml", "--json", env={"DIALEDIN_ACCID": "other"})
    aged(other, days=100)
    scope = json.loads((loaded.folder / "manifest.json").read_text())["scope"]
    with lock.held(state_now(), scope, loaded.json["run_id"]):
        told = leads("prune", "--older-than", "90d", "--json", *args)
    assert told.code == 0
    assert told.json["runs"] == [other.json["run_id"]]
    ((kept),) = told.json["kept"]
    assert kept["run_id"] == loaded.json["run_id"]
    assert re.match(r"this account is being sent to by run \S+, process \d+", kept["why"])
    assert loaded.folder.exists()
    assert rows_in(home)["sends"] == 2


@BOTH
def test_while_a_search_is_under_way_the_runs_of_its_account_stay(leads: Leads, home: Path, loaded: Result) -> None:
    """It takes no lock, and may have begun long ago."""
    scope = json.loads((loaded.folder / "manifest.json").read_text())["scope"]
    with lock.beside(state_now(), scope):
        told = leads("prune", "--older-than", "90d", "--json").json
    assert (told["runs"], [kept["why"] for kept in told["kept"]]) == ([], ["a search or a call by hand is under way"])
    assert leads("prune", "--older-than", "90d", "--json").json["runs"] == [loaded.json["run_id"]]


def test_a_run_with_another_journal_stays(leads: Leads, home: Path, loaded: Result) -> None:
    """Whether its rows are in doubt is written there."""
    told = leads("prune", "--older-than", "90d", "--state", f"sqlite:///{home / 'other.db'}", "--json").json
    assert told["runs"] == []
    ((kept),) = told["kept"]
    assert kept["next"] == f"leads prune --state sqlite:///{home / 'state.db'}, or --in-doubt"
    assert loaded.folder.exists()


def test_a_dry_run_changes_nothing(leads: Leads, home: Path, loaded: Result) -> None:
    """It says what would go."""
    size = sum(path.stat().st_size for path in loaded.folder.rglob("*") if path.is_file())
    told = leads("prune", "--older-than", "90d", "--dry-run", "--json").json
    expected = {"dry_run": True, "runs": [loaded.json["run_id"]], "rows": 2, "bytes": size, "kept": []}
    assert told == expected
    out = leads("prune", "--older-than", "90d", "--dry-run").out
    assert f"old       {loaded.json['run_id']}" in out
    assert "would be removed: 1 runs, 2 rows" in out
    assert loaded.folder.exists()
    assert rows_in(home)["sends"] == 2


@BOTH
def test_who_was_forgotten_stays_so(leads: Leads, account: Account, listed: Path, loaded: Result) -> None:
    """The marks belong to no run."""
    leads("forget", phone(0))
    leads("prune", "--older-than", "90d")
    assert load(leads, account, listed).fates == {2: "skipped/suppressed", 3: "duplicate/duplicate_phone"}


def test_a_folder_that_can_not_be_removed_is_named(
    leads: Leads, home: Path, monkeypatch: pytest.MonkeyPatch, loaded: Result
) -> None:
    """In one line; it is no run any more, and what the ledger knows of it goes the next time."""

    def refused(path: Path, **_: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", refused)
        told = leads("prune", "--older-than", "90d")
    assert told.code == 70
    assert f"{loaded.folder}: can't be removed: Permission denied" in told.err
    assert folder.all_runs(home / "runs") == []
    assert rows_in(home)["sends"] == 2
    leads("prune", "--older-than", "90d")
    assert rows_in(home) == NONE_LEFT


# The state database

URL = "https://api.example.test/"


def begun(state: Any, run_id: str, account: str, days: float, rows: int) -> None:
    """A run that began so many days ago, with settled rows."""
    records.begin_run(state, journal.Scope(run_id, account, "InsertLead"), micros(NOW - timedelta(days=days)))
    claim = {"row_key": "k", "phone": "", "identifier": "", "payload_sha256": "d" * 64}
    settled = {"state": "settled", "status": "accepted", "code": "ok", "attempts": 1, "reconciled": False}
    of_run = {"run_id": run_id, "source": 0, "account": account, "operation": "InsertLead"}
    with state.begin() as connection:
        if rows:
            values = [of_run | claim | settled | {"row": row} for row in range(rows)]
            connection.execute(tables.SENDS.insert(), values)


@pytest.mark.parametrize("rows", [prune.ROWS_AT_ONCE, prune.ROWS_AT_ONCE + 1])
def test_space_is_given_back(tmp_path: Path, rows: int) -> None:
    """Where much of the database was old, its file shrinks; what stays is whole."""
    state = statedb.engine(f"sqlite:///{tmp_path / 'state.db'}")
    begun(state, "old", "a", 100, rows)
    begun(state, "new", "a", 1, 10)
    size = statedb.size_bytes(state)
    told = prune.prune(tmp_path / "runs", state, NOW - timedelta(days=90))
    assert (told.runs, told.rows) == (["old"], rows)
    assert told.bytes == size - statedb.size_bytes(state) > 0.9 * size
    assert [records.count_accepted(state, run_id) for run_id in ("old", "new")] == [0, 10]


def test_while_somebody_sends_the_space_is_kept_for_later(tmp_path: Path) -> None:
    """To write the database anew would keep the other waiting."""
    state = statedb.engine(f"sqlite:///{tmp_path / 'state.db'}")
    begun(state, "old", "a", 100, 5000)
    with lock.held(state, "b", "20260102T030405Z-x-0123abcd"):
        told = prune.prune(tmp_path / "runs", state, NOW - timedelta(days=90))
    assert (told.runs, told.bytes) == (["old"], 0)
    assert statedb.free_share(state) > prune.FREE_SHARE


def test_what_is_sent_after_a_prune_is_newer_than_the_runs_that_stay(tmp_path: Path) -> None:
    """Row ids are given out again, and must not look older than they are."""
    state = statedb.engine(f"sqlite:///{tmp_path / 'state.db'}")
    begun(state, "old", "a", 100, 50)
    begun(state, "stays", "a", 1, 0)
    prune.prune(tmp_path / "runs", state, NOW - timedelta(days=90))
    begun(state, "later", "a", 0, 1)
    as_of = records.as_of(state, "stays")
    assert as_of is not None
    assert [entry.order > as_of for entry in records.entries(state, None, ["k"])["k"]] == [True]


@dataclass(frozen=True)
class Made:
    """A run that is made for a test."""

    days: int
    in_doubt: bool
    has_folder: bool
    rows: int

    def make(self, runs: Path, state: Any, run_id: str) -> None:
        begun(state, run_id, "a", self.days, self.rows)
        if self.in_doubt:
            with state.begin() as connection:
                connection.execute(
                    tables.SENDS.update().values(status="unknown").where(tables.SENDS.c.run_id == run_id)
                )
        if self.has_folder:
            (runs / run_id).mkdir(parents=True)
            began = (NOW - timedelta(days=self.days)).isoformat()
            manifest = {"started_at": began, "scope": "a", "command": "load", "settings": {"state": str(state.url)}}
            write(runs / run_id / "manifest.json", json.dumps(manifest))
            write(runs / run_id / "run.log.jsonl", "{}\n")

    def goes(self, in_doubt: bool) -> bool:
        return self.days > 90 and (in_doubt or not (self.in_doubt and self.rows))


MADE = st.builds(Made, st.sampled_from([1, 89, 91, 400]), st.booleans(), st.booleans(), st.integers(0, 3))


@settings(max_examples=40)
@given(st.lists(MADE, max_size=6), st.booleans())
def test_exactly_what_is_old_and_settled_goes(made: list[Made], in_doubt: bool) -> None:
    """From the folders and from every table; of the others every row stays."""
    with tempfile.TemporaryDirectory() as name:
        runs, state = Path(name) / "runs", statedb.engine(f"sqlite:///{name}/state.db")
        runs.mkdir()
        by_id = {f"20260102T03040{at}Z-list-0123abcd": one for at, one in enumerate(made)}
        for run_id, one in by_id.items():
            one.make(runs, state, run_id)
        told = prune.prune(runs, state, NOW - timedelta(days=90), in_doubt=in_doubt)
        stays = {run_id: one for run_id, one in by_id.items() if not one.goes(in_doubt)}
        assert sorted(told.runs) == sorted(set(by_id) - set(stays))
        assert sorted(kept.run_id for kept in told.kept) == sorted(r for r, one in stays.items() if one.days > 90)
        assert {path.name for path in runs.iterdir()} == {r for r, one in stays.items() if one.has_folder}
        with state.connect() as connection:
            counted = dict(connection.exec_driver_sql("SELECT run_id, count(*) FROM sends GROUP BY run_id").all())
        assert counted == {run_id: one.rows for run_id, one in stays.items() if one.rows}
        assert {run_id for run_id in by_id if records.knows(state, run_id)} == set(stays)
