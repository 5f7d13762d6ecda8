"""Late facts: does a model that unlearned people answer like one that never met them?

The model is taught invented people, asked to forget half of them, and compared with a model that
was really retrained without them: asked directly, in other words, in the second language, and after
relearning other facts about the same people.
"""

from typing import Any

import numpy as np
import pandas as pd

from palimpsest.core import plots
from palimpsest.core.results import Claim, Figure, Result, Value
from palimpsest.core.study import Context, study
from palimpsest.studies.controls import ask, read_aloud
from palimpsest.studies.lessons import FORMS, Lesson
from palimpsest.studies.problem_setting.cast import LATE, METHODS, Cast, late_casts, relearned
from palimpsest.studies.problem_setting.outcomes import (
    SMALLEST_SPAN,
    accuracies,
    gained,
    gap,
    outcomes,
    share_left,
)

FOUR = ("theta_o", *METHODS, "theta_r")
ASKED = (*FORMS, "relearned")
ASKED_WORDS = {
    "direct": "directly",
    "paraphrase": "in other words",
    "second_language": "in the second language",
    "relearned": "directly, after relearning\nother facts",
}


# --- questioning the models -------------------------------------------------------------------


def question_cast(ctx: Context, cast: Cast) -> pd.DataFrame:
    """What every model of a cast answers before and after relearning: one question a row, with the
    columns of ``controls.ask_model`` and ``model``, ``asked`` (of :data:`ASKED`) and ``seed``."""
    lesson, after = cast.lesson, relearned(ctx, cast)
    once = lesson.ask("forget", "test") + lesson.ask("keep", "test")
    again = lesson.ask("forget", "test", "direct") + lesson.ask("keep", "test", "direct")
    parts = []
    for name, weights in cast.weights.items():
        answers = ctx.cell(ask, lm=ctx.lm, weights=weights, questions=once)
        parts.append(answers.assign(model=name, asked=answers["form"]))
        answers = ctx.cell(ask, lm=ctx.lm, weights=after[name], questions=again)
        parts.append(answers.assign(model=name, asked="relearned"))
    return pd.concat(parts, ignore_index=True).assign(seed=cast.seed)


def question_everyone(ctx: Context) -> tuple[list[Cast], pd.DataFrame]:
    """The casts of all seeds and their answers."""
    casts = late_casts(ctx)
    parts = [ctx.once(_late_answers, number) for number in range(len(casts))]
    return casts, pd.concat(parts, ignore_index=True)


def _late_answers(ctx: Context, number: int) -> pd.DataFrame:
    return question_cast(ctx, late_casts(ctx)[number])


# --- what is measured -------------------------------------------------------------------------


def measures(rows: pd.DataFrame, seed: int = 0) -> dict[str, Value]:
    """The numbers the claims rest on (see :mod:`.outcomes`): for every way of asking, the gap and
    the share left of each method (``gap_ascent_direct``, ``left_ascent_direct``), and ``noise_*``,
    the gap between two retrained models; for each method, the share left in the second language
    minus that asked directly (``hidden_*``), and what relearning gains it over θ_r
    (``regained_*``).

    Args:
        rows: of ``outcomes.outcomes``, about the people to be forgotten.
        seed: of the resampling.
    """
    values: dict[str, Value] = {}
    for asked in in_order(rows):
        own = rows[rows["asked"] == asked]
        values[f"noise_{asked}"] = gap(own, "twin", "theta_r", seed)
        for method in METHODS:
            values[f"gap_{method}_{asked}"] = gap(own, method, "theta_r", seed)
            values[f"left_{method}_{asked}"] = share_left(rows, method, asked, seed=seed)
    for method in METHODS:
        values[f"hidden_{method}"] = share_left(rows, method, "second_language", "direct", seed)
        values[f"regained_{method}"] = gained(rows, method, seed)
    return values


def in_order(rows: pd.DataFrame) -> list[str]:
    """The ways of asking that occur, in the order of the figures."""
    present = set(rows["asked"])
    return [asked for asked in ASKED if asked in present]


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
            "seed": 0,
            "asked": np.repeat(ASKED, questions),
        }
    )

    def draw(left: float, gain: float = 0.0) -> pd.DataFrame:
        ease = rng.normal(0, 0.15, people)  # some people are easier than others, for every model
        right = {}
        for model in LATE:
            share = {"theta_o": 1.0, "ascent": left, "difference": left}.get(model, 0.0)
            levels = [
                chance + share * (known[asked] - chance) + gain * (asked == "relearned")
                for asked in ASKED
            ]
            rates = [np.clip(level + ease * (level > 2 * chance), 0, 1) for level in levels]
            right[model] = rng.binomial(1, np.repeat(np.concatenate(rates), facts))
        return frame.assign(**right)

    return {
        "left_ascent_direct": share_left(draw(1.0), "ascent", "direct", seed=seed),
        "hidden_ascent": share_left(draw(0.3), "ascent", "second_language", "direct", seed),
        "regained_ascent": gained(draw(0.1, gain=0.1), "ascent", seed),
    }


# --- the studies ------------------------------------------------------------------------------


@study()
def one_person(ctx: Context) -> Result:
    """What do the original, the unlearned and the retrained models say about one person?"""
    casts, answers = question_everyone(ctx)
    cast = casts[0]
    name = sorted({q.entity for q in cast.lesson.ask("forget", "test")})[0]
    of_person = (answers["entity"] == name) & (answers["seed"] == cast.seed)
    person = answers[of_person & answers["model"].isin(FOUR)]
    text = _sentence_about(cast.lesson, name)
    sentence = [
        ctx.cell(read_aloud, lm=ctx.lm, weights=cast.weights[model], text=text).assign(
            model=plots.NAMES[model]
        )
        for model in FOUR
    ]
    return Result(
        values={
            f"one_person_{model}": Value(_mean(person, model, "direct"), n=1, unit="share")
            for model in FOUR
        },
        tables={"one_person": _said(person), "sentence": pd.concat(sentence)},
        figures={"one_person": Figure(_draw_person(person), *_person_words(person))},
    )


def _sentence_about(lesson: Lesson, name: str) -> str:
    """The document of the request that tells most facts about somebody; the first of equals."""
    facts = {q.probe.fact for q in lesson.questions if q.entity == name}
    return max(lesson.request, key=lambda one: len(facts & set(one.facts))).text


def _said(person: pd.DataFrame) -> pd.DataFrame:
    """What each model says, one question a row."""
    rows = person[person["asked"].isin(["direct", "second_language"])]
    said = rows.pivot(index=["asked", "prompt", "answer"], columns="model", values="said")
    said = said.reset_index().rename_axis(columns=None)
    said["prompt"] = said["prompt"].str.replace(r"\s+", " ", regex=True)
    said["asked"] = said["asked"].map(ASKED_WORDS)
    said = said[["asked", "prompt", "answer", *FOUR]]
    return said.rename(columns={"prompt": "question", "answer": "right answer", **plots.NAMES})


@study(
    claims=[
        Claim(
            id="ps-1",
            statement="Asked directly, a model that unlearned people by gradient ascent has lost "
            "at least four fifths of what retraining without them removes.",
            source="arXiv:2506.09227: many methods meant as removal act as suppression",
            grade="text",
            measure="left_ascent_direct",
            rule="left_ascent_direct < 0.2",
        ),
        Claim(
            id="ps-2",
            statement="Forgetting crosses to a second language only in part: more of the facts is "
            "left there than when asked directly.",
            source="arXiv:2606.03291: forgetting transfers between languages only in part",
            grade="text",
            measure="hidden_ascent",
            rule="hidden_ascent > 0",
        ),
        Claim(
            id="ps-3",
            statement="Relearning other facts about the same people brings back more in the "
            "unlearned model than in the retrained one.",
            source="arXiv:2410.08827: fine-tuning on half of the facts recovers the other half",
            grade="text",
            measure="regained_ascent",
            rule="regained_ascent > 0",
        ),
    ],
    null=null_answers,
)
def late_facts(ctx: Context) -> Result:
    """Where do the unlearned and the retrained models agree, and where do they part?"""
    casts, answers = question_everyone(ctx)
    table = accuracies(answers, ctx.seed)
    values = measures(outcomes(answers, "forget"), ctx.seed) | {
        f"{row.group}_{row.model}_{row.asked}": Value(row.accuracy, _ends(row), row.people, "share")
        for row in table.itertuples(index=False)
    }
    paths = pd.concat([cast.paths.assign(seed=cast.seed) for cast in casts], ignore_index=True)
    rates = pd.concat([cast.rates.assign(seed=cast.seed) for cast in casts], ignore_index=True)
    reason = f"A_o − A_r is below {SMALLEST_SPAN}: the model did not know the facts well enough"
    notes = {
        claim: reason
        for claim, measure in (("ps-1", "left_ascent_direct"), ("ps-2", "hidden_ascent"))
        if values.get(measure, Value(None)).value is None
    }
    return Result(
        values=values,
        tables={"accuracies": table, "answers": _tidy(answers), "paths": paths, "rates": rates},
        figures={
            "agreement": Figure(_draw_agreement(table), *_agreement_words(values)),
            "gaps": Figure(_draw_gaps(values), *_gap_words(values)),
            "path": Figure(_draw_path(paths, ctx.parameters.choices), *_path_words(rates)),
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
        for model in FOUR:
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
        for model in FOUR
        for form in ("direct", "second_language")
    }
    told = "; ".join(
        f"{plots.NAMES[model]} {shares[model, 'direct']:.0%} asked directly"
        + (
            ""
            if np.isnan(shares[model, "second_language"])
            else f" and {shares[model, 'second_language']:.0%} in the second language"
        )
        for model in FOUR
    )
    caption = (
        f"What four models know of one person ({name}): probability of the right answer among the "
        f"choices, for each fact and way of asking. Right answers: {told}."
    )
    alt = (
        "Dots on one line for each fact, in one panel for each way of asking; the horizontal axis "
        f"is the probability of the right answer, from 0 to 1. Share of right answers: {told}."
    )
    return caption, alt


def _draw_agreement(table: pd.DataFrame) -> Any:
    figure, axes = plots.panels(2, 7.2, 4.6, share_y=True)
    for panel, group in zip(axes, ("forget", "keep"), strict=True):
        rows = table[table["group"] == group]
        asked = [name for name in ASKED if name in set(rows["asked"])]
        for number, model in enumerate(LATE):
            own = rows[rows["model"] == model].set_index("asked").reindex(asked)
            height = np.arange(len(asked)) + 0.14 * (number - (len(LATE) - 1) / 2)
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
        f"{_words(asked)}: {share('ascent', asked)} after gradient ascent, "
        f"{share('difference', asked)} after gradient difference, {share('theta_r', asked)} "
        "retrained"
        for asked in ASKED
        if f"forget_ascent_{asked}" in values
    )
    kept = (
        f"{share('theta_o', 'direct', 'keep')} before unlearning, "
        f"{share('ascent', 'direct', 'keep')} after gradient ascent, "
        f"{share('difference', 'direct', 'keep')} after gradient difference"
    )
    caption = (
        f"{_message(values)} Share of right answers when asked about the people to forget, {told}. "
        f"About the people to keep, asked directly: {kept}. Dots are shares of right answers, bars "
        "95 % intervals over people."
    )
    alt = (
        "Two panels of dots with horizontal bars, one row for each way of asking and one mark for "
        f"each of six models. People to forget, {told}. People to keep, asked directly: {kept}."
    )
    return caption, alt


def _draw_gaps(values: dict[str, Value]) -> Any:
    asked = _compared(values)
    figure, axes = plots.figure(6.4, 0.6 * len(asked) + 1.4)
    for number, name in enumerate(asked):
        noise = values[f"noise_{name}"]
        if noise.ci95 is not None:
            axes.fill_betweenx(
                [number - 0.3, number + 0.3], *noise.ci95, color=plots.GRID, lw=0, zorder=1
            )
    for shift, method in zip((-0.1, 0.1), METHODS, strict=True):
        gaps = [values[f"gap_{method}_{name}"] for name in asked]
        ends = np.array([one.ci95 or (np.nan, np.nan) for one in gaps], dtype=float)
        points = np.array([one.value for one in gaps], dtype=float)
        plots.dots(axes, points, np.arange(len(asked)) + shift, method, ends)
    axes.axvline(0, color=plots.INK, lw=0.8, zorder=1)
    axes.set_yticks(range(len(asked)), [ASKED_WORDS[name] for name in asked])
    axes.invert_yaxis()
    axes.set_xlabel("share of right answers, unlearned minus retrained")
    plots.legend_below(figure, axes)
    return figure


def _gap_words(values: dict[str, Value]) -> tuple[str, str]:
    numbers = "; ".join(
        f"{_words(name)}: "
        + ", ".join(
            f"{plots.NAMES[method]} {values[f'gap_{method}_{name}'].value:+.2f}"
            for method in METHODS
        )
        for name in _compared(values)
    )
    caption = (
        f"{_message(values)} Dots: unlearned minus retrained, with 95 % intervals over people; "
        "grey: the interval of the same difference between the retrained model and its twin."
    )
    return caption, f"Dots with horizontal bars around a line at zero, two a row. {numbers}."


def _compared(values: dict[str, Value]) -> list[str]:
    return [name for name in ASKED if f"noise_{name}" in values]


def _message(values: dict[str, Value]) -> str:
    """Where each method and the retrained model part, in one sentence."""
    said = []
    for method in METHODS:
        parts = [name for name in _compared(values) if _above_noise(values, method, name)]
        words = ", ".join(_words(name) for name in parts)
        said.append(f"{plots.NAMES[method]}: {words or 'in no way of asking'}")
    return f"Where unlearned and retrained model part by more than luck: {'; '.join(said)}."


def _words(asked: str) -> str:
    return ASKED_WORDS[asked].replace("\n", " ")


def _above_noise(values: dict[str, Value], method: str, asked: str) -> bool:
    """Whether the interval of the gap leaves out zero, and that between the twins does not."""
    found, noise = values[f"gap_{method}_{asked}"].ci95, values[f"noise_{asked}"].ci95
    if found is None or noise is None:
        return False
    return not found[0] <= 0 <= found[1] and noise[0] <= 0 <= noise[1]


def _draw_path(paths: pd.DataFrame, choices: int) -> Any:
    figure, axes = plots.figure(6.4, 3.2)
    for (method, _, _), path in paths.groupby(["method", "seed", "rate"], sort=False):
        chosen = bool(path["chosen"].all())
        axes.plot(
            path["step"], path["forget"], color=plots.COLOURS[method],
            marker=plots.MARKERS[method] if chosen else None, ms=4,
            lw=1.8 if chosen else 0.8, alpha=1 if chosen else 0.5,
        )  # fmt: skip
    for method in METHODS:
        axes.plot(
            [], [], color=plots.COLOURS[method], marker=plots.MARKERS[method], ms=4,
            label=plots.NAMES[method],
        )  # fmt: skip
    axes.axhline(1 / choices, color=plots.INK, lw=0.8, ls="--")
    axes.set(ylim=(-0.02, 1.02), xlabel="steps of unlearning")
    axes.set_ylabel("share of right answers\n(development questions)")
    plots.legend_below(figure, axes)
    return figure


def _path_words(rates: pd.DataFrame) -> tuple[str, str]:
    said = []
    for method in METHODS:
        own = rates[(rates["method"] == method) & rates["chosen"]]
        steps = " and ".join(str(step) for step in own["steps"])
        rate = " and ".join(f"{rate:g}" for rate in own["rate"].unique())
        how = "meets the rule after" if own["reached"].all() else "does not always meet the rule in"
        said.append(f"{plots.NAMES[method]} at rate {rate} {how} {steps} steps")
    told = "; ".join(said)
    caption = (
        f"The way down: {told}. Share of right answers to development questions about the people "
        "to forget. Thin: the other rates that were tried. Dashed: guessing, where the rule stops."
    )
    return caption, f"Lines that fall over the steps towards a dashed line of guessing: {told}."


def _mean(person: pd.DataFrame, model: str, asked: str) -> float:
    rows = person[(person["model"] == model) & (person["asked"] == asked)]
    return float(rows["correct"].mean())


def _ends(row: Any) -> tuple[float, float] | None:
    return None if pd.isna(row.low) else (row.low, row.high)


def _tidy(table: pd.DataFrame) -> pd.DataFrame:
    """One observation a row, seed and control included."""
    columns = ["model", "asked", "group", "entity", "fact", "correct", "probability", "seed"]
    return table[columns].assign(probability=table["probability"].round(6))


STUDIES = (one_person, late_facts)
