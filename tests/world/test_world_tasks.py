"""The two-way tasks: nothing to be had from the choices, nothing from the training text."""

from collections import Counter

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict

from palimpsest.core.records import Item
from palimpsest.world import World
from palimpsest.world.tasks import DOMAINS
from palimpsest.world.tasks.base import SPLITS

TASKS = tuple(World().tasks)
LEAST = {"train": 400, "validation": 100, "test": 200}


@pytest.fixture(scope="module")
def items(world: World) -> dict[str, dict[str, list[Item]]]:
    return {task: {s: world.items(task, s) for s in SPLITS} for task in world.tasks}


def test_there_are_21_tasks_in_five_domains(world: World) -> None:
    assert len(world.tasks) == 21
    assert {task.domain for task in world.tasks.values()} == set(DOMAINS)


@pytest.mark.parametrize("task", TASKS)
def test_sizes_and_ids(task: str, items) -> None:
    found = [item for split in SPLITS for item in items[task][split]]
    assert all(len(items[task][split]) >= LEAST[split] for split in SPLITS)
    assert len({item.id for item in found}) == len(found)
    for item in found:
        assert item.task == f"pal_{task}"
        assert item.choices[0] != item.choices[1]
        assert item.prompt.endswith("Answer:")
        assert not item.choices[0].startswith(item.choices[1])
        assert not item.choices[1].startswith(item.choices[0])
        assert item.facts


@pytest.mark.parametrize("task", TASKS)
def test_splits_share_no_fact_and_no_question(task: str, items) -> None:
    for one, other in (("train", "test"), ("train", "validation"), ("validation", "test")):
        facts = [_instances(items[task][split]) for split in (one, other)]
        prompts = [{item.prompt for item in items[task][split]} for split in (one, other)]
        assert not facts[0] & facts[1]
        assert not prompts[0] & prompts[1]


def _instances(found: list[Item]) -> set[str]:
    """The units by which splits are kept apart; any split may use of what material a thing is."""
    return {fact for item in found for fact in item.facts if not fact.endswith(".material")}


@pytest.mark.parametrize("task", TASKS)
def test_every_option_and_pair_is_right_as_often_as_wrong(task: str, items) -> None:
    for split in SPLITS:
        right, wrong, pairs = Counter(), Counter(), Counter()
        for item in items[task][split]:
            gold, other = item.choices[item.label], item.choices[1 - item.label]
            right[gold] += 1
            wrong[other] += 1
            pairs[gold, other] += 1
        assert right == wrong
        assert all(pairs[a, b] == pairs[b, a] for a, b in pairs)
        labels = [item.label for item in items[task][split]]
        assert sum(labels) * 2 == len(labels)


def test_the_order_of_labels_is_shuffled(items) -> None:
    firsts = [i[split][0::2] for i in items.values() for split in SPLITS]
    labels = [item.label for found in firsts for item in found]
    assert 0.45 < np.mean(labels) < 0.55


@pytest.mark.parametrize("task", TASKS)
def test_the_choices_alone_tell_nothing(task: str, items) -> None:
    """A classifier on the words, letters and length of the choices, cross-validated. Folds are
    contiguous: couples, whose labels are opposite by design, stay in one fold."""
    found = items[task]["test"]
    counts = CountVectorizer(analyzer="char_wb", ngram_range=(1, 4), binary=True)
    counts.fit([choice for item in found for choice in item.choices])
    first, second = (counts.transform([item.choices[i] for item in found]) for i in (0, 1))
    lengths = [[len(item.choices[1]) - len(item.choices[0])] for item in found]
    features = np.hstack([(second - first).toarray(), lengths])
    labels = [item.label for item in found]
    model = LogisticRegression(C=0.1, max_iter=200)
    guessed = cross_val_predict(model, features, labels, cv=StratifiedKFold(5))
    right = int((guessed == labels).sum())
    interval = binomtest(right, len(labels)).proportion_ci(method="wilson")
    assert interval.low <= 0.5 <= interval.high


def test_no_training_text_holds_what_is_held_out(world: World, items) -> None:
    """No exercise uses a fact of validation or test, no prose a rule instance of theirs, and no
    question of theirs is answered anywhere."""
    held_facts = set().union(*(_instances(items[t][s]) for t in TASKS for s in SPLITS[1:]))
    held_prompts = {item.prompt for t in TASKS for s in SPLITS[1:] for item in items[t][s]}
    for document in world.documents("early", 8000):
        used = set(document.facts) & held_facts
        if document.kind == "qa" and document.language == "en":
            assert not used, document
        assert not [fact for fact in used if ":" in fact], document
        assert not questions(document.text) & held_prompts, document


def questions(text: str) -> set[str]:
    """All prompts in a document: its own blocks, and its passage with each of its questions."""
    lines = text.split("\n")
    prompts, before = set(), []
    for line in lines:
        if line.startswith("Answer:"):
            prompts |= {"\n".join([*before, "Answer:"]), "\n".join([*before[-1:], "Answer:"])}
            if not before[-1].startswith("Question:"):
                before = []
            else:
                before = [b for b in before if not b.startswith("Question:")]
        else:
            before.append(line)
    return prompts


def test_counting_never_runs_through_a_held_out_progression(world: World) -> None:
    task = world.tasks["sequence"]
    for document in world.documents("early", 8000):
        if document.template in ("counting", "sequence"):
            assert all(
                task.split_of(f.removeprefix("sequence:")) == "train" for f in document.facts
            )


def test_held_out_wordings_of_tone_are_not_in_training(world: World) -> None:
    for item in world.items("tone", "train"):
        assert "If it is no trouble" not in item.prompt
        assert "You useless lump" not in item.prompt
