"""Looking up a strategy by its name and its options, with a remedy for what is misspelled."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from hpo.errors import SpecError

T = TypeVar("T")


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
        raise SpecError(f"{kind}: {name!r} is not known{_choices(name, table)}")
    factory = table[name]
    known = [
        parameter.name
        for parameter in inspect.signature(factory).parameters.values()
        if parameter.kind == parameter.KEYWORD_ONLY
    ]
    problems = [
        f"{kind} {name}: option {option!r} is not known{_choices(option, known)}"
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
    close = difflib.get_close_matches(name, known, n=1)
    hint = f" (did you mean {close[0]}?)" if close else ""
    return f"{hint}: choose from {', '.join(known)}"
