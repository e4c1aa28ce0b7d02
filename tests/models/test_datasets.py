"""Data: honest splits."""

from __future__ import annotations

import pytest
import torch
from hpo_models.datasets import digits
from hpo_models.datasets.split import stratified_split

from hpo import SpecError


def test_digits_are_split_by_class_without_overlap() -> None:
    data = digits.load("", 0)
    assert data.test is not None
    sizes = [len(split[1]) for split in (data.train, data.val, data.test)]
    assert sizes == [3500, 500, 1000]
    for split, share in ((data.train, 350), (data.val, 50), (data.test, 100)):
        assert torch.bincount(split[1]).tolist() == [share] * 10
    assert data.train[0].shape[1:] == (1, 28, 28)
    assert 0 <= float(data.train[0].min()) < float(data.train[0].max()) <= 1
    rows = [row.numpy().tobytes() for s in (data.train, data.val, data.test) for row in s[0]]
    assert len(set(rows)) == len(rows)
    again = digits.load("", 0)
    assert torch.equal(again.train[0], data.train[0])
    assert not torch.equal(digits.load("", 1).train[0], data.train[0])
    assert data.for_search().test is None
    assert len(data.for_retraining().train[0]) == 4000


def test_every_class_is_in_every_part() -> None:
    targets = torch.tensor([0] * 3 + [1] * 50)
    parts = stratified_split(targets, (0.7, 0.15, 0.15), 0)
    assert all(0 in targets[part] for part in parts)
    assert sorted(torch.cat(parts).tolist()) == list(range(53))
    with pytest.raises(SpecError, match="class 2 has 1 rows"):
        stratified_split(torch.tensor([0, 0, 0, 2]), (0.7, 0.15, 0.15), 0)
