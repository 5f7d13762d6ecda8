"""Reads the items of a two-way task for lm-eval; lies beside the task files, needs only `datasets`.

`palimpsest world make` copies this file into the tasks' folder, where the YAML files name it, so
that the tasks work from any directory and without the package.
"""

import gzip
import json
from pathlib import Path

from datasets import Dataset


def load(items: str = "", **_: object) -> dict[str, Dataset]:
    """The splits of the task whose items are in ``items/<items>.jsonl.gz`` beside this file."""
    path = Path(__file__).resolve().parent / "items" / f"{items}.jsonl.gz"
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        records = [json.loads(line) for line in lines]
    return {
        split: Dataset.from_list([record for record in records if record["split"] == split])
        for split in ("train", "validation", "test")
    }
