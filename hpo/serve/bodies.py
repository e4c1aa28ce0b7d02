"""Bodies of requests as items: JSON, an image, or a form of images; within limits as they come."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from python_multipart.exceptions import MultipartParseError
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException
from starlette.requests import Request

from hpo.inference.inputs import Item

MAX_ITEMS = 1024
_NO_IMAGES = "the model takes no image: send JSON, as the description at /openapi.json says"


async def items_of(request: Request, max_body: int, takes_images: bool) -> list[Item]:
    """The items that a request sends.

    Args:
        max_body: bytes that a body may have.
        takes_images: whether an image alone is an item of the model.
    Raises:
        HTTPException: 400, 413 or 415, with one line.
    """
    if (encoding := request.headers.get("content-encoding", "identity")) != "identity":
        raise HTTPException(415, f"content-encoding: {encoding[:20]!r}: send the body as it is")
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "application/json":
        return _from_json(await _body(request, max_body))
    if kind.startswith("image/") or kind == "application/octet-stream":
        if not takes_images:
            raise HTTPException(415, f"content-type: {kind!r}: {_NO_IMAGES}")
        return [{"image": await _body(request, max_body)}]
    if kind == "multipart/form-data":
        if not takes_images:
            raise HTTPException(415, f"content-type: {kind!r}: {_NO_IMAGES}")
        return await _from_form(request, max_body)
    raise HTTPException(
        415,
        f"content-type: {kind[:80]!r}: must be application/json, image/... or multipart/form-data",
    )


async def _body(request: Request, max_body: int) -> bytes:
    _check_length(request, max_body)
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > max_body:
            raise too_large(max_body)
        parts.append(part)
    return b"".join(parts)


def _check_length(request: Request, max_body: int) -> None:
    length = request.headers.get("content-length", "0")
    if not length.isdigit():
        raise HTTPException(400, f"content-length: {length[:20]!r} is no number of bytes")
    if int(length) > max_body:
        raise too_large(max_body)


def too_large(max_body: int) -> HTTPException:
    """413."""
    return HTTPException(413, f"body: may have {max_body} bytes: send less at a time")


def _from_json(body: bytes) -> list[Item]:
    try:
        found = orjson.loads(body)
    except ValueError as error:
        raise HTTPException(400, f"body: is no JSON ({str(error)[:120]})") from None
    items: Any = found
    if isinstance(found, Mapping) and "inputs" in found and _are_items(found["inputs"]):
        if set(found) != {"inputs"}:
            raise HTTPException(400, "body: must hold inputs alone beside its items")
        items = found["inputs"]
    elif isinstance(found, Mapping):
        items = [found]
    if not isinstance(items, list) or not items:
        raise HTTPException(400, 'body: must be one item, or {"inputs": [item, ...]}')
    if len(items) > MAX_ITEMS:
        raise HTTPException(413, f"inputs: {len(items)} items: may be {MAX_ITEMS} at a time")
    return items


def _are_items(inputs: Any) -> bool:
    """Whether it is a list of objects, and not the numbers of one item."""
    return isinstance(inputs, list) and (not inputs or isinstance(inputs[0], Mapping))


async def _from_form(request: Request, max_body: int) -> list[Item]:
    _check_length(request, max_body)
    if "content-length" not in request.headers:
        raise HTTPException(411, "content-length: is missing: a form needs it")
    items: list[Item] = []
    try:
        async with request.form(max_files=MAX_ITEMS, max_fields=0) as form:
            for _, value in form.multi_items():
                if isinstance(value, UploadFile):
                    items.append({"image": await value.read()})
    except (MultiPartException, MultipartParseError) as error:
        reason = getattr(error, "message", "") or str(error)
        raise HTTPException(
            400, f"body: is no form of files ({reason[:120]}): send images as files"
        ) from None
    if not items:
        raise HTTPException(400, "body: the form holds no file: send images as files")
    return items
