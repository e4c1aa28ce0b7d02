"""Calibration: errors worked out by hand, and what chance makes of a calibrated network."""

from __future__ import annotations

import numpy as np
import pytest

from hpo.calibration import (
    calibration_error,
    equal_mass,
    equal_width,
    error_if_calibrated,
    reliability,
)


def test_the_error_is_what_it_is_by_hand() -> None:
    confidence = np.array([0.95, 0.95, 0.95, 0.95, 0.55, 0.55])
    correct = np.array([True, True, True, False, True, False])
    # |0.75 - 0.95| in 4 of 6 rows, |0.5 - 0.55| in 2 of 6.
    expected = (4 * 0.2 + 2 * 0.05) / 6
    for bins in (equal_width(confidence, 10), equal_mass(confidence, 2)):
        assert calibration_error(confidence, correct, bins) == pytest.approx(expected)
    sure = np.ones(7)
    assert calibration_error(sure, np.ones(7, bool), equal_width(sure)) == 0
    assert calibration_error(sure, np.zeros(7, bool), equal_mass(sure)) == 1


def test_a_range_holds_its_upper_end_and_equal_confidences_share_one() -> None:
    assert equal_width(np.array([0.0, 0.1, 0.100001, 1.0]), 10).tolist() == [0, 0, 1, 9]
    values = np.array([0.2] * 8 + [0.9] * 2)
    assert len(set(equal_mass(values, 5)[:8].tolist())) == 1
    spread = np.random.default_rng(0).random(1500)
    assert np.bincount(equal_mass(spread, 15)).tolist() == [100] * 15


def test_a_calibrated_network_is_above_the_limit_once_in_twenty() -> None:
    rng = np.random.default_rng(1)
    confidence = rng.beta(6, 2, 300)
    bins = equal_width(confidence)
    mean, most = error_if_calibrated(confidence, bins, 2000)
    errors = np.array(
        [calibration_error(confidence, rng.random(300) < confidence, bins) for _ in range(400)]
    )
    # 400 draws of a share of 5 %: three standard errors are 3.3 points.
    assert abs((errors > most).mean() - 0.05) < 0.033
    assert errors.mean() == pytest.approx(mean, rel=0.05)
    sharp = rng.random(300) < confidence - 0.25  # much too sure
    assert calibration_error(confidence, sharp, bins) > most


def test_the_diagram_holds_every_row_once() -> None:
    rng = np.random.default_rng(2)
    confidence = rng.random(200)
    correct = rng.random(200) < confidence
    found = reliability(confidence, correct, equal_width(confidence))
    assert sum(one.rows for one in found) == 200
    assert sum(one.rows * one.accuracy for one in found) == pytest.approx(correct.sum())
    assert all(one.low <= one.accuracy <= one.high for one in found)
    assert [one.confidence for one in found] == sorted(one.confidence for one in found)
