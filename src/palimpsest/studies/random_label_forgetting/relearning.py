"""How soon does a skill that random labels took away come back?

The forgotten model relearns from the true labels of some items, while held-out ones are watched,
beside models that lack the skill for want of training (random-label digest, exercise 9).
"""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from palimpsest.core import plots, stats
from palimpsest.core.models import LanguageModel
from palimpsest.core.results import Claim, Figure, Result, Value
from palimpsest.core.study import Context, study
from palimpsest.forgetting.items import FEWEST
from palimpsest.forgetting.order import area
from palimpsest.studies.controls import Weights
from palimpsest.studies.random_label_forgetting import cast
from palimpsest.studies.random_label_forgetting.looks import (
    band,
    kind_panels,
    legend_of,
    look_of,
    named,
)
from palimpsest.studies.random_label_forgetting.summaries import mean_of_tasks, over_items, told

LOOKS = 10  # at the held-out items while relearning
PART = 4  # one training item in so many is relearned
REGAINED = 0.9  # of a_ft's distance from chance
LEARNED = 0.05  # distance from chance, or from a_ft, below which there is nothing to regain


# --- measures ----------------------------------------------------------------------------------


def relearned(curves: pd.DataFrame, goal: pd.Series) -> pd.DataFrame:
    """By task and start, how much came back and how soon.

    Args:
        curves: columns ``task, start, item, step, correct``; held-out items only.
        goal: task -> a_ft.

    Returns:
        Columns ``task, start``; accuracies ``begin`` and ``end``; ``area``, mean accuracy over the
        run; ``steps`` until :data:`REGAINED` of a_ft's distance from chance is there (NaN: not
        within the budget, or a_ft is at chance); ``lack``, a_ft - begin; ``gain``, area - begin.
    """
    rows = []
    for (task, start), own in curves.groupby(["task", "start"], sort=False):
        by_step = own.groupby("step")["correct"].mean()
        wanted = 0.5 + REGAINED * (goal[task] - 0.5)
        there = by_step.index[by_step >= wanted - 1e-9] if goal[task] - 0.5 >= LEARNED else []
        mean = float(np.trapezoid(by_step, by_step.index)) / float(np.ptp(by_step.index))
        begin = float(by_step.iloc[0])
        rows.append(
            {
                "task": task, "start": start, "begin": begin, "end": float(by_step.iloc[-1]),
                "area": mean, "steps": float(there[0]) if len(there) else math.nan,
                "lack": goal[task] - begin, "gain": mean - begin,
            }
        )  # fmt: skip
    return pd.DataFrame(rows)


def fair_tasks(table: pd.DataFrame, start: str) -> list[str]:
    """Tasks on which both the forgotten model and ``start`` lack enough for a rate to be seen."""
    lack = table.pivot(index="task", columns="start", values="lack")
    if start not in lack:
        return []
    fair = (lack[["forgotten", start]] >= LEARNED - 1e-9).all(axis=1)
    return [task for task in dict.fromkeys(table["task"]) if fair[task]]


def relearn_values(table: pd.DataFrame, seed: int = 0) -> tuple[dict[str, Value], str]:
    """``relearn_gain``, its two parts and its number of tasks, and what was compared with.

    Starts differ in how much they lack, and who starts high has little room. So each start is
    measured by the share of what it lacks that came back, in the mean over the run: Σ gain / Σ lack
    over tasks. Where accuracy closes its distance to a_ft at some rate, this depends on the rate
    alone. The comparison is the start, pretrained or earlier, with more :func:`fair_tasks` (a rule
    about beginnings only), the pretrained one if equal; there must be two tasks. Tasks are
    resampled, and with them their items.
    """
    fair = {start: fair_tasks(table, start) for start in ("pretrained", "earlier")}
    chosen = max(fair, key=lambda start: len(fair[start]))
    tasks = fair[chosen]
    sizes = {"relearn_tasks": Value(len(tasks), n=table["task"].nunique(), unit="tasks")}
    parts = ("relearn_share_forgotten", "relearn_share_comparison")
    if len(tasks) < 2:
        names = ("relearn_gain", *parts)
        return sizes | {name: Value(None, n=len(tasks), unit="share") for name in names}, ""
    square = table.pivot(index="task", columns="start", values=["gain", "lack"]).loc[tasks]

    def share(start: str) -> Any:
        gain, lack = (square[name, start].to_numpy(dtype=float) for name in ("gain", "lack"))
        return lambda weights: (weights @ gain) / (weights @ lack)

    first, second = share("forgotten"), share(chosen)
    factor = stats.Factor(np.arange(len(tasks)), np.zeros(len(tasks), dtype=np.intp))
    data = square.to_numpy(dtype=float)[:, :0]
    found = [
        stats.bootstrap(statistic, [factor], data, seed=seed)
        for statistic in (lambda weights: first(weights) - second(weights), first, second)
    ]
    names = ("relearn_gain", *parts)
    told = {name: Value.of(one, "share") for name, one in zip(names, found, strict=True)}
    return sizes | told, chosen


def regain_values(table: pd.DataFrame, curves: pd.DataFrame, seed: int = 0) -> dict[str, Value]:
    """By start, means over these tasks with limits over items: accuracy before, in the mean over,
    and after relearning. How many tasks regained what was asked, and the median steps (None: half
    of them did not within the budget).

    Args:
        table, curves: what :func:`relearned` gives and takes.
    """
    by_step = steps_of(curves)
    ends = {"begin": by_step["step"].min(), "end": by_step["step"].max()}
    values = {}
    for start, own in table.groupby("start", sort=False):
        looks = by_step[by_step["start"] == start]
        for name, step in ends.items():
            values[f"relearn_{name}_{start}"] = over_items(looks[looks["step"] == step])
        areas = []
        for _, run in curves[curves["start"] == start].groupby("task", sort=False):
            of_items = area(run.assign(p=run["correct"].astype(float)))
            areas.append(vars(stats.cluster_bootstrap(of_items, seed=seed)))
        values[f"relearn_area_{start}"] = over_items(pd.DataFrame(areas))
        values[f"regained_{start}"] = Value(own["steps"].notna().sum(), n=len(own), unit="tasks")
        median = float(np.median(own["steps"].fillna(math.inf)))
        values[f"regain_steps_{start}"] = Value(median, n=len(own), unit="steps")
    return values


def steps_of(curves: pd.DataFrame) -> pd.DataFrame:
    """Accuracy with Wilson's limits: ``task, start, step, value, low, high, n``."""
    rows = []
    for (task, start, step), own in curves.groupby(["task", "start", "step"], sort=False):
        one = stats.wilson(int(own["correct"].sum()), len(own))
        rows.append((task, start, step, one.value, one.low, one.high, one.n))
    return pd.DataFrame(rows, columns=["task", "start", "step", "value", "low", "high", "n"])


def null_relearning(seed: int, tasks: int = 4, items: int = 60) -> dict[str, Value]:
    """The claim's measure where all starts learn a task at one rate."""
    rng = np.random.default_rng(seed)
    names = [f"task {place}" for place in range(tasks)]
    parts, steps = [], np.arange(0, 60, 12)
    for task in names:
        rate = rng.uniform(0.02, 0.1)
        for start in ("forgotten", "pretrained"):
            begin = rng.uniform(0.5, 0.75)
            # An item is right from the start or from when its luck, one for all steps, lets it.
            level = 0.85 - (0.85 - begin) * np.exp(-rate * steps)
            correct = rng.random(items)[:, None] < level
            parts.append(
                pd.DataFrame(
                    {
                        "task": task, "start": start, "item": np.repeat(np.arange(items), 5),
                        "step": np.tile(steps, items), "correct": correct.ravel(),
                    }
                )
            )  # fmt: skip
    table = relearned(pd.concat(parts, ignore_index=True), pd.Series(0.85, index=names))
    return relearn_values(table, seed)[0]


# --- the study ----------------------------------------------------------------------------------


@study(
    claims=[
        Claim(
            id="rl-20",
            statement="Relearning from the forgotten model is quicker than learning from a model "
            "that knows the task less well: of what each lacks, more comes back.",
            source="this book, section on how deep forgetting goes (arXiv:2409.02228, as far as it "
            "could be read, reports no relearning from true labels)",
            grade="ours",
            measure="relearn_gain",
            rule="relearn_gain > 0",
        ),
    ],
    null=null_relearning,
)
def relearning(ctx: Context) -> Result:
    """How soon does a skill that was forgotten come back?"""
    curves = _relearning(ctx)
    answers = cast.start(ctx).answers
    table = relearned(curves, answers.groupby("task")["correct"].mean())
    values, compared = relearn_values(table, ctx.seed)
    values |= regain_values(table, curves, ctx.seed)
    notes = {}
    if not compared:
        notes["rl-20"] = (
            "on fewer than two tasks do both the forgotten model and an untuned one lack "
            f"{LEARNED} of the tuned model's accuracy"
        )
    kinds, by_step = cast.kinds(ctx), steps_of(curves)
    fair = fair_tasks(table, compared) if compared else []
    shown = mean_of_tasks(
        by_step.assign(kind=by_step["task"].map(kinds)), ["kind", "start", "step"]
    )
    words = _relearning_words(values, table, compared)
    return Result(
        values=values,
        tables={
            "relearning": by_step.assign(task=by_step["task"].map(cast.label)),
            "regained": table.assign(
                compared=table["task"].isin(fair), task=table["task"].map(cast.label)
            ),
        },
        figures={"relearning": Figure(_draw_relearning(shown), *words)},
        notes=notes,
    )


def _relearning(ctx: Context) -> pd.DataFrame:
    """Held-out answers along the way from each start: columns of ``answer_items``, ``step``,
    ``start``. Every task is relearned from as many items, in as many steps."""
    p, tasks, items = ctx.parameters, cast.controlled(ctx), cast.items_of(ctx)
    count = max(FEWEST, min(len(items[task].train) for task in tasks) // PART)
    count = min(count, p.relearn_steps * p.batch_size)
    epochs = max(1, p.relearn_steps // math.ceil(count / p.batch_size))
    every = math.ceil(epochs * math.ceil(count / p.batch_size) / LOOKS)
    begun, earlier = cast.start(ctx).weights, cast.earlier(ctx)
    parts = []
    for task in tasks:
        starts: dict[str, tuple[LanguageModel, Weights | None]] = {
            "forgotten": (ctx.lm, cast.forgotten(ctx, task).weights),
            "tuned": (ctx.lm, begun),
            "pretrained": (ctx.lm, None),
        }
        if earlier is not None:
            starts["earlier"] = (earlier, None)
        for start, (lm, weights) in starts.items():
            done = ctx.cell(
                cast.tuned_on, lm=lm, weights=weights, items=items[task].train[:count],
                scheme="true", settings=replace(cast.tuning(ctx, lm), epochs=epochs),
                seed=1000 * ctx.seed, asked=items[task].test[:1], keep=False,
                watched=items[task].test, every=every,
            )  # fmt: skip
            parts.append(done.tuned.curves.assign(start=start))
    return pd.concat(parts, ignore_index=True)


def _draw_relearning(shown: pd.DataFrame) -> Any:
    figure, panels = kind_panels(shown["kind"])
    for kind, panel in panels.items():
        of = shown[shown["kind"] == kind]
        for start in of["start"].unique():
            band(panel, of[of["start"] == start], "step", look_of(start, kind), named(start, kind))
        panel.axhline(0.5, color=plots.INK, lw=0.8, ls="--")
        panel.set(xlabel="steps on true labels")
    next(iter(panels.values())).set_ylabel("accuracy on held-out items")
    legend_of(figure, panels)
    return figure


def _relearning_words(
    values: dict[str, Value], table: pd.DataFrame, compared: str
) -> tuple[str, str]:
    starts = list(dict.fromkeys(table["start"]))
    numbers = "; ".join(
        f"{start} {values[f'relearn_begin_{start}'].value:.2f} to "
        f"{values[f'relearn_end_{start}'].value:.2f}, {values[f'regained_{start}'].value:.0f} of "
        f"{values[f'regained_{start}'].n} tasks regained"
        for start in starts
    )
    rate = "No two tasks let the forgotten start be compared with an untuned one."
    if compared:
        shares = (told(values[f"relearn_share_{name}"]) for name in ("forgotten", "comparison"))
        rate = (
            "Share of what was lacking that is back in the mean over the run, on the "
            f"{values['relearn_tasks'].value:.0f} tasks on which both lack something: forgotten "
            f"{next(shares)}, {compared} {next(shares)}; limits over tasks."
        )
    caption = (
        "How soon does the skill come back? Accuracy on held-out items while some items are tuned "
        f"on with true labels, from each start. Before and after: {numbers} ({REGAINED:.0%} of the "
        f"tuned model's distance from chance). {rate} Bands are 95 % intervals over items."
    )
    return caption, f"Accuracy by step for {len(starts)} starts, by kind of task. {numbers}."


STUDIES = (relearning,)
