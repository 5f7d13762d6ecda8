"""Runs side by side: where do their values and verdicts agree, and where do they part?"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from palimpsest.book import show
from palimpsest.book.claims import open_runs
from palimpsest.book.run_data import RunData
from palimpsest.core import files
from palimpsest.core.errors import RunError, UserError

APART = "apart"


@dataclass(frozen=True)
class Comparison:
    """Three tables, one column for each run.

    Attributes:
        settings: what the runs were made with, where they differ.
        values: each value with its interval; ``apart`` marks those whose 95 % intervals do not all
            overlap.
        claims: each claim's verdict; ``apart`` marks those on which the runs disagree.
    """

    settings: pd.DataFrame
    values: pd.DataFrame
    claims: pd.DataFrame

    def text(self) -> str:
        """For a terminal."""
        return self._render(show.rows_text, "\n\n", "{}")

    def write(self, folder: Path) -> None:
        """Write ``comparison.md`` and the three tables as CSV.

        Raises:
            UserError: the folder cannot be written.
        """
        try:
            for name in ("settings", "values", "claims"):
                files.write_text(
                    Path(folder) / f"{name}.csv", getattr(self, name).to_csv(index=False)
                )
            page = "# Runs side by side\n\n" + self._render(show.rows_markdown, "\n\n", "## {}\n")
            files.write_text(Path(folder) / "comparison.md", page + "\n")
        except OSError as error:
            raise UserError(
                f"{folder} cannot be written: {error.strerror or error}. Choose another folder "
                "with --out."
            ) from None

    def _render(self, rows: Any, gap: str, title: str) -> str:
        parts = []
        for name in ("settings", "values", "claims"):
            table = getattr(self, name)
            if len(table):
                parts.append(title.format(name.capitalize()))
                parts.append(rows(list(table.columns), table.astype(str).to_numpy().tolist()))
        return gap.join(parts) or "The runs have nothing to compare."


def compare(folders: Sequence[Path]) -> Comparison:
    """Set runs side by side.

    Raises:
        RunError: fewer than two folders, or one of them is no run or broken.
    """
    if len(folders) < 2:
        raise RunError("Two runs at least are needed for a comparison; one was given.")
    runs = open_runs(folders)
    if len(runs) < len(folders):
        raise RunError("The same run was given twice.")
    return Comparison(_settings(runs), _values(runs), _claims(runs))


def _settings(runs: dict[str, RunData]) -> pd.DataFrame:
    found: dict[str, dict[str, str]] = {}
    for name, run in runs.items():
        about = run.manifest or {}
        for key in ("model", "profile", "seed", "data", "device", "dtype"):
            found.setdefault(key, {})[name] = str(about[key])
        for chapter, parameters in about["parameters"].items():
            for key, value in parameters.items():
                label = f"{chapter}.{key}"
                found.setdefault(label, {})[name] = json.dumps(value, ensure_ascii=False)
    rows = [
        {"setting": key, **{name: given.get(name, show.MISSING) for name in runs}}
        for key, given in found.items()
        if len({given.get(name) for name in runs}) > 1
    ]
    return pd.DataFrame(rows, columns=["setting", *runs])


def _values(runs: dict[str, RunData]) -> pd.DataFrame:
    rows = []
    for chapter, name in _names(runs, lambda results: results["values"]):
        found = {run: data.value(chapter, name) for run, data in runs.items()}
        shown = {run: show.with_interval(v) if v else show.MISSING for run, v in found.items()}
        rows.append({"chapter": chapter, "value": name, **shown, APART: _apart(found)})
    return pd.DataFrame(rows, columns=["chapter", "value", *runs, APART])


def _claims(runs: dict[str, RunData]) -> pd.DataFrame:
    rows = []
    names = _names(runs, lambda results: [claim["id"] for claim in results["claims"]])
    for chapter, id in names:
        verdicts = {
            run: show.VERDICT_WORDS[found[1]["verdict"]]
            if (found := data.claim(id))
            else show.MISSING
            for run, data in runs.items()
        }
        decided = {
            verdict for verdict in verdicts.values() if verdict in ("holds", "does not hold")
        }
        rows.append({
            "chapter": chapter, "claim": id, **verdicts, APART: "yes" if len(decided) > 1 else "",
        })  # fmt: skip
    return pd.DataFrame(rows, columns=["chapter", "claim", *runs, APART])


def _names(runs: dict[str, RunData], of: Any) -> list[tuple[str, str]]:
    """(chapter, name) of everything that any run has, in the runs' order."""
    found = {
        (chapter, name): None
        for data in runs.values()
        for chapter in data.chapters
        if (results := data.results(chapter))
        for name in of(results)
    }
    return sorted(found, key=lambda pair: (pair[0], list(found).index(pair)))


def _apart(found: dict[str, dict[str, Any] | None]) -> str:
    intervals = [value["ci95"] for value in found.values() if value and value["ci95"]]
    if len(intervals) < 2:
        return ""
    lows, highs = zip(*intervals, strict=True)
    return "yes" if max(lows) > min(highs) else ""
