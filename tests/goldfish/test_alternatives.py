"""Other ways to prevent memorization, against slow references."""

import math

import numpy as np
import pytest
import torch
from scipy import integrate, stats
from tiny import tiny_lm

from palimpsest.core.errors import UserError
from palimpsest.core.text import batches, text_rows
from palimpsest.core.training import Recipe, causal_lm_loss, train
from palimpsest.goldfish.alternatives import PrivateLoss, block_dropout, capped, privacy_spent

TEXTS = ["the cat sat on the mat", "a dog", "the cat sat on the mat", "rain fell all day long"]


def test_capped_keeps_the_first_copies_in_their_order() -> None:
    rows = text_rows(tiny_lm(), [*TEXTS, TEXTS[0]], ["a", "b", "c", "d", "e"])
    assert [row.id for row in capped(rows, 1)] == ["a", "b", "d"]
    assert [row.id for row in capped(rows, 2)] == ["a", "b", "c", "d"]
    with pytest.raises(UserError, match="at least 1"):
        capped(rows, 0)


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_block_dropout_acts_in_training_alone_and_leaves_no_trace(architecture) -> None:
    lm = tiny_lm(architecture).copy()
    ids = torch.arange(3, 15)[None]
    before = lm.model(ids).logits
    with block_dropout(lm.model, 0.5):
        assert torch.equal(lm.model(ids).logits, before)
        lm.model.train()
        torch.manual_seed(0)
        noisy = lm.model(ids).logits
        torch.manual_seed(0)
        assert torch.equal(lm.model(ids).logits, noisy)
        assert not torch.allclose(noisy, before)
        lm.model.eval()
    assert torch.equal(lm.model(ids).logits, before)
    with pytest.raises(UserError, match="below 1"), block_dropout(lm.model, 1.0):
        pass


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_the_private_gradient_is_the_mean_of_clipped_gradients(architecture) -> None:
    lm = tiny_lm(architecture).copy()
    rows = text_rows(lm, TEXTS)
    [batch] = batches(lm, rows, batch_size=4)
    weights = list(lm.model.parameters())
    wanted = [torch.zeros_like(p) for p in weights]
    norms = []
    for row in rows:
        [own] = batches(lm, [row], batch_size=1)
        gradients = torch.autograd.grad(causal_lm_loss(lm.model, own), weights, allow_unused=True)
        norm = math.sqrt(sum(float(g.square().sum()) for g in gradients if g is not None))
        norms.append(norm)
        for total, one in zip(wanted, gradients, strict=True):
            if one is not None:
                total += one * min(1.0, 0.5 / norm) / len(rows)
    assert max(norms) > 0.5
    loss = PrivateLoss(clip=0.5, noise=0.0)(lm.model, batch)
    loss.backward()
    for parameter, one in zip(weights, wanted, strict=True):
        found = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        assert torch.allclose(found, one, atol=1e-6)
    lines = [causal_lm_loss(lm.model, next(batches(lm, [row], 1))).item() for row in rows]
    assert loss.item() == pytest.approx(np.mean(lines), rel=1e-5)


def test_noise_has_the_size_it_is_said_to_have() -> None:
    lm = tiny_lm().copy()
    rows = text_rows(lm, TEXTS)
    [batch] = batches(lm, rows, batch_size=4)
    found = []
    for noise in (0.0, 3.0):
        lm.model.zero_grad()
        torch.manual_seed(0)
        PrivateLoss(clip=0.5, noise=noise)(lm.model, batch).backward()
        found.append(torch.cat([p.grad.flatten() for p in lm.model.parameters()]))
    spread = (found[1] - found[0]).std()
    assert float(spread) == pytest.approx(3.0 * 0.5 / 4, rel=0.05)


def test_the_private_loss_trains_in_the_one_loop_and_is_repeated_bit_for_bit() -> None:
    ends = []
    for _ in range(2):
        lm = tiny_lm().copy()
        rows = text_rows(lm, TEXTS)
        recipe = Recipe(epochs=3, batch_size=2, clip=None, seed=5)
        train(lm, rows, recipe, loss=PrivateLoss(1.0, 0.1), progress=None)
        ends.append(torch.cat([p.detach().flatten() for p in lm.model.parameters()]))
    assert torch.equal(*ends)


def rdp_by_integration(noise: float, share: float, order: int) -> float:
    """log E_{x ~ N(0, s²)} [((1 - q) + q exp((2x - 1)/(2 s²)))^order] / (order - 1)."""

    def inside(x: float) -> float:
        told = math.log(share) + (2 * x - 1) / (2 * noise**2)
        ratio = np.logaddexp(math.log1p(-share), told)
        return math.exp(stats.norm.logpdf(x, scale=noise) + order * ratio)

    value, _ = integrate.quad(inside, -30 * noise, 30 * noise + order, limit=500)
    return math.log(value) / (order - 1)


def test_privacy_is_accounted_for_as_integration_says() -> None:
    noise, share, steps, delta = 1.1, 0.02, 500, 1e-5
    slow = min(
        steps * rdp_by_integration(noise, share, order) + math.log(1 / delta) / (order - 1)
        for order in range(2, 40)
    )
    assert privacy_spent(noise, share, steps, delta) == pytest.approx(slow, rel=1e-4)
    # One step on everything is the Gaussian mechanism: RDP order / (2 s²).
    whole = min(
        order / (2 * noise**2) + math.log(1 / delta) / (order - 1) for order in range(2, 257)
    )
    assert privacy_spent(noise, 1.0, 1, delta) == pytest.approx(whole, rel=1e-9)
    assert privacy_spent(0.0, share, steps, delta) == math.inf
    assert privacy_spent(0.5, share, steps, delta) > privacy_spent(1.0, share, steps, delta)
