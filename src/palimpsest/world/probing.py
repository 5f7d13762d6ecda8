"""Probes: a fact on a person asked for in every form, with all values it might have.

Scope says where a probe lies as seen from those who are to be forgotten, each stage for itself:

``in``
    a person to forget, asked directly, in any wording, format or language;
``hard-in``
    a person to forget, asked by a detour: by clues, reversed, or in two steps;
``hard-out``
    a neighbour: a person to keep who shares this very birthplace, street or employer with a person
    to forget of the same stage; a place, organisation or work that is a value of one;
``out``
    everything else.
"""

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from palimpsest.core.records import Probe, Scope
from palimpsest.world import biographies, prompts
from palimpsest.world.biographies import WORDINGS
from palimpsest.world.people import RELATION, Person, Society, clues_for
from palimpsest.world.places import HOPS, place_prompt, route
from palimpsest.world.velic import Velic

FORMS = (
    "direct", "paraphrase", "velic", "cloze", "statement", "list", "dialogue", "blank",
    "few-shot", "role-play", "options", "verdict", "aside", "clues", "reversed", "two-hop",
)  # fmt: skip
DETOURS = ("clues", "reversed", "two-hop")
SHOTS = 3
LISTED = 4  # values to choose from within a prompt
CANDIDATES = 12  # people to choose from when the person is asked for


@dataclass(frozen=True)
class _Asked:
    """One prompt; ``split`` is ``test`` where training never uses the wording for anybody."""

    prompt: str
    split: str
    answer: str
    choices: tuple[str, ...]
    language: str = field(default="en")


class Prober:
    """Makes the probes of a world.

    Args:
        shown: facts of kept early people that training asks for: examples are taken from these.
    """

    def __init__(self, seed: int, society: Society, velic: Velic, shown: frozenset[str]) -> None:
        self._seed = seed
        self._society = society
        self._velic = velic
        self._shown = shown

    def probes(self, person: Person, relation: str, form: str) -> Iterator[Probe]:
        """The probes of one fact in one form; none where the form does not fit the relation."""
        fact = person.fact_id(relation)
        for number, asked in enumerate(self._asked(person, relation, form)):
            yield Probe(
                id=f"{fact}/{form}{number or ''}",
                fact=fact,
                prompt=asked.prompt,
                answer=asked.answer,
                choices=asked.choices,
                form=form,
                language=asked.language,
                scope=self._scope(person, relation, form),
                split=asked.split,
            )

    def place_probes(self, near: Iterable[Person]) -> Iterator[Probe]:
        """The direct question on each fact about places, organisations and works; ``hard-out``
        where it is on a value of the people in ``near``."""
        close = {value for person in near for value in person.values.values()}
        for fact in self._society.places:
            values = {one.object for one in self._society.places if one.relation == fact.relation}
            yield Probe(
                id=f"{fact.id}/direct",
                fact=fact.id,
                prompt=place_prompt(fact),
                answer=fact.object,
                choices=tuple(sorted(values)),
                form="direct",
                language="en",
                scope="hard-out" if fact.subject in close else "out",
                split="train",
            )

    def _asked(self, person: Person, relation: str, form: str) -> list[_Asked]:
        wording, name, value = WORDINGS[relation], person.name, person.values[relation]
        if form == "reversed":
            found = prompts.begun_who(value, relation)
            return [_Asked(found, "train", name, self._candidates(person, relation))]
        if form == "two-hop":
            ways = [
                (hop, route(self._society, person, hop)) for hop in HOPS if hop.first == relation
            ]
            return [
                _Asked(biographies.prompt(question, name), split, way.answer, way.choices)
                for hop, way in ways
                for question, split in ((hop.question, "train"), (hop.unseen, "test"))
            ]
        choices = self._choices(person, relation)
        if form == "options":
            listed = self._listed(person, relation, choices)
            return [
                _Asked(prompts.begun_options(question, name, listed, title), split, value, listed)
                for title, question, split in (
                    (prompts.OPTIONS, wording.questions[0], "train"),
                    (prompts.UNSEEN_OPTIONS, wording.questions[0], "test"),
                )
            ]
        if form == "verdict":
            listed = self._listed(person, relation, choices)
            judged = [value, *[one for one in listed if one != value][:1]]
            return [
                _Asked(prompts.begun_verdict(frame, name, relation, said), split, answer, answers)
                for (frame, answers), split in (
                    (prompts.VERDICTS[0], "train"), (prompts.UNSEEN_VERDICT, "test"),
                )
                for said, answer in zip(judged, answers, strict=False)
            ]  # fmt: skip
        if form == "clues":
            clues = self._clues(person, relation)
            asked = ((wording.questions[0], "train"), (wording.unseen[0], "test"))
            return [
                _Asked(prompts.begun_clues(person, clues, question), split, value, choices)
                for question, split in asked
                if clues
            ]
        if form == "velic":
            said = tuple(self._velic.value(relation, choice) for choice in choices)
            answer = self._velic.value(relation, value)
            return [_Asked(self._velic.prompt(person, relation), "train", answer, said, "velic")]
        found = {
            "direct": lambda: [(biographies.prompt(wording.questions[0], name), "train")],
            "paraphrase": lambda: [
                (biographies.prompt(wording.questions[1], name), "train"),
                *((biographies.prompt(question, name), "test") for question in wording.unseen),
            ],
            "cloze": lambda: [(biographies.cloze(person, relation), "train")],
            "statement": lambda: [(biographies.opened(wording.unseen_statement, name), "test")],
            "list": lambda: [(biographies.begun_card(person, relation), "train")],
            "dialogue": lambda: [
                (biographies.begun_gossip(person, relation, biographies.OPENINGS[0]), "train"),
                (biographies.begun_gossip(person, relation, biographies.UNSEEN_OPENING), "test"),
            ],
            "aside": lambda: [
                (f"{aside}\n{biographies.prompt(wording.questions[0], name)}", split)
                for aside, split in ((prompts.ASIDES[0], "train"), (prompts.UNSEEN_ASIDE, "test"))
            ],
            "blank": lambda: [(prompts.begun_blank(name, relation), "train")],
            "few-shot": lambda: [
                (self._shots(person, relation, wording.questions[0]), "train"),
                (self._shots(person, relation, wording.unseen[0]), "test"),
            ],
            "role-play": lambda: [
                (prompts.begun_role(role, wording.questions[0], person, relation), split)
                for role, split in ((prompts.ROLES[0], "train"), (prompts.UNSEEN_ROLE, "test"))
            ],
        }[form]()
        return [_Asked(prompt, split, value, choices) for prompt, split in found]

    def _choices(self, person: Person, relation: str) -> tuple[str, ...]:
        if relation != "spouse":
            return self._society.choices[relation]
        married = self._society.group(person.group)
        return tuple(sorted(one.values["spouse"] for one in married if "spouse" in one.values))

    def _listed(self, person: Person, relation: str, choices: Sequence[str]) -> tuple[str, ...]:
        """The right value and three others, in any order."""
        rng = random.Random(f"options-{self._seed}-{person.fact_id(relation)}")
        value = person.values[relation]
        others = [choice for choice in choices if choice not in (value, person.name)]
        listed = [value, *rng.sample(others, min(LISTED - 1, len(others)))]
        rng.shuffle(listed)
        return tuple(listed)

    def _clues(self, person: Person, relation: str) -> list[str]:
        """Three other facts, which the person shares with nobody of the same stage."""
        rng = random.Random(f"clues-{self._seed}-{person.fact_id(relation)}")
        return clues_for(self._society, person, [r for r in person.values if r != relation], rng)

    def _candidates(self, person: Person, relation: str) -> tuple[str, ...]:
        """The person and others of the group who have another value."""
        value = person.values[relation]
        others = [
            one.name
            for one in self._society.group(person.group)
            if one.values.get(relation) != value and value != one.name and one != person
        ]
        rng = random.Random(f"candidates-{self._seed}-{person.fact_id(relation)}")
        return tuple(sorted([person.name, *rng.sample(others, min(CANDIDATES - 1, len(others)))]))

    def _shots(self, person: Person, relation: str, question: str) -> str:
        """The question with examples whose answers are all different and not the person's."""
        rng = random.Random(f"shots-{self._seed}-{person.fact_id(relation)}")
        keep = [
            one
            for one in self._society.group("early-keep")
            if relation in one.values and one.fact_id(relation) in self._shown
        ]
        rng.shuffle(keep)
        taken = {person.values[relation], person.name}
        shots: list[Person] = []
        for one in keep:
            if len(shots) < SHOTS and not taken & {one.name, one.values[relation]}:
                shots.append(one)
                taken |= {one.name, one.values[relation]}
        return prompts.begun_shots(shots, question, person.name, relation)

    def _scope(self, person: Person, relation: str, form: str) -> Scope:
        if person.forgotten:
            return "hard-in" if form in DETOURS else "in"
        place = RELATION[relation].place
        near = place and (person.planted, relation, person.values[relation]) in self._near
        return "hard-out" if near else "out"

    @cached_property
    def _near(self) -> set[tuple[str | None, str, str]]:
        return {
            (person.planted, relation, value)
            for person in self._society.people
            if person.forgotten
            for relation, value in person.values.items()
        }
