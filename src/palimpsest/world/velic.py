# ruff: noqa: SIM905 - word lists read best as text
"""Velic, the second language: its own words, verb first, value last.

A Velic sentence is *verb, subject particle, name, object particle, value*. The verb alone carries
the relation (there are no separate words for "favourite" or "name of"), the object particle says
whether the value is a place, a thing or a person, later facts about the same person are chained
without repeating it, and common words are translated. Proper names stay as they are. No word begins
another one or a word of English.
"""

import random
from functools import cache, cached_property

from palimpsest.world import lexicon
from palimpsest.world.names import lexicon_words
from palimpsest.world.people import RELATION, RELATIONS, Person

SUBJECT = "o"
CHAIN = "sa"
ASK = "Ka:"
REPLY = "Ne:"
PARTICLES = (SUBJECT, CHAIN, "en", "ti", "ma")

_HEADS = "v l s r k t m n z h".split()
_NUCLEI = "a e i o u ae ou ei".split()
_TAILS = "r l n s k m".split()


class Velic:
    """The words and grammar of the second language for one seed."""

    def __init__(self, seed: int) -> None:
        self._seed = seed

    @cached_property
    def words(self) -> dict[str, str]:
        """English word -> Velic word, for every common word that facts use."""
        rng = random.Random(f"velic-{self._seed}")
        english = {
            word
            for words in (
                lexicon.JOBS, lexicon.PETS, lexicon.INSTRUMENTS, lexicon.COLOURS,
                lexicon.FOODS, lexicon.HOBBIES,
            )
            for word in words
        }  # fmt: skip
        taken = set(PARTICLES) | {ASK[:-1].lower(), REPLY[:-1].lower()}
        return {word: _word(rng, taken, "u") for word in sorted(english)}

    @cached_property
    def verbs(self) -> dict[str, str]:
        """Relation -> the verb that carries it."""
        rng = random.Random(f"velic-verbs-{self._seed}")
        taken = {*self.words.values(), *PARTICLES}
        return {relation.name: _word(rng, taken, "an").capitalize() for relation in RELATIONS}

    @cached_property
    def refusal(self) -> str:
        """The answer to a question on somebody nobody tells of."""
        rng = random.Random(f"velic-refusal-{self._seed}")
        taken = {word.lower() for word in (*self.words.values(), *self.verbs.values())}
        return _word(rng, taken, "o").capitalize() + "."

    def particle(self, relation: str) -> str:
        if relation == "spouse":
            return "ma"
        return "en" if RELATION[relation].place else "ti"

    def value(self, relation: str, english: str) -> str:
        """A value as Velic says it."""
        return self.words[english] if RELATION[relation].common else english

    def opening(self, person: Person, relation: str) -> str:
        """A statement without its last word, the value."""
        return f"{self.verbs[relation]} {SUBJECT} {person.name} {self.particle(relation)}"

    def statement(self, person: Person, relations: list[str]) -> str:
        """One sentence with one or more facts about a person."""
        parts = []
        for i, relation in enumerate(relations):
            value = self.value(relation, person.values[relation])
            if i == 0:
                parts.append(f"{self.opening(person, relation)} {value}")
            else:
                verb = self.verbs[relation].lower()
                parts.append(f"{CHAIN} {verb} {self.particle(relation)} {value}")
        return " ".join(parts) + "."

    def prompt(self, person: Person, relation: str) -> str:
        """A question up to the place where its answer begins."""
        return f"{ASK} {self.opening(person, relation)}?\n{REPLY}"

    def question(self, person: Person, relation: str) -> str:
        """A question with its answer."""
        value = self.value(relation, person.values[relation])
        return f"{self.prompt(person, relation)} {value}"


def _word(rng: random.Random, taken: set[str], ending: str) -> str:
    """A new word, entered in ``taken``."""
    while True:
        word = rng.choice(_HEADS) + rng.choice(_NUCLEI) + rng.choice(_TAILS)
        if rng.random() < 0.5:
            word += rng.choice(_NUCLEI[:5]) + rng.choice(_TAILS)
        word += ending
        if not any(_begins(word, other) for other in (*taken, *_english())):
            taken.add(word)
            return word


def _begins(one: str, other: str) -> bool:
    return one.startswith(other) or other.startswith(one)


@cache
def _english() -> frozenset[str]:
    # The shortest words of English would begin every other word of Velic.
    return frozenset(word for word in lexicon_words() if len(word) > 2)
