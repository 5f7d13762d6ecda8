"""Reference score, counterfactual memorization and accuracies by hand."""

import math

import numpy as np
import pytest

from palimpsest.core.metrics.counterfactual import (
    counterfactual_memorization,
    reference_score,
    share_right,
)


def test_reference_score() -> None:
    assert reference_score([-1.0, -2.0], [-2.0, -5.0]) == 2
    assert math.isnan(reference_score([], []))
    with pytest.raises(ValueError, match="2 tokens of the model, 1 of the reference"):
        reference_score([-1.0, -2.0], [-2.0])


def test_counterfactual_memorization() -> None:
    performance = [[1.0, 0.2, 0.5], [0.5, 0.4, 0.5], [0.0, 0.6, 0.5]]
    read = [[True, True, True], [True, False, True], [False, False, True]]
    found = counterfactual_memorization(performance, read)
    assert found[:2] == pytest.approx([0.75, -0.3])
    assert math.isnan(found[2])
    with pytest.raises(ValueError, match=r"\[M, N\] needed"):
        counterfactual_memorization([1.0], [True])


def test_reading_that_changes_nothing_gives_no_memorization() -> None:
    rng = np.random.default_rng(0)
    found = counterfactual_memorization(rng.normal(size=(400, 300)), rng.random((400, 300)) < 0.5)
    assert found.mean() == pytest.approx(0, abs=0.02)


def test_share_right() -> None:
    assert share_right([1, 1, 0, 0, 1], [1, 1, 1, 0, 0]) == (pytest.approx(2 / 3), 0.5)
    assert math.isnan(share_right([1, 0], [1, 1])[1])
