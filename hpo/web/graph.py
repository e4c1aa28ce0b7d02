"""A model's graph in Netron's page, on loopback, fetching nothing from elsewhere.

Netron's own server is not used: its page asks other hosts where the reader is, and reports what is
looked at.  Here the page is told that it is no release, and a policy lets it speak to this server
alone.
"""

from __future__ import annotations

import functools
import html
import re
import shutil
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote

from hpo.errors import HpoError, SpecError
from hpo.extras import need

_HOST = "127.0.0.1"
_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; connect-src 'self'; worker-src 'self' blob:; frame-src 'none'"
)
_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
_WAIT_MS = 60_000
_LARGEST_SIDE = 16_000
"""Of a picture, in pixels."""


class _Handler(SimpleHTTPRequestHandler):
    """Netron's files, its page with the graph's name, and the graph."""

    server: _Server

    def do_GET(self) -> None:
        if not self._is_for_here():
            self.send_error(403, "asked for under another name")
        elif self.path.partition("?")[0] in ("/", "/index.html"):
            self._send(self.server.page, "text/html; charset=utf-8")
        elif self.path.startswith("/data/"):
            self._send(self.server.file.read_bytes(), "application/octet-stream")
        else:
            super().do_GET()

    def do_HEAD(self) -> None:
        self.do_GET()

    def _is_for_here(self) -> bool:
        """Whether the request names this address: another site's page must not read the graph."""
        host = self.headers.get("Host", "").rpartition(":")[0]
        return host in (_HOST, "localhost")

    def _send(self, content: bytes, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def end_headers(self) -> None:
        self.send_header("Content-Security-Policy", _POLICY)
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Referrer-Policy", "no-referrer")
        # Without it the page asks another host for the reader's country first.
        self.send_header("Set-Cookie", "consent=none; SameSite=Strict")
        super().end_headers()

    def list_directory(self, path: Any) -> None:
        self.send_error(404)

    def log_message(self, format: str, *args: Any) -> None:
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, port: int, folder: Path, file: Path) -> None:
        self.file, self.page = file, _page(folder, file)
        handler = functools.partial(_Handler, directory=str(folder))
        super().__init__((_HOST, port), handler)


class Served:
    """A server in a thread of its own."""

    def __init__(self, server: _Server) -> None:
        self._server = server
        self._thread = threading.Thread(target=server.serve_forever, daemon=True)
        self._thread.start()
        self.url = f"http://{_HOST}:{server.server_address[1]}/"

    def wait(self) -> None:
        """Until the server is stopped or the user interrupts."""
        while self._thread.is_alive():
            self._thread.join(timeout=0.5)

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def serve(file: Path, port: int = 0) -> Served:
    """Serves a graph's file in Netron's page.

    Args:
        port: 0 takes a free one.
    Raises:
        SpecError: netron is missing, or the port is taken.
    """
    folder = need("netron", "command: view", "export")
    try:
        return Served(_Server(port, folder, file))
    except OSError as error:
        raise SpecError(f"port: {port}: {error.strerror}: choose another, or 0") from None


def _page(folder: Path, file: Path) -> bytes:
    """Netron's page, told the file, and neither its release nor its date."""
    page = (folder / "index.html").read_text(encoding="utf-8")
    name = html.escape(quote(file.name), quote=True)
    facts = (
        '<meta name="type" content="Python">\n<meta name="version" content="0.0.0">\n'
        f'<meta name="file" content="data/{name}">\n<meta name="identifier" content="{name}">'
    )
    page = re.sub(r'<meta name="date" content=".*">\n?', "", page)
    return re.sub(r'<meta name="version" content=".*">', lambda _: facts, page).encode()


def picture(url: str, file: Path) -> None:
    """Saves the whole graph as a PNG.

    Raises:
        SpecError: playwright or a Chromium is missing.
        HpoError: the page does not show the graph.
    """
    need("playwright", "png: the picture")
    from playwright.sync_api import Error, sync_playwright

    with sync_playwright() as playwright:
        own = Path(playwright.chromium.executable_path)
        program = (
            str(own) if own.is_file() else next(filter(None, map(shutil.which, _BROWSERS)), None)
        )
        if program is None:
            raise SpecError("png: needs a Chromium: install one, or `playwright install chromium`")
        try:
            browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": 1200, "height": 900})
            page.goto(url)
            page.wait_for_selector("body.default #canvas .node", timeout=_WAIT_MS)
            box = page.locator("#canvas").bounding_box(timeout=_WAIT_MS)
            assert box is not None
            width, height = (min(int(box[s]) + 80, _LARGEST_SIDE) for s in ("width", "height"))
            page.set_viewport_size({"width": max(width, 200), "height": max(height, 200)})
            page.locator("#canvas").screenshot(path=file, timeout=_WAIT_MS)
            browser.close()
        except Error as error:
            reason = str(error).strip().partition("\n")[0]
            raise HpoError(f"png: Chromium did not show the graph ({reason})") from None
