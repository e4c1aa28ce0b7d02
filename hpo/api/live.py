"""A live object as a study's model: a function, a class or an instance travels by cloudpickle."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hpo.errors import SpecError
from hpo.model import Model, Objective, tunable
from hpo.registry import MAIN, ModelRef, find_model, sources_beside
from hpo.space import Space


def reference(
    model: Any, space: Space | None = None, objective: Objective | str | None = None
) -> ModelRef:
    """The reference by which workers get a model.

    Args:
        model: a name or a reference such as `./mine.py:Net`; a `Model` class or an instance of one;
            a function `train(trial)`.
        space, objective: of a function that `@tunable` has not declared.
    Raises:
        SpecError: it is no model, or cannot be pickled.
    """
    given = {"space": space, "objective": objective}
    if isinstance(model, str):
        _refuse_beside(model, given)
        return find_model(model)
    declared = _declared(model, given)
    owner = model if inspect.isroutine(model) or isinstance(model, type) else type(model)
    module, name = owner.__module__, owner.__qualname__
    root, file, sources = _code(owner)
    return ModelRef(
        name=f"{module}:{name}",
        root=root,
        module=file,
        attribute=owner.__name__,
        sources=sources,
        pickled=_pickled(declared, owner.__name__),
    )


def _declared(model: Any, given: dict[str, Any]) -> Model:
    if isinstance(model, type) and issubclass(model, Model):
        _refuse_beside(model.__name__, given)
        model = model()
    if isinstance(declared := getattr(model, "hpo_model", model), Model):
        _refuse_beside(type(declared).__name__, given)
        return declared
    if not callable(model):
        raise SpecError(
            f"model: {model!r:.60} must be a name, a Model class or instance, or a function "
            "train(trial)"
        )
    name = getattr(model, "__name__", type(model).__name__)
    if given["space"] is None:
        raise SpecError(f"space: not given for {name}: write space=hpo.Space(lr=hpo.Float(...))")
    if not inspect.isfunction(model):
        raise SpecError(f"model: {model!r:.60} must be a function: wrap it, def train(trial): ...")
    # A function of its own, so that a second study of it may have another space.
    copy = _copied(model)
    declared = tunable(given["space"], given["objective"] or "accuracy")(copy)
    return declared.hpo_model  # type: ignore[attr-defined,no-any-return]


def _copied(function: Callable[..., Any]) -> Callable[..., Any]:
    import types

    plain: Any = function
    copy = types.FunctionType(
        plain.__code__, plain.__globals__, plain.__name__, plain.__defaults__, plain.__closure__
    )
    copy.__kwdefaults__ = plain.__kwdefaults__
    copy.__module__, copy.__qualname__, copy.__doc__ = (
        plain.__module__,
        plain.__qualname__,
        plain.__doc__,
    )
    return copy


def _refuse_beside(name: str, given: dict[str, Any]) -> None:
    for key, value in given.items():
        if value is not None:
            remedy = "set={'lr': '1e-4..1e-2'}" if key == "space" else "objectives='accuracy'"
            raise SpecError(f"{key}: {name!r} declares its own: leave it out, or give {remedy}")


def _code(owner: Any) -> tuple[str, str, dict[str, str]]:
    """Folder and name of the object's file, and the Python files there; else its source alone."""
    try:
        file = Path(inspect.getsourcefile(owner) or "")
    except TypeError:
        file = Path()
    if file.is_file() and "site-packages" not in file.parts:
        path = file.resolve()
        return str(path.parent), path.stem, sources_beside(path)
    try:
        sources = {f"{owner.__module__}.py": inspect.getsource(owner)}
    except (OSError, TypeError):
        sources = {}
    return str(Path.cwd()), owner.__module__, sources


def _pickled(model: Model, name: str) -> bytes:
    import cloudpickle

    module = sys.modules.get(type(model).__module__)
    by_value = module is not None and module.__name__ != MAIN and not _is_installed(module)
    if by_value:
        cloudpickle.register_pickle_by_value(module)
    try:
        pickled: bytes = cloudpickle.dumps(model)
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise SpecError(
            f"model: {name!r} cannot be sent to the workers ({reason}): make such objects inside it"
        ) from error
    finally:
        if by_value:
            cloudpickle.unregister_pickle_by_value(module)
    return pickled


def _is_installed(module: Any) -> bool:
    file = getattr(module, "__file__", None) or ""
    return "site-packages" in Path(file).parts or module.__name__.partition(".")[0] in (
        "hpo",
        "hpo_models",
    )
