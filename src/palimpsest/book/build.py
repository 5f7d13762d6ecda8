"""Building the site: Jupyter Book in a process of its own, on the book's configuration with the run
and the edition put in. The finished site replaces the old one as a whole."""

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml

from palimpsest.book.contents import Book
from palimpsest.book.run_data import RunData
from palimpsest.core import files
from palimpsest.core.errors import RunError, UserError

WORK = "_build/.work"
LAST_WORDS = 15
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_COMPLAINT = re.compile(r"\b(WARNING|ERROR|CRITICAL|SEVERE)\b")


@dataclass(frozen=True)
class Site:
    """A built site: the page to open first, and what Sphinx warned of."""

    index: Path
    warnings: list[str]


def build(
    book: Book,
    *,
    run: Path | None = None,
    edition: str = "reader",
    out: Path | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Site:
    """Build the site of ``book`` from ``run`` without executing anything.

    Args:
        run: the run folder; ``data/reference`` by default, which may still be empty.
        out: the site's folder; by default below ``_build``: ``html`` for the reader's edition of
            the reference run, else named after the run and the edition.
        say: is told when the work begins.

    Raises:
        UserError: the run or the book cannot be read, ``out`` cannot be written or is in the way of
            something else, or the site cannot be built at all.
    """
    source = (book.reference if run is None else Path(run)).absolute()
    if run is not None and not source.is_dir():
        raise RunError(f"There is no run folder {run}. `palimpsest run --out {run}` makes one.")
    data = RunData(source)
    if run is not None and data.manifest is None:
        raise RunError(f"{run} is empty; a run folder was expected.")
    target = _target(book, source, edition, out)
    key = hashlib.sha256(f"{source} {edition}".encode()).hexdigest()[:12]
    work = book.root / WORK / f"{edition}-{key}"
    html = work / "_build" / "html"
    say(f"Building the {edition}'s edition from {source} ...")
    with _alone(work):
        ended_well, log = _jupyter_book(book, work, _config(book, source, edition, work))
        warnings = [line for line in log if _COMPLAINT.search(line)]
        if not ended_well:
            # The next build must say again what is wrong, also of pages that did not change.
            shutil.rmtree(work / "_build" / ".doctrees", ignore_errors=True)
            if not warnings or not (html / "index.html").is_file():
                tail = "\n".join(log[-LAST_WORDS:])
                raise UserError(f"The site could not be built. Jupyter Book's last words:\n{tail}")
        _publish(html, target)
    return Site(target / "index.html", warnings)


@contextmanager
def _alone(work: Path) -> Iterator[None]:
    """Wait until no other build works in the folder."""
    try:
        work.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{work} cannot be written: {error.strerror or error}.") from None
    handle = os.open(work, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _config(book: Book, run: Path, edition: str, work: Path) -> Path:
    """Write the book's configuration with the run and the edition put in."""
    path = book.root / "_config.yml"
    try:
        config = yaml.safe_load(files.read_text(path, what="configuration"))
        settings = config["sphinx"]["config"]
    except (yaml.YAMLError, KeyError, TypeError) as error:
        raise UserError(f"{path} is not the configuration of this book: {error}") from None
    settings["palimpsest_run"] = os.path.relpath(run, book.root)
    settings["palimpsest_edition"] = edition
    made = work / "_config.yml"
    text = yaml.safe_dump(config, sort_keys=False, allow_unicode=True)
    if not made.is_file() or made.read_text(encoding="utf-8") != text:
        try:
            files.write_text(made, text)
        except OSError as error:
            raise UserError(f"{work} cannot be written: {error.strerror or error}.") from None
    return made


def _jupyter_book(book: Book, work: Path, config: Path) -> tuple[bool, list[str]]:
    """Run Jupyter Book with this very Python; whether it ended well, and what it printed."""
    command = [
        sys.executable, "-c", "from jupyter_book.cli.main import main; main()",
        "build", str(book.root), "--config", str(config), "--path-output", str(work),
        "-n", "-W", "--keep-going", "-q",
    ]  # fmt: skip
    # The folder a user happens to be in must not shadow a module that Sphinx imports.
    environment = {**os.environ, "PYTHONSAFEPATH": "1"}
    ran = subprocess.run(
        command, cwd=book.root, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, encoding="utf-8", errors="replace", check=False,
    )  # fmt: skip
    lines = [_COLOUR.sub("", line).rstrip() for line in ran.stdout.splitlines()]
    return ran.returncode == 0, [line for line in lines if line]


def _target(book: Book, run: Path, edition: str, out: Path | None) -> Path:
    if out is None:
        name = "html" if run == book.reference.absolute() else run.name
        return book.root / "_build" / (name if edition == "reader" else f"{name}-{edition}")
    target = Path(out).absolute()
    if target.is_dir() and any(target.iterdir()) and not (target / "searchindex.js").is_file():
        raise UserError(
            f"{out} holds something that is not a site, and a site replaces its folder as a whole. "
            "Choose another folder with --out."
        )
    if target.exists() and not target.is_dir():
        raise UserError(f"{out} is not a folder. Choose another place with --out.")
    return target


def _publish(html: Path, target: Path) -> None:
    try:
        with files.atomic_folder(target) as scratch:
            shutil.copytree(html, scratch, dirs_exist_ok=True, ignore=shutil.ignore_patterns(
                ".buildinfo*"))  # fmt: skip
    except OSError as error:
        reason = error.strerror or str(error)
        raise UserError(
            f"The site cannot be written to {target}: {reason}. Choose another folder with --out."
        ) from None
