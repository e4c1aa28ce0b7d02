"""What a run of a study came to: the best, confirmed and tested, and its model."""

from __future__ import annotations

import html
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpo.api.study import Study

if TYPE_CHECKING:
    import pandas as pd

    from hpo.api.life import Outcome


class StudyResult(Study):
    """A study that `hpo.run` has carried out.

    >>> result = hpo.run(train, space=Space(lr=Float(1e-4, 1e-1, log=True)))  # doctest: +SKIP
    >>> result.best.params, result.test  # doctest: +SKIP
    """

    def __init__(self, outcome: Outcome, given: Any) -> None:
        """
        Args:
            given: the model as `hpo.run` was given it.
        """
        self._open = outcome.ledger
        self._outcome = outcome
        self._given = given

    @property
    def confirmed(self) -> pd.DataFrame | None:
        """The best configurations and the default on new seeds, the best mean first.

        Columns: trial, default, searched (its value in the search), mean, sd, n_seeds, params.
        None: nothing was retrained.
        """
        import pandas as pd

        retrained = self._outcome.retrained
        if retrained is None:
            return None
        rows = [
            {
                "trial": one.number,
                "default": one.is_default,
                "searched": one.searched,
                "mean": one.mean,
                "sd": one.sd,
                "n_seeds": len(one.values),
                "params": one.params,
            }
            for one in retrained.ranking
        ]
        return pd.DataFrame(rows)

    @property
    def verdict(self) -> str | None:
        """Whether the best beats the default beyond noise, in words."""
        retrained = self._outcome.retrained
        return None if retrained is None else retrained.verdict

    @property
    def test(self) -> Mapping[str, float] | None:
        """Metrics of the retrained model on the test split, which nothing else has seen."""
        retrained = self._outcome.retrained
        return None if retrained is None else dict(retrained.test)

    @property
    def path(self) -> Path | None:
        """The folder of the retrained model."""
        retrained = self._outcome.retrained
        return None if retrained is None else retrained.path

    @property
    def report(self) -> Path | None:
        """The study's page."""
        return self._outcome.page

    @cached_property
    def model(self) -> Any:
        """The retrained `nn.Module`, loaded when it is first asked for.

        Raises:
            SpecError: nothing was retrained, or the model is a function, which alone can load what
                it returned.
        """
        from hpo.errors import SpecError
        from hpo.outcome.artifact import load

        if self.path is None:
            raise SpecError(f"study {self.name!r}: nothing was retrained: see hpo.retrain")
        return load(self.path, model=self._given)

    def _repr_html_(self) -> str:
        """The result as a notebook shows it."""
        best = self.best
        rows = {"study": self.name, "objective": self._view.meta.goal}
        rows["trials"] = ", ".join(f"{n} {state}" for state, n in self.counts.items())
        if best is not None:
            values = ", ".join(f"{name} {value:.4g}" for name, value in best.values.items())
            rows["best of the search"] = f"trial {best.number}: {values}"
            rows["parameters"] = ", ".join(f"{k}={_short(v)}" for k, v in best.params.items())
        if self.test:
            rows["test"] = ", ".join(f"{name} {value:.4g}" for name, value in self.test.items())
        if self.verdict:
            rows["verdict"] = self.verdict
        for name, path in (("model", self.path), ("report", self.report)):
            if path is not None:
                rows[name] = str(path)
        cells = "".join(
            f"<tr><th style='text-align:left'>{name}</th>"
            f"<td style='text-align:left'>{html.escape(text)}</td></tr>"
            for name, text in rows.items()
        )
        return f"<table>{cells}</table>"


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
