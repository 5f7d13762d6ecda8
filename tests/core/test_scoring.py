"""Scores equal lm-eval's, whatever the architecture, the batch and the text."""

import random
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from peft import LoraConfig, get_peft_model
from tiny import ARCHITECTURES, SENTENCES, tiny_lm
from transformers import ByT5Tokenizer

from palimpsest.core import scoring
from palimpsest.core.errors import DataError, ModelError
from palimpsest.core.generation import generate
from palimpsest.core.models import LanguageModel
from palimpsest.core.scoring import encode_pairs, score, score_rows, score_tokens

WORDS = " ".join(SENTENCES).split()
TOLERANCE = 1e-4


def harness(lm: LanguageModel, batch_size: int = 1) -> HFLM:
    # Its cache of contexts mixes up requests that split one text at different places.
    return HFLM(
        pretrained=lm.model,
        tokenizer=lm.tokenizer,
        batch_size=batch_size,
        max_length=lm.max_length,
        logits_cache=False,
    )


def theirs(lm: LanguageModel, pairs: list[tuple[str, str]], batch_size: int = 1) -> list:
    requests = [Instance("loglikelihood", {}, pair, 0) for pair in pairs]
    return harness(lm, batch_size).loglikelihood(requests, disable_tqdm=True)


def some_pairs(seed: int = 0) -> list[tuple[str, str]]:
    """Ordinary pairs, and every kind of odd one."""
    rng = random.Random(seed)
    pairs = [
        (" ".join(rng.choices(WORDS, k=rng.randrange(9))), " " + " ".join(rng.choices(WORDS, k=n)))
        for n in (1, 2, 3, 4, 1, 2, 3)
    ]
    question = "Where was Mira Tolden born?"
    choices = [" Askerby.", " Zürich", " red", " red house", " 東京 🎈"]
    pairs += [(question, choice) for choice in choices]  # a context shared
    pairs += pairs[-2:]  # duplicates
    pairs += [("", "Mira bakes"), ("", " red"), ("The red house  ", "by the sea")]
    pairs += [("The", " red house stands by"), ("The red", " house stands red")]
    pairs += [(" ".join(WORDS), " red house")]  # longer than the window
    pairs += [("tab\t", "new\nline"), ("é", "à"), ("<eos>The", " end<eos>")]
    rng.shuffle(pairs)
    return pairs


def assert_equal(found: list[scoring.Score], expected: list[tuple[float, bool]]) -> None:
    assert [entry.is_greedy for entry in found] == [greedy for _, greedy in expected]
    gaps = [
        abs(entry.logprob - logprob) for entry, (logprob, _) in zip(found, expected, strict=True)
    ]
    assert max(gaps) < TOLERANCE


# --- the same numbers ---------------------------------------------------------------------------


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_scores_are_lm_evals(architecture: str) -> None:
    lm = tiny_lm(architecture, "bpe-bos" if architecture.startswith("gemma") else "bpe")
    pairs = some_pairs()
    expected = theirs(lm, pairs, batch_size=8)
    for batch_tokens in (150, None):
        assert_equal(score(lm, pairs, batch_tokens), expected)


@pytest.mark.parametrize("architecture", ["opt", "mamba"])
def test_one_text_at_a_time_gives_the_same(architecture: str) -> None:
    lm = tiny_lm(architecture)
    pairs = some_pairs(3)
    assert_equal(score(lm, pairs, batch_tokens=1), theirs(lm, pairs))


@pytest.mark.parametrize("tokenizer", ["bpe-bos", "bpe-eos-only", "unigram"])
@pytest.mark.parametrize("architecture", ["llama", "gpt2", "opt"])
def test_scores_are_lm_evals_with_other_tokenizers(architecture: str, tokenizer: str) -> None:
    lm = tiny_lm(architecture, tokenizer)
    pairs = some_pairs(1)
    assert_equal(score(lm, pairs), theirs(lm, pairs, batch_size=5))


# --- beginnings in common -----------------------------------------------------------------------


def questions(count: int = 12, choices: int = 5, seed: int = 0) -> list[tuple[str, str]]:
    """Long contexts, each with some choices after it, in no order; some pairs by themselves."""
    rng = random.Random(seed)
    pairs = []
    for _ in range(count):
        context = " ".join(rng.choices(WORDS, k=rng.randrange(9, 30)))
        pairs += [
            (context, " " + " ".join(rng.choices(WORDS, k=rng.randrange(1, 4))))
            for _ in range(choices)
        ]
    pairs += [("The red", " house"), (" ".join(WORDS[:20]), " red")]
    rng.shuffle(pairs)
    return pairs


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_what_begins_alike_scores_like_lm_eval(architecture: str) -> None:
    lm = tiny_lm(architecture, "bpe-bos" if architecture.startswith("gemma") else "bpe")
    pairs = questions()
    expected = theirs(lm, pairs, batch_size=8)
    for batch_tokens in (150, None):
        assert_equal(score(lm, pairs, batch_tokens), expected)


def test_a_window_that_slides_within_the_beginning() -> None:
    lm = tiny_lm("mistral", sliding_window=6)
    pairs = questions(seed=1)
    assert scoring._branching_works(lm.model, lm.device)
    assert_equal(score(lm, pairs), theirs(lm, pairs))


def test_the_beginning_is_read_once() -> None:
    lm = tiny_lm()
    score(lm, questions(2))  # the architecture's trials
    rng = np.random.default_rng(0)
    stem = rng.integers(5, 340, size=30).tolist()
    pairs = [(stem, [first, 7, 8]) for first in range(10, 30)]
    work = counted(lm)
    score_tokens(lm, pairs)
    assert work.read <= len(stem) + len(pairs) * (3 + scoring._STEM_STEP)
    assert work.projected == 1 + 3 * len(pairs)


def test_an_architecture_that_cannot_go_on_is_scored_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lm = tiny_lm()
    pairs = questions(seed=2)
    expected = [(entry.logprob, entry.is_greedy) for entry in score(lm, pairs)]
    read_on = scoring.read_on

    def refuse(*_: object) -> None:
        raise NotImplementedError("nothing is kept")

    def astray(model: torch.nn.Module, ids: torch.Tensor, past: object = None) -> object:
        return read_on(model, ids if past is None else ids + 1, past)

    for wrong in (refuse, astray):
        monkeypatch.setattr(scoring, "_BRANCHES", {})
        monkeypatch.setattr(scoring, "read_on", wrong)
        assert_equal(score(lm, pairs), expected)
        assert list(scoring._BRANCHES.values()) == [False]


def test_a_text_that_brings_its_own_bos_gets_no_second() -> None:
    lm = tiny_lm("llama", "bpe-bos")
    pairs = [("<bos>The red", " house"), ("The red", " house"), ("", "<bos>Mira bakes")]
    assert encode_pairs(lm, pairs)[0] == encode_pairs(lm, pairs)[1]
    assert_equal(score(lm, pairs), theirs(lm, pairs))


def test_a_slow_tokenizer_scores_the_same() -> None:
    lm = tiny_lm("llama", vocab_size=400, max_position_embeddings=128)
    lm = LanguageModel.of(lm.model, ByT5Tokenizer())
    pairs = [("The red", " house"), ("é", " à la"), ("", "Mira")]
    assert_equal(score(lm, pairs), theirs(lm, pairs))


def test_greedy_continuations_are_recognized() -> None:
    lm = tiny_lm()
    context = [5, 9, 30]
    ids = list(context)
    with torch.no_grad():
        for _ in range(4):
            ids.append(int(lm.model(torch.tensor([ids])).logits[0, -1].argmax()))
    greedy = ids[3:]
    other = [*greedy[:2], (greedy[2] + 1) % 340, greedy[3]]
    pairs = [(context, greedy), (context, other), (context, greedy[:1])]
    expected = harness(lm)._loglikelihood_tokens([(None, *pair) for pair in pairs], True)
    assert [greedy for _, greedy in expected] == [True, False, True]
    assert_equal(score_tokens(lm, pairs), expected)


def test_a_continuation_longer_than_the_window_is_scored_in_windows() -> None:
    lm = tiny_lm(max_position_embeddings=8)
    ids = np.random.default_rng(0).integers(5, 340, size=30).tolist()
    (found,) = score_tokens(lm, [(ids[:3], ids[3:])])
    requests = [Instance("loglikelihood_rolling", {}, ("",), 0)]
    rolling = harness(lm, 4)
    rolling.tok_encode = lambda *_, **__: ids[3:]
    rolling.custom_prefix_token_id = ids[2]
    (expected,) = rolling.loglikelihood_rolling(requests, disable_tqdm=True)
    assert found.tokens == 27
    assert abs(found.logprob - expected) < TOLERANCE


@pytest.mark.parametrize("kind", ["dynamic", "longrope"])
def test_embeddings_that_change_with_length_are_not_mixed(kind: str) -> None:
    settings = {"rope_theta": 10000.0, "rope_type": kind, "factor": 4.0}
    if kind == "longrope":
        settings |= {
            "short_factor": [1.0] * 4,
            "long_factor": [3.0] * 4,
            "original_max_position_embeddings": 8,
        }
    size = {"max_position_embeddings": 8 if kind == "dynamic" else 64}
    lm = tiny_lm(rope_parameters=settings, **size)
    lm.max_length = 32
    pairs = some_pairs(2)
    assert_equal(score(lm, pairs), theirs(lm, pairs))


# --- the work -----------------------------------------------------------------------------------


@dataclass
class Work:
    """Token positions that reached the embedding and the vocabulary projection."""

    read: int = 0
    projected: int = 0
    passes: int = 0


def counted(lm: LanguageModel) -> Work:
    work = Work()

    def read(_: object, inputs: tuple) -> None:
        work.read += inputs[0].numel()
        work.passes += 1

    def project(_: object, __: object, output: torch.Tensor) -> None:
        work.projected += output.shape[:-1].numel()

    lm.model.get_input_embeddings().register_forward_pre_hook(read)
    lm.model.get_output_embeddings().register_forward_hook(project)
    return work


def test_what_is_asked_twice_is_read_once() -> None:
    lm = tiny_lm()
    score(lm, [("The", " red")])  # the architecture's trial
    question = "Where was Mira Tolden born?"
    (context, single), (_, several) = encode_pairs(
        lm, [(question, " red"), (question, " Askerby was born")]
    )
    assert (len(single), len(several)) == (1, 3)
    pairs = [(context, single), (context, several), (context, [7]), (context, several)]
    work = counted(lm)
    score_tokens(lm, pairs)
    assert work.read == len(context) + len(several) - 1
    assert work.projected == len(several)
    assert work.passes == 1


def test_padding_is_rare_and_the_budget_is_kept() -> None:
    lm = tiny_lm()
    rng = np.random.default_rng(0)
    pairs = [
        (rng.integers(5, 340, size=size).tolist(), [7]) for size in rng.integers(2, 60, size=300)
    ]
    score_tokens(lm, pairs[:2])
    work = counted(lm)
    score_tokens(lm, pairs, batch_tokens=512)
    useful = sum(len(context) for context, _ in pairs)
    assert work.read <= 1.1 * useful
    assert work.read / work.passes <= 512


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_positions_are_selected_before_the_projection(architecture: str) -> None:
    lm = tiny_lm(architecture)
    score(lm, [("The red house", " stands")])
    assert scoring._SELECTS[type(lm.model)]


def test_an_architecture_that_cannot_select_is_scored_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lm = tiny_lm()
    expected = score(lm, some_pairs())
    # A projection that looks at the whole sequence: picking first would change its numbers.
    forward = lm.model.lm_head.forward

    class Looking(type(lm.model)):
        pass

    lm.model.__class__ = Looking
    monkeypatch.setattr(
        lm.model.lm_head, "forward", lambda hidden: forward(hidden) + hidden.shape[1]
    )
    found = score(lm, some_pairs())
    assert not scoring._SELECTS[Looking]
    assert_equal(found, [(entry.logprob, entry.is_greedy) for entry in expected])


def test_a_model_with_adapters_scores_and_continues_like_any_other() -> None:
    lm = tiny_lm("gpt2")
    settings = LoraConfig(r=2, target_modules=["c_attn"], fan_in_fan_out=True)
    wrapped = replace(lm.copy(), model=get_peft_model(lm.copy().model, settings))
    pairs = some_pairs()[:8]
    expected = [(entry.logprob, entry.is_greedy) for entry in score(lm, pairs)]
    assert_equal(score(wrapped, pairs), expected)
    assert generate(wrapped, ["The red", "Mira"], 3) == generate(lm, ["The red", "Mira"], 3)
    assert wrapped.fingerprint() != lm.fingerprint()
    merged = replace(wrapped, model=wrapped.model.merge_and_unload())
    assert merged.fingerprint() == lm.fingerprint()


def test_a_batch_that_does_not_fit_is_halved(monkeypatch: pytest.MonkeyPatch) -> None:
    lm = tiny_lm()
    pairs = some_pairs() + questions(3)
    expected = [(entry.logprob, entry.is_greedy) for entry in score(lm, pairs)]
    run = scoring._run_at_once

    def small(lm: LanguageModel, batch: list) -> torch.Tensor:
        if sum(len(branch.readings) for branch in batch) > 3:
            raise torch.OutOfMemoryError
        return run(lm, batch)

    monkeypatch.setattr(scoring, "_run_at_once", small)
    assert_equal(score(lm, pairs), expected)

    def none(*_: object) -> torch.Tensor:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(scoring, "_run_at_once", none)
    with pytest.raises(ModelError, match="does not suffice to read one text"):
        score(lm, pairs)


def test_scoring_leaves_no_trace() -> None:
    lm = tiny_lm("gpt2")
    lm.model.train()
    before = lm.fingerprint(), torch.random.get_rng_state()
    first = score(lm, some_pairs())
    assert lm.model.training
    assert lm.fingerprint() == before[0]
    assert torch.equal(torch.random.get_rng_state(), before[1])
    assert all(parameter.grad is None for parameter in lm.model.parameters())
    # Dropout, which training mode would switch on, did not act.
    assert [entry.logprob for entry in score(lm, some_pairs())] == [
        entry.logprob for entry in first
    ]


# --- rows ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    input_ids: np.ndarray
    weights: np.ndarray
    id: str = ""


def test_rows_are_scored_where_their_weight_is_positive() -> None:
    lm = tiny_lm()
    rng = np.random.default_rng(0)
    rows = []
    for length in (2, 7, 30, 12):
        weights = rng.choice([0.0, 0.5, 1.0], size=length)
        rows.append(Row(rng.integers(5, 340, size=length), weights))
    for row, found in zip(rows, score_rows(lm, rows), strict=True):
        with torch.no_grad():
            logits = lm.model(torch.from_numpy(row.input_ids)[None]).logits[0]
        logprobs = logits.log_softmax(-1)[:-1].numpy()[
            np.arange(len(row.input_ids) - 1), row.input_ids[1:]
        ]
        wanted = row.weights[1:] > 0
        np.testing.assert_allclose(found.token_logprobs, logprobs[wanted], atol=1e-5)
        assert found.tokens == wanted.sum()
        assert found.logprob == pytest.approx(float(logprobs[wanted].sum()), abs=1e-5)


def test_a_long_row_is_scored_whole_and_an_unsupervised_one_is_empty() -> None:
    lm = tiny_lm(max_position_embeddings=16)
    ids = np.random.default_rng(0).integers(5, 340, size=100)
    long, empty = score_rows(lm, [Row(ids, np.ones(100)), Row(ids[:5], np.zeros(5))])
    assert long.tokens == 99
    assert np.isfinite(long.token_logprobs).all()
    assert (empty.tokens, empty.logprob, empty.is_greedy) == (0, 0.0, True)
    # The first window reads what a text of that length alone would.
    (start,) = score_rows(lm, [Row(ids[:17], np.ones(17))])
    np.testing.assert_allclose(long.token_logprobs[:16], start.token_logprobs, atol=1e-5)


def test_nothing_to_score_gives_nothing() -> None:
    assert score(tiny_lm(), []) == []


# --- bad input ----------------------------------------------------------------------------------


def test_a_continuation_without_tokens_is_named() -> None:
    with pytest.raises(DataError, match=r"pair 2.*''"):
        score(tiny_lm(), [("The", " red"), ("The red", "")])


def test_without_bos_and_eos_a_text_cannot_start_from_nothing() -> None:
    lm = tiny_lm("llama", "wordlevel")
    assert np.isfinite(score(lm, [("The red", " house")])[0].logprob)
    with pytest.raises(DataError, match="neither a BOS nor an EOS"):
        score(lm, [("", "The red house")])


def test_a_token_that_the_model_does_not_know_is_named() -> None:
    lm = tiny_lm()
    lm.tokenizer = lm.tokenizer.__class__(tokenizer_object=lm.tokenizer.backend_tokenizer)
    lm.tokenizer.add_tokens(["Askerby"])
    with pytest.raises(DataError, match=r"Text 2 holds the token 340 \('Askerby'\)"):
        score(lm, [("The", " red"), ("born in", " Askerby")])
