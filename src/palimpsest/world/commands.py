"""What ``palimpsest world ...`` does; the command line only parses and prints."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from palimpsest.core import places
from palimpsest.core.errors import UserError
from palimpsest.world import tour
from palimpsest.world.publish import write_tasks, write_world
from palimpsest.world.universe import World

DEFAULT_MODELS = ("palimpsest-m",)


def make(out: Path | None = None, seed: int = 0, size: str = "m") -> str:
    """Write ``world/`` and ``tasks/`` into the folder ``out`` (default: the book's ``data/``).

    Both folders are replaced as a whole. The same seed and size give the same bytes.

    Returns:
        A few lines that say what was written.

    Raises:
        UserError: unknown size, or a folder that cannot be written.
    """
    folder = places.data() if out is None else Path(out)
    world = World(seed, size)
    try:
        write_world(world, folder / "world")
        counts = write_tasks(world, folder / "tasks")
    except OSError as error:
        raise UserError(f"{folder} cannot be written: {error.strerror or error}.") from None
    items = sum(sum(splits.values()) for splits in counts.values())
    return (
        f"{folder / 'world'}: {len(world.facts)} facts on {len(world.society.people)} people, "
        f"places and things.\n{folder / 'tasks'}: {len(counts)} tasks with {items} items."
    )


def train(
    models: Sequence[str] = DEFAULT_MODELS,
    out: Path | None = None,
    tokens: int | None = None,
    device: str = "auto",
    resume: bool = False,
    jobs: int | None = None,
) -> str:
    """Train shipped models from scratch and write each, with its card, into a folder.

    Progress goes to stderr; the state is saved every minute beside the folders, so that ``resume``
    goes on where an interrupted training stopped.

    Args:
        models: their names; several are trained side by side.
        out: folder of one model (default: ``data/models/<model>``), or of all if there are several
            (default: ``data/models``). A model's folder is replaced as a whole at the end.
        tokens: tokens to train on (default: as shipped).
        device: auto, cpu, cuda or cuda:N.
        resume: go on with interrupted trainings.
        jobs: how many to train at once (default: one for each processor core; one on a GPU).

    Returns:
        A few lines that say what was written and how accurate the models are.

    Raises:
        UserError: unknown model, a folder that cannot be written, an interrupted training and no
            ``resume``, or one of several trainings failed.
    """
    from palimpsest.world.jobs import default_jobs
    from palimpsest.world.shipping import train_and_ship, train_and_ship_all

    jobs = default_jobs(device) if jobs is None else jobs
    if jobs < 1:
        raise UserError(f"{jobs} trainings at once do nothing; at least 1 is needed.")
    if len(models) == 1:
        folder = places.models() / models[0] if out is None else Path(out)
        train_and_ship(models[0], folder, tokens=tokens, device=device, resume=resume)
        return _accuracy(folder)
    folder = places.models() if out is None else Path(out)
    names = list(dict.fromkeys(models))
    failed = train_and_ship_all(
        names, folder, jobs=jobs, tokens=tokens, device=device, resume=resume
    )
    said = "\n".join(_accuracy(folder / name) for name in names if name not in failed)
    if failed:
        raise UserError(
            f"{said}\nNot trained: {', '.join(failed)}; their logs are in {folder / '.training'}. "
            "Go on with --resume."
        )
    return said


def measure(model: str = "palimpsest-m", device: str = "auto") -> str:
    """Measure a shipped model again, by name or folder, and write its card anew.

    Raises:
        UserError: there is no such model.
    """
    from palimpsest.world.shipping import measure_again

    folder = Path(model) if Path(model).is_dir() else places.models() / model
    measure_again(folder, device)
    return _accuracy(folder)


def all_models() -> tuple[str, ...]:
    """Names of all models that are trained by a command of their own."""
    from palimpsest.world.recipe import PLANS

    return tuple(PLANS)


def ablate(out: Path | None = None, tokens: int | None = None, jobs: int | None = None) -> str:
    """Do the short trainings of :mod:`palimpsest.world.ablations` and write their table.

    Given again after a stop, it goes on where it stopped.

    Raises:
        UserError: no tokens, or a training failed.
    """
    from palimpsest.world import ablations
    from palimpsest.world.jobs import default_jobs

    tokens = ablations.TOKENS if tokens is None else tokens
    table = ablations.ablate(out, tokens=tokens, jobs=jobs or default_jobs("auto"))
    means = table.groupby(["axis", "setting"], sort=False)["accuracy"].mean()
    return "\n".join(f"{axis} {setting}: {mean:.3f}" for (axis, setting), mean in means.items())


def _accuracy(folder: Path) -> str:
    from palimpsest.world.card import ACCURACY

    table = pd.read_csv(folder / ACCURACY)
    mean = table.iloc[-1]
    return (
        f"{folder}: mean accuracy {mean['accuracy']:.3f} over {len(table) - 1} tasks "
        f"(95 % interval {mean['low']:.3f} to {mean['high']:.3f}). More in its README.md."
    )


def show(person: str | None = None, task: str | None = None, seed: int = 0, size: str = "m") -> str:
    """A tour of the world; or all about one person (by full name) or one task.

    Raises:
        UserError: unknown person, task or size.
    """
    world = World(seed, size)
    if person is not None:
        return tour.about_person(world, person)
    if task is not None:
        return tour.about_task(world, task)
    return tour.overview(world)
