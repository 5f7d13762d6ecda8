"""How fast the answers of chapter 2 are: against lm-eval, against more items, and for a whole task.

    python benchmarks/forgetting.py [--model palimpsest-m] [--items 200]
                                    [--out benchmarks/forgetting.json]

Three measurements, on one thread and in memory, with nothing taken from a cache but the weights
from which the forgetting starts:

1. the same (context, continuation) pairs answered by ``forgetting.protocol.answer_items`` and by
   lm-eval's Hugging Face backend, turn about, at its default batch size of 1 and at larger ones;
   ours once with items never met before, and again, as a chapter asks the same items of model
   after model, with their tokens remembered;
2. the time for more and more tasks and items, and the straight line through it;
3. the time of one forgotten task: tuning on its random labels, then the answers to all tasks.

Times are medians. Beside the seconds on the clock stand those of the processor, which other work on
the machine moves less.
"""

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

from palimpsest.core import models
from palimpsest.core.cache import Cache
from palimpsest.core.errors import UserError
from palimpsest.core.files import write_text
from palimpsest.core.models import LanguageModel
from palimpsest.core.scoring import score
from palimpsest.core.study import Context
from palimpsest.forgetting.items import FEWEST, TwoWay
from palimpsest.forgetting.protocol import answer_items, tune
from palimpsest.studies.controls import with_weights
from palimpsest.studies.random_label_forgetting import cast
from palimpsest.studies.random_label_forgetting.parameters import Parameters

BATCH_SIZES = (1, 8, 32, 128)  # of lm-eval, whose default is 1
REPEATS = 3
TASKS, PARTS = (5, 10, 15, 21), (4, 2, 1)  # of the second measurement: a quarter, half, all items
DIGITS = 4


@dataclass(frozen=True)
class Seconds:
    """A time on the clock and of the processor."""

    clock: float
    processor: float


@dataclass(frozen=True)
class Comparison:
    """Our answers beside lm-eval's to the same items.

    Attributes:
        items, pairs: how many.
        first: time of ``answer_items`` on items never met before.
        ours: its time when the items' tokens are remembered.
        theirs: time of lm-eval's backend, by batch size.
        ratios: of the processor's time: ``theirs`` at the smallest batch size (``default``) and at
            the best one (``best``) through ``ours``, and the best one through ``first``
            (``best_first``).
        largest_difference: of a pair's log-probability, nats.
        different_answers: items that the two answer differently.
    """

    items: int
    pairs: int
    first: Seconds
    ours: Seconds
    theirs: dict[int, Seconds]
    ratios: dict[str, float]
    largest_difference: float
    different_answers: int


@dataclass(frozen=True)
class Growth:
    """How the time grows with the items.

    Attributes:
        rows: for each number of tasks and of items: ``tasks``, ``items_per_task``, ``items``,
            ``clock``, ``processor`` (seconds), ``milliseconds`` (of the processor, for an item).
        milliseconds: slope of the straight line, of the processor, for an item.
        intercept: where the line begins, seconds.
        r_squared: share of the variance of the times that the line explains.
    """

    rows: list[dict[str, float]]
    milliseconds: float
    intercept: float
    r_squared: float


# --- 1: against lm-eval -------------------------------------------------------------------------


def compare(
    lm: LanguageModel,
    items: Sequence[TwoWay],
    batch_sizes: Sequence[int] = BATCH_SIZES,
    repeats: int = REPEATS,
) -> Comparison:
    """Let both answer ``items``, turn about, and compare times and answers."""
    pairs = [pair for item in items for pair in item.pairs]
    backends = {size: _backend(lm, size) for size in batch_sizes}
    answer_items(lm, items[:1])  # what is found out about an architecture once
    first, _ = _timed(lambda: answer_items(lm, items))
    ours: list[Seconds] = []
    theirs: dict[int, list[Seconds]] = {size: [] for size in batch_sizes}
    for _ in range(repeats):
        seconds, answers = _timed(lambda: answer_items(lm, items))
        ours.append(seconds)
        for size, backend in backends.items():
            seconds, logprobs = _timed(lambda backend=backend: _asked(backend, pairs))
            theirs[size].append(seconds)
    own = np.array([found.logprob for found in score(lm, pairs)])
    # The first of equals, as in lm-eval.
    chosen = logprobs.reshape(-1, 2).argmax(axis=1)
    labels = answers["label"].to_numpy()
    mine = np.where(answers["correct"], labels, 1 - labels)
    medians = {size: _median(found) for size, found in theirs.items()}
    time_of, best = _median(ours), min(found.processor for found in medians.values())
    ratios = {
        "default": medians[min(medians)].processor / time_of.processor,
        "best": best / time_of.processor,
        "best_first": best / first.processor,
    }
    return Comparison(
        items=len(items),
        pairs=len(pairs),
        first=first,
        ours=time_of,
        theirs=medians,
        ratios=ratios,
        largest_difference=float(np.abs(own - logprobs).max()),
        different_answers=int((mine != chosen).sum()),
    )


def _backend(lm: LanguageModel, batch_size: int) -> HFLM:
    return HFLM(
        pretrained=lm.model,
        tokenizer=lm.tokenizer,
        batch_size=batch_size,
        max_length=lm.max_length,
    )


def _asked(backend: HFLM, pairs: Sequence[tuple[str, str]]) -> np.ndarray:
    """lm-eval's log-probabilities [pairs], nats."""
    requests = [Instance("loglikelihood", {}, pair, place) for place, pair in enumerate(pairs)]
    return np.array([found for found, _ in backend.loglikelihood(requests, disable_tqdm=True)])


# --- 2: against more items ----------------------------------------------------------------------


def growth(
    lm: LanguageModel,
    tasks: Sequence[Sequence[TwoWay]],
    item_counts: Sequence[int],
    task_counts: Sequence[int] = TASKS,
    repeats: int = REPEATS,
) -> Growth:
    """Time the answers to the first items of the first tasks, for each number of both."""
    answer_items(lm, tasks[0][:1])
    rows: list[dict[str, float]] = []
    for count in sorted({min(count, len(tasks)) for count in task_counts}):
        for most in item_counts:
            asked = [item for task in tasks[:count] for item in task[:most]]
            found = [_timed(lambda asked=asked: answer_items(lm, asked)) for _ in range(repeats)]
            seconds = _median([time for time, _ in found])
            each = 1000 * seconds.processor / len(asked)
            row = {"tasks": count, "items_per_task": most, "items": len(asked)}
            rows.append({**row, **asdict(seconds), "milliseconds": each})
    numbers = np.array([row["items"] for row in rows], dtype=float)
    times = np.array([row["processor"] for row in rows])
    slope, intercept = np.polyfit(numbers, times, 1)
    r_squared = np.corrcoef(numbers, times)[0, 1] ** 2
    return Growth(rows, float(1000 * slope), float(intercept), float(r_squared))


# --- 3: a whole task ----------------------------------------------------------------------------


def whole_tasks(ctx: Context, tasks: Sequence[str]) -> list[dict[str, Any]]:
    """Forget each of ``tasks`` as the chapter does, from the chapter's start, without the cache.

    Returns:
        A row for each: ``task``, ``steps``, ``tuning``, ``answering`` and ``seconds`` (both
        together), on the clock, and ``processor``.
    """
    begun = cast.start(ctx)
    items, asked = cast.items_of(ctx), cast.asked(ctx)
    settings, seed = cast.forgetting(ctx, ctx.lm), cast.label_seed(ctx, 0)
    rows = []
    for task in tasks:
        student = with_weights(ctx.lm, begun.weights)
        train = items[task].train
        tuning, done = _timed(
            lambda student=student, train=train: tune(student, train, "random", settings, seed)
        )
        answering, _ = _timed(lambda student=student: answer_items(student, asked))
        rows.append(
            {
                "task": task,
                "steps": done.steps,
                "tuning": tuning.clock,
                "answering": answering.clock,
                "seconds": tuning.clock + answering.clock,
                "processor": tuning.processor + answering.processor,
            }
        )
    return rows


# --- all of it ----------------------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, and write the report."""
    given = _parser().parse_args(arguments)
    if given.items < FEWEST:
        raise UserError(f"--items is {given.items}; at least {FEWEST} were expected.")
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    torch.set_num_threads(1)
    ctx = _context(given.model, given.items)
    tasks = {name: found.test for name, found in cast.items_of(ctx).items()}
    report: dict[str, Any] = {
        "machine": given.machine,
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        **{name: version(name) for name in ("torch", "transformers", "lm-eval")},
        "model": ctx.lm.name,
        "tasks": len(tasks),
        "repeats": REPEATS,
    }
    print(f"Answering {len(cast.asked(ctx))} items of {len(tasks)} tasks ...", flush=True)
    report["comparison"] = asdict(compare(ctx.lm, cast.asked(ctx)))
    counts = [given.items // part for part in PARTS]
    report["growth"] = asdict(growth(ctx.lm, _shuffled(list(tasks.values())), item_counts=counts))
    report["whole_tasks"] = whole_tasks(ctx, list(tasks)[: len(cast.SENTINELS)])
    write_text(given.out, json.dumps(_rounded(report), indent=1) + "\n")
    print(_summary(report))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", default="palimpsest-m", help="as in `palimpsest run`")
    parser.add_argument("--items", type=int, default=200, help="test items of each task")
    parser.add_argument("--machine", default=f"{os.cpu_count()} CPU cores", help="in the report")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/forgetting.json"))
    return parser


def _context(model: str, test_items: int) -> Context:
    """The chapter's standard settings, on the processor."""
    values = {one.name: one.default for one in fields(Parameters)} | {"test_items": test_items}
    return Context(
        lm=models.load(model, "cpu", "float32"),
        parameters=SimpleNamespace(**values),
        seed=0,
        data="world",
        cache=Cache(),
        progress=print,
    )


def _shuffled(tasks: list[Sequence[TwoWay]]) -> list[Sequence[TwoWay]]:
    """The tasks in an order in which the long prompts do not stand together."""
    order = np.random.default_rng(0).permutation(len(tasks))
    return [tasks[place] for place in order]


def _timed(function: Callable[[], Any]) -> tuple[Seconds, Any]:
    """How long a call took, and what it returned."""
    clock, processor = time.perf_counter(), time.process_time()
    value = function()
    return Seconds(time.perf_counter() - clock, time.process_time() - processor), value


def _median(found: Sequence[Seconds]) -> Seconds:
    return Seconds(
        statistics.median(one.clock for one in found),
        statistics.median(one.processor for one in found),
    )


def _rounded(value: Any) -> Any:
    """Numbers with :data:`DIGITS` significant digits, throughout."""
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}")
    if isinstance(value, dict):
        return {str(key): _rounded(entry) for key, entry in value.items()}
    return [_rounded(entry) for entry in value] if isinstance(value, list) else value


def _summary(report: dict[str, Any]) -> str:
    found, line = report["comparison"], report["growth"]
    seconds = [row["seconds"] for row in report["whole_tasks"]]
    theirs = ", ".join(f"{one['clock']:.1f} s ({size})" for size, one in found["theirs"].items())
    return (
        f"{found['items']} items: {found['ours']['clock']:.1f} s, "
        f"{found['first']['clock']:.1f} s the first time; lm-eval, by batch size: {theirs}; ratio "
        f"of processor times {found['ratios']['best']:.2f} to its best batch size, "
        f"{found['ratios']['default']:.2f} to its smallest; largest difference "
        f"{found['largest_difference']:.1g} nats; {found['different_answers']} items answered "
        "differently.\n"
        f"{line['milliseconds']:.2f} ms an item, r² {line['r_squared']:.4f}.\n"
        f"A forgotten task: {min(seconds):.1f} to {max(seconds):.1f} s."
    )


if __name__ == "__main__":
    main()
