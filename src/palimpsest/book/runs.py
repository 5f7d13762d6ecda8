"""Making a run: the chapters, executed on one model, in one folder.

:func:`plan` checks everything that can be wrong before anything is written; :func:`execute` then
runs chapter after chapter. A chapter that fails leaves the others intact. A run that is stopped, in
whatever way, is continued by the same command with ``--resume``: finished chapters whose code and
parameters are unchanged are skipped, and the study cells of the others come from the cache.
"""

import os
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import nbformat

from palimpsest.book import execution, manifest, recording
from palimpsest.book.contents import Book
from palimpsest.book.execution import Failure, Played, Watcher
from palimpsest.book.parameters import (
    COMMON,
    Common,
    Resolved,
    chapter_parameters,
    distribute,
    read_parameter_file,
    resolve,
    resolve_common,
    split_setting,
)
from palimpsest.book.sources import source_sha256
from palimpsest.core import files
from palimpsest.core.errors import RunError, UserError
from palimpsest.core.results import plain, read_results


@dataclass(frozen=True)
class Plan:
    """A run that may start: everything in it has been checked.

    Attributes:
        chapters: to be in the run after this call, in the book's order; those in ``done`` are
            finished and unchanged.
        given: each chapter's explicitly given parameters.
        manifest: as it will be written when the run starts.
    """

    book: Book
    folder: Path
    common: Common
    chapters: tuple[str, ...]
    done: tuple[str, ...]
    resolved: Mapping[str, Resolved]
    given: Mapping[str, Mapping[str, Any]]
    manifest: dict[str, Any]


@dataclass(frozen=True)
class Outcome:
    """How a chapter ended."""

    chapter: str
    failure: Failure | None
    seconds: float


class Reporter(Watcher, Protocol):
    """Who is told how a run goes."""

    def chapter(self, name: str, title: str, number: int, total: int) -> None:
        """A chapter begins."""

    def ended(self, outcome: Outcome) -> None:
        """A chapter has ended."""


# ---------------------------------------------------------------------------------------------
# Before


def plan(
    book: Book,
    words: Sequence[str] = (),
    *,
    options: Mapping[str, Any] | None = None,
    params: Path | None = None,
    settings: Sequence[str] = (),
    out: Path | None = None,
    resume: bool = False,
) -> Plan:
    """Check what was asked for and find what has to be done.

    Args:
        words: chapters by number, name or prefix; none means all that are written.
        options: the common parameters that were given as options, by name.
        params: a ``--params`` file.
        settings: ``[CHAPTER.]PARAM=VALUE`` texts.
        out: the run folder; by default ``runs/<model>-<profile>-<seed>``.
        resume: continue in an existing folder (or begin, where there is none).

    Raises:
        UserError: anything asked for is unknown, of a wrong type, or cannot be done.
    """
    chapters = _chapters(book, words)
    common_given, given = _given(book, chapters, options or {}, params, settings)
    if common_given.get("out") is not None:
        out = out or Path(common_given["out"])
    before = recording.manifest_before(out, resume) if out is not None else None
    if before is not None:
        common_given = {key: before[key] for key in ("model", "profile", "seed", "data")} | {
            key: value for key, value in common_given.items() if value is not None
        }
    common = resolve_common({key: value for key, value in common_given.items() if key != "out"})
    # What is wrong with a parameter should be said before a model is loaded.
    for name in chapters:
        again = {**_given_before(book, name, before), **given[name]}
        _preflight(book, name, common, resolve(book, name, common.profile, again))
    model = recording.inspect_model(common)
    if out is None:
        out = Path("runs") / f"{_slug(model.name)}-{common.profile}-{common.seed}"
        before = recording.manifest_before(out, resume)
    common = replace(common, out=str(out))
    given = {name: {**_given_before(book, name, before), **given[name]} for name in chapters}
    resolved = {name: resolve(book, name, common.profile, given[name]) for name in chapters}
    found = recording.join(before, model, common, out)
    done = tuple(n for n in chapters if _is_done(book, out, found, n, resolved[n]))
    return Plan(book, out, common, chapters, done, resolved, given, found)


def _preflight(book: Book, name: str, common: Common, resolved: Resolved) -> None:
    """Let a chapter that can tell refuse data it cannot be run on."""
    check = getattr(book.studies(name), "preflight", None)
    if check is not None:
        check(common.data, resolved.namespace(), common.seed)


def resume_command(plan: Plan) -> str:
    """The command that continues this run."""
    chapters = [] if set(plan.chapters) == set(plan.book.written()) else list(plan.chapters)
    words = ["palimpsest", "run", *chapters, "--out", str(plan.folder), "--resume"]
    return shlex.join(words)


def describe_failure(plan: Plan, outcome: Outcome) -> str:
    """One paragraph: which chapter, which cell, why, and where to look."""
    assert outcome.failure is not None
    failure = outcome.failure
    where = f" in code cell {failure.cell} (`{failure.source}`)" if failure.cell else ""
    notebook = manifest.executed_notebook(plan.folder, outcome.chapter)
    cause = failure.cause if failure.cause.endswith((".", "!", "?")) else f"{failure.cause}."
    return (
        f"{outcome.chapter} failed{where}: {cause}\n"
        f"The notebook up to there, with the traceback, is {notebook}."
    )


def _chapters(book: Book, words: Sequence[str]) -> tuple[str, ...]:
    names = {book.find(word) for word in words} if words else set(book.written())
    for name in sorted(names):
        book.require_written(name)
    if not names:
        raise UserError("No chapter is written yet, so there is nothing to run.")
    return tuple(name for name in book.specs if name in names)


def _given(
    book: Book,
    chapters: Sequence[str],
    options: Mapping[str, Any],
    params: Path | None,
    settings: Sequence[str],
) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    common: dict[str, Any] = {}
    given: dict[str, dict[str, Any]] = {name: {} for name in chapters}
    layers = [(read_parameter_file(params), str(params))] if params is not None else []
    for text in settings:
        chapter, name, value = split_setting(text)
        layers.append(({chapter: {name: value}} if chapter else {name: value}, f"--set {text}"))
    for values, where in layers:
        shared, own = distribute(book, chapters, values, where)
        common.update(shared)
        for name in chapters:
            given[name].update(own[name])
    common.update({key: value for key, value in options.items() if value is not None})
    return common, given


def _given_before(book: Book, name: str, before: dict[str, Any] | None) -> dict[str, Any]:
    """What the run to be continued was given for a chapter, as far as the chapter still has it."""
    own = chapter_parameters(book, name)
    kept = (before or {}).get("given", {}).get(name, {})
    return {key: value for key, value in kept.items() if key in own}


def _is_done(book: Book, out: Path, found: dict[str, Any], name: str, resolved: Resolved) -> bool:
    entry = found["chapters"].get(name)
    if entry is None or entry["status"] != "finished":
        return False
    if found["parameters"].get(name) != plain(resolved.values):
        return False
    if entry["source_sha256"] != source_sha256(book, name):
        return False
    if not manifest.executed_notebook(out, name).is_file():
        return False
    try:
        read_results(manifest.results_folder(out, name))
    except RunError:
        return False
    return True


def _slug(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or "model"


# ---------------------------------------------------------------------------------------------
# During


def execute(plan: Plan, reporter: Reporter) -> list[Outcome]:
    """Execute the chapters of a plan that are not done.

    Raises:
        RunError: the folder cannot be written, or another process is writing to it.
        KeyboardInterrupt: the run was stopped; the folder is whole and can be resumed.
    """
    made = manifest.make_folder(plan.folder)
    outcomes = []
    try:
        with manifest.locked(plan.folder):
            _clear_partial(plan.folder)
            todo = [name for name in plan.chapters if name not in plan.done]
            with _writer(plan.folder, plan.manifest) as found:
                for name in todo:
                    recording.enter(
                        found, plan.book, name, plan.common.profile, plan.resolved[name],
                        plan.given[name],
                    )  # fmt: skip
                manifest.write_manifest(plan.folder, found)
                for number, name in enumerate(todo, 1):
                    title = plan.book.specs[name].title
                    reporter.chapter(name, title, number, len(todo))
                    outcomes.append(_execute_chapter(plan, found, name, reporter))
                    reporter.ended(outcomes[-1])
    except RunError:
        if made and not any(plan.folder.iterdir()):
            plan.folder.rmdir()
        raise
    return outcomes


def _clear_partial(folder: Path) -> None:
    """Delete what a killed process was about to write."""
    for place in (folder, folder / "chapters"):
        for path in place.glob(f"{files.TEMPORARY}*"):
            path.unlink(missing_ok=True)


@contextmanager
def _writer(folder: Path, found: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Note in the manifest, for the time of the run, which process writes to the folder."""
    found["process"] = os.getpid()
    try:
        yield found
    finally:
        del found["process"]
        if folder.joinpath(manifest.FILE).exists():
            manifest.write_manifest(folder, found)


def _execute_chapter(plan: Plan, found: dict[str, Any], name: str, reporter: Reporter) -> Outcome:
    entry = found["chapters"][name]
    recording.begin(plan.folder, found, name)
    common = {k: v for k in COMMON if (v := getattr(plan.common, k)) is not None}
    try:
        played = execution.play(
            plan.book.notebook(name), {**common, **found["given"][name]}, reporter
        )
    except KeyboardInterrupt:
        entry["status"] = "pending"
        raise
    failure = played.failure or _check(plan, name)
    with manifest.writing(plan.folder):
        files.write_text(manifest.executed_notebook(plan.folder, name), _text(played))
    entry["seconds"] = round(played.seconds, 2)
    entry["peak_memory_mb"] = _peak(plan.folder, name)
    recording.end(plan.folder, found, name, asdict(failure) if failure else None)
    return Outcome(name, failure, played.seconds)


def _check(plan: Plan, name: str) -> Failure | None:
    """A notebook that ran to its end must have left whole results."""
    try:
        read_results(manifest.results_folder(plan.folder, name))
    except RunError as error:
        return Failure(None, "", f"the notebook recorded no results: {error}")
    return None


def _peak(folder: Path, name: str) -> float | None:
    try:
        return read_results(manifest.results_folder(folder, name))["peak_memory_mb"]
    except RunError:
        return None


def _text(played: Played) -> str:
    return nbformat.writes(played.notebook) + "\n"
