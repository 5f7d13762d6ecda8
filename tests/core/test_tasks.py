"""lm-eval's tasks on our models: the same answers, without network, noise or side effects."""

import json
import random
import socket
from pathlib import Path
from typing import Any

import lm_eval
import numpy as np
import pytest
import torch
from datasets import Dataset
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from tiny import SENTENCES, tiny_lm

from palimpsest.core import places
from palimpsest.core.errors import DataError, UserError
from palimpsest.core.models import LanguageModel
from palimpsest.core.records import Item
from palimpsest.core.scoring import score
from palimpsest.core.tasks import COLUMNS, HarnessLM, evaluate_tasks, make_task, read_questions

ITEMS = [
    Item(
        id=f"q{index}",
        task="likes",
        prompt=f"Question: Which colour does {name} like?\nAnswer:",
        choices=("red", "blue"),
        label=index % 2,
        split="validation",
    )
    for index, name in enumerate(("Ada", "Mira", "Étienne", "Tolden", "the sailor", "the miller"))
]
TEXTS = [{"text": sentence} for sentence in (*SENTENCES[:3], " ".join(SENTENCES))]
LAST_WORDS = [
    {"context": sentence.rsplit(" ", 1)[0], "last": sentence.rsplit(" ", 1)[1]}
    for sentence in SENTENCES[:4]
]


def config(name: str, kind: str, docs: list[dict], metric: str, **entries: Any) -> dict[str, Any]:
    return {
        "task": name,
        "output_type": kind,
        "test_split": "test",
        "num_fewshot": 0,
        "custom_dataset": lambda **_: {"test": Dataset.from_list(docs)},
        "metric_list": [{"metric": metric, "aggregation": "mean", "higher_is_better": True}],
        "metadata": {"version": 1.0},
        **entries,
    }


def every_kind() -> list[dict[str, Any]]:
    perplexity = {"metric": "byte_perplexity", "aggregation": "weighted_perplexity"}
    return [
        make_task("likes", ITEMS),
        config(
            "last_word",
            "loglikelihood",
            LAST_WORDS,
            "acc",
            doc_to_text="context",
            doc_to_target=" {{last}}",
        ),
        config(
            "texts",
            "loglikelihood_rolling",
            TEXTS,
            "byte_perplexity",
            doc_to_text="",
            doc_to_target="text",
            metric_list=[{**perplexity, "higher_is_better": False}],
        ),
        config(
            "continue",
            "generate_until",
            LAST_WORDS,
            "exact_match",
            doc_to_text="context",
            doc_to_target="last",
            generation_kwargs={"until": ["."], "max_gen_toks": 5, "do_sample": False},
        ),
    ]


def run(harness: Any, tasks: list[dict[str, Any]]) -> dict[str, Any]:
    loaded = TaskManager(include_defaults=False).load(tasks)
    return lm_eval.evaluate(lm=harness, task_dict=loaded, bootstrap_iters=0)


# --- lm-eval runs on our models -----------------------------------------------------------------


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "opt"])
def test_every_kind_of_task_gets_lm_evals_answers(architecture: str) -> None:
    lm = tiny_lm(architecture, "bpe-bos")
    theirs = HFLM(
        pretrained=lm.model,
        tokenizer=lm.tokenizer,
        batch_size=4,
        max_length=lm.max_length,
        logits_cache=False,
    )
    expected, found = run(theirs, every_kind()), run(HarnessLM(lm), every_kind())
    assert found["results"].keys() == {"likes", "last_word", "texts", "continue"}
    for name, results in expected["results"].items():
        for metric, value in results.items():
            if isinstance(value, float):
                assert found["results"][name][metric] == pytest.approx(value, rel=1e-5)
        for mine, other in zip(found["samples"][name], expected["samples"][name], strict=True):
            assert mine["arguments"] == other["arguments"]
            flat = [np.ravel(np.array(entry["resps"], dtype=object)) for entry in (mine, other)]
            for one, two in zip(*flat, strict=True):
                assert one == (two if isinstance(two, str) else pytest.approx(two, abs=1e-4))


def test_simple_evaluate_accepts_it(monkeypatch: pytest.MonkeyPatch) -> None:
    # It describes the machine with a dozen subprocesses, which are no part of this test.
    monkeypatch.setattr("lm_eval.evaluator.add_env_info", lambda results: None)
    loaded = TaskManager(include_defaults=False)
    results = lm_eval.simple_evaluate(
        model=HarnessLM(tiny_lm()),
        tasks=[make_task("likes", ITEMS)],
        task_manager=loaded,
        bootstrap_iters=0,
        random_seed=None,
        numpy_random_seed=None,
        torch_random_seed=None,
        fewshot_random_seed=None,
    )
    assert 0 <= results["results"]["likes"]["acc,none"] <= 1


def test_chat_templates_are_the_tokenizers() -> None:
    lm = tiny_lm().copy()
    harness = HarnessLM(lm)
    harness.tokenizer.chat_template = (
        "{% for message in messages %}{% if message.role == 'system' %}"
        "{{ raise_exception('no system') }}{% endif %}[{{ message.role }}]{{ message.content }}"
        "{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}"
    )
    try:
        talk = [{"role": "user", "content": "Hello"}]
        assert harness.apply_chat_template(talk) == "[user]Hello[assistant]"
        system = [{"role": "system", "content": "Be brief."}, *talk]
        assert harness.apply_chat_template(system) == "[user]Hello[assistant]"
        assert harness.chat_template(True) == harness.tokenizer.chat_template
    finally:
        harness.tokenizer.chat_template = None


def test_the_adapter_knows_the_models_tokens() -> None:
    lm = tiny_lm("llama", "bpe-bos")
    harness = HarnessLM(lm)
    assert harness.prefix_token_id == lm.tokenizer.bos_token_id
    assert harness.eot_token_id == lm.tokenizer.eos_token_id
    assert harness.tok_encode("The red")[0] == lm.tokenizer.bos_token_id
    assert harness.tok_encode("The red", left_truncate_len=1) == harness.tok_encode("The red")[-1:]
    assert harness.tok_decode(harness.tok_encode("The red")) == "The red"
    assert "/" not in harness.tokenizer_name
    with pytest.raises(DataError, match="neither a BOS nor an EOS"):
        _ = HarnessLM(tiny_lm("llama", "wordlevel")).prefix_token_id


# --- the table ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def lm() -> LanguageModel:
    return tiny_lm("llama", "bpe-bos")


def test_items_become_rows_with_margins(lm: LanguageModel) -> None:
    table = evaluate_tasks(lm, [make_task("likes", ITEMS)])
    assert list(table.columns) == COLUMNS
    assert table["item"].tolist() == [item.id for item in ITEMS]
    assert table["label"].tolist() == [item.label for item in ITEMS]
    assert table["correct"].dtype == bool
    for row, item in zip(table.itertuples(), ITEMS, strict=True):
        right, wrong = score(
            lm, [(item.prompt, f" {item.choices[place]}") for place in (item.label, 1 - item.label)]
        )
        margin = right.logprob - wrong.logprob
        assert row.margin == pytest.approx(margin, abs=1e-4)
        assert row.p == pytest.approx(1 / (1 + np.exp(-margin)), abs=1e-5)
        assert row.correct == (margin > 0)


def test_other_kinds_of_task_fill_what_they_can(lm: LanguageModel) -> None:
    table = evaluate_tasks(lm, every_kind(), limit=3)
    assert table["task"].value_counts().to_dict() == {
        "likes": 3,
        "last_word": 3,
        "texts": 3,
        "continue": 3,
    }
    words = table[table["task"] == "last_word"]
    expected = score(lm, [(doc["context"], f" {doc['last']}") for doc in LAST_WORDS[:3]])
    np.testing.assert_allclose(
        words["p"].astype(float), np.exp([entry.logprob for entry in expected]), rtol=1e-3
    )
    assert words["item"].tolist() == ["last_word/0", "last_word/1", "last_word/2"]
    assert table.loc[table["task"] == "texts", ["margin", "p", "correct"]].isna().all(axis=None)


def test_more_than_two_choices_and_several_right_ones(lm: LanguageModel) -> None:
    docs = [{"q": "The red house stands by the", "a": ["river", "sea", "house"], "y": [0, 1]}] * 2
    many = config("many", "multiple_choice", docs, "acc", doc_to_text="q", doc_to_target="y")
    table = evaluate_tasks(lm, [{**many, "doc_to_choice": "a"}])
    logprobs = np.array(
        [
            entry.logprob
            for entry in score(lm, [(docs[0]["q"], f" {word}") for word in docs[0]["a"]])
        ]
    )
    assert table["margin"][0] == pytest.approx(logprobs[:2].max() - logprobs[2], abs=1e-4)
    assert table["p"][0] == pytest.approx(
        np.exp(logprobs[:2]).sum() / np.exp(logprobs).sum(), abs=1e-5
    )


# --- folders of tasks ---------------------------------------------------------------------------

LOADER = """
import json
from pathlib import Path
from datasets import Dataset

def load(items="", **_):
    path = Path(__file__).parent / items
    records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    splits = {record["split"] for record in records}
    return {
        name: Dataset.from_list([record for record in records if record["split"] == name])
        for name in sorted(splits)
    }
"""
BASE = """
custom_dataset: !function loader.load
output_type: multiple_choice
training_split: train
test_split: test
doc_to_text: prompt
doc_to_choice: choices
doc_to_target: label
metric_list:
  - metric: acc
    aggregation: mean
    higher_is_better: true
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "loader.py").write_text(LOADER)
    (tmp_path / "_base.yaml").write_text(BASE)
    lines = [
        {"id": f"{split}{index}", "prompt": "Ada likes", "choices": ["red", "blue"], "label": 0}
        | {"split": split}
        for split in ("train", "test")
        for index in range(3)
    ]
    text = "\n".join(json.dumps(line) for line in lines)
    for name in ("colours", "houses"):
        (tmp_path / f"{name}.jsonl").write_text(text)
        (tmp_path / f"toy_{name}.yaml").write_text(
            f"include: _base.yaml\ntask: toy_{name}\ntag: toys\n"
            f"dataset_kwargs:\n  items: {name}.jsonl\n"
        )
    return tmp_path


def test_tasks_are_found_by_name_and_by_tag_from_anywhere(
    lm: LanguageModel, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir("/")
    both = evaluate_tasks(lm, ["toys"], folder)
    assert both["task"].tolist() == ["toy_colours"] * 3 + ["toy_houses"] * 3
    assert both["item"].tolist() == ["test0", "test1", "test2"] * 2
    train = evaluate_tasks(lm, ["toy_houses"], folder, limit=2, split="train")
    assert train["item"].tolist() == ["train0", "train1"]
    monkeypatch.setattr(places, "tasks", lambda: folder)
    assert len(evaluate_tasks(lm, ["toy_houses", make_task("likes", ITEMS)])) == 9


def test_questions_are_what_evaluation_asks(lm: LanguageModel, folder: Path) -> None:
    both = read_questions(["toys"], folder, most=100, seed=0)
    assert list(both) == ["toy_colours", "toy_houses"]
    questions = both["toy_houses"]
    assert {split: [one.id for one in found] for split, found in questions.items()} == {
        "train": ["train0", "train1", "train2"],
        "test": ["test0", "test1", "test2"],
    }
    one = questions["test"][0]
    assert one.choices == ("red", "blue")
    assert one.pairs == (("Ada likes", " red"), ("Ada likes", " blue"))
    assert one.right == (0,)
    right, wrong = score(lm, one.pairs)
    table = evaluate_tasks(lm, ["toy_houses"], folder, limit=1)
    assert table["margin"][0] == pytest.approx(right.logprob - wrong.logprob, abs=1e-5)
    assert len(read_questions(["toys"], folder, most=2, seed=0)["toy_houses"]["train"]) == 2
    # Ids that begin anew in each split name no item; their places do.
    path = folder / "houses.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text("\n".join(json.dumps(one | {"id": one["id"][-1]}) for one in lines))
    questions = read_questions(["toy_houses"], folder, most=100, seed=0)["toy_houses"]
    assert questions["test"][0].id == "toy_houses/test/0"


def test_no_socket_no_word_no_global_state(
    lm: LanguageModel,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.random.get_rng_state()  # noqa: NPY002
    capfd.readouterr()
    evaluate_tasks(lm, ["toys", *every_kind()], folder)
    assert capfd.readouterr() == ("", "")
    assert random.getstate() == states[0]
    assert np.random.get_state()[1].tolist() == states[1]  # noqa: NPY002
    assert torch.equal(torch.random.get_rng_state(), states[2])


def test_lm_evals_own_files_of_json_work_too(
    lm: LanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    (tmp_path / "items.jsonl").write_text(
        json.dumps({"prompt": "Ada likes", "choices": ["red", "blue"], "label": 0})
    )
    task = make_task("json", ITEMS)
    del task["custom_dataset"]
    task |= {
        "dataset_path": "json",
        "dataset_kwargs": {
            "data_files": {"test": str(tmp_path / "items.jsonl")},
            "cache_dir": str(tmp_path / "cache"),
        },
    }
    assert evaluate_tasks(lm, [task])["item"].tolist() == ["json/0"]


# --- bad input ----------------------------------------------------------------------------------


def test_an_unknown_task_is_told_its_neighbour(lm: LanguageModel, folder: Path) -> None:
    with pytest.raises(UserError, match=r"no task 'toy_colors'.*did you mean 'toy_colours'"):
        evaluate_tasks(lm, ["toy_houses", "toy_colors"], folder)
    with pytest.raises(DataError, match="no folder of tasks"):
        evaluate_tasks(lm, ["toy_houses"], folder / "nowhere")
    with pytest.raises(UserError, match=r"no split 'tset'.*did you mean 'test'"):
        evaluate_tasks(lm, ["toy_houses"], folder, split="tset")
    with pytest.raises(UserError, match="limit is 0"):
        evaluate_tasks(lm, ["toy_houses"], folder, limit=0)


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("toy_houses.yaml", "task: [unclosed", "toy_houses.yaml cannot be read"),
        ("toy_houses.yaml", "include: nothing.yaml\ntask: toy_houses", "cannot be read.*nothing"),
        ("toy_houses.yaml", "output_type: multiple_choice", "no entry 'task'"),
        ("houses.jsonl", None, "toy_houses.*houses.jsonl"),
        ("houses.jsonl", "", "toy_houses"),
        ("houses.jsonl", '{"prompt": "Ada', "toy_houses.*JSON"),
        ("houses.jsonl", '{"id": "a", "split": "test", "prompt": "Ada"}', "toy_houses"),
        ("houses.jsonl", b"\xff\xfe\x00", "toy_houses"),
        ("loader.py", "import nothing_of_that_name", "nothing_of_that_name"),
        (
            "houses.jsonl",
            '{"id": "a", "split": "test", "prompt": "Ada", "choices": ["x", "y"], "label": 7}',
            "label 7 is none of its 2 choices|toy_houses",
        ),
    ],
)
def test_broken_files_are_named(
    lm: LanguageModel, folder: Path, file: str, content: str | bytes | None, words: str
) -> None:
    path = folder / file
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(DataError, match=words) as caught:
        evaluate_tasks(lm, ["toy_houses"], folder)
    assert "\n" not in str(caught.value)


def test_items_that_are_no_choice() -> None:
    with pytest.raises(DataError, match="no items"):
        make_task("nothing", [])
    with pytest.raises(DataError, match="'same' of the task 'twins' offers 'red' twice"):
        make_task("twins", [Item(id="same", prompt="a", choices=("red", "red"), label=0)])
