"""What the account holds besides leads: dial lists, playlists, skills, and the logs of texts, conferences, reloads."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from typing import Any

SCHEMA = """
CREATE TABLE dial_lists (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    agent TEXT NOT NULL,
    name TEXT NOT NULL,
    UNIQUE (agent, name)
);
CREATE TABLE list_phones (
    id INTEGER PRIMARY KEY,
    list_id INTEGER NOT NULL,
    phone TEXT NOT NULL,
    mark TEXT NOT NULL,
    UNIQUE (list_id, phone)
);
CREATE TABLE playlist_filters (
    id INTEGER PRIMARY KEY,
    playlist TEXT NOT NULL,
    filter TEXT NOT NULL,
    active INTEGER NOT NULL,
    applied INTEGER NOT NULL,
    UNIQUE (playlist, filter)
);
CREATE TABLE skill_priorities (
    id INTEGER PRIMARY KEY,
    skill TEXT NOT NULL,
    source TEXT NOT NULL,
    priority TEXT NOT NULL,
    delay TEXT NOT NULL,
    active TEXT NOT NULL,
    UNIQUE (skill, source)
);
CREATE TABLE texts (
    id INTEGER PRIMARY KEY,
    sent_at TEXT NOT NULL,
    sender TEXT NOT NULL,
    phone TEXT NOT NULL,
    message TEXT NOT NULL,
    agent TEXT NOT NULL,
    lead_id TEXT NOT NULL,
    dnc INTEGER NOT NULL
);
CREATE TABLE conferences (
    id INTEGER PRIMARY KEY,
    called_at TEXT NOT NULL,
    agent TEXT NOT NULL,
    phone TEXT NOT NULL,
    muted INTEGER NOT NULL,
    dnc INTEGER NOT NULL
);
CREATE TABLE reloads (
    id INTEGER PRIMARY KEY,
    reloaded_at TEXT NOT NULL,
    what TEXT NOT NULL,
    name TEXT NOT NULL
);
"""

_COUNTS = """
SELECT (SELECT count(*) FROM dial_lists) AS dial_lists,
       (SELECT count(*) FROM list_phones) AS list_phones,
       (SELECT count(*) FROM playlist_filters) AS playlist_filters,
       (SELECT count(*) FROM skill_priorities) AS skill_priorities,
       (SELECT count(*) FROM reloads) AS reloads,
       (SELECT count(*) FROM texts) AS texts,
       (SELECT count(*) FROM texts) - (SELECT count(*) FROM (SELECT DISTINCT phone, message FROM texts))
           AS double_texts,
       (SELECT count(*) FROM texts WHERE dnc) AS dnc_texts,
       (SELECT count(*) FROM conferences) AS conferences,
       (SELECT count(*) FROM conferences WHERE dnc) AS dnc_conferences
"""

# What can be listed → the rows of it. LIMIT -1 is all; the last rows, oldest first.
_LISTS: Mapping[str, str] = {
    "dial-lists": "SELECT list_phones.id, agent, name AS list, phone, mark FROM dial_lists"
    " LEFT JOIN list_phones ON list_id = dial_lists.id ORDER BY dial_lists.id DESC, list_phones.id DESC",
    "playlists": "SELECT * FROM playlist_filters ORDER BY id DESC",
    "skills": "SELECT * FROM skill_priorities ORDER BY id DESC",
    "texts": "SELECT * FROM texts ORDER BY id DESC",
    "conferences": "SELECT * FROM conferences ORDER BY id DESC",
    "reloads": "SELECT * FROM reloads ORDER BY id DESC",
}
LISTED = tuple(_LISTS)
_FLAGS = ("active", "applied", "dnc", "muted")  # where they are numbers: SQLite knows only 0 and 1


class Office:
    """A part of a sandbox's state; writes belong in a transaction of its store."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._db = database

    def create_list(self, agent: str, name: str) -> bool:
        """Whether it was made: not where the agent has a list of this name."""
        return self._changed("INSERT OR IGNORE INTO dial_lists (agent, name) VALUES (?, ?)", agent, name)

    def delete_list(self, agent: str, name: str) -> bool:
        """Whether there was one; its numbers go with it."""
        list_id = self.list_id(agent, name)
        self._changed("DELETE FROM list_phones WHERE list_id = ?", list_id)
        return self._changed("DELETE FROM dial_lists WHERE id = ?", list_id)

    def list_id(self, agent: str, name: str) -> int | None:
        """The id of the agent's list; None where there is none."""
        row = self._db.execute("SELECT id FROM dial_lists WHERE agent = ? AND name = ?", (agent, name)).fetchone()
        return row["id"] if row else None

    def add_phone(self, list_id: int, phone: str) -> bool:
        """Whether it was added: not where the list has it."""
        return self._changed(
            "INSERT OR IGNORE INTO list_phones (list_id, phone, mark) VALUES (?, ?, 'new')", list_id, phone
        )

    def delete_phone(self, list_id: int, phone: str) -> bool:
        """Whether the list had it."""
        return self._changed("DELETE FROM list_phones WHERE list_id = ? AND phone = ?", list_id, phone)

    def mark_phone(self, list_id: int, phone: str, mark: str) -> bool:
        """Whether the list has it."""
        return self._changed("UPDATE list_phones SET mark = ? WHERE list_id = ? AND phone = ?", mark, list_id, phone)

    def assign_filter(self, playlist: str, name: str) -> None:
        """Gives the playlist the filter, inactive, where it doesn't have it."""
        sql = "INSERT OR IGNORE INTO playlist_filters (playlist, filter, active, applied) VALUES (?, ?, 0, 0)"
        self._changed(sql, playlist, name)

    def remove_filter(self, playlist: str, name: str) -> bool:
        """Whether the playlist had it."""
        return self._changed("DELETE FROM playlist_filters WHERE playlist = ? AND filter = ?", playlist, name)

    def switch_filter(self, playlist: str, name: str, *, active: bool) -> bool:
        """Whether the playlist has it. It is applied when the playlist is reloaded."""
        sql = "UPDATE playlist_filters SET active = ? WHERE playlist = ? AND filter = ?"
        return self._changed(sql, active, playlist, name)

    def apply_filters(self, playlist: str) -> None:
        """Brings every filter of the playlist into force as it was last switched."""
        self._changed("UPDATE playlist_filters SET applied = active WHERE playlist = ?", playlist)

    def set_priority(self, skill: str, source: str, given: Mapping[str, str]) -> None:
        """Sets what is given of Priority, Delay and Active; the rest stays, or is 0, 0 and 1 where it is new."""
        added = "INSERT OR IGNORE INTO skill_priorities (skill, source, priority, delay, active) VALUES (?, ?, ?, ?, ?)"
        self._changed(added, skill, source, "0", "0", "1")
        sql = (
            "UPDATE skill_priorities SET priority = ifnull(?, priority), delay = ifnull(?, delay),"
            " active = ifnull(?, active) WHERE skill = ? AND source = ?"
        )
        self._changed(sql, given.get("Priority"), given.get("Delay"), given.get("Active"), skill, source)

    def add_text(self, text: Mapping[str, Any]) -> None:
        """Writes a line of the log of texts."""
        self._changed(
            "INSERT INTO texts (sent_at, sender, phone, message, agent, lead_id, dnc) VALUES (?, ?, ?, ?, ?, ?, ?)",
            *(text[name] for name in ("sent_at", "sender", "phone", "message", "agent", "lead_id", "dnc")),
        )

    def add_conference(self, call: Mapping[str, Any]) -> None:
        """Writes a line of the log of conferences."""
        self._changed(
            "INSERT INTO conferences (called_at, agent, phone, muted, dnc) VALUES (?, ?, ?, ?, ?)",
            *(call[name] for name in ("called_at", "agent", "phone", "muted", "dnc")),
        )

    def add_reload(self, what: str, name: str, at: str) -> None:
        """Writes a line of the log of reloads."""
        self._changed("INSERT INTO reloads (reloaded_at, what, name) VALUES (?, ?, ?)", at, what, name)

    def counts(self) -> dict[str, int]:
        """How much there is of everything. `double_texts`: texts with a phone and words that went out before."""
        return dict(self._db.execute(_COUNTS).fetchone())

    def rows(self, name: str, limit: int = -1) -> list[dict[str, Any]]:
        """The last `limit` lines of what is listed under `name`, oldest first; -1 is all."""
        rows = [dict(row) for row in self._db.execute(f"{_LISTS[name]} LIMIT ?", (limit,))]  # constants alone
        rows.reverse()
        return [row | {flag: bool(row[flag]) for flag in _FLAGS if isinstance(row.get(flag), int)} for row in rows]

    def _changed(self, sql: str, *values: Any) -> bool:
        return self._db.execute(sql, values).rowcount > 0
