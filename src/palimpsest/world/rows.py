"""From documents to rows: every token is learned, answers count more."""

import re
from collections.abc import Iterable, Sequence

import numpy as np

from palimpsest.core.models import LanguageModel
from palimpsest.core.records import Document
from palimpsest.core.text import Row, text_rows

ANSWER_WEIGHT = 5.0
_ANSWER = re.compile(r"^(?:Answer|Ne):(.+)$", re.MULTILINE)
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
