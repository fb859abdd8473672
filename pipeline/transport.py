"""httpx's transport interface over connections of our own: cheap, and honest about what was sent.

httpx's pool costs some 25 times the processor of a bare connection at 32 of them, and adapters of other clients
have lied about the phase of a failure. What matters more than speed is that phase: an exception that says "never
sent" makes its caller send again. Here it is plain to see: what `_connect` raises comes before a byte of the request,
what `Connection.exchange` raises after.

Nothing is sent twice, redirects are not followed, and no proxies, credentials or cookies come from the environment.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import zlib
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable
from functools import lru_cache
from typing import NamedTuple, cast

import aiohappyeyeballs
import httpx

from pipeline.connection import Connection, RawReply, told, too_large
from pipeline.tls import resuming, tls_context

MAX_REPLY_BYTES = 1024 * 1024

# Below Apache's default of 5 s: a connection that the server is just closing costs a doubt, which takes a
# minute and a search to settle; a new connection costs a handshake.
KEEPALIVE_SECONDS = 4.0
_DNS_SECONDS = 60.0
_NEXT_ADDRESS_SECONDS = 0.25  # until the next address of a name is tried beside one that is slow

_COMPRESSED = {b"gzip": 16 + zlib.MAX_WBITS, b"x-gzip": 16 + zlib.MAX_WBITS, b"deflate": zlib.MAX_WBITS}
_UNPACKED = frozenset({b"content-encoding", b"content-length", b"transfer-encoding"})  # headers of what came

Address = tuple[int, int, int, str, tuple[str, int] | tuple[str, int, int, int]]  # as getaddrinfo has it
Resolve = Callable[[str, int], Awaitable[list[Address]]]


class _Origin(NamedTuple):
    host: str
    port: int
    tls: bool


class PooledTransport(httpx.AsyncBaseTransport):
    """Sends httpx requests; one event loop, at most `connections` at a time.

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
        resolve: Resolve | None = None,
    ) -> None:
        self._slots = asyncio.Semaphore(connections)
        self._keepalive_seconds = keepalive_seconds
        self._max_reply_bytes = max_reply_bytes
        self._ssl_context = resuming(ssl_context or tls_context())
        self._names = _Names(resolve or _resolve)
        self._free: defaultdict[_Origin, deque[Connection]] = defaultdict(deque)  # the one used last is at the end

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """The reply to `request`, read to its end and decompressed."""
        encoded = await _encoded(request)
        limits = request.extensions.get("timeout", {})
        await self._take_slot(limits.get("pool"))
        try:
            origin = _origin(request.url)
            connection = self._kept(origin) or await self._connect(origin, limits.get("connect"))
            reply = await connection.exchange(encoded, limits.get("read"))
            if connection.is_free:
                self._free[origin].append(connection)
        finally:
            self._slots.release()
        return _response(reply, self._max_reply_bytes)

    async def aclose(self) -> None:
        """Closes all connections."""
        for connections in self._free.values():
            for connection in connections:
                connection.close()
        self._free.clear()
        await asyncio.sleep(0)  # asyncio closes a socket on its next turn

    async def _take_slot(self, seconds: float | None) -> None:
        if not self._slots.locked():
            await self._slots.acquire()
            return
        try:
            async with asyncio.timeout(seconds):
                await self._slots.acquire()
        except TimeoutError:
            raise httpx.PoolTimeout("no free connection in time") from None

    def _kept(self, origin: _Origin) -> Connection | None:
        """The connection used last, if it is in order; those that were free for too long are closed."""
        free = self._free[origin]
        if not free:
            return None
        oldest = free[-1].now - self._keepalive_seconds
        while free and (free[0].free_since < oldest or not free[0].is_free):
            free.popleft().close()
        while free:
            connection = free.pop()
            if connection.is_free:
                return connection
        return None

    async def _connect(self, origin: _Origin, seconds: float | None) -> Connection:
        """A new connection. Raises httpx.ConnectTimeout or ConnectError: nothing has left."""
        try:
            async with asyncio.timeout(seconds):
                return await self._connected(origin)
        except TimeoutError:
            failure: httpx.TransportError = httpx.ConnectTimeout("no connection in time")
        except socket.gaierror:
            failure = httpx.ConnectError("the host name can't be resolved")
        except ssl.SSLError as error:
            failure = httpx.ConnectError(told("the TLS handshake failed", error))
        except (OSError, ValueError) as error:
            failure = httpx.ConnectError(told("no connection", error))
        raise failure  # outside the handler, so that nothing is chained

    async def _connected(self, origin: _Origin) -> Connection:
        loop = asyncio.get_running_loop()
        plain = await aiohappyeyeballs.start_connection(
            await self._names.addresses(origin.host, origin.port),
            happy_eyeballs_delay=_NEXT_ADDRESS_SECONDS,
            interleave=1,
            loop=loop,
        )
        try:
            _, connection = await loop.create_connection(
                lambda: Connection(self._max_reply_bytes),
                sock=plain,
                ssl=self._ssl_context if origin.tls else None,
                server_hostname=origin.host if origin.tls else None,
            )
        except BaseException:
            plain.close()
            raise
        return connection


class _Names:
    """The addresses of hosts, asked for once a minute at most."""

    def __init__(self, resolve: Resolve) -> None:
        self._resolve = resolve
        self._known: dict[tuple[str, int], tuple[float, list[Address]]] = {}

    async def addresses(self, host: str, port: int) -> list[Address]:
        now = asyncio.get_running_loop().time()
        until, found = self._known.get((host, port), (now, []))
        if now >= until:
            found = await self._resolve(host, port)
            self._known[host, port] = (now + _DNS_SECONDS, found)
        return found


async def _resolve(host: str, port: int) -> list[Address]:
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    return cast(list[Address], found)  # typeshed allows for addresses of other families


def _origin(url: httpx.URL) -> _Origin:
    tls = url.scheme == "https"
    return _Origin(url.raw_host.decode("ascii"), url.port or (443 if tls else 80), tls)


async def _encoded(request: httpx.Request) -> bytes:
    """The request as it goes over the wire: with its length, in one piece."""
    stream = request.stream
    # Where it is in memory already, 18 µs less than aread().
    body = b"".join(stream) if isinstance(stream, httpx.ByteStream) else await request.aread()
    headers = _headers(tuple(request.headers.raw), len(body))
    return b"%b %b HTTP/1.1\r\n%b\r\n%b" % (request.method.encode("ascii"), request.url.raw_path, headers, body)


@lru_cache(maxsize=1024)  # requests of one kind differ little in their lengths
def _headers(headers: tuple[tuple[bytes, bytes], ...], length: int) -> bytes:
    """The header lines of a request with so many bytes of content."""
    if all(name.lower() != b"content-length" for name, _ in headers):
        headers = tuple(pair for pair in headers if pair[0].lower() != b"transfer-encoding")
        headers += ((b"Content-Length", b"%d" % length),) if length else ()
    return b"".join([b"%b: %b\r\n" % pair for pair in headers])


def _response(reply: RawReply, max_reply_bytes: int) -> httpx.Response:
    """httpx's response, its content unpacked. Raises httpx.RemoteProtocolError where that can't be."""
    packed = [value.strip().lower() for name, value in reply.headers if name.lower() == b"content-encoding"]
    headers, content = reply.headers, reply.content
    if packed and packed != [b"identity"]:
        content = _unpacked(content, packed, max_reply_bytes)
        headers = [pair for pair in headers if pair[0].lower() not in _UNPACKED]
    return httpx.Response(reply.status, headers=headers, stream=httpx.ByteStream(content))


def _unpacked(content: bytes, packed: list[bytes], max_reply_bytes: int) -> bytes:
    bits = _COMPRESSED.get(packed[0]) if len(packed) == 1 else None
    if bits is None:
        raise httpx.RemoteProtocolError("the reply is compressed in a way that nobody asked for")
    unpacker = zlib.decompressobj(bits)
    try:
        unpacked = unpacker.decompress(content, max_reply_bytes + 1)
    except zlib.error:
        unpacked = b""
    if len(unpacked) > max_reply_bytes:
        raise too_large(max_reply_bytes)
    if content and not unpacker.eof:
        raise httpx.RemoteProtocolError("the reply can't be decompressed")
    return unpacked


def new_loop() -> asyncio.AbstractEventLoop:
    """The event loop for many requests: uvloop's, at a third of the processor time, where that runs; else asyncio's."""
    try:
        import uvloop
    except ImportError:  # Windows
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()
