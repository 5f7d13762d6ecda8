"""Figures of one style, on seaborn: vector, colour-blind safe, equal bytes for equal data.

Nothing here touches pyplot or the global settings of matplotlib: a figure is made inside
:func:`style`, needs no display, and is freed like any other object.
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

INK = "#262626"
GRID = "#dddddd"
PNG_DPI = 160

STYLE: dict[str, Any] = {
    **sns.axes_style("whitegrid"),
    **sns.plotting_context("notebook", font_scale=0.85),
    "figure.facecolor": "white",  # opaque: the figure stays legible on a dark page
    "savefig.facecolor": "white",
    "figure.constrained_layout.use": True,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Arial", "Liberation Sans", "sans-serif"],
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "axes.titlesize": "medium",
    "axes.titlelocation": "left",
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "svg.fonttype": "none",  # text stays text: searchable, small, read aloud
    "svg.hashsalt": "palimpsest",  # element ids are otherwise random in every process
}

# The controls of every chapter: one colour (Okabe and Ito, distinct to colour-blind readers), one
# marker and one name each, so that no figure depends on colour alone.
COLOURS = {
    "theta_o": "#0072B2",
    "theta_u": "#D55E00",
    "theta_r": "#009E73",
    "twin": "#56B4E9",
    "theta_0": "#7f7f7f",
}
MARKERS = {"theta_o": "o", "theta_u": "D", "theta_r": "s", "twin": "^", "theta_0": "X"}
NAMES = {
    "theta_o": "original",
    "theta_u": "unlearned",
    "theta_r": "retrained",
    "twin": "retrained twin",
    "theta_0": "never told",
}


@contextmanager
def style() -> Iterator[None]:
    """The book's matplotlib settings, for the time of a ``with`` block."""
    with mpl.rc_context(STYLE):
        yield


def figure(width: float = 6.4, height: float = 3.6) -> tuple[Figure, Axes]:
    """A figure of ``width`` by ``height`` inches with one pair of axes."""
    made, axes = panels(1, width, height)
    return made, axes[0]


def panels(
    columns: int, width: float = 6.4, height: float = 3.0, *, share_y: bool = False
) -> tuple[Figure, list[Axes]]:
    """A figure of ``width`` by ``height`` inches with ``columns`` axes side by side."""
    with style():
        made = Figure(figsize=(width, height))
        FigureCanvasAgg(made)
        axes = made.subplots(1, columns, squeeze=False, sharey=share_y)
    return made, list(axes[0])


def dots(
    axes: Axes,
    values: np.ndarray,
    heights: np.ndarray,
    control: str,
    ends: np.ndarray | None = None,
) -> None:
    """One dot a value, in the colour and marker of a control, with its interval as a bar.

    Args:
        axes: where to draw; the values run along x.
        values: [N]; NaN draws nothing.
        heights: [N], places along y.
        control: a key of :data:`COLOURS`.
        ends: [N, 2] lower and upper ends of intervals; None for none.
    """
    colour = COLOURS[control]
    if ends is not None:
        axes.hlines(heights, ends[:, 0], ends[:, 1], color=colour, lw=1.6, alpha=0.75, zorder=2)
    axes.plot(
        values, heights, MARKERS[control], color=colour, label=NAMES[control],
        markersize=6.0, markeredgecolor="white", markeredgewidth=0.6, zorder=3,
    )  # fmt: skip


def legend_below(drawn: Figure, axes: Axes) -> None:
    """One legend for the whole figure, under it."""
    handles, labels = axes.get_legend_handles_labels()
    with style():
        drawn.legend(handles, labels, loc="outside lower center", ncols=len(labels))


def svg(drawn: Figure) -> bytes:
    """The figure as SVG: no date, no version, the same bytes for the same drawing."""
    return _export(drawn, "svg", metadata={"Date": None, "Creator": "Palimpsest"})


def png(drawn: Figure) -> bytes:
    """The figure as PNG at 160 dots an inch, without a date or a version."""
    return _export(drawn, "png", dpi=PNG_DPI, metadata={"Software": None})


def _export(drawn: Figure, form: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    with style():
        drawn.savefig(buffer, format=form, **options)
    return buffer.getvalue()
