"""httpx's transport interface with aiohttp underneath: cheap, and honest about what was sent.

httpx's own connection pool costs some 25 times the processor of aiohttp's at 32 connections. This transport
keeps httpx's types and aiohttp's wire. What matters more than speed is the phase of a failure: an exception
that says "never sent" makes its caller send again, so only what aiohttp's connector raises may say so.

Nothing is sent twice here: aiohttp's own resending of idempotent requests is cut off, redirects are not
followed. No proxies, credentials or cookies come from the environment.
"""

from __future__ import annotations

import asyncio
import errno
import os
import ssl
from contextvars import ContextVar
from functools import lru_cache

import aiohttp
import httpx
from aiohttp.abc import AbstractResolver
from aiohttp.client_reqrep import ClientRequest, ClientResponse
from aiohttp.connector import Connection
from aiohttp.tracing import Trace
from yarl import URL

from pipeline.model import UserError

MAX_REPLY_BYTES = 1024 * 1024

# Below Apache's default of 5 s: a connection that the server is just closing costs a doubt, which takes a
# minute and a search to settle; a new connection costs a handshake.
KEEPALIVE_SECONDS = 4.0
_DNS_SECONDS = 60

# First match wins. The first group is raised by aiohttp's connector alone, before a byte of the request.
_FAILURES: tuple[tuple[type[Exception], type[httpx.TransportError], str], ...] = (
    (aiohttp.ConnectionTimeoutError, httpx.ConnectTimeout, "no connection in time"),
    (aiohttp.ClientConnectorDNSError, httpx.ConnectError, "the host name can't be resolved"),
    (aiohttp.ClientSSLError, httpx.ConnectError, "the TLS handshake failed"),
    (aiohttp.ClientConnectorError, httpx.ConnectError, "no connection"),
    (aiohttp.InvalidURL, httpx.ConnectError, "the address can't be used"),
    # From here on a byte may have left.
    (TimeoutError, httpx.ReadTimeout, "no complete reply in time"),
    (aiohttp.ServerDisconnectedError, httpx.RemoteProtocolError, "the server hung up without a reply"),
    (aiohttp.ClientPayloadError, httpx.RemoteProtocolError, "the reply is cut off"),
    (aiohttp.ClientResponseError, httpx.RemoteProtocolError, "the reply is not HTTP"),
    (BrokenPipeError, httpx.WriteError, "the connection broke while sending"),
    (aiohttp.ClientConnectionResetError, httpx.WriteError, "the connection was closed before sending ended"),
    (OSError, httpx.ReadError, "the connection broke"),
    (aiohttp.ClientError, httpx.ReadError, "the connection failed"),
)

# aiohttp has undone these; httpx would undo them again.
_TRANSFER_HEADERS = frozenset({b"content-encoding", b"content-length", b"transfer-encoding"})

# The reply's deadline and its length in seconds, for the connector, which knows when to start it.
_deadline: ContextVar[tuple[asyncio.Timeout, float | None]] = ContextVar("deadline")


class AiohttpTransport(httpx.AsyncBaseTransport):
    """Sends httpx requests over aiohttp; one event loop, at most `connections` at a time.

    Reads httpx's timeouts from the request: `pool` bounds the wait for a free connection, `connect` the name
    lookup, the connection and the TLS handshake together, `read` everything from then to the last byte of the
    reply, however steadily it drips. `write` is part of `read`.

    Raises, before a byte has left: httpx.PoolTimeout, ConnectTimeout, ConnectError. After: ReadTimeout,
    ReadError, WriteError, and RemoteProtocolError where the reply is missing, cut off, no HTTP, or larger than
    `max_reply_bytes`. No message holds a URL, a header or a body, and no cause is chained.
    """

    def __init__(
        self,
        *,
        connections: int,
        keepalive_seconds: float = KEEPALIVE_SECONDS,
        max_reply_bytes: int = MAX_REPLY_BYTES,
        ssl_context: ssl.SSLContext | None = None,
        resolver: AbstractResolver | None = None,
    ) -> None:
        self._slots = asyncio.Semaphore(connections)
        self._keepalive_seconds = keepalive_seconds
        self._max_reply_bytes = max_reply_bytes
        self._ssl_context = ssl_context or tls_context()
        self._resolver = resolver
        self._session: aiohttp.ClientSession | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """The reply to `request`, read to its end and decompressed."""
        body = await _body(request)
        limits = request.extensions.get("timeout", {})
        await self._take_slot(limits.get("pool"))
        try:
            return await self._send(request, body, limits.get("connect"), limits.get("read"))
        except (aiohttp.ClientError, OSError) as error:
            failure = _translated(error)
        finally:
            self._slots.release()
        raise failure  # outside the handler: aiohttp's errors hold headers and URLs, so none is chained

    async def aclose(self) -> None:
        """Closes all connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _take_slot(self, seconds: float | None) -> None:
        if not self._slots.locked():
            await self._slots.acquire()
            return
        try:
            async with asyncio.timeout(seconds):
                await self._slots.acquire()
        except TimeoutError:
            raise httpx.PoolTimeout("no free connection in time") from None

    async def _send(
        self, request: httpx.Request, body: bytes, connect: float | None, read: float | None
    ) -> httpx.Response:
        session = self._session or self._open()
        whole = None if connect is None or read is None else connect + read
        async with asyncio.timeout(whole) as deadline:
            _deadline.set((deadline, read))
            async with session.request(
                request.method,
                _url(str(request.url)),
                data=body or None,
                headers=[(name.decode("ascii"), value.decode("latin-1")) for name, value in request.headers.raw],
                allow_redirects=False,
                timeout=_connect_timeout(connect),
            ) as reply:
                content = await self._content(reply)
        return httpx.Response(
            reply.status,
            headers=[pair for pair in reply.raw_headers if pair[0].lower() not in _TRANSFER_HEADERS],
            stream=httpx.ByteStream(content),
        )

    async def _content(self, reply: ClientResponse) -> bytes:
        chunks: list[bytes] = []
        size = 0
        async for chunk in reply.content.iter_any():
            size += len(chunk)
            if size > self._max_reply_bytes:
                raise httpx.RemoteProtocolError(f"the reply is larger than {self._max_reply_bytes} bytes")
            chunks.append(chunk)
        return b"".join(chunks)

    def _open(self) -> aiohttp.ClientSession:
        self._session = aiohttp.ClientSession(
            connector=_Connector(
                limit=0,  # the slots are the limit: waiting for one is told apart from connecting
                keepalive_timeout=self._keepalive_seconds,
                ttl_dns_cache=_DNS_SECONDS,
                ssl=self._ssl_context,
                resolver=self._resolver,
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            middlewares=(_only_once,),
            trust_env=False,
        )
        return self._session


@lru_cache(maxsize=16)  # a run posts to one or two addresses
def _url(text: str) -> URL:
    return URL(text, encoded=True)


async def _body(request: httpx.Request) -> bytes:
    stream = request.stream
    if isinstance(stream, httpx.ByteStream):
        return b"".join(stream)  # in memory already: 18 µs less than aread()
    return await request.aread()


class _Connector(aiohttp.TCPConnector):
    """Hands out clean connections, and starts the reply's deadline when one is ready."""

    async def connect(
        self,
        req: ClientRequest,
        traces: list[Trace],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 -- the signature is aiohttp's
    ) -> Connection:
        connection = await super().connect(req, traces, timeout)
        # Bytes that came unasked on an idle connection would be taken for the reply to this request.
        while connection.protocol is None or connection.protocol.should_close:
            connection.close()
            connection = await super().connect(req, traces, timeout)
        deadline, seconds = _deadline.get()
        deadline.reschedule(None if seconds is None else asyncio.get_running_loop().time() + seconds)
        return connection


async def _only_once(request: ClientRequest, handler: aiohttp.ClientHandlerType) -> ClientResponse:
    """aiohttp resends GET and PUT when a kept connection breaks; it does not when the error isn't its own."""
    try:
        return await handler(request)
    except (aiohttp.ClientError, OSError) as error:
        failure = _translated(error)
    raise failure


def _translated(error: Exception) -> httpx.TransportError:
    kind, words = next((kind, words) for raised, kind, words in _FAILURES if isinstance(error, raised))
    detail = _detail(error)
    return kind(f"{words}: {detail}" if detail else words)


def _detail(error: Exception) -> str:
    """What the operating system or the TLS library says; never aiohttp's text, which may hold a URL."""
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    if isinstance(cause, ssl.SSLCertVerificationError):
        return cause.verify_message
    if isinstance(cause, ssl.SSLError):
        return cause.reason or ""
    number = (cause.errno if isinstance(cause, OSError) else None) or 0
    return os.strerror(number) if number in errno.errorcode else ""


@lru_cache(maxsize=32)
def _connect_timeout(seconds: float | None) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(connect=seconds, ceil_threshold=seconds or 0)  # not rounded to whole seconds


@lru_cache(maxsize=1)
def tls_context() -> ssl.SSLContext:
    """certifi's authorities, or those that SSL_CERT_FILE or SSL_CERT_DIR names, as httpx has it.

    Raises UserError where those can't be read: before anything is sent, and not as a failure of some call.
    """
    try:
        context = httpx.create_ssl_context()
    except OSError as error:
        raise UserError(f"the certificates of SSL_CERT_FILE or SSL_CERT_DIR can't be read: {error}") from None
    context.set_alpn_protocols(["http/1.1"])
    return context
