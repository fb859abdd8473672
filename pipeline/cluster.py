"""More processes for one run, by Dask: a local cluster for `--workers`, somebody else's for `--scheduler`.

Dask is imported where a job asks for one. Nothing of a list and no secret is in what goes over Dask: a task is given
the run's folder, numbers, and settings without secrets; its worker reads the rest there and from its own environment.
"""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from pipeline import forking
from pipeline.folder import RunFolder
from pipeline.job import Job
from pipeline.model import UserError

if TYPE_CHECKING:
    import distributed

_PRELOADED = "pipeline.worker"  # what every worker imports before it takes work
_CONNECT_SECONDS = 5
_CONFIG = {
    "distributed.scheduler.http.routes": [],  # no pages: they would tell anybody on this machine
    "distributed.worker.http.routes": [],
    "distributed.scheduler.work-stealing": False,  # what is under way stays where it is
    "distributed.scheduler.active-memory-manager.start": False,
    "distributed.scheduler.allowed-failures": 3,  # a chunk that has killed so many workers is given up
    "distributed.worker.profile.enabled": False,  # it looks at every thread a hundred times a second
    "distributed.worker.multiprocessing-method": "forkserver",
}


class ClusterError(UserError):
    """The workers can't do their part any more."""

    exit_code = 70


@dataclass(frozen=True, slots=True)
class Cluster:
    """The workers of a run. They may still be starting: whoever asks for the client waits for them."""

    size: int | None  # how many workers were asked for; None: a scheduler's own
    _starting: Future[distributed.Client]

    @property
    def client(self) -> distributed.Client:
        """Dask's client, connected. Raises UserError where there is nobody to connect to."""
        return self._starting.result()

    @property
    def workers(self) -> int:
        """How many workers there are."""
        return self.size or max(len(self.client.scheduler_info(n_workers=-1)["workers"]), 1)

    def submit(self, task: Callable[..., Any], *given: Any, key: str, **options: Any) -> distributed.Future[Any]:
        """Has a worker do `task(*given)`; `options` are those of Dask's `Client.submit`.

        The key is seen on dashboards, and so may the arguments be: they hold nothing of a list and no secret. A task
        of one key is done once; where its worker dies, it is done again by another.
        """
        return self.client.submit(task, *given, key=key, **options)

    def result(self, future: distributed.Future[Any]) -> Any:
        """What a task gives. Raises what it raised, and ClusterError where it was lost with its workers."""
        from distributed import CancelledError, KilledWorker
        from distributed.comm.core import CommClosedError

        try:
            return future.result()
        except KilledWorker as error:
            raise ClusterError(f"workers died again and again over one task ({error.task}); see their memory") from None
        except (CancelledError, CommClosedError):
            raise ClusterError("the scheduler has gone; nothing was sent: start the run again") from None

    def check(self, run: RunFolder, unfit: Callable[[str], str | None]) -> None:
        """Has every worker look at the run, once its manifest is written.

        Raises UserError naming a worker for which `unfit` says why it can't take part.
        """
        for worker, told in self.everywhere(unfit, str(run.path.absolute())).items():
            if told is not None:
                raise UserError(f"worker {worker}: {told}")

    def everywhere(self, ask: Callable[..., Any], *given: Any) -> dict[str, Any]:
        """What `ask(*given)` gives at each worker, by its address; where it fails, what it raised."""
        found: dict[str, Any] = self.client.run(ask, *given, on_error="return")
        return found


@contextmanager
def opened(job: Job) -> Iterator[Cluster | None]:
    """The workers that a job asks for, while the run lasts; None: it asks for none.

    They start while the caller goes on. Raises UserError where Dask is not installed; a scheduler that can't be
    reached is told when the client is asked for.
    """
    if job.workers is not None:
        start = partial(_local, job.workers)
    elif job.scheduler is not None:
        start = partial(_connected, job.scheduler)
    else:
        yield None
        return
    _check_installed(job)
    with ThreadPoolExecutor(1, "cluster") as starter:
        starting = starter.submit(start)
        try:
            yield Cluster(job.workers, starting)
        finally:
            with suppress(Exception):  # what hindered its start was told, or is not why the run ends
                _close(starting.result())


def _check_installed(job: Job) -> None:
    option = "--workers" if job.workers else "--scheduler"
    for needed in ("distributed", "cryptography"):  # the latter makes the certificates of a local cluster
        if importlib.util.find_spec(needed) is None:
            raise UserError(f"{option}: {needed} is not installed: pip install 'dialedin-leads[dask]'")


def quiet() -> None:
    """Nothing that Dask logs reaches the terminal: what matters of it is told as an error of the run."""
    for name in ("distributed", "distributed.client", "distributed.gc", "tornado", "tornado.application"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [logging.NullHandler()], False


def _local(workers: int) -> distributed.Client:
    """A client of so many processes of this machine. They talk by TLS: Dask asks nobody else who they are."""
    forking.start()  # it imports while this process does
    import dask
    import distributed

    quiet()
    with dask.config.set(_CONFIG):
        cluster = distributed.LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            security=distributed.Security.temporary(),
            scheduler_kwargs={"dashboard": False, "dashboard_address": "127.0.0.1:0"},  # else it wants port 8787
            silence_logs=logging.CRITICAL,
            memory_limit=0,  # a worker that is paused or killed helps nobody
            preload=[_PRELOADED],
        )
    return distributed.Client(cluster, set_as_default=False)


def _connected(address: str) -> distributed.Client:
    """A client of the scheduler at this address. Raises UserError where it or its workers are not fit."""
    import distributed

    quiet()
    try:
        _check_certificates(address)
        client = distributed.Client(address, timeout=_CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError, TypeError, RuntimeError) as error:
        raise UserError(f"--scheduler {address}: can't be reached: {error}; is it up?") from None
    try:
        _check_versions(client, address)
    except BaseException:
        client.close()
        raise
    return client


def _check_certificates(address: str) -> None:
    """Raises UserError where TLS is asked for and nothing says by what: a client that finds out can't even close."""
    import distributed

    if address.startswith("tls://") and distributed.Security().get_connection_args("client")["ssl_context"] is None:
        raise UserError(
            f"--scheduler {address}: no certificates are named: set DASK_DISTRIBUTED__COMM__TLS__CA_FILE, "
            "DASK_DISTRIBUTED__COMM__TLS__CLIENT__CERT and DASK_DISTRIBUTED__COMM__TLS__CLIENT__KEY"
        )


def _check_versions(client: distributed.Client, address: str) -> None:
    found = client.run(_version, on_error="return")
    if not found:
        raise UserError(f"--scheduler {address}: it has no workers; start one: dask worker {address}")
    ours = _version()
    for worker, theirs in found.items():
        if theirs != ours:
            raise UserError(f"worker {worker} has dialedin-leads {_told(theirs)}, and here is {ours}: install the same")


def _version() -> str:
    return version("dialedin-leads")


def _told(theirs: str | Exception) -> str:
    return theirs if isinstance(theirs, str) else f"not at all ({theirs})"


def _close(client: distributed.Client) -> None:
    cluster = client.cluster
    client.close()
    if cluster is not None:
        cluster.close()
