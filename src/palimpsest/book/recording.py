"""Beginning and ending a chapter in a run folder, and whether a folder may be continued.

Used by the command, which runs chapter after chapter, and by a notebook that papermill or a person
executes with ``out`` set.
"""

import os
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from palimpsest.book import manifest
from palimpsest.book.contents import Book
from palimpsest.book.parameters import Common, Resolved
from palimpsest.book.sources import source_sha256
from palimpsest.core.errors import RunError
from palimpsest.core.results import plain

if TYPE_CHECKING:
    from palimpsest.core.models import LanguageModel

SAME = ("weights_sha256", "tokenizer_sha256", "profile", "seed", "data")

# Locks of notebooks executed by themselves; they end with this process.
_HELD: dict[Path, int] = {}


@dataclass(frozen=True)
class Model:
    """What a run must know of its model before it starts."""

    name: str
    identity: dict[str, str]
    device: str
    dtype: str


def inspect_model(common: Common) -> Model:
    """Load the model once to see that it works, and describe it.

    Raises:
        ModelError: it cannot be used.
    """
    from palimpsest.core.models import load

    return describe(load(common.model, common.device, common.dtype), common)


def describe(lm: "LanguageModel", common: Common) -> Model:
    """What a manifest says of a loaded model."""
    from palimpsest.core.models import tokenizer_sha256, weights_sha256

    folder = lm.path
    if folder is None:
        from huggingface_hub import snapshot_download

        folder = Path(snapshot_download(lm.name, local_files_only=True))
    identity = {
        "model": common.model,
        "weights_sha256": weights_sha256(folder),
        "tokenizer_sha256": tokenizer_sha256(lm.tokenizer),
    }
    return Model(lm.name, identity, device_name(lm), str(lm.dtype).removeprefix("torch."))


def device_name(lm: "LanguageModel") -> str:
    """``cpu``, or the name of the card that holds the model."""
    if lm.device.type != "cuda":
        return lm.device.type
    import torch

    return torch.cuda.get_device_name(lm.device)


def chosen_device() -> str:
    """What ``auto`` means on this machine."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def manifest_before(out: Path, resume: bool) -> dict[str, Any] | None:
    """The manifest of the run to be continued; None if the run is new."""
    if out.is_dir() and not any(out.iterdir()):
        return None
    if out.is_dir() and resume:
        return manifest.read_manifest(out)
    if out.exists() or out.is_symlink():
        what = "exists already" if out.is_dir() else "is not a folder"
        advice = "Continue that run with --resume, or choose" if out.is_dir() else "Choose"
        raise RunError(f"{out} {what}. {advice} another folder with --out.")
    return None


def join(before: dict[str, Any] | None, model: Model, common: Common, out: Path) -> dict[str, Any]:
    """The manifest to go on with: a new one, or the old one if it is about the same run."""
    fresh = manifest.new_manifest(
        model.identity,
        profile=common.profile,
        seed=common.seed,
        data=common.data,
        device=model.device,
        dtype=model.dtype,
    )
    if before is None:
        return fresh
    for key in SAME:
        if before[key] != fresh[key]:
            label = {"weights_sha256": "model", "tokenizer_sha256": "tokenizer"}.get(key, key)
            was, now = (before["model"], fresh["model"]) if label == "model" else (
                before[key], fresh[key])  # fmt: skip
            changed = " (its weights have changed)" if was == now else ""
            raise RunError(
                f"{out} is a run with {label} {was}, and {now}{changed} was asked for. A run is "
                "never continued with another model, profile, seed or data; choose another folder "
                "with --out."
            )
    keep = ("created", "parameters", "given", "chapters")
    return {**fresh, **{key: before[key] for key in keep if key in before}}


def enter(
    found: dict[str, Any],
    book: Book,
    name: str,
    profile: str,
    resolved: Resolved,
    given: Mapping[str, Any],
) -> None:
    """Put a chapter that is to run into the manifest."""
    chapters = found["chapters"]
    chapters[name] = manifest.new_entry(profile, found["device"], source_sha256(book, name))
    found["chapters"] = {n: chapters[n] for n in book.specs if n in chapters}
    found["parameters"][name] = plain(resolved.values)
    found["given"][name] = plain(dict(given))


def begin(folder: Path, found: dict[str, Any], name: str) -> None:
    """Note that a chapter starts, and clear away what an earlier attempt left of it."""
    found["chapters"][name].update(status="running", start=manifest.now(), end=None, error=None)
    with manifest.writing(folder):
        shutil.rmtree(manifest.results_folder(folder, name), ignore_errors=True)
        manifest.executed_notebook(folder, name).unlink(missing_ok=True)
    manifest.write_manifest(folder, found)


def end(folder: Path, found: dict[str, Any], name: str, error: dict[str, Any] | None) -> None:
    """Note how a chapter ended; ``error`` has its cell, that cell's first line, and the cause."""
    status = "failed" if error else "finished"
    found["chapters"][name].update(status=status, end=manifest.now(), error=error)
    manifest.write_manifest(folder, found)


def record_alone(
    book: Book,
    name: str,
    common: Common,
    resolved: Resolved,
    given: Mapping[str, Any],
    lm: "LanguageModel",
) -> Callable[[float], None]:
    """Make ``common.out`` the run folder of a notebook that papermill or a person executes.

    The folder stays locked until the returned function is called or the process ends.

    Returns:
        A function that marks the chapter as finished, given its peak memory in MiB.

    Raises:
        RunError: the folder belongs to another run, cannot be written, or is in use.
    """
    started = time.monotonic()
    out = Path(str(common.out)).expanduser().absolute()
    if out in _HELD:  # the notebook is executed again in the same kernel
        os.close(_HELD.pop(out))
    model = describe(lm, common)
    found = join(manifest_before(out, resume=True), model, common, out)
    manifest.make_folder(out)
    _HELD[out] = manifest.hold(out)
    enter(found, book, name, common.profile, resolved, given)
    begin(out, found, name)

    def finish(peak_memory_mb: float) -> None:
        entry = found["chapters"][name]
        entry["seconds"] = round(time.monotonic() - started, 2)
        entry["peak_memory_mb"] = round(peak_memory_mb, 1)
        end(out, found, name, None)
        os.close(_HELD.pop(out))

    return finish
