"""Palimpsest: what language models memorize, why they say what they say, whether they forget.

``palimpsest.load`` opens any Hugging Face causal language model, ``palimpsest.check`` marks an
exercise. Both are imported on first use, so that ``import palimpsest`` costs nothing.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_LAZY = {
    "load": "palimpsest.core.models",
    "check": "palimpsest.book.exercises",
    "open_chapter": "palimpsest.book.chapter",
}

__all__ = ["__version__", "check", "load", "open_chapter"]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'palimpsest' has no attribute '{name}'")
