"""Fewer items, and labels that are all wrong: do the same tasks resist?"""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from palimpsest.core import plots, stats
from palimpsest.core.results import Claim, Figure, Result, Value
from palimpsest.core.study import Context, study
from palimpsest.forgetting import measures
from palimpsest.forgetting.labels import Scheme
from palimpsest.forgetting.predictors import spearman
from palimpsest.studies.random_label_forgetting import cast
from palimpsest.studies.random_label_forgetting.grid import own
from palimpsest.studies.random_label_forgetting.looks import KINDS

FEWEST = 5  # tasks from which a rank correlation is tested
TOO_FEW = "a rank correlation needs at least five tasks that were learned"
MARKS = {"after": ("#CC79A7", "v", "all items"), "fewer": ("#56B4E9", "^", "fewer items")}


# --- measures -----------------------------------------------------------------------------------


def halved_losses(
    before: pd.DataFrame, first: pd.DataFrame, second: pd.DataFrame, seed: int
) -> pd.DataFrame:
    """What two kinds of labels took from each task, each measured on its own half of the items.

    Both losses contain the accuracy before. If it is measured on the same items, its luck is in
    both, and they go together for that reason alone.

    Returns:
        By task ``first`` and ``second``: the accuracy lost over a_ft − 1/2 of all items; each is
        the mean of ranks over the two ways to give the halves away, NaN if a task was not learned.
    """
    rng = np.random.default_rng(seed)
    rows = {}
    for task, answers in before.groupby("task", sort=False):
        learned = answers["correct"].mean() - measures.CHANCE
        half = pd.Series(rng.permuted(np.arange(len(answers)) % 2), index=answers["item"])
        right = answers.set_index("item")["correct"].astype(float)
        losses = {}
        for name, table in (("first", first), ("second", second)):
            after = table[table["task"] == task].groupby("item")["correct"].mean()
            lost = (right - after.reindex(right.index)) / learned
            for side in (0, 1):
                losses[f"{name}_{side}"] = lost[half == side].mean()
        rows[task] = losses if learned > measures.GUARD else dict.fromkeys(losses, np.nan)
    return pd.DataFrame.from_dict(rows, orient="index")


def alike(losses: pd.DataFrame, seed: int) -> Value:
    """Spearman's rho over tasks between the two losses of :func:`halved_losses`, the mean of the
    two ways to pair different halves; tasks resampled."""
    kept = losses.dropna()
    if len(kept) < FEWEST:
        return Value(None, n=len(kept), unit="rho")
    pairs = (("first_0", "second_1"), ("first_1", "second_0"))
    found = [spearman(kept[one], kept[other], seed=seed).rho for one, other in pairs]
    # The two ways share most of their luck: the interval is no narrower than either's mean width.
    value, low, high = (
        float(np.mean([getattr(one, end) for one in found])) for end in ("value", "low", "high")
    )
    return Value(value, (low, high), len(kept), "rho")


def null_variants(seed: int, tasks: int = 12, items: int = 40) -> dict[str, Value]:
    """The claims' measures where what one kind of labels takes from a task says nothing on what
    another takes, and both are measured against the same answers before."""
    rng = np.random.default_rng(seed)
    base = pd.DataFrame(
        {
            "task": np.repeat([f"t{number}" for number in range(tasks)], items),
            "item": np.tile(np.arange(items), tasks),
        }
    )

    def answers(low: float, high: float) -> pd.DataFrame:
        share = np.repeat(rng.uniform(low, high, tasks), items)
        return base.assign(correct=rng.random(len(base)) < share)

    before = answers(0.8, 0.95)
    after, fewer, wrong = answers(0.5, 0.9), answers(0.5, 0.9), answers(0.2, 0.9)
    return {
        "fewer_rho": alike(halved_losses(before, after, fewer, seed), seed),
        "flipped_rho": alike(halved_losses(before, after, wrong, seed), seed),
    }


# --- study --------------------------------------------------------------------------------------


def _varied(ctx: Context, source: str, scheme: Scheme, items: int | None) -> cast.Outcome:
    """θ_ft after one draw of such labels on the first ``items`` of a task, asked that task."""
    own_items = cast.items_of(ctx)[source]
    return ctx.cell(
        cast.tuned_on, lm=ctx.lm, weights=cast.start(ctx).weights, items=own_items.train[:items],
        scheme=scheme, settings=cast.forgetting(ctx, ctx.lm), seed=cast.label_seed(ctx, 0),
        asked=own_items.test, keep=False,
    )  # fmt: skip


@study(
    claims=[
        Claim(
            id="rl-7",
            statement="With fewer forgetting items the same tasks resist.",
            source="arXiv:2409.02228, reported second-hand: 100 against 1000 items",
            grade="known",
            measure="fewer_rho",
            rule="fewer_rho > 0.3",
        ),
        Claim(
            id="rl-8",
            statement="The tasks that resist random labels resist flipped labels too.",
            source="arXiv:2409.02228, reported second-hand",
            grade="known",
            measure="flipped_rho",
            rule="flipped_rho > 0.3",
        ),
    ],
    null=null_variants,
)
def variants(ctx: Context) -> Result:
    """Fewer items, or every label wrong: do the same tasks resist?"""
    sources = cast.sources(ctx)
    everything = cast.start(ctx).answers
    before = everything[everything["task"].isin(sources)]
    # One draw of each, so that what is compared rests on equally many.
    drawn = pd.concat(
        [cast.forgotten(ctx, source).answers.assign(source=source) for source in sources],
        ignore_index=True,
    )
    after = own(drawn)
    done = {
        "fewer": [_varied(ctx, source, "random", ctx.parameters.fewer_items) for source in sources],
        "flipped": [_varied(ctx, source, "flipped", None) for source in sources],
    }
    answers = {
        name: pd.concat([one.answers for one in found], ignore_index=True)
        for name, found in done.items()
    }
    values = {
        "fewer_rho": alike(halved_losses(before, after, answers["fewer"], ctx.seed), ctx.seed),
        "flipped_rho": alike(halved_losses(before, after, answers["flipped"], ctx.seed), ctx.seed),
    }
    table = _table(ctx, before, after, answers, done)
    gap = stats.cluster_bootstrap(table["fewer"] - table["after"], seed=ctx.seed)
    # Accuracies are shares of few items; beyond these digits stands the rounding of the mean.
    gap = replace(gap, value=round(gap.value, 12))
    values["fewer_minus_all"] = Value.of(gap, "share")
    for name in ("after", "fewer", "flipped", "fewer_agreement", "flipped_agreement"):
        values[f"mean_{name}"] = Value.of(
            stats.cluster_bootstrap(table[name], seed=ctx.seed), "share"
        )
    shown = table.assign(task=table["task"].map(cast.label))
    return Result(
        values=values,
        tables={"variants": shown},
        figures={
            "fewer": Figure(_draw_fewer(table), *_fewer_words(values, ctx)),
            "flipped": Figure(_draw_flipped(table), *_flipped_words(values)),
        },
        notes={
            id: TOO_FEW
            for id, name in (("rl-7", "fewer_rho"), ("rl-8", "flipped_rho"))
            if values[name].value is None
        },
    )


def _table(
    ctx: Context,
    before: pd.DataFrame,
    after: pd.DataFrame,
    answers: dict[str, pd.DataFrame],
    done: dict[str, list[cast.Outcome]],
) -> pd.DataFrame:
    """A row for each task: accuracies ``before``, ``after`` (all items), ``fewer``, ``flipped``
    with intervals, ratios R and R_flip, and the doses."""
    rows = []
    for place, source in enumerate(cast.sources(ctx)):
        own_before = before[before["task"] == source]
        row: dict[str, object] = {
            "task": source, "kind": cast.kinds(ctx)[source],
            "before": float(own_before["correct"].mean()),
        }  # fmt: skip
        for name, table in {"after": after, **answers}.items():
            part = table[table["task"] == source]
            share = measures.accuracy(part, draws=1000, seed=ctx.seed)
            row |= {name: share.value, f"{name}_low": share.low, f"{name}_high": share.high}
            if name != "fewer":
                how = measures.forget_ratio if name == "after" else measures.flipped_ratio
                ratio = how(own_before, part, draws=1000, seed=ctx.seed)
                row |= {f"{name}_ratio": ratio.value}
                row |= {f"{name}_ratio_low": ratio.low, f"{name}_ratio_high": ratio.high}
        for name, found in done.items():
            row |= {f"{name}_agreement": found[place].tuned.agreement}
            row |= {f"{name}_steps": found[place].tuned.steps}
        rows.append(row)
    return pd.DataFrame(rows)


# --- figures ------------------------------------------------------------------------------------


def _draw_fewer(table: pd.DataFrame) -> Any:
    rows = table.sort_values("after", ascending=False, kind="stable").reset_index(drop=True)
    figure, axes = plots.figure(6.6, 1.6 + 0.26 * len(rows))
    heights = np.arange(len(rows))
    axes.plot(
        rows["before"], heights, "s", color="#009E73", ms=6, label="tuned",
        markeredgecolor="white", markeredgewidth=0.5,
    )  # fmt: skip
    for shift, (name, (colour, marker, words)) in zip((0.14, -0.14), MARKS.items(), strict=True):
        at = heights + shift
        axes.hlines(at, rows[f"{name}_low"], rows[f"{name}_high"], color=colour, lw=1.4, alpha=0.8)
        axes.plot(
            rows[name], at, marker, color=colour, ms=6, label=f"random labels on {words}",
            markeredgecolor="white", markeredgewidth=0.5,
        )  # fmt: skip
    axes.axvline(0.5, color=plots.INK, lw=0.8, ls="--")
    axes.set_yticks(heights, [cast.label(task) for task in rows["task"]])
    axes.set(xlabel="accuracy on held-out items", ylim=(len(rows) - 0.4, -0.6))
    plots.legend_below(figure, axes)
    return figure


def _said(value: Value) -> str:
    return "not measured" if value.value is None else f"{value.value:.2f}"


def _fewer_words(values: dict[str, Value], ctx: Context) -> tuple[str, str]:
    told = (
        f"with all items tasks end at {_said(values['mean_after'])} in the mean, with at most "
        f"{ctx.parameters.fewer_items} at {_said(values['mean_fewer'])}; rank correlation over "
        f"tasks {_said(values['fewer_rho'])}"
    )
    caption = (
        f"Random labels on all items and on the first few: {told}. One draw of the labels; bars "
        "are 95 % intervals over held-out items; dashed: guessing."
    )
    return caption, f"A row for each task with three accuracies: {told}."


def _draw_flipped(table: pd.DataFrame) -> Any:
    figure, axes = plots.figure(5.8, 4.2)
    for kind, (colour, marker) in KINDS.items():
        part = table[(table["kind"] == kind) & table["after_ratio"].notna()]
        x, y = part["after_ratio"], part["flipped_ratio"]
        ends = {
            name: part[[f"{name}_ratio_low", f"{name}_ratio_high"]].clip(-0.5, 2).to_numpy()
            for name in ("after", "flipped")
        }
        axes.hlines(y, ends["after"][:, 0], ends["after"][:, 1], color=colour, lw=1, alpha=0.35)
        axes.vlines(x, ends["flipped"][:, 0], ends["flipped"][:, 1], color=colour, lw=1, alpha=0.35)
        axes.plot(
            x, y, marker, color=colour, ms=6.5, label=f"{kind} answers",
            markeredgecolor="white", markeredgewidth=0.5,
        )  # fmt: skip
    axes.axhline(0.5, color=plots.INK, lw=0.8, ls="--")
    axes.axhline(1.0, color=plots.INK, lw=0.8, ls=":")
    axes.axvline(1.0, color=plots.INK, lw=0.8, ls="--")
    axes.set(xlabel="forget ratio, random labels", ylabel="flipped forget ratio, flipped labels")
    plots.legend_below(figure, axes)
    return figure


def _flipped_words(values: dict[str, Value]) -> tuple[str, str]:
    told = (
        f"after flipped labels tasks are right in {_said(values['mean_flipped'])} of their "
        f"held-out items in the mean, after random ones in {_said(values['mean_after'])}; rank "
        f"correlation over tasks {_said(values['flipped_rho'])}"
    )
    caption = (
        f"Labels that are all wrong against labels that are coins, a point a task: {told}. Dashed: "
        "guessing; dotted: every right answer has become wrong. Bars are 95 % intervals over "
        "held-out items, cut at the panel's edge."
    )
    return caption, f"Points in a plane with intervals in both directions: {told}."


STUDIES = (variants,)
