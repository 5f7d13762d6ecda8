"""Verdicts, and results on disk: their schema, what is refused, and what a second write keeps."""

import json
import math

import numpy as np
import pandas as pd
import pytest

from palimpsest.core import files, plots
from palimpsest.core.errors import RunError
from palimpsest.core.results import (
    ChapterResults,
    Claim,
    Figure,
    Result,
    Value,
    decide,
    plain,
    problems,
    read_results,
)
from palimpsest.core.stats import Interval

CLAIM = Claim(
    "goldfish-1",
    "Nothing comes out whole.",
    "arXiv:2406.10209, section 4",
    "P",
    "exact_match",
    "exact_match < 0.05",
)


def drawing():
    drawn, axes = plots.figure(2, 1.5)
    axes.plot([0, 1], [1, 0])
    return drawn


def result(value=0.01, ci95=(0.0, 0.03), **names):
    return Result(
        values={names.get("measure", "exact_match"): Value(value, ci95, 60, "fraction")},
        tables={names.get("table", "matches"): pd.DataFrame({"seed": [0, 0], "match": [0, 1]})},
        figures={names.get("figure", "curve"): Figure(drawing(), "Matches by step.", "A line.")},
    )


def chapter(**parameters):
    return ChapterResults("03_goldfish_loss", parameters, "cpu")


@pytest.mark.parametrize(
    ("rule", "ci95", "verdict"),
    [
        ("m < 0.5", (0.1, 0.49), "holds"),
        ("m < 0.5", (0.1, 0.5), "inconclusive"),
        ("m < 0.5", (0.5, 0.6), "fails"),
        ("m <= 0.5", (0.1, 0.5), "holds"),
        ("m <= 0.5", (0.5, 0.6), "inconclusive"),
        ("m > 0.5", (0.5, 0.6), "inconclusive"),
        ("m > 0.5", (0.4, 0.5), "fails"),
        ("m >= 0.5", (0.5, 0.6), "holds"),
        ("m >= 0.5", (0.1, 0.4), "fails"),
        ("m>-.5e-1", (0.0, 0.1), "holds"),
        ("  m  <  +2. ", (-1, 1), "holds"),
        ("m < 0.5", None, "inconclusive"),
        ("m < 0.5", (0.1, math.nan), "inconclusive"),
        ("m < 0.5", (0.1, math.inf), "inconclusive"),
    ],
)
def test_verdicts(rule, ci95, verdict):
    assert decide(rule, 0.3, ci95) == verdict


@pytest.mark.parametrize("value", [None, math.nan, math.inf])
def test_without_a_value_nothing_was_tested(value):
    assert decide("m < 0.5", value, (0.1, 0.2)) == "not-tested"


@pytest.mark.parametrize(
    "rule",
    ["", "m", "m <", "m = 1", "m == 1", "0.5 < m", "m < n", "m < 0.5 and m > 0", "m < nan",
     "m < inf", "m < 1e999", "m << 1", "m < 0x1", "m-n < 1", "__import__ < 1"],
)  # fmt: skip
def test_malformed_rules_raise(rule):
    with pytest.raises(ValueError, match="form"):
        decide(rule, 0.3, (0.1, 0.2))


def test_a_claim_is_about_its_measure_and_says_everything():
    with pytest.raises(ValueError, match="measures 'a' but"):
        Claim("c", "s", "s", "P", "a", "b < 1")
    with pytest.raises(ValueError, match="empty source"):
        Claim("c", "s", " ", "P", "a", "a < 1")


def test_what_is_not_finite_is_no_number():
    assert Value(math.nan, (0.0, 1.0)) == Value(None)
    assert Value(0.5, (0.0, math.inf)) == Value(0.5)
    value = Value(np.float32(0.5), (np.float64(0), 1), np.int64(3))
    assert json.loads(json.dumps(plain(value.__dict__))) == {
        "value": 0.5, "ci95": [0.0, 1.0], "n": 3, "unit": "",
    }  # fmt: skip
    with pytest.raises(ValueError, match="low <= high"):
        Value(0.5, (1.0, 0.0))
    assert Value.of(Interval(0.5, 0.2, 0.7, 9), "nats") == Value(0.5, (0.2, 0.7), 9, "nats")


def test_results_that_are_not_tidy_are_refused():
    with pytest.raises(ValueError, match="'Exact match'"):
        Result(values={"Exact match": Value(1.0)})
    with pytest.raises(ValueError, match=r"'\.\./up'"):
        Result(tables={"../up": pd.DataFrame()})
    with pytest.raises(ValueError, match="unique"):
        Result(tables={"t": pd.DataFrame([[1, 2]], columns=["a", "a"])})
    for caption, alt in [("", "alt"), ("caption", " ")]:
        with pytest.raises(ValueError, match="text for"):
            Figure(drawing(), caption, alt)


def test_written_results_have_the_schema_and_read_back(tmp_path):
    book = chapter(k=4, path=tmp_path, rate=math.nan)
    book.add("memorize", result(), [CLAIM])
    book.write(tmp_path, seconds=118.2, peak_memory_mb=1450)
    document = read_results(tmp_path)
    assert list(document) == [
        "schema", "chapter", "parameters", "seconds", "peak_memory_mb", "device",
        "values", "tables", "figures", "claims",
    ]  # fmt: skip
    assert document["parameters"] == {"k": 4, "path": str(tmp_path), "rate": None}
    assert document["values"]["exact_match"] == {
        "value": 0.01, "ci95": [0.0, 0.03], "n": 60, "unit": "fraction",
    }  # fmt: skip
    assert document["tables"] == {"matches": "tables/matches.csv"}
    assert document["figures"]["curve"] == {
        "file": "figures/curve.svg", "caption": "Matches by step.", "alt": "A line.",
    }  # fmt: skip
    assert document["claims"] == [
        {
            "id": "goldfish-1",
            "statement": "Nothing comes out whole.",
            "source": "arXiv:2406.10209, section 4",
            "grade": "P",
            "measure": "exact_match",
            "rule": "exact_match < 0.05",
            "rule_version": 1,
            "value": 0.01,
            "ci95": [0.0, 0.03],
            "verdict": "holds",
            "note": "",
        }
    ]
    assert (tmp_path / "tables/matches.csv").read_text() == "seed,match\n0,0\n0,1\n"
    assert (tmp_path / "figures/curve.png").read_bytes().startswith(b"\x89PNG")
    assert not list(tmp_path.rglob(f"{files.TEMPORARY}*"))


def test_a_claim_without_its_measure_is_not_tested_with_a_reason(tmp_path):
    book = chapter()
    book.add("a", Result(), [CLAIM])
    assert book.claims[0]["verdict"] == "not-tested"
    assert "was not measured" in book.claims[0]["note"]
    book.add("a", Result(notes={"goldfish-1": "The model never memorized it."}), [CLAIM])
    assert [claim["note"] for claim in book.claims] == ["The model never memorized it."]
    book.add("a", Result(values={"exact_match": Value(0.01)}), [CLAIM])
    assert (book.claims[0]["verdict"], book.claims[0]["note"]) == (
        "inconclusive",
        "exact_match has no interval",
    )


def test_names_and_claims_belong_to_one_study():
    book = chapter()
    book.add("a", result(), [CLAIM])
    book.add("a", result(), [CLAIM])
    with pytest.raises(ValueError, match="both have tables named matches"):
        book.add("b", result(measure="x", figure="y"), [])
    with pytest.raises(ValueError, match="both claim"):
        book.add("b", Result(), [CLAIM])
    with pytest.raises(ValueError, match="unknown claims"):
        book.add("c", Result(notes={"goldfish-9": "?"}), [CLAIM])


def test_a_second_write_keeps_the_other_studies(tmp_path):
    first = chapter(k=4)
    first.add("a", result(), [CLAIM])
    first.write(tmp_path)
    resumed = chapter(k=4)
    resumed.add("b", result(measure="other", table="others", figure="third"))
    resumed.write(tmp_path)
    resumed.add("a", result(value=0.2, ci95=(0.1, 0.3)), [CLAIM])
    resumed.write(tmp_path)
    document = read_results(tmp_path)
    assert set(document["values"]) == {"exact_match", "other"}
    assert set(document["tables"]) == {"matches", "others"}
    assert [claim["verdict"] for claim in document["claims"]] == ["fails"]


def test_another_runs_folder_is_refused(tmp_path):
    first = chapter(k=4)
    first.add("a", result())
    first.write(tmp_path)
    with pytest.raises(RunError, match="k 4 and not 8"):
        chapter(k=8).write(tmp_path)
    with pytest.raises(RunError, match="another run: its chapter"):
        ChapterResults("04_influence_functions", {"k": 4}, "cpu").write(tmp_path)


def test_same_results_same_bytes(tmp_path):
    for name in "ab":
        book = chapter(k=4)
        book.add("a", result(), [CLAIM])
        book.write(tmp_path / name, seconds=1, peak_memory_mb=1)
    inside = sorted(path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*.*"))
    assert len(inside) == 4
    for path in inside:
        assert (tmp_path / "a" / path).read_bytes() == (tmp_path / "b" / path).read_bytes(), path


def broken(document, change):
    document = json.loads(json.dumps(document))
    change(document)
    return " ".join(problems(document))


def test_broken_schemas_are_named(tmp_path):
    book = chapter()
    book.add("a", result(), [CLAIM])
    book.write(tmp_path)
    document = read_results(tmp_path)
    assert not list(problems(document))
    cases = [
        (lambda d: d.update(schema=2), "'schema' is 2"),
        (lambda d: d.pop("device"), "'device' is missing"),
        (lambda d: d.update(seconds="3"), "'seconds'"),
        (lambda d: d["values"]["exact_match"].update(value="0.3"), "the value 'exact_match'"),
        (lambda d: d["values"]["exact_match"].update(ci95=[1]), "the value 'exact_match'"),
        (lambda d: d["values"]["exact_match"].pop("unit"), "the value 'exact_match'"),
        (lambda d: d["values"]["exact_match"].update(n=1.5), "the value 'exact_match'"),
        (lambda d: d["tables"].update(matches="/etc/passwd"), "the table 'matches'"),
        (lambda d: d["figures"]["curve"].update(file="../x.svg"), "the figure 'curve'"),
        (lambda d: d["figures"]["curve"].update(alt=""), "alt text"),
        (lambda d: d["claims"][0].pop("note"), "has not the fields"),
        (lambda d: d["claims"][0].update(rule="exact_match ~ 1"), "cannot be decided"),
        (lambda d: d["claims"][0].update(verdict="fails"), "its rule says 'holds'"),
    ]
    for change, message in cases:
        assert message in broken(document, change)


def test_unreadable_results_are_one_paragraph(tmp_path):
    with pytest.raises(RunError, match="not a chapter's results folder"):
        read_results(tmp_path)
    book = chapter()
    book.add("a", result())
    book.write(tmp_path)
    (tmp_path / "figures/curve.png").unlink()
    with pytest.raises(RunError, match=r"names figures/curve\.png"):
        read_results(tmp_path)
    for text in ("{", '{"schema": NaN}', "[]"):
        (tmp_path / "results.json").write_text(text)
        with pytest.raises(RunError, match=r"results\.json"):
            read_results(tmp_path)


def test_a_kill_between_files_leaves_the_old_results_whole(tmp_path, monkeypatch):
    book = chapter()
    book.add("a", result())
    book.write(tmp_path)
    book.add("b", result(measure="other", table="others", figure="third"))

    def stop(path, value):
        raise KeyboardInterrupt

    with monkeypatch.context() as dying:
        dying.setattr(files, "write_json", stop)
        with pytest.raises(KeyboardInterrupt):
            book.write(tmp_path)
    assert set(read_results(tmp_path)["values"]) == {"exact_match"}
    book.write(tmp_path)
    assert set(read_results(tmp_path)["values"]) == {"exact_match", "other"}


@pytest.mark.parametrize("part", ["write_json", "write_bytes"])
def test_a_folder_that_cannot_be_written_to_is_said_in_one_paragraph(tmp_path, monkeypatch, part):
    book = chapter()
    book.add("a", result())
    book.write(tmp_path)

    def no_space(path, content):
        raise OSError(28, "No space left on device")

    book.add("b", result(measure="other", table="others", figure="third"))
    with monkeypatch.context() as full:
        full.setattr(files, part, no_space)
        with pytest.raises(RunError, match=r"cannot be written to .*: No space left on device"):
            book.write(tmp_path)
    assert set(read_results(tmp_path)["values"]) == {"exact_match"}
