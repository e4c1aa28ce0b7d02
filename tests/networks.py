"""Saved networks that several tests look at; they are not to be changed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.outcome.artifacts import OWN, captioned, saved, shapes


@pytest.fixture(scope="session")
def cnn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CNN of digits."""
    return saved("cnn", tmp_path_factory.mktemp("cnn"), params={"width": 8})


@pytest.fixture(scope="session")
def captioner(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A captioner of drawn pictures."""
    folder = tmp_path_factory.mktemp("captioner")
    small = {"width": 128, "image_width": 16, "batch_size": 32, "beam": 1}
    return saved("captioner", folder, captioned(folder / "data"), 2, small)


@pytest.fixture(scope="session")
def vae(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An autoencoder of drawn pictures."""
    folder = tmp_path_factory.mktemp("vae")
    return saved("vae", folder, shapes(folder / "data", 40, 0), 2, {"width": 8})


@pytest.fixture(scope="session")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a user's own model; its code is `mine.py` two folders above."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "mine.py").write_text(OWN)
    return saved(f"{folder}/mine.py:Net", folder / "runs", epochs=20)
