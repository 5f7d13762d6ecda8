"""Searching for a training text instead of waiting for it: beams, with and without the mask.

A goldfish model leaves a text where a token was masked, since it has to guess there. Beam search
tries several guesses everywhere (the paper's adaptive attack, reported second-hand). Who knows the
mask, and a hashed mask is a function of the text alone, tries several guesses *only* where one was
needed, and spends no beam elsewhere (goldfish digest, sections 5 and 11). To count a masked token's
own probability for less, since it was never trained, was tried on the shipped model and finds less.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from palimpsest.core.errors import DataError, UserError
from palimpsest.core.models import LanguageModel, all_logits, read_on
from palimpsest.core.scoring import reading
from palimpsest.goldfish.mask import HashedMask, Mask


@dataclass(frozen=True)
class Found:
    """A continuation that a search came upon.

    Attributes:
        ids: its tokens.
        logprob: of all of them together, nats.
    """

    ids: tuple[int, ...]
    logprob: float


def beam_search(
    lm: LanguageModel,
    prefix: Sequence[int],
    length: int,
    beams: int,
    mask: Mask | None = None,
) -> list[Found]:
    """The likeliest continuations of a prefix that so many beams find, best first.

    Args:
        lm: the model.
        prefix: token ids, at least one.
        length: tokens to find. An end-of-text token is one like any other.
        beams: continuations followed side by side; 1 is greedy.
        mask: the mask of the model's training, if the attacker knows it. Then a beam goes on with
            the model's own choice wherever the token was a target, and branches where it was not.

    Raises:
        UserError: ``length`` or ``beams`` below 1; a mask whose window includes the target, of
            which an attacker cannot tell beforehand where it masks.
        DataError: an empty prefix, or one that leaves no room for ``length`` tokens.
    """
    _check(lm, prefix, length, beams, mask)
    lines = torch.tensor([list(prefix)], device=lm.device)
    scores = torch.zeros(1, device=lm.device, dtype=torch.float64)
    past, start = None, len(prefix)
    with reading(lm.model):
        for _ in range(length):
            logits, past = _next(lm, lines, past)
            logprobs = torch.log_softmax(logits.double(), dim=-1)
            values, tokens = logprobs.topk(min(beams, logprobs.shape[1]), dim=1)
            gains = values if mask is None else _judged(values, _masked_next(mask, lines))
            ranked = (scores[:, None] + gains).flatten()
            ranked = ranked.topk(min(beams, int(ranked.isfinite().sum())))
            origin = ranked.indices // values.shape[1]
            scores, chosen = ranked.values, tokens.flatten()[ranked.indices]
            lines = torch.cat([lines[origin], chosen[:, None]], dim=1)
            if past is not False:
                past.reorder_cache(origin)
    return [
        Found(tuple(ids), score)
        for ids, score in zip(lines[:, start:].tolist(), scores.tolist(), strict=True)
    ]


def _check(
    lm: LanguageModel, prefix: Sequence[int], length: int, beams: int, mask: Mask | None
) -> None:
    for name, value in (("length", length), ("beams", beams)):
        if value < 1:
            raise UserError(f"{name} is {value}; at least 1 was expected.")
    if isinstance(mask, HashedMask) and mask.window == "inclusive":
        raise UserError(
            "A mask whose window includes the target is known only when the target is. Search "
            "without the mask, or against a model trained with the window 'preceding'."
        )
    if not len(prefix):
        raise DataError("The prefix is empty; at least one token was expected to go on from.")
    if len(prefix) + length > lm.max_length + 1:
        raise DataError(
            f"A prefix of {len(prefix)} tokens and {length} more do not fit the {lm.max_length} "
            f"tokens that {lm.name} reads at once. Shorten one of them."
        )


def _next(lm: LanguageModel, lines: Tensor, past: Any) -> tuple[Tensor, Any]:
    """Logits [B, V] of the next token, and what was kept of the reading, if the model keeps it."""
    if past is False:  # it was found not to
        return all_logits(lm.model, lines)[:, -1], False
    out = read_on(lm.model, lines if past is None else lines[:, -1:], past)
    kept = getattr(out, "past_key_values", None)
    return out.logits[:, -1], kept if hasattr(kept, "reorder_cache") else False


def _masked_next(mask: Mask, lines: Tensor) -> Tensor:
    """bool [B]: whether the token that comes next was no target. What it is does not matter."""
    longer = torch.cat([lines, torch.zeros_like(lines[:, :1])], dim=1)
    return ~mask(longer)[:, -1]


def _judged(values: Tensor, masked: Tensor) -> Tensor:
    """Where the token was a target only the first choice counts."""
    kept = torch.full_like(values, -torch.inf)
    kept[:, 0] = values[:, 0]
    return torch.where(masked[:, None], values, kept)
