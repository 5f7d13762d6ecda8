"""What a page may say about the run it is built from.

Roles (on a chapter's page; elsewhere write ``NN_chapter.name``)::

    {value}`name`        0.43              {value}`name:.2f` with a format of Python's
    {value-ci}`name`     0.43 (95 % interval 0.31 to 0.55, n = 20)

Directives::

    ```{reading} claim-id
    holds: Text for a run in which the claim holds, MyST, in as many lines
      and paragraphs as it takes, with {value}`name` in it.
    fails: Text for one in which it does not.
    inconclusive: ...
    not-tested: ...
    ```
    {claims}          the ledger of all claims of the run
    {run-info}        model, device, profile, date, versions, time of each chapter
    {lecturer-note}   shown in the lecturer's edition only

A value or claim that a finished chapter does not have is a warning; one of a chapter that is not in
the run is shown as missing.
"""

import re
import textwrap
from datetime import datetime
from typing import Any

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective, SphinxRole

from palimpsest.book import show
from palimpsest.book.run_data import RunData
from palimpsest.core.results import VERDICTS

LOGGER = logging.getLogger(__name__)
NOT_RUN = "not in this run"
_SECTION = re.compile(r"^(?P<key>[A-Za-z][\w-]*):(?:[ \t]+(?P<text>.*))?$")


class ValueRole(SphinxRole):
    """``{value}`` and ``{value-ci}``."""

    def __init__(self, interval: bool) -> None:
        super().__init__()
        self.interval = interval

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        target, _, form = self.text.partition(":")
        chapter, name = _address(self.env, target.strip())
        value = self.env.app.palimpsest_run.value(chapter, name)
        if value is None:
            if _should_have(self.env, chapter):
                LOGGER.warning(
                    "the run has no value '%s' of chapter %s", name, chapter or "(none)",
                    location=self.get_location(), type="palimpsest", subtype="value",
                )  # fmt: skip
            return [nodes.inline("", show.MISSING, classes=["run-missing"])], []
        try:
            text = (show.with_interval if self.interval else _number)(value, form.strip())
        except ValueError as error:
            LOGGER.warning(
                "'%s' is no format for a number: %s", form, error,
                location=self.get_location(), type="palimpsest", subtype="value",
            )  # fmt: skip
            text = _number(value, "")
        return [nodes.inline("", text, classes=["run-value"])], []


class Reading(SphinxDirective):
    """``{reading}``: the text that belongs to the verdict of this run."""

    required_arguments = 1
    has_content = True

    def run(self) -> list[nodes.Node]:
        id = self.arguments[0].strip()
        texts = self._texts(id)
        found = self.env.app.palimpsest_run.claim(id, _own_chapter(self.env))
        if found is None:
            return [self._missing(id)]
        chapter, claim = found
        verdict = claim["verdict"]
        box = nodes.container(classes=["reading", f"reading-{verdict}"])
        box += self._head(chapter, claim)
        lines, offset = texts.get(verdict, ([], self.content_offset))
        source = self.get_source_info()[0]
        self.state.nested_parse(StringList(lines, source), offset, box)
        self.set_source_info(box)
        return [box]

    def _texts(self, id: str) -> dict[str, tuple[list[str], int]]:
        texts, problems = split_reading(list(self.content))
        for problem in problems:
            self._warn(id, problem)
        return {key: (lines, self.content_offset + start) for key, (lines, start) in texts.items()}

    def _missing(self, id: str) -> nodes.Node:
        chapter = _own_chapter(self.env)
        if chapter is None or _should_have(self.env, chapter):
            self._warn(id, "the run has no such claim")
        text = f"What the run says about claim {id} stands here once this chapter has been run."
        return nodes.container(
            "", nodes.paragraph("", text), classes=["reading", "reading-missing"]
        )

    def _head(self, chapter: str, claim: dict[str, Any]) -> nodes.Node:
        head = nodes.paragraph(classes=["reading-head"])
        head += badge(claim["verdict"])
        head += nodes.Text(" ")
        head += nodes.literal("", show.rule_words(claim["rule"]))
        measured = measured_text(self.env.app.palimpsest_run, chapter, claim)
        head += nodes.Text(f" · measured {measured}" if measured else f" · {claim['note']}")
        return head

    def _warn(self, id: str, problem: str) -> None:
        LOGGER.warning(
            "reading '%s': %s", id, problem,
            location=self.get_location(), type="palimpsest", subtype="reading",
        )  # fmt: skip


class Claims(SphinxDirective):
    """``{claims}``: the ledger."""

    def run(self) -> list[nodes.Node]:
        run: RunData = self.env.app.palimpsest_run
        made: list[nodes.Node] = []
        for chapter in run.chapters:
            results = run.results(chapter)
            if not results or not results["claims"]:
                continue
            title = self.env.app.palimpsest_titles.get(chapter, chapter)
            made.append(nodes.rubric("", f"Chapter {int(chapter.partition('_')[0])}: {title}"))
            made.append(_table(
                ["Claim", "Rule", "Measured", "Verdict"],
                [self._row(run, chapter, claim) for claim in results["claims"]],
                [46, 20, 20, 14], "claims",
            ))  # fmt: skip
        return made or [nodes.paragraph("", "No chapter of this run has decided a claim.")]

    def _row(self, run: RunData, chapter: str, claim: dict[str, Any]) -> list[list[nodes.Node]]:
        about = f"{claim['id']} · {claim['source']} · grade {claim['grade']}"
        about += f" · rule version {claim['rule_version']}" if claim["rule_version"] != 1 else ""
        verdict: list[nodes.Node] = [nodes.paragraph("", "", badge(claim["verdict"]))]
        if claim["note"]:
            verdict.append(nodes.paragraph("", claim["note"], classes=["claim-about"]))
        return [
            [nodes.paragraph("", claim["statement"]),
             nodes.paragraph("", about, classes=["claim-about"])],
            [nodes.paragraph("", "", nodes.literal("", show.rule_words(claim["rule"])))],
            [nodes.paragraph("", measured_text(run, chapter, claim) or show.MISSING)],
            verdict,
        ]  # fmt: skip


CACHED = (
    "The time is that of the last execution, in which values found in the cache cost nothing. What "
    "each profile costs with an empty cache is stated by the command palimpsest chapters."
)


class RunInfo(SphinxDirective):
    """``{run-info}``: where the numbers of this site come from."""

    def run(self) -> list[nodes.Node]:
        run: RunData = self.env.app.palimpsest_run
        if run.manifest is None:
            return [nodes.paragraph("", "This site was built without a run, so it has no results.")]
        about = run.manifest
        rows = [
            ("Model", f"{about['model']} (weights {about['weights_sha256'][:12]})"),
            ("Device", f"{about['device']}, {about['dtype']}"),
            ("Profile", f"{about['profile']}, seed {about['seed']}"),
            ("Data", about["data"]),
            ("Begun", f"{datetime.fromisoformat(about['created']):%d %B %Y}"),
            ("Versions", ", ".join(f"{name} {v}" for name, v in about["versions"].items())),
        ]
        chapters = [
            [name, entry["status"], entry["profile"], entry["device"],
             "" if entry["seconds"] is None else f"{entry['seconds']:.0f} s",
             "" if entry["peak_memory_mb"] is None else f"{entry['peak_memory_mb']:.0f} MiB"]
            for name, entry in run.chapters.items()
        ]  # fmt: skip
        made = [_table(None, [_texts(row) for row in rows], [20, 80], "run-info")]
        if chapters:
            head = ["Chapter", "Status", "Profile", "Device", "Time", "Peak memory"]
            made.append(_table(head, [_texts(row) for row in chapters],
                               [30, 14, 14, 14, 14, 14], "run-info"))  # fmt: skip
            made.append(nodes.paragraph("", CACHED))
        return made


class LecturerNote(SphinxDirective):
    """``{lecturer-note}``; other editions never see it (:mod:`~palimpsest.book.editions`)."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        if self.config.palimpsest_edition != "lecturer":
            return []
        note = nodes.admonition(classes=["lecturer-note"])
        note += nodes.title("", "For the lecturer")
        self.state.nested_parse(self.content, self.content_offset, note)
        self.set_source_info(note)
        return [note]


def split_reading(lines: list[str]) -> tuple[dict[str, tuple[list[str], int]], list[str]]:
    """The texts of a reading by verdict, each with the line it begins in, and what is wrong.

    A text begins with its key in the first column and goes on until the next key.
    """
    texts: dict[str, tuple[list[str], int]] = {}
    problems: list[str] = []
    current: list[str] = []
    for number, line in enumerate(lines):
        match = _SECTION.match(line)
        if match and match["key"] in VERDICTS:
            if match["key"] in texts:
                problems.append(f"two texts for '{match['key']}'")
            current = [match["text"] or ""]
            texts[match["key"]] = (current, number)
        elif texts:
            current.append(line)
        elif line.strip():
            problems.append(f"text before the first verdict: '{line.strip()}'")
    made = {}
    for key, (block, start) in texts.items():
        rest = textwrap.dedent("\n".join(block[1:])).split("\n") if block[1:] else []
        made[key] = ([block[0], *rest], start)
        if not "".join(made[key][0]).strip():
            problems.append(f"the text for '{key}' is empty")
    missing = [verdict for verdict in VERDICTS if verdict not in made]
    if missing:
        problems.append(f"no text for {', '.join(missing)}")
    return made, problems


def badge(verdict: str) -> nodes.Node:
    """The verdict as a small label."""
    words = show.VERDICT_WORDS[verdict]
    return nodes.inline("", words, classes=["verdict", f"verdict-{verdict}"])


def measured_text(run: RunData, chapter: str, claim: dict[str, Any]) -> str:
    """What was measured for a claim, with its interval and n; empty if nothing was."""
    if claim["value"] is None:
        return ""
    n = (run.value(chapter, claim["measure"]) or {}).get("n")
    return show.with_interval({"value": claim["value"], "ci95": claim["ci95"], "n": n})


def _number(value: dict[str, Any], form: str) -> str:
    return show.number(value["value"], form)


def _own_chapter(env: Any) -> str | None:
    folder, _, name = env.docname.rpartition("/")
    return name if folder == "chapters" else None


def _address(env: Any, target: str) -> tuple[str, str]:
    chapter, dot, name = target.rpartition(".")
    return (chapter, name) if dot else (_own_chapter(env) or "", name)


def _should_have(env: Any, chapter: str) -> bool:
    """Whether what is missing of a chapter is a mistake: the run has the chapter, as it is now."""
    if not chapter:
        return True
    run: RunData = env.app.palimpsest_run
    noticed = env.palimpsest_incomplete.get(f"chapters/{chapter}", False)
    return run.status(chapter) == "finished" and not noticed


def _texts(cells: Any) -> list[list[nodes.Node]]:
    return [[nodes.paragraph("", cell)] for cell in cells]


def _table(
    head: list[str] | None, rows: list[list[list[nodes.Node]]], widths: list[int], kind: str
) -> nodes.Node:
    group = nodes.tgroup(cols=len(widths))
    group += [nodes.colspec(colwidth=width) for width in widths]
    if head:
        group += nodes.thead("", _row(_texts(head)))
    group += nodes.tbody("", *(_row(row) for row in rows))
    table = nodes.table("", group, classes=["palimpsest-table", kind])
    return nodes.container("", table, classes=["table-scroll"])


def _row(cells: list[list[nodes.Node]]) -> nodes.Node:
    return nodes.row("", *(nodes.entry("", *content) for content in cells))
