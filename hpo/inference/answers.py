"""The tasks by name: what a deployed model answers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from hpo.errors import InputError
from hpo.inference.captioning import Captioning
from hpo.inference.classification import Classification, Features, Tensors
from hpo.inference.pictures import Generation, Reconstruction
from hpo.inference.retrieval import Retrieval
from hpo.inference.task import Task

TASKS: dict[str, type[Task]] = {
    "image-classification": Classification,
    "text-classification": Classification,
    "tensor-classification": Classification,
    "features": Features,
    "tensors": Tensors,
    "reconstruction": Reconstruction,
    "generation": Generation,
    "captioning": Captioning,
    "retrieval": Retrieval,
}


def check_finite(index: int, answer: Any) -> None:
    """Raises InputError if there is a number in an answer that is none.

    Args:
        index: of its item.
    """
    if isinstance(answer, float):
        if not math.isfinite(answer):
            raise InputError(
                index, "input: has no finite answer: give values like those of the training data"
            )
    elif isinstance(answer, Mapping):
        for value in answer.values():
            check_finite(index, value)
    elif isinstance(answer, list):
        for value in answer:
            check_finite(index, value)
