"""The goldfish loss against a loop over tokens, in PyTorch, in the book's loop and in a Trainer."""

import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import tiny_lm
from torch.nn import functional as F
from transformers import DataCollatorForLanguageModeling, Trainer, TrainingArguments

from palimpsest.core.errors import DataError
from palimpsest.core.text import Row, text_rows
from palimpsest.core.training import Recipe, train
from palimpsest.goldfish import loss as goldfish
from palimpsest.goldfish.loss import (
    GoldfishCollator,
    gathered_loss,
    goldfish_loss,
    kept_in_step,
    masked_rows,
)
from palimpsest.goldfish.mask import HashedMask, RandomMask, StaticMask

MASK = HashedMask(k=3, h=2)


def ids_of(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(3, 60, shape, generator=torch.Generator().manual_seed(seed))


def logits_of(*shape: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(*shape, 60, generator=generator).requires_grad_()


# --- the loss of one batch ----------------------------------------------------------------------


def test_it_is_the_mean_over_what_is_kept() -> None:
    ids, logits = ids_of(3, 20), logits_of(3, 20)
    labels = ids.clone()
    labels[:, :4] = -100  # a prompt
    keep = MASK(ids)
    kept, masked = [], []
    for line in range(3):
        for place in range(4, 20):
            logprob = torch.log_softmax(logits[line, place - 1], dim=0)[ids[line, place]]
            (kept if keep[line, place] else masked).append(-logprob)
    found = goldfish_loss(logits, labels, keep)
    assert found.loss.item() == pytest.approx(torch.stack(kept).mean().item(), rel=1e-6)
    assert found.kept.item() == pytest.approx(found.loss.item(), rel=1e-6)
    assert found.masked.item() == pytest.approx(torch.stack(masked).mean().item(), rel=1e-6)
    assert (found.kept_count, found.masked_count) == (len(kept), len(masked))
    assert not found.kept.requires_grad


def test_with_everything_kept_it_is_the_ordinary_loss() -> None:
    ids, logits = ids_of(2, 9), logits_of(2, 9)
    ordinary = F.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
    found = goldfish_loss(logits, ids, torch.ones_like(ids, dtype=torch.bool))
    assert found.loss.item() == pytest.approx(ordinary.item(), rel=1e-6)
    assert math.isnan(found.masked.item())


@pytest.mark.parametrize("labels", ["masked", "ignored"])
def test_with_nothing_kept_loss_and_gradient_are_0(labels: str) -> None:
    ids, logits = ids_of(2, 9), logits_of(2, 9)
    keep = torch.full_like(ids, labels == "ignored", dtype=torch.bool)
    given = torch.full_like(ids, -100) if labels == "ignored" else ids
    found = goldfish_loss(logits, given, keep)
    found.loss.backward()
    assert found.loss.item() == 0
    assert (logits.grad == 0).all()


def test_no_gradient_comes_from_what_is_masked() -> None:
    ids, logits = ids_of(2, 30), logits_of(2, 30)
    keep = MASK(ids)
    goldfish_loss(logits, ids, keep).loss.backward()
    told = (logits.grad[:, :-1] != 0).any(dim=-1)
    assert told.equal(keep[:, 1:])
    changed = logits.detach() + 10 * (~keep).roll(-1, dims=1)[..., None] * torch.randn(60)
    changed[:, -1] = logits.detach()[:, -1]
    same = goldfish_loss(changed, ids, keep).loss
    assert same.item() == pytest.approx(goldfish_loss(logits, ids, keep).loss.item(), rel=1e-6)


def test_uneven_parts_of_a_step_add_up() -> None:
    ids, logits = ids_of(5, 30), logits_of(5, 30)
    keep = MASK(ids)
    keep[4, 3:] = False
    whole = goldfish_loss(logits, ids, keep).loss
    whole.backward()
    parts = [slice(0, 1), slice(1, 4), slice(4, 5)]
    total = kept_in_step(keep[part, 1:].sum() for part in parts)
    other = logits.detach().clone().requires_grad_()
    added = sum(goldfish_loss(other[one], ids[one], keep[one], total).loss for one in parts)
    added.backward()
    assert added.item() == pytest.approx(whole.item(), rel=1e-6)
    assert torch.allclose(other.grad, logits.grad, atol=1e-8)


def _process(rank: int, folder: str) -> None:
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2
    )
    total = kept_in_step([10 + 20 * rank, torch.tensor(4)])
    Path(folder, f"{rank}").write_text(str(total.item()))
    torch.distributed.destroy_process_group()


def test_processes_divide_by_what_all_of_them_keep(tmp_path: Path) -> None:
    torch.multiprocessing.start_processes(_process, (str(tmp_path),), nprocs=2, start_method="fork")
    # 14 and 34 targets; each process's gradient is divided by 2 when they are averaged.
    assert [Path(tmp_path, rank).read_text() for rank in "01"] == ["24.0", "24.0"]


@pytest.mark.parametrize(("labels", "keep"), [((2, 8), (2, 9)), ((2, 9), (2, 8)), ((3, 9), (3, 9))])
def test_shapes_that_do_not_belong_together(labels, keep) -> None:
    with pytest.raises(DataError, match="do not belong together"):
        goldfish_loss(logits_of(2, 9), ids_of(*labels), torch.ones(*keep, dtype=torch.bool))


# --- with models --------------------------------------------------------------------------------


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "gpt_neox"])
def test_the_three_lines_and_gathering_give_the_same(architecture: str) -> None:
    model = tiny_lm(architecture).copy().model.double()
    ids = ids_of(3, 24)
    keep = MASK(ids)
    lines = re.search(r"labels = (.*)\n +loss = (.*)\n", goldfish.__doc__)
    names = {"model": model, "input_ids": ids, "keep": keep}
    names["labels"] = eval(lines[1], names)
    three = eval(lines[2], names)
    own = goldfish_loss(model(input_ids=ids).logits, ids, keep).loss
    gathered = gathered_loss(model, ids, keep)
    gradients = [torch.autograd.grad(one, list(model.parameters())) for one in (own, gathered)]
    assert three.item() == pytest.approx(own.item(), abs=1e-6)
    assert gathered.item() == pytest.approx(own.item(), abs=1e-6)
    for one, other in zip(*gradients, strict=True):
        assert torch.allclose(one, other, atol=1e-6)


def test_gathering_nothing_gives_0() -> None:
    model, ids = tiny_lm().copy().model, ids_of(2, 6)
    found = gathered_loss(model, ids, torch.zeros_like(ids, dtype=torch.bool))
    found.backward()
    assert found.item() == 0
    assert all((one.grad == 0).all() for one in model.parameters() if one.grad is not None)


# --- the book's loop ----------------------------------------------------------------------------


def rows_of(count: int = 6, length: int = 30) -> list[Row]:
    return [
        Row(ids_of(length, seed=number).numpy().astype(np.int32), np.ones(length), f"{number}")
        for number in range(count)
    ]


def test_rows_lose_the_weights_that_the_mask_says() -> None:
    rows = rows_of()
    rows[0].weights[:5] = 0
    masked = masked_rows(rows, MASK)
    for row, one in zip(rows, masked, strict=True):
        keep = MASK(torch.from_numpy(row.input_ids.astype(np.int64)))
        assert one.weights.tolist() == (row.weights * keep.numpy()).tolist()
        assert one.id == row.id
    visits = [masked_rows(rows, RandomMask(2), visit) for visit in (0, 0, 1)]
    first, same, fresh = (np.stack([row.weights for row in visit]) for visit in visits)
    assert (first == same).all()
    assert (first != fresh).any()
    assert (first[1] != first[2]).any()  # each row has coins of its own


def test_the_loop_and_a_plain_one_take_the_same_step() -> None:
    rows = rows_of(4)
    own, plain = tiny_lm().copy(), tiny_lm().copy()
    recipe = Recipe(steps=1, batch_size=4, accumulation=3, learning_rate=1e-2, clip=None)
    train(own, masked_rows(rows, MASK), recipe, progress=None)
    ids = torch.stack([torch.from_numpy(row.input_ids.astype(np.int64)) for row in rows])
    optimizer = torch.optim.AdamW(
        plain.model.parameters(), lr=1e-2, betas=recipe.betas, weight_decay=0.0
    )
    plain.model.train()
    goldfish_loss(plain.model(input_ids=ids).logits, ids, MASK(ids)).loss.backward()
    optimizer.step()
    for one, other in zip(own.model.parameters(), plain.model.parameters(), strict=True):
        # A first step of Adam is the gradient's sign; where that is next to 0 rounding decides.
        assert ((one - other).abs() > 1e-3).float().mean() < 0.01


# --- a Trainer ----------------------------------------------------------------------------------


def test_labels_of_a_collator() -> None:
    lm = tiny_lm()
    texts = ["The tanner lives in the old town.", "No."]
    features = [{"input_ids": lm.tokenizer(text)["input_ids"]} for text in texts]
    inner = DataCollatorForLanguageModeling(lm.tokenizer, mlm=False)
    before, batch = inner(features), GoldfishCollator(inner, MASK)(features)
    alone = MASK(torch.tensor([features[0]["input_ids"]]))
    size = alone.shape[1]
    assert batch["labels"][0, :size].equal(before["labels"][0, :size].masked_fill(~alone[0], -100))
    assert (batch["labels"][before["labels"] == -100] == -100).all()
    assert batch["input_ids"].equal(before["input_ids"])


def test_a_collator_without_labels_and_with_segments() -> None:
    ids = ids_of(1, 12)
    segments = torch.tensor([[1] * 6 + [2] * 4 + [0] * 2])
    batch = GoldfishCollator(
        lambda _: {"input_ids": ids, "segments": segments}, StaticMask(2)
    )([])  # fmt: skip
    keep = StaticMask(2)(ids) & (segments > 0)
    assert batch["labels"].equal(ids.masked_fill(~keep, -100))
    assert "segments" not in batch


def test_a_trainer_divides_by_what_the_whole_step_keeps(tmp_path: Path) -> None:
    lm = tiny_lm().copy()
    rows = [ids_of(length, seed=length).tolist() for length in (30, 6, 18, 9)]
    inner = DataCollatorForLanguageModeling(lm.tokenizer, mlm=False)
    arguments = TrainingArguments(
        str(tmp_path), max_steps=1, per_device_train_batch_size=1, gradient_accumulation_steps=4,
        learning_rate=0.0, report_to=[], use_cpu=True, logging_steps=1, disable_tqdm=True,
        save_strategy="no", max_grad_norm=0.0,
    )  # fmt: skip
    trainer = Trainer(
        lm.model, arguments, train_dataset=[{"input_ids": row} for row in rows],
        data_collator=GoldfishCollator(inner, MASK),
    )  # fmt: skip
    trainer.train()
    told = next(log["loss"] for log in trainer.state.log_history if "loss" in log)
    total = count = 0.0
    for row in rows:
        ids = torch.tensor([row])
        with torch.no_grad():
            found = goldfish_loss(lm.model(input_ids=ids).logits, ids, MASK(ids))
        total += found.kept.item() * found.kept_count.item()
        count += found.kept_count.item()
    assert told == pytest.approx(total / count, abs=2e-4)  # logs have four digits


def test_short_texts_are_masked_in_the_loop(tmp_path: Path) -> None:
    lm = tiny_lm().copy()
    rows = masked_rows(text_rows(lm, ["A short text.", "Another one, a little longer."]), MASK)
    history = train(lm, rows, Recipe(epochs=2, batch_size=2), progress=None)
    assert math.isfinite(history.losses[-1])
