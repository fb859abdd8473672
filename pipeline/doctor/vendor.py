"""The way to the vendor, step by step, and what it says when it is asked for a lead that is not there."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import ssl
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import MappingProxyType
from typing import NamedTuple
from urllib.parse import urlencode

import httpx

from pipeline import doubt, settings
from pipeline.doctor.visit import Finding, Level, Visit, bad, ok, warn
from pipeline.model import Judgement, Payload, Reply, UserError
from pipeline.replies import judge
from pipeline.tls import tls_context
from pipeline.wire import Wire, judge_failure
from schemas.spec import Operation, Verdict

NOBODY = "leads-doctor-no-such-lead"  # a ClientId
CLOCK_SECONDS = 60.0  # how far our clock may be from the vendor's

_EXCERPT = 160  # characters of a reply that are shown
_SECOND_ADDRESS_SECONDS = 0.25  # how long the first address of a host has before the next is tried beside it


def dns(visit: Visit) -> Finding:
    """Whether the host has an address."""
    try:
        found = asyncio.run(_addresses(visit))
    except OSError as error:
        message = f"{visit.host} can't be resolved: {_reason(error, visit.seconds)}"
        return bad(message, f"check the host in {visit.address_place}, the network and the VPN", 75)
    return ok(f"{visit.host} is {'an address itself' if found == [visit.host] else ', '.join(found)}")


async def _addresses(visit: Visit) -> list[str]:
    async with asyncio.timeout(visit.seconds):
        found = await asyncio.get_running_loop().getaddrinfo(visit.host, visit.port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


def connection(visit: Visit) -> Finding:
    """Whether a connection can be made, without a byte over it."""
    started = time.monotonic()
    try:
        found = asyncio.run(_connected(visit, None))
    except OSError as error:
        step = "check the network, the VPN and the firewall; proxies of the environment are not used"
        if visit.is_rehearsal:
            step = f"start the simulator there (leads sandbox), or mend {visit.address_place}"
        return bad(f"{visit.host} port {visit.port}: {_reason(error, visit.seconds)}", step, 75)
    return ok(f"{found.peer} port {visit.port}, in {_since(started)}")


def tls(visit: Visit) -> Finding:
    """Whether the vendor proves who it is."""
    try:
        context = tls_context()
    except UserError as error:
        return bad(str(error), "mend SSL_CERT_FILE or SSL_CERT_DIR, or unset it", 2)
    if visit.is_rehearsal:
        return ok("none: plain http, and it does not leave this machine")
    try:
        found = asyncio.run(_connected(visit, context))
    except OSError as error:
        message = f"the handshake failed: {_reason(error, visit.seconds)}"
        step = "check this machine's clock; behind a proxy that opens TLS, name its certificates in SSL_CERT_FILE"
        return bad(message, step, 75)
    return ok(found.tls)


class _Connection(NamedTuple):
    """What is known of a connection that was there."""

    peer: str
    tls: str  # "" where there was none


async def _connected(visit: Visit, context: ssl.SSLContext | None) -> _Connection:
    """Connects, with TLS where there is a `context`, and hangs up. Raises OSError, of which TimeoutError is one."""
    async with asyncio.timeout(visit.seconds):
        _, writer = await asyncio.open_connection(
            visit.host, visit.port, ssl=context, happy_eyeballs_delay=_SECOND_ADDRESS_SECONDS
        )
    try:
        return _Connection(writer.get_extra_info("peername")[0], _tls_words(writer))
    finally:
        writer.transport.abort()  # close() would wait for the other end's good-bye


def _tls_words(writer: asyncio.StreamWriter) -> str:
    if (secured := writer.get_extra_info("ssl_object")) is None:
        return ""
    until = datetime.fromtimestamp(ssl.cert_time_to_seconds(secured.getpeercert()["notAfter"]), UTC)
    return f"{secured.version()}, certificate valid until {until:%Y-%m-%d}"


def _reason(error: OSError, seconds: float) -> str:
    match error:
        case TimeoutError():
            return f"no answer in {seconds:g} s"
        case ssl.SSLCertVerificationError():
            return error.verify_message
        case ssl.SSLError():
            return error.reason or "not TLS"
        case socket.gaierror():
            return error.strerror or "no such name"
    number = error.errno or 0
    return os.strerror(number) if number in errno.errorcode else str(error)


class _Answer(NamedTuple):
    """What a verdict on the search means. In `step` stand {credentials}, {base_url} and {vendor}."""

    words: str
    step: str
    exit_code: int
    level: Level = Level.BAD


_LATER = "try again in some minutes; if it lasts, ask {vendor}"
_REFUSED = _Answer(
    "the vendor refused the search",
    "if these words are about the token or the account, mend {credentials}; else ask {vendor} for the right to search: "
    "without it rows in doubt stay unknown",
    2,
)
_ANSWERS: Mapping[Verdict, _Answer] = MappingProxyType(
    {
        Verdict.CREDENTIALS: _Answer(
            "the vendor refused the credentials", "mend {credentials} (see: leads config)", 77
        ),
        Verdict.MISCONFIGURED: _Answer(
            "nothing at that address takes a search", "mend {base_url} (see: leads config)", 2
        ),
        Verdict.NOT_DELIVERED: _Answer("the vendor can't be reached", _LATER, 75),
        Verdict.IN_DOUBT: _Answer("no usable answer", f"see that {{base_url}} is right; {_LATER}", 75),
        Verdict.THROTTLED: _Answer("the vendor asks to slow down", "wait a while, and lower --rate", 0, Level.WARN),
        Verdict.REJECTED: _REFUSED,
        Verdict.DUPLICATE: _REFUSED,
    }
)
_CAMPAIGN_REFUSED = _Answer("the vendor refused it", "mend the name: it is matched character by character", 2)


def login(visit: Visit) -> Finding:
    """Whether the vendor takes the credentials and answers a search."""
    if visit.search is None:
        message = f"{visit.vendor.name} has no search: whether it takes the credentials shows with the first call"
        return warn(message, "load with --limit 1 first")
    started = time.monotonic()
    judgement, visit.reply = asyncio.run(_ask(visit, visit.search, {}))
    visit.replied_at = visit.asked.now()
    if judgement.verdict is not Verdict.ACCEPTED:
        return _told(visit, _ANSWERS[judgement.verdict], judgement)
    return ok(f"{visit.vendor.name} took the credentials, and answered a search in {_since(started)}")


def campaign(visit: Visit, name: str) -> Finding:
    """Whether the vendor objects to a search within this campaign."""
    if visit.search is None:
        return warn(f"{name!r}: {visit.vendor.name} has no search to ask with", "load with --limit 1 first")
    judgement, _ = asyncio.run(_ask(visit, visit.search, {"Campaign": name}))
    if judgement.verdict is Verdict.ACCEPTED:
        return ok(f"{name!r}: no objection (the vendor does not say whether it exists)")
    answer = _CAMPAIGN_REFUSED if judgement.verdict is Verdict.REJECTED else _ANSWERS[judgement.verdict]
    return _told(visit, answer._replace(words=f"{name!r}: {answer.words}"), judgement)


def _told(visit: Visit, answer: _Answer, judgement: Judgement) -> Finding:
    names = {
        "credentials": " and ".join(visit.credential_places.values()),
        "base_url": visit.address_place,
        "vendor": visit.vendor.name,
    }
    message = f"{answer.words}: {_said(judgement)}"
    return Finding(answer.level, message, answer.step.format(**names), answer.exit_code)


def _said(judgement: Judgement) -> str:
    """What came back, as far as a person can use it."""
    if judgement.http_status is None:
        return judgement.message
    if not 200 <= judgement.http_status < 300:
        return f"HTTP {judgement.http_status}"
    text = "".join(letter if letter.isprintable() else " " for letter in judgement.reply or "an empty reply")
    return text if len(text) <= _EXCERPT else f"{text[:_EXCERPT]}…"


async def _ask(visit: Visit, search: Operation, within: Mapping[str, str]) -> tuple[Judgement, Reply | None]:
    """What the vendor answers to the search for a lead that is not there, and the reply if one came."""
    nobody = Payload(0, 0, "", "", "", NOBODY, urlencode(within).encode(), "")
    async with visit.asked.transport() as carrier:
        wire = Wire(
            url=settings.url(visit.settings, search),
            credentials=visit.credentials,
            secrets=settings.secrets_in(visit.credentials, visit.vendor),
            transport=carrier,
            timeout_seconds=visit.seconds,
        )
        try:
            reply = await wire.post(doubt.search_form(search, nobody))
        except httpx.TransportError as error:
            return judge_failure(error), None
    return wire.cleansed(judge(search, reply, visit.asked.now()), reply), reply


def clock(visit: Visit) -> Finding:
    """How far our clock is from the vendor's, by the reply to the login."""
    theirs = _date(visit.reply)
    if theirs is None:
        step = "see that this machine sets its clock by itself (timedatectl)"
        return warn("can't be told: no reply said what time it is", step)
    ahead = (visit.replied_at - theirs).total_seconds()
    if abs(ahead) <= CLOCK_SECONDS:
        return ok(f"within {CLOCK_SECONDS:.0f} s of the vendor's")
    message = (
        f"{abs(ahead) / 60:,.0f} min {'ahead of' if ahead > 0 else 'behind'} the vendor's: rows in doubt rest by it, "
        "and the ledger orders runs by it"
    )
    return warn(message, "set it, and let this machine keep it set (timedatectl set-ntp true)")


def _date(reply: Reply | None) -> datetime | None:
    """When the reply was made, by its sender's clock; None where it does not say."""
    try:
        at = parsedate_to_datetime(reply.date if reply else "")
    except ValueError:
        return None
    return at.replace(tzinfo=at.tzinfo or UTC)


def _since(started: float) -> str:
    return f"{(time.monotonic() - started) * 1000:,.0f} ms"
