"""Values as bytes and back: a safetensors file of the arrays, one of which is a JSON skeleton that
says what they make up together.

Nothing is pickled, so reading a file runs no code. Takes JSON values, bytes, numpy arrays and
numbers, torch tensors, DataFrames, dataclasses, and dicts, lists and tuples of these, to any depth;
what comes back has the same types and the same bits.
"""

import hashlib
import importlib
import io
import json
import sys
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import pandas as pd

SKELETON = "skeleton"
DIGEST = "sha256"


class BrokenError(Exception):
    """The bytes are not a value that was written whole by :func:`to_bytes`."""


def to_bytes(value: Any, notes: Mapping[str, str]) -> bytes:
    """``value`` as a safetensors file; ``notes`` are kept in its header, see :func:`read_notes`.

    Raises:
        TypeError: something in the value is of another type than those above.
    """
    import safetensors.torch
    import torch

    blobs: dict[str, Any] = {}
    skeleton = json.dumps(_encode(value, blobs)).encode()
    blobs[SKELETON] = torch.from_numpy(np.frombuffer(skeleton, np.uint8).copy())
    return safetensors.torch.save(blobs, {**notes, DIGEST: _digest(blobs)})


def from_bytes(content: bytes, packages: tuple[str, ...]) -> Any:
    """The value written by :func:`to_bytes`; tensors lie on the CPU.

    Args:
        content: the file.
        packages: top-level packages whose dataclasses may be made again.

    Raises:
        BrokenError: the content is truncated, changed, or names a class that is not there.
    """
    import safetensors
    import safetensors.torch

    try:
        blobs = safetensors.torch.load(content)
        if read_notes(content)[DIGEST] != _digest(blobs):
            raise BrokenError("the content does not match its digest")
        return _decode(json.loads(blobs[SKELETON].numpy().tobytes()), blobs, packages)
    except (safetensors.SafetensorError, LookupError, TypeError, ValueError) as error:
        raise BrokenError(str(error)) from error


def read_notes(content: bytes) -> dict[str, str]:
    """The header's notes, from the first bytes of a file.

    Raises:
        BrokenError: the header is not whole.
    """
    size = int.from_bytes(content[:8], "little")
    try:
        return json.loads(content[8 : 8 + size])["__metadata__"]
    except (ValueError, LookupError, TypeError) as error:
        raise BrokenError(f"the header is not whole: {error}") from error


def _encode(value: Any, blobs: dict[str, Any]) -> Any:
    """The JSON skeleton of a value; what is large goes to ``blobs``. Containers are
    ``[kind, ...]``, so that no key of the user's can be taken for one of ours."""
    if value is None or type(value) in (bool, int, float, str):
        return value
    if type(value) in (list, tuple):
        return [type(value).__name__, [_encode(one, blobs) for one in value]]
    if isinstance(value, dict):
        pairs = [[_encode(key, blobs), _encode(one, blobs)] for key, one in value.items()]
        return ["dict", pairs]
    if isinstance(value, bytes):
        return ["bytes", _store(np.frombuffer(value, np.uint8), blobs)]
    if isinstance(value, np.ndarray | np.generic):
        if value.dtype.hasobject:
            raise TypeError("an array of Python objects cannot be kept; use a list")
        array = np.ascontiguousarray(value)
        kind = "array" if isinstance(value, np.ndarray) else "number"
        raw = array.reshape(-1).view(np.uint8) if array.size else np.empty(0, np.uint8)
        return [kind, value.dtype.str, list(value.shape), _store(raw, blobs)]
    if isinstance(value, pd.DataFrame):
        return ["frame", _store(np.frombuffer(_frame_bytes(value), np.uint8), blobs)]
    if is_dataclass(value) and not isinstance(value, type):
        cls = type(value)
        inside = {field.name: getattr(value, field.name) for field in fields(value) if field.init}
        return ["dataclass", cls.__module__, cls.__qualname__, _encode(inside, blobs)]
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(value, torch.Tensor):
        return ["tensor", _store(value, blobs)]
    raise TypeError(
        f"a {type(value).__module__}.{type(value).__qualname__} cannot be kept without pickling; "
        "return plain data, arrays, tensors, DataFrames or dataclasses of these"
    )


def _decode(skeleton: Any, blobs: dict[str, Any], packages: tuple[str, ...]) -> Any:
    if not isinstance(skeleton, list):
        return skeleton
    kind, *rest = skeleton
    if kind in ("list", "tuple"):
        inside = [_decode(one, blobs, packages) for one in rest[0]]
        return inside if kind == "list" else tuple(inside)
    if kind == "dict":
        pairs = [[_decode(one, blobs, packages) for one in pair] for pair in rest[0]]
        return dict(pairs)
    if kind == "dataclass":
        return _make(rest[0], rest[1], _decode(rest[2], blobs, packages), packages)
    blob = blobs[rest[-1]]
    if kind == "tensor":
        return blob
    if kind == "bytes":
        return blob.numpy().tobytes()
    if kind == "frame":
        return _frame(blob.numpy().tobytes())
    dtype, shape = np.dtype(rest[0]), rest[1]
    array = blob.numpy().view(dtype).reshape(shape) if blob.numel() else np.empty(shape, dtype)
    return array if kind == "array" else array[()]


def _store(raw: Any, blobs: dict[str, Any]) -> str:
    """Keep an array or tensor as a CPU tensor that shares its memory with no other blob."""
    import torch

    if isinstance(raw, np.ndarray):
        tensor = torch.from_numpy(raw.copy())
    else:
        # Tied weights are two names of one memory, which safetensors refuses.
        tensor = raw.detach().cpu().contiguous().clone()
    name = str(len(blobs))
    blobs[name] = tensor
    return name


def _make(module: str, name: str, values: dict[str, Any], packages: tuple[str, ...]) -> Any:
    if module.split(".")[0] not in packages:
        raise BrokenError(f"the class {module}.{name} is of a foreign package")
    found: Any = importlib.import_module(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    if not (isinstance(found, type) and is_dataclass(found)):
        raise BrokenError(f"there is no dataclass {module}.{name}")
    return found(**values)


def _frame_bytes(frame: pd.DataFrame) -> bytes:
    import pyarrow as pa

    try:
        table = pa.Table.from_pandas(frame)
    except (pa.ArrowException, ValueError) as error:
        raise TypeError(f"a DataFrame has a column of mixed types ({error})") from None
    buffer = io.BytesIO()
    with pa.ipc.new_stream(buffer, table.schema) as stream:
        stream.write_table(table)
    return buffer.getvalue()


def _frame(content: bytes) -> pd.DataFrame:
    import pyarrow as pa

    return pa.ipc.open_stream(content).read_all().to_pandas()


def _digest(blobs: dict[str, Any]) -> str:
    import torch

    digest = hashlib.sha256()
    for name in sorted(blobs):
        digest.update(f"{name} {blobs[name].dtype} {tuple(blobs[name].shape)}".encode())
        digest.update(blobs[name].reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
