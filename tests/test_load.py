from __future__ import annotations

import asyncio
import csv
import hashlib
import json
import os
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import (
    BOTH,
    TOKEN,
    Account,
    Leads,
    RawVendor,
    Result,
    by_day,
    http_reply,
    in_state,
    phone,
    settled,
    wait_until,
    write,
    write_csv,
    write_xlsx,
)

from pipeline import journal, lock, statedb
from pipeline.model import Payload
from pipeline.sandbox.profiles import profile_named

LEADS = Path(sys.executable).with_name("leads")
OK = http_reply("<br><br>Result:  OK")

# Design, section 6: users script against these.
COLUMNS = {
    "run_id": pa.string(),
    "source": pa.string(),
    "sheet": pa.string(),
    "row": pa.int64(),
    "operation": pa.string(),
    "status": pa.string(),
    "code": pa.string(),
    "message": pa.string(),
    "problems": pa.list_(
        pa.struct([("field", pa.string()), ("rule", pa.string()), ("value", pa.string()), ("message", pa.string())])
    ),
    "repairs": pa.list_(
        pa.struct(
            [
                ("field", pa.string()),
                ("raw", pa.string()),
                ("value", pa.string()),
                ("rule", pa.string()),
                ("lossless", pa.bool_()),
            ]
        )
    ),
    "row_key": pa.string(),
    "phone": pa.string(),
    "client_id": pa.string(),
    "payload_sha256": pa.string(),
    "attempts": pa.int32(),
    "http_status": pa.int32(),
    "reply": pa.string(),
    "result": pa.string(),
    "lead_id": pa.string(),
    "reconciled": pa.bool_(),
    "first_sent_at": pa.timestamp("us", tz="UTC"),
    "settled_at": pa.timestamp("us", tz="UTC"),
    "latency_ms": pa.float64(),
}

MIXED_MAPPING = """
operation = "InsertLead"
[source]
null_tokens = ["NULL"]
[fields]
ClientId = "Id"
PrimaryPhone = "Phone"
FirstName = "First"
LastName = "Last"
State = "State"
ZipCode = "Zip"
Campaign = "Campaign"
"adv_Policy Number" = "Policy #"
"""
HEADER = ["Id", "Phone", "First", "Last", "State", "Zip", "Campaign", "Policy #"]
SPRING = "Spring Renewals"
MIXED = [
    HEADER,
    ["A-2", "2025550102", "Ada", "Marlow", "DC", "20001", SPRING, "P 1"],
    ["A-3", "+1 (303) 555-0103", " Ben ", "Okafor", "colorado", "80202", SPRING, ""],
    ["A-4", "617.555.0104", "Zoë", "Ñandú 李 O\u2019Neil", "MA", "2108", "Demo", "ü"],
    ["A-5", "202-555-0102", "Ada", "Again", "DC", "20001", SPRING, ""],
    ["A-6", "2065550106", "Known", "Already", "WA", "98101", SPRING, ""],
    ["A-7", "3125550107", "Do", "Not-Call", "IL", "60601", SPRING, ""],
    ["A-8", "2025550108", "No", "Campaign", "DC", "20001", "Winter", ""],
    ["A-9", "555-0109", "Short", "Phone", "DC", "20001", SPRING, ""],
    ["A-10", "2025550110", "No", "State", "Nowhere", "20001", SPRING, ""],
    ["A-11", "2025550111", "No", "Zip", "DC", "2001", SPRING, ""],
    ["A-12", "2025550112", "R&B = 100% + ;", 'a "quoted", name\nin two lines', "", "", SPRING, "a&b=c+d e/é%20"],
    ["", "2025550113", "NULL", "", "", "", "Demo", ""],
]
RAGGED = ["A-14", "2025550114", "Rag", "Ged", "DC", "20001", SPRING, "", "one too many"]
STORED = {
    2: {
        "ClientId": "A-2",
        "PrimaryPhone": "2025550102",
        "FirstName": "Ada",
        "LastName": "Marlow",
        "State": "DC",
        "ZipCode": "20001",
        "Campaign": SPRING,
        "CustomFields": {"Policy Number": "P 1"},
    },
    3: {
        "ClientId": "A-3",
        "PrimaryPhone": "3035550103",
        "FirstName": "Ben",
        "LastName": "Okafor",
        "State": "CO",
        "ZipCode": "80202",
        "Campaign": SPRING,
        "CustomFields": {},
    },
    4: {
        "ClientId": "A-4",
        "PrimaryPhone": "6175550104",
        "FirstName": "Zoë",
        "LastName": "Ñandú 李 O'Neil",
        "State": "MA",
        "ZipCode": "02108",
        "Campaign": "Demo",
        "CustomFields": {"Policy Number": "ü"},
    },
    12: {
        "ClientId": "A-12",
        "PrimaryPhone": "2025550112",
        "FirstName": "R&B = 100% + ;",
        "LastName": 'a "quoted", name\nin two lines',
        "State": "",
        "ZipCode": "",
        "Campaign": SPRING,
        "CustomFields": {"Policy Number": "a&b=c+d e/é%20"},
    },
    13: {
        "PrimaryPhone": "2025550113",
        "FirstName": "",
        "LastName": "",
        "State": "",
        "ZipCode": "",
        "Campaign": "Demo",
        "CustomFields": {},
    },
}
FATES = {
    2: "accepted",
    3: "accepted",
    4: "accepted",
    5: "skipped/duplicate_in_file",
    6: "duplicate/duplicate_phone",
    7: "rejected/dnc",
    8: "rejected/unknown_campaign",
    9: "invalid/bad_phone",
    10: "invalid/bad_state",
    11: "invalid/bad_zip",
    12: "accepted",
    13: "accepted",
}

SIMPLE_MAPPING = """
operation = "InsertLead"
[fields]
PrimaryPhone = "Phone"
FirstName = "Name"
Campaign = { value = "Demo" }
"""


@pytest.fixture
def mixed(home: Path, account: Account) -> Path:
    """The mixed list as CSV, its mapping beside it, and an account that knows one phone and must not call another."""
    account.insert("2065550106", ClientId="OLD")
    account.forbid("3125550107")
    write(home / "mixed.toml", MIXED_MAPPING)
    return write_csv(home / "mixed.csv", [*MIXED, RAGGED])


@pytest.fixture
def simple(home: Path) -> Callable[..., Path]:
    """Makes a list of so many leads, with `simple.toml` for it; `policy` goes into that."""

    def make(rows: int, *, policy: str = "", name: str = "simple.csv", first: int = 0) -> Path:
        write(home / "simple.toml", SIMPLE_MAPPING + f"[policy]\n{policy}\n")
        lines = [["Phone", "Name"], *([phone(first + i), f"Name {first + i}"] for i in range(rows))]
        return write_csv(home / name, lines)

    return make


def assert_stored(account: Account, result: Result, expected: dict[int, dict[str, Any]], known: int = 0) -> None:
    """Accepted rows, and no others, are in the account, with exactly these values."""
    accepted = {row: told for row, told in result.by_row.items() if told["status"] == "accepted"}
    leads = account.leads()
    assert set(accepted) == set(expected)
    assert len(leads) == len(expected) + known
    for row, values in expected.items():
        lead = leads[values["PrimaryPhone"]]
        assert {name: lead[name] for name in values} == values
        assert accepted[row]["phone"] == lead["PrimaryPhone"]
        assert accepted[row]["client_id"] == lead["ClientId"]


def files_under(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


# What becomes of each row


def test_every_row_of_a_csv_ends_as_the_account_proves(leads: Leads, account: Account, mixed: Path) -> None:
    """Accepted rows are stored as they were cleaned, the others are not stored, and each says why."""
    result = leads("load", mixed, "-m", "mixed.toml", "--json", env=account.env)
    assert result.code == 1
    assert result.fates == FATES | {14: "invalid/ragged_row"}
    assert_stored(account, result, STORED, known=1)
    assert account.leads()["2065550106"]["ClientId"] == "OLD"
    assert account.requests == 2 + 8
    assert account.dials() == []


def test_every_row_of_a_workbook_ends_as_that_of_a_csv(leads: Leads, account: Account, mixed: Path) -> None:
    """The same list as .xlsx has the same outcomes, with the sheet's name in the report."""
    write_xlsx(mixed.with_name("mixed.xlsx"), MIXED)
    result = leads("load", "mixed.xlsx", "-m", "mixed.toml", "--json", env=account.env)
    assert result.code == 1
    assert result.fates == FATES
    assert {row["sheet"] for row in result.rows} == {"Leads"}
    assert_stored(account, result, STORED, known=1)


def test_a_lead_without_client_id_can_be_found_by_its_row_key(leads: Leads, account: Account, mixed: Path) -> None:
    """Where the ClientId is empty, the row key is sent in its place."""
    result = leads("load", mixed, "-m", "mixed.toml", "--json", env=account.env)
    told = result.by_row[13]
    assert account.leads()["2025550113"]["ClientId"] == told["row_key"] == told["client_id"]
    assert len(told["row_key"]) == 32


def test_the_report_has_the_columns_of_the_contract(leads: Leads, account: Account, mixed: Path) -> None:
    """Names, types, order and schema version are those that users script against; rows come in order."""
    result = leads("load", mixed, "-m", "mixed.toml", "--json", env=account.env)
    table = result.table
    assert {field.name: field.type for field in table.schema} == COLUMNS
    assert table.schema.names == list(COLUMNS)
    assert table.schema.metadata[b"schema_version"] == b"1"
    assert table["row"].to_pylist() == list(range(2, 15))


def test_the_report_tells_what_was_sent_and_what_came_back(leads: Leads, account: Account, mixed: Path) -> None:
    """A row that was sent has times, attempts, HTTP status and reply; one that was not has none of them."""
    before = by_day()
    result = leads("load", mixed, "-m", "mixed.toml", "--json", env=account.env)
    sent, refused, unsent = (result.by_row[row] for row in (2, 7, 9))
    assert {row["run_id"] for row in result.rows} == {result.json["run_id"]}
    assert {row["operation"] for row in result.rows} == {"InsertLead"}
    assert (sent["attempts"], sent["http_status"], sent["reply"]) == (1, 200, "Result: OK")
    assert before <= sent["first_sent_at"] <= sent["settled_at"] <= by_day()
    assert sent["latency_ms"] > 0
    assert refused["reply"] == "Result: CURL error[500]: Phone number is in the DNC list. Lead ignored."
    assert refused["message"] == refused["reply"]
    nothing = ("http_status", "reply", "first_sent_at", "settled_at", "latency_ms", "row_key", "payload_sha256")
    assert {unsent[name] for name in nothing} == {None}
    assert (unsent["attempts"], unsent["reconciled"]) == (0, False)
    assert [(p["field"], p["rule"], p["value"]) for p in unsent["problems"]] == [
        ("PrimaryPhone", "bad_phone", "555-0109")
    ]
    repairs = {(r["field"], r["raw"], r["value"]) for r in result.by_row[3]["repairs"]}
    assert repairs == {
        ("PrimaryPhone", "+1 (303) 555-0103", "3035550103"),
        ("FirstName", " Ben ", "Ben"),
        ("State", "colorado", "CO"),
    }


def test_rows_without_any_problem_end_with_exit_code_0(
    leads: Leads, account: Account, simple: Callable[..., Path]
) -> None:
    """Every row accepted is success, and so is every row duplicate when the list comes again."""
    path = simple(3)
    first = leads("load", path, "-m", "simple.toml", "--json", env=account.env)
    assert (first.code, first.json["counts"]) == (0, {"accepted": 3})
    assert first.json["rejected"] == []
    assert not list(first.folder.glob("rejected*"))
    again = leads("load", path, "-m", "simple.toml", "--json", env=account.env)
    assert again.code == 0
    assert len(account.leads()) == 3


# Other operations


def test_updates_from_a_file_change_what_they_name_and_nothing_else(leads: Leads, home: Path, account: Account) -> None:
    """A found lead is changed, empty cells leave it as it is, an id that nobody has is rejected."""
    account.insert("2025550101", ClientId="S-1", FirstName="Ada", LastName="Marlow", Notes="old")
    account.insert("2025550102", ClientId="S-2", FirstName="Ben", Notes="old")
    header = "ClientId,First Name,Last Name,Status,Notes,Callback Agent,Callback Date"
    write(
        home / "updates.csv",
        f"{header}\nS-1,,Hale,Interested,,jlee,4/5/2087 10:30\nS-2,,,,new & better,,\nS-3,,,Interested,,,\nS-1,,,,,,\n",
    )
    result = leads("load", "updates.csv", "-m", "update_by_clientid", "--json", env=account.env)
    assert result.code == 1
    assert result.fates == {
        2: "accepted",
        3: "accepted",
        4: "rejected/not_found",
        5: "invalid/nothing_to_update",
    }
    first, second = (account.leads()[number] for number in ("2025550101", "2025550102"))
    assert (first["FirstName"], first["LastName"], first["Notes"]) == ("Ada", "Hale", "old")
    assert first["CallStatus"] == "Interested"
    assert first["Callback"] == {"CallbackAgent": "jlee", "CallbackDate": "04/05/2087 10:30:00"}
    assert (second["FirstName"], second["Notes"]) == ("Ben", "new & better")
    assert len(account.leads()) == 2
    assert account.dials() == []


def test_callbacks_in_the_past_are_refused_unless_the_policy_allows_them(leads: Leads, home: Path) -> None:
    """The moment is the run's own; the policy may say that what is past goes as well."""
    fields = 'PrimaryPhone = "P"\nCallbackDate = "W"\nCallbackAgent = { value = "ann" }\nCampaign = { value = "c" }'
    write(home / "list.csv", "P,W\n2025550101,2020-01-02 10:00\n2025550102,2087-01-02 10:00\n")
    write(home / "m.toml", f'operation = "InsertLead"\n[fields]\n{fields}\n')
    assert leads("check", "list.csv", "-m", "m.toml", "--json").fates == {2: "invalid/past_date", 3: "valid"}
    write(home / "m.toml", f'operation = "InsertLead"\n[fields]\n{fields}\n[policy]\npast_dates = "allow"\n')
    assert leads("check", "list.csv", "-m", "m.toml", "--json").fates == {2: "valid", 3: "valid"}


def test_searches_from_a_file_say_what_was_found(leads: Leads, home: Path, account: Account) -> None:
    """A search that ran is accepted; its code says whether there is such a lead, and the result is JSON."""
    account.insert("2025550101", ClientId="S-1", FirstName="Zoë")
    mapping = """
operation = "LeadOperations.SearchLead"
[fields]
SearchField = { value = "Phone" }
Identifier = "Phone"
Detailed = "Full"
"""
    write(home / "search.toml", mapping)
    write(home / "search.csv", "Phone,Full\n(202) 555-0101,yes\n202-555-0101,0\n202-555-0199,1\n202-555-0198,\n")
    result = leads("load", "search.csv", "-m", "search.toml", "--json", env=account.env)
    assert result.code == 0
    assert result.fates == {
        2: "accepted/found",
        3: "accepted/found",
        4: "accepted/not_found",
        5: "accepted/not_found",
    }
    assert json.loads(result.by_row[2]["result"])["Leads"][0]["FirstName"] == "Zoë"
    assert [result.by_row[row]["lead_id"] for row in (2, 3, 4, 5)] == ["1", "1", None, None]
    assert result.by_row[4]["result"] is None


# check


def test_check_needs_no_credentials_and_sends_nothing(leads: Leads, account: Account, mixed: Path) -> None:
    """The rows that load refuses are refused by check too, the others are valid, and the vendor hears nothing."""
    before = account.requests
    checked = leads("check", mixed, "-m", "mixed.toml", "--json", env={"DIALEDIN_BASE_URL": account.url})
    assert account.requests == before
    assert checked.code == 1
    valid = {row for row, fate in checked.fates.items() if fate == "valid"}
    assert valid == {2, 3, 4, 6, 7, 8, 12, 13}
    loaded = leads("load", mixed, "-m", "mixed.toml", "--json", env=account.env)
    for row, told in loaded.by_row.items():
        if row not in valid:
            same = ("status", "code", "message", "problems", "repairs", "phone", "client_id")
            assert {name: told[name] for name in same} == {name: checked.by_row[row][name] for name in same}
    assert {row["status"] for row in checked.rows if row["attempts"]} == set()


def test_check_of_a_clean_list_ends_with_exit_code_0(leads: Leads, simple: Callable[..., Path]) -> None:
    """Only valid rows: success, without an account."""
    result = leads("check", simple(2), "-m", "simple.toml", "--json")
    assert (result.code, result.json["counts"]) == (0, {"valid": 2})


# The rejected file


def rejected_csv(result: Result) -> list[list[str]]:
    (path,) = result.json["rejected"]
    with Path(path).open(encoding="utf-8-sig", newline="") as file:
        return list(csv.reader(file))


def test_the_rejected_csv_holds_the_rows_to_mend_and_loads_again(leads: Leads, account: Account, mixed: Path) -> None:
    """It has the source's columns and ours; as it is, the same rows are refused; mended, only they are accepted."""
    first = leads("load", mixed, "-m", "mixed.toml", "--json", env=account.env)
    header, *lines = rejected_csv(first)
    assert header == [*HEADER, "_row", "_status", "_problems"]
    width = len(HEADER)
    by_row = {int(line[width]): line for line in lines}
    assert {row: line[width + 1] for row, line in by_row.items()} == {
        7: "rejected",
        8: "rejected",
        9: "invalid",
        10: "invalid",
        11: "invalid",
        14: "invalid",
    }
    for row, line in by_row.items():
        assert line[:width] + line[width + 3 :] == (RAGGED if row == 14 else MIXED[row - 1])
        assert line[width + 2]

    path = Path(first.json["rejected"][0])
    as_it_is = leads("load", path, "-m", "mixed.toml", "--json", env=account.env)
    assert as_it_is.json["counts"] == {"rejected": 2, "invalid": 4}

    by_row[9][1] = "202-555-0109"
    by_row[8][6] = "Demo"
    mended_path = write_csv(mixed.with_name("mended.csv"), [header, *by_row.values()])
    mended = leads("load", mended_path, "-m", "mixed.toml", "--json", env=account.env)
    accepted = [row["phone"] for row in mended.rows if row["status"] == "accepted"]
    assert sorted(accepted) == ["2025550108", "2025550109"]
    assert mended.json["counts"] == {"accepted": 2, "rejected": 1, "invalid": 3}
    assert account.leads()["2025550109"]["LastName"] == "Phone"


def test_the_rejected_workbook_holds_the_rows_to_mend_and_loads_again(
    leads: Leads, account: Account, mixed: Path
) -> None:
    """A list that came as .xlsx is handed back as .xlsx, and one mended cell makes one row go."""
    write_xlsx(mixed.with_name("mixed.xlsx"), MIXED)
    first = leads("load", "mixed.xlsx", "-m", "mixed.toml", "--json", env=account.env)
    (name,) = first.json["rejected"]
    book = openpyxl.load_workbook(name)
    sheet = book["Leads"]
    header, *lines = ([cell.value or "" for cell in row] for row in sheet.iter_rows())
    assert header == [*HEADER, "_row", "_status", "_problems"]
    assert {int(line[-3]): line[-2] for line in lines} == {
        7: "rejected",
        8: "rejected",
        9: "invalid",
        10: "invalid",
        11: "invalid",
    }
    assert all(line[:-3] == MIXED[int(line[-3]) - 1] for line in lines)
    as_it_is = leads("load", name, "-m", "mixed.toml", "--json", env=account.env)
    assert as_it_is.json["counts"] == {"rejected": 2, "invalid": 3}

    sheet.cell(4, 2).value = "202-555-0109"
    book.save("mended.xlsx")
    mended = leads("load", "mended.xlsx", "-m", "mixed.toml", "--json", env=account.env)
    assert [row["phone"] for row in mended.rows if row["status"] == "accepted"] == ["2025550109"]
    book.close()


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        ("header_row = 3", "Spring list\nmade on Monday\nPhone,Name\n"),
        ("header_row = 0", ""),
        ('delimiter = ";"', "Phone;Name\n"),
        ('encoding = "utf-16"', "Phone,Name\n"),
        ('encoding = "cp1252"', "Phone,Name\n"),
    ],
)
def test_the_rejected_file_loads_again_under_the_same_mapping(
    leads: Leads, home: Path, account: Account, source: str, lines: str
) -> None:
    """Whatever the mapping says about the file holds for the rejected file as well."""
    mapping = f'operation = "InsertLead"\n[source]\n{source}\n' + SIMPLE_MAPPING.split("\n", 2)[2]
    text = f"{lines}202-555-0101,Zoë\n555-0102,Zoë\n555-0103,Ben\n"
    if source == "header_row = 0":
        mapping = mapping.replace('"Phone"', '"1"').replace('"Name"', '"2"')
    if ";" in source:
        text = text.replace(",", ";")
    encoding = source.split('"')[1] if "encoding" in source else "utf-8"
    write(home / "odd.toml", mapping)
    write(home / "odd.csv", text.encode(encoding))
    first = leads("load", "odd.csv", "-m", "odd.toml", "--json", env=account.env)
    assert first.json["counts"] == {"accepted": 1, "invalid": 2}
    path = Path(first.json["rejected"][0])
    as_it_is = leads("load", path, "-m", "odd.toml", "--json", env=account.env)
    assert as_it_is.json["counts"] == {"invalid": 2}
    path.write_bytes(path.read_bytes().replace("555-0102".encode(encoding)[-8:], "202-555-0102".encode(encoding)[-12:]))
    if encoding != "utf-16":
        mended = leads("load", settled(path), "-m", "odd.toml", "--json", env=account.env)
        assert mended.json["counts"] == {"accepted": 1, "invalid": 1}
        assert account.leads()["2025550102"]["FirstName"] == "Zoë"


def test_a_rejected_file_of_ragged_rows_alone_loads_again(leads: Leads, home: Path, account: Account) -> None:
    """A row with a cell too many is refused again as it is; that it stands alone does not make the file unusable."""
    write(home / "simple.toml", SIMPLE_MAPPING)
    lines = [["Phone", "Name"], *([phone(i), "Ada"] for i in range(5)), [phone(9), "Ada", "Marlow"]]
    first = leads("load", write_csv(home / "r.csv", lines), "-m", "simple.toml", "--json", env=account.env)
    assert first.fates[7] == "invalid/ragged_row"
    again = leads("load", first.json["rejected"][0], "-m", "simple.toml", "--json", env=account.env)
    assert (again.code, again.json["counts"]) == (1, {"invalid": 1})


# Secrets


def assert_no_token(root: Path, *results: Result) -> None:
    """The token, in whatever spelling, is in no file under `root` and in no output."""
    spellings = {TOKEN, quote(TOKEN), quote_plus(TOKEN), quote(TOKEN, safe="")}
    found = [
        (str(path), text)
        for path in files_under(root)
        for text in spellings
        if text.encode() in path.read_bytes() or text.encode("utf-16-le") in path.read_bytes()
    ]
    for path in root.rglob("*.parquet"):
        content = json.dumps(pq.read_table(path).to_pylist(), default=str)
        found += [(str(path), text) for text in spellings if text in content]
    assert found == []
    assert not [text for result in results for text in spellings if text in result.out + result.err]


def test_the_token_is_nowhere(leads: Leads, account: Account, mixed: Path) -> None:
    """No file, no output and no request's address holds the token, and every call is a POST."""
    shown = leads("config", env=account.env)
    visited = leads("doctor", "-m", "mixed.toml", env=account.env)
    result = leads("load", mixed, "-m", "mixed.toml", env=account.env)
    also = leads("load", mixed, "-m", "mixed.toml", "--json", env=account.env)
    checked = leads("check", mixed, "-m", "mixed.toml", env=account.env)
    assert_no_token(mixed.parent, shown, visited, result, also, checked, leads("show"), leads("runs"))
    requests = account.see("requests")
    assert {request["method"] for request in requests} == {"POST"}
    assert TOKEN not in json.dumps(requests)


def test_a_wrong_token_is_nowhere_either(
    leads: Leads, start_account: Callable[..., Account], simple: Callable[..., Path]
) -> None:
    """What is refused is as secret as what is taken."""
    account = start_account(token="another")
    result = leads("load", simple(3), "-m", "simple.toml", "--json", env=account.env)
    assert result.code == 77
    assert_no_token(Path.cwd(), result)


@pytest.mark.parametrize(
    "answer",
    [
        lambda token: http_reply(f"<br><br>Result: CURL error[500]: Campaign of token={token} does not exist."),
        lambda token: http_reply(f"<br><br>Result: CURL error[500]: Campaign of {quote_plus(token)} does not exist."),
        lambda token: http_reply(f"<html><body>You sent token={token}</body></html>"),
        lambda token: http_reply(f"no such page: ?token={quote_plus(token)}", "404 Not Found"),
        lambda token: http_reply("", "302 Found", f"Location: /login?token={quote_plus(token)}\r\n"),
        lambda token: f"HTTP/1.1 {token} what\r\n\r\n".encode(),
        lambda token: f"token={token}\r\n\r\n".encode(),
        lambda token: http_reply("x" * 490 + token),
    ],
    ids=["refusal", "quoted", "page", "404", "redirect", "status-line", "no-http", "at-the-cut"],
)
def test_a_token_that_comes_back_is_not_kept(
    leads: Leads,
    raw_vendor: Callable[..., RawVendor],
    simple: Callable[..., Path],
    answer: Callable[[str], bytes],
) -> None:
    """A server that repeats what it was sent, in its reply or where none can be read, doesn't get it into a file."""
    vendor = raw_vendor(lambda form: answer(form["token"]))
    result = leads("load", simple(1), "-m", "simple.toml", "--json", "--attempts", 1, "--settle", 0, env=vendor.env)
    assert sum("PrimaryPhone" in form for form in vendor.forms) == 1
    assert result.rows[0]["status"] in ("rejected", "unknown", "failed")
    assert_no_token(Path.cwd(), result)
    # At the cut of the reply, not even the beginning of the token is kept.
    assert TOKEN[:8] not in (result.rows[0]["reply"] or "")


# The run folder


def test_only_the_owner_can_read_a_run(leads: Leads, account: Account, mixed: Path) -> None:
    """Folders are 0700 and files 0600, whatever the umask, and nothing but what the contract names is left."""
    write_xlsx(mixed.with_name("mixed.xlsx"), MIXED)
    result = leads("load", "mixed.xlsx", "-m", "mixed.toml", "--json", env=account.env)
    modes = {stat.S_IMODE(path.stat().st_mode) for path in files_under(result.folder)}
    assert modes == {0o600}
    assert stat.S_IMODE(result.folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((result.folder / "parts").stat().st_mode) == 0o700
    assert stat.S_IMODE(Path("state.db").stat().st_mode) == 0o600
    assert sorted(path.name for path in result.folder.iterdir()) == [
        "manifest.json",
        "parts",
        "rejected.xlsx",
        "results.parquet",
        "run.log.jsonl",
        "summary.json",
    ]


def test_the_manifest_says_what_was_read_how_and_by_what(leads: Leads, account: Account, mixed: Path) -> None:
    """Hashes of source and mapping, reading decisions, settings and versions are in it, and no secret."""
    result = leads("load", mixed, "-m", "mixed.toml", "--json", "--concurrency", 3, env=account.env)
    manifest = json.loads((result.folder / "manifest.json").read_text(encoding="utf-8"))
    (source,) = manifest["sources"]
    assert source["sha256"] == hashlib.sha256(mixed.read_bytes()).hexdigest()
    assert manifest["mapping"]["sha256"] == hashlib.sha256(Path("mixed.toml").read_bytes()).hexdigest()
    assert manifest["mapping"]["text"] == MIXED_MAPPING
    decided = {name: source[name] for name in ("encoding", "delimiter", "header_row", "columns", "rows", "ragged_rows")}
    assert decided == {
        "encoding": "utf-8",
        "delimiter": ",",
        "header_row": 1,
        "columns": HEADER,
        "rows": 13,
        "ragged_rows": 1,
    }
    assert manifest["settings"]["concurrency"] == "3"
    assert not [name for name in manifest["settings"] if "token" in name or "key" in name]
    assert (manifest["command"], manifest["operation"], manifest["account"]) == ("load", "InsertLead", "sandbox")
    assert {"dialedin-leads", "row_key", "mapping", "cleaners"} <= set(manifest["versions"])
    assert result.json["run_id"] == manifest["run_id"] == result.folder.name


def test_a_run_that_cannot_begin_leaves_no_folder(leads: Leads, home: Path, account: Account) -> None:
    """What is refused before anything is sent leaves nothing behind."""
    write(home / "simple.toml", SIMPLE_MAPPING)
    assert leads("load", "missing.csv", "-m", "simple.toml", env=account.env).code == 4
    assert not list((home / "runs").iterdir())


# Several files


def test_several_files_are_one_run(leads: Leads, account: Account, simple: Callable[..., Path]) -> None:
    """Each row knows its file, a phone that another file had is a repeat, and each file has its own rejected file."""
    one = simple(3, name="one.csv")
    two = write_csv(Path("two.csv"), [["Phone", "Name"], [phone(2), "again"], ["555-0100", "short"], [phone(3), "new"]])
    write(one, one.read_text() + "555-0199,short\n")
    result = leads("load", one, two, "-m", "simple.toml", "--json", env=account.env)
    assert result.code == 1
    assert [(row["source"], row["row"], row["status"]) for row in result.rows] == [
        ("one.csv", 2, "accepted"),
        ("one.csv", 3, "accepted"),
        ("one.csv", 4, "accepted"),
        ("one.csv", 5, "invalid"),
        ("two.csv", 2, "skipped"),
        ("two.csv", 3, "invalid"),
        ("two.csv", 4, "accepted"),
    ]
    assert [Path(path).name for path in result.json["rejected"]] == ["rejected-1.csv", "rejected-2.csv"]
    assert set(account.leads()) == {phone(i) for i in range(4)}


def test_files_of_one_name_are_told_apart(leads: Leads, account: Account, simple: Callable[..., Path]) -> None:
    """(source, sheet, row) is one row, also where two folders hold a file of the same name."""
    paths = [simple(1, name=f"{folder}/leads.csv", first=i) for i, folder in enumerate("ab")]
    result = leads("load", *paths, "-m", "simple.toml", "--json", env=account.env)
    assert [row["status"] for row in result.rows] == ["accepted", "accepted"]


# Limits, and people


def test_limit_sends_so_many_rows(leads: Leads, account: Account, simple: Callable[..., Path]) -> None:
    """The first rows that can be sent go, the others are not attempted."""
    result = leads("load", simple(5), "-m", "simple.toml", "--json", "--limit", 2, env=account.env)
    assert result.fates == {
        2: "accepted",
        3: "accepted",
        4: "not_attempted",
        5: "not_attempted",
        6: "not_attempted",
    }
    assert account.requests == 2


@pytest.mark.parametrize(
    ("policy", "flags", "words"),
    [
        ('dialing = "immediate"\nsuppress = "none"', (), "--max-contacts"),
        ('dialing = "timezone-checked"\nsuppress = "none"', (), "--max-contacts"),
        ('allow_dialing_dups = true\nsuppress = "none"', (), "--max-contacts"),
        ('dialing = "immediate"\nsuppress = "none"', ("--max-contacts", 2), "3 people"),
        ('dialing = "immediate"', ("--max-contacts", 9), "suppress"),
        ("dial_non_callables = true", (), "--dial-non-callables"),
        ('dial_non_callables = true\ndialing = "immediate"\nsuppress = "none"', ("--max-contacts", 9), "non-callables"),
    ],
)
def test_people_are_not_contacted_by_accident(
    leads: Leads, account: Account, simple: Callable[..., Path], policy: str, flags: tuple[object, ...], words: str
) -> None:
    """Without the operator's word for how many people, or for do-not-call numbers, nothing is sent."""
    result = leads("load", simple(3, policy=policy), "-m", "simple.toml", *flags, env=account.env)
    assert result.code == 2
    assert words in result.err
    assert account.requests == 0


@pytest.mark.parametrize(
    ("policy", "dialed"),
    [
        ("", []),
        ('dialing = "import-only"', []),
        ('dialing = "timezone-checked"\nsuppress = "none"', [(phone(0), True), (phone(1), True)]),
        ('dialing = "immediate"\nsuppress = "none"', [(phone(0), False), (phone(1), False)]),
    ],
)
def test_the_policy_alone_decides_who_is_dialed(
    leads: Leads, account: Account, simple: Callable[..., Path], policy: str, dialed: list[tuple[str, bool]]
) -> None:
    """The calls that would have gone out are those that the policy asks for."""
    path = simple(2, policy=policy)
    result = leads("load", path, "-m", "simple.toml", "--json", "--max-contacts", 2, env=account.env)
    assert result.json["counts"] == {"accepted": 2}
    assert sorted((dial["phone"], dial["timezone_checked"]) for dial in account.dials()) == dialed


def test_do_not_call_numbers_go_only_where_that_is_said_twice(
    leads: Leads, account: Account, simple: Callable[..., Path]
) -> None:
    """The policy and the flag together insert a lead that the account must not call."""
    account.forbid(phone(0))
    path = simple(1, policy="dial_non_callables = true")
    result = leads("load", path, "-m", "simple.toml", "--json", "--dial-non-callables", env=account.env)
    assert result.json["counts"] == {"accepted": 1}
    assert account.leads()[phone(0)]["Dnc"] is True
    assert account.dials() == []


def test_suppressed_numbers_are_not_sent(leads: Leads, account: Account, simple: Callable[..., Path]) -> None:
    """However the list beside the mapping writes them, they are skipped, and --max-contacts counts the others."""
    path = simple(4, policy='dialing = "immediate"\nsuppress = "dnc.csv"')
    write(path.with_name("dnc.csv"), f"number,why\n(202) 555-0101,asked\n+1 202.555.0103,sued\n{phone(50)},\n")
    result = leads("load", path, "-m", "simple.toml", "--json", "--max-contacts", 2, env=account.env)
    assert result.code == 0
    assert result.fates == {2: "accepted", 3: "skipped/suppressed", 4: "accepted", 5: "skipped/suppressed"}
    assert [dial["phone"] for dial in account.dials()] == [phone(0), phone(2)]
    assert set(account.leads()) == {phone(0), phone(2)}


@pytest.mark.parametrize(
    "cell", ["202-555-0100 x5", "202-555-0100 / 303-555-0199", "home: 2025550100, office: 3035550199", "2025550100.0"]
)
def test_a_suppressed_number_is_found_in_its_cell(
    leads: Leads, account: Account, simple: Callable[..., Path], cell: str
) -> None:
    """An extension, a second number or a word beside it does not take a person's protection away."""
    path = simple(2, policy='suppress = "dnc.csv"')
    write_csv(path.with_name("dnc.csv"), [["number"], [cell], [phone(50)]])
    result = leads("load", path, "-m", "simple.toml", "--json", env=account.env)
    assert result.fates == {2: "skipped/suppressed", 3: "accepted"}


def test_a_check_knows_who_would_be_held_back(leads: Leads, account: Account, simple: Callable[..., Path]) -> None:
    """The suppress list counts in a check as it does in a load; a list that is missing is told at once."""
    path = simple(3, policy='suppress = "dnc.csv"')
    assert leads("check", path, "-m", "simple.toml").code == 4
    write_csv(path.with_name("dnc.csv"), [[phone(1)]])
    checked = leads("check", path, "-m", "simple.toml", "--json")
    assert checked.fates == {2: "valid", 3: "skipped/suppressed", 4: "valid"}


def test_another_phone_can_not_go_where_people_are_dialed(
    leads: Leads, account: Account, simple: Callable[..., Path]
) -> None:
    """Only the phone that is called is held against the suppress list: with dialing, no other may be mapped."""
    path = simple(1, policy='suppress = "none"\ndialing = "immediate"')
    mapping = path.with_name("simple.toml")
    text = mapping.read_text().replace(
        "[policy]", "SecondaryPhone = 'Phone'\n[extra_fields]\nSecondaryPhone = 50\n[policy]"
    )
    write(mapping, text)
    result = leads("load", path, "-m", "simple.toml", "--max-contacts", 5, env=account.env)
    assert (result.code, account.requests) == (2, 0)
    assert "SecondaryPhone" in result.err


def test_suppressed_numbers_are_not_imported_either(
    leads: Leads, account: Account, simple: Callable[..., Path]
) -> None:
    """A suppress list holds where nobody is dialed, too."""
    path = simple(2, policy='suppress = "dnc.csv"')
    write(path.with_name("dnc.csv"), f"{phone(0)}\n")
    result = leads("load", path, "-m", "simple.toml", "--json", env=account.env)
    assert result.fates == {2: "skipped/suppressed", 3: "accepted"}


@pytest.mark.parametrize("content", [None, "", "name\nAda\n"])
def test_a_suppress_list_that_protects_nobody_stops_the_run(
    leads: Leads, account: Account, simple: Callable[..., Path], content: str | None
) -> None:
    """A list that is missing, empty or without numbers is an error, and nothing is sent."""
    path = simple(2, policy='suppress = "dnc.csv"')
    if content is not None:
        write(path.with_name("dnc.csv"), content)
    result = leads("load", path, "-m", "simple.toml", env=account.env)
    assert result.code == 4
    assert "dnc.csv" in result.err
    assert account.requests == 0


@pytest.mark.parametrize(
    "name",
    ["ImportOnly", "timezone", "AllowDialingDups", "DialNonCallables", "importonly", "TIMEZONE", "DIALNONCALLABLES"],
)
@pytest.mark.parametrize("table", ["fields", "extra_fields"])
def test_a_cell_cannot_set_what_the_policy_sets(leads: Leads, home: Path, name: str, table: str) -> None:
    """A mapping that takes such a parameter from a column is refused: the dialer may not look at capitals."""
    extra = f"[extra_fields]\n{name} = 1\n" if table == "extra_fields" else ""
    write(home / "bad.toml", SIMPLE_MAPPING.replace("[fields]", f'[fields]\n{name} = "Dial"') + extra)
    write(home / "bad.csv", f"Phone,Name,Dial\n{phone(0)},Ada,0\n")
    result = leads("check", "bad.csv", "-m", "bad.toml")
    assert (result.code, name in result.err) == (2, True)


@pytest.mark.parametrize("name", ["token", "accid", "Token"])
def test_a_cell_cannot_set_credentials(leads: Leads, home: Path, name: str) -> None:
    """Which account is meant is never a matter of a list."""
    mapping = SIMPLE_MAPPING.replace("[fields]", f'[fields]\n{name} = "Dial"') + f"[extra_fields]\n{name} = 50\n"
    write(home / "bad.toml", mapping)
    write(home / "bad.csv", f"Phone,Name,Dial\n{phone(0)},Ada,x\n")
    assert leads("check", "bad.csv", "-m", "bad.toml").code == 2


def test_an_unmapped_column_cannot_dial(leads: Leads, home: Path, account: Account) -> None:
    """Under unmapped = "custom" a column named like a policy parameter is a custom field like any other."""
    write(home / "custom.toml", SIMPLE_MAPPING.replace("[fields]", 'unmapped = "custom"\n[fields]'))
    write(home / "custom.csv", f"Phone,Name,ImportOnly,timezone\n{phone(0)},Ada,0,0\n")
    result = leads("load", "custom.csv", "-m", "custom.toml", "--json", env=account.env)
    assert result.json["counts"] == {"accepted": 1}
    assert account.leads()[phone(0)]["CustomFields"] == {"ImportOnly": "0", "timezone": "0"}
    assert account.dials() == []


# Halting


def test_a_wrong_token_is_noticed_at_once(
    leads: Leads, start_account: Callable[..., Account], simple: Callable[..., Path]
) -> None:
    """At most as many calls as go at once are spent; their rows failed, the others were not attempted."""
    account = start_account(token="another")
    result = leads("load", simple(500), "-m", "simple.toml", "--json", "--concurrency", 4, env=account.env)
    assert result.code == 77
    assert 1 <= account.requests <= 4
    fates = list(result.fates.values())
    assert fates.count("failed/credentials") == account.requests
    assert fates.count("not_attempted") == 500 - account.requests
    assert "credentials" in result.json["halted"]


def test_one_row_is_enough_to_notice_a_wrong_token(
    leads: Leads, start_account: Callable[..., Account], simple: Callable[..., Path]
) -> None:
    """A list of one row has no second one to confirm it."""
    account = start_account(token="another")
    result = leads("load", simple(1), "-m", "simple.toml", "--json", env=account.env)
    assert (result.code, result.fates) == (77, {2: "failed/credentials"})


def test_a_vendor_that_is_not_there_ends_the_run(leads: Leads, simple: Callable[..., Path], closed_port: int) -> None:
    """No connection: exit code 75, rows known not to have been sent, and none in doubt."""
    env = Account(f"http://127.0.0.1:{closed_port}/HttpImport/").env
    result = leads("load", simple(60), "-m", "simple.toml", "--json", "--attempts", 2, env=env)
    assert result.code == 75
    stopped = {"not_attempted/connect_error", "not_attempted/interrupted", "not_attempted"}
    assert set(result.fates.values()) <= {"failed/connect_error"} | stopped
    assert "connection" in result.json["halted"]
    few = leads("load", simple(1), "-m", "simple.toml", "--json", "--attempts", 1, env=env)
    assert (few.code, few.fates) == (75, {2: "failed/connect_error"})


def test_inserts_whose_reply_is_lost_are_unknown(
    leads: Leads, raw_vendor: Callable[..., RawVendor], simple: Callable[..., Path]
) -> None:
    """A server that hangs up on everything may have stored the lead: each row is sent once, and stays in doubt."""
    vendor = raw_vendor(lambda _: b"")
    result = leads("load", simple(5), "-m", "simple.toml", "--json", "--settle", 0, env=vendor.env)
    assert result.code == 5
    assert {row["status"] for row in result.rows} == {"unknown"}
    assert {row["attempts"] for row in result.rows} == {1}
    sent = [form["PrimaryPhone"] for form in vendor.forms if "PrimaryPhone" in form]
    assert sorted(sent) == sorted(phone(i) for i in range(5))


def test_updates_whose_reply_is_lost_are_sent_again(
    leads: Leads, home: Path, raw_vendor: Callable[..., RawVendor]
) -> None:
    """Repeating an update changes nothing, so it is tried again until there is a reply."""
    seen: set[str] = set()

    def answer(form: dict[str, str]) -> bytes:
        first = form["Identifier"] not in seen
        seen.add(form["Identifier"])
        return b"" if first else OK

    vendor = raw_vendor(answer)
    header = "ClientId,First Name,Last Name,Status,Notes,Callback Agent,Callback Date"
    write(home / "updates.csv", f"{header}\nS-1,Ada,,,,,\nS-2,Ben,,,,,\n")
    result = leads("load", "updates.csv", "-m", "update_by_clientid", "--json", env=vendor.env)
    assert (result.code, result.fates) == (0, {2: "accepted", 3: "accepted"})
    assert sorted(form["Identifier"] for form in vendor.forms) == ["S-1", "S-1", "S-2", "S-2"]
    assert {row["attempts"] for row in result.rows} == {2}


def test_too_many_errors_halt_the_run(leads: Leads, account: Account, simple: Callable[..., Path]) -> None:
    """Beyond --max-errors nothing more is sent; the rows that are left were not attempted."""
    path = simple(300)
    write(Path("winter.toml"), SIMPLE_MAPPING.replace('"Demo"', '"Winter"'))
    result = leads("load", path, "-m", "winter.toml", "--json", "--max-errors", 5, "--concurrency", 4, env=account.env)
    assert result.code == 3
    assert 6 <= account.requests <= 6 + 4
    fates = list(result.fates.values())
    assert fates.count("rejected/unknown_campaign") == account.requests
    assert sum(fate.startswith("not_attempted") for fate in fates) == 300 - account.requests
    assert "--max-errors" in result.json["halted"]


def test_fifty_errors_in_a_row_halt_the_run_by_default(
    leads: Leads, account: Account, simple: Callable[..., Path]
) -> None:
    """A share of errors is judged after 200 verdicts, but fifty in a row are too many at once."""
    path = simple(150)
    write(Path("winter.toml"), SIMPLE_MAPPING.replace('"Demo"', '"Winter"'))
    result = leads("load", path, "-m", "winter.toml", "--json", env=account.env)
    assert result.code == 3
    assert 50 <= account.requests <= 50 + 8


def test_a_hostile_proxy_costs_time_and_no_rows(
    leads: Leads, start_account: Callable[..., Account], simple: Callable[..., Path]
) -> None:
    """Requests that a proxy turned away, or that never reached the dialer, are sent again until they are taken."""
    account = start_account(profile=profile_named("dialer-down"), seed=7)
    result = leads("load", simple(60), "-m", "simple.toml", "--json", env=account.env)
    assert result.json["counts"] == {"accepted": 60}
    assert len(account.leads()) == 60
    assert account.requests == sum(row["attempts"] for row in result.rows) > 60
    assert account.see("state")["same_phone_in_flight"] == 0


# Stopping


@BOTH
def test_sigterm_ends_the_run_with_every_row_accounted_for(
    home: Path, start_account: Callable[..., Account], simple: Callable[..., Path]
) -> None:
    """Calls under way end, no others begin; what the report calls accepted is stored, and nothing else is."""
    account = start_account(profile=profile_named("slow"))
    path = simple(400)
    command = [LEADS, "load", path, "-m", "simple.toml", "--json"]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env={**os.environ, **account.env}, **pipes) as process:
        wait_until(lambda: account.requests > 8)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=30)
    result = Result(process.returncode, out, err)
    assert result.code == 143
    rows = result.rows
    assert {row["status"] for row in rows} == {"accepted", "not_attempted"}
    accepted = {row["phone"] for row in rows if row["status"] == "accepted"}
    assert accepted == set(account.leads())
    assert len(accepted) == account.requests < 400
    assert in_state("SELECT DISTINCT state FROM sends") == [("settled",)]


@BOTH
def test_two_signals_end_the_process_at_once(
    home: Path, raw_vendor: Callable[..., RawVendor], simple: Callable[..., Path]
) -> None:
    """The second one does not wait for calls under way; the journal still says what was sent."""
    hold = threading.Event()

    def answer(_: dict[str, str]) -> bytes:
        hold.wait(30)
        return b""

    vendor = raw_vendor(answer)
    command = [LEADS, "load", simple(20), "-m", "simple.toml", "--json", "--concurrency", "3"]
    try:
        with subprocess.Popen(command, env={**os.environ, **vendor.env}, stderr=subprocess.DEVNULL) as process:
            wait_until(lambda: len(vendor.forms) == 3)
            process.send_signal(signal.SIGTERM)
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(0.3)  # it drains
            process.send_signal(signal.SIGTERM)
            assert process.wait(10) == -signal.SIGTERM
    finally:
        hold.set()
    sending = in_state("SELECT phone FROM sends WHERE state = 'sending'")
    assert {number for (number,) in sending} == {form["PrimaryPhone"] for form in vendor.forms}


# Other runs


def left_sending(account: Account, row: Payload, operation: str = "InsertLead") -> None:
    """What a run that was killed leaves: a row that was being sent."""
    state = statedb.engine(os.environ["LEADS_STATE"])

    async def begin() -> None:
        with journal.open_journal(state, journal.Scope("earlier", f"sandbox@{account.url}", operation)) as written:
            assert await written.begin(row, 0)

    asyncio.run(begin())


@BOTH
def test_the_claims_of_a_dead_run_are_free(
    leads: Leads, home: Path, account: Account, simple: Callable[..., Path]
) -> None:
    """A run that was killed holds no phone for ever: whoever has the account's lock knows that it is dead."""
    left_sending(account, Payload(0, 2, "0" * 32, phone(1), "", "", b"", ""))
    result = leads("load", simple(3), "-m", "simple.toml", "--json", env=account.env)
    assert (result.code, set(result.fates.values())) == (0, {"accepted"})


@BOTH
@pytest.mark.parametrize("stored", [True, False])
def test_a_row_that_a_dead_run_was_sending_is_looked_up_first(
    leads: Leads, home: Path, account: Account, simple: Callable[..., Path], stored: bool
) -> None:
    """If the lead is there it is accepted and not sent again; if not, it is sent now."""
    path = simple(1)
    checked = leads("check", path, "-m", "simple.toml", "--json", env=account.env)
    (row,) = checked.rows
    left_sending(account, Payload(0, 2, row["row_key"], phone(0), "", row["client_id"], b"", row["payload_sha256"]))
    if stored:
        account.insert(phone(0), ClientId=row["client_id"], Campaign="Demo")
    result = leads("load", path, "-m", "simple.toml", "--json", "--settle", 0, env=account.env)
    assert result.fates == {2: "accepted"}
    assert result.by_row[2]["reconciled"] is stored
    assert set(account.leads()) == {phone(0)}


@BOTH
def test_the_same_list_twice_sends_nothing_the_second_time(
    leads: Leads, account: Account, simple: Callable[..., Path]
) -> None:
    """Under whatever name; a longer list sends what is new; --again sends all."""
    path = simple(3)
    assert leads("load", path, "-m", "simple.toml", "--json", env=account.env).json["counts"] == {"accepted": 3}
    sent = account.requests
    renamed = write(path.with_name("renamed.csv"), path.read_text())
    again = leads("load", renamed, "-m", "simple.toml", "--json", env=account.env)
    assert (again.code, again.json["codes"]) == (0, {"skipped/already_loaded": 3})
    assert account.requests == sent
    longer = leads("load", simple(5, name="longer.csv"), "-m", "simple.toml", "--json", env=account.env)
    assert longer.json["counts"] == {"accepted": 2, "skipped": 3}
    forced = leads("load", path, "-m", "simple.toml", "--again", "--json", env=account.env)
    assert forced.json["counts"] == {"duplicate": 3}


def test_another_account_or_address_is_another_ledger(
    leads: Leads, start_account: Callable[..., Account], simple: Callable[..., Path]
) -> None:
    """A rehearsal does not shadow the real load."""
    path, first, second = simple(2), start_account(), start_account()
    for account in (first, second):
        assert leads("load", path, "-m", "simple.toml", "--json", env=account.env).json["counts"] == {"accepted": 2}


@BOTH
def test_a_second_run_is_refused_while_one_sends(leads: Leads, account: Account, simple: Callable[..., Path]) -> None:
    """One sending run per account: exit 6, at once, with nothing sent; a check needs no lock."""
    with lock.held(statedb.engine(os.environ["LEADS_STATE"]), f"sandbox@{account.url}", "other"):
        result = leads("load", simple(1), "-m", "simple.toml", "--json", env=account.env)
        assert (result.code, result.out, account.requests) == (6, "", 0)
        assert "run other" in result.err
        assert leads("check", simple(1), "-m", "simple.toml", env=account.env).code == 0
    assert leads("load", simple(1), "-m", "simple.toml", env=account.env).code == 0


@BOTH
def test_an_update_that_goes_back_to_an_older_campaign_is_sent(leads: Leads, home: Path, account: Account) -> None:
    """What counts is the latest payload for the lead, not for the lead in that campaign."""
    account.insert(phone(1), ClientId="C-1")
    mapping = """operation = "UpdateLead"
[fields]
SearchField = { value = "ClientId" }
Identifier = "Id"
Campaign = "Campaign"
"""
    write(home / "move.toml", mapping)
    for campaign in ("Demo", "Spring Renewals", "Demo"):
        path = write_csv(home / "move.csv", [["Id", "Campaign"], ["C-1", campaign]])
        result = leads("load", path, "-m", "move.toml", "--json", env=account.env)
        assert result.fates == {2: "accepted"}
        assert account.leads()[phone(1)]["Campaign"] == campaign
