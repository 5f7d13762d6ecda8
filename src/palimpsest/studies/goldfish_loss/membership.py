"""Can one still tell that a text was read?

Membership scores (``core.metrics.membership``) on documents that were learned by heart, against
twins that nobody read. A goldfish model never sees masked tokens as targets, but it sees all others
as often as any model does; who knows the mask scores those alone.
"""

from typing import Any

import numpy as np
import pandas as pd
import torch

from palimpsest.core import plots, stats
from palimpsest.core.metrics import membership
from palimpsest.core.results import Claim, Figure, Result, Value
from palimpsest.core.study import Context, study
from palimpsest.studies import verbatim_reading as readings
from palimpsest.studies.goldfish_loss import cast, looks
from palimpsest.studies.verbatim_training import K

SCORES = ("loss", "zlib", "Min-K%", "Min-K%++", "reference", "kept tokens", "masked tokens")
RATES = (0.01, 0.001)
SHARE = 0.2


def null_membership(seed: int, members: int = 100, twins: int = 400) -> dict[str, Value]:
    """The claims' measures on random scores: nothing tells members from others, in either model,
    and kept tokens tell no more than all."""
    rng = np.random.default_rng(seed)

    def scores() -> tuple[np.ndarray, np.ndarray]:
        return rng.normal(size=members), rng.normal(size=twins)

    one, other = scores(), scores()
    differ = [
        membership.auc_difference(first, second, draws=400, seed=seed)
        for first, second in ((one, other), (scores(), one))
    ]
    return {
        "auc_loss_k4": Value.of(membership.auc(*one, draws=400, seed=seed), "AUC"),
        "auc_protection": Value.of(differ[0], "AUC"),
        "auc_of_mask": Value.of(differ[1], "AUC"),
    }


@study(
    claims=[
        Claim(
            id="gl-17",
            statement="The goldfish loss does not hide that a document was read: with k = 4 the "
            "loss tells members from twins with an AUC above 0.6.",
            source="arXiv:2406.10209, reported second-hand: membership inference is weakened, not "
            "removed",
            grade="S2",
            measure="auc_loss_k4",
            rule="auc_loss_k4 > 0.6",
        ),
        Claim(
            id="gl-18",
            statement="It hides something: the AUC is lower than with the standard loss.",
            source="arXiv:2406.10209, reported second-hand: membership inference is weakened",
            grade="S2",
            measure="auc_protection",
            rule="auc_protection > 0",
        ),
        Claim(
            id="gl-19",
            statement="Who knows the mask tells more: kept tokens alone give a higher AUC than all "
            "tokens.",
            source="this book, the section on membership (derived)",
            grade="D",
            measure="auc_of_mask",
            rule="auc_of_mask > 0",
        ),
    ],
    null=null_membership,
)
def members(ctx: Context) -> Result:
    """Can members be told from twins that nobody read?"""
    scores = {k: _scores(ctx, k) for k in cast.losses(ctx)}
    values: dict[str, Value] = {}
    rows = []
    enough = len(cast.texts(ctx).twins)
    for k, found in scores.items():
        slug = f"k{k}" if k else "standard"
        for score in SCORES:
            own, others = found[score]
            if not len(own):
                continue
            area = membership.auc(own, others, seed=ctx.seed)
            values[f"auc_{_slug(score)}_{slug}"] = Value.of(area, "AUC")
            row = {"loss": cast.name(k), "score": score, "AUC": area.value}
            for rate in RATES:
                found_at = membership.tpr_at_fpr(own, others, rate, seed=ctx.seed)
                # Fewer than two expected false alarms do not resolve the rate.
                row[f"TPR at {100 * rate:g} % FPR"] = (
                    f"{found_at.value:.2f}" if rate * enough >= 2 else "not resolvable"
                )
            rows.append(row)
    standard, goldfish = scores[0], scores[K]
    values["auc_protection"] = Value.of(
        membership.auc_difference(standard["loss"], goldfish["loss"], seed=ctx.seed), "AUC"
    )
    values["auc_of_mask"] = Value.of(
        membership.auc_difference(goldfish["kept tokens"], goldfish["loss"], seed=ctx.seed), "AUC"
    )
    values["masked_seen"] = _masked_seen(ctx)
    return Result(
        values=values,
        tables={"members": pd.DataFrame(rows)},
        figures={
            "members": Figure(
                _draw_members(values, cast.losses(ctx)), *_members_words(values, ctx, enough)
            )
        },
    )


def _slug(score: str) -> str:
    return (
        score.lower().replace("%++", "_plus").replace("%", "").replace("-", "_").replace(" ", "_")
    )


def _scores(ctx: Context, k: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Score -> (of members, of twins); the larger the likelier a member."""
    texts, p = cast.texts(ctx), ctx.parameters
    found: dict[str, list[np.ndarray]] = {score: [] for score in SCORES}
    for rows in (texts.members, texts.twins):
        own = ctx.cell(readings.forced, lm=ctx.lm, weights=cast.by_heart(ctx, k).weights, rows=rows)
        start = ctx.cell(readings.forced, lm=ctx.lm, weights=None, rows=rows)
        keep = cast.mask(ctx, k or K)(torch.tensor(rows.ids)).numpy()[:, 1:]
        inside = np.arange(keep.shape[1]) >= p.h  # heads are always kept
        words = [ctx.lm.tokenizer.decode(ids) for ids in rows.ids]
        lines = range(len(rows))
        found["loss"].append(own.logprobs.mean(1))
        found["zlib"].append(
            np.array([membership.zlib_score(own.logprobs[at], words[at]) for at in lines])
        )
        found["Min-K%"].append(
            np.array([membership.min_k(own.logprobs[at], SHARE) for at in lines])
        )
        found["Min-K%++"].append(
            np.array(
                [
                    membership.min_k_plus_plus(
                        own.logprobs[at], own.means[at], own.deviations[at], SHARE
                    )
                    for at in lines
                ]
            )
        )
        found["reference"].append((own.logprobs - start.logprobs).mean(1))
        found["kept tokens"].append(_mean_where(own.logprobs, keep & inside))
        found["masked tokens"].append(_mean_where(own.logprobs, ~keep & inside))
    whole = {}
    for score, (own, others) in found.items():
        own, others = own[np.isfinite(own)], others[np.isfinite(others)]
        both = len(own) > 2 and len(others) > 2
        whole[score] = (own, others) if both else (np.empty(0), np.empty(0))
    return whole


def _mean_where(values: np.ndarray, where: np.ndarray) -> np.ndarray:
    """[N]: the mean of each row over some columns; NaN without any."""
    counts = where.sum(1)
    sums = np.where(where, values, 0.0).sum(1)
    return np.divide(sums, counts, out=np.full(len(values), np.nan), where=counts > 0)


def _masked_seen(ctx: Context) -> Value:
    """How much better masked tokens of members are known than the same places of twins (k = 4),
    beyond what the start model knows: nats. Above 0 where context learned beside them gives them
    away."""
    texts, p = cast.texts(ctx), ctx.parameters
    gains = []
    for rows in (texts.members, texts.twins):
        own = ctx.cell(readings.forced, lm=ctx.lm, weights=cast.by_heart(ctx, K).weights, rows=rows)
        start = ctx.cell(readings.forced, lm=ctx.lm, weights=None, rows=rows)
        keep = cast.mask(ctx, K)(torch.tensor(rows.ids)).numpy()[:, 1:]
        inside = np.arange(keep.shape[1]) >= p.h
        one = _mean_where(own.logprobs - start.logprobs, ~keep & inside)
        gains.append(one[np.isfinite(one)])
    return Value.of(stats.difference(*gains, seed=ctx.seed), "nats")


def _draw_members(values: dict[str, Value], losses: list[int]) -> Any:
    figure, axes = plots.figure(7.2, 0.5 * len(SCORES) + 1.6)
    for place, k in enumerate(losses):
        slug = f"k{k}" if k else "standard"
        colour, marker = looks.look_of(k, losses)
        heights = np.arange(len(SCORES)) + 0.75 * ((place + 0.5) / len(losses) - 0.5)
        own = [values.get(f"auc_{_slug(score)}_{slug}", Value(None)) for score in SCORES]
        ends = [one.ci95 or (np.nan, np.nan) for one in own]
        axes.hlines(
            heights, [low for low, _ in ends], [high for _, high in ends], color=colour, lw=1.3
        )
        axes.plot(
            [np.nan if one.value is None else one.value for one in own], heights, marker,
            color=colour, ms=5.5, mec="white", mew=0.4, label=cast.name(k),
        )  # fmt: skip
    axes.axvline(0.5, color=plots.INK, lw=0.8, ls="--")
    axes.set_yticks(range(len(SCORES)), SCORES)
    axes.invert_yaxis()
    axes.set_xlabel("AUC, documents learned by heart against twins")
    return looks.finish(figure, axes)


def _members_words(values: dict[str, Value], ctx: Context, twins: int) -> tuple[str, str]:
    def one(k: int) -> str:
        slug = f"k{k}" if k else "standard"
        return f"{cast.name(k)} {looks.told(values[f'auc_loss_{slug}'])}"

    numbers = "; ".join(one(k) for k in cast.losses(ctx))
    caption = (
        f"Telling {ctx.parameters.documents} documents from {twins} twins that nobody read, by "
        f"score and loss. AUC of the loss: {numbers}. The reference is the model before. Bars are "
        "95 % intervals over documents; dashed, chance."
    )
    return caption, f"Rows of dots, one row a score, one mark a loss. AUC of the loss: {numbers}."


STUDIES = (members,)
