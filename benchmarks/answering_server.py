"""An HTTP server that answers every request with the vendor's OK, so that only its client is measured.

`answering_server.py [SECONDS]`: each answer comes so many seconds after its request, at once by default. Prints its
port, and ends when its standard input does: with whoever started it. GET /arrivals tells, in seconds, when each request
came that was none of these.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time

_BODY = b"<br><br>Result:  OK"
_LENGTH = re.compile(rb"^content-length:[ \t]*(\d+)", re.IGNORECASE | re.MULTILINE)
_END_OF_HEAD = b"\r\n\r\n"


def reply(body: bytes) -> bytes:
    """A whole reply with this body, on a connection that stays."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: %d\r\nConnection: keep-alive\r\n\r\n"
    return head % len(body) + body


class Answering(asyncio.Protocol):
    """Answers each request so many seconds after its last byte is there, and notes in `arrivals` when that was."""

    def __init__(self, seconds: float, arrivals: list[float]) -> None:
        self._seconds, self._arrivals = seconds, arrivals
        self._received = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None
        self._received += data
        while (size := request_size(self._received)) is not None:
            request, self._received = self._received[:size], self._received[size:]
            if request.startswith(b"GET /arrivals "):
                self._transport.write(reply(json.dumps(self._arrivals).encode()))
                continue
            self._arrivals.append(time.monotonic())
            if self._seconds:
                asyncio.get_running_loop().call_later(self._seconds, self._transport.write, reply(_BODY))
            else:
                self._transport.write(reply(_BODY))


def request_size(received: bytes) -> int | None:
    """The length of the first request in bytes, None while it is not complete."""
    head = received.find(_END_OF_HEAD)
    if head < 0:
        return None
    length = _LENGTH.search(received, 0, head)
    size = head + len(_END_OF_HEAD) + (int(length[1]) if length else 0)
    return size if len(received) >= size else None


async def serve(seconds: float) -> None:
    """Answers until standard input ends.

    asyncio makes the socket: it turns Nagle's algorithm off on those that it made itself as TCP, and on no others;
    with it, each reply would take 40 ms.
    """
    arrivals: list[float] = []
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Answering(seconds, arrivals), "127.0.0.1", 0, backlog=512)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.read)
    server.close()


if __name__ == "__main__":
    asyncio.run(serve(float(sys.argv[1]) if len(sys.argv) > 1 else 0.0))
