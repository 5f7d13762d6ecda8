"""Which items of a task are forgotten, and what could have told?

First the *order*: is what is learned early forgotten late (random-label digest, section 3, no. 9)?
Then the *fates*: three predictions for each held-out item, made from the tuned model before a step
of forgetting. Its own confidence; the coins of the nearest training items; and the first step of
forgetting, to first order (section 6.3).

The run of forgetting is the grid's own, stopping rule included, for its fates are to be told. The
run of learning has no rule: it spends a fixed budget on the one task's true labels.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from palimpsest.core import plots
from palimpsest.core.errors import ModelError
from palimpsest.core.metrics import distance_from_chance
from palimpsest.core.models import LanguageModel
from palimpsest.core.results import Claim, Figure, Result, Value, absent
from palimpsest.core.stats import Interval
from palimpsest.core.study import Context, study
from palimpsest.forgetting import measures, order
from palimpsest.forgetting.items import Kind, TaskItems, TwoWay
from palimpsest.forgetting.labels import random_labels
from palimpsest.forgetting.predictors import paper_depth
from palimpsest.forgetting.probes import hidden_states
from palimpsest.forgetting.protocol import WATCHED
from palimpsest.studies.controls import Weights, with_weights
from palimpsest.studies.random_label_forgetting import cast
from palimpsest.studies.random_label_forgetting.looks import KINDS
from palimpsest.studies.random_label_forgetting.one_task import LOOKS

LEARNING_EPOCHS = 8  # passes over one task's true labels; the forgetting's, if those are fewer
NEIGHBOURS = 10
FEWEST = 5  # items on either side, from which an AUC of kept against forgotten is taken

PREDICTORS = {"confidence": "confidence", "neighbours": "neighbours", "kernel": "kernel"}
GIVEN = "margin change, given the margin before"
# What compare_orders calls its measures -> (value, a panel's title).
ORDERS = {
    "area given the start": ("order_rho", "area,\ngiven the start"),
    "area": ("order_rho_area", "area"),
    "crossing": ("order_rho_crossing", "crossing 0.6\n(paper)"),
    "crossing, all items": ("order_rho_crossing_all", "crossing 0.6,\nall items"),
}
# Predictor, measure, a panel's title, the axis, where nothing is told.
PANELS = (
    ("confidence", "kept or forgotten", "confidence", "AUC, kept\nagainst forgotten", 0.5),
    ("neighbours", "margin change", "neighbours", "rho with the\nmargin's change", 0.0),
    ("kernel", "margin change", "kernel", "rho with the\nmargin's change", 0.0),
    ("kernel", GIVEN, "kernel, given\nthe margin before", "rho with the\nmargin's change", 0.0),
)

NO_ORDER = "no task has enough items whose learning and forgetting can be followed"
NO_FATES = f"no task has {FEWEST} items that were kept and {FEWEST} that were forgotten"
NO_KERNEL = "no task has items enough whose margins moved"


# --- cells --------------------------------------------------------------------------------------


def neighbours_say(
    lm: LanguageModel,
    weights: Weights,
    train: tuple[TwoWay, ...],
    test: tuple[TwoWay, ...],
    seed: int,
) -> np.ndarray:
    """[N'] what the coins of the training items nearest to each test item predict of it; large
    means kept. Hidden states are those of the question's last token at the paper's depth.

    Args:
        seed: of the coins.
    """
    model = with_weights(lm, weights)
    # What follows is not read at the question's last token; a pair needs some text there.
    found = [
        hidden_states(model, [(item.pairs[0][0], " .") for item in items], "question")
        for items in (train, test)
    ]
    one, other = (states[paper_depth(len(states) - 1)] for states in found)
    coins = random_labels(train, seed)
    k = min(NEIGHBOURS, len(train))
    if train[0].kind == "shared":
        # The words mean the same in all items, so neighbours speak for a word.
        own = 2 * np.array([item.label for item in test]) - 1
        return order.nearest_neighbours(one, 2 * coins - 1, other, k) * own
    right = coins == np.array([item.label for item in train])
    return order.nearest_neighbours(one, np.where(right, 1, -1), other, k)


def kernel_says(
    lm: LanguageModel,
    weights: Weights,
    train: tuple[TwoWay, ...],
    test: tuple[TwoWay, ...],
    seed: int,
) -> np.ndarray:
    """[N'] how fast the first step of forgetting moves each test item's margin, nats for each unit
    of the learning rate, under the loss that the protocol trains with.

    Args:
        seed: of the coins.
    """
    return order.kernel_prediction(
        with_weights(lm, weights),
        [item.pairs for item in train], random_labels(train, seed),
        [item.pairs for item in test], [item.label for item in test],
        loss="tokens", progress="kernel",
    )  # fmt: skip


# --- measures -----------------------------------------------------------------------------------


def mean_of(intervals: Sequence[Interval], weights: ArrayLike | None = None) -> Interval:
    """The weighted mean of the tasks' estimates; those that are NaN are left out.

    The interval adds the squared distances to the tasks' own ends (Zou and Donner, Statistics in
    Medicine 27, 2008). Items are what varies: it is about these tasks. ``n`` counts their items.
    """
    shares = np.ones(len(intervals)) if weights is None else np.asarray(weights, dtype=np.float64)
    pairs = [
        (one, share)
        for one, share in zip(intervals, shares, strict=True)
        if math.isfinite(one.value) and share > 0
    ]
    if not pairs:
        return Interval(math.nan, math.nan, math.nan, 0)
    part = np.array([share for _, share in pairs])
    part /= part.sum()
    values, lows, highs = (
        np.array([getattr(one, name) for one, _ in pairs]) for name in ("value", "low", "high")
    )
    mean = float(part @ values)
    down, up = (float(np.sqrt((part**2) @ (end - values) ** 2)) for end in (lows, highs))
    return Interval(mean, mean - down, mean + up, sum(one.n for one, _ in pairs))


def over_tasks(table: pd.DataFrame, measure: str, predictor: str | None = None) -> Interval:
    """:func:`mean_of` the lines of a measure in the tables of orders or fates."""
    wanted = (table["measure"] == measure).to_numpy()
    if predictor is not None:
        wanted = wanted & (table["predictor"] == predictor).to_numpy()
    rows = table[["value", "low", "high", "n"]].to_numpy(np.float64)[wanted]
    intervals = [Interval(value, low, high, int(n)) for value, low, high, n in rows.tolist()]
    weights = table["weight"].to_numpy()[wanted] if "weight" in table else None
    return mean_of(intervals, weights)


def judged(
    predictions: dict[str, np.ndarray], both: pd.DataFrame, seed: int, draws: int = 2000
) -> pd.DataFrame:
    """How good each prediction of the items' fates is, of one task.

    Args:
        predictions: predictor -> [N]; large means kept. ``confidence`` is added: p before.
        both: ``measures.join`` of the answers before and after.

    Returns:
        ``predictor``, the columns of ``order.judge`` and ``weight``, for means over tasks: 1, and
        for an AUC what it can tell, kept times forgotten by their sum (0 if either are fewer than
        :data:`FEWEST`). A third measure, :data:`GIVEN`, holds the margin before fixed: that margin
        is part of the change, so whatever goes with it goes with the change by its making.
    """
    was, still = (both[name].to_numpy(dtype=bool) for name in ("correct_before", "correct"))
    kept, lost = int((was & still).sum()), int((was & ~still).sum())
    telling = kept * lost / (kept + lost) if min(kept, lost) >= FEWEST else 0.0
    change = (both["margin"] - both["margin_before"]).to_numpy(np.float64)
    margin = both["margin_before"].to_numpy(np.float64)
    parts = []
    for name, values in {"confidence": both["p_before"].to_numpy(), **predictions}.items():
        table = order.judge(values, both, draws=draws, seed=seed)
        if name != "confidence":
            given = order.partial_rho(values, change, margin, draws, seed)
            table.loc[len(table)] = {"measure": GIVEN, **vars(given), "p": math.nan}
        weight = np.where(table["measure"] == "kept or forgotten", telling, 1.0)
        parts.append(table.assign(predictor=name, weight=weight))
    return pd.concat(parts, ignore_index=True)


def order_values(table: pd.DataFrame) -> dict[str, Value]:
    """The means over tasks of ``order.compare_orders``'s measures, with ``task``."""
    values = {}
    for measure, (name, _) in ORDERS.items():
        values[name] = Value.of(over_tasks(table, measure), "rho")
        known = table[(table["measure"] == measure) & table["value"].notna()]
        values[f"{name}_tasks"] = Value(len(known), n=len(known), unit="tasks")
    return values


def fate_values(table: pd.DataFrame) -> dict[str, Value]:
    """The means over tasks of :func:`judged`, with ``task``, and the claims' measures."""
    values = {}
    for name in PREDICTORS:
        area = over_tasks(table, "kept or forgotten", name)
        values[f"fate_{name}_auc"] = Value.of(area, "AUC")
        if name == "confidence":
            values["item_auc_distance"] = Value.of(distance_from_chance(area), "AUC")
        moved = over_tasks(table, "margin change", name)
        values[f"fate_{name}_rho"] = Value.of(moved, "rho")
        if name != "confidence":
            given = over_tasks(table, GIVEN, name)
            key = "kernel_rho" if name == "kernel" else f"fate_{name}_rho_given"
            values[key] = Value.of(given, "rho")
    return values


def null_items(seed: int, tasks: int = 1, items: int = 40) -> dict[str, Value]:
    """The claims' measures where items learned early are forgotten at any time, given where they
    start; where confidence decides what is kept; and where the kernel's numbers are noise and the
    margin before, which is a part of the margin's change."""
    rng = np.random.default_rng(seed)
    orders, fates = [], []
    for task in range(tasks):
        start = rng.normal(1.5, 1.0, items)
        curves = []
        for ends in ((start - 3, start), (start, start - 3)):  # of learning, of forgetting
            when = rng.normal(0, 1.0, items)
            path = np.linspace(ends[0], ends[1], 5) + np.outer([0, 1, 1, 1, 0], when)
            curves.append(_curves(1 / (1 + np.exp(-path))))
        compared = order.compare_orders(*curves, draws=100, seed=seed)
        orders.append(compared.assign(task=task))
        margin = rng.normal(1.5, 1.0, items)
        after = margin - 1.5 + rng.normal(0, 0.6, items)
        both = pd.DataFrame(
            {
                "margin_before": margin, "p_before": 1 / (1 + np.exp(-margin)), "margin": after,
                "correct_before": margin > 0, "correct": after > 0,
            }
        )  # fmt: skip
        noise = {"kernel": rng.normal(size=items) - margin}
        fates.append(judged(noise, both, seed, draws=100).assign(task=task))
    found = fate_values(pd.concat(fates, ignore_index=True))
    found |= order_values(pd.concat(orders, ignore_index=True))
    return {name: found[name] for name in ("order_rho", "item_auc_distance", "kernel_rho")}


def _curves(p: np.ndarray) -> pd.DataFrame:
    """[steps, items] as a table of curves."""
    steps, items = p.shape
    return pd.DataFrame(
        {
            "item": np.tile(np.arange(items), steps),
            "step": np.repeat(np.arange(steps), items),
            "p": p.ravel(),
        }
    )


# --- the study ----------------------------------------------------------------------------------


@study(
    claims=[
        Claim(
            id="rl-12",
            statement="Items learned early tend to be forgotten late: within tasks, areas under p "
            "in learning and in forgetting go together, given where forgetting starts.",
            source="arXiv:2409.02228, reported second-hand: weakly but consistently",
            grade="known",
            measure="order_rho",
            rule="order_rho > 0",
        ),
        Claim(
            id="rl-13",
            statement="Confidence does not tell which items are forgotten: among items right "
            "before, the AUC of p between the kept and the forgotten is within 0.1 of one half.",
            source="arXiv:2409.02228, reported second-hand: neither confidence nor variance tells",
            grade="known",
            measure="item_auc_distance",
            rule="item_auc_distance < 0.1",
        ),
        Claim(
            id="rl-14",
            statement="The first step of the tangent kernel tells how the items' margins move, "
            "beyond what their margins before tell: the partial rank correlation within tasks is "
            "above 0.1.",
            source="this book, section on items (arXiv:2409.02228 leaves the question open)",
            grade="ours",
            measure="kernel_rho",
            rule="kernel_rho > 0.1",
        ),
    ],
    null=null_items,
)
def items(ctx: Context) -> Result:
    """Which items are forgotten, and why?"""
    every = cast.items_of(ctx)
    orders, fates = [], []
    unreadable = False
    for task in cast.controlled(ctx):
        names = {"task": cast.label(task), "kind": every[task].kind}
        compared, learner = _order(ctx, task, every[task])
        orders.append(compared.assign(**names, learner=learner))
        found, readable = _predictions(ctx, every[task])
        unreadable |= not readable
        both = _before_and_after(ctx, task)
        told = ctx.cell(judged, predictions=found, both=both, seed=ctx.seed)
        fates.append(told.assign(**names))
    of_orders, of_fates = (pd.concat(one, ignore_index=True) for one in (orders, fates))
    values = order_values(of_orders) | fate_values(of_fates)
    notes = {
        id: reason
        for id, name, reason in (
            ("rl-12", "order_rho", NO_ORDER),
            ("rl-13", "item_auc_distance", NO_FATES),
            ("rl-14", "kernel_rho", NO_KERNEL),
        )
        if values[name].value is None
    }
    columns = ["measure", "value", "low", "high", "p", "n"]
    return Result(
        values=values,
        tables={
            "order": of_orders[["task", "kind", "learner", *columns]],
            "fates": of_fates[["task", "kind", "predictor", *columns]],
        },
        figures={
            "order": _order_figure(of_orders, values),
            "fates": _fates_figure(of_fates, values, unreadable),
        },
        notes=notes,
    )


def _order(ctx: Context, task: str, own: TaskItems) -> tuple[pd.DataFrame, str]:
    """``order.compare_orders`` of a task's test items, and the name of the model that learned."""
    learner = cast.earlier(ctx) or ctx.lm
    settings = cast.tuning(ctx, learner)
    settings = replace(settings, epochs=min(LEARNING_EPOCHS, ctx.parameters.epochs))
    seed = cast.label_seed(ctx, 0)
    steps = settings.recipe(len(own.train), seed).steps
    learned = ctx.cell(
        cast.tuned_on, lm=learner, weights=None, items=own.train, scheme="true", settings=settings,
        seed=seed, asked=own.test, keep=False, watched=own.test, every=math.ceil(steps / LOOKS),
    )  # fmt: skip
    # Watched as in the chapter's demonstration, whose cells these are for the tasks that it shows.
    spent = cast.forgotten(ctx, task).tuned.steps
    lost = ctx.cell(
        cast.tuned_on, lm=ctx.lm, weights=cast.start(ctx).weights, items=own.train,
        scheme="random", settings=cast.forgetting(ctx, ctx.lm), seed=seed, asked=own.test,
        keep=False, watched=(*own.test, *own.train[:WATCHED]), every=math.ceil(spent / LOOKS),
    )  # fmt: skip
    curves = lost.tuned.curves
    curves = curves[curves["item"].isin([item.id for item in own.test])]
    compared = ctx.cell(
        order.compare_orders, learning=learned.tuned.curves, forgetting=curves, seed=ctx.seed
    )
    return compared, learner.name


def _predictions(ctx: Context, own: TaskItems) -> tuple[dict[str, np.ndarray], bool]:
    """Predictor -> [test items]; and whether the hidden states can be read."""
    inputs = {
        "lm": ctx.lm, "weights": cast.start(ctx).weights, "train": own.train, "test": own.test,
        "seed": cast.label_seed(ctx, 0),
    }  # fmt: skip
    found, readable = {}, True
    try:
        found["neighbours"] = ctx.cell(neighbours_say, **inputs)
    except ModelError:
        readable = False
    found["kernel"] = ctx.cell(kernel_says, **inputs)
    return found, readable


def _before_and_after(ctx: Context, task: str) -> pd.DataFrame:
    tables = cast.start(ctx).answers, cast.forgotten(ctx, task).answers
    return measures.join(*(table[table["task"] == task] for table in tables))


# --- figures ------------------------------------------------------------------------------------


def _rows(panel: Any, rows: pd.DataFrame, tasks: list[str], kinds: dict[str, Kind]) -> None:
    """One measure: a row for each task, in its kind's colour and marker, with its interval."""
    for kind, (colour, marker) in KINDS.items():
        own = rows[[kinds[task] == kind for task in rows["task"]]]
        heights = [tasks.index(task) for task in own["task"]]
        panel.hlines(heights, own["low"], own["high"], color=colour, lw=1.6, alpha=0.75)
        panel.plot(
            own["value"], heights, marker, color=colour, ms=6, mec="white", mew=0.6,
            label=f"{kind} answers" if len(own) else None,
        )  # fmt: skip
    if not rows["value"].notna().any():
        panel.text(
            0.5, 0.5, "too few\nitems", transform=panel.transAxes, ha="center", va="center",
            fontsize=8, bbox={"facecolor": "white", "edgecolor": "none"},
        )  # fmt: skip


def _table_of_panels(panels: list[tuple[pd.DataFrame, str, str, float]]) -> Any:
    """Panels side by side that share their rows, the tasks.

    Args:
        panels: rows with ``task, kind, value, low, high``; title; axis; where nothing is told.
    """
    first = panels[0][0]
    tasks = list(pd.unique(first["task"]))
    kinds = dict(zip(first["task"], first["kind"], strict=True))
    height = 1.9 + 0.3 * len(tasks)
    figure, axes = plots.panels(len(panels), 8.0, height, share_y=True)
    for panel, (rows, title, axis, nothing) in zip(axes, panels, strict=True):
        _rows(panel, rows, tasks, kinds)
        panel.axvline(nothing, color=plots.INK, lw=0.8, ls="--")
        panel.set(xlim=(-0.02, 1.02) if nothing else (-1.05, 1.05))
        panel.set_title(title, fontsize=9)
        panel.set_xlabel(axis, fontsize=9)
    axes[0].set_yticks(range(len(tasks)), tasks)
    axes[0].set_ylim(len(tasks) - 0.5, -0.5)
    plots.legend_below(figure, axes[0])
    return figure


def _told(value: Value) -> str:
    if value.value is None:
        return "not measured"
    ends = "" if value.ci95 is None else f" [{value.ci95[0]:.2f}, {value.ci95[1]:.2f}]"
    return f"{value.value:.2f}{ends}"


def _order_figure(table: pd.DataFrame, values: dict[str, Value]) -> Figure:
    if not table["value"].notna().any():
        return absent(NO_ORDER)
    panels = [
        (table[table["measure"] == measure], title, "rho over items", 0.0)
        for measure, (_, title) in ORDERS.items()
    ]
    told = "; ".join(f"{measure} {_told(values[name])}" for measure, (name, _) in ORDERS.items())
    learner = table["learner"].iloc[0]
    caption = (
        "Are items that are learned early forgotten late? Rank correlation over the test items of "
        f"each task, above 0 if so (bars: 95 % intervals); {learner} learns. Means over tasks: "
        f"{told}. The paper's crossing is taken where {order.FEWEST} items cross in both runs: "
        f"{values['order_rho_crossing_tasks'].value:.0f} of {table['task'].nunique()} tasks. The "
        "last panel is a warning: it correlates items that know no order."
    )
    return Figure(
        _table_of_panels(panels), caption, f"Four panels, a row for each task. Means: {told}."
    )


def _fates_figure(table: pd.DataFrame, values: dict[str, Value], unreadable: bool) -> Figure:
    if not table["value"].notna().any():
        return absent(NO_KERNEL)
    panels = [
        (table[(table["predictor"] == name) & (table["measure"] == measure)], title, axis, nothing)
        for name, measure, title, axis, nothing in PANELS
        if name in set(table["predictor"])
    ]
    told = (
        f"AUC of confidence {_told(values['fate_confidence_auc'])}; rho of neighbours "
        f"{_told(values['fate_neighbours_rho'])}, of the kernel "
        f"{_told(values['fate_kernel_rho'])}, given the margin before "
        f"{_told(values['kernel_rho'])}, and of confidence "
        f"{_told(values['fate_confidence_rho'])}, which is part of the change it is compared with"
    )
    caption = (
        "Three predictions of what becomes of held-out items, each made before the first step. "
        f"Means over tasks: {told}. A row is a task, with 95 % intervals over items; dashed, "
        "nothing is told."
    )
    if unreadable:
        caption += " The hidden states of this model cannot be read, so neighbours are left out."
    return Figure(
        _table_of_panels(panels), caption, f"Panels with a row for each task. Means: {told}."
    )


STUDIES = (items,)
