"""Two-way items for random-label forgetting, from any multiple-choice task of lm-eval.

The protocol of arXiv:2409.02228 (as its claim sheet states it) keeps of every question the right
answer and one wrong answer drawn at random, so that chance is 1/2 everywhere, removes what occurs
in training and test, and caps the sizes. What it leaves open is settled here: the wrong answer is
drawn once for each item, and everything that is drawn for an item is a function of the seed and the
item's id alone, so that no other item, order or cap moves it.
"""

import hashlib
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from palimpsest.core.errors import DataError, UserError
from palimpsest.core.tasks import Question, read_questions

Kind = Literal["shared", "content"]

TRAIN_CAP, TEST_CAP = 1000, 500  # the paper's cap on training items; its test cap is not known
FEWEST = 32  # below, a share of the items has a standard error of 9 points and more
MOST_READ = 20_000  # documents of a split that are worded at all; some tasks have 400,000
# A few questions without a usable answer are found in many large sets. More of them mean that the
# task is not what it is taken for.
MOST_UNUSABLE = 0.02
UNBALANCED = 0.7  # share of the commoner label from which a constant answer looks like a skill


@dataclass(frozen=True)
class TwoWay:
    """A question with two answers, one of them right.

    Attributes:
        id: the item's id, unique in its task.
        task: the task's name.
        pairs: the (context, continuation) of either answer. Usually the context is the same; in
            tasks shaped like Winogrande the continuation is.
        label: 0 or 1, the index of the right answer's pair.
        kind: "shared" if the task answers all questions with the same few words (yes and no,
            letters), "content" if the answers are the questions' own.
    """

    id: str
    task: str
    pairs: tuple[tuple[str, str], tuple[str, str]]
    label: Literal[0, 1]
    kind: Kind


@dataclass(frozen=True)
class TaskItems:
    """A task's items, and what was done to get them.

    Attributes:
        task: its name.
        kind: see :class:`TwoWay`.
        train, test: items with no question in common, in an order drawn with the seed: the first
            100 of 1000 are those that a cap of 100 gives.
        ways: most choices that a question had.
        wordings: number of different choices in all questions.
        duplicates: questions that were left out because they occur twice in their split.
        overlapping: test questions left out because they occur in training.
        unusable: questions left out because they have no label, an empty right answer, or no
            wrong answer that differs from it.
    """

    task: str
    kind: Kind
    train: tuple[TwoWay, ...]
    test: tuple[TwoWay, ...]
    ways: int
    wordings: int
    duplicates: int
    overlapping: int
    unusable: int

    @property
    def remarks(self) -> tuple[str, ...]:
        """What a reader of results with these items should know: sentences, none if nothing."""
        found = []
        for split, items in (("training", self.train), ("test", self.test)):
            share = label_share(items)
            commoner = max(share, 1 - share)
            if commoner >= UNBALANCED:
                found.append(
                    f"{commoner:.0%} of the {split} items of {self.task} have the label "
                    f"{int(share > 0.5)}: so much a constant answer gets right."
                )
        for count, what in (
            (self.unusable, "without a usable label or answers"),
            (self.duplicates, "that occurred before in their split"),
            (self.overlapping, "of the test that occur in training"),
        ):
            if count:
                found.append(f"Left out of {self.task}: {count} {what}.")
        return tuple(found)

    def row(self) -> dict[str, object]:
        """The counts, for a table with a row for each task; ``train_share`` and ``test_share`` are
        the shares of items whose label is 1."""
        return {
            "task": self.task,
            "kind": self.kind,
            "ways": self.ways,
            "wordings": self.wordings,
            "train": len(self.train),
            "test": len(self.test),
            "train_share": label_share(self.train),
            "test_share": label_share(self.test),
            "duplicates": self.duplicates,
            "overlapping": self.overlapping,
            "unusable": self.unusable,
        }


def draw(seed: int, *names: str) -> int:
    """A number from 0 to 2⁶⁴ − 1 that looks random and depends on ``seed`` and ``names`` alone."""
    text = "\0".join((str(seed), *names))
    return int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:8], "big")


def label_share(items: Sequence[TwoWay]) -> float:
    """Share of the items whose label is 1."""
    return sum(item.label for item in items) / len(items)


def load_items(
    tasks: Sequence[str | dict[str, Any]],
    include_path: Path | None = None,
    *,
    defaults: bool = False,
    train_cap: int = TRAIN_CAP,
    test_cap: int = TEST_CAP,
    seed: int = 0,
) -> dict[str, TaskItems]:
    """Two-way items of several tasks, by name; groups and tags stand for their tasks.

    In content tasks the right answer comes first or second by a coin for each item, so that its
    place tells nothing (in SciQ it is always the last). In tasks with shared words the answers
    keep the task's order, and the commonest one where that changes from item to item, so that in
    a task with two words a label always means the same word.

    Args:
        tasks: names in ``include_path``, or configs.
        include_path: folder of lm-eval YAML files; None is ``data/tasks``.
        defaults: look names that the folder lacks up among lm-eval's own tasks.
        train_cap, test_cap: most items of each split, drawn with the seed.
        seed: of all draws.

    Raises:
        UserError: an unknown task; one that is no multiple choice or has no training split; a cap
            below :data:`FEWEST`.
        DataError: too few items, too many without a usable label or answers, or files that cannot
            be read.
    """
    for name, cap in (("train_cap", train_cap), ("test_cap", test_cap)):
        if cap < FEWEST:
            raise UserError(f"{name} is {cap}; at least {FEWEST} items are needed for a measure.")
    read = read_questions(tasks, include_path, defaults=defaults, most=MOST_READ, seed=seed)
    return {
        task: _task_items(task, splits["train"], splits["test"], train_cap, test_cap, seed)
        for task, splits in read.items()
    }


def load_task_items(
    task: str | dict[str, Any],
    include_path: Path | None = None,
    *,
    defaults: bool = False,
    train_cap: int = TRAIN_CAP,
    test_cap: int = TEST_CAP,
    seed: int = 0,
) -> TaskItems:
    """:func:`load_items` for one task.

    Raises:
        UserError: see there; or the name is that of a group or tag of several tasks.
    """
    found = load_items(
        [task],
        include_path,
        defaults=defaults,
        train_cap=train_cap,
        test_cap=test_cap,
        seed=seed,
    )
    if len(found) > 1:
        raise UserError(f"'{task}' stands for {len(found)} tasks: {', '.join(found)}. Give one.")
    return next(iter(found.values()))


# --- from questions to items --------------------------------------------------------------------


def _task_items(
    task: str,
    train: Sequence[Question],
    test: Sequence[Question],
    train_cap: int,
    test_cap: int,
    seed: int,
) -> TaskItems:
    questions = [*train, *test]
    usable = {
        split: _usable(task, split, found) for split, found in (("train", train), ("test", test))
    }
    wordings = {_plain(choice) for one in questions for choice in one.choices}
    ways = max(len(one.choices) for one in questions)
    kind: Kind = "shared" if len(wordings) <= ways else "content"
    ranks = _ranks(questions) if kind == "shared" else None
    seen = {_key(one) for one in usable["train"]}
    own = {split: _without_repeats(found) for split, found in usable.items()}
    fresh = [one for one in own["test"] if _key(one) not in seen]
    overlapping = len(own["test"]) - len(fresh)
    _check_enough(task, "training", len(own["train"]), len(train), 0)
    _check_enough(task, "test", len(fresh), len(test), overlapping)
    return TaskItems(
        task=task,
        kind=kind,
        train=_drawn(task, own["train"], ranks, train_cap, seed),
        test=_drawn(task, fresh, ranks, test_cap, seed),
        ways=ways,
        wordings=len(wordings),
        duplicates=sum(len(usable[split]) - len(own[split]) for split in usable),
        overlapping=overlapping,
        unusable=len(questions) - sum(map(len, usable.values())),
    )


def _usable(task: str, split: str, questions: Sequence[Question]) -> list[Question]:
    """The questions of which two answers can be kept.

    Raises:
        DataError: more than :data:`MOST_UNUSABLE` of them are not.
    """
    faults = [(one, fault) for one in questions if (fault := _fault(one)) is not None]
    if len(faults) > MOST_UNUSABLE * len(questions):
        (worst, count), *_ = Counter(fault for _, fault in faults).most_common()
        example = next(one.id for one, fault in faults if fault == worst)
        raise DataError(
            f"{len(faults)} of the {len(questions)} items of the split '{split}' of the task "
            f"'{task}' cannot be used; {count} of them, such as '{example}', {worst}. Give every "
            "item a label and two answers that differ, or choose another split or task."
        )
    faulty = {one.id for one, _ in faults}
    return [one for one in questions if one.id not in faulty]


def _fault(question: Question) -> str | None:
    """Why a question cannot be used, or None."""
    if not question.right:
        return "have no label that names one of their choices"
    if not _plain(question.choices[question.right[0]]):
        return "have an empty right answer"
    if not _wrong(question):
        return "have no wrong answer that is neither empty nor the same as the right one"
    return None


def _wrong(question: Question) -> list[int]:
    """Indices of the wrong answers that can be told from the right ones."""
    right = {_plain(question.choices[index]) for index in question.right}
    plain = [_plain(choice) for choice in question.choices]
    return [index for index, choice in enumerate(plain) if choice and choice not in right]


def _plain(text: str) -> str:
    return " ".join(text.split())


def _key(question: Question) -> tuple[str, ...]:
    """What makes two questions the same: contexts and choices, in whatever order, but for case
    and spaces. Punctuation counts: 2 + 3 is not 2 - 3."""
    texts = (f"{context}\n{continuation}" for context, continuation in question.pairs)
    return tuple(sorted(_plain(unicodedata.normalize("NFC", text).casefold()) for text in texts))


def _without_repeats(questions: Sequence[Question]) -> list[Question]:
    """The first of questions that are the same."""
    return list({_key(one): one for one in reversed(questions)}.values())[::-1]


def _check_enough(task: str, split: str, left: int, before: int, overlapping: int) -> None:
    if left >= FEWEST:
        return
    lost = f" ({overlapping} were left out because they occur in training)" if overlapping else ""
    raise DataError(
        f"The task '{task}' has {left} {split} items that can be used of {before}{lost}; at least "
        f"{FEWEST} are needed. Give it more items, or choose another task."
    )


def _ranks(questions: Sequence[Question]) -> dict[str, int]:
    """Shared words in the order in which most questions that have all of them list them."""
    ways = max(len(one.choices) for one in questions)
    orders = Counter(
        tuple(_plain(choice) for choice in one.choices)
        for one in questions
        if len(one.choices) == ways
    )
    words = min(orders, key=lambda order: (-orders[order], order))
    return {word: place for place, word in enumerate(words)}


def _drawn(
    task: str,
    questions: Sequence[Question],
    ranks: dict[str, int] | None,
    cap: int,
    seed: int,
) -> tuple[TwoWay, ...]:
    """The first ``cap`` in the order of the draw; ``ranks`` of shared words, None if content."""
    order = sorted(questions, key=lambda one: (draw(seed, "order", task, one.id), one.id))
    return tuple(_two_way(task, one, ranks, seed) for one in order[:cap])


def _two_way(task: str, question: Question, ranks: dict[str, int] | None, seed: int) -> TwoWay:
    right, others = question.right[0], _wrong(question)
    wrong = others[draw(seed, "wrong answer", task, question.id) % len(others)]
    if ranks is None:
        second = draw(seed, "place", task, question.id) % 2 == 1
    else:
        places = [ranks[_plain(question.choices[index])] for index in (right, wrong)]
        second = places[0] > places[1]
    pairs = (question.pairs[right], question.pairs[wrong])
    return TwoWay(
        id=question.id,
        task=task,
        pairs=(pairs[1], pairs[0]) if second else pairs,
        label=1 if second else 0,
        kind="content" if ranks is None else "shared",
    )
