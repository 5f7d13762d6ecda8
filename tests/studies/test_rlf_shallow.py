"""Chapter 2, probes: measures by hand, luck, and the study on tiny models."""

import numpy as np
import pandas as pd
import pytest
from chapter2 import context

from palimpsest.core.errors import ModelError
from palimpsest.core.study import assert_null_rate
from palimpsest.studies.random_label_forgetting import shallow as chapter
from palimpsest.studies.random_label_forgetting.summaries import mean_of_tasks


def outcomes(tuned, forgotten, said=0.5, items=40):
    """What probes and models get right of one task, as shares of items."""

    def share(level):
        return (np.arange(items) < level * items).astype(float)

    told = {("t", "pretrained"): share(tuned), ("t", "tuned"): share(tuned)}
    right = {("t", "pretrained"): share(0.9), ("t", "tuned"): share(0.9)}
    return told | {("t", "forgotten"): share(forgotten)}, right | {("t", "forgotten"): share(said)}


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
    row = mean_of_tasks(table, ["k"]).iloc[0]
    assert row["value"] == pytest.approx(0.6)
    assert row["low"] == pytest.approx(0.6 - 0.5 / 2)
    assert row["high"] == pytest.approx(0.6 + 0.1 / 2)


def test_luck_does_not_decide():
    assert_null_rate(chapter.shallow)


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_the_study_on_a_model_that_knows_nothing(tmp_path, architecture):
    ctx = context(tmp_path, architecture)
    result = chapter.shallow(ctx)
    assert set(result.figures) == {"probes"}
    probes = result.tables["probes"]
    assert set(probes["model"]) == set(chapter.MODELS)
    assert set(probes["scored"]) == {"threshold", "pair"}
    assert set(probes["depth"]) == {0, 1, 2}
    for claim in chapter.shallow.claims:
        assert result.values[claim.measure].value is not None or claim.id in result.notes


def test_a_model_that_cannot_be_read(tmp_path, monkeypatch):
    def refuse(ctx):
        raise ModelError("no blocks")

    monkeypatch.setattr(chapter, "_probes", refuse)
    result = chapter.shallow(context(tmp_path))
    assert set(result.notes) == {"rl-18", "rl-19"}
    assert set(result.figures) == {"probes"}
