"""What does masking cost on other text?

The paper compares at equal input and at equal supervised tokens (reported second-hand). Both are
read off one training with k = 4: it goes on, at the same learning rate, until it was trained on as
many tokens as the standard one.
"""

from typing import Any

import numpy as np
import pandas as pd

from palimpsest.core import plots, stats
from palimpsest.core.results import Claim, Figure, Result, Value
from palimpsest.core.study import Context, study
from palimpsest.studies import verbatim_reading as readings
from palimpsest.studies.goldfish_loss import cast, looks
from palimpsest.studies.goldfish_loss.told import PAPER, SHOWN, retold
from palimpsest.studies.verbatim_training import STANDARD, K

SELECTIVE = "selective"


def validation_losses(ctx: Context, method: str, strength: float, seed: int, later: bool) -> Any:
    """float64 [documents]: nats a token of each validation document."""
    return ctx.once(_validation_losses, method, strength, seed, later)


def _validation_losses(
    ctx: Context, method: str, strength: float, seed: int, later: bool
) -> np.ndarray:
    made = cast.ordinary(ctx, method, strength, seed)
    return ctx.cell(
        readings.document_losses, lm=cast.small(ctx), weights=made.later if later else made.weights,
        rows=cast.small_texts(ctx).validation,
    )  # fmt: skip


def price_of(first: list[np.ndarray], second: list[np.ndarray], seed: int) -> Value:
    """Mean loss a token of ``first`` minus that of ``second``, documents resampled.

    Args:
        first, second: for each seed [documents, 2], nats and tokens.
    """
    gap = np.concatenate(
        [one[:, 0] - other[:, 0] for one, other in zip(first, second, strict=True)]
    )
    tokens = np.concatenate([one[:, 1] for one in first])
    documents = np.tile(np.arange(len(first[0])), len(first))

    def statistic(weights: np.ndarray) -> np.ndarray:
        return (weights * gap).sum(1) / (weights * tokens).sum(1)

    factor = stats.Factor(documents, np.zeros(len(first[0]), dtype=np.intp))
    return Value.of(stats.bootstrap(statistic, [factor], gap, seed=seed), "nats a token")


def null_price(seed: int, documents: int = 400) -> dict[str, Value]:
    """The claims' measures at their edges: at equal supervised tokens 0.05 nats more, at equal
    input none, and of masking what is told alone 0.02 nats more."""
    rng = np.random.default_rng(seed)
    tokens = rng.integers(10, 60, documents).astype(float)
    base = [np.stack([tokens * rng.normal(2.8, 0.4, documents), tokens], 1) for _ in range(2)]

    def dearer(by: float) -> list[np.ndarray]:
        return [
            np.stack([one[:, 0] + tokens * rng.normal(by, 0.3, documents), tokens], 1)
            for one in base
        ]

    return {
        "price_supervised": price_of(dearer(0.05), base, seed),
        "price_input": price_of(dearer(0.0), base, seed),
        "price_selective": price_of(dearer(0.02), base, seed),
    }


@study(
    claims=[
        Claim(
            id="gl-8",
            statement="At as many supervised tokens the goldfish loss costs little: the validation "
            "loss is less than 0.05 nats above that of the standard loss.",
            source=f"{PAPER}: validation curves against supervised tokens end close together",
            grade="known",
            measure="price_supervised",
            rule="price_supervised < 0.05",
        ),
        Claim(
            id="gl-9",
            statement="At as many input tokens it costs something: the validation loss is higher.",
            source=f"{PAPER}: the goldfish loss is given more input for equal supervision",
            grade="ours",
            measure="price_input",
            rule="price_input > 0",
        ),
        Claim(
            id="gl-10",
            statement="Masking only the documents to be protected costs nothing that is seen on "
            "other text: less than 0.02 nats.",
            source=f"{PAPER}: the authors suggest to use it for high-risk sources alone",
            grade="known",
            measure="price_selective",
            rule="price_selective < 0.02",
        ),
    ],
    null=null_price,
)
def price(ctx: Context) -> Result:
    """What does masking cost on other text?"""
    seeds = cast.seeds(ctx)

    def losses(method: str, strength: float, *, later: bool = False, of: Any = None) -> list[Any]:
        return [validation_losses(ctx, method, strength, seed, later) for seed in (of or seeds)]

    standard = losses(STANDARD, 0.0)
    goldfish = losses("goldfish", K)
    selective = losses(SELECTIVE, K, of=seeds[:1])
    values = {
        "price_input": price_of(goldfish, standard, ctx.seed),
        "price_supervised": price_of(losses("goldfish", K, later=True), standard, ctx.seed),
        "price_selective": price_of(selective, standard[:1], ctx.seed),
        "selective_rouge_64": _selective_rouge(ctx),
    }
    curves = _curves(ctx)
    return Result(
        values=values,
        tables={"price": curves},
        figures={"price": Figure(_draw_price(curves), *_price_words(curves, values))},
    )


def _selective_rouge(ctx: Context) -> Value:
    """ROUGE-L of documents told 64 times where only told documents are masked."""
    seed = cast.seeds(ctx)[0]
    half = cast.half(ctx, seed)
    table = retold(ctx, SELECTIVE, K, seed).table.set_index("text")["rouge"]
    often = [at for at, times in zip(half.told, half.tellings, strict=True) if times == 64]
    return looks.mean(table[often], "ROUGE-L", ctx.seed)


def _curves(ctx: Context) -> pd.DataFrame:
    """``loss, seed, step, tokens, supervised, validation``."""
    ways = [(name, *way, seed) for seed in cast.seeds(ctx) for name, way in SHOWN.items()]
    ways.append((SELECTIVE, SELECTIVE, K, cast.seeds(ctx)[0]))
    parts = []
    for name, method, strength, seed in ways:
        along = cast.ordinary(ctx, method, strength, seed).along
        along = along.rename(columns={"loss": "validation"})
        parts.append(along.assign(loss=name, seed=seed))
    return pd.concat(parts, ignore_index=True)


def _draw_price(curves: pd.DataFrame) -> Any:
    figure, axes = plots.panels(2, 7.8, 3.7, share_y=True)
    styles = {STANDARD: "-", "goldfish": "-", SELECTIVE: ":"}
    names = {STANDARD: STANDARD, "goldfish": f"k = {K}", SELECTIVE: "k = 4 on what is told alone"}
    for axis, what, words in zip(
        axes, ("tokens", "supervised"), ("input tokens", "supervised tokens"), strict=True
    ):
        for (name, seed), part in curves.groupby(["loss", "seed"], sort=False):
            colour, marker = looks.METHODS[name]
            shown = part[part["step"] > 0]
            axis.plot(
                shown[what] / 1000, shown["validation"], styles[name],
                marker=marker, ms=4, lw=1.2, color=colour, alpha=0.9,
                label=names[name] if seed == curves["seed"].min() else None,
            )  # fmt: skip
        axis.set(xlabel=f"{words} (thousands)")
    axes[0].set_ylabel("validation loss (nats a token)")
    return looks.finish(figure, axes[0])


def _price_words(curves: pd.DataFrame, values: dict[str, Value]) -> tuple[str, str]:
    seeds = curves["seed"].nunique()
    numbers = (
        f"at equal input tokens {looks.told(values['price_input'], '.3f')} nats, at equal "
        f"supervised tokens {looks.told(values['price_supervised'], '.3f')}, and where only the "
        f"told documents are masked {looks.told(values['price_selective'], '.3f')}"
    )
    caption = (
        f"The price of k = {K} on text of the same kind, over {seeds} seed{'s' * (seeds > 1)}: "
        f"above the standard loss {numbers}. Left by tokens read, right by tokens trained on. "
        "Intervals are over validation documents."
    )
    return caption, f"Two panels of falling loss curves. Price: {numbers}."


STUDIES = (price,)
