"""Figures of one style, on seaborn: vector, colour-blind safe, equal bytes for equal data.

Nothing here touches pyplot or the global settings of matplotlib: a figure is made inside
:func:`style`, needs no display, and is freed like any other object.
"""

import html
import io
import math
from collections.abc import Iterator, Sequence
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

# The models of every chapter: one colour (Okabe and Ito, distinct to colour-blind readers), one
# marker and one name each, so that no figure depends on colour alone. Where methods are compared,
# each has its own in place of theta_u's.
COLOURS = {
    "theta_o": "#0072B2",
    "theta_u": "#D55E00",
    "ascent": "#D55E00",
    "difference": "#CC79A7",
    "theta_r": "#009E73",
    "twin": "#56B4E9",
    "theta_0": "#7f7f7f",
}
MARKERS = {
    "theta_o": "o",
    "theta_u": "D",
    "ascent": "D",
    "difference": "v",
    "theta_r": "s",
    "twin": "^",
    "theta_0": "X",
}
NAMES = {
    "theta_o": "original",
    "theta_u": "unlearned",
    "ascent": "gradient ascent",
    "difference": "gradient difference",
    "theta_r": "retrained",
    "twin": "retrained twin",
    "theta_0": "never told",
}


# Behind tokens; at this opacity text keeps a contrast above 4.5 on light and on dark pages.
FOR, AGAINST, OPACITY = (0, 114, 178), (213, 94, 0), 0.55


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


def curve(
    axes: Axes,
    places: np.ndarray,
    values: np.ndarray,
    control: str,
    ends: np.ndarray | None = None,
) -> None:
    """A line in the colour of a control, with its interval as a band.

    Args:
        axes: where to draw.
        places: [N] along x, such as steps; a NaN among the values interrupts the line.
        values: [N].
        control: a key of :data:`COLOURS`.
        ends: [N, 2] lower and upper ends of intervals; None for none.
    """
    colour = COLOURS[control]
    if ends is not None:
        axes.fill_between(places, ends[:, 0], ends[:, 1], color=colour, alpha=0.18, lw=0, zorder=2)
    # Marks at about eight places tell the lines apart without colour and leave them readable.
    every = max(1, len(np.atleast_1d(places)) // 8)
    with style():
        sns.lineplot(
            x=places, y=values, ax=axes, color=colour, label=NAMES[control], errorbar=None,
            marker=MARKERS[control], markevery=every, markersize=5.0, zorder=3, legend=False,
        )  # fmt: skip


def pairs(axes: Axes, first: np.ndarray, second: np.ndarray, controls: tuple[str, str]) -> None:
    """One line a unit (a person, a fact) joining its values under two models.

    The units are drawn from top to bottom in the order of their difference, so that a reader sees
    how many go which way, which two means would hide.

    Args:
        axes: where to draw; the values run along x.
        first, second: [N] values of the same units.
        controls: which model the first and the second values are of.
    """
    order = np.argsort(np.asarray(second) - np.asarray(first), kind="stable")[::-1]
    heights = np.arange(len(order))
    first, second = np.asarray(first)[order], np.asarray(second)[order]
    axes.hlines(heights, first, second, color="#b3b3b3", lw=1.2, zorder=1)
    dots(axes, first, heights, controls[0])
    dots(axes, second, heights, controls[1])
    axes.set_yticks([])
    axes.invert_yaxis()


def token_strip(
    tokens: Sequence[str],
    values: Sequence[float],
    *,
    low: float = 0.0,
    high: float = 1.0,
    meaning: str = "probability",
) -> str:
    """Generated text as HTML, token by token, with a number as the colour behind each.

    The colour is a translucent layer over whatever the page has, so that the text keeps the page's
    own colour and contrast in light and in dark mode. With ``low`` below 0 the scale has two
    colours, for what speaks against and what speaks for. The number is in each token's tooltip and
    the scale in a caption, so that nothing hangs on colour alone.

    Args:
        tokens: decoded tokens; everything in them is escaped, spaces and line breaks are shown.
        values: one number a token; one that is not finite has no colour.
        low, high: the ends of the scale; numbers beyond are drawn as the ends.
        meaning: what the number is, for the caption.

    Raises:
        ValueError: not one number a token, or a scale without extent.
    """
    if len(tokens) != len(values):
        raise ValueError(f"there are {len(tokens)} tokens but {len(values)} numbers")
    if not low < high:
        raise ValueError(f"the scale must go up, not from {low} to {high}")
    spans = [
        _token(token, float(value), low, high) for token, value in zip(tokens, values, strict=True)
    ]
    ends = "".join(
        f'<span style="{_layer(end, low, high)}padding:0 .4em;border-radius:.2em">{end:.3g}</span>'
        for end in ([low, high] if low >= 0 else [low, 0.0, high])
    )
    return (
        '<figure class="token-strip" style="margin:1em 0">'
        '<p style="font-family:ui-monospace,monospace;line-height:2;white-space:pre-wrap;'
        f'overflow-wrap:anywhere;margin:0">{"".join(spans)}</p>'
        f'<figcaption style="font-size:.85em">{html.escape(meaning)}: {ends}</figcaption></figure>'
    )


def _token(token: str, value: float, low: float, high: float) -> str:
    shown = html.escape("".join(_visible(character) for character in token))
    title = f"{value:.3g}" if math.isfinite(value) else "no number"
    # Isolation keeps a token that writes from right to left from turning its neighbours around.
    look = f"{_layer(value, low, high)}border-radius:.2em;padding:.1em 0;unicode-bidi:isolate"
    return f'<span title="{title}" style="{look}">{shown}</span>'


def _visible(character: str) -> str:
    """The character, or a sign for one that would vanish or break the page."""
    if character == "\n":
        return "↵\n"
    if ord(character) < 32:
        return chr(0x2400 + ord(character))
    return "\ufffd" if 0xD800 <= ord(character) < 0xE000 else character


def _layer(value: float, low: float, high: float) -> str:
    """A CSS background: from nothing at 0 (or at ``low``) to half opaque at the ends."""
    if not math.isfinite(value):
        return ""
    base, place = max(low, 0.0), min(max(value, low), high)
    extent = high - base if place > base else base - low
    share = abs(place - base) / extent if place != base else 0.0
    red, green, blue = FOR if place >= base else AGAINST
    return f"background-color:rgba({red},{green},{blue},{OPACITY * share:.3f});"


def legend_below(drawn: Figure, axes: Axes) -> None:
    """One legend for the whole figure, under it, on as many lines as its width asks for."""
    handles, labels = axes.get_legend_handles_labels()
    with style():
        for lines in range(1, len(labels) + 1):
            legend = drawn.legend(
                handles, labels, loc="outside lower center", ncols=math.ceil(len(labels) / lines)
            )
            if legend.get_window_extent().width <= drawn.bbox.width or lines == len(labels):
                return
            legend.remove()


def svg(drawn: Figure) -> bytes:
    """The figure as SVG: no date, no version, the same bytes for the same drawing."""
    return _export(drawn, "svg", metadata={"Date": None, "Creator": "Palimpsest"})


def png(drawn: Figure) -> bytes:
    """The figure as PNG at 160 dots an inch, without a date or a version."""
    return _export(drawn, "png", dpi=PNG_DPI, metadata={"Software": None})


def _export(drawn: Figure, form: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    with style():
        # The layout is solved once and kept: solving it again would move everything by a hair.
        drawn.draw_without_rendering()
        drawn.set_layout_engine("none")
        drawn.savefig(buffer, format=form, **options)
    return buffer.getvalue()
