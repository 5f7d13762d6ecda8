"""Scores: how much each training row helps each completion.

``I(row) = q^T (G + λI)^-1 r``, summed over layers, with the completion's gradient ``q`` and the
row's ``r``, both of a summed loss (arXiv:2308.03296). **Positive: the row
helps**, that is, adding a copy raises the completion's log-probability. A raw score divided by the
number of rows in training is in nats per added copy (:meth:`Scores.nats`).

A query is solved once; then every row costs one forward and backward pass, whatever the number of
queries. Solved gradients of low rank (in the paper rank 32 is enough) take less memory, and
less time for long rows of wide layers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from palimpsest.core import files, serial
from palimpsest.core.errors import DataError, UserError
from palimpsest.core.models import LanguageModel
from palimpsest.core.text import Row
from palimpsest.influence.factors import Factors, gradient, held, read_kept, rotated_gradient
from palimpsest.influence.layers import Layer
from palimpsest.influence.passes import Captured, each

__all__ = ["Scores", "query_gradients", "score", "self_influence", "solved"]

# Numbers in the intermediate of a product of tokens and queries.
_HELD = 2**22


@dataclass(frozen=True)
class Scores:
    """Influence of rows on completions; positive helps.

    Attributes:
        rows: float64 [Q, R], raw.
        layers: float64 [Q, R, L], the part of each layer; sums to ``rows``. None if not asked for.
        tokens: for each row [Q, T], in the precision of the arithmetic, the part of each token (the
            simple form: the term of the token that predicts the next one); sums to ``rows``. None
            if not asked for.
        names: of the layers.
        model: fingerprint of the model.
    """

    rows: np.ndarray
    layers: np.ndarray | None
    tokens: list[np.ndarray] | None
    names: tuple[str, ...]
    model: str

    def nats(self, training_rows: int) -> np.ndarray:
        """[Q, R]: nats that one more copy of the row adds to the completion's log-probability, to
        first order, where training had so many rows."""
        if training_rows < 1:
            raise UserError(f"Training had {training_rows} rows; at least 1 was expected.")
        return self.rows / training_rows

    def save(self, path: Path) -> None:
        """Write the scores and the model's fingerprint as one safetensors file."""
        files.write_bytes(Path(path), serial.to_bytes(self, {"holds": "scores"}))

    @classmethod
    def load(cls, path: Path, lm: LanguageModel) -> "Scores":
        """Read scores of ``lm``.

        Raises:
            DataError: the file is missing, broken, of something else or of another model.
        """
        found = read_kept(path, "scores")
        if not isinstance(found, cls) or found.model != lm.fingerprint():
            raise DataError(
                f"{path} holds no scores of {lm.name} (it was saved for a model with other "
                "weights, or holds something else). Score again with this model."
            )
        return found


def score(
    lm: LanguageModel,
    factors: Factors,
    queries: Sequence[Row],
    rows: Sequence[Row],
    rank: int | None = None,
    layers: bool = False,
    tokens: bool = False,
    batch_tokens: int | None = None,
    progress: str | None = None,
) -> Scores:
    """How much each row helps each completion.

    Args:
        lm: the model that ``factors`` are of.
        factors: the curvature.
        queries: prompts with completions; the weights are 1 on the completion's tokens and 0 before
            (``core.text.answer_row``).
        rows: training rows, with the weights that their training gave them. One without any target
            has no influence: its score is 0.
        rank: keep so many directions of each solved gradient; None: all.
        layers, tokens: also give the parts of layers or tokens.
        batch_tokens, progress: as :func:`~palimpsest.influence.passes.each`.

    Raises:
        DataError: an empty completion; or as :func:`~palimpsest.influence.passes.each`.
        ModelError: the factors are of another model.
    """
    factors.check(lm)
    factors = factors.to(lm)
    wanted = solved(lm, factors, queries, rank, batch_tokens)
    count = len(queries)
    found = np.zeros((count, len(rows)))
    by_layer = np.zeros((count, len(rows), len(factors.layers))) if layers else None
    exact = np.float64 if lm.dtype == torch.float64 else np.float32
    by_token = [np.zeros((count, len(row)), dtype=exact) for row in rows] if tokens else None

    def scored(batch: Captured) -> tuple[Tensor, Tensor | None]:
        parts, along = [], None
        for layer in factors.layers:
            one = wanted[layer.name]
            if tokens:
                terms = one.by_token(batch.inputs[layer.name], batch.gradients[layer.name])
                along = terms if along is None else along + terms
                parts.append(terms.sum(dim=2))
            else:
                pieces = [one.by_row(a, s) for a, s in held(batch, layer)]
                parts.append(torch.cat(pieces, dim=1))
        return torch.stack(parts, dim=2), along

    for places, (parts, along) in each(
        lm, factors.layers, rows, scored, "own", 0, batch_tokens, progress
    ):
        parts_ = parts.double().cpu().numpy()
        found[:, places] = parts_.sum(axis=2)
        if by_layer is not None:
            by_layer[:, places] = parts_
        if by_token is not None and along is not None:
            along_ = along.cpu().numpy()
            for line, place in enumerate(places):
                by_token[place][:] = along_[:, line, : len(rows[place])]
    names = tuple(layer.name for layer in factors.layers)
    return Scores(found, by_layer, by_token, names, factors.model)


def query_gradients(
    lm: LanguageModel,
    layers: Sequence[Layer],
    queries: Sequence[Row],
    batch_tokens: int | None = None,
) -> dict[str, Tensor]:
    """By layer ``q`` [Q, P, M]: the gradient of each completion's summed loss, ``-∇ log p``.

    Raises:
        DataError: an empty completion (no token has a weight); a query longer than the window.
    """
    for query in queries:
        if not query.weights[1:].any():
            raise DataError(
                f"The query '{query.id}' has no completion: none of its tokens has a weight. Give "
                "a prompt and at least one token that follows it."
            )
    found: dict[str, list[Tensor | None]] = {one.name: [None] * len(queries) for one in layers}

    def summed(batch: Captured) -> dict[str, Tensor]:
        return {name: gradient(batch.inputs[name], batch.gradients[name]) for name in batch.inputs}

    for places, parts in each(lm, layers, queries, summed, batch_tokens=batch_tokens):
        for name, part in parts.items():
            for place, one in zip(places, part, strict=True):
                found[name][place] = one
    return {name: torch.stack([one for one in all_of if one is not None])
            for name, all_of in found.items()}  # fmt: skip


def solved(
    lm: LanguageModel,
    factors: Factors,
    queries: Sequence[Row],
    rank: int | None = None,
    batch_tokens: int | None = None,
) -> dict[str, "Full | LowRank"]:
    """By layer ``(G + λI)^-1 q`` of each query, whole or of low rank."""
    if rank is not None and rank < 1:
        raise UserError(f"The rank is {rank}; at least 1 was expected.")
    if not queries:
        raise DataError("There are no queries; at least one prompt with a completion was expected.")
    gradients = query_gradients(lm, factors.layers, queries, batch_tokens)
    found: dict[str, Full | LowRank] = {}
    for name in list(gradients):
        whole = factors.solve(name, gradients.pop(name))
        small = rank is not None and rank < min(whole.shape[1:])
        found[name] = LowRank.of(whole, rank) if small and rank else Full(whole)
    return found


def self_influence(
    lm: LanguageModel,
    factors: Factors,
    rows: Sequence[Row],
    batch_tokens: int | None = None,
    progress: str | None = None,
) -> np.ndarray:
    """float64 [R]: ``r^T (G + λI)^-1 r``, the influence of each row on itself; never negative.

    Raises:
        ModelError: the factors are of another model.
    """
    factors.check(lm)
    factors = factors.to(lm)

    def squared(batch: Captured) -> Tensor:
        total = 0.0
        for layer in factors.layers:
            block = factors.blocks[layer.name]
            damped = block.eigenvalues + block.damping
            pieces = [
                (rotated_gradient(a, s, block.q_in, block.q_out).square_() / damped).sum((1, 2))
                for a, s in held(batch, layer)
            ]
            total = total + torch.cat(pieces)
        return total

    found = np.zeros(len(rows))
    for places, part in each(lm, factors.layers, rows, squared, "own", 0, batch_tokens, progress):
        found[places] = part.double().cpu().numpy()
    return found


# --- solved gradients ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Full:
    """Solved gradients [Q, P, M] of one layer."""

    whole: Tensor

    def by_row(self, a: Tensor, s: Tensor) -> Tensor:
        """[Q, B]: the product with each row's gradient, from inputs [B, T, M] and gradients
        [B, T, P]."""
        return self.whole.flatten(1) @ gradient(a, s).flatten(1).T

    def by_token(self, a: Tensor, s: Tensor) -> Tensor:
        """[Q, B, T]: the part of each token, ``s_t^T V a_t``."""
        # Contracting the wider side first leaves the smaller intermediate.
        wide, narrow, matrices = (s, a, self.whole)
        if a.shape[2] > s.shape[2]:
            wide, narrow, matrices = a, s, self.whole.transpose(1, 2)
        tokens = wide.shape[0] * wide.shape[1]
        count = max(1, _HELD // max(1, tokens * narrow.shape[2]))
        flat, other = wide.flatten(0, 1), narrow.flatten(0, 1)
        parts = [torch.einsum("qtn,tn->qt", flat @ chunk, other) for chunk in matrices.split(count)]
        return torch.cat(parts).unflatten(1, wide.shape[:2])


@dataclass(frozen=True)
class LowRank:
    """Solved gradients of one layer as products ``left @ right``: [Q, P, k] and [Q, k, M]."""

    left: Tensor
    right: Tensor

    @classmethod
    def of(cls, whole: Tensor, rank: int) -> "LowRank":
        """The best approximation of rank ``rank`` of each [P, M] (its singular vectors)."""
        left, values, right = torch.linalg.svd(whole, full_matrices=False)
        return cls(left[..., :rank] * values[..., None, :rank], right[..., :rank, :])

    def by_row(self, a: Tensor, s: Tensor) -> Tensor:
        """As :meth:`Full.by_row`; a row's gradient is only formed where that is less work."""
        queries, high, rank = self.left.shape
        wide, tokens = self.right.shape[2], a.shape[1]
        if high * wide * (tokens + queries) < tokens * queries * rank * (high + wide):
            return (self.left @ self.right).flatten(1) @ gradient(a, s).flatten(1).T
        return self.by_token(a, s).sum(dim=2)

    def by_token(self, a: Tensor, s: Tensor) -> Tensor:
        """As :meth:`Full.by_token`: ``(left^T s_t) · (right a_t)``."""
        tokens = a.shape[0] * a.shape[1]
        count = max(1, _HELD // max(1, tokens * self.left.shape[2]))
        parts = [
            ((s.flatten(0, 1) @ left) * (a.flatten(0, 1) @ right.transpose(1, 2))).sum(dim=2)
            for left, right in zip(self.left.split(count), self.right.split(count), strict=True)
        ]
        return torch.cat(parts).unflatten(1, a.shape[:2])
