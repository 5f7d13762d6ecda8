"""What the goldfish loss should do if masked tokens are guessed independently.

Derived in the chapter on it (goldfish digest, sections 4 and 5): to be held against measurements,
not to stand for them.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def survival(k: ArrayLike, n: ArrayLike, q: ArrayLike = 0.0) -> Floats:
    """The probability (1 − (1 − q)/k)^n that a span of ``n`` tokens comes out verbatim.

    Args:
        k: one token in k is masked.
        n: tokens in the span.
        q: with what probability a masked token is guessed right. Kept tokens are certain.
    """
    return (1 - (1 - np.asarray(q, dtype=np.float64)) / np.asarray(k)) ** np.asarray(n)


def verbatim_length(k: ArrayLike, q: ArrayLike = 0.0) -> Floats:
    """The mean number of tokens, k/(1 − q), up to and with the first that is guessed wrong."""
    return np.asarray(k) / (1 - np.asarray(q, dtype=np.float64))


def unmasked_by_edits(k: ArrayLike, h: ArrayLike, rate: ArrayLike) -> Floats:
    """The probability (1 − (1 − e)^h)(1 − 1/k) that a masked token of a text is a target in a
    near-duplicate in which each token is replaced with probability ``rate``: an edit within the
    window of ``h`` tokens draws the decision anew."""
    edited = 1 - (1 - np.asarray(rate, dtype=np.float64)) ** np.asarray(h)
    return edited * (1 - 1 / np.asarray(k))


def overhead(k: ArrayLike) -> Floats:
    """How many times the tokens must be read for equally many targets: k/(k − 1)."""
    return np.asarray(k, dtype=np.float64) / (np.asarray(k) - 1)
