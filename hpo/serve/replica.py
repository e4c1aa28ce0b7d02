"""A replica: a process that Ray Serve starts, watches and replaces, and that listens itself.

Requests do not pass through Ray: its proxy and handles cost more than a small network's answer.
Ray Serve gives the number of processes, their health, their replacement and new settings.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

HOST = "127.0.0.1"
_DRAIN_S = 20


class Replica:
    """Serves the models on the first free port of those it is given.

    Args:
        ports: that the front knows.
        token_file: holds the token that is asked for; None: none is.
        max_body: bytes that a body may have.
        threads: cores that one run of a graph may use.
        log: file of what fails, which the server shows.
        host: name under which clients ask.
    """

    def __init__(
        self,
        ports: Sequence[int],
        token_file: str | None,
        max_body: int,
        threads: int,
        log: str,
        host: str,
    ) -> None:
        import uvicorn

        from hpo.serve.app import App
        from hpo.serve.figures import Figures
        from hpo.serve.models import Models

        handler = logging.FileHandler(log, encoding="utf-8")
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
        logging.getLogger("hpo.serve").addHandler(handler)
        figures = Figures()
        token = None if token_file is None else Path(token_file).read_text(encoding="utf-8")
        self.models = Models(figures.batch, threads)
        self.app = App(self.models, figures, token, max_body, host)
        self.socket = _bound(ports)
        config = uvicorn.Config(
            self.app,
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=False,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=_DRAIN_S,
            h11_max_incomplete_event_size=65_536,
        )
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(
            target=self.server.run, args=([self.socket],), name="http", daemon=True
        )
        self.thread.start()

    def reconfigure(self, settings: Mapping[str, Any]) -> None:
        """Serves other models from now on; Ray Serve calls it at the start and at each change."""
        self.models.load(settings["models"])

    def check_health(self) -> None:
        """Raises if the process no longer serves; Ray Serve replaces it then."""
        if not self.thread.is_alive():
            raise RuntimeError("the HTTP server has ended")

    def pid(self) -> int:
        """Of the process."""
        return os.getpid()

    def __del__(self) -> None:
        """Requests under way are answered; new ones go to others."""
        if not hasattr(self, "thread"):
            return
        self.app.draining = True
        self.server.should_exit = True
        self.thread.join(_DRAIN_S)


def _bound(ports: Sequence[int]) -> socket.socket:
    """A socket that listens on the first port that no other replica has."""
    for port in ports:
        found = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            found.bind((HOST, port))
            found.listen(1024)
        except OSError:
            found.close()
            continue
        return found
    raise RuntimeError(f"all ports of replicas are in use: {list(ports)}")
