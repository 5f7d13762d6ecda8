"""The rewriting of items: what is asked, that ids and labels stay, and what cannot be rewritten."""

from dataclasses import replace

import pytest

from palimpsest.forgetting.items import TaskItems, TwoWay
from palimpsest.forgetting.rewriting import answer_first, common_ending


def item(number: int, kind: str = "shared") -> TwoWay:
    prompt = f"Question: Is {number} odd or even?\nAnswer:"
    pairs = ((prompt, " even"), (prompt, " odd"))
    return TwoWay(f"parity/{number}", "parity", pairs, number % 2, kind)


def task(items: tuple[TwoWay, ...], kind: str = "shared") -> TaskItems:
    return TaskItems("parity", kind, items, items[:1], 2, 2, 0, 0, 0)


def test_the_answer_becomes_the_condition_and_the_text_is_scored():
    found = answer_first(task((item(3), item(4))), "parity turned")
    assert (found.task, found.kind) == ("parity turned", "content")
    one = found.train[0]
    text = "Question: Is 3 odd or even?"
    assert one.pairs == (("Answer: even\n", text), ("Answer: odd\n", text))
    assert [(one.id, one.label) for one in found.train] == [("parity/3", 1), ("parity/4", 0)]
    assert found.test[0].pairs == found.train[0].pairs


@pytest.mark.parametrize(
    ("prompts", "ending"),
    [
        (["How? Answer:", "Why? Answer:"], " Answer:"),
        (["one is it?\nAnswer:", "two is it?\nAnswer:"], "\nAnswer:"),
        (["alpha", "beta"], ""),
        (["no", "yes"], ""),
    ],
)
def test_the_common_ending_starts_at_a_space(prompts, ending):
    assert common_ending(prompts) == ending


def test_what_has_no_other_form_is_left_alone():
    content = task((item(3, "content"),), "content")
    assert answer_first(content, "other") is None
    (first, second) = item(3).pairs
    two_prompts = replace(item(3), pairs=((first[0] + " x", first[1]), second))
    assert answer_first(task((two_prompts, item(4))), "other") is None
    same = task((item(3), item(3)))
    assert answer_first(same, "other") is not None  # the first words stay
