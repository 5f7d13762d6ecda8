"""From a finished training to a shipped model: half precision, accuracy, card."""

import shutil
from pathlib import Path

import pandas as pd

from palimpsest.core import places
from palimpsest.core.errors import UserError
from palimpsest.core.files import atomic_folder
from palimpsest.core.models import LanguageModel, load
from palimpsest.core.tasks import evaluate_tasks
from palimpsest.world import card
from palimpsest.world.publish import write_tasks
from palimpsest.world.recipe import Training, train_stage_one
from palimpsest.world.universe import World


def train_and_ship(
    name: str, out: Path, *, tokens: int | None = None, device: str = "auto", resume: bool = False
) -> pd.DataFrame:
    """Train a shipped model and write it, with its card, into the folder ``out``.

    State is kept in ``.<folder>-training`` beside ``out`` and removed at the end.

    Returns:
        ``card.accuracy_table``.

    Raises:
        UserError: see ``recipe.train_stage_one``; or ``out`` cannot be written.
    """
    world = World()
    work = out.parent / f".{out.name}-training"
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        lm, training = train_stage_one(
            name, world, work, tokens=tokens, device=device, resume=resume
        )
        accuracy = ship(name, lm, world, training, out, work)
    except OSError as error:
        raise UserError(f"{out} cannot be written: {error.strerror or error}.") from None
    shutil.rmtree(work)
    return accuracy


def ship(
    name: str, lm: LanguageModel, world: World, training: Training, out: Path, work: Path
) -> pd.DataFrame:
    """Store the weights as float16, measure *those*, and write everything into ``out``."""
    with atomic_folder(out) as scratch:
        lm.model.half().save_pretrained(scratch)
        lm.tokenizer.save_pretrained(scratch)
        for file in scratch.iterdir():
            file.chmod(0o644)  # safetensors writes files that only their owner may read
        stored = load(scratch, device=str(lm.device), dtype="float32")
        tasks = places.tasks()
        if not tasks.exists():
            tasks = work / "tasks"
            write_tasks(world, tasks)
        answers = evaluate_tasks(stored, [f"pal_{task}" for task in world.tasks], tasks)
        accuracy = card.accuracy_table(world, answers)
        card.write_beside(scratch, name, stored, world, training, accuracy)
    return accuracy
