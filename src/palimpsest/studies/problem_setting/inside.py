"""The inside view: at which depth a fact can be read, and how deep its removal goes.

Two measurements. The logit lens reads the answer from every depth of a model. Patching carries the
hidden states of a model that was made to forget into the original, and sees how much of the answer
goes with them; beside the same with the retrained model that is the unlearning depth score.
"""

from typing import Any

import numpy as np
import pandas as pd

from palimpsest.core import plots, stats
from palimpsest.core.inside import depth_score, drops, lens, patch
from palimpsest.core.models import LanguageModel
from palimpsest.core.results import Claim, Figure, Result, Value
from palimpsest.core.study import Context, study
from palimpsest.studies.controls import Weights, with_weights
from palimpsest.studies.lessons import Question
from palimpsest.studies.problem_setting.cast import METHODS, late_casts

SHOWN = ("theta_o", *METHODS, "theta_r")
DONORS = (*METHODS, "theta_r", "twin")


# --- cells --------------------------------------------------------------------------------------


def read_at_depths(
    lm: LanguageModel, weights: Weights, questions: tuple[Question, ...]
) -> pd.DataFrame:
    """The logit lens on the right answers: columns ``entity, fact, depth, per_token`` (nats)."""
    found = lens(with_weights(lm, weights), _pairs(questions))
    return _named(found, questions)[["entity", "fact", "depth", "per_token"]]


def carried(
    lm: LanguageModel, receiver: Weights, donor: Weights, questions: tuple[Question, ...]
) -> np.ndarray:
    """How many nats a token of the right answer loses in ``receiver`` if the hidden state after a
    block is taken from ``donor``: float64 [questions, blocks]."""
    one, other = with_weights(lm, receiver), with_weights(lm, donor)
    return drops(patch(one, other, _pairs(questions)))


def _pairs(questions: tuple[Question, ...]) -> list[tuple[str, str]]:
    return [(q.probe.prompt, f" {q.probe.answer}") for q in questions]


def _named(table: pd.DataFrame, questions: tuple[Question, ...]) -> pd.DataFrame:
    asked = pd.DataFrame(
        {"entity": [q.entity for q in questions], "fact": [q.probe.fact for q in questions]}
    )
    return table.join(asked, on="pair")


# --- measures -----------------------------------------------------------------------------------


def depths(
    lost: dict[str, np.ndarray], entities: np.ndarray, seed: int = 0
) -> tuple[dict[str, Value], pd.DataFrame]:
    """Unlearning depth scores, over people.

    Args:
        lost: donor -> what :func:`carried` gives, of which ``theta_r`` and ``twin`` are two.
        entities: [questions] whom each question is about.
        seed: of the resampling.

    Returns:
        Values ``depth_*`` for each donor but θ_r, and ``shallower_*`` for each method: the score of
        the twin minus that of the method. And a table of the scores, one question a row.
    """
    scores = {
        donor: depth_score(one, lost["theta_r"])
        for donor, one in lost.items()
        if donor != "theta_r"
    }
    table = pd.DataFrame({"entity": entities, **scores}).dropna()
    values = {}
    for donor in scores:
        mean = stats.cluster_bootstrap(table[donor], table["entity"], seed=seed)
        values[f"depth_{donor}"] = Value.of(mean, "share")
        if donor != "twin":
            gap = stats.paired_bootstrap(table["twin"], table[donor], table["entity"], seed=seed)
            values[f"shallower_{donor}"] = Value.of(gap, "share")
    return values, table


def null_depths(seed: int, people: int = 20, facts: int = 4, blocks: int = 4) -> dict[str, Value]:
    """The claim's measure where the unlearned model is one more retrained model."""
    rng = np.random.default_rng(seed)
    common = rng.gamma(2, 1, (people * facts, blocks))
    ease = np.repeat(rng.normal(0, 0.3, people), facts)[:, None]
    lost = {
        donor: common + ease + rng.normal(0, 0.5, common.shape)
        for donor in ("theta_r", "twin", "difference")
    }
    return depths(lost, np.repeat(np.arange(people), facts), seed)[0]


# --- the study ----------------------------------------------------------------------------------


@study(
    claims=[
        Claim(
            id="ps-9",
            statement="What gradient difference takes out of the hidden states is less than what "
            "retraining takes out: its unlearning depth score lies below that of another retrained "
            "model.",
            source="arXiv:2506.09227: many methods meant as removal act as suppression",
            grade="text",
            measure="shallower_difference",
            rule="shallower_difference > 0",
        )
    ],
    null=null_depths,
)
def inside(ctx: Context) -> Result:
    """Where in the network does a fact sit, before and after it was forgotten?"""
    cast = late_casts(ctx)[0]
    asked = cast.lesson.ask("forget", "test", "direct")
    read = pd.concat(
        [
            ctx.cell(
                read_at_depths, lm=ctx.lm, weights=cast.weights[model], questions=asked
            ).assign(model=model)
            for model in SHOWN
        ],
        ignore_index=True,
    )
    lost = {
        donor: ctx.cell(
            carried, lm=ctx.lm, receiver=cast.weights["theta_o"], donor=cast.weights[donor],
            questions=asked,
        )
        for donor in DONORS
    }  # fmt: skip
    entities = np.array([question.entity for question in asked])
    values, scores = depths(lost, entities, ctx.seed)
    curves = _curves(read, ctx.seed)
    carried_by = _by_depth(lost, entities, ctx.seed)
    none = "retraining changes no hidden state by 0.05 nats: there is no depth to measure"
    return Result(
        values=values,
        tables={"lens": curves, "patching": carried_by, "depth_scores": scores},
        figures={
            "lens": Figure(_draw_lens(curves), *_lens_words(curves)),
            "depth": Figure(_draw_depth(carried_by), *_depth_words(values)),
        },
        notes={} if len(scores) else {"ps-9": none},
    )


def _curves(read: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Mean over facts of the answer's log-probability per token: columns ``model, depth, mean, low,
    high``."""
    rows = []
    for (model, depth), own in read.groupby(["model", "depth"], sort=False):
        one = stats.cluster_bootstrap(own["per_token"], own["entity"], seed=seed)
        rows.append((model, depth, one.value, one.low, one.high))
    return pd.DataFrame(rows, columns=["model", "depth", "mean", "low", "high"])


def _by_depth(lost: dict[str, np.ndarray], entities: np.ndarray, seed: int) -> pd.DataFrame:
    rows = []
    for donor, table in lost.items():
        for block in range(table.shape[1]):
            one = stats.cluster_bootstrap(table[:, block], entities, seed=seed)
            rows.append((donor, block + 1, one.value, one.low, one.high))
    return pd.DataFrame(rows, columns=["model", "depth", "mean", "low", "high"])


# --- figures ------------------------------------------------------------------------------------


def _draw_lens(curves: pd.DataFrame) -> Any:
    # Before the first block nothing is computed; its very low values would flatten all others.
    curves = curves[curves["depth"] > 0]
    figure, axes = plots.figure(6.0, 3.6)
    for model in SHOWN:
        own = curves[curves["model"] == model]
        plots.curve(
            axes, own["depth"].to_numpy(), own["mean"].to_numpy(), model,
            own[["low", "high"]].to_numpy(),
        )  # fmt: skip
    axes.set(xlabel="depth (blocks)", ylabel="log-probability of the\nright answer (nats a token)")
    axes.set_xticks(sorted(curves["depth"].unique()))
    plots.legend_below(figure, axes)
    return figure


def _lens_words(curves: pd.DataFrame) -> tuple[str, str]:
    last = curves[curves["depth"] == curves["depth"].max()].set_index("model")["mean"]
    told = ", ".join(f"{plots.NAMES[model]} {last[model]:.1f}" for model in SHOWN)
    caption = (
        "The logit lens on forgotten facts: how probable the right answer is if the hidden state "
        f"of each depth is read out as if it were the last. After the last block: {told} nats a "
        "token. Mean over facts; bands are 95 % intervals over people."
    )
    return caption, f"Four lines over depth, with bands. After the last block: {told}."


def _draw_depth(table: pd.DataFrame) -> Any:
    figure, axes = plots.figure(6.0, 3.6)
    for model in DONORS:
        own = table[table["model"] == model]
        plots.curve(
            axes, own["depth"].to_numpy(), own["mean"].to_numpy(), model,
            own[["low", "high"]].to_numpy(),
        )  # fmt: skip
    axes.axhline(0, color=plots.INK, lw=0.8)
    axes.set(xlabel="depth (blocks)", ylabel="loss of the right answer\n(nats a token)")
    axes.set_xticks(sorted(table["depth"].unique()))
    plots.legend_below(figure, axes)
    return figure


def _depth_words(values: dict[str, Value]) -> tuple[str, str]:
    def told(donor: str) -> str:
        value = values[f"depth_{donor}"].value
        return f"{plots.NAMES[donor]} {'none' if value is None else f'{value:.2f}'}"

    scores = ", ".join(told(donor) for donor in (*METHODS, "twin"))
    caption = (
        "How deep the removal goes: what the original model loses of the right answer if its "
        "hidden state after a block is replaced by that of another model. Unlearning depth scores, "
        f"where the retrained model is 1: {scores}. Mean over facts; bands are 95 % intervals over "
        "people."
    )
    return caption, f"Lines over depth, with bands, one for each donor of hidden states. {scores}."


STUDIES = (inside,)
