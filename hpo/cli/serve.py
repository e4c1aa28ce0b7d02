"""`hpo serve` and `hpo switch`: saved models behind HTTP, and changed while they serve."""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hpo.cli.dashboard import token_of
from hpo.cli.flags import Quiet, Storage, option
from hpo.errors import HpoError, SpecError

if TYPE_CHECKING:
    from hpo.serve.server import Server

_VARIABLE = "HPO_SERVE_TOKEN"
_WATCH_S = 5.0
_BEAT_S = 0.5
_MOST_A_SECOND = 1_000_000


def serve(
    models: Annotated[
        list[str],
        typer.Argument(
            help="Folders of saved or exported models; NAME=FOLDER names one.", show_default=False
        ),
    ],
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 takes a free one.")] = 8000,
    replicas: Annotated[
        str, typer.Option(help="Processes that answer: 2, or 1..4 to follow the load.")
    ] = "2",
    threads: Annotated[int, typer.Option(help="Cores for one run of a model.")] = 1,
    rate: Annotated[
        int | None, option("Requests a second that one address may send.", "--rate")
    ] = None,
    max_body: Annotated[int, typer.Option(help="Bytes that a request may have.")] = 16 * 2**20,
    token_file: Annotated[
        Path | None,
        option(
            f"File with the token; else {_VARIABLE}; beyond loopback one is made.", "--token-file"
        ),
    ] = None,
    watch: Annotated[
        str | None,
        option("Study whose new best is served, if it is better beyond noise.", "--watch"),
    ] = None,
    storage: Storage = None,
    own: Annotated[
        str | None, option("Your own model's class, for its artifact: ./mine.py:Net.", "--model")
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Serves saved models over HTTP: JSON and images in, answers out; on loopback unless told else.

    Ray Serve keeps the processes; `hpo switch` changes a model without a failed request.

    \b
    [dim]hpo serve hpo-runs/cnn-tpe/best
    hpo serve digits=hpo-runs/cnn-tpe/best names=hpo-runs/rnn-tpe/best --replicas 1..4
    curl -F image=@seven.png http://127.0.0.1:8000/v1/models/digits/predict[/dim]
    """
    import secrets

    from hpo.serve.control import check_free
    from hpo.serve.front import Address
    from hpo.serve.server import Plan, serving
    from hpo.tune.stop import Stop
    from hpo.web.dashboard import is_loopback

    if not 0 <= port <= 65535:
        raise SpecError(f"port: {port} must be between 0 and 65535")
    if rate is not None and not 1 <= rate <= _MOST_A_SECOND:
        raise SpecError(f"rate: {rate}: must be 1 to {_MOST_A_SECOND} a second")
    token = token_of(token_file, _VARIABLE)
    made = secrets.token_urlsafe(24) if token is None and not is_loopback(host) else None
    plan = Plan(Address(host, port, rate, max_body), _range(replicas), threads, token or made)
    named = dict(_named(text) for text in models)
    if len(named) != len(models):
        raise SpecError("models: two have one name: name them, NAME=FOLDER")
    better = None if watch is None else _Better(watch, storage, named, own)
    bundles = {name: str(_bundle(path, own, quiet)) for name, path in named.items()}
    check_free(port)
    ended = threading.Event()
    with Stop(limit_s=90) as stop, stop.calls(ended.set, lambda: None):
        with serving(plan, bundles) as server:
            _tell(server, host, made, quiet)
            _attend(server, ended, better, own)
            if not quiet:
                print("Ending: requests under way are answered.", flush=True)
        if stop.signal is not None:
            raise typer.Exit(128 + stop.signal)


def _attend(
    server: Server, ended: threading.Event, better: _Better | None, own: str | None
) -> None:
    """Until the end: hears its owner, follows the load, looks for a better model.

    Raises:
        HpoError: the front has died.
    """
    from hpo.serve.control import listening
    from hpo.serve.scaling import Scaling
    from hpo.tune.environment import ray_problem

    def act(request: dict[str, Any]) -> dict[str, Any]:
        name, path = str(request["name"]), str(request["path"])
        return {"name": name, "version": server.switch(name, str(_bundle(path, own, True)))}

    scaling = Scaling(*server.plan.replicas)
    with listening(server.front.port, act):
        while not ended.wait(_BEAT_S):
            if not server.front.alive():
                raise HpoError("HAProxy has ended: start the server again")
            if problem := ray_problem():
                raise HpoError(f"{problem}: start the server again")
            if errors := server.errors():
                print(errors, end="", file=sys.stderr, flush=True)
            n = server.n_replicas()
            try:
                if (wanted := scaling.wanted(server.front.in_flight(), n)) != n:
                    server.scale(wanted)
                if better is not None:
                    better.look(server)
            except HpoError as error:  # what is served goes on
                print(f"Error: {error}", file=sys.stderr, flush=True)


class _Better:
    """Looks for a study's new best every few seconds, and serves one that is better beyond noise.

    Args:
        study, storage: where `hpo retrain` notes its models.
        models: the one that is served, by its name: an artifact's folder.
        own: code of an own model.
    Raises:
        SpecError: no such study, several models, or one that does not say how it was confirmed.
    """

    def __init__(
        self, study: str, storage: str | None, models: dict[str, str], own: str | None
    ) -> None:
        from hpo.inference.bundle import is_bundle

        if len(models) != 1:
            raise SpecError("watch: serves one model: name one folder")
        ((self.name, path),) = models.items()
        if is_bundle(path):
            raise SpecError(
                f"watch: {path!r} is exported, and does not say what it was confirmed with: name "
                "the folder that `hpo retrain` saved"
            )
        self.study, self.storage, self.own = study, storage, own
        self.served = self.seen = str(Path(path).expanduser().resolve())
        self._looked = 0.0
        self._latest()

    def _latest(self) -> str:
        from hpo.cli.inspect import open_study

        retrained = open_study(self.storage, self.study).attr("hpo:retrained") or {}
        return str(retrained.get("path") or self.seen)

    def look(self, server: Server) -> None:
        """Raises HpoError if the study cannot be read, or its best cannot be served; that one is
        not tried again."""
        from hpo.outcome.promotion import compare

        if time.monotonic() - self._looked < _WATCH_S:
            return
        self._looked = time.monotonic()
        latest = self._latest()
        if latest == self.seen:
            return
        self.seen = latest
        decision = compare(latest, self.served)
        print(decision.reason, flush=True)
        if decision.promoted:
            version = server.switch(self.name, str(_bundle(latest, self.own, True)))
            self.served = latest
            print(f"{self.name}: version {version}", flush=True)


def switch(
    model: Annotated[
        str, typer.Argument(help="NAME=FOLDER of a saved or exported model.", show_default=False)
    ],
    port: Annotated[int, typer.Option(help="Of the running server.")] = 8000,
) -> None:
    """Changes a model of a running `hpo serve`, or adds one; no request fails meanwhile.

    [dim]Example:  hpo switch digits=hpo-runs/cnn-tpe/best-2[/dim]
    """
    from hpo.serve.control import ask

    name, path = _named(model)
    answer = ask(port, {"name": name, "path": str(Path(path).expanduser().absolute())})
    print(f"{answer['name']}: version {answer['version']}")


def _tell(server: Server, host: str, token: str | None, quiet: bool) -> None:
    from hpo.web.dashboard import is_loopback

    shown = f"[{host}]" if ":" in host else host
    base = f"http://{shown}:{server.front.port}"
    for name in server.models:
        print(f"{name}: {base}/v1/models/{name}/predict", flush=True)
    if not quiet:
        print(f"Try it: {base}/docs  (ctrl-C ends the server)", flush=True)
    if token is not None:
        print(f"Token: {token}", flush=True)
    if not is_loopback(host):
        print("Note: traffic is not encrypted; put a TLS proxy before it.", flush=True)


def _range(text: str) -> tuple[int, int]:
    """`2` or `1..4`."""
    low, dots, high = text.partition("..")
    try:
        return int(low), int(high if dots else low)
    except ValueError:
        raise SpecError(f"replicas: {text!r}: must be a number or a range: 2 or 1..4") from None


def _named(text: str) -> tuple[str, str]:
    """NAME=FOLDER, or a folder, named after its study."""
    name, equals, path = text.partition("=")
    if equals and "/" not in name:
        return name, path
    return _name_of(Path(text).expanduser()), text


def _name_of(folder: Path) -> str:
    """The study's name, as far as it can stand in an address."""
    from hpo.inference.bundle import Bundle, is_bundle

    if is_bundle(folder):
        name = str(Bundle.open(folder).facts["study"] or Bundle.open(folder).facts["model"])
    else:
        from hpo.outcome.artifact import read

        name = str(read(folder).study.get("name") or read(folder).model)
    kept = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "-" for c in name)
    return kept.lstrip("._-")[:64] or "model"


def _bundle(path: str, model: str | None, quiet: bool) -> Path:
    """The bundle behind a path; an exported one needs no torch."""
    from hpo.inference.bundle import is_bundle

    if is_bundle(path):
        return Path(path).expanduser().absolute()
    from hpo.cli.predict import exported

    return exported(path, model, quiet)


def register(app: typer.Typer) -> None:
    """Adds this file's commands."""
    for command in (serve, switch):
        app.command(rich_help_panel="Use")(command)
