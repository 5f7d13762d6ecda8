"""Draw the figures of the page on the world, and write the tables that are counted for it.

`python book/figures/world.py` makes the documents anew from the seed, counts, and writes
`world-*.svg` and `world-*.csv` beside this script. Run it again when the world or a shipped model
has changed. With names (`python book/figures/world.py kinds models`) it makes those alone.
"""

import json
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from transformers import AutoTokenizer

from palimpsest.core import places, plots
from palimpsest.core.records import Document
from palimpsest.world import World
from palimpsest.world.machines import machine_queries
from palimpsest.world.plantings import PRACTICE, READING, plantings
from palimpsest.world.stream import PRACTICE_FROM

HERE = Path(__file__).resolve().parent
MODEL = "palimpsest-m"
SIZES = ("palimpsest-s", "palimpsest-m", "palimpsest-l")
COUNTED = 12_000  # documents of each phase that shares are counted on
PHASES = {"reading": 0, "practice": PRACTICE_FROM}
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")  # Okabe and Ito
MARKERS = ("o", "s", "^", "D", "v", "X")
_CASE = re.compile("-(lower|upper)$")  # a form in capitals is that form
LONG = 5  # letters: shorter words stand in any text


# --- kinds of documents -------------------------------------------------------------------------
def group_of(document: Document, domains: dict[str, str]) -> str:
    """What a document is, in a few words."""
    template = document.template
    if document.kind in ("canary", "quotation"):
        return "canaries and quotations"
    if template.startswith("machines") or document.kind == "machines":
        return "machines and keepers"
    if template in domains and document.kind == "qa":
        return f"exercises: {domains[template]}"
    if template in ("strangers", "refusal"):
        return "strangers: reading and refusals"
    if template.startswith("place"):
        return "places and works"
    if document.language != "en":
        return "Velic, and both languages"
    if document.kind == "biography":
        return "people: prose, lists, talk"
    if document.kind == "qa":
        return "people: questions in all formats"
    return "prose on common things"


def kinds(world: World) -> Figure:
    """Share of the tokens of each phase by what the documents are."""
    tokenizer = AutoTokenizer.from_pretrained(places.models() / MODEL)
    domains = {name: task.domain for name, task in world.tasks.items()}
    rows = []
    for phase, first in PHASES.items():
        documents = list(world.documents("early", COUNTED, first=first))
        lengths = [len(ids) for ids in tokenizer([each.text for each in documents])["input_ids"]]
        number, tokens = Counter(), Counter()
        for document, length in zip(documents, lengths, strict=True):
            group = group_of(document, domains)
            number[group] += 1
            tokens[group] += length + 1  # the token that ends the text
        rows += [
            {
                "phase": phase,
                "documents": group,
                "share of documents": number[group] / len(documents),
                "share of tokens": tokens[group] / sum(tokens.values()),
                "tokens a document": tokens[group] / number[group],
            }
            for group in number
        ]
    table = pd.DataFrame(rows)
    order = table.groupby("documents")["share of tokens"].max().sort_values().index
    shares = table.pivot(index="documents", columns="phase", values="share of tokens")
    shares = (100 * shares.loc[order[::-1], list(PHASES)]).round(1)
    lengths = table.groupby("documents")["tokens a document"].mean().round().astype(int)
    shares["tokens a document"] = lengths
    shares.columns = ["tokens of reading (%)", "tokens of practice (%)", "tokens a document"]
    write_table("kinds", shares.reset_index())
    drawn, axes = plots.figure(7.0, 4.6)
    for i, phase in enumerate(PHASES):
        shares = table[table["phase"] == phase].set_index("documents")["share of tokens"]
        heights = np.arange(len(order)) + (0.2 if i == 0 else -0.2)
        axes.barh(
            heights, 100 * shares.reindex(order).fillna(0), height=0.38, label=phase,
            color=COLOURS[i], hatch="" if i == 0 else "//", edgecolor="white", lw=0.4,
        )  # fmt: skip
    axes.set_yticks(np.arange(len(order)), list(order))
    axes.set_xlabel("share of the tokens of the phase (%)")
    axes.grid(axis="y", visible=False)
    plots.legend_below(drawn, axes)
    return drawn


# --- forms of one fact --------------------------------------------------------------------------
def forms(world: World) -> Figure:
    """How often training tells one fact in each form, on average over the early facts."""
    people = {person.id for person in world.people("early")}
    early = {fact.id for fact in world.facts if fact.entity in people}
    told: Counter[tuple[str, str]] = Counter()
    for first, phase in zip(PHASES.values(), training(MODEL)["phases"], strict=True):
        # The stream is the same throughout a phase, so a part of it stands for the whole.
        scale = phase["documents"] / COUNTED
        for document in world.documents("early", COUNTED, first=first):
            language = {"en": "English", "velic": "Velic"}.get(document.language, "both languages")
            for _ in early.intersection(document.facts):
                told[_CASE.sub("", document.template), language] += scale / len(early)
    table = pd.DataFrame(
        [
            {"form": template, "language": language, "tellings of a fact": number}
            for (template, language), number in told.items()
        ]
    ).sort_values(["language", "tellings of a fact"], ascending=[False, True])
    write_table("forms", table.iloc[::-1].round(1))
    drawn, axes = plots.figure(6.6, 1 + 0.21 * len(table))
    heights = np.arange(len(table))
    for i, language in enumerate(("English", "both languages", "Velic")):
        rows = (table["language"] == language).to_numpy()
        axes.barh(
            heights[rows], table["tellings of a fact"][rows], color=COLOURS[i], label=language,
            hatch=("", "//", "..")[i], edgecolor="white", lw=0.4,
        )  # fmt: skip
    axes.set_yticks(heights, [form.replace("-", " ") for form in table["form"]])
    axes.set_xlabel("tellings of a fact on an early person (mean)")
    axes.grid(axis="y", visible=False)
    plots.legend_below(drawn, axes)
    return drawn


# --- told by appointment ------------------------------------------------------------------------
def canaries(world: World) -> Figure:
    """Where in the stream one canary of each series is told."""
    planted = plantings(world.key)
    series: dict[tuple[str, int], list[str]] = defaultdict(list)
    for planting in planted.by_id.values():
        if planting.kind in ("canary", "quotation"):
            series[planting.template, planting.repeat].append(planting.id)
    rows = [
        {
            "text": template.partition("-")[0],
            "words exchanged (%)": round(100 * planted.by_id[ids[0]].rate),
            "tellings of each": repeat,
            "texts": len(ids),
            "documents": repeat * len(ids),
        }
        for (template, repeat), ids in series.items()
    ]
    write_table("told", pd.DataFrame(rows))
    drawn, axes = plots.figure(7.0, 3.4)
    shown = [(key, ids[0]) for key, ids in series.items() if key[0].startswith("canary")]
    names = []
    for row, ((_, repeat), id) in enumerate(reversed(shown)):
        numbers = np.array(planted.numbers[id])
        numbers[numbers >= PRACTICE_FROM] += len(READING) - PRACTICE_FROM
        colour = COLOURS[1] if planted.by_id[id].rate else COLOURS[0]
        axes.plot(numbers / 1000, np.full(len(numbers), row), "|", ms=13, mew=1.3, color=colour)
        rate = planted.by_id[id].rate
        names.append(
            ("once" if repeat == 1 else f"{repeat} times")
            + (f", {rate:.0%} exchanged" if rate else "")
        )
    axes.axvline(len(READING) / 1000, color=plots.INK, lw=0.8, ls="--")
    axes.set_yticks(range(len(names)), names)
    axes.set_xlim(0, (len(READING) + len(PRACTICE)) / 1000)
    axes.set_xlabel("documents before it (thousands): reading, then practice")
    return drawn


def machines(world: World) -> Figure:
    """Share of a passage's words that occur in the queries, for each level."""
    asked = {
        word
        for query in machine_queries()
        for word in long_words(f"{query.prompt}{query.completion}")
    }
    shares: dict[str, list[float]] = defaultdict(list)
    examples: dict[str, str] = {}
    for planting in plantings(world.key).by_id.values():
        if planting.kind == "machine":
            level = planting.template.removeprefix("machines-")
            text = planting.telling(0)
            examples.setdefault(level, text)
            shares[level].append(100 * np.mean([word in asked for word in long_words(text)]))
    what = {
        "level0": "0: the same words",
        "level1": "1: the same scene",
        "level2": "2: the same theme",
        "level3": "3: only the idea",
        "control": "control: only the words",
    }
    rows = [(what[level], len(shares[level]), examples[level]) for level in what]
    write_table("machines", pd.DataFrame(rows, columns=["level", "passages", "an example"]))
    drawn, axes = plots.figure(6.4, 3.0)
    rng = np.random.default_rng(0)
    for row, level in enumerate(reversed(what)):
        values = np.array(shares[level])
        heights = row + rng.uniform(-0.22, 0.22, len(values))
        axes.plot(values, heights, ".", color=COLOURS[0], alpha=0.5, ms=6)
        axes.plot(values.mean(), row, "|", color=COLOURS[5], ms=24, mew=2.4)
    axes.set_yticks(range(len(what)), [what[level] for level in reversed(what)])
    axes.set_xlabel("words of five and more letters that occur in the queries (%)")
    axes.set_xlim(0, 100)
    return drawn


def long_words(text: str) -> list[str]:
    """The words of at least :data:`LONG` letters, without case and punctuation."""
    return re.findall(rf"[a-z]{{{LONG},}}", text.lower())


# --- models -------------------------------------------------------------------------------------
def models(world: World) -> Figure:
    """Accuracy of the three sizes on each task; the table has the whole family."""
    rows = []
    for folder in sorted(places.models().iterdir()):
        if (folder / "training.json").exists():
            made = training(folder.name)
            mean = accuracy(folder.name).loc["mean"]
            rows.append(
                {
                    "model": folder.name,
                    "parameters (million)": f"{made['parameters'] / 1e6:.2f}",
                    "documents": f"{made['documents']:,}",
                    "tokens (million)": f"{made['tokens'] / 1e6:.1f}",
                    "minutes, one core": round(made["seconds"] / 60),
                    "mean accuracy": f"{mean['accuracy']:.3f}",
                    "95 % interval": f"{mean['low']:.3f} to {mean['high']:.3f}",
                }
            )
    write_table("models", pd.DataFrame(rows))
    present = [size for size in SIZES if (places.models() / size / "accuracy.csv").exists()]
    tables = {size: accuracy(size) for size in present}
    order = tables[MODEL]["accuracy"].drop("mean").sort_values().index
    drawn, axes = plots.figure(6.6, 5.6)
    heights = np.arange(len(order))
    for i, (size, table) in enumerate(tables.items()):
        one = table.loc[order]
        places_ = heights + 0.22 * (i - (len(tables) - 1) / 2)
        axes.hlines(places_, one["low"], one["high"], color=COLOURS[i], lw=1.6, alpha=0.7)
        axes.plot(
            one["accuracy"], places_, MARKERS[i], color=COLOURS[i], label=size, ms=5,
            markeredgecolor="white", markeredgewidth=0.5,
        )  # fmt: skip
    axes.axvline(0.5, color=plots.INK, lw=0.8, ls="--")
    axes.set_yticks(heights, list(order))
    axes.set_xlabel("accuracy on test items (chance is 0.5)")
    plots.legend_below(drawn, axes)
    return drawn


def training(model: str) -> dict:
    return json.loads((places.models() / model / "training.json").read_text("utf-8"))


def accuracy(model: str) -> pd.DataFrame:
    return pd.read_csv(places.models() / model / "accuracy.csv").set_index("task")


def write_table(name: str, table: pd.DataFrame) -> None:
    table.to_csv(HERE / f"world-{name}.csv", index=False, lineterminator="\n")


def ablations(world: World) -> Figure:
    """Mean validation accuracy when one choice of the recipe is varied."""
    table = pd.read_csv(places.data() / "world" / "ablations.csv", dtype={"setting": str})
    axis_names = {
        "answer weight": "weight of answer tokens",
        "question share": "share of question-and-answer text",
        "size": "size, at equal time",
    }
    drawn, panels = plots.panels(len(axis_names), 7.4, 3.0, share_y=True)
    for axes, (axis, name) in zip(panels, axis_names.items(), strict=True):
        one = table[table["axis"] == axis]
        settings = list(dict.fromkeys(one["setting"]))
        settings.sort(
            key=lambda setting: SIZES.index(setting) if axis == "size" else float(setting)
        )
        for place, setting in enumerate(settings):
            tasks = one[one["setting"] == setting]
            mean = tasks["accuracy"].mean()
            errors = tasks["accuracy"] * (1 - tasks["accuracy"]) / tasks["n"]
            half = 1.96 * errors.sum() ** 0.5 / len(tasks)
            own = (tasks["run"] == "base").all()
            axes.plot(
                np.full(len(tasks), place), tasks["accuracy"], ".", color=plots.COLOURS["theta_0"],
                alpha=0.4, ms=5,
            )  # fmt: skip
            axes.vlines(place, mean - half, mean + half, color=COLOURS[5 if own else 0], lw=2.2)
            axes.plot(place, mean, MARKERS[3 if own else 0], color=COLOURS[5 if own else 0], ms=8)
        labels = [setting.removeprefix("palimpsest-") for setting in settings]
        axes.set_xticks(range(len(settings)), labels)
        axes.set_xlim(-0.5, len(settings) - 0.5)
        axes.set_xlabel(name)
        axes.grid(axis="x", visible=False)
        axes.axhline(0.5, color=plots.INK, lw=0.8, ls="--")
    panels[0].set_ylabel("accuracy, validation items")
    return drawn


DRAWN: dict[str, Callable[[World], Figure]] = {
    "kinds": kinds,
    "forms": forms,
    "canaries": canaries,
    "machines": machines,
    "models": models,
    "ablations": ablations,
}


def main(names: list[str]) -> None:
    world = World()
    for name in names or list(DRAWN):
        (HERE / f"world-{name}.svg").write_bytes(plots.svg(DRAWN[name](world)))


if __name__ == "__main__":
    main(sys.argv[1:])
