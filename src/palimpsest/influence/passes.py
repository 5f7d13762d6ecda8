"""Reading rows forward and backward: what goes into each layer, and the gradient of what comes out.

A row's gradient of a weight block is ``sum_t s_t a_t^T`` [P, M]: ``a_t`` is what token t puts into
the layer, ``s_t`` the gradient of the row's *summed* loss with respect to what comes out. All that
influence needs is made of these two, so nothing else is computed: the weights are frozen while rows
are read, and gradients flow through activations alone.

Labels are the row's own (for queries and training rows) or drawn from the model's predictions (for
the curvature): inputs from the data, labels from the model, as the Fisher matrix wants it
(arXiv:2308.03296; arXiv:1905.12558). A label is drawn by inverting the cumulative
distribution at a number that depends on the seed, the row and the position and on nothing else, so
batches, padding and the order of rows change no result.
"""

import hashlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from palimpsest.core.errors import DataError, ModelError
from palimpsest.core.models import LanguageModel, bare
from palimpsest.core.progress import track
from palimpsest.core.scoring import selected_logits
from palimpsest.core.text import Row
from palimpsest.influence.layers import Layer, module_of

__all__ = ["Captured", "captured", "each", "frozen", "predictive", "uniforms"]

Labels = Literal["own", "sampled"]
T = TypeVar("T")

_BATCH_TOKENS = {"cpu": 2048, "cuda": 32768}


@dataclass(frozen=True)
class Captured:
    """What passed through the layers while a batch of rows was read.

    Attributes:
        rows: [B], places of the rows among those given.
        lengths: int64 [B], their tokens.
        inputs: by layer ``a`` [B, T, M], with the constant 1 of a bias; 0 where nothing is
            predicted (a row's last token) and on padding.
        gradients: by layer ``s`` [B, T, P]; 0 on padding.
        read: bool [B, T]: tokens that predict another, that is, all but the last.
        logprobs: float [B], the summed, weighted log-probability of the row's own labels; nats.
    """

    rows: np.ndarray
    lengths: np.ndarray
    inputs: dict[str, Tensor]
    gradients: dict[str, Tensor]
    read: Tensor
    logprobs: Tensor


def captured(
    lm: LanguageModel,
    layers: Sequence[Layer],
    rows: Sequence[Row],
    labels: Labels = "own",
    seed: int = 0,
    batch_tokens: int | None = None,
    progress: str | None = None,
) -> Iterator[Captured]:
    """What rows leave in the layers, batch by batch; :func:`each` without a use."""
    for _, one in each(lm, layers, rows, lambda batch: batch, labels, seed, batch_tokens, progress):
        yield one


def each(
    lm: LanguageModel,
    layers: Sequence[Layer],
    rows: Sequence[Row],
    use: Callable[[Captured], T],
    labels: Labels = "own",
    seed: int = 0,
    batch_tokens: int | None = None,
    progress: str | None = None,
) -> Iterator[tuple[np.ndarray, T]]:
    """``use`` of what rows leave in the layers, batch by batch, from the longest rows on.

    Args:
        lm: the model; its weights, mode and flags are as before when this ends.
        layers: which layers.
        rows: what is read; rows without a target are passed over.
        use: makes of a batch what is wanted. It must not add to anything outside: where memory runs
            out, in reading or in use, the batch is halved and both halves are done anew.
        labels: ``own`` (multiplied by the rows' weights), or ``sampled`` from the model.
        seed: of sampled labels.
        batch_tokens: tokens of a batch, padding included; None chooses by device.
        progress: label of a progress report.

    Yields:
        Places of the rows of a batch, and what ``use`` made of it.

    Raises:
        DataError: a row is longer than the context window, or has a token that the model does not
            know; a gradient is not finite (the message names the row).
        ModelError: a layer does not see each token once; memory does not suffice for one row.
    """
    _check(lm, rows)
    size = batch_tokens or _BATCH_TOKENS.get(lm.device.type, _BATCH_TOKENS["cpu"])
    with_target = [at for at, row in enumerate(rows) if row.weights[1:].any()]
    order = sorted(with_target, key=lambda at: -len(rows[at]))
    keys = _keys(rows) if labels == "sampled" else None
    waiting: list[list[int]] = [order] if order else []
    with _watched(lm, layers) as recorder, track(len(order), progress) as bar:
        while waiting:
            group = waiting.pop()
            count = max(1, size // len(rows[group[0]]))
            if len(group) > count:
                waiting.append(group[count:])
                group = group[:count]
            try:
                batch = _read(lm, layers, recorder, rows, group, labels, seed, keys)
                made = use(batch)
            except (torch.OutOfMemoryError, RuntimeError) as error:
                if not _out_of_memory(error):
                    raise
                recorder.clear()
                if len(group) == 1:
                    raise ModelError(
                        f"The memory of {lm.device} does not suffice for one row of "
                        f"{len(rows[group[0]])} tokens with {lm.name} and {len(layers)} layers. "
                        "Choose fewer layers, fewer queries at a time, shorter rows, or a device "
                        "with more memory."
                    ) from None
                size = max(1, len(group) // 2) * len(rows[group[0]])
                warnings.warn(
                    f"Memory ran out with {len(group)} rows in a batch; going on with "
                    f"{max(1, len(group) // 2)} (batch_tokens = {size}).",
                    stacklevel=2,
                )
                waiting.append(group)
                continue
            yield batch.rows, made
            bar.update(len(group))


@contextmanager
def frozen(lm: LanguageModel) -> Iterator[None]:
    """The model in evaluation mode with frozen weights, and gradients on; put back at the end."""
    network = bare(lm.model)
    training = network.training
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    network.eval()
    for parameter in trained:
        parameter.requires_grad_(False)
    try:
        with torch.enable_grad():
            yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)
        network.train(training)


def uniforms(rows: Sequence[Row], seed: int) -> list[np.ndarray]:
    """Numbers in [0, 1), float64 [T] for each row: where the cumulative distribution of the
    prediction made at each position is inverted."""
    keys = _keys(rows)
    return [_uniform(keys[at], len(row), seed) for at, row in enumerate(rows)]


def predictive(logits: Tensor, numbers: Tensor) -> tuple[Tensor, Tensor]:
    """Probabilities [N, V] of logits, and labels int64 [N] drawn from them at ``numbers`` [N]."""
    probabilities = torch.softmax(logits, dim=-1)
    heights = probabilities.cumsum(dim=-1)
    # Rounding leaves the last height a little off 1.
    wanted = (numbers.to(heights.dtype) * heights[:, -1])[:, None]
    drawn = torch.searchsorted(heights, wanted, right=True)[:, 0]
    return probabilities, drawn.clamp_(max=logits.shape[-1] - 1)


# --- one batch ----------------------------------------------------------------------------------


def _read(
    lm: LanguageModel,
    layers: Sequence[Layer],
    recorder: "_Recorder",
    rows: Sequence[Row],
    group: list[int],
    labels: Labels,
    seed: int,
    keys: np.ndarray | None,
) -> Captured:
    chosen = [rows[at] for at in group]
    lengths = np.array([len(row) for row in chosen])
    width = int(lengths.max())
    ids = np.full((len(chosen), width), lm.pad_id, dtype=np.int64)
    weights = np.zeros((len(chosen), width), dtype=np.float64)
    for line, row in enumerate(chosen):
        ids[line, : len(row)] = row.input_ids
        weights[line, 1 : len(row)] = row.weights[1:]
    lines, columns = np.nonzero(weights)
    numbers = np.zeros(0)
    if keys is not None:
        drawn = [_uniform(keys[at], len(rows[at]), seed) for at in group]
        numbers = np.concatenate(
            [one[places - 1] for one, places in _by_line(drawn, lines, columns)] or [np.zeros(0)]
        )
    plan = (ids, lines, columns - 1, ids[lines, columns], weights[lines, columns], numbers)
    ids_, lines_, places_, targets_, weights_, numbers_ = (
        torch.from_numpy(np.ascontiguousarray(part)).to(lm.device, non_blocking=True)
        for part in plan
    )
    recorder.start(ids_.shape)
    logits = selected_logits(lm.model, ids_, lines_, places_)
    recorder.check()
    seen = logits.detach()
    seen = seen if seen.dtype == torch.float64 else seen.float()
    if labels == "sampled":
        gradient, drawn_ = predictive(seen, numbers_)
        # With a weight w in the loss the Gauss-Newton matrix is w times that of the label.
        weights_, factor = weights_.to(seen.dtype), weights_.sqrt().to(seen.dtype)
        own = gradient.gather(1, targets_[:, None])[:, 0].log()
    else:
        own = torch.log_softmax(seen, dim=-1)
        gradient, drawn_ = own.exp(), targets_
        own = own.gather(1, targets_[:, None])[:, 0]
        weights_ = factor = weights_.to(seen.dtype)
    gradient.scatter_add_(1, drawn_[:, None], -torch.ones_like(gradient[:, :1]))
    gradient *= factor[:, None]
    inputs, outputs = recorder.taken()
    found = torch.autograd.grad(
        logits, outputs, gradient.to(logits.dtype), allow_unused=True, materialize_grads=True
    )
    read = (
        torch.arange(width, device=lm.device)[None]
        < torch.from_numpy(lengths - 1).to(lm.device)[:, None]
    )
    logprobs = torch.zeros(len(group), dtype=seen.dtype, device=lm.device)
    logprobs.index_add_(0, lines_, own * weights_)
    inputs = {
        layer.name: _with_constant(_wide(one), layer) * read[..., None]
        for layer, one in zip(layers, inputs, strict=True)
    }
    gradients = {
        layer.name: _wide(one).reshape(*ids_.shape, -1)
        for layer, one in zip(layers, found, strict=True)
    }
    _check_finite(gradients, chosen, group)
    return Captured(np.array(group), lengths, inputs, gradients, read, logprobs)


def _by_line(
    drawn: list[np.ndarray], lines: np.ndarray, columns: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    ends = np.searchsorted(lines, np.arange(len(drawn) + 1))
    for line, one in enumerate(drawn):
        yield one, columns[ends[line] : ends[line + 1]]


def _wide(tensor: Tensor) -> Tensor:
    """In 32 bits at least."""
    return tensor if tensor.dtype == torch.float64 else tensor.float()


def _with_constant(inputs: Tensor, layer: Layer) -> Tensor:
    return torch.cat([inputs, torch.ones_like(inputs[..., :1])], dim=-1) if layer.bias else inputs


# --- hooks --------------------------------------------------------------------------------------


class _Recorder:
    """Inputs and outputs of the layers in the forward pass under way."""

    def __init__(self, lm: LanguageModel, layers: Sequence[Layer]) -> None:
        self.lm, self.layers = lm, layers
        self.places = {layer.name: place for place, layer in enumerate(layers)}
        self.clear()

    def start(self, shape: torch.Size) -> None:
        self.clear()
        self.shape: tuple[int, ...] = tuple(shape)

    def clear(self) -> None:
        self.calls = [0] * len(self.layers)
        self.inputs: list[Tensor | None] = [None] * len(self.layers)
        self.outputs: list[Tensor | None] = [None] * len(self.layers)

    def hook(self, layer: Layer) -> Any:
        place = self.places[layer.name]

        def take(_: nn.Module, given: tuple[Any, ...], output: Tensor) -> Tensor:
            self.calls[place] += 1
            # Frozen weights: nothing before the first layer has a gradient, and nothing needs one.
            if not output.requires_grad:
                output = output.detach().requires_grad_(True)
            self.inputs[place], self.outputs[place] = given[0].detach(), output
            return output

        return take

    def check(self) -> None:
        tokens = int(np.prod(self.shape))
        for layer, calls, given in zip(self.layers, self.calls, self.inputs, strict=True):
            if calls != 1 or given is None or given.numel() != tokens * given.shape[-1]:
                times = "not at all" if not calls else f"{calls} times"
                seen = "" if calls != 1 or given is None else f", with {tuple(given.shape[:-1])}"
                raise ModelError(
                    f"The layer {layer.name} of {self.lm.name} is used {times}{seen} when "
                    f"{self.shape} tokens are read. Influence through a weight needs a layer that "
                    "sees each token once; leave this one out by pattern."
                )

    def taken(self) -> tuple[list[Tensor], list[Tensor]]:
        """Inputs [B, T, M] and outputs, as the layers returned them."""
        inputs = [one.reshape(*self.shape, -1) for one in self.inputs if one is not None]
        outputs = [one for one in self.outputs if one is not None]
        self.clear()  # the graph goes with the batch
        return inputs, outputs


@contextmanager
def _watched(lm: LanguageModel, layers: Sequence[Layer]) -> Iterator[_Recorder]:
    recorder = _Recorder(lm, layers)
    nowhere = torch.zeros(1, dtype=torch.long, device=lm.device)
    with torch.no_grad():  # tries, once for an architecture, whether positions can be selected
        selected_logits(lm.model, nowhere[None], nowhere, nowhere)
    with frozen(lm), ExitStack() as hooks:
        for layer in layers:
            handle = module_of(lm, layer).register_forward_hook(recorder.hook(layer))
            hooks.callback(handle.remove)
        yield recorder


# --- labels -------------------------------------------------------------------------------------

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def _keys(rows: Sequence[Row]) -> np.ndarray:
    """uint64 [R]: a number for each row, from its id and its tokens."""
    found = [
        hashlib.blake2b(
            row.id.encode("utf-8", "surrogatepass") + b"\0" + row.input_ids.tobytes(), digest_size=8
        ).digest()
        for row in rows
    ]
    return np.frombuffer(b"".join(found), dtype="<u8").astype(np.uint64)


def _uniform(key: np.uint64, length: int, seed: int) -> np.ndarray:
    """SplitMix64 of key, seed and position, as float64 in [0, 1)."""
    with np.errstate(over="ignore"):
        start = key ^ (np.uint64(seed % 2**63) * np.uint64(0xD1342543DE82EF95))
        state = start + _GOLDEN * np.arange(1, length + 1, dtype=np.uint64)
        state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        state ^= state >> np.uint64(31)
    return (state >> np.uint64(11)).astype(np.float64) / 2.0**53


# --- what is refused ----------------------------------------------------------------------------


def _check(lm: LanguageModel, rows: Sequence[Row]) -> None:
    for row in rows:
        if len(row) > lm.max_length:
            raise DataError(
                f"The row '{row.id}' has {len(row)} tokens, and {lm.name} reads {lm.max_length} at "
                "once. Shorten it, or cut it into windows (core.text.cut)."
            )
        if len(row) and int(row.input_ids.max()) >= lm.vocab_size:
            raise DataError(
                f"The row '{row.id}' holds the token {int(row.input_ids.max())}, and {lm.name} has "
                f"{lm.vocab_size} tokens. Encode it with the tokenizer of the model."
            )


def _check_finite(gradients: dict[str, Tensor], rows: list[Row], group: list[int]) -> None:
    sums = sum(one.sum(dim=(1, 2)) for one in gradients.values())
    finite = torch.isfinite(sums)  # type: ignore[arg-type]
    if not bool(finite.all()):
        line = int((~finite).nonzero()[0])
        raise DataError(
            f"The gradient of row {group[line]} ('{rows[line].id}') is not finite. The model's "
            "weights may be broken, or its precision too low for this text; load it in float32, "
            "or leave the row out."
        )


def _out_of_memory(error: Exception) -> bool:
    said = str(error)
    return isinstance(error, torch.OutOfMemoryError) or (
        "allocate memory" in said or "not enough memory" in said
    )
