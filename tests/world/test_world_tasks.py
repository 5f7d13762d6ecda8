"""The two-way tasks: nothing to be had from the choices, nothing from the training text."""

import re
from collections import Counter, defaultdict

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, cross_val_predict

from palimpsest.core.records import Document, Item
from palimpsest.world import World, lexicon
from palimpsest.world.stream import PRACTICE_FROM
from palimpsest.world.tasks import DOMAINS
from palimpsest.world.tasks.base import SPLITS, units
from palimpsest.world.tasks.language import Agreement
from palimpsest.world.tasks.mathematics import in_words

TASKS = tuple(World().tasks)
LEAST = {"train": 1000, "validation": 200, "test": 500}
DOCUMENTS = 10_000  # of either phase of the stream


@pytest.fixture(scope="module")
def documents(world: World) -> list[Document]:
    """Training texts of both phases."""
    return [
        document
        for first in (0, PRACTICE_FROM)
        for document in world.documents("early", DOCUMENTS, first=first)
    ]


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
        assert "Answer:" in item.prompt.splitlines()[-1]
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
    return units(fact for item in found for fact in item.facts)


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
    """A classifier on the words, letters and length of the choices, cross-validated; couples, whose
    labels are opposite by design, stay in one fold."""
    found = items[task]["test"]
    counts = CountVectorizer(analyzer="char_wb", ngram_range=(1, 4), binary=True)
    counts.fit([choice for item in found for choice in item.choices])
    first, second = (counts.transform([item.choices[i] for item in found]) for i in (0, 1))
    lengths = [[len(item.choices[1]) - len(item.choices[0])] for item in found]
    features = np.hstack([(second - first).toarray(), lengths])
    labels = [item.label for item in found]
    model = LogisticRegression(C=0.1, max_iter=200)
    couples = np.arange(len(found)) // 2
    guessed = cross_val_predict(model, features, labels, groups=couples, cv=GroupKFold(5))
    right = int((guessed == labels).sum())
    interval = binomtest(right, len(labels)).proportion_ci(method="wilson")
    assert interval.low <= 0.5 <= interval.high


@pytest.mark.parametrize(
    ("task", "floor"), [("rc_what", 0.79), ("nli", 0.73), ("rc_where", 0.69), ("temporal", 0.61)]
)
def test_the_short_cut_of_the_worlds_page(task: str, floor: float, items) -> None:
    """Choosing what the passage mentions, and else guessing, is as good as book/world.md says."""
    scores = []
    for item in items[task]["test"]:
        said = [choice.split(" is ")[-1] in item.prompt for choice in item.choices]
        if task == "temporal":
            said = [choice.split(" ", 1)[1] in item.prompt for choice in item.choices]
        scores.append(float(said[item.label]) if said[0] != said[1] else 0.5)
    assert np.mean(scores) == pytest.approx(floor, abs=0.012)


def test_no_training_text_holds_what_is_held_out(world: World, items, documents) -> None:
    """No exercise uses a fact of validation or test, no prose a rule instance of theirs, and no
    question of theirs is answered anywhere."""
    held_facts = set().union(*(_instances(items[t][s]) for t in TASKS for s in SPLITS[1:]))
    held_prompts = {item.prompt for t in TASKS for s in SPLITS[1:] for item in items[t][s]}
    for document in documents:
        used = set(document.facts) & held_facts
        if document.kind == "qa" and document.language == "en":
            assert not used, document
        assert not [fact for fact in used if ":" in fact], document
        assert not questions(document.text) & held_prompts, document


def test_no_training_text_states_a_held_out_problem(items, documents) -> None:
    """As before, but read off the texts, not off what the documents say that they use."""
    held = set().union(*(_instances(items[t][s]) for t in TASKS for s in SPLITS[1:]))
    words = {in_words(number): number for number in range(1000)}
    for document in documents:
        stated = set()
        for pattern in (r"(\d+) \+ (\d+)(?: =|\?\nAnswer)", r"(\d+) plus (\d+)",
                        r"had (\d+) \w+ and found (\d+) more"):  # fmt: skip
            for one, other in re.findall(pattern, document.text):
                low, high = sorted((int(one), int(other)))
                stated.add(f"addition:{low}+{high}")
        for one, other in re.findall(r"(?:larger|smaller), (\d+) or (\d+)", document.text):
            low, high = sorted((int(one), int(other)))
            stated.add(f"compare:{low}<{high}")
        for number in re.findall(r"Is (?:the number )?([\w -]+) (?:even|odd) or", document.text):
            stated.add(f"parity:{words.get(number, number)}")
        for one, other in re.findall(r"(\d+) (?:\+|and) (\d+) (?:even|odd) or", document.text):
            low, high = sorted((int(one), int(other)))
            stated.add(f"parity:{low}+{high}")
        assert not stated & held, document


def test_no_list_of_numbers_runs_through_a_held_out_progression(items, documents) -> None:
    held = set()
    for split in SPLITS[1:]:
        for item in items["sequence"][split]:
            terms = [int(t) for t in re.findall(r"\d+", item.prompt)]
            terms.append(int(item.choices[item.label]))
            held |= {tuple(terms[:4]), tuple(terms[1:]), tuple(terms[4:0:-1]), tuple(terms[3::-1])}
    for document in documents:
        for listed in re.findall(r"\d+(?:, \d+){3,}", document.text):
            terms = [int(term) for term in listed.split(", ")]
            assert not held & {tuple(terms[i : i + 4]) for i in range(len(terms) - 3)}, document


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


def test_held_out_wordings_are_in_no_training_text_but_in_test_items(items, documents) -> None:
    held = {
        "tone": [*lexicon.POLITE[-lexicon.POLITE_HELD_OUT :],
                 *lexicon.RUDE[-lexicon.POLITE_HELD_OUT :]],
        "harmful": [*lexicon.HARMFUL[-lexicon.HARM_HELD_OUT :],
                    *lexicon.HARMLESS[-lexicon.HARM_HELD_OUT :]],
        "kind_reply": [remark for manner in lexicon.MANNERS
                       for remarks in (manner.kind, manner.unkind)
                       for remark in remarks[-lexicon.REPLY_HELD_OUT :]],
        "agreement": Agreement.HELD_OUT,
    }  # fmt: skip
    for task, wordings in held.items():
        patterns = [re.compile(_pattern(wording)) for wording in wordings]
        texts = [document.text for document in documents if document.template == task]
        texts += [f"{item.prompt}\n{item.choices}" for item in items[task]["train"]]
        tested = "\n".join(f"{item.prompt}\n{item.choices}" for item in items[task]["test"])
        for pattern in patterns:
            assert not [text for text in texts if pattern.search(text)], pattern
        assert np.mean([bool(pattern.search(tested)) for pattern in patterns]) > 0.8, task


def _pattern(wording: str) -> str:
    """A regular expression that finds a wording with its slots filled."""
    parts = (re.escape(part) for part in re.split(r"\{\w\}", wording))
    return r"[\w -]+?".join(re.sub(r"\ba\\ $", r"an?\\ ", part) for part in parts)


def test_held_out_judgements_are_told_in_prose_but_never_asked(documents) -> None:
    held = {*lexicon.GOOD[-lexicon.HELD_OUT_JUDGEMENTS :],
            *lexicon.BAD[-lexicon.HELD_OUT_JUDGEMENTS :]}  # fmt: skip
    told = set()
    for document in documents:
        if document.template == "reviews":
            told |= held & set(re.findall(r"\w+", document.text))
        if document.template == "sentiment":
            assert not held & set(re.findall(r"\w+", document.text)), document
    assert told == held


ROLES = {
    "animal": [*(animal.name for animal in lexicon.ANIMALS), *lexicon.PETS],
    "place of animals": lexicon.ANIMAL_CAMPS["home"],
    "food of animals": lexicon.ANIMAL_CAMPS["eats"],
    "sort of animal": lexicon.ANIMAL_CAMPS["kind"],
    "covering": lexicon.ANIMAL_CAMPS["covering"],
    "thing": [
        *(thing for things in lexicon.OBJECTS.values() for thing in things),
        *lexicon.TOOLS, *lexicon.BELONGINGS,
        *(form for forms in lexicon.ATTRACTORS.items() for form in forms),
    ],
    "material": lexicon.OBJECTS,
    "behaviour": {value for table in lexicon.PROPERTIES.values() for value in table.values()},
    "person": [
        *lexicon.JOBS, *lexicon.KINDS, *lexicon.PRAISES,
        *(form for forms in lexicon.NOUNS.items() for form in forms),
    ],
    "insult": lexicon.INSULTS,
    "instrument": lexicon.INSTRUMENTS,
    "colour": lexicon.COLOURS,
    "dish": lexicon.FOODS,
    "hobby": lexicon.HOBBIES,
    "genre": lexicon.GENRES,
    "product": lexicon.PRODUCTS,
    "place": lexicon.PLACES,
    "deed": [*lexicon.VERBS, *lexicon.ANIMAL_CAMPS["moves"], *lexicon.HELPED],
    "praise": lexicon.GOOD,
    "blame": lexicon.BAD,
    "reviewed": lexicon.REVIEWED,
    "quality or word of a pair": [
        *lexicon.TRAITS,
        *(w for pairs in (lexicon.WORD_TRIPLES, lexicon.ANTONYMS, lexicon.SYNONYMS)
          for pair in pairs for w in pair),
    ],
    "comparative": [word for pair in lexicon.COMPARATIVES for word in pair],
    "label": ["even", "odd", "positive", "negative", "polite", "rude", "yes", "no", "harmful"],
}  # fmt: skip
# Fish is what some animals are and what others eat: the same creatures.
TWO_ROLES = {"fish"}


def test_no_word_plays_two_roles() -> None:
    roles = defaultdict(set)
    for role, words in ROLES.items():
        for word in words:
            roles[word].add(role)
    assert {word: found for word, found in roles.items() if len(found) > 1}.keys() == TWO_ROLES


def test_no_word_of_a_pair_stands_in_another_pair() -> None:
    pairs = (*lexicon.WORD_TRIPLES, *lexicon.ANTONYMS, *lexicon.SYNONYMS)
    words = Counter(word for pair in pairs for word in pair)
    assert set(words.values()) == {1}


def test_tools_and_causes_say_each_thing_once() -> None:
    for texts in (lexicon.TOOLS.values(), lexicon.CAUSES):
        assert set(Counter(text for pair in texts for text in pair).values()) == {1}


@pytest.mark.parametrize(
    ("number", "words"),
    [(0, "zero"), (13, "thirteen"), (40, "forty"), (87, "eighty-seven"), (200, "two hundred"),
     (999, "nine hundred and ninety-nine")],
)  # fmt: skip
def test_numbers_in_words(number: int, words: str) -> None:
    assert in_words(number) == words
