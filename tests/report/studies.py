"""Studies in a storage as a run leaves them, without Ray: made up values, true states."""

from __future__ import annotations

import random
from typing import Any

from hpo import Choice, Float, Int, Space
from hpo.search import make_pruner, make_sampler
from hpo.storage.ledger import Ledger, StudyMeta
from hpo.storage.sql import open_storage

EVIL = "</script><script>alert(1)</script>"
SPACE = Space(
    lr=Float(1e-4, 1e-1, log=True),
    width=Int(8, 64),
    kind=Choice("a", EVIL, None),
    momentum=Float(0.0, 1.0, when={"kind": "a"}),
)


def make(
    url: str,
    name: str,
    n_trials: int = 12,
    *,
    sampler: str = "random",
    seed: int = 0,
    level: float = 0.9,
    direction: str = "maximize",
    space: Space = SPACE,
    data: str = "d",
    states: str = "",
) -> Ledger:
    """A study whose trial k ends as `states[k]` says: C, P (pruned), F (failed), L (lost), R; C."""
    meta = StudyMeta("m", "score", direction, space, data, 3, seed, {"sampler": sampler})  # type: ignore[arg-type]
    ledger = Ledger.create_or_open(
        open_storage(url, create=True),
        name,
        meta,
        lambda n: make_sampler(sampler, space, seed, n_trials_done=n),
        make_pruner("none", epochs=3),
    )
    rng = random.Random(f"{name}{seed}")
    sign = 1 if direction == "maximize" else -1
    for k in range(n_trials):
        asked = ledger.ask(origin={"driver": "one", "versions": {"torch": "2"}})
        assert asked is not None
        state = (states + "C" * n_trials)[k]
        run: dict[str, Any] = {"proposed_s": 0.01, "duration_s": 1.0, "worker": f"w{k % 2}"}
        value = sign * (level + rng.gauss(0, 0.01))
        n_epochs = {"C": 3, "P": 1, "R": 1}.get(state, 0)
        for epoch in range(1, n_epochs + 1):
            ledger.report(asked.number, epoch, value - sign * 0.1 / epoch)
        attrs = {"run": {**run, "device": "cpu", "epochs": n_epochs}}
        if state == "C":
            ledger.complete(asked.number, value, attrs)
        elif state == "P":
            ledger.prune(asked.number, attrs)
        elif state in "FL":
            kind: Any = "error" if state == "F" else "lost"
            ledger.fail(asked.number, f"no luck {EVIL}", None, attrs, kind=kind)
    return ledger
