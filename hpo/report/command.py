"""The command that makes a study again."""

from __future__ import annotations

import shlex
from typing import Any

from hpo.objectives import direction_of
from hpo.report.frame import spent
from hpo.report.study import StudyReport
from hpo.storage.warm_start import started_from

_RERUN_KEYS = ("pruner", "epochs", "seed", "precision", "accumulate", "max_concurrent")


def rerun_command(report: StudyReport) -> str:
    """The command that makes this study."""
    meta, spec = report.view.meta, report.spec
    parts: list[Any] = ["hpo", "run", "--model", meta.model, "--data", meta.data]
    if meta.data == "own":
        parts = parts[:4]
    parts += [
        "--sampler",
        meta.settings.get("sampler", "tpe"),
        "--n-trials",
        len(spent(report.frame)),
    ]
    for key in _RERUN_KEYS:
        value = spec.get(key, getattr(meta, key, None))
        if value is not None:
            parts += [f"--{key.replace('_', '-')}", value]
    turned = direction_of(meta.metric) not in ("", meta.direction)  # by its name, the other way
    if turned and not spec.get("objectives"):
        parts += ["--objective", meta.objectives[0]]
    for flag in ("objectives", "constraints"):
        for text in spec.get(flag) or ():
            parts += [f"--{flag.removesuffix('s')}", text]
    for name, text in (spec.get("set") or {}).items():
        parts += ["--set", f"{name}={text}"]
    for entry in started_from(report.view.study.user_attrs):
        parts += ["--warm-start", entry["study"]]
    parts += ["--name", report.view.name]
    return shlex.join(str(part) for part in parts)
