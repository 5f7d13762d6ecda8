"""What a site reads of the run it is built from."""

import json
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from palimpsest.book import manifest
from palimpsest.core.errors import DataError, RunError
from palimpsest.core.files import read_text
from palimpsest.core.results import read_results


class RunData:
    """A run folder, read as needed. A folder that does not exist, or is empty, is a run in which
    nothing was run.

    Raises:
        RunError: the folder holds something else than a run, or its manifest is broken.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        empty = not self.folder.is_dir() or not any(self.folder.iterdir())
        self.manifest = None if empty else manifest.read_manifest(self.folder)
        # Of a broken chapter, its results are missing and the reason is said once.
        self.broken: dict[str, str] = {}

    @property
    def chapters(self) -> dict[str, dict[str, Any]]:
        """The manifest's entries of the chapters that were to run."""
        return self.manifest["chapters"] if self.manifest else {}

    def status(self, chapter: str) -> str:
        """``finished``, ``failed``, ``running``, ``pending``, or ``absent``."""
        return self.chapters[chapter]["status"] if chapter in self.chapters else "absent"

    def files(self, chapter: str) -> list[Path]:
        """The files on which a chapter's page depends; some may be missing."""
        return [
            self.folder / manifest.FILE,
            manifest.results_folder(self.folder, chapter) / "results.json",
            manifest.executed_notebook(self.folder, chapter),
        ]

    def results(self, chapter: str) -> dict[str, Any] | None:
        """The chapter's results; None if it has none, or they are broken."""
        return self._results(chapter)

    def notebook(self, chapter: str) -> dict[str, Any] | None:
        """The chapter's notebook as executed; None if there is none, or it is broken."""
        path = manifest.executed_notebook(self.folder, chapter)
        if chapter not in self.chapters or not path.is_file():
            return None
        try:
            return json.loads(read_text(path, what="notebook"))
        except (DataError, ValueError) as error:
            self.broken[chapter] = f"{path}: {error}"
            return None

    def value(self, chapter: str, name: str) -> dict[str, Any] | None:
        """A value's entry in the chapter's results."""
        return (self.results(chapter) or {"values": {}})["values"].get(name)

    def claim(self, id: str, chapter: str | None = None) -> tuple[str, dict[str, Any]] | None:
        """The chapter and the entry of a claim: in ``chapter`` if it is there, else anywhere."""
        for name in [chapter, *self.chapters]:
            for entry in ((self.results(name) if name else None) or {"claims": []})["claims"]:
                if entry["id"] == id:
                    return str(name), entry
        return None

    @cached_property
    def _results(self) -> Any:
        @cache
        def read(chapter: str) -> dict[str, Any] | None:
            folder = manifest.results_folder(self.folder, chapter)
            if chapter not in self.chapters or not folder.is_dir():
                return None
            try:
                return read_results(folder)
            except (RunError, DataError) as error:
                self.broken[chapter] = str(error)
                return None

        return read
