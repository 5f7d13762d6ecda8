"""What ``palimpsest world make|train|show`` do; the command line only parses and prints."""

from pathlib import Path

from palimpsest.core import places
from palimpsest.core.errors import UserError
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
