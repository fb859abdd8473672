"""No wrong call: suppress files, numbers that we have put on do-not-call, and calling hours, in whole runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import openpyxl
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
    settled,
    write,
    write_csv,
)

LEADS = Path(sys.executable).with_name("leads")
QUICK = ("--settle", "0.05", "--timeout", "2")
INSERT = """operation = "InsertLead"
unmapped = "ignore"
[fields]
PrimaryPhone = "Phone"
ZipCode = "Zip"
Campaign = { value = "Demo" }
"""
DIALED = INSERT + '[policy]\nsuppress = "none"\ndialing = "immediate"\n'
OK = http_reply("<br><br>Result:  OK")
EAST, WEST = "2025550100", "4155550100"
NEW_YORK = ZoneInfo("America/New_York")


Now = Callable[[], datetime]


def aged(path: Path, days: float, now: Now = by_day) -> None:
    then = (now() - timedelta(days=days)).timestamp()
    os.utime(path, (then, then))


def eastern(hour: int, minute: int = 0, day: int = 2) -> Now:
    """A clock that stands still, at this time in New York; 2 January 2030 is a Wednesday."""
    moment = datetime(2030, 1, day, hour, minute, tzinfo=NEW_YORK).astimezone(UTC)
    return lambda: moment


@pytest.fixture
def load(leads: Leads, home: Path) -> Callable[..., Result]:
    """Loads phones, each with a ZIP if it is a pair."""

    def run(
        mapping: str, *phones: str | tuple[str, str], env: dict[str, str], args: Any = (), now: Now = by_day
    ) -> Result:
        rows = [one if isinstance(one, tuple) else (one, "") for one in phones]
        write(home / "list.toml", mapping)
        aged(write_csv(home / "list.csv", [("Phone", "Zip"), *rows]), 0, now)
        return leads("load", "list.csv", "-m", "list.toml", "--json", *QUICK, *args, env=env, now=now)

    return run


Load = Callable[..., Result]
StartVendor = Callable[[Callable[[dict[str, str]], bytes]], RawVendor]


def call(leads: Leads, account: Account | RawVendor, operation: str, *fields: str, **given: Any) -> Result:
    return leads("call", operation, *fields, "--yes", "--json", *QUICK, env=account.env, **given)


# --- Suppress files ---


def suppressing(files: str) -> str:
    return INSERT + f"[policy]\nsuppress = {files}\n"


def test_several_files_and_globs_are_one_list(load: Load, home: Path, account: Account) -> None:
    """Beside the mapping, each file once, with or without a header; the manifest names them with their counts."""
    write(home / "dnc/2029.csv", f"number\n{phone(0)}\n")
    write(home / "dnc/2030.txt", f"{phone(1)}\n{phone(2)}\n")
    write_csv(home / "state.csv", [["who", "phone"], ["Ada", "(202) 555-0103"]])
    result = load(suppressing('["dnc/*", "state.csv", "dnc/2029.csv"]'), *map(phone, range(5)), env=account.env)
    assert result.fates == {**dict.fromkeys(range(2, 6), "skipped/suppressed"), 6: "accepted"}
    told = json.loads((result.folder / "manifest.json").read_text())["suppress"]
    assert [(Path(file["path"]).name, file["numbers"]) for file in told] == [
        ("2029.csv", 1),
        ("2030.txt", 2),
        ("state.csv", 1),
    ]
    assert all(len(file["sha256"]) == 64 and file["mtime"] for file in told)
    assert sum("are not contacted" in note for note in result.json["notes"]) == 3


def test_every_sheet_of_a_workbook_counts(load: Load, home: Path, account: Account) -> None:
    """Whoever stands on a hidden sheet has asked as well."""
    book = openpyxl.Workbook()
    book.active.append([phone(0)])
    for title, cells in (("Old", ["Ada", phone(1)]), ("Nothing", [])):
        sheet = book.create_sheet(title)
        sheet.sheet_state = "hidden"
        sheet.append(cells)
    book.save(home / "dnc.xlsx")
    settled(home / "dnc.xlsx")
    result = load(suppressing('"dnc.xlsx"'), *map(phone, range(3)), env=account.env)
    assert result.fates == {2: "skipped/suppressed", 3: "skipped/suppressed", 4: "accepted"}


def test_a_file_that_protects_nobody_stops_the_run(load: Load, home: Path, account: Account) -> None:
    """One of several without a number, one that is missing, a glob that matches nothing."""
    write(home / "dnc/a.csv", f"{phone(0)}\n")
    write(home / "dnc/b.csv", "number\nnobody yet\n")
    for files, words in (('"dnc/*.csv"', "b.csv"), ('["dnc/a.csv", "c.csv"]', "c.csv"), ('"dcn/*.csv"', "no file")):
        result = load(suppressing(files), phone(1), env=account.env)
        assert (result.code, account.requests) == (4, 0)
        assert words in result.err


def test_each_file_must_be_fresh(load: Load, leads: Leads, home: Path, account: Account) -> None:
    """Too old, and nothing is sent: the message says which, how old, and what to do. A check says so, too."""
    mapping = suppressing('["new.csv", "old.csv"]') + "suppress_max_age_days = 30\n"
    for name, days in (("new.csv", 1), ("old.csv", 31)):
        aged(write(home / name, f"{phone(0)}\n"), days)
    refused = load(mapping, phone(1), env=account.env)
    assert (refused.code, account.requests) == (4, 0)
    assert "more than 31 days ago, and suppress_max_age_days = 30" in refused.err
    assert leads("check", "list.csv", "-m", "list.toml").code == 4
    aged(home / "old.csv", 29.9)
    assert load(mapping, phone(1), env=account.env).fates == {2: "accepted"}


def test_a_file_of_tomorrow_has_no_age(load: Load, home: Path, account: Account) -> None:
    """By a clock that went wrong it would be fresh for ever. A few hours are nobody's fault."""
    mapping = suppressing('"dnc.csv"') + "suppress_max_age_days = 30\n"
    aged(write(home / "dnc.csv", f"{phone(9)}\n"), -2)
    refused = load(mapping, phone(0), env=account.env)
    assert (refused.code, account.requests) == (4, 0)
    assert "yet to come" in refused.err
    aged(home / "dnc.csv", -0.5)
    assert load(mapping, phone(0), env=account.env).fates == {2: "accepted"}


def test_the_age_is_looked_at_again_when_a_run_goes_on(load: Load, leads: Leads, home: Path, account: Account) -> None:
    """What was fresh when the load began may not be by the time of its resume."""
    aged(write(home / "dnc.csv", f"{phone(9)}\n"), 1)
    mapping = suppressing('"dnc.csv"') + "suppress_max_age_days = 2\n"
    load(mapping, phone(0), phone(1), env=account.env, args=("--limit", 1))
    later = leads("resume", env=account.env, now=lambda: by_day() + timedelta(days=2))
    assert (later.code, account.requests) == (4, 1)
    assert "dnc.csv" in later.err


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        ("suppress = []", "names no file"),
        ('suppress = ""', "names no file"),
        ("suppress_max_age_days = 3", "none is named"),
        ('suppress = "none"\nsuppress_max_age_days = 3', "none is named"),
        ('suppress = "dnc.csv"\nsuppress_max_age_days = 0', "suppress_max_age_days"),
        ('calling_hours = "7:00-22:00"', "no wider"),
        ('calling_hours = "vendor"', "timezone-checked"),
        ('calling_hours = "vendor"\ndialing = "immediate"', "timezone-checked"),
    ],
)
def test_a_policy_that_can_not_be(load: Load, account: Account, policy: str, words: str) -> None:
    """The key is named, and nothing is sent."""
    result = load(f"{INSERT}[policy]\n{policy}\n", phone(0), env=account.env)
    assert (result.code, account.requests) == (2, 0)
    assert words in result.err


# --- Numbers that we have put on do-not-call ---


@BOTH
def test_a_number_put_on_do_not_call_is_suppressed_at_once(load: Load, leads: Leads, account: Account) -> None:
    """Without any suppress file, and where nobody would be dialed, too; a search still finds it."""
    assert call(leads, account, "LeadOperations.InsertDnc", f"Number={phone(0)}").code == 0
    assert load(INSERT, phone(0), phone(1), env=account.env).fates == {2: "skipped/suppressed", 3: "accepted"}
    found = call(leads, account, "LeadOperations.SearchLead", "SearchField=Phone", f"Identifier={phone(0)}")
    assert found.json["code"] == "not_found"


def test_a_file_of_do_not_call_numbers_counts_as_well(load: Load, leads: Leads, home: Path, account: Account) -> None:
    """Each of its rows; others may be loaded."""
    dnc = 'operation = "LeadOperations.InsertDnc"\nunmapped = "ignore"\n[fields]\nNumber = "Phone"\n'
    assert load(dnc, *map(phone, range(3)), env=account.env).code == 0
    result = load(INSERT, *map(phone, range(4)), env=account.env)
    assert result.fates == {**dict.fromkeys((2, 3, 4), "skipped/suppressed"), 5: "accepted"}


def test_a_step_that_puts_a_number_on_do_not_call_counts_as_well(load: Load, account: Account) -> None:
    """It follows one load, and holds for the next; so it does for what is loaded again on purpose."""
    assert load(INSERT, phone(0), env=account.env).fates == {2: "accepted"}
    step = f'[[after]]\noperation = "LeadOperations.InsertDnc"\nfields = {{ Number = "{phone(0)}" }}\n'
    assert load(INSERT + step, phone(1), env=account.env).json["after"][0]["status"] == "accepted"
    assert load(INSERT, phone(0), env=account.env, args=("--again",)).fates == {2: "skipped/suppressed"}


@pytest.mark.parametrize("command", [("reconcile",), ("resume",), ("retry", "--only", "unknown")])
def test_a_doubt_is_not_sent_again_to_whom_nobody_may_call(
    load: Load, leads: Leads, raw_vendor: StartVendor, command: tuple[str, ...]
) -> None:
    """It is looked up, and not found; the number was put on do-not-call since."""
    replies = {"InsertDnc": OK, "SearchLead": http_reply("no such page", "500 Internal Server Error")}
    vendor = raw_vendor(lambda form: replies.get(form.get("Action", ""), b""))
    assert load(INSERT, phone(0), env=vendor.env, args=("--attempts", 1)).fates[2].startswith("unknown")
    call(leads, vendor, "LeadOperations.InsertDnc", f"Number={phone(0)}")
    replies["SearchLead"] = http_reply('{"Leads":[]}')
    leads(*command, "--json", *QUICK, env=vendor.env)
    assert sum("PrimaryPhone" in form for form in vendor.forms) == 1


def test_it_counts_though_nobody_knows_whether_it_has_arrived(
    load: Load, leads: Leads, start_account: Callable[..., Account]
) -> None:
    """From the moment it was about to be sent."""
    account = start_account(plan={phone(0): ["reset"] * 9})
    assert call(leads, account, "LeadOperations.InsertDnc", f"Number={phone(0)}", "--attempts=1").code == 5
    assert load(INSERT, phone(0), env=account.env).fates == {2: "skipped/suppressed"}


@BOTH
def test_who_is_taken_off_may_be_loaded_again(load: Load, leads: Leads, home: Path, account: Account) -> None:
    """Once the vendor has accepted that; a suppress file holds on to its own."""
    for name in ("InsertDnc", "DeleteDnc"):
        ended = call(leads, account, f"LeadOperations.{name}", f"Number={phone(0)}")
        assert (ended.code, ended.json["status"]) == (0, "accepted")
    write(home / "dnc.csv", f"{phone(0)}\n")
    assert load(suppressing('"dnc.csv"'), phone(0), env=account.env).fates == {2: "skipped/suppressed"}
    assert load(INSERT, phone(0), env=account.env).fates == {2: "accepted"}


def test_who_is_not_taken_off_by_the_vendor_stays(load: Load, leads: Leads, raw_vendor: StartVendor) -> None:
    """A release in doubt, or refused, frees nobody."""
    replies = {"InsertDnc": OK, "DeleteDnc": b""}
    vendor = raw_vendor(lambda form: replies[form["Action"]])
    release = ("call", "LeadOperations.DeleteDnc", f"Number={phone(0)}", "--yes", "--attempts", 1)
    leads("call", "LeadOperations.InsertDnc", f"Number={phone(0)}", env=vendor.env)
    assert leads(*release, env=vendor.env).code == 5
    replies["DeleteDnc"] = http_reply("<br><br>Result: No permission")
    assert leads(*release, env=vendor.env).code != 0
    assert load(INSERT, phone(0), env=vendor.env).fates == {2: "skipped/suppressed"}


@BOTH
def test_another_account_has_its_own(load: Load, leads: Leads, account: Account) -> None:
    """A rehearsal bars nobody in the real account."""
    call(leads, account, "LeadOperations.InsertDnc", f"Number={phone(0)}")
    other = account.env | {"DIALEDIN_BASE_URL": account.url.replace("127.0.0.1", "localhost")}
    assert load(INSERT, phone(0), env=other).fates == {2: "rejected/dnc"}


def test_the_mark_outlives_run_and_person(load: Load, leads: Leads, home: Path, account: Account) -> None:
    """`prune` and `forget` leave it; it does not hold the phone."""
    call(leads, account, "LeadOperations.InsertDnc", f"Number={phone(0)}")
    leads("prune", "--older-than", "1h", "--in-doubt", now=lambda: by_day() + timedelta(days=1))
    leads("forget", phone(0))
    assert phone(0).encode() not in (home / "state.db").read_bytes()
    assert in_state("SELECT count(*) FROM sends") == [(0,)]
    assert in_state("SELECT count(*) FROM do_not_call") == [(1,)]
    assert load(INSERT, phone(0), env=account.env).fates == {2: "skipped/suppressed"}


@BOTH
@pytest.mark.parametrize("number", [1, 0], ids=["not begun", "to be tried again"])
def test_a_call_in_another_terminal_bars_what_is_not_sent_yet(
    load: Load, home: Path, raw_vendor: StartVendor, number: int
) -> None:
    """A load is under way; whoever is put on do-not-call meanwhile is not sent any more, or not once more."""

    def answer(form: dict[str, str]) -> bytes:
        if form.get("Action") == "InsertDnc" or len(vendor.forms) > 1:
            return OK
        command = [LEADS, "call", "LeadOperations.InsertDnc", f"Number={phone(number)}", "--quiet"]
        subprocess.run(command, env={**os.environ, **vendor.env}, capture_output=True, check=False)
        return http_reply("slow down", "429 Too Many Requests") if number == 0 else OK

    vendor = raw_vendor(answer)
    result = load(INSERT, phone(0), phone(1), env=vendor.env, args=("--concurrency", 1, "--timeout", 60))
    assert result.fates[2 + number] == "skipped/suppressed"
    assert result.fates[3 - number] == "accepted"
    assert [form["PrimaryPhone"] for form in vendor.forms if "PrimaryPhone" in form].count(phone(number)) <= 1 - number


def test_who_is_taken_off_during_a_run_was_not_counted(load: Load, leads: Leads, raw_vendor: StartVendor) -> None:
    """No more people are contacted than were counted before the first was: one row is left to the next run."""
    vendor = raw_vendor(lambda form: OK)
    call(leads, vendor, "LeadOperations.InsertDnc", f"Number={phone(0)}")
    looks, release = count(), [LEADS, "call", "LeadOperations.DeleteDnc", f"Number={phone(0)}", "--yes", "--quiet"]

    def clock() -> datetime:
        if next(looks) == 6:  # the rows have been counted
            subprocess.run(release, env={**os.environ, **vendor.env}, capture_output=True, check=True)
        return eastern(12)()

    result = load(DIALED, phone(0), phone(1), env=vendor.env, args=("--max-contacts", 1), now=clock)
    assert sorted(result.fates.values()) == ["accepted", "not_attempted"]
    assert sum("PrimaryPhone" in form for form in vendor.forms) == 1


def test_the_phone_that_a_lead_would_get_is_looked_at(leads: Leads, account: Account) -> None:
    """Of an update by phone both count: the one that it has, and the one that it would have."""
    account.insert(phone(1))
    call(leads, account, "LeadOperations.InsertDnc", f"Number={phone(2)}")
    for by, new in ((phone(1), phone(2)), (phone(2), phone(1))):
        fields = ("SearchField=Phone", f"Identifier={by}", f"PrimaryPhone={new}")
        assert call(leads, account, "UpdateLead", *fields).json["code"] == "suppressed"


@pytest.mark.parametrize("leads_there", [1, 2], ids=["the only one", "the second of two"])
def test_a_call_in_another_terminal_bars_an_update_as_well(
    load: Load, home: Path, raw_vendor: StartVendor, leads_there: int
) -> None:
    """Its search had led to it: it may give the lead a callback. Of several, those that are left stay as they are."""
    there = [{"id": str(number), "PrimaryPhone": phone(0)} for number in range(1, leads_there + 1)]
    asked = {1: "SearchLead", 2: "UpdateLead"}[leads_there]

    def answer(form: dict[str, str]) -> bytes:
        if form.get("Action") == "InsertDnc":
            return OK
        made = "SearchLead" if form.get("Action") == "SearchLead" else "UpdateLead"
        if made == asked:
            command = [LEADS, "call", "LeadOperations.InsertDnc", f"Number={phone(0)}", "--quiet"]
            subprocess.run(command, env={**os.environ, **vendor.env}, capture_output=True, check=False)
        return http_reply(json.dumps({"Leads": there})) if made == "SearchLead" else OK

    vendor = raw_vendor(answer)
    mapping = INSERT.replace("InsertLead", "UpsertLead") + 'City = { value = "Oslo" }\n'
    result = load(mapping, phone(0), env=vendor.env, args=("--update-all", "--timeout", 60))
    assert result.fates == {2: "skipped/suppressed"}
    assert sum("LeadId" in form.values() for form in vendor.forms) == leads_there - 1


# --- Calling hours ---

CONTACTS = ("--max-contacts", 9)


def test_a_row_outside_hours_is_left_for_later(load: Load, leads: Leads, account: Account) -> None:
    """The message says when it opens; it counts as no contact; resumed within hours it goes, and only it."""
    given = {"env": account.env, "now": eastern(9)}
    first = load(DIALED, EAST, WEST, (phone(1), "90210"), args=("--max-contacts", 1), **given)
    assert first.fates == {2: "accepted", 3: "skipped/outside_hours", 4: "skipped/outside_hours"}
    assert first.by_row[3]["message"].endswith("it may go from 8:00 America/Los_Angeles, in 2 h")
    assert first.code == 0
    assert any("2 from 8:00 America/Los_Angeles, in 2 h" in note for note in first.json["notes"])
    refused = leads("resume", "--json", env=account.env, now=eastern(11))
    assert (refused.code, "2 people" in refused.err) == (2, True)
    resumed = leads("resume", "--json", *CONTACTS, env=account.env, now=eastern(11))
    assert resumed.fates == dict.fromkeys((2, 3, 4), "accepted")
    assert len(account.dials()) == 3


@pytest.mark.parametrize("command", ["load", "retry"])
def test_what_was_left_goes_with_the_same_file_or_a_retry(
    load: Load, leads: Leads, account: Account, command: str
) -> None:
    """It was never delivered, so that the ledger does not know it; at another bad hour it is left once more."""
    load(DIALED, EAST, WEST, env=account.env, args=CONTACTS, now=eastern(9))
    again = {
        "load": ("load", "list.csv", "-m", "list.toml", "--json", *CONTACTS),
        "retry": ("retry", "--only", "skipped", "--json", *CONTACTS),
    }[command]
    assert leads(*again, env=account.env, now=eastern(10)).fates[3] == "skipped/outside_hours"
    assert leads(*again, env=account.env, now=eastern(12)).fates[3] == "accepted"


def test_it_says_what_to_do_next(load: Load, leads: Leads, account: Account) -> None:
    """On the screen, with the run to resume."""
    run_id = load(DIALED, EAST, env=account.env, args=CONTACTS, now=eastern(22)).json["run_id"]
    shown = leads("show").out
    assert f"leads resume {run_id}, or load the file again" in shown
    assert "1 from 8:00 America/New_York" in shown


def test_a_check_tells_who_would_have_to_wait(load: Load, leads: Leads, home: Path, account: Account) -> None:
    """The rows are valid all the same: a load comes later. Who is suppressed waits for no hour."""
    write(home / "dnc.csv", f"{phone(400)}\n")
    mapping = DIALED.replace('"none"', '"dnc.csv"')
    load(mapping, EAST, WEST, "3125550199", phone(400), env=account.env, args=CONTACTS, now=eastern(22))
    checked = leads("check", "list.csv", "-m", "list.toml", "--json", now=eastern(10))
    assert checked.json["counts"] == {"skipped": 1, "valid": 3}
    assert any(note.endswith("not sent: 1 from 8:00 America/Los_Angeles, in 1 h") for note in checked.json["notes"])


@pytest.mark.parametrize(
    ("policy", "hour", "goes"),
    [
        ("", 3, True),
        ('dialing = "timezone-checked"\n', 3, False),
        ('dialing = "timezone-checked"\ncalling_hours = "vendor"\n', 3, True),
        ('dialing = "immediate"\ncalling_hours = "10:00-18:00"\n', 9, False),
        ('dialing = "immediate"\ncalling_hours = "10:00-18:00"\n', 12, True),
        ("allow_dialing_dups = true\n", 3, False),
    ],
)
def test_hours_hold_where_people_are_contacted(
    load: Load, account: Account, policy: str, hour: int, goes: bool
) -> None:
    """Not for imports, nor where the vendor's own check is trusted on purpose."""
    mapping = f'{INSERT}[policy]\nsuppress = "none"\n{policy}'
    result = load(mapping, EAST, env=account.env, args=CONTACTS, now=eastern(hour))
    assert result.fates == {2: "accepted" if goes else "skipped/outside_hours"}


def test_searches_updates_and_releases_go_at_any_hour(leads: Leads, account: Account) -> None:
    """They ring nowhere."""
    account.insert(EAST, ClientId="C-1")
    night = {"now": eastern(3)}
    update = ("SearchField=Phone", f"Identifier={EAST}", "City=Oslo")
    assert call(leads, account, "UpdateLead", *update, **night).json["status"] == "accepted"
    assert call(leads, account, "LeadOperations.SearchLead", *update[:2], **night).json["code"] == "found"
    for name in ("InsertDnc", "DeleteDnc"):
        assert call(leads, account, f"LeadOperations.{name}", f"Number={EAST}", **night).json["status"] == "accepted"


@pytest.mark.parametrize(
    ("operation", "fields"),
    [
        ("TextOperations.SendSms", ("From=2025550199", f"To={EAST}", "Message=Hello")),
        ("CallOperations.ConferenceCall", ("Agent=anna", f"Phone={EAST}")),
        ("InsertLead", ("Campaign=Demo", f"PrimaryPhone={EAST}", "ImportOnly=0")),
        ("InsertLead", ("Campaign=Demo", f"PrimaryPhone={WEST}", "State=CT", "ImportOnly=0")),
    ],
)
def test_a_call_by_hand_heeds_them_too(leads: Leads, account: Account, operation: str, fields: tuple[str, ...]) -> None:
    """A text or a call at night is not made, whoever asks."""
    result = call(leads, account, operation, *fields, now=eastern(21))
    assert (result.json["status"], result.json["code"]) == ("skipped", "outside_hours")
    assert account.requests == 0


def test_a_step_after_the_rows_waits_as_well(load: Load, leads: Leads, account: Account) -> None:
    """The rows are imported at night, and the text goes when the run is resumed by day."""
    fields = f'{{ From = "2025550199", To = "{EAST}", Message = "Done" }}'
    step = f'[[after]]\noperation = "TextOperations.SendSms"\nfields = {fields}\n'
    mapping = f'{INSERT}[policy]\nsuppress = "none"\n{step}'
    first = load(mapping, phone(1), env=account.env, args=CONTACTS, now=eastern(22))
    assert (first.fates, first.json["after"][0]["code"]) == ({2: "accepted"}, "outside_hours")
    resumed = leads("resume", "--json", env=account.env, now=eastern(9, day=3))
    assert resumed.json["after"][0]["status"] == "accepted"
    assert len(account.see("texts")) == 1


def test_an_upsert_that_may_dial_waits(load: Load, account: Account) -> None:
    """Any of its rows may turn out to be an insert."""
    mapping = DIALED.replace("InsertLead", "UpsertLead")
    assert load(mapping, EAST, env=account.env, args=CONTACTS, now=eastern(6)).fates == {2: "skipped/outside_hours"}
    assert load(mapping, EAST, env=account.env, args=CONTACTS, now=eastern(8)).fates == {2: "accepted/inserted"}


def closing_after(vendor: RawVendor, requests: int) -> Now:
    """A clock that says 20:29 until the vendor has seen so many requests, and then 20:30."""
    last, closed = eastern(20, 29)(), eastern(20, 30)()
    return lambda: last if len(vendor.forms) < requests else closed


def test_a_run_that_meets_the_closing_hour_stops_there(load: Load, leads: Leads, raw_vendor: StartVendor) -> None:
    """A row of that zone whose turn comes later is not sent; those of others go on; resume sends it next morning."""
    vendor = raw_vendor(lambda form: OK)
    given = {"env": vendor.env, "now": closing_after(vendor, 2)}
    first = load(DIALED, EAST, phone(1), phone(2), WEST, args=(*CONTACTS, "--concurrency", 1), **given)
    assert first.fates == {2: "accepted", 3: "accepted", 4: "skipped/outside_hours", 5: "accepted"}
    assert [first.by_row[4][name] for name in ("attempts", "first_sent_at")] == [0, None]
    resumed = leads("resume", "--json", env=vendor.env, now=eastern(8, day=3))
    assert resumed.fates == dict.fromkeys(range(2, 6), "accepted")
    assert len(vendor.forms) == 4


def test_what_opens_during_a_run_is_left_to_the_next(load: Load, account: Account) -> None:
    """So that no more people are contacted than were counted before the first was."""
    looks = count()

    def clock() -> datetime:
        return (eastern(10, 59) if next(looks) < 6 else eastern(11, 1))()

    result = load(DIALED, EAST, WEST, env=account.env, args=("--max-contacts", 1), now=clock)
    assert result.fates == {2: "accepted", 3: "skipped/outside_hours"}


@pytest.mark.parametrize(
    ("answer", "left", "attempts"),
    [
        (http_reply("slow down", "429 Too Many Requests"), "skipped/outside_hours", 1),
        (b"", "skipped/outside_hours", 1),
    ],
    ids=["throttled", "in doubt and not found"],
)
def test_nothing_is_sent_again_outside_hours(
    load: Load, leads: Leads, raw_vendor: StartVendor, answer: bytes, left: str, attempts: int
) -> None:
    """Neither what was not taken nor what is not there: that waits for the morning."""
    searched = http_reply('{"Leads":[]}')
    vendor = raw_vendor(lambda form: searched if form.get("Action") == "SearchLead" else answer)
    closing = closing_after(vendor, 1)
    first = load(DIALED, EAST, env=vendor.env, args=CONTACTS, now=closing)
    assert (first.fates, first.by_row[2]["attempts"]) == ({2: left}, attempts)
    assert [form for form in vendor.forms if "PrimaryPhone" in form] == vendor.forms[:1]
    vendor.answer = lambda form: OK
    resumed = leads("resume", "--json", *QUICK, env=vendor.env, now=eastern(8, day=3))
    assert (resumed.fates, resumed.by_row[2]["attempts"]) == ({2: "accepted"}, attempts + 1)


@BOTH
def test_what_is_in_doubt_is_looked_up_at_any_hour(load: Load, leads: Leads, home: Path, account: Account) -> None:
    """A search rings nowhere."""
    first = load(DIALED, WEST, env=account.env, args=CONTACTS, now=eastern(12))
    in_state("UPDATE sends SET status='unknown', code='no_reply'")
    reconciled = leads("reconcile", first.json["run_id"], "--json", *QUICK, env=account.env, now=eastern(23, 45))
    assert reconciled.fates == {2: "accepted"}
    assert reconciled.by_row[2]["reconciled"]
