"""The goldfish loss: the mean negative log-likelihood of the tokens that a mask keeps.

    L = − (1/|G|) Σ_i G_i log p(x_i | x_<i),   |G| = Σ_i G_i

(arXiv:2406.10209, section 3.1, as the goldfish digest reports it). The forward pass is untouched:
every token is read. Four ways to train with it, which give the same gradient:

- **PyTorch**, in three lines, for any model that takes Hugging Face's labels::

      keep = HashedMask(k=4, h=13)(input_ids)
      labels = input_ids.masked_fill(~keep, -100)
      loss = model(input_ids=input_ids, labels=labels).loss

- **a Hugging Face Trainer**, by its collator::

      collator = GoldfishCollator(DataCollatorForLanguageModeling(tokenizer, mlm=False), mask)
      Trainer(model, args, train_dataset=..., data_collator=collator)

- **this book's loop**: :func:`masked_rows`, then ``core.training.train`` as ever.
- **one's own loop**: :func:`goldfish_loss`, which also tells kept and masked tokens apart, or
  :func:`gathered_loss`, which spares the output layer the masked ones.

A mean is over the tokens that are kept *in the whole step*. Who sums gradients over micro-batches
or devices gives :func:`goldfish_loss` that number (:func:`kept_in_step`); the Trainer and the
book's loop count by themselves.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from palimpsest.core.errors import DataError
from palimpsest.core.scoring import selected_logits
from palimpsest.core.text import Row
from palimpsest.goldfish.mask import Mask

IGNORED = -100  # the label that Hugging Face models and PyTorch's cross-entropy pass over


class Losses(NamedTuple):
    """What one pass says of a batch; scalars on the model's device, so nothing waits for them.

    Attributes:
        loss: to be minimised, nats.
        kept, masked: mean negative log-likelihood of the tokens kept and of those masked, nats; NaN
            without any. Text that is recited has a gap between them; new text has none.
        kept_count, masked_count: how many.
    """

    loss: Tensor
    kept: Tensor
    masked: Tensor
    kept_count: Tensor
    masked_count: Tensor


def goldfish_loss(
    logits: Tensor, labels: Tensor, keep: Tensor, kept_total: Tensor | float | None = None
) -> Losses:
    """The loss of a batch, and what the kept and the masked tokens have in it.

    Args:
        logits: [B, T, V], at each position of the token after it.
        labels: [B, T], the token ids; -100 where none is a target (padding, prompts).
        keep: bool [B, T], from a mask of the *ids*, before any label was taken out.
        kept_total: tokens to divide by; None: those kept in this batch. See :func:`kept_in_step`.

    Returns:
        With nothing kept the loss is 0, and so is its gradient.

    Raises:
        DataError: shapes that do not belong together.
    """
    if logits.shape[:2] != labels.shape or labels.shape != keep.shape:
        raise DataError(
            f"Logits {tuple(logits.shape)}, labels {tuple(labels.shape)} and mask "
            f"{tuple(keep.shape)} do not belong together; [B, T, V], [B, T] and [B, T] were "
            "expected."
        )
    targets = labels[:, 1:].flatten()
    losses = F.cross_entropy(
        _precise(logits[:, :-1].flatten(0, 1)), targets, ignore_index=IGNORED, reduction="none"
    )
    wanted, kept = targets != IGNORED, keep[:, 1:].flatten()
    kept, masked = wanted & kept, wanted & ~kept
    total = kept.sum() if kept_total is None else torch.as_tensor(kept_total, device=losses.device)
    told = losses.detach()
    return Losses(
        # Where nothing is kept the sum is 0 and still hangs on the weights.
        loss=torch.where(kept, losses, 0.0).sum() / total.clamp(min=1),
        kept=torch.where(kept, told, 0.0).sum() / kept.sum(),
        masked=torch.where(masked, told, 0.0).sum() / masked.sum(),
        kept_count=kept.sum(),
        masked_count=masked.sum(),
    )


def kept_in_step(counts: Iterable[Tensor | int]) -> Tensor:
    """float: what to divide each micro-batch's loss by, so that their sum is the mean of the step.

    ``counts`` are the kept targets of this process's micro-batches. If processes train together
    (``torch.distributed``), which average their gradients, it is the number of all of them over the
    number of processes.
    """
    total = sum(torch.as_tensor(count).double() for count in counts)
    total = torch.as_tensor(total, dtype=torch.float64)
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.all_reduce(total)
        total = total / torch.distributed.get_world_size()
    return total.float()


def gathered_loss(model: nn.Module, ids: Tensor, keep: Tensor) -> Tensor:
    """The same mean, with only the kept positions handed to the output layer.

    Of a small model with a large vocabulary that is a good part of the work and most of the memory.
    What it does not compute it cannot tell: for the masked tokens' loss use :func:`goldfish_loss`.

    Args:
        model: a causal language model.
        ids: [B, T], padded on the right.
        keep: bool [B, T]: which tokens are targets, padding not among them.
    """
    lines, columns = torch.nonzero(keep[:, 1:], as_tuple=True)
    if not len(lines):
        return 0.0 * selected_logits(model, ids, lines.new_zeros(1), lines.new_zeros(1)).sum()
    logits = selected_logits(model, ids, lines, columns)
    return F.cross_entropy(_precise(logits), ids[lines, columns + 1])


def _precise(logits: Tensor) -> Tensor:
    """In 32 bits, if they have fewer."""
    return logits.float() if logits.dtype.itemsize < 4 else logits


def masked_rows(rows: Sequence[Row], mask: Mask, visit: int = 0) -> list[Row]:
    """The rows with weight 0 on what the mask leaves out, for ``core.training.train``.

    Args:
        rows: as ``core.text`` makes them; tokens without weight stay without.
        mask: of single rows; each is masked as a segment of its own, however it is packed later.
        visit: for a mask that differs from visit to visit. Such a training is given the rows of all
            its visits, one after the other, and goes through them once.

    Returns:
        As many rows; one in which nothing is left to predict has no weight at all.
    """
    found = []
    for number, row in enumerate(rows):
        ids = torch.from_numpy(row.input_ids.astype(np.int64))[None]
        keep = mask(ids, visit=visit, rows=[number])[0].numpy()
        found.append(replace(row, weights=row.weights * keep))
    return found


class GoldfishCollator:
    """A data collator whose labels lack what a mask leaves out; for a Hugging Face ``Trainer``.

    The Trainer counts the labels that are left in all micro-batches of a step and on all devices,
    and divides by them. For evaluation give it the inner collator: masks are for training only.

    Args:
        collator: makes ``input_ids`` and, maybe, ``labels`` and ``attention_mask``.
        mask: which tokens are targets. Padding and prompts whose labels are -100 already stay so,
            and do not enter the mask of other tokens: segments are told apart by the attention
            mask, or by ``segments`` where the collator gives them.
    """

    def __init__(
        self, collator: Callable[[list[dict[str, Any]]], dict[str, Any]], mask: Mask
    ) -> None:
        self.collator, self.mask, self.visits = collator, mask, 0

    def __call__(self, features: list[dict[str, Any]]) -> dict[str, Any]:
        """The inner collator's batch with fewer labels."""
        batch = self.collator(features)
        ids = batch["input_ids"]
        segments = batch.pop("segments", None)
        if segments is None:
            segments = batch.get("attention_mask")
        keep = self.mask(ids, segments, visit=self.visits)
        self.visits += 1
        labels = batch.get("labels")
        if labels is None:
            labels = ids if segments is None else ids.masked_fill(segments == 0, IGNORED)
        batch["labels"] = labels.masked_fill(~keep, IGNORED)
        return batch
