"""A composed operation on a clock moved by hand, against a vendor that stores whatever comes, now or later."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, urlencode

import httpx
import pytest
import sqlalchemy as sa
from conftest import CREDENTIALS, phone, run_on_clock
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline import matches, records, statedb
from pipeline.composed import Steps
from pipeline.delivery import Endpoint, World, micros
from pipeline.feed import Batch
from pipeline.journal import Scope, open_journal
from pipeline.model import Payload, Status
from pipeline.push import Limits, Push
from pipeline.retries import Duplicates, follows
from pipeline.watch import ErrorLimit, Watch
from pipeline.wire import Wire
from schemas.dialedin import UPSERT_LEAD
from schemas.spec import Operation

START = datetime(2030, 1, 1, tzinfo=UTC)
LIMITS = Limits(rate_per_second=0, concurrency=4, attempts=3, drain_seconds=0, settle_seconds=60)
TIMEOUT = 30.0
LATE = 80.0  # seconds after the request: before the settle time after its timeout is over
PARTS = UPSERT_LEAD.composed
assert PARTS is not None


def row(number: int, name: str = "New", *, by: str = "Phone", client_id: bool = True) -> Payload:
    """A row of the lead with this number; its ClientId is its own by ClientId, else its key, or none."""
    key = f"{number:032x}"
    own = f"C-{number}" if by == "ClientId" else key if client_id else ""
    sent = {"SearchField": by, "Campaign": "Demo", "PrimaryPhone": phone(number), "ClientId": own, "FirstName": name}
    body = urlencode({field: value for field, value in sent.items() if value}).encode()
    identifier = f"ClientId:{own}" if by == "ClientId" else f"Phone:{phone(number)}"
    return Payload(0, number, key, phone(number), identifier, own, body, f"{number:064x}")


@dataclass
class Vendor:
    """Stores every insert, as often as it comes. Its requests meet the faults in turn; after the last, none."""

    faults: Sequence[str] = ()
    leads: list[dict[str, str]] = field(default_factory=list)
    asked: list[tuple[float, str]] = field(default_factory=list)  # when, and what
    began: float = 0.0
    late: list[tuple[float, dict[str, str]]] = field(default_factory=list)

    @property
    def now(self) -> float:
        return self.began + asyncio.get_running_loop().time()

    def add(self, number: int, name: str = "Old", *, of: str = "other") -> None:
        self.leads.append({"PrimaryPhone": phone(number), "ClientId": of, "Campaign": "Demo", "FirstName": name})

    def settle(self, now: float) -> None:
        """What is due by now is stored."""
        self.leads += [form for at, form in self.late if at <= now]
        self.late = [(at, form) for at, form in self.late if at > now]

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        sent = dict(parse_qsl(request.content.decode(), keep_blank_values=True))
        form = {name: value for name, value in sent.items() if name not in CREDENTIALS}
        what = request.url.path.rpartition("/")[2].removesuffix(".php")
        fault = self.faults[len(self.asked)] if len(self.asked) < len(self.faults) else "ok"
        self.asked.append((self.now, what))
        if fault == "refused":
            raise httpx.ConnectError("could not connect")
        if fault == "late" and what == "InjectLead":
            self.late.append((self.now + LATE, form))
        self.settle(self.now)
        applied = fault in ("ok", "stored, lost", "stored, page") or (fault == "late" and what == "UpdateLead")
        answer = getattr(self, what)(form) if applied else ""
        if fault in ("stored, lost", "lost", "late"):
            await asyncio.sleep(TIMEOUT)
            raise httpx.ReadTimeout("sent, no complete reply in time")
        await asyncio.sleep(1)
        self.settle(self.now)
        if fault == "throttled":
            return httpx.Response(429, text="slow down")
        return httpx.Response(500, text="<html>") if "page" in fault else answer

    def InjectLead(self, form: dict[str, str]) -> httpx.Response:  # noqa: N802 the vendor's name
        self.leads.append(form)
        return httpx.Response(200, text="<br><br>Result:  OK")

    def UpdateLead(self, form: dict[str, str]) -> httpx.Response:  # noqa: N802 the vendor's name
        assert form["SearchField"] == "LeadId"
        assert not set(form) & {"Campaign", "Subcampaign", "ImportOnly", "DuplicatesCheck"}
        changes = {name: value for name, value in form.items() if name not in ("SearchField", "Identifier")}
        self.leads[int(form["Identifier"])].update(changes)
        return httpx.Response(200, text="<br><br>Result:  OK")

    def LeadOperations(self, form: dict[str, str]) -> httpx.Response:  # noqa: N802 the vendor's name
        column = {"Phone": "PrimaryPhone"}.get(form["SearchField"], form["SearchField"])
        found = [
            {"id": at, "ClientId": ""} | lead
            for at, lead in enumerate(self.leads)
            if lead.get(column) == form["Identifier"]
        ]
        return httpx.Response(200, json={"Leads": found})

    def names(self, number: int) -> list[str]:
        return [lead["FirstName"] for lead in self.leads if lead["PrimaryPhone"] == phone(number)]

    @property
    def operations(self) -> list[str]:
        return [what for _, what in self.asked]


Run = Callable[..., dict[int, dict[str, Any]]]


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> sa.Engine:
    return statedb.engine(f"sqlite:///{tmp_path_factory.mktemp('composed') / 'state.db'}")


@pytest.fixture(scope="module")
def push(state: sa.Engine) -> Run:
    """Pushes rows to a vendor; each push is a run and an account of its own. Gives the journal's word on each row."""
    numbers = itertools.count()

    def run(
        rows: Sequence[Payload],
        vendor: Vendor,
        *,
        stop_after: float | None = None,
        duplicates: Duplicates = Duplicates.SUPPRESSED,
        update_all: bool = False,
        limits: Limits = LIMITS,
    ) -> dict[int, dict[str, Any]]:
        run_id = f"run-{next(numbers)}"

        def endpoint(operation: Operation, column: Operation | None = None) -> Endpoint:
            transport = httpx.MockTransport(vendor)
            url = f"https://vendor.test/HttpImport/{operation.path}"
            wire = Wire(url=url, credentials=CREDENTIALS, transport=transport, timeout_seconds=TIMEOUT)
            return Endpoint(operation, wire, follows(column or operation, duplicates))

        async def pushing() -> None:
            loop = asyncio.get_running_loop()
            world = World(
                lambda: START + timedelta(seconds=vendor.began + loop.time()), random.Random(3), lambda _: None
            )
            steps = Steps(UPSERT_LEAD, PARTS, endpoint(PARTS.search), endpoint(PARTS.update), update_all)
            with open_journal(state, Scope(run_id, run_id, UPSERT_LEAD.name)) as written:
                one = Push(
                    endpoint(UPSERT_LEAD),
                    steps.search,
                    written,
                    limits=limits,
                    watch=Watch(ErrorLimit(None, 1.0)),
                    world=world,
                    deliveries=steps.deliver,
                )
                if stop_after is not None:
                    loop.call_later(stop_after, one.interrupt, 15)
                await one.run(iter([Batch(rows, [])]))
            vendor.began += loop.time()

        run_on_clock(pushing())
        sends, _ = records.settled_between(state, run_id, 0, (0, 10**9))
        return {told["row"]: told for told in sends.to_pylist()}

    return run


def test_an_insert_in_doubt_rests_before_it_is_looked_up(push: Run) -> None:
    """A settle after its time-out one search finds it: nothing is sent again, and it is known to be this row's."""
    vendor = Vendor(["ok", "late"])
    told = push([row(1)], vendor)[1]
    assert (told["status"], told["code"], told["reconciled"]) == ("accepted", "inserted", True)
    assert vendor.operations == ["LeadOperations", "InjectLead", "LeadOperations"]
    inserted, looked = vendor.asked[1][0], vendor.asked[2][0]
    assert looked - inserted >= TIMEOUT + LIMITS.settle_seconds
    assert vendor.names(1) == ["New"]


@pytest.mark.parametrize("client_id", [True, False])
def test_a_row_without_client_id_is_found_by_what_it_is_looked_up_by(push: Run, client_id: bool) -> None:
    """Nobody had its phone before the insert: whoever has it now, without another ClientId, is this row."""
    vendor = Vendor(["ok", "stored, lost"])
    told = push([row(1, client_id=client_id)], vendor)[1]
    assert (told["code"], told["reconciled"], told["attempts"]) == ("inserted", True, 1)
    assert vendor.names(1) == ["New"]


def test_someone_elses_lead_that_came_meanwhile_is_updated(push: Run) -> None:
    """A lead with another ClientId does not prove that the insert arrived; bringing it up to date does no harm."""
    vendor = Vendor(["ok", "lost"])
    vendor.late.append((60.0, {"PrimaryPhone": phone(1), "ClientId": "other", "Campaign": "Demo", "FirstName": "Old"}))
    told = push([row(1)], vendor)[1]
    assert (told["code"], told["reconciled"]) == ("updated", False)
    assert vendor.operations == ["LeadOperations", "InjectLead", "LeadOperations", "UpdateLead"]
    assert vendor.names(1) == ["New"]


def test_a_row_in_doubt_elsewhere_rests_and_is_looked_up_twice(push: Run) -> None:
    """An insert of a run that died may still be under way: nobody is there twice, a settle apart, and then it goes."""
    doubted_at = micros(START - timedelta(seconds=20))
    vendor = Vendor()
    push([replace(row(1), doubted_at=doubted_at)], vendor)
    assert vendor.operations == ["LeadOperations", "LeadOperations", "InjectLead"]
    first, second, sent = (at for at, _ in vendor.asked)
    assert 40 <= first < 45
    assert second - first >= LIMITS.settle_seconds
    assert sent >= second


def test_a_lead_that_a_dead_run_stores_late_gets_its_update(push: Run) -> None:
    """Whether it has the values of this row is not known, so they are sent to it; it is not stored once more."""
    vendor = Vendor()
    vendor.late.append((70.0, {"PrimaryPhone": phone(1), "Campaign": "Demo", "FirstName": "Old"}))
    told = push([replace(row(1), doubted_at=micros(START))], vendor)[1]
    assert (told["status"], told["code"]) == ("accepted", "updated")
    assert vendor.operations == ["LeadOperations", "LeadOperations", "UpdateLead"]
    assert vendor.names(1) == ["New"]


def test_a_doubt_outlives_an_update_that_fails(push: Run) -> None:
    """The insert may have arrived with these values: that its update was refused the connection proves nothing."""
    vendor = Vendor(["ok", "lost", "ok", *["refused"] * 3])
    vendor.late.append((60.0, {"PrimaryPhone": phone(1), "ClientId": "other", "Campaign": "Demo", "FirstName": "Old"}))
    told = push([row(1)], vendor)[1]
    assert (told["status"], told["code"], told["attempts"]) == ("unknown", "read_timeout", 4)


def test_a_bet_that_may_ring_a_phone_is_not_made(push: Run) -> None:
    """Where duplicates are stored and dialed, an insert that is not found stays unknown; an update is no bet."""
    vendor = Vendor(["ok", "lost"])
    assert push([row(1)], vendor, duplicates=Duplicates.DIALED)[1]["status"] == "unknown"
    assert vendor.operations == ["LeadOperations", "InjectLead", "LeadOperations", "LeadOperations"]
    later = Vendor()
    later.add(1)
    told = push([replace(row(1), doubted_at=micros(START))], later, duplicates=Duplicates.DIALED)[1]
    assert (told["status"], told["code"]) == ("accepted", "updated")


def test_what_may_not_be_sent_again_is_not_even_updated(push: Run) -> None:
    """A row in doubt of someone who must not be contacted by now: it is looked up, and that is all."""
    vendor = Vendor()
    vendor.add(1)
    told = push([replace(row(1), doubted_at=micros(START), may_resend=False)], vendor)[1]
    assert (told["status"], vendor.operations, vendor.names(1)) == ("unknown", ["LeadOperations"], ["Old"])


@pytest.mark.parametrize(("after", "fate"), [(0.5, "not_attempted"), (1.5, "unknown")])
def test_a_run_that_is_cut_short_knows_whether_something_was_sent(push: Run, after: float, fate: str) -> None:
    """During the search nothing was; during the update it is in doubt."""
    vendor = Vendor()
    vendor.add(1)
    told = push([row(1)], vendor, stop_after=after)[1]
    assert (told["status"], told["code"]) == (fate, "interrupted")
    assert told["first_sent_at"] is None if fate == "not_attempted" else told["first_sent_at"] is not None


def test_updates_of_several_leads_that_are_cut_short_go_again(push: Run) -> None:
    """The row is not attempted as a whole; leads that were updated already are updated once more."""
    vendor = Vendor()
    for number in range(3):
        vendor.add(1, of=f"T-{number}")
    limits = replace(LIMITS, drain_seconds=30)
    told = push([row(1)], vendor, update_all=True, stop_after=1.5, limits=limits)[1]
    assert (told["status"], told["attempts"], told["first_sent_at"] is None) == ("not_attempted", 1, False)
    assert vendor.names(1) == ["New", "Old", "Old"]
    told = push([row(1)], vendor, update_all=True)[1]
    assert (told["code"], told["attempts"]) == ("updated", 3)
    assert vendor.names(1) == ["New"] * 3


# Forms

VALUES = st.sampled_from(["", "x", "Ada Marlow", "a&b=c", "é"])
FIELDS = ("FirstName", "City", "adv_Plan", "Subcampaign", "DuplicatesCheck", "ImportOnly", "CallbackAgent")


@settings(max_examples=80)
@given(
    sent=st.fixed_dictionaries({}, optional={name: VALUES for name in FIELDS if name != "DuplicatesCheck"}),
    check=st.sampled_from(["", "0", "1", "2", "3"]),
    by=st.sampled_from(["ClientId", "Phone"]),
    is_key=st.booleans(),
)
def test_the_steps_share_a_rows_values_between_them(sent: dict[str, str], check: str, by: str, is_key: bool) -> None:
    """An insert has all that is not empty; an update all that is not only for inserts, and not what it was found by."""
    whole = {"SearchField": by, "Campaign": "Demo", "PrimaryPhone": phone(1), "ClientId": "C-1", **sent}
    whole |= {"DuplicatesCheck": check} if check else {}
    payload = replace(row(1), client_id="C-1", row_key="C-1" if is_key else "0", body=urlencode(whole).encode())

    def form(body: bytes) -> dict[str, str]:
        return dict(parse_qsl(body.decode(), keep_blank_values=True))

    inserted, updated = form(matches.insert_form(UPSERT_LEAD, payload)), matches.update_form(UPSERT_LEAD, payload, "7")
    assert inserted == {name: value for name, value in whole.items() if value and name != "SearchField"}
    kept = {"FirstName", "City", "adv_Plan", "CallbackAgent"} | ({"PrimaryPhone"} if by == "ClientId" else set())
    kept |= {"ClientId"} if by == "Phone" and not is_key else set()
    assert form(updated) == {"SearchField": "LeadId", "Identifier": "7"} | {
        name: value for name, value in whole.items() if name in kept
    }
    searched = form(matches.search_form(UPSERT_LEAD, payload))
    assert {searched.pop("Action"), searched.pop("Detailed")} == {"SearchLead", "1"}
    assert searched.pop("Identifier") == {"ClientId": "C-1", "Phone": phone(1)}[searched.pop("SearchField")]
    within = {"": ["Campaign"], "0": ["Campaign"], "1": ["Campaign"], "2": [], "3": ["Campaign", "Subcampaign"]}[check]
    assert searched == {name: whole[name] for name in within if name in whole}


# Always

FAULTS = st.sampled_from(
    ["ok", "ok", "ok", "refused", "throttled", "lost", "stored, lost", "stored, page", "page", "late"]
)


@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    faults=st.lists(FAULTS, max_size=24),
    rows=st.integers(1, 5),
    there=st.sets(st.integers(0, 4)),
    by=st.sampled_from(["ClientId", "Phone"]),
    client_id=st.booleans(),
    stop_after=st.none() | st.floats(0, 300),
    gap=st.floats(0, 100),
)
def test_nothing_is_stored_twice_and_nothing_is_lost(
    push: Run,
    faults: list[str],
    rows: int,
    there: set[int],
    by: str,
    client_id: bool,
    stop_after: float | None,
    gap: float,
) -> None:
    """Whatever fails, and whenever the run is stopped: what is accepted is stored once, with the row's values; what
    failed is not stored; and after the next run, which meets no faults, every row is stored once."""
    payloads = [row(number, by=by, client_id=client_id) for number in range(rows)]
    vendor = Vendor(faults)
    for number in there & set(range(rows)):
        vendor.add(number, of=f"C-{number}" if by == "ClientId" else "other")
    first = push(payloads, vendor, stop_after=stop_after)
    for number, told in first.items():
        if told["status"] == Status.ACCEPTED:
            assert vendor.names(number) == ["New"]
        if told["status"] in (Status.FAILED, Status.NOT_ATTEMPTED):
            assert "New" not in vendor.names(number)
            assert phone(number) not in {form["PrimaryPhone"] for _, form in vendor.late}
    again = [
        replace(payload, doubted_at=first[payload.row]["first_sent_at"])
        if payload.row in first and first[payload.row]["status"] == Status.UNKNOWN
        else payload
        for payload in payloads
        if payload.row not in first or first[payload.row]["status"] != Status.ACCEPTED
    ]
    vendor.faults, vendor.began = (), vendor.began + gap
    second = push(again, vendor)
    vendor.settle(float("inf"))
    assert Counter(told["status"] for told in second.values()) == Counter(
        {Status.ACCEPTED: len(again)} if again else {}
    )
    assert {number: vendor.names(number) for number in range(rows)} == {number: ["New"] for number in range(rows)}
