"""Unlearn step by step, watch a measure along the path, and stop by a rule stated before."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from palimpsest.core.models import LanguageModel
from palimpsest.core.text import Row
from palimpsest.core.training import Loss, Recipe, train


@dataclass(frozen=True)
class UnlearningPath:
    """The measure along the way.

    ``steps[i]`` optimiser steps were taken when ``measure[i]`` was read (``steps[0] == 0``);
    ``reached`` says whether the rule stopped the run, ``seconds`` what the whole run took.
    """

    steps: tuple[int, ...]
    measure: tuple[float, ...]
    reached: bool
    seconds: float


def unlearn(
    lm: LanguageModel,
    forget: Sequence[Row],
    recipe: Recipe,
    objective: Loss,
    *,
    measure: Callable[[LanguageModel], float],
    stop_at: float,
    every: int = 1,
) -> UnlearningPath:
    """Train ``lm`` in place on ``objective`` until ``measure(lm) <= stop_at`` or the steps run out.

    The measure must be read on data that the results are *not* reported on: the survey's complaint
    (arXiv:2402.08787) is that stopping points are chosen on the test.

    Args:
        forget: rows of the forget set.
        recipe: its ``steps`` are the budget.
        measure: what is to fall, read before the first step and after every ``every`` steps.
        stop_at: the level at which to stop.

    Returns:
        The path. ``lm`` is left at the step where the run stopped, in eval mode.
    """
    steps, values = [0], [measure(lm)]
    if values[0] <= stop_at:
        return UnlearningPath((0,), tuple(values), True, 0.0)

    def watch(step: int, _model: object) -> bool:
        if step % every and step != recipe.steps:
            return False
        lm.model.eval()
        steps.append(step)
        values.append(measure(lm))
        lm.model.train()
        return values[-1] <= stop_at

    history = train(lm, forget, recipe, loss=objective, on_step=watch, progress="unlearning")
    return UnlearningPath(tuple(steps), tuple(values), values[-1] <= stop_at, history.seconds)
