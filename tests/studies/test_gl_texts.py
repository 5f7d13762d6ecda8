"""The texts of chapter 3: the world's, and those of a user."""

import json
from pathlib import Path

import numpy as np
import pytest
from chapter3 import context
from tiny import tiny_lm

from palimpsest.core.errors import DataError
from palimpsest.studies.goldfish_loss import STUDIES, preflight
from palimpsest.studies.goldfish_loss.cast import everyday, half, texts
from palimpsest.studies.verbatim_texts import open_texts

WANTED = {"members": 4, "grouped": 4, "told": 4, "twins": 40, "ordinary": 200}
WORDS = [
    "river",
    "stone",
    "letter",
    "under",
    "bright",
    "seven",
    "while",
    "carry",
    "winter",
    "market",
    "older",
    "quiet",
]


def write(folder: Path, documents: int, words: int, short: int = 0) -> Path:
    rng = np.random.default_rng(0)
    path = folder / "texts.jsonl"
    sizes = [2 if number < short else words for number in range(documents)]
    lines = [
        json.dumps({"id": str(number), "text": " ".join(rng.choice(WORDS, size))})
        for number, size in enumerate(sizes)
    ]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def test_texts_of_a_user_by_what_becomes_of_them(tmp_path) -> None:
    lm = tiny_lm()
    path = write(tmp_path, 200, 60, short=20)
    found = open_texts(lm, str(path), WANTED, 40)
    assert found.short == 20
    parts = (found.members, found.grouped, found.told, found.twins)
    assert [len(part) for part in parts] == [4, 4, 4, 40]
    assert all(len(row) == 40 for part in parts for row in part)
    named = [row.id for part in parts for row in part]
    assert len(set(named)) == len(named)
    # What is learned by heart is no ordinary text, or the twins would have been read.
    plain = {row.id for part in (found.ordinary, found.validation) for row in part}
    assert not plain & set(named)
    assert all(len(row) <= 128 for row in found.ordinary)


def test_too_few_or_too_short_texts_are_refused_with_counts(tmp_path) -> None:
    path = write(tmp_path, 60, 60, short=30)
    with pytest.raises(DataError, match="30 that are shorter"):
        open_texts(tiny_lm(), str(path), WANTED | {"members": 40}, 40)
    with pytest.raises(DataError, match="at once"):
        open_texts(tiny_lm(), str(path), WANTED, 4096)
    with pytest.raises(DataError, match="no file or folder"):
        open_texts(tiny_lm(), "nobody/has-this-dataset", WANTED, 40)
    with pytest.raises(DataError):
        preflight(str(tmp_path / "missing.jsonl"), None, 0)


def test_the_chapter_begins_on_texts_of_a_user(tmp_path) -> None:
    ctx = context(tmp_path, data=write(tmp_path, 400, 60))
    result = STUDIES["by_heart"](ctx)
    counts = result.tables["texts"].set_index("what")["documents"]
    assert counts["learned by heart"] == 4
    assert result.values["exact_standard"].n == 4


def test_each_seed_is_told_the_half_that_the_other_is_not(tmp_path) -> None:
    ctx = context(tmp_path)
    first, second = half(ctx, 0), half(ctx, 1)
    assert set(first.told) == set(second.untold)
    assert not set(first.told) & set(first.untold)
    assert first.tellings == second.tellings == (1, 1, 4, 4, 16, 16, 64, 64)
    main, after = everyday(ctx)
    told = sum(first.tellings) * ctx.parameters.length
    read = sum(map(len, main)) + told
    assert sum(map(len, after)) == pytest.approx(read / 3, rel=0.35)  # a third more at k = 4
    assert len(texts(ctx).twins) == 40
