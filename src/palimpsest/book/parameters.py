"""Parameters of a chapter: what there is, what was given, what holds.

A parameter has its type and default in a dataclass (the chapter's ``Parameters``; :class:`Common`
for those that all chapters share) and its help in the notebook's parameters cell, where every line
reads ``name: type | None = None  # help``. What holds is decided in this order, later wins:

    package default  <  profile  <  ``--params FILE``  <  ``--set`` or papermill's ``-p``

Everything is checked before anything starts: an unknown name, an unknown profile or a value of
another type is refused with the nearest valid one.
"""

import ast
import dataclasses
import io
import json
import math
import reprlib
import tokenize
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import yaml

from palimpsest.book.contents import PROFILES, Book
from palimpsest.core.errors import UserError, nearest
from palimpsest.core.files import read_text

MAX_PARAMETER_FILE = 1024**2
TRUE, FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")


def _help(text: str, default: Any) -> Any:
    return field(default=default, metadata={"help": text})


@dataclass(frozen=True)
class Common:
    """The parameters that every chapter has."""

    model: str = _help("model: palimpsest-m, a hub id, or a folder", "palimpsest-m")
    profile: str = _help("smoke, quick, standard or paper", "quick")
    seed: int = _help("seed of everything random", 0)
    device: Literal["auto", "cpu", "cuda"] = _help("auto, cpu or cuda", "auto")
    dtype: Literal["auto", "float32", "bfloat16"] = _help("auto, float32 or bfloat16", "auto")
    data: str = _help("world, or a file or folder of text", "world")
    out: str | None = _help("run folder to record into; None records nothing", None)


@dataclass(frozen=True)
class Parameter:
    """One tunable: ``type`` is int, float, str, bool, a Literal of strings, or a list/tuple of one
    of these, possibly ``| None``."""

    name: str
    type: Any
    default: Any
    help: str = ""

    @property
    def type_name(self) -> str:
        """The type as it is written in code, ``list[int]``."""
        return spell(self.type)


@dataclass(frozen=True)
class Profile:
    """A named set of parameters with its stated cost on two free cores."""

    parameters: Mapping[str, Any]
    seconds: float
    memory_mb: float


@dataclass(frozen=True)
class Resolved:
    """What holds in one chapter: its own parameters, and where each came from
    (``default``, ``profile`` or ``given``)."""

    values: dict[str, Any]
    origin: dict[str, str]

    def namespace(self) -> SimpleNamespace:
        """The values as attributes, for a study's context."""
        return SimpleNamespace(**self.values)


# ---------------------------------------------------------------------------------------------
# What there is


def declared(cls: type) -> dict[str, Parameter]:
    """The parameters that a dataclass declares, in its order."""
    hints = typing.get_type_hints(cls)
    found = {}
    for item in dataclasses.fields(cls):
        default = item.default
        if default is dataclasses.MISSING and item.default_factory is not dataclasses.MISSING:
            default = item.default_factory()
        found[item.name] = Parameter(
            item.name, hints[item.name], default, item.metadata.get("help", "")
        )
    return found


COMMON = declared(Common)


def chapter_parameters(book: Book, name: str) -> dict[str, Parameter]:
    """The chapter's own parameters; help comes from the notebook's parameters cell."""
    own = declared(book.studies(name).Parameters)
    path = book.notebook(name)
    lines = read_cell(path) if path.is_file() else {}
    return {
        key: dataclasses.replace(p, help=lines[key][1] if key in lines else p.help)
        for key, p in own.items()
    }


def read_cell(notebook: Path) -> dict[str, tuple[str, str]]:
    """Name -> (annotation, help) of a notebook's parameters cell, in the cell's order.

    Raises:
        UserError: there is no such cell, or a line is not ``name: type | None = None  # help``.
    """
    cells = json.loads(read_text(notebook, what="notebook"))["cells"]
    tagged = [c for c in cells if "parameters" in c.get("metadata", {}).get("tags", [])]
    if len(tagged) != 1:
        raise UserError(f"{notebook} has {len(tagged)} cells tagged 'parameters'; one is needed.")
    source = "".join(tagged[0]["source"])
    comments = {
        token.start[0]: token.string.lstrip("# ").strip()
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    }
    found = {}
    for node in ast.parse(source).body:
        good = (
            isinstance(node, ast.AnnAssign)
            and isinstance(node.target, ast.Name)
            and isinstance(node.value, ast.Constant)
            and node.value.value is None
        )
        if not good:
            raise UserError(
                f"{notebook}, parameters cell, line {node.lineno}: '{ast.unparse(node)}' is not of "
                "the form `name: type | None = None  # help`."
            )
        found[node.target.id] = (ast.unparse(node.annotation), comments.get(node.lineno, ""))
    return found


def disagreements(book: Book, name: str) -> list[str]:
    """Where a notebook's parameters cell and the dataclasses differ, one sentence each.

    The chapter's test asserts that this is empty.
    """
    cell = read_cell(book.notebook(name))
    expected = {**COMMON, **declared(book.studies(name).Parameters)}
    problems = [f"'{key}' is missing in the cell" for key in expected if key not in cell]
    problems += [f"'{key}' is in the cell but not declared" for key in cell if key not in expected]
    if not problems and list(cell) != list(expected):
        problems.append(f"the order should be {', '.join(expected)}")
    for key in expected.keys() & cell.keys():
        annotation, text = cell[key]
        wanted = spell(typing.Optional[expected[key].type])  # noqa: UP045 - built from a value
        if annotation.replace("'", '"') != wanted:
            problems.append(f"'{key}' is '{annotation}' in the cell; '{wanted}' is declared")
        if not text:
            problems.append(f"'{key}' has no help in the cell")
    return sorted(problems)


def spell(kind: Any) -> str:
    """A type as it is written in code."""
    if kind in (None, types.NoneType):
        return "None"
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return " | ".join(spell(part) for part in parts)
    if origin is Literal:
        # The cell of a notebook should read simply: a choice is a string with few values.
        return "str"
    if parts:
        inner = ", ".join("..." if part is Ellipsis else spell(part) for part in parts)
        return f"{origin.__name__}[{inner}]"
    return kind.__name__


# ---------------------------------------------------------------------------------------------
# Profiles


def read_profiles(book: Book) -> dict[str, dict[str, Profile]]:
    """Chapter -> profile -> :class:`Profile`, from ``chapters/profiles.yaml``::

        01_problem_setting:
          quick:
            seconds: 90          # on two free cores, cold cache
            memory_mb: 900
            parameters: {people: 20, steps: 60}

    Raises:
        UserError: an entry is not of this form, or names an unknown chapter or profile.
    """
    path = book.chapters / "profiles.yaml"
    content = _mapping(_load(path, "profiles"), path)
    found: dict[str, dict[str, Profile]] = {}
    for chapter, profiles in content.items():
        if chapter not in book.specs:
            raise UserError(f"{path}: no chapter '{chapter}'; {nearest(chapter, book.specs)}")
        found[chapter] = {}
        for name, entry in _mapping(profiles, f"{path}, {chapter}").items():
            where = f"{path}, {chapter}, {name}"
            if name not in PROFILES:
                raise UserError(f"{where}: no such profile; {nearest(name, PROFILES)}")
            entry = _mapping(entry, where)
            if set(entry) != {"seconds", "memory_mb", "parameters"}:
                raise UserError(f"{where} needs exactly: seconds, memory_mb, parameters.")
            found[chapter][name] = Profile(
                _mapping(entry["parameters"], where),
                convert(Parameter("seconds", float, 0.0), entry["seconds"], where),
                convert(Parameter("memory_mb", float, 0.0), entry["memory_mb"], where),
            )
    return found


def profile_of(book: Book, chapter: str, profile: str) -> Profile:
    """The profile of one chapter.

    Raises:
        UserError: the chapter states no profile of that name.
    """
    stated = read_profiles(book).get(chapter, {})
    if profile not in stated:
        raise UserError(
            f"There is no profile '{profile}' for chapter {chapter}; {nearest(profile, stated)}"
        )
    return stated[profile]


# ---------------------------------------------------------------------------------------------
# What was given


def read_parameter_file(path: Path) -> dict[str, Any]:
    """A ``--params`` file: YAML or JSON, a mapping of names to values.

    Raises:
        UserError: the file is missing, empty, binary, too large, or not such a mapping.
    """
    return _mapping(_load(path, "parameter"), path)


def split_setting(text: str) -> tuple[str | None, str, str]:
    """``[CHAPTER.]PARAM=VALUE`` as (chapter or None, name, value).

    Raises:
        UserError: the text has another form.
    """
    target, equals, value = text.partition("=")
    chapter, dot, name = target.strip().rpartition(".")
    if not equals or not name.isidentifier() or (dot and not chapter):
        raise UserError(f"--set {text!r}: expected [CHAPTER.]PARAM=VALUE, for instance seed=3.")
    return chapter or None, name, value.strip()


def distribute(
    book: Book, chapters: Iterable[str], flat: Mapping[str, Any], where: str
) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Sort given values into common ones and each chapter's own.

    ``flat`` maps a name to a value, or a chapter (number, name or prefix) to a mapping. A flat
    name goes to every chapter of ``chapters`` that has it.

    Raises:
        UserError: no chapter has the name, or a chapter is addressed that is not run.
    """
    own = {chapter: chapter_parameters(book, chapter) for chapter in chapters}
    common: dict[str, Any] = {}
    given: dict[str, dict[str, Any]] = {chapter: {} for chapter in own}
    for name, value in flat.items():
        if isinstance(value, Mapping):
            chapter = book.find(str(name))
            if chapter not in own:
                raise UserError(
                    f"{where} sets parameters of chapter {chapter}, which is not among those to "
                    f"run: {', '.join(own)}."
                )
            for key, item in value.items():
                if key not in own[chapter]:
                    hint = (
                        "it is common to all chapters, so give it without a chapter"
                        if key in COMMON
                        else nearest(str(key), own[chapter])
                    )
                    raise UserError(f"{where}: chapter {chapter} has no parameter '{key}'; {hint}")
                given[chapter][key] = convert(own[chapter][key], item, where)
        elif name in COMMON:
            common[name] = convert(COMMON[name], value, where)
        else:
            holders = [chapter for chapter in own if name in own[chapter]]
            if not holders:
                known = list(dict.fromkeys([*COMMON, *(k for ps in own.values() for k in ps)]))
                raise UserError(f"{where}: no parameter '{name}'; {nearest(str(name), known)}")
            for chapter in holders:
                given[chapter][name] = convert(own[chapter][name], value, where)
    return common, given


def convert(parameter: Parameter, value: Any, where: str) -> Any:
    """``value`` as the parameter's type; text is read (``"8"`` is an int), nothing is rounded.

    Raises:
        UserError: the value is not of that type.
    """
    try:
        return _as(parameter.type, value)
    except _Choice as error:
        raise UserError(
            f"{where}: '{value}' is no value of '{parameter.name}'; "
            f"{nearest(str(value), error.choices)}"
        ) from None
    except (ValueError, TypeError):
        raise UserError(
            f"{where}: parameter '{parameter.name}' is of type {parameter.type_name}, and "
            f"{_brief(value)} is not. Its default is {parameter.default!r}."
        ) from None


# ---------------------------------------------------------------------------------------------
# What holds


def resolve_common(given: Mapping[str, Any]) -> Common:
    """The common parameters, checked.

    Raises:
        UserError: an unknown name or profile, a wrong type, a negative seed.
    """
    values = {}
    for name, value in given.items():
        if name not in COMMON:
            raise UserError(f"There is no parameter '{name}'; {nearest(name, COMMON)}")
        values[name] = convert(COMMON[name], value, "The common parameters")
    common = Common(**values)
    if common.profile not in PROFILES:
        raise UserError(
            f"There is no profile '{common.profile}'; {nearest(common.profile, PROFILES)}"
        )
    if not 0 <= common.seed < 2**32:
        raise UserError(f"The seed must lie between 0 and {2**32 - 1}; {common.seed} does not.")
    if common.data != "world" and not Path(common.data).expanduser().exists():
        raise UserError(
            f"data: '{common.data}' is neither 'world' nor a file or folder of text that exists."
        )
    return common


def resolve(book: Book, chapter: str, profile: str, given: Mapping[str, Any]) -> Resolved:
    """The chapter's own parameters: package default < profile < given.

    Raises:
        UserError: an unknown name or profile, a value of another type or out of range.
    """
    own = chapter_parameters(book, chapter)
    values = {name: p.default for name, p in own.items()}
    origin = dict.fromkeys(own, "default")
    stated = profile_of(book, chapter, profile).parameters
    layers = (("profile", stated, f"Profile '{profile}'"), ("given", given, "The given parameters"))
    for label, layer, where in layers:
        for name, value in layer.items():
            if name not in own:
                raise UserError(
                    f"{where}: chapter {chapter} has no parameter '{name}'; {nearest(name, own)}"
                )
            values[name] = convert(own[name], value, f"{where} of chapter {chapter}")
            origin[name] = label
    try:
        book.studies(chapter).Parameters(**values)  # which refuses what is out of range
    except UserError as error:
        raise UserError(f"Chapter {chapter}: {error}") from None
    return Resolved(values, origin)


# ---------------------------------------------------------------------------------------------


class _Choice(Exception):
    def __init__(self, choices: tuple[str, ...]):
        super().__init__()
        self.choices = choices


def _brief(value: Any) -> str:
    # Nested aliases can make a small file into a value whose text would fill the memory.
    if isinstance(value, list | tuple | dict):
        return f"a {type(value).__name__} of {len(value)}"
    return f"{reprlib.repr(value)} ({type(value).__name__})"


def _as(kind: Any, value: Any) -> Any:
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        if value is None or (isinstance(value, str) and value.lower() in ("none", "null")):
            return None
        (inner,) = [part for part in parts if part is not types.NoneType]
        return _as(inner, value)
    if origin is Literal:
        if value not in parts:
            raise _Choice(parts)
        return value
    if origin in (list, tuple):
        items = _items(value) if isinstance(value, str) else value
        if not isinstance(items, list | tuple):
            raise TypeError
        return origin(_as(parts[0], item) for item in items)
    return {bool: _as_bool, int: _as_int, float: _as_float, str: _as_str}[kind](value)


def _items(text: str) -> list[Any]:
    text = text.strip()
    if text.startswith("["):
        return yaml.safe_load(text)
    return [part.strip() for part in text.split(",") if part.strip()]


def _as_bool(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in TRUE + FALSE:
        return value.lower() in TRUE
    raise TypeError


def _as_int(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise TypeError
    return int(value)


def _as_float(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise TypeError
    number = float(value)
    if not math.isfinite(number):
        raise ValueError
    return number


def _as_str(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _load(path: Path, what: str) -> Any:
    text = read_text(path, what=what, max_bytes=MAX_PARAMETER_FILE)
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "not YAML"
        raise UserError(f"{path}{place} is neither YAML nor JSON: {problem}.") from None
    except RecursionError:
        raise UserError(f"{path} is nested too deeply for a {what} file.") from None


def _mapping(value: Any, where: Any) -> dict[str, Any]:
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        # A chapter may be called by its number, which YAML reads as an integer.
        if isinstance(value, dict) and all(isinstance(key, str | int) for key in value):
            return {str(key): item for key, item in value.items()}
        raise UserError(
            f"{where}: a mapping of names to values was expected, for instance `seed: 3`."
        )
    return value
