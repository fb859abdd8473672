"""Processes, told apart for ever and on all machines: what this one is called, and whether another is surely dead."""

from __future__ import annotations

import os
import socket
from pathlib import Path


def this_process() -> str:
    """A name for this process that no other one has, now or later: host, boot, namespace, process, when it began."""
    return "/".join((*_where(), str(os.getpid()), _stat(os.getpid())[1]))


def shown(process: str) -> str:
    """A process by its name, for people."""
    host, _, _, pid, _ = _split(process)
    return f"process {pid} on {host}"


def is_surely_dead(process: str) -> bool:
    """Whether it was a process of this machine that has ended; False where that can't be known from here."""
    *where, pid, began_at = _split(process)
    if tuple(where) != _where():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    state, since = _stat(int(pid))
    return state in _DEAD or since not in {"", began_at}


def _split(process: str) -> list[str]:
    return process.rsplit("/", 4)


def this_machine() -> str:
    """What all processes of this machine have in common since it was started, or at least its name."""
    boot = Path("/proc/sys/kernel/random/boot_id")
    return boot.read_text(encoding="ascii").strip() if boot.exists() else socket.gethostname()


def _where() -> tuple[str, str, str]:
    """This host, its machine, and the namespace in which its processes are counted."""
    space = Path("/proc/self/ns/pid")
    return socket.gethostname(), this_machine(), str(space.readlink()) if space.exists() else ""


def _stat(pid: int) -> tuple[str, str]:
    """A process's state, and when it began, in ticks since its machine did; "" where the system does not say."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return "", ""
    state, *values = stat.rpartition(")")[2].split()
    return state, values[18]


_DEAD = ("Z", "X")  # its end is there, and nobody has asked for it yet
