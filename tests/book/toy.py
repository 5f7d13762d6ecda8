"""A small book for the tests: two chapters, their studies, a model of a few thousand weights."""

import json
import sys
from pathlib import Path

import nbformat
import yaml

from palimpsest.book.contents import Book
from palimpsest.core import places
from palimpsest.studies import ChapterSpec

STUDIES = '''
"""Studies of a toy chapter."""

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from palimpsest.core import plots
from palimpsest.core.results import Claim, Figure, Result, Value
from palimpsest.core.study import study


@dataclass(frozen=True)
class Parameters:
    people: int = 5
    rate: float = 0.1
    label: str = "toy"
    fast: bool = True
    layers: tuple[int, ...] = (0, 1)
    fail: bool = False
    slow: float = 0.0
    counter: str | None = None


CLAIM = Claim("toy-1", "The toy is large.", "Toy 2026, section 1", "P", "size", "size > 0.5")
UNTESTED = Claim("toy-2", "The toy is old.", "Toy 2026, section 2", "C", "age", "age > 3")
SMALL = Claim("toy-3", "The toy is small.", "Toy 2026, section 3", "P", "width", "width < 0.3")


def draw(people, seed):
    return np.random.default_rng(seed).random(people)


def count(counter, slow):
    """Leave a mark for every time that this is computed."""
    if counter:
        with Path(counter).open("a") as stream:
            stream.write("x")
    time.sleep(slow)
    return 1


@study(claims=[CLAIM, UNTESTED])
def size(ctx):
    """How large is the toy?"""
    numbers = ctx.cell(draw, people=ctx.parameters.people, seed=ctx.seed)
    figure, axes = plots.figure(4, 2)
    axes.plot(numbers)
    axes.set(xlabel="person", ylabel="size")
    other, axes = plots.figure(4, 2)
    axes.bar(range(len(numbers)), numbers)
    axes.set(xlabel="person", ylabel="size")
    return Result(
        values={"size": Value(0.9, (0.8, 0.95), len(numbers), "fraction")},
        tables={"numbers": pd.DataFrame({"person": range(len(numbers)), "size_of_toy": numbers})},
        figures={
            "sizes": Figure(figure, "Sizes of $n$ toys; see {numref}`fig-bars`.", "A line."),
            "bars": Figure(other, "The same as bars.", "Bars & more."),
        },
        notes={"toy-2": "no toy has a birthday"},
    )


@study(claims=[SMALL])
def width(ctx):
    """How wide is it?"""
    ctx.cell(count, counter=ctx.parameters.counter, slow=ctx.parameters.slow)
    if ctx.parameters.fail:
        raise ValueError("boom <b>")
    return Result(values={"width": Value(0.31, (0.2, 0.4), 7)})


STUDIES = {"size": size, "width": width}
'''

ANSWERS = """
from palimpsest.studies.answers import answer


@answer("1.1")
def half(given):
    if not 0 <= given <= 1:
        return "A share lies between 0 and 1."
    return None if abs(given - 0.5) < 1e-6 else "Think of a coin."
"""

PARAMETERS = """\
model: str | None = None  # model: palimpsest-m, a hub id, or a folder
profile: str | None = None  # smoke, quick, standard or paper
seed: int | None = None  # seed of everything random
device: str | None = None  # auto, cpu or cuda
dtype: str | None = None  # auto, float32 or bfloat16
data: str | None = None  # world, or a file or folder of text
out: str | None = None  # run folder to record into
people: int | None = None  # how many
rate: float | None = None  # learning rate
label: str | None = None  # a word
fast: bool | None = None  # whether to hurry
layers: tuple[int, ...] | None = None  # which layers
fail: bool | None = None  # whether to fail
slow: float | None = None  # seconds to sleep
counter: str | None = None  # file to mark"""

PROSE = """\
# The toy

Is the toy {term}`large`? {cite:t}`toy2026` says so, and $\\cancel{x} = \\E[y]$.

The size is {value}`size:.1f`, that is {value-ci}`size`; see {numref}`fig-sizes` and
{ref}`ex-1-1`.
"""

READING = """\
```{reading} toy-1
holds: Large it **is**, at {value}`size:.2f`.
fails: Small it is.

  With a second paragraph.
inconclusive: Who knows?
not-tested: Nobody looked.
```

```{reading} toy-2
holds: Old.
fails: Young.
inconclusive: Middle-aged.
not-tested: Its age was not measured.
```
"""

EXERCISE = """\
## Exercises

```{exercise} A coin
:label: ex-1-1

Easy, 2 minutes. What is the chance of heads?
```
"""

SOLUTION = """\
```{solution-start} ex-1-1
:label: sol-1-1
:class: dropdown
```

The secretanswer is one half.
"""

NOTE = """\
```{lecturer-note}
The lecturernote: ask for a show of hands.
```
"""

INTRO = """\
# A toy book

```{run-info}
```

Glossary:

```{glossary}
large
  Not small.
```
"""

BIB = """\
@article{toy2026, author = {Toy, Ann}, title = {Toys}, journal = {J}, year = {2026}}
"""


def notebook(name: str, opening: str, *, with_exercise: bool) -> nbformat.NotebookNode:
    """A chapter's notebook, as the authors write it: no outputs."""
    v4 = nbformat.v4
    path = "import sys; sys.path.insert(0, {folder!r})\n"
    cells = [
        v4.new_markdown_cell(PROSE if with_exercise else "# The second toy\n\n{value}`width`"),
        v4.new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]}),
        v4.new_code_cell(path + opening, metadata={"tags": ["remove-input"]}),
        v4.new_code_cell('size = chapter.study("size")\nsize'),
    ]
    if with_exercise:
        cells += [
            v4.new_code_cell('size.figure("sizes")'),
            v4.new_code_cell('display(size.figure("bars"))\nsize.table("numbers")'),
            v4.new_code_cell(DRAWING, metadata={"mystnb": PLAIN}),
            v4.new_markdown_cell(READING),
        ]
    cells += [
        v4.new_code_cell('width = chapter.study("width")\nfloat(width.value("width"))'),
        v4.new_code_cell("chapter.close()"),
    ]
    if with_exercise:
        cells += [
            v4.new_markdown_cell(EXERCISE),
            v4.new_markdown_cell(SOLUTION),
            v4.new_code_cell(
                'from palimpsest import check\nprint("secretcode", 1 / 2)',
                metadata={"tags": ["solution"]},
            ),
            v4.new_markdown_cell("```{solution-end}\n```"),
            v4.new_markdown_cell(NOTE),
        ]
    for number, cell in enumerate(cells):
        cell["id"] = f"{name[:2]}-{number}"
    return v4.new_notebook(cells=cells, metadata={"kernelspec": KERNEL})


DRAWING = """\
from IPython.display import SVG

SVG('<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><path d="M0 0h9v9"/></svg>')"""
PLAIN = {
    "figure": {"name": "fig-plain", "caption": "A plain one, unlike {numref}`fig-bars`."},
    "image": {"alt": "A triangle."},
}
OPENING = """\
from pathlib import Path
from palimpsest.book.chapter import open_chapter
from palimpsest.book.contents import Book
from palimpsest.studies import ChapterSpec

book = Book(Path({root!r}), {{n: ChapterSpec(n, t, m) for n, t, m in {specs!r}}})
chapter = open_chapter({name!r}, globals(), book=book)
chapter"""
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}


def the_book(root: Path) -> Book:
    """The toy book in ``root``; its module of studies is called ``toy_studies``."""
    specs = {
        name: ChapterSpec(name, title, module)
        for name, title, module in (
            ("01_toy", "The toy", "toy_studies"),
            ("02_second_toy", "The second toy", "toy_studies"),
            ("03_unwritten", "The unwritten", None),
        )
    }
    return Book(root, specs)


def make_book(root: Path) -> Book:
    """Write the toy book into ``root``."""
    book = the_book(root)
    book.chapters.mkdir(parents=True)
    (root / "book").mkdir()
    (book.chapters / "toy_studies.py").write_text(STUDIES)
    (book.chapters / "toy_studies_answers.py").write_text(ANSWERS)
    for name in ("01_toy", "02_second_toy"):
        listed = [(spec.name, spec.title, spec.module) for spec in book.specs.values()]
        opening = OPENING.format(root=str(root), specs=listed, name=name)
        made = notebook(name, opening, with_exercise=name == "01_toy")
        for cell in made.cells:
            cell.source = cell.source.replace("{folder!r}", repr(str(book.chapters)))
        nbformat.write(made, book.notebook(name))
    profile = {"seconds": 10, "memory_mb": 500, "parameters": {"people": 6}}
    smoke = {"seconds": 3, "memory_mb": 400, "parameters": {"people": 3}}
    profiles = {name: {"smoke": smoke, "quick": profile} for name in ("01_toy", "02_second_toy")}
    (book.chapters / "profiles.yaml").write_text(yaml.safe_dump(profiles))
    return book


def make_pages(book: Book) -> None:
    """Give the toy book what a site needs: the real configuration, and pages of its own."""
    config = yaml.safe_load((places.root() / "_config.yml").read_text())
    config["title"] = "Toys"
    (book.root / "_config.yml").write_text(yaml.safe_dump(config))
    parts = [{"caption": "Toys", "numbered": True, "chapters": [
        {"file": "chapters/01_toy"}, {"file": "chapters/02_second_toy"}]},
        {"caption": "Back", "chapters": [{"file": "book/claims"}]}]  # fmt: skip
    toc = {"format": "jb-book", "root": "book/intro", "parts": parts}
    (book.root / "_toc.yml").write_text(yaml.safe_dump(toc))
    (book.root / "book" / "intro.md").write_text(INTRO)
    (book.root / "book" / "claims.md").write_text(
        "# Claims\n\n```{claims}\n```\n\n```{bibliography}\n```\n"
    )
    (book.root / "book" / "references.bib").write_text(BIB)
    for folder in ("_static", "extra"):
        (book.root / "book" / folder).symlink_to(places.root() / "book" / folder)


def make_model(folder: Path, seed: int = 0) -> Path:
    """A Llama of a few thousand weights with a tokenizer of single words."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    words = {word: n for n, word in enumerate(["<unk>", "<s>", "</s>", "a", "toy", "is", "large"])}
    rules = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    rules.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=rules, unk_token="<unk>", bos_token="<s>", eos_token="</s>"
    )
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(words), hidden_size=16, intermediate_size=32, num_hidden_layers=2,
        num_attention_heads=2, max_position_embeddings=32,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def forget_toy_modules() -> None:
    """Other tests have toy modules of the same name in other folders."""
    for name in ("toy_studies", "toy_studies_answers"):
        sys.modules.pop(name, None)


def edit(book: Book, chapter: str, old: str, new: str) -> None:
    """Replace text in a chapter's notebook."""
    path = book.notebook(chapter)
    content = json.loads(path.read_text())
    for cell in content["cells"]:
        source = "".join(cell["source"])
        cell["source"] = source.replace(old, new)
    path.write_text(json.dumps(content))
