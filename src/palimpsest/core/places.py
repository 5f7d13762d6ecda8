"""Where things are: the book's own folders, and the cache.

The package is installed in place (``pip install -e .``), so the book, its chapters and its data lie
beside ``src/``.
"""

import os
from pathlib import Path


def root() -> Path:
    """The book's top folder, the one that holds ``_config.yml``."""
    return Path(__file__).resolve().parents[3]


def data() -> Path:
    """``data/``: shipped models, tasks, the world, the reference run."""
    return root() / "data"


def models() -> Path:
    """``data/models``: one Hugging Face folder per shipped model."""
    return data() / "models"


def tasks() -> Path:
    """``data/tasks``: the two-way tasks as lm-eval YAML beside their items."""
    return data() / "tasks"


def reference() -> Path:
    """``data/reference``: the run from which the site is built by default."""
    return data() / "reference"


def chapters() -> Path:
    """``chapters/``: the notebooks, outputs stripped."""
    return root() / "chapters"


def cache_folder() -> Path:
    """The cache of study cells: ``$PALIMPSEST_CACHE``, else the user's cache folder."""
    chosen = os.environ.get("PALIMPSEST_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "palimpsest"
