"""Is it gone? The truth ratio, and how far apart two models are on the same questions."""

import math
import warnings

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special, stats

from palimpsest.core.stats import TAIL, WEIGHTS_AT_ONCE, Factor, Interval, Labels, Seed, pooled

Floats = NDArray[np.float64]

# The pointwise spread of a distance is looked up at this many places, which bounds the memory.
PLACES = 400


def truth_ratio(right: ArrayLike, wrong: ArrayLike) -> Floats:
    """How probable wrong answers are, on average, against the right one (Maini et al.,
    arXiv:2401.06121; unlearning digest, section 3.2).

    TR = mean_k P(wrong_k) / P(right) with P the length-normalised probability, exp of the mean
    log-probability of a token. Below 1 the model prefers the truth.

    Args:
        right: [N] mean token log-probability of the (paraphrased) right answer.
        wrong: [N, K] the same of the wrong answers; NaN where a question has fewer than K.

    Returns:
        [N] ratios; NaN for a question without wrong answers.
    """
    truth, lies, there = _answers(right, wrong)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        mean = special.logsumexp(lies, axis=1, b=there) - np.log(there.sum(axis=1))
        return np.where(there.any(axis=1), np.exp(mean - truth), math.nan)


def truth_ratio_geometric(right: ArrayLike, wrong: ArrayLike) -> Floats:
    """As :func:`truth_ratio` with the geometric mean over the wrong answers, which is what the
    public code computes: it averages losses before the exponential. Never larger than the other."""
    truth, lies, there = _answers(right, wrong)
    with np.errstate(invalid="ignore", over="ignore"):
        return np.exp((lies * there).sum(axis=1) / there.sum(axis=1) - truth)


def indifference(ratios: ArrayLike) -> Floats:
    """min(TR, 1/TR): 1 where right and wrong answers are equally probable. TOFU's score on the
    forget set, one number a question."""
    ratio = np.asarray(ratios, dtype=np.float64)
    with np.errstate(divide="ignore"):
        return np.minimum(ratio, 1 / ratio)


def truthfulness(ratios: ArrayLike) -> Floats:
    """max(0, 1 − TR): 1 where only the truth is probable. TOFU's score away from the forget set,
    one number a question."""
    return np.maximum(0.0, 1 - np.asarray(ratios, dtype=np.float64))


def ks_distance(
    first: ArrayLike,
    second: ArrayLike,
    first_clusters: Labels | None = None,
    second_clusters: Labels | None = None,
    draws: int = 2000,
    seed: Seed = 0,
) -> Interval:
    """The largest gap between two distribution functions, with an interval.

    The distance itself is biased: resampled data are always further apart than the data are. So the
    interval is built from the whole curve of gaps Δ(x). Its low end is what remains if the curve is
    lowered everywhere by the largest deviation that resampling makes anywhere (97.5 % of the
    draws); its high end adds the largest deviation that resampling makes at any one place, since
    the true gap lies at one place. Two samples of one distribution have a low end of 0 in about
    97 % of cases, and the high end is cautious.

    Args:
        first, second: values of two groups, or of two models on the same questions (then the
            interval is wider than it need be, never narrower, if the two go up and down together).
    """
    one, other = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    values, factor = pooled(one, other, first_clusters, second_clusters)
    if not len(one) or not len(other) or np.isnan(values).any():
        return Interval(math.nan, math.nan, math.nan, factor.units)
    curve = _Gaps.of(values, np.arange(len(values)) < len(one))
    gaps = curve(np.ones((1, len(values))))[0]
    distance = float(np.abs(gaps).max())
    sizes = np.bincount(factor.strata)
    if sizes.min() < 2:
        return Interval(distance, 0.0, 1.0, factor.units)
    anywhere, here = _deviations(curve, gaps, factor, draws, np.random.default_rng(seed))
    size = sizes.min()
    small = stats.t.isf(TAIL, size - 1) / stats.norm.isf(TAIL) * math.sqrt(size / (size - 1))
    low, high = max(0.0, distance - small * anywhere), min(1.0, distance + small * here)
    return Interval(distance, float(low), float(high), factor.units)


def ks_p_value(first: ArrayLike, second: ArrayLike) -> float:
    """Exact two-sided p-value of the two-sample Kolmogorov–Smirnov test, for independent values.

    TOFU's forget quality is this number. Do not read a large one as forgetting, do not average it,
    and do not compare it across sizes: see :func:`ks_smallest_p`, and prefer :func:`ks_distance`.
    """
    one, other = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if not len(one) or not len(other) or np.isnan(one).any() or np.isnan(other).any():
        return math.nan
    with warnings.catch_warnings():
        # Where samples are nearly equal, rounding takes the exact value above 1, and scipy gives
        # the asymptotic one, which is 1 there too.
        warnings.filterwarnings("ignore", message=".*Exact calculation unsuccessful.*")
        return float(stats.ks_2samp(one, other, method="exact").pvalue)


def ks_smallest_p(n: int, m: int) -> float:
    """The p-value at which the test saturates, that of two samples which are wholly apart:
    2 / C(n + m, n). For 40 and 40 that is 1.86e-23, and no data can give less (unlearning digest,
    section 3.2)."""
    log_ways = math.lgamma(n + m + 1) - math.lgamma(n + 1) - math.lgamma(m + 1)
    return min(1.0, 2 * math.exp(-log_ways))


def privacy_leak(unlearned: float, retrained: float) -> float:
    """MUSE's PrivLeak, (AUC(θ_u) − AUC(θ_r)) / AUC(θ_r), to compare with published tables only.

    It divides by a number that may be near 0 (values of 5215 have been published); what to report
    is ``auc_difference`` with its interval (unlearning digest, section 3.1). NaN if AUC(θ_r) is 0.
    """
    return (unlearned - retrained) / retrained if retrained else math.nan


def _answers(right: ArrayLike, wrong: ArrayLike) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    truth, lies = np.asarray(right, dtype=np.float64), np.asarray(wrong, dtype=np.float64)
    if lies.ndim != 2 or truth.shape != lies.shape[:1]:
        raise ValueError(
            f"right answers [N] and wrong answers [N, K] were expected, not {truth.shape} and "
            f"{lies.shape}"
        )
    there = ~np.isnan(lies)
    return truth, np.where(there, lies, 0.0), there


class _Gaps:
    """F₁ − F₂ at every place where it may change, for weights of the pooled values."""

    def __init__(
        self, order: NDArray[np.intp], is_first: NDArray[np.bool_], ends: NDArray[np.intp]
    ) -> None:
        self.order, self.is_first, self.ends = order, is_first, ends

    @classmethod
    def of(cls, values: Floats, is_first: NDArray[np.bool_]) -> "_Gaps":
        order = np.argsort(values, kind="stable")
        ranked = values[order]
        ends = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))
        return cls(order, is_first[order], ends)

    def __call__(self, weights: Floats) -> Floats:
        ranked = weights[:, self.order]
        parts = []
        for side in (self.is_first, ~self.is_first):
            steps = np.cumsum(ranked * side, axis=1)
            parts.append(steps[:, self.ends] / steps[:, -1:])
        return parts[0] - parts[1]


def _deviations(
    curve: _Gaps, gaps: Floats, factor: Factor, draws: int, rng: np.random.Generator
) -> tuple[float, float]:
    """By how much resampling moves the curve: anywhere, and at the one place where most."""
    places = np.unique(np.linspace(0, len(gaps) - 1, min(PLACES, len(gaps))).astype(np.intp))
    largest, moves = [], []
    at_once = max(1, WEIGHTS_AT_ONCE // len(factor.codes))
    for start in range(0, draws, at_once):
        weights = factor.draw(min(at_once, draws - start), rng)[:, factor.codes]
        moved = curve(weights) - gaps
        largest.append(np.abs(moved).max(axis=1))
        moves.append(moved[:, places])
    ends = np.quantile(np.concatenate(moves), [TAIL, 1 - TAIL], axis=0)
    return float(np.quantile(np.concatenate(largest), 1 - TAIL)), float(np.abs(ends).max())
