"""What earlier mappings did with headers: those of runs that were loaded, and those in ./mappings."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import mappings as shipped
from pipeline import folder, mapping
from pipeline.mapping import MappingFile
from pipeline.model import UserError
from pipeline.suggest import Used

_RUNS = 50  # the newest: each is a file to be read
_TOOK = ("accepted", "duplicate")


@dataclass(frozen=True, slots=True)
class History:
    """By header in lower case, the field that it went to last; and which mappings could not be read."""

    used: dict[str, Used]
    notes: tuple[str, ...]


def of(operation: str, runs: Path, mappings: Path = Path("mappings")) -> History:
    """What mappings of this operation did: runs that a row was accepted in, the newest first, then files by name."""
    used: dict[str, Used] = {}
    notes: list[str] = []
    for name, text in (*_of_runs(runs, operation), *_of_files(mappings)):
        try:
            found = mapping.parse(text, name)
        except UserError as error:
            notes.append(f"not looked at: {error}")
            continue
        if found.operation == operation:
            used = _of_mapping(found, name) | used
    return History(used, tuple(notes))


def _of_mapping(found: MappingFile, name: str) -> dict[str, Used]:
    return {
        origin.column.casefold(): Used(field, name, found.extra_fields.get(field))
        for field, origin in found.fields.items()
        if origin.column is not None
    }


def _of_runs(runs: Path, operation: str) -> Iterator[tuple[str, str]]:
    """(name, text) of their mappings."""
    for run in reversed(folder.all_runs(runs)[-_RUNS:]):
        manifest = run.read_json("manifest.json")
        took = run.has_summary and any(folder.overview(run)["counts"].get(status) for status in _TOOK)
        loaded = manifest["command"] in ("load", "retry") and took
        if loaded and manifest["operation"] == operation:
            yield f"{Path(manifest['mapping']['path']).name} of run {run.run_id}", manifest["mapping"]["text"]


def _of_files(mappings: Path) -> Iterator[tuple[str, str]]:
    """(name, text) of mappings that are the user's own: those that are shipped know nothing of the account."""
    ours = {Path(path).resolve() for path in shipped.__path__}
    if mappings.resolve() in ours:
        return
    for path in sorted(mappings.glob("*.toml")):
        yield str(path), path.read_text(encoding="utf-8", errors="replace")
