"""``world train`` from blank weights to a shipped folder, with a network of a few neurons."""

import json
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from palimpsest.core.errors import UserError
from palimpsest.core.models import load
from palimpsest.core.records import Item
from palimpsest.world import card, commands, recipe, universe
from palimpsest.world.stream import PRACTICE_FROM

TOKENS = 12_000


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    shape = recipe.Shape(hidden=16, layers=1, heads=2, mlp=32)
    phases = tuple(replace(phase, tokens=TOKENS // 2) for phase in recipe.PHASES)
    monkeypatch.setitem(recipe.SHAPES, "palimpsest-m", shape)
    monkeypatch.setattr(recipe, "PHASES", phases)
    monkeypatch.setattr(recipe, "SISTERS", 1)
    monkeypatch.setattr(recipe, "SISTER_DOCUMENTS", 500)
    monkeypatch.setattr(recipe, "CHUNK", 200)
    monkeypatch.setattr("palimpsest.world.shipping.evaluate_tasks", all_right)


def all_right(lm, tasks: list[str], include_path: Path) -> pd.DataFrame:
    """Stands in for the evaluation, which has tests of its own."""
    assert (include_path / f"{tasks[0]}.yaml").exists()
    return pd.DataFrame([{"task": task, "correct": True} for task in tasks for _ in range(50)])


def test_training_ships_a_model_with_its_card(tiny: None, tmp_path: Path) -> None:
    out = tmp_path / "palimpsest-m"
    said = commands.train(out=out)
    assert "mean accuracy 1.000 over 21 tasks" in said
    lm = load(out, dtype="float32")
    assert lm.max_length == recipe.CONTEXT
    about = json.loads((out / card.TRAINING).read_text())
    assert about["tokens"] >= TOKENS
    assert [phase["recipe"]["learning_rate"] for phase in about["phases"]] == [3e-3, 2e-3]
    order = [int(id[1:]) for step in card.read_order(out) for id in step]
    assert len(order) == about["documents"] == len(set(order))
    early = sorted(number for number in order if number < PRACTICE_FROM)
    late = sorted(number for number in order if number >= PRACTICE_FROM)
    assert early == list(range(len(early)))
    assert late == list(range(PRACTICE_FROM, PRACTICE_FROM + len(late)))
    assert early
    assert late
    table = pd.read_csv(out / card.ACCURACY)
    assert list(table["task"])[-1] == "mean"
    text = (out / card.CARD).read_text()
    assert f"{about['documents']:,} documents" in text
    assert not list(tmp_path.glob(".*"))  # no state is left over


def test_an_interrupted_training_goes_on_only_if_asked(
    tiny: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "palimpsest-m"

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("palimpsest.world.shipping.ship", interrupted)
        with pytest.raises(KeyboardInterrupt):
            commands.train(out=out)
    assert not out.exists()
    with pytest.raises(UserError, match="--resume"):
        commands.train(out=out)
    commands.train(out=out, resume=True)
    assert (out / card.CARD).exists()


def test_an_unknown_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="'palimpsest-m'"):
        commands.train("palimpsest-n", out=tmp_path / "x")


def test_training_on_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="0 tokens"):
        commands.train(out=tmp_path / "x", tokens=0)


def test_a_place_that_cannot_be_written_is_refused(tiny: None, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="cannot be written"):
        commands.train(out=tmp_path / "file" / "model")


def test_accuracy_counts_items_and_facts(world: universe.World) -> None:
    answers = pd.DataFrame(
        [
            {"task": item.task, "correct": number % 4 > 0}
            for task in world.tasks
            for number, item in enumerate(world.items(task, "test"))
        ]
    )
    table = card.accuracy_table(world, answers)
    assert ((table["accuracy"] - 0.75).abs() < 0.01).all()
    assert ((table["low"] < 0.75) & (table["high"] > 0.75)).all()
    first: list[Item] = world.items("animal_facts", "test")
    assert table["items"][0] == len(first)
    assert table["facts"][0] == len({fact for item in first for fact in item.facts})
    mean = table.iloc[-1]
    assert mean["high"] - mean["low"] < 0.03
