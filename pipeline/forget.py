"""A person goes: from the parts, the report and the rejected files of every run, and from the state database.

A mark stays, by which no later run contacts that phone. Rows keep their numbers and their status, so that what was
read still adds up; their code is `forgotten`. A run is found to be done by its parts, which go first: whoever starts
again after a crash goes on with the rest.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote_plus

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import sqlalchemy as sa

from pipeline import folder, leases, lock, marked, records, rejected, report, statedb, suppress
from pipeline.clean import CleanOptions
from pipeline.clean.phone import area_regions, us_phone
from pipeline.clean.text import Refusal, tidy
from pipeline.files import STDIN
from pipeline.folder import RunFolder
from pipeline.model import FORGOTTEN, Status, UserError
from pipeline.tables import HELD, REQUESTS, SENDS
from schemas.catalogue import CATALOGUE
from schemas.spec import Effect

Rows = dict[int, set[int]]  # row numbers by source

_ANSWERS = ("message", "reply", "result")  # what the vendor said, which may name others than the row's own person
_READS = frozenset(operation.name for operation in CATALOGUE.values() if operation.effect is Effect.READ)
_PLACE = ("run_id", "source", "sheet", "row", "operation")  # where a row is: it says nothing of a person


def phone_of(text: str) -> str:
    """The ten digits that are meant. Raises UserError where that is no phone."""
    fix = tidy(text)
    value = fix.value if fix else text
    found = us_phone(value, CleanOptions(regions=tuple(set(area_regions().values()))))
    if isinstance(found, Refusal):
        raise UserError(f"PHONE: {found.message}")
    return found.value if found else value


@dataclass(slots=True)
class Forgotten:
    """What was removed, or would be. It does not hold the phone.

    `runs` is emptied rows by run, `state_rows` counts rows of the state database. `accepted` and `in_doubt` are rows
    that the dialer took, or may have taken. `sources` are the files that those rows came from, `still_in` files of
    runs that name the phone beside their rows, `elsewhere` runs whose journal is another database.
    """

    dry_run: bool
    runs: dict[str, int] = field(default_factory=dict)
    state_rows: int = 0
    accepted: int = 0
    in_doubt: int = 0
    sources: list[str] = field(default_factory=list)
    still_in: list[str] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)


def forget(phone: str, runs: Path, state: sa.Engine, at: int, *, dry_run: bool = False) -> Forgotten:
    """Removes a person by ten digits, from every run under `runs` and from the state database, and keeps a mark.

    `at` is microseconds since 1970. Raises LockedError while a run is sending, and UserError or DiskError where a
    file can't be read or written: nothing is lost by doing it again.
    """
    told = Forgotten(dry_run)
    with lock.all_alone(state, "of leads forget"):
        leases.clear(state)
        if not dry_run:
            marked.mark(state, statedb.hashed(phone, marked.marks_key(state)), at)
        found = folder.all_runs(runs)
        rows = {run.run_id: _in_run(run, phone, told) for run in found}
        told.elsewhere = [r.run_id for r in found if r.run_id in told.runs and records.is_elsewhere(state, r)]
        reports = {run.results.resolve() for run in found}
        told.sources = [path for path in told.sources if Path(path).resolve() not in reports]  # a run's list may be one
        _in_state(state, phone, rows, at, told)
        if not dry_run:
            for run in folder.dead_at_birth(runs):
                run.remove()
            statedb.compact(state)
    return told


# --- A run's folder ---


def _in_run(run: RunFolder, phone: str, told: Forgotten) -> Rows:
    """Empties a person's rows in a run's folder. The numbers of all of its rows that are empty by now."""
    manifest = run.read_json("manifest.json")
    new, rows = _in_parts(run, phone, dry_run=told.dry_run)
    if new:
        told.runs[run.run_id] = new.total()
        paths = (manifest["sources"][number]["path"] for number in new)
        own = (path for path in paths if path not in ("", STDIN))  # a call has none
        told.sources = list(dict.fromkeys([*told.sources, *own]))
    if not told.dry_run:
        run.remove_leftovers()
        _in_report(run, manifest, phone, rows)
        _in_rejected(run, manifest, phone, rows)
        if new and run.has_sent:
            run.log("forgotten", rows=new.total())
    texts = sorted(run.path.glob("*.json*"))
    told.still_in += [str(path) for path in texts if phone in suppress.numbers_in(path.read_text(encoding="utf-8"))]
    return rows


def _in_parts(run: RunFolder, phone: str, *, dry_run: bool) -> tuple[Counter[int], Rows]:
    """(by source, how many rows hold the phone; the numbers of those and of the ones that were emptied before)."""
    new: Counter[int] = Counter()
    rows = Rows()
    for source, path in run.part_paths():
        part = pq.read_table(path)
        theirs = holding(part, phone)
        if theirs.any():
            new[source] += int(theirs.sum())
            if not dry_run:
                run.replace_part(path, emptied(part, theirs))
        known = theirs | np.asarray(pc.fill_null(pc.equal(part["code"], FORGOTTEN), False))
        if known.any():
            rows.setdefault(source, set()).update(part["row"].to_numpy()[known].tolist())
    return new, rows


def _in_report(run: RunFolder, manifest: Mapping[str, Any], phone: str, rows: Rows) -> None:
    """Empties the rows in the report, and tells the summary what it adds up to then."""
    if not run.results.exists():
        return
    by_name = {of["name"]: rows.get(number, set()) for number, of in enumerate(manifest["sources"])}
    changed, counts, repairs = False, Counter[tuple[str, str | None]](), Counter[tuple[str, bool]]()
    for before, after in _without(run, by_name, phone):
        changed |= not after.equals(before)
        counts.update(report.count(after))
        repairs.update(report.count_repairs(after))
    if not changed:
        return
    if run.has_summary:  # before the report: whoever starts again after a crash finds that still to be done
        run.write_json("summary.json", run.read_json("summary.json") | report.totals(counts, repairs))
    run.write_results((after for _, after in _without(run, by_name, phone)), report.REPORT)


def _without(run: RunFolder, by_name: Mapping[str, Collection[int]], phone: str) -> Iterator[tuple[pa.Table, pa.Table]]:
    """The report as it is and as it is to be, a row group at a time: they follow the parts."""
    with pq.ParquetFile(run.results) as results:
        for group in range(results.num_row_groups):
            told = results.read_row_group(group)
            yield told, _forgotten(told, by_name[told["source"][0].as_py()], phone)


def _forgotten(told: pa.Table, rows: Collection[int], phone: str) -> pa.Table:
    """A table of the report without the person: the rows are emptied, elsewhere answers that name the phone go."""
    theirs = np.isin(told["row"].to_numpy(), list(rows))
    theirs |= holding(told.drop_columns([*_PLACE, *_ANSWERS]), phone)
    told = emptied(told, theirs)
    for name in _ANSWERS:
        named = pa.array(_texts_holding(told[name].combine_chunks(), phone))
        told = _with(told, name, pc.if_else(named, None, told[name]))
    return told


def _in_rejected(run: RunFolder, manifest: Mapping[str, Any], phone: str, rows: Rows) -> None:
    """Takes the rows out of the rejected files, mended by their users as they may be."""
    delimiters = {of["delimiter"] for of in manifest["sources"] if of["delimiter"]}
    for path in rejected.files(run.path):
        numbers = {str(row) for row in rows.get(rejected.source_of(path), ())}
        rejected.drop(path, delimiters, partial(_is_theirs, phone, numbers))
    if run.has_summary:
        summary = run.read_json("summary.json")
        left = [name for name in summary["rejected"] if (run.path / Path(name).name).exists()]
        if left != summary["rejected"]:
            run.write_json("summary.json", summary | {"rejected": left})


def _is_theirs(phone: str, numbers: Collection[str], cells: Sequence[str]) -> bool:
    """By the phone, or by what our own columns say: the row, then its status."""
    ours = any(row in numbers and status in report.NEEDS_MENDING for row, status in pairwise(cells))
    return ours or any(phone in suppress.numbers_in(cell) for cell in cells)


# --- Tables ---


def holding(table: pa.Table, phone: str) -> npt.NDArray[np.bool_]:
    """Which rows hold the phone, in any column and any spelling."""
    found = np.zeros(table.num_rows, dtype=np.bool_)
    for name in table.column_names:
        column = table[name].combine_chunks()
        found |= _forms_holding(column, phone) if name == "payload" else _holding(column, phone)
    return found


def _holding(column: pa.Array, phone: str) -> npt.NDArray[np.bool_]:
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        return _texts_holding(column, phone)
    found = np.zeros(len(column), dtype=np.bool_)
    if pa.types.is_struct(column.type):
        for at in range(column.type.num_fields):
            found |= _holding(pc.struct_field(column, [at]), phone)
    elif pa.types.is_list(column.type):
        within = _holding(pc.list_flatten(column), phone)
        found[pc.list_parent_indices(column).to_numpy()[within]] = True
    return found


def _texts_holding(texts: pa.Array, phone: str) -> npt.NDArray[np.bool_]:
    """Which texts hold the phone. Most are told by column: they are plain, and lack its digits."""
    maybe = pc.match_substring_regex(texts, rf"{'[^0-9]*'.join(_groups(phone))}|[^\t\n -~]")
    likely = texts.filter(pc.fill_null(maybe, False)).unique()
    named = [text for text in likely.to_pylist() if phone in suppress.numbers_in(text)]
    return np.asarray(pc.is_in(texts, value_set=pa.array(named, texts.type)), dtype=np.bool_)


def _forms_holding(forms: pa.Array, phone: str) -> npt.NDArray[np.bool_]:
    """Which form bodies hold the phone. Their values are tidy: between its digits are signs, or signs in hex."""
    maybe = pc.match_substring_regex(forms, "(?:[^0-9]|%[0-9A-F]{2})*".join(_groups(phone)))
    found = np.array(pc.fill_null(maybe, False), dtype=np.bool_)
    likely = forms.filter(pa.array(found)).to_pylist()
    found[found] = [phone in suppress.numbers_in(unquote_plus(form)) for form in likely]
    return found


def _groups(phone: str) -> tuple[str, str, str]:
    return phone[:3], phone[3:6], phone[6:]


_STAYS = frozenset({*_PLACE, "attempts", "http_status", "reconciled", "first_sent_at", "settled_at", "latency_ms"})
_NEVER_SENT = (Status.VALID.value, Status.INVALID.value, Status.NOT_ATTEMPTED.value)


def emptied(table: pa.Table, theirs: npt.NDArray[np.bool_]) -> pa.Table:
    """A part, or a table of the report, with nothing of those rows but their numbers and what became of them."""
    mask = pa.array(theirs)
    unsent = pc.and_(mask, pc.is_in(table["status"], value_set=pa.array(_NEVER_SENT)))
    empty = {"status": table["status"], "code": FORGOTTEN}
    for field_ in table.schema:
        if field_.name in _STAYS:
            continue
        if field_.name in ("problems", "repairs"):
            nothing: Any = pa.scalar([], field_.type)
        elif field_.name.startswith("cell_"):
            nothing = ""
        else:
            nothing = empty.get(field_.name)
        table = _with(table, field_.name, pc.if_else(mask, nothing, table[field_.name]))
    return _with(table, "status", pc.if_else(unsent, Status.SKIPPED.value, table["status"]))


def _with(table: pa.Table, name: str, column: pa.ChunkedArray) -> pa.Table:
    at = table.schema.get_field_index(name)
    return table.set_column(at, table.schema.field(at), column)


# --- The state database ---


class _Place(NamedTuple):
    run_id: str
    source: int
    row: int


def _in_state(state: sa.Engine, phone: str, rows: Mapping[str, Rows], at: int, told: Forgotten) -> None:
    """Empties the rows of the state database that are the person's own, and those that `rows` names by run."""
    places = {_Place(run_id, source, row) for run_id, of in rows.items() for source in of for row in of[source]}
    with state.begin() as connection:
        own = _own(connection, phone)
        told.state_rows = len(own)
        changes = [row for row in own if row.operation not in _READS]
        told.accepted = sum(row.status in (Status.ACCEPTED, Status.DUPLICATE) for row in changes)
        told.in_doubt = sum(row.status in (None, Status.UNKNOWN) for row in changes)
        if told.dry_run:
            return
        _forget_claims(connection, phone, own)
        _forget_outcomes(connection, sorted(places.union(_place(row) for row in own)), at)
        for table, columns in ((SENDS, _ANSWERS), (REQUESTS, ("reply",))):
            for name in columns:
                _forget_answers(connection, table.c[name], phone)


def _own(connection: sa.Connection, phone: str) -> Sequence[sa.Row[Any]]:
    """The rows that claim the phone, or whose lead is looked up by it."""
    likely = sa.or_(SENDS.c.phone == phone, SENDS.c.identifier.like(_like(phone)))
    names = ("run_id", "source", "row", "operation", "phone", "identifier", "status")
    found = connection.execute(sa.select(*(SENDS.c[name] for name in names)).where(likely))
    return [row for row in found if row.phone == phone or phone in suppress.numbers_in(row.identifier)]


def _place(row: sa.Row[Any]) -> _Place:
    return _Place(row.run_id, row.source, row.row)


def _like(phone: str) -> str:
    return "%".join(("", *_groups(phone), ""))


def _forget_claims(connection: sa.Connection, phone: str, own: Sequence[sa.Row[Any]]) -> None:
    """Frees what the rows claim. Of another person's, whose ClientId is this phone, the ledger still knows the key."""
    theirs = [_place(row) for row in own if row.phone in (phone, "")]
    _each(connection, sa.update(SENDS).values(phone="", row_key="", payload_sha256=""), SENDS, theirs)
    _each(connection, sa.update(SENDS).values(identifier=""), SENDS, [_place(row) for row in own])


def _forget_outcomes(connection: sa.Connection, places: Sequence[_Place], at: int) -> None:
    """Leaves of the rows' outcomes only how they ended. What was under way is in doubt, what was about to go is not."""
    ended = sa.case(
        (SENDS.c.state == "sending", Status.UNKNOWN.value),
        (SENDS.c.status == Status.NOT_ATTEMPTED.value, Status.SKIPPED.value),
        else_=SENDS.c.status,
    )
    nothing = {**dict.fromkeys(_ANSWERS), "lead_id": None, "code": FORGOTTEN}
    settled = {"state": "settled", "status": ended, "settled_at": sa.func.coalesce(SENDS.c.settled_at, at)}
    _each(connection, sa.update(SENDS).values(nothing | settled), SENDS, places)
    _each(connection, sa.update(HELD).values(code=FORGOTTEN, message=""), HELD, places)
    _each(connection, sa.delete(REQUESTS), REQUESTS, places)


def _each(
    connection: sa.Connection, statement: sa.Update | sa.Delete, table: sa.Table, places: Sequence[_Place]
) -> None:
    if places:
        here = (table.c[name] == sa.bindparam(f"of_{name}") for name in _Place._fields)
        values = [{f"of_{name}": value for name, value in place._asdict().items()} for place in places]
        connection.execute(statement.where(*here), values)


def _forget_answers(connection: sa.Connection, column: sa.Column[str], phone: str) -> None:
    """Removes what the vendor said about the person when it was asked about somebody else."""
    key = {f"of_{part.name}": part for part in column.table.primary_key.columns}
    found = connection.execute(sa.select(column, *key.values()).where(column.like(_like(phone)))).all()
    named = [dict(zip(key, place, strict=True)) for text, *place in found if phone in suppress.numbers_in(text)]
    if named:
        here = [part == sa.bindparam(name) for name, part in key.items()]
        connection.execute(sa.update(column.table).where(*here).values({column: None}), named)
