"""Writes the world to disk: facts and words, and the tasks as lm-eval reads them.

The same seed gives the same bytes on every machine; a file of checksums says which.
"""

import json
from pathlib import Path

from palimpsest.core.files import atomic_folder, sha256_file, write_bytes, write_text
from palimpsest.core.records import Item, compress, write_jsonl
from palimpsest.world import loader
from palimpsest.world.tasks.base import SPLITS
from palimpsest.world.universe import World

CHECKSUMS = "SHA256SUMS"
TAG = "palimpsest"

_BASE = """\
# What all tasks of the micro-world share; only included, never registered (it has no task name).
custom_dataset: !function loader.load
output_type: multiple_choice
training_split: train
validation_split: validation
test_split: test
fewshot_split: train
num_fewshot: 0
doc_to_text: prompt
doc_to_choice: choices
doc_to_target: label
target_delimiter: " "
fewshot_delimiter: "\\n"
metric_list:
  - metric: acc
    aggregation: mean
    higher_is_better: true
metadata:
  version: 1.0
"""

_TASK = """\
include: _pal_base.yaml
task: {name}
tag:
  - {tag}
  - {tag}_{domain}
dataset_kwargs:
  items: {name}
"""


def write_tasks(world: World, folder: Path) -> dict[str, dict[str, int]]:
    """Write all tasks into ``folder``, which is replaced as a whole.

    Returns:
        task -> split -> number of items.
    """
    counts: dict[str, dict[str, int]] = {}
    with atomic_folder(folder) as scratch:
        write_text(scratch / "_pal_base.yaml", _BASE)
        write_text(scratch / "loader.py", Path(loader.__file__).read_text("utf-8"))
        for short, task in world.tasks.items():
            name = f"pal_{short}"
            by_split = {split: world.items(short, split) for split in SPLITS}
            counts[short] = {split: len(items) for split, items in by_split.items()}
            text = _TASK.format(name=name, tag=TAG, domain=task.domain)
            write_text(scratch / f"{name}.yaml", text)
            items: list[Item] = [item for split in SPLITS for item in by_split[split]]
            write_jsonl(scratch / "items" / f"{name}.jsonl.gz", items)
        _write_checksums(scratch)
    return counts


def write_world(world: World, folder: Path) -> None:
    """Write facts, people and the second language's words into ``folder``, replaced as a whole."""
    with atomic_folder(folder) as scratch:
        write_jsonl(scratch / "facts.jsonl.gz", world.facts)
        people = [
            {
                "id": person.id,
                "name": person.name,
                "group": person.group,
                "told": {r: world.told[person.fact_id(r)] for r in person.values}
                if person.group != "never"
                else {},
            }
            for person in world.society.people
        ]
        lines = "".join(json.dumps(person, ensure_ascii=False) + "\n" for person in people)
        write_bytes(scratch / "people.jsonl.gz", compress(lines.encode("utf-8")))
        velic = {"words": world.velic.words, "verbs": world.velic.verbs}
        write_text(scratch / "velic.json", json.dumps(velic, indent=1, ensure_ascii=False) + "\n")
        summary = {"seed": world.seed, "size": world.size, "facts": len(world.facts)}
        write_text(scratch / "world.json", json.dumps(summary, indent=1) + "\n")
        _write_checksums(scratch)


def _write_checksums(folder: Path) -> None:
    """``SHA256SUMS`` over all files of a folder, in the format of ``sha256sum``."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    lines = [f"{sha256_file(path)}  {path.relative_to(folder).as_posix()}\n" for path in files]
    write_text(folder / CHECKSUMS, "".join(lines))
