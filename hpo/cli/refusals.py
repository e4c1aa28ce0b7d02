"""Commands and flags that there are not: one line each, with the form that was meant."""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from hpo.spelling import flags_meant

_COMMANDS = {
    "train": "run",
    "tune": "run",
    "search": "run",
    "optimize": "run",
    "optimise": "run",
    "start": "run",
    "fit": "run",
    "sweep": "run",
    "study": "studies",
    "list": "studies",
    "ls": "studies",
    "trial": "trials",
    "show": "status",
    "info": "status",
    "continue": "resume",
    "restart": "resume",
    "ui": "dashboard",
    "web": "dashboard",
    "infer": "predict",
    "test": "evaluate",
    "eval": "evaluate",
    "quantize": "compress",
    "model": "models",
    "sampler": "samplers",
    "pruners": "samplers",
    "help": "--help",
    "version": "--version",
}
"""Other names of commands."""


def line_of(error: Any, arguments: Sequence[str]) -> str:
    """What a refusal of the command line says, with the form that was meant.

    Args:
        error: a UsageError of the parser.
        arguments: what the user wrote.
    """
    message = " ".join(str(error.format_message()).split())
    command = getattr(getattr(error, "ctx", None), "command", None)
    path = getattr(getattr(error, "ctx", None), "command_path", "hpo")
    if match := re.match(r"No such command '(.*?)'", message):
        return _command(match[1], command)
    if hasattr(error, "option_name") and message.startswith("No such option"):
        return _flag(error.option_name, command, path, arguments)
    if match := re.match(r"Got unexpected extra argument\S* \((.*)\)", message):
        return _extra(match[1].split(), command, path)
    if match := re.match(r"Invalid value for (.*?'): (.*)", message):
        return _value(re.findall(r"'(.*?)'", match[1]), match[2], path, arguments)
    if match := re.match(r"Missing argument '(.*)'", message):
        message = f"{match[1].lower()}: missing: write {path} {match[1].upper()}"
    return f"{message.rstrip('.')}: see {path} --help"


def _value(names: list[str], why: str, path: str, arguments: Sequence[str]) -> str:
    """For a value that a flag or an argument does not take.

    Args:
        names: `-f` and `--format`, or an argument's.
    """
    given = [
        word.partition("=")[2] or (*arguments, "")[place + 1]
        for place, word in enumerate(arguments)
        if word.partition("=")[0] in names
    ]
    rule = re.sub(r"^Input should be|^Value error, .*? is not|^Value error,", "must be", why)
    rule = rule.partition(", unable to parse")[0].rstrip(".")
    field = max(names, key=len).lstrip("-").replace("-", "_").lower()
    shown = f" {given[-1]!r}:" if given else ""
    return f"{field}:{shown} {rule}: see {path} --help"


def _command(name: str, group: Any) -> str:
    """For a command that there is not."""
    commands = [*getattr(group, "commands", {})]
    said = f"command: {name!r} is none of hpo's"
    if form := _as_flag(name):
        return f"{said}: write hpo run {form}"
    other = _COMMANDS.get(name.lower())
    if other and (other in commands or other.startswith("-")):
        return f"{said}: did you mean hpo {other}?"
    near = get_close_matches(name, commands, n=1, cutoff=0.5)
    return f"{said}: " + (f"did you mean hpo {near[0]}?" if near else "see hpo --help")


def _flag(option: str, command: Any, path: str, arguments: Sequence[str]) -> str:
    """For a flag that there is not."""
    flags = _flags_of(command)
    whole = next((a for a in arguments if len(a) > 2 and a.startswith(option)), option)
    if not option.startswith("--") and len(whole) > 2:  # -model, which the parser cuts to -m
        option = whole.partition("=")[0]
    bare = option.lstrip("-").replace("_", "-").lower()
    said = f"flag: {path} has no {option}"
    if f"--{bare}" in flags:
        return f"{said}: write --{bare}"
    meant = [f"--{flag}" for flag in flags_meant(bare) if f"--{flag}" in flags]
    if bare in ("direction", "minimize", "maximize") and "--objective" in meant:
        return f"{said}: write --objective NAME:minimize or NAME:maximize"
    if bare in ("json", "csv") and "--format" in meant:
        return f"{said}: write --format {bare}"
    if not meant:
        meant = get_close_matches(f"--{bare}", flags, n=1, cutoff=0.7)
    if meant:
        return f"{said}: did you mean {meant[0]}?"
    if "--set" in flags:
        value = "VALUE"
        return (
            f"{said}: a parameter of the model is given by --set {bare.replace('-', '_')}={value}"
        )
    return f"{said}: see {path} --help"


def _flags_of(command: Any) -> list[str]:
    params = getattr(command, "params", ())
    return [o for p in params for o in (*p.opts, *p.secondary_opts) if o.startswith("--")]


def _extra(words: list[str], command: Any, path: str) -> str:
    """For arguments that a command does not take."""
    flags = _flags_of(command)
    forms = [form for word in words if (form := _as_flag(word)) and form.split()[0] in flags]
    said = f"unexpected argument {' '.join(words)!r}"
    if len(forms) == len(words):
        return f"{said}: write {path} {' '.join(forms)}"
    if "--model" in flags:
        return f"{said}: write {path} --model NAME, and see {path} --help for the other flags"
    return f"{said}: see {path} --help"


def _as_flag(word: str) -> str:
    """The flag that a word without one may stand for; '' if none is likely."""
    from hpo.registry import DATASETS, MODELS
    from hpo.search.pruners import PRUNERS
    from hpo.search.samplers import SAMPLERS
    from hpo.spelling import models_in, ready_studies

    path = Path(word).expanduser()
    if word.lower() in MODELS:
        return f"--model {word.lower()}"
    if re.fullmatch(r"\w+=.+", word):
        return f"--set {word}"
    if word.endswith(".toml") or word in ready_studies():
        return f"--study {word}"
    if word.endswith(".py"):
        return f"--model {models_in(path).partition(' or ')[0]}"
    if (
        re.fullmatch(r".+\.py:\w+|[\w.]+:[A-Za-z_]\w*", word)
        and word.partition(":")[0] not in DATASETS
    ):
        return f"--model {word}"
    if word.partition(":")[0] in DATASETS:
        return f"--data {word}"
    if word in SAMPLERS:
        return f"--sampler {word}"
    if word in PRUNERS:
        return f"--pruner {word}"
    if word.isdigit():
        return f"--n-trials {word}"
    if path.is_dir():
        return f"--data imagefolder:{word}"
    near = get_close_matches(word.lower(), MODELS, n=1, cutoff=0.75)
    return f"--model {near[0]}" if near else ""
