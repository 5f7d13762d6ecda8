"""A chapter's page: the prose of its notebook with the outputs of a run.

The notebook in ``chapters/`` has the prose and no outputs; the run has outputs and perhaps older
prose. Cells are matched by their ids. A figure of a study becomes a figure of the page, with
number, caption, alternative text and the label ``fig-<name>``.
"""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from palimpsest.book.run_data import RunData
from palimpsest.book.show import FIGURE_KEY, SVG
from palimpsest.book.sources import same_code

SaveFigure = Callable[[str, str], str]

_HEADING = re.compile(r"^# .*$", re.MULTILINE)
_LANGUAGE = {"name": "python", "pygments_lexer": "ipython3"}


@dataclass(frozen=True)
class Shown:
    """A chapter's notebook to show, as JSON, and whether something of the run is missing in it."""

    notebook: dict[str, Any]
    incomplete: bool


def with_outputs(
    notebook: dict[str, Any], chapter: str, run: RunData, save_figure: SaveFigure
) -> Shown:
    """The notebook with the outputs of the run, and a notice under its title if some are missing.

    Args:
        notebook: the chapter as written.
        save_figure: takes a figure's name and SVG text and returns the path to refer to it by.
    """
    executed = run.notebook(chapter)
    ran = {cell.get("id"): cell for cell in (executed or {"cells": []})["cells"]}
    page = _Page(ran, save_figure)
    cells = [made for cell in notebook["cells"] for made in page.cells(cell)]
    notice = _notice(chapter, run, page.changed)
    metadata = {**notebook.get("metadata", {}), "language_info": _LANGUAGE}
    shown = {**notebook, "metadata": metadata, "cells": _with_notice(cells, notice)}
    return Shown(shown, notice is not None)


class _Page:
    def __init__(self, ran: dict[Any, dict[str, Any]], save_figure: SaveFigure) -> None:
        self.ran, self.save_figure = ran, save_figure
        self.changed = 0
        self.named: set[str] = set()

    def cells(self, cell: dict[str, Any]) -> Iterator[dict[str, Any]]:
        if cell["cell_type"] != "code":
            yield cell
            return
        before = self.ran.get(cell.get("id"))
        if before is None or before["cell_type"] != "code":
            self.changed += bool(self.ran)
            yield {**cell, "outputs": [], "execution_count": None}
            return
        self.changed += not same_code(_text(cell["source"]), _text(before["source"]))
        kept, after = [], []
        for output in before.get("outputs", []):
            if output["output_type"] == "error":
                after.append(_markdown(cell, len(after), _error(output)))
            elif figure := output.get("metadata", {}).get(FIGURE_KEY):
                text = self._figure(figure, _text(output["data"][SVG]))
                after.append(_markdown(cell, len(after), text))
            elif shown := _shown(output):
                kept.append(shown)
        count = before.get("execution_count")
        yield {**cell, "outputs": kept, "execution_count": count}
        yield from after

    def _figure(self, about: dict[str, str], svg: str) -> str:
        name = about["figure"]
        path = self.save_figure(name, svg)
        options = [f"alt: {_quoted(about['alt'])}"]
        if name not in self.named:
            # A figure shown twice has its label where it is shown first.
            options.append(f"name: fig-{name}")
            self.named.add(name)
        head = "\n".join(["```{figure} " + path, "---", *options, "---"])
        return f"{head}\n{about['caption'].strip()}\n```"


def _shown(output: dict[str, Any]) -> dict[str, Any] | None:
    """The output as the page shows it; None for what is only for the one who runs it."""
    if output["output_type"] == "stream":
        return output if output["name"] == "stdout" else None
    data = {
        kind: content
        for kind, content in output["data"].items()
        if not kind.startswith("application/vnd.jupyter.widget")
    }
    # A progress line that was wiped when its task ended.
    if "text/html" in data and not _text(data["text/html"]).strip():
        return None
    return {**output, "data": data} if data else None


def _notice(chapter: str, run: RunData, changed: int) -> str | None:
    number = int(chapter.partition("_")[0])
    status = run.status(chapter)
    if status == "absent":
        return _admonition(
            "note",
            "Not run",
            "This chapter is not part of the run that this site was built from, so its results "
            f"are missing here. `palimpsest run {number}` makes a run with it.",
        )
    entry = run.chapters[chapter]
    if status == "failed":
        error = entry.get("error") or {}
        where = f" in code cell {error['cell']}" if error.get("cell") else ""
        return _admonition(
            "warning",
            "Failed in this run",
            f"The chapter stopped{where}, so the results after that are missing here.\n\n"
            + _verbatim(str(error.get("cause", "The cause was not recorded."))),
        )
    if status != "finished":
        return _admonition(
            "warning", "Not finished", "This chapter's run was stopped before it had finished."
        )
    if run.notebook(chapter) is None or run.results(chapter) is None:
        return _admonition(
            "warning",
            "Incomplete",
            "The run says that this chapter finished, but files are missing.",
        )
    if changed:
        some = "One code cell has" if changed == 1 else f"{changed} code cells have"
        return _admonition(
            "note",
            "Changed since the run",
            f"{some} changed since the results on this page were made. "
            f"`palimpsest run {number}` makes them anew.",
        )
    return None


def _with_notice(cells: list[dict[str, Any]], notice: str | None) -> list[dict[str, Any]]:
    """Put the notice under the page's title."""
    if notice is None:
        return cells
    for position, cell in enumerate(cells):
        title = _HEADING.search(_text(cell["source"])) if cell["cell_type"] == "markdown" else None
        if title:
            text = _text(cell["source"])
            source = f"{text[: title.end()]}\n\n{notice}\n{text[title.end() :]}"
            return [*cells[:position], {**cell, "source": source}, *cells[position + 1 :]]
    return cells


def _error(output: dict[str, Any]) -> str:
    cause = f"{output['ename']}: {output['evalue']}"
    return _admonition("error", "This cell failed in this run", _verbatim(cause))


def _admonition(kind: str, title: str, text: str) -> str:
    return f"::::{{admonition}} {title}\n:class: {kind}\n{text}\n::::"


def _verbatim(text: str) -> str:
    """Foreign text as it is: no markup, no way out of the block."""
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
    return f"{fence}text\n{text.strip()}\n{fence}"


def _quoted(text: str) -> str:
    return json.dumps(" ".join(text.split()), ensure_ascii=False)


def _markdown(cell: dict[str, Any], number: int, text: str) -> dict[str, Any]:
    return {
        "cell_type": "markdown",
        "id": f"{cell.get('id', 'cell')}-shown-{number}",
        "metadata": {},
        "source": text,
    }


def _text(source: str | list[str]) -> str:
    return source if isinstance(source, str) else "".join(source)


def figure_file(folder: Path, chapter: str, name: str, svg: str) -> Path:
    """Write a figure for the site, if it is not there already."""
    path = folder / f"{chapter}-{name}.svg"
    content = svg.encode("utf-8")
    if not path.is_file() or path.read_bytes() != content:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return path
