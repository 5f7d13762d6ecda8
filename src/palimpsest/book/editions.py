"""Three editions of one text: what each leaves out.

``reader`` folds the solutions, ``student`` has none, ``lecturer`` has them open and adds the
lecturer's notes. What an edition must not show is taken out of the source before anything else sees
it, so that it is neither in pages nor in the search index nor in the sources offered for download.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

EDITIONS = ("reader", "student", "lecturer")
SOLUTION_TAG = "solution"

_LEFT_OUT = {
    "reader": {"lecturer-note"},
    "student": {"lecturer-note", "solution"},
    "lecturer": set(),
}
_FENCE = re.compile(r"^[ >]*(?P<marks>`{3,}|~{3,}|:{3,})\s*(?:\{(?P<name>[^}]+)\})?(?P<rest>.*)$")
_VERBATIM = {"code", "code-block", "code-cell", "literalinclude", "math", "raw"}


def for_edition(source: str, suffix: str, edition: str) -> str:
    """A page's source (``.md`` or ``.ipynb``) as it is in ``edition``.

    Blocks ``{lecturer-note}``, ``{solution}``, and everything from ``{solution-start}`` to
    ``{solution-end}`` (code cells included) are dropped where the edition leaves them out.
    """
    stripper = _Stripper(_LEFT_OUT[edition])
    if suffix != ".ipynb":
        return stripper.text(source)
    notebook = json.loads(source)
    notebook["cells"] = list(_cells(notebook["cells"], stripper))
    return json.dumps(notebook, ensure_ascii=False, indent=1) + "\n"


def _cells(cells: list[dict[str, Any]], stripper: "_Stripper") -> Iterator[dict[str, Any]]:
    for cell in cells:
        if cell["cell_type"] == "markdown":
            before = "".join(cell["source"])
            after = stripper.text(before)
            if after == before:
                yield cell
            elif after.strip():
                yield {**cell, "source": after}
        elif not stripper.hides(cell):
            yield cell


class _Stripper:
    """Drops blocks line by line; a gated solution may span several cells."""

    def __init__(self, left_out: set[str]) -> None:
        self.left_out = left_out
        self.inside = False

    def hides(self, cell: dict[str, Any]) -> bool:
        """Whether a code cell belongs to something that is left out."""
        tagged = SOLUTION_TAG in cell.get("metadata", {}).get("tags", [])
        return self.inside or (tagged and "solution" in self.left_out)

    def text(self, source: str) -> str:
        if not self.left_out:
            return source
        return "".join(self._kept(source.splitlines(keepends=True)))

    def _kept(self, lines: list[str]) -> Iterator[str]:
        # Open blocks, the innermost last: the marks that close each, and what becomes of its text.
        blocks: list[tuple[str, str]] = []
        for line in lines:
            fence = _FENCE.match(line)
            marks, how = blocks[-1] if blocks else ("", "read")
            bare = fence and not fence["name"] and not fence["rest"].strip()
            if blocks and fence and bare and fence["marks"].startswith(marks):
                blocks.pop()
            elif fence and how == "read":
                how = self._open((fence["name"] or "").strip(), fence["marks"])
                blocks.append((fence["marks"], how))
            if how != "drop" and not self.inside:
                yield line

    def _open(self, name: str, marks: str) -> str:
        """What becomes of a block: ``drop`` it, copy it as ``code``, or ``read`` on inside it."""
        if "solution" in self.left_out and name in ("solution-start", "solution-end"):
            self.inside = name == "solution-start"
            return "drop"
        if name in self.left_out:
            return "drop"
        return "code" if name in _VERBATIM or (not name and marks[0] != ":") else "read"
