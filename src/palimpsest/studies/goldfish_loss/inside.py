"""The inside view: at which depth does a network know the next token?

The logit lens on tokens of documents learned by heart, on those that were targets and on those that
were not.
"""

from typing import Any

import numpy as np
import pandas as pd
import torch

from palimpsest.core import plots
from palimpsest.core.results import Figure, Result, Value
from palimpsest.core.study import Context, study
from palimpsest.studies import verbatim_reading as readings
from palimpsest.studies.goldfish_loss import cast, looks
from palimpsest.studies.verbatim_texts import Rows
from palimpsest.studies.verbatim_training import K

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
        figures={"mask_lens": Figure(_draw_lens(means, ctx.seed), *_lens_words(values))},
    )


def _chosen(
    ctx: Context, rows: Rows, rng: np.random.Generator
) -> tuple[list[list[int]], list[list[int]]]:
    """Some positions of each suffix that the mask of k = 4 keeps, and some that it masks."""
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


STUDIES = (inside,)
