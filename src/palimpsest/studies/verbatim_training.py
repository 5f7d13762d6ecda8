"""The trainings of chapter 3, as cells: everything else in the chapter only looks at these.

They stand beside the chapter's package, for the reason given in ``verbatim_reading``.

Three kinds. *By heart*: a few documents, again and again, under one loss for all. *Many masks*: one
training in which every group of documents has a mask, or a rate of edits, of its own; a mask is
data. *Ordinary*: documents told a known number of times among ordinary text, in one pass, with one
of the ways to prevent memorization.
"""

import math
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pandas as pd
import torch
from torch import nn

from palimpsest.core.models import LanguageModel
from palimpsest.core.scoring import score_rows
from palimpsest.core.text import Row, plan
from palimpsest.core.training import Recipe, causal_lm_loss, train
from palimpsest.goldfish.alternatives import PrivateLoss, block_dropout, capped
from palimpsest.goldfish.loss import masked_rows
from palimpsest.goldfish.mask import HashedMask, Mask, RandomMask, StaticMask
from palimpsest.goldfish.recitation import recite
from palimpsest.studies.controls import Weights, weights_of, with_weights
from palimpsest.studies.verbatim_texts import Rows
from palimpsest.unlearning.objectives import gradient_difference
from palimpsest.unlearning.runner import unlearn

K = 4  # the paper's headline: one token in four is masked
LOOKS = 10  # at a training, along the way
LOOKED_AT = 32  # documents, each time

# Many masks: windows and rates of edits for near-duplicates, and two other masks.
WINDOWS = (4, 13, 50)
EDITS = (0.0, 0.05, 0.1, 0.2)
GROUPS = tuple((h, rate) for h in WINDOWS for rate in EDITS)
OTHERS = ("static", "random")
LEAD = 16  # most tokens of other text before a document

# Ordinary training.
TELLINGS = (1, 4, 16, 64)
LINE = 128
STANDARD = "standard"
STRENGTHS: dict[str, tuple[float, ...]] = {
    "goldfish": (32, 8, 4),  # k
    "de-duplication": (16, 4, 1),  # copies at most
    "dropout and decay": (0.1, 0.2, 0.4),  # dropout; weight decay is 2.5 times as much
    "DP-SGD": (0.001, 0.005, 0.02),  # noise
    "unlearning": (2, 4, 8),  # steps
}
CLIP = 1.0  # of DP-SGD


@dataclass(frozen=True)
class Trained:
    """What a training made.

    Attributes:
        weights: after it.
        along: looks at it on the way, one a row.
        tokens: read.
        seconds: spent.
        later: weights after more text, where there was more.
    """

    weights: Weights
    along: pd.DataFrame
    tokens: int
    seconds: float
    later: Weights | None = None


# --- by heart -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class ByHeart:
    """How documents are learned by heart."""

    epochs: int
    learning_rate: float
    batch_size: int
    prefix: int
    suffix: int

    def recipe(self, seed: int) -> Recipe:
        """One row a line, so that nothing else is read beside a document."""
        return Recipe(
            epochs=self.epochs, batch_size=self.batch_size, learning_rate=self.learning_rate,
            schedule="linear", warmup=0.05, seed=seed, mixed=True,
        )  # fmt: skip


def by_heart(
    lm: LanguageModel, rows: Rows, mask: Mask | None, settings: ByHeart, seed: int, ruler: Mask
) -> Trained:
    """``lm`` after learning documents by heart; no mask is the ordinary loss.

    ``along``: ``epoch, exact, rouge, kept, masked`` of the first documents: recitation, and the
    mean loss (nats) of tokens that ``ruler`` keeps and masks, whatever the training's mask.
    """
    student = lm.copy()
    recipe = settings.recipe(seed)
    taught = masked_rows(rows, mask) if mask is not None else list(rows)
    per_epoch = math.ceil(len(rows) / recipe.batch_size)
    every = max(1, settings.epochs // LOOKS)
    seen = Rows(rows[:LOOKED_AT])
    looks: list[dict[str, float]] = []

    def look(step: int, _: object) -> None:
        epoch, rest = divmod(step, per_epoch)
        if rest or (epoch % every and epoch != settings.epochs):
            return
        student.model.eval()
        told = recite(student, seen.ids, settings.prefix, settings.suffix).table
        kept, masked = split_losses(student, seen, ruler)
        looks.append(
            {
                "epoch": epoch, "exact": told["exact"].mean(), "rouge": told["rouge"].mean(),
                "kept": kept, "masked": masked,
            }
        )  # fmt: skip

    look(0, None)
    history = train(student, taught, recipe, on_step=look, progress="by heart")
    return Trained(weights_of(student), pd.DataFrame(looks), history.tokens, history.seconds)


def split_losses(lm: LanguageModel, rows: Sequence[Row], ruler: Mask) -> tuple[float, float]:
    """Mean loss, nats, of the tokens that a mask keeps and of those that it masks. The first ``h``
    tokens, which it always keeps, count among neither."""
    skip = getattr(ruler, "h", 1)
    parts: dict[bool, list[np.ndarray]] = {True: [], False: []}
    for row, score in zip(rows, score_rows(lm, rows), strict=True):
        keep = ruler(torch.from_numpy(row.input_ids.astype(np.int64))[None])[0].numpy()
        wanted = np.flatnonzero(row.weights > 0)
        wanted = wanted[wanted > 0]
        inside = wanted > skip
        for side, found in parts.items():
            found.append(score.token_logprobs[inside & (keep[wanted] == side)])
    kept, masked = (np.concatenate(parts[side]) for side in (True, False))
    return float(-kept.mean()), float(-masked.mean())


# --- many masks ---------------------------------------------------------------------------------


def group_names() -> list[str]:
    """Names of the groups, in the order of their documents."""
    return [f"h={h}, e={rate}" for h, rate in GROUPS] + list(OTHERS)


def group_mask(group: int, h: int, seed: int) -> Mask:
    """The mask of a group's documents; of near-duplicates the window is the group's own."""
    if group < len(GROUPS):
        return HashedMask(k=K, h=GROUPS[group][0])
    return StaticMask(k=K) if OTHERS[group - len(GROUPS)] == "static" else RandomMask(K, seed)


def visits_of(
    rows: Rows, leads: Rows, visits: int, per_group: int, h: int, seed: int
) -> list[list[Row]]:
    """By visit, what is read of each document: edited at its group's rate, masked by its group's
    mask, and after a few tokens of other text, which are no targets, so that it never stands at the
    same place. Those come first: ``len(row) - length`` of them.
    """
    rng = np.random.default_rng([seed, 31])
    pool = np.concatenate([row.input_ids for row in leads])
    found = []
    for visit in range(visits):
        told = []
        for number, row in enumerate(rows):
            group = number // per_group
            rate = GROUPS[group][1] if group < len(GROUPS) else 0.0
            ids = np.where(rng.random(len(row)) < rate, rng.choice(pool, len(row)), row.input_ids)
            lead = rng.choice(pool, int(rng.integers(1, LEAD + 1)))
            line = np.concatenate([lead, ids]).astype(np.int32)
            weights = np.concatenate([np.zeros(len(lead)), np.ones(len(ids))])
            mask = group_mask(group, h, seed)
            keep = mask(torch.from_numpy(line.astype(np.int64))[None], visit=visit, rows=[number])
            told.append(Row(line, (weights * keep[0].numpy()).astype(np.float32), row.id))
        found.append(told)
    return found


def many_masks(
    lm: LanguageModel,
    rows: Rows,
    leads: Rows,
    settings: ByHeart,
    visits: int,
    per_group: int,
    h: int,
    seed: int,
) -> Trained:
    """``lm`` after going ``visits`` times through documents that are masked and edited by group.

    ``along``: ``visit, mask, exact, rouge`` of the groups that differ in their mask alone.
    """
    student = lm.copy()
    read = visits_of(rows, leads, visits, per_group, h, seed)
    rng = np.random.default_rng([seed, 32])
    order = [told[at] for told in read for at in rng.permutation(len(told))]
    recipe = replace(settings.recipe(seed), epochs=1, shuffle=False)
    compared = {"hashed": GROUPS.index((13, 0.0))}
    compared |= {name: len(GROUPS) + at for at, name in enumerate(OTHERS)}
    per_visit = len(rows) / recipe.batch_size
    marks = {round(per_visit * v): v for v in _spread(visits)}
    looks: list[dict[str, object]] = []

    def look(step: int, _: object) -> None:
        if step not in marks:
            return
        student.model.eval()
        for name, group in compared.items():
            ids = Rows(rows[group * per_group : (group + 1) * per_group]).ids
            told = recite(student, ids, settings.prefix, settings.suffix).table
            looks.extend(
                {"visit": marks[step], "mask": name, "text": int(one.text),
                 "exact": float(one.exact), "rouge": one.rouge}
                for one in told.itertuples()
            )  # fmt: skip

    history = train(student, order, recipe, on_step=look, progress="many masks")
    return Trained(weights_of(student), pd.DataFrame(looks), history.tokens, history.seconds)


def _spread(visits: int) -> list[int]:
    """Up to :data:`LOOKS` visits after which to look, the last among them."""
    return sorted({round(visits * (at + 1) / min(LOOKS, visits)) for at in range(LOOKS)} - {0})[
        :visits
    ]


# --- ordinary -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ordinary:
    """How ordinary text is read: in packed lines, once."""

    learning_rate: float
    batch_size: int
    blank: bool

    def recipe(self, seed: int, decay: float = 0.0, clip: float | None = 1.0) -> Recipe:
        """A constant rate after a warm-up, so that a training and its continuation are one."""
        return Recipe(
            epochs=1, batch_size=self.batch_size, learning_rate=self.learning_rate, warmup=0.05,
            weight_decay=decay, clip=clip, pack_length=LINE, seed=seed, shuffle=False, mixed=True,
        )  # fmt: skip


def ordinary(
    lm: LanguageModel,
    told: Rows,
    tellings: tuple[int, ...],
    text: Rows,
    validation: Rows,
    method: str,
    strength: float,
    h: int,
    settings: Ordinary,
    seed: int,
    after: Rows | None = None,
) -> Trained:
    """A model that read ordinary text in which some documents are told a known number of times.

    Args:
        lm: the model; with ``settings.blank`` only its shape and tokenizer are used.
        told: documents that are told.
        tellings: how often each.
        text: ordinary documents.
        validation: ordinary documents that are not read.
        method: :data:`STANDARD`, ``selective`` (goldfish on what is told alone, ``strength`` is k)
            or one of :data:`STRENGTHS` but unlearning, which comes afterwards.
        strength: of the method.
        h: tokens that decide on the next one, of goldfish masks.
        settings: how.
        seed: of order, first weights and dropout.
        after: ordinary documents that are read when all of this was, until there were as many
            supervised tokens as the standard loss has in the part before; the weights are those
            before, ``later`` those at the end.

    Returns:
        ``along``: ``step, tokens, supervised, loss`` (validation, nats a token).
    """
    student = blanked(lm, seed) if settings.blank else lm.copy()
    rng = np.random.default_rng([seed, 33])
    own = [row for row, times in zip(told, tellings, strict=True) for _ in range(times)]
    if method == "de-duplication":
        own = capped(own, int(strength))
    mask = HashedMask(k=int(strength), h=h) if method in ("goldfish", "selective") else None
    if mask is not None:
        own = masked_rows(own, mask)
    everyday, later = list(text), list(after or ())
    if method == "goldfish":
        everyday, later = masked_rows(everyday, mask), masked_rows(later, mask)
    lines = [*own, *everyday]
    lines = [lines[at] for at in rng.permutation(len(lines))] + later
    decay = 2.5 * strength if method == "dropout and decay" else 0.0
    recipe = settings.recipe(seed, decay, None if method == "DP-SGD" else 1.0)
    loss = PrivateLoss(CLIP, strength) if method == "DP-SGD" else causal_lm_loss
    clock = _Clock(lines, recipe, len(own) + len(everyday))
    enough = sum(len(row) - 1 for row in lines[: clock.rows]) if later else math.inf
    looks = [{"step": 0, "tokens": 0, "supervised": 0, "loss": mean_loss(student, validation)}]
    kept: list[Weights] = []

    def look(step: int, _: object) -> bool:
        if step == clock.main and later:
            kept.append(weights_of(student))
        now = clock.at(step)
        done = bool(kept) and now["supervised"] >= enough
        if step in clock.marks or done:
            student.model.eval()
            looks.append({**now, "loss": mean_loss(student, validation)})
        return done

    with ExitStack() as stack:
        if method == "dropout and decay":
            stack.enter_context(block_dropout(student.model, strength))
        history = train(student, lines, recipe, loss=loss, on_step=look, progress=method)
    weights = weights_of(student)
    return Trained(
        kept[0] if kept else weights, pd.DataFrame(looks), history.tokens, history.seconds,
        weights if kept else None,
    )  # fmt: skip


class _Clock:
    """Which steps to look at, and what has been read by then."""

    def __init__(self, rows: Sequence[Row], recipe: Recipe, main: int) -> None:
        sizes = np.array([len(row) for row in rows])
        targets = np.array([int((row.weights[1:] > 0).sum()) for row in rows])
        steps = [
            [at for line in lines for at in line]
            for lines in plan(sizes, recipe.batch_size, recipe.pack_length)
        ]
        self.tokens = np.cumsum([sizes[step].sum() for step in steps])
        self.targets = np.cumsum([targets[step].sum() for step in steps])
        self.rows = main
        # The first step by which as many tokens are read as the part before the extra text has.
        self.main = int(np.searchsorted(self.tokens, sizes[:main].sum())) + 1
        self.main = min(self.main, len(steps))
        spread = np.unique(np.linspace(self.main / LOOKS, self.main, LOOKS).round().astype(int))
        beyond = np.linspace(self.main, len(steps), 4).round().astype(int)
        self.marks = {int(step) for step in (*spread, *beyond) if step > 0}

    def at(self, step: int) -> dict[str, int]:
        place = min(step, len(self.tokens)) - 1
        return {
            "step": step,
            "tokens": int(self.tokens[place]),
            "supervised": int(self.targets[place]),
        }


def unlearned(
    lm: LanguageModel,
    weights: Weights,
    told: Rows,
    retain: Rows,
    validation: Rows,
    steps: int,
    settings: Ordinary,
    seed: int,
) -> Trained:
    """What ordinary training made, after ``steps`` of gradient difference: up the loss of what was
    told, down that of as much ordinary text (``unlearning.objectives``), at a fifth of the rate."""
    student = with_weights(lm, weights)
    recipe = Recipe(
        steps=steps, batch_size=settings.batch_size, learning_rate=settings.learning_rate / 5,
        pack_length=LINE, seed=seed, mixed=True,
    )  # fmt: skip
    path = unlearn(
        student, list(told), recipe, gradient_difference, retain=list(retain),
        measure=partial(mean_loss, rows=validation), stop_at=-math.inf, every=steps,
    )  # fmt: skip
    along = pd.DataFrame({"step": path.steps, "loss": path.measure})
    return Trained(weights_of(student), along, 0, path.seconds)


def blanked(lm: LanguageModel, seed: int) -> LanguageModel:
    """A copy of ``lm`` with first weights, as its architecture draws them."""
    fresh = lm.copy()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        drawn: nn.Module = type(lm.model)(lm.model.config)
    fresh.model.load_state_dict(drawn.state_dict())
    fresh.model.eval()
    return fresh


def mean_loss(lm: LanguageModel, rows: Sequence[Row]) -> float:
    """Mean negative log-likelihood of the rows' tokens, nats."""
    scores = score_rows(lm, rows)
    return -sum(one.logprob for one in scores) / sum(one.tokens for one in scores)
