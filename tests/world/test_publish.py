"""What ``world make`` writes: the same bytes every time, and tasks that lm-eval runs anywhere."""

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from palimpsest import world as package
from palimpsest.core import places
from palimpsest.core.errors import UserError
from palimpsest.core.records import Fact, Item, read_jsonl
from palimpsest.world import World, commands
from palimpsest.world.publish import CHECKSUMS, MEASURED, write_world

EVALUATE = """
import sys
from lm_eval.api.model import LM
from lm_eval.tasks import TaskManager
import lm_eval

class Longest(LM):
    def loglikelihood(self, requests):
        return [(float(len(r.args[1])), False) for r in requests]
    def loglikelihood_rolling(self, requests):
        raise NotImplementedError
    def generate_until(self, requests):
        raise NotImplementedError

manager = TaskManager(include_path=sys.argv[1], include_defaults=False)
names = sorted(name for name in manager.all_tasks if name.startswith("pal_"))
found = lm_eval.evaluate(
    lm=Longest(), task_dict=manager.load(["palimpsest"]), bootstrap_iters=0, limit=6
)
assert sorted(found["results"]) == names, (sorted(found["results"]), names)
print(len(names), found["n-samples"]["pal_parity"]["original"])
"""


def test_the_committed_world_and_tasks_are_those_of_the_generator(tmp_path: Path) -> None:
    commands.make(tmp_path)
    for folder in ("world", "tasks"):
        made, committed = (base / folder / CHECKSUMS for base in (tmp_path, places.data()))
        assert made.read_text() == committed.read_text(), f"run `palimpsest world make`: {folder}"


@pytest.mark.parametrize("folder", ["world", "tasks"])
def test_committed_files_match_their_checksums(folder: str) -> None:
    base = places.data() / folder
    lines = (base / CHECKSUMS).read_text().splitlines()
    for line in lines:
        digest, name = line.split("  ")
        assert hashlib.sha256((base / name).read_bytes()).hexdigest() == digest, name
    files = {p.relative_to(base) for p in base.rglob("*") if p.is_file()}
    present = {p.as_posix() for p in files if "__pycache__" not in p.parts} - set(MEASURED)
    assert present == {CHECKSUMS, *(line.split("  ")[1] for line in lines)}


def test_the_world_on_disk_can_be_read_as_records(small: World, tmp_path: Path) -> None:
    write_world(small, tmp_path / "world")
    assert tuple(read_jsonl(tmp_path / "world" / "facts.jsonl.gz", Fact)) == small.facts


def test_items_on_disk_are_items(world: World) -> None:
    items = read_jsonl(places.tasks() / "items" / "pal_nli.jsonl.gz", Item)
    assert [item for item in items if item.split == "test"] == world.items("nli", "test")


def test_task_files_name_plain_fields_and_are_21() -> None:
    files = sorted(places.tasks().glob("pal_*.yaml"))
    assert len(files) == 21
    base = (places.tasks() / "_pal_base.yaml").read_text()
    assert "{{" not in base
    assert "\ntask:" not in base
    for file in files:
        assert yaml.safe_load(file.read_text())["task"] == file.stem


def test_lm_eval_runs_the_tasks_from_any_directory(tmp_path: Path) -> None:
    made = subprocess.run(
        [sys.executable, "-c", EVALUATE, str(places.tasks())],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert made.returncode == 0, made.stderr[-2000:]
    assert made.stdout.split()[-2:] == ["21", "500"]


def test_make_into_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="cannot be written"):
        commands.make(tmp_path / "file", size="s")


def test_make_of_an_unknown_size_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="'xl'"):
        commands.make(tmp_path, size="xl")
    assert not list(tmp_path.iterdir())


def test_the_tour_shows_a_person_a_task_and_everything() -> None:
    world = package.World()
    person = world.people("newcomer-keep")[0]
    text = commands.show(person=person.name)
    assert person.values["job"] in text
    assert "English and Velic" in text
    assert "pal_parity" in commands.show(task="pal_parity")
    assert all(f"pal_{task}" in commands.show() for task in ("nli", "tone"))


@pytest.mark.parametrize(
    ("given", "named"),
    [({"person": "Nobody Atall"}, "Nobody Atall"), ({"task": "paritee"}, "'parity'")],
)
def test_the_tour_names_mistakes(given: dict[str, str], named: str) -> None:
    with pytest.raises(UserError, match=named):
        commands.show(**given)
