"""Documents from wherever a user keeps them."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Union

from palimpsest.core import files
from palimpsest.core.errors import DataError, nearest
from palimpsest.core.records import Document, read_jsonl

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict, IterableDataset

Source = Union[str, Path, "Dataset", "DatasetDict", "IterableDataset", Iterable[Document]]

JSONL = (".jsonl", ".jsonl.gz")
PLAIN = (".txt", ".md")
# What datasets leaves in a folder it has saved to.
SAVED_DATASET, SAVED_SPLITS = "state.json", "dataset_dict.json"


def read_documents(source: Source, field: str = "text") -> Iterator[Document]:
    """The documents of a source, in a fixed order.

    Args:
        source: a JSONL file (``.jsonl``, ``.jsonl.gz``; one document a line), a text file
            (``.txt``, ``.md``; one document), a folder of these (read by sorted path, hidden files
            left out), a folder that ``datasets`` saved to, a dataset in memory, or documents.
        field: the field, or column, that holds the text.

    Raises:
        DataError: the source is missing, empty, huge, binary, not UTF-8, not JSON, or has no such
            field; the message names file, line and the nearest field.
    """
    if isinstance(source, str | Path):
        yield from _from_path(Path(source).expanduser(), field)
    elif hasattr(source, "column_names"):
        yield from _from_dataset(source, field, "The dataset")
    else:
        count = 0
        for document in source:
            if not isinstance(document, Document):
                raise DataError(
                    f"Item {count} of the source is a {type(document).__name__}; a file, a folder, "
                    "a dataset or documents were expected."
                )
            count += 1
            yield document
        if not count:
            raise DataError("The source has no documents; at least one was expected.")


def _from_path(path: Path, field: str) -> Iterator[Document]:
    if not path.exists():
        here = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
        hint = f"; {nearest(path.name, here)}" if 0 < len(here) <= 20 else "."
        raise DataError(f"There is no file or folder {path}{hint}")
    if path.is_dir():
        yield from _from_folder(path, field)
    elif _is(path, JSONL):
        yield from read_jsonl(path, Document, None if field == "text" else {"text": field})
    elif _is(path, PLAIN):
        yield _plain(path, path.name)
    else:
        raise DataError(
            f"{path} is of no known kind; {', '.join((*JSONL, *PLAIN))} or a folder of these was "
            "expected. Rename it if it is one of them."
        )


def _from_folder(folder: Path, field: str) -> Iterator[Document]:
    if (folder / SAVED_DATASET).exists() or (folder / SAVED_SPLITS).exists():
        import datasets

        try:
            saved = datasets.load_from_disk(str(folder))
        except Exception as error:
            raise DataError(f"{folder} is no whole saved dataset: {error}") from None
        yield from _from_dataset(saved, field, f"The dataset {folder}")
        return
    found = sorted(
        path
        for path in folder.rglob("*")
        if path.is_file()
        and _is(path, JSONL + PLAIN)
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )
    if not found:
        raise DataError(
            f"The folder {folder} holds no {', '.join((*JSONL, *PLAIN))} file; at least one was "
            "expected."
        )
    for path in found:
        if _is(path, PLAIN):
            yield _plain(path, path.relative_to(folder).as_posix())
        else:
            yield from _from_path(path, field)


def _plain(path: Path, id: str) -> Document:
    text = files.read_text(path)
    if not text.strip():
        raise DataError(f"{path} holds nothing but blanks; a text was expected.")
    return Document(id=id, text=text)


def _from_dataset(dataset: Any, field: str, name: str) -> Iterator[Document]:
    """Rows of a dataset; the columns ``field`` and, if it is there, ``id`` are read."""
    if isinstance(dataset, dict):
        if len(dataset) != 1:
            raise DataError(
                f"{name} has the splits {', '.join(dataset)}; one of them was expected, as "
                "dataset['train'], or the folder of that split."
            )
        dataset = next(iter(dataset.values()))
    columns = dataset.column_names
    if columns is not None and field not in columns:
        raise DataError(f"{name} has no column '{field}'; {nearest(field, columns)}")
    number = -1
    for number, row in enumerate(dataset):
        text = row.get(field)
        if not isinstance(text, str) or not text:
            raise DataError(f"{name}, row {number}: '{field}' is {text!r}; a text was expected.")
        yield Document(id=str(row.get("id", number)), text=text)
    if number < 0:
        raise DataError(f"{name} has no rows; at least one was expected.")


def _is(path: Path, suffixes: tuple[str, ...]) -> bool:
    return path.name.lower().endswith(suffixes)
