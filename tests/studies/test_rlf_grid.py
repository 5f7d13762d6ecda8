"""Chapter 2's grid, families, regimes and variants: measures by hand, null data, whole studies."""

import numpy as np
import pandas as pd
import pytest
from chapter2 import TASKS, context, invented

from palimpsest.core.study import assert_null_rate
from palimpsest.forgetting import measures
from palimpsest.studies.random_label_forgetting import cast, families, grid, regimes, variants

STUDIES = (grid.grid, families.families, regimes.regimes, variants.variants)


@pytest.mark.parametrize("study", [pytest.param(one, id=one.name) for one in STUDIES])
def test_null_data_hold_no_claim(study):
    assert_null_rate(study)


# --- the grid -----------------------------------------------------------------------------------


def answers(right: dict[str, int], items: int = 40, **columns: object) -> pd.DataFrame:
    """Of each task the first so many items answered right."""
    parts = [
        pd.DataFrame({"task": task, "item": np.arange(items), "correct": np.arange(items) < many})
        for task, many in right.items()
    ]
    return pd.concat(parts, ignore_index=True).assign(**columns)


def test_the_split_finds_tasks_that_differ_and_not_tasks_that_do_not():
    rng = np.random.default_rng(0)
    names = [f"t{number}" for number in range(8)]
    before = invented(rng, dict.fromkeys(names, 1.0), items=200)
    ends = {name: (0.5, 1.0)[place % 2] for place, name in enumerate(names)}
    apart = grid.split_gap(before, invented(rng, ends, items=200), seed=0)
    assert apart.value == pytest.approx(1.0, abs=0.15)
    assert apart.low > 0.5
    alike = grid.split_gap(before, invented(rng, dict.fromkeys(names, 0.75), items=200), seed=0)
    assert alike.low < 0 < alike.high


def test_tasks_that_were_not_learned_leave_no_gap():
    before = answers(dict.fromkeys("abcde", 20))
    assert np.isnan(grid.split_gap(before, before, seed=0).value)


def test_a_diagonal_of_its_own_adds_nothing():
    rows = np.array([0.0, 0.1, 0.2, 0.3])
    square = rows[:, None] + np.array([0.0, 0.2, 0.4, 0.6])[None, :]
    np.fill_diagonal(square, 5.0)
    names = list("abcd")
    cells = pd.DataFrame(
        [(s, t, 0, square[i, j]) for i, s in enumerate(names) for j, t in enumerate(names)],
        columns=["source", "task", "draw", "value"],
    )
    filled = grid.off_diagonal(cells)
    shares = measures.variance_shares(filled, draws=20).set_index("part")["value"]
    assert shares["residual"] == pytest.approx(0, abs=1e-6)
    assert shares["column"] == pytest.approx(0.8, abs=1e-3)
    kept = filled["source"] != filled["task"]
    assert (filled.loc[kept, "value"].to_numpy() == cells.loc[kept, "value"].to_numpy()).all()


def test_draws_of_a_cell_are_averaged_and_a_gap_stays_one():
    cells = pd.DataFrame(
        {
            "source": ["a", "a", "b", "b"], "task": ["x"] * 4, "draw": [0, 1, 0, 1],
            "value": [0.2, 0.4, np.nan, 0.1],
        }
    )  # fmt: skip
    means = grid.over_draws(cells).set_index("source")["value"]
    assert means["a"] == pytest.approx(0.3)
    assert np.isnan(means["b"])


# --- families -----------------------------------------------------------------------------------


def test_another_task_that_takes_more_is_found():
    before = answers({"a": 40, "b": 40, "c": 40})
    parts = [
        answers({"a": 36, "b": 20, "c": 36}, source="a", draw=0),
        answers({"a": 36, "b": 36, "c": 36}, source="b", draw=0),
        answers({"a": 36, "b": 36, "c": 20}, source="c", draw=0),
    ]
    table = families.through_others(before, pd.concat(parts, ignore_index=True), seed=0)
    table = table.set_index("task")
    assert table.loc["b", "other"] == "a"
    assert table.loc["b", "clear"]
    assert table.loc["b", "difference"] == pytest.approx(0.4)
    assert table.loc["c", "difference"] < 0
    assert families.share_clear(table).value == pytest.approx(1 / 3)


def test_two_sources_leave_nothing_to_choose():
    before = answers({"a": 40, "b": 40})
    after = pd.concat([before.assign(source=one, draw=0) for one in "ab"], ignore_index=True)
    table = families.through_others(before, after, seed=0)
    assert table.empty
    assert families.share_clear(table).value is None


def test_one_kind_alone_has_no_gap():
    ratios = pd.Series({"a": 0.5, "b": 0.7, "c": np.nan})
    values = families.kind_gap(ratios, {"a": "shared", "b": "shared", "c": "content"}, seed=0)
    assert values["shared_ratio"].value == pytest.approx(0.6)
    assert values["kind_gap"].value is None


# --- regimes and variants -----------------------------------------------------------------------


def test_the_middle_is_counted_among_what_was_learned():
    table = pd.DataFrame(
        {"value": [0.5, 0.9, np.nan, 0.1], "regime": ["between", "below", "unclear", "stays"]}
    )
    found = regimes.middle_share(table)
    assert found.value == pytest.approx(1 / 3)
    assert found.n == 3


def test_losses_of_different_halves():
    rng = np.random.default_rng(1)
    names = [f"t{number}" for number in range(10)]
    before = invented(rng, dict.fromkeys(names, 1.0), items=100)
    ends = dict(zip(names, np.linspace(0.5, 1.0, 10), strict=True))
    one, other = (invented(rng, ends, items=100) for _ in range(2))
    rho = variants.alike(variants.halved_losses(before, one, other, seed=0), seed=0)
    assert rho.value > 0.8
    assert rho.ci95[0] > 0.3
    assert variants.alike(variants.halved_losses(before, one, other, 0).iloc[:4], 0).value is None


# --- whole studies ------------------------------------------------------------------------------


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_the_studies_on_a_model_that_knows_nothing(tmp_path, architecture):
    ctx = context(tmp_path, architecture)
    results = {study.name: study(ctx) for study in STUDIES}
    assert set(results["grid"].figures) == {"forgetting", "grid"}
    assert len(results["grid"].tables["grid"]) == 3 * len(TASKS)
    assert len(results["grid"].tables["dose"]) == 3 * 2
    assert set(results["variants"].figures) == {"fewer", "flipped"}
    assert results["variants"].notes.keys() == {"rl-7", "rl-8"}
    assert results["regimes"].tables["regimes"]["start"].nunique() == 1


def test_a_grid_goes_on_cell_by_cell(tmp_path):
    lines = []
    for draws in (1, 2, 2):
        ctx = context(tmp_path, draws=draws)
        ctx.progress = lines.append
        grid.after_all(ctx)
        lines.append("done")
    runs = "\n".join(lines).split("done")
    computed = [run.count("tuned_on") - run.count(", cached") for run in runs[:3]]
    # The tuned model and three sources; three more of another draw; nothing.
    assert computed == [4, 3, 0]
    assert cast.sources(ctx) == list(cast.items_of(ctx))[:3]
