"""The run folder: manifest, parts, report, rejected file, summary. Readable by its owner only.

Arrow is imported where Parquet is written: to show or list runs takes none.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from pipeline.model import DiskError, UserError

if TYPE_CHECKING:
    import pyarrow as pa

# Columns of a report with few values. To look for those of any other costs more than it saves.
_REPEATING = frozenset(
    ("run_id", "source", "sheet", "operation", "status", "code", "message", "reply", "attempts", "http_status")
)
# Of zstd, where it is not 1. Digests get half as long at best, and that takes four times as long as to leave them.
_LEVELS = {"payload_sha256": -1000}
PART = "{source:03d}-{part:06d}.parquet"
_ID = re.compile(r"[0-9]{8}T[0-9]{6}Z-[A-Za-z0-9_.]+-[0-9a-f]{8}")


@dataclass(frozen=True, slots=True)
class RunFolder:
    """A run's folder; its name is the run's id."""

    path: Path

    @property
    def run_id(self) -> str:
        """The run's id."""
        return self.path.name

    @property
    def parts(self) -> Path:
        """Where validation's parts are."""
        return self.path / "parts"

    @property
    def results(self) -> Path:
        """Where the report is."""
        return self.path / "results.parquet"

    @property
    def spool(self) -> Path:
        """A folder for what is read once and kept until then; made when asked for."""
        path = self.path / "spool"
        path.mkdir(mode=0o700, exist_ok=True)
        return path

    def kept(self, source: int) -> Path:
        """Where what comes once is kept, of the source of this number."""
        return self.path / "kept" / f"{source:03d}"

    @property
    def has_summary(self) -> bool:
        """Whether the run came to its end."""
        return (self.path / "summary.json").exists()

    @property
    def has_sent(self) -> bool:
        """Whether the run has begun to send: that is what its log begins with."""
        return (self.path / "run.log.jsonl").exists()

    def remove_spool(self) -> None:
        """Removes what was spooled."""
        shutil.rmtree(self.path / "spool", ignore_errors=True)

    def remove_kept(self) -> None:
        """Removes what came once: the run's parts hold all of it."""
        shutil.rmtree(self.path / "kept", ignore_errors=True)

    def part(self, source: int, part: int) -> Path:
        """Where the part of this number of a source is."""
        return self.parts / PART.format(source=source, part=part)

    def write_part(self, source: int, part: int, table: pa.Table) -> None:
        """Writes one part; it is on disk when this returns."""
        self.replace_part(self.part(source, part), table)

    def replace_part(self, path: Path, table: pa.Table) -> None:
        """Writes the part at `path`, replacing an earlier one whole."""
        import pyarrow.parquet as pq

        with replacing(path) as file:
            pq.write_table(
                table,
                file,
                row_group_size=max(table.num_rows, 1),
                compression="zstd",
                compression_level=_LEVELS,
                use_dictionary=["status", "code"],
                write_statistics=["row"],  # the only one by which rows are looked for
            )

    def part_paths(self) -> list[tuple[int, Path]]:
        """(source, path) of every part, in order."""
        numbered = sorted((_numbers(path), path) for path in self.parts.glob("*.parquet"))
        return [(source, path) for (source, _), path in numbered]

    def write_results(self, tables: Iterable[pa.Table], schema: pa.Schema) -> None:
        """Writes the report, a row group per table, replacing an earlier one whole."""
        with self.writing_results(schema) as write:
            for table in tables:
                write(table)

    @contextmanager
    def writing_results(self, schema: pa.Schema) -> Iterator[Callable[[pa.Table], None]]:
        """Writes tables into the report, each as a row group, replacing an earlier one whole in the end."""
        import pyarrow.parquet as pq

        repeating = [name for name in schema.names if name in _REPEATING]
        with (
            replacing(self.results) as file,
            pq.ParquetWriter(
                file, schema, compression="zstd", compression_level=_LEVELS, use_dictionary=repeating or False
            ) as writer,
        ):
            yield lambda table: writer.write_table(table, row_group_size=max(table.num_rows, 1))

    def write_json(self, name: str, content: dict[str, Any]) -> None:
        """Writes manifest.json or summary.json, replacing an earlier one whole."""
        with replacing(self.path / name) as file:
            text = json.dumps(content, indent=2, ensure_ascii=False, default=str) + "\n"
            file.write(text.encode("utf-8", "backslashreplace"))  # a file's name may be no text

    def read_json(self, name: str) -> dict[str, Any]:
        """manifest.json or summary.json. Raises UserError where the run has none."""
        path = self.path / name
        if not path.exists():
            hint = f"; see how far it came: leads show {self.run_id} --rebuild"
            raise UserError(f"run {self.run_id} has no {name}: it did not come to its end{hint}")
        try:
            content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            raise DiskError(f"{path}: is damaged; make it again: leads show {self.run_id} --rebuild") from None
        return content

    def log(self, event: str, **facts: object) -> None:
        """Appends one line to run.log.jsonl. Never a payload, never a credential."""
        line = {"at": datetime.now(UTC).isoformat(timespec="milliseconds"), "event": event, **facts}
        path = self.path / "run.log.jsonl"
        with _writing(path):
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            with os.fdopen(fd, "a", encoding="utf-8") as file:
                file.write(json.dumps(line, ensure_ascii=False, default=str) + "\n")

    def remove_parts(self) -> None:
        """Removes the parts of a run that sent nothing: they may not all be there."""
        shutil.rmtree(self.parts, ignore_errors=True)
        self.parts.mkdir(mode=0o700)

    def remove(self) -> None:
        """Removes the folder: its manifest first, so that what a crash leaves of it is no run any more."""
        with _removing(self.path):
            (self.path / "manifest.json").unlink(missing_ok=True)
            shutil.rmtree(self.path)

    def remove_leftovers(self) -> None:
        """Removes what only a dead process can have left: what it spooled or kept, and what it had half written."""
        with _removing(self.path):
            for path in [*self.path.glob(".*.tmp"), *self.parts.glob(".*.tmp")]:
                path.unlink()
            for left in ("spool", "kept"):
                if (self.path / left).exists():
                    shutil.rmtree(self.path / left)

    @property
    def size_bytes(self) -> int:
        """What its files hold."""
        return sum(path.lstat().st_size for path in self.path.rglob("*") if not path.is_dir())


def _numbers(part: Path) -> tuple[int, int]:
    """The numbers in a part's name; they may have more digits than PART gives them."""
    source, _, number = part.stem.partition("-")
    return int(source), int(number)


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A file, to be written and read, that appears under its name only when it is whole and on disk.

    The name is on disk afterwards, too.
    """
    with _writing(path), _written(path) as file:
        yield file


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DiskError(f"{path}: can't be written: {error.strerror or error}") from None


@contextmanager
def _written(path: Path) -> Iterator[IO[bytes]]:
    temporary = path.with_name(f".{path.name}.tmp")
    fd = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(fd, "w+b") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    _sync(path.parent)


@contextmanager
def _removing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DiskError(f"{path}: can't be removed: {error.strerror or error}; see whose it is") from None


def _sync(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def create(runs: Path, source_name: str, now: datetime) -> RunFolder:
    """A new run's folder, `<time>-<source name>-<8 hex>`, mode 0700."""
    plain = re.sub(r"[^A-Za-z0-9_.]+", "_", source_name).strip("_.")[:60] or "source"
    path = runs / f"{now:%Y%m%dT%H%M%SZ}-{plain}-{secrets.token_hex(4)}"
    try:
        runs.mkdir(parents=True, exist_ok=True)
        path.mkdir(mode=0o700)
        (path / "parts").mkdir(mode=0o700)
        _sync(runs)
    except OSError as error:
        raise UserError(
            f"--runs {runs}: can't make a run folder: {error.strerror}; choose another with --runs"
        ) from None
    return RunFolder(path)


def all_runs(runs: Path) -> list[RunFolder]:
    """Every run under `runs`, oldest first."""
    found = {RunFolder(path): _started_at(path) for path in runs.glob("*")}
    return sorted((run for run, at in found.items() if at), key=lambda run: (found[run], run.run_id))


def dead_at_birth(runs: Path) -> list[RunFolder]:
    """Folders that hold no run, since their process died before it had read its files, or while it removed one."""
    named = [path for path in sorted(runs.glob("*")) if _ID.fullmatch(path.name) and path.is_dir()]
    return [RunFolder(path) for path in named if not (path / "manifest.json").exists()]


def _started_at(path: Path) -> str:
    """When the run in this folder began; "" where the folder is no run of ours."""
    try:
        manifest = json.loads((path / "manifest.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ""
    return str(manifest.get("started_at", "")) if isinstance(manifest, dict) else ""


def overview(run: RunFolder) -> dict[str, Any]:
    """One line about a run: what it was, and how it ended; `exit_code` is None where it did not come to its end."""
    manifest = run.read_json("manifest.json")
    summary: dict[str, Any] = {}
    if run.has_summary:
        with suppress(DiskError):  # one damaged summary does not hide the other runs
            summary = run.read_json("summary.json")
    return {
        "run_id": run.run_id,
        "command": manifest["command"],
        "operation": manifest["operation"],
        "sources": [source["name"] for source in manifest["sources"]],
        "rows_read": summary.get("rows_read"),
        "counts": summary.get("counts", {}),
        "exit_code": summary.get("exit_code"),
    }


def find(runs: Path, run: str) -> RunFolder:
    """The run with this id, or the only one whose id starts so, or the newest load or retry for "latest"."""
    known = all_runs(runs)
    if run == "latest":
        known = [r for r in known if r.read_json("manifest.json")["command"] in ("load", "retry")]
        if not known:
            raise UserError(f"no load under {runs} yet; see: leads load --help")
        return known[-1]
    matches = [r for r in known if r.run_id == run] or [r for r in known if r.run_id.startswith(run)]
    if len(matches) != 1:
        why = "no run" if not matches else f"{len(matches)} runs"
        raise UserError(f"{why} under {runs} with an id that starts with {run!r}; see: leads runs")
    return matches[0]
