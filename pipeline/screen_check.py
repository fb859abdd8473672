"""What people see of a check: how the files were read, what is wrong, what a load would do, and what to type next."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from rich.cells import cell_len, set_cell_size
from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from pipeline import screen
from pipeline.model import Status
from pipeline.words import listed, plain

_MOST = 20  # of fields, files and columns: --json has all
_MOST_PROBLEMS = 12  # kinds
_INDENT = 2
_VALUE_CELLS = 32  # of a sample
_NAME_CELLS = 22  # of a field's name

_DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar", " ": "space"}
_ENCODING_HOW = {"bom": "by its mark", "utf-8": "every byte fits", "detected": "guessed", "given": "as given"}
# What is told in words of its own, or is for machines. Whatever else was decided about a file is told as it is.
_TOLD = {
    *("path", "name", "format", "size", "mtime_ns", "sha256", "encoding", "encoding_how", "delimiter"),
    *("sheet", "sheets", "header_row", "columns", "first_row", "last_row", "rows", "blank_rows", "ragged_rows"),
    *("where", "left_out", "notes", "fields", "not_sent", "containers", "member", "newline", "header", "places"),
}
_KEPT = {
    "first": "the first of each is sent, and the others are skipped",
    "last": "the last of each is sent, and the others are skipped",
    "error": "none of them is sent",
    "keep": "all of them are sent",
}


def result(summary: Mapping[str, Any], found: Mapping[str, Any], *, as_json: bool) -> None:
    """A check on stdout: one JSON object, or a report that ends with the next thing to do."""
    if as_json:
        screen.print_json({**summary, "check": found})
        return
    out = screen.console()
    with out.capture() as captured:
        for section in (_read, _problems, _repairs, _repeats, _earlier_runs, _load):
            _print(out, section(summary, found))
    out.file.writelines(f"{line.rstrip()}\n" for line in captured.get().splitlines())  # rich pads lines to the width
    screen.result({**summary, "notes": [], "repairs": {}}, as_json=False)
    if found["load"]:
        out.print(f"next      {found['load']}", soft_wrap=True)


_Section = tuple[str, Iterable[RenderableType]]  # with its heading; "" where there is nothing to say


def _print(out: Console, section: _Section) -> None:
    heading, lines = section
    if not heading:
        return
    out.print(Text(heading, "bold"))
    for line in lines:
        out.print(Padding(line, (0, 0, 0, _INDENT)))
    out.print()


# --- What was read ---


def _read(_summary: Mapping[str, Any], found: Mapping[str, Any]) -> _Section:
    sources = found["sources"]
    lines = [line for source in sources[:_MOST] for line in _source_lines(source)]
    more = [f"and {len(sources) - _MOST:,} files more"] if len(sources) > _MOST else []
    return "Read", [Text(line) for line in (*lines, *more)]


def _source_lines(source: Mapping[str, Any]) -> Iterator[str]:
    yield f"{plain(source['name'])}: {', '.join(_how(source))}"
    yield ", ".join(_amounts(source))
    for name, value in source.items():
        if name not in _TOLD and value:
            yield f"{name.replace('_', ' ')}: {plain(_listed(value) if isinstance(value, list) else str(value))}"
    for note in source["notes"]:
        yield plain(note)
    yield from _field_lines(source)


def _how(source: Mapping[str, Any]) -> Iterator[str]:
    yield source["format"]
    if source["encoding"]:
        yield f"{source['encoding']} ({_ENCODING_HOW.get(source['encoding_how'], source['encoding_how'])})"
    if source["delimiter"]:
        yield _DELIMITERS.get(source["delimiter"], f"delimiter {plain(source['delimiter'])}")
    if source["sheet"] is not None:
        others = [name for name in source["sheets"] if name != source["sheet"]]
        yield f"sheet {quoted(source['sheet'])}" + (f" (not {_listed(map(quoted, others))})" if others else "")
    if source["format"] != "parquet":
        yield f"header in row {source['header_row']}" if source["header_row"] else "no header"


def _amounts(source: Mapping[str, Any]) -> Iterator[str]:
    yield _many(source["rows"], "row")
    yield _many(len(source["columns"]), "column")
    if source["blank_rows"]:
        yield f"{_many(source['blank_rows'], 'blank row')} left out"
    if source["ragged_rows"]:
        yield f"{_many(source['ragged_rows'], 'row')} with more or fewer cells than the header"


def _field_lines(source: Mapping[str, Any]) -> Iterator[str]:
    """Which field comes from where, and what is not sent."""
    fields = source["fields"]
    yield "sent: " + _listed([_origin(field) for field in fields if not field["custom"]])
    if custom := [_origin(field) for field in fields if field["custom"]]:
        yield f"custom fields: {_listed(custom)}"
    if source["not_sent"]:
        yield f"not sent: {_listed(map(plain, source['not_sent']))}"


def _origin(field: Mapping[str, Any]) -> str:
    name = plain(field["field"])
    if field["value"] is not None:
        return f"{name} = {quoted(field['value'])}"
    origin = plain(field["template"] if field["column"] is None else field["column"])
    return name if origin == name else f"{name} ← {origin}"


# --- What is wrong, and what was mended ---


def _problems(summary: Mapping[str, Any], found: Mapping[str, Any]) -> _Section:
    problems = found["problems"]
    if not problems:
        return "", ()
    grid = _grid()
    told: set[str] = set()
    for problem in problems[:_MOST_PROBLEMS]:
        lines = _problem_lines(problem, len(found["sources"]) > 1, is_new=problem["rule"] not in told)
        grid.add_row(f"{problem['rows']:,}", Text("\n").join(lines))
        told.add(problem["rule"])
    if len(problems) > _MOST_PROBLEMS:
        grid.add_row("", f"and {len(problems) - _MOST_PROBLEMS:,} kinds of problem more: see --json")
    rows = summary["counts"].get(Status.INVALID, 0)
    return f"Problems: {_many(rows, 'row')} can't be sent", [grid]


def _problem_lines(problem: Mapping[str, Any], several: bool, *, is_new: bool) -> Iterator[Text]:
    """What is wrong, where for example, and what would mend it: in words only where its rule `is_new`."""
    column, message = problem["column"], plain(problem["message"])
    origin = f" ← {plain(column)}" if column not in (None, problem["field"]) else ""
    yield Text.assemble((problem["rule"], "yellow"), f"  {plain(problem['field'])}{origin}")
    yield Text(message[:1].upper() + message[1:])
    yield Text(f"such as {_samples(problem['samples'], several)}", "dim")
    if is_new and (problem["mapping"] or not message.endswith(".")):  # a sentence of its own says what to do
        yield Text(f"mend: {problem['advice']}")
    for line in problem["mapping"]:
        yield Text(plain(f"  [{line['table']}] {line['line']}"), "bold")


def _samples(samples: Sequence[Mapping[str, Any]], several: bool) -> str:
    """ "Nowhere" in row 3, row 13; "" in row 20."""
    rows: dict[str, list[str]] = {}
    for sample in samples:
        rows.setdefault(sample["value"], []).append(_row(sample, several))
    return "; ".join(f"{quoted(value)} in {', '.join(at)}" for value, at in rows.items())


def _row(at: Mapping[str, Any], several: bool) -> str:
    """ "row 3", and of which file where there are several."""
    return f"row {at['row']}" + (f" of {plain(at['source'])}" if several else "")


def _repairs(_summary: Mapping[str, Any], found: Mapping[str, Any]) -> _Section:
    repairs, several = found["repairs"], len(found["sources"]) > 1
    if not repairs:
        return "", ()
    lossless, lossy = ([r for r in repairs if r["lossless"] is kind] for kind in (True, False))
    lines: list[RenderableType] = [_repair_grid(lossless, several)] if lossless else []
    if lossy:
        lines += [Text("can't be undone:", "yellow"), _repair_grid(lossy, several)]
    return f"Repairs: {_many(sum(r['cells'] for r in repairs), 'cell')}", lines


def _repair_grid(repairs: Sequence[Mapping[str, Any]], several: bool) -> Table:
    grid = _grid(2)
    for repair in repairs:
        example = repair["example"]
        change = f"{plain(example['field'])} {quoted(example['raw'])} → {quoted(example['value'])}"
        grid.add_row(f"{repair['cells']:,}", repair["rule"], f"{change} in {_row(example, several)}")
    return grid


# --- What was there before ---


def _repeats(_summary: Mapping[str, Any], found: Mapping[str, Any]) -> _Section:
    repeats = found["repeats"]
    if not repeats["groups"]:
        return "", ()
    lines = [f'{_KEPT[repeats["policy"]]} (duplicates_in_file = "{repeats["policy"]}")']
    several = len(found["sources"]) > 1
    lines += [f"{group['rows']:,} share one: {_group(group, several)}" for group in repeats["largest"]]
    if repeats["groups"] > len(repeats["largest"]):
        lines.append(f"and {repeats['groups'] - len(repeats['largest']):,} {repeats['by']}s more")
    heading = f"Repeats: {repeats['rows']:,} rows share {_many(repeats['groups'], repeats['by'])}"
    return heading, map(Text, lines)


def _group(group: Mapping[str, Any], several: bool) -> str:
    more = group["rows"] - len(group["first"])
    return ", ".join(_row(at, several) for at in group["first"]) + (f" and {more:,} more" if more else "")


def _earlier_runs(_summary: Mapping[str, Any], found: Mapping[str, Any]) -> _Section:
    ledger = found["ledger"]
    if ledger["why_not_asked"]:
        return "Loaded before", [Text(f"not known: {plain(ledger['why_not_asked'])}")]
    lines = [f"{rows:,} in run {run}" for run, rows in [*ledger["runs"].items()][:_MOST]]
    if ledger["looked_up_first"]:
        lines.append(f"{_many(ledger['looked_up_first'], 'row')} in doubt: looked up before they are sent")
    if ledger["in_doubt"]:
        lines.append(f"{_many(ledger['in_doubt'], 'row')} in doubt: not sent, since nothing can tell whether they were")
    rows = ledger["already_loaded"]
    return f"Loaded before: {_many(rows, 'row')}" + (", not sent again" if rows else ""), map(Text, lines)


# --- What a load would do ---


def _load(_summary: Mapping[str, Any], found: Mapping[str, Any]) -> _Section:
    lines: list[RenderableType] = []
    if found["payloads"]:
        lines.append(_payload_grid(found["payloads"], len(found["sources"]) > 1))
    if found["payloads"] and found["payloads_lack"]:
        lines.append(Text(f"and the row's key as {found['payloads_lack']}, once the account is known"))
    if found["suppressed"]:
        lines.append(Text(f"{_many(found['suppressed'], 'row')} held back: the number must not be contacted"))
    lines += [Text(line) for line in (*_people(found["people"]), *_takes(found["duration"]))]
    lines += [Text(plain(note)) for note in found["notes"]]
    return f"A load would send {_many(found['to_send'], 'row')}", lines


def _payload_grid(payloads: Sequence[Mapping[str, Any]], several: bool) -> Table:
    """A few rows as they would be sent: a line for each field, a column for each row."""
    names = list(dict.fromkeys(name for payload in payloads for name in payload["fields"]))
    longest = min(max(map(cell_len, ("as it is sent", *map(plain, names)))), _NAME_CELLS)
    table = Table(box=None, pad_edge=False, header_style="dim", expand=True)
    table.add_column("as it is sent", no_wrap=True, overflow="ellipsis", width=longest)
    for payload in payloads:
        table.add_column(_row(payload, several), no_wrap=True, overflow="ellipsis", ratio=1)
    for name in names[:_MOST]:
        table.add_row(plain(name), *(plain(payload["fields"].get(name, "")) for payload in payloads))
    if len(names) > _MOST:
        table.add_row(f"and {len(names) - _MOST:,} fields more")
    return table


def _people(reached: Mapping[str, Any]) -> Iterator[str]:
    if reached["contacts"] is None:
        how = f' (dialing = "{reached["dialing"]}")' if reached["dialing"] else ""
        yield f"nobody is contacted by it{how}"
        return
    many = _many(reached["contacts"], "person", "people")
    yield f"{many} would be contacted: {'; '.join(reached['why'])}"
    if rows := sum(opening["rows"] for opening in reached["waiting"]):
        yield f"{_many(rows, 'of them has', 'of them have')} to wait for calling hours, if it began now"
    if reached["refused"]:
        yield f"it would be refused: {plain(reached['refused'])}"


def _takes(duration: Mapping[str, Any]) -> Iterator[str]:
    if duration["seconds"] is None:
        yield "there is no cap on the rate"
    elif duration["calls"]:
        rate = f"{duration['rate_per_second']:g} calls a second"
        yield f"{_many(duration['calls'], 'call')} at {rate}: {time_told(duration['seconds'])}"


def time_told(seconds: float) -> str:
    """ "1 h 23 min": the two largest units."""
    if seconds < 1:
        return "less than a second"
    whole = round(seconds)
    parts = []
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min"), (1, "s")):
        parts.append((whole // size, unit))
        whole %= size
    first = next(at for at, (number, _) in enumerate(parts) if number)
    return " ".join(f"{number} {unit}" for number, unit in parts[first : first + 2] if number)


# --- Words ---


def _grid(words: int = 1) -> Table:
    """A number, then columns of words, the last of which wraps."""
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(justify="right", min_width=5, no_wrap=True)
    for _ in range(words - 1):
        grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    return grid


def _many(count: int, one: str, several: str | None = None) -> str:
    return f"{count:,} {one if count == 1 else several or one + 's'}"


def _listed(names: Iterable[object]) -> str:
    return listed([str(name) for name in names], _MOST)


def quoted(text: str) -> str:
    """A value between quotes, cut where it is long."""
    told = plain(text)
    if cell_len(told) > _VALUE_CELLS:
        told = set_cell_size(told, _VALUE_CELLS - 1).rstrip() + "…"
    return f'"{told}"'
