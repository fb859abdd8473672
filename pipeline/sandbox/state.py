"""What the simulated account holds, in one SQLite file that outlives its process."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.model import UserError
from pipeline.sandbox.office import SCHEMA as OFFICE_SCHEMA
from pipeline.sandbox.office import Office

_APPLICATION_ID = 0x4C534258  # marks a file as ours, so that no other database is ever written to
_SCHEMA = """
CREATE TABLE leads (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    fields TEXT NOT NULL,
    custom TEXT NOT NULL,
    callback TEXT NOT NULL,
    dnc INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL,
    phone TEXT GENERATED ALWAYS AS (json_extract(fields, '$.PrimaryPhone')) VIRTUAL,
    client_id TEXT GENERATED ALWAYS AS (ifnull(json_extract(fields, '$.ClientId'), '')) VIRTUAL,
    campaign TEXT GENERATED ALWAYS AS (json_extract(fields, '$.Campaign')) VIRTUAL,
    subcampaign TEXT GENERATED ALWAYS AS (ifnull(json_extract(fields, '$.Subcampaign'), '')) VIRTUAL
);
CREATE INDEX leads_phone ON leads (phone);
CREATE INDEX leads_client_id ON leads (client_id);
CREATE TABLE dials (
    id INTEGER PRIMARY KEY,
    lead_id INTEGER NOT NULL,
    phone TEXT NOT NULL,
    campaign TEXT NOT NULL,
    dialed_at TEXT NOT NULL,
    timezone_checked INTEGER NOT NULL,
    dnc INTEGER NOT NULL,
    duplicate INTEGER NOT NULL
);
CREATE TABLE rings (
    id INTEGER PRIMARY KEY,
    rang_at TEXT NOT NULL,
    sid TEXT NOT NULL,
    number TEXT NOT NULL,
    part TEXT NOT NULL,
    leg INTEGER NOT NULL,
    answered INTEGER NOT NULL,
    ref TEXT NOT NULL
);
CREATE TABLE do_not_call (number TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE requests (
    id INTEGER PRIMARY KEY,
    received_at TEXT NOT NULL,
    method TEXT NOT NULL,
    script TEXT NOT NULL,
    operation TEXT NOT NULL,
    parameters TEXT NOT NULL,
    phone TEXT NOT NULL,
    client_id TEXT NOT NULL,
    http_status INTEGER NOT NULL,
    reply TEXT NOT NULL,
    fault TEXT
);
CREATE TABLE gauges (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
"""
_SETUP = f"BEGIN;{_SCHEMA}{OFFICE_SCHEMA}PRAGMA application_id = {_APPLICATION_ID};COMMIT;"

_LEAD_COLUMNS = "id, fields, custom, callback, dnc, attempts, created_at, updated_at"

# The last lines, oldest first. LIMIT -1 is all.
_LAST_LEADS = f"SELECT * FROM (SELECT {_LEAD_COLUMNS} FROM leads ORDER BY id DESC LIMIT ?) ORDER BY id"  # noqa: S608 - a constant
_LAST_DIALS = "SELECT * FROM (SELECT * FROM dials ORDER BY id DESC LIMIT ?) ORDER BY id"
_LAST_RINGS = "SELECT * FROM (SELECT * FROM rings ORDER BY id DESC LIMIT ?) ORDER BY id"
_LAST_REQUESTS = "SELECT * FROM (SELECT * FROM requests ORDER BY id DESC LIMIT ?) ORDER BY id"

_COUNTS = """
SELECT (SELECT count(*) FROM leads) AS leads,
       (SELECT count(*) FROM requests) AS requests,
       (SELECT count(*) FROM dials) AS dials,
       (SELECT count(*) - count(DISTINCT phone) FROM dials) AS double_dials,
       (SELECT count(*) FROM dials WHERE dnc) AS dnc_dials,
       (SELECT count(*) FROM leads)
       - (SELECT count(*) FROM (SELECT DISTINCT phone, campaign, client_id FROM leads)) AS stored_twice,
       (SELECT count(*) FROM do_not_call) AS do_not_call_numbers
"""


_FAULTS = "SELECT fault, count(*) AS requests FROM requests WHERE fault IS NOT NULL GROUP BY fault ORDER BY fault"
_COUNT_UP = "INSERT INTO gauges VALUES (?, 1) ON CONFLICT (name) DO UPDATE SET value = value + 1 RETURNING value"
_PHONE_BEHIND: Mapping[str, str] = {
    "ClientId": "SELECT phone FROM requests WHERE client_id = ? AND phone <> '' ORDER BY id DESC LIMIT 1",
    "LeadId": "SELECT phone FROM leads WHERE id = CAST(?1 AS INTEGER) AND CAST(id AS TEXT) = ?1",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Lead:
    """A lead as it is stored; `fields` holds the lead columns by the vendor's names, PrimaryPhone among them."""

    fields: Mapping[str, str]
    custom: Mapping[str, str] = field(default_factory=dict)
    callback: Mapping[str, str] = field(default_factory=dict)
    dnc: bool = False
    attempts: int = 0
    created_at: str = ""
    updated_at: str = ""
    lead_id: int = 0  # 0: not stored yet

    @property
    def phone(self) -> str:
        """The number that is dialed."""
        return self.fields["PrimaryPhone"]

    @property
    def campaign(self) -> str:
        """The campaign it is in."""
        return self.fields["Campaign"]

    @property
    def subcampaign(self) -> str:
        """The subcampaign it is in, "" for none."""
        return self.fields.get("Subcampaign", "")


@dataclass(frozen=True, slots=True)
class Dial:
    """A call that the dialer would have made."""

    lead_id: int
    phone: str
    campaign: str
    dialed_at: str
    timezone_checked: bool
    dnc: bool
    duplicate: bool


@dataclass(frozen=True, slots=True)
class Ring:
    """A phone that DialogTech would have rung: `part` is the parameter that named it."""

    rang_at: str
    sid: str
    number: str
    part: str
    leg: int
    answered: bool
    ref: str


@dataclass(frozen=True, slots=True)
class RequestEntry:
    """A line of the request log. It has no credentials; where no reply was sent, `http_status` is 0."""

    received_at: str
    method: str
    script: str
    operation: str
    parameters: Mapping[str, str]
    phone: str
    client_id: str
    http_status: int
    reply: str
    fault: str | None


class Store:
    """The state of one sandbox. Writes belong in a `transaction`, and a request is one transaction."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._db = database
        self.office = Office(database)

    @classmethod
    def open(cls, path: Path) -> Store:
        """The state in `path`, which is made where it is missing; a file that isn't ours is a UserError."""
        try:
            path.touch(mode=0o600)  # leads are people's data
            database = _connected(path)
        except OSError as error:
            raise UserError(f"can't use {path} as the sandbox's state: {error.strerror}") from error
        except sqlite3.DatabaseError as error:
            raise UserError(f"can't use {path} as the sandbox's state: {error}") from error
        return cls(database)

    def close(self) -> None:
        """Ends the use of the file."""
        self._db.close()

    def transaction(self) -> AbstractContextManager[Any]:
        """What is written within it is stored together at its end, or not at all."""
        return self._db

    def lead_exists(self, phone: str, campaign: str | None = None, subcampaign: str | None = None) -> bool:
        """Whether the phone is in a lead; None is any campaign or subcampaign."""
        row = self._db.execute(
            "SELECT 1 FROM leads WHERE phone = ?1 AND (?2 IS NULL OR campaign = ?2)"
            " AND (?3 IS NULL OR subcampaign = ?3) LIMIT 1",
            (phone, campaign, subcampaign),
        ).fetchone()
        return row is not None

    def find(self, search_field: str, identifier: str) -> list[Lead]:
        """The leads whose ClientId, LeadId or Phone is `identifier`, character by character, oldest first."""
        return [_lead(row) for row in self._db.execute(_FIND[search_field], (identifier,))]

    def add_lead(self, lead: Lead) -> int:
        """The id under which the lead is stored."""
        cursor = self._db.execute(
            "INSERT INTO leads (fields, custom, callback, dnc, attempts, created_at, updated_at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (*_columns(lead), lead.created_at, lead.updated_at),
        )
        assert cursor.lastrowid is not None
        return cursor.lastrowid

    def replace_lead(self, lead: Lead) -> None:
        """Stores the lead in place of the one with its id."""
        self._db.execute(
            "UPDATE leads SET fields = ?, custom = ?, callback = ?, dnc = ?, attempts = ?, updated_at = ? WHERE id = ?",
            (*_columns(lead), lead.updated_at, lead.lead_id),
        )

    def is_do_not_call(self, number: str) -> bool:
        """Whether the number is in the do-not-call table."""
        row = self._db.execute("SELECT 1 FROM do_not_call WHERE number = ?", (number,)).fetchone()
        return row is not None

    def add_do_not_call(self, number: str) -> None:
        """Puts the number into the do-not-call table."""
        self._db.execute("INSERT OR IGNORE INTO do_not_call VALUES (?)", (number,))

    def delete_do_not_call(self, number: str) -> None:
        """Takes the number out of the do-not-call table."""
        self._db.execute("DELETE FROM do_not_call WHERE number = ?", (number,))

    def add_dial(self, dial: Dial) -> None:
        """Writes a line of the dial log."""
        self._db.execute(
            "INSERT INTO dials (lead_id, phone, campaign, dialed_at, timezone_checked, dnc, duplicate)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                dial.lead_id,
                dial.phone,
                dial.campaign,
                dial.dialed_at,
                dial.timezone_checked,
                dial.dnc,
                dial.duplicate,
            ),
        )

    def add_ring(self, ring: Ring) -> None:
        """Writes a line of the ring log."""
        self._db.execute(
            "INSERT INTO rings (rang_at, sid, number, part, leg, answered, ref) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (ring.rang_at, ring.sid, ring.number, ring.part, ring.leg, ring.answered, ring.ref),
        )

    def add_request(self, entry: RequestEntry) -> None:
        """Writes a line of the request log."""
        self._db.execute(
            "INSERT INTO requests (received_at, method, script, operation, parameters, phone, client_id, http_status,"
            " reply, fault) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                entry.received_at,
                entry.method,
                entry.script,
                entry.operation,
                json.dumps(dict(entry.parameters)),
                entry.phone,
                entry.client_id,
                entry.http_status,
                entry.reply,
                entry.fault,
            ),
        )

    def gauge(self, name: str) -> int:
        """The value kept under `name`, 0 where there is none."""
        row = self._db.execute("SELECT value FROM gauges WHERE name = ?", (name,)).fetchone()
        return row[0] if row else 0

    def set_gauge(self, name: str, value: int) -> None:
        """Keeps `value` under `name`."""
        with self._db:
            self._db.execute("INSERT OR REPLACE INTO gauges VALUES (?, ?)", (name, value))

    def count_up(self, name: str) -> int:
        """The value kept under `name`, now one higher. Belongs in a transaction."""
        (value,) = self._db.execute(_COUNT_UP, (name,)).fetchone()
        return int(value)

    def phone_behind(self, search_field: str, identifier: str) -> str:
        """The phone of the lead with that LeadId, or with which that ClientId last came in; "" for none."""
        if search_field not in _PHONE_BEHIND:
            return ""
        row = self._db.execute(_PHONE_BEHIND[search_field], (identifier,)).fetchone()
        return row[0] if row else ""

    def faults(self) -> dict[str, int]:
        """Fault → how many requests met it."""
        return {row["fault"]: row["requests"] for row in self._db.execute(_FAULTS)}

    def counts(self) -> dict[str, int]:
        """How much there is of everything, and how much damage was done.

        `double_dials`: dials of a phone after its first · `dnc_dials`: dials of do-not-call numbers ·
        `stored_twice`: leads with the phone, ClientId and campaign of an older one.
        """
        return dict(self._db.execute(_COUNTS).fetchone()) | self.office.counts()

    def leads(self, limit: int = -1) -> list[Lead]:
        """The last `limit` leads, oldest first; -1 is all."""
        return [_lead(row) for row in self._db.execute(_LAST_LEADS, (limit,))]

    def dials(self, limit: int = -1) -> list[dict[str, Any]]:
        """The last `limit` lines of the dial log, oldest first; -1 is all."""
        flags = ("timezone_checked", "dnc", "duplicate")
        rows = [dict(row) for row in self._db.execute(_LAST_DIALS, (limit,))]
        return [row | {flag: bool(row[flag]) for flag in flags} for row in rows]

    def rings(self, limit: int = -1) -> list[dict[str, Any]]:
        """The last `limit` lines of the ring log, oldest first; -1 is all."""
        rows = [dict(row) for row in self._db.execute(_LAST_RINGS, (limit,))]
        return [row | {"answered": bool(row["answered"])} for row in rows]

    def requests(self, limit: int = -1) -> list[dict[str, Any]]:
        """The last `limit` lines of the request log, oldest first; -1 is all."""
        rows = [dict(row) for row in self._db.execute(_LAST_REQUESTS, (limit,))]
        return [row | {"parameters": json.loads(row["parameters"])} for row in rows]

    def do_not_call(self, limit: int = -1) -> list[dict[str, str]]:
        """`limit` numbers that must not be called, sorted; -1 is all."""
        rows = self._db.execute("SELECT number FROM do_not_call ORDER BY number LIMIT ?", (limit,))
        return [dict(row) for row in rows]


# A LeadId is compared as text too: "007" is not 7. The cast on the right keeps the use of the primary key.
_FIND: Mapping[str, str] = {
    "ClientId": f"SELECT {_LEAD_COLUMNS} FROM leads WHERE client_id = ? ORDER BY id",  # noqa: S608 - a constant
    "Phone": f"SELECT {_LEAD_COLUMNS} FROM leads WHERE phone = ? ORDER BY id",  # noqa: S608 - a constant
    "LeadId": (
        f"SELECT {_LEAD_COLUMNS} FROM leads"  # noqa: S608 - a constant
        " WHERE id = CAST(?1 AS INTEGER) AND CAST(id AS TEXT) = ?1"
    ),
}


def _connected(path: Path) -> sqlite3.Connection:
    # One thread at a time uses it: the event loop's, which needn't be the one that opened it.
    database = sqlite3.connect(path, check_same_thread=False)
    try:
        database.row_factory = sqlite3.Row
        _prepare(database)
    except sqlite3.DatabaseError:
        database.close()
        raise
    return database


def _prepare(database: sqlite3.Connection) -> None:
    (application_id,) = database.execute("PRAGMA application_id").fetchone()
    (tables,) = database.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if application_id != _APPLICATION_ID and tables:
        raise sqlite3.DatabaseError("it is the database of another program")
    database.execute("PRAGMA journal_mode = WAL")
    # Survives the death of the process, though not a power cut: enough for a simulator.
    database.execute("PRAGMA synchronous = NORMAL")
    if not tables:
        database.executescript(_SETUP)


def _columns(lead: Lead) -> tuple[str, str, str, bool, int]:
    parts = (json.dumps(dict(part)) for part in (lead.fields, lead.custom, lead.callback))
    fields, custom, callback = parts
    return fields, custom, callback, lead.dnc, lead.attempts


def _lead(row: sqlite3.Row) -> Lead:
    return Lead(
        fields=json.loads(row["fields"]),
        custom=json.loads(row["custom"]),
        callback=json.loads(row["callback"]),
        dnc=bool(row["dnc"]),
        attempts=row["attempts"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        lead_id=row["id"],
    )
