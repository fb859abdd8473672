"""One connection to a server: a request goes out in one piece, its reply comes in, and the next one may follow.

asyncio moves the bytes, httptools tells what they mean. A connection that saw anything out of order is not used
again: bytes that nobody asked for, a reply that ended in the middle, a request that was not taken whole.
"""

from __future__ import annotations

import asyncio
import errno
import os
import ssl
from typing import NamedTuple, cast

import httptools
import httpx

_HEADERS_AT_MOST = 64 * 1024  # bytes of a reply's head and framing, besides its content

Headers = list[tuple[bytes, bytes]]


class RawReply(NamedTuple):
    """A reply as it came: header names as the server writes them, the content still compressed."""

    status: int
    headers: Headers
    content: bytes


class Connection(asyncio.Protocol):
    """An HTTP/1.1 connection. One request at a time; whoever sends the next has seen that `is_free` holds."""

    def __init__(self, max_reply_bytes: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._content_at_most = max_reply_bytes
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self._reply: asyncio.Future[RawReply] | None = None
        self._headers: Headers = []
        self._content: list[bytes] = []
        self._received = self._content_bytes = 0
        self._in_content = False  # the headers are complete
        self._is_kept = False
        self.free_since = 0.0  # the loop's time

    @property
    def is_free(self) -> bool:
        """Whether the connection is there, in order, and waits for a request."""
        return self._transport is not None and self._reply is None

    @property
    def now(self) -> float:
        """The loop's time."""
        return self._loop.time()

    async def exchange(self, request: bytes, seconds: float | None) -> RawReply:
        """The reply to `request`, complete within so many seconds.

        Raises httpx.ConnectError where the connection is gone: nothing has left. httpx.ReadTimeout, ReadError,
        WriteError or RemoteProtocolError else: a byte may have left.
        """
        assert self._reply is None
        if self._transport is None:
            raise httpx.ConnectError("the server closed the connection before anything was sent")
        self._received, self._is_kept = 0, False
        reply: asyncio.Future[RawReply] = self._loop.create_future()
        self._reply = reply
        deadline = None if seconds is None else self._loop.call_later(seconds, self._expire)
        try:
            self._transport.write(request)
            answered = await reply
        except BaseException:
            self.close()
            raise
        finally:
            if deadline is not None:
                deadline.cancel()
        self._reply = None
        self.free_since = self._loop.time()
        if not self._is_kept or self._is_writing():
            self.close()
        return answered

    def close(self) -> None:
        """Lets go of the connection at once: what is not written yet is not worth waiting for."""
        if self._transport is not None:
            self._transport.abort()
            self._transport = None

    # --- What asyncio tells ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is there, TLS included."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by its class

    def data_received(self, data: bytes) -> None:
        """Bytes came. On a connection that waits for a request nobody has asked for them."""
        if self._reply is None or self._reply.done():
            self.close()
            return
        self._received += len(data)
        if self._received > self._content_at_most + _HEADERS_AT_MOST:
            self._fail(too_large(self._content_at_most))
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._fail(httpx.RemoteProtocolError("the reply is not HTTP"))

    def eof_received(self) -> None:
        """The server says no more: the end of a reply without a length, and of the connection."""
        if self._in_content and not self._has_length():
            self._complete()
        self._hung_up()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self._transport = None
        if isinstance(exc, BrokenPipeError):
            self._fail(httpx.WriteError("the connection broke while sending"))
        elif exc is not None:
            self._fail(httpx.ReadError(told("the connection broke", exc)))
        else:
            self._hung_up()

    # --- What httptools tells ---

    def on_message_begin(self) -> None:
        """A reply begins; one that follows on another was not asked for."""
        self._headers, self._content, self._content_bytes, self._in_content = [], [], 0, False
        if self._reply is not None and self._reply.done():
            self._is_kept = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header came."""
        self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Content may follow."""
        self._in_content = True

    def on_body(self, body: bytes) -> None:
        """Some content came."""
        self._content.append(body)
        self._content_bytes += len(body)
        if self._content_bytes > self._content_at_most:
            self._fail(too_large(self._content_at_most))

    def on_message_complete(self) -> None:
        """The reply has ended, unless it only announced one."""
        if self._parser.get_status_code() >= 200:
            self._is_kept = self._parser.should_keep_alive()
            self._complete()

    # --- How it ends ---

    def _complete(self) -> None:
        self._in_content = False
        if self._reply is not None and not self._reply.done():
            status = self._parser.get_status_code()
            self._reply.set_result(RawReply(status, self._headers, b"".join(self._content)))

    def _has_length(self) -> bool:
        return any(name.lower() in (b"content-length", b"transfer-encoding") for name, _ in self._headers)

    def _hung_up(self) -> None:
        cut = "the reply is cut off" if self._received else "the server hung up without a reply"
        self._fail(httpx.RemoteProtocolError(cut))

    def _expire(self) -> None:
        self._fail(httpx.ReadTimeout("no complete reply in time"))

    def _fail(self, failure: httpx.TransportError) -> None:
        if self._reply is not None and not self._reply.done():
            self._reply.set_exception(failure)
        self.close()

    def _is_writing(self) -> bool:
        return self._transport is not None and self._transport.get_write_buffer_size() > 0


def too_large(max_reply_bytes: int) -> httpx.RemoteProtocolError:
    """What a reply of more content than this means."""
    return httpx.RemoteProtocolError(f"the reply is larger than {max_reply_bytes} bytes")


def told(words: str, error: Exception) -> str:
    """`words`, and what the operating system or the TLS library says; never a text that may hold an address."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"{words}: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"{words}: {error.reason}" if error.reason else words
    number = (error.errno if isinstance(error, OSError) else None) or 0
    return f"{words}: {os.strerror(number)}" if number in errno.errorcode else words
