"""How deep in a model an answer stands: the logit lens, activation patching, unlearning depth.

*Depth* counts blocks: 0 is the hidden state that enters the first block, ``L`` the one that leaves
the last. :func:`lens` asks at which depth the answer can be read, :func:`patch` what is lost if one
model's hidden state takes the place of another's, :func:`depth_score` how much of what a retrained
model lacks an unlearned model lacks too. Everything works on any decoder (``core.layers``).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from palimpsest.core.errors import DataError, ModelError
from palimpsest.core.layers import (
    Recording,
    blocks,
    recorded,
    replayed,
    skippable,
    with_hidden,
)
from palimpsest.core.models import LanguageModel
from palimpsest.core.progress import track
from palimpsest.core.scoring import TokenPair, encode_pairs, reading, selected_logits

__all__ = ["blocks", "depth_score", "drops", "lens", "patch", "unlearning_depth"]

Pairs = Sequence[tuple[str, str]] | Sequence[TokenPair]
Positions = Literal["answer", "last", "all"]

# Per batch. Hidden states of all depths are kept, so batches are smaller than in plain scoring.
_BATCH_TOKENS = 4096
_BATCH_LOGITS = 2**25
# By how much a read-out of the last depth, in nats, may miss the model's own log-probability.
_ROUNDING = {torch.float32: 1e-3, torch.float64: 1e-3}
_ROUNDING_COARSE = 0.05


def lens(lm: LanguageModel, pairs: Pairs, progress: str | None = None) -> pd.DataFrame:
    """The logit lens: the answer's log-probability read from every depth.

    The hidden state of each depth goes straight to the model's own last norm and output head
    (nostalgebraist 2020, "interpreting GPT: the logit lens"), as if the remaining blocks did
    nothing. The answer's tokens are given one after the other (teacher forcing).

    Args:
        pairs: (prompt, answer), as in ``scoring.score``, or their token ids, as in
            ``scoring.score_tokens``. Long prompts lose their beginning.
        progress: label of a progress report, None for none.

    Returns:
        One line for each pair and depth, in this order: ``pair`` (place in ``pairs``), ``depth``
        (0 to L), ``logprob`` (sum over the answer's tokens, nats, float64), ``per_token`` (their
        mean). At depth L they are the model's own.

    Raises:
        ModelError: the model's blocks cannot be found or do not hold all there is to the answer.
        DataError: an answer without tokens, or longer than the window; an unknown token.
    """
    texts = _texts(lm, pairs)
    model, stack = lm.model, blocks(lm.model)
    table = np.empty((len(texts), len(stack) + 1))
    with reading(model), track(len(texts), progress, unit="text") as bar:
        skip = skippable(model, stack)
        for batch in _batches(lm, texts):
            own, recording = _recording(lm, stack, batch)
            last = recording.outputs[-1]
            for depth, state in enumerate(recording.states()):
                outputs = [*recording.outputs[:-1], with_hidden(last, state)]
                with replayed(stack, outputs, skip):
                    table[batch.pairs, depth] = _logprobs(lm, batch)
            _check_reading(lm, table[batch.pairs, -1], own, batch)
            bar.update(len(batch.pairs))
    return _table(table, texts, range(len(stack) + 1))


def patch(
    receiver: LanguageModel,
    donor: LanguageModel,
    pairs: Pairs,
    positions: Positions = "answer",
    progress: str | None = None,
) -> pd.DataFrame:
    """The answer's log-probability in ``receiver`` with hidden states of ``donor``, by depth.

    Both read the same tokens. After one block at a time the receiver's hidden state gives way to
    the donor's, and the receiver's later blocks and head go on from there.

    Args:
        receiver, donor: models of one architecture with one tokenizer. They may be the same.
        pairs: see :func:`lens`.
        positions: where. ``answer``: at the positions that predict the answer's tokens, the last
            of the prompt among them; ``last``: at the prompt's last token only, so that later
            tokens of the answer notice by attention only; ``all``: at every token, which takes
            over all that the donor has made of the text so far.
        progress: label of a progress report, None for none.

    Returns:
        One line for each pair and depth, in this order: ``pair``, ``depth`` (1, after the first
        block, to L), ``logprob`` (sum over the answer's tokens, nats, float64), ``per_token``
        (their mean), ``drop`` (the receiver's own ``per_token`` minus this one).

    Raises:
        ModelError: as in :func:`lens`, or the models do not fit together.
        DataError: as in :func:`lens`.
    """
    if positions not in ("answer", "last", "all"):
        raise ValueError(f"positions={positions!r}; 'answer', 'last' or 'all' was expected")
    texts = _texts(receiver, pairs)
    if not _same_tokens(texts, _texts(donor, pairs)):
        raise ModelError(
            f"{receiver.name} and {donor.name} cut the texts into different tokens, so hidden "
            "states of one have no place in the other. Patch between models with one tokenizer "
            "and one context window."
        )
    stack, others = blocks(receiver.model), blocks(donor.model)
    table = np.empty((len(texts), len(stack)))
    unpatched = np.empty(len(texts))
    with (
        reading(receiver.model),
        reading(donor.model),
        track(len(texts), progress, unit="text") as bar,
    ):
        skip = skippable(receiver.model, stack)
        for batch in _batches(receiver, texts):
            given = _recording(donor, others, batch.to(donor.device))[1].states()
            unpatched[batch.pairs], recording = _recording(receiver, stack, batch)
            states = recording.states()
            if [state.shape for state in states] != [state.shape for state in given]:
                raise ModelError(
                    f"{receiver.name} ({len(stack)} blocks) and {donor.name} ({len(others)} "
                    "blocks) differ in depth or width, so hidden states of one do not fit the "
                    "other. Patch between models of one architecture and size."
                )
            for place in range(len(stack)):
                state = _mixed(states[place + 1], given[place + 1], batch, positions)
                changed = with_hidden(recording.outputs[place], state)
                computed = [None] * (len(stack) - place - 1)
                outputs = [*recording.outputs[:place], changed, *computed]
                with replayed(stack, outputs, skip):
                    table[batch.pairs, place] = _logprobs(receiver, batch)
            bar.update(len(batch.pairs))
    found = _table(table, texts, range(1, len(stack) + 1))
    found["drop"] = np.repeat(unpatched / _counts(texts), len(stack)) - found["per_token"]
    return found


def drops(patched: pd.DataFrame) -> np.ndarray:
    """float64 [pairs, L]: the column ``drop`` of what :func:`patch` returned, a line a pair."""
    return patched.pivot(index="pair", columns="depth", values="drop").to_numpy(np.float64)


def depth_score(
    unlearned: np.ndarray, retrained: np.ndarray, threshold: float = 0.05
) -> np.ndarray:
    """The unlearning depth score of each fact: 1 as deep as retraining, 0 nothing removed.

    With Δ_l the log-probability per answer token, in nats, that the original model loses when the
    other model's hidden state is patched in after block l,

        UDS = Σ_l Δret_l · clip(Δunl_l / Δret_l, 0, 1) / Σ_l Δret_l,  over the l with Δret_l > 0.05.

    Source: arXiv 2605.24614, "Measuring the Depth of LLM Unlearning via Activation Patching". The
    formula was read in our digest [text]; that Δ is a mean over the answer's tokens, patched where
    they are predicted, and that facts without such a layer are left out, in the outline of the
    paper in the authors' repository (gnueaj/unlearning-depth-score, docs/paper_guide.md, 3.2-3.3),
    not in the paper itself.

    Args:
        unlearned, retrained: float [facts, L], the losses Δ with the unlearned and the retrained
            model as donor (:func:`drops`).
        threshold: the loss in nats per token above which a layer counts.

    Returns:
        float64 [facts], in [0, 1]; NaN where no layer counts: retraining took nothing from the
        fact that could be removed.
    """
    unlearned = np.asarray(unlearned, dtype=np.float64)
    retrained = np.asarray(retrained, dtype=np.float64)
    if unlearned.ndim != 2 or unlearned.shape != retrained.shape:
        raise ValueError(f"{unlearned.shape} and {retrained.shape}; [facts, layers] was expected")
    if not threshold >= 0:
        raise ValueError(f"threshold={threshold}; a loss of 0 nats or more was expected")
    counts = retrained > threshold
    # Δret · clip(Δunl/Δret, 0, 1) is clip(Δunl, 0, Δret) where Δret > 0; nothing is divided by 0.
    removed = np.clip(unlearned, 0.0, np.maximum(retrained, 0.0)).sum(axis=1, where=counts)
    removable = retrained.sum(axis=1, where=counts)
    score = np.full(len(retrained), np.nan)
    return np.divide(removed, removable, out=score, where=counts.any(axis=1))


def unlearning_depth(
    original: LanguageModel,
    unlearned: LanguageModel,
    retrained: LanguageModel,
    pairs: Pairs,
    progress: str | None = None,
) -> np.ndarray:
    """:func:`depth_score` of each pair, float64 [pairs], from the three models.

    To judge several unlearned models, patch with the retrained one once and use the parts.
    """
    lost = [
        drops(patch(original, donor, pairs, progress=progress)) for donor in (unlearned, retrained)
    ]
    return depth_score(*lost)


# --- texts and batches --------------------------------------------------------------------------


@dataclass(frozen=True)
class _Text:
    """What is read (int64 [T]) and the answer's tokens (int64 [n]), which its last n predict."""

    ids: np.ndarray
    targets: np.ndarray


@dataclass(frozen=True)
class _Batch:
    """Texts of one length, so that nothing is padded.

    Attributes:
        pairs: int64 [B], their places in what was asked for.
        ids: int64 [B, T].
        lines, columns: int64 [N], the positions that predict the answers' tokens.
        targets: int64 [N], those tokens.
        first: bool [N], whether it is its answer's first token.
    """

    pairs: np.ndarray
    ids: Tensor
    lines: Tensor
    columns: Tensor
    targets: Tensor
    first: Tensor

    def to(self, device: torch.device) -> "_Batch":
        moved = (self.ids, self.lines, self.columns, self.targets, self.first)
        return _Batch(self.pairs, *(part.to(device) for part in moved))


def _texts(lm: LanguageModel, pairs: Pairs) -> list[_Text]:
    spoken = len(pairs) > 0 and isinstance(pairs[0][1], str)
    texts = []
    for number, (prompt, answer) in enumerate(encode_pairs(lm, pairs) if spoken else pairs, 1):
        ids = np.array([*prompt, *answer], dtype=np.int64)
        if len(prompt) == 0 or not 0 < len(answer) <= lm.max_length:
            raise DataError(
                f"Pair {number} has {len(prompt)} tokens of prompt and {len(answer)} of answer. "
                f"At least one of each was expected, and an answer that fits {lm.name}'s context "
                f"window of {lm.max_length}. Change or leave out that pair."
            )
        if ids.max() >= lm.vocab_size:
            raise DataError(
                f"Pair {number} holds the token {ids.max()}, and {lm.name} has embeddings for "
                f"{lm.vocab_size} tokens only. Use the tokenizer the model was trained with."
            )
        texts.append(_Text(ids[:-1][-lm.max_length :], ids[len(prompt) :]))
    return texts


def _same_tokens(texts: list[_Text], others: list[_Text]) -> bool:
    return all(
        np.array_equal(text.ids, other.ids) and np.array_equal(text.targets, other.targets)
        for text, other in zip(texts, others, strict=True)
    )


def _counts(texts: list[_Text]) -> np.ndarray:
    return np.array([len(text.targets) for text in texts], dtype=np.int64)


def _batches(lm: LanguageModel, texts: list[_Text]) -> Iterator[_Batch]:
    """Longest first. Texts of different lengths never meet: some models (rotary embeddings that
    change with length, experts of limited capacity, recurrence) would notice the padding."""
    group: list[int] = []
    logits = 0
    for place in sorted(range(len(texts)), key=lambda place: -len(texts[place].ids)):
        length, asked = len(texts[place].ids), len(texts[place].targets) * lm.vocab_size
        full = (len(group) + 1) * length > _BATCH_TOKENS or logits + asked > _BATCH_LOGITS
        if group and (full or length != len(texts[group[0]].ids)):
            yield _batch(lm, texts, group)
            group, logits = [], 0
        group.append(place)
        logits += asked
    if group:
        yield _batch(lm, texts, group)


def _batch(lm: LanguageModel, texts: list[_Text], group: list[int]) -> _Batch:
    chosen = [texts[place] for place in group]
    length, counts = len(chosen[0].ids), _counts(chosen)
    columns = [np.arange(length - count, length) for count in counts]
    parts = (
        np.stack([text.ids for text in chosen]),
        np.repeat(np.arange(len(group)), counts),
        np.concatenate(columns),
        np.concatenate([text.targets for text in chosen]),
        np.concatenate([np.arange(count) == 0 for count in counts]),
    )
    return _Batch(np.array(group), *(torch.from_numpy(part).to(lm.device) for part in parts))


# --- running ------------------------------------------------------------------------------------


def _logprobs(lm: LanguageModel, batch: _Batch) -> np.ndarray:
    """float64 [B]: the answers' log-probabilities, nats."""
    logits = selected_logits(lm.model, batch.ids, batch.lines, batch.columns).float()
    targets = batch.targets.to(logits.device)
    tokens = logits.gather(1, targets[:, None])[:, 0] - torch.logsumexp(logits, dim=-1)
    return np.bincount(batch.lines.cpu().numpy(), tokens.cpu().numpy(), len(batch.pairs))


def _recording(lm: LanguageModel, stack: list, batch: _Batch) -> tuple[np.ndarray, Recording]:
    """The model's own log-probabilities [B], and what passed through its blocks."""
    with recorded(stack) as recording:
        logprobs = _logprobs(lm, batch)
    if any(state.shape[-3:-1] != batch.ids.shape for state in recording.states()):
        raise ModelError(
            f"The hidden states of {lm.name} do not stand token by token, so its inside cannot be "
            "read. Use a model whose blocks hand on [texts, tokens, width]."
        )
    return logprobs, recording


def _mixed(own: Tensor, given: Tensor, batch: _Batch, positions: Positions) -> Tensor:
    """The receiver's hidden state [..., B, T, H] with the donor's in the chosen positions."""
    given = given.to(device=own.device, dtype=own.dtype)
    if positions == "all":
        return given
    chosen = batch.first if positions == "last" else torch.ones_like(batch.first)
    lines, columns = batch.lines[chosen].to(own.device), batch.columns[chosen].to(own.device)
    state = own.clone()
    state[..., lines, columns, :] = given[..., lines, columns, :]
    return state


def _check_reading(lm: LanguageModel, found: np.ndarray, own: np.ndarray, batch: _Batch) -> None:
    allowed = _ROUNDING.get(lm.dtype, _ROUNDING_COARSE) * len(batch.targets)
    if not np.allclose(found, own, rtol=1e-4, atol=allowed):
        raise ModelError(
            f"Read from its last block, the answers of {lm.name} do not have the log-probabilities "
            "that the model gives them: its head sees more than the last hidden state. The logit "
            "lens would mislead; use another model."
        )


def _table(values: np.ndarray, texts: list[_Text], depths: range) -> pd.DataFrame:
    """A tidy table of sums [pairs, depths]."""
    return pd.DataFrame(
        {
            "pair": np.repeat(np.arange(len(texts)), len(depths)),
            "depth": np.tile(np.arange(depths.start, depths.stop), len(texts)),
            "logprob": values.ravel(),
            "per_token": (values / _counts(texts)[:, None]).ravel(),
        }
    )
