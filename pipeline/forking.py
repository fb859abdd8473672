"""The process from which a local cluster forks its workers: it imports, beside the client, what all of them need."""

from __future__ import annotations

import os
import signal
from multiprocessing import forkserver, resource_tracker

_IMPORTED = ["pipeline.worker", "distributed.nanny", "distributed.worker"]  # half a second for each worker, else


def start() -> None:
    """Starts it, unless it is there; it ends with this process, however that ends.

    It and its workers hear no Ctrl-C: the client alone decides what becomes of the run.
    """
    resource_tracker.ensure_running()  # which would let the signals through again
    # Else it would look for our modules in the working directory, before it looks where they are.
    os.environ["PYTHONSAFEPATH"] = "1"
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
    try:
        forkserver.set_forkserver_preload(_IMPORTED)
        forkserver.ensure_running()
    finally:
        del os.environ["PYTHONSAFEPATH"]
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
