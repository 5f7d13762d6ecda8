"""The ways to forget, in one table and one figure. Nothing here is measured."""

from collections import Counter
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from palimpsest.core import plots
from palimpsest.core.results import Figure, Result
from palimpsest.core.study import Context, study
from palimpsest.unlearning.taxonomy import ACTED_ON, FAMILIES, METHODS, Method, cell

LINE, PADDING = 0.185, 0.13  # inches: of a label, and of a row around its labels
HEAD, COLUMN = 1.35, 1.5  # inches: of the names of the families, and of a column
SIZE = 8.0  # points
TINT = "#e3eef6"  # of plots.COLOURS["theta_o"], light enough for ink
UNTOUCHED = "act on the prompt or the output;\nthe model stays the original"


@study()
def taxonomy(ctx: Context) -> Result:
    """What does each way to forget act on, and what does it need?"""
    return Result(
        tables={"methods": methods_table()},
        figures={"taxonomy": Figure(draw(), *_words())},
    )


def methods_table() -> pd.DataFrame:
    """One method a row."""
    rows = [
        {
            "method": one.name,
            "family": one.family,
            "acts on": ", ".join(one.changes) or "input or output",
            "needs": ", ".join(one.needs) or "nothing else",
            "in one line": f"${one.formula}$",
            "grade": one.grade,
        }
        for one in METHODS
    ]
    return pd.DataFrame(rows)


def draw() -> Any:
    """Families down the side, what is acted on across, every method in the cells it acts on."""
    lines = [_lines(family) for family in FAMILIES]
    heights = [LINE * count + PADDING for count in lines]
    width, height = COLUMN * len(ACTED_ON), sum(heights)
    figure, axes = plots.figure(HEAD + width, height + 0.45)
    axes.set(xlim=(0, width), ylim=(height, 0))
    axes.grid(False)
    axes.tick_params(length=0, labelsize=SIZE + 0.5)
    axes.spines[:].set_visible(False)
    axes.xaxis.tick_top()
    axes.set_xticks([COLUMN * (place + 0.5) for place in range(len(ACTED_ON))], ACTED_ON)
    top, middles = 0.0, []
    for family, tall in zip(FAMILIES, heights, strict=True):
        middles.append(top + tall / 2)
        _draw_row(axes, family, top, tall)
        top += tall
    axes.set_yticks(middles, FAMILIES)
    return figure


def _lines(family: str) -> int:
    """How many labels stand one above another in the fullest cell of a row."""
    untouched = 2 * any(not one.changes for one in METHODS if one.family == family)
    return max(untouched, *(len(cell(family, thing)) for thing in ACTED_ON))


def _draw_row(axes: Axes, family: str, top: float, tall: float) -> None:
    untouched = [one for one in METHODS if one.family == family and not one.changes]
    if untouched:
        _frame(axes, 0, top, COLUMN * len(ACTED_ON), tall, None)
        _stack(axes, untouched, 0, top, tall)
        note = {"ha": "left", "va": "center", "size": SIZE, "style": "italic"}
        axes.text(COLUMN + 0.09, top + tall / 2, UNTOUCHED, linespacing=1.5, **note)
        return
    for place, thing in enumerate(ACTED_ON):
        methods = cell(family, thing)
        _frame(axes, COLUMN * place, top, COLUMN, tall, TINT if methods else None)
        _stack(axes, methods, COLUMN * place, top, tall)


def _frame(axes: Axes, x: float, y: float, wide: float, tall: float, fill: str | None) -> None:
    colour = fill or "white"
    axes.add_patch(Rectangle((x, y), wide, tall, fc=colour, ec=plots.GRID, lw=0.8, clip_on=False))


def _stack(axes: Axes, methods: Any, x: float, top: float, tall: float) -> None:
    """Labels one above another; a method in two cells has an open mark in both."""
    first = top + (tall - LINE * (len(methods) - 1)) / 2
    for number, method in enumerate(methods):
        y = first + LINE * number
        fill = plots.COLOURS["theta_o"] if len(method.changes) == 1 else "white"
        axes.plot(
            x + 0.11, y, _mark(method), ms=4.5, mfc=fill, mec=plots.COLOURS["theta_o"], mew=1.0
        )
        axes.text(x + 0.21, y, method.name, ha="left", va="center_baseline", size=SIZE)


def _mark(method: Method) -> str:
    return {0: "s", 1: "o"}.get(len(method.changes), "D")


def _words() -> tuple[str, str]:
    count = Counter(thing for one in METHODS for thing in one.changes)
    most, least = (pick(ACTED_ON, key=count.__getitem__) for pick in (max, min))
    caption = (
        f"Of {len(METHODS)} ways to forget, {count[most]} act on the {most}, more than on anything "
        f"else, and only {count[least]} on the {least}. Open diamonds: a method that acts on two "
        "things stands in both cells. Open squares: a method that changes neither the model nor "
        "its training."
    )
    rows = "; ".join(f"{family}: {_row_words(family)}" for family in FAMILIES)
    alt = f"A grid of eight families of methods by the four things that a method acts on. {rows}."
    return caption, alt


def _row_words(family: str) -> str:
    return ", ".join(
        f"{one.name} ({' and '.join(one.changes) or 'input or output'})"
        for one in METHODS
        if one.family == family
    )


STUDIES = (taxonomy,)
