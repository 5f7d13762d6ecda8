"""Learning by heart: what does the standard loss bring back word for word, and the goldfish loss?

The paper's extreme case (section 3.1 of the goldfish digest): a few documents, many passes.
"""

from typing import Any

import numpy as np
import pandas as pd

from palimpsest.core import plots
from palimpsest.core.results import Claim, Figure, Result, Value
from palimpsest.core.study import Context, study
from palimpsest.goldfish.recitation import Recitation
from palimpsest.studies import verbatim_reading as readings
from palimpsest.studies.goldfish_loss import cast, looks
from palimpsest.studies.verbatim_texts import Rows
from palimpsest.studies.verbatim_training import K

SOURCE = "arXiv:2406.10209, reported second-hand"


def recited(ctx: Context, k: int) -> Recitation:
    """What a training by heart makes of the members; its own mask says what was masked, or, for the
    standard loss, the mask of k = 4, with which nothing was done."""
    return ctx.once(_recited, k)


def _recited(ctx: Context, k: int) -> Recitation:
    p = ctx.parameters
    return ctx.cell(
        readings.recited, lm=ctx.lm, weights=cast.by_heart(ctx, k).weights,
        rows=cast.texts(ctx).members, prefix=p.prefix, suffix=p.suffix, offset=0,
        mask=cast.mask(ctx, k or K),
    )  # fmt: skip


def unseen(ctx: Context, k: int) -> Recitation:
    """The same training's continuation of as many documents that nobody read: the floor."""
    return ctx.once(_unseen, k)


def _unseen(ctx: Context, k: int) -> Recitation:
    p = ctx.parameters
    return ctx.cell(
        readings.recited, lm=ctx.lm, weights=cast.by_heart(ctx, k).weights,
        rows=Rows(cast.texts(ctx).twins[: p.documents]), prefix=p.prefix, suffix=p.suffix,
        offset=0, mask=None,
    )  # fmt: skip


def null_by_heart(seed: int, documents: int = 100) -> dict[str, Value]:
    """The claims' measures at the edge of what they say: half of the documents come back under the
    standard loss, one in twenty under k = 4, with ROUGE-L 0.05 above unseen documents."""
    rng = np.random.default_rng(seed)
    members = np.clip(rng.normal(0.30, 0.08, documents), 0, 1)
    return {
        "exact_standard": looks.mean(rng.random(documents) < 0.5, seed=seed),
        "exact_k4": looks.mean(rng.random(documents) < 0.05, seed=seed),
        "rouge_excess_k4": looks.apart(
            members, np.clip(rng.normal(0.25, 0.08, documents), 0, 1), seed=seed
        ),
    }


@study(
    claims=[
        Claim(
            id="gl-1",
            statement="Under the standard loss most documents of a small set are recited word for "
            "word: more than half.",
            source=f"{SOURCE}: 84 of 100 articles",
            grade="known",
            measure="exact_standard",
            rule="exact_standard > 0.5",
        ),
        Claim(
            id="gl-2",
            statement="Under the goldfish loss with k = 4 none is: fewer than one in twenty.",
            source=f"{SOURCE}: 0 of 100 articles",
            grade="known",
            measure="exact_k4",
            rule="exact_k4 < 0.05",
        ),
        Claim(
            id="gl-3",
            statement="Pieces are retained all the same: with k = 4 ROUGE-L is more than 0.05 "
            "above that of documents never seen.",
            source=f"{SOURCE}: about twice that of a model that never saw the text",
            grade="known",
            measure="rouge_excess_k4",
            rule="rouge_excess_k4 > 0.05",
        ),
    ],
    null=null_by_heart,
)
def by_heart(ctx: Context) -> Result:
    """What comes back of documents that were learned by heart?"""
    rows, values = [], {}
    scores: dict[str, np.ndarray] = {}
    for k in cast.losses(ctx):
        table, floor = recited(ctx, k).table, unseen(ctx, k).table
        slug = f"k{k}" if k else "standard"
        values[f"exact_{slug}"] = looks.mean(table["exact"], seed=ctx.seed)
        values[f"rouge_{slug}"] = looks.mean(table["rouge"], "ROUGE-L", ctx.seed)
        values[f"floor_{slug}"] = looks.mean(floor["rouge"], "ROUGE-L", ctx.seed)
        scores[cast.name(k)] = table["rouge"].to_numpy()
        rows.append(
            {
                "loss": cast.name(k),
                "word for word": table["exact"].mean(),
                "ROUGE-L": table["rouge"].mean(),
                "ROUGE-L, never seen": floor["rouge"].mean(),
                "first wrong token": float(table["divergence"].median()),
                "right where kept": table["kept_right"].mean(),
                "right where masked": table["masked_right"].mean(),
            }
        )
    values["rouge_excess_k4"] = looks.apart(
        recited(ctx, K).table["rouge"], unseen(ctx, K).table["rouge"], "ROUGE-L", ctx.seed
    )
    floor = unseen(ctx, K).table["rouge"].to_numpy()
    texts = cast.texts(ctx)
    counts = pd.DataFrame(
        {
            "what": ["learned by heart", "for many masks", "told in ordinary text",
                     "never read", "ordinary text", "for validation", "left out: too short"],
            "documents": [len(texts.members), len(texts.grouped), len(texts.told),
                          len(texts.twins), len(texts.ordinary), len(texts.validation),
                          texts.short],
        }
    )  # fmt: skip
    along = _along(ctx)
    return Result(
        values=values,
        tables={
            "texts": counts,
            "by_heart": pd.DataFrame(rows),
            "recited": _recited_table(ctx),
            "along": along,
        },
        figures={
            "by_heart": Figure(
                _draw(scores, floor, cast.losses(ctx)), *_words(values, cast.losses(ctx), floor)
            ),
            "along": Figure(_draw_along(along), *_along_words(along)),
        },
    )


def _recited_table(ctx: Context) -> pd.DataFrame:
    parts = [recited(ctx, k).table.assign(loss=cast.name(k)) for k in cast.losses(ctx)]
    parts += [
        unseen(ctx, k).table.assign(loss=f"{cast.name(k)}, never seen") for k in cast.losses(ctx)
    ]
    return pd.concat(parts, ignore_index=True)


def _along(ctx: Context) -> pd.DataFrame:
    parts = [cast.by_heart(ctx, k).along.assign(loss=cast.name(k)) for k in (0, K)]
    return pd.concat(parts, ignore_index=True)


def _draw(scores: dict[str, np.ndarray], floor: np.ndarray, losses: list[int]) -> Any:
    figure, axes = plots.figure(6.6, 0.55 * len(scores) + 1.7)
    rng = np.random.default_rng(0)
    low, high = np.quantile(floor, [0.025, 0.975])
    axes.axvspan(low, high, color=looks.FLOOR, alpha=0.18, lw=0)
    axes.axvline(floor.mean(), color=looks.FLOOR, lw=1.0, ls="--", label="never seen")
    for height, (k, found) in enumerate(zip(losses, scores.values(), strict=True)):
        colour, marker = looks.look_of(k, losses)
        jitter = rng.uniform(-0.28, 0.28, len(found))
        axes.plot(
            found, height + jitter, marker, color=colour, ms=4.5, mec="white", mew=0.4, alpha=0.85
        )
        axes.plot([found.mean()] * 2, [height - 0.36, height + 0.36], color=plots.INK, lw=2.2)
    axes.set_yticks(range(len(scores)), list(scores))
    axes.invert_yaxis()
    axes.set(xlim=(-0.02, 1.03), xlabel="ROUGE-L of the continuation (1: word for word)")
    return looks.finish(figure, axes)


def _words(values: dict[str, Value], losses: list[int], floor: np.ndarray) -> tuple[str, str]:
    def one(k: int) -> str:
        slug = f"k{k}" if k else "standard"
        exact, rouge = values[f"exact_{slug}"].value, values[f"rouge_{slug}"].value
        return f"{cast.name(k)} {exact:.0%} word for word, ROUGE-L {rouge:.2f}"

    numbers = "; ".join(one(k) for k in losses)
    caption = (
        "How much of each document comes back after its beginning, by the loss it was learned "
        f"with: {numbers}. A dot is a document, a bar the mean. Dashed and grey: mean and middle "
        f"95 % of documents never seen ({floor.mean():.2f})."
    )
    return caption, f"A row of dots for each loss on an axis of ROUGE-L. {numbers}."


def _draw_along(along: pd.DataFrame) -> Any:
    figure, axes = plots.panels(2, 7.6, 3.6)
    for name, part in along.groupby("loss", sort=False):
        colour, marker = looks.look_of(0 if name == cast.name(0) else K, [0, K])
        axes[0].plot(part["epoch"], part["rouge"], "-", marker=marker, color=colour, label=name)
        for what, style in (("kept", "-"), ("masked", "--")):
            axes[1].plot(
                part["epoch"], part[what], style, marker=marker, ms=4.5, color=colour,
                mfc=colour if what == "kept" else "white", label=f"{name}, {what} tokens",
            )  # fmt: skip
    axes[0].set(xlabel="passes", ylabel="ROUGE-L of the continuation", ylim=(0, 1.03))
    axes[1].set(xlabel="passes", ylabel="loss (nats a token)")
    return looks.finish(figure, axes[1])


def _along_words(along: pd.DataFrame) -> tuple[str, str]:
    last = along.groupby("loss", sort=False).last()
    first = along.groupby("loss", sort=False).first()

    def one(name: str) -> str:
        return (
            f"{name}: kept {first.loc[name, 'kept']:.2f} to {last.loc[name, 'kept']:.2f} nats, "
            f"masked {first.loc[name, 'masked']:.2f} to {last.loc[name, 'masked']:.2f}"
        )

    numbers = "; ".join(one(name) for name in last.index)
    caption = (
        "Learning by heart, pass by pass. Left, how much comes back. Right, the loss of the tokens "
        f"that the mask of k = 4 keeps (full) and masks (open); {numbers}. The standard loss was "
        "trained on both, the goldfish loss on those kept."
    )
    return caption, f"Two panels of lines by pass. {numbers}."


STUDIES = (by_heart,)
