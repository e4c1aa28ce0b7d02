"""Makes a saved model smaller: pruned, of fewer bits, measured, and the best written as a bundle.

ARTIFACT/compressed/         the chosen variant, a bundle as `hpo export` writes them
"""

from __future__ import annotations

import copy
import io
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpo.deployment import Deployment
from hpo.errors import HpoError, SpecError
from hpo.extras import need
from hpo.inference import bundle
from hpo.model import Model
from hpo.outcome.artifact import Artifact, load, read
from hpo.outcome.deployed import Deployed, ModelLike
from hpo.outcome.evaluate import Evaluation
from hpo.outcome.evaluated import Evaluated, code_of, record
from hpo.outcome.export import bundle_of, facts_of
from hpo.outcome.graph_formats import dynamic_of, to_onnx
from hpo.outcome.latency import latencies
from hpo.outcome.quality import Graphs, Judge, drop
from hpo.outcome.quantization import OPSET, lean, quantize, weight_bytes
from hpo.outcome.rows import Rows, find_rows
from hpo.outcome.variants import ORIGINAL, Compression, Test, Variant, choose
from hpo.outcome.wishes import Wishes
from hpo.registry import find_data, load_data
from hpo.training.session import SPLIT_SEED

if TYPE_CHECKING:
    from torch import nn

_CALIBRATION_ROWS, _AT_ONCE = 256, 32
Progress = Callable[[str], None]


def compress(
    path: str | Path,
    wishes: Wishes,
    *,
    to: str | Path | None = None,
    model: ModelLike = None,
    progress: Progress = lambda phase: None,
) -> Compression:
    """Makes the variants, measures them, and writes the smallest that is good enough.

    Args:
        path: the folder that `hpo retrain` printed.
        to: folder of the bundle; default PATH/compressed.
        model: the code of one's own model.
        progress: is told what is being done.
    Raises:
        SpecError: no saved model there, its code or data is missing, or it cannot be pruned so.
        HpoError: no graph of it can be exported or measured.
    """
    for package in ("onnx", "onnxruntime", "onnxscript"):
        need(package, "compress", "export")
    artifact = artifact_at(path)
    target = Path(to).expanduser().absolute() if to is not None else default_target(path)
    bundle.check_target(target)
    code = code_of(artifact, model, path)
    rows = validation_rows(artifact, code)
    progress("exporting")
    maker = Maker.open(path, code, rows, progress)
    variants, graphs = maker.variants(wishes)
    chosen = choose(variants, wishes.max_drop)
    judge = maker.judge
    found = Compression(
        path=maker.deployed.path,
        model=artifact.model,
        study=str(artifact.study.get("name", "")),
        data=rows.data,
        metric=judge.metric,
        direction="maximize" if judge.sign > 0 else "minimize",
        max_drop=wishes.max_drop,
        n_rows=len(rows.split[0]),
        variants=variants,
        chosen=chosen,
        notes=[
            *_notes(variants, bool(maker.notes), chosen is not None),
            *judge.notes,
            *maker.notes,
        ],
    )
    if chosen is None:
        return found
    found = _tested(maker, found, graphs[chosen])
    progress("writing")
    return replace(found, to=_written(maker, found, graphs[chosen], target))


def measure(path: str | Path, wishes: Wishes, *, model: ModelLike = None) -> Variant:
    """The last of the variants that these wishes come to, on validation rows: for a search.

    Nothing is chosen or written, and the test rows stay unseen.

    Args:
        path, model: as for `compress`.
        wishes: prunes, or has one method, or both; neither: the original.
    Raises:
        SpecError, HpoError: as `compress`; that variant failed.
    """
    code = code_of(artifact_at(path), model, path)
    rows = validation_rows(artifact_at(path), code)
    variants, _ = Maker.open(path, code, rows, lambda phase: None).variants(wishes)
    if variants[-1].quality is None:
        raise HpoError(variants[-1].problem)
    return variants[-1]


def artifact_at(path: str | Path) -> Artifact:
    """The facts of the saved model.

    Raises:
        SpecError: there is none; a bundle is none either.
    """
    if bundle.is_bundle(path):
        raise SpecError(
            f"path: {str(path)!r} is an exported model, which is not trained any more: give the "
            "folder that `hpo retrain` printed"
        )
    return read(path)


def validation_rows(artifact: Artifact, code: Model) -> Rows:
    """What variants are judged on.

    Raises:
        SpecError: the model's data is not there, has changed, or has no validation rows.
    """
    data = load_data(code, find_data(code, artifact.data), SPLIT_SEED)
    if data is not None and (not data.val or not len(data.val[0])):
        raise SpecError(
            f"data: {data.name!r} has no validation rows, which variants are judged on: give its "
            "data some"
        )
    return find_rows(artifact, code, None, "val")


def default_target(path: str | Path) -> Path:
    """Where the chosen variant is written."""
    return Path(path).expanduser().absolute() / "compressed"


def _notes(variants: Sequence[Variant], trained_on: bool, chosen: bool) -> list[str]:
    more = ", and pruned ones were trained on them once more" if trained_on else ""
    tested = "; the test rows were used once, for the chosen one alone" if chosen else ""
    notes = [
        "Variants are chosen by what they lose on validation rows, which the saved network has "
        f"learned from{more}: on new rows the loss may be larger{tested}."
    ]
    if any(v.pruned and not v.structured for v in variants):
        notes.append(
            "Single weights that are pruned stay as zeros: the file is smaller only when packed, "
            "and nothing is faster."
        )
    notes += [f"{v.name} failed: {v.problem}" for v in variants if v.problem]
    return notes


@dataclass(frozen=True)
class Maker:
    """Makes variants of one saved model, and measures them."""

    deployed: Deployed
    code: Model
    rows: Rows
    network: nn.Module
    original: Graphs
    judge: Judge
    notes: list[str]
    progress: Progress

    @classmethod
    def open(cls, path: str | Path, code: Model, rows: Rows, progress: Progress) -> Maker:
        """Loads the network and its exported graphs, which are made if they are not there."""
        deployed = Deployed.open(path, code)
        network = load(path, code, rows.trained)
        made = bundle.Bundle.open(bundle_of(path, code))
        original = {
            name: made.file(facts["file"]).read_bytes() for name, facts in made.graphs.items()
        }
        judge = Judge(deployed, code, network, rows.split, original)
        return cls(deployed, code, rows, network, original, judge, [], progress)

    def variants(self, wishes: Wishes) -> tuple[list[Variant], dict[str, Graphs]]:
        """The original first; graphs by the variants' names."""
        graphs: dict[str, Graphs] = {ORIGINAL: self.original}
        found = [Variant(ORIGINAL, 0.0, False, "")]
        bases: list[tuple[Variant, Deployment]] = [(found[0], self.deployed.deployment)]
        if wishes.prune:
            self.progress("pruning")
            of_what = "channels" if wishes.structured else "pruned"
            name = f"{of_what} {100 * wishes.prune:g} %"
            variant = Variant(name, wishes.prune, wishes.structured, "")
            bases.append((variant, self._pruned(wishes)))
            found.append(variant)
        for base, deployment in bases:
            written = written_anew(deployment)
            if base.name != ORIGINAL:
                graphs[base.name] = {name: lean_file(file) for name, file in written.items()}
            for method in wishes.methods:
                name = method if base.name == ORIGINAL else f"{base.name}, {method}"
                self.progress(f"making {name}")
                variant = replace(base, name=name, method=method)
                try:
                    graphs[name] = quantized(self.deployed, deployment, written, method)
                except HpoError as error:
                    variant = replace(variant, problem=str(error))
                found.append(variant)
        return self._measured(found, graphs), graphs

    def _pruned(self, wishes: Wishes) -> Deployment:
        """The network without the weights or channels that matter least, trained on."""
        from hpo.outcome import pruning

        network = copy.deepcopy(self.network)
        artifact, info = self.deployed.artifact, self.deployed.info
        deployment = self.code.deployment(network, artifact.params, info)
        kept: Any = ([], [])
        if wishes.structured:
            pruning.cut_channels(network, deployment, wishes.prune)
        else:
            parameters = pruning.prunable(network, deployment)
            kept = parameters, pruning.masks_of(parameters, wishes.prune)
            pruning.zero(*kept)
        epochs = wishes.fine_tune
        epochs = max(1, self.code.epochs // 2) if epochs is None else epochs
        self.progress(f"training on for {epochs} epochs")
        assert self.rows.trained is not None
        network = pruning.fine_tuned(
            network, self.code, artifact.params, self.rows.trained, epochs, kept, wishes.seed
        )
        if epochs:
            self.notes.append(f"The pruned network was trained on for {epochs} epochs.")
        return self.code.deployment(network, artifact.params, info)

    def _measured(self, found: list[Variant], graphs: dict[str, Graphs]) -> list[Variant]:
        original = self.judge.original
        measured = []
        for variant in found:
            if variant.name in graphs:
                self.progress(f"measuring {variant.name}")
                files = graphs[variant.name]
                try:
                    quality = original if variant.name == ORIGINAL else self.judge.of(files)
                    variant = replace(
                        variant,
                        n_bytes=sum(map(len, files.values())),
                        packed=_packed(files),
                        weights=sum(map(weight_bytes, files.values())),
                        quality=quality.measure,
                        drop=drop(original, quality, self.judge.sign),
                    )
                except HpoError as error:
                    variant = replace(variant, problem=str(error))
            measured.append(variant)
        self.progress("timing")
        made = {v.name: graphs[v.name] for v in measured if v.quality is not None}
        unpacked = {v.name for v in measured if v.unpacked}
        times = latencies(self.deployed, made, unpacked)
        return [replace(v, latency=times.get(v.name, {})) for v in measured]


def written_anew(deployment: Deployment) -> Graphs:
    """Its graphs in ONNX, of the opset that quantization needs."""
    return {name: to_onnx(graph, OPSET, {}) for name, graph in deployment.graphs.items()}


def quantized(deployed: Deployed, deployment: Deployment, written: Graphs, method: str) -> Graphs:
    """The same graphs with fewer bits, calibrated on training rows.

    Args:
        deployment: of the network, as it is or pruned.
        written: its graphs, from `written_anew`.
        method: of METHODS.
    """
    made = {}
    for name, content in written.items():
        graph = deployment.graphs[name]
        columns = deployed.rows(graph, _CALIBRATION_ROWS)
        feeds = [
            {
                key: column[k : k + _AT_ONCE].numpy()
                for key, column in zip(graph.inputs, columns, strict=True)
            }
            for k in range(0, len(columns[0]), _AT_ONCE)
        ]
        made[name] = quantize(content, method, feeds)
    return made


def lean_file(content: bytes) -> bytes:
    """An ONNX file without notes on where its nodes come from."""
    import onnx

    return lean(onnx.load_from_string(content))


def _packed(files: Graphs) -> int:
    """Bytes of a zip file of them."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, file in files.items():
            archive.writestr(name, file)
    return len(content.getvalue())


def _tested(maker: Maker, found: Compression, chosen: Graphs) -> Compression:
    """The chosen variant and the original on the test rows, which is noted in the saved folder."""
    artifact = maker.deployed.artifact
    try:
        rows = find_rows(artifact, maker.code, None, "test")
    except SpecError as error:
        return replace(found, notes=[*found.notes, f"Not tested: {error}"])
    judge = Judge(maker.deployed, maker.code, maker.network, rows.split, maker.original)
    quality = judge.of(chosen)
    n = len(rows.split[0])
    test = Test(
        judge.original.measure, quality.measure, drop(judge.original, quality, judge.sign), n
    )
    evaluation = Evaluation(n, {judge.metric: quality.value}, {}, {})
    try:
        times = record(Evaluated(maker.deployed.path, artifact, rows, evaluation, 0))
    except OSError:
        times = 1
    notes = list(found.notes)
    if times > 1:
        notes.append(f"The network has now been measured on its test rows {times} times.")
    return replace(found, test=test, notes=notes)


def _written(maker: Maker, found: Compression, graphs: Graphs, target: Path) -> Path:
    """The chosen variant as a bundle."""
    deployed, deployment = maker.deployed, maker.deployed.deployment
    facts = facts_of(deployed, "onnx", OPSET)
    files = dict(deployment.files)
    for name, content in graphs.items():
        files[f"{name}.onnx"] = content
        graph = deployment.graphs[name]
        facts["graphs"][name] = {
            "file": f"{name}.onnx",
            "inputs": list(graph.inputs),
            "outputs": list(graph.outputs),
            "dynamic": dynamic_of(graph),
        }
    variant = next(v for v in found.variants if v.name == found.chosen)
    assert variant.drop is not None
    facts["test"] = {} if found.test is None else {found.metric: found.test.chosen.value}
    facts["created"] = datetime.now(UTC).isoformat(timespec="seconds")
    facts["unpack"] = variant.unpacked
    facts["compressed"] = {
        "variant": variant.name,
        "pruned": variant.pruned,
        "structured": variant.structured,
        "method": variant.method,
        "metric": found.metric,
        "drop_on_validation_rows": variant.drop.value,
        "original_bytes": found.original.n_bytes,
    }
    return bundle.write(target, facts, files)
