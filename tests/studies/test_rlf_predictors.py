"""Chapter 2, what could have told: the measures by hand, null data, the study on a tiny model."""

import math

import numpy as np
import pandas as pd
import pytest
from chapter2 import TASKS, context, invented

from palimpsest.core.errors import ModelError
from palimpsest.core.stats import Interval
from palimpsest.core.study import assert_null_rate
from palimpsest.studies.random_label_forgetting import cast, predictors


def answers(task, right, margin=None, **columns):
    margin = [1.0 if one else -1.0 for one in right] if margin is None else margin
    table = pd.DataFrame({"task": task, "item": range(len(right)), "correct": right})
    return table.assign(margin=margin, p=1 / (1 + np.exp(-np.array(margin))), **columns)


def test_outcomes_are_means_over_draws():
    before = answers("t", [True] * 9 + [False])
    after = pd.concat(
        [
            answers("t", [True] * 7 + [False] * 3, source="t", draw=0),
            answers("t", [True] * 5 + [False] * 5, source="t", draw=1),
        ]
    )
    (row,) = predictors.outcomes(before, after).itertuples()
    assert row.ratio == pytest.approx((0.5 + 1.0) / 2)
    assert row.loss == pytest.approx(0.3)


def test_a_task_that_was_not_learned_has_no_ratio_and_does_not_count():
    before = answers("t", [True, False])
    found = predictors.outcomes(before, before.assign(source="t", draw=0))
    assert math.isnan(found.loc["t", "ratio"])
    table = pd.DataFrame(
        {
            "difficulty_ft": [0.1, 0.2, 0.3, 0.4, 0.0],
            "ratio": [0.1, 0.2, 0.3, 0.4, math.nan],
            "loss": [0.1, 0.2, 0.3, 0.4, 9.0],
        }
    )
    rows = predictors.correlations(table, 0)
    assert rows["n"].tolist() == [4, 4]
    assert rows["value"].tolist() == pytest.approx([1, 1])


def test_p_values_are_corrected_for_both_outcomes_together():
    rng = np.random.default_rng(0)
    names = ["difficulty_ft", "confidence_ft", "ratio", "loss"]
    table = pd.DataFrame({name: rng.normal(size=12) for name in names})
    found = predictors.correlations(table, 0, draws=100)
    assert len(found) == 4
    assert found["p_holm"].min() == pytest.approx(min(1, 4 * found["p"].min()))


def test_size_folds_the_interval():
    across = predictors.size(Interval(-0.1, -0.4, 0.3, 9))
    assert (across.value, across.low, across.high) == pytest.approx((0.1, 0.0, 0.4))
    below = predictors.size(Interval(-0.5, -0.7, -0.2, 9))
    assert (below.value, below.low, below.high) == pytest.approx((0.5, 0.2, 0.7))


def test_fates_are_of_items_that_were_right():
    before = answers("t", [True, False, True])
    after = pd.concat(
        [
            answers("t", [True, True, False], [2.0, 1.0, -1.0], source="t", draw=0),
            answers("t", [False, True, False], [-1.0, 1.0, -3.0], source="t", draw=1),
        ]
    )
    spreads = pd.DataFrame({"task": "t", "item": [0, 1], "spread": [4.0, 5.0]})
    found = predictors.fates_of(before, after, spreads).set_index("item")
    assert found.index.tolist() == [0, 2]
    assert found["kept"].tolist() == [0.5, 0.0]
    assert found["margin_after"].tolist() == [0.5, -2.0]
    assert found["spread"].tolist()[0] == 4.0
    assert math.isnan(found["spread"].tolist()[1])
    assert predictors.fates_of(before, after, None)["spread"].isna().all()


def test_confidence_that_decides_is_found_within_tasks():
    rng = np.random.default_rng(0)
    before = invented(rng, {"a": 1.0, "b": 1.0}, items=80)
    after = before.assign(margin=before["margin"] - 1, correct=before["margin"] > 1, draw=0)
    found = predictors.correlated_items(predictors.fates_of(before, after, None), 0)
    assert set(found["quantity"]) == {"p"}  # no spreads, no line
    assert found.set_index("outcome")["value"]["margin_after"] == pytest.approx(1)


def test_null_data():
    assert_null_rate(predictors.predictors)


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_the_study_on_a_model_that_knows_nothing(tmp_path, architecture):
    result = predictors.predictors(context(tmp_path, architecture))
    table = result.tables["predictors"]
    assert list(table.columns) == [
        "outcome", "quantity", "rho", "low", "high", "n", "p", "p_holm", "detectable",
    ]  # fmt: skip
    assert len(table) == 2 * len(predictors.QUANTITIES)
    assert len(result.tables["sweep"]) == 3
    assert set(result.tables["across_items"]["quantity"]) == set(predictors.OF_ITEMS.values())
    # Three sources are too few for any correlation.
    assert set(result.notes) == {"rl-9", "rl-10", "rl-11"}
    assert result.values["confidence_rho"].value is None
    assert set(result.figures) == {"predictors", "sweep"}


def test_the_study_where_tasks_were_learned(tmp_path, monkeypatch):
    rng = np.random.default_rng(1)
    share = dict(zip(TASKS, (0.95, 0.9, 0.85, 0.8), strict=True))
    before = invented(rng, share)

    def forgotten(ctx, task, draw=0):
        kept = {one: (0.6 if one == task else share[one]) for one in TASKS}
        found = invented(np.random.default_rng(draw), kept)
        return cast.Outcome(None, None, found)

    ctx = context(tmp_path, sources=0)
    weights = cast.start(ctx).weights
    # The invented items are not those of the tasks, so they have no hidden states.
    monkeypatch.setattr(cast, "start", lambda ctx: cast.Outcome(weights, None, before))
    monkeypatch.setattr(cast, "pretrained", lambda ctx: invented(rng, share))
    monkeypatch.setattr(cast, "forgotten", forgotten)
    result = predictors.predictors(ctx)
    assert not result.notes
    assert result.values["predictor_tasks"].value == 4
    for name in predictors.NAMES.values():
        assert result.values[name].ci95 is not None


def test_states_that_cannot_be_read_are_left_out(tmp_path, monkeypatch):
    def unreadable(*args):
        raise ModelError("no blocks")

    monkeypatch.setattr(predictors, "hidden_states", unreadable)
    result = predictors.predictors(context(tmp_path))
    assert "cannot be read" in result.notes["rl-10"]
    assert "cannot be read" in result.figures["sweep"].caption
    assert "variance_rho" not in result.values
