"""What a chapter's notebook calls.

The second code cell of every chapter is::

    from palimpsest.book.chapter import open_chapter

    chapter = open_chapter("01_problem_setting", globals())
    chapter

and shows the parameters that hold. Then::

    same = chapter.study("same_as_retrained")   # runs the study; records it if `out` is given
    same                                        # its values and the verdicts on its claims
    same.figure("agreement")                    # as SVG, with caption and alternative text
    same.table("answers")                       # a DataFrame in the book's style
    same.value("agreement")                     # 0.43 (95 % interval 0.31 to 0.55, n = 20)
    chapter.lm                                  # the model, loaded on first use
    chapter.cell(function, **inputs)            # slow work outside a study, through the cache
    chapter.close()                             # time and memory; the last cell before exercises

After ``close()`` nothing is recorded, so that the solutions of exercises, which may run studies of
their own, change neither the results nor the chapter's time. ``papermill`` runs such a notebook
just as ``palimpsest run`` does: the parameters are resolved here, not by the command.
"""

import ast
import os
import sys
import time
import warnings
from collections.abc import Callable, Mapping
from functools import cached_property
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from palimpsest.book import manifest as runfolder
from palimpsest.book import recording, show
from palimpsest.book.contents import Book, this_book
from palimpsest.book.parameters import (
    COMMON,
    Common,
    Resolved,
    chapter_parameters,
    resolve,
    resolve_common,
)
from palimpsest.core import plots
from palimpsest.core.cache import Cache
from palimpsest.core.errors import UserError, nearest
from palimpsest.core.results import ChapterResults, Result, Value, judge, peak_memory
from palimpsest.core.study import Context, Study

if TYPE_CHECKING:
    from palimpsest.core.models import LanguageModel

INJECTED = "# Parameters\n"


def open_chapter(
    name: str, namespace: Mapping[str, Any], *, book: Book | None = None, cache: Cache | None = None
) -> "Chapter":
    """Resolve the parameters found in ``namespace`` and open the chapter.

    Args:
        name: the chapter's name, ``01_problem_setting``.
        namespace: the notebook's ``globals()``; a name that is None there was not given.
        book: the book the chapter belongs to, if it is not this one.
        cache: where the values of study cells are kept, if not in the user's cache.

    Raises:
        UserError: an unknown chapter, parameter or profile, a value of a wrong type, a model that
            cannot be loaded, or a run folder (``out``) that belongs to another run.
    """
    # The book shows how far a task has come in its own way, without widgets.
    warnings.filterwarnings("ignore", message="IProgress not found")
    book = book or this_book()
    name = book.find(name)
    own = chapter_parameters(book, name)
    for word in _injected(namespace):
        if word not in COMMON and word not in own:
            raise UserError(
                f"Chapter {name} has no parameter '{word}'; {nearest(word, [*COMMON, *own])}"
            )
    given = {key: namespace[key] for key in [*COMMON, *own] if namespace.get(key) is not None}
    common = resolve_common({key: given.pop(key) for key in COMMON if key in given})
    resolved = resolve(book, name, common.profile, given)
    chapter = Chapter(book, name, common, resolved, cache or Cache())
    if common.out is not None:
        chapter._record_into(Path(common.out).expanduser().absolute(), given)
    return chapter


class Chapter:
    """An open chapter; see the module's text for its use."""

    def __init__(
        self, book: Book, name: str, common: Common, resolved: Resolved, cache: Cache
    ) -> None:
        self.book, self.name, self.common, self.resolved = book, name, common, resolved
        self.title = book.specs[name].title
        self.studies: Mapping[str, Study] = book.studies(name).STUDIES
        self.cache = cache
        self._results: ChapterResults | None = None
        self._out: Path | None = None
        self._finish: Callable[[float], None] | None = None
        self._closed = False
        self._opened = time.monotonic()

    @cached_property
    def lm(self) -> "LanguageModel":
        """The model of this run, loaded on first use."""
        from palimpsest.core.models import load

        return load(self.common.model, self.common.device, self.common.dtype)

    @cached_property
    def context(self) -> Context:
        """What the studies are given; also for a notebook's own cells."""
        return Context(
            lm=self.lm,
            parameters=self.resolved.namespace(),
            seed=self.common.seed,
            data=self.common.data,
            cache=self.cache,
            progress=_say,
        )

    @property
    def parameters(self) -> Any:
        """The chapter's own resolved parameters, as attributes."""
        return self.context.parameters

    @property
    def device(self) -> str:
        """``cpu``, or the name of the card."""
        return recording.device_name(self.lm)

    def cell(self, function: Callable[..., Any], /, **inputs: Any) -> Any:
        """``function(**inputs)`` through the cache, as in a study."""
        return self.context.cell(function, **inputs)

    def study(self, name: str) -> "StudyView":
        """Run a study of this chapter (cells that are in the cache are not computed again).

        Raises:
            UserError: the chapter has no such study.
        """
        if name not in self.studies:
            raise UserError(
                f"Chapter {self.name} has no study '{name}'; {nearest(name, self.studies)}"
            )
        study = self.studies[name]
        result = study(self.context)
        if not self._closed:
            if self._results is None:
                self._results = ChapterResults(self.name, self._recorded_parameters(), self.device)
            self._results.add(name, result, study.claims)
            self._write()
        return StudyView(study, result)

    def close(self) -> None:
        """Record the chapter's time and memory. What runs after this is not recorded."""
        if self._closed:
            return
        if self._results is None:
            self._results = ChapterResults(self.name, self._recorded_parameters(), self.device)
        self._write()
        self._closed = True
        if self._finish is not None:
            self._finish(peak_memory())

    # --- recording ----------------------------------------------------------------------------

    def _recorded_parameters(self) -> dict[str, Any]:
        return {
            "model": self.common.model,
            "profile": self.common.profile,
            "seed": self.common.seed,
            "data": self.common.data,
            **self.resolved.values,
        }

    def _write(self) -> None:
        if self._out is not None and self._results is not None:
            folder = runfolder.results_folder(self._out, self.name)
            self._results.write(folder, seconds=time.monotonic() - self._opened)

    def _record_into(self, out: Path, given: dict[str, Any]) -> None:
        """Record into the run folder ``out``: that of the run which started this kernel, or, when
        the notebook was started by itself, one that this process makes and keeps locked."""
        if runfolder.written_by(out) != os.getppid():
            self._finish = recording.record_alone(
                self.book, self.name, self.common, self.resolved, given, self.lm
            )
        self._out = out

    # --- display ------------------------------------------------------------------------------

    def _rows(self) -> list[list[str]]:
        shown = {key: _plain(getattr(self.common, key)) for key in COMMON if key != "out"}
        if self.common.device == "auto":
            shown["device"] = f"{recording.chosen_device()} (auto)"
        rows = [[key, value, ""] for key, value in shown.items()]
        rows += [
            [key, _plain(value), {"default": "", "profile": "profile"}.get(origin, origin)]
            for (key, value), origin in zip(
                self.resolved.values.items(), self.resolved.origin.values(), strict=True
            )
        ]
        return rows

    def __repr__(self) -> str:
        table = show.rows_text(["parameter", "value", "from"], self._rows())
        return f"{self.name}: {self.title}\n{table}"

    def _repr_html_(self) -> str:
        table = show.rows_html(["parameter", "value", "from"], self._rows(), "parameters")
        return f"<p><strong>{escape(self.title)}</strong></p>{table}"


class StudyView:
    """What a study found, to be shown."""

    def __init__(self, study: Study, result: Result) -> None:
        self.name, self.summary, self.result = study.name, study.summary, result
        self.claims = [
            judge(claim, result.values, result.notes.get(claim.id, "")) for claim in study.claims
        ]

    def figure(self, name: str) -> show.FigureView:
        """A figure, with its caption and alternative text."""
        figure = self._one("figure", self.result.figures, name)
        svg = plots.svg(figure.draw).decode("utf-8")
        return show.FigureView(name, svg, figure.caption, figure.alt)

    def table(self, name: str, digits: int = 3) -> show.BookTable:
        """A table; floats are shown with ``digits`` significant digits."""
        return show.BookTable(self._one("table", self.result.tables, name), digits=digits)

    def value(self, name: str) -> show.ShownValue:
        """A number with its interval."""
        found: Value = self._one("value", self.result.values, name)
        return show.ShownValue(found.value, found.ci95, found.n, found.unit)

    def _one(self, kind: str, found: Mapping[str, Any], name: str) -> Any:
        if name not in found:
            raise UserError(f"Study '{self.name}' has no {kind} '{name}'; {nearest(name, found)}")
        return found[name]

    def _value_rows(self) -> list[list[str]]:
        return [[name.replace("_", " "), str(self.value(name))] for name in self.result.values]

    def _claim_rows(self) -> list[list[str]]:
        return [
            [c["id"], c["statement"], show.rule_words(c["rule"]), show.VERDICT_WORDS[c["verdict"]]]
            for c in self.claims
        ]

    def __repr__(self) -> str:
        parts = [f"{self.name}: {self.summary}"]
        if self.result.values:
            parts.append(show.rows_text(["value", "estimate"], self._value_rows()))
        if self.claims:
            parts.append(show.rows_text(["claim", "says", "rule", "verdict"], self._claim_rows()))
        return "\n\n".join(parts)

    def _repr_html_(self) -> str:
        parts = []
        if self.result.values:
            parts.append(show.rows_html(["value", "estimate"], self._value_rows(), "values"))
        if self.claims:
            head = ["claim", "says", "rule", "verdict"]
            parts.append(show.rows_html(head, self._claim_rows(), "claims"))
        return "".join(parts) or f"<p>{escape(self.summary)}</p>"


def _injected(namespace: Mapping[str, Any]) -> list[str]:
    """Names that papermill set: it only warns of unknown ones, and the default would be used."""
    cells = [cell for cell in namespace.get("In", []) if cell.startswith(INJECTED)]
    return [
        target.id
        for cell in cells[-1:]
        for node in ast.parse(cell).body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    ]


def _plain(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(str(item) for item in value)
    return str(value)


def _say(line: str) -> None:
    # Standard error: the command shows it while the chapter runs, the site leaves it out.
    print(line, file=sys.stderr, flush=True)
