"""Probability of extraction, samples needed and exposure: by hand and by drawing."""

import math

import numpy as np
import pytest

from palimpsest.core.metrics.extraction import (
    discoverable,
    exposure_bits,
    extraction_probability,
    samples_needed,
    scheme_logprobs,
)

LOGITS = np.log([[0.5, 0.25, 0.25], [0.1, 0.2, 0.7]])


def test_plain_sampling_is_the_softmax() -> None:
    found = scheme_logprobs(LOGITS + np.array([[3.0], [-2.0]]), [1, 2])
    assert np.exp(found) == pytest.approx([0.25, 0.7])
    assert extraction_probability(found) == pytest.approx(0.175)


def test_temperature() -> None:
    weights = np.array([0.1, 0.2, 0.7]) ** 2
    assert np.exp(scheme_logprobs(LOGITS, [0, 1], 0.5)[1]) == pytest.approx(
        weights[1] / weights.sum()
    )
    assert scheme_logprobs(LOGITS, [0, 2], 0).tolist() == [0, 0]
    assert extraction_probability(scheme_logprobs(LOGITS, [0, 1], 0)) == 0


def test_top_k_keeps_the_first_of_equals() -> None:
    assert np.exp(scheme_logprobs(LOGITS, [1, 1], top_k=2)) == pytest.approx([1 / 3, 2 / 9])
    assert np.exp(scheme_logprobs(LOGITS, [2, 0], top_k=2)).tolist() == [0, 0]
    assert np.exp(scheme_logprobs(LOGITS, [2, 0], top_k=9)) == pytest.approx([0.25, 0.1])


def test_as_often_as_drawing_finds_it() -> None:
    rng = np.random.default_rng(0)
    logits, targets = rng.normal(size=(3, 5)), [int(i) for i in rng.integers(0, 5, 3)]
    p_z = extraction_probability(scheme_logprobs(logits, targets, temperature=0.7))
    probabilities = np.exp(logits / 0.7)
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    drawn = [
        rng.choice(5, size=40_000, p=row) == at
        for row, at in zip(probabilities, targets, strict=True)
    ]
    assert np.mean(np.all(drawn, axis=0)) == pytest.approx(p_z, abs=4 * math.sqrt(p_z / 40_000))


@pytest.mark.parametrize("p_z", [1e-12, 0.001, 0.1, 0.5, 0.9])
@pytest.mark.parametrize("probability", [0.01, 0.5, 0.99])
def test_the_fewest_samples(p_z: float, probability: float) -> None:
    needed = samples_needed(p_z, probability)

    def chance(samples: float) -> float:
        return -math.expm1(samples * math.log1p(-p_z))

    assert chance(needed) >= probability * (1 - 1e-9)
    assert needed == 1 or chance(needed - 1) < probability
    assert discoverable(p_z, int(needed), probability)
    assert not discoverable(p_z, int(needed) - 1, probability)


def test_what_never_and_what_always_comes() -> None:
    assert samples_needed(0.0, 0.5) == math.inf
    assert not discoverable(0.0, 10**9, 0.001)
    assert samples_needed(1.0, 0.999) == 1
    assert samples_needed(0.5, 0.75) == 2


def test_exposure() -> None:
    others = np.arange(7.0)
    assert exposure_bits(9.0, others) == 3  # the likeliest of eight
    assert exposure_bits(-1.0, others) == 0
    assert exposure_bits(5.5, others) == 2
    rng = np.random.default_rng(0)
    bits = [exposure_bits(rng.normal(), rng.normal(size=500)) for _ in range(4000)]
    assert np.mean(bits) == pytest.approx(1 / math.log(2), abs=0.1)  # of a uniform rank


def test_what_makes_no_sense_is_refused() -> None:
    for wrong in (0.0, 1.0, 1.5):
        with pytest.raises(ValueError, match="above 0 and below 1"):
            samples_needed(0.1, wrong)
    with pytest.raises(ValueError, match="temperature"):
        scheme_logprobs(LOGITS, [0, 0], temperature=-1)
    with pytest.raises(ValueError, match="top_k 0"):
        scheme_logprobs(LOGITS, [0, 0], top_k=0)
    with pytest.raises(ValueError, match="there are none"):
        exposure_bits(0.0, [])
    assert scheme_logprobs(np.empty((0, 3)), []).shape == (0,)
