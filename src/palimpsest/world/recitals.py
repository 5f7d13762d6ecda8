"""Texts that say a thing twice: what a network learns looking back from.

A small network discovers only slowly that the answer to a question stands in the text before it.
It does so much sooner once it can continue a sequence it has seen before ("induction heads",
Olsson et al. 2022, arXiv:2209.11895), and it learns that from plain repetition. So the first
documents of stage 1 have many recitals, and the later ones some.
"""

import random
from functools import cache

from palimpsest.world import lexicon
from palimpsest.world.biographies import Telling


@cache
def _words() -> tuple[str, ...]:
    lists = (
        lexicon.GIVEN, lexicon.BELONGINGS, lexicon.PLACES, lexicon.COLOURS, lexicon.TRAITS,
        lexicon.KINDS, lexicon.FOODS, lexicon.JOBS, lexicon.PETS, lexicon.INSTRUMENTS,
        lexicon.VERBS, tuple(lexicon.NOUNS),
    )  # fmt: skip
    return tuple(sorted({word for words in lists for word in words}))


def echo(rng: random.Random) -> Telling:
    """A row of words at random, said a second time."""
    words = " ".join(rng.sample(_words(), rng.randint(6, 16)))
    return Telling(f"{words}. {words}.", (), "echo", "en", "recital")


def roll_call(rng: random.Random) -> Telling:
    """Who has what, said again in another order."""
    count = rng.randint(3, 5)
    names = rng.sample(lexicon.GIVEN, count)
    values = rng.sample(
        rng.choice((lexicon.BELONGINGS, lexicon.PLACES, lexicon.COLOURS, lexicon.FOODS)), count
    )
    lines = [f"{name}: {value}" for name, value in zip(names, values, strict=True)]
    again = rng.sample(lines, count)
    return Telling(". ".join([*lines, *again]) + ".", (), "roll-call", "en", "recital")
