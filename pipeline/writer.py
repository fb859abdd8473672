"""Who commits what the journal has written: one for each kind of state database."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Protocol

import sqlalchemy as sa

from pipeline import statedb, writer_sqlite
from pipeline.writes import Fence, Write


class Writer(Protocol):
    """One connection to the state database, used by one thread."""

    may_be_lost: bool  # while nothing is written: whoever sends must look now and then

    def commit(self, group: Sequence[Write]) -> list[bool]:
        """Makes the writes durable together, in order; for each, whether it has changed a row.

        Raises LeaseLostError where its fence is down, and the driver's error where it can't: then none of them is, or,
        where the answer to a commit is lost, nobody knows.
        """


def opened(state: sa.Engine, fence: Fence | None = None) -> AbstractContextManager[Writer]:
    """A writer: with a connection of its own, or in the session that holds a lock of this database."""
    if not statedb.is_postgresql(state.url):
        return writer_sqlite.opened(state, fence)
    from pipeline import writer_postgres

    return writer_postgres.opened(state, fence)
