"""What a study returns, the verdict on its claims, and how a chapter's results lie on disk.

The form of ``results.json`` is that of the design, section 6. Code decides every claim, by the same
rule for every model.
"""

import json
import math
import re
import resource
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from palimpsest.core import files
from palimpsest.core.errors import RunError
from palimpsest.core.stats import Interval

if TYPE_CHECKING:
    import matplotlib.figure

SCHEMA = 1
FILE = "results.json"

Verdict = Literal["holds", "fails", "inconclusive", "not-tested"]
VERDICTS: tuple[Verdict, ...] = ("holds", "fails", "inconclusive", "not-tested")

_NAME = re.compile(r"[a-z][a-z0-9_]*")
_RULE = re.compile(
    r"\s*([a-z][a-z0-9_]*)\s*(<=|>=|<|>)\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*"
)


@dataclass(frozen=True)
class Value:
    """One number of a study: its 95 % interval (None if it has none), the ``n`` units behind it,
    its unit.

    What is not finite is no number: a NaN or infinite ``value`` becomes None, and an interval with
    such an end becomes None, so that results are always valid JSON.
    """

    value: float | None
    ci95: tuple[float, float] | None = None
    n: int | None = None
    unit: str = ""

    def __post_init__(self) -> None:
        value = None if self.value is None else _finite(self.value)
        ends = None if self.ci95 is None else tuple(_finite(end) for end in self.ci95)
        if value is None or ends is None or None in ends:
            ends = None
        elif len(ends) != 2 or ends[0] > ends[1]:
            raise ValueError(f"ci95 must be (low, high) with low <= high, not {self.ci95!r}")
        object.__setattr__(self, "value", value)
        object.__setattr__(self, "ci95", ends)
        object.__setattr__(self, "n", None if self.n is None else int(self.n))

    @classmethod
    def of(cls, interval: Interval, unit: str = "") -> "Value":
        """The value of an :class:`~palimpsest.core.stats.Interval`."""
        return cls(interval.value, (interval.low, interval.high), interval.n, unit)


@dataclass(frozen=True)
class Claim:
    """A checkable statement of a paper and the rule that decides it.

    Attributes:
        id: as ``goldfish-1``; never reused.
        source: paper and section.
        grade: how sure the digest is of the finding (its own marks: ``P``, ``C``, ``text``, ...).
        measure: the name of the value it is about.
        rule: ``measure OP number`` with OP one of ``<  <=  >  >=``.
        rule_version: raised when the rule changes.

    Raises:
        ValueError: the rule has another form or is about another measure.
    """

    id: str
    statement: str
    source: str
    grade: str
    measure: str
    rule: str
    rule_version: int = 1

    def __post_init__(self) -> None:
        measure, _, _ = parse_rule(self.rule)
        if measure != self.measure:
            raise ValueError(
                f"claim {self.id} measures '{self.measure}' but its rule is about '{measure}'"
            )
        for name in ("id", "statement", "source", "grade"):
            if not getattr(self, name).strip():
                raise ValueError(f"claim {self.id or '(no id)'} has an empty {name}")


@dataclass
class Figure:
    """A drawing with the caption and the alternative text that every figure must have."""

    draw: "matplotlib.figure.Figure"
    caption: str
    alt: str

    def __post_init__(self) -> None:
        for name in ("caption", "alt"):
            if not getattr(self, name).strip():
                raise ValueError(f"a figure needs a text for '{name}'")


def absent(reason: str) -> Figure:
    """What stands in the place of a figure that a run cannot draw, so that whatever refers to it
    still finds it; ``reason`` is a clause, without a capital and a full stop."""
    from palimpsest.core import plots  # slow to import, and most users of this module draw nothing

    drawn, axes = plots.figure(5.0, 0.8)
    axes.set_axis_off()
    axes.text(0.5, 0.5, "not measured in this run", ha="center", va="center")
    said = f"Not measured in this run: {reason}."
    return Figure(drawn, said, said)


@dataclass
class Result:
    """What a study returns. Names are lower-case identifiers, unique in the chapter; ``notes`` maps
    the id of a claim to a remark, such as why it was not tested."""

    values: dict[str, Value] = field(default_factory=dict)
    tables: dict[str, pd.DataFrame] = field(default_factory=dict)
    figures: dict[str, Figure] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in [*self.values, *self.tables, *self.figures]:
            if not _NAME.fullmatch(name):
                raise ValueError(f"'{name}' is no name for a result: use lower_case_words")
        for name, table in self.tables.items():
            if table.columns.nlevels > 1 or not table.columns.is_unique:
                raise ValueError(f"the columns of table '{name}' must be single and unique names")


def parse_rule(rule: str) -> tuple[str, str, float]:
    """``measure OP number`` in its three parts.

    Raises:
        ValueError: the rule has another form.
    """
    match = _RULE.fullmatch(rule)
    if match is None or not math.isfinite(float(match[3])):
        raise ValueError(f"the rule {rule!r} is not of the form: measure <|<=|>|>= number")
    return match[1], match[2], float(match[3])


def decide(
    rule: str, value: float | None, ci95: tuple[float, float] | list[float] | None
) -> Verdict:
    """The verdict of a rule on a value with its 95 % interval (design, section 6).

    ``holds`` if the whole interval satisfies the rule, ``fails`` if none of it does, otherwise
    ``inconclusive``, also when there is a value but no interval; ``not-tested`` without a value.

    Raises:
        ValueError: the rule is malformed.
    """
    _, operator, bound = parse_rule(rule)
    measured = Value(value, None if ci95 is None else (ci95[0], ci95[1]))
    if measured.value is None:
        return "not-tested"
    if measured.ci95 is None:
        return "inconclusive"
    met = [_satisfies(end, operator, bound) for end in measured.ci95]
    if all(met):
        return "holds"
    return "inconclusive" if any(met) else "fails"


def judge(claim: Claim, values: Mapping[str, Value], note: str = "") -> dict[str, Any]:
    """The entry of a claim in ``results.json``; without a note, one is made where the verdict
    needs a reason."""
    value = values.get(claim.measure, Value(None))
    verdict = decide(claim.rule, value.value, value.ci95)
    if not note and verdict == "not-tested":
        missing = claim.measure not in values
        note = f"{claim.measure} was not measured" if missing else f"{claim.measure} has no value"
    if not note and value.value is not None and value.ci95 is None:
        note = f"{claim.measure} has no interval"
    return {
        **asdict(claim),
        "value": value.value,
        "ci95": None if value.ci95 is None else list(value.ci95),
        "verdict": verdict,
        "note": note,
    }


class ChapterResults:
    """The results of one chapter of a run, gathered study by study and written after each.

    Args:
        chapter: the chapter's name, as ``03_goldfish_loss``.
        parameters: the resolved parameters, JSON values.
        device: ``cpu`` or the name of the card.
    """

    def __init__(self, chapter: str, parameters: Mapping[str, Any], device: str) -> None:
        self.chapter = chapter
        self.parameters = plain(dict(parameters))
        self.device = device
        self.studies: dict[str, Result] = {}
        self._claims: dict[str, list[dict[str, Any]]] = {}
        self._started = time.monotonic()
        self._unwritten: list[str] = []

    def add(self, study: str, result: Result, claims: Iterable[Claim] = ()) -> None:
        """Take in a study's result and decide its claims; a study run again replaces itself.

        Raises:
            ValueError: a name or a claim is already another study's, or a note is about no claim.
        """
        claims = list(claims)
        for other, theirs in self.studies.items():
            for part in _PARTS:
                both = getattr(theirs, part).keys() & getattr(result, part).keys()
                if other != study and both:
                    raise ValueError(
                        f"the studies '{other}' and '{study}' both have {part} named "
                        f"{', '.join(sorted(both))}"
                    )
        unknown = result.notes.keys() - {claim.id for claim in claims}
        if unknown:
            raise ValueError(f"study '{study}' has notes on unknown claims {sorted(unknown)}")
        for other, entries in self._claims.items():
            both = {entry["id"] for entry in entries} & {claim.id for claim in claims}
            if other != study and both:
                raise ValueError(f"studies '{other}' and '{study}' both claim {sorted(both)}")
        self._claims[study] = [
            judge(claim, result.values, result.notes.get(claim.id, "")) for claim in claims
        ]
        self.studies[study] = result
        self._unwritten.append(study)

    @property
    def claims(self) -> list[dict[str, Any]]:
        """The decided claims so far, in the form they have in ``results.json``."""
        return [entry for entries in self._claims.values() for entry in entries]

    def write(
        self, folder: Path, *, seconds: float | None = None, peak_memory_mb: float | None = None
    ) -> None:
        """Write ``results.json``, the tables and the figures into ``folder``.

        What earlier studies of the same chapter and parameters left there is kept. Every file is
        whole at every moment, and ``results.json`` comes last, so it never names a file that is
        not there.

        Args:
            folder: the chapter's results folder.
            seconds: time of the chapter; by default, since this object was made.
            peak_memory_mb: by default, this process's peak.

        Raises:
            RunError: the folder holds results of another chapter or of other parameters, or it
                cannot be written to.
        """
        folder = Path(folder)
        before = self._before(folder)
        spent = time.monotonic() - self._started if seconds is None else seconds
        peak = peak_memory() if peak_memory_mb is None else peak_memory_mb
        document = {
            "schema": SCHEMA,
            "chapter": self.chapter,
            "parameters": self.parameters,
            "seconds": round(spent, 2),
            "peak_memory_mb": round(peak, 1),
            "device": self.device,
            **{part: {**before[part], **self._part(part)} for part in _PARTS},
            "claims": _merged(before["claims"], self.claims),
        }
        try:
            for study in self._unwritten:
                _write_parts(folder, self.studies[study])
            files.write_json(folder / FILE, plain(document))
        except OSError as error:
            raise RunError(
                f"The results of {self.chapter} cannot be written to {folder}: "
                f"{error.strerror or error}. What was there before is whole. Make room or choose "
                "another folder with --out; what was computed is in the cache."
            ) from None
        self._unwritten = []

    def _part(self, part: str) -> dict[str, Any]:
        return {
            name: _PARTS[part](name, one)
            for result in self.studies.values()
            for name, one in getattr(result, part).items()
        }

    def _before(self, folder: Path) -> dict[str, Any]:
        if not (folder / FILE).exists():
            return {"values": {}, "tables": {}, "figures": {}, "claims": []}
        before = read_results(folder)
        for name, mine in (("chapter", self.chapter), ("parameters", self.parameters)):
            if before[name] != mine:
                raise RunError(
                    f"{folder} holds results of another run: its {name} are "
                    f"{_difference(before[name], mine)}. Choose another folder with --out, or "
                    "repeat the run as it was."
                )
        return before


def read_results(folder: Path) -> dict[str, Any]:
    """The content of ``results.json``, checked against the schema of the design, section 6.

    Raises:
        RunError: the file is missing or broken, or it names a table or figure that is not there.
    """
    path = Path(folder) / FILE
    again = f"Delete {folder} and run the chapter again."
    if not path.is_file():
        raise RunError(f"{folder} has no {FILE}: it is not a chapter's results folder.")
    try:
        document = json.loads(files.read_text(path, what="results"), parse_constant=_no_constant)
    except ValueError as error:
        raise RunError(f"{path} is not JSON: {error}. {again}") from None
    for problem in problems(document):
        raise RunError(f"{path} does not follow the schema: {problem}. {again}")
    for name in (*document["tables"].values(), *_drawings(document)):
        if not (Path(folder) / name).is_file():
            raise RunError(f"{path} names {name}, which is not there. {again}")
    return document


def problems(document: Any) -> Iterable[str]:
    """What in ``document`` departs from the schema of ``results.json``, one sentence each."""
    if not isinstance(document, dict):
        yield "it is not an object"
        return
    if document.get("schema") != SCHEMA:
        yield f"its 'schema' is {document.get('schema')!r}, not {SCHEMA}"
        return
    sound = True
    for name, kinds in _SHAPE.items():
        if not isinstance(document.get(name), kinds) or isinstance(document.get(name), bool):
            sound = False
            yield f"'{name}' is missing or of a wrong type"
    if not sound:
        return
    for name, entry in document["values"].items():
        whole = _is_value(entry) and set(entry) == {*Value.__dataclass_fields__}
        if not (whole and type(entry["n"]) in (int, type(None)) and type(entry["unit"]) is str):
            yield f"the value '{name}' is not {{value, ci95, n, unit}}"
    for name, entry in document["tables"].items():
        if entry != _table(name):
            yield f"the table '{name}' does not lie at {_table(name)}"
    for name, entry in document["figures"].items():
        if not isinstance(entry, dict) or entry.get("file") != f"figures/{name}.svg":
            yield f"the figure '{name}' does not lie at figures/{name}.svg"
        elif not entry.get("caption") or not entry.get("alt"):
            yield f"the figure '{name}' lacks its caption or its alt text"
    for entry in document["claims"]:
        yield from _claim_problems(entry)


def _claim_problems(entry: Any) -> Iterable[str]:
    if not _is_value(entry) or set(entry) != _CLAIM_FIELDS:
        yield f"a claim has not the fields {', '.join(sorted(_CLAIM_FIELDS))}"
        return
    try:
        verdict = decide(entry["rule"], entry["value"], entry["ci95"])
    except (ValueError, TypeError) as error:
        yield f"the claim '{entry['id']}' cannot be decided: {error}"
        return
    if verdict != entry["verdict"]:
        yield f"the claim '{entry['id']}' says {entry['verdict']!r} where its rule says {verdict!r}"


def plain(value: Any) -> Any:
    """``value`` in JSON types: numpy numbers and paths converted, what is not finite as null.

    Raises:
        TypeError: something in it has no such form.
    """
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, np.bool_):
        return bool(value)
    if isinstance(value, int | np.integer):
        return int(value)
    if isinstance(value, float | np.floating):
        return _finite(value)
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [plain(one) for one in value]
    raise TypeError(f"a {type(value).__name__} cannot be written as JSON")


def peak_memory() -> float:
    """The most memory this process has held so far, in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024**2 if sys.platform == "darwin" else 1024)


def _write_parts(folder: Path, result: Result) -> None:
    """The tables and figures of one study."""
    from palimpsest.core import plots  # matplotlib and seaborn: slow to import, used only here

    for name, table in result.tables.items():
        files.write_text(folder / _table(name), table.to_csv(index=False))
    for name, figure in result.figures.items():
        for form, export in (("svg", plots.svg), ("png", plots.png)):
            files.write_bytes(folder / f"figures/{name}.{form}", export(figure.draw))


def _table(name: str) -> str:
    return f"tables/{name}.csv"


_PARTS = {
    "values": lambda name, one: asdict(one),
    "tables": lambda name, one: _table(name),
    "figures": lambda name, one: {
        "file": f"figures/{name}.svg",
        "caption": one.caption,
        "alt": one.alt,
    },
}
_SHAPE: dict[str, type | tuple[type, ...]] = {
    "chapter": str,
    "parameters": dict,
    "seconds": (int, float),
    "peak_memory_mb": (int, float),
    "device": str,
    "values": dict,
    "tables": dict,
    "figures": dict,
    "claims": list,
}
_CLAIM_FIELDS = {*Claim.__dataclass_fields__, "value", "ci95", "verdict", "note"}


def _drawings(document: dict[str, Any]) -> Iterable[str]:
    for figure in document["figures"].values():
        yield figure["file"]
        yield figure["file"].removesuffix("svg") + "png"


def _is_value(entry: Any) -> bool:
    if not isinstance(entry, dict) or not {"value", "ci95"} <= entry.keys():
        return False
    ends = entry["ci95"]
    numbers = [] if entry["value"] is None else [entry["value"]]
    if ends is not None:
        if not isinstance(ends, list) or len(ends) != 2:
            return False
        numbers += ends
    return all(isinstance(one, int | float) and not isinstance(one, bool) for one in numbers)


def _merged(before: list[dict[str, Any]], mine: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return list({entry["id"]: entry for entry in [*before, *mine]}.values())


def _satisfies(value: float, operator: str, bound: float) -> bool:
    if operator == "<":
        return value < bound
    if operator == "<=":
        return value <= bound
    return value > bound if operator == ">" else value >= bound


def _finite(value: Any) -> float | None:
    number = float(value)
    return number if math.isfinite(number) else None


def _difference(before: Any, now: Any) -> str:
    if isinstance(before, dict) and isinstance(now, dict):
        keys = [key for key in {**before, **now} if before.get(key) != now.get(key)]
        return ", ".join(f"{key} {before.get(key)!r} and not {now.get(key)!r}" for key in keys)
    return f"{before!r} and not {now!r}"


def _no_constant(word: str) -> None:
    raise ValueError(f"{word} is not a JSON value")
