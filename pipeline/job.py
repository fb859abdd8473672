"""What a run is asked to do, what it takes from outside, and what it gives back."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, Protocol
from urllib.parse import urlsplit

import httpx

from pipeline import mapping, settings
from pipeline.earlier import Selection
from pipeline.files import GivenFile
from pipeline.mapping import MappingFile
from pipeline.model import Status
from pipeline.people import Consent
from pipeline.readback import Sample
from pipeline.settings import Settings
from schemas.spec import Effect, Operation


class Progress(Protocol):
    """Who watches a run."""

    def reading(self, rows: int) -> None:
        """So many more rows were read and validated."""

    def sending(self, rows: int, target: str, notes: Sequence[str]) -> None:
        """So many rows are about to be sent, to that account at that host; and what is odd about them."""

    def verifying(self, rows: int) -> None:
        """So many rows are about to be read back."""

    def interrupted(self) -> None:
        """Someone asked the run to end; calls under way may still end."""

    def settled(self, status: Status) -> None:
        """One row has its outcome, and it is on disk."""

    def following(self, operation: str) -> None:
        """A step after the load is about to be sent."""


@dataclass(frozen=True, slots=True)
class Job:
    """What a run is asked to do."""

    command: str  # check, load, retry or call
    files: tuple[GivenFile, ...]  # none where `selection` says which rows
    mapping: MappingFile
    mapping_path: Path
    mapping_text: str
    settings: Settings
    consent: Consent
    limit: int | None = None
    again: bool = False  # send also what the ledger knows as delivered
    encoding: str | None = None
    sheet: str | None = None
    raw_csv: bool = False  # a rejected CSV file without guards before formulas
    mended: Literal["guarded", "raw"] | None = None  # the file is a rejected one, mended: how it was written
    where: str | None = None  # of Parquet files, the rows for which this DuckDB expression holds
    verify: Sample | None = None  # how many accepted rows are read back
    canary: int | None = None  # so many rows go first, and are read back before the others follow
    update_all: bool = False  # where several leads match a row, all of them are updated
    parent: str | None = None  # id of the run whose rows go once more
    selection: Selection | None = None
    cells: Mapping[str, str] | None = None  # of a call: its one row
    asked: tuple[str, ...] = ()  # what was typed of it, as a load takes it
    fresh_at: str | None = None  # ISO 8601: when these rows were first read; None: now
    workers: int | None = None  # processes of this machine that share the work; None: this one does it
    scheduler: str | None = None  # address of a Dask scheduler whose workers do it

    @property
    def name(self) -> str:
        """What its run is called after."""
        if self.selection is not None:
            return Path(self.selection.run.read_json("manifest.json")["sources"][0]["name"]).stem
        if self.is_call:
            return f"call-{self.operation.name}"
        return Path(self.files[0].name).stem

    @property
    def is_call(self) -> bool:
        """Whether this is one call by hand: recorded like any row, and never skipped."""
        return self.command == "call"

    @property
    def goes_beside(self) -> bool:
        """Whether it holds no lock, and other runs of the account may go on beside it."""
        steps = [mapping.operation_of(step, self.mapping_path.name) for step in self.mapping.steps]
        return self.is_call or all(operation.effect is Effect.READ for operation in (self.operation, *steps))

    @property
    def options(self) -> dict[str, Any]:
        """What was asked for besides the settings: how a later command goes on with the run."""
        return {
            "limit": self.limit,
            "again": self.again,
            "encoding": self.encoding,
            "sheet": self.sheet,
            "where": self.where,
            "verify": self.verify and str(self.verify),
            "canary": self.canary,
            "update_all": self.update_all,
            "raw_csv": self.raw_csv,
            "only": self.selection and list(self.selection.only),
            "max_contacts": self.consent.max_contacts,
            "dial_non_callables": self.consent.dial_non_callables,
        }

    @property
    def lookup(self) -> Operation | None:
        """The search that settles a doubt, where a lead that it finds can only be ours.

        It can't where rows go out again on purpose, or where several rows of a file may share a mapped ClientId; unless
        nobody was there before the row was inserted.
        """
        if self.operation.composed is not None:
            return self.operation.lookup
        kept = self.mapping.policy.duplicates_in_file == "keep" and self.operation.client_id in self.mapping.fields
        return None if self.again or kept else self.operation.lookup

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
        return settings.scope(self.settings, self.operation.vendor)

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
    """What a run takes from outside: transport, wall clock, randomness, who watches, and what time passes in."""

    transport: Callable[[], httpx.AsyncBaseTransport]
    now: Callable[[], datetime]
    rng: random.Random
    progress: Progress
    new_loop: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop


@dataclass(frozen=True, slots=True)
class StepEnd:
    """How a step after the load ended: in the words of a row."""

    operation: str
    status: Status
    code: str | None
    message: str
    attempts: int


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
    read_back: dict[str, int] = field(default_factory=dict)  # rows by what reading them back found
    after: list[StepEnd] = field(default_factory=list)  # the mapping's steps after the load, in order
