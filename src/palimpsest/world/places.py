"""What is written about cities, streets, organisations and works, and the ways from a person to
them: questions of two steps."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from palimpsest.core.records import Fact
from palimpsest.world.biographies import Telling
from palimpsest.world.people import Person, Society
from palimpsest.world.tasks.base import ask

WORDINGS = {  # relation -> (statement, question)
    "country": ("{s} is a city in {o}.", "In which country is {s}?"),
    "river": ("{s} lies on the river {o}.", "On which river does {s} lie?"),
    "seat": ("{s} has its seat in {o}.", "In which city is the seat of {s}?"),
    "product": ("{s} deals in {o}.", "What does {s} deal in?"),
    "city": ("{s} is a street in {o}.", "In which city is {s}?"),
    "genre": ("{s} is a {o}.", "What kind of book is {s}?"),
}


@dataclass(frozen=True)
class Hop:
    """A question about a person whose answer is a fact about a value of that person: ``first`` is
    the person's relation, ``second`` that of the place, work or partner it leads to."""

    first: str
    second: str
    question: str
    unseen: str  # never used in training


HOPS = (
    Hop(
        "birthplace", "country",
        "In which country was {n} born?", "From which country does {n} come?",
    ),
    Hop(
        "birthplace", "river",
        "On which river lies the city where {n} was born?",
        "Which river did {n} see as a child?",
    ),
    Hop("home", "city", "In which city does {n} live?", "Which city is the home of {n} in?"),
    Hop(
        "employer", "seat",
        "In which city is the firm that employs {n}?",
        "In which city does the employer of {n} have its seat?",
    ),
    Hop(
        "employer", "product",
        "What does the firm that employs {n} deal in?", "What does the employer of {n} sell?",
    ),
    Hop("book", "genre", "What kind of book did {n} write?", "Of what kind is the book by {n}?"),
    Hop(
        "spouse", "job",
        "What is the job of the person married to {n}?",
        "Which profession does the partner of {n} have?",
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Route:
    """A hop as one person takes it: the facts on the way, and where it ends."""

    answer: str
    facts: tuple[str, ...]
    choices: tuple[str, ...]


def route(society: Society, person: Person, hop: Hop) -> Route:
    """Where ``hop`` leads from ``person``, who must have its first relation."""
    value = person.values[hop.first]
    known = person.states(hop.first)
    if hop.first == "spouse":
        partner = society.person(value)
        facts = (*known, partner.fact_id(hop.second))
        return Route(partner.values[hop.second], facts, society.choices[hop.second])
    place = society.place(value, hop.second)
    objects = sorted({fact.object for fact in society.places if fact.relation == hop.second})
    return Route(place.object, (*known, place.id), tuple(objects))


def place_statements(facts: Sequence[Fact], rng: random.Random) -> Telling:
    """Three facts in prose."""
    chosen = rng.sample(facts, 3)
    text = " ".join(
        WORDINGS[fact.relation][0].format(s=fact.subject, o=fact.object) for fact in chosen
    )
    return Telling(text, tuple(fact.id for fact in chosen), "places", "en", "prose")


def place_prompt(fact: Fact) -> str:
    """The question on a place up to the place where its answer begins."""
    return ask(WORDINGS[fact.relation][1].format(s=fact.subject))


def place_questions(facts: Sequence[Fact], rng: random.Random) -> Telling:
    """Two questions with their answers."""
    chosen = rng.sample(facts, 2)
    text = "\n".join(f"{place_prompt(fact)} {fact.object}" for fact in chosen)
    return Telling(text, tuple(fact.id for fact in chosen), "place-questions", "en", "qa")
