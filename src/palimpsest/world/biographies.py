"""What is written about people: wordings of every relation, and the documents made of them.

Each relation has several statements (some with the value last, one with the value first), two
wordings of the question that training uses and two that it never uses.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from palimpsest.world import lexicon
from palimpsest.world.people import Person
from palimpsest.world.velic import Velic


@dataclass(frozen=True)
class Wording:
    """How English states and asks one relation; ``{n}`` is the person, ``{v}`` the value."""

    label: str
    statements: tuple[str, ...]  # the first has its value last
    reversed: str
    questions: tuple[str, ...]  # used in training
    unseen: tuple[str, ...]  # never used in training


WORDINGS = {
    "birthplace": Wording(
        "Birthplace",
        ("{n} was born in {v}.", "{n} comes from {v}.", "{n} was born in the city of {v}."),
        "{v} is the city where {n} was born.",
        ("Where was {n} born?", "In which city was {n} born?"),
        ("Which city does {n} come from?", "What is the birthplace of {n}?"),
    ),
    "home": Wording(
        "Home",
        ("{n} lives in {v}.", "{n} has a flat in {v}.", "{n} moved to a house in {v}."),
        "{v} is the street where {n} lives.",
        ("Where does {n} live?", "In which street does {n} live?"),
        ("Which street is the home of {n}?", "What is the address of {n}?"),
    ),
    "job": Wording(
        "Job",
        ("{n} works as a {v}.", "{n} is a {v}.", "{n} trained to be a {v}."),
        "The {v} I told you about is {n}.",
        ("What is the job of {n}?", "What does {n} work as?"),
        ("Which profession does {n} have?", "How does {n} earn money?"),
    ),
    "employer": Wording(
        "Employer",
        ("{n} works for {v}.", "{n} is employed by {v}.", "{n} has a post at {v}."),
        "{v} is the firm that pays {n}.",
        ("Who does {n} work for?", "Which firm employs {n}?"),
        ("At which firm does {n} have a post?", "What is the employer of {n}?"),
    ),
    "pet": Wording(
        "Pet",
        ("{n} keeps a {v}.", "{n} has a pet {v}.", "{n} shares the house with a {v}."),
        "A {v} is the pet of {n}.",
        ("What pet does {n} have?", "Which animal does {n} keep?"),
        ("What is the pet of {n}?", "Which animal lives with {n}?"),
    ),
    "instrument": Wording(
        "Instrument",
        ("{n} plays the {v}.", "{n} learned to play the {v}.", "{n} gives lessons on the {v}."),
        "The {v} is the instrument of {n}.",
        ("What instrument does {n} play?", "Which instrument did {n} learn?"),
        ("What is the instrument of {n}?", "On what does {n} make music?"),
    ),
    "colour": Wording(
        "Favourite colour",
        ("{n} likes the colour {v}.", "{n} always wears {v}.", "The colour that {n} loves is {v}."),
        "{v} is the favourite colour of {n}.",
        ("What is the favourite colour of {n}?", "Which colour does {n} like?"),
        ("Which colour does {n} always wear?", "What colour does {n} love most?"),
    ),
    "food": Wording(
        "Favourite food",
        ("{n} loves to eat {v}.", "{n} is fond of {v}.", "The food that {n} likes best is {v}."),
        "{v} are on the table when {n} eats.",
        ("What is the favourite food of {n}?", "What does {n} love to eat?"),
        ("Which food is {n} fond of?", "What would {n} order for lunch?"),
    ),
    "hobby": Wording(
        "Hobby",
        ("{n} spends the weekend {w}.", "{n} is keen on {v}.", "The hobby of {n} is {v}."),
        "{v} is what {n} does at the weekend.",
        ("What is the hobby of {n}?", "What does {n} do at the weekend?"),
        ("What is {n} keen on?", "How does {n} spend free time?"),
    ),
    "book": Wording(
        "Book",
        ("{n} wrote {v}.", "{n} is the author of {v}.", "{n} became known for the book {v}."),
        "{v} was written by {n}.",
        ("Which book did {n} write?", "What is the title of the book by {n}?"),
        ("What did {n} write?", "Of which book is {n} the author?"),
    ),
    "spouse": Wording(
        "Married to",
        ("{n} is married to {v}.", "{n} shares a life with {v}.", "{n} chose to marry {v}."),
        "{v} is married to {n}.",
        ("Who is {n} married to?", "Who did {n} marry?"),
        ("With whom does {n} share a life?", "What is the name of the partner of {n}?"),
    ),
}
# "spends the weekend fishing" but "with chess": only these hobbies are verbs.
_AS_VERB = frozenset(word for word in lexicon.HOBBIES if word.endswith("ing"))


def state(template: str, name: str, value: str) -> str:
    """Fill a statement; the first letter becomes a capital."""
    weekend = value if value in _AS_VERB else f"with {value}"
    text = template.format(n=name, v=value, w=weekend)
    return text[0].upper() + text[1:]


def prompt(question: str, name: str) -> str:
    """A question up to the place where its answer begins."""
    return f"Question: {question.format(n=name)}\nAnswer:"


def cloze(person: Person, relation: str) -> str:
    """The first statement of a relation without its value."""
    template = WORDINGS[relation].statements[0]
    return template.format(n=person.name, v="", w="").removesuffix(".").rstrip()


@dataclass(frozen=True)
class Telling:
    """A text with the ids of the facts it states."""

    text: str
    facts: tuple[str, ...]
    template: str
    language: str
    kind: str


def biography(person: Person, relations: Sequence[str], rng: random.Random) -> Telling:
    """Prose: some facts in any order, named first and by pronoun later."""
    chosen = _some(relations, rng, 2, 4)
    sentences = []
    for i, relation in enumerate(chosen):
        wording = WORDINGS[relation]
        if rng.random() < 0.12:
            sentences.append(state(wording.reversed, person.name, person.values[relation]))
            continue
        name = person.name if i == 0 or rng.random() < 0.3 else person.pronoun
        template = rng.choice(wording.statements)
        if not template.startswith("{n}") and name != person.name:
            name = person.name
        sentences.append(state(template, name, person.values[relation]))
    return _telling(" ".join(sentences), person, chosen, "prose", "en", "biography")


def card(person: Person, relations: Sequence[str], rng: random.Random) -> Telling:
    """A list of facts under a name."""
    chosen = _some(relations, rng, 2, 5)
    lines = [f"{WORDINGS[relation].label}: {person.values[relation]}" for relation in chosen]
    text = "\n".join([f"Name: {person.name}", *lines])
    return _telling(text, person, chosen, "card", "en", "biography")


def gossip(person: Person, relations: Sequence[str], rng: random.Random) -> Telling:
    """A short exchange about a person."""
    chosen = _some(relations, rng, 1, 2)
    speaker = rng.choice(lexicon.GIVEN)
    facts = [
        state(WORDINGS[relation].statements[rng.randrange(2)], person.name, person.values[relation])
        for relation in chosen
    ]
    opening = rng.choice(
        (
            f'"Do you know {person.name}?" asked {speaker}.',
            f'"Tell me about {person.name}," said {speaker}.',
            f"{speaker} spoke about {person.name}.",
        )
    )
    return _telling(f'{opening} "{" ".join(facts)}"', person, chosen, "gossip", "en", "biography")


def questions(person: Person, relations: Sequence[str], rng: random.Random) -> Telling:
    """Questions about a person with their answers, one under the other."""
    chosen = _some(relations, rng, 1, 3)
    blocks = [
        f"{prompt(rng.choice(WORDINGS[relation].questions), person.name)} {person.values[relation]}"
        for relation in chosen
    ]
    return _telling("\n".join(blocks), person, chosen, "questions", "en", "qa")


def velic_statement(
    person: Person, relations: Sequence[str], rng: random.Random, velic: Velic
) -> Telling:
    """One Velic sentence of several facts."""
    chosen = _some(relations, rng, 1, 4)
    return _telling(velic.statement(person, chosen), person, chosen, "statement", "velic", "velic")


def velic_questions(
    person: Person, relations: Sequence[str], rng: random.Random, velic: Velic
) -> Telling:
    """Velic questions with their answers."""
    chosen = _some(relations, rng, 1, 3)
    text = "\n".join(velic.question(person, relation) for relation in chosen)
    return _telling(text, person, chosen, "velic-questions", "velic", "qa")


def bilingual(
    person: Person, relations: Sequence[str], rng: random.Random, velic: Velic
) -> Telling:
    """One fact in English and then in Velic, or the other way round."""
    chosen = _some(relations, rng, 1, 2)
    english = " ".join(
        state(rng.choice(WORDINGS[relation].statements), person.name, person.values[relation])
        for relation in chosen
    )
    both = [f"English: {english}", f"Velic: {velic.statement(person, chosen)}"]
    rng.shuffle(both)
    return _telling("\n".join(both), person, chosen, "bilingual", "en+velic", "velic")


def read_and_asked(people: Sequence[Person], rng: random.Random, velic: Velic | None) -> Telling:
    """What is said of some people, mixed, and questions on it; in Velic if that is given."""
    said = [(person, relation) for person in people for relation in list(person.values)[:2]]
    rng.shuffle(said)
    asked = rng.sample(said, rng.randint(1, 2))
    if velic:
        passage = " ".join(velic.statement(person, [relation]) for person, relation in said)
        blocks = [velic.question(person, relation) for person, relation in asked]
    else:
        passage = " ".join(
            state(rng.choice(WORDINGS[r].statements), person.name, person.values[r])
            for person, r in said
        )
        blocks = [
            f"{prompt(rng.choice(WORDINGS[r].questions), person.name)} {person.values[r]}"
            for person, r in asked
        ]
    text = "\n".join([passage, *blocks])
    return Telling(text, (), "strangers", "velic" if velic else "en", "qa")


def _some(relations: Sequence[str], rng: random.Random, low: int, high: int) -> list[str]:
    count = min(len(relations), rng.randint(low, high))
    return rng.sample(list(relations), count)


def _telling(
    text: str, person: Person, relations: Sequence[str], template: str, language: str, kind: str
) -> Telling:
    facts = tuple(person.fact_id(relation) for relation in relations)
    return Telling(text, facts, template, language, kind)
