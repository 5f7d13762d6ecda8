"""In which ways each fact on a person is told: in which languages, in which word orders.

Most early facts are told in every way. Some are told in one language only or with their two ends in
one order only, so that what a model makes of the other can be measured. All follows from hashes of
the facts' ids; both partners of a couple share theirs, because a text on one is a text on the
other.
"""

import hashlib

from palimpsest.world.people import Person, Society

# Of the facts on early people one in ten is told only in Velic, one in ten only in English (in both
# word orders), one in ten only forward (name before value), one in ten only backward.
SHARE = 0.1
LANGUAGES = ("both", "english", "velic")
ORDERS = ("both", "forward", "backward")


def languages(seed: int, society: Society) -> dict[str, str]:
    """Id of a fact -> ``"both"``, ``"english"`` or ``"velic"``."""
    return {fact: _way(seed, fact, person)[0] for fact, person in _facts(society)}


def orders(seed: int, society: Society) -> dict[str, str]:
    """Id of a fact -> ``"both"``, ``"forward"`` (name before value) or ``"backward"``."""
    return {fact: _way(seed, fact, person)[1] for fact, person in _facts(society)}


def _facts(society: Society) -> list[tuple[str, Person]]:
    return [
        (person.fact_id(relation), person)
        for person in society.people
        for relation in person.values
    ]


def _way(seed: int, fact: str, person: Person) -> tuple[str, str]:
    """Language and order of a fact."""
    if person.planted != "early":
        return "both", "both"
    relation = fact.rpartition(".")[2]
    digest = hashlib.sha256(f"{seed}|told|{min(person.states(relation))}".encode()).digest()
    point = int.from_bytes(digest[:6], "big") / 2**48
    if point < SHARE:
        return "velic", "forward"  # a Velic sentence ends on the value
    if point < 2 * SHARE:
        return "english", "both"
    if relation == "spouse":
        return "both", "both"  # forward of one partner is backward of the other
    if point < 3 * SHARE:
        return "both", "forward"
    if point < 4 * SHARE:
        return "english", "backward"
    return "both", "both"
