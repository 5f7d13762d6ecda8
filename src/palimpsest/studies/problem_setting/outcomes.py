"""From answers to the measures that the chapter's claims rest on.

With A a model's share of right answers, u an unlearned, r the retrained and o the original model:

- a *gap* is A_u − A_r;
- the *share left* is ρ = (A_u − A_r) / (A_o − A_r), of what retraining removes the part that is
  still there (0: like retrained, 1: nothing removed).

Intervals are 95 %, from resampling people and, where there are several, seeds.
"""

import numpy as np
import pandas as pd

from palimpsest.core import stats
from palimpsest.core.results import Value

# A share of what retraining removes is printed only where there is something to remove
# (reporting rule of the book's evaluation protocol).
SMALLEST_SPAN = 0.2
KEYS = ["seed", "entity", "fact", "prompt", "asked"]


def outcomes(table: pd.DataFrame, group: str) -> pd.DataFrame:
    """One question a row with its ``seed``, ``entity`` and how it was ``asked``; one column a
    model, 1 where it was right.

    Args:
        table: one answer a row: columns ``model``, ``group``, ``correct`` and :data:`KEYS`.
        group: ``forget`` or ``keep``.
    """
    rows = table[table["group"] == group]
    return rows.pivot_table(index=KEYS, columns="model", values="correct").reset_index()


def accuracies(table: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """One row for each group, model and way of asking: the share of right answers, its interval,
    and the number of people."""
    rows = []
    for (group, model, asked), own in table.groupby(["group", "model", "asked"], sort=False):
        share = stats.cluster_bootstrap(own["correct"], own["entity"], seed=seed, outer=_seeds(own))
        rows.append((group, model, asked, share.value, share.low, share.high, share.n))
    columns = ["group", "model", "asked", "accuracy", "low", "high", "people"]
    return pd.DataFrame(rows, columns=columns)


def gap(rows: pd.DataFrame, one: str, other: str, seed: int = 0) -> Value:
    """The share of right answers of one model minus that of another, on the same questions."""
    if rows.empty:
        return Value(None, unit="share")
    found = stats.paired_bootstrap(
        rows[one], rows[other], rows["entity"], seed=seed, outer=_seeds(rows)
    )
    return Value.of(found, "share")


def share_left(
    rows: pd.DataFrame, method: str, asked: str, beside: str = "", seed: int = 0
) -> Value:
    """ρ of a method for one way of asking; with ``beside``, minus ρ for that other way.

    Without a value where a way of asking does not occur, or where A_o − A_r is below
    :data:`SMALLEST_SPAN`, for there is nothing to remove.
    """
    names = [asked, beside] if beside else [asked]
    if not set(names) <= set(rows["asked"]):
        return Value(None, unit="share")
    own = rows[rows["asked"].isin(names)]
    right = own[[method, "theta_r", "theta_o"]].to_numpy(dtype=float)
    masks = [(own["asked"] == name).to_numpy(dtype=float) for name in names]
    for mask in masks:
        _, retrained, original = mask @ right / mask.sum()
        if original - retrained < SMALLEST_SPAN:
            return Value(None, n=own["entity"].nunique(), unit="share")

    def statistic(weights: np.ndarray) -> np.ndarray:  # [draws, questions] -> [draws]
        shares = []
        for mask in masks:
            own_weights = weights * mask
            means = own_weights @ right / own_weights.sum(axis=1, keepdims=True)
            unlearned, retrained, original = means.T
            shares.append((unlearned - retrained) / (original - retrained))
        return shares[0] - sum(shares[1:])

    return Value.of(stats.bootstrap(statistic, _factors(own), right, seed=seed), "share")


def gained(rows: pd.DataFrame, method: str, seed: int = 0) -> Value:
    """What relearning other facts adds to the answers of an unlearned model, minus what it adds to
    those of the retrained one."""
    keys = [key for key in KEYS if key != "asked"]
    before, after = (
        rows[rows["asked"] == asked].set_index(keys)[[method, "theta_r"]]
        for asked in ("direct", "relearned")
    )
    gain = (after - before).dropna().reset_index()
    return gap(gain, method, "theta_r", seed)


def _seeds(rows: pd.DataFrame) -> pd.Series | None:
    return rows["seed"] if rows["seed"].nunique() > 1 else None


def _factors(rows: pd.DataFrame) -> list[stats.Factor]:
    levels = [rows["entity"]] + ([rows["seed"]] if rows["seed"].nunique() > 1 else [])
    found = []
    for labels in levels:
        units, codes = np.unique(labels.to_numpy(), return_inverse=True)
        found.append(stats.Factor(codes, np.zeros(len(units), dtype=np.intp)))
    return found
