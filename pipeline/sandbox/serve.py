"""The sandbox as a process, or as a thread of a test."""

from __future__ import annotations

import errno
import shlex
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType

import uvicorn

from pipeline.model import UserError
from pipeline.sandbox.app import create_app
from pipeline.sandbox.config import DEFAULT_KEY, DEFAULT_TOKEN, SandboxConfig
from pipeline.sandbox.connection import Connection
from pipeline.sandbox.state import Store

_BACKLOG = 2048


def serve(config: SandboxConfig) -> None:
    """Runs the sandbox until SIGINT or SIGTERM; its address goes to stdout once it takes connections.

    A port that is taken, or a state file that can't be used, is a UserError.
    """
    with ExitStack() as stack:
        listener = stack.enter_context(listening(config))
        store = stack.enter_context(_store(config.state_path))
        server = _server(config, store)
        stack.enter_context(_stopped_by_signals(server))
        sys.stdout.write(exports(config, base_url(listener)))
        sys.stdout.flush()
        server.run(sockets=[listener])


@contextmanager
def running(config: SandboxConfig) -> Iterator[str]:
    """The base URL of a sandbox that runs in a thread while the context lasts."""
    with listening(config) as listener, _store(config.state_path) as store:
        server = _server(config, store)
        thread = threading.Thread(target=server.run, args=([listener],), name="sandbox")
        thread.start()
        try:
            yield base_url(listener)
        finally:
            server.should_exit = True
            thread.join()


def base_url(listener: socket.socket) -> str:
    """What DIALEDIN_BASE_URL must be to reach the sandbox behind `listener`."""
    host, port = listener.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/HttpImport/"


def exports(config: SandboxConfig, url: str) -> str:
    """Shell lines that point the sending side at the sandbox.

    A token or key that its caller brought along is not repeated: it might be one that opens something.
    """
    token = (
        f"export DIALEDIN_TOKEN={DEFAULT_TOKEN}"
        if config.token == DEFAULT_TOKEN
        else "# DIALEDIN_TOKEN: the one that the sandbox was started with"
    )
    key = (
        f"export DIALOGTECH_KEY={DEFAULT_KEY}"
        if config.find_me.key == DEFAULT_KEY
        else "# DIALOGTECH_KEY: the one that the sandbox was started with"
    )
    return (
        f"export DIALEDIN_BASE_URL={shlex.quote(url)}\n{token}\nexport DIALEDIN_ACCID={shlex.quote(config.accid)}\n"
        f"export DIALOGTECH_BASE_URL={shlex.quote(url.replace('/HttpImport/', '/dialogtech/'))}\n{key}\n"
    )


def listening(config: SandboxConfig) -> socket.socket:
    """A socket that already takes connections, so that nobody who reads its address comes too early.

    A port that is taken, or an address that isn't this machine's, is a UserError.
    """
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    try:
        created = socket.create_server((config.host, config.port), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise UserError(_why_not_listening(config, error)) from error
    # asyncio turns Nagle's algorithm off only where it sees TCP by name; left on, a reply takes 40 ms.
    return socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP, fileno=created.detach())


def _why_not_listening(config: SandboxConfig, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {config.port} is in use; name another, or let a free one be found: --port 0"
    return f"can't listen on {config.host} port {config.port}: {error.strerror}"


@contextmanager
def _store(path: Path | None) -> Iterator[Store]:
    with ExitStack() as stack:
        if path is None:
            path = Path(stack.enter_context(TemporaryDirectory(prefix="leads-sandbox-"))) / "state.sqlite"
        store = Store.open(path)
        stack.callback(store.close)
        yield store


def _server(config: SandboxConfig, store: Store) -> uvicorn.Server:
    return uvicorn.Server(
        uvicorn.Config(
            create_app(config, store),
            http=Connection,
            lifespan="off",
            ws="none",
            log_config=None,  # warnings and errors go to stderr, and nothing about requests anywhere
            log_level="warning",
            access_log=False,
            server_header=False,
            backlog=_BACKLOG,
            timeout_keep_alive=75,  # longer than any client's, so that ours is never the end that hangs up
            timeout_graceful_shutdown=5,
        )
    )


@contextmanager
def _stopped_by_signals(server: uvicorn.Server) -> Iterator[None]:
    # uvicorn hands a signal on to the handler that was there before it; the usual one ends the process with the
    # signal instead of with 0.
    def stop(_: int, __: FrameType | None) -> None:
        server.should_exit = True

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
