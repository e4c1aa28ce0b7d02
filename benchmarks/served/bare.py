"""What one writes in an hour: FastAPI, torch, one row a request, one process.

python -m benchmarks.served.bare ARTIFACT PORT
"""

from __future__ import annotations

import sys

import torch
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

import hpo


class Item(BaseModel):
    """An image as nested lists."""

    image: list[list[list[float]]]


def application(path: str) -> FastAPI:
    """The handler of one saved network."""
    torch.set_num_threads(1)
    network = hpo.load(path)
    app = FastAPI()

    @app.post("/predict")
    async def predict(item: Item) -> dict[str, object]:
        with torch.inference_mode():
            probabilities = network(torch.tensor(item.image)[None]).softmax(1)[0]
        return {"label": int(probabilities.argmax()), "probabilities": probabilities.tolist()}

    return app


if __name__ == "__main__":
    uvicorn.run(application(sys.argv[1]), port=int(sys.argv[2]), log_level="error")
