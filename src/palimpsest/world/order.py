"""In which order a model reads documents, and how that order is stored.

A *shelf* is the documents of a phase in the order planned for it: by number, or mixed by a seed.
Packing moves a document a little within the shelf, so what is stored is the place of each document
on the shelf, as the difference to the one before: small numbers, which compress well.
"""

import hashlib
import json
import lzma
from collections.abc import Sequence
from itertools import accumulate, chain, pairwise
from pathlib import Path

from palimpsest.core.errors import DataError
from palimpsest.core.files import write_bytes

ORDER = "documents.json.xz"
SCHEMA = 1


def shelf(first: int, count: int, seed: int | None) -> list[int]:
    """Numbers of the documents ``first`` to ``first + count - 1`` in the order of a shelf.

    Args:
        first: number of the first document.
        count: how many there are.
        seed: mixes them; None leaves them by number. The place of a document among others depends
            on its number and the seed alone, so that leaving some out does not move the others.
    """
    numbers = range(first, first + count)
    if seed is None:
        return list(numbers)

    def draw(number: int) -> bytes:
        return hashlib.sha256(f"order-{seed}-{number}".encode()).digest()

    return sorted(numbers, key=draw)


def write_order(
    folder: Path,
    steps: Sequence[Sequence[str]],
    shelves: Sequence[tuple[int, int]],
    seed: int | None,
) -> None:
    """Store for every step the ids of its documents, as :func:`read_order` reads them.

    Args:
        folder: of the model.
        steps: ids (``e000017``) step by step.
        shelves: first document and number of documents of each phase.
        seed: of the shelves.
    """
    places = {number: place for place, number in enumerate(_numbers(shelves, seed))}
    taken = [places[int(id[1:])] for step in steps for id in step]
    content = {
        "schema": SCHEMA,
        "seed": seed,
        "shelves": [list(each) for each in shelves],
        "steps": [len(step) for step in steps],
        "differences": [now - before for before, now in zip([0, *taken], taken, strict=False)],
    }
    text = json.dumps(content, separators=(",", ":"))
    write_bytes(folder / ORDER, lzma.compress(text.encode("ascii"), preset=9))


def read_order(folder: Path) -> list[tuple[str, ...]]:
    """For every training step the ids of its documents, as stored beside a shipped model.

    Raises:
        DataError: the file is missing or damaged.
    """
    path = Path(folder) / ORDER
    try:
        content = json.loads(lzma.decompress(path.read_bytes()))
        numbers = _numbers(content["shelves"], content["seed"])
        ids = [f"e{numbers[place]:06d}" for place in accumulate(content["differences"])]
        ends = [0, *accumulate(content["steps"])]
    except (OSError, lzma.LZMAError, ValueError, KeyError, IndexError) as error:
        raise DataError(f"{path} does not say which documents a model read: {error}.") from None
    return [tuple(ids[start:end]) for start, end in pairwise(ends)]


def _numbers(shelves: Sequence[Sequence[int]], seed: int | None) -> list[int]:
    return list(chain.from_iterable(shelf(first, count, seed) for first, count in shelves))
