"""What could have told which tasks, and within a task which items, would forget?

The paper finds that tasks of low confidence and of low variance of the hidden states forget more
generally, weakly, and that difficulty does not tell (random-label digest, section 5). Each of these
is measured on held-out items before a single step of forgetting, and set beside the share of what
was above chance that the task lost to its own random labels. Accuracy before stands in that share
too, so difficulty and the outcome are not wholly independent of each other.
"""

from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
import pandas as pd

from palimpsest.core import plots
from palimpsest.core.errors import ModelError
from palimpsest.core.metrics import distance_from_chance
from palimpsest.core.models import LanguageModel
from palimpsest.core.results import Claim, Figure, Result, Value, absent
from palimpsest.core.stats import Interval
from palimpsest.core.study import Context, study
from palimpsest.forgetting import measures
from palimpsest.forgetting import predictors as method
from palimpsest.forgetting.items import Kind
from palimpsest.forgetting.probes import hidden_states
from palimpsest.studies.controls import Weights, with_weights
from palimpsest.studies.random_label_forgetting import cast
from palimpsest.studies.random_label_forgetting.looks import KINDS

# Quantity -> what a reader is told of it.
QUANTITIES = {
    "difficulty_ft": "difficulty, tuned model", "difficulty_pre": "difficulty, pretrained model",
    "confidence_ft": "confidence, tuned model", "confidence_pre": "confidence, pretrained model",
    "margin_ft": "margin, tuned model", "margin_pre": "margin, pretrained model",
    "total": "total variance of hidden states", "relative": "total variance by mean square",
}  # fmt: skip
OUTCOMES = {"ratio": "forget ratio", "loss": "accuracy lost"}
SHOWN = {
    "difficulty_ft": "difficulty\n(1 - accuracy)",
    "confidence_ft": "confidence\n(mean probability)",
    "relative": "total variance\nby mean square",
}
# The names of the values with the forget ratio.
NAMES = {
    "difficulty_ft": "difficulty_rho", "difficulty_pre": "difficulty_rho_pre",
    "confidence_ft": "confidence_rho", "confidence_pre": "confidence_rho_pre",
    "margin_ft": "margin_rho", "margin_pre": "margin_rho_pre",
    "total": "variance_rho", "relative": "relative_variance_rho",
}  # fmt: skip
OF_ITEMS = {"p": "confidence", "spread": "distance from the task's mean state"}
OF_FATES = {"margin_after": "margin after", "kept": "still right"}
LABELLED = 2  # tasks named at either end of a panel
ITEM_DRAWS = 500  # resamplings of some thousand items

TOO_FEW = "fewer than four tasks with different values were learned"


# --- cells --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class States:
    """How far hidden states of questions lie apart.

    Attributes:
        tasks: by task and depth (``forgetting.predictors.variance_of_tasks``).
        items: ``task``, ``item``, ``spread``: squared distance from the task's mean at the paper's
            depth.
        depth: the paper's, counted in blocks.
    """

    tasks: pd.DataFrame
    items: pd.DataFrame
    depth: int


def states_apart(
    lm: LanguageModel,
    weights: Weights,
    prompts: dict[str, tuple[str, ...]],
    ids: dict[str, tuple[str, ...]],
) -> States:
    """Variances of the hidden states of each task's questions, and each item's part in them.

    Args:
        prompts, ids: by task, the questions and the ids of their items.
    """
    model = with_weights(lm, weights)
    tables, spreads, depth = [], [], 0
    for task, texts in prompts.items():
        # What follows is not read at the question's last token; a pair needs some text there.
        states = hidden_states(model, [(text, " .") for text in texts], "question")
        depth = method.paper_depth(len(states) - 1)
        tables.append(method.total_variance(states).reset_index().assign(task=task))
        spread = method.spread_of_items(states[depth])
        spreads.append(pd.DataFrame({"task": task, "item": ids[task], "spread": spread}))
    return States(
        pd.concat(tables, ignore_index=True), pd.concat(spreads, ignore_index=True), depth
    )


def correlated_items(table: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Spearman's rho within tasks of each of :data:`OF_ITEMS` with each of :data:`OF_FATES`.

    Args:
        table: :func:`fates_of`.
    """
    wanted = [name for name in OF_ITEMS if table[name].notna().any()]
    found = []
    for outcome in OF_FATES:
        one = method.across_items(table, outcome, wanted, draws=ITEM_DRAWS, seed=seed)
        found.append(one.assign(outcome=outcome))
    return _corrected(pd.concat(found, ignore_index=True))


# --- measures -----------------------------------------------------------------------------------


def outcomes(before: pd.DataFrame, after: pd.DataFrame) -> pd.DataFrame:
    """By task: ``ratio``, the forget ratio of its own random labels, mean over draws (NaN for what
    was not learned), and ``loss``, the accuracy lost.

    Args:
        before, after: answers; those after with ``source`` (the same task) and ``draw``.
    """
    ratio = measures.cells(before, after).groupby("task", sort=False)["value"].mean()
    was, now = (
        table.astype({"correct": float}).groupby("task", sort=False)["correct"].mean()
        for table in (before, after)
    )
    return pd.DataFrame({"ratio": ratio, "loss": (was - now).reindex(ratio.index)})


def correlations(table: pd.DataFrame, seed: int, draws: int = 2000) -> pd.DataFrame:
    """Spearman's rho over tasks of each quantity with each outcome.

    Args:
        table: a row a task, some of :data:`QUANTITIES` and of :data:`OUTCOMES`. Tasks without a
            forget ratio are left out.

    Returns:
        Columns ``outcome, quantity, value, low, high, n, p, p_holm, detectable``; the last two
        count all lines.
    """
    learned = table[table["ratio"].notna()]
    names = [name for name in QUANTITIES if name in table]
    parts = [
        method.across_tasks(learned, outcome, names, draws=draws, seed=seed).assign(outcome=outcome)
        for outcome in OUTCOMES
        if outcome in table
    ]
    return _corrected(pd.concat(parts, ignore_index=True))


def _corrected(found: pd.DataFrame) -> pd.DataFrame:
    """With p-values corrected for all lines, not only for those of one outcome."""
    counted = max(1, int(found["p"].notna().sum()))
    found = found.assign(
        p_holm=method.holm(found["p"]),
        detectable=[method.detectable(n, counted) for n in found["n"]],
    )
    return found[["outcome", "quantity", "value", "low", "high", "n", "p", "p_holm", "detectable"]]


def measured(found: pd.DataFrame) -> dict[str, Value]:
    """The values of :func:`correlations`, among them the claims' measures."""
    values = {}
    for row in found.itertuples(index=False):
        rho = Interval(row.value, row.low, row.high, row.n)
        name = NAMES[row.quantity]
        if row.outcome == "ratio":
            values[name] = Value.of(rho, "rho")
            if row.quantity == "difficulty_ft":
                values["difficulty_size"] = Value.of(size(rho), "rho")
        else:
            values[name.replace("_rho", "_loss_rho")] = Value.of(rho, "rho")
    return values


def size(rho: Interval) -> Interval:
    """|rho|; its low end is 0 where the interval of rho holds 0."""
    moved = (end + 0.5 for end in (rho.value, rho.low, rho.high))
    return distance_from_chance(Interval(*moved, rho.n))


def sweep_of(variances: pd.DataFrame, table: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Rho of the relative total variance with the forget ratio at every depth: ``depth, value, low,
    high, n, p``."""
    rows = []
    learned = table["ratio"].dropna()
    for depth, part in variances.groupby("depth"):
        relative = part.set_index("task")["relative"].reindex(learned.index)
        found = method.spearman(relative, learned, seed=seed)
        rows.append({"depth": depth, **vars(found.rho), "p": found.p})
    return pd.DataFrame(rows)


def fates_of(
    before: pd.DataFrame, after: pd.DataFrame, spreads: pd.DataFrame | None
) -> pd.DataFrame:
    """One row for each item that was right before: ``task, item, p, spread, margin_after, kept``,
    the last two means over draws.

    Args:
        spreads: as ``States.items``; None makes all NaN, as items that it lacks are.
    """
    keys = ["task", "item"]
    ends = after.astype({"correct": float}).groupby(keys, sort=False)[["margin", "correct"]].mean()
    ends = ends.rename(columns={"margin": "margin_after", "correct": "kept"}).reset_index()
    table = before.loc[before["correct"].astype(bool), [*keys, "p"]].merge(ends, on=keys)
    if spreads is None:
        return table.assign(spread=np.nan)
    return table.merge(spreads, on=keys, how="left")


def null_predictors(seed: int, tasks: int = 21) -> dict[str, Value]:
    """The claims' measures where neither confidence nor variance has to do with what a task forgets
    and its difficulty decides it."""
    rng = np.random.default_rng(seed)
    difficulty = rng.uniform(0, 0.4, tasks)
    table = pd.DataFrame(
        {
            "difficulty_ft": difficulty,
            "confidence_ft": rng.uniform(0.5, 1, tasks),
            "total": rng.exponential(1.0, tasks),
            "ratio": difficulty + rng.normal(0, 0.06, tasks),
        }
    )
    return measured(correlations(table, seed, draws=400))


# --- the study ----------------------------------------------------------------------------------


@study(
    claims=[
        Claim(
            id="rl-9",
            statement="Tasks of low confidence forget more generally: the rank correlation of the "
            "tuned model's confidence with the forget ratio is negative.",
            source="arXiv:2409.02228: low confidence and low hidden-state variance go with more "
            "generalising forgetting, weakly",
            grade="text",
            measure="confidence_rho",
            rule="confidence_rho < 0",
        ),
        Claim(
            id="rl-10",
            statement="Tasks whose hidden states vary little forget more generally: the rank "
            "correlation of total variance with the forget ratio is negative.",
            source="arXiv:2409.02228: low confidence and low hidden-state variance go with more "
            "generalising forgetting, weakly",
            grade="text",
            measure="variance_rho",
            rule="variance_rho < 0",
        ),
        Claim(
            id="rl-11",
            statement="Difficulty does not tell which tasks resist: it orders less than a quarter "
            "of the ranks' variance.",
            source="arXiv:2409.02228: difficulty does not predict what can be forgotten",
            grade="text",
            measure="difficulty_size",
            rule="difficulty_size < 0.5",
        ),
    ],
    null=null_predictors,
)
def predictors(ctx: Context) -> Result:
    """What could have told which tasks would forget?"""
    tasks = cast.sources(ctx)
    before, after = _answers(ctx, tasks)
    states, unreadable = _states(ctx, tasks)
    table = _quantities(ctx, tasks, states).join(outcomes(before, after))
    found = correlations(table, ctx.seed)
    learned = int(table["ratio"].notna().sum())
    values = measured(found)
    values["predictor_tasks"] = Value(learned, n=learned, unit="tasks")
    values["detectable_rho"] = Value(method.detectable(learned), n=learned, unit="rho")
    values["detectable_rho_corrected"] = Value(
        method.detectable(learned, max(1, int(found["p"].notna().sum()))), n=learned, unit="rho"
    )
    values["smallest_p_holm"] = Value(found["p_holm"].min(), n=len(found), unit="p")
    fates = fates_of(before, after, None if states is None else states.items)
    of_items = ctx.cell(correlated_items, table=fates, seed=ctx.seed)
    values |= _item_values(of_items)
    swept = None if states is None else sweep_of(states.tasks, table, ctx.seed)
    if states is not None:
        values["sweep_depth"] = Value(states.depth, n=len(swept), unit="blocks")
    notes = {
        id: reason
        for id, name, reason in (
            ("rl-9", "confidence_rho", TOO_FEW),
            ("rl-10", "variance_rho", unreadable or TOO_FEW),
            ("rl-11", "difficulty_size", TOO_FEW),
        )
        if name not in values or values[name].value is None
    }
    return Result(
        values=values,
        tables={
            "predictors": _readable(found, QUANTITIES, OUTCOMES),
            "predictor_tasks": _task_table(table, ctx),
            "across_items": _readable(of_items, OF_ITEMS, OF_FATES),
            **({} if swept is None else {"sweep": swept.rename(columns={"value": "rho"})}),
        },
        figures={
            "predictors": Figure(_draw(table, cast.kinds(ctx)), *_words(table, values))
            if learned
            else absent("no task was learned far enough above chance"),
            "sweep": _sweep_figure(swept, states, unreadable),
        },
        notes=notes,
    )


def _answers(ctx: Context, tasks: list[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Each source's own answers before and, for each draw, after its random labels."""
    parts = []
    for draw in range(ctx.parameters.draws):
        for task in tasks:
            answers = cast.forgotten(ctx, task, draw).answers
            parts.append(answers[answers["task"] == task].assign(source=task, draw=draw))
    before = cast.start(ctx).answers
    return before[before["task"].isin(tasks)], pd.concat(parts, ignore_index=True)


def _states(ctx: Context, tasks: list[str]) -> tuple[States | None, str]:
    """The hidden states of the tuned model, or the reason why there are none."""
    most, items = ctx.parameters.probe_items, cast.items_of(ctx)
    asked = {task: items[task].test[:most] for task in tasks}
    try:
        found = ctx.cell(
            states_apart, lm=ctx.lm, weights=cast.start(ctx).weights,
            # The first context: it is that of both answers, or says nothing of which is right.
            prompts={task: tuple(one.pairs[0][0] for one in own) for task, own in asked.items()},
            ids={task: tuple(one.id for one in own) for task, own in asked.items()},
        )  # fmt: skip
    except ModelError:
        return None, "the hidden states of this model cannot be read"
    return found, ""


def _quantities(ctx: Context, tasks: list[str], states: States | None) -> pd.DataFrame:
    """By task, all of :data:`QUANTITIES` that can be had."""
    parts = []
    for name, answers in (("ft", cast.start(ctx).answers), ("pre", cast.pretrained(ctx))):
        one = method.of_tasks(answers).drop(columns="n")
        parts.append(one.add_suffix(f"_{name}"))
    if states is not None:
        at_depth = states.tasks[states.tasks["depth"] == states.depth]
        parts.append(at_depth.set_index("task")[["total", "relative"]])
    return pd.concat(parts, axis=1).reindex(tasks)


def _item_values(found: pd.DataFrame) -> dict[str, Value]:
    values = {}
    for row in found.itertuples(index=False):
        name = {"p": "item_confidence", "spread": "item_spread"}[row.quantity]
        if row.outcome == "kept":
            name += "_kept"
        interval = Interval(row.value, row.low, row.high, row.n)
        values[f"{name}_rho"] = Value.of(interval, "rho")
    return values


def _readable(
    found: pd.DataFrame, quantities: dict[str, str], fates: dict[str, str]
) -> pd.DataFrame:
    named = found.assign(
        outcome=found["outcome"].map(fates), quantity=found["quantity"].map(quantities)
    )
    return named.rename(columns={"value": "rho"})


def _task_table(table: pd.DataFrame, ctx: Context) -> pd.DataFrame:
    kinds = cast.kinds(ctx)
    shown = table.reset_index(names="task")
    shown.insert(1, "kind", shown["task"].map(kinds))
    return shown.assign(task=shown["task"].map(cast.label))


# --- figures ------------------------------------------------------------------------------------


def _draw(table: pd.DataFrame, kinds: dict[str, Kind]) -> Any:
    learned = table[table["ratio"].notna()]
    shown = [name for name in SHOWN if name in table]
    figure, axes = plots.panels(len(shown), 2.6 * len(shown), 3.5, share_y=True)
    for panel, name in zip(axes, shown, strict=True):
        for kind in get_args(Kind):
            own = learned[[kinds[task] == kind for task in learned.index]]
            colour, marker = KINDS[kind]
            panel.plot(
                own[name], own["ratio"], marker, color=colour, ms=6, mec="white", mew=0.6,
                label=f"{kind} answers" if len(own) else None,
            )  # fmt: skip
        panel.axhline(0, color=plots.INK, lw=0.8)
        panel.axhline(1, color=plots.INK, lw=0.8, ls="--")
        panel.set_xlabel(SHOWN[name])
        panel.margins(x=0.12, y=0.1)
        _name_some(panel, learned[name], learned["ratio"])
    axes[0].set_ylabel("forget ratio (1: down to chance)")
    plots.legend_below(figure, axes[0])
    return figure


def _name_some(panel: Any, across: pd.Series, up: pd.Series) -> None:
    """Name the tasks at either end of the ratio, where no other task stands in the way."""
    wide, high = (max(np.ptp(one.to_numpy()), 1e-9) for one in (across, up))
    order = up.sort_values().index
    taken: list[tuple[float, float, float, float]] = []
    # The lowest and the highest; of few tasks none comes twice.
    for task in dict.fromkeys([*order[:LABELLED], *order[-LABELLED:]]):
        words, x, y = cast.label(task), across[task] / wide, up[task] / high
        length = 0.042 * len(words)
        for side in (1, -1):
            start, end = sorted((x + side * 0.04, x + side * (0.04 + length)))
            box = (start, end, y - 0.035, y + 0.035)
            ends = across.min() / wide - 0.12, across.max() / wide + 0.12
            others = zip(across.drop(task) / wide, up.drop(task) / high, strict=True)
            free = start > ends[0] and end < ends[1]
            free &= not any(
                box[0] - 0.03 < a < box[1] + 0.03 and box[2] - 0.02 < b < box[3] + 0.02
                for a, b in others
            )
            free &= not any(
                box[0] < b[1] and b[0] < box[1] and box[2] < b[3] and b[2] < box[3] for b in taken
            )
            if free:
                taken.append(box)
                panel.annotate(
                    words, (across[task], up[task]), (5 * side, 0), textcoords="offset points",
                    ha="left" if side > 0 else "right", va="center", fontsize=7,
                )  # fmt: skip
                break


def _told(value: Value | None) -> str:
    if value is None or value.value is None:
        return "not measured"
    ends = "" if value.ci95 is None else f" [{value.ci95[0]:.2f}, {value.ci95[1]:.2f}]"
    return f"{value.value:.2f}{ends}"


def _words(table: pd.DataFrame, values: dict[str, Value]) -> tuple[str, str]:
    names = {"difficulty_ft": "difficulty", "confidence_ft": "confidence", "relative": "variance"}
    told = "; ".join(
        f"{names[name]} {_told(values.get(NAMES[name]))}" for name in names if name in table
    )
    caption = (
        "What was known of a task before forgetting, and the share of what was above chance that "
        f"it lost to its own random labels (dashed: all of it). Rank correlations: {told}, with 95 "
        f"% intervals over the {values['predictor_tasks'].value:.0f} tasks that were learned; so "
        f"many tasks show a correlation of {values['detectable_rho'].value:.2f} four times in five."
    )
    return caption, f"Scatter plots with one point a task. Rank correlations: {told}."


def _sweep_figure(swept: pd.DataFrame | None, states: States | None, unreadable: str) -> Figure:
    if swept is None or states is None:
        return absent(unreadable)
    if not swept["value"].notna().any():
        return absent(TOO_FEW)
    figure, panel = plots.figure(6.0, 3.2)
    panel.vlines(swept["depth"], swept["low"], swept["high"], color=plots.INK, lw=1.6, alpha=0.7)
    panel.plot(swept["depth"], swept["value"], "o-", color=plots.INK, ms=6, mec="white", mew=0.6)
    panel.axhline(0, color=plots.INK, lw=0.8)
    panel.axvline(states.depth, color="#7f7f7f", lw=1.2, ls="--", zorder=0)
    panel.annotate(
        "paper's depth", (states.depth, 1), (-5, -4), xycoords=("data", "axes fraction"),
        textcoords="offset points", ha="right", va="top", fontsize=8,
    )  # fmt: skip
    panel.set(ylim=(-1.05, 1.25), xlabel="depth (blocks passed; 0: the embeddings)")
    panel.set_xticks(swept["depth"][:: max(1, len(swept) // 12)])
    panel.set_ylabel("rank correlation with\nthe forget ratio")
    told = ", ".join(
        f"{row.value:.2f} at {row.depth}"
        for row in swept[swept["value"].notna()].itertuples(index=False)
    )
    caption = (
        "Rank correlation over tasks of the relative total variance with the forget ratio, by "
        f"depth: {told}. Bars are 95 % intervals over tasks; the vertical line marks the paper's "
        "place, 0.88 of the depth. The depths are not independent tests."
    )
    return Figure(figure, caption, f"A line with intervals, one point for each depth: {told}.")


STUDIES = (predictors,)
