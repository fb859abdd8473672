"""TLS to the vendors: whose word for a host is taken, and sessions that go on over the next connection.

A server that closes each connection, as many do behind PHP, costs a handshake for every row: one that goes on with a
session spares both sides the certificate and the signature.
"""

from __future__ import annotations

import ssl
from functools import lru_cache
from typing import Any

import httpx

from pipeline.model import UserError


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


def resuming(context: ssl.SSLContext) -> ssl.SSLContext:
    """The same context, whose connections go on with the last session of their host.

    asyncio and uvloop have no word for sessions; the class of the context's TLS objects is where they can be had.
    """
    sessions: dict[str | None, ssl.SSLSession] = {}

    class Resuming(ssl.SSLObject):
        _has_begun = _is_kept = False

        def do_handshake(self) -> None:
            if not self._has_begun:
                self._has_begun = True
                if (known := sessions.get(self.server_hostname)) is not None:
                    self.session = known
            super().do_handshake()

        def read(self, *args: Any) -> Any:  # bytes, or how many went into a buffer
            received = super().read(*args)
            if not self._is_kept and self.session is not None:  # the server's tickets come before its first reply
                self._is_kept = True
                sessions[self.server_hostname] = self.session
            return received

    context.sslobject_class = Resuming
    return context
