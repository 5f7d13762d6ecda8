"""What random labels did to a task: how much is forgotten, where it spreads, whether it is a bias.

Everything starts from *answers*, a table with one answered item a row, as ``core.tasks`` makes it:

- ``task``, ``item``: which item; an item stands once in a task (and once a draw);
- ``label``: the index (0 or 1) of the right choice;
- ``margin``: log p(right) - log p(wrong), nats; ``p``: sigmoid(margin), the probability of the
  right choice of the two; ``correct``: whether it was chosen;
- ``draw``, where the labels were drawn more than once: which draw the model was trained on;
- ``source``, where several tasks were randomised: which one.

*Before* is the model tuned on true labels (a_ft in the digest), *after* the one tuned on random
labels (a_fg), *pretrained* the one before both (a_pre). Formulas are those of the random-label
digest, section 3, with its numbers. Items are resampled, before and after together, with the label
draws as the outer level (``core.stats``); with one draw an interval is about that draw alone.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.cluster import hierarchy

from palimpsest.core.errors import DataError
from palimpsest.core.stats import (
    FEW,
    Factor,
    Interval,
    Seed,
    Weighted,
    bootstrap,
    cluster_bootstrap,
    exact_limits,
    paired_bootstrap,
    wilson,
)

__all__ = [
    "LabelBias",
    "RankOne",
    "accuracy",
    "agreement",
    "cells",
    "confidence",
    "flipped_ratio",
    "forget_gap",
    "forget_ratio",
    "grid",
    "join",
    "label_bias",
    "rank_one",
    "regimes",
    "upgma_order",
    "variance_shares",
    "wide",
]

Floats = NDArray[np.float64]

CHANCE = 0.5
# Of a task learned less far above chance than this a share forgotten cannot be told.
GUARD = 0.05
# A task stays where less than this share of what it had above chance is lost.
STAYS = 0.2
REGIMES = ("stays", "between", "below the pretrained", "unclear")
# How often the items for refitting the bias are drawn anew.
REFITS = 50

_NAN = (math.nan, math.nan, math.nan)


def accuracy(answers: pd.DataFrame, draws: int = 2000, seed: Seed = 0) -> Interval:
    """The share of items answered right (section 3, no. 1), of the answers of one task."""
    right = _column(answers, "correct")
    items, outer = _units(answers)
    return cluster_bootstrap(right, items, draws=draws, seed=seed, outer=outer)


def confidence(answers: pd.DataFrame, draws: int = 2000, seed: Seed = 0) -> Interval:
    """The mean probability of the right choice (section 3, no. 6).

    Of the items that were trained on random labels this is the *dose*: 0.5 if the labels did to
    them what they can (section 6.2).
    """
    items, outer = _units(answers)
    chances = _column(answers, "p")
    interval = cluster_bootstrap(chances, items, draws=draws, seed=seed, outer=outer)
    ends = max(0.0, interval.low), min(1.0, interval.high)
    return Interval(interval.value, *map(float, ends), interval.n)


def agreement(
    answers: pd.DataFrame, given: pd.DataFrame, draws: int = 2000, seed: Seed = 0
) -> Interval:
    """The share of answers that agree with the labels a model was *given*, right or wrong.

    With frozen random labels it says how far they were learned by heart (section 6.2).

    Args:
        given: columns ``item``, ``given`` (0 or 1), and ``task`` and ``draw`` where answers have
            them and the labels depend on them.

    Raises:
        DataError: an answered item without a given label.
    """
    keys = [key for key in ("task", "item", "draw") if key in given and key in answers]
    if given.duplicated(keys).any():
        raise DataError(f"A label was given twice to one item; one a row of {keys} was expected.")
    both = answers.merge(given[[*keys, "given"]], on=keys, how="left")
    if both["given"].isna().any():
        missing = both.loc[both["given"].isna(), "item"].iloc[0]
        raise DataError(
            f"The item '{missing}' was answered but no label was given to it. Compare answers to "
            "the items that were trained on with the labels of that training."
        )
    agreed = (_chosen(both) == both["given"].to_numpy()).astype(float)
    items, outer = _units(both)
    return cluster_bootstrap(agreed, items, draws=draws, seed=seed, outer=outer)


def forget_gap(after: pd.DataFrame, draws: int = 2000, seed: Seed = 0) -> Interval:
    """G = a_fg - 0.5 (section 3, no. 2): 0 means wholly forgotten."""
    share = accuracy(after, draws, seed)
    return Interval(share.value - CHANCE, share.low - CHANCE, share.high - CHANCE, share.n)


def forget_ratio(
    before: pd.DataFrame, after: pd.DataFrame, draws: int = 2000, seed: Seed = 0
) -> Interval:
    """R = (a_ft - a_fg) / (a_ft - 0.5) of one task (section 3, no. 3).

    1: down to chance; 0: nothing forgotten; it may be negative or exceed 1.

    All NaN where a_ft - 0.5 < 0.05. The interval is unbounded where 0.5 is within the 95 % limits
    (Wilson) of a_ft: a ratio says nothing if its denominator may be 0 (Fieller, JRSS B 16, 1954).

    Args:
        before, after: answers to the same items; those before stand for every draw after, unless
            they have a column ``draw`` of their own.

    Raises:
        DataError: see :func:`join`.
    """
    return _ratio(join(before, after), 1.0, draws, seed)


def flipped_ratio(
    before: pd.DataFrame, after: pd.DataFrame, draws: int = 2000, seed: Seed = 0
) -> Interval:
    """R_flip = (a_ft - a_fg) / (2 a_ft - 1) (section 3, no. 4), for flipped labels: 1 is an error
    for every right answer, 0.5 is chance. Otherwise as :func:`forget_ratio`, of which it is half.
    """
    return _ratio(join(before, after), 2.0, draws, seed)


def join(before: pd.DataFrame, after: pd.DataFrame) -> pd.DataFrame:
    """``after`` with the same items' answers before: columns ``correct_before``, ``margin_before``,
    ``p_before`` as far as both tables have them.

    Raises:
        DataError: an item answered twice, or answered after and not before or the reverse.
    """
    keys = ["task", "item"] + (["draw"] if "draw" in before and "draw" in after else [])
    for name, table, own in (
        ("before", before, keys),
        ("after", after, [key for key in ("source", "task", "item", "draw") if key in after]),
    ):
        missing = {"task", "item", "correct"} - set(table)
        if missing:
            raise DataError(
                f"The answers {name} lack the columns {', '.join(sorted(missing))}. Hand in what "
                "core.tasks.evaluate_tasks returns."
            )
        twice = table.duplicated(own)
        if twice.any():
            line = table.loc[twice].iloc[0]
            raise DataError(
                f"The item '{line['item']}' of the task '{line['task']}' has several answers "
                f"{name}; one for each {' and '.join(own)} was expected."
            )
    shared = [name for name in ("correct", "margin", "p") if name in before and name in after]
    former = before[[*keys, *shared]].rename(columns={name: f"{name}_before" for name in shared})
    both = after.merge(former, on=keys, how="left", indicator="_found")
    lost = both["_found"] != "both"
    if lost.any():
        line = both.loc[lost].iloc[0]
        raise DataError(
            f"The item '{line['item']}' of the task '{line['task']}' was answered after and not "
            "before. Both models must answer the same items."
        )
    # Of a task that was asked again, every item must have been.
    asked = before[before["task"].isin(after["task"].unique())]
    counts = asked.groupby("task")["item"].nunique(), after.groupby("task")["item"].nunique()
    for task, count in counts[0].items():
        if counts[1][task] != count:
            raise DataError(
                f"The task '{task}' has {count} items before and {counts[1][task]} after. Both "
                "models must answer the same items."
            )
    return both.drop(columns="_found")


# --- many tasks ---------------------------------------------------------------------------------


def cells(before: pd.DataFrame, after: pd.DataFrame) -> pd.DataFrame:
    """The forget ratio of each source, task and draw, without intervals.

    Returns:
        Columns ``source``, ``task``, ``draw`` (0 where answers have none) and ``value`` (NaN by the
        guard of :func:`forget_ratio`), one line a cell, in the order in which they come.
    """
    both = join(before, after)
    both = both.assign(**{key: both.get(key, other) for key, other in _defaults(both)})
    both = both.astype({"correct": float, "correct_before": float})
    keys = ["source", "task", "draw"]
    means = both.groupby(keys, sort=False)[["correct", "correct_before"]].mean().reset_index()
    learned = means["correct_before"] - CHANCE
    ratio = (means["correct_before"] - means["correct"]) / learned.where(learned > GUARD - 1e-9)
    return means[keys].assign(value=ratio)


def grid(
    before: pd.DataFrame,
    after: pd.DataFrame,
    flipped: bool = False,
    draws: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """R[s, t]: what randomising the labels of s took from t (section 3, no. 5).

    One reference a_ft(t) serves all sources, so that rows differ in the forgetting data only. The
    cost is linear in the number of answers.

    Args:
        flipped: whether labels were flipped, so that :func:`flipped_ratio` is meant.

    Returns:
        One line for each source and task, in the order in which they come: ``source``, ``task``,
        ``before``, ``after`` (accuracies), ``value``, ``low``, ``high`` (the ratio with its
        interval), ``n`` (items).

    Raises:
        DataError: see :func:`join`.
    """
    rows = []
    for source, task, part in _parts(join(before, after)):
        found = _ratio(part, 2.0 if flipped else 1.0, draws, seed)
        means = {
            name: float(part[column].mean())
            for name, column in (("before", "correct_before"), ("after", "correct"))
        }
        rows.append({"source": source, "task": task, **means, **vars(found)})
    return pd.DataFrame(rows)


def regimes(
    pretrained: pd.DataFrame,
    before: pd.DataFrame,
    after: pd.DataFrame,
    draws: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """Which of three things happened to each task (section 5), told by intervals.

    The rule, with R the forget ratio:

    - *stays*: R's whole interval lies below 0.2, so barely anything of what was learned is lost;
    - *between*: R's whole interval lies above 0.2, that of a_fg - a_pre (paired) above 0: the task
      fell and is still better than in the pretrained model;
    - *below the pretrained*: R's whole interval lies above 0.2, that of a_fg - a_pre below 0;
    - *unclear*: anything else. Among it is a task that falls back to exactly what the pretrained
      model could, and one that was never learned (R is NaN).

    Returns:
        The lines of :func:`grid` with ``pretrained`` (accuracy), ``gain``, ``gain_low``,
        ``gain_high`` (a_fg - a_pre) and ``regime``.
    """
    table = grid(before, after, draws=draws, seed=seed)
    rows = []
    for _, _, part in _parts(join(pretrained, after)):
        items, outer = _units(part)
        right = _column(part, "correct"), _column(part, "correct_before")
        gain = paired_bootstrap(*right, items, draws=draws, seed=seed, outer=outer)
        rows.append(
            {
                "pretrained": float(right[1].mean()),
                "gain": gain.value,
                "gain_low": gain.low,
                "gain_high": gain.high,
            }
        )
    table = pd.concat([table, pd.DataFrame(rows, index=table.index)], axis=1)
    fell = table["low"] > STAYS
    rules = [
        table["high"] < STAYS,
        fell & (table["gain_low"] > 0),
        fell & (table["gain_high"] < 0),
    ]
    return table.assign(regime=np.select(rules, REGIMES[:3], REGIMES[3]))


def wide(table: pd.DataFrame, value: str = "value") -> pd.DataFrame:
    """[sources, tasks]: a column of :func:`grid` or :func:`cells` (there the mean over draws) as a
    square, sources and tasks in the order in which they come."""
    square = table.pivot_table(
        index="source", columns="task", values=value, aggfunc="mean", dropna=False, sort=False
    )
    return square.reindex(index=pd.unique(table["source"]), columns=pd.unique(table["task"]))


def upgma_order(square: pd.DataFrame) -> tuple[list[str], list[str]]:
    """Rows and columns in the order that puts alike beside alike (section 3, no. 10).

    Average linkage (UPGMA) on the Euclidean distance between rows, then between columns, with the
    leaves turned so that neighbours are near (Bar-Joseph et al., Bioinformatics 17, 2001). The
    distance of two rows is the root mean square over the columns that both have; rows that share
    no column are as far apart as any two are. Infinite values count as missing.
    """
    values = square.to_numpy(dtype=np.float64)
    return (
        [square.index[place] for place in _leaves(values)],
        [square.columns[place] for place in _leaves(values.T)],
    )


def variance_shares(table: pd.DataFrame, draws: int = 2000, seed: Seed = 0) -> pd.DataFrame:
    """How much of the grid's variance goes with the source, the task, and neither (section 6.3).

    R = mean + row + column + rest, by least squares; shares are of the sum of squares about the
    mean and add up to 1. With several label draws the cells' means are decomposed, and what a cell
    varies by from draw to draw is the *noise*; with one draw it is part of the *residual*. A share
    is above 0 by luck: of pure noise a row factor of S levels takes about (S - 1) / (S T). Compare
    row with column, which luck favours alike in a square grid.

    Args:
        table: what :func:`cells` returned, or :func:`grid` for one draw. Tasks that lack a cell
            are left out, and draws that a source lacks.

    Returns:
        Lines ``row`` (the source), ``column`` (the evaluated task), ``residual``, ``noise`` (with
        several draws) and ``column minus row``, with ``value``, ``low``, ``high`` and ``n`` (tasks
        used). Intervals are from resampling sources, tasks and draws independently.
    """
    cube = _cube(table)
    names = ["row", "column", "residual"] + (["noise"] if cube.shape[2] > 1 else [])

    def part(name: str) -> Weighted:
        def statistic(weights: Floats) -> Floats:
            shares = _shares(cube, weights)
            if name == "column minus row":
                return shares["column"] - shares["row"]
            return shares[name]

        return statistic

    rows = []
    for name in [*names, "column minus row"]:
        bounds = (-1.0, 1.0) if name == "column minus row" else (0.0, 1.0)
        found = _of_cube(part(name), cube, draws, seed, bounds)
        rows.append({"part": name, **vars(found), "n": cube.shape[1]})
    return pd.DataFrame(rows)


@dataclass(frozen=True)
class RankOne:
    """Is the grid a product, row effect times column effect? See :func:`rank_one`.

    Attributes:
        share: of the grid's variance about its mean, explained by the best rank-one fit; ``n`` is
            the number of tasks used.
        additive: the same of mean + row + column, which has as many free numbers.
        luck_rows, luck_columns: what the share reaches in 1 of 20 shuffles of the rows (within
            each column), of the columns (within each row).
        p_rows, p_columns: how often a shuffle reaches the share.
        p: the larger of both.
    """

    share: Interval
    additive: float
    luck_rows: float
    luck_columns: float
    p_rows: float
    p_columns: float
    p: float


def rank_one(table: pd.DataFrame, draws: int = 2000, seed: int = 0) -> RankOne:
    """The kernel sketch's prediction R[s, t] = r(s) c(t) (section 6.3) against luck.

    The share is 1 - |R - fit|² / |R - mean|² with the best fit of rank one (the first singular
    triple). A grid that is constant along its rows, or its columns, is of rank one too, so that
    shuffling all cells at once would reject as soon as tasks differ in any way. Hence two nulls.
    Shuffling the sources *within each column* keeps what is due to the evaluated task and removes
    what is due to the randomised one; shuffling the tasks *within each row* does the reverse. A
    product needs both effects, so both nulls must be rejected, and ``p`` is the larger of the two,
    which is a test of its level (Berger, Technometrics 24, 1982). The observed grid is counted
    among the shuffles, so no p-value is 0.

    The test cannot tell a product from a sum of effects. ``share`` beside ``additive`` says which
    fits better, both having as many free numbers, but no claim should rest on it: where the mean is
    near 0 a product follows noise more closely than a sum does.

    Args:
        table: as for :func:`variance_shares`; label draws are averaged.
    """
    cube = _cube(table)
    if cube.size == 0 or min(cube.shape[:2]) < 2 or not np.ptp(cube.mean(axis=2)) > 0:
        return RankOne(Interval(*_NAN, cube.shape[1]), *[math.nan] * 6)
    square = cube.mean(axis=2)

    def weighted(weights: Floats) -> Floats:
        rows, columns = _margins(weights.reshape(-1, *square.shape, 1))[:2]
        scaled = np.sqrt(rows)[:, :, None] * square * np.sqrt(columns)[:, None, :]
        mean = np.einsum("ds,st,dt->d", rows, square, columns)
        total = np.einsum("ds,st,dt->d", rows, square**2, columns) - mean**2
        return _explained(scaled, total)

    # Of the average over draws, so that only sources and tasks are resampled.
    found = _of_cube(weighted, square[:, :, None], draws, seed, (0.0, 1.0))
    total = float(((square - square.mean()) ** 2).sum())
    observed = float(_explained(square[None], np.array([total]))[0])
    rng = np.random.default_rng(seed)
    luck, p = [], []
    for axis in (1, 2):
        shuffled = rng.permuted(np.tile(square, (draws, 1, 1)), axis=axis)
        null = _explained(shuffled, np.full(draws, total))
        luck.append(float(np.quantile(null, 0.95)))
        p.append(float((1 + (null >= observed - 1e-9).sum()) / (1 + draws)))
    rest = square - square.mean(0) - square.mean(1, keepdims=True) + square.mean()
    additive = 1 - float((rest**2).sum()) / total
    interval = Interval(observed, found.low, found.high, square.shape[1])
    return RankOne(interval, additive, *luck, *p, max(p))


# --- is "forgotten" only "biased"? --------------------------------------------------------------


@dataclass(frozen=True)
class LabelBias:
    """What a verdict on "forgotten" against "biased" needs (section 6.1); see :func:`label_bias`.

    Attributes:
        before, after: accuracies.
        auc_before, auc: the chance that an item whose second choice is right has the larger signed
            score l_1 - l_0. It does not move with a bias.
        modal_share: the share of answers that are the most frequent answer.
        refitted: accuracy after one bias was fitted on ``k`` labelled items, on the others.
        restored: ``refitted`` minus ``after``, on the same items.
        bias_share: the part of the loss that the bias restores, (refitted - after) / (before -
            after). NaN where less than 0.05 was lost, unbounded where the loss may be 0.
        size: the mean |margin|, nats.
        k: items a bias was fitted on.
    """

    before: Interval
    after: Interval
    auc_before: Interval
    auc: Interval
    modal_share: Interval
    refitted: Interval
    restored: Interval
    bias_share: Interval
    size: Interval
    k: int


def label_bias(
    before: pd.DataFrame,
    after: pd.DataFrame,
    k: int = 32,
    draws: int = 2000,
    seed: int = 0,
) -> LabelBias:
    """Whether a task of shared answer words is forgotten, or its answers only shifted (6.1).

    A shift of l_1 - l_0 that is the same for all items sends the accuracy to that of a constant
    answer and leaves the ranking of the items as it was. One number undoes it: k labelled items are
    drawn, the threshold of the signed score with the fewest errors on them is taken (the middle one
    of those equally good), and all other items are answered by it. This is done 50 times; an item
    counts with its mean over the times in which it was left out.

    The threshold may not change the direction, so a model that answers the reverse is not repaired.
    For tasks whose choices differ from item to item the index of a choice means nothing, and there
    is nothing for a bias to restore: use them as the control.

    Args:
        before, after: answers of one task, with ``label`` and ``margin``.
        k: labelled items to fit on. With fewer than 2 k items what rests on the fit is NaN; with
            one label only, what rests on the ranking.
    """
    both = join(before, after)
    items, outer = _units(both)
    labels = _column(both, "label")
    was, right = _column(both, "correct_before"), _column(both, "correct")
    sign = 2 * labels - 1
    score, former = sign * _column(both, "margin"), sign * _column(both, "margin_before")
    chosen = _chosen(both).astype(float)
    modal = float(np.mean(chosen) > 0.5)
    refitted = _refitted(score, labels, items, outer, k, seed)

    def mean(values: Floats) -> Interval:
        return cluster_bootstrap(values, items, draws=draws, seed=seed, outer=outer)

    return LabelBias(
        before=mean(was),
        after=mean(right),
        auc_before=_auc(former, labels, items, outer, draws, seed),
        auc=_auc(score, labels, items, outer, draws, seed),
        modal_share=mean((chosen == modal).astype(float)),
        refitted=mean(refitted),
        restored=paired_bootstrap(refitted, right, items, draws=draws, seed=seed, outer=outer),
        bias_share=_bias_share(was, right, refitted, items, outer, draws, seed),
        size=mean(np.abs(score)),
        k=k,
    )


def _refitted(
    score: Floats,
    labels: Floats,
    items: NDArray[np.generic],
    outer: NDArray[np.generic] | None,
    k: int,
    seed: int,
) -> Floats:
    """[N]: how often each answer is right by a threshold fitted on k other items."""
    names, codes = np.unique(items, return_inverse=True)
    if not 1 <= k <= len(names) / 2:
        return np.full(len(score), math.nan)
    hits, times = np.zeros(len(score)), np.zeros(len(score))
    models = [np.ones(len(score), dtype=bool)]
    if outer is not None:
        models = [outer == draw for draw in np.unique(outer)]
    rng = np.random.default_rng(seed)
    # Each item is left out often, and every draw's model is refitted on the same items.
    for _ in range(REFITS):
        fitted = np.zeros(len(names), dtype=bool)
        fitted[rng.permutation(len(names))[:k]] = True
        inside = fitted[codes]
        for model in models:
            cut = _cut(score[model & inside], labels[model & inside])
            left = model & ~inside
            hits[left] += (score[left] > cut) == (labels[left] == 1)
            times[left] += 1
    with np.errstate(invalid="ignore"):
        return hits / times


def _cut(score: Floats, labels: Floats) -> float:
    """The threshold with the fewest errors for "1 if above"; of several the middle one."""
    order = np.argsort(score, kind="stable")
    ranked, ones = score[order], labels[order] == 1
    # Right answers with the lowest j called 0 and the others 1.
    below = np.concatenate([[0], np.cumsum(~ones)])
    above = ones.sum() - np.concatenate([[0], np.cumsum(ones)])
    right = below + above
    allowed = np.concatenate([[True], ranked[1:] > ranked[:-1], [True]])
    best = np.flatnonzero(allowed & (right == right[allowed].max()))
    place = best[len(best) // 2]
    if place == 0:
        return float(ranked[0]) - 1
    return float(ranked[-1] + 1 if place == len(ranked) else ranked[place - 1 : place + 1].mean())


def _auc(
    score: Floats,
    labels: Floats,
    items: NDArray[np.generic],
    outer: NDArray[np.generic] | None,
    draws: int,
    seed: Seed,
) -> Interval:
    """The area within each draw, averaged over draws; items are drawn within their label."""
    names, first, codes = np.unique(items, return_index=True, return_inverse=True)
    strata = labels[first].astype(np.intp)
    if len(np.unique(strata)) < 2:
        return Interval(*_NAN, len(names))
    factors = [Factor(codes, strata)]
    models = [np.arange(len(score))]
    if outer is not None and len(np.unique(outer)) > 1:
        draw_names, draw_codes = np.unique(outer, return_inverse=True)
        factors.append(Factor(draw_codes, np.zeros(len(draw_names), dtype=np.intp)))
        models = [np.flatnonzero(draw_codes == code) for code in range(len(draw_names))]

    def statistic(weights: Floats) -> Floats:
        areas = np.stack([_area(score[of], labels[of] == 1, weights[:, of]) for of in models])
        sizes = np.stack([weights[:, of].sum(axis=1) for of in models])
        areas = np.where(sizes > 0, areas, 0.0)
        return (areas * sizes).sum(axis=0) / sizes.sum(axis=0)

    found = bootstrap(statistic, factors, score, draws, seed, (0.0, 1.0))
    fewest = int(np.bincount(strata).min())
    if not min(found.value, 1 - found.value) * fewest < FEW:
        return found
    # Nearly apart: resampling sees too few of the pairs that are in the wrong order.
    low, high = exact_limits(found.value, fewest)
    return Interval(found.value, min(low, found.low), max(high, found.high), found.n)


def _area(score: Floats, ones: NDArray[np.bool_], weights: Floats) -> Floats:
    """The AUC for each row of weights [D, N], ties counting half."""
    order = np.argsort(score, kind="stable")
    ranked, weights, ones = score[order], weights[:, order], ones[order]
    zeros = np.pad(np.cumsum(weights * ~ones, axis=1), ((0, 0), (1, 0)))
    below = zeros[:, np.searchsorted(ranked, ranked, side="left")]
    to_tie = zeros[:, np.searchsorted(ranked, ranked, side="right")]
    won = (weights * ones * (below + to_tie) / 2).sum(axis=1)
    with np.errstate(invalid="ignore"):
        return won / ((weights * ones).sum(axis=1) * (weights * ~ones).sum(axis=1))


def _bias_share(
    was: Floats,
    right: Floats,
    refitted: Floats,
    items: NDArray[np.generic],
    outer: NDArray[np.generic] | None,
    draws: int,
    seed: Seed,
) -> Interval:
    n = len(np.unique(items))
    if np.isnan(refitted).any() or was.mean() - right.mean() < GUARD - 1e-9:
        return Interval(*_NAN, n)
    gain, loss = refitted - right, was - right

    def statistic(weights: Floats) -> Floats:
        with np.errstate(invalid="ignore", divide="ignore"):
            return (weights @ gain) / (weights @ loss)

    lost = paired_bootstrap(was, right, items, draws=draws, seed=seed, outer=outer)
    if not lost.low > 0:
        return Interval(gain.mean() / loss.mean(), -math.inf, math.inf, n)
    return bootstrap(statistic, _factors(items, outer), gain, draws, seed)


# --- parts --------------------------------------------------------------------------------------


def _column(answers: pd.DataFrame, name: str) -> Floats:
    if name not in answers:
        raise DataError(
            f"The answers lack the column '{name}'. Hand in what core.tasks.evaluate_tasks returns."
        )
    return answers[name].to_numpy(dtype=np.float64)


def _chosen(answers: pd.DataFrame) -> NDArray[np.intp]:
    """[N]: the index of the choice each answer took."""
    labels = _column(answers, "label").astype(np.intp)
    return np.where(_column(answers, "correct") > 0, labels, 1 - labels)


def _units(answers: pd.DataFrame) -> tuple[NDArray[np.intp], NDArray[np.intp] | None]:
    """[N] numbers of items, and of draws where there are any."""
    keys = [key for key in ("task", "item") if key in answers]
    items = answers.groupby(keys, sort=False).ngroup().to_numpy()
    outer = pd.factorize(answers["draw"])[0] if "draw" in answers else None
    return items, outer


def _factors(items: NDArray[np.generic], outer: NDArray[np.generic] | None) -> list[Factor]:
    levels = [items] if outer is None else [items, outer]
    coded = [np.unique(level, return_inverse=True) for level in levels]
    factors = [Factor(codes, np.zeros(len(names), dtype=np.intp)) for names, codes in coded]
    return [factors[0], *(factor for factor in factors[1:] if factor.units > 1)]


def _ratio(both: pd.DataFrame, span: float, draws: int, seed: Seed) -> Interval:
    was, right = _column(both, "correct_before"), _column(both, "correct")
    items, outer = _units(both)
    n = int(items.max()) + 1 if len(items) else 0
    if n == 0 or np.isnan(was).any() or np.isnan(right).any() or was.mean() - CHANCE < GUARD - 1e-9:
        return Interval(*_NAN, n)
    lost, learned = was - right, span * (was - CHANCE)
    each = np.bincount(items, was, n) / np.bincount(items, minlength=n)
    if not wilson(round(float(each.sum())), n).low > CHANCE:
        return Interval(float(lost.mean() / learned.mean()), -math.inf, math.inf, n)

    def statistic(weights: Floats) -> Floats:
        sums = weights @ learned
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(sums > 0, (weights @ lost) / sums, math.nan)

    found = bootstrap(statistic, _factors(items, outer), lost, draws, seed)
    if len(np.unique(items[lost != 0])) >= FEW:
        return found
    # So few items changed that resampling cannot tell how many might have; near R = 0 the
    # denominator's own error is of second order.
    gap = paired_bootstrap(was, right, items, draws=draws, seed=seed, outer=outer)
    ends = gap.low / learned.mean(), gap.high / learned.mean()
    return Interval(found.value, float(min(ends[0], found.low)), float(max(ends[1], found.high)), n)


def _parts(both: pd.DataFrame) -> Iterator[tuple[str, str, pd.DataFrame]]:
    """(source, task, answers), in the order in which they come; without a source, the task's own.

    One pass: cutting the table cell by cell would cost cells x answers.
    """
    both = both.assign(source=both.get("source", both["task"]))
    for (source, task), part in both.groupby(["source", "task"], sort=False):
        yield source, task, part


def _defaults(both: pd.DataFrame) -> list[tuple[str, object]]:
    return [("source", both["task"]), ("draw", 0)]


def _leaves(values: Floats) -> list[int]:
    """Places of the rows in the order of a tree of average linkage."""
    n = len(values)
    if n < 3:
        return list(range(n))
    there = np.isfinite(values)
    filled = np.where(there, values, 0.0)
    # Squared distances over shared columns from three products, without a loop over pairs.
    shared = there.astype(float) @ there.T
    squares = (filled**2) @ there.T
    total = squares + squares.T - 2 * filled @ filled.T
    with np.errstate(invalid="ignore", divide="ignore"):
        apart = np.sqrt(np.maximum(total, 0.0) / shared)
    known = apart[np.isfinite(apart)]
    apart = np.where(np.isfinite(apart), apart, known.max() if len(known) else 0.0)
    upper = apart[np.triu_indices(n, 1)]
    tree = hierarchy.linkage(upper, "average", optimal_ordering=True)
    return [int(place) for place in hierarchy.leaves_list(tree)]


def _cube(table: pd.DataFrame) -> Floats:
    """[sources, tasks, draws] without gaps.

    Raises:
        DataError: a cell stands twice.
    """
    table = table.assign(draw=table.get("draw", 0))
    if table.duplicated(["source", "task", "draw"]).any():
        raise DataError("A cell of the grid (source, task, draw) stands in it twice.")
    long = table.set_index(["source", "task", "draw"])["value"]
    axes = [pd.unique(table[key]) for key in ("source", "task", "draw")]
    cube = long.reindex(pd.MultiIndex.from_product(axes)).to_numpy(np.float64)
    cube = cube.reshape([len(axis) for axis in axes])
    there = np.isfinite(cube)
    # A draw that some source has not been through, then a task that some cell is missing from.
    full = there.any(axis=1).all(axis=0)
    cube, there = cube[:, :, full], there[:, :, full]
    return cube[:, there.all(axis=(0, 2)) if full.any() else np.zeros(len(axes[1]), bool)]


def _of_cube(
    statistic: Weighted,
    cube: Floats,
    draws: int,
    seed: Seed,
    bounds: tuple[float, float],
) -> Interval:
    """A statistic of weights of the cells, sources, tasks and draws resampled independently."""
    shape = cube.shape
    if min(shape) < 1 or min(shape[:2]) < 2:
        return Interval(*_NAN, shape[1])
    codes = np.indices(shape).reshape(3, -1)
    factors = [
        Factor(level, np.zeros(units, dtype=np.intp))
        for level, units in zip(codes, shape, strict=True)
        if units > 1
    ]
    return bootstrap(statistic, factors, cube.ravel(), draws, seed, bounds)


def _margins(weights: Floats) -> tuple[Floats, Floats, Floats]:
    """Weights [D, S, T, R] that are products, as their three factors, each adding up to 1."""
    total = weights.sum(axis=(1, 2, 3))[:, None]
    with np.errstate(invalid="ignore"):
        return (
            weights.sum(axis=(2, 3)) / total,
            weights.sum(axis=(1, 3)) / total,
            weights.sum(axis=(1, 2)) / total,
        )


def _shares(cube: Floats, weights: Floats) -> dict[str, Floats]:
    """Shares of the sum of squares for each row of product weights [D, S T R]."""
    rows, columns, draws = _margins(weights.reshape(-1, *cube.shape))
    means = np.einsum("str,dr->dst", cube, draws)
    mean_squares = np.einsum("str,dr->dst", cube**2, draws)
    along_rows = np.einsum("dst,dt->ds", means, columns)
    along_columns = np.einsum("dst,ds->dt", means, rows)
    mean = np.einsum("ds,ds->d", along_rows, rows)

    def square(values: Floats, *of: Floats) -> Floats:
        terms = "dst,ds,dt->d" if len(of) == 2 else "da,da->d"
        return np.einsum(terms, values, *of)

    row = square((along_rows - mean[:, None]) ** 2, rows)
    column = square((along_columns - mean[:, None]) ** 2, columns)
    rest = means - along_rows[:, :, None] - along_columns[:, None, :] + mean[:, None, None]
    parts = {
        "row": row,
        "column": column,
        "residual": square(rest**2, rows, columns),
        "noise": np.maximum(0.0, square(mean_squares - means**2, rows, columns)),
    }
    total = sum(parts.values())
    # Rounding of a grid without any variance is not variance.
    nothing = total <= 1e-12 * np.maximum(1e-300, square(mean_squares, rows, columns))
    with np.errstate(invalid="ignore", divide="ignore"):
        return {name: np.where(nothing, math.nan, part / total) for name, part in parts.items()}


def _explained(squares: Floats, total: Floats) -> Floats:
    """1 - |X - best rank-one fit|² / total of each matrix [D, S, T]."""
    values = np.linalg.svd(np.nan_to_num(squares), compute_uv=False) ** 2
    with np.errstate(invalid="ignore", divide="ignore"):
        left = 1 - values[:, 1:].sum(axis=1) / total
    return np.where(total > 1e-12 * values.sum(axis=1), left, math.nan)
