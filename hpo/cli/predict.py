"""`hpo predict`: answers of a saved or exported model."""

from __future__ import annotations

import base64
import csv
import itertools
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hpo.cli import streams
from hpo.cli.flags import Quiet, check_output, option
from hpo.cli.output import Format, plain, print_json, print_rows, to_json
from hpo.errors import SpecError

if TYPE_CHECKING:
    from hpo.inference.predictor import Predictor
    from hpo.inference.sources import Source

_AT_ONCE = 256
"""Items that are read before they are answered."""
_FIELDS = {"image": "image", "characters": "text", "tokens": "text", "numbers": "inputs"}
_LONGEST_NAME = 80
"""Characters of a text in a table."""
_N_SHOWN = 3
"""Classes or neighbours in a table."""
_LARGEST_N = 100_000

Row = dict[str, Any]
Artifact = Annotated[
    str, typer.Argument(help="Folder of a saved or an exported model.", show_default=False)
]
OwnModel = Annotated[
    str | None, option("Your own model's class, for its artifact: ./mine.py:Net.", "--model")
]


class AnswerFormat(StrEnum):
    """How answers are printed."""

    table = "table"
    json = "json"
    csv = "csv"
    jsonl = "jsonl"


class Backend(StrEnum):
    """What computes the answers."""

    onnx = "onnx"
    torch = "torch"


def predict(
    path: Artifact,
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            help="Images, folders, patterns, texts, .csv, .txt, .npz; - for lines of stdin.",
            show_default=False,
        ),
    ] = None,
    text: Annotated[list[str] | None, option("A text, as it is. Repeatable.", "--text")] = None,
    n: Annotated[int | None, option("Images to generate; the k-th is of SEED + k.", "--n")] = None,
    seed: Annotated[int, typer.Option(help="Of generated images.", min=0)] = 0,
    to: Annotated[Path | None, option("Folder for the PNGs that the model makes.", "--to")] = None,
    form: Annotated[
        AnswerFormat, typer.Option("-f", "--format", help="How to print the answers.")
    ] = AnswerFormat.table,
    backend: Annotated[
        Backend, typer.Option(help="onnx; torch for comparison, from an artifact.")
    ] = Backend.onnx,
    model: OwnModel = None,
    quiet: Quiet = False,
) -> None:
    """Answers of a saved model for images, texts or numbers.

    What cannot be read is told in one line each; the exit code is 1 then, or 2 if nothing could.

    \b
    [dim]hpo predict hpo-runs/cnn-tpe/best photo.png ./more
    hpo predict hpo-runs/rnn-tpe/best Yamamoto O\\'Brien -f json
    hpo predict hpo-runs/gan-tpe/best --n 16 --seed 1 --to ./made[/dim]
    """
    predictor = _predictor(path, backend, model, quiet)
    found = _sources_for(predictor, inputs or [], text or [], n, seed)
    if to is None and form in (AnswerFormat.table, AnswerFormat.csv) and _makes_images(predictor):
        raise SpecError(f"to: missing: name a folder for the images, or take -f json (not {form})")
    if to is not None:
        check_output(str(to), "to")
    work = _Work(predictor, to, quiet)
    rows = work.rows(found)
    if form is AnswerFormat.jsonl:
        for row in rows:
            with streams.answer():
                print(to_json(row))
    else:
        found_rows = list(rows)
        with streams.answer():
            _print(found_rows, form)
    if work.n_wrong:
        raise typer.Exit(1 if work.n_read else 2)


def _predictor(path: str, backend: Backend, model: str | None, quiet: bool) -> Predictor:
    if backend is Backend.torch:
        from hpo.inference.bundle import is_bundle
        from hpo.outcome.deployed import Deployed

        if is_bundle(path):
            raise SpecError(f"backend: torch: {path!r} is an exported model: give its artifact")
        return Deployed.open(path, model).predictor()
    from hpo.inference.predictor import Predictor

    return Predictor.open(exported(path, model, quiet))


def exported(path: str, model: str | None, quiet: bool) -> Path:
    """The bundle in ONNX behind a path; that it has to be made first is told."""
    from hpo.outcome.artifact import check_network, is_artifact
    from hpo.outcome.export import bundle_of, has_bundle

    if is_artifact(path) and not has_bundle(path):
        check_network(path)
        if not quiet:
            print(f"Exporting {path} to ONNX first.", file=sys.stderr)
    return bundle_of(path, model)


def _makes_images(predictor: Predictor) -> bool:
    return predictor.task in ("generation", "reconstruction")


def _sources_for(
    predictor: Predictor, inputs: list[str], texts: list[str], n: int | None, seed: int
) -> Iterator[Source]:
    """The items, if there are any that the model takes."""
    from hpo.inference.sources import Source, sources_of

    field = _FIELDS.get(str(predictor.settings.get("input")), "")
    takes_text = field == "text" or predictor.task == "retrieval"
    if n is not None and not _makes_images(predictor):
        raise SpecError(f"n: {n}: a model for {predictor.task} makes no images")
    if n is not None and not 1 <= n <= _LARGEST_N:
        raise SpecError(f"n: {n}: must be 1 to {_LARGEST_N}")
    if texts and not takes_text:
        raise SpecError(f"text: {texts[0][:40]!r}: a model for {predictor.task} takes no texts")
    if inputs and not field:
        raise SpecError(f"input: {inputs[0][:60]!r}: a model for {predictor.task} takes none: --n")
    if not inputs and not texts and n is None:
        if predictor.task != "generation":
            kind = {"text": "texts, .txt or .csv files", "inputs": ".npz or .csv files"}
            raise SpecError(f"input: missing: name {kind.get(field, 'images or folders')}")
        n = 1
    made = [
        Source(f"seed {seed + k}", lambda k=k: {"seed": seed + k, "n": 1})  # type: ignore[misc]
        for k in range(n or 0)
    ]
    return itertools.chain(made, sources_of(inputs, texts, field))


class _Work:
    """Reads and answers; counts what was read and what could not be.

    Attributes:
        n_read: items that were answered.
        n_wrong: items that could not be read.
    """

    def __init__(self, predictor: Predictor, to: Path | None, quiet: bool) -> None:
        self.predictor, self.to, self.quiet = predictor, to, quiet
        self.n_read = self.n_wrong = 0

    def rows(self, sources: Iterator[Source]) -> Iterator[Row]:
        """{"input", ...answer} of each item that can be read, in order."""
        if self.predictor.task == "retrieval":  # its answers speak of each other
            yield from self._answered(list(self._shown(sources)))
            return
        shown = self._shown(sources)
        while chunk := list(itertools.islice(shown, _AT_ONCE)):
            yield from self._answered(chunk)

    def _shown(self, sources: Iterator[Source]) -> Iterator[Source]:
        """The same, with a bar on a terminal."""
        if self.quiet or not sys.stderr.isatty():
            yield from sources
            return
        from rich.console import Console
        from rich.progress import track

        listed = list(sources)
        bar = Console(stderr=True)
        yield from track(listed, "reading and answering", console=bar, transient=True)

    def _answered(self, sources: Sequence[Source]) -> Iterator[Row]:
        from hpo.inference.answers import check_finite

        names, kinds, rows = [], [], []
        for source in sources:
            try:
                item = source.load()
                row = self.predictor.read(item)
            except SpecError as error:
                self._refuse(source.name, error)
                continue
            names.append(source.name)
            kinds.append(dict.fromkeys(item))
            rows.append(row)
        answers = self.predictor.relate(kinds, self.predictor.answer(rows))
        for index, (name, answer) in enumerate(zip(names, answers, strict=True)):
            try:
                check_finite(index, answer)
            except SpecError as error:
                self._refuse(name, error)
                continue
            self.n_read += 1
            yield self._row(name, answer, names)

    def _refuse(self, name: str, error: SpecError) -> None:
        self.n_wrong += 1
        print(f"Error: {_shortened(name)}: {error}", file=sys.stderr)

    def _row(self, name: str, answer: Mapping[str, Any], names: Sequence[str]) -> Row:
        row: Row = {"input": name, **answer}
        if "scores" in row:
            row["scores"] = [
                {"input": names[pair["item"]], "score": pair["score"]} for pair in row["scores"]
            ]
        if "images" in row and len(row["images"]) == 1:
            row["image"] = row.pop("images")[0]
        if self.to is not None and "image" in row:
            row["image"] = str(self._save(row["image"], name))
        return row

    def _save(self, content: str, name: str) -> Path:
        """Writes a PNG under a name of its own."""
        assert self.to is not None
        self.to.mkdir(parents=True, exist_ok=True)
        stem = Path(name.replace(" ", "-").replace(":", "-")).stem or "image"
        path = self.to / f"{stem}.png"
        k = 2
        while path.exists():
            path, k = self.to / f"{stem}-{k}.png", k + 1
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            draft.write_bytes(base64.b64decode(content))
            draft.replace(path)
        finally:  # an interrupt leaves nothing half-written
            draft.unlink(missing_ok=True)
        return path


def _print(rows: list[Row], form: AnswerFormat) -> None:
    if form is AnswerFormat.json:
        print_json(rows)
    elif form is AnswerFormat.csv:
        _print_csv(rows)
    elif rows:
        shorts = [_short(row) for row in rows]
        columns = list(dict.fromkeys(key for short in shorts for key in short))
        print_rows([{c: short.get(c) for c in columns} for short in shorts], Format.table)


def _print_csv(rows: list[Row]) -> None:
    """A column a value; a class's probability has the class's name."""
    flat = []
    for row in rows:
        cells: Row = {}
        for key, value in row.items():
            if isinstance(value, Mapping):
                one = "probability" if key == "probabilities" else key
                cells.update({f"{one} {name}": item for name, item in value.items()})
            elif isinstance(value, list):
                cells[key] = json.dumps(plain(value), ensure_ascii=False)
            else:
                cells[key] = value
        flat.append(cells)
    columns = list(dict.fromkeys(key for cells in flat for key in cells))
    writer = csv.DictWriter(sys.stdout, columns)
    if columns:
        writer.writeheader()
    writer.writerows(flat)


def _shortened(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"


def _short(row: Row) -> Row:
    """What a terminal has room for."""
    short: Row = {}
    for key, value in row.items():
        if key == "probabilities":
            others = sorted(value.items(), key=lambda pair: -pair[1])[1:_N_SHOWN]
            short["then"] = ", ".join(f"{name} {p:.3f}" for name, p in others)
        elif key == "scores":
            best = value[:_N_SHOWN]
            short["nearest"] = ", ".join(f"{s['input']} {s['score']:.3f}" for s in best)
        elif key == "input":
            short[key] = _shortened(value)
        elif isinstance(value, list):
            short[key] = f"{len(value)} numbers"
        elif isinstance(value, Mapping):
            short[key] = json.dumps(plain(value))[:200]
        else:
            short[key] = value
    return short


def register(app: typer.Typer) -> None:
    """Adds this file's command."""
    app.command(rich_help_panel="Use")(streams.user_code()(predict))
