"""Any Hugging Face causal language model, loaded the same way: by name, hub id or folder.

:func:`load` checks before it loads, loads quietly, and refuses what would give wrong numbers in
silence: weights drawn at random because the file lacks them, a tokenizer that knows more tokens
than the model, a model that looks ahead.
"""

import contextlib
import copy
import hashlib
import inspect
import json
import logging
import os
import re
import warnings
import weakref
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import torch
from transformers import (
    CONFIG_MAPPING,
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_MASKED_LM_MAPPING_NAMES,
)
from transformers.utils import logging as hf_logging

from palimpsest.core import places
from palimpsest.core.errors import ModelError, nearest
from palimpsest.core.model_folder import (
    ModelFolder,
    announced_bytes,
    read_config,
    read_model_folder,
    weights_sha256,
)

__all__ = [
    "LanguageModel",
    "all_logits",
    "available_memory",
    "bare",
    "load",
    "quiet",
    "shipped_models",
    "tokenizer_sha256",
    "weights_sha256",
]

DEVICES = ("auto", "cpu", "cuda")
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
DEFAULT_WINDOW = 2048  # lm-eval's value for a model that states none
LARGEST_WINDOW = 2**20
_UNLIMITED = 10**12  # a tokenizer without a limit reports about 1e30
GENERIC_TOKENIZERS = ("PreTrainedTokenizerFast", "TokenizersBackend")
_REHASH_BYTES = 64 * 2**20
_MEMORY_MARGIN = 1.1
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?")
_SMALL_FILES = ["*.json", "*.model", "*.txt", "*.jinja", "*.tiktoken", "*.bpe"]
_OTHER_HEADS = (
    "ForSequenceClassification",
    "ForTokenClassification",
    "ForQuestionAnswering",
    "ForMultipleChoice",
    "ForMaskedLM",
    "ForImageClassification",
)


@dataclass(eq=False)
class LanguageModel:
    """A causal language model with its tokenizer, ready to score, generate and be trained.

    Attributes:
        model: the network, in eval mode after :func:`load`.
        tokenizer: its tokenizer; a missing pad token is set, in memory only, to an existing one.
        name: hub id, shipped name or folder name.
        device, dtype: where the weights are and in which precision.
        max_length: context window in tokens; always finite.
        path: the folder it came from, None for the hub or a model made in memory.
        prefix: ids that the tokenizer itself puts before every text (BOS), else empty.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    name: str
    device: torch.device
    dtype: torch.dtype
    max_length: int
    path: Path | None = None
    prefix: tuple[int, ...] = ()
    _hashed: tuple[tuple, str] | None = field(default=None, repr=False)

    @classmethod
    def of(
        cls,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        name: str = "in memory",
        path: Path | None = None,
    ) -> "LanguageModel":
        """Wrap a model and a tokenizer that are already in memory."""
        _choose_pad_token(tokenizer, model.get_input_embeddings().weight.shape[0])
        return cls(
            model=model,
            tokenizer=tokenizer,
            name=name,
            device=model.device,
            dtype=model.dtype,
            max_length=context_window(model.config, tokenizer),
            path=path,
            prefix=_prefix(tokenizer),
        )

    @property
    def pad_id(self) -> int:
        """An id to fill batches with. It is always masked, so any id of the vocabulary will do."""
        return self._usable(self.tokenizer.pad_token_id) or 0

    @property
    def start_id(self) -> int | None:
        """The id that stands for "nothing before": BOS, else EOS, else None (lm-eval's rule)."""
        start = self._usable(self.tokenizer.bos_token_id)
        return self._usable(self.tokenizer.eos_token_id) if start is None else start

    @property
    def vocab_size(self) -> int:
        """Rows of the embedding matrix: the number of ids the model can be given."""
        return self.model.get_input_embeddings().weight.shape[0]

    def _usable(self, token: int | None) -> int | None:
        return token if token is not None and token < self.vocab_size else None

    def fingerprint(self) -> str:
        """Hex SHA-256 of the weights in memory, the settings that shape the network, the tokenizer.

        The same weights give the same value on every device. Small models are hashed anew at each
        call; for larger ones the value is kept until PyTorch's version counters say that a weight
        was written to (an edit through ``.data`` escapes them, an optimizer's does not).
        """
        tensors = _tensors(self.model)
        large = sum(tensor.nbytes for tensor in tensors.values()) > _REHASH_BYTES
        state = tuple((tensor.data_ptr(), tensor._version) for tensor in tensors.values())
        if large and self._hashed is not None and self._hashed[0] == state:
            return self._hashed[1]
        digest = hashlib.sha256()
        for name in sorted(tensors):
            tensor = tensors[name].detach()
            digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
            digest.update(tensor.cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
        digest.update(_shaping_settings(self.model.config).encode())
        digest.update(tokenizer_sha256(self.tokenizer).encode())
        self._hashed = (state, digest.hexdigest())
        return self._hashed[1]

    def copy(self) -> "LanguageModel":
        """The same model with weights of its own (no gradients); the tokenizer is shared."""
        # Gradients are as large as the weights and belong to the original's training.
        grads = [(parameter, parameter.grad) for parameter in self.model.parameters()]
        for parameter, _ in grads:
            parameter.grad = None
        try:
            model = copy.deepcopy(self.model)
        finally:
            for parameter, grad in grads:
                parameter.grad = grad
        return LanguageModel(
            model=model,
            tokenizer=self.tokenizer,
            name=self.name,
            device=self.device,
            dtype=self.dtype,
            max_length=self.max_length,
            path=self.path,
            prefix=self.prefix,
        )


def load(
    model: str | Path = "palimpsest-m",
    device: str = "auto",
    dtype: str = "auto",
    *,
    trust_remote_code: bool = False,
) -> LanguageModel:
    """Load a causal language model by shipped name, folder or hub id, quietly, in eval mode.

    Args:
        model: ``palimpsest-m`` and its siblings in ``data/models``; else a folder; else an id on
            the Hugging Face hub (from the local cache where there is no network).
        device: ``auto`` (CUDA if there is one), ``cpu``, ``cuda`` or ``cuda:N``.
        dtype: ``auto`` (float32 on a CPU, bfloat16 on a CUDA device that has it), ``float32`` or
            ``bfloat16``; checkpoints stored in another precision are converted.
        trust_remote_code: run Python code that lies beside the weights. Off by default: such code
            can do anything that you can.

    Raises:
        ModelError: anything that keeps the model from being read or used as a causal language
            model; the message says what was found, what was expected and what to do.
    """
    place = _device(device)
    precision = _dtype(dtype, place)
    name, folder, own = _find(model, precision, place, trust_remote_code)
    _check_kind(read_config(folder, name), name, trust_remote_code)
    stored = read_model_folder(folder, name)
    _check_memory(stored.memory(precision.itemsize), name, place, precision)
    with quiet():
        config = _config(stored, name, trust_remote_code)
        tokenizer = _tokenizer(folder, name, trust_remote_code)
        rows = getattr(config.get_text_config(decoder=True), "vocab_size", None)
        if rows is not None:
            _check_vocabulary(rows, tokenizer, name)
        network = _network(stored, config, name, place, precision, trust_remote_code)
        lm = LanguageModel.of(network, tokenizer, name, folder if own else None)
        _check_forward(lm)
    return lm


def shipped_models() -> list[str]:
    """Names of the models in ``data/models``."""
    folder = places.models()
    if not folder.is_dir():
        return []
    return sorted(entry.name for entry in folder.iterdir() if (entry / "config.json").exists())


def bare(model: Any) -> PreTrainedModel:
    """The network inside an adapter's wrapper (peft), or the model itself."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def all_logits(model: Any, ids: torch.Tensor) -> torch.Tensor:
    """Logits [B, T, V] of a batch of ids [B, T], padded on the right if at all.

    There is no attention mask: causal attention does not reach padding on the right, and without a
    mask PyTorch can use its fastest kernels. Nothing is kept for a next step.
    """
    known = inspect.signature(model.forward).parameters
    cached = "use_cache" in known or any(
        parameter.kind is parameter.VAR_KEYWORD for parameter in known.values()
    )
    return model(input_ids=ids, **({"use_cache": False} if cached else {})).logits


def read_on(model: Any, ids: torch.Tensor, past: Any = None) -> Any:
    """What a model returns that goes on after what it has read, and keeps what it reads.

    Args:
        model: of the Hugging Face format.
        ids: [B, T], padded on the right if at all.
        past: ``past_key_values`` of what it has read, equally long in all B lines, or None.

    Returns:
        Its output, with ``logits`` [B, T, V] and ``past_key_values``.
    """
    return model(input_ids=ids, past_key_values=past, use_cache=True)


def context_window(config: Any, tokenizer: PreTrainedTokenizerBase) -> int:
    """Tokens a model can read at once, by lm-eval's rule, and never unlimited.

    lm-eval does not look at ``max_seq_len``; MPT, which says it so, cannot read further than that.
    """
    text = getattr(config, "text_config", None) or config
    for entry in ("n_positions", "max_position_embeddings", "n_ctx", "max_seq_len"):
        value = getattr(text, entry, None)
        if value is not None and value > 0:
            return min(int(value), LARGEST_WINDOW)
    limit = getattr(tokenizer, "model_max_length", None)
    if limit is None or not 0 < limit < _UNLIMITED:
        return DEFAULT_WINDOW
    return min(int(limit), LARGEST_WINDOW)


def available_memory(device: torch.device) -> int:
    """Bytes that can still be taken on ``device``; on the CPU, within the container's limit too."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    free = psutil.virtual_memory().available
    group = Path("/sys/fs/cgroup")
    try:
        limit = int((group / "memory.max").read_text())
        used = int((group / "memory.current").read_text())
        stat = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        # Cached file pages count as used, but the kernel drops them when memory is asked for.
        return min(free, limit - used + int(stat.get("inactive_file", 0)))
    except (OSError, ValueError):
        return free


_TOKENIZER_HASHES: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()


def tokenizer_sha256(tokenizer: PreTrainedTokenizerBase) -> str:
    """Hex SHA-256 of what a tokenizer does to text: vocabulary, rules, special tokens, template.

    Padding and truncation settings, which belong to a call and not to the tokenizer, stay out, and
    so do the files' names and places.
    """
    special = {
        key: str(value)
        for key, value in tokenizer.special_tokens_map.items()
        if key != "pad_token" and isinstance(value, str)
    }
    state = (len(tokenizer), json.dumps(special, sort_keys=True), str(tokenizer.chat_template))
    kept = _TOKENIZER_HASHES.get(tokenizer)
    if kept is not None and kept[0] == state:
        return kept[1]
    if getattr(tokenizer, "is_fast", False):
        rules = json.loads(tokenizer.backend_tokenizer.to_str())
        rules["padding"] = rules["truncation"] = None
    else:
        rules = {"class": type(tokenizer).__name__, "vocabulary": tokenizer.get_vocab()}
        vocabulary_file = getattr(tokenizer, "vocab_file", None)
        if vocabulary_file and Path(vocabulary_file).is_file():
            rules["file"] = hashlib.sha256(Path(vocabulary_file).read_bytes()).hexdigest()
    text = json.dumps([rules, *state[1:]], sort_keys=True, ensure_ascii=False)
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    _TOKENIZER_HASHES[tokenizer] = (state, digest)
    return digest


# --- which folder -------------------------------------------------------------------------------


def _find(
    model: str | Path, dtype: torch.dtype, device: torch.device, trust_remote_code: bool
) -> tuple[str, Path, bool]:
    """Name and folder of a model, and whether the folder is no part of the hub's cache."""
    text = os.fspath(model)
    if not text.strip():
        raise ModelError(f"The model's name is empty. {_ways()}")
    shipped = places.models() / text
    if isinstance(model, str) and Path(text).name == text and (shipped / "config.json").exists():
        return text, shipped, True
    path = Path(text).expanduser()
    if path.exists():
        return path.resolve().name, path.resolve(), True
    looks_like_path = (
        isinstance(model, Path)
        or text.startswith((".", "~", "/"))
        or text.endswith(("/", ".safetensors", ".json", ".bin", ".gguf"))
        or "\\" in text
        or text.count("/") > 1
        or (text.count("/") == 1 and path.parent.is_dir())
    )
    if looks_like_path:
        raise ModelError(f"There is no model folder {text}. {_ways()}")
    if text.startswith("palimpsest") or not _HUB_ID.fullmatch(text):
        raise ModelError(f"There is no model '{text}': {nearest(text, shipped_models())} {_ways()}")
    return text, _fetch(text, dtype, device, trust_remote_code), False


def _ways() -> str:
    return (
        "Give the name of a shipped model (palimpsest-m), a folder written by save_pretrained, or "
        "a model id on the Hugging Face hub (gpt2, Qwen/Qwen3-0.6B)."
    )


def _fetch(repo: str, dtype: torch.dtype, device: torch.device, trust_remote_code: bool) -> Path:
    """The folder of a hub model: description first, weights only once they can be of use."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
    )

    small = _SMALL_FILES + (["*.py"] if trust_remote_code else [])
    try:
        with _no_hub_bars():
            folder = Path(snapshot_download(repo, allow_patterns=small, ignore_patterns=["*/*"]))
        if (folder / "config.json").exists():
            _check_kind(read_config(folder, repo), repo, trust_remote_code)
        # Half of what the index announces is the least that any supported precision takes.
        _check_memory(announced_bytes(folder) // 2, repo, device, dtype)
        wanted = [*small, "model*.safetensors"]
        return Path(snapshot_download(repo, allow_patterns=wanted, ignore_patterns=["*/*"]))
    except ModelError:
        raise
    except GatedRepoError:
        raise ModelError(
            f"The model '{repo}' on the Hugging Face hub is gated. Accept its conditions on "
            f"https://huggingface.co/{repo}, log in with 'hf auth login', and try again."
        ) from None
    except (RepositoryNotFoundError, HFValidationError):
        raise ModelError(
            f"There is no model '{repo}' on the Hugging Face hub (or it is private and you are not "
            f"logged in), and no such folder here. {_ways()}"
        ) from None
    except LocalEntryNotFoundError:
        raise ModelError(
            f"The model '{repo}' is neither a folder here nor in the local cache of the Hugging "
            "Face hub, and the hub cannot be reached (no network, or HF_HUB_OFFLINE is set). "
            f"Connect and try again, or use what is here. {_ways()}"
        ) from None
    except Exception as error:
        raise ModelError(
            f"The model '{repo}' cannot be fetched from the Hugging Face hub: "
            f"{_first_line(error)}. Check the network and the free disk space, and try again."
        ) from error


@contextlib.contextmanager
def _no_hub_bars() -> Iterator[None]:
    """Small files need no progress bar; the weights, which may take minutes, keep theirs."""
    from huggingface_hub import utils as hub

    shown = not hub.are_progress_bars_disabled()
    hub.disable_progress_bars()
    try:
        yield
    finally:
        if shown:
            hub.enable_progress_bars()


# --- checks -------------------------------------------------------------------------------------


def _device(device: str | torch.device) -> torch.device:
    device = str(device)
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device == "cpu":
        return torch.device("cpu")
    if not re.fullmatch(r"cuda(:\d+)?", device):
        raise ModelError(f"There is no device '{device}': {nearest(device, DEVICES)}")
    if not torch.cuda.is_available():
        raise ModelError(
            f"The device '{device}' was asked for, but PyTorch {torch.__version__} sees no CUDA "
            "device here. Use --device cpu, or install a CUDA build of PyTorch on a machine with "
            "an NVIDIA card."
        )
    place = torch.device(device)
    if place.index is not None and place.index >= torch.cuda.device_count():
        raise ModelError(
            f"There is no device '{device}': this machine has {torch.cuda.device_count()} CUDA "
            "device(s), counted from cuda:0."
        )
    return place


def _dtype(dtype: str | torch.dtype, device: torch.device) -> torch.dtype:
    dtype = _plain(dtype)
    if dtype == "auto":
        modern = device.type == "cuda" and torch.cuda.is_bf16_supported()
        return torch.bfloat16 if modern else torch.float32
    if dtype not in DTYPES:
        raise ModelError(f"There is no dtype '{dtype}': {nearest(dtype, ['auto', *DTYPES])}")
    return DTYPES[dtype]


def _check_memory(needed: int, name: str, device: torch.device, dtype: torch.dtype) -> None:
    free = available_memory(device)
    if needed * _MEMORY_MARGIN <= free:
        return
    half = " or --dtype bfloat16 (half the memory)" if dtype == torch.float32 else ""
    raise ModelError(
        f"There is too little memory for {name}: its weights take {needed / 2**30:.2f} GiB in "
        f"{_plain(dtype)}, and {free / 2**30:.2f} GiB are free on {device}. Use a smaller "
        f"model{half}, close other programs, or use a machine with more memory."
    )


def _check_kind(config: dict[str, Any], name: str, trust_remote_code: bool) -> None:
    """Refuse code that lies beside the weights, and models that are not causal."""
    own_code = config.get("auto_map")
    if trust_remote_code and own_code and "AutoModelForCausalLM" in own_code:
        return
    if own_code and config.get("model_type") not in CONFIG_MAPPING:
        raise ModelError(
            f"The model {name} (model_type '{config.get('model_type')}') comes with Python code of "
            "its own, which is not run by default because it can do anything that you can. Read "
            "that code, and if you trust it load the model with trust_remote_code=True."
        )
    _check_causal(config, name)


def _check_causal(config: dict[str, Any], name: str) -> None:
    """Whether transformers can build a causal language model of this kind at all."""
    kind = config.get("model_type")
    if kind not in CONFIG_MAPPING:
        close = nearest(str(kind), CONFIG_MAPPING.keys()).split("? Known")[0]
        hint = f"; {close}?" if close.startswith("did") else ""
        raise ModelError(
            f"The model {name} has the model_type '{kind}', which this version of transformers "
            f"does not know{hint}. Correct config.json, or install a version that knows it."
        )
    expected = (
        "A causal (left-to-right, decoder-only) language model was expected, such as GPT-2, Llama, "
        "OPT, Qwen or Pythia."
    )
    defaults = CONFIG_MAPPING[kind]

    def setting(entry: str) -> bool:
        return bool(config.get(entry, getattr(defaults, entry, False)))

    if setting("is_encoder_decoder"):
        raise ModelError(f"The model {name} ('{kind}') is an encoder-decoder model. {expected}")
    if kind not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        raise ModelError(f"The model {name} is a '{kind}', no causal language model. {expected}")
    decodes = setting("is_decoder") or setting("causal")
    if kind in MODEL_FOR_MASKED_LM_MAPPING_NAMES and not decodes:
        raise ModelError(
            f"The model {name} ('{kind}') fills in masked words and reads in both directions. "
            f"{expected}"
        )
    heads = [head for head in config.get("architectures") or [] if isinstance(head, str)]
    if heads and all(head.endswith(_OTHER_HEADS) for head in heads):
        raise ModelError(
            f"The model {name} is a {heads[0]}: it has another head than next-token prediction. "
            f"{expected}"
        )


def _check_vocabulary(rows: int, tokenizer: PreTrainedTokenizerBase, name: str) -> None:
    # A tokenizer class may add a special token of its own to any vocabulary (Qwen2Tokenizer and
    # "<|endoftext|>"): the model's texts do not hold it, so it may lie beyond the embedding.
    own = {
        parameter.default
        for parameter in inspect.signature(type(tokenizer).__init__).parameters.values()
        if isinstance(parameter.default, str)
    }
    saved = [(index, token) for token, index in tokenizer.get_vocab().items() if token not in own]
    if not saved:
        raise ModelError(
            f"The tokenizer of {name} is empty: its files hold no vocabulary. Save the tokenizer "
            "the model was trained with into its folder (tokenizer.save_pretrained)."
        )
    last, token = max(saved)
    if last >= rows:
        raise ModelError(
            f"The tokenizer and the weights of {name} do not belong together: the tokenizer has "
            f"ids up to {last} ({token!r}), and the model's embedding has {rows} rows. Use the "
            "tokenizer the model was trained with, or resize the embedding and train the new rows."
        )


def _check_forward(lm: LanguageModel) -> None:
    """Run eight tokens: the numbers must be finite, and no position may see a later one."""
    length = min(8, lm.max_length, lm.vocab_size - 1)
    if length < 2:
        return
    ids = torch.arange(length, device=lm.device).repeat(2, 1)
    ids[1, -1] = length
    try:
        with torch.no_grad():
            logits = all_logits(lm.model, ids).float()
    except torch.OutOfMemoryError:
        raise ModelError(
            f"The memory of {lm.device} holds the weights of {lm.name} but not one short text. Use "
            "a smaller model, or close other programs."
        ) from None
    except Exception as error:
        raise ModelError(
            f"The model {lm.name} cannot read plain text: {_first_line(error)}. A causal language "
            "model that needs nothing but token ids was expected."
        ) from error
    if not torch.isfinite(logits).all():
        raise ModelError(
            f"The model {lm.name} gives logits that are not finite: its weights are damaged, or "
            f"do not survive {_plain(lm.dtype)}. Try --dtype float32, or fetch the model again."
        )
    tolerance = 1e-4 if lm.dtype == torch.float32 else 2e-2
    change = (logits[0, :-1] - logits[1, :-1]).abs().max()
    if change > tolerance * logits.std():
        raise ModelError(
            f"The model {lm.name} is not causal: what it predicts at one position depends on later "
            "tokens. A left-to-right language model was expected."
        )


# --- loading ------------------------------------------------------------------------------------


def _config(stored: ModelFolder, name: str, trust_remote_code: bool) -> Any:
    try:
        return AutoConfig.from_pretrained(
            stored.path, local_files_only=True, trust_remote_code=trust_remote_code
        )
    except Exception as error:
        raise ModelError(
            f"{stored.path / 'config.json'} does not describe a model that transformers can "
            f"build: {_first_line(error)}. Correct it, or fetch the model again."
        ) from error


def _tokenizer(folder: Path, name: str, trust_remote_code: bool) -> PreTrainedTokenizerBase:
    try:
        # AutoTokenizer rebuilds the tokenizers of some families (Qwen2) by the family's rules even
        # where the folder says that tokenizer.json holds as it stands; another kind of tokenizer
        # would then turn into nonsense.
        generic = _declared_tokenizer(folder) in GENERIC_TOKENIZERS
        kind = PreTrainedTokenizerFast if generic else AutoTokenizer
        return kind.from_pretrained(
            folder, local_files_only=True, trust_remote_code=trust_remote_code
        )
    except Exception as error:
        advice = ""
        if not trust_remote_code and "trust_remote_code" in str(error):
            advice = " Or allow its own code with trust_remote_code=True, if you trust it."
        elif not (folder / "tokenizer.json").exists() and any(folder.glob("*.model")):
            advice = " Or install sentencepiece and protobuf, which read its SentencePiece model."
        raise ModelError(
            f"The tokenizer of {name} in {folder} cannot be read: {_first_line(error)}. Save the "
            "tokenizer the model was trained with into its folder (tokenizer.save_pretrained)."
            + advice
        ) from error


def _declared_tokenizer(folder: Path) -> str | None:
    """The class that ``tokenizer_config.json`` names, where a ``tokenizer.json`` lies beside it."""
    if not (folder / "tokenizer.json").exists() or not (folder / "tokenizer_config.json").exists():
        return None
    settings = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    return None if "auto_map" in settings else settings.get("tokenizer_class")


def _network(
    stored: ModelFolder,
    config: Any,
    name: str,
    device: torch.device,
    dtype: torch.dtype,
    trust_remote_code: bool,
) -> PreTrainedModel:
    try:
        network, report = AutoModelForCausalLM.from_pretrained(
            stored.path,
            config=config,
            dtype=dtype,
            device_map={"": device},
            use_safetensors=True,
            weights_only=True,
            local_files_only=True,
            trust_remote_code=trust_remote_code,
            ignore_mismatched_sizes=True,  # reported below, by name
            output_loading_info=True,
        )
    except (torch.OutOfMemoryError, MemoryError):
        raise ModelError(
            f"There is not enough memory on {device} for {name}. Use a smaller model, --dtype "
            "bfloat16, or a machine with more memory."
        ) from None
    except Exception as error:
        raise ModelError(
            f"The model {name} cannot be loaded from {stored.path}: {_first_line(error)}. "
            "The config and the weights of one causal language model were expected; fetch or save "
            "the model again."
        ) from error
    _check_report(report, name)
    network.requires_grad_(True)
    return network.eval()


def _check_report(report: dict[str, Any], name: str) -> None:
    """Every weight of the network must come from the file, and the file must hold no others."""
    advice = (
        "The weights do not fit the config: fetch the model again, or correct its config.json "
        "(architecture, sizes, tie_word_embeddings)."
    )
    if report["mismatched_keys"]:
        key, stored, expected = sorted(report["mismatched_keys"])[0]
        raise ModelError(
            f"In the weights of {name}, {key} has the shape {list(stored)} and the config asks for "
            f"{list(expected)} ({len(report['mismatched_keys'])} such). {advice}"
        )
    if report["missing_keys"]:
        raise ModelError(
            f"The weights of {name} lack {_some(report['missing_keys'])}; the network would run "
            f"with random numbers there. {advice}"
        )
    if report["unexpected_keys"]:
        raise ModelError(
            f"The weights of {name} hold {_some(report['unexpected_keys'])}, which the network has "
            f"no place for: it would not be the model that was saved. {advice}"
        )
    if report["error_msgs"]:
        raise ModelError(f"The weights of {name}: {report['error_msgs'][0]}. {advice}")


def _some(keys: set[str], limit: int = 3) -> str:
    names = sorted(keys)
    rest = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + rest


def _choose_pad_token(tokenizer: PreTrainedTokenizerBase, rows: int) -> None:
    """Give a tokenizer without a usable pad token one that it already has, in memory only.

    Only a token that is special already is taken: an ordinary word would vanish from decoded text.
    """
    if tokenizer.pad_token_id is not None and tokenizer.pad_token_id < rows:
        return
    for kind in ("eos_token", "unk_token", "bos_token"):
        token = getattr(tokenizer, f"{kind}_id")
        if token is not None and token < rows:
            tokenizer.pad_token = getattr(tokenizer, kind)
            return


def _prefix(tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
    plain = list(tokenizer("a", add_special_tokens=False)["input_ids"])
    full = list(tokenizer("a")["input_ids"])
    for start in range(len(full) - len(plain) + 1):
        if plain and full[start : start + len(plain)] == plain:
            return tuple(full[:start])
    return ()


def _tensors(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    """Parameters (tied ones once) and the buffers that are saved with a model."""
    tensors: dict[str, torch.Tensor] = dict(model.named_parameters())
    saved = model.state_dict()
    tensors.update({name: buffer for name, buffer in model.named_buffers() if name in saved})
    return tensors


def _shaping_settings(config: Any) -> str:
    """The config without what does not change the function that the network computes."""
    settings = config.to_dict()
    idle = {"architectures", "dtype", "torch_dtype", "transformers_version", "use_cache"}
    kept = {
        key: value
        for key, value in settings.items()
        if key not in idle and not key.startswith("_") and not key.endswith("_token_id")
    }
    return json.dumps(kept, sort_keys=True, default=str)


def _plain(dtype: str | torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[0] if lines else type(error).__name__
    return text.rstrip(".: ")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """No warnings, log lines or progress bars from transformers inside the block."""
    level, bars = hf_logging.get_verbosity(), hf_logging.is_progress_bar_enabled()
    hf_logging.set_verbosity(logging.CRITICAL)
    hf_logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        hf_logging.set_verbosity(level)
        if bars:
            hf_logging.enable_progress_bar()
