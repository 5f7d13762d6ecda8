"""Rows, packing, masks."""

import hashlib

import numpy as np
import pytest
import torch
from tiny import SENTENCES, tiny_lm

from palimpsest.core import text
from palimpsest.core.errors import DataError, ModelError
from palimpsest.core.text import (
    MaskStyle,
    Row,
    Store,
    answer_row,
    batches,
    can_pack,
    cut,
    encode_pair,
    mask_style,
    pack,
    plan,
    text_row,
    text_rows,
)
from palimpsest.core.training import causal_lm_loss

PACKING = {
    "llama": "full",
    "gpt2": "full",
    "gpt_neox": "full",
    "opt": "full",
    "qwen2": "full",
    "gemma": "full",
    "phi": "full",
    "mpt": "full",
    "gptj": "full",
    "mixtral": "full",
    "mistral": "window",
    "gemma3_text": "window",
    "gemma2": "mapping",
    "bloom": "none",
    "falcon": "none",
    "mamba": "none",
}


def rows_of(lengths, weights=None):
    return [
        Row(np.full(n, i + 1), np.ones(n) if weights is None else weights[i], f"d{i}")
        for i, n in enumerate(lengths)
    ]


# --- rows -------------------------------------------------------------------------------------


def test_text_row_supervises_every_token_that_has_a_predecessor():
    plain = text_row(tiny_lm("llama"), "Ada likes red.", "a")
    assert plain.weights[0] == 0
    assert (plain.weights[1:] == 1).all()
    assert plain.id == "a"
    lm = tiny_lm("llama", "bpe-bos")
    with_bos = text_row(lm, "Ada likes red.", weight=2.0, end=True)
    assert with_bos.input_ids[0] == lm.tokenizer.bos_token_id
    assert with_bos.input_ids[-1] == lm.tokenizer.eos_token_id
    assert with_bos.weights.tolist() == [0.0] + [2.0] * (len(with_bos) - 1)


def test_text_rows_agree_with_single_rows():
    lm = tiny_lm("llama")
    together = text_rows(lm, SENTENCES, end=True)
    for sentence, row in zip(SENTENCES, together, strict=True):
        alone = text_row(lm, sentence, end=True)
        assert row.input_ids.tolist() == alone.input_ids.tolist()
    assert text_rows(lm, []) == []


def test_bad_rows_are_refused():
    lm = tiny_lm("llama")
    with pytest.raises(DataError, match="'empty-one' has no tokens"):
        text_row(lm, "", "empty-one")
    with pytest.raises(ModelError, match="end-of-text"):
        text_row(tiny_lm("llama", "bare"), "Ada", end=True)
    for weights in ([1.0, -1.0], [1.0, float("nan")], [1.0]):
        with pytest.raises(ValueError, match="weights"):
            Row(np.array([1, 2]), np.array(weights))


def test_answer_row_weighs_the_answer():
    lm = tiny_lm("llama")
    row = answer_row(lm, "Which colour does Ada like?", " Red.", "q", end=True)
    answer = lm.tokenizer.decode(row.input_ids[row.weights > 0])
    assert answer == " Red.<eos>"
    both = answer_row(lm, "Which colour does Ada like?", " Red.", context_weight=0.5)
    assert sorted(set(both.weights[1:].tolist())) == [0.5, 1.0]


def test_encode_pair_cuts_where_lm_eval_does():
    from lm_eval.api.model import TemplateLM

    lm = tiny_lm("llama")

    class Reference(TemplateLM):
        backend = "causal"
        eot_token_id = 0
        loglikelihood = loglikelihood_rolling = generate_until = None

        def tok_encode(self, string, **_):
            return lm.tokenizer(string, add_special_tokens=False)["input_ids"]

        def _loglikelihood_tokens(self, requests, **_):
            raise NotImplementedError

    reference = Reference()
    for context, answer in [
        ("Where was Mira born?", " Askerby"),
        ("Where was Mira born? ", "Askerby"),
        ("Ada likes red.\n\n", "Ada"),
        ("Étienne dîne", " à Málaga"),
    ]:
        ours = tuple(encode_pair(lm, context, answer))
        theirs = tuple(map(list, reference._encode_pair(context, answer)))
        assert ours == theirs


def test_a_token_across_the_seam_belongs_to_the_answer():
    lm = tiny_lm("llama")
    whole = lm.tokenizer("Askerby", add_special_tokens=False)["input_ids"]
    context, answer = encode_pair(lm, "Ask", "erby")
    assert context + answer == whole
    assert lm.tokenizer.decode(answer).endswith("erby")
    alone = lm.tokenizer("Ask", add_special_tokens=False)["input_ids"]
    assert alone[: len(context) + 1] != whole[: len(context) + 1]
    with pytest.raises(DataError, match="no token"):
        encode_pair(lm, "Ada", "")


def test_a_long_prompt_loses_its_beginning_and_a_long_answer_is_refused():
    lm = tiny_lm("llama")
    row = answer_row(lm, "The red house." * 30, " Red.")
    assert len(row) == lm.max_length
    assert lm.tokenizer.decode(row.input_ids[row.weights > 0]) == " Red."
    with pytest.raises(DataError, match="context window of 64"):
        answer_row(lm, "Where?", " The red house stands." * 30, "long")


def test_cut_makes_every_token_a_target_once():
    row = Row(np.arange(100, 123), np.ones(23), "x")
    pieces = cut([row], 8)
    targets = [t for p in pieces for t in p.input_ids[1:].tolist()]
    assert targets == list(range(101, 123))
    assert all(len(p) <= 8 and p.id == "x" for p in pieces)
    assert all(p.weights[0] == 0 for p in pieces[1:])
    answer_only = Row(np.arange(20), np.arange(20) >= 18, "y")
    assert len(cut([answer_only], 8)) == 1
    with pytest.raises(ValueError, match="at least 2"):
        cut([row], 1)


# --- packing ----------------------------------------------------------------------------------


def first_fit_decreasing(lengths, length):
    bins = []
    for size in sorted(lengths, reverse=True):
        for index, room in enumerate(bins):
            if size <= room:
                bins[index] -= size
                break
        else:
            bins.append(length - size)
    return bins


def test_pack_is_first_fit_decreasing():
    generator = np.random.default_rng(0)
    for _ in range(30):
        length = int(generator.integers(4, 60))
        lengths = generator.integers(1, length + 1, generator.integers(1, 80)).tolist()
        lines = pack(lengths, length)
        assert sorted(i for line in lines for i in line) == list(range(len(lengths)))
        room = sorted(length - sum(lengths[i] for i in line) for line in lines)
        assert room == sorted(first_fit_decreasing(lengths, length))
        assert lines == sorted(lines)
        assert all(list(line) == sorted(line) for line in lines)
    with pytest.raises(ValueError, match="item 1 has 9 tokens"):
        pack([3, 9], 8)


def test_lines_are_full():
    lengths = np.random.default_rng(1).integers(15, 73, 3000).tolist()
    lines = pack(lengths, 128)
    assert sum(lengths) / (len(lines) * 128) > 0.98


@pytest.mark.parametrize("pack_length", [None, 64])
@pytest.mark.parametrize("seed", [None, 3])
def test_plan_visits_each_row_once(pack_length, seed):
    lengths = np.random.default_rng(2).integers(1, 65, 1001)

    def order():
        generator = None if seed is None else np.random.default_rng(seed)
        return list(plan(lengths, 8, pack_length, generator))

    steps = order()
    assert steps == order()
    rows = [i for lines in steps for line in lines for i in line]
    assert sorted(rows) == list(range(1001))
    assert all(len(lines) == 8 for lines in steps[:-1])
    assert 0 < len(steps[-1]) <= 8
    if seed is None:
        # Nothing strays further than a window of batches: a curriculum stays one.
        per_step = 8 if pack_length is None else 8 * pack_length // int(lengths.mean())
        assert np.abs(np.array(rows) - np.arange(1001)).max() <= 2 * text.WINDOW * per_step
    else:
        assert steps != list(plan(lengths, 8, pack_length, np.random.default_rng(4)))


def test_unpacked_batches_hold_rows_of_like_length():
    lengths = np.random.default_rng(2).integers(1, 65, 1001)
    padded = sum(
        len(lines) * max(lengths[i] for (i,) in lines)
        for lines in plan(lengths, 8, None, np.random.default_rng(0))
    )
    assert lengths.sum() / padded > 0.9


def test_batch_layout():
    store = Store(rows_of([3, 2, 4], [[1, 1, 1], [1, 0], [9, 0, 2, 1]]))
    batch = store.batch([(0, 1), (2,)], MaskStyle("full"), filler=7)
    assert batch.input_ids.tolist() == [[1, 1, 1, 2, 2], [3, 3, 3, 3, 7]]
    assert batch.position_ids.tolist() == [[0, 1, 2, 0, 1], [0, 1, 2, 3, 0]]
    assert batch.document.tolist() == [[0, 0, 0, 1, 1], [2, 2, 2, 2, -1]]
    # First tokens are never targets, whatever weight their row gave them.
    assert batch.weights.tolist() == [[0, 1, 1, 0, 0], [0, 0, 2, 1, 0]]
    assert batch.targets.tolist() == [0, 1, 6, 7]
    assert batch.labels.tolist() == [1, 1, 3, 3]
    assert batch.target_weights.tolist() == [1, 1, 2, 1]
    assert batch.target_documents.tolist() == [0, 0, 2, 2]
    assert batch.ids == ("d0", "d1", "d2")
    assert (batch.total_weight, batch.tokens) == (5.0, 9)
    assert batch.to("cpu") is batch


def test_masks_say_who_sees_whom():
    store = Store(rows_of([3, 2]))
    seen = store.batch([(0, 1)], MaskStyle("full")).attention_mask[0, 0].int().tolist()
    assert seen == [
        [1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [1, 1, 1, 0, 0],
        [0, 0, 0, 1, 0],
        [0, 0, 0, 1, 1],
    ]
    narrow = store.batch([(0, 1)], MaskStyle("window", window=2))
    assert narrow.attention_mask[0, 0, 2].int().tolist() == [0, 1, 1, 0, 0]
    added = store.batch([(0, 1)], MaskStyle("full", torch.float32)).attention_mask[0, 0]
    assert torch.equal(added == 0, torch.tensor(seen, dtype=torch.bool))
    assert added.min() == torch.finfo(torch.float32).min
    mapping = store.batch([(0, 1)], MaskStyle("mapping", window=2)).inputs()["attention_mask"]
    assert set(mapping) == {"full_attention", "sliding_attention"}
    assert torch.equal(mapping["sliding_attention"], narrow.attention_mask)
    # A line's padding looks at itself, so that no softmax runs over nothing.
    padded = store.batch([(0,), (1,)], MaskStyle("full"))
    assert padded.attention_mask.any(-1).all()
    plain = store.batch([(0,), (1,)], MaskStyle("none"))
    assert plain.attention_mask.tolist() == [[1, 1, 1], [1, 1, 0]]
    assert set(plain.inputs()) == {"input_ids", "use_cache"}


def mean_loss(lm, rows, batch_size, pack_length):
    total = weight = 0.0
    with torch.no_grad():
        for batch in batches(lm, rows, batch_size, pack_length):
            total += float(causal_lm_loss(lm.model, batch)) * batch.total_weight
            weight += batch.total_weight
    return total / weight


@pytest.mark.parametrize("architecture", PACKING)
def test_packed_documents_do_not_see_each_other(architecture):
    lm = tiny_lm(architecture)
    assert mask_style(lm, 64).kind == PACKING[architecture]
    rows = text_rows(lm, SENTENCES, end=True)
    alone = np.average(
        [mean_loss(lm, [row], 1, None) for row in rows], weights=[r.weights.sum() for r in rows]
    )
    assert mean_loss(lm, rows, 3, 64) == pytest.approx(alone, abs=2e-5)
    assert mean_loss(lm, rows, 3, None) == pytest.approx(alone, abs=2e-5)


def test_a_window_as_long_as_the_line_needs_no_mask_of_its_own():
    assert mask_style(tiny_lm("mistral", sliding_window=64), 32).kind == "full"


@pytest.mark.parametrize("ignored", [("position_ids",), ("position_ids", "attention_mask")])
def test_a_model_that_ignores_what_it_is_told_is_found_out(ignored, monkeypatch):
    lm = tiny_lm("gpt2")
    forward = type(lm.model).forward

    def deaf(self, *args, **kwargs):
        for name in ignored:
            kwargs.pop(name, None)
        return forward(self, *args, **kwargs)

    monkeypatch.setattr(text, "_styles", {})
    monkeypatch.setattr(type(lm.model), "forward", deaf)
    assert not can_pack(lm, 32)


def test_measuring_leaves_the_model_as_it_was(monkeypatch):
    monkeypatch.setattr(text, "_styles", {})
    lm = tiny_lm("gpt2")
    lm.model.train()
    state = torch.get_rng_state()
    assert can_pack(lm)
    assert lm.model.training
    assert torch.equal(state, torch.get_rng_state())
    with pytest.raises(ValueError, match="meta"):
        text._measured_style(lm.model.to("meta"), 16)


def test_long_documents_are_cut_to_the_context_window():
    lm = tiny_lm("llama")
    row = text_row(lm, "The red house stands by the river. " * 30, "long")
    assert len(row) > lm.max_length
    for pack_length in (None, 40, 500):
        found = list(batches(lm, [row], 2, pack_length))
        assert max(batch.input_ids.shape[1] for batch in found) <= lm.max_length
        assert sum(batch.total_weight for batch in found) == row.weights.sum()
        assert {id for batch in found for id in batch.ids} == {"long"}
    with pytest.raises(DataError, match="no documents"):
        next(batches(lm, [], 2))


# --- rows longer than a packed line -----------------------------------------------------------


def test_without_long_rows_a_plan_is_what_it_always_was():
    # Recorded before rows longer than a line had lines of their own.
    lengths = np.random.default_rng(5).integers(1, 65, 700)
    steps = [list(plan(lengths, 4, 64, g)) for g in (None, np.random.default_rng(6))]
    digest = hashlib.sha256(repr(steps).encode()).hexdigest()
    assert digest == "0c1f43d09908107b214fd0144bdda8498f89f2f7487dbde5b17f3016a9214c8b"


@pytest.mark.parametrize("seed", [None, 3])
def test_long_rows_have_batches_of_their_own(seed):
    lengths = np.random.default_rng(2).integers(1, 65, 2000)
    lengths[::25] = np.random.default_rng(3).integers(65, 129, 80)

    def order():
        generator = None if seed is None else np.random.default_rng(seed)
        return list(plan(lengths, 8, 64, generator))

    steps = order()
    assert steps == order()
    assert sorted(i for lines in steps for line in lines for i in line) == list(range(2000))
    long = [lines for lines in steps if lengths[lines[0][0]] > 64]
    assert sum(len(lines) for lines in long) == 80
    assert all(len(line) == 1 and lengths[line[0]] > 64 for lines in long for line in lines)
    for lines in long:
        assert len(lines) * max(lengths[i] for (i,) in lines) <= 8 * 64
    assert all(len(lines) >= 4 for lines in long[:-1])
    for lines in steps:
        if lines not in long:
            assert all(lengths[list(line)].sum() <= 64 for line in lines)
    if seed is None:
        rows = [i for lines in steps for line in lines for i in line]
        per_step = 8 * 64 // int(lengths.mean())
        assert np.abs(np.array(rows) - np.arange(2000)).max() <= 2 * text.WINDOW * per_step


def test_a_plan_of_long_rows_alone():
    assert list(plan([9, 9, 20], 2, 8)) == [[(0,)], [(1,)], [(2,)]]
    assert list(plan([9, 9, 20], 4, 8)) == [[(0,), (1,)], [(2,)]]


def test_a_long_row_is_whole_and_learned_as_if_alone():
    lm = tiny_lm("llama")
    whole = text_row(lm, "The red house stands by the river. " * 5, "long")
    long = Row(whole.input_ids[:60], whole.weights[:60], "long")
    assert 40 < len(long) <= lm.max_length
    rows = [*text_rows(lm, SENTENCES, end=True), long]
    rows = [row for row in rows if len(row) <= 40 or row is long]
    found = list(batches(lm, rows, 2, 40))
    assert [batch.ids for batch in found if "long" in batch.ids] == [("long",)]
    assert all(batch.input_ids.shape[1] <= 40 for batch in found if "long" not in batch.ids)
    assert mean_loss(lm, rows, 2, 40) == pytest.approx(mean_loss(lm, rows, 2, None), abs=2e-5)


def test_the_mask_is_measured_for_the_widest_batch(monkeypatch):
    lm, asked = tiny_lm("llama"), []
    monkeypatch.setattr(text, "mask_style", lambda _, n: asked.append(n) or MaskStyle("full"))
    text.prepare(lm, rows_of([3, 50]), 40)
    text.prepare(lm, rows_of([3, 30]), 40)
    text.prepare(lm, rows_of([3, 30]), None)
    assert asked == [50, 40, 30]
