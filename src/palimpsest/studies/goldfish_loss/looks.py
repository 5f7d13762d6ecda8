"""One colour and marker for each loss, method and number of tellings, in all figures of chapter 3,
beside what all chapters report with."""

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl

from palimpsest.studies.reporting import apart, finish, gap, line, mean, told

__all__ = [
    "FLOOR", "MASKS", "METHODS", "STANDARD_LOOK", "apart", "finish", "floor", "gap", "line",
    "look_of", "mean", "told",
]  # fmt: skip

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


def floor(axes: Any, value: float, words: str = "never seen") -> None:
    """The level of documents that nobody read."""
    axes.axhline(value, color=FLOOR, lw=1.0, ls="--", zorder=1, label=words)
