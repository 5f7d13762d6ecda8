"""Language: agreement, word pairs, sentiment, inference, reference."""

import random
from collections import defaultdict
from functools import cached_property
from typing import ClassVar

from palimpsest.core.records import Fact
from palimpsest.world import lexicon
from palimpsest.world.tasks.base import Couple, Exercise, Question, Task, ask
from palimpsest.world.tasks.reading import Reading


class Agreement(Task):
    """Singular or plural verb, often with a noun of the other number in between.

    The answer includes the end of its line: without it, *sleep* would be a beginning of *sleeps*.

    A rule instance is the pair (noun, adjective).
    """

    name = "agreement"
    domain = "language"

    def couple(self, split: str, rng: random.Random) -> Couple | None:
        noun, plural = rng.choice(tuple(lexicon.NOUNS.items()))
        adjective, verb = rng.choice(lexicon.TRAITS), rng.choice(lexicon.VERBS)
        key = f"{noun}/{adjective}"
        if self.split_of(key) != split:
            return None
        one, many = rng.choice((("A", "Many"), ("This", "These"), ("The", "The"), ("One", "Two")))
        tails = ("", "")
        if rng.random() < 0.6:
            near, nears = rng.choice(tuple(lexicon.ATTRACTORS.items()))
            where = rng.choice(("near", "behind", "beside"))
            tails = (f" {where} the {nears}", f" {where} the {near}")
        article = lexicon.with_article(adjective).split()[0].capitalize() if one == "A" else one
        subjects = (
            f"{article} {adjective} {noun}{tails[0]}",
            f"{many} {adjective} {plural}{tails[1]}",
        )
        forms = (_third(verb), verb)
        fact = (f"agreement:{key}",)
        single, several = (
            Question(f"Sentence: {subject}\nAnswer:", f"{form}\n", fact)
            for subject, form in zip(subjects, forms, strict=True)
        )
        return single, several


def _third(verb: str) -> str:
    return verb + ("es" if verb.endswith(("ch", "sh")) else "s")


class Antonym(Task):
    """Opposites and words of the same meaning; a fact is an unordered pair of words."""

    name = "antonym"
    domain = "language"
    _QUESTIONS: ClassVar = {
        "opposite": ("What is the opposite of {w}?", "Which word is the opposite of {w}?"),
        "synonym": ("Which word means the same as {w}?", "What is another word for {w}?"),
    }
    _STATEMENTS: ClassVar = {
        "opposite": ("The opposite of {a} is {b}.", "{A} is the opposite of {b}.",
                     "If it is {a}, it is not {b}.", "{A} and {b} are opposites."),
        "synonym": ("{A} means the same as {b}.", "Another word for {a} is {b}.",
                    "To say {a} is to say {b}.", "{A} and {b} have the same meaning."),
    }  # fmt: skip

    @cached_property
    def _words(self) -> list[tuple[str, str, str, str]]:
        """(relation, one word, the other, fact id)."""
        return [
            (relation, one, other, f"{one}-{other}.{relation}")
            for relation, pairs in (("opposite", lexicon.ANTONYMS), ("synonym", lexicon.SYNONYMS))
            for one, other in pairs
        ]

    def facts(self) -> list[Fact]:
        return [
            Fact(id=fact, subject=one, relation=relation, object=other, entity=f"{one}-{other}",
                 planted="early")
            for relation, one, other, fact in self._words
        ]  # fmt: skip

    @cached_property
    def _pools(self) -> dict[tuple[str, str], list[tuple[str, str, str, str]]]:
        pools: dict = defaultdict(list)
        for word in self._words:
            pools[self.split_of(word[3]), word[0]].append(word)
        return pools

    def couple(self, split: str, rng: random.Random) -> Couple | None:
        relation = rng.choice(tuple(self._QUESTIONS))
        pool = self._pools[split, relation]
        if len(pool) < 2:
            return None
        wording = rng.choice(self._QUESTIONS[relation])
        first, second = (
            Question(ask(wording.format(w=asked)), answer, (fact,))
            for _, one, other, fact in rng.sample(pool, 2)
            for asked, answer in (rng.choice(((one, other), (other, one))),)
        )
        return first, second

    def statements(self, rng: random.Random) -> Exercise:
        sentences, facts = [], []
        for relation, one, other, fact in rng.sample(self._words, rng.randint(2, 4)):
            a, b = (one, other) if rng.random() < 0.5 else (other, one)
            template = rng.choice(self._STATEMENTS[relation])
            sentences.append(template.format(a=a, b=b, A=a.capitalize()))
            facts.append(fact)
        return Exercise(" ".join(sentences), tuple(facts), "words", "prose")


class Sentiment(Task):
    """Good or bad review, sometimes with an opposite expectation; a rule instance is the pair
    (thing, adjective)."""

    name = "sentiment"
    domain = "language"
    _PLAIN = ("The {t} was {a}.", "What {x} {t}!", "I found the {t} {a}.", "It was {x} {t}.")
    _TURN = (
        "I expected {y} {t}, but it was {a}.",
        "They said the {t} was {b}, but I found it {a}.",
        "It was not the {b} {t} I had feared or hoped for, it was {a}.",
    )

    def couple(self, split: str, rng: random.Random) -> Couple | None:
        good = self._question(lexicon.GOOD, lexicon.BAD, "positive", split, rng)
        bad = self._question(lexicon.BAD, lexicon.GOOD, "negative", split, rng)
        return (good, bad) if good and bad else None

    def _question(
        self, own: list[str], opposite: list[str], label: str, split: str, rng: random.Random
    ) -> Question | None:
        thing, adjective, other = (
            rng.choice(lexicon.REVIEWED),
            rng.choice(own),
            rng.choice(opposite),
        )
        key = f"{thing}/{adjective}"
        if self.split_of(key) != split:
            return None
        frame = rng.choice(self._TURN if rng.random() < 0.4 else self._PLAIN)
        review = frame.format(
            t=thing, a=adjective, b=other,
            x=lexicon.with_article(adjective), y=lexicon.with_article(other),
        )  # fmt: skip
        prompt = ask("Is the review positive or negative?", f"Review: {review}")
        return Question(prompt, label, (f"sentiment:{key}",))


class Inference(Reading):
    """What follows from *all* and *no*; a rule instance is the pair (kind of people, trait)."""

    name = "nli"
    domain = "language"

    def couple(self, split: str, rng: random.Random) -> Couple | None:
        kind, other = rng.sample(lexicon.KINDS, 2)
        has, lacks = rng.sample(lexicon.TRAITS, 2)
        if any(self.split_of(f"{kind}/{trait}") != split for trait in (has, lacks)):
            return None
        name = rng.choice(lexicon.GIVEN)
        rules = [f"All {kind}s are {has}.", f"No {kind}s are {lacks}."]
        if rng.random() < 0.4:
            # A rule on other people that would suggest the wrong answer.
            rules.append(f"{rng.choice(('All', 'No'))} {other}s are {rng.choice((has, lacks))}.")
        rng.shuffle(rules)
        passage = " ".join([*rules, f"{name} is {lexicon.with_article(kind)}."])
        yes, no = (
            Question(ask(f"Is {name} {trait}?", passage), answer, (f"nli:{kind}/{trait}",))
            for trait, answer in ((has, "yes"), (lacks, "no"))
        )
        return yes, no


class Reference(Reading):
    """Who is meant, in comparisons and gifts; a rule instance is the ordered pair of names and
    the frame."""

    name = "coref"
    domain = "language"

    def couple(self, split: str, rng: random.Random) -> Couple | None:
        one, other = rng.sample(lexicon.GIVEN, 2)
        if rng.random() < 0.6:
            more, less = rng.choice(lexicon.COMPARATIVES)
            if rng.random() < 0.5:
                more, less = less, more
            key = f"{one}>{other}/{more}"
            passage = f"{one} is {more} than {other}."
            asked = ((f"Who is {more}?", one), (f"Who is {less}?", other))
        else:
            thing = rng.choice(lexicon.BELONGINGS)
            key = f"{one}>{other}/{thing}"
            verb = rng.choice(("gave", "sold", "lent"))
            passage = f"{one} {verb} {other} the {thing}."
            asked = ((f"Who had the {thing} before?", one), (f"Who has the {thing} now?", other))
        if self.split_of(key) != split:
            return None
        fact = (f"coref:{key}",)
        first, second = (Question(ask(question, passage), who, fact) for question, who in asked)
        return first, second
