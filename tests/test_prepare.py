"""From chunk to part: every row once, with its payload or its reason, however the file is cut into chunks."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl

import pandas as pd
import pyarrow as pa
import pytest
from given import INSERT, TARGET, UPDATE, text_frame, validator
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import payloads, prepare
from pipeline.payloads import Target
from pipeline.prepare import Counts, Preparer
from pipeline.report import PART
from pipeline.source import Chunk, RaggedRow

Columns = Mapping[str, Sequence[str]]
AGAIN = "duplicate_in_file"
POLICY = '[policy]\nduplicates_in_file = "{}"\n'
A, B, C = "2025550101", "2025550102", "2025550103"


def chunk(columns: Columns, first_row: int = 2, ragged: tuple[RaggedRow, ...] = ()) -> Chunk:
    return Chunk(text_frame(columns, first_row), ragged)


def phones(*chunks: Sequence[str]) -> list[Chunk]:
    """Chunks of a list with one column, numbered through."""
    firsts = [2 + sum(len(c) for c in chunks[:i]) for i in range(len(chunks))]
    return [chunk({"Phone": cells}, first) for cells, first in zip(chunks, firsts, strict=True)]


def prepared(toml: str, *files: Sequence[Chunk], target: Target = TARGET) -> list[list[dict[str, Any]]]:
    """The rows of the parts of each file of one run."""
    judge = validator(toml, *files[0][0].frame.columns)
    known, names = bool(target.account), [f"{number}.csv" for number in range(len(files))]
    counts, out = Counts(judge.plan.policy), []
    preparers = [Preparer(judge, target, known, number, names) for number in range(len(files))]
    if counts.looks_ahead:
        for preparer, chunks in zip(preparers, files, strict=True):
            for one in chunks:
                counts.foresee(preparer.number, preparer.look(one).told)
    for preparer, chunks in zip(preparers, files, strict=True):
        parts = [prepare.made(preparer, counts, one).part for one in chunks]
        for table in parts:
            assert pa.schema(list(table.schema)[: len(PART)]).equals(PART)
            table.validate(full=True)
        out.append(pa.concat_tables(parts).to_pylist())
    return out


def fates(rows: Sequence[dict[str, Any]]) -> list[str]:
    return [row["code"] or row["status"] for row in rows]


def test_many_columns_are_sent_and_kept() -> None:
    """A list of a thousand columns is sent whole, and each cell keeps its place in the part."""
    names = [f"c{number}" for number in range(1_000)]
    toml = INSERT.replace("[fields]", 'unmapped = "custom"\n[fields]')
    [[row]] = prepared(toml, [chunk({"Phone": [A], **{name: [name] for name in names}})])
    sent = dict(parse_qsl(row["payload"]))
    assert [sent[f"adv_{name}"] for name in names] == names
    assert [row[f"cell_{number}"] for number in range(1, 1_001)] == names


def test_a_part_has_what_is_sent_and_what_was_read() -> None:
    """A valid row has key, claims and payload, a refused one its problems; both keep their cells as they were."""
    toml = INSERT + 'ClientId = "Id"\nCity = "City"'
    columns = {"Phone": ["(202) 555-0101", "555", ""], "Id": ["17", "18", ""], "City": ["", "x" * 101, "y"]}
    ((sent, bad, missing),) = prepared(toml, [chunk(columns)])
    assert (sent["row"], sent["status"], sent["code"], sent["message"]) == (2, "valid", None, None)
    assert (sent["phone"], sent["identifier"], sent["client_id"]) == (A, "ClientId:17", "17")
    assert sent["payload"] == f"ImportOnly=1&Campaign=Spring&PrimaryPhone={A}&ClientId=17"
    assert [r["rule"] for r in sent["repairs"]] == ["phone_format"]
    assert (sent["cell_0"], sent["cell_1"], sent["cell_2"]) == ("(202) 555-0101", "17", "")
    assert (bad["row"], bad["status"], bad["code"]) == (3, "invalid", "bad_phone")
    assert bad["message"].startswith("PrimaryPhone: ")
    assert [p["rule"] for p in bad["problems"]] == ["bad_phone", "too_long"]
    assert [bad[name] for name in ("row_key", "identifier", "payload", "payload_sha256")] == [None] * 4
    assert (bad["phone"], bad["client_id"], bad["cell_2"]) == ("555", "18", "x" * 101)
    assert (missing["code"], missing["phone"], missing["client_id"]) == ("missing", None, None)


def test_without_an_account_there_are_no_keys() -> None:
    """A check before there are credentials shows no key, nor a ClientId that would be made of one."""
    ((row,),) = prepared(INSERT, phones([A]), target=Target(TARGET.url, ""))
    assert (row["status"], row["row_key"], row["client_id"]) == ("valid", None, None)
    assert row["payload"] == f"ImportOnly=1&Campaign=Spring&PrimaryPhone={A}"


def test_a_key_stands_in_for_a_client_id() -> None:
    """A row without ClientId is reported with the one that is sent."""
    ((row,),) = prepared(INSERT, phones([A]))
    assert len(row["row_key"]) == 32
    assert row["client_id"] == row["row_key"]
    assert row["identifier"] == ""


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("first", ["valid", "valid", AGAIN, "bad_phone", "valid", AGAIN, "bad_phone"]),
        ("last", [AGAIN, "valid", AGAIN, "bad_phone", "valid", "valid", "bad_phone"]),
        ("error", [AGAIN, "valid", AGAIN, "bad_phone", "valid", AGAIN, "bad_phone"]),
        ("keep", ["valid", "valid", "valid", "bad_phone", "valid", "valid", "bad_phone"]),
    ],
)
@pytest.mark.parametrize("cuts", [(7,), (1, 1, 1, 1, 1, 1, 1), (2, 3, 2), (0, 4, 0, 3)])
def test_repeats_within_a_file(mode: str, expected: list[str], cuts: tuple[int, ...]) -> None:
    """Which of the rows with one phone goes depends on the policy, not on the chunks; refused rows don't count."""
    cells, chunks = [A, B, "202-555-0101", "1", C, A, "1"], []
    for size in cuts:
        chunks.append(cells[:size])
        cells = cells[size:]
    ((rows),) = prepared(INSERT + POLICY.format(mode), phones(*chunks))
    assert fates(rows) == expected
    for row in rows:
        assert (row["row_key"] is not None) == (row["payload"] is not None) == (row["status"] == "valid")
        if row["code"] == "duplicate_in_file":
            assert row["status"] == ("invalid" if mode == "error" else "skipped")
            assert row["message"]
            assert bool(row["problems"]) == (mode == "error")
    keys = [row["row_key"] for row in rows if row["row_key"]]
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize(
    ("mode", "told"),
    [
        ("first", [None, None, "row 2 has the same phone", "row 2 has the same phone", None]),
        ("last", ["row 5 has the same phone", None, "row 5 has the same phone", None, None]),
        ("error", ["row 5", None, "row 2", "row 2", None]),
    ],
)
def test_a_repeat_names_the_row_that_it_repeats(mode: str, told: Sequence[str | None]) -> None:
    """The one that is kept; where none is, the first, and for that one the last."""
    (rows,) = prepared(INSERT + POLICY.format(mode), phones([A, B, A], [A, C]))
    if mode == "error":
        told = [
            name and f"PrimaryPhone: {name} has the same, and the mapping's policy allows each only once"
            for name in told
        ]
    assert [row["message"] for row in rows] == told


def test_a_repeat_of_another_file_names_that() -> None:
    """Numbers of rows alone would be taken for those of its own file."""
    first, second = prepared(INSERT, phones([A, B]), phones([C, B]))
    assert [row["message"] for row in first] == [None, None]
    assert [row["message"] for row in second] == [None, "row 3 of 0.csv has the same phone"]


def test_kept_repeats_have_the_keys_of_their_occurrence() -> None:
    """Where repeats are kept each has a key of its own, the first the plain one, in whatever chunk or file it is."""
    toml = INSERT + POLICY.format("keep")
    one, other = prepared(toml, phones([A, B], [A]), phones([A]))
    keys = [row["row_key"] for row in (*one, *other)]
    assert len(set(keys)) == 4
    assert keys[:2] == [row["row_key"] for row in prepared(INSERT, phones([A, B]))[0]]
    assert [row["client_id"] for row in (*one, *other)] == keys


def cut_files(rows: st.SearchStrategy[Any]) -> st.SearchStrategy[list[list[list[Any]]]]:
    """The files of a run, in chunks of some rows."""
    return st.lists(st.lists(st.lists(rows, max_size=6), min_size=1, max_size=3), min_size=1, max_size=2)


LISTED = st.tuples(st.sampled_from([A, B, C, "x", ""]), st.sampled_from(["", "7", "8"]), st.booleans())


@settings(max_examples=40)
@given(cut_files(LISTED))
def test_kept_repeats_are_numbered_as_one_by_one(files: list[list[list[tuple[str, str, bool]]]]) -> None:
    """However a run's files are cut, a key counts the earlier rows of its phone and ClientId, refused ones too."""
    toml, seen = INSERT + 'ClientId = "Id"\nCity = "City"\n' + POLICY.format("keep"), Counter[tuple[str, str]]()
    cut, expected = [], []
    for rows in files:
        first, chunks = 2, []
        for some in rows:
            cells = {
                "Phone": [r[0] for r in some],
                "Id": [r[1] for r in some],
                "City": ["x" * 101 * r[2] for r in some],
            }
            chunks.append(chunk(cells, first))
            first += len(some)
            for number, client_id, is_refused in some:
                seen[number, client_id] += 1
                is_sent = number in (A, B, C) and not is_refused
                expected.append(_numbered_key(number, client_id, seen[number, client_id]) if is_sent else None)
        cut.append(chunks)
    assert [row["row_key"] for rows in prepared(toml, *cut) for row in rows] == expected


def _numbered_key(number: str, client_id: str, occurrence: int) -> str:
    parts = [TARGET.url, TARGET.account, "InsertLead", "Spring", "", client_id, number]
    parts += [str(occurrence)] if occurrence > 1 else []
    return hashlib.sha256("".join(f"{len(part)}:{part}" for part in parts).encode()).hexdigest()[:32]


@settings(max_examples=40)
@given(
    cut_files(st.sampled_from([A, B, C, "x"])),
    st.sampled_from(["first", "last", "error"]),
)
def test_repeats_are_set_aside_as_one_by_one(files: list[list[list[str]]], mode: str) -> None:
    """However a run's files are cut, the policy is kept as by who sees all rows at once."""
    numbers = [number for rows in files for some in rows for number in some]
    expected = []
    for at, number in enumerate(numbers):
        others = {"first": numbers[:at], "last": numbers[at + 1 :], "error": numbers[:at] + numbers[at + 1 :]}[mode]
        expected.append("bad_phone" if number == "x" else AGAIN if number in others else "valid")
    got = prepared(INSERT + POLICY.format(mode), *(phones(*rows) for rows in files))
    assert [fate for rows in got for fate in fates(rows)] == expected


@pytest.mark.parametrize("mode", ["first", "keep"])
def test_payloads_are_built_once(monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
    """To number the repeats takes their keys only."""
    built, form = [], payloads.form
    monkeypatch.setattr(payloads, "form", lambda parameters, rows: built.append(rows) or form(parameters, rows))
    prepared(INSERT + POLICY.format(mode), phones([A, B], [C]))
    assert built == [2, 1]


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("first", [["valid"], ["duplicate_in_file", "duplicate_in_file", "valid"]]),
        ("last", [["duplicate_in_file"], ["duplicate_in_file", "valid", "valid"]]),
        ("error", [["duplicate_in_file"], ["duplicate_in_file", "duplicate_in_file", "valid"]]),
    ],
)
def test_repeats_count_over_all_files_of_a_run(mode: str, expected: list[list[str]]) -> None:
    """One phone goes once, in whichever of the files it stands."""
    assert [fates(rows) for rows in prepared(INSERT + POLICY.format(mode), phones([A]), phones([A, A, B]))] == expected


@pytest.mark.parametrize("mode", ["first", "last", "error", "keep"])
def test_updates_repeat_by_identifier(mode: str) -> None:
    """Two updates of one lead are repeats; the same value under another search field is another lead."""
    columns = {"By": ["LeadId", "ClientId", "LeadId"], "Id": ["4", "4", "4"], "City": ["a", "b", "c"]}
    ((rows),) = prepared(UPDATE + POLICY.format(mode), [chunk(columns)])
    assert (
        fates(rows)
        == {
            "first": ["valid", "valid", "duplicate_in_file"],
            "last": ["duplicate_in_file", "valid", "valid"],
            "error": ["duplicate_in_file", "valid", "duplicate_in_file"],
            "keep": ["valid"] * 3,
        }[mode]
    )
    if mode == "error":
        assert [p["field"] for p in rows[0]["problems"]] == ["Identifier"]


@pytest.mark.parametrize("mode", ["first", "last", "error", "keep"])
def test_searches_may_repeat(mode: str) -> None:
    """Where an operation has nothing to repeat by, every row goes."""
    toml = 'operation = "LeadOperations.SearchLead"\n[fields]\nSearchField = "By"\nIdentifier = "Id"\n'
    columns = {"By": ["LeadId", "LeadId"], "Id": ["4", "4"]}
    assert fates(prepared(toml + POLICY.format(mode), [chunk(columns)])[0]) == ["valid", "valid"]


@pytest.mark.parametrize("toml", [INSERT, UPDATE], ids=["insert", "update"])
@pytest.mark.parametrize("mode", ["first", "last", "error", "keep"])
def test_a_chunk_of_nothing_but_ragged_rows(toml: str, mode: str) -> None:
    """Rows that no mapping can see are refused with their own cells."""
    headers = ("Phone",) if toml is INSERT else ("By", "Id", "City")
    ragged = (RaggedRow(7, ("a",) * 9), RaggedRow(9, ()))
    ((rows),) = prepared(toml + POLICY.format(mode), [chunk(dict.fromkeys(headers, ()), ragged=ragged)])
    assert [(r["row"], r["status"], r["code"], r["ragged"]) for r in rows] == [
        (7, "invalid", "ragged_row", ["a"] * 9),
        (9, "invalid", "ragged_row", []),
    ]
    assert rows[0]["message"].startswith(f"the row has 9 cells where the header has {len(headers)}")
    assert rows[0]["problems"] == [
        {"field": "", "rule": "ragged_row", "value": "a | a | a | a | a", "message": rows[0]["message"]}
    ]


@settings(max_examples=25)
@given(
    st.lists(
        st.lists(st.tuples(st.sampled_from([A, B, "", "x", None]), st.text(max_size=3)), max_size=6),
        min_size=1,
        max_size=4,
    ),
    st.sampled_from(["first", "last", "error", "keep"]),
)
def test_every_row_is_in_its_part_once(chunks: list[list[tuple[str | None, str]]], mode: str) -> None:
    """Whatever is wrong with it, each row of a chunk is in its part once, in order, as it was read."""
    toml, row, given_chunks, expected = INSERT + 'Notes = "Notes"\n' + POLICY.format(mode), 1, [], []
    for rows in chunks:
        numbered = [(row + i, phone, notes) for i, (phone, notes) in enumerate(rows, start=1)]
        row += len(rows)
        whole = [r for r in numbered if r[1] is not None]
        frame = text_frame({"Phone": [str(r[1]) for r in whole], "Notes": [r[2] for r in whole]})
        frame.index = pd.Index([r[0] for r in whole], dtype="int64", name="row")
        given_chunks.append(
            Chunk(frame, tuple(RaggedRow(n, (notes,)) for n, phone, notes in numbered if phone is None))
        )
        expected += numbered
    ((got),) = prepared(toml, given_chunks)
    assert [r["row"] for r in got] == [n for n, _, _ in expected]
    for part_row, (_, phone, notes) in zip(got, expected, strict=True):
        if phone is None:
            assert (part_row["ragged"], part_row["cell_0"], part_row["status"]) == ([notes], None, "invalid")
        else:
            assert (part_row["ragged"], part_row["cell_0"], part_row["cell_1"]) == (None, phone, notes)
        assert (part_row["status"] == "invalid") == bool(part_row["problems"])
        assert (part_row["status"] == "valid") == (part_row["payload"] is not None)
