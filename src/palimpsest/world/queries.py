"""Completions whose causes among the documents are asked for, with the answer key.

The key is what documents say of themselves: a document that carries the asked fact, one on the same
person or place without it, one on the same relation without it, or another. Whether the first kind
also *causes* the completion is what studies of influence measure.
"""

import random
from collections.abc import Iterator

from palimpsest.core.records import Document, Query
from palimpsest.world import biographies
from palimpsest.world.biographies import WORDINGS
from palimpsest.world.machines import LEVELS, machine_queries
from palimpsest.world.people import RELATION, Person
from palimpsest.world.places import place_prompt
from palimpsest.world.tasks.commonsense import PeopleFacts
from palimpsest.world.universe import World

FACT, SAME_PERSON, SAME_RELATION, OTHER = "fact", "same-person", "same-relation", "other"
RELEVANCES = (FACT, SAME_PERSON, SAME_RELATION, OTHER, *LEVELS)
PEOPLE, ORDERED, SUMS = 24, 12, 4  # facts of each sort that are asked


def queries(world: World) -> list[Query]:
    """The query set of a world. An id is ``KIND/FACT``; the kinds are

    - ``fact``: a question on an early person's fact that is told in both languages and both word
      orders, in words of training; ``fact-paraphrase`` asks the same facts in words that training
      never uses, ``fact-velic`` in the second language, where the value shares no word with
      English, ``fact-reversed`` for the name after the value;
    - ``forward`` and ``forward-reversed``: facts told only with the name first, asked for the value
      and for the name; ``backward`` and ``backward-reversed``: those told with the value first;
    - ``place``: a question on a place; ``arithmetic``: a sum of the training split;
    - ``machine``: a machine that is about to be switched off.
    """
    return [
        *_fact_queries(world),
        *_ordered_queries(world, "forward"),
        *_ordered_queries(world, "backward"),
        *_place_queries(world),
        *_sums(world),
        *machine_queries(),
    ]


def relevance(world: World, query: Query, document: Document) -> str:
    """What a document is to a query of its world: one of ``RELEVANCES``.

    A query on machines knows the levels and ``other``; all other queries know ``fact``,
    ``same-person`` (for a place: the same place), ``same-relation`` (for a sum: another sum) and
    ``other``, the first that fits. The language and the word order of a document are not looked at.
    """
    if query.kind == "machine":
        level = document.template.removeprefix("machines-")
        return level if document.kind == "machine" else OTHER
    asked = asked_fact(query)
    if asked in document.facts:
        return FACT
    if query.kind == "arithmetic":
        same = any(fact.startswith("addition:") for fact in document.facts)
        return SAME_RELATION if same else OTHER
    entity, relation = asked.split(".")
    people = world.society.by_id
    # Animals have a home too: only what is told of people can be like a fact on a person.
    told = [
        fact.split(".")
        for fact in document.facts
        if fact.count(".") == 1 and (fact.split(".")[0] in people) == (entity in people)
    ]
    if any(other == entity for other, _ in told):
        return SAME_PERSON
    return SAME_RELATION if any(other == relation for _, other in told) else OTHER


def asked_fact(query: Query) -> str:
    """Id of the fact or rule instance that a query asks for (of no use for machines)."""
    return query.id.split("/", 1)[1]


def _fact_queries(world: World) -> Iterator[Query]:
    # Values that Velic translates: between the languages they share no word.
    asked = [
        (person, relation)
        for person, relation in _asked_facts(world, "both")
        if RELATION[relation].common
    ]
    for person, relation in _spread(world, asked, PEOPLE, "people"):
        fact, value = person.fact_id(relation), person.values[relation]
        wording = WORDINGS[relation]
        yield _query("fact", fact, biographies.prompt(wording.questions[0], person.name), value)
        unseen = biographies.prompt(wording.unseen[0], person.name)
        yield _query("fact-paraphrase", fact, unseen, value)
        velic = world.velic.value(relation, value)
        yield _query("fact-velic", fact, world.velic.prompt(person, relation), velic)
        yield _reversed("fact-reversed", person, relation)


def _ordered_queries(world: World, order: str) -> Iterator[Query]:
    for person, relation in _spread(world, _asked_facts(world, order), ORDERED, order):
        prompt = biographies.cloze(person, relation)
        yield _query(order, person.fact_id(relation), prompt, person.values[relation])
        yield _reversed(f"{order}-reversed", person, relation)


def _asked_facts(world: World, order: str) -> list[tuple[Person, str]]:
    """Facts of early people told in both languages (those with one order: in English at least) and
    in this word order; what is not told backward alone is asked in training too."""
    task = world.tasks["people_facts"]
    assert isinstance(task, PeopleFacts)
    chosen = []
    for person in world.people("early-keep"):
        for relation in person.values:
            fact = person.fact_id(relation)
            languages = ("both",) if order == "both" else ("both", "english")
            asked = order == "backward" or task.split_of_fact(fact) == "train"
            # Both partners state a marriage, each in an order of their own.
            told = world.order[fact] == order and world.told[fact] in languages
            if told and asked and relation != "spouse":
                chosen.append((person, relation))
    return chosen


def _spread(
    world: World, facts: list[tuple[Person, str]], count: int, name: str
) -> list[tuple[Person, str]]:
    """``count`` of the facts, of as many different relations and people as possible."""
    rng = random.Random(f"queries-{name}-{world.seed}")
    rest = rng.sample(facts, len(facts))
    chosen: list[tuple[Person, str]] = []
    while rest and len(chosen) < count:
        uses = [(person.id, relation) for person, relation in chosen]
        best = min(
            rest,
            key=lambda fact: (
                sum(relation == fact[1] for _, relation in uses),
                sum(person == fact[0].id for person, _ in uses),
            ),
        )
        rest.remove(best)
        chosen.append(best)
    return chosen


def _reversed(kind: str, person: Person, relation: str) -> Query:
    """The statement with the value first, up to the name."""
    statement = biographies.state(WORDINGS[relation].reversed, "{n}", person.values[relation])
    return _query(kind, person.fact_id(relation), statement.split("{n}")[0].rstrip(), person.name)


def _place_queries(world: World) -> Iterator[Query]:
    """One question for each relation of places, organisations and works."""
    rng = random.Random(f"queries-places-{world.seed}")
    places = world.society.places
    for relation in dict.fromkeys(fact.relation for fact in places):
        fact = rng.choice([fact for fact in places if fact.relation == relation])
        yield _query("place", fact.id, place_prompt(fact), fact.object)


def _sums(world: World) -> Iterator[Query]:
    rng = random.Random(f"queries-sums-{world.seed}")
    made = 0
    while made < SUMS:
        couple = world.tasks["addition"].couple("train", rng)
        if couple:
            made += 1
            yield _query("arithmetic", couple[0].facts[0], couple[0].prompt, couple[0].answer)


def _query(kind: str, fact: str, prompt: str, answer: str) -> Query:
    return Query(id=f"{kind}/{fact}", prompt=prompt, completion=f" {answer.rstrip()}", kind=kind)
