"""Looking up a strategy by its name and its options, with a remedy for what is misspelled."""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from hpo.errors import SpecError

T = TypeVar("T")

_OTHER_NAMES = {
    "bayes": ("gp", "tpe"),
    "bayesian": ("gp", "tpe"),
    "bo": ("gp", "tpe"),
    "bayesopt": ("gp", "tpe"),
    "botorch": ("gp",),
    "gaussian": ("gp",),
    "optuna": ("tpe", "optuna-gp"),
    "hyperopt": ("tpe",),
    "parzen": ("tpe",),
    "evolution": ("nsgaii", "cmaes"),
    "evolutionary": ("nsgaii", "cmaes"),
    "genetic": ("nsgaii",),
    "ga": ("nsgaii",),
    "nsga": ("nsgaii",),
    "cma": ("cmaes",),
    "sobol": ("qmc",),
    "halton": ("qmc",),
    "quasirandom": ("qmc",),
    "forest": ("skopt",),
    "default": ("auto",),
    "best": ("auto",),
    "bohb": ("asha", "hyperband"),
    "sha": ("asha",),
    "halving": ("asha",),
    "successivehalving": ("asha",),
    "successive": ("asha",),
    "percentile": ("median",),
    "early": ("median", "curve"),
    "stopping": ("median", "curve"),
    "extrapolation": ("curve",),
    "off": ("none",),
    "no": ("none",),
    "false": ("none",),
    "nop": ("none",),
    "on": ("median",),
    "true": ("median",),
}
"""What other libraries call a strategy, word by word -> its names here."""


def choose(
    kind: str, name: str, table: Mapping[str, Callable[..., T]], options: Iterable[str]
) -> Callable[..., T]:
    """The factory of that name; its keyword-only parameters are the options it takes.

    Args:
        kind: what is looked up, for the message: "sampler" or "pruner".
        name: the user's word for it.
        table: name -> factory.
        options: names of the options given with it.
    Raises:
        SpecError: unknown name, or unknown options, all of them.
    """
    if name not in table:
        raise SpecError(f"{kind}: {name!r} is unknown{_choices(name, table)}")
    factory = table[name]
    known = [
        parameter.name
        for parameter in inspect.signature(factory).parameters.values()
        if parameter.kind == parameter.KEYWORD_ONLY
    ]
    problems = [
        f"{kind} {name}: option {option!r} is unknown{_choices(option, known)}"
        for option in options
        if option not in known
    ]
    if problems:
        raise SpecError(problems)
    return factory


def at_least(least: int, option: str, value: Any) -> int:
    """The value, if it is a whole number and not too small.

    Raises:
        SpecError: it is not.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise SpecError(f"{option}: {value!r} must be a whole number, {least} or more")
    return value


def _choices(name: str, known: Iterable[str]) -> str:
    known = list(known)
    if not known:
        return ": it has none, leave it out"
    meant = _meant(name, known)
    hint = f" (did you mean {' or '.join(meant)}?)" if meant else ""
    return f"{hint}: choose from {', '.join(known)}"


def _meant(name: str, known: list[str]) -> list[str]:
    """Those of the known names that a user may have meant: `GridSearch` is `grid`."""
    words = re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name.replace("CmaEs", "Cmaes"))
    plain = ["".join(words).lower(), *(word.lower() for word in words)]
    here = [word for word in plain if word in known]
    for word in () if here else plain:
        here += [other for other in _OTHER_NAMES.get(word, ()) if other in known]
    return [*dict.fromkeys(here)] or difflib.get_close_matches(name.lower(), known, n=1)
