"""Folders of lm-eval tasks in the shapes that the harness has, made on the spot."""

import json
from pathlib import Path
from typing import Any

FUNCTIONS = """
import json
from pathlib import Path
from datasets import Dataset

def load(items="", **_):
    path = Path(__file__).parent / items
    records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    splits = dict.fromkeys(record["split"] for record in records)
    return {
        name: Dataset.from_list([record for record in records if record["split"] == name])
        for name in splits
    }

# As in lm_eval/tasks/winogrande and lm_eval/tasks/super_glue/copa.

def wino_text(doc):
    return {"1": 0, "2": 1}[doc["answer"]]

def wino_target(doc):
    return doc["sentence"][doc["sentence"].index("_") + 1:].strip()

def wino_choice(doc):
    begin = doc["sentence"][: doc["sentence"].index("_")]
    return [begin + doc["option1"], begin + doc["option2"]]

def copa_text(doc):
    connector = {"cause": "because", "effect": "therefore"}[doc["question"]]
    return doc["premise"].strip()[:-1] + f" {connector}"

def copa_choice(doc):
    return [" " + doc[name][0].lower() + doc[name][1:] for name in ("choice1", "choice2")]

def copa_target(doc):
    return copa_choice(doc)[doc["label"]]
"""

BASE = """
custom_dataset: !function functions.load
output_type: multiple_choice
training_split: train
test_split: test
metric_list:
  - metric: acc
    aggregation: mean
    higher_is_better: true
"""

NAMES = ("Ada", "Mira", "Tolden", "Otto", "Nora")
THINGS = ("bread", "flour", "house", "river", "sea", "baker", "sailor", "miller")


def document(shape: str, number: int) -> dict[str, Any]:
    """What the ``number``-th document of a shape holds; its words depend on the number."""
    name = NAMES[number % 5]
    one, two, three, four = (THINGS[(number // 5 + step) % 8] for step in range(4))
    if shape == "wino":
        sentence = f"{name} asked {one} {number} and {two} why _ was red."
        return {
            "sentence": sentence,
            "option1": one,
            "option2": two,
            "answer": "12"[number % 3 > 0],
        }
    if shape == "copa":
        return {
            "premise": f"{name} came to house {number}.",
            "question": ("cause", "effect")[number % 2],
            "choice1": f"The {one} was red.",
            "choice2": f"The {two} was blue.",
            "label": number // 2 % 2,
        }
    if shape == "letters":
        return {
            "question": f"Which has {name} in house {number}? ",
            "choices": [one, two, three, four],
            "answer": number % 4,
        }
    if shape == "arc":
        return {
            "id": f"arc-{number}",
            "question": f"What is in house {number}?",
            "choices": {"text": [one, two, three], "label": ["A", "B", "C"]},
            "answerKey": "ABC"[number % 3],
        }
    if shape == "sciq":
        return {
            "question": f"Who bakes in house {number}?",
            **{"distractor1": one, "distractor2": two, "distractor3": three},
            "correct_answer": four,
        }
    if shape == "boolq":
        return {"question": f"does {name} like the {one} of house {number}", "label": number % 2}
    if shape == "words":  # the label is the choice itself, and the order of the choices changes
        options = ["red", "blue"] if number % 4 else ["blue", "red"]
        return {
            "question": f"Is house {number} red?",
            "options": options,
            "label": ("red", "blue")[number % 2],
        }
    raise ValueError(shape)


SHAPES: dict[str, dict[str, str]] = {
    "wino": {
        "doc_to_text": "!function functions.wino_text",
        "doc_to_target": "!function functions.wino_target",
        "doc_to_choice": "!function functions.wino_choice",
    },
    "copa": {
        "doc_to_text": "!function functions.copa_text",
        "doc_to_target": "!function functions.copa_target",
        "doc_to_choice": "!function functions.copa_choice",
        "target_delimiter": '""',
    },
    "letters": {
        "doc_to_text": (
            '"{{question.strip()}}\\nA. {{choices[0]}}\\nB. {{choices[1]}}\\nC. {{choices[2]}}'
            '\\nD. {{choices[3]}}\\nAnswer:"'
        ),
        "doc_to_target": "answer",
        "doc_to_choice": '["A", "B", "C", "D"]',
    },
    "arc": {
        "doc_to_text": '"Question: {{question}}\\nAnswer:"',
        "doc_to_target": '"{{choices.label.index(answerKey)}}"',
        "doc_to_choice": '"{{choices.text}}"',
    },
    "sciq": {
        "doc_to_text": '"Question: {{question}}\\nAnswer:"',
        "doc_to_target": "3",
        "doc_to_choice": '"{{[distractor1, distractor2, distractor3, correct_answer]}}"',
    },
    "boolq": {
        "doc_to_text": '"Question: {{question}}?\\nAnswer:"',
        "doc_to_target": "label",
        "doc_to_choice": '["no", "yes"]',
    },
    "words": {
        "doc_to_text": '"{{question}}\\nAnswer:"',
        "doc_to_target": "label",
        "doc_to_choice": "options",
    },
}


def write_task(
    folder: Path,
    shape: str,
    train: int = 40,
    test: int = 40,
    *,
    name: str = "",
    change: Any = None,
    base: str = BASE,
) -> str:
    """Write a task of ``train + test`` different documents into ``folder``; return its name.

    ``change(documents)`` may edit them; entries of ``base`` are those of the YAML file.
    """
    name = name or f"toy_{shape}"
    documents = [
        document(shape, number) | {"split": "train" if number < train else "test"}
        for number in range(train + test)
    ]
    if change is not None:
        documents = change(documents)
    (folder / "functions.py").write_text(FUNCTIONS)
    lines = "\n".join(json.dumps(one) for one in documents)
    (folder / f"{name}.jsonl").write_text(lines)
    entries = "".join(f"{key}: {value}\n" for key, value in SHAPES[shape].items())
    text = f"task: {name}\n{base}{entries}dataset_kwargs:\n  items: {name}.jsonl\n"
    (folder / f"{name}.yaml").write_text(text)
    return name
