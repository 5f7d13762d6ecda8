"""One colour and marker for each loss, method and number of tellings, in all figures of chapter 3,
and the small summaries that their captions share."""

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np

from palimpsest.core import plots, stats
from palimpsest.core.results import Value

STANDARD_LOOK = ("#D55E00", "D")
FLOOR = "#7f7f7f"
_MARKERS = "osv^P<>hX"
METHODS = {
    "standard": ("#262626", "*"), "goldfish": ("#0072B2", "o"), "de-duplication": ("#009E73", "s"),
    "dropout and decay": ("#E69F00", "^"), "DP-SGD": ("#CC79A7", "v"),
    "unlearning": ("#D55E00", "D"), "selective": ("#56B4E9", "P"),
}  # fmt: skip
MASKS = {"hashed": ("#0072B2", "o"), "static": ("#E69F00", "s"), "random": ("#D55E00", "D")}


def look_of(k: int, ks: Sequence[int]) -> tuple[str, str]:
    """Colour and marker of a training by heart: the standard loss (0) stands out, and the more is
    masked the darker the blue."""
    if not k:
        return STANDARD_LOOK
    masked = sorted(one for one in ks if one)
    place = masked.index(k)
    shade = 0.95 - 0.6 * place / max(1, len(masked) - 1)
    return mpl.colors.to_hex(mpl.colormaps["Blues"](shade)), _MARKERS[place % len(_MARKERS)]


def mean(values: Any, unit: str = "fraction", seed: int = 0) -> Value:
    """The mean over documents with its interval."""
    return Value.of(stats.cluster_bootstrap(np.asarray(values, dtype=float), seed=seed), unit)


def gap(first: Any, second: Any, unit: str = "fraction", seed: int = 0) -> Value:
    """The mean of ``first`` minus that of ``second``, of the same documents."""
    one, other = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    return Value.of(stats.paired_bootstrap(one, other, seed=seed), unit)


def apart(first: Any, second: Any, unit: str = "fraction", seed: int = 0) -> Value:
    """The mean of ``first`` minus that of ``second``, of different documents."""
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


def floor(axes: Any, value: float, words: str = "never seen") -> None:
    """The level of documents that nobody read."""
    axes.axhline(value, color=FLOOR, lw=1.0, ls="--", zorder=1, label=words)


def finish(figure: Any, axes: Any) -> Any:
    """The figure with one legend under it."""
    plots.legend_below(figure, axes)
    return figure
