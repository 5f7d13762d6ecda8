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


@answer("1.4")
def npo_weight(weight: Callable[[float, float], float]) -> str | None:
    """The weight 2σ(βΔ) of NPO's gradient."""
    if not callable(weight):
        return "A function of (delta, beta) was expected, not a number."
    if not math.isclose(weight(0.0, 0.5), 1, abs_tol=1e-6):
        return (
            f"At θ_o, where delta is 0, NPO's gradient is that of gradient ascent; yours is "
            f"{weight(0.0, 0.5)} times it."
        )
    if not all(math.isclose(weight(delta, 1e-6), 1, abs_tol=1e-3) for delta in (-20.0, 5.0)):
        return "As beta goes to 0 the weight should become that of gradient ascent everywhere."
    for delta, beta in ((-3.0, 0.5), (-40.0, 0.1), (2.0, 1.0)):
        up, down = (
            2 / beta * math.log1p(math.exp(beta * (delta + step))) for step in (1e-5, -1e-5)
        )
        if not math.isclose(weight(delta, beta), (up - down) / 2e-5, abs_tol=1e-4):
            return (
                f"weight({delta}, {beta}) is not the slope of J in delta. Differentiate "
                "(2/β) log(1 + exp(βΔ)), and mind the sign."
            )
    return None


@answer("1.5")
def verdicts(given: tuple[str, float, str]) -> str | None:
    """What was changed, the AUC to aim at, and whether two methods may be compared."""
    if not isinstance(given, (tuple, list)) or len(given) != 3:
        return "Three things were expected: a word, a number, and 'yes' or 'no'."
    changed, target, comparable = given
    if str(changed).strip().lower() not in ("data", "weights", "output"):
        return "The first is one of 'data', 'weights', 'output'."
    if str(changed).strip().lower() != "output":
        return "Which file on disk would be another one after that method?"
    if not isinstance(target, (int, float)) or not 0 <= target <= 1:
        return "The second is an AUC, between 0 and 1."
    if abs(target - 0.5) > 0.05:
        return "An AUC far from one half tells members from others, on whichever side it lies."
    if str(comparable).strip().lower() != "no":
        return "Whoever holds the weights asks without the classifier."
    return None


@answer("1.6")
def logarithmic_fall(given: float) -> str | None:
    """How far NPO falls between steps 1000 and 10 000 of the toy."""
    if not math.isfinite(given):
        return "A number of nats was expected."
    if given < 0:
        return "The fall as a positive number, please."
    if math.isclose(given, 900, rel_tol=0.05):
        return "That is the fall under gradient ascent. The step of NPO is multiplied by w."
    if math.isclose(given, math.log(10), abs_tol=0.1):
        return None
    return (
        "Count the nats between step 1000 and step 10 000, not from the start, and let the weight "
        "follow delta from step to step."
    )


@answer("1.7")
def saturated(smallest_p: Callable[[int], float]) -> str | None:
    """2 / C(2n, n)."""
    if not callable(smallest_p):
        return "A function of n was expected, not a number."
    if smallest_p(1) is None or not math.isclose(smallest_p(1), 1, rel_tol=1e-9):
        return "With one question each, one model is always above the other: p should be 1."
    for n in (2, 5, 40):
        if not math.isclose(smallest_p(n), 2 / math.comb(2 * n, n), rel_tol=1e-6):
            return (
                f"smallest_p({n}) is off. Count the orders of {2 * n} values, {n} of each model, "
                "and those in which the two are wholly apart, in either direction."
            )
    return None


@answer("1.8")
def strength(extraction_strength: Callable[[list[bool]], float]) -> str | None:
    """1 − k/T with k the tokens that must be given."""
    if not callable(extraction_strength):
        return "A function of a list of booleans was expected."
    cases = (
        ([True] * 4, 1.0), ([False] * 4, 0.0), ([True, True, True, False], 0.0),
        ([False, True, True, True], 0.75), ([True, False, True, True, True, True], 4 / 6),
    )  # fmt: skip
    for right, expected in cases:
        found = extraction_strength(list(right))
        if found is None or not math.isclose(found, expected, abs_tol=1e-9):
            return (
                f"For {right} it gives {found}. Find the last wrong token: it and all before it "
                "must be given, and the rest follows by itself."
            )
    return None


@answer("1.10")
def depth_score(score: Callable[[list[float], list[float]], float | None]) -> str | None:
    """The unlearning depth score of one fact, from its losses by block."""
    if not callable(score):
        return "A function of two lists of losses, one number a block, was expected."
    if score([0.5, 0.5], [0.01, -0.2]) is not None:
        return "Where retraining costs more than 0.05 nats in no block, return None."
    retrained = [0.02, 0.4, 1.0, 2.6]
    for unlearned, expected in (
        (retrained, 1.0),
        ([0.0, 0.0, 0.0, 0.0], 0.0),
        ([9.0, 9.0, 9.0, 9.0], 1.0),
        ([0.0, 0.4, 0.5, -1.0], 0.9 / 4.0),
        ([5.0, 0.1, 0.1, 9.0], 2.8 / 4.0),
    ):
        found = score(list(unlearned), list(retrained))
        if found is None or not math.isclose(found, expected, abs_tol=1e-9):
            return (
                f"For losses {unlearned} beside {retrained} it gives {found}. Clip block by block, "
                "before the sum, and leave out the blocks that do not count, above and below."
            )
    return None
