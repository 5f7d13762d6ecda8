"""The query set and its answer key."""

from collections import Counter

import pytest

from palimpsest.core.records import Document, Query
from palimpsest.world import World
from palimpsest.world.queries import RELEVANCES, asked_fact, queries, relevance


@pytest.fixture(scope="module")
def asked(world: World) -> list[Query]:
    return queries(world)


def test_every_kind_is_there(world: World, asked: list[Query]) -> None:
    assert Counter(query.kind for query in asked) == {
        "fact": 24, "fact-paraphrase": 24, "fact-velic": 24, "fact-reversed": 24,
        "forward": 12, "forward-reversed": 12, "backward": 12, "backward-reversed": 12,
        "place": 6, "arithmetic": 4, "machine": 10,
    }  # fmt: skip
    assert len({query.id for query in asked}) == len(asked)
    assert asked == queries(World())


def test_completions_are_the_facts(world: World, asked: list[Query]) -> None:
    facts = {fact.id: fact for fact in world.facts}
    for query in asked:
        assert query.completion.startswith(" ")
        assert not query.prompt.endswith(" ")
        if query.kind in ("machine", "arithmetic"):
            continue
        fact = facts[asked_fact(query)]
        if query.kind.endswith("-reversed"):
            assert query.completion == f" {fact.subject}"
        elif query.kind == "fact-velic":
            assert query.completion == f" {world.velic.words[fact.object]}"
            assert query.completion != f" {fact.object}"
        else:
            assert query.completion == f" {fact.object}"


def test_facts_are_told_as_their_kind_says(world: World, asked: list[Query]) -> None:
    for query in asked:
        kind = query.kind.removesuffix("-reversed")
        if kind in ("forward", "backward"):
            assert world.order[asked_fact(query)] == kind
        elif kind == "fact":
            assert world.order[asked_fact(query)] == "both"
            assert world.told[asked_fact(query)] == "both"


def test_the_key_names_the_first_that_fits(world: World, asked: list[Query]) -> None:
    query = next(query for query in asked if query.kind == "fact")
    person, relation = asked_fact(query).split(".")
    another = next(p for p in world.people("early") if p.id != person)
    other_relation = next(r for r in another.values if r != relation)

    def key(*facts: str) -> str:
        return relevance(world, query, Document(text="x", facts=facts))

    assert key(f"{another.id}.{relation}", f"{person}.{relation}") == "fact"
    assert key(f"{another.id}.{relation}", f"{person}.{other_relation}") == "same-person"
    assert key(f"{another.id}.{relation}") == "same-relation"
    assert key(f"{another.id}.{other_relation}") == "other"
    assert key(f"cow.{relation}", "addition:3+4") == "other"
    assert key() == "other"


def test_the_stream_has_documents_of_each_relevance(world: World, asked: list[Query]) -> None:
    documents = list(world.documents(count=6000))
    for kind in ("fact", "forward", "backward", "place", "arithmetic", "machine"):
        some = [query for query in asked if query.kind == kind][:6]
        found = Counter(
            relevance(world, query, document) for query in some for document in documents
        )
        assert found.keys() <= set(RELEVANCES)
        wanted = (
            {"level0", "level1", "level2", "level3", "control", "other"}
            if kind == "machine"
            else {"same-relation", "other"}
            if kind == "arithmetic"
            else {"fact", "same-person", "same-relation", "other"}
        )
        assert wanted <= found.keys()
