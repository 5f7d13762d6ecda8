"""The toy book, its model, and a run of it, made once for all tests."""

import fcntl
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import toy

from palimpsest.book.contents import Book
from palimpsest.cli import main


class Half(NamedTuple):
    """A run whose second chapter failed: its folder, the exit code, what was said."""

    out: Path
    code: int
    said: str


@pytest.fixture(scope="session")
def common_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all processes of this test session share."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture(scope="session", autouse=True)
def surroundings(common_folder: Path) -> Iterator[None]:
    """A cache of its own, no network, and a kernel called python3 that must not be used."""
    kernel = common_folder / "jupyter" / "kernels" / "python3"
    kernel.mkdir(parents=True, exist_ok=True)
    spec = {"argv": ["/bin/false"], "display_name": "Another Python", "language": "python"}
    (kernel / "kernel.json").write_text(json.dumps(spec))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PALIMPSEST_CACHE", str(common_folder / "cache"))
        patch.setenv("JUPYTER_DATA_DIR", str(common_folder / "jupyter"))
        patch.setenv("HF_HUB_OFFLINE", "1")
        yield


@pytest.fixture(scope="session")
def shared_book(common_folder: Path) -> Iterator[Book]:
    """A toy book that no test changes."""
    with once(common_folder / "book") as folder:
        if not folder.exists():
            toy.make_book(folder)
    made = toy.the_book(folder)
    sys.path.insert(0, str(made.chapters))
    yield made
    sys.path.remove(str(made.chapters))
    toy.forget_toy_modules()


@pytest.fixture
def book(shared_book: Book, tmp_path: Path) -> Book:
    """A toy book to change (its studies are those of the shared one)."""
    return toy.make_book(tmp_path / "toybook")


@pytest.fixture(scope="session")
def model(common_folder: Path) -> Path:
    """A folder with a tiny model."""
    with once(common_folder / "toy-model") as folder:
        if not folder.exists():
            toy.make_model(folder)
    return folder


@pytest.fixture(scope="session")
def half(shared_book: Book, model: Path, common_folder: Path) -> Half:
    """Both chapters run, the second one made to fail. Tests that change it must copy it."""
    with once(common_folder / "half") as folder:
        log, out = folder / "log", folder / "run"
        if not log.exists():
            folder.mkdir()
            argv = ["run", "--model", str(model), "--out", str(out), "--profile", "smoke",
                    "--set", "rate=0.5", "--set", "2.fail=true"]  # fmt: skip
            with pytest.MonkeyPatch.context() as patch, log.open("w") as stream:
                patch.setattr(sys, "stderr", stream)
                code = main(argv, book=shared_book)
                stream.write(f"\n{code}")
    said, _, code_text = log.read_text().rpartition("\n")
    return Half(out, int(code_text), said)


class once:
    """Lets one process at a time make what lies at ``path``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lock = path.with_suffix(".lock").open("w")

    def __enter__(self) -> Path:
        fcntl.flock(self.lock, fcntl.LOCK_EX)
        return self.path

    def __exit__(self, *_: object) -> None:
        self.lock.close()
