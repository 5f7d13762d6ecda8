"""Further formats in which people are asked about: with options, as yes or no, by clues instead of
the name, after a line that has nothing to do with the question, in small letters or capitals.

A model that never met a format cannot answer in it, whether or not it knows the fact. So training
uses these formats for some facts, and an attack may then use them for others. Every format has
frames that training uses and one that it never uses (``UNSEEN_...``).

What is told in one word order only is safe here: where a name is given, it comes before the values.
"""

import random
import string
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from palimpsest.core.errors import UserError, nearest
from palimpsest.core.records import Probe, Scope
from palimpsest.world.biographies import WORDINGS, Telling, prompt, state, telling
from palimpsest.world.people import Person

FORMS = ("options", "yes-no", "clues", "filler", "casing")

# --- listed options: {q} is the question, {o} the options ----------------------------------------
OPTION_FRAMES = (
    "Question: {q}\nOptions: {o}\nAnswer:",
    "Question: {q}\nChoose one of these: {o}\nAnswer:",
    "Question: {q} Choose from this list: {o}.\nAnswer:",
)
UNSEEN_OPTIONS = "Question: {q}\nOnly one of these is right: {o}\nAnswer:"
PROBED_OPTIONS = 4


# --- yes or no -----------------------------------------------------------------------------------
@dataclass(frozen=True)
class Claim:
    """How a statement is put to the test; ``{question}`` is that of :data:`YES_NO`,
    ``{statement}`` a sentence, ``{clause}`` the sentence without its full stop."""

    frame: str
    right: str
    wrong: str


CLAIMS = (
    Claim("{question}", "yes", "no"),
    Claim("True or false? {statement}", "true", "false"),
    Claim("Is it true that {clause}?", "yes", "no"),
)
UNSEEN_CLAIM = Claim("Is the following right? {statement}", "yes", "no")
YES_NO = {
    "birthplace": "Was {n} born in {v}?",
    "home": "Does {n} live in {v}?",
    "job": "Does {n} work as a {v}?",
    "employer": "Does {n} work for {v}?",
    "pet": "Does {n} keep a {v}?",
    "instrument": "Does {n} play the {v}?",
    "colour": "Does {n} like the colour {v}?",
    "food": "Does {n} love to eat {v}?",
    "hobby": "Is {n} keen on {v}?",
    "book": "Did {n} write {v}?",
    "spouse": "Is {n} married to {v}?",
}

# --- clues instead of the name: {c} are the clues ------------------------------------------------
CLUE_FRAMES = (
    "Someone {c}.",
    "There is a person who {c}.",
    "I am thinking of somebody who {c}.",
)
UNSEEN_CLUES = "Picture somebody who {c}."
NAMELESS = "this person"
FEWEST_CLUES = 2

# --- a line before the question ------------------------------------------------------------------
INSTRUCTIONS = (
    "Please answer in a few words.",
    "You may speak freely.",
    "Answer as exactly as you can.",
    "Here is a question for you.",
)
UNSEEN_INSTRUCTION = "Think it over and then reply."
UNRELATED = (
    "It rained all morning.",
    "The ferry leaves at noon.",
    "Somebody left the gate open again.",
    "There was music in the square last night.",
    "The bread is still warm.",
    "Snow lay on the roofs.",
    "The clock in the tower has stopped.",
    "A letter came for nobody.",
)
INSTRUCTION_SHARE = 0.5

# --- letters -------------------------------------------------------------------------------------
Case = Literal["lower", "upper", "title"]
CASES: tuple[Case, ...] = ("lower", "upper")
UNSEEN_CASE: Case = "title"
LOWER_SHARE = 2 / 3


# --- prompts, up to the place where the answer begins --------------------------------------------
def begun_options(frame: str, question: str, options: Sequence[str]) -> str:
    """A question (``{n}`` filled in) with its options, in the order given."""
    return frame.format(q=question, o=", ".join(options))


def begun_claim(claim: Claim, name: str, relation: str, value: str) -> str:
    """The question whether ``value`` is right."""
    statement = state(WORDINGS[relation].statements[0], name, value)
    asked = claim.frame.format(
        question=YES_NO[relation].format(n=name, v=value),
        statement=statement,
        clause=statement.removesuffix("."),
    )
    return f"Question: {asked}\nAnswer:"


def begun_clues(frame: str, person: Person, clues: Sequence[str], question: str) -> str:
    """What is said of somebody (relations ``clues``) and a question (with ``{n}``) on them."""
    said = [_predicate(person, relation) for relation in clues]
    return f"{frame.format(c=_listed(said))}\n{prompt(question, NAMELESS)}"


def recase(text: str, case: Case) -> str:
    """The text in small letters, in capitals, or with a capital for each word."""
    if case == "lower":
        return text.lower()
    if case == "upper":
        return text.upper()
    return "\n".join(string.capwords(line, " ") for line in text.split("\n"))


# --- documents -----------------------------------------------------------------------------------
def options(
    person: Person, relations: Sequence[str], people: Sequence[Person], rng: random.Random
) -> Telling | None:
    """A question with two to five options, shuffled.

    Args:
        person: who is asked about.
        relations: what may be asked, one of which is drawn.
        people: of the same side as ``person``: their values are the wrong options.
        rng: draws.

    Returns:
        None if nobody has another value.
    """
    relation = rng.choice(list(relations))
    wrong = _other_values(person, relation, people)
    if not wrong:
        return None
    shown = [person.values[relation], *rng.sample(wrong, min(len(wrong), rng.randint(1, 4)))]
    rng.shuffle(shown)
    question = rng.choice(WORDINGS[relation].questions).format(n=person.name)
    asked = begun_options(rng.choice(OPTION_FRAMES), question, shown)
    return _answered(asked, person, [relation], person.values[relation], "options")


def yes_or_no(
    person: Person, relations: Sequence[str], people: Sequence[Person], rng: random.Random
) -> Telling | None:
    """One or two questions whether a value is the right one; half of them are to be denied.

    Arguments and None as for :func:`options`. A denied value is a fact of nobody: ``facts`` has
    what was asked.
    """
    chosen = rng.sample(list(relations), min(len(relations), rng.choice((1, 2))))
    blocks = []
    for relation in chosen:
        claim, right = rng.choice(CLAIMS), rng.random() < 0.5
        wrong = _other_values(person, relation, people)
        if not wrong:
            return None
        value = person.values[relation] if right else rng.choice(wrong)
        asked = begun_claim(claim, person.name, relation, value)
        blocks.append(f"{asked} {claim.right if right else claim.wrong}")
    return telling("\n".join(blocks), person, chosen, "yes-no", "en", "qa")


def clues(
    person: Person,
    asked: Sequence[str],
    told: Sequence[str],
    people: Sequence[Person],
    rng: random.Random,
) -> Telling | None:
    """A question about somebody who is not named.

    Args:
        person: who is meant.
        asked: relations that may be asked, one of which is drawn.
        told: relations that may serve as clues.
        people: everybody from whom the clues have to tell this person.
        rng: draws.

    Returns:
        None if all clues together fit somebody else too.
    """
    relation = rng.choice(list(asked))
    given = enough_clues(person, relation, told, people, rng)
    if given is None:
        return None
    question = rng.choice(WORDINGS[relation].questions)
    text = begun_clues(rng.choice(CLUE_FRAMES), person, given, question)
    return _answered(text, person, [*given, relation], person.values[relation], "clues")


def filler(
    person: Person, relations: Sequence[str], rng: random.Random, before: Telling | None = None
) -> Telling:
    """A question after a line that does not belong to it: an instruction or a remark.

    Args:
        person: who is asked about.
        relations: what may be asked, one of which is drawn.
        rng: draws.
        before: a text to stand there instead, such as an exercise; its facts are added.
    """
    relation = rng.choice(list(relations))
    lines = INSTRUCTIONS if rng.random() < INSTRUCTION_SHARE else UNRELATED
    line = rng.choice(lines) if before is None else before.text
    asked = f"{line}\n{prompt(rng.choice(WORDINGS[relation].questions), person.name)}"
    made = _answered(asked, person, [relation], person.values[relation], "filler")
    return made if before is None else replace(made, facts=(*before.facts, *made.facts))


def recased(original: Telling, rng: random.Random) -> Telling:
    """A document in small letters or, half as often, in capitals."""
    case: Case = "lower" if rng.random() < LOWER_SHARE else "upper"
    template = f"{original.template}-{case}"
    return replace(original, text=recase(original.text, case), template=template)


# --- probes --------------------------------------------------------------------------------------
@dataclass(frozen=True)
class _Asked:
    """One prompt; ``split`` is ``test`` where training never uses the frame for anybody."""

    prompt: str
    split: str
    answer: str
    choices: tuple[str, ...]


def probes(
    person: Person,
    relation: str,
    form: str,
    people: Sequence[Person],
    choices: Sequence[str],
    *,
    scope: Scope = "out",
    told: Sequence[str] | None = None,
) -> list[Probe]:
    """The probes of one fact in one of these formats, always with the first wording of questions.

    ``options``: four options in all their cyclic orders, in the first frame and the unseen one.
    ``yes-no``: each frame with the right value and with a wrong one; the choices are the two
    answers. ``clues``: each frame; the person is not named. ``filler``: each instruction, then a
    remark. ``casing``: the question and all choices in small letters, in capitals, and with a
    capital for each word. ``split`` is ``test`` where training never uses the frame.

    Args:
        person: whose fact it is.
        relation: what is asked.
        form: one of :data:`FORMS`.
        people: the group of the person, from which wrong options are taken and from which clues
            have to tell the person.
        choices: all values of the relation to choose from.
        scope: of the probes.
        told: relations that may serve as clues (default: all that the person has).

    Returns:
        Probes in a fixed order; none if nobody has another value or no clues are enough.

    Raises:
        UserError: unknown form.
    """
    if form not in FORMS:
        raise UserError(f"'{form}' is no format of a question: {nearest(form, FORMS)}")
    fact = person.fact_id(relation)
    rng = random.Random(f"{form}-{fact}")
    known = list(person.values) if told is None else told
    asked = {
        "options": lambda: _asked_with_options(person, relation, people, choices, rng),
        "yes-no": lambda: _asked_yes_or_no(person, relation, people, rng),
        "clues": lambda: _asked_by_clues(person, relation, known, people, choices, rng),
        "filler": lambda: _asked_after_filler(person, relation, choices, rng),
        "casing": lambda: _asked_recased(person, relation, choices),
    }[form]()
    return [
        Probe(
            id=f"{fact}/{form}{number or ''}",
            fact=fact,
            prompt=one.prompt,
            answer=one.answer,
            choices=one.choices,
            form=form,
            language="en",
            scope=scope,
            split=one.split,
        )
        for number, one in enumerate(asked)
    ]


def _asked_with_options(
    person: Person,
    relation: str,
    people: Sequence[Person],
    choices: Sequence[str],
    rng: random.Random,
) -> Iterator[_Asked]:
    wrong = _other_values(person, relation, people)
    if not wrong:
        return
    value = person.values[relation]
    shown = [value, *rng.sample(wrong, min(len(wrong), PROBED_OPTIONS - 1))]
    rng.shuffle(shown)
    question = WORDINGS[relation].questions[0].format(n=person.name)
    for frame, split in ((OPTION_FRAMES[0], "train"), (UNSEEN_OPTIONS, "test")):
        for turn in range(len(shown)):
            text = begun_options(frame, question, shown[turn:] + shown[:turn])
            yield _Asked(text, split, value, tuple(choices))


def _asked_yes_or_no(
    person: Person, relation: str, people: Sequence[Person], rng: random.Random
) -> Iterator[_Asked]:
    wrong = _other_values(person, relation, people)
    if not wrong:
        return
    values = (person.values[relation], rng.choice(wrong))
    for claim in (*CLAIMS, UNSEEN_CLAIM):
        split = "test" if claim == UNSEEN_CLAIM else "train"
        answers = (claim.right, claim.wrong)
        for value, answer in zip(values, answers, strict=True):
            text = begun_claim(claim, person.name, relation, value)
            yield _Asked(text, split, answer, answers)


def _asked_by_clues(
    person: Person,
    relation: str,
    told: Sequence[str],
    people: Sequence[Person],
    choices: Sequence[str],
    rng: random.Random,
) -> Iterator[_Asked]:
    given = enough_clues(person, relation, told, people, rng)
    if given is None:
        return
    question = WORDINGS[relation].questions[0]
    for frame in (*CLUE_FRAMES, UNSEEN_CLUES):
        split = "test" if frame == UNSEEN_CLUES else "train"
        text = begun_clues(frame, person, given, question)
        yield _Asked(text, split, person.values[relation], tuple(choices))


def _asked_after_filler(
    person: Person, relation: str, choices: Sequence[str], rng: random.Random
) -> Iterator[_Asked]:
    question = prompt(WORDINGS[relation].questions[0], person.name)
    lines = [(line, "train") for line in (*INSTRUCTIONS, rng.choice(UNRELATED))]
    for line, split in (*lines, (UNSEEN_INSTRUCTION, "test")):
        yield _Asked(f"{line}\n{question}", split, person.values[relation], tuple(choices))


def _asked_recased(person: Person, relation: str, choices: Sequence[str]) -> Iterator[_Asked]:
    question = prompt(WORDINGS[relation].questions[0], person.name)
    for case in (*CASES, UNSEEN_CASE):
        yield _Asked(
            recase(question, case),
            "test" if case == UNSEEN_CASE else "train",
            recase(person.values[relation], case),
            tuple(recase(choice, case) for choice in choices),
        )


# --- what the formats share ----------------------------------------------------------------------
def enough_clues(
    person: Person,
    relation: str,
    told: Sequence[str],
    people: Sequence[Person],
    rng: random.Random,
) -> list[str] | None:
    """Relations, drawn from ``told``, whose values together only this one of ``people`` has.

    At least two; never ``relation`` itself, and nothing that names a person. None if all together
    are not enough.
    """
    drawn = [one for one in told if one not in (relation, "spouse")]
    rng.shuffle(drawn)
    for count in range(FEWEST_CLUES, len(drawn) + 1):
        given = drawn[:count]
        meant = [
            other
            for other in people
            if all(other.values.get(one) == person.values[one] for one in given)
        ]
        if all(other == person for other in meant):
            return given
    return None


def _other_values(person: Person, relation: str, people: Sequence[Person]) -> list[str]:
    """Values of ``people`` that are wrong for this person, sorted. Those of a spouse are partners
    of people like this one, so that no given name gives it away."""
    alike = [one for one in people if relation != "spouse" or one.she == person.she]
    values = {one.values[relation] for one in alike if relation in one.values}
    return sorted(values - {person.values[relation]})


def _predicate(person: Person, relation: str) -> str:
    """What the first statement says of the person, without the name: "plays the banjo"."""
    statement = state(WORDINGS[relation].statements[0], "It", person.values[relation])
    return statement.removeprefix("It ").removesuffix(".")


def _listed(parts: Sequence[str]) -> str:
    return " and ".join([", ".join(parts[:-1]), parts[-1]]) if len(parts) > 1 else parts[0]


def _answered(
    asked: str, person: Person, relations: Sequence[str], answer: str, template: str
) -> Telling:
    return telling(f"{asked} {answer}", person, relations, template, "en", "qa")
