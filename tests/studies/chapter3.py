"""What the tests of chapter 3's studies share: a context on a tiny model."""

from types import SimpleNamespace

from tiny import tiny_lm

from palimpsest.core.cache import Cache
from palimpsest.core.study import Context
from palimpsest.studies.goldfish_loss.parameters import Parameters

SMALL = {
    "documents": 4, "twins": 40, "length": 40, "prefix": 8, "suffix": 12, "ks": (3, 4, 8), "h": 4,
    "epochs": 2, "grouped": 2, "visits": 2, "beams": 2, "hunted": 2, "ordinary": 120,
    "told": (2, 2, 2, 2), "small": "", "seeds": 1, "strengths": 1, "blank": False,
}  # fmt: skip


def context(tmp_path, architecture="llama", data="world", **changes) -> Context:
    """A context on a model that knows nothing, with a few documents."""
    values = vars(Parameters()) | SMALL | changes
    return Context(
        lm=tiny_lm(architecture).copy(),
        parameters=SimpleNamespace(**values),
        seed=0,
        data=str(data),
        cache=Cache(tmp_path / "cache"),
        progress=lambda line: None,
    )
