"""How much of a training text comes back.

Everything is measured on token ids, not on words: the usual word-based ROUGE drops case,
punctuation and every letter that is not Latin (goldfish digest, section 8).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike


@dataclass(frozen=True)
class Rouge:
    """ROUGE-L: the longest common subsequence as a share of what was generated (``precision``), of
    the reference (``recall``), and their harmonic mean (``f1``)."""

    precision: float
    recall: float
    f1: float


def exact_match(generated: Sequence[int], reference: Sequence[int]) -> bool:
    """Whether all ids are those of the reference, in number too: an early end is a miss
    (goldfish digest, section 4)."""
    return list(generated) == list(reference)


def divergence(generated: Sequence[int], reference: Sequence[int]) -> int:
    """The first position at which the generated ids leave the reference; its length if they never
    do (goldfish digest, section 4). Running out of ids is leaving it."""
    for position, (mine, theirs) in enumerate(zip(generated, reference, strict=False)):
        if mine != theirs:
            return position
    return min(len(generated), len(reference))


def lcs_length(first: Sequence[int], second: Sequence[int]) -> int:
    """Length of the longest common subsequence, bit-parallel.

    One row of the classic table is the bits of one integer: bit i is 0 where the row steps up at i
    (Crochemore et al., Information Processing Letters 80, 2001; Hyyrö, 2004). Python's integers
    are as wide as needed, so a row costs a few machine operations per 64 ids.
    """
    if len(first) > len(second):
        first, second = second, first
    places: dict[int, int] = {}
    for position, token in enumerate(first):
        places[token] = places.get(token, 0) | 1 << position
    every = (1 << len(first)) - 1
    row = every
    for token in second:
        matches = row & places.get(token, 0)
        row = ((row + matches) | (row - matches)) & every
    return len(first) - row.bit_count()


def rouge_l(generated: Sequence[int], reference: Sequence[int]) -> Rouge:
    """ROUGE-L on ids (Lin, 2004). All three are 0 if either side is empty.

    The F1 has a floor that depends on the vocabulary and the length: compare it with a control that
    never saw the text, not with 0.
    """
    common = lcs_length(generated, reference)
    if common == 0:
        return Rouge(0.0, 0.0, 0.0)
    precision, recall = common / len(generated), common / len(reference)
    return Rouge(precision, recall, 2 * precision * recall / (precision + recall))


def extraction_strength(right: ArrayLike) -> float:
    """The share of a text, from its end, that greedy decoding gives back without a mistake.

    ES = 1 − k/T with k the fewest leading tokens that must be given so that all others are right
    (unlearning digest, section 3.3). Where even the last token is wrong, k = T and ES = 0; the
    public code returns 1/T there, which gives short answers a floor.

    Args:
        right: [T] whether each token is the greedy choice, given the true tokens before it.

    Returns:
        A number from 0 to 1; NaN for an empty text.
    """
    correct = np.asarray(right, dtype=bool)
    if correct.size == 0:
        return math.nan
    wrong = np.flatnonzero(~correct)
    given = wrong[-1] + 1 if wrong.size else 0
    return float(1 - given / correct.size)


def exact_memorization(right: ArrayLike) -> float:
    """The share of tokens that are the greedy choice, given the true tokens before them
    (unlearning digest, section 3.3). NaN for an empty text."""
    correct = np.asarray(right, dtype=bool)
    return float(correct.mean()) if correct.size else math.nan
