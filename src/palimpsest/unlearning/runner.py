"""Unlearn step by step, watch a measure along the path, and stop by a rule stated before."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor
from transformers import PreTrainedModel

from palimpsest.core.models import LanguageModel
from palimpsest.core.text import Batch, Row, batches
from palimpsest.core.training import Loss, Recipe, train

Objective = Callable[[PreTrainedModel, Batch, Batch], Tensor]  # of a forget and a retain batch


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
    objective: Loss | Objective,
    *,
    retain: Sequence[Row] = (),
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
        objective: of a forget batch; with ``retain``, of a forget and a retain batch.
        retain: rows of the retain set. Each forget batch has one of as many retain rows beside it,
            drawn in an order that the recipe's seed shuffles, and again when all were seen.
        measure: what is to fall, read before the first step and after every ``every`` steps.
        stop_at: the level at which to stop.

    Returns:
        The path. ``lm`` is left at the step where the run stopped, in eval mode.
    """
    if retain:
        objective = _Beside(objective, _again_and_again(lm, retain, recipe))
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


class _Beside:
    """A loss of the forget batch that draws the retain batch itself."""

    def __init__(self, objective: Objective, retain: Iterator[Batch]) -> None:
        self.objective, self.retain = objective, retain

    def __call__(self, model: PreTrainedModel, forget: Batch) -> Tensor:
        return self.objective(model, forget, next(self.retain).to(forget.input_ids.device))


def _again_and_again(lm: LanguageModel, rows: Sequence[Row], recipe: Recipe) -> Iterator[Batch]:
    """Batches of ``rows`` without end, shuffled anew in each pass."""
    visit = 0
    while True:
        yield from batches(lm, rows, recipe.batch_size, recipe.pack_length, recipe.seed + visit)
        visit += 1
