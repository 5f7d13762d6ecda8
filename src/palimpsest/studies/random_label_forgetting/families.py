"""Families of tasks: which resist their own random labels, and which fall to those of others."""

import math
from typing import Any

import numpy as np
import pandas as pd

from palimpsest.core import plots, stats
from palimpsest.core.results import Claim, Figure, Result, Value
from palimpsest.core.study import Context, study
from palimpsest.forgetting import measures
from palimpsest.studies.random_label_forgetting import cast
from palimpsest.studies.random_label_forgetting.grid import after_all, own
from palimpsest.studies.random_label_forgetting.looks import KINDS

FEWEST_SOURCES = 3  # a task's own and two to choose from
FEWEST_TASKS = 2  # of a kind, for a mean with an interval


# --- measures -----------------------------------------------------------------------------------


def kind_gap(ratios: pd.Series, kinds: dict[str, str], seed: int) -> dict[str, Value]:
    """Mean forget ratios of the two kinds and their difference, tasks resampled within kinds.

    Args:
        ratios: by task, NaN where a task was not learned.
    """
    by_kind = {
        kind: ratios[[kinds[task] == kind for task in ratios.index]].dropna() for kind in KINDS
    }
    values = {
        f"{kind}_ratio": Value.of(stats.cluster_bootstrap(part, seed=seed), "ratio")
        for kind, part in by_kind.items()
    }
    n = sum(map(len, by_kind.values()))
    if min(map(len, by_kind.values())) < FEWEST_TASKS:
        return values | {"kind_gap": Value(None, n=n, unit="ratio")}
    gap = stats.difference(by_kind["shared"], by_kind["content"], seed=seed)
    return values | {"kind_gap": Value.of(gap, "ratio")}


def through_others(
    before: pd.DataFrame, after: pd.DataFrame, seed: int, draws: int = 2000
) -> pd.DataFrame:
    """Whether another task's random labels take more from a task than its own do.

    The best of many others beats the own one by luck. So the items are parted at random; on one
    half the other source is chosen that takes most, on the other half it is compared with the own
    one, item by item; then the halves change places.

    Returns:
        A row for each task that is a source too: ``task``; ``own``, ``best`` (accuracy lost to the
        own labels, and to those of the ``other`` chosen on the first half); ``difference`` (best
        minus own, measured on items that did not choose) with ``low`` and ``high``; ``clear``,
        whether the whole interval lies above 0. None if there are too few sources.
    """
    both = measures.join(before, after).astype({"correct": float, "correct_before": float})
    sources = list(pd.unique(both["source"]))
    rng = np.random.default_rng(seed)
    rows = []
    for task in sources if len(sources) >= FEWEST_SOURCES else []:
        part = both[both["task"] == task]
        lost = part.assign(lost=part["correct_before"] - part["correct"])
        # [items, sources], draws averaged: coins belong to their source.
        square = lost.pivot_table(index="item", columns="source", values="lost", aggfunc="mean")
        values = square.to_numpy()
        mine = list(square.columns).index(task)
        half = rng.permuted(np.arange(len(values)) % 2)
        gaps, chosen = np.empty(len(values)), []
        for side in (0, 1):
            means = values[half == side].mean(axis=0)
            means[mine] = -math.inf
            best = int(means.argmax())
            chosen.append(best)
            gaps[half != side] = values[half != side, best] - values[half != side, mine]
        found = stats.cluster_bootstrap(gaps, draws=draws, seed=seed)
        rows.append(
            {
                "task": task, "own": float(values[:, mine].mean()),
                "other": square.columns[chosen[0]],
                "best": float(values[:, mine].mean() + found.value),
                "difference": found.value, "low": found.low, "high": found.high,
                "clear": found.low > 0, "n": found.n,
            }
        )  # fmt: skip
    columns = ["task", "own", "other", "best", "difference", "low", "high", "clear", "n"]
    return pd.DataFrame(rows, columns=columns)


def share_clear(table: pd.DataFrame) -> Value:
    """The share of tasks that other tasks' labels clearly take more from."""
    if table.empty:
        return Value(None, n=0, unit="share")
    return Value.of(stats.wilson(int(table["clear"].sum()), len(table)), "share")


def triggers(before: pd.DataFrame, after: pd.DataFrame, seed: int) -> pd.DataFrame:
    """What each source takes from the other tasks: mean forget ratio over them, tasks resampled:
    ``source, value, low, high, n``, those that take most first."""
    cells = measures.cells(before, after)
    cells = cells[cells["source"] != cells["task"]]
    rows = []
    for source, part in cells.groupby("source", sort=False):
        means = part.groupby("task", sort=False)["value"].mean().dropna()
        rows.append({"source": source, **vars(stats.cluster_bootstrap(means, seed=seed))})
    columns = ["source", "value", "low", "high", "n"]
    return pd.DataFrame(rows, columns=columns).sort_values("value", ascending=False)


def null_families(seed: int, tasks: int = 10, items: int = 60) -> dict[str, Value]:
    """The claims' measures where a task's kind says nothing and any labels take as much from a task
    as its own."""
    rng = np.random.default_rng(seed)
    names = [f"t{number}" for number in range(tasks)]
    kinds = {name: ("shared", "content")[place % 2] for place, name in enumerate(names)}
    before = pd.DataFrame(
        {
            "task": np.repeat(names, items),
            "item": np.tile(np.arange(items), tasks),
            "correct": rng.random(tasks * items) < 0.9,
        }
    )
    kept = np.repeat(rng.uniform(0.6, 1.0, tasks), items)
    after = pd.concat(
        [
            before.assign(
                correct=before["correct"] & (rng.random(len(before)) < kept), source=source, draw=0
            )
            for source in names
        ],
        ignore_index=True,
    )
    ratios = measures.cells(before, own(after)).set_index("task")["value"]
    return {
        "kind_gap": kind_gap(ratios, kinds, seed)["kind_gap"],
        "better_by_other": share_clear(through_others(before, after, seed, draws=200)),
    }


# --- study --------------------------------------------------------------------------------------


@study(
    claims=[
        Claim(
            id="rl-4",
            statement="Tasks whose answers are their own words resist random labels more than "
            "tasks that share two answer words.",
            source="arXiv:2409.02228, reported second-hand: content-heavy tasks resist, entailment "
            "and acceptability collapse",
            grade="known",
            measure="kind_gap",
            rule="kind_gap > 0",
        ),
        Claim(
            id="rl-5",
            statement="Many tasks, at least one in ten, are forgotten better through another "
            "task's random labels than through their own.",
            source="arXiv:2409.02228, reported second-hand",
            grade="known",
            measure="better_by_other",
            rule="better_by_other > 0.1",
        ),
    ],
    null=null_families,
)
def families(ctx: Context) -> Result:
    """Which tasks resist their own random labels, and which fall to those of others?"""
    before, after = cast.start(ctx).answers, after_all(ctx)
    ratios = measures.cells(before, own(after)).groupby("task", sort=False)["value"].mean()
    others = through_others(before, after, ctx.seed)
    taken = triggers(before, after, ctx.seed)
    kinds = cast.kinds(ctx)
    values = kind_gap(ratios, kinds, ctx.seed) | {"better_by_other": share_clear(others)}
    bounds = {
        task: measures.forget_ratio(
            before[before["task"] == task], answers, draws=1000, seed=ctx.seed
        )
        for task, answers in own(after).groupby("task", sort=False)
    }
    table = pd.DataFrame(
        [
            {"task": task, "kind": kinds[task], "ratio": one.value, "low": one.low,
             "high": one.high}
            for task, one in bounds.items()
        ]
    )  # fmt: skip
    shown = others.assign(
        task=others["task"].map(cast.label), other=others["other"].map(cast.label)
    )
    return Result(
        values=values,
        tables={
            "families": table.assign(task=table["task"].map(cast.label)),
            "others": shown,
            "triggers": taken.assign(source=taken["source"].map(cast.label)),
        },
        figures={"families": Figure(_draw(table, others, kinds), *_words(values, others))},
        notes=_notes(values),
    )


def _notes(values: dict[str, Value]) -> dict[str, str]:
    notes = {}
    if values["kind_gap"].value is None:
        notes["rl-4"] = "fewer than two tasks of one of the two kinds were learned"
    if values["better_by_other"].value is None:
        notes["rl-5"] = "fewer than three tasks had their labels randomised"
    return notes


# --- figure -------------------------------------------------------------------------------------


def _draw(table: pd.DataFrame, others: pd.DataFrame, kinds: dict[str, str]) -> Any:
    figure, axes = plots.panels(2, 7.6, 4.2)
    offsets = np.random.default_rng(0).permutation(len(table)) / max(1, len(table) - 1) - 0.5
    for place, (kind, (colour, marker)) in enumerate(KINDS.items()):
        at = (table["kind"] == kind).to_numpy()
        part, x = table[at], place + 0.6 * offsets[at]
        ends = part[["low", "high"]].clip(-0.5, 2.0).to_numpy()
        axes[0].vlines(x, ends[:, 0], ends[:, 1], color=colour, lw=1.0, alpha=0.5)
        axes[0].plot(
            x, part["ratio"], marker, color=colour, ms=5.5, label=f"{kind} answers",
            markeredgecolor="white", markeredgewidth=0.5,
        )  # fmt: skip
        axes[0].hlines(part["ratio"].mean(), place - 0.4, place + 0.4, color=plots.INK, lw=1.6)
        mine = others[others["task"].map(kinds) == kind]
        axes[1].plot(
            mine["own"], mine["best"], marker, color=colour, ms=6,
            markeredgecolor="white", markeredgewidth=0.5,
        )  # fmt: skip
    axes[0].set_xticks(range(len(KINDS)), [f"{kind}\nanswers" for kind in KINDS])
    axes[0].set(ylabel="forget ratio of the own task", xlim=(-0.6, 1.6))
    for height in (0.0, 1.0):
        axes[0].axhline(height, color=plots.INK, lw=0.8, ls="--")
    low, high = axes[1].get_xlim()
    axes[1].plot([low, high], [low, high], color=plots.INK, lw=0.8, ls=":")
    axes[1].set(xlabel="accuracy lost to the own labels", ylabel="lost to the best other's labels")
    plots.legend_below(figure, axes[0])
    return figure


def _words(values: dict[str, Value], others: pd.DataFrame) -> tuple[str, str]:
    def said(name: str) -> str:
        one = values[name].value
        return "not measured" if one is None else f"{one:.2f}"

    told = (
        f"mean forget ratio {said('shared_ratio')} with shared answers and "
        f"{said('content_ratio')} with content answers; {int(others['clear'].sum())} of "
        f"{len(others)} tasks clearly lose more to another task's labels"
    )
    caption = (
        f"The two kinds of tasks, and labels of other tasks: {told}. Left: each task with its "
        "95 % interval over items and draws, the mean as a line, guessing and no loss dashed. "
        "Right: above the dotted line other tasks' labels take more than the own ones; the other "
        "task was chosen on other items than those it is measured on."
    )
    return caption, f"Left, forget ratios in two groups; right, points in a plane: {told}."


STUDIES = (families,)
