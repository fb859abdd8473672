"""`leads mapping`: suggests a mapping for a file, checks one, prints the schema for editors."""

from __future__ import annotations

import shlex
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline.model import UserError

if TYPE_CHECKING:
    from pipeline.draft import Reading
    from pipeline.sample import Sample
    from pipeline.source import SourceOptions
    from pipeline.suggest import Candidate, Suggestion

_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
_sheet = click.option("--sheet", metavar="NAME", help="The workbook's sheet.")
_encoding = click.option("--encoding", metavar="NAME", help="The file's encoding, where it can't be found.")


def complete_mapping(_context: click.Context, _parameter: click.Parameter, begun: str) -> list[str]:
    """Names of mappings that begin so; where a path is begun, the shell completes files by itself."""
    from pipeline import mappings

    return [name for name in mappings.names() if name.startswith(begun)]


def complete_operation(_context: click.Context, _parameter: click.Parameter, begun: str) -> list[str]:
    """Names of operations that begin so."""
    from schemas.catalogue import CATALOGUE

    return [name for name in CATALOGUE if name.startswith(begun)]


@click.group()
def mapping() -> None:
    """Suggests a mapping for a file, checks one, or prints the schema for editors."""


@mapping.command()
@click.argument("file")
@click.option(
    "--operation",
    default="InsertLead",
    show_default=True,
    metavar="NAME",
    shell_complete=complete_operation,
    help="What the rows are to become.",
)
@click.option("--campaign", metavar="NAME", help="The campaign that the rows go to.")
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="NEW.toml", help="Write it there.")
@click.option("--force", is_flag=True, help="Replace a file that is there.")
@_sheet
@_encoding
@click.option("--delimiter", metavar="CHARACTER", help="What stands between the cells, where it can't be found.")
@click.option("--header-row", type=click.IntRange(min=0), metavar="N", help="The header's row; 0: there is none.")
@click.option("--runs", metavar="DIR", help="Where run folders are.  [default: ./runs]")
@_json
def suggest(file: str, output: Path | None, force: bool, as_json: bool, **given: Any) -> None:
    """Suggests a mapping for FILE: which column goes to which field, how sure that is, and why.

    \b
    leads mapping suggest leads.csv --campaign "Spring Renewals" -o spring.toml
    leads check leads.csv -m spring.toml

    Prints it, or writes it with -o. Exit code 1: choices are left to you, as comments to choose from.
    """
    from pipeline import draft, screen

    with tempfile.TemporaryDirectory(prefix="leads-") as spool:
        sampled = _sampled(file, given, Path(spool))
    suggestion, notes = _suggested(sampled, given)
    text = draft.toml(suggestion, _reading(sampled))
    if output is not None:
        _write(output, text, force=force)
    if as_json:
        screen.print_json(_as_data(suggestion, text, sampled))
    elif output is None:
        click.echo(text, nl=False)
    _tell(suggestion, file, output, notes)
    sys.exit(0 if suggestion.is_decided else 1)


def _sampled(file: str, given: dict[str, Any], spool: Path) -> Sample:
    from dataclasses import replace

    from pipeline import sample

    path, options = _located(file, spool)
    names = ("sheet", "encoding", "delimiter", "header_row")
    return sample.take(path, replace(options, **{name: given[name] for name in names}), spool)


def _located(file: str, spool: Path) -> tuple[Path, SourceOptions]:
    """The one list that FILE names, wherever it is. Raises UserError where a pattern names several."""
    from pipeline import files, locate
    from pipeline.folder import RunFolder
    from pipeline.settings import resolve

    found = files.find([file])
    if len(found) > 1:
        raise UserError(f"{file}: {len(found)} files match; name one of them")
    settings, _ = resolve({})
    return locate.located(found[0], RunFolder(spool), 0, settings.max_file_size)


def _suggested(sampled: Sample, given: dict[str, Any]) -> tuple[Suggestion, tuple[str, ...]]:
    """The suggestion, and notes on what was not looked at for it."""
    from pipeline import history, suggest
    from pipeline.mapping import operation_named
    from pipeline.settings import resolve

    operation = operation_named(given["operation"], "--operation")
    constants = {} if given["campaign"] is None else {"Campaign": given["campaign"]}
    if constants and "Campaign" not in operation.by_name:
        raise UserError(f"--campaign: {operation.name} takes none; leave it out")
    settings, _ = resolve({"runs": given["runs"]})
    earlier = history.of(operation.name, settings.runs)
    return suggest.suggest(sampled.columns, operation, earlier.used, constants), earlier.notes


def _reading(sampled: Sample) -> Reading:
    """What [source] must say, for the list to be read as it was."""
    from pipeline.draft import Reading

    inspection, options = sampled.inspection, sampled.options
    source: dict[str, str | int] = {}
    if inspection.sheet is not None and (options.sheet is not None or len(inspection.sheets) > 1):
        source["sheet"] = inspection.sheet
    for key in ("header_row", "delimiter", "encoding"):
        if (value := getattr(options, key)) is not None:
            source[key] = value
    return Reading(inspection.called, source, inspection.notes)


def _write(path: Path, text: str, *, force: bool) -> None:
    from pipeline import settings

    if path.resolve() == settings.FILE.resolve():
        raise UserError(f"{path}: is where settings are read from; give the mapping another name with -o")
    try:
        with path.open("w" if force else "x", encoding="utf-8", newline="\n") as file:
            file.write(text)
    except FileExistsError:
        raise UserError(f"{path}: is there already; give another name with -o, or replace it with --force") from None
    except OSError as error:
        raise UserError(f"{path}: can't be written: {error.strerror or error}; give another with -o") from None


def _tell(suggestion: Suggestion, file: str, output: Path | None, notes: tuple[str, ...]) -> None:
    """On stderr, what is left to do."""
    from pipeline import draft

    for warning in draft.warnings(suggestion):
        click.echo(f"leads: ATTENTION, {warning}", err=True)
    for note in notes:
        click.echo(f"leads: {note}", err=True)
    where = output or "the mapping"
    if undecided := suggestion.undecided:
        click.echo(f"leads: decide in {where}: {', '.join(undecided)}", err=True)
    if blank := [known.name for known in suggestion.missing]:
        click.echo(f"leads: fill in, in {where}: {', '.join(blank)}", err=True)
    if output is not None:
        click.echo(f"leads: then: {shlex.join(['leads', 'check', file, '-m', str(output)])}", err=True)


def _as_data(suggestion: Suggestion, text: str, sampled: Sample) -> dict[str, Any]:
    from pipeline.suggest import CONFIDENT, POSSIBLE

    inspection = sampled.inspection
    return {
        "file": inspection.called,
        "operation": suggestion.operation.name,
        "decided": suggestion.is_decided,
        "confident": CONFIDENT,
        "possible": POSSIBLE,
        "fields": [_candidate(one) for one in suggestion.taken],
        "constants": dict(suggestion.constants),
        "open": {name: [_candidate(one) for one in found] for name, found in suggestion.open.items()},
        "names": [_candidate(one) for one in suggestion.named],
        "missing": [known.name for known in suggestion.missing],
        "left": [column.header for column in suggestion.left],
        "columns": [{"column": column.header, "examples": list(column.examples())} for column in suggestion.columns],
        "notes": list(inspection.notes),
        "mapping": text,
    }


def _candidate(one: Candidate) -> dict[str, Any]:
    return {"field": one.field, "column": one.column, "confidence": round(one.confidence, 2), "why": one.why}


@mapping.command()
@click.argument("mapping", shell_complete=complete_mapping)
@click.argument("file", required=False)
@click.option("--operation", metavar="NAME", shell_complete=complete_operation, help="Instead of the mapping's own.")
@_sheet
@_encoding
@_json
def check(mapping: str, file: str | None, as_json: bool, **given: Any) -> None:
    """Checks MAPPING: keys, fields, lengths, operation; with FILE, whether it fits that file's columns.

    A line for each finding. Exit code 0 where there is none, 2 where there is one. Rows are not looked at: see
    `leads check`.
    """
    from pipeline import mappings

    path, text = mappings.find(mapping)
    with tempfile.TemporaryDirectory(prefix="leads-") as spool:
        found, notes = _findings(text, path.name, file, given, Path(spool))
    if as_json:
        from pipeline import screen

        screen.print_json({"mapping": str(path), "findings": found, "notes": notes})
    else:
        for line in [*found, *notes]:
            click.echo(line)
        if not found:
            click.echo(f"{path}: fine" + (f", and fits {file}" if file else ""))
    sys.exit(2 if found else 0)


def _findings(
    text: str, name: str, file: str | None, given: dict[str, Any], spool: Path
) -> tuple[list[str], list[str]]:
    """(what is wrong, what else is to be known of it)."""
    from pipeline import locate, report, source
    from pipeline import mapping as grammar

    found = grammar.findings(text, name, given["operation"])
    if found or file is None:
        return found, []
    parsed = grammar.parse(text, name, given["operation"])
    path, options = _located(file, spool)
    options = locate.as_mapped(options, parsed, sheet=given["sheet"], encoding=given["encoding"])
    columns = source.inspect(path, options, spool).columns
    offered = report.offered(columns)
    misfits = grammar.misfits(parsed, name, columns, offered)
    return misfits, [] if misfits else list(grammar.bind(parsed, name, columns, offered).notes)


@mapping.command()
def schema() -> None:
    """Prints the JSON Schema of mappings, for editors that complete and check TOML.

    \b
    leads mapping schema > leads-mapping.schema.json

    and in the first line of a mapping: #:schema ./leads-mapping.schema.json
    """
    import json

    from pipeline.mapping_schema import json_schema

    click.echo(json.dumps(json_schema(), indent=2, ensure_ascii=False))
