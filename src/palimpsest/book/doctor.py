"""What is installed, missing or stale, and what a run would cost here."""

import os
import platform
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import psutil
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from palimpsest.book import manifest, recording
from palimpsest.book.contents import PROFILES, Book
from palimpsest.book.parameters import Common, disagreements, read_profiles
from palimpsest.book.run_data import RunData
from palimpsest.book.sources import source_sha256
from palimpsest.core import places
from palimpsest.core.errors import UserError, nearest

PACKAGE = "palimpsest"
UNWANTED = ("torchvision", "torchaudio")
LISTED = 5

State = Literal["ok", "warning", "broken"]


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    state: State
    text: str

    @property
    def broken(self) -> bool:
        """Whether runs or builds cannot work because of it."""
        return self.state == "broken"

    def __str__(self) -> str:
        return f"{self.state:>8}  {self.text}"


def examine(book: Book, *, profile: str | None = None, model: str | None = None) -> list[Finding]:
    """Look at everything a run needs.

    Args:
        profile: tell the cost of this profile only.
        model: also see whether this model can be used; the shipped model is always looked at.

    Raises:
        UserError: there is no such profile.
    """
    if profile is not None and profile not in PROFILES:
        raise UserError(f"There is no profile '{profile}'; {nearest(profile, PROFILES)}")
    return [
        *_packages(book),
        *_machine(),
        *_model(Common().model if model is None else model),
        *_chapters(book),
        *_reference(book),
        *_costs(book, profile),
    ]


def _packages(book: Book) -> Iterator[Finding]:
    yield Finding("ok", f"Python {platform.python_version()} at {sys.executable}")
    missing = []
    for line in metadata.requires(PACKAGE) or []:
        needed = Requirement(line)
        if needed.marker is None or needed.marker.evaluate({"extra": ""}):
            have = _installed(needed.name)
            if have is None:
                missing.append(needed.name)
            elif not needed.specifier.contains(have, prereleases=True):
                missing.append(f"{needed.name}{needed.specifier} (installed: {have})")
    if missing:
        yield Finding("broken", f"Missing: {', '.join(missing)}. `make install` installs them.")
    lock = book.root / "requirements.lock"
    if lock.is_file():
        yield _against_lock(lock)
    for name in UNWANTED:
        if find_spec(name) is not None:
            yield Finding(
                "warning",
                f"{name} is installed. The book does not use it, and one that was not built for "
                "this PyTorch breaks imports of transformers. `pip uninstall` it if that happens.",
            )


def _against_lock(lock: Path) -> Finding:
    pins = re.findall(r"^([A-Za-z0-9._-]+)==([^\s;#]+)", lock.read_text(encoding="utf-8"), re.M)
    other = []
    for name, pinned in pins:
        have = _installed(name)
        if have is not None and Version(have).public != Version(pinned).public:
            other.append(f"{canonicalize_name(name)} {have} (lock: {pinned})")
    if not other:
        return Finding("ok", "Packages are those of the lock.")
    more = f" and {len(other) - LISTED} more" if len(other) > LISTED else ""
    return Finding("warning", f"Other versions than the lock's: {', '.join(other[:LISTED])}{more}.")


def _installed(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _machine() -> Iterator[Finding]:
    import torch

    if torch.cuda.is_available():
        free, total = torch.cuda.mem_get_info()
        card = torch.cuda.get_device_name()
        yield Finding(
            "ok", f"Device: {card}, {free / 2**30:.1f} of {total / 2**30:.1f} GiB free, and CPU"
        )
    else:
        yield Finding("ok", f"Device: CPU; PyTorch {torch.__version__} sees no CUDA device")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = psutil.virtual_memory()
    yield Finding(
        "ok",
        f"{cores} cores, {memory.available / 2**30:.1f} of {memory.total / 2**30:.1f} GiB free",
    )
    folder = places.cache_folder()
    there = next(path for path in (folder, *folder.parents) if path.exists())
    free_disk = shutil.disk_usage(there).free
    where = f"cache of study cells: {folder}, {free_disk / 2**30:.1f} GiB free on its disk"
    if not os.access(there, os.W_OK):
        yield Finding("warning", f"The {where}, cannot be written: nothing will be kept.")
    else:
        yield Finding("ok" if free_disk > 2**30 else "warning", f"The {where}")


def _model(name: str) -> Iterator[Finding]:
    try:
        model = recording.inspect_model(replace(Common(), model=name))
    except UserError as error:
        yield Finding("broken", f"Model {name}: {error}")
    else:
        weights = model.identity["weights_sha256"][:12]
        yield Finding("ok", f"Model {name}: works on {model.device} (weights {weights})")


def _chapters(book: Book) -> Iterator[Finding]:
    for name in book.written():
        try:
            problems = disagreements(book, name)
        except UserError as error:
            problems = [str(error)]
        for problem in problems:
            yield Finding("broken", f"{name}: the notebook and its studies disagree: {problem}")


def _reference(book: Book) -> Iterator[Finding]:
    try:
        run = RunData(book.reference)
    except UserError as error:
        yield Finding("broken", f"The reference run: {error}")
        return
    if run.manifest is None:
        yield Finding("warning", "The reference run is empty: the site would have no results.")
        return
    for name in book.written():
        if run.status(name) != "finished":
            yield Finding("warning", f"The reference run: {name} is {run.status(name)}.")
        elif run.results(name) is None:
            yield Finding("broken", f"The reference run: {run.broken.get(name, name)}")
        elif run.notebook(name) is None:
            where = manifest.executed_notebook(book.reference, name)
            yield Finding("broken", f"The reference run: {where} is missing or broken.")
        elif run.chapters[name]["source_sha256"] != source_sha256(book, name):
            yield Finding("warning", f"The reference run: {name} is stale, its code has changed.")
        else:
            yield Finding("ok", f"The reference run: {name} is up to date.")


def _costs(book: Book, profile: str | None) -> Iterator[Finding]:
    free = psutil.virtual_memory().available / 2**20
    try:
        stated = read_profiles(book) if book.written() else {}
    except UserError as error:
        yield Finding("broken", str(error))
        return
    for name in book.written():
        for key, cost in stated.get(name, {}).items():
            if profile in (None, key):
                text = (
                    f"{name}, {key}: about {cost.seconds:.0f} s and {cost.memory_mb:.0f} MiB on "
                    "two free cores with a cold cache"
                )
                enough = cost.memory_mb < free
                note = "" if enough else f"; only {free:.0f} MiB are free"
                yield Finding("ok" if enough else "warning", text + note)
        if profile is not None and profile not in stated.get(name, {}):
            yield Finding("warning", f"{name} states no cost for the profile '{profile}'.")
