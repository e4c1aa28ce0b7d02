"""What single rows come to is what the metrics are means of."""

from __future__ import annotations

import pytest
import torch

from tests.models.test_contract import few, model_of


@pytest.mark.parametrize("name", ["vae", "captioner", "retrieval"])
def test_a_column_with_a_metrics_name_has_the_metric_for_its_mean(name: str) -> None:
    model, data = model_of(name), few(name)
    assert data.test is not None
    params = model.space.default()
    torch.manual_seed(0)
    net = model.build(params, data).eval()
    batches = [tuple(column[k : k + 25] for column in data.test) for k in (0, 25, 50)]
    with torch.no_grad():
        metrics = model.evaluate(net, batches, params)
        rows = model.per_row(net, batches, params)
    assert all(len(column) == 64 for column in rows.values())
    losses = rows["loss"]
    assert isinstance(losses, torch.Tensor) and torch.isfinite(losses).all()
    shared = metrics.keys() & rows.keys() - {"loss"}  # the captioner's metric is by word
    assert model.objective.metric in shared
    for metric in shared:
        column = rows[metric]
        assert isinstance(column, torch.Tensor)
        assert float(column.double().mean()) == pytest.approx(metrics[metric], rel=1e-5)
