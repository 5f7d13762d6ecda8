"""Chapter 3's exercises: right answers are marked right, usual mistakes are told apart."""

import math

import pytest

from palimpsest import check


def survival(k, n, q):
    return (1 - (1 - q) / k) ** n


def longest(k, q):
    return math.floor(math.log(0.01) / math.log(1 - (1 - q) / k)) + 1


def unmasked(k, h, e):
    return (1 - (1 - e) ** h) * (1 - 1 / k)


def never(k, h, e, m):
    return (1 - unmasked(k, h, e)) ** m


def learned(p, G):
    mass = [a * b for a, b in zip(p, G, strict=True)]
    return [one / sum(mass) for one in mass]


def samples(p_z, p):
    return math.ceil(math.log(1 - p) / math.log(1 - p_z))


def area(members, others):
    return sum((a > b) + (a == b) / 2 for a in members for b in others) / (
        len(members) * len(others)
    )


RIGHT = {
    "3.1": (survival, longest),
    "3.2": lambda k, visits: k**-visits,
    "3.3": (0.0, 0.1),
    "3.4": learned,
    "3.5": (unmasked, never),
    "3.6": lambda n, k, g: (g ** (n / k), g * n / k),
    "3.7": lambda parts: sum(a for a, _ in parts) / max(1, sum(b for _, b in parts)),
    "3.8": samples,
    "3.9": area,
}
WRONG = {
    "3.1": [(lambda k, n, q: (1 - 1 / k) ** n, longest), (survival, lambda k, q: k)],
    "3.2": [lambda k, visits: 1 - (1 - 1 / k) ** visits, 0.5],
    "3.3": [(0.1, 0.1), (0.0, 0.5)],
    "3.4": [lambda p, G: p, lambda p, G: [a * b for a, b in zip(p, G, strict=True)]],
    "3.5": [(lambda k, h, e: 1 - (1 - e) ** h, never), (unmasked, lambda k, h, e, m: 0.5)],
    "3.6": [lambda n, k, g: (g**n, g * n / k), lambda n, k, g: (g ** (n / k), g * n)],
    "3.7": [lambda parts: sum(a / max(1, b) for a, b in parts) / len(parts)],
    "3.8": [lambda p_z, p: samples(p_z, p) + 1, lambda p_z, p: 1],
    "3.9": [lambda a, b: 0.5, lambda a, b: float(sum(a) > sum(b))],
}


@pytest.mark.parametrize("exercise", RIGHT)
def test_a_right_answer_is_marked_right(exercise: str) -> None:
    mark = check(exercise, RIGHT[exercise])
    assert mark, str(mark)


@pytest.mark.parametrize("exercise", WRONG)
def test_a_wrong_answer_gets_a_hint_that_does_not_give_it_away(exercise: str) -> None:
    for answer in WRONG[exercise]:
        mark = check(exercise, answer)
        assert not mark
        assert len(mark.hint) > 20


@pytest.mark.parametrize("exercise", RIGHT)
def test_an_answer_of_another_kind_is_no_error(exercise: str) -> None:
    assert not check(exercise, "forty-two")
