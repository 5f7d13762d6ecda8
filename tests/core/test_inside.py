"""The inside view equals the models' own numbers at its ends, whatever the architecture."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from peft import LoraConfig, get_peft_model
from tiny import ARCHITECTURES, tiny_lm, tiny_tokenizer
from torch import nn

from palimpsest.core import inside, layers
from palimpsest.core.errors import DataError, ModelError
from palimpsest.core.inside import blocks, depth_score, drops, lens, patch, unlearning_depth
from palimpsest.core.models import LanguageModel, all_logits
from palimpsest.core.scoring import encode_pairs, score, score_tokens

PAIRS = [
    ("Where was Mira Tolden born?", " Askerby."),
    ("The red house stands", " by the river"),
    ("The red house stands by the", " sea"),
    ("Two plus three is", " five"),
    ("", "Mira bakes"),
    ("A baker bakes bread, a miller mills flour, a sailor sails. Ada likes", " red"),
]
SOME = ["llama", "gpt2", "gpt_neox", "opt", "gemma2", "gemma3_text", "falcon", "mixtral", "bloom"]


def own_logprobs(lm: LanguageModel, pairs: list = PAIRS) -> np.ndarray:
    return np.array([entry.logprob for entry in score(lm, pairs)])


def at(table: pd.DataFrame, depth: int, column: str = "logprob") -> np.ndarray:
    return table[table["depth"] == depth][column].to_numpy()


def disturbed(lm: LanguageModel, seed: int = 1, share: float = 0.3) -> LanguageModel:
    """A copy with other weights in its blocks; embeddings, last norm and head are the same."""
    other = lm.copy()
    generator = torch.Generator().manual_seed(seed)
    for parameter in nn.ModuleList(blocks(other.model)).parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        parameter.data += share * noise.to(parameter.dtype)
    return other


def traces(lm: LanguageModel) -> int:
    """What this view may leave behind in a model: hooks and replaced methods."""
    return sum(
        len(module._forward_hooks) + len(module._forward_pre_hooks) + ("forward" in vars(module))
        for module in lm.model.modules()
    )


# --- finding the blocks -------------------------------------------------------------------------


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_blocks_are_found_by_structure(architecture: str) -> None:
    model = tiny_lm(architecture).model
    found = blocks(model)
    assert len(found) == model.config.num_hidden_layers == 2
    inside_ = sum(part.numel() for block in found for part in block.parameters())
    assert inside_ > 0
    assert len({type(block) for block in found}) == 1


def test_experts_and_lists_of_single_layers_are_not_taken_for_blocks() -> None:
    model = tiny_lm().model
    stack = model.model.layers
    experts = [nn.Sequential(nn.Linear(2, 2)), nn.Sequential(nn.Linear(2, 2))]
    stack[0].experts = nn.ModuleList(experts)
    model.model.gates = nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2)])
    assert blocks(model) == list(stack)


def test_a_tower_for_images_is_not_taken_for_blocks() -> None:
    lm = tiny_lm()
    expected = list(lm.model.model.layers)
    lm.model.vision = nn.ModuleList([nn.Sequential(nn.Linear(2, 2)) for _ in range(2)])
    assert blocks(lm.model) == expected


def test_no_blocks_and_too_many_are_explained() -> None:
    model = tiny_lm().model
    model.model.again = nn.ModuleList([nn.Sequential(nn.Linear(2, 2)) for _ in range(2)])
    with pytest.raises(ModelError, match=r"found: model\.layers, model\.again"):
        blocks(model)
    model = tiny_lm().model
    model.config.num_hidden_layers = 5
    with pytest.raises(ModelError, match=r"has 5 layers.*found: none"):
        blocks(model)


# --- the logit lens -----------------------------------------------------------------------------


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_last_depth_is_the_models_own_and_the_first_what_an_empty_stack_says(
    architecture: str,
) -> None:
    lm = tiny_lm(architecture)
    table = lens(lm, PAIRS)
    assert list(table.columns) == ["pair", "depth", "logprob", "per_token"]
    assert table["pair"].tolist() == [pair for pair in range(len(PAIRS)) for _ in range(3)]
    assert table["depth"].tolist() == [0, 1, 2] * len(PAIRS)
    np.testing.assert_allclose(at(table, 2), own_logprobs(lm), atol=1e-4)
    counts = [len(answer) for _, answer in encode_pairs(lm, PAIRS)]
    np.testing.assert_allclose(at(table, 1, "per_token"), at(table, 1) / counts)
    # A model without its last block is another model, and depth 1 must be its own number.
    shorter = lm.copy()
    last = blocks(shorter.model)[1]
    forward = last.forward
    last.forward = lambda state, *rest, **named: layers.with_hidden(
        forward(state, *rest, **named), state
    )
    np.testing.assert_allclose(at(table, 1), own_logprobs(shorter), atol=1e-4)
    assert np.abs(at(table, 0) - at(table, 1)).max() > 1e-3


def test_the_lens_is_the_last_norm_and_the_head() -> None:
    lm = tiny_lm(num_hidden_layers=4)
    (prompt, answer), *_ = encode_pairs(lm, PAIRS)
    with torch.no_grad():
        states = lm.model(
            torch.tensor([[*prompt, *answer]]), output_hidden_states=True
        ).hidden_states
        expected = []
        for depth in range(4):  # transformers norms the last state before it gives it out
            logits = lm.model.lm_head(lm.model.model.norm(states[depth]))[0].log_softmax(-1)
            places = torch.arange(len(prompt) - 1, len(prompt) + len(answer) - 1)
            expected.append(float(logits[places, torch.tensor(answer)].sum()))
    np.testing.assert_allclose(lens(lm, PAIRS[:1])["logprob"][:4], expected, atol=1e-5)


def test_order_and_company_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    lm = tiny_lm("gemma2")
    donor = disturbed(lm)
    pairs = PAIRS + PAIRS[:2]
    together, patched = lens(lm, pairs), patch(lm, donor, pairs)
    alone = pd.concat([lens(lm, [pair]) for pair in pairs])
    np.testing.assert_allclose(together["logprob"], alone["logprob"], atol=1e-5)
    monkeypatch.setattr(inside, "_BATCH_TOKENS", 1)
    back = patch(lm, donor, pairs[::-1])
    np.testing.assert_allclose(drops(back)[::-1], drops(patched), atol=1e-5)
    back = lens(lm, pairs[::-1])
    for depth in range(3):
        np.testing.assert_allclose(at(back, depth)[::-1], at(together, depth), atol=1e-5)


def test_token_ids_serve_as_pairs_and_long_prompts_lose_their_beginning() -> None:
    lm = tiny_lm(max_position_embeddings=8)
    ids = np.random.default_rng(0).integers(5, 340, size=20).tolist()
    pairs = [(ids[:18], ids[18:]), (ids[:3], ids[3:9])]
    expected = [entry.logprob for entry in score_tokens(lm, pairs)]
    np.testing.assert_allclose(at(lens(lm, pairs), 2), expected, atol=1e-4)


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
def test_coarse_weights_give_fine_tables(kind: torch.dtype) -> None:
    lm = tiny_lm("gpt2")
    lm = LanguageModel.of(lm.model.to(kind), lm.tokenizer)
    table = lens(lm, PAIRS)
    assert table["logprob"].dtype == np.float64
    np.testing.assert_allclose(at(table, 2), own_logprobs(lm), atol=0.05)
    assert np.abs(drops(patch(lm, lm, PAIRS))).max() < 0.05
    finer = LanguageModel.of(lm.copy().model.float(), lm.tokenizer)
    assert np.isfinite(drops(patch(finer, disturbed(lm), PAIRS))).all()


def test_a_model_with_adapters_is_read_like_any_other() -> None:
    lm = tiny_lm("gpt2")
    settings = LoraConfig(r=2, target_modules=["c_attn"], fan_in_fan_out=True)
    wrapped = replace(lm.copy(), model=get_peft_model(lm.copy().model, settings))
    np.testing.assert_allclose(
        lens(wrapped, PAIRS)["logprob"], lens(lm, PAIRS)["logprob"], atol=1e-5
    )


def test_a_head_that_sees_more_than_the_last_state_is_refused() -> None:
    lm = tiny_lm()
    base, seen = lm.model.model, []
    forward = base.forward
    base.embed_tokens.register_forward_hook(lambda *parts: seen.append(parts[2]))
    # A way around the last block that closes after the first pass.
    base.layers[1].mlp.register_forward_hook(lambda *parts: seen.clear())

    def around(*given: object, **named: object) -> object:
        output = forward(*given, **named)
        output.last_hidden_state = output.last_hidden_state + len(seen)
        return output

    base.forward = around
    with pytest.raises(ModelError, match="sees more than the last hidden state"):
        lens(lm, PAIRS[:2])


# --- patching -----------------------------------------------------------------------------------


@pytest.mark.parametrize("architecture", SOME)
def test_a_model_patched_with_itself_is_itself(architecture: str) -> None:
    lm = tiny_lm(architecture)
    for positions in ("answer", "last", "all"):
        table = patch(lm, lm.copy() if positions == "all" else lm, PAIRS, positions)
        assert list(table.columns) == ["pair", "depth", "logprob", "per_token", "drop"]
        assert table["depth"].tolist() == [1, 2] * len(PAIRS)
        np.testing.assert_allclose(drops(table), 0, atol=1e-5)
        np.testing.assert_allclose(at(table, 1), own_logprobs(lm), atol=1e-4)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_all_of_the_donors_last_state_is_the_donor(architecture: str) -> None:
    lm = tiny_lm(architecture)
    donor = disturbed(lm)
    expected = own_logprobs(donor)
    assert np.abs(expected - own_logprobs(lm)).max() > 1e-3
    np.testing.assert_allclose(at(patch(lm, donor, PAIRS, "all"), 2), expected, atol=1e-4)
    np.testing.assert_allclose(at(patch(lm, donor, PAIRS), 2), expected, atol=1e-4)


def test_a_patch_is_what_hooks_would_do() -> None:
    lm = tiny_lm(num_hidden_layers=3)
    donor = disturbed(lm)
    prompt, answer = encode_pairs(lm, PAIRS[1:2])[0]
    assert len(answer) > 1
    ids = torch.tensor([[*prompt, *answer]])
    asked = torch.arange(len(prompt) - 1, len(prompt) + len(answer) - 1)
    places = {"last": asked[:1], "answer": asked, "all": torch.arange(ids.shape[1])}

    def exchange(given: torch.Tensor, chosen: torch.Tensor) -> Callable:
        def hook(_: object, __: object, output: torch.Tensor) -> torch.Tensor:
            output = output.clone()
            output[:, chosen] = given[:, chosen]
            return output

        return hook

    with torch.no_grad(), layers.recorded(blocks(donor.model)) as known:
        all_logits(donor.model, ids)
    for positions, chosen in places.items():
        table = patch(lm, donor, PAIRS[1:2], positions)
        for depth, given in enumerate(known.states()[1:], 1):
            block = blocks(lm.model)[depth - 1]
            hook = block.register_forward_hook(exchange(given, chosen))
            with torch.no_grad():
                logprobs = all_logits(lm.model, ids)[0].log_softmax(-1)
            hook.remove()
            expected = float(logprobs[asked, torch.tensor(answer)].sum())
            assert at(table, depth)[0] == pytest.approx(expected, abs=1e-4)


def test_models_that_do_not_fit_are_named() -> None:
    lm = tiny_lm()
    with pytest.raises(ModelError, match="differ in depth or width"):
        patch(lm, tiny_lm(num_hidden_layers=3), PAIRS)
    with pytest.raises(ModelError, match="differ in depth or width"):
        patch(lm, tiny_lm(hidden_size=32), PAIRS)
    other = LanguageModel.of(tiny_lm().model, tiny_tokenizer("bpe-bos"))
    with pytest.raises(ModelError, match="different tokens"):
        patch(lm, other, PAIRS)
    with pytest.raises(ValueError, match="'answer', 'last' or 'all'"):
        patch(lm, lm, PAIRS, "first")


def test_blocks_that_need_one_another_run() -> None:
    """As where late layers take over keys and values: what is skipped leaves nothing behind."""
    lm = tiny_lm(num_hidden_layers=3)
    donor = disturbed(lm)
    expected = lens(lm, PAIRS), patch(lm, donor, PAIRS)
    first, _, third = blocks(lm.model)
    shared: list[int] = []
    first.register_forward_pre_hook(lambda *_: shared.clear())
    early, late = first.forward, third.forward

    def leave(*given: object, **named: object) -> object:
        shared.append(1)
        return early(*given, **named)

    def take(*given: object, **named: object) -> object:
        shared.pop()
        return late(*given, **named)

    first.forward, third.forward = leave, take
    assert not layers.skippable(lm.model, blocks(lm.model))
    assert (first.forward, third.forward) == (leave, take)
    pd.testing.assert_frame_equal(lens(lm, PAIRS), expected[0], atol=1e-5)
    pd.testing.assert_frame_equal(patch(lm, donor, PAIRS), expected[1], atol=1e-5)


@pytest.mark.parametrize("architecture", ["llama", "falcon", "gemma3_text", "mamba"])
def test_ordinary_blocks_need_not_run(architecture: str) -> None:
    model = tiny_lm(architecture).model
    with torch.no_grad():
        assert layers.skippable(model, blocks(model))


# --- the depth of unlearning --------------------------------------------------------------------


def test_depth_score_by_hand() -> None:
    retrained = np.array([[0.01, 1.0, 3.0], [0.5, 0.5, -1.0], [0.05, 0.0, -2.0], [0.2, 0.2, 0.0]])
    unlearned = np.array([[9.0, 0.5, 4.0], [-1.0, 0.25, 7.0], [1.0, 1.0, 1.0], [0.0, 0.1, 1.0]])
    found = depth_score(unlearned, retrained)
    np.testing.assert_allclose(found, [3.5 / 4, 0.25, np.nan, 0.25])
    assert found.dtype == np.float64
    np.testing.assert_allclose(depth_score(unlearned, retrained, 0.5)[:2], [3.5 / 4, np.nan])
    assert depth_score(np.empty((0, 4)), np.empty((0, 4))).shape == (0,)
    with pytest.raises(ValueError, match="facts, layers"):
        depth_score(unlearned[:2], retrained)
    with pytest.raises(ValueError, match="threshold"):
        depth_score(unlearned, retrained, -1.0)


def test_depth_score_is_the_formula() -> None:
    rng = np.random.default_rng(0)
    unlearned, retrained = rng.normal(size=(2, 200, 6))
    expected = []
    for lost, gap in zip(unlearned, retrained, strict=True):
        lost, gap = lost[gap > 0.05], gap[gap > 0.05]
        whole = gap.sum()
        expected.append((gap * np.clip(lost / gap, 0, 1)).sum() / whole if len(gap) else np.nan)
    found = depth_score(unlearned, retrained)
    np.testing.assert_allclose(found, expected)
    assert np.isnan(found).any()


def test_retraining_is_as_deep_as_can_be_and_the_original_is_not_deep_at_all() -> None:
    original = tiny_lm("gpt_neox", num_hidden_layers=3)
    retrained = disturbed(original)
    lost = drops(patch(original, retrained, PAIRS))
    assert lost.shape == (len(PAIRS), 3)
    counted = (lost > 0.05).any(axis=1)
    assert counted.sum() >= 2
    as_deep = unlearning_depth(original, retrained, retrained, PAIRS)
    np.testing.assert_array_equal(np.isnan(as_deep), ~counted)
    np.testing.assert_allclose(as_deep[counted], 1.0)
    untouched = unlearning_depth(original, original, retrained, PAIRS)
    np.testing.assert_allclose(untouched[counted], 0.0, atol=1e-4)
    # Only the last block forgot: nothing is missing before it.
    shallow = original.copy()
    blocks(shallow.model)[2].load_state_dict(blocks(retrained.model)[2].state_dict())
    before_last = drops(patch(original, shallow, PAIRS))[:, :2]
    np.testing.assert_allclose(before_last, 0.0, atol=1e-5)


# --- manners ------------------------------------------------------------------------------------


@pytest.mark.parametrize("training", [True, False])
def test_nothing_is_left_behind(training: bool) -> None:
    lm, donor = tiny_lm("gpt2"), disturbed(tiny_lm("gpt2"))
    lm.model.train(training)
    donor.model.train(training)
    before = lm.fingerprint(), traces(lm), torch.random.get_rng_state()
    first = lens(lm, PAIRS), patch(lm, donor, PAIRS)
    second = lens(lm, PAIRS), patch(lm, donor, PAIRS)
    for one, other in zip(first, second, strict=True):
        pd.testing.assert_frame_equal(one, other)  # dropout did not act
    assert lm.model.training == donor.model.training == training
    assert (lm.fingerprint(), traces(lm)) == before[:2]
    assert torch.equal(torch.random.get_rng_state(), before[2])
    assert all(parameter.grad is None for parameter in lm.model.parameters())


@pytest.mark.parametrize("after", range(1, 6))
def test_nothing_is_left_behind_after_an_error(monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    lm, donor = tiny_lm(), disturbed(tiny_lm())
    lm.model.train()
    run, calls = inside._logprobs, []

    def failing(lm: LanguageModel, batch: object) -> np.ndarray:
        calls.append(1)
        if len(calls) % after == 0:
            raise RuntimeError("interrupted")
        return run(lm, batch)

    monkeypatch.setattr(inside, "_logprobs", failing)
    before = traces(lm), traces(donor)
    with pytest.raises(RuntimeError, match="interrupted"):
        patch(lm, donor, PAIRS)
    with pytest.raises(RuntimeError, match="interrupted"):
        lens(lm, PAIRS)
    assert (traces(lm), traces(donor)) == before
    assert lm.model.training
    assert not donor.model.training


def test_nothing_to_read_gives_empty_tables() -> None:
    lm = tiny_lm()
    assert len(lens(lm, [])) == 0
    assert len(patch(lm, lm, [])) == 0


def test_pairs_that_cannot_be_read_are_named() -> None:
    lm = tiny_lm(max_position_embeddings=8)
    with pytest.raises(DataError, match="Pair 2 has 3 tokens of prompt and 9 of answer"):
        lens(lm, [([5, 6], [7]), ([5, 6, 7], [8] * 9)])
    with pytest.raises(DataError, match="Pair 1 has 0 tokens"):
        lens(lm, [([], [7])])
    with pytest.raises(DataError, match="Pair 1 holds the token 999"):
        lens(lm, [([5], [999])])


@pytest.mark.parametrize("output", [None, (), {"state": 1}, torch.zeros(6, 16), (1,)])
def test_blocks_that_hand_on_nothing_readable_are_refused(output: object) -> None:
    with pytest.raises(ModelError, match="no hidden state"):
        layers.hidden(output)


def test_a_model_that_leaves_blocks_out_is_refused() -> None:
    lm = tiny_lm()
    lm.model.config.num_hidden_layers = lm.model.model.config.num_hidden_layers = 1
    stack = list(lm.model.model.layers)
    with pytest.raises(ModelError, match="did not run each of its blocks"):
        layers.skippable(lm.model, stack)
