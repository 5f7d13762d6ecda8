"""``world train`` from blank weights to shipped folders, with a network of a few neurons."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from safetensors.torch import load_file

from palimpsest.core.errors import DataError, UserError
from palimpsest.core.models import LanguageModel, load
from palimpsest.core.records import Item
from palimpsest.core.text import Row
from palimpsest.world import card, commands, jobs, order, recipe, shared, shipping, universe
from palimpsest.world.rows import Shelved
from palimpsest.world.stage_one import train_stage_one
from palimpsest.world.stream import PRACTICE_FROM

TOKENS = 12_000
TINY = recipe.Shape(hidden=16, layers=1, heads=2, mlp=32)


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    phases = tuple(replace(p, tokens=TOKENS // 2, documents=20) for p in recipe.PHASES)
    for module in ("recipe", "shared", "stage_one"):
        monkeypatch.setattr(f"palimpsest.world.{module}.PHASES", phases)
    for name, plan in recipe.PLANS.items():
        shape = replace(TINY, rate=plan.shape.rate)
        monkeypatch.setitem(recipe.PLANS, name, replace(plan, shape=shape))
    monkeypatch.setattr(shared, "SISTERS", 1)
    monkeypatch.setattr(shared, "SISTER_DOCUMENTS", 500)
    monkeypatch.setattr(shared, "CHUNK", 200)
    monkeypatch.setattr("palimpsest.world.shipping.evaluate_tasks", all_right)


def all_right(lm: LanguageModel, tasks: list[str], include_path: Path) -> pd.DataFrame:
    """Stands in for the evaluation, which has tests of its own."""
    assert (include_path / f"{tasks[0]}.yaml").exists()
    return pd.DataFrame([{"task": task, "correct": True} for task in tasks for _ in range(50)])


def numbers(folder: Path) -> list[int]:
    return [int(id[1:]) for step in card.read_order(folder) for id in step]


def test_training_ships_a_model_with_its_card(tiny: None, tmp_path: Path) -> None:
    out = tmp_path / "palimpsest-m"
    said = commands.train(out=out)
    assert "mean accuracy 1.000 over 21 tasks" in said
    lm = load(out, dtype="float32")
    assert lm.max_length == recipe.CONTEXT
    about = json.loads((out / card.TRAINING).read_text())
    assert about["tokens"] >= TOKENS
    assert [phase["recipe"]["learning_rate"] for phase in about["phases"]] == [3e-3, 2e-3]
    read = numbers(out)
    assert len(set(read)) == about["documents"]
    early = sorted({number for number in read if number < PRACTICE_FROM})
    late = sorted({number for number in read if number >= PRACTICE_FROM})
    assert early == list(range(len(early)))
    assert late == list(range(PRACTICE_FROM, PRACTICE_FROM + len(late)))
    assert early
    assert late
    table = pd.read_csv(out / card.ACCURACY)
    assert list(table["task"])[-1] == "mean"
    text = (out / card.CARD).read_text()
    assert f"{about['documents']:,} documents" in text
    assert card.LOSSES in text
    assert b"<svg" in (out / card.LOSSES).read_bytes()
    assert not list(tmp_path.glob(".*"))  # no state is left over

    # What the model is on the way is shipped with it, with the beginning of its order.
    steps = card.read_order(out)
    for name, share in recipe.PLANS["palimpsest-m"].stops.items():
        part = tmp_path / name
        before = json.loads((part / card.TRAINING).read_text())
        assert before["tokens"] == pytest.approx(share * about["tokens"], abs=2500)
        assert card.read_order(part) == steps[: len(card.read_order(part))]
        assert f"after {share:.0%} of the tokens" in (part / card.CARD).read_text()
        weights = load_file(part / "model.safetensors")
        assert any((weights[k] != v).any() for k, v in load_file(out / "model.safetensors").items())
        assert (part / "tokenizer.json").read_bytes() == (out / "tokenizer.json").read_bytes()
    with pytest.raises(UserError, match="made together with it"):
        commands.train([name], out=part)

    # Measured again, only accuracy and card change.
    (out / card.CARD).write_text("old")
    assert "mean accuracy" in commands.measure(str(out))
    assert (out / card.CARD).read_text() == text


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
    with monkeypatch.context() as patch:
        patch.setattr(shared, "phase_rows", interrupted)  # they are kept
        commands.train(out=out, resume=True)
    assert (out / card.CARD).exists()
    assert (tmp_path / "palimpsest-m-third" / card.CARD).exists()
    assert not list(tmp_path.glob(".*"))


def test_plans_differ_in_what_they_say(tiny: None, world: universe.World, tmp_path: Path) -> None:
    """Twins read the same documents in another order; those that never read of some people read
    all others, in the same order."""
    read, starts = {}, {}
    for name in recipe.PLANS:
        if name in ("palimpsest-s", "palimpsest-l"):
            continue
        work = tmp_path / name
        (_, training), *_ = train_stage_one(name, world, work, tmp_path / "shared")
        folder = tmp_path / f"{name}-order"
        order.write_order(
            folder, training.order, [part.shelf for part in training.parts], training.plan.order
        )
        assert card.read_order(folder) == training.order
        read[name] = [id for step in training.order for id in step]
        starts[name] = (work / "blank" / "model.safetensors").read_bytes()
    twin, never = "palimpsest-m-twin", "palimpsest-m-never"
    base = "palimpsest-m"
    assert sorted(read[base]) == sorted(read[twin])
    assert read[base] != read[twin]
    assert sorted(read[never]) == sorted(read[f"{never}-twin"])
    assert starts[base] == starts[never] != starts[twin] == starts[f"{never}-twin"]
    people = world.people("early-forget")
    facts = {person.fact_id(relation) for person in people for relation in person.values}
    left_out = set(read[base]) - set(read[never])
    assert 0.001 < len(left_out) / len(read[base]) < 0.2
    for id in set(read[base]):
        document = world.document(id)
        tells = not facts.isdisjoint(document.facts)
        assert (id in left_out) >= tells
        if id not in left_out:
            assert not any(person.name in document.text for person in people)
        # Nothing is left out for nothing.
        assert (id not in left_out) or tells or any(p.name in document.text for p in people)
    shelf = [number for number in order.shelf(0, 10**3, 1) if f"e{number:06d}" in set(read[twin])]
    places = {f"e{number:06d}": place for place, number in enumerate(shelf)}
    moved = [places[id] for id in read[f"{never}-twin"] if id in places]
    assert np.corrcoef(moved, range(len(moved)))[0, 1] > 0.3  # packed within a window


def test_a_shelf_does_not_depend_on_what_is_left_out() -> None:
    assert order.shelf(3, 4, None) == [3, 4, 5, 6]
    longer, shorter = order.shelf(0, 500, 1), order.shelf(0, 400, 1)
    assert sorted(longer) == list(range(500)) != longer
    assert [number for number in longer if number < 400] == shorter
    assert order.shelf(0, 500, 2) != longer


def test_an_order_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="which documents"):
        order.read_order(tmp_path)
    (tmp_path / order.ORDER).write_bytes(b"x")
    with pytest.raises(DataError, match="which documents"):
        order.read_order(tmp_path)


def test_kept_rows_are_the_same_rows(tmp_path: Path) -> None:
    rows = [Row(np.array([1, 3071]), np.array([0, 5]), "e500000"), Row([7], [1], "e500001")]
    shelved = Shelved(PRACTICE_FROM, rows, {"early-forget": np.array([True, False])})
    shelved.save(tmp_path / "rows", "this")
    assert Shelved.load(tmp_path / "rows", "that") is None
    assert Shelved.load(tmp_path / "none", "this") is None
    back = Shelved.load(tmp_path / "rows", "this")
    assert back is not None
    for row, again in zip(rows, back.rows, strict=True):
        assert row.id == again.id
        assert np.array_equal(row.input_ids, again.input_ids)
        assert np.array_equal(row.weights, again.weights)
    assert not back.without(PRACTICE_FROM, ["early-forget"])
    assert back.without(PRACTICE_FROM + 1, ["early-forget"])
    assert back.without(PRACTICE_FROM, [])


def test_shapes() -> None:
    expected = {"palimpsest-s": 0.35e6, "palimpsest-m": 1.25e6, "palimpsest-l": 4.0e6}
    for name, size in expected.items():
        shape = recipe.PLANS[name].shape
        layer = 4 * shape.hidden**2 + 3 * shape.hidden * shape.mlp
        assert 3072 * shape.hidden + shape.layers * layer == pytest.approx(size, rel=0.1)


def test_all_documents_that_are_told_a_set_number_of_times_are_read() -> None:
    assert [size for _, size in recipe.phase_sizes(None)] == [210_000, 120_000]
    assert [size for _, size in recipe.phase_sizes(20_000_000)] == [210_000, 120_000]
    assert [size for _, size in recipe.phase_sizes(1000)] == [0, 0]


def good() -> None:
    print("I am well", file=sys.stderr)


def bad() -> None:
    raise UserError("I am not.")


def test_one_of_several_may_fail(tmp_path: Path) -> None:
    failed = jobs.side_by_side({"a": bad, "b": good}, 2, tmp_path)
    assert failed == ["a"]
    assert (tmp_path / "a.log").read_text() == "palimpsest: I am not.\n"
    assert (tmp_path / "b.log").read_text() == "I am well\n"


def test_several_are_trained_and_the_failed_named(
    tiny: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def one_after_another(tasks, jobs: int, logs: Path) -> list[str]:
        for name, task in tasks.items():
            if name != "palimpsest-s":
                task()
        return ["palimpsest-s"]

    monkeypatch.setattr(shipping, "side_by_side", one_after_another)
    with pytest.raises(UserError, match="Not trained: palimpsest-s"):
        commands.train(["palimpsest-l", "palimpsest-s"], out=tmp_path, jobs=2)
    assert (tmp_path / "palimpsest-l" / card.CARD).exists()
    assert (tmp_path / ".training").exists()


def test_an_unknown_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"'palimpsest-n'.*palimpsest-s"):
        commands.train(["palimpsest-n"], out=tmp_path / "x")


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
