"""Log-probabilities of texts, in batches, equal to those of lm-eval's Hugging Face backend.

A pair (context, continuation) is encoded together, cut where the context's own encoding ends, and
truncated from the left to the context window, exactly as ``lm_eval.models.huggingface.HFLM`` does
(version 0.4.13), so that numbers computed here can stand beside published ones.

The work is: sequences that are equal, or the beginning of another, are read once (of two choices
after one question, the shorter is often free); the rest is sorted by length and padded on the
right, where a causal model cannot see it; only the positions that are asked for pass through the
vocabulary projection; results stay on the device until the end.
"""

import contextlib
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from palimpsest.core.errors import DataError, ModelError
from palimpsest.core.models import LanguageModel, all_logits, bare, quiet
from palimpsest.core.progress import track

TokenPair = tuple[list[int], list[int]]

# Per batch. On a CPU small batches stay in the cache; on a GPU the launches are what costs.
_BATCH_TOKENS = {"cpu": 4096, "cuda": 65536}
_BATCH_LOGITS = {"cpu": 2**25, "cuda": 2**28}
# Rotary embeddings that change with the length of the whole input, padding included.
_LENGTH_DEPENDENT = ("dynamic", "longrope")


@dataclass(frozen=True)
class Score:
    """How probable a continuation is.

    Attributes:
        logprob: sum of its tokens' log-probabilities, in nats.
        tokens: how many tokens were scored.
        token_logprobs: float32 [tokens], nats, in the order of the text.
        token_greedy: bool [tokens], whether each is the model's first choice, given the true tokens
            before it.
    """

    logprob: float
    tokens: int
    token_logprobs: np.ndarray
    token_greedy: np.ndarray

    @property
    def is_greedy(self) -> bool:
        """Whether every token is the model's first choice."""
        return bool(self.token_greedy.all())


class TokenRow(Protocol):
    """What :func:`score_rows` reads of a ``core.text.Row``."""

    input_ids: np.ndarray
    weights: np.ndarray
    id: str


def score(
    lm: LanguageModel,
    pairs: Sequence[tuple[str, str]],
    batch_tokens: int | None = None,
    progress: str | None = None,
) -> list[Score]:
    """Score continuations after their contexts; results in the order given.

    Args:
        pairs: (context, continuation); the space between words belongs to the continuation. An
            empty context means the start of a text: BOS, or EOS where there is no BOS.
        batch_tokens: tokens per forward pass, padding included; None chooses by device. A longer
            single text goes through alone.
        progress: label of a progress report, None for none.

    Raises:
        DataError: a continuation adds no token; a token is unknown to the model; an empty context
            and a tokenizer with neither BOS nor EOS.
    """
    return score_tokens(lm, encode_pairs(lm, pairs), batch_tokens, progress)


def score_tokens(
    lm: LanguageModel,
    pairs: Sequence[TokenPair],
    batch_tokens: int | None = None,
    progress: str | None = None,
) -> list[Score]:
    """:func:`score` for pairs that are encoded already; no context may be empty.

    A continuation longer than the window is scored in consecutive windows, each token once.
    """
    texts = []
    for context, continuation in pairs:
        ids = np.array([*context, *continuation], dtype=np.int64)
        texts.append((ids, np.arange(len(context), len(ids))))
    return _score(lm, texts, batch_tokens, progress)


def score_rows(
    lm: LanguageModel,
    rows: Sequence[TokenRow],
    batch_tokens: int | None = None,
    progress: str | None = None,
) -> list[Score]:
    """Score the tokens of each row whose weight is above 0 (never the first: nothing precedes it).

    The weights select and do not multiply. A row longer than the window is read in consecutive
    windows.
    """
    texts = []
    for row in rows:
        wanted = np.flatnonzero(np.asarray(row.weights) > 0)
        texts.append((np.asarray(row.input_ids, dtype=np.int64), wanted[wanted > 0]))
    return _score(lm, texts, batch_tokens, progress)


def encode(
    lm: LanguageModel, texts: Sequence[str], special_tokens: bool | None = None
) -> list[list[int]]:
    """Token ids by lm-eval's convention: the tokenizer's own BOS, but never a second one.

    ``special_tokens``: None adds them unless the text begins with the start token already.
    """
    distinct = list(dict.fromkeys(texts))
    if special_tokens is not None:
        return _in_order(texts, distinct, _encode(lm, distinct, special_tokens))
    start = lm.tokenizer.bos_token_id
    start = lm.tokenizer.eos_token_id if start is None else start
    mark = None if start is None else lm.tokenizer.decode(start)
    marked = [text for text in distinct if mark is not None and text.startswith(mark)]
    plain = [text for text in distinct if mark is None or not text.startswith(mark)]
    return _in_order(texts, marked + plain, _encode(lm, marked, False) + _encode(lm, plain, True))


def encode_pairs(lm: LanguageModel, pairs: Sequence[tuple[str, str]]) -> list[TokenPair]:
    """(context ids, continuation ids) as lm-eval makes them; no context is empty.

    Context and continuation are encoded as one text, so that a token may reach across the space
    between them; spaces at the context's end go to the continuation first.

    Raises:
        DataError: see :func:`score`.
    """
    shifted = []
    for context, continuation in pairs:
        bare = context.rstrip()
        shifted.append(
            (bare, context[len(bare) :] + continuation) if context else ("", continuation)
        )
    started = [index for index, (context, _) in enumerate(pairs) if context == ""]
    others = [index for index, (context, _) in enumerate(pairs) if context != ""]
    encoded: dict[int, TokenPair] = {}
    contexts = encode(lm, [shifted[index][0] for index in others])
    wholes = encode(lm, ["".join(shifted[index]) for index in others])
    for index, context, whole in zip(others, contexts, wholes, strict=True):
        continuation = whole[len(context) :]
        # A context of spaces only leaves nothing before the continuation, without BOS at least.
        encoded[index] = (context, continuation) if context else _at_start(lm, continuation)
    continuations = encode(lm, [shifted[index][1] for index in started], special_tokens=False)
    for index, continuation in zip(started, continuations, strict=True):
        encoded[index] = _at_start(lm, continuation)
    for index, (context, continuation) in enumerate(pairs):
        if not encoded[index][1]:
            raise DataError(
                f"There is nothing to score in pair {index + 1}: the continuation "
                f"{continuation[:60]!r} adds no token after the context {context[-60:]!r}. Give a "
                "continuation with at least one character that the tokenizer knows."
            )
    return [encoded[index] for index in range(len(pairs))]


@contextlib.contextmanager
def reading(model: nn.Module) -> Iterator[None]:
    """Eval mode without gradients or log lines inside the block; the mode before comes back."""
    training = model.training
    model.eval()
    try:
        with torch.no_grad(), quiet():
            yield
    finally:
        model.train(training)


# --- encoding -----------------------------------------------------------------------------------


def _encode(lm: LanguageModel, texts: list[str], special_tokens: bool) -> list[list[int]]:
    if not texts:
        return []
    encoded = lm.tokenizer(texts, add_special_tokens=special_tokens, verbose=False)["input_ids"]
    return [list(ids) for ids in encoded]


def _in_order(
    texts: Sequence[str], distinct: Sequence[str], encoded: list[list[int]]
) -> list[list[int]]:
    known = dict(zip(distinct, encoded, strict=True))
    return [known[text] for text in texts]


def _at_start(lm: LanguageModel, continuation: list[int]) -> TokenPair:
    """A continuation at the start of a text: after BOS (or EOS), which is not scored twice."""
    start = lm.start_id
    if start is None:
        raise DataError(
            f"The tokenizer of {lm.name} has neither a BOS nor an EOS token, so the model cannot "
            "score a text that nothing precedes. Give a context that is not empty."
        )
    if continuation[:1] == [start]:
        return continuation[:1], continuation[1:]
    return [start], continuation


# --- planning -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Window:
    """A part of one text that fits the model: what is read, where, and which tokens should follow.

    ``places[i]`` is the position in ``ids`` whose prediction is asked for token ``targets[i]``;
    ``first`` is the place of the first of them in the whole text.
    """

    text: int
    first: int
    ids: np.ndarray
    places: np.ndarray
    targets: np.ndarray


@dataclass
class _Reading:
    """One sequence to run through the model and the windows that it answers."""

    ids: np.ndarray
    windows: list[_Window]

    def places(self) -> np.ndarray:
        if len(self.windows) == 1:
            return self.windows[0].places
        return np.unique(np.concatenate([window.places for window in self.windows]))


def _windows(text: int, ids: np.ndarray, wanted: np.ndarray, limit: int) -> Iterator[_Window]:
    """Cut from the right end so that each wanted token is predicted once, with what context fits.

    With all of ``wanted`` within the last ``limit`` tokens this is lm-eval's left truncation; if
    not, its rolling windows with one token of context (``lm_eval.utils``).
    """
    while len(wanted):
        end = min(int(wanted[0]) + limit - 1, int(wanted[-1]))
        start = max(0, end - limit)
        here = wanted[wanted <= end]
        yield _Window(text, int(here[0]), ids[start:end], here - 1 - start, ids[here])
        wanted = wanted[len(here) :]


def _readings(windows: list[_Window], share_beginnings: bool) -> list[_Reading]:
    """The fewest sequences that answer all windows.

    A causal model gives the same predictions for a sequence alone and as the beginning of a longer
    one, so beginnings need not be read again. In lexicographic order of big-endian ids a sequence
    stands right before those it begins.
    """
    equal: dict[bytes, _Reading] = {}
    for window in windows:
        key = window.ids.astype(">u4").tobytes()
        equal.setdefault(key, _Reading(window.ids, [])).windows.append(window)
    if not share_beginnings:
        return list(equal.values())
    kept: list[_Reading] = []
    following: bytes | None = None
    for key in sorted(equal, reverse=True):
        if following is not None and following.startswith(key):
            kept[-1].windows.extend(equal[key].windows)
        else:
            kept.append(equal[key])
            following = key
    return kept


def _batches(
    readings: list[_Reading], tokens: int, logits: int, equal_lengths: bool
) -> Iterator[list[_Reading]]:
    """Longest first, so that lines of a batch differ little in length and memory peaks at once."""
    batch: list[_Reading] = []
    positions = 0
    for reading_ in sorted(readings, key=lambda entry: -len(entry.ids)):
        asked = len(reading_.places())
        longest = len(batch[0].ids) if batch else 0
        full = (len(batch) + 1) * longest > tokens or positions + asked > logits
        if batch and (full or (equal_lengths and len(reading_.ids) != longest)):
            yield batch
            batch, positions = [], 0
        batch.append(reading_)
        positions += asked
    if batch:
        yield batch


# --- running ------------------------------------------------------------------------------------


def _score(
    lm: LanguageModel,
    texts: list[tuple[np.ndarray, np.ndarray]],
    batch_tokens: int | None,
    progress: str | None,
) -> list[Score]:
    _check_ids(lm, [ids for ids, _ in texts])
    windows = [
        window
        for text, (ids, wanted) in enumerate(texts)
        for window in _windows(text, ids, wanted, lm.max_length)
    ]
    whole_length_matters = _length_dependent(lm)
    readings = _readings(windows, share_beginnings=not whole_length_matters)
    place = "cuda" if lm.device.type == "cuda" else "cpu"
    tokens = batch_tokens or _BATCH_TOKENS[place]
    logits = _BATCH_LOGITS[place] // lm.vocab_size
    answered: list[_Window] = []
    values: list[Tensor] = []
    with reading(lm.model), track(len(readings), progress, unit="text") as bar:
        for batch in _batches(readings, tokens, logits, whole_length_matters):
            values.append(_run(lm, batch))
            answered.extend(window for entry in batch for window in entry.windows)
            bar.update(len(batch))
    return _collect(len(texts), answered, values)


def _collect(count: int, windows: list[_Window], values: list[Tensor]) -> list[Score]:
    """Put the windows' values, which come longest first, back to their texts and into order."""
    parts: list[list[tuple[int, np.ndarray]]] = [[] for _ in range(count)]
    if values:
        table = torch.cat(values, dim=1).cpu().numpy()  # the only transfer from the device
        ends = np.cumsum([len(window.targets) for window in windows])
        for window, part in zip(windows, np.split(table, ends[:-1], axis=1), strict=True):
            parts[window.text].append((window.first, part))
    scores = []
    for found in parts:
        found.sort(key=lambda entry: entry[0])
        whole = np.concatenate([part for _, part in found], axis=1) if found else np.empty((2, 0))
        logprobs = whole[0].astype(np.float32)
        total = float(logprobs.sum(dtype=np.float64))
        scores.append(Score(total, len(logprobs), logprobs, whole[1].astype(bool)))
    return scores


def _run(lm: LanguageModel, batch: list[_Reading]) -> Tensor:
    """[2, targets]: log-probability and whether first choice, in the order of the windows."""
    try:
        return _run_at_once(lm, batch)
    except torch.OutOfMemoryError:
        if len(batch) == 1:
            raise ModelError(
                f"The memory of {lm.device} does not suffice to read one text of "
                f"{len(batch[0].ids)} tokens with {lm.name}. Use a smaller model, shorter texts, "
                "or a device with more memory."
            ) from None
    middle = len(batch) // 2
    return torch.cat([_run(lm, batch[:middle]), _run(lm, batch[middle:])], dim=1)


def _run_at_once(lm: LanguageModel, batch: list[_Reading]) -> Tensor:
    ids = np.full((len(batch), len(batch[0].ids)), lm.pad_id, dtype=np.int64)
    places = [entry.places() for entry in batch]
    starts = np.cumsum([0, *(len(found) for found in places)])
    where, targets = [], []
    for line, entry in enumerate(batch):
        ids[line, : len(entry.ids)] = entry.ids
        for window in entry.windows:
            where.append(starts[line] + np.searchsorted(places[line], window.places))
            targets.append(window.targets)
    lines = np.repeat(np.arange(len(batch)), [len(found) for found in places])
    plan = [ids, lines, np.concatenate(places), np.concatenate(where), np.concatenate(targets)]
    ids_, lines_, columns, where_, targets_ = (
        torch.from_numpy(part).to(lm.device, non_blocking=True) for part in plan
    )
    logits = selected_logits(lm.model, ids_, lines_, columns).float()
    likeliest = logits.argmax(dim=-1)[where_]
    logprobs = logits[where_, targets_] - torch.logsumexp(logits, dim=-1)[where_]
    return torch.stack([logprobs, (likeliest == targets_).float()])


def selected_logits(model: nn.Module, ids: Tensor, lines: Tensor, columns: Tensor) -> Tensor:
    """Logits [N, V] at N positions of a batch of ids [B, T], padded on the right.

    Where the architecture allows it, the other positions never reach the vocabulary projection,
    which is a good part of a small model's work. Each architecture is tried once.
    """
    kind = type(bare(model))
    selects = _SELECTS.get(kind)
    if selects is None:
        selects = _SELECTS[kind] = _selection_works(model, ids.device)
    if selects:
        return _call_selecting(model, ids, lines, columns)[0]
    return all_logits(model, ids)[lines, columns]


_SELECTS: weakref.WeakKeyDictionary[type, bool] = weakref.WeakKeyDictionary()


def _selection_works(model: nn.Module, device: torch.device) -> bool:
    """Whether picking positions before the projection gives what picking after it gives."""
    rows = model.get_input_embeddings().weight.shape[0]
    ids = torch.arange(16, device=device).reshape(2, 8) % rows
    lines = torch.tensor([0, 1, 1], device=device)
    columns = torch.tensor([7, 2, 5], device=device)
    expected = all_logits(model, ids)[lines, columns].float()
    found = _call_selecting(model, ids, lines, columns).float()
    return found.shape[:2] == (1, 3) and torch.allclose(found[0], expected, rtol=1e-2, atol=1e-3)


def _call_selecting(model: nn.Module, ids: Tensor, lines: Tensor, columns: Tensor) -> Tensor:
    """[1, N, V] if the output projection could be handed selected positions, else [B, T, V]."""

    def select(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
        if inputs and inputs[0].shape[:2] == ids.shape:
            return (inputs[0][lines, columns].unsqueeze(0), *inputs[1:])
        return None

    projection = model.get_output_embeddings()
    if projection is None:
        return all_logits(model, ids)
    hook = projection.register_forward_pre_hook(select)
    try:
        return all_logits(model, ids)
    finally:
        hook.remove()


def _length_dependent(lm: LanguageModel) -> bool:
    text = lm.model.config.get_text_config(decoder=True)
    rope = getattr(text, "rope_parameters", None) or getattr(text, "rope_scaling", None) or {}
    kinds = [rope.get("rope_type")] + [
        part.get("rope_type") for part in rope.values() if isinstance(part, dict)
    ]
    return any(kind in _LENGTH_DEPENDENT for kind in kinds)


def _check_ids(lm: LanguageModel, texts: list[np.ndarray]) -> None:
    rows = lm.vocab_size
    for number, ids in enumerate(texts):
        if len(ids) and int(ids.max()) >= rows:
            token = int(ids.max())
            text = lm.tokenizer.convert_ids_to_tokens(token)
            raise DataError(
                f"Text {number + 1} holds the token {token} ({text!r}), and {lm.name} has "
                f"embeddings for {rows} tokens only. Take that token out of the text, or use the "
                "tokenizer the model was trained with."
            )
