"""Which tokens of a text a model is trained to predict, and which are left out of the loss.

A mask is a boolean tensor beside the token ids: ``keep[b, t]`` says whether token ``t`` of row
``b`` is a target. It is computed from the ids before any label is masked, and combined with other
reasons not to train on a token (padding, prompts) by logical and::

    keep = HashedMask(k=4, h=13)(input_ids)
    labels = input_ids.masked_fill(~keep, -100)   # as Hugging Face models and PyTorch expect them

Three rules (arXiv:2406.10209, section 3, as the goldfish digest reports it; the grade of each fact
is there): every k-th position, a coin for each position and visit, and the paper's own, a hash of
the tokens around a position, so that a passage is masked alike wherever and whenever it occurs.

Everything is computed in 64-bit integers whose overflow wraps around, so a mask is the same on
every device and in every version of PyTorch. Time is proportional to the number of tokens, whatever
the width of the window.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal, Protocol, get_args

import torch
from torch import Tensor

from palimpsest.core.errors import DataError, UserError, nearest

Window = Literal["preceding", "inclusive"]
Heads = Literal["exempt", "lead", "short", "cross"]

_BASE = 0x9E3779B97F4A7C15  # odd, hence invertible modulo 2^64
_SEED = 0xD1B54A32D192ED03  # parts the seeds
_SHORT = 0xA0761D6478BD642F  # marks a window that the start of its segment cut short
_PLACE = 0xE7037ED1A0B428DB  # parts the places of a head, rows and visits


class Mask(Protocol):
    """What all masks have in common."""

    def __call__(
        self,
        ids: Tensor,
        segments: Tensor | None = None,
        *,
        visit: int = 0,
        rows: Sequence[int] | Tensor | None = None,
    ) -> Tensor: ...


# --- the masks ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class HashedMask:
    """The mask of the paper: a token is left out if a hash of its ``h`` neighbours says so.

    The decision rests on the tokens of the window alone, so a passage loses the same tokens at
    every place, in every row and at every visit; and a larger ``k`` leaves out a part of what a
    smaller one leaves out.

    Attributes:
        k: one token in so many is left out, in the mean over distinct windows.
        h: tokens in a window. There is no usual value to default to: the paper's released models
            state 13, its code defaults to 4, others use 50. A larger window means that fewer common
            phrases are never learned, and that an edit unmasks more of a near-duplicate.
        seed: another seed leaves out other tokens.
        window: ``preceding``: the ``h`` tokens before the target, as the paper has it. A context is
            then either supervised or not, whatever follows it. ``inclusive``: the ``h`` tokens that
            end with the target, as its code has it. Some continuations of a context are then never
            trained on while others are, which pushes the former down.
        heads: what becomes of the first targets of a segment, which have no whole window before
            them. ``exempt``: they are kept (the paper). ``lead``: the segment's own first ``h``
            tokens decide on all of them. ``short``: what tokens there are decide; the first target
            is kept. ``cross``: windows ignore where segments begin, and only the head of a row is
            kept.
        exempt: ids that are always kept, such as those of special tokens.

    Raises:
        UserError: ``k`` below 2, ``h`` below 1, or an unknown window or policy.
    """

    k: int
    h: int
    seed: int = 0
    window: Window = "preceding"
    heads: Heads = "exempt"
    exempt: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        _check_rate(self.k)
        _check_whole("h", self.h, 1, "the number of tokens that decide on the next one")
        for name, known in (("window", get_args(Window)), ("heads", get_args(Heads))):
            if getattr(self, name) not in known:
                raise UserError(
                    f"A hashed mask has no {name} '{getattr(self, name)}': "
                    f"{nearest(str(getattr(self, name)), known)}"
                )

    def __call__(
        self,
        ids: Tensor,
        segments: Tensor | None = None,
        *,
        visit: int = 0,
        rows: Sequence[int] | Tensor | None = None,
    ) -> Tensor:
        """bool [B, T]: whether each token is a target.

        Args:
            ids: integers [B, T] or [T].
            segments: integers of the same shape; where the number changes, another document begins.
                Padding is a segment too: an attention mask will do.
            visit, rows: not looked at; a passage is masked alike each time and everywhere.

        Raises:
            DataError: ids that are no integers, or of another number of dimensions.
        """
        lines = _lines(ids)
        begins = _begins(lines, None if self.heads == "cross" else segments)
        place = torch.arange(lines.shape[1], device=lines.device)
        values = _mix(lines + 1 + _wrapped(self.seed * _SEED))
        # The window of position i is the tokens from ``left`` up to, not including, ``right``.
        right = place + (self.window == "inclusive")
        left = torch.maximum(right - self.h, begins)
        keys = _polynomials(values, left, right)
        whole = right - left >= self.h
        if self.heads == "short":
            lengths = (right - left + 1) * _wrapped(_SHORT)
            keys = torch.where(whole, keys, keys + _mix(lengths))
        drop = _chosen(_mix(keys), self.k)
        if self.heads == "lead":
            drop = torch.where(whole, drop, self._heads_drop(values, begins, segments, place))
        elif self.heads == "short":
            drop &= whole | (place > begins + 1)  # not the first target of a segment
        else:
            drop &= whole
        drop &= place > begins  # the first token is no target of anything before it
        return _shaped(~drop | _among(lines, self.exempt), ids)

    def _heads_drop(
        self, values: Tensor, begins: Tensor, segments: Tensor | None, place: Tensor
    ) -> Tensor:
        """Decisions from the first ``h`` tokens of a segment, or all of a shorter one."""
        ends = torch.minimum(begins + self.h, _ends(values, segments))
        lead = _mix(_polynomials(values, begins, ends) + _mix((ends - begins) * _wrapped(_SHORT)))
        return _chosen(_mix(lead + (place - begins + 1) * _wrapped(_PLACE)), self.k)


@dataclass(frozen=True)
class StaticMask:
    """Every ``k``-th position of a row is left out: ``start``, ``start + k``, and so on.

    A passage that comes at another offset loses other tokens (the paper's ablation).

    Raises:
        UserError: ``k`` below 2 or ``start`` below 0.
    """

    k: int
    start: int = 0

    def __post_init__(self) -> None:
        _check_rate(self.k)
        _check_whole("start", self.start, 0, "the first position that is left out")

    def __call__(
        self,
        ids: Tensor,
        segments: Tensor | None = None,
        *,
        visit: int = 0,
        rows: Sequence[int] | Tensor | None = None,
    ) -> Tensor:
        """bool [B, T], as :meth:`HashedMask.__call__`; of the ids alone."""
        lines = _lines(ids)
        place = torch.arange(lines.shape[1], device=lines.device)
        drop = (place >= self.start) & ((place - self.start) % self.k == 0) & (place > 0)
        return _shaped((~drop).expand(lines.shape).clone(), ids)


@dataclass(frozen=True)
class RandomMask:
    """A coin for each position at each visit (the paper's baseline): after enough visits every
    token has been a target.

    The coins are a function of seed, visit, row and position, so a training that is resumed throws
    the same ones.

    Attributes:
        k: one token in so many is left out.
        seed: of the coins.

    Raises:
        UserError: ``k`` below 2.
    """

    k: int
    seed: int = 0

    def __post_init__(self) -> None:
        _check_rate(self.k)

    def __call__(
        self,
        ids: Tensor,
        segments: Tensor | None = None,
        *,
        visit: int = 0,
        rows: Sequence[int] | Tensor | None = None,
    ) -> Tensor:
        """bool [B, T], as :meth:`HashedMask.__call__`.

        Args:
            visit: how often the rows were seen before; a step's number will do.
            rows: a number for each row; its place in ``ids`` by default.
        """
        lines = _lines(ids)
        numbers = torch.arange(len(lines)) if rows is None else torch.as_tensor(rows)
        place = torch.arange(lines.shape[1], device=lines.device)
        key = _mix(torch.tensor(_wrapped((self.seed + 1) * _SEED + (visit + 1) * _SHORT)))
        keys = _mix(key + (numbers.long() + 1) * _wrapped(_PLACE)).to(lines.device)
        drop = _chosen(_mix(keys[:, None] + (place + 1) * _wrapped(_BASE)), self.k)
        return _shaped(~(drop & (place > 0)), ids)


@dataclass(frozen=True)
class OfficialMask:
    """The rule of the authors' released code, to compare with: not for training.

    The key is the product of the ``h`` targets that end with the one decided on, in 64 bits; a
    table of 1,000,003 random numbers says what is left out. The product does not see the order, id
    1 does not change it, id 0 and 64 factors of two make it 0, and the table depends on the version
    of PyTorch (goldfish digest, section 6). Computed on the CPU, where the table is made.

    Raises:
        UserError: ``k`` below 2 or ``h`` below 1.
    """

    k: int
    h: int

    def __post_init__(self) -> None:
        _check_rate(self.k)
        _check_whole("h", self.h, 1, "the number of tokens in a product")

    def __call__(
        self,
        ids: Tensor,
        segments: Tensor | None = None,
        *,
        visit: int = 0,
        rows: Sequence[int] | Tensor | None = None,
    ) -> Tensor:
        """bool [B, T], as :meth:`HashedMask.__call__`; of the ids alone."""
        lines = _lines(ids).cpu()
        keep = torch.ones_like(lines, dtype=torch.bool)
        targets = lines[:, 1:]
        if targets.shape[1] >= self.h:
            keys = targets.unfold(1, self.h, 1).prod(dim=-1)
            keep[:, self.h :] = _official_table()[keys % _SLOTS] >= 1 / self.k
        return _shaped(keep.to(ids.device), ids)


_SLOTS = 1_000_003


@cache
def _official_table() -> Tensor:
    return torch.rand(_SLOTS, generator=torch.Generator().manual_seed(2971215073))


# --- checks -------------------------------------------------------------------------------------


def _check_rate(k: int) -> None:
    _check_whole("k", k, 2, "one token in k is left out of the loss, and some must be left in")


def _check_whole(name: str, value: int, least: int, meaning: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise UserError(
            f"{name} is {value!r}; a whole number of at least {least} was expected: {meaning}."
        )


def _lines(ids: Tensor) -> Tensor:
    """int64 [B, T]."""
    if not isinstance(ids, Tensor) or ids.is_floating_point() or ids.dtype == torch.bool:
        kind = ids.dtype if isinstance(ids, Tensor) else type(ids).__name__
        raise DataError(f"A mask is made from token ids, a tensor of integers, not from {kind}.")
    if ids.dim() not in (1, 2):
        raise DataError(
            f"The ids have the shape {tuple(ids.shape)}; one row [T] or several [B, T] were "
            "expected."
        )
    return (ids if ids.dim() == 2 else ids[None]).long()


def _shaped(keep: Tensor, ids: Tensor) -> Tensor:
    return keep.reshape(ids.shape)


# --- arithmetic modulo 2^64 ---------------------------------------------------------------------


def _wrapped(number: int) -> int:
    """The signed 64-bit integer with the same bits."""
    number &= 0xFFFFFFFFFFFFFFFF
    return number - (1 << 64) if number >> 63 else number


def _shifted(values: Tensor, by: int) -> Tensor:
    """Logical shift to the right: the sign's bit does not come down with it."""
    return (values >> by) & ((1 << (64 - by)) - 1)


def _mix(values: Tensor) -> Tensor:
    """The finaliser of SplitMix64: every bit of the input changes half of the output's."""
    values = (values ^ _shifted(values, 30)) * _wrapped(0xBF58476D1CE4E5B9)
    values = (values ^ _shifted(values, 27)) * _wrapped(0x94D049BB133111EB)
    return values ^ _shifted(values, 31)


def _chosen(hashes: Tensor, k: int) -> Tensor:
    """One in ``k``, and for a larger ``k`` some of the same."""
    return _shifted(hashes, 1) < (1 << 63) // k


def _polynomials(values: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """Σ values[j] R^(right-1-j) over left ≤ j < right, for every position, in O(T).

    Prefix sums of values[j] R^-j, of which the difference is multiplied by R^(right-1): R is odd,
    so it has an inverse, and both are exact. ``left`` and ``right`` are [T], or [B, T] or [1, T].
    """
    length = values.shape[1]
    powers, inverses = _powers(length + 1)
    powers, inverses = powers.to(values.device), inverses.to(values.device)
    sums = torch.zeros(len(values), length + 1, dtype=torch.int64, device=values.device)
    torch.cumsum(values * inverses[:length], dim=1, out=sums[:, 1:])
    found = _taken(sums, right) - _taken(sums, left)
    return found * powers[(right - 1).clamp(min=0)]


def _taken(sums: Tensor, where: Tensor) -> Tensor:
    """[B, T]; taking the same columns of every row is several times faster."""
    if where.dim() == 1 or len(where) == 1:
        return sums.index_select(1, where.flatten())
    return sums.gather(1, where)


@cache
def _powers(count: int) -> tuple[Tensor, Tensor]:
    """R^0, R^1, ... and R^0, R^-1, ..., modulo 2^64."""
    inverse = pow(_BASE, -1, 1 << 64)
    found = []
    for factor in (_BASE, inverse):
        row = torch.full((count,), _wrapped(factor), dtype=torch.int64)
        row[0] = 1
        found.append(row.cumprod(dim=0))
    return found[0], found[1]


# --- segments -----------------------------------------------------------------------------------


def _begins(lines: Tensor, segments: Tensor | None) -> Tensor:
    """[B, T], or [1, T] for all rows: where the segment of each position begins."""
    place = torch.arange(lines.shape[1], device=lines.device)
    if segments is None:
        return torch.zeros_like(place)[None]
    fresh = _fresh(lines, segments)
    return torch.where(fresh, place, 0).cummax(dim=1).values


def _ends(lines: Tensor, segments: Tensor | None) -> Tensor:
    """[B, T], or [1, T] for all rows: the first position after the segment of each position."""
    length = lines.shape[1]
    place = torch.arange(length, device=lines.device)
    if segments is None:
        return torch.full_like(place, length)[None]
    after = _fresh(lines, segments).roll(-1, dims=1)
    after[:, -1:] = True
    ends = torch.where(after, place + 1, length)
    return ends.flip(1).cummin(dim=1).values.flip(1)


def _fresh(lines: Tensor, segments: Tensor) -> Tensor:
    """bool [B, T]: whether a segment begins here."""
    numbers = segments if segments.dim() == 2 else segments[None]
    if numbers.shape != lines.shape:
        raise DataError(
            f"The segments have the shape {tuple(segments.shape)}, which is not that of the ids."
        )
    fresh = torch.ones_like(lines, dtype=torch.bool)
    fresh[:, 1:] = numbers[:, 1:] != numbers[:, :-1]
    return fresh


def _among(lines: Tensor, ids: tuple[int, ...]) -> Tensor:
    return torch.isin(lines, torch.tensor(ids, dtype=torch.int64, device=lines.device))
