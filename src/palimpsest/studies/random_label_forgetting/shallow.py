"""Is a skill that random labels took away gone from the network, or only from its answers?

A linear probe is taught to read from the hidden states whether an answer is right, before and after
forgetting (the paper's finding; random-label digest, section 3, no. 8, and section 5). The other
test of depth is :mod:`.relearning`.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from palimpsest.core import plots, stats
from palimpsest.core.errors import ModelError
from palimpsest.core.models import LanguageModel
from palimpsest.core.results import Claim, Figure, Result, Value, absent
from palimpsest.core.study import Context, study
from palimpsest.forgetting.items import TwoWay
from palimpsest.forgetting.predictors import paper_depth
from palimpsest.forgetting.probes import fit, pair_states, probe
from palimpsest.studies.controls import Weights, with_weights
from palimpsest.studies.random_label_forgetting import cast
from palimpsest.studies.random_label_forgetting.looks import (
    band,
    kind_panels,
    legend_of,
    look_of,
    named,
)
from palimpsest.studies.random_label_forgetting.summaries import mean_of_tasks, over_items, told

MODELS = ("pretrained", "tuned", "forgotten")
LEARNED = 0.05  # distance from chance below which there is nothing to lose
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


# --- null ---------------------------------------------------------------------------------------


def null_shallow(seed: int, tasks: int = 4, items: int = 60) -> dict[str, Value]:
    """The claims' measures where forgetting destroyed the hidden states, and where a probe reads
    just what the model says."""
    rng = np.random.default_rng(seed)
    names = [f"task {place}" for place in range(tasks)]
    told, right = {}, {}
    for task in names:
        for model in MODELS:
            level = rng.uniform(0.5, 0.6) if model == "forgotten" else 0.85
            told[task, model], right[task, model] = rng.random((2, items)) < level
    probes = probe_tasks(told, right, dict.fromkeys(names, 0.1), seed, draws=50)
    return probe_values(probes, seed)


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
    ],
    null=null_shallow,
)
def shallow(ctx: Context) -> Result:
    """Can a linear probe still read the answer?"""
    result = Result()
    try:
        found = _probes(ctx)
    except ModelError:
        result.figures["probes"] = absent(UNREAD)
        result.notes |= {"rl-18": UNREAD, "rl-19": UNREAD}
    else:
        _add_probes(result, ctx, found)
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


# --- figures ------------------------------------------------------------------------------------


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
            band(panel, lines, "depth", look, named(model, kind))
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


STUDIES = (shallow,)
