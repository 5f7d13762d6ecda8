"""How much of a training text a model recites from its beginning, and where it leaves the text.

A model is given ``prefix`` tokens of a text and goes on greedily for ``suffix`` more (discoverable
extraction, arXiv:2202.07646). One teacher-forced pass over the true suffix adds how likely it was
to be sampled (arXiv:2410.19482) and how well the model does on tokens that were targets and on
tokens that were not.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from palimpsest.core.errors import DataError, UserError
from palimpsest.core.metrics import divergence, exact_match, rouge_l
from palimpsest.core.metrics.counterfactual import share_right
from palimpsest.core.models import LanguageModel, all_logits, read_on
from palimpsest.core.progress import track
from palimpsest.core.scoring import reading, score_tokens
from palimpsest.goldfish.mask import Mask

_BATCH = 64  # texts continued side by side
COLUMNS = (
    "text", "exact", "rouge", "divergence", "left_at_masked", "logprob", "kept_right",
    "masked_right",
)  # fmt: skip


@dataclass(frozen=True)
class Recitation:
    """What came back of some texts.

    Attributes:
        table: a row for each text that was long enough: ``text`` (its place among those given);
            ``exact`` (all of the suffix); ``rouge`` (ROUGE-L F1 on ids); ``divergence`` (the first
            token of the suffix that is another one; the suffix's length if none is);
            ``left_at_masked`` (whether that token had been masked; NaN if the text was not left, or
            no mask was given); ``logprob`` (of the true suffix, nats); ``kept_right`` and
            ``masked_right`` (teacher-forced accuracy; NaN where there are no such tokens).
        generated: the generated ids, in the order of the table.
        skipped: texts shorter than prefix, suffix and offset together.
    """

    table: pd.DataFrame
    generated: list[list[int]]
    skipped: int


def recite(
    lm: LanguageModel,
    texts: Sequence[Sequence[int]],
    prefix: int,
    suffix: int,
    offset: int = 0,
    mask: Mask | None = None,
    progress: str | None = None,
) -> Recitation:
    """Let a model go on after a prefix of each text.

    Args:
        lm: the model.
        texts: token ids, as the model was trained on them.
        prefix, suffix: tokens given and tokens asked for.
        offset: tokens of the text that are left out before the prefix (positional fragility,
            arXiv:2505.13171).
        mask: of the training. It is computed from whole texts, as it was there.
        progress: label of a progress report, None for none.

    Raises:
        UserError: a prefix or suffix below 1, an offset below 0, or more than the model can read.
        DataError: no text is long enough.
    """
    _check(lm, prefix, suffix, offset)
    places = [at for at, ids in enumerate(texts) if len(ids) >= offset + prefix + suffix]
    if not places:
        raise DataError(
            f"None of the {len(texts)} texts has {offset + prefix + suffix} tokens, of which "
            f"{offset} are left out, {prefix} given and {suffix} asked for. Give longer texts or "
            "ask for less."
        )
    start = offset + prefix
    given = [list(texts[at][offset:start]) for at in places]
    true = [list(texts[at][start : start + suffix]) for at in places]
    generated = continue_greedily(lm, given, suffix, progress)
    scores = score_tokens(lm, list(zip(given, true, strict=True)))
    rows = []
    for at, made, wanted, score in zip(places, generated, true, scores, strict=True):
        keep = np.ones(suffix, dtype=bool)
        if mask is not None:
            ids = torch.tensor([list(texts[at])])
            keep = mask(ids, rows=[at])[0, start : start + suffix].numpy()
        left = divergence(made, wanted)
        kept_right, masked_right = share_right(score.token_greedy, keep)
        rows.append(
            (
                at, exact_match(made, wanted), rouge_l(made, wanted).f1, left,
                float(not keep[left]) if mask is not None and left < suffix else np.nan,
                score.logprob, kept_right, masked_right,
            )
        )  # fmt: skip
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    return Recitation(table, generated, len(texts) - len(places))


def continue_greedily(
    lm: LanguageModel, prefixes: Sequence[Sequence[int]], length: int, progress: str | None = None
) -> list[list[int]]:
    """``length`` ids after each prefix, each the likeliest (the first of equals). All prefixes are
    equally long; an end-of-text token is one like any other."""
    found: list[list[int]] = []
    with reading(lm.model), track(len(prefixes), progress, unit="text") as bar:
        for begin in range(0, len(prefixes), _BATCH):
            lines = torch.tensor([list(one) for one in prefixes[begin : begin + _BATCH]])
            found += _continued(lm, lines.to(lm.device), length).tolist()
            bar.update(len(lines))
    return found


def _continued(lm: LanguageModel, lines: Tensor, length: int) -> Tensor:
    size, past, keeps = lines.shape[1], None, True
    for _ in range(length):
        if keeps:
            out = read_on(lm.model, lines if past is None else lines[:, -1:], past)
            logits, past = out.logits, getattr(out, "past_key_values", None)
            keeps = past is not None
        else:  # such as a recurrent network, whose state goes by another name
            logits = all_logits(lm.model, lines)
        lines = torch.cat([lines, logits[:, -1].float().argmax(dim=-1, keepdim=True)], dim=1)
    return lines[:, size:]


def _check(lm: LanguageModel, prefix: int, suffix: int, offset: int) -> None:
    for name, value, least in (("prefix", prefix, 1), ("suffix", suffix, 1), ("offset", offset, 0)):
        if value < least:
            raise UserError(f"{name} is {value}; at least {least} was expected.")
    if prefix + suffix > lm.max_length + 1:
        raise UserError(
            f"A prefix of {prefix} and a suffix of {suffix} tokens are more than the "
            f"{lm.max_length} that {lm.name} reads at once. Make one of them shorter."
        )
