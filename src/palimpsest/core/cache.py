"""The one cache: values of study cells, found again by everything that made them.

The key of a value is a digest of the function's code and all the code it reaches, of its inputs,
and of the versions of the stack (:mod:`palimpsest.core.digests`), so a value is never found after
something that matters has changed, and nothing needs to be invalidated by hand. Losing the cache
costs only time; it is bounded, and may be shared by processes and survive their sudden end, since
an entry is one file that appears whole or not at all.
"""

import hashlib
import os
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from palimpsest.core import digests, files, places, serial

LIMIT_BYTES = 8 * 1024**3
SUFFIX = ".safetensors"
# A temporary file this old was left by a process that was killed: writing takes far less.
STALE_SECONDS = 24 * 3600.0


class CacheWarning(UserWarning):
    """A value could not be kept: the next run will compute it again."""


@dataclass(frozen=True)
class Entry:
    """One kept value: which function made it, in how many seconds, how large the file is, and when
    it was last used (seconds since the epoch)."""

    path: Path
    function: str
    seconds: float
    size: int
    used: float


class Cache:
    """Values of functions on disk, the least recently used given up when there are too many bytes.

    Args:
        folder: where; by default the user's cache folder, or ``$PALIMPSEST_CACHE``.
        limit_bytes: the most that all entries together may take.
    """

    def __init__(self, folder: Path | None = None, limit_bytes: int = LIMIT_BYTES) -> None:
        self.folder = Path(folder) if folder is not None else places.cache_folder()
        self.limit_bytes = limit_bytes
        digests.remember_code()

    def cell(self, function: Callable[..., Any], /, **inputs: Any) -> Any:
        """``function(**inputs)``, computed only if it is not kept yet.

        The function must be at the top level of a module, depend on nothing but its inputs, and not
        change them. Computed or found, the value returned is the same: it has been through the file
        format either way.

        Raises:
            TypeError: the function is a lambda or closure, or an input or the value is of a type
                that cannot be hashed or kept (see ``digests`` and ``serial``).
        """
        return self.look_up(function, **inputs)[0]

    def look_up(self, function: Callable[..., Any], /, **inputs: Any) -> tuple[Any, bool]:
        """As :meth:`cell`, with whether the value had to be computed."""
        path = self._path(function, inputs)
        packages = (digests.PACKAGE, function.__module__.split(".")[0])
        try:
            value = serial.from_bytes(path.read_bytes(), packages)
        except (OSError, serial.BrokenError):
            pass
        else:
            _touch(path)
            return value, False
        started = time.perf_counter()
        value = function(**inputs)
        name = f"{function.__module__}.{function.__qualname__}"
        notes = {"function": name, "seconds": f"{time.perf_counter() - started:.3f}"}
        try:
            content = serial.to_bytes(value, notes)
        except TypeError as error:
            raise TypeError(f"the value of {name}: {error}") from None
        self._keep(path, content)
        return serial.from_bytes(content, packages), True

    def entries(self) -> list[Entry]:
        """What is kept, the last used first."""
        found = [entry for path in self._files(f"*{SUFFIX}") if (entry := _entry(path))]
        return sorted(found, key=lambda entry: -entry.used)

    def show(self) -> str:
        """What is kept, as a table for a person: entries, size and seconds saved by function."""
        groups: dict[str, list[Entry]] = {}
        for entry in self.entries():
            groups.setdefault(entry.function, []).append(entry)
        size = sum(entry.size for entries in groups.values() for entry in entries)
        lines = [
            f"{self.folder}: {sum(map(len, groups.values()))} values, {size / 1024**2:.1f} MiB of "
            f"at most {self.limit_bytes / 1024**2:.0f} MiB"
        ]
        for name, entries in sorted(groups.items()):
            megabytes = sum(entry.size for entry in entries) / 1024**2
            seconds = sum(entry.seconds for entry in entries)
            lines.append(
                f"  {name}: {len(entries)} values, {megabytes:.1f} MiB, made in {seconds:.1f} s"
            )
        return "\n".join(lines)

    def clear(self) -> int:
        """Delete every entry, and nothing else in the folder; returns the bytes freed."""
        freed = 0
        for pattern in (f"*{SUFFIX}", f"{files.TEMPORARY}*"):
            for path in self._files(pattern):
                freed += _delete(path)
        return freed

    def _path(self, function: Callable[..., Any], inputs: dict[str, Any]) -> Path:
        parts = f"{digests.of_function(function)} {digests.of_inputs(inputs)}"
        key = hashlib.sha256(parts.encode()).hexdigest()
        return self.folder / key[:2] / f"{key}{SUFFIX}"

    def _keep(self, path: Path, content: bytes) -> None:
        if len(content) > self.limit_bytes:
            reason = f"it takes {len(content)} bytes of the {self.limit_bytes} allowed"
        else:
            try:
                files.write_bytes(path, content)
                self._evict()
            except OSError as error:
                reason = str(error)
            else:
                return
        warnings.warn(f"a value could not be cached: {reason}", CacheWarning, stacklevel=4)

    def _evict(self) -> None:
        """Delete what killed processes left, and the least recently used beyond the limit."""
        for path in self._files(f"{files.TEMPORARY}*"):
            if time.time() - _used(path) > STALE_SECONDS:
                _delete(path)
        kept = sorted((_used(path), path) for path in self._files(f"*{SUFFIX}"))
        total = sum(_size(path) for _, path in kept)
        for _, path in kept:
            if total <= self.limit_bytes:
                return
            total -= _delete(path)

    def _files(self, pattern: str) -> list[Path]:
        return sorted(self.folder.glob(f"[0-9a-f][0-9a-f]/{pattern}"))


def _entry(path: Path) -> Entry | None:
    try:
        with path.open("rb") as stream:
            start = stream.read(8)
            length = min(int.from_bytes(start, "little"), _size(path))
            notes = serial.read_notes(start + stream.read(length))
        return Entry(path, notes["function"], float(notes["seconds"]), _size(path), _used(path))
    except (OSError, serial.BrokenError, LookupError, ValueError):
        return None


def _used(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _touch(path: Path) -> None:
    """Note the use; a cache that may only be read is still a cache."""
    try:
        os.utime(path)
    except OSError:
        return


def _delete(path: Path) -> int:
    """Delete a file if it is still there and may be deleted; returns the bytes freed."""
    size = _size(path)
    try:
        path.unlink()
    except OSError:
        return 0
    return size
