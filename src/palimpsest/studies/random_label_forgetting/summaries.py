"""Means over tasks whose limits are about these very tasks, and values in words."""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from palimpsest.core.results import Value


def mean_of_tasks(table: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """The mean over tasks of ``value`` with limits about *these* tasks: those of the single tasks,
    which rest on different items, combined (Newcombe's square-and-add).

    Args:
        table: a row for each task and each of ``by``, with ``value``, ``low``, ``high``.
    """
    table = table.assign(
        down=(table["value"] - table["low"]) ** 2, up=(table["high"] - table["value"]) ** 2
    )
    groups = table.groupby(list(by), sort=False)
    found = groups[["value"]].mean()
    for name, side, sign in (("low", "down", -1), ("high", "up", 1)):
        found[name] = found["value"] + sign * np.sqrt(groups[side].sum()) / groups.size()
    return found.reset_index()


def over_items(table: pd.DataFrame, unit: str = "accuracy") -> Value:
    """:func:`mean_of_tasks` as one value; ``n`` counts tasks."""
    if table.empty:
        return Value(None, n=0, unit=unit)
    row = mean_of_tasks(table.assign(all=0), ["all"]).iloc[0]
    return Value(row["value"], (row["low"], row["high"]), len(table), unit)


def told(value: Value, form: str = ".2f") -> str:
    """A value with its interval, in words."""
    if value.value is None:
        return "not measured"
    if value.ci95 is None:
        return f"{value.value:{form}}"
    return f"{value.value:{form}} ({value.ci95[0]:{form}} to {value.ci95[1]:{form}})"


def ratio(value: float) -> str:
    return f"{value:.2f}" if math.isfinite(value) else "no value"
