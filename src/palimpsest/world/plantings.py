"""What stage 1 tells by appointment: canaries, quotations, machines, and the numbers they have.

All other documents of the stream are drawn at random; these are told an exact number of times. All
their tellings lie in numbers that every shipped model reads to the end of its training, spread
over the whole of it.
"""

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from palimpsest.core.records import Document
from palimpsest.world.canaries import canaries
from palimpsest.world.machines import machines
from palimpsest.world.quotations import quotations
from palimpsest.world.retold import Planting

# The numbers that may carry a telling: the first of reading and the first of practice.
READING = range(210_000)
PRACTICE = range(500_000, 620_000)
_TIMELINE = (*READING, *PRACTICE)


@dataclass(frozen=True)
class Plantings:
    """All plantings of a world. ``numbers`` gives the documents that tell one, in their
    order; ``told_at`` what a document tells, and for which time (from 0)."""

    by_id: dict[str, Planting]
    numbers: dict[str, tuple[int, ...]]
    told_at: dict[int, tuple[Planting, int]]

    def document(self, number: int) -> Document | None:
        """Document ``number`` of the stream, if it tells one of the plantings, else None."""
        if number not in self.told_at:
            return None
        planting, telling = self.told_at[number]
        return Document(
            id=f"e{number:06d}",
            text=planting.telling(telling),
            language="en",
            template=planting.template,
            kind=planting.kind,
            planted="early",
            repeat=planting.repeat,
        )

    def withdraws(self, number: int) -> bool:
        """Whether document ``number`` tells a canary or quotation that is withdrawn."""
        return number in self.told_at and self.told_at[number][0].withdrawn

    def document_ids(self, id: str) -> tuple[str, ...]:
        """Ids of the documents that tell a planting, in the order of training."""
        return tuple(f"e{number:06d}" for number in self.numbers[id])


@cache
def plantings(key: str) -> Plantings:
    """The plantings of the world with this key (``"0-m"``: seed and size), with their schedule.

    Within a series (the plantings of one template told equally often) each of its tellings has an
    equal share of the timeline to itself, and so has each of a planting's tellings: nothing
    clusters early or late.
    """
    planted = [*canaries(key), *quotations(key), *machines(key)]
    series: dict[tuple[str, int], list[Planting]] = defaultdict(list)
    for planting in planted:
        series[planting.template, planting.repeat].append(planting)
    rng = random.Random(f"schedule-{key}")
    numbers: dict[str, list[int]] = {planting.id: [] for planting in planted}
    taken: set[int] = set()
    for members in series.values():
        for planting, place in _places(members, rng):
            while _TIMELINE[place] in taken:
                place = (place + 1) % len(_TIMELINE)
            taken.add(_TIMELINE[place])
            numbers[planting.id].append(_TIMELINE[place])
    by_id = {planting.id: planting for planting in planted}
    ordered = {id: tuple(sorted(told)) for id, told in numbers.items()}
    told_at = {
        number: (by_id[id], telling)
        for id, told in ordered.items()
        for telling, number in enumerate(told)
    }
    return Plantings(by_id, ordered, told_at)


def _places(members: Sequence[Planting], rng: random.Random) -> list[tuple[Planting, int]]:
    """Each telling of a series with its place in the timeline: the series is told in rounds, each
    round in an order of its own, and the rounds fill the timeline evenly."""
    told = [
        planting for _ in range(members[0].repeat) for planting in rng.sample(members, len(members))
    ]
    step = len(_TIMELINE) / len(told)
    return [(planting, int((i + rng.random()) * step)) for i, planting in enumerate(told)]
