"""Weights for the image networks: random ones, where torchvision's own cannot be downloaded."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch


@pytest.fixture(scope="session", autouse=True)
def weights(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder of torch's hub with a file for each backbone, as if it had been put there by hand.

    What is tested is the handling of weights and networks, not what was learned from ImageNet.
    """
    from hpo_models.finetune_image import FinetuneImage
    from torchvision.models import get_model, get_model_weights

    before, folder = torch.hub.get_dir(), tmp_path_factory.mktemp("hub")
    (folder / "checkpoints").mkdir()
    for name in FinetuneImage.space["backbone"].choices:  # type: ignore[union-attr]
        torch.manual_seed(0)
        file = get_model_weights(name)["DEFAULT"].url.rpartition("/")[2]
        torch.save(get_model(name, weights=None).state_dict(), folder / "checkpoints" / file)
    torch.hub.set_dir(str(folder))
    yield folder
    torch.hub.set_dir(before)
