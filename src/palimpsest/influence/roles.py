"""What a token of a training row does in its two roles: as something read, as something predicted.

The simple token map (``Scores.tokens``) gives the term of the token *before* each prediction, which
has seen the past of the row and is judged by its future. The counterfactual form of appendix B of
arXiv:2308.03296 takes the roles apart, with ``p = (G + λI)^-1 ∇log p(completion | prompt)``:

- **output role**: what if the loss of token t weighed 1 + ε? The derivative is that of
  ``log p(y_t | θ)`` along ``p``: one directional derivative for all tokens at once. Its sum over
  the tokens is the row's score.
- **input role**: what if the embedding of token t were scaled by 1 + ε? With the derivatives
  swapped, it is the change along ``p`` of the gradient of the row's log-probability with respect to
  the embedding, times the embedding.

Derivatives along ``p`` are central differences; both maps are raw scores, positive helps.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from palimpsest.core.errors import ModelError
from palimpsest.core.models import LanguageModel, all_logits
from palimpsest.core.progress import track
from palimpsest.core.text import Row
from palimpsest.influence.factors import Factors
from palimpsest.influence.layers import module_of, weight_form
from palimpsest.influence.passes import frozen
from palimpsest.influence.scores import query_gradients

__all__ = ["input_role", "output_role"]

# The step along p, as a part of the weights' norm over that of p: differences of float32 numbers
# lose about as much to rounding as to curvature there.
_STEP = {torch.float64: 1e-5, torch.float32: 1e-3}


def output_role(
    lm: LanguageModel,
    factors: Factors,
    query: Row,
    rows: Sequence[Row],
    progress: str | None = None,
) -> list[np.ndarray]:
    """For each row float64 [T]: the influence of predicting each token; 0 for the first and for
    those without a weight. Sums to the row's raw score, up to the error of a difference.

    Raises:
        DataError: an empty completion.
        ModelError: the factors are of another model.
    """

    def logprobs(row: Row) -> Tensor:
        with torch.no_grad():
            return _logprobs(lm, row, None)

    return _differences(lm, factors, query, rows, logprobs, progress)


def input_role(
    lm: LanguageModel,
    factors: Factors,
    query: Row,
    rows: Sequence[Row],
    progress: str | None = None,
) -> list[np.ndarray]:
    """For each row float64 [T]: the influence of reading each token, through all that the row
    predicts after it.

    Raises:
        DataError: an empty completion.
        ModelError: the factors are of another model.
    """

    def pulls(row: Row) -> Tensor:
        embedded: list[Tensor] = []
        logprobs = _logprobs(lm, row, embedded)
        (found,) = torch.autograd.grad(logprobs.sum(), embedded)
        return (found * embedded[0].detach())[0].sum(dim=-1)

    return _differences(lm, factors, query, rows, pulls, progress)


def _differences(
    lm: LanguageModel,
    factors: Factors,
    query: Row,
    rows: Sequence[Row],
    measure: Callable[[Row], Tensor],
    progress: str | None,
) -> list[np.ndarray]:
    """The derivative along ``p`` of what ``measure`` gives [T] for each row."""
    factors.check(lm)
    on_device = factors.to(lm)
    direction = {
        name: -on_device.solve(name, gradients[0])
        for name, gradients in query_gradients(lm, factors.layers, [query]).items()
    }
    with frozen(lm):
        size = _norm(lm, factors)
        length = float(torch.sqrt(sum(one.double().square().sum() for one in direction.values())))
        if not length > 0:
            raise ModelError(
                f"The completion of the query '{query.id}' has no gradient in these layers, so no "
                "row has influence on it. Choose other layers."
            )
        step = _STEP.get(lm.dtype, _STEP[torch.float32]) * size / length
        sides: list[list[np.ndarray]] = []
        with track(2 * len(rows), progress) as bar:
            for sign in (1, -1):
                with _moved(lm, factors, direction, sign * step):
                    sides.append([])
                    for row in rows:
                        sides[-1].append(measure(row).detach().double().cpu().numpy())
                        bar.update(1)
    return [(up - down) / (2 * step) for up, down in zip(*sides, strict=True)]


def _norm(lm: LanguageModel, factors: Factors) -> float:
    weights = [module_of(lm, layer).weight for layer in factors.layers]
    return float(torch.sqrt(sum(one.double().square().sum() for one in weights)))


@contextmanager
def _moved(
    lm: LanguageModel, factors: Factors, direction: dict[str, Tensor], step: float
) -> Iterator[None]:
    """The weights moved along a direction inside the block; bit for bit as before after it."""
    kept = []
    for layer in factors.layers:
        module = module_of(lm, layer)
        for name, part in weight_form(layer, direction[layer.name]).items():
            parameter = getattr(module, name)
            kept.append((parameter, parameter.detach().clone()))
            with torch.no_grad():
                parameter.add_(part.to(parameter.dtype), alpha=step)
    try:
        yield
    finally:
        with torch.no_grad():
            for parameter, before in kept:
                parameter.copy_(before)


def _logprobs(lm: LanguageModel, row: Row, embedded: list[Tensor] | None) -> Tensor:
    """[T] weighted log-probabilities of the tokens of a row, 0 for the first; takes the embeddings
    into ``embedded``, as leaves of the graph, if it is a list."""
    ids = torch.from_numpy(row.input_ids.astype(np.int64))[None].to(lm.device)
    weights = torch.from_numpy(row.weights[1:]).to(lm.device)

    def take(_: object, __: object, output: Tensor) -> Tensor:
        if embedded is None:
            return output
        output = output.detach().requires_grad_(True)
        embedded.append(output)
        return output

    handle = lm.model.get_input_embeddings().register_forward_hook(take)
    try:
        logits = all_logits(lm.model, ids)[0, :-1]
    finally:
        handle.remove()
    logits = logits if logits.dtype == torch.float64 else logits.float()
    found = torch.log_softmax(logits, dim=-1).gather(1, ids[0, 1:, None])[:, 0] * weights
    return torch.cat([found.new_zeros(1), found])
