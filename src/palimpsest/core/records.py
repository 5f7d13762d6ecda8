"""Records: the one schema of the world, of text, and of a user's own data (design, section 4).

A file of records is JSONL, one object a line, plain or gzipped. A user need only give ``text`` (a
document), or a prompt with its answer; every other field has a default, and an id that is missing
is made from the content, so that it stays the same when lines are moved or files are split.
"""

import difflib
import gzip
import hashlib
import io
import json
import typing
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, Field, dataclass, fields
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar

from palimpsest.core import files
from palimpsest.core.errors import DataError, nearest

Planted = Literal["early", "late"]
Scope = Literal["in", "hard-in", "out", "hard-out"]

ID_DIGITS = 12
# A stranger's column ("url", "date") is no mistake and is passed over; a field this like one of
# ours is a slip of the keyboard, and passing it over would change a result without a word.
SLIP = 0.8


@dataclass(frozen=True, kw_only=True)
class _Record:
    """What all records share: an ``id``, made from the other fields where none is given."""

    id: str = ""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, list):
                object.__setattr__(self, field.name, tuple(value))
        if not self.id:
            object.__setattr__(self, "id", self._made_id())

    def _made_id(self) -> str:
        content = json.dumps(as_dict(self) | {"id": ""}, ensure_ascii=False, sort_keys=True)
        digest = hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()
        return f"{type(self).__name__.lower()}-{digest[:ID_DIGITS]}"


@dataclass(frozen=True, kw_only=True)
class Document(_Record):
    """A text to train or score on. ``facts`` are the ids of the facts it states or uses; ``repeat``
    is how many times a training stream shows it."""

    text: str
    facts: tuple[str, ...] = ()
    language: str = ""
    template: str = ""
    split: str = "train"
    kind: str = ""
    planted: Planted | None = None
    repeat: int = 1


@dataclass(frozen=True, kw_only=True)
class Fact(_Record):
    """A triple. ``entity`` is the person or thing it is about: the cluster of every resampling."""

    subject: str
    relation: str
    object: str
    entity: str = ""
    planted: Planted | None = None


@dataclass(frozen=True, kw_only=True)
class Probe(_Record):
    """A question about the fact with id ``fact``, its right answer among ``choices``, the form it
    is put in, and whether it lies in the declared scope of forgetting."""

    fact: str = ""
    prompt: str
    answer: str
    choices: tuple[str, ...] = ()
    form: str = "direct"
    language: str = ""
    scope: Scope = "in"
    split: str = "test"


@dataclass(frozen=True, kw_only=True)
class Query(_Record):
    """A completion whose causes among the training documents are asked for."""

    prompt: str
    completion: str
    kind: str = ""


@dataclass(frozen=True, kw_only=True)
class Forget(_Record):
    """An answer to be forgotten, with other ways of asking for it."""

    prompt: str
    answer: str
    paraphrases: tuple[str, ...] = ()
    entity: str = ""
    split: Literal["dev", "test"] = "test"


@dataclass(frozen=True, kw_only=True)
class Item(_Record):
    """A two-way choice; ``label`` (0 or 1) is the index of the right one of the two ``choices``."""

    task: str = ""
    prompt: str
    choices: tuple[str, str]
    label: Literal[0, 1]
    facts: tuple[str, ...] = ()
    split: str = "test"


R = TypeVar("R", bound=_Record)


def as_dict(record: _Record) -> dict[str, Any]:
    """The record's fields in the order of the schema (``id`` first), tuples as lists."""
    values = {field.name: getattr(record, field.name) for field in fields(record)}
    return {
        name: list(value) if isinstance(value, tuple) else value for name, value in values.items()
    }


def read_jsonl(path: Path, kind: type[R], columns: Mapping[str, str] | None = None) -> list[R]:
    """All records of one file, ``.jsonl`` or ``.jsonl.gz``; blank lines are passed over.

    Columns the schema does not know are passed over too, unless one looks like a misspelt field.
    Two lines with the same made id (the same content twice) get ``-2``, ``-3``, ... behind it.

    Args:
        path: the file.
        kind: one of the record classes, as ``read_jsonl("facts.jsonl", Fact)``.
        columns: fields that the file knows by another name, as ``{"text": "content"}``.

    Raises:
        DataError: the file cannot be read, or a line is not a record of this kind; the message
            names file, line and field.
    """
    path = Path(path)
    records: list[R] = []
    lines: dict[str, int] = {}
    for number, line in enumerate(_text(path).split("\n"), 1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        values = _renamed(_object(line, where), columns or {}, where)
        record = _record(values, kind, where)
        if record.id in lines and not values.get("id"):
            record = _numbered(record, lines)
        if record.id in lines:
            raise DataError(
                f"{where}: the id '{record.id}' was already used in line {lines[record.id]}. "
                "Ids name records in results, so each must be given once; leave the field out to "
                "have ids made."
            )
        lines[record.id] = number
        records.append(record)
    if not records:
        raise DataError(f"{path} has no records; one {kind.__name__.lower()} a line was expected.")
    return records


def write_jsonl(path: Path, records: Iterable[_Record]) -> None:
    """Write records one a line, atomically; gzipped if the name ends in ``.gz``.

    The same records give the same bytes on every machine: no time stamp, no name, fixed order.
    """
    text = "".join(json.dumps(as_dict(record), ensure_ascii=False) + "\n" for record in records)
    content = text.encode("utf-8")
    files.write_bytes(Path(path), compress(content) if str(path).endswith(".gz") else content)


def compress(content: bytes) -> bytes:
    """Gzip without a time stamp or file name, so that equal content gives equal bytes."""
    buffer = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", fileobj=buffer, mtime=0, compresslevel=9) as stream:
        stream.write(content)
    return buffer.getvalue()


def _text(path: Path) -> str:
    return _gunzipped(path) if path.suffix == ".gz" else files.read_text(path, what="JSONL")


def _gunzipped(path: Path) -> str:
    """Text of a gzipped file, never holding more than plain files may."""
    try:
        with gzip.open(path) as stream:
            content = stream.read(files.MAX_TEXT_BYTES + 1)
    except FileNotFoundError:
        raise DataError(f"There is no file {path}; a JSONL file was expected.") from None
    except (gzip.BadGzipFile, EOFError, zlib.error):
        raise DataError(
            f"{path} is no whole gzip file; a gzipped JSONL file was expected."
        ) from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.") from None
    if len(content) > files.MAX_TEXT_BYTES:
        raise DataError(
            f"{path} unpacks to more than the {files.MAX_TEXT_BYTES / 1024**2:.0f} MiB that a "
            "JSONL file may have. Split it into smaller files."
        )
    if b"\0" in content:
        raise DataError(f"{path} holds binary data; JSONL in UTF-8 was expected.")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DataError(f"{path} is not UTF-8 in line {line}. Save it as UTF-8.") from None


def _object(line: str, where: str) -> dict[str, Any]:
    try:
        value = json.loads(line, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        reason = getattr(error, "msg", str(error))
        raise DataError(
            f"{where} is not JSON ({reason}). A JSONL file has one object a line, such as "
            '{"text": "..."}.'
        ) from None
    if not isinstance(value, dict):
        raise DataError(
            f'{where} is {_name(value)}; an object such as {{"text": "..."}} was expected.'
        )
    if "\\u" in line and not _encodes(value):
        raise DataError(f"{where} has half of a surrogate pair (\\ud800 to \\udfff): not a text.")
    return value


def _renamed(values: dict[str, Any], columns: Mapping[str, str], where: str) -> dict[str, Any]:
    for field, column in columns.items():
        if column not in values:
            hint = nearest(column, values)
            raise DataError(f"{where}: the field '{column}' is missing; {hint}")
        values = {key: value for key, value in values.items() if key != field or key == column}
        values[field] = values.pop(column)
    return values


def _encodes(value: Any) -> bool:
    try:
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _no_constant(word: str) -> None:
    raise ValueError(f"{word} is not a JSON value")


def _record(values: dict[str, Any], kind: type[R], where: str) -> R:
    known = _schema(kind)
    name = kind.__name__.lower()
    for field, (_, required) in known.items():
        if required and field not in values:
            like = difflib.get_close_matches(field, [key.lower() for key in values], 1, 0.6)
            found = [key for key in values if like and key.lower() == like[0]]
            hint = f" Is '{found[0]}' meant?" if found else ""
            raise DataError(
                f"{where}: the field '{field}' is missing.{hint} A {name} needs "
                f"{_listing([f for f, (_, needed) in known.items() if needed])}; it may also have "
                f"{_listing([f for f, (_, needed) in known.items() if not needed])}."
            )
    absent = [field for field in known if field not in values]
    for key in values:
        like = difflib.get_close_matches(key.lower(), absent, 1, SLIP) if key not in known else []
        if like:
            raise DataError(
                f"{where}: '{key}' is not a field of a {name}; '{like[0]}' is. Rename it, or, if "
                "it is something else, give it a name that is less alike."
            )
    given = {key: value for key, value in values.items() if key in known}
    for key, value in given.items():
        annotation, _ = known[key]
        if not _fits(value, annotation):
            raise DataError(
                f"{where}: the field '{key}' of a {name} is {_name(value)}; "
                f"{_wanted(annotation)} was expected."
            )
    return kind(**given)


def _numbered(record: R, taken: dict[str, int]) -> R:
    count = 2
    while f"{record.id}-{count}" in taken:
        count += 1
    return type(record)(**(as_dict(record) | {"id": f"{record.id}-{count}"}))


@cache
def _schema(kind: type[_Record]) -> dict[str, tuple[Any, bool]]:
    """Field name -> (annotation, whether a user must give it)."""
    hints = typing.get_type_hints(kind)
    return {field.name: (hints[field.name], _required(field)) for field in fields(kind)}


def _required(field: Field[Any]) -> bool:
    return field.default is MISSING and field.default_factory is MISSING


def _fits(value: Any, annotation: Any) -> bool:
    origin, parts = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is UnionType or origin is typing.Union:
        return any(_fits(value, part) for part in parts)
    if origin is Literal:
        return any(type(value) is type(part) and value == part for part in parts)
    if origin is tuple:
        if not isinstance(value, list | tuple):
            return False
        if parts[-1] is not Ellipsis and len(value) != len(parts):
            return False
        return all(_fits(one, parts[0]) for one in value)
    if annotation is int:
        return type(value) is int and value >= 1
    return type(value) is annotation


def _wanted(annotation: Any) -> str:
    origin, parts = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is UnionType or origin is typing.Union:
        return " or ".join(_wanted(part) for part in parts)
    if origin is Literal:
        return "one of " + ", ".join(json.dumps(part) for part in parts)
    if origin is tuple:
        return "a list of strings" if parts[-1] is Ellipsis else f"a list of {len(parts)} strings"
    return {int: "a whole number from 1", str: "a string", NoneType: "null"}[annotation]


def _name(value: Any) -> str:
    """What a JSON value is, in words, with a short value shown."""
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, int | float):
        return f"the number {value}"
    if isinstance(value, str):
        shown = json.dumps(value[:30], ensure_ascii=False)
        return f"the string {shown}" if len(value) <= 30 else f"a string that begins {shown}"
    return f"a list of {len(value)}" if isinstance(value, list | tuple) else "an object"


def _listing(names: list[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)
