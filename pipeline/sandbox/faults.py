"""Every way of going wrong, by name.

The name says what has become of the lead: `stored_…` is applied and then goes wrong, `late_…` is applied
`late_seconds` afterwards, and nothing is applied by the others. A search applies nothing, so that for it
`stored_truncated` is just a truncated reply.

What a proxy and libcurl write in such cases is public; that this vendor's gateway passes on such texts is
inferred (grade C).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

from pipeline.sandbox.texts import TEXTS

NO_FAULT = "none"


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back to the caller."""

    body: str
    http_status: int = 200
    headers: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    after_seconds: float = 0.0  # what it takes the vendor to come to it


NO_ANSWER = Answer("")


class Phase(StrEnum):
    """When the operation is applied."""

    BEFORE_STORE = "before_store"  # not at all: it goes wrong before that
    AFTER_STORE = "after_store"  # before it goes wrong
    LATE_STORE = "late_store"  # `late_seconds` after the request


class Ending(StrEnum):
    """How the caller's wait ends."""

    REPLY = "reply"  # with a whole reply
    SLOW = "slow"  # with a whole reply, after `slow_seconds`
    TRUNCATED = "truncated"  # with the beginning of the reply, as if that were all
    SHORT = "short"  # with the beginning of the reply under the Content-Length of the whole, and a FIN
    CLOSE = "close"  # with a FIN and no reply
    RESET = "reset"  # with a RST and no reply
    SILENCE = "silence"  # when the caller hangs up, or with a FIN after `silence_seconds`


NO_REPLY = frozenset({Ending.CLOSE, Ending.RESET, Ending.SILENCE})


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One way of going wrong. `answer` stands in for the true reply; None keeps that."""

    name: str
    phase: Phase
    ending: Ending = Ending.REPLY
    answer: Answer | None = None
    searches_too: bool = True


def _page(title: str) -> str:
    return f"<html>\r\n<head><title>{title}</title></head>\r\n<body><h1>{title}</h1></body>\r\n</html>\r\n"


def _proxy(http_status: int, reason: str, **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(_page(f"{http_status} {reason}"), http_status, MappingProxyType(named))


_BAD_GATEWAY = _proxy(502, "Bad Gateway")
_GATEWAY_TIMEOUT = _proxy(504, "Gateway Time-out")
# libcurl's 7 between gateway and dialer: couldn't connect, so the dialer never saw it.
_CURL_7 = Answer("<br><br>Result: CURL error[7]: Failed to connect to dialer port 80: Connection refused")
_CURL_28 = Answer("<br><br>Result: CURL error[28]: Operation timed out after 30000 milliseconds with 0 bytes received")

_BEFORE, _AFTER, _LATE = Phase.BEFORE_STORE, Phase.AFTER_STORE, Phase.LATE_STORE
_ALL = (
    Fault(name="stored_timeout", phase=_AFTER, ending=Ending.SILENCE),
    Fault(name="stored_reset", phase=_AFTER, ending=Ending.RESET),
    Fault(name="stored_close", phase=_AFTER, ending=Ending.CLOSE),
    Fault(name="stored_502", phase=_AFTER, answer=_BAD_GATEWAY),
    Fault(name="stored_504", phase=_AFTER, answer=_GATEWAY_TIMEOUT),
    Fault(name="stored_empty", phase=_AFTER, answer=Answer("")),
    Fault(name="stored_truncated", phase=_AFTER, ending=Ending.TRUNCATED),
    Fault(name="stored_short", phase=_AFTER, ending=Ending.SHORT),
    Fault(name="stored_html", phase=_AFTER, answer=Answer(_page("Service temporarily unavailable"))),
    Fault(name="stored_curl_28", phase=_AFTER, answer=_CURL_28),
    Fault(name="slow_reply", phase=_AFTER, ending=Ending.SLOW),
    Fault(name="late_timeout", phase=_LATE, ending=Ending.SILENCE),
    Fault(name="late_504", phase=_LATE, answer=_GATEWAY_TIMEOUT),
    Fault(name="hang", phase=_BEFORE, ending=Ending.SILENCE),
    Fault(name="reset", phase=_BEFORE, ending=Ending.RESET),
    Fault(name="close", phase=_BEFORE, ending=Ending.CLOSE),
    Fault(name="http_429", phase=_BEFORE, answer=_proxy(429, "Too Many Requests", Retry_After="1")),
    Fault(name="http_502", phase=_BEFORE, answer=_BAD_GATEWAY),
    Fault(name="http_503", phase=_BEFORE, answer=_proxy(503, "Service Unavailable", Retry_After="1")),
    Fault(name="curl_7", phase=_BEFORE, answer=_CURL_7),
    # A search can't be falsely OK: its answer is JSON.
    Fault(name="false_ok", phase=_BEFORE, answer=Answer(TEXTS["ok"].body), searches_too=False),
)
FAULTS: Mapping[str, Fault] = MappingProxyType({fault.name: fault for fault in _ALL})


def sent_body(ending: Ending, answer: Answer) -> str:
    """What the caller gets to see of the answer's body."""
    if ending in NO_REPLY:
        return ""
    return _beginning(answer.body) if ending in {Ending.TRUNCATED, Ending.SHORT} else answer.body


def _beginning(body: str) -> str:
    # Not a whole word of "Result", and not the whole JSON of a search that found nothing.
    return body[: min(len("<br><br>Resul"), len(body) - 1)]
