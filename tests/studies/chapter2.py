"""What the tests of chapter 2's studies share: a context on a tiny model, and invented answers."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
from tiny import tiny_lm

from palimpsest.core.cache import Cache
from palimpsest.core.study import Context
from palimpsest.studies.random_label_forgetting.parameters import Parameters

TASKS = ("pal_people_facts", "pal_parity", "pal_nli", "pal_tone")
SMALL = {
    "tasks": TASKS, "sources": 3, "draws": 2, "controlled": 2, "train_items": 32, "test_items": 32,
    "fewer_items": 32, "probe_items": 32, "relearn_steps": 2, "tuning_epochs": 1, "epochs": 1,
    "earlier": "", "relatives": (),
}  # fmt: skip


def context(tmp_path, architecture="llama", **changes) -> Context:
    """A context on a model that knows nothing, with four tasks of the world."""
    values = vars(Parameters()) | SMALL | changes
    return Context(
        lm=tiny_lm(architecture).copy(),
        parameters=SimpleNamespace(**values),
        seed=0,
        data="world",
        cache=Cache(tmp_path / "cache"),
        progress=lambda line: None,
    )


def invented(
    rng: np.random.Generator, accuracy: dict[str, float], items: int = 60, **columns: object
) -> pd.DataFrame:
    """Answers (columns of ``forgetting.protocol.answer_items``) of tasks with given accuracies,
    independent of everything else; ``columns`` are added, such as ``source`` or ``draw``."""
    parts = []
    for task, share in accuracy.items():
        right = rng.random(items) < share
        margin = np.where(right, 1, -1) * rng.exponential(1.0, items)
        parts.append(
            pd.DataFrame(
                {
                    "task": task,
                    "item": [f"{task}/{place}" for place in range(items)],
                    "label": np.arange(items) % 2,
                    "margin": margin,
                    "p": 1 / (1 + np.exp(-margin)),
                    "correct": right,
                    "truncated": False,
                }
            )
        )
    return pd.concat(parts, ignore_index=True).assign(**columns)
