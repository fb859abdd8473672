from __future__ import annotations

import asyncio
import contextlib
import json
import random
import re
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest
import uvicorn
from conftest import CREDENTIALS, TOKEN, Account, run_on_clock
from uvicorn.server import ServerState

from pipeline.model import UserError
from pipeline.replies import judge
from pipeline.sandbox.app import create_app
from pipeline.sandbox.config import SandboxConfig
from pipeline.sandbox.connection import Connection
from pipeline.sandbox.faults import FAULTS, Phase
from pipeline.sandbox.plan import read_plan
from pipeline.sandbox.profiles import DEFAULT, PROFILES
from pipeline.sandbox.serve import running
from pipeline.sandbox.state import Store
from pipeline.transport import PooledTransport
from pipeline.wire import Wire, judge_failure
from schemas.dialedin import INSERT_LEAD, SEARCH_LEAD
from schemas.spec import Operation, Verdict

PHONE, OTHER_PHONE, FREE_PHONE = "2025550123", "2025550124", "2025559999"
OK = b"<br><br>Result:  OK"
PATIENCE_SECONDS = 20  # of a test with a sandbox that doesn't do what it should
NOON = datetime(2030, 1, 2, 12, 0, tzinfo=UTC)


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """A connection that is cut is no error of the server: nothing is logged."""
    yield
    assert [record.getMessage() for record in caplog.get_records("call")] == []


# A caller that sees what the network does


@dataclass(frozen=True)
class Seen:
    """All that came back, and how it ended: "reply" with the connection open, "fin" or "rst"."""

    data: bytes
    end: str

    @property
    def head(self) -> str:
        return self.data.partition(b"\r\n\r\n")[0].decode().lower()

    @property
    def status(self) -> int:
        return int(self.head.split()[1])

    @property
    def body(self) -> bytes:
        return self.data.partition(b"\r\n\r\n")[2]

    @property
    def promised(self) -> int:
        return int(re.findall(r"content-length: (\d+)", self.head)[0])

    @property
    def is_whole(self) -> bool:
        return b"\r\n\r\n" in self.data and len(self.body) >= self.promised


class Caller:
    """One connection of the caller's, kept alive."""

    def __init__(self, url: str) -> None:
        host, port = httpx.URL(url).host, httpx.URL(url).port
        assert port is not None
        self.socket = socket.create_connection((host, port), PATIENCE_SECONDS)

    def send(self, script: str = "InjectLead", **fields: str) -> None:
        self.socket.sendall(request(script, **fields))

    def see(self) -> Seen:
        """Reads to the end of the reply, or of the connection."""
        data = b""
        while True:
            try:
                part = self.socket.recv(65536)
            except ConnectionResetError:
                return Seen(data, "rst")
            if not part:
                return Seen(data, "fin")
            data += part
            if Seen(data, "").is_whole:
                return Seen(data, "reply")

    def call(self, script: str = "InjectLead", **fields: str) -> Seen:
        self.send(script, **fields)
        return self.see()


def request(script: str = "InjectLead", **fields: str) -> bytes:
    lead = {"Campaign": "Demo", "PrimaryPhone": PHONE} if script == "InjectLead" else {}
    body = urlencode(CREDENTIALS | lead | fields).encode()
    head = f"POST /HttpImport/{script}.php HTTP/1.1\r\nHost: sandbox\r\nContent-Length: {len(body)}\r\n"
    return f"{head}Content-Type: application/x-www-form-urlencoded\r\n\r\n".encode() + body


@contextlib.contextmanager
def calling(account: Account) -> Iterator[Caller]:
    caller = Caller(account.url)
    with caller.socket:
        yield caller


Start = Callable[..., Account]

WAITS = {"silence_seconds": 0.05, "slow_seconds": 0.01, "late_seconds": 600.0}
PURPOSES = ("ending", "silence", "reply", "insert", "search")


def phone_of(purpose: str, name: str) -> str:
    """A phone of its own for each fault and purpose, whose requests meet the fault once."""
    return f"20255{50000 + 100 * PURPOSES.index(purpose) + list(FAULTS).index(name)}"


@pytest.fixture(scope="module")
def shared() -> Iterator[Account]:
    """One sandbox in which all faults are planned; it serves tests that look at their own phone alone."""
    plan = {phone_of(purpose, name): [name] for purpose in PURPOSES for name in FAULTS}
    with running(SandboxConfig(token=TOKEN, plan=plan, **WAITS)) as url:
        yield Account(url)


def planned(start_account: Start, *names: str, **given: Any) -> Account:
    return start_account(**({"plan": {PHONE: names}, **WAITS} | given))


def when(account: Account, is_so: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """The state, as soon as it is so."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not is_so(state := account.see("state")):
        assert time.monotonic() < deadline, state
    return state


# What the caller sees


ENDS = {
    "stored_timeout": "fin",  # after silence
    "stored_reset": "rst",
    "stored_close": "fin",
    "stored_short": "fin",
    "late_timeout": "fin",
    "hang": "fin",
    "reset": "rst",
    "close": "fin",
}


@pytest.mark.parametrize("name", FAULTS)
def test_the_caller_sees_exactly_what_the_fault_says(shared: Account, name: str) -> None:
    """On a connection that has already served: FIN, RST or a reply, and stored only where the name says so."""
    phone = phone_of("ending", name)
    other = {"PrimaryPhone": FREE_PHONE, "DuplicatesCheck": "1"}
    with calling(shared) as caller:
        assert caller.call(**other).body == OK
        seen = caller.call(PrimaryPhone=phone)
        assert seen.end == ENDS.get(name, "reply")
        if seen.end == "reply":
            assert caller.call(**other).body == OK
    stored = [lead["PrimaryPhone"] for lead in shared.see("leads")].count(phone)
    assert stored == (FAULTS[name].phase is Phase.AFTER_STORE)


@pytest.mark.parametrize("name", [name for name in ENDS if name != "stored_short"])
def test_no_reply_is_not_a_byte(shared: Account, name: str) -> None:
    """Where the connection is cut or nothing is said, not even a status line comes; the log says so."""
    phone = phone_of("silence", name)
    with calling(shared) as caller:
        assert caller.call(PrimaryPhone=phone).data == b""
    (line,) = (line for line in shared.see("requests") if line["phone"] == phone)
    assert (line["http_status"], line["reply"], line["fault"]) == (0, "", name)


@pytest.mark.parametrize(
    ("name", "status", "body"),
    [
        ("stored_502", 502, b"<h1>502 Bad Gateway</h1>"),
        ("stored_504", 504, b"<h1>504 Gateway Time-out</h1>"),
        ("stored_empty", 200, b""),
        ("stored_html", 200, b"<h1>Service temporarily unavailable</h1>"),
        ("stored_curl_28", 200, b"<br><br>Result: CURL error[28]: "),
        ("slow_reply", 200, OK),
        ("late_504", 504, b"<h1>504 Gateway Time-out</h1>"),
        ("http_429", 429, b"<h1>429 Too Many Requests</h1>"),
        ("http_502", 502, b"<h1>502 Bad Gateway</h1>"),
        ("http_503", 503, b"<h1>503 Service Unavailable</h1>"),
        ("curl_7", 200, b"<br><br>Result: CURL error[7]: "),
        ("false_ok", 200, OK),
    ],
)
def test_replies_of_faults(shared: Account, name: str, status: int, body: bytes) -> None:
    """Each has its status and words; a proxy that asks for patience says how much."""
    with calling(shared) as caller:
        seen = caller.call(PrimaryPhone=phone_of("reply", name))
    assert (seen.status, seen.end) == (status, "reply")
    assert body in seen.body
    assert len(seen.body) == seen.promised
    assert ("retry-after: 1" in seen.head) is (status in {429, 503})


def test_a_truncated_reply_is_whole_for_http(start_account: Start) -> None:
    """Half a word under its own Content-Length: only the text tells that something is missing."""
    account = planned(start_account, "stored_truncated")
    with calling(account) as caller:
        seen = caller.call()
    assert (seen.status, seen.body, seen.promised) == (200, b"<br><br>Resul", 13)
    assert account.see("requests")[0]["reply"] == "<br><br>Resul"


def test_a_short_reply_breaks_its_promise(start_account: Start) -> None:
    """The Content-Length of the whole reply, the beginning of its body, and a FIN."""
    with calling(planned(start_account, "stored_short")) as caller:
        seen = caller.call()
    assert (seen.body, seen.promised, seen.end) == (b"<br><br>Resul", len(OK), "fin")


@pytest.mark.parametrize("detailed", ["0", "1"])
@pytest.mark.parametrize("stored", [True, False])
def test_a_truncated_search_is_no_json(start_account: Start, detailed: str, stored: bool) -> None:
    """However short the result is, what is left of it can't be read."""
    account = planned(start_account, "none" if stored else "reset", "stored_truncated")
    search = {"Action": "SearchLead", "SearchField": "Phone", "Identifier": PHONE, "Detailed": detailed}
    with calling(account) as caller:
        caller.call()
    with calling(account) as caller:
        body = caller.call("LeadOperations", **search).body
    assert body.startswith(b"{")
    with pytest.raises(ValueError, match=r"delimiter|value|Unterminated"):
        json.loads(body)


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET /HttpImport/InjectLead.php?PrimaryPhone=2025550123 HTTP/1.1\r\nHost: x\r\nContent-Length: 300000\r\n\r\n",
        b"POST /HttpImport/InjectLead.php?PrimaryPhone=2025550123 HTTP/1.1\r\nHost: x\r\n"
        b"Content-Type: application/json\r\nContent-Length: 300000\r\n\r\n",
    ],
)
def test_a_close_over_a_body_that_nobody_wanted_is_a_fin(start_account: Start, request_bytes: bytes) -> None:
    """Bytes left unread would turn the FIN into a RST: also a body that is no form is read to its end."""
    with calling(planned(start_account, "close")) as caller:
        caller.socket.sendall(request_bytes + b"x" * 300_000)
        assert caller.see() == Seen(b"", "fin")


def test_silence_lasts_until_the_caller_hangs_up(start_account: Start) -> None:
    """A caller that gives up is let go at once, and what it asked for stays stored."""
    account = planned(start_account, "stored_timeout", silence_seconds=600)
    with calling(account) as caller:
        caller.send()
        when(account, lambda state: state["leads"] == 1)
        caller.socket.settimeout(0.01)
        with pytest.raises(TimeoutError):
            caller.see()
    assert account.see("state")["faults"] == {"stored_timeout": 1}


def test_silence_does_not_delay_the_end_of_the_sandbox() -> None:
    """Who waits for nothing is cut off when the sandbox ends, without complaint in the log."""
    with contextlib.ExitStack() as stack:
        with running(SandboxConfig(token=TOKEN, plan={PHONE: ["hang"]}, silence_seconds=600)) as url:
            caller = Caller(url)
            stack.enter_context(caller.socket)
            caller.send()
            when(Account(url), lambda state: state["requests"] == 1)
        assert caller.see().data == b""


# What the sending side makes of it


def judged(account: Account, operation: Operation, form: dict[str, str]) -> Verdict:
    async def verdict() -> Verdict:
        async with PooledTransport(connections=1) as transport:
            wire = Wire(
                url=account.url + operation.path, credentials=CREDENTIALS, transport=transport, timeout_seconds=5
            )
            try:
                reply = await wire.post(urlencode(form).encode())
            except httpx.TransportError as error:
                return judge_failure(error).verdict
            return judge(operation, reply, NOON).verdict

    return asyncio.run(verdict())


VERDICTS = {
    "slow_reply": Verdict.ACCEPTED,
    "false_ok": Verdict.ACCEPTED,
    "curl_7": Verdict.NOT_DELIVERED,
    "http_429": Verdict.THROTTLED,
    "http_503": Verdict.THROTTLED,
}


@pytest.mark.parametrize("name", FAULTS)
def test_what_may_be_stored_is_in_doubt(shared: Account, name: str) -> None:
    """Our own reading of each fault: in doubt, unless the reply says for certain what became of the lead."""
    form = {"Campaign": "Demo", "PrimaryPhone": phone_of("insert", name)}
    assert judged(shared, INSERT_LEAD, form) is VERDICTS.get(name, Verdict.IN_DOUBT)


@pytest.mark.parametrize("name", ["http_502", "hang", "stored_truncated", "stored_html", "stored_empty", "reset"])
def test_a_search_that_fails_finds_nothing_out(shared: Account, name: str) -> None:
    """A search has the same faults, and none of them is an answer."""
    form = {"Action": "SearchLead", "SearchField": "Phone", "Identifier": phone_of("search", name), "Detailed": "1"}
    assert judged(shared, SEARCH_LEAD, form) is Verdict.IN_DOUBT


# Damage


def test_a_blind_retry_is_stored_and_dialed_twice(start_account: Start) -> None:
    """What was stored before a 504 is there twice after the retry, and its phone rings twice."""
    account = planned(start_account, "stored_504")
    careless = {"ClientId": "17", "DuplicatesCheck": "1", "AllowDialingDups": "1"}
    with calling(account) as caller:
        assert caller.call(**careless).status == 504
        assert caller.call(**careless).body == OK
    state = account.see("state")
    assert (state["leads"], state["stored_twice"], state["double_dials"]) == (2, 1, 1)


def test_a_retry_in_another_subcampaign_is_stored_twice_too(account: Account) -> None:
    """One phone and one ClientId in one campaign is one lead, wherever in it."""
    for subcampaign in ("East", "West"):
        account.insert(PHONE, ClientId="17", Subcampaign=subcampaign, DuplicatesCheck="3")
    assert account.see("state")["stored_twice"] == 1


def in_process(store: Store, config: SandboxConfig) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(create_app(config, store))
    return httpx.AsyncClient(transport=transport, base_url="http://sandbox")


async def insert(client: httpx.AsyncClient, **fields: str) -> httpx.Response:
    form = {"token": "sandbox-token", "accid": "sandbox", "Campaign": "Demo", "PrimaryPhone": PHONE}
    return await client.post("/HttpImport/InjectLead.php", data=form | fields)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with contextlib.closing(Store.open(tmp_path / "state.sqlite")) as opened:
        yield opened


def test_a_late_store_comes_after_its_failure(store: Store) -> None:
    """Nothing is there when the caller gets its 504; `late_seconds` later the lead is."""

    async def late() -> None:
        config = SandboxConfig(plan={PHONE: ["late_504"]}, late_seconds=5)
        async with in_process(store, config) as client:
            assert (await insert(client)).status_code == 504
            await asyncio.sleep(4.9)
            state = (await client.get("/sandbox/state")).json()
            assert (state["leads"], state["late_pending"], state["late_applied"]) == (0, 1, 0)
            await asyncio.sleep(0.2)
            state = (await client.get("/sandbox/state")).json()
            assert (state["leads"], state["late_pending"], state["late_applied"]) == (1, 0, 1)

    run_on_clock(late())


def test_who_sends_again_before_a_late_store_gets_the_damage(store: Store) -> None:
    """With DuplicatesCheck=1 the late one is the second of two; without it the late one is refused."""

    async def twice(phone: str, check: str) -> None:
        async with in_process(store, SandboxConfig(plan={phone: ["late_504"]})) as client:
            for _ in range(2):
                await insert(client, PrimaryPhone=phone, DuplicatesCheck=check)
            await asyncio.sleep(6)

    run_on_clock(twice(PHONE, "1"))
    run_on_clock(twice(OTHER_PHONE, "0"))
    counts = store.counts()
    assert (counts["leads"], counts["stored_twice"], store.gauge("late_applied")) == (3, 1, 2)


def test_a_late_timeout_is_stored_although_the_caller_has_gone(start_account: Start) -> None:
    """The dialer goes on when nobody waits for it any more."""
    account = planned(start_account, "late_timeout", silence_seconds=600, late_seconds=0.05)
    with calling(account) as caller:
        caller.send()
        when(account, lambda state: state["late_pending"] == 1 or state["late_applied"] == 1)
    assert when(account, lambda state: state["late_pending"] == 0)["leads"] == 1


def test_a_late_store_is_lost_with_its_sandbox(start_account: Start, tmp_path: Path) -> None:
    """What was pending when the sandbox ended never happens."""
    config = SandboxConfig(token=TOKEN, state_path=tmp_path / "state.db", plan={PHONE: ["late_504"]}, late_seconds=60)
    for late_pending in (1, 0):
        with running(config) as url:
            account = Account(url)
            if late_pending:
                account.call("InjectLead", Campaign="Demo", PrimaryPhone=PHONE)
            state = account.see("state")
            assert (state["leads"], state["late_pending"], state["faults"]) == (0, late_pending, {"late_504": 1})


def test_a_search_applies_nothing_late(store: Store) -> None:
    """There is nothing to apply."""

    async def search() -> None:
        async with in_process(store, SandboxConfig(plan={PHONE: ["late_504"]})) as client:
            form = {"Action": "SearchLead", "SearchField": "Phone", "Identifier": PHONE}
            assert (await client.post("/HttpImport/LeadOperations.php", data=form)).status_code == 504
            assert (await client.get("/sandbox/state")).json()["late_pending"] == 0

    run_on_clock(search())


# Chances


def test_a_false_ok_stores_nothing(start_account: Start) -> None:
    """The caller is told OK, and only a search, which is always true, tells otherwise."""
    account = start_account(profile=replace(DEFAULT, faults={"false_ok": 1.0}))
    assert account.call("InjectLead", Campaign="Demo", PrimaryPhone=PHONE).encode() == OK
    found = account.call("LeadOperations", Action="SearchLead", SearchField="Phone", Identifier=PHONE)
    assert (found, account.see("leads")) == ('{"id":0,"LeadExists":false}', [])
    assert account.see("state")["faults"] == {"false_ok": 1}


def test_flaky_goes_wrong_in_all_ways_but_a_false_ok() -> None:
    """About 15% of requests, each fault among them; a false OK has a profile of its own."""
    rng = random.Random(1)
    met = [PROFILES["flaky"].choose_fault(rng) for _ in range(20_000)]
    assert {name for name in met if name} == set(FAULTS) - {"false_ok"}
    assert 0.14 < sum(name is not None for name in met) / len(met) < 0.16
    assert [name for name, profile in PROFILES.items() if "false_ok" in profile.faults] == ["false-ok"]


def test_the_profiles_name_faults_that_exist() -> None:
    """And their shares leave requests that go well."""
    for profile in PROFILES.values():
        assert set(profile.faults) <= set(FAULTS)
        assert sum(profile.faults.values()) < 0.5


def test_a_flaky_sandbox_keeps_its_books(start_account: Start) -> None:
    """Of 300 inserts, those are stored that met no fault, or one that stores, and each fault is counted once."""
    waits = {"silence_seconds": 0.01, "slow_seconds": 0.01, "late_seconds": 0.01}
    flaky = replace(PROFILES["flaky"], faults={name: 4 * share for name, share in PROFILES["flaky"].faults.items()})
    account = start_account(profile=flaky, seed=3, **waits)
    for number in range(300):
        with contextlib.suppress(httpx.TransportError):
            account.call("InjectLead", Campaign="Demo", PrimaryPhone=str(2025550000 + number))
    state = when(account, lambda state: state["late_pending"] == 0)
    assert set(state["faults"]) == set(FAULTS) - {"false_ok"}
    lost = sum(count for name, count in state["faults"].items() if FAULTS[name].phase is Phase.BEFORE_STORE)
    assert (state["requests"], state["leads"], state["stored_twice"]) == (300, 300 - lost, 0)


# Plans


def test_a_plan_is_used_up_in_order_whatever_the_operation(start_account: Start) -> None:
    """One fault a request; "none" and the end of the plan are answered as usual."""
    account = start_account(plan={PHONE: ["http_502", "none", "stored_empty", "stored_html"]})
    lead = {"Campaign": "Demo", "PrimaryPhone": PHONE}
    search = {"Action": "SearchLead", "SearchField": "Phone", "Identifier": PHONE}
    account.call("InjectLead", **lead)
    account.call("InjectLead", **lead)
    account.call("UpdateLead", SearchField="Phone", Identifier=PHONE, City="Salem")
    account.call("LeadOperations", **search)
    assert account.call("LeadOperations", **search) == '{"id":1,"LeadExists":true}'
    faults = [line["fault"] for line in account.see("requests")]
    assert faults == ["http_502", None, "stored_empty", "stored_html", None]
    assert account.leads()[PHONE]["City"] == "Salem"


@pytest.mark.parametrize("by", ["ClientId", "LeadId"])
def test_a_plan_follows_the_phone_behind_an_identifier(start_account: Start, by: str) -> None:
    """A search by ClientId is about the phone that it came in with, stored or not; by LeadId, about the lead's."""
    first = "none" if by == "LeadId" else "http_502"
    account = start_account(plan={PHONE: [first, "http_503"]})
    account.call("InjectLead", Campaign="Demo", PrimaryPhone=PHONE, ClientId="1")
    for _ in range(2):
        account.call("LeadOperations", Action="SearchLead", SearchField=by, Identifier="1")
    account.call("LeadOperations", Action="SearchLead", SearchField=by, Identifier="2")
    account.call("LeadOperations", Action="SearchLead")
    faults = [line["fault"] for line in account.see("requests")]
    assert faults == [None if first == "none" else first, "http_503", None, None, None]


def test_chances_do_not_strike_a_phone_that_has_a_plan(start_account: Start) -> None:
    """A plan says all that happens to its phone; other phones meet the profile's faults."""
    account = start_account(plan={PHONE: []}, profile=replace(DEFAULT, faults={"http_502": 1.0}))
    for phone in (PHONE, OTHER_PHONE):
        account.call("InjectLead", Campaign="Demo", PrimaryPhone=phone)
    assert [line["fault"] for line in account.see("requests")] == [None, "http_502"]


def test_plan_and_counts_go_on_after_a_restart(store: Store) -> None:
    """What has been used up of a plan stays used up, and the faults stay counted."""

    async def state_after_insert() -> dict[str, Any]:
        async with in_process(store, SandboxConfig(plan={PHONE: ["http_502", "http_503"]})) as client:
            await insert(client)
            return (await client.get("/sandbox/state")).json()["faults"]

    counted = [run_on_clock(state_after_insert()) for _ in range(3)]
    assert counted == [{"http_502": 1}, *[{"http_502": 1, "http_503": 1}] * 2]


def test_a_plan_can_be_read_from_a_file(tmp_path: Path) -> None:
    """JSON: phone to a list of names."""
    path = tmp_path / "plan.json"
    path.write_text(json.dumps({PHONE: ["stored_timeout", "none"]}))
    assert read_plan(path) == {PHONE: ["stored_timeout", "none"]}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "can't read"),
        ("{", "no JSON"),
        ("\x00\xff", "no JSON"),
        ("[]", "must map each phone"),
        ('{"2025550123": "reset"}', "must map each phone"),
        ('{"2025550123": [1]}', "must map each phone"),
        ('{"2025550123": ["none", "restet"]}', r"'restet', planned for 2025550123; there are none, stored_timeout"),
    ],
)
def test_a_plan_that_cannot_be_is_the_users_error(tmp_path: Path, text: str | None, words: str) -> None:
    """A missing file, a wrong form and a fault that doesn't exist are each one clear line."""
    path = tmp_path / "plan.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UserError, match=words):
        read_plan(path)


def test_a_plan_of_unknown_faults_starts_no_sandbox(store: Store) -> None:
    """The name is looked at before the first request."""
    with pytest.raises(UserError, match="'restet'"):
        create_app(SandboxConfig(plan={PHONE: ["restet"]}), store)


# Requests in flight


def test_two_requests_for_one_phone_are_always_seen(start_account: Start) -> None:
    """Each of 20 pairs that overlap is counted, and pairs for two phones are not."""
    account = start_account(profile=replace(DEFAULT, latency_seconds=0.02))
    with calling(account) as first, calling(account) as second:
        for number in range(20):
            phone = str(2025550100 + number)
            first.send(PrimaryPhone=phone)
            second.send(PrimaryPhone=phone)
            assert first.see().end == second.see().end == "reply"
        assert account.see("state")["same_phone_in_flight"] == 20
        first.send()
        second.send(PrimaryPhone=OTHER_PHONE)
        assert first.see().end == second.see().end == "reply"
    state = account.see("state")
    assert (state["same_phone_in_flight"], state["max_in_flight"]) == (20, 2)


def test_one_after_the_other_is_never_seen_as_two(start_account: Start) -> None:
    """A caller that waits for each answer, over whichever connection, has one request in flight."""
    account = start_account(plan={PHONE: ["reset", "close", "stored_short", "stored_timeout"]}, silence_seconds=0.01)
    for _ in range(4):
        with calling(account) as caller:
            caller.call()
    with calling(account) as first, calling(account) as second:
        for _ in range(30):
            first.call()
            second.call()
    state = account.see("state")
    assert (state["same_phone_in_flight"], state["max_in_flight"]) == (0, 1)


class Loop:
    """A sandbox and its callers on one event loop, so that a test says in which turn what comes in."""

    def __init__(self, store: Store, **given: Any) -> None:
        config = SandboxConfig(token=TOKEN, **given)
        self._uvicorn = uvicorn.Config(create_app(config, store), lifespan="off", ws="none", log_config=None)
        self._uvicorn.load()
        self._state = ServerState()

    @contextlib.asynccontextmanager
    async def serving(self) -> Any:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: Connection(self._uvicorn, self._state, {}), "127.0.0.1", 0)
        async with server:
            yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
            await turns(10)
            for connection in list(self._state.connections):
                connection.transport.abort()
            await turns(10)


async def turns(number: int) -> None:
    for _ in range(number):
        await asyncio.sleep(0)


async def connected(url: str) -> Caller:
    caller = Caller(url)
    await turns(10)
    return caller


@pytest.mark.parametrize("turns_later", [0, 1])
def test_an_overlap_is_seen_without_any_latency(store: Store, turns_later: int) -> None:
    """A request that is there before the other's answer is worked out counts, even where that takes no time."""

    async def overlap() -> None:
        async with Loop(store).serving() as url:
            first, second = await connected(url), await connected(url)
            with first.socket, second.socket:
                first.send()
                await turns(turns_later)
                second.send()
                await turns(20)
                assert first.see().end == second.see().end == "reply"

    asyncio.run(overlap())
    assert store.gauge("same_phone_in_flight") == 1


@pytest.mark.parametrize("reset", [False, True])
def test_who_gave_up_and_asks_again_asks_once(store: Store, reset: bool) -> None:
    """A request whose caller has hung up is not in flight, even where both are noticed in one turn."""

    async def again() -> None:
        async with Loop(store, plan={PHONE: ["hang"]}).serving() as url:
            first, second = await connected(url), await connected(url)
            with second.socket:
                first.send()
                await turns(20)
                if reset:
                    first.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                first.socket.close()
                second.send()
                await turns(20)
                assert second.see().body == OK

    asyncio.run(again())
    assert (store.gauge("same_phone_in_flight"), store.gauge("max_in_flight")) == (0, 1)
