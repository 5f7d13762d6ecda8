"""The same items asked in another form: tasks of shared words turned into tasks of own answers.

On a task whose answers are always the same few words one number added to a score sends every answer
one way; where the items' own texts are scored nothing can do so (random-label digest, section 6.1).
The rewriting puts the answer first and lets the item's text be scored after it:

    Question: Is the number 616 odd or even?    becomes    Answer: even
    Answer: even                                           Question: Is the number 616 odd or even?

Both pairs of an item then have the same continuation after different contexts, as in Winogrande,
and no shift of a word can favour one of them for all texts, since the probabilities of all texts
after a word add up to 1.

Tried once on ``palimpsest-m``, tuned on all tasks and then for three epochs on the true labels of
400 items of each form of seven tasks together (accuracy on 200 others): this form is learned (0.65
to 0.85 on four tasks whose own form is at 0.75 to 0.95); choosing the one of two texts to which a
word belongs less well (0.51 to 0.78), choosing it with both texts shown before less still (0.50 to
0.70). The other direction, "Is this right or wrong?" after a content answer, was not learned (0.43
to 0.55 on three tasks) and is not offered; no second wording of it was tried.
"""

import itertools
import re
from collections.abc import Sequence
from dataclasses import replace

from palimpsest.forgetting.items import TaskItems, TwoWay


def answer_first(items: TaskItems, task: str) -> TaskItems | None:
    """A task of shared words with the answer as the condition and the item's text as what is
    scored: the same items with the same ids and labels, under the name ``task``.

    What all training prompts end with, such as a line for the answer, is left out of the texts.

    Returns:
        None for a task whose answers are not shared, or where an item has no one prompt, an empty
        one, or a prompt that is nothing but the common ending.
    """
    if items.kind != "shared":
        return None
    ending = common_ending([item.pairs[0][0] for item in items.train])
    train, test = (
        [_turned(one, ending, task) for one in part] for part in (items.train, items.test)
    )
    if None in train or None in test:
        return None
    done = {"train": tuple(filter(None, train)), "test": tuple(filter(None, test))}
    return replace(items, task=task, kind="content", **done)


def common_ending(prompts: Sequence[str]) -> str:
    """What all prompts end with: whole lines, or from a space on where no line is common."""
    columns = zip(*(prompt[::-1] for prompt in prompts), strict=False)  # the shortest one ends it
    shared = itertools.takewhile(lambda signs: len(set(signs)) == 1, columns)
    ending = "".join(signs[0] for signs in shared)[::-1]
    found = re.search(r"\n", ending) or re.search(r"\s", ending)
    return ending[found.start() :] if found else ""


def _turned(item: TwoWay, ending: str, task: str) -> TwoWay | None:
    (prompt, first), (other, second) = item.pairs
    text = prompt.removesuffix(ending).strip()
    if prompt != other or not text:
        return None
    conditions = (f"Answer: {word.strip()}\n" for word in (first, second))
    one, two = ((condition, text) for condition in conditions)
    return replace(item, task=task, pairs=(one, two), kind="content")
