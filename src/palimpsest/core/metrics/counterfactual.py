"""What a model makes of a text, beside what models make of it that have not read it.

A text can be likely because it was read or because anyone would guess it. Only models that were
trained without it tell the two apart.
"""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def reference_score(token_logprobs: ArrayLike, reference_logprobs: ArrayLike) -> float:
    """Mean log-probability of the tokens minus that under a model that never saw the text, in nats;
    larger for members (goldfish digest, section 4). NaN without tokens.

    Raises:
        ValueError: not the same number of tokens.
    """
    own = np.asarray(token_logprobs, dtype=np.float64)
    other = np.asarray(reference_logprobs, dtype=np.float64)
    if own.shape != other.shape:
        raise ValueError(f"{own.size} tokens of the model, {other.size} of the reference")
    return float((own - other).mean()) if own.size else math.nan


def counterfactual_memorization(performance: ArrayLike, read: ArrayLike) -> Floats:
    """float64 [N]: by text, the mean performance of the models that read it minus that of the
    models that did not (arXiv:2112.12938). NaN where one of the two groups is empty.

    Args:
        performance: [M, N], of each model on each text: accuracy or log-probability, larger is
            better.
        read: bool [M, N], which texts each model was trained on; draw the halves independently of
            the texts, or the difference is not an effect of reading.

    Raises:
        ValueError: shapes that differ.
    """
    values, member = np.asarray(performance, dtype=np.float64), np.asarray(read, dtype=bool)
    if values.shape != member.shape or values.ndim != 2:
        raise ValueError(f"performance {values.shape} and read {member.shape}; both [M, N] needed")
    sums = (np.where(side, values, 0.0).sum(axis=0) for side in (member, ~member))
    counts = (side.sum(axis=0).astype(np.float64) for side in (member, ~member))
    with_it, without = (
        np.divide(total, count, out=np.full_like(total, math.nan), where=count > 0)
        for total, count in zip(sums, counts, strict=True)
    )
    return with_it - without


def share_right(right: ArrayLike, keep: ArrayLike) -> tuple[float, float]:
    """Teacher-forced accuracy at kept and at masked positions; NaN where there are none.

    Args:
        right: bool [T], whether each token was the model's first choice.
        keep: bool [T], whether it was a target in training.
    """
    hits, kept = np.asarray(right, dtype=bool), np.asarray(keep, dtype=bool)
    means = (float(hits[side].mean()) if side.any() else math.nan for side in (kept, ~kept))
    return next(means), next(means)
