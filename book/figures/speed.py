"""Draw what the answers of chapter 2 cost, from the committed `benchmarks/forgetting.json`.

`python benchmarks/forgetting.py` measures; `python book/figures/speed.py` draws: the line of time
against items, and a table beside lm-eval's backend, both beside this script.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from palimpsest.core import plots

HERE = Path(__file__).resolve().parent
REPORT = HERE.parents[1] / "benchmarks" / "forgetting.json"
MARKS = {50: ("#56B4E9", "^"), 100: ("#E69F00", "s"), 200: ("#0072B2", "o")}


def growth(report: dict[str, Any]) -> Figure:
    """Seconds against items, with the straight line through them."""
    rows = pd.DataFrame(report["growth"]["rows"])
    with plots.style():
        figure, axes = plots.figure(6.0, 3.2)
        for most, part in rows.groupby("items_per_task"):
            colour, marker = MARKS.get(most, (plots.INK, "D"))
            axes.plot(
                part["items"], part["processor"], marker, color=colour, ms=6,
                label=f"{most} items a task",
            )  # fmt: skip
        ends = np.array([0, rows["items"].max()])
        slope, start = report["growth"]["milliseconds"] / 1000, report["growth"]["intercept"]
        axes.plot(ends, start + slope * ends, color=plots.INK, lw=0.9, ls="--", label="line")
        axes.set(xlabel="items answered", ylabel="seconds", ylim=(0, None), xlim=(0, None))
        plots.legend_below(figure, axes)
        return figure


def beside(report: dict[str, Any]) -> pd.DataFrame:
    """The same items here and in lm-eval: who, seconds, and how many times the seconds here."""
    found = report["comparison"]
    times = {
        "here": found["ours"],
        "here, the first time": found["first"],
        **{_theirs(size): one for size, one in found["theirs"].items()},
    }
    rows = [
        (
            name, f"{one['clock']:.1f}", f"{one['processor']:.1f}",
            f"{one['processor'] / found['ours']['processor']:.1f}",
        )
        for name, one in times.items()
    ]  # fmt: skip
    columns = ["answered by", "seconds", "seconds of the processor", "times the first line"]
    return pd.DataFrame(rows, columns=columns)


def _theirs(size: str) -> str:
    return f"lm-eval, batches of {size}" + (", its default" if size == "1" else "")


if __name__ == "__main__":
    told = json.loads(REPORT.read_text(encoding="utf-8"))
    (HERE / "speed-items.svg").write_bytes(plots.svg(growth(told)))
    beside(told).to_csv(HERE / "speed-lm-eval.csv", index=False, lineterminator="\n")
