"""What each fault of a real connection raises, in which phase, and that nothing is sent twice."""

from __future__ import annotations

import asyncio
import gzip
import select
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import ExitStack, asynccontextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest
from conftest import tls_server

from pipeline.model import Reply
from pipeline.transport import PooledTransport, new_loop
from pipeline.wire import Wire, judge_failure
from schemas.spec import Verdict

TOKEN = "t0ken-that-never-leaks"
BODY = b"PrimaryPhone=2015550123&Notes=100%25+sure"
FULL_BODY = BODY + b"&token=" + TOKEN.encode() + b"&accid=acc-1"
OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 20\r\n\r\n<br><br>Result:  OK\n"

T = TypeVar("T")


@pytest.fixture(params=[asyncio.new_event_loop, new_loop], ids=["asyncio", "uvloop"], autouse=True)
def _loop(request: pytest.FixtureRequest) -> Iterator[None]:
    """Every phase is proved on each event loop that may run."""
    token = LOOP.set(request.param)
    yield
    LOOP.reset(token)


LOOP: ContextVar[Callable[[], asyncio.AbstractEventLoop]] = ContextVar("LOOP")


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    async def bounded() -> T:
        async with asyncio.timeout(10):
            return await coroutine

    with asyncio.Runner(loop_factory=LOOP.get()) as runner:
        return runner.run(bounded())


class Peer:
    """A server of one behaviour that remembers what it was sent."""

    def __init__(self, behave: Callable[[Peer, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]):
        self.behave = behave
        self.requests: list[tuple[str, bytes]] = []
        self.resumed: list[bool] = []  # TLS sessions, by connection
        self.connections = 0
        self.port = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def request(self, reader: asyncio.StreamReader) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        lengths = [line.split(":")[1] for line in head.lower().splitlines() if line.startswith("content-length:")]
        self.requests.append((head, await reader.readexactly(int(lengths[0])) if lengths else b""))

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            await self.behave(self, reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            return
        finally:
            writer.close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/HttpImport/InjectLead.php"


@asynccontextmanager
async def serving(
    behave: Callable[[Peer, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
    context: ssl.SSLContext | None = None,
) -> AsyncIterator[Peer]:
    peer = Peer(behave)
    server = await asyncio.start_server(peer.serve, "127.0.0.1", 0, ssl=context)
    peer.port = server.sockets[0].getsockname()[1]
    try:
        yield peer
    finally:
        server.close()
        await asyncio.sleep(0)


async def post(
    url: str, *, timeout_seconds: float = 5, transport: PooledTransport | None = None, **options: Any
) -> Reply:
    async with transport or PooledTransport(connections=4, **options) as opened:
        wire = Wire(
            url=url,
            credentials={"token": TOKEN, "accid": "acc-1"},
            transport=opened,
            timeout_seconds=timeout_seconds,
        )
        return await wire.post(BODY)


async def send(url: str, *, read_seconds: float = 5, body: bytes = FULL_BODY, **options: Any) -> httpx.Response:
    """Posts without a Wire: a short time for the reply leaves the time for connecting as it is."""
    limits = {"pool": 5, "connect": 5, "write": 5, "read": read_seconds}
    async with PooledTransport(connections=4, **options) as transport:
        request = httpx.Request("POST", url, content=body, extensions={"timeout": limits})
        return await transport.handle_async_request(request)


async def failure_of(sending: Awaitable[object]) -> httpx.TransportError:
    """The exception of `sending`, which must hold nothing that may not be logged."""
    with pytest.raises(httpx.TransportError) as caught:
        await sending
    error = caught.value
    assert TOKEN not in repr(error)
    assert "://" not in str(error)
    assert error.__context__ is None
    assert error.__cause__ is None
    assert error._request is None
    return error


def verdict(error: httpx.TransportError) -> tuple[Verdict, str]:
    judgement = judge_failure(error)
    assert "\n" not in judgement.message
    assert judgement.message
    return judgement.verdict, judgement.code


async def stall(reader: asyncio.StreamReader) -> None:
    """Says nothing until the client leaves."""
    await reader.read()


def reset(writer: asyncio.StreamWriter) -> None:
    """Closes with RST instead of FIN."""
    connection: socket.socket = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


# ---- what a good exchange looks like


async def answer(peer: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        await peer.request(reader)
        writer.write(OK)


def test_the_form_arrives_once_with_its_length_and_nothing_in_the_url() -> None:
    """A form goes out in one piece, with its length and type, its credentials in the body alone."""

    async def scenario() -> None:
        async with serving(answer) as peer:
            reply = await post(peer.url)
            assert reply == Reply(200, "<br><br>Result:  OK\n", "text/html", "")
            [(head, body)] = peer.requests
            request_line, *headers = head.rstrip().splitlines()
            assert body == FULL_BODY
            assert request_line == "POST /HttpImport/InjectLead.php HTTP/1.1"
            assert headers.count("Content-Type: application/x-www-form-urlencoded") == 1
            assert headers.count(f"Content-Length: {len(FULL_BODY)}") == 1
            assert headers.count(f"Host: 127.0.0.1:{peer.port}") == 1
            assert "transfer-encoding" not in head.lower()
            assert TOKEN not in head

    run(scenario())


def test_a_connection_is_kept_and_used_again() -> None:
    """Requests one after the other share a connection, and carry no cookies."""

    async def give_cookie(peer: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await peer.request(reader)
            writer.write(OK.replace(b"\r\n\r\n", b"\r\nSet-Cookie: id=7; Path=/\r\n\r\n", 1))

    async def scenario() -> None:
        async with serving(give_cookie) as peer, PooledTransport(connections=4) as transport:
            wire = Wire(url=peer.url, credentials={}, transport=transport, timeout_seconds=5)
            for _ in range(3):
                await wire.post(BODY)
            assert (peer.connections, len(peer.requests)) == (1, 3)
            assert not any("cookie" in head.lower() for head, _ in peer.requests)

    run(scenario())


def test_no_more_connections_than_allowed() -> None:
    """Requests beyond the limit wait for a connection."""

    async def scenario() -> None:
        async with serving(answer) as peer, PooledTransport(connections=2) as transport:
            wire = Wire(url=peer.url, credentials={}, transport=transport, timeout_seconds=5)
            await asyncio.gather(*(wire.post(BODY) for _ in range(20)))
            assert (peer.connections, len(peer.requests)) == (2, 20)

    run(scenario())


def test_a_redirect_is_a_reply() -> None:
    """A redirect comes back as it is: following it would turn the POST into a GET without a body."""

    async def redirect(peer: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await peer.request(reader)
        writer.write(b"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n")
        await stall(reader)

    async def scenario() -> None:
        async with serving(redirect) as peer:
            assert (await post(peer.url)).http_status == 302
            assert len(peer.requests) == 1

    run(scenario())


def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy in the environment doesn't get to see the credentials."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")

    async def scenario() -> None:
        async with serving(answer) as peer:
            assert (await post(peer.url)).http_status == 200

    run(scenario())


def _compressed(text: bytes) -> bytes:
    packed = gzip.compress(text)
    return b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%s" % (len(packed), packed)


def test_a_compressed_reply_is_unpacked_once() -> None:
    """A gzip reply arrives as its text, and no header says that it is still packed."""

    async def compress(peer: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await peer.request(reader)
        writer.write(_compressed(b"Result: OK"))
        await stall(reader)

    async def scenario() -> None:
        async with (
            serving(compress) as peer,
            httpx.AsyncClient(transport=PooledTransport(connections=1)) as client,
        ):
            assert (await client.post(peer.url, content=BODY)).text == "Result: OK"

    run(scenario())


# ---- never sent


def test_a_refused_connection_was_never_sent() -> None:
    """Nobody listens: ConnectError."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound, not listening: the port refuses, and nobody else can take it
        error = run(failure_of(post(f"http://127.0.0.1:{unused.getsockname()[1]}/")))
    assert type(error) is httpx.ConnectError
    assert str(error) == "no connection: Connection refused"
    assert verdict(error) == (Verdict.NOT_DELIVERED, "connect_error")


async def no_such_name(host: str, port: int) -> list[Any]:
    raise socket.gaierror(socket.EAI_NONAME, f"Name or service not known: {host}")


async def no_answer(host: str, port: int) -> list[Any]:
    await asyncio.get_running_loop().create_future()
    raise AssertionError


def test_an_unknown_host_was_never_sent() -> None:
    """The name can't be resolved: ConnectError."""
    error = run(failure_of(post("https://nonexistent.invalid/", resolve=no_such_name)))
    assert type(error) is httpx.ConnectError
    assert verdict(error) == (Verdict.NOT_DELIVERED, "connect_error")


def test_a_name_server_that_stalls_is_a_connect_timeout() -> None:
    """The connect timeout bounds the name lookup as well."""
    error = run(failure_of(post("https://nonexistent.invalid/", resolve=no_answer, timeout_seconds=0.1)))
    assert type(error) is httpx.ConnectTimeout


def test_an_address_that_no_connection_can_be_made_to_was_never_sent() -> None:
    """An address at which nobody listens, however oddly it is written: ConnectError."""
    error = run(failure_of(post("http://127.1/")))
    assert type(error) is httpx.ConnectError


def test_a_full_backlog_is_a_connect_timeout() -> None:
    """A connection that is never completed: ConnectTimeout, before the reply's time begins."""
    with ExitStack() as stack:
        full = stack.enter_context(socket.socket())
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for _ in range(3):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        error = run(failure_of(post(f"http://127.0.0.1:{full.getsockname()[1]}/", timeout_seconds=0.2)))
    assert type(error) is httpx.ConnectTimeout
    assert verdict(error) == (Verdict.NOT_DELIVERED, "connect_timeout")


def test_a_stalled_tls_handshake_is_a_connect_timeout() -> None:
    """A server that accepts and never shakes hands: ConnectTimeout."""

    async def silent(peer: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await stall(reader)

    async def scenario() -> httpx.TransportError:
        async with serving(silent) as peer:
            return await failure_of(post(f"https://127.0.0.1:{peer.port}/", timeout_seconds=0.2))

    error = run(scenario())
    assert type(error) is httpx.ConnectTimeout
    assert verdict(error) == (Verdict.NOT_DELIVERED, "connect_timeout")


async def speak_plainly(peer: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(1)
    writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    await stall(reader)


async def break_the_handshake(peer: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(1)
    reset(writer)


async def end_the_handshake(peer: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(1)


@pytest.mark.parametrize("behave", [speak_plainly, break_the_handshake, end_the_handshake])
def test_a_failed_tls_handshake_was_never_sent(behave: Callable[..., Awaitable[None]]) -> None:
    """A peer that speaks no TLS, or breaks off during the handshake: ConnectError."""

    async def scenario() -> httpx.TransportError:
        async with serving(behave) as peer:
            return await failure_of(post(f"https://127.0.0.1:{peer.port}/"))

    error = run(scenario())
    assert type(error) is httpx.ConnectError
    assert verdict(error) == (Verdict.NOT_DELIVERED, "connect_error")


def test_waiting_too_long_for_a_connection_was_never_sent() -> None:
    """All connections are busy: PoolTimeout, and the server sees one request."""

    async def scenario() -> None:
        got_it = asyncio.Event()

        async def take(peer: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await peer.request(reader)
            got_it.set()
            await stall(reader)

        async with serving(take) as peer, PooledTransport(connections=1) as transport:
            patient = Wire(url=peer.url, credentials={}, transport=transport, timeout_seconds=5)
            hurried = Wire(url=peer.url, credentials={}, transport=transport, timeout_seconds=0.1)
            busy = asyncio.create_task(patient.post(BODY))
            await got_it.wait()
            with pytest.raises(httpx.PoolTimeout) as caught:
                await hurried.post(BODY)
            assert verdict(caught.value) == (Verdict.NOT_DELIVERED, "pool_timeout")
            busy.cancel()
            await asyncio.wait([busy])
            assert len(peer.requests) == 1

    run(scenario())


# ---- in doubt


async def reset_after_reading(peer: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await peer.request(reader)
    reset(writer)


async def hang_up(peer: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await peer.request(reader)


async def reset_unread(peer: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.transport.pause_reading()
    arriving = [writer.get_extra_info("socket").fileno()]
    await asyncio.to_thread(select.select, arriving, [], [], 5)
    reset(writer)


async def never_answer(peer: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await peer.request(reader)
    await stall(reader)


async def drip(peer: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await peer.request(reader)
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    await _drip(reader, writer)


async def drip_headers(peer: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await peer.request(reader)
    writer.write(b"HTTP/1.1 200 OK\r\nX-Long: ")
    await _drip(reader, writer)


async def _drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    leaving = asyncio.ensure_future(reader.read())
    while not (await asyncio.wait([leaving], timeout=0.01))[0]:
        writer.write(b".")
    leaving.exception()


def replies_and_closes(reply: bytes) -> Callable[..., Awaitable[None]]:
    async def behave(peer: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await peer.request(reader)
        writer.write(reply)

    return behave


def replies_and_resets(reply: bytes) -> Callable[..., Awaitable[None]]:
    async def behave(peer: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await peer.request(reader)
        writer.write(reply)
        await asyncio.sleep(0)
        reset(writer)

    return behave


def replies_and_stays(reply: bytes) -> Callable[..., Awaitable[None]]:
    async def behave(peer: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await peer.request(reader)
        writer.write(reply)
        await stall(reader)

    return behave


_HEAD = b"HTTP/1.1 200 OK\r\n"
_CUT = _HEAD + b"Content-Length: 100\r\n\r\nResult:"
_CUT_CHUNKS = _HEAD + b"Transfer-Encoding: chunked\r\n\r\n7\r\nResult:\r\n"
_LONG = _HEAD + b"Content-Length: 5000\r\n\r\n" + b"x" * 5000
_ENDLESS = _HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"400\r\n" + b"x" * 1024 + b"\r\n400\r\n" + b"x" * 1024

FAULTS = {
    "reset after reading": (reset_after_reading, httpx.ReadError, "connection_reset"),
    "reset without reading": (reset_unread, httpx.ReadError, "connection_reset"),
    "hung up without a reply": (hang_up, httpx.RemoteProtocolError, "no_reply"),
    "no reply in time": (never_answer, httpx.ReadTimeout, "read_timeout"),
    "a reply that drips": (drip, httpx.ReadTimeout, "read_timeout"),
    "headers that drip": (drip_headers, httpx.ReadTimeout, "read_timeout"),
    "body stalls": (replies_and_stays(_CUT), httpx.ReadTimeout, "read_timeout"),
    "body cut off": (replies_and_closes(_CUT), httpx.RemoteProtocolError, "no_reply"),
    "chunked body cut off": (replies_and_closes(_CUT_CHUNKS), httpx.RemoteProtocolError, "no_reply"),
    "headers cut off": (replies_and_closes(_HEAD + b"Content-"), httpx.RemoteProtocolError, "no_reply"),
    "not HTTP": (replies_and_stays(b"Result: OK\r\n\r\n"), httpx.RemoteProtocolError, "no_reply"),
    "bad chunk": (replies_and_stays(_CUT_CHUNKS + b"zz\r\n"), httpx.RemoteProtocolError, "no_reply"),
    "bad gzip": (
        replies_and_stays(_HEAD + b"Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\nabcd"),
        httpx.RemoteProtocolError,
        "no_reply",
    ),
    "too large": (replies_and_stays(_LONG), httpx.RemoteProtocolError, "no_reply"),
    "endless": (replies_and_stays(_ENDLESS), httpx.RemoteProtocolError, "no_reply"),
    "too large unpacked": (replies_and_stays(_compressed(bytes(10**7))), httpx.RemoteProtocolError, "no_reply"),
}


def test_the_time_for_a_reply_begins_when_the_connection_is_there() -> None:
    """The read timeout bounds a dripping reply as a whole, and time left over from connecting isn't added."""

    async def scenario() -> None:
        async with serving(drip) as peer, PooledTransport(connections=1) as transport:
            limits = {"pool": 60, "connect": 60, "write": 60, "read": 0.3}
            request = httpx.Request("POST", peer.url, content=BODY, extensions={"timeout": limits})
            assert type(await failure_of(transport.handle_async_request(request))) is httpx.ReadTimeout

    run(scenario())


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_after_sending_is_in_doubt(fault: str) -> None:
    """Whatever goes wrong once a byte may have left leaves the row in doubt, and nothing is sent again."""
    behave, expected, code = FAULTS[fault]

    async def scenario() -> httpx.TransportError:
        async with serving(behave) as peer:
            read_seconds = 0.3 if expected is httpx.ReadTimeout else 5
            error = await failure_of(send(peer.url, read_seconds=read_seconds, max_reply_bytes=1500))
            assert peer.connections == 1
            assert len(peer.requests) <= 1
            return error

    error = run(scenario())
    assert type(error) is expected
    assert verdict(error) == (Verdict.IN_DOUBT, code)


def test_a_reset_in_the_middle_of_a_reply_is_in_doubt() -> None:
    """A connection reset within the body: in doubt, whichever of the reset or the cut first."""

    async def scenario() -> None:
        async with serving(replies_and_resets(_CUT)) as peer:
            error = await failure_of(post(peer.url))
            assert verdict(error)[0] is Verdict.IN_DOUBT
            assert len(peer.requests) == 1

    run(scenario())


def test_a_reset_on_accept_is_never_sent_only_if_it_was() -> None:
    """A server that resets at once may do so before or after the first byte; the phase never claims too much."""

    async def scenario() -> None:
        async def refuse(peer: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            reset(writer)

        async with serving(refuse) as peer:
            error = await failure_of(post(peer.url))
            assert peer.connections == 1
            assert type(error) in (httpx.ConnectError, httpx.ReadError, httpx.WriteError)

    run(scenario())


def test_a_body_that_is_not_taken_is_in_doubt() -> None:
    """A server that stops reading in the middle of a large form: in doubt, when the time is up."""

    async def ignore(peer: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.pause_reading()
        await asyncio.wait_for(released.wait(), 5)

    released = asyncio.Event()

    async def scenario() -> None:
        async with serving(ignore) as peer:
            error = await failure_of(send(peer.url, read_seconds=0.2, body=b"Notes=" + b"x" * 1_000_000))
            released.set()
            assert type(error) is httpx.ReadTimeout
            assert verdict(error)[0] is Verdict.IN_DOUBT

    run(scenario())


# ---- kept connections, and nothing twice


@pytest.mark.parametrize("method", ["GET", "PUT", "POST"])
@pytest.mark.parametrize("kept", [False, True])
@pytest.mark.parametrize("leave", [lambda writer: None, reset], ids=["closed", "reset"])
def test_nothing_is_sent_again(method: str, kept: bool, leave: Callable[[asyncio.StreamWriter], None]) -> None:
    """A lost reply is never asked for again, on a new connection or a kept one, whatever the method."""

    async def scenario() -> None:
        async def answer_first(peer: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            if kept:
                await peer.request(reader)
                writer.write(OK)
            await peer.request(reader)
            leave(writer)

        async with serving(answer_first) as peer, PooledTransport(connections=1) as transport:
            content = b"" if method == "GET" else BODY
            if kept:
                first = await transport.handle_async_request(httpx.Request(method, peer.url, content=content))
                assert first.status_code == 200
            request = httpx.Request(method, peer.url, content=content)
            error = await failure_of(transport.handle_async_request(request))
            assert verdict(error)[0] is Verdict.IN_DOUBT
            assert (peer.connections, len(peer.requests)) == (1, 2 if kept else 1)

    run(scenario())


def test_a_kept_connection_that_the_server_closed_is_replaced() -> None:
    """A connection closed while idle isn't used again: the next request goes out once, on a new one."""

    async def scenario() -> None:
        async with serving(replies_and_closes(OK)) as peer, PooledTransport(connections=1) as transport:
            wire = Wire(url=peer.url, credentials={}, transport=transport, timeout_seconds=5)
            for sent in (1, 2, 3):
                assert (await wire.post(BODY)).http_status == 200
                await _let_the_loop_read()
                assert (peer.connections, len(peer.requests)) == (sent, sent)

    run(scenario())


def test_a_reply_that_nobody_asked_for_is_not_taken_for_the_next_one() -> None:
    """Bytes that arrive on an idle connection cost the connection; they are no reply to the next request."""

    async def scenario() -> None:
        idle, written = asyncio.Event(), asyncio.Event()

        async def say_too_much(peer: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await peer.request(reader)
            writer.write(OK)
            if peer.connections == 1:
                await idle.wait()
                writer.write(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n")
                written.set()
            await stall(reader)

        async with serving(say_too_much) as peer, PooledTransport(connections=1) as transport:
            wire = Wire(url=peer.url, credentials={}, transport=transport, timeout_seconds=5)
            assert (await wire.post(BODY)).http_status == 200
            idle.set()
            await written.wait()
            await _let_the_loop_read()
            assert (await wire.post(BODY)).http_status == 200
            assert (peer.connections, len(peer.requests)) == (2, 2)

    run(scenario())


async def _let_the_loop_read() -> None:
    """On loopback what was written is there at once; the loop needs a few turns to see it."""
    for _ in range(10):
        await asyncio.sleep(0)


def test_a_cancelled_request_gives_its_connection_back() -> None:
    """A request that is cancelled frees its place, and its connection is not used again."""

    async def scenario() -> None:
        got_it = asyncio.Event()

        async def answer_second(peer: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await peer.request(reader)
            got_it.set()
            if peer.connections > 1:
                writer.write(OK)
            await stall(reader)

        async with serving(answer_second) as peer, PooledTransport(connections=1) as transport:
            wire = Wire(url=peer.url, credentials={}, transport=transport, timeout_seconds=5)
            cancelled = asyncio.create_task(wire.post(BODY))
            await got_it.wait()
            cancelled.cancel()
            await asyncio.wait([cancelled])
            assert cancelled.cancelled()
            assert (await wire.post(BODY)).http_status == 200
            assert peer.connections == 2

    run(scenario())


# ---- TLS


def test_a_certificate_that_nobody_vouches_for_was_never_sent(certificate: Path) -> None:
    """A self-signed certificate: ConnectError that says so, and no request reaches the server."""

    async def scenario() -> httpx.TransportError:
        async with serving(answer, tls_server(certificate)) as peer:
            error = await failure_of(post(f"https://127.0.0.1:{peer.port}/"))
            assert peer.requests == []
            return error

    error = run(scenario())
    assert type(error) is httpx.ConnectError
    assert "self-signed certificate" in str(error)
    assert verdict(error) == (Verdict.NOT_DELIVERED, "connect_error")


@pytest.mark.parametrize(
    ("behave", "expected"), [(answer, None), (hang_up, httpx.RemoteProtocolError), (never_answer, httpx.ReadTimeout)]
)
def test_over_tls_the_phases_are_the_same(
    certificate: Path, behave: Callable[..., Awaitable[None]], expected: type[httpx.TransportError] | None
) -> None:
    """Once the handshake is done, a lost reply is in doubt over TLS too."""
    trusting = ssl.create_default_context(cafile=str(certificate))

    async def scenario() -> None:
        async with serving(behave, tls_server(certificate)) as peer:
            read_seconds = 0.3 if expected is httpx.ReadTimeout else 5
            url = f"https://127.0.0.1:{peer.port}/"
            sending = send(url, read_seconds=read_seconds, ssl_context=trusting)
            if expected is None:
                assert (await sending).status_code == 200
            else:
                error = await failure_of(sending)
                assert type(error) is expected
                assert verdict(error)[0] is Verdict.IN_DOUBT
            assert len(peer.requests) == 1

    run(scenario())


async def answer_and_close(peer: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await peer.request(reader)
    writer.write(OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
    peer.resumed.append(writer.get_extra_info("ssl_object").session_reused)
    await writer.drain()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_the_next_connection_goes_on_with_the_tls_session(certificate: Path, version: ssl.TLSVersion) -> None:
    """A server that closes every connection is shown its certificate's signature once."""
    trusting = ssl.create_default_context(cafile=str(certificate))
    trusting.minimum_version = trusting.maximum_version = version

    async def scenario() -> list[bool]:
        async with serving(answer_and_close, tls_server(certificate)) as peer:
            async with PooledTransport(connections=4, ssl_context=trusting) as opened:
                wire = Wire(url=f"https://127.0.0.1:{peer.port}/", credentials={}, transport=opened, timeout_seconds=5)
                for _ in range(3):
                    assert (await wire.post(BODY)).http_status == 200
            return peer.resumed

    assert run(scenario()) == [False, True, True]


def test_a_server_that_has_forgotten_the_session_is_asked_for_its_certificate(certificate: Path) -> None:
    """Another server behind the same name: the handshake is done in full, and still checked."""
    trusting = ssl.create_default_context(cafile=str(certificate))

    async def scenario() -> list[bool]:
        resumed = []
        async with PooledTransport(connections=4, ssl_context=trusting) as opened:
            for _ in range(2):
                async with serving(answer_and_close, tls_server(certificate)) as peer:
                    wire = Wire(
                        url=f"https://127.0.0.1:{peer.port}/", credentials={}, transport=opened, timeout_seconds=5
                    )
                    assert (await wire.post(BODY)).http_status == 200
                resumed += peer.resumed
        return resumed

    assert run(scenario()) == [False, False]
