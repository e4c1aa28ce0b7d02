"""What people write in `train(trial)` by the habit of other libraries, and the right form.

The function's source is read, never run: no study is begun for trials that cannot work.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

KNOWN = ("params", "seed", "epochs", "device", "number", "folder", "report")
"""What a trial offers a function."""
_PARAMETERS = {
    "suggest_float": "Float",
    "suggest_uniform": "Float",
    "suggest_loguniform": "Float",
    "suggest_discrete_uniform": "Float",
    "suggest_int": "Int",
    "suggest_categorical": "Choice",
}
_ADVICE = {
    "should_prune": "trial.report(...) ends the trial by itself when it is pruned: drop it",
    "set_user_attr": "report numbers beside the objective: trial.report(accuracy=..., NAME=...)",
    "study": "hpo asks, runs and ends the trials: drop it",
    "distributions": "the space is declared by @tunable(Space(...)): read trial.params",
    "config": "write trial.params",
    "hparams": "write trial.params",
    "epoch": "count epochs yourself: for epoch in range(trial.epochs)",
}
_ADVICE |= {"user_attrs": _ADVICE["set_user_attr"], "set_system_attr": _ADVICE["set_user_attr"]}
_AT_IMPORT = {"study.optimize", "tune.run", "tuner.fit", "wandb.agent"}
_ASKS = {"hasattr", "getattr", "isinstance"}


def advice(attribute: str) -> str:
    """The right form of `trial.ATTRIBUTE`, which there is not."""
    if attribute in _ADVICE:
        return f"trial.{attribute}: {_ADVICE[attribute]}"
    if attribute.startswith("suggest_"):
        kind = _PARAMETERS.get(attribute, "Float")
        form = "NAME=Choice(A, B)" if kind == "Choice" else f"NAME={kind}(LOW, HIGH)"
        return (
            f"trial.{attribute}: declare the parameter in @tunable(Space({form}), ...) and read "
            "trial.params['NAME']"
        )
    near = get_close_matches(attribute, KNOWN, n=1, cutoff=0.5)
    hint = f"did you mean trial.{near[0]}?" if near else f"a trial has {', '.join(KNOWN)}"
    return f"trial.{attribute}: there is none: {hint}"


def unnamed(values: Sequence[str], metric: str, mapping: bool) -> str:
    """The right form of `trial.report(0.5, step)`.

    Args:
        values: what was given, as source.
        mapping: whether the first of them is a dict of metrics.
    """
    right = f"**{values[0]}" if mapping else f"{metric}={values[0]}"
    return (
        f"trial.report({', '.join(values)}): name what is reported: trial.report({right}); hpo "
        "counts the epochs"
    )


def problems_of(function: Callable[..., Any], metric: str, wanted: Iterable[str]) -> list[str]:
    """Why a function cannot work as `train(trial)`, as far as its source shows it; a line each.

    Args:
        metric: its objective.
        wanted: metrics that it has to report, the objective among them.
    """
    function = inspect.unwrap(function)
    if not inspect.isfunction(function):
        return []
    try:
        inspect.signature(function).bind(None)
    except TypeError:
        return [
            f"{function.__name__}{inspect.signature(function)}: hpo calls it with the trial alone: "
            f"write def {function.__name__}(trial)"
        ]
    node, file, line = _source(function)
    if _ASKS & set(function.__code__.co_names):  # it may know what it is given
        return []
    names = [*function.__code__.co_varnames[: function.__code__.co_argcount]]
    if node is None or not names:
        return []
    use = _Use(names[0])
    use.read(node)
    wrong = _wrong(use, function.__name__, metric)
    problems = [f"{file}:{line + number}: {text}" for number, text in wrong]
    if problems or use.elsewhere or not use.metrics:
        return problems
    lacking = [name for name in dict.fromkeys(wanted) if name not in use.metrics]
    reported = ", ".join(use.metrics)
    return [
        f"objectives, constraints: {name!r} is not reported by {function.__name__}, which reports "
        f"{reported}: report it, or choose one of them"
        for name in lacking
    ]


def _wrong(use: _Use, name: str, metric: str) -> Iterator[tuple[int, str]]:
    """Lines of the function, from 0, and what is wrong there."""
    for number, attribute, call in use.attributes:
        declared = _declared(attribute, call)
        if declared:
            parameter, form = declared
            yield (
                number,
                f"trial.{attribute}: declare {form} in @tunable(Space(...), ...) and read "
                f"trial.params[{parameter!r}]",
            )
        elif attribute == "report" and call is not None and call.args:
            if not isinstance(call.args[0], ast.Starred):
                shown = [ast.unparse(one) for one in call.args]
                yield number, unnamed(shown, metric, isinstance(call.args[0], ast.Dict))
        elif _is_habit(attribute):
            yield number, advice(attribute)
    for number, key in use.subscripts:
        yield number, f"{use.name}[{key}]: write {use.name}.params[{key}]"
    reports = use.elsewhere or any(one == "report" for _, one, _ in use.attributes)
    if use.returned and not reports:
        yield (
            0,
            f"{name} never reports: it returns {use.returned}: call trial.report({metric}=...) "
            "after each epoch, or once at the end",
        )


def _is_habit(attribute: str) -> bool:
    """Whether a trial of another library has this attribute, or it is a known one misspelt."""
    if attribute in _ADVICE or attribute.startswith("suggest_"):
        return True
    return attribute not in KNOWN and bool(get_close_matches(attribute, KNOWN, n=1, cutoff=0.75))


def space_of(function: Callable[..., Any]) -> str:
    """The `Space(...)` that a function's `trial.suggest_...` calls stand for; '' if it has none."""
    node, _, _ = _source(inspect.unwrap(function))
    if node is None or not node.args.args:
        return ""
    use = _Use(node.args.args[0].arg)
    use.read(node)
    forms = [found[1] for _, name, call in use.attributes if (found := _declared(name, call))]
    return f"Space({', '.join(dict.fromkeys(forms))})" if forms else ""


def _declared(attribute: str, call: ast.Call | None) -> tuple[str, str] | None:
    """A parameter's name and its declaration, from a call of `trial.suggest_...`."""
    kind = _PARAMETERS.get(attribute)
    if kind is None or call is None or not call.args:
        return None
    first = call.args[0]
    name = first.value if isinstance(first, ast.Constant) else None
    if not isinstance(name, str) or not name.isidentifier():
        return None
    given = [ast.unparse(one) for one in call.args[1:]]
    if kind == "Choice":
        listed = call.args[1] if len(call.args) > 1 else None
        listed = listed or next((k.value for k in call.keywords if k.arg == "choices"), None)
        if isinstance(listed, ast.List | ast.Tuple):
            given = [ast.unparse(one) for one in listed.elts]
        else:
            given = [f"*{ast.unparse(listed)}"] if listed is not None else []
    else:
        given += [f"{k.arg}={ast.unparse(k.value)}" for k in call.keywords]
        given += ["log=True"] if attribute == "suggest_loguniform" else []
    return name, f"{name}={kind}({', '.join(given)})"


@dataclass
class _Use:
    """How a function uses its trial.

    Attributes:
        name: of the argument.
        attributes: line from 0, attribute, its call if it is called.
        subscripts: line, and what stands between the brackets.
        metrics: names reported; None: not all of them are written down.
        elsewhere: whether the trial is handed on, so that the rest is not known.
        returned: the source of a value that is returned.
    """

    name: str
    attributes: list[tuple[int, str, ast.Call | None]] = field(default_factory=list)
    subscripts: list[tuple[int, str]] = field(default_factory=list)
    metrics: list[str] | None = field(default_factory=list)
    elsewhere: bool = False
    returned: str = ""

    def read(self, node: ast.AST) -> None:
        """Notes every use below a node."""
        for child in ast.iter_child_nodes(node):
            self._read(child, node)

    def _read(self, node: ast.AST, parent: ast.AST) -> None:
        if isinstance(node, ast.FunctionDef | ast.Lambda) and self._hidden(node.args):
            return
        match node:
            case ast.Attribute(value=ast.Name(id=self.name)):
                self._attribute(node, parent)
                return
            case ast.Subscript(value=ast.Name(id=self.name)):
                self.subscripts.append((node.lineno - 1, ast.unparse(node.slice)))
                return
            case ast.Name(id=self.name):
                self.elsewhere = True
            case ast.Return(value=ast.expr() as value) if not _is_none(value):
                self.returned = self.returned or f"{ast.unparse(value):.40}"
        self.read(node)

    def _hidden(self, arguments: ast.arguments) -> bool:
        return any(one.arg == self.name for one in (*arguments.args, *arguments.kwonlyargs))

    def _attribute(self, node: ast.Attribute, parent: ast.AST) -> None:
        call = parent if isinstance(parent, ast.Call) and parent.func is node else None
        if isinstance(node.ctx, ast.Store):
            self.elsewhere = True
            return
        self.attributes.append((node.lineno - 1, node.attr, call))
        if node.attr != "report":
            return
        if call is None or any(k.arg is None for k in call.keywords):
            self.metrics = None
        elif self.metrics is not None:
            self.metrics += [k.arg for k in call.keywords if k.arg not in self.metrics]  # type: ignore[misc]


def _is_none(value: ast.expr) -> bool:
    return isinstance(value, ast.Constant) and value.value is None


def _source(function: Callable[..., Any]) -> tuple[ast.FunctionDef | None, str, int]:
    """A function's tree, its file's name and its first line; None: it has no source here."""
    try:
        lines, first = inspect.getsourcelines(function)
        tree = ast.parse(textwrap.dedent("".join(lines)))
    except (OSError, TypeError, SyntaxError, ValueError):
        return None, "", 0
    node = tree.body[0] if tree.body else None
    file = Path(inspect.getsourcefile(function) or "").name
    return (node if isinstance(node, ast.FunctionDef) else None), file, max(first, 1)


def tunables_in(source: str) -> list[str]:
    """Names of the models that a file declares, functions and classes, as its source shows."""
    names = []
    for node in _body(source):
        if isinstance(node, ast.FunctionDef):
            decorators = (
                one.func if isinstance(one, ast.Call) else one for one in node.decorator_list
            )
            if any(ast.unparse(one).rpartition(".")[2] == "tunable" for one in decorators):
                names.append(node.name)
        elif isinstance(node, ast.ClassDef):
            bases = {ast.unparse(base).rpartition(".")[2] for base in node.bases}
            if bases & {"Model", "Classifier"}:
                names.append(node.name)
    return names


def studies_at_import(source: str) -> list[str]:
    """Searches of other libraries that a file begins when it is imported; a line each."""
    found = []
    for node in _body(source):
        value = getattr(node, "value", None)
        if isinstance(value, ast.Call) and ast.unparse(value.func) in _AT_IMPORT:
            found.append(
                f"line {node.lineno}: {ast.unparse(value.func)}(...) runs at the file's import, "
                "and hpo runs the trials itself: put it under if __name__ == '__main__':"
            )
    return found


def _body(source: str) -> list[ast.stmt]:
    try:
        return ast.parse(source).body
    except (SyntaxError, ValueError):
        return []
