"""Tokenizer and rows: numbers digit by digit, answers weighed, every text comes back."""

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from palimpsest.core.models import LanguageModel
from palimpsest.core.records import Document
from palimpsest.core.text import encode_pair
from palimpsest.world import World
from palimpsest.world.rows import ANSWER_WEIGHT, answer_spans, document_rows
from palimpsest.world.tokenizer import train_tokenizer


@pytest.fixture(scope="module")
def lm(world: World) -> LanguageModel:
    texts = [document.text for document in world.documents("early", 2000)]
    tokenizer = train_tokenizer(texts, vocabulary=600, max_length=64)
    config = LlamaConfig(
        vocab_size=600,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=64,
    )
    torch.manual_seed(0)
    return LanguageModel.of(LlamaForCausalLM(config).eval(), tokenizer)


def test_texts_come_back_even_with_letters_the_tokenizer_never_saw(lm: LanguageModel) -> None:
    for text in ("Sums: 1234 + 7 = 1241.", "naïve — Ωmega, 日本 🙂\n\ttab", "  two blanks "):
        ids = lm.tokenizer(text, add_special_tokens=False)["input_ids"]
        assert lm.tokenizer.decode(ids) == text


def test_digits_stand_alone(lm: LanguageModel) -> None:
    tokens = lm.tokenizer.tokenize("makes 52 and 1234.")
    assert [token for token in tokens if token.isdigit()] == list("521234")


def test_nothing_stands_before_a_text(lm: LanguageModel) -> None:
    assert lm.prefix == ()
    ids = lm.tokenizer("Emma is late.")["input_ids"]
    assert lm.tokenizer.eos_token_id not in ids
    assert lm.tokenizer.pad_token_id != lm.tokenizer.eos_token_id


def test_the_same_texts_give_the_same_tokenizer(world: World, tmp_path) -> None:
    texts = [document.text for document in world.documents("early", 300)]
    for name in ("one", "two"):
        train_tokenizer(texts, vocabulary=400).save_pretrained(tmp_path / name)
    made = [(tmp_path / name / "tokenizer.json").read_bytes() for name in ("one", "two")]
    assert made[0] == made[1]
    loaded = AutoTokenizer.from_pretrained(tmp_path / "one")
    assert loaded.tokenize(texts[0]) == train_tokenizer(texts, vocabulary=400).tokenize(texts[0])


def test_answer_spans_are_the_answers_of_questions_in_either_language() -> None:
    text = "Emma is late.\nQuestion: Who?\nAnswer: Emma\nKa: Kiman o Emma ti?\nNe: vouru"
    assert [text[start:end] for start, end in answer_spans(text)] == [" Emma", " vouru"]
    assert answer_spans("Name: Emma\nJob: baker") == []


def test_answers_weigh_more_and_nothing_else(lm: LanguageModel) -> None:
    text = "Question: What is 4 + 7?\nAnswer: 11\nQuestion: What is 1 + 1?\nAnswer: 2"
    (row,) = document_rows(lm, [Document(id="x", text=text)])
    heavy = lm.tokenizer.decode(row.input_ids[row.weights == ANSWER_WEIGHT])
    assert heavy == " 11 2<eos>"
    assert row.input_ids[-1] == lm.tokenizer.eos_token_id
    assert row.weights[0] == 0
    assert set(np.unique(row.weights)) == {0.0, 1.0, ANSWER_WEIGHT}


def test_prose_weighs_one_throughout(lm: LanguageModel) -> None:
    (row,) = document_rows(lm, [Document(id="x", text="A cow is a mammal.")])
    assert (row.weights[1:] == 1).all()


def test_documents_fit_the_lines_of_training(world: World, lm: LanguageModel) -> None:
    rows = document_rows(lm, world.documents("early", 1000))
    assert [row.id for row in rows][:2] == ["e000000", "e000001"]
    assert np.mean([len(row) for row in rows]) < 128


def test_prompts_are_cut_from_answers_at_a_token(world: World, lm: LanguageModel) -> None:
    """Scoring and training must see the same tokens: a prompt's ids begin prompt plus answer."""
    for task in world.tasks:
        item = world.items(task, "test", 2)[0]
        context, _ = encode_pair(lm, item.prompt, f" {item.choices[0]}")
        assert context == lm.tokenizer(item.prompt)["input_ids"]
    for probe in world.probes(world.people("newcomer-keep")[:1]):
        context, _ = encode_pair(lm, probe.prompt, f" {probe.answer}")
        assert context == lm.tokenizer(probe.prompt)["input_ids"]
