"""The saved state of a training: whole or not at all, and never another training's.

A checkpoint folder holds one folder per saved step, of which the newest counts; a new one is
written under a temporary name and renamed before the old one goes, so that a process killed at any
point leaves a whole one. Nothing is pickled.
"""

import hashlib
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from palimpsest.core import files
from palimpsest.core.errors import RunError

SCHEMA = 1
STEP = "step-"
JSON, TENSORS = "state.json", "{}.safetensors"


class Checkpoint:
    """A folder in which one training, known by its identity, keeps its state."""

    def __init__(self, folder: Path, identity: dict[str, Any]) -> None:
        """``identity`` is JSON: what must be equal for a state to be this training's."""
        self.folder = Path(folder)
        self.identity = json.loads(json.dumps(identity))

    def begin(self) -> None:
        """Make the folder, so that a place that cannot be written to is known before the work.

        Raises:
            RunError: it cannot be made or written to.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.folder):
                pass
        except OSError as error:
            raise RunError(
                f"The checkpoint folder {self.folder} cannot be written to: "
                f"{error.strerror or error}. Choose another."
            ) from None

    def latest(self) -> Path | None:
        """The newest whole state."""
        return max(self.folder.glob(f"{STEP}*"), default=None)

    def save(self, step: int, numbers: dict[str, Any], **tensors: dict[str, Tensor]) -> None:
        """Save JSON ``numbers`` and groups of tensors, one file each; drop older states.

        Raises:
            RunError: the folder cannot be written to; the state saved before is untouched.
        """
        try:
            with files.atomic_folder(self.folder / f"{STEP}{step:09d}") as scratch:
                for name, group in tensors.items():
                    held = {key: value.detach().contiguous() for key, value in group.items()}
                    save_file(held, scratch / TENSORS.format(name))
                state = {"schema": SCHEMA, "identity": self.identity, "step": step} | numbers
                files.write_json(scratch / JSON, state)
            for old in sorted(self.folder.glob(f"{STEP}*"))[:-1]:
                shutil.rmtree(old)
            for left in self.folder.glob(f"{files.TEMPORARY}*"):
                shutil.rmtree(left, ignore_errors=True)
        except (OSError, SafetensorError) as error:
            reason = getattr(error, "strerror", None) or error
            raise RunError(
                f"The checkpoint {self.folder} cannot be written: {reason}. Make room or choose "
                "another folder, then resume: what was saved there before is whole."
            ) from None

    def state(self) -> dict[str, Any] | None:
        """The numbers of the newest state, of whatever training; None if there is none.

        Raises:
            RunError: it cannot be read, or another version wrote it.
        """
        latest = self.latest()
        if latest is None:
            return None
        try:
            state = json.loads((latest / JSON).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise self._damaged(latest, error) from None
        if state.get("schema") != SCHEMA:
            raise RunError(
                f"The checkpoint {latest} was written by another version of Palimpsest. Delete "
                f"{self.folder} to begin anew."
            )
        return state

    def _damaged(self, latest: Path, error: Exception) -> RunError:
        return RunError(
            f"The checkpoint {latest} is damaged ({error}). Delete {self.folder} to begin anew."
        )

    def load(self, *names: str) -> tuple[dict[str, Any], dict[str, dict[str, Tensor]]] | None:
        """The newest state: its numbers and the named groups of tensors that it has; None if there
        is none.

        Raises:
            RunError: it is unreadable, or of another training; the message names the difference.
        """
        state, latest = self.state(), self.latest()
        if state is None or latest is None:
            return None
        different = _differences(state["identity"], self.identity)
        if different:
            raise RunError(
                f"The checkpoint {self.folder} belongs to another training: {'; '.join(different)}."
                " Resume with what it was begun with, or choose another folder."
            )
        paths = {name: latest / TENSORS.format(name) for name in names}
        try:
            return state, {name: load_file(path) for name, path in paths.items() if path.exists()}
        except (OSError, SafetensorError) as error:
            raise self._damaged(latest, error) from None


def weights_digest(model: nn.Module) -> str:
    """Hex SHA-256 over names, types, shapes and bytes of all parameters."""
    digest = hashlib.sha256()
    for name, parameter in sorted(model.named_parameters()):
        digest.update(f"{name} {parameter.dtype} {tuple(parameter.shape)}".encode())
        flat = parameter.detach().cpu().contiguous().flatten()
        digest.update(flat.view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _differences(saved: dict[str, Any], wanted: dict[str, Any], under: str = "") -> list[str]:
    """What differs, in words: values of settings, names of whatever is known by a hash."""
    found = []
    for name in dict.fromkeys((*saved, *wanted)):
        before, now = saved.get(name), wanted.get(name)
        if before == now:
            continue
        if isinstance(before, dict) and isinstance(now, dict):
            found += _differences(before, now, f"{name}.")
        elif isinstance(before, str) and len(before) == 64:
            found.append(f"{under}{name}: not the same")
        else:
            found.append(f"{under}{name} was {before!r} and is {now!r}")
    return found
