"""Gradient ascent is the training loss turned round, and stops where it is told."""

import copy

import pytest
import torch
from tiny import tiny_lm

from palimpsest.core.text import batches, text_rows
from palimpsest.core.training import Recipe, causal_lm_loss
from palimpsest.unlearning.objectives import gradient_ascent
from palimpsest.unlearning.runner import unlearn

TEXTS = ["Mira Tolden was born in Askerby.", "Ada likes red.", "A baker bakes bread."]


@pytest.fixture
def lm():
    return tiny_lm("llama").copy()


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "opt"])
def test_gradient_is_that_of_the_likelihood(architecture):
    model = tiny_lm(architecture).copy()
    (batch,) = batches(model, text_rows(model, TEXTS), batch_size=8)
    gradients = []
    for loss in (causal_lm_loss, gradient_ascent):
        other = copy.deepcopy(model.model)
        loss(other, batch).backward()
        gradients.append([p.grad for p in other.parameters() if p.grad is not None])
    for down, up in zip(*gradients, strict=True):
        torch.testing.assert_close(up, -down)


def nll(lm) -> float:
    (batch,) = batches(lm, text_rows(lm, TEXTS), batch_size=8)
    with torch.no_grad():
        return float(causal_lm_loss(lm.model, batch))


def test_the_text_becomes_less_probable_and_the_path_says_so(lm):
    before = nll(lm)
    path = unlearn(
        lm, text_rows(lm, TEXTS), Recipe(steps=6, learning_rate=1e-2), gradient_ascent,
        measure=lambda model: -nll(model), stop_at=-1e9, every=2,
    )  # fmt: skip
    assert path.steps == (0, 2, 4, 6)
    assert not path.reached
    assert path.measure[0] == pytest.approx(-before)
    assert path.measure[-1] == pytest.approx(-nll(lm))
    assert nll(lm) > before
    assert not lm.model.training


def test_it_stops_by_the_rule(lm):
    level = -nll(lm) - 0.05
    path = unlearn(
        lm, text_rows(lm, TEXTS), Recipe(steps=50, learning_rate=1e-2), gradient_ascent,
        measure=lambda model: -nll(model), stop_at=level,
    )  # fmt: skip
    assert path.reached
    assert path.steps[-1] < 50
    assert path.measure[-1] <= level < path.measure[-2]


def test_nothing_is_done_where_the_rule_holds_already(lm):
    before = nll(lm)
    path = unlearn(
        lm, text_rows(lm, TEXTS), Recipe(steps=5), gradient_ascent,
        measure=lambda model: 0.0, stop_at=0.0,
    )  # fmt: skip
    assert path.steps == (0,)
    assert path.reached
    assert nll(lm) == before
