"""What may be set in chapter 3."""

from dataclasses import dataclass

from palimpsest.core.errors import UserError


@dataclass(frozen=True)
class Parameters:
    """What may be set; learning rates are those of a network of width 128 (``controls.scaled``).

    Attributes:
        documents: documents that are learned by heart.
        twins: documents like them that nobody reads, for floors and membership.
        length: tokens of each that are used; shorter documents are left out and counted.
        prefix, suffix: tokens given and tokens asked for.
        ks: one token in so many is masked, a training for each.
        h: tokens that decide on the next one.
        epochs, learning_rate, batch_size: of learning by heart.
        grouped: documents of each group in the training with many masks.
        visits: how often that training goes through them.
        beams: continuations that a search follows side by side.
        hunted: documents that are searched for.
        ordinary: documents of ordinary text in the ordinary trainings.
        told: documents of each number of tellings (``pool.TELLINGS``) in those.
        ordinary_rate: their learning rate.
        blank: they start from random weights, not from what the model knows.
        small: the model of the ordinary trainings. A shipped model's name counts only beside the
            shipped ``palimpsest-m``; empty, or for another model, it is the model of the run.
        seeds: seeds of the ordinary trainings. Each tells one half of the documents, in turn.
        strengths: of each way to prevent memorization.
    """

    documents: int = 100
    twins: int = 2000
    length: int = 96
    prefix: int = 32
    suffix: int = 50
    ks: tuple[int, ...] = (3, 4, 8, 32, 128)
    h: int = 13
    epochs: int = 20
    learning_rate: float = 2e-3
    batch_size: int = 16
    grouped: int = 12
    visits: int = 40
    beams: int = 20
    hunted: int = 32
    ordinary: int = 16000
    told: tuple[int, ...] = (40, 24, 12, 10)
    ordinary_rate: float = 1e-3
    blank: bool = True
    small: str = "palimpsest-s"
    seeds: int = 2
    strengths: int = 3

    def __post_init__(self) -> None:
        least = {
            "documents": 4, "twins": 4, "length": 8, "h": 1, "grouped": 2, "hunted": 2,
            "ordinary": 64, "strengths": 1,
        }  # fmt: skip
        for name, value in vars(self).items():
            if name in ("ks", "told", "blank", "small"):
                continue
            if name in ("learning_rate", "ordinary_rate"):
                if not 0 < value < 1:
                    raise UserError(f"{name} is {value}; a rate above 0 and below 1 was expected.")
            elif value < least.get(name, 1):
                raise UserError(f"{name} is {value}; at least {least.get(name, 1)} was expected.")
        if self.strengths > 3:
            raise UserError(f"strengths is {self.strengths}; there are three of each method.")
        if not self.ks or min(self.ks) < 2 or 4 not in self.ks:
            raise UserError(
                f"ks is {', '.join(map(str, self.ks)) or 'empty'}; whole numbers of at least 2 "
                "were expected, 4 among them, which the paper's claims are about."
            )
        if len(self.told) != 4 or min(self.told) < 2:
            raise UserError(
                f"told is {', '.join(map(str, self.told)) or 'empty'}; four numbers of at least 2 "
                "were expected: documents told once, 4, 16 and 64 times."
            )
        if self.prefix + self.suffix > self.length:
            raise UserError(
                f"prefix {self.prefix} and suffix {self.suffix} are more than the length "
                f"{self.length}. Make one of them shorter, or the documents longer."
            )
