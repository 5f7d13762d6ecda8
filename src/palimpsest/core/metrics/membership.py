"""Was this text trained on? Scores of single texts, and how well scores tell two sets apart.

Every score is larger for texts more likely to be members, so that an AUC above 0.5 means members
are recognised. An AUC *below* 0.5 betrays membership as well: a model that was pushed too far finds
the forgotten texts less likely than texts it never saw (unlearning digest, section 1.3).
:func:`distance_from_chance` counts both.

The two sets must be exchangeable but for their membership; if they are not, the AUC of the
retrained model is not 0.5 either, and only the difference to it says anything (section 3.4).
"""

import math
import zlib
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from palimpsest.core.stats import (
    FEW,
    Factor,
    Interval,
    Labels,
    Seed,
    bootstrap,
    exact_limits,
    limits_of_difference,
    pooled,
)

Floats = NDArray[np.float64]

# Fewer clusters than this on the wrong side of the other set, and an AUC's spread cannot be told.
OVERLAP = 3


def loss_score(token_logprobs: ArrayLike) -> float:
    """Mean log-probability of the tokens (Yeom et al. 2018): minus the loss. NaN without tokens."""
    logprobs = np.asarray(token_logprobs, dtype=np.float64)
    return float(logprobs.mean()) if logprobs.size else math.nan


def zlib_score(token_logprobs: ArrayLike, text: str) -> float:
    """Minus the text's bits under the model as a share of its bits under zlib (Carlini et al. 2021,
    arXiv:2012.07805), both in total, so that long texts are not favoured (goldfish digest,
    section 4)."""
    logprobs = np.asarray(token_logprobs, dtype=np.float64)
    compressed = 8 * len(zlib.compress(text.encode("utf-8")))
    return float(logprobs.sum() / math.log(2) / compressed) if logprobs.size else math.nan


def min_k(token_logprobs: ArrayLike, share: float = 0.2) -> float:
    """Mean of the lowest ``share`` of the token log-probabilities, at least one (Shi et al.,
    arXiv:2310.16789). NaN without tokens."""
    logprobs = np.asarray(token_logprobs, dtype=np.float64)
    if not 0 < share <= 1:
        raise ValueError(f"the share of tokens must be above 0 and at most 1, not {share}")
    if logprobs.size == 0:
        return math.nan
    count = max(1, int(share * logprobs.size))
    return float(np.partition(logprobs, count - 1)[:count].mean())


def min_k_plus_plus(
    token_logprobs: ArrayLike, means: ArrayLike, deviations: ArrayLike, share: float = 0.2
) -> float:
    """Min-K after standardising each token by the model's own prediction there (Zhang et al.,
    arXiv:2404.02936).

    Args:
        token_logprobs: [T] log-probability of each token.
        means, deviations: [T] mean and standard deviation of log p over the vocabulary, both under
            p. Where the deviation is 0 the model is certain and the token says nothing: it is 0.
        share: of the tokens, the lowest.
    """
    logprobs = np.asarray(token_logprobs, dtype=np.float64)
    spread = np.asarray(deviations, dtype=np.float64)
    away = logprobs - np.asarray(means, dtype=np.float64)
    return min_k(np.divide(away, spread, out=np.zeros_like(away), where=spread > 0), share)


def auc(
    members: ArrayLike,
    others: ArrayLike,
    member_clusters: Labels | None = None,
    other_clusters: Labels | None = None,
    draws: int = 2000,
    seed: Seed = 0,
) -> Interval:
    """The chance that a member scores above another text, ties counting half.

    Clusters are resampled within members and within others. Where fewer than three clusters of
    either set reach into the range of the other, the bootstrap sees too little, and the interval
    takes in that of a share among as many trials as the smaller set has clusters.
    """
    one, other = np.asarray(members, dtype=np.float64), np.asarray(others, dtype=np.float64)
    scores, factor = pooled(one, other, member_clusters, other_clusters)
    is_member = np.arange(len(scores)) < len(one)
    area = _Ranking.of(scores, is_member).area
    interval = bootstrap(area, [factor], scores, draws, seed, (0.0, 1.0))
    if math.isnan(interval.value) or not _nearly_apart(scores, is_member, factor):
        return interval
    return _widened(interval, np.bincount(factor.strata).min())


def auc_difference(
    first: tuple[ArrayLike, ArrayLike],
    second: tuple[ArrayLike, ArrayLike],
    member_clusters: Labels | None = None,
    other_clusters: Labels | None = None,
    draws: int = 2000,
    seed: Seed = 0,
) -> Interval:
    """AUC of one model minus AUC of another on the same texts, such as θ_u minus θ_r.

    This takes the place of MUSE's PrivLeak, which divides by an AUC that may be near 0 (unlearning
    digest, section 3.1). Texts are resampled with both models' scores.

    Args:
        first, second: (scores of members, scores of others) under each model, in the same order.

    Raises:
        ValueError: the two models were not scored on the same numbers of texts.
    """
    one = [np.asarray(scores, dtype=np.float64) for scores in first]
    other = [np.asarray(scores, dtype=np.float64) for scores in second]
    if [len(scores) for scores in one] != [len(scores) for scores in other]:
        raise ValueError("both models must be scored on the same members and the same other texts")
    scores, factor = pooled(*one, member_clusters, other_clusters)
    is_member = np.arange(len(scores)) < len(one[0])
    minuend, subtrahend = (_Ranking.of(np.concatenate(both), is_member) for both in (one, other))

    def gap(weights: Floats) -> Floats:
        return minuend.area(weights) - subtrahend.area(weights)

    data = np.stack([scores, np.concatenate(other)])
    interval = bootstrap(gap, [factor], data, draws, seed, (-1.0, 1.0))
    if math.isnan(interval.value) or np.array_equal(*data):
        return interval
    if not any(_nearly_apart(row, is_member, factor) for row in data):
        return interval
    areas = [auc(*sides, member_clusters, other_clusters, draws, seed) for sides in (one, other)]
    limits = [(area.low, area.high) for area in areas]
    low, high = limits_of_difference(areas[0].value, limits[0], areas[1].value, limits[1])
    return replace(interval, low=min(low, interval.low), high=max(high, interval.high))


def distance_from_chance(area: Interval) -> Interval:
    """|AUC − 0.5|: what membership leaks in either direction. Its low end is 0 where the interval
    of the AUC holds 0.5."""
    ends = abs(area.low - 0.5), abs(area.high - 0.5)
    low = 0.0 if area.low <= 0.5 <= area.high else min(ends)
    return Interval(abs(area.value - 0.5), low, max(ends), area.n)


def tpr_at_fpr(
    members: ArrayLike,
    others: ArrayLike,
    rate: float = 0.01,
    member_clusters: Labels | None = None,
    other_clusters: Labels | None = None,
    draws: int = 2000,
    seed: Seed = 0,
) -> Interval:
    """The share of members flagged by the most liberal threshold that flags at most ``rate`` of the
    others (Carlini et al., arXiv:2112.03570). The threshold is found anew in every draw.

    With fewer than 1/rate others the threshold is their highest score, and the true rate above it
    may well be larger than asked for: the low end is then 0.

    Raises:
        ValueError: the rate is not in [0, 1).
    """
    if not 0 <= rate < 1:
        raise ValueError(f"the rate of false positives must be at least 0 and below 1, not {rate}")
    one, other = np.asarray(members, dtype=np.float64), np.asarray(others, dtype=np.float64)
    scores, factor = pooled(one, other, member_clusters, other_clusters)
    ranking = _Ranking.of(-scores, np.arange(len(scores)) < len(one))

    def statistic(weights: Floats) -> Floats:
        hits, alarms = ranking.split(weights)
        at_or_above = np.cumsum(alarms, axis=1)[:, ranking.last_of_tie]
        # Counts are whole, so a little slack absorbs the rounding of rate * total and nothing else.
        total = alarms.sum(axis=1)
        flagged = hits * (at_or_above <= rate * total[:, None] + 1e-6)
        with np.errstate(invalid="ignore"):
            return np.where(total > 0, flagged.sum(axis=1) / hits.sum(axis=1), math.nan)

    interval = bootstrap(statistic, [factor], scores, draws, seed, (0.0, 1.0))
    if math.isnan(interval.value):
        return interval
    clusters = int((factor.strata == 0).sum())
    if min(interval.value, 1 - interval.value) * clusters < FEW:
        interval = _widened(interval, clusters)
    return interval if rate * len(other) >= 1 else replace(interval, low=0.0)


@dataclass(frozen=True)
class _Ranking:
    """Texts in ascending order of a score, with where ties begin and end."""

    order: NDArray[np.intp]
    is_member: NDArray[np.bool_]
    first_of_tie: NDArray[np.intp]
    last_of_tie: NDArray[np.intp]

    @classmethod
    def of(cls, scores: Floats, is_member: NDArray[np.bool_]) -> "_Ranking":
        order = np.argsort(scores, kind="stable")
        ranked = scores[order]
        first = np.searchsorted(ranked, ranked, side="left")
        last = np.searchsorted(ranked, ranked, side="right") - 1
        return cls(order, is_member[order], first, last)

    def split(self, weights: Floats) -> tuple[Floats, Floats]:
        """Weights [D, N] of the ranked texts as (of members, of others), 0 elsewhere."""
        ranked = weights[:, self.order]
        return ranked * self.is_member, ranked * ~self.is_member

    def area(self, weights: Floats) -> Floats:
        """The AUC of each row of weights [D, N]; NaN where a side is empty."""
        members, others = self.split(weights)
        up_to = np.cumsum(others, axis=1)
        below_or_tied = up_to[:, self.last_of_tie]
        below = (up_to - others)[:, self.first_of_tie]
        won = (members * (below + below_or_tied) / 2).sum(axis=1)
        with np.errstate(invalid="ignore"):
            return won / (members.sum(axis=1) * others.sum(axis=1))


def _nearly_apart(scores: Floats, is_member: NDArray[np.bool_], factor: Factor) -> bool:
    """Whether so few clusters reach into the other set's range that their spread cannot be told."""
    members, others = scores[is_member], scores[~is_member]
    codes, other_codes = factor.codes[is_member], factor.codes[~is_member]
    above = codes[members <= others.max()], other_codes[others >= members.min()]
    below = codes[members >= others.min()], other_codes[others <= members.max()]
    return any(min(len(np.unique(part)) for part in parts) < OVERLAP for parts in (above, below))


def _widened(interval: Interval, n: float) -> Interval:
    """The interval, or where it ends nearer, that of a share of ``n`` trials."""
    low, high = exact_limits(interval.value, n)
    return replace(interval, low=min(low, interval.low), high=max(high, interval.high))
