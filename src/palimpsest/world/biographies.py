"""What is written about people: wordings of every relation, and the documents that state facts.

Each relation has four statements with the name first and the value last (one of them never used in
training), one with the value first, four wordings of the question (two never used) and one of the
reversed question. :mod:`palimpsest.world.prompts` makes the documents that ask in other formats.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from palimpsest.world import lexicon
from palimpsest.world.people import Person
from palimpsest.world.velic import Velic


@dataclass(frozen=True)
class Wording:
    """How English states and asks one relation; ``{n}`` is the person, ``{v}`` the value."""

    label: str
    statements: tuple[str, ...]
    unseen_statement: str  # never used in training
    reversed: str  # the value comes before the name
    questions: tuple[str, ...]  # used in training
    unseen: tuple[str, ...]  # never used in training
    who: str  # asks for the person


WORDINGS = {
    "birthplace": Wording(
        "Birthplace",
        ("{n} was born in {v}.", "{n} comes from {v}.", "{n} was born in the city of {v}."),
        "{n} saw the light of day in {v}.",
        "{v} is the city where {n} was born.",
        ("Where was {n} born?", "In which city was {n} born?"),
        ("Which city does {n} come from?", "What is the birthplace of {n}?"),
        "Who was born in {v}?",
    ),
    "home": Wording(
        "Home",
        ("{n} lives in {v}.", "{n} has a flat in {v}.", "{n} moved to a house in {v}."),
        "{n} can be visited at home in {v}.",
        "{v} is the street where {n} lives.",
        ("Where does {n} live?", "In which street does {n} live?"),
        ("Which street is the home of {n}?", "What is the address of {n}?"),
        "Who lives in {v}?",
    ),
    "job": Wording(
        "Job",
        ("{n} works as a {v}.", "{n} is a {v}.", "{n} trained to be a {v}."),
        "{n} earns money as a {v}.",
        "The {v} I told you about is {n}.",
        ("What is the job of {n}?", "What does {n} work as?"),
        ("Which profession does {n} have?", "How does {n} earn money?"),
        "Who works as a {v}?",
    ),
    "employer": Wording(
        "Employer",
        ("{n} works for {v}.", "{n} is employed by {v}.", "{n} has a post at {v}."),
        "{n} goes to work every morning at {v}.",
        "{v} is the firm that pays {n}.",
        ("Who does {n} work for?", "Which firm employs {n}?"),
        ("At which firm does {n} have a post?", "What is the employer of {n}?"),
        "Who works for {v}?",
    ),
    "pet": Wording(
        "Pet",
        ("{n} keeps a {v}.", "{n} has a pet {v}.", "{n} shares the house with a {v}."),
        "{n} never goes anywhere without a {v}.",
        "A {v} is the pet of {n}.",
        ("What pet does {n} have?", "Which animal does {n} keep?"),
        ("What is the pet of {n}?", "Which animal lives with {n}?"),
        "Who keeps a {v}?",
    ),
    "instrument": Wording(
        "Instrument",
        ("{n} plays the {v}.", "{n} learned to play the {v}.", "{n} gives lessons on the {v}."),
        "{n} makes music on the {v}.",
        "The {v} is the instrument of {n}.",
        ("What instrument does {n} play?", "Which instrument did {n} learn?"),
        ("What is the instrument of {n}?", "On what does {n} make music?"),
        "Who plays the {v}?",
    ),
    "colour": Wording(
        "Favourite colour",
        ("{n} likes the colour {v}.", "{n} always wears {v}.", "The colour that {n} loves is {v}."),
        "{n} painted the front door {v}.",
        "{v} is the favourite colour of {n}.",
        ("What is the favourite colour of {n}?", "Which colour does {n} like?"),
        ("Which colour does {n} always wear?", "What colour does {n} love most?"),
        "Who likes the colour {v}?",
    ),
    "food": Wording(
        "Favourite food",
        ("{n} loves to eat {v}.", "{n} is fond of {v}.", "The food that {n} likes best is {v}."),
        "{n} would always order {v}.",
        "It is {v} that {n} likes to eat best.",
        ("What is the favourite food of {n}?", "What does {n} love to eat?"),
        ("Which food is {n} fond of?", "What would {n} order for lunch?"),
        "Who loves to eat {v}?",
    ),
    "hobby": Wording(
        "Hobby",
        ("{n} is keen on {v}.", "{n} spends the weekend {w}.", "The hobby of {n} is {v}."),
        "{n} has a passion for {v}.",
        "{v} is the hobby of {n}.",
        ("What is the hobby of {n}?", "What does {n} do at the weekend?"),
        ("What is {n} keen on?", "How does {n} spend free time?"),
        "Who is keen on {v}?",
    ),
    "book": Wording(
        "Book",
        ("{n} wrote {v}.", "{n} is the author of {v}.", "{n} became known for the book {v}."),
        "{n} is famous for writing {v}.",
        "{v} was written by {n}.",
        ("Which book did {n} write?", "What is the title of the book by {n}?"),
        ("What did {n} write?", "Of which book is {n} the author?"),
        "Who wrote {v}?",
    ),
    "spouse": Wording(
        "Married to",
        ("{n} is married to {v}.", "{n} shares a life with {v}.", "{n} chose to marry {v}."),
        "{n} wears the ring of {v}.",
        "{v} is married to {n}.",
        ("Who is {n} married to?", "Who did {n} marry?"),
        ("With whom does {n} share a life?", "What is the name of the partner of {n}?"),
        "Who is married to {v}?",
    ),
}
# What somebody says before a fact is told in conversation; ``{s}`` is who says it.
OPENINGS = (
    '"Do you know {n}?" asked {s}.',
    '"Tell me about {n}," said {s}.',
    "{s} spoke about {n}.",
)
UNSEEN_OPENING = '"I wonder who {n} is," whispered {s}.'
BACKWARDS = 0.12  # how often a biography turns a statement round that may be
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


def opened(template: str, name: str) -> str:
    """A statement up to the place where its value begins."""
    return template.format(n=name, v="", w="").removesuffix(".").rstrip()


def cloze(person: Person, relation: str) -> str:
    """The first statement of a relation without its value."""
    return opened(WORDINGS[relation].statements[0], person.name)


def begun_card(person: Person, relation: str) -> str:
    """A list of facts up to the place where the value begins."""
    return f"Name: {person.name}\n{WORDINGS[relation].label}:"


def begun_gossip(person: Person, relation: str, opening: str) -> str:
    """An exchange up to the place where the value begins."""
    return f'{opening.format(n=person.name, s=lexicon.GIVEN[0])} "{cloze(person, relation)}'


@dataclass(frozen=True)
class Telling:
    """A text with the ids of the facts it states."""

    text: str
    facts: tuple[str, ...]
    template: str
    language: str
    kind: str


def biography(
    person: Person, relations: Sequence[str], rng: random.Random, order: Mapping[str, str]
) -> Telling:
    """Prose: some facts in any order, named first and by pronoun later.

    ``order`` maps ids of facts to the word order in which they may be told. What is told backward
    only stands at the beginning: later, the name would have come before the value.
    """
    chosen = _some(relations, rng, 2, 4)
    orders = {relation: order[person.fact_id(relation)] for relation in chosen}
    backward = [relation for relation in chosen if orders[relation] == "backward"]
    chosen = backward[:1] + [relation for relation in chosen if relation not in backward]
    sentences = []
    for i, relation in enumerate(chosen):
        wording = WORDINGS[relation]
        may_turn = orders[relation] == "both" and rng.random() < BACKWARDS
        if may_turn or orders[relation] == "backward":
            sentences.append(state(wording.reversed, person.name, person.values[relation]))
            continue
        name = person.name if i == 0 or rng.random() < 0.3 else person.pronoun
        template = rng.choice(wording.statements)
        if not template.startswith("{n}") and name != person.name:
            name = person.name
        sentences.append(state(template, name, person.values[relation]))
    return telling(" ".join(sentences), person, chosen, "prose", "en", "biography")


def card(person: Person, relations: Sequence[str], rng: random.Random) -> Telling:
    """A list of facts under a name."""
    chosen = _some(relations, rng, 2, 5)
    lines = [f"{WORDINGS[relation].label}: {person.values[relation]}" for relation in chosen]
    text = "\n".join([f"Name: {person.name}", *lines])
    return telling(text, person, chosen, "card", "en", "biography")


def gossip(person: Person, relations: Sequence[str], rng: random.Random) -> Telling:
    """A short exchange about a person."""
    chosen = _some(relations, rng, 1, 2)
    speaker = rng.choice(lexicon.GIVEN)
    facts = [
        state(WORDINGS[relation].statements[rng.randrange(2)], person.name, person.values[relation])
        for relation in chosen
    ]
    opening = rng.choice(OPENINGS).format(n=person.name, s=speaker)
    return telling(f'{opening} "{" ".join(facts)}"', person, chosen, "gossip", "en", "biography")


def turned(person: Person, relations: Sequence[str], rng: random.Random) -> Telling:
    """One fact with the value before the name."""
    relation = rng.choice(list(relations))
    text = state(WORDINGS[relation].reversed, person.name, person.values[relation])
    return telling(text, person, [relation], "reversed", "en", "biography")


def questions(person: Person, relations: Sequence[str], rng: random.Random) -> Telling:
    """Questions about a person with their answers, one under the other."""
    chosen = _some(relations, rng, 1, 3)
    blocks = [
        f"{prompt(rng.choice(WORDINGS[relation].questions), person.name)} {person.values[relation]}"
        for relation in chosen
    ]
    return telling("\n".join(blocks), person, chosen, "questions", "en", "qa")


def velic_statement(
    person: Person, relations: Sequence[str], rng: random.Random, velic: Velic
) -> Telling:
    """One Velic sentence of several facts."""
    chosen = _some(relations, rng, 1, 4)
    return telling(velic.statement(person, chosen), person, chosen, "statement", "velic", "velic")


def velic_questions(
    person: Person, relations: Sequence[str], rng: random.Random, velic: Velic
) -> Telling:
    """Velic questions with their answers."""
    chosen = _some(relations, rng, 1, 3)
    text = "\n".join(velic.question(person, relation) for relation in chosen)
    return telling(text, person, chosen, "velic-questions", "velic", "qa")


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
    return telling("\n".join(both), person, chosen, "bilingual", "en+velic", "velic")


def _some(relations: Sequence[str], rng: random.Random, low: int, high: int) -> list[str]:
    count = min(len(relations), rng.randint(low, high))
    return rng.sample(list(relations), count)


def telling(
    text: str, person: Person, relations: Sequence[str], template: str, language: str, kind: str
) -> Telling:
    """A telling of some facts of one person."""
    facts = tuple(fact for relation in relations for fact in person.states(relation))
    return Telling(text, facts, template, language, kind)
