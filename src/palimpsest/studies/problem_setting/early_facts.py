"""Early facts: is what was learned in all of training harder to take out than what came last?

The same two methods on the people to forget of stage 1, against the models that were really trained
without them; and what relearning brings back there, beside what it brings back of late facts.
"""

from typing import Any

import numpy as np
import pandas as pd

from palimpsest.core import plots, stats
from palimpsest.core.results import Claim, Figure, Result, Value, absent
from palimpsest.core.study import Context, study
from palimpsest.studies.problem_setting.cast import EARLY, METHODS, early_cast
from palimpsest.studies.problem_setting.late_facts import (
    ASKED,
    ASKED_WORDS,
    measures,
    question_cast,
    question_everyone,
)
from palimpsest.studies.problem_setting.outcomes import SMALLEST_SPAN, accuracies, outcomes

STAGES = {"early": "learned in stage 1", "late": "learned in stage 2"}
NO_PAST = (
    "stage 1 of this model is not known: early facts need palimpsest-m and the models that were "
    "trained without the people to forget"
)


def recovered(rows: pd.DataFrame, method: str, seed: int = 0) -> Value:
    """Recovery rate of early facts minus that of late ones, with an interval over people.

    With A' a model's share of right answers after relearning other facts, the recovery rate is
    (A'_u − A'_r) / (A_o − A_r): of what retraining removes, the part that relearning brings back in
    the unlearned model and not in the retrained one. After arXiv:2410.08827, whose rate divides by
    the original's answers and shows the retrained model beside it.

    Args:
        rows: of ``outcomes.outcomes`` for the people to forget, both stages, with a column
            ``stage``.
        method: a column of ``rows``.
        seed: of the resampling.
    """
    own = rows[rows["asked"].isin(("direct", "relearned"))]
    right = own[[method, "theta_r", "theta_o"]].to_numpy(dtype=float)
    masks = {
        (stage, asked): ((own["stage"] == stage) & (own["asked"] == asked)).to_numpy(dtype=float)
        for stage in STAGES
        for asked in ("direct", "relearned")
    }
    if any(not mask.any() for mask in masks.values()):
        return Value(None, unit="share")
    for stage in STAGES:
        before = masks[stage, "direct"] @ right / masks[stage, "direct"].sum()
        if before[2] - before[1] < SMALLEST_SPAN:
            return Value(None, n=own["entity"].nunique(), unit="share")

    def rate(weights: np.ndarray, stage: str) -> np.ndarray:
        means = {}
        for asked in ("direct", "relearned"):
            drawn = weights * masks[stage, asked]
            means[asked] = (drawn @ right / drawn.sum(axis=1, keepdims=True)).T
        _, retrained, original = means["direct"]
        unlearned, after, _ = means["relearned"]
        return (unlearned - after) / (original - retrained)

    units, codes = np.unique(own["entity"].to_numpy(), return_inverse=True)
    stage_of = own.drop_duplicates("entity").set_index("entity")["stage"].reindex(units)
    factor = stats.Factor(codes, (stage_of == "late").to_numpy().astype(np.intp))
    found = stats.bootstrap(
        lambda weights: rate(weights, "early") - rate(weights, "late"), [factor], right, seed=seed
    )
    return Value.of(found, "share")


def null_early(seed: int, people: int = 16, facts: int = 4) -> dict[str, Value]:
    """The claim's measure where relearning brings back the same share in both stages."""
    rng = np.random.default_rng(seed)
    parts = []
    for number, stage in enumerate(STAGES):
        entity = number * people + np.repeat(np.arange(people), facts)
        ease = rng.normal(0, 0.1, people)
        for asked, levels in (("direct", (0.15, 0.12, 0.9)), ("relearned", (0.4, 0.2, 0.95))):
            part = pd.DataFrame({"entity": entity, "asked": asked, "stage": stage, "seed": 0})
            for model, level in zip(("difference", "theta_r", "theta_o"), levels, strict=True):
                part[model] = rng.binomial(1, np.repeat(np.clip(level + ease, 0, 1), facts))
            parts.append(part)
    return {"recovered_early": recovered(pd.concat(parts, ignore_index=True), "difference", seed)}


@study(
    claims=[
        Claim(
            id="ps-8",
            statement="Facts learned early are harder to take out than facts planted late: after "
            "gradient difference and relearning of other facts, a greater share of them is there.",
            source="arXiv:2410.08827: above 88 % recovered of facts learned in pretraining, below "
            "35 % of facts planted by fine-tuning",
            grade="text",
            measure="recovered_early",
            rule="recovered_early > 0",
        )
    ],
    null=null_early,
)
def early_facts(ctx: Context) -> Result:
    """Are facts of stage 1 forgotten like facts of stage 2?"""
    cast = ctx.once(early_cast)
    if cast is None:
        return Result(notes={"ps-8": NO_PAST}, figures={"stages": absent(NO_PAST)})
    answers = question_cast(ctx, cast)
    table = accuracies(answers, ctx.seed)
    _, late = question_everyone(ctx)
    late = late[late["seed"] == ctx.seed]
    rows = pd.concat(
        [
            outcomes(part, "forget").assign(stage=stage)
            for stage, part in (("early", answers), ("late", late))
        ],
        ignore_index=True,
    )
    early = rows[rows["stage"] == "early"]
    values = {f"early_{name}": one for name, one in measures(early, ctx.seed).items()} | {
        f"early_{row.group}_{row.model}_{row.asked}": Value(
            row.accuracy, (row.low, row.high), row.people, "share"
        )
        for row in table.itertuples(index=False)
    }
    for method in METHODS:
        values[f"recovered_early_{method}"] = recovered(rows, method, ctx.seed)
    values["recovered_early"] = values["recovered_early_difference"]
    both = pd.concat(
        [table.assign(stage="early"), accuracies(late, ctx.seed).assign(stage="late")],
        ignore_index=True,
    )
    return Result(
        values=values,
        tables={"stages": both, "early_rates": cast.rates},
        figures={"stages": Figure(_draw_stages(both), *_stages_words(both))},
    )


def _draw_stages(both: pd.DataFrame) -> Any:
    figure, axes = plots.panels(2, 7.2, 4.2, share_y=True)
    for panel, (stage, words) in zip(axes, STAGES.items(), strict=True):
        rows = both[(both["stage"] == stage) & (both["group"] == "forget")]
        for number, model in enumerate(EARLY):
            own = rows[rows["model"] == model].set_index("asked").reindex(ASKED)
            heights = np.arange(len(ASKED)) + 0.16 * (number - (len(EARLY) - 1) / 2)
            ends = own[["low", "high"]].to_numpy()
            plots.dots(panel, own["accuracy"].to_numpy(), heights, model, ends)
        panel.set(xlim=(-0.02, 1.02), xlabel="share of right answers")
        panel.set_title(words)
    axes[0].set_yticks(range(len(ASKED)), [ASKED_WORDS[name] for name in ASKED])
    axes[0].invert_yaxis()
    plots.legend_below(figure, axes[0])
    return figure


def _stages_words(both: pd.DataFrame) -> tuple[str, str]:
    shares = both[both["group"] == "forget"].set_index(["stage", "model", "asked"])["accuracy"]

    def told(stage: str) -> str:
        parts = (
            f"{plots.NAMES[model]} {shares[stage, model, 'direct']:.2f} before and "
            f"{shares[stage, model, 'relearned']:.2f} after relearning"
            for model in (*METHODS, "theta_r")
        )
        return f"{STAGES[stage]}: {', '.join(parts)}"

    numbers = "; ".join(told(stage) for stage in STAGES)
    caption = (
        "The same methods on facts of two ages. Share of right answers to direct questions on the "
        f"people to forget, {numbers}. Bars are 95 % intervals over people."
    )
    return caption, f"Two panels of dots with intervals, a row for each way of asking. {numbers}."


STUDIES = (early_facts,)
