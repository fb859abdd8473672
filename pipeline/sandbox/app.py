"""The HTTP side of the sandbox: the scripts of the gateway, its state as JSON, and a page for people."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from pipeline.sandbox import operations, page, texts
from pipeline.sandbox.config import SandboxConfig
from pipeline.sandbox.connection import connection_of, keep_waiting, response
from pipeline.sandbox.dialer import Dialer
from pipeline.sandbox.dialogtech import ASSUMED, FIND_ME, SCRIPT, FindMe
from pipeline.sandbox.faults import NO_ANSWER, NO_REPLY, Answer, Ending, Fault, Phase, sent_body
from pipeline.sandbox.gauge import ParallelGauge
from pipeline.sandbox.leads import detailed
from pipeline.sandbox.office import LISTED
from pipeline.sandbox.operations import READS, SCRIPTS
from pipeline.sandbox.php import Form, pairs, request_fields
from pipeline.sandbox.plan import Faults
from pipeline.sandbox.state import Lead, RequestEntry, Store

_URLENCODED = "application/x-www-form-urlencoded"
_MULTIPART = "multipart/form-data"
_CREDENTIALS = frozenset(  # they are in no log
    {"token", "accid", "SecurityCode", "GroupId", "key", "access_key", "secret_access_key"}
)

_PHONES = ("PrimaryPhone", "Number", "To", "Phone", "phone_to_call")  # whichever the operation calls it

# A timer, however short, is up after all that has come in meanwhile has been read, so that requests that came in
# together are seen together. A sleep of 0 would be over before that.
_A_TURN = 1e-9  # seconds

Clock = Callable[[], datetime]
_Endpoint = Callable[[Request], Awaitable[Response]]


def _utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a request comes to."""

    answer: Answer
    ending: Ending = Ending.REPLY


class Gateway:
    """Takes requests, one transaction each: what they change and their line in the log stand or fall together."""

    def __init__(self, config: SandboxConfig, store: Store, clock: Clock) -> None:
        self.config = config
        self.store = store
        self.gauge = ParallelGauge(store)
        self.texts = texts.bodies(config.texts)
        self.late_pending = 0
        self._dialer = Dialer(config, store, self.texts)
        self._find_me = FindMe(config.find_me, store)
        self._faults = Faults(config, store)
        self._clock = clock
        self._rng = random.Random(config.seed)  # noqa: S311 - latency that can be repeated
        self._slots = _slots(config.profile.max_parallel)
        self._waits = {Ending.SLOW: config.slow_seconds, Ending.SILENCE: config.silence_seconds}

    def endpoint(self, script: str) -> _Endpoint:
        """A script of the gateway."""

        async def answered(request: Request) -> Response:
            form = await _form(request)
            with self.gauge.hold(_subject_of(form), connection_of(request.scope)):
                outcome = await self._outcome(script, form, request.method)
                if seconds := self._waits.get(outcome.ending, outcome.answer.after_seconds):
                    await keep_waiting(request, seconds)
            return response(outcome.ending, outcome.answer)

        return answered

    async def _outcome(self, script: str, form: Form, method: str) -> Outcome:
        received_at = self._clock()
        async with self._slots:
            await asyncio.sleep(max(_A_TURN, self.config.profile.delay_seconds(self._rng)))
            with self.store.transaction():
                return self._perform(script, form, method, received_at)

    def _perform(self, script: str, form: Form, method: str, received_at: datetime) -> Outcome:
        operation = FIND_ME if script == SCRIPT else operations.named(script, form)
        fault = self._faults.for_request(phone_of(form), identifier_of(form), is_search=operation in READS)
        outcome = self._struck(fault, operation, form) if fault else Outcome(self._applied(operation, form))
        self.store.add_request(
            RequestEntry(
                received_at=received_at.isoformat(),
                method=method,
                script=script,
                operation=operation,
                parameters={name: value for name, value in form.items() if name not in _CREDENTIALS},
                phone=phone_of(form),
                client_id=client_id_of(form),
                http_status=0 if outcome.ending in NO_REPLY else outcome.answer.http_status,
                reply=sent_body(outcome.ending, outcome.answer),
                fault=fault.name if fault else None,
            )
        )
        return outcome

    def _struck(self, fault: Fault, operation: str, form: Form) -> Outcome:
        answer = NO_ANSWER
        if fault.phase is Phase.AFTER_STORE:
            answer = self._applied(operation, form)
        if fault.phase is Phase.LATE_STORE and operation not in READS:
            self._apply_late(operation, form)
        return Outcome(fault.answer or answer, fault.ending)

    def _applied(self, operation: str, form: Form) -> Answer:
        if operation == FIND_ME:
            return self._find_me.answer(form, self._clock())
        return Answer(operations.answer(self._dialer, operation, form, self._clock()))

    def _apply_late(self, operation: str, form: Form) -> None:
        def apply() -> None:
            self.late_pending -= 1
            with self.store.transaction():
                self._applied(operation, form)
                self.store.count_up("late_applied")

        self.late_pending += 1
        asyncio.get_running_loop().call_later(self.config.late_seconds, apply)


def _slots(max_parallel: int | None) -> AbstractAsyncContextManager[Any]:
    return nullcontext() if max_parallel is None else asyncio.Semaphore(max_parallel)


async def _form(request: Request) -> Form:
    """The fields of the request; like PHP, a body that isn't a form of a POST has none.

    Every body is read to its end: a connection that is closed over unread bytes ends with a RST.
    """
    body = await request.body()
    query = pairs(request.scope["query_string"].decode("utf-8", "replace"))
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if request.method == "POST" and content_type == _URLENCODED:
        return request_fields(query, pairs(body.decode("utf-8", "replace")))
    if request.method == "POST" and content_type == _MULTIPART:
        async with request.form() as form:
            parts = [(name, part if isinstance(part, str) else None) for name, part in form.multi_items()]
        return request_fields(query, parts)
    return request_fields(query, ())


def phone_of(form: Form) -> str:
    """The phone that the request is about, "" where it names none."""
    if form.get("SearchField") == "Phone":
        return form.get("Identifier", "")
    return next((form[name] for name in _PHONES if form.get(name)), "")


def _subject_of(form: Form) -> str:
    identifier = form.get("Identifier", "")
    return phone_of(form) or (f"{form.get('SearchField', '')}:{identifier}" if identifier else "")


def identifier_of(form: Form) -> tuple[str, str]:
    """The SearchField and Identifier by which the request names its lead, ("", "") where it names none."""
    return form.get("SearchField", ""), form.get("Identifier", "")


def client_id_of(form: Form) -> str:
    """The ClientId that the request is about, "" where it names none."""
    if form.get("SearchField") == "ClientId":
        return form.get("Identifier", "")
    return form.get("ClientId") or form.get("ref", "")


def create_app(config: SandboxConfig, store: Store, clock: Clock = _utc_now) -> Starlette:
    """The sandbox as an ASGI application over `store`, which stays its caller's to close."""
    gateway = Gateway(config, store, clock)
    return Starlette(
        routes=[
            *(_script(script, gateway.endpoint(script)) for script in SCRIPTS),
            Route(f"/dialogtech/{SCRIPT}", gateway.endpoint(SCRIPT), methods=["GET", "POST"]),
            Route("/", _front_page(gateway)),
            Route("/sandbox/state", _json(lambda _: _state(gateway))),
            Route("/sandbox/leads", _json(lambda limit: [_lead_json(x) for x in store.leads(limit)])),
            Route("/sandbox/dials", _json(store.dials)),
            Route("/sandbox/rings", _json(store.rings)),
            Route("/sandbox/requests", _json(store.requests)),
            Route("/sandbox/do-not-call", _json(store.do_not_call)),
            *(Route(f"/sandbox/{name}", _json(partial(store.office.rows, name))) for name in LISTED),
        ]
    )


def _script(name: str, endpoint: _Endpoint) -> Route:
    return Route(f"/HttpImport/{name}", endpoint, methods=["GET", "POST"])


def _state(gateway: Gateway) -> dict[str, Any]:
    return {
        **gateway.store.counts(),
        "faults": gateway.store.faults(),
        "late_applied": gateway.store.gauge("late_applied"),
        "late_pending": gateway.late_pending,
        "max_in_flight": gateway.gauge.max_in_flight,
        "same_phone_in_flight": gateway.gauge.same_phone_in_flight,
        "campaigns": list(gateway.config.campaigns),
        "any_campaign": gateway.config.any_campaign,
        "profile": gateway.config.profile.name,
        "assumed_texts": texts.assumed(gateway.texts),
        "assumed_behaviour": [*texts.ASSUMED_BEHAVIOUR, *ASSUMED],
        "no_answer_posts": gateway.store.gauge("no_answer_posts"),
    }


def _lead_json(lead: Lead) -> dict[str, Any]:
    return detailed(lead) | {"Callback": dict(lead.callback), "Dnc": lead.dnc}


def _json(content: Callable[[int], Any]) -> _Endpoint:
    async def answered(request: Request) -> Response:
        return JSONResponse(content(_limit(request)))

    return answered


def _limit(request: Request) -> int:
    text = request.query_params.get("limit", "")
    if text and not (text.isascii() and text.isdigit() and len(text) < 10):
        raise HTTPException(400, "limit: a whole number")
    return int(text) if text else -1


def _front_page(gateway: Gateway) -> _Endpoint:
    async def answered(_: Request) -> Response:
        return HTMLResponse(page.front(gateway.store, gateway.texts, _state(gateway)))

    return answered
