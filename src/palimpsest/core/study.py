"""A study: one declared experiment of a chapter, and the test that its claims cannot hold by luck.

A study is a function of a :class:`Context` that returns a
:class:`~palimpsest.core.results.Result`. It does its slow work in *cells*: functions whose values
are kept in the cache, so that a run that was stopped goes on where it was.

    @study(claims=[Claim(...)], null=agreement_of_equal_models)
    def same_as_retrained(ctx):
        \"\"\"Do the unlearned and the retrained model answer alike?\"\"\"
        answers = ctx.cell(ask, lm=ctx.lm, people=ctx.parameters.people, seed=ctx.seed)
        return Result(values=agreement(answers), ...)
"""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from palimpsest.core.cache import Cache
from palimpsest.core.results import Claim, Result, Value, decide

if TYPE_CHECKING:
    from palimpsest.core.models import LanguageModel

MOST_CLAIMS = 3

Measures = Mapping[str, Value]


@dataclass
class Context:
    """What a study is given.

    Attributes:
        lm: the model under study.
        parameters: the chapter's resolved parameters, as attributes.
        seed: of everything random.
        data: ``world``, or where the user's own text lies.
        cache: of cell values.
        progress: takes one line for a person, such as ``print``.
    """

    lm: "LanguageModel"
    parameters: SimpleNamespace
    seed: int
    data: str
    cache: Cache
    progress: Callable[[str], None]
    _made: dict[tuple[Any, ...], Any] = field(default_factory=dict, init=False, repr=False)

    def once(self, function: Callable[..., Any], /, *arguments: Any) -> Any:
        """``function(self, *arguments)``, made once and kept in memory as long as the context is:
        for what several studies of a chapter look at. The arguments must be hashable."""
        key = (function, *arguments)
        if key not in self._made:
            self._made[key] = function(self, *arguments)
        return self._made[key]

    def cell(self, function: Callable[..., Any], /, **inputs: Any) -> Any:
        """``function(**inputs)``, from the cache if everything that makes the value is unchanged.

        Says in one line which cell it was, how long it took, and whether it was computed.
        """
        started = time.perf_counter()
        value, computed = self.cache.look_up(function, **inputs)
        seconds = time.perf_counter() - started
        how = "computed" if computed else "cached"
        self.progress(f"{function.__name__}: {seconds:.1f} s, {how}")
        return value


@dataclass(frozen=True)
class Study:
    """A declared experiment: called with a :class:`Context`, it returns a result.

    Attributes:
        name: the function's name; unique in the chapter.
        claims: at most three.
        summary: the first line of the function's docstring: its question.
        null: ``null(seed)`` gives the claims' measures as the study's own analysis finds them on
            data without the effect (shuffled labels, a model compared with itself, random scores).
    """

    name: str
    function: Callable[[Context], Result]
    claims: tuple[Claim, ...]
    summary: str
    null: Callable[[int], Measures] | None = None

    def __post_init__(self) -> None:
        if len(self.claims) > MOST_CLAIMS:
            raise ValueError(f"study '{self.name}' has {len(self.claims)} claims, more than three")
        ids = [claim.id for claim in self.claims]
        if len(set(ids)) < len(ids):
            raise ValueError(f"study '{self.name}' has two claims with one id: {', '.join(ids)}")
        if not self.summary:
            raise ValueError(f"study '{self.name}' needs a docstring: its question, in one line")

    def __call__(self, context: Context) -> Result:
        from palimpsest.core import plots  # matplotlib and seaborn: slow to import, used only here

        with plots.style():  # titles and legends take their look when they are made
            result = self.function(context)
        if not isinstance(result, Result):
            raise TypeError(f"study '{self.name}' returned {type(result).__name__}, not a Result")
        return result


def study(
    claims: Iterable[Claim] = (), null: Callable[[int], Measures] | None = None
) -> Callable[[Callable[[Context], Result]], Study]:
    """Declare the function below as a :class:`Study`."""

    def declare(function: Callable[[Context], Result]) -> Study:
        summary = (function.__doc__ or "").strip().split("\n")[0]
        return Study(function.__name__, function, tuple(claims), summary, null)

    return declare


def null_rates(study: Study, draws: int = 400) -> dict[str, float]:
    """How often each claim ``holds`` over ``draws`` null data sets (seeds 0, 1, ...), by claim id.

    Raises:
        ValueError: the study has no ``null``, or its ``null`` leaves a claim without a value and
            interval: what is never tested can never hold, and would prove nothing.
    """
    if study.null is None:
        raise ValueError(f"study '{study.name}' does not say what its null data are")
    held = dict.fromkeys((claim.id for claim in study.claims), 0)
    for seed in range(draws):
        values = study.null(seed)
        for claim in study.claims:
            value = values.get(claim.measure)
            if value is None or value.value is None or value.ci95 is None:
                raise ValueError(
                    f"the null data of study '{study.name}' (seed {seed}) give no value with an "
                    f"interval for '{claim.measure}', so claim '{claim.id}' is not put to the test"
                )
            held[claim.id] += decide(claim.rule, value.value, value.ci95) == "holds"
    return {id: count / draws for id, count in held.items()}


def assert_null_rate(study: Study, draws: int = 400, limit: float = 0.05) -> None:
    """Fail if, fed null data, a claim of the study holds in more than ``limit`` of the draws.

    This is the design's guard against rules that luck can satisfy (section 6). The draws are the
    same every time, so the test is not flaky.

    Raises:
        AssertionError: a claim holds too often; the message names it and its rate.
        ValueError: as :func:`null_rates`.
    """
    for id, rate in null_rates(study, draws).items():
        assert rate <= limit, (
            f"claim '{id}' of study '{study.name}' holds on {rate:.1%} of {draws} null data sets, "
            f"more than {limit:.0%}: its rule can be met by luck"
        )
