"""What is asked of models that learned texts by heart, as cells (chapter 3).

These stand beside the chapter's package, not in it, because a cell's key takes in every module that
its own imports, and with a package all that the package imports.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from palimpsest.core.inside import lens
from palimpsest.core.metrics import rouge_l
from palimpsest.core.models import LanguageModel, all_logits
from palimpsest.core.progress import track
from palimpsest.core.scoring import reading, score_rows
from palimpsest.goldfish.attacks import beam_search
from palimpsest.goldfish.mask import HashedMask, Mask
from palimpsest.goldfish.recitation import Recitation, recite
from palimpsest.studies.controls import Weights, with_weights
from palimpsest.studies.verbatim_texts import Rows

_LOGITS = 2**25  # float32 numbers that a batch of logits may have


@dataclass(frozen=True)
class Forced:
    """Each token of some rows given the true ones before it; arrays are [N, T − 1], since the first
    token has nothing before it.

    Attributes:
        logprobs: float32, nats.
        means, deviations: float32, of the log-probability of a token drawn from the model.
        right: bool, whether it is the model's first choice.
    """

    logprobs: np.ndarray
    means: np.ndarray
    deviations: np.ndarray
    right: np.ndarray


def _at(lm: LanguageModel, weights: Weights | None) -> LanguageModel:
    return lm if weights is None else with_weights(lm, weights)


def forced(lm: LanguageModel, weights: Weights | None, rows: Rows) -> Forced:
    """One teacher-forced pass over rows of one length."""
    model = _at(lm, weights)
    ids = torch.from_numpy(np.stack([row.input_ids for row in rows]).astype(np.int64))
    size = max(1, _LOGITS // (ids.shape[1] * lm.vocab_size))
    parts: list[list[np.ndarray]] = [[], [], [], []]
    with reading(model.model), track(len(ids), "reading", unit="text") as bar:
        for begin in range(0, len(ids), size):
            lines = ids[begin : begin + size].to(model.device)
            logprobs = torch.log_softmax(all_logits(model.model, lines)[:, :-1].float(), dim=-1)
            own = logprobs.gather(2, lines[:, 1:, None])[..., 0]
            shares = logprobs.exp()
            # 0 · log 0 is 0; a logit of −inf would make it NaN.
            finite = logprobs.clamp(min=-1e4)
            mean = (shares * finite).sum(-1)
            spread = ((shares * finite.square()).sum(-1) - mean.square()).clamp(min=0).sqrt()
            right = logprobs.argmax(-1) == lines[:, 1:]
            for part, one in zip(parts, (own, mean, spread, right), strict=True):
                part.append(one.cpu().numpy())
            bar.update(len(lines))
    return Forced(*(np.concatenate(part) for part in parts))


def recited(
    lm: LanguageModel,
    weights: Weights | None,
    rows: Rows,
    prefix: int,
    suffix: int,
    offset: int,
    mask: Mask | None,
) -> Recitation:
    """``goldfish.recitation.recite`` of rows."""
    return recite(_at(lm, weights), rows.ids, prefix, suffix, offset, mask)


def swept(
    lm: LanguageModel,
    weights: Weights | None,
    rows: Rows,
    prefixes: Sequence[int],
    offsets: Sequence[int],
    suffix: int,
) -> pd.DataFrame:
    """``prefix, offset, text, exact, rouge``: recitation from shorter beginnings, and from later
    places. The suffix is ``suffix`` tokens long in all of them."""
    model = _at(lm, weights)
    parts = []
    for prefix in prefixes:
        for offset in offsets:
            table = recite(model, rows.ids, prefix, suffix, offset).table
            parts.append(table[["text", "exact", "rouge"]].assign(prefix=prefix, offset=offset))
    return pd.concat(parts, ignore_index=True)


def hunted(
    lm: LanguageModel,
    weights: Weights | None,
    rows: Rows,
    prefix: int,
    suffix: int,
    beams: int,
    mask: HashedMask | None,
) -> pd.DataFrame:
    """``text, exact, among, rouge``: the best continuation that a search finds, whether it is the
    suffix, and whether any that it followed to the end is."""
    model = _at(lm, weights)
    found = []
    with track(len(rows), "search", unit="text") as bar:
        for number, ids in enumerate(rows.ids):
            true = tuple(ids[prefix : prefix + suffix])
            ends = beam_search(model, ids[:prefix], suffix, beams, mask)
            best = ends[0].ids
            found.append(
                (number, best == true, any(one.ids == true for one in ends),
                 rouge_l(best, true).f1)
            )  # fmt: skip
            bar.update(1)
    return pd.DataFrame(found, columns=["text", "exact", "among", "rouge"])


def lens_by_token(
    lm: LanguageModel, weights: Weights | None, rows: Rows, positions: Sequence[Sequence[int]]
) -> pd.DataFrame:
    """``text, position, depth, logprob``: the logit lens on some tokens of each row."""
    model = _at(lm, weights)
    pairs, where = [], []
    for number, (ids, places) in enumerate(zip(rows.ids, positions, strict=True)):
        for place in places:
            pairs.append((ids[:place], ids[place : place + 1]))
            where.append((number, place))
    table = lens(model, pairs)
    text, position = (np.array(where).T)[:, table["pair"].to_numpy()]
    return pd.DataFrame(
        {"text": text, "position": position, "depth": table["depth"], "logprob": table["logprob"]}
    )


def document_losses(lm: LanguageModel, weights: Weights | None, rows: Rows) -> np.ndarray:
    """float64 [documents, 2]: nats of each document, and its tokens."""
    scores = score_rows(_at(lm, weights), rows)
    return np.array([(-one.logprob, one.tokens) for one in scores], dtype=np.float64)
