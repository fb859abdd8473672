"""A PostgreSQL server that is started for the tests, with nothing in it, and is gone afterwards."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

OWNER = "leads"
PASSWORD = "pw/7x:Qv=9"  # looks different when it is quoted
_QUOTED = "pw%2F7x%3AQv%3D9"


def bin_folder() -> Path | None:
    """Where a server is installed; None where none is."""
    found = [Path(folder) for folder in os.environ.get("PATH", "").split(os.pathsep)]
    found += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((folder for folder in found if (folder / "initdb").exists() and (folder / "postgres").exists()), None)


@dataclass
class Server:
    """A server on 127.0.0.1 that knows one user, by a password."""

    programs: Path
    folder: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    def url(self, database: str, *, password: bool = True) -> str:
        secret = f":{_QUOTED}" if password else ""
        return f"postgresql+psycopg://{OWNER}{secret}@127.0.0.1:{self.port}/{database}"

    def connect(self, database: str = "postgres") -> psycopg.Connection[Any]:
        given = {"host": "127.0.0.1", "port": self.port, "user": OWNER, "password": PASSWORD, "dbname": database}
        return psycopg.connect(**given, autocommit=True)

    def make(self) -> None:
        secret = self.folder / "password"
        secret.write_text(PASSWORD)
        if as_user():
            shutil.chown(self.folder, "postgres")
            shutil.chown(secret, "postgres")
        data = ["-D", str(self.folder / "data"), "-U", OWNER, "--pwfile", str(secret), "-A", "scram-sha-256"]
        command = [str(self.programs / "initdb"), *data, "-E", "UTF8", "--locale=C", "--no-sync", "--no-instructions"]
        made = subprocess.run(command, cwd="/", capture_output=True, text=True, check=False, **as_user())
        assert made.returncode == 0, made.stderr

    def start(self) -> None:
        """Starts it; it takes connections when this returns."""
        given = {"port": self.port, "listen_addresses": "127.0.0.1", "unix_socket_directories": self.folder}
        given |= {"fsync": "off", "full_page_writes": "off", "autovacuum": "off", "max_connections": 60}
        given |= {"synchronous_commit": "off", "shared_buffers": "16MB", "wal_level": "minimal", "max_wal_senders": 0}
        options = [part for name, value in given.items() for part in ("-c", f"{name}={value}")]
        command = [str(self.programs / "postgres"), "-D", str(self.folder / "data"), *options]
        log = self.folder / "log"
        with log.open("ab") as out:
            self.process = subprocess.Popen(command, cwd="/", stdout=out, stderr=out, **as_user())
        deadline = time.monotonic() + 30
        while not self._answers():
            assert time.monotonic() < deadline, "it does not answer"
            time.sleep(0.02)  # between two looks

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, (self.folder / "log").read_text()
        try:
            self.connect().close()
        except psycopg.OperationalError:
            return False
        return True

    def stop(self) -> None:
        """Ends it at once, as a power cut would, but for what was written."""
        if self.process is not None:
            self.process.send_signal(signal.SIGQUIT)
            self.process.wait(30)
            self.process = None

    @contextlib.contextmanager
    def database(self) -> Iterator[str]:
        """The URL of a database with nothing in it."""
        name = f"leads_{secrets.token_hex(6)}"
        with contextlib.closing(self.connect()) as connection:
            connection.execute(f"CREATE DATABASE {name} STRATEGY wal_log")
        try:
            yield self.url(name)
        finally:
            if self.process is not None:
                with contextlib.closing(self.connect()) as connection:
                    connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def as_user() -> dict[str, Any]:
    """How to start its programs: they refuse to run as root."""
    return {"user": "postgres", "group": "postgres", "extra_groups": []} if os.geteuid() == 0 else {}


@contextlib.contextmanager
def server(programs: Path) -> Iterator[Server]:
    """A server that runs."""
    with tempfile.TemporaryDirectory(prefix="leads-pg-", dir="/tmp", ignore_cleanup_errors=True) as name:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        made = Server(programs, Path(name), port)
        made.make()
        made.start()
        try:
            yield made
        finally:
            made.stop()
