"""What may be set in chapter 1."""

from dataclasses import dataclass

from palimpsest.core.errors import UserError

# Candidates from which development questions choose; rates of a network of width 128.
FORGETTING_RATES = (2.5e-4, 5e-4, 1e-3)
RELEARNING_RATES = (1e-4, 3e-4, 1e-3)


def forgetting_rates(count: int) -> tuple[float, ...]:
    """The ``count`` largest candidates: with few to try, those that need the fewest steps."""
    return FORGETTING_RATES[-count:]


@dataclass(frozen=True)
class Parameters:
    """What may be set; ``learning_rate`` is that of a network of width 128 (``controls.scaled``).

    Rates of forgetting and relearning are not set but chosen on development questions.
    """

    people: int = 20
    documents_per_person: int = 60
    choices: int = 8
    seeds: int = 1
    epochs: int = 2
    learning_rate: float = 2e-3
    batch_size: int = 16
    pack_length: int = 128
    lora_rank: int = 0
    forget_steps: int = 60
    forget_rates: int = 3
    relearn_steps: int = 20
    early_documents: int = 20_000
    probed_people: int = 20
    task_items: int = 60

    def __post_init__(self) -> None:
        least = {"people": 2, "choices": 2, "pack_length": 8, "lora_rank": 0}
        for name, value in vars(self).items():
            if name == "learning_rate":
                if not 0 < value < 1:
                    raise UserError(f"{name} is {value}; a rate above 0 and below 1 was expected.")
            elif value < least.get(name, 1):
                raise UserError(f"{name} is {value}; at least {least.get(name, 1)} was expected.")
        if self.forget_rates > len(FORGETTING_RATES):
            raise UserError(
                f"forget_rates is {self.forget_rates}; there are {len(FORGETTING_RATES)} to choose "
                "from."
            )
