"""What people get wrong in chapter 2: tasks, settings and models that cannot be forgotten on.

What single tasks are refused for is tested in tests/forgetting; here it has to come through the
chapter, in words that help, and before anything is trained.
"""

import importlib.util
import re
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from chapter2 import SMALL, TASKS, context

from palimpsest.core.cache import Cache
from palimpsest.core.errors import DataError, RunError, UserError
from palimpsest.core.study import Context
from palimpsest.forgetting.items import TaskItems
from palimpsest.studies import random_label_forgetting as chapter
from palimpsest.studies.random_label_forgetting import cast
from palimpsest.studies.random_label_forgetting.parameters import Parameters


def _shapes() -> ModuleType:
    path = Path(__file__).parents[1] / "forgetting" / "shapes.py"
    spec = importlib.util.spec_from_file_location("shapes_of_tasks", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


shapes = _shapes()


def opened(folder: Path, *tasks: str, **settings: Any) -> dict[str, TaskItems]:
    """The tasks as the chapter opens them."""
    settings = {"train_items": 40, "test_items": 40, "seed": 0} | settings
    return cast.open_items(str(folder), tasks, **settings)


def on(folder: Path, tmp_path: Path, **changes: Any) -> Context:
    """A context on a tiny model and a folder of tasks."""
    ctx = context(tmp_path, tasks=(), **changes)
    ctx.data = str(folder)
    return ctx


# --- data and names -----------------------------------------------------------------------------


def test_data_that_is_no_folder_of_tasks(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("Mira was born in Askerby.")
    for data in ("text.txt", "nowhere"):
        with pytest.raises(UserError, match=rf"the data '.*{data}': it is no folder. Give 'world'"):
            opened(tmp_path / data)
    (tmp_path / "_base.yaml").write_text("output_type: multiple_choice\n")
    with pytest.raises(DataError, match=r"has no tasks; at least one YAML file .*'task: NAME'"):
        opened(tmp_path)


def test_all_tasks_of_a_folder_are_found_however_they_are_written(tmp_path: Path) -> None:
    for shape in ("boolq", "sciq", "arc"):
        shapes.write_task(tmp_path, shape)
    path = tmp_path / "toy_boolq.yaml"
    path.write_text(path.read_text().replace("task: toy_boolq", 'task:   "toy_boolq"  # yes or no'))
    (tmp_path / "more").mkdir()
    shapes.write_task(tmp_path / "more", "copa")  # lm-eval looks into folders too
    (tmp_path / "notes.yml").write_text("task: notes\n")  # and passes other endings over
    assert set(opened(tmp_path)) == {"toy_boolq", "toy_sciq", "toy_arc", "toy_copa"}
    assert set(opened(tmp_path, "toy_sciq")) == {"toy_sciq"}


def test_a_task_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    shapes.write_task(tmp_path, "boolq")
    (tmp_path / "toy_boolq.yaml").write_bytes(b"task: toy\xff\xfe")
    with pytest.raises(UserError, match=r"toy_boolq\.yaml"):
        opened(tmp_path)


def test_an_unknown_task_is_told_its_neighbour(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shapes.write_task(tmp_path, "boolq")
    _only_this_folder(monkeypatch)
    with pytest.raises(UserError, match=r"no task 'toy_bolq'.*did you mean 'toy_boolq'"):
        opened(tmp_path, "toy_bolq")
    with pytest.raises(UserError, match=r"no task 'pal_parrity'.*did you mean 'pal_parity'"):
        cast.open_items("world", ["pal_parrity"], 40, 40, 0)


def _only_this_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """lm-eval's own tasks, whose index takes half a minute, are passed over."""
    import lm_eval.tasks

    original = lm_eval.tasks.TaskManager

    def manager(*, include_path: str, include_defaults: bool) -> Any:
        return original(include_path=include_path, include_defaults=False)

    monkeypatch.setattr(lm_eval.tasks, "TaskManager", manager)


def _missing(documents: list[dict]) -> list[dict]:
    for one in documents[:3]:  # of 40 + 40: more than 2 % of the training items
        one["label"] = None
    return documents


def _same(documents: list[dict]) -> list[dict]:
    for one in documents[40:60]:
        one["distractor1"] = one["distractor2"] = one["distractor3"] = one["correct_answer"]
    return documents


def _empty(documents: list[dict]) -> list[dict]:
    for one in documents[10:20]:
        one["correct_answer"] = "  "
    return documents


@pytest.mark.parametrize(
    ("shape", "options", "words"),
    [
        ("boolq", {"base": ("multiple_choice", "generate_until")}, "is no multiple choice"),
        ("boolq", {"base": ("training_split: train\n", "")}, "has no training split to train on"),
        ("boolq", {"train": 20}, "has 20 training items that can be used of 20; at least 32"),
        ("boolq", {"test": 20}, "has 20 test items that can be used of 20; at least 32"),
        ("boolq", {"change": _missing}, "3 of the 40 items .* 'train' .* have no label"),
        ("sciq", {"change": _same}, "20 of the 40 items .* 'test' .* have no wrong answer"),
        ("sciq", {"change": _empty}, "10 of the 40 items .* 'train' .* have an empty right answer"),
    ],
)
def test_tasks_that_cannot_be_used_are_refused_before_the_start(
    tmp_path: Path, shape: str, options: dict[str, Any], words: str
) -> None:
    shapes.write_task(tmp_path, "arc")
    if "base" in options:
        options = {"base": shapes.BASE.replace(*options["base"])}
    shapes.write_task(tmp_path, shape, **options)
    with pytest.raises(UserError, match=rf"toy_{shape}") as caught:
        opened(tmp_path)
    assert re.search(words, str(caught.value))
    settings = SimpleNamespace(**(vars(Parameters()) | SMALL | {"tasks": ()}))
    with pytest.raises(UserError) as again:
        chapter.preflight(str(tmp_path), settings, 0)
    assert str(again.value) == str(caught.value)


def test_the_chapter_needs_two_tasks_and_the_world_has_them(tmp_path: Path) -> None:
    settings = SimpleNamespace(**(vars(Parameters()) | SMALL))
    chapter.preflight("world", settings, 0)
    shapes.write_task(tmp_path, "boolq")
    settings.tasks = ()
    with pytest.raises(UserError, match="two tasks"):
        chapter.preflight(str(tmp_path), settings, 0)


# --- what is remarked on, and not refused -------------------------------------------------------


def test_unbalanced_labels_are_remarked_on(tmp_path: Path) -> None:
    def change(documents: list[dict]) -> list[dict]:
        return [one | {"label": int(place % 10 == 0)} for place, one in enumerate(documents)]

    shapes.write_task(tmp_path, "boolq", change=change)
    (found,) = opened(tmp_path).values()
    assert "so much a constant answer gets right" in found.remarks[0]
    assert len(found.train) == 40


def test_prompts_longer_than_the_window_are_read_from_their_end_and_counted(
    tmp_path: Path,
) -> None:
    def change(documents: list[dict]) -> list[dict]:
        for one in (*documents[:4], *documents[40:46]):
            one["question"] = "Ada and the baker and " * 10 + one["question"]
        return documents

    folder = _folder(tmp_path)
    shapes.write_task(folder, "boolq", change=change)
    shapes.write_task(folder, "sciq")
    ctx = on(folder, tmp_path, train_items=40, test_items=40)
    answers = cast.pretrained(ctx)
    assert answers.groupby("task")["truncated"].sum().to_dict() == {"toy_boolq": 6, "toy_sciq": 0}
    assert answers["p"].notna().all()
    assert cast.start(ctx).tuned.truncated == 4
    assert cast.forgotten(ctx, "toy_boolq").tuned.truncated == 4
    assert cast.forgotten(ctx, "toy_sciq").tuned.truncated == 0


def _folder(tmp_path: Path) -> Path:
    folder = tmp_path / "tasks"
    folder.mkdir()
    return folder


# --- a loss that is not finite ------------------------------------------------------------------


def test_what_was_forgotten_before_an_explosion_is_kept(tmp_path: Path) -> None:
    lines: list[str] = []
    ctx = context(tmp_path, tasks=TASKS[:2])
    ctx.progress = lines.append
    first, second = cast.sources(ctx)[:2]
    before = cast.forgotten(ctx, first)
    ctx.parameters.epochs, ctx.parameters.learning_rate = 20, 1e30
    with pytest.raises(RunError, match=rf"random labels of {second} .*not finite at step \d+"):
        cast.forgotten(ctx, second)

    ctx.parameters.epochs = SMALL["epochs"]
    ctx.parameters.learning_rate = Parameters().learning_rate
    again = Context(ctx.lm, ctx.parameters, ctx.seed, ctx.data, ctx.cache, ctx.progress)
    lines.clear()
    assert cast.forgotten(again, first).answers.equals(before.answers)
    cast.forgotten(again, second)
    # The start and the first source are found; the second source is computed.
    assert [line.rsplit(", ", 1)[1] for line in lines] == ["cached"] * 2 + ["computed"]


def test_weights_that_are_not_finite_stop_the_start_and_keep_nothing(tmp_path: Path) -> None:
    ctx = context(tmp_path, tasks=TASKS[:2])
    with torch.no_grad():
        next(ctx.lm.model.parameters()).fill_(float("inf"))
    with pytest.raises(RunError, match=r"true labels of pal_people_facts, .*not finite at step 1"):
        cast.start(ctx)
    assert not list((tmp_path / "cache").rglob("*.safetensors"))
    assert isinstance(ctx.cache, Cache)


# --- settings -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"sources": -1}, "sources is -1; at least 0"),
        ({"draws": 0}, "draws is 0; at least 1"),
        ({"controlled": 1}, "controlled is 1; at least 2"),
        ({"train_items": 31}, "train_items is 31; at least 32"),
        ({"test_items": 0}, "test_items is 0; at least 32"),
        ({"fewer_items": 10}, "fewer_items is 10; at least 32"),
        ({"probe_items": 10}, "probe_items is 10; at least 32"),
        ({"relearn_steps": 0}, "relearn_steps is 0; at least 1"),
        ({"tuning_epochs": 0}, "tuning_epochs is 0; at least 1"),
        ({"epochs": 0}, "epochs is 0; at least 1"),
        ({"batch_size": 0}, "batch_size is 0; at least 1"),
        ({"lora_rank": -1}, "lora_rank is -1; at least 0"),
        ({"learning_rate": 0.0}, "learning_rate is 0.0; a rate above 0 and below 1"),
        ({"tuning_rate": 1.5}, "tuning_rate is 1.5; a rate above 0 and below 1"),
        ({"learning_rate": float("nan")}, "learning_rate is nan"),
        ({"stop_at": 0.5}, "'stop_at' of the tuning is 0.5; an agreement above 0.5"),
        ({"stop_at": 1.01}, "'stop_at' of the tuning is 1.01"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        Parameters(**settings)


def test_settings_at_the_edge_are_accepted(tmp_path: Path) -> None:
    Parameters(sources=0, lora_rank=0, draws=1, controlled=2, train_items=32, stop_at=1.0)
    ctx = context(tmp_path, stop_at=1.0)
    assert cast.forgetting(ctx, ctx.lm).stop_at is None
