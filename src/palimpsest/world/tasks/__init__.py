"""The two-way tasks of the world, five domains, in the order in which tables show them."""

from collections.abc import Collection

from palimpsest.world.people import Society
from palimpsest.world.tasks.base import Task
from palimpsest.world.tasks.commonsense import (
    AnimalFacts,
    AnimalYesNo,
    CauseEffect,
    Materials,
    PeopleFacts,
    ToolUse,
)
from palimpsest.world.tasks.language import Agreement, Antonym, Inference, Reference, Sentiment
from palimpsest.world.tasks.mathematics import Addition, Compare, Parity, Sequence
from palimpsest.world.tasks.reading import Temporal, What, Where
from palimpsest.world.tasks.toxicity import Harmful, KindReply, Tone

DOMAINS = ("commonsense", "reading", "mathematics", "toxicity", "language")


def make_tasks(seed: int, society: Society, asked: Collection[str]) -> dict[str, Task]:
    """All tasks by name; ``asked`` are the facts on people that may be asked in English, name
    first."""
    tasks = (
        AnimalFacts(seed), AnimalYesNo(seed), Materials(seed), ToolUse(seed), CauseEffect(seed),
        PeopleFacts(seed, society, asked),
        Where(seed), What(seed), Temporal(seed),
        Addition(seed), Compare(seed), Parity(seed), Sequence(seed),
        Tone(seed), Harmful(seed), KindReply(seed),
        Agreement(seed), Antonym(seed), Sentiment(seed), Inference(seed), Reference(seed),
    )  # fmt: skip
    return {task.name: task for task in tasks}
