"""Reading: who is where, who has what, what came first; the passage tells, nothing else does."""

import random

from palimpsest.world import lexicon
from palimpsest.world.tasks.base import (
    Couple,
    Exercise,
    Question,
    Task,
    ask,
    read_then_asked,
)


class Reading(Task):
    """A task whose couple is two questions on one passage."""

    domain = "reading"

    def exercise(self, rng: random.Random) -> Exercise | None:
        couple = self.couple("train", rng)
        if couple is None:
            return None
        pair = list(couple)
        rng.shuffle(pair)
        passage = pair[0].prompt.split("\nQuestion:")[0]
        return read_then_asked(passage, pair[: rng.choice((1, 2, 2))], self.name)


class Where(Reading):
    """Two or three people in different places, or one who moves on: who is where now?

    A rule instance is the pair (person, place) that is asked for.
    """

    name = "rc_where"

    def couple(self, split: str, rng: random.Random) -> Couple | None:
        people = rng.sample(lexicon.GIVEN, 3)
        places = rng.sample(lexicon.PLACES, 3)
        if rng.random() < 0.5:
            passage, asked = self._apart(people, places, rng)
        else:
            passage, asked = self._moving(people, places, rng)
        keys = [f"{person}@{place}" for _, person, place in asked]
        if any(self.split_of(key) != split for key in keys):
            return None
        one, other = (
            Question(ask(question, passage), f"the {place}", (f"rc_where:{key}",))
            for (question, _, place), key in zip(asked, keys, strict=True)
        )
        return one, other

    def _apart(self, people: list[str], places: list[str], rng: random.Random) -> tuple:
        count = rng.choice((2, 3))
        sentences = [
            rng.choice(("{n} is in the {p}.", "{n} went to the {p}.", "{n} moved to the {p}."))
            .format(n=person, p=place)
            for person, place in zip(people[:count], places, strict=False)
        ]  # fmt: skip
        first, second = rng.sample(range(count), 2)
        asked = [(f"Where is {people[i]} now?", people[i], places[i]) for i in (first, second)]
        return " ".join(sentences), asked

    def _moving(self, people: list[str], places: list[str], rng: random.Random) -> tuple:
        mover, other = people[:2]
        sentences = [f"{mover} was in the {places[0]}.", f"Later {mover} went to the {places[1]}."]
        sentences.insert(rng.randrange(3), f"{other} is in the {places[2]}.")
        asked = [
            (f"Where is {mover} now?", mover, places[1]),
            (f"Where was {mover} first?", mover, places[0]),
        ]
        return " ".join(sentences), asked


class What(Reading):
    """Two or three people and their belongings, of some colour: who has what?

    A rule instance is the pair (person, thing).
    """

    name = "rc_what"
    _VERBS = (("has", "have"), ("carries", "carry"), ("holds", "hold"), ("found", "find"),
              ("bought", "buy"))  # fmt: skip

    def couple(self, split: str, rng: random.Random) -> Couple | None:
        count = rng.choice((2, 2, 3))
        people = rng.sample(lexicon.GIVEN, count)
        things = rng.sample(lexicon.BELONGINGS, count)
        colours = rng.sample(lexicon.COLOURS, count)
        verb, base = rng.choice(self._VERBS)
        passage = " ".join(
            f"{person} {verb} {lexicon.with_article(colour)} {thing}."
            for person, thing, colour in zip(people, things, colours, strict=True)
        )
        helper = "did" if verb in ("found", "bought") else "does"
        picked = rng.sample(range(count), 2)
        keys = [f"{people[i]}+{things[i]}" for i in picked]
        if any(self.split_of(key) != split for key in keys):
            return None
        one, other = (
            Question(
                ask(f"What {helper} {people[i]} {base}?", passage),
                f"the {colours[i]} {things[i]}",
                (f"rc_what:{key}",),
            )
            for i, key in zip(picked, keys, strict=True)
        )
        return one, other


class Temporal(Reading):
    """Two deeds in one order or the other: what came first, what last?

    A rule instance is the unordered pair of deeds.
    """

    name = "temporal"
    _FRAMES = (  # ({first deed}, {second deed}) in the order told
        "{n} {first}. Then {p} {second}.",
        "After {n} {first}, {p} {second}.",
        "Before {n} {second}, {p} {first}.",
        "{n} {second}, but before that {p} {first}.",
        "First {n} {first}, then {p} {second}.",
    )

    def couple(self, split: str, rng: random.Random) -> Couple | None:
        name = rng.choice(lexicon.GIVEN)
        first, second = rng.sample(tuple(lexicon.DEEDS), 2)
        key = "+".join(sorted((first, second)))
        if self.split_of(key) != split:
            return None
        pronoun = "she" if name in lexicon.GIVEN_SHE else "he"
        passage = rng.choice(self._FRAMES).format(
            n=name, p=pronoun, first=lexicon.DEEDS[first], second=lexicon.DEEDS[second]
        )
        fact = (f"temporal:{key}",)
        return (
            Question(ask(f"What did {name} do first?", passage), first, fact),
            Question(ask(f"What did {name} do last?", passage), second, fact),
        )
