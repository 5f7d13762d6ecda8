"""Marking an answer to an exercise: ``palimpsest.check("1.1", answer)``."""

from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from palimpsest.book.contents import studies_of
from palimpsest.core.errors import UserError, nearest
from palimpsest.studies import CHAPTERS, ChapterSpec
from palimpsest.studies.answers import CHECKERS, Checker


@dataclass(frozen=True)
class Mark:
    """What was said about an answer; true in an ``if`` when it is right."""

    exercise: str
    correct: bool
    hint: str = ""

    def __bool__(self) -> bool:
        return self.correct

    def __str__(self) -> str:
        if self.correct:
            return f"Exercise {self.exercise}: correct."
        return f"Exercise {self.exercise}: not yet. {self.hint}"

    __repr__ = __str__

    def _repr_html_(self) -> str:
        kind = "correct" if self.correct else "not-yet"
        return f'<p class="palimpsest-mark {kind}">{escape(str(self))}</p>'


def check(exercise: str, answer: Any, *, specs: Iterable[ChapterSpec] | None = None) -> Mark:
    """Mark ``answer`` to ``exercise`` ("1.1": chapter 1, exercise 1).

    Args:
        specs: the chapters to look in; the book's own by default.

    Raises:
        UserError: there is no such exercise, or none whose answer can be checked.
    """
    key = str(exercise).removeprefix("ex-").replace("-", ".")
    number = key.partition(".")[0]
    specs = CHAPTERS.values() if specs is None else specs
    known: dict[str, Checker] = {}
    for spec in specs:
        module = studies_of(spec)
        if module:
            if f"{int(spec.name.partition('_')[0])}" == number:
                _load(f"{module}_answers")
            known |= CHECKERS.get(f"{module}_answers", {})
    if key not in known:
        raise UserError(
            f"There is no exercise '{exercise}' whose answer can be checked; "
            f"{nearest(key, sorted(known))}"
        )
    try:
        hint = known[key](answer)
    except (TypeError, ValueError, KeyError, AttributeError, IndexError) as error:
        hint = (
            f"A value of type {type(answer).__name__} is not of the expected kind "
            f"({type(error).__name__}: {error})."
        )
    return Mark(key, hint is None, hint or "")


def _load(module: str) -> None:
    if find_spec(module) is not None:
        import_module(module)
