"""The yardsticks: what each metric of unlearning says of each model, and how far they agree.

Every metric is computed on the unlearned models, the retrained one, its twin and the model that was
never told, because none has a zero that means "forgotten": what counts is the distance to the
retrained model, against the distance between two retrained models.
"""

from typing import Any

import numpy as np
import pandas as pd

from palimpsest.core import plots, stats
from palimpsest.core.metrics import (
    auc,
    distance_from_chance,
    exact_memorization,
    extraction_strength,
    ks_distance,
    ks_p_value,
    ks_smallest_p,
    loss_score,
    min_k,
    truth_ratio,
    zlib_score,
)
from palimpsest.core.models import LanguageModel
from palimpsest.core.records import Document
from palimpsest.core.results import Claim, Figure, Result, Value, absent
from palimpsest.core.scoring import score, score_rows
from palimpsest.core.study import Context, study
from palimpsest.core.text import text_rows
from palimpsest.studies.controls import Weights, ask, with_weights
from palimpsest.studies.lessons import Lesson, Question
from palimpsest.studies.problem_setting.cast import LATE, METHODS, Cast, late_casts

# Columns of the answers' table, with what a reader is told of each.
OF_ANSWERS = {
    "right": "share of\nright answers",
    "probability": "probability\nof the answer",
    "extraction": "extraction\nstrength",
    "exact": "exact\nmemorization",
    "truth": "truth ratio,\nas TR / (1 + TR)",
}
ATTACKS = ("loss", "zlib", "min_k")
TESTED = ("theta_o", *METHODS, "twin")  # against the retrained model
FEWEST = 5  # facts in a test of two distributions
NO_UNSEEN = "the data has no documents that are like the forgotten ones and were never told"
LOWEST = 0.2  # share of the tokens that Min-K% looks at


# --- cells --------------------------------------------------------------------------------------


def answered(
    lm: LanguageModel, weights: Weights, direct: tuple[Question, ...], other: tuple[Question, ...]
) -> pd.DataFrame:
    """The metrics of single answers, one fact a row.

    Args:
        direct: questions in trained words: probability, extraction strength, exact memorization of
            their answers.
        other: the same facts in words that were never trained: the truth ratio, over the choices.

    Returns:
        Columns ``entity, fact, probability`` (exp of the mean log-probability of a token of the
        answer), ``extraction, exact`` and ``truth``, the mean over the wordings of TR / (1 + TR),
        which lies between 0 and 1; NaN where a fact is not asked in other words.
    """
    model = with_weights(lm, weights)
    rows = []
    for question, found in zip(
        direct, score(model, [(q.probe.prompt, f" {q.probe.answer}") for q in direct]), strict=True
    ):
        rows.append(
            {
                "entity": question.entity,
                "fact": question.probe.fact,
                "probability": float(np.exp(found.token_logprobs.mean())),
                "extraction": extraction_strength(found.token_greedy),
                "exact": exact_memorization(found.token_greedy),
            }
        )
    table = pd.DataFrame(rows).groupby(["entity", "fact"], as_index=False).mean()
    ratios = pd.DataFrame(_truth(model, other), columns=["fact", "truth"])
    return table.merge(ratios.groupby("fact", as_index=False).mean(), how="left", on="fact")


def _truth(model: LanguageModel, questions: tuple[Question, ...]) -> list[tuple[str, float]]:
    pairs = [(q.probe.prompt, f" {choice}") for q in questions for choice in q.probe.choices]
    scores = iter(score(model, pairs))
    found = []
    for question in questions:
        means = {
            choice: float(next(scores).token_logprobs.mean()) for choice in question.probe.choices
        }
        right = means.pop(question.probe.answer)
        (ratio,) = truth_ratio([right], [list(means.values())])
        found.append((question.probe.fact, float(ratio / (1 + ratio))))
    return found


def membership(
    lm: LanguageModel,
    weights: Weights,
    told: tuple[Document, ...],
    unseen: tuple[Document, ...],
) -> pd.DataFrame:
    """Scores of documents, larger where the model makes them look more like members.

    Returns:
        One document a row: ``member``, ``entity`` (whose documents it is among), and a column for
        each of :data:`ATTACKS`.
    """
    model = with_weights(lm, weights)
    documents = [*told, *unseen]
    rows = text_rows(model, [document.text for document in documents])
    found = []
    for number, (document, scored) in enumerate(
        zip(documents, score_rows(model, rows), strict=True)
    ):
        found.append(
            {
                "member": number < len(told),
                "entity": document.id.partition("/")[0],
                "loss": loss_score(scored.token_logprobs),
                "zlib": zlib_score(scored.token_logprobs, document.text),
                "min_k": min_k(scored.token_logprobs, LOWEST),
            }
        )
    return pd.DataFrame(found)


# --- measures -----------------------------------------------------------------------------------


def areas(scores: dict[str, pd.DataFrame], attack: str, seed: int) -> dict[str, stats.Interval]:
    """Model -> AUC between told and unseen documents under one attack, over people."""
    found = {}
    for model, table in scores.items():
        told, unseen = (table[table["member"] == side] for side in (True, False))
        found[model] = auc(
            told[attack], unseen[attack], told["entity"], unseen["entity"], seed=seed
        )
    return found


def distances(answers: dict[str, pd.DataFrame], seed: int) -> dict[str, stats.Interval]:
    """Model -> KS distance of its truth ratios to the retrained model's, over people."""
    base = answers["theta_r"].dropna(subset="truth")
    found = {}
    for model, table in answers.items():
        own = table.dropna(subset="truth")
        if len(own) and model != "theta_r":
            found[model] = ks_distance(
                own["truth"], base["truth"], own["entity"], base["entity"], seed=seed
            )
    return found


def efficiency(cast: Cast) -> pd.DataFrame:
    """What each model took to make from the one before it: columns ``model``; ``steps`` and
    ``seconds`` of training, for a method those of the learning rate that was chosen;
    ``with_search``, seconds for all its learning rates together; ``of_retraining``, that divided by
    the seconds of retraining. A method's seconds include reading the development questions."""
    tried = cast.rates.groupby("method")["seconds"].sum()
    chosen = cast.rates[cast.rates["chosen"]].set_index("method")
    methods = chosen.loc[list(METHODS), ["steps", "seconds"]].rename_axis("model").reset_index()
    rows = pd.concat([cast.teaching, methods], ignore_index=True)
    rows["with_search"] = rows["model"].map(tried).fillna(rows["seconds"])
    retraining = float(cast.teaching.set_index("model").loc["theta_r", "seconds"])
    return rows.assign(of_retraining=rows["with_search"] / retraining)


def null_yardsticks(seed: int, people: int = 20, each: int = 5) -> dict[str, Value]:
    """The claims' measures where nothing betrays anybody: scores of told and unseen documents have
    one distribution, and no token of an answer is the model's first choice."""
    rng = np.random.default_rng(seed)
    entity = np.repeat(np.arange(2 * people), each)
    ease = rng.normal(0, 0.5, 2 * people)[entity]
    table = pd.DataFrame(
        {"member": entity < people, "entity": entity, "loss": ease + rng.normal(size=len(entity))}
    )
    exact = stats.cluster_bootstrap(np.zeros(people * each), np.repeat(range(people), each))
    return {
        "leak_difference": _leak(areas({"difference": table}, "loss", seed)["difference"]),
        "retrained_exact": Value.of(exact, "share"),
    }


def _leak(area: stats.Interval) -> Value:
    return Value.of(distance_from_chance(area), "AUC")


# --- studies ------------------------------------------------------------------------------------


@study(
    claims=[
        Claim(
            id="ps-4",
            statement="Answers at chance do not mean that nothing is betrayed: after gradient "
            "difference down to guessing, a membership test tells the forgotten documents from "
            "unseen ones with an AUC at least 0.1 away from one half, in either direction.",
            source="arXiv:2506.12618: gradient difference scores 0.97 on memorization and 0.003 on "
            "privacy",
            grade="text",
            measure="leak_difference",
            rule="leak_difference > 0.1",
        ),
        Claim(
            id="ps-5",
            statement="Zero is not the target: a model retrained without the people still predicts "
            "at least a twentieth of the tokens of the answers about them.",
            source="arXiv:2407.06460: the retrained model scores 20.8 on verbatim memorization",
            grade="text",
            measure="retrained_exact",
            rule="retrained_exact > 0.05",
        ),
    ],
    null=null_yardsticks,
)
def yardsticks(ctx: Context) -> Result:
    """What does each metric say of each model, and can two goals disagree?"""
    cast = late_casts(ctx)[0]
    lesson = cast.lesson
    direct, other = (lesson.ask("forget", "test", form) for form in ("direct", "paraphrase"))
    answers = {
        model: ctx.cell(
            answered, lm=ctx.lm, weights=cast.weights[model], direct=direct, other=other
        )
        for model in LATE
    }
    scores = {
        model: ctx.cell(
            membership, lm=ctx.lm, weights=cast.weights[model],
            told=lesson.request, unseen=_english(lesson),
        )
        for model in LATE
        if lesson.unseen
    }  # fmt: skip
    chosen = {
        model: ctx.cell(ask, lm=ctx.lm, weights=cast.weights[model], questions=direct)
        for model in LATE
    }
    means = _means(answers, chosen, ctx.seed)
    ks = distances(answers, ctx.seed)
    found = {attack: areas(scores, attack, ctx.seed) for attack in ATTACKS} if scores else {}
    values = {
        f"{row.model}_{row.metric}": Value(row.value, (row.low, row.high), row.people)
        for row in means.itertuples(index=False)
    }
    values |= {f"ks_{model}": Value.of(one, "distance") for model, one in ks.items()}
    values |= {
        f"auc_{model}_{attack}": Value.of(one, "AUC")
        for attack, by_model in found.items()
        for model, one in by_model.items()
    }
    values |= {f"leak_{model}": _leak(one) for model, one in found.get("loss", {}).items()}
    costs = efficiency(cast)
    values |= {
        f"seconds_{row.model}": Value(row.with_search, n=1, unit="s")
        for row in costs.itertuples(index=False)
    }
    values["retrained_exact"] = values["theta_r_exact"]
    falling = _saturation(answers, ctx.seed)
    return Result(
        values=values,
        tables={
            "metrics": _table(values),
            "saturation": falling,
            "efficiency": costs.assign(model=costs["model"].map(plots.NAMES)),
        },
        figures={
            "yardsticks": Figure(_draw_means(means), *_means_words(values)),
            "saturation": Figure(_draw_saturation(falling), *_saturation_words(falling, values))
            if len(falling)
            else absent("no fact is asked in words that training never used"),
            "goals": Figure(_draw_goals(values), *_goals_words(values))
            if found
            else absent(NO_UNSEEN),
        },
        notes={} if found else {"ps-4": NO_UNSEEN},
    )


def _english(lesson: Lesson) -> tuple[Document, ...]:
    """Unseen documents like those of the request, which are in English."""
    return tuple(document for document in lesson.unseen if document.language == "en")


def _means(
    answers: dict[str, pd.DataFrame], chosen: dict[str, pd.DataFrame], seed: int
) -> pd.DataFrame:
    """Mean over facts of each metric of answers, its interval over people: columns ``model, metric,
    value, low, high, people``."""
    rows = []
    for model, table in answers.items():
        columns = {"right": chosen[model].rename(columns={"correct": "right"})}
        columns |= {metric: table.dropna(subset=metric) for metric in OF_ANSWERS if metric in table}
        for metric, own in columns.items():
            if len(own):
                one = stats.cluster_bootstrap(own[metric], own["entity"], seed=seed)
                rows.append((model, metric, one.value, one.low, one.high, one.n))
    return pd.DataFrame(rows, columns=["model", "metric", "value", "low", "high", "people"])


def _saturation(answers: dict[str, pd.DataFrame], seed: int) -> pd.DataFrame:
    """p-values of truth ratios against the retrained model's, if only so many facts were asked:
    columns ``model, facts, p``; model ``floor`` is the smallest p that so many facts allow."""
    base = answers["theta_r"]["truth"].dropna().to_numpy()
    order = np.random.default_rng(seed).permutation(len(base))
    rows = []
    for facts in range(FEWEST, len(base) + 1):
        rows.append(("floor", facts, ks_smallest_p(facts, facts)))
        for model in TESTED:
            own = answers[model]["truth"].dropna().to_numpy()
            rows.append((model, facts, ks_p_value(own[order[:facts]], base[order[:facts]])))
    return pd.DataFrame(rows, columns=["model", "facts", "p"])


def _table(values: dict[str, Value]) -> pd.DataFrame:
    """A row for each metric and model, for the page and for download."""
    names = [*OF_ANSWERS, *(f"auc_{attack}" for attack in ATTACKS), "ks"]
    rows = []
    for metric in names:
        for model in LATE:
            key = f"{model}_{metric}" if metric in OF_ANSWERS else _key(metric, model)
            if key in values:
                one = values[key]
                low, high = one.ci95 or (np.nan, np.nan)
                rows.append((metric, plots.NAMES[model], one.value, low, high))
    return pd.DataFrame(rows, columns=["metric", "model", "value", "low", "high"])


def _key(metric: str, model: str) -> str:
    kind, _, attack = metric.partition("_")
    return f"auc_{model}_{attack}" if kind == "auc" else f"{metric}_{model}"


# --- figures ------------------------------------------------------------------------------------


def _draw_means(means: pd.DataFrame) -> Any:
    metrics = [metric for metric in OF_ANSWERS if metric in set(means["metric"])]
    figure, axes = plots.panels(len(metrics), 8.0, 3.4, share_y=True)
    for panel, metric in zip(axes, metrics, strict=True):
        own = means[means["metric"] == metric].set_index("model").reindex(LATE)
        for height, model in enumerate(LATE):
            one = own.loc[[model]]
            ends = one[["low", "high"]].to_numpy()
            plots.dots(panel, one["value"].to_numpy(), np.array([height]), model, ends)
        retrained = own.loc["theta_r"]
        panel.axvspan(retrained["low"], retrained["high"], color=plots.GRID, lw=0, zorder=0)
        panel.set(xlim=(-0.04, 1.04))
        panel.set_title(OF_ANSWERS[metric])
    axes[0].set_yticks(range(len(LATE)), [plots.NAMES[model] for model in LATE])
    axes[0].invert_yaxis()
    axes[len(axes) // 2].set_xlabel("mean over facts")
    return figure


def _means_words(values: dict[str, Value]) -> tuple[str, str]:
    def told(model: str) -> str:
        parts = [
            f"{OF_ANSWERS[metric].replace(chr(10), ' ')} {values[f'{model}_{metric}'].value:.2f}"
            for metric in OF_ANSWERS
            if f"{model}_{metric}" in values
        ]
        return f"{plots.NAMES[model]}: {', '.join(parts)}"

    numbers = "; ".join(told(model) for model in (*METHODS, "theta_r"))
    caption = (
        "No yardstick has a zero that means forgotten: the retrained model is the mark, grey its "
        f"interval. Means over facts, {numbers}. Bars are 95 % intervals over people."
    )
    return (
        caption,
        f"Panels of dots, one a metric, a row for each of six models. {numbers}.",
    )


def _draw_goals(values: dict[str, Value]) -> Any:
    figure, axes = plots.figure(6.0, 4.2)
    for model in LATE:
        right, area = values[f"{model}_right"], values[f"auc_{model}_loss"]
        if right.ci95 is None or area.ci95 is None:
            continue
        colour = plots.COLOURS[model]
        axes.hlines(area.value, *right.ci95, color=colour, lw=1.6, alpha=0.75)
        axes.vlines(right.value, *area.ci95, color=colour, lw=1.6, alpha=0.75)
        axes.plot(
            right.value, area.value, plots.MARKERS[model], color=colour, ms=7,
            label=plots.NAMES[model], markeredgecolor="white", markeredgewidth=0.6,
        )  # fmt: skip
    axes.axhline(0.5, color=plots.INK, lw=0.8, ls="--")
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xlabel="share of right answers")
    axes.set_ylabel("membership AUC (loss)")
    plots.legend_below(figure, axes)
    return figure


def _goals_words(values: dict[str, Value]) -> tuple[str, str]:
    told = "; ".join(
        f"{plots.NAMES[model]}: {values[f'{model}_right'].value:.2f} right, AUC "
        f"{values[f'auc_{model}_loss'].value:.2f}"
        for model in LATE
    )
    caption = (
        "Two goals in one plane. Capability removal asks how far left a model stands, influence "
        "erasure how near to the retrained one, at an AUC of one half (dashed). In numbers, "
        f"{told}. Bars are 95 % intervals over people."
    )
    return caption, (
        "Points in a plane of share of right answers (across) and membership AUC (up), with "
        f"intervals in both directions. {told}."
    )


def _draw_saturation(table: pd.DataFrame) -> Any:
    figure, axes = plots.figure(6.0, 3.6)
    for model in ("floor", *TESTED):
        own = table[table["model"] == model]
        axes.plot(
            own["facts"], own["p"].clip(lower=1e-300), lw=1.6,
            color=plots.COLOURS.get(model, plots.INK), ls="--" if model == "floor" else "-",
            label=plots.NAMES.get(model, "wholly apart"),
        )  # fmt: skip
    axes.set(xlabel="facts asked", ylabel="p-value", yscale="log")
    plots.legend_below(figure, axes)
    return figure


def _saturation_words(table: pd.DataFrame, values: dict[str, Value]) -> tuple[str, str]:
    last = table[table["facts"] == table["facts"].max()].set_index("model")["p"]
    told = "; ".join(
        f"{plots.NAMES[model]}: distance {values[f'ks_{model}'].value:.2f}, p {last[model]:.1e}"
        for model in TESTED
        if model in last
    )
    caption = (
        "A p-value measures how many facts were asked as much as how far two models are apart: the "
        "same models, fewer or more facts. Samples wholly apart lie on the dashed line, and none "
        f"can go below it. Truth ratios against those of the retrained model, all facts, {told}."
    )
    return caption, f"Lines that fall with the number of facts, above a dashed one. {told}."


STUDIES = (yardsticks,)
