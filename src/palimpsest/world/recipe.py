"""How a shipped model is made: a Llama from scratch on the stage-1 stream, in one command.

The recipe is fixed; its numbers were settled by trial on this world. What a run did (order of the
documents, losses, accuracy) is written beside the weights.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch

from palimpsest.core.errors import UserError, nearest
from palimpsest.core.files import atomic_folder
from palimpsest.core.models import LanguageModel, load
from palimpsest.core.text import Row
from palimpsest.core.training import History, Recipe, train
from palimpsest.world.rows import document_rows
from palimpsest.world.stream import PRACTICE_FROM
from palimpsest.world.tokenizer import VOCABULARY, train_tokenizer
from palimpsest.world.universe import World

CONTEXT = 256
LINE = 128
SISTERS = 40
SISTER_DOCUMENTS = 800
CHUNK = 10_000


@dataclass(frozen=True)
class Shape:
    """A network and the seed of its first weights."""

    hidden: int
    layers: int
    heads: int
    mlp: int
    seed: int = 0


@dataclass(frozen=True)
class Phase:
    """A part of the training, with a learning rate that ends near 0.

    ``first`` is the number of its first document, ``tokens`` how many tokens it has.
    """

    name: str
    first: int
    tokens: int
    learning_rate: float


SHAPES = {"palimpsest-m": Shape(hidden=128, layers=4, heads=4, mlp=384)}
PHASES = (
    Phase("reading", first=0, tokens=7_000_000, learning_rate=3e-3),
    Phase("practice", first=PRACTICE_FROM, tokens=4_000_000, learning_rate=2e-3),
)


def training_recipe(phase: Phase, seed: int) -> Recipe:
    """AdamW at a constant rate that falls linearly over the last 35 %, 2,048 tokens a step."""
    return Recipe(
        epochs=1,
        batch_size=16,
        learning_rate=phase.learning_rate,
        schedule="warmup-stable-decay",
        warmup=0.01,
        decay=0.35,
        weight_decay=0.1,
        betas=(0.9, 0.98),
        clip=1.0,
        seed=seed,
        shuffle=False,
        pack_length=LINE,
    )


def prepare(shape: Shape, world: World, folder: Path) -> None:
    """Write a Llama with random weights and a tokenizer learned from the stream into ``folder``."""
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = train_tokenizer(_sister_texts(world), VOCABULARY, CONTEXT)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=shape.hidden,
        intermediate_size=shape.mlp,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.heads,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        # 1 / sqrt(fan-in). With the usual 0.02, meant for wide networks, attention in one so
        # narrow starts almost uniform and learns to look at single words very late.
        initializer_range=shape.hidden**-0.5,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(shape.seed)
        model = LlamaForCausalLM(config)
    with atomic_folder(folder) as scratch:
        model.save_pretrained(scratch)
        tokenizer.save_pretrained(scratch)


def _sister_texts(world: World) -> Iterator[str]:
    """Text of worlds with other seeds: the same English, other names and another Velic.

    Learned from its own world, the vocabulary would have a token for each name of the early people
    and spell those of the newcomers in pieces that no training text contains.
    """
    for seed in range(world.seed + 1, world.seed + 1 + SISTERS):
        for document in World(seed, world.size).documents("early", SISTER_DOCUMENTS):
            yield document.text


def phase_rows(lm: LanguageModel, world: World, first: int, tokens: int) -> list[Row]:
    """Rows of stage 1 from document ``first`` on that together have at least ``tokens`` tokens."""
    rows: list[Row] = []
    total = 0
    documents = world.documents("early", first=first)
    while total < tokens:
        for row in document_rows(lm, islice(documents, CHUNK)):
            if total >= tokens:
                break
            rows.append(row)
            total += len(row)
    return rows


@dataclass(frozen=True)
class Training:
    """What a training was and did, phase by phase."""

    recipes: tuple[Recipe, ...]
    histories: tuple[History, ...]

    @property
    def order(self) -> list[tuple[str, ...]]:
        """For every step the ids of its documents."""
        return [step for history in self.histories for step in history.order]

    @property
    def tokens(self) -> int:
        return sum(history.tokens for history in self.histories)

    @property
    def seconds(self) -> float:
        return sum(history.seconds for history in self.histories)


def train_stage_one(
    name: str,
    world: World,
    work: Path,
    *,
    tokens: int | None = None,
    device: str = "auto",
    resume: bool = False,
) -> tuple[LanguageModel, Training]:
    """Train a shipped model from scratch, or go on with a training that was interrupted.

    Args:
        name: which of :data:`SHAPES`.
        world: what it is trained on.
        work: folder for the blank model and the checkpoints, one every minute.
        tokens: tokens to train on, shared out among the phases (default: the recipe's).
        device: as in ``core.models.load``.
        resume: go on from the state in ``work``, if there is one.

    Raises:
        UserError: unknown model, no tokens, or ``work`` holds a training and ``resume`` is False.
    """
    if name not in SHAPES:
        raise UserError(f"There is no recipe for a model '{name}': {nearest(name, SHAPES)}")
    if tokens is not None and tokens < 1:
        raise UserError(f"A model cannot be trained on {tokens} tokens; at least 1 is needed.")
    shape = SHAPES[name]
    blank = work / "blank"
    if blank.exists() and not resume:
        raise UserError(
            f"{work} holds a training that was interrupted. Go on with --resume, or delete that "
            "folder to begin again."
        )
    if not blank.exists():
        prepare(shape, world, blank)
    lm = load(blank, device=device, dtype="float32")
    recipes, histories = [], []
    for phase in PHASES:
        share = phase.tokens / sum(each.tokens for each in PHASES)
        rows = phase_rows(lm, world, phase.first, round(tokens * share) if tokens else phase.tokens)
        recipes.append(training_recipe(phase, shape.seed))
        state = work / phase.name
        label = f"{name}, {phase.name}"
        history = train(lm, rows, recipes[-1], checkpoint=state, resume=True, progress=label)
        histories.append(history)
    return lm, Training(tuple(recipes), tuple(histories))
