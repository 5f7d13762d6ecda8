"""Chapter 2, probes and relearning: measures by hand, luck, and the study on tiny models."""

import numpy as np
import pandas as pd
import pytest
from chapter2 import context

from palimpsest.core.errors import ModelError
from palimpsest.core.study import assert_null_rate
from palimpsest.studies.random_label_forgetting import shallow as chapter

STARTS = ("forgotten", "tuned", "pretrained")


def outcomes(tuned, forgotten, said=0.5, items=40):
    """What probes and models get right of one task, as shares of items."""

    def share(level):
        return (np.arange(items) < level * items).astype(float)

    told = {("t", "pretrained"): share(tuned), ("t", "tuned"): share(tuned)}
    right = {("t", "pretrained"): share(0.9), ("t", "tuned"): share(0.9)}
    return told | {("t", "forgotten"): share(forgotten)}, right | {("t", "forgotten"): share(said)}


def run(task, start, shares, items=20):
    """A relearning run: at steps 0, 10, ... a share of the items is right."""
    rows = [
        (task, start, item, 10 * place, item < share * items)
        for place, share in enumerate(shares)
        for item in range(items)
    ]
    return pd.DataFrame(rows, columns=["task", "start", "item", "step", "correct"])


def test_probes_by_hand():
    table = chapter.probe_tasks(*outcomes(0.8, 0.7), {"t": 0.1}).iloc[0]
    assert table["drop"] == pytest.approx(0.1)
    assert table["excess"] == pytest.approx(0.2)
    assert table["drop_low"] <= 0.1 <= table["drop_high"]
    assert table["learned"]
    assert table["readable"]
    values = chapter.probe_values(chapter.probe_tasks(*outcomes(0.8, 0.7), {"t": 0.1}))
    assert values["probe_drop"].value == pytest.approx(0.1)
    assert values["probe_drop_here"].ci95 == (table["drop_low"], table["drop_high"])


def test_what_cannot_be_read_cannot_drop():
    table = chapter.probe_tasks(*outcomes(0.5, 0.5), {"t": -0.1})
    values = chapter.probe_values(table)
    assert values["probe_drop"].value is None
    assert values["probe_minus_model"].value is None
    assert values["probe_minus_model_all"].value == pytest.approx(0.0)
    assert values["probe_tasks"].value == 0


def test_the_mean_of_tasks_has_square_and_add_limits():
    table = pd.DataFrame({"k": "a", "value": [0.5, 0.7], "low": [0.2, 0.3], "high": [0.6, 0.7]})
    row = chapter.mean_of_tasks(table, ["k"]).iloc[0]
    assert row["value"] == pytest.approx(0.6)
    assert row["low"] == pytest.approx(0.6 - 0.5 / 2)
    assert row["high"] == pytest.approx(0.6 + 0.1 / 2)


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
    assert_null_rate(chapter.shallow)


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_the_study_on_a_model_that_knows_nothing(tmp_path, architecture):
    ctx = context(tmp_path, architecture)
    result = chapter.shallow(ctx)
    assert set(result.figures) == {"probes", "relearning"}
    probes = result.tables["probes"]
    assert set(probes["model"]) == set(chapter.MODELS)
    assert set(probes["scored"]) == {"threshold", "pair"}
    assert set(probes["depth"]) == {0, 1, 2}
    relearning = result.tables["relearning"]
    assert set(relearning["start"]) == set(STARTS)
    assert relearning["step"].max() == 2
    for claim in chapter.shallow.claims:
        assert result.values[claim.measure].value is not None or claim.id in result.notes


def test_an_earlier_model_is_one_more_start(tmp_path, monkeypatch):
    ctx = context(tmp_path, tasks=("pal_parity", "pal_tone"))
    monkeypatch.setattr(chapter.cast, "earlier", lambda ctx: ctx.lm)
    result = chapter.shallow(ctx)
    assert set(result.tables["regained"]["start"]) == {*STARTS, "earlier"}
    assert "relearn_area_earlier" in result.values


def test_a_model_that_cannot_be_read(tmp_path, monkeypatch):
    def refuse(ctx):
        raise ModelError("no blocks")

    monkeypatch.setattr(chapter, "_probes", refuse)
    result = chapter.shallow(context(tmp_path))
    assert {"rl-18", "rl-19"} <= set(result.notes)
    assert set(result.figures) == {"probes", "relearning"}
