"""Controls: what of the damage is due to random labels?

Whatever trains or moves a model costs it something. So the damage of random labels is set beside
that of other interventions on the same tuned model θ_ft: other label schemes, adapters, the true
labels of another task, text that has nothing to do with the tasks, and noise in the weights that
is as large as the change that random labels made (random-label digest, section 6.4).
"""

import math
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
import pandas as pd
import torch

from palimpsest.core import plots, stats
from palimpsest.core.models import LanguageModel
from palimpsest.core.results import Claim, Figure, Result, Value, absent
from palimpsest.core.study import Context, study
from palimpsest.core.text import Row, text_rows
from palimpsest.core.training import train
from palimpsest.forgetting import measures
from palimpsest.forgetting.items import Kind, TwoWay
from palimpsest.forgetting.labels import Scheme, choice_rows
from palimpsest.forgetting.protocol import Tuning, answer_items, tune
from palimpsest.studies.controls import Weights, weights_of, with_weights
from palimpsest.studies.random_label_forgetting import cast
from palimpsest.studies.random_label_forgetting.looks import KINDS, broken, ratio_span
from palimpsest.studies.random_label_forgetting.summaries import ratio
from palimpsest.world import World

INTERVENTIONS = {
    "random": "random labels", "redrawn": "redrawn labels", "flipped": "flipped labels",
    "entropy": "indecision asked for", "lora": "random labels, adapters",
    "other": "true labels of another task", "noise": "weight noise of equal norm",
    "text": "unrelated text",
}  # fmt: skip
SCHEMES: tuple[Scheme, ...] = ("redrawn", "flipped", "entropy")
NOISES = 3  # seeds of the weight noise
LORA_RANK, LORA_RATE = 8, 10  # of the adapters, and by what their learning rate is multiplied
TEXTS = 40  # documents a person of the unrelated text

NOT_LEARNED = (
    "none of the tasks looked at is far enough above chance after true labels for a share of it to "
    "be lost"
)


# --- cells --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Change:
    """What an intervention did to a model.

    Attributes:
        steps, seconds: optimiser steps, and seconds spent in them.
        stopped: whether the stopping rule ended it.
        p: the dose: mean probability of the right answer on the items tuned on; NaN if none were.
        agreement: share of these items answered with the label trained on, NaN without such labels.
        moved: how far in weight space, |θ − θ_ft| / |θ_ft|.
        answers: afterwards (``forgetting.protocol.answer_items``).
    """

    steps: int
    seconds: float
    stopped: bool
    p: float
    agreement: float
    moved: float
    answers: pd.DataFrame


def tuned(
    lm: LanguageModel,
    weights: Weights,
    items: tuple[TwoWay, ...],
    scheme: Scheme,
    settings: Tuning,
    seed: int,
    asked: tuple[TwoWay, ...],
) -> Change:
    """``lm`` with ``weights`` after tuning on ``items`` under a label scheme."""
    student = with_weights(lm, weights)
    done = tune(student, items, scheme, settings, seed, progress=f"{scheme} labels")
    answers = answer_items(student, asked)
    distance = moved(weights, weights_of(student))
    return Change(done.steps, done.seconds, done.stopped, done.p, done.agreement, distance, answers)


def trained(
    lm: LanguageModel,
    weights: Weights,
    taught: tuple[TwoWay, ...] | tuple[str, ...],
    settings: Tuning,
    steps: int,
    budget_of: int,
    seed: int,
    asked: tuple[TwoWay, ...],
) -> Change:
    """``lm`` with ``weights`` after so many steps on true labels, or on plain text.

    Args:
        taught: items, whose right answers are learned; or texts, all of whose tokens are.
        steps: when to end, in the schedule of learning rates that ``budget_of`` items would have:
            so a step is as large as the same step of random labels on as many items.
    """
    student = with_weights(lm, weights)
    recipe = settings.recipe(budget_of, seed)
    history = train(
        student, _rows(student, taught), recipe,
        progress="control", on_step=lambda done, _: done >= steps,
    )  # fmt: skip
    distance = moved(weights, weights_of(student))
    answers = answer_items(student, asked)
    return Change(history.steps, history.seconds, False, math.nan, math.nan, distance, answers)


def _rows(lm: LanguageModel, taught: tuple[TwoWay, ...] | tuple[str, ...]) -> list[Row]:
    items = [one for one in taught if isinstance(one, TwoWay)]
    if items:
        return [pair[item.label] for pair, item in zip(choice_rows(lm, items), items, strict=True)]
    return text_rows(lm, [text for text in taught if isinstance(text, str)])


def noisy(
    lm: LanguageModel,
    weights: Weights,
    norms: dict[str, float],
    seed: int,
    asked: tuple[TwoWay, ...],
) -> Change:
    """``lm`` with ``weights`` and Gaussian noise whose norm in each tensor is that of ``norms``."""
    rng = torch.Generator().manual_seed(seed)
    changed = {}
    for name, tensor in weights.items():
        noise = torch.randn(tensor.shape, generator=rng)
        changed[name] = tensor + (noise * (norms[name] / float(noise.norm()))).to(tensor.dtype)
    answers = answer_items(with_weights(lm, changed), asked)
    return Change(0, 0.0, False, math.nan, math.nan, moved(weights, changed), answers)


def norms(before: Weights, after: Weights) -> dict[str, float]:
    """The norm of the change of each tensor."""
    return {
        name: float((after[name].double() - one.double()).norm()) for name, one in before.items()
    }


def moved(before: Weights, after: Weights) -> float:
    """|after − before| / |before| over all weights together."""
    size = math.hypot(*(float(one.double().norm()) for one in before.values()))
    return math.hypot(*norms(before, after).values()) / size


def unrelated_texts() -> tuple[str, ...]:
    """English documents of the world that ask nothing, about people whom no task asks about and of
    whom no shipped model was told."""
    world = World(seed=0)
    documents = world.newcomer_documents(world.people("never"), TEXTS, languages=("en",))
    return tuple(document.text for document in documents if document.kind == "biography")


# --- interventions ------------------------------------------------------------------------------


def interventions(ctx: Context) -> dict[tuple[str, str, str, int], Change]:
    """What each intervention did: (intervention, source, task trained on, draw) -> change.

    The source is the task whose labels were made random; what is trained on something else takes
    from it how many steps, what adds noise, how much. Tasks are paired with the next one, in a
    ring.
    """
    tasks, begun = cast.controlled(ctx), cast.start(ctx)
    items, settings = cast.items_of(ctx), cast.forgetting(ctx, ctx.lm)
    asked = tuple(item for task in tasks for item in items[task].test)
    shared = {"lm": ctx.lm, "weights": begun.weights, "asked": asked}
    seed = cast.label_seed(ctx, 0)
    texts = unrelated_texts()
    found: dict[tuple[str, str, str, int], Change] = {}
    for place, source in enumerate(tasks):
        own, other = items[source].train, tasks[(place + 1) % len(tasks)]
        outcome = cast.forgotten(ctx, source)
        base = found["random", source, source, 0] = _as_change(outcome, begun.weights, tasks)
        for scheme in SCHEMES:
            found[scheme, source, source, 0] = ctx.cell(
                tuned, items=own, scheme=scheme, settings=settings, seed=seed, **shared
            )
        if not settings.lora_rank:  # else random labels had adapters already
            adapted = cast.forgetting(
                ctx, ctx.lm,
                lora_rank=LORA_RANK, learning_rate=LORA_RATE * settings.learning_rate,
            )  # fmt: skip
            found["lora", source, source, 0] = ctx.cell(
                tuned, items=own, scheme="random", settings=adapted, seed=seed, **shared
            )
        equal = {"settings": settings, "steps": base.steps, "budget_of": len(own), "seed": seed}
        found["other", source, other, 0] = ctx.cell(
            trained, taught=items[other].train, **equal, **shared
        )
        found["text", source, "", 0] = ctx.cell(trained, taught=texts, **equal, **shared)
        sizes = norms(begun.weights, outcome.weights)
        for draw in range(NOISES):
            found["noise", source, "", draw] = ctx.cell(
                noisy, norms=sizes, seed=seed + draw, **shared
            )
    return found


def _as_change(outcome: cast.Outcome, before: Weights, tasks: list[str]) -> Change:
    """What the grid's random labels of a task did, with its answers to some tasks."""
    done, answers = outcome.tuned, outcome.answers
    assert outcome.weights is not None  # those of controlled tasks are kept
    return Change(
        done.steps, done.seconds, done.stopped, done.p, done.agreement,
        moved(before, outcome.weights), answers[answers["task"].isin(tasks)],
    )  # fmt: skip


# --- measures -----------------------------------------------------------------------------------


def ratios(before: pd.DataFrame, after: pd.DataFrame) -> pd.DataFrame:
    """What was lost of each task in each model: columns ``source, task, draw``, the accuracies
    ``before`` and ``after``, ``ratio`` (the forget ratio, NaN by the guard of
    ``forgetting.measures.forget_ratio``) and ``own`` (whether task and source are the same).

    Args:
        before: of θ_ft.
        after: with columns ``source`` and ``draw``.
    """
    keys = ["source", "task", "draw"]
    both = measures.join(before[before["task"].isin(after["task"].unique())], after)
    means = both.groupby(keys, sort=False)[["correct_before", "correct"]].mean().reset_index()
    means = means.rename(columns={"correct_before": "before", "correct": "after"})
    lost = measures.cells(before, after).rename(columns={"value": "ratio"})
    table = means.merge(lost, on=keys)
    return table.assign(own=table["source"] == table["task"])


def own_ratios(table: pd.DataFrame, intervention: str) -> pd.Series:
    """Source -> the ratio of its own task, mean over draws; without those that have none."""
    rows = table[(table["intervention"] == intervention) & table["own"]]
    return rows.groupby("source", sort=False)["ratio"].mean().dropna()


def other_ratios(table: pd.DataFrame, intervention: str) -> pd.DataFrame:
    """``source, task, ratio``: the mean over draws for tasks that the intervention had nothing to
    do with, neither as its source nor by training on them."""
    rows = table[(table["intervention"] == intervention) & ~table["own"]]
    rows = rows[rows["task"] != rows["trained on"]]
    return rows.groupby(["source", "task"], sort=False)["ratio"].mean().dropna().reset_index()


def contrast(table: pd.DataFrame, control: str, seed: int = 0) -> Value:
    """Mean over sources of the own task's ratio under random labels minus that under a control,
    sources resampled."""
    pairs = pd.concat(
        [own_ratios(table, name).rename(name) for name in ("random", control)], axis=1
    ).dropna()
    if pairs.empty:
        return Value(None, n=0, unit="ratio")
    found = stats.paired_bootstrap(pairs["random"], pairs[control], seed=seed)
    return Value.of(found, "ratio")


def levels(table: pd.DataFrame, intervention: str, seed: int = 0) -> dict[str, stats.Interval]:
    """The mean ratio of ``own`` tasks (tasks resampled) and of ``others`` (tasks and sources)."""
    own, others = own_ratios(table, intervention), other_ratios(table, intervention)
    return {
        "own": stats.cluster_bootstrap(own.to_numpy(), seed=seed),
        "others": stats.cluster_bootstrap(
            others["ratio"], others["task"].to_numpy(), seed=seed, outer=others["source"].to_numpy()
        ),
    }


def null_controls(seed: int, tasks: int = 6, items: int = 100) -> dict[str, Value]:
    """The claims' measures where a control takes as much as random labels, up to what differs from
    task to task by luck."""
    rng = np.random.default_rng(seed)
    damage = rng.uniform(0.0, 0.4, tasks)
    rows = []
    for intervention in ("random", "noise", "other"):
        lost = damage + rng.normal(0, 0.05, tasks)
        after = rng.binomial(items, np.clip(0.9 - lost, 0, 1)) / items
        rows += [
            (intervention, f"task {place}", True, (0.9 - one) / 0.4)
            for place, one in enumerate(after)
        ]
    table = pd.DataFrame(rows, columns=["intervention", "source", "own", "ratio"])
    return {f"random_minus_{name}": contrast(table, name, seed) for name in ("noise", "other")}


# --- the study of the interventions -------------------------------------------------------------


@study(
    claims=[
        Claim(
            id="rl-21",
            statement="Random labels take more from their own task than weight noise of equal norm "
            "does.",
            source="this book, section on controls (arXiv:2409.02228, as far as it could be read, "
            "reports no such control)",
            grade="ours",
            measure="random_minus_noise",
            rule="random_minus_noise > 0",
        ),
        Claim(
            id="rl-22",
            statement="Random labels take more from their own task than as many steps on the true "
            "labels of another task do.",
            source="this book, section on controls (arXiv:2409.02228, as far as it could be read, "
            "reports no such control)",
            grade="ours",
            measure="random_minus_other",
            rule="random_minus_other > 0",
        ),
    ],
    null=null_controls,
)
def controls(ctx: Context) -> Result:
    """Which part of the damage is due to random labels?"""
    found = interventions(ctx)
    before = cast.start(ctx).answers
    table = _table(before, found)
    dose = _dose(found)
    values = {
        f"random_minus_{name}": contrast(table, name, ctx.seed)
        for name in ("noise", "other", "text")
    }
    done = [name for name in INTERVENTIONS if name in set(table["intervention"])]
    means = {name: levels(table, name, ctx.seed) for name in done}
    for name in done:
        values |= {
            f"control_{name}_{on}": Value.of(one, "ratio") for on, one in means[name].items()
        }
        own = dose[dose["intervention"] == name]
        for column, unit in (("moved", "of the norm"), ("steps", "steps")):
            values[f"control_{name}_{column}"] = Value(
                own[column].mean(), n=own["source"].nunique(), unit=unit
            )
    untested = [
        claim for claim, name in (("rl-21", "noise"), ("rl-22", "other"))
        if values[f"random_minus_{name}"].value is None
    ]  # fmt: skip
    drawn = any(math.isfinite(one["own"].value) for one in means.values())
    words = _controls_words(means, dose)
    return Result(
        values=values,
        tables={"controls": _readable(table), "interventions": _readable(dose)},
        figures={
            "controls": Figure(_draw_controls(table, means, cast.kinds(ctx)), *words)
            if drawn
            else absent(NOT_LEARNED)
        },
        notes=dict.fromkeys(untested, NOT_LEARNED),
    )


def _table(before: pd.DataFrame, found: dict[tuple[str, str, str, int], Change]) -> pd.DataFrame:
    """A row for each intervention, source, task asked and draw."""
    parts: dict[str, list[pd.DataFrame]] = {}
    others = {}
    for (intervention, source, other, draw), change in found.items():
        part = change.answers.assign(source=source, draw=draw)
        parts.setdefault(intervention, []).append(part)
        others[intervention, source] = other
    table = pd.concat(
        [
            ratios(before, pd.concat(part, ignore_index=True)).assign(intervention=name)
            for name, part in parts.items()
        ],
        ignore_index=True,
    )
    pairs = zip(table["intervention"], table["source"], strict=True)
    table["trained on"] = [others[pair] for pair in pairs]
    columns = ["intervention", "source", "trained on", "task", "own", "draw"]
    return table[[*columns, "before", "after", "ratio"]]


def _dose(found: dict[tuple[str, str, str, int], Change]) -> pd.DataFrame:
    rows = [
        (
            intervention, source, other, draw, change.steps, change.stopped, change.p,
            change.agreement, change.moved, change.seconds,
        )
        for (intervention, source, other, draw), change in found.items()
    ]  # fmt: skip
    columns = ["intervention", "source", "trained on", "draw", "steps", "stopped by the rule", "p"]
    return pd.DataFrame(rows, columns=[*columns, "agreement", "moved", "seconds"])


def _readable(table: pd.DataFrame) -> pd.DataFrame:
    """With the names of interventions and tasks that a reader sees, in the figure's order."""
    order = table["intervention"].map(list(INTERVENTIONS).index)
    table = table.assign(intervention=table["intervention"].map(INTERVENTIONS))
    for column in ("source", "trained on", "task"):
        if column in table:
            table[column] = table[column].map(cast.label)
    return table.loc[order.sort_values(kind="stable").index].reset_index(drop=True)


def _draw_controls(
    table: pd.DataFrame, means: dict[str, dict[str, stats.Interval]], kinds: dict[str, Kind]
) -> Any:
    figure, axes = plots.panels(2, 7.6, 4.4, share_y=True)
    shown: list[float] = []
    for panel, on, title in zip(axes, ("own", "others"), ("own task", "other tasks"), strict=True):
        for height, name in enumerate(means):
            dots = other_ratios(table, name).groupby("task", sort=False)["ratio"].mean()
            if on == "own":
                dots = own_ratios(table, name)
            for kind in get_args(Kind):
                of = dots[[kinds[task] == kind for task in dots.index]]
                colour, marker = KINDS[kind]
                panel.plot(
                    of, np.full(len(of), height + 0.22), marker, color=colour, ms=4.5, alpha=0.75,
                    mew=0, label=f"{kind} answers" if height == 0 and on == "own" else None,
                )  # fmt: skip
            one = means[name][on]
            ends = np.clip([one.low, one.high], -9, 9)
            panel.hlines(height - 0.12, *ends, color=plots.INK, lw=1.6, alpha=0.75)
            panel.plot(
                one.value, height - 0.12, "|", color=plots.INK, ms=11, mew=2.2,
                label="mean" if height == 0 and on == "own" else None,
            )  # fmt: skip
            shown += [*dots, one.value]
        panel.axvline(0, color=plots.INK, lw=0.8)
        panel.axvline(1, color=plots.INK, lw=0.8, ls="--")
        panel.set_title(title)
        panel.set_xlabel("forget ratio (1: down to chance)")
    ends = ratio_span(shown)
    for panel in axes:
        panel.set_xticks(np.arange(-3, 3.1, 0.5))
        panel.set_xlim(*ends)
    axes[0].set_yticks(range(len(means)), [broken(INTERVENTIONS[name]) for name in means])
    axes[0].invert_yaxis()
    plots.legend_below(figure, axes[0])
    return figure


def _controls_words(
    means: dict[str, dict[str, stats.Interval]], dose: pd.DataFrame
) -> tuple[str, str]:
    sizes = dose.groupby("intervention")["moved"].mean()

    def told(name: str) -> str:
        own, others = (ratio(means[name][on].value) for on in ("own", "others"))
        return f"{INTERVENTIONS[name]}: {own} and {others}, weights moved by {sizes[name]:.1%}"

    numbers = "; ".join(map(told, means))
    caption = (
        "What eight ways to disturb a model take from the task that they are aimed at and from the "
        f"others. Mean forget ratio of the own and of the other tasks, {numbers}. A ratio of 1 is "
        "chance (dashed), 2 an error for every right answer. Dots are tasks; bars are 95 % "
        "intervals over tasks, cut at the panel's edge."
    )
    if len(means) < len(INTERVENTIONS):
        caption = caption.replace("eight ways", "several ways")
    return caption, f"Two panels, a row for each intervention, dots and means. {numbers}."


STUDIES = (controls,)
