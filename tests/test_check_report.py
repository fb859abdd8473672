"""What `leads check` tells: how files were read, what would mend their problems, and what a load would do."""

from __future__ import annotations

import asyncio
import json
import os
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from rich.cells import cell_len

from pipeline import checkup, journal, lock, mapping, mend, screen_check, statedb
from pipeline.checkup import Checkup
from pipeline.mend import Case
from pipeline.model import Payload
from pipeline.report import REPORT
from tests.conftest import Account, Leads, phone, state_now, write, write_csv, write_xlsx
from tests.given import INSERT, plan

ROOT = Path(__file__).parents[1]
LIST = INSERT.replace("Spring", "Spring Renewals") + 'FirstName = "Name"\nCity = "City"\nState = "State"\n'
HEADER = ["Phone", "Name", "City", "State"]


@pytest.fixture
def checked(leads: Leads, home: Path) -> Callable[..., dict[str, Any]]:
    """What a check of these rows finds, under LIST and `more` of a mapping."""

    def check(rows: Sequence[Sequence[str]], more: str = "", env: Mapping[str, str] | None = None) -> dict[str, Any]:
        write_csv(home / "list.csv", [HEADER, *rows])
        write(home / "list.toml", LIST + more)
        result = leads("check", "list.csv", "-m", "list.toml", "--json", env=env)
        assert result.json["check"]["to_send"] == result.json["counts"].get("valid", 0)
        assert result.rows
        return result.json["check"]

    return check


@pytest.fixture
def told(leads: Leads, home: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """What a check of these rows prints, on so many columns."""

    def tell(rows: Sequence[Sequence[str]], toml: str = LIST, columns: int = 80) -> str:
        monkeypatch.setenv("COLUMNS", str(columns))
        write_csv(home / "list.csv", rows)
        write(home / "list.toml", toml)
        return leads("check", "list.csv", "-m", "list.toml").out

    return tell


def row(number: int, name: str = "Ada", city: str = "Boston", state: str = "MA") -> list[str]:
    return [phone(number), name, city, state]


# --- How files were read ---


def test_it_tells_how_a_file_was_read(leads: Leads, home: Path) -> None:
    """Format, encoding, delimiter, header, amounts; and which column becomes what."""
    write(home / "list.csv", f"sep=;\nPhone;Name;Note\n{phone(0)};Zoé;x\n\n{phone(1)};Ada\n".encode("cp1252"))
    write(home / "list.toml", 'unmapped = "ignore"\n' + INSERT + 'FirstName = "Name"')
    result = leads("check", "list.csv", "-m", "list.toml", "--json")
    (source,) = result.json["check"]["sources"]
    assert (source["format"], source["delimiter"], source["header_row"], source["rows"]) == ("csv", ";", 2, 2)
    assert (source["blank_rows"], source["ragged_rows"], source["not_sent"]) == (1, 1, ["Note"])
    assert [(f["field"], f["column"], f["value"]) for f in source["fields"]] == [
        ("Campaign", None, "Spring"),
        ("PrimaryPhone", "Phone", None),
        ("FirstName", "Name", None),
    ]
    out = leads("check", "list.csv", "-m", "list.toml").out
    assert f"list.csv: csv, {source['encoding']} (guessed), semicolon, header in row 2" in out
    assert "2 rows, 3 columns, 1 blank row left out, 1 row with more or fewer cells" in out
    assert 'sent: Campaign = "Spring", PrimaryPhone ← Phone, FirstName ← Name' in out
    assert "not sent: Note" in out


def test_it_tells_which_sheet_of_which_was_read(leads: Leads, home: Path) -> None:
    write_xlsx(home / "list.xlsx", [["Phone"], [phone(0)]], sheet="Leads (2)")
    write(home / "list.toml", INSERT)
    assert 'list.xlsx: xlsx, sheet "Leads (2)", header in row 1' in leads("check", "list.xlsx", "-m", "list.toml").out


def test_other_reading_decisions_are_told_as_they_are(
    capfd: pytest.CaptureFixture[str], leads: Leads, home: Path
) -> None:
    """A key that the report does not know yet is told by its name; empty ones are not."""
    write(home / "list.toml", INSERT)
    write_csv(home / "list.csv", [["Phone"], [phone(0)]])
    found = leads("check", "list.csv", "-m", "list.toml", "--json").json
    found["check"]["sources"][0] |= {"compression": "gzip", "hidden_rows": 0, "merged_cells": ["A1:B2"]}
    screen_check.result(found, found["check"], as_json=False)
    out = capfd.readouterr().out
    assert "compression: gzip" in out
    assert "merged cells: A1:B2" in out
    assert "hidden rows" not in out


def test_long_lists_of_columns_are_cut(told: Callable[..., str]) -> None:
    """Twenty names and how many more."""
    wide = [["Phone", *(f"Col {n}" for n in range(300))], [phone(0), *["x"] * 300]]
    out = told(wide, 'unmapped = "ignore"\n' + INSERT)
    assert "Col\n  19 and 280 more" in out
    assert len(out) < 2000


@pytest.mark.parametrize("unmapped", ["error", "ignore"])
def test_messages_name_twenty_columns_at_most(leads: Leads, home: Path, unmapped: str) -> None:
    """One line that can be read, however wide the file is."""
    columns = ["Phone" if unmapped == "error" else "Tel", *(f"Col {n}" for n in range(300))]
    write_csv(home / "list.csv", [columns, ["x"] * 301])
    write(home / "list.toml", f'unmapped = "{unmapped}"\n' + INSERT)
    result = leads("check", "list.csv", "-m", "list.toml")
    assert result.code == 2
    assert re.search(r"and 28[01] more", result.err)
    assert len(result.err) < 600


# --- Problems ---


def test_problems_are_ranked_and_have_samples(checked: Callable[..., dict[str, Any]]) -> None:
    """By field and rule, most rows first; samples have different values where there are some."""
    states = ["Nowhere", "Nowhere", "Nowhere", "Nowhere", "Elsewhere", "MA"]
    found = checked([*(row(n, state=state) for n, state in enumerate(states)), ["555-0100", "Ada", "", ""]])
    state, bad_phone = found["problems"]
    assert (state["field"], state["column"], state["rule"], state["rows"]) == ("State", "State", "bad_state", 5)
    assert [(s["source"], s["row"], s["value"]) for s in state["samples"]] == [
        ("list.csv", 2, "Nowhere"),
        ("list.csv", 6, "Elsewhere"),
        ("list.csv", 3, "Nowhere"),
    ]
    assert (bad_phone["field"], bad_phone["rule"], bad_phone["rows"]) == ("PrimaryPhone", "bad_phone", 1)
    assert bad_phone["advice"] == "write them as ten digits"


TWO = "202-555-0127 / 202-555-0128"

# A mapping's fields, the cells of its columns, and the rule by which they are no good.
MENDABLE = {
    "too_long": ('City = "City"', {"City": "x" * 120}, "too_long"),
    "too long a name": ('Campaign2 = "City"\n[extra_fields]\nCampaign2 = 9', {"City": "x" * 12}, "too_long"),
    "phone_region": ('City = "Phone"', {"Phone": "416-555-0132"}, "phone_region"),
    "ambiguous_date": (
        'CallbackDate = "When"\nCallbackAgent = "Who"',
        {"When": "03/04/2027 10:00", "Who": "joe"},
        "ambiguous_date",
    ),
    "unmapped_value": ('City = { column = "City", map = { a = "b" } }', {"City": "West"}, "unmapped_value"),
    "nothing in words": ('State = "State"', {"State": " n/a "}, "bad_state"),
    "cell_error": ('City = "City"', {"City": "#REF!"}, "cell_error"),
    "cell_error of nothing": ('City = "City"', {"City": "#N/A"}, "cell_error"),
    "two_phones": ('SecondaryPhone = "Two"\n[extra_fields]\nSecondaryPhone = 20', {"Two": TWO}, "two_phones"),
    "state_region": ('State = "State"', {"State": "ON"}, "state_region"),
    "past_date": (
        'CallbackDate = "When"\nCallbackAgent = "Who"',
        {"When": "01/31/2020 10:00:00", "Who": "joe"},
        "past_date",
    ),
    "missing": ('Campaign = "Camp"', {"Camp": ""}, "missing"),
}


@pytest.mark.parametrize("name", MENDABLE)
def test_the_lines_mend_what_they_are_for(leads: Leads, home: Path, name: str) -> None:
    """Each, put into the mapping with its open places filled, makes the row valid."""
    fields, cells, rule = MENDABLE[name]
    given = {"Phone": phone(0)} | cells
    text = "\n".join(line for line in INSERT.splitlines() if line.split("=")[0] not in fields) + "\n" + fields
    write_csv(home / "list.csv", [list(given), list(given.values())])
    write(home / "list.toml", text)
    found = leads("check", "list.csv", "-m", "list.toml", "--json")
    (problem,) = found.json["check"]["problems"]
    assert (found.fates, problem["rule"]) == ({2: f"invalid/{rule}"}, rule)
    assert problem["mapping"]
    for line in problem["mapping"]:
        added = tomllib.loads(f"[{line['table']}]\n{line['line']}".replace(mend.OPEN, "b"))
        write(home / "mended.toml", as_toml(merged(tomllib.loads(text), added)))
        assert leads("check", "list.csv", "-m", "mended.toml", "--json").fates == {2: "valid"}, line


def merged(old: Any, new: Any) -> Any:
    if isinstance(old, dict) and isinstance(new, dict):
        return old | {key: merged(old.get(key), value) for key, value in new.items()}
    return new


def as_toml(value: Any, *, inline: bool = False) -> str:
    if not isinstance(value, dict):
        return json.dumps(value)
    pairs = [f"{json.dumps(key)} = {as_toml(inner, inline=True)}" for key, inner in value.items()]
    return f"{{ {', '.join(pairs)} }}" if inline else "\n".join(pairs)


def rules_in_docs() -> set[str]:
    """The rules under "Problems" in docs/codes.md."""
    text = (ROOT / "docs" / "codes.md").read_text(encoding="utf-8")
    table = text.partition("## Problems")[2].partition("\n## ")[0]
    cells = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    return {rule for cell in cells for rule in re.findall(r"`(\w+)`", cell)}


def test_every_rule_has_its_advice() -> None:
    """What docs/codes.md lists, and what the cleaners say."""
    cleaners = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "pipeline" / "clean").glob("*.py"))
    said = set(re.findall(r'Refusal\(\s*"(\w+)"', cleaners))
    assert said <= rules_in_docs() == set(mend.ADVICE)


@pytest.mark.parametrize("rule", [*mend.ADVICE, "a_new_rule"])
@pytest.mark.parametrize("field", ["PrimaryPhone", "City", "adv_It", "Campaign", ""])
def test_advice_is_words_and_lines_of_toml(rule: str, field: str) -> None:
    """For whatever field and value."""
    toml = INSERT + 'City = { column = "City", map = { a = "b" } }\nadv_It = "It"'
    file = mapping.parse(toml, "list.toml")
    case = Case(file, plan(toml, "Phone", "City", "It"), field, ['"\\\x7f\n', "x"], ["N/A"], 5)
    words, lines = mend.advice(rule, case)
    assert words
    for line in lines:
        assert tomllib.loads(f"[{line.table}]\n{line.text}")


def test_a_required_field_is_not_said_to_be_empty(checked: Callable[..., dict[str, Any]]) -> None:
    """Where a phone is "N/A", null_tokens would only change the name of the problem."""
    (problem,) = checked([["N/A", "Ada", "", ""], row(1)])["problems"]
    assert (problem["rule"], problem["mapping"]) == ("bad_phone", [])


def test_samples_stay_few_however_many_rows_there_are() -> None:
    """Counts go on; of each kind three samples are kept, and a long cell is cut."""
    found = Checkup()
    for part in range(5):
        problem = {"field": "City", "rule": "too_long", "value": "x" * (1000 + part), "message": "is too long"}
        repair = {"field": "City", "raw": "y" * 1000, "value": "y", "rule": "trimmed", "lossless": True}
        rows = [REPORT_ROW | {"row": part * 10 + n, "problems": [problem], "repairs": [repair]} for n in range(10)]
        found.look(0, pa.Table.from_pylist(rows, schema=REPORT))
    (problem,) = found.problems.values()
    assert (problem.rows, problem.longest, len(problem.samples)) == (50, 1004, 3)
    assert max(len(sample.value) for sample in problem.samples) == 201
    (repair,) = checkup.repairs(found)
    assert (repair["cells"], repair["example"]["row"], len(repair["example"]["raw"])) == (50, 0, 201)


REPORT_ROW = {"run_id": "r", "source": "list.csv", "operation": "InsertLead", "status": "invalid", "attempts": 0}
REPORT_ROW |= {"reconciled": False}


def test_many_kinds_of_problem_are_told_up_to_a_dozen(told: Callable[..., str]) -> None:
    """The rest is counted; --json has it."""
    lengths = "".join(f'"adv_Col {n}" = 1\n' for n in range(40))
    rows = [["Phone", *(f"Col {n}" for n in range(40))], [phone(0), *["xx"] * 40]]
    out = told(rows, 'unmapped = "custom"\n' + INSERT + "[lengths]\n" + lengths)
    assert out.count("too_long  adv_Col__") == 12
    assert "and 28 kinds of problem more: see --json" in out
    assert out.count("mend:") == 1  # what to do about a rule is told once


def test_a_constant_that_no_row_can_have_is_refused_once(leads: Leads, home: Path) -> None:
    """Before anything is validated, by the name of its field; what other fields decide is left to the rows."""
    write_csv(home / "list.csv", [["Phone"], [phone(0)]])
    for value, code in (("x" * 300, 2), ("Spring", 0)):
        write(home / "list.toml", INSERT.replace('"Spring"', f'"{value}"'))
        result = leads("check", "list.csv", "-m", "list.toml")
        assert result.code == code
        assert ("[fields] Campaign: is longer than" in result.err) == (code == 2)


# --- Repairs and repeats ---


def test_repairs_are_told_by_rule_with_an_example(checked: Callable[..., dict[str, Any]]) -> None:
    """What can't be undone comes last."""
    found = checked([["(202) 555-0101", "“Ada”", "", ""], ["(202) 555-0102", "Bo", "", "colorado"]])
    assert [(r["rule"], r["cells"], r["lossless"]) for r in found["repairs"]] == [
        ("phone_format", 2, True),
        ("state_name", 1, True),
        ("quotes", 1, False),
    ]
    assert found["repairs"][0]["example"] == {
        "source": "list.csv",
        "row": 2,
        "field": "PrimaryPhone",
        "raw": "(202) 555-0101",
        "value": "2025550101",
    }


@pytest.mark.parametrize("mode", ["first", "last", "error", "keep"])
def test_repeats_are_told_whatever_the_policy_is(checked: Callable[..., dict[str, Any]], mode: str) -> None:
    """How many rows share a phone, and where the first of the largest group are."""
    numbers = [0, 1, 0, 2, 1, 0, 3]
    found = checked([row(n) for n in numbers], f'[policy]\nduplicates_in_file = "{mode}"\n')["repeats"]
    assert (found["by"], found["policy"], found["groups"], found["rows"]) == ("phone", mode, 2, 5)
    assert [(g["rows"], [at["row"] for at in g["first"]]) for g in found["largest"]] == [(3, [2, 4, 7]), (2, [3, 6])]


@pytest.mark.parametrize("mode", ["first", "keep"])
def test_repeats_are_found_across_files(leads: Leads, home: Path, mode: str) -> None:
    """Each row is named with its file."""
    for name in ("a.csv", "b.csv"):
        write_csv(home / name, [["Phone"], [phone(0)], ["x"]])
    write(home / "list.toml", f'{INSERT}\n[policy]\nduplicates_in_file = "{mode}"\n')
    out = leads("check", "a.csv", "b.csv", "-m", "list.toml").out
    assert "2 share one: row 2 of a.csv, row 2 of b.csv" in out
    assert 'such as "x" in row 3 of a.csv, row 3 of b.csv' in out


# --- What a load would do ---


def test_samples_are_sent_as_they_are_shown(checked: Callable[..., dict[str, Any]]) -> None:
    """First, middle and last valid row, with the names that go out, and no credentials."""
    rows = [["x", "", "", ""], *(row(n, city=f"City {n}") for n in range(5))]
    found = checked(rows, '"adv_Policy Number" = "Name"\n')
    assert [payload["row"] for payload in found["payloads"]] == [3, 5, 7]
    assert found["payloads"][0]["fields"] == {
        "ImportOnly": "1",
        "Campaign": "Spring Renewals",
        "PrimaryPhone": phone(0),
        "FirstName": "Ada",
        "City": "City 0",
        "State": "MA",
        "adv_Policy__Number": "Ada",
    }
    assert found["payloads_lack"] == "ClientId"
    known = checked(rows, env={"DIALEDIN_ACCID": "me", "DIALEDIN_TOKEN": "secret-token"})
    assert (known["payloads_lack"], len(known["payloads"][0]["fields"]["ClientId"])) == (None, 32)
    assert "secret-token" not in str(known)


@pytest.mark.parametrize("rows", [1, 2])
def test_few_rows_give_few_samples(checked: Callable[..., dict[str, Any]], rows: int) -> None:
    assert len(checked([row(n) for n in range(rows)])["payloads"]) == rows


def test_nothing_to_send_is_no_load(checked: Callable[..., dict[str, Any]]) -> None:
    found = checked([["x", "", "", ""]])
    assert (found["payloads"], found["to_send"], found["load"], found["duration"]["calls"]) == ([], 0, None, 0)


def test_what_was_loaded_before_is_known_by_account(
    leads: Leads, checked: Callable[..., dict[str, Any]], account: Account
) -> None:
    """The rows are skipped as a load would skip them, while another run holds the account."""
    write_csv(Path("list.csv"), [HEADER, row(0), row(1)])
    write(Path("list.toml"), LIST)
    run_id = leads("load", "list.csv", "-m", "list.toml", "--json", env=account.env).json["run_id"]
    with lock.held(state_now(), f"sandbox@{account.url}", "other"):
        found = checked([row(0), row(1), row(2)], env=account.env)
    ledger = found["ledger"]
    assert (ledger["already_loaded"], ledger["runs"], ledger["why_not_asked"]) == (2, {run_id: 2}, None)
    assert (found["to_send"], found["payloads"][0]["row"]) == (1, 4)
    result = leads("check", "list.csv", "-m", "list.toml", "--json", env=account.env)
    assert (result.code, result.fates) == (0, {2: "skipped/already_loaded", 3: "skipped/already_loaded", 4: "valid"})
    unknown = checked([row(0)])["ledger"]
    assert (unknown["already_loaded"], unknown["why_not_asked"]) == (
        0,
        "set DIALEDIN_ACCID to see what was loaded before",
    )


def test_rows_in_doubt_are_counted_apart(checked: Callable[..., dict[str, Any]], leads: Leads) -> None:
    """What a dead run was sending would be looked up before it goes."""
    env = {"DIALEDIN_ACCID": "sandbox", "DIALEDIN_BASE_URL": "https://dialer.example.test/HttpImport/"}
    checked([row(0), row(1)], env=env)
    (sent, _) = leads("check", "list.csv", "-m", "list.toml", "--json", env=env).rows
    state = statedb.engine(os.environ["LEADS_STATE"])

    async def die() -> None:
        scope = journal.Scope("earlier", f"sandbox@{env['DIALEDIN_BASE_URL']}", "InsertLead")
        with journal.open_journal(state, scope) as written:
            payload = Payload(0, 2, sent["row_key"], phone(0), "", "", b"", sent["payload_sha256"])
            assert await written.begin(payload, 0)

    asyncio.run(die())
    found = checked([row(0), row(1)], env=env)
    assert (found["ledger"]["looked_up_first"], found["ledger"]["already_loaded"], found["to_send"]) == (1, 0, 2)


def test_a_check_makes_no_state_database(checked: Callable[..., dict[str, Any]], home: Path) -> None:
    checked([row(0)], env={"DIALEDIN_ACCID": "me"})
    assert not (home / "state.db").exists()


def test_a_check_writes_nothing_into_a_state_database(
    leads: Leads, checked: Callable[..., dict[str, Any]], account: Account, home: Path
) -> None:
    """It opens it to be read only."""
    write_csv(home / "list.csv", [HEADER, row(0)])
    write(home / "list.toml", LIST)
    leads("load", "list.csv", "-m", "list.toml", env=account.env)
    before = (home / "state.db").read_bytes()
    assert checked([row(0)], env=account.env)["ledger"]["already_loaded"] == 1
    assert (home / "state.db").read_bytes() == before


@pytest.mark.parametrize("content", [b"no database, for sure" * 99, b""])
def test_a_state_that_cannot_be_read_stops_no_check(
    checked: Callable[..., dict[str, Any]], home: Path, content: bytes
) -> None:
    """The report says why nothing is known of earlier runs."""
    write(home / "state.db", content)
    found = checked([row(0)], env={"DIALEDIN_ACCID": "me"})
    assert "--state sqlite:///" in found["ledger"]["why_not_asked"]
    assert found["to_send"] == 1


def test_it_tells_how_many_people_would_be_contacted(checked: Callable[..., dict[str, Any]], home: Path) -> None:
    """After suppression and repeats; the command to type allows just that."""
    write(home / "dnc.csv", phone(1))
    policy = '[policy]\ndialing = "immediate"\nsuppress = "dnc.csv"\n'
    found = checked([row(0), row(1), row(2), row(0)], policy)
    assert (found["to_send"], found["suppressed"], found["people"]["contacts"]) == (2, 1, 2)
    assert found["people"]["refused"] is None
    assert found["load"] == "leads load list.csv -m list.toml --max-contacts 2"


def test_it_tells_who_has_to_wait_for_calling_hours(checked: Callable[..., dict[str, Any]]) -> None:
    """How many of those who would be contacted, and until when."""
    policy = '[policy]\ndialing = "immediate"\nsuppress = "none"\ncalling_hours = "{}"\n'
    spans = ("8:00-14:00", "13:30-21:00", "8:00-14:00")  # whatever the hour: one of them is closed
    halves = [checked([row(0), row(1)], policy.format(span)) for span in spans]
    waiting = [sum(opening["rows"] for opening in found["people"]["waiting"]) for found in halves]
    assert 2 in waiting
    found = halves[waiting.index(2)]
    assert (found["to_send"], found["people"]["contacts"]) == (2, 2)
    assert all(datetime.fromisoformat(opening["at"]) for opening in found["people"]["waiting"])
    assert [note for note in found["notes"] if "outside calling hours" in note]


def test_it_tells_why_a_load_would_be_refused(checked: Callable[..., dict[str, Any]]) -> None:
    """Whatever is allowed on the command line."""
    found = checked([row(0)], '[policy]\ndialing = "immediate"\n')
    assert "suppress" in found["people"]["refused"]


def test_import_only_contacts_nobody(checked: Callable[..., dict[str, Any]]) -> None:
    found = checked([row(0)])
    assert (found["people"]["contacts"], found["people"]["dialing"]) == (None, "import-only")
    assert found["load"] == "leads load list.csv -m list.toml"


def test_it_tells_how_long_a_load_takes(checked: Callable[..., dict[str, Any]]) -> None:
    """At the rate that is set; with none there is nothing to tell."""
    found = checked([row(n) for n in range(10)], env={"LEADS_RATE": "4"})
    assert found["duration"] == {"calls": 10, "rate_per_second": 4.0, "seconds": 2.5}
    assert checked([row(0)], env={"LEADS_RATE": "0"})["duration"]["seconds"] is None


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "less than a second"),
        (1, "1 s"),
        (59.6, "1 min"),
        (5000, "1 h 23 min"),
        (3600, "1 h"),
        (3605, "1 h"),
        (90000, "1 d 1 h"),
    ],
)
def test_times_are_told_in_two_units(seconds: float, text: str) -> None:
    assert screen_check.time_told(seconds) == text


def test_the_command_to_type_says_how_the_file_was_read(leads: Leads, home: Path) -> None:
    """Quoted as a shell needs it."""
    write_csv(home / "my list.csv", [["Phone"], [phone(0)]])
    write(home / "list.toml", INSERT)
    found = leads("check", "my list.csv", "-m", "list.toml", "--encoding", "utf-8", "--json").json["check"]
    assert found["load"] == "leads load 'my list.csv' -m list.toml --encoding utf-8"


def test_what_json_holds_is_documented(checked: Callable[..., dict[str, Any]]) -> None:
    """Each key of `check` has its line in docs/check.md, and no other has."""
    text = (ROOT / "docs" / "check.md").read_text(encoding="utf-8")
    documented = re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)
    assert sorted(documented) == sorted(checked([row(0)]))


# --- On a screen ---


NASTY = "[bold red]x[/] \x1b[31m\x07 :smile: 漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字"


@pytest.mark.parametrize("columns", [80, 120])
def test_it_fits_the_screen_and_takes_cells_as_they_are(told: Callable[..., str], columns: int) -> None:
    """No markup, no escape sequence, no emoji comes of a cell; wide characters are counted as such."""
    rows = [HEADER, [phone(0), "Ada", NASTY, NASTY], [phone(1), "Bo", NASTY, "MA"]]
    out = told(rows, columns=columns)
    lines = out.splitlines()
    report = [line for line in lines if not line.startswith(("run ", "report", "rejected", "next"))]
    assert max(map(cell_len, report)) <= columns
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f]", out)
    assert "[bold red]x[/] \\x1b[31m\\x07" in out
    assert not [line for line in lines if line != line.rstrip()]


def test_the_dirty_sample_reads_as_its_readme_says(leads: Leads, home: Path) -> None:
    """The report of the sample list stands in the README as it is printed."""
    out = leads("check", ROOT / "sample_data" / "leads_dirty.csv", "-m", "generic").out
    shown = (ROOT / "README.md").read_text(encoding="utf-8")
    start = shown.index("$ leads check sample_data/leads_dirty.csv -m generic\n")
    block = shown[start:].partition("\n")[2].partition("```")[0]
    pieces = [piece.strip("\n") for piece in block.split("…\n") if piece.strip()]
    assert len(pieces) > 1
    for piece in pieces:
        assert piece in out
