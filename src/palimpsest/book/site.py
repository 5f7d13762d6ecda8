"""The Sphinx extension: pages from prose and a run, in one of three editions.

Configuration: ``palimpsest_run`` (a run folder, relative to the book's root; ``data/reference``)
and ``palimpsest_edition``. Nothing is executed.
"""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinx.util import logging
from sphinx_exercise.nodes import solution_node

from palimpsest.book.directives import (
    Claims,
    LecturerNote,
    Reading,
    RunInfo,
    ValueRole,
)
from palimpsest.book.editions import EDITIONS, for_edition
from palimpsest.book.inject import figure_file, with_outputs
from palimpsest.book.run_data import RunData
from palimpsest.core.errors import UserError, nearest
from palimpsest.studies import CHAPTERS

LOGGER = logging.getLogger(__name__)
REFERENCE = "data/reference"
# Pages about the run as a whole.
ABOUT_RUN = ("{claims}", "{run-info}", "{value}", "{value-ci}", "{reading}")


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect the extension."""
    app.add_config_value("palimpsest_run", REFERENCE, "env", str)
    app.add_config_value("palimpsest_edition", "reader", "env", str)
    app.add_role("value", ValueRole(interval=False))
    app.add_role("value-ci", ValueRole(interval=True))
    app.add_directive("reading", Reading)
    app.add_directive("claims", Claims)
    app.add_directive("run-info", RunInfo)
    app.add_directive("lecturer-note", LecturerNote)
    app.connect("builder-inited", _open_run)
    app.connect("env-get-outdated", _outdated)
    app.connect("env-purge-doc", _forget)
    app.connect("source-read", _read)
    app.connect("doctree-read", _solutions)
    app.connect("missing-reference", _missing_figure)
    app.connect("env-updated", _report)
    app.connect("html-page-context", _without_thebe)
    app.connect("build-finished", _sources)
    return {"version": "1", "parallel_read_safe": False, "parallel_write_safe": True}


def _open_run(app: Sphinx) -> None:
    if app.config.palimpsest_edition not in EDITIONS:
        word = app.config.palimpsest_edition
        raise ExtensionError(f"There is no edition '{word}'; {nearest(word, EDITIONS)}")
    try:
        app.palimpsest_run = RunData(Path(app.srcdir) / app.config.palimpsest_run)
    except UserError as error:
        raise ExtensionError(str(error)) from None
    app.palimpsest_titles = {name: spec.title for name, spec in CHAPTERS.items()}
    if not hasattr(app.env, "palimpsest_incomplete"):
        # Chapter page -> whether something of the run is missing on it.
        app.env.palimpsest_incomplete = {}


def _outdated(
    app: Sphinx, env: Any, added: set[str], changed: set[str], removed: set[str]
) -> list[str]:
    """Sphinx copies a changed style sheet only if some page has changed too."""
    digest = hashlib.sha256()
    for folder in app.config.html_static_path:
        for path in sorted((Path(app.srcdir) / folder).rglob("*")):
            if path.is_file():
                digest.update(path.read_bytes())
    before, env.palimpsest_static = getattr(env, "palimpsest_static", None), digest.hexdigest()
    return [] if before == env.palimpsest_static else [app.config.root_doc]


def _forget(app: Sphinx, env: Any, docname: str) -> None:
    getattr(env, "palimpsest_incomplete", {}).pop(docname, None)


def _read(app: Sphinx, docname: str, content: list[str]) -> None:
    suffix = Path(app.env.doc2path(docname)).suffix
    run: RunData = app.palimpsest_run
    text = for_edition(content[0], suffix, app.config.palimpsest_edition)
    folder, _, name = docname.rpartition("/")
    if suffix == ".ipynb" and folder == "chapters":
        for path in run.files(name):
            app.env.note_dependency(str(path))
        made = with_outputs(json.loads(text), name, run, _figures(app, name))
        app.env.palimpsest_incomplete[docname] = made.incomplete
        text = json.dumps(made.notebook)
    elif any(word in text for word in ABOUT_RUN):
        app.env.note_dependency(str(run.folder / "manifest.json"))
        for chapter in run.chapters:
            app.env.note_dependency(str(run.files(chapter)[1]))
    content[0] = text


def _figures(app: Sphinx, chapter: str) -> Any:
    folder = Path(app.doctreedir) / "figures"

    def save(name: str, svg: str) -> str:
        path = figure_file(folder, chapter, name, svg)
        # Sphinx takes a path that begins with a slash as relative to the sources.
        return "/" + Path(os.path.relpath(path, app.srcdir)).as_posix()

    return save


def _solutions(app: Sphinx, doctree: nodes.document) -> None:
    """The text of solutions is gone already in the student's edition; this keeps it so."""
    for node in list(doctree.findall(solution_node)):
        if app.config.palimpsest_edition == "student":
            node.parent.remove(node)
        elif app.config.palimpsest_edition == "lecturer":
            node["classes"] = [name for name in node["classes"] if name != "dropdown"]
        elif "dropdown" not in node["classes"]:
            node["classes"].append("dropdown")


def _missing_figure(
    app: Sphinx, env: Any, node: nodes.Element, content: nodes.TextElement
) -> nodes.Node | None:
    """A figure that a chapter would have had, had it been run, is no broken reference."""
    figure = node.get("reftype") in ("numref", "ref") and node["reftarget"].startswith("fig-")
    if not figure or not any(env.palimpsest_incomplete.values()):
        return None
    return nodes.inline("", "the figure (not in this run)", classes=["run-missing"])


def _report(app: Sphinx, env: Any) -> None:
    for problem in app.palimpsest_run.broken.values():
        LOGGER.warning("%s", problem, type="palimpsest", subtype="run")


def _without_thebe(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.document | None
) -> None:
    """Jupyter Book always adds its button for remote kernels, with an address on the network; the
    site is read from disk and has none."""
    context["script_files"] = [
        script
        for script in context.get("script_files", [])
        if "thebe" not in f"{getattr(script, 'filename', script)}".lower()
        and "thebe" not in getattr(script, "attributes", {}).get("body", "").lower()
    ]


def _sources(app: Sphinx, failure: Exception | None) -> None:
    """The sources offered for download are those of the edition, too."""
    if failure is not None or app.builder.format != "html":
        return
    for docname in app.env.found_docs:
        path = Path(app.env.doc2path(docname))
        copy = Path(app.outdir) / "_sources" / f"{docname}{path.suffix}"
        if copy.is_file():
            text = path.read_text(encoding="utf-8")
            copy.write_text(
                for_edition(text, path.suffix, app.config.palimpsest_edition), encoding="utf-8"
            )
