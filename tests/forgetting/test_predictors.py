"""Predictors against hand-worked values, exact lists of orders, scipy, simulation and null data."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats as oracle
from tiny import ARCHITECTURES, tiny_lm

from palimpsest.core.errors import DataError
from palimpsest.forgetting.predictors import (
    across_items,
    across_tasks,
    detectable,
    holm,
    of_tasks,
    paper_depth,
    spearman,
    spread_of_items,
    total_variance,
    variance_of_tasks,
    weighted_rho,
)

PROMPTS = ["Where was Mira Tolden born?", "Two plus three is", "The red house stands by the"]


# --- quantities ---------------------------------------------------------------------------------


def test_what_answers_say_of_tasks():
    answers = pd.DataFrame(
        {
            "task": ["b", "a", "b", "a"],
            "correct": [True, False, True, True],
            "p": [0.9, 0.2, 0.7, 0.6],
            "margin": [2.0, -1.0, 1.0, 0.5],
        }
    )
    found = of_tasks(answers)
    assert list(found.index) == ["b", "a"]
    assert found.loc["a", "difficulty"] == 0.5
    assert found.loc["b", "confidence"] == pytest.approx(0.8)
    assert found.loc["a", "margin"] == pytest.approx(-0.25)
    assert found.loc["b", "n"] == 2


def test_total_variance_is_the_trace_of_the_covariance():
    states = np.random.default_rng(0).normal(3, 2, (4, 30, 5))
    found = total_variance(states)
    for depth in range(4):
        trace = np.trace(np.cov(states[depth].T))
        assert found.loc[depth, "total"] == pytest.approx(trace)
        size = np.mean([state @ state for state in states[depth]])
        assert found.loc[depth, "relative"] == pytest.approx(trace / size)
    np.testing.assert_allclose(total_variance(10 * states)["relative"], found["relative"])
    parts = spread_of_items(states[2])
    assert parts.sum() / 29 == pytest.approx(found.loc[2, "total"])
    assert total_variance(states[:, :1])["total"].isna().all()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_variance_of_any_model(architecture):
    lm = tiny_lm(architecture)
    found = variance_of_tasks(lm, {"one": PROMPTS, "same": PROMPTS[:1] * 2})
    assert list(found["depth"]) == [0, 1, 2] * 2
    assert (found.query("task == 'one' and depth > 0")["total"] > 0).all()
    np.testing.assert_allclose(found.query("task == 'same'")["total"], 0, atol=1e-9)


def test_no_tasks_are_refused():
    with pytest.raises(DataError, match="no tasks"):
        variance_of_tasks(tiny_lm(), {})


def test_the_papers_depth():
    assert [paper_depth(blocks) for blocks in (32, 4, 12, 2)] == [28, 4, 11, 2]


# --- correlations -------------------------------------------------------------------------------


def test_rank_correlation_equals_scipys():
    rng = np.random.default_rng(0)
    for n in (6, 30):
        one, other = rng.integers(0, 8, n).astype(float), rng.integers(0, 8, n).astype(float)
        found = spearman(one, other, draws=200)
        assert found.rho.value == pytest.approx(oracle.spearmanr(one, other).statistic)
        assert found.rho.low <= found.rho.value <= found.rho.high
        assert found.rho.n == n
        weights = rng.integers(0, 4, (3, n)).astype(float)
        for row, value in zip(weights.astype(int), weighted_rho(one, other, weights), strict=True):
            expected = oracle.spearmanr(np.repeat(one, row), np.repeat(other, row)).statistic
            assert value == pytest.approx(expected)


def test_small_numbers_get_the_exact_p():
    rng = np.random.default_rng(1)
    one, other = rng.normal(size=6), rng.normal(size=6)
    rho = oracle.spearmanr(one, other).statistic
    orders = [
        abs(oracle.spearmanr(one, order).statistic) >= abs(rho) - 1e-9
        for order in itertools.permutations(other)
    ]
    assert spearman(one, other, draws=50).p == pytest.approx(np.mean(orders))
    steps = np.arange(8.0)
    assert spearman(steps, steps, draws=50).p == pytest.approx(2 / math.factorial(8))
    perfect = spearman(steps, -steps, draws=50).rho
    assert perfect.value == pytest.approx(-1)
    assert -0.99 < perfect.high < -0.5  # eight in perfect order do not make a certainty


def test_larger_numbers_get_random_orders():
    rng = np.random.default_rng(1)
    one = rng.normal(size=21)
    other = one + rng.normal(0, 2, 21)
    found = spearman(one, other, draws=50)
    assert found.p == pytest.approx(oracle.spearmanr(one, other).pvalue, abs=0.015)
    assert found.p == spearman(one, other, draws=50).p
    assert spearman(np.arange(21.0), np.arange(21.0), draws=50).p == pytest.approx(1 / 10_001)


def test_gaps_constants_and_few_units():
    one = np.array([1.0, 2, 3, 4, np.nan, 5])
    other = np.array([1.0, 2, 3, 5, 9, 4])
    assert spearman(one, other, draws=50).rho.value == pytest.approx(0.9)
    assert spearman(one, other, draws=50).rho.n == 5
    assert math.isnan(spearman(np.ones(9), np.arange(9.0)).p)
    assert math.isnan(spearman(np.arange(3.0), np.arange(3.0)).rho.value)
    assert math.isnan(spearman([], []).p)
    with pytest.raises(ValueError, match="same units"):
        spearman(np.arange(3.0), np.arange(4.0))


def test_within_tasks_does_not_see_differences_between_tasks():
    rng = np.random.default_rng(0)
    task = np.repeat(np.arange(5), 40)
    one, other = rng.normal(3 * task, 1), rng.normal(3 * task, 1)
    assert spearman(one, other, draws=100).rho.value > 0.8
    found = spearman(one, other, task, draws=100)
    by_task = [oracle.spearmanr(one[task == t], other[task == t]).statistic for t in range(5)]
    assert found.rho.value == pytest.approx(np.mean(by_task))
    assert abs(found.rho.value) < 0.2
    assert found.p > 0.01
    again = spearman(one, other + 0.7 * (one - 3 * task), task, draws=100)
    assert again.rho.low > 0
    assert again.p < 0.001


@pytest.mark.parametrize("n", [7, 21])
def test_p_values_keep_their_level_on_null_data(n):
    rng = np.random.default_rng(2)
    low, clear = 0, 0
    for round_ in range(200):
        found = spearman(rng.exponential(size=n), rng.normal(size=n), draws=200, seed=round_)
        low += found.p <= 0.05
        clear += found.rho.low > 0 or found.rho.high < 0
    assert low <= 0.05 * 200 + 4
    assert clear <= 0.05 * 200


def test_holm_by_hand():
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03]), [0.03, 0.06, 0.06])
    np.testing.assert_allclose(holm([0.5, np.nan, 0.9]), [1.0, np.nan, 1.0])
    assert len(holm([])) == 0


def test_corrected_p_values_keep_the_level_of_the_family():
    rng = np.random.default_rng(4)
    names = ["difficulty", "confidence", "variance"]
    families = 0
    for round_ in range(200):
        table = pd.DataFrame(rng.normal(size=(7, 4)), columns=[*names, "gap"])
        found = across_tasks(table, "gap", names, draws=50, seed=round_)
        families += (found["p_holm"] <= 0.05).any()
    assert families <= 0.05 * 200 + 4


def test_power_as_stated():
    """At the correlation that 21 tasks detect with 80 %, about 80 % of simulations do."""
    rng = np.random.default_rng(0)
    rho = detectable(21)
    assert rho == pytest.approx(0.59, abs=0.01)
    # Spearman's correlation of normal quantities with Pearson's r is (6 / pi) arcsin(r / 2).
    r = 2 * math.sin(math.pi * rho / 6)
    one = rng.normal(size=(2000, 21))
    other = r * one + math.sqrt(1 - r**2) * rng.normal(size=(2000, 21))
    ranks = [oracle.rankdata(part, axis=1) for part in (one, other)]
    found = [oracle.pearsonr(a, b).statistic for a, b in zip(*ranks, strict=True)]
    critical = 0.435  # of Spearman's rho for n = 21, two-sided, 5 % (Zar's table)
    assert np.mean(np.abs(found) >= critical) == pytest.approx(0.8, abs=0.05)
    assert detectable(21, 3) > rho > detectable(200)
    assert detectable(4) == 1


def test_tables():
    rng = np.random.default_rng(0)
    x = rng.normal(size=21)
    table = pd.DataFrame({"gap": x, "confidence": -x, "nothing": rng.normal(size=21), "flat": 1.0})
    found = across_tasks(table, "gap", ["confidence", "nothing", "flat"], draws=100)
    assert list(found["quantity"]) == ["confidence", "nothing", "flat"]
    assert found.loc[0, "value"] == pytest.approx(-1)
    assert found.loc[0, "p_holm"] == pytest.approx(2 * found.loc[0, "p"])
    assert found.loc[0, "detectable"] == pytest.approx(detectable(21, 2))
    assert math.isnan(found.loc[2, "p_holm"])
    items = table.assign(task=np.repeat(["a", "b", "c"], 7))
    within = across_items(items, "gap", ["confidence"], draws=100)
    assert within.loc[0, "value"] == pytest.approx(-1)
