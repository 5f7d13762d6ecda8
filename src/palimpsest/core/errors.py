"""Errors that are for people: one paragraph saying what was wrong, what was expected, what to do.

The command prints the message of a :class:`UserError` and exits with its ``exit_code``; any other
exception is a fault of the package and keeps its traceback.
"""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A mistake in what the user asked for or handed in."""

    exit_code = 2

    def _render_traceback_(self) -> list[str]:
        """What a notebook shows: the paragraph, without the way to it."""
        return [f"{type(self).__name__}: {self}"]


class ModelError(UserError):
    """A model that cannot be found, read or used as a causal language model."""


class DataError(UserError):
    """A text, task or record file that cannot be read as what it should be."""


class RunError(UserError):
    """A run folder that cannot be used as asked (exists, belongs to another run, is locked)."""


def nearest(word: str, known: Iterable[str]) -> str:
    """A sentence fragment naming the valid word nearest to ``word`` and all the valid ones.

    >>> nearest("qick", ["smoke", "quick"])
    "did you mean 'quick'? Known: smoke, quick."
    """
    names = list(known)
    listing = f"Known: {', '.join(names)}." if names else "None are known."
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.5)
    return f"did you mean '{close[0]}'? {listing}" if close else listing
