"""Draw the book's explanatory figures: `python book/figures/draw.py` writes the SVG beside it.

Colours are Okabe and Ito's, which stay apart for readers who see few colours. Every bar also
carries its name, so nothing is told by colour alone.
"""

from itertools import pairwise
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

HERE = Path(__file__).resolve().parent
INK, FAINT = "#222222", "#666666"
SKY, GREEN, ORANGE, VERMILION, GREY = "#56B4E9", "#009E73", "#E69F00", "#D55E00", "#999999"
mpl.rcParams |= {
    "font.family": "DejaVu Sans",
    "svg.fonttype": "path",
    "svg.hashsalt": "palimpsest",
}


def card(width: float, height: float) -> tuple[Figure, Axes]:
    """A white card of `width` by `height` units, one unit to the inch."""
    figure = Figure(figsize=(width, height), facecolor="white")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(0, height))
    axes.axis("off")
    return figure, axes


def box(
    axes: Axes,
    at: tuple[float, float, float, float],
    text: str,
    colour: str = "white",
    size: float = 10,
) -> None:
    """A rounded box at (left, bottom, width, height) with centred text."""
    left, bottom, width, height = at
    shape = "round,pad=0,rounding_size=0.06"
    alpha = 0.35 if colour != "white" else 1.0
    axes.add_patch(
        FancyBboxPatch(
            (left, bottom), width, height, boxstyle=shape, facecolor=colour, alpha=alpha, lw=0
        )
    )
    axes.add_patch(
        FancyBboxPatch(
            (left, bottom),
            width,
            height,
            boxstyle=shape,
            facecolor="none",
            edgecolor=colour if colour != "white" else INK,
            lw=1.2,
        )
    )
    axes.text(
        left + width / 2,
        bottom + height / 2,
        text,
        ha="center",
        va="center",
        size=size,
        color=INK,
        linespacing=1.35,
    )


def arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    """A straight arrow between two points."""
    axes.add_patch(
        FancyArrowPatch(
            start,
            end,
            arrowstyle="-|>",
            mutation_scale=11,
            lw=1.2,
            color=INK,
            shrinkA=0,
            shrinkB=0,
        )
    )


def four_models() -> Figure:
    """What each of the four models, and the twin, was trained on when the facts are late ones."""
    figure, axes = card(8.2, 4.3)
    height, short, long = 0.5, 1.05, 1.4
    parts = {
        "early": (1.45, long, "early facts,\nskills", SKY),
        "replay": (3.1, short, "replay", GREY),
        "keep": (4.25, short, "newcomers\nto keep", GREEN),
        "forget": (5.4, short, "newcomers\nto forget", ORANGE),
        "unlearn": (6.7, long, "unlearn the\nforget set", VERMILION),
    }
    for x, name in [(2.15, "Stage 1"), (4.775, "Stage 2"), (7.4, "Afterwards")]:
        axes.text(x, 4.08, name, ha="center", va="center", size=11, weight="bold", color=INK)
    exposed = ("early", "replay", "keep", "forget")
    rows = [
        (r"$\theta_0$", "never exposed", exposed[:2]),
        (r"$\theta_r$", "retrained", exposed[:3]),
        (r"$\theta_r\,'$", "its twin, new seed", exposed[:3]),
        (r"$\theta_o$", "original", exposed),
        (r"$\theta_u$", "unlearned", (*exposed, "unlearn")),
    ]
    for row, (symbol, name, seen) in enumerate(rows):
        bottom = 3.3 - 0.75 * row
        axes.text(0.68, bottom + 0.36, symbol, ha="center", va="center", size=14, color=INK)
        axes.text(0.68, bottom + 0.07, name, ha="center", va="center", size=9.5, color=FAINT)
        for part in seen:
            left, width, text, colour = parts[part]
            box(axes, (left, bottom, width, height), text, colour, size=9.2)
    arrow(axes, (5.4 + short + 0.03, 0.55), (6.67, 0.55))
    return figure


def run_to_book() -> Figure:
    """How data and a model become a run, and a run and the prose become the book."""
    figure, axes = card(8.2, 3.5)
    top, height = 2.3, 0.8
    steps = [
        (0.2, 1.25, "world, or\nyour text", SKY),
        (1.85, 1.25, "model", SKY),
        (3.5, 1.35, "studies\n(seed, settings)", GREEN),
        (5.25, 1.25, "results: values,\nintervals, tables", GREEN),
        (6.9, 1.1, "figures,\nverdicts", GREEN),
    ]
    for left, width, text, colour in steps:
        box(axes, (left, top, width, height), text, colour, size=9.5)
    for (left, width, *_), (after, *_) in pairwise(steps):
        arrow(axes, (left + width + 0.05, top + height / 2), (after - 0.05, top + height / 2))
    axes.plot([3.5, 3.5, 8.0, 8.0], [2.16, 2.06, 2.06, 2.16], color=FAINT, lw=1)
    axes.text(5.0, 1.84, "a run: one folder", ha="center", va="center", size=9.5, color=FAINT)

    box(axes, (1.85, 0.35, 2.6, height), "prose: questions, methods,\nwhat papers found", ORANGE)
    box(axes, (5.25, 0.35, 2.75, height), "the book", VERMILION, size=11)
    arrow(axes, (4.5, 0.75), (5.2, 0.75))
    arrow(axes, (6.62, 2.06), (6.62, 1.2))
    return figure


def main() -> None:
    for name, figure in {"four-models": four_models(), "run-to-book": run_to_book()}.items():
        figure.savefig(HERE / f"{name}.svg", metadata={"Date": None, "Creator": None})


if __name__ == "__main__":
    main()
