"""Measures of forgetting against hand-worked values, slow oracles, planted grids and null data."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from scipy.cluster import hierarchy
from sklearn.metrics import roc_auc_score

from palimpsest.core.errors import DataError
from palimpsest.forgetting import measures
from palimpsest.forgetting.measures import (
    accuracy,
    agreement,
    cells,
    confidence,
    flipped_ratio,
    forget_gap,
    forget_ratio,
    grid,
    join,
    label_bias,
    rank_one,
    regimes,
    upgma_order,
    variance_shares,
    wide,
)


def answers(correct, task="t", labels=None, size=1.0, **more) -> pd.DataFrame:
    """Answers that are right or wrong as asked, with margins of one size."""
    correct = np.asarray(correct, dtype=bool)
    margin = np.where(correct, size, -size)
    return pd.DataFrame(
        {
            "task": task,
            "item": [f"{task}/{place}" for place in range(len(correct))],
            "label": np.arange(len(correct)) % 2 if labels is None else labels,
            "margin": margin,
            "p": 1 / (1 + np.exp(-margin)),
            "correct": correct,
            **more,
        }
    )


def share(right: int, n: int = 100) -> np.ndarray:
    return np.arange(n) < right


def several(rng, chances: dict[tuple[str, str], float], n=40, draws=2) -> pd.DataFrame:
    """Answers after randomising sources, by chance of being right."""
    return pd.concat(
        [
            answers(rng.random(n) < chance, task, source=source, draw=draw)
            for (source, task), chance in chances.items()
            for draw in range(draws)
        ],
        ignore_index=True,
    )


# --- one task -----------------------------------------------------------------------------------


def test_hand_worked_numbers():
    before, after = answers(share(90)), answers(share(60))
    assert accuracy(after).value == pytest.approx(0.6)
    assert forget_gap(after).value == pytest.approx(0.1)
    assert forget_ratio(before, after).value == pytest.approx(0.3 / 0.4)
    assert flipped_ratio(before, after).value == pytest.approx(0.3 / 0.8)
    p = 1 / (1 + math.exp(-1))
    assert confidence(after).value == pytest.approx(0.6 * p + 0.4 * (1 - p))
    found = forget_ratio(before, after)
    assert found.n == 100
    assert found.low < 0.75 < found.high


def test_forgotten_wholly_and_beyond_and_gained():
    before = answers(share(90))
    assert forget_ratio(before, answers(share(50))).value == pytest.approx(1)
    assert forget_ratio(before, answers(share(10))).value == pytest.approx(2)
    assert flipped_ratio(before, answers(share(10))).value == pytest.approx(1)
    assert forget_ratio(before, answers(share(94))).value == pytest.approx(-0.1)


def test_the_ratio_is_guarded_at_five_points_above_chance():
    after = answers(share(50))
    assert math.isnan(forget_ratio(answers(share(54)), after).value)
    assert math.isnan(flipped_ratio(answers(share(54)), after).value)
    at = forget_ratio(answers(share(55)), after)
    assert at.value == pytest.approx(1)
    assert (at.low, at.high) == (-math.inf, math.inf)  # 0.55 of 100 may well be chance


def test_exercise_12_shows_how_wide_a_ratio_of_a_poor_task_is():
    rng = np.random.default_rng(0)
    poor, good = (
        forget_ratio(answers(rng.permutation(share(right, 200))), answers(share(100, 200)))
        for right in (120, 180)
    )
    assert poor.high - poor.low > 3 * (good.high - good.low)


def test_nothing_changed_is_not_an_interval_of_no_width():
    before = answers(share(90))
    found = forget_ratio(before, before)
    assert found.value == 0
    assert found.low < 0 < found.high
    assert found.high < 0.2


def test_answers_before_stand_for_every_draw():
    before = answers(share(90))
    after = pd.concat([answers(share(right), draw=draw) for draw, right in enumerate((50, 60, 70))])
    found = forget_ratio(before, after)
    assert found.value == pytest.approx(0.75)
    assert found.n == 100
    alone = forget_ratio(before, answers(share(60)))
    assert found.high - found.low > alone.high - alone.low  # draws differ


def test_intervals_of_the_ratio_cover():
    rng = np.random.default_rng(3)
    missed = [0, 0]
    for round_ in range(200):
        skill = rng.beta(4, 1, 100)  # easy items are easy for both
        before, after = (answers(rng.random(100) < part) for part in (skill, 0.5 + skill / 5))
        found = forget_ratio(before, after, draws=300, seed=round_)
        truth = (0.8 - 0.66) / 0.3
        missed[0] += truth < found.low
        missed[1] += truth > found.high
    assert max(missed) <= 0.05 * 200


def test_tables_that_do_not_belong_together_are_refused():
    before = answers(share(9, 10))
    with pytest.raises(DataError, match="same items"):
        forget_ratio(before, answers(share(9, 11)))
    with pytest.raises(DataError, match="same items"):
        forget_ratio(before, answers(share(9, 9)))
    with pytest.raises(DataError, match="several answers"):
        forget_ratio(before, pd.concat([before, before]))
    with pytest.raises(DataError, match="lack the columns correct"):
        join(before.drop(columns="correct"), before)
    with pytest.raises(DataError, match="'margin'"):
        label_bias(before, before.drop(columns="margin"))


def test_agreement_with_the_labels_that_were_given():
    found = answers([True, True, False, False], labels=[0, 1, 0, 1])  # chosen: 0 1 1 0
    given = pd.DataFrame({"item": found["item"], "given": [0, 0, 1, 1]})
    assert agreement(found, given).value == pytest.approx(0.5)
    drawn = pd.concat([found.assign(draw=0), found.assign(draw=1)])
    labels = pd.concat([given.assign(draw=0), given.assign(draw=1, given=[0, 1, 1, 0])])
    assert agreement(drawn, labels).value == pytest.approx(0.75)
    with pytest.raises(DataError, match="no label was given"):
        agreement(found, given[1:])


# --- the grid -----------------------------------------------------------------------------------


def test_the_grid_equals_a_slow_loop():
    rng = np.random.default_rng(0)
    tasks = ["a", "b", "c"]
    before = pd.concat([answers(rng.random(40) < 0.9, task) for task in tasks])
    after = several(rng, {pair: rng.random() for pair in itertools.product("xa", tasks)})
    after = after.sample(frac=1, random_state=0)  # order of rows does not matter
    found = grid(before, after, draws=100)
    assert len(found) == 6
    by_draw = cells(before, after)
    for line in found.itertuples():
        own = before[before["task"] == line.task].set_index("item")["correct"]
        rows = after[(after["source"] == line.source) & (after["task"] == line.task)]
        lost = np.mean([float(own[row.item]) - row.correct for row in rows.itertuples()])
        assert line.value == pytest.approx(lost / (own.mean() - 0.5))
        assert line.low <= line.value <= line.high
        assert line.n == 40
        for draw in (0, 1):
            right = rows[rows["draw"] == draw]["correct"].mean()
            [one] = by_draw.query(
                "source == @line.source and task == @line.task and draw == @draw"
            )["value"]
            assert one == pytest.approx((own.mean() - right) / (own.mean() - 0.5))
    square = wide(by_draw)
    assert square.loc["x", "b"] == pytest.approx(
        found.set_index(["source", "task"]).loc[("x", "b"), "value"]
    )
    halves = grid(before, after, flipped=True, draws=100)["value"] * 2
    np.testing.assert_allclose(halves, found["value"])


def test_the_grid_reads_each_answer_a_fixed_number_of_times(monkeypatch):
    """Linear in the answers: what each cell gets adds up to the whole table."""
    sizes = []
    ratio = measures._ratio
    monkeypatch.setattr(
        measures, "_ratio", lambda part, *rest: sizes.append(len(part)) or ratio(part, *rest)
    )
    rng = np.random.default_rng(0)
    before = pd.concat([answers(rng.random(40) < 0.9, task) for task in "abcd"])
    after = several(rng, dict.fromkeys(itertools.product("abcd", repeat=2), 0.7))
    grid(before, after, draws=20)
    assert sum(sizes) == len(after)


def test_regimes_by_intervals():
    n = 400
    tasks = {  # pretrained, before, after
        "stays": (240, 380, 378),
        "between": (220, 380, 300),
        "below": (300, 380, 200),
        "same": (300, 380, 300),
        "unlearned": (200, 205, 200),
    }
    tables = [
        pd.concat([answers(share(rights[place], n), task) for task, rights in tasks.items()])
        for place in range(3)
    ]
    found = regimes(*tables, draws=300).set_index("task")["regime"]
    assert dict(found) == {
        "stays": "stays",
        "between": "between",
        "below": "below the pretrained",
        "same": "unclear",
        "unlearned": "unclear",
    }


def test_a_task_that_falls_to_the_pretrained_is_seldom_given_a_regime():
    rng = np.random.default_rng(1)
    wrong = 0
    for round_ in range(200):
        skills = [rng.random(100) < chance for chance in (0.7, 0.95, 0.7)]
        [regime] = regimes(*map(answers, skills), draws=200, seed=round_)["regime"]
        wrong += regime in ("between", "below the pretrained")
    assert wrong <= 0.05 * 2 * 200  # either side, each at 2.5 % (and luck)


def test_upgma_brings_blocks_together_and_takes_gaps():
    rng = np.random.default_rng(0)
    kinds = np.array([0, 1, 0, 1, 0, 1])
    square = np.where(kinds[:, None] == kinds, 1.0, 0.0) + rng.normal(0, 0.05, (6, 6))
    names = list("abcdef")
    table = pd.DataFrame(square, index=names, columns=names)
    expected = hierarchy.leaves_list(hierarchy.linkage(square, "average", optimal_ordering=True))
    rows, columns = upgma_order(table)
    assert rows == [names[place] for place in expected]
    assert {frozenset(rows[:3]), frozenset(rows[3:])} == {frozenset("ace"), frozenset("bdf")}
    table.loc["a", "b"] = table.loc["d", "f"] = np.nan
    table["c"] = np.nan
    rows, columns = upgma_order(table)
    assert {frozenset(rows[:3]), frozenset(rows[3:])} == {frozenset("ace"), frozenset("bdf")}
    assert sorted(columns) == names
    assert upgma_order(table * np.nan)[0] is not None
    assert upgma_order(table.iloc[:1, :2]) == (["a"], ["a", "b"])


# --- what makes the grid up ---------------------------------------------------------------------


def as_cells(cube: np.ndarray) -> pd.DataFrame:
    sources, tasks, draws = cube.shape
    keys = itertools.product(
        [f"s{i}" for i in range(sources)], [f"t{i}" for i in range(tasks)], range(draws)
    )
    return pd.DataFrame(list(keys), columns=["source", "task", "draw"]).assign(value=cube.ravel())


def slow_shares(cube):
    means = cube.mean(axis=2)
    mean = means.mean()
    parts = {"row": 0.0, "column": 0.0, "residual": 0.0, "noise": 0.0}
    for s, t, d in np.ndindex(cube.shape):
        row, column = means[s].mean() - mean, means[:, t].mean() - mean
        parts["row"] += row**2
        parts["column"] += column**2
        parts["residual"] += (means[s, t] - mean - row - column) ** 2
        parts["noise"] += (cube[s, t, d] - means[s, t]) ** 2
    total = ((cube - mean) ** 2).sum()
    assert sum(parts.values()) == pytest.approx(total)
    return {name: part / total for name, part in parts.items()}


def test_shares_equal_a_slow_loop():
    cube = np.random.default_rng(0).normal(size=(5, 4, 3))
    found = variance_shares(as_cells(cube), draws=100).set_index("part")
    expected = slow_shares(cube)
    for name, value in expected.items():
        assert found.loc[name, "value"] == pytest.approx(value)
    gap = expected["column"] - expected["row"]
    assert found.loc["column minus row", "value"] == pytest.approx(gap)
    assert (found["n"] == 4).all()
    one = variance_shares(as_cells(cube[:, :, :1]), draws=100).set_index("part")
    assert "noise" not in one.index
    assert one.loc[["row", "column", "residual"], "value"].sum() == pytest.approx(1)


def test_pure_effects_take_the_whole_variance():
    column = np.tile(np.arange(6.0), (6, 1))[:, :, None]
    found = variance_shares(as_cells(column), draws=100).set_index("part")["value"]
    assert found["column"] == pytest.approx(1)
    assert found["row"] == pytest.approx(0)
    constant = variance_shares(as_cells(np.ones((4, 4, 2))), draws=50)
    assert constant["value"].isna().all()


def test_tasks_with_gaps_are_left_out():
    cube = np.random.default_rng(0).normal(size=(5, 4, 2))
    gappy = cube.copy()
    gappy[:, 2] = np.nan
    rest = variance_shares(as_cells(cube[:, [0, 1, 3]]), draws=50)
    found = variance_shares(as_cells(gappy), draws=50)
    np.testing.assert_allclose(found["value"], rest["value"])
    assert (found["n"] == 3).all()
    nothing = variance_shares(as_cells(np.full((3, 3, 1), np.nan)), draws=50)
    assert nothing["value"].isna().all()
    assert math.isnan(rank_one(as_cells(np.full((3, 3, 1), np.nan))).p)


@pytest.mark.parametrize("effect", [0.0, 3.0])
def test_column_minus_row_is_seldom_clear_of_0_where_both_are_alike(effect):
    rng = np.random.default_rng(0)
    clear = 0
    for round_ in range(200):
        effects = effect * (rng.normal(size=(8, 1, 1)) + rng.normal(size=(8, 1)))
        table = as_cells(effects + rng.normal(size=(8, 8, 2)))
        found = variance_shares(table, draws=100, seed=round_).set_index("part")
        clear += found.loc["column minus row", "low"] > 0
    assert clear <= 0.05 * 200


def product(rng, size=10, noise=0.05):
    rows, columns = rng.uniform(0.4, 1.6, size), rng.uniform(0, 1, size)
    square = np.outer(rows, columns)
    return square, square + rng.normal(0, noise, square.shape)


def test_a_planted_product_is_found():
    rng = np.random.default_rng(0)
    exact, noisy = product(rng)
    clean = rank_one(as_cells(exact[:, :, None]), draws=500)
    assert clean.share.value == pytest.approx(1)
    assert clean.additive < 1
    assert clean.p == pytest.approx(1 / 501)
    found = rank_one(as_cells(noisy[:, :, None]), draws=500)
    left, size, right = np.linalg.svd(noisy)
    rest = noisy - size[0] * np.outer(left[:, 0], right[0])
    share = 1 - (rest**2).sum() / ((noisy - noisy.mean()) ** 2).sum()
    assert found.share.value == pytest.approx(share)
    assert found.share.low < share < found.share.high
    assert share > found.additive
    assert found.p < 0.01


@pytest.mark.parametrize("effect", ["none", "column", "row"])
def test_noise_and_single_effects_are_no_product(effect):
    rng = np.random.default_rng(1)
    rejected = 0
    for round_ in range(200):
        square = rng.normal(0.5, 0.2, (7, 7))
        if effect != "none":
            effects = rng.normal(0, 0.5, 7)
            square = square + (effects if effect == "column" else effects[:, None])
        found = rank_one(as_cells(square[:, :, None]), draws=99, seed=round_)
        rejected += found.p <= 0.05
        assert found.p == max(found.p_rows, found.p_columns) > 0
    # The level is exact where there is one effect, so luck may go a little above it.
    assert rejected <= 0.05 * 200 + 4


# --- forgotten or biased ------------------------------------------------------------------------


def scored(scores, labels, task="t", **more) -> pd.DataFrame:
    """Answers by signed scores l_1 - l_0."""
    labels = np.asarray(labels)
    margin = np.where(labels == 1, scores, -np.asarray(scores))
    return answers(margin > 0, task, labels).assign(
        margin=margin, p=1 / (1 + np.exp(-margin)), **more
    )


def test_a_planted_bias_is_restored():
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.arange(200) % 2)
    scores = rng.normal(1.5 * (2 * labels - 1), 1)
    before, after = scored(scores, labels), scored(0.1 * scores + 3, labels)
    found = label_bias(before, after)
    assert found.after.value == pytest.approx(0.5)
    assert found.modal_share.value == 1
    assert found.modal_share.low > 0.9
    assert found.auc.value == pytest.approx(found.auc_before.value)
    assert found.auc.value == pytest.approx(roc_auc_score(labels, scores))
    assert found.auc.low < found.auc.value < found.auc.high
    assert found.refitted.value > found.before.value - 0.04
    assert found.restored.low > 0.3
    assert found.bias_share.value > 0.85
    assert found.bias_share.low > 0.5
    assert found.size.value == pytest.approx(np.abs(0.1 * scores + 3).mean())


def test_what_is_forgotten_is_not_restored():
    """Null data: after forgetting the scores say nothing, but for a bias."""
    rng = np.random.default_rng(0)
    claims = 0
    for round_ in range(200):
        labels = rng.permutation(np.arange(80) % 2)
        before = scored(rng.normal(2 * (2 * labels - 1), 1), labels)
        after = scored(rng.normal(1, 1, 80), labels)
        found = label_bias(before, after, k=16, draws=200, seed=round_)
        claims += found.restored.low > 0
        assert abs(found.refitted.value - 0.5) < 0.25
    assert claims <= 0.05 * 200


def test_several_draws_have_a_bias_of_their_own_each():
    rng = np.random.default_rng(0)
    labels = np.arange(100) % 2
    scores = rng.normal(2 * (2 * labels - 1), 1)
    before = scored(scores, labels)
    after = pd.concat([scored(scores + shift, labels, draw=d) for d, shift in enumerate((8, -8))])
    found = label_bias(before, after)
    assert found.after.value == pytest.approx(0.5)
    assert found.modal_share.value == pytest.approx(0.5)
    assert found.auc.value == pytest.approx(roc_auc_score(labels, scores))
    assert found.refitted.value > 0.9
    assert found.refitted.n == 100


def test_the_threshold_equals_a_slow_search():
    rng = np.random.default_rng(0)
    for _ in range(100):
        scores = rng.integers(-3, 4, 12).astype(float)
        labels = rng.integers(0, 2, 12).astype(float)
        cut = measures._cut(scores, labels)
        right = ((scores > cut) == (labels == 1)).sum()
        assert right == max(
            ((scores > other) == (labels == 1)).sum() for other in np.arange(-4.5, 5)
        )


def test_weighted_area_equals_repeating():
    rng = np.random.default_rng(0)
    score, ones = rng.integers(0, 6, 30).astype(float), rng.random(30) < 0.5
    weights = rng.integers(0, 3, (5, 30)).astype(float)
    found = measures._area(score, ones, weights)
    for row, value in zip(weights.astype(int), found, strict=True):
        assert value == pytest.approx(roc_auc_score(np.repeat(ones, row), np.repeat(score, row)))


def test_too_few_items_or_one_label_give_no_number():
    table = scored(np.ones(63), np.arange(63) % 2)
    found = label_bias(table, table)
    assert found.auc.value == 0.5
    assert math.isnan(found.refitted.value)
    assert math.isnan(found.bias_share.value)
    only = scored(np.ones(50), np.ones(50, dtype=int))
    assert math.isnan(label_bias(only, only).auc.value)
