"""The inside view: where in the network does the answer turn when its labels were coins?

Three looks at the tuned and at the forgotten model of each task. The logit lens reads the margin of
right over wrong at every depth. Patching puts the hidden states of one model, at every token, into
the other after one block at a time: what of the margin comes with them was made by then, what does
not is made later. And the weights themselves: which matrices moved, and how far.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from torch import nn

from palimpsest.core import plots, stats
from palimpsest.core.errors import ModelError
from palimpsest.core.inside import lens, patch
from palimpsest.core.layers import blocks
from palimpsest.core.models import LanguageModel, bare
from palimpsest.core.results import Figure, Result, Value, absent
from palimpsest.core.study import Context, study
from palimpsest.forgetting.items import TwoWay
from palimpsest.studies.controls import Weights, with_weights
from palimpsest.studies.random_label_forgetting import cast
from palimpsest.studies.random_label_forgetting.looks import (
    KINDS,
    band,
    kind_panels,
    legend_of,
    look_of,
)
from palimpsest.studies.random_label_forgetting.shallow import UNREAD
from palimpsest.studies.random_label_forgetting.summaries import mean_of_tasks, told

MOST_ITEMS = 60  # of a task; each is read at every depth in two models, and patched both ways
MODELS = ("tuned", "forgotten")
# Receiver and donor of hidden states -> what a reader is told of it.
DIRECTIONS = {
    "restored": "forgotten, with states of the tuned",
    "taken": "tuned, with states of the forgotten",
}
ATTENTION, FEED_FORWARD, NORM, OTHER = "attention", "feed-forward", "norm", "other"
EMBEDDING, HEAD = "embedding", "output head"
OUTSIDE = (EMBEDDING, HEAD, NORM, OTHER)  # what may stand outside the blocks, in this order
FEEDS = ("mlp", "ffn", "fc", "feed", "expert", "moe")


# --- cells --------------------------------------------------------------------------------------


def lens_margins(lm: LanguageModel, weights: Weights, items: tuple[TwoWay, ...]) -> np.ndarray:
    """The margin of the right answer over the wrong one read from every depth by the logit lens,
    nats: float64 [items, L + 1], at depth L the model's own."""
    return _margins(lens(with_weights(lm, weights), _pairs(items)), items)


def patched_margins(
    lm: LanguageModel, receiver: Weights, donor: Weights, items: tuple[TwoWay, ...]
) -> np.ndarray:
    """The margin in ``receiver`` with the hidden states of ``donor`` at all tokens after one block,
    nats: float64 [items, L]."""
    one, other = with_weights(lm, receiver), with_weights(lm, donor)
    return _margins(patch(one, other, _pairs(items), positions="all"), items)


def _pairs(items: Sequence[TwoWay]) -> list[tuple[str, str]]:
    return [pair for item in items for pair in item.pairs]


def _margins(table: pd.DataFrame, items: Sequence[TwoWay]) -> np.ndarray:
    """[items, depths] from a table of both answers of each item in turn."""
    logprobs = table.pivot(index="pair", columns="depth", values="logprob").to_numpy(np.float64)
    first, second = logprobs[0::2], logprobs[1::2]
    labels = np.array([item.label for item in items])[:, None]
    return np.where(labels == 0, first - second, second - first)


# --- measures: depths ---------------------------------------------------------------------------


def by_depth(margins: dict[tuple[str, str], np.ndarray], first: int, seed: int) -> pd.DataFrame:
    """Means over items: ``task, what, depth, value, low, high, n``.

    Args:
        margins: (task, what) -> [items, depths].
        first: the depth of the first column.
    """
    rows = []
    for (task, what), table in margins.items():
        for depth, column in enumerate(table.T, start=first):
            one = stats.cluster_bootstrap(column, seed=seed)
            rows.append((task, what, depth, one.value, one.low, one.high, one.n))
    return pd.DataFrame(rows, columns=["task", "what", "depth", "value", "low", "high", "n"])


def parting(gaps: dict[str, np.ndarray], seed: int = 0) -> tuple[pd.DataFrame, Value]:
    """Where the lens parts the two models: the first depth from which on the tuned one's margin is
    the larger, its 95 % limits above 0, down to the last.

    Args:
        gaps: task -> [items, depths], tuned minus forgotten.

    Returns:
        The means over tasks by depth, ``depth, value, low, high`` (items resampled within tasks),
        and that depth; no value where the last depth does not tell them apart.
    """
    table = by_depth({(task, "gap"): gap for task, gap in gaps.items()}, 0, seed)
    means = mean_of_tasks(table, ["depth"])
    apart = means["low"].to_numpy() > 0
    within = np.flatnonzero(~apart)
    depth = int(within[-1]) + 1 if len(within) else 0
    value = float(depth) if depth < len(apart) else None
    return means, Value(value, n=len(gaps), unit="blocks")


def shares(
    own: dict[str, np.ndarray],
    other: dict[str, np.ndarray],
    patched: dict[str, np.ndarray],
    seed: int = 0,
) -> pd.DataFrame:
    """What of the difference between two models comes with the hidden states after each block.

    Σ (patched - own) / Σ (other - own) over all items: 0, the receiver's own margin; 1, the
    donor's. Items are resampled within tasks. All NaN where the models' margins do not differ (0 is
    within the limits of the difference): a share of nothing.

    Args:
        own, other: task -> [items], margins of the receiver and of the donor.
        patched: task -> [items, blocks]; these tasks are looked at.

    Returns:
        ``depth`` (from 1), ``value``, ``low``, ``high``, ``n`` (items).
    """  # fmt: skip
    tasks = list(patched)
    begin, end, made = (
        np.concatenate([one[task] for task in tasks]) for one in (own, other, patched)
    )
    strata = np.repeat(np.arange(len(tasks)), [len(patched[task]) for task in tasks])
    factor = stats.Factor(np.arange(len(begin)), strata)
    gap = end - begin
    whole = stats.bootstrap(lambda weights: weights @ gap / len(gap), [factor], gap, seed=seed)
    rows = []
    for depth, column in enumerate(made.T, start=1):
        moved = column - begin
        one = stats.bootstrap(
            lambda weights, moved=moved: (weights @ moved) / (weights @ gap), [factor],
            np.stack([moved, gap]), seed=seed,
        )  # fmt: skip
        if not (whole.low > 0 or whole.high < 0):
            one = stats.Interval(math.nan, math.nan, math.nan, one.n)
        rows.append((depth, one.value, one.low, one.high, one.n))
    return pd.DataFrame(rows, columns=["depth", "value", "low", "high", "n"])


def half_depth(table: pd.DataFrame) -> Value:
    """The first depth from which on at least half has come along, of what :func:`shares` gives."""
    short = np.flatnonzero(~(table["value"].to_numpy() >= 0.5))
    place = int(short[-1]) + 1 if len(short) else 0
    depth = float(table["depth"].iloc[place]) if place < len(table) else None
    return Value(depth, n=int(table["n"].iloc[0]), unit="blocks")


# --- measures: weights --------------------------------------------------------------------------


def places_of(model: nn.Module) -> dict[str, tuple[int, str]]:
    """Parameter -> the number of its block (from 1; 0 outside the blocks) and its kind.

    Blocks are found by what they are (``core.layers.blocks``); kinds go by the names of modules,
    which all common architectures choose alike.
    """
    network = bare(model)
    number = {
        id(parameter): place
        for place, block in enumerate(blocks(model), start=1)
        for parameter in block.parameters()
    }
    ends = {}
    for kind, module in (
        (HEAD, network.get_output_embeddings()), (EMBEDDING, network.get_input_embeddings()),
    ):  # fmt: skip
        if module is not None:
            ends |= {id(parameter): kind for parameter in module.parameters()}
    return {
        name: (number.get(id(parameter), 0), ends.get(id(parameter)) or _kind_of(name))
        for name, parameter in model.named_parameters()
    }


def _kind_of(name: str) -> str:
    path = name.lower().split(".")[:-1]
    last = path[-1] if path else ""
    if "norm" in last or last.startswith("ln"):
        return NORM
    if any("attn" in part or "attention" in part for part in path):
        return ATTENTION
    if any(part.startswith(FEEDS) for part in path):
        return FEED_FORWARD
    return EMBEDDING if any("emb" in part or part in ("wpe", "wte") for part in path) else OTHER


def changes(before: Weights, after: Weights, places: dict[str, tuple[int, str]]) -> pd.DataFrame:
    """How far the weights of each block and kind moved, and all together.

    Returns:
        ``block`` (0: outside the blocks; -1: all weights), ``kind`` (of all: "all"), ``moved``,
        |after - before| / |before|, NaN where there was nothing but zeros; ``weights``, how many.
    """
    sums: dict[tuple[int, str], list[float]] = {}
    for name, one in before.items():
        begin = one.double()
        found = (
            float(((after[name].double() - begin) ** 2).sum()),
            float((begin**2).sum()),
            one.numel(),
        )
        for key in (places[name], (-1, "all")):
            so_far = sums.get(key, [0, 0, 0])
            sums[key] = [old + new for old, new in zip(so_far, found, strict=True)]
    rows = [
        (block, kind, math.sqrt(moved / size) if size else math.nan, int(count))
        for (block, kind), (moved, size, count) in sorted(sums.items())
    ]
    return pd.DataFrame(rows, columns=["block", "kind", "moved", "weights"])


def weight_values(table: pd.DataFrame, seed: int = 0) -> dict[str, Value]:
    """Means over tasks (resampled) of how far the weights moved: all, and the matrices of each kind
    (mean over blocks); and the block whose matrices moved most, by the mean over tasks.

    Args:
        table: rows of :func:`changes` with a column ``task``.
    """
    values = {}
    inner = table[(table["block"] > 0) & table["kind"].isin([ATTENTION, FEED_FORWARD])]
    for name, part in (
        ("all", table[table["block"] == -1]),
        ("attention", inner[inner["kind"] == ATTENTION]),
        ("feed_forward", inner[inner["kind"] == FEED_FORWARD]),
        ("embedding", table[table["kind"] == EMBEDDING]),
    ):
        means = part.groupby("task", sort=False)["moved"].mean().to_numpy()
        if len(means):
            one = stats.cluster_bootstrap(means, seed=seed)
            bounded = (max(0.0, one.low), one.high)
            values[f"weights_moved_{name}"] = Value(one.value, bounded, one.n, "of the norm")
    if len(inner):
        most = inner.groupby("block")["moved"].mean().idxmax()
        values["weights_most_block"] = Value(most, n=table["task"].nunique(), unit="block")
    return values


# --- the study ----------------------------------------------------------------------------------


@study()
def inside(ctx: Context) -> Result:
    """Where in the network does the answer turn?"""
    try:
        places = places_of(ctx.lm.model)
        read, patched = _looks(ctx)
    except ModelError:
        return Result(figures={name: absent(UNREAD) for name in ("turning", "patched", "weights")})
    begun, kinds = cast.start(ctx).weights, cast.kinds(ctx)
    moved = pd.concat(
        [
            changes(begun, cast.forgotten(ctx, task).weights, places).assign(task=task)
            for task in cast.controlled(ctx)
        ],
        ignore_index=True,
    )
    seed, tasks = ctx.seed, cast.controlled(ctx)
    own = {model: {task: read[task, model][:, -1] for task in tasks} for model in MODELS}
    groups = {"all": tasks} | {
        kind: of for kind in KINDS if (of := [task for task in tasks if kinds[task] == kind])
    }
    share = {
        (way, group): shares(own[receiver], own[donor], {t: patched[t, way] for t in of}, seed)
        for way, receiver, donor in _ways()
        for group, of in groups.items()
    }
    apart = {
        group: parting({task: read[task, "tuned"] - read[task, "forgotten"] for task in of}, seed)
        for group, of in groups.items()
    }
    lenses, patches = by_depth(read, 0, seed), by_depth(patched, 1, seed)
    values = weight_values(moved, seed)
    for group, (gaps, depth) in apart.items():
        suffix, last = "" if group == "all" else f"_{group}", gaps.iloc[-1]
        values[f"lens_parting_depth{suffix}"] = depth
        values[f"margin_lost{suffix}"] = Value(
            last["value"], (last["low"], last["high"]), len(groups[group]), "nats"
        )
    for (way, group), table in share.items():
        suffix = "" if group == "all" else f"_{group}"
        values[f"patch_{way}_half_depth{suffix}"] = half_depth(table)
        for row in table.itertuples():
            one = stats.Interval(row.value, row.low, row.high, row.n)
            values[f"patch_{way}_{row.depth}{suffix}"] = Value.of(one, "share")
    by_kind = {
        name: mean_of_tasks(table.assign(kind=table["task"].map(kinds)), ["kind", "what", "depth"])
        for name, table in (("lens", lenses), ("patched", patches))
    }
    return Result(
        values=values,
        tables={
            "lens": _readable(lenses, kinds).rename(columns={"what": "model"}),
            "lens_parting": pd.concat(
                [gaps.assign(tasks=group) for group, (gaps, _) in apart.items()],
                ignore_index=True,
            )[["tasks", "depth", "value", "low", "high"]],
            "patched": _readable(patches, kinds),
            "patched_shares": pd.concat(
                [one.assign(what=way, tasks=group) for (way, group), one in share.items()],
                ignore_index=True,
            )[["what", "tasks", "depth", "value", "low", "high", "n"]],
            "weights": _readable(moved, kinds)[
                ["task", "answers", "block", "kind", "moved", "weights"]
            ],
        },
        figures={
            "turning": Figure(_draw_lens(by_kind["lens"]), *_lens_words(by_kind["lens"], values)),
            "patched": Figure(
                _draw_patched(by_kind),
                *_patched_words(read[tasks[0], "tuned"].shape[1] - 1, values),
            ),
            "weights": Figure(_draw_weights(moved, kinds), *_weights_words(moved, values)),
        },
    )


def _ways() -> Iterator[tuple[str, str, str]]:
    """Direction, receiver, donor."""
    yield "restored", "forgotten", "tuned"
    yield "taken", "tuned", "forgotten"


def _looks(
    ctx: Context,
) -> tuple[dict[tuple[str, str], np.ndarray], dict[tuple[str, str], np.ndarray]]:
    """(task, model) -> the lens's margins, and (task, direction) -> the patched ones."""
    read, patched = {}, {}
    for task in cast.controlled(ctx):
        items = cast.items_of(ctx)[task].test[:MOST_ITEMS]
        weights = {"tuned": cast.start(ctx).weights, "forgotten": cast.forgotten(ctx, task).weights}
        for model in MODELS:
            read[task, model] = ctx.cell(
                lens_margins, lm=ctx.lm, weights=weights[model], items=items
            )
        for way, receiver, donor in _ways():
            patched[task, way] = ctx.cell(
                patched_margins, lm=ctx.lm, receiver=weights[receiver], donor=weights[donor],
                items=items,
            )  # fmt: skip
    return read, patched


def _readable(table: pd.DataFrame, kinds: dict[str, str]) -> pd.DataFrame:
    """With the tasks' short names and the kind of their answers."""
    answers = table["task"].map(kinds)
    first = table.assign(task=table["task"].map(cast.label), answers=answers)
    return first[["task", "answers", *(name for name in table if name != "task")]]


# --- figures ------------------------------------------------------------------------------------


def _draw_lens(shown: pd.DataFrame) -> Any:
    figure, panels = kind_panels(shown["kind"], 3.4)
    for kind, panel in panels.items():
        for model in MODELS:
            own = shown[(shown["kind"] == kind) & (shown["what"] == model)]
            name = f"forgotten, {kind}" if model == "forgotten" else model
            band(panel, own, "depth", look_of(model, kind), name)
        _finish(panel, int(shown["depth"].max()), "depth read (blocks)")
    next(iter(panels.values())).set_ylabel("margin of right over wrong (nats)")
    legend_of(figure, panels)
    return figure


def _finish(panel: Any, last: int, words: str) -> None:
    panel.axhline(0, color=plots.INK, lw=0.8, ls="--")
    panel.set_xticks(range(0, last + 1, max(1, last // 8)))
    panel.set_xlabel(words)


def _lens_words(shown: pd.DataFrame, values: dict[str, Value]) -> tuple[str, str]:
    last = shown[shown["depth"] == shown["depth"].max()]
    numbers = "; ".join(
        f"{row.what}, {row.kind} answers {row.value:.2f} ({row.low:.2f} to {row.high:.2f})"
        for row in last.sort_values(["kind", "what"], ascending=False).itertuples()
    )
    parts = []
    for kind in (kind for kind in KINDS if f"lens_parting_depth_{kind}" in values):
        depth = values[f"lens_parting_depth_{kind}"].value
        parts.append(
            f"{kind} answers, " + ("never" if depth is None else f"from depth {depth:.0f} on")
        )
    parting = f"The tuned model's margin is clearly the larger: {'; '.join(parts)}."
    caption = (
        "The logit lens before and after forgetting: the margin of the right answer over the wrong "
        "one if the hidden state of each depth is read out as if it were the last. After the last "
        f"block: {numbers} nats. {parting} Means over tasks; bands are 95 % intervals over items; "
        "dashed, chance."
    )
    return caption, f"Margin by depth for two models, with bands. At the end: {numbers}. {parting}"


def _draw_patched(by_kind: dict[str, pd.DataFrame]) -> Any:
    shown, read = by_kind["patched"], by_kind["lens"]
    end = read[read["depth"] == read["depth"].max()]
    figure, panels = kind_panels(shown["kind"], 3.4)
    last = int(shown["depth"].max())
    for kind, panel in panels.items():
        looks = {"restored": look_of("forgotten", kind), "taken": look_of("tuned", kind)}
        for way, receiver, _ in _ways():
            own = shown[(shown["kind"] == kind) & (shown["what"] == way)]
            words = DIRECTIONS[way].replace("forgotten,", f"forgotten ({kind}),")
            unpatched = end[(end["kind"] == kind) & (end["what"] == receiver)].assign(depth=0)
            joined = pd.concat([unpatched, own], ignore_index=True)
            band(panel, joined, "depth", looks[way], words)
            panel.axhline(unpatched["value"].iloc[0], color=looks[way][0], lw=0.9, ls=":")
        _finish(panel, last, "patched after block (0: not patched)")
    next(iter(panels.values())).set_ylabel("margin of right over wrong (nats)")
    legend_of(figure, panels)
    return figure


def _patched_words(blocks_there: int, values: dict[str, Value]) -> tuple[str, str]:
    numbers = "; ".join(
        f"{kind} answers, "
        + ", ".join(
            f"after block {block} {told(values[f'patch_restored_{block}_{kind}'])}"
            for block in sorted({1, math.ceil(blocks_there / 2), blocks_there})
        )
        for kind in KINDS
        if f"patch_restored_1_{kind}" in values
    )
    caption = (
        "Which blocks carry the change? The margin if the hidden states of one model, at every "
        "token, replace those of the other after one block. Dotted, the two models unpatched. "
        f"Share of the lost margin that the tuned model's states restore: {numbers}. What is still "
        "missing after the last block stands in the last norm and the output head. Means over "
        "tasks; bands are 95 % intervals over items; dashed, chance."
    )
    return caption, f"Two lines by patched block, one for each direction. Restored: {numbers}."


def _draw_weights(moved: pd.DataFrame, kinds: dict[str, str]) -> Any:
    outside = [kind for kind in OUTSIDE if len(moved[_outside(moved) & (moved["kind"] == kind)])]
    figure, axes = plots.panels(3, 7.8, 3.3, share_y=True)
    shown = {ATTENTION: "attention", FEED_FORWARD: "feed-forward", "": "outside the blocks"}
    for panel, (kind, title) in zip(axes, shown.items(), strict=True):
        part = (
            moved[(moved["block"] > 0) & (moved["kind"] == kind)]
            if kind
            else moved[_outside(moved)]
        )
        part = part.assign(x=part["block"] if kind else part["kind"].map(outside.index))
        for of, (colour, marker) in KINDS.items():
            own = part[part["task"].map(kinds) == of]
            if len(own):
                shift = 0.12 if of == "content" else -0.12
                panel.plot(
                    own["x"] + shift, own["moved"], marker, color=colour, ms=5, alpha=0.75,
                    mec="white", mew=0.5, label=f"tasks with {of} answers", zorder=3,
                )  # fmt: skip
        mean = part.groupby("x")["moved"].mean()
        panel.hlines(mean, mean.index - 0.3, mean.index + 0.3, color=plots.INK, lw=1.4, zorder=4)
        panel.set_title(title)
        if kind:
            panel.set_xlabel("block")
            blocks_there = sorted(part["x"].unique())
            panel.set_xticks(blocks_there[:: max(1, len(blocks_there) // 8)])
        else:
            words = {EMBEDDING: "embed-\nding", HEAD: "output\nhead", NORM: "last\nnorm"}
            panel.set_xticks(range(len(outside)), [words.get(one, one) for one in outside])
            panel.set_xlim(-0.6, len(outside) - 0.4)
    axes[0].set_ylim(bottom=0)
    axes[0].set_ylabel("change, share of the norm")
    axes[0].plot([], [], color=plots.INK, lw=1.4, label="mean over tasks")
    plots.legend_below(figure, axes[0])
    return figure


def _outside(moved: pd.DataFrame) -> pd.Series:
    return moved["block"] == 0


def _weights_words(moved: pd.DataFrame, values: dict[str, Value]) -> tuple[str, str]:
    names = {"all": "all weights", "attention": "attention", "feed_forward": "feed-forward",
             "embedding": "embedding"}  # fmt: skip
    numbers = ", ".join(
        f"{words} {told(values[f'weights_moved_{name}'], '.3f')}"
        for name, words in names.items()
        if f"weights_moved_{name}" in values
    )
    count = moved["task"].nunique()
    caption = (
        "Which weights moved? The norm of their change under random labels, as a share of their "
        f"norm before, by block and kind of matrix; one mark a task ({count} tasks), lines are "
        f"means. {numbers[:1].upper()}{numbers[1:]}; limits are over tasks."
    )
    return caption, f"Three panels of marks by block and place, one for each task. {numbers}."


STUDIES = (inside,)
