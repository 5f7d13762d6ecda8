"""Probes against scikit-learn, planted signals and none; hidden states against the model's own."""

import math

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from tiny import ARCHITECTURES, tiny_lm

from palimpsest.core.errors import DataError
from palimpsest.core.scoring import encode_pairs
from palimpsest.forgetting import probes
from palimpsest.forgetting.probes import LogisticProbe, fit, hidden_states, pair_states, probe

PAIRS = [
    ("Where was Mira Tolden born?", " Askerby."),
    ("Where was Mira Tolden born?", " Mira Tolden was"),
    ("The red house stands by the", " sea"),
    ("Two plus three is", " five"),
    ("Ada likes", " red"),
]


# --- hidden states ------------------------------------------------------------------------------


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_hidden_states_of_any_model(architecture):
    """Against Transformers' own, one text at a time (its last state is after the last norm)."""
    lm = tiny_lm(architecture)
    found = {
        place: hidden_states(lm, PAIRS, place) for place in ("question", "answer", "answer mean")
    }
    assert found["answer"].shape[:2] == (3, len(PAIRS))
    for number, (context, answer) in enumerate(encode_pairs(lm, PAIRS)):
        ids = torch.tensor([[*context, *answer]])
        with torch.no_grad():
            own = lm.model(ids, output_hidden_states=True).hidden_states
        if architecture == "mamba":  # Transformers' list begins after the first block there
            own = (None, *own)
        for depth in (0, 1) if own[0] is not None else (1,):
            state = own[depth][0].numpy()
            checks = {
                "question": state[len(context) - 1],
                "answer": state[-1],
                "answer mean": state[len(context) :].mean(axis=0),
            }
            for place, expected in checks.items():
                np.testing.assert_allclose(
                    found[place][depth, number], expected, rtol=1e-3, atol=1e-4
                )


def test_texts_at_and_beyond_the_window_and_bad_pairs():
    lm = tiny_lm()
    length = lm.max_length
    ids = [3 + place % 50 for place in range(length + 9)]
    long = hidden_states(lm, [(ids[:-2], ids[-2:])])
    cut = hidden_states(lm, [(ids[-length:-2], ids[-2:])])
    np.testing.assert_allclose(long, cut)
    with pytest.raises(DataError, match="window"):
        hidden_states(lm, [(ids, [])])
    with pytest.raises(DataError, match="window"):
        hidden_states(lm, [([3], ids)], "answer mean")
    with pytest.raises(DataError, match="no texts"):
        hidden_states(lm, [])
    with pytest.raises(ValueError, match="place="):
        hidden_states(lm, PAIRS, "prompt")


def test_states_of_both_choices_and_a_model_left_as_it_was():
    lm = tiny_lm("gpt2")
    lm.model.train()
    found = pair_states(lm, [(PAIRS[0], PAIRS[1]), (PAIRS[2], PAIRS[3])])
    assert lm.model.training
    assert not any(module._forward_hooks for module in lm.model.modules())
    np.testing.assert_allclose(found[:, 1, 0], hidden_states(lm, PAIRS[2:3])[:, 0], rtol=1e-4)
    assert found.shape == (3, 2, 2, 16)


# --- the probe ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "width"), [(60, 5), (20, 50)])
@pytest.mark.parametrize("penalty", [0.3, 10.0])
def test_logistic_regression_equals_scikit_learns(n, width, penalty):
    rng = np.random.default_rng(0)
    features = rng.normal(2, 3, (n, width))
    labels = (features[:, 0] + rng.normal(0, 2, n) > 2).astype(float)
    standard = (features - features.mean(0)) / features.std(0)
    oracle = LogisticRegression(C=1 / penalty, tol=1e-10, max_iter=10_000)
    oracle.fit(standard, labels)
    found = LogisticProbe(features, labels).solve(penalty)
    np.testing.assert_allclose(
        found.score(features), oracle.decision_function(standard), rtol=1e-3, atol=1e-4
    )
    # The slope of the loss vanishes there, by scikit-learn or not.
    score = found.score(features)
    weights = found.basis @ found.weights[:-1]
    slope = standard.T @ (1 / (1 + np.exp(-score)) - labels) + penalty * weights
    np.testing.assert_allclose(slope, 0, atol=1e-6)


def test_odd_data_have_a_solution():
    constant = LogisticProbe(np.ones((10, 3)), np.arange(10) % 2).solve(1.0)
    np.testing.assert_allclose(constant.score(np.ones((2, 3))), 0, atol=1e-9)
    one_label = LogisticProbe(np.random.default_rng(0).normal(size=(10, 3)), np.ones(10)).solve(1.0)
    assert np.isfinite(one_label.weights).all()
    apart = LogisticProbe(np.linspace(-1, 1, 10)[:, None], np.arange(10) > 4).solve(0.1)
    assert (apart.score([[-1.0], [1.0]]) * [-1, 1] > 0).all()


def planted(rng, n, strength, width=20, depths=1):
    """States of both choices; the right one is moved in one direction."""
    labels = rng.integers(0, 2, n)
    states = rng.normal(size=(depths, n, 2, width))
    states[:, np.arange(n), labels, 3] += strength
    return states, labels


def test_a_planted_signal_is_found_and_only_where_it_is():
    rng = np.random.default_rng(0)
    train, labels = planted(rng, 200, 0.0, depths=2)
    test, truth = planted(rng, 100, 0.0, depths=2)
    train[1, np.arange(200), labels, 3] += 3
    test[1, np.arange(100), truth, 3] += 3
    found = probe(train, labels, test, truth, draws=200).set_index(["depth", "scored"])
    with_signal, without = found.loc[(1, "pair")], found.loc[(0, "pair")]
    # Two normals 3 apart: P(right > wrong) = Φ(3/√2), and each alone is told with Φ(3/2).
    assert with_signal["value"] == pytest.approx(0.983, abs=0.03)
    assert found.loc[(1, "threshold"), "value"] == pytest.approx(0.933, abs=0.05)
    assert with_signal["selectivity_low"] > 0.2
    assert with_signal["low"] < with_signal["value"] <= with_signal["high"] <= 1
    assert abs(with_signal["control"] - 0.5) < 0.25
    assert abs(without["value"] - 0.5) < 0.15
    assert without["selectivity_low"] < 0
    assert (found["n"] == 100).all()
    again = probe(train, labels, test, truth, draws=200).set_index(["depth", "scored"])
    assert found.equals(again)


def test_no_signal_is_seldom_selective():
    rng = np.random.default_rng(0)
    clear = {"threshold": 0, "pair": 0}
    for round_ in range(200):
        train, labels = planted(rng, 30, 0.0, width=6)
        test, truth = planted(rng, 40, 0.0, width=6)
        for line in probe(train, labels, test, truth, draws=100, seed=round_).itertuples():
            clear[line.scored] += line.selectivity_low > 0
    assert max(clear.values()) <= 0.05 * 200 + 4


def test_cross_validation_likes_strong_penalties_for_noise():
    rng = np.random.default_rng(0)
    noise, labels = planted(rng, 60, 0.0, width=40)
    signal, others = planted(rng, 60, 6.0, width=40)
    assert fit(noise[0], labels)[1] > fit(signal[0], others)[1]
    assert fit(noise[0], labels)[1] >= 100


def test_within_a_pair_ties_count_half():
    model = LogisticProbe(np.array([[0.0], [1.0]]), [0, 1]).solve(1.0)
    states = np.array([[[0.2], [0.2]], [[0.0], [1.0]], [[1.0], [0.0]]])
    told, ahead = probes._scored(model, states, np.array([0, 1, 1]))
    np.testing.assert_allclose(ahead, [0.5, 1.0, 0.0])
    np.testing.assert_allclose(told, [0.5, 1.0, 0.0])


def test_too_few_items_are_refused():
    states, labels = planted(np.random.default_rng(0), 9, 1.0)
    with pytest.raises(DataError, match="9 items to learn from"):
        probe(states, labels, states, labels)


def test_probing_a_model_from_end_to_end():
    lm = tiny_lm()
    numbers = ["one", "two", "three", "four", "five", "six", "seven"]
    items = [(f"{a} and {b} is", (" red", " blue")) for a in numbers for b in numbers]
    labels = np.array([place % 2 for place in range(len(items))])
    choices = [((context, one), (context, other)) for context, (one, other) in items]
    states = pair_states(lm, choices)
    # Here the answer word alone is told by the state, whatever the item: half of the items.
    found = probe(states[:, :30], labels[:30] * 0, states[:, 30:], labels[30:] * 0, draws=50)
    assert (found["value"] == 1).all()
    assert not math.isnan(found["selectivity"].iloc[0])
