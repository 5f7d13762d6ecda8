"""Values of studies from what was measured, in captions and as lines of a figure."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from palimpsest.core import plots, stats
from palimpsest.core.results import Value


def mean(values: Any, unit: str = "fraction", seed: int = 0) -> Value:
    """The mean over documents, facts or items, with its interval."""
    return Value.of(stats.cluster_bootstrap(np.asarray(values, dtype=float), seed=seed), unit)


def gap(first: Any, second: Any, unit: str = "fraction", seed: int = 0) -> Value:
    """The mean of ``first`` minus that of ``second``, of the same things."""
    one, other = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    return Value.of(stats.paired_bootstrap(one, other, seed=seed), unit)


def apart(first: Any, second: Any, unit: str = "fraction", seed: int = 0) -> Value:
    """The mean of ``first`` minus that of ``second``, of different things."""
    one, other = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    return Value.of(stats.difference(one, other, seed=seed), unit)


def told(value: Value, form: str = ".2f") -> str:
    """A value with its interval, for a caption."""
    if value.value is None:
        return "not measured"
    if value.ci95 is None:
        return f"{value.value:{form}}"
    return f"{value.value:{form}} ({value.ci95[0]:{form}} to {value.ci95[1]:{form}})"


def line(
    axes: Any, x: Any, values: Sequence[Value], look: tuple[str, str], label: str, style: str = "-"
) -> None:
    """Values over ``x`` as a line, their intervals as bars."""
    colour, marker = look
    height = [one.value if one.value is not None else np.nan for one in values]
    low = [one.ci95[0] if one.ci95 else np.nan for one in values]
    high = [one.ci95[1] if one.ci95 else np.nan for one in values]
    axes.vlines(x, low, high, color=colour, lw=1.3, alpha=0.7, zorder=2)
    axes.plot(
        x, height, linestyle=style, marker=marker, color=colour, ms=5.5, mec="white", mew=0.5,
        label=label, zorder=3,
    )  # fmt: skip


def finish(figure: Any, axes: Any) -> Any:
    """The figure with one legend under it."""
    plots.legend_below(figure, axes)
    return figure
