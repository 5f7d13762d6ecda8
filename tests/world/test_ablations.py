"""The short trainings that vary one choice of the recipe at a time, made tiny."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from palimpsest.core.errors import UserError
from palimpsest.core.text import Row
from palimpsest.world import ablations, commands, recipe, shared
from palimpsest.world.rows import ANSWER_WEIGHT

SHAPE = recipe.Shape(hidden=16, layers=1, heads=2, mlp=32)


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    phases = tuple(replace(phase, documents=20) for phase in recipe.PHASES)
    for module in (recipe, shared, ablations):
        monkeypatch.setattr(module, "PHASES", phases)
    monkeypatch.setattr(shared, "SISTERS", 1)
    monkeypatch.setattr(shared, "SISTER_DOCUMENTS", 500)
    monkeypatch.setattr(shared, "CHUNK", 200)
    monkeypatch.setattr(ablations, "BASE", replace(ablations.BASE, shape=SHAPE))
    varied = [each for each in ablations.VARIED if each.run in ("weight-1", "questions-30")]
    larger = next(each for each in ablations.VARIED if each.axis == "size")
    varied = [*(replace(each, shape=SHAPE) for each in varied), replace(larger, shape=SHAPE)]
    monkeypatch.setattr(ablations, "VARIED", tuple(varied))
    monkeypatch.setattr(ablations, "MEDIUM", SHAPE)
    monkeypatch.setattr(ablations, "TIMED_STEPS", 2)
    monkeypatch.setattr(ablations, "evaluate_tasks", half_right)


def half_right(lm, tasks: list[str], split: str) -> pd.DataFrame:
    assert split == "validation"
    return pd.DataFrame([{"task": t, "correct": n < 5} for t in tasks for n in range(10)])


def test_a_table_with_a_row_for_each_run_and_task(
    tiny: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[str]] = []

    def in_this_process(tasks, jobs: int, logs: Path) -> list[str]:
        asked.append(list(tasks))
        for name, task in tasks.items():
            if len(asked) > 1 or name != "weight-1":
                task()
        return ["weight-1"] if len(asked) == 1 else []

    monkeypatch.setattr(ablations, "side_by_side", in_this_process)
    out = tmp_path / "world" / "ablations.csv"
    with pytest.raises(UserError, match="weight-1"):
        commands.ablate(out, tokens=6000, jobs=2)
    assert "size palimpsest-m: 0.500" in commands.ablate(out, tokens=6000, jobs=2)
    assert asked[1] == ["weight-1"]  # what was done is not done again
    table = pd.read_csv(out)
    assert list(table) == list(ablations.COLUMNS)
    assert set(table["axis"]) == {"answer weight", "question share", "size"}
    assert (table.groupby(["axis", "run"])["task"].nunique() == 21).all()
    assert (table.groupby("axis")["run"].agg(lambda runs: "base" in set(runs))).all()
    assert (table["n"] == 10).all()
    assert (table.loc[table["axis"] != "size", "tokens"] - 6000).abs().max() < 500
    assert not (tmp_path / ablations.WORK).exists()


def rows(count: int, weight: float) -> list[Row]:
    return [Row(np.arange(10), np.full(10, weight), f"{weight}-{i}") for i in range(count)]


def test_the_share_of_questions_is_kept_all_along() -> None:
    supply = [*rows(100, ANSWER_WEIGHT), *rows(100, 1.0)]
    each = replace(ablations.BASE, question_share=0.3)
    mixed = ablations._mixed(supply, each, 1000)
    assert sum(len(row) for row in mixed) == 1000
    for part in (mixed[:50], mixed):
        assert ablations._question_share(part) == pytest.approx(0.3, abs=0.03)
    with pytest.raises(UserError, match="too few"):
        ablations._mixed(supply, each, 2500)
    assert ablations._mixed(supply, ablations.BASE, 50) == supply[:5]


def test_only_answers_are_weighed_anew() -> None:
    row = Row(np.arange(3), np.array([0, 1, ANSWER_WEIGHT]), "x")
    assert ablations._weighed(row, 20.0).weights.tolist() == [0, 1, 20]
