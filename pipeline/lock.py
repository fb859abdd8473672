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
    with _held(folder / f"{_name(account)}.lock", run_id):
        yield


@contextlib.contextmanager
def calling(folder: Path, account: str) -> Iterator[None]:
    """Shows that a call by hand is under way, which takes no lock: runs and other calls go on beside it."""
    with _calls(folder, account) as fd:
        fcntl.flock(fd, fcntl.LOCK_SH)
        yield


@contextlib.contextmanager
def no_call(folder: Path, account: str) -> Iterator[bool]:
    """Whether no call by hand is under way; none begins meanwhile if so."""
    with _calls(folder, account) as fd:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


@contextlib.contextmanager
def _calls(folder: Path, account: str) -> Iterator[int]:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    fd = os.open(folder / f"{_name(account)}.calls", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        yield fd
    finally:
        os.close(fd)


def _name(account: str) -> str:
    return hashlib.sha256(account.encode()).hexdigest()[:16]


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
