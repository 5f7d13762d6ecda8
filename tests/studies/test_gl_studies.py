"""Chapter 3's studies on models that know nothing, and their rules on null data."""

import numpy as np
import pytest
from chapter3 import SMALL, context

from palimpsest.core.errors import UserError
from palimpsest.core.results import judge
from palimpsest.core.study import assert_null_rate
from palimpsest.goldfish.theory import survival, unmasked_by_edits
from palimpsest.studies.goldfish_loss import STUDIES
from palimpsest.studies.goldfish_loss.leaving import survival_curves, survival_error
from palimpsest.studies.goldfish_loss.masks import brittleness, law, law_error
from palimpsest.studies.goldfish_loss.parameters import Parameters
from palimpsest.studies.goldfish_loss.price import price_of
from palimpsest.studies.goldfish_loss.shoot_out import at_price

SLOW = {"spans": 60, "price": 120, "members": 120, "near_duplicates": 120}


@pytest.mark.parametrize("name", [name for name, study in STUDIES.items() if study.claims])
def test_no_rule_holds_by_luck(name: str) -> None:
    # At the rate of 5 %, so few draws as 60 show 5 or more by luck once in six times: hence 0.1.
    draws = SLOW.get(name, 200)
    assert_null_rate(STUDIES[name], draws, 0.05 if draws > 100 else 0.1)


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_the_studies_on_a_model_that_knows_nothing(tmp_path, architecture) -> None:
    ctx = context(tmp_path, architecture, seeds=2 if architecture == "llama" else 1)
    figures: set[str] = set()
    for study in STUDIES.values():
        result = study(ctx)
        assert not figures & set(result.figures)
        figures |= set(result.figures)
        for claim in study.claims:
            entry = judge(claim, result.values, result.notes.get(claim.id, ""))
            assert entry["verdict"] in ("holds", "fails", "inconclusive", "not-tested")
            assert entry["value"] is not None or entry["note"]
    assert len(figures) == 16


def test_a_run_that_was_stopped_finds_its_cells(tmp_path) -> None:
    said: list[str] = []
    for _ in range(2):
        ctx = context(tmp_path)
        ctx.progress = said.append
        STUDIES["by_heart"](ctx)
    half = len(said) // 2
    assert all("computed" in line for line in said[:half])
    assert all("cached" in line for line in said[half:])


# --- measures -----------------------------------------------------------------------------------


def test_the_law_of_survival_is_met_by_texts_that_follow_it() -> None:
    rng = np.random.default_rng(0)
    length, documents = 40, 4000
    data = {}
    for k in (4, 32):
        masked = rng.random((documents, length)) < 1 / k
        right = ~masked | (rng.random((documents, length)) < 0.3)
        left = np.where(right.all(1), length, np.argmin(right, axis=1))
        counts = masked.sum(1)
        guessed = np.divide(
            (masked & right).sum(1), counts, out=np.full(documents, np.nan), where=counts > 0
        )
        data[k] = (left, guessed, masked.mean(1))
        measured, predicted = survival_curves(*data[k], length)
        assert np.abs(measured - predicted).max() < 0.04
        assert predicted[9] == pytest.approx(survival(k, 10, 0.3), abs=0.03)
    few = {k: tuple(part[:200] for part in parts) for k, parts in data.items()}
    assert survival_error(few, length, 0).value < 0.03


def test_near_duplicates_follow_the_law_of_edits(tmp_path) -> None:
    ctx = context(tmp_path, length=64, grouped=8, visits=60, h=13)
    table = law(ctx)
    assert law_error(table, 0).value < 0.02
    for (h, rate), part in table.groupby(["h", "edits"]):
        share = np.average(part["unmasked"].fillna(0), weights=part["masked"])
        if rate == 0:
            assert share == 0  # the same mask each time, wherever the text stands
        else:
            assert share == pytest.approx(float(unmasked_by_edits(4, h, rate)), abs=0.08)


def test_brittleness_is_the_difference_of_two_differences() -> None:
    learned = {4: np.array([[-3.0, -5.0], [-2.0, -2.0]]), 50: np.array([[-6.0, -4.0], [-1.0, 0.0]])}
    # With h = 50 edits add -0.5 - (-5) = 4.5 nats, with h = 4 they add -2 - (-4) = 2.
    assert brittleness(learned, 0).value == pytest.approx(2.5)


def test_the_price_is_a_mean_over_tokens() -> None:
    base = [np.array([[10.0, 5.0], [6.0, 3.0]])]
    dear = [np.array([[11.0, 5.0], [9.0, 3.0]])]
    assert price_of(dear, base, 0).value == pytest.approx(4 / 8)


def test_what_a_method_leaves_at_a_price() -> None:
    prices = np.array([2.0, 2.2, 2.6])
    recited = np.array([[1.0, 0.8], [0.6, 0.4], [0.2, 0.0]])
    assert at_price(prices, recited, 2.0).tolist() == [1.0, 0.8]
    assert at_price(prices, recited, 2.4) == pytest.approx([0.4, 0.2])
    assert at_price(prices, recited, 9.0).tolist() == [0.2, 0.0]  # stronger is not better paid
    assert np.isnan(at_price(prices, recited, 1.9)).all()
    # A method that makes text cheaper, as de-duplication may, is taken at its best.
    assert at_price(np.array([2.0, 1.9]), recited[:2], 2.0).tolist() == [0.6, 0.4]
    # Dearer first and cheaper then: only what can be afforded.
    assert at_price(np.array([2.0, 2.4, 2.1]), recited, 2.2) == pytest.approx([0.2, 0.0])


# --- what may be set ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"ks": (4, 1)}, "whole numbers of at least 2"),
        ({"ks": (3, 8)}, "4 among them"),
        ({"h": 0}, "at least 1"),
        ({"told": (1, 2, 3)}, "four numbers"),
        ({"prefix": 60, "suffix": 50}, "more than the length"),
        ({"strengths": 4}, "three of each"),
        ({"learning_rate": 2.0}, "below 1"),
        ({"documents": 0}, "at least 4"),
    ],
)
def test_settings_that_cannot_be_are_refused(changes, words) -> None:
    with pytest.raises(UserError, match=words):
        Parameters(**changes)


def test_the_small_settings_of_these_tests_are_valid() -> None:
    assert Parameters(**SMALL).ks == (3, 4, 8)
