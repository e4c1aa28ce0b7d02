"""The house: ready studies resolve, the contracts of imports hold, the README's commands exist."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from hpo.cli import app
from hpo.registry import MODELS, find_model, load_model
from hpo.study import read_study, ready_studies, resolve, spec_from

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("name", sorted(ready_studies()))
def test_every_ready_study_resolves(name: str) -> None:
    assert resolve(spec_from(read_study(name), {})).name == name


@pytest.mark.parametrize("name", MODELS)
def test_every_model_can_be_found_and_started_from(name: str) -> None:
    model = load_model(find_model(name))
    assert model.space.validate(model.space.default()) == []
    assert model.datasets


def test_imports_point_down_the_house() -> None:
    script = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([script], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_nothing_large_is_in_the_repository() -> None:
    """A clone is part of the first two minutes; and what is downloaded in passing stays out."""
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if names.returncode:
        pytest.skip("not a checkout of git's")
    paths = [ROOT / name for name in names.stdout.split("\0") if name]
    assert [str(path) for path in paths if path.is_file() and path.stat().st_size > 500_000] == []


def test_the_readme_names_only_commands_and_flags_that_exist() -> None:
    import typer

    root = typer.main.get_command(app)
    readme = (ROOT / "README.md").read_text()
    used = set(re.findall(r"^(?:\.venv/bin/)?hpo ([a-z-]+)(.*)$", readme, re.MULTILINE))
    assert used
    for command, rest in used:
        found = root.commands[command]  # type: ignore[attr-defined]
        known = {o for p in getattr(found, "params", ()) for o in (*p.opts, *p.secondary_opts)}
        for flag in re.findall(r"(--[a-z-]+)", rest.partition("#")[0]):
            assert flag in known or hasattr(found, "commands"), (command, flag)


def test_ray_is_imported_after_its_settings_are_made() -> None:
    """Else its ports would ask for no token."""
    rooms = ("cli", "outcome", "compare", "report", "web", "storage", "training", "search")
    files = [file for room in rooms for file in (ROOT / "hpo" / room).glob("*.py")]
    names = [f"hpo.{file.parent.name}.{file.stem}" for file in files if file.stem[0] != "_"]
    script = f"import sys\nfor name in {names}: __import__(name)\nassert 'ray' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True)
