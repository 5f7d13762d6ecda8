"""The models of chapter 1, made once and looked at by all of its studies.

*Late* facts: θ_o, θ_r, its twin and θ_0 are stage 2 repeated with everybody, without the people to
forget (twice, with two seeds), and without any newcomer. *Early* facts: θ_o is the shipped
``palimpsest-m``, θ_r and its twin are the models that were trained on stage 1 without the people to
forget; θ_r and θ_0 coincide there. What each method makes of θ_o stands beside them.
"""

from dataclasses import dataclass

import pandas as pd
import torch

from palimpsest.core import models
from palimpsest.core.study import Context
from palimpsest.studies.controls import (
    OBJECTIVES,
    WITH_RETAIN,
    Taught,
    Teaching,
    Weights,
    forget,
    relearn,
    relearning_rate,
    teach,
    weights_of,
)
from palimpsest.studies.lessons import Lesson, early_lesson, open_lesson
from palimpsest.studies.problem_setting.parameters import RELEARNING_RATES, forgetting_rates

METHODS = tuple(OBJECTIVES)
LATE = ("theta_o", *METHODS, "theta_r", "twin", "theta_0")
EARLY = ("theta_o", *METHODS, "theta_r", "twin")
# The shipped models that are each other's controls on early facts.
EARLY_MODELS = {
    "theta_o": "palimpsest-m",
    "theta_r": "palimpsest-m-never",
    "twin": "palimpsest-m-never-twin",
}


@dataclass(frozen=True)
class Cast:
    """The models of one stage and seed.

    Attributes:
        lesson: what they were taught or not taught.
        weights: name (of :data:`LATE` or :data:`EARLY`) -> weights.
        paths: how development answers fell on the way: columns ``method, rate, step, forget,
            chosen``.
        rates: what each learning rate led to: ``method, rate, reached, steps, seconds, forget,
            keep, chosen``.
        seed: of everything random.
        teaching: what it took to teach the models that were taught here: ``model, steps, seconds``.
    """

    lesson: Lesson
    weights: dict[str, Weights]
    paths: pd.DataFrame
    rates: pd.DataFrame
    seed: int
    teaching: pd.DataFrame


def late_cast(ctx: Context, seed: int) -> Cast:
    """The models of stage 2, taught and unlearned in cells."""
    p = ctx.parameters
    lesson = open_lesson(ctx.data, p.people, p.documents_per_person, p.choices, seed)
    teaching = Teaching(p.epochs, p.learning_rate, p.batch_size, p.pack_length, p.lora_rank)

    def taught(documents: tuple, seed: int) -> Taught:
        return ctx.cell(teach, lm=ctx.lm, documents=documents, teaching=teaching, seed=seed)

    made = {
        "theta_o": taught(lesson.retain + lesson.forget, seed),
        "theta_r": taught(lesson.retain, seed),
        # Seeds count up by one from cast to cast, and no twin is the model of another cast.
        "twin": taught(lesson.retain, seed + 1000),
        "theta_0": taught(lesson.replay, seed)
        if lesson.replay
        else Taught(weights_of(ctx.lm), steps=0, seconds=0.0),
    }
    return _with_methods(ctx, lesson, made, seed)


def late_casts(ctx: Context) -> list[Cast]:
    """One cast for each of the run's seeds."""
    return [ctx.once(late_cast, ctx.seed + number) for number in range(ctx.parameters.seeds)]


def early_controls(ctx: Context) -> dict[str, Weights] | None:
    """θ_o, θ_r and its twin for stage 1; None if the model at hand is not the one whose stage 1 is
    known."""
    if ctx.data != "world" or not set(EARLY_MODELS.values()) <= set(models.shipped_models()):
        return None
    own = weights_of(ctx.lm)
    controls = {
        name: weights_of(models.load(shipped, device="cpu", dtype="float32"))
        for name, shipped in EARLY_MODELS.items()
    }
    if own.keys() != controls["theta_o"].keys() or not all(
        torch.equal(own[name].float(), tensor) for name, tensor in controls["theta_o"].items()
    ):
        return None
    return controls


def early_cast(ctx: Context) -> Cast | None:
    """The models of stage 1, as :func:`early_controls` has them."""
    controls = ctx.once(early_controls)
    if controls is None:
        return None
    p = ctx.parameters
    lesson = ctx.cell(
        early_lesson, people=p.people, documents=p.early_documents, choices=p.choices, seed=ctx.seed
    )
    given = {name: Taught(weights, steps=0, seconds=0.0) for name, weights in controls.items()}
    return _with_methods(ctx, lesson, given, ctx.seed)


def _with_methods(ctx: Context, lesson: Lesson, taught: dict[str, Taught], seed: int) -> Cast:
    p = ctx.parameters
    controls = {name: one.weights for name, one in taught.items()}
    made, paths, rates = {}, [], []
    for method in METHODS:
        done = ctx.cell(
            forget, lm=ctx.lm, weights=controls["theta_o"], request=lesson.request,
            retain=lesson.retain if method in WITH_RETAIN else (), method=method,
            watched=lesson.ask("forget", "dev", "direct"), kept=lesson.ask("keep", "dev", "direct"),
            rates=forgetting_rates(p.forget_rates), steps=p.forget_steps,
            stop_at=1 / p.choices, seed=seed,
        )  # fmt: skip
        made[method] = done["weights"]
        paths.append(done["path"].assign(method=method))
        rates.append(done["rates"].assign(method=method))
    return Cast(
        lesson=lesson,
        weights={**controls, **made},
        paths=pd.concat(paths, ignore_index=True),
        rates=pd.concat(rates, ignore_index=True),
        seed=seed,
        teaching=pd.DataFrame(
            [(name, one.steps, one.seconds) for name, one in taught.items()],
            columns=["model", "steps", "seconds"],
        ),
    )


def relearned(ctx: Context, cast: Cast) -> dict[str, Weights]:
    """Every model of a cast after relearning the development facts, all at the same rate, which
    development facts choose too."""
    p = ctx.parameters
    questions = cast.lesson.ask("forget", "dev", "direct")
    rates = ctx.cell(
        relearning_rate, lm=ctx.lm, unlearned={name: cast.weights[name] for name in METHODS},
        questions=questions, rates=RELEARNING_RATES, steps=p.relearn_steps, seed=cast.seed,
    )  # fmt: skip
    rate = float(rates.loc[rates["chosen"], "rate"].iloc[0])
    return {
        name: ctx.cell(
            relearn, lm=ctx.lm, weights=weights, questions=questions,
            learning_rate=rate, steps=p.relearn_steps, seed=cast.seed,
        )
        for name, weights in cast.weights.items()
    }  # fmt: skip
