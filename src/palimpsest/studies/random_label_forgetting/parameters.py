"""What may be set in chapter 2."""

from dataclasses import dataclass

from palimpsest.core.errors import UserError
from palimpsest.forgetting.items import FEWEST
from palimpsest.forgetting.protocol import Tuning


@dataclass(frozen=True)
class Parameters:
    """What may be set; learning rates are those of a network of width 128 (``controls.scaled``).

    Attributes:
        tasks: names of tasks, in ``data`` or lm-eval's own; none stands for all tasks of ``data``.
        sources: tasks whose labels are randomised for the grid; 0 is all of them.
        draws: how often labels and the order of the items are drawn for each cell of the grid.
        controlled: tasks of the controls, probes, orders and predictions.
        train_items, test_items: most items of a task.
        fewer_items: most items to forget on where fewer are compared with all.
        probe_items: most training items of a probe.
        relearn_steps: most steps of relearning.
        tuning_epochs, tuning_rate: of tuning on the true labels of all tasks together.
        epochs, learning_rate, batch_size, lora_rank, stop_at: of tuning on random labels
            (``forgetting.protocol.Tuning``; ``stop_at`` 1 spends the whole budget).
        earlier: a model that knows the tasks less well, for the regimes; empty for none.
        relatives: other models to be compared, such as smaller and larger ones. Names of shipped
            models count only beside the shipped ``palimpsest-m``.
    """

    tasks: tuple[str, ...] = ()
    sources: int = 0
    draws: int = 3
    controlled: int = 6
    train_items: int = 400
    test_items: int = 200
    fewer_items: int = 100
    probe_items: int = 200
    relearn_steps: int = 60
    tuning_epochs: int = 2
    tuning_rate: float = 3e-4
    epochs: int = 30
    learning_rate: float = 5e-4
    batch_size: int = 32
    lora_rank: int = 0
    stop_at: float = 0.95
    earlier: str = "palimpsest-m-third"
    relatives: tuple[str, ...] = ("palimpsest-s", "palimpsest-l", "palimpsest-m-twin")

    def __post_init__(self) -> None:
        least = {"sources": 0, "lora_rank": 0, "controlled": 2}
        least |= dict.fromkeys(("train_items", "test_items", "fewer_items", "probe_items"), FEWEST)
        for name, value in vars(self).items():
            if name in ("tasks", "earlier", "relatives", "stop_at"):
                continue
            if name in ("tuning_rate", "learning_rate"):
                if not 0 < value < 1:
                    raise UserError(f"{name} is {value}; a rate above 0 and below 1 was expected.")
            elif value < least.get(name, 1):
                raise UserError(f"{name} is {value}; at least {least.get(name, 1)} was expected.")
        Tuning(stop_at=None if self.stop_at == 1 else self.stop_at)  # refuses what no rule can be
