"""DialogTech's Click-to-FindMe List, as far as the vendor's page tells: a log of phones that would have rung."""

from __future__ import annotations

import asyncio
import ipaddress
import secrets
import ssl
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from html import escape
from types import MappingProxyType
from urllib.parse import urlsplit

import httpx

from pipeline.sandbox.config import FindMeConfig
from pipeline.sandbox.faults import Answer
from pipeline.sandbox.php import Form
from pipeline.sandbox.state import Ring, Store

FIND_ME = "ClickToFindMe.List"
SCRIPT = "ibp_api.php"

# What the sandbox does where the vendor's page is silent.
ASSUMED = (
    "DialogTech: a POST is taken like a GET",
    "DialogTech: the plain text of a reply is its result and its description, with a blank between them",
    "DialogTech: INVALID ACCOUNT comes as the result, with nothing behind it (seen in a sibling action)",
    "DialogTech: a call without action, list or phone_to_call fails with unknown",
    "DialogTech: values out of range, and parameters that go only with others, are not refused",
    "DialogTech: with type=2 a call whose list never answers fails, after loop_count times through the list in order",
    "DialogTech: no_answer_url gets its POST only where it is an http address of this machine",
)

_XML = """<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE response [
\x20
<!ELEMENT response (result,result_description,sid)>
<!ELEMENT result (#PCDATA)>
<!ELEMENT result_description (#PCDATA)>
<!ELEMENT sid (#PCDATA)>
 ]>
<response>
 <result>{result}</result>
 <result_description>{description}</result_description>
 <sid>{sid}</sid>
</response>"""
_NO_ANSWER = """<?xml version="1.0" encoding="UTF-8"?>
<response>
\t<phone_to_call>{phone}</phone_to_call>
\t<attempts>
{attempts}\t</attempts>
</response>
"""
_ATTEMPT = """\t\t<attempt>
\t\t\t<called_number>{number}</called_number>
\t\t\t<call_result>No Answer</call_result>
\t\t</attempt>
"""
_POST_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class _Call:
    """What a form asks for."""

    numbers: Sequence[str]
    phone: str
    list_first: bool
    rounds: int
    ref: str

    @classmethod
    def of(cls, form: Form) -> _Call:
        count = form.get("loop_count", "")
        rounds = int(count) if count in {"1", "2", "3", "4", "5"} else 1
        numbers = [number for number in form.get("list", "").split("|") if number]
        list_first = form.get("type") == "2"
        return cls(numbers, form.get("phone_to_call", ""), list_first, rounds, form.get("ref", ""))

    def legs(self) -> Iterator[tuple[str, Sequence[str]]]:
        """The parameter and the numbers of each leg, in the order in which they ring."""
        through = ("list", [*self.numbers] * self.rounds)
        alone = ("phone_to_call", [self.phone])
        yield from (through, alone) if self.list_first else (alone, through)


class FindMe:
    """Answers calls, and writes down which phones would have rung for them."""

    def __init__(self, config: FindMeConfig, store: Store) -> None:
        self._config, self._store = config, store
        self._posts: set[asyncio.Task[None]] = set()

    def answer(self, form: Form, now: datetime) -> Answer:
        """The reply, after the first leg was answered or not. Belongs in a transaction."""
        if not self._is_known(form):
            return self._reply("INVALID ACCOUNT", "", "")
        call = _Call.of(form)
        sid = secrets.token_hex(8)
        if form.get("action") != "clickto.findme" or not (call.numbers and call.phone):
            return self._reply("failed", "unknown", sid)
        first = self._rung(call, sid, now)
        seconds = len(first) * self._config.ring_seconds
        if first[-1].answered:
            return self._reply("success", "Call Connected", sid, seconds)
        if call.list_first and form.get("no_answer_url"):
            self._tell(form["no_answer_url"], call)
        return self._reply("failed", "unknown", sid, seconds)

    def _is_known(self, form: Form) -> bool:
        config = self._config
        pair = (form.get("access_key"), form.get("secret_access_key"))
        return form.get("key") == config.key or pair == (config.access_key, config.secret_access_key)

    def _rung(self, call: _Call, sid: str, now: datetime) -> list[Ring]:
        """The rings of the first leg; those of the second follow in the log where somebody answered."""
        legs = []
        for leg, (part, numbers) in enumerate(call.legs(), start=1):
            rings = []
            for number in numbers:
                answered = number not in self._config.unanswered
                rings.append(Ring(now.isoformat(), sid, number, part, leg, answered, call.ref))
                self._store.add_ring(rings[-1])
                if answered:
                    break
            legs.append(rings)
            if not rings[-1].answered:
                break
        return legs[0]

    def _reply(self, result: str, description: str, sid: str, seconds: float = 0.0) -> Answer:
        if self._config.plain_text:
            text, kind = f"{result} {description}".strip(), "text/plain"
        else:
            text, kind = _XML.format(result=result, description=description, sid=sid), "text/xml"
        return Answer(text, headers=MappingProxyType({"Content-Type": f"{kind}; charset=utf-8"}), after_seconds=seconds)

    def _tell(self, url: str, call: _Call) -> None:
        """Posts to `no_answer_url` what became of the attempts; never to another machine."""
        if not _is_this_machine(url):
            return
        attempts = "".join(_ATTEMPT.format(number=escape(number)) for number in [*call.numbers] * call.rounds)
        told = _NO_ANSWER.format(phone=escape(call.phone), attempts=attempts)
        post = asyncio.get_running_loop().create_task(self._post(url, told))
        self._posts.add(post)
        post.add_done_callback(self._posts.discard)

    async def _post(self, url: str, told: str) -> None:
        # An address of this machine is plain http: no certificates are loaded, and none would be trusted.
        nobody = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        async with httpx.AsyncClient(verify=nobody, trust_env=False, timeout=_POST_SECONDS) as client:
            try:
                await client.post(url, content=told.encode(), headers={"Content-Type": "text/xml"})
            except httpx.TransportError:
                return  # nobody listens there: the log of rings tells what it would have said
        with self._store.transaction():
            self._store.count_up("no_answer_posts")


def _is_this_machine(url: str) -> bool:
    try:
        parts = urlsplit(url)
        if parts.scheme != "http" or not parts.hostname:
            return False
        return parts.hostname == "localhost" or ipaddress.ip_address(parts.hostname).is_loopback
    except ValueError:
        return False
