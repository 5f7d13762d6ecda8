"""Chapter 2, the inside view: measures by hand, names of weights, the study on tiny models."""

import numpy as np
import pandas as pd
import pytest
import torch
from chapter2 import context
from tiny import tiny_lm

from palimpsest.core.errors import ModelError
from palimpsest.forgetting.items import TwoWay
from palimpsest.forgetting.protocol import answer_items
from palimpsest.studies.controls import weights_of
from palimpsest.studies.random_label_forgetting import inside as chapter

ITEMS = (
    TwoWay(
        "a", "t", (("The red house", " stands"), ("The red house", " by the sea")), 0, "content"
    ),
    TwoWay("b", "t", (("Ada likes", " red"), ("Ada likes", " five")), 1, "content"),
)


def changed(lm, amount=0.1):
    """The weights of ``lm`` and others near them."""
    generator = torch.Generator().manual_seed(0)
    before = weights_of(lm)
    after = {
        name: one + amount * torch.randn(one.shape, generator=generator)
        for name, one in before.items()
    }
    return before, after


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "gpt_neox"])
def test_the_last_depth_is_the_models_own_margin(architecture):
    lm = tiny_lm(architecture)
    margins = chapter.lens_margins(lm, weights_of(lm), ITEMS)
    assert margins.shape == (2, 3)
    assert np.allclose(margins[:, -1], answer_items(lm, ITEMS)["margin"], atol=1e-3)


def test_patching_a_model_with_itself_changes_nothing():
    lm = tiny_lm("llama")
    before, after = changed(lm)
    own = chapter.lens_margins(lm, before, ITEMS)[:, -1:]
    assert np.allclose(chapter.patched_margins(lm, before, before, ITEMS), own, atol=1e-3)
    # After the last block only norm and head are the receiver's; here they are the donor's too.
    ends = {name: before[name] for name in before if not name.startswith("model.layers.")}
    mixed = after | ends
    donor = chapter.lens_margins(lm, mixed, ITEMS)[:, -1]
    patched = chapter.patched_margins(lm, before, mixed, ITEMS)
    assert np.allclose(patched[:, -1], donor, atol=1e-3)


def test_shares_by_hand():
    own, other = {"t": np.array([0.0, 0.0, 1.0])}, {"t": np.array([2.0, 2.0, 3.0])}
    patched = {"t": np.array([[0.0, 1.0, 2.0], [1.0, 2.0, 2.0], [1.5, 2.5, 3.0]])}
    table = chapter.shares(own, other, patched)
    assert table["depth"].tolist() == [1, 2, 3]
    assert table["value"].tolist() == pytest.approx([0.25, 0.75, 1.0])
    assert chapter.half_depth(table).value == 2
    assert table["n"].tolist() == [3, 3, 3]


def test_there_is_no_share_of_nothing():
    rng = np.random.default_rng(0)
    own, other = {"t": rng.normal(size=20)}, {"t": rng.normal(size=20)}
    table = chapter.shares(own, other, {"t": rng.normal(size=(20, 2))})
    assert table["value"].isna().all()
    assert chapter.half_depth(table).value is None


def test_the_depth_at_which_models_part():
    rng = np.random.default_rng(0)
    gap = rng.normal([0.5, 0.0, 1.0, 2.0], 0.1, (40, 4))
    means, depth = chapter.parting({"t": gap})
    assert depth.value == 2  # depth 0 is apart, depth 1 is not
    assert means["depth"].tolist() == [0, 1, 2, 3]
    assert chapter.parting({"t": -gap})[1].value is None


@pytest.mark.parametrize(
    ("architecture", "outside"),
    [
        ("llama", {"embedding", "norm", "output head"}),
        ("gpt2", {"embedding", "norm"}),
        ("gpt_neox", {"embedding", "norm", "output head"}),
        ("opt", {"embedding", "norm", "other"}),
        ("qwen3", {"embedding", "norm", "output head"}),
    ],
)
def test_every_weight_has_its_place(architecture, outside):
    places = chapter.places_of(tiny_lm(architecture).model)
    assert {block for block, _ in places.values()} == {0, 1, 2}
    for block in (1, 2):
        kinds = {kind for place, kind in places.values() if place == block}
        assert kinds == {"attention", "feed-forward", "norm"}
    found = {kind for block, kind in places.values() if block == 0}
    assert found <= outside
    assert "embedding" in found


def test_changes_by_hand():
    before = {"a": torch.tensor([3.0, 4.0]), "b": torch.zeros(2), "c": torch.tensor([12.0])}
    after = {"a": torch.tensor([3.0, 4.5]), "b": torch.ones(2), "c": torch.tensor([12.0])}
    places = {"a": (1, "attention"), "b": (1, "norm"), "c": (0, "embedding")}
    table = chapter.changes(before, after, places).set_index(["block", "kind"])
    assert table.loc[(1, "attention"), "moved"] == pytest.approx(0.1)
    assert np.isnan(table.loc[(1, "norm"), "moved"])
    assert table.loc[(0, "embedding"), "moved"] == 0
    assert table.loc[(-1, "all"), "moved"] == pytest.approx(1.5 / 13)
    assert table.loc[(-1, "all"), "weights"] == 5


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_the_study_on_a_model_that_knows_nothing(tmp_path, architecture):
    result = chapter.inside(context(tmp_path, architecture))
    assert set(result.figures) == {"turning", "patched", "weights"}
    assert set(result.tables["lens"]["depth"]) == {0, 1, 2}
    assert set(result.tables["patched"]["depth"]) == {1, 2}
    assert set(result.tables["weights"]["task"]) == {"people facts", "parity"}
    assert result.values["weights_moved_all"].value > 0
    for way in ("restored", "taken"):
        assert {f"patch_{way}_1", f"patch_{way}_2", f"patch_{way}_half_depth"} <= set(result.values)
    assert all(isinstance(table, pd.DataFrame) for table in result.tables.values())


def test_tasks_of_one_kind_alone(tmp_path):
    result = chapter.inside(context(tmp_path, tasks=("pal_parity", "pal_tone")))
    assert set(result.tables["lens"]["answers"]) == {"shared"}


def test_a_model_that_cannot_be_read(tmp_path, monkeypatch):
    def refuse(model):
        raise ModelError("no blocks")

    monkeypatch.setattr(chapter, "places_of", refuse)
    result = chapter.inside(context(tmp_path))
    assert set(result.figures) == {"turning", "patched", "weights"}
    assert result.values == {}
