"""Statistics."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Interval:
    """An estimate with a 95 % interval; ``n`` counts the units resampled (entities, items)."""

    value: float
    low: float
    high: float
    n: int
