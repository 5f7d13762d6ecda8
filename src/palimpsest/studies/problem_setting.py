"""Chapter 1, opening study: does a model that unlearned people answer like one that never met them?

The model is taught invented people, asked to forget half of them by gradient ascent, and compared
with a model that was really retrained without them: asked directly, in other words, in the second
language, and after relearning other facts about the same people.
"""

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd

from palimpsest.core import plots, stats
from palimpsest.core.errors import UserError
from palimpsest.core.results import Claim, Figure, Result, Value
from palimpsest.core.study import Context, study
from palimpsest.studies.controls import (
    Teaching,
    Weights,
    ascend,
    ask,
    read_aloud,
    relearn,
    teach,
    weights_of,
)
from palimpsest.studies.lessons import FORMS, Lesson, open_lesson

MODELS = ("theta_o", "theta_u", "theta_r", "twin", "theta_0")
THREE = ("theta_o", "theta_u", "theta_r")
ASKED = (*FORMS, "relearned")
ASKED_WORDS = {
    "direct": "directly",
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
    learning_rate: float = 2e-3
    batch_size: int = 16
    pack_length: int = 128
    lora_rank: int = 0
    ascent_steps: int = 60
    ascent_learning_rate: float = 5e-4
    relearn_steps: int = 20
    relearn_learning_rate: float = 1e-3

    def __post_init__(self) -> None:
        least = {"people": 2, "choices": 2, "pack_length": 8, "lora_rank": 0}
        for name, value in vars(self).items():
            if name.endswith("learning_rate"):
                if not 0 < value < 1:
                    raise UserError(f"{name} is {value}; a rate above 0 and below 1 was expected.")
            elif value < least.get(name, 1):
                raise UserError(f"{name} is {value}; at least {least.get(name, 1)} was expected.")


@dataclass(frozen=True)
class Answers:
    """What every model answered: one question a row, with the columns of ``controls.ask_model``
    and ``model`` and ``asked`` (a key of :data:`ASKED`); and the path of the gradient ascent."""

    table: pd.DataFrame
    steps: tuple[int, ...]
    accuracy: tuple[float, ...]
    reached: bool


def preflight(data: str, parameters: SimpleNamespace, seed: int) -> None:
    """Refuse data that the chapter cannot be run on, before anything is started.

    Raises:
        UserError: as :func:`~palimpsest.studies.lessons.open_lesson`.
    """
    p = parameters
    open_lesson(data, p.people, p.documents_per_person, p.choices, seed)


# --- making and questioning the models --------------------------------------------------------


def question_everyone(ctx: Context) -> tuple[Lesson, Answers]:
    """Teach, unlearn, retrain, relearn, and ask, one cell each."""
    p = ctx.parameters
    lesson = open_lesson(ctx.data, p.people, p.documents_per_person, p.choices, ctx.seed)
    weights, path = make_models(ctx, lesson)
    others = lesson.ask("forget", "dev", "direct")
    parts = []
    for name in MODELS:
        relearned = ctx.cell(
            relearn, lm=ctx.lm, weights=weights[name], questions=others,
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
        "theta_0": taught(lesson.replay, ctx.seed) if lesson.replay else weights_of(ctx.lm),
    }
    path = ctx.cell(
        ascend, lm=ctx.lm, weights=weights["theta_o"], request=lesson.request,
        watched=lesson.ask("forget", "dev", "direct"), learning_rate=p.ascent_learning_rate,
        steps=p.ascent_steps, stop_at=1 / p.choices, seed=ctx.seed,
    )  # fmt: skip
    weights["theta_u"] = path["weights"]
    return weights, path


# --- what is measured -------------------------------------------------------------------------


def outcomes(table: pd.DataFrame, group: str) -> pd.DataFrame:
    """One question a row with its ``entity`` and how it was ``asked``; one column a model, 1 where
    it was right."""
    rows = table[table["group"] == group]
    keys = ["entity", "fact", "prompt", "asked"]
    return rows.pivot_table(index=keys, columns="model", values="correct").reset_index()


def measures(rows: pd.DataFrame, seed: int = 0) -> dict[str, Value]:
    """The numbers the claims rest on, with 95 % intervals from resampling people.

    With A a model's share of right answers, and ρ = (A_u − A_r) / (A_o − A_r) the share of what
    retraining removes that the unlearned model still has (0: like retrained, 1: nothing removed):

    - ``gap_*``: A_u − A_r, for every way of asking;
    - ``noise_*``: A_twin − A_r, the same between two retrained models;
    - ``left_*``: ρ; without a value where A_o − A_r is below 0.2, for there is nothing to remove;
    - ``hidden_second_language``: ρ in the second language minus ρ asked directly;
    - ``regained``: what relearning other facts adds to A_u, minus what it adds to A_r.

    Args:
        rows: of :func:`outcomes`, about the people to be forgotten.
        seed: of the resampling.
    """
    values: dict[str, Value] = {}
    for asked in _in_order(rows):
        own = rows[rows["asked"] == asked]
        for name, model in (("gap", "theta_u"), ("noise", "twin")):
            values[f"{name}_{asked}"] = Value.of(
                stats.paired_bootstrap(own[model], own["theta_r"], own["entity"], seed=seed),
                "share",
            )
        values[f"left_{asked}"] = _left(rows, (asked,), seed)
    values["hidden_second_language"] = _left(rows, ("second_language", "direct"), seed)
    values["regained"] = _regained(rows, seed)
    return values


def ways(rows: pd.DataFrame) -> set[str]:
    """The ways of asking that occur."""
    return set(rows["asked"])


def _in_order(rows: pd.DataFrame) -> list[str]:
    present = ways(rows)
    return [asked for asked in ASKED if asked in present]


def _left(rows: pd.DataFrame, asked: tuple[str, ...], seed: int) -> Value:
    """ρ for one way of asking, or ρ for the first minus ρ for the second of two."""
    if not ways(rows) >= set(asked):
        return Value(None, unit="share")
    own = rows[rows["asked"].isin(asked)]
    right = own[["theta_u", "theta_r", "theta_o"]].to_numpy(dtype=float)
    masks = [(own["asked"] == name).to_numpy(dtype=float) for name in asked]
    people, codes = np.unique(own["entity"].to_numpy(), return_inverse=True)
    for mask in masks:
        _, retrained, original = mask @ right / mask.sum()
        if original - retrained < SMALLEST_SPAN:
            return Value(None, n=len(people), unit="share")

    def statistic(weights: np.ndarray) -> np.ndarray:  # [draws, questions] -> [draws]
        shares = []
        for mask in masks:
            own_weights = weights * mask
            means = own_weights @ right / own_weights.sum(axis=1, keepdims=True)
            unlearned, retrained, original = means.T
            shares.append((unlearned - retrained) / (original - retrained))
        return shares[0] - sum(shares[1:])

    factor = stats.Factor(codes, np.zeros(len(people), dtype=np.intp))
    return Value.of(stats.bootstrap(statistic, [factor], right, seed=seed), "share")


def _regained(rows: pd.DataFrame, seed: int) -> Value:
    """What relearning adds to the answers of θ_u, minus what it adds to those of θ_r."""
    keys = ["entity", "fact", "prompt"]
    before, after = (
        rows[rows["asked"] == asked].set_index(keys)[["theta_u", "theta_r"]]
        for asked in ("direct", "relearned")
    )
    gain = (after - before).dropna()
    if gain.empty:
        return Value(None, unit="share")
    people = gain.index.get_level_values("entity")
    more = stats.paired_bootstrap(gain["theta_u"], gain["theta_r"], people, seed=seed)
    return Value.of(more, "share")


def accuracies(table: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """One row for each group, model and way of asking: the share of right answers with its 95 %
    interval from resampling people."""
    rows = []
    for (group, model, asked), own in table.groupby(["group", "model", "asked"], sort=False):
        share = stats.cluster_bootstrap(own["correct"], own["entity"], seed=seed)
        rows.append((group, model, asked, share.value, share.low, share.high, share.n))
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

    questions = people * facts
    frame = pd.DataFrame(
        {
            "entity": np.tile(np.repeat(np.arange(people), facts), len(ASKED)),
            "fact": np.tile(np.arange(questions), len(ASKED)),
            "prompt": "",
            "asked": np.repeat(ASKED, questions),
        }
    )

    def draw(left: float, gain: float = 0.0) -> pd.DataFrame:
        ease = rng.normal(0, 0.15, people)  # some people are easier than others, for every model
        right = {}
        for model in MODELS:
            share = {"theta_o": 1.0, "theta_u": left}.get(model, 0.0)
            levels = [
                chance + share * (known[asked] - chance) + gain * (asked == "relearned")
                for asked in ASKED
            ]
            rates = [np.clip(level + ease * (level > 2 * chance), 0, 1) for level in levels]
            right[model] = rng.binomial(1, np.repeat(np.concatenate(rates), facts))
        return frame.assign(**right)

    return {
        "left_direct": _left(draw(1.0), ("direct",), seed),
        "hidden_second_language": _left(draw(0.3), ("second_language", "direct"), seed),
        "regained": _regained(draw(0.1, gain=0.1), seed),
    }


# --- the studies ------------------------------------------------------------------------------


@study()
def one_person(ctx: Context) -> Result:
    """What do the original, the unlearned and the retrained model say about one person?"""
    lesson, answers = question_everyone(ctx)
    name = sorted({q.entity for q in lesson.ask("forget", "test")})[0]
    of_person = answers.table["entity"] == name
    person = answers.table[of_person & answers.table["model"].isin(THREE)]
    weights, _ = make_models(ctx, lesson)
    text = _sentence_about(lesson, name)
    sentence = [
        ctx.cell(read_aloud, lm=ctx.lm, weights=weights[model], text=text).assign(
            model=plots.NAMES[model]
        )
        for model in THREE
    ]
    return Result(
        values={
            "one_person_known": Value(_mean(person, "theta_o", "direct"), n=1, unit="share"),
            "one_person_unlearned": Value(_mean(person, "theta_u", "direct"), n=1, unit="share"),
        },
        tables={"one_person": _said(person), "sentence": pd.concat(sentence)},
        figures={"one_person": Figure(_draw_person(person), *_person_words(person))},
    )


def _sentence_about(lesson: Lesson, name: str) -> str:
    """The first document of the request that tells of somebody."""
    facts = {q.probe.fact for q in lesson.questions if q.entity == name}
    return next(one.text for one in lesson.request if facts & set(one.facts))


def _said(person: pd.DataFrame) -> pd.DataFrame:
    """What each model says, one question a row."""
    rows = person[person["asked"].isin(["direct", "second_language"])]
    said = rows.pivot(index=["asked", "prompt", "answer"], columns="model", values="said")
    said = said.reset_index().rename_axis(columns=None)
    said["prompt"] = said["prompt"].str.replace(r"\s+", " ", regex=True)
    said["asked"] = said["asked"].map(ASKED_WORDS)
    said = said[["asked", "prompt", "answer", *THREE]]
    return said.rename(columns={"prompt": "question", "answer": "right answer", **plots.NAMES})


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
    table = accuracies(answers.table, ctx.seed)
    values = measures(outcomes(answers.table, "forget"), ctx.seed) | {
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


# --- figures and their words ------------------------------------------------------------------


def _draw_person(person: pd.DataFrame) -> Any:
    """Probability of the right answer, one line a question form and fact, one mark a model."""
    facts = list(dict.fromkeys(person["fact"]))
    forms = [form for form in FORMS if form in set(person["asked"])]
    figure, axes = plots.panels(len(forms), 7.2, 0.42 * len(facts) + 1.3, share_y=True)
    for panel, form in zip(axes, forms, strict=True):
        rows = person[person["asked"] == form]
        for model in THREE:
            mean = rows[rows["model"] == model].groupby("fact")["probability"].mean()
            plots.dots(panel, mean.reindex(facts).to_numpy(), np.arange(len(facts)), model)
        panel.set(xlim=(-0.04, 1.04))
        panel.set_title(ASKED_WORDS[form])
    axes[len(axes) // 2].set_xlabel("probability of the right answer")
    axes[0].set_yticks(range(len(facts)), [fact.rsplit(".", 1)[-1] for fact in facts])
    axes[0].invert_yaxis()
    plots.legend_below(figure, axes[0])
    return figure


def _person_words(person: pd.DataFrame) -> tuple[str, str]:
    name = str(person["entity"].iloc[0])
    shares = {
        (model, form): _mean(person, model, form)
        for model in THREE
        for form in ("direct", "second_language")
    }
    told = "; ".join(
        f"{plots.NAMES[model]} {shares[model, 'direct']:.0%} asked directly"
        + (
            ""
            if np.isnan(shares[model, "second_language"])
            else f" and {shares[model, 'second_language']:.0%} in the second language"
        )
        for model in THREE
    )
    caption = (
        f"What three models know of one person ({name}): probability of the right answer among the "
        f"choices, for each fact and way of asking. Right answers: {told}."
    )
    alt = (
        "Dots on one line for each fact, in one panel for each way of asking; the horizontal axis "
        f"is the probability of the right answer, from 0 to 1. Share of right answers: {told}."
    )
    return caption, alt


def _draw_agreement(table: pd.DataFrame) -> Any:
    figure, axes = plots.panels(2, 7.2, 3.9, share_y=True)
    for panel, group in zip(axes, ("forget", "keep"), strict=True):
        rows = table[table["group"] == group]
        asked = [name for name in ASKED if name in set(rows["asked"])]
        for number, model in enumerate(MODELS):
            own = rows[rows["model"] == model].set_index("asked").reindex(asked)
            height = np.arange(len(asked)) + 0.15 * (number - 2)
            ends = own[["low", "high"]].to_numpy()
            plots.dots(panel, own["accuracy"].to_numpy(), height, model, ends)
        panel.set(xlim=(-0.02, 1.02), xlabel="share of right answers")
        panel.set_title({"forget": "people to forget", "keep": "people to keep"}[group])
    axes[0].set_yticks(range(len(asked)), [ASKED_WORDS[name] for name in asked])
    axes[0].invert_yaxis()
    plots.legend_below(figure, axes[0])
    return figure


def _agreement_words(values: dict[str, Value]) -> tuple[str, str]:
    def share(model: str, asked: str, group: str = "forget") -> str:
        value = values.get(f"{group}_{model}_{asked}", Value(None)).value
        return "not asked" if value is None else f"{value:.2f}"

    told = "; ".join(
        f"{_words(asked)}: {share('theta_u', asked)} (unlearned), {share('theta_r', asked)} "
        "(retrained)"
        for asked in ASKED
        if f"forget_theta_u_{asked}" in values
    )
    kept = (
        f"{share('theta_o', 'direct', 'keep')} before unlearning and "
        f"{share('theta_u', 'direct', 'keep')} after"
    )
    caption = (
        f"{_message(values)} Share of right answers when asked about the people to forget, {told}. "
        f"About the people to keep, asked directly: {kept}. Dots are shares of right answers, bars "
        "95 % intervals over people."
    )
    alt = (
        "Two panels of dots with horizontal bars, one row for each way of asking and one mark for "
        f"each of five models. People to forget, {told}. People to keep, asked directly: {kept}."
    )
    return caption, alt


def _draw_gaps(values: dict[str, Value]) -> Any:
    asked = [name for name in ASKED if f"gap_{name}" in values]
    figure, axes = plots.figure(6.4, 0.55 * len(asked) + 1.2)
    for number, name in enumerate(asked):
        noise = values[f"noise_{name}"]
        if noise.ci95 is not None:
            axes.fill_betweenx(
                [number - 0.3, number + 0.3], *noise.ci95, color=plots.GRID, lw=0, zorder=1
            )
    gaps = [values[f"gap_{name}"] for name in asked]
    ends = np.array([gap.ci95 or (np.nan, np.nan) for gap in gaps], dtype=float)
    points = np.array([gap.value for gap in gaps], dtype=float)
    plots.dots(axes, points, np.arange(len(asked)), "theta_u", ends)
    axes.axvline(0, color=plots.INK, lw=0.8, zorder=1)
    axes.set_yticks(range(len(asked)), [ASKED_WORDS[name] for name in asked])
    axes.invert_yaxis()
    axes.set_xlabel("share of right answers, unlearned minus retrained")
    return figure


def _gap_words(values: dict[str, Value]) -> tuple[str, str]:
    asked = [name for name in ASKED if f"gap_{name}" in values]
    numbers = "; ".join(f"{_words(name)}: {values[f'gap_{name}'].value:+.2f}" for name in asked)
    caption = (
        f"{_message(values)} Dots: unlearned minus retrained, with 95 % intervals over people; "
        "grey: the interval of the same difference between the retrained model and its twin."
    )
    return caption, f"Dots with horizontal bars around a line at zero, one row each. {numbers}."


def _message(values: dict[str, Value]) -> str:
    """Where unlearned and retrained model part, in one sentence."""
    parts = [name for name in ASKED if f"gap_{name}" in values and _above_noise(values, name)]
    if not parts:
        return "In no way of asking do unlearned and retrained model part by more than luck."
    words = "; ".join(_words(name) for name in parts)
    return f"Unlearned and retrained model part by more than luck when asked: {words}."


def _words(asked: str) -> str:
    return ASKED_WORDS[asked].replace("\n", " ")


def _above_noise(values: dict[str, Value], asked: str) -> bool:
    """Whether the interval of the gap leaves out zero, and that between the twins does not."""
    gap, noise = values[f"gap_{asked}"].ci95, values[f"noise_{asked}"].ci95
    if gap is None or noise is None:
        return False
    return not gap[0] <= 0 <= gap[1] and noise[0] <= 0 <= noise[1]


def _draw_path(path: pd.DataFrame, choices: int) -> Any:
    figure, axes = plots.figure(6.4, 2.8)
    axes.plot(path["step"], path["accuracy"], color=plots.COLOURS["theta_u"], marker="o", ms=3.5)
    axes.axhline(1 / choices, color=plots.INK, lw=0.8, ls="--")
    axes.set(ylim=(-0.02, 1.02), xlabel="steps of gradient ascent")
    axes.set_ylabel("share of right answers\n(development questions)")
    return figure


def _path_words(answers: Answers) -> tuple[str, str]:
    start, end, steps = answers.accuracy[0], answers.accuracy[-1], answers.steps[-1]
    outcome = (
        f"the rule stops the ascent after {steps} steps"
        if answers.reached
        else f"the rule was not met within {steps} steps"
    )
    caption = (
        f"The way down: on development questions the share of right answers goes from {start:.2f} "
        f"to {end:.2f}; {outcome}. Dashed: guessing, where the rule stops."
    )
    alt = (
        f"A line that starts at {start:.2f} and ends at {end:.2f} after {steps} steps of gradient "
        "ascent, with a dashed line at the level of guessing."
    )
    return caption, alt


def _mean(person: pd.DataFrame, model: str, asked: str) -> float:
    rows = person[(person["model"] == model) & (person["asked"] == asked)]
    return float(rows["correct"].mean())


def _ends(row: Any) -> tuple[float, float] | None:
    return None if pd.isna(row.low) else (row.low, row.high)


def _tidy(table: pd.DataFrame, seed: int) -> pd.DataFrame:
    """One observation a row, seed and control included."""
    columns = ["model", "asked", "group", "entity", "fact", "correct", "probability"]
    return table[columns].assign(seed=seed, probability=table["probability"].round(6))


STUDIES = {one.name: one for one in (one_person, twenty_people)}
