"""The world itself: deterministic, its groups apart, every fact where it should be told."""

import os
import subprocess
import sys
from collections import Counter

import pytest

from palimpsest.core.errors import UserError
from palimpsest.world import World
from palimpsest.world.names import lexicon_words
from palimpsest.world.people import GROUPS, RELATIONS
from palimpsest.world.probing import DETOURS, FORMS
from palimpsest.world.velic import PARTICLES

DIGEST = """
import hashlib, json
from palimpsest.world import World
world = World({seed}, "s")
parts = [
    [(fact.id, fact.object) for fact in world.facts],
    [document.text for document in world.documents("early", 300)],
    [document.text for document in world.documents("late", 100)],
    [document.id for document in world.replay(20, seed=3)],
    [probe.prompt for probe in world.probes(world.people("newcomer-forget"))],
    [item.prompt for item in world.items("antonym", "test", 40)],
]
print(hashlib.sha256(json.dumps(parts).encode()).hexdigest())
"""


def digest(seed: int, hash_seed: str) -> str:
    made = subprocess.run(
        [sys.executable, "-c", DIGEST.format(seed=seed)],
        env=os.environ | {"PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=True,
    )
    return made.stdout


def test_a_seed_gives_one_world_whatever_the_order_of_sets() -> None:
    assert digest(0, "1") == digest(0, "2")
    assert digest(1, "1") != digest(0, "1")


def test_groups_have_their_sizes_and_share_no_name(world: World) -> None:
    assert [len(world.people(group)) for group in GROUPS] == [144, 16, 20, 20, 100]
    assert world.people("early") == world.people("early-keep") + world.people("early-forget")
    words = [word for person in world.society.people for word in (person.given, person.family)]
    assert max(Counter(words).values()) == 1


def test_couples_stay_in_their_group_and_are_mutual(world: World) -> None:
    by_name = {person.name: person for person in world.society.people}
    married = [person for person in world.society.people if "spouse" in person.values]
    assert len(married) > 100
    for person in married:
        partner = by_name[person.values["spouse"]]
        assert partner.group == person.group
        assert partner.values["spouse"] == person.name


def test_people_have_at_least_eight_typed_relations(world: World) -> None:
    names = {relation.name for relation in RELATIONS}
    for person in world.society.people:
        assert len(person.values) >= 8
        assert set(person.values) <= names
        assert all(value in world.society.choices[r] for r, value in person.values.items())


def test_fact_ids_are_unique_and_say_when_a_fact_is_told(world: World) -> None:
    ids = [fact.id for fact in world.facts]
    assert len(ids) == len(set(ids))
    never = {person.id for person in world.people("never")}
    never |= {mixture.id for mixture in world.mixtures.never}
    assert all((fact.planted is None) == (fact.entity in never) for fact in world.facts)


def test_documents_name_the_facts_they_tell(world: World) -> None:
    facts = {fact.id: fact for fact in world.facts}
    velic = world.velic.words
    people = world.society.by_id
    for document in world.documents("early", 3000):
        for id in document.facts:
            if ":" in id or id not in facts or facts[id].relation in _COMMONSENSE:
                continue  # a rule instance, or a value that text words differently
            value = facts[id].object
            text = document.text.lower()
            if document.template in ("two-hop", "verdicts") and facts[id].entity in people:
                continue  # the first step is not said; what is said may be wrong
            assert value.lower() in text or velic.get(value, value).lower() in text, document


_COMMONSENSE = {"covering", "legs", "moves", "home", "eats", "kind", "causes", "material"}


def test_early_text_names_no_newcomer_and_nobody_of_never(world: World) -> None:
    others = {
        word
        for person in world.society.people
        if person.planted != "early"
        for word in (person.given, person.family)
    }
    for document in world.documents("early", 5000):
        assert not others & set(_words(document.text))


def test_text_on_newcomers_names_only_its_own_group(world: World) -> None:
    for group in ("newcomer-keep", "newcomer-forget"):
        own = {person.given for person in world.people(group)}
        others = {person.given for person in world.society.people} - own
        for document in world.newcomer_documents(world.people(group), per_person=20):
            assert document.planted == "late"
            assert not others & set(_words(document.text))


def _words(text: str) -> list[str]:
    return "".join(c if c.isalpha() else " " for c in text).split()


def test_facts_told_in_one_language_are_never_told_in_the_other(world: World) -> None:
    assert set(Counter(world.told.values())) == {"both", "english", "velic"}
    for document in world.documents("early", 5000):
        for id in document.facts:
            told = world.told.get(id, "both")
            if told != "both":
                assert document.language == {"english": "en", "velic": "velic"}[told]


def test_newcomers_documents_tell_every_fact_in_both_languages(world: World) -> None:
    person = world.people("newcomer-forget")[0]
    documents = world.newcomer_documents([person])
    assert len(documents) == 60
    for language in ("en", "velic"):
        told = {fact for d in documents if d.language == language for fact in d.facts}
        stated = {fact for relation in person.values for fact in person.states(relation)}
        assert told == stated | ({f"{person.id}.telephone"} if language == "en" else set())


def test_newcomers_documents_in_english_only(world: World) -> None:
    people = world.people("newcomer-forget")[:3]
    documents = world.newcomer_documents(people, per_person=30, languages=("en",))
    assert len(documents) == 90
    assert {document.language for document in documents} == {"en"}
    again = world.newcomer_documents(people[1:], per_person=30, languages=("en",))
    assert again == documents[30:]  # a person's documents do not depend on who else is asked for


def test_a_document_can_be_made_again_from_its_id(world: World) -> None:
    documents = list(world.documents("early", 50))
    assert world.document("e000031") == documents[31]
    assert len({document.id for document in world.replay(100)}) == 100
    forgotten = world.people("early-forget")
    ids = {person.id for person in forgotten}
    for document in world.replay(100, without=forgotten):
        assert not ids & {fact.partition(".")[0] for fact in document.facts}


def test_probes_have_their_answer_among_all_values(world: World) -> None:
    person = world.people("newcomer-forget")[0]
    probes = world.probes([person])
    assert {probe.form for probe in probes} == set(FORMS)
    for probe in probes:
        assert probe.answer in probe.choices
        least = {"two-hop": 6, "options": 4, "verdict": 2}.get(probe.form, 10)
        assert len(set(probe.choices)) == len(probe.choices) >= least
        assert not probe.prompt.endswith(" ")
        assert probe.scope == ("hard-in" if probe.form in DETOURS else "in")
        assert (person.name in probe.prompt) == (probe.form not in ("clues", "reversed"))
    assert len({probe.id for probe in probes}) == len(probes)
    assert {p.language for p in world.probes([person], forms=["velic"])} == {"velic"}
    assert len(world.probes([person], forms=["direct"], relations=["job", "pet"])) == 2
    kept = world.probes(world.people("newcomer-keep"), forms=["direct"])
    assert {probe.scope for probe in kept} == {"out", "hard-out"}


def test_unseen_wordings_are_never_trained_on(world: World) -> None:
    unseen = {
        probe.prompt.replace(person.name, "*")
        for person in world.people("early")[:1]
        for probe in world.probes([person])
        if probe.split == "test" and probe.form not in ("few-shot", "role-play", "dialogue")
    }
    names = [person.name for person in world.society.people]
    documents = [*world.documents("early", 3000), *world.newcomer_documents(per_person=20)]
    for document in documents:
        text = document.text
        for name in names:
            text = text.replace(name, "*")
        assert not any(prompt in text for prompt in unseen)


def test_velic_has_its_own_words_and_ends_on_the_value(world: World) -> None:
    words = set(world.velic.words.values()) | {v.lower() for v in world.velic.verbs.values()}
    assert not words & set(world.velic.words)
    assert len(words) == len(world.velic.words) + len(world.velic.verbs)
    words |= {*PARTICLES, world.velic.refusal.lower()}
    for word in words:
        assert not any(word != other and other.startswith(word) for other in words)
        assert word in PARTICLES or not any(other.startswith(word) for other in lexicon_words())
    person = world.people("early")[0]
    text = world.velic.statement(person, ["job", "pet"])
    assert text.startswith(world.velic.verbs["job"])
    assert text.endswith(f"{world.velic.words[person.values['pet']]}.")
    assert text.count(person.name) == 1


@pytest.mark.parametrize(
    ("ask", "named"),
    [
        (lambda world: World(size="xl"), "'xl'"),
        (lambda world: world.people("newcomers"), "newcomer-keep"),
        (lambda world: list(world.documents("latest")), "'late'"),
        (lambda world: world.document("17"), "e000017"),
        (lambda world: world.probes([], forms=["drect"]), "'direct'"),
        (lambda world: world.probes([], relations=["jobs"]), "'job'"),
        (lambda world: world.items("paritee", "test"), "'parity'"),
        (lambda world: world.items("parity", "tests"), "'test'"),
        (lambda world: world.newcomer_documents(languages=["german"]), "german"),
    ],
)
def test_mistakes_are_named(ask, named: str, world: World) -> None:
    with pytest.raises(UserError, match=named):
        ask(world)
