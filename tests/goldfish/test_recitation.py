"""Recitation: a model that knows its texts, one that does not, and what the columns say."""

import math

import numpy as np
import pytest
import torch
from tiny import tiny_lm

from palimpsest.core.errors import DataError, UserError
from palimpsest.core.models import all_logits
from palimpsest.core.text import Row
from palimpsest.core.training import Recipe, train
from palimpsest.goldfish.loss import masked_rows
from palimpsest.goldfish.mask import HashedMask, StaticMask
from palimpsest.goldfish.recitation import COLUMNS, continue_greedily, recite

TEXTS = [
    torch.randint(3, 60, (28,), generator=torch.Generator().manual_seed(seed)).tolist()
    for seed in range(5)
]


@pytest.fixture(scope="module")
def models():
    """Trained on four of five texts by heart, without and with a mask."""
    mask = HashedMask(k=3, h=3)
    found = {}
    for name in ("standard", "goldfish"):
        lm = tiny_lm().copy()
        rows = [Row(np.array(ids, np.int32), np.ones(28), f"{at}") for at, ids in enumerate(TEXTS)]
        rows = rows[:4] if name == "standard" else masked_rows(rows[:4], mask)
        recipe = Recipe(epochs=150, batch_size=4, learning_rate=5e-3)
        train(lm, rows, recipe, progress=None)
        found[name] = lm
    return found, mask


def test_what_is_known_by_heart_is_recited_and_what_is_masked_is_not(models) -> None:
    found, mask = models
    standard = recite(found["standard"], TEXTS, 8, 20, mask=mask)
    assert list(standard.table.columns) == list(COLUMNS)
    known, new = standard.table.iloc[:4], standard.table.iloc[4]
    assert known["exact"].all()
    assert (known["rouge"] == 1).all()
    assert (known["divergence"] == 20).all()
    assert known["left_at_masked"].isna().all()
    assert not new["exact"]
    goldfish = recite(found["goldfish"], TEXTS, 8, 20, mask=mask)
    table = goldfish.table.iloc[:4]
    assert not table["exact"].any()
    assert (table["left_at_masked"] == 1).all()
    assert (table["kept_right"] > 0.9).all()
    assert (table["masked_right"] < 0.5).all()
    for row, made in zip(table.itertuples(), goldfish.generated, strict=False):
        assert made[: row.divergence] == TEXTS[row.text][8 : 8 + row.divergence]
        assert made[row.divergence] != TEXTS[row.text][8 + row.divergence]


def test_the_numbers_are_those_of_one_pass(models) -> None:
    lm = models[0]["standard"]
    result = recite(lm, TEXTS, 6, 10, offset=3)
    for row in result.table.itertuples():
        ids = torch.tensor([TEXTS[row.text][3:19]])
        with torch.no_grad():
            logprobs = torch.log_softmax(all_logits(lm.model, ids)[0], dim=-1)
        each = logprobs[5:15].gather(1, ids[0, 6:, None])[:, 0]
        right = logprobs[5:15].argmax(1) == ids[0, 6:]
        assert row.logprob == pytest.approx(each.sum().item(), abs=1e-3)
        assert row.kept_right == pytest.approx(right.float().mean().item())
        assert math.isnan(row.masked_right)
        assert math.isnan(row.left_at_masked)


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "gpt_neox"])
def test_greedy_is_the_likeliest_token_again_and_again(architecture: str) -> None:
    lm = tiny_lm(architecture)
    found = continue_greedily(lm, [ids[:7] for ids in TEXTS], 6)
    for ids, made in zip(TEXTS, found, strict=True):
        line = ids[:7]
        for token in made:
            with torch.no_grad():
                assert token == int(all_logits(lm.model, torch.tensor([line]))[0, -1].argmax())
            line = [*line, token]


def test_short_texts_are_skipped_and_counted() -> None:
    result = recite(tiny_lm(), [*TEXTS, [5] * 9, []], 8, 20, mask=StaticMask(2))
    assert result.skipped == 2
    assert result.table["text"].tolist() == [0, 1, 2, 3, 4]
    assert len(result.generated) == 5


def test_what_cannot_be_recited_is_refused() -> None:
    lm = tiny_lm()
    with pytest.raises(DataError, match="None of the 5 texts has 29 tokens"):
        recite(lm, TEXTS, 9, 20)
    for sizes, words in (((0, 3), "prefix is 0"), ((3, 0), "suffix is 0"), ((3, 3, -1), "offset")):
        with pytest.raises(UserError, match=words):
            recite(lm, TEXTS, *sizes)
    with pytest.raises(UserError, match="reads at once"):
        recite(lm, TEXTS, lm.max_length, 2)
