"""Other ways to keep a model from learning texts by heart, to set beside the goldfish loss.

Telling a text fewer times is a matter of data (:func:`capped`). Dropout and weight decay make a
network forget what only few examples support (:func:`block_dropout`; weight decay is the
optimiser's). Differentially private training bounds what any one line of text can do to the weights
(:class:`PrivateLoss`, with what it guarantees in :func:`privacy_spent`).
"""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from palimpsest.core.errors import UserError
from palimpsest.core.layers import blocks
from palimpsest.core.text import Batch, Row
from palimpsest.core.training import causal_lm_loss


def capped(rows: Sequence[Row], copies: int) -> list[Row]:
    """De-duplication: the rows in their order, of equal ones only the first ``copies``.

    Raises:
        UserError: ``copies`` below 1.
    """
    if copies < 1:
        raise UserError(f"copies is {copies}; at least 1 of each text must be left.")
    seen: Counter[bytes] = Counter()
    kept = []
    for row in rows:
        key = row.input_ids.tobytes()
        seen[key] += 1
        if seen[key] <= copies:
            kept.append(row)
    return kept


@contextmanager
def block_dropout(model: nn.Module, rate: float) -> Iterator[None]:
    """Dropout on what each block adds to the residual stream, in any architecture, as long as the
    ``with`` block lasts and the model is in training mode.

    Raises:
        UserError: a rate outside [0, 1).
        ModelError: as ``core.layers.blocks``.
    """
    if not 0 <= rate < 1:
        raise UserError(f"The rate of dropout is {rate}; at least 0 and below 1 was expected.")

    def drop(module: nn.Module, given: tuple[Any, ...], options: dict[str, Any], made: Any) -> Any:
        if not module.training:
            return made
        before = given[0] if given else options["hidden_states"]
        after = made[0] if isinstance(made, tuple) else made
        after = before + F.dropout(after - before, rate, training=True)
        return (after, *made[1:]) if isinstance(made, tuple) else after

    handles = [
        block.register_forward_hook(drop, with_kwargs=True) for block in blocks(model)
    ] if rate else []  # fmt: skip
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


class PrivateLoss:
    """DP-SGD (Abadi et al. 2016, arXiv:1607.00133) as a loss of ``core.training``: its gradient is

        g = (Σ_b g_b · min(1, C/‖g_b‖) + σ C ξ) / B,   ξ standard normal,

    with g_b the gradient of the mean negative log-likelihood of line b alone. The unit that is
    protected is a line of the batch. Its value is the ordinary mean loss. Train with
    ``Recipe.clip=None`` and ``accumulation=1``, or what is done to g afterwards is not private.

    Lines are read one after the other, so it works for every architecture, at some cost in time.

    Args:
        clip: C, the most a line's gradient may be long.
        noise: σ, standard deviation of the noise in units of C.

    Raises:
        UserError: a clip that is not above 0, or a noise below 0.
    """

    unit = "token"

    def __init__(self, clip: float, noise: float) -> None:
        if not clip > 0 or not noise >= 0:
            raise UserError(f"clip {clip} must be above 0 and noise {noise} at least 0.")
        self.clip, self.noise = clip, noise

    def __call__(self, model: nn.Module, batch: Batch) -> Tensor:
        """A scalar with the private gradient."""
        weights = [p for p in model.parameters() if p.requires_grad]
        total = [torch.zeros_like(p) for p in weights]
        losses = []
        for line in _lines(batch):
            loss = causal_lm_loss(model, line)
            gradients = torch.autograd.grad(loss, weights, allow_unused=True)
            found = [(at, one) for at, one in enumerate(gradients) if one is not None]
            norm = torch.linalg.vector_norm(torch.stack([one.float().norm() for _, one in found]))
            factor = (self.clip / norm.clamp(min=1e-12)).clamp(max=1.0)
            for at, one in found:
                total[at] += factor * one
            losses.append(loss.detach())
        spread = self.noise * self.clip
        private = [(one + spread * torch.randn_like(one)) / len(losses) for one in total]
        told = sum((p * g).sum() for p, g in zip(weights, private, strict=True))
        return told + (torch.stack(losses).mean() - told).detach()


def _lines(batch: Batch) -> Iterator[Batch]:
    """The lines of a batch that have targets, each as a batch of its own."""
    length = batch.input_ids.shape[1]
    owner = torch.div(batch.targets, length, rounding_mode="floor")
    for line in range(len(batch.input_ids)):
        targets = batch.targets[owner == line] - line * length
        if not len(targets):
            continue
        part = slice(line, line + 1)
        yield replace(
            batch,
            input_ids=batch.input_ids[part],
            weights=batch.weights[part],
            position_ids=batch.position_ids[part],
            document=batch.document[part],
            targets=targets,
            total_weight=float(batch.weights[part].sum()),
        )


def privacy_spent(noise: float, share: float, steps: int, delta: float) -> float:
    """ε of (ε, δ)-differential privacy after ``steps`` of DP-SGD.

    Rényi accounting of the subsampled Gaussian mechanism at whole orders (Mironov, Talwar and Zhang
    2019, arXiv:1908.10530, section 3.3), as if each line joined a step by a coin of its own; a
    shuffled epoch, as here, is not quite that, so take it for the order of magnitude.

    Args:
        noise: σ of :class:`PrivateLoss`; 0 guarantees nothing (infinite).
        share: of the lines that are in a step.
        steps: number of steps.
        delta: δ.
    """
    if noise == 0:
        return math.inf
    best = math.inf
    for order in range(2, 257):
        if share == 1:  # every line is in every step: the Gaussian mechanism
            log_moment = (order * order - order) / (2 * noise**2)
        else:
            terms = [
                math.lgamma(order + 1) - math.lgamma(j + 1) - math.lgamma(order - j + 1)
                + (order - j) * math.log1p(-share) + j * math.log(share)
                + (j * j - j) / (2 * noise**2)
                for j in range(order + 1)
            ]  # fmt: skip
            top = max(terms)
            log_moment = top + math.log(sum(math.exp(term - top) for term in terms))
        spent = steps * log_moment / (order - 1) + math.log(1 / delta) / (order - 1)
        best = min(best, spent)
    return best
