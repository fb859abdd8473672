from __future__ import annotations

import asyncio
import itertools
import os
import random
import signal
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs

import httpx
import pytest
import sqlalchemy as sa
from conftest import CREDENTIALS, phone, run_on_clock
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline import records, statedb
from pipeline.delivery import Endpoint, World
from pipeline.feed import Batch
from pipeline.journal import JournalError, Scope, open_journal
from pipeline.model import Held, Payload, Status
from pipeline.pace import BURST_SECONDS
from pipeline.push import Limits, Push, Pushed
from pipeline.retries import Action, Case, Duplicates, follows
from pipeline.signals import listening
from pipeline.watch import ErrorLimit, Watch
from pipeline.wire import Wire
from schemas.dialedin import INSERT_LEAD, SEARCH_LEAD, UPDATE_LEAD
from schemas.spec import Operation, Settle

START = datetime(2030, 1, 1, tzinfo=UTC)
NO_LIMIT = ErrorLimit(None, 1.0)
LIMITS = Limits(rate_per_second=0, concurrency=8, attempts=5, drain_seconds=30, settle_seconds=60)

Answer = httpx.Response | Exception


def text(body: str, status: int = 200, **headers: str) -> Callable[[], Answer]:
    return lambda: httpx.Response(status, text=body, headers=headers)


def dialer(words: str) -> Callable[[], Answer]:
    return text(f"<br><br>Result: CURL error[500]: {words}")


OK = text("<br><br>Result:  OK")
DUPLICATE = dialer("Duplicated phone number. Lead ignored.")
REJECTED = dialer("Campaign does not exist.")
BAD_TOKEN = dialer("Invalid token.")
PAGE = text("<html><body>It works!</body></html>")
SERVER_ERROR = text("oops", 500)
NOT_FOUND = text("not here", 404)
THROTTLED = text("slow down", 429)
DIALER_DOWN = text("<br><br>Result: CURL error[7]: Failed to connect")
LOST = lambda: httpx.ReadTimeout("sent, no complete reply in time")  # noqa: E731 stands among the others
BROKEN = lambda: httpx.RemoteProtocolError("no usable reply")  # noqa: E731 stands among the others
REFUSED = lambda: httpx.ConnectError("could not connect")  # noqa: E731 stands among the others


def throttled(seconds: object) -> Callable[[], Answer]:
    return text("slow down", 429, **{"Retry-After": str(seconds)})


def row(number: int, *, of: str | None = None, identifier: str = "") -> Payload:
    """A payload whose body says which row it is; `of` is its phone."""
    mine = phone(number) if of is None else of
    return Payload(0, number, f"{number:032x}", mine, identifier, "", f"row={number}".encode(), f"{number:064x}")


@dataclass
class Vendor:
    """A transport that answers each row by its script, the last line of it again and again, and notes everything."""

    scripts: dict[int, Sequence[Callable[[], Answer]]] = field(default_factory=dict)
    default: Callable[[], Answer] = OK
    seconds: Callable[[int], float] = lambda _: 1.0
    seen: Callable[[int], None] = lambda _: None
    sent: list[tuple[float, int]] = field(default_factory=list)  # when, and which row
    last: dict[int, Answer] = field(default_factory=dict)
    in_flight: list[int] = field(default_factory=list)
    most_in_flight: int = 0
    together: set[frozenset[int]] = field(default_factory=set)  # rows that were under way at once

    @property
    def times(self) -> list[float]:
        return [at for at, _ in self.sent]

    @property
    def requests(self) -> Counter[int]:
        return Counter(number for _, number in self.sent)

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        number = int(parse_qs(request.content.decode())["row"][0])
        self.sent.append((asyncio.get_running_loop().time(), number))
        self.together |= {frozenset((number, other)) for other in self.in_flight}
        self.in_flight.append(number)
        self.most_in_flight = max(self.most_in_flight, len(self.in_flight))
        self.seen(number)
        try:
            await asyncio.sleep(self.seconds(number))
            script = self.scripts.get(number, [self.default])
            answer = script[min(self.requests[number], len(script)) - 1]()
            self.last[number] = answer
        finally:
            self.in_flight.remove(number)
        if isinstance(answer, Exception):
            raise answer
        return answer


ABSENT = {"Leads": []}


@dataclass
class Search:
    """A transport that answers searches for a ClientId by its script, the last line of it again and again."""

    scripts: dict[str, Sequence[Any]]
    asked: list[tuple[float, dict[str, str]]] = field(default_factory=list)

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        form = {name: values[0] for name, values in parse_qs(request.content.decode()).items()}
        self.asked.append((asyncio.get_running_loop().time(), form))
        script = self.scripts[form["Identifier"]]
        turn = sum(asked["Identifier"] == form["Identifier"] for _, asked in self.asked)
        answer = script[min(turn, len(script)) - 1]
        if isinstance(answer, Exception):
            raise answer
        return answer() if callable(answer) else httpx.Response(200, json=answer)


def lead(number: int, **other: str) -> dict[str, Any]:
    """A search's answer that holds the lead of a row."""
    return {"Leads": [{"id": 7, "ClientId": f"C-{number}", "PrimaryPhone": phone(number)} | other]}


def traceable(number: int) -> Payload:
    """A row that can be looked up by its ClientId."""
    return replace(row(number), client_id=f"C-{number}", body=f"row={number}&Campaign=Spring+Renewals".encode())


@dataclass(frozen=True)
class Done:
    """What a push left: its end, and the journal's word on each row."""

    pushed: Pushed
    rows: dict[int, dict[str, Any]]
    held: dict[int, dict[str, Any]]
    settled: list[Status]

    @property
    def fates(self) -> dict[int, str]:
        told = {**self.rows, **self.held}
        return {n: told[n]["status"] + (f"/{told[n]['code']}" if told[n]["code"] != "ok" else "") for n in sorted(told)}


Run = Callable[..., Done]


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> sa.Engine:
    return statedb.engine(f"sqlite:///{tmp_path_factory.mktemp('push') / 'state.db'}")


@pytest.fixture(scope="module")
def push(state: sa.Engine) -> Run:
    """Pushes rows to a vendor under a clock moved by hand; each push is a run and an account of its own."""
    numbers = itertools.count()

    def run(
        rows: Sequence[Payload],
        vendor: Vendor,
        *,
        operation: Operation = INSERT_LEAD,
        limits: Limits = LIMITS,
        watch: Watch | None = None,
        held: Sequence[Held] = (),
        batch: int = 50,
        search: Search | None = None,
        duplicates: Duplicates = Duplicates.SUPPRESSED,
    ) -> Done:
        run_id = f"run-{next(numbers)}"
        settled: list[Status] = []
        batches = [Batch(rows[i : i + batch], held if i == 0 else ()) for i in range(0, max(len(rows), 1), batch)]

        async def pushing() -> Pushed:
            loop = asyncio.get_running_loop()
            wire = Wire(
                url="https://vendor.test/HttpImport/InjectLead.php",
                credentials=CREDENTIALS,
                transport=httpx.MockTransport(vendor),
                timeout_seconds=30,
            )
            world = World(lambda: START + timedelta(seconds=loop.time()), random.Random(3), settled.append)
            looked_up = None
            if search is not None:
                at = Wire(
                    url="https://vendor.test/HttpImport/LeadOperations.php",
                    credentials=CREDENTIALS,
                    transport=httpx.MockTransport(search),
                    timeout_seconds=30,
                )
                looked_up = Endpoint.of(SEARCH_LEAD, at)
            with open_journal(state, Scope(run_id, run_id, operation.name)) as written:
                one = Push(
                    Endpoint(operation, wire, follows(operation, duplicates)),
                    looked_up,
                    written,
                    limits=limits,
                    watch=watch or Watch(NO_LIMIT),
                    world=world,
                )
                with listening() as heard:
                    heard.hold()
                    with heard.telling(lambda number: loop.call_soon_threadsafe(one.interrupt, number)):
                        return await one.run(iter(batches))

        pushed = run_on_clock(pushing())
        sends, kept = records.settled_between(state, run_id, 0, (0, 10**9))
        by_row = [{told["row"]: told for told in table.to_pylist()} for table in (sends, kept)]
        return Done(pushed, *by_row, settled)

    return run


# Trying again


def test_a_throttled_row_is_sent_again_when_the_reply_says(push: Run) -> None:
    """Retry-After is waited for, and a little longer, not more; then the row is accepted."""
    vendor = Vendor({0: [throttled(7), OK]})
    done = push([row(0)], vendor)
    assert done.fates == {0: "accepted"}
    assert done.rows[0]["attempts"] == 2
    first, second = vendor.times
    assert 1 + 7 <= second - first <= 1 + 7 + 0.5 + 0.01


def test_a_retry_after_that_is_a_date_is_waited_for(push: Run) -> None:
    """The vendor's clock says when; ours says how long that is."""
    vendor = Vendor({0: [throttled("Tue, 01 Jan 2030 00:00:21 GMT"), OK]})
    assert push([row(0)], vendor).fates == {0: "accepted"}
    assert 21 <= vendor.times[1] <= 21 + 0.5


def test_nobody_waits_longer_than_two_minutes(push: Run) -> None:
    """A Retry-After of a day is an operator's decision, not the run's."""
    vendor = Vendor({0: [throttled(86400), OK]})
    push([row(0)], vendor)
    assert 120 <= vendor.times[1] - vendor.times[0] <= 120 + 2


@pytest.mark.parametrize(
    ("answer", "code"),
    [(THROTTLED, "throttled"), (REFUSED, "connect_error"), (DIALER_DOWN, "dialer_unreachable")],
)
def test_attempts_end_at_the_limit(push: Run, answer: Callable[[], Answer], code: str) -> None:
    """A row that never gets through is failed after as many requests as are allowed, with growing pauses."""
    vendor = Vendor({0: [answer]})
    done = push([row(0), row(1)], vendor, limits=replace(LIMITS, attempts=4))
    assert done.fates == {0: f"failed/{code}", 1: "accepted"}
    assert done.rows[0]["attempts"] == vendor.requests[0] == 4
    times = [at for at, number in vendor.sent if number == 0]
    pauses = [later - at - 1 for at, later in itertools.pairwise(times)]
    assert all(0 <= pause <= 0.5 * 2**i + 0.01 for i, pause in enumerate(pauses))


@pytest.mark.parametrize("answer", [REFUSED, DIALER_DOWN, THROTTLED, lambda: httpx.PoolTimeout("none free")])
def test_what_never_arrived_is_sent_again(push: Run, answer: Callable[[], Answer]) -> None:
    """A call that is known not to have been taken is tried again, and accepted."""
    vendor = Vendor({0: [answer, answer, OK]})
    done = push([row(0)], vendor)
    assert done.fates == {0: "accepted"}
    assert done.rows[0]["attempts"] == vendor.requests[0] == 3


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (LOST, "read_timeout"),
        (BROKEN, "no_reply"),
        (SERVER_ERROR, "http_500"),
        (PAGE, "unreadable_reply"),
        (text(""), "empty_reply"),
        (text("<br><br>Result: CURL error[28]: timed out"), "dialer_timeout"),
    ],
)
def test_an_insert_in_doubt_is_unknown_after_one_request(push: Run, answer: Callable[[], Answer], code: str) -> None:
    """It may have arrived: sending it again might call someone twice."""
    vendor = Vendor({0: [answer, OK]})
    done = push([row(0)], vendor)
    assert done.fates == {0: f"unknown/{code}"}
    assert done.rows[0]["attempts"] == vendor.requests[0] == 1


@pytest.mark.parametrize(
    ("operation", "answer", "fate"),
    [
        (UPDATE_LEAD, OK, "accepted"),
        (SEARCH_LEAD, text('{"id":0,"LeadExists":false}'), "accepted/not_found"),
    ],
)
def test_what_can_be_repeated_is_repeated(
    push: Run, operation: Operation, answer: Callable[[], Answer], fate: str
) -> None:
    """Where a second call changes nothing, a doubt is settled by one."""
    vendor = Vendor({0: [LOST, SERVER_ERROR, answer]})
    done = push([row(0)], vendor, operation=operation)
    assert done.fates == {0: fate}
    assert done.rows[0]["attempts"] == 3


def test_a_doubt_is_not_forgotten_over_later_refusals(push: Run) -> None:
    """An update that may have arrived is unknown, even where the last of its calls is known not to have."""
    done = push([row(0)], Vendor({0: [LOST, REFUSED]}), operation=UPDATE_LEAD, limits=replace(LIMITS, attempts=3))
    assert done.fates == {0: "unknown/read_timeout"}
    assert done.rows[0]["attempts"] == 3


@pytest.mark.parametrize(
    ("answer", "fate"),
    [
        (DUPLICATE, "duplicate/duplicate_phone"),
        (REJECTED, "rejected/unknown_campaign"),
        (NOT_FOUND, "failed/http_404"),
        (BAD_TOKEN, "failed/credentials"),
    ],
)
def test_a_verdict_is_final(push: Run, answer: Callable[[], Answer], fate: str) -> None:
    """What the vendor decided is not asked again."""
    vendor = Vendor({0: [answer, OK]})
    assert push([row(0)], vendor).fates == {0: fate}
    assert len(vendor.sent) == 1


def test_pauses_of_one_row_hold_no_other_up(push: Run) -> None:
    """While one row waits for its turn, the rest goes."""
    vendor = Vendor({0: [throttled(60), OK]})
    done = push([row(i) for i in range(20)], vendor, limits=replace(LIMITS, concurrency=2))
    assert set(done.fates.values()) == {"accepted"}
    assert max(at for at, number in vendor.sent if number) < 25


# Pace


@pytest.mark.parametrize("rate", [0.5, 3.0, 20.0, 100.0])
def test_the_rate_is_never_exceeded(push: Run, rate: float) -> None:
    """In no span of time are there more calls than the rate allows, plus the burst; the rate is used, too."""
    count = max(20, int(rate * 3))
    vendor = Vendor({n: [THROTTLED, OK] for n in range(0, count, 7)}, seconds=lambda _: 0.0)
    push([row(n) for n in range(count)], vendor, limits=replace(LIMITS, rate_per_second=rate, concurrency=50))
    burst = max(1.0, rate * BURST_SECONDS)
    times = vendor.times
    for first, last in itertools.combinations(range(len(times)), 2):
        assert last - first + 1 <= burst + rate * (times[last] - times[first]) + 0.01
    assert len(times) / times[-1] >= rate * 0.85


@pytest.mark.parametrize("concurrency", [1, 3, 8])
def test_no_more_calls_are_under_way_than_allowed(push: Run, concurrency: int) -> None:
    """As many as allowed, and never one more."""
    vendor = Vendor(seconds=lambda number: 1 + number % 3)
    done = push([row(n) for n in range(60)], vendor, limits=replace(LIMITS, concurrency=concurrency))
    assert vendor.most_in_flight == concurrency
    assert len(done.rows) == 60


def test_calls_for_one_phone_never_overlap(push: Run) -> None:
    """Rows that share a phone go one after the other, in the order of the file; others pass them by."""
    rows = [row(n, of=phone(n % 3) if n < 30 else phone(n)) for n in range(60)]
    vendor = Vendor({n: [THROTTLED, OK] for n in range(0, 60, 5)}, seconds=lambda number: 1 + number % 4)
    done = push(rows, vendor, batch=7)
    assert set(done.fates.values()) == {"accepted"}
    phones = {payload.row: payload.phone for payload in rows}
    assert not [pair for pair in vendor.together if len({phones[n] for n in pair}) == 1]
    firsts: dict[str, list[int]] = defaultdict(list)
    for _, number in vendor.sent:
        if number not in firsts[phones[number]]:
            firsts[phones[number]].append(number)
    assert all(numbers == sorted(numbers) for numbers in firsts.values())
    assert vendor.most_in_flight == 8


def test_updates_of_one_identifier_keep_their_order(push: Run) -> None:
    """The second change of a lead waits for the end of the first, however often that is tried."""
    rows = [row(n, of="", identifier=f"ClientId:{n % 2}") for n in range(12)]
    vendor = Vendor({0: [LOST, THROTTLED, LOST, OK], 3: [throttled(30), OK]})
    done = push(rows, vendor, operation=UPDATE_LEAD)
    assert set(done.fates.values()) == {"accepted"}
    for parity in (0, 1):
        mine = [number for _, number in vendor.sent if number % 2 == parity]
        assert mine == sorted(mine)
    assert not [pair for pair in vendor.together if len({n % 2 for n in pair}) == 1]


def test_a_row_that_shares_its_phone_with_one_and_its_identifier_with_another_waits_for_both(push: Run) -> None:
    """Phone and identifier are claimed together."""
    rows = [
        row(0, of=phone(1), identifier="ClientId:a"),
        row(1, of=phone(2), identifier="ClientId:b"),
        row(2, of=phone(1), identifier="ClientId:b"),
        row(3, of=phone(2), identifier="ClientId:a"),
    ]
    vendor = Vendor(seconds=lambda number: (5.0, 9.0, 2.0, 2.0)[number])
    done = push(rows, vendor)
    assert set(done.fates.values()) == {"accepted"}
    assert vendor.together == {frozenset((0, 1)), frozenset((2, 3))}


def test_many_rows_for_one_phone_do_not_stop_the_others(push: Run) -> None:
    """A list that repeats one phone a hundred times still ends, with all of its rows."""
    rows = [row(n, of=phone(0)) for n in range(100)] + [row(n) for n in range(100, 130)]
    done = push(rows, Vendor(), batch=200)
    assert len(done.rows) == 130
    assert set(done.fates.values()) == {"accepted"}


# Ends


def test_held_rows_are_recorded_and_not_sent(push: Run) -> None:
    """A row that is held back has its outcome in the journal, and no request."""
    vendor = Vendor()
    held = [Held(0, 7, Status.SKIPPED, "suppressed", "the number is on the list")]
    done = push([row(0)], vendor, held=held)
    assert done.fates == {0: "accepted", 7: "skipped/suppressed"}
    assert set(vendor.requests) == {0}
    assert sorted(done.settled) == [Status.ACCEPTED, Status.SKIPPED]


def test_a_push_without_rows_ends(push: Run) -> None:
    """Nothing to send is no reason to wait."""
    assert push([], Vendor()).pushed == Pushed(None, None)


def test_refused_credentials_spend_no_more_calls_than_go_at_once(push: Run) -> None:
    """After the first refusal nothing new goes until a second row confirms it; then the run is over."""
    vendor = Vendor(default=BAD_TOKEN, seconds=lambda number: 1 + number)
    done = push([row(n) for n in range(200)], vendor, limits=replace(LIMITS, concurrency=5))
    assert done.pushed.halt
    assert (done.pushed.halt.code, done.pushed.halt.exit_code) == ("credentials", 77)
    assert len(vendor.sent) == 5
    assert set(done.fates.values()) == {"failed/credentials"}


def test_one_row_of_refused_credentials_does_not_stop_a_run_that_works(push: Run) -> None:
    """A refusal that the next row denies was that row's own."""
    vendor = Vendor({3: [BAD_TOKEN]})
    done = push([row(n) for n in range(40)], vendor, limits=replace(LIMITS, concurrency=1))
    assert done.pushed.halt is None
    assert Counter(done.fates.values()) == {"accepted": 39, "failed/credentials": 1}


def test_twenty_refused_connections_halt_a_run_that_never_had_one(push: Run) -> None:
    """The vendor is not there: nothing was sent, and nothing is waited for."""
    vendor = Vendor(default=REFUSED, seconds=lambda _: 0.0)
    done = push([row(n) for n in range(200)], vendor)
    assert done.pushed.halt
    assert (done.pushed.halt.code, done.pushed.halt.exit_code) == ("unreachable", 75)
    assert 20 <= len(vendor.sent) <= 20 + 8
    assert set(done.fates.values()) <= {"failed/connect_error", "not_attempted/connect_error"}


def test_refused_connections_do_not_halt_a_run_that_had_one(push: Run) -> None:
    """A vendor that goes away for a while is waited for."""
    vendor = Vendor({n: [REFUSED, REFUSED, OK] for n in range(1, 40)})
    done = push([row(n) for n in range(40)], vendor, limits=replace(LIMITS, concurrency=1))
    assert done.pushed.halt is None
    assert set(done.fates.values()) == {"accepted"}


def test_a_hundred_rows_in_doubt_halt_the_run(push: Run) -> None:
    """Something is badly wrong, and each further row may be one too many."""
    vendor = Vendor(default=LOST)
    done = push([row(n) for n in range(300)], vendor)
    assert done.pushed.halt
    assert done.pushed.halt.exit_code == 3
    assert 100 <= len(vendor.sent) <= 108
    # A row that was just being written down when the run stopped was not sent.
    assert set(done.fates.values()) <= {"unknown/read_timeout", "not_attempted/interrupted"}
    assert list(done.fates.values()).count("unknown/read_timeout") == len(vendor.sent)


def test_a_halt_lets_calls_under_way_end_and_wakes_rows_that_wait(push: Run) -> None:
    """After the limit of errors nothing more leaves: rows in flight end, waiting ones fail as they stand."""
    vendor = Vendor({0: [throttled(100), OK], 1: [OK]}, REJECTED, lambda number: 50.0 if number == 1 else 1.0)
    done = push([row(n) for n in range(100)], vendor, watch=Watch(ErrorLimit(4, None)))
    assert done.pushed.halt
    assert done.pushed.halt.exit_code == 3
    assert done.fates[0] == "not_attempted/throttled"
    assert done.fates[1] == "accepted"
    assert vendor.requests[0] == 1
    assert len(vendor.sent) <= 2 + 5 + 8
    assert max(vendor.times) < 10


def interrupt(number: signal.Signals) -> Callable[[int], None]:
    """Signals this process when row 7 goes out."""
    return lambda row: os.kill(os.getpid(), number) if row == 7 else None


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_calls_under_way_end(push: Run, number: signal.Signals) -> None:
    """Nothing more is begun; what is under way has its outcome; a row that waits for its retry was not attempted."""
    vendor = Vendor({2: [throttled(90), OK]}, seconds=lambda n: 5.0 if n > 2 else 1.0, seen=interrupt(number))
    done = push([row(n) for n in range(50)], vendor, limits=replace(LIMITS, concurrency=6))
    assert done.pushed.signal == number
    assert set(range(8)) <= set(vendor.requests) <= set(range(9))
    assert {done.fates[n] for n in vendor.requests if n != 2} == {"accepted"}
    assert {fate for n, fate in done.fates.items() if n not in vendor.requests} <= {"not_attempted/interrupted"}
    assert done.fates[2].startswith("not_attempted")
    assert vendor.requests.total() == len(vendor.requests)


def test_calls_that_outlast_the_drain_are_unknown(push: Run) -> None:
    """They were sent, and their replies were not waited for; rows that waited are known not to be there."""
    vendor = Vendor({2: [throttled(90), OK]}, seconds=lambda n: 500.0 if n > 5 else 1.0, seen=interrupt(signal.SIGTERM))
    done = push([row(n) for n in range(50)], vendor, limits=replace(LIMITS, concurrency=6, drain_seconds=20))
    assert {done.fates[n] for n in (0, 1, 3, 4, 5)} == {"accepted"}
    assert done.fates[2].startswith("not_attempted")
    assert {done.fates[n] for n in vendor.requests if n > 5} == {"unknown/interrupted"}
    assert {fate for n, fate in done.fates.items() if n not in vendor.requests} <= {"not_attempted/interrupted"}


def test_a_fault_of_ours_stops_everything(push: Run, state: sa.Engine) -> None:
    """An error that nobody expected ends the push: nothing more is sent, and what was is still known as sent."""
    vendor = Vendor({3: [lambda: ZeroDivisionError("a bug")]})
    with pytest.raises(ZeroDivisionError):
        push([row(n) for n in range(100)], vendor)
    assert len(vendor.sent) <= 3 + 1 + 8
    with sqlite3.connect(state.url.database or "") as database:
        newest = "SELECT state FROM sends WHERE row = 3 ORDER BY rowid DESC LIMIT 1"
        assert database.execute(newest).fetchone() == ("sending",)
    database.close()


# Journal


def test_a_journal_that_breaks_stops_everything(push: Run, state: sa.Engine) -> None:
    """From the moment on in which nothing can be recorded, nothing is sent."""
    broken_after: list[int] = []

    def seen(number: int) -> None:
        if number == 10:
            lock_out(state)
            broken_after.append(len(vendor.sent))

    vendor = Vendor(seen=seen)
    try:
        with pytest.raises(JournalError):
            push([row(n) for n in range(100)], vendor)
    finally:
        let_in(state)
    assert len(vendor.sent) <= broken_after[0] + 8


def test_an_outcome_that_cannot_be_recorded_is_an_error(push: Run, state: sa.Engine) -> None:
    """Where the very last settlement fails, the push does not end as if all were well."""
    vendor = Vendor(seen=lambda _: lock_out(state))
    try:
        with pytest.raises(JournalError):
            push([row(0)], vendor)
    finally:
        let_in(state)


def lock_out(state: sa.Engine) -> None:
    """Makes every further write of the journal an error, as a full disk does."""
    with sqlite3.connect(state.url.database or "") as database:
        for event in ("INSERT", "UPDATE"):
            database.execute(
                f"CREATE TRIGGER IF NOT EXISTS no_{event} BEFORE {event} ON sends"
                " BEGIN SELECT RAISE(FAIL, 'database or disk is full'); END"
            )
    database.close()


def let_in(state: sa.Engine) -> None:
    with sqlite3.connect(state.url.database or "") as database:
        for event in ("INSERT", "UPDATE"):
            database.execute(f"DROP TRIGGER IF EXISTS no_{event}")
    database.close()


# Always

_ANSWERS = {
    "ok": OK,
    "duplicate": DUPLICATE,
    "rejected": REJECTED,
    "credentials": BAD_TOKEN,
    "throttled": THROTTLED,
    "asked": throttled(3),
    "refused": REFUSED,
    "dialer down": DIALER_DOWN,
    "lost": LOST,
    "broken": BROKEN,
    "500": SERVER_ERROR,
    "404": NOT_FOUND,
    "page": PAGE,
}
_SCRIPT = st.lists(st.sampled_from(sorted(_ANSWERS)), min_size=1, max_size=4)


@st.composite
def plans(draw: st.DrawFn) -> list[tuple[Payload, list[str], float]]:
    """Rows that share phones and identifiers, the replies to each, and how long each takes."""
    count = draw(st.integers(1, 12))
    return [
        (
            row(
                number,
                of=draw(st.sampled_from(["", phone(1), phone(2), phone(100 + number)])),
                identifier=draw(st.sampled_from(["", "ClientId:a", f"ClientId:{number}"])),
            ),
            draw(_SCRIPT),
            draw(st.sampled_from([0.0, 0.5, 1.0, 40.0])),
        )
        for number in range(count)
    ]


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    plan=plans(),
    operation=st.sampled_from([INSERT_LEAD, UPDATE_LEAD]),
    concurrency=st.integers(1, 6),
    attempts=st.integers(1, 4),
    rate=st.sampled_from([0.0, 2.0, 50.0]),
)
def test_whatever_the_vendor_says_each_row_has_one_outcome(
    push: Run,
    plan: list[tuple[Payload, list[str], float]],
    operation: Operation,
    concurrency: int,
    attempts: int,
    rate: float,
) -> None:
    """Rows end once, within the attempts allowed; accepted means that the vendor said so; a doubt is never repeated
    unless that is safe; calls for one phone or identifier never overlap."""
    rows = [payload for payload, _, _ in plan]
    scripts = {payload.row: [_ANSWERS[name] for name in names] for payload, names, _ in plan}
    vendor = Vendor(scripts, seconds=lambda number: plan[number][2])
    limits = Limits(rate, concurrency, attempts, 30, 60)
    done = push(rows, vendor, operation=operation, limits=limits, batch=5)

    assert vendor.most_in_flight <= concurrency
    assert len(done.settled) == len(done.rows)
    assert len(vendor.requests) == sum(told["attempts"] > 0 for told in done.rows.values())
    if done.pushed.halt is None:
        assert set(done.rows) == {payload.row for payload in rows}
    for payload, names, _ in plan:
        number = payload.row
        told = done.rows.get(number)
        if told is None or (told["status"] == "not_attempted" and not told["attempts"]):  # the run halted first
            assert number not in vendor.requests
            continue
        said = list(itertools.chain(names, itertools.repeat(names[-1], attempts)))[: vendor.requests[number]]
        assert told["state"] == "settled"
        assert told["attempts"] == vendor.requests[number] <= attempts
        assert (told["status"] == "accepted") == (said[-1] == "ok")
        assert told["status"] != "duplicate" or said[-1] == "duplicate"
        doubts = [name for name in said if name in ("lost", "broken", "500", "page")]
        if operation is INSERT_LEAD:
            assert doubts in ([], said[-1:])
        if doubts and told["status"] not in ("accepted", "duplicate", "rejected"):
            assert told["status"] == "unknown"
    by_row = {payload.row: payload for payload in rows}
    for one, other in (sorted(pair) for pair in vendor.together):
        for claim in ("phone", "identifier"):
            mine = getattr(by_row[one], claim)
            assert not mine or mine != getattr(by_row[other], claim)


# In doubt


def NO_REPLY() -> Answer:  # noqa: N802 a script's line, as OK is
    return httpx.ReadTimeout("no reply")


def HUNG_UP() -> Answer:  # noqa: N802
    return httpx.RemoteProtocolError("hung up")


def test_a_row_in_doubt_that_is_found_is_accepted(push: Run) -> None:
    """It rests for the settle time, is looked up once, by ClientId in its campaign, and is not sent again."""
    vendor, search = Vendor({1: [NO_REPLY]}), Search({"C-1": [lead(1)]})
    done = push([traceable(1)], vendor, search=search)
    assert done.fates == {1: "accepted"}
    assert done.rows[1]["reconciled"] is True
    assert vendor.requests == {1: 1}
    ((at, form),) = search.asked
    assert at >= vendor.times[0] + LIMITS.settle_seconds
    assert {name: form[name] for name in ("Action", "SearchField", "Identifier", "Detailed", "Campaign")} == {
        "Action": "SearchLead",
        "SearchField": "ClientId",
        "Identifier": "C-1",
        "Detailed": "1",
        "Campaign": "Spring Renewals",
    }


def test_a_row_that_is_not_found_twice_is_sent_again(push: Run) -> None:
    """Two looks, one settle apart, and then the row goes out once more."""
    vendor, search = Vendor({1: [HUNG_UP, OK]}), Search({"C-1": [ABSENT]})
    done = push([traceable(1)], vendor, search=search)
    assert done.fates == {1: "accepted"}
    assert (done.rows[1]["reconciled"], done.rows[1]["attempts"]) == (False, 2)
    first, second = (at for at, _ in search.asked)
    assert second - first >= LIMITS.settle_seconds
    assert vendor.times[1] >= second


def test_a_lead_that_is_stored_late_is_found_by_the_second_look(push: Run) -> None:
    """What is not there after one settle may be there after two."""
    vendor, search = Vendor({1: [NO_REPLY]}), Search({"C-1": [ABSENT, lead(1)]})
    done = push([traceable(1)], vendor, search=search)
    assert (done.fates, vendor.requests) == ({1: "accepted"}, {1: 1})


@pytest.mark.parametrize(
    "answer",
    [
        {"Leads": [{"ClientId": "C-1", "PrimaryPhone": "2025550199"}]},
        {"Leads": [{"ClientId": "C-2", "PrimaryPhone": phone(1)}]},
        {"id": 7, "LeadExists": True},
        {"Leads": [None]},
        httpx.ReadTimeout("no reply"),
        text("<html>Proxy Error</html>", 502),
        text("Result: CURL error[500]: Invalid token"),
    ],
    ids=["other phone", "other ClientId", "no details", "no lead", "no answer", "page", "refused"],
)
def test_a_search_that_proves_nothing_leaves_the_row_in_doubt(push: Run, answer: Any) -> None:
    """A lead counts only if its ClientId and its phone are the row's; without an answer nothing is sent again."""
    vendor, search = Vendor({1: [NO_REPLY]}), Search({"C-1": [answer]})
    done = push([traceable(1)], vendor, search=search)
    assert done.fates == {1: "unknown/read_timeout"}
    assert vendor.requests == {1: 1}


def test_a_row_that_the_vendor_has_answered_rests_for_a_second(push: Run) -> None:
    """An unreadable reply says that the vendor has finished; a gateway's time-out says that it may not have."""
    answers = {1: text(""), 2: text("Result: CURL error[28]: timed out"), 3: text("x", 504)}
    vendor = Vendor({n: [answer] for n, answer in answers.items()})
    search = Search({f"C-{n}": [lead(n)] for n in answers})
    done = push([traceable(n) for n in answers], vendor, search=search)
    assert set(done.fates.values()) == {"accepted"}
    at = {form["Identifier"]: at for at, form in search.asked}
    assert at["C-1"] < 5
    assert at["C-2"] >= LIMITS.settle_seconds
    assert at["C-3"] >= LIMITS.settle_seconds


def test_a_dialer_that_failed_and_stored_nothing_has_refused(push: Run) -> None:
    """Words that no rule knows are looked up; a row that is not there is rejected, and not sent again."""
    vendor = Vendor({1: [text("Result: CURL error[500]: Something broke")]})
    done = push([traceable(1)], vendor, search=Search({"C-1": [ABSENT]}))
    assert done.fates == {1: "rejected/dialer_error"}
    assert vendor.requests == {1: 1}


def test_a_duplicate_after_a_doubt_is_looked_up(push: Run) -> None:
    """The duplicate may be our own row, stored late by the attempt that had no reply."""
    duplicate = text("Result: CURL error[500]: Duplicated phone number. Lead ignored.")
    vendor = Vendor({1: [NO_REPLY, duplicate], 2: [NO_REPLY, duplicate]})
    search = Search({"C-1": [ABSENT, ABSENT, lead(1)], "C-2": [ABSENT]})
    done = push([traceable(1), traceable(2)], vendor, search=search)
    assert done.fates == {1: "accepted", 2: "duplicate/duplicate_phone"}
    assert done.rows[1]["reconciled"] is True


def test_a_bet_that_the_policy_forbids_is_not_made(push: Run) -> None:
    """Where sending again might ring a phone twice, a row that is not found stays in doubt."""
    vendor = Vendor({1: [NO_REPLY, OK]})
    done = push([traceable(1)], vendor, search=Search({"C-1": [ABSENT]}), duplicates=Duplicates.DIALED)
    assert (done.fates, vendor.requests) == ({1: "unknown/read_timeout"}, {1: 1})


def test_attempts_are_counted_over_all_doubts(push: Run) -> None:
    """A row that is never there and never answered ends when its attempts do, known not to be delivered."""
    vendor = Vendor({1: [NO_REPLY]})
    done = push([traceable(1)], vendor, search=Search({"C-1": [ABSENT]}))
    assert done.fates == {1: "failed/read_timeout"}
    assert vendor.requests == {1: LIMITS.attempts}


def test_rows_that_rest_hold_no_worker_and_keep_their_phone(push: Run) -> None:
    """Others go on meanwhile; a row of the same phone waits until the doubt is settled."""
    vendor, search = Vendor({1: [NO_REPLY]}), Search({"C-1": [lead(1)]})
    same = replace(row(2), phone=phone(1))
    done = push([traceable(1), same, *(row(n) for n in range(3, 20))], vendor, search=search, limits=LIMITS)
    assert set(done.fates.values()) == {"accepted"}
    sent_at = {number: at for at, number in vendor.sent}
    assert max(sent_at[n] for n in range(3, 20)) < LIMITS.settle_seconds < sent_at[2]


def test_a_run_that_stops_leaves_doubts_unknown(push: Run) -> None:
    """A signal does not wait for the settle time."""
    vendor = Vendor({1: [NO_REPLY]}, seen=interrupt(signal.SIGTERM), seconds=lambda n: 1.0)
    done = push([traceable(1), *(row(n) for n in range(2, 30))], vendor, search=Search({"C-1": [lead(1)]}))
    assert done.fates[1] == "unknown/read_timeout"
    assert max(vendor.times) < LIMITS.settle_seconds


# The retry table, cell by cell

ODD = dialer("Something strange has happened.")

# What brings a row into each case: how the vendor answers it, and what a search then says.
CASES: dict[Case, tuple[Sequence[Callable[[], Answer]], Sequence[Any]]] = {
    Case.NEVER_SENT: ([REFUSED, OK], [ABSENT]),
    Case.THROTTLED: ([THROTTLED, OK], [ABSENT]),
    Case.IN_DOUBT: ([LOST, OK], [lead(1)]),
    Case.MAYBE_REFUSED: ([ODD, OK], [lead(1)]),
    Case.DUPLICATE_AFTER_DOUBT: ([LOST, DUPLICATE], [ABSENT, ABSENT, lead(1)]),
    Case.FOUND: ([LOST], [lead(1)]),
    Case.SEARCH_UNCLEAR: ([LOST], [text("<html>Proxy Error</html>", 502)]),
    Case.NOT_FOUND: ([LOST, OK], [ABSENT]),
    Case.MAYBE_REFUSED_NOT_FOUND: ([ODD, OK], [ABSENT]),
    Case.DUPLICATE_NOT_FOUND: ([LOST, DUPLICATE], [ABSENT]),
}
AFTER_ANOTHER_REQUEST = (Case.DUPLICATE_AFTER_DOUBT, Case.DUPLICATE_NOT_FOUND)
NEVER_SETTLED = replace(INSERT_LEAD, settle=Settle.NEVER, lookup=None)
CELLS = [
    pytest.param(operation, mode, case, id=f"{operation.settle}-{mode}-{case}")
    for operation in (INSERT_LEAD, UPDATE_LEAD, NEVER_SETTLED)
    for mode in Duplicates
    for case in follows(operation, mode)
    # What is not sent again after a doubt meets no duplicate of itself.
    if case not in AFTER_ANOTHER_REQUEST or (mode is not Duplicates.DIALED and operation is not NEVER_SETTLED)
]


@pytest.mark.parametrize(("operation", "mode", "case"), CELLS)
def test_a_push_acts_by_the_retry_table(push: Run, operation: Operation, mode: Duplicates, case: Case) -> None:
    """What is done with a row in each case is what the table says for its operation and its duplicates."""
    answers, found = CASES[case]
    vendor, search = Vendor({1: answers}), Search({"C-1": found})
    search_there = None if operation.lookup is None else search
    done = push([traceable(1)], vendor, operation=operation, search=search_there, duplicates=mode)
    requests, fate = vendor.requests[1], done.fates[1].partition("/")[0]
    match follows(operation, mode)[case]:
        case Action.SEND_AGAIN:
            assert requests == 2
        case Action.LOOK_UP:
            assert search.asked
            assert search.asked[-1][0] > vendor.times[-1]
            assert (fate, done.rows[1]["reconciled"]) == ("accepted", True)
        case ended:
            assert fate == ended.value
            assert requests == (2 if case in AFTER_ANOTHER_REQUEST else 1)
