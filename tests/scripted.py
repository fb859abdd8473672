"""A vendor in memory that goes wrong as it is told to, and the clock under which a whole run takes no time."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import Enum
from urllib.parse import parse_qsl

import httpx
from conftest import ClockLoop

START = datetime(2030, 1, 1, 19, 30, tzinfo=UTC)  # a Tuesday; people may be called from coast to coast
TIMEOUT_SECONDS = 30.0
SETTLE_SECONDS = 60.0

Form = Mapping[str, str]
Ending = Callable[[], httpx.Response | Exception]


# --- Time ---


class Clock:
    """The wall clock, and the event loops that move it: what they wait for passes at once."""

    def __init__(self, start: datetime = START) -> None:
        self.start, self.seconds_before = start, 0.0
        self._loop: ClockLoop | None = None

    @property
    def seconds(self) -> float:
        """Since the start."""
        return self.seconds_before + (self._loop.now if self._loop else 0.0)

    def now(self) -> datetime:
        return self.start + timedelta(seconds=self.seconds)

    def let_pass(self, seconds: float) -> None:
        self.seconds_before += seconds

    def next_loop(self) -> ClockLoop:
        """A loop that moves this clock on from where it stands."""
        self.seconds_before, self._loop = self.seconds, ClockLoop()
        return self._loop


# --- What can go wrong ---


class Stored(Enum):
    """What becomes of the lead when its request goes wrong."""

    NOT = "not stored"
    AT_ONCE = "stored"
    LATE = "stored late"  # some time after the caller has given up


@dataclass(frozen=True, repr=False)
class Fault:
    """One way for a request to go wrong: what becomes of the lead, and what the caller sees."""

    name: str
    ending: Ending
    stored: Stored

    def __repr__(self) -> str:
        return f"<{self.stored.value}: {self.name}>"


def _reply(body: str, status: int = 200, retry_after: str = "") -> Ending:
    headers = {"Retry-After": retry_after} if retry_after else {}
    return lambda: httpx.Response(status, text=body, headers=headers)


def _result(words: str) -> Ending:
    return _reply(f"<br><br>Result: {words}")


# The caller can't know whether the vendor has finished.
_AT_WORK: Mapping[str, Ending] = {
    "no reply in time": lambda: httpx.ReadTimeout("no reply in time"),
    "reset": lambda: httpx.ReadError("connection reset by peer"),
    "hung up": lambda: httpx.RemoteProtocolError("server disconnected without sending a response"),
    "HTTP 502": _reply("<html><body>Bad Gateway</body></html>", 502),
    "HTTP 504": _reply("<html><body>Gateway Timeout</body></html>", 504),
    "CURL error[28]": _result("CURL error[28]: Operation timed out"),
}
# It has finished, and nobody can read what it said.
_ANSWERED: Mapping[str, Ending] = {
    "HTTP 500": _reply("oops", 500),
    "empty body": _reply(""),
    "cut off": _reply("<br><br>Result: C"),
    "page": _reply("<html><body>It works!</body></html>"),
    "odd words": _result("CURL error[500]: Object reference not set to an instance of an object."),
    "page of the dialer": _result("CURL error[500]: <html><body>Duplicated phone number, campaign</body></html>"),
    "CURL error[56]": _result("CURL error[56]: Recv failure"),
}
_NEVER_TAKEN: Mapping[str, Ending] = {
    "no connection": lambda: httpx.ConnectError("connection refused"),
    "no connection in time": lambda: httpx.ConnectTimeout("no connection in time"),
    "HTTP 429": _reply("slow down", 429, retry_after="7"),
    "HTTP 503, Retry-After": _reply("busy", 503, retry_after="90"),
    "CURL error[7]": _result("CURL error[7]: Failed to connect"),
}
_REFUSED: Mapping[str, Ending] = {
    "unknown campaign": _result("CURL error[500]: Campaign does not exist."),
    "do not call": _result("CURL error[500]: The number is on the DNC list."),
    "refused by the gateway": _result("Signing message error 5"),
    "HTTP 404": _reply("not here", 404),
}
_CREDENTIALS: Mapping[str, Ending] = {
    "HTTP 401": _reply("unauthorized", 401),
    "bad token": _result("CURL error[500]: Invalid token."),
}
_NO_SEARCH: Mapping[str, Ending] = {
    "OK and no more": _result(" OK"),
    "no details": _reply('{"id":7,"LeadExists":true}'),
    "cut off": _reply('{"Leads":[{"id":7,"Clien'),
    "a list": _reply("[]"),
    "page of a proxy": _reply("<html><body>Please log in: token, accid</body></html>"),
}


def _faults(stored: Stored, *endings: Mapping[str, Ending]) -> list[Fault]:
    return [Fault(name, ending, stored) for some in endings for name, ending in some.items()]


LATE = _faults(Stored.LATE, _AT_WORK)
LOST_REPLIES = _faults(Stored.AT_ONCE, _AT_WORK, _ANSWERED)
NO_REPLIES = _faults(Stored.NOT, _AT_WORK, _ANSWERED)
NEVER_TAKEN = _faults(Stored.NOT, _NEVER_TAKEN)
REFUSALS = _faults(Stored.NOT, _REFUSED)
CREDENTIALS = _faults(Stored.NOT, _CREDENTIALS)
NO_SEARCHES = _faults(Stored.NOT, _AT_WORK, _ANSWERED, _NEVER_TAKEN, _REFUSED, _CREDENTIALS, _NO_SEARCH)


class CrashError(Exception):
    """Nothing that a transport may raise: the run dies of it, with whatever was under way."""


class End(Enum):
    """How a run is cut short."""

    SIGNAL = "SIGTERM"
    CRASH = "crash before the lead is stored"
    CRASH_AFTER = "crash after the lead is stored"


@dataclass(frozen=True)
class Script:
    """What one row's requests meet, one after the other. When a list is at its end, nothing goes wrong any more."""

    writes: Sequence[Fault] = ()
    searches: Sequence[Fault] = ()
    seconds: float = 0.1  # how long the vendor works on each


# --- The vendor ---

_OK = "<br><br>Result:  OK"
_DUPLICATE = "<br><br>Result: CURL error[500]: Duplicated phone number. Lead ignored."
_NOT_FOUND = "<br><br>Result: CURL error[500]: Lead not found."
_SCOPES: Mapping[str, tuple[str, ...]] = {
    "0": ("PrimaryPhone", "Campaign"),
    "2": ("PrimaryPhone",),
    "3": ("PrimaryPhone", "Campaign", "Subcampaign"),
}
_COLUMN = {"ClientId": "ClientId", "Phone": "PrimaryPhone"}


@dataclass
class Vendor(httpx.AsyncBaseTransport):
    """A transport with an account behind it. The Notes of a lead are the number of the row that wrote it."""

    clock: Clock
    leads: list[dict[str, str]]
    scripts: Mapping[int, Script]  # by row
    late_seconds: float
    end: tuple[End, int] | None  # and the request for a lead, counted from 1, during which it comes
    stored: Counter[int] = field(default_factory=Counter)  # how often each row was written into a lead
    requests: Counter[int] = field(default_factory=Counter)  # how often each row was asked to be written
    order: list[tuple[int, frozenset[str]]] = field(default_factory=list)  # the same in order, with what each was for
    moments: list[datetime] = field(default_factory=list)  # and when
    meanwhile: Callable[[int], None] = lambda request: None  # told of each request for a lead, counted from 1
    overlaps: set[str] = field(default_factory=set)  # phones and ClientIds that two requests were for at once
    most_in_flight: int = 0
    _in_flight: list[frozenset[str]] = field(default_factory=list)
    _sent: dict[str, tuple[int, str]] = field(default_factory=dict)  # ClientId → row and phone last sent with it
    _searches: Counter[int] = field(default_factory=Counter)
    _late: list[tuple[float, Form]] = field(default_factory=list)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        form = dict(parse_qsl((await request.aread()).decode(), keep_blank_values=True))
        with self._under_way(self._subjects(form)):
            return await (self._search if form.get("Action") == "SearchLead" else self._write)(form)

    def let_all_arrive(self) -> None:
        """Time goes by until nothing is late any more."""
        self.clock.let_pass(self.late_seconds)
        self._catch_up()

    def calm_down(self) -> None:
        """From now on nothing goes wrong."""
        self.scripts, self.end = {}, None

    async def _write(self, form: Form) -> httpx.Response:
        row = int(form["Notes"])
        self.requests[row] += 1
        self.order.append((row, self._subjects(form)))
        self.moments.append(self.clock.now())
        self.meanwhile(len(self.order))
        if "PrimaryPhone" in form and "ClientId" in form:
            self._sent[form["ClientId"]] = row, form["PrimaryPhone"]
        self._cut_short(form)
        self._catch_up()
        script = self.scripts.get(row, Script())
        fault = _nth(script.writes, self.requests[row])
        body = self._store(form) if fault is None or fault.stored is Stored.AT_ONCE else ""
        try:
            await asyncio.sleep(script.seconds)  # whoever hangs up meanwhile can't know that it is stored
            return httpx.Response(200, text=body) if fault is None else await _ended(fault)
        finally:
            if fault is not None and fault.stored is Stored.LATE:
                self._late.append((self.clock.seconds + self.late_seconds, form))

    async def _search(self, form: Form) -> httpx.Response:
        row, _ = self._sent[form["Identifier"]]
        self._searches[row] += 1
        script = self.scripts.get(row, Script())
        fault = _nth(script.searches, self._searches[row])
        await asyncio.sleep(script.seconds)
        self._catch_up()
        return httpx.Response(200, text=self._found(form)) if fault is None else await _ended(fault)

    def _cut_short(self, form: Form) -> None:
        if self.end is None or self.requests.total() != self.end[1]:
            return
        if self.end[0] is End.SIGNAL:
            signal.raise_signal(signal.SIGTERM)
            return
        if self.end[0] is End.CRASH_AFTER:
            self._store(form)
        raise CrashError

    def _catch_up(self) -> None:
        due = [form for at, form in self._late if at <= self.clock.seconds]
        self._late = [(at, form) for at, form in self._late if at > self.clock.seconds]
        for form in due:
            self._store(form)

    def _store(self, form: Form) -> str:
        return self._insert(form) if "SearchField" not in form else self._update(form)

    def _insert(self, form: Form) -> str:
        scope = _SCOPES.get(form.get("DuplicatesCheck", "0"))
        if scope and any(all(lead.get(name) == form.get(name) for name in scope) for lead in self.leads):
            return _DUPLICATE
        self.stored[int(form["Notes"])] += 1
        self.leads.append({"id": str(len(self.leads)), **form})
        return _OK

    def _update(self, form: Form) -> str:
        found = [lead for lead in self.leads if lead[_COLUMN[form["SearchField"]]] == form["Identifier"]]
        for lead in found:
            lead["Notes"] = form["Notes"]
        self.stored[int(form["Notes"])] += bool(found)
        return _OK if found else _NOT_FOUND

    def _found(self, form: Form) -> str:
        asked = {"ClientId": form["Identifier"]} | {n: form[n] for n in ("Campaign", "Subcampaign") if n in form}
        leads = [lead for lead in self.leads if asked.items() <= lead.items()]
        shown = ("id", "ClientId", "PrimaryPhone", "Campaign", "Notes")
        return json.dumps({"Leads": [{name: lead[name] for name in shown} for lead in leads]})

    def _subjects(self, form: Form) -> frozenset[str]:
        """The phone and the ClientId that a request is for, be it a search."""
        asked = {_COLUMN[form["SearchField"]]: form["Identifier"]} if "SearchField" in form else form
        client_id = asked.get("ClientId", "")
        phone = self._sent[client_id][1] if form.get("Action") == "SearchLead" else asked.get("PrimaryPhone", "")
        return frozenset({client_id, phone} - {""})

    @contextlib.contextmanager
    def _under_way(self, subjects: frozenset[str]) -> Iterator[None]:
        self.overlaps.update(*(subjects & others for others in self._in_flight))
        self._in_flight.append(subjects)
        self.most_in_flight = max(self.most_in_flight, len(self._in_flight))
        try:
            yield
        finally:
            self._in_flight.remove(subjects)


def _nth(faults: Sequence[Fault], number: int) -> Fault | None:
    return faults[number - 1] if number <= len(faults) else None


async def _ended(fault: Fault) -> httpx.Response:
    """What the caller gets, after it has waited for it."""
    ending = fault.ending()
    if isinstance(ending, httpx.TimeoutException):
        await asyncio.sleep(TIMEOUT_SECONDS)
    if isinstance(ending, Exception):
        raise ending
    return ending
