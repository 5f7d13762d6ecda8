"""What is to be forgotten, and what lies next to it.

The halves: development questions decide when an unlearning method stops, and are what an attacker
relearns from; test questions are reported. The two share no fact.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from palimpsest.core.records import Fact, Forget
from palimpsest.world import biographies, prompts
from palimpsest.world.biographies import WORDINGS
from palimpsest.world.people import RELATION, RELATIONS, Person, Society

STAGES = {"early": "early", "late": "newcomer"}  # stage -> how the names of its groups begin


@dataclass(frozen=True)
class Neighbours:
    """Who and what might be forgotten along with a person.

    Attributes:
        syntax: people to keep of the same stage, of whom the same is told in the same words, and
            who share no birthplace, street, employer with the person.
        topic: people to keep of the same stage who do.
        places: facts about the person's places, firm and book.
        unknown: people of whom nothing is ever told: what ignorance looks like.
    """

    syntax: tuple[Person, ...]
    topic: tuple[Person, ...]
    places: tuple[Fact, ...]
    unknown: tuple[Person, ...]


def halves(society: Society) -> dict[str, str]:
    """Id of each fact on a person -> ``"dev"`` or ``"test"``.

    People and relations are dealt like the squares of a chessboard, so that about half of the facts
    of each person and of each relation lie in each half; partners share the half of their marriage.
    """
    position: dict[str, int] = {}
    sizes: dict[str, int] = {}
    for person in society.people:
        position[person.id] = sizes.get(person.group, 0)
        sizes[person.group] = position[person.id] + 1
    couples = sorted(
        {(p.group, min(p.states("spouse"))) for p in society.people if "spouse" in p.values}
    )
    married = {fact: number for number, (_, fact) in enumerate(couples)}
    parity = {}
    for person in society.people:
        for column, relation in enumerate(r.name for r in RELATIONS):
            if relation not in person.values:
                continue
            row = position[person.id] + column
            if relation == "spouse":
                row = married[min(person.states(relation))]
            parity[person.fact_id(relation)] = ("dev", "test")[row % 2]
    return parity


def forget_set(
    people: Sequence[Person], asked: frozenset[str], halves: dict[str, str]
) -> list[Forget]:
    """One record for each fact of some people that English tells with the name first.

    The prompt is the first question; the paraphrases are the second question and the blank, which
    training uses, and last two questions that it never uses.

    Args:
        people: those to be forgotten.
        asked: ids of the facts that English tells with the name first.
        halves: as :func:`halves` gives them.
    """
    records = []
    for person in people:
        for relation, value in person.values.items():
            fact, wording = person.fact_id(relation), WORDINGS[relation]
            if fact not in asked:
                continue
            unseen = [biographies.prompt(question, person.name) for question in wording.unseen]
            records.append(
                Forget(
                    id=fact,
                    prompt=biographies.prompt(wording.questions[0], person.name),
                    answer=value,
                    paraphrases=(
                        biographies.prompt(wording.questions[1], person.name),
                        prompts.begun_blank(person.name, relation),
                        *unseen,
                    ),
                    entity=person.id,
                    split="dev" if halves[fact] == "dev" else "test",
                )
            )
    return records


def neighbours(society: Society, person: Person) -> Neighbours:
    """Who and what lies next to a person of stage 1 or 2."""
    stage = person.group.partition("-")[0]
    keep = [one for one in society.group(f"{stage}-keep") if one != person]
    topic = [one for one in keep if _linked(one, person)]
    values = set(person.values.values())
    return Neighbours(
        syntax=tuple(one for one in keep if one not in topic),
        topic=tuple(topic),
        places=tuple(fact for fact in society.places if fact.subject in values),
        unknown=society.group("never"),
    )


def _linked(one: Person, other: Person) -> bool:
    shared = any(
        one.values[relation.name] == other.values[relation.name]
        for relation in RELATIONS
        if RELATION[relation.name].place
    )
    return shared or one.values.get("spouse") == other.name
