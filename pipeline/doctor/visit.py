"""What a visit of the doctor starts from, what it has found so far, and how a finding is put."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

import httpx
import sqlalchemy as sa

from pipeline import settings
from pipeline.model import Reply
from pipeline.settings import Settings
from schemas.catalogue import CATALOGUE
from schemas.spec import Operation, Vendor

PATIENCE_SECONDS = 10.0  # for one step, where no --timeout says otherwise


class Level(StrEnum):
    """How a check came out."""

    OK = "ok"
    WARN = "warn"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Finding:
    """How something is, and what to do about it. Made by `ok`, `warn` and `bad`."""

    level: Level
    message: str
    next: str | None = None
    exit_code: int = 0


def ok(message: str) -> Finding:
    """It is well."""
    return Finding(Level.OK, message)


def warn(message: str, step: str) -> Finding:
    """A load can begin, and someone should know this before."""
    return Finding(Level.WARN, message, step)


def bad(message: str, step: str, exit_code: int) -> Finding:
    """A load would not go well."""
    return Finding(Level.BAD, message, step, exit_code)


@dataclass(frozen=True, slots=True)
class Asked:
    """What to look at, and what is taken from outside: transport and wall clock."""

    flags: Mapping[str, object]
    mapping: str | None
    campaigns: tuple[str, ...]
    transport: Callable[[], httpx.AsyncBaseTransport]
    now: Callable[[], datetime]
    operations: Collection[Operation] = tuple(CATALOGUE.values())


@dataclass
class Visit:
    """What is known so far. A field without a value is filled by the check of its name, which others then need."""

    asked: Asked
    vendor: Vendor = field(init=False)
    campaigns: list[str] = field(init=False)
    settings: Settings = field(init=False)
    origins: Mapping[str, str] = field(init=False)  # of the settings
    url: httpx.URL = field(init=False)  # the address
    credentials: Mapping[str, str] = field(init=False)
    account: str = ""  # known even where the rest of the credentials is not
    state: sa.Engine | None = None
    reply: Reply | None = None  # to the login, and when it came
    replied_at: datetime = field(init=False)

    def __post_init__(self) -> None:
        self.vendor = next(iter(self.asked.operations)).vendor
        self.campaigns = list(dict.fromkeys(self.asked.campaigns))

    @property
    def seconds(self) -> float:
        """How long one step at the vendor may take."""
        return patience_seconds(self.settings, self.origins)

    @property
    def search(self) -> Operation | None:
        """The operation by which the vendor is asked for a lead; None where it has none."""
        lookups = (op.lookup for op in self.asked.operations if op.vendor == self.vendor)
        return next(filter(None, lookups), None)

    @property
    def host(self) -> str:
        """The vendor's host, as it is looked up."""
        return self.url.raw_host.decode()

    @property
    def port(self) -> int:
        """The vendor's port."""
        return self.url.port or (443 if self.url.scheme == "https" else 80)

    @property
    def is_rehearsal(self) -> bool:
        """Whether the address is this machine: plain http is allowed to no other."""
        return self.url.scheme == "http"

    @property
    def scope(self) -> str:
        """The account at its address, as the lock and the ledger have it."""
        return settings.scope(self.settings, self.vendor)

    @property
    def address_place(self) -> str:
        """Where it stands, or could stand, at which address the vendor is."""
        return self._place(self.vendor.base_url_setting)

    @property
    def credential_places(self) -> dict[str, str]:
        """Where each of the credentials comes from, by its parameter."""
        known = {c.parameter: c.setting for several in self.vendor.credentials for c in several}
        return {parameter: self._place(known[parameter]) for parameter in self.credentials}

    def _place(self, setting: str) -> str:
        origin = self.origins[setting]
        if origin == str(settings.FILE):
            return f"{setting} in {origin}"
        return setting.upper() if origin == "default" else origin


def patience_seconds(found: Settings, origins: Mapping[str, str]) -> float:
    """How long each step may take: what --timeout says, else the timeout of the settings, but at most 10."""
    return found.timeout if origins["timeout"] == "flag" else min(found.timeout, PATIENCE_SECONDS)
