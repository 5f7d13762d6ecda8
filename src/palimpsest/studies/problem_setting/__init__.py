"""Chapter 1: what "forgetting" may mean for a language model.

One module a question; all look at the same models, which :mod:`.cast` makes once.
"""

from types import SimpleNamespace

from palimpsest.studies.lessons import open_lesson
from palimpsest.studies.problem_setting import (
    early_facts,
    inside,
    late_facts,
    scenarios,
    scope,
    taxonomy,
    yardsticks,
)
from palimpsest.studies.problem_setting.parameters import Parameters

__all__ = ["STUDIES", "Parameters", "preflight"]

_MODULES = (late_facts, taxonomy, scope, yardsticks, early_facts, scenarios, inside)
STUDIES = {one.name: one for module in _MODULES for one in module.STUDIES}


def preflight(data: str, parameters: SimpleNamespace, seed: int) -> None:
    """Refuse data that the chapter cannot be run on, before anything is started.

    Raises:
        UserError: as :func:`~palimpsest.studies.lessons.open_lesson`.
    """
    p = parameters
    open_lesson(data, p.people, p.documents_per_person, p.choices, seed)
