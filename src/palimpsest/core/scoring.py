"""Log-probabilities of texts, in batches, equal to those of lm-eval's Hugging Face backend.

A pair (context, continuation) is encoded together, cut where the context's own encoding ends, and
truncated from the left to the context window, exactly as ``lm_eval.models.huggingface.HFLM`` does
(version 0.4.13), so that numbers computed here can stand beside published ones.

The work is: sequences that are equal, or the beginning of another, are read once (of two choices
after one question, the shorter is often free); of those that begin alike the beginning is read
once, and its keys and values serve all of them; what is left is sorted by length and padded on the
right, where a causal model cannot see it; only the positions that are asked for pass through the
vocabulary projection; results stay on the device until the end.
"""

import contextlib
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from palimpsest.core.errors import DataError, ModelError
from palimpsest.core.models import LanguageModel, all_logits, bare, quiet, read_on
from palimpsest.core.progress import track

TokenPair = tuple[list[int], list[int]]

# Per batch. On a CPU small batches stay in the cache; on a GPU the launches are what costs.
_BATCH_TOKENS = {"cpu": 2048, "cuda": 65536}
_BATCH_LOGITS = {"cpu": 2**25, "cuda": 2**28}
# A shared beginning is worth a second pass from this many tokens on; its length is a multiple of
# _STEM_STEP, so that many questions have stems of one length and are read together.
_SHORTEST_STEM, _STEM_STEP = 8, 2
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
    encoded = lm.tokenizer(
        texts, add_special_tokens=special_tokens, return_attention_mask=False, verbose=False
    )
    return [list(ids) for ids in encoded["input_ids"]]


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
    """One sequence to run through the model and the windows that it answers, all known before it
    is first asked for its places."""

    ids: np.ndarray
    windows: list[_Window]

    @cached_property
    def places(self) -> np.ndarray:
        if len(self.windows) == 1:
            return self.windows[0].places
        # They are few: a set is faster than numpy's sort.
        return np.array(sorted({each for one in self.windows for each in one.places.tolist()}))


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


@dataclass
class _Branch:
    """Sequences of which the first ``stem`` tokens are the same, and are read once."""

    stem: int
    readings: list[_Reading]

    @property
    def longest(self) -> int:
        return max(len(entry.ids) for entry in self.readings)

    def asked(self) -> int:
        return sum(len(entry.places) for entry in self.readings)


def _branches(readings: list[_Reading]) -> list[_Branch]:
    """Readings in groups that begin alike, so far that it pays.

    Nothing that is asked lies in a stem. In lexicographic order those that begin alike are
    neighbours; a group takes in the next one if that saves more than the shorter stem costs.
    """
    order = sorted(readings, key=lambda entry: entry.ids.astype(">u4").tobytes())
    groups: list[_Branch] = []
    for entry in order:
        if groups:
            group = groups[-1]
            size = len(group.readings)
            shared = _alike(group.readings[-1], entry)
            stem = min(group.stem, shared) if size > 1 else shared
            if stem >= _SHORTEST_STEM and stem > size * (group.stem - stem) * (size > 1):
                group.stem = stem
                group.readings.append(entry)
                continue
        groups.append(_Branch(0, [entry]))
    return groups


def _alike(one: _Reading, other: _Reading) -> int:
    """How many tokens of two readings may stand in one stem."""
    limit = min(int(entry.places[0]) for entry in (one, other))
    apart = np.flatnonzero(one.ids[:limit] != other.ids[:limit])
    shared = int(apart[0]) if len(apart) else limit
    return shared - shared % _STEM_STEP


def _batches(
    branches: list[_Branch], tokens: int, logits: int, equal_lengths: bool
) -> Iterator[list[_Branch]]:
    """Stems of one length together, longest sequences first, so that lines of a batch differ little
    in length and memory peaks at once."""
    batch: list[_Branch] = []
    lines = positions = 0
    for branch in sorted(branches, key=lambda entry: (-entry.stem, -entry.longest)):
        asked = branch.asked()
        longest = batch[0].longest if batch else 0
        more = lines + len(branch.readings)
        full = more * longest > tokens or positions + asked > logits
        apart = bool(batch) and branch.stem != batch[0].stem
        if batch and (full or apart or (equal_lengths and branch.longest != longest)):
            yield batch
            batch, lines, positions = [], 0, 0
        batch.append(branch)
        lines += len(branch.readings)
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
        branches = [_Branch(0, [entry]) for entry in readings]
        if not whole_length_matters and len(readings) > 1:
            grouped = _branches(readings)
            if len(grouped) < len(readings) and _branching_works(lm.model, lm.device):
                branches = grouped
        for batch in _batches(branches, tokens, logits, whole_length_matters):
            lines = [entry for branch in batch for entry in branch.readings]
            values.append(_run(lm, batch))
            answered.extend(window for entry in lines for window in entry.windows)
            bar.update(len(lines))
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


def _run(lm: LanguageModel, batch: list[_Branch]) -> Tensor:
    """[2, targets]: log-probability and whether first choice, in the order of the windows."""
    try:
        return _run_at_once(lm, batch)
    except torch.OutOfMemoryError:
        lines = [(branch.stem, entry) for branch in batch for entry in branch.readings]
        if len(lines) == 1:
            raise ModelError(
                f"The memory of {lm.device} does not suffice to read one text of "
                f"{len(lines[0][1].ids)} tokens with {lm.name}. Use a smaller model, shorter "
                "texts, or a device with more memory."
            ) from None
    if len(batch) == 1:
        readings = batch[0].readings
        batch = [
            _Branch(batch[0].stem, readings[: len(readings) // 2]),
            _Branch(batch[0].stem, readings[len(readings) // 2 :]),
        ]
    middle = len(batch) // 2
    return torch.cat([_run(lm, batch[:middle]), _run(lm, batch[middle:])], dim=1)


def _run_at_once(lm: LanguageModel, batch: list[_Branch]) -> Tensor:
    stem = batch[0].stem
    readings = [entry for branch in batch for entry in branch.readings]
    width = max(len(entry.ids) for entry in readings) - stem
    ids = np.full((len(readings), width), lm.pad_id, dtype=np.int64)
    places = [entry.places - stem for entry in readings]
    starts = np.cumsum([0, *(len(found) for found in places)])
    where, targets = [], []
    for line, entry in enumerate(readings):
        ids[line, : len(entry.ids) - stem] = entry.ids[stem:]
        for window in entry.windows:
            where.append(starts[line] + np.searchsorted(places[line], window.places - stem))
            targets.append(window.targets)
    lines = np.repeat(np.arange(len(readings)), [len(found) for found in places])
    stems = np.stack([branch.readings[0].ids[:stem] for branch in batch]).astype(np.int64)
    branch_of = np.repeat(np.arange(len(batch)), [len(branch.readings) for branch in batch])
    plan = [ids, lines, np.concatenate(places), np.concatenate(where), np.concatenate(targets)]
    ids_, lines_, columns, where_, targets_, stems_, branch_of_ = (
        torch.from_numpy(part).to(lm.device, non_blocking=True)
        for part in (*plan, stems, branch_of)
    )
    past = _read_stems(lm.model, stems_, branch_of_) if stem else None
    logits = selected_logits(lm.model, ids_, lines_, columns, past).float()
    likeliest = logits.argmax(dim=-1)[where_]
    logprobs = logits[where_, targets_] - torch.logsumexp(logits, dim=-1)[where_]
    return torch.stack([logprobs, (likeliest == targets_).float()])


def _read_stems(model: nn.Module, stems: Tensor, branch_of: Tensor) -> Any:
    """The keys and values of ``stems`` [G, S] for lines of which the i-th goes on after stem
    ``branch_of[i]``."""
    nowhere = torch.zeros(1, dtype=torch.long, device=stems.device)
    with _selecting(model, stems, nowhere, nowhere):  # no logits of a stem are asked for
        past = read_on(model, stems).past_key_values
    past.reorder_cache(branch_of)
    return past


def _branching_works(model: nn.Module, device: torch.device) -> bool:
    """Whether going on from kept keys and values gives what reading everything gives.

    Recurrent networks and some mixed ones cannot; each configuration is tried once.
    """
    config = bare(model).config
    key = (type(bare(model)).__name__, config.to_json_string(), device.type)
    if key not in _BRANCHES:
        rows = model.get_input_embeddings().weight.shape[0]
        ids = torch.arange(3 * 12, device=device).reshape(3, 12) % rows
        ids[1, :8] = ids[0, :8]
        lines = torch.tensor([0, 1, 1, 2], device=device)
        columns = torch.tensor([3, 0, 3, 2], device=device)
        expected = all_logits(model, ids)[lines, columns + 8].float()
        try:
            past = _read_stems(model, ids[[0, 2], :8], torch.tensor([0, 0, 1], device=device))
            found = selected_logits(model, ids[:, 8:], lines, columns, past).float()
        except Exception:  # whatever an architecture says to what it does not know
            _BRANCHES[key] = False
        else:
            coarse = 1e-4 if model.dtype == torch.float32 else 2e-2
            error = torch.linalg.vector_norm(found - expected)
            _BRANCHES[key] = bool(error <= coarse * torch.linalg.vector_norm(expected))
    return _BRANCHES[key]


_BRANCHES: dict[tuple[str, str, str], bool] = {}


def selected_logits(
    model: nn.Module, ids: Tensor, lines: Tensor, columns: Tensor, past: Any = None
) -> Tensor:
    """Logits [N, V] at N positions of a batch of ids [B, T], padded on the right.

    Where the architecture allows it, the other positions never reach the vocabulary projection,
    which is a good part of a small model's work. Each architecture is tried once.

    Args:
        model: what reads.
        ids: what it reads, after ``past``.
        lines, columns: [N] each, where in ``ids`` logits are asked for.
        past: as :func:`~palimpsest.core.models.read_on` takes it; None: nothing was read before.
    """
    kind = type(bare(model))
    selects = _SELECTS.get(kind)
    if selects is None:
        selects = _SELECTS[kind] = _selection_works(model, ids.device)
    if selects:
        return _call_selecting(model, ids, lines, columns, past)[0]
    return _logits(model, ids, past)[lines, columns]


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


def _call_selecting(
    model: nn.Module, ids: Tensor, lines: Tensor, columns: Tensor, past: Any = None
) -> Tensor:
    """[1, N, V] if the output projection could be handed selected positions, else [B, T, V]."""
    with _selecting(model, ids, lines, columns):
        return _logits(model, ids, past)


def _logits(model: nn.Module, ids: Tensor, past: Any) -> Tensor:
    return all_logits(model, ids) if past is None else read_on(model, ids, past).logits


@contextlib.contextmanager
def _selecting(model: nn.Module, ids: Tensor, lines: Tensor, columns: Tensor) -> Iterator[None]:
    """Inside the block only some positions of ``ids`` are handed to the output projection."""

    def select(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
        if inputs and inputs[0].shape[:2] == ids.shape:
            return (inputs[0][lines, columns].unsqueeze(0), *inputs[1:])
        return None

    projection = model.get_output_embeddings()
    if projection is None:
        yield
        return
    hook = projection.register_forward_pre_hook(select)
    try:
        yield
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
