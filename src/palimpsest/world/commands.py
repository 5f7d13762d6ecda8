"""What ``palimpsest world make|train|show`` do; the command line only parses and prints."""

from pathlib import Path

from palimpsest.core import places
from palimpsest.core.errors import UserError
from palimpsest.world import tour
from palimpsest.world.publish import write_tasks, write_world
from palimpsest.world.universe import World


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
    model: str = "palimpsest-m",
    out: Path | None = None,
    tokens: int | None = None,
    device: str = "auto",
    resume: bool = False,
) -> str:
    """Train a shipped model from scratch and write it, with its card, into the folder ``out``.

    Progress goes to stderr; the state is saved every minute beside ``out``, so that ``resume``
    goes on where an interrupted training stopped.

    Args:
        model: name of the model.
        out: folder (default: ``data/models/<model>``), replaced as a whole at the end.
        tokens: tokens to train on (default: as shipped).
        device: auto, cpu, cuda or cuda:N.
        resume: go on with an interrupted training.

    Returns:
        A few lines that say what was written and how accurate the model is.

    Raises:
        UserError: unknown model, a folder that cannot be written, an interrupted training and no
            ``resume``.
    """
    from palimpsest.world.shipping import train_and_ship

    folder = places.models() / model if out is None else Path(out)
    accuracy = train_and_ship(model, folder, tokens=tokens, device=device, resume=resume)
    mean = accuracy.iloc[-1]
    return (
        f"{folder}: mean accuracy {mean['accuracy']:.3f} over {len(accuracy) - 1} tasks "
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
