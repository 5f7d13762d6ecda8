"""What each label scheme trains on, and where its loss looks."""

import copy
from collections.abc import Callable

import numpy as np
import pytest
import torch
from tiny import tiny_lm
from torch import Tensor

from palimpsest.core.errors import DataError, UserError
from palimpsest.core.guards import assert_gpu_safe
from palimpsest.core.models import LanguageModel
from palimpsest.core.scoring import encode_pairs, score
from palimpsest.core.text import batches
from palimpsest.core.training import Recipe, causal_lm_loss
from palimpsest.forgetting.items import TwoWay
from palimpsest.forgetting.labels import (
    FROZEN,
    SCHEMES,
    RedrawnLabels,
    TwoWayEntropy,
    check_scheme,
    choice_rows,
    flipped_labels,
    frozen_labels,
    random_labels,
    redrawn_labels,
    row_logprobs,
    true_labels,
)

ITEMS = [
    TwoWay("q0", "toy", (("Ada likes", " red."), ("Ada likes", " the blue sea.")), 0, "content"),
    TwoWay("q1", "toy", (("The baker", " sails"), ("The baker bakes", " sails")), 1, "content"),
    TwoWay("q2", "toy", (("Where was Mira born?", " red"), ("Where was Mira born?", " sea")), 1,
           "shared"),
]  # fmt: skip


def many(count: int) -> list[TwoWay]:
    return [
        TwoWay(f"q{n}", "toy", ((f"{n}", " x"), (f"{n}", " y")), n % 2, "shared")
        for n in range(count)
    ]


def test_labels_of_each_scheme() -> None:
    items = many(2000)
    assert true_labels(items).tolist() == [0, 1] * 1000
    assert flipped_labels(items).tolist() == [1, 0] * 1000
    coins = random_labels(items, 0)
    assert abs(coins.mean() - 0.5) < 0.05
    assert abs((coins == true_labels(items)).mean() - 0.5) < 0.05
    assert (coins != random_labels(items, 1)).mean() == pytest.approx(0.5, abs=0.05)
    for scheme in FROZEN:
        expected = {"true": true_labels(items), "flipped": flipped_labels(items)}.get(scheme, coins)
        np.testing.assert_array_equal(frozen_labels(items, scheme, 0), expected)


def test_a_coin_belongs_to_its_item() -> None:
    items = many(100)
    coins = random_labels(items, 5)
    np.testing.assert_array_equal(random_labels(items[::-1], 5), coins[::-1])
    np.testing.assert_array_equal(random_labels(items[:10], 5), coins[:10])
    elsewhere = [TwoWay(one.id, "other", one.pairs, one.label, one.kind) for one in items]
    assert (random_labels(elsewhere, 5) != coins).any()


def test_redrawn_coins_change_from_visit_to_visit() -> None:
    items = many(400)
    visits = np.stack([redrawn_labels(items, 0, visit) for visit in range(20)])
    np.testing.assert_array_equal(visits[3], redrawn_labels(items, 0, 3))
    assert np.abs(visits.mean(axis=0) - 0.5).max() < 0.5
    assert np.abs(np.corrcoef(visits)[np.triu_indices(20, 1)]).max() < 0.25
    assert np.abs(visits.mean(axis=1) - 0.5).max() < 0.1


def test_an_unknown_scheme_is_told_its_neighbour() -> None:
    for scheme in SCHEMES:
        check_scheme(scheme)
    with pytest.raises(UserError, match=r"no label scheme 'randon'; did you mean 'random'"):
        check_scheme("randon")


# --- rows and losses ----------------------------------------------------------------------------


@pytest.fixture(params=["llama", "gpt2"])
def lm(request: pytest.FixtureRequest) -> LanguageModel:
    return tiny_lm(request.param, "bpe-bos" if request.param == "llama" else "bpe-eos-only")


def test_rows_supervise_what_scoring_sums(lm: LanguageModel) -> None:
    rows = [row for pair in choice_rows(lm, ITEMS) for row in pair]
    pairs = [pair for item in ITEMS for pair in item.pairs]
    for row, (context, continuation) in zip(rows, encode_pairs(lm, pairs), strict=True):
        assert row.input_ids.tolist() == context + continuation
        assert row.weights.tolist() == [0.0] * len(context) + [1.0] * len(continuation)
    assert [row.id for row in rows] == ["0", "0", "1", "1", "2", "2"]
    (batch,) = batches(lm, rows, batch_size=8)
    order = np.argsort([len(row) for row in rows], kind="stable")
    expected = [found.logprob for found in score(lm, pairs)]
    with torch.no_grad():
        found = row_logprobs(lm.model, batch).numpy()
    np.testing.assert_allclose(found, np.array(expected)[order], rtol=1e-4)


def by_hand(lm: LanguageModel, model: torch.nn.Module) -> Tensor:
    """[items, 2]: log-probabilities of the continuations, from whole texts one at a time."""
    sums = []
    for item in ITEMS:
        for context, continuation in encode_pairs(lm, item.pairs):
            logits = model(torch.tensor([context + continuation])).logits[0]
            logprobs = logits.log_softmax(-1)
            places = range(len(context), len(context) + len(continuation))
            tokens = context + continuation
            sums.append(sum(logprobs[place - 1, tokens[place]] for place in places))
    return torch.stack(sums).reshape(-1, 2)


def gradients(lm: LanguageModel, loss: Callable[[torch.nn.Module], Tensor]) -> list[Tensor]:
    model = copy.deepcopy(lm.model)
    loss(model).backward()
    return [one.grad for one in model.parameters() if one.grad is not None]


@pytest.mark.parametrize("scheme", ["random", "redrawn", "entropy"])
def test_the_gradient_is_that_of_the_answers_tokens_alone(lm: LanguageModel, scheme: str) -> None:
    rows = choice_rows(lm, ITEMS)
    firsts = [first for first, _ in rows]
    places = np.arange(len(ITEMS))
    if scheme == "entropy":
        (batch,) = batches(lm, firsts, batch_size=8)
        found = gradients(lm, lambda model: TwoWayEntropy(rows)(model, batch))

        def expected(model: torch.nn.Module) -> Tensor:
            p = torch.softmax(by_hand(lm, model), dim=1)
            return (0.5 * torch.log(0.5 / p)).sum(dim=1).mean()
    else:
        visit = 2
        labels = random_labels(ITEMS, 7)
        (batch,) = batches(lm, [rows[n][label] for n, label in enumerate(labels)], batch_size=8)
        loss = causal_lm_loss
        if scheme == "redrawn":
            labels = redrawn_labels(ITEMS, 7, visit)
            (batch,) = batches(lm, firsts, batch_size=8)
            loss = RedrawnLabels(ITEMS, rows, 7)
            with torch.no_grad():
                for _ in range(visit):
                    loss(lm.model, batch)
        found = gradients(lm, lambda model: loss(model, batch))
        tokens = sum(int(rows[n][label].weights.sum()) for n, label in enumerate(labels))

        def expected(model: torch.nn.Module) -> Tensor:
            return -by_hand(lm, model)[places, labels].sum() / tokens

    for one, other in zip(found, gradients(lm, expected), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)


def test_indecision_costs_nothing_and_its_gradient_is_p_less_a_half(lm: LanguageModel) -> None:
    same = [TwoWay("s", "toy", (("Ada likes", " red"), ("Ada likes", " red")), 0, "content")]
    (batch,) = batches(lm, [choice_rows(lm, same)[0][0]], batch_size=1)
    with torch.no_grad():
        found = float(TwoWayEntropy(choice_rows(lm, same))(lm.model, batch))
    assert found == pytest.approx(0.0, abs=1e-5)
    margin = torch.tensor([2.0, -1.0], requires_grad=True)
    logsigmoid = torch.nn.functional.logsigmoid
    (-(logsigmoid(margin) + logsigmoid(-margin)) / 2).sum().backward()
    torch.testing.assert_close(margin.grad, torch.sigmoid(margin.detach()) - 0.5)


def test_losses_never_make_a_gpu_wait(lm: LanguageModel) -> None:
    rows = choice_rows(lm, ITEMS)
    firsts = [first for first, _ in rows]
    for loss in (RedrawnLabels(ITEMS, rows, 0), TwoWayEntropy(rows)):
        assert_gpu_safe(lm, firsts, Recipe(steps=2, batch_size=2), loss=loss)


def test_long_prompts_lose_their_beginning_and_long_answers_are_refused(
    lm: LanguageModel,
) -> None:
    prompt = "Mira Tolden was born in Askerby. " * 20 + "Ada likes"
    item = TwoWay("long", "toy", ((prompt, " red"), (prompt, " blue")), 0, "shared")
    ((first, second),) = choice_rows(lm, [item])
    (context, continuation), _ = encode_pairs(lm, item.pairs)
    assert len(first) == len(second) == lm.max_length < len(context)
    assert first.input_ids.tolist() == (context + continuation)[-lm.max_length :]
    assert first.weights.sum() == len(continuation)
    item = TwoWay("long", "toy", (("Ada", prompt), ("Ada", " red")), 0, "content")
    with pytest.raises(DataError, match="answer to the item 'long' of the task 'toy' has"):
        choice_rows(lm, [item])
