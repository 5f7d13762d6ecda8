"""Is a skill that random labels took away gone from the network, or only from its answers?

Two tests of depth. A linear probe is taught to read from the hidden states whether an answer is
right, before and after forgetting (the paper's finding; random-label digest, section 3, no. 8, and
section 5). And the forgotten model relearns from the true labels of some items, while held-out ones
are watched, beside a model that lacks the skill for want of training (ibid., exercise 9).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from palimpsest.core import plots, stats
from palimpsest.core.errors import ModelError
from palimpsest.core.models import LanguageModel
from palimpsest.core.results import Claim, Figure, Result, Value, absent
from palimpsest.core.study import Context, study
from palimpsest.forgetting.items import FEWEST, TwoWay
from palimpsest.forgetting.order import area
from palimpsest.forgetting.predictors import paper_depth
from palimpsest.forgetting.probes import fit, pair_states, probe
from palimpsest.studies.controls import Weights, with_weights
from palimpsest.studies.random_label_forgetting import cast
from palimpsest.studies.random_label_forgetting.one_task import LOOK

MODELS = ("pretrained", "tuned", "forgotten")
# The forgotten model has the colour and marker of its kind of task.
STYLES = {
    "pretrained": ("#7f7f7f", "X", ":"), "tuned": ("#009E73", "s", "--"),
    "earlier": ("#56B4E9", "^", "-."),
}  # fmt: skip
LOOKS = 10  # at the held-out items while relearning
PART = 4  # one training item in so many is relearned
REGAINED = 0.9  # of a_ft's distance from chance
LEARNED = 0.05  # distance from chance, or from a_ft, below which there is nothing to lose or regain
UNREADABLE = "no probe of the tuned model is better than its control"
UNREAD = "the hidden states of this model cannot be read"
NOT_LEARNED = "the tuned model learned none of the tasks looked at"


# --- cells --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Probed:
    """What linear probes read in one model of one task.

    Attributes:
        sweep: ``forgetting.probes.probe`` at every depth.
        told: float64 [test items], whether the probe at ``depth`` puts the right answer of a test
            item ahead of the wrong one; a tie counts half.
        depth: the paper's (``forgetting.predictors.paper_depth``), chosen before any look.
    """

    sweep: pd.DataFrame
    told: np.ndarray
    depth: int


def probed(
    lm: LanguageModel,
    weights: Weights | None,
    train: tuple[TwoWay, ...],
    test: tuple[TwoWay, ...],
    seed: int,
) -> Probed:
    """Probes of ``lm``, with ``weights`` if there are any, fitted on ``train``."""
    model = lm if weights is None else with_weights(lm, weights)
    seen, unseen = (pair_states(model, [one.pairs for one in part]) for part in (train, test))
    labels, truth = (np.array([one.label for one in part]) for part in (train, test))
    sweep = probe(seen, labels, unseen, truth, seed=seed)
    depth = paper_depth(len(seen) - 1)
    chosen, _ = fit(seen[depth], labels, seed)
    score = chosen.score(unseen[depth].reshape(2 * len(test), -1)).reshape(-1, 2)
    lead = np.where(truth == 0, score[:, 0] - score[:, 1], score[:, 1] - score[:, 0])
    return Probed(sweep, (lead > 0) + 0.5 * (lead == 0), depth)


# --- probes: measures ---------------------------------------------------------------------------


def probe_tasks(
    told: dict[tuple[str, str], np.ndarray],
    right: dict[tuple[str, str], np.ndarray],
    selective: dict[str, float],
    seed: int = 0,
    draws: int = 2000,
) -> pd.DataFrame:
    """By task, what probe and model get right.

    Args:
        told, right: (task, model) -> [test items] what the probe, or the model itself, gets right.
        selective: task -> lower end of the tuned model's selectivity.
        draws: of the intervals of single tasks.

    Returns:
        Columns ``task``; ``probe_MODEL`` and ``model_MODEL``, accuracies; ``drop`` (probe, tuned
        minus forgotten) and ``excess`` (forgotten, probe minus model) with ``_low`` and ``_high``,
        paired over the items; ``learned``; ``readable`` (learned, and the tuned model's probe is
        better than its control: else there is nothing that could drop).
    """
    rows = []
    for task in dict.fromkeys(task for task, _ in told):
        row: dict[str, object] = {"task": task}
        for model in MODELS:
            row[f"probe_{model}"] = float(np.mean(told[task, model]))
            row[f"model_{model}"] = float(np.mean(right[task, model]))
        for name, first, second in (
            ("drop", told[task, "tuned"], told[task, "forgotten"]),
            ("excess", told[task, "forgotten"], right[task, "forgotten"]),
        ):
            gap = stats.paired_bootstrap(first, second, draws=draws, seed=seed)
            row |= {name: gap.value, f"{name}_low": gap.low, f"{name}_high": gap.high}
        row["learned"] = bool(np.mean(right[task, "tuned"]) - 0.5 >= LEARNED)
        row["readable"] = row["learned"] and selective[task] > 0
        rows.append(row)
    return pd.DataFrame(rows)


def probe_values(tasks: pd.DataFrame, seed: int = 0) -> dict[str, Value]:
    """The claims' measures, ``probe_drop`` and ``probe_minus_model``, and how many tasks they are
    of: the readable ones. What a probe never read it cannot lose, and that it says less than the
    model does is then the probe's fault. ``probe_minus_model_all`` is over all learned tasks. Tasks
    are resampled, and with them their items: the limits are about tasks like these. Those of the
    values ending in ``_here`` are about these very tasks, over their items."""
    readable, learned = tasks[tasks["readable"]], tasks[tasks["learned"]]
    values = {
        "probe_tasks": Value(len(readable), n=len(tasks), unit="tasks"),
        "probe_drop": _over_tasks(readable["drop"], seed),
        "probe_minus_model": _over_tasks(readable["excess"], seed),
        "probe_minus_model_all": _over_tasks(learned["excess"], seed),
    }
    for name, column in (("probe_drop", "drop"), ("probe_minus_model", "excess")):
        limits = {"value": column, "low": f"{column}_low", "high": f"{column}_high"}
        values[f"{name}_here"] = over_items(
            pd.DataFrame({to: readable[own] for to, own in limits.items()})
        )
    return values


def _over_tasks(column: pd.Series, seed: int) -> Value:
    """The mean of differences of accuracies, tasks resampled."""
    one = stats.cluster_bootstrap(column.to_numpy(dtype=float), seed=seed)
    return Value.of(replace(one, low=max(-1.0, one.low), high=min(1.0, one.high)), "accuracy")


def mean_of_tasks(table: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """The mean over tasks of ``value`` with limits about *these* tasks: those of the single tasks,
    which rest on different items, combined (Newcombe's square-and-add).

    Args:
        table: a row for each task and each of ``by``, with ``value``, ``low``, ``high``.
    """
    table = table.assign(
        down=(table["value"] - table["low"]) ** 2, up=(table["high"] - table["value"]) ** 2
    )
    groups = table.groupby(list(by), sort=False)
    found = groups[["value"]].mean()
    for name, side, sign in (("low", "down", -1), ("high", "up", 1)):
        found[name] = found["value"] + sign * np.sqrt(groups[side].sum()) / groups.size()
    return found.reset_index()


def over_items(table: pd.DataFrame, unit: str = "accuracy") -> Value:
    """:func:`mean_of_tasks` as one value; ``n`` counts tasks."""
    if table.empty:
        return Value(None, n=0, unit=unit)
    row = mean_of_tasks(table.assign(all=0), ["all"]).iloc[0]
    return Value(row["value"], (row["low"], row["high"]), len(table), unit)


# --- relearning: measures -----------------------------------------------------------------------


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


# --- null ---------------------------------------------------------------------------------------


def null_shallow(seed: int, tasks: int = 4, items: int = 60) -> dict[str, Value]:
    """The claims' measures where forgetting destroyed the hidden states, where a probe reads just
    what the model says, and where all starts learn at one rate."""
    rng = np.random.default_rng(seed)
    names = [f"task {place}" for place in range(tasks)]
    told, right, parts, steps = {}, {}, [], np.arange(0, 60, 12)
    for task in names:
        for model in MODELS:
            level = rng.uniform(0.5, 0.6) if model == "forgotten" else 0.85
            told[task, model], right[task, model] = rng.random((2, items)) < level
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
    probes = probe_tasks(told, right, dict.fromkeys(names, 0.1), seed, draws=50)
    return probe_values(probes, seed) | relearn_values(table, seed)[0]


# --- the study ----------------------------------------------------------------------------------


@study(
    claims=[
        Claim(
            id="rl-18",
            statement="A linear probe recovers the task about as well after forgetting as after "
            "tuning: its accuracy falls by less than 0.1.",
            source="arXiv:2409.02228: linear probes on the forgotten model still recover the task",
            grade="text",
            measure="probe_drop",
            rule="probe_drop < 0.1",
        ),
        Claim(
            id="rl-19",
            statement="After forgetting, a linear probe reads more than the model says: its "
            "accuracy exceeds that of the model's own answers by more than 0.05.",
            source="arXiv:2409.02228: forgetting is shallow, the answers can still be read from "
            "the hidden states",
            grade="text",
            measure="probe_minus_model",
            rule="probe_minus_model > 0.05",
        ),
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
    null=null_shallow,
)
def shallow(ctx: Context) -> Result:
    """Is the skill gone from the network, or only from its answers?"""
    result = Result()
    try:
        found = _probes(ctx)
    except ModelError:
        result.figures["probes"] = absent(UNREAD)
        result.notes |= {"rl-18": UNREAD, "rl-19": UNREAD}
    else:
        _add_probes(result, ctx, found)
    curves = _relearning(ctx)
    answers = cast.start(ctx).answers
    table = relearned(curves, answers.groupby("task")["correct"].mean())
    values, compared = relearn_values(table, ctx.seed)
    result.values |= values | regain_values(table, curves, ctx.seed)
    if not compared:
        result.notes["rl-20"] = (
            "on fewer than two tasks do both the forgotten model and an untuned one lack "
            f"{LEARNED} of the tuned model's accuracy"
        )
    kinds, by_step = cast.kinds(ctx), steps_of(curves)
    fair = fair_tasks(table, compared) if compared else []
    result.tables["relearning"] = by_step.assign(task=by_step["task"].map(cast.label))
    result.tables["regained"] = table.assign(
        compared=table["task"].isin(fair), task=table["task"].map(cast.label)
    )
    shown = mean_of_tasks(
        by_step.assign(kind=by_step["task"].map(kinds)), ["kind", "start", "step"]
    )
    words = _relearning_words(result.values, table, compared)
    result.figures["relearning"] = Figure(_draw_relearning(shown), *words)
    return result


def _probes(ctx: Context) -> dict[tuple[str, str], Probed]:
    """(task, model) -> what its probes read."""
    found = {}
    for task in cast.controlled(ctx):
        items = cast.items_of(ctx)[task]
        weights = (None, cast.start(ctx).weights, cast.forgotten(ctx, task).weights)
        for model, own in zip(MODELS, weights, strict=True):
            found[task, model] = ctx.cell(
                probed, lm=ctx.lm, weights=own, train=items.train[: ctx.parameters.probe_items],
                test=items.test, seed=ctx.seed,
            )  # fmt: skip
    return found


def _add_probes(result: Result, ctx: Context, found: dict[tuple[str, str], Probed]) -> None:
    """The probes' values, tables, figure and notes."""
    kinds, right, selective, sweeps, said = cast.kinds(ctx), {}, {}, [], []
    depth = next(iter(found.values())).depth
    for (task, model), one in found.items():
        answers = {
            "pretrained": cast.pretrained(ctx),
            "tuned": cast.start(ctx).answers,
            "forgotten": cast.forgotten(ctx, task).answers,
        }[model]
        own = answers.loc[answers["task"] == task, "correct"].to_numpy(dtype=float)
        right[task, model] = own
        limits = vars(stats.wilson(int(own.sum()), len(own)))
        named = {"task": task, "kind": kinds[task], "model": model}
        said.append(named | limits)
        sweeps.append(one.sweep.assign(**named))
        if model == "tuned":
            at = one.sweep[(one.sweep["depth"] == depth) & (one.sweep["scored"] == "pair")]
            selective[task] = float(at["selectivity_low"].iloc[0])
    sweep, answered = pd.concat(sweeps, ignore_index=True), pd.DataFrame(said)
    told = {key: one.told for key, one in found.items()}
    tasks = probe_tasks(told, right, selective, ctx.seed)
    result.values |= probe_values(tasks, ctx.seed) | depth_values(sweep, tasks, depth)
    readable = set(tasks.loc[tasks["readable"], "task"])
    for model, own in answered[answered["task"].isin(readable)].groupby("model"):
        result.values[f"probed_model_{model}"] = over_items(own)
    order = ["task", "kind", "model"]
    result.tables["probes"] = sweep.assign(task=sweep["task"].map(cast.label))[
        [*order, *(name for name in sweep if name not in order)]
    ]
    result.tables["probe_tasks"] = tasks.assign(task=tasks["task"].map(cast.label))
    if not readable:
        reason = UNREADABLE if tasks["learned"].any() else NOT_LEARNED
        result.notes |= {"rl-18": reason, "rl-19": reason}
    drawn = _draw_probes(sweep[sweep["scored"] == "pair"], answered)
    result.figures["probes"] = Figure(drawn, *_probe_words(result.values, depth))


def depth_values(sweep: pd.DataFrame, tasks: pd.DataFrame, depth: int) -> dict[str, Value]:
    """What probes read at the paper's depth: means over readable tasks, limits over items.

    ``probe_MODEL`` (pairs, the headline), ``probe_alone_MODEL`` (each answer alone),
    ``probe_control_MODEL``, ``probe_selectivity_MODEL``; and ``probe_MODEL_KIND``, over all tasks
    of a kind.
    """
    readable = set(tasks.loc[tasks["readable"], "task"])
    here = sweep[sweep["depth"] == depth]
    values = {"probe_depth": Value(depth, n=len(tasks), unit="blocks")}
    for model in MODELS:
        of = here[here["model"] == model]
        own = of[of["task"].isin(readable)]
        pairs = own[own["scored"] == "pair"]
        gaps = pairs.drop(columns=["value", "low", "high"]).rename(
            columns=lambda name: name.removeprefix("selectivity_").replace("selectivity", "value")
        )
        values[f"probe_{model}"] = over_items(pairs)
        values[f"probe_alone_{model}"] = over_items(own[own["scored"] == "threshold"])
        values[f"probe_selectivity_{model}"] = over_items(gaps)
        control = float(pairs["control"].mean())
        values[f"probe_control_{model}"] = Value(control, n=len(pairs), unit="accuracy")
        for kind, part in of[of["scored"] == "pair"].groupby("kind"):
            values[f"probe_{model}_{kind}"] = over_items(part)
    return values


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


# --- figures ------------------------------------------------------------------------------------


def look_of(model: str, kind: str) -> tuple[str, str, str]:
    """Colour, marker and line style of a model in the panel of a kind of task."""
    return STYLES.get(model) or (*LOOK[kind], "-")


def kind_panels(kinds: Sequence[str], height: float = 3.7) -> tuple[Any, dict[str, Any]]:
    """A panel for each kind of task that there is."""
    shown = [kind for kind in LOOK if kind in set(kinds)]
    figure, axes = plots.panels(len(shown), 7.6 if len(shown) > 1 else 5.0, height, share_y=True)
    for panel, kind in zip(axes, shown, strict=True):
        panel.set_title(f"tasks with {kind} answers")
    return figure, dict(zip(shown, axes, strict=True))


def band(panel: Any, own: pd.DataFrame, x: str, look: tuple[str, str, str], label: str) -> None:
    """A line of ``value`` over ``x`` with its interval as a band."""
    colour, marker, line = look
    panel.fill_between(own[x], own["low"], own["high"], color=colour, alpha=0.15, lw=0, zorder=2)
    panel.plot(
        own[x], own["value"], line, color=colour, marker=marker, ms=5, lw=1.6, label=label,
        markevery=max(1, len(own) // 8), zorder=3,
    )  # fmt: skip


def legend_of(figure: Any, panels: dict[str, Any]) -> None:
    """One legend under the figure with what any panel shows; names occur once."""
    first = next(iter(panels.values()))
    known = set(first.get_legend_handles_labels()[1])
    for panel in panels.values():
        for line in panel.get_lines():
            name = str(line.get_label())
            if not name.startswith("_") and name not in known:
                known.add(name)
                first.plot(
                    [], [], line.get_linestyle(), color=line.get_color(), label=name, ms=5,
                    marker=line.get_marker(), lw=line.get_linewidth(), mfc=line.get_mfc(),
                )  # fmt: skip
    plots.legend_below(figure, first)


def _draw_probes(sweep: pd.DataFrame, answered: pd.DataFrame) -> Any:
    shown = mean_of_tasks(sweep, ["kind", "model", "depth"])
    own = mean_of_tasks(answered, ["kind", "model"])
    control = sweep.groupby(["kind", "model", "depth"])["control"].mean()
    last = int(sweep["depth"].max())
    lowest = min(0.3, shown["low"].min() - 0.02, own["low"].min() - 0.02)
    figure, panels = kind_panels(sweep["kind"])
    for kind, panel in panels.items():
        for place, model in enumerate(MODELS):
            look = look_of(model, kind)
            lines = shown[(shown["kind"] == kind) & (shown["model"] == model)]
            band(panel, lines, "depth", look, _named(model, kind))
            thin = control[kind, model]
            panel.plot(thin.index, thin, "--", color=look[0], lw=0.9, zorder=2)
            said = own[(own["kind"] == kind) & (own["model"] == model)]
            x = last * 1.12 + 0.25 + place * 0.04 * max(last, 4)
            panel.vlines(x, said["low"], said["high"], color=look[0], lw=1.4)
            panel.plot(x, said["value"].iloc[0], look[1], color=look[0], mfc="white", ms=6)
        panel.plot([], [], "--", color=plots.INK, lw=0.9, label="control: shuffled labels")
        panel.plot([], [], "o", color=plots.INK, mfc="white", label="the model's own answers")
        panel.axhline(0.5, color=plots.INK, lw=0.8, ls="--")
        panel.set(xlabel="depth read (blocks)", ylim=(lowest, 1.02))
        ticks = list(range(0, last + 1, max(1, last // 8)))
        panel.set_xticks([*ticks, last * 1.12 + 0.25 + 0.04 * max(last, 4)], [*ticks, "said"])
    next(iter(panels.values())).set_ylabel("share of items, mean over tasks")
    legend_of(figure, panels)
    return figure


def _named(model: str, kind: str) -> str:
    return f"forgotten, {kind}" if model == "forgotten" else model


def told(value: Value, form: str = ".2f") -> str:
    """A value with its interval, in words."""
    if value.value is None:
        return "not measured"
    if value.ci95 is None:
        return f"{value.value:{form}}"
    return f"{value.value:{form}} ({value.ci95[0]:{form}} to {value.ci95[1]:{form}})"


def _probe_words(values: dict[str, Value], depth: int) -> tuple[str, str]:
    count = values["probe_tasks"]
    numbers = "; ".join(
        f"{model} {told(values[f'probe_{model}'])}, its own answers "
        f"{told(values[f'probed_model_{model}'])}"
        for model in MODELS
        if count.value
    )
    headline = (
        f"At the paper's depth, {depth}, in the mean over the {count.value:.0f} of {count.n} tasks "
        f"that can be read in the tuned model: {numbers}."
        if count.value
        else f"At the paper's depth, {depth}, none of the {count.n} tasks can be read in the tuned "
        "model."
    )
    caption = (
        "Can a linear probe still tell the right answer? Share of test items whose right answer it "
        "puts ahead of the wrong one, by the depth it reads, mean over tasks; open marks, what the "
        "model itself answers; thin dashed lines, the same probe taught shuffled labels. "
        f"{headline} Bands and bars are 95 % intervals over items."
    )
    alt = f"Probe accuracy by depth for three models, beside their own answers. {headline}"
    return caption, alt


def _draw_relearning(shown: pd.DataFrame) -> Any:
    figure, panels = kind_panels(shown["kind"])
    for kind, panel in panels.items():
        of = shown[shown["kind"] == kind]
        for start in of["start"].unique():
            band(panel, of[of["start"] == start], "step", look_of(start, kind), _named(start, kind))
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


STUDIES = (shallow,)
