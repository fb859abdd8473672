"""An HTTP server that answers every request at once with the vendor's OK, so that only its client is measured.

Prints its port, and ends when its standard input does: with whoever started it.
"""

from __future__ import annotations

import asyncio
import re
import sys

_BODY = b"<br><br>Result:  OK"
REPLY = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: %d\r\nConnection: keep-alive\r\n\r\n%b" % (
    len(_BODY),
    _BODY,
)
_LENGTH = re.compile(rb"^content-length:[ \t]*(\d+)", re.IGNORECASE | re.MULTILINE)
_END_OF_HEAD = b"\r\n\r\n"


class Answering(asyncio.Protocol):
    """Answers each request when its last byte is there."""

    def __init__(self) -> None:
        self._received = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None
        self._received += data
        while (size := request_size(self._received)) is not None:
            self._received = self._received[size:]
            self._transport.write(REPLY)


def request_size(received: bytes) -> int | None:
    """The length of the first request in bytes, None while it is not complete."""
    head = received.find(_END_OF_HEAD)
    if head < 0:
        return None
    length = _LENGTH.search(received, 0, head)
    size = head + len(_END_OF_HEAD) + (int(length[1]) if length else 0)
    return size if len(received) >= size else None


async def serve() -> None:
    """Answers until standard input ends.

    asyncio makes the socket: it turns Nagle's algorithm off on those that it made itself as TCP, and on no others;
    with it, each reply would take 40 ms.
    """
    server = await asyncio.get_running_loop().create_server(Answering, "127.0.0.1", 0, backlog=512)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.read)
    server.close()


if __name__ == "__main__":
    asyncio.run(serve())
