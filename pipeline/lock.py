"""One sending run per account: an operating system's lock, which dies with its holder."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from pipeline.model import UserError


class LockedError(UserError):
    """Another run is sending to this account."""

    exit_code = 6


@contextlib.contextmanager
def held(folder: Path, account: str, run_id: str) -> Iterator[None]:
    """Holds the account's lock. Raises LockedError where another process does.

    The host, process and run in the file are for people to read: the lock itself is the kernel's.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _held(folder / f"{hashlib.sha256(account.encode()).hexdigest()[:16]}.lock", run_id):
        yield


@contextlib.contextmanager
def all_held(folder: Path, run_id: str) -> Iterator[None]:
    """Holds the locks of all accounts that were ever sent to. Raises LockedError where another process has one."""
    with contextlib.ExitStack() as stack:
        for path in sorted(folder.glob("*.lock")):
            stack.enter_context(_held(path, run_id, "nothing was changed"))
        yield


@contextlib.contextmanager
def _held(path: Path, run_id: str, undone: str = "nothing was sent") -> Iterator[None]:
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        _take(fd, undone)
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"run {run_id}, process {os.getpid()} on {socket.gethostname()}".encode(), 0)
        yield
    finally:
        os.close(fd)


def _take(fd: int, undone: str) -> None:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(fd, 200, 0).decode(errors="replace") or "another process"
        raise LockedError(f"this account is being sent to by {holder}; {undone}: try again later") from None
