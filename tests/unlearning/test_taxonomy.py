"""The methods as data are sound, their figure is legible, their formulas do as they say."""

import math
import re
from itertools import combinations, pairwise

import numpy as np
import pytest
import torch
from matplotlib.mathtext import MathTextParser

from palimpsest.book.contents import this_book
from palimpsest.core import plots
from palimpsest.core.study import Context
from palimpsest.studies.problem_setting import taxonomy as figure
from palimpsest.unlearning.taxonomy import (
    ACTED_ON,
    FAMILIES,
    GRADES,
    METHODS,
    NEEDS,
    Method,
    cell,
)

ROOT = this_book().root
BY_NAME = {one.name: one for one in METHODS}


# --- data -------------------------------------------------------------------------------------


def test_every_family_thing_need_and_grade_occurs_and_names_are_unique():
    assert len(BY_NAME) == len(METHODS)
    assert {one.family for one in METHODS} == set(FAMILIES)
    assert [one.family for one in METHODS] == sorted(
        (one.family for one in METHODS), key=FAMILIES.index
    )
    assert {thing for one in METHODS for thing in one.changes} == set(ACTED_ON)
    assert {need for one in METHODS for need in one.needs} == set(NEEDS)
    assert {one.grade for one in METHODS} == set(GRADES)
    assert {one.family for one in METHODS if not one.changes} == {"in-context"}


@pytest.mark.parametrize(
    "wrong",
    [
        {"family": "magic"},
        {"grade": "sure"},
        {"changes": ("weights",)},
        {"changes": ("objective", "data")},
        {"needs": ("luck",)},
    ],
)
def test_a_method_that_is_not_of_the_scheme_is_refused(wrong):
    good = {
        "name": "x", "family": "exact", "changes": ("data",), "formula": "x", "needs": (),
        "source": "liu2024rethinking", "grade": "ours",
    }  # fmt: skip
    Method(**good)
    with pytest.raises(ValueError, match="x: "):
        Method(**good | wrong)


@pytest.mark.parametrize("method", METHODS, ids=lambda one: one.name)
def test_formulas_are_one_line_of_mathematics(method):
    formula = method.formula
    assert "\n" not in formula
    assert "$" not in formula
    assert "|" not in formula
    bare = formula.replace(r"\{", "").replace(r"\}", "")
    depth = [0]
    for sign in bare:
        depth.append(depth[-1] + {"{": 1, "}": -1}.get(sign, 0))
    assert min(depth) == depth[-1] == 0
    MathTextParser("agg").parse(f"${formula}$")


@pytest.mark.parametrize("method", METHODS, ids=lambda one: one.name)
def test_sources_are_in_the_bibliography_or_are_arxiv_numbers(method):
    keys = re.findall(r"^@\w+\{(\w+),", (ROOT / "book/references.bib").read_text(), flags=re.M)
    assert method.source in keys or re.fullmatch(r"arXiv:\d{4}\.\d{5}", method.source)


# --- figure and table -------------------------------------------------------------------------


def test_the_study_gives_a_table_and_a_figure():
    result = figure.taxonomy(Context(None, None, 0, "world", None, print))
    table = result.tables["methods"]
    assert list(table["method"]) == [one.name for one in METHODS]
    assert table["in one line"].str.fullmatch(r"\$[^$]+\$").all()
    assert not table.isna().any().any()
    drawn = result.figures["taxonomy"]
    assert all(one.name in drawn.alt for one in METHODS)
    count = {thing: sum(thing in one.changes for one in METHODS) for thing in ACTED_ON}
    assert max(count, key=count.get) == "objective"
    assert min(count, key=count.get) == "optimiser"
    assert f"Of {len(METHODS)} ways to forget, {count['objective']} act on the obj" in drawn.caption


def test_labels_stand_in_their_cells_and_do_not_overlap():
    with plots.style():
        drawn = figure.draw()
    plots.svg(drawn)  # solves the layout
    canvas, axes = drawn.canvas.get_renderer(), drawn.axes[0]
    labels = [text for text in axes.texts if text.get_text() in BY_NAME]
    assert len(labels) == sum(max(1, len(one.changes)) for one in METHODS)
    ticks = [*axes.get_xticklabels(), *axes.get_yticklabels()]
    boxes = {text: text.get_window_extent(canvas) for text in [*axes.texts, *ticks]}
    for one, other in combinations(boxes.values(), 2):
        assert not one.overlaps(other)
    for box in boxes.values():
        assert drawn.bbox.x0 <= box.x0 < box.x1 <= drawn.bbox.x1
        assert drawn.bbox.y0 <= box.y0 < box.y1 <= drawn.bbox.y1
    cells = [patch.get_window_extent(canvas) for patch in axes.patches]
    for text in axes.texts:
        box = boxes[text]
        assert sum(c.x0 < box.x0 and box.x1 < c.x1 and c.y0 < box.y0 and box.y1 < c.y1
                   for c in cells) == 1  # fmt: skip


def test_cells_hold_the_methods_that_act_there():
    assert [one.name for one in cell("exact", "data")] == [
        "retraining",
        "SISA",
        "adapter per shard",
    ]
    assert cell("editing", "data") == ()


def test_every_formula_is_on_the_page():
    page = (ROOT / "chapters/01_problem_setting.ipynb").read_text()
    page = page.replace("\\\\", "\\")  # as JSON writes it
    page = page.replace("$ $", r" \quad ")  # where a line of the table may be broken
    for one in METHODS:
        assert f"${one.formula}$" in page, one.name


# --- what the formulas say --------------------------------------------------------------------


def npo(delta: torch.Tensor, beta: float) -> torch.Tensor:
    return -2 / beta * torch.nn.functional.logsigmoid(-beta * delta)


def slope(loss, at: float) -> float:
    point = torch.tensor(at, dtype=torch.float64, requires_grad=True)
    loss(point).backward()
    return float(point.grad)


@pytest.mark.parametrize("beta", [0.05, 0.1, 1.0, 4.0])
def test_npo_starts_at_its_value_with_the_gradient_of_ascent(beta):
    start = torch.tensor(0.0, dtype=torch.float64)
    assert float(npo(start, beta)) == pytest.approx(2 / beta * math.log(2))
    assert slope(lambda d: npo(d, beta), 0.0) == pytest.approx(1.0)


@pytest.mark.parametrize("delta", [-30.0, -3.0, 0.5, 8.0])
def test_npo_weighs_the_gradient_and_becomes_ascent_as_beta_vanishes(delta):
    weight = slope(lambda d: npo(d, 0.3), delta)
    assert weight == pytest.approx(2 / (1 + math.exp(-0.3 * delta)))
    assert 0 < weight < 2
    small = 1e-4
    shifted = float(npo(torch.tensor(delta, dtype=torch.float64), small)) - 2 / small * math.log(2)
    assert shifted == pytest.approx(delta, abs=small * delta**2)
    assert slope(lambda d: npo(d, small), delta) == pytest.approx(1.0, abs=small * abs(delta))


def test_npo_is_dpo_without_a_winner():
    def dpo(win, lose, beta):
        return -2 / beta * torch.nn.functional.logsigmoid(beta * (win - lose))

    for lose in (-2.0, 0.0, 1.0):
        lost = torch.tensor(lose, dtype=torch.float64)
        assert float(dpo(torch.zeros(()), lost, 0.5)) == pytest.approx(float(npo(lost, 0.5)))
    assert float(dpo(torch.zeros(()), torch.zeros(()), 0.5)) == pytest.approx(4 * math.log(2))


def test_simnpo_becomes_the_mean_form_of_ascent():
    def loss(nll):
        return -2 / 1e-4 * torch.nn.functional.logsigmoid(1e-4 * nll)

    assert slope(loss, 1.7) == pytest.approx(-1.0, abs=1e-3)  # −ℓ̄ has slope −1


def test_wga_weighs_a_token_by_its_probability():
    logits = torch.randn(7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    gradients = []
    for weighted in (True, False):
        leaf = logits.clone().requires_grad_()
        logp = leaf.log_softmax(0)[3]
        ((logp.exp().detach() ** 2 * logp) if weighted else logp).backward()
        gradients.append(leaf.grad)
    p = logits.softmax(0)[3]
    torch.testing.assert_close(gradients[0], p**2 * gradients[1])


def test_undial_with_beta_zero_moves_nothing_and_costs_the_entropy():
    reference = torch.randn(7, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    leaf = reference.clone().requires_grad_()
    target = reference.softmax(0)
    loss = -(target * leaf.log_softmax(0)).sum()
    loss.backward()
    torch.testing.assert_close(leaf.grad, torch.zeros(7, dtype=torch.float64))
    assert loss.item() == pytest.approx(-float((target * target.log()).sum()))


def test_a_newton_step_is_retraining_where_the_loss_is_quadratic():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(40, 5)), rng.normal(size=40)
    forget, retain = slice(0, 8), slice(8, None)
    original = np.linalg.lstsq(x, y, rcond=None)[0]
    retrained = np.linalg.lstsq(x[retain], y[retain], rcond=None)[0]
    hessian = x[retain].T @ x[retain] / 32
    gradient = x[forget].T @ (x[forget] @ original - y[forget])
    unlearned = original + np.linalg.solve(hessian, gradient) / 32
    np.testing.assert_allclose(unlearned, retrained, atol=1e-10)
    assert np.abs(original - retrained).max() > 1e-2


def test_edits_write_the_value_and_disturb_other_keys_least():
    rng = np.random.default_rng(0)
    keys = rng.normal(size=(200, 6)) * np.arange(1, 7)
    c, w, k, v = keys.T @ keys / 200, rng.normal(size=(4, 6)), keys[0], rng.normal(size=4)
    direction = np.linalg.solve(c, k)
    edited = w + np.outer(v - w @ k, direction) / (k @ direction)
    np.testing.assert_allclose(edited @ k, v)
    other = w + np.outer(v - w @ k, k) / (k @ k)
    np.testing.assert_allclose(other @ k, v)

    def disturbance(matrix):
        return np.square(keys @ (matrix - w).T).sum()

    assert disturbance(edited) < disturbance(other)


def test_many_edits_are_the_least_squares_between_new_values_and_old_keys():
    rng = np.random.default_rng(0)
    old, new = rng.normal(size=(6, 200)), rng.normal(size=(6, 3))
    w, wanted = rng.normal(size=(4, 6)), rng.normal(size=(4, 3))
    c, r = old @ old.T, wanted - w @ new
    edited = w + r @ new.T @ np.linalg.inv(c + new @ new.T)
    both, values = np.hstack([old, new]), np.hstack([w @ old, wanted])
    np.testing.assert_allclose(edited, np.linalg.lstsq(both.T, values.T, rcond=None)[0].T)


def test_a_task_vector_has_both_ends():
    original, more = np.array([1.0, -2.0]), np.array([1.5, 3.0])
    for alpha, expected in ((0, original), (-1, more)):
        np.testing.assert_array_equal(original - alpha * (more - original), expected)


def test_ascent_falls_in_steps_and_npo_in_their_logarithm():
    """The toy of the exercise: Δ itself is the only parameter."""
    falls = {}
    for name, weight in (("ascent", lambda d: 1.0), ("npo", lambda d: 2 / (1 + math.exp(-d)))):
        delta, seen = 0.0, []
        for step in range(1, 10_001):
            delta -= 0.1 * weight(delta)
            if step in (100, 1000, 10_000):
                seen.append(delta)
        falls[name] = [late - early for early, late in pairwise(seen)]
    assert falls["ascent"] == pytest.approx([-90, -900])
    assert falls["npo"] == pytest.approx([-math.log(10)] * 2, abs=0.2)
