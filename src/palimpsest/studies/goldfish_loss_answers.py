"""Checkers of chapter 3's exercises: what is expected of an answer, never the answer itself."""

import math
from collections.abc import Callable, Sequence
from typing import Any

from palimpsest.studies.answers import answer


def _close(found: Any, expected: float, tolerance: float = 1e-9) -> bool:
    return math.isclose(float(found), expected, rel_tol=1e-6, abs_tol=tolerance)


@answer("3.1")
def survival(both: tuple[Callable[..., float], Callable[..., int]]) -> str | None:
    """The law of survival, and the length at which one percent is left."""
    own, longest = both
    for k, n, q in ((4, 50, 0.0), (8, 20, 0.3), (50, 50, 0.0), (3, 1, 0.5)):
        expected = math.exp(n * math.log1p(-(1 - q) / k))
        if not _close(own(k, n, q), expected):
            return (
                f"survival({k}, {n}, {q}) gives {own(k, n, q)}. What happens at one token, and "
                "what at n of them, if they are independent?"
            )
    for k, q in ((4, 0.0), (50, 0.3)):
        n = longest(k, q)
        if not own(k, n, q) < 0.01 <= own(k, n - 1, q):
            return (
                f"longest({k}, {q}) gives {n}: there survival should be below one percent, and one "
                "token earlier not."
            )
    return None


@answer("3.2")
def untold(own: Callable[[int, int], float]) -> str | None:
    """Never a target in so many visits."""
    for k, visits in ((4, 1), (4, 5), (3, 10)):
        if not _close(own(k, visits), math.exp(-visits * math.log(k)), 1e-15):
            return f"untold({k}, {visits}) gives {own(k, visits)}. The visits are independent."
    return None


@answer("3.3")
def product(both: tuple[float, float]) -> str | None:
    """Shares of zero keys for narrow and wide windows."""
    narrow, wide = both
    if not 0 <= narrow < 0.005:
        return (
            f"For h = 13 you find {narrow:.3f}. How many factors of two do 13 ids have in the mean?"
        )
    if not 0.06 < wide < 0.14:
        return (
            f"For h = 50 you find {wide:.3f}. Count the factors of two of each id (none with "
            "probability one half, one with a quarter, ...), add them up, and ask for 64."
        )
    return None


@answer("3.4")
def renormalised(
    learned: Callable[[Sequence[float], Sequence[int]], Sequence[float]],
) -> str | None:
    """What is learned where some continuations are never targets."""
    found = list(learned([0.5, 0.3, 0.2], [1, 0, 1]))
    if len(found) != 3 or not _close(sum(found), 1.0):
        return "A distribution over the three continuations was expected; yours does not sum to 1."
    if not _close(found[1], 0.0) or not _close(found[0] / found[2], 2.5):
        return (
            "Minimise the expected loss over all distributions: it has no term for what is never a "
            "target, and what it gives the others stands in the proportions of p."
        )
    if not all(_close(a, b) for a, b in zip(learned([0.9, 0.1], [1, 1]), (0.9, 0.1), strict=True)):
        return "If everything is a target, p itself should be learned."
    return None


@answer("3.5")
def edits(both: tuple[Callable[..., float], Callable[..., float]]) -> str | None:
    """The law of near-duplicates, for one copy and for many."""
    unmasked, never = both
    for k, h, e in ((4, 13, 0.05), (3, 4, 0.2), (8, 50, 0.01)):
        touched = -math.expm1(h * math.log1p(-e))
        if not _close(unmasked(k, h, e), touched - touched / k):
            return (
                f"unmasked({k}, {h}, {e}) gives {unmasked(k, h, e)}. First the window must be "
                "touched, then the new decision must keep the token."
            )
    if not _close(never(4, 13, 0.05, 1), 1 - unmasked(4, 13, 0.05)):
        return "With one copy, never is what is left of unmasked."
    if not _close(never(4, 13, 0.05, 6), never(4, 13, 0.05, 2) ** 3):
        return "The copies are edited independently of each other."
    return None


@answer("3.6")
def tries(guesses: Callable[[int, int, int], tuple[float, float]]) -> str | None:
    """Guesses of an attacker who can judge late, and of one who can judge at once."""
    for n, k, g in ((8, 4, 3), (50, 4, 20)):
        late, soon = guesses(n, k, g)
        masked = n / k
        if not _close(math.log(late), masked * math.log(g)):
            return f"guesses({n}, {k}, {g}): who judges whole suffixes must try every combination."
        if not _close(soon, g * masked):
            return f"guesses({n}, {k}, {g}): who can judge each guess tries one token at a time."
    return None


@answer("3.7")
def accumulated(step_loss: Callable[[Sequence[tuple[float, int]]], float]) -> str | None:
    """The loss of a step that is computed in parts."""
    found = step_loss([(20.0, 10), (120.0, 30)])
    if _close(found, 3.0):
        return "That is the mean of the two means. Every kept token should count the same."
    if not _close(found, 3.5):
        return f"For the two parts of the exercise you find {found}; sum first, divide once."
    if not _close(step_loss([(0.0, 0), (8.0, 4)]), 2.0) or not _close(step_loss([(0.0, 0)]), 0.0):
        return "A part without kept tokens changes nothing, and a step without any has loss 0."
    return None


@answer("3.8")
def lucky(samples: Callable[[float, float], int]) -> str | None:
    """The fewest samples that are enough."""
    for p_z, p in ((0.1, 0.5), (1e-4, 0.9), (0.49, 0.5)):
        n = samples(p_z, p)
        if not 1 - (1 - p_z) ** n >= p > 1 - (1 - p_z) ** (n - 1):
            return (
                f"samples({p_z}, {p}) gives {n}: with so many at least one should be the suffix "
                f"with probability {p}, and with one fewer not."
            )
    return None


@answer("3.9")
def area(auc: Callable[[Sequence[float], Sequence[float]], float]) -> str | None:
    """The chance that a member scores above another text."""
    if not _close(auc([3, 2], [1, 0]), 1.0) or not _close(auc([0], [1, 2]), 0.0):
        return "If all members score above all others the area is 1, and the other way round 0."
    if not _close(auc([1, 2], [1, 2]), 0.5):
        return "Equal lists should give one half: ties count half."
    if not _close(auc([1, 3, 5], [2, 4]), 0.5) or not _close(auc([2, 3], [1, 2, 2]), 5 / 6):
        return "Compare every member with every other text."
    return None
