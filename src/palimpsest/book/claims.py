"""The ledger: every claim of one or more runs with its rule, what was measured, and the verdict."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from palimpsest.book import show
from palimpsest.book.run_data import RunData
from palimpsest.core.errors import RunError


def open_runs(folders: Sequence[Path]) -> dict[str, RunData]:
    """The runs in ``folders`` by a short name: the folder's, or its path where two are alike.

    Raises:
        RunError: a folder is no run, or holds broken results.
    """
    names = [Path(folder).resolve().name for folder in folders]
    runs = {}
    for folder, name in zip(folders, names, strict=True):
        if not Path(folder).is_dir():
            raise RunError(f"There is no run folder {folder}.")
        run = RunData(folder)
        if run.manifest is None:
            raise RunError(f"{folder} is empty; a run folder was expected.")
        for chapter in run.chapters:
            run.results(chapter)
        for problem in run.broken.values():
            raise RunError(problem)
        runs[name if names.count(name) == 1 else str(folder)] = run
    return runs


def ledger(folders: Sequence[Path]) -> list[dict[str, Any]]:
    """The claims of the runs, each as in ``results.json`` with ``run``, ``model``, ``chapter`` and
    the measure's ``n``; in the order of the chapters.

    Raises:
        RunError: a folder is no run, or holds broken results.
    """
    entries = []
    for name, run in open_runs(folders).items():
        for chapter in run.chapters:
            for claim in (run.results(chapter) or {"claims": []})["claims"]:
                n = (run.value(chapter, claim["measure"]) or {}).get("n")
                model = (run.manifest or {})["model"]
                entries.append({"run": name, "model": model, "chapter": chapter, **claim, "n": n})
    order = list(dict.fromkeys((entry["chapter"], entry["id"]) for entry in entries))
    return sorted(entries, key=lambda entry: order.index((entry["chapter"], entry["id"])))


def render(entries: list[dict[str, Any]], form: str) -> str:
    """The ledger as ``table`` (for a terminal), ``json`` or ``markdown``."""
    if form == "json":
        return json.dumps(entries, indent=2, ensure_ascii=False)
    if not entries:
        return "No claim has been decided."
    several = len({entry["run"] for entry in entries}) > 1
    head = ["claim", *(["run"] if several else []), "verdict", "rule", "measured", "statement"]
    rows = [
        [
            entry["id"],
            *([entry["run"]] if several else []),
            show.VERDICT_WORDS[entry["verdict"]],
            show.rule_words(entry["rule"]),
            show.with_interval(entry) if entry["value"] is not None else entry["note"],
            f"{entry['statement']} ({entry['source']}; {entry['grade']})",
        ]
        for entry in entries
    ]
    return (show.rows_markdown if form == "markdown" else show.rows_text)(head, rows)
