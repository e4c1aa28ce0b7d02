"""The small house: what `hpo.inference` may load."""

from __future__ import annotations

import subprocess
import sys


def test_a_predictor_loads_no_torch_ray_optuna_or_pandas() -> None:
    code = (
        "import sys, hpo.inference.predictor\n"
        "print(sorted({'torch', 'ray', 'optuna', 'pandas', 'sqlalchemy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_hpo_itself_loads_no_numpy() -> None:
    code = "import sys, hpo\nprint(sorted({'torch', 'numpy', 'optuna'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
