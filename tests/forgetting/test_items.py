"""Two-way items from every shape of multiple-choice task, by draws that nothing else moves."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import lm_eval.tasks
import pytest
from datasets import Dataset
from shapes import BASE, SHAPES, document, write_task

from palimpsest.core.errors import DataError, UserError
from palimpsest.core.records import Item
from palimpsest.core.tasks import make_task, read_questions
from palimpsest.forgetting import items as module
from palimpsest.forgetting.items import TaskItems, draw, label_share, load_items, load_task_items


def load(folder: Path, shape: str, **options: Any) -> TaskItems:
    files = {key: options.pop(key) for key in ("train", "test", "change", "base") if key in options}
    return load_task_items(write_task(folder, shape, **files), folder, **options)


# --- shapes -------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_gives_two_answers_of_which_the_label_is_right(
    tmp_path: Path, shape: str
) -> None:
    found = load(tmp_path, shape)
    assert (len(found.train), len(found.test)) == (40, 40)
    assert found.remarks == ()
    read = read_questions([found.task], tmp_path, most=100, seed=0)[found.task]
    questions = {one.id: one for split in read.values() for one in split}
    assert len(questions) == 80
    for item in (*found.train, *found.test):
        question = questions[item.id]
        right, wrong = item.pairs[item.label], item.pairs[1 - item.label]
        assert right == question.pairs[question.right[0]]
        assert wrong in question.pairs
        assert wrong != right
        assert item.task == found.task
    assert 0.2 < label_share(found.train) < 0.8
    assert 0.2 < label_share(found.test) < 0.8
    kinds = {"letters": "shared", "boolq": "shared", "words": "shared"}
    assert found.kind == kinds.get(shape, "content")
    assert {item.kind for item in (*found.train, *found.test)} == {found.kind}
    assert found.ways == {"letters": 4, "sciq": 4, "arc": 3}.get(shape, 2)


def test_winograndes_contexts_and_copas_spaces_are_the_harnesss(tmp_path: Path) -> None:
    wino = load(tmp_path, "wino").train[0]
    (first, one), (second, two) = wino.pairs
    assert one == two == " was red."
    assert first.rsplit(" ", 1)[0] == second.rsplit(" ", 1)[0]
    for context, continuation in load(tmp_path, "copa").train[0].pairs:
        assert context.endswith(("because", "therefore"))
        assert continuation.startswith(" the ")
    for context, continuation in load(tmp_path, "letters").train[0].pairs:
        assert context.endswith("\nAnswer:")
        assert continuation in (" A", " B", " C", " D")


# Documents as the hub's data sets have them, for the files that lm-eval itself ships.
HARNESS: dict[str, tuple[str, Callable[[int], dict[str, Any]], str, int]] = {
    "winogrande": ("winogrande", lambda n: document("wino", n), "content", 2),
    "copa": ("super_glue", lambda n: document("copa", n), "content", 2),
    "sciq": ("sciq", lambda n: document("sciq", n) | {"support": ""}, "content", 4),
    "arc_easy": ("arc", lambda n: document("arc", n), "content", 3),
    "cb": (
        "super_glue",
        lambda n: {"premise": f"House {n} is red.", "hypothesis": "It is", "label": n % 3},
        "shared",
        3,
    ),
    "mnli": (
        "glue",
        lambda n: {"premise": f"House {n} is red.", "hypothesis": "It is", "label": n % 3},
        "shared",
        3,
    ),
    "toxigen": (
        "toxigen",
        lambda n: {"text": f"red {n}", "toxicity_ai": 2.0 + n % 2, "toxicity_human": 3.0},
        "shared",
        2,
    ),
    "hellaswag": (
        "hellaswag",
        lambda n: {
            "activity_label": "Baking",
            "ctx_a": f"House {n}.",
            "ctx_b": "a baker",
            "endings": [f"bakes {n}", f"sails {n} [title]", f"mills {n}", "sleeps"],
            "label": str(n % 4),
        },
        "content",
        4,
    ),
    "mathqa": (
        "mathqa",
        lambda n: {
            "Problem": f"what is {n} + 1 ?",
            "options": f"a ) {n} , b ) {n + 1} , c ) {n + 2} , d ) {n + 3} , e ) none",
            "correct": "b",
        },
        "content",
        5,
    ),
}


@pytest.mark.parametrize("name", HARNESS)
def test_lm_evals_own_task_files(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, maker, kind, ways = HARNESS[name]

    def load_dataset(path: str, name: str | None = None, **_: Any) -> dict[str, Dataset]:
        splits = {"train": range(40), "validation": range(40, 80), "test": range(80, 120)}
        made = {split: Dataset.from_list([maker(n) for n in of]) for split, of in splits.items()}
        return {**made, "validation_matched": made["validation"]}

    monkeypatch.setattr("datasets.load_dataset", load_dataset)
    found = load_task_items(name, Path(lm_eval.tasks.__file__).parent / folder)
    assert (found.kind, found.ways) == (kind, ways)
    assert (len(found.train), len(found.test)) == (40, 40)
    if name == "mathqa":  # the gold answer is the one that is right
        for item in found.train:
            problem, answer = item.pairs[item.label]
            assert int(answer) == int(problem.split()[3]) + 1
    if name == "cb":
        words = {pair[1] for item in found.train for pair in item.pairs}
        assert words == {" True", " False", " Neither"}


def test_a_config_a_tag_and_the_shipped_tasks(tmp_path: Path) -> None:
    made = [
        Item(id=f"{split}{n}", prompt=f"{split} {n}", choices=("x", "y"), label=n % 2, split=split)
        for split in ("train", "test")
        for n in range(40)
    ]
    config = make_task("made", made[40:])
    both = {"train": made[:40], "test": made[40:]}

    def dataset(**_: Any) -> dict[str, Any]:
        return {
            split: make_task("made", some)["custom_dataset"]()["test"]
            for split, some in both.items()
        }

    found = load_task_items({**config, "custom_dataset": dataset, "training_split": "train"})
    assert {item.id for item in found.train} == {f"train{n}" for n in range(40)}
    write_task(tmp_path, "boolq", base="tag: toys\n" + BASE)
    write_task(tmp_path, "sciq", base="tag: toys\n" + BASE)
    assert sorted(load_items(["toys"], tmp_path)) == ["toy_boolq", "toy_sciq"]
    with pytest.raises(UserError, match="'toys' stands for 2 tasks"):
        load_task_items("toys", tmp_path)
    shipped = load_task_items("pal_sentiment", train_cap=100, test_cap=50)
    assert (shipped.kind, len(shipped.train), len(shipped.test)) == ("shared", 100, 50)


def test_labels_of_shared_words_always_mean_the_same_word(tmp_path: Path) -> None:
    found = load(tmp_path, "words")
    words = {item.pairs[0][1] for item in (*found.train, *found.test)}
    assert words == {" red"}  # the order that more questions have
    letters = load(tmp_path, "letters")
    assert all(item.pairs[0][1] < item.pairs[1][1] for item in letters.train)


def test_the_place_of_the_right_answer_tells_nothing(tmp_path: Path) -> None:
    found = load(tmp_path, "sciq", train=400, test=400)
    assert abs(label_share(found.train) - 0.5) < 0.1
    assert abs(label_share(found.test) - 0.5) < 0.1


def test_several_right_answers_and_repeated_ones(tmp_path: Path) -> None:
    def change(documents: list[dict]) -> list[dict]:
        for one in documents:
            one["right"] = [1, 2]
            one["choices"][3] = one["choices"][1]
        return documents

    base = BASE + "process_results: !function functions.load\n"
    name = write_task(tmp_path, "letters", change=change, base=base)
    text = (tmp_path / f"{name}.yaml").read_text().replace('["A", "B", "C", "D"]', "choices")
    (tmp_path / f"{name}.yaml").write_text(
        text.replace("doc_to_target: answer", "doc_to_target: right")
    )
    read = read_questions([name], tmp_path, most=100, seed=0)[name]
    questions = {one.id: one for split in read.values() for one in split}
    for item in load_task_items(name, tmp_path).train:
        pairs = questions[item.id].pairs
        assert item.pairs[item.label] == pairs[1]
        assert item.pairs[1 - item.label] == pairs[0]  # the last says what a right one says


# --- draws --------------------------------------------------------------------------------------


def test_draws_depend_on_seed_and_item_alone(tmp_path: Path) -> None:
    base = load(tmp_path, "sciq")
    assert load_task_items("toy_sciq", tmp_path) == base
    other = load_task_items("toy_sciq", tmp_path, seed=1)
    assert {item.id for item in other.train} == {item.id for item in base.train}
    assert [item.id for item in other.train] != [item.id for item in base.train]
    theirs = {item.id: item for item in other.train}
    assert any(theirs[item.id].label != item.label for item in base.train)
    assert any(set(theirs[item.id].pairs) != set(item.pairs) for item in base.train)

    def shuffled(documents: list[dict]) -> list[dict]:
        for number, one in enumerate(documents):
            one["id"] = f"q{number}"
        return documents[::-1] if turned else documents

    turned = False
    forth = load(tmp_path, "arc", change=shuffled)
    turned = True
    assert load(tmp_path, "arc", change=shuffled) == forth


def test_caps_take_the_beginning(tmp_path: Path) -> None:
    whole = load(tmp_path, "arc", train=60, test=50)
    capped = load_task_items("toy_arc", tmp_path, train_cap=40, test_cap=32)
    assert capped.train == whole.train[:40]
    assert capped.test == whole.test[:32]
    with pytest.raises(UserError, match="train_cap is 5; at least 32"):
        load_task_items("toy_arc", tmp_path, train_cap=5)


def test_a_draw_is_a_fair_coin() -> None:
    heads = sum(draw(3, "label", str(number)) % 2 for number in range(4000))
    assert abs(heads - 2000) < 4 * 1000**0.5
    assert draw(3, "a", "b") != draw(3, "ab") != draw(4, "ab")


def test_of_very_large_splits_some_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_READ", 50)
    found = load(tmp_path, "arc", train=90, test=40)
    assert (len(found.train), len(found.test)) == (50, 40)
    numbers = [int(item.id.removeprefix("arc-")) for item in found.train]
    assert max(numbers) > 60
    assert load_task_items("toy_arc", tmp_path) == found


# --- cleaning -----------------------------------------------------------------------------------


def test_what_occurs_in_training_is_taken_from_the_test(tmp_path: Path) -> None:
    def change(documents: list[dict]) -> list[dict]:
        for number in range(5):  # the same question, in capitals, its answers in another order
            theirs = documents[number]
            copied = {"question": theirs["question"].upper() + " "}
            for mine, other in zip("1234"[:3], "321", strict=True):
                copied[f"distractor{mine}"] = theirs[f"distractor{other}"]
            documents[40 + number] |= copied | {"correct_answer": theirs["correct_answer"]}
        documents[10] = dict(documents[11])
        return documents

    found = load(tmp_path, "sciq", test=50, change=change)
    assert (found.overlapping, found.duplicates, found.unusable) == (5, 1, 0)
    assert (len(found.train), len(found.test)) == (39, 45)
    assert found.remarks == (
        "Left out of toy_sciq: 1 that occurred before in their split.",
        "Left out of toy_sciq: 5 of the test that occur in training.",
    )
    assert found.row()["overlapping"] == 5


def test_unbalanced_labels_are_reported(tmp_path: Path) -> None:
    def change(documents: list[dict]) -> list[dict]:
        for number, one in enumerate(documents):
            one["label"] = int(number % 10 == 0)
        return documents

    found = load(tmp_path, "boolq", change=change)
    assert "90% of the training items of toy_boolq have the label 0" in found.remarks[0]
    assert found.row()["test_share"] == pytest.approx(0.1)


def test_a_few_unusable_questions_are_left_out(tmp_path: Path) -> None:
    def change(documents: list[dict]) -> list[dict]:
        documents[3]["answerKey"] = "B"
        documents[3]["choices"] = {"text": ["red", "red", " red "], "label": ["A", "B", "C"]}
        return documents

    found = load(tmp_path, "arc", train=100, change=change)
    assert (found.unusable, len(found.train)) == (1, 99)
    assert found.remarks == ("Left out of toy_arc: 1 without a usable label or answers.",)


# --- refusals -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "values", "words"),
    [
        ("boolq", {"label": -1}, "no label that names one of their choices"),
        ("boolq", {"label": None}, "no label that names one of their choices"),
        ("boolq", {"label": 2}, "no label that names one of their choices"),
        ("words", {"label": "green"}, "no label that names one of their choices"),
        ("sciq", {"correct_answer": " "}, "empty right answer"),
        ("copa", {"choice1": "Same.", "choice2": "Same."}, "neither empty nor the same"),
        ("wino", {"option1": "x", "option2": "x"}, "neither empty nor the same"),
        ("words", {"options": ["red", " "], "label": "red"}, "neither empty nor the same"),
    ],
)
def test_missing_labels_and_empty_or_equal_choices(
    tmp_path: Path, shape: str, values: dict[str, Any], words: str
) -> None:
    def change(documents: list[dict]) -> list[dict]:
        for one in documents[20:40]:
            one |= values
        return documents

    with pytest.raises(DataError, match=rf"20 of the 40 items.*'train'.*toy_{shape}.*{words}"):
        load(tmp_path, shape, change=change)


def test_an_empty_choice_in_the_first_item(tmp_path: Path) -> None:
    def change(documents: list[dict]) -> list[dict]:
        documents[40]["choices"]["text"][1] = ""
        return documents

    with pytest.raises(DataError, match="'toy_arc' cannot be loaded: a choice of its first item"):
        load(tmp_path, "arc", change=change)


def test_what_is_no_multiple_choice_or_has_no_training(tmp_path: Path) -> None:
    asked = BASE.replace("multiple_choice", "generate_until")
    with pytest.raises(UserError, match=r"'toy_boolq' is no multiple choice.*generate_until"):
        load(tmp_path, "boolq", base=asked)
    with pytest.raises(UserError, match=r"'toy_boolq' has no training split.*it names none"):
        load(tmp_path, "boolq", base=BASE.replace("training_split: train\n", ""))
    with pytest.raises((UserError, DataError), match=r"toy_boolq.*learn"):
        load(tmp_path, "boolq", base=BASE.replace("_split: train", "_split: learn"))
    with pytest.raises(UserError, match=r"no task 'toy_bolq'.*did you mean 'toy_boolq'"):
        load_task_items("toy_bolq", tmp_path)


def test_too_few(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"'toy_arc' has 20 training items.*of 20; at least 32"):
        load(tmp_path, "arc", train=20)
    with pytest.raises(DataError, match=r"'toy_arc' has 9 test items.*of 9; at least 32"):
        load(tmp_path, "arc", test=9)
    same = BASE.replace("test_split: test", "test_split: train")
    with pytest.raises(DataError, match=r"0 test items .*40 were left out .* occur in training"):
        load(tmp_path, "arc", base=same)
