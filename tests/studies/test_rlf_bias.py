"""Chapter 2's study of bias: its measures by hand, its null data, and a run on tiny models."""

import math

import numpy as np
import pandas as pd
import pytest
from chapter2 import context, invented

from palimpsest.core.study import assert_null_rate
from palimpsest.studies.random_label_forgetting import bias


def test_a_shift_is_given_back_and_a_lost_ranking_is_not():
    rng = np.random.default_rng(0)
    before = invented(rng, {"shift": 0.9, "lost": 0.9}, items=96)
    signed = np.where(before["label"] == 1, 1, -1) * before["margin"]
    score = np.where(before["task"] == "shift", signed + 20, rng.normal(size=len(before)))
    margin = np.where(before["label"] == 1, 1, -1) * score
    after = before.assign(margin=margin, correct=margin > 0, draw=0)
    kinds = {"shift": "shared", "lost": "shared"}
    table = bias.biases(before, after, kinds, draws=50, seed=0).set_index("task")
    assert table.loc["shift", "modal_share"] == 1
    assert table.loc["shift", "auc"] == pytest.approx(table.loc["shift", "auc_before"])
    assert table.loc["shift", "bias_share"] > 0.8
    assert abs(table.loc["lost", "restored"]) < 0.15


def test_what_is_given_back_is_pooled_over_tasks_that_lost():
    table = pd.DataFrame(
        {"before": [0.9, 0.9, 0.9], "after": [0.5, 0.7, 0.88], "restored": [0.2, 0.1, 0.5]}
    )
    assert bias.given_back(table).value == pytest.approx(0.3 / 0.6)
    assert math.isnan(bias.given_back(table.iloc[2:]).value)


def test_the_gap_and_what_is_carried_over_are_means_over_learned_tasks():
    rows = []
    for task, ratios in {"a": (1.0, 0.4, 0.6, 0.2), "b": (0.8, 0.4, 0.4, 0.0)}.items():
        own, rewritten, onward, back = ratios
        rows += [
            (task, "original", "original", 0.9, own),
            (task, "rewritten", "rewritten", 0.8, rewritten),
            (task, "original", "rewritten", 0.8, onward),
            (task, "rewritten", "original", 0.9, back),
        ]
    rows += [("c", "original", "original", 0.9, 1.0), ("c", "rewritten", "rewritten", 0.5, np.nan)]
    table = pd.DataFrame(rows, columns=["task", "trained", "asked", "before", "value"])
    values = bias.form_values(table.assign(low=0.0))
    assert values["form_gap"].value == pytest.approx((0.6 + 0.4) / 2)
    assert values["carried_over"].value == pytest.approx((0.4 + 0.2) / 2)
    assert values["carried_to_rewritten"].value == pytest.approx(0.5)
    assert values["learned_rewritten"].value == pytest.approx(0.7)
    assert values["form_gap"].n == 2


def test_the_claims_do_not_hold_by_luck():
    assert_null_rate(bias.bias)


@pytest.mark.parametrize(
    ("architecture", "changes"),
    [
        ("llama", {"sources": 4}),
        ("gpt2", {"draws": 1, "tasks": ("pal_people_facts", "pal_nli"), "sources": 0}),
    ],
)
def test_a_model_that_knows_nothing_is_told_so(tmp_path, architecture, changes):
    result = bias.bias(context(tmp_path, architecture, **changes))
    assert set(result.figures) == {"bias", "rewritten"}
    assert len(result.tables["bias"]) == len(result.tables["bias"]["task"].unique())
    if architecture == "llama":
        wordings = result.tables["wordings"]
        assert set(wordings["form"]) == {"original", "rewritten"}
        assert (wordings.groupby(["task", "form"])["right"].sum() == 1).all()
        assert len(result.tables["forms"]) == 2 * 2 * 2
    else:
        assert {"rl-15", "rl-16", "rl-17"} == set(result.notes)
