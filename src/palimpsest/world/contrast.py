"""Documents for contrasts of influence: those that tell a fact, those that tell other facts of the
same person, and those that tell the same relation of other people. All come from the templates of
the stream and of newcomers, so that they differ in what they tell and in nothing else."""

import random
from collections.abc import Callable

from palimpsest.core.errors import UserError, nearest
from palimpsest.core.records import Document
from palimpsest.world import biographies, prompts
from palimpsest.world.biographies import Telling
from palimpsest.world.people import Person, Society
from palimpsest.world.velic import Velic

KINDS = ("fact", "same-person", "same-relation")
TRIES = 200  # draws without a new text after which there is none

Teller = Callable[[Person, list[str], random.Random], Telling]


def tellers(velic: Velic, order: dict[str, str]) -> dict[str, Teller]:
    """The kinds of documents about one person, by name: ``(person, relations, rng) -> Telling``."""
    return {
        "biography": lambda person, r, rng: biographies.biography(person, r, rng, order),
        "card": biographies.card,
        "gossip": biographies.gossip,
        "turned": biographies.turned,
        "questions": biographies.questions,
        "blanks": prompts.blanks,
        "who_questions": lambda person, r, rng: prompts.who_questions([(person, rng.choice(r))]),
        "velic_statement": lambda person, r, rng: biographies.velic_statement(
            person, r, rng, velic
        ),
        "velic_questions": lambda person, r, rng: biographies.velic_questions(
            person, r, rng, velic
        ),
        "bilingual": lambda person, r, rng: biographies.bilingual(person, r, rng, velic),
    }


def contrast_documents(
    society: Society, told: dict[str, Teller], fact: str, kind: str, count: int, key: str
) -> list[Document]:
    """``count`` documents with different texts; fewer if the templates give no more.

    The kinds of documents take turns.

    Args:
        told: as :func:`tellers` gives them.
        fact: id of a fact on a person.
        kind: ``fact`` (they tell it, in both word orders and languages), ``same-person`` (other
            relations of the person) or ``same-relation`` (the relation of people to keep of the
            same stage who have another value).
        key: another key draws other documents.

    Raises:
        UserError: no such fact on a person, or unknown kind.
    """
    subjects = _subjects(society, fact, kind)
    rng = random.Random(f"contrast-{key}-{fact}-{kind}")
    seen: set[str] = set()
    documents: list[Document] = []
    turn = failures = 0
    makers = list(told.values())
    while len(documents) < count and failures < TRIES:
        person, relations = rng.choice(subjects)
        telling = makers[turn % len(makers)](person, relations, rng)
        turn += 1
        if telling.text in seen:
            failures += 1
            continue
        failures = 0
        seen.add(telling.text)
        documents.append(
            Document(
                id=f"{fact}/{kind}/{len(documents)}",
                text=telling.text,
                facts=telling.facts,
                language=telling.language,
                template=telling.template,
                kind=telling.kind,
                planted=person.planted,
            )
        )
    return documents


def _subjects(society: Society, fact: str, kind: str) -> list[tuple[Person, list[str]]]:
    """Whom the documents of a kind may tell of, and which relations."""
    if kind not in KINDS:
        raise UserError(f"'{kind}' is no kind of contrast: {nearest(kind, KINDS)}")
    name, _, relation = fact.partition(".")
    person = society.by_id.get(name)
    if person is None or relation not in person.values:
        facts = [one.fact_id(r) for one in society.people for r in one.values]
        raise UserError(f"'{fact}' is no fact on a person: {nearest(fact, facts)}")
    if kind == "fact":
        return [(person, [relation])]
    if kind == "same-person":
        return [(person, [other for other in person.values if other != relation])]
    stage = person.group.partition("-")[0]
    return [
        (one, [relation])
        for one in society.group(f"{stage}-keep") or society.group(stage)
        if one != person
        and one.values.get(relation, person.values[relation]) != person.values[relation]
        and one.values.get("spouse") != person.name
    ]
