"""Sends one form and gets one reply, and says what a failure on the way means.

A failure is judged by its phase: never sent may be sent again, anything later is in doubt.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from enum import StrEnum
from functools import lru_cache
from types import MappingProxyType
from typing import NamedTuple
from urllib.parse import quote, quote_plus, unquote_plus, urlencode

import httpx

from pipeline.files import is_loopback
from pipeline.model import Judgement, Reply, UserError
from schemas.spec import Verdict

CONNECT_SECONDS = 10.0
REDACTED = "[secret]"

_CHARSET = re.compile(r"charset\s*=\s*[\"']?([\w.:-]+)", re.IGNORECASE)
_URL = re.compile(r"\S*://\S*")
_MAX_MESSAGE = 200  # characters
_SHORT = 500  # characters of a reply that is looked through once
_TELLING = 8  # characters of a secret that tell it


class Phase(StrEnum):
    """Whether a byte of the request may have left."""

    NEVER_SENT = "never_sent"
    IN_DOUBT = "in_doubt"


class Failure(NamedTuple):
    """What an exception of the transport means."""

    phase: Phase
    code: str
    words: str


# By the nearest class. Whatever is not listed as never sent is in doubt.
FAILURES: Mapping[type[httpx.TransportError], Failure] = MappingProxyType(
    {
        httpx.ConnectError: Failure(Phase.NEVER_SENT, "connect_error", "could not connect"),
        httpx.ConnectTimeout: Failure(Phase.NEVER_SENT, "connect_timeout", "no connection in time"),
        httpx.PoolTimeout: Failure(Phase.NEVER_SENT, "pool_timeout", "no free connection in time"),
        httpx.ReadTimeout: Failure(Phase.IN_DOUBT, "read_timeout", "sent, no complete reply in time"),
        httpx.WriteTimeout: Failure(Phase.IN_DOUBT, "write_timeout", "sending did not end in time"),
        httpx.ReadError: Failure(Phase.IN_DOUBT, "connection_reset", "the connection broke before the reply"),
        httpx.WriteError: Failure(Phase.IN_DOUBT, "write_error", "the connection broke while sending"),
        httpx.CloseError: Failure(Phase.IN_DOUBT, "close_error", "the connection did not close properly"),
        httpx.RemoteProtocolError: Failure(Phase.IN_DOUBT, "no_reply", "no usable reply"),
        httpx.TransportError: Failure(Phase.IN_DOUBT, "transport_error", "the request failed"),
    }
)
_VERDICTS = MappingProxyType({Phase.NEVER_SENT: Verdict.NOT_DELIVERED, Phase.IN_DOUBT: Verdict.IN_DOUBT})


def judge_failure(error: httpx.TransportError) -> Judgement:
    """NOT_DELIVERED or IN_DOUBT, by the phase of `error`; the message is one line without URLs."""
    failure = FAILURES[_kind(error)]
    return Judgement(_VERDICTS[failure.phase], failure.code, _line(str(error)) or failure.words)


class Wire:
    """Sends forms to one endpoint, with the credentials, which are kept out of repr and errors, and of a POST's URL.

    No reply or error carries one of `secrets` further: by default all of the credentials' values. With the `method` GET
    all of them are in the URL, which nothing here tells anyone. `longest` gives the seconds that a reply to a body may
    take, where these are more than `timeout_seconds`.

    Calls `transport` directly: an httpx.AsyncClient around it would cost 80 to 170 µs of processor more per
    request (measured: 20 µs here, 100 µs by its `send`, 190 µs by its `post`). Whoever made the transport closes it.
    """

    def __init__(
        self,
        *,
        url: str,
        credentials: Mapping[str, str],
        transport: httpx.AsyncBaseTransport,
        timeout_seconds: float,
        secrets: Collection[str] | None = None,
        method: str = "POST",
        longest: Callable[[bytes], float] | None = None,
    ) -> None:
        self._url = httpx.URL(url)
        self._credentials = urlencode(credentials).encode()
        kept = credentials.values() if secrets is None else secrets
        self._echo = re.compile("|".join(map(re.escape, _spellings(kept))) or r"(?!)", re.IGNORECASE)
        self._squeezed = [_squeezed(secret) for secret in kept if secret]
        self._short_holds_secret = lru_cache(maxsize=256)(self._holds_secret)  # most replies are a handful of texts
        self._transport = transport
        self._headers = httpx.Headers(
            [(b"Host", self._url.netloc), (b"Accept", b"*/*"), (b"User-Agent", b"dialedin-leads")]
        )
        self._form_headers = lru_cache(maxsize=1024)(self._headers_of_form)  # forms differ little in their lengths
        self._method, self._longest, self._timeout_seconds = method, longest, timeout_seconds
        self._extensions = _limits(timeout_seconds)

    def __repr__(self) -> str:
        return f"Wire({self._url.scheme}://{self._url.netloc.decode()}{self._url.path})"

    async def post(self, body: bytes) -> Reply:
        """The reply to the form `body`, whatever its HTTP status.

        Raises httpx.TransportError alone; `judge_failure` says what it means. The error holds no request.
        """
        try:
            response = await self._transport.handle_async_request(self._request(body))
            told = _telling_headers(response)
            content = await _content(response, is_packed=b"content-encoding" in told)
        except httpx.TransportError as error:
            failure = self._bare(error)
        except httpx.DecodingError:
            failure = httpx.RemoteProtocolError("the reply can't be decompressed")
        else:
            return _reply(response.status_code, told, content)
        raise failure  # outside the handler: the original may hold the request, so it is not chained

    def _request(self, body: bytes) -> httpx.Request:
        form = body + b"&" + self._credentials if body and self._credentials else body or self._credentials
        extensions = self._extensions
        if self._longest is not None:
            extensions = _limits(max(self._longest(body), self._timeout_seconds))
        if self._method == "GET":
            return httpx.Request("GET", _with_query(self._url, form), headers=self._headers, extensions=extensions)
        return httpx.Request(
            "POST",
            self._url,
            headers=self._form_headers(len(form)),
            stream=httpx.ByteStream(form),
            extensions=extensions,
        )

    def _headers_of_form(self, length: int) -> httpx.Headers:
        content = [(b"Content-Type", b"application/x-www-form-urlencoded"), (b"Content-Length", b"%d" % length)]
        return httpx.Headers([*self._headers.raw, *content])

    def cleansed(self, judgement: Judgement, reply: Reply) -> Judgement:
        """The judgement; with nothing of the reply in it where the server repeated a secret, in whatever spelling."""
        if not (self._holds_secret if len(reply.body) > _SHORT else self._short_holds_secret)(reply.body):
            return judgement
        result = json.dumps(REDACTED) if judgement.result else None
        return replace(judgement, reply=REDACTED, message=REDACTED if judgement.message else "", result=result)

    def _holds_secret(self, body: str) -> bool:
        """Whether a secret is in the text: as it is, wrapped, encoded more than once, or cut off at its end."""
        text = body.replace("\ufffd", "").replace("\0", "")
        if self._echo.search(text):
            return True
        plain = _squeezed(html.unescape(unquote_plus(unquote_plus(text))))
        return any(secret in plain or _ends_in(plain, secret) for secret in self._squeezed)

    def _bare(self, error: httpx.TransportError) -> httpx.TransportError:
        text = str(error)
        return _kind(error)("" if self._echo.search(text) else _line(text))


def _limits(seconds: float) -> dict[str, dict[str, float]]:
    """httpx's timeouts: a connection is not waited for as long as a reply."""
    return {"timeout": {"pool": seconds, "connect": min(CONNECT_SECONDS, seconds), "write": seconds, "read": seconds}}


def _with_query(url: httpx.URL, form: bytes) -> httpx.URL:
    """The URL with the form as its query. Raises httpx.ConnectError where it is too long for a URL: nothing leaves."""
    try:
        return url.copy_with(query=form)
    except httpx.InvalidURL:
        raise httpx.ConnectError("the form is too long for a URL: use POST") from None


def check_base_url(url: str) -> None:
    """Raises UserError where `url` can't be the address that paths are appended to.

    It is https, or http to this machine; has a host and a path that ends in "/"; and holds no user name,
    query or fragment. The messages show no part of it but the host, since the rest may be a secret.
    """
    try:
        parsed = httpx.URL(url)
        parsed.host.encode("idna")
    except (httpx.InvalidURL, ValueError):
        raise UserError("the base URL can't be read: write it as https://HOST/PATH/") from None
    if parsed.scheme not in {"http", "https"} or not parsed.host:
        raise UserError("the base URL must be of the form https://HOST/PATH/")
    if " " in url or not 0 < (parsed.port or 443) < 65536:
        raise UserError("the base URL can't be read: check the host and the port in https://HOST:PORT/PATH/")
    if parsed.userinfo:
        raise UserError("the base URL holds a user name or password: credentials have settings of their own")
    if "?" in url or "#" in url:
        raise UserError('the base URL holds "?" or "#": leave that part out')
    if not parsed.path.endswith("/") or not url.endswith("/"):
        raise UserError('the base URL must end in "/": add the trailing slash')
    if parsed.scheme == "http" and not is_loopback(parsed.host):
        raise UserError(f"the base URL sends credentials to {parsed.host} in plain text: use https")


def _spellings(secrets: Iterable[str]) -> list[str]:
    """How a server may repeat a secret: as it is, quoted for a URL, escaped for HTML or JSON; the longest first."""
    found = set()
    for secret in filter(None, secrets):
        in_json = json.dumps(secret)[1:-1]
        found |= {
            secret,
            quote(secret, safe=""),
            quote_plus(secret),
            html.escape(secret),
            html.escape(secret, quote=False),
        }
        found |= {in_json, in_json.replace("/", "\\/"), "".join(f"%{byte:02x}" for byte in secret.encode())}
    return sorted(found, key=len, reverse=True)


def _squeezed(text: str) -> str:
    return "".join(text.split()).casefold()


def _ends_in(text: str, secret: str) -> bool:
    """Whether the text was cut off within a secret, of which enough is left to be one."""
    return any(text.endswith(secret[:length]) for length in range(_TELLING, len(secret)))


def _kind(error: httpx.TransportError) -> type[httpx.TransportError]:
    return next(kind for kind in type(error).__mro__ if kind in FAILURES)


def _line(text: str) -> str:
    return " ".join(_URL.sub("[url]", text).split())[:_MAX_MESSAGE]


_TELLING_HEADERS = frozenset({b"content-type", b"content-encoding", b"retry-after", b"date"})


def _telling_headers(response: httpx.Response) -> dict[bytes, str]:
    """The headers that matter, by their names in lower case: one look, where `headers.get` takes one for each."""
    found: dict[bytes, str] = {}
    for name, value in response.headers.raw:
        if (key := name.lower()) in _TELLING_HEADERS:
            text = value.decode("utf-8", errors="replace")
            found[key] = f"{found[key]}, {text}" if key in found else text
    return found


def _reply(http_status: int, told: Mapping[bytes, str], content: bytes) -> Reply:
    content_type = told.get(b"content-type", "")
    return Reply(
        http_status=http_status,
        body=_decoded(content, content_type),
        content_type=content_type,
        retry_after=told.get(b"retry-after", ""),
        date=told.get(b"date", ""),
    )


async def _content(response: httpx.Response, *, is_packed: bool) -> bytes:
    stream = response.stream
    if isinstance(stream, httpx.ByteStream) and not is_packed:
        return b"".join(stream)  # in memory and not compressed: 20 µs less than aread()
    try:
        return await response.aread()
    finally:
        await response.aclose()


@lru_cache(maxsize=64)
def _charset(content_type: str) -> str:
    found = _CHARSET.search(content_type)
    return found[1] if found else "utf-8"


def _decoded(content: bytes, content_type: str) -> str:
    try:
        text = content.decode(_charset(content_type), errors="replace")
    except (LookupError, ValueError):  # no such charset, or one that can't replace
        text = content.decode("utf-8", errors="replace")
    return text.removeprefix("\ufeff")  # PHP files saved with a byte order mark print it
