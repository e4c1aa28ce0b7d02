"""What a running server is told by its owner: a Unix socket in a folder of theirs alone."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import socketserver
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from hpo.errors import HpoError, SpecError

_LIMIT_S = 120
_MOST_BYTES = 65_536

Act = Callable[[dict[str, Any]], dict[str, Any]]


def _folder() -> Path:
    return Path(tempfile.gettempdir()) / f"hpo-serve-{os.getuid()}"


def _socket_of(port: int) -> Path:
    return _folder() / f"{port}.sock"


class _Handler(socketserver.StreamRequestHandler):
    server: _Server

    def handle(self) -> None:
        line = self.rfile.readline(_MOST_BYTES)
        try:
            answer = self.server.act(json.loads(line))
        except HpoError as error:
            answer = {"error": str(error), "exit_code": error.exit_code}
        except (ValueError, KeyError, TypeError) as error:
            answer = {"error": f"request: is not understood ({error})", "exit_code": 2}
        except Exception as error:  # told to who asks: what is served goes on
            answer = {"error": f"{type(error).__name__}: {error}", "exit_code": 1}
        self.wfile.write(json.dumps(answer).encode() + b"\n")


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    act: Act


def check_free(port: int) -> None:
    """Raises SpecError if a server of this user has that port, on whatever address: it is told by
    the port alone what to serve."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        try:
            connection.connect(str(_socket_of(port)))
        except OSError:
            return
    raise SpecError(f"port: {port}: a `hpo serve` of yours has it: choose another with --port")


@contextlib.contextmanager
def listening(port: int, act: Act) -> Iterator[None]:
    """Lets the owner of this process speak to the server of that port.

    Args:
        act: answers a request; raises HpoError for what it refuses.
    Raises:
        HpoError: the folder belongs to somebody else.
    """
    folder = _folder()
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != os.getuid():
        raise HpoError(f"serve: {str(folder)!r} belongs to another user: remove it")
    folder.chmod(0o700)
    path = _socket_of(port)
    path.unlink(missing_ok=True)
    with _Server(str(path), _Handler) as server:
        server.act = act
        thread = threading.Thread(target=server.serve_forever, name="control", daemon=True)
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            path.unlink(missing_ok=True)


def ask(port: int, request: dict[str, Any]) -> dict[str, Any]:
    """Tells a running server something.

    Raises:
        SpecError: no server of this user listens on that port of this machine.
        HpoError: it refuses, or does not answer.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(_LIMIT_S)
        try:
            connection.connect(str(_socket_of(port)))
        except OSError:
            raise SpecError(
                f"port: {port}: no `hpo serve` of yours runs there on this machine: "
                "start one, or name its --port"
            ) from None
        try:
            connection.sendall(json.dumps(request).encode() + b"\n")
            with connection.makefile("rb") as answers:
                answer: dict[str, Any] = json.loads(answers.readline())
        except (OSError, ValueError) as error:
            raise HpoError(
                f"port: {port}: the server did not answer ({type(error).__name__}): see what it "
                "prints"
            ) from None
    if "error" in answer:
        kind = SpecError if answer.get("exit_code") == 2 else HpoError
        raise kind(answer["error"])
    return answer
