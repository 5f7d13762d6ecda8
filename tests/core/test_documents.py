"""Reading documents: every kind of source, and every kind of mistake."""

import gzip
import json

import datasets
import pytest

from palimpsest.core import files
from palimpsest.core.documents import read_documents
from palimpsest.core.errors import DataError
from palimpsest.core.records import Document


def texts(source, field="text"):
    return [document.text for document in read_documents(source, field)]


def jsonl(path, *objects):
    content = "".join(json.dumps(o) + "\n" for o in objects).encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "A.JSONL"])
def test_jsonl(tmp_path, name):
    path = jsonl(tmp_path / name, {"id": "one", "text": "Ada"}, {"text": "Béla"})
    documents = list(read_documents(path))
    assert [d.text for d in documents] == ["Ada", "Béla"]
    assert documents[0].id == "one"
    assert documents[1].id


def test_another_field(tmp_path):
    path = jsonl(tmp_path / "a.jsonl", {"content": "Ada", "text": 5})
    assert texts(str(path), "content") == ["Ada"]
    with pytest.raises(DataError, match=r"a.jsonl, line 1: the field 'contents' is missing"):
        texts(path, "contents")
    with pytest.raises(DataError, match="did you mean 'content'"):
        texts(path, "contnt")


def test_plain_files_are_one_document_each(tmp_path):
    (tmp_path / "b.md").write_text("# Ada\n\nlikes red\n")
    assert texts(tmp_path / "b.md") == ["# Ada\n\nlikes red\n"]
    (tmp_path / "blank.txt").write_text(" \n")
    with pytest.raises(DataError, match="nothing but blanks"):
        texts(tmp_path / "blank.txt")


def test_folders_are_read_by_sorted_path(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / ".hidden").mkdir()
    (tmp_path / ".hidden" / "x.txt").write_text("no")
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\0")
    (tmp_path / "z.txt").write_text("last")
    jsonl(tmp_path / "a.jsonl", {"text": "first"}, {"text": "second"})
    (tmp_path / "sub" / "c.md").write_text("third")
    documents = list(read_documents(tmp_path))
    assert [d.text for d in documents] == ["first", "second", "third", "last"]
    assert [d.id for d in documents][2:] == ["sub/c.md", "z.txt"]


def test_datasets(tmp_path):
    data = datasets.Dataset.from_dict({"text": ["Ada", "Béla"], "id": [7, 8], "n": [1, 2]})
    assert [(d.id, d.text) for d in read_documents(data)] == [("7", "Ada"), ("8", "Béla")]
    assert texts(data.to_iterable_dataset()) == ["Ada", "Béla"]
    with pytest.raises(DataError, match="no column 'txt'; did you mean 'text'"):
        texts(data, "txt")
    with pytest.raises(DataError, match="row 0: 'n' is 1"):
        texts(data, "n")
    with pytest.raises(DataError, match="no rows"):
        texts(data.select([]))
    data.save_to_disk(str(tmp_path / "saved"))
    assert texts(tmp_path / "saved") == ["Ada", "Béla"]
    splits = datasets.DatasetDict({"train": data, "test": data})
    with pytest.raises(DataError, match="splits train, test"):
        texts(splits)
    splits.save_to_disk(str(tmp_path / "splits"))
    assert texts(tmp_path / "splits" / "train") == ["Ada", "Béla"]
    assert texts(datasets.DatasetDict({"train": data})) == ["Ada", "Béla"]
    (tmp_path / "saved" / "state.json").write_text("{}")
    with pytest.raises(DataError, match="no whole saved dataset"):
        texts(tmp_path / "saved")


def test_documents_pass_through():
    assert texts([Document(text="Ada")]) == ["Ada"]
    with pytest.raises(DataError, match="Item 0 of the source is a str"):
        texts(["Ada"])
    with pytest.raises(DataError, match="no documents"):
        texts([])


def test_what_cannot_be_read(tmp_path, monkeypatch):
    (tmp_path / "empty.txt").touch()
    (tmp_path / "empty.jsonl").touch()
    (tmp_path / "binary.txt").write_bytes(b"PK\0\1")
    (tmp_path / "latin.txt").write_bytes("one\nÉtienne".encode("latin-1"))
    (tmp_path / "broken.jsonl").write_text('{"text": "a"}\n{"text": \n')
    (tmp_path / "list.jsonl").write_text('["a"]\n')
    (tmp_path / "typo.jsonl").write_text('{"txt": "a"}\n')
    (tmp_path / "half.jsonl.gz").write_bytes(gzip.compress(b'{"text": "a"}\n' * 99)[:-9])
    (tmp_path / "table.csv").write_text("a,b\n")
    (tmp_path / "nothing").mkdir()
    for name, wanted in {
        "empty.txt": "is empty",
        "empty.jsonl": "is empty",
        "binary.txt": "binary",
        "latin.txt": "not UTF-8.*line 2",
        "broken.jsonl": r"broken.jsonl, line 2 is not JSON",
        "list.jsonl": "line 1 is a list",
        "typo.jsonl": "'text' is missing. Is 'txt' meant",
        "half.jsonl.gz": "no whole gzip",
        "table.csv": "of no known kind",
        "nothing": "holds no .jsonl",
        "emty.txt": "did you mean 'empty.txt'",
        "a/b/c.txt": "no file or folder",
    }.items():
        with pytest.raises(DataError, match=wanted):
            texts(tmp_path / name)
    monkeypatch.setattr(files.read_text, "__kwdefaults__", {"what": "text", "max_bytes": 3})
    (tmp_path / "huge.txt").write_text("four")
    with pytest.raises(DataError, match="Split it"):
        texts(tmp_path / "huge.txt")
