"""Intervals and tests for few, clustered and unbalanced observations.

The unit of resampling is the entity, the document or the item, never the token: observations that
share a unit are drawn together (design, section 7; the adversarial-evaluation digest, section 5.3).
With some twenty units the plain percentile bootstrap is too narrow and lopsided, so every interval
here is corrected for small numbers. A 95 % interval is meant to miss on either side in about 2.5 %
of cases; the tests measure it at twenty units: below 3.5 % for even and for skewed data, and for
clustered proportions.

All functions take a seed or a numpy generator; none touches global state.
"""

import itertools
import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special, stats

TAIL = 0.025
WEIGHTS_AT_ONCE = 4_000_000
# Of fewer units than this neither the skewness nor, for a rare outcome, the spread can be told.
FEW = 6

Seed = int | np.random.Generator
Labels = Sequence[Hashable] | NDArray[np.generic]
# Weights of the observations, one row a draw [D, N] -> the statistic of each draw [D].
Weighted = Callable[[NDArray[np.float64]], NDArray[np.float64]]


@dataclass(frozen=True)
class Interval:
    """An estimate with a 95 % interval; ``n`` counts the units resampled (entities, items).

    Data that cannot give an estimate (none at all, or a NaN among them) make all three numbers NaN;
    data that can give an estimate but no interval (a single unit) make the ends infinite, or the
    bounds of the measure where it has bounds.
    """

    value: float
    low: float
    high: float
    n: int


def cluster_bootstrap(
    values: ArrayLike,
    clusters: Labels | None = None,
    statistic: str | Callable[[NDArray[np.float64]], float] = "mean",
    draws: int = 2000,
    seed: Seed = 0,
    *,
    outer: Labels | None = None,
) -> Interval:
    """A statistic of ``values`` with an interval from resampling whole clusters.

    The interval is the envelope of two that fail in different places: the expanded percentile
    interval (Hesterberg, The American Statistician 69, 2015: the tails of the normal give way to
    those of Student's t and the spread to its unbiased estimate) and Hall's transformed t (Hall,
    JRSS B 54, 1992: corrected for skewness), with jackknifed influences.

    Where fewer than six clusters have the rarer outcome of 0/1 values, the exact binomial limits at
    the effective number of observations (Korn and Graubard, Survey Methodology 24, 1998) stand in
    for the second; for changes of such values (-1, 0, 1), where fewer than six clusters change, the
    same limits of gains and losses combined (Newcombe, Statistics in Medicine 17, 1998). So values
    that are all 0 do not get an interval of no width but the limits of 0 successes among as many
    trials as there are clusters. Other constant values do get one of no width.

    Args:
        values: [N], or [N, ...] for a ``statistic`` of rows.
        clusters: [N] labels; None if every value is its own unit.
        statistic: ``"mean"`` over all values, or a function of the resampled values.
        outer: [N] labels of the outer level, the training seeds. Seeds and clusters are resampled
            independently of each other (Owen's pigeonhole bootstrap, Annals of Applied Statistics
            1, 2007), so it does not matter whether the same clusters occur under each seed. With a
            single seed the interval is about that one training run.

    Raises:
        ValueError: the lengths differ.
    """
    table = np.asarray(values, dtype=np.float64)
    factors = _factors(len(table), clusters, outer)
    if statistic == "mean":
        kind = next((kind for kind in _OUTCOMES if _among(table, _OUTCOMES[kind])), "number")
        return _mean_interval(table, kind, factors, draws, seed)
    if not callable(statistic):
        raise ValueError(f"the statistic must be 'mean' or a function, not {statistic!r}")
    return bootstrap(_repeated(table, statistic), factors, table, draws, seed)


def paired_bootstrap(
    first: ArrayLike,
    second: ArrayLike,
    clusters: Labels | None = None,
    statistic: str | Callable[[NDArray[np.float64]], float] = "mean",
    draws: int = 2000,
    seed: Seed = 0,
    *,
    outer: Labels | None = None,
) -> Interval:
    """The statistic of ``first`` minus that of ``second``, two conditions of the same rows.

    Row i of both belongs to the same cluster, and clusters are resampled with both conditions, so
    that what is easy or hard about a cluster cancels. See :func:`cluster_bootstrap`.

    Hand in outcomes (0, 1) and changes of outcomes (-1, 0, 1) as such, not as their difference:
    only then is it known how far a difference that is 0 everywhere might be from 0.
    """
    one, other = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if one.shape != other.shape:
        raise ValueError(f"paired conditions need the same rows, not {one.shape} and {other.shape}")
    factors = _factors(len(one), clusters, outer)
    if statistic == "mean":
        both = np.stack([one, other])
        for span, kind in enumerate(_OUTCOMES, start=1):
            if _among(both, _OUTCOMES[kind]):
                return _mean_interval(one - other, "change", factors, draws, seed, span)
        return _mean_interval(one - other, "number", factors, draws, seed)
    if not callable(statistic):
        raise ValueError(f"the statistic must be 'mean' or a function, not {statistic!r}")
    minuend, subtrahend = _repeated(one, statistic), _repeated(other, statistic)
    both = np.stack([one, other])
    return bootstrap(lambda w: minuend(w) - subtrahend(w), factors, both, draws, seed)


def difference(
    first: ArrayLike,
    second: ArrayLike,
    first_clusters: Labels | None = None,
    second_clusters: Labels | None = None,
    draws: int = 2000,
    seed: Seed = 0,
) -> Interval:
    """The mean of ``first`` minus the mean of ``second``, two groups of different units.

    Clusters are resampled within each group; ``n`` is the number in both. For two conditions of the
    same units use :func:`paired_bootstrap`, which is far sharper.
    """
    one, other = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    values, factor = pooled(one, other, first_clusters, second_clusters)
    is_first = np.arange(len(values)) < len(one)
    minuend, subtrahend = _Mean(values, is_first), _Mean(values, ~is_first)
    shares = _among(values, _OUTCOMES["share"])
    bounds = (-1.0, 1.0) if shares else (-math.inf, math.inf)
    interval = bootstrap(
        lambda w: minuend(w) - subtrahend(w), [factor], values, draws, seed, bounds
    )
    groups = [
        (part, _factors(len(part), labels, None))
        for part, labels in ((one, first_clusters), (other, second_clusters))
    ]
    if not shares or not math.isfinite(interval.value):
        return interval
    if not any(_rare(part, "share", factors[0]) for part, factors in groups):
        return interval
    limits = [_proportion(part, factors) for part, factors in groups]
    exact = limits_of_difference(float(one.mean()), limits[0], float(other.mean()), limits[1])
    low, high = _envelope(interval.value, [exact, (interval.low, interval.high)])
    return Interval(interval.value, max(-1.0, low), min(1.0, high), interval.n)


def wilson(successes: int, n: int) -> Interval:
    """A share of independent trials with Wilson's score interval (JASA 22, 1927).

    Raises:
        ValueError: not 0 <= successes <= n.
    """
    if not 0 <= successes <= n:
        raise ValueError(f"there cannot be {successes} successes in {n} trials")
    if n == 0:
        return Interval(math.nan, math.nan, math.nan, 0)
    z = stats.norm.isf(TAIL)
    share = successes / n
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
    low = 0.0 if successes == 0 else centre - half
    high = 1.0 if successes == n else centre + half
    return Interval(share, low, high, n)


def mcnemar(first: ArrayLike, second: ArrayLike) -> float:
    """Exact two-sided p-value that two conditions of the same items succeed equally often.

    Args:
        first, second: [N] outcomes, true or false; items must be independent of each other.
    """
    one, other = np.asarray(first, dtype=bool), np.asarray(second, dtype=bool)
    if one.shape != other.shape:
        raise ValueError(f"paired outcomes need the same items, not {one.shape} and {other.shape}")
    only_first = int((one & ~other).sum())
    discordant = int((one ^ other).sum())
    if discordant == 0:
        return 1.0
    return float(stats.binomtest(only_first, discordant).pvalue)


def paired_permutation(
    first: ArrayLike,
    second: ArrayLike,
    clusters: Labels | None = None,
    draws: int = 10_000,
    seed: Seed = 0,
) -> float:
    """Two-sided p-value that two conditions of the same rows have the same mean.

    Under that hypothesis the two conditions of a whole cluster may be exchanged: the sign of its
    summed difference is flipped. All 2^G ways are tried if they are no more than ``draws``,
    otherwise that many at random, with the observed one counted among them.
    """
    one, other = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if one.shape != other.shape:
        raise ValueError(f"paired conditions need the same rows, not {one.shape} and {other.shape}")
    if len(one) == 0 or np.isnan(one - other).any():
        return math.nan
    [factor] = _factors(len(one), clusters, None)
    sums = np.bincount(factor.codes, one - other, factor.units)
    sums = sums[sums != 0]
    if len(sums) == 0:
        return 1.0
    if 2 ** min(len(sums), 60) <= draws:
        signs = np.array(list(itertools.product((1.0, -1.0), repeat=len(sums))))
        return float(_at_least(np.abs(signs @ sums), abs(sums.sum())).mean())
    signs = np.random.default_rng(seed).choice([1.0, -1.0], (draws, len(sums)))
    extreme = _at_least(np.abs(signs @ sums), abs(sums.sum())).sum()
    return float((1 + extreme) / (1 + draws))


def permutation_test(
    first: ArrayLike,
    second: ArrayLike,
    statistic: Callable[[NDArray[np.float64], NDArray[np.float64]], float] | None = None,
    draws: int = 10_000,
    seed: Seed = 0,
) -> float:
    """Two-sided p-value that two groups of independent units come from one distribution.

    Args:
        first, second: one value a unit (for clustered data, one value a cluster).
        statistic: of the two groups, far from 0 if they differ; by default the difference of means.

    All ways to divide the pooled units are tried if they are no more than ``draws``, otherwise that
    many at random, with the observed one counted among them.
    """
    one, other = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    both, size = np.concatenate([one, other]), len(one)
    if not len(one) or not len(other) or np.isnan(both).any():
        return math.nan
    if math.comb(len(both), size) <= draws:
        ways = np.array(list(itertools.combinations(range(len(both)), size)))
        return float(_at_least(*_splits(both, ways, statistic)).mean())
    rng = np.random.default_rng(seed)
    ways = rng.permuted(np.tile(np.arange(len(both)), (draws, 1)), axis=1)[:, :size]
    return float((1 + _at_least(*_splits(both, ways, statistic)).sum()) / (1 + draws))


@dataclass(frozen=True)
class Factor:
    """One level of resampling: ``codes`` [N] numbers the unit of each observation; units are drawn
    within their ``strata`` [units], so that each stratum keeps its size."""

    codes: NDArray[np.intp]
    strata: NDArray[np.intp]

    @property
    def units(self) -> int:
        return len(self.strata)

    def draw(self, draws: int, rng: np.random.Generator) -> NDArray[np.float64]:
        """How often each unit occurs in each draw, [draws, units]."""
        counts = np.empty((draws, self.units))
        for stratum in np.unique(self.strata):
            members = np.flatnonzero(self.strata == stratum)
            size = len(members)
            chosen = rng.integers(size, size=(draws, size)) + size * np.arange(draws)[:, None]
            counts[:, members] = np.bincount(chosen.ravel(), minlength=draws * size).reshape(
                draws, size
            )
        return counts


def pooled(
    first: NDArray[np.float64],
    second: NDArray[np.float64],
    first_clusters: Labels | None = None,
    second_clusters: Labels | None = None,
) -> tuple[NDArray[np.float64], Factor]:
    """Two groups as one sample [N1 + N2] whose clusters are drawn within their group."""
    [one] = _factors(len(first), first_clusters, None)
    [other] = _factors(len(second), second_clusters, None)
    codes = np.concatenate([one.codes, other.codes + one.units])
    strata = np.repeat([0, 1], [one.units, other.units])
    return np.concatenate([first, second]), Factor(codes, strata)


def bootstrap(
    statistic: Weighted,
    factors: list[Factor],
    data: NDArray[np.float64],
    draws: int = 2000,
    seed: Seed = 0,
    bounds: tuple[float, float] = (-math.inf, math.inf),
) -> Interval:
    """Any statistic that can be computed from weights of the observations, with its interval.

    Args:
        statistic: takes weights [D, N], gives [D]; NaN where a draw has no value.
        factors: the levels of resampling, the clusters first.
        data: what the statistic looks at, to find NaN in it.
        bounds: what the statistic cannot go beyond.
    """
    units = factors[0].units
    if units == 0 or np.isnan(data).any():
        return Interval(math.nan, math.nan, math.nan, units)
    estimate = float(statistic(np.ones((1, len(factors[0].codes))))[0])
    spread = _spread(statistic, factors)
    if not math.isfinite(estimate):
        return Interval(math.nan, math.nan, math.nan, units)
    if spread is None:
        return Interval(estimate, *bounds, units)
    replicates = _replicates(statistic, factors, draws, np.random.default_rng(seed))
    ends = [_expanded_percentile(replicates, spread), _hall(estimate, spread)]
    low, high = _envelope(estimate, ends)
    return Interval(estimate, max(low, bounds[0]), min(high, bounds[1]), units)


@dataclass(frozen=True)
class Spread:
    """What the jackknife says of an estimate: its variance, its skewness, the ``t`` that leaves
    2.5 % beyond it, and by what factor the bootstrap's own variance falls short.

    Where several levels or groups contribute, ``t`` is the mean of theirs, weighted by their
    variances (Cochran and Cox, Experimental Designs, 1957, section 4.14): with two or three
    training seeds that is safe, which Satterthwaite's degrees of freedom are not.
    """

    variance: float
    skewness: float
    t: float
    shortfall: float


def _spread(statistic: Weighted, factors: list[Factor]) -> Spread | None:
    """None if a stratum has a single unit, so that nothing can be said."""
    variances, sizes, thirds = [], [], []
    for factor in factors:
        left_out = _leave_one_out(statistic, factor)
        for stratum in np.unique(factor.strata):
            part = left_out[factor.strata == stratum]
            size = len(part)
            if size < 2:
                return None
            influence = (size - 1) * (part.mean() - part)
            variances.append(float((influence**2).sum()) / (size * (size - 1)))
            sizes.append(size)
            third = float((influence**3).sum()) / max(1, size * (size - 1) * (size - 2))
            thirds.append(third if size >= FEW else 0.0)
    variance, size = np.array(variances), np.array(sizes)
    quantiles = stats.t.isf(TAIL, size - 1)
    total = float(variance.sum())
    if not total > 0:
        return Spread(0.0, 0.0, float(quantiles.max()), 1.0) if total == 0 else None
    return Spread(
        variance=total,
        skewness=sum(thirds) / total**1.5,
        t=float((variance * quantiles).sum()) / total,
        shortfall=total / float((variance * (size - 1) / size).sum()),
    )


def _leave_one_out(statistic: Weighted, factor: Factor) -> NDArray[np.float64]:
    """The statistic without each unit, [units]."""
    if isinstance(statistic, _Mean):
        return statistic.without(factor)
    at_once = max(1, WEIGHTS_AT_ONCE // max(1, len(factor.codes)))
    left_out = []
    for start in range(0, factor.units, at_once):
        units = np.arange(start, min(start + at_once, factor.units))
        left_out.append(statistic((factor.codes[None, :] != units[:, None]).astype(np.float64)))
    return np.concatenate(left_out)


def _replicates(
    statistic: Weighted, factors: list[Factor], draws: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """The statistic of each draw that has one."""
    at_once = max(1, WEIGHTS_AT_ONCE // len(factors[0].codes))
    found = []
    for start in range(0, draws, at_once):
        size = min(at_once, draws - start)
        weights = np.ones((size, len(factors[0].codes)))
        for factor in factors:
            weights *= factor.draw(size, rng)[:, factor.codes]
        with np.errstate(invalid="ignore", divide="ignore"):
            found.append(statistic(weights))
    replicates = np.concatenate(found)
    return replicates[np.isfinite(replicates)]


def _expanded_percentile(replicates: NDArray[np.float64], spread: Spread) -> tuple[float, float]:
    tail = float(stats.norm.cdf(-spread.t * math.sqrt(spread.shortfall)))
    if len(replicates) == 0:
        return math.inf, -math.inf
    low, high = np.quantile(replicates, [tail, 1 - tail])
    return float(low), float(high)


def _hall(estimate: float, spread: Spread) -> tuple[float, float]:
    """Hall's cubic transformation of the t statistic, turned back (Hall 1992, section 2)."""
    g, error = spread.skewness, math.sqrt(spread.variance)

    def back(x: float) -> float:
        return x if abs(g) < 1e-9 else 3 / g * (float(np.cbrt(1 + g * (x - g / 6))) - 1)

    return estimate - back(spread.t) * error, estimate - back(-spread.t) * error


def _envelope(estimate: float, ends: list[tuple[float, float]]) -> tuple[float, float]:
    lows, highs = zip(*ends, strict=True)
    return min(estimate, *lows), max(estimate, *highs)


_OUTCOMES = {"share": (0, 1), "change": (-1, 0, 1)}


def _mean_interval(
    values: NDArray[np.float64],
    kind: str,
    factors: list[Factor],
    draws: int,
    seed: Seed,
    span: int = 1,
) -> Interval:
    """The mean of outcomes, of changes by at most ``span``, or of any numbers."""
    if values.ndim != 1:
        raise ValueError(f"a mean is of one number a row, not of rows of shape {values.shape[1:]}")
    mean = _Mean(values, np.ones(len(values)))
    if len(values) == 0 or kind == "number":
        return bootstrap(mean, factors, values, draws, seed)
    bounds = (0.0, 1.0) if kind == "share" else (-float(span), float(span))
    if not _rare(values, kind, factors[0]):
        return bootstrap(mean, factors, values, draws, seed, bounds)
    estimate = float(values.mean())
    if kind == "share":
        ends = [_proportion(values, factors)]
    else:
        gains, losses = (values > 0).astype(float), (values < 0).astype(float)
        parts = [_proportion(part, factors) for part in (gains, losses)]
        gap = float(gains.mean()) - float(losses.mean())
        limits = limits_of_difference(float(gains.mean()), parts[0], float(losses.mean()), parts[1])
        ends = [tuple(estimate + span * (end - gap) for end in limits)]
    spread = _spread(mean, factors)
    if spread is not None:
        rng = np.random.default_rng(seed)
        ends.append(_expanded_percentile(_replicates(mean, factors, draws, rng), spread))
    low, high = _envelope(estimate, ends)
    return Interval(estimate, max(low, bounds[0]), min(high, bounds[1]), factors[0].units)


def _rare(values: NDArray[np.float64], kind: str, clusters: Factor) -> bool:
    """Whether too few clusters show an outcome for their spread to be told from the data."""
    zeros, others = (len(np.unique(clusters.codes[where])) for where in (values == 0, values != 0))
    return (others if kind == "change" else min(zeros, others)) < FEW


def _proportion(values: NDArray[np.float64], factors: list[Factor]) -> tuple[float, float]:
    """Exact binomial limits of a share at the effective number of observations (Korn and Graubard).

    That number is what would give independent trials the variance found, reduced for the degrees of
    freedom behind it. It rests on few clusters and is wild where successes are rare, so it is held
    below the geometric mean of the numbers of clusters and of observations.
    """
    share, spread = float(values.mean()), _spread(_Mean(values, np.ones(len(values))), factors)
    if spread is None:
        return 0.0, 1.0
    effective = math.sqrt(len(values) * factors[0].units)
    if spread.variance > 0:
        independent = share * (1 - share) / spread.variance
        shrink = (float(stats.t.isf(TAIL, len(values) - 1)) / spread.t) ** 2
        effective = min(effective, independent * shrink)
    elif share in (0.0, 1.0):
        effective = float(factors[0].units)
    return exact_limits(share, effective)


def exact_limits(share: float, n: float) -> tuple[float, float]:
    """The limits of Clopper and Pearson (Biometrika 26, 1934) for a share of ``n`` trials; ``n``
    need not be whole."""
    successes = share * n
    low = 0.0 if successes <= 0 else float(special.betaincinv(successes, n - successes + 1, TAIL))
    high = 1.0 if share >= 1 else float(special.betaincinv(successes + 1, n - successes, 1 - TAIL))
    return low, high


def limits_of_difference(
    first: float,
    first_limits: tuple[float, float],
    second: float,
    second_limits: tuple[float, float],
) -> tuple[float, float]:
    """Limits of a difference of shares from the limits of both (Newcombe 1998, method 10)."""
    gap = first - second
    down = math.hypot(first - first_limits[0], second_limits[1] - second)
    up = math.hypot(first_limits[1] - first, second - second_limits[0])
    return gap - down, gap + up


@dataclass(frozen=True)
class _Mean:
    """The weighted mean of some of the observations, those with ``counted`` 1 and not 0."""

    values: NDArray[np.float64]
    counted: NDArray[np.generic]

    def __call__(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        with np.errstate(invalid="ignore"):
            return weights @ (self.values * self.counted) / (weights @ self.counted)

    def without(self, factor: Factor) -> NDArray[np.float64]:
        """The mean without each unit of a factor."""
        sums = np.bincount(factor.codes, self.values * self.counted, factor.units)
        sizes = np.bincount(factor.codes, self.counted, factor.units)
        with np.errstate(invalid="ignore"):
            return (sums.sum() - sums) / (sizes.sum() - sizes)


def _repeated(
    table: NDArray[np.float64], statistic: Callable[[NDArray[np.float64]], float]
) -> Weighted:
    """A function of values as a function of weights: each row as often as it weighs."""

    def weighted(weights: NDArray[np.float64]) -> NDArray[np.float64]:
        counts = weights.astype(np.intp)
        return np.array([float(statistic(np.repeat(table, count, axis=0))) for count in counts])

    return weighted


def _factors(n: int, clusters: Labels | None, outer: Labels | None) -> list[Factor]:
    """The levels of resampling of ``n`` observations; an outer level of one unit says nothing."""
    levels = [np.arange(n) if clusters is None else np.asarray(clusters)]
    if outer is not None:
        levels.append(np.asarray(outer))
    factors = []
    for labels in levels:
        if labels.shape != (n,):
            raise ValueError(f"there are {n} values but labels of shape {labels.shape}")
        units, codes = np.unique(labels, return_inverse=True)
        factors.append(Factor(codes, np.zeros(len(units), dtype=np.intp)))
    return [factors[0], *(factor for factor in factors[1:] if factor.units > 1)]


def _splits(
    both: NDArray[np.float64],
    ways: NDArray[np.intp],
    statistic: Callable[[NDArray[np.float64], NDArray[np.float64]], float] | None,
) -> tuple[NDArray[np.float64], float]:
    """How far from 0 the statistic is for each way to choose the first group, and for the way in
    which the groups came."""
    size = ways.shape[1]
    if statistic is None:
        sums, total = both[ways].sum(axis=1), both.sum()
        gaps = np.abs(sums / size - (total - sums) / (len(both) - size))
        return gaps, abs(both[:size].mean() - both[size:].mean())
    gaps = [abs(statistic(both[way], np.delete(both, way))) for way in ways]
    return np.array(gaps), abs(statistic(both[:size], both[size:]))


def _at_least(found: NDArray[np.float64], observed: float) -> NDArray[np.bool_]:
    """Which are as extreme as the observed value, up to rounding."""
    return found >= observed - 1e-9 * max(1.0, abs(observed))


def _among(values: NDArray[np.float64], allowed: tuple[int, ...]) -> bool:
    return bool(np.isin(values, allowed).all())
