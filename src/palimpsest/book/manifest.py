"""A run folder: its manifest, its lock, and where its parts lie (design, section 6).

    RUN/manifest.json                 what was run, on which model, and how each chapter ended
    RUN/chapters/NN_name.ipynb        as executed
    RUN/results/NN_name/results.json  values, tables, figures and claims

A folder is written by one process at a time, which holds a lock on the folder itself; the lock goes
with the process, however it ends.
"""

import errno
import fcntl
import json
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from palimpsest.core import files
from palimpsest.core.errors import RunError

SCHEMA = 1
FILE = "manifest.json"
STATUSES = ("pending", "running", "finished", "failed")
STACK = (
    "palimpsest",
    "torch",
    "transformers",
    "tokenizers",
    "datasets",
    "lm-eval",
    "peft",
    "numpy",
    "scipy",
    "pandas",
    "matplotlib",
    "jupyter-book",
)
# A run must never begin on a folder that is about to overflow.
ROOM_BYTES = 16 * 1024**2

_SHAPE: dict[str, Any] = {
    "model": str,
    "weights_sha256": str,
    "tokenizer_sha256": str,
    "profile": str,
    "seed": int,
    "data": str,
    "device": str,
    "dtype": str,
    "parameters": dict,
    "given": dict,
    "versions": dict,
    "chapters": dict,
}


def results_folder(run: Path, chapter: str) -> Path:
    """Where a chapter's results lie in a run."""
    return Path(run) / "results" / chapter


def executed_notebook(run: Path, chapter: str) -> Path:
    """Where a chapter's notebook lies in a run, as executed."""
    return Path(run) / "chapters" / f"{chapter}.ipynb"


def new_manifest(
    identity: dict[str, str], *, profile: str, seed: int, data: str, device: str, dtype: str
) -> dict[str, Any]:
    """The manifest of a run that has no chapters yet.

    Args:
        identity: ``model``, ``weights_sha256`` and ``tokenizer_sha256``.
    """
    return {
        "schema": SCHEMA,
        **{key: identity[key] for key in ("model", "weights_sha256", "tokenizer_sha256")},
        "profile": profile,
        "seed": seed,
        "data": data,
        "device": device,
        "dtype": dtype,
        "created": now(),
        "parameters": {},
        "given": {},
        "versions": versions(),
        "chapters": {},
    }


def new_entry(profile: str, device: str, source_sha256: str) -> dict[str, Any]:
    """A chapter's entry in the manifest before it runs."""
    return {
        "status": "pending",
        "start": None,
        "end": None,
        "seconds": None,
        "peak_memory_mb": None,
        "profile": profile,
        "device": device,
        "source_sha256": source_sha256,
        "error": None,
    }


def read_manifest(run: Path) -> dict[str, Any]:
    """The manifest of a run, checked.

    Raises:
        RunError: ``run`` is no run folder, or its manifest is broken.
    """
    path = Path(run) / FILE
    if not Path(run).is_dir():
        raise RunError(f"There is no run folder {run}. `palimpsest run --out {run}` makes one.")
    if not path.is_file():
        raise RunError(f"{run} is not a run folder: it has no {FILE}.")
    try:
        manifest = json.loads(files.read_text(path, what="manifest"))
    except ValueError as error:
        raise RunError(f"{path} is not JSON: {error}. Start the run anew elsewhere.") from None
    for problem in problems(manifest):
        raise RunError(f"{path} does not follow the schema: {problem}.")
    return manifest


def problems(manifest: Any) -> Iterator[str]:
    """What in a manifest departs from the schema, one sentence each."""
    if not isinstance(manifest, dict):
        yield "it is not an object"
        return
    if manifest.get("schema") != SCHEMA:
        yield f"its 'schema' is {manifest.get('schema')!r}, not {SCHEMA}"
        return
    for key, kind in _SHAPE.items():
        if not isinstance(manifest.get(key), kind) or isinstance(manifest.get(key), bool):
            yield f"'{key}' is missing or of a wrong type"
            return
    for name, entry in manifest["chapters"].items():
        if not isinstance(entry, dict) or entry.get("status") not in STATUSES:
            yield f"the chapter '{name}' has no status of {', '.join(STATUSES)}"


def write_manifest(run: Path, manifest: dict[str, Any]) -> None:
    """Write the manifest atomically.

    Raises:
        RunError: the folder cannot be written.
    """
    with writing(run):
        files.write_json(Path(run) / FILE, manifest)


@contextmanager
def writing(run: Path) -> Iterator[None]:
    """Turn a failure to write below ``run`` into a message for people.

    Raises:
        RunError: the file system is read-only or full, or the place cannot hold files.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            advice = "Free some space and call the same command with --resume."
        else:
            advice = "Choose another folder with --out."
        raise RunError(f"{run} cannot be written: {reason}. {advice}") from None


def hold(run: Path) -> int:
    """Lock an existing run folder for this process, until the returned handle is closed.

    Raises:
        RunError: another process holds the lock.
    """
    with writing(run):
        handle = os.open(run, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(handle)
        if isinstance(error, BlockingIOError):
            raise RunError(
                f"Another run is writing to {run}. Wait until it ends, or choose another folder "
                "with --out."
            ) from None
        raise RunError(
            f"{run} lies on a file system that cannot lock folders ({error.strerror}). Choose a "
            "folder on a local disk with --out."
        ) from None
    return handle


@contextmanager
def locked(run: Path) -> Iterator[None]:
    """Hold the lock of an existing run folder for the time of a ``with`` block.

    Raises:
        RunError: another process holds it.
    """
    handle = hold(run)
    try:
        yield
    finally:
        os.close(handle)


def make_folder(run: Path) -> bool:
    """Make the run folder if it is missing, and see that it can be written and has room.

    Returns:
        True if the folder was made.

    Raises:
        RunError: it cannot be made or written, or the file system is full.
    """
    run = Path(run)
    made = not run.exists()
    with writing(run):
        run.mkdir(parents=True, exist_ok=True)
        try:
            probe = run / f"{files.TEMPORARY}probe"
            files.write_bytes(probe, b"")
            probe.unlink()
            space = os.statvfs(run)
            if space.f_bavail * space.f_frsize < ROOM_BYTES:
                raise OSError(
                    errno.ENOSPC, f"less than {ROOM_BYTES // 1024**2} MiB are free on its device"
                )
        except OSError:
            if made:
                run.rmdir()
            raise
    return made


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that make the numbers."""
    found = {"python": platform.python_version()}
    for package in STACK:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def now() -> str:
    """The time in UTC to the second, as written into a manifest."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def written_by(run: Path) -> int | None:
    """The process that is writing to a run folder, by what its manifest says."""
    if not (Path(run) / FILE).is_file():
        return None
    return read_manifest(run).get("process")
