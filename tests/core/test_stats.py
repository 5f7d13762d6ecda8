"""Intervals cover, tests reject, as often as they say; odd data have defined results."""

import math

import numpy as np
import pytest
from scipy import stats as oracle

from palimpsest.core.stats import (
    Interval,
    bootstrap,
    cluster_bootstrap,
    difference,
    exact_limits,
    mcnemar,
    paired_bootstrap,
    paired_permutation,
    permutation_test,
    wilson,
)

MISS = 0.035
PEOPLE = 20


def even(rng):
    """Unequal clusters with a common part; mean 0."""
    clusters = np.repeat(np.arange(PEOPLE), rng.integers(1, 9, PEOPLE))
    return rng.normal(size=PEOPLE)[clusters] + rng.normal(size=len(clusters)), clusters, 0.0


def skewed(rng):
    """One exponential value a cluster; mean 1."""
    return rng.exponential(size=PEOPLE), np.arange(PEOPLE), 1.0


def answers(rng, rate=0.2, probes=5):
    """Right or wrong, the people differing much (correlation 0.3 within a person)."""
    spread = 1 / 0.3 - 1
    clusters = np.repeat(np.arange(PEOPLE), probes)
    skill = rng.beta(rate * spread, (1 - rate) * spread, PEOPLE)
    return (rng.random(len(clusters)) < skill[clusters]).astype(float), clusters, rate


def rare(rng):
    """Answers that are nearly always wrong: a third of the samples have none right."""
    return answers(rng, 0.03, 3)


def changes(rng):
    """Gained, lost or unchanged answers; most are unchanged; mean 0.05."""
    return rng.choice([-1.0, 0, 1], PEOPLE, p=[0.05, 0.85, 0.1]), np.arange(PEOPLE), 0.05


@pytest.mark.parametrize("draw", [even, skewed, answers, rare, changes])
def test_at_twenty_clusters_each_end_misses_seldom(draw):
    rng = np.random.default_rng(7)
    low = high = 0
    rounds = 1000
    for _ in range(rounds):
        values, clusters, truth = draw(rng)
        interval = cluster_bootstrap(values, clusters, draws=400, seed=rng)
        low += truth < interval.low
        high += truth > interval.high
    assert low / rounds <= MISS
    assert high / rounds <= MISS


def test_with_three_seeds_as_the_outer_level_each_end_misses_seldom():
    rng = np.random.default_rng(8)
    seeds, clusters = np.repeat(range(3), PEOPLE), np.tile(range(PEOPLE), 3)
    low = high = 0
    rounds = 600
    for _ in range(rounds):
        effects = rng.normal(size=3)[:, None] + rng.normal(size=PEOPLE)
        values = (effects + rng.normal(size=(3, PEOPLE))).ravel() * 0.3
        interval = cluster_bootstrap(values, clusters, draws=400, seed=rng, outer=seeds)
        low += interval.low > 0
        high += interval.high < 0
    assert low / rounds <= MISS
    assert high / rounds <= MISS


def test_intervals_are_not_wider_than_they_need_be():
    values = np.random.default_rng(0).normal(size=400)
    interval = cluster_bootstrap(values)
    naive = 1.96 * values.std() / 20
    assert 0.9 < (interval.high - interval.low) / (2 * naive) < 1.1


def test_clusters_widen_and_pairing_narrows():
    rng = np.random.default_rng(0)
    clusters = np.repeat(np.arange(30), 6)
    first = rng.normal(size=30)[clusters] + 0.1 * rng.normal(size=180)
    second = first - 0.2 + 0.1 * rng.normal(size=180)

    def width(interval):
        return interval.high - interval.low

    clustered = cluster_bootstrap(first, clusters)
    assert width(clustered) > 1.8 * width(cluster_bootstrap(first))
    paired = paired_bootstrap(first, second, clusters)
    assert paired.value == pytest.approx((first - second).mean())
    assert width(paired) < 0.2 * width(difference(first, second, clusters, clusters))
    seeds = np.tile([0, 0, 0, 1, 1, 1], 30)
    assert width(cluster_bootstrap(first + seeds, clusters, outer=seeds)) > width(clustered)
    assert cluster_bootstrap(first, clusters, outer=np.zeros(180)) == clustered


def test_any_statistic_of_the_values_may_be_resampled():
    rng = np.random.default_rng(0)
    values, clusters = rng.normal(size=(60, 2)), np.repeat(np.arange(30), 2)

    def correlation(rows):
        return np.corrcoef(rows.T)[0, 1]

    interval = cluster_bootstrap(values, clusters, correlation, draws=300)
    assert interval.value == pytest.approx(correlation(values))
    assert interval.low < interval.value < interval.high
    mean = cluster_bootstrap(values[:, 0], clusters, np.mean, draws=300)
    closed = cluster_bootstrap(values[:, 0], clusters, draws=300)
    assert (mean.low, mean.high) == pytest.approx((closed.low, closed.high))
    both = paired_bootstrap(values[:, 0], values[:, 1], clusters, np.median, draws=300)
    assert both.value == pytest.approx(np.median(values[:, 0]) - np.median(values[:, 1]))


def test_labels_may_be_words_and_rows_in_any_order():
    rng = np.random.default_rng(0)
    values, names = rng.normal(size=40), np.repeat([f"person {n}" for n in range(10)], 4)
    order = rng.permutation(40)
    one, other = cluster_bootstrap(values, names), cluster_bootstrap(values[order], names[order])
    assert one.n == 10
    assert (one.low, one.high) == pytest.approx((other.low, other.high))


def test_the_same_seed_gives_the_same_interval_and_leaves_global_state_alone():
    values = np.random.default_rng(0).normal(size=30)
    before = np.random.get_state()[1].tolist()  # noqa: NPY002 - the state that must not move
    assert cluster_bootstrap(values, seed=3) == cluster_bootstrap(values, seed=3)
    assert cluster_bootstrap(values, seed=3) != cluster_bootstrap(values, seed=4)
    assert np.random.get_state()[1].tolist() == before  # noqa: NPY002


def test_constant_answers_have_the_limits_of_as_many_trials_as_clusters():
    clusters = np.repeat(np.arange(20), 5)
    none = cluster_bootstrap(np.zeros(100), clusters)
    every = cluster_bootstrap(np.ones(100), clusters)
    assert none == Interval(0.0, 0.0, pytest.approx(1 - 0.025 ** (1 / 20)), 20)
    assert every == Interval(1.0, pytest.approx(0.025 ** (1 / 20)), 1.0, 20)
    same = paired_bootstrap(np.ones(100), np.ones(100), clusters)
    assert same.value == 0
    assert -same.low == pytest.approx(same.high) == pytest.approx(1 - 0.025 ** (1 / 20))
    gains = paired_bootstrap(-np.ones(100), -np.ones(100), clusters)
    assert gains.high == pytest.approx(2 * same.high)
    assert gains.low == -gains.high
    apart = difference(np.ones(20), np.zeros(20))
    assert (apart.value, apart.high) == (1.0, 1.0)
    assert 0.7 < apart.low < 0.8


def test_odd_data_have_defined_intervals():
    nothing = cluster_bootstrap([])
    assert nothing.n == 0
    assert math.isnan(nothing.value)
    for values in ([1.0, math.nan, 2.0], [1.0, math.inf]):
        odd = cluster_bootstrap(values)
        assert [math.isnan(x) for x in (odd.value, odd.low, odd.high)] == [True] * 3
    assert cluster_bootstrap([0.3]) == Interval(0.3, -math.inf, math.inf, 1)
    assert cluster_bootstrap([0.3, 0.4], ["a", "a"]) == Interval(0.35, -math.inf, math.inf, 1)
    assert cluster_bootstrap([1.0]) == Interval(1.0, 0.0, 1.0, 1)
    assert cluster_bootstrap([0.3] * 5) == Interval(0.3, pytest.approx(0.3), pytest.approx(0.3), 5)
    assert math.isnan(difference([], [1.0]).value)
    assert difference([0.5], [0.1, 0.2]).low == -math.inf
    assert difference([1.0], [0.0, 1.0]).low >= -1
    two = cluster_bootstrap([0.2, 0.4])
    assert two.low < 0 < 0.6 < two.high


@pytest.mark.parametrize("call", [cluster_bootstrap, lambda v, c: paired_bootstrap(v, v, c)])
def test_wrong_lengths_and_statistics_are_refused(call):
    with pytest.raises(ValueError, match="3 values but labels"):
        call([1.0, 2.0, 3.0], [1, 2])
    with pytest.raises(ValueError, match="same rows"):
        paired_bootstrap([1.0], [1.0, 2.0])
    with pytest.raises(ValueError, match="'mode'"):
        cluster_bootstrap([1.0, 2.0], statistic="mode")
    with pytest.raises(ValueError, match="one number a row"):
        cluster_bootstrap([[1.0, 2.0]])


def test_draws_without_a_value_are_left_out():
    from palimpsest.core.stats import _factors

    def first_only(weights):
        return np.where(weights[:, 0] > 0, weights @ np.arange(8.0) / 8, np.nan)

    factors = _factors(8, None, None)
    assert math.isnan(bootstrap(lambda w: np.full(len(w), np.nan), factors, np.zeros(8)).value)
    interval = bootstrap(first_only, factors, np.zeros(8))
    assert not math.isnan(interval.value)


@pytest.mark.parametrize(("successes", "n"), [(0, 20), (1, 20), (10, 20), (20, 20), (3, 7)])
def test_wilson_and_exact_limits_agree_with_scipy(successes, n):
    test = oracle.binomtest(successes, n)
    expected = test.proportion_ci(0.95, "wilson")
    interval = wilson(successes, n)
    assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high), abs=1e-9)
    expected = test.proportion_ci(0.95, "exact")
    assert exact_limits(successes / n, n) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_wilson_of_nothing_and_of_nonsense():
    assert math.isnan(wilson(0, 0).value)
    for successes, n in ((3, 2), (-1, 2)):
        with pytest.raises(ValueError, match="successes"):
            wilson(successes, n)


def test_mcnemar_is_the_sign_test_of_the_discordant():
    first = [True] * 9 + [False] * 3 + [True] * 20
    second = [False] * 9 + [True] * 3 + [True] * 20
    assert mcnemar(first, second) == pytest.approx(oracle.binomtest(3, 12).pvalue)
    assert mcnemar(first, first) == 1.0
    assert mcnemar([], []) == 1.0
    with pytest.raises(ValueError, match="same items"):
        mcnemar([True], [True, False])


def test_paired_permutation_agrees_with_scipy_and_flips_whole_clusters():
    rng = np.random.default_rng(0)
    first, second = rng.normal(0.5, 1, 10), rng.normal(size=10)
    expected = oracle.permutation_test(
        (first - second,), np.mean, permutation_type="samples", n_resamples=np.inf
    ).pvalue
    assert paired_permutation(first, second) == pytest.approx(expected)
    assert paired_permutation(first, second, draws=1000) == pytest.approx(expected, abs=0.03)
    doubled = paired_permutation(
        np.repeat(first, 5), np.repeat(second, 5), np.repeat(np.arange(10), 5)
    )
    assert doubled == pytest.approx(expected)
    assert paired_permutation(first, first) == 1.0
    assert math.isnan(paired_permutation([], []))
    assert math.isnan(paired_permutation([math.nan], [1.0]))


def test_two_sample_permutation_agrees_with_scipy():
    rng = np.random.default_rng(0)
    first, second = rng.normal(1, 1, 6), rng.normal(size=5)

    def gap(one, other, axis=-1):
        return np.abs(np.mean(one, axis) - np.mean(other, axis))

    expected = oracle.permutation_test(
        (first, second), gap, n_resamples=np.inf, alternative="greater"
    ).pvalue
    assert permutation_test(first, second) == pytest.approx(expected)
    assert permutation_test(first, second, gap) == pytest.approx(expected)
    assert permutation_test(first, second, draws=400) == pytest.approx(expected, abs=0.05)
    assert permutation_test([1, 1], [1, 1, 1]) == 1.0
    assert math.isnan(permutation_test([], [1.0]))


def test_permutation_tests_reject_at_their_level():
    rng = np.random.default_rng(1)
    two = paired = 0
    for _ in range(400):
        one, other = rng.exponential(size=(2, 12))
        two += permutation_test(one, other, draws=199, seed=rng) <= 0.05
        paired += paired_permutation(one, other, draws=199, seed=rng) <= 0.05
    assert two / 400 <= 0.075
    assert paired / 400 <= 0.075
