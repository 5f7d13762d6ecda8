"""Chapter 2's demonstration: what is counted along the way, and the study on a tiny model."""

import numpy as np
import pandas as pd
import pytest
from chapter2 import TASKS, context

from palimpsest.forgetting.items import TwoWay
from palimpsest.studies.random_label_forgetting import cast, one_task


def look(step, correct, items=("t1", "u1", "u2")):
    return pd.DataFrame(
        {"task": "t", "item": list(items), "step": step, "label": [0, 1, 0], "correct": correct}
    )


def test_shares_count_seen_and_unseen_items_and_the_coins():
    looks = pd.concat([look(0, [True, True, True]), look(5, [False, True, False])])
    table = one_task.shares(looks, pd.Series({"t1": 1})).set_index(["what", "step"])["value"]
    assert table["unseen", 0] == 1.0
    assert table["unseen", 5] == 0.5
    assert table["trained", 0] == 1.0
    assert table["trained", 5] == 0.0
    # The coin of t1 says 1 and the right answer is 0: who answers wrong agrees with the coin.
    assert table["agreement", 0] == 0.0
    assert table["agreement", 5] == 1.0


def test_limits_hold_the_share():
    table = one_task.shares(look(0, [True, True, False]), pd.Series({"t1": 0}))
    assert ((table["low"] <= table["value"]) & (table["value"] <= table["high"])).all()
    assert set(table["n"]) == {1, 2}


def test_items_whose_contexts_differ_are_spelled_whole():
    same = TwoWay("a", "t", (("Is it?", " yes"), ("Is it?", " no")), 0, "shared")
    assert one_task._spelled(same) == ("Is it?", ("yes", "no"))
    two = TwoWay("b", "t", (("The cat", " sat."), ("The dog", " sat.")), 0, "content")
    assert one_task._spelled(two) == ("", ("The cat sat.", "The dog sat."))


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_the_study_on_a_model_that_knows_nothing(tmp_path, architecture):
    ctx = context(tmp_path, architecture, epochs=3)
    result = one_task.one_task(ctx)
    table = result.tables["one_task"]
    assert list(table.columns) == ["task", "step", "what", "value", "low", "high"]
    assert set(table["task"]) == {"people facts", "parity"}
    steps = cast.forgotten(ctx, "pal_parity").tuned.steps
    own = table[(table["task"] == "parity") & (table["what"] == "unseen")]
    assert own["step"].tolist() == list(range(steps + 1))
    for kind in ("shared", "content"):
        for name in ("unseen", "trained", "agreement"):
            for when in ("before", "after"):
                assert result.values[f"{name}_{when}_{kind}"].ci95 is not None
    examples = result.tables["examples"]
    assert len(examples) == 6
    assert examples["p(right) before"].between(0, 1).all()
    assert set(result.figures) == {"one_task"}


def test_looks_do_not_change_the_training(tmp_path):
    ctx = context(tmp_path, epochs=2)
    result = one_task.one_task(ctx)
    after = cast.forgotten(ctx, "pal_parity").answers
    own = after[after["task"] == "pal_parity"]["correct"].mean()
    assert np.isclose(result.values["unseen_after_shared"].value, own)


def test_tasks_of_one_kind_alone(tmp_path):
    ctx = context(tmp_path, tasks=(TASKS[1], TASKS[3]))
    result = one_task.one_task(ctx)
    assert "unseen_before_shared" in result.values
    assert not any("content" in name for name in result.values)
