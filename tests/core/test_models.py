"""Loading: what must work, what must be refused, and in which words."""

import json
import logging
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import ARCHITECTURES, tiny_lm, tiny_model_folder, tiny_tokenizer
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    BertConfig,
    BertForMaskedLM,
    ByT5Tokenizer,
    T5Config,
    ViTConfig,
)

from palimpsest.core import models, places
from palimpsest.core.errors import ModelError
from palimpsest.core.models import load, tokenizer_sha256, weights_sha256

IDS = torch.arange(5, 15)[None]


def logits(lm: models.LanguageModel) -> torch.Tensor:
    with torch.no_grad():
        return lm.model(IDS.to(lm.device)).logits.float()


# --- what must work -----------------------------------------------------------------------------


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_architecture_loads_and_survives_saving(architecture: str, tmp_path: Path) -> None:
    folder = tiny_model_folder(tmp_path, architecture)
    lm = load(folder)
    assert not lm.model.training
    assert lm.dtype == torch.float32
    assert lm.device.type == "cpu"
    assert lm.path == folder
    assert lm.name == folder.name
    assert 2 <= lm.max_length <= 2048
    lm.model.save_pretrained(tmp_path / "again")
    lm.tokenizer.save_pretrained(tmp_path / "again")
    again = load(tmp_path / "again")
    assert again.fingerprint() == lm.fingerprint()
    assert torch.equal(logits(again), logits(lm))


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "qwen2", "phi3", "opt"])
@pytest.mark.parametrize(
    "tokenizer", ["bpe", "bpe-bos", "bpe-eos-only", "unigram", "wordlevel", "bare"]
)
def test_the_saved_tokenizer_comes_back_as_it_was(
    architecture: str, tokenizer: str, tmp_path: Path
) -> None:
    lm = load(tiny_model_folder(tmp_path, architecture, tokenizer))
    made = tiny_tokenizer(tokenizer)
    text = "The red house, 1984; Zürich's sea."
    assert lm.tokenizer(text)["input_ids"] == made(text)["input_ids"]
    assert tokenizer_sha256(lm.tokenizer) == tokenizer_sha256(made)
    assert lm.prefix == ((made.bos_token_id,) if tokenizer in ("bpe-bos", "unigram") else ())
    assert 0 <= lm.pad_id < lm.vocab_size
    assert lm.tokenizer.decode(made(text)["input_ids"], skip_special_tokens=True) == made.decode(
        made(text)["input_ids"], skip_special_tokens=True
    )
    expected = made.eos_token_id if made.bos_token_id is None else made.bos_token_id
    assert lm.start_id == expected


def test_a_missing_pad_token_is_an_existing_one_and_files_stay(tmp_path: Path) -> None:
    folder = tiny_model_folder(tmp_path, "gpt2", "bpe-eos-only")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    lm = load(folder)
    assert lm.tokenizer.pad_token_id == lm.tokenizer.eos_token_id
    assert lm.vocab_size == len(tiny_tokenizer("bpe-eos-only"))
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_slow_tokenizer_loads(tmp_path: Path) -> None:
    folder = tiny_model_folder(tmp_path, vocab_size=400)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()
    ByT5Tokenizer().save_pretrained(folder)
    lm = load(folder)
    assert not lm.tokenizer.is_fast
    assert lm.tokenizer("é")["input_ids"][:2] == [3 + 0xC3, 3 + 0xA9]
    assert len(tokenizer_sha256(lm.tokenizer)) == 64


def test_shards_load_as_one_file_does(tmp_path: Path) -> None:
    whole = tiny_model_folder(tmp_path)
    parts = tiny_model_folder(tmp_path, max_shard_size="20KB")
    assert not (parts / "model.safetensors").exists()
    assert load(parts).fingerprint() == load(whole).fingerprint()
    assert weights_sha256(parts) != weights_sha256(whole)


@pytest.mark.parametrize("stored", [torch.float16, torch.bfloat16])
def test_half_precision_is_loaded_as_float32(stored: torch.dtype, tmp_path: Path) -> None:
    lm = load(tiny_model_folder(tmp_path, "opt", dtype=stored))
    assert {parameter.dtype for parameter in lm.model.parameters()} == {torch.float32}


def test_bfloat16_on_request(tmp_path: Path) -> None:
    folder = tiny_model_folder(tmp_path)
    lm = load(folder, device="cpu", dtype="bfloat16")
    assert lm.dtype == torch.bfloat16
    assert (logits(lm) - logits(load(folder))).abs().max() < 0.2


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_tied_embeddings_stay_tied(architecture: str, tmp_path: Path) -> None:
    folder = tiny_model_folder(tmp_path, architecture, tie_word_embeddings=True)
    assert "lm_head.weight" not in load_file(folder / "model.safetensors")
    lm = load(folder)
    assert lm.model.get_output_embeddings().weight is lm.model.get_input_embeddings().weight


def test_the_window_is_finite_without_one_in_the_config(tmp_path: Path) -> None:
    assert load(tiny_model_folder(tmp_path, "mamba")).max_length == 2048
    assert load(tiny_model_folder(tmp_path, "mpt")).max_length == 64
    folder = tiny_model_folder(tmp_path, max_position_embeddings=10**9)
    assert load(folder).max_length == models.LARGEST_WINDOW


def test_loading_says_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = tiny_model_folder(tmp_path, "mamba", "bpe-eos-only")
    capfd.readouterr()
    with pytest.MonkeyPatch.context() as patch:
        # pytest's own handler would swallow the records before they reach the screen.
        patch.setattr(logging.getLogger("transformers"), "propagate", False)
        load(folder)
    assert capfd.readouterr() == ("", "")


def test_a_shipped_model_is_known_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = tiny_model_folder(tmp_path)
    monkeypatch.setattr(places, "models", lambda: tmp_path / "shipped")
    shutil.copytree(made, tmp_path / "shipped" / "palimpsest-m")
    lm = load()
    assert lm.name == "palimpsest-m"
    assert lm.path == tmp_path / "shipped" / "palimpsest-m"
    assert models.shipped_models() == ["palimpsest-m"]
    with pytest.raises(ModelError, match="did you mean 'palimpsest-m'"):
        load("palimpsest-n")


def test_a_hub_model_is_found_in_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub._snapshot_download.constants.HF_HUB_OFFLINE", True)
    repo = tmp_path / "hub" / "models--someone--little"
    (repo / "refs").mkdir(parents=True)
    (repo / "refs" / "main").write_text("0123456789abcdef")
    made = tiny_model_folder(tmp_path)
    shutil.copytree(made, repo / "snapshots" / "0123456789abcdef")
    lm = load("someone/little")
    assert lm.name == "someone/little"
    assert lm.path is None
    assert lm.fingerprint() == load(made).fingerprint()
    with pytest.raises(ModelError, match="cannot be reached"):
        load("someone/other")


def test_code_beside_the_weights_runs_only_when_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "code")
    )
    folder = tiny_model_folder(tmp_path)
    config = json.loads((folder / "config.json").read_text())
    config["model_type"] = "homemade"
    config["auto_map"] = {
        "AutoConfig": "homemade.HomemadeConfig",
        "AutoModelForCausalLM": "homemade.Homemade",
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "homemade.py").write_text(
        "from transformers import LlamaConfig, LlamaForCausalLM\n"
        "class HomemadeConfig(LlamaConfig):\n    model_type = 'homemade'\n"
        "class Homemade(LlamaForCausalLM):\n    config_class = HomemadeConfig\n"
    )
    with pytest.raises(ModelError, match="trust_remote_code=True"):
        load(folder)
    lm = load(folder, trust_remote_code=True)
    assert type(lm.model).__name__ == "Homemade"


# --- identity -----------------------------------------------------------------------------------


def test_the_fingerprint_follows_the_weights() -> None:
    lm = tiny_lm()
    first = lm.fingerprint()
    assert lm.copy().fingerprint() == first
    optimizer = torch.optim.SGD(lm.model.parameters(), lr=1e-3)
    lm.model(IDS, labels=IDS).loss.backward()
    optimizer.step()
    assert lm.fingerprint() != first
    edited = tiny_lm()
    edited.model.lm_head.weight.data[0, 0] += 1e-3
    assert edited.fingerprint() != first


def test_the_fingerprint_of_a_large_model_is_kept_until_it_is_trained(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(models, "_REHASH_BYTES", 0)
    lm = tiny_lm()
    first = lm.fingerprint()
    hashed = []
    shaping = models._shaping_settings
    monkeypatch.setattr(
        models, "_shaping_settings", lambda config: hashed.append(1) or shaping(config)
    )
    assert lm.fingerprint() == first
    assert hashed == []
    for kind in (torch.optim.AdamW, torch.optim.SGD):
        before = lm.fingerprint()
        lm.model(IDS, labels=IDS).loss.backward()
        kind(lm.model.parameters(), lr=1e-3).step()
        assert lm.fingerprint() != before
    saved = {name: tensor.clone() for name, tensor in tiny_lm().model.state_dict().items()}
    lm.model.load_state_dict(saved)
    assert lm.fingerprint() == first


def test_the_fingerprint_knows_architecture_settings_and_tokenizer() -> None:
    first = tiny_lm().fingerprint()
    assert tiny_lm(rope_parameters={"rope_theta": 500.0, "rope_type": "default"}).fingerprint() != (
        first
    )
    other = tiny_lm()
    other.tokenizer = tiny_tokenizer("bpe", eos_token="<end>")
    assert other.fingerprint() != first


def test_a_copy_is_independent_and_carries_no_gradients() -> None:
    lm = tiny_lm()
    lm.model(IDS, labels=IDS).loss.backward()
    copy = lm.copy()
    assert all(parameter.grad is None for parameter in copy.model.parameters())
    assert all(parameter.grad is not None for parameter in lm.model.parameters())
    assert copy.tokenizer is lm.tokenizer
    with torch.no_grad():
        copy.model.lm_head.weight.zero_()
    assert lm.model.lm_head.weight.abs().sum() > 0


def test_padding_and_pad_token_are_no_part_of_a_tokenizer() -> None:
    tokenizer = tiny_tokenizer("bpe-eos-only")
    first = tokenizer_sha256(tokenizer)
    tokenizer.pad_token = tokenizer.eos_token
    tokenizer(["a", "a b c"], padding=True, truncation=True, max_length=2)
    assert tokenizer_sha256(tokenizer) == first
    tokenizer.add_tokens(["Askerby"])
    assert tokenizer_sha256(tokenizer) != first


def test_weights_sha256_is_that_of_the_file(tmp_path: Path) -> None:
    import hashlib

    folder = tiny_model_folder(tmp_path)
    content = (folder / "model.safetensors").read_bytes()
    assert weights_sha256(folder) == hashlib.sha256(content).hexdigest()
    with pytest.raises(ModelError, match="no model folder"):
        weights_sha256(tmp_path / "nothing")


# --- what must be refused -----------------------------------------------------------------------

Damage = Callable[[Path], object]


def rewrite(name: str, content: str | bytes) -> Damage:
    data = content.encode() if isinstance(content, str) else content
    return lambda folder: (folder / name).write_bytes(data)


def remove(*names: str) -> Damage:
    return lambda folder: [(folder / name).unlink() for name in names]


def change(name: str = "config.json", **entries: object) -> Damage:
    def damage(folder: Path) -> None:
        settings = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps({**settings, **entries}))

    return damage


def cut(keep: float) -> Damage:
    def damage(folder: Path) -> None:
        path = folder / "model.safetensors"
        data = path.read_bytes()
        path.write_bytes(data[: int(len(data) * keep)])

    return damage


def weights(edit: Callable[[dict[str, torch.Tensor]], object]) -> Damage:
    def damage(folder: Path) -> None:
        tensors = load_file(folder / "model.safetensors")
        edit(tensors)
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})

    return damage


def header(edit: Callable[[bytes], bytes]) -> Damage:
    def damage(folder: Path) -> None:
        data = (folder / "model.safetensors").read_bytes()
        length = struct.unpack("<Q", data[:8])[0]
        new = edit(data[8 : 8 + length])
        whole = struct.pack("<Q", len(new)) + new + data[8 + length :]
        (folder / "model.safetensors").write_bytes(whole)

    return damage


def pickled(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def emptied(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()


NORM = "model.norm.weight"
DAMAGES: dict[str, tuple[Damage, str]] = {
    "empty folder": (emptied, "is empty"),
    "no config": (remove("config.json"), "no config.json"),
    "cut config": (rewrite("config.json", '{"model_type": "lla'), "not valid JSON"),
    "binary config": (rewrite("config.json", b"\xff\xfe\x00\x01"), "not valid JSON"),
    "list as config": (rewrite("config.json", "[1]"), "holds a list"),
    "no model_type": (rewrite("config.json", "{}"), "names no model_type"),
    "misspelt model_type": (change(model_type="lama"), "did you mean 'llama'"),
    "impossible config": (change(num_attention_heads="two"), "config.json"),
    "adapter": (
        lambda folder: (folder / "config.json").rename(folder / "adapter_config.json"),
        "adapter",
    ),
    "remote code": (
        change(model_type="homemade", auto_map={"AutoConfig": "a.B"}),
        "trust_remote_code=True",
    ),
    "T5": (rewrite("config.json", json.dumps(T5Config().to_dict())), "encoder-decoder"),
    "BERT": (rewrite("config.json", json.dumps(BertConfig().to_dict())), "both directions"),
    "ViT": (rewrite("config.json", json.dumps(ViTConfig().to_dict())), "no causal language model"),
    "classifier": (change(architectures=["LlamaForSequenceClassification"]), "another head"),
    "no weights": (remove("model.safetensors"), "has no weights"),
    "pickled weights": (pickled, "pickled weights"),
    "GGUF": (
        lambda folder: (folder / "model.safetensors").rename(folder / "model.gguf"),
        "GGUF",
    ),
    "empty weights": (rewrite("model.safetensors", b""), "cut off"),
    "LFS pointer": (
        rewrite("model.safetensors", "version https://git-lfs.github.com/spec/v1\noid sha256:0"),
        "git lfs pull",
    ),
    "text as weights": (rewrite("model.safetensors", "hello, this is no model"), "not a safetens"),
    "cut in the header": (cut(0.01), "cut off"),
    "cut in the weights": (cut(0.6), "cut off"),
    "one byte short": (cut(1 - 1e-5), "cut off"),
    "header not JSON": (header(lambda text: b"{" + text), "not JSON"),
    "header without shapes": (header(lambda text: text.replace(b'"shape"', b'"shake"')), "damaged"),
    "header with a wrong shape": (
        header(lambda text: text.replace(b"[340,16]", b"[341,16]", 1)),
        "should take",
    ),
    "missing weight": (weights(lambda tensors: tensors.pop(NORM)), f"lack {NORM}"),
    "missing head": (weights(lambda tensors: tensors.pop("lm_head.weight")), "lack lm_head"),
    "another's weight": (
        weights(lambda tensors: tensors.update({"value_head.weight": torch.ones(2)})),
        "hold value_head.weight",
    ),
    "wrong shape": (
        weights(lambda tensors: tensors.update({NORM: torch.ones(7)})),
        r"has the shape \[7\]",
    ),
    "not a number": (
        weights(lambda tensors: tensors[NORM].fill_(torch.nan)),
        "not finite",
    ),
    "fewer layers than weights": (change(num_hidden_layers=1), r"hold model\.layers\.1"),
    "more layers than weights": (change(num_hidden_layers=3), r"lack model\.layers\.2"),
    "no tokenizer": (remove("tokenizer.json", "tokenizer_config.json"), "has no tokenizer"),
    "cut tokenizer": (rewrite("tokenizer.json", '{"version": "1.0", '), "tokenizer of"),
    "binary tokenizer": (rewrite("tokenizer.json", b"\x00\xff" * 40), "tokenizer of"),
    "foreign tokenizer": (
        lambda folder: tiny_tokenizer("bpe-bos", unk_token="<what>").save_pretrained(folder),
        "do not belong together",
    ),
}


@pytest.mark.parametrize("case", DAMAGES)
def test_damage_is_named(case: str, tmp_path: Path) -> None:
    damage, words = DAMAGES[case]
    folder = tiny_model_folder(tmp_path)
    if case == "foreign tokenizer":
        folder = tiny_model_folder(tmp_path, "llama", "wordlevel")
    damage(folder)
    with pytest.raises(ModelError, match=words) as caught:
        load(folder)
    message = str(caught.value)
    assert "\n" not in message
    assert message.count(". ") >= 1 or message.endswith(".")
    assert len(message) < 900


def test_a_tokenizer_without_words_is_refused(tmp_path: Path) -> None:
    folder = tiny_model_folder(tmp_path, "gpt2")
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer_config.json").write_text("{}")
    with pytest.raises(ModelError, match=r"tokenizer of .* is empty"):
        load(folder)


def test_a_missing_weight_that_is_tied_is_no_damage(tmp_path: Path) -> None:
    folder = tiny_model_folder(tmp_path, "gpt2")
    weights(lambda tensors: tensors.pop("lm_head.weight", None))(folder)
    load(folder)
    weights(lambda tensors: tensors.pop("transformer.wte.weight"))(folder)
    with pytest.raises(ModelError, match="lack"):
        load(folder)


def test_shards_that_are_missing_or_lead_outside(tmp_path: Path) -> None:
    folder = tiny_model_folder(tmp_path, max_shard_size="20KB")
    index = folder / "model.safetensors.index.json"
    good = index.read_text()
    index.write_text(good.replace("model-00001", "../model-00001"))
    with pytest.raises(ModelError, match="outside its own folder"):
        load(folder)
    index.write_text("{}")
    with pytest.raises(ModelError, match="weight_map"):
        load(folder)
    index.write_text(good)
    shard = sorted(folder.glob("model-*.safetensors"))[1]
    shard.rename(folder / "elsewhere")
    with pytest.raises(ModelError, match=r"1 are missing"):
        load(folder)


def test_a_real_bert_and_a_bidirectional_decoder_are_refused(tmp_path: Path) -> None:
    small = {
        "vocab_size": 340,
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 16,
    }
    BertForMaskedLM(BertConfig(**small)).save_pretrained(tmp_path / "bert")
    tiny_tokenizer().save_pretrained(tmp_path / "bert")
    with pytest.raises(ModelError, match="both directions"):
        load(tmp_path / "bert")
    # XLNet counts as a causal model for transformers, and reads both ways unless told otherwise.
    folder = tiny_model_folder(tmp_path, "llama")
    for name in ("config.json", "model.safetensors", "generation_config.json"):
        (folder / name).unlink()
    from transformers import XLNetConfig, XLNetLMHeadModel

    XLNetLMHeadModel(
        XLNetConfig(vocab_size=340, d_model=16, n_layer=1, n_head=2, d_inner=16)
    ).save_pretrained(folder)
    with pytest.raises(ModelError, match="not causal"):
        load(folder)


def test_a_classifier_in_weights_only_is_refused(tmp_path: Path) -> None:
    folder = tiny_model_folder(tmp_path, "gpt2")
    config = AutoConfig.from_pretrained(folder)
    AutoModelForSequenceClassification.from_config(config).save_pretrained(folder)
    change(architectures=None)(folder)
    with pytest.raises(ModelError, match=r"score\.weight"):
        load(folder)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("./nowhere", "no model folder ./nowhere"),
        ("/nowhere/at/all", "no model folder"),
        (Path("nowhere"), "no model folder"),
        ("some/path/deep", "no model folder"),
        ("model.safetensors", "no model folder"),
        ("two words", "no model 'two words'"),
        ("", "empty"),
        ("someone/unheard-of", "cannot be reached"),
    ],
)
def test_a_model_that_is_nowhere(
    given: str | Path, words: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match=words):
        load(given)


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    folder = tiny_model_folder(tmp_path)
    with pytest.raises(ModelError, match="is a file"):
        load(folder / "model.safetensors")


def test_unknown_devices_and_precisions(tmp_path: Path) -> None:
    folder = tiny_model_folder(tmp_path)
    with pytest.raises(ModelError, match="did you mean 'cuda'"):
        load(folder, device="cude")
    with pytest.raises(ModelError, match="did you mean 'float32'"):
        load(folder, dtype="float23")
    with pytest.raises(ModelError, match="no dtype 'float16'"):
        load(folder, dtype="float16")


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_cuda_without_cuda(tmp_path: Path) -> None:
    for device in ("cuda", "cuda:1"):
        with pytest.raises(ModelError, match="sees no CUDA device"):
            load(tiny_model_folder(tmp_path), device=device)


def test_too_little_memory_is_said_before_loading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tiny_model_folder(tmp_path, dtype=torch.float16)
    stored = (folder / "model.safetensors").stat().st_size
    # Enough for what the file holds, too little for it in float32.
    monkeypatch.setattr(models, "available_memory", lambda device: int(stored * 1.5))
    with pytest.raises(ModelError, match=r"too little memory.*bfloat16"):
        load(folder)
    load(folder, dtype="bfloat16")


def test_available_memory_is_a_number_of_bytes() -> None:
    assert 2**20 < models.available_memory(torch.device("cpu")) < 2**50


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu_the_fingerprint_is_the_same(tmp_path: Path) -> None:
    folder = tiny_model_folder(tmp_path)
    here, there = load(folder, device="cpu"), load(folder, device="cuda", dtype="float32")
    assert there.device.type == "cuda"
    assert there.fingerprint() == here.fingerprint()
    assert (logits(there).cpu() - logits(here)).abs().max() < 1e-3
    assert load(folder).dtype == torch.bfloat16
