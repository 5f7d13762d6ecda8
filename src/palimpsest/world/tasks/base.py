"""What a two-way task is: couples of questions whose answers are each other's wrong choice.

An item is never made alone. A *couple* is two questions with the same two choices, of which one
question has the first as its right answer and the other the second. So every option, and every
pair of options, is right exactly as often as wrong, and nothing can be guessed from the choices.
"""

import hashlib
import random
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from palimpsest.core.records import Fact, Item

SPLITS = ("train", "validation", "test")
SHARES = (0.6, 0.1, 0.3)


@dataclass(frozen=True)
class Question:
    """A question in full (up to where the answer begins), its answer, and what it rests on.

    The answer may end with a line break, which then belongs to what is scored: that is how a word
    is told from a longer one that it begins. ``facts`` are ids of facts or of rule instances (such
    as ``addition:34+7``): the unit by which train, validation and test are kept apart.
    """

    prompt: str
    answer: str
    facts: tuple[str, ...]


@dataclass(frozen=True)
class Exercise:
    """A training text of a task, with the facts or rule instances it uses."""

    text: str
    facts: tuple[str, ...]
    template: str
    kind: str = "qa"


Couple = tuple[Question, Question]


class Task(ABC):
    """A family of two-way choices. Everything is a function of ``seed`` and a generator."""

    name: str
    domain: str
    space = ""  # the task whose facts or rule instances it shares, if not its own

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def split_of(self, key: str) -> str:
        """The split to which a fact or rule instance belongs, by a hash of its name."""
        digest = hashlib.sha256(f"{self.seed}|{self.space or self.name}|{key}".encode()).digest()
        point = int.from_bytes(digest[:6], "big") / 2**48
        if point < SHARES[0]:
            return "train"
        return "validation" if point < SHARES[0] + SHARES[1] else "test"

    def facts(self) -> Sequence[Fact]:
        """Facts of commonsense that the task rests on (none for tasks on rules)."""
        return ()

    def statements(self, rng: random.Random) -> Exercise | None:
        """A text that states facts of any split in prose; None if the task has nothing to state."""
        return None

    @abstractmethod
    def couple(self, split: str, rng: random.Random) -> Couple | None:
        """A couple of this split, or None if the draw found none (the caller draws again)."""

    def exercise(self, rng: random.Random) -> Exercise | None:
        """A training text: questions of the train split with their answers."""
        count = rng.choice((1, 2, 2, 3))
        asked: list[Question] = []
        # Drawn until there are enough: a task whose draws often fail must not come more rarely.
        while len(asked) < count:
            couple = self.couple("train", rng)
            if couple:
                asked.append(couple[rng.randrange(2)])
        return answered(asked, self.name)


def ask(question: str, before: str = "") -> str:
    """The prompt of a question: what there is to read first, the question, ``Answer:``."""
    return (
        f"{before}\nQuestion: {question}\nAnswer:" if before else f"Question: {question}\nAnswer:"
    )


def answered(questions: Iterable[Question], template: str) -> Exercise:
    """Questions with their answers as one text."""
    asked = list(questions)
    text = "\n".join(f"{question.prompt} {question.answer.rstrip()}" for question in asked)
    return Exercise(text, tuple(fact for question in asked for fact in question.facts), template)


def read_then_asked(passage: str, questions: Sequence[Question], template: str) -> Exercise:
    """A passage, read once, with questions on it; each question's prompt begins with it."""
    blocks = [
        f"{question.prompt.removeprefix(passage)[1:]} {question.answer}" for question in questions
    ]
    text = "\n".join([passage, *blocks])
    return Exercise(text, tuple(fact for q in questions for fact in q.facts), template)


def units(facts: Iterable[str]) -> set[str]:
    """Those of the facts of an item by which splits are kept apart: all but what a thing is made
    of, which is said of every thing and asked of none."""
    return {fact for fact in facts if not fact.endswith(".material")}


def _nested(one: str, other: str) -> bool:
    """Whether one answer begins the other: its log-probability could then never be the smaller."""
    return one.startswith(other) or other.startswith(one)


def items(task: Task, split: str, size: int) -> Iterator[Item]:
    """At most ``size`` items of one split: distinct couples, one after the other.

    Both items of a couple list the choices in the same (random) order, so their labels are 0 and
    1; which of the two comes first is random too.
    """
    rng = random.Random(f"items-{task.seed}-{task.name}-{split}")
    seen: set[tuple[str, frozenset[str]]] = set()
    made = failures = 0
    while made < size and failures < 3000:
        couple = task.couple(split, rng)
        if couple is None:
            failures += 1
            continue
        options = frozenset(question.answer for question in couple)
        keys = [(question.prompt, options) for question in couple]
        if keys[0] in seen or keys[1] in seen or keys[0] == keys[1] or _nested(*options):
            failures += 1
            continue
        failures = 0
        seen |= set(keys)
        choices = [question.answer for question in couple]
        rng.shuffle(choices)
        pair = list(couple)
        rng.shuffle(pair)
        for question in pair:
            yield Item(
                id=f"{task.name}-{split}-{made:04d}",
                task=f"pal_{task.name}",
                prompt=question.prompt,
                choices=(choices[0], choices[1]),
                label=choices.index(question.answer),
                facts=question.facts,
                split=split,
            )
            made += 1
