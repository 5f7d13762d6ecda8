"""Checkers of chapter 2's exercises: what is expected of an answer, never the answer itself."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from palimpsest.studies.answers import answer


@answer("2.1")
def forget_ratio(ratio: Callable[[float, float], float | None]) -> str | None:
    """R with its guard."""
    if not callable(ratio):
        return "A function of (a_ft, a_rl) was expected, not a number."
    for a_ft, a_rl in ((0.9, 0.5), (0.9, 0.9), (0.8, 0.65), (0.7, 0.46), (0.6, 0.62)):
        expected = (a_ft - a_rl) / (a_ft - 0.5)
        found = ratio(a_ft, a_rl)
        if found is None or not math.isclose(found, expected, abs_tol=1e-9):
            return (
                f"ratio({a_ft}, {a_rl}) gives {found}. It should be 0 where nothing was lost and 1 "
                "at guessing, and it is not clipped."
            )
    if ratio(0.54, 0.5) is not None or ratio(0.45, 0.5) is not None:
        return "Where the tuned model is less than 0.05 above one half the function returns None."
    return None


@answer("2.2")
def redrawn_loss(loss: Callable[[float, float], float]) -> str | None:
    """The expected loss under redrawn coins, from P and p."""
    if not callable(loss):
        return "A function of (P, p) was expected, not a number."
    if not math.isclose(loss(1.0, 0.5), math.log(2), abs_tol=1e-6):
        return (
            f"At P = 1 and p = 1/2 each answer has probability 1/2; your loss there is "
            f"{loss(1.0, 0.5):.3f} nats."
        )
    for whole, p in ((0.8, 0.9), (0.5, 0.2), (0.1, 0.5)):
        expected = -(math.log(whole * p) + math.log(whole * (1 - p))) / 2
        if not math.isclose(loss(whole, p), expected, abs_tol=1e-6):
            return (
                f"loss({whole}, {p}) is off. Write down the probability of either answer, and take "
                "the mean of the two negative logarithms."
            )
    return None


@answer("2.3")
def memoriser(memorise: Callable[[dict[Any, int], Callable[[Any], int]], Any]) -> str | None:
    """A model that knows its coins by heart and keeps its skill."""
    if not callable(memorise):
        return "A function of (coins, skill) was expected."
    model = memorise({3: 0, 4: 1}, lambda item: item % 2)
    if not callable(model):
        return "memorise should return a function of an item."
    if model(3) != 0 or model(4) != 1:
        return "On a forgetting item the model should give the answer that the coin chose."
    if [model(item) for item in (5, 6, 103)] != [1, 0, 1]:
        return "On an item that has no coin the model should answer by its skill."
    return None


@answer("2.4")
def threshold(best_cut: Callable[[Sequence[float], Sequence[int]], float]) -> str | None:
    """A threshold with the fewest errors."""
    if not callable(best_cut):
        return "A function of (score, labels) was expected, not a number."
    cases = (
        ([-3.0, -2.0, -1.5, -1.0], [0, 0, 1, 1], 0),
        ([1.0, 2.0, 3.0, 4.0], [0, 0, 0, 0], 0),
        ([5.0, 1.0, 4.0, 2.0, 3.0], [1, 0, 0, 0, 1], 1),
        ([0.3, 0.1, 0.2], [1, 1, 1], 0),
    )
    for score, labels, fewest in cases:
        cut = best_cut(list(score), list(labels))
        errors = sum((s > cut) != (y == 1) for s, y in zip(score, labels, strict=True))
        if errors > fewest:
            return (
                f"For scores {score} and labels {labels} the threshold {cut} makes {errors} "
                f"errors; {fewest} would do. Try every place between two scores, and both ends."
            )
    return None


@answer("2.5")
def variance_split(shares: Callable[[Any], tuple[float, float, float]]) -> str | None:
    """Shares of rows, columns and the rest."""
    if not callable(shares):
        return "A function of a square array was expected."
    stripes = np.tile([0.0, 1.0, 2.0], (3, 1))
    for grid, expected, what in (
        (stripes.T, (1, 0, 0), "rows that differ and nothing else"),
        (stripes, (0, 1, 0), "columns that differ and nothing else"),
        (np.array([[1.0, -1.0], [-1.0, 1.0]]), (0, 0, 1), "neither rows nor columns that differ"),
        (np.array([[0.0, 1.0], [3.0, 4.0]]), (0.9, 0.1, 0), "a sum of rows and columns"),
    ):
        found = shares(grid.copy())
        if found is None or not np.allclose(found, expected, atol=1e-9):
            return (
                f"For a grid with {what} it gives {found}. Subtract the mean of the whole first, "
                "and count every row mean as often as there are columns."
            )
    return None


@answer("2.6")
def few_tasks(given: tuple[float, float]) -> str | None:
    """The smallest p-value of eight tasks, and what is left of it after nine looks."""
    if not isinstance(given, (tuple, list)) or len(given) != 2:
        return "Two p-values were expected."
    smallest, corrected = given
    if math.isclose(smallest, 1 / math.factorial(8), rel_tol=1e-6):
        return "Two-sided: the reverse order is as extreme."
    if not math.isclose(smallest, 2 / math.factorial(8), rel_tol=1e-6):
        return "In how many orders can eight tasks stand, and how many are as extreme as this one?"
    if not math.isclose(corrected, 9 * smallest, rel_tol=1e-6):
        return "Holm multiplies the smallest of the p-values by their number."
    return None


@answer("2.7")
def widths(given: tuple[float, float]) -> str | None:
    """Widths of the interval of R for a weak and for a strong start."""
    if not isinstance(given, (tuple, list)) or len(given) != 2:
        return "Two widths were expected, of the weak and of the strong task."
    weak, strong = given
    if not (math.isfinite(weak) and math.isfinite(strong)) or min(weak, strong) <= 0:
        return "A width is a positive number. Leave draws out in which the denominator is not."
    if weak < 3 * strong:
        return (
            "The weak one should be several times as wide. Draw both accuracies anew each time, "
            "and divide by the drawn a_ft - 1/2, not by the one that was given."
        )
    if not 0.2 < strong < 0.35:
        return "The strong one is off: 200 items, both accuracies drawn, the 2.5 and 97.5 % points."
    return None


@answer("2.8")
def threshold_order(given: tuple[float, float]) -> str | None:
    """Rank correlations with and without the items that never rise."""
    if not isinstance(given, (tuple, list)) or len(given) != 2:
        return "Two correlations were expected: of all items, and of those that do both."
    everything, seen = given
    if abs(seen) > 0.2:
        return "Among items that rise and fall at unrelated steps there should be hardly any."
    if everything < -0.2:
        return "Mind the sign: correlate MINUS the step of learning with the step of forgetting."
    if not 0.3 < everything < 0.95:
        return "Count what never rises as learned at step 21 and forgotten at step 0."
    return None


@answer("2.9")
def kernel_step(push: Callable[..., float]) -> str | None:
    """The change of a margin by one step, for linear margins."""
    if not callable(push):
        return "A function of (features, p, coins, new, rate) was expected."
    apart, alike = np.eye(3), np.ones((3, 3))
    if push(apart[:2], [0.9, 0.9], [1, 0], apart[2], 0.1) != 0:
        return "An item that shares no feature with those trained on should not move."
    found = push(alike, [0.9, 0.9, 0.9], [1, 0, 0], alike[0], 0.1)
    if math.isclose(found, 0.1 * 3 * 1.7, abs_tol=1e-9):
        return "Mind the sign: a confident item with a wrong coin pushes margins down."
    if not math.isclose(found, -0.1 * 3 * 1.7, abs_tol=1e-9):
        return (
            "For three equal items of three features, p = 0.9 and one right coin of three, at the "
            f"rate 0.1, it gives {found}. Sum K (p - z) over the items."
        )
    return None
