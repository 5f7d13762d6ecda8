"""The book itself: its chapters, its reference run, and prose that never states a result."""

import json
import re

import pytest

from palimpsest.book.contents import this_book
from palimpsest.book.manifest import read_manifest
from palimpsest.book.parameters import disagreements, read_profiles, resolve
from palimpsest.cli import main
from palimpsest.core.places import reference
from palimpsest.core.results import read_results

BOOK = this_book()
WRITTEN = BOOK.written()


def cells(chapter: str, kind: str) -> list[dict]:
    notebook = json.loads(BOOK.notebook(chapter).read_text())
    return [cell for cell in notebook["cells"] if cell["cell_type"] == kind]


def source(cell: dict) -> str:
    return "".join(cell["source"])


@pytest.mark.parametrize("chapter", WRITTEN)
def test_the_parameters_cell_says_what_the_code_says(chapter):
    assert disagreements(BOOK, chapter) == []
    assert {"smoke", "quick", "standard", "paper"} <= set(read_profiles(BOOK)[chapter])
    for profile in read_profiles(BOOK)[chapter]:
        resolve(BOOK, chapter, profile, {})


@pytest.mark.parametrize("chapter", WRITTEN)
def test_notebooks_are_committed_without_outputs_and_with_short_cells(chapter):
    code = cells(chapter, "code")
    assert not any(cell["outputs"] or cell["execution_count"] for cell in code)
    lengths = sorted(len(source(cell).splitlines()) for cell in code)
    assert lengths[len(lengths) // 2] <= 12


@pytest.mark.parametrize("chapter", WRITTEN)
def test_claims_have_a_grade_and_null_data(chapter):
    for study in BOOK.studies(chapter).STUDIES.values():
        assert study.null is not None or not study.claims
        for claim in study.claims:
            assert claim.grade in {"text", "code", "known", "ours"}
            assert re.search(r"arXiv:\d{4}\.\d{5}", claim.source)


@pytest.mark.parametrize("chapter", WRITTEN)
def test_every_claim_is_read_once(chapter):
    text = "\n".join(source(cell) for cell in cells(chapter, "markdown"))
    read = re.findall(r"^```\{reading\} (\S+)", text, flags=re.MULTILINE)
    studies = BOOK.studies(chapter).STUDIES.values()
    assert sorted(read) == sorted(claim.id for study in studies for claim in study.claims)


# A result is a number with a decimal point or a per cent sign. Definitions, formulas, code,
# exercises (whose numbers are made up) and the level of an interval are none.
NOT_PROSE = re.compile(
    r"````\{exercise\}.*?^````$|````\{solution-start\}.*?````\{solution-end\}"
    r"|```\{.*?^```$|\$\$.*?\$\$|\$[^$]*\$|`[^`]*`|^    .*?$",
    flags=re.DOTALL | re.MULTILINE,
)
RESULT = re.compile(r"\d+\.\d+|\d+(?:\.\d+)? ?(?:%|per cent)")
LEVEL = re.compile(r"95 %")


def prose(chapter: str) -> str:
    shown = [
        source(cell)
        for cell in cells(chapter, "markdown")
        if not cell["id"].startswith("solution") and "{solution-start}" not in source(cell)
    ]
    return LEVEL.sub("", NOT_PROSE.sub("", "\n\n".join(shown)))


@pytest.mark.parametrize("chapter", WRITTEN)
def test_prose_states_no_result(chapter):
    assert RESULT.findall(prose(chapter)) == []


def test_a_result_in_prose_would_be_found():
    text = "Intervals are 95 % and $x = 0.3$. The unlearned model keeps 0.43 of it, or 43 %."
    assert RESULT.findall(LEVEL.sub("", NOT_PROSE.sub("", text))) == ["0.43", "43 %"]


@pytest.mark.parametrize("chapter", WRITTEN)
def test_the_reference_run_is_whole(chapter):
    entry = read_manifest(reference())["chapters"][chapter]
    assert entry["status"] == "finished"
    assert (reference() / "chapters" / f"{chapter}.ipynb").is_file()
    document = read_results(reference() / "results" / chapter)
    studies = BOOK.studies(chapter).STUDIES.values()
    assert {claim["id"] for claim in document["claims"]} == {
        claim.id for study in studies for claim in study.claims
    }


@pytest.mark.parametrize("chapter", WRITTEN)
def test_a_chapter_runs_on_the_shipped_model(chapter, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PALIMPSEST_CACHE", str(tmp_path / "cache"))
    out = tmp_path / "run"
    assert main(["run", chapter, "--profile", "smoke", "--out", str(out)]) == 0
    document = read_results(out / "results" / chapter)
    assert document["parameters"]["profile"] == "smoke"
    whole = read_manifest(out)["chapters"][chapter]["seconds"]
    assert 0.2 * whole < document["seconds"] <= whole
    assert main(["run", chapter, "--profile", "smoke", "--out", str(out), "--resume"]) == 0
    assert main(["run", chapter, "--profile", "smoke", "--out", str(out)]) == 2
    assert "--resume" in capsys.readouterr().err
