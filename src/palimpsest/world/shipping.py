"""From finished trainings to shipped models: half precision, accuracy, card."""

import shutil
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pandas as pd

from palimpsest.core import places
from palimpsest.core.errors import UserError
from palimpsest.core.files import atomic_folder
from palimpsest.core.models import LanguageModel, load
from palimpsest.core.tasks import evaluate_tasks
from palimpsest.world import card
from palimpsest.world.jobs import side_by_side
from palimpsest.world.publish import write_tasks
from palimpsest.world.recipe import find_plan, phase_sizes
from palimpsest.world.shared import share
from palimpsest.world.stage_one import Training, train_stage_one
from palimpsest.world.universe import World

WORK = ".training"  # beside the models, while any is trained: a folder for each, one shared
SHARED = "shared"


def train_and_ship_all(
    names: Sequence[str],
    models: Path,
    *,
    jobs: int,
    tokens: int | None = None,
    device: str = "auto",
    resume: bool = False,
) -> list[str]:
    """Train several shipped models, ``jobs`` at once, into folders of their names in ``models``.

    Each runs in a process of its own, with one thread if there are several; one that fails does not
    stop the others.

    Returns:
        Names of those that failed; what went wrong stands in the log of each.

    Raises:
        UserError: an unknown model, or no tokens.
    """
    for name in names:
        find_plan(name)
    phase_sizes(tokens)
    work = models / WORK
    try:
        share(World(), work / SHARED, tokens)
    except OSError as error:
        raise UserError(f"{models} cannot be written: {error.strerror or error}.") from None
    tasks = {
        name: partial(_train, name, models / name, tokens=tokens, device=device, resume=resume)
        for name in names
    }
    failed = side_by_side(tasks, jobs, logs=work)
    if not failed:
        shutil.rmtree(work)
    return failed


def train_and_ship(
    name: str, out: Path, *, tokens: int | None = None, device: str = "auto", resume: bool = False
) -> pd.DataFrame:
    """Train a shipped model and write it, with its card, into the folder ``out``; what is taken on
    the way goes into folders beside it.

    State is kept in ``.training`` beside ``out`` and removed at the end.

    Returns:
        ``card.accuracy_table``.

    Raises:
        UserError: see ``stage_one.train_stage_one``; or ``out`` cannot be written.
    """
    accuracy = _train(name, out, tokens=tokens, device=device, resume=resume)
    work = out.parent / WORK
    if {path.name for path in work.iterdir()} <= {SHARED}:  # nobody else is at work
        shutil.rmtree(work)
    return accuracy


def _train(name: str, out: Path, *, tokens: int | None, device: str, resume: bool) -> pd.DataFrame:
    world = World()
    work = out.parent / WORK
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        trained = train_stage_one(
            name,
            world,
            work / out.name,
            work / SHARED,
            tokens=tokens,
            device=device,
            resume=resume,
        )
        tables = []
        for lm, training in trained:
            folder = out if training.name == name else out.parent / training.name
            tables.append(ship(lm, world, training, folder))
    except OSError as error:
        raise UserError(f"{out} cannot be written: {error.strerror or error}.") from None
    shutil.rmtree(work / out.name)
    return tables[0]


def ship(lm: LanguageModel, world: World, training: Training, out: Path) -> pd.DataFrame:
    """Store the weights as float16, measure *those*, and write everything into ``out``."""
    with atomic_folder(out) as scratch:
        lm.model.half().save_pretrained(scratch)
        lm.tokenizer.save_pretrained(scratch)
        for file in scratch.iterdir():
            file.chmod(0o644)  # safetensors writes files that only their owner may read
        stored = load(scratch, device=str(lm.device), dtype="float32")
        card.write_history(scratch, stored, world, training)
        accuracy = _measured(stored, world)
        card.write_card(scratch, stored, accuracy)
    return accuracy


def measure_again(folder: Path, device: str = "auto") -> pd.DataFrame:
    """Measure a shipped model on the tasks as they are now, and write its card again.

    Raises:
        UserError: the folder holds no shipped model.
    """
    if not (folder / card.TRAINING).exists():
        raise UserError(f"{folder} holds no shipped model: it has no {card.TRAINING}.")
    lm = load(folder, device=device, dtype="float32")
    accuracy = _measured(lm, World())
    card.write_card(folder, lm, accuracy)
    return accuracy


def _measured(lm: LanguageModel, world: World) -> pd.DataFrame:
    names = [f"pal_{task}" for task in world.tasks]
    if places.tasks().exists():
        return card.accuracy_table(world, evaluate_tasks(lm, names, places.tasks()))
    with tempfile.TemporaryDirectory() as folder:
        tasks = Path(folder) / "tasks"
        write_tasks(world, tasks)
        return card.accuracy_table(world, evaluate_tasks(lm, names, tasks))
