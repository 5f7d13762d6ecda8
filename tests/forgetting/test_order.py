"""Orders against hand-worked curves and planted ones; predictions against explicit gradients."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats as oracle
from tiny import ARCHITECTURES, tiny_lm
from torch.nn import functional as F

from palimpsest.core.errors import DataError
from palimpsest.core.models import all_logits
from palimpsest.core.scoring import encode_pairs, score
from palimpsest.forgetting.measures import join
from palimpsest.forgetting.order import (
    area,
    compare_orders,
    crossing,
    judge,
    kernel_prediction,
    nearest_neighbours,
)

TRAIN = [
    (("Two plus three is", " five"), ("Two plus three is", " seven")),
    (("Where was Mira born?", " Askerby."), ("Where was Mira born?", " Two")),
    (("Ada likes", " red"), ("Ada likes", " the river")),
    (("The red house", " is five"), ("The blue house", " is five")),
]
TEST = [
    (("Seven minus four is", " three"), ("Seven minus four is", " four")),
    (("A baker bakes", " bread"), ("A baker bakes", " the sea and flour")),
    (("The red house stands by the", " sea"), ("The red house stands by the", " mill")),
]
TARGETS = np.array([1.0, 0.0, 1.0, 0.5])
LABELS = np.array([0, 1, 0])


# --- order --------------------------------------------------------------------------------------


def curves(table: np.ndarray, steps=None) -> pd.DataFrame:
    """[items, steps] as a long table."""
    items, count = table.shape
    steps = np.arange(count) if steps is None else np.asarray(steps)
    return pd.DataFrame(
        {
            "item": np.repeat([f"i{place}" for place in range(items)], count),
            "step": np.tile(steps, items),
            "p": table.ravel(),
        }
    )


def test_area_and_crossing_by_hand():
    table = curves(np.array([[0.2, 0.4, 0.8], [0.9, 0.7, 0.5], [0.1, 0.1, 0.1]]), [0, 10, 40])
    assert list(area(table)) == pytest.approx([(3 + 18) / 40, (8 + 18) / 40, 0.1])
    up, down = crossing(table, rising=True), crossing(table, rising=False)
    np.testing.assert_array_equal(up, [40, 0, np.nan])
    np.testing.assert_array_equal(down, [0, 40, 0])
    shuffled = table.sample(frac=1, random_state=1)
    assert dict(area(shuffled)) == pytest.approx(dict(area(table)))


def rise(at: np.ndarray, steps=20) -> np.ndarray:
    """p rising from 0.1 to 0.9 around a step; without noise the first p gives all away."""
    smooth = 0.1 + 0.8 / (1 + np.exp(-(np.arange(steps) - at[:, None]) * 2))
    return smooth + np.random.default_rng(9).normal(0, 0.02, smooth.shape)


def test_a_planted_order_is_found():
    rng = np.random.default_rng(0)
    when = rng.uniform(3, 17, 150)
    late = 20 - when + rng.normal(0, 1, 150)  # learned early, forgotten late
    found = compare_orders(curves(rise(when)), curves(1 - rise(late)), draws=200)
    found = found.set_index("measure")
    assert list(found.index) == ["area", "area given the start", "crossing", "crossing, all items"]
    assert found.loc["area", "low"] > 0.8
    assert found.loc["area given the start", "low"] > 0.8
    assert found.loc["crossing", "low"] > 0.8
    assert found.loc["crossing", "p"] < 0.001
    assert found.loc["area", "n"] == 150
    scipys = oracle.spearmanr(area(curves(rise(when))), area(curves(1 - rise(late)))).statistic
    assert found.loc["area", "value"] == pytest.approx(scipys)


def test_thresholds_make_a_correlation_of_items_that_never_pass():
    """Exercise 8. Half of the items never rise above 0.6; all curves are noise."""
    rng = np.random.default_rng(0)
    passes = np.arange(300) % 2 == 0
    ups = np.where(passes[:, None], rise(rng.uniform(3, 17, 300)), 0.3)
    downs = np.where(passes[:, None], 1 - rise(rng.uniform(3, 17, 300)), 0.3)
    found = compare_orders(curves(ups), curves(downs), draws=200).set_index("measure")
    assert found.loc["crossing, all items", "low"] > 0.5
    assert abs(found.loc["crossing", "value"]) < 0.2
    assert found.loc["crossing", "n"] == 150
    assert found.loc["area", "low"] > 0.1  # for want of holding the start fixed
    assert abs(found.loc["area given the start", "value"]) < 0.25


def test_too_few_qualifying_items_give_no_number_for_the_papers_way():
    rng = np.random.default_rng(0)
    when = rng.uniform(3, 17, 99)
    found = compare_orders(curves(rise(when)), curves(1 - rise(when)), draws=50)
    found = found.set_index("measure")
    assert math.isnan(found.loc["crossing", "value"])
    assert found.loc["crossing", "n"] == 99
    assert found.loc["area", "value"] < -0.9


def test_no_order_is_seldom_found():
    rng = np.random.default_rng(0)
    low = {"area": 0, "crossing": 0}
    for round_ in range(200):
        parts = [curves(rise(rng.uniform(3, 17, 30))) for _ in range(2)]
        parts[1]["p"] = 1 - parts[1]["p"]
        found = compare_orders(*parts, fewest=20, draws=50, seed=round_).set_index("measure")
        for name in low:
            low[name] += found.loc[name, "p"] <= 0.05
    assert max(low.values()) <= 0.05 * 200 + 4


def test_partial_correlation_by_its_formula():
    rng = np.random.default_rng(0)
    learning, forgetting = rng.random((40, 5)), rng.random((40, 5))
    found = compare_orders(curves(learning), curves(forgetting), draws=50).set_index("measure")
    parts = area(curves(learning)), area(curves(forgetting)), forgetting[:, 0]
    both, one, other = (
        oracle.spearmanr(parts[a], parts[b]).statistic for a, b in ((0, 1), (0, 2), (1, 2))
    )
    expected = (both - one * other) / math.sqrt((1 - one**2) * (1 - other**2))
    assert found.loc["area given the start", "value"] == pytest.approx(expected)


def test_curves_with_gaps_or_of_other_items_are_refused():
    table = curves(np.random.default_rng(0).random((6, 4)))
    with pytest.raises(DataError, match="1 gaps"):
        area(table[1:])
    with pytest.raises(DataError, match="several values"):
        area(pd.concat([table, table]))
    with pytest.raises(DataError, match="different items"):
        compare_orders(table, table.assign(item=table["item"] + "x"))


# --- neighbours ---------------------------------------------------------------------------------


def test_neighbours_equal_a_slow_loop():
    rng = np.random.default_rng(0)
    train, test = rng.normal(5, 1, (30, 6)), rng.normal(5, 1, (8, 6))
    signs = rng.choice([-1.0, 1.0], 30)
    found = nearest_neighbours(train, signs, test, k=4)
    for place, state in enumerate(test):
        cosines = [
            np.dot(state - train.mean(0), other - train.mean(0))
            / np.linalg.norm(state - train.mean(0))
            / np.linalg.norm(other - train.mean(0))
            for other in train
        ]
        near = np.argsort(cosines)[-4:]
        assert found[place] == pytest.approx(np.mean([cosines[i] * signs[i] for i in near]))
    everyone = nearest_neighbours(train, signs, test, k=30)
    assert everyone.shape == (8,)
    with pytest.raises(ValueError, match="neighbours"):
        nearest_neighbours(train, signs, test, k=31)
    with pytest.raises(ValueError, match="signs"):
        nearest_neighbours(train, signs[1:], test)


def test_neighbours_find_a_planted_neighbourhood():
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(20, 10)) * 3
    fate = rng.choice([-1.0, 1.0], 20)
    train = np.repeat(centres, 6, axis=0) + rng.normal(0, 0.3, (120, 10))
    test = np.repeat(centres, 5, axis=0) + rng.normal(0, 0.3, (100, 10))
    found = nearest_neighbours(train, np.repeat(fate, 6), test, k=5)
    np.testing.assert_array_equal(np.sign(found), np.repeat(fate, 5))


# --- the kernel ---------------------------------------------------------------------------------


def slow_logprob(model, context, answer):
    """With a graph, one token after the other, without any of the package's shortcuts."""
    ids = torch.tensor([[*context, *answer]])
    logs = F.log_softmax(all_logits(model, ids)[0].float(), dim=-1)
    return sum(logs[len(context) + place - 1, token] for place, token in enumerate(answer))


def signed_scores(lm, items):
    pairs = encode_pairs(lm, [pair for item in items for pair in item])
    logs = [slow_logprob(lm.model, *pair) for pair in pairs]
    return [second - first for first, second in zip(logs[::2], logs[1::2], strict=True)], logs


def gradient(lm, value):
    slopes = torch.autograd.grad(
        value, list(lm.model.parameters()), retain_graph=True, allow_unused=True
    )
    return np.concatenate(
        [
            (torch.zeros_like(weight) if slope is None else slope).double().numpy().ravel()
            for weight, slope in zip(lm.model.parameters(), slopes, strict=True)
        ]
    )


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_kernel_sum_equals_explicit_gradients(architecture):
    """-Σ K(x', x_i)(p_i - y~_i) with every pair of gradients written out."""
    lm = tiny_lm(architecture)
    scores, _ = signed_scores(lm, TRAIN)
    ours, _ = signed_scores(lm, TEST)
    jacobian = np.stack([gradient(lm, one) for one in scores])
    own = np.stack([gradient(lm, one) for one in ours])
    kernel = own @ jacobian.T
    p = np.array([1 / (1 + math.exp(-float(one.detach()))) for one in scores])
    expected = -(kernel @ (p - TARGETS)) * (2 * LABELS - 1)
    found = kernel_prediction(lm, TRAIN, TARGETS, TEST, LABELS)
    np.testing.assert_allclose(found, expected, rtol=2e-3, atol=2e-3 * np.abs(expected).max())


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_the_loss_on_tokens_too(architecture):
    lm = tiny_lm(architecture)
    _, logs = signed_scores(lm, TRAIN)
    loss = -sum(
        goal * second + (1 - goal) * first
        for goal, first, second in zip(TARGETS.tolist(), logs[::2], logs[1::2], strict=True)
    )
    own = np.stack([gradient(lm, one) for one in signed_scores(lm, TEST)[0]])
    expected = -(own @ gradient(lm, loss)) * (2 * LABELS - 1)
    found = kernel_prediction(lm, TRAIN, TARGETS, TEST, LABELS, loss="tokens")
    np.testing.assert_allclose(found, expected, rtol=2e-3, atol=2e-3 * np.abs(expected).max())


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_a_small_step_of_descent_does_what_was_predicted(architecture):
    lm = tiny_lm(architecture)
    rate = 1e-5

    def margins():
        flat = [pair for item in TEST for pair in item]
        logs = np.array([one.logprob for one in score(lm, flat)]).reshape(-1, 2)
        return (logs[:, 1] - logs[:, 0]) * (2 * LABELS - 1)

    before = margins()
    predicted = kernel_prediction(lm, TRAIN, TARGETS, TEST, LABELS)
    scores, _ = signed_scores(lm, TRAIN)
    goals = torch.tensor(TARGETS, dtype=torch.float32)
    F.binary_cross_entropy_with_logits(torch.stack(scores), goals, reduction="sum").backward()
    with torch.no_grad():
        for weight in lm.model.parameters():
            if weight.grad is not None:
                weight -= rate * weight.grad
    np.testing.assert_allclose(
        (margins() - before) / rate, predicted, rtol=0.1, atol=0.05 * np.abs(predicted).max()
    )


def test_the_model_is_left_as_it_was():
    lm = tiny_lm()
    frozen = next(lm.model.parameters())
    frozen.requires_grad_(False)
    lm.model.train()
    before = lm.fingerprint()
    found = kernel_prediction(lm, TRAIN, TARGETS, TEST, LABELS)
    assert not frozen.requires_grad
    assert lm.model.training
    assert all(weight.grad is None for weight in lm.model.parameters())
    assert lm.fingerprint() == before
    with torch.no_grad():
        np.testing.assert_allclose(kernel_prediction(lm, TRAIN, TARGETS, TEST, LABELS), found)


def test_batches_and_tokens_make_no_difference(monkeypatch):
    lm = tiny_lm("gpt2")
    found = kernel_prediction(lm, TRAIN, TARGETS, TEST, LABELS)
    monkeypatch.setattr("palimpsest.forgetting.order._BATCH_TOKENS", 1)
    encoded = encode_pairs(lm, [pair for item in TEST for pair in item])
    tokens = list(zip(encoded[::2], encoded[1::2], strict=True))
    again = kernel_prediction(lm, TRAIN, TARGETS, tokens, LABELS)
    np.testing.assert_allclose(again, found, rtol=1e-3, atol=1e-3 * np.abs(found).max())


def test_odd_input_is_refused():
    lm = tiny_lm()
    with pytest.raises(ValueError, match="one label"):
        kernel_prediction(lm, TRAIN, TARGETS[1:], TEST, LABELS)
    with pytest.raises(ValueError, match="loss="):
        kernel_prediction(lm, TRAIN, TARGETS, TEST, LABELS, loss="both")
    long = [3] * (lm.max_length + 1)
    with pytest.raises(DataError, match="window"):
        kernel_prediction(lm, TRAIN, TARGETS, [(([3], long), ([3], [4]))], [0])
    fits = [(([3] * 99, [5]), ([3] * 99, [4]))]
    assert np.isfinite(kernel_prediction(lm, TRAIN, TARGETS, fits, [0])).all()


def test_judging_a_prediction():
    rng = np.random.default_rng(0)
    n = 120
    margin, change = rng.normal(2, 1, n), rng.normal(-1, 2, n)

    def answers(margin):
        return pd.DataFrame(
            {
                "task": "t",
                "item": np.arange(n).astype(str),
                "label": 0,
                "margin": margin,
                "p": 1 / (1 + np.exp(-margin)),
                "correct": margin > 0,
            }
        )

    both = join(answers(margin), answers(margin + change))
    found = judge(change, both, draws=200).set_index("measure")
    assert found.loc["margin change", "value"] == pytest.approx(1)
    assert found.loc["kept or forgotten", "low"] > 0.8
    blind = judge(rng.normal(size=n), both, draws=200).set_index("measure")
    assert blind.loc["margin change", "low"] < 0 < blind.loc["margin change", "high"]
    assert blind.loc["kept or forgotten", "low"] < 0.5 < blind.loc["kept or forgotten", "high"]
    with pytest.raises(ValueError, match="predictions"):
        judge(change[1:], both)
