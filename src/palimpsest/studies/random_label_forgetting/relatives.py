"""Do models of other sizes forget the same tasks?"""

import re
from typing import Any

import numpy as np
import pandas as pd

from palimpsest.core import plots, stats
from palimpsest.core.models import LanguageModel
from palimpsest.core.results import Claim, Figure, Result, Value, absent
from palimpsest.core.study import Context, study
from palimpsest.forgetting import measures
from palimpsest.forgetting.predictors import weighted_rho
from palimpsest.studies.random_label_forgetting import cast
from palimpsest.studies.random_label_forgetting.controls import NOT_LEARNED, ratios
from palimpsest.studies.random_label_forgetting.looks import broken, ratio_span
from palimpsest.studies.random_label_forgetting.summaries import ratio

# The run's own model, then its relatives.
MODEL_LOOKS = (
    (plots.INK, "o"), ("#CC79A7", "v"), ("#56B4E9", "^"), ("#E69F00", "s"), ("#7f7f7f", "P"),
)  # fmt: skip
CLOSEST = 1 - 1e-6  # to 1 that a correlation is taken to be
FEWEST = 4  # tasks from which a rank correlation says anything
NO_RELATIVES = "no other model was named, or the one of this run has no shipped relatives"


def damages(table: pd.DataFrame) -> pd.DataFrame:
    """[tasks, models]: the accuracy that each task lost, mean over sources that are other tasks.

    Not its ratio: of a task that a small model barely learned, a ratio is mostly noise. Tasks that
    it did not learn (their ratio is NaN) have no value.
    """
    rows = table[~table["own"]]
    lost = (rows["before"] - rows["after"]).where(rows["ratio"].notna())
    means = rows.assign(lost=lost).groupby(["task", "model"], sort=False)["lost"].mean()
    return means.unstack("model").reindex(columns=pd.unique(table["model"]))


def alike(damage: pd.DataFrame, own: str, others: list[str], seed: int = 0) -> Value:
    """Spearman's rho over tasks of the damage in the model ``own`` with that in another one, mean
    over ``others``; tasks resampled. Tasks that lack a value in one of them are left out."""
    table = damage.reindex(columns=[own, *others]).dropna()
    columns = table.to_numpy(dtype=np.float64).T
    if not others or len(table) < FEWEST or not (np.ptp(columns, axis=1) > 0).all():
        return Value(None, n=len(table), unit="rho")

    def statistic(weights: np.ndarray) -> np.ndarray:
        rhos = [weighted_rho(columns[0], one, weights) for one in columns[1:]]
        return np.arctanh(np.clip(np.mean(rhos, axis=0), -CLOSEST, CLOSEST))

    factor = stats.Factor(np.arange(len(table)), np.zeros(len(table), dtype=np.intp))
    found = stats.bootstrap(statistic, [factor], columns, seed=seed)
    back = (float(np.tanh(one)) for one in (found.value, found.low, found.high))
    return Value.of(stats.Interval(*back, found.n), "rho")


def null_relatives(seed: int, tasks: int = 21, sources: int = 6) -> dict[str, Value]:
    """The claim's measure where which tasks suffer has nothing to do with it from model to
    model."""
    rng = np.random.default_rng(seed)
    names = np.array([f"task {place}" for place in range(tasks)])
    parts = []
    for model in ("own", "smaller", "larger"):
        loss = rng.exponential(0.1, tasks) + rng.normal(0, 0.02, (sources, tasks))
        part = pd.DataFrame(
            {"source": np.repeat(names[:sources], tasks), "task": np.tile(names, sources)}
        )
        parts.append(part.assign(model=model, before=0.9, after=0.9 - loss.ravel(), ratio=0.0))
    table = pd.concat(parts, ignore_index=True)
    table["own"] = table["source"] == table["task"]
    return {"alike_rho": alike(damages(table), "own", ["smaller", "larger"], seed)}


@study(
    claims=[
        Claim(
            id="rl-23",
            statement="The grids of models of other sizes look alike: how much accuracy the tasks "
            "lose to the random labels of others agrees in rank, with a correlation above 0.3.",
            source="arXiv:2409.02228, reported second-hand: the grids of GPT-J-6B and GPT-2",
            grade="known",
            measure="alike_rho",
            rule="alike_rho > 0.3",
        )
    ],
    null=null_relatives,
)
def relatives(ctx: Context) -> Result:
    """Do models of other sizes forget the same tasks?"""
    others = cast.relatives(ctx)
    others = {name: lm for name, lm in others.items() if name != ctx.lm.name}
    if not others:
        return Result(figures={"relatives": absent(NO_RELATIVES)}, notes={"rl-23": NO_RELATIVES})
    answers = {ctx.lm.name: _own_grid(ctx)}
    answers |= {name: _grid_of(ctx, lm) for name, lm in others.items()}
    table = pd.concat(
        [ratios(*pair).assign(model=name) for name, pair in answers.items()], ignore_index=True
    )
    damage = damages(table)
    sizes = [name for name in others if not name.endswith("-twin")]
    twins = [name for name in others if name not in sizes]
    values = {
        "alike_rho": alike(damage, ctx.lm.name, sizes, ctx.seed),
        "twin_rho": alike(damage, ctx.lm.name, twins, ctx.seed),
    }
    for name, (before, _) in answers.items():
        slug = re.sub(r"\W+", "_", name.lower())
        own = table[(table["model"] == name) & table["own"]]["ratio"].dropna()
        values[f"relative_{slug}_tuned"] = Value(
            before.groupby("task")["correct"].mean().mean(), n=before["task"].nunique(),
            unit="share",
        )  # fmt: skip
        values[f"relative_{slug}_own"] = Value.of(
            stats.cluster_bootstrap(own.to_numpy(), seed=ctx.seed), "ratio"
        )
        if name in others:
            values[f"relative_{slug}_rho"] = alike(damage, ctx.lm.name, [name], ctx.seed)
    own = _own_intervals(answers, ctx.seed)
    notes = {}
    if values["alike_rho"].value is None:
        notes["rl-23"] = NOT_LEARNED if sizes else "only twins of the model were named"
    columns = ["model", "source", "task", "own", "before", "after", "ratio"]
    readable = table[columns].assign(
        source=table["source"].map(cast.label), task=table["task"].map(cast.label)
    )
    return Result(
        values=values,
        tables={"relatives": readable},
        figures={
            "relatives": Figure(
                _draw_relatives(own, damage), *_relatives_words(own, values, list(answers))
            )
            if own["value"].notna().any()
            else absent(NOT_LEARNED)
        },
        notes=notes,
    )


def _own_grid(ctx: Context) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The answers of the run's own model, tuned and after the controlled tasks' random labels."""
    after = [
        cast.forgotten(ctx, source).answers.assign(source=source, draw=0)
        for source in cast.controlled(ctx)
    ]
    return cast.start(ctx).answers, pd.concat(after, ignore_index=True)


def _grid_of(ctx: Context, lm: LanguageModel) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The same of another model."""
    begun = cast.start_of(ctx, lm)
    after = []
    for source in cast.controlled(ctx):
        outcome = ctx.cell(
            cast.tuned_on, lm=lm, weights=begun.weights, items=cast.items_of(ctx)[source].train,
            scheme="random", settings=cast.forgetting(ctx, lm), seed=cast.label_seed(ctx, 0),
            asked=cast.asked(ctx), keep=False,
        )  # fmt: skip
        after.append(outcome.answers.assign(source=source, draw=0))
    return begun.answers, pd.concat(after, ignore_index=True)


def _own_intervals(
    answers: dict[str, tuple[pd.DataFrame, pd.DataFrame]], seed: int
) -> pd.DataFrame:
    """``model, source, value, low, high``: the ratio of each source's own task, items resampled."""
    rows = []
    for model, (before, after) in answers.items():
        for source, part in after[after["source"] == after["task"]].groupby("source", sort=False):
            one = measures.forget_ratio(before[before["task"] == source], part, seed=seed)
            rows.append((model, source, one.value, one.low, one.high))
    return pd.DataFrame(rows, columns=["model", "source", "value", "low", "high"])


def _draw_relatives(own: pd.DataFrame, damage: pd.DataFrame) -> Any:
    figure, axes = plots.panels(2, 8.0, 4.6)
    models, sources = list(pd.unique(own["model"])), list(pd.unique(own["source"]))
    looks = {model: MODEL_LOOKS[place % len(MODEL_LOOKS)] for place, model in enumerate(models)}
    for place, model in enumerate(models):
        rows = own[own["model"] == model].set_index("source").reindex(sources)
        heights = np.arange(len(sources)) + 0.7 / len(models) * (place - (len(models) - 1) / 2)
        colour, marker = looks[model]
        axes[0].hlines(
            heights, rows["low"].clip(-9, 9), rows["high"].clip(-9, 9), color=colour, lw=1.4,
            alpha=0.75,
        )  # fmt: skip
        axes[0].plot(
            rows["value"], heights, marker, color=colour, ms=6, mec="white", mew=0.6, label=model
        )
        if place:
            axes[1].plot(
                damage[models[0]], damage[model], marker, color=colour, ms=6, mec="white", mew=0.6
            )
    axes[0].set_xlim(*ratio_span(own["value"].to_list()))
    axes[0].set_yticks(range(len(sources)), [broken(cast.label(source)) for source in sources])
    axes[0].invert_yaxis()
    axes[0].axvline(1, color=plots.INK, lw=0.8, ls="--")
    axes[0].set_xlabel("forget ratio of the own task")
    there = damage.dropna().to_numpy(dtype=np.float64)
    if len(there):
        ends = there.min() - 0.02, there.max() + 0.02
        axes[1].plot(ends, ends, color=plots.INK, lw=0.8, ls=":")
        axes[1].set_xlim(there[:, 0].min() - 0.01, there[:, 0].max() + 0.01)
    axes[1].set_xlabel(f"accuracy that a task lost to others' labels,\n{models[0]}")
    axes[1].set_ylabel("the same, in the other models")
    plots.legend_below(figure, axes[0])
    return figure


def _relatives_words(
    own: pd.DataFrame, values: dict[str, Value], models: list[str]
) -> tuple[str, str]:
    means = own.groupby("model")["value"].mean()
    told = "; ".join(f"{model}: {ratio(means[model])}" for model in models)

    def rho(name: str) -> str:
        value = values[name].value
        return "not measured" if value is None else f"{value:.2f}"

    caption = (
        f"The same random labels in {len(models)} models. Left, the forget ratio of the task whose "
        f"labels were random, with 95 % intervals over items; in the mean, {told}. Right, what "
        f"accuracy each task lost to the random labels of others, one point a task, in {models[0]} "
        f"and in the other models (dotted: equal). Rank correlation: {rho('alike_rho')} with "
        f"models that are no twin, {rho('twin_rho')} with a twin."
    )
    return caption, (
        f"Left, dots with intervals, a row for each randomised task, a marker for each model. "
        f"Right, a scatter of tasks. Mean ratio of the own task, {told}. Rank correlation "
        f"{rho('alike_rho')}, twin {rho('twin_rho')}."
    )


STUDIES = (relatives,)
