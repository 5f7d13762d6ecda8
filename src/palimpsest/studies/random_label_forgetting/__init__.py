"""Chapter 2: does training on random labels make a model forget a skill, or some answers?

One module a question; all look at the same tasks and models, which :mod:`.cast` makes once.
"""

from types import SimpleNamespace

from palimpsest.core.errors import UserError
from palimpsest.studies.random_label_forgetting import (
    bias,
    controls,
    families,
    grid,
    inside,
    items,
    one_task,
    predictors,
    regimes,
    relatives,
    relearning,
    shallow,
    variants,
)
from palimpsest.studies.random_label_forgetting.cast import open_items
from palimpsest.studies.random_label_forgetting.parameters import Parameters

__all__ = ["STUDIES", "Parameters", "preflight"]

_MODULES = (
    one_task, grid, families, regimes, variants, predictors, items, bias, shallow, relearning,
    controls, relatives, inside,
)  # fmt: skip
STUDIES = {one.name: one for module in _MODULES for one in module.STUDIES}


def preflight(data: str, parameters: SimpleNamespace, seed: int) -> None:
    """Refuse tasks that the chapter cannot be run on, before anything is started.

    Raises:
        UserError, DataError: as :func:`~.cast.open_items`; or there are fewer than two tasks.
    """
    p = parameters
    found = open_items(data, p.tasks, p.train_items, p.test_items, seed)
    if len(found) < 2:
        raise UserError(
            f"Chapter 2 needs at least two tasks, to see what forgetting one does to another, and "
            f"was given {', '.join(found)} alone. Name more, or leave 'tasks' empty for all tasks "
            "of the data."
        )
