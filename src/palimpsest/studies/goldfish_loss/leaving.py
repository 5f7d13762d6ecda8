"""Where does a goldfish model leave the text, and how long does it stay?

Two predictions of how the loss works: the text is left where a token was masked (the paper's
figure), and a span of n tokens survives with probability (1 − (1 − q)/k)^n (``goldfish.theory``).
"""

from typing import Any

import numpy as np
import pandas as pd
import torch

from palimpsest.core import plots, stats
from palimpsest.core.metrics.extraction import samples_needed
from palimpsest.core.results import Claim, Figure, Result, Value
from palimpsest.core.study import Context, study
from palimpsest.goldfish.theory import survival
from palimpsest.studies.goldfish_loss import cast, looks
from palimpsest.studies.goldfish_loss.heart import recited, unseen
from palimpsest.studies.verbatim_training import K

FIGURE = "arXiv:2406.10209, reported second-hand: a histogram of first wrong tokens"
SAMPLES = np.logspace(0, 6, 25)
LIKELY = 0.5


# --- one passage --------------------------------------------------------------------------------


@study()
def passage(ctx: Context) -> Result:
    """One passage token by token: what is masked, and where does the model leave it?"""
    p = ctx.parameters
    found = recited(ctx, K)
    table = found.table
    # A document that is left in the middle of its suffix, as most are.
    middle = table["divergence"].rank(method="first").sub(len(table) / 2).abs().idxmin()
    number = int(table.loc[middle, "text"])
    row = cast.texts(ctx).members[number]
    keep = _keep(ctx, number)
    left = p.prefix + int(table.loc[middle, "divergence"])
    made = found.generated[middle]
    words = [ctx.lm.tokenizer.decode([int(one)]) for one in row.input_ids]
    own = [ctx.lm.tokenizer.decode([int(one)]) for one in made]
    end = p.prefix + p.suffix
    rows = [
        {
            "position": at, "token": words[at], "masked": not keep[at], "given": at < p.prefix,
            "said": "" if at < p.prefix else own[at - p.prefix],
        }
        for at in range(end)
    ]  # fmt: skip
    tokens = pd.DataFrame(rows)
    values = {"passage_left": Value(float(left - p.prefix), n=1, unit="tokens")}
    return Result(
        values=values,
        tables={"passage": tokens},
        figures={"passage": Figure(_draw_passage(tokens, left), *_passage_words(tokens, left, p))},
    )


def _keep(ctx: Context, number: int) -> np.ndarray:
    ids = torch.from_numpy(cast.texts(ctx).members[number].input_ids.astype(np.int64))
    return cast.mask(ctx, K)(ids).numpy()


def _draw_passage(tokens: pd.DataFrame, left: int) -> Any:
    across = 11
    lines = -(-len(tokens) // across)
    figure, axes = plots.figure(7.8, 0.62 * lines + 0.7)
    axes.set_axis_off()
    axes.set(xlim=(0, across), ylim=(lines + 0.05, -0.1))
    for at, one in tokens.iterrows():
        x, y = at % across, at // across
        shade = "#eeeeee" if one["given"] else "#cfe3f3" if at < left else "white"
        axes.add_patch(_box(x, y, shade, "#D55E00" if one["masked"] else "#bbbbbb", one["masked"]))
        words = _shown(one["token"])
        size = 8.5 if len(words) < 9 else 6.8
        axes.text(x + 0.5, y + 0.3, words, ha="center", va="center", fontsize=size)
        if one["said"] and one["said"] != one["token"]:
            axes.text(
                x + 0.5, y + 0.66, _shown(one["said"]), ha="center", va="center", fontsize=7.5,
                color="#9a3412", style="italic",
            )  # fmt: skip
        if at == left:
            axes.plot([x + 0.02] * 2, [y - 0.02, y + 0.88], color="#D55E00", lw=3.5)
    for x, (words, shade, edge, hatched) in enumerate(
        (
            ("given", "#eeeeee", "#bbbbbb", False),
            ("recited", "#cfe3f3", "#bbbbbb", False),
            ("masked", "white", "#D55E00", True),
        )
    ):
        axes.add_patch(_box(3 * x, lines + 0.15, shade, edge, hatched, 0.35, 0.3))
        axes.text(3 * x + 0.45, lines + 0.3, words, va="center", fontsize=8.5)
    axes.set_ylim(lines + 0.6, -0.1)
    return figure


def _box(
    x: float, y: float, shade: str, edge: str, hatched: bool, width: float = 0.94,
    height: float = 0.86,
) -> Any:  # fmt: skip
    from matplotlib.patches import Rectangle

    return Rectangle(
        (x + 0.03, y), width, height, facecolor=shade, edgecolor=edge, lw=1.6 if hatched else 0.6,
        ls="--" if hatched else "-",
    )  # fmt: skip


def _shown(token: str) -> str:
    """A token as a figure can print it: blanks are seen, and dollar signs begin no mathematics."""
    plain = token.strip(" ").replace("\n", "↵").replace("$", r"\$") or "␣"
    plain = "".join(one if one.isprintable() else "·" for one in plain)
    return plain if len(plain) <= 11 else plain[:10] + "…"


def _passage_words(tokens: pd.DataFrame, left: int, p: Any) -> tuple[str, str]:
    masked = int(tokens["masked"].sum())
    where = (
        "it never leaves the text"
        if left >= len(tokens)
        else f"it leaves the text after {left - p.prefix} tokens, "
        + ("at a masked one" if tokens.loc[left, "masked"] else "at one that was kept")
    )
    caption = (
        f"A passage that was learned with k = {K}: {masked} of its {len(tokens)} tokens were never "
        f"a target (dashed frames). Given the first {p.prefix}, the model recites, and {where} "
        "(thick line); below each token, in italics, what it says instead. From there on it goes "
        "on from its own words."
    )
    said = tokens.loc[left, "said"] if left < len(tokens) else ""
    return caption, (
        f"The tokens of one passage in boxes; {masked} of {len(tokens)} are marked as masked. "
        f"After {p.prefix} given tokens the model recites, and {where}"
        + (f", saying {said.strip()!r} for {tokens.loc[left, 'token'].strip()!r}." if said else ".")
    )


# --- where it is left ---------------------------------------------------------------------------


def null_leaving(seed: int, documents: int = 100) -> dict[str, Value]:
    """The claim's measure at its edge: nine of ten texts are left at a masked token."""
    rng = np.random.default_rng(seed)
    return {"left_at_masked_k4": looks.mean(rng.random(documents) < 0.9, seed=seed)}


@study(
    claims=[
        Claim(
            id="gl-4",
            statement="A goldfish model leaves the text where a token was masked: with k = 4 in "
            "more than nine of ten documents, where one position in four is masked.",
            source=f"{FIGURE} coincides with one of masked positions",
            grade="known",
            measure="left_at_masked_k4",
            rule="left_at_masked_k4 > 0.9",
        )
    ],
    null=null_leaving,
)
def leaving(ctx: Context) -> Result:
    """Where does a model leave a text that it learned with the goldfish loss?"""
    p = ctx.parameters
    values: dict[str, Value] = {}
    rows = []
    for k in sorted(p.ks):
        table = recited(ctx, k).table
        left = table["left_at_masked"].dropna()
        values[f"left_at_masked_k{k}"] = looks.mean(left, seed=ctx.seed)
        rows.append(
            {
                "k": k, "left": len(left), "at a masked token": left.mean(),
                "masked positions": _masked_share(ctx, k),
                "median place": float(table["divergence"].median()),
            }
        )  # fmt: skip
    places = _places(ctx)
    values["masked_share_k4"] = Value(_masked_share(ctx, K), n=p.documents, unit="fraction")
    return Result(
        values=values,
        tables={"leaving": pd.DataFrame(rows), "places": places},
        figures={"leaving": Figure(_draw_leaving(places, p), *_leaving_words(values, places))},
    )


def _masks(ctx: Context, k: int) -> np.ndarray:
    """bool [documents, suffix]: which tokens of each suffix are masked."""
    p = ctx.parameters
    ids = torch.tensor(cast.texts(ctx).members.ids)
    return ~cast.mask(ctx, k)(ids).numpy()[:, p.prefix : p.prefix + p.suffix]


def _masked_share(ctx: Context, k: int) -> float:
    return float(_masks(ctx, k).mean())


def _places(ctx: Context) -> pd.DataFrame:
    """``place``, documents whose first masked token of the suffix it is, and whose first wrong."""
    p = ctx.parameters
    masks = _masks(ctx, K)
    first = np.where(masks.any(1), masks.argmax(1), p.suffix)
    left = recited(ctx, K).table["divergence"].to_numpy()
    bins = np.arange(p.suffix + 1)
    return pd.DataFrame(
        {
            "place": bins,
            "first masked": np.bincount(first, minlength=len(bins)),
            "first wrong": np.bincount(left, minlength=len(bins)),
            "masked": np.append(masks.mean(0), np.nan),
        }
    )


def _draw_leaving(places: pd.DataFrame, p: Any) -> Any:
    figure, axes = plots.figure(7.0, 3.4)
    shown = places[places["place"] < p.suffix]
    for what, (colour, shift) in {
        "first masked": ("#56B4E9", -0.2), "first wrong": ("#D55E00", 0.2),
    }.items():  # fmt: skip
        axes.bar(
            shown["place"] + shift, shown[what], width=0.4, color=colour, label=f"{what} token",
            hatch="//" if what == "first masked" else None, edgecolor="white", lw=0.3,
        )  # fmt: skip
    used = shown[(shown["first masked"] + shown["first wrong"]) > 0]["place"]
    axes.set(
        xlabel="tokens after the beginning", ylabel="documents",
        xlim=(-0.8, (used.max() if len(used) else p.suffix) + 1.5),
    )  # fmt: skip
    return looks.finish(figure, axes)


def _leaving_words(values: dict[str, Value], places: pd.DataFrame) -> tuple[str, str]:
    count = int(places["first wrong"].iloc[:-1].sum())
    numbers = (
        f"{count} documents are left, {looks.told(values['left_at_masked_k4'])} of them at a "
        f"masked token, which {values['masked_share_k4'].value:.2f} of all tokens are"
    )
    caption = (
        f"Where texts learned with k = {K} are left: {numbers}. Beside the first wrong token the "
        "first masked one of each text: what lies between is how far good guesses carried."
    )
    return caption, f"Bars by place in the suffix, first masked and first wrong token. {numbers}."


# --- how long it survives -----------------------------------------------------------------------


def survival_curves(
    divergence: np.ndarray, guessed: np.ndarray, masked: np.ndarray, length: int
) -> tuple[np.ndarray, np.ndarray]:
    """Measured and predicted survival, each [length].

    Args:
        divergence: [N] first wrong token of each document.
        guessed: [N] share of each document's masked tokens that the model has right, NaN without.
        masked: [N] share of each document's tokens that are masked.
    """
    spans = np.arange(1, length + 1)
    measured = (divergence[:, None] >= spans).mean(0)
    rate = float(masked.mean())
    q = float(np.nanmean(guessed)) if np.isfinite(guessed).any() else 0.0
    predicted = survival(1 / rate, spans, q) if rate else np.ones(length)
    return measured, predicted


def survival_error(
    data: dict[int, tuple[np.ndarray, np.ndarray, np.ndarray]], length: int, seed: int
) -> Value:
    """Mean absolute difference of measured and predicted survival over lengths and k; documents
    resampled."""

    def error(rows: np.ndarray) -> float:
        at = rows.astype(int)
        gaps = [
            np.abs(np.subtract(*survival_curves(*(one[at] for one in parts), length))).mean()
            for parts in data.values()
        ]
        return float(np.mean(gaps))

    count = len(next(iter(data.values()))[0])
    found = stats.cluster_bootstrap(np.arange(count), statistic=error, draws=400, seed=seed)
    return Value.of(found, "fraction")


def null_survival(seed: int, documents: int = 100, length: int = 50) -> dict[str, Value]:
    """The claim's measure where masked tokens are no place to leave a text: how long it is recited
    has nothing to do with k."""
    rng = np.random.default_rng(seed)
    data = {}
    for k in (3, 4, 8, 32, 128):
        left = np.minimum(rng.geometric(1 / 12, documents) - 1, length)
        guessed = np.clip(rng.normal(0.3, 0.1, documents), 0, 1)
        data[k] = (left, guessed, np.full(documents, 1 / k))
    return {"survival_error": survival_error(data, length, seed)}


@study(
    claims=[
        Claim(
            id="gl-5",
            statement="How long a text is recited follows from k and from how well masked tokens "
            "are guessed: measured and predicted survival differ by less than 0.1 in the mean over "
            "lengths.",
            source="this book, the section on how long a text lasts (derived; arXiv:2406.10209 "
            "states no such law, as far as it could be read)",
            grade="ours",
            measure="survival_error",
            rule="survival_error < 0.1",
        )
    ],
    null=null_survival,
)
def spans(ctx: Context) -> Result:
    """How long is a text recited, and does the law of independent guesses say so?"""
    p = ctx.parameters
    data, rows = {}, []
    values: dict[str, Value] = {}
    for k in sorted(p.ks):
        table = recited(ctx, k).table
        data[k] = (
            table["divergence"].to_numpy(), table["masked_right"].to_numpy(),
            _masks(ctx, k).mean(1),
        )  # fmt: skip
        measured, predicted = survival_curves(*data[k], p.suffix)
        values[f"guessed_k{k}"] = looks.mean(table["masked_right"].dropna(), seed=ctx.seed)
        rows.append(
            pd.DataFrame(
                {
                    "k": k, "tokens": np.arange(1, p.suffix + 1), "measured": measured,
                    "predicted": predicted,
                }
            )
        )  # fmt: skip
    values["survival_error"] = survival_error(data, p.suffix, ctx.seed)
    curves = pd.concat(rows, ignore_index=True)
    samples = _samples(ctx)
    for k in (0, *sorted(p.ks)):
        slug = f"k{k}" if k else "standard"
        needed = (
            recited(ctx, k)
            .table["logprob"]
            .map(lambda logprob: samples_needed(float(np.exp(logprob)), LIKELY))
        )
        values[f"discoverable_{slug}"] = looks.mean(needed <= 1000, seed=ctx.seed)
    return Result(
        values=values,
        tables={"survival": curves, "samples": samples},
        figures={
            "survival": Figure(
                _draw_survival(curves, cast.losses(ctx)), *_survival_words(values, sorted(p.ks))
            ),
            "samples": Figure(
                _draw_samples(samples, cast.losses(ctx)), *_samples_words(values, cast.losses(ctx))
            ),
        },
    )


def _samples(ctx: Context) -> pd.DataFrame:
    """``loss, samples, share``: documents of which, among so many samples, at least one is the
    suffix with probability one half or more; ``never seen`` among them."""
    tables = {cast.name(k): recited(ctx, k).table for k in cast.losses(ctx)}
    tables["never seen"] = unseen(ctx, 0).table
    rows = []
    for name, table in tables.items():
        needed = np.array([samples_needed(float(np.exp(one)), LIKELY) for one in table["logprob"]])
        rows += [(name, n, float((needed <= n).mean())) for n in SAMPLES]
    return pd.DataFrame(rows, columns=["loss", "samples", "share"])


def _draw_survival(curves: pd.DataFrame, losses: list[int]) -> Any:
    figure, axes = plots.figure(6.8, 3.9)
    for k, part in curves.groupby("k"):
        colour, marker = looks.look_of(k, losses)
        axes.plot(part["tokens"], part["predicted"], "-", color=colour, lw=1.4)
        axes.plot(
            part["tokens"].iloc[::4], part["measured"].iloc[::4], marker, color=colour, ms=5.5,
            mec="white", mew=0.4, label=f"k = {k}",
        )  # fmt: skip
    axes.set(xlabel="tokens", ylabel="share of documents still word for word", ylim=(-0.02, 1.03))
    return looks.finish(figure, axes)


def _survival_words(values: dict[str, Value], ks: list[int]) -> tuple[str, str]:
    numbers = "; ".join(f"k = {k}: {values[f'guessed_k{k}'].value:.2f}" for k in ks)
    caption = (
        "How long texts are recited word for word (marks), and what follows if each masked token "
        f"is guessed independently (lines). Masked tokens that are guessed right: {numbers}. Mean "
        f"distance of marks and lines {looks.told(values['survival_error'])}."
    )
    return caption, (
        f"Falling curves by number of tokens, one for each k, marks beside lines. Guessed right: "
        f"{numbers}. Distance {looks.told(values['survival_error'])}."
    )


def _draw_samples(samples: pd.DataFrame, losses: list[int]) -> Any:
    figure, axes = plots.figure(6.8, 3.7)
    for k in losses:
        part = samples[samples["loss"] == cast.name(k)]
        colour, marker = looks.look_of(k, losses)
        axes.plot(
            part["samples"], part["share"], "-", marker=marker, markevery=4, color=colour, ms=5.5,
            mec="white", mew=0.4, label=cast.name(k),
        )  # fmt: skip
    part = samples[samples["loss"] == "never seen"]
    axes.plot(part["samples"], part["share"], "--", color=looks.FLOOR, label="never seen")
    axes.set(
        xscale="log", xlabel="samples", ylabel="share of documents found\nwith probability ½",
        ylim=(-0.02, 1.03),
    )  # fmt: skip
    return looks.finish(figure, axes)


def _samples_words(values: dict[str, Value], losses: list[int]) -> tuple[str, str]:
    def one(k: int) -> str:
        slug = f"k{k}" if k else "standard"
        return f"{cast.name(k)} {values[f'discoverable_{slug}'].value:.0%}"

    numbers = "; ".join(one(k) for k in losses)
    caption = (
        "Sampling instead of greedy decoding: documents of which at least one among so many "
        "samples is the whole suffix, with a probability of one half or more; computed from one "
        f"teacher-forced pass, nothing is sampled. With a thousand samples: {numbers}."
    )
    return caption, f"Rising curves by number of samples, one for each loss. At 1000: {numbers}."


STUDIES = (passage, leaving, spans)
