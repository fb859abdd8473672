"""What a run is asked to do, what it takes from outside, and what it gives back."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

import httpx

from pipeline import mapping, settings
from pipeline.mapping import MappingFile
from pipeline.model import Status
from pipeline.people import Consent
from pipeline.settings import Settings
from schemas.spec import Operation


class Progress(Protocol):
    """Who watches a run."""

    def reading(self, rows: int) -> None:
        """So many more rows were read and validated."""

    def sending(self, rows: int, target: str) -> None:
        """So many rows are about to be sent, to that account at that host."""

    def interrupted(self) -> None:
        """Someone asked the run to end; calls under way may still end."""

    def settled(self, status: Status) -> None:
        """One row has its outcome, and it is on disk."""


@dataclass(frozen=True, slots=True)
class Job:
    """What a run is asked to do."""

    command: str  # check or load
    files: tuple[Path, ...]
    mapping: MappingFile
    mapping_path: Path
    mapping_text: str
    settings: Settings
    consent: Consent
    limit: int | None = None
    again: bool = False  # send also what the ledger knows as delivered
    encoding: str | None = None
    sheet: str | None = None

    @property
    def operation(self) -> Operation:
        """The operation that the mapping names."""
        return mapping.operation_of(self.mapping, self.mapping_path.name)

    @property
    def base_url(self) -> str:
        """Where the operation's vendor is."""
        return settings.base_url(self.settings, self.operation.vendor)

    @property
    def scope(self) -> str:
        """The account at its address: what locks, claims and the ledger are kept for."""
        return f"{self.account}@{self.base_url}"

    @property
    def target(self) -> str:
        """The account and the host, as a person reads them."""
        return f"account {self.account or '(not set)'} at {urlsplit(self.base_url).netloc}"

    @property
    def account(self) -> str:
        """The vendor's account; "" where none is set."""
        return settings.account(self.settings, self.operation.vendor)


@dataclass(frozen=True, slots=True)
class World:
    """What a run takes from outside: transport, wall clock, randomness, and who watches."""

    transport: Callable[[], httpx.AsyncBaseTransport]
    now: Callable[[], datetime]
    rng: random.Random
    progress: Progress


@dataclass(frozen=True, slots=True)
class Summary:
    """How a run ended. `counts` is rows by status; `codes` is rows by "status/code".

    `repairs` is changed cells by rule; `lossy` is how many of them can't be undone.
    """

    run_id: str
    command: str
    operation: str
    target: str  # the account and the host
    sources: list[str]
    rows_read: int
    counts: dict[str, int]
    codes: dict[str, int]
    repairs: dict[str, int]
    lossy: int
    report: str
    rejected: list[str]
    exit_code: int
    seconds: float
    notes: list[str]
    halted: str | None = None
