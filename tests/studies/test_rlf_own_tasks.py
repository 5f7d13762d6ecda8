"""Chapter 2 on a folder of tasks, as the page on other models explains it."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from palimpsest.core import places
from palimpsest.studies.random_label_forgetting.cast import open_items


def test_the_task_that_the_book_shows_can_be_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (places.root() / "book" / "your-model.md").read_text(encoding="utf-8")
    task = re.search(r"```yaml\n(task: my_questions\n.*?)```", page, re.DOTALL)[1]
    line = re.search(r"`(\{\"question\": .*?\})`", page)[1]
    folder = tmp_path / "my-tasks"
    folder.mkdir()
    (folder / "mine.yaml").write_text(task, encoding="utf-8")
    shown, rng = json.loads(line), np.random.default_rng(0)
    for split in ("train", "test"):
        lines = [
            json.dumps(
                shown | {"question": f"Is {split} {number}?", "answer": int(rng.integers(2))}
            )
            for number in range(60)
        ]
        (folder / f"{split}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    found = open_items("my-tasks", (), 40, 40, 0)["my_questions"]
    assert (len(found.train), len(found.test), found.kind) == (40, 40, "shared")
    assert found.test[0].pairs[0][1].strip() in shown["options"]
