"""From documents to rows: every token is learned, answers count more.

The rows of a phase of training are kept in a file, because making them takes a minute and several
models read the same.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from palimpsest.core.files import atomic_folder
from palimpsest.core.models import LanguageModel
from palimpsest.core.records import Document
from palimpsest.core.text import Row, text_rows

ANSWER_WEIGHT = 5.0
_ANSWER = re.compile(r"^(?:Answer|Ne):(.+)$", re.MULTILINE | re.IGNORECASE)
_CHUNK = 4096


def answer_spans(text: str) -> list[tuple[int, int]]:
    """Where the answers of a document of questions stand: [start, end) in characters, each with
    its leading blank. Empty for a text without questions."""
    return [match.span(1) for match in _ANSWER.finditer(text)]


def document_rows(
    lm: LanguageModel, documents: Iterable[Document], answer_weight: float = ANSWER_WEIGHT
) -> list[Row]:
    """Rows as the shipped models are trained on them.

    Every document ends with the end-of-text token, if the tokenizer has one. Tokens of answers, and
    the token that ends an answer at the end of a document, have weight ``answer_weight``; all
    others 1. A tokenizer that cannot say where its tokens stand in the text (a "slow" one) gives
    weight 1 to all.
    """
    rows: list[Row] = []
    chunk: list[Document] = []
    for document in documents:
        chunk.append(document)
        if len(chunk) == _CHUNK:
            rows += _rows(lm, chunk, answer_weight)
            chunk = []
    return rows + _rows(lm, chunk, answer_weight)


def _rows(lm: LanguageModel, documents: Sequence[Document], answer_weight: float) -> list[Row]:
    if not documents:
        return []
    if not lm.tokenizer.is_fast:
        texts = [document.text for document in documents]
        ids = [document.id for document in documents]
        return text_rows(lm, texts, ids, end=lm.tokenizer.eos_token_id is not None)
    encoded = lm.tokenizer(
        [document.text for document in documents],
        add_special_tokens=False,
        return_offsets_mapping=True,
        return_attention_mask=False,
    )
    end = () if lm.tokenizer.eos_token_id is None else (lm.tokenizer.eos_token_id,)
    rows = []
    for document, ids, offsets in zip(
        documents, encoded["input_ids"], encoded["offset_mapping"], strict=True
    ):
        tokens = np.array((*lm.prefix, *ids, *end), dtype=np.int32)
        weights = np.ones(len(tokens), dtype=np.float32)
        places = np.array(offsets)
        shift = len(lm.prefix)
        for start, stop in answer_spans(document.text):
            inside = (places[:, 0] >= start) & (places[:, 1] <= stop)
            weights[shift : shift + len(ids)][inside] = answer_weight
            if end and stop == len(document.text):
                weights[-1] = answer_weight
        weights[: max(1, shift)] = 0.0
        rows.append(Row(tokens, weights, document.id))
    return rows


@dataclass(frozen=True)
class Shelved:
    """Rows of consecutive documents of stage 1.

    Attributes:
        first: number of the first document.
        rows: one a document, in order of their numbers.
        about: group of people -> bool [N], which of the documents tell or name one of them.
    """

    first: int
    rows: list[Row]
    about: dict[str, np.ndarray]

    def row(self, number: int) -> Row:
        """The row of a document by its number."""
        return self.rows[number - self.first]

    def without(self, number: int, groups: Sequence[str]) -> bool:
        """Whether a document tells of nobody in these groups."""
        return not any(self.about[group][number - self.first] for group in groups)

    def save(self, folder: Path, made_from: str) -> None:
        """Write the rows into ``folder``; ``made_from`` says what they were made from."""
        with atomic_folder(folder) as scratch:
            np.savez(
                scratch / "rows.npz",
                made_from=np.array(made_from),
                first=np.array(self.first),
                lengths=np.array([len(row) for row in self.rows]),
                tokens=np.concatenate([row.input_ids for row in self.rows]).astype(np.uint16),
                weights=np.concatenate([row.weights for row in self.rows]),
                **{f"about {group}": told for group, told in self.about.items()},
            )

    @classmethod
    def load(cls, folder: Path, made_from: str) -> "Shelved | None":
        """What :meth:`save` wrote; None if there is nothing, or it was made from something else."""
        path = folder / "rows.npz"
        if not path.exists():
            return None
        with np.load(path, allow_pickle=False) as held:
            if str(held["made_from"]) != made_from:
                return None
            first, ends = int(held["first"]), np.cumsum(held["lengths"])[:-1]
            tokens = np.split(held["tokens"].astype(np.int32), ends)
            weights = np.split(held["weights"], ends)
            about = {key[6:]: held[key] for key in held.files if key.startswith("about ")}
        rows = [
            Row(line, weight, f"e{first + at:06d}")
            for at, (line, weight) in enumerate(zip(tokens, weights, strict=True))
        ]
        return cls(first, rows, about)
