"""The one training loop."""

import os
import random
import signal
import subprocess
import sys
import textwrap
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import PeftModel
from tiny import SENTENCES, tiny_lm
from torch.nn import functional as F

from palimpsest.core import training
from palimpsest.core.errors import DataError, ModelError, RunError, UserError
from palimpsest.core.text import Row, answer_row, batches, text_rows
from palimpsest.core.training import (
    LoraRecipe,
    Recipe,
    causal_lm_loss,
    linear_modules,
    target_logits,
    train,
)

ARCHITECTURES = (
    "llama",
    "gpt2",
    "gpt_neox",
    "opt",
    "qwen2",
    "gemma",
    "gemma2",
    "phi",
    "mistral",
    "bloom",
    "falcon",
    "mamba",
)
BRIEF = Recipe(steps=6, batch_size=3, learning_rate=1e-2)


def rows_for(lm):
    return text_rows(lm, SENTENCES, [f"s{i}" for i in range(len(SENTENCES))], end=True)


def weights(lm):
    return {name: p.detach().clone() for name, p in lm.model.named_parameters()}


def distance(a, b):
    return max(float((a[name] - b[name]).abs().max()) for name in a)


def trained(architecture, recipe, lm=None, rows=None, **options):
    lm = lm or tiny_lm(architecture)
    history = train(lm, rows or rows_for(lm), recipe, progress=None, **options)
    return lm, history


# --- the gradient -----------------------------------------------------------------------------


def by_hand(lm, rows, recipe):
    """AdamW on the mean over all weighted tokens of all rows, one row at a time."""
    model, parameters = lm.model.train(), list(lm.model.parameters())
    optimizer = torch.optim.AdamW(parameters, lr=recipe.learning_rate, betas=recipe.betas)
    for group in optimizer.param_groups:
        group["weight_decay"] = 0.0
    total = sum(float(row.weights[1:].sum()) for row in rows)
    for _ in range(recipe.steps):
        optimizer.zero_grad()
        for row in rows:
            ids = torch.tensor(row.input_ids, dtype=torch.long)[None]
            logits = model(ids).logits[0, :-1]
            nll = F.cross_entropy(logits, ids[0, 1:], reduction="none")
            ((nll * torch.tensor(row.weights[1:])).sum() / total).backward()
        torch.nn.utils.clip_grad_norm_(parameters, recipe.clip)
        optimizer.step()
    return weights(lm)


@pytest.mark.parametrize("pack_length", [None, 64])
@pytest.mark.parametrize("accumulation", [1, 4])
def test_a_step_is_the_mean_over_all_weighted_tokens(pack_length, accumulation):
    rows = [replace_weights(row, scale=i + 1) for i, row in enumerate(rows_for(tiny_lm("llama")))]
    recipe = Recipe(
        steps=2, batch_size=7, learning_rate=1e-3, pack_length=pack_length, shuffle=False
    )
    expected = by_hand(tiny_lm("llama"), rows, recipe)
    lm, history = trained("llama", replace(recipe, accumulation=accumulation), rows=rows)
    assert distance(weights(lm), expected) < 2e-5
    assert history.tokens == 2 * sum(map(len, rows))


def replace_weights(row, scale):
    """Weights that differ by row and by token, some of them 0."""
    pattern = np.where(np.arange(len(row)) % 3 == 0, 0.0, scale) * row.weights
    return Row(row.input_ids, pattern, row.id)


def row_loss(model, batch):
    """Mean over rows of the square of each row's summed negative log-likelihood."""
    nll = -training.target_logprobs(model, batch)
    sums = nll.new_zeros(len(batch.ids)).index_add(0, batch.target_documents, nll)
    return (sums**2).mean() / 1e4


row_loss.unit = "row"


def test_a_loss_over_rows_is_weighted_by_rows():
    recipe = replace(BRIEF, steps=2, batch_size=7, clip=None)
    once = weights(trained("llama", recipe, loss=row_loss)[0])
    often = weights(trained("llama", replace(recipe, accumulation=3), loss=row_loss)[0])
    assert distance(once, often) < 2e-5

    def by_token(model, batch):
        return row_loss(model, batch)

    wrong = weights(trained("llama", replace(recipe, accumulation=3), loss=partial(by_token))[0])
    assert distance(once, wrong) > 1e-4
    by_token.unit = "page"
    with pytest.raises(ValueError, match="not over 'page'"):
        trained("llama", recipe, loss=partial(by_token))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_packing_does_not_change_what_is_learned(architecture):
    lm = tiny_lm(architecture)
    lm.model.config.resid_pdrop = 0.0
    for module in lm.model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    for name in ("dropout", "attention_dropout", "hidden_dropout"):
        for module in lm.model.modules():
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, 0.0)
    results = []
    for pack_length in (None, 64):
        copy = lm.copy()
        recipe = Recipe(steps=2, batch_size=7, learning_rate=1e-3, pack_length=pack_length)
        _, history = trained(architecture, recipe, lm=copy, log_every=1)
        results.append((weights(copy), history.losses))
    (padded, losses), (packed, packed_losses) = results
    assert packed_losses == pytest.approx(losses, abs=1e-4)
    # Adam's first steps turn on the signs of gradients that may be mere rounding.
    moved = distance(padded, weights(lm))
    apart = torch.cat([(padded[n] - packed[n]).abs().flatten() for n in padded])
    assert moved > 1e-3
    assert float((apart > 1e-4).float().mean()) < 0.01


@pytest.mark.parametrize("architecture", [*ARCHITECTURES, "granite", "cohere", "mixtral"])
def test_target_logits_are_the_models_own(architecture):
    lm = tiny_lm(architecture)
    rows = [answer_row(lm, "Which colour does Ada like?", " Red."), *rows_for(lm)[:3]]
    for pack_length in (None, 64):
        (batch,) = batches(lm, rows, 4, pack_length)
        with torch.no_grad():
            logits = lm.model(**batch.inputs()).logits.flatten(0, 1)[batch.targets]
            assert torch.allclose(target_logits(lm.model, batch), logits, atol=1e-5)


def test_a_model_without_a_separate_output_layer(monkeypatch):
    lm = tiny_lm("llama")
    (batch,) = batches(lm, rows_for(lm), 7)
    with torch.no_grad():
        expected = target_logits(lm.model, batch)
        monkeypatch.setattr(lm.model, "get_output_embeddings", lambda: None)
        assert torch.allclose(target_logits(lm.model, batch), expected, atol=1e-5)
        # A layer that is there but not called on the hidden states is of no use either.
        monkeypatch.setattr(lm.model, "get_output_embeddings", lambda: torch.nn.Linear(1, 1))
        assert torch.allclose(target_logits(lm.model, batch), expected, atol=1e-5)


# --- the recipe -------------------------------------------------------------------------------


def test_schedules():
    def rates(**settings):
        recipe = Recipe(steps=10, learning_rate=1.0, **settings)
        return [round(recipe.rate(step, 10), 4) for step in range(10)]

    assert rates() == [1.0] * 10
    assert rates(schedule="linear") == [1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1]
    assert rates(schedule="linear", warmup=0.3)[:5] == [0.25, 0.5, 0.75, 1.0, 0.8571]
    cosine = rates(schedule="cosine")
    assert cosine[0] == 1.0
    assert cosine[5] == 0.5
    assert cosine == sorted(cosine, reverse=True)
    assert cosine[-1] > 0
    stable = rates(schedule="warmup-stable-decay", warmup=0.2, decay=0.4)
    assert stable == [0.3333, 0.6667, 1.0, 1.0, 1.0, 1.0, 0.8, 0.6, 0.4, 0.2]


def test_the_rate_is_what_the_optimiser_gets():
    recipe = Recipe(epochs=2, batch_size=3, schedule="linear", learning_rate=1e-2)
    _, history = trained("llama", recipe, log_every=1)
    assert history.steps == 6
    assert [log.learning_rate for log in history.logs] == [recipe.rate(s, 6) for s in range(6)]
    assert history.table().columns.tolist() == [
        "step",
        "loss",
        "learning_rate",
        "tokens",
        "seconds",
    ]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "either steps or epochs"),
        ({"steps": 1, "epochs": 1}, "either steps or epochs"),
        ({"steps": 0}, "'steps' of the recipe is 0"),
        ({"steps": 1, "schedule": "cosin"}, "did you mean 'cosine'"),
        ({"steps": 1, "learning_rate": 0.0}, "'learning_rate'"),
        ({"steps": 1, "warmup": 1.0}, "'warmup'"),
        ({"steps": 1, "clip": -1.0}, "'clip'"),
        ({"steps": 1, "pack_length": 1}, "'pack_length'"),
        ({"steps": 1, "seed": -1}, "'seed'"),
    ],
)
def test_recipes_that_make_no_sense(settings, message):
    with pytest.raises(UserError, match=message):
        Recipe(**settings)
    with pytest.raises(UserError, match=r"lora\.rank"):
        LoraRecipe(rank=0)


@pytest.mark.parametrize("optimizer", training.OPTIMIZERS)
def test_only_matrices_decay(optimizer):
    lm = tiny_lm("llama")
    recipe = replace(BRIEF, weight_decay=0.1, optimizer=optimizer)
    store, style, _ = training.prepare(lm, rows_for(lm), None)
    trainer = training.Trainer(lm.model, store, style, recipe, 6, causal_lm_loss)
    decays = {
        id(p): group["weight_decay"]
        for each in trainer.optimizers
        for group in each.param_groups
        for p in group["params"]
    }
    for name, parameter in lm.model.named_parameters():
        assert decays[id(parameter)] == (0.0 if "norm" in name else 0.1), name


# --- reproducible and resumable ---------------------------------------------------------------


def test_same_seed_same_bits_and_no_trace_in_global_state():
    torch.manual_seed(5)
    states = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()  # noqa: NPY002
    recipe = replace(BRIEF, lora=LoraRecipe(rank=2, dropout=0.2))
    first, one = trained("gpt2", recipe)
    assert torch.equal(states[0], torch.get_rng_state())
    assert states[1] == np.random.get_state()[1].tolist()  # noqa: NPY002
    assert states[2] == random.getstate()
    torch.manual_seed(6)
    second, two = trained("gpt2", recipe)
    assert distance(weights(first), weights(second)) == 0
    assert one.order == two.order
    assert one.losses == two.losses
    other, three = trained("gpt2", replace(recipe, seed=1))
    assert distance(weights(first), weights(other)) > 0
    assert one.order != three.order


def test_the_order_is_reported_and_kept_if_asked():
    _, history = trained("llama", replace(BRIEF, steps=None, epochs=2, shuffle=False))
    one_pass = history.order[: len(history.order) // 2]
    assert sorted(id for step in one_pass for id in step) == [f"s{i}" for i in range(7)]
    assert history.order == one_pass * 2
    assert [len(step) for step in one_pass] == [3, 3, 1]


def stop_at(step, action):
    def on_step(done, _):
        if done == step:
            action()

    return on_step


RESUMED = [
    ("gpt2", BRIEF),
    ("llama", replace(BRIEF, accumulation=2, pack_length=64, schedule="cosine", batch_size=2)),
    ("gpt2", replace(BRIEF, lora=LoraRecipe(rank=2, dropout=0.1))),
    ("llama", replace(BRIEF, optimizer="muon", weight_decay=0.1)),
]


@pytest.mark.parametrize(("architecture", "recipe"), RESUMED)
def test_interrupted_and_resumed_gives_the_same_bits(architecture, recipe, tmp_path):
    whole, expected = trained(architecture, recipe, log_every=4)
    start = weights(tiny_lm(architecture))
    lm = tiny_lm(architecture)
    with pytest.raises(KeyboardInterrupt):
        trained(
            architecture,
            recipe,
            lm=lm,
            checkpoint=tmp_path / "c",
            log_every=4,
            on_step=stop_at(3, lambda: signal.raise_signal(signal.SIGINT)),
        )
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert not lm.model.training
    if recipe.lora is not None:
        assert not isinstance(lm.model, PeftModel)
        assert distance(weights(lm), start) == 0
    assert [p.name for p in (tmp_path / "c").iterdir()] == ["step-000000003"]
    # From where memory stands, and from a fresh model in another process.
    for model in (lm, tiny_lm(architecture)):
        resumed = model.copy()
        _, history = trained(
            architecture, recipe, lm=resumed, checkpoint=tmp_path / "c", resume=True, log_every=4
        )
        assert distance(weights(resumed), weights(whole)) == 0
        assert history.losses == expected.losses
        assert history.order == expected.order
        assert (history.steps, history.tokens) == (expected.steps, expected.tokens)


KILLED = """
    import os, signal, sys
    from tiny import tiny_lm
    from test_training import BRIEF, rows_for
    from palimpsest.core.training import train

    def kill(done, model):
        if done == 4:
            os.kill(os.getpid(), signal.SIGKILL)

    lm = tiny_lm("gpt2")
    train(lm, rows_for(lm), BRIEF, checkpoint=sys.argv[1], checkpoint_seconds=0, on_step=kill)
"""


def test_killed_and_resumed_gives_the_same_bits(tmp_path):
    here = str(Path(__file__).parent)
    process = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(KILLED), str(tmp_path / "c")],
        env=os.environ | {"PYTHONPATH": here},
        capture_output=True,
        check=False,
    )
    assert process.returncode == -signal.SIGKILL, process.stderr.decode()
    (tmp_path / "c" / ".partial-rest").mkdir()  # what a kill in the midst of a save leaves
    whole, expected = trained("gpt2", BRIEF)
    lm, history = trained("gpt2", BRIEF, checkpoint=tmp_path / "c", resume=True)
    assert distance(weights(lm), weights(whole)) == 0
    assert history.losses == expected.losses
    assert [p.name for p in (tmp_path / "c").iterdir()] == ["step-000000006"]


def test_a_finished_training_is_not_done_again(tmp_path):
    done, history = trained("llama", BRIEF, checkpoint=tmp_path / "c")
    never = stop_at(1, lambda: pytest.fail("a step was done"))
    lm, again = trained("llama", BRIEF, checkpoint=tmp_path / "c", resume=True, on_step=never)
    assert distance(weights(lm), weights(done)) == 0
    assert again == history


def test_a_checkpoint_of_something_else_is_refused(tmp_path):
    lm = tiny_lm("llama")
    rows = rows_for(lm)
    trained("llama", BRIEF, checkpoint=tmp_path / "c")
    with pytest.raises(RunError, match="already"):
        trained("llama", BRIEF, checkpoint=tmp_path / "c")
    resumed = partial(trained, "llama", checkpoint=tmp_path / "c", resume=True)
    with pytest.raises(RunError, match=r"recipe\.steps was 6 and is 7"):
        resumed(replace(BRIEF, steps=7))
    with pytest.raises(RunError, match="rows: not the same"):
        resumed(BRIEF, rows=rows[:3])
    with pytest.raises(RunError, match="loss was"):
        resumed(BRIEF, loss=row_loss)
    with pytest.raises(RunError, match="starting weights: not the same"):
        resumed(BRIEF, lm=tiny_lm("llama", rms_norm_eps=1e-5, initializer_range=0.1, head_dim=6))
    (state,) = (tmp_path / "c").glob("step-*")
    (state / "weights.safetensors").write_bytes(b"\1" * 40)
    with pytest.raises(RunError, match="damaged"):
        resumed(BRIEF)
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot be written to: File exists"):
        trained("llama", BRIEF, checkpoint=tmp_path / "file")
    with pytest.raises(RunError, match="cannot be written to"):
        trained("llama", BRIEF, checkpoint=Path("/proc/palimpsest"))


def test_a_full_disk_leaves_the_state_before(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    with pytest.raises(RunError, match="No space left"):
        trained(
            "llama",
            BRIEF,
            checkpoint=tmp_path / "c",
            checkpoint_seconds=0,
            on_step=stop_at(3, lambda: monkeypatch.setattr("os.replace", full)),
        )
    monkeypatch.undo()
    assert [p.name for p in (tmp_path / "c").iterdir()] == ["step-000000002"]
    whole, _ = trained("llama", BRIEF)
    lm, _ = trained("llama", BRIEF, checkpoint=tmp_path / "c", resume=True)
    assert distance(weights(lm), weights(whole)) == 0


def test_interrupts_go_to_whoever_handled_them():
    heard = []
    before = signal.signal(signal.SIGINT, lambda *_: heard.append("mine"))
    try:
        twice = stop_at(2, lambda: (os.kill(os.getpid(), 2), os.kill(os.getpid(), 2)))
        with pytest.raises(KeyboardInterrupt):
            trained("llama", BRIEF, on_step=stop_at(2, lambda: os.kill(os.getpid(), 2)))
        assert heard == ["mine"]
        with pytest.raises(KeyboardInterrupt):
            trained("llama", BRIEF, on_step=twice)
        assert heard[1] == "mine"
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        _, history = trained("llama", BRIEF, on_step=twice)
        assert history.steps == 6
    finally:
        signal.signal(signal.SIGINT, before)


# --- what goes wrong --------------------------------------------------------------------------


def broken_at(step):
    count = iter(range(1000))

    def loss(model, batch):
        value = causal_lm_loss(model, batch)
        return value * float("nan") if next(count) == step else value

    return loss


def test_a_loss_that_is_not_finite_names_its_step_and_is_never_saved(tmp_path):
    recipe = replace(BRIEF, steps=10)
    with pytest.raises(RunError, match=r"at step 4 of 10, at a learning rate of 0\.01"):
        trained("llama", recipe, loss=broken_at(3), log_every=10)
    with pytest.raises(RunError, match="at step 4 of 10"):
        trained("llama", recipe, loss=broken_at(3), checkpoint=tmp_path / "c", checkpoint_seconds=0)
    assert [p.name for p in (tmp_path / "c").iterdir()] == ["step-000000003"]


def test_a_gradient_that_is_not_finite_is_found_too():
    def loss(model, batch):
        logits = target_logits(model, batch)
        return torch.sqrt((logits * 0).sum()) + 1  # finite, with an infinite slope at 0

    with pytest.raises(RunError, match="at step 1 of 6"):
        trained("llama", BRIEF, loss=loss)


def test_too_little_memory_says_what_to_do():
    def loss(model, batch):
        raise torch.OutOfMemoryError("CUDA out of memory")

    lm = tiny_lm("llama")
    with pytest.raises(RunError, match="accumulation above 1"):
        trained("llama", BRIEF, lm=lm, loss=loss)
    assert not lm.model.training


def test_nothing_to_learn():
    lm = tiny_lm("llama")
    row = Row(np.array([1, 2, 3]), np.zeros(3))
    with pytest.raises(DataError, match="nothing to learn"):
        trained("llama", BRIEF, rows=[row])
    with pytest.raises(DataError, match="no documents"):
        train(lm, [], BRIEF)
    lm.model.requires_grad_(False)
    with pytest.raises(ModelError, match="requires_grad=False"):
        trained("llama", BRIEF, lm=lm)
    # Among others, a row without targets is left out, and one of a loss over rows is not.
    rows = [row, *rows_for(tiny_lm("llama"))]
    assert "" not in trained("llama", replace(BRIEF, epochs=1, steps=None), rows=rows)[1].order[0]
    _, history = trained("llama", replace(BRIEF, steps=1, batch_size=8), rows=rows, loss=row_loss)
    assert "" in history.order[0]


# --- what is trained --------------------------------------------------------------------------


def test_it_learns():
    lm, history = trained("llama", Recipe(steps=60, batch_size=7, learning_rate=2e-2))
    assert history.losses[0] > 3
    assert history.losses[-1] < 0.3
    assert not lm.model.training
    assert all(p.grad is None for p in lm.model.parameters())


def test_frozen_weights_stay():
    lm = tiny_lm("llama")
    lm.model.model.embed_tokens.requires_grad_(False)
    before = weights(lm)
    trained("llama", BRIEF, lm=lm)
    after = weights(lm)
    assert torch.equal(before["model.embed_tokens.weight"], after["model.embed_tokens.weight"])
    assert distance(before, after) > 0


def test_on_step_evaluates_and_stops():
    seen = []

    def on_step(done, model):
        model.eval()
        seen.append((done, model.training))
        return done == 3

    lm, history = trained("gpt2", BRIEF, on_step=on_step, log_every=2)
    assert seen == [(1, False), (2, False), (3, False)]
    assert (history.steps, history.stopped) == (3, True)
    assert [log.step for log in history.logs] == [2, 3]
    # What a callback draws, and its change of mode, does not change the training.
    other, _ = trained("gpt2", BRIEF, on_step=lambda n, m: (m.eval(), torch.rand(n), n == 3)[2])
    assert distance(weights(lm), weights(other)) == 0


def test_low_precision_weights_are_trained_in_full():
    lm = tiny_lm("llama")
    lm.model.bfloat16()
    twin = lm.copy()
    twin.model.float()
    recipe = replace(BRIEF, learning_rate=1e-3)
    trained("llama", recipe, lm=lm)
    trained("llama", recipe, lm=twin)
    assert {p.dtype for p in lm.model.parameters()} == {torch.bfloat16}
    assert distance(weights(lm), weights_as(twin, torch.bfloat16)) == 0


def weights_as(lm, dtype):
    return {name: value.to(dtype) for name, value in weights(lm).items()}


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "opt", "falcon", "mamba", "mixtral"])
def test_adapters_in_any_architecture(architecture):
    lm = tiny_lm(architecture)
    before, kind = weights(lm), type(lm.model)
    lora = LoraRecipe(rank=4, alpha=8)
    trained(architecture, replace(BRIEF, lora=lora), lm=lm)
    after = weights(lm)
    assert type(lm.model) is kind
    assert list(after) == list(before)
    assert all(p.requires_grad for p in lm.model.parameters())
    changed = {name for name in after if not torch.equal(before[name], after[name])}
    assert changed == {f"{name}.weight" for name in linear_modules(lm.model)}
    with torch.no_grad():
        for name in changed:
            rank = torch.linalg.matrix_rank(after[name] - before[name], rtol=1e-3)
            assert rank <= lora.rank


def test_adapters_that_stay(tmp_path):
    lm = tiny_lm("gpt2")
    recipe = replace(BRIEF, lora=LoraRecipe(merge=False, targets=("c_attn",)))
    before = weights(lm)
    trained("gpt2", recipe, lm=lm)
    assert isinstance(lm.model, PeftModel)
    assert all("c_attn" in n for n, p in lm.model.named_parameters() if p.requires_grad)
    with pytest.raises(ModelError, match="adapters already"):
        trained("gpt2", recipe, lm=lm)
    lm.model = lm.model.unload()
    assert distance(weights(lm), before) == 0
    with pytest.raises(ModelError, match="no_such_layer"):
        trained("gpt2", replace(BRIEF, lora=LoraRecipe(targets=("no_such_layer",))), lm=lm)
    with pytest.raises(ZeroDivisionError):
        trained("gpt2", recipe, lm=lm, on_step=stop_at(2, lambda: 1 / 0))
    assert distance(weights(lm), before) == 0


def test_compiled_training_is_the_same(monkeypatch):
    compiled = partial(torch.compile, backend="eager")
    monkeypatch.setattr(torch, "compile", compiled)
    recipe = replace(BRIEF, steps=2, pack_length=64)
    plain, _ = trained("llama", recipe)
    lm, _ = trained("llama", replace(recipe, compile=True))
    assert distance(weights(plain), weights(lm)) < 1e-5


@pytest.mark.skipif(not torch.cpu._is_avx512_bf16_supported(), reason="no bfloat16 on this CPU")
def test_mixed_precision_learns_like_full_precision():
    _, full = trained("llama", BRIEF, log_every=4)
    _, mixed = trained("llama", replace(BRIEF, mixed=True), log_every=4)
    assert mixed.losses != full.losses
    assert mixed.losses == pytest.approx(full.losses, rel=0.02)
