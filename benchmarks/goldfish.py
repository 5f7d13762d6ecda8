"""How fast chapter 3's mask, loss and ROUGE-L are, each beside its usual counterpart.

    python benchmarks/goldfish.py [--out benchmarks/goldfish.json]

Three measurements on one thread, turn about in one process:

1. a mask for (32, 2048) ids: ours, the rule of the authors' released code, and a training step on
   the same ids with a network of width 128 and four blocks;
2. a step of that network with all logits against one with the kept positions gathered before the
   output layer, at a vocabulary of 8192, and how far the two losses differ;
3. ROUGE-L of ids against the package ``rouge-score`` on the same texts, at 50 and at 500 tokens.

Times are medians over repeats.
"""

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from rouge_score.rouge_scorer import RougeScorer
from transformers import LlamaConfig, LlamaForCausalLM

from palimpsest.core.files import write_text
from palimpsest.core.metrics import rouge_l
from palimpsest.goldfish.loss import gathered_loss, goldfish_loss
from palimpsest.goldfish.mask import HashedMask, OfficialMask

LINES, LENGTH, VOCABULARY = 32, 2048, 8192
REPEATS = 9


def medians(turns: dict[str, Callable[[], object]], repeats: int = REPEATS) -> dict[str, float]:
    """Median seconds of each, called turn about."""
    times: dict[str, list[float]] = {name: [] for name in turns}
    for run in turns.values():
        run()
    for _ in range(repeats):
        for name, run in turns.items():
            started = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - started)
    return {name: statistics.median(found) for name, found in times.items()}


def network() -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=128, intermediate_size=384, num_hidden_layers=4,
        num_attention_heads=4, num_key_value_heads=4, max_position_embeddings=LENGTH,
    )  # fmt: skip
    return LlamaForCausalLM(config)


def mask_times() -> dict[str, float]:
    ids = torch.randint(2, VOCABULARY, (LINES, LENGTH), generator=torch.Generator().manual_seed(0))
    ours, official, model = HashedMask(4, 13), OfficialMask(4, 13), network()
    found = medians({"ours": lambda: ours(ids), "official": lambda: official(ids)})

    def step() -> None:
        # In quarters of a line's batch, as memory asks; a step is their sum.
        for part in ids.split(4):
            model(input_ids=part, labels=part).loss.backward()
        model.zero_grad()

    started = time.perf_counter()
    step()
    found["step"] = time.perf_counter() - started
    return {**found, "share_of_step": found["ours"] / found["step"]}


def gathering() -> dict[str, float]:
    ids = torch.randint(2, VOCABULARY, (8, 256), generator=torch.Generator().manual_seed(1))
    keep, model = HashedMask(4, 13)(ids), network()

    def whole() -> torch.Tensor:
        return goldfish_loss(model(input_ids=ids).logits, ids, keep).loss

    def run(loss: Callable[[], torch.Tensor]) -> None:
        loss().backward()
        model.zero_grad()

    with torch.no_grad():
        gap = abs(float(whole()) - float(gathered_loss(model, ids, keep)))
    found = medians(
        {
            "whole": lambda: run(whole),
            "gathered": lambda: run(lambda: gathered_loss(model, ids, keep)),
        }
    )
    return {**found, "saved": 1 - found["gathered"] / found["whole"], "loss_gap": gap}


def rouge(length: int, pairs: int = 20) -> dict[str, float]:
    rng = np.random.default_rng(0)
    ids = rng.integers(0, 400, (pairs, 2, length))
    texts = [[" ".join(f"w{token}" for token in one) for one in pair] for pair in ids]
    scorer = RougeScorer(["rougeL"])

    def theirs() -> list[float]:
        return [scorer.score(a, b)["rougeL"].fmeasure for a, b in texts]

    def ours() -> list[float]:
        return [rouge_l(b.tolist(), a.tolist()).f1 for a, b in ids]

    assert np.allclose(theirs(), ours(), atol=1e-9)
    found = medians({"ours": ours, "rouge_score": theirs}, 3)
    found = {name: seconds / pairs for name, seconds in found.items()}
    return {**found, "ratio": found["rouge_score"] / found["ours"]}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    out = parser.parse_args(arguments).out
    torch.set_num_threads(1)
    found = {
        "machine": {
            "processor": platform.machine(), "threads": 1, "torch": version("torch"),
            "rouge-score": version("rouge-score"),
        },
        "mask": {"lines": LINES, "length": LENGTH, **mask_times()},
        "gathering": {"vocabulary": VOCABULARY, "k": 4, **gathering()},
        "rouge_l": {str(length): rouge(length) for length in (50, 500)},
    }  # fmt: skip
    text = json.dumps(found, indent=1)
    write_text(out, text + "\n")
    print(text)


if __name__ == "__main__":
    main()
