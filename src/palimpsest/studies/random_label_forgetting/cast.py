"""The tasks and models of chapter 2, made once and looked at by all of its studies.

θ_0 is the *pretrained* model as it comes. θ_ft, the *tuned* one, is θ_0 after tuning on the true
labels of all tasks together, so that every forgetting starts from the same model and one vector of
accuracies is the reference (random-label digest, section 3, no. 5). θ_rl(s) is θ_ft after tuning on
random labels of the task s.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from palimpsest.core import files, models, places
from palimpsest.core.digests import of_inputs
from palimpsest.core.errors import DataError, UserError
from palimpsest.core.models import LanguageModel
from palimpsest.core.study import Context
from palimpsest.forgetting.items import TaskItems, TwoWay, load_items
from palimpsest.forgetting.labels import Scheme
from palimpsest.forgetting.protocol import Tuned, Tuning, answer_items, tune
from palimpsest.studies.controls import Weights, scaled, weights_of, with_weights

# One task of each domain and one more, three with shared answer words and three without. They come
# first where only some tasks are looked at.
SENTINELS = (
    "pal_people_facts", "pal_parity", "pal_nli", "pal_tone", "pal_rc_what", "pal_sentiment",
)  # fmt: skip
OWN = "palimpsest-m"  # the model whose relatives are shipped


# --- tasks --------------------------------------------------------------------------------------


def open_items(
    data: str, tasks: Sequence[str], train_items: int, test_items: int, seed: int
) -> dict[str, TaskItems]:
    """Two-way items by task.

    Args:
        data: ``world``, or a folder with lm-eval YAML files.
        tasks: names, in the folder or among lm-eval's own; none stands for all of the folder.

    Raises:
        UserError, DataError: as ``forgetting.items.load_items``; or the folder is none, or holds no
            tasks.
    """
    folder = places.tasks() if data == "world" else Path(data).expanduser()
    if not folder.is_dir():
        raise UserError(
            f"Chapter 2 cannot use the data '{data}': it is no folder. Give 'world', or a folder "
            "with multiple-choice tasks as YAML files of lm-eval; name lm-eval's own tasks by the "
            "parameter 'tasks'."
        )
    names = list(tasks) or _tasks_of(folder)
    return load_items(
        names,
        folder,
        defaults=bool(tasks),
        train_cap=train_items,
        test_cap=test_items,
        seed=seed,
    )


def _tasks_of(folder: Path) -> list[str]:
    found = []
    # Like lm-eval: subfolders too, and no other ending.
    for path in sorted(folder.rglob("*.yaml")):
        text = files.read_text(path, what="task file")
        name = re.search(r"^task:[ \t]*[\"']?([\w.-]+)", text, re.MULTILINE)
        if name:
            found.append(name[1])
    if not found:
        raise DataError(
            f"The folder {folder} has no tasks; at least one YAML file with a line 'task: NAME' "
            "was expected."
        )
    return found


def items_of(ctx: Context) -> dict[str, TaskItems]:
    """The items of all tasks of the run, sentinels first, read once."""
    return ctx.once(_items)


def _items(ctx: Context) -> dict[str, TaskItems]:
    p = ctx.parameters
    found = open_items(ctx.data, p.tasks, p.train_items, p.test_items, ctx.seed)
    return {task: found[task] for task in _in_order(found)}


def _in_order(found: dict[str, TaskItems]) -> list[str]:
    """The sentinels, then, turn about, content tasks and tasks with shared words."""
    first = [task for task in SENTINELS if task in found]
    kinds = [
        [task for task in found if task not in first and found[task].kind == kind]
        for kind in ("content", "shared")
    ]
    turns = sorted((place, side) for side, names in enumerate(kinds) for place in range(len(names)))
    return first + [kinds[side][place] for place, side in turns]


def controlled(ctx: Context) -> list[str]:
    """The tasks that the slower studies look at."""
    return list(items_of(ctx))[: ctx.parameters.controlled]


def sources(ctx: Context) -> list[str]:
    """The tasks whose labels the grid randomises."""
    return list(items_of(ctx))[: ctx.parameters.sources or None]


class Many(Sequence[TwoWay]):
    """Items of many tasks, whose digest for the cache is made once: there are thousands."""

    def __init__(self, items: Iterable[TwoWay]) -> None:
        self.items = tuple(items)

    def __getitem__(self, place: Any) -> Any:
        return self.items[place]

    def __len__(self) -> int:
        return len(self.items)

    def fingerprint(self) -> str:
        """A digest of the items, in their order."""
        return self._fingerprint

    @cached_property
    def _fingerprint(self) -> str:
        return of_inputs({"items": self.items})


def asked(ctx: Context) -> Many:
    """The test items of all tasks."""
    return ctx.once(_asked)


def _asked(ctx: Context) -> Many:
    return Many(item for one in items_of(ctx).values() for item in one.test)


def _taught(ctx: Context) -> Many:
    return Many(item for one in items_of(ctx).values() for item in one.train)


def kinds(ctx: Context) -> dict[str, str]:
    """Task -> ``shared`` or ``content``."""
    return {task: one.kind for task, one in items_of(ctx).items()}


def label(task: str) -> str:
    """A task's name for figures and tables."""
    return task.removeprefix("pal_").replace("_", " ")


# --- cells: their values are kept in the cache ------------------------------------------------


@dataclass(frozen=True)
class Outcome:
    """What a tuning made of a model: its weights (None if they were not to be kept), what the
    tuning did, and the answers afterwards (``forgetting.protocol.answer_items``)."""

    weights: Weights | None
    tuned: Tuned
    answers: pd.DataFrame


def tuned_on(
    lm: LanguageModel,
    weights: Weights | None,
    items: Sequence[TwoWay],
    scheme: Scheme,
    settings: Tuning,
    seed: int,
    asked: Sequence[TwoWay],
    keep: bool,
    watched: tuple[TwoWay, ...] = (),
    every: int = 1,
) -> Outcome:
    """``lm``, with ``weights`` if there are any, after tuning on ``items`` under a label scheme.

    Args:
        asked: what it answers afterwards.
        keep: whether its weights come back.
        watched, every: as in ``forgetting.protocol.tune``.
    """
    student = lm.copy() if weights is None else with_weights(lm, weights)
    done = tune(
        student, items, scheme, settings, seed,
        watched=watched, every=every, progress=f"{scheme} labels",
    )  # fmt: skip
    answers = answer_items(student, asked, progress="answers")
    return Outcome(weights_of(student) if keep else None, done, answers)


def answered(lm: LanguageModel, weights: Weights | None, asked: Sequence[TwoWay]) -> pd.DataFrame:
    """The answers of ``lm``, with ``weights`` if there are any."""
    model = lm if weights is None else with_weights(lm, weights)
    return answer_items(model, asked, progress="answers")


# --- models -------------------------------------------------------------------------------------


def pretrained(ctx: Context) -> pd.DataFrame:
    """θ_0's answers to all tasks."""
    return ctx.once(_pretrained)


def _pretrained(ctx: Context) -> pd.DataFrame:
    return ctx.cell(answered, lm=ctx.lm, weights=None, asked=asked(ctx))


def start(ctx: Context) -> Outcome:
    """θ_ft: tuned on the true labels of all tasks together, with its answers to all of them."""
    return ctx.once(_start)


def _start(ctx: Context) -> Outcome:
    return start_of(ctx, ctx.lm)


def start_of(ctx: Context, lm: LanguageModel) -> Outcome:
    """:func:`start` of another model."""
    return ctx.cell(
        tuned_on, lm=lm, weights=None, items=ctx.once(_taught), scheme="true",
        settings=tuning(ctx, lm), seed=1000 * ctx.seed, asked=asked(ctx), keep=True,
    )  # fmt: skip


def forgotten(ctx: Context, source: str, draw: int = 0) -> Outcome:
    """θ_rl(source): the start after random labels, with its answers to all tasks; weights are kept
    for the first draw of the tasks that are :func:`controlled`."""
    return ctx.once(_forgotten, source, draw)


def _forgotten(ctx: Context, source: str, draw: int) -> Outcome:
    begun = start(ctx)
    return ctx.cell(
        tuned_on, lm=ctx.lm, weights=begun.weights, items=items_of(ctx)[source].train,
        scheme="random", settings=forgetting(ctx, ctx.lm), seed=label_seed(ctx, draw),
        asked=asked(ctx), keep=draw == 0 and source in controlled(ctx),
    )  # fmt: skip


def label_seed(ctx: Context, draw: int) -> int:
    """The seed of a label draw: of the coins and of the items' order."""
    return 1000 * ctx.seed + draw


def tuning(ctx: Context, lm: LanguageModel) -> Tuning:
    """How a model is tuned on true labels."""
    p = ctx.parameters
    return Tuning(p.tuning_epochs, scaled(lm, p.tuning_rate), p.batch_size, p.lora_rank)


def forgetting(ctx: Context, lm: LanguageModel, **changes: object) -> Tuning:
    """How a model is tuned on random labels; ``changes`` are fields of ``Tuning``."""
    p = ctx.parameters
    settings = Tuning(
        epochs=p.epochs,
        learning_rate=scaled(lm, p.learning_rate),
        batch_size=p.batch_size,
        lora_rank=p.lora_rank,
        stop_at=None if p.stop_at == 1 else p.stop_at,
    )
    return replace(settings, **changes)


def relatives(ctx: Context) -> dict[str, LanguageModel]:
    """The models to be compared, by name, loaded once."""
    return ctx.once(_relatives)


def earlier(ctx: Context) -> LanguageModel | None:
    """The model that knows the tasks less well, None if there is none."""
    return ctx.once(_earlier)


def _relatives(ctx: Context) -> dict[str, LanguageModel]:
    found = (_other(ctx, name) for name in ctx.parameters.relatives)
    return {lm.name: lm for lm in found if lm is not None}


def _earlier(ctx: Context) -> LanguageModel | None:
    return _other(ctx, ctx.parameters.earlier) if ctx.parameters.earlier else None


def _other(ctx: Context, name: str) -> LanguageModel | None:
    """A model on the device of the run's own; None for a shipped relative of another model."""
    if name in models.shipped_models() and ctx.lm.name != OWN:
        return None
    return models.load(name, ctx.lm.device.type, str(ctx.lm.dtype).removeprefix("torch."))
