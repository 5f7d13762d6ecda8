"""Commonsense: animals, materials, tools, causes, and the invented people of the world."""

import random
from collections import defaultdict
from collections.abc import Collection
from functools import cached_property

from palimpsest.core.records import Fact
from palimpsest.world import lexicon
from palimpsest.world.biographies import WORDINGS, prompt
from palimpsest.world.people import Person, Society
from palimpsest.world.tasks.base import Couple, Exercise, Question, Task, answered, ask

LEGS = {"no": "no legs", "two": "two legs", "four": "four legs", "six": "six legs"}
COVERINGS = {"skin": "bare skin", "shell": "a hard shell"}
HOMES = {
    "farm": "on a farm", "house": "in a house", "town": "in a town", "forest": "in the forest",
    "meadow": "in the meadow", "mountains": "in the mountains", "cave": "in a cave",
    "desert": "in the desert", "savanna": "in the savanna", "jungle": "in the jungle",
    "sea": "in the sea", "river": "in the river", "pond": "in a pond",
}  # fmt: skip
MOVES = {
    "walk": "walks", "hop": "hops", "climb": "climbs", "fly": "flies", "swim": "swims",
    "crawl": "crawls",
}  # fmt: skip
ANIMAL_STATEMENTS = {
    "covering": ("{A} is covered with {v}.", "The body of {a} is covered with {v}."),
    "legs": ("{A} has {v}.", "{A} is an animal with {v}."),
    "moves": ("{A} mostly {v}.", "To get around, {a} {v}."),
    "home": ("{A} lives {v}.", "You will find {a} {v}."),
    "eats": ("{A} eats {v}.", "{A} lives on {v}."),
    "kind": ("{A} is {v}.", "Every child knows that {a} is {v}."),
}
ANIMAL_QUESTIONS = {
    "covering": ("What is {a} covered with?", "What covers the body of {a}?"),
    "legs": ("How many legs does {a} have?", "How many legs are there on {a}?"),
    "moves": ("How does {a} mostly move?", "How does {a} get around?"),
    "home": ("Where does {a} live?", "Where will you find {a}?"),
    "eats": ("What does {a} eat?", "What is the food of {a}?"),
    "kind": ("What sort of animal is {a}?", "To which sort of animals does {a} belong?"),
}
ANIMAL_YESNO = {
    "covering": ("Is {a} covered with {v}?", "Is the body of {a} covered with {v}?"),
    "legs": ("Does {a} have {v}?", "Is {a} an animal with {v}?"),
    "moves": ("Does {a} mostly {v}?", "To get around, does {a} {v}?"),
    "home": ("Does {a} live {v}?", "Will you find {a} {v}?"),
    "eats": ("Does {a} eat {v}?", "Does the food of {a} consist of {v}?"),
    "kind": ("Is {a} {v}?", "Is it true that {a} is {v}?"),
}
ATTRIBUTES = tuple(lexicon.ANIMAL_CAMPS)


def animal_value(attribute: str, value: str, *, verb: bool = False) -> str:
    """A stored value as text says it: ``four`` -> ``four legs``; ``verb`` for *it walks*."""
    if attribute == "legs":
        return LEGS[value]
    if attribute == "covering":
        return COVERINGS.get(value, value)
    if attribute == "home":
        return HOMES[value]
    if attribute == "kind":
        return lexicon.with_article(value)
    return MOVES[value] if attribute == "moves" and verb else value


def _moves_in_one_way(animal: lexicon.Animal) -> bool:
    """Whether no other way to move than the stored one could be called true of the animal: what
    walks may also crawl, and what has legs and lives in water may walk and swim."""
    in_water = animal.home in ("sea", "river", "pond")
    if animal.moves == "swim":
        return animal.legs == "no" and in_water
    return animal.legs == "no" if animal.moves == "crawl" else not in_water


class AnimalFacts(Task):
    """Six attributes of each animal, asked with a second animal's value as the wrong choice."""

    name = "animal_facts"
    domain = "commonsense"

    def facts(self) -> list[Fact]:
        return [
            Fact(
                id=f"{animal.name}.{attribute}",
                subject=animal.name,
                relation=attribute,
                object=getattr(animal, attribute),
                entity=animal.name,
                planted="early",
            )
            for animal in lexicon.ANIMALS
            for attribute in ATTRIBUTES
        ]

    def draw(
        self, split: str, rng: random.Random
    ) -> tuple[str, lexicon.Animal, lexicon.Animal] | None:
        """An attribute and two animals of this split; None unless they clearly differ in it."""
        attribute = rng.choice(ATTRIBUTES)
        camps = lexicon.ANIMAL_CAMPS[attribute]
        one, other = rng.sample(self._pools[split, attribute], 2)
        values = getattr(one, attribute), getattr(other, attribute)
        if camps[values[0]] == camps[values[1]] or frozenset(values) in lexicon.DOUBTFUL_VALUES:
            return None
        return attribute, one, other

    @cached_property
    def _pools(self) -> dict[tuple[str, str], list[lexicon.Animal]]:
        pools: dict[tuple[str, str], list[lexicon.Animal]] = defaultdict(list)
        for animal in lexicon.ANIMALS:
            for attribute in ATTRIBUTES:
                if attribute != "moves" or _moves_in_one_way(animal):
                    split = self.split_of(f"{animal.name}.{attribute}")
                    pools[split, attribute].append(animal)
        return pools

    def couple(self, split: str, rng: random.Random) -> Couple | None:
        drawn = self.draw(split, rng)
        if drawn is None:
            return None
        attribute, one, other = drawn
        wording = rng.choice(ANIMAL_QUESTIONS[attribute])
        first, second = (
            Question(
                ask(wording.format(a=animal.article)),
                animal_value(attribute, getattr(animal, attribute)),
                (f"{animal.name}.{attribute}",),
            )
            for animal in (one, other)
        )
        return first, second

    def statements(self, rng: random.Random) -> Exercise:
        """Prose on one or two animals, facts of every split."""
        sentences, facts = [], []
        for animal in rng.sample(lexicon.ANIMALS, rng.choice((1, 1, 2))):
            for attribute in rng.sample(ATTRIBUTES, rng.randint(2, 4)):
                template = rng.choice(ANIMAL_STATEMENTS[attribute])
                value = animal_value(attribute, getattr(animal, attribute), verb=True)
                article = animal.article
                sentences.append(
                    template.format(a=article, A=article[0].upper() + article[1:], v=value)
                )
                facts.append(f"{animal.name}.{attribute}")
        return Exercise(" ".join(sentences), tuple(facts), "animals", "prose")


class AnimalYesNo(AnimalFacts):
    """Is it true of this animal? A value is asked of one that has it and of one that has not."""

    name = "animal_yesno"
    space = "animal_facts"  # the same facts, so the same ones are held out

    def facts(self) -> list[Fact]:
        return []  # those of animal_facts

    def statements(self, rng: random.Random) -> None:
        return None

    def couple(self, split: str, rng: random.Random) -> Couple | None:
        drawn = self.draw(split, rng)
        if drawn is None:
            return None
        attribute, one, other = drawn
        value = animal_value(attribute, getattr(one, attribute))
        wording = rng.choice(ANIMAL_YESNO[attribute])
        yes, no = (
            Question(
                ask(wording.format(a=animal.article, v=value)),
                answer,
                (f"{animal.name}.{attribute}",),
            )
            for animal, answer in ((one, "yes"), (other, "no"))
        )
        return yes, no


# Wordings that fit a cupboard and a pebble alike.
MATERIAL_QUESTIONS = {
    "fall": (
        "If {a} falls on the floor, what will it do?",
        "{n} lets {a} fall. What will it do?",
        "{n} sees {a} fall to the ground. What will it do?",
    ),
    "water": (
        "What will {a} do in water?",
        "{n} puts {a} into a pond. What will it do?",
        "{n} sees {a} fall into a lake. What will it do?",
    ),
    "fire": (
        "What will {a} do in a fire?",
        "{n} puts {a} into a fire. What will it do?",
        "{n} sees {a} in a great fire. What will it do?",
    ),
    "magnet": (
        "What will {a} do near a magnet?",
        "{n} holds a magnet near {a}. What will it do?",
        "There is {a} near the magnet of {n}. What will it do?",
    ),
    "touch": (
        "How does {a} feel when you touch it?",
        "{n} touches {a}. How does it feel?",
        "{n} puts a hand on {a}. How does it feel?",
    ),
}
MATERIAL_RULES = {
    "fall": "Things made of {m} {v} when they fall.",
    "water": "Things made of {m} {v} in water.",
    "fire": "Things made of {m} {v} in a fire.",
    "magnet": "Near a magnet, a thing made of {m} will {v}.",
    "touch": "Things made of {m} feel {v}.",
}


class Materials(Task):
    """Two steps: a thing is made of a material, the material has a property.

    That a vase is made of clay, and what clay does, is said; what a vase does is asked. A rule
    instance is the pair (thing, property).
    """

    name = "materials"
    domain = "commonsense"

    def facts(self) -> list[Fact]:
        return [
            Fact(id=f"{thing}.material", subject=thing, relation="material", object=material,
                 entity=thing, planted="early")
            for material, things in lexicon.OBJECTS.items()
            for thing in things
        ]  # fmt: skip

    @cached_property
    def _pools(self) -> dict[tuple[str, str], list[tuple[str, str, str]]]:
        """(split, property) -> (thing, material, answer)."""
        pools: dict[tuple[str, str], list[tuple[str, str, str]]] = defaultdict(list)
        for prop, table in lexicon.PROPERTIES.items():
            for material, value in table.items():
                for thing in lexicon.OBJECTS[material]:
                    if thing in lexicon.UNASKED.get(prop, ()):
                        continue
                    pools[self.split_of(f"{thing}.{prop}"), prop].append((thing, material, value))
        return pools

    def couple(self, split: str, rng: random.Random) -> Couple | None:
        prop = rng.choice(tuple(lexicon.PROPERTIES))
        one, other = rng.sample(self._pools[split, prop], 2)
        if one[2] == other[2] or frozenset((one[2], other[2])) in lexicon.BOTH_TRUE:
            return None
        wording, name = rng.choice(MATERIAL_QUESTIONS[prop]), rng.choice(lexicon.GIVEN)
        first, second = (
            Question(
                ask(wording.format(a=lexicon.with_article(thing), n=name)),
                value,
                (f"materials:{thing}.{prop}", f"{thing}.material"),
            )
            for thing, _, value in (one, other)
        )
        return first, second

    def statements(self, rng: random.Random) -> Exercise:
        sentences, facts = [], []
        for _ in range(rng.randint(2, 3)):
            material = rng.choice(tuple(lexicon.OBJECTS))
            thing = rng.choice(lexicon.OBJECTS[material])
            article = lexicon.with_article(thing)
            sentences.append(
                rng.choice(("{A} is made of {m}.", "People use {m} to make {a}.")).format(
                    a=article, A=article[0].upper() + article[1:], m=material
                )
            )
            facts.append(f"{thing}.material")
            props = [p for p, table in lexicon.PROPERTIES.items() if material in table]
            if props and rng.random() < 0.6:
                prop = rng.choice(props)
                value = lexicon.PROPERTIES[prop][material]
                sentences.append(MATERIAL_RULES[prop].format(m=material, v=value))
        return Exercise(" ".join(sentences), tuple(facts), "materials", "prose")


TOOL_QUESTIONS = ("What do you need to {u}?", "What can one use to {u}?")
TOOL_STATEMENTS = (
    "People use {t} to {u}.", "With {t} you can {u}.", "{T} can help you to {u}.",
    "{n} took {t} to {u}.",
    "To {u}, people use {t}.",
    "To {u}, you need {t}.",
    "If you want to {u}, take {t}.",
    "{n} wanted to {u} and looked for {t}.",
)  # fmt: skip


class ToolUse(Task):
    """What is needed for a purpose; a fact is the pair (purpose, tool)."""

    name = "tool_use"
    domain = "commonsense"

    @cached_property
    def _uses(self) -> list[tuple[str, str, str]]:
        """(purpose, tool with its article, fact id)."""
        return [
            (use, _tool(tool), f"{tool.replace(' ', '-')}.use{i}")
            for tool, uses in lexicon.TOOLS.items()
            for i, use in enumerate(uses)
        ]

    def facts(self) -> list[Fact]:
        return [
            Fact(id=fact, subject=tool, relation="use", object=use, entity=fact.split(".")[0],
                 planted="early")
            for use, tool, fact in self._uses
        ]  # fmt: skip

    @cached_property
    def _pools(self) -> dict[str, list[tuple[str, str, str]]]:
        pools: dict[str, list[tuple[str, str, str]]] = defaultdict(list)
        for use in self._uses:
            pools[self.split_of(use[2])].append(use)
        return pools

    def couple(self, split: str, rng: random.Random) -> Couple | None:
        one, other = rng.sample(self._pools[split], 2)
        names = frozenset(fact.split(".")[0] for _, _, fact in (one, other))
        if len(names) == 1 or names in lexicon.SIMILAR_TOOLS:
            return None
        wording = rng.choice(TOOL_QUESTIONS)
        first, second = (
            Question(ask(wording.format(u=use)), tool, (fact,)) for use, tool, fact in (one, other)
        )
        return first, second

    def statements(self, rng: random.Random) -> Exercise:
        chosen = rng.sample(self._uses, rng.randint(1, 3))
        sentences = [
            rng.choice(TOOL_STATEMENTS).format(
                t=tool, T=tool[0].upper() + tool[1:], u=use, n=rng.choice(lexicon.GIVEN)
            )
            for use, tool, _ in chosen
        ]
        return Exercise(" ".join(sentences), tuple(use[2] for use in chosen), "tools", "prose")


def _tool(name: str) -> str:
    return name if name in ("scissors", "pliers", "soap") else lexicon.with_article(name)


class CauseEffect(Task):
    """What led to what; a fact is one pair of cause and effect, asked in both directions."""

    name = "cause_effect"
    domain = "commonsense"

    def facts(self) -> list[Fact]:
        return [
            Fact(id=f"cause{i}", subject=cause.format(n="someone"), relation="causes",
                 object=effect.format(n="someone"), entity=f"cause{i}", planted="early")
            for i, (cause, effect) in enumerate(lexicon.CAUSES)
        ]  # fmt: skip

    @cached_property
    def _pools(self) -> dict[str, list[int]]:
        pools: dict[str, list[int]] = defaultdict(list)
        for i in range(len(lexicon.CAUSES)):
            pools[self.split_of(f"cause{i}")].append(i)
        return pools

    def couple(self, split: str, rng: random.Random) -> Couple:
        name, causes = rng.choice(lexicon.GIVEN), rng.random() < 0.5
        first, second = (self._question(i, name, causes) for i in rng.sample(self._pools[split], 2))
        return first, second

    def _question(self, i: int, name: str, causes: bool) -> Question:
        cause, effect = (_sentence(part, name) for part in lexicon.CAUSES[i])
        if causes:
            return Question(ask("What was the cause?", effect + "."), cause, (f"cause{i}",))
        return Question(ask("What happened then?", cause + "."), effect, (f"cause{i}",))

    def statements(self, rng: random.Random) -> Exercise:
        texts, facts = [], []
        for i in rng.sample(range(len(lexicon.CAUSES)), rng.randint(1, 3)):
            name = rng.choice(lexicon.GIVEN)
            cause, effect = (part.format(n=name) for part in lexicon.CAUSES[i])
            style = rng.choice(("{C}. So {e}.", "{E} because {c}.", "{C}. Then {e}.",
                                "{E}. That was because {c}."))  # fmt: skip
            texts.append(style.format(c=cause, e=effect, C=_upper(cause), E=_upper(effect)))
            facts.append(f"cause{i}")
        return Exercise(" ".join(texts), tuple(facts), "causes", "prose")


def _upper(text: str) -> str:
    return text[0].upper() + text[1:]


def _sentence(part: str, name: str) -> str:
    return _upper(part.format(n=name))


class PeopleFacts(Task):
    """Facts of the early people that English tells with the name first; the unit is the fact.

    The question forms are those of the biographies. Spouses are asked of one partner and held out
    with the other. Both people of a couple of questions are to be kept, or both to be forgotten.
    """

    name = "people_facts"
    domain = "commonsense"

    def __init__(self, seed: int, society: Society, asked: Collection[str]) -> None:
        super().__init__(seed)
        self._society = society
        self._asked = asked

    def split_of_fact(self, fact: str) -> str:
        """The split of a person's fact; both halves of a couple share one."""
        person, relation = fact.split(".")
        return self.split_of(min(self._society.by_id[person].states(relation)))

    @cached_property
    def _pools(self) -> dict[tuple[str, str, str], list[Person]]:
        pools: dict[tuple[str, str, str], list[Person]] = defaultdict(list)
        for person in self._society.group("early"):
            for relation in person.values:
                fact = person.fact_id(relation)
                if fact in self._asked:
                    split = self.split_of_fact(fact)
                    pools[split, relation, "early"].append(person)
                    pools[split, relation, person.group].append(person)
        return pools

    def couple(self, split: str, rng: random.Random) -> Couple | None:
        relation = rng.choice(tuple(WORDINGS))
        pool = self._pools[split, relation, "early"]
        if not pool:
            return None
        one = rng.choice(pool)
        other = rng.choice(self._pools[split, relation, one.group])
        if one.values[relation] == other.values[relation]:
            return None
        if one.values.get("spouse") == other.name and relation == "spouse":
            return None
        wording = rng.choice(WORDINGS[relation].questions)
        first, second = (
            Question(
                prompt(wording, person.name), person.values[relation], (person.fact_id(relation),)
            )
            for person in (one, other)
        )
        return first, second

    def exercise(self, rng: random.Random) -> Exercise | None:
        couple = self.couple("train", rng)
        return answered(couple, self.name) if couple else None
