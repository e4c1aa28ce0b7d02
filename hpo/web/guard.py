"""What stands before the dashboard, which knows no users: who may come in, and what they may do.

Host and Origin are checked, so that a page elsewhere cannot drive the server through a visitor's
browser; a token is asked for where others can reach it; nothing is changed unless that is allowed;
files are sent for saving, never to be run by the browser.
"""

from __future__ import annotations

import hmac
import html
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs, urlsplit

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
Application = Callable[[Environ, StartResponse], Iterable[bytes]]

COOKIE = "hpo_token"
MAX_BODY = 16 * 2**20
_READS = ("GET", "HEAD", "OPTIONS")
_HEADERS = [
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("Referrer-Policy", "same-origin"),
]
_SAVE = [("Content-Disposition", "attachment"), ("Content-Security-Policy", "sandbox")]
_LOGIN = """<!doctype html><html lang="en"><meta charset="utf-8"><title>hpo dashboard</title>
<meta name="viewport" content="width=device-width"><style>
body {{font: 16px/1.5 system-ui, sans-serif; max-width: 24rem; margin: 15vh auto; padding: 0 1rem}}
input, button {{font: inherit; padding: .4rem; width: 100%; box-sizing: border-box}}
</style><h1>hpo dashboard</h1><p role="alert">{message}</p>
<form method="post" action="/login"><label>Token, as <code>hpo dashboard</code> printed it
<input type="password" name="token" autocomplete="current-password" autofocus required></label>
<button>Enter</button></form></html>"""


@dataclass(frozen=True)
class Guard:
    """A WSGI application before another.

    Attributes:
        hosts: names under which the server is used, without ports.
        token: asked for, by `Authorization: Bearer TOKEN`, or by a cookie that the login page
            sets; None: not asked for.
        allow_edits: let through what changes something.
    """

    app: Application
    hosts: frozenset[str]
    token: str | None = None
    allow_edits: bool = False

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        host = urlsplit(f"//{environ.get('HTTP_HOST', '')}")
        origin = environ.get("HTTP_ORIGIN")
        if _name(host) not in self.hosts:
            return _refuse(start_response, "403 Forbidden", "not used under this name")
        if origin is not None and urlsplit(origin).netloc != environ.get("HTTP_HOST"):
            return _refuse(start_response, "403 Forbidden", "asked for by a page from elsewhere")
        if _length(environ) > MAX_BODY:
            return _refuse(start_response, "413 Content Too Large", "at most 16 MB are taken")
        if self.token is not None:
            if environ.get("PATH_INFO") == "/login":
                return self._login(environ, start_response)
            if not self._known(environ):
                return self._ask(environ, start_response, "401 Unauthorized", "A token is needed.")
        if environ.get("REQUEST_METHOD") not in _READS and not self.allow_edits:
            reason = "read-only: start it with --allow-edits to change something"
            return _refuse(start_response, "403 Forbidden", reason)
        return self.app(environ, _with_headers(environ, start_response))

    def _known(self, environ: Environ) -> bool:
        kind, _, given = environ.get("HTTP_AUTHORIZATION", "").partition(" ")
        if kind.lower() == "bearer":
            return self._is_token(given.strip())
        try:
            cookie = SimpleCookie(environ.get("HTTP_COOKIE", "")).get(COOKIE)
        except CookieError:
            return False
        return cookie is not None and self._is_token(cookie.value)

    def _is_token(self, given: str) -> bool:
        return hmac.compare_digest(given.encode(), (self.token or "").encode())

    def _login(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if environ.get("REQUEST_METHOD") != "POST":
            return self._ask(environ, start_response, "200 OK", "")
        body = environ["wsgi.input"].read(min(_length(environ), 4096)).decode(errors="replace")
        (given,) = parse_qs(body).get("token", [""])[:1]
        if not self._is_token(given):
            return self._ask(environ, start_response, "401 Unauthorized", "That is not the token.")
        cookie = f"{COOKIE}={given}; HttpOnly; SameSite=Strict; Path=/"
        start_response("303 See Other", [("Location", "/dashboard/"), ("Set-Cookie", cookie)])
        return [b""]

    @staticmethod
    def _ask(
        environ: Environ, start_response: StartResponse, status: str, message: str
    ) -> Iterable[bytes]:
        if "text/html" not in environ.get("HTTP_ACCEPT", ""):
            return _refuse(start_response, status, message or "POST the token here")
        page = _LOGIN.format(message=html.escape(message)).encode()
        start_response(status, [("Content-Type", "text/html; charset=utf-8"), *_HEADERS])
        return [page]


def _name(host: Any) -> str | None:
    try:
        return str(host.hostname) if host.hostname else None
    except ValueError:
        return None


def _length(environ: Environ) -> int:
    try:
        return int(environ.get("CONTENT_LENGTH") or 0)
    except ValueError:
        return MAX_BODY + 1


def _refuse(start_response: StartResponse, status: str, reason: str) -> Iterable[bytes]:
    start_response(status, [("Content-Type", "text/plain; charset=utf-8"), *_HEADERS])
    return [f"hpo dashboard: {reason}\n".encode()]


def _with_headers(environ: Environ, start_response: StartResponse) -> StartResponse:
    added = _HEADERS + (_SAVE if environ.get("PATH_INFO", "").startswith("/artifacts/") else [])
    names = {name.lower() for name, _ in added}

    def start(status: str, headers: list[tuple[str, str]], *rest: Any) -> Any:
        kept = [(name, value) for name, value in headers if name.lower() not in names]
        return start_response(status, kept + added, *rest)

    return start
