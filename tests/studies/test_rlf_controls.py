"""Chapter 2's controls and other models: measures by hand, null data, the studies in small."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from chapter2 import TASKS, context, invented
from tiny import tiny_lm

from palimpsest.core.study import assert_null_rate
from palimpsest.forgetting.protocol import Tuning
from palimpsest.studies.controls import weights_of
from palimpsest.studies.random_label_forgetting import cast, controls, relatives


@pytest.fixture
def rng():
    return np.random.default_rng(0)


# --- measures ---------------------------------------------------------------------------------


def test_ratios_by_hand():
    before = pd.DataFrame(
        {
            "task": ["a"] * 4 + ["b"] * 4,
            "item": [*"1234"] * 2,
            "label": 0,
            "correct": [True] * 4 + [True, True, False, False],
        }
    )
    after = before.assign(correct=[True, True, False, False] * 2, source="a", draw=0)
    table = controls.ratios(before, after).set_index("task")
    assert table.loc["a", "ratio"] == 1.0
    assert table["own"].to_dict() == {"a": True, "b": False}
    assert math.isnan(table.loc["b", "ratio"])  # it was at chance before


def ratio_rows(*rows):
    columns = ["intervention", "source", "trained on", "task", "draw", "ratio"]
    table = pd.DataFrame(rows, columns=columns)
    return table.assign(own=table["source"] == table["task"])


def test_the_contrast_pairs_sources_and_averages_draws():
    table = ratio_rows(
        ("random", "a", "a", "a", 0, 0.9),
        ("random", "b", "b", "b", 0, 0.7),
        ("random", "c", "c", "c", 0, math.nan),
        ("noise", "a", "", "a", 0, 0.1),
        ("noise", "a", "", "a", 1, 0.3),
        ("noise", "b", "", "b", 0, 0.2),
        ("noise", "c", "", "c", 0, 0.2),
    )
    found = controls.contrast(table, "noise")
    assert found.value == pytest.approx(((0.9 - 0.2) + (0.7 - 0.2)) / 2)
    assert found.n == 2
    assert controls.contrast(table, "other").value is None


def test_a_task_trained_on_is_not_another_task():
    table = ratio_rows(
        ("other", "a", "b", "a", 0, 0.5),
        ("other", "a", "b", "b", 0, -0.5),
        ("other", "a", "b", "c", 0, 0.1),
    )
    assert controls.other_ratios(table, "other")["task"].tolist() == ["c"]


def test_alike_by_hand():
    tasks = [f"t{place}" for place in range(8)]
    damage = pd.DataFrame({"own": np.arange(8.0), "same": np.arange(8.0) ** 2}, index=tasks)
    damage["reverse"] = -damage["own"]
    assert relatives.alike(damage, "own", ["same"]).value == pytest.approx(1, abs=1e-5)
    assert relatives.alike(damage, "own", ["same", "reverse"]).value == pytest.approx(0)
    assert relatives.alike(damage, "own", []).value is None
    assert relatives.alike(damage.assign(flat=0.0), "own", ["flat"]).value is None
    assert relatives.alike(damage.head(3), "own", ["same"]).value is None


def test_damage_leaves_out_the_own_task_and_what_was_not_learned():
    rows = [
        ("a", "a", 0.9, 0.5, 1.0),
        ("b", "a", 0.9, 0.8, 0.25),
        ("c", "a", 0.9, 0.6, 0.75),
        ("a", "b", 0.5, 0.6, math.nan),
    ]
    table = pd.DataFrame(rows, columns=["source", "task", "before", "after", "ratio"])
    table = table.assign(own=table["source"] == table["task"], model="m")
    damage = relatives.damages(table)["m"]
    assert damage["a"] == pytest.approx(0.2)
    assert math.isnan(damage["b"])


def test_claims_do_not_hold_by_luck():
    assert_null_rate(controls.controls)
    assert_null_rate(relatives.relatives)


# --- cells ------------------------------------------------------------------------------------


def test_noise_is_as_large_as_the_change(tmp_path):
    ctx = context(tmp_path)
    weights = weights_of(ctx.lm)
    after = {name: one + 0.1 for name, one in weights.items()}
    asked = cast.items_of(ctx)[TASKS[0]].test
    change = controls.noisy(ctx.lm, weights, controls.norms(weights, after), 0, asked)
    assert change.moved == pytest.approx(controls.moved(weights, after), rel=1e-4)
    assert len(change.answers) == len(asked)


def test_other_controls_take_as_many_steps_as_they_are_told(tmp_path):
    ctx = context(tmp_path)
    items = cast.items_of(ctx)[TASKS[0]]
    weights = weights_of(ctx.lm)
    for taught in (items.train, controls.unrelated_texts()[:40]):
        change = controls.trained(
            ctx.lm, weights, taught, Tuning(epochs=5), 3, len(items.train), 0, items.test
        )
        assert change.steps == 3
        assert change.moved > 0


def test_unrelated_texts_ask_nothing():
    texts = controls.unrelated_texts()
    assert len(texts) > 1000
    assert not any("Question" in text or "Answer" in text for text in texts)
    assert texts == controls.unrelated_texts()


# --- the studies ------------------------------------------------------------------------------


@pytest.mark.parametrize(("architecture", "lora_rank"), [("llama", 0), ("gpt2", 2)])
def test_controls_on_a_model_that_knows_nothing(tmp_path, architecture, lora_rank):
    result = controls.controls(context(tmp_path, architecture, lora_rank=lora_rank))
    table = result.tables["controls"]
    # Where random labels have adapters anyway, there is no second intervention with them.
    without = {"random labels, adapters"} if lora_rank else set()
    assert set(table["intervention"]) == set(controls.INTERVENTIONS.values()) - without
    assert set(table["source"]) == set(table["task"]) == {"people facts", "parity"}
    dose = result.tables["interventions"].set_index("intervention")
    assert dose.loc["weight noise of equal norm", "moved"].mean() == pytest.approx(
        dose.loc["random labels", "moved"].mean(), rel=1e-3
    )
    steps = [
        dose.loc[name, "steps"].tolist()
        for name in ("random labels", "true labels of another task", "unrelated text")
    ]
    assert steps[0] == steps[1] == steps[2]
    assert set(result.figures) == {"controls"}
    measures = {"rl-21": "random_minus_noise", "rl-22": "random_minus_other"}
    for claim, measure in measures.items():
        assert (result.values[measure].value is None) == (claim in result.notes)


def test_controls_of_tasks_that_were_learned(tmp_path, rng):
    before = invented(rng, {"pal_nli": 0.95, "pal_tone": 0.9, "pal_parity": 0.92})
    found = {}
    for source, other in (("pal_nli", "pal_tone"), ("pal_tone", "pal_parity")):
        for name, level in (("random", 0.55), ("noise", 0.9), ("other", 0.85)):
            accuracy = {task: level if task == source else 0.9 for task in before["task"].unique()}
            trained = other if name == "other" else source
            found[name, source, trained, 0] = controls.Change(
                4, 1.0, False, 0.5, 0.9, 0.1, invented(rng, accuracy)
            )
    table = controls._table(before, found)
    assert controls.contrast(table, "noise").value > 0.4
    means = {name: controls.levels(table, name) for name in ("random", "noise", "other")}
    assert means["random"]["own"].value > 0.6
    dose = controls._dose(found)
    kinds = {"pal_nli": "content", "pal_tone": "shared", "pal_parity": "shared"}
    controls._draw_controls(table, means, kinds)
    caption, alt = controls._controls_words(means, dose)
    assert "several ways" in caption
    assert "nan" not in caption + alt


def test_without_relatives_the_study_says_so(tmp_path):
    result = relatives.relatives(context(tmp_path))
    assert result.notes == {"rl-23": relatives.NO_RELATIVES}
    assert set(result.figures) == {"relatives"}


def test_relatives_of_a_model_that_knows_nothing(tmp_path, monkeypatch):
    ctx = context(tmp_path)
    others = {}
    for name, seed in (("other", 1), ("our-twin", 2)):
        lm = tiny_lm()
        torch.manual_seed(seed)
        with torch.no_grad():
            for parameter in lm.model.parameters():
                parameter.add_(0.1 * torch.randn(parameter.shape))
        object.__setattr__(lm, "name", name)
        others[name] = lm
    monkeypatch.setattr(cast, "relatives", lambda _: others)
    result = relatives.relatives(ctx)
    assert {"alike_rho", "twin_rho", "relative_other_rho"} <= set(result.values)
    assert len(result.tables["relatives"]) == 3 * 2 * 4
    assert set(result.figures) == {"relatives"}
    assert (result.values["alike_rho"].value is None) == ("rl-23" in result.notes)
