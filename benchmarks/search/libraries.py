"""Other libraries as peers, each asked the way its documentation tells for trials run elsewhere.

Every library gets the same space: a `Float` as a real number, an `Int` as an integer, a `Choice`
as a categorical.  Conditions are handed to those that have them (hyperopt: nested choices; SMAC3:
ConfigSpace's conditions); the others search the flat space, and what is not active in a point is
ignored.
"""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections.abc import Callable, Mapping
from typing import Any

from hpo.parameter import Choice, Parameter, as_values, lattice
from hpo.space import Space


def active(space: Space, flat: Mapping[str, Any]) -> dict[str, Any]:
    """The active part of a point that gives every parameter a value."""
    point: dict[str, Any] = {}
    for name in space.order:
        if space.is_active(name, point):
            point[name] = flat[name]
    return point


def from_index(p: Parameter, value: Any) -> Any:
    """The value behind an index into a parameter's lattice, or behind a real number."""
    values = lattice(p)
    return float(value) if values is None else values[round(float(value))]


class HyperoptAsker:
    """hyperopt's TPE; trials that are still running are unknown to it, as in hyperopt itself."""

    def __init__(self, space: Space, seed: int, n_trials: int, n_parallel: int) -> None:
        import numpy as np
        from hyperopt import Trials
        from hyperopt.base import Domain

        logging.getLogger("hyperopt").setLevel(logging.ERROR)
        self._space = space
        self._tree = self._branch(space, {})
        self._trials = Trials()
        self._domain = Domain(lambda point: 0.0, self._tree)
        self._rng = np.random.default_rng(seed)

    def _branch(self, space: Space, nodes: dict[str, Any]) -> dict[str, Any]:
        return {name: self._node(name, nodes) for name in space if not space[name].when}

    def _node(self, name: str, nodes: dict[str, Any]) -> Any:
        """One parameter, the same object in every branch; a choice holds what depends on it."""
        from hyperopt import hp

        if name in nodes:
            return nodes[name]
        p = self._space[name]
        values = lattice(p)
        if isinstance(p, Choice):
            options = []
            for value in p.choices:
                children = {
                    child: self._node(child, nodes)
                    for child in self._space
                    if value in as_values((self._space[child].when or {}).get(name, ()))
                }
                options.append({name: value, **children})
            nodes[name] = hp.choice(name, options)
        elif values is not None:
            nodes[name] = hp.uniformint(name, 0, len(values) - 1)
        else:
            nodes[name] = hp.uniform(name, p.low, p.high)
        return nodes[name]

    def ask(self) -> tuple[Any, Mapping[str, Any]]:
        from hyperopt import space_eval, tpe

        ids = self._trials.new_trial_ids(1)
        self._trials.refresh()
        seed = int(self._rng.integers(2**31 - 1))
        docs = tpe.suggest(ids, self._domain, self._trials, seed, verbose=False)
        self._trials.insert_trial_docs(docs)
        self._trials.refresh()
        chosen = {name: v[0] for name, v in docs[0]["misc"]["vals"].items() if v}
        return ids[0], self._decode(space_eval(self._tree, chosen))

    def _decode(self, nested: Mapping[str, Any]) -> dict[str, Any]:
        """Branches hold their own value and what depends on it."""
        point: dict[str, Any] = {}
        for name, value in nested.items():
            if isinstance(value, dict):
                point |= self._decode(value)
            elif isinstance(self._space[name], Choice):
                point[name] = value
            else:
                point[name] = from_index(self._space[name], value)
        return point

    def tell(self, token: Any, params: Mapping[str, Any], loss: float) -> None:
        from hyperopt import JOB_STATE_DONE

        doc = next(d for d in reversed(self._trials._dynamic_trials) if d["tid"] == token)
        doc["state"] = JOB_STATE_DONE
        doc["result"] = {"loss": loss, "status": "ok"}
        self._trials.refresh()


class ScikitOptimizeAsker:
    """`skopt.Optimizer` at its defaults (Gaussian process, gp_hedge); batches by constant liar."""

    def __init__(self, space: Space, seed: int, n_trials: int, n_parallel: int) -> None:
        import skopt

        self._space = space
        self._optimizer = skopt.Optimizer(space.skopt_dimensions(), random_state=seed)
        self._n_parallel = n_parallel
        self._waiting: list[Any] = []

    def ask(self) -> tuple[Any, Mapping[str, Any]]:
        if not self._waiting:
            self._waiting = list(self._optimizer.ask(n_points=self._n_parallel))
        values = self._waiting.pop(0)
        return values, self._space.from_skopt(values)

    def tell(self, token: Any, params: Mapping[str, Any], loss: float) -> None:
        self._optimizer.tell(token, loss)


class NevergradAsker:
    """nevergrad's NGOpt, which picks an algorithm by the space, the budget and the workers."""

    def __init__(self, space: Space, seed: int, n_trials: int, n_parallel: int) -> None:
        import nevergrad as ng

        def parameter(p: Parameter) -> Any:
            values = lattice(p)
            if isinstance(p, Choice):
                return ng.p.Choice(range(len(p.choices)))
            if values is not None:
                return ng.p.Scalar(lower=0, upper=len(values) - 1).set_integer_casting()
            return ng.p.Scalar(lower=p.low, upper=p.high)

        tree = ng.p.Dict(**{name: parameter(space[name]) for name in space})
        tree.random_state.seed(seed)
        self._space = space
        self._optimizer = ng.optimizers.NGOpt(tree, budget=n_trials, num_workers=n_parallel)

    def ask(self) -> tuple[Any, Mapping[str, Any]]:
        candidate = self._optimizer.ask()
        flat = {name: from_index(self._space[name], v) for name, v in candidate.value.items()}
        return candidate, active(self._space, flat)

    def tell(self, token: Any, params: Mapping[str, Any], loss: float) -> None:
        self._optimizer.tell(token, loss)


class HeboAsker:
    """HEBO; it knows no running trials, so workers share its batches."""

    def __init__(self, space: Space, seed: int, n_trials: int, n_parallel: int) -> None:
        import numpy as np
        import torch
        from hebo.design_space.design_space import DesignSpace
        from hebo.optimizers.hebo import HEBO

        np.random.seed(seed)
        torch.manual_seed(seed)
        torch.set_num_threads(1)

        def parameter(name: str, p: Parameter) -> dict[str, Any]:
            values = lattice(p)
            if isinstance(p, Choice):
                return {"name": name, "type": "cat", "categories": list(map(str, p.choices))}
            if values is not None:
                return {"name": name, "type": "int", "lb": 0, "ub": len(values) - 1}
            return {"name": name, "type": "num", "lb": p.low, "ub": p.high}

        self._space = space
        design = DesignSpace().parse([parameter(name, space[name]) for name in space])
        self._optimizer = HEBO(design, scramble_seed=seed)
        self._n_parallel = n_parallel
        self._waiting: list[Any] = []

    def ask(self) -> tuple[Any, Mapping[str, Any]]:
        if not self._waiting:
            frame = self._optimizer.suggest(n_suggestions=self._n_parallel)
            self._waiting = [frame.iloc[[i]] for i in range(len(frame))]
        row = self._waiting.pop(0)
        flat = {}
        for name, value in row.iloc[0].items():
            p = self._space[name]
            names = {str(choice): choice for choice in p.choices} if isinstance(p, Choice) else {}
            flat[name] = names[value] if names else from_index(p, value)
        return row, active(self._space, flat)

    def tell(self, token: Any, params: Mapping[str, Any], loss: float) -> None:
        import numpy as np

        self._optimizer.observe(token, np.array([[loss]]))


class SmacAsker:
    """SMAC3's facade for hyperparameters: random forests, log EI, a Sobol start."""

    def __init__(self, space: Space, seed: int, n_trials: int, n_parallel: int) -> None:
        from pathlib import Path

        from ConfigSpace import (
            CategoricalHyperparameter,
            ConfigurationSpace,
            InCondition,
            UniformFloatHyperparameter,
            UniformIntegerHyperparameter,
        )
        from smac import HyperparameterOptimizationFacade, Scenario

        def parameter(name: str, p: Parameter) -> Any:
            values = lattice(p)
            if isinstance(p, Choice):
                return CategoricalHyperparameter(name, p.choices)
            if values is not None:
                return UniformIntegerHyperparameter(name, 0, len(values) - 1)
            return UniformFloatHyperparameter(name, p.low, p.high)

        params = {name: parameter(name, space[name]) for name in space}
        theirs = ConfigurationSpace(seed=seed)
        theirs.add(list(params.values()))
        theirs.add(
            [
                InCondition(params[name], params[parent], list(as_values(values)))
                for name in space
                for parent, values in (space[name].when or {}).items()
            ]
        )
        self._space = space
        self._folder = tempfile.TemporaryDirectory()
        scenario = Scenario(
            theirs,
            deterministic=True,
            n_trials=n_trials,
            seed=seed,
            output_directory=Path(self._folder.name),
        )
        self._smac = HyperparameterOptimizationFacade(
            scenario, lambda config, seed=0: 0.0, logging_level=False, overwrite=True
        )

    def ask(self) -> tuple[Any, Mapping[str, Any]]:
        info = self._smac.ask()
        point = {}
        for name, value in dict(info.config).items():
            p = self._space[name]
            point[name] = value if isinstance(p, Choice) else from_index(p, value)
            if isinstance(p, Choice):  # Not numpy's text or numbers.
                point[name] = next(choice for choice in p.choices if choice == value)
        return info, point

    def tell(self, token: Any, params: Mapping[str, Any], loss: float) -> None:
        from smac.runhistory import TrialValue

        self._smac.tell(token, TrialValue(cost=loss), save=False)


class AxAsker:
    """Ax's client at its default, the `fast` method.

    The space is flat: Ax's own dependent parameters may hang on one value of their parent only.
    """

    def __init__(self, space: Space, seed: int, n_trials: int, n_parallel: int) -> None:
        import torch
        from ax.api.client import Client
        from ax.api.configs import ChoiceParameterConfig, RangeParameterConfig

        torch.set_num_threads(1)
        logging.getLogger("ax").setLevel(logging.ERROR)
        warnings.simplefilter("ignore")

        def parameter(name: str, p: Parameter) -> Any:
            values = lattice(p)
            if isinstance(p, Choice):
                return ChoiceParameterConfig(
                    name=name,
                    values=[str(value) for value in p.choices],
                    parameter_type="str",
                    is_ordered=False,
                )
            if values is not None:
                return RangeParameterConfig(
                    name=name, bounds=(0, len(values) - 1), parameter_type="int"
                )
            return RangeParameterConfig(name=name, bounds=(p.low, p.high), parameter_type="float")

        self._space = space
        self._client = Client(random_seed=seed)
        self._client.configure_experiment([parameter(name, space[name]) for name in space])
        self._client.configure_optimization(objective="-loss")

    def ask(self) -> tuple[Any, Mapping[str, Any]]:
        ((index, values),) = self._client.get_next_trials(max_trials=1).items()
        flat = {}
        for name, value in values.items():
            p = self._space[name]
            names = {str(choice): choice for choice in p.choices} if isinstance(p, Choice) else {}
            flat[name] = names[value] if names else from_index(p, value)
        return index, active(self._space, flat)

    def tell(self, token: Any, params: Mapping[str, Any], loss: float) -> None:
        self._client.complete_trial(token, raw_data={"loss": loss})


LIBRARIES: dict[str, Callable[[Space, int, int, int], Any]] = {
    "hyperopt": HyperoptAsker,
    "scikit-optimize": ScikitOptimizeAsker,
    "nevergrad": NevergradAsker,
    "hebo": HeboAsker,
    "smac": SmacAsker,
    "ax": AxAsker,
}
