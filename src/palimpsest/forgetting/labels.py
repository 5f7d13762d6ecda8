"""Which answers are trained on: the label schemes of random-label forgetting.

Write l_0 and l_1 for the log-probabilities (nats) of an item's two continuations, y for the index
of the right one, m = l_y − l_{1−y} for the margin and p = σ(m) for the two-way probability of the
right one. With labels, a step minimises the negative log-likelihood −l_k of the labelled
continuation's tokens. What the paper (arXiv:2409.02228) drew, frozen or redrawn labels, could not
be confirmed; they differ in kind, so both are here, with the variants that explain them.
"""

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import PreTrainedModel

from palimpsest.core.errors import DataError, UserError, nearest
from palimpsest.core.models import LanguageModel
from palimpsest.core.scoring import encode_pairs
from palimpsest.core.text import Batch, Row, Store
from palimpsest.core.training import causal_lm_loss, target_logprobs
from palimpsest.forgetting.items import TwoWay, draw

Scheme = Literal["true", "random", "redrawn", "flipped", "entropy"]
SCHEMES: tuple[Scheme, ...] = get_args(Scheme)
FROZEN: tuple[Scheme, ...] = ("true", "random", "flipped")  # one label for each item, for good


def true_labels(items: Sequence[TwoWay]) -> np.ndarray:
    """int64 [n]: the right answers.

    Optimum: −l_y is least at P(right) = 1, so p = 1 on every item.
    """
    return np.array([item.label for item in items], dtype=np.int64)


def flipped_labels(items: Sequence[TwoWay]) -> np.ndarray:
    """int64 [n]: the wrong answers.

    Optimum: p = 0, which is systematic error and not ignorance: 1 − label tells as much as the
    label. On its way there training passes p = 1/2, so to compare its dose it must be stopped.
    """
    return 1 - true_labels(items)


def random_labels(items: Sequence[TwoWay], seed: int) -> np.ndarray:
    """int64 [n]: a fair coin for each item, thrown once and kept.

    A coin depends on the seed and the item alone: caps, order and other items do not move it, and
    the counts of heads and tails are not evened out.

    Optimum: memory. Given the capacity (arXiv:1611.03530) all labels are fitted, p goes to 1 where
    the coin is right and to 0 where it is not: agreement 1, accuracy and mean p about 1/2 on these
    items, and nothing is said about any other.
    """
    return _coins(items, seed, "frozen")


def redrawn_labels(items: Sequence[TwoWay], seed: int, visit: int) -> np.ndarray:
    """int64 [n]: a fair coin for each item, thrown again at each ``visit`` (a count from 0).

    Optimum: the expected loss of an item is −(l_0 + l_1)/2. Two continuations of one context share
    its probability of 1, so it is least where each has 1/2; then p = 1/2. (Where contexts differ,
    as in Winogrande, each likelihood can reach 1 by itself: again m = 0 and p = 1/2.) With
    l_0 = log p_0 and l_1 = log p_1 over the two answers alone it is, but for the constant log 2,
    KL(uniform ‖ model): what :class:`TwoWayEntropy` minimises.
    """
    return _coins(items, seed, f"visit {visit}")


def frozen_labels(items: Sequence[TwoWay], scheme: Scheme, seed: int) -> np.ndarray:
    """int64 [n]: the labels of one of the schemes in :data:`FROZEN`."""
    if scheme == "random":
        return random_labels(items, seed)
    return true_labels(items) if scheme == "true" else flipped_labels(items)


def check_scheme(scheme: str) -> None:
    """Raises:
    UserError: there is no scheme of that name.
    """
    if scheme not in SCHEMES:
        raise UserError(f"There is no label scheme '{scheme}'; {nearest(scheme, SCHEMES)}")


def _coins(items: Sequence[TwoWay], seed: int, which: str) -> np.ndarray:
    coins = [draw(seed, "label", which, item.task, item.id) % 2 for item in items]
    return np.array(coins, dtype=np.int64)


def choice_rows(lm: LanguageModel, items: Sequence[TwoWay]) -> list[tuple[Row, Row]]:
    """Both continuations of each item as rows that supervise exactly the tokens that scoring sums,
    cut from the left to the window. A row's id is its item's place."""
    encoded = encode_pairs(lm, [pair for item in items for pair in item.pairs])
    rows = []
    for place, (context, continuation) in enumerate(encoded):
        item = items[place // 2]
        room = lm.max_length - len(continuation)
        if room < 1:
            raise DataError(
                f"An answer to the item '{item.id}' of the task '{item.task}' has "
                f"{len(continuation)} tokens; with at least one token before it, it must fit the "
                f"model's window of {lm.max_length}. Leave the item out, or take another model."
            )
        context = context[-room:]
        weights = [0.0] * len(context) + [1.0] * len(continuation)
        rows.append(Row(np.array(context + continuation), np.array(weights), str(place // 2)))
    return list(zip(rows[::2], rows[1::2], strict=True))


class RedrawnLabels:
    """The loss under labels that are thrown again at each visit (:func:`redrawn_labels`): the mean
    negative log-likelihood (nats) of the answer tokens of the continuations that the coins name.

    A batch names the items, and the loss takes the row of either continuation: so items come in
    the order and the batches in which they would come with frozen labels. It counts the visits
    itself, and serves one training.

    Args:
        items: [n], for their coins.
        rows: [n], as :func:`choice_rows` makes them; the first ones are those trained on.
        seed: of the coins.
    """

    unit = "row"

    def __init__(self, items: Sequence[TwoWay], rows: Sequence[tuple[Row, Row]], seed: int) -> None:
        self.items, self.seed = items, seed
        self.store = Store([row for pair in rows for row in pair])
        self.visits = [0] * len(items)

    def __call__(self, model: PreTrainedModel, batch: Batch) -> Tensor:
        lines = []
        for place in map(int, batch.ids):
            (label,) = redrawn_labels([self.items[place]], self.seed, self.visits[place])
            lines.append((2 * place + int(label),))
            self.visits[place] += 1
        labelled = self.store.batch(lines, batch.style)
        return causal_lm_loss(model, labelled.to(batch.input_ids.device))


class TwoWayEntropy:
    """The loss that asks for indecision: mean over a batch's items of KL(uniform ‖ model over the
    two answers) = −(log p + log(1 − p))/2 − log 2, in nats; 0 where p = 1/2.

    Its gradient on the margin is p − 1/2, that of redrawn labels in expectation among the two
    answers, without the noise of the coins; unlike them it leaves alone how much probability the
    two have together. Compare the entropy objective of arXiv:2410.08109.

    Args:
        rows: [n], as :func:`choice_rows` makes them; the first ones are those trained on, and the
            loss puts each one's second beside it, so that a batch holds whole items.
    """

    unit = "row"

    def __init__(self, rows: Sequence[tuple[Row, Row]]) -> None:
        self.seconds = Store([second for _, second in rows])

    def __call__(self, model: PreTrainedModel, batch: Batch) -> Tensor:
        partners = self.seconds.batch([(int(place),) for place in batch.ids], batch.style)
        partners = partners.to(batch.input_ids.device)
        margin = row_logprobs(model, batch) - row_logprobs(model, partners)
        indecision = -(F.logsigmoid(margin) + F.logsigmoid(-margin)) / 2
        return (indecision - np.log(2)).mean()


def row_logprobs(model: PreTrainedModel, batch: Batch) -> Tensor:
    """float32 [documents]: sum of the log-probabilities (nats) of each document's supervised
    tokens."""
    logprobs = target_logprobs(model, batch)
    sums = torch.zeros(len(batch.ids), dtype=logprobs.dtype, device=logprobs.device)
    return sums.index_add(0, batch.target_documents, logprobs)
