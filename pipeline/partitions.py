"""Which rows of a run one worker sends: rows of one identifier are in one partition, and so stay in order. Pure."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

COLUMNS = ("identifier", "phone", "row_key")  # the first that a row has says where it belongs


def of(rows: pa.Table, partitions: int) -> npt.NDArray[np.int64]:
    """The partition of each row, from 0: by its identifier, else by its phone, else by its key."""
    if partitions == 1 or not rows.num_rows:
        return np.zeros(rows.num_rows, dtype=np.int64)
    texts = pa.nulls(rows.num_rows, pa.string())
    for name in COLUMNS:
        texts = pc.coalesce(texts, pc.if_else(pc.equal(column := _flat(rows[name]), ""), None, column))
    hashed = pd.util.hash_array(texts.to_numpy(zero_copy_only=False), categorize=False)  # the same in every process
    return (hashed % np.uint64(partitions)).astype(np.int64)


def _flat(column: pa.ChunkedArray) -> pa.Array:
    return pa.concat_arrays(column.chunks) if column.num_chunks != 1 else column.chunk(0)
