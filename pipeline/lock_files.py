"""Locks beside a state database that is a file: the operating system's, which die with their holder."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa


@dataclass(frozen=True, slots=True)
class FileLocks:
    """The locks of one state database, in a folder beside it; as `lock.Locks`."""

    state: sa.Engine
    folder: Path

    def names(self) -> list[str]:
        """The names under which something was ever locked."""
        return sorted({path.stem for pattern in ("*.lock", "*.beside") for path in self.folder.glob(pattern)})

    @contextlib.contextmanager
    def holding(self, name: str, holder: str) -> Iterator[tuple[sa.Engine, str | None]]:
        """The lock of this name, and None; where somebody else has it, who that is. The file tells it to people."""
        with self._opened(f"{name}.lock") as fd:
            if not _taken(fd):
                yield self.state, os.pread(fd, 200, 0).decode(errors="replace")
                return
            os.ftruncate(fd, 0)
            os.pwrite(fd, holder.encode(), 0)
            yield self.state, None

    @contextlib.contextmanager
    def sharing(self, name: str) -> Iterator[None]:
        """Goes on beside the lock of this name, with others."""
        with self._opened(f"{name}.beside") as fd:
            fcntl.flock(fd, fcntl.LOCK_SH)
            yield

    @contextlib.contextmanager
    def nobody_shares(self, name: str) -> Iterator[bool]:
        """Whether nobody goes on beside it; nobody begins to meanwhile, if so."""
        with self._opened(f"{name}.beside") as fd:
            yield _taken(fd)

    @contextlib.contextmanager
    def _opened(self, file: str) -> Iterator[int]:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = os.open(self.folder / file, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            yield fd
        finally:
            os.close(fd)


def _taken(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
