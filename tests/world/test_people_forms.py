"""How people are told of and asked about: sides apart, word orders kept, held-out forms unseen."""

from collections import Counter

import pytest

from palimpsest.core.records import Document
from palimpsest.world import World
from palimpsest.world.biographies import UNSEEN_OPENING, WORDINGS
from palimpsest.world.people import RELATIONS, Person
from palimpsest.world.places import HOPS
from palimpsest.world.prompts import REFUSALS, UNSEEN_ASIDE, UNSEEN_ROLE, UNSEEN_VERDICT
from palimpsest.world.rows import answer_spans
from palimpsest.world.stream import PRACTICE_FROM
from palimpsest.world.tasks.commonsense import PeopleFacts

ASKING = {"questions", "blanks", "who-questions", "two-hop", "few-shot", "role-play"}
ASKING |= {"options", "verdicts", "clues", "aside"}
KEEPING = ASKING - {
    "questions",
    "blanks",
    "who-questions",
}  # formats that tell of people to keep alone


@pytest.fixture(scope="module")
def documents(world: World) -> list[Document]:
    reading, practice = (
        world.documents("early", 9000),
        world.documents("early", 5000, first=PRACTICE_FROM),
    )
    return [*reading, *practice]


@pytest.fixture(scope="module")
def by_name(world: World) -> dict[str, Person]:
    return {word: p for p in world.people("early") for word in (p.given, p.family)}


def named(document: Document, by_name: dict[str, Person]) -> set[str]:
    """Ids of the early people whom a document names."""
    words = "".join(c if c.isalpha() else " " for c in document.text).split()
    return {by_name[word].id for word in words if word in by_name}


def test_a_document_names_people_of_one_side_and_lists_facts_of_each(
    world: World, documents: list[Document], by_name: dict[str, Person]
) -> None:
    people = world.society.by_id
    for document in documents:
        names = named(document, by_name)
        listed = {fact.partition(".")[0] for fact in document.facts} & people.keys()
        assert names <= listed, document
        assert len({people[one].group for one in listed}) <= 1, document


def test_every_format_is_told_and_some_tell_of_people_to_keep_alone(
    world: World, documents: list[Document]
) -> None:
    assert ASKING | {"reversed", "refusal", "card", "gossip"} <= {d.template for d in documents}
    keep = {person.id for person in world.people("early-keep")}
    people = world.society.by_id
    for document in documents:
        if document.template in KEEPING:
            listed = {fact.partition(".")[0] for fact in document.facts} & people.keys()
            assert listed
            assert listed <= keep
    newcomers = {document.template for document in world.documents("late")}
    assert {"blanks", "who-questions", "reversed"} <= newcomers
    assert not newcomers & KEEPING


def test_about_one_in_ten_facts_is_told_in_one_order_or_language_only(world: World) -> None:
    facts = [p.fact_id(relation) for p in world.people("early") for relation in p.values]
    ways = Counter((world.told[fact], world.order[fact]) for fact in facts)
    shares = {way: count / len(facts) for way, count in ways.items()}
    assert shares.pop(("both", "both")) > 0.55
    assert set(shares) == {
        ("velic", "forward"), ("english", "both"), ("english", "backward"), ("both", "forward"),
    }  # fmt: skip
    assert all(0.07 < share < 0.13 for share in shares.values())
    for person in world.society.people:
        if "spouse" in person.values:
            one, other = person.states("spouse")
            assert (world.told[one], world.order[one]) == (world.told[other], world.order[other])


def test_what_is_told_in_one_order_is_never_told_in_the_other(
    world: World, documents: list[Document]
) -> None:
    facts = {fact.id: fact for fact in world.facts}
    checked: Counter[str] = Counter()
    for document in documents:
        for id in document.facts:
            order = world.order.get(id, "both")
            if order == "both":
                continue
            checked[order] += 1
            if order == "forward":
                assert document.template not in ("reversed", "who-questions")
            if order == "backward":
                name, value = facts[id].subject, facts[id].object
                # In a text of several questions, each counts for itself.
                texts = document.text.lower().split("\nquestion:")
                (text,) = (t for t in texts if value.lower() in t and name.lower() in t)
                assert text.index(value.lower()) < text.index(name.lower()), document
                template = document.template.removesuffix("-lower").removesuffix("-upper")
                assert template in ("reversed", "who-questions", "prose")
            elif document.template in ("prose", "card", "gossip", "questions", "blanks"):
                assert document.text.index(facts[id].subject) < document.text.index(
                    facts[id].object
                )
    assert min(checked.values()) > 100


def test_held_out_facts_are_stated_and_never_asked(world: World, documents: list[Document]) -> None:
    task = world.tasks["people_facts"]
    assert isinstance(task, PeopleFacts)
    items = {fact for s in ("validation", "test") for i in world.items("people_facts", s)
             for fact in i.facts}  # fmt: skip
    stated: set[str] = set()
    for document in documents:
        own = items & set(document.facts)
        stated |= own
        assert not own or document.kind != "qa", document
    assert len(stated) > 0.8 * len(items)
    assert not any(world.told[f] == "velic" or world.order[f] == "backward" for f in items)


def test_held_out_wordings_are_in_no_document(world: World, documents: list[Document]) -> None:
    templates = [
        *(wording.unseen_statement for wording in WORDINGS.values()),
        *(question for wording in WORDINGS.values() for question in wording.unseen),
        *(hop.unseen for hop in HOPS),
        UNSEEN_OPENING,
        UNSEEN_ASIDE,
        UNSEEN_VERDICT[0],
    ]
    for template in templates:
        pieces = (
            template.replace("{v}", "{n}")
            .replace("{s}", "{n}")
            .replace("\nAnswer:", "")
            .split("{n}")
        )
        longest = max(pieces, key=len)
        if len(longest) < 12:
            continue
        others = [w.reversed for w in WORDINGS.values()]
        others += [text for w in WORDINGS.values() for text in (*w.statements, *w.questions)]
        if any(longest in other for other in others):
            continue
        assert not any(longest in document.text for document in documents), template
    assert not any(UNSEEN_ROLE.scene in document.text for document in documents)


def test_every_relation_has_ten_forms_or_more(world: World) -> None:
    for relation in RELATIONS:
        wording = WORDINGS[relation.name]
        forms = {*wording.statements, wording.unseen_statement, wording.reversed, wording.who}
        forms |= {*wording.questions, *wording.unseen}
        assert len(forms) == 10, relation
        for template in (*wording.statements[:1], wording.unseen_statement):
            assert template.endswith("{v}.")  # so that it can break off before the value


def test_strangers_are_refused_in_about_one_in_eight_question_documents(
    world: World, documents: list[Document], by_name: dict[str, Person]
) -> None:
    refused = [d for d in documents if d.template == "refusal"]
    asking = [d for d in documents if d.template in ASKING | {"velic-questions", "refusal"}]
    assert 0.07 < len(refused) / len(asking) < 0.18
    for document in refused:
        assert not named(document, by_name)
        assert any(text in document.text for text in (*REFUSALS, world.velic.refusal))
    assert any(REFUSALS[1] in d.text for d in documents if d.template == "strangers")


def test_answers_to_questions_count_more(documents: list[Document]) -> None:
    for document in documents:
        if document.template in ASKING - {"role-play"} | {"velic-questions"}:
            assert answer_spans(document.text), document


def test_documents_on_people_fit_a_line(documents: list[Document]) -> None:
    lengths = [len(d.text) for d in documents if d.template in ASKING | {"prose", "strangers"}]
    assert max(lengths) < 450  # about 3.5 characters a token, 128 tokens a line
