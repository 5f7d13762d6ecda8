"""Checkers of the exercises' answers.

A chapter's checkers live beside its studies, in ``palimpsest.studies.<module>_answers``, and are
loaded when an answer is checked::

    from palimpsest.studies.answers import answer

    @answer("1.1")
    def share_forgotten(given: float) -> str | None:
        if not 0 <= given <= 1:
            return "A share lies between 0 and 1."
        return None if abs(given - expected()) < 0.01 else "Divide by all persons, not by ..."

A checker returns None for a right answer, else a hint: what was expected of the answer, without the
answer. An exception that it raises on odd input counts as "not of the expected kind".
"""

import re
from collections.abc import Callable
from typing import Any

Checker = Callable[[Any], str | None]

CHECKERS: dict[str, dict[str, Checker]] = {}
"""Module of checkers -> number of an exercise -> checker; another book has another 1.1."""


def answer(number: str) -> Callable[[Checker], Checker]:
    """Register a checker for exercise ``number``, written "chapter.exercise" as in "1.1"."""
    if not re.fullmatch(r"[1-9]\d*\.[1-9]\d*", number):
        raise ValueError(f"an exercise is numbered like '1.1', not {number!r}")

    def register(checker: Checker) -> Checker:
        own = CHECKERS.setdefault(checker.__module__, {})
        known = own.get(number)
        # Re-running the same module is no clash; two checkers of one exercise are.
        if known is not None and known.__qualname__ != checker.__qualname__:
            raise ValueError(f"exercise {number} has two checkers")
        own[number] = checker
        return checker

    return register
