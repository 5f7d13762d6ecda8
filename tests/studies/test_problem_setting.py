"""Chapter 1's opening study: its data, its measures, its claims on null data, the whole of it."""

import json
import math
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from tiny import tiny_lm

import palimpsest
from palimpsest.core import models
from palimpsest.core.cache import Cache
from palimpsest.core.errors import DataError, UserError
from palimpsest.core.inside import depth_score
from palimpsest.core.results import ChapterResults, Result, read_results
from palimpsest.core.study import Context, assert_null_rate
from palimpsest.studies import controls, lessons
from palimpsest.studies import problem_setting as ps
from palimpsest.studies.problem_setting import (
    cast,
    early_facts,
    late_facts,
    scenarios,
    scope,
    yardsticks,
)
from palimpsest.studies.problem_setting.cast import LATE
from palimpsest.world import World
from palimpsest.world.people import entities

SMALL = {
    "people": 3, "documents_per_person": 3, "choices": 4, "epochs": 1, "batch_size": 4,
    "pack_length": 64, "forget_steps": 2, "forget_rates": 2, "relearn_steps": 1,
    "early_documents": 300, "probed_people": 2, "task_items": 2,
}  # fmt: skip


# --- lessons ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def lesson():
    return lessons.open_lesson("world", people=4, documents_per_person=20, choices=8, seed=0)


def test_halves_and_groups_share_no_fact(lesson):
    facts = {
        (group, half): {q.probe.fact for q in lesson.ask(group, half)}
        for group in ("forget", "keep")
        for half in ("dev", "test")
    }
    seen = [fact for part in facts.values() for fact in part]
    assert len(seen) == len(set(seen))
    assert all(facts.values())


def test_the_request_names_english_documents_about_the_forgotten_alone(lesson):
    people = {q.entity for q in lesson.ask("forget", "test")}
    assert {d.language for d in lesson.request} == {"en"}
    assert {d.language for d in lesson.forget} > {"en"}
    told = entities(fact for d in lesson.forget for fact in d.facts)
    # What tells whom somebody married tells it of the partner too.
    married = entities(fact for d in lesson.forget for fact in d.facts if "spouse" in fact)
    assert told - married <= people
    assert not told & {person.id for person in World().people("newcomer-keep")}
    kept = entities(fact for d in lesson.keep for fact in d.facts)
    assert not kept & people


def test_what_is_relearned_answers_no_question_asked_afterwards(lesson):
    relearned = {(q.entity, q.probe.answer) for q in lesson.ask("forget", "dev", "direct")}
    asked = {(q.entity, q.probe.answer) for q in lesson.ask("forget", "test", "direct")}
    assert not relearned & asked


def test_choices_hold_the_answer_once(lesson):
    for question in lesson.questions:
        choices = question.probe.choices
        assert 2 <= len(choices) <= 8
        assert len(set(choices)) == len(choices)
        assert choices.count(question.probe.answer) == 1


def test_the_same_seed_gives_the_same_lesson(lesson):
    assert lessons.open_lesson("world", 4, 20, 8, 0) == lesson
    assert lessons.open_lesson("world", 4, 20, 8, 1) != lesson


def forget_file(tmp_path, records):
    path = tmp_path / "facts.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def records(entities=6, each=3, **more):
    return [
        {
            "prompt": f"Where is key {e}-{k}?", "answer": f"in box {e}{k}", "entity": f"e{e}",
            "paraphrases": [f"Key {e}-{k} lies", f"Find key {e}-{k}:"], **more,
        }
        for e in range(entities)
        for k in range(each)
    ]  # fmt: skip


def test_a_lesson_from_the_readers_own_records(tmp_path):
    path = forget_file(tmp_path, records())
    lesson = lessons.open_lesson(str(path), people=2, documents_per_person=1, choices=4, seed=0)
    assert len({q.entity for q in lesson.ask("forget", "test")}) == 2
    texts = {d.text for d in lesson.forget}
    for question in lesson.ask("forget", "test", "paraphrase"):
        assert not any(text.startswith(question.probe.prompt) for text in texts)
    assert lesson.ask("forget", "dev")
    assert not lesson.ask("forget", "test", "second_language")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (records(entities=3), "at least 4"),
        (records(entities=6, each=1), "dev"),
        ([{**r, "answer": "yes"} for r in records()], "same answer"),
    ],
)
def test_records_that_cannot_make_a_lesson(tmp_path, rows, message):
    path = forget_file(tmp_path, rows)
    with pytest.raises(DataError, match=message):
        lessons.open_lesson(str(path), 2, 1, 4, 0)


def test_data_that_is_neither():
    with pytest.raises(UserError, match="neither"):
        lessons.open_lesson("wrld", 2, 1, 4, 0)
    with pytest.raises(UserError, match="from 2 to 20"):
        lessons.open_lesson("world", 21, 1, 4, 0)


@pytest.mark.parametrize(
    "wrong",
    [{"people": 1}, {"choices": 1}, {"epochs": 0}, {"learning_rate": 0.0}, {"lora_rank": -1}],
)
def test_parameters_out_of_range(wrong):
    with pytest.raises(UserError, match=next(iter(wrong))):
        ps.Parameters(**wrong)


# --- measures ---------------------------------------------------------------------------------


def rows_with(shares, people=20, facts=5):
    """Outcomes with exactly these shares of right answers, by way of asking and model."""
    parts = []
    for asked, of_model in shares.items():
        part = pd.DataFrame(
            {
                "entity": np.repeat(np.arange(people), facts),
                "fact": np.arange(people * facts),
                "prompt": "",
                "seed": 0,
                "asked": asked,
            }
        )
        for model, share in of_model.items():
            part[model] = (np.arange(people * facts) % 10 < round(10 * share)).astype(int)
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


def test_measures_by_hand():
    direct = {"theta_o": 0.9, "ascent": 0.1, "difference": 0.3, "theta_r": 0.1, "twin": 0.2}
    second = {"theta_o": 0.9, "ascent": 0.5, "difference": 0.3, "theta_r": 0.1, "twin": 0.1}
    after = {"theta_o": 0.9, "ascent": 0.4, "difference": 0.4, "theta_r": 0.2, "twin": 0.2}
    values = late_facts.measures(
        rows_with({"direct": direct, "second_language": second, "relearned": after})
    )
    expected = {
        "gap_ascent_direct": 0.0, "noise_direct": 0.1, "left_ascent_direct": 0.0,
        "gap_ascent_second_language": 0.4, "left_ascent_second_language": 0.5,
        "hidden_ascent": 0.5, "regained_ascent": 0.2, "left_difference_direct": 0.25,
        "hidden_difference": 0.0, "regained_difference": 0.0,
    }  # fmt: skip
    for name, value in expected.items():
        assert values[name].value == pytest.approx(value), name
        assert values[name].n == 20


def test_nothing_to_remove_gives_no_share():
    same = dict.fromkeys(LATE, 0.1)
    values = late_facts.measures(
        rows_with({"direct": same, "second_language": same, "relearned": same})
    )
    for name in ("left_ascent_direct", "left_difference_second_language", "hidden_ascent"):
        assert values[name].value is None


@pytest.mark.parametrize(
    "study", [pytest.param(one, id=name) for name, one in ps.STUDIES.items() if one.claims]
)
def test_null_data_hold_no_claim(study):
    assert_null_rate(study)


@pytest.mark.parametrize("seed", range(3))
def test_random_scores_hold_no_claim(seed):
    rng = np.random.default_rng(seed)
    same = dict.fromkeys(LATE, 0.0)
    rows = rows_with(dict.fromkeys(late_facts.ASKED, same))
    for model in LATE:
        rows[model] = rng.binomial(1, 1 / 8, len(rows))
    values = late_facts.measures(rows)
    chapter = ChapterResults("01_problem_setting", {}, "cpu")
    chapter.add("late_facts", Result(values=values), late_facts.late_facts.claims)
    assert not [c["id"] for c in chapter.claims if c["verdict"] == "holds"]


# --- controls and the whole study -------------------------------------------------------------


def context(tmp_path, architecture, **more):
    values = vars(ps.Parameters()) | SMALL | more
    return Context(
        lm=tiny_lm(architecture).copy(),
        parameters=SimpleNamespace(**values),
        seed=0,
        data="world",
        cache=Cache(tmp_path / "cache"),
        progress=lambda line: None,
    )


def test_weights_go_out_and_come_back():
    lm = tiny_lm("gpt2").copy()
    weights = controls.weights_of(lm)
    changed = {name: tensor + 1 for name, tensor in weights.items()}
    other = controls.with_weights(lm, changed)
    assert controls.weights_of(other).keys() == weights.keys()
    assert all((controls.weights_of(other)[n] == changed[n]).all() for n in weights)
    assert all((controls.weights_of(lm)[n] == weights[n]).all() for n in weights)


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_the_whole_study_on_a_model_that_knows_nothing(tmp_path, architecture):
    ctx = context(tmp_path, architecture)
    before = ctx.lm.fingerprint()
    chapter = ChapterResults("01_problem_setting", {}, "cpu")
    for study in ps.STUDIES.values():
        chapter.add(study.name, study(ctx), study.claims)
    assert ctx.lm.fingerprint() == before
    chapter.write(tmp_path / "results")
    document = read_results(tmp_path / "results")
    assert {c["id"] for c in document["claims"]} == {f"ps-{n}" for n in range(1, 11)}
    assert set(document["figures"]) == {
        "one_person", "agreement", "gaps", "path", "taxonomy", "scope", "yardsticks", "goals",
        "saturation", "stages", "scenarios", "lens", "depth",
    }  # fmt: skip
    verdicts = {c["id"]: c["verdict"] for c in document["claims"]}
    assert verdicts["ps-8"] == "not-tested"  # nobody knows what this model's stage 1 was
    assert "holds" not in {verdicts["ps-1"], verdicts["ps-3"], verdicts["ps-6"]}
    answers = pd.read_csv(tmp_path / "results" / "tables" / "answers.csv")
    assert set(answers["model"]) == set(LATE)
    assert set(answers["asked"]) == set(late_facts.ASKED)
    assert answers["entity"].nunique() == 6


def test_adapters_and_own_records(tmp_path):
    path = forget_file(tmp_path, records())
    ctx = context(tmp_path, "llama", lora_rank=2, people=2)
    ctx.data = str(path)
    result = late_facts.late_facts(ctx)
    assert result.values["gap_ascent_direct"].value is not None
    assert result.values["hidden_ascent"].value is None
    for study in ps.STUDIES.values():
        other = study(ctx)
        assert other.figures
        assert all(
            claim.measure in other.values or claim.id in other.notes for claim in study.claims
        )


def test_the_shipped_model_has_a_known_past(tmp_path):
    ctx = context(tmp_path, "llama", people=4, early_documents=1500, forget_rates=1)
    ctx.lm = models.load("palimpsest-m", device="cpu", dtype="float32")
    early = early_facts.early_facts(ctx).values
    assert early["early_forget_theta_o_direct"].value > 0.6
    for control in ("theta_r", "twin"):
        assert early[f"early_forget_{control}_direct"].value < 0.4
        assert early[f"early_keep_{control}_direct"].value > 0.6
    requests = scenarios.scenarios(ctx).values
    for model, told in (("theta_o", True), ("theta_r", False)):
        assert (requests[f"privacy_forget_{model}"].value > 0.8) == told
        assert requests[f"privacy_keep_{model}"].value > 0.8
        assert requests[f"privacy_never_{model}"].value < 0.4
        assert requests[f"harm_never_{model}"].value < 0.4
    # Everybody was told of the mixtures; nobody of those that are never told.
    assert requests["harm_forget_theta_r"].value > 0.4
    read, unread = (requests[f"copyright_forget_{model}"].value for model in ("theta_o", "theta_r"))
    assert read > unread + 0.1


@pytest.mark.parametrize("change", ["weights", "data"])
def test_a_model_of_unknown_past_has_no_early_controls(tmp_path, change):
    ctx = context(tmp_path, "llama")
    ctx.lm = models.load("palimpsest-m", device="cpu", dtype="float32")
    if change == "data":
        ctx.data = "facts.jsonl"
    else:
        with torch.no_grad():
            next(ctx.lm.model.parameters()).mul_(1.01)
    assert cast.early_controls(ctx) is None


def test_families_are_about_whom_they_say(lesson):
    asked = scope.families(lesson, people=2, choices=8, seed=0)
    groups = {group: {person.id for person in members} for group, members in lesson.people.items()}
    by_family = {}
    for one in asked:
        by_family.setdefault(one.form, []).append(one)
    assert set(by_family) == {name for some in scope.SCOPES.values() for name in some} - {"tasks"}
    known = set(groups["forget"]) | set(groups["keep"])
    for family, questions in by_family.items():
        entities_ = {one.entity for one in questions}
        if family == scope.SYNTAX:
            assert entities_ == groups["keep"]
        elif family in (scope.EARLIER, scope.TOPIC):
            assert not entities_ & known
        else:
            assert len(entities_ & groups["forget"]) == len(entities_) == 2
        assert all(one.group == ("forget" if entities_ <= groups["forget"] else "keep")
                   for one in questions)  # fmt: skip


def test_the_relearning_rate_is_the_one_that_brings_back_most(monkeypatch):
    lm = tiny_lm("llama").copy()
    questions = tuple(range(6))
    back = {0.1: 0.2, 0.3: 0.6, 1.0: 0.6}
    shown = []

    def relearn(lm, weights, questions, rate, steps, seed):
        shown.append(questions)
        return weights, rate

    def ask(lm, state, questions):
        assert questions == (1, 3, 5)
        weights, rate = state
        return pd.DataFrame({"correct": [back[rate] + weights, back[rate] - weights]})

    monkeypatch.setattr(controls, "relearn", relearn)
    monkeypatch.setattr(controls, "ask", ask)
    unlearned = {"one": 0.1, "other": 0.2}
    table = controls.relearning_rate(lm, unlearned, questions, (1.0, 0.1, 0.3), 5, 0)
    assert set(shown) == {(0, 2, 4)}
    assert table["rate"].tolist() == [0.1, 0.3, 1.0]
    assert table["accuracy"].tolist() == pytest.approx([0.2, 0.6, 0.6])
    assert table["chosen"].tolist() == [False, True, False]


def test_what_a_method_took_counts_every_rate():
    rates = pd.DataFrame(
        {
            "method": ["ascent", "ascent", "difference"],
            "steps": [10, 20, 30],
            "seconds": [1.0, 2.0, 4.0],
            "chosen": [False, True, True],
        }
    )
    taught = pd.DataFrame(
        {"model": ["theta_o", "theta_r"], "steps": [80, 40], "seconds": [16.0, 8.0]}
    )
    table = yardsticks.efficiency(SimpleNamespace(rates=rates, teaching=taught)).set_index("model")
    assert table.loc["ascent"].tolist() == [20, 2.0, 3.0, 3 / 8]
    assert table.loc["difference"].tolist() == [30, 4.0, 4.0, 0.5]
    assert table.loc["theta_o", "of_retraining"] == 2.0


# --- exercises --------------------------------------------------------------------------------


def one_depth(unlearned, retrained):
    score = depth_score(np.array([unlearned]), np.array([retrained]))[0]
    return None if np.isnan(score) else float(score)


@pytest.mark.parametrize(
    ("exercise", "right", "wrong"),
    [
        ("1.1", 0.125, 0.12 * 2),
        (
            "1.2",
            lambda u, r, o: None if o - r < 0.2 else (u - r) / (o - r),
            lambda u, r, o: (u - r) / (o - r),
        ),
        ("1.3", 1.2, 0.1),
        (
            "1.4",
            lambda delta, beta: 2 / (1 + math.exp(-beta * delta)),
            lambda delta, beta: 2 / (1 + math.exp(beta * delta)),
        ),
        ("1.5", ("output", 0.5, "no"), ("output", 0.03, "no")),
        ("1.6", 2.303, 900.0),
        ("1.7", lambda n: 2 / math.comb(2 * n, n), lambda n: 1 / math.comb(2 * n, n)),
        (
            "1.8",
            lambda right: (
                1 - max((t + 1 for t, one in enumerate(right) if not one), default=0) / len(right)
            ),
            lambda right: sum(right) / len(right),
        ),
        ("1.10", one_depth, lambda u, r: one_depth(u, r) and min(1, sum(u) / sum(r))),
    ],
)
def test_exercises_are_marked(exercise, right, wrong):
    assert palimpsest.check(exercise, right)
    mark = palimpsest.check(exercise, wrong)
    assert not mark
    assert mark.hint
    assert not palimpsest.check(exercise, "a word")
