"""Chapter 2, relearning: measures by hand, luck, and the study on tiny models."""

import numpy as np
import pandas as pd
import pytest
from chapter2 import context

from palimpsest.core.study import assert_null_rate
from palimpsest.studies.random_label_forgetting import relearning as chapter

STARTS = ("forgotten", "tuned", "pretrained")


def run(task, start, shares, items=20):
    """A relearning run: at steps 0, 10, ... a share of the items is right."""
    rows = [
        (task, start, item, 10 * place, item < share * items)
        for place, share in enumerate(shares)
        for item in range(items)
    ]
    return pd.DataFrame(rows, columns=["task", "start", "item", "step", "correct"])


def test_relearning_by_hand():
    table = chapter.relearned(run("t", "forgotten", [0.5, 0.7, 0.9]), pd.Series({"t": 0.9}))
    row = table.iloc[0]
    assert row["begin"] == 0.5
    assert row["end"] == 0.9
    assert row["area"] == pytest.approx(0.7)
    assert row["steps"] == 20  # 0.86 was asked
    assert row["lack"] == pytest.approx(0.4)
    assert row["gain"] == pytest.approx(0.2)
    late = chapter.relearned(run("t", "forgotten", [0.5, 0.6, 0.7]), pd.Series({"t": 0.9}))
    assert np.isnan(late["steps"].iloc[0])
    values = chapter.regain_values(late, run("t", "forgotten", [0.5, 0.6, 0.7]))
    assert values["regain_steps_forgotten"].value is None
    assert values["regained_forgotten"].value == 0
    assert values["relearn_area_forgotten"].value == pytest.approx(0.6)
    assert values["relearn_end_forgotten"].value == pytest.approx(0.7)


def test_the_gain_compares_shares_of_what_each_start_lacks():
    parts = []
    for task in ("a", "b"):
        parts.append(run(task, "forgotten", [0.5, 0.9, 0.9]))  # lacks 0.4, regains 0.3 in the mean
        parts.append(run(task, "pretrained", [0.7, 0.7, 0.9]))  # lacks 0.2, regains 0.05
    table = chapter.relearned(pd.concat(parts), pd.Series({"a": 0.9, "b": 0.9}))
    values, compared = chapter.relearn_values(table)
    assert compared == "pretrained"
    assert values["relearn_share_forgotten"].value == pytest.approx(0.75)
    assert values["relearn_share_comparison"].value == pytest.approx(0.25)
    assert values["relearn_gain"].value == pytest.approx(0.5)
    assert values["relearn_tasks"].value == 2


def test_starts_that_lack_nothing_are_no_comparison():
    parts = []
    for task in ("a", "b"):
        parts.append(run(task, "forgotten", [0.5, 0.9]))
        parts.append(run(task, "pretrained", [0.9, 0.9]))
        parts.append(run(task, "earlier", [0.6, 0.7]))
    goal = pd.Series({"a": 0.9, "b": 0.9})
    table = chapter.relearned(pd.concat(parts), goal)
    assert chapter.relearn_values(table)[1] == "earlier"
    values, compared = chapter.relearn_values(table[table["start"] != "earlier"])
    assert compared == ""
    assert values["relearn_gain"].value is None


def test_luck_does_not_decide():
    assert_null_rate(chapter.relearning)


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_the_study_on_a_model_that_knows_nothing(tmp_path, architecture):
    result = chapter.relearning(context(tmp_path, architecture))
    assert set(result.figures) == {"relearning"}
    table = result.tables["relearning"]
    assert set(table["start"]) == set(STARTS)
    assert table["step"].max() == 2
    assert result.values["relearn_gain"].value is not None or "rl-20" in result.notes


def test_an_earlier_model_is_one_more_start(tmp_path, monkeypatch):
    ctx = context(tmp_path, tasks=("pal_parity", "pal_tone"))
    monkeypatch.setattr(chapter.cast, "earlier", lambda ctx: ctx.lm)
    result = chapter.relearning(ctx)
    assert set(result.tables["regained"]["start"]) == {*STARTS, "earlier"}
    assert "relearn_area_earlier" in result.values
