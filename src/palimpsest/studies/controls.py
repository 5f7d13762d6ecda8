"""Cells that make and question the models a study compares.

All are made by *actually training*: θ_o with everything, θ_r and its twin without the people to be
forgotten, θ_0 with neither group. θ_u starts from θ_o and is unlearned.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from palimpsest.core.metrics import exact_memorization, extraction_strength
from palimpsest.core.models import LanguageModel
from palimpsest.core.records import Document
from palimpsest.core.scoring import score, score_rows
from palimpsest.core.text import answer_row, text_row
from palimpsest.core.training import LoraRecipe, Recipe, train
from palimpsest.studies.lessons import Passage, Question
from palimpsest.unlearning.objectives import gradient_ascent, gradient_difference
from palimpsest.unlearning.runner import unlearn
from palimpsest.world.rows import document_rows

Weights = dict[str, Tensor]

# The learning rates of this chapter are stated for this width and scaled with 1 / width, the rule
# under which Adam's best rate is the same for narrow and wide networks (arXiv:2203.03466).
WIDTH = 128
OBJECTIVES = {"ascent": gradient_ascent, "difference": gradient_difference}
WITH_RETAIN = ("difference",)
WATCH_EVERY = 2  # steps between two looks at the development questions


@dataclass(frozen=True)
class Teaching:
    """How documents are taught: epochs over them, at which rate (at :data:`WIDTH`), in which way.

    ``lora_rank`` 0 trains every weight; above, adapters of that rank, merged at the end.
    """

    epochs: int
    learning_rate: float
    batch_size: int
    pack_length: int
    lora_rank: int

    def recipe(self, lm: LanguageModel, seed: int) -> Recipe:
        """The recipe for one model."""
        return Recipe(
            epochs=self.epochs,
            batch_size=self.batch_size,
            learning_rate=scaled(lm, self.learning_rate),
            schedule="linear",
            warmup=0.05,
            weight_decay=0.01,
            pack_length=self.pack_length,
            lora=lora(self.lora_rank),
            seed=seed,
            mixed=True,  # bfloat16 products, as stage 1 was trained
        )


@dataclass(frozen=True)
class Taught:
    """What teaching made, and what it took: optimiser steps, and seconds spent in them."""

    weights: Weights
    steps: int
    seconds: float


def scaled(lm: LanguageModel, learning_rate: float) -> float:
    """A learning rate stated at :data:`WIDTH`, for the width of ``lm``."""
    return learning_rate * WIDTH / lm.model.get_input_embeddings().weight.shape[1]


def lora(rank: int) -> LoraRecipe | None:
    """Adapters of a rank, merged at the end; None for rank 0."""
    return LoraRecipe(rank=rank, alpha=2.0 * rank) if rank else None


def weights_of(lm: LanguageModel) -> Weights:
    """A copy on the host of every parameter; tied ones once."""
    return {name: p.detach().cpu().clone() for name, p in lm.model.named_parameters()}


def with_weights(lm: LanguageModel, weights: Weights) -> LanguageModel:
    """A copy of ``lm`` that has ``weights``."""
    other = lm.copy()
    with torch.no_grad():
        for name, parameter in other.model.named_parameters():
            parameter.copy_(weights[name])
    other.model.eval()
    return other


# --- cells: their values are kept in the cache ------------------------------------------------


def teach(
    lm: LanguageModel, documents: Sequence[Document], teaching: Teaching, seed: int
) -> Taught:
    """Stage 2: ``lm`` after training on ``documents``."""
    student = lm.copy()
    rows = document_rows(student, documents)
    history = train(student, rows, teaching.recipe(student, seed), progress="teaching")
    return Taught(weights_of(student), history.steps, history.seconds)


def forget(
    lm: LanguageModel,
    weights: Weights,
    request: Sequence[Document],
    retain: Sequence[Document],
    method: str,
    watched: Sequence[Question] | Sequence[Passage],
    kept: Sequence[Question] | Sequence[Passage],
    rates: Sequence[float],
    steps: int,
    stop_at: float,
    seed: int,
) -> dict[str, object]:
    """Unlearning from ``weights``, at the learning rate that development questions speak for.

    At each of ``rates`` the objective of ``method`` (:data:`OBJECTIVES`) is followed until the
    :func:`level` of what is ``watched`` is down to ``stop_at``, or for ``steps`` steps. Of the
    rates at which that was reached, the one with the highest level of what is ``kept`` is chosen;
    if none did, the one that came nearest. Ties go to the smaller rate. Both sets are for
    development.

    Args:
        retain: documents to keep; for methods in :data:`WITH_RETAIN` a batch of them stands beside
            each batch of the request, others do not look at them.

    Returns:
        ``weights``; ``path``, a table with a row for each rate and step that was measured: columns
        ``rate, step, forget`` (level of what is watched) and ``chosen``; ``rates``, a table with a
        row for each rate: ``rate, reached, steps, seconds, forget, keep, chosen``.
    """
    rows = document_rows(lm, request)
    beside = document_rows(lm, retain) if method in WITH_RETAIN else []
    best: tuple[tuple[bool, float, float], Weights] | None = None
    paths, tried = [], []
    for rate in sorted(rates):
        student = with_weights(lm, weights)
        recipe = Recipe(
            steps=steps, batch_size=32, learning_rate=scaled(student, rate), warmup=0.1, seed=seed,
            mixed=True,
        )  # fmt: skip
        path = unlearn(
            student, rows, recipe, OBJECTIVES[method], retain=beside,
            measure=lambda model: level(model, watched), stop_at=stop_at, every=WATCH_EVERY,
        )  # fmt: skip
        keep = level(student, kept)
        left = path.measure[-1]
        paths.append(pd.DataFrame({"rate": rate, "step": path.steps, "forget": path.measure}))
        tried.append((rate, path.reached, path.steps[-1], path.seconds, left, keep))
        worth = (path.reached, keep if path.reached else -left, -rate)
        if best is None or worth > best[0]:
            best = worth, weights_of(student)
    assert best is not None
    chosen = -best[0][2]
    columns = ["rate", "reached", "steps", "seconds", "forget", "keep"]
    table, way = pd.DataFrame(tried, columns=columns), pd.concat(paths, ignore_index=True)
    return {
        "weights": best[1],
        "path": way.assign(chosen=way["rate"] == chosen),
        "rates": table.assign(chosen=table["rate"] == chosen),
    }


def relearn(
    lm: LanguageModel,
    weights: Weights,
    questions: Sequence[Question],
    learning_rate: float,
    steps: int,
    seed: int,
) -> Weights:
    """Fine-tuning on the answers to ``questions``: *other* facts than those asked afterwards (the
    attack of arXiv:2410.08827)."""
    student = with_weights(lm, weights)
    rows = [
        answer_row(student, q.probe.prompt, f" {q.probe.answer}", id=q.probe.id) for q in questions
    ]
    recipe = Recipe(
        steps=steps, batch_size=16, learning_rate=scaled(student, learning_rate), seed=seed,
        mixed=True,
    )  # fmt: skip
    train(student, rows, recipe, progress="relearning")
    return weights_of(student)


def relearning_rate(
    lm: LanguageModel,
    unlearned: Mapping[str, Weights],
    questions: Sequence[Question],
    rates: Sequence[float],
    steps: int,
    seed: int,
) -> pd.DataFrame:
    """The learning rate of the attack that development questions speak for.

    Every second of ``questions`` is relearned by each of the ``unlearned`` models, and the others
    are asked. Of ``rates`` the one is chosen at which these models answer most of the others, in
    the mean; ties go to the smaller. An attacker who wants facts back would do the same: too small
    a rate brings nothing back, too large a one washes everything away.

    Returns:
        A row for each rate: ``rate``, ``accuracy`` on the questions that were not relearned,
        ``chosen``.
    """
    shown, held = questions[::2], questions[1::2] or questions
    rows = []
    for rate in sorted(rates):
        states = (relearn(lm, one, shown, rate, steps, seed) for one in unlearned.values())
        right = [ask(lm, state, held)["correct"].mean() for state in states]
        rows.append((rate, float(np.mean(right))))
    table = pd.DataFrame(rows, columns=["rate", "accuracy"])
    return table.assign(chosen=table.index == table["accuracy"].idxmax())


def ask(lm: LanguageModel, weights: Weights, questions: Sequence[Question]) -> pd.DataFrame:
    """:func:`ask_model` of ``lm`` with other weights."""
    return ask_model(with_weights(lm, weights), questions)


def read_aloud(lm: LanguageModel, weights: Weights, text: str) -> pd.DataFrame:
    """How probable each token of a text is, given those before it: columns ``token`` and
    ``probability`` (NaN for a first token, which nothing precedes)."""
    row = text_row(lm, text)
    logprobs = score_rows(with_weights(lm, weights), [row])[0].token_logprobs
    ids = row.input_ids[len(lm.prefix) :].tolist()
    probabilities = np.full(len(ids), np.nan)
    probabilities[len(ids) - len(logprobs) :] = np.exp(logprobs)
    tokens = [lm.tokenizer.decode([id]) for id in ids]
    return pd.DataFrame({"token": tokens, "probability": probabilities})


def recite(lm: LanguageModel, weights: Weights, passages: Sequence[Passage]) -> pd.DataFrame:
    """:func:`recite_model` of ``lm`` with other weights."""
    return recite_model(with_weights(lm, weights), passages)


# --- what the cells are made of ---------------------------------------------------------------


def level(lm: LanguageModel, asked: Sequence[Question] | Sequence[Passage]) -> float:
    """Share of right answers to questions, or mean exact memorization of passages."""
    if isinstance(asked[0], Passage):
        return float(recite_model(lm, asked)["exact"].mean())
    return float(ask_model(lm, asked)["correct"].mean())


def recite_model(lm: LanguageModel, passages: Sequence[Passage]) -> pd.DataFrame:
    """How much of the rest of each passage a model has by heart, one a row: ``entity``, ``exact``
    (exact memorization) and ``extraction`` (extraction strength)."""
    scores = score(lm, [(passage.prompt, passage.rest) for passage in passages])
    return pd.DataFrame(
        {
            "entity": [passage.entity for passage in passages],
            "exact": [exact_memorization(one.token_greedy) for one in scores],
            "extraction": [extraction_strength(one.token_greedy) for one in scores],
        }
    )


def ask_model(lm: LanguageModel, questions: Sequence[Question]) -> pd.DataFrame:
    """The answers of a model, one question a row.

    Columns: ``group, half, form, entity, fact, answer`` (the right one), ``said`` (the most
    probable choice), ``correct`` (1 if they are the same), ``probability`` of the right answer
    among the choices, that is, the softmax of the summed log-probabilities.
    """
    pairs = [(q.probe.prompt, f" {choice}") for q in questions for choice in q.probe.choices]
    scores = iter(score(lm, pairs))
    rows = []
    for question in questions:
        probe = question.probe
        logprobs = torch.tensor([next(scores).logprob for _ in probe.choices], dtype=torch.float64)
        best = int(logprobs.argmax())
        rows.append(
            {
                "group": question.group,
                "half": question.half,
                "form": question.form,
                "entity": question.entity,
                "fact": probe.fact,
                "prompt": probe.prompt,
                "answer": probe.answer,
                "said": probe.choices[best],
                "correct": int(probe.choices[best] == probe.answer),
                "probability": float(logprobs.softmax(0)[probe.choices.index(probe.answer)]),
            }
        )
    return pd.DataFrame(rows)
