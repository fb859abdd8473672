"""The whole line, file to report, against a vendor that goes wrong in whatever way and order: what always holds."""

from __future__ import annotations

import contextlib
import itertools
import random
import sqlite3
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa
from conftest import AREAS, TOKEN, phone, write, write_csv
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted import (
    CREDENTIALS,
    LATE,
    LOST_REPLIES,
    NEVER_TAKEN,
    NO_REPLIES,
    NO_SEARCHES,
    REFUSALS,
    SETTLE_SECONDS,
    START,
    TIMEOUT_SECONDS,
    Clock,
    CrashError,
    End,
    Script,
    Vendor,
)

from pipeline import mapping, marked, run, screen, statedb, tables
from pipeline.files import GivenFile
from pipeline.job import Job, Summary, World
from pipeline.people import Consent
from pipeline.settings import Settings

# --- What a run starts from ---


@dataclass(frozen=True)
class Line:
    """A row of the file, and what its requests will meet."""

    phone: str  # "{own}" stands for one that no other row has
    client_id: str
    script: Script


@dataclass(frozen=True)
class Story:
    """One file, one mapping, one account, and all that goes wrong."""

    lines: Sequence[Line]
    mapping: str
    doubts_end: bool  # where searches work, a row in doubt is found, or is known not to be there and goes again
    there_before: Sequence[tuple[int, str]]  # leads: whose, and in which campaign
    suppressed: Sequence[str]
    late_seconds: float  # until a lead is stored whose caller has given up
    end: tuple[End, int] | None
    settings: Mapping[str, Any]
    options: Mapping[str, Any]
    begins: datetime = START
    forbidden: tuple[int, str] | None = None  # during which request for a lead another terminal forbids which phone


INSERT = """
operation = "InsertLead"
unmapped = "ignore"
[fields]
PrimaryPhone = "Phone"
Campaign = {{ value = "Spring" }}
DuplicatesCheck = {{ value = "{check}" }}
Notes = "Notes"
{client_id}
[policy]
duplicates_in_file = "{duplicates}"
dialing = "{dialing}"
suppress = "{suppress}"
{more}
"""
UPDATE = """
operation = "UpdateLead"
unmapped = "ignore"
[fields]
SearchField = {{ value = "{by}" }}
Identifier = "{column}"
Notes = "Notes"
[policy]
duplicates_in_file = "{duplicates}"
"""
HANDLES = {  # kind of ClientId → mapping, policy, values
    "key": ("", "", st.just("")),
    "none": ("", 'client_id = "none"', st.just("")),
    "own": ('ClientId = "Id"', "", st.just("C-{row}")),
    "shared": ('ClientId = "Id"', "", st.sampled_from(["C-1", "C-2", ""])),
}
SHARED = range(60, 64)  # phones and leads of several rows; the others are of the row with that number
PEOPLE = st.integers(2, 63)
BEFORE_A_SETTLE = st.sampled_from([0.1 * SETTLE_SECONDS, 0.9 * SETTLE_SECONDS])
BEFORE_TWO = BEFORE_A_SETTLE | st.just(1.9 * SETTLE_SECONDS)


def usually(usual: Any, *others: Any) -> st.SearchStrategy[Any]:
    """The first value three times as often as all the others together."""
    return st.sampled_from([usual] * (3 * len(others)) + list(others))


SIGNALS = st.tuples(st.just(End.SIGNAL), st.integers(1, 40))
INTERRUPTED = usually(False, True).flatmap(lambda cut_short: SIGNALS if cut_short else st.none())
KILLED = st.none() | st.tuples(st.sampled_from(End), st.integers(1, 40))


@st.composite
def scripts(draw: st.DrawFn) -> st.SearchStrategy[Script]:
    """Scripts of one account. Refused credentials end a run early and dead searches settle nothing: so not always."""
    kinds = [LATE, LOST_REPLIES, NO_REPLIES, NEVER_TAKEN, REFUSALS, *([CREDENTIALS] * draw(usually(0, 1)))]
    return st.builds(
        Script,
        writes=st.lists(st.one_of(*map(st.sampled_from, kinds)), max_size=4),
        searches=st.lists(st.sampled_from(NO_SEARCHES), max_size=draw(usually(0, 12))),
        seconds=st.sampled_from([0.1, 1.0, 40.0]),
    )


@st.composite
def files(draw: st.DrawFn, client_ids: st.SearchStrategy[str], *, crowded: bool) -> list[Line]:
    """Rows of a file: many, since they cost little beside the run itself. In a crowd they share a few phones."""
    shared, own = [phone(number) for number in SHARED], ["{own}", "1 {own}", "{own}"] * 8 * (not crowded)
    cells = st.sampled_from([*own, *shared, *shared, "", "555", "no phone"])
    rows = draw(st.integers(1, 50))
    return draw(st.lists(st.builds(Line, cells, client_ids, draw(scripts())), min_size=rows, max_size=rows))


def repeats(*, crowded: bool) -> st.SearchStrategy[str]:
    """What is done with rows of one phone, or for one lead."""
    return st.just("keep") if crowded else st.sampled_from(["first", "last", "error", "keep"])


@st.composite
def limits(draw: st.DrawFn) -> dict[str, Any]:
    return {
        "rate": draw(usually(0, 20)),
        "concurrency": draw(st.integers(1, 8)),
        "attempts": draw(st.sampled_from([1, 2, 3, 5])),
        "max_errors": draw(usually("100%", "20%", "1")),
    }


ANY_CHECK = st.sampled_from("0123")
SELDOM = usually(False, True)


@st.composite
def inserts(
    draw: st.DrawFn,
    *,
    checks: st.SearchStrategy[str] = ANY_CHECK,
    crowded: bool = False,
    late: st.SearchStrategy[float] = BEFORE_TWO,
    ends: st.SearchStrategy[tuple[End, int] | None] = INTERRUPTED,
    again: st.SearchStrategy[bool] = SELDOM,
) -> Story:
    """Leads to insert."""
    handle = draw(st.sampled_from([*HANDLES, *(["key", "shared"] if crowded else ["key"] * 4)]))
    check, mode = draw(checks), draw(repeats(crowded=crowded))
    dialing, resend = (
        draw(usually("import-only", "immediate")),
        draw(st.sampled_from(["", "", "true", "true", "false"])),
    )
    client_id, policy, client_ids = HANDLES[handle]
    suppressed = draw(st.lists(PEOPLE.map(phone), max_size=2))
    text = INSERT.format(
        check=check,
        client_id=client_id,
        duplicates=mode,
        dialing=dialing,
        suppress="suppressed.csv" if suppressed else "none",
        more="\n".join([policy, f"resend_unfound = {resend}" if resend else ""]),
    )
    may_go_again = resend == "true" or (not resend and (check, dialing) != ("1", "immediate"))
    can_be_found = handle == "key" or (handle == "own" and mode != "keep")
    return Story(
        lines=draw(files(client_ids, crowded=crowded)),
        mapping=text,
        doubts_end=may_go_again and can_be_found,
        there_before=draw(st.lists(st.tuples(PEOPLE, usually("Spring", "Autumn")), max_size=5)),
        suppressed=suppressed,
        late_seconds=draw(late),
        end=draw(ends),
        settings=draw(limits()),
        options={"again": draw(again), "limit": draw(usually(None, 5))},
    )


@st.composite
def updates(
    draw: st.DrawFn,
    *,
    crowded: bool = False,
    ends: st.SearchStrategy[tuple[End, int] | None] = INTERRUPTED,
) -> Story:
    """Changes to leads, most of which are there."""
    ids = st.sampled_from([*[f"old-{number}" for number in SHARED], *(["old-{row}"] * 12 * (not crowded))])
    by, column = draw(st.sampled_from([("ClientId", "Id"), ("Phone", "Phone")]))
    return Story(
        lines=draw(files(ids, crowded=crowded)),
        mapping=UPDATE.format(by=by, column=column, duplicates=draw(repeats(crowded=crowded))),
        doubts_end=True,
        there_before=[(number, "Spring") for number in range(2, 64) if number % 5],
        suppressed=[],
        late_seconds=draw(BEFORE_TWO),
        end=draw(ends),
        settings=draw(limits()),
        options={},
    )


INSERTS = pytest.param(inserts(), id="inserts")
CROWDED_INSERTS = pytest.param(inserts(crowded=True), id="crowded inserts")
UPDATES = pytest.param(updates(), id="updates")
CROWDED_UPDATES = pytest.param(updates(crowded=True), id="crowded updates")


# --- The run ---


@dataclass(frozen=True)
class Ended:
    """How one load of the file ended."""

    summary: Summary
    rows: list[dict[str, Any]]

    def with_status(self, *statuses: str) -> list[int]:
        return [row["row"] for row in self.rows if row["status"] in statuses]


def lead(number: int, campaign: str) -> dict[str, str]:
    """A lead that was there before."""
    whose = {"PrimaryPhone": phone(number), "ClientId": f"old-{number}"}
    return {"id": str(number), **whose, "Campaign": campaign, "Notes": "0"}


class Account:
    """A file, a run folder and a vendor, under a name of its own in the state database."""

    def __init__(self, story: Story, folder: Path) -> None:
        self.story, self.folder = story, folder
        self.clock = Clock(story.begins)
        lines = dict(enumerate(story.lines, start=2))
        cells = [
            (line.phone.format(own=phone(row)), line.client_id.format(row=row), row) for row, line in lines.items()
        ]
        self.file = write_csv(folder / "leads.csv", [("Phone", "Id", "Notes"), *cells])
        write(folder / "suppressed.csv", "\n".join(["Phone", *story.suppressed]))
        self.vendor = Vendor(
            self.clock,
            leads=[lead(number, campaign) for number, campaign in story.there_before],
            scripts={row: line.script for row, line in lines.items()},
            late_seconds=story.late_seconds,
            end=story.end,
            meanwhile=self._forbid,
        )

    def _forbid(self, request: int) -> None:
        """What another terminal's InsertDnc leaves in the state database."""
        if self.story.forbidden is None or request != self.story.forbidden[0]:
            return
        state = statedb.engine(f"sqlite:///{self.state}")
        mark = statedb.hashed(self.story.forbidden[1], marked.marks_key(state))
        with state.begin() as connection:
            connection.execute(sa.insert(tables.DO_NOT_CALL).values(account=self._job().scope, hash=mark, at=0))

    @property
    def state(self) -> Path:
        """One for all accounts: to make it takes as long as to send some hundred rows."""
        return self.folder.parent / "state.db"

    def load(self) -> Ended:
        with screen.progress(quiet=True) as nobody:
            world = World(lambda: self.vendor, self.clock.now, random.Random(3), nobody, self.clock.next_loop)
            summary = run.load(self._job(), world)
        return Ended(summary, pq.read_table(summary.report).to_pylist())

    def calm_down(self) -> None:
        """From now on nothing goes wrong, and nothing is left out."""
        self.vendor.calm_down()
        self.story = replace(self.story, settings={**self.story.settings, "max_errors": "100%"}, options={})

    def unsettled(self) -> list[int]:
        """Rows that the journal has no outcome for."""
        query = "SELECT row FROM sends WHERE account LIKE ? AND (state != 'settled' OR status IS NULL)"
        with contextlib.closing(sqlite3.connect(self.state)) as database:
            return [row for (row,) in database.execute(query, [f"{self.folder.name}@%"])]

    def _job(self) -> Job:
        return Job(
            command="load",
            files=(GivenFile(str(self.file)),),
            mapping=mapping.parse(self.story.mapping, "list.toml"),
            mapping_path=self.folder / "list.toml",
            mapping_text=self.story.mapping,
            settings=Settings(
                timeout=TIMEOUT_SECONDS,
                settle=SETTLE_SECONDS,
                runs=self.folder / "runs",
                state=f"sqlite:///{self.state}",
                dialedin_token=TOKEN,
                dialedin_accid=self.folder.name,
                **self.story.settings,
            ),
            consent=Consent(max_contacts=1000, dial_non_callables=False),
            **self.story.options,
        )


Open = Callable[[Story], Account]
Stories = st.SearchStrategy[Story]


@pytest.fixture(scope="module")
def open_account(tmp_path_factory: pytest.TempPathFactory) -> Open:
    """Opens an account for a story, in a folder of its own."""
    numbers = itertools.count()
    folder = tmp_path_factory.mktemp("accounts")
    return lambda story: Account(story, folder / f"account-{next(numbers)}")


# --- What always holds ---


def whatever_happens(*stories: Any) -> Callable[[Callable[..., None]], Any]:
    """A property of each of these kinds of stories: ten of each, since from then on most vary one that was tried."""

    def decorate(test: Callable[..., None]) -> Any:
        drawn = settings(max_examples=10)(given(data=st.data())(test))
        return pytest.mark.parametrize("stories", stories)(drawn)

    return decorate


@whatever_happens(INSERTS, UPDATES)
def test_every_row_is_reported_once_and_the_counts_add_up(
    open_account: Open, stories: Stories, data: st.DataObject
) -> None:
    """Each row of the file is in the report once, and the rows read are the sum of all outcomes."""
    account = open_account(data.draw(stories))
    ended = account.load()
    assert [row["row"] for row in ended.rows] == list(range(2, len(account.story.lines) + 2))
    assert ended.summary.rows_read == len(ended.rows) == sum(ended.summary.counts.values())
    assert Counter(row["status"] for row in ended.rows) == ended.summary.counts


@whatever_happens(INSERTS, CROWDED_INSERTS, UPDATES)
def test_what_is_accepted_is_stored(open_account: Open, stories: Stories, data: st.DataObject) -> None:
    """A row that is reported as accepted is in the account; if it was inserted, once."""
    account = open_account(data.draw(stories))
    accepted = account.load().with_status("accepted")
    account.vendor.let_all_arrive()
    stored = [account.vendor.stored[row] for row in accepted]
    assert all(stored)
    assert "UpdateLead" in account.story.mapping or set(stored) <= {1}


@whatever_happens(INSERTS, UPDATES)
def test_what_was_not_delivered_is_not_stored(open_account: Open, stories: Stories, data: st.DataObject) -> None:
    """Rows that are reported as anything but accepted and unknown have left nothing in the account.

    Nobody who must not be contacted was so much as named.
    """
    account = open_account(data.draw(stories))
    ended = account.load()
    account.vendor.let_all_arrive()
    not_delivered = ended.with_status("failed", "rejected", "duplicate", "invalid", "skipped", "not_attempted")
    if "UpdateLead" in account.story.mapping:
        not_delivered = ended.with_status("failed", "duplicate", "invalid", "skipped", "not_attempted")
    assert not [row for row in not_delivered if account.vendor.stored[row]]
    assert not [row for row, subjects in account.vendor.order if subjects & set(account.story.suppressed)]


_ZONES = dict(zip(AREAS, ("New_York", "Denver", "Los_Angeles", "Chicago", "New_York", "New_York"), strict=False))
_DIALED = 'dialing = "immediate"'


CLOSINGS = st.integers(5, 8)  # hours after START, at each of which it closes in some of them


def spread(number: int) -> str:
    """Phones of six area codes in four zones."""
    return phone(number % len(_ZONES) * 100 + number)


@st.composite
def evenings(draw: st.DrawFn) -> Story:
    """Leads that are dialed, at an hour at which it closes or opens somewhere, while someone asks not to be called."""
    story = draw(inserts(ends=KILLED))
    lines = [replace(line, phone=spread(row)) for row, line in enumerate(story.lines, start=2)]
    return replace(
        story,
        lines=lines,
        mapping=story.mapping.replace('dialing = "import-only"', _DIALED),
        begins=START + timedelta(hours=draw(CLOSINGS), seconds=-draw(st.integers(0, 120))),
        forbidden=(draw(st.integers(1, 3)), spread(draw(st.integers(2, len(lines) + 1)))),
    )


@whatever_happens(evenings())
def test_nobody_is_contacted_outside_hours_or_while_suppressed(
    open_account: Open, stories: Stories, data: st.DataObject
) -> None:
    """By no first request, no retry, no look-up's second sending, and no run that goes on: whatever happens.

    Who is forbidden in another terminal during a request is in none that follows.
    """
    account = open_account(data.draw(stories))
    for _ in range(2):
        with contextlib.suppress(CrashError):
            account.load()
        account.clock.let_pass(data.draw(st.sampled_from([0, 3 * 3600, 11 * 3600])))
    request, forbidden = account.story.forbidden or (0, "")
    for number, ((_, subjects), moment) in enumerate(zip(account.vendor.order, account.vendor.moments, strict=True), 1):
        (number_dialed,) = (subject for subject in subjects if subject.isdigit() and len(subject) == 10)
        local = moment.astimezone(ZoneInfo(f"America/{_ZONES[number_dialed[:3]]}"))
        closes = 19 * 60 + 30 if number_dialed[:3] in ("206", "617") else 20 * 60 + 30  # Washington and Massachusetts
        assert 8 * 60 <= local.hour * 60 + local.minute < closes
        assert number_dialed not in account.story.suppressed
        assert number <= request or number_dialed != forbidden


@whatever_happens(INSERTS, UPDATES)
def test_attempts_are_requests_and_never_too_many(open_account: Open, stories: Stories, data: st.DataObject) -> None:
    """A row's attempts are the requests that the vendor saw, no more than are allowed, and no more at once either."""
    account = open_account(data.draw(stories))
    attempts = {row["row"]: row["attempts"] for row in account.load().rows}
    assert +Counter(attempts) == account.vendor.requests
    assert max(attempts.values()) <= account.story.settings["attempts"]
    assert account.vendor.most_in_flight <= account.story.settings["concurrency"]


@whatever_happens(inserts(checks=st.just("1")), inserts(checks=st.just("1"), crowded=True))
def test_nothing_is_stored_twice(open_account: Open, stories: Stories, data: st.DataObject) -> None:
    """Where the vendor stores whatever it is sent, no row is in the account twice: nothing was repeated blindly."""
    account = open_account(data.draw(stories))
    account.load()
    account.vendor.let_all_arrive()
    assert max(account.vendor.stored.values(), default=0) <= 1


@whatever_happens(inserts(checks=st.just("1"), late=BEFORE_A_SETTLE, ends=KILLED, again=st.just(False)))
def test_the_same_file_again_doubles_nothing(open_account: Open, stories: Stories, data: st.DataObject) -> None:
    """Whatever became of the first run, be it killed, a second one does not store again what is there."""
    account = open_account(data.draw(stories))
    for _ in range(2):
        with contextlib.suppress(CrashError):
            account.load()
    account.vendor.let_all_arrive()
    assert max(account.vendor.stored.values(), default=0) <= 1


@whatever_happens(inserts(late=BEFORE_A_SETTLE, ends=KILLED, again=st.just(False)))
def test_the_same_file_again_loses_nothing(open_account: Open, stories: Stories, data: st.DataObject) -> None:
    """After a second run, in which nothing goes wrong, each valid row is stored, or nobody can tell whether it is."""
    account = open_account(data.draw(stories))
    with contextlib.suppress(CrashError):
        account.load()
    account.calm_down()
    for row in account.load().rows:
        fate, stored = (row["status"], row["code"]), account.vendor.stored[row["row"]]
        if row["status"] == "duplicate" or fate == ("skipped", "already_loaded"):
            assert stored or row["phone"] in {lead["PrimaryPhone"] for lead in account.vendor.leads}
        elif row["status"] == "unknown":
            assert not account.story.doubts_end
        elif row["status"] == "accepted":
            assert stored == 1
        else:
            assert row["status"] == "invalid" or fate in {("skipped", "duplicate_in_file"), ("skipped", "suppressed")}


@whatever_happens(inserts(ends=SIGNALS))
def test_no_row_stays_sending(open_account: Open, stories: Stories, data: st.DataObject) -> None:
    """When a run has come to its end, the journal has an outcome for every row that was sent."""
    account = open_account(data.draw(stories))
    account.load()
    assert account.unsettled() == []


@whatever_happens(CROWDED_INSERTS, CROWDED_UPDATES)
def test_requests_for_one_phone_or_lead_go_one_by_one_in_order(
    open_account: Open, stories: Stories, data: st.DataObject
) -> None:
    """No two requests are under way for one phone or ClientId, be they searches; its rows go in the file's order.

    The journal's claims are never what stops them: they are for other runs.
    """
    account = open_account(data.draw(stories))
    assert "in_doubt_elsewhere" not in {row["code"] for row in account.load().rows}
    assert account.vendor.overlaps == set()
    for subject in {subject for _, subjects in account.vendor.order for subject in subjects}:
        rows = [row for row, subjects in account.vendor.order if subject in subjects]
        assert rows == sorted(rows)
