"""One colour and marker for each kind of task and each model, in all figures of chapter 2.

Tasks are of two kinds, with answer words that all items share and with answers of their own. The
forgotten model has the look of its kind of task.
"""

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd

from palimpsest.core import plots
from palimpsest.forgetting.items import Kind

KINDS: dict[Kind, tuple[str, str]] = {"shared": ("#0072B2", "o"), "content": ("#D55E00", "D")}
STYLES = {
    "pretrained": ("#7f7f7f", "X", ":"), "tuned": ("#009E73", "s", "--"),
    "earlier": ("#56B4E9", "^", "-."),
}  # fmt: skip


def look_of(model: str, kind: Kind) -> tuple[str, str, str]:
    """Colour, marker and line style of a model in the panel of a kind of task."""
    return STYLES.get(model) or (*KINDS[kind], "-")


def kind_panels(kinds: Sequence[str], height: float = 3.7) -> tuple[Any, dict[str, Any]]:
    """A panel for each kind of task that there is."""
    shown = [kind for kind in KINDS if kind in set(kinds)]
    figure, axes = plots.panels(len(shown), 7.6 if len(shown) > 1 else 5.0, height, share_y=True)
    for panel, kind in zip(axes, shown, strict=True):
        panel.set_title(f"tasks with {kind} answers")
    return figure, dict(zip(shown, axes, strict=True))


def band(panel: Any, own: pd.DataFrame, x: str, look: tuple[str, str, str], label: str) -> None:
    """A line of ``value`` over ``x`` with its interval as a band."""
    colour, marker, line = look
    panel.fill_between(own[x], own["low"], own["high"], color=colour, alpha=0.15, lw=0, zorder=2)
    panel.plot(
        own[x], own["value"], line, color=colour, marker=marker, ms=5, lw=1.6, label=label,
        markevery=max(1, len(own) // 8), zorder=3,
    )  # fmt: skip


def legend_of(figure: Any, panels: dict[str, Any]) -> None:
    """One legend under the figure with what any panel shows; names occur once."""
    first = next(iter(panels.values()))
    known = set(first.get_legend_handles_labels()[1])
    for panel in panels.values():
        for line in panel.get_lines():
            name = str(line.get_label())
            if not name.startswith("_") and name not in known:
                known.add(name)
                first.plot(
                    [], [], line.get_linestyle(), color=line.get_color(), label=name, ms=5,
                    marker=line.get_marker(), lw=line.get_linewidth(), mfc=line.get_mfc(),
                )  # fmt: skip
    plots.legend_below(figure, first)


def named(model: str, kind: str) -> str:
    return f"forgotten, {kind}" if model == "forgotten" else model


def ratio_span(shown: list[float]) -> tuple[float, float]:
    """The ends of an axis for ratios, with 0 and 1 on it; wide intervals run out of the panel."""
    there = [one for one in shown if math.isfinite(one)]
    return max(-3.0, min([-0.15, *there]) - 0.15), min(3.0, max([1.0, *there]) + 0.2)


def broken(words: str) -> str:
    """On two lines, if the words are many."""
    if len(words) < 18:
        return words
    middle = min(
        (place for place, sign in enumerate(words) if sign == " "),
        key=lambda place: abs(2 * place - len(words)),
    )
    return f"{words[:middle]}\n{words[middle + 1 :]}"
