"""Whole files or none: atomic writes, and reads that say what is wrong with a file.

Everything is written under a temporary name in the same folder, flushed, and renamed, so that a
process killed at any point leaves either the old file or the new one.
"""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from palimpsest.core.errors import DataError

TEMPORARY = ".partial-"
MAX_TEXT_BYTES = 2 * 1024**3


def write_bytes(path: Path, content: bytes) -> None:
    """Write ``content`` to ``path`` atomically; parents are made."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=TEMPORARY, dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        # mkstemp makes files private; the result should be as readable as any other file.
        Path(name).chmod(0o666 & ~_umask())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def write_text(path: Path, content: str) -> None:
    """Write UTF-8 text atomically."""
    write_bytes(path, content.encode("utf-8"))


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as indented JSON, keys in the order given, atomically."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder that becomes ``path`` if the block ends well, and vanishes if not.

    An existing ``path`` is replaced as a whole.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=TEMPORARY, dir=path.parent))
    try:
        yield scratch
        scratch.chmod(0o777 & ~_umask())
        if path.exists():
            old = Path(tempfile.mkdtemp(prefix=TEMPORARY, dir=path.parent))
            path.replace(old / "old")
            scratch.replace(path)
            shutil.rmtree(old)
        else:
            scratch.replace(path)
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        raise


def sha256_file(path: Path) -> str:
    """Hex SHA-256 of a file's bytes."""
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def read_text(path: Path, *, what: str = "text", max_bytes: int = MAX_TEXT_BYTES) -> str:
    """Read a non-empty UTF-8 file.

    Raises:
        DataError: the file is missing, a folder, unreadable, empty, larger than ``max_bytes``,
            binary, or not UTF-8; the message names the file and the place.
    """
    path = Path(path)
    try:
        size = path.stat().st_size
        if path.is_dir():
            raise DataError(f"{path} is a folder; a {what} file was expected.")
        if size == 0:
            raise DataError(f"{path} is empty; a {what} file was expected.")
        if size > max_bytes:
            raise DataError(
                f"{path} has {size / 1024**2:.0f} MiB, more than the {max_bytes / 1024**2:.0f} MiB "
                f"that a {what} file may have. Split it into smaller files in one folder."
            )
        content = path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"There is no file {path}; a {what} file was expected.") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.") from None
    if b"\0" in content:
        raise DataError(f"{path} is a binary file; a {what} file in UTF-8 was expected.")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{path} is not UTF-8: byte 0x{content[error.start]:02x} in line {line}. "
            "Save it as UTF-8 and try again."
        ) from None


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
