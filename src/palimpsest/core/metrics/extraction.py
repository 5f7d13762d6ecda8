"""How likely is it that a text comes out, and how much likelier than without having been read?

One teacher-forced pass says with what probability a model *samples* a continuation, so nothing need
be sampled (arXiv:2410.19482); and it ranks a planted text among those that might have been planted
(arXiv:1802.08232). Nats throughout, unless a name says bits.
"""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def scheme_logprobs(
    logits: ArrayLike, targets: ArrayLike, temperature: float = 1.0, top_k: int | None = None
) -> Floats:
    """float64 [T]: log-probability of each target under a sampling scheme.

    Args:
        logits: [T, V], that predict the targets.
        targets: [T] ids.
        temperature: of the scheme; 0 is greedy, where a target has probability 1 or 0 (the first of
            equals is taken).
        top_k: sample among so many of the likeliest tokens; None: all. What is not among them has
            log-probability −inf; of tokens that are equal at the edge, the first.

    Raises:
        ValueError: a temperature below 0 or ``top_k`` below 1.
    """
    values = np.asarray(logits, dtype=np.float64)
    ids = np.asarray(targets, dtype=np.intp)
    if temperature < 0 or (top_k is not None and top_k < 1):
        raise ValueError(f"temperature {temperature} must be at least 0, top_k {top_k} at least 1")
    if not len(ids):
        return np.empty(0)
    own = values[np.arange(len(ids)), ids]
    # How many tokens come before the target in the order of the scheme.
    ahead = (values > own[:, None]).sum(axis=1)
    ahead += ((values == own[:, None]) & (np.arange(values.shape[1]) < ids[:, None])).sum(axis=1)
    if temperature == 0:
        return np.where(ahead == 0, 0.0, -math.inf)
    scaled = (values - values.max(axis=1, keepdims=True)) / temperature
    own = scaled[np.arange(len(ids)), ids]
    if top_k is not None and top_k < values.shape[1]:
        scaled = -np.partition(-scaled, top_k - 1, axis=1)[:, :top_k]
        own = np.where(ahead < top_k, own, -math.inf)
    return own - np.log(np.exp(scaled).sum(axis=1))


def extraction_probability(logprobs: ArrayLike) -> float:
    """p_z: the probability that one sample is the text, from its tokens' log-probabilities under
    the scheme (arXiv:2410.19482, as the goldfish digest gives it, section 4)."""
    return math.exp(float(np.sum(np.asarray(logprobs, dtype=np.float64))))


def discoverable(p_z: float, samples: int, probability: float) -> bool:
    """(n, p)-discoverable: at least one of n ``samples`` is the text with this ``probability`` or a
    larger one, 1 − (1 − p_z)^n ≥ p."""
    return samples_needed(p_z, probability) <= samples


def samples_needed(p_z: float, probability: float) -> float:
    """The fewest samples of which at least one is the text with this probability; infinite if none
    ever is.

    Raises:
        ValueError: a probability that is not above 0 and below 1.
    """
    if not 0 < probability < 1:
        raise ValueError(f"the probability must be above 0 and below 1, not {probability}")
    if p_z <= 0:
        return math.inf
    if p_z >= probability:
        return 1
    return math.ceil(math.log1p(-probability) / math.log1p(-p_z) * (1 - 1e-12))


def exposure_bits(planted: float, candidates: ArrayLike) -> float:
    """Exposure of a planted text: log2 of how many candidates there are over its rank among them,
    by log-probability (arXiv:1802.08232).

    Args:
        planted: log-probability of the planted text.
        candidates: of texts drawn like it that were not planted. Their number sets the ceiling,
            log2(n + 1): so much is measured at least where the planted one is the likeliest.

    Returns:
        About 1.44 (1 / ln 2) in the mean without memorization: the rank is then uniform.

    Raises:
        ValueError: no candidates.
    """
    others = np.asarray(candidates, dtype=np.float64)
    if not others.size:
        raise ValueError("exposure is a rank among candidates, and there are none")
    rank = 1 + float((others > planted).sum()) + 0.5 * float((others == planted).sum())
    return math.log2(others.size + 1) - math.log2(rank)
