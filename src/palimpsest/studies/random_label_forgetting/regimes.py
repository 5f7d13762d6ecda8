"""How far tasks fall: not, part of the way, or below where they began.

The shipped model met its tasks in training, so true labels add little to it and there is little
room between the pretrained and the tuned model. An earlier checkpoint, which knows the tasks less
well, goes through the same, where there is one.
"""

from typing import Any

import numpy as np
import pandas as pd

from palimpsest.core import plots, stats
from palimpsest.core.models import LanguageModel
from palimpsest.core.results import Claim, Figure, Result, Value
from palimpsest.core.study import Context, study
from palimpsest.forgetting import measures
from palimpsest.studies.random_label_forgetting import cast
from palimpsest.studies.random_label_forgetting.grid import after_all, own

SHORT = dict(zip(measures.REGIMES, ("stays", "between", "below", "unclear"), strict=True))
# Colour, marker and words of each regime.
LOOKS = {
    "stays": ("#009E73", "s"), "between": ("#E69F00", "P"), "below": ("#D55E00", "v"),
    "unclear": ("#7f7f7f", "o"),
}  # fmt: skip
WORDS = {
    "stays": "stays", "between": "falls, above the pretrained model",
    "below": "falls below the pretrained model", "unclear": "unclear",
}  # fmt: skip


def of_model(
    pretrained: pd.DataFrame, before: pd.DataFrame, after: pd.DataFrame, start: str, seed: int
) -> pd.DataFrame:
    """The regime of each task: the lines of ``measures.regimes`` with ``start`` (which model it
    began from) and the regime in one word."""
    tasks = after["task"].unique()
    parts = [table[table["task"].isin(tasks)] for table in (pretrained, before)]
    table = measures.regimes(*parts, after, seed=seed)
    return table.assign(start=start, regime=table["regime"].map(SHORT))


def middle_share(table: pd.DataFrame) -> Value:
    """The share of cases, tasks learned by a model, that are between."""
    learned = table[table["value"].notna()]
    if learned.empty:
        return Value(None, n=0, unit="share")
    between = int((learned["regime"] == "between").sum())
    return Value.of(stats.wilson(between, len(learned)), "share")


def null_regimes(seed: int, tasks: int = 8, items: int = 60) -> dict[str, Value]:
    """The claim's measure where tasks fall just as far as they had risen: answers after random
    labels are drawn like those of the pretrained model."""
    rng = np.random.default_rng(seed)
    low = np.repeat(rng.uniform(0.5, 0.7, tasks), items)
    high = np.repeat(rng.uniform(0.8, 0.95, tasks), items)
    base = pd.DataFrame(
        {
            "task": np.repeat([f"t{number}" for number in range(tasks)], items),
            "item": np.tile(np.arange(items), tasks),
        }
    )
    answers = [base.assign(correct=rng.random(len(base)) < share) for share in (low, high, low)]
    tables = []
    for _, part in base.groupby("task", sort=False):
        three = [one.loc[part.index] for one in answers]
        tables.append(measures.regimes(*three, draws=100, seed=seed))
    found = pd.concat(tables, ignore_index=True)
    return {"middle_share": middle_share(found.assign(regime=found["regime"].map(SHORT)))}


def _earlier(ctx: Context, lm: LanguageModel) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Answers of an earlier model: as it is, tuned, and after one draw of each source's labels."""
    items = cast.items_of(ctx)
    begun = cast.start_of(ctx, lm)
    pre = ctx.cell(cast.answered, lm=lm, weights=None, asked=cast.asked(ctx))
    after = [
        ctx.cell(
            cast.tuned_on, lm=lm, weights=begun.weights, items=items[source].train,
            scheme="random", settings=cast.forgetting(ctx, lm), seed=cast.label_seed(ctx, 0),
            asked=items[source].test, keep=False,
        ).answers
        for source in cast.sources(ctx)
    ]  # fmt: skip
    return pre, begun.answers, pd.concat(after, ignore_index=True)


@study(
    claims=[
        Claim(
            id="rl-6",
            statement="Some tasks fall and still end above the pretrained model: at least one case "
            "in twenty.",
            source="arXiv:2409.02228, reported second-hand: one of three regimes",
            grade="known",
            measure="middle_share",
            rule="middle_share > 0.05",
        )
    ],
    null=null_regimes,
)
def regimes(ctx: Context) -> Result:
    """How far do tasks fall: not, part of the way, or below where they began?"""
    tables = [
        of_model(
            cast.pretrained(ctx), cast.start(ctx).answers, own(after_all(ctx)), ctx.lm.name,
            ctx.seed,
        )
    ]  # fmt: skip
    earlier = cast.earlier(ctx)
    if earlier is not None:
        tables.append(of_model(*_earlier(ctx, earlier), earlier.name, ctx.seed))
    table = pd.concat(tables, ignore_index=True)
    values = {"middle_share": middle_share(table)}
    for place, part in zip(("own", "earlier"), tables, strict=False):
        learned = part["value"].notna()
        for name in LOOKS:
            count = int(((part["regime"] == name) & learned).sum())
            values[f"{name}_{place}"] = Value(count, n=int(learned.sum()), unit="tasks")
        rise = (part["before"] - part["pretrained"]).mean()
        values[f"added_{place}"] = Value(float(rise), n=len(part), unit="share")
    shown = table.rename(columns={"value": "ratio", "low": "ratio_low", "high": "ratio_high"})
    columns = [
        "start", "task", "pretrained", "before", "after", "ratio", "ratio_low", "ratio_high",
        "gain", "gain_low", "gain_high", "regime",
    ]  # fmt: skip
    return Result(
        values=values,
        tables={"regimes": shown.assign(task=shown["task"].map(cast.label))[columns]},
        figures={"regimes": Figure(_draw(tables), *_words(tables, values))},
        notes={} if values["middle_share"].value is not None else {"rl-6": "no task was learned"},
    )


def _draw(tables: list[pd.DataFrame]) -> Any:
    rows = max(map(len, tables))
    figure, axes = plots.panels(len(tables), 3.3 * len(tables) + 1.2, 1.7 + 0.24 * rows)
    drawn: set[str] = set()
    for panel, table in zip(axes, tables, strict=True):
        ranked = table.sort_values("after", ascending=False, kind="stable")
        for height, row in enumerate(ranked.itertuples(index=False)):
            colour, marker = LOOKS[row.regime]
            panel.hlines(height, row.after, row.before, color=colour, lw=1.4, alpha=0.6)
            label = WORDS[row.regime] if row.regime not in drawn else None
            drawn.add(row.regime)
            panel.plot(
                row.after, height, marker, color=colour, ms=6.5, label=label, zorder=4,
                markeredgecolor="white", markeredgewidth=0.5,
            )  # fmt: skip
        heights = np.arange(len(ranked))
        first = panel is axes[0]
        panel.plot(
            ranked["pretrained"], heights, "x", color=plots.INK, ms=5, zorder=3,
            label="pretrained" if first else None,
        )  # fmt: skip
        panel.plot(
            ranked["before"], heights, "|", color=plots.INK, ms=9, mew=1.6, zorder=3,
            label="tuned" if first else None,
        )  # fmt: skip
        panel.axvline(0.5, color=plots.INK, lw=0.8, ls="--")
        panel.set_yticks(heights, [cast.label(task) for task in ranked["task"]])
        panel.set(xlabel="accuracy", ylim=(len(ranked) - 0.4, -0.6), xlim=(0.35, 1.03))
        panel.set_title(ranked["start"].iloc[0])
    _legend(figure, axes)
    return figure


def _legend(figure: Any, axes: list[Any]) -> None:
    """One legend of what stands in any panel."""
    for panel in axes[1:]:
        for handle, label in zip(*panel.get_legend_handles_labels(), strict=True):
            axes[0].plot([], [], handle.get_marker(), color=handle.get_color(), label=label, ms=6.5)
    plots.legend_below(figure, axes[0])


def _words(tables: list[pd.DataFrame], values: dict[str, Value]) -> tuple[str, str]:
    parts = []
    for place, table in zip(("own", "earlier"), tables, strict=False):
        counts = ", ".join(f"{name} {values[f'{name}_{place}'].value:.0f}" for name in LOOKS)
        parts.append(
            f"{table['start'].iloc[0]}, to which tuning added {values[f'added_{place}'].value:.2f} "
            f"in the mean: {counts}"
        )
    told = "; ".join(parts)
    caption = (
        f"Where tasks end. Numbers of tasks, {told}. A task's regime is told by two intervals, of "
        "the forget ratio and of the difference to the pretrained model. Dashed: guessing."
    )
    return caption, f"A row for each task with its accuracy before and after. {told}."


STUDIES = (regimes,)
