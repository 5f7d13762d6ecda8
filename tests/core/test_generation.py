"""What a prompt yields does not depend on its neighbours, and equals lm-eval's."""

import random

import numpy as np
import pytest
import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from tiny import SENTENCES, tiny_lm
from transformers import GenerationConfig

from palimpsest.core import generation
from palimpsest.core.errors import DataError, UserError
from palimpsest.core.generation import generate
from palimpsest.core.models import LanguageModel
from palimpsest.core.tasks import HarnessLM

PROMPTS = [
    "The red house",
    "Mira",
    "Two plus three is five; seven",
    " ".join(SENTENCES),  # longer than the window
    "Mira",
]
ARCHITECTURES = ["llama", "gpt2", "opt", "gemma2", "bloom", "mpt", "mamba"]


def alone(lm: LanguageModel, prompts: list[str], *args: object, **settings: object) -> list[str]:
    return [generate(lm, [prompt], *args, **settings)[0] for prompt in prompts]


# --- batches ------------------------------------------------------------------------------------


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_batch_yields_what_each_prompt_yields_alone(architecture: str) -> None:
    lm = tiny_lm(architecture)
    prompts = PROMPTS[:4]
    together = generate(lm, prompts, 4)
    assert together == alone(lm, prompts, 4)
    assert len(set(together)) > 1
    drawn = generate(lm, prompts, 4, method="sample", seed=3)
    assert drawn == alone(lm, prompts, 4, method="sample", seed=3)
    assert drawn != together


def test_beams_too() -> None:
    lm = tiny_lm()
    prompts = PROMPTS[:3]
    beams = generate(lm, prompts, 4, method="beam", beams=3)
    assert beams == alone(lm, prompts, 4, method="beam", beams=3)
    assert beams != generate(lm, prompts, 4)
    assert generate(lm, prompts, 4, method="beam", beams=1) == generate(lm, prompts, 4)


def test_greedy_takes_the_first_choice() -> None:
    lm = tiny_lm("gpt2")
    ids = lm.tokenizer("The red house")["input_ids"]
    with torch.no_grad():
        for _ in range(5):
            ids.append(int(lm.model(torch.tensor([ids])).logits[0, -1].argmax()))
    expected = lm.tokenizer.decode(ids[-5:], skip_special_tokens=True)
    assert generate(lm, ["The red house"], 5) == [expected]


def test_a_model_that_cannot_pad_is_given_equal_lengths(monkeypatch: pytest.MonkeyPatch) -> None:
    lm = tiny_lm()
    expected = generate(lm, PROMPTS, 4)
    widths = []
    run = generation._run
    monkeypatch.setattr(generation, "pads_left", lambda lm: False)
    monkeypatch.setattr(
        generation,
        "_run",
        lambda lm, prompts, *rest, **options: (
            widths.append({len(prompt) for prompt in prompts}) or run(lm, prompts, *rest, **options)
        ),
    )
    assert generate(lm, PROMPTS, 4) == expected
    assert all(len(width) == 1 for width in widths)
    assert len(widths) == 4  # the two equal prompts went together


def test_padding_that_changes_numbers_is_found_out() -> None:
    lm = tiny_lm("gpt2")
    assert generation.pads_left(lm)
    other = lm.copy()
    forward = other.model.forward

    def careless(*args: object, **inputs: object) -> object:
        # Reads padding like text, as a model does that ignores the mask and counts from the left.
        inputs.pop("position_ids", None)
        return forward(*args, **{**inputs, "attention_mask": None})

    other.model.forward = careless
    assert not generation.pads_left(other)


# --- sampling -----------------------------------------------------------------------------------


def test_samples_depend_on_seed_and_prompt_and_nothing_else() -> None:
    lm = tiny_lm()
    draw = {"method": "sample", "temperature": 1.5}
    state = torch.random.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
    first = generate(lm, PROMPTS, 6, seed=1, **draw)
    assert torch.equal(torch.random.get_rng_state(), state[0])
    assert random.getstate() == state[1]
    assert np.random.get_state()[1].tolist() == state[2]  # noqa: NPY002
    torch.manual_seed(99)
    assert generate(lm, PROMPTS, 6, seed=1, **draw) == first
    assert generate(lm, PROMPTS, 6, seed=2, **draw) != first
    assert generate(lm, PROMPTS[::-1][1:], 6, seed=1, **draw)[:3] == first[:4][::-1][:3]
    assert first[1] != first[4]  # the same prompt again is a new draw


def test_samples_follow_the_distribution() -> None:
    scores = torch.log(torch.tensor([[0.5, 0.3, 0.15, 0.05]])).repeat(4000, 1)
    noise = np.random.default_rng(0).random((4000, 1))

    def shares(temperature: float = 1.0, top_p: float = 1.0, top_k: int = 0) -> list[float]:
        sampling = generation.Sampling(temperature, top_p, top_k)
        draw = generation._Draw(sampling, noise, 3, torch.device("cpu"))
        chosen = draw(torch.zeros(4000, 3), scores).argmax(-1)
        return (torch.bincount(chosen, minlength=4) / 4000).tolist()

    assert shares() == pytest.approx([0.5, 0.3, 0.15, 0.05], abs=0.03)
    squared = np.array([0.25, 0.09, 0.0225, 0.0025])
    assert shares(temperature=0.5) == pytest.approx((squared / squared.sum()).tolist(), abs=0.03)
    assert shares(top_k=2) == pytest.approx([0.625, 0.375, 0, 0], abs=0.03)
    assert shares(top_p=0.8001) == pytest.approx([0.526, 0.316, 0.158, 0], abs=0.03)
    assert shares(top_p=0.1) == [1, 0, 0, 0]


def test_the_draw_never_leaves_the_vocabulary() -> None:
    scores = torch.tensor([[0.0, -torch.inf, -torch.inf]])
    draw = generation._Draw(
        generation.Sampling(1.0, 1.0, 0), np.array([[np.nextafter(1.0, 0.0)]]), 1, scores.device
    )
    assert int(draw(torch.zeros(1, 1), scores).argmax()) == 0


# --- where it ends ------------------------------------------------------------------------------


def test_a_continuation_ends_before_the_end_token_and_the_stop_strings() -> None:
    lm = tiny_lm()
    (whole,) = generate(lm, PROMPTS[:1], 8)
    mark = whole[len(whole) // 2]
    (cut,) = generate(lm, PROMPTS[:1], 8, stop=["never to be seen", mark])
    assert cut == whole.split(mark)[0]
    ids = lm.tokenizer(PROMPTS[0])["input_ids"]
    with torch.no_grad():
        likely = int(lm.model(torch.tensor([ids])).logits[0, -1].argmax())
    lm.model.generation_config.eos_token_id = [likely, 3]
    assert generate(lm, PROMPTS[:1], 8) == [""]


def test_the_models_own_settings_do_not_interfere() -> None:
    lm = tiny_lm()
    expected = generate(lm, PROMPTS, 6)
    own = GenerationConfig(
        do_sample=True, temperature=9.0, repetition_penalty=5.0, num_beams=2, eos_token_id=0
    )
    lm.model.generation_config = own
    assert generate(lm, PROMPTS, 6) == expected
    assert lm.model.generation_config is own


def test_a_long_prompt_loses_its_beginning() -> None:
    lm = tiny_lm()
    ids = lm.tokenizer(PROMPTS[3])["input_ids"]
    assert len(ids) > lm.max_length
    assert generate(lm, [lm.tokenizer.decode(ids[-54:])], 10) == generate(lm, [PROMPTS[3]], 10)


def test_an_empty_prompt_starts_from_bos_or_not_at_all() -> None:
    assert len(generate(tiny_lm(), [""], 3)) == 1
    with pytest.raises(DataError, match="cannot start from nothing"):
        generate(tiny_lm("llama", "wordlevel"), [""], 3)
    assert generate(tiny_lm(), [], 3) == []


# --- lm-eval ------------------------------------------------------------------------------------


@pytest.mark.parametrize("architecture", ["llama", "opt", "bloom"])
def test_continuations_are_lm_evals(architecture: str) -> None:
    lm = tiny_lm(architecture, "bpe-bos")
    kinds = [
        {"until": ["a"], "max_gen_toks": 6, "do_sample": False},
        {"until": ["the", "\n"], "max_gen_toks": 5, "repetition_penalty": 1.7},
    ]
    requests = [
        Instance("generate_until", {}, (prompt, kinds[index % 2]), index)
        for index, prompt in enumerate([*PROMPTS, "<bos>The"])
    ]
    theirs = HFLM(
        pretrained=lm.model, tokenizer=lm.tokenizer, batch_size=1, max_length=lm.max_length
    ).generate_until(requests, disable_tqdm=True)
    assert HarnessLM(lm).generate_until(requests) == theirs


def test_a_task_without_a_limit_fits_a_small_window() -> None:
    lm = tiny_lm()
    requests = [Instance("generate_until", {}, ("The red", {"until": ["."]}), 0)]
    (text,) = HarnessLM(lm).generate_until(requests)
    assert [text] == generate(lm, ["The red"], lm.max_length // 2, stop=["."])
    requests[0].arguments = ("The red", {"until": ["."], "max_gen_toks": 5000})
    assert HarnessLM(lm).generate_until(requests) == [text]


def test_a_task_may_sample() -> None:
    lm = tiny_lm()
    settings = {"until": [], "do_sample": True, "temperature": 1.5, "max_gen_toks": 6}
    requests = [Instance("generate_until", {}, ("The red", settings), 0)] * 3
    texts = HarnessLM(lm, seed=1).generate_until(requests)
    assert len(set(texts)) > 1
    assert HarnessLM(lm, seed=1).generate_until(requests) == texts
    assert HarnessLM(lm, seed=2).generate_until(requests) != texts


# --- bad input ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"method": "gready"}, "did you mean 'greedy'"),
        ({"max_new_tokens": 64}, "from 1 to 63"),
        ({"max_new_tokens": 0}, "from 1 to 63"),
        ({"method": "sample", "temperature": 0.0}, "use method='greedy'"),
        ({"method": "sample", "top_p": 1.5}, "top_p"),
        ({"method": "beam", "beams": 0}, "at least one beam"),
    ],
)
def test_settings_out_of_range(settings: dict, words: str) -> None:
    with pytest.raises(UserError, match=words):
        generate(tiny_lm(), ["The"], **{"max_new_tokens": 3, **settings})
