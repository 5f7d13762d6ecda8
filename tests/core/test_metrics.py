"""Every metric against an oracle, a value worked out by hand, and data at its limits."""

import math
import warnings
import zlib

import numpy as np
import pytest
from rouge_score import rouge_scorer
from scipy import stats as oracle
from sklearn.metrics import roc_auc_score, roc_curve

from palimpsest.core.metrics import (
    auc,
    auc_difference,
    distance_from_chance,
    divergence,
    exact_match,
    exact_memorization,
    extraction_strength,
    indifference,
    ks_distance,
    ks_p_value,
    ks_smallest_p,
    lcs_length,
    loss_score,
    min_k,
    min_k_plus_plus,
    privacy_leak,
    rouge_l,
    tpr_at_fpr,
    truth_ratio,
    truth_ratio_geometric,
    truthfulness,
    zlib_score,
)
from palimpsest.core.stats import Interval


@pytest.fixture
def rng():
    return np.random.default_rng(0)


# --- memorization ---------------------------------------------------------------------------------


def slow_lcs(first, second):
    """The classic table, filled cell by cell."""
    table = [[0] * (len(second) + 1) for _ in range(len(first) + 1)]
    for i, mine in enumerate(first):
        for j, theirs in enumerate(second):
            same = table[i][j] + 1
            table[i + 1][j + 1] = same if mine == theirs else max(table[i][j + 1], table[i + 1][j])
    return table[-1][-1]


@pytest.mark.parametrize("vocabulary", [1, 2, 5, 40])
def test_lcs_agrees_with_the_table(rng, vocabulary):
    for length in (0, 1, 2, 7, 63, 64, 65, 150):
        for other in (0, 1, 30, 128):
            first = rng.integers(vocabulary, size=length).tolist()
            second = rng.integers(vocabulary, size=other).tolist()
            assert lcs_length(first, second) == slow_lcs(first, second)
            assert lcs_length(second, first) == lcs_length(first, second)


def test_lcs_takes_any_ids():
    assert lcs_length(np.array([2**40, -1, 7]), [7, 2**40, -1]) == 2
    assert lcs_length((3,) * 1000, [3] * 700) == 700


class Words:
    """Splits at spaces, where rouge_score's own tokenizer would drop what is not Latin."""

    def tokenize(self, text):
        return text.split()


def test_rouge_l_agrees_with_rouge_score_on_words(rng):
    scorer = rouge_scorer.RougeScorer(["rougeL"], tokenizer=Words())
    for _ in range(40):
        generated, reference = rng.integers(6, size=rng.integers(1, 40)), rng.integers(6, size=25)
        theirs = scorer.score(
            " ".join(f"w{n}" for n in reference), " ".join(f"w{n}" for n in generated)
        )["rougeL"]
        mine = rouge_l(generated, reference)
        assert mine.precision == pytest.approx(theirs.precision)
        assert mine.recall == pytest.approx(theirs.recall)
        assert mine.f1 == pytest.approx(theirs.fmeasure)


def test_rouge_l_at_its_limits():
    assert rouge_l([1, 2, 3], [1, 2, 3]).f1 == 1.0
    assert rouge_l([1, 2], [3, 4]).f1 == 0.0
    assert rouge_l([], [3, 4]).f1 == 0.0
    assert rouge_l([3], []).f1 == 0.0
    assert rouge_l([1, 2, 3, 4], [1, 3]).precision == 0.5


def test_exact_match_and_divergence():
    assert exact_match([1, 2, 3], np.array([1, 2, 3]))
    assert not exact_match([1, 2], [1, 2, 3])
    assert not exact_match([1, 2, 3, 4], [1, 2, 3])
    assert [divergence(g, [1, 2, 3]) for g in ([1, 2, 3], [9], [1, 9, 3], [1, 2], [])] == [
        3, 0, 1, 2, 0,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("right", "strength", "share"),
    [
        ([0, 0, 0, 0], 0.0, 0.0),
        ([1, 1, 1, 1], 1.0, 1.0),
        ([0, 0, 1, 1], 0.5, 0.5),
        ([1, 0, 1, 1], 0.5, 0.75),
        ([1, 1, 1, 0], 0.0, 0.75),
        ([1], 1.0, 1.0),
        ([0], 0.0, 0.0),
    ],
)
def test_extraction_strength_and_exact_memorization(right, strength, share):
    assert extraction_strength(right) == strength
    assert exact_memorization(right) == share


def test_empty_texts_have_no_memorization():
    assert math.isnan(extraction_strength([]))
    assert math.isnan(exact_memorization([]))


def test_extraction_strength_is_the_least_that_must_be_given(rng):
    for _ in range(50):
        right = rng.random(rng.integers(1, 12)) < 0.7
        fewest = next(k for k in range(len(right) + 1) if right[k:].all())
        assert extraction_strength(right) == pytest.approx(1 - fewest / len(right))


# --- membership -----------------------------------------------------------------------------------


def test_membership_scores_by_hand():
    logprobs = [-1.0, -4.0, -2.0, -3.0]
    assert loss_score(logprobs) == -2.5
    assert min_k(logprobs, 0.5) == -3.5
    assert min_k(logprobs, 0.1) == -4.0
    assert min_k(logprobs, 1.0) == loss_score(logprobs)
    bits = 8 * len(zlib.compress(b"a text"))
    assert zlib_score(logprobs, "a text") == pytest.approx(-10 / math.log(2) / bits)
    assert all(math.isnan(score([])) for score in (loss_score, min_k))
    assert math.isnan(zlib_score([], ""))
    for share in (0, -0.1, 1.1):
        with pytest.raises(ValueError, match="share of tokens"):
            min_k(logprobs, share)


def test_min_k_plus_plus_standardises_by_the_models_own_prediction(rng):
    logits = rng.normal(size=(6, 9))
    table = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    p, tokens = np.exp(table), rng.integers(9, size=6)
    means = (p * table).sum(axis=1)
    deviations = np.sqrt((p * (table - means[:, None]) ** 2).sum(axis=1))
    seen = table[np.arange(6), tokens]
    by_hand = sorted((seen - means) / deviations)[:3]
    assert min_k_plus_plus(seen, means, deviations, 0.5) == pytest.approx(np.mean(by_hand))
    assert min_k_plus_plus([0.0], [0.0], [0.0]) == 0.0


def delong(members, others):
    """DeLong's standard error of an AUC, pair by pair."""
    won = (members[:, None] > others) + 0.5 * (members[:, None] == others)
    parts = won.mean(axis=1).var(ddof=1) / len(members) + won.mean(axis=0).var(ddof=1) / len(others)
    return math.sqrt(parts)


def test_auc_agrees_with_sklearn_with_ties(rng):
    for scale in (3, 1000):
        members, others = rng.integers(scale, size=50), rng.integers(scale, size=70) - 0.2 * scale
        labels = np.repeat([1, 0], [50, 70])
        expected = roc_auc_score(labels, np.concatenate([members, others]))
        assert auc(members, others, draws=50).value == pytest.approx(expected)
    assert auc([1.0], [1.0], draws=50).value == 0.5


def test_the_interval_of_an_auc_is_delongs_for_many_texts(rng):
    members, others = rng.normal(0.8, 1, 300), rng.normal(size=400)
    interval = auc(members, others)
    half = 1.96 * delong(members, others)
    assert interval.low == pytest.approx(interval.value - half, abs=0.15 * half)
    assert interval.high == pytest.approx(interval.value + half, abs=0.15 * half)
    assert interval.n == 700


@pytest.mark.parametrize("shift", [0.0, 1.0, 2.5])
def test_at_twenty_texts_a_side_the_auc_misses_seldom(shift):
    rng = np.random.default_rng(3)
    truth = oracle.norm.cdf(shift / math.sqrt(2))
    low = high = 0
    for _ in range(500):
        interval = auc(rng.normal(shift, 1, 20), rng.normal(size=20), draws=300, seed=rng)
        low += truth < interval.low
        high += truth > interval.high
    assert low / 500 <= 0.035
    assert high / 500 <= 0.035


def test_sets_that_are_apart_are_not_certain_to_be():
    area = auc(np.arange(20) + 100, np.arange(50))
    assert (area.value, area.high) == (1.0, 1.0)
    assert area.low == pytest.approx(0.025 ** (1 / 20))
    below = auc(np.arange(50), np.arange(20) + 100)
    assert (below.value, below.low) == (0.0, 0.0)
    assert below.high == pytest.approx(1 - area.low)


def test_clusters_of_texts_widen_the_auc(rng):
    clusters = np.repeat(np.arange(15), 8)
    members = rng.normal(0.5, 1, 15)[clusters] + 0.1 * rng.normal(size=120)
    others = rng.normal(size=15)[clusters] + 0.1 * rng.normal(size=120)
    clustered = auc(members, others, clusters, clusters)
    alone = auc(members, others)
    assert clustered.high - clustered.low > 1.8 * (alone.high - alone.low)
    assert clustered.n == 30


def test_the_distance_from_chance_counts_both_directions():
    assert distance_from_chance(Interval(0.9, 0.8, 0.95, 9)) == Interval(
        pytest.approx(0.4), pytest.approx(0.3), pytest.approx(0.45), 9
    )
    scar = distance_from_chance(Interval(0.1, 0.05, 0.3, 9))
    assert (scar.low, scar.high) == (pytest.approx(0.2), pytest.approx(0.45))
    assert distance_from_chance(Interval(0.55, 0.4, 0.7, 9)).low == 0.0


def test_the_difference_of_a_model_to_itself_is_nothing(rng):
    members, others = rng.normal(1, 1, 30), rng.normal(size=30)
    same = auc_difference((members, others), (members, others), draws=200)
    assert (same.value, same.low, same.high) == (0.0, 0.0, 0.0)
    assert privacy_leak(0.7, 0.7) == 0.0
    assert privacy_leak(0.2, 0.5) == pytest.approx(-0.6)
    assert math.isnan(privacy_leak(0.2, 0.0))


def test_the_difference_of_two_models_on_the_same_texts(rng):
    easy = rng.normal(size=60)
    members, others = easy[:30] + 1.0, easy[30:]
    first = (members + 0.3 * rng.normal(size=30), others)
    second = (easy[:30], others)
    gap = auc_difference(first, second)
    assert gap.value == pytest.approx(auc(*first).value - auc(*second).value)
    assert 0 < gap.low < gap.value < gap.high
    apart = auc_difference((members + 50, others), (members + 90, others + rng.normal(size=30)))
    assert (apart.value, apart.low < -0.05, apart.high > 0.05) == (0.0, True, True)
    with pytest.raises(ValueError, match="same members"):
        auc_difference((members, others), (members[:5], others))


@pytest.mark.parametrize("rate", [0.0, 0.01, 0.05, 0.3])
def test_tpr_agrees_with_sklearns_curve_with_ties(rng, rate):
    for scale in (4, 1000):
        members, others = rng.integers(scale, size=80) + 1, rng.integers(scale, size=60)
        labels, scores = np.repeat([1, 0], [80, 60]), np.concatenate([members, others])
        fpr, tpr, _ = roc_curve(labels, scores, drop_intermediate=False)
        interval = tpr_at_fpr(members, others, rate, draws=100)
        assert interval.value == pytest.approx(tpr[fpr <= rate + 1e-12].max())
        assert interval.low <= interval.value <= interval.high


def test_no_true_positives_are_not_certain_to_stay_none(rng):
    none = tpr_at_fpr(np.zeros(30), np.ones(200), 0.01)
    assert (none.value, none.low) == (0.0, 0.0)
    assert none.high == pytest.approx(1 - 0.025 ** (1 / 30))
    few = tpr_at_fpr(np.ones(30), np.zeros(60), 0.01)
    assert (few.value, few.low) == (1.0, 0.0)
    for rate in (-0.1, 1.0):
        with pytest.raises(ValueError, match="rate of false positives"):
            tpr_at_fpr([1.0], [0.0], rate)


@pytest.mark.parametrize("measure", [auc, tpr_at_fpr, ks_distance])
def test_measures_of_two_sets_need_two_sets(measure):
    for one, other in (([], [1.0]), ([1.0], []), ([], []), ([1.0, math.nan], [0.0, 1.0])):
        assert math.isnan(measure(one, other).value)
    single = measure([2.0], [1.0, 0.0])
    assert (single.low, single.high) == (0.0, 1.0)


# --- forgetting -----------------------------------------------------------------------------------


def test_a_uniform_model_has_a_truth_ratio_of_one():
    right, wrong = np.full(3, -math.log(50)), np.full((3, 4), -math.log(50))
    for ratio in (truth_ratio, truth_ratio_geometric):
        np.testing.assert_allclose(ratio(right, wrong), 1.0)


def test_truth_ratios_by_hand():
    right, wrong = np.log([0.5, 0.1]), np.log([[0.1, 0.3], [0.4, 0.1]])
    np.testing.assert_allclose(truth_ratio(right, wrong), [0.4, 2.5])
    geometric = truth_ratio_geometric(right, wrong)
    np.testing.assert_allclose(geometric, [math.sqrt(0.03) / 0.5, 2.0])
    np.testing.assert_allclose(indifference([0.4, 2.5, 1.0]), [0.4, 0.4, 1.0])
    np.testing.assert_allclose(truthfulness([0.4, 2.5, 1.0]), [0.6, 0.0, 0.0])


def test_the_geometric_truth_ratio_is_never_the_larger(rng):
    right, wrong = -rng.exponential(size=100), -rng.exponential(size=(100, 5))
    assert (truth_ratio_geometric(right, wrong) <= truth_ratio(right, wrong) + 1e-12).all()


def test_questions_may_have_fewer_wrong_answers_or_none():
    wrong = np.log([[0.2, math.nan], [math.nan, math.nan]])
    for ratio in (truth_ratio, truth_ratio_geometric):
        got = ratio(np.log([0.4, 0.4]), wrong)
        assert got[0] == pytest.approx(0.5)
        assert math.isnan(got[1])
        with pytest.raises(ValueError, match=r"\[N, K\]"):
            ratio([0.1], [0.1])


def test_extreme_answers_do_not_overflow():
    ratios = truth_ratio([-1000.0, 0.0], [[0.0, 0.0], [-1000.0, -1000.0]])
    np.testing.assert_allclose(indifference(ratios), [0.0, 0.0], atol=1e-300)
    assert truthfulness(ratios).tolist() == [0.0, 1.0]


def test_ks_agrees_with_scipy_with_ties(rng):
    for scale in (4, 1000):
        first, second = rng.integers(scale, size=30), rng.integers(scale, size=45)
        expected = oracle.ks_2samp(first, second).statistic
        assert ks_distance(first, second, draws=50).value == pytest.approx(expected)


def test_ks_of_a_sample_with_itself_and_of_samples_apart():
    values = np.arange(40.0)
    same, apart = ks_distance(values, values), ks_distance(values, values + 100)
    assert (same.value, same.low) == (0.0, 0.0)
    assert (apart.value, apart.high) == (1.0, 1.0)
    assert 0.6 < apart.low < 1
    assert ks_p_value(values, values) == 1.0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert ks_p_value(range(27), np.arange(27) + 0.01) == pytest.approx(1.0)
    assert ks_p_value(values, values + 100) == pytest.approx(1.86e-23, rel=1e-3)
    assert math.isnan(ks_p_value([], values))


def test_the_p_value_saturates_where_the_digest_says():
    smallest = [ks_smallest_p(n, n) for n in (40, 200, 400)]
    assert smallest == pytest.approx([1.86e-23, 1.94e-119, 1.06e-239], rel=5e-3)
    assert ks_smallest_p(1, 1) == 1.0
    assert ks_p_value(range(7), range(10, 15)) == pytest.approx(ks_smallest_p(7, 5))


@pytest.mark.parametrize("shift", [0.0, 0.5, 2.0])
def test_at_forty_values_a_side_the_ks_distance_misses_seldom(shift):
    rng = np.random.default_rng(5)
    truth = 2 * oracle.norm.cdf(shift / 2) - 1
    low = high = 0
    for _ in range(400):
        interval = ks_distance(rng.normal(shift, 1, 40), rng.normal(size=40), draws=200, seed=rng)
        low += truth < interval.low
        high += truth > interval.high
    assert low / 400 <= 0.035
    assert high / 400 <= 0.035
