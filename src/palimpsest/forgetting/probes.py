"""Is the answer still in there? Linear probes on hidden states, before and after forgetting.

The paper finds that probes recover a task about as well after forgetting as after tuning (random-
label digest, section 3, no. 8, and section 5). A probe reads the hidden state of (question, answer)
and says whether the answer is right. Where in the text the paper reads it is not known to us; here
it is the answer's last token, or the mean over its tokens. *Depth* counts blocks as in
``core.inside``: 0 enters the first block, L leaves the last one, before the model's last norm.

Accuracy alone says as much about the probe as about the model, so every probe has a control that is
fitted in the same way on shuffled labels; what it is better by is its *selectivity* (Hewitt and
Liang, arXiv:1909.03368; they shuffle by word, here items have nothing to shuffle by).
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike, NDArray
from scipy import special

from palimpsest.core.errors import DataError, ModelError
from palimpsest.core.layers import blocks, recorded
from palimpsest.core.models import LanguageModel
from palimpsest.core.progress import track
from palimpsest.core.scoring import TokenPair, encode_pairs, reading, selected_logits
from palimpsest.core.stats import Interval, cluster_bootstrap, paired_bootstrap

__all__ = ["LogisticProbe", "fit", "hidden_states", "pair_states", "probe"]

Floats = NDArray[np.float64]
Pair = tuple[str, str] | TokenPair
Place = Literal["question", "answer", "answer mean"]

# Strengths of the penalty that cross-validation chooses from, in units of standardised features.
PENALTIES = (1e-1, 1e0, 1e1, 1e2, 1e3, 1e4)
FOLDS = 5
SHUFFLES = 5
_BATCH_TOKENS = 4096
_STEPS = 50


def hidden_states(
    lm: LanguageModel, pairs: Sequence[Pair], place: Place = "answer", progress: str | None = None
) -> NDArray[np.float32]:
    """The hidden states of texts at one place, at every depth.

    Texts of one length are read together, so that nothing is padded.

    Args:
        pairs: (context, continuation) as ``scoring.score`` takes them, or their token ids. Texts
            longer than the window lose their beginning.
        place: the ``question``'s last token (the continuation is not read), the ``answer``'s last
            token, or the mean over its tokens.
        progress: label of a progress report, None for none.

    Returns:
        float32 [L + 1, N, H].

    Raises:
        ModelError: the model's blocks cannot be found or hand on no state for each token.
        DataError: an answer without tokens, or longer than the window.
    """
    if place not in ("question", "answer", "answer mean"):
        raise ValueError(f"place={place!r}; 'question', 'answer' or 'answer mean' was expected")
    spoken = len(pairs) > 0 and isinstance(pairs[0][1], str)
    texts = []
    for number, (context, answer) in enumerate(encode_pairs(lm, pairs) if spoken else pairs, 1):
        count = 1 if place == "question" else len(answer)
        ids = context if place == "question" else [*context, *answer]
        if not 0 < count <= min(len(ids), lm.max_length):
            raise DataError(
                f"Pair {number} has {len(context)} tokens of context and {len(answer)} of answer; "
                f"at least one of each was expected, and an answer within {lm.name}'s window of "
                f"{lm.max_length}. Change or leave out that pair."
            )
        texts.append((ids[-lm.max_length :], count if place == "answer mean" else 1))
    if not texts:
        raise DataError("There are no texts to read hidden states of; at least one was expected.")
    stack = blocks(lm.model)
    found: NDArray[np.float32] | None = None
    with reading(lm.model), track(len(texts), progress, unit="text") as bar:
        for group in _groups([len(ids) for ids, _ in texts]):
            ids = torch.tensor([texts[number][0] for number in group], device=lm.device)
            last = torch.full((len(group),), ids.shape[1] - 1, device=lm.device)
            counts = torch.tensor([texts[number][1] for number in group], device=lm.device)[:, None]
            from_end = torch.arange(ids.shape[1] - 1, -1, -1, device=lm.device)
            wanted = (from_end < counts) / counts
            with recorded(stack) as recording:
                # One position a text: the vocabulary projection is not what is wanted.
                selected_logits(lm.model, ids, torch.arange(len(group), device=lm.device), last)
            for depth, state in enumerate(recording.states()):
                if state.shape[-3:-1] != ids.shape:
                    raise ModelError(
                        f"The hidden states of {lm.name} do not stand token by token, so its "
                        "inside cannot be read. Use a model whose blocks hand on [texts, tokens, "
                        "width]."
                    )
                width = state.numel() // ids.numel()
                if found is None:
                    found = np.empty((len(stack) + 1, len(texts), width), np.float32)
                # One transfer a depth: [..., B, T, H] to the mean over the places wanted, [B, H].
                kept = (state.float() * wanted[..., None]).sum(dim=-2).movedim(-2, 0)
                found[depth, group] = kept.reshape(len(group), width).cpu().numpy()
            bar.update(len(group))
    return found


def pair_states(
    lm: LanguageModel,
    choices: Sequence[tuple[Pair, Pair]],
    place: Place = "answer",
    progress: str | None = None,
) -> NDArray[np.float32]:
    """float32 [L + 1, N, 2, H]: :func:`hidden_states` of both choices of each item.

    Args:
        choices: for each item both (context, continuation), in the order of the item's choices.
    """
    flat = [pair for both in choices for pair in both]
    states = hidden_states(lm, flat, place, progress)
    return states.reshape(len(states), len(choices), 2, -1)


class LogisticProbe:
    """Logistic regression with a penalty on the squared weights, in float64.

    It minimises Σ_i log(1 + exp(-z_i)) + penalty/2 |w|², z_i = ±(w·x_i + b), with x standardised by
    the training data and b free. Turned into the space that the training data span, which changes
    nothing, the problem has at most as many unknowns as there are observations; there Newton's
    method is exact and quick.

    Args:
        features: [N, H]; labels: [N], 0 or 1.
    """

    def __init__(self, features: ArrayLike, labels: ArrayLike) -> None:
        features = np.asarray(features, dtype=np.float64)
        self.labels = np.asarray(labels, dtype=np.float64)
        self.mean, spread = features.mean(axis=0), features.std(axis=0)
        # A unit that says the same of every text has no say.
        self.scale = np.divide(1.0, spread, out=np.zeros_like(spread), where=spread > 1e-12)
        left, size, right = np.linalg.svd((features - self.mean) * self.scale, full_matrices=False)
        rank = int((size > 1e-10 * max(size[0], 1e-300)).sum())
        self.basis = right[:rank].T
        self.turned = np.column_stack([left[:, :rank] * size[:rank], np.ones(len(features))])
        self.weights = np.zeros(rank + 1)

    def solve(self, penalty: float, labels: ArrayLike | None = None) -> "LogisticProbe":
        """Fit, starting from the weights that are there; ``labels`` instead of the own."""
        target = self.labels if labels is None else np.asarray(labels, dtype=np.float64)
        ridge = np.full(len(self.weights), penalty)
        ridge[-1] = 0.0  # the intercept is free

        def loss(weights: Floats) -> float:
            score = self.turned @ weights
            fit = np.logaddexp(0.0, score).sum() - target @ score
            return float(fit + (ridge * weights**2).sum() / 2)

        weights, now = self.weights, loss(self.weights)
        for _ in range(_STEPS):
            chance = special.expit(self.turned @ weights)
            slope = self.turned.T @ (chance - target) + ridge * weights
            curve = (self.turned * (chance * (1 - chance))[:, None]).T @ self.turned
            # The intercept alone has no ridge: with one label only it would run away.
            curve[np.diag_indices_from(curve)] += ridge + 1e-9
            step = np.linalg.solve(curve, slope)
            size = 1.0
            while loss(weights - size * step) > now + 1e-12 * abs(now) and size > 1e-6:
                size /= 2
            weights = weights - size * step
            before, now = now, loss(weights)
            if before - now <= 1e-10 * max(1.0, abs(now)):
                break
        self.weights = weights
        return self

    def score(self, features: ArrayLike) -> Floats:
        """[N] log-odds that the answer is right."""
        features = np.asarray(features, dtype=np.float64)
        standard = (features - self.mean) * self.scale
        return standard @ (self.basis @ self.weights[:-1]) + self.weights[-1]


def fit(states: ArrayLike, labels: ArrayLike, seed: int = 0) -> tuple[LogisticProbe, float]:
    """A probe with the penalty that cross-validation on the training items chooses.

    Five folds of items (both answers of an item stay together); the penalty with the least mean
    loss on what was left out, of equal ones the largest.

    Args:
        states: [N, 2, H], both choices of each item; labels: [N], the index of the right one.

    Returns:
        The probe, fitted to all items, and the penalty.
    """
    states = np.asarray(states, dtype=np.float64)
    labels = np.asarray(labels)
    targets = _targets(labels)
    order = np.random.default_rng(seed).permutation(len(states))
    fold = np.empty(len(states), dtype=np.intp)
    fold[order] = np.arange(len(states)) % FOLDS
    losses = np.zeros(len(PENALTIES))
    for left_out in range(min(FOLDS, len(states))):
        kept = fold != left_out
        model = LogisticProbe(_flat(states[kept]), targets[kept].ravel())
        # From the strongest down: each solution is where the next begins.
        for place in reversed(range(len(PENALTIES))):
            score = model.solve(PENALTIES[place]).score(_flat(states[~kept]))
            losses[place] += (np.logaddexp(0.0, score) - targets[~kept].ravel() * score).sum()
    best = np.flatnonzero(losses <= losses.min() * (1 + 1e-9))[-1]
    model = LogisticProbe(_flat(states), targets.ravel()).solve(PENALTIES[best])
    return model, PENALTIES[best]


def probe(
    train_states: ArrayLike,
    train_labels: ArrayLike,
    test_states: ArrayLike,
    test_labels: ArrayLike,
    draws: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """How well a linear probe tells right answers from wrong ones, at every depth.

    Two ways to score the test items: *threshold*, each answer alone, right if its odds are above
    even, an item counting 0, 1/2 or 1; *pair*, whether the right answer of an item has the larger
    odds, ties counting half. The control is the same probe, with the same penalty, fitted with the
    two labels of every training item kept or exchanged at random, five times.

    Args:
        train_states, test_states: [D, N, 2, H] of :func:`pair_states`; train_labels, test_labels:
            [N], the index of the right choice. Items must not be in both.

    Returns:
        One line for each depth and way to score: ``depth``, ``scored`` (threshold, pair),
        ``penalty``, ``value``, ``low``, ``high`` (accuracy with its interval over test items),
        ``control`` (accuracy of the control), ``selectivity``, ``selectivity_low``,
        ``selectivity_high`` (accuracy minus control, on the same items), ``n`` (test items).

    Raises:
        DataError: fewer than ten training items, or no test items.
    """
    train, test = np.asarray(train_states), np.asarray(test_states)
    labels, truth = np.asarray(train_labels), np.asarray(test_labels)
    if train.shape[1] < 2 * FOLDS or test.shape[1] < 1:
        raise DataError(
            f"A probe had {train.shape[1]} items to learn from and {test.shape[1]} to be tested "
            f"on; at least {2 * FOLDS} and 1 were expected. Give more items."
        )
    rng = np.random.default_rng(seed)
    exchanged = rng.random((SHUFFLES, len(labels))) < 0.5
    rows = []
    for depth in range(len(train)):
        model, penalty = fit(train[depth], labels, seed)
        found = _scored(model, test[depth], truth)
        controls = []
        for which in exchanged:
            shuffled = _targets(np.where(which, 1 - labels, labels)).ravel()
            controls.append(_scored(model.solve(penalty, shuffled), test[depth], truth))
        for place, scored in enumerate(("threshold", "pair")):
            control = np.mean([other[place] for other in controls], axis=0)
            value = cluster_bootstrap(found[place], draws=draws, seed=seed)
            gap = paired_bootstrap(found[place], control, draws=draws, seed=seed)
            rows.append(
                {
                    "depth": depth,
                    "scored": scored,
                    "penalty": penalty,
                    **vars(_within(value)),
                    "control": float(control.mean()),
                    "selectivity": gap.value,
                    "selectivity_low": max(-1.0, gap.low),
                    "selectivity_high": min(1.0, gap.high),
                }
            )
    return pd.DataFrame(rows)


# --- parts --------------------------------------------------------------------------------------


def _groups(lengths: list[int]) -> list[list[int]]:
    """Places of texts, longest first; those of a group are equally long and not too many."""
    groups: list[list[int]] = []
    for place in sorted(range(len(lengths)), key=lambda place: -lengths[place]):
        group = groups[-1] if groups else []
        fits = (len(group) + 1) * lengths[place] <= _BATCH_TOKENS
        if group and fits and lengths[group[0]] == lengths[place]:
            group.append(place)
        else:
            groups.append([place])
    return groups


def _targets(labels: NDArray[np.generic]) -> Floats:
    """[N, 2]: whether each choice is the right one."""
    return (labels[:, None] == np.arange(2)).astype(np.float64)


def _flat(states: Floats) -> Floats:
    return states.reshape(-1, states.shape[-1])


def _scored(
    model: LogisticProbe, states: NDArray[np.generic], labels: NDArray[np.generic]
) -> tuple[Floats, Floats]:
    """[N] each: the share of an item's two answers told, and whether the right one is ahead."""
    score = model.score(_flat(states)).reshape(-1, 2)
    told = ((score > 0) == (_targets(labels) == 1)).mean(axis=1)
    ahead = np.take_along_axis(score, labels[:, None].astype(np.intp), axis=1)[:, 0]
    behind = np.take_along_axis(score, 1 - labels[:, None].astype(np.intp), axis=1)[:, 0]
    return told, (ahead > behind) + 0.5 * (ahead == behind)


def _within(interval: Interval) -> Interval:
    """A mean of shares lies between 0 and 1."""
    return Interval(interval.value, max(0.0, interval.low), min(1.0, interval.high), interval.n)
