"""What client and workers hand each other: files in the run's spool folder, which go with it if not before."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from pipeline import mapped, report
from pipeline.model import DiskError
from pipeline.source import Chunk, RaggedRow


class At(NamedTuple):
    """Which chunk is meant: of a run's folder, a source, and the number of its part.

    What workers keep, and what Dask knows by its key, is of one command only: the nonce tells them apart.
    """

    path: str
    nonce: str
    number: int
    part: int

    def file(self, kind: str) -> Path:
        """Where a chunk is handed over (arrow), what is told of it, decided of its rows, and shown of its part."""
        return Path(self.path, "spool", f"{self.number:03d}-{self.part:06d}.{kind}")

    def remove(self) -> None:
        """Removes these files, once its part is written."""
        for kind in ("arrow", "told", "decided", "shown"):
            self.file(kind).unlink(missing_ok=True)

    def key(self, task: str) -> str:
        """What Dask calls a task about it."""
        return f"{task}-{Path(self.path).name}-{self.nonce}-{self.number}-{self.part}"


def hand_over(chunk: Chunk, file: Path) -> None:
    """Writes a chunk for the worker that takes it; its owner alone may read it. Raises DiskError."""
    names = [str(name) for name in chunk.frame.columns]
    columns = [*(mapped.cells(chunk.frame, name) for name in names), pa.array(chunk.frame.index.to_numpy())]
    columns += [] if chunk.earlier_rows is None else [chunk.earlier_rows]
    besides = {"columns": names, "ragged": [(row.row, row.cells, row.has_swallowed) for row in chunk.ragged]}
    batch = pa.record_batch(columns, names=[str(at) for at in range(len(columns))])
    batch = batch.replace_schema_metadata({"besides": json.dumps(besides)})
    with _spooling(file) as written, pa.ipc.new_file(written, batch.schema) as batches:
        batches.write_batch(batch)


def taken_over(file: Path) -> Chunk:
    """The chunk that was written there. Raises DiskError."""
    with pa.ipc.open_file(_bytes(file)) as batches:
        batch = batches.get_batch(0)
    besides = json.loads(batch.schema.metadata[b"besides"])
    ragged = tuple(RaggedRow(row, tuple(cells), swallowed) for row, cells, swallowed in besides["ragged"])
    width = len(besides["columns"])
    arrays = (pd.arrays.ArrowExtensionArray(batch.column(at)) for at in range(width))
    index = pd.Index(batch.column(width).to_numpy(), name="row")
    frame = pd.DataFrame(dict(zip(besides["columns"], arrays, strict=True)), index=index)
    return Chunk(frame, ragged, batch.column(width + 1) if batch.num_columns > width + 1 else None)


def show(part: pa.Table, file: Path) -> None:
    """Writes what the report has of a part, and what says which of its rows would go. Raises DiskError."""
    columns = part.select(report.PART.names)
    with _spooling(file) as written, pa.ipc.new_file(written, columns.schema) as batches:
        batches.write_table(columns)


def shown(file: Path) -> pa.Table | None:
    """What was shown there; None: nothing was. Raises DiskError."""
    if not file.exists():
        return None
    with pa.ipc.open_file(_bytes(file)) as batches:
        return batches.read_all()


def tell(file: Path, **numbers: npt.NDArray[Any] | None) -> None:
    """Writes arrays for whoever asks for them; None is left out. Raises DiskError."""
    arrays: dict[str, Any] = {name: array for name, array in numbers.items() if array is not None}
    with _spooling(file) as written:
        np.savez(written, **arrays)


def told(file: Path) -> dict[str, Any]:
    """The arrays that were told there. Raises DiskError."""
    with np.load(_bytes(file)) as found:
        return dict(found)


def _bytes(file: Path) -> pa.BufferReader:
    try:
        return pa.BufferReader(file.read_bytes())
    except OSError as error:
        raise DiskError(f"{file}: can't be read: {error.strerror or error}") from None


@contextmanager
def _spooling(file: Path) -> Iterator[IO[bytes]]:
    # A name of its own until it is whole: a worker that was taken for dead may still be at the same.
    own = file.with_name(f"{file.name}.{secrets.token_hex(4)}")
    try:
        with os.fdopen(os.open(own, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as written:
            yield written
        own.replace(file)
    except OSError as error:
        raise DiskError(f"{file}: can't be written: {error.strerror or error}") from None
