"""Chapter 2, which items are forgotten: the measures by hand, null data, the study on tiny ones."""

import math

import numpy as np
import pandas as pd
import pytest
from chapter2 import TASKS, context

from palimpsest.core.errors import ModelError
from palimpsest.core.stats import Interval
from palimpsest.core.study import assert_null_rate
from palimpsest.forgetting.items import TwoWay
from palimpsest.studies.controls import weights_of
from palimpsest.studies.random_label_forgetting import cast, items


def joined(margin_before, margin):
    before, after = np.asarray(margin_before, float), np.asarray(margin, float)
    return pd.DataFrame(
        {
            "margin_before": before, "p_before": 1 / (1 + np.exp(-before)), "margin": after,
            "correct_before": before > 0, "correct": after > 0,
        }
    )  # fmt: skip


def test_the_mean_of_tasks_and_its_interval():
    one, other = Interval(0.2, 0.1, 0.4, 10), Interval(0.6, 0.5, 0.7, 20)
    found = items.mean_of([one, other, Interval(math.nan, math.nan, math.nan, 7)])
    assert found.value == pytest.approx(0.4)
    assert found.low == pytest.approx(0.4 - math.hypot(0.1, 0.1) / 2)
    assert found.high == pytest.approx(0.4 + math.hypot(0.2, 0.1) / 2)
    assert found.n == 30
    assert items.mean_of([one, other], [3, 1]).value == pytest.approx(0.3)
    assert items.mean_of([one, other], [1, 0]) == one
    assert math.isnan(items.mean_of([]).value)


def test_the_mean_covers_what_it_estimates():
    rng = np.random.default_rng(0)
    misses = 0
    for _ in range(400):
        drawn = rng.normal(0.3, 0.1, 4)
        found = items.mean_of([Interval(x, x - 0.196, x + 0.196, 9) for x in drawn])
        misses += not found.low <= 0.3 <= found.high
    assert misses < 0.08 * 400


def test_a_kernel_that_says_the_margin_before_says_nothing_given_it():
    rng = np.random.default_rng(0)
    before = rng.normal(1, 1, 200)
    after = rng.normal(0, 1, 200)  # so the change is minus the margin before, and noise
    told = items.judged({"kernel": -before + rng.normal(0, 0.3, 200)}, joined(before, after), 0)
    rows = told[told["predictor"] == "kernel"].set_index("measure")
    assert rows.loc["margin change", "low"] > 0.1
    assert rows.loc[items.GIVEN, "low"] < 0 < rows.loc[items.GIVEN, "high"]


def test_an_area_needs_enough_items_on_either_side():
    few = items.judged({}, joined([1.0] * 20, [1.0] * 17 + [-1.0] * 3), 0)
    assert few.set_index("measure").loc["kept or forgotten", "weight"] == 0
    rng = np.random.default_rng(0)
    before = rng.uniform(0.1, 3, 40)
    many = items.judged({}, joined(before, before - 1.5), 0).assign(task="t")
    assert many.set_index("measure").loc["kept or forgotten", "weight"] > 0
    values = items.fate_values(many)
    assert values["fate_confidence_auc"].value == pytest.approx(1)
    assert values["item_auc_distance"].value == pytest.approx(0.5)
    assert values["kernel_rho"].value is None


def toy(kind, labels, task="t"):
    return tuple(
        TwoWay(f"i{place}", task, (("The red", " house"), ("The red", " sea")), label, kind)
        for place, label in enumerate(labels)
    )


def test_signs_of_neighbours(tmp_path, monkeypatch):
    lm = context(tmp_path).lm
    coins = np.array([1, 1, 0, 0])
    monkeypatch.setattr(items, "random_labels", lambda train, seed: coins)
    places = {4: np.array([[1.0, 0], [1, 0.1], [-1, 0], [-1, 0.1]]), 2: np.array([[2.0, 0]] * 2)}

    def states(model, pairs, place):
        return np.stack([places[len(pairs)]] * 3)

    monkeypatch.setattr(items, "hidden_states", states)
    monkeypatch.setattr(items, "NEIGHBOURS", 2)
    arguments = {"lm": lm, "weights": weights_of(lm), "seed": 0}
    # Shared: the near ones were told the second word, which is right for the second item only.
    found = items.neighbours_say(
        train=toy("shared", [0] * 4), test=toy("shared", [0, 1]), **arguments
    )
    assert found[0] < 0 < found[1]
    # Content: the near coins are right or wrong of their own items.
    right = items.neighbours_say(
        train=toy("content", [1, 1, 1, 1]), test=toy("content", [0, 1]), **arguments
    )
    wrong = items.neighbours_say(
        train=toy("content", [0, 0, 1, 1]), test=toy("content", [0, 1]), **arguments
    )
    assert (right > 0).all()
    assert (wrong < 0).all()


def test_null_data():
    assert_null_rate(items.items)


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_the_study_on_a_model_that_knows_nothing(tmp_path, architecture):
    ctx = context(tmp_path, architecture, epochs=3)
    result = items.items(ctx)
    order, fates = result.tables["order"], result.tables["fates"]
    assert set(order["task"]) == {cast.label(task) for task in cast.controlled(ctx)}
    assert set(order["measure"]) == set(items.ORDERS)
    assert set(order["learner"]) == {ctx.lm.name}
    assert list(fates.columns) == [
        "task", "kind", "predictor", "measure", "value", "low", "high", "p", "n",
    ]  # fmt: skip
    assert set(fates["predictor"]) == set(items.PREDICTORS)
    # 32 test items are fewer than the paper's 100.
    assert result.values["order_rho_crossing"].value is None
    assert result.values["order_rho_crossing_tasks"].value == 0
    assert result.values["kernel_rho"].ci95 is not None
    assert set(result.figures) == {"order", "fates"}


def test_states_that_cannot_be_read_leave_the_kernel(tmp_path, monkeypatch):
    def unreadable(*args):
        raise ModelError("no blocks")

    monkeypatch.setattr(items, "hidden_states", unreadable)
    result = items.items(context(tmp_path, tasks=(TASKS[1], TASKS[3])))
    assert set(result.tables["fates"]["predictor"]) == {"confidence", "kernel"}
    assert "left out" in result.figures["fates"].caption
    assert result.values["fate_neighbours_rho"].value is None
