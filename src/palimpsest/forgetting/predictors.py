"""What could have told which tasks, and which items, forget: difficulty, confidence, variance.

The paper finds that low confidence and low variance of hidden states go with forgetting that
generalises, weakly and across tasks only, and that difficulty does not (random-label digest,
sections 3 and 5). With some twenty tasks little can be told, so every correlation comes with its
permutation p-value, corrected for how many quantities were looked at, and with the smallest
correlation that so few tasks would have shown.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from palimpsest.core.errors import DataError
from palimpsest.core.models import LanguageModel
from palimpsest.core.stats import TAIL, Factor, Interval, Labels, Seed, bootstrap
from palimpsest.forgetting.probes import hidden_states

__all__ = [
    "Correlation",
    "across_items",
    "across_tasks",
    "detectable",
    "holm",
    "of_tasks",
    "paper_depth",
    "spearman",
    "spread_of_items",
    "total_variance",
    "variance_of_tasks",
    "weighted_rho",
]

Floats = NDArray[np.float64]

# Up to so many orders are all tried (8 tasks); of more, PERMUTATIONS at random.
ALL_ORDERS = 50_000
PERMUTATIONS = 10_000
LEVEL, POWER = 0.05, 0.8
# The variance of Fisher's z of ranks is about this by n - 3.
_RANKS = 1.06


# --- quantities ---------------------------------------------------------------------------------


def of_tasks(answers: pd.DataFrame) -> pd.DataFrame:
    """What the answers of a model say about each task before it is forgotten.

    Args:
        answers: columns ``task``, ``correct``, ``p``, ``margin`` (``forgetting.measures``), of the
            tuned or the pretrained model; which one the paper means is not known (section 3, no.
            6), so do both.

    Returns:
        By task: ``difficulty`` (1 - accuracy), ``confidence`` (mean probability of the right
        choice), ``margin`` (mean log p(right) - log p(wrong), nats), ``n`` (answers).
    """
    by_task = answers.astype({"correct": float}).groupby("task", sort=False)
    return pd.DataFrame(
        {
            "difficulty": 1 - by_task["correct"].mean(),
            "confidence": by_task["p"].mean(),
            "margin": by_task["margin"].mean(),
            "n": by_task.size(),
        }
    )


def total_variance(states: ArrayLike) -> pd.DataFrame:
    """How far the hidden states of a task's questions lie apart, at every depth.

    TV = trace(Cov(h)) = Σ_i |h_i - mean|² / (n - 1) (section 3, no. 7). It has a scale, which
    differs from model to model and from depth to depth, so it is also given by mean |h|².

    Args:
        states: [L + 1, N, H] of :func:`~palimpsest.forgetting.probes.hidden_states` at the
            question's last token.

    Returns:
        By ``depth``: ``total`` and ``relative`` (total by mean |h|²). NaN for one question.
    """
    states = np.asarray(states, dtype=np.float64)
    n = states.shape[1]
    apart = ((states - states.mean(axis=1, keepdims=True)) ** 2).sum(axis=(1, 2))
    total = apart / (n - 1) if n > 1 else np.full(len(states), math.nan)
    size = (states**2).sum(axis=2).mean(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        table = pd.DataFrame({"total": total, "relative": total / size})
    return table.rename_axis("depth")


def variance_of_tasks(
    lm: LanguageModel, questions: Mapping[str, Sequence[str]], progress: str | None = None
) -> pd.DataFrame:
    """:func:`total_variance` of each task: ``task``, ``depth``, ``total``, ``relative``.

    Args:
        questions: the prompts of each task. Compare tasks with about equally many.
    """
    tables = []
    for task, prompts in questions.items():
        # What follows is not read at the question's last token; a pair needs some text there.
        pairs = [(prompt, " .") for prompt in prompts]
        states = hidden_states(lm, pairs, "question", progress and f"{progress}: {task}")
        tables.append(total_variance(states).reset_index().assign(task=task))
    if not tables:
        raise DataError("There are no tasks to measure; at least one with questions was expected.")
    return pd.concat(tables, ignore_index=True)[["task", "depth", "total", "relative"]]


def spread_of_items(states: ArrayLike) -> Floats:
    """[N]: each item's own part of a task's total variance at one depth, |h - mean|² for states
    [N, H]."""
    states = np.asarray(states, dtype=np.float64)
    return ((states - states.mean(axis=0)) ** 2).sum(axis=1)


def paper_depth(blocks: int) -> int:
    """The paper's place in a model of so many blocks: the fifth-to-last of Llama-2-7B's 33 states
    stands after block 28 of 32, so round(0.88 L) (section 3, no. 7)."""
    return round(0.88 * blocks)


# --- correlations -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Correlation:
    """Spearman's rank correlation with an interval, and its two-sided permutation p-value."""

    rho: Interval
    p: float


def spearman(
    first: ArrayLike,
    second: ArrayLike,
    groups: Labels | None = None,
    draws: int = 2000,
    seed: int = 0,
) -> Correlation:
    """Do two quantities of the same units go up and down together?

    Ranks with ties in the middle. The interval is from resampling units, and at least as wide as
    that of Fisher's z (not so with ``groups``). The p-value counts the orders of ``second`` whose
    correlation is as far from 0, among all orders if there are no more than 50 000 (8 units),
    otherwise among 10 000 random ones and the observed one. Units where either is NaN are left out;
    with fewer than 4, or a quantity that is constant, there is no correlation.

    Args:
        first, second: [N].
        groups: [N], tasks. Ranks are taken, and orders and resampling kept, within each task, and
            the correlation is the mean of the tasks', weighted by their numbers of units: it does
            not see differences between tasks. Tasks of fewer than 4 units, or in which a quantity
            is constant, are left out.
    """
    one, other = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if one.shape != other.shape or one.ndim != 1:
        raise ValueError(f"two quantities of the same units, not {one.shape} and {other.shape}")
    names = np.zeros(len(one), dtype=np.intp) if groups is None else np.asarray(groups)
    there = np.isfinite(one) & np.isfinite(other)
    _, codes = np.unique(names, return_inverse=True)
    parts = []
    for code in range(codes.max() + 1 if len(codes) else 0):
        part = np.flatnonzero(there & (codes == code))
        if len(part) >= 4 and np.ptp(one[part]) > 0 and np.ptp(other[part]) > 0:
            parts.append(part)
    if not parts:
        return Correlation(Interval(math.nan, math.nan, math.nan, int(there.sum())), math.nan)
    sizes = [len(part) for part in parts]
    starts = np.concatenate([[0], np.cumsum(sizes)])
    rows = np.concatenate(parts)
    one, other = one[rows], other[rows]
    slices = [slice(*ends) for ends in itertools.pairwise(starts)]

    def statistic(weights: Floats) -> Floats:
        found = [weighted_rho(one[of], other[of], weights[:, of]) for of in slices]
        return np.average(found, axis=0, weights=sizes)

    factor = Factor(np.arange(len(rows)), np.repeat(np.arange(len(parts)), sizes))
    rho = bootstrap(statistic, [factor], np.stack([one, other]), draws, seed, (-1.0, 1.0))
    if len(parts) == 1:
        rho = _widened(rho)
    return Correlation(rho, _permutation_p(one, other, slices, seed))


def holm(p: ArrayLike) -> Floats:
    """P-values corrected for how many there are (Holm, Scandinavian Journal of Statistics 6, 1979).

    The chance that any true null falls below a level is at most that level, whatever depends on
    what. NaN stays NaN and is not counted.
    """
    p = np.asarray(p, dtype=np.float64)
    found = np.full(p.shape, math.nan)
    order = np.argsort(p)[: int(np.isfinite(p).sum())]
    steps = p[order] * (len(order) - np.arange(len(order)))
    found[order] = np.minimum(1.0, np.maximum.accumulate(steps))
    return found


def detectable(n: int, comparisons: int = 1) -> float:
    """The smallest |rho| that n units show at the 5 % level with a chance of 80 %.

    By Fisher's z with the variance 1.06 / (n - 3) that ranks have (Fieller, Hartley and Pearson,
    Biometrika 44, 1957), the level shared evenly among the comparisons: tanh of (z of the level +
    z of the power) times the standard error. An approximation for jointly normal quantities; the
    tests check it by simulation. 1 for fewer than 5 units: nothing could be shown.
    """
    if n < 5:
        return 1.0
    reach = stats.norm.isf(LEVEL / 2 / comparisons) + stats.norm.isf(1 - POWER)
    return math.tanh(reach * math.sqrt(_RANKS / (n - 3)))


def across_tasks(
    table: pd.DataFrame,
    outcome: str,
    quantities: Sequence[str],
    draws: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """Which quantities go with an outcome, one row of ``table`` a task.

    Returns:
        One line for each quantity: ``quantity``, ``value``, ``low``, ``high`` (Spearman's rho with
        its interval from resampling tasks), ``n`` (tasks with both), ``p`` (permutation),
        ``p_holm`` (corrected for all quantities given), ``detectable`` (:func:`detectable` for n
        tasks and so many comparisons).
    """
    return _table(table, outcome, quantities, None, draws, seed)


def across_items(
    table: pd.DataFrame,
    outcome: str,
    quantities: Sequence[str],
    draws: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """As :func:`across_tasks`, one row of ``table`` an item, within each ``task``.

    Beware of what is correlated by its making: an item's margin before with the *change* of its
    margin, which contains it. Take the margin after, or whether an item that was right is wrong.
    """
    return _table(table, outcome, quantities, table["task"].to_numpy(), draws, seed)


# --- parts --------------------------------------------------------------------------------------


def _table(
    table: pd.DataFrame,
    outcome: str,
    quantities: Sequence[str],
    groups: Labels | None,
    draws: int,
    seed: int,
) -> pd.DataFrame:
    rows = []
    for name in quantities:
        found = spearman(table[name], table[outcome], groups, draws, seed)
        rows.append({"quantity": name, **vars(found.rho), "p": found.p})
    corrected = pd.DataFrame(rows)
    counted = max(1, int(corrected["p"].notna().sum()))
    return corrected.assign(
        p_holm=holm(corrected["p"]),
        detectable=[detectable(n, counted) for n in corrected["n"]],
    )


def _weighted_ranks(values: Floats, weights: Floats) -> Floats:
    """[D, N] middle ranks where value i occurs weights[d, i] times."""
    order = np.argsort(values, kind="stable")
    ranked = values[order]
    sums = np.pad(np.cumsum(weights[:, order], axis=1), ((0, 0), (1, 0)))
    below = sums[:, np.searchsorted(ranked, values, side="left")]
    to_tie = sums[:, np.searchsorted(ranked, values, side="right")]
    return (below + to_tie + 1) / 2


def weighted_rho(one: Floats, other: Floats, weights: Floats) -> Floats:
    """Spearman's rho for each row of weights; NaN where a quantity does not vary."""
    total = weights.sum(axis=1, keepdims=True)
    ranks = []
    for values in (one, other):
        found = _weighted_ranks(values, weights)
        ranks.append(found - (weights * found).sum(axis=1, keepdims=True) / total)
    one_square, other_square, product = (
        (weights * a * b).sum(axis=1)
        for a, b in ((ranks[0], ranks[0]), (ranks[1], ranks[1]), (ranks[0], ranks[1]))
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        spread = np.sqrt(one_square * other_square)
        return np.where(spread > 1e-9, product / spread, math.nan)


def _widened(rho: Interval) -> Interval:
    """The interval, or where it ends nearer, that of Fisher's z.

    Of few units in nearly perfect order, resampling makes nothing but the same order again. A
    perfect one counts as if two neighbours had changed places.
    """
    n = rho.n
    most = 1 - 12 / (n * (n**2 - 1))
    centre = math.atanh(max(-most, min(most, rho.value)))
    half = float(stats.norm.isf(TAIL)) * math.sqrt(_RANKS / (n - 3))
    low, high = math.tanh(centre - half), math.tanh(centre + half)
    return Interval(rho.value, min(low, rho.low), max(high, rho.high), n)


def _standard_ranks(values: Floats) -> Floats:
    ranks = stats.rankdata(values)
    ranks = ranks - ranks.mean()
    return ranks / math.sqrt((ranks**2).sum())


def _permutation_p(one: Floats, other: Floats, slices: list[slice], seed: Seed) -> float:
    first = [_standard_ranks(one[of]) * (of.stop - of.start) for of in slices]
    second = [_standard_ranks(other[of]) for of in slices]
    observed = abs(sum(float(a @ b) for a, b in zip(first, second, strict=True)))
    enough = observed - 1e-9 * len(one)
    if len(slices) == 1 and math.factorial(min(len(one), 20)) <= ALL_ORDERS:
        orders = np.array(list(itertools.permutations(range(len(one)))))
        return float((np.abs(second[0][orders] @ first[0]) >= enough).mean())
    rng = np.random.default_rng(seed)
    sums = np.zeros(PERMUTATIONS)
    for a, b in zip(first, second, strict=True):
        # A thousand orders at a time: the memory does not grow with the number of items.
        for start in range(0, PERMUTATIONS, 1000):
            sums[start : start + 1000] += rng.permuted(np.tile(b, (1000, 1)), axis=1) @ a
    return float((1 + (np.abs(sums) >= enough).sum()) / (1 + PERMUTATIONS))
