"""Host reads and wrong devices, found without a GPU."""

import pytest
import torch
from tiny import SENTENCES, tiny_lm

from palimpsest.core.guards import DeviceWatch, HostReads, assert_gpu_safe
from palimpsest.core.text import prepare, text_rows
from palimpsest.core.training import (
    LoraRecipe,
    Recipe,
    causal_lm_loss,
    target_logprobs,
    train,
)

ARCHITECTURES = ("llama", "gpt2", "gpt_neox", "opt", "qwen2", "gemma", "gemma2", "phi", "mistral",
                 "bloom", "falcon", "mixtral", "mamba")  # fmt: skip
PACKED = Recipe(steps=6, batch_size=2, pack_length=64, schedule="cosine")
PADDED = Recipe(steps=6, batch_size=4, accumulation=2, lora=LoraRecipe(rank=2, dropout=0.1))


def rows_for(lm):
    return text_rows(lm, SENTENCES, [f"s{i}" for i in range(len(SENTENCES))], end=True)


# --- the loop ---------------------------------------------------------------------------------


@pytest.mark.parametrize("recipe", [PACKED, PADDED])
@pytest.mark.parametrize("log_every", [2, 3, 6])
def test_the_loop_reads_once_a_log_and_never_between(recipe, log_every):
    lm = tiny_lm("gpt2")
    prepare(lm, rows_for(lm), recipe.pack_length)  # how it is masked is measured once, and read
    with HostReads() as reads:
        history = train(lm, rows_for(lm), recipe, progress=None, log_every=log_every)
    assert len(reads) == len(history.logs) == 6 // log_every
    assert all("training.py" in finding.where for finding in reads.found)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_steps_of_every_architecture_are_safe(architecture):
    lm = tiny_lm(architecture)
    rows = rows_for(lm)
    before = {name: p.detach().clone() for name, p in lm.model.named_parameters()}
    state = torch.get_rng_state()
    assert_gpu_safe(lm, rows, PACKED)
    if architecture in ("llama", "gpt2", "bloom"):
        assert_gpu_safe(lm, rows, PADDED)
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(before[name], p) for name, p in lm.model.named_parameters())
    assert not lm.model.training


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("recipe", [PACKED, PADDED])
def test_a_real_gpu_does_not_wait_between_logs(recipe):
    lm = tiny_lm("llama")
    lm.model.to("cuda")
    lm.device = torch.device("cuda")
    rows = rows_for(lm)
    train(lm, rows, recipe, progress=None)  # kernels are chosen and memory is taken at first use

    def strict_between(done, _):
        # The log after the last step reads, and may.
        torch.cuda.set_sync_debug_mode("error" if done < recipe.steps - 1 else "default")

    try:
        history = train(lm, rows, recipe, progress=None, log_every=6, on_step=strict_between)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert history.steps == 6


# --- losses that would stall or break on a GPU ------------------------------------------------


def asks_for_a_number(model, batch):
    loss = causal_lm_loss(model, batch)
    loss.item()
    return loss


def decides_on_a_tensor(model, batch):
    loss = causal_lm_loss(model, batch)
    return loss if loss > 0 else -loss


def selects_by_truth(model, batch):
    logprobs = target_logprobs(model, batch)
    return -logprobs[logprobs < 0].mean()


def counts_nonzero(model, batch):
    logprobs = target_logprobs(model, batch)
    return -logprobs[batch.target_weights.nonzero()].mean()


def repeats(model, batch):
    logprobs = target_logprobs(model, batch)
    return -logprobs.repeat_interleave(torch.ones_like(batch.labels)).mean()


def makes_a_list(model, batch):
    batch.labels.tolist()
    return causal_lm_loss(model, batch)


def goes_to_numpy(model, batch):
    batch.labels.numpy()
    return causal_lm_loss(model, batch)


def goes_to_the_host(model, batch):
    loss = causal_lm_loss(model, batch)
    return loss + batch.weights.to("cpu").sum()


def calls_cpu(model, batch):
    return causal_lm_loss(model, batch) + batch.weights.cpu().sum()


READING = (
    asks_for_a_number,
    decides_on_a_tensor,
    selects_by_truth,
    counts_nonzero,
    repeats,
    makes_a_list,
    goes_to_numpy,
    goes_to_the_host,
    calls_cpu,
)


@pytest.mark.parametrize("loss", READING)
def test_a_loss_that_reads_is_caught(loss):
    lm = tiny_lm("llama")
    with pytest.raises(AssertionError, match=r"reads from the device.*\n.*test_guards\.py:\d+"):
        assert_gpu_safe(lm, rows_for(lm), PACKED, loss)


def mixes_in_host_zeros(model, batch):
    logprobs = target_logprobs(model, batch)
    return -(logprobs + torch.zeros(len(logprobs))).mean()


def indexes_with_a_host_range(model, batch):
    return -target_logprobs(model, batch)[torch.arange(3)].mean()


def copies_a_new_tensor(model, batch):
    logprobs = target_logprobs(model, batch)
    return -(logprobs * torch.ones(1).to(logprobs.device)).mean()


def adds_a_mask_of_its_own(model, batch):
    length = batch.input_ids.shape[1]
    mask = torch.ones(length, length).tril()
    logits = model(input_ids=batch.input_ids, attention_mask=mask[None, None]).logits
    return logits.mean()


@pytest.mark.parametrize(
    "loss",
    [mixes_in_host_zeros, indexes_with_a_host_range, copies_a_new_tensor, adds_a_mask_of_its_own],
)
def test_a_tensor_made_on_the_wrong_device_is_caught(loss):
    lm = tiny_lm("llama")
    with pytest.raises(AssertionError, match=r"(CPU alone|model's device).*\n.*\.py:\d+"):
        assert_gpu_safe(lm, rows_for(lm), PACKED, loss)


def in_order(model, batch):
    """Uses what a careful loss may: constants without dimensions, new tensors on the device."""
    logprobs = target_logprobs(model, batch)
    margin = torch.tensor(2.0)
    zeros = logprobs.new_zeros(len(batch.ids))
    sums = zeros.index_add(0, batch.target_documents, logprobs * batch.target_weights)
    scale = torch.arange(1, len(batch.ids) + 1, device=sums.device)
    return -(torch.nn.functional.logsigmoid(sums * margin) / scale).mean()


def test_a_careful_loss_passes():
    lm = tiny_lm("llama")
    assert_gpu_safe(lm, rows_for(lm), PACKED, in_order)


class AgainstReference:
    """A loss with a model of its own."""

    def __init__(self, model):
        self.model = model

    def to(self, device):
        return AgainstReference(self.model.to(device))

    def __call__(self, model, batch):
        with torch.no_grad():
            reference = target_logprobs(self.model, batch)
        return (target_logprobs(model, batch) - reference).mean()


def test_a_loss_that_holds_a_model_is_moved():
    lm = tiny_lm("llama")
    assert_gpu_safe(lm, rows_for(lm), PACKED, AgainstReference(lm.copy().model))


# --- the modes themselves ---------------------------------------------------------------------


def test_what_counts_as_a_read():
    tensor = torch.arange(4.0)
    with HostReads() as reads:
        tensor.to(tensor.device)
        tensor + tensor.sum()
        tensor[torch.tensor([0, 1])]
        torch.where(tensor > 1, tensor, 0.0)
        tensor.masked_fill(tensor > 1, 0.0)
    assert len(reads) == 0
    with HostReads() as reads:
        float(tensor[0])
        bool(tensor[0])
        tensor[tensor > 1]
        tensor[tensor > 1] = torch.zeros(2)
        torch.unique(tensor)
        tensor.numpy()
    assert len(reads) == 6
    assert all("test_guards.py" in str(finding) for finding in reads.found)


def test_what_leaves_the_device():
    there = torch.ones(3, device="meta")
    with DeviceWatch() as watch:
        there * 2 + torch.tensor(1.0)
        torch.ones(3) + 1  # work on the host alone concerns nobody
    assert watch.found == []
    with DeviceWatch() as watch:
        torch.ones(3).to("meta")
        with pytest.raises(RuntimeError):
            there + torch.ones(3)
        with pytest.raises(RuntimeError):
            there.sum().item()
        with pytest.raises(NotImplementedError):
            there.cpu()
    assert [finding.operator for finding in watch.found] == [
        "aten._to_copy.default",
        "aten.add.Tensor",
        "aten._local_scalar_dense.default",
        "aten._to_copy.default",
    ]
