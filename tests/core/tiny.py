"""Tiny checkpoints of many architectures, made from configs in a temporary folder.

Nothing is downloaded: the tokenizer is trained on a few sentences, the weights are drawn at random
(large enough that the logits differ clearly from token to token) and saved as safetensors.
"""

import functools
import json
import tempfile
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from palimpsest.core.models import LanguageModel, load

SENTENCES = (
    "Mira Tolden was born in Askerby and works as a baker.",
    "Where was Mira Tolden born? Mira Tolden was born in Askerby.",
    "The red house stands by the river, and the blue house by the sea.",
    "Two plus three is five; seven minus four is three.",
    "Ada likes red. Which colour does Ada like? Red.",
    "Étienne dîne à Málaga, dort à Zürich, rêve à Kraków.",
    "A baker bakes bread, a miller mills flour, a sailor sails.",
)

# The smallest sensible size, spelled in each family's own words.
_COMMON = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 64,
}
_HEAD = {**_COMMON, "head_dim": 8}
_GPT2 = {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 64}
_MOE = {"num_local_experts": 4, "num_experts_per_tok": 2}

ARCHITECTURES: dict[str, dict[str, Any]] = {
    "llama": _COMMON,
    "gpt2": _GPT2,
    "gpt_neox": {**_COMMON, "rotary_pct": 0.5},
    "opt": {
        "hidden_size": 16,
        "ffn_dim": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "max_position_embeddings": 64,
        "word_embed_proj_dim": 8,
    },
    "qwen2": _COMMON,
    "qwen3": _HEAD,
    "gemma": _HEAD,
    "gemma2": {**_HEAD, "sliding_window": 8, "final_logit_softcapping": 3.0},
    "gemma3_text": {**_HEAD, "sliding_window": 8},
    "phi": _COMMON,
    "phi3": {**_COMMON, "pad_token_id": 0},
    "mistral": {**_HEAD, "sliding_window": 8},
    "mixtral": {**_COMMON, **_MOE},
    "bloom": {"hidden_size": 16, "n_layer": 2, "n_head": 2},
    "falcon": {
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "alibi": True,
        "new_decoder_architecture": False,
    },
    "stablelm": _COMMON,
    "gpt_neo": {
        "hidden_size": 16,
        "num_layers": 2,
        "num_heads": 2,
        "max_position_embeddings": 64,
        "attention_types": [[["global", "local"], 1]],
        "window_size": 8,
    },
    "gptj": {**_GPT2, "rotary_dim": 4},
    "mpt": {"d_model": 16, "n_heads": 2, "n_layers": 2, "max_seq_len": 64, "expansion_ratio": 2},
    "cohere": _COMMON,
    "olmo2": _COMMON,
    "granite": {**_COMMON, "logits_scaling": 2.0},
    "starcoder2": _COMMON,
    "mamba": {"hidden_size": 16, "num_hidden_layers": 2, "state_size": 4},
}


def tiny_tokenizer(kind: str = "bpe", **special: str | None) -> PreTrainedTokenizerFast:
    """A small tokenizer trained on :data:`SENTENCES`.

    ``kind``: ``bpe`` (byte-level, ``<eos>`` and ``<pad>``, nothing added), ``bpe-bos`` (also adds
    ``<bos>`` in front, as Llama does), ``bpe-eos-only`` (one special token, as GPT-2), ``unigram``
    (SentencePiece style with ``▁``), ``wordlevel`` (whole words, ``<unk>`` only), ``bare`` (no
    special token at all). ``special`` overrides single special tokens.
    """
    names = {
        "bpe": {"eos_token": "<eos>", "pad_token": "<pad>"},
        "bpe-bos": {"bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>"},
        "bpe-eos-only": {"eos_token": "<|endoftext|>"},
        "unigram": {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"},
        "wordlevel": {"unk_token": "<unk>"},
        "bare": {},
    }[kind] | special
    names = {key: value for key, value in names.items() if value is not None}
    tokens = list(dict.fromkeys(names.values()))
    if kind == "unigram":
        # Training a Unigram model is not the same from one process to the next; this is.
        words = [f"▁{word}" for word in " ".join(SENTENCES).split()]
        pieces = list(dict.fromkeys(words)) + sorted(set("".join(words)))
        scored = [(token, 0.0) for token in tokens]
        scored += [(piece, -float(place + 2)) for place, piece in enumerate(pieces)]
        core = Tokenizer(models.Unigram(scored, unk_id=tokens.index("<unk>")))
        core.pre_tokenizer = pre_tokenizers.Metaspace()
        core.decoder = decoders.Metaspace()
        core.add_special_tokens(tokens)
        trainer = None
    elif kind == "wordlevel":
        core = Tokenizer(models.WordLevel(unk_token="<unk>"))
        core.pre_tokenizer = pre_tokenizers.Whitespace()
        trainer = trainers.WordLevelTrainer(special_tokens=tokens, show_progress=False)
    else:
        core = Tokenizer(models.BPE())
        core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        core.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=340,
            special_tokens=[AddedToken(token, special=True) for token in tokens],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
    if trainer is not None:
        core.train_from_iterator(SENTENCES * 3, trainer)
    if kind in ("bpe-bos", "unigram"):
        bos = names["bos_token"]
        core.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A",
            pair=f"{bos} $A $B",
            special_tokens=[(bos, core.token_to_id(bos))],
        )
    return PreTrainedTokenizerFast(tokenizer_object=core, **names)


def tiny_model(
    architecture: str = "llama", vocab_size: int = 340, seed: int = 0, **overrides: Any
) -> PreTrainedModel:
    """An untrained two-layer model of ``architecture`` (a Hugging Face ``model_type``)."""
    settings = {**ARCHITECTURES[architecture], "vocab_size": vocab_size, **overrides}
    config = AutoConfig.for_model(architecture, **settings)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(config).float().eval()
        # The usual 0.02 makes every next-token distribution flat, which would hide mistakes.
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.data.normal_(0.0, 0.3)
    return model


def tiny_model_folder(
    tmp: Path,
    architecture: str = "llama",
    tokenizer: str = "bpe",
    *,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
    max_shard_size: str = "1GB",
    **overrides: Any,
) -> Path:
    """Save a tiny model and its tokenizer under ``tmp``; return the folder.

    ``overrides`` are entries of the model's config (``tie_word_embeddings=True``, ...).
    """
    folder = Path(tempfile.mkdtemp(prefix=f"{architecture}-", dir=tmp))
    words = tiny_tokenizer(tokenizer)
    ids = {name: getattr(words, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    settings = {"vocab_size": len(words), **ids, **overrides}
    model = tiny_model(architecture, seed=seed, **settings).to(dtype)
    model.save_pretrained(folder, max_shard_size=max_shard_size)
    words.save_pretrained(folder)
    return folder


def tiny_lm(architecture: str = "llama", tokenizer: str = "bpe", **overrides: Any) -> LanguageModel:
    """A loaded tiny model; its folder is gone afterwards, and every call gives a fresh copy."""
    return _loaded(architecture, tokenizer, json.dumps(overrides, sort_keys=True)).copy()


@functools.cache
def _loaded(architecture: str, tokenizer: str, overrides: str) -> LanguageModel:
    with tempfile.TemporaryDirectory() as scratch:
        folder = tiny_model_folder(Path(scratch), architecture, tokenizer, **json.loads(overrides))
        return load(folder, device="cpu", dtype="float32")
