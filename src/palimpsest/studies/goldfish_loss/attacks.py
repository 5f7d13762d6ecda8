"""What an attacker gets who searches, or knows the mask, or begins elsewhere."""

from typing import Any

import numpy as np
import pandas as pd

from palimpsest.core import plots
from palimpsest.core.results import Claim, Figure, Result, Value
from palimpsest.core.study import Context, study
from palimpsest.studies import verbatim_reading as readings
from palimpsest.studies.goldfish_loss import cast, looks
from palimpsest.studies.goldfish_loss.heart import recited
from palimpsest.studies.verbatim_texts import Rows
from palimpsest.studies.verbatim_training import K

SEARCHES = {
    "greedy": ("#7f7f7f", "X"), "beams": ("#E69F00", "s"), "mask known": ("#D55E00", "D"),
}  # fmt: skip


def hunted(ctx: Context, k: int, search: str) -> pd.DataFrame:
    """``text, exact, among, rouge`` of the documents that are searched for; ``among``: whether any
    continuation that the search followed to its end is the suffix."""
    p = ctx.parameters
    if search == "greedy":
        table = recited(ctx, k).table.head(p.hunted)
        return table[["text", "exact", "rouge"]].assign(among=table["exact"])
    known = cast.mask(ctx, k) if search == "mask known" else None
    return ctx.cell(
        readings.hunted, lm=ctx.lm, weights=cast.by_heart(ctx, k).weights,
        rows=Rows(cast.texts(ctx).members[: p.hunted]), prefix=p.prefix, suffix=p.suffix,
        beams=p.beams, mask=known,
    )  # fmt: skip


def null_searches(seed: int, documents: int = 32) -> dict[str, Value]:
    """The claims' measures at their edges: beams 0.1 better than greedy in ROUGE-L, and knowing the
    mask finds one document in twenty more."""
    rng = np.random.default_rng(seed)
    greedy = np.clip(rng.normal(0.35, 0.1, documents), 0, 1)
    found = rng.random(documents) < 0.05
    return {
        "beams_gain_k3": looks.gap(greedy + rng.normal(0.1, 0.1, documents), greedy, seed=seed),
        "known_gain_k4": looks.gap(found, np.zeros(documents), seed=seed),
    }


@study(
    claims=[
        Claim(
            id="gl-15",
            statement="Beam search helps little against a small k: with k = 3 ROUGE-L is less than "
            "0.1 above greedy decoding.",
            source="arXiv:2406.10209, reported second-hand: with 30 beams k = 3 stays close to "
            "greedy",
            grade="known",
            measure="beams_gain_k3",
            rule="beams_gain_k3 < 0.1",
        ),
        Claim(
            id="gl-16",
            statement="Who knows the mask finds more: with k = 4, documents found word for word by "
            "branching only at masked tokens exceed those of greedy decoding by more than one in "
            "twenty.",
            source="this book, the section on attackers (the attacks of arXiv:2406.10209 do not "
            "use the mask, as far as it could be read)",
            grade="ours",
            measure="known_gain_k4",
            rule="known_gain_k4 > 0.05",
        ),
    ],
    null=null_searches,
)
def searches(ctx: Context) -> Result:
    """What does an attacker find who searches, and one who knows the mask?"""
    tables = {
        (k, search): hunted(ctx, k, search)
        for k in sorted(ctx.parameters.ks)
        for search in SEARCHES
    }
    values: dict[str, Value] = {}
    rows = []
    for (k, search), table in tables.items():
        slug = f"{search.replace(' ', '_')}_k{k}"
        values[f"found_{slug}"] = looks.mean(table["exact"], seed=ctx.seed)
        values[f"search_rouge_{slug}"] = looks.mean(table["rouge"], "ROUGE-L", ctx.seed)
        rows.append(
            {
                "k": k, "search": search, "documents": len(table),
                "word for word": table["exact"].mean(),
                "among the beams": table["among"].mean(), "ROUGE-L": table["rouge"].mean(),
            }
        )  # fmt: skip
    if 3 in ctx.parameters.ks:
        values["beams_gain_k3"] = looks.gap(
            tables[3, "beams"]["rouge"], tables[3, "greedy"]["rouge"], "ROUGE-L", ctx.seed
        )
    values["known_gain_k4"] = looks.gap(
        tables[K, "mask known"]["exact"], tables[K, "greedy"]["exact"], seed=ctx.seed
    )
    return Result(
        values=values,
        tables={"searches": pd.DataFrame(rows)},
        figures={
            "searches": Figure(
                _draw_searches(values, sorted(ctx.parameters.ks)),
                *_searches_words(values, sorted(ctx.parameters.ks), ctx.parameters.beams),
            )
        },
    )


def _draw_searches(values: dict[str, Value], ks: list[int]) -> Any:
    figure, axes = plots.panels(2, 7.8, 3.7)
    places = np.arange(len(ks))
    for axis, what, words in zip(
        axes, ("found", "search_rouge"), ("share found word for word", "ROUGE-L"), strict=True
    ):
        for shift, (search, look) in zip((-0.12, 0, 0.12), SEARCHES.items(), strict=True):
            own = [values[f"{what}_{search.replace(' ', '_')}_k{k}"] for k in ks]
            looks.line(axis, places + shift, own, look, search)
        axis.set_xticks(places, [str(k) for k in ks])
        axis.set(xlabel="k", ylabel=words, ylim=(-0.03, 1.05))
    return looks.finish(figure, axes[0])


def _searches_words(values: dict[str, Value], ks: list[int], beams: int) -> tuple[str, str]:
    numbers = "; ".join(
        f"k = {k}: "
        + ", ".join(
            f"{search} {values[f'found_{search.replace(chr(32), chr(95))}_k{k}'].value:.0%}"
            for search in SEARCHES
        )
        for k in ks
    )
    caption = (
        f"Documents found word for word by three searches, the last two with {beams} continuations "
        f"side by side: {numbers}. Left the share, right ROUGE-L of the best continuation; bars "
        "are 95 % intervals over documents."
    )
    return caption, f"Two panels of lines by k, one for each search. {numbers}."


# --- beginnings ---------------------------------------------------------------------------------


@study()
def beginnings(ctx: Context) -> Result:
    """How much of the beginning must be given, and must it be the beginning?"""
    p = ctx.parameters
    prefixes = sorted({max(1, round(p.prefix * share)) for share in (0.125, 0.25, 0.5, 1.0)})
    suffix = p.suffix // 2
    offsets = sorted({0, (p.length - p.prefix - suffix) // 2, p.length - p.prefix - suffix})
    rows = Rows(cast.texts(ctx).members[: p.hunted])
    parts = []
    for k in (0, K, max(p.ks)):
        table = ctx.cell(
            readings.swept, lm=ctx.lm, weights=cast.by_heart(ctx, k).weights, rows=rows,
            prefixes=prefixes, offsets=offsets, suffix=suffix,
        )  # fmt: skip
        parts.append(table.assign(loss=cast.name(k)))
    table = pd.concat(parts, ignore_index=True)
    values = {}
    for loss, part in table.groupby("loss", sort=False):
        slug = loss.replace(" = ", "").replace(" ", "_")
        for prefix in (prefixes[0], prefixes[-1]):
            own = part[(part["prefix"] == prefix) & (part["offset"] == 0)]
            values[f"begun_{slug}_{prefix}"] = looks.mean(own["rouge"], "ROUGE-L", ctx.seed)
        own = part[(part["prefix"] == prefixes[-1]) & (part["offset"] == offsets[-1])]
        values[f"offset_{slug}"] = looks.mean(own["rouge"], "ROUGE-L", ctx.seed)
    return Result(
        values=values,
        tables={"beginnings": table},
        figures={
            "beginnings": Figure(
                _draw_beginnings(table, (0, K, max(p.ks)), ctx.seed),
                *_beginnings_words(table, suffix),
            )
        },
    )


def _draw_beginnings(table: pd.DataFrame, ks: tuple[int, ...], seed: int) -> Any:
    figure, axes = plots.panels(2, 7.8, 3.6, share_y=True)
    longest = table["prefix"].max()
    cuts = {
        "prefix": (table[table["offset"] == 0], "tokens given, from the beginning"),
        "offset": (table[table["prefix"] == longest], f"where {longest} given tokens begin"),
    }
    for axis, (what, (part, words)) in zip(axes, cuts.items(), strict=True):
        for k in ks:
            own = part[part["loss"] == cast.name(k)]
            at = sorted(own[what].unique())
            means = [looks.mean(own[own[what] == one]["rouge"], seed=seed) for one in at]
            looks.line(axis, np.array(at), means, looks.look_of(k, ks), cast.name(k))
        axis.set(xlabel=words, ylim=(-0.03, 1.05))
    axes[0].set_ylabel("ROUGE-L of the continuation")
    return looks.finish(figure, axes[0])


def _beginnings_words(table: pd.DataFrame, suffix: int) -> tuple[str, str]:
    shortest, longest = table["prefix"].min(), table["prefix"].max()
    far = table["offset"].max()

    def one(loss: str) -> str:
        part = table[table["loss"] == loss]

        def at(prefix: int, offset: int) -> float:
            return part[(part["prefix"] == prefix) & (part["offset"] == offset)]["rouge"].mean()

        return (
            f"{loss} {at(shortest, 0):.2f} after {shortest} tokens, {at(longest, 0):.2f} after "
            f"{longest}, {at(longest, far):.2f} after as many from token {far} on"
        )

    numbers = "; ".join(one(loss) for loss in table["loss"].unique())
    caption = (
        f"How much must be given, and from where? ROUGE-L of the next {suffix} tokens: {numbers}. "
        "Bars are 95 % intervals over documents."
    )
    return caption, f"Two panels of lines, by length and by place of the beginning. {numbers}."


STUDIES = (searches, beginnings)
