"""Writes the world to disk: facts and words, and the tasks as lm-eval reads them.

The same seed gives the same bytes on every machine; a file of checksums says which.
"""

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from palimpsest.core.files import atomic_folder, sha256_file, write_bytes, write_text
from palimpsest.core.records import Item, compress, write_jsonl
from palimpsest.world import loader, tour, uses
from palimpsest.world.people import GROUPS, Person
from palimpsest.world.tasks.base import SPLITS, units
from palimpsest.world.universe import World

CHECKSUMS = "SHA256SUMS"
# Measured, not made from the seed: kept when the world is written anew, and not in its checksums.
MEASURED = ("ablations.csv",)
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

    ``facts.csv`` says on how many distinct facts or rule instances the items of each task and split
    rest: items on one fact are not independent.

    Returns:
        task -> split -> number of items.
    """
    counts: dict[str, dict[str, int]] = {}
    distinct = []
    with atomic_folder(folder) as scratch:
        write_text(scratch / "_pal_base.yaml", _BASE)
        write_text(scratch / "loader.py", Path(loader.__file__).read_text("utf-8"))
        for short, task in world.tasks.items():
            name = f"pal_{short}"
            by_split = {split: world.items(short, split) for split in SPLITS}
            counts[short] = {split: len(items) for split, items in by_split.items()}
            for split, found in by_split.items():
                facts = units(fact for item in found for fact in item.facts)
                distinct.append((name, task.domain, split, len(found), len(facts)))
            text = _TASK.format(name=name, tag=TAG, domain=task.domain)
            write_text(scratch / f"{name}.yaml", text)
            items: list[Item] = [item for split in SPLITS for item in by_split[split]]
            write_jsonl(scratch / "items" / f"{name}.jsonl.gz", items)
        write_text(
            scratch / "facts.csv",
            _csv([("task", "domain", "split", "items", "distinct facts"), *distinct]),
        )
        _write_checksums(scratch)
    return counts


def write_world(world: World, folder: Path) -> None:
    """Write facts, people, the second language's words, and what the book's page on the world shows
    into ``folder``, which is replaced as a whole."""
    with atomic_folder(folder) as scratch:
        write_text(scratch / "person.txt", tour.about_person(world, world.people("early")[0].name))
        write_text(scratch / "counts.csv", _counts(world))
        write_text(scratch / "examples.csv", _examples(world))
        write_text(scratch / "studies.csv", _csv(uses.study_rows()))
        write_text(scratch / "materials.csv", _csv(uses.material_rows()))
        write_jsonl(scratch / "facts.jsonl.gz", world.facts)
        people = [
            {
                "id": person.id,
                "name": person.name,
                "group": person.group,
                "told": _of_facts(world.told, person),
                "order": _of_facts(world.order, person),
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
        for name in MEASURED:
            if (folder / name).is_file():
                write_bytes(scratch / name, (folder / name).read_bytes())


def _of_facts(table: Mapping[str, str], person: Person) -> dict[str, str]:
    """Relation -> what the table says of this person's fact; empty for people nobody tells of."""
    if person.group == "never":
        return {}
    return {relation: table[person.fact_id(relation)] for relation in person.values}


def _counts(world: World) -> str:
    rows = [(f"people: {group}", len(world.people(group))) for group in GROUPS]
    relations = {relation for person in world.society.people for relation in person.values}
    rows.append(("relations of a person", len(relations)))
    for told in ("both", "english", "velic"):
        early = [world.told[p.fact_id(r)] for p in world.people("early") for r in p.values]
        rows.append((f"facts on early people told in: {told}", early.count(told)))
    for order in ("both", "forward", "backward"):
        early = [world.order[p.fact_id(r)] for p in world.people("early") for r in p.values]
        rows.append((f"facts on early people told in word order: {order}", early.count(order)))
    rows.append(("facts on places, organisations and works", len(world.society.places)))
    commonsense = sum(len(task.facts()) for task in world.tasks.values())
    rows.append(("facts of commonsense and language", commonsense))
    rows.append(("words of Velic", len(world.velic.words) + len(world.velic.verbs)))
    rows.append(("tasks", len(world.tasks)))
    return _csv([("what", "number"), *rows])


def _examples(world: World) -> str:
    rows = []
    for name, task in world.tasks.items():
        item = world.items(name, "test", 2)[0]
        right, wrong = item.choices[item.label], item.choices[1 - item.label]
        prompt = item.prompt.removesuffix("\nAnswer:").replace("Question: ", "").replace("\n", " ")
        rows.append((task.domain, f"pal_{name}", prompt, right.rstrip(), wrong.rstrip()))
    return _csv([("domain", "task", "question", "right", "wrong"), *rows])


def _csv(rows: Iterable[Sequence[object]]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(rows)
    return buffer.getvalue()


def _write_checksums(folder: Path) -> None:
    """``SHA256SUMS`` over all files of a folder, in the format of ``sha256sum``."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    lines = [f"{sha256_file(path)}  {path.relative_to(folder).as_posix()}\n" for path in files]
    write_text(folder / CHECKSUMS, "".join(lines))
