"""Programs run as children, with what the kernel says they cost."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
_MAXRSS_BYTES = 1 if sys.platform == "darwin" else 1024


@dataclass(frozen=True, slots=True)
class Cost:
    """What one program cost from start to end, its imports included."""

    wall_seconds: float
    processor_seconds: float  # user and system
    peak_bytes: int
    output: str


def run(command: Sequence[str], *, folder: Path, environment: Mapping[str, str]) -> Cost:
    """Runs `command` in `folder`; its standard error is ours. Raises RuntimeError where it does not end with 0.

    A child's peak starts at its parent's size, since it is forked: this program imports nothing large.
    """
    with (folder / "stdout").open("w+", encoding="utf-8") as output:
        started = time.perf_counter()
        child = subprocess.Popen(command, cwd=folder, env=dict(environment), stdout=output, stdin=subprocess.DEVNULL)
        try:
            _, status, usage = os.wait4(child.pid, 0)
        except BaseException:
            child.kill()
            raise
        seconds = time.perf_counter() - started
        child.returncode = os.waitstatus_to_exitcode(status)  # Popen must not wait for it again
        output.seek(0)
        said = output.read()
    if child.returncode:
        raise RuntimeError(f"{' '.join(command)}: exit code {child.returncode}: {said.strip()[:500]}")
    return Cost(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * _MAXRSS_BYTES, said)


@contextmanager
def answering_server(seconds: float = 0.0) -> Iterator[str]:
    """The base URL of a server that answers after so many seconds, in a process of its own."""
    command = [sys.executable, str(HERE / "answering_server.py"), str(seconds)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(server.stdout.readline())}/"
        finally:
            server.stdin.close()  # it ends by itself


_NGINX = """
daemon off; worker_processes 1; pid nginx.pid; error_log error.log; {user}
events {{ worker_connections 1024; }}
http {{
  access_log off; keepalive_requests 100000000; keepalive_timeout 60s; default_type text/html;
  client_body_temp_path body; proxy_temp_path proxy;
  fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
  server {{ listen 127.0.0.1:{port}; location / {{ return 200 "<br><br>Result:  OK"; }} }}
}}
"""


@contextmanager
def fast_server(folder: Path) -> Iterator[str]:
    """The base URL of a server that takes no processor worth mentioning: nginx's, or where there is none, our own."""
    nginx = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if nginx is None:
        print(
            "nginx is not installed (apt-get install nginx-light): the server takes its share of time", file=sys.stderr
        )
        with answering_server() as url:
            yield url
        return
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    home = folder / "nginx"
    home.mkdir()
    user = "user root;" if os.geteuid() == 0 else ""
    (home / "nginx.conf").write_text(_NGINX.format(port=port, user=user), encoding="utf-8")
    with subprocess.Popen([nginx, "-p", str(home), "-c", "nginx.conf", "-e", "error.log"]) as server:
        try:
            _wait_for(port)
            yield f"http://127.0.0.1:{port}/"
        finally:
            server.terminate()


def _wait_for(port: int) -> None:
    """Until someone listens there. Raises OSError where nobody does within some seconds."""
    for left in reversed(range(100)):
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except ConnectionRefusedError:
            if not left:
                raise
            time.sleep(0.05)
        else:
            return
