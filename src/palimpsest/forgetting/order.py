"""Which items are forgotten: those learned late, those near wrong labels, or none in particular?

The paper finds that items learned early tend to be forgotten late, and leaves open what decides
(random-label digest, section 5). Three answers are tried here. *Order*: when an item is learned
against when it is forgotten, by thresholds as in the paper and without them. *Neighbours*: the
random labels of the training items whose hidden states are nearest. *Kernel*: what the first step
of forgetting does to the item's margin, to first order (section 6.3).
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from palimpsest.core.errors import DataError
from palimpsest.core.metrics import auc
from palimpsest.core.models import LanguageModel
from palimpsest.core.progress import track
from palimpsest.core.scoring import TokenPair, encode_pairs, score_tokens, selected_logits
from palimpsest.core.stats import Factor, Interval, bootstrap
from palimpsest.forgetting.predictors import spearman, weighted_rho

__all__ = ["area", "compare_orders", "crossing", "judge", "kernel_prediction", "nearest_neighbours"]

Floats = NDArray[np.float64]
Pair = tuple[str, str] | TokenPair

THRESHOLD = 0.6
# The paper leaves out tasks with fewer qualifying items.
FEWEST = 100
# Per batch, of both choices together. The graph of two derivatives is kept.
_BATCH_TOKENS = 1024


# --- order --------------------------------------------------------------------------------------


def area(curves: pd.DataFrame) -> pd.Series:
    """The mean of p over the steps of a training run, by item: the area under its curve, by the
    trapezoid rule, over the distance from the first step to the last.

    No threshold is needed. In learning it is large for what is learned early; in forgetting, for
    what is forgotten late.

    Args:
        curves: columns ``item``, ``step``, ``p``; every item at every step, at least two steps.
    """
    square = _square(curves)
    steps = square.columns.to_numpy(np.float64)
    values = np.trapezoid(square.to_numpy(np.float64), steps, axis=1) / (steps[-1] - steps[0])
    return pd.Series(values, index=square.index, name="area")


def crossing(curves: pd.DataFrame, rising: bool, threshold: float = THRESHOLD) -> pd.Series:
    """The first step at which p is above (``rising``), or below, the threshold, by item; NaN if at
    none (section 3, no. 9: above 0.6 in tuning, below 0.6 in forgetting).

    What is on that side at the first step has that step, since when it got there is not seen.
    """
    square = _square(curves)
    values = square.to_numpy(np.float64)
    there = values > threshold if rising else values < threshold
    steps = square.columns.to_numpy(np.float64)[there.argmax(axis=1)]
    found = np.where(there.any(axis=1), steps, math.nan)
    return pd.Series(found, index=square.index, name="step")


def compare_orders(
    learning: pd.DataFrame,
    forgetting: pd.DataFrame,
    fewest: int = FEWEST,
    draws: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """Are the items of a task that are learned early forgotten late? Four ways to ask.

    In each, a *positive* correlation says: learned early, forgotten late.

    - ``area``: areas under p (:func:`area`), all items;
    - ``area given the start``: the same with p at the start of forgetting held fixed (partial rank
      correlation). Tuning ends where forgetting starts, so an item that was learned well has a
      larger area in both for that reason alone. No p-value;
    - ``crossing``: minus the step of crossing 0.6 upwards with that of crossing it downwards, of
      the items that do both after the first step of each run: the paper's way. NaN if they are
      fewer than ``fewest``;
    - ``crossing, all items``: as if items that never rise above 0.6 had done so at the end, and
      those that never fall below at the end too. Shown as a warning: what never rises is below from
      the start, so it counts as learned last and forgotten first, and a correlation appears among
      items that know no order at all (section 9, exercise 8).

    Args:
        learning, forgetting: columns ``item``, ``step``, ``p``: the same items in the run on true
            labels and in the run on random ones.

    Returns:
        One line each: ``measure``, ``value``, ``low``, ``high`` (Spearman, items resampled),
        ``p`` (permutation), ``n`` (items that count).

    Raises:
        DataError: different items, or an item that lacks a step.
    """
    learned, forgotten = area(learning), area(forgetting)
    if set(learned.index) != set(forgotten.index):
        raise DataError(
            "The curves of learning and of forgetting are about different items. Follow the same "
            "items in both runs."
        )
    forgotten = forgotten.reindex(learned.index)
    start = _square(forgetting).iloc[:, 0].reindex(learned.index).to_numpy(np.float64)
    up = crossing(learning, rising=True).to_numpy()
    down = crossing(forgetting, rising=False).reindex(learned.index).to_numpy()
    ends = [(curves["step"].min(), curves["step"].max()) for curves in (learning, forgetting)]
    seen = (up > ends[0][0]) & (down > ends[1][0])
    rows = []

    def add(measure: str, first: Floats, second: Floats, needed: int = 0) -> None:
        if len(first) < needed:
            nothing = {"value": math.nan, "low": math.nan, "high": math.nan, "n": len(first)}
            rows.append({"measure": measure, **nothing, "p": math.nan})
            return
        found = spearman(first, second, draws=draws, seed=seed)
        rows.append({"measure": measure, **vars(found.rho), "p": found.p})

    add("area", learned.to_numpy(), forgotten.to_numpy())
    partial = partial_rho(learned.to_numpy(), forgotten.to_numpy(), start, draws, seed)
    rows.append({"measure": "area given the start", **vars(partial), "p": math.nan})
    add("crossing", -up[seen], down[seen], fewest)
    # One step beyond the last stands for "never".
    never = [last + 1 for _, last in ends]
    everything = [np.where(np.isnan(s), n, s) for s, n in zip((up, down), never, strict=True)]
    add("crossing, all items", -everything[0], everything[1])
    return pd.DataFrame(rows)


# --- predictions --------------------------------------------------------------------------------


def nearest_neighbours(
    train_states: ArrayLike, signs: ArrayLike, test_states: ArrayLike, k: int = 10
) -> Floats:
    """What the labels of the nearest training items say of held-out ones, [N'].

    The mean over the k training items with the largest cosine of (cosine times sign). The training
    items' mean is taken from all states first: without that all cosines are near 1.

    Args:
        train_states: [N, H] at one depth; test_states: [N', H].
        signs: [N], +1 where the random label is the right one and -1 where it is wrong; then a
            large value predicts that the item is kept. For tasks of shared answer words take +1
            for the second choice and -1 for the first instead, and multiply what comes out by the
            held-out item's own label in the same coding.
    """
    train, test = (np.asarray(part, dtype=np.float64) for part in (train_states, test_states))
    signs = np.asarray(signs, dtype=np.float64)
    if train.ndim != 2 or signs.shape != train.shape[:1] or test.shape[1:] != train.shape[1:]:
        raise ValueError(
            f"states [N, H] and [N', H] and signs [N] were expected, not {train.shape}, "
            f"{test.shape} and {signs.shape}"
        )
    if not 1 <= k <= len(train):
        raise ValueError(f"k={k} neighbours of {len(train)} training items")
    centre = train.mean(axis=0)
    train, test = _directions(train - centre), _directions(test - centre)
    found = np.empty(len(test))
    for start in range(0, len(test), 1024):
        cosines = test[start : start + 1024] @ train.T
        near = np.argpartition(-cosines, k - 1, axis=1)[:, :k]
        votes = np.take_along_axis(cosines, near, axis=1) * signs[near]
        found[start : start + 1024] = votes.mean(axis=1)
    return found


def kernel_prediction(
    lm: LanguageModel,
    train: Sequence[tuple[Pair, Pair]],
    targets: ArrayLike,
    test: Sequence[tuple[Pair, Pair]],
    labels: ArrayLike,
    loss: Literal["choice", "tokens"] = "choice",
    progress: str | None = None,
) -> Floats:
    """How fast a first step of forgetting moves the margin of held-out items, [N'], in nats.

    To first order the signed score s = l_1 - l_0 of a held-out x' moves by

        ds(x') = -eta Σ_i K(x', x_i) (p_i - y~_i),   K(x', x_i) = <grad s(x'), grad s(x_i)>,

    for gradient descent at the rate eta on the summed loss -log P(y~_i) of the two-way choice
    (section 6.3; p_i the model's probability of the second choice). K is never formed: the sum over
    i is one gradient g, and <grad s(x'), g> of all x' comes from differentiating twice,
    d/du <Σ u grad s, g>. The cost is linear: some four times that of scoring for the training
    items, eight times for the held-out ones.

    What comes back is the change of the *margin* (right minus wrong) for each unit of eta. Adam
    scales the parameters' steps differently; only the order of items is then to be compared.

    Args:
        train: (context, continuation) of both choices of each forgetting item, as texts or tokens.
        targets: [N], y~: the random label, or the chance that the label is 1 (0.5 for labels that
            are drawn anew each time).
        test, labels: held-out items in the same form, [N'] the index of the right choice.
        loss: ``choice``, as above; ``tokens``, -log p(choice y~) over its tokens, for models that
            were trained on the choice's text and know nothing of the other choice.

    Raises:
        DataError: a text longer than the window.
        ValueError: numbers of items and labels that differ.
    """
    if loss not in ("choice", "tokens"):
        raise ValueError(f"loss={loss!r}; 'choice' or 'tokens' was expected")
    goals, truth = np.asarray(targets, dtype=np.float64), np.asarray(labels, dtype=np.float64)
    if len(goals) != len(train) or len(truth) != len(test):
        raise ValueError("each item needs one label")
    taught, asked = _encoded(lm, train), _encoded(lm, test)
    # Scoring also finds out, outside of any derivative, how the model's head takes positions.
    if loss == "choice":
        logs = np.array([found.logprob for found in score_tokens(lm, taught)]).reshape(-1, 2)
        second = 1 / (1 + np.exp(logs[:, 0] - logs[:, 1]))
        pushes = np.column_stack([goals - second, second - goals])
    else:
        score_tokens(lm, taught[:1])
        pushes = np.column_stack([goals - 1, -goals])
    signs = np.column_stack([1 - 2 * truth, 2 * truth - 1]).ravel()
    found = np.zeros(len(signs))
    with (
        _differentiable(lm.model) as parameters,
        track(len(taught) + len(asked), progress, unit="text") as bar,
    ):
        descent = [torch.zeros_like(parameter) for parameter in parameters]
        for group in _batches(taught):
            weights = torch.tensor(pushes.ravel()[group], dtype=torch.float32, device=lm.device)
            total = (_logprobs(lm, [taught[place] for place in group]) * weights).sum()
            slopes = torch.autograd.grad(total, parameters, allow_unused=True)
            for held, slope in zip(descent, slopes, strict=True):
                if slope is not None:
                    held.add_(slope)
            bar.update(len(group))
        for group in _batches(asked):
            logprobs = _logprobs(lm, [asked[place] for place in group])
            dummy = torch.zeros_like(logprobs, requires_grad=True)
            slopes = torch.autograd.grad(
                logprobs, parameters, dummy, create_graph=True, allow_unused=True
            )
            along = sum(
                (slope * held).sum()
                for slope, held in zip(slopes, descent, strict=True)
                if slope is not None
            )
            moved = torch.autograd.grad(along, dummy)[0]
            found[group] = -moved.double().cpu().numpy()
            bar.update(len(group))
    return (found * signs).reshape(-1, 2).sum(axis=1)


def judge(
    predicted: ArrayLike, both: pd.DataFrame, draws: int = 2000, seed: int = 0
) -> pd.DataFrame:
    """How good a prediction of each item's fate is; large must mean kept.

    Args:
        predicted: [N], one number an item.
        both: the items' answers before and after (``measures.join``), in the same order, of one
            label draw.

    Returns:
        Two lines, ``measure``, ``value``, ``low``, ``high``, ``n``, ``p``: ``margin change``,
        Spearman's rho of the prediction with margin after minus before; ``kept or forgotten``, the
        AUC for the items right before, those still right against those wrong now (no p-value).
    """
    predicted = np.asarray(predicted, dtype=np.float64)
    if len(predicted) != len(both):
        raise ValueError(f"{len(predicted)} predictions for {len(both)} items")
    change = (both["margin"] - both["margin_before"]).to_numpy(np.float64)
    moved = spearman(predicted, change, draws=draws, seed=seed)
    was, still = (both[name].to_numpy(dtype=bool) for name in ("correct_before", "correct"))
    split = auc(predicted[was & still], predicted[was & ~still], draws=draws, seed=seed)
    return pd.DataFrame(
        [
            {"measure": "margin change", **vars(moved.rho), "p": moved.p},
            {"measure": "kept or forgotten", **vars(split), "p": math.nan},
        ]
    )


# --- parts --------------------------------------------------------------------------------------


def _square(curves: pd.DataFrame) -> pd.DataFrame:
    """[items, steps] of p, items in the order in which they come, steps ascending."""
    if curves.duplicated(["item", "step"]).any():
        raise DataError("An item has several values at one step; follow one run of one task.")
    square = curves.pivot(index="item", columns="step", values="p")
    square = square.reindex(pd.unique(curves["item"]))
    if square.shape[1] < 2 or square.isna().any(axis=None):
        raise DataError(
            f"Curves of p over training need every item at every step and at least two steps; "
            f"there are {square.shape[1]} steps and {int(square.isna().sum().sum())} gaps."
        )
    return square


def partial_rho(
    first: Floats, second: Floats, fixed: Floats, draws: int = 2000, seed: int = 0
) -> Interval:
    """Spearman's partial correlation of two quantities, [n] each, with a third held fixed; items
    resampled. NaN below five items, or where one of the three does not vary."""
    data = np.stack([first, second, fixed])
    if len(first) < 5 or not np.ptp(data, axis=1).min() > 0:
        return Interval(math.nan, math.nan, math.nan, len(first))

    def statistic(weights: Floats) -> Floats:
        both, one, other = (
            weighted_rho(a, b, weights)
            for a, b in ((first, second), (first, fixed), (second, fixed))
        )
        left = (1 - one**2) * (1 - other**2)
        # Nothing varies any more if the third settles one of the two.
        return (both - one * other) / np.sqrt(np.where(left > 1e-6, left, math.nan))

    units = Factor(np.arange(len(first)), np.zeros(len(first), dtype=np.intp))
    return bootstrap(statistic, [units], data, draws, seed, (-1.0, 1.0))


def _directions(states: Floats) -> Floats:
    lengths = np.linalg.norm(states, axis=1, keepdims=True)
    return np.divide(states, lengths, out=np.zeros_like(states), where=lengths > 0)


def _encoded(lm: LanguageModel, choices: Sequence[tuple[Pair, Pair]]) -> list[TokenPair]:
    """Both choices of each item, one after the other, as tokens; long texts lose their start."""
    flat = [pair for both in choices for pair in both]
    spoken = len(flat) > 0 and isinstance(flat[0][0], str)
    found = []
    for number, (context, answer) in enumerate(encode_pairs(lm, flat) if spoken else flat):
        room = lm.max_length + 1 - len(answer)
        if room < 1 or not answer or not context:
            raise DataError(
                f"A choice of item {number // 2 + 1} has {len(context)} tokens of context and "
                f"{len(answer)} of answer; at least one of each was expected, and an answer within "
                f"{lm.name}'s window of {lm.max_length}. Leave that item out."
            )
        found.append((list(context[-room:]), list(answer)))
    return found


def _batches(pairs: list[TokenPair]) -> Iterator[list[int]]:
    """Places of pairs of one length, longest first: nothing is padded."""
    lengths = [len(context) + len(answer) for context, answer in pairs]
    group: list[int] = []
    for place in sorted(range(len(pairs)), key=lambda place: -lengths[place]):
        full = (len(group) + 1) * lengths[place] > _BATCH_TOKENS
        if group and (full or lengths[place] != lengths[group[0]]):
            yield group
            group = []
        group.append(place)
    if group:
        yield group


def _logprobs(lm: LanguageModel, pairs: list[TokenPair]) -> Tensor:
    """float32 [B], with a graph: log-probability of each answer, nats, of pairs of one length."""
    device = lm.device
    ids = torch.tensor([[*context, *answer] for context, answer in pairs], device=device)
    counts = [len(answer) for _, answer in pairs]
    lines = torch.repeat_interleave(torch.tensor(counts)).to(device)
    targets = torch.tensor([token for _, answer in pairs for token in answer], device=device)
    last = ids.shape[1] - 1
    columns = torch.cat([torch.arange(last - count, last) for count in counts]).to(device)
    logits = selected_logits(lm.model, ids[:, :-1], lines, columns).float()
    tokens = torch.log_softmax(logits, dim=-1).gather(1, targets[:, None])[:, 0]
    return torch.zeros(len(pairs), device=device).index_add(0, lines, tokens)


@contextmanager
def _differentiable(model: nn.Module) -> Iterator[list[nn.Parameter]]:
    """The model's weights, all of them with gradients, in eval mode; afterwards all is as it was.

    The fused kernels of attention cannot be differentiated twice, plain mathematics can.
    """
    training = model.training
    parameters = [one for one in model.parameters() if one.is_floating_point()]
    wanted = [parameter.requires_grad for parameter in parameters]
    model.eval()
    for parameter in parameters:
        parameter.requires_grad_(True)
    try:
        with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):
            yield parameters
    finally:
        for parameter, before in zip(parameters, wanted, strict=True):
            parameter.requires_grad_(before)
        model.train(training)
