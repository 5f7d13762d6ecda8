"""EK-FAC: an invertible picture of the curvature, fitted in two passes over rows.

For a layer with weights P x M the block of the Gauss-Newton matrix (MP x MP) is approximated by
``Q diag(Λ + λ) Q^T`` with ``Q = Q_A ⊗ Q_S`` (arXiv:2308.03296; EK-FAC itself is
arXiv:1806.03884). The first pass sums covariances ``A`` [M, M] of inputs and ``S`` [P, P] of
output gradients over tokens; their eigenvectors are ``Q_A`` and ``Q_S``, in columns. The second
finds the eigenvalues that fit best: ``Λ`` [P, M], the mean over rows of ``(Q_S^T DW Q_A)²``, with
the gradient ``DW`` of a row summed over its tokens *before* it is squared. (In the paper's
equations 20 and 21, as read in a stored text version, these transposes are exchanged.) The damping
is a part of the mean eigenvalue.

The same code makes simpler curvatures: K-FAC keeps the eigenvalues of the covariances, the diagonal
keeps the axes as they are, and the identity is no curvature at all, which makes influence the dot
product of gradients.

What is summed is additive: :func:`covariances` and :func:`corrections` are functions of a shard of
rows, and the results of shards are added with ``+``.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce
from operator import add
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from palimpsest.core import files, serial
from palimpsest.core.errors import DataError, ModelError, UserError, nearest
from palimpsest.core.models import LanguageModel
from palimpsest.core.text import Row
from palimpsest.influence.layers import Layer, choose
from palimpsest.influence.passes import Captured, each

__all__ = [
    "METHODS", "Bases", "Block", "Corrections", "Covariances", "Factors", "corrections",
    "covariances", "eigenbases", "fit", "gradient", "rotated_gradient",
]  # fmt: skip

Method = Literal["ekfac", "kfac", "diagonal", "identity"]
METHODS = ("ekfac", "kfac", "diagonal", "identity")
DAMPING = 0.1
# Rows whose gradients of one layer are held at once: as many as fit this many numbers.
_HELD = 2**22


@dataclass(frozen=True)
class Covariances:
    """Sums over a shard, by layer: ``inputs`` [M, M], ``gradients`` [P, P], of ``tokens`` tokens in
    ``rows`` rows; float64."""

    inputs: dict[str, Tensor]
    gradients: dict[str, Tensor]
    tokens: int
    rows: int

    def __add__(self, other: "Covariances") -> "Covariances":
        return Covariances(
            _summed(self.inputs, other.inputs), _summed(self.gradients, other.gradients),
            self.tokens + other.tokens, self.rows + other.rows,
        )  # fmt: skip


@dataclass(frozen=True)
class Bases:
    """Eigenvectors in columns and eigenvalues of the mean covariances, by layer, and the mean
    number of tokens of a row.

    Attributes:
        inputs, gradients: [M, M] and [P, P]; empty for the axes as they are.
        input_values, gradient_values: [M] and [P], of the means over tokens.
    """

    inputs: dict[str, Tensor]
    gradients: dict[str, Tensor]
    input_values: dict[str, Tensor]
    gradient_values: dict[str, Tensor]
    tokens_per_row: float


@dataclass(frozen=True)
class Corrections:
    """Sums over a shard, by layer: ``squares`` [P, M] of rotated row gradients, of ``rows`` rows;
    float64."""

    squares: dict[str, Tensor]
    rows: int

    def __add__(self, other: "Corrections") -> "Corrections":
        return Corrections(_summed(self.squares, other.squares), self.rows + other.rows)


@dataclass(frozen=True)
class Block:
    """One layer's curvature.

    Attributes:
        q_in: Q_A [M, M], eigenvectors in columns; None for the axes as they are.
        q_out: Q_S [P, P], or None.
        eigenvalues: Λ [P, M].
        damping: λ, added to each.
    """

    q_in: Tensor | None
    q_out: Tensor | None
    eigenvalues: Tensor
    damping: float

    def rotate(self, gradients: Tensor) -> Tensor:
        """``Q_S^T V Q_A`` of [..., P, M]."""
        if self.q_in is None or self.q_out is None:
            return gradients
        return self.q_out.T @ gradients @ self.q_in

    def rotate_back(self, gradients: Tensor) -> Tensor:
        """``Q_S V Q_A^T`` of [..., P, M]."""
        if self.q_in is None or self.q_out is None:
            return gradients
        return self.q_out @ gradients @ self.q_in.T

    def solve(self, gradients: Tensor) -> Tensor:
        """``(G + λI)^-1 V`` of [..., P, M]."""
        return self.rotate_back(self.rotate(gradients) / (self.eigenvalues + self.damping))


@dataclass(frozen=True)
class Factors:
    """A fitted curvature.

    Attributes:
        method: one of :data:`METHODS`.
        layers: the layers, in the order of the network.
        blocks: the curvature of each, by name.
        model: fingerprint of the model that it is of.
        covariance_rows, correction_rows: how many rows each pass read.
    """

    method: str
    layers: tuple[Layer, ...]
    blocks: dict[str, Block]
    model: str
    covariance_rows: int
    correction_rows: int

    def solve(self, name: str, gradients: Tensor) -> Tensor:
        """``(G_l + λ_l I)^-1 V`` of gradients [..., P, M] of a layer."""
        return self.blocks[name].solve(gradients)

    def check(self, lm: LanguageModel) -> None:
        """Refuse a model that the factors are not of.

        Raises:
            ModelError: the model has other weights, another tokenizer or another shape.
        """
        if lm.fingerprint() != self.model:
            raise ModelError(
                f"These factors are of another model than {lm.name} (its weights, settings or "
                "tokenizer differ), so scores made with them would mean nothing. Fit factors for "
                "this model."
            )

    def to(self, lm: LanguageModel) -> "Factors":
        """The same factors on the model's device, in its precision or 32 bits."""
        dtype = torch.float64 if lm.dtype == torch.float64 else torch.float32

        def move(tensor: Tensor | None) -> Tensor | None:
            return None if tensor is None else tensor.to(lm.device, dtype)

        blocks = {
            name: Block(move(one.q_in), move(one.q_out), move(one.eigenvalues), one.damping)  # type: ignore[arg-type]
            for name, one in self.blocks.items()
        }
        return replace(self, blocks=blocks)

    def damped(self, damping: float) -> "Factors":
        """The same eigenvalues with another damping, a part of each layer's mean."""
        if self.method == "identity":
            raise UserError("The identity has no eigenvalues, so there is nothing to damp.")
        blocks = {
            name: Block(
                one.q_in, one.q_out, one.eigenvalues, damping * float(one.eigenvalues.mean())
            )
            for name, one in self.blocks.items()
        }
        return replace(self, blocks=blocks)

    def save(self, path: Path) -> None:
        """Write the factors and the model's fingerprint as one safetensors file."""
        files.write_bytes(Path(path), serial.to_bytes(self, {"holds": "factors"}))

    @classmethod
    def load(cls, path: Path, lm: LanguageModel) -> "Factors":
        """Read factors of ``lm``.

        Raises:
            DataError: the file is missing, broken, or holds something else.
            ModelError: they are of another model.
        """
        found = read_kept(path, "factors")
        if not isinstance(found, cls):
            raise DataError(f"{path} holds no factors. Fit them again and save them.")
        found.check(lm)
        return found


def read_kept(path: Path, what: str) -> object:
    """A value that was saved whole.

    Raises:
        DataError: the file is missing or broken.
    """
    try:
        return serial.from_bytes(Path(path).read_bytes(), ("palimpsest",))
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.") from None
    except serial.BrokenError as error:
        raise DataError(f"{path} holds no {what}: {error}. Make them again.") from None


# --- fitting ------------------------------------------------------------------------------------


def fit(
    lm: LanguageModel,
    rows: Sequence[Row],
    layers: Sequence[Layer] = (),
    method: Method = "ekfac",
    damping: float = DAMPING,
    covariance_rows: int | None = None,
    correction_rows: int | None = None,
    seed: int = 0,
    batch_tokens: int | None = None,
    progress: str | None = None,
) -> Factors:
    """The curvature of a model on rows like those it was trained on.

    Args:
        lm: the model, where training stopped.
        rows: a sample of its training rows.
        layers: by default the layers of the MLPs (:func:`~palimpsest.influence.layers.choose`).
        method: ``ekfac``; ``kfac``: the eigenvalues of the covariances, times the mean tokens of a
            row, as if tokens were independent; ``diagonal``: the mean squared row gradient on each
            weight; ``identity``: none, and no damping.
        damping: λ as a part of the mean of Λ, layer by layer.
        covariance_rows, correction_rows: at most so many of the rows, drawn at random, are read in
            the first and in the second pass; None: all.
        seed: of sampled labels and of drawing rows. The passes draw labels of their own.
        batch_tokens, progress: as :func:`~palimpsest.influence.passes.each`.

    Raises:
        DataError: no row has a target, or a damped eigenvalue would be zero.
        UserError: an unknown method, or a damping below zero.
    """
    if method not in METHODS:
        raise UserError(f"'{method}' is no curvature; {nearest(method, METHODS)}")
    if not damping >= 0:
        raise UserError(f"The damping is {damping}; a number of at least 0 was expected.")
    layers = tuple(layers) or choose(lm)
    model = lm.fingerprint()
    if method == "identity":
        ones = {one.name: torch.ones(one.outputs, one.inputs) for one in layers}
        blocks = {name: Block(None, None, one, 0.0) for name, one in ones.items()}
        return Factors(method, layers, blocks, model, 0, 0).to(lm)
    usable = [row for row in rows if row.weights[1:].any()]
    if not usable:
        raise DataError(
            "No row has a token to predict, so there is no curvature to measure. Give rows of at "
            "least two tokens with a weight above 0."
        )
    first = _drawn(usable, covariance_rows, seed)
    second = _drawn(usable, correction_rows, seed)
    told = (lambda what: f"{progress}: {what}") if progress else (lambda what: None)
    if method == "diagonal":
        bases, first = Bases({}, {}, {}, {}, 0.0), []
    else:
        sums = covariances(lm, layers, first, 2 * seed, batch_tokens, told("covariances"))
        bases = eigenbases(sums)
    if method == "kfac":
        values = {
            name: bases.tokens_per_row * torch.outer(bases.gradient_values[name], one)
            for name, one in bases.input_values.items()
        }
        second = []
    else:
        found = corrections(
            lm, layers, bases, second, 2 * seed + 1, batch_tokens, told("eigenvalues")
        )
        values = {name: squares / found.rows for name, squares in found.squares.items()}
    blocks = {}
    for name, one in values.items():
        damped = damping * float(one.mean())
        if not damped > 0 and not float(one.min()) > 0:
            raise DataError(
                f"The curvature of {name} has an eigenvalue of zero and no damping, so it cannot "
                "be inverted. Give more rows, or a damping above 0."
            )
        blocks[name] = Block(bases.inputs.get(name), bases.gradients.get(name), one, damped)
    return Factors(method, layers, blocks, model, len(first), len(second)).to(lm)


def covariances(
    lm: LanguageModel,
    layers: Sequence[Layer],
    rows: Sequence[Row],
    seed: int = 0,
    batch_tokens: int | None = None,
    progress: str | None = None,
) -> Covariances:
    """``sum a a^T`` and ``sum s s^T`` over the tokens of a shard, with sampled labels.

    Tokens are those that predict another; each counts once, whatever the length of its row.
    """

    def summed(batch: Captured) -> Covariances:
        inputs, gradients = {}, {}
        for layer in layers:
            a = batch.inputs[layer.name].flatten(0, 1)
            s = batch.gradients[layer.name].flatten(0, 1)
            inputs[layer.name], gradients[layer.name] = (a.T @ a).double(), (s.T @ s).double()
        tokens = int((batch.lengths - 1).sum())
        return Covariances(inputs, gradients, tokens, len(batch.rows))

    parts = each(lm, layers, rows, summed, "sampled", seed, batch_tokens, progress)
    return reduce(add, (part for _, part in parts))


def eigenbases(sums: Covariances) -> Bases:
    """Eigenvectors and eigenvalues of the mean covariances."""
    parts: dict[str, dict[str, Tensor]] = {}
    for side, matrices in (("inputs", sums.inputs), ("gradients", sums.gradients)):
        found = {
            name: torch.linalg.eigh((one + one.T) / (2 * sums.tokens))
            for name, one in matrices.items()
        }
        parts[side] = {name: vectors for name, (_, vectors) in found.items()}
        parts[f"{side}_values"] = {name: values.clamp(min=0) for name, (values, _) in found.items()}
    return Bases(
        parts["inputs"], parts["gradients"], parts["inputs_values"], parts["gradients_values"],
        sums.tokens / sums.rows,
    )  # fmt: skip


def corrections(
    lm: LanguageModel,
    layers: Sequence[Layer],
    bases: Bases,
    rows: Sequence[Row],
    seed: int = 1,
    batch_tokens: int | None = None,
    progress: str | None = None,
) -> Corrections:
    """The sum over the rows of a shard of the squared gradient in the eigenbasis, with sampled
    labels; with empty bases, on the axes as they are."""
    dtype = torch.float64 if lm.dtype == torch.float64 else torch.float32
    bases = _moved(bases, lm.device, dtype)

    def summed(batch: Captured) -> Corrections:
        squares = {}
        for layer in layers:
            q_in, q_out = bases.inputs.get(layer.name), bases.gradients.get(layer.name)
            total = 0.0
            for a, s in held(batch, layer):
                total = total + rotated_gradient(a, s, q_in, q_out).square_().sum(dim=0)
            squares[layer.name] = total.double()
        return Corrections(squares, len(batch.rows))

    parts = each(lm, layers, rows, summed, "sampled", seed, batch_tokens, progress)
    return reduce(add, (part for _, part in parts))


# --- gradients of rows --------------------------------------------------------------------------


def gradient(a: Tensor, s: Tensor) -> Tensor:
    """Row gradients ``sum_t s_t a_t^T`` [B, P, M] of inputs [B, T, M] and gradients [B, T, P]."""
    return s.transpose(1, 2) @ a


def rotated_gradient(a: Tensor, s: Tensor, q_in: Tensor | None, q_out: Tensor | None) -> Tensor:
    """``Q_S^T DW Q_A`` [B, P, M] for each row.

    The gradient is rotated where that takes fewer multiplications than rotating what it is the
    product of: MP(M + P) a row against T(M² + P²).
    """
    if q_in is None or q_out is None:
        return gradient(a, s)
    tokens, wide, high = a.shape[1], a.shape[2], s.shape[2]
    if tokens * (wide**2 + high**2) < wide * high * (wide + high):
        return gradient(a @ q_in, s @ q_out)
    return q_out.T @ gradient(a, s) @ q_in


def held(batch: Captured, layer: Layer) -> list[tuple[Tensor, Tensor]]:
    """Inputs and gradients of a layer in parts whose row gradients are small enough to hold."""
    count = max(1, _HELD // (layer.inputs * layer.outputs))
    a, s = batch.inputs[layer.name], batch.gradients[layer.name]
    return list(zip(a.split(count), s.split(count), strict=True))


def _summed(one: dict[str, Tensor], other: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor + other[name] for name, tensor in one.items()}


def _drawn(rows: Sequence[Row], most: int | None, seed: int) -> list[Row]:
    if most is None or most >= len(rows):
        return list(rows)
    if most < 1:
        raise UserError(f"The curvature was to be fitted on {most} rows; at least 1 was expected.")
    chosen = np.random.default_rng([seed, 41]).choice(len(rows), most, replace=False)
    return [rows[at] for at in sorted(chosen.tolist())]


def _moved(bases: Bases, device: torch.device, dtype: torch.dtype) -> Bases:
    inputs, gradients = (
        {name: one.to(device, dtype) for name, one in side.items()}
        for side in (bases.inputs, bases.gradients)
    )
    return Bases(inputs, gradients, bases.input_values, bases.gradient_values, bases.tokens_per_row)
