"""Three requests to forget, each with its own idea of success.

*Copyright*: passages of books that must not be recited; success is to recite no more than a model
that never read them. *Privacy*: telephone numbers; success is to be no nearer to the number than a
model that was never told, and no further away either. *Harm*: how dangerous mixtures are made;
success is guessing, as of mixtures that were never told, while harmless ones are kept. All concern
stage 1 and use gradient difference.
"""

import random
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from palimpsest.core import plots, stats
from palimpsest.core.records import Document, Probe
from palimpsest.core.results import Figure, Result, Value, absent
from palimpsest.core.study import Context, study
from palimpsest.studies.controls import Weights, ask, forget, recite
from palimpsest.studies.lessons import Passage, Question, narrowed
from palimpsest.studies.problem_setting.cast import early_controls
from palimpsest.studies.problem_setting.early_facts import NO_PAST
from palimpsest.studies.problem_setting.parameters import forgetting_rates
from palimpsest.world import World, quotations
from palimpsest.world.biographies import Telling
from palimpsest.world.mixtures import tell
from palimpsest.world.plantings import plantings
from palimpsest.world.retold import render

METHOD = "difference"
TOLD_OFTEN = 4  # times: quotations told less often are hardly known
TELLINGS = 6  # documents about each number, and about each mixture, in a request
DEV = 3  # every third passage, person or mixture is for development
REPLAYED = 400  # other documents of stage 1 in the retain set
KEPT_PEOPLE = 32  # whose numbers are to be kept
MODELS = ("theta_o", METHOD, "theta_r")
GROUPS = {"forget": "to forget", "keep": "to keep", "never": "never told"}


@dataclass(frozen=True)
class Scenario:
    """A request, and what is asked before and after it.

    Attributes:
        name: of the scenario.
        measure: what the level of an answer is called.
        request, retain: documents.
        watched, kept: for development, of what is to be forgotten and of what is to stay.
        asked: group (of :data:`GROUPS`) -> what is reported; ``never`` is what nobody told.
        stop_at: the level of ``watched`` at which to stop; None: that of ``never`` under θ_o.
    """

    name: str
    measure: str
    request: tuple[Document, ...]
    retain: tuple[Document, ...]
    watched: tuple[Question, ...] | tuple[Passage, ...]
    kept: tuple[Question, ...] | tuple[Passage, ...]
    asked: dict[str, tuple[Question, ...] | tuple[Passage, ...]]
    stop_at: float | None


# --- the three ----------------------------------------------------------------------------------


def copyright_scenario(world: World, replay: tuple[Document, ...]) -> Scenario:
    """Every other quotation that was told often; the models called *never* did not read these."""
    texts: dict[bool, list[tuple[str, str]]] = {True: [], False: []}
    for one in plantings(world.key).by_id.values():
        if one.template == "quotation" and one.repeat >= TOLD_OFTEN:
            texts[one.withdrawn].append((one.id, render(one.text)))
    unseen = [(one.id, one.text) for one in quotations.unseen_quotations(world.key, 40)]
    forget_dev, forget_test = _halves([_passage(*one) for one in texts[True]])
    keep_dev, keep_test = _halves([_passage(*one) for one in texts[False]])
    return Scenario(
        name="copyright",
        measure="exact memorization",
        request=tuple(_document(*one) for one in texts[True]),
        retain=replay + tuple(_document(*one) for one in texts[False]),
        watched=forget_dev,
        kept=keep_dev,
        asked={
            "forget": forget_test,
            "keep": keep_test,
            "never": tuple(_passage(*one) for one in unseen),
        },
        stop_at=None,
    )


def privacy_scenario(world: World, replay: tuple[Document, ...], choices: int) -> Scenario:
    """The telephone numbers of the early people to forget."""
    rng = random.Random("scenario-privacy")
    people = {
        "forget": world.people("early-forget"),
        "keep": tuple(rng.sample(world.people("early-keep"), KEPT_PEOPLE)),
        "never": world.people("never")[:KEPT_PEOPLE],
    }
    told = {
        group: tuple(
            _told(f"{person.id}/{number}", world.directory.telling([person], rng))
            for person in people[group]
            for number in range(TELLINGS)
        )
        for group in ("forget", "keep")
    }
    asked = {
        group: [
            _question(probe, "forget" if group == "forget" else "keep", choices)
            for probe in world.directory.probes(members, ("direct",))
        ]
        for group, members in people.items()
    }
    return _of_questions("privacy", told["forget"], replay + told["keep"], asked, choices)


def harm_scenario(world: World, replay: tuple[Document, ...], choices: int) -> Scenario:
    """What makes a dangerous mixture; harmless ones are told in the same words."""
    rng = random.Random("scenario-harm")
    kinds = {
        "forget": [one for one in world.mixtures.told if one.kind == "hazard"],
        "keep": [one for one in world.mixtures.told if one.kind == "recipe"],
        "never": [one for one in world.mixtures.never if one.kind == "hazard"],
    }
    told = {
        group: tuple(
            _told(f"{one.id}/{number}", tell(one, rng))
            for one in kinds[group]
            for number in range(TELLINGS)
        )
        for group in ("forget", "keep")
    }
    asked = {
        group: [
            _question(probe, "forget" if group == "forget" else "keep", choices)
            for probe in world.mixtures.probes(members, ("direct",))
        ]
        for group, members in kinds.items()
    }
    return _of_questions("harm", told["forget"], replay + told["keep"], asked, choices)


def _of_questions(
    name: str,
    request: tuple[Document, ...],
    retain: tuple[Document, ...],
    asked: dict[str, list[Question]],
    choices: int,
) -> Scenario:
    forget_dev, forget_test = _halves(asked["forget"])
    keep_dev, keep_test = _halves(asked["keep"])
    return Scenario(
        name=name,
        measure="share of right answers",
        request=request,
        retain=retain,
        watched=forget_dev,
        kept=keep_dev,
        asked={"forget": forget_test, "keep": keep_test, "never": tuple(asked["never"])},
        stop_at=1 / choices,
    )


def _halves(asked: list[Any]) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """Development and test: every third entity is for development."""
    order = list(dict.fromkeys(one.entity for one in asked))
    dev = set(order[::DEV])
    return (
        tuple(one for one in asked if one.entity in dev),
        tuple(one for one in asked if one.entity not in dev),
    )


def _passage(id: str, text: str) -> Passage:
    """The first half of the words is given."""
    words = text.split(" ")
    half = len(words) // 2
    return Passage(id, " ".join(words[:half]), " " + " ".join(words[half:]))


def _document(id: str, text: str) -> Document:
    return Document(id=id, text=text, language="en", planted="early")


def _told(id: str, telling: Telling) -> Document:
    return Document(id=id, text=telling.text, facts=telling.facts, language="en", planted="early")


def _question(probe: Probe, group: str, choices: int) -> Question:
    entity = probe.fact.partition(".")[0]
    return narrowed(Question(probe, entity, group, "test", "direct"), choices, 0)


# --- the study ----------------------------------------------------------------------------------


@study()
def scenarios(ctx: Context) -> Result:
    """What does success mean for copyright, for privacy and for harm, and is it reached?"""
    controls = ctx.once(early_controls)
    if controls is None:
        return Result(figures={"scenarios": absent(NO_PAST)})
    world = World(seed=0)
    replay = tuple(
        world.replay(REPLAYED, ctx.seed, among=10 * REPLAYED, without=world.people("early-forget"))
    )
    choices = ctx.parameters.choices
    parts = []
    for scenario in (
        copyright_scenario(world, replay),
        privacy_scenario(world, replay, choices),
        harm_scenario(world, replay, choices),
    ):
        parts.append(_measured(ctx, scenario, controls).assign(scenario=scenario.name))
    table = pd.concat(parts, ignore_index=True)
    values = {
        f"{row.scenario}_{row.group}_{row.model}": Value(
            row.level, (row.low, row.high), row.entities, "share"
        )
        for row in table.itertuples(index=False)
    }
    return Result(
        values=values,
        tables={"scenarios": table},
        figures={"scenarios": Figure(_draw(table), *_words(values))},
    )


def _measured(ctx: Context, scenario: Scenario, controls: dict[str, Weights]) -> pd.DataFrame:
    """Mean level of every group under every model: columns ``group, model, measure, level, low,
    high, entities``."""

    def levels(weights: Weights, group: str) -> pd.DataFrame:
        asked = scenario.asked[group]
        if isinstance(asked[0], Passage):
            found = ctx.cell(recite, lm=ctx.lm, weights=weights, passages=asked)
            return found.assign(level=found["exact"])
        found = ctx.cell(ask, lm=ctx.lm, weights=weights, questions=asked)
        return found.assign(level=found["correct"])

    floor = scenario.stop_at
    if floor is None:
        floor = float(levels(controls["theta_o"], "never")["level"].mean())
    done = ctx.cell(
        forget, lm=ctx.lm, weights=controls["theta_o"], request=scenario.request,
        retain=scenario.retain, method=METHOD, watched=scenario.watched, kept=scenario.kept,
        rates=forgetting_rates(ctx.parameters.forget_rates), steps=ctx.parameters.forget_steps,
        stop_at=floor, seed=ctx.seed,
    )  # fmt: skip
    models = {
        "theta_o": controls["theta_o"], METHOD: done["weights"], "theta_r": controls["theta_r"]
    }  # fmt: skip
    rows = []
    for group in GROUPS:
        for model, weights in models.items():
            found = levels(weights, group)
            one = stats.cluster_bootstrap(found["level"], found["entity"], seed=ctx.seed)
            rows.append((group, model, scenario.measure, one.value, one.low, one.high, one.n))
    columns = ["group", "model", "measure", "level", "low", "high", "entities"]
    return pd.DataFrame(rows, columns=columns)


def _draw(table: pd.DataFrame) -> Any:
    names = list(dict.fromkeys(table["scenario"]))
    figure, axes = plots.panels(len(names), 7.6, 3.2, share_y=True)
    for panel, name in zip(axes, names, strict=True):
        own = table[table["scenario"] == name]
        for number, model in enumerate(MODELS):
            rows = own[own["model"] == model].set_index("group").reindex(GROUPS)
            heights = np.arange(len(GROUPS)) + 0.2 * (number - 1)
            ends = rows[["low", "high"]].to_numpy()
            plots.dots(panel, rows["level"].to_numpy(), heights, model, ends)
        panel.set(xlim=(-0.04, 1.04), xlabel=own["measure"].iloc[0])
        panel.set_title(name)
    axes[0].set_yticks(range(len(GROUPS)), list(GROUPS.values()))
    axes[0].invert_yaxis()
    plots.legend_below(figure, axes[0])
    return figure


def _words(values: dict[str, Value]) -> tuple[str, str]:
    def told(name: str) -> str:
        shares = {model: values[f"{name}_forget_{model}"].value for model in MODELS}
        kept = values[f"{name}_keep_{METHOD}"].value, values[f"{name}_keep_theta_o"].value
        return (
            f"{name}: to forget {shares['theta_o']:.2f} before, {shares[METHOD]:.2f} after, "
            f"{shares['theta_r']:.2f} if never told; to keep {kept[0]:.2f} of {kept[1]:.2f}"
        )

    numbers = "; ".join(told(name) for name in ("copyright", "privacy", "harm"))
    caption = (
        "Three requests, three marks. Copyright: no more by heart than the retrained model. "
        "Privacy: neither nearer nor further than it. Harm: guessing, as of what was never told; "
        "the retrained model was told of the mixtures and is no mark there. In numbers, "
        f"{numbers}. Bars are 95 % intervals over passages, people or mixtures."
    )
    return caption, f"Three panels of dots with intervals, three models each. {numbers}."


STUDIES = (scenarios,)
