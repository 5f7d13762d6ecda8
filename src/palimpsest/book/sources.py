"""What makes a chapter, as a hash: the code cells of its notebook and the code they can reach.

Prose is not part of it: a better sentence does not make a result stale.
"""

import ast
import hashlib
import json
from typing import Any

from palimpsest.book.contents import Book
from palimpsest.core import digests
from palimpsest.core.files import read_text


def source_sha256(book: Book, name: str) -> str:
    """Hex digest of a chapter's code cells and of its studies' modules, docstrings excepted.

    The versions of the stack are not part of it; they stand in the manifest.
    """
    digest = hashlib.sha256()
    for cell in code_cells(read_notebook(book, name)):
        digest.update(_normal(cell).encode() + b"\0")
    digest.update(digests.of_module(book.studies(name).__name__).encode())
    return digest.hexdigest()


def read_notebook(book: Book, name: str) -> dict[str, Any]:
    """A chapter's notebook as JSON."""
    return json.loads(read_text(book.notebook(name), what="notebook"))


def code_cells(notebook: dict[str, Any]) -> list[str]:
    """The sources of a notebook's code cells."""
    return ["".join(c["source"]) for c in notebook["cells"] if c["cell_type"] == "code"]


def same_code(one: str, other: str) -> bool:
    """Whether two cells do the same: comments and layout do not count."""
    return one == other or _normal(one) == _normal(other)


def _normal(source: str) -> str:
    try:
        return ast.dump(ast.parse(source))
    except SyntaxError:  # a cell with a magic
        return source
