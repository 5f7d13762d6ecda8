"""A model folder on disk, checked before anything is loaded from it.

A Hugging Face folder holds ``config.json``, the weights as safetensors (one file, or shards with an
index) and a tokenizer. Everything that can be told from the files alone is told here, in words:
reading a header costs microseconds, and a failed load of a large model costs minutes.
"""

import hashlib
import itertools
import json
import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from palimpsest.core.errors import ModelError
from palimpsest.core.files import sha256_file

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "vocab.json",
    "vocab.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tekken.json",
)
_PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".h5", ".msgpack")
_MAX_HEADER_BYTES = 100_000_000  # the limit of the safetensors format itself
_DTYPE_BYTES = {
    "F64": 8,
    "I64": 8,
    "U64": 8,
    "C64": 8,
    "F32": 4,
    "I32": 4,
    "U32": 4,
    "F16": 2,
    "BF16": 2,
    "I16": 2,
    "U16": 2,
    "F8_E4M3": 1,
    "F8_E5M2": 1,
    "I8": 1,
    "U8": 1,
    "BOOL": 1,
}


@dataclass(frozen=True)
class StoredTensor:
    """One entry of a safetensors header: stored type and shape."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def floating(self) -> bool:
        return self.dtype.startswith(("F", "BF"))

    @property
    def count(self) -> int:
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        return self.count * _DTYPE_BYTES.get(self.dtype, 1)


@dataclass(frozen=True)
class ModelFolder:
    """What a model folder holds: its parsed ``config.json`` and the headers of its weights."""

    path: Path
    config: dict[str, Any]
    weights: tuple[Path, ...]
    tensors: dict[str, StoredTensor]

    def memory(self, itemsize: int) -> int:
        """Bytes of the weights once their floating-point numbers take ``itemsize`` bytes each."""
        if "quantization_config" in self.config:
            return sum(tensor.bytes for tensor in self.tensors.values())
        return sum(
            tensor.count * itemsize if tensor.floating else tensor.bytes
            for tensor in self.tensors.values()
        )


def read_model_folder(folder: Path, name: str | None = None) -> ModelFolder:
    """Check a model folder's files and read what describes them. Nothing is loaded.

    Raises:
        ModelError: as :func:`read_config`; the weights are missing, pickled, truncated or corrupt;
            a shard is missing; there is no tokenizer.
    """
    folder, name = Path(folder), name or str(folder)
    config = read_config(folder, name)
    files = _names(folder)
    weights = _weight_files(folder, name, files)
    tensors: dict[str, StoredTensor] = {}
    for path in weights:
        tensors.update(read_header(path))
    if not any(file in files for file in TOKENIZER_FILES):
        raise ModelError(
            f"The model {name} has no tokenizer: none of {', '.join(TOKENIZER_FILES[:4])} is in "
            f"{folder}. Save the tokenizer it was trained with into the same folder "
            "(tokenizer.save_pretrained)."
        )
    return ModelFolder(folder, config, weights, tensors)


def read_config(folder: Path, name: str | None = None) -> dict[str, Any]:
    """``config.json`` of a model folder as a dictionary.

    Raises:
        ModelError: the folder is a file or empty; ``config.json`` is missing, unreadable, not JSON,
            or not an object with a ``model_type``.
    """
    folder, name = Path(folder), name or str(folder)
    if folder.is_file():
        raise ModelError(
            f"{folder} is a file, and a model is a folder with config.json, model.safetensors and "
            f"a tokenizer. Give the folder, probably {folder.parent}."
        )
    if not _names(folder):
        raise ModelError(
            f"The folder {folder} is empty. A model folder with config.json, model.safetensors and "
            "a tokenizer was expected; save one with save_pretrained, or give another path."
        )
    path = folder / "config.json"
    if not path.exists():
        if (folder / "adapter_config.json").exists():
            raise ModelError(
                f"{name} is an adapter (LoRA), not a whole model. Merge it into its base model "
                "(merge_and_unload in peft), save the result, and give that folder."
            )
        raise ModelError(
            f"There is no config.json in {folder}, so it is not a Hugging Face model folder "
            f"(it holds: {_listing(folder)}). Give the folder that save_pretrained wrote."
        )
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror or error}.") from None
    except ValueError as error:
        raise ModelError(
            f"{path} is not valid JSON ({error}). It is damaged or only partly downloaded; fetch "
            "or save the model again."
        ) from None
    if not isinstance(config, dict):
        raise ModelError(
            f"{path} holds a {type(config).__name__}, and a JSON object with the model's settings "
            "was expected. Fetch or save the model again."
        )
    if not isinstance(config.get("model_type"), str) and "auto_map" not in config:
        raise ModelError(
            f"{path} names no model_type, so the architecture is unknown. Give a model saved by "
            "Hugging Face transformers (its config.json has an entry such as "
            '"model_type": "llama").'
        )
    return config


def read_header(path: Path) -> dict[str, StoredTensor]:
    """The tensors that a safetensors file says it holds, after checking that it holds them.

    The format is: eight bytes with the header's length, the header in JSON, then the numbers
    without gaps (https://github.com/huggingface/safetensors, "Format").

    Raises:
        ModelError: the file is missing, too short, too long, or its header is damaged.
    """
    path = Path(path)
    advice = "Fetch or save the model again."
    try:
        size = path.stat().st_size
        with path.open("rb") as stream:
            start = stream.read(8)
            if start == b"version ":
                raise ModelError(
                    f"{path} is a Git LFS pointer, not the weights. Run 'git lfs pull' in the "
                    "repository it came from."
                )
            length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
            if not 2 <= length <= min(_MAX_HEADER_BYTES, size - 8):
                raise ModelError(
                    f"{path} is not a safetensors file, or is cut off: it has {size} bytes, and "
                    f"its first eight announce a header of {length}. {advice}"
                )
            header = json.loads(stream.read(length))
    except FileNotFoundError:
        raise ModelError(f"There is no weights file {path}. {advice}") from None
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror or error}.") from None
    except ValueError:
        raise ModelError(f"The header of {path} is damaged: it is not JSON. {advice}") from None
    try:
        return _stored_tensors(header, path, size - 8 - length, advice)
    except (AttributeError, KeyError, TypeError, ValueError):
        raise ModelError(
            f"The header of {path} is damaged: an entry lacks its type, shape or place. {advice}"
        ) from None


def announced_bytes(folder: Path) -> int:
    """Bytes of weights that the shards' index announces before they are there; 0 if unknown."""
    try:
        index = json.loads((Path(folder) / INDEX).read_text(encoding="utf-8"))
        return int(index["metadata"]["total_size"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0


def weights_sha256(folder: Path) -> str:
    """Hex SHA-256 of a folder's weights.

    One file: the hash of its bytes, as ``sha256sum`` prints it. Shards: the hash of the lines
    "hash  file name" in the order of the names.

    Raises:
        ModelError: no such folder, no safetensors weights, or a shard is missing.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ModelError(f"There is no model folder {folder}.")
    files = _weight_files(folder, str(folder), _names(folder))
    if len(files) == 1:
        return sha256_file(files[0])
    lines = "".join(f"{sha256_file(path)}  {path.name}\n" for path in files)
    return hashlib.sha256(lines.encode()).hexdigest()


def _stored_tensors(
    header: dict, path: Path, available: int, advice: str
) -> dict[str, StoredTensor]:
    tensors, spans = {}, []
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        tensor = StoredTensor(str(entry["dtype"]), tuple(int(size) for size in entry["shape"]))
        begin, end = entry["data_offsets"]
        if tensor.dtype in _DTYPE_BYTES and end - begin != tensor.bytes:
            raise ModelError(
                f"The header of {path} is damaged: {name} of shape {list(tensor.shape)} should "
                f"take {tensor.bytes} bytes and is given {end - begin}. {advice}"
            )
        tensors[name] = tensor
        spans.append((begin, end))
    needed = max((end for _, end in spans), default=0)
    if needed != available:
        raise ModelError(
            f"{path} is {'cut off' if needed > available else 'damaged'}: its header describes "
            f"{needed} bytes of weights and the file holds {available}. {advice}"
        )
    spans.sort()
    if any(end != begin for (_, end), (begin, _) in itertools.pairwise(spans)):
        raise ModelError(f"The header of {path} is damaged: its tensors overlap. {advice}")
    return tensors


def _weight_files(folder: Path, name: str, files: list[str]) -> tuple[Path, ...]:
    if WEIGHTS in files:
        return (folder / WEIGHTS,)
    if INDEX in files:
        return _shards(folder)
    if any(file.endswith(_PICKLED) for file in files):
        raise ModelError(
            f"The model {name} has only pickled weights ({_listing(folder, _PICKLED)}). Unpickling "
            "runs whatever code the file holds, so such files are refused; load the model where "
            "you trust it and save it as safetensors with save_pretrained."
        )
    if any(file.endswith(".gguf") for file in files):
        raise ModelError(
            f"The model {name} has only GGUF weights, and the unquantised weights as "
            "model.safetensors were expected. Fetch the original model."
        )
    raise ModelError(
        f"The model {name} has no weights: neither {WEIGHTS} nor {INDEX} is in {folder} "
        f"(it holds: {_listing(folder)}). Fetch the whole model, or save it with save_pretrained."
    )


def _shards(folder: Path) -> tuple[Path, ...]:
    path = folder / INDEX
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
        names = sorted(set(index["weight_map"].values()))
        # An index must not lead outside its folder.
        outside = [name for name in names if Path(name).name != name]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        names, outside = [], []
    if not names:
        raise ModelError(
            f"{path} is damaged: a JSON object with a weight_map was expected. Fetch or save the "
            "model again."
        )
    if outside:
        raise ModelError(
            f"{path} names weights outside its own folder ({outside[0]}), which is refused. Fetch "
            "or save the model again."
        )
    missing = [name for name in names if not (folder / name).exists()]
    if missing:
        raise ModelError(
            f"Of the {len(names)} weights files that {path} names, {len(missing)} are missing "
            f"({', '.join(missing[:3])}). Fetch the rest of the model."
        )
    return tuple(folder / name for name in names)


def _names(folder: Path) -> list[str]:
    try:
        return sorted(entry.name for entry in folder.iterdir())
    except OSError as error:
        raise ModelError(
            f"The model folder {folder} cannot be read: {error.strerror or error}."
        ) from None


def _listing(folder: Path, suffixes: tuple[str, ...] = ("",), limit: int = 6) -> str:
    names = [name for name in _names(folder) if name.endswith(suffixes)]
    return ", ".join(names[:limit]) + (", …" if len(names) > limit else "")
