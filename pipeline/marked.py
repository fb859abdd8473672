"""Who must not be contacted, as the state database has it: hashes of phones, under its key."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa

from pipeline import statedb
from pipeline.statedb import Ask
from pipeline.tables import MARKS, MARKS_KEY

_KEYS_AT_ONCE = 500  # bound values of one query
_KNOWN_SECONDS = 0.001  # less than a request takes to leave


def marks_key(state: sa.Engine) -> bytes:
    """The key under which this database keeps its marks; made where there is none yet."""
    if known := marks(state)[0]:
        return known
    new = {"id": 1, "key": secrets.token_bytes(32)}
    with state.begin() as connection:
        connection.execute(statedb.insert_new(state, MARKS_KEY).values(new))
        key: bytes = connection.execute(sa.select(MARKS_KEY.c.key)).scalar_one()
        return key


def mark(state: sa.Engine, hash_: bytes, at: int) -> None:
    """Keeps a mark: the hash of a phone, under the database's key."""
    with state.begin() as connection:
        connection.execute(statedb.insert_new(state, MARKS).values(hash=hash_, at=at))


def marks(state: sa.Engine) -> tuple[bytes, frozenset[bytes]]:
    """(the key, all marks): the people who were forgotten."""
    with state.connect() as connection:
        key = connection.execute(sa.select(MARKS_KEY.c.key)).scalar()
        return key or b"", frozenset(connection.execute(sa.select(MARKS.c.hash)).scalars())


class DoNotCall:
    """The numbers that calls of an account have put on do-not-call, as they are known whenever it is asked.

    Other processes add to them. It asks over a connection of its own, from any thread.
    """

    def __init__(self, ask: Ask, account: str, key: bytes) -> None:
        self._ask, self._account, self._key = ask, account, key
        self._one_at_a_time = threading.Lock()
        self._asked_at = float("-inf")  # on the monotonic clock: when there were none at all

    def among(self, phones: Iterable[str]) -> set[str]:
        """Which of these phones are among them. Raises the driver's error where that can't be known."""
        if self._are_none():
            return set()
        by_hash = {statedb.hashed(phone, self._key): phone for phone in phones if phone}
        hashes = list(by_hash)
        found: set[str] = set()
        for start in range(0, len(hashes), _KEYS_AT_ONCE):
            some = hashes[start : start + _KEYS_AT_ONCE]
            marks = ", ".join("?" * len(some))
            known = self._asked(f"SELECT hash FROM do_not_call WHERE account = ? AND hash IN ({marks})", *some)  # noqa: S608 marks alone
            found.update(by_hash[hash_] for (hash_,) in known)
        return found

    def _are_none(self) -> bool:
        """Whether there are none at all: as it was a millisecond ago at most, since each call asks."""
        now = time.monotonic()
        if now - self._asked_at > _KNOWN_SECONDS:
            if self._asked("SELECT 1 FROM do_not_call WHERE account = ? LIMIT 1"):
                return False
            self._asked_at = now
        return True

    def _asked(self, query: str, *hashes: bytes) -> Sequence[tuple[Any, ...]]:
        with self._one_at_a_time:
            return self._ask(query, (self._account, *hashes))


@contextmanager
def do_not_call(state: sa.Engine, account: str) -> Iterator[DoNotCall]:
    """The numbers of this account. Raises the driver's error where the database can't be read."""
    key = marks_key(state)
    with statedb.asking(state) as ask:  # each question sees what is known by then
        yield DoNotCall(ask, account, key)
