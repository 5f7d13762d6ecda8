"""Bias: is a task "forgotten", or are its answers only shifted?

On a task whose answers are always the same words a shift of one word's score sends the accuracy to
that of a constant answer and leaves the ranking of the items as it was; where answers are the
items' own there is no such shift (random-label digest, section 6.1). Two tests: refit one bias on a
few labelled items, and ask the same items in a form in which no bias is possible
(``forgetting.rewriting``). Whatever else differs between the two kinds of tasks is equal in the
second test.
"""

import math
from typing import Any

import numpy as np
import pandas as pd

from palimpsest.core import plots, stats
from palimpsest.core.results import Claim, Figure, Result, Value, absent
from palimpsest.core.study import Context, study
from palimpsest.forgetting import measures
from palimpsest.forgetting.items import TaskItems, TwoWay
from palimpsest.forgetting.protocol import Tuning
from palimpsest.forgetting.rewriting import answer_first
from palimpsest.studies.random_label_forgetting import cast
from palimpsest.studies.random_label_forgetting.looks import KINDS

LABELLED = 32  # items a bias is refitted on, fewer where there are few
LOST = 0.05  # of the accuracy, from which on it makes sense to ask what a bias gives back
TEACHING_EPOCHS = 6  # on the true labels of both forms, from θ_ft on
MOST_DRAWS = 2  # of labels for each form
ORIGINAL, REWRITTEN = "original", "rewritten"
TUNED = ("#009E73", "s")
SECTION = "this book, section on bias (arXiv:2409.02228 does not ask)"

NO_SHARED = "no task with shared answer words that was learned lost enough to be given back"
NO_FORMS = (
    "no task with shared answer words could be asked in both forms by a model that had learned both"
)


# --- one bias refitted --------------------------------------------------------------------------


def biases(
    before: pd.DataFrame, after: pd.DataFrame, kinds: dict[str, str], draws: int, seed: int
) -> pd.DataFrame:
    """``forgetting.measures.label_bias`` of each task, a row each.

    Args:
        before, after: answers; those after with ``draw``, to the tasks' own items only.
        draws: of the bootstrap.

    Returns:
        ``task``, ``kind``, ``k`` (items the bias was fitted on), and each measure with its interval
        (``NAME``, ``NAME_low``, ``NAME_high``).
    """
    fields = (
        "before", "after", "auc_before", "auc", "modal_share", "refitted", "restored",
        "bias_share", "size",
    )  # fmt: skip
    rows = []
    for task, own in after.groupby("task", sort=False):
        asked = before[before["task"] == task]
        k = min(LABELLED, len(asked) // 3)
        found = measures.label_bias(asked, own, k=k, draws=draws, seed=seed)
        row: dict[str, object] = {"task": task, "kind": kinds[str(task)], "k": k, "n": len(asked)}
        for name in fields:
            one = getattr(found, name)
            row |= {name: one.value, f"{name}_low": one.low, f"{name}_high": one.high}
        rows.append(row)
    return pd.DataFrame(rows)


def given_back(table: pd.DataFrame, seed: int = 0) -> stats.Interval:
    """Σ restored / Σ lost over the tasks that lost at least :data:`LOST`; tasks are resampled, and
    with them their items."""
    lost = (table["before"] - table["after"]).to_numpy(dtype=float)
    restored = table["restored"].to_numpy(dtype=float)
    used = (lost > LOST - 1e-9) & np.isfinite(restored)
    if not used.any():
        return stats.Interval(math.nan, math.nan, math.nan, 0)
    lost, restored = lost[used], restored[used]
    units = np.arange(len(lost))
    factor = stats.Factor(units, np.zeros(len(units), dtype=np.intp))

    def share(weights: np.ndarray) -> np.ndarray:
        with np.errstate(invalid="ignore", divide="ignore"):
            return (weights @ restored) / (weights @ lost)

    return stats.bootstrap(share, [factor], np.stack([lost, restored]), seed=seed)


def bias_values(table: pd.DataFrame, seed: int = 0) -> dict[str, Value]:
    """Means over the tasks of each kind, and the share given back, tasks resampled."""
    values = {}
    for kind in KINDS:
        of = table[table["kind"] == kind]
        values[f"bias_share_{kind}"] = Value.of(given_back(of, seed), "of the loss")
        for name, column, unit in (
            ("auc", "auc", ""), ("auc_before", "auc_before", ""),
            ("modal", "modal_share", "share"), ("restored", "restored", "accuracy"),
            ("refitted", "refitted", "accuracy"), ("after", "after", "accuracy"),
            ("before", "before", "accuracy"),
        ):  # fmt: skip
            found = of[column].dropna().to_numpy(dtype=float)
            mean = stats.cluster_bootstrap(found, seed=seed)
            values[f"{name}_{kind}"] = Value.of(_within(mean, name), unit)
    return values


def _within(mean: stats.Interval, name: str) -> stats.Interval:
    """Shares and areas lie between 0 and 1, what is restored between -1 and 1."""
    low = max(-1.0 if name == "restored" else 0.0, mean.low)
    return stats.Interval(mean.value, low, min(1.0, mean.high), mean.n)


# --- the same items in another form -------------------------------------------------------------


def both_forms(ctx: Context) -> dict[str, dict[str, TaskItems]]:
    """Task -> form -> its items, for the first tasks of shared words among the sources, as many as
    are ``controlled``."""
    found = {}
    for task in cast.sources(ctx):
        items = cast.items_of(ctx)[task]
        turned = answer_first(items, f"{task} {REWRITTEN}")
        if turned is not None and len(found) < ctx.parameters.controlled:
            found[task] = {ORIGINAL: items, REWRITTEN: turned}
    return found


def rewritten_answers(
    ctx: Context, forms: dict[str, dict[str, TaskItems]]
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Answers in both forms before and after random labels on either, and what the tunings did.

    θ_ft goes on to learn both forms of all these tasks from true labels; from there each form of
    each task gets random labels, and both forms of that task are asked.

    Returns:
        The answers before (columns of ``answer_items`` and ``form``), after (and ``source``, which
        is the form trained on, and ``draw``), and a table of doses.
    """
    taught = tuple(item for task in forms.values() for one in task.values() for item in one.train)
    tests = {task: _test_items(both) for task, both in forms.items()}
    rate = cast.tuning(ctx, ctx.lm)
    begun = ctx.cell(
        cast.tuned_on, lm=ctx.lm, weights=cast.start(ctx).weights, items=taught, scheme="true",
        settings=Tuning(TEACHING_EPOCHS, rate.learning_rate, rate.batch_size, rate.lora_rank),
        seed=1000 * ctx.seed, asked=tuple(item for part in tests.values() for item in part),
        keep=True,
    )  # fmt: skip
    parts, doses = [], []
    for draw in range(min(ctx.parameters.draws, MOST_DRAWS)):
        for task, both in forms.items():
            for form, items in both.items():
                done = ctx.cell(
                    cast.tuned_on, lm=ctx.lm, weights=begun.weights, items=items.train,
                    scheme="random", settings=cast.forgetting(ctx, ctx.lm),
                    seed=cast.label_seed(ctx, draw), asked=tests[task], keep=False,
                )  # fmt: skip
                parts.append(_by_form(done.answers).assign(source=form, draw=draw))
                one = done.tuned
                doses.append((task, form, draw, one.steps, one.agreement, one.p))
    columns = ["task", "trained", "draw", "steps", "agreement", "p"]
    after = pd.concat(parts, ignore_index=True)
    return _by_form(begun.answers), after, pd.DataFrame(doses, columns=columns)


def _test_items(both: dict[str, TaskItems]) -> tuple[TwoWay, ...]:
    return tuple(item for one in both.values() for item in one.test)


def _by_form(answers: pd.DataFrame) -> pd.DataFrame:
    """With the task's own name and a column ``form``."""
    turned = answers["task"].str.endswith(f" {REWRITTEN}")
    return answers.assign(
        task=answers["task"].str.removesuffix(f" {REWRITTEN}"),
        form=np.where(turned, REWRITTEN, ORIGINAL),
    )


def form_ratios(before: pd.DataFrame, after: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """The forget ratio of each task by the form trained on and the form asked: ``task``,
    ``trained``, ``asked``, accuracies ``before`` and ``after``, ``value``, ``low``, ``high``, ``n``
    (items; draws are the outer level)."""
    rows = []
    for form, was in before.groupby("form", sort=False):
        now = after[after["form"] == form].drop(columns="form")
        found = measures.grid(was.drop(columns="form"), now, seed=seed)
        rows.append(found.rename(columns={"source": "trained"}).assign(asked=form))
    table = pd.concat(rows, ignore_index=True)
    order = ["task", "trained", "asked", "before", "after", "value", "low", "high", "n"]
    return table[order].sort_values(["task", "trained", "asked"], kind="stable", ignore_index=True)


def form_values(table: pd.DataFrame, seed: int = 0) -> dict[str, Value]:
    """What the two forms lose and pass on, means over tasks, tasks resampled.

    Of tasks of which both forms were learned (0.5 is outside the 95 % limits of the accuracy
    before, else the ratio's ends are infinite): ``ratio_original``, ``ratio_rewritten`` (own test
    items), ``form_gap`` (original minus rewritten, the same items), ``carried_over`` (the other
    form's test items, both directions; ``carried_to_rewritten``, ``carried_to_original``: each).
    ``learned_rewritten`` is the accuracy of the rewritten form before, of all tasks.
    """
    clear = table.assign(value=table["value"].where(np.isfinite(table["low"])))
    wide = clear.pivot(index="task", columns=["trained", "asked"], values="value")
    wide = wide.reindex(
        columns=pd.MultiIndex.from_product([[ORIGINAL, REWRITTEN], [ORIGINAL, REWRITTEN]])
    )
    whole = wide.dropna()
    own, other = whole[ORIGINAL, ORIGINAL], whole[REWRITTEN, REWRITTEN]
    onward, back = whole[ORIGINAL, REWRITTEN], whole[REWRITTEN, ORIGINAL]
    before = table[table["asked"] == REWRITTEN].groupby("task")["before"].first()

    def mean(values: pd.Series, unit: str = "ratio") -> Value:
        return Value.of(stats.cluster_bootstrap(values.to_numpy(dtype=float), seed=seed), unit)

    return {
        "form_gap": mean(own - other),
        "carried_over": mean((onward + back) / 2),
        "ratio_original": mean(own),
        "ratio_rewritten": mean(other),
        "carried_to_rewritten": mean(onward),
        "carried_to_original": mean(back),
        "learned_rewritten": mean(before, "accuracy"),
    }


# --- null ---------------------------------------------------------------------------------------


def null_bias(seed: int, tasks: int = 3, items: int = 36) -> dict[str, Value]:
    """The claims' measures on data without the effects: rankings that are lost altogether, forms
    that lose alike, and forms of which one is left alone when the other is forgotten."""
    rng = np.random.default_rng(seed)
    rows, ratios = [], []
    for place in range(tasks):
        labels = np.arange(items) % 2
        right = {"before": rng.random(items) < 0.9, "after": rng.random(items) < 0.5}
        answers = {
            when: pd.DataFrame(
                {
                    "task": f"task {place}",
                    "item": np.arange(items),
                    "label": labels,
                    "margin": np.where(found, 1, -1) * rng.exponential(1.0, items),
                    "correct": found,
                }
            )
            for when, found in right.items()
        }
        kinds = {f"task {place}": "shared"}
        rows.append(biases(answers["before"], answers["after"], kinds, 2, seed))
        lost = rng.uniform(0.5, 0.9)
        for trained in (ORIGINAL, REWRITTEN):
            for asked in (ORIGINAL, REWRITTEN):
                share = lost if trained == asked else 0.9
                after = rng.binomial(items, share) / items
                ratios.append((f"task {place}", trained, asked, 0.9, (0.9 - after) / 0.4))
    forms = pd.DataFrame(ratios, columns=["task", "trained", "asked", "before", "value"])
    found = form_values(forms.assign(low=0.0), seed)
    shared = given_back(pd.concat(rows, ignore_index=True), seed)
    return {
        "bias_share_shared": Value.of(shared, "of the loss"),
        "form_gap": found["form_gap"],
        "carried_to_rewritten": found["carried_to_rewritten"],
    }


# --- the study ----------------------------------------------------------------------------------


@study(
    claims=[
        Claim(
            id="rl-15",
            statement="On tasks with shared answer words one refitted bias gives back more than a "
            "fifth of the accuracy that random labels took.",
            source=SECTION,
            grade="ours",
            measure="bias_share_shared",
            rule="bias_share_shared > 0.2",
        ),
        Claim(
            id="rl-16",
            statement="The same items of tasks with shared answer words are forgotten less when "
            "the answer comes first and the item's own text is scored.",
            source=SECTION,
            grade="ours",
            measure="form_gap",
            rule="form_gap > 0",
        ),
        Claim(
            id="rl-17",
            statement="Random labels on a task with shared answer words also take more than a "
            "fifth of what the model can do when the answer comes first and the item's text is "
            "scored.",
            source=SECTION,
            grade="ours",
            measure="carried_to_rewritten",
            rule="carried_to_rewritten > 0.2",
        ),
    ],
    null=null_bias,
)
def bias(ctx: Context) -> Result:
    """Is "forgotten" only "biased"?"""
    table = _refitted(ctx)
    values = bias_values(table, ctx.seed)
    tables = {"bias": table.assign(task=table["task"].map(cast.label))}
    figures = {"bias": Figure(_draw_bias(table), *_bias_words(table, values))}
    forms = both_forms(ctx)
    if forms:
        before, after, doses = rewritten_answers(ctx, forms)
        ratios = form_ratios(before, after, ctx.seed)
        values |= form_values(ratios, ctx.seed)
        tables |= {"forms": _forms_table(ratios, doses), "wordings": _wordings(forms)}
    if forms and np.isfinite(ratios["value"]).any():
        figures["rewritten"] = Figure(_draw_forms(ratios), *_forms_words(ratios, values))
    else:
        figures["rewritten"] = absent(NO_FORMS)
    reasons = {
        "rl-15": ("bias_share_shared", NO_SHARED),
        "rl-16": ("form_gap", NO_FORMS),
        "rl-17": ("carried_to_rewritten", NO_FORMS),
    }
    notes = {
        claim: reason for claim, (name, reason) in reasons.items()
        if values.get(name, Value(None)).value is None
    }  # fmt: skip
    return Result(values=values, tables=tables, figures=figures, notes=notes)


def _refitted(ctx: Context) -> pd.DataFrame:
    parts = []
    for draw in range(ctx.parameters.draws):
        for task in cast.sources(ctx):
            answers = cast.forgotten(ctx, task, draw).answers
            parts.append(answers[answers["task"] == task].assign(draw=draw))
    table = ctx.cell(
        biases, before=cast.start(ctx).answers, after=pd.concat(parts, ignore_index=True),
        kinds=cast.kinds(ctx), draws=1000, seed=ctx.seed,
    )  # fmt: skip
    return table.sort_values("kind", ascending=False, kind="stable", ignore_index=True)


def _forms_table(ratios: pd.DataFrame, doses: pd.DataFrame) -> pd.DataFrame:
    """With the dose of each training, means over draws."""
    dose = doses.groupby(["task", "trained"], sort=False)[["steps", "agreement", "p"]].mean()
    table = ratios.merge(dose.reset_index(), on=["task", "trained"])
    return table.assign(task=table["task"].map(cast.label)).rename(columns={"value": "ratio"})


def _wordings(forms: dict[str, dict[str, TaskItems]]) -> pd.DataFrame:
    """An example item of each form, a row for each of its two answers."""
    rows = [
        (cast.label(task), form, *pair, place == items.train[0].label)
        for task, both in forms.items()
        for form, items in both.items()
        for place, pair in enumerate(items.train[0].pairs)
    ]
    return pd.DataFrame(rows, columns=["task", "form", "context", "answer", "right"])


# --- figures ------------------------------------------------------------------------------------


def _draw_bias(table: pd.DataFrame) -> Any:
    figure, axes = plots.panels(2, 7.6, 1.9 + 0.21 * len(table), share_y=True)
    heights = np.arange(len(table)) + (table["kind"] == "content") * 0.8
    axes[0].plot(table["before"], heights, TUNED[1], color=TUNED[0], ms=5, ls="", label="tuned")
    axes[1].plot(table["auc_before"], heights, TUNED[1], color=TUNED[0], ms=5, ls="")
    for kind, (colour, marker) in KINDS.items():
        of = (table["kind"] == kind).to_numpy()
        if not of.any():
            continue
        part, at = table[of], heights[of]
        look = {"color": colour, "ms": 5.5, "ls": ""}
        for panel, name, low in ((axes[0], "after", 0.13), (axes[1], "auc", 0.0)):
            ends = part[[f"{name}_low", f"{name}_high"]].to_numpy(float).clip(0, 1).T
            panel.hlines(at - low, *ends, color=colour, lw=1.3, alpha=0.6)
            shown = f"{kind} answers, random labels" if name == "after" else None
            panel.plot(part[name], at - low, marker, **look, label=shown)
        axes[0].plot(
            part["refitted"], at + 0.2, marker, **look, mfc="white", mew=1.3,
            label=f"{kind} answers, bias refitted",
        )  # fmt: skip
    for panel, words in zip(axes, ("accuracy (share right)", "AUC (area, 0 to 1)"), strict=True):
        panel.axvline(0.5, color=plots.INK, lw=0.8, ls="--")
        panel.set_xlabel(words)
        panel.set_xlim(0.0, 1.02)
    axes[0].set_yticks(heights, table["task"].map(cast.label))
    axes[0].invert_yaxis()
    plots.legend_below(figure, axes[0])
    return figure


def _bias_words(table: pd.DataFrame, values: dict[str, Value]) -> tuple[str, str]:
    told = []
    for kind in KINDS:
        count = int((table["kind"] == kind).sum())
        if count:
            told.append(
                f"{kind} answers ({count} tasks): accuracy {_number(values[f'before_{kind}'])} "
                f"before, {_number(values[f'after_{kind}'])} after, "
                f"{_number(values[f'refitted_{kind}'])} refitted; AUC "
                f"{_number(values[f'auc_before_{kind}'])} before, "
                f"{_number(values[f'auc_{kind}'])} after"
            )
    numbers = ". ".join(told)
    caption = (
        "Random labels on each task: accuracy before, after, and after one bias was refitted on "
        "labelled items, and the AUC, which no bias moves. Means, "
        f"{numbers}. For content answers a bias has no meaning; they are the control. Bars are "
        "95 % intervals over items and draws; dashed: chance."
    )
    return caption, f"Two panels with a row for each task, accuracy and AUC. {numbers}."


def _draw_forms(ratios: pd.DataFrame) -> Any:
    tasks = list(dict.fromkeys(ratios["task"]))
    figure, axes = plots.panels(2, 7.6, 2.1 + 0.4 * len(tasks), share_y=True)
    names = {ORIGINAL: "shared", REWRITTEN: "content"}
    titles = {True: "the form trained on", False: "the other form"}
    for panel, (own, title) in zip(axes, titles.items(), strict=True):
        shown = []
        for trained, shift in ((ORIGINAL, -0.13), (REWRITTEN, 0.13)):
            rows = ratios[(ratios["trained"] == trained)]
            rows = rows[(rows["asked"] == trained) == own]
            colour, marker = KINDS[names[trained]]
            heights = np.array([tasks.index(task) for task in rows["task"]]) + shift
            ends = rows[["low", "high"]].to_numpy(float).clip(-3, 3).T
            panel.hlines(heights, *ends, color=colour, lw=1.5, alpha=0.7)
            panel.plot(
                rows["value"], heights, marker, color=colour, ms=6, ls="",
                label=f"random labels on the {trained} form" if own else None,
            )  # fmt: skip
            shown += [*rows["value"]]
        there = [one for one in shown if math.isfinite(one)]
        panel.set_xlim(max(-3, min([0, *there]) - 0.4), min(3, max([1, *there]) + 0.4))
        panel.axvline(0, color=plots.INK, lw=0.8)
        panel.axvline(1, color=plots.INK, lw=0.8, ls="--")
        panel.set_title(title)
        panel.set_xlabel("forget ratio (1: down to chance)")
    axes[0].set_yticks(range(len(tasks)), [cast.label(task) for task in tasks])
    axes[0].set_ylim(len(tasks) - 0.5, -0.5)
    plots.legend_below(figure, axes[0])
    return figure


def _forms_words(ratios: pd.DataFrame, values: dict[str, Value]) -> tuple[str, str]:
    numbers = (
        f"original form {_number(values['ratio_original'])}, rewritten form "
        f"{_number(values['ratio_rewritten'])}; carried over from the original to the rewritten "
        f"form {_number(values['carried_to_rewritten'])}, back "
        f"{_number(values['carried_to_original'])}"
    )
    caption = (
        "The same items asked with shared answer words and, rewritten, with the answer first and "
        f"the item's text scored. Mean forget ratio, {numbers}; means are over tasks of which both "
        "forms were learned. Left: the form that got random labels; right: the other one. Bars are "
        "95 % intervals over items and draws, cut at the panel's edge; dashed: chance."
    )
    count = ratios["task"].nunique()
    return caption, f"Two panels, a row for each of {count} tasks. Mean forget ratio, {numbers}."


def _number(value: Value) -> str:
    return "no value" if value.value is None else f"{value.value:.2f}"


STUDIES = (bias,)
