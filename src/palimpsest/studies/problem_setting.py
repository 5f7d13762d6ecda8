"""Chapter 1, opening study: does a model that unlearned people answer like one that never met them?

The model is taught invented people, asked to forget half of them by gradient ascent, and compared
with a model that was really retrained without them: asked directly, in other words, in the second
language, and after relearning other facts about the same people.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from palimpsest.core import plots, stats
from palimpsest.core.results import Claim, Figure, Result, Value
from palimpsest.core.study import Context, study
from palimpsest.studies.controls import Teaching, Weights, ascend, ask, relearn, teach
from palimpsest.studies.lessons import FORMS, Lesson, open_lesson

MODELS = ("theta_o", "theta_u", "theta_r", "twin", "theta_0")
ASKED = (*FORMS, "relearned")
ASKED_WORDS = {
    "direct": "asked directly",
    "paraphrase": "in other words",
    "second_language": "in the second language",
    "relearned": "directly, after relearning\nother facts",
}
# A share of what retraining removes is printed only where there is something to remove
# (reporting rule of the book's evaluation protocol).
SMALLEST_SPAN = 0.2


@dataclass(frozen=True)
class Parameters:
    """What may be set; rates are those of a network of width 128 (see ``controls.scaled``)."""

    people: int = 20
    documents_per_person: int = 60
    choices: int = 8
    epochs: int = 2
    learning_rate: float = 1e-3
    batch_size: int = 16
    pack_length: int = 128
    lora_rank: int = 0
    ascent_steps: int = 60
    ascent_learning_rate: float = 3e-4
    relearn_steps: int = 20
    relearn_learning_rate: float = 3e-4


@dataclass(frozen=True)
class Answers:
    """What every model answered: one question a row, with the columns of ``controls.ask_model``
    and ``model`` and ``asked`` (a key of :data:`ASKED`); and the path of the gradient ascent."""

    table: pd.DataFrame
    steps: tuple[int, ...]
    accuracy: tuple[float, ...]
    reached: bool


# --- making and questioning the models --------------------------------------------------------


def question_everyone(ctx: Context) -> tuple[Lesson, Answers]:
    """Teach, unlearn, retrain, relearn, and ask, one cell each."""
    p = ctx.parameters
    lesson = open_lesson(ctx.data, p.people, p.documents_per_person, p.choices, ctx.seed)
    weights, path = make_models(ctx, lesson)
    parts = []
    for name in MODELS:
        relearned = ctx.cell(
            relearn, lm=ctx.lm, weights=weights[name], questions=lesson.ask("forget", "dev", "direct"),
            learning_rate=p.relearn_learning_rate, steps=p.relearn_steps, seed=ctx.seed,
        )  # fmt: skip
        before = lesson.ask("forget", "test") + lesson.ask("keep", "test")
        after = lesson.ask("forget", "test", "direct") + lesson.ask("keep", "test", "direct")
        for state, questions in ((weights[name], before), (relearned, after)):
            answers = ctx.cell(ask, lm=ctx.lm, weights=state, questions=questions)
            asked = answers["form"] if state is weights[name] else "relearned"
            parts.append(answers.assign(model=name, asked=asked))
    table = pd.concat(parts, ignore_index=True)
    return lesson, Answers(
        table, tuple(path["steps"]), tuple(path["accuracy"]), bool(path["reached"])
    )


def make_models(ctx: Context, lesson: Lesson) -> tuple[dict[str, Weights], dict[str, Any]]:
    """The five models' weights, and the path of the unlearning."""
    p = ctx.parameters
    teaching = Teaching(p.epochs, p.learning_rate, p.batch_size, p.pack_length, p.lora_rank)
    everyone = lesson.replay + lesson.keep + lesson.forget
    without = lesson.replay + lesson.keep

    def taught(documents: tuple, seed: int) -> Weights:
        return ctx.cell(teach, lm=ctx.lm, documents=documents, teaching=teaching, seed=seed)

    weights = {
        "theta_o": taught(everyone, ctx.seed),
        "theta_r": taught(without, ctx.seed),
        "twin": taught(without, ctx.seed + 1),
        "theta_0": taught(lesson.replay, ctx.seed) if lesson.replay else untaught(ctx),
    }
    path = ctx.cell(
        ascend, lm=ctx.lm, weights=weights["theta_o"], request=lesson.request,
        watched=lesson.ask("forget", "dev", "direct"), learning_rate=p.ascent_learning_rate,
        steps=p.ascent_steps, stop_at=1 / p.choices, seed=ctx.seed,
    )  # fmt: skip
    weights["theta_u"] = path["weights"]
    return weights, path


def untaught(ctx: Context) -> Weights:
    """θ_0 where there is nothing to replay: the model as it came."""
    from palimpsest.studies.controls import weights_of

    return weights_of(ctx.lm)


# --- what is measured -------------------------------------------------------------------------


def by_person(table: pd.DataFrame, group: str) -> pd.DataFrame:
    """Share of right answers, one person a row; columns ``(model, asked)``."""
    rows = table[table["group"] == group]
    return rows.pivot_table(index="entity", columns=["model", "asked"], values="correct")


def measures(people: pd.DataFrame, seed: int = 0) -> dict[str, Value]:
    """The numbers the claims rest on, with 95 % intervals over people.

    With A the mean share of right answers of a model, and ρ = (A_u − A_r) / (A_o − A_r) the share
    of what retraining removes that the unlearned model still has (0: like retrained, 1: nothing
    removed):

    - ``gap_*``: A_u − A_r, for every way of asking;
    - ``noise_*``: A_twin − A_r, the same between two retrained models;
    - ``left_*``: ρ; without a value where A_o − A_r is below 0.2, for there is nothing to remove;
    - ``hidden_second_language``: ρ in the second language minus ρ asked directly;
    - ``regained``: what relearning other facts adds to A_u, minus what it adds to A_r.

    Args:
        people: of :func:`by_person`, the people to be forgotten.
        seed: of the resampling.
    """
    asked = [name for name in ASKED if ("theta_u", name) in people]
    values = {}
    for name in asked:
        values[f"gap_{name}"] = _over_people(people, seed, lambda a, n=name: _gap(a, n))
        values[f"noise_{name}"] = _over_people(
            people, seed, lambda a, n=name: a["twin", n] - a["theta_r", n]
        )
        values[f"left_{name}"] = _over_people(people, seed, lambda a, n=name: _left(a, n))
        if _span(people.mean(), name) < SMALLEST_SPAN:
            values[f"left_{name}"] = Value(None, n=len(people), unit="share")
    hidden = ("left_direct", "left_second_language")
    values["hidden_second_language"] = Value(None, n=len(people), unit="share")
    if all(name in values and values[name].value is not None for name in hidden):
        values["hidden_second_language"] = _over_people(
            people, seed, lambda a: _left(a, "second_language") - _left(a, "direct")
        )
    values["regained"] = _over_people(
        people,
        seed,
        lambda a: (a["theta_u", "relearned"] - a["theta_u", "direct"])
        - (a["theta_r", "relearned"] - a["theta_r", "direct"]),
    )
    return values


def _gap(a: Any, asked: str) -> Any:
    return a["theta_u", asked] - a["theta_r", asked]


def _span(a: Any, asked: str) -> Any:
    return a["theta_o", asked] - a["theta_r", asked]


def _left(a: Any, asked: str) -> Any:
    return _gap(a, asked) / _span(a, asked)


def _over_people(people: pd.DataFrame, seed: int, statistic: Any, unit: str = "share") -> Value:
    """A statistic of the models' mean accuracies, with an interval over people."""
    columns = list(people.columns)

    def of_means(means: np.ndarray) -> np.ndarray:  # [draws, columns] -> [draws]
        return statistic({name: means[..., at] for at, name in enumerate(columns)})

    return Value.of(stats.bootstrap_of_means(people.to_numpy(), of_means, seed=seed), unit)


def accuracies(table: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """One row for each group, model and way of asking: accuracy with its interval over people."""
    rows = []
    for group in ("forget", "keep"):
        people = by_person(table, group)
        for model, asked in people.columns:
            value = _over_people(people, seed, lambda a, k=(model, asked): a[k])
            low, high = value.ci95 or (None, None)
            rows.append((group, model, asked, value.value, low, high, value.n))
    columns = ["group", "model", "asked", "accuracy", "low", "high", "people"]
    return pd.DataFrame(rows, columns=columns)


def null_answers(seed: int, people: int = 20, facts: int = 5) -> dict[str, Value]:
    """The claims' measures on data without the effect each claim is about.

    Three worlds: one in which θ_u is θ_o (nothing was unlearned), one in which unlearning takes the
    same share from every way of asking, and one in which relearning helps θ_u and θ_r equally.
    """
    rng = np.random.default_rng(seed)
    known = {"direct": 0.9, "paraphrase": 0.8, "second_language": 0.7, "relearned": 0.9}
    chance = 1 / 8

    def draw(left: dict[str, float], gain: float = 0.0) -> pd.DataFrame:
        columns = {}
        ease = rng.normal(0, 0.15, people)  # some people are easier than others, for every model
        for model in MODELS:
            for asked in ASKED:
                share = {"theta_o": 1.0, "theta_u": left[asked]}.get(model, 0.0)
                level = chance + share * (known[asked] - chance) + gain * (asked == "relearned")
                rate = np.clip(level + ease * (level > 2 * chance), 0, 1)
                columns[model, asked] = rng.binomial(facts, rate) / facts
        return pd.DataFrame(columns)

    nothing = measures(draw(dict.fromkeys(ASKED, 1.0)), seed)
    evenly = measures(draw(dict.fromkeys(ASKED, 0.3)), seed)
    alike = measures(draw(dict.fromkeys(ASKED, 0.1), gain=0.1), seed)
    return {
        "left_direct": nothing["left_direct"],
        "hidden_second_language": evenly["hidden_second_language"],
        "regained": alike["regained"],
    }


# --- the studies ------------------------------------------------------------------------------


@study()
def one_person(ctx: Context) -> Result:
    """What does one person look like to a model that knew, one that unlearned, one that never met?"""
    lesson, answers = question_everyone(ctx)
    table = answers.table
    name = sorted({q.entity for q in lesson.ask("forget", "test")})[0]
    person = table[(table["entity"] == name) & table["model"].isin(["theta_o", "theta_u", "theta_r"])]
    shown = person[person["asked"].isin(["direct", "second_language"])]
    said = shown.pivot_table(
        index=["asked", "prompt", "answer"], columns="model", values="said", aggfunc="first", sort=False
    ).reset_index()
    said = said[["asked", "prompt", "answer", *_present(said, ("theta_o", "theta_u", "theta_r"))]]
    return Result(
        values={
            "one_person_known": Value(_mean(person, "theta_o", "direct"), n=1, unit="share"),
            "one_person_unlearned": Value(_mean(person, "theta_u", "direct"), n=1, unit="share"),
        },
        tables={"one_person": said},
        figures={"one_person": Figure(_draw_person(person), *_person_words(person))},
    )


@study(
    claims=[
        Claim(
            id="ps-1",
            statement="Asked directly, a model that unlearned people by gradient ascent has lost "
            "at least four fifths of what retraining without them removes.",
            source="arXiv:2506.09227: many methods meant as removal act as suppression",
            grade="text",
            measure="left_direct",
            rule="left_direct < 0.2",
        ),
        Claim(
            id="ps-2",
            statement="Forgetting crosses to a second language only in part: more of the facts is "
            "left there than when asked directly.",
            source="arXiv:2606.03291: forgetting transfers between languages only in part",
            grade="text",
            measure="hidden_second_language",
            rule="hidden_second_language > 0",
        ),
        Claim(
            id="ps-3",
            statement="Relearning other facts about the same people brings back more in the "
            "unlearned model than in the retrained one.",
            source="arXiv:2410.08827: fine-tuning on half of the facts recovers the other half",
            grade="text",
            measure="regained",
            rule="regained > 0",
        ),
    ],
    null=null_answers,
)
def twenty_people(ctx: Context) -> Result:
    """Where do the unlearned and the retrained model agree, and where do they part?"""
    _, answers = question_everyone(ctx)
    people = by_person(answers.table, "forget")
    table = accuracies(answers.table, ctx.seed)
    values = measures(people, ctx.seed) | {
        f"{group}_{model}_{asked}": Value(row.accuracy, _ends(row), row.people, "share")
        for (group, model, asked), row in zip(
            table[["group", "model", "asked"]].itertuples(index=False),
            table.itertuples(index=False),
            strict=True,
        )
    }
    values["ascent_steps"] = Value(answers.steps[-1], unit="steps")
    path = pd.DataFrame({"step": answers.steps, "accuracy": answers.accuracy})
    reason = f"A_o − A_r is below {SMALLEST_SPAN}: the model did not know the facts well enough"
    notes = {
        claim: reason
        for claim, measure in (("ps-1", "left_direct"), ("ps-2", "hidden_second_language"))
        if values.get(measure, Value(None)).value is None
    }
    return Result(
        values=values,
        tables={"accuracies": table, "answers": _tidy(answers.table, ctx.seed), "path": path},
        figures={
            "agreement": Figure(_draw_agreement(table), *_agreement_words(values)),
            "gaps": Figure(_draw_gaps(values), *_gap_words(values)),
            "path": Figure(_draw_path(path, ctx.parameters.choices), *_path_words(answers)),
        },
        notes=notes,
    )


def _present(table: pd.DataFrame, names: tuple[str, ...]) -> list[str]:
    return [name for name in names if name in table]


def _mean(person: pd.DataFrame, model: str, asked: str) -> float:
    rows = person[(person["model"] == model) & (person["asked"] == asked)]
    return float(rows["correct"].mean())


def _ends(row: Any) -> tuple[float, float] | None:
    return None if pd.isna(row.low) else (row.low, row.high)


def _tidy(table: pd.DataFrame, seed: int) -> pd.DataFrame:
    """One observation a row, seed and control included."""
    columns = ["model", "asked", "group", "entity", "fact", "correct", "probability"]
    return table[columns].assign(seed=seed, probability=table["probability"].round(6))
