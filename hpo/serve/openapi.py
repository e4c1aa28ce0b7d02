"""The description of a server's addresses (OpenAPI 3.1), and a page to try them."""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hpo.serve.models import Loaded

_ERRORS = {
    "400": "The body is no JSON, or empty.",
    "413": "The body or the list of items is too large.",
    "415": "A content type that is not taken.",
    "422": "An item is wrong; the line says which, and why.",
    "429": "Too many requests from this address.",
}


def _error(text: str) -> dict[str, Any]:
    schema = {"type": "object", "properties": {"error": {"type": "string"}}, "required": ["error"]}
    return {"description": text, "content": {"application/json": {"schema": schema}}}


def _ok(schema: dict[str, Any], text: str, kind: str = "application/json") -> dict[str, Any]:
    return {"200": {"description": text, "content": {kind: {"schema": schema}}}}


def _prediction(model: Loaded) -> dict[str, Any]:
    schema = model.predictor.schema()
    batch = {
        "type": "object",
        "properties": {
            "inputs": {"type": "array", "items": schema["input"], "minItems": 1, "maxItems": 1024}
        },
        "required": ["inputs"],
        "additionalProperties": False,
    }
    content: dict[str, Any] = {"application/json": {"schema": {"anyOf": [schema["input"], batch]}}}
    if model.takes_images:
        binary = {"type": "string", "contentMediaType": "application/octet-stream"}
        content["image/*"] = {"schema": binary}
        files = {"type": "object", "properties": {"image": {"type": "array", "items": binary}}}
        content["multipart/form-data"] = {"schema": files}
    answers = {
        "type": "object",
        "properties": {
            "model": {"type": "string"},
            "version": {"type": "integer"},
            "answers": {"type": "array", "items": schema["answer"]},
        },
        "required": ["model", "version", "answers"],
    }
    return {
        "summary": f"{model.predictor.task} by {model.name}",
        "requestBody": {"required": True, "content": content},
        "responses": {
            **_ok(answers, "One answer an item, in order."),
            **{code: _error(text) for code, text in _ERRORS.items()},
        },
    }


def description(models: Sequence[Loaded], with_token: bool) -> dict[str, Any]:
    """OpenAPI 3.1.

    Args:
        with_token: whether a token is asked for.
    """
    anything: dict[str, Any] = {"type": "object"}
    paths: dict[str, Any] = {
        "/v1/models": {"get": {"responses": _ok(anything, "Facts of all models.")}},
        "/healthz": {"get": {"responses": _ok(anything, "The server is alive.")}},
        "/readyz": {"get": {"responses": _ok(anything, "The server is ready.")}},
        "/metrics": {
            "get": {"responses": _ok({"type": "string"}, "Prometheus' text format.", "text/plain")}
        },
    }
    for model in models:
        paths[f"/v1/models/{model.name}"] = {
            "get": {"responses": _ok(anything, f"Facts of {model.name}.")}
        }
        paths[f"/v1/models/{model.name}/predict"] = {"post": _prediction(model)}
    found: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {"title": "hpo serve", "version": "1"},
        "paths": paths,
    }
    if with_token:
        found["components"] = {"securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}}
        found["security"] = [{"token": []}]
    return found


_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>hpo serve</title>
<meta name="viewport" content="width=device-width"><link rel="icon" href="data:,"><style>
:root {{color-scheme: light dark}}
body {{font: 16px/1.5 system-ui, sans-serif; max-width: 46rem; margin: 2rem auto; padding: 0 1rem}}
textarea, input, button {{font: inherit; max-width: 100%; box-sizing: border-box}}
textarea {{width: 100%; height: 5rem; font-family: monospace}}
pre {{overflow: auto; max-height: 20rem; padding: .6rem; border: 1px solid #8888;
  white-space: pre-wrap; overflow-wrap: anywhere}}
output {{display: block}} output img {{min-width: 8rem; image-rendering: pixelated}}
meter {{width: 12rem; max-width: 50%}}
</style><h1>Models served here</h1>
<p><a href="/openapi.json">openapi.json</a> describes all addresses,
<a href="/metrics">metrics</a> counts requests.</p>
<p><label>Token, if one is asked for <input id="token" type="password"></label></p>
{models}
<script>
async function send(form, body, kind) {{
  const headers = kind ? {{"Content-Type": kind}} : {{}};
  const token = document.getElementById("token").value;
  if (token) headers.Authorization = "Bearer " + token;
  const response = await fetch(form.dataset.to, {{method: "POST", headers, body}});
  const found = await response.json(), shown = form.querySelector("output");
  shown.replaceChildren();
  for (const answer of found.answers || []) show(answer, shown);
  shown.append(made("pre", {{textContent: JSON.stringify(found, null, 1)}}));
}}
function made(name, properties) {{
  return Object.assign(document.createElement(name), properties);
}}
function show(answer, shown) {{
  for (const png of answer.images || [answer.image || []].flat())
    shown.append(made("img", {{src: "data:image/png;base64," + png, alt: "the model's image"}}));
  const likely = Object.entries(answer.probabilities || {{}}).sort((a, b) => b[1] - a[1]);
  for (const [label, value] of likely.slice(0, 5)) {{
    const row = made("label", {{textContent: ` ${{label}} ${{value.toFixed(3)}}`}});
    row.prepend(made("meter", {{value}}));
    shown.append(row, made("br"));
  }}
}}
for (const form of document.forms) form.addEventListener("submit", event => {{
  event.preventDefault();
  const file = form.querySelector("input[type=file]");
  if (file && file.files.length) send(form, file.files[0], "application/octet-stream");
  else send(form, form.querySelector("textarea").value, "application/json");
}});
</script></html>"""
_MODEL = """<h2>{name}</h2><p>{task}, version {version}; {facts}</p>
<form data-to="/v1/models/{name}/predict"><p><label>JSON<textarea>{example}</textarea></label></p>
{file}<p><button>Predict</button></p><output></output></form>
<details><summary>Schema</summary><pre>{schema}</pre></details>"""
_FILE = '<p><label>or an image <input type="file" accept="image/*"></label></p>'


def page(models: Sequence[Loaded]) -> str:
    """HTML that fetches nothing from elsewhere."""
    parts = []
    for model in models:
        predictor, facts = model.predictor, model.predictor.info
        parts.append(
            _MODEL.format(
                name=html.escape(model.name),
                task=html.escape(predictor.task),
                version=model.version,
                facts=html.escape(f"{facts.get('model')} on {facts.get('data')}"),
                example=html.escape(json.dumps(_example(model))),
                file=_FILE if model.takes_images else "",
                schema=html.escape(json.dumps(predictor.schema(), indent=1)),
            )
        )
    return _PAGE.format(models="\n".join(parts))


def _example(model: Loaded) -> dict[str, Any]:
    for field, value in (("text", "a text"), ("seed", 0), ("image", "BASE64"), ("inputs", [])):
        if model.predictor.takes(field):
            return {field: value}
    return {}
