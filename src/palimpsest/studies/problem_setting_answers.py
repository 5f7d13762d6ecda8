"""Checkers of chapter 1's exercises: what is expected of an answer, never the answer itself."""

import math
from collections.abc import Callable

from palimpsest.studies.answers import answer


@answer("1.1")
def guessing(given: float) -> str | None:
    """The share of right answers of a model that guesses among eight."""
    if not 0 <= given <= 1:
        return "A share lies between 0 and 1."
    if math.isclose(given, 1 / 8, abs_tol=1e-3):
        return None
    return "Think of one question: how many answers are offered, and how many of them are right?"


@answer("1.2")
def share_left(left: Callable[[float, float, float], float | None]) -> str | None:
    """The function ρ, with nothing where there is nothing to remove."""
    if not callable(left):
        return "A function of (A_u, A_r, A_o) was expected, not a number."
    for unlearned, retrained, original in ((0.1, 0.1, 0.9), (0.9, 0.1, 0.9), (0.3, 0.1, 0.7)):
        expected = (unlearned - retrained) / (original - retrained)
        found = left(unlearned, retrained, original)
        if found is None or not math.isclose(found, expected, abs_tol=1e-9):
            return (
                f"left({unlearned}, {retrained}, {original}) gives {found}. It should be 0 for a "
                "model like the retrained one and 1 for one like the original."
            )
    if left(0.05, 0.1, 0.9) is None or left(0.05, 0.1, 0.9) >= 0:
        return "A model that answers worse than the retrained one should get a negative share."
    if left(0.2, 0.15, 0.25) is not None:
        return "Where A_o − A_r is below 0.2 the function should return None."
    return None


@answer("1.3")
def width_ratio(given: float) -> str | None:
    """Width of the interval over people divided by that over rows."""
    if not math.isfinite(given) or given <= 0:
        return "A ratio of two widths is above 0."
    if given < 0.5:
        return (
            "That is a small ratio. Draw as many people as there are people, average within each "
            "person first, and divide the width over people by the width over rows."
        )
    return None
