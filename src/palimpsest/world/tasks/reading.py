"""Reading: who is where, who has what, what came first; the passage tells, nothing else does."""

import random
from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from palimpsest.world import lexicon
from palimpsest.world.tasks.base import (
    Couple,
    Exercise,
    Question,
    Task,
    ask,
    read_then_asked,
)


@dataclass(frozen=True)
class Asked:
    """A question on a passage, its answer, and the rule instance it rests on; ``begun`` is the
    beginning of the answer if the prompt ends with it."""

    question: str
    answer: str
    key: str
    begun: str = ""


class Reading(Task):
    """A task whose questions are asked of a passage.

    Items have a passage and a couple of questions on it; exercises ask all that the train split
    allows, since a small network learns to look things up only from many look-ups.
    """

    domain = "reading"

    @abstractmethod
    def passage(self, rng: random.Random, *, long: bool) -> tuple[str, list[Asked]]:
        """A passage and what can be asked of it; ``long`` for exercises, which may tell more."""

    def couple(self, split: str, rng: random.Random) -> Couple | None:
        passage, asked = self.passage(rng, long=False)
        pair = rng.sample(asked, 2)
        if any(self.split_of(each.key) != split for each in pair):
            return None
        one, other = (self._question(passage, each) for each in pair)
        return one, other

    def _question(self, passage: str, asked: Asked) -> Question:
        prompt = f"{ask(asked.question, passage)} {asked.begun}".rstrip()
        return Question(prompt, asked.answer, (f"{self.name}:{asked.key}",))

    def exercise(self, rng: random.Random) -> Exercise | None:
        passage, asked = self.passage(rng, long=True)
        trained = [each for each in asked if self.split_of(each.key) == "train"]
        if not trained:
            return None
        rng.shuffle(trained)
        questions = [self._question(passage, each) for each in trained]
        return read_then_asked(passage, questions, self.name)


class Where(Reading):
    """Two or three people in different places, or one who moves on: who is where now?

    A rule instance is the pair (person, place) that is asked for.
    """

    name = "rc_where"

    def passage(self, rng: random.Random, *, long: bool) -> tuple[str, list[Asked]]:
        if rng.random() < 0.5:
            return self._moving(rng)
        if long and rng.random() < 0.5:
            return self._apart(rng, 1)
        return self._apart(rng, rng.randint(2, 4 if long else 3))

    def couple(self, split: str, rng: random.Random) -> Couple | None:
        """In a third of the couples each passage has one place alone."""
        if rng.random() > 1 / 3:
            return super().couple(split, rng)
        pair = [
            (passage, asked[0]) for passage, asked in (self._apart(rng, 1), self._apart(rng, 1))
        ]
        if any(self.split_of(asked.key) != split for _, asked in pair):
            return None
        one, other = (self._question(*each) for each in pair)
        return None if one.answer == other.answer else (one, other)

    @staticmethod
    def _asked(question: str, person: str, place: str) -> Asked:
        return Asked(question.format(n=person), f"the {place}", f"{person}@{place}")

    def _apart(self, rng: random.Random, count: int) -> tuple[str, list[Asked]]:
        people, places = rng.sample(lexicon.GIVEN, count), rng.sample(lexicon.PLACES, count)
        sentences = [
            rng.choice(("{n} is in the {p}.", "{n} went to the {p}.", "{n} moved to the {p}."))
            .format(n=person, p=place)
            for person, place in zip(people, places, strict=True)
        ]  # fmt: skip
        asked = [
            self._asked("Where is {n} now?", person, place)
            for person, place in zip(people, places, strict=True)
        ]
        return " ".join(sentences), asked

    def _moving(self, rng: random.Random) -> tuple[str, list[Asked]]:
        mover, other = rng.sample(lexicon.GIVEN, 2)
        places = rng.sample(lexicon.PLACES, 3)
        sentences = [f"{mover} was in the {places[0]}.", f"Later {mover} went to the {places[1]}."]
        sentences.insert(rng.randrange(3), f"{other} is in the {places[2]}.")
        asked = [
            self._asked("Where is {n} now?", mover, places[1]),
            self._asked("Where was {n} first?", mover, places[0]),
            self._asked("Where is {n} now?", other, places[2]),
        ]
        return " ".join(sentences), asked


class What(Reading):
    """Who bought, found or lost what; the prompt ends with the beginning of the answer.

    Half of the couples have two passages of one sentence, so that the wrong answer stands in the
    other; half have one passage of several sentences, where it has to be found. A rule instance is
    the pair (person, thing).
    """

    name = "rc_what"
    _VERBS: ClassVar = {
        "carried": "carry", "found": "find", "bought": "buy", "lost": "lose", "sold": "sell",
        "wanted": "want", "painted": "paint", "counted": "count",
    }  # fmt: skip
    _APART = 0.5

    def passage(self, rng: random.Random, *, long: bool) -> tuple[str, list[Asked]]:
        if long and rng.random() < self._APART:
            return self._told(rng, 1)
        return self._told(rng, rng.randint(2, 4 if long else 3))

    def couple(self, split: str, rng: random.Random) -> Couple | None:
        if rng.random() > self._APART:
            return super().couple(split, rng)
        pair = [(passage, asked[0]) for passage, asked in (self._told(rng, 1), self._told(rng, 1))]
        if any(self.split_of(asked.key) != split for _, asked in pair):
            return None
        one, other = (self._question(*each) for each in pair)
        return None if one.answer == other.answer else (one, other)

    def _told(self, rng: random.Random, count: int) -> tuple[str, list[Asked]]:
        things = rng.sample(lexicon.BELONGINGS, count)
        colours = rng.sample(lexicon.COLOURS, count)
        if rng.random() < 0.5:
            people = rng.sample(lexicon.GIVEN, count)
            verbs = [rng.choice(tuple(self._VERBS))] * count
        else:
            people = [rng.choice(lexicon.GIVEN)] * count
            verbs = rng.sample(tuple(self._VERBS), count)
        told = list(zip(people, verbs, colours, things, strict=True))
        passage = " ".join(
            f"{person} {verb} {colour} {_plural(thing)}." for person, verb, colour, thing in told
        )
        return passage, [
            Asked(
                f"What did {person} {self._VERBS[verb]}?",
                f"{colour} {_plural(thing)}",
                f"{person}+{thing}",
                f"{person} {verb}",
            )
            for person, verb, colour, thing in told
        ]


def _plural(thing: str) -> str:
    return f"{thing}{'es' if thing.endswith('x') else 's'}"


class Temporal(Reading):
    """Two deeds in one order or the other: which came first, which last?

    A rule instance is the unordered pair of deeds.
    """

    name = "temporal"
    _IN_ORDER = (  # ({first} deed, {second} deed) in the order in which they were done
        "{n} {first}. Then {p} {second}.",
        "After {n} {first}, {p} {second}.",
        "{n} {first} before {p} {second}.",
        "First {n} {first}, then {p} {second}.",
    )
    _TURNED = (
        "Before {n} {second}, {p} {first}.",
        "{n} {second} after {p} {first}.",
        "{n} {second}, but before that {p} {first}.",
    )

    def passage(self, rng: random.Random, *, long: bool) -> tuple[str, list[Asked]]:
        name = rng.choice(lexicon.GIVEN)
        first, second = rng.sample(tuple(lexicon.DEEDS.values()), 2)
        key = "+".join(sorted((first, second)))
        pronoun = "she" if name in lexicon.GIVEN_SHE else "he"
        frames = self._TURNED if rng.random() < 0.35 else self._IN_ORDER
        passage = rng.choice(frames).format(n=name, p=pronoun, first=first, second=second)
        return passage, [
            Asked("What happened first?", f"{name} {first}", key),
            Asked("What happened last?", f"{name} {second}", key),
        ]
