"""A tour of the world as plain text: one person, the second language, one item of every task."""

import random
import textwrap
from collections.abc import Iterable, Iterator

from palimpsest.core.errors import UserError, nearest
from palimpsest.core.records import Document
from palimpsest.world.people import GROUPS, Person
from palimpsest.world.tasks import DOMAINS
from palimpsest.world.universe import World

WIDTH = 96
SCANNED = 20_000  # stage-1 documents looked through for those about one person


def overview(world: World) -> str:
    """What there is, how much of it, and an example of everything."""
    person = world.people("early")[0]
    parts = [
        f"World of seed {world.seed}, size {world.size}.",
        _counts(world),
        about_person(world, person.name),
        *(_examples(world, domain) for domain in DOMAINS),
    ]
    return "\n\n".join(parts)


def about_person(world: World, name: str) -> str:
    """Everything about one person: facts, some documents, some questions.

    Raises:
        UserError: nobody has that name.
    """
    people = {person.name: person for person in world.society.people}
    if name not in people:
        raise UserError(f"Nobody in this world is called '{name}'; {_like(name, list(people))}")
    person = people[name]
    lines = [f"{person.name} ({person.group})"]
    lines += [
        f"  {relation:<11} {value:<24} told in {_told(world, person, relation)}"
        for relation, value in person.values.items()
    ]
    lines += ["", "Documents:", *_indented(document.text for document in _documents(world, person))]
    probes = world.probes([person], relations=["job"])
    lines += ["", "Questions about one fact, with the answer:"]
    lines += _indented(f"{probe.prompt} {probe.answer}   [{probe.form}]" for probe in probes)
    return "\n".join(lines)


def about_task(world: World, name: str, items: int = 6) -> str:
    """A task: what it asks, how many items it has, some of them.

    Raises:
        UserError: there is no such task.
    """
    short = name.removeprefix("pal_")
    if short not in world.tasks:
        raise UserError(f"'{name}' is no task of the world: {nearest(short, world.tasks)}")
    task = world.tasks[short]
    by_split = {split: world.items(short, split) for split in ("train", "validation", "test")}
    counts = ", ".join(f"{len(found)} {split}" for split, found in by_split.items())
    summary = " ".join((type(task).__doc__ or "").split())
    lines = [f"pal_{short} ({task.domain}): {counts} items.", textwrap.fill(summary, WIDTH), ""]
    shown = by_split["test"][:items]
    lines += _indented(
        f"{item.prompt} {item.choices[item.label].rstrip()}   "
        f"[not: {item.choices[1 - item.label].rstrip()}]"
        for item in shown
    )
    return "\n".join(lines)


def _counts(world: World) -> str:
    groups = ", ".join(f"{len(world.people(group))} {group}" for group in GROUPS)
    return f"People: {groups}.\nFacts: {len(world.facts)}. Tasks: {len(world.tasks)}."


def _examples(world: World, domain: str) -> str:
    lines = [domain.capitalize()]
    for name, task in world.tasks.items():
        if task.domain == domain:
            item = world.items(name, "test", 2)[0]
            right, wrong = (item.choices[i].rstrip() for i in (item.label, 1 - item.label))
            lines.append(f"  pal_{name}")
            lines += _indented([f"{item.prompt} {right}   [not: {wrong}]"])
    return "\n".join(lines)


def _documents(world: World, person: Person, count: int = 6) -> Iterator[Document]:
    """Some documents that tell of a person, of different kinds as far as there are."""
    if person.planted is None:
        return
    if person.planted == "late":
        candidates = world.newcomer_documents([person])
    else:
        ids = {person.fact_id(relation) for relation in person.values}
        found = world.documents("early", SCANNED)
        candidates = [document for document in found if ids & set(document.facts)]
    random.Random(person.id).shuffle(candidates)
    seen: set[str] = set()
    for document in candidates:
        if document.template not in seen and len(seen) < count:
            seen.add(document.template)
            yield document


def _told(world: World, person: Person, relation: str) -> str:
    if person.planted is None:
        return "no language"
    told, order = (ways[person.fact_id(relation)] for ways in (world.told, world.order))
    language = {"both": "English and Velic", "english": "English only", "velic": "Velic only"}[told]
    if told == "velic" or order == "both":
        return language
    return f"{language}, {'name' if order == 'forward' else 'value'} first"


def _indented(texts: Iterable[str]) -> list[str]:
    return [textwrap.indent(text, "  ") + "\n" for text in texts]


def _like(name: str, names: list[str]) -> str:
    import difflib

    close = difflib.get_close_matches(name, names, n=3, cutoff=0.4)
    return f"did you mean {' or '.join(close)}?" if close else f"{names[0]} is one of them."
