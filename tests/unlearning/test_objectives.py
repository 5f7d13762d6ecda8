"""Gradient ascent is the training loss turned round, and stops where it is told."""

import copy

import pytest
import torch
from tiny import tiny_lm

from palimpsest.core.text import batches, text_rows
from palimpsest.core.training import Recipe, causal_lm_loss
from palimpsest.unlearning.objectives import gradient_ascent, gradient_difference
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


KEPT = ["Otto Brandis keeps a goose.", "Bees make honey in a hive."]


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_gradient_difference_is_descent_on_one_set_and_ascent_on_the_other(architecture):
    model = tiny_lm(architecture).copy()
    (forget,) = batches(model, text_rows(model, TEXTS), batch_size=8)
    (retain,) = batches(model, text_rows(model, KEPT), batch_size=8)

    def gradients(loss):
        other = copy.deepcopy(model.model)
        value = loss(other)
        value.backward()
        return value.item(), [p.grad for p in other.parameters() if p.grad is not None]

    value, both = gradients(lambda m: gradient_difference(m, forget, retain))
    down_value, down = gradients(lambda m: causal_lm_loss(m, retain))
    up_value, up = gradients(lambda m: gradient_ascent(m, forget))
    assert value == pytest.approx(down_value + up_value)
    for one, two, sum_ in zip(down, up, both, strict=True):
        torch.testing.assert_close(one + two, sum_)


def test_what_is_to_stay_stays_more_probable_with_a_retain_set(lm):
    left = {}
    recipe = Recipe(steps=12, batch_size=2, learning_rate=5e-3)
    for objective, retain in ((gradient_ascent, ()), (gradient_difference, text_rows(lm, KEPT))):
        student = lm.copy()
        unlearn(
            student, text_rows(lm, TEXTS), recipe, objective, retain=retain,
            measure=lambda model: -nll(model), stop_at=-1e9, every=12,
        )  # fmt: skip
        (batch,) = batches(student, text_rows(student, KEPT), batch_size=8)
        with torch.no_grad():
            left[objective] = float(causal_lm_loss(student.model, batch))
        assert nll(student) > nll(lm)
    assert left[gradient_difference] < left[gradient_ascent]


def test_the_retain_set_is_gone_through_again_and_again(lm):
    seen = []

    def watched(model, forget, retain):
        seen.append(retain.ids)
        return gradient_difference(model, forget, retain)

    unlearn(
        lm, text_rows(lm, TEXTS), Recipe(steps=5, batch_size=1), watched,
        retain=text_rows(lm, KEPT, ids=["a", "b"]), measure=lambda model: 1.0, stop_at=0.0, every=5,
    )  # fmt: skip
    assert len(seen) == 5
    assert set(seen) == {("a",), ("b",)}
    for at in (0, 2):
        assert seen[at] != seen[at + 1]
