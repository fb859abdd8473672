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

_BESIDE = "a search or a call by hand is under way; nothing was changed: try again later"


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
def beside(folder: Path, account: str) -> Iterator[None]:
    """Shows that a search or a call by hand is under way: runs and others of its kind go on beside it."""
    with _beside(_path_beside(folder, account)) as fd:
        fcntl.flock(fd, fcntl.LOCK_SH)
        yield


@contextlib.contextmanager
def nobody_beside(folder: Path, account: str) -> Iterator[bool]:
    """Whether nothing goes on beside the account's lock; nothing begins to meanwhile, if so."""
    with _nobody(_path_beside(folder, account)) as nobody:
        yield nobody


@contextlib.contextmanager
def _nobody(beside: Path) -> Iterator[bool]:
    with _beside(beside) as fd:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def _path_beside(folder: Path, account: str) -> Path:
    return folder / f"{_name(account)}.beside"


@contextlib.contextmanager
def _beside(path: Path) -> Iterator[int]:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        yield fd
    finally:
        os.close(fd)


def _name(account: str) -> str:
    return hashlib.sha256(account.encode()).hexdigest()[:16]


@contextlib.contextmanager
def alone(folder: Path, account: str, run_id: str) -> Iterator[None]:
    """Holds the account's lock while nothing goes on beside it. Raises LockedError where something does."""
    with held(folder, account, run_id), nobody_beside(folder, account) as nobody:
        if not nobody:
            raise LockedError(_BESIDE)
        yield


@contextlib.contextmanager
def all_alone(folder: Path, run_id: str) -> Iterator[None]:
    """The same for all accounts that were ever sent to."""
    with contextlib.ExitStack() as stack:
        for path in sorted(folder.glob("*.lock")):
            stack.enter_context(_held(path, run_id, "nothing was changed"))
        for path in sorted(folder.glob("*.beside")):
            if not stack.enter_context(_nobody(path)):
                raise LockedError(_BESIDE)
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
