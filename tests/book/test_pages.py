"""The parts of the site that are text to text: editions, readings, pages with outputs, numbers."""

import json

import pandas as pd
import pytest

from palimpsest.book import show
from palimpsest.book.directives import split_reading
from palimpsest.book.editions import EDITIONS, for_edition
from palimpsest.book.inject import with_outputs
from palimpsest.book.run_data import RunData
from palimpsest.book.sources import same_code

PAGE = """\
# Title

```{exercise}
:label: ex-1-1
Question, with `code`.
```

````{solution-start} ex-1-1
:label: sol-1-1
````
SECRET text.

```python
SECRET = 1
```

:::{note}
SECRET note
:::
```{solution-end}
```

Between.

````{solution} ex-1-1
```python
SECRET = 2
```
````

:::{admonition} Outer
```{lecturer-note}
NOTE
```
stays
:::

```text
```{solution}
not a block, but text in one
```

After.
"""


def test_each_edition_leaves_out_what_it_must():
    assert for_edition(PAGE, ".md", "lecturer") == PAGE
    reader = for_edition(PAGE, ".md", "reader")
    assert "NOTE" not in reader
    assert "lecturer-note" not in reader
    assert reader.count("SECRET") == PAGE.count("SECRET")
    student = for_edition(PAGE, ".md", "student")
    assert "SECRET" not in student
    assert "NOTE" not in student
    for kept in ("Question", "Between.", "stays", "not a block, but text in one", "After."):
        assert kept in student
    assert "{exercise}" in student


@pytest.mark.parametrize("edition", EDITIONS)
def test_a_page_without_such_blocks_is_unchanged(edition):
    text = "# T\n\n```{note}\na\n```\n\n~~~python\n```\n~~~\n\n- list\n\n  ```\n  code\n  ```\n"
    assert for_edition(text, ".md", edition) == text


def test_a_gated_solution_spans_cells():
    def cell(kind, source, tags=()):
        return {"cell_type": kind, "source": source, "metadata": {"tags": list(tags)}}

    cells = [
        cell("markdown", ["A question.\n", "```{solution-start} ex\n", "```\n", "SECRET"]),
        cell("code", "SECRET = 1"),
        cell("markdown", "SECRET prose"),
        cell("markdown", "```{solution-end}\n```\nAfter."),
        cell("code", "shown = 1"),
        cell("code", "SECRET = 2", ["solution"]),
    ]
    made = json.loads(for_edition(json.dumps({"cells": cells}), ".ipynb", "student"))["cells"]
    assert "SECRET" not in json.dumps(made)
    assert [c["source"].strip() for c in made] == ["A question.", "After.", "shown = 1"]
    everything = for_edition(json.dumps({"cells": cells}), ".ipynb", "reader")
    assert json.loads(everything)["cells"] == cells


def test_a_reading_is_split_by_verdict():
    lines = [
        "holds: One {value}`x`.", "  More: of it.", "", "  Second paragraph.", "fails:",
        "```{note}", "A block.", "```", "inconclusive: c", "not-tested: d",
    ]  # fmt: skip
    texts, problems = split_reading(lines)
    assert problems == []
    assert texts["holds"] == (["One {value}`x`.", "More: of it.", "", "Second paragraph."], 0)
    assert texts["fails"] == (["", "```{note}", "A block.", "```"], 4)
    assert texts["not-tested"] == (["d"], 9)


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        (["holds: a", "fails: b", "inconclusive: c"], "no text for not-tested"),
        (["holds: a", "holds: b"], "two texts for 'holds'"),
        (["Hello.", "holds: a"], "text before the first verdict: 'Hello.'"),
        (
            ["holds:", "fails: b", "inconclusive: c", "not-tested: d"],
            "the text for 'holds' is empty",
        ),
        ([], "no text for holds, fails, inconclusive, not-tested"),
    ],
)
def test_what_is_wrong_with_a_reading_is_said(lines, problem):
    assert problem in split_reading(lines)[1]


@pytest.mark.parametrize(
    ("value", "form", "text"),
    [
        ({"value": 0.4321, "ci95": [0.31, 0.55], "n": 20}, "",
         "0.432 (95 % interval 0.31 to 0.55, n = 20)"),
        ({"value": 0.4321, "ci95": [0.31, 0.55], "n": None}, ".1f",
         "0.4 (95 % interval 0.3 to 0.6)"),
        ({"value": 3.0, "ci95": None, "n": 5}, "", "3 (n = 5)"),
        ({"value": -0.5, "ci95": [-1.0, 0.25], "n": 4}, "",
         "−0.5 (95 % interval −1 to 0.25, n = 4)"),
        ({"value": None, "ci95": None, "n": 5}, "", "–"),
        ({"value": 0.25, "ci95": None}, ".0%", "25%"),
    ],
)  # fmt: skip
def test_numbers_are_written_with_their_interval(value, form, text):
    assert show.with_interval(value, form) == text


def test_a_table_is_escaped_and_its_numbers_are_set_to_the_right():
    frame = pd.DataFrame({
        "who_is": ["<b>", None], "share": [0.12345, float("nan")], "count": [3, -4],
        "ok": [True, False],
    })  # fmt: skip
    html = show.BookTable(frame)._repr_html_()
    assert "<th>who is</th>" in html
    assert "<td>&lt;b&gt;</td>" in html
    assert html.count(f"<td>{show.MISSING}</td>") == 1
    assert '<td class="number">0.123</td>' in html
    assert '<td class="number">–</td>' in html
    assert '<th class="number">count</th>' in html
    assert "<td>True</td>" in html
    assert "<thead>" in show.BookTable(frame[:0])._repr_html_()


def test_parts_of_a_table_keep_its_style_and_named_indices_are_shown():
    frame = show.BookTable(
        {"who": ["a", "b", "b"], "share": [0.12345, 0.5, 1.0], "count": [1, 2, 3]}, digits=2
    )
    part = frame.query("count > 1")[["who", "share"]]
    assert part._repr_html_().startswith('<table class="palimpsest-table')
    assert '<td class="number">0.12</td>' in frame.head(1)._repr_html_()
    assert "<th>who</th>" in frame.groupby("who").mean()._repr_html_()
    wide = frame.pivot_table(index="who", values=["share", "count"], aggfunc=["mean"])
    assert '<th class="number">mean share</th>' in wide._repr_html_()


def test_same_code_ignores_comments_and_layout():
    assert same_code("a = 1  # one", "a  =  1")
    assert not same_code("a = 1", "a = 2")
    assert same_code("%time x", "%time x")
    assert not same_code("%time x", "%time y")


def page_of(half, shared_book, edit=lambda notebook: None, chapter="01_toy", run=None):
    notebook = json.loads(shared_book.notebook(chapter).read_text())
    edit(notebook)
    saved = {}

    def save(name: str, svg: str) -> str:
        saved[name] = svg
        return f"/figures/{name}.svg"

    run = run or RunData(half.out)
    return with_outputs(notebook, chapter, run, save), saved


def test_a_page_has_the_outputs_of_the_run(half, shared_book):
    page, saved = page_of(half, shared_book)
    assert not page.incomplete
    assert set(saved) == {"sizes", "bars"}
    assert all(svg.lstrip().startswith("<?xml") for svg in saved.values())
    text = json.dumps(page.notebook)
    assert "injected-parameters" not in text
    cells = page.notebook["cells"]
    (figure,) = [c for c in cells if "name: fig-bars" in c["source"]]
    assert figure["cell_type"] == "markdown"
    assert 'alt: "Bars & more."' in figure["source"]
    assert "The same as bars.\n```" in figure["source"]
    outputs = [o for c in cells if c["cell_type"] == "code" for o in c["outputs"]]
    assert not [o for o in outputs if o.get("name") == "stderr"]
    # Only the figure that is none of a study's stays in its cell.
    assert len([o for o in outputs if "image/svg+xml" in o.get("data", {})]) == 1
    assert any("palimpsest-table" in str(o.get("data", {}).get("text/html")) for o in outputs)


def test_prose_comes_from_the_chapter_and_changed_code_is_said(half, shared_book):
    def better(notebook):
        notebook["cells"][0]["source"] = "# The toy\n\nBetter words."

    page, _ = page_of(half, shared_book, better)
    assert not page.incomplete
    assert page.notebook["cells"][0]["source"] == "# The toy\n\nBetter words."

    def other(notebook):
        notebook["cells"][4]["source"] = 'size.figure("bars")'

    page, _ = page_of(half, shared_book, other)
    assert page.incomplete
    assert "Changed since the run" in page.notebook["cells"][0]["source"]

    def new(notebook):
        notebook["cells"].insert(1, {**notebook["cells"][4], "id": "new"})

    page, _ = page_of(half, shared_book, new)
    assert "One code cell has changed" in page.notebook["cells"][0]["source"]
    assert page.notebook["cells"][1]["outputs"] == []


def test_a_failed_chapter_shows_where_and_why(half, shared_book):
    page, _ = page_of(half, shared_book, chapter="02_second_toy")
    assert page.incomplete
    first = page.notebook["cells"][0]["source"]
    assert first.startswith("# The second toy\n\n::::{admonition} Failed in this run")
    assert "```text\nValueError: boom <b>\n```" in first
    shown = [c["source"] for c in page.notebook["cells"] if c["cell_type"] == "markdown"]
    assert any("This cell failed in this run" in source for source in shown)
    assert "Traceback" not in json.dumps(page.notebook)


def test_a_chapter_that_was_not_run_says_so(half, shared_book, tmp_path):
    page, saved = page_of(half, shared_book, run=RunData(tmp_path / "none"))
    assert page.incomplete
    assert saved == {}
    assert "`palimpsest run 1` makes a run with it." in page.notebook["cells"][0]["source"]
