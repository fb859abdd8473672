"""Parquet as a list, and the report of one run as the list of the next."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import Account, Leads, Result, phone, settled, write, write_csv
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from pipeline import parquet, source
from pipeline.model import InputError, UserError
from pipeline.report import REPORT
from pipeline.sandbox.config import FindMeConfig
from pipeline.source import SourceOptions

KEY = "k3y/with+signs&more"
INSERT = """
operation = "InsertLead"
unmapped = "ignore"
[fields]
PrimaryPhone = "Phone"
Campaign = { value = "Spring Renewals" }
"""
SPEED_TO_LEAD = """
operation = "ClickToFindMe.List"
[fields]
phone_to_call = "phone"
list = "source.Agents"
ref = "row_key"
[policy]
suppress = "none"
"""
SEARCH = """
operation = "LeadOperations.SearchLead"
unmapped = "ignore"
[fields]
SearchField = { value = "Phone" }
Identifier = "Phone"
Detailed = { value = "1" }
"""
UPDATE = """
operation = "UpdateLead"
[fields]
SearchField = { value = "LeadId" }
Identifier = "lead_id"
City = "source.Town"
"""
ACCEPTED = "status = 'accepted'"


def no_pause(seconds: float) -> None:
    """The second look comes at once."""


def write_parquet(path: Path, columns: dict[str, Any], **options: Any) -> Path:
    pq.write_table(pa.table(columns), path, **options)
    return settled(path)


def inspected(path: Path, **options: Any) -> source.Inspection:
    return source.inspect(path, SourceOptions(**options), path.parent, pause=no_pause)


def read(path: Path, **options: Any) -> dict[int, tuple[str, ...]]:
    """Cells by row."""
    found = inspected(path, **options)
    cells: dict[int, tuple[str, ...]] = {}
    for chunk in source.read(found):
        assert list(chunk.frame.columns) == list(found.columns)
        cells |= dict(zip(chunk.frame.index.tolist(), chunk.frame.itertuples(index=False, name=None), strict=True))
    assert len(cells) == found.rows
    return cells


def texts(cells: pa.Array) -> list[str | None]:
    return parquet.as_text(cells).to_pylist()


# --- cells as text

NOON = dt.datetime.fromisoformat("2027-01-02T12:00:05")


@pytest.mark.parametrize(
    ("cells", "told"),
    [
        (pa.array(["NA", "007", "", None]), ["NA", "007", "", None]),
        (pa.array(["a"], pa.large_string()), ["a"]),
        (pa.array(["a", "b", None]).dictionary_encode(), ["a", "b", None]),
        (pa.array([2025550123, -1, None]), ["2025550123", "-1", None]),
        (pa.array([2**64 - 1], pa.uint64()), ["18446744073709551615"]),
        (pa.array([2025550123.0, 0.1, 1e22, 1.5e-7, float("nan"), None]),
         ["2025550123", "0.1", "1" + 22 * "0", "0.00000015", None, None]),
        (pa.array([0.1, 3.0], pa.float32()), ["0.1", "3"]),
        (pa.array([Decimal("12.50"), Decimal("-0.05"), None]), ["12.50", "-0.05", None]),
        (pa.array([Decimal("0.0000000012")]), ["0.0000000012"]),
        (pa.array([True, False, None]), ["true", "false", None]),
        (pa.array([dt.date(2027, 1, 2)]), ["2027-01-02"]),
        (pa.array([NOON, None], pa.timestamp("s")), ["2027-01-02T12:00:05", None]),
        (pa.array([NOON, NOON.replace(microsecond=120_000)]), ["2027-01-02T12:00:05", "2027-01-02T12:00:05.12"]),
        (pa.array([NOON], pa.timestamp("us", tz="UTC")), ["2027-01-02T12:00:05Z"]),
        (pa.array([NOON], pa.timestamp("ns", tz="America/Denver")), ["2027-01-02T12:00:05Z"]),
        (pa.array([dt.time(9, 30)]), ["09:30:00"]),
        (pa.array([b"caf\xc3\xa9"]), ["café"]),
        (pa.array([None, None]), [None, None]),
        (pa.array([[1, None], [], None]), ["[1, null]", "[]", None]),
        (pa.array([{"city": "Zürich", "since": NOON, "owed": Decimal("1.5"), "code": b"x"}]),
         ['{"city": "Zürich", "since": "2027-01-02T12:00:05", "owed": "1.5", "code": "x"}']),
    ],
    ids=lambda case: str(case.type) if isinstance(case, pa.Array) else "",
)  # fmt: skip
def test_every_type_is_told_as_text(cells: pa.Array, told: list[str | None]) -> None:
    """As a person would write it: no exponents, no `.0`, ISO 8601, JSON for what has parts."""
    assert texts(cells) == told


@given(st.floats(allow_nan=False, allow_infinity=False, width=64))
def test_a_number_is_told_without_loss(number: float) -> None:
    """Read back, it is the same; and a whole one has no point."""
    (told,) = texts(pa.array([number]))
    assert told is not None
    assert float(told) == number
    assert "e" not in told
    assert ("." in told) == (number != int(number))


@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=5) | st.none(), min_size=1, max_size=30),
    st.integers(1, 7),
    st.integers(0, 30),
)
def test_rows_have_the_numbers_of_their_records(
    tmp_path: Path, cells: list[str | None], group_rows: int, least: int
) -> None:
    """Whatever the row groups are, and with others left out: from 1, as they stand in the file."""
    path = write_parquet(tmp_path / "a.parquet", {"a": cells, "n": range(len(cells))}, row_group_size=group_rows)
    every = {at: (cell or "", str(at - 1)) for at, cell in enumerate(cells, 1)}
    assert read(path) == every
    chosen = {at: row for at, row in every.items() if at > least}
    assert read(path, where=f"n >= {least}") == chosen
    found = inspected(path, where=f"n >= {least}")
    assert (found.rows, found.left_out) == (len(chosen), len(cells) - len(chosen))
    assert (found.header_row, found.first_row, found.last_row) == (0, 1, max(chosen, default=0))


def test_a_parquet_file_is_known_by_its_content(tmp_path: Path) -> None:
    """The inspection says what it is, and is JSON."""
    path = write_parquet(tmp_path / "list.csv", {" Phone ": [2025550101, None], "City": ["NA", " - "]})
    found = inspected(path)
    assert (found.format, found.columns, found.encoding, found.delimiter) == ("parquet", ("Phone", "City"), "", "")
    assert json.loads(json.dumps(found.as_json()))["rows"] == 2
    assert read(path) == {1: ("2025550101", "NA"), 2: ("", " - ")}


def test_a_large_file_comes_in_pieces(tmp_path: Path) -> None:
    """However its writer cut it into row groups."""
    path = write_parquet(tmp_path / "a.parquet", {"a": range(50_000)}, row_group_size=50_000)
    chunks = list(source.read(inspected(path)))
    assert [len(chunk.frame) for chunk in chunks] == [20_000, 20_000, 10_000]
    wide = write_parquet(tmp_path / "b.parquet", {"a": [f"{at:050}" * 2000 for at in range(200)]}, use_dictionary=False)
    assert max(len(chunk.frame) for chunk in source.read(inspected(wide))) < 100


def names(*given: str) -> pa.Table:
    return pa.Table.from_arrays([pa.array(["x"])] * len(given), names=list(given))


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (names("a", "b", "a "), "several of its columns are named 'a'"),
        (names("a", " "), "its column 2 has no name"),
        (pa.table({"a": pa.array([], pa.string())}), "it has no rows"),
        (pa.table({"a": [b"\xff"], "b": ["x"]}), "column 'a' holds bytes that are no text, in rows 1 to 1"),
    ],
)
def test_a_table_that_is_no_list_is_refused(tmp_path: Path, content: pa.Table, told: str) -> None:
    """In one line that names the file and what is wrong."""
    path = tmp_path / "a.parquet"
    pq.write_table(content, path)
    with pytest.raises(InputError, match=told) as caught:
        read(settled(path))
    assert str(caught.value).startswith(f"{path}: ")


@pytest.mark.parametrize(
    "damage",
    [
        lambda whole: whole[:-20],
        lambda whole: whole[: len(whole) // 2],
        lambda whole: whole[:4],
        lambda whole: whole[:40] + bytes(40) + whole[80:],
        lambda whole: b"PARE" + whole[4:],
    ],
)
def test_a_damaged_file_is_refused(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    """In one line, and never a part of it read as the whole."""
    whole = write_parquet(tmp_path / "a.parquet", {"a": [str(at) * 9 for at in range(500)]}).read_bytes()
    path = write(tmp_path / "b.parquet", damage(whole))
    with pytest.raises(InputError, match=r"damaged|encrypted|no text") as caught:
        read(path)
    assert "\n" not in str(caught.value)


# --- --where


def test_an_expression_sees_types(tmp_path: Path) -> None:
    """Numbers, times in UTC, lists: all that DuckDB knows, not text."""
    at = pa.array([NOON, None, NOON + dt.timedelta(days=1)], pa.timestamp("us", tz="UTC"))
    path = write_parquet(tmp_path / "a.parquet", {"n": [9, 10, None], "settled_at": at, "l": [["x"], [], None]})
    assert list(read(path, where="n > 9")) == [2]
    assert list(read(path, where="n IS NULL OR n = 9")) == [1, 3]
    assert list(read(path, where="settled_at < '2027-01-03'")) == [1]
    assert list(read(path, where="hour(settled_at) = 12 -- noon")) == [1, 3]
    assert list(read(path, where="list_contains(l, 'x')")) == [1]


def test_an_expression_may_ask_for_the_row(tmp_path: Path) -> None:
    """By the number that the report has it under, wherever it stands among the row groups."""
    path = write_parquet(tmp_path / "a.parquet", {"n": range(50)}, row_group_size=7)
    assert list(read(path, where="row_of_file BETWEEN 14 AND 16")) == [14, 15, 16]


def test_columns_that_differ_in_case_only_are_not_mistaken_for_each_other(tmp_path: Path) -> None:
    """DuckDB takes the one for the other: to an expression, such a file has neither."""
    path = write_parquet(tmp_path / "a.parquet", {"n": [1, 2], "Phone": ["1", "2"], "phone": ["2", "1"]})
    assert list(read(path, where="n = 2")) == [2]
    with pytest.raises(UserError, match='"phone" not found'):
        read(path, where="phone = '1'")


BAD = {
    "stats = 'accepted'": '"stats" not found.*"status"',
    "status =": "syntax error",
    "": "--where ''",
    "status": "Could not convert string",
    "status = 'a', true": "single expression",
    "true) OR (true": "syntax error",
    "true); COPY (SELECT 1) TO 'out.csv'; --": "syntax error",
    "true UNION SELECT 1": "syntax error|modifiers|Parser Error",
    "count(*) > 1": "aggregates",
    "row_number() OVER () = 1": "window functions",
    "\udcff = 1": "UTF-8",
}


@pytest.mark.parametrize("expression", BAD, ids=ascii)
def test_a_bad_expression_is_told_in_duckdbs_words(tmp_path: Path, expression: str) -> None:
    """On one line, after the flag."""
    path = write_parquet(tmp_path / "a.parquet", {"status": ["accepted", "failed"]})
    with pytest.raises(UserError, match=BAD[expression]) as caught:
        read(path, where=expression)
    text = str(caught.value)
    assert text.startswith(f"{path}: --where ")
    assert "\n" not in text
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    "reach",
    [
        "EXISTS (FROM read_csv('{secret}'))",
        "EXISTS (FROM read_text('{secret}'))",
        "EXISTS (FROM read_parquet('{own}'))",
        "EXISTS (FROM '{secret}')",
        "EXISTS (FROM glob('{folder}/*'))",
        "EXISTS (FROM sniff_csv('{secret}'))",
        "EXISTS (FROM read_csv('http://127.0.0.1:9/a.csv'))",
        "status IN (SELECT status FROM table)",
        "EXISTS (FROM _SETTINGS)",
        "getenv('HOME') IS NOT NULL",
    ],
)
def test_an_expression_reaches_nothing_but_its_record(tmp_path: Path, reach: str) -> None:
    """No file, not even its own; no address; no variable of ours."""
    secret = write(tmp_path / "secret.csv", "a\nb\n")
    path = write_parquet(tmp_path / "a.parquet", {"status": ["accepted"]})
    with pytest.raises(UserError, match="--where"):
        read(path, where=reach.format(secret=secret, own=path, folder=tmp_path))
    assert sorted(found.name for found in tmp_path.iterdir()) == ["a.parquet", "secret.csv"]


def test_an_expression_is_for_parquet_only(leads: Leads, home: Path) -> None:
    """A CSV file has no types, and no report is one."""
    write_csv(home / "leads.csv", [["Phone"], [phone(1)]])
    write(home / "insert.toml", INSERT)
    result = leads("check", "leads.csv", "-m", "insert.toml", "--where", "true")
    assert (result.code, result.out) == (2, "")
    told = "--where chooses rows of Parquet files, such as a run's report, and this is csv"
    assert result.err == f"leads: leads.csv: {told}\n"
    assert not list((home / "runs").glob("*"))


# --- a Parquet list through the line


def test_a_parquet_list_is_loaded(leads: Leads, home: Path, account: Account) -> None:
    """A phone may be a number with decimals there, as a spreadsheet's export has it; every record has its outcome."""
    write(home / "insert.toml", INSERT.replace('"ignore"', '"error"') + 'FirstName = "Name"\n')
    phones = pa.array([float(phone(1)), None, float(phone(3))])
    write_parquet(home / "list.parquet", {"Phone": phones, "Name": ["Ann", "Bo", None]})
    result = leads("load", "list.parquet", "-m", "insert.toml", "--json", env=account.env)
    assert result.fates == {1: "accepted", 2: "invalid/missing", 3: "accepted"}
    assert set(account.leads()) == {phone(1), phone(3)}


def test_the_rejected_file_of_a_parquet_list_loads_again(leads: Leads, home: Path, account: Account) -> None:
    """It is CSV: people mend no Parquet."""
    write(home / "insert.toml", INSERT.replace('"ignore"', '"error"') + 'FirstName = "Name"\n')
    write_parquet(home / "list.parquet", {"Phone": [phone(1), "12"], "Name": ["Ann", "Zoë\nB."]})
    first = leads("load", "list.parquet", "-m", "insert.toml", "--json", env=account.env)
    (rejected,) = map(Path, first.json["rejected"])
    assert rejected.name == "rejected.csv"
    text = rejected.read_text(encoding="utf-8-sig")
    assert text.startswith('Phone,Name,_row,_status,_problems\n12,"Zoë\nB.",2,invalid,')
    write(rejected, text.replace("\n12,", f"\n{phone(2)},"))
    for again in (("load", rejected, "-m", "insert.toml"), ("retry", first.json["run_id"], "--mended", rejected)):
        mended = leads(*again, "--json", env=account.env)
        assert mended.json["rows_read"] == 1
    assert set(account.leads()) == {phone(1), phone(2)}


def test_only_chosen_rows_are_read(leads: Leads, home: Path, account: Account) -> None:
    """The others are no rows of the run: the manifest says how many they were, and by which words."""
    write(home / "insert.toml", INSERT)
    write_parquet(home / "list.parquet", {"Phone": [phone(at) for at in range(5)], "Score": [1, 9, 2, 8, None]})
    result = leads("load", "list.parquet", "-m", "insert.toml", "--where", "Score > 5", "--json", env=account.env)
    assert result.fates == {2: "accepted", 4: "accepted"}
    manifest = json.loads((result.folder / "manifest.json").read_text())
    (of,) = manifest["sources"]
    assert (of["rows"], of["left_out"], of["where"], manifest["options"]["where"]) == (2, 3, "Score > 5", "Score > 5")
    assert "--where leaves 3 of 5 rows out" in result.json["notes"]


def test_a_run_of_no_rows_is_well(leads: Leads, home: Path, account: Account) -> None:
    """Where nothing was accepted tonight, nothing follows, and nobody has to be woken for it."""
    write(home / "insert.toml", INSERT)
    write_parquet(home / "list.parquet", {"Phone": [phone(1)]})
    for command in ("check", "load"):
        result = leads(command, "list.parquet", "-m", "insert.toml", "--where", "false", "--json", env=account.env)
        assert (result.code, result.rows, result.json["rows_read"]) == (0, [], 0)


def test_a_suppress_file_may_be_parquet(leads: Leads, home: Path) -> None:
    """Whatever type its phones have: whoever is in it is not contacted."""
    write(home / "insert.toml", INSERT + '[policy]\nsuppress = "dnc.parquet"\n')
    write_parquet(home / "dnc.parquet", {"number": [int(phone(1))]})
    write_csv(home / "leads.csv", [["Phone"], [phone(1)], [phone(2)]])
    result = leads("check", "leads.csv", "-m", "insert.toml", "--json")
    assert result.fates == {2: "skipped/suppressed", 3: "valid"}


# --- reports


@pytest.fixture
def vendors(start_account: Callable[..., Account]) -> tuple[Account, dict[str, str]]:
    """A dialer, and a DialogTech that answers at once; the environment that points at both."""
    account = start_account(find_me=FindMeConfig(key=KEY, ring_seconds=0.0))
    url = account.url.replace("/HttpImport/", "/dialogtech/")
    return account, account.env | {"DIALOGTECH_BASE_URL": url, "DIALOGTECH_KEY": KEY}


def inserted(leads: Leads, home: Path, env: dict[str, str], rows: Sequence[Sequence[str]]) -> Result:
    write(home / "insert.toml", INSERT)
    write_csv(home / "leads.csv", [["Phone", "Agents", "Town"], *rows])
    return leads("load", "leads.csv", "-m", "insert.toml", "--json", env=env)


def test_accepted_leads_are_connected_to_an_agent(
    leads: Leads, home: Path, vendors: tuple[Account, dict[str, str]]
) -> None:
    """Insert, then speed to lead: only those whom the dialer took, once each, with the insert's row key in `ref`."""
    account, env = vendors
    rows = [["(202) 555-0101", "2025550190", "Reno"], ["12", "2025550190", ""], [phone(2), "2025550191", ""]]
    first = inserted(leads, home, env, rows)
    assert list(first.fates.values()) == ["accepted", "invalid/bad_phone", "accepted"]
    write(home / "speed.toml", SPEED_TO_LEAD)
    command = ("load", first.json["report"], "--where", ACCEPTED, "-m", "speed.toml", "--max-contacts", 2, "--json")
    result = leads(*command, env=env)
    assert result.fates == {1: "accepted", 3: "accepted"}
    rings = account.see("rings")
    customers = {ring["number"]: ring["ref"] for ring in rings if ring["part"] == "phone_to_call"}
    assert customers == {row["phone"]: row["row_key"] for row in first.rows if row["status"] == "accepted"}
    assert {ring["number"] for ring in rings if ring["part"] == "list"} == {"2025550190", "2025550191"}
    assert leads(*command, env=env).fates == {1: "skipped/already_loaded", 3: "skipped/already_loaded"}
    assert len(account.see("rings")) == len(rings)


def test_leads_that_were_found_are_updated_by_their_id(leads: Leads, home: Path, account: Account) -> None:
    """A search, then an update: by what the search found, with what the searched list says."""
    account.insert(phone(1), City="Old")
    account.insert(phone(2), City="Old")
    write(home / "search.toml", SEARCH)
    write(home / "update.toml", UPDATE)
    write_csv(home / "towns.csv", [["Phone", "Town"], [phone(1), "Reno"], [phone(3), "Elko"], [phone(2), ""]])
    found = leads("load", "towns.csv", "-m", "search.toml", "--json", env=account.env)
    assert found.fates == {2: "accepted/found", 3: "accepted/not_found", 4: "accepted/found"}
    where = "code = 'found' AND \"source.Town\" <> ''"
    result = leads("load", found.json["report"], "--where", where, "-m", "update.toml", "--json", env=account.env)
    assert result.fates == {1: "accepted"}
    assert {number: lead["City"] for number, lead in account.leads().items()} == {phone(1): "Reno", phone(2): "Old"}


def test_what_the_mapping_does_not_name_of_a_report_needs_no_word(leads: Leads, home: Path, account: Account) -> None:
    """Neither the report's columns nor its source's; those that a user has added do."""
    first = inserted(leads, home, account.env, [[phone(1), "x", "Reno"]])
    write(home / "short.toml", INSERT.replace('"ignore"', '"error"').replace('"Phone"', '"phone"'))
    assert leads("check", first.json["report"], "-m", "short.toml").code == 0
    copy = home / "copy.parquet"
    pq.write_table(first.table.append_column("Score", pa.array([7])), copy)
    refused = leads("check", settled(copy), "-m", "short.toml")
    assert (refused.code, "doesn't mention: 'Score';" in refused.err) == (2, True)


def test_every_column_of_a_report_can_be_mapped(leads: Leads, home: Path, account: Account) -> None:
    """By its own name; those of the list that it tells of follow, with `source.` before them, as they were there."""
    first = inserted(leads, home, account.env, [[f" {phone(1)}", "a|b", "Reno"], ["12"], ["13", "c", "Elko"]])
    write(home / "short.toml", INSERT.replace('"Phone"', '"source.Phone"'))
    checked = leads("check", first.json["report"], "-m", "short.toml", "--json")
    assert checked.fates == {1: "valid", 2: "invalid/missing", 3: "invalid/bad_phone"}
    (of,) = json.loads((checked.folder / "manifest.json").read_text())["sources"]
    assert of["columns"] == [*REPORT.names, "source.Phone", "source.Agents", "source.Town"]
    told = leads("explain", checked.json["run_id"], "--row", 3, "--json").json["cells"]
    assert (told["row"], told["source"], told["source.Phone"], told["source.Town"]) == ("4", "leads.csv", "13", "Elko")
    assert [problem["rule"] for problem in json.loads(told["problems"])] == ["bad_phone"]
    ragged = leads("explain", checked.json["run_id"], "--row", 2, "--json").json["cells"]
    assert (ragged["code"], ragged["source.Phone"]) == ("ragged_row", "")


def test_a_report_of_several_lists_has_the_columns_of_all(leads: Leads, home: Path, account: Account) -> None:
    """In the report's order, which is not that in which they were given; "" where a list lacks a column."""
    write(home / "insert.toml", INSERT)
    write_csv(home / "b.csv", [["Phone", "Town"], [phone(1), "Reno"]])
    write_csv(home / "a.csv", [["Rep", "Phone"], ["Ann", phone(2)], ["Bo", phone(3)]])
    first = leads("load", "b.csv", "a.csv", "-m", "insert.toml", "--json", env=account.env)
    fields = 'FirstName = "source.Rep"\nCity = "source.Town"\n'
    write(home / "both.toml", INSERT.replace('"Phone"', '"phone"') + fields)
    checked = leads("check", first.json["report"], "-m", "both.toml", "--json")
    sent = [leads("explain", checked.json["run_id"], "--row", at, "--json").json["payload"] for at in (1, 2, 3)]
    assert [(form["PrimaryPhone"], form.get("FirstName"), form.get("City")) for form in sent] == [
        (phone(2), "Ann", None),
        (phone(3), "Bo", None),
        (phone(1), None, "Reno"),
    ]


def test_nothing_follows_from_nothing(leads: Leads, home: Path, account: Account) -> None:
    """A report without rows is a list of none, to an expression; and has the columns of what it tells of."""
    first = inserted(leads, home, account.env, [[phone(1), "x", "Reno"]])
    write(home / "short.toml", INSERT.replace('"Phone"', '"source.Phone"'))
    empty = leads("check", first.json["report"], "-m", "short.toml", "--where", "false", "--json")
    write(home / "short.toml", INSERT.replace('"Phone"', '"source.source.Phone"'))
    again = leads("check", empty.json["report"], "-m", "short.toml", "--where", "true", "--json")
    assert (again.code, again.rows) == (0, [])
    refused = leads("check", empty.json["report"], "-m", "short.toml")
    assert (refused.code, "it has no rows" in refused.err) == (4, True)


def test_a_person_is_forgotten_in_what_followed_as_well(leads: Leads, home: Path, account: Account) -> None:
    """A list that was a report is emptied like any: it is not among the files that are left to their owner."""
    first = inserted(leads, home, account.env, [[phone(1), "x", "Reno"], [phone(2), "y", "Elko"]])
    write(home / "search.toml", SEARCH.replace('"Phone"\nDetailed', '"phone"\nDetailed'))
    second = leads("load", first.json["report"], "-m", "search.toml", "--json", env=account.env)
    told = leads("forget", phone(1), "--json").json
    assert told["runs"] == {first.json["run_id"]: 1, second.json["run_id"]: 1}
    assert told["sources"] == [str(home / "leads.csv")]
    assert phone(1) not in str([pq.read_table(part).to_pylist() for part in (home / "runs").rglob("*.parquet")])
    checked = leads("check", first.json["report"], "-m", "search.toml", "--where", "code <> 'forgotten'", "--json")
    assert checked.fates == {2: "valid"}


@pytest.mark.parametrize("how", ["pruned", "moved", "sorted"])
def test_a_report_without_its_parts_has_its_own_columns_only(
    leads: Leads, home: Path, account: Account, how: str
) -> None:
    """Where the parts are gone, or are not those of this report any more, no cell of theirs is taken for its."""
    first = inserted(leads, home, account.env, [[phone(1), "x", "Reno"], [phone(2), "y", "Elko"]])
    report = Path(first.json["report"])
    if how == "pruned":
        for part in (first.folder / "parts").iterdir():
            part.unlink()
    elif how == "moved":
        report = settled(report.rename(home / "results.parquet"))
    else:
        pq.write_table(first.table.sort_by([("row", "descending")]), report)
    write(home / "short.toml", INSERT.replace('"Phone"', '"phone"'))
    assert leads("check", report, "-m", "short.toml", "--json").fates == {1: "valid", 2: "valid"}
    write(home / "short.toml", INSERT.replace('"Phone"', '"source.Phone"'))
    refused = leads("check", report, "-m", "short.toml")
    assert (refused.code, "the file has no column 'source.Phone'" in refused.err) == (2, True)


def test_a_folder_of_somebody_elses_is_no_run(leads: Leads, home: Path) -> None:
    """A manifest.json beside the file may be of any tool."""
    write(home / "short.toml", INSERT)
    write(home / "target" / "manifest.json", '{"sources": {}}')
    write_parquet(home / "target" / "results.parquet", {"Phone": [phone(1)]})
    assert leads("check", "target/results.parquet", "-m", "short.toml").code == 0


def test_the_rejected_file_of_a_report_loads_again(leads: Leads, home: Path, account: Account) -> None:
    """With all of the report's columns, about which the mapping needs no word there either."""
    first = inserted(leads, home, account.env, [["12", "x", "Reno"]])
    write(home / "strict.toml", INSERT.replace('"ignore"', '"error"').replace('"Phone"', '"source.Phone"'))
    second = leads("load", first.json["report"], "-m", "strict.toml", "--json", env=account.env)
    (rejected,) = map(Path, second.json["rejected"])
    write(rejected, rejected.read_text(encoding="utf-8-sig").replace(",12,x,Reno", f",{phone(1)},x,Reno"))
    third = leads("load", rejected, "-m", "strict.toml", "--json", env=account.env)
    assert third.fates == {2: "accepted"}


def test_such_a_run_is_resumed_and_retried(leads: Leads, home: Path, account: Account) -> None:
    """With the same rows as before: the expression is the run's own."""
    first = inserted(leads, home, account.env, [[phone(at), "x", town] for at, town in enumerate(["Reno", "", "Elko"])])
    write(home / "search.toml", SEARCH.replace('"Phone"\nDetailed', '"phone"\nDetailed'))
    where = "\"source.Town\" <> ''"
    some = leads(
        "load", first.json["report"], "-m", "search.toml", "--where", where, "--limit", 1, "--json", env=account.env
    )
    assert some.fates == {1: "accepted/found", 3: "not_attempted"}
    retried = leads("retry", some.json["run_id"], "--only", "not_attempted", "--json", env=account.env)
    assert retried.fates == {3: "accepted/found"}
    resumed = leads("resume", some.json["run_id"], "--json", env=account.env)
    assert set(resumed.fates) == {1, 3}
    for name in ("run.log.jsonl", "summary.json", "results.parquet"):  # as if it had died before it began to send
        (some.folder / name).unlink()
    again = leads("resume", some.json["run_id"], "--json", env=account.env)
    assert again.fates == {1: "accepted/found", 3: "not_attempted"}
