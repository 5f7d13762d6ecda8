"""Beam search against trying everything, and against the mask that it was told."""

import itertools

import pytest
import torch
from tiny import tiny_lm

from palimpsest.core.errors import DataError, UserError
from palimpsest.core.models import all_logits
from palimpsest.goldfish.attacks import beam_search
from palimpsest.goldfish.mask import HashedMask

PREFIX = [5, 9, 12, 4]


def logprobs_of(lm, ids: list[list[int]]) -> torch.Tensor:
    with torch.no_grad():
        return torch.log_softmax(all_logits(lm.model, torch.tensor(ids)).double(), dim=-1)


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "gpt_neox"])
def test_with_beams_enough_the_best_of_all_is_found(architecture: str) -> None:
    lm = tiny_lm(architecture)
    first = logprobs_of(lm, [PREFIX])[0, -1]
    second = logprobs_of(lm, [[*PREFIX, token] for token in range(len(first))])[:, -1]
    both = first[:, None] + second
    best = both.flatten().topk(20)
    found = beam_search(lm, PREFIX, 2, beams=len(first))[:20]
    expected = [divmod(int(at), both.shape[1]) for at in best.indices]
    assert [one.ids for one in found] == expected
    assert [one.logprob for one in found] == pytest.approx(best.values.tolist(), abs=1e-4)


def test_one_beam_is_greedy_and_logprobs_are_those_of_the_tokens() -> None:
    lm = tiny_lm()
    line = list(PREFIX)
    for _ in range(12):
        line.append(int(logprobs_of(lm, [line])[0, -1].argmax()))
    (greedy,) = beam_search(lm, PREFIX, 12, beams=1)
    assert list(greedy.ids) == line[4:]
    for one in beam_search(lm, PREFIX, 12, beams=5):
        told = logprobs_of(lm, [[*PREFIX, *one.ids]])[0]
        each = [told[3 + place, token].item() for place, token in enumerate(one.ids)]
        assert one.logprob == pytest.approx(sum(each), abs=1e-4)


def test_who_knows_the_mask_branches_where_it_masks_and_nowhere_else() -> None:
    lm, mask = tiny_lm(), HashedMask(k=2, h=2)
    found = beam_search(lm, PREFIX, 10, beams=6, mask=mask)
    assert len({one.ids for one in found}) == 6
    free = 0
    for one in found:
        ids = [*PREFIX, *one.ids]
        told, keep = logprobs_of(lm, [ids])[0], mask(torch.tensor([ids]))[0]
        score = 0.0
        for place in range(4, 14):
            choice = int(told[place - 1].argmax())
            score += told[place - 1, ids[place]].item()
            if keep[place]:
                assert ids[place] == choice
            else:
                free += ids[place] != choice
        assert one.logprob == pytest.approx(score, abs=1e-4)
    assert free > 0
    assert [one.logprob for one in found] == sorted((one.logprob for one in found), reverse=True)


def test_a_model_that_keeps_nothing_reads_again(monkeypatch: pytest.MonkeyPatch) -> None:
    lm = tiny_lm()
    expected = beam_search(lm, PREFIX, 5, beams=3)
    from palimpsest.goldfish import attacks

    class Bare:
        def __init__(self, logits):
            self.logits = logits

    monkeypatch.setattr(
        attacks, "read_on", lambda model, ids, past: Bare(all_logits(model, ids))
    )  # fmt: skip
    again = beam_search(lm, PREFIX, 5, beams=3)
    for one, other in itertools.zip_longest(expected, again):
        assert one.ids == other.ids
        assert one.logprob == pytest.approx(other.logprob, abs=1e-4)


def test_what_cannot_be_searched_is_refused() -> None:
    lm = tiny_lm()
    for settings, words in (((0, 3), "length is 0"), ((3, 0), "beams is 0")):
        with pytest.raises(UserError, match=words):
            beam_search(lm, PREFIX, *settings)
    with pytest.raises(DataError, match="prefix is empty"):
        beam_search(lm, [], 3, 2)
    with pytest.raises(DataError, match="do not fit"):
        beam_search(lm, PREFIX * 4, lm.max_length, 2)
    with pytest.raises(UserError, match="includes the target"):
        beam_search(lm, PREFIX, 3, 2, mask=HashedMask(2, 2, window="inclusive"))
