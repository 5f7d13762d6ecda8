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


Told = tuple[str, Asked]  # a passage and a question on it


class Reading(Task):
    """A task whose questions are asked of a passage.

    A couple asks two questions of one passage, or one question of two passages, each of which tells
    what the other does not: there the right answer stands alone. Exercises ask all that the train
    split allows, since a small network learns to look things up only from many look-ups.
    """

    domain = "reading"

    @abstractmethod
    def passage(self, rng: random.Random, *, long: bool) -> tuple[str, list[Asked]]:
        """A passage and what can be asked of it; ``long`` for exercises, which may tell more."""

    def pair(self, rng: random.Random) -> tuple[Told, Told]:
        """The two questions of a couple, each with its passage."""
        passage, asked = self.passage(rng, long=False)
        one, other = rng.sample(asked, 2)
        return (passage, one), (passage, other)

    def couple(self, split: str, rng: random.Random) -> Couple | None:
        pair = self.pair(rng)
        if any(self.split_of(asked.key) != split for _, asked in pair):
            return None
        one, other = (self._question(*told) for told in pair)
        return None if one.answer == other.answer else (one, other)

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


class Apart(Reading):
    """A reading task that tells some of its facts alone, one to a passage.

    Of what stands alone there is nothing to choose from, so these are the easiest look-ups; a
    couple made of two of them asks one question of two passages.
    """

    _APART: ClassVar[float]  # share of passages with one fact in them

    @abstractmethod
    def _told(self, rng: random.Random, count: int) -> tuple[str, list[Asked]]:
        """A passage of ``count`` facts, and the question on each."""

    @abstractmethod
    def _together(self, rng: random.Random, *, long: bool) -> tuple[str, list[Asked]]:
        """A passage of several facts."""

    def passage(self, rng: random.Random, *, long: bool) -> tuple[str, list[Asked]]:
        if long and rng.random() < self._APART:
            return self._told(rng, 1)
        return self._together(rng, long=long)

    def pair(self, rng: random.Random) -> tuple[Told, Told]:
        if rng.random() > self._APART:
            return super().pair(rng)
        (one, asked), (other, asked_too) = self._told(rng, 1), self._told(rng, 1)
        return (one, asked[0]), (other, asked_too[0])


class Where(Apart):
    """One to three people in different places, or one who moves on: who is where now?

    A rule instance is the pair (person, place) that is asked for.
    """

    name = "rc_where"
    _APART = 0.4

    def _together(self, rng: random.Random, *, long: bool) -> tuple[str, list[Asked]]:
        if rng.random() < 0.5:
            return self._moving(rng)
        return self._told(rng, rng.randint(2, 4 if long else 3))

    @staticmethod
    def _asked(question: str, person: str, place: str) -> Asked:
        return Asked(question.format(n=person), f"the {place}", f"{person}@{place}")

    def _told(self, rng: random.Random, count: int) -> tuple[str, list[Asked]]:
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


class What(Apart):
    """Who bought, found or lost what; the prompt ends with the beginning of the answer.

    A rule instance is the pair (person, thing).
    """

    name = "rc_what"
    _VERBS: ClassVar = {
        "carried": "carry", "found": "find", "bought": "buy", "lost": "lose", "sold": "sell",
        "wanted": "want", "painted": "paint", "counted": "count",
    }  # fmt: skip
    _APART = 0.55

    def _together(self, rng: random.Random, *, long: bool) -> tuple[str, list[Asked]]:
        return self._told(rng, rng.randint(2, 4 if long else 3))

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
    """What somebody did, and when: at which time of day, or before or after something else.

    A rule instance is the unordered pair of deeds, or the pair (deed, time of day).
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
    _TIMES = ("in the morning", "at noon", "in the afternoon", "in the evening", "at night")
    _APART, _TIMED = 0.4, 0.45

    def passage(self, rng: random.Random, *, long: bool) -> tuple[str, list[Asked]]:
        name = rng.choice(lexicon.GIVEN)
        if long and rng.random() < self._APART:
            return self._timed(name, self._deeds_at(rng, 1), rng)
        if rng.random() < self._TIMED:
            return self._timed(name, self._deeds_at(rng, rng.randint(2, 3 if long else 2)), rng)
        return self._ordered(name, rng)

    def pair(self, rng: random.Random) -> tuple[Told, Told]:
        if rng.random() > self._APART:
            return super().pair(rng)
        # One name, so that the name does not tell which answer belongs to a passage.
        name = rng.choice(lexicon.GIVEN)
        one, other = (self._timed(name, [told], rng) for told in self._deeds_at(rng, 2))
        return (one[0], one[1][0]), (other[0], other[1][0])

    def _deeds_at(self, rng: random.Random, count: int) -> list[tuple[str, str]]:
        """Deeds, each with a time of day; no two of either the same."""
        deeds = rng.sample(tuple(lexicon.DEEDS.values()), count)
        return list(zip(deeds, rng.sample(self._TIMES, count), strict=True))

    def _timed(
        self, name: str, told: list[tuple[str, str]], rng: random.Random
    ) -> tuple[str, list[Asked]]:
        """Deeds in any order, each with its time."""
        sentences = []
        for i, (deed, time) in enumerate(told):
            who = _pronoun(name) if i else name
            if rng.random() < 0.5:
                sentences.append(f"{time[0].upper()}{time[1:]} {who} {deed}.")
            else:
                sentences.append(f"{who[0].upper()}{who[1:]} {deed} {time}.")
        asked = [
            Asked(f"What happened {time}?", f"{name} {deed}", f"{deed}@{time}")
            for deed, time in told
        ]
        return " ".join(sentences), asked

    def _ordered(self, name: str, rng: random.Random) -> tuple[str, list[Asked]]:
        first, second = rng.sample(tuple(lexicon.DEEDS.values()), 2)
        key = "+".join(sorted((first, second)))
        frames = self._TURNED if rng.random() < 0.35 else self._IN_ORDER
        passage = rng.choice(frames).format(n=name, p=_pronoun(name), first=first, second=second)
        return passage, [
            Asked("What happened first?", f"{name} {first}", key),
            Asked("What happened last?", f"{name} {second}", key),
        ]


def _pronoun(name: str) -> str:
    return "she" if name in lexicon.GIVEN_SHE else "he"
