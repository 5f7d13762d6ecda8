"""The grid: what random labels of each task take from it, and from every other.

The study assembles the cells of :func:`.cast.forgotten`, one for each task whose labels were
randomised and each draw of the labels, so a run that was stopped goes on cell by cell.
"""

import math
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns

from palimpsest.core import plots, stats
from palimpsest.core.results import Claim, Figure, Result, Value
from palimpsest.core.study import Context, study
from palimpsest.forgetting import measures
from palimpsest.studies.random_label_forgetting import cast
from palimpsest.studies.random_label_forgetting.looks import KINDS

STATES = {"pretrained": ("#7f7f7f", "X"), "tuned": ("#009E73", "s")}
FILLS = 50  # rounds in which the diagonal is filled by its expectation; it settles in a few
FEWEST = 4  # tasks that can be parted into two halves of two
NOT_LEARNED = "too few tasks are far enough above chance after true labels"
GRID_DRAWS = 500  # resamples of each of some hundred cells


# --- answers ------------------------------------------------------------------------------------


def after_all(ctx: Context) -> pd.DataFrame:
    """All answers after forgetting: columns of ``forgetting.protocol.answer_items``, ``source``
    (whose labels were random) and ``draw``."""
    return ctx.once(_after_all)


def _after_all(ctx: Context) -> pd.DataFrame:
    return pd.concat(
        [
            cast.forgotten(ctx, source, draw).answers.assign(source=source, draw=draw)
            for draw in range(ctx.parameters.draws)
            for source in cast.sources(ctx)
        ],
        ignore_index=True,
    )


def own(after: pd.DataFrame) -> pd.DataFrame:
    """Of such answers those to the task whose labels were random, without ``source``."""
    return after[after["task"] == after["source"]].drop(columns="source")


def doses(ctx: Context) -> pd.DataFrame:
    """What each forgetting did to the items it was done on, a row for each source and draw:
    ``agreement`` with the coins, ``right`` (share answered right), mean ``p`` and mean
    ``distance`` |p − 1/2|, ``steps``, ``stopped``, ``seconds``, and ``truncated`` items."""
    rows = []
    for draw in range(ctx.parameters.draws):
        for source in cast.sources(ctx):
            done = cast.forgotten(ctx, source, draw).tuned
            rows.append(
                {
                    "task": source, "draw": draw, "steps": done.steps, "stopped": done.stopped,
                    "agreement": done.agreement, "right": done.accuracy, "p": done.p,
                    "distance": done.distance, "truncated": done.truncated,
                    "seconds": done.seconds,
                }
            )  # fmt: skip
    return pd.DataFrame(rows)


# --- measures -----------------------------------------------------------------------------------


def mean_over_tasks(table: pd.DataFrame, column: str, seed: int) -> stats.Interval:
    """The mean of a column over tasks, with tasks resampled. The coins of one task say nothing on
    those of another, so draws belong to their task and are averaged within it."""
    return stats.cluster_bootstrap(table.groupby("task", sort=False)[column].mean(), seed=seed)


def _share(table: pd.DataFrame, column: str, seed: int, unit: str = "share") -> Value:
    """:func:`mean_over_tasks` of what lies between 0 and 1: so do the limits, of two tasks too."""
    one = mean_over_tasks(table, column, seed)
    return Value.of(replace(one, low=max(0.0, one.low), high=min(1.0, one.high)), unit)


def split_gap(before: pd.DataFrame, after: pd.DataFrame, seed: int) -> stats.Interval:
    """How much more the tasks lose that lose more: measured on items that did not decide which.

    The items of each task are parted at random. Tasks are ranked by their forget ratio on one half,
    and the mean ratio of the upper half of the tasks minus that of the lower is taken on the other;
    then the halves change places. Of equal tasks luck makes no gap. Tasks are resampled within
    upper and lower half.

    Args:
        before, after: answers of the tuned model and, of each task after its own random labels.
    """
    both = measures.join(before, after)
    items = both[["task", "item"]].drop_duplicates()
    rng = np.random.default_rng(seed)
    half = pd.Series(rng.permuted(np.arange(len(items)) % 2), index=items.index)
    both = both.merge(items.assign(half=half), on=["task", "item"])
    means = both.astype({"correct": float}).groupby(["task", "half"])[["correct", "correct_before"]]
    table = means.mean().unstack()
    learned = both.groupby("task")["correct_before"].mean() - measures.CHANCE
    table = table[learned > measures.GUARD]
    if len(table) < FEWEST:
        return stats.Interval(math.nan, math.nan, math.nan, len(table))
    # One denominator for both halves: a half's own one would make a ratio of a few items wild.
    lost = table["correct_before"] - table["correct"]
    ratio = lost.div(learned[table.index], axis=0)
    ranks = ratio.rank(method="first")
    upper = ranks > len(table) / 2
    high, low = [], []
    for deciding, measured in ((0, 1), (1, 0)):
        high.append(ratio.loc[upper[deciding], measured])
        low.append(ratio.loc[~upper[deciding], measured])
    above, below = pd.concat(high), pd.concat(low)
    found = stats.difference(above, below, above.index, below.index, seed=seed)
    return stats.Interval(found.value, found.low, found.high, len(table))


def off_diagonal(cells: pd.DataFrame) -> pd.DataFrame:
    """Cells of a grid (``measures.cells``) whose diagonal says nothing.

    A source's own task differs from all others, and would lend its column or its row a variance
    that is about itself. So each diagonal cell is replaced by what the sum of a row effect and a
    column effect, fitted to the other cells, expects there: it adds nothing to the residual.
    """
    filled = cells.copy()
    diagonal = (filled["source"] == filled["task"]).to_numpy()
    filled.loc[diagonal, "value"] = np.nan
    parts = []
    for _, part in filled.groupby("draw", sort=False):
        square = part.pivot(index="source", columns="task", values="value").astype(float)
        values = square.to_numpy(copy=True)
        kept = ~np.isnan(values).all(axis=0)
        gaps = np.isnan(values) & kept[None, :]
        if kept.any() and len(values) > 1:
            values[gaps] = np.nanmean(values)
            for _ in range(FILLS):
                inner = values[:, kept]
                rows, columns = inner.mean(axis=1), inner.mean(axis=0)
                expected = np.full_like(values, np.nan)
                expected[:, kept] = rows[:, None] + columns[None, :] - inner.mean()
                values[gaps] = expected[gaps]
        square = pd.DataFrame(values, index=square.index, columns=square.columns)
        wide = square.stack(future_stack=True).rename("filled").reset_index()
        parts.append(part.merge(wide, on=["source", "task"], how="left"))
    both = pd.concat(parts, ignore_index=True)
    return both.assign(value=both["filled"]).drop(columns="filled")


def over_draws(cells: pd.DataFrame) -> pd.DataFrame:
    """The mean of each cell over draws, which belong to their source."""
    means = cells.groupby(["source", "task"], sort=False, as_index=False)["value"]
    return means.agg(lambda found: found.mean(skipna=False)).assign(draw=0)


def null_grid(seed: int, tasks: int = 8, items: int = 40) -> dict[str, Value]:
    """The claims' measures where it does not matter whose labels were random or who is asked: any
    training changes one answer in ten, whichever; items trained on are answered as before."""
    rng = np.random.default_rng(seed)
    names = [f"t{number}" for number in range(tasks)]
    share = dict(zip(names, rng.uniform(0.75, 0.95, tasks), strict=True))
    before = _invented(rng, share, items)
    parts = []
    for source in names:
        changed = rng.random(len(before)) < 0.1
        answers = before.assign(correct=before["correct"] ^ changed)
        parts.append(answers.assign(source=source, draw=0))
    after = pd.concat(parts, ignore_index=True)
    trained = pd.DataFrame({"task": names, "draw": 0, "right": [share[name] for name in names]})
    cells = over_draws(off_diagonal(measures.cells(before, after)))
    shares = measures.variance_shares(cells, draws=400, seed=seed).set_index("part")
    return {
        "train_right": _share(trained, "right", seed),
        "split_gap": Value.of(split_gap(before, own(after), seed), "ratio"),
        "column_minus_row": _of_row(shares.loc["column minus row"], "share"),
    }


def _invented(rng: np.random.Generator, share: dict[str, float], items: int) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "task": np.repeat(list(share), items),
            "item": np.tile(np.arange(items), len(share)),
            "correct": rng.random(items * len(share)) < np.repeat(list(share.values()), items),
        }
    )


def _of_row(row: pd.Series, unit: str) -> Value:
    return Value(row["value"], (row["low"], row["high"]), row["n"], unit)


def _key(task: str) -> str:
    """A task's name as part of a value's."""
    return re.sub(r"\W+", "_", task.removeprefix("pal_").lower()).strip("_")


# --- study --------------------------------------------------------------------------------------


@study(
    claims=[
        Claim(
            id="rl-1",
            statement="On the items whose labels were randomised, right answers fall to near "
            "chance: fewer than six in ten.",
            source="arXiv:2409.02228, abstract: predictions on the forgetting items become near "
            "random",
            grade="text",
            measure="train_right",
            rule="train_right < 0.6",
        ),
        Claim(
            id="rl-2",
            statement="On unseen items of the same task the outcome varies widely: the tasks that "
            "forget more lose at least a fifth more of what they had above chance.",
            source="arXiv:2409.02228, abstract: outcomes off the forgetting set vary by task",
            grade="text",
            measure="split_gap",
            rule="split_gap > 0.2",
        ),
        Claim(
            id="rl-3",
            statement="Which task is evaluated matters more for the damage than which task was "
            "randomised.",
            source="arXiv:2409.02228, abstract: random labels for science questions leave them and "
            "break entailment",
            grade="text",
            measure="column_minus_row",
            rule="column_minus_row > 0",
        ),
    ],
    null=null_grid,
)
def grid(ctx: Context) -> Result:
    """What do random labels of one task take from it, and from every other?"""
    begun, pre = cast.start(ctx), cast.pretrained(ctx)
    after = after_all(ctx)
    dose = doses(ctx)
    seed = ctx.seed
    square = measures.grid(begun.answers, after, draws=GRID_DRAWS, seed=seed)
    single = off_diagonal(measures.cells(begun.answers, after))
    cells = over_draws(single)
    shares = measures.variance_shares(cells, seed=seed)
    rank = measures.rank_one(cells, seed=seed)
    noise = measures.variance_shares(single, draws=50, seed=seed).set_index("part")["value"]
    alone = own_table(pre, begun.answers, own(after), seed)
    alone.insert(1, "kind", alone["task"].map(cast.kinds(ctx)))
    values = {
        "train_right": _share(dose, "right", seed),
        "agreement_mean": _share(dose, "agreement", seed),
        "dose_mean": _share(dose, "p", seed, "probability"),
        "distance_mean": _share(dose, "distance", seed, "probability"),
        "steps_mean": Value.of(mean_over_tasks(dose, "steps", seed), "steps"),
        "seconds_mean": Value(float(dose["seconds"].mean()), n=len(dose), unit="s"),
        "split_gap": Value.of(split_gap(begun.answers, own(after), seed), "ratio"),
        "own_ratio_mean": _mean(alone["ratio"], seed),
        "own_gap_mean": _mean(alone["gap"], seed),
        "others_ratio_mean": _mean(
            square[square["source"] != square["task"]].groupby("source")["value"].mean(), seed
        ),
        "rank_one_share": Value.of(rank.share, "share"),
        "rank_one_p": Value(rank.p, n=rank.share.n, unit="p-value"),
        "rank_one_luck": Value(max(rank.luck_rows, rank.luck_columns), n=rank.share.n),
        "additive_share": Value(rank.additive, n=rank.share.n, unit="share"),
        # Of single draws: what a cell varies by from one draw of the coins to the next.
        "share_noise": Value(noise.get("noise"), n=rank.share.n, unit="share"),
    }
    for row in shares.to_dict("records"):
        name = "column_minus_row" if row["part"] == "column minus row" else f"share_{row['part']}"
        values[name] = _of_row(pd.Series(row), "share")
    for row in alone.itertuples(index=False):
        values[f"ratio_{_key(row.task)}"] = Value(
            row.ratio, (row.ratio_low, row.ratio_high), row.n, "ratio"
        )
    named = {"task": cast.label, "source": cast.label}
    return Result(
        values=values,
        tables={
            "tasks": _tasks(ctx),
            "items": _items(ctx),
            "dose": dose.assign(task=dose["task"].map(cast.label)),
            "own": alone.assign(task=alone["task"].map(cast.label)),
            "grid": square.assign(**{key: square[key].map(how) for key, how in named.items()}),
            "shares": shares,
        },
        figures={
            "forgetting": Figure(_draw_own(alone), *_own_words(alone, values)),
            "grid": Figure(_draw_grid(square), *_grid_words(square, values)),
        },
        notes=_notes(values),
    )


def _notes(values: dict[str, Value]) -> dict[str, str]:
    missing = {"rl-2": "split_gap", "rl-3": "column_minus_row"}
    return {id: NOT_LEARNED for id, name in missing.items() if values[name].value is None}


def _mean(column: pd.Series, seed: int) -> Value:
    kept = column.replace([np.inf, -np.inf], np.nan).dropna()
    return Value.of(stats.cluster_bootstrap(kept, seed=seed), "ratio")


def own_table(
    pre: pd.DataFrame, before: pd.DataFrame, after: pd.DataFrame, seed: int
) -> pd.DataFrame:
    """A row for each randomised task: ``task``; ``pretrained``, ``tuned``, ``forgotten``
    (accuracies on its held-out items) with ``forgotten_low``, ``forgotten_high``; ``gap``; the
    forget ratio ``ratio`` with ``ratio_low``, ``ratio_high``; ``n`` items."""
    rows = []
    for task, answers in after.groupby("task", sort=False):
        own_before = before[before["task"] == task]
        share = measures.accuracy(answers, seed=seed)
        lost = measures.forget_ratio(own_before, answers, seed=seed)
        rows.append(
            {
                "task": task,
                "pretrained": float(pre.loc[pre["task"] == task, "correct"].mean()),
                "tuned": float(own_before["correct"].mean()),
                "forgotten": share.value, "forgotten_low": share.low, "forgotten_high": share.high,
                "gap": share.value - measures.CHANCE,
                "ratio": lost.value, "ratio_low": lost.low, "ratio_high": lost.high,
                "n": share.n,
            }
        )  # fmt: skip
    return pd.DataFrame(rows)


def _tasks(ctx: Context) -> pd.DataFrame:
    """What each task is made of and how well it is done before any label is made random, a row for
    each."""
    table = _items(ctx)[["task", "kind", "ways", "wordings", "train", "test"]].copy()
    answers = {"pretrained": cast.pretrained(ctx), "tuned": cast.start(ctx).answers}
    for name, found in answers.items():
        right = found.groupby(found["task"].map(cast.label))["correct"].mean()
        table[name] = table["task"].map(right)
    return table


def _items(ctx: Context) -> pd.DataFrame:
    """The counts of each task (``forgetting.items.TaskItems.row``), what was left out too."""
    rows = pd.DataFrame([one.row() for one in cast.items_of(ctx).values()])
    return rows.assign(task=rows["task"].map(cast.label))


# --- figures ------------------------------------------------------------------------------------


def _draw_own(alone: pd.DataFrame) -> Any:
    rows = alone.sort_values("gap", ascending=False, kind="stable").reset_index(drop=True)
    figure, axes = plots.figure(6.8, 1.6 + 0.27 * len(rows))
    heights = np.arange(len(rows))
    for name, (colour, marker) in STATES.items():
        axes.plot(
            rows[name], heights, marker, color=colour, ms=6, label=f"{name} model",
            markeredgecolor="white", markeredgewidth=0.5, zorder=3,
        )  # fmt: skip
    for kind, (colour, marker) in KINDS.items():
        at = np.flatnonzero(rows["kind"] == kind)
        part = rows.iloc[at]
        axes.hlines(at, part["forgotten_low"], part["forgotten_high"], color=colour, lw=1.8)
        axes.plot(
            part["forgotten"], at, marker, color=colour, ms=7, zorder=4,
            label=f"after random labels, {kind} answers",
            markeredgecolor="white", markeredgewidth=0.5,
        )  # fmt: skip
    axes.axvline(0.5, color=plots.INK, lw=0.8, ls="--")
    axes.set_yticks(heights, [cast.label(task) for task in rows["task"]])
    axes.set(xlabel="accuracy on held-out items", ylim=(len(rows) - 0.4, -0.6))
    plots.legend_below(figure, axes)
    return figure


def _own_words(alone: pd.DataFrame, values: dict[str, Value]) -> tuple[str, str]:
    most = alone.loc[alone["gap"].idxmax()]
    least = alone.loc[alone["gap"].idxmin()]
    told = (
        f"after random labels {cast.label(most['task'])} is right in {most['forgotten']:.2f} of "
        f"its held-out items and {cast.label(least['task'])} in {least['forgotten']:.2f}"
    )
    caption = (
        "Every task before and after random labels of its own, sorted by what is left above "
        f"guessing (dashed): {told}. Of the tuned and the pretrained model points, after random "
        "labels means over draws with 95 % intervals over items and draws."
    )
    return caption, (
        f"A row for each of {len(alone)} tasks with three marks, pretrained, tuned and after "
        f"random labels, along the accuracy. In the order shown {told}."
    )


def _draw_grid(square: pd.DataFrame) -> Any:
    wide = measures.wide(square)
    rows, columns = list(wide.index), list(wide.columns)
    if len(rows) >= 3:
        rows, columns = measures.upgma_order(wide)
    wide = wide.loc[rows, columns]
    figure, axes = plots.figure(2.4 + 0.3 * len(columns), 2.3 + 0.3 * len(rows))
    with plots.style():
        sns.heatmap(
            wide.rename(index=cast.label, columns=cast.label), ax=axes, cmap="RdBu_r", center=0.0,
            vmin=-1.0, vmax=1.0, linewidths=0.4, linecolor="white",
            annot=(100 * wide).round().to_numpy(), fmt=".0f", annot_kws={"size": 6},
            cbar_kws={"label": "forget ratio", "shrink": 0.8, "extend": "both"},
            xticklabels=True, yticklabels=True,
        )  # fmt: skip
    axes.set_facecolor("#bdbdbd")  # shows through where there is no ratio
    for place, source in enumerate(rows):
        if source in columns:
            corner = columns.index(source), place
            axes.add_patch(_frame(corner))
    axes.set(xlabel="evaluated task", ylabel="task with random labels")
    axes.tick_params(axis="x", rotation=90)
    axes.tick_params(axis="y", rotation=0)
    axes.grid(False)
    return figure


def _frame(corner: tuple[int, int]) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle(corner, 1, 1, fill=False, edgecolor=plots.INK, lw=1.4)


def _grid_words(square: pd.DataFrame, values: dict[str, Value]) -> tuple[str, str]:
    def said(name: str) -> str:
        one = values[name].value
        return "not measured" if one is None else f"{one:.2f}"

    told = (
        f"mean of a task's own cells {said('own_ratio_mean')}, of the others "
        f"{said('others_ratio_mean')}"
    )
    caption = (
        "Forget ratio of every evaluated task (columns) after random labels of each task (rows), "
        f"times 100, framed where they are the same task; {told}. Like rows and like columns stand "
        "side by side (UPGMA). Grey: not learned far enough for a ratio."
    )
    sources, tasks = square["source"].nunique(), square["task"].nunique()
    return caption, f"A heat map of {sources} rows and {tasks} columns; {told}."


STUDIES = (grid,)
