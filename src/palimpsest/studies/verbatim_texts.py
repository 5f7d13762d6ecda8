"""The texts of chapter 3: what is learned by heart, its twins that nobody reads, ordinary text.

World and text are two values of the same ``data``. In the world, what is learned by heart are pages
of store books that stage 1 never told, and ordinary text is its stream. Of other data the first
documents that are long enough are learned by heart, the next ones are their twins, and the rest is
ordinary.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from palimpsest.core.digests import of_inputs
from palimpsest.core.documents import read_documents
from palimpsest.core.errors import DataError
from palimpsest.core.models import LanguageModel
from palimpsest.core.records import Document
from palimpsest.core.text import Row, text_rows
from palimpsest.world import World
from palimpsest.world.canaries import unseen_canaries

VALIDATION = 400  # documents of ordinary text on which the price is read
MOST = 200_000  # documents that are read of a large collection
LEAST_TWINS = 32


class Rows(Sequence[Row]):
    """Rows whose digest for the cache is made once: there are thousands."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self.rows = tuple(rows)

    def __getitem__(self, place: Any) -> Any:
        return self.rows[place]

    def __len__(self) -> int:
        return len(self.rows)

    def fingerprint(self) -> str:
        """A digest of tokens and weights, in their order."""
        return self._fingerprint

    @cached_property
    def _fingerprint(self) -> str:
        return of_inputs(
            {
                "lengths": np.array([len(row) for row in self.rows]),
                "tokens": np.concatenate([row.input_ids for row in self.rows]),
                "weights": np.concatenate([row.weights for row in self.rows]),
            }
        )

    @property
    def ids(self) -> list[list[int]]:
        """Token ids of each row."""
        return [row.input_ids.tolist() for row in self.rows]


@dataclass(frozen=True)
class Texts:
    """Rows by what becomes of them; all but the ordinary ones are cut to one length.

    Attributes:
        members: learned by heart.
        grouped: learned by heart in the training with many masks.
        told: told once, 4, 16 or 64 times in ordinary training; each seed tells one half.
        twins: like all of these, and read by nobody.
        ordinary, validation: of ordinary text.
        short: documents left out, since they have too few tokens.
    """

    members: Rows
    grouped: Rows
    told: Rows
    twins: Rows
    ordinary: Rows
    validation: Rows
    short: int


def open_texts(lm: LanguageModel, data: str, wanted: dict[str, int], length: int) -> Texts:
    """The texts of a run.

    Args:
        lm: gives the tokenizer.
        data: ``world``; a JSONL file, a text file or a folder of these; or the name of a dataset of
            the hub, whose split ``train`` and column ``text`` are read.
        wanted: how many ``members``, ``grouped``, ``told``, ``twins`` and ``ordinary`` there are to
            be.
        length: tokens of each but the ordinary ones.

    Raises:
        DataError: there are too few documents, or too few that are long enough (the message gives
            the counts); or the model cannot read so long ones.
    """
    if length > lm.max_length:
        raise DataError(
            f"Documents of {length} tokens were asked for, and {lm.name} reads {lm.max_length} at "
            "once. Set length lower, and prefix and suffix with it."
        )
    if data == "world":
        world = World(0, "m")
        # A page has more than 128 tokens of the book's tokenizer; another may need fewer.
        pages = unseen_canaries(world.key, MOST)
        long, short = _long_rows(lm, pages, sum(_long(wanted).values()), length)
        rest: Iterator[Row] = _rows(lm, world.unread(wanted["ordinary"] + VALIDATION))
        everyday = list(rest)
    else:
        documents = islice(_documents(data), MOST)
        long, short, everyday = _from_documents(lm, documents, wanted, length)
    parts = _shared_out(long, wanted, data, short, length)
    if len(everyday) < 64 + VALIDATION // 10:
        raise DataError(
            f"The data '{data}' have {len(everyday)} documents of ordinary text left beside those "
            f"that are learned by heart; at least {64 + VALIDATION // 10} were expected. Give more "
            "text, or set documents, grouped, twins and told lower."
        )
    held = min(VALIDATION, len(everyday) // 10)
    return Texts(
        **parts,
        ordinary=Rows(everyday[held : held + wanted["ordinary"]]),
        validation=Rows(everyday[:held]),
        short=short,
    )


# --- where documents come from ------------------------------------------------------------------


def is_path(data: str) -> bool:
    """Whether data are to be looked for on the disk and not on the hub."""
    path = Path(data).expanduser()
    return path.exists() or bool(path.suffix) or path.is_absolute() or data.startswith(".")


def _documents(data: str) -> Iterator[Document]:
    return read_documents(data if is_path(data) else _from_hub(data))


def _from_hub(name: str) -> Any:
    import datasets

    try:
        return datasets.load_dataset(name, split="train")
    except Exception as error:  # whatever the hub, the network or the dataset's files say
        said = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise DataError(
            f"The data '{name}' are no file or folder, and no dataset of that name with a split "
            f"'train' can be read: {said} Give 'world', a JSONL file, a folder of text files, or "
            "the name of a dataset."
        ) from None


# --- rows ---------------------------------------------------------------------------------------

_CHUNK = 256


def _rows(lm: LanguageModel, documents: Iterable[Document]) -> Iterator[Row]:
    """Rows that end with the end-of-text token, if there is one; empty documents are passed
    over."""
    end = lm.tokenizer.eos_token_id is not None
    waiting = iter(documents)
    while chunk := list(islice(waiting, _CHUNK)):
        chunk = [one for one in chunk if one.text.strip()]
        if chunk:
            yield from text_rows(lm, [d.text for d in chunk], [d.id for d in chunk], end=end)


def _long_rows(
    lm: LanguageModel, documents: Iterable[Document], count: int, length: int
) -> tuple[list[Row], int]:
    """The first ``count`` rows of at least ``length`` tokens, cut to it, and how many were too
    short on the way."""
    found: list[Row] = []
    short = 0
    for row in _rows(lm, documents):
        if len(row) < length:
            short += 1
            continue
        found.append(_cut(row, length))
        if len(found) == count:
            break
    return found, short


def _from_documents(
    lm: LanguageModel, documents: Iterable[Document], wanted: dict[str, int], length: int
) -> tuple[list[Row], int, list[Row]]:
    """Rows to be learned by heart and their twins, documents too short for that, and the rest."""
    count = sum(_long(wanted).values())
    long, everyday, short = [], [], 0
    for row in _rows(lm, documents):
        short += len(row) < length
        # Every fourth document is ordinary text from the start, so that both come from everywhere.
        if len(row) >= length and len(long) < count and (len(long) + len(everyday)) % 4:
            long.append(_cut(row, length))
        else:
            everyday.extend(_pieces(row))
        if len(long) == count and len(everyday) >= wanted["ordinary"] + VALIDATION:
            break
    return long, short, everyday


def _pieces(row: Row, longest: int = 128) -> Iterator[Row]:
    """A document of ordinary text in parts that fit a line."""
    for start in range(0, len(row), longest):
        part = slice(start, start + longest)
        if len(row.input_ids[part]) > 1:
            weights = row.weights[part].copy()
            weights[0] = 0.0
            yield Row(row.input_ids[part], weights, row.id)


def _cut(row: Row, length: int) -> Row:
    return replace(row, input_ids=row.input_ids[:length], weights=row.weights[:length])


def _long(wanted: dict[str, int]) -> dict[str, int]:
    return {kind: count for kind, count in wanted.items() if kind != "ordinary"}


def _shared_out(
    long: list[Row], wanted: dict[str, int], data: str, short: int, length: int
) -> dict[str, Rows]:
    """Rows by kind; of too few, the twins get what is left."""
    needed = {**_long(wanted), "twins": LEAST_TWINS}
    if len(long) < sum(needed.values()):
        raise DataError(
            f"The data '{data}' have {len(long)} documents of at least {length} tokens, and "
            f"{short} that are shorter; {sum(needed.values())} were expected, to be learned by "
            "heart and as their twins. Give more or longer documents, or set documents, grouped, "
            "told or length lower."
        )
    parts, begin = {}, 0
    for kind in ("members", "grouped", "told"):
        parts[kind] = Rows(long[begin : begin + wanted[kind]])
        begin += wanted[kind]
    return {**parts, "twins": Rows(long[begin : begin + wanted["twins"]])}
