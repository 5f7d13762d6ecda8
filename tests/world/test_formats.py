"""Formats of questions: right answers, listed facts, even positions, frames held out."""

import random
import re
from collections import Counter
from collections.abc import Callable

import pytest

from palimpsest.core.errors import UserError
from palimpsest.world import World, formats
from palimpsest.world.biographies import WORDINGS, Telling, questions
from palimpsest.world.people import Person

DRAWS = 1500
Maker = Callable[[Person, tuple[Person, ...], random.Random], Telling | None]

MAKERS: dict[str, Maker] = {
    "options": lambda person, people, rng: formats.options(
        person, list(person.values), people, rng
    ),
    "yes-no": lambda person, people, rng: formats.yes_or_no(
        person, list(person.values), people, rng
    ),
    "clues": lambda person, people, rng: formats.clues(
        person, list(person.values), list(person.values), people, rng
    ),
    "filler": lambda person, people, rng: formats.filler(person, list(person.values), rng),
    "casing": lambda person, people, rng: formats.recased(
        questions(person, list(person.values), rng), rng
    ),
}


@pytest.fixture(scope="module")
def people(world: World) -> tuple[Person, ...]:
    return world.people("early-keep")


@pytest.fixture(scope="module")
def made(people: tuple[Person, ...]) -> dict[str, list[tuple[Person, Telling]]]:
    """Of each format many documents, with the person each is about."""
    return {form: _made(maker, people) for form, maker in MAKERS.items()}


def _made(maker: Maker, people: tuple[Person, ...]) -> list[tuple[Person, Telling]]:
    documents = []
    for i in range(DRAWS):
        rng = random.Random(f"formats-test-{i}")
        person = rng.choice(people)
        telling = maker(person, people, rng)
        assert telling is not None
        documents.append((person, telling))
    return documents


def blocks(text: str) -> list[tuple[str, str]]:
    """What stands before each answer, and the answer."""
    return [(asked, answer) for asked, answer in re.findall(r"(.+?)\nAnswer: ([^\n]+)", text, re.S)]


def asked_relation(person: Person, telling: Telling) -> str:
    """The relation asked last; its fact comes last, or last but one for a couple."""
    mine = [fact for fact in telling.facts if fact.startswith(f"{person.id}.")]
    return mine[-1].partition(".")[2]


def pattern(frame: str) -> str:
    """A frame as a regular expression, whatever is filled in."""
    return re.sub(r"\\\{\w+\\\}", "[^\n]+", re.escape(frame))


def test_every_draw_can_be_made_again(people: tuple[Person, ...]) -> None:
    for maker in MAKERS.values():
        one, other = (maker(people[3], people, random.Random("again")) for _ in range(2))
        assert one == other


def test_documents_list_their_facts_and_name_people_of_one_side(
    world: World, made: dict[str, list[tuple[Person, Telling]]]
) -> None:
    others = [person for person in world.society.people if person.group != "early-keep"]
    names = {name for person in others for name in (person.given.lower(), person.family.lower())}
    for form, documents in made.items():
        for person, telling in documents:
            assert telling.kind == "qa"
            assert telling.language == "en"
            assert not set(re.findall(r"[a-z]+", telling.text.lower())) & names, form
            partner = person.values.get("spouse", "").lower().replace(" ", "-")
            assert {fact.partition(".")[0] for fact in telling.facts} <= {person.id, partner}
            for fact in telling.facts:
                assert fact in {person.fact_id(r) for r in person.values} | {f"{partner}.spouse"}


def test_every_value_that_an_option_list_asks_for_is_in_it_once(
    made: dict[str, list[tuple[Person, Telling]]], people: tuple[Person, ...]
) -> None:
    positions: dict[int, Counter[int]] = {count: Counter() for count in (2, 3, 4, 5)}
    used = Counter[int]()
    for person, telling in made["options"]:
        relation = asked_relation(person, telling)
        ((asked, answer),) = blocks(telling.text)
        assert answer == person.values[relation]
        frame = next(
            number
            for number, frame in enumerate(formats.OPTION_FRAMES)
            if re.fullmatch(pattern(frame.removesuffix("\nAnswer:")), asked)
        )
        used[frame] += 1
        listed = re.split(r"(?:\n[\w ]+|list): ", asked)[-1].removesuffix(".").split(", ")
        assert listed.count(answer) == 1
        assert len(set(listed)) == len(listed)
        assert set(listed) <= {one.values[relation] for one in people if relation in one.values}
        positions[len(listed)][listed.index(answer)] += 1
    assert min(used.values()) > DRAWS / 4
    assert len(used) == len(formats.OPTION_FRAMES)
    for count, places in positions.items():
        total = sum(places.values())
        assert total > DRAWS / 6
        for place in range(count):
            assert abs(places[place] / total - 1 / count) < 0.1


def test_wrong_partners_are_like_the_right_one(people: tuple[Person, ...]) -> None:
    by_name = {person.name: person for person in people}
    married = [person for person in people if "spouse" in person.values][:30]
    for i, person in enumerate(married):
        telling = formats.options(person, ["spouse"], people, random.Random(i))
        assert telling is not None
        named = [one for name, one in by_name.items() if name in telling.text and one != person]
        assert len(named) > 1
        assert {one.she for one in named} == {not person.she}


def test_half_of_the_claims_are_denied_and_answers_are_right(
    made: dict[str, list[tuple[Person, Telling]]],
) -> None:
    answers = Counter[str]()
    for person, telling in made["yes-no"]:
        relations = dict.fromkeys(
            fact.partition(".")[2] for fact in telling.facts if fact.startswith(person.id)
        )
        found = blocks(telling.text)
        assert len(found) == len(relations)
        for (asked, answer), relation in zip(found, relations, strict=True):
            answers[answer] += 1
            value = person.values[relation]
            holds = re.search(rf"\b{re.escape(value)}[.?]$", asked) is not None
            assert holds == (answer in ("yes", "true")), (asked, answer)
            assert person.name in asked
    assert abs(answers["yes"] / (answers["yes"] + answers["no"]) - 0.5) < 0.05
    assert abs(answers["true"] / (answers["true"] + answers["false"]) - 0.5) < 0.07


def test_every_relation_has_a_yes_or_no_question_and_a_predicate() -> None:
    assert set(formats.YES_NO) == set(WORDINGS)
    for wording in WORDINGS.values():
        # Clues and claims are made of the first statement.
        assert wording.statements[0].startswith("{n} ")
        assert wording.statements[0].endswith(("{v}.", "{w}."))


def test_clues_fit_one_person_who_is_not_named(
    made: dict[str, list[tuple[Person, Telling]]], people: tuple[Person, ...]
) -> None:
    for person, telling in made["clues"]:
        assert person.given not in telling.text
        assert person.family not in telling.text
        asked = asked_relation(person, telling)
        given = [
            relation
            for relation in person.values
            if person.fact_id(relation) in telling.facts and relation != asked
        ]
        assert 2 <= len(given) <= 6
        assert "spouse" not in given
        question = telling.text.split("\n")[0]
        assert all(person.values[relation] in question for relation in given)
        fitting = [
            one
            for one in people
            if all(one.values[relation] == person.values[relation] for relation in given)
        ]
        assert fitting == [person]
        assert telling.text.endswith(f"\nAnswer: {person.values[asked]}")


def test_clues_that_fit_others_too_are_not_given(people: tuple[Person, ...]) -> None:
    person = people[0]
    twin = Person("twin", "Twin", "Twin", True, person.group, dict(person.values))
    everyone = (*people, twin)
    relations = list(person.values)
    assert formats.clues(person, relations, relations, everyone, random.Random(0)) is None
    assert formats.probes(person, "home", "clues", everyone, ("a", "b")) == []


def test_what_nobody_else_has_is_no_question_of_choice(people: tuple[Person, ...]) -> None:
    person = people[0]
    assert formats.options(person, ["home"], [person], random.Random(0)) is None
    assert formats.yes_or_no(person, ["home"], [person], random.Random(0)) is None
    for form in ("options", "yes-no"):
        assert formats.probes(person, "home", form, [person], ("a", "b")) == []


def test_filler_has_every_line_and_takes_a_text_of_others(
    made: dict[str, list[tuple[Person, Telling]]], people: tuple[Person, ...]
) -> None:
    first = {telling.text.split("\n")[0] for _, telling in made["filler"]}
    assert first == {*formats.INSTRUCTIONS, *formats.UNRELATED}
    exercise = Telling("Question: What is 3 + 4?\nAnswer: 7", ("addition:3+4",), "x", "en", "qa")
    telling = formats.filler(people[0], ["home"], random.Random(0), exercise)
    assert telling.text.startswith(f"{exercise.text}\nQuestion: ")
    assert telling.facts == ("addition:3+4", people[0].fact_id("home"))


def test_two_thirds_of_the_recased_are_in_small_letters(
    made: dict[str, list[tuple[Person, Telling]]],
) -> None:
    lower = 0
    for _, telling in made["casing"]:
        assert telling.text in (telling.text.lower(), telling.text.upper())
        is_lower = telling.text == telling.text.lower()
        assert telling.template == f"questions-{'lower' if is_lower else 'upper'}"
        lower += is_lower
    assert abs(lower / DRAWS - 2 / 3) < 0.05
    assert formats.recase("The Clockmaker's Debt\nwas lost", "title") == (
        "The Clockmaker's Debt\nWas Lost"
    )


def test_held_out_frames_are_never_trained(
    made: dict[str, list[tuple[Person, Telling]]],
) -> None:
    texts = [telling.text for documents in made.values() for _, telling in documents]
    frames = (
        formats.UNSEEN_OPTIONS,
        formats.UNSEEN_CLAIM.frame,
        formats.UNSEEN_CLUES,
        formats.UNSEEN_INSTRUCTION,
    )
    together = "\n\n".join(texts)
    for frame in frames:
        head = re.split(r"\{\w+\}\n?", frame.removeprefix("Question: {q}\n"))[0]
        assert len(head) > 10
        assert head not in together
    for wording in WORDINGS.values():
        for question in wording.unseen:
            for name in ("{n}", "this person"):
                before, _, after = question.replace("{n}", name).partition("{n}")
                shape = re.escape(before) + (r"\w+ \w+" + re.escape(after) if after else "")
                assert not re.search(shape, together)
    titled = [text for text in texts if text == formats.recase(text, formats.UNSEEN_CASE)]
    assert not titled


@pytest.mark.parametrize("form", formats.FORMS)
def test_probes_of_a_form(form: str, world: World) -> None:
    group = world.people("early-forget")
    counts = Counter[int]()
    for person in group:
        for relation in person.values:
            choices = tuple(sorted({one.values.get(relation, "") for one in group} - {""}))
            probes = formats.probes(person, relation, form, group, choices, scope="in")
            again = formats.probes(person, relation, form, group, choices, scope="in")
            assert probes == again
            assert len({probe.id for probe in probes}) == len(probes)
            counts[len(probes)] += 1
            if probes:
                assert {probe.split for probe in probes} == {"train", "test"}
            for probe in probes:
                assert probe.fact == person.fact_id(relation)
                assert probe.form == form
                assert probe.scope == "in"
                assert probe.answer in probe.choices
                assert probe.prompt.lower().endswith("\nanswer:")
                if form not in ("options", "yes-no"):
                    value = re.escape(person.values[relation])
                    assert not re.search(rf"\b{value}\b", probe.prompt, re.IGNORECASE)
    expected = {"options": 8, "yes-no": 8, "clues": 4, "filler": 6, "casing": 3}[form]
    assert counts.most_common(1)[0][0] == expected
    assert counts[expected] > 0.9 * counts.total()


def test_probes_with_options_have_the_answer_once_at_every_place(world: World) -> None:
    group = world.people("early-keep")
    probes = formats.probes(
        group[0], "home", "options", group, world.society.choices["home"], scope="out"
    )
    for split in ("train", "test"):
        places = []
        for probe in probes:
            if probe.split == split:
                listed = probe.prompt.split("\n")[1].split(": ")[1].split(", ")
                places.append(listed.index(probe.answer))
        assert sorted(places) == [0, 1, 2, 3]
    assert probes[0].choices == world.society.choices["home"]


def test_claims_are_probed_with_both_answers(world: World) -> None:
    group = world.people("early-keep")
    probes = formats.probes(group[0], "job", "yes-no", group, ())
    assert Counter(probe.answer for probe in probes) == {"yes": 3, "no": 3, "true": 1, "false": 1}
    assert {probe.choices for probe in probes} == {("yes", "no"), ("true", "false")}


def test_clues_of_a_probe_are_those_that_were_told(world: World) -> None:
    group = world.people("early-keep")
    told = ["pet", "food", "hobby", "book"]
    probes = formats.probes(group[0], "job", "clues", group, (), told=told)
    said = probes[0].prompt.split("\n")[0]
    for relation, value in group[0].values.items():
        assert relation in told or value not in said


def test_an_unknown_form_names_the_nearest(people: tuple[Person, ...]) -> None:
    with pytest.raises(UserError, match="options"):
        formats.probes(people[0], "home", "option", people, ())
