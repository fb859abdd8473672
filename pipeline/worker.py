"""What a worker of a cluster imports as it starts, while the client still reads the list."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

from pipeline import chunks, cluster

if TYPE_CHECKING:
    import distributed

__all__ = ["chunks", "dask_setup"]


def dask_setup(_worker: distributed.Worker) -> None:
    """Dask calls this in each worker before it takes work."""
    cluster.quiet()
    gc.set_threshold(50_000, 50, 100)
