"""Results as a reader sees them: numbers with intervals, tables, figures, verdicts."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
import pandas as pd
from pandas.api.types import is_bool_dtype, is_numeric_dtype

from palimpsest.core.results import Value

VERDICT_WORDS = {
    "holds": "holds",
    "fails": "does not hold",
    "inconclusive": "inconclusive",
    "not-tested": "not tested",
}
MISSING = "–"
MINUS = "−"
SVG = "image/svg+xml"
# Metadata of a cell's output under which the site finds what a figure is.
FIGURE_KEY = "palimpsest"


def number(value: float | None, form: str = "") -> str:
    """A number in the given format, three significant digits if none is given.

    Raises:
        ValueError: the format is not one of Python's for numbers.
    """
    if value is None:
        return MISSING
    if not form:
        form = "d" if float(value).is_integer() and abs(value) < 1e6 else ".3g"
    return format(int(value) if form == "d" else value, form).replace("-", MINUS)


def with_interval(value: dict[str, Any], form: str = "") -> str:
    """``0.43 (95 % interval 0.31 to 0.55, n = 20)``, from a value's entry in ``results.json``."""
    shown = number(value["value"], form)
    if value["value"] is None:
        return shown
    notes = []
    if value["ci95"] is not None:
        low, high = (number(end, form) for end in value["ci95"])
        notes.append(f"95 % interval {low} to {high}")
    if value.get("n") is not None:
        notes.append(f"n = {value['n']}")
    return f"{shown} ({', '.join(notes)})" if notes else shown


def rule_words(rule: str) -> str:
    """A rule with the mathematical signs: ``agreement ≥ 0.9``."""
    return rule.replace("<=", "≤").replace(">=", "≥")


class ShownValue(Value):
    """A value that prints with its interval and n."""

    def __str__(self) -> str:
        return with_interval({"value": self.value, "ci95": self.ci95, "n": self.n})

    __repr__ = __str__

    def __float__(self) -> float:
        return float("nan") if self.value is None else self.value

    def __format__(self, form: str) -> str:
        return number(self.value, form) if form else str(self)


class BookTable(pd.DataFrame):
    """A table of a study; in a notebook it is shown in the book's style, and so are its parts
    (``table.query(...)``, ``table[columns]``). An index is shown if it has a name."""

    _metadata = ("digits",)

    def __init__(self, *args: Any, digits: int = 3, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.digits = digits

    @property
    def _constructor(self) -> type["BookTable"]:
        return BookTable

    def _repr_html_(self) -> str:
        named = any(name is not None for name in self.index.names)
        frame = pd.DataFrame(self).reset_index() if named else pd.DataFrame(self)
        head = [_words(name) for name in frame.columns]
        columns = [frame.iloc[:, place] for place in range(frame.shape[1])]
        numeric = [is_numeric_dtype(c.dtype) and not is_bool_dtype(c.dtype) for c in columns]
        cells = [[self._cell(value) for value in column] for column in columns]
        rows = [list(row) for row in zip(*cells, strict=True)]
        return rows_html(head, rows, "study", numeric)

    def _cell(self, value: Any) -> str:
        if pd.api.types.is_scalar(value) and pd.isna(value):
            return MISSING
        if isinstance(value, float | np.floating):
            return number(float(value), f".{self.digits}g")
        return str(value)


def _words(name: Any) -> str:
    parts = name if isinstance(name, tuple) else (name,)
    return " ".join(str(part) for part in parts if part != "").replace("_", " ")


@dataclass(frozen=True)
class FigureView:
    """A figure of a study; in a notebook it is shown as SVG, and the site finds its caption."""

    name: str
    svg: str
    caption: str
    alt: str

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> tuple[dict, dict]:
        data = {SVG: self.svg, "text/plain": f"{self.caption}\n[{self.alt}]"}
        about = {"figure": self.name, "caption": self.caption, "alt": self.alt}
        return data, {FIGURE_KEY: about}


def rows_html(
    head: list[str], rows: list[list[str]], kind: str, numeric: Sequence[bool] = ()
) -> str:
    """A small HTML table; every cell is escaped, columns of numbers are set to the right."""
    ranged = [*numeric, *[False] * (len(head) - len(numeric))]

    def line(tag: str, cells: list[str]) -> str:
        made = (
            f'<{tag} class="number">{escape(cell)}</{tag}>'
            if right
            else f"<{tag}>{escape(cell)}</{tag}>"
            for cell, right in zip(cells, ranged, strict=True)
        )
        return f"<tr>{''.join(made)}</tr>"

    body = "".join(line("td", row) for row in rows)
    return (
        f'<table class="palimpsest-table {kind}"><thead>{line("th", head)}</thead>'
        f"<tbody>{body}</tbody></table>"
    )


def rows_text(head: list[str], rows: list[list[str]]) -> str:
    """The same for a terminal: columns aligned by spaces."""
    table = [head, *rows]
    widths = [max(len(row[i]) for row in table) for i in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in table
    )


def rows_markdown(head: list[str], rows: list[list[str]]) -> str:
    """The same as a Markdown table."""

    def line(cells: list[str]) -> str:
        escaped = (cell.replace("|", "\\|").replace("\n", " ") for cell in cells)
        return "| " + " | ".join(escaped) + " |"

    return "\n".join([line(head), line(["---"] * len(head)), *(line(row) for row in rows)])
