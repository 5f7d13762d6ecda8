"""The training of one shipped model, phase by phase."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from palimpsest.core.errors import UserError
from palimpsest.core.files import atomic_folder
from palimpsest.core.models import LanguageModel, load
from palimpsest.core.text import Row, cut, plan
from palimpsest.core.training import History, Recipe, train
from palimpsest.world.order import shelf
from palimpsest.world.recipe import CONTEXT, PHASES, Plan, find_plan, phase_sizes, training_recipe
from palimpsest.world.rows import Shelved
from palimpsest.world.shared import BLANK, kept_rows, share_tokenizer, write_blank
from palimpsest.world.universe import World

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class Part:
    """One phase as it was trained: recipe, history, and the documents it chose from."""

    phase: str
    recipe: Recipe
    history: History
    shelf: tuple[int, int]


@dataclass(frozen=True)
class Training:
    """What a training was and did, phase by phase."""

    name: str
    plan: Plan
    parts: tuple[Part, ...]

    @property
    def order(self) -> list[tuple[str, ...]]:
        """For every step the ids of its documents."""
        return [step for part in self.parts for step in part.history.order]

    @property
    def tokens(self) -> int:
        return sum(part.history.tokens for part in self.parts)

    @property
    def seconds(self) -> float:
        return sum(part.history.seconds for part in self.parts)


@dataclass(frozen=True)
class Stop:
    """Where a training is also shipped: after ``step`` steps of a phase, or ``tokens`` of it."""

    name: str
    step: int
    tokens: int


def train_stage_one(
    name: str,
    world: World,
    work: Path,
    shared: Path,
    *,
    tokens: int | None = None,
    device: str = "auto",
    resume: bool = False,
) -> list[tuple[LanguageModel, Training]]:
    """Train a shipped model from scratch, or go on with a training that was interrupted.

    Args:
        name: which of :data:`PLANS`.
        world: what it is trained on.
        work: folder for the blank model and the checkpoints, one every minute.
        shared: folder for what all models share, see :mod:`palimpsest.world.shared`.
        tokens: tokens to train on, shared out among the phases (default: the recipe's).
        device: as in ``core.models.load``.
        resume: go on from the state in ``work``, if there is one.

    Returns:
        The model with what its training did, and likewise each of its stops.

    Raises:
        UserError: unknown model, no tokens, or ``work`` holds a training and ``resume`` is False.
    """
    model = find_plan(name)
    sizes = phase_sizes(tokens)
    blank = work / BLANK
    if blank.exists() and not resume:
        raise UserError(
            f"{work} holds a training that was interrupted. Go on with --resume, or delete that "
            "folder to begin again."
        )
    if not blank.exists():
        write_blank(model.shape, model.seed, share_tokenizer(world, shared), blank)
    lm = load(blank, device=device, dtype="float32")
    chosen = [
        _chosen(kept_rows(lm, world, shared, phase, size), model)
        for phase, size in zip(PHASES, sizes, strict=True)
    ]
    whole = sum(len(row) for _, rows in chosen for row in rows)
    parts: list[Part] = []
    stopped: list[Training] = []
    before = 0
    for phase, (documents, rows) in zip(PHASES, chosen, strict=True):
        recipe = training_recipe(phase, model.shape.rate, model.seed)
        wanted = {stop: round(at * whole) - before for stop, at in model.stops.items()}
        stops = _stops(rows, recipe, wanted)
        history = train(
            lm,
            rows,
            recipe,
            checkpoint=work / phase.name,
            resume=True,
            progress=f"{name}, {phase.name}",
            on_step=partial(_keep, lm, work, stops) if stops else None,
        )
        whole_part = Part(phase.name, recipe, history, (phase.first, documents))
        for stop in stops:
            part = replace(whole_part, history=_until(history, stop))
            stopped.append(Training(stop.name, model, (*parts, part)))
        parts.append(whole_part)
        before += history.tokens
    trained = [(lm, Training(name, model, tuple(parts)))]
    for training in stopped:
        taken = load(work / training.name, device=device, dtype="float32")
        trained.append((taken, training))
    return trained


def _chosen(shelved: Shelved, model: Plan) -> tuple[int, list[Row]]:
    """How many documents a phase chooses from, and the rows of those chosen, in their order."""
    documents = len(shelved.rows)
    numbers = shelf(shelved.first, documents, model.order)
    rows = [shelved.row(n) for n in numbers if shelved.without(n, model.without)]
    return documents, cut(rows, CONTEXT)


def _stops(rows: Sequence[Row], recipe: Recipe, wanted: dict[str, int]) -> list[Stop]:
    """The first step of a phase with at least so many tokens behind it, for each stop that falls
    into the phase."""
    sizes = np.array([len(row) for row in rows])
    steps = plan(sizes, recipe.batch_size, recipe.pack_length)
    behind = np.cumsum([sizes[[i for line in lines for i in line]].sum() for lines in steps])
    return [
        Stop(name, at + 1, int(behind[at]))
        for name, tokens in wanted.items()
        if 0 < tokens <= behind[-1]
        for at in [int(np.searchsorted(behind, tokens))]
    ]


def _keep(
    lm: LanguageModel, work: Path, stops: Sequence[Stop], step: int, model: "PreTrainedModel"
) -> None:
    for stop in stops:
        if step == stop.step:
            with atomic_folder(work / stop.name) as scratch:
                model.save_pretrained(scratch)
                lm.tokenizer.save_pretrained(scratch)


def _until(history: History, stop: Stop) -> History:
    """The part of a history that lies before a stop."""
    logs = [log for log in history.logs if log.step <= stop.step]
    return replace(
        history,
        logs=logs,
        order=history.order[: stop.step],
        steps=stop.step,
        tokens=stop.tokens,
        seconds=history.seconds * stop.step / history.steps,
        stopped=True,
    )
