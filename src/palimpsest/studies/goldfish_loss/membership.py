"""Can one still tell that a text was read?

Membership scores (``core.metrics.membership``) on documents told among ordinary text, against twins
that nobody read. A goldfish model never has masked tokens as targets, but all others as often as
any model; who knows the mask scores those alone. The reference is the model of another seed, which
was told the other half: the same recipe without the document.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch

from palimpsest.core import plots
from palimpsest.core.metrics import membership
from palimpsest.core.results import Claim, Figure, Result, Value
from palimpsest.core.study import Context, study
from palimpsest.goldfish.mask import HashedMask
from palimpsest.studies import verbatim_reading as readings
from palimpsest.studies.goldfish_loss import cast, looks
from palimpsest.studies.goldfish_loss.told import SHOWN
from palimpsest.studies.verbatim_texts import Rows
from palimpsest.studies.verbatim_training import STANDARD, TELLINGS, K

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
            "loss tells even documents told once from twins with an AUC above 0.6.",
            source="arXiv:2406.10209, reported second-hand: membership inference is weakened, not "
            "removed",
            grade="known",
            measure="auc_loss_k4",
            rule="auc_loss_k4 > 0.6",
        ),
        Claim(
            id="gl-18",
            statement="It hides something: for documents told once the AUC is lower than with the "
            "standard loss.",
            source="arXiv:2406.10209, reported second-hand: membership inference is weakened",
            grade="known",
            measure="auc_protection",
            rule="auc_protection > 0",
        ),
        Claim(
            id="gl-19",
            statement="Who knows the mask tells more: for documents told once kept tokens alone "
            "give a higher AUC than all tokens.",
            source="this book, the section on membership (derived; arXiv:2406.10209 has no such "
            "score, as far as it could be read)",
            grade="ours",
            measure="auc_of_mask",
            rule="auc_of_mask > 0",
        ),
    ],
    null=null_membership,
)
def members(ctx: Context) -> Result:
    """Can documents that were told be told from twins that nobody read?"""
    scored = {name: _scored(ctx, *way) for name, way in SHOWN.items()}
    values: dict[str, Value] = {}
    rows = []
    for name, found in scored.items():
        for times in TELLINGS:
            for score in SCORES:
                if score not in found.told:
                    continue
                area = membership.auc(*found.sides(score, times), seed=ctx.seed)
                values[f"auc_{_slug(score)}_{name}_{times}"] = Value.of(area, "AUC")
                row = {"loss": name, "told": times, "score": score, "AUC": area.value}
                for rate in RATES:
                    hits = share_found(*found.sides(score, times), rate)
                    # Fewer than two expected false alarms do not resolve the rate.
                    resolved = rate * found.twins >= 2
                    row[f"TPR at {100 * rate:g} % FPR"] = (
                        f"{hits:.2f}" if resolved else "not resolvable"
                    )
                rows.append(row)
    standard, goldfish = scored[STANDARD], scored["goldfish"]
    values["auc_loss_k4"] = values["auc_loss_goldfish_1"]
    values["auc_protection"] = _differ(standard, "loss", goldfish, "loss", ctx.seed)
    values["auc_of_mask"] = _differ(goldfish, "kept tokens", goldfish, "loss", ctx.seed)
    return Result(
        values=values,
        tables={"members": pd.DataFrame(rows)},
        figures={"members": Figure(_draw_members(values), *_members_words(values, goldfish.twins))},
    )


@dataclass(frozen=True)
class Scored:
    """Membership scores, the larger the likelier read, over all seeds.

    Attributes:
        told: score -> [M], of documents that were told.
        others: score -> [N], of twins.
        times: [M], how often each was told.
        twins: how many different twins there are.
    """

    told: dict[str, np.ndarray]
    others: dict[str, np.ndarray]
    times: np.ndarray
    twins: int

    def sides(self, score: str, times: int) -> tuple[np.ndarray, np.ndarray]:
        """Scores of documents told so often, and of twins."""
        return self.told[score][self.times == times], self.others[score]


def share_found(told: np.ndarray, others: np.ndarray, rate: float) -> float:
    """The value of ``core.metrics.membership.tpr_at_fpr``, without its interval, which takes a
    hundred times as long: the table has many."""
    allowed = int(rate * len(others) + 1e-6)
    threshold = np.sort(others)[len(others) - 1 - allowed]
    return float((told > threshold).mean())


def _differ(first: Scored, one: str, second: Scored, other: str, seed: int) -> Value:
    """AUC of one score of a model minus that of another, for documents told once."""
    times = TELLINGS[0]
    sides = first.sides(one, times), second.sides(other, times)
    return Value.of(membership.auc_difference(*sides, seed=seed), "AUC")


def _scored(ctx: Context, method: str, strength: float) -> Scored:
    """All scores of a method's trainings; each seed's are measured from the mean of its twins, so
    that models of different seeds can be pooled."""
    told: dict[str, list[np.ndarray]] = {}
    others: dict[str, list[np.ndarray]] = {}
    times: list[int] = []
    seeds = cast.seeds(ctx)
    rows = cast.small_texts(ctx).told
    twins = cast.small_texts(ctx).twins
    for seed in seeds:
        half = cast.half(ctx, seed)
        times += half.tellings
        elsewhere = next((one for one in seeds if one % 2 != seed % 2), None)
        for which, into in (("told", told), ("others", others)):
            own = _read(ctx, method, strength, seed, which)
            other = None if elsewhere is None else _read(ctx, method, strength, elsewhere, which)
            found = scores_of(own, other, twins if which == "others" else rows, ctx)
            for score, values in found.items():
                chosen = values[list(half.told)] if which == "told" else values
                into.setdefault(score, []).append(chosen)
    for score in told:
        for own, other in zip(told[score], others[score], strict=True):
            middle = float(np.nanmean(other))
            own -= middle
            other -= middle
    # A document without a masked, or without a kept, token has no such score.
    return Scored(
        {score: _filled(np.concatenate(parts)) for score, parts in told.items()},
        {score: _filled(np.concatenate(parts)) for score, parts in others.items()},
        np.array(times), len(twins),
    )  # fmt: skip


def _filled(values: np.ndarray) -> np.ndarray:
    """The values, with the mean of twins (0) where there is none."""
    return np.nan_to_num(values, nan=0.0)


def _read(ctx: Context, method: str, strength: float, seed: int, which: str) -> readings.Forced:
    texts = cast.small_texts(ctx)
    return ctx.cell(
        readings.forced, lm=cast.small(ctx),
        weights=cast.ordinary(ctx, method, strength, seed).weights,
        rows=texts.told if which == "told" else texts.twins,
    )  # fmt: skip


def scores_of(
    own: readings.Forced, other: readings.Forced | None, rows: Rows, ctx: Context
) -> dict[str, np.ndarray]:
    """Score -> [N], of each row under a model; ``other`` is the reference, if there is one."""
    tokenizer, h = cast.small(ctx).tokenizer, ctx.parameters.h
    keep = HashedMask(k=K, h=h)(torch.tensor(rows.ids)).numpy()[:, 1:]
    inside = np.arange(keep.shape[1]) >= h  # heads are always kept
    words = [tokenizer.decode(ids) for ids in rows.ids]
    lines = list(zip(own.logprobs, own.means, own.deviations, words, strict=True))
    found = {
        "loss": own.logprobs.mean(1),
        "zlib": np.array([membership.zlib_score(one, text) for one, _, _, text in lines]),
        "Min-K%": np.array([membership.min_k(one, SHARE) for one, _, _, _ in lines]),
        "Min-K%++": np.array(
            [membership.min_k_plus_plus(one, mean, spread, SHARE) for one, mean, spread, _ in lines]
        ),
        "kept tokens": _mean_where(own.logprobs, keep & inside),
        "masked tokens": _mean_where(own.logprobs, ~keep & inside),
    }
    if other is not None:
        found["reference"] = (own.logprobs - other.logprobs).mean(1)
    return {score: found[score].astype(np.float64) for score in SCORES if score in found}


def _slug(score: str) -> str:
    return (
        score.lower().replace("%++", "_plus").replace("%", "").replace("-", "_").replace(" ", "_")
    )


def _mean_where(values: np.ndarray, where: np.ndarray) -> np.ndarray:
    """[N]: the mean of each row over some columns; NaN without any."""
    counts = where.sum(1)
    sums = np.where(where, values, 0.0).sum(1)
    return np.divide(sums, counts, out=np.full(len(values), np.nan), where=counts > 0)


def _draw_members(values: dict[str, Value]) -> Any:
    figure, axes = plots.panels(2, 8.0, 4.2, share_y=True)
    palette = dict(zip(SCORES, _LOOKS, strict=True))
    places = np.arange(len(TELLINGS))
    for axis, name in zip(axes, SHOWN, strict=True):
        for place, (score, look) in enumerate(palette.items()):
            names = [f"auc_{_slug(score)}_{name}_{times}" for times in TELLINGS]
            if names[0] in values:
                shift = 0.09 * (place - (len(palette) - 1) / 2)
                looks.line(axis, places + shift, [values[one] for one in names], look, score)
        axis.axhline(0.5, color=plots.INK, lw=0.8, ls="--")
        axis.set_xticks(places, [str(times) for times in TELLINGS])
        axis.set_xlabel("times told")
        axis.set_title(name if name == STANDARD else f"k = {K}")
    axes[0].set_ylabel("AUC, told against never read")
    return looks.finish(figure, axes[0])


_LOOKS = (
    ("#262626", "o"), ("#7f7f7f", "X"), ("#56B4E9", "^"), ("#0072B2", "v"), ("#CC79A7", "s"),
    ("#D55E00", "D"), ("#E69F00", "P"),
)  # fmt: skip


def _members_words(values: dict[str, Value], twins: int) -> tuple[str, str]:
    def one(name: str) -> str:
        numbers = ", ".join(
            f"{times}: {values[f'auc_loss_{name}_{times}'].value:.2f}" for times in TELLINGS
        )
        return f"{name if name == STANDARD else f'k = {K}'}, {numbers}"

    numbers = "; ".join(one(name) for name in SHOWN)
    caption = (
        f"Telling documents that were told so often from {twins} twins that nobody read, by score. "
        f"AUC of the loss by tellings: {numbers}. Kept and masked tokens are those of the mask of "
        f"k = {K}, which the standard loss did not use. Bars are 95 % intervals over documents; "
        "dashed, chance."
    )
    return caption, f"Two panels of lines by number of tellings, one line a score. {numbers}."


STUDIES = (members,)
