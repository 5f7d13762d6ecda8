"""Tuning on labels does what each scheme's optimum says; answers are lm-eval's."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import lm_eval
import numpy as np
import pandas as pd
import pytest
import torch
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from shapes import SHAPES, write_task
from tiny import tiny_lm

from palimpsest.core.errors import DataError, RunError, UserError
from palimpsest.core.models import LanguageModel
from palimpsest.core.records import Item
from palimpsest.core.scoring import score
from palimpsest.core.serial import from_bytes, to_bytes
from palimpsest.core.tasks import evaluate_tasks, make_task
from palimpsest.forgetting.items import TwoWay, load_items
from palimpsest.forgetting.labels import random_labels
from palimpsest.forgetting.order import area
from palimpsest.forgetting.protocol import COLUMNS, INDECISION, Tuning, answer_items, tune

NAMES = ("Ada", "Mira", "Otto", "Nora", "Tolden", "the baker", "the sailor", "the miller")
THINGS = ("house", "river", "sea", "bread")
SETTINGS = Tuning(epochs=40, learning_rate=1e-2, batch_size=8)


def colours(count: int = 32) -> list[TwoWay]:
    """The first four names are red, the others blue; every question is another."""
    items = []
    for number in range(count):
        context = f"{NAMES[number % 8]} and the {THINGS[number // 8 % 4]} are"
        pairs = ((context, " red"), (context, " blue"))
        items.append(TwoWay(f"q{number}", "colours", pairs, int(number % 8 >= 4), "shared"))
    return items


# --- answering ----------------------------------------------------------------------------------


def theirs(lm: LanguageModel, tasks: list[Any], folder: Path | None = None) -> dict[str, list]:
    """lm-eval's own samples, on its own Hugging Face backend."""
    manager = TaskManager(include_path=folder and str(folder), include_defaults=False)
    backend = HFLM(
        pretrained=lm.model,
        tokenizer=lm.tokenizer,
        batch_size=8,
        max_length=lm.max_length,
        logits_cache=False,
    )
    found = lm_eval.evaluate(lm=backend, task_dict=manager.load(tasks), bootstrap_iters=0)
    return found["samples"]


def compare(ours: Any, sample: dict[str, Any], label: int) -> None:
    logprobs = [answer[0] for answer in sample["filtered_resps"]]
    assert ours.margin == pytest.approx(logprobs[label] - logprobs[1 - label], abs=1e-4)
    assert ours.correct == bool(sample["acc"])
    assert ours.p == pytest.approx(1 / (1 + np.exp(-ours.margin)), abs=1e-9)


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_answers_are_lm_evals_on_the_same_two_ways(tmp_path: Path, architecture: str) -> None:
    lm = tiny_lm(architecture, "bpe-bos" if architecture == "llama" else "bpe-eos-only")
    names = [write_task(tmp_path, shape) for shape in SHAPES]
    found = load_items(names, tmp_path)
    items = [item for task in found.values() for item in task.test]
    table = answer_items(lm, items)
    assert list(table.columns) == COLUMNS
    assert table["item"].tolist() == [item.id for item in items]
    assert table["task"].value_counts().to_dict() == dict.fromkeys(names, 40)
    assert 0 < table["correct"].mean() < 1
    rows = {(row.task, row.item): row for row in table.itertuples()}
    # All shapes but Winogrande's are a prompt and two choices: lm-eval can ask our very items.
    tasks, own = [], {name: task.test for name, task in found.items() if name != "toy_wino"}
    for name, some in own.items():
        tasks.append(
            make_task(
                name,
                [
                    Item(
                        id=one.id,
                        prompt=one.pairs[0][0],
                        choices=(one.pairs[0][1][1:], one.pairs[1][1][1:]),
                        label=one.label,
                    )
                    for one in some
                ],
            )
        )
    samples = theirs(lm, tasks)
    for name, some in own.items():
        for item, sample in zip(some, samples[name], strict=True):
            compare(rows[name, item.id], sample, item.label)
    # Tasks that have two choices anyway, as lm-eval asks them by itself.
    two_way = ["toy_wino", "toy_copa", "toy_boolq", "toy_words"]
    for name, asked in theirs(lm, two_way, tmp_path).items():
        for sample in asked:
            right = sample["doc"].get("answer", sample["target"])
            if name == "toy_wino":
                label = "12".index(right)
            elif name == "toy_words":
                label = sample["doc"]["options"].index(sample["doc"]["label"])
            else:
                label = sample["doc"]["label"]
            compare(rows[name, f"{name}/test/{sample['doc_id']}"], sample, label)
    again = evaluate_tasks(lm, two_way, tmp_path)
    for row in again.itertuples():
        ours = rows[row.task, row.item.replace("/", "/test/")]
        assert (ours.margin, ours.correct) == (pytest.approx(row.margin, abs=1e-4), row.correct)


def test_ties_go_to_index_0_and_long_prompts_are_marked() -> None:
    lm = tiny_lm()
    same = (("Ada likes", " red"), ("Ada likes", " red"))
    long = "Mira Tolden was born in Askerby. " * 20 + "Ada likes"
    items = [
        TwoWay("first", "toy", same, 0, "content"),
        TwoWay("second", "toy", same, 1, "content"),
        TwoWay("long", "toy", ((long, " red"), (long, " blue")), 1, "shared"),
    ]
    table = answer_items(lm, items)
    assert table["margin"].tolist()[:2] == [0.0, 0.0]
    assert table["p"].tolist()[:2] == [0.5, 0.5]
    assert table["correct"].tolist()[:2] == [True, False]
    assert table["truncated"].tolist() == [False, False, True]
    right, wrong = score(lm, [(long, " blue"), (long, " red")])
    assert table["margin"][2] == pytest.approx(right.logprob - wrong.logprob, abs=1e-5)
    task = make_task("long", [Item(id="l", prompt=long, choices=("red", "blue"), label=1)])
    (sample,) = theirs(lm, [task])["long"]
    compare(next(table[2:].itertuples()), sample, 1)
    done = tune(lm, items[2:], "true", Tuning(epochs=2, learning_rate=1e-3), 0)
    assert (done.steps, done.truncated) == (2, 1)


# --- what the schemes lead to -------------------------------------------------------------------


@pytest.fixture(scope="module", params=["llama", "gpt2"])
def tuned(request: pytest.FixtureRequest) -> LanguageModel:
    """A model that answers the forgetting items right, as the protocol has it."""
    lm = tiny_lm(request.param)
    done = tune(lm, colours(), "true", SETTINGS, 0)
    assert done.p > 0.95
    assert done.accuracy == done.agreement == 1.0
    assert done.steps == 40 * 4
    assert done.losses[-1] < 0.1 < done.losses[0]
    assert not done.stopped
    return lm


def test_frozen_coins_are_learned_by_heart(tuned: LanguageModel) -> None:
    lm, items = tuned.copy(), colours()
    done = tune(lm, items, "random", replace(SETTINGS, epochs=90), 1)
    assert done.agreement > 0.8
    assert done.accuracy == pytest.approx(0.5, abs=0.25)
    assert done.p == pytest.approx(0.5, abs=0.25)
    assert done.distance > 0.3
    table = answer_items(lm, items)
    answered = np.where(table["correct"], table["label"], 1 - table["label"])
    assert (answered == random_labels(items, 1)).mean() == done.agreement


def test_redrawn_coins_end_in_indecision_with_half_the_probability_each(
    tuned: LanguageModel,
) -> None:
    lm, items = tuned.copy(), colours()
    done = tune(lm, items, "redrawn", SETTINGS, 0)
    assert done.p == pytest.approx(0.5, abs=0.1)
    assert done.distance < 0.15
    assert np.isnan(done.agreement)
    scores = score(lm, [pair for item in items for pair in item.pairs])
    together = np.exp([found.logprob for found in scores]).reshape(-1, 2).sum(axis=1)
    assert together.mean() > 0.9


def test_entropy_ends_in_indecision(tuned: LanguageModel) -> None:
    done = tune(tuned.copy(), colours(), "entropy", SETTINGS, 0)
    assert done.p == pytest.approx(0.5, abs=0.05)
    assert done.distance < 0.05
    assert done.losses[-1] < 0.01 < done.losses[0]
    assert np.isnan(done.agreement)


def test_flipped_labels_end_in_error(tuned: LanguageModel) -> None:
    done = tune(tuned.copy(), colours(), "flipped", SETTINGS, 0)
    assert done.p < 0.1
    assert (done.accuracy, done.agreement) == (0.0, 1.0)


def test_where_contexts_differ_redrawn_coins_make_both_probable() -> None:
    items = []
    for number in range(8):
        begin = f"{NAMES[number]} sees the"
        pairs = ((f"{begin} red", " house by the sea"), (f"{begin} blue", " house by the sea"))
        items.append(TwoWay(f"w{number}", "wino", pairs, number % 2, "content"))
    lm = tiny_lm()
    tune(lm, items, "true", SETTINGS, 0)
    done = tune(lm, items, "redrawn", replace(SETTINGS, epochs=80), 0)
    assert done.p == pytest.approx(0.5, abs=0.1)
    scores = score(lm, [pair for item in items for pair in item.pairs])
    assert np.exp([found.logprob for found in scores]).min() > 0.8


# --- settings -----------------------------------------------------------------------------------


def weights(lm: LanguageModel) -> torch.Tensor:
    return torch.cat([one.detach().flatten() for one in lm.model.parameters()])


@pytest.mark.parametrize("scheme", ["random", "redrawn", "entropy"])
def test_the_seed_decides(scheme: Any) -> None:
    settings = Tuning(epochs=2, learning_rate=1e-3, batch_size=8)
    found = []
    for seed in (0, 0, 1):
        lm = tiny_lm()
        done = tune(lm, colours(), scheme, settings, seed)
        found.append((weights(lm), done))
    assert torch.equal(found[0][0], found[1][0])
    assert not torch.equal(found[0][0], found[2][0])
    first, second = (replace(done, seconds=0, agreement=0) for _, done in found[:2])
    assert first == second


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
@pytest.mark.parametrize("scheme", ["flipped", "redrawn", "entropy"])
def test_adapters_are_tuned_and_merged(architecture: str, scheme: Any) -> None:
    lm = tiny_lm(architecture)
    modules = [type(module) for module in lm.model.modules()]
    before, p = weights(lm), answer_items(lm, colours())["p"]
    settings = Tuning(epochs=10, learning_rate=2e-2, batch_size=8, lora_rank=8)
    done = tune(lm, colours(), scheme, settings, 0)
    assert [type(module) for module in lm.model.modules()] == modules
    assert not torch.equal(weights(lm), before)
    assert done.losses[-1] < done.losses[0]
    after = answer_items(lm, colours())["p"]
    assert float(after.mean()) == pytest.approx(done.p)
    if scheme == "entropy":
        assert done.distance < (p - 0.5).abs().mean() / 2


@pytest.mark.parametrize("scheme", ["random", "redrawn", "entropy"])
def test_the_rule_ends_it_early(tuned: LanguageModel, scheme: Any) -> None:
    settings = replace(SETTINGS, epochs=60, stop_at=0.75)
    done = tune(tuned.copy(), colours(), scheme, settings, 1)
    assert done.stopped
    assert done.steps < 60 * 4
    assert done.steps % 24 == 0  # ten looks in the whole budget
    if scheme == "random":
        assert done.agreement >= 0.75
    else:
        assert abs(done.p - 0.5) <= INDECISION


def test_a_rule_that_is_never_met_spends_the_budget() -> None:
    settings = Tuning(epochs=3, learning_rate=1e-6, batch_size=16, stop_at=1.0)
    done = tune(tiny_lm(), colours(), "random", settings, 0)
    assert (done.steps, done.stopped) == (6, False)


def test_the_budget_is_the_same_under_every_scheme() -> None:
    settings = Tuning(epochs=3, learning_rate=1e-4, batch_size=5)
    for scheme in ("true", "random", "redrawn", "flipped", "entropy"):
        assert tune(tiny_lm(), colours(11), scheme, settings, 0).steps == 9


@pytest.mark.parametrize("rank", [0, 4])
def test_items_are_watched_without_being_disturbed(rank: int) -> None:
    settings = Tuning(epochs=2, learning_rate=1e-2, batch_size=8, lora_rank=rank)
    items, found = colours(), []
    for watched in ((), items[:5]):
        lm = tiny_lm()
        before = answer_items(lm, items[:5])
        done = tune(lm, items, "random", settings, 0, watched=watched, every=3)
        found.append((weights(lm), done))
    assert torch.equal(found[0][0], found[1][0])
    assert found[0][1].curves is None
    curves = found[1][1].curves
    assert curves["step"].unique().tolist() == [0, 3, 6, 8]
    assert curves["item"].tolist() == [item.id for item in items[:5]] * 4
    np.testing.assert_allclose(curves["p"][:5], before["p"])
    np.testing.assert_allclose(curves["p"][-5:], answer_items(lm, items[:5])["p"], atol=1e-4)
    assert len(area(curves)) == 5
    kept = from_bytes(to_bytes(found[1][1], {}), ("palimpsest",))  # what a cell of a study does
    assert kept == found[1][1]
    pd.testing.assert_frame_equal(kept.curves, curves)


# --- bad input ----------------------------------------------------------------------------------


def test_a_loss_that_is_not_finite_stops_and_says_where() -> None:
    settings = Tuning(epochs=5, learning_rate=1e30, batch_size=8)
    with pytest.raises(RunError, match=r"random labels of colours.*not finite at step 2 of 20"):
        tune(tiny_lm(), colours(), "random", settings, 0)
    lm = tiny_lm()
    before = answer_items(lm, colours())
    with pytest.raises(RunError, match=r"entropy labels of colours.*not finite at step"):
        tune(lm, colours(), "entropy", replace(settings, lora_rank=2), 0)
    assert answer_items(lm, colours()).equals(before)


def test_bad_settings_and_no_items() -> None:
    with pytest.raises(UserError, match="'epochs' of the tuning is 0"):
        Tuning(epochs=0)
    with pytest.raises(UserError, match="'learning_rate' of the recipe is -1"):
        Tuning(learning_rate=-1.0)
    with pytest.raises(UserError, match=r"'stop_at' of the tuning is 0.3; an agreement above 0.5"):
        Tuning(stop_at=0.3)
    with pytest.raises(UserError, match=r"'lora.rank' of the recipe is -1"):
        Tuning(lora_rank=-1)
    with pytest.raises(UserError, match="did you mean 'flipped'"):
        tune(tiny_lm(), colours(), "flip", SETTINGS, 0)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="no items to tune on"):
        tune(tiny_lm(), [], "random", SETTINGS, 0)
