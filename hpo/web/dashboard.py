"""Serves the Optuna dashboard over the storage, on loopback, behind the guard.

The URL is never on a command line, where `ps` would show its password.
"""

from __future__ import annotations

import ipaddress
import socket
import socketserver
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from hpo.errors import SpecError
from hpo.web.guard import Guard


class _Server(socketserver.ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Requests are not logged."""


def make_dashboard(
    storage_url: str,
    host: str,
    port: int,
    artifacts: Path,
    *,
    token: str | None = None,
    allow_edits: bool = False,
    names: Iterable[str] = (),
) -> WSGIServer:
    """A bound server; `serve_forever()` starts it.

    Args:
        token: asked for; None on loopback: not asked for.
        names: further host names under which it may be used, behind a proxy for example.
    Raises:
        SpecError: the port is in use or no port, the host no address of this machine, or it can
            be reached from elsewhere and has no token.
        StorageError: the storage can't be opened.
    """
    from optuna_dashboard import wsgi

    from hpo.storage.sql import open_storage
    from hpo.web.artifacts import PlainFiles
    from hpo.web.readable import Readable

    if not 0 <= port <= 65535:
        raise SpecError(f"port: {port} must be between 0 and 65535")
    if token is None and not is_loopback(host):
        raise SpecError(f"host: {host!r} can be reached from elsewhere: a token is needed")
    storage = open_storage(storage_url, create=False)
    store = PlainFiles(str(artifacts)) if artifacts.is_dir() else None
    own = {"127.0.0.1", "localhost", "::1", host.lower(), socket.gethostname().lower()}
    own |= {name.lower() for name in names} | (set() if is_loopback(host) else _addresses())
    readable = Readable(wsgi(storage, artifact_store=store), storage)
    app = Guard(readable, frozenset(own), token, allow_edits)
    try:
        return make_server(host, port, app, server_class=_Server, handler_class=_Quiet)
    except (OSError, OverflowError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise SpecError(
            f"port: cannot listen on {host}:{port} ({reason}): choose another with --port"
        ) from None


def _addresses() -> set[str]:
    try:
        return {str(found[4][0]) for found in socket.getaddrinfo(socket.gethostname(), None)}
    except OSError:
        return set()


def serve(server: WSGIServer, host: str, token_shown: str | None) -> None:
    """Serves until SIGINT or SIGTERM, and prints where.

    Args:
        token_shown: a token made for this run, to be printed; None: the user has it already.
    """
    print(f"Dashboard: http://{host}:{server.server_port}/dashboard/  (ctrl-C ends it)", flush=True)
    if token_shown is not None:
        print(f"Token: {token_shown}", flush=True)
    if not is_loopback(host):
        print("Note: traffic is not encrypted; put a TLS proxy before it.", flush=True)
    try:
        server.serve_forever()
    finally:
        server.server_close()


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches the address."""
    try:
        found = {str(one[4][0]) for one in socket.getaddrinfo(host, None)}
    except (OSError, UnicodeError):
        return False
    return all(ipaddress.ip_address(address.partition("%")[0]).is_loopback for address in found)
