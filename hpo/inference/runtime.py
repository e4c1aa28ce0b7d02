"""Runs a bundle's graphs by onnxruntime, on cores."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from hpo.errors import SpecError
from hpo.extras import need
from hpo.inference.bundle import Bundle

Array = NDArray[Any]


class Runtime(Protocol):
    """Whatever can run the graphs of a deployed model."""

    def run(self, graph: str, *arrays: Array) -> list[Array]:
        """Outputs of a graph, in its order.

        Args:
            graph: its name.
            arrays: its inputs, in its order, of a common first dimension.
        """


class OnnxRuntime:
    """The graphs of a bundle in ONNX."""

    def __init__(self, bundle: Bundle, threads: int = 1) -> None:
        """Args:
            threads: cores that one run may use.
        Raises:
            SpecError: the bundle holds no ONNX, or onnxruntime is missing.
        """
        need("onnxruntime", "runtime: onnx", "export")
        if bundle.kind != "onnx":
            raise SpecError(
                f"path: {str(bundle.path)!r} holds {bundle.kind}: make one with "
                "`hpo export ARTIFACT --format onnx`"
            )
        self.bundle, self.threads = bundle, threads
        self._inputs: Mapping[str, list[str]] = {
            name: list(graph["inputs"]) for name, graph in bundle.graphs.items()
        }
        self._sessions: dict[str, Any] = {name: self._open(name) for name in bundle.graphs}

    def _open(self, graph: str) -> Any:
        file = self.bundle.file(self.bundle.graphs[graph]["file"])
        try:
            return session_of(str(file), self.threads, bool(self.bundle.facts.get("unpack")))
        except Exception as error:  # onnxruntime's own classes derive from Exception alone
            reason = str(error).partition("\n")[0][:200]
            raise SpecError(
                f"path: {str(file)!r} is no graph that onnxruntime reads: {reason}"
            ) from None

    def run(self, graph: str, *arrays: Array) -> list[Array]:
        session = self._sessions[graph]
        feeds = dict(zip(self._inputs[graph], map(np.ascontiguousarray, arrays), strict=True))
        outputs: list[Array] = session.run(None, feeds)
        return outputs


def session_of(graph: str | bytes, threads: int, unpack: bool) -> Any:
    """A session of onnxruntime.

    Args:
        graph: path or content of an ONNX file.
        threads: cores that one run may use.
        unpack: whether weights that are stored as integers become floats when it is opened, once,
            and not in each run; not for graphs that compute in integers.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    if unpack:
        options.add_session_config_entry("session.disable_quant_qdq", "1")
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
