"""The built site: three editions from one run, without executing, without a network."""

import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
import toy

from palimpsest.book.build import build
from palimpsest.book.contents import Book, this_book
from palimpsest.cli import main
from palimpsest.core.errors import UserError


@pytest.fixture(scope="module")
def site_book(half, shared_book: Book, tmp_path_factory) -> Book:
    """The toy book with its pages, and its run with both chapters as reference."""
    made = toy.make_book(tmp_path_factory.mktemp("site") / "toybook")
    toy.make_pages(made)
    # The run was made with the shared book, which its notebooks name.
    for name in ("01_toy", "02_second_toy"):
        toy.edit(made, name, str(made.root), str(shared_book.root))
    shutil.copytree(half.out, made.reference)
    return made


@pytest.fixture(scope="module")
def reader(site_book: Book) -> Path:
    site = build(site_book)
    assert site.warnings == []
    assert site.index == site_book.root / "_build" / "html" / "index.html"
    return site.index.parent


class _Links(HTMLParser):
    """Everything that a page loads or points to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.images: list[dict] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        if tag in ("script", "img", "iframe", "source", "video", "link"):
            self.loaded += [found[key] for key in ("src", "href") if found.get(key)]
        if tag == "img":
            self.images.append(found)


def pages(site: Path) -> dict[str, str]:
    found = [path for path in site.rglob("*.html") if "_static" not in path.parts]
    return {str(path.relative_to(site)): path.read_text() for path in found}


def words(html: str) -> str:
    article = html.split('<article class="bd-article"')[-1].split("</article>")[0]
    flowing = re.sub(r"</?(span|em|strong|a|code)\b[^>]*>", "", article)
    return " ".join(re.sub(r"<[^>]+>", " ", flowing).split())


def test_values_and_readings_are_those_of_the_run(reader):
    page = (reader / "chapters" / "01_toy.html").read_text()
    text = words(page)
    assert "The size is 0.9, that is 0.9 (95 % interval 0.8 to 0.95, n = 3)" in text
    assert "Large it is, at 0.90." in text
    assert "Its age was not measured." in text
    for other in ("Small it is", "Who knows", "Nobody looked", "Middle-aged"):
        assert other not in page
    assert 'class="verdict verdict-holds"' in page
    assert "measured 0.9 (95 % interval 0.8 to 0.95, n = 3)" in text
    assert "no toy has a birthday" in text


def test_figures_have_number_caption_and_alternative_text(reader):
    page = (reader / "chapters" / "01_toy.html").read_text()
    images = {image["alt"]: image["src"] for image in _Links(page).images if image.get("alt")}
    assert set(images) == {"A line.", "Bars & more.", "A triangle."}
    for source in images.values():
        assert source.endswith(".svg")
        assert (reader / "chapters" / source).resolve().is_file()
    assert 'id="fig-sizes"' in page
    text = words(page)
    assert "Figure 1.1 Sizes of" in text
    assert "see Figure 1.2" in text
    assert "Figure 1.2 The same as bars." in text
    assert "see Figure 1.1 and Exercise 1.1" in text
    # A figure that is none of a study's has its caption from the cell's metadata.
    assert "Figure 1.3 A plain one, unlike Figure 1.2." in text


def test_glossary_bibliography_and_equations_work(reader):
    page = (reader / "chapters" / "01_toy.html").read_text()
    assert 'href="../book/intro.html#term-large"' in page
    assert 'href="../book/claims.html#id' in page or 'class="citation' in page
    assert r"\cancel{x} = \E[y]" in page


def test_the_run_is_described_and_its_claims_listed(reader):
    intro = words((reader / "book" / "intro.html").read_text())
    assert "smoke, seed 0" in intro
    assert "02_second_toy failed smoke cpu" in intro
    claims = words((reader / "book" / "claims.html").read_text())
    assert "Chapter 1: 01_toy" in claims
    assert "toy-1 · Toy 2026, section 1 · grade P" in claims


def test_a_failed_chapter_is_a_page_with_a_notice(reader):
    text = words((reader / "chapters" / "02_second_toy.html").read_text())
    assert "Failed in this run The chapter stopped in code cell 4" in text
    assert "ValueError: boom <b>" in text.replace("&lt;", "<").replace("&gt;", ">")


def test_nothing_comes_from_the_network(reader):
    for name, text in pages(reader).items():
        remote = [link for link in _Links(text).loaded if re.match(r"(https?:)?//", link)]
        assert remote == [], name
        assert "unpkg.com" not in text
        assert "cdn." not in text
        for link in _Links(text).loaded:
            path = (reader / name).parent / link.split("?")[0].split("#")[0]
            assert path.exists() or link.startswith("data:"), (name, link)
    assert (reader / "_static" / "vendor" / "mathjax" / "tex-svg-full.js").is_file()
    assert "secretansw" in (reader / "searchindex.js").read_text()


def test_the_readers_edition_folds_the_solutions(reader):
    page = (reader / "chapters" / "01_toy.html").read_text()
    assert re.search(r'class="solution[^"]*\bdropdown\b', page)
    assert "secretcode" in page
    everything = "".join(pages(reader).values())
    assert "lecturernote" not in everything
    source = (reader / "_sources" / "chapters" / "01_toy.ipynb").read_text()
    assert "secretanswer" in source
    assert "lecturernote" not in source


def test_the_students_edition_has_no_solution_anywhere(site_book):
    site = build(site_book, edition="student")
    assert site.warnings == []
    assert site.index.parent.name == "html-student"
    for path in site.index.parent.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            for secret in (b"secretansw", b"secretcod", b"sol-1-1", b"lecturernot"):
                assert secret not in content, path
    page = (site.index.parent / "chapters" / "01_toy.html").read_text()
    assert "What is the chance of heads?" in page
    assert "not yet" not in page
    # Students are given the notebook, without the solutions.
    source = site.index.parent / "_sources" / "chapters" / "01_toy.ipynb"
    assert "What is the chance of heads?" in source.read_text()
    json.loads(source.read_text())


def test_the_lecturers_edition_has_solutions_open_and_notes(site_book, half, tmp_path, capsys):
    out = tmp_path / "site"
    argv = ["build", "--run", str(half.out), "--edition", "lecturer", "--out", str(out)]
    assert main(argv, book=site_book) == 0
    assert f"Open {out / 'index.html'}" in capsys.readouterr().out
    page = (out / "chapters" / "01_toy.html").read_text()
    assert "lecturernote" in page
    assert re.search(r'class="solution[^"]*"', page)
    assert not re.search(r'class="solution[^"]*\bdropdown\b', page)


def test_mistakes_on_a_page_are_warnings_and_a_missing_run_is_none(site_book, tmp_path, capsys):
    book = Book(tmp_path / "toybook", site_book.specs)
    shutil.copytree(site_book.root, book.root, ignore=shutil.ignore_patterns("_build"))
    wrong = "\n\n{value}`sizee` {value}`size:zz` {value}`01_toy.size`\n\n" \
        "```{reading} toy-9\nholds: a\nfails: b\ninconclusive: c\n```\n"  # fmt: skip
    toy.edit(book, "01_toy", "Is the toy", f"{wrong}\n\nIs the toy")
    assert main(["build"], book=book) == 1
    said = capsys.readouterr().err
    assert "the run has no value 'sizee' of chapter 01_toy" in said
    assert "'zz' is no format for a number" in said
    assert "reading 'toy-9': no text for not-tested" in said
    assert "reading 'toy-9': the run has no such claim" in said
    # Without the run the same page only lacks its results; what is wrong with it is still said.
    shutil.rmtree(book.reference)
    assert main(["build"], book=book) == 1
    said = capsys.readouterr().err
    assert "reading 'toy-9': no text for not-tested" in said
    assert "palimpsest: 1 warnings" in said
    text = words((book.root / "_build" / "html" / "chapters" / "01_toy.html").read_text())
    assert "Not run This chapter is not part of the run" in text
    assert "the figure (not in this run)" in text


def test_a_site_does_not_replace_something_else(site_book, tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match="holds something that is not a site"):
        build(site_book, out=tmp_path)
    with pytest.raises(UserError, match="is not a folder"):
        build(site_book, out=tmp_path / "thesis.txt")
    assert (tmp_path / "thesis.txt").read_text() == "mine"


def test_every_page_is_in_the_table_of_contents():
    root = this_book().root
    toc = (root / "_toc.yml").read_text()
    written = [f"book/{path.stem}" for path in (root / "book").glob("*.md")]
    written += [f"chapters/{name}" for name in this_book().written()]
    assert sorted(re.findall(r"(?:root|file): (\S+)", toc)) == sorted(written)


def test_plain_jupyter_book_builds_the_book_without_warnings(tmp_path):
    command = [sys.executable, "-c", "from jupyter_book.cli.main import main; main()", "build",
               str(this_book().root), "--path-output", str(tmp_path),
               "-n", "-W", "--keep-going", "-q"]  # fmt: skip
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout[-3000:] + ran.stderr[-3000:]
    site = tmp_path / "_build" / "html"
    for text in pages(site).values():
        assert not [link for link in _Links(text).loaded if re.match(r"(https?:)?//", link)]
