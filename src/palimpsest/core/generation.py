"""Continuations in batches: greedy, sampled or by beam search.

Prompts of different lengths are padded on the left, if the model, tried once, then continues them
as it does alone; if not, only prompts of equal length share a batch. What a prompt yields does not
depend on its neighbours, and sampling has random numbers of its own for every prompt.
"""

import contextlib
import hashlib
import weakref
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from transformers import (
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    PreTrainedTokenizerBase,
    StoppingCriteria,
    StoppingCriteriaList,
)

from palimpsest.core.errors import DataError, UserError, nearest
from palimpsest.core.models import LanguageModel, bare
from palimpsest.core.progress import track
from palimpsest.core.scoring import encode, reading

Method = Literal["greedy", "sample", "beam"]
METHODS = ("greedy", "sample", "beam")

# Cached keys and values of a batch take memory for every token of it, prompt and continuation.
_BATCH_TOKENS = {"cpu": 8192, "cuda": 65536}
_BATCH_LINES = {"cpu": 64, "cuda": 256}


@dataclass(frozen=True)
class Sampling:
    """How the next token is drawn; ``top_p`` 1 and ``top_k`` 0 leave every token possible."""

    temperature: float
    top_p: float
    top_k: int


def generate(
    lm: LanguageModel,
    prompts: Sequence[str],
    max_new_tokens: int,
    *,
    method: Method = "greedy",
    temperature: float = 1.0,
    top_p: float = 1.0,
    top_k: int = 0,
    beams: int = 4,
    stop: Sequence[str] = (),
    seed: int = 0,
    progress: str | None = None,
) -> list[str]:
    """Continue prompts; the continuations alone, in the order given.

    A continuation ends before the model's end token, before the first of the ``stop`` strings, or
    after ``max_new_tokens``. A prompt that leaves no room for them in the context window loses its
    beginning, as in lm-eval. The settings in the model's own ``generation_config.json`` (repetition
    penalty and so on) are not used, except for its end tokens.

    Args:
        prompts: texts; an empty one starts after BOS (or EOS).
        max_new_tokens: at most so many tokens; less than the context window.
        method: ``greedy``; ``sample`` with ``temperature`` (> 0), ``top_p`` (in (0, 1]) and
            ``top_k`` (0 = all); ``beam`` with ``beams`` beams.
        stop: strings before which a continuation ends.
        seed: of sampling. The numbers drawn for a prompt depend on the seed, the prompt and how
            often it came before, on nothing else; no global random state is touched.
        progress: label of a progress report, None for none.

    Raises:
        UserError: a setting out of its range.
        DataError: an empty prompt and a tokenizer with neither BOS nor EOS.
    """
    _check(lm, max_new_tokens, method, temperature, top_p, top_k, beams)
    sampling = Sampling(temperature, top_p, top_k) if method == "sample" else None
    settings = {"num_beams": beams} if method == "beam" else {}
    with _own_settings(lm.model):
        return continue_texts(
            lm,
            prompts,
            max_new_tokens,
            sampling=sampling,
            stop=stop,
            seed=seed,
            progress=progress,
            settings=settings,
        )


def continue_texts(
    lm: LanguageModel,
    prompts: Sequence[str],
    max_new_tokens: int,
    *,
    sampling: Sampling | None = None,
    stop: Sequence[str] = (),
    seed: int = 0,
    progress: str | None = None,
    settings: Mapping[str, Any] | None = None,
) -> list[str]:
    """:func:`generate` with the model's own generation settings, overridden by ``settings``.

    ``settings`` are options of Hugging Face's ``generate`` (``num_beams``, ``repetition_penalty``).
    """
    room = lm.max_length - max_new_tokens
    encoded = [ids[-room:] for ids in _prompt_ids(lm, prompts)]
    noise = _noise(prompts, max_new_tokens, seed) if sampling else None
    ends = end_tokens(lm)
    texts = [""] * len(prompts)
    with reading(lm.model), track(len(prompts), progress, unit="prompt") as bar:
        lengths_differ = len({len(ids) for ids in encoded}) > 1
        padded = lengths_differ and pads_left(lm)
        for batch in _batches(lm, encoded, max_new_tokens, padded):
            processors = LogitsProcessorList()
            if sampling and noise is not None:
                processors.append(_Draw(sampling, noise[batch], len(encoded[batch[0]]), lm.device))
            criteria = StoppingCriteriaList()
            if stop:
                criteria.append(_StopAt(lm.tokenizer, stop, len(encoded[batch[0]])))
            lines = _run(
                lm,
                [encoded[index] for index in batch],
                max_new_tokens,
                logits_processor=processors,
                stopping_criteria=criteria,
                eos_token_id=ends or None,
                do_sample=False,
                **(settings or {}),
            )
            for index, line in zip(batch, lines.tolist(), strict=True):
                texts[index] = _decode(lm, line, ends, stop)
            bar.update(len(batch))
    return texts


def end_tokens(lm: LanguageModel) -> list[int]:
    """The ids after which the model has finished: its own settings' and its tokenizer's EOS."""
    named = getattr(bare(lm.model).generation_config, "eos_token_id", None)
    named = named if isinstance(named, list | tuple) else [named]
    found = [*named, lm.tokenizer.eos_token_id]
    return sorted({token for token in found if token is not None and token < lm.vocab_size})


def pads_left(lm: LanguageModel) -> bool:
    """Whether this model predicts the same after left padding as without, tried out once."""
    known = _PADS_LEFT.get(lm.model)
    if known is None:
        known = _PADS_LEFT[lm.model] = _padding_works(lm)
    return known


# --- one batch ----------------------------------------------------------------------------------


def _run(lm: LanguageModel, prompts: list[list[int]], max_new_tokens: int, **options: Any) -> Any:
    """Run Hugging Face's generation loop on left-padded prompts; the new tokens [B, at most n]."""
    longest = max(len(ids) for ids in prompts)
    ids = np.full((len(prompts), longest), lm.pad_id, dtype=np.int64)
    mask = np.zeros_like(ids)
    for line, prompt in enumerate(prompts):
        ids[line, longest - len(prompt) :] = prompt
        mask[line, longest - len(prompt) :] = 1
    found = lm.model.generate(
        input_ids=torch.from_numpy(ids).to(lm.device),
        attention_mask=torch.from_numpy(mask).to(lm.device),
        max_new_tokens=max_new_tokens,
        pad_token_id=lm.pad_id,
        use_cache=True,
        **options,
    )
    return found[:, longest:] if isinstance(found, Tensor) else found


def _batches(
    lm: LanguageModel, prompts: list[list[int]], new_tokens: int, padded: bool
) -> Iterator[list[int]]:
    """Indices of prompts that go through together, longest first (the first sets the width)."""
    place = "cuda" if lm.device.type == "cuda" else "cpu"
    tokens, lines = _BATCH_TOKENS[place], _BATCH_LINES[place]
    batch: list[int] = []
    width = 0
    for index in sorted(range(len(prompts)), key=lambda index: -len(prompts[index])):
        length = len(prompts[index])
        full = len(batch) >= lines or (len(batch) + 1) * (width + new_tokens) > tokens
        if batch and (full or (length != width and not padded)):
            yield batch
            batch = []
        if not batch:
            width = length
        batch.append(index)
    if batch:
        yield batch


def _decode(lm: LanguageModel, line: list[int], ends: list[int], stop: Sequence[str]) -> str:
    end = next((place for place, token in enumerate(line) if token in ends), len(line))
    text = lm.tokenizer.decode(line[:end], skip_special_tokens=True)
    for mark in stop:
        if mark:
            text = text.split(mark)[0]
    return text


class _Draw(LogitsProcessor):
    """Leaves only the drawn token possible, so that the greedy loop takes it.

    The draw inverts the cumulative distribution, over tokens in the order of their ids, at a number
    that is given. The order of their probabilities would not do: rounding swaps near equals.
    """

    def __init__(
        self, sampling: Sampling, noise: np.ndarray, width: int, device: torch.device
    ) -> None:
        self.sampling, self.width = sampling, width
        self.noise = torch.from_numpy(noise).to(device)  # [B, new tokens], each in [0, 1)

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        step = input_ids.shape[1] - self.width
        share = torch.softmax(scores.double() / self.sampling.temperature, dim=-1)
        share = self._likely_enough(share)
        reach = share.cumsum(dim=-1)
        # Below the total even after rounding, so that some token always lies above it.
        target = self.noise[:, step : step + 1] * reach[:, -1:] * (1 - 1e-12)
        chosen = torch.searchsorted(reach, target, right=True)
        return torch.full_like(scores, -torch.inf).scatter(-1, chosen, 0.0)

    def _likely_enough(self, share: Tensor) -> Tensor:
        """The probabilities with those outside top-k and top-p (nucleus) set to zero."""
        top_p, top_k = self.sampling.top_p, self.sampling.top_k
        if top_p == 1 and not top_k:
            return share
        ranked, order = share.sort(dim=-1, descending=True, stable=True)
        kept = ranked.cumsum(dim=-1) - ranked < top_p
        if top_k:
            kept[:, top_k:] = False
        return share * torch.zeros_like(kept).scatter(-1, order, kept)


class _StopAt(StoppingCriteria):
    """Ends a line once a stop string stands in what was generated."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, stop: Sequence[str], width: int) -> None:
        self.tokenizer, self.width = tokenizer, width
        self.stop = [mark for mark in stop if mark]
        # Every token holds at least one byte, so a string of n bytes ends within n tokens.
        self.tail = max((len(mark.encode()) for mark in self.stop), default=0) + 2

    def __call__(self, input_ids: Tensor, scores: Any, **_: Any) -> Tensor:
        new = input_ids[:, self.width :][:, -self.tail :].tolist()
        texts = self.tokenizer.batch_decode(new)
        done = [any(mark in text for mark in self.stop) for text in texts]
        return torch.tensor(done, device=input_ids.device)


# --- preparing ----------------------------------------------------------------------------------


def _prompt_ids(lm: LanguageModel, prompts: Sequence[str]) -> list[list[int]]:
    encoded = encode(lm, prompts)
    if all(encoded):
        return encoded
    start = lm.start_id
    if start is None:
        raise DataError(
            f"The tokenizer of {lm.name} has neither a BOS nor an EOS token, so generation cannot "
            "start from nothing. Give a prompt that is not empty."
        )
    return [ids or [start] for ids in encoded]


def _noise(prompts: Sequence[str], count: int, seed: int) -> np.ndarray:
    """float64 [prompts, count] in [0, 1): drawn from (seed, prompt, how often it came before)."""
    before: Counter[str] = Counter()
    lines = np.empty((len(prompts), count))
    for line, prompt in zip(lines, prompts, strict=True):
        name = f"{seed} {before[prompt]} {prompt}".encode("utf-8", "surrogatepass")
        before[prompt] += 1
        own = torch.Generator().manual_seed(
            int.from_bytes(hashlib.sha256(name).digest()[:8], "big") >> 1
        )
        line[:] = torch.rand(count, generator=own, dtype=torch.float64).numpy()
    return lines


_PADS_LEFT: weakref.WeakKeyDictionary[nn.Module, bool] = weakref.WeakKeyDictionary()


def _padding_works(lm: LanguageModel) -> bool:
    """Compare the logits of two steps for a short prompt alone and beside a longer one."""
    if lm.max_length < 10:
        return False
    prompts = [[index % lm.vocab_size for index in range(start, stop)] for start, stop in _TRIAL]

    def logits(batch: list[list[int]]) -> Tensor:
        with _own_settings(lm.model):
            options = {"output_logits": True, "return_dict_in_generate": True, "do_sample": False}
            found = _run(lm, batch, 2, **options)
        return torch.stack([step[-1].float() for step in found.logits])

    alone, beside = logits(prompts[1:]), logits(prompts)
    tolerance = 1e-3 if lm.dtype == torch.float32 else 0.1
    return bool((alone - beside).abs().max() <= tolerance * alone.std())


_TRIAL = ((2, 9), (3, 6))


@contextlib.contextmanager
def _own_settings(model: Any) -> Iterator[None]:
    """Generation by the caller's settings alone; of the model's only the end tokens stay."""
    model = bare(model)
    kept = model.generation_config
    model.generation_config = GenerationConfig(eos_token_id=getattr(kept, "eos_token_id", None))
    try:
        yield
    finally:
        model.generation_config = kept


def _check(
    lm: LanguageModel,
    max_new_tokens: int,
    method: str,
    temperature: float,
    top_p: float,
    top_k: int,
    beams: int,
) -> None:
    if method not in METHODS:
        raise UserError(f"There is no generation method '{method}': {nearest(method, METHODS)}")
    if not 1 <= max_new_tokens < lm.max_length:
        raise UserError(
            f"max_new_tokens is {max_new_tokens}, and {lm.name} reads {lm.max_length} tokens at "
            f"once, prompt included. Give a number from 1 to {lm.max_length - 1}."
        )
    if method == "sample" and not (temperature > 0 and 0 < top_p <= 1 and top_k >= 0):
        raise UserError(
            "Sampling needs temperature > 0, 0 < top_p <= 1 and top_k >= 0; given were temperature "
            f"{temperature}, top_p {top_p}, top_k {top_k}. For temperature 0 use method='greedy'."
        )
    if method == "beam" and beams < 1:
        raise UserError(f"Beam search needs at least one beam; given were {beams}.")
