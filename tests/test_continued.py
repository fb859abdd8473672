"""Runs that go on: resumed, reconciled, tried again, explained; and what reading back finds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from conftest import (
    BOTH,
    Account,
    Leads,
    RawVendor,
    Result,
    by_day,
    http_reply,
    in_state,
    phone,
    wait_until,
    write,
    write_csv,
)

pytestmark = BOTH

LEADS = Path(sys.executable).with_name("leads")
SIMPLE = """operation = "InsertLead"
[fields]
PrimaryPhone = "Phone"
FirstName = "Name"
Campaign = { value = "Demo" }
DuplicatesCheck = { value = "1" }
"""
QUICK = ("--timeout", "1", "--settle", "0.2", "--max-errors", "100%")


@pytest.fixture
def simple(home: Path) -> Path:
    """A file of ten leads and a mapping for it."""
    write(home / "simple.toml", SIMPLE)
    return write_csv(home / "ten.csv", [["Phone", "Name"], *([phone(i), f"Ada {i}"] for i in range(10))])


def load(leads: Leads, path: Path, account: Account, *args: object) -> Result:
    return leads("load", path, "-m", "simple.toml", *QUICK, "--json", *args, env=account.env)


def go_on(leads: Leads, command: str, account: Account, *args: object) -> Result:
    return leads(command, *args, *QUICK, "--json", env=account.env)


def killed_in_the_middle(path: Path, account: Account, after: int) -> None:
    """A load that is killed once the vendor has seen so many requests."""
    args = [LEADS, "load", path, "-m", "simple.toml", *QUICK, "--concurrency", "1", "--quiet"]
    with subprocess.Popen(args, env={**os.environ, **account.env}) as process:
        wait_until(lambda: account.requests >= after or process.poll() is not None)
        assert process.poll() is None
        process.kill()


# Resuming


def test_a_killed_run_goes_on_in_its_own_folder(
    leads: Leads, home: Path, simple: Path, start_account: Callable[..., Account]
) -> None:
    """What was under way is looked up, the rest is sent; every row is stored once and the report is whole."""
    account = start_account(plan={phone(4): ["slow_reply"]}, slow_seconds=30)
    killed_in_the_middle(simple, account, after=5)
    result = go_on(leads, "resume", account)
    assert result.code == 0
    assert set(result.fates.values()) == {"accepted"}
    assert len(list((home / "runs").iterdir())) == 1
    assert len(account.leads()) == 10
    assert result.by_row[6]["reconciled"] is True
    assert in_state("SELECT count(*) FROM sends WHERE state = 'sending'") == [(0,)]


def test_a_run_that_died_before_anything_was_sent_goes_on(
    leads: Leads, home: Path, simple: Path, account: Account
) -> None:
    """Its parts may not all be there: they are made again, and it is sent as if it had not died."""
    first = load(leads, simple, account)
    folder = first.folder
    for name in ("results.parquet", "summary.json", "run.log.jsonl"):
        (folder / name).unlink()
    for part in (folder / "parts").iterdir():
        part.write_bytes(b"half of it")
    for table in ("sends", "runs"):
        in_state(f"DELETE FROM {table}")
    result = go_on(leads, "resume", account)
    assert result.json["run_id"] == first.json["run_id"]
    assert set(result.fates.values()) == {"accepted"}


@pytest.mark.parametrize(
    ("change", "words"), [("appended", "bytes then"), ("edited", "not the same"), ("gone", "not there")]
)
def test_a_source_that_has_changed_is_refused(
    leads: Leads, simple: Path, account: Account, change: str, words: str
) -> None:
    """Nothing is sent for a file that is not the one that was read; the message says what has changed."""
    first = load(leads, simple, account, "--limit", 3)
    text = simple.read_text()
    if change == "gone":
        simple.unlink()
    else:
        write(simple, text + f"{phone(50)},New\n" if change == "appended" else text.replace("Ada 7", "Eve 7"))
    before = account.requests
    result = go_on(leads, "resume", account)
    assert (result.code, account.requests) == (4, before)
    assert words in result.err
    assert first.code == 1


def test_a_run_goes_on_with_its_own_settings(leads: Leads, home: Path, simple: Path, account: Account) -> None:
    """What was given to the load holds for its resume, unless it is given again; a limit counts what has gone."""
    load(leads, simple, account, "--limit", 4, "--attempts", 2)
    again = go_on(leads, "resume", account)
    assert again.json["counts"] == {"accepted": 4, "not_attempted": 6}
    manifest = json.loads((again.folder / "manifest.json").read_text())
    assert (manifest["settings"]["attempts"], manifest["options"]["limit"]) == ("2", 4)


def test_another_account_is_another_run(leads: Leads, simple: Path, account: Account) -> None:
    """What is set by mistake does not send a list to someone else's account."""
    load(leads, simple, account, "--limit", 3)
    result = leads("resume", "--json", env=account.env | {"DIALEDIN_ACCID": "another"})
    assert result.code == 2
    assert "account sandbox" in result.err
    assert "account another" in result.err


def test_a_journal_that_does_not_know_the_run_is_refused(
    leads: Leads, home: Path, simple: Path, account: Account
) -> None:
    """Without its journal nobody knows what was sent, so nothing is."""
    load(leads, simple, account, "--limit", 3)
    before = account.requests
    result = leads("resume", "--json", "--state", f"sqlite:///{home / 'other.db'}", env=account.env)
    assert (result.code, account.requests) == (2, before)
    assert "knows nothing of run" in result.err


def test_a_finished_run_has_nothing_to_resume(leads: Leads, simple: Path, account: Account) -> None:
    """Its outcomes stay as they are."""
    first = load(leads, simple, account)
    before = account.requests
    second = go_on(leads, "resume", account)
    assert (second.code, account.requests) == (0, before)
    assert second.table.equals(pq.read_table(first.json["report"]))


def test_a_check_is_not_resumed(leads: Leads, simple: Path, account: Account) -> None:
    """It sends nothing: a load does."""
    checked = leads("check", simple, "-m", "simple.toml", "--json")
    result = leads("resume", checked.json["run_id"], env=account.env)
    assert result.code == 2
    assert "leads load" in result.err


DIALING = SIMPLE + '[policy]\ndialing = "immediate"\nsuppress = "none"\n'


@pytest.mark.parametrize("command", ["resume", "retry"])
def test_stale_leads_are_not_dialed(leads: Leads, home: Path, simple: Path, account: Account, command: str) -> None:
    """A list of yesterday is not called today without a word of the operator."""
    write(home / "simple.toml", DIALING)
    load(leads, simple, account, "--max-contacts", 10, "--limit", 4)
    day_ago = by_day().timestamp() - 25 * 3600
    os.utime(simple, (day_ago, day_ago))
    manifest = next((home / "runs").iterdir()) / "manifest.json"
    told = json.loads(manifest.read_text())
    told["sources"][0]["mtime_ns"] = int(day_ago * 1e9)
    manifest.write_text(json.dumps(told))
    only = ("--only", "not_attempted", "--max-contacts", 10) if command == "retry" else ("--max-contacts", 10)
    refused = go_on(leads, command, account, *only)
    assert refused.code == 2
    assert "--stale-ok" in refused.err
    assert len(account.dials()) == 4
    allowed = go_on(leads, command, account, *only, "--stale-ok")
    assert allowed.code == (0 if command == "retry" else 1)


def test_a_number_that_was_suppressed_since_is_not_sent(
    leads: Leads, home: Path, simple: Path, account: Account
) -> None:
    """Suppression is looked at when a row is sent, also on resume."""
    listed = write_csv(home / "dnc.csv", [["Phone"], [phone(99)]])
    write(home / "simple.toml", SIMPLE + '[policy]\nsuppress = "dnc.csv"\n')
    load(leads, simple, account, "--limit", 3)
    write_csv(listed, [["Phone"], [phone(5)]])
    manifest = next((home / "runs").iterdir()) / "manifest.json"
    told = json.loads(manifest.read_text())
    told["options"]["limit"] = None
    manifest.write_text(json.dumps(told))
    result = go_on(leads, "resume", account)
    assert result.fates[7] == "skipped/suppressed"
    assert phone(5) not in account.leads()
    assert len(account.leads()) == 9


# Reconciling


def test_reconcile_settles_what_is_in_doubt_and_nothing_else(
    leads: Leads, simple: Path, start_account: Callable[..., Account]
) -> None:
    """A stored row is found, a lost one is sent again, and what was never attempted stays so."""
    account = start_account(plan={phone(1): ["stored_reset", "http_502"], phone(2): ["reset", "http_502"]})
    first = load(leads, simple, account, "--limit", 5, "--attempts", 1)
    assert first.json["counts"] == {"accepted": 3, "unknown": 2, "not_attempted": 5}
    result = go_on(leads, "reconcile", account)
    assert result.json["counts"] == {"accepted": 5, "not_attempted": 5}
    assert set(account.leads()) == {phone(i) for i in range(5)}
    assert [result.by_row[row]["reconciled"] for row in (3, 4)] == [True, False]
    assert [result.by_row[row]["attempts"] for row in (3, 4)] == [1, 2]


def test_nothing_to_reconcile_before_anything_was_sent(leads: Leads, simple: Path, account: Account) -> None:
    """Such a run is resumed."""
    first = load(leads, simple, account)
    (first.folder / "run.log.jsonl").unlink()
    result = go_on(leads, "reconcile", account)
    assert result.code == 2
    assert "leads resume" in result.err


# Trying again


def test_retry_is_a_new_run_over_the_rows_that_ended_badly(
    leads: Leads, home: Path, simple: Path, account: Account
) -> None:
    """With a corrected mapping; the rows keep their numbers, and the run names its parent."""
    write(home / "wrong.toml", SIMPLE.replace('"Demo"', '"No such campaign"'))
    first = leads("load", simple, "-m", "wrong.toml", *QUICK, "--json", env=account.env)
    assert first.json["counts"] == {"rejected": 10}
    second = go_on(leads, "retry", account, "--only", "rejected", "-m", "simple.toml")
    assert second.fates == dict.fromkeys(range(2, 12), "accepted")
    manifest = json.loads((second.folder / "manifest.json").read_text())
    assert (manifest["command"], manifest["parent"]) == ("retry", first.json["run_id"])


def test_retry_takes_only_the_rows_that_are_named(leads: Leads, simple: Path, account: Account) -> None:
    """The others are read for what they say about repeats, and are not in the new run."""
    rows = [["Phone", "Name"], [phone(1), "Ada"], ["12", "Bob"], [phone(1), "Ada again"], [phone(3), "Eve"]]
    write_csv(simple, rows)
    first = load(leads, simple, account, "--limit", 1)
    assert first.fates == {2: "accepted", 3: "invalid/bad_phone", 4: "skipped/duplicate_in_file", 5: "not_attempted"}
    second = go_on(leads, "retry", account, "--only", "skipped,not_attempted")
    assert second.fates == {4: "skipped/duplicate_in_file", 5: "accepted"}
    assert second.json["rows_read"] == 2


def test_the_mended_rejected_file_goes_again_under_the_same_mapping(leads: Leads, home: Path, account: Account) -> None:
    """Its rows are the new run's."""
    write(home / "simple.toml", SIMPLE)
    path = write_csv(home / "some.csv", [["Phone", "Name"], [phone(1), "Ada"], ["12", "Bob"]])
    first = load(leads, path, account)
    rejected = Path(first.json["rejected"][0])
    mended = write(home / "mended.csv", rejected.read_text(encoding="utf-8-sig").replace("12,Bob", f"{phone(2)},Bob"))
    second = go_on(leads, "retry", account, "--mended", mended)
    assert (second.code, second.fates) == (0, {2: "accepted"})
    assert set(account.leads()) == {phone(1), phone(2)}


def test_a_retry_of_nothing_is_refused(leads: Leads, simple: Path, account: Account) -> None:
    """There is nothing to do, and no run is made of it."""
    load(leads, simple, account)
    result = go_on(leads, "retry", account, "--only", "failed")
    assert result.code == 2
    assert "has no rows that are failed" in result.err
    assert go_on(leads, "retry", account, "--only", "accepted").code == 2


def test_rows_in_doubt_are_looked_up_by_a_retry(
    leads: Leads, simple: Path, start_account: Callable[..., Account]
) -> None:
    """What its parent left in doubt is not sent before someone has looked."""
    account = start_account(plan={phone(1): ["stored_reset", *["http_502"] * 5]})
    first = load(leads, simple, account, "--attempts", 5)
    assert first.json["counts"] == {"accepted": 9, "unknown": 1}
    second = go_on(leads, "retry", account, "--only", "unknown")
    assert second.json["counts"] == {"accepted": 1}
    assert second.rows[0]["reconciled"] is True
    assert len(account.leads()) == 10


# Explaining


def test_explain_tells_a_rows_whole_story(leads: Leads, home: Path, start_account: Callable[..., Account]) -> None:
    """Cells, repairs, payload, every request with its reply, and the end."""
    account = start_account(plan={"2025550142": ["http_429", "stored_reset"]})
    write(home / "simple.toml", SIMPLE)
    path = write_csv(home / "one.csv", [["Phone", "Name"], ["(202) 555-0142", "Ada"]])
    load(leads, path, account)
    told = leads("explain", "--row", 2, "--json").json
    assert told["cells"] == {"Phone": "(202) 555-0142", "Name": "Ada"}
    assert [repair["value"] for repair in told["repairs"]] == ["2025550142"]
    assert told["payload"]["PrimaryPhone"] == "2025550142"
    assert "token" not in told["payload"]
    assert [(r["operation"], r["code"]) for r in told["requests"]] == [
        ("InsertLead", "throttled"),
        ("InsertLead", "connection_reset"),
        ("LeadOperations.SearchLead", "found"),
    ]
    assert told["outcome"]["status"] == "accepted"
    page = leads("explain", "--row", 2).out
    assert all(word in page for word in ("(202) 555-0142", "throttled", "connection_reset", "accepted"))


def test_explain_of_an_invalid_row_and_of_one_that_ended_at_once(leads: Leads, simple: Path, account: Account) -> None:
    """A row that was never sent has no requests; one that ended with its first has one."""
    write_csv(simple, [["Phone", "Name"], [phone(1), "Ada"], ["12", "Bob"]])
    load(leads, simple, account)
    sent, invalid = (leads("explain", "--row", n, "--json").json for n in (2, 3))
    assert [r["code"] for r in sent["requests"]] == ["ok"]
    assert (invalid["requests"], invalid["problems"][0]["rule"]) == ([], "bad_phone")
    missing = leads("explain", "--row", 9)
    assert missing.code == 2
    assert "no such row" in missing.err


# Near-duplicates


def test_a_file_that_was_mostly_loaded_is_announced(leads: Leads, simple: Path, account: Account) -> None:
    """The note names the run, and the rows are skipped; in another campaign they are sent, and that is said, too."""
    first = load(leads, simple, account)
    write(simple, simple.read_text() + f"{phone(20)},New\n")
    second = load(leads, simple, account)
    assert f"91% of these rows were loaded in run {first.json['run_id']}" in " ".join(second.json["notes"])
    assert second.json["counts"] == {"accepted": 1, "skipped": 10}
    write(simple.with_name("simple.toml"), SIMPLE.replace('"Demo"', '"Spring Renewals"'))
    third = load(leads, simple, account)
    assert "another campaign" in " ".join(third.json["notes"])
    assert third.json["counts"] == {"accepted": 11}


# Reading back


def test_a_false_ok_is_found_by_reading_back(leads: Leads, simple: Path, start_account: Callable[..., Account]) -> None:
    """The vendor said OK and stored nothing: the row is failed, known not to be there, and can go again."""
    account = start_account(plan={phone(3): ["false_ok"]})
    result = load(leads, simple, account, "--verify", "100%")
    assert result.code == 1
    assert result.fates[5] == "failed/false_ok"
    assert result.json["read_back"] == {"matches": 9, "missing": 1}
    again = go_on(leads, "retry", account, "--only", "failed")
    assert again.fates == {5: "accepted"}
    assert len(account.leads()) == 10


def test_what_is_stored_differently_is_told(leads: Leads, home: Path, start_account: Callable[..., Account]) -> None:
    """A custom field that the campaign does not have vanishes without a word: reading back finds it."""
    account = start_account(custom_fields={"Demo": ("Policy Number",)})
    write(home / "simple.toml", SIMPLE + '"adv_No Such Field" = "Name"\n')
    path = write_csv(home / "one.csv", [["Phone", "Name"], [phone(1), "Ada"]])
    result = load(leads, path, account, "--verify", "1")
    assert result.code == 1
    assert result.fates == {2: "accepted/stored_differently"}
    assert "adv_No__Such__Field (dropped)" in result.by_row[2]["message"]


def test_the_canary_stops_a_load_that_does_not_arrive(
    leads: Leads, simple: Path, start_account: Callable[..., Account]
) -> None:
    """The first rows are read back before the others go; here they are not there, so nothing follows."""
    account = start_account(plan={phone(i): ["false_ok"] for i in range(10)})
    result = load(leads, simple, account, "--canary", 2)
    assert result.code == 3
    assert result.json["counts"] == {"failed": 2, "not_attempted": 8}
    assert "canary" in result.json["halted"]


def test_a_canary_that_lives_lets_the_others_follow(leads: Leads, simple: Path, account: Account) -> None:
    """All rows are sent once."""
    result = load(leads, simple, account, "--canary", 2)
    assert (result.code, result.json["counts"]) == (0, {"accepted": 10})
    assert account.see("state")["stored_twice"] == 0


@pytest.mark.parametrize("option", ["--verify", "--canary"])
def test_what_no_search_finds_is_not_read_back(leads: Leads, home: Path, account: Account, option: str) -> None:
    """An update is not looked up by what it sets."""
    write(
        home / "u.toml",
        'operation = "UpdateLead"\n[fields]\nSearchField = { value = "ClientId" }\nIdentifier = "Id"\nCity = "City"\n',
    )
    path = write_csv(home / "u.csv", [["Id", "City"], ["1", "Oslo"]])
    result = leads("load", path, "-m", "u.toml", option, 1, env=account.env)
    assert result.code == 2
    assert option in result.err


# Halving


def test_throttling_halves_the_calls_under_way(leads: Leads, home: Path, raw_vendor: Callable[..., RawVendor]) -> None:
    """A vendor that says "slow down" is heard: all rows arrive nevertheless."""
    seen: dict[str, int] = {}

    def answer(form: dict[str, str]) -> bytes:
        number = form["PrimaryPhone"]
        seen[number] = seen.get(number, 0) + 1
        if seen[number] == 1:
            return http_reply("slow down", "429 Too Many Requests", "Retry-After: 0\r\n")
        return http_reply("<br><br>Result:  OK")

    write(home / "simple.toml", SIMPLE)
    path = write_csv(home / "some.csv", [["Phone", "Name"], *([phone(i), "Ada"] for i in range(30))])
    result = leads("load", path, "-m", "simple.toml", "--json", env=raw_vendor(answer).env)
    assert (result.code, result.json["counts"]) == (0, {"accepted": 30})


# What a hostile operator found


def test_reconcile_of_a_canary_run_sends_nothing_but_doubts(
    leads: Leads, simple: Path, start_account: Callable[..., Account]
) -> None:
    """The rest of the list waits for a resume, whatever the load was to do next."""
    account = start_account(plan={phone(1): ["reset", "http_502", "none"]})
    first = load(leads, simple, account, "--canary", 2, "--attempts", 1)
    assert first.json["counts"] == {"accepted": 1, "unknown": 1, "not_attempted": 8}
    result = go_on(leads, "reconcile", account)
    assert result.json["counts"] == {"accepted": 2, "not_attempted": 8}
    assert len(account.leads()) == 2
    rest = go_on(leads, "resume", account)
    assert rest.json["counts"] == {"accepted": 10}


UPDATE = """operation = "UpdateLead"
[fields]
SearchField = { value = "ClientId" }
Identifier = "Id"
FirstName = "Name"
"""


def test_a_retry_that_goes_on_overwrites_nothing_newer(leads: Leads, home: Path, account: Account) -> None:
    """Its rows are as old as those of the run that it follows, also after it was interrupted."""
    account.insert(phone(1), ClientId="C-1")
    account.insert(phone(2), ClientId="C-2")
    write(home / "u.toml", UPDATE)
    old = write_csv(home / "old.csv", [["Id", "Name"], ["C-1", "old"], ["C-2", "old"]])
    new = write_csv(home / "new.csv", [["Id", "Name"], ["C-1", "new"], ["C-2", "new"]])
    first = leads("load", old, "-m", "u.toml", "--limit", 0, "--json", env=account.env)
    leads("load", new, "-m", "u.toml", "--json", env=account.env)
    retried = go_on(leads, "retry", account, first.json["run_id"], "--only", "not_attempted")
    assert set(retried.fates.values()) == {"skipped/superseded"}
    in_state(f"DELETE FROM held WHERE run_id = '{retried.json['run_id']}'")  # as if it had not come to them
    again = go_on(leads, "resume", account)
    assert set(again.fates.values()) == {"skipped/superseded"}
    assert {lead["FirstName"] for lead in account.leads().values()} == {"new"}


@pytest.mark.parametrize("way", ["retry", "load"])
def test_a_mended_row_is_another_one_where_duplicates_are_kept(
    leads: Leads, home: Path, account: Account, way: str
) -> None:
    """Its neighbour with the same phone was delivered: that says nothing about it."""
    mapping = SIMPLE.replace('FirstName = "Name"', 'FirstName = "Name"\nZipCode = "Zip"')
    write(home / "simple.toml", mapping + '[policy]\nduplicates_in_file = "keep"\n')
    path = write_csv(home / "k.csv", [["Phone", "Name", "Zip"], [phone(1), "Ann", "94107"], [phone(1), "Bob", "XX"]])
    first = load(leads, path, account)
    assert first.fates == {2: "accepted", 3: "invalid/bad_zip"}
    rejected = Path(first.json["rejected"][0])
    mended = write(home / "mended.csv", rejected.read_text(encoding="utf-8-sig").replace("XX", "94107"))
    second = go_on(leads, "retry", account, "--mended", mended) if way == "retry" else load(leads, mended, account)
    assert set(second.fates.values()) == {"accepted"}
    assert account.see("state")["leads"] == 2
    assert set(load(leads, mended, account).fates.values()) == {"skipped/already_loaded"}


def test_searches_that_were_killed_go_on(leads: Leads, home: Path, account: Account) -> None:
    """They take no lock, so nobody else gives up on them; a resume of theirs does."""
    account.insert(phone(1), ClientId="C-1")
    write(
        home / "s.toml",
        'operation = "LeadOperations.SearchLead"\n[fields]\nSearchField = { value = "ClientId" }\nIdentifier = "Id"\n',
    )
    path = write_csv(home / "s.csv", [["Id"], ["C-1"], ["C-2"]])
    first = leads("load", path, "-m", "s.toml", "--json", env=account.env)
    in_state("UPDATE sends SET state = 'sending', status = NULL WHERE row = 2")
    result = go_on(leads, "resume", account)
    assert (result.code, set(result.fates.values())) == (0, {"accepted/found", "accepted/not_found"})
    assert first.json["run_id"] == result.json["run_id"]


def test_explain_asks_the_journal_of_the_run(leads: Leads, home: Path, simple: Path, account: Account) -> None:
    """Another database would say that nothing was ever sent."""
    first = load(leads, simple, account)
    told = leads("explain", first.json["run_id"], "--row", 2, "--state", f"sqlite:///{home / 'other.db'}")
    assert told.code == 2
    assert "knows nothing of run" in told.err


def test_a_lead_that_is_not_there_is_no_proof_where_sending_again_may_ring(
    leads: Leads, home: Path, simple: Path, start_account: Callable[..., Account]
) -> None:
    """The same bet as after a doubt: it is not offered to a retry."""
    account = start_account(plan={phone(3): ["false_ok"]})
    write(home / "simple.toml", DIALING)
    result = load(leads, simple, account, "--max-contacts", 10, "--verify", "100%")
    assert (result.code, result.fates[5]) == (5, "unknown/false_ok")


def test_again_does_not_send_what_is_in_doubt(
    leads: Leads, simple: Path, start_account: Callable[..., Account]
) -> None:
    """It overrides the skip of what was delivered, and no doubt."""
    account = start_account(plan={phone(1): ["stored_reset", *["http_502"] * 5]})
    assert load(leads, simple, account).json["counts"] == {"accepted": 9, "unknown": 1}
    again = load(leads, simple, account, "--again")
    assert again.fates[3] == "unknown/in_doubt_elsewhere"
    assert len([lead for lead in account.see("leads") if lead["PrimaryPhone"] == phone(1)]) == 1


@pytest.mark.parametrize("streams", ["| true", ">&-", "2>/dev/full", "2>&-"])
def test_whoever_does_not_listen_changes_nothing(simple: Path, account: Account, streams: str) -> None:
    """A pipe that is gone, a full disk under the log, a closed stream: the load goes on, and its code is true."""
    script = f"set -o pipefail; {LEADS} load {simple} -m simple.toml {streams}; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", script], env={**os.environ, **account.env}, capture_output=True, check=False)
    assert done.returncode == 0
    assert len(account.leads()) == 10


def test_a_damaged_summary_hides_nothing(leads: Leads, simple: Path, account: Account) -> None:
    """The run is listed, and its summary is made again."""
    first = load(leads, simple, account)
    (first.folder / "summary.json").write_text("{")
    assert first.json["run_id"] in leads("runs").out
    broken = leads("show")
    assert broken.code == 70
    assert "--rebuild" in broken.err
    assert leads("show", "--rebuild", "--json").json["counts"] == {"accepted": 10}


def test_a_damaged_part_is_named_as_such(leads: Leads, simple: Path, account: Account) -> None:
    """It is no fault of the program."""
    first = load(leads, simple, account, "--limit", 3)
    next((first.folder / "parts").iterdir()).write_bytes(b"PAR1 no more PAR1")
    result = go_on(leads, "resume", account)
    assert result.code == 70
    assert "damaged" in result.err
