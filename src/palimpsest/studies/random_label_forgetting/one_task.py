"""One task: what happens to it while its labels become coins, on seen and on unseen items?

The demonstration at the chapter's start. Of each kind of task one is tuned on frozen random labels,
and on the way it answers items that it is tuned on and items that it never sees.
"""

import math
from collections.abc import Sequence
from typing import Any, get_args

import pandas as pd

from palimpsest.core import plots, stats
from palimpsest.core.results import Figure, Result, Value
from palimpsest.core.study import Context, study
from palimpsest.forgetting.items import Kind, TaskItems, TwoWay
from palimpsest.forgetting.labels import random_labels
from palimpsest.forgetting.measures import forget_ratio
from palimpsest.forgetting.protocol import WATCHED
from palimpsest.studies.random_label_forgetting import cast
from palimpsest.studies.random_label_forgetting.looks import KINDS

LOOKS = 12  # at the items, along the way
EXAMPLES = 3
LINES = {
    "unseen": "right, unseen items",
    "trained": "right, items tuned on",
    "agreement": "as the coins say, items tuned on",
}
STYLES = {"unseen": "-", "trained": "--", "agreement": "-."}
OF_COINS = ("#CC79A7", "v")


@study()
def one_task(ctx: Context) -> Result:
    """What happens to one task when its labels become coins?"""
    chosen = first_of_kinds(cast.items_of(ctx))
    values: dict[str, Value] = {}
    parts, examples = [], []
    for kind, task in chosen.items():
        looks, watched = _looks(ctx, task)
        coins = coins_of(watched, cast.label_seed(ctx, 0))
        curve = shares(looks, coins)
        parts.append(curve.assign(task=cast.label(task)))
        examples.append(_examples(looks, watched, coins).assign(task=cast.label(task)))
        values |= _values(curve, kind)
        values[f"unseen_ratio_{kind}"] = _ratio(looks, coins, ctx.seed)
    table = pd.concat(parts, ignore_index=True)
    return Result(
        values=values,
        tables={
            "one_task": table[["task", "step", "what", "value", "low", "high"]],
            "examples": pd.concat(examples, ignore_index=True).pipe(_task_first),
        },
        figures={"one_task": Figure(_draw(table, chosen), *_words(values, chosen))},
    )


def first_of_kinds(items: dict[str, TaskItems]) -> dict[Kind, str]:
    """The first task of each kind that there is: kind -> task."""
    found = {}
    for kind in get_args(Kind):
        of_kind = [task for task, one in items.items() if one.kind == kind]
        if of_kind:
            found[kind] = of_kind[0]
    return found


def _looks(ctx: Context, task: str) -> tuple[pd.DataFrame, tuple[TwoWay, ...]]:
    """Answers along the way to test items and to some of the items tuned on, and the latter.

    The grid's training of the same task, with the same coins, says how many steps there will be.
    """
    items, begun = cast.items_of(ctx)[task], cast.start(ctx)
    steps = cast.forgotten(ctx, task).tuned.steps
    watched = items.train[:WATCHED]
    outcome = ctx.cell(
        cast.tuned_on, lm=ctx.lm, weights=begun.weights, items=items.train, scheme="random",
        settings=cast.forgetting(ctx, ctx.lm), seed=cast.label_seed(ctx, 0), asked=items.test,
        keep=False, watched=(*items.test, *watched), every=math.ceil(steps / LOOKS),
    )  # fmt: skip
    return outcome.tuned.curves, watched


# --- measures -----------------------------------------------------------------------------------


def coins_of(items: Sequence[TwoWay], seed: int) -> pd.Series:
    """Item -> the label that its coin gave it."""
    return pd.Series(random_labels(items, seed), index=[item.id for item in items])


def shares(looks: pd.DataFrame, coins: pd.Series) -> pd.DataFrame:
    """By step, three shares with Wilson's 95 % limits.

    Args:
        looks: columns of ``forgetting.protocol.answer_items`` and ``step``.
        coins: label by item, for the items tuned on; all others are unseen.

    Returns:
        Columns ``step``; ``what``, a key of :data:`LINES`; ``value``, ``low``, ``high``; ``n``.
    """
    tuned_on = looks["item"].isin(coins.index)
    seen, unseen = looks[tuned_on], looks[~tuned_on]
    as_coin = seen["correct"] == (seen["label"] == seen["item"].map(coins))
    outcomes = {
        "unseen": (unseen["step"], unseen["correct"]),
        "trained": (seen["step"], seen["correct"]),
        "agreement": (seen["step"], as_coin),
    }
    rows = []
    for what, (steps, yes) in outcomes.items():
        for step in sorted(steps.unique()):
            part = yes[(steps == step).to_numpy()]
            one = stats.wilson(int(part.sum()), len(part))
            rows.append((step, what, one.value, one.low, one.high, one.n))
    return pd.DataFrame(rows, columns=["step", "what", "value", "low", "high", "n"])


def _values(curve: pd.DataFrame, kind: Kind) -> dict[str, Value]:
    """The ends of each line, and the steps."""
    values = {f"one_task_steps_{kind}": Value(float(curve["step"].max()), n=1, unit="steps")}
    for what, line in curve.groupby("what"):
        ordered = line.sort_values("step")
        for when, place in (("before", 0), ("after", -1)):
            row = ordered.iloc[place]
            interval = stats.Interval(row["value"], row["low"], row["high"], row["n"])
            values[f"{what}_{when}_{kind}"] = Value.of(interval, "share")
    return values


def _ratio(looks: pd.DataFrame, coins: pd.Series, seed: int) -> Value:
    """The forget ratio on unseen items."""
    unseen = looks[~looks["item"].isin(coins.index)]
    first, last = (unseen[unseen["step"] == end] for end in _ends(unseen))
    return Value.of(forget_ratio(first, last, seed=seed), "ratio")


def _ends(looks: pd.DataFrame) -> tuple[int, int]:
    return int(looks["step"].min()), int(looks["step"].max())


def _examples(looks: pd.DataFrame, watched: Sequence[TwoWay], coins: pd.Series) -> pd.DataFrame:
    """Some items tuned on, with what the model made of them; a wrong coin comes first."""
    p = looks.pivot_table(index="item", columns="step", values="p")
    first, last = _ends(looks)
    wrong = [item for item in watched if coins[item.id] != item.label]
    right = [item for item in watched if coins[item.id] == item.label]
    shown = (wrong[: EXAMPLES - 1] + right + wrong[EXAMPLES - 1 :])[:EXAMPLES]
    rows = []
    for item in shown:
        context, answers = _spelled(item)
        rows.append(
            {
                "question": context,
                "first answer": answers[0],
                "second answer": answers[1],
                "right answer": answers[item.label],
                "the coin's answer": answers[coins[item.id]],
                "p(right) before": round(float(p.loc[item.id, first]), 3),
                "p(right) after": round(float(p.loc[item.id, last]), 3),
            }
        )
    return pd.DataFrame(rows)


def _spelled(item: TwoWay) -> tuple[str, tuple[str, str]]:
    """The context and both answers; where the contexts differ, they are the answers."""
    (one, first), (other, second) = item.pairs
    if one == other:
        return one, (first.strip(), second.strip())
    return "", ((one + first).strip(), (other + second).strip())


def _task_first(table: pd.DataFrame) -> pd.DataFrame:
    return table[["task", *(name for name in table if name != "task")]]


# --- the figure ---------------------------------------------------------------------------------


def _draw(table: pd.DataFrame, chosen: dict[Kind, str]) -> Any:
    width = 7.6 if len(chosen) > 1 else 5.0
    figure, axes = plots.panels(len(chosen), width, 3.7, share_y=True)
    for panel, (kind, task) in zip(axes, chosen.items(), strict=True):
        for what, words in LINES.items():
            own = table[(table["task"] == cast.label(task)) & (table["what"] == what)]
            colour, marker = OF_COINS if what == "agreement" else KINDS[kind]
            panel.fill_between(
                own["step"], own["low"], own["high"], color=colour, alpha=0.15, lw=0, zorder=2
            )
            panel.plot(
                own["step"], own["value"], STYLES[what], marker=marker, color=colour, ms=5, lw=1.6,
                mfc="white" if what == "trained" else colour, label=words, zorder=3,
            )  # fmt: skip
        panel.axhline(0.5, color=plots.INK, lw=0.8, ls="--")
        panel.set(ylim=(-0.02, 1.02), xlabel="steps on random labels")
        panel.set_title(f"{cast.label(task)} ({kind} answers)")
    axes[0].set_ylabel("share of items")
    plots.legend_below(figure, axes[0])
    # The first two lines have each task's colour and marker; their style tells them apart.
    for handle in figure.legends[0].legend_handles[:2]:
        handle.set(color=plots.INK, marker="")
    return figure


def _words(values: dict[str, Value], chosen: dict[Kind, str]) -> tuple[str, str]:
    def told(kind: Kind, task: str) -> str:
        def both(what: str) -> str:
            ends = (values[f"{what}_{when}_{kind}"].value for when in ("before", "after"))
            return " to ".join(f"{end:.2f}" for end in ends)

        steps = values[f"one_task_steps_{kind}"].value
        return (
            f"{cast.label(task)}, in {steps:.0f} steps: unseen items {both('unseen')}, items tuned "
            f"on {both('trained')}, agreement with the coins {both('agreement')}"
        )

    numbers = "; ".join(told(kind, task) for kind, task in chosen.items())
    caption = (
        "Tuning on coins, and two questions: are the coins learned, and do unseen items follow? "
        f"{numbers}. Bands are 95 % intervals (Wilson) over items; dashed, chance."
    )
    count = "Two panels" if len(chosen) > 1 else "A panel"
    return caption, f"{count} with three lines by training step, with bands. {numbers}."


STUDIES = (one_task,)
