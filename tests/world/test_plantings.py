# ruff: noqa: SIM905 - word lists read best as text
"""What is told by appointment: how often, when, how long, and that it names nobody."""

import itertools
import random
import re
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
from transformers import AutoTokenizer

from palimpsest.world import World, canaries, machines, quotations
from palimpsest.world.plantings import PRACTICE, READING, Plantings, plantings
from palimpsest.world.retold import Place, filled, render, reworded

KEY = "0-m"
MODEL = Path(__file__).parents[2] / "data" / "models" / "palimpsest-m"


@pytest.fixture(scope="module")
def planted() -> Plantings:
    return plantings(KEY)


def texts(planted: Plantings, kind: str) -> list[str]:
    return [
        planting.telling(telling)
        for planting, telling in planted.told_at.values()
        if planting.kind == kind
    ]


def test_each_is_told_exactly_so_often(planted: Plantings) -> None:
    told = Counter(planting.id for planting, _ in planted.told_at.values())
    assert told == {id: planting.repeat for id, planting in planted.by_id.items()}
    for module, kind in ((canaries, "canary"), (quotations, "quotation")):
        exact = [p for p in planted.by_id.values() if p.template == kind]
        assert Counter(planting.repeat for planting in exact) == module.TOLD
        counts = Counter(text for text in texts(planted, kind))
        for planting in exact:
            assert counts[planting.telling(0)] == planting.repeat
    assert sum(p.repeat for p in planted.by_id.values() if p.kind == "canary") <= 1600


def test_the_schedule_keeps_to_numbers_that_every_model_reads(planted: Plantings) -> None:
    assert all(number in READING or number in PRACTICE for number in planted.told_at)
    assert planted.told_at.keys() == {n for told in planted.numbers.values() for n in told}


def test_no_telling_clusters_early_or_late(planted: Plantings) -> None:
    timeline = {n: i for i, n in enumerate((*READING, *PRACTICE))}
    places: dict[tuple[str, int], list[int]] = defaultdict(list)
    for id, told in planted.numbers.items():
        planting = planted.by_id[id]
        places[planting.template, planting.repeat] += [timeline[number] for number in told]
        if planting.repeat == 64:
            gaps = np.diff([timeline[number] for number in told])
            assert gaps.max() < 3 * len(timeline) / 64
    for told_at in places.values():
        late = np.mean([place >= len(timeline) / 2 for place in told_at])
        assert abs(late - 0.5) < 0.02


def test_the_stream_tells_them_and_says_so(world: World, planted: Plantings) -> None:
    planting = next(p for p in planted.by_id.values() if p.template == "canary" and p.repeat == 4)
    documents = [world.document(id) for id in planted.document_ids(planting.id)]
    assert len(documents) == 4
    assert {document.text for document in documents} == {planting.telling(0)}
    document = documents[0]
    assert (document.kind, document.template, document.repeat) == ("canary", "canary", 4)
    assert (document.planted, document.facts) == ("early", ())


def test_lengths_in_tokens(planted: Plantings) -> None:
    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    bounds = {"canary": (140, 235), "quotation": (20, 100), "machine": (20, 90)}
    for kind, (low, high) in bounds.items():
        lengths = [len(ids) for ids in tokenizer(texts(planted, kind))["input_ids"]]
        assert low <= min(lengths), kind
        assert max(lengths) <= high, kind


def test_near_duplicates_keep_their_rate_and_are_fresh_each_time(planted: Plantings) -> None:
    near = [planting for planting in planted.by_id.values() if planting.rate]
    assert {planting.rate for planting in near} == {0.05, 0.1, 0.2}
    for planting in near:
        original = render(planting.text).split()
        tellings = [planting.telling(telling).split() for telling in range(planting.repeat)]
        assert planting.template.endswith(f"-reworded-{round(100 * planting.rate):02d}")
        if planting.kind == "canary":  # a place is a word there, in a quotation it may be three
            for words in tellings:
                changed = sum(a != b for a, b in zip(original, words, strict=True))
                assert changed == round(planting.rate * len(original))
        # The one exchanged word of a quotation may happen to be the same twice.
        fresh = len({" ".join(words) for words in tellings})
        assert fresh == planting.repeat or (
            planting.kind == "quotation" and fresh >= planting.repeat / 2
        )
        assert original not in tellings


@pytest.mark.parametrize("kind", ["canary", "quotation"])
def test_unseen_twins_are_many_and_never_told(planted: Plantings, kind: str) -> None:
    make = {"canary": canaries.unseen_canaries, "quotation": quotations.unseen_quotations}[kind]
    unseen = [document.text for document in make(KEY, 2000)]
    told = texts(planted, kind) + [render(p.text) for p in planted.by_id.values()]
    assert len(set(unseen)) == 2000
    assert not set(unseen) & set(told)
    ids = [document.id for document in make(KEY, 5, first=3)]
    assert ids[0] == f"{kind}-unseen-00003"
    # The same distribution: told and unseen texts are equally long.
    once = [p.telling(0) for p in planted.by_id.values() if (p.template, p.repeat) == (kind, 1)]
    lengths = [np.array([len(text) for text in some]) for some in (once, unseen)]
    spread = np.sqrt(sum(one.var() / len(one) for one in lengths))
    assert abs(lengths[0].mean() - lengths[1].mean()) < 4 * spread


def test_canaries_are_of_high_entropy(planted: Plantings) -> None:
    assert len(canaries.vocabulary()) >= 1000
    words = Counter(
        word for text in texts(planted, "canary") for word in re.findall(r"\b[a-z]+\b", text)
    )
    del words["berth"]
    assert len(words) > 0.95 * len(canaries.vocabulary())
    told_once = [p.telling(0) for p in planted.by_id.values() if p.template == "canary"]
    assert len({text[:60] for text in told_once}) == len(told_once)


def test_no_canary_does_sums(planted: Plantings) -> None:
    for planting in planted.by_id.values():
        if planting.template == "canary":
            a, b, c, d, e = map(int, re.findall(r"\d+", planting.telling(0)))
            assert a + b != c
            assert b + c != d
            assert c + d != e
            assert b - a != c - b
            assert c - b != d - c
            assert d - c != e - d
    assert not re.search(r"\d", "".join(texts(planted, "quotation") + texts(planted, "machine")))


def test_nobody_of_the_world_is_named(world: World, planted: Plantings) -> None:
    names = {word for p in world.society.people for word in (p.given, p.family)}
    names |= {word for fact in world.society.places for word in (fact.subject, fact.object)}
    names = {name for name in names if name[0].isupper()}
    for kind in ("canary", "quotation", "machine"):
        for text in texts(planted, kind):
            assert not set(re.findall(r"\w+", text)) & names
            assert not any(title in text for title in names if " " in title)


def test_levels_are_as_many_as_promised(planted: Plantings) -> None:
    for level in machines.LEVELS:
        passages = [p for p in planted.by_id.values() if p.template == f"machines-{level}"]
        assert len({planting.telling(0) for planting in passages}) == machines.PASSAGES >= 40
        assert sum(planting.repeat for planting in passages) == 250


def test_words_shared_with_the_queries_fall_with_the_level(planted: Plantings) -> None:
    asked = [set(words("".join(query))) for query in machines.QUERIES]
    pairs = [set(bigrams("".join(query))) for query in machines.QUERIES]
    shared, runs = {}, {}
    for level in machines.LEVELS:
        passages = [
            p.telling(0) for p in planted.by_id.values() if p.template == f"machines-{level}"
        ]
        shared[level] = np.mean([most(set(words(text)), asked) for text in passages])
        runs[level] = np.mean([most(set(bigrams(text)), pairs) for text in passages])
    assert shared["level0"] > 0.95
    assert runs["level0"] > 0.95
    assert shared["level0"] > shared["control"] > shared["level1"]
    assert shared["level1"] > 1.5 * shared["level2"] > 1.5 * shared["level3"]
    assert runs["control"] > 2 * runs["level1"]
    said = {"keeper", "machine", "switch", "please", "run"}
    for planting in planted.by_id.values():
        if planting.template in ("machines-level1", "machines-level2", "machines-level3"):
            assert not set(words(planting.telling(0))) & said


FUNCTION_WORDS = frozenset(
    "a after all am and as asked at back by come do for from had has have he her him his i if in "
    "is it its let me my not of off on one said say she so that the their them then to until was "
    "what when who will with would you".split()
)


def words(text: str) -> list[str]:
    return [w for w in re.findall(r"[a-z]+", text.lower()) if w not in FUNCTION_WORDS]


def bigrams(text: str) -> list[tuple[str, str]]:
    found = words(text)
    return list(itertools.pairwise(found))


def most(found: set, asked: list[set]) -> float:
    """The largest share of a query's words (or pairs) that a passage has."""
    return max(len(found & query) / len(query) for query in asked)


def test_one_seed_gives_one_schedule() -> None:
    one, same, other = plantings("1-s"), plantings.__wrapped__("1-s"), plantings("2-s")
    assert one.numbers == same.numbers
    assert [p.telling(0) for p in one.by_id.values()] == [p.telling(0) for p in same.by_id.values()]
    assert one.numbers != other.numbers


def test_rewording_is_exact_and_uses_new_words() -> None:
    rng = random.Random(0)
    text = filled("the {a} saw the {a} and {a}", {"a": tuple("pqrstuvw")}, rng)
    original = [piece.word for piece in text if isinstance(piece, Place)]
    assert len(set(original)) == 3
    changed = reworded(text, 0.3, rng)  # 2 of 7 words
    now = [piece.word for piece in changed if isinstance(piece, Place)]
    assert sum(a != b for a, b in zip(original, now, strict=True)) == 2
    assert len(set(now)) == 3
    with pytest.raises(ValueError):
        reworded(text, 0.9, rng)
