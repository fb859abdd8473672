"""The run folder: parts in order, whole files under their names, and names that outlive a crash."""

from __future__ import annotations

import os
import stat
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline import folder, rejected
from pipeline.folder import RunFolder
from pipeline.model import DiskError
from pipeline.rejected import Form
from tests.given import to_mend

MANY = 1024 * 1024 + 1  # one more than Parquet's writers put into a row group by themselves


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return folder.create(tmp_path / "runs", "leads", datetime(2026, 1, 2, tzinfo=UTC))


def part(rows: int = 1) -> pa.Table:
    return pa.table({"status": pa.repeat("valid", rows), "code": pa.nulls(rows, pa.string())})


def test_parts_are_in_order_of_their_numbers(run: RunFolder) -> None:
    """Numbers of more digits than the name was made for are read whole, and sort as numbers."""
    numbers = [(0, 0), (2, 0), (2, 999_999), (2, 1_000_000), (10, 3), (999, 1), (1000, 0), (1000, 2), (12345, 0)]
    for source, number in reversed(numbers):
        run.write_part(source, number, part())
    assert [source for source, _ in run.part_paths()] == [source for source, _ in numbers]
    assert [path.name for _, path in run.part_paths()] == [folder.PART.format(source=s, part=p) for s, p in numbers]


def test_a_part_is_one_row_group_here_and_in_the_report(run: RunFolder) -> None:
    """However many rows it has: the report's row groups are matched with the parts by their numbers."""
    tables = [part(), part(MANY), part(2)]
    run.write_part(0, 0, tables[1])
    run.write_results(iter(tables), tables[0].schema)
    ((_, path),) = run.part_paths()
    assert pq.ParquetFile(path).num_row_groups == 1
    report = pq.ParquetFile(run.results)
    assert [report.metadata.row_group(i).num_rows for i in range(report.num_row_groups)] == [1, MANY, 2]


def written(run: RunFolder, name: str) -> Path:
    """The file of this name, written by whoever writes it."""
    form = Form(name.rpartition(".")[2], ("Phone",), ("Phone",), (0,))
    match name:
        case "part":
            run.write_part(0, 0, part())
            return run.part_paths()[0][1]
        case "results.parquet":
            run.write_results([part()], part().schema)
        case "manifest.json":
            run.write_json(name, {"a": 1})
        case _:
            rejected.write(run.path, "rejected", form, [to_mend("555")])
    return run.path / name


FILES = ["part", "results.parquet", "manifest.json", "rejected.csv", "rejected.xlsx"]


@pytest.mark.parametrize("name", FILES)
def test_a_file_and_its_name_are_on_disk(run: RunFolder, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """The content is synced, then renamed, then the directory is synced; nobody else may read it."""
    steps: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def synced(fd: int) -> None:
        steps.append("directory" if stat.S_ISDIR(os.fstat(fd).st_mode) else "file")
        if steps[-1] == "directory":
            steps.append(str(os.fstat(fd).st_ino))
        fsync(fd)

    def renamed(old: Path, new: Path) -> Path:
        steps.append("rename")
        return replace(old, new)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", renamed)
    path = written(run, name)
    assert steps == ["file", "rename", "directory", str(path.parent.stat().st_ino)]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [p for p in path.parent.iterdir() if p.is_file()] == [path]


def test_a_run_folder_is_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its name is synced in the folder of all runs before anything is written into it."""
    found: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda fd: found.append(os.fstat(fd).st_ino))
    folder.create(tmp_path, "leads", datetime(2026, 1, 2, tzinfo=UTC))
    assert found == [tmp_path.stat().st_ino]


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_whole_or_not_there(run: RunFolder, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """What breaks off while it is written leaves nothing under its name, and an earlier file as it was."""

    def full(fd: int) -> None:
        raise OSError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(DiskError, match="full"):
            written(run, name)
    assert all(path.name.startswith(".") for path in run.path.rglob("*") if path.is_file())
    path = written(run, name)
    before = path.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(DiskError, match="full"):
            written(run, name)
    assert path.read_bytes() == before
