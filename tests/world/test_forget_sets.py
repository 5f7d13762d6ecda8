"""Who is to be forgotten, what lies next to them, and the documents of contrasts."""

from collections import Counter

import pytest

from palimpsest.core.errors import UserError
from palimpsest.world import World


@pytest.mark.parametrize(
    ("stage", "group"), [("early", "early-forget"), ("late", "newcomer-forget")]
)
def test_forget_sets_hold_the_facts_english_tells_in_two_halves(
    stage: str, group: str, world: World
) -> None:
    records = world.forget_set(stage)
    facts = {fact.id: fact for fact in world.facts}
    assert {record.entity for record in records} == {person.id for person in world.people(group)}
    for record in records:
        assert record.answer == facts[record.id].object
        assert facts[record.id].subject in record.prompt
        assert len({record.prompt, *record.paraphrases}) == 5
        assert world.told[record.id] != "velic"
        assert world.order[record.id] != "backward"
    halves = Counter(record.split for record in records)
    assert abs(halves["dev"] - halves["test"]) < 0.2 * len(records)


def test_halves_are_balanced_and_partners_share_theirs(world: World) -> None:
    for person in world.society.people:
        halves = Counter(world.half[person.fact_id(relation)] for relation in person.values)
        assert abs(halves["dev"] - halves["test"]) <= 1
        if "spouse" in person.values:
            assert len({world.half[fact] for fact in person.states("spouse")}) == 1
    for group in ("newcomer-forget", "newcomer-keep", "early-forget"):
        for relation in ("job", "pet", "book", "spouse"):
            ids = [p.fact_id(relation) for p in world.people(group) if relation in p.values]
            dev = sum(world.half[id] == "dev" for id in ids)
            assert abs(2 * dev - len(ids)) <= 2


def test_neighbours_are_people_to_keep(world: World) -> None:
    person = world.people("newcomer-forget")[0]
    near = world.neighbours(person)
    assert set(near.syntax) | set(near.topic) == set(world.people("newcomer-keep"))
    assert not set(near.syntax) & set(near.topic)
    for one in near.topic:
        assert any(one.values[r] == person.values[r] for r in ("birthplace", "home", "employer"))
    assert near.places
    assert all(f.subject in person.values.values() for f in near.places)
    assert near.unknown == world.people("never")


def test_scope_knows_neighbours_and_detours(world: World) -> None:
    for person in (world.people("early-forget")[0], world.people("newcomer-forget")[0]):
        scopes = {(probe.form, probe.scope) for probe in world.probes([person])}
        assert ("direct", "in") in scopes
        assert ("reversed", "hard-in") in scopes
        assert {scope for _, scope in scopes} == {"in", "hard-in"}
    kept = world.probes(world.people("early-keep"), forms=["direct"])
    assert 0.1 < sum(probe.scope == "hard-out" for probe in kept) / len(kept) < 0.4
    person = world.people("early-forget")[0]
    places = world.place_probes([person])
    close = {probe.fact for probe in places if probe.scope == "hard-out"}
    assert close == {fact.id for fact in world.neighbours(person).places}


def test_reversed_probes_have_one_right_answer(world: World) -> None:
    people = {person.name: person for person in world.society.people}
    for group in ("early-keep", "newcomer-forget"):
        for probe in world.probes(world.people(group)[:8], forms=["reversed"]):
            relation = probe.fact.partition(".")[2]
            value = people[probe.answer].values[relation]
            having = [name for name in probe.choices if people[name].values.get(relation) == value]
            assert having == [probe.answer]
            assert len(probe.choices) == 12


def test_few_shot_examples_do_not_tell_the_answer(world: World) -> None:
    for probe in world.probes(world.people("early-forget"), forms=["few-shot"]):
        shown = probe.prompt.rsplit("\nQuestion:", 1)[0]
        assert probe.prompt.count("Answer:") == 4
        assert f"Answer: {probe.answer}\n" not in f"{shown}\n"


def test_contrasts_differ_in_what_they_tell_alone(world: World) -> None:
    facts = {fact.id: fact for fact in world.facts}
    for person in (world.people("early-keep")[3], world.people("newcomer-forget")[1]):
        for relation in ("job", "home", "colour"):
            id = person.fact_id(relation)
            kinds = {}
            for kind in ("fact", "same-person", "same-relation"):
                found = world.contrast_documents(id, kind, 60)
                assert len({document.text for document in found}) == len(found) == 60
                kinds[kind] = {document.template for document in found}
                for document in found:
                    if kind == "fact":
                        assert document.facts == (id,)
                    else:
                        assert id not in document.facts
                    if kind == "same-person":
                        assert person.name in document.text
                    if kind == "same-relation":
                        assert {facts[fact].relation for fact in document.facts} == {relation}
                        assert facts[id].object not in document.text
                        assert person.name not in document.text
            assert kinds["fact"] == kinds["same-person"] == kinds["same-relation"]


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        (lambda world: world.forget_set("lately"), "'late'"),
        (lambda world: world.contrast_documents("nobody.job", "fact"), "nobody.job"),
        (
            lambda world: world.contrast_documents(
                world.people("never")[0].fact_id("job"), "same-persons"
            ),
            "'same-person'",
        ),
    ],
)
def test_mistakes_are_explained(ask, said: str, world: World) -> None:
    with pytest.raises(UserError, match=said):
        ask(world)


def test_newcomers_are_told_of_evenly(world: World) -> None:
    for group in ("newcomer-keep", "newcomer-forget"):
        for person in world.people(group)[:6]:
            told = Counter(
                fact for d in world.newcomer_documents([person]) for fact in set(d.facts)
            )
            own = [told[person.fact_id(r)] for r in person.values if r != "spouse"]
            assert min(own) >= 8
            assert max(own) <= 19
