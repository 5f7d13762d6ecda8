"""Claims, comparisons, the doctor, and marks of exercises."""

import json
import shutil

import pandas as pd
import pytest
import toy

from palimpsest.book.claims import ledger
from palimpsest.book.compare import compare
from palimpsest.book.doctor import examine
from palimpsest.book.exercises import check
from palimpsest.book.manifest import new_entry, new_manifest, write_manifest
from palimpsest.cli import main
from palimpsest.core.errors import RunError, UserError
from palimpsest.core.results import ChapterResults, Claim, Result, Value
from palimpsest.studies import ChapterSpec
from palimpsest.studies.answers import answer

CLAIMS = [Claim("c-1", "Large.", "Toy", "P", "size", "size >= 0.5"),
          Claim("c-2", "Old.", "Toy", "P", "age", "age > 3")]  # fmt: skip


def make_run(folder, size, low, high, seed=0):
    identity = {"model": "toy", "weights_sha256": "0" * 64, "tokenizer_sha256": "1" * 64}
    manifest = new_manifest(
        identity, profile="quick", seed=seed, data="world", device="cpu", dtype="float32"
    )
    manifest["chapters"]["01_toy"] = new_entry("quick", "cpu", "2" * 64) | {"status": "finished"}
    manifest["parameters"]["01_toy"] = {"people": 5}
    results = ChapterResults("01_toy", {"people": 5}, "cpu")
    values = {"size": Value(size, (low, high), 9), "extra": Value(1.0)}
    results.add("s", Result(values=values), CLAIMS)
    results.write(folder / "results" / "01_toy")
    write_manifest(folder, manifest)
    return folder


@pytest.fixture
def two(tmp_path):
    return [
        make_run(tmp_path / "one", 0.9, 0.8, 0.95),
        make_run(tmp_path / "two", 0.2, 0.1, 0.3, 1),
    ]


def test_the_ledger_in_three_formats(two, capsys):
    assert main(["claims", *map(str, two)]) == 0
    table = capsys.readouterr().out
    assert "does not hold" in table
    assert "size ≥ 0.5" in table
    assert "0.9 (95 % interval 0.8 to 0.95, n = 9)" in table
    assert "age was not measured" in table
    assert main(["claims", str(two[0]), "--format", "json"]) == 0
    entries = json.loads(capsys.readouterr().out)
    assert [(e["id"], e["verdict"], e["run"], e["n"]) for e in entries] == [
        ("c-1", "holds", "one", 9), ("c-2", "not-tested", "one", None)]  # fmt: skip
    assert main(["claims", str(two[0]), "--format", "markdown"]) == 0
    assert capsys.readouterr().out.startswith("| claim | verdict |")


def test_runs_of_the_same_name_are_told_apart(two, tmp_path):
    shutil.copytree(two[0], tmp_path / "else" / "one")
    names = {entry["run"] for entry in ledger([two[0], tmp_path / "else" / "one"])}
    assert names == {str(two[0]), str(tmp_path / "else" / "one")}


def test_broken_results_are_refused(two):
    path = two[0] / "results" / "01_toy" / "results.json"
    path.write_text(path.read_text().replace('"holds"', '"fails"'))
    with pytest.raises(RunError, match="its rule says 'holds'"):
        ledger(two)


def test_a_comparison_finds_what_differs(two, tmp_path, capsys):
    found = compare(two)
    assert found.settings.to_dict("records") == [{"setting": "seed", "one": "0", "two": "1"}]
    assert found.values.set_index("value")["apart"].to_dict() == {"size": "yes", "extra": ""}
    assert found.claims.set_index("claim")["apart"].to_dict() == {"c-1": "yes", "c-2": ""}
    out = tmp_path / "comparison"
    assert main(["compare", *map(str, two), "--out", str(out)]) == 0
    assert "does not hold" in capsys.readouterr().out
    columns = list(pd.read_csv(out / "claims.csv").columns)
    assert columns == ["chapter", "claim", "one", "two", "apart"]
    assert "## Values" in (out / "comparison.md").read_text()


def test_a_comparison_with_itself_or_into_a_file_is_refused(two, tmp_path, capsys):
    assert main(["compare", str(two[0]), str(two[0])]) == 2
    (tmp_path / "file").write_text("")
    assert main(["compare", *map(str, two), "--out", str(tmp_path / "file" / "x")]) == 2
    assert "cannot be written" in capsys.readouterr().err


def texts(findings, state):
    return [finding.text for finding in findings if finding.state == state]


def test_the_doctor_finds_what_is_stale_broken_and_missing(book, half, model):
    findings = examine(book, model=str(model))
    assert any("reference run is empty" in text for text in texts(findings, "warning"))
    assert not texts(findings, "broken")
    assert any("02_second_toy, quick: about 10 s" in text for text in texts(findings, "ok"))
    shutil.copytree(half.out, book.reference)
    findings = examine(book, profile="smoke", model=str(model))
    # This copy of the book opens its chapters in another folder: its code cells differ.
    assert "The reference run: 01_toy is stale, its code has changed." in texts(findings, "warning")
    assert "The reference run: 02_second_toy is failed." in texts(findings, "warning")
    assert not any("quick: about" in text for text in texts(findings, "ok"))
    (book.reference / "results" / "01_toy" / "tables" / "numbers.csv").unlink()
    toy.edit(book, "01_toy", "rate: float | None = None  # learning rate\n", "")
    broken = " ".join(texts(examine(book, model=str(model)), "broken"))
    assert "numbers.csv" in broken
    assert "'rate' is missing in the cell" in broken


def test_the_doctor_knows_a_current_reference(shared_book, half, model, monkeypatch):
    monkeypatch.setattr(type(shared_book), "reference", property(lambda self: half.out))
    findings = examine(shared_book, model=str(model))
    assert "The reference run: 01_toy is up to date." in texts(findings, "ok")


def test_the_doctor_fails_on_a_model_that_cannot_be_used(shared_book, capsys):
    assert main(["doctor", "--model", "./none"], book=shared_book) == 1
    assert "broken  Model ./none:" in capsys.readouterr().out


def test_an_answer_is_marked(shared_book):
    specs = shared_book.specs.values()
    right = check("1.1", 0.5, specs=specs)
    assert right
    assert str(right) == "Exercise 1.1: correct."
    assert str(check("ex-1-1", 0.4, specs=specs)) == "Exercise 1.1: not yet. Think of a coin."
    assert "between 0 and 1" in str(check("1.1", 7, specs=specs))
    odd = check("1.1", "heads", specs=specs)
    assert not odd
    assert "type str is not of the expected kind" in str(odd)
    assert "0.5" not in str(odd)
    assert "not-yet" in odd._repr_html_()


@pytest.mark.parametrize("number", ["1.9", "7.1", "", "x", 1.2])
def test_an_unknown_exercise_names_the_nearest(shared_book, number):
    with pytest.raises(UserError, match="There is no exercise"):
        check(number, 1, specs=shared_book.specs.values())


def test_chapters_without_checkers_are_no_error():
    with pytest.raises(UserError, match="There is no exercise"):
        check("8.1", 1, specs=[ChapterSpec("08_x", "X", "palimpsest.studies.nothing_here")])


def test_checkers_are_numbered_and_unique():
    with pytest.raises(ValueError, match=r"numbered like '1\.1'"):
        answer("one")

    def first(given):
        return None

    def second(given):
        return None

    answer("99.1")(first)
    with pytest.raises(ValueError, match="two checkers"):
        answer("99.1")(second)
