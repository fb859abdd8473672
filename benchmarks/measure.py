"""Programs run as children, with what the kernel says they cost."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
_MAXRSS_BYTES = 1 if sys.platform == "darwin" else 1024


@dataclass(frozen=True, slots=True)
class Cost:
    """What one program cost from start to end, its imports included."""

    wall_seconds: float
    processor_seconds: float  # user and system
    peak_bytes: int
    output: str


def run(command: Sequence[str], *, folder: Path, environment: Mapping[str, str]) -> Cost:
    """Runs `command` in `folder`; its standard error is ours. Raises RuntimeError where it does not end with 0.

    A child's peak starts at its parent's size, since it is forked: this program imports nothing large.
    """
    with (folder / "stdout").open("w+", encoding="utf-8") as output:
        started = time.perf_counter()
        child = subprocess.Popen(command, cwd=folder, env=dict(environment), stdout=output, stdin=subprocess.DEVNULL)
        try:
            _, status, usage = os.wait4(child.pid, 0)
        except BaseException:
            child.kill()
            raise
        seconds = time.perf_counter() - started
        child.returncode = os.waitstatus_to_exitcode(status)  # Popen must not wait for it again
        output.seek(0)
        said = output.read()
    if child.returncode:
        raise RuntimeError(f"{' '.join(command)}: exit code {child.returncode}: {said.strip()[:500]}")
    return Cost(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * _MAXRSS_BYTES, said)


@contextmanager
def answering_server() -> Iterator[str]:
    """The base URL of a server that answers at once, in a process of its own."""
    command = [sys.executable, str(HERE / "answering_server.py")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(server.stdout.readline())}/"
        finally:
            server.stdin.close()  # it ends by itself
