"""One sending run per account: a lock, which dies with its holder."""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Protocol

import sqlalchemy as sa

from pipeline import statedb
from pipeline.lock_files import FileLocks
from pipeline.model import UserError

_BESIDE = "a search or a call by hand is under way; nothing was changed: try again later"


class LockedError(UserError):
    """Another run is sending to this account."""

    exit_code = 6


class Locks(Protocol):
    """The locks of one state database, by name."""

    def names(self) -> list[str]:
        """The names under which something was ever locked."""

    def holding(self, name: str, holder: str) -> AbstractContextManager[tuple[sa.Engine, str | None]]:
        """(the state database as its holder writes it, None), or (…, who holds the lock) where that is another."""

    def sharing(self, name: str) -> AbstractContextManager[None]:
        """Goes on beside the lock, with others of its kind."""

    def nobody_shares(self, name: str) -> AbstractContextManager[bool]:
        """Whether nobody goes on beside it; nobody begins to meanwhile, if so."""


def _locks(state: sa.Engine) -> Locks:
    folder = statedb.folder_of(state)
    if folder is not None:
        return FileLocks(state, folder / "locks")
    from pipeline.lock_sessions import SessionLocks

    return SessionLocks(state)


@contextlib.contextmanager
def held(state: sa.Engine, account: str, run_id: str) -> Iterator[sa.Engine]:
    """Holds the account's lock. Raises LockedError where another process does.

    Gives the state database as its holder is to write it: once the lock is lost, its journal is broken.
    """
    with _held(_locks(state), _name(account), run_id) as own:
        yield own


@contextlib.contextmanager
def beside(state: sa.Engine, account: str) -> Iterator[None]:
    """Shows that a search or a call by hand is under way: runs and others of its kind go on beside it."""
    with _locks(state).sharing(_name(account)):
        yield


@contextlib.contextmanager
def nobody_beside(state: sa.Engine, account: str) -> Iterator[bool]:
    """Whether nothing goes on beside the account's lock; nothing begins to meanwhile, if so."""
    with _locks(state).nobody_shares(_name(account)) as nobody:
        yield nobody


@contextlib.contextmanager
def alone(state: sa.Engine, account: str, run_id: str) -> Iterator[None]:
    """Holds the account's lock while nothing goes on beside it. Raises LockedError where something does."""
    with held(state, account, run_id), nobody_beside(state, account) as nobody:
        if not nobody:
            raise LockedError(_BESIDE)
        yield


@contextlib.contextmanager
def all_alone(state: sa.Engine, run_id: str) -> Iterator[None]:
    """The same for all accounts that were ever sent to."""
    locks = _locks(state)
    with contextlib.ExitStack() as stack:
        names = locks.names()
        for name in names:
            stack.enter_context(_held(locks, name, run_id, "nothing was changed"))
        for name in names:
            if not stack.enter_context(locks.nobody_shares(name)):
                raise LockedError(_BESIDE)
        yield


def _name(account: str) -> str:
    return hashlib.sha256(account.encode()).hexdigest()[:16]


@contextlib.contextmanager
def _held(locks: Locks, name: str, run_id: str, undone: str = "nothing was sent") -> Iterator[sa.Engine]:
    holder = f"run {run_id}, process {os.getpid()} on {socket.gethostname()}"
    with locks.holding(name, holder) as (own, other):
        if other is not None:
            told = other or "another process"
            raise LockedError(f"this account is being sent to by {told}; {undone}: try again later")
        yield own
