"""Chapter 3: can a model be kept from reciting by never asking it for some of the tokens?

One module a question; all look at the same trainings (``studies.verbatim_training``), which
:mod:`.cast` asks for once.
"""

from types import SimpleNamespace

from palimpsest.core.documents import read_documents
from palimpsest.studies.goldfish_loss import (
    attacks,
    heart,
    inside,
    leaving,
    masks,
    membership,
    price,
    shoot_out,
    told,
)
from palimpsest.studies.goldfish_loss.parameters import Parameters
from palimpsest.studies.verbatim_texts import is_path

__all__ = ["STUDIES", "Parameters", "preflight"]

_MODULES = (heart, leaving, told, price, masks, attacks, membership, shoot_out, inside)
STUDIES = {one.name: one for module in _MODULES for one in module.STUDIES}


def preflight(data: str, parameters: SimpleNamespace, seed: int) -> None:
    """Refuse a file or folder that cannot be read, before anything is started.

    Raises:
        DataError: as ``core.documents.read_documents``, on the first document.
    """
    if data != "world" and is_path(data):
        next(iter(read_documents(data)))
