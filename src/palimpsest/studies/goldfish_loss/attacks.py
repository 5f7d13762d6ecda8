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
            grade="S2",
            measure="beams_gain_k3",
            rule="beams_gain_k3 < 0.1",
        ),
        Claim(
            id="gl-16",
            statement="Who knows the mask finds more: with k = 4, documents found word for word by "
            "branching only at masked tokens exceed those of greedy decoding by more than one in "
            "twenty.",
            source="this book, the section on attackers (the paper's attacks do not use the mask)",
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


# --- inside -------------------------------------------------------------------------------------

POSITIONS = 6  # tokens of each kind that are looked at in a document


@study()
def inside(ctx: Context) -> Result:
    """At which depth does a network know the next token, where it was a target and where not?"""
    p = ctx.parameters
    rows = Rows(cast.texts(ctx).members[: p.hunted])
    twins = Rows(cast.texts(ctx).twins[: p.hunted])
    rng = np.random.default_rng(ctx.seed)
    kept, masked = _chosen(ctx, rows, rng)
    own, _ = _chosen(ctx, twins, rng)
    looked = {
        ("standard", "kept"): (0, rows, kept), ("standard", "masked"): (0, rows, masked),
        ("goldfish", "kept"): (K, rows, kept), ("goldfish", "masked"): (K, rows, masked),
        ("goldfish", "never seen"): (K, twins, own),
    }  # fmt: skip
    parts = []
    for (loss, what), (k, chosen, positions) in looked.items():
        table = ctx.cell(
            readings.lens_by_token, lm=ctx.lm, weights=cast.by_heart(ctx, k).weights, rows=chosen,
            positions=positions,
        )  # fmt: skip
        parts.append(table.assign(loss=loss, tokens=what))
    table = pd.concat(parts, ignore_index=True)
    means = (
        table.groupby(["loss", "tokens", "depth", "text"], sort=False)["logprob"]
        .mean()
        .reset_index()
    )
    values = {}
    for (loss, what), part in means[means["depth"] == means["depth"].max()].groupby(
        ["loss", "tokens"], sort=False
    ):
        slug = f"{loss}_{what}".replace(" ", "_")
        values[f"lens_{slug}"] = looks.mean(part["logprob"], "nats", ctx.seed)
    return Result(
        values=values,
        tables={"lens": means},
        figures={"lens": Figure(_draw_lens(means, ctx.seed), *_lens_words(values))},
    )


def _chosen(
    ctx: Context, rows: Rows, rng: np.random.Generator
) -> tuple[list[list[int]], list[list[int]]]:
    """Some positions of each suffix that the mask of k = 4 keeps, and some that it masks."""
    import torch

    p = ctx.parameters
    keep = cast.mask(ctx, K)(torch.tensor(rows.ids)).numpy()
    found: tuple[list[list[int]], list[list[int]]] = ([], [])
    for line in keep:
        for side, places in zip((True, False), found, strict=True):
            at = p.prefix + np.flatnonzero(line[p.prefix : p.prefix + p.suffix] == side)
            some = rng.permutation(at)[:POSITIONS]
            places.append(sorted(int(one) for one in some))
    return found


def _draw_lens(means: pd.DataFrame, seed: int) -> Any:
    figure, axes = plots.panels(2, 7.8, 3.7, share_y=True)
    styles = {"kept": "-", "masked": "--", "never seen": ":"}
    for axis, (loss, k) in zip(axes, (("standard", 0), ("goldfish", K)), strict=True):
        for what, part in means[means["loss"] == loss].groupby("tokens", sort=False):
            depths = sorted(part["depth"].unique())
            own = [looks.mean(part[part["depth"] == at]["logprob"], seed=seed) for at in depths]
            colour, marker = (looks.FLOOR, "X") if what == "never seen" else looks.look_of(k, [K])
            looks.line(
                axis, np.array(depths), own, (colour, marker), f"{what} tokens", styles[what]
            )
        axis.set_title(cast.name(k))
        axis.set_xlabel("depth read (blocks)")
    axes[0].set_ylabel("log-probability of\nthe next token (nats)")
    looks.finish(figure, axes[1])
    return figure


def _lens_words(values: dict[str, Value]) -> tuple[str, str]:
    numbers = "; ".join(
        f"{name.removeprefix('lens_').replace('_', ' ')} {looks.told(one)}"
        for name, one in values.items()
    )
    caption = (
        "The logit lens on tokens of documents learned by heart: what each depth already says of "
        f"the next token. At the last depth, in nats: {numbers}. Kept and masked are by the mask "
        f"of k = {K}, which the standard loss did not use. Bars are 95 % intervals over documents."
    )
    return caption, f"Two panels of rising lines by depth. {numbers}."


STUDIES = (searches, beginnings, inside)
