"""Cells for the tests of the cache: importable by the test and by the processes it starts."""

import os
import signal
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from palimpsest.core.stats import Interval


@dataclass(frozen=True)
class Curve:
    """A value made of values."""

    steps: tuple[int, ...]
    loss: np.ndarray
    end: Interval


def count(log, n=1):
    """One more line in the file ``log`` for each time this is really computed."""
    with open(str(log), "a") as stream:  # noqa: PTH123 - a path input would be hashed by content
        stream.write("x\n")
    return {"n": n, "squares": np.arange(n) ** 2}


def give(value):
    """The value itself, whatever it is."""
    return value


def curve(n):
    """A dataclass with an array and another dataclass in it."""
    return Curve(tuple(range(n)), np.linspace(1, 0, n), Interval(0.5, 0.25, 1.0, n))


def size_of(path: Path):
    """A function of a file's content."""
    return len(path.read_bytes())


def large(bytes_, seed=0):
    """Noise of a given size."""
    return np.random.default_rng(seed).integers(0, 256, bytes_, dtype=np.uint8)


def unkeepable():
    """A value no file can hold without pickling."""
    return {"inside": [object()]}


def killed_while_renaming():
    """A value whose process dies at the moment its file would appear."""
    os.replace = lambda *names: os.kill(os.getpid(), signal.SIGKILL)
    return np.zeros(1000)
