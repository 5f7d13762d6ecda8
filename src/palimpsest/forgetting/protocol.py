"""Tuning on labels, and answering: the protocol of random-label forgetting.

Tune a model on a task's true labels, tune it again on labels that say nothing
(:mod:`~palimpsest.forgetting.labels`), and let it answer held-out items of that task and of every
other. All of it goes through ``core.training.train`` and ``core.scoring``.

What arXiv:2409.02228 did beyond 1000 items and a learning rate of 1e-4 for a 7B model (optimiser,
epochs, stopping rule, loss mask, all weights or adapters) could not be confirmed. Here: the loss is
on the tokens of the labelled answer only; AdamW with a short warm-up and a linear decline, which
averages out the last coins of redrawn labels; a fixed budget of steps, or an early end by a rule;
and the dose is reported with every result.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

import numpy as np
import pandas as pd
from scipy import special
from transformers import PreTrainedTokenizerBase

from palimpsest.core.errors import DataError, RunError, UserError
from palimpsest.core.models import LanguageModel
from palimpsest.core.scoring import TokenPair, encode_pairs, score_tokens
from palimpsest.core.text import Row
from palimpsest.core.training import LoraRecipe, Loss, Recipe, causal_lm_loss, train
from palimpsest.forgetting.items import TwoWay
from palimpsest.forgetting.labels import (
    FROZEN,
    RedrawnLabels,
    Scheme,
    TwoWayEntropy,
    check_scheme,
    choice_rows,
    frozen_labels,
)

COLUMNS = ["task", "item", "label", "margin", "p", "correct", "truncated"]
INDECISION = 0.05  # how far from 1/2 the mean p of redrawn labels and entropy may stop
LOOKS = 10  # at the stopping rule, in the whole budget
SETS = 4  # of items whose tokens are kept
WATCHED = 100  # items that the rule is judged on; a share of them has an error of at most 5 points


_ENCODED: WeakKeyDictionary[PreTrainedTokenizerBase, dict[object, list[TokenPair]]]
_ENCODED = WeakKeyDictionary()


@dataclass(frozen=True)
class Tuning:
    """How a model is tuned on labels.

    Attributes:
        epochs: passes over the items; with ``batch_size`` they give the budget of steps.
        learning_rate: at its highest, for the model at hand. (The chapter states its rates for one
            width and scales them before they come here.)
        batch_size: items in a step.
        lora_rank: 0 trains every weight; above, adapters of that rank, merged at the end.
        stop_at: None spends the whole budget. Else the agreement with frozen labels at which
            training ends; redrawn labels and entropy, with which nothing can agree for long, end at
            a mean p within :data:`INDECISION` of 1/2. Looked at :data:`LOOKS` times, on at most
            :data:`WATCHED` of the items.
    """

    epochs: int = 30
    learning_rate: float = 3e-4
    batch_size: int = 32
    lora_rank: int = 0
    stop_at: float | None = None

    def __post_init__(self) -> None:
        level = self.stop_at
        if level is not None and not 0.5 < level <= 1:
            raise UserError(
                f"'stop_at' of the tuning is {level}; an agreement above 0.5 (a coin's) and up to "
                "1 was expected, or None to spend the whole budget."
            )
        self.recipe(1, 0)  # refuses what no recipe can be

    def recipe(self, items: int, seed: int) -> Recipe:
        """The recipe for so many items; the same number of steps under every scheme."""
        for name in ("epochs", "batch_size"):
            value = getattr(self, name)
            if value < 1:
                raise UserError(f"'{name}' of the tuning is {value}; it must be at least 1.")
        rank = self.lora_rank
        return Recipe(
            steps=self.epochs * -(-items // self.batch_size),
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            schedule="linear",
            warmup=0.05,
            lora=None if rank == 0 else LoraRecipe(rank=rank, alpha=2.0 * rank),
            seed=seed,
            mixed=True,
        )


@dataclass(frozen=True)
class Tuned:
    """What a tuning did.

    Attributes:
        scheme: the labels it was done on.
        steps, seconds: optimiser steps, and seconds spent in them and in looks between them.
        stopped: whether the rule ended it before the budget was spent.
        p: the dose: mean probability of the right answer on the items tuned on, after it.
        accuracy: share of these items answered right.
        distance: mean |p − 1/2| over these items: near 0 where the model is undecided, near 1/2
            where it knows its coins by heart. (The mean of p is 1/2 in both cases.)
        agreement: share of these items answered with the label trained on; NaN where labels are
            redrawn or there are none.
        losses: the training's diary, nats per answer token (entropy: per item).
        truncated: items longer than the model's window, of which only the end was read.
        curves: what was watched: columns ``step`` (0 is before the first), and those of
            :func:`answer_items`; None if nothing was.
    """

    scheme: Scheme
    steps: int
    seconds: float
    stopped: bool
    p: float
    accuracy: float
    distance: float
    agreement: float
    losses: tuple[float, ...]
    truncated: int
    curves: pd.DataFrame | None = field(default=None, compare=False)


def tune(
    lm: LanguageModel,
    items: Sequence[TwoWay],
    scheme: Scheme,
    settings: Tuning,
    seed: int,
    *,
    watched: Sequence[TwoWay] = (),
    every: int = 1,
    progress: str | None = None,
) -> Tuned:
    """Train ``lm`` in place on ``items`` under a label scheme, and leave it in evaluation mode.

    Args:
        lm: what to tune; give a copy to keep the model as it is.
        items: of one task or of several.
        scheme: one of :data:`~palimpsest.forgetting.labels.SCHEMES`.
        settings: how.
        seed: of coins, order and adapters.
        watched: items to be answered along the way, before the first step and after every
            ``every`` and the last. It changes nothing in the training.
        progress: label of a progress bar, None for none.

    Raises:
        UserError: no such scheme.
        DataError: no items, or an answer longer than the model's window.
        RunError: the loss was not finite; the message names scheme, tasks and step. Adapters are
            taken off again; without adapters the weights of ``lm`` are spoilt, whatever was
            computed before is not.
    """
    check_scheme(scheme)
    if not items:
        raise DataError("There are no items to tune on; at least one was expected.")
    recipe = settings.recipe(len(items), seed)
    rows, loss = _trained_on(items, choice_rows(lm, items), scheme, seed)
    level = settings.stop_at
    rule = None if level is None else _Rule(lm, items, scheme, level, recipe, seed)
    looks = [answer_items(lm, watched).assign(step=0)] if watched else []

    def after(step: int, _model: object) -> bool:
        stop = rule is not None and rule(step)
        if watched and (step % every == 0 or step == recipe.steps or stop):
            looks.append(answer_items(lm, watched).assign(step=step))
        return stop

    try:
        history = train(lm, rows, recipe, loss=loss, progress=progress, on_step=after)
    except RunError as error:
        tasks = ", ".join(dict.fromkeys(item.task for item in items))
        raise RunError(f"Tuning on {scheme} labels of {tasks} came to an end. {error}") from error
    answers = answer_items(lm, items)
    return Tuned(
        scheme=scheme,
        steps=history.steps,
        seconds=history.seconds,
        stopped=history.stopped,
        p=float(answers["p"].mean()),
        accuracy=float(answers["correct"].mean()),
        distance=float((answers["p"] - 0.5).abs().mean()),
        agreement=_agreement(answers, items, scheme, seed),
        losses=tuple(history.losses),
        truncated=int(answers["truncated"].sum()),
        curves=pd.concat(looks, ignore_index=True)[["step", *COLUMNS]] if looks else None,
    )


def answer_items(
    lm: LanguageModel, items: Sequence[TwoWay], progress: str | None = None
) -> pd.DataFrame:
    """Let the model answer items, of however many tasks, in one go.

    Prompts longer than the window are read from their end, as in lm-eval, and marked.

    Returns:
        A row for each item, in the order given: ``task``; ``item`` (its id); ``label`` (index of
        the right answer); ``margin`` (log-probability of the right answer minus that of the wrong
        one, sums over tokens, nats); ``p`` = σ(margin); ``correct`` (a tie goes to index 0, as in
        lm-eval); ``truncated``.
    """
    encoded = _encoded(lm, tuple(items))
    logprobs = np.array([found.logprob for found in score_tokens(lm, encoded, progress=progress)])
    long = np.array([len(context) + len(rest) > lm.max_length + 1 for context, rest in encoded])
    first, second = logprobs.reshape(-1, 2).T
    labels = np.array([item.label for item in items], dtype=np.int64)
    margin = np.where(labels == 0, first - second, second - first)
    return pd.DataFrame(
        {
            "task": [item.task for item in items],
            "item": [item.id for item in items],
            "label": labels,
            "margin": margin,
            "p": special.expit(margin),
            "correct": (margin > 0) | ((margin == 0) & (labels == 0)),
            "truncated": long.reshape(-1, 2).any(axis=1),
        },
        columns=COLUMNS,
    )


def _encoded(lm: LanguageModel, items: tuple[TwoWay, ...]) -> list[TokenPair]:
    """The items' pairs as tokens. The same items are asked of one model after the other, and copies
    of a model share their tokenizer: what it made of the last few sets of items is kept."""
    kept = _ENCODED.setdefault(lm.tokenizer, {})
    key = (lm.prefix, items)
    if key not in kept:
        while len(kept) >= SETS:
            del kept[next(iter(kept))]
        kept[key] = encode_pairs(lm, [pair for item in items for pair in item.pairs])
    return kept[key]


# --- what is trained on -------------------------------------------------------------------------


def _trained_on(
    items: Sequence[TwoWay], rows: Sequence[tuple[Row, Row]], scheme: Scheme, seed: int
) -> tuple[list[Row], Loss]:
    """The rows of a pass, one for each item, and the loss."""
    firsts = [first for first, _ in rows]
    if scheme == "entropy":
        return firsts, TwoWayEntropy(rows)
    if scheme == "redrawn":
        return firsts, RedrawnLabels(items, rows, seed)
    labels = frozen_labels(items, scheme, seed)
    return [pair[label] for pair, label in zip(rows, labels, strict=True)], causal_lm_loss


# --- what it did --------------------------------------------------------------------------------


def _agreement(answers: pd.DataFrame, items: Sequence[TwoWay], scheme: Scheme, seed: int) -> float:
    """Share of the items answered with their frozen label, NaN if they have none."""
    if scheme not in FROZEN:
        return float("nan")
    labels = frozen_labels(items, scheme, seed)
    wanted = labels == answers["label"].to_numpy()
    return float((answers["correct"].to_numpy() == wanted).mean())


class _Rule:
    """The stopping rule: whether to end after so many steps."""

    def __init__(
        self,
        lm: LanguageModel,
        items: Sequence[TwoWay],
        scheme: Scheme,
        level: float,
        recipe: Recipe,
        seed: int,
    ) -> None:
        self.lm, self.scheme, self.level, self.seed = lm, scheme, level, seed
        self.items = items[:: -(-len(items) // WATCHED)]  # of every task, if there are several
        self.steps, self.every = recipe.steps, max(1, recipe.steps // LOOKS)

    def __call__(self, step: int) -> bool:
        if step % self.every or step == self.steps:
            return False
        answers = answer_items(self.lm, self.items)
        if self.scheme in FROZEN:
            return _agreement(answers, self.items, self.scheme, self.seed) >= self.level
        return abs(float(answers["p"].mean()) - 0.5) <= INDECISION
