"""Goldfish beside other ways to prevent memorization, at equal validation loss.

Any method prevents memorization if it may ruin the model. So each is run at several strengths, and
what is compared is how much is still recited where the price, the validation loss, is the same.
"""

from typing import Any

import numpy as np
import pandas as pd

from palimpsest.core import plots
from palimpsest.core.results import Claim, Figure, Result, Value
from palimpsest.core.study import Context, study
from palimpsest.goldfish.alternatives import privacy_spent
from palimpsest.studies.goldfish_loss import cast, looks
from palimpsest.studies.goldfish_loss.price import validation_losses
from palimpsest.studies.goldfish_loss.told import by_tellings
from palimpsest.studies.verbatim_training import LINE, STANDARD, TELLINGS, K

RIVALS = {
    "dropout and decay": "gl-20", "DP-SGD": "gl-21", "de-duplication": "gl-22",
}  # fmt: skip
OFTEN = TELLINGS[-1]
DELTA = 1e-5


def at_price(prices: np.ndarray, recited: np.ndarray, price: float) -> np.ndarray:
    """What a method leaves at a validation loss, by document: the least that it reaches without a
    higher loss, with linear interpolation between its strengths.

    Args:
        prices: [S] validation loss of the standard training and then of the method's strengths,
            from weak to strong.
        recited: [S, N] of each document.
        price: the loss that may be spent.

    Returns:
        [N]: recitation of the documents at the best affordable mixture of two neighbouring
        strengths; NaN if not even the cheapest is affordable.
    """
    best = np.full(recited.shape[1], np.nan)
    least = np.inf
    for at in range(len(prices)):
        ends = [(prices[at], recited[at])]
        if at + 1 < len(prices) and (prices[at] - price) * (prices[at + 1] - price) < 0:
            share = (price - prices[at]) / (prices[at + 1] - prices[at])
            ends.append((price, recited[at] + share * (recited[at + 1] - recited[at])))
        for cost, found in ends:
            if cost <= price + 1e-12 and found.mean() < least:
                least, best = found.mean(), found
    return best


def null_shoot_out(seed: int, documents: int = 20) -> dict[str, Value]:
    """The claims' measures where all methods lie on one curve of recitation against price."""
    rng = np.random.default_rng(seed)
    base = rng.normal(0, 0.1, documents)

    def method() -> tuple[np.ndarray, np.ndarray]:
        prices = 2.8 + np.array([0.0, *np.sort(rng.uniform(0.02, 0.35, 2)), 0.4])
        recited = 1.0 - 1.5 * (prices - 2.8)
        return prices, recited[:, None] + base + rng.normal(0, 0.1, (4, documents))

    own = method()
    price = own[0][2]
    return {
        f"left_by_{_slug(rival)}": looks.gap(
            at_price(*method(), price), at_price(*own, price), seed=seed
        )
        for rival in RIVALS
    }


def _slug(method: str) -> str:
    return method.lower().replace(" ", "_").replace("-", "_")


def _claim(rival: str, id: str, words: str) -> Claim:
    measure = f"left_by_{_slug(rival)}"
    return Claim(
        id=id,
        statement=f"At the validation loss of the goldfish loss with k = 4, {words} leaves more to "
        "be recited of what was told 64 times.",
        source="this book, the section on the shoot-out (no such comparison could be confirmed for "
        "arXiv:2406.10209)",
        grade="ours",
        measure=measure,
        rule=f"{measure} > 0",
    )


@study(
    claims=[
        _claim("dropout and decay", "gl-20", "dropout with weight decay"),
        _claim("DP-SGD", "gl-21", "differentially private training"),
        _claim("de-duplication", "gl-22", "de-duplication"),
    ],
    null=null_shoot_out,
)
def shoot_out(ctx: Context) -> Result:
    """At the same price, which way to prevent memorization leaves least to be recited?"""
    points = _points(ctx)
    if ctx.parameters.strengths < 2:
        note = "one strength of each method makes no curve; it takes two"
        return Result(
            tables={"shoot_out": _shown(points)},
            figures={"shoot_out": Figure(_draw(points), *_words(points, {}))},
            notes=dict.fromkeys(RIVALS.values(), note),
        )
    values, notes = {}, {}
    price, own = _at_goldfish(points)
    for method in points["method"].unique():
        if method == STANDARD:
            continue
        found = {seed: at_price(*_curve(points, method, seed), price[seed]) for seed in price}
        rest = np.concatenate(list(found.values()))
        slug = _slug(method)
        values[f"rest_{slug}"] = (
            looks.mean(rest, "ROUGE-L", ctx.seed) if np.isfinite(rest).all() else Value(None)
        )
        if method in RIVALS:
            mine = np.concatenate([own[seed] for seed in price])
            weak = any(_curve(points, method, seed)[0].max() < price[seed] for seed in price)
            if not np.isfinite(rest).all():
                notes[RIVALS[method]] = f"{method} is dearer at every strength"
            elif weak and rest.mean() > mine.mean():
                notes[RIVALS[method]] = f"{method} is cheaper at every strength that was tried"
            else:
                values[f"left_by_{slug}"] = looks.gap(rest, mine, "ROUGE-L", ctx.seed)
    return Result(
        values=values,
        tables={"shoot_out": _shown(points)},
        figures={"shoot_out": Figure(_draw(points), *_words(points, values))},
        notes=notes,
    )


def _points(ctx: Context) -> pd.DataFrame:
    """``method, strength, seed, loss`` (validation, nats a token), ``often`` [documents] (ROUGE-L
    of what was told most often), ``never`` (mean of what was not told)."""
    rows = []
    for method, strength in cast.ways(ctx):
        table = by_tellings(ctx, method, strength)
        for seed in cast.seeds(ctx):
            nats = validation_losses(ctx, method, strength, seed, False)
            own = table[table["seed"] == seed]
            rows.append(
                {
                    "method": method, "strength": strength, "seed": seed,
                    "loss": nats[:, 0].sum() / nats[:, 1].sum(),
                    "often": own[own["tellings"] == OFTEN]["rouge"].to_numpy(),
                    "never": own[own["tellings"] == 0]["rouge"].mean(),
                    "guarantee": _guarantee(ctx, method, strength),
                }
            )  # fmt: skip
    return pd.DataFrame(rows)


def _guarantee(ctx: Context, method: str, strength: float) -> float:
    """ε at δ = 1e-5 of DP-SGD; NaN for the others, which have none."""
    if method != "DP-SGD":
        return np.nan
    main, _ = cast.everyday(ctx)
    half = cast.half(ctx, 0)
    tokens = sum(len(row) for row in main) + sum(half.tellings) * ctx.parameters.length
    lines = max(1, tokens // LINE)
    batch = ctx.parameters.batch_size
    return privacy_spent(strength, min(1.0, batch / lines), -(-lines // batch), DELTA)


def _curve(points: pd.DataFrame, method: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Prices and recitation from the standard training to the method's strongest."""
    part = points[(points["seed"] == seed) & points["method"].isin((STANDARD, method))]
    return part["loss"].to_numpy(), np.stack(part["often"].to_list())


def _at_goldfish(points: pd.DataFrame) -> tuple[dict[int, float], dict[int, np.ndarray]]:
    """By seed, the price of goldfish with k = 4, and what it leaves."""
    rows = points[(points["method"] == "goldfish") & (points["strength"] == K)]
    return dict(zip(rows["seed"], rows["loss"], strict=True)), dict(
        zip(rows["seed"], rows["often"], strict=True)
    )


def _shown(points: pd.DataFrame) -> pd.DataFrame:
    means = points.assign(often=points["often"].map(np.mean))
    means["guarantee"] = means["guarantee"].map(
        lambda one: "" if np.isnan(one) else "none" if one > 1e6 else f"{one:.3g}"
    )
    grouped = means.groupby(["method", "strength"], sort=False)
    return pd.DataFrame(
        {
            "validation loss": grouped["loss"].mean(),
            "ROUGE-L, told 64 times": grouped["often"].mean(),
            "ROUGE-L, never told": grouped["never"].mean(),
            "epsilon": grouped["guarantee"].first(),
        }
    ).reset_index()


def _draw(points: pd.DataFrame) -> Any:
    figure, axes = plots.figure(7.2, 4.4)
    for method, (colour, marker) in looks.METHODS.items():
        part = points[points["method"] == method]
        if not len(part):
            continue
        means = part.assign(often=part["often"].map(np.mean))
        across = means.groupby("strength", sort=False)[["loss", "often"]].mean()
        if method != STANDARD:
            start = points[points["method"] == STANDARD]
            first = (start["loss"].mean(), start["often"].map(np.mean).mean())
            axes.plot(
                [first[0], *across["loss"]], [first[1], *across["often"]], "-", color=colour,
                lw=1.0, alpha=0.6, zorder=1,
            )  # fmt: skip
        axes.plot(means["loss"], means["often"], marker, color=colour, ms=4, alpha=0.45, zorder=2)
        axes.plot(
            across["loss"], across["often"], marker, color=colour, mec="white", mew=0.6, zorder=3,
            ms=9 if method == STANDARD else 7, label=method,
        )  # fmt: skip
    looks.floor(axes, points[points["method"] == STANDARD]["never"].mean(), "never told")
    axes.set(
        xlabel="validation loss (nats a token)",
        ylabel=f"ROUGE-L of what was told {OFTEN} times", ylim=(-0.03, 1.05),
    )  # fmt: skip
    return looks.finish(figure, axes)


def _words(points: pd.DataFrame, values: dict[str, Value]) -> tuple[str, str]:
    told = [
        f"{method} {looks.told(values[f'rest_{_slug(method)}'])}"
        for method in looks.METHODS
        if f"rest_{_slug(method)}" in values
    ]
    numbers = "; ".join(told)
    start = points[points["method"] == STANDARD]
    first = (
        f"the standard loss has {start['loss'].mean():.2f} nats and "
        f"{start['often'].map(np.mean).mean():.2f}"
    )
    caption = (
        "How much is recited of what was told most often, against the price on other text; down "
        f"and to the left is better. Lines go from the standard loss ({first}) to stronger "
        "settings; small marks are single seeds."
        + (f" At the validation loss of k = {K}: {numbers}." if numbers else "")
    )
    return caption, f"A scatter of methods by validation loss and ROUGE-L; {first}. {numbers}"


STUDIES = (shoot_out,)
