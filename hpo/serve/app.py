"""The HTTP application of a replica.

POST /v1/models/NAME/predict   items in, answers out; /v1/predict where one model is served
GET  /v1/models, /v1/models/NAME, /healthz, /readyz, /metrics, /openapi.json, /docs
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import time
import traceback
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import orjson
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from hpo.errors import InputError
from hpo.inference.answers import check_finite
from hpo.inference.inputs import Item, Row
from hpo.serve.bodies import items_of
from hpo.serve.figures import CONTENT_TYPE, Figures
from hpo.serve.models import Loaded, Models
from hpo.serve.openapi import description, page

MAX_BODY = 16 * 2**20
_INLINE_BYTES = 65_536
"""Items of a larger body are read in a thread: to decode a large image takes long."""
_N_READERS = 2
"""Such threads: a decoded image may hold 200 MB."""
_BODY_S = 60
_ANSWER_S = 50
"""The longest that a request may take for its body, and for its answers after that; HAProxy waits
for more than both."""
_FEWER = "send fewer, or smaller ones, at a time"
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "frame-ancestors 'none'",
    "Cache-Control": "no-store",
}
_OPEN = ("/healthz", "/readyz")
_HERE = ("127.0.0.1", "localhost", "::1")
_log = logging.getLogger("hpo.serve")


class App:
    """An ASGI application.

    Args:
        models: what answers.
        figures: what is counted.
        token: asked for as `Authorization: Bearer TOKEN`; None: not asked for.
        max_body: bytes that a body may have.
        host: name under which it is asked, beside this machine's own for itself.
    """

    def __init__(
        self,
        models: Models,
        figures: Figures,
        token: str | None = None,
        max_body: int = MAX_BODY,
        host: str = "localhost",
    ) -> None:
        self._hosts = {*_HERE, host.lower()}
        self.models, self.figures, self.token, self.max_body = models, figures, token, max_body
        self.draining = False
        self._readers = ThreadPoolExecutor(_N_READERS, thread_name_prefix="read")
        handlers: dict[Any, Callable[[Request, Any], Awaitable[Response]]] = {
            HTTPException: _refused,
            Exception: _failed,
        }
        self.starlette = Starlette(
            routes=[
                Route("/v1/models/{name}/predict", self.predict, methods=["POST"]),
                Route("/v1/predict", self.predict, methods=["POST"]),
                Route("/v1/models/{name}", self.model),
                Route("/v1/models", self.listed),
                Route("/healthz", self.health),
                Route("/readyz", self.ready),
                Route("/metrics", self.metrics),
                Route("/openapi.json", self.openapi),
                Route("/docs", self.docs),
            ],
            exception_handlers=handlers,
        )

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self.starlette(scope, receive, send)
            return
        if (problem := self._foreign(scope)) is not None:
            await _line(403, problem)(scope, receive, send)
            return
        if self.token is not None and scope["path"] not in _OPEN and not self._known(scope):
            refusal = _line(401, "authorization: a token is needed: send Authorization: Bearer")
            refusal.headers["WWW-Authenticate"] = "Bearer"
            await refusal(scope, receive, send)
            return
        if scope["method"] == "POST" and (name := _predicted(scope["path"])) is not None:
            # Past the router and what surrounds it, which take as long as a small network.
            request = Request({**scope, "path_params": {"name": name} if name else {}}, receive)
            response = await self._safely(request)
            await response(scope, receive, send)
            return
        await self.starlette(scope, receive, send)

    async def _safely(self, request: Request) -> Response:
        try:
            return await self.predict(request)
        except HTTPException as error:
            return await _refused(request, error)
        except Exception as error:
            return await _failed(request, error)

    def _foreign(self, scope: Any) -> str | None:
        """Why a request is refused that a page elsewhere may have made a visitor's browser send."""
        headers = dict(scope["headers"])
        host, origin = headers.get(b"host", b"").decode("latin-1"), headers.get(b"origin")
        try:
            name = urlsplit(f"//{host}").hostname
            asked_by = host if origin is None else urlsplit(origin.decode("latin-1")).netloc
        except ValueError:
            return f"host: {host[:80]!r}: is no host's name"
        if self.token is None and host and name not in self._hosts:
            return f"host: {host[:80]!r}: without a token only localhost is answered"
        if asked_by != host:
            return "origin: a page from elsewhere asks: call the server from a program, or /docs"
        return None

    def _known(self, scope: Any) -> bool:
        given = next((v for k, v in scope["headers"] if k == b"authorization"), b"")
        kind, _, token = given.partition(b" ")
        assert self.token is not None
        return kind.lower() == b"bearer" and hmac.compare_digest(token.strip(), self.token.encode())

    async def predict(self, request: Request) -> Response:
        """Answers of the model for the items of the body."""
        begun, status = time.perf_counter(), 500
        try:
            model = self._model(request)
        except HTTPException as error:
            self.figures.request("-", error.status_code, begun)
            raise
        in_flight = self.figures.in_flight.labels(model.name)
        in_flight.inc()
        try:
            response = await self._answered(model, request)
            status = response.status_code
            return response
        except HTTPException as error:
            status = error.status_code
            raise
        finally:
            in_flight.dec()
            self.figures.request(model.name, status, begun)

    async def _answered(self, model: Loaded, request: Request) -> Response:
        predictor = model.predictor
        try:
            async with asyncio.timeout(_BODY_S):
                items = await items_of(request, self.max_body, model.takes_images)
        except ClientDisconnect:
            raise HTTPException(400, "body: ended before it was whole") from None
        except TimeoutError:
            raise HTTPException(408, f"body: did not arrive within {_BODY_S} s") from None
        try:
            async with asyncio.timeout(_ANSWER_S):
                rows = await self._read(predictor, items, request)
                answers = await model.batcher.answer(rows)
                for index, answer in enumerate(answers):
                    check_finite(index, answer)
                answers = predictor.relate(items, answers)
        except InputError as error:
            raise HTTPException(422, f"item {error.index}: {error}") from None
        except TimeoutError:
            raise HTTPException(413, f"inputs: take more than {_ANSWER_S} s: {_FEWER}") from None
        content = {"model": model.name, "version": model.version, "answers": answers}
        return _json(content)

    async def _read(self, predictor: Any, items: list[Item], request: Request) -> list[Row]:
        end = time.monotonic() + _ANSWER_S

        def read() -> list[Row]:
            rows = []
            for index, item in enumerate(items):
                if time.monotonic() > end:  # nobody waits for them any more
                    raise TimeoutError
                rows.append(predictor.read(item, index))
            return rows

        length = request.headers.get("content-length", "")
        if length.isdigit() and int(length) <= _INLINE_BYTES:
            return read()
        return await asyncio.get_running_loop().run_in_executor(self._readers, read)

    def _model(self, request: Request) -> Loaded:
        by_name = self.models.by_name
        name = request.path_params.get("name")
        if name is None and len(by_name) == 1:
            return next(iter(by_name.values()))
        if name is None or name not in by_name:
            choices = ", ".join(by_name)
            found = "missing" if name is None else f"{str(name)[:80]!r} is not served"
            raise HTTPException(404, f"model: {found}: choose from {choices}")
        return by_name[name]

    async def model(self, request: Request) -> Response:
        """Facts of one model."""
        return _json(self._model(request).facts())

    async def listed(self, request: Request) -> Response:
        """Facts of all models."""
        return _json({"models": [model.facts() for model in self.models.by_name.values()]})

    async def health(self, request: Request) -> Response:
        """The process answers."""
        return _line(200, "alive")

    async def ready(self, request: Request) -> Response:
        """Models are loaded, and the replica is not about to end."""
        if self.draining or not self.models.by_name:
            return _line(503, "draining" if self.draining else "loading")
        return _line(200, "ready")

    async def metrics(self, request: Request) -> Response:
        """Prometheus' text format."""
        return Response(self.figures.text(), media_type=CONTENT_TYPE, headers=_HEADERS)

    async def openapi(self, request: Request) -> Response:
        """The description of all of this."""
        return _json(description(list(self.models.by_name.values()), self.token is not None))

    async def docs(self, request: Request) -> Response:
        """A page to try it."""
        return HTMLResponse(page(list(self.models.by_name.values())), headers=_HEADERS)


def _predicted(path: str) -> str | None:
    """The model that a path asks for an answer; '' for the only one; None: another path."""
    if path == "/v1/predict":
        return ""
    name = path.removeprefix("/v1/models/").removesuffix("/predict")
    whole = path == f"/v1/models/{name}/predict"
    return name if whole and name and "/" not in name else None


def _json(content: Any) -> Response:
    text = orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)
    return Response(text, media_type="application/json", headers=_HEADERS)


def _line(status: int, message: str) -> JSONResponse:
    key = "status" if status in (200, 503) else "error"
    return JSONResponse({key: message}, status, headers=_HEADERS)


async def _refused(request: Request, error: HTTPException) -> Response:
    response = _line(error.status_code, str(error.detail))
    for name, value in (error.headers or {}).items():
        response.headers[name] = value  # Allow, of a wrong method
    if error.status_code in (400, 408, 411, 413, 415):
        response.headers["Connection"] = "close"  # the rest of the body is not waited for
    return response


async def _failed(request: Request, error: Exception) -> Response:
    # Not the error's message: it may hold a part of the request.
    where = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{where.filename}:{where.lineno}, in {where.name}"
    _log.error("%s %s: %s at %s", request.method, request.url.path, type(error).__name__, place)
    return _line(500, "the model failed on this request; the server's log says why")
