"""From texts to batches: rows, packing, masks.

A :class:`Row` is one document as a training example. Rows become batches in one of two forms:

- **packed**: several documents share a line of a fixed length, and one longer than that has a line
  of its own. Attention never crosses from one to the next (a block-diagonal causal mask) and each
  starts again at position 0, so the model computes exactly what it would for each document alone;
- **padded**: one document a line, neighbours of like length, padded on the right.

Both need a model that honours a four-dimensional mask and explicit positions. Not all do (ALiBi,
recurrent layers, some attention kernels), so this is *measured* on the model itself, once, by
:func:`mask_style`; a model that fails gets padded lines without a mask, which is exact for every
causal model because padding stands to the right of all that is read.
"""

import hashlib
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from palimpsest.core.documents import read_documents
from palimpsest.core.errors import DataError, ModelError

if TYPE_CHECKING:
    from palimpsest.core.models import LanguageModel

__all__ = [
    "Batch",
    "Lines",
    "MaskStyle",
    "Row",
    "Store",
    "answer_row",
    "batches",
    "can_pack",
    "cut",
    "encode_pair",
    "mask_style",
    "pack",
    "plan",
    "prepare",
    "read_documents",
    "text_row",
    "text_rows",
]

# Documents are shuffled over the whole data, but packed or sorted by length only within windows of
# this many batches: enough for lines 98 % full, small enough to keep the order of a curriculum.
WINDOW = 16

# How much two documents may disturb each other in one line, as a share of how much they do without
# any block mask. Below full precision the rounding of the kernels alone is a few per cent.
CROSSING = {torch.float32: 1e-3, torch.float64: 1e-3}
CROSSING_ROUNDED = 0.1


@dataclass(frozen=True)
class Row:
    """One document as token ids.

    Attributes:
        input_ids: int32 [T].
        weights: float32 [T]; ``weights[t]`` is the weight of token ``t`` as a *target* of the
            loss, 0 where it is not supervised (a prompt). A mask is data. The first token has
            nothing before it from which it could be predicted; its weight is never used.
        id: the document's id.
    """

    input_ids: np.ndarray
    weights: np.ndarray
    id: str = ""

    def __post_init__(self) -> None:
        ids = np.asarray(self.input_ids, dtype=np.int32)
        weights = np.asarray(self.weights, dtype=np.float32)
        if ids.ndim != 1 or ids.shape != weights.shape:
            raise ValueError(f"ids {ids.shape} and weights {weights.shape} must be one line each")
        if len(ids) == 0:
            raise DataError(f"The document '{self.id}' has no tokens; a text was expected.")
        if not (weights >= 0).all() or not np.isfinite(weights).all():
            raise ValueError("weights must be finite and not negative; a loss decides on signs")
        object.__setattr__(self, "input_ids", ids)
        object.__setattr__(self, "weights", weights)

    def __len__(self) -> int:
        return len(self.input_ids)


@dataclass(frozen=True)
class MaskStyle:
    """How a model is told which tokens a token may look at.

    ``kind`` is ``"full"`` (one four-dimensional mask), ``"window"`` (the same, narrowed to the
    sliding window of all layers), ``"mapping"`` (one mask per layer type), or ``"none"``: the model
    takes no such mask, so documents cannot share a line.
    """

    kind: Literal["full", "window", "mapping", "none"]
    dtype: torch.dtype = torch.bool
    window: int | None = None


@dataclass
class Batch:
    """A rectangle of documents, ready for a model.

    Attributes:
        input_ids: int64 [B, T].
        weights: float32 [B, T], weight of each token as a target; 0 on first tokens and padding.
        position_ids: int64 [B, T], from 0 in every document.
        document: int64 [B, T], the document's number within the batch (an index into ``ids``), -1
            on padding.
        targets: int64 [N], flat indices into B x T of the positions that predict a supervised
            token: the token predicted at ``p`` is ``p + 1``.
        ids: the documents' ids, in order of ``document``.
        total_weight: sum of ``weights``; known on the host, so no loss need ask the device.
        tokens: number of tokens that are not padding.
        style: how the model takes its mask.
    """

    input_ids: Tensor
    weights: Tensor
    position_ids: Tensor
    document: Tensor
    targets: Tensor
    ids: tuple[str, ...]
    total_weight: float
    tokens: int
    style: MaskStyle

    def to(self, device: torch.device | str) -> "Batch":
        """The batch on ``device``; copies to a GPU run beside the computation."""
        device = torch.device(device)
        if device == self.input_ids.device:
            return self

        def move(tensor: Tensor) -> Tensor:
            if device.type == "cuda" and tensor.device.type == "cpu":
                tensor = tensor.pin_memory()
            return tensor.to(device, non_blocking=True)

        moved = {f.name: getattr(self, f.name) for f in fields(self)}
        return Batch(**{k: move(v) if isinstance(v, Tensor) else v for k, v in moved.items()})

    @cached_property
    def labels(self) -> Tensor:
        """int64 [N]: the supervised tokens, in order of ``targets``."""
        return self.input_ids.flatten()[self.targets + 1]

    @cached_property
    def target_weights(self) -> Tensor:
        """float32 [N]: the weight of each supervised token."""
        return self.weights.flatten()[self.targets + 1]

    @cached_property
    def target_documents(self) -> Tensor:
        """int64 [N]: the number of the document each supervised token stands in."""
        return self.document.flatten()[self.targets]

    @cached_property
    def attention_mask(self) -> Tensor:
        """What may be looked at: [B, 1, T, T] (true or 0: yes; false or the lowest number: no)
        for a model that takes such masks, else int64 [B, T] with 1 on real tokens.

        Padding looks at padding, so that no line of the mask is empty and no softmax undefined.
        """
        if self.style.kind == "none":
            return (self.document >= 0).long()
        return self._four_dimensional(self.style.window if self.style.kind == "window" else None)

    def inputs(self) -> dict[str, Any]:
        """Keyword arguments for the model's ``forward``.

        No mask and no positions where the model takes none: padding is on the right, and the model
        is causal. (Given a two-dimensional mask, transformers would ask the device whether it is
        all ones.)
        """
        given: dict[str, Any] = {"input_ids": self.input_ids, "use_cache": False}
        if self.style.kind == "none":
            return given
        mask: Any = self.attention_mask
        if self.style.kind == "mapping":
            mask = {
                "full_attention": mask,
                "sliding_attention": self._four_dimensional(self.style.window),
            }
        return given | {"attention_mask": mask, "position_ids": self.position_ids}

    def _four_dimensional(self, window: int | None) -> Tensor:
        document, length = self.document, self.document.shape[1]
        place = torch.arange(length, device=document.device)
        back = place[:, None] - place[None, :]
        seen = back >= 0 if window is None else (back >= 0) & (back < window)
        mask = ((document[:, :, None] == document[:, None, :]) & seen)[:, None]
        if self.style.dtype == torch.bool:
            return mask
        lowest = torch.finfo(self.style.dtype).min
        return torch.zeros_like(mask, dtype=self.style.dtype).masked_fill_(~mask, lowest)


# --- rows -------------------------------------------------------------------------------------


def text_row(
    lm: "LanguageModel", text: str, id: str = "", weight: float = 1.0, *, end: bool = False
) -> Row:
    """A text of which every token is learned.

    Args:
        lm: gives the tokenizer and the ids it puts before every text (``lm.prefix``). Without such
            a prefix the first token of the text has nothing to be predicted from and has weight 0.
        text: the text; nothing is added or stripped.
        id: the document's id.
        weight: of every token.
        end: add the end-of-text token, so that the model learns where to stop.

    Raises:
        DataError: the text has no tokens.
        ModelError: ``end`` is asked for and the tokenizer has no such token.
    """
    return text_rows(lm, [text], [id], weight, end=end)[0]


def text_rows(
    lm: "LanguageModel",
    texts: Sequence[str],
    ids: Sequence[str] | None = None,
    weight: float = 1.0,
    *,
    end: bool = False,
) -> list[Row]:
    """:func:`text_row` for many texts; tokenizes them together, which is many times faster."""
    ids = [""] * len(texts) if ids is None else ids
    tail = (_end_id(lm),) if end else ()
    rows = []
    for tokens, id in zip(_encode(lm, texts), ids, strict=True):
        if not tokens:
            raise DataError(f"The document '{id}' has no tokens; a text was expected.")
        line = np.array((*lm.prefix, *tokens, *tail), dtype=np.int32)
        weights = np.full(len(line), weight, dtype=np.float32)
        weights[: max(1, len(lm.prefix))] = 0.0
        rows.append(Row(line, weights, id))
    return rows


def answer_row(
    lm: "LanguageModel",
    prompt: str,
    answer: str,
    id: str = "",
    context_weight: float = 0.0,
    answer_weight: float = 1.0,
    *,
    end: bool = False,
) -> Row:
    """A prompt with its answer, cut at the same token where scoring cuts them.

    A row longer than the model's context window loses the beginning of its prompt, as in lm-eval.

    Args:
        lm: gives the tokenizer, the prefix and the context window.
        prompt: what is given; ``context_weight`` is the weight of its tokens.
        answer: what is asked for, with its leading space; ``answer_weight`` weighs its tokens.
        id: the document's id.
        end: add the end-of-text token to the answer.
    """
    context, continuation = encode_pair(lm, prompt, answer)
    continuation = continuation + ([_end_id(lm)] if end else [])
    context = [*lm.prefix, *context]
    room = lm.max_length - len(continuation)
    if room < 1:
        raise DataError(
            f"The answer of '{id}' has {len(continuation)} tokens; with at least one token before "
            f"it, it must fit the model's context window of {lm.max_length}. Shorten it."
        )
    context = context[-room:]
    weights = np.full(len(context) + len(continuation), answer_weight, dtype=np.float32)
    weights[: len(context)] = context_weight
    weights[: max(1, len(lm.prefix))] = 0.0
    return Row(np.array(context + continuation, dtype=np.int32), weights, id)


def encode_pair(
    lm: "LanguageModel", context: str, continuation: str
) -> tuple[list[int], list[int]]:
    """Token ids of a context and of what follows it, without the model's prefix.

    The convention of lm-eval (``TemplateLM._encode_pair``): blanks at the end of the context belong
    to the continuation; both are encoded together, and the context's own ids are a prefix of that.
    Where they are not (a token spans the seam), the continuation begins with the first token in
    which the two differ, so that it holds every character of the answer.

    Raises:
        DataError: the continuation has no tokens.
    """
    blanks = len(context) - len(context.rstrip())
    if blanks:
        context, continuation = context[:-blanks], context[-blanks:] + continuation
    whole, alone = _encode(lm, [context + continuation, context])
    common = 0
    while common < min(len(whole), len(alone)) and whole[common] == alone[common]:
        common += 1
    if common == len(whole):
        raise DataError(
            f"The answer {continuation!r} adds no token to its prompt; a text was expected."
        )
    return whole[:common], whole[common:]


def _encode(lm: "LanguageModel", texts: Sequence[str]) -> list[list[int]]:
    if not texts:
        return []
    encoded = lm.tokenizer(
        list(texts), add_special_tokens=False, return_attention_mask=False, verbose=False
    )
    return encoded["input_ids"]


def _end_id(lm: "LanguageModel") -> int:
    if lm.tokenizer.eos_token_id is None:
        raise ModelError(f"The tokenizer of {lm.name} has no end-of-text token to train with.")
    return int(lm.tokenizer.eos_token_id)


def cut(rows: Iterable[Row], length: int) -> list[Row]:
    """Rows of at most ``length`` tokens.

    A longer one becomes consecutive windows under the same id. A window begins with the last token
    of the one before, unsupervised, so that every token is a target once; windows without any
    target are left out.
    """
    if length < 2:
        raise ValueError(f"a length of {length} leaves nothing to predict; at least 2 is needed")
    pieces = []
    for row in rows:
        if len(row) <= length:
            pieces.append(row)
            continue
        for start in range(0, len(row) - 1, length - 1):
            window = slice(start, start + length)
            weights = row.weights[window].copy()
            weights[0] = 0.0
            if weights.any():
                pieces.append(Row(row.input_ids[window], weights, row.id))
    return pieces


# --- which rows go together -------------------------------------------------------------------


def pack(lengths: Sequence[int], length: int) -> list[tuple[int, ...]]:
    """First-fit-decreasing: which items share a line of ``length`` tokens.

    Args:
        lengths: number of tokens of each item, each at most ``length``.
        length: tokens in a line.

    Returns:
        For each line the indices of its items in their given order; lines in the order of their
        first item. At most 11/9 of the optimum (Johnson et al. 1974), in practice above 98 % full.
    """
    waiting: dict[int, list[int]] = {}
    for index, size in enumerate(lengths):
        if not 0 < size <= length:
            raise ValueError(f"item {index} has {size} tokens; 1 to {length} were expected")
        waiting.setdefault(size, []).append(index)
    for items in waiting.values():
        items.reverse()  # so that the first comes off the end
    # First-fit-decreasing fills its first line with the longest item that fits, again and again,
    # then its second: with the items sorted by size this takes a bisection each.
    sizes = sorted(waiting)
    lines = []
    while sizes:
        line, room = [], length
        while at := bisect_right(sizes, room):
            size = sizes[at - 1]
            line.append(waiting[size].pop())
            room -= size
            if not waiting[size]:
                del sizes[at - 1]
        lines.append(tuple(sorted(line)))
    return sorted(lines)


Lines = list[tuple[int, ...]]


def plan(
    lengths: Sequence[int],
    batch_size: int,
    pack_length: int | None,
    generator: np.random.Generator | None = None,
) -> Iterator[Lines]:
    """One pass over the data, batch by batch.

    Args:
        lengths: number of tokens of each row.
        batch_size: lines per batch; the last batch of the pass may have fewer.
        pack_length: tokens in a line, or None for one row a line.
        generator: shuffles the rows, and the lines within a window of :data:`WINDOW` batches;
            None keeps the given order up to such a window.

    A row longer than ``pack_length`` has a line of its own. Such lines wait until there are enough
    for a batch of their own, with fewer lines than the others and about as many tokens, so that
    ordinary batches stay as narrow as ``pack_length``. Where they are rare they wait for more than
    a window.

    Yields:
        The lines of a batch, each the indices of its rows.
    """
    sizes = np.asarray(lengths)
    order = np.arange(len(sizes)) if generator is None else generator.permutation(len(sizes))
    pending: Lines = []
    waiting: Lines = []  # rows longer than a line
    widest = 0
    for window in _windows(order, sizes, batch_size, pack_length):
        if pack_length is None:
            # Neighbours of like length, in batches whose order is drawn again (or that of
            # their earliest row), so that a pass is no march from short to long.
            window = window[np.argsort(sizes[window], kind="stable")]
            lines = [(index,) for index in window.tolist()]
            batches = [lines[at : at + batch_size] for at in range(0, len(lines), batch_size)]
            short = [batches.pop()] if len(batches[-1]) < batch_size else []
            yield from _reordered(batches, generator, min) + short
            continue
        long = sizes[window] > pack_length
        ordinary = window[~long]
        packed = pack(sizes[ordinary].tolist(), pack_length)
        lines = [tuple(ordinary[list(line)].tolist()) for line in packed]
        pending += _reordered(lines, generator, None)
        while len(pending) >= batch_size:
            yield pending[:batch_size]
            pending = pending[batch_size:]
        for index in window[long].tolist():
            widest = max(widest, int(sizes[index]))
            if waiting and (len(waiting) + 1) * widest > batch_size * pack_length:
                yield waiting
                waiting, widest = [], int(sizes[index])
            waiting.append((index,))
    if waiting:
        yield waiting
    if pending:
        yield pending


def _windows(
    order: np.ndarray, sizes: np.ndarray, batch_size: int, pack_length: int | None
) -> Iterator[np.ndarray]:
    """Consecutive parts of ``order``, each worth :data:`WINDOW` batches."""
    if pack_length is None:
        cost, capacity = np.ones(len(order), dtype=np.int64), WINDOW * batch_size
    else:
        cost, capacity = sizes[order].astype(np.int64), WINDOW * batch_size * pack_length
    number = (np.cumsum(cost) - 1) // capacity
    yield from np.split(order, np.flatnonzero(np.diff(number)) + 1)


def _reordered(items: list[Any], generator: np.random.Generator | None, key: Any) -> list[Any]:
    if generator is not None:
        return [items[index] for index in generator.permutation(len(items))]
    return items if key is None else sorted(items, key=key)


# --- batches ----------------------------------------------------------------------------------


class Store:
    """Rows laid end to end, so that batches are cut without touching Python objects."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self.ids = [row.id for row in rows]
        self.lengths = np.array([len(row) for row in rows], dtype=np.int64)
        self.tokens = np.concatenate([row.input_ids for row in rows])
        self.weights = np.concatenate([row.weights for row in rows])
        self.starts = np.concatenate([[0], np.cumsum(self.lengths)])
        # A first token has no predecessor; in a packed line it would be predicted from another
        # document.
        self.weights[self.starts[:-1]] = 0.0

    def __len__(self) -> int:
        return len(self.ids)

    def names(self, lines: Lines) -> tuple[str, ...]:
        """Ids of the documents of some lines, in order."""
        return tuple(self.ids[index] for line in lines for index in line)

    def sha256(self) -> str:
        """Hex digest of ids, tokens and weights."""
        digest = hashlib.sha256("\0".join(self.ids).encode("utf-8", "surrogatepass"))
        for array in (self.lengths, self.tokens, self.weights):
            digest.update(array.tobytes())
        return digest.hexdigest()

    def batch(self, lines: Lines, style: MaskStyle, filler: int = 0) -> Batch:
        """Collate lines of row indices; ``filler`` is the id that stands on padding."""
        width = max(sum(int(self.lengths[i]) for i in line) for line in lines)
        shape = (len(lines), width)
        ids = np.full(shape, filler, dtype=np.int64)
        weights = np.zeros(shape, dtype=np.float32)
        positions = np.zeros(shape, dtype=np.int64)
        document = np.full(shape, -1, dtype=np.int64)
        names: list[str] = []
        for at, line in enumerate(lines):
            left = 0
            for index in line:
                span = slice(self.starts[index], self.starts[index + 1])
                right = left + int(self.lengths[index])
                ids[at, left:right] = self.tokens[span]
                weights[at, left:right] = self.weights[span]
                positions[at, left:right] = np.arange(right - left)
                document[at, left:right] = len(names)
                names.append(self.ids[index])
                left = right
            positions[at, left:] = np.arange(width - left)
        return Batch(
            input_ids=torch.from_numpy(ids),
            weights=torch.from_numpy(weights),
            position_ids=torch.from_numpy(positions),
            document=torch.from_numpy(document),
            # Token p + 1 of a line is never its first, so "one to the left" stays in the line.
            targets=torch.from_numpy(np.flatnonzero(weights) - 1),
            ids=tuple(names),
            total_weight=float(weights.sum(dtype=np.float64)),
            tokens=int((document >= 0).sum()),
            style=style,
        )


def batches(
    lm: "LanguageModel",
    rows: Sequence[Row],
    batch_size: int,
    pack_length: int | None = None,
    seed: int | None = None,
) -> Iterator[Batch]:
    """One pass over ``rows`` in batches, on the host.

    Args:
        lm: the model they are for; rows longer than its context window are cut (:func:`cut`).
        rows: what to go over.
        batch_size: lines per batch.
        pack_length: pack several rows into lines of this many tokens if the model can
            (:func:`can_pack`), with longer rows in lines of their own (:func:`plan`); None, or a
            model that cannot: one row a line.
        seed: shuffles; None keeps the order up to a window of :data:`WINDOW` batches.
    """
    store, style, pack_length = prepare(lm, rows, pack_length)
    generator = None if seed is None else np.random.default_rng(seed)
    for lines in plan(store.lengths, batch_size, pack_length, generator):
        yield store.batch(lines, style)


def prepare(
    lm: "LanguageModel", rows: Sequence[Row], pack_length: int | None
) -> tuple[Store, MaskStyle, int | None]:
    """Rows cut to the model's context window, how it is masked, and the length of packed lines:
    None if none was asked for or the model cannot.

    Raises:
        DataError: there are no rows.
    """
    if not rows:
        raise DataError("There are no documents to make batches of; at least one was expected.")
    longest = min(lm.max_length, max(len(row) for row in rows))
    line = None if pack_length is None else min(pack_length, lm.max_length)
    style = mask_style(lm, longest if line is None else max(line, longest))
    store = Store(cut(rows, lm.max_length))
    return store, style, None if style.kind == "none" else line


# --- which mask a model takes -----------------------------------------------------------------

_styles: dict[tuple[Any, ...], MaskStyle] = {}


def can_pack(lm: "LanguageModel", length: int = 64) -> bool:
    """Whether documents can share lines of ``length`` tokens without the model noticing."""
    return mask_style(lm, length).kind != "none"


def mask_style(lm: "LanguageModel", length: int) -> MaskStyle:
    """The first way of masking under which two documents in one line of ``length`` tokens get the
    logits they get alone.

    Found by running the model, in evaluation mode, on random ids; remembered per class,
    configuration, precision, device type and length.
    """
    model = lm.model
    length = max(8, min(length, lm.max_length))
    parameter = next(model.parameters())
    key = (
        type(model),
        model.config.to_json_string(),
        model.config._attn_implementation,
        parameter.dtype,
        parameter.device.type,
        length,
    )
    if key not in _styles:
        _styles[key] = _measured_style(model, length)
    return _styles[key]


def _measured_style(model: nn.Module, length: int) -> MaskStyle:
    """See :func:`mask_style`."""
    parameter = next(model.parameters())
    if parameter.device.type == "meta":
        raise ValueError("a model on the meta device computes nothing that could be measured")
    generator = np.random.default_rng(0)
    first = length - max(2, length // 4)
    alone = [
        Row(generator.integers(0, model.config.get_text_config().vocab_size, size), np.ones(size))
        for size in (first, length - first)
    ]
    training = model.training
    model.eval()
    try:
        expected = [_logits(model, Store([row]).batch([(0,)], MaskStyle("none"))) for row in alone]
        # What crossing looks like: both as one document, under the model's own causal mask.
        joined = replace(
            alone[0],
            input_ids=np.concatenate([row.input_ids for row in alone]),
            weights=np.ones(length),
        )
        crossed = _logits(model, Store([joined]).batch([(0,)], MaskStyle("none")))
        worst = _difference(crossed, expected)
        allowed = CROSSING.get(parameter.dtype, CROSSING_ROUNDED) * worst
        packed = Store(alone).batch([(0, 1)], MaskStyle("none"))
        for style in _candidates(model):
            try:
                logits = _logits(model, replace(packed, style=style))
            # A model may refuse a mask in any way it likes; refusing is an answer.
            except Exception:
                continue
            if _difference(logits, expected) < allowed:
                return style
    finally:
        model.train(training)
    return MaskStyle("none")


def _candidates(model: nn.Module) -> list[MaskStyle]:
    config = model.config.get_text_config()
    # Scaled dot-product attention takes truth values; attention written out adds the mask.
    dtype = torch.bool if config._attn_implementation == "sdpa" else torch.float32
    window = getattr(config, "sliding_window", None)
    styles = [MaskStyle("full", dtype)]
    if window:
        styles += [MaskStyle("window", dtype, window), MaskStyle("mapping", dtype, window)]
    return styles


@torch.no_grad()
def _logits(model: nn.Module, batch: Batch) -> Tensor:
    return model(**batch.to(next(model.parameters()).device).inputs()).logits[0].float()


def _difference(line: Tensor, expected: list[Tensor]) -> float:
    parts = line.split([len(part) for part in expected])
    return max(float((a - b).abs().max()) for a, b in zip(parts, expected, strict=True))
