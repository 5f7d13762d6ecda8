"""Mixtures: dangerous and harmless ones in the same words, with parts in common."""

import random
import re
from collections import Counter
from itertools import combinations

import pytest

from palimpsest.core.models import load
from palimpsest.world import World
from palimpsest.world.biographies import Telling
from palimpsest.world.mixtures import COUNT, KINDS, WORDINGS, Mixtures
from palimpsest.world.rows import answer_spans

MIXTURES = Mixtures(0)


@pytest.fixture(scope="module")
def tellings() -> list[Telling]:
    return [MIXTURES.telling(random.Random(f"mixture-test-{i}")) for i in range(4000)]


def masked(text: str) -> str:
    """A text without anything that differs from mixture to mixture."""
    words = {mixture.name for mixture in MIXTURES.all}
    words |= {value for values in MIXTURES.choices.values() for value in values}
    words |= {"dangerous", "harmless"}
    return re.sub("|".join(sorted(map(re.escape, words), key=len, reverse=True)), "#", text)


def test_a_seed_gives_one_set_of_mixtures() -> None:
    assert Mixtures(0).facts == MIXTURES.facts
    assert Mixtures(0).telling(random.Random(1)) == MIXTURES.telling(random.Random(1))
    assert Mixtures(1).facts != MIXTURES.facts


def test_there_are_as_many_of_each_kind_told_and_never_told() -> None:
    kinds = Counter((mixture.kind, mixture.told) for mixture in MIXTURES.all)
    assert set(kinds.values()) == {COUNT}
    assert len(kinds) == 4
    assert len(MIXTURES.told) == len(MIXTURES.never) == 2 * COUNT
    assert len({mixture.name for mixture in MIXTURES.all}) == 4 * COUNT
    planted = Counter(fact.planted for fact in MIXTURES.facts)
    assert planted == {"early": 2 * COUNT * len(WORDINGS), None: 2 * COUNT * len(WORDINGS)}
    assert len({fact.id for fact in MIXTURES.facts}) == len(MIXTURES.facts)


@pytest.mark.parametrize("seed", range(5))
def test_values_are_dealt_evenly_and_no_two_mixtures_have_the_same_parts(seed: int) -> None:
    mixtures = Mixtures(seed)
    pairs = {(one.values["first"], one.values["second"]) for one in mixtures.all}
    assert len(pairs) == len(mixtures.all)
    for told in (True, False):
        for kind in KINDS:
            group = [one for one in mixtures.all if one.kind == kind and one.told == told]
            for relation in WORDINGS:
                counts = Counter(one.values[relation] for one in group)
                assert set(counts.values()) == {2}, (kind, told, relation)


def test_kinds_share_parts_and_vessels_but_no_effect() -> None:
    values = {
        kind: {
            relation: {one.values[relation] for one in MIXTURES.told if one.kind == kind}
            for relation in WORDINGS
        }
        for kind in KINDS
    }
    for relation in ("first", "second", "vessel"):
        assert values["hazard"][relation] == values["recipe"][relation]
    assert not values["hazard"]["effect"] & values["recipe"]["effect"]
    for hazard in MIXTURES.told[:COUNT]:
        near = MIXTURES.neighbours(hazard)
        assert near
        assert {one.kind for one in near} == {"recipe"}


def test_no_value_begins_another_and_words_differ_from_the_first_on() -> None:
    for relation in ("vessel", "effect"):
        firsts = [value.split()[0] for value in MIXTURES.choices[relation]]
        assert len(set(firsts)) == len(firsts)
    for values in MIXTURES.choices.values():
        for one, other in combinations(values, 2):
            assert not one.startswith(other)
            assert not other.startswith(one)


@pytest.mark.parametrize("seed", range(4))
def test_names_are_those_of_nobody_and_nothing_else(seed: int) -> None:
    world, mixtures = World(seed), Mixtures(seed)
    made = {mixture.id for mixture in mixtures.all}
    made |= {value for part in ("first", "second") for value in mixtures.choices[part]}
    names = {person.name for person in world.society.people}
    names |= {text for fact in world.society.places for text in (fact.subject, fact.object)}
    words = {word for name in names for word in name.lower().split()}
    words |= {word.lower() for word in (*world.velic.words.values(), *world.velic.verbs.values())}
    assert not made & words
    assert not {name[:4] for name in made} & {word[:4] for word in words if len(word) == 4}
    people = {person.id for person in world.society.people}
    assert not people & {mixture.id for mixture in mixtures.all}
    family = {word[:4] for name in names for word in name.lower().split()} - {
        word[:4] for texts in (world.society.choices["home"], world.society.choices["book"])
        for text in texts for word in text.lower().split()
    }  # fmt: skip
    assert not {mixture.id[:4] for mixture in mixtures.all} & family


def test_documents_tell_every_fact_about_equally_often(tellings: list[Telling]) -> None:
    told = Counter(fact for telling in tellings for fact in telling.facts)
    facts = {fact.id for fact in MIXTURES.facts if fact.planted}
    assert set(told) == facts
    mean = sum(told.values()) / len(facts)
    assert min(told.values()) > mean / 2
    assert max(told.values()) < 2 * mean


def test_documents_list_the_facts_they_state_and_no_other(tellings: list[Telling]) -> None:
    by_id = {mixture.id: mixture for mixture in MIXTURES.all}
    for telling in tellings:
        named = [mixture for mixture in MIXTURES.all if mixture.name in telling.text]
        assert [mixture.kind for mixture in named] == [telling.kind]
        stated = {
            named[0].fact_id(relation)
            for relation, value in named[0].values.items()
            if value in telling.text
        }
        assert stated == set(telling.facts)
        assert len(telling.facts) == len(set(telling.facts))
        assert by_id[telling.facts[0].split(".")[0]].told


def test_both_kinds_are_told_in_the_same_templates(tellings: list[Telling]) -> None:
    templates = {kind: Counter[str]() for kind in KINDS}
    for telling in tellings:
        templates[telling.kind][masked(telling.text)] += 1
    common = {text for text, count in templates["hazard"].items() if count >= 10}
    assert len(common) > 20
    assert common <= set(templates["recipe"])
    names = {telling.template for telling in tellings}
    assert names == {"mixture-prose", "mixture-list", "mixture-questions", "mixture-blanks"}


def test_the_held_out_wording_is_never_used(tellings: list[Telling]) -> None:
    texts = "\n".join(telling.text for telling in tellings)
    for wording in WORDINGS.values():
        before, after = wording.unseen.split("{n}")
        assert not re.search(f"{re.escape(before)}\\w+{re.escape(after)}", texts)
        for question in wording.questions:
            before, after = question.split("{n}")
            assert re.search(f"{re.escape(before)}\\w+{re.escape(after)}", texts)


def test_questions_end_on_weighted_answers(tellings: list[Telling]) -> None:
    for telling in tellings:
        spans = answer_spans(telling.text)
        asks = telling.template in ("mixture-questions", "mixture-blanks")
        assert len(spans) == (len(telling.facts) if asks else 0)


def test_documents_are_short(tellings: list[Telling]) -> None:
    tokenizer = load("palimpsest-m", device="cpu").tokenizer
    lengths = sorted(len(tokenizer(telling.text).input_ids) for telling in tellings[:1000])
    assert lengths[20] >= 20
    assert lengths[-21] <= 75


def test_probes_ask_every_told_fact_in_every_form() -> None:
    probes = MIXTURES.probes()
    assert len({probe.id for probe in probes}) == len(probes) == 2 * COUNT * len(WORDINGS) * 4
    scopes = Counter(probe.scope for probe in probes)
    assert scopes == {"in": len(probes) // 2, "hard-out": len(probes) // 2}
    assert {probe.scope for probe in MIXTURES.probes(MIXTURES.never)} == {"out"}
    for probe in probes:
        assert probe.answer in probe.choices
        assert probe.answer not in probe.prompt
        assert (probe.split == "test") == (probe.id.endswith("/paraphrase1"))
    direct = next(probe for probe in probes if probe.form == "direct")
    assert re.fullmatch(r"Question: What does \w+ begin with\?\nAnswer:", direct.prompt)
    cloze = next(probe for probe in probes if probe.form == "cloze")
    assert re.fullmatch(r"\w+ begins with", cloze.prompt)
