"""The tasks by name: what a deployed model answers."""

from __future__ import annotations

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
