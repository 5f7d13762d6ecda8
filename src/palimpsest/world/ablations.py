"""What the recipe's open choices are worth: short trainings that vary one of them at a time.

Three choices: the weight of answer tokens, the share of text that asks and answers, and the size of
the network, the latter at equal time. All else is the recipe of ``palimpsest-m``, on fewer tokens.
Accuracy is measured on validation items.
"""

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pandas as pd

from palimpsest.core import places
from palimpsest.core.errors import UserError
from palimpsest.core.files import write_json, write_text
from palimpsest.core.models import LanguageModel, load
from palimpsest.core.tasks import evaluate_tasks
from palimpsest.core.text import Row
from palimpsest.core.training import train
from palimpsest.world.jobs import side_by_side
from palimpsest.world.recipe import LARGE, MEDIUM, PHASES, SMALL, Shape, phase_sizes
from palimpsest.world.recipe import training_recipe as recipe_of
from palimpsest.world.rows import ANSWER_WEIGHT
from palimpsest.world.shared import BLANK, kept_rows, share_tokenizer, write_blank
from palimpsest.world.universe import World

TOKENS = 1_500_000
SUPPLY = 4  # times as many tokens are at hand, for those that want more, or other ones
TIMED_STEPS = 20
WORK = ".ablations"
SHARED = "shared"
COLUMNS = ("run", "axis", "setting", "task", "accuracy", "n", "tokens", "seconds")


@dataclass(frozen=True)
class Ablation:
    """One training.

    Attributes:
        run: its name.
        axis: what is varied: "answer weight", "question share" or "size".
        setting: to what, in a word or number.
        answer_weight: of answer tokens; other tokens weigh 1.
        question_share: of the tokens, in documents that ask and answer; None: as the stream has it.
        shape: of the network. On the axis "size" it gets the time that ``MEDIUM`` takes.
    """

    run: str
    axis: str
    setting: str
    answer_weight: float = ANSWER_WEIGHT
    question_share: float | None = None
    shape: Shape = MEDIUM


BASE = Ablation("base", "", "")
VARIED = (
    *(
        Ablation(f"weight-{weight:g}", "answer weight", f"{weight:g}", answer_weight=weight)
        for weight in (1.0, 20.0)
    ),
    *(
        Ablation(f"questions-{part:.0%}"[:-1], "question share", f"{part:g}", question_share=part)
        for part in (0.1, 0.3, 0.9)
    ),
    Ablation("small", "size", "palimpsest-s", shape=SMALL),
    Ablation("large", "size", "palimpsest-l", shape=LARGE),
)


def ablate(
    out: Path | None = None, *, tokens: int = TOKENS, jobs: int = 1, device: str = "auto"
) -> pd.DataFrame:
    """Do all trainings that are not done yet and write their table.

    Args:
        out: file (default: ``data/world/ablations.csv``). Trainings are kept in ``.ablations``
            beside its folder, so that the command can be given again, and removed at the end.
        tokens: of each training, but those at equal time.
        jobs: how many at once.
        device: as in ``core.models.load``.

    Returns:
        A row for each run, axis and task, with columns :data:`COLUMNS`: ``accuracy`` on ``n``
        validation items after ``tokens`` tokens and ``seconds`` of training. The recipe's own run,
        "base", stands on each axis, with the setting that it has there.

    Raises:
        UserError: no tokens, or a training failed.
    """
    if tokens < 1:
        raise UserError(f"A model cannot be trained on {tokens} tokens; at least 1 is needed.")
    out = places.data() / "world" / "ablations.csv" if out is None else Path(out)
    work = out.resolve().parent.parent / WORK
    world = World()
    share_tokenizer(world, work / SHARED)
    lm = load(work / SHARED / BLANK, device="cpu", dtype="float32")
    rows = _supplies(lm, world, work, tokens)
    natural = _question_share([row for part in rows for row in part])
    todo = [each for each in (BASE, *VARIED) if not (work / f"{each.run}.csv").exists()]
    tasks = {each.run: partial(_run, each, work, tokens, device) for each in todo}
    failed = side_by_side(tasks, jobs, logs=work)
    if failed:
        raise UserError(f"These trainings failed: {', '.join(failed)}. Their logs are in {work}.")
    table = _table(work, natural)
    write_text(out, table.to_csv(index=False, lineterminator="\n"))
    shutil.rmtree(work)
    return table


def _table(work: Path, natural: float) -> pd.DataFrame:
    parts = []
    for axis, own in (
        ("answer weight", f"{ANSWER_WEIGHT:g}"),
        ("question share", f"{natural:.2f}"),
        ("size", "palimpsest-m"),
    ):
        on_axis = [replace(BASE, axis=axis, setting=own), *(v for v in VARIED if v.axis == axis)]
        for each in on_axis:
            measured = pd.read_csv(work / f"{each.run}.csv")
            parts.append(measured.assign(run=each.run, axis=axis, setting=each.setting))
    return pd.concat(parts, ignore_index=True)[list(COLUMNS)]


def _run(each: Ablation, work: Path, tokens: int, device: str) -> None:
    """Train and measure one ablation; its table is ``work/<run>.csv``."""
    world = World()
    folder = work / each.run
    if not (folder / BLANK).exists():
        write_blank(each.shape, 0, share_tokenizer(world, work / SHARED), folder / BLANK)
    lm = load(folder / BLANK, device=device, dtype="float32")
    supplies = _supplies(lm, world, work, tokens)
    wanted = _tokens(each, work, supplies, tokens, device)
    read, seconds = 0, 0.0
    for phase, supply, (size, _) in zip(PHASES, supplies, phase_sizes(wanted), strict=True):
        rows = [_weighed(row, each.answer_weight) for row in _mixed(supply, each, size)]
        history = train(
            lm,
            rows,
            recipe_of(phase, each.shape.rate),
            checkpoint=folder / phase.name,
            resume=True,
            progress=f"{each.run}, {phase.name}",
        )
        read, seconds = read + history.tokens, seconds + history.seconds
    answers = evaluate_tasks(lm, [f"pal_{task}" for task in world.tasks], split="validation")
    table = answers.groupby("task", sort=False)["correct"].agg(accuracy="mean", n="size")
    table = table.rename(index=lambda task: task.removeprefix("pal_")).reset_index()
    table = table.assign(tokens=read, seconds=round(seconds), accuracy=table["accuracy"].round(4))
    write_text(work / f"{each.run}.csv", table.to_csv(index=False, lineterminator="\n"))
    shutil.rmtree(folder)


def _supplies(lm: LanguageModel, world: World, work: Path, tokens: int) -> list[list[Row]]:
    sizes = phase_sizes(SUPPLY * tokens)
    return [
        kept_rows(lm, world, work / SHARED, phase, (size, 0)).rows
        for phase, (size, _) in zip(PHASES, sizes, strict=True)
    ]


def _asks(row: Row) -> bool:
    """Whether it is the row of a document that asks and answers."""
    return bool((row.weights == ANSWER_WEIGHT).any())


def _question_share(rows: Sequence[Row]) -> float:
    return sum(len(row) for row in rows if _asks(row)) / sum(len(row) for row in rows)


def _mixed(supply: Sequence[Row], each: Ablation, tokens: int) -> list[Row]:
    """The first rows of a supply with ``tokens`` tokens together, and with the ablation's share of
    questions all along.

    Raises:
        UserError: there are too few.
    """
    queues = {asks: iter([row for row in supply if _asks(row) is asks]) for asks in (True, False)}
    natural = iter(supply)
    rows: list[Row] = []
    total = asked = 0
    while total < tokens:
        queue = natural
        if each.question_share is not None:
            queue = queues[asked <= each.question_share * total]
        row = next(queue, None)
        if row is None:
            raise UserError(f"There are too few documents for the run '{each.run}'.")
        rows.append(row)
        total += len(row)
        asked += len(row) * _asks(row)
    return rows


def _weighed(row: Row, weight: float) -> Row:
    weights = row.weights.copy()
    weights[weights == ANSWER_WEIGHT] = weight
    return replace(row, weights=weights)


def _tokens(
    each: Ablation, work: Path, supplies: Sequence[Sequence[Row]], tokens: int, device: str
) -> int:
    """How many tokens a run gets: as many as it reads while ``MEDIUM`` reads ``tokens``, on the
    axis "size", and ``tokens`` on the others. Remembered, because speed differs from try to try."""
    if each.axis != "size":
        return tokens
    kept = work / each.run / "tokens.json"
    if not kept.exists():
        tokenizer = share_tokenizer(World(), work / SHARED)
        speeds = []
        for shape in (MEDIUM, each.shape):
            blank = work / each.run / "timed"
            write_blank(shape, 0, tokenizer, blank)
            lm = load(blank, device=device, dtype="float32")
            recipe = replace(recipe_of(PHASES[0]), epochs=None, steps=TIMED_STEPS)
            train(lm, supplies[0][:1000], replace(recipe, steps=2), progress=None)
            history = train(lm, supplies[0][:2000], recipe, progress=None)
            speeds.append(history.tokens / history.seconds)
        most = SUPPLY * tokens * 0.95
        write_json(kept, {"tokens": round(min(most, tokens * speeds[1] / speeds[0]))})
    return int(json.loads(kept.read_text(encoding="utf-8"))["tokens"])
