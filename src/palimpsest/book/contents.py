"""The book as folders and chapters: where its notebooks are, and what a reader may call them.

A chapter's notebook keeps to this form:

* the first code cell is tagged ``parameters`` and has one line for each tunable,
  ``name: type | None = None  # help``: the common ones (:class:`~.parameters.Common`), then the
  chapter's own (the ``Parameters`` dataclass of its studies module), in that order;
* the next code cell is
  ``from palimpsest.book.chapter import open_chapter; chapter = open_chapter("NN_name", globals())``
  followed by ``chapter``, which shows the resolved parameters;
* the last code cell is ``chapter.close()``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

from palimpsest.core import places
from palimpsest.core.errors import UserError, nearest
from palimpsest.studies import CHAPTERS, ChapterSpec

PROFILES = ("smoke", "quick", "standard", "paper")


@dataclass(frozen=True)
class Book:
    """A book: its top folder (the one with ``_config.yml``) and its chapters by name."""

    root: Path
    specs: Mapping[str, ChapterSpec]

    @property
    def chapters(self) -> Path:
        """The folder of the notebooks and of ``profiles.yaml``."""
        return self.root / "chapters"

    @property
    def reference(self) -> Path:
        """The run from which the site is built by default."""
        return self.root / "data" / "reference"

    def notebook(self, name: str) -> Path:
        """The notebook of a chapter, whether or not it is written."""
        return self.chapters / f"{name}.ipynb"

    def written(self) -> list[str]:
        """Names of the chapters that have a notebook, in the book's order."""
        return [
            n for n, spec in self.specs.items() if studies_of(spec) and self.notebook(n).is_file()
        ]

    def find(self, word: str) -> str:
        """The name of the chapter that ``word`` means: a number, a name, or the start of one.

        Raises:
            UserError: no chapter or more than one is meant.
        """
        if word in self.specs:
            return word
        stems = {name.partition("_")[2]: name for name in self.specs}
        if word.isdecimal():
            hits = [n for n in self.specs if int(n.partition("_")[0]) == int(word)]
        else:
            plain = word.lower().replace("-", "_").removesuffix(".ipynb")
            names = {**stems, **{name: name for name in self.specs}}
            exact = names.get(plain)
            starts = sorted({n for key, n in names.items() if plain and key.startswith(plain)})
            hits = [exact] if exact else starts
        if len(hits) == 1:
            return hits[0]
        if hits:
            raise UserError(
                f"'{word}' may mean {' or '.join(hits)}. Write more of the name, or the number."
            )
        raise UserError(
            f"There is no chapter '{word}'; {nearest(word.lower(), [*stems, *self.specs])} "
            "A chapter is called by its number, its name or the start of its name."
        )

    def require_written(self, name: str) -> None:
        """Refuse a chapter that has no notebook yet.

        Raises:
            UserError: the chapter is not written.
        """
        if name not in self.written():
            ready = ", ".join(self.written()) or "none"
            raise UserError(
                f"Chapter {name} ('{self.specs[name].title}') is not written yet. Written: {ready}."
            )

    def studies(self, name: str) -> ModuleType:
        """Import the module of a chapter's studies (its ``Parameters`` and ``STUDIES``, and
        ``preflight(data, parameters, seed)`` where data can be unfit for it)."""
        module = studies_of(self.specs[name])
        if module is None:
            self.require_written(name)
            raise UserError(f"Chapter {name} names no module of studies.")
        return import_module(module)


def studies_of(spec: ChapterSpec) -> str | None:
    """The module of a chapter's studies: the one it names, else, by custom, that of its own name in
    ``palimpsest.studies``; None if there is neither."""
    custom = f"palimpsest.studies.{spec.name.partition('_')[2]}"
    return spec.module or (custom if find_spec(custom) else None)


def this_book() -> Book:
    """The book that this package belongs to."""
    return Book(places.root(), CHAPTERS)
