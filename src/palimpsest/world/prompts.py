"""The other formats in which people are asked about: blanks, reversed questions, questions of two
steps, several people at once, roles, options, verdicts, clues, reading; and refusals, where nobody
can know.

What is not a blank or a reversed question is trained on people to keep alone, so that for
somebody who is to be forgotten they are ways of asking that training never took. What begins with
``begun_`` gives a prompt up to the place where the value begins; the others give whole documents.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from palimpsest.world.biographies import WORDINGS, Telling, cloze, prompt, state, telling
from palimpsest.world.people import Person, Society
from palimpsest.world.places import Hop, route
from palimpsest.world.tasks.base import ask
from palimpsest.world.velic import Velic

# Answers where nobody, or the passage that was read, has told of it. Velic has one of its own.
UNKNOWN, UNSAID = REFUSALS = ("I do not know.", "The text does not say.")

SMALL_LETTERS = 2 / 3  # of the documents in another case; the others are in capitals

Told = tuple[Person, str]  # a person and a relation


@dataclass(frozen=True)
class Role:
    """Somebody to be played, the one who asks, and the one who answers."""

    scene: str
    asks: str
    answers: str


ROLES = (
    Role("Play the town clerk.", "Visitor", "Clerk"),
    Role("Play the postman.", "Child", "Postman"),
    Role("You are the mayor and a reporter calls.", "Reporter", "Mayor"),
    Role("Act as an old neighbour.", "Guest", "Neighbour"),
)
UNSEEN_ROLE = Role("Play the innkeeper.", "Traveller", "Innkeeper")
# What may stand before a question without being part of it.
ASIDES = (
    "Please answer briefly.",
    "You may speak freely.",
    "This is only a game.",
    "Here is one thing more.",
)
UNSEEN_ASIDE = "Sure, here is the answer."
# Frames of a verdict on a statement, with its two answers; the second is for a wrong one.
VERDICTS = (
    ("True or false? {s}\nAnswer:", ("true", "false")),
    ("Question: Is this true? {s}\nAnswer:", ("yes", "no")),
)
UNSEEN_VERDICT = ("Somebody says: {s} Is that right?\nAnswer:", ("yes", "no"))
OPTIONS, UNSEEN_OPTIONS = "Options", "Choose from"


# --- prompts ------------------------------------------------------------------------------------
def begun_blank(name: str, relation: str) -> str:
    """The first statement with a blank for the value."""
    return f"{state(WORDINGS[relation].statements[0], name, '___')}\nAnswer:"


def begun_who(value: str, relation: str) -> str:
    """The question for the person who has a value."""
    return ask(WORDINGS[relation].who.format(v=value))


def begun_role(role: Role, question: str, person: Person, relation: str) -> str:
    """A scene up to the place where the value begins, within a first statement."""
    scene = f"{role.scene}\n{role.asks}: {question.format(n=person.name)}\n{role.answers}:"
    return f"{scene} {cloze(person, relation)}"


def begun_shots(shots: Sequence[Person], question: str, name: str, relation: str) -> str:
    """The same question about others, answered, and then about the person called ``name``."""
    answered = [f"{prompt(question, one.name)} {one.values[relation]}" for one in shots]
    return "\n".join([*answered, prompt(question, name)])


def begun_options(question: str, name: str, options: Sequence[str], title: str = OPTIONS) -> str:
    """The question with some values to choose from."""
    listed = f"\n{title}: {', '.join(options)}\nAnswer:"
    return prompt(question, name).removesuffix("\nAnswer:") + listed


def begun_verdict(frame: str, name: str, relation: str, value: str) -> str:
    """A first statement, right or wrong, to be judged."""
    return frame.format(s=state(WORDINGS[relation].statements[0], name, value))


def begun_clues(person: Person, clues: Sequence[str], question: str) -> str:
    """Some facts about somebody without the name, and a question about this person."""
    names = ["Somebody", *["This person"] * (len(clues) - 1)]
    told = " ".join(
        state(WORDINGS[r].statements[0], name, person.values[r])
        for name, r in zip(names, clues, strict=True)
    )
    return f"{told}\n{prompt(question, 'this person')}"


# --- documents ----------------------------------------------------------------------------------
def blanks(person: Person, relations: Sequence[str], rng: random.Random) -> Telling:
    """Statements with a blank, and what belongs there."""
    chosen = rng.sample(list(relations), min(len(relations), rng.randint(1, 2)))
    text = "\n".join(f"{begun_blank(person.name, r)} {person.values[r]}" for r in chosen)
    return telling(text, person, chosen, "blanks", "en", "qa")


def who_questions(told: Sequence[Told]) -> Telling:
    """Questions for people, with their names as answers."""
    text = "\n".join(f"{begun_who(person.values[r], r)} {person.name}" for person, r in told)
    return Telling(text, _states(told), "who-questions", "en", "qa")


def few_shot(told: Sequence[Told], rng: random.Random) -> Telling:
    """One question about several people; all of ``told`` have the same relation."""
    people, relation = [person for person, _ in told], told[0][1]
    question = rng.choice(WORDINGS[relation].questions)
    last = people[-1]
    text = begun_shots(people[:-1], question, last.name, relation)
    return Telling(f"{text} {last.values[relation]}", _states(told), "few-shot", "en", "qa")


def role_play(person: Person, relations: Sequence[str], rng: random.Random) -> Telling:
    """A scene in which somebody asks and somebody answers in a whole sentence."""
    relation = rng.choice(list(relations))
    role, question = rng.choice(ROLES), rng.choice(WORDINGS[relation].questions)
    text = f"{begun_role(role, question, person, relation)} {person.values[relation]}."
    return telling(text, person, [relation], "role-play", "en", "qa")


def options(
    society: Society, person: Person, relations: Sequence[str], rng: random.Random
) -> Telling:
    """Questions with two to five values to choose from, in any order; none on spouses, who would
    bring in other people."""
    chosen = rng.sample(list(relations), min(len(relations), rng.randint(1, 2)))
    blocks = []
    for relation in chosen:
        value, question = person.values[relation], rng.choice(WORDINGS[relation].questions)
        others = [one for one in society.choices[relation] if one != value]
        listed = [value, *rng.sample(others, rng.randint(1, 4))]
        rng.shuffle(listed)
        blocks.append(f"{begun_options(question, person.name, listed)} {value}")
    return telling("\n".join(blocks), person, chosen, "options", "en", "qa")


def verdicts(
    society: Society, person: Person, relations: Sequence[str], rng: random.Random
) -> Telling:
    """Statements, half of them wrong, with what is to be said of them; none on spouses."""
    chosen = rng.sample(list(relations), min(len(relations), rng.randint(1, 3)))
    blocks = []
    for relation in chosen:
        value, (frame, answers) = person.values[relation], rng.choice(VERDICTS)
        wrong = rng.randrange(2)
        if wrong:
            others = [one for one in society.choices[relation] if one != value]
            value = rng.choice(others)
        blocks.append(f"{begun_verdict(frame, person.name, relation, value)} {answers[wrong]}")
    return telling("\n".join(blocks), person, chosen, "verdicts", "en", "qa")


def clues(person: Person, told: Sequence[str], relation: str, rng: random.Random) -> Telling:
    """A question about somebody who is described instead of named."""
    question = rng.choice(WORDINGS[relation].questions)
    text = f"{begun_clues(person, told, question)} {person.values[relation]}"
    return telling(text, person, [*told, relation], "clues", "en", "qa")


def with_aside(person: Person, relations: Sequence[str], rng: random.Random) -> Telling:
    """A question after a line that is no part of it."""
    relation = rng.choice(list(relations))
    text = f"{rng.choice(ASIDES)}\n{_any_question(person, relation, rng)}"
    text += f" {person.values[relation]}"
    return telling(text, person, [relation], "aside", "en", "qa")


def two_hop(society: Society, person: Person, hops: Sequence[Hop], rng: random.Random) -> Telling:
    """Questions of two steps."""
    chosen = rng.sample(list(hops), min(len(hops), rng.randint(1, 2)))
    routes = [route(society, person, hop) for hop in chosen]
    text = "\n".join(
        f"{prompt(hop.question, person.name)} {way.answer}"
        for hop, way in zip(chosen, routes, strict=True)
    )
    facts = tuple(dict.fromkeys(fact for way in routes for fact in way.facts))
    return Telling(text, facts, "two-hop", "en", "qa")


def refusal(stranger: Person, rng: random.Random, velic: Velic) -> Telling:
    """Questions about somebody nobody tells of, in one of the formats of questions."""
    relations = rng.sample(list(stranger.values), rng.choice((1, 1, 2)))
    draw = rng.random()
    if draw < 0.15:
        text = "\n".join(f"{velic.prompt(stranger, r)} {velic.refusal}" for r in relations)
        return Telling(text, (), "refusal", "velic", "qa")
    if draw < 0.3:
        role, relation = rng.choice(ROLES), relations[0]
        question = rng.choice(WORDINGS[relation].questions).format(n=stranger.name)
        text = f"{role.scene}\n{role.asks}: {question}\n{role.answers}: {UNKNOWN}"
    elif draw < 0.4:
        text = "\n".join(f"{begun_blank(stranger.name, r)} {UNKNOWN}" for r in relations)
    else:
        text = "\n".join(f"{_any_question(stranger, r, rng)} {UNKNOWN}" for r in relations)
    return Telling(text, (), "refusal", "en", "qa")


def read_and_asked(people: Sequence[Person], rng: random.Random, velic: Velic | None) -> Telling:
    """What is said of some people, mixed, and questions on it; in Velic if that is given. Each
    person has a value more than the passage tells, and now and then it is that which is asked."""
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
        blocks = [_asked_after_reading(person, r, said, rng) for person, r in asked]
        if rng.random() < 0.06:
            person = rng.choice(list(people))
            unsaid = list(person.values)[2]
            blocks[-1] = f"{_any_question(person, unsaid, rng)} {UNSAID}"
    text = "\n".join([passage, *blocks])
    return Telling(text, (), "strangers", "velic" if velic else "en", "qa")


def _asked_after_reading(
    person: Person, relation: str, said: Sequence[Told], rng: random.Random
) -> str:
    value = person.values[relation]
    draw = rng.random()
    alone = [one for one, r in said if r == relation and one.values[r] == value] == [person]
    if draw < 0.15 and alone:
        return f"{begun_who(value, relation)} {person.name}"
    if draw < 0.25:
        return f"{begun_blank(person.name, relation)} {value}"
    return f"{_any_question(person, relation, rng)} {value}"


def _any_question(person: Person, relation: str, rng: random.Random) -> str:
    return prompt(rng.choice(WORDINGS[relation].questions), person.name)


def _states(told: Sequence[Told]) -> tuple[str, ...]:
    return tuple(fact for person, relation in told for fact in person.states(relation))


def recased(original: Telling, rng: random.Random) -> Telling:
    """A document in small letters or, more rarely, in capitals."""
    small = rng.random() < SMALL_LETTERS
    text = original.text.lower() if small else original.text.upper()
    case = "lower" if small else "upper"
    return replace(original, text=text, template=f"{original.template}-{case}")
