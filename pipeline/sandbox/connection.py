"""The connection under a request: whoever answers can cut it, and learns when the caller has hung up.

ASGI has no word for either, so that uvicorn's protocol is extended and passed along in the request's scope.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from pipeline.sandbox.faults import Answer, Ending, sent_body

_STATE_KEY = "connection"
_DROP_AT_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER on, 0 seconds: close() sends a RST


class Connection(H11Protocol):
    """uvicorn's HTTP/1.1 connection, which can be cut.

    `gone` is true as soon as the caller has hung up or the connection has been cut.
    """

    gone = False
    _silent = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn has it
        """Puts the connection into the scope of its requests."""
        super().connection_made(transport)
        self.app_state = {**self.app_state, _STATE_KEY: self}

    def eof_received(self) -> None:
        """Takes note that the caller has hung up; the transport then closes itself."""
        self.gone = True
        super().eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """Takes note that the connection has ended."""
        self.gone = True
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """Ends the connection with the server; a request that is kept waiting doesn't delay that."""
        super().shutdown()
        if self._silent:
            self.transport.abort()

    @contextmanager
    def silent(self) -> Iterator[None]:
        """While it lasts, the caller gets nothing."""
        self._silent = True
        try:
            yield
        finally:
            self._silent = False

    def close(self) -> None:
        """Sends what has been written, then a FIN."""
        self.gone = True
        self.transport.close()

    def reset(self) -> None:
        """Sends a RST, unless the caller has hung up."""
        self.gone = True
        if self.transport.is_closing():
            return
        tcp: socket.socket = self.transport.get_extra_info("socket")
        tcp.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _DROP_AT_CLOSE)
        self.transport.abort()


def connection_of(scope: Scope) -> Connection | None:
    """The connection that a request came by; None where it came by none, as in a test within one process."""
    state: dict[str, Any] = scope.get("state", {})
    return state.get(_STATE_KEY)


async def keep_waiting(request: Request, seconds: float) -> None:
    """Gives the caller nothing for so long, or until it hangs up. The request's body must have been read."""
    with suppress(TimeoutError), _required(request.scope).silent():
        async with asyncio.timeout(seconds):
            await _disconnected(request.receive)


def response(ending: Ending, answer: Answer) -> Response:
    """What ends the caller's wait in that way; a `Cut` where no whole reply is sent."""
    if ending in {Ending.REPLY, Ending.SLOW, Ending.TRUNCATED}:
        return HTMLResponse(sent_body(ending, answer), answer.http_status, answer.headers)
    return Cut(ending, answer)


class Cut(Response):
    """No reply, or a part of one, and the end of the connection."""

    def __init__(self, ending: Ending, answer: Answer) -> None:
        super().__init__(answer.body, answer.http_status, answer.headers, "text/html")
        self._ending = ending
        self._sent = sent_body(ending, answer).encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends what is sent, and cuts the connection."""
        connection = _required(scope)
        if self._ending is Ending.SHORT:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            await send({"type": "http.response.body", "body": self._sent, "more_body": True})
        if self._ending is Ending.RESET:
            connection.reset()
        else:
            connection.close()
        await _disconnected(receive)  # uvicorn answers a request that ends before its connection with a 500


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _required(scope: Scope) -> Connection:
    connection = connection_of(scope)
    assert connection is not None, "a fault of the connection needs the server of pipeline.sandbox.serve"
    return connection
