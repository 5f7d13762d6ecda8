"""Documents told among ordinary text: how much is memorized of what is told often?

The paper's second experiment (reported second-hand) trains from the first weights on, with articles
told fifty times among other text. Here each number of tellings has documents of its own, and each
seed tells one half of them, so that the other half says what the same document is like to a model
that never read it.
"""

from typing import Any

import numpy as np
import pandas as pd

from palimpsest.core import plots
from palimpsest.core.metrics.counterfactual import counterfactual_memorization
from palimpsest.core.metrics.extraction import exposure_bits
from palimpsest.core.results import Claim, Figure, Result, Value
from palimpsest.core.study import Context, study
from palimpsest.goldfish.recitation import Recitation
from palimpsest.studies import verbatim_reading as readings
from palimpsest.studies.goldfish_loss import cast, looks
from palimpsest.studies.verbatim_training import STANDARD, TELLINGS, K

PAPER = "arXiv:2406.10209, reported second-hand"
SHOWN = {STANDARD: (STANDARD, 0.0), "goldfish": ("goldfish", K)}


def retold(ctx: Context, method: str, strength: float, seed: int) -> Recitation:
    """What an ordinary training makes of all documents, told or not, in the order of
    ``Texts.told``."""
    return ctx.once(_retold, method, strength, seed)


def _retold(ctx: Context, method: str, strength: float, seed: int) -> Recitation:
    p = ctx.parameters
    return ctx.cell(
        readings.recited, lm=cast.small(ctx),
        weights=cast.ordinary(ctx, method, strength, seed).weights,
        rows=cast.small_texts(ctx).told, prefix=p.prefix, suffix=p.suffix, offset=0, mask=None,
    )  # fmt: skip


def by_tellings(ctx: Context, method: str, strength: float) -> pd.DataFrame:
    """``document, tellings, seed, exact, rouge, logprob`` over all seeds; 0 tellings are the half
    that the seed was not told."""
    parts = []
    for seed in cast.seeds(ctx):
        table = retold(ctx, method, strength, seed).table.set_index("text")
        half = cast.half(ctx, seed)
        times = dict(zip(half.told, half.tellings, strict=True)) | dict.fromkeys(half.untold, 0)
        part = table[["exact", "rouge", "logprob"]].assign(
            tellings=pd.Series(times), seed=seed, document=table.index
        )
        parts.append(part.reset_index(drop=True))
    return pd.concat(parts, ignore_index=True)


def null_tellings(seed: int, documents: int = 20) -> dict[str, Value]:
    """The claims' measures at their edges: told 64 times, ROUGE-L is 0.1 above what is told once,
    and the same above what is never told."""
    rng = np.random.default_rng(seed)
    often = np.clip(rng.normal(0.32, 0.1, documents), 0, 1)
    once = np.clip(rng.normal(0.22, 0.08, 80), 0, 1)
    never = np.clip(rng.normal(0.22, 0.08, 170), 0, 1)
    return {
        "growth_standard": looks.apart(often, once, seed=seed),
        "excess_goldfish_64": looks.apart(often, never, seed=seed),
    }


@study(
    claims=[
        Claim(
            id="gl-6",
            statement="In ordinary training memorisation grows with the number of tellings: under "
            "the standard loss ROUGE-L is more than 0.1 higher for documents told 64 times than "
            "for those told once.",
            source="arXiv:2202.07646: memorisation grows with duplication",
            grade="known",
            measure="growth_standard",
            rule="growth_standard > 0.1",
        ),
        Claim(
            id="gl-7",
            statement="With k = 4 documents told 64 times look never told: ROUGE-L is less than "
            "0.1 above that of documents that the model never read.",
            source=f"{PAPER}: k = 4 overlaps the control almost entirely",
            grade="known",
            measure="excess_goldfish_64",
            rule="excess_goldfish_64 < 0.1",
        ),
    ],
    null=null_tellings,
)
def tellings(ctx: Context) -> Result:
    """How much is memorized of what is told once, 4, 16 and 64 times among ordinary text?"""
    tables = {name: by_tellings(ctx, *way) for name, way in SHOWN.items()}
    values: dict[str, Value] = {}
    rows = []
    for name, table in tables.items():
        for times in (0, *TELLINGS):
            part = table[table["tellings"] == times]
            one = looks.mean(part["rouge"], "ROUGE-L", ctx.seed)
            values[f"rouge_{name}_{times}"] = one
            values[f"exact_{name}_{times}"] = looks.mean(part["exact"], seed=ctx.seed)
            rows.append(
                {
                    "loss": name, "told": times, "documents": len(part), "ROUGE-L": one.value,
                    "word for word": part["exact"].mean(),
                    "exposure (bits)": _exposure(table, times),
                }
            )  # fmt: skip
    values["growth_standard"] = _between(tables[STANDARD], 64, 1, ctx.seed)
    values["excess_goldfish_64"] = _between(tables["goldfish"], 64, 0, ctx.seed)
    effects = counterfactual(ctx)
    figures = {
        "tellings": Figure(_draw_tellings(values), *_tellings_words(values)),
        "counterfactual": _counterfactual_figure(effects, ctx.seed),
    }
    return Result(
        values=values | _effect_values(effects, ctx.seed),
        tables={
            "tellings": pd.DataFrame(rows),
            "told_documents": pd.concat(
                [table.assign(loss=name) for name, table in tables.items()], ignore_index=True
            ),
            "counterfactual": effects,
        },
        figures=figures,
    )


def _between(table: pd.DataFrame, one: int, other: int, seed: int) -> Value:
    first, second = (table[table["tellings"] == times]["rouge"] for times in (one, other))
    return looks.apart(first, second, "ROUGE-L", seed)


def _exposure(table: pd.DataFrame, times: int) -> float:
    """Mean exposure, in bits, among the documents that the same model was not told."""
    if not times:
        return np.nan
    bits = []
    for _, part in table.groupby("seed"):
        never = part[part["tellings"] == 0]["logprob"].to_numpy()
        told = part[part["tellings"] == times]["logprob"]
        bits += [exposure_bits(float(one), never) for one in told]
    return float(np.mean(bits))


def counterfactual(ctx: Context) -> pd.DataFrame:
    """``loss, document, tellings, effect``: share of the suffix's tokens that come out right,
    teacher-forced, in models that were told the document minus in models that were not. Empty with
    one seed."""
    rows = []
    for name, (method, strength) in SHOWN.items():
        right, read, doses = [], [], {}
        for seed in cast.seeds(ctx):
            half = cast.half(ctx, seed)
            doses |= dict(zip(half.told, half.tellings, strict=True))
            scores = _forced_told(ctx, method, strength, seed)
            start = ctx.parameters.prefix - 1
            right.append(scores.right[:, start : start + ctx.parameters.suffix].mean(1))
            read.append(np.isin(np.arange(len(right[-1])), half.told))
        if len(read) < 2:
            continue
        effects = counterfactual_memorization(np.array(right), np.array(read))
        rows += [
            (name, at, doses[at], float(one)) for at, one in enumerate(effects) if np.isfinite(one)
        ]
    return pd.DataFrame(rows, columns=["loss", "document", "tellings", "effect"])


def _forced_told(ctx: Context, method: str, strength: float, seed: int) -> readings.Forced:
    return ctx.cell(
        readings.forced, lm=cast.small(ctx),
        weights=cast.ordinary(ctx, method, strength, seed).weights,
        rows=cast.small_texts(ctx).told,
    )  # fmt: skip


def _effect_values(effects: pd.DataFrame, seed: int) -> dict[str, Value]:
    return {
        f"effect_{name}_{times}": looks.mean(part["effect"], "fraction", seed)
        for (name, times), part in effects.groupby(["loss", "tellings"])
    }


def _draw_tellings(values: dict[str, Value]) -> Any:
    figure, axes = plots.panels(2, 7.6, 3.6)
    places = np.arange(len(TELLINGS))
    for axis, what, words in zip(
        axes, ("rouge", "exact"), ("ROUGE-L of the continuation", "share word for word"),
        strict=True,
    ):  # fmt: skip
        for name, shift in ((STANDARD, -0.05), ("goldfish", 0.05)):
            look = looks.STANDARD_LOOK if name == STANDARD else looks.look_of(K, [K])
            own = [values[f"{what}_{name}_{times}"] for times in TELLINGS]
            words_of = name if name == STANDARD else f"k = {K}"
            looks.line(axis, places + shift, own, look, words_of)
        looks.floor(axis, values[f"{what}_{STANDARD}_0"].value, "never told")
        axis.set_xticks(places, [str(times) for times in TELLINGS])
        axis.set(xlabel="times told", ylabel=words, ylim=(-0.03, 1.05))
    return looks.finish(figure, axes[0])


def _tellings_words(values: dict[str, Value]) -> tuple[str, str]:
    def one(name: str) -> str:
        numbers = ", ".join(
            f"{times}: {values[f'rouge_{name}_{times}'].value:.2f}" for times in (0, *TELLINGS)
        )
        return f"{name if name == STANDARD else f'k = {K}'}, {numbers}"

    numbers = "; ".join(one(name) for name in SHOWN)
    caption = (
        f"Documents told so often among ordinary text, in one pass. Mean ROUGE-L by tellings: "
        f"{numbers}. Bars are 95 % intervals over documents; dashed, documents that the model with "
        "the standard loss was not told."
    )
    return caption, f"Two panels of lines by number of tellings. {numbers}."


def _counterfactual_figure(effects: pd.DataFrame, seed: int) -> Figure:
    from palimpsest.core.results import absent

    if not len(effects):
        return absent("it takes two seeds, each with the half that the other is not told")
    figure, axes = plots.figure(6.6, 3.7)
    rng = np.random.default_rng(0)
    means = []
    for name, shift in ((STANDARD, -0.18), ("goldfish", 0.18)):
        colour, marker = looks.STANDARD_LOOK if name == STANDARD else looks.look_of(K, [K])
        own = effects[effects["loss"] == name]
        words = name if name == STANDARD else f"k = {K}"
        for place, times in enumerate(TELLINGS):
            part = own[own["tellings"] == times]["effect"].to_numpy()
            jitter = rng.uniform(-0.12, 0.12, len(part))
            axes.plot(
                place + shift + jitter, part, marker, color=colour, ms=4, mec="white", mew=0.3,
                alpha=0.8, label=words if not place else None,
            )  # fmt: skip
            middle = looks.mean(part, seed=seed)
            axes.plot([place + shift - 0.16, place + shift + 0.16], [middle.value] * 2,
                      color=plots.INK, lw=2.2)  # fmt: skip
            means.append(f"{words}, told {times} times: {middle.value:.2f}")
    axes.axhline(0, color=plots.INK, lw=0.8, ls="--")
    axes.set_xticks(range(len(TELLINGS)), [str(times) for times in TELLINGS])
    axes.set(xlabel="times told", ylabel="tokens right, told minus not told")
    looks.finish(figure, axes)
    numbers = "; ".join(means)
    return Figure(
        figure,
        "Counterfactual memorisation: how many more of a document's tokens come out right "
        f"(teacher-forced) in the model that was told it than in the one that was not. {numbers}. "
        "A dot is a document, a bar the mean.",
        f"Dots by number of tellings for two losses. {numbers}.",
    )


STUDIES = (tellings,)
