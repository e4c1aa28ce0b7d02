"""Beam search over exported graphs finds what the network's own finds."""

from __future__ import annotations

import pytest
import torch
from hpo_models.captioner import CaptionNet

from hpo.inference.captioning import beam_search
from hpo.model import Data
from hpo.outcome.deployed import TorchRuntime
from tests.artifacts import data_of, few, model_of


@pytest.mark.parametrize("beam", [1, 3])
def test_it_finds_the_captions_that_training_evaluates(beam: int) -> None:
    model, data = model_of("captioner"), few(data_of("captioner"), 12)
    params = {**model.space.default(), "beam": beam}
    torch.manual_seed(2)
    net = model.build(params, Data(data.name, (), (), None, data.info)).eval()
    assert isinstance(net, CaptionNet)
    # Random weights never end a caption: END is made likelier.
    with torch.no_grad():
        net.output[1].bias[2] += 1.0
        expected = net.generate(data.train[0], beam)
        features = net.encode(data.train[0]).numpy()
    run = TorchRuntime(model.deployment(net, params, data.info).graphs)
    words, scores = beam_search(run, features, beam, net.max_words)
    assert words.tolist() == expected.tolist()
    assert (scores <= 0).all()
    lengths = (words != 0).sum(axis=1)
    assert lengths.min() < lengths.max()  # some captions end before others
