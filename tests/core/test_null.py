"""The guard against luck: fed null data, no rule may answer ``holds`` more than 5 % of the time.

Chapters test their own studies with :func:`palimpsest.core.study.assert_null_rate`; here it is
shown on toy studies that it passes what is sound and catches what is not.
"""

import numpy as np
import pytest

from palimpsest.core.results import Claim, Result, Value
from palimpsest.core.stats import cluster_bootstrap, difference, paired_bootstrap
from palimpsest.core.study import assert_null_rate, null_rates, study

PEOPLE, PROBES = 20, 4
CLUSTERS = np.repeat(np.arange(PEOPLE), PROBES)


def claim(id, rule):
    return Claim(id, "The two differ.", "a paper, section 1", "P", rule.split()[0], rule)


def answers(rng, shared):
    """Right or wrong answers of one model; ``shared`` is how easy each person is for both."""
    return (rng.random(len(CLUSTERS)) < shared[CLUSTERS]).astype(float)


def compare(first, second):
    """The analysis of the toy study, the same for real data and for null data."""
    gap = paired_bootstrap(first, second, CLUSTERS, draws=300)
    return {
        "gap": Value.of(gap, "fraction"),
        "accuracy": Value.of(cluster_bootstrap(first, CLUSTERS, draws=300), "fraction"),
    }


def equal_models(seed):
    """Two models that answer alike: people differ, the models do not."""
    rng = np.random.default_rng(seed)
    shared = rng.beta(1, 3, PEOPLE)
    return compare(answers(rng, shared), answers(rng, shared))


SOUND = [
    claim("toy-1", "gap > 0"),
    claim("toy-2", "gap < 0"),
    claim("toy-3", "accuracy > 0.25"),
]


@study(claims=SOUND, null=equal_models)
def sound(ctx):
    """Do the two models answer differently?"""
    return Result(values=compare(*ctx.cell(answers)))


def test_sound_rules_stay_below_the_limit_on_null_data():
    assert_null_rate(sound)
    assert set(null_rates(sound, draws=2)) == {"toy-1", "toy-2", "toy-3"}


def shuffled_labels(seed):
    """Scores that say nothing of the label, for an effect between groups of unequal size."""
    rng = np.random.default_rng(seed)
    scores = rng.exponential(size=36)
    return {"effect": Value.of(difference(scores[:12], scores[12:], draws=300))}


@study(claims=[claim("toy-4", "effect > 0"), claim("toy-5", "effect < 0")], null=shuffled_labels)
def groups(ctx):
    """Do the groups differ?"""
    return Result()


def test_an_effect_between_unequal_groups_stays_below_the_limit():
    assert_null_rate(groups)


def naive(seed):
    """The same null data, as if every probe were independent and the normal held."""
    rng = np.random.default_rng(seed)
    shared = rng.beta(0.3, 0.9, PEOPLE)
    first = answers(rng, shared)
    half = 1.96 * first.std() / np.sqrt(len(first))
    return {"accuracy": Value(first.mean(), (first.mean() - half, first.mean() + half))}


@study(claims=[claim("toy-6", "accuracy > 0.25")], null=naive)
def careless(ctx):
    """Is the accuracy above chance?"""
    return Result()


def test_intervals_that_ignore_the_clusters_are_caught():
    with pytest.raises(AssertionError, match=r"claim 'toy-6' of study 'careless' holds on \d"):
        assert_null_rate(careless)


@study(claims=[claim("toy-7", "gap > -0.5")], null=equal_models)
def lenient(ctx):
    """Is the gap not very negative?"""
    return Result()


def test_rules_that_nothing_could_break_are_caught():
    with pytest.raises(AssertionError, match="can be met by luck"):
        assert_null_rate(lenient, draws=50)


def test_null_data_must_put_every_claim_to_the_test():
    @study(claims=SOUND)
    def silent(ctx):
        """No null data."""

    @study(claims=SOUND, null=lambda seed: {"gap": Value(0.0, (-1, 1))})
    def partial(ctx):
        """One measure missing."""

    @study(claims=SOUND[:1], null=lambda seed: {"gap": Value(0.0)})
    def bare(ctx):
        """No interval."""

    with pytest.raises(ValueError, match="does not say what its null data are"):
        null_rates(silent)
    with pytest.raises(ValueError, match="'accuracy', so claim 'toy-3'"):
        null_rates(partial)
    with pytest.raises(ValueError, match="'gap', so claim 'toy-1'"):
        null_rates(bare)
