"""Scope: which questions are about the forgotten facts, and what becomes of each kind.

Declared before the run, as families of probes: *in* (a fact asked in any wording, format or
language), *hard in* (by a detour: clues, the value asked first, two steps), *hard out* (neighbours:
the same kind of sentence about other people, or other sentences about the places of the forgotten),
*out* (the rest).
"""

import re
from typing import Any

import numpy as np
import pandas as pd

from palimpsest.core import plots
from palimpsest.core.models import LanguageModel
from palimpsest.core.results import Claim, Figure, Result, Value, absent
from palimpsest.core.study import Context, study
from palimpsest.core.tasks import evaluate_tasks
from palimpsest.studies.controls import Weights, ask, with_weights
from palimpsest.studies.lessons import Lesson, Question, narrowed, told_forward
from palimpsest.studies.problem_setting.cast import METHODS, Cast, late_casts
from palimpsest.studies.problem_setting.outcomes import (
    accuracies,
    gap,
    outcomes,
    share_left,
)
from palimpsest.world import World
from palimpsest.world.probing import DETOURS, FORMS

COMPARED = ("theta_o", *METHODS, "theta_r")
SYNTAX, EARLIER = "same syntax", "same syntax, stage 1"
TOPIC, TASKS = "same topic", "tasks"
SCOPES = {
    "in": [form for form in FORMS if form not in DETOURS],
    "hard in": list(DETOURS),
    "hard out": [SYNTAX, EARLIER, TOPIC],
    "out": [TASKS],
}
# One task of each domain, so that no ability is left unwatched.
WATCHED_TASKS = ("animal_facts", "rc_where", "addition", "tone", "agreement")


# --- questions ----------------------------------------------------------------------------------


def families(lesson: Lesson, people: int, choices: int, seed: int) -> tuple[Question, ...]:
    """The probes of all families but the tasks; ``form`` names the family.

    Everybody to keep stands for *same syntax*, as many people of stage 1 for the same with an older
    memory, and what is told of the towns, streets, firms and books of everybody to forget, in
    sentences of another kind, for *same topic*. Between people there is no such line to draw: in a
    small world each of those to keep shares a place with some of those to forget.

    Args:
        people: how many of those to forget are asked about, in every form.
        choices: as in ``lessons.open_lesson``.
        seed: of the distractors.
    """
    world = World(seed=0)
    forget, kept = lesson.people["forget"], lesson.people["keep"]
    earlier = world.people("early-keep")[: len(kept)]
    asked = [
        Question(probe, _entity(probe.fact), "forget", "test", form)
        for form in FORMS
        for probe in world.probes(forget[:people], forms=(form,))
    ]
    asked += [
        Question(probe, _entity(probe.fact), "keep", "test", family)
        for family, members in ((SYNTAX, kept), (EARLIER, earlier))
        for probe in world.probes(members, forms=("direct",))
        if family == SYNTAX or told_forward(world, probe.fact)
    ]
    asked = [one for one in asked if world.half[one.probe.fact] == "test"]
    asked += [
        Question(probe, _entity(probe.fact), "keep", "test", TOPIC)
        for probe in world.place_probes(forget)
        if probe.scope == "hard-out"
    ]
    return tuple(narrowed(one, choices, seed) for one in asked)


def _entity(fact: str) -> str:
    return fact.partition(".")[0]


def task_answers(lm: LanguageModel, weights: Weights, items: int) -> pd.DataFrame:
    """Answers to ``items`` test items of each watched task; an item is its own ``entity``."""
    names = [f"pal_{task}" for task in WATCHED_TASKS]
    answers = evaluate_tasks(with_weights(lm, weights), names, limit=items)
    return pd.DataFrame(
        {"entity": answers["item"], "fact": answers["item"], "correct": answers["correct"]}
    )


# --- measures -----------------------------------------------------------------------------------


def question_families(ctx: Context, cast: Cast) -> pd.DataFrame:
    """What the compared models answer in every family; one question a row, as in
    ``late_facts.question_cast``."""
    p = ctx.parameters
    asked = families(cast.lesson, p.probed_people, p.choices, cast.seed)
    parts = []
    for model in COMPARED:
        weights = cast.weights[model]
        answers = ctx.cell(ask, lm=ctx.lm, weights=weights, questions=asked)
        parts.append(answers.assign(model=model, asked=answers["form"]))
        on_tasks = ctx.cell(task_answers, lm=ctx.lm, weights=weights, items=p.task_items)
        parts.append(on_tasks.assign(model=model, asked=TASKS, group="keep", prompt=""))
    return pd.concat(parts, ignore_index=True).assign(seed=cast.seed)


def claimed(table: pd.DataFrame, seed: int = 0) -> dict[str, Value]:
    """What the claims rest on: the share left in two steps minus that asked directly
    (``hidden_difference_two_hop``), and what is lost of neighbours in syntax (``lost_*_syntax``:
    A_r − A_u)."""
    inside, outside = outcomes(table, "forget"), outcomes(table, "keep")
    hidden = share_left(inside, "difference", "two-hop", "direct", seed=seed)
    lost = {
        f"lost_{method}_{name}": gap(outside[outside["asked"] == family], "theta_r", method, seed)
        for name, family in (("syntax", SYNTAX), ("topic", TOPIC))
        for method in METHODS
    }
    return {"hidden_difference_two_hop": hidden, **lost}


def gaps(table: pd.DataFrame, seed: int = 0) -> dict[str, Value]:
    """The gap of each method to the retrained model in every family: ``gap_METHOD_in_FAMILY``."""
    return {
        f"gap_{method}_in_{_slug(family)}": gap(own, method, "theta_r", seed)
        for group in ("forget", "keep")
        for family, own in outcomes(table, group).groupby("asked", sort=False)
        for method in METHODS
    }


def _slug(family: str) -> str:
    return re.sub(r"\W+", "_", family)


def null_scope(seed: int, people: int = 12, facts: int = 6) -> dict[str, Value]:
    """The claims' measures where a method takes the same share from every way of asking, and
    nothing from neighbours."""
    rng = np.random.default_rng(seed)
    known, chance = {"direct": 0.9, "two-hop": 0.8, SYNTAX: 0.9}, 1 / 8
    parts = []
    for family, level in known.items():
        group = "keep" if family == SYNTAX else "forget"
        ease = rng.normal(0, 0.1, people)
        for model in COMPARED:
            share = {"theta_o": 1.0, "theta_r": 0.0}.get(model, 0.3)
            mean = level if group == "keep" else chance + share * (level - chance)
            rates = np.repeat(np.clip(mean + ease, 0, 1), facts)
            part = {"entity": np.repeat(range(people), facts), "fact": range(people * facts)}
            parts.append(
                pd.DataFrame(part).assign(
                    correct=rng.binomial(1, rates), model=model, asked=family, group=group,
                    prompt="", seed=0,
                )
            )  # fmt: skip
    return claimed(pd.concat(parts, ignore_index=True), seed)


# --- the study ----------------------------------------------------------------------------------


@study(
    claims=[
        Claim(
            id="ps-6",
            statement="Questions of two steps find what the direct question no longer finds: more "
            "of the facts is left there after gradient difference.",
            source="arXiv:2603.11266: multi-hop and alias queries recover forgotten facts",
            grade="text",
            measure="hidden_difference_two_hop",
            rule="hidden_difference_two_hop > 0",
        ),
        Claim(
            id="ps-10",
            statement="Without a retain term the rest is not spared: about people to keep, "
            "gradient ascent lowers the share of right answers by at least 0.2 below that of a "
            "retrained model.",
            source="arXiv:2407.06460: gradient ascent without a retain term destroys utility",
            grade="text",
            measure="lost_ascent_syntax",
            rule="lost_ascent_syntax > 0.2",
        ),
        Claim(
            id="ps-7",
            statement="Neighbours in syntax are not spared: about other people, of whom the same "
            "kind of sentence is told, gradient difference lowers the share of right answers by at "
            "least 0.05 below that of a retrained model.",
            source="arXiv:2602.03379: syntactic neighbours matter at least as much as topical ones",
            grade="text",
            measure="lost_difference_syntax",
            rule="lost_difference_syntax > 0.05",
        ),
    ],
    null=null_scope,
)
def scope(ctx: Context) -> Result:
    """What becomes of each family of questions, from the request's own words to unrelated tasks?"""
    cast = late_casts(ctx)[0]
    if not cast.lesson.people:
        reason = "the data are a reader's own records, which have no families of probes"
        return Result(
            notes=dict.fromkeys(("ps-6", "ps-7", "ps-10"), reason),
            figures={"scope": absent(reason)},
        )
    table = question_families(ctx, cast)
    shares = accuracies(table, ctx.seed)
    values = claimed(table, ctx.seed) | gaps(table, ctx.seed)
    values |= {
        f"right_{row.model}_in_{_slug(row.asked)}": Value(
            row.accuracy, (row.low, row.high), row.people
        )
        for row in shares.itertuples(index=False)
    }
    notes = {}
    if values["hidden_difference_two_hop"].value is None:
        notes["ps-6"] = "the original does not answer questions of two steps well enough"
    return Result(
        values=values,
        notes=notes,
        tables={"families": shares},
        figures={"scope": Figure(_draw_scope(shares), *_scope_words(values))},
    )


def _draw_scope(shares: pd.DataFrame) -> Any:
    present = set(shares["asked"])
    rows = [(name, one) for name, some in SCOPES.items() for one in some if one in present]
    figure, axes = plots.figure(7.0, 0.27 * len(rows) + 1.3)
    for number, model in enumerate(COMPARED):
        own = shares[shares["model"] == model].set_index("asked").reindex([one for _, one in rows])
        heights = np.arange(len(rows)) + 0.17 * (number - (len(COMPARED) - 1) / 2)
        ends = own[["low", "high"]].to_numpy()
        plots.dots(axes, own["accuracy"].to_numpy(), heights, model, ends)
    for place in range(1, len(rows)):
        if rows[place][0] != rows[place - 1][0]:
            axes.axhline(place - 0.5, color=plots.INK, lw=0.8)
    axes.set_yticks(range(len(rows)), [f"{name}: {one}" for name, one in rows])
    axes.set(xlim=(-0.02, 1.02), xlabel="share of right answers")
    axes.invert_yaxis()
    plots.legend_below(figure, axes)
    return figure


def _scope_words(values: dict[str, Value]) -> tuple[str, str]:
    def told(family: str) -> str:
        shares = (f"{values[f'right_{model}_in_{_slug(family)}'].value:.2f}" for model in COMPARED)
        return f"{family}: {', '.join(shares)}"

    shown = [one for one in ("direct", *DETOURS, SYNTAX, EARLIER, TOPIC, TASKS)
             if f"right_theta_o_in_{_slug(one)}" in values]  # fmt: skip
    numbers = "; ".join(map(told, shown))
    names = ", ".join(plots.NAMES[model] for model in COMPARED)
    caption = (
        "Scope as families of probes: above the first line everything that asks for a forgotten "
        "fact, then detours to it, then neighbours, then the rest. A method that erases what was "
        "asked and no more would lie on the retrained model in every row. Share of right answers "
        f"({names}), {numbers}. Bars: 95 % intervals over people, places or items. Guessing lies "
        "at one eighth for most families, at one half for verdicts and tasks."
    )
    return caption, f"Rows of dots with intervals, four models in each. {numbers}."


STUDIES = (scope,)
