"""Records: round trips, defaults, made ids, and what is said about lines that are not records."""

import gzip
import json

import pytest

from palimpsest.core.errors import DataError
from palimpsest.core.records import (
    Document,
    Fact,
    Forget,
    Item,
    Probe,
    Query,
    as_dict,
    read_jsonl,
    write_jsonl,
)

DESIGN = {
    Document: "id text facts language template split kind planted repeat",
    Fact: "id subject relation object entity planted",
    Probe: "id fact prompt answer choices form language scope split",
    Query: "id prompt completion kind",
    Forget: "id prompt answer paraphrases entity split",
    Item: "id task prompt choices label facts split",
}
LEAST = {
    Document: {"text": "Ada lives in Brell."},
    Fact: {"subject": "Ada", "relation": "home", "object": "Brell"},
    Probe: {"prompt": "Ada lives in", "answer": " Brell"},
    Query: {"prompt": "Ada lives in", "completion": " Brell"},
    Forget: {"prompt": "Where does Ada live?", "answer": "Brell"},
    Item: {"prompt": "Ada lives in", "choices": [" Brell", " Tarn"], "label": 0},
}


def lines(path, *values):
    path.write_text("".join(json.dumps(value) + "\n" for value in values))
    return path


def refusal(path, kind=Document):
    with pytest.raises(DataError) as caught:
        read_jsonl(path, kind)
    return str(caught.value)


@pytest.mark.parametrize("kind", DESIGN)
def test_fields_are_those_of_the_design(kind):
    assert " ".join(as_dict(kind(**LEAST[kind]))) == DESIGN[kind]


@pytest.mark.parametrize("name", ["records.jsonl", "records.jsonl.gz"])
@pytest.mark.parametrize("kind", DESIGN)
def test_round_trip_and_same_bytes(tmp_path, kind, name):
    records = [kind(**LEAST[kind]), kind(**LEAST[kind] | {"id": "é θ"})]
    path = tmp_path / name
    write_jsonl(path, records)
    first = path.read_bytes()
    assert read_jsonl(path, kind) == records
    write_jsonl(path, read_jsonl(path, kind))
    assert path.read_bytes() == first


def test_required_fields_alone_suffice_and_ids_follow_content(tmp_path):
    one = lines(tmp_path / "a.jsonl", {"text": "a"}, {"text": "b"})
    other = lines(tmp_path / "b.jsonl", {"text": "b"}, {"text": "a"})
    ids = [document.id for document in read_jsonl(one, Document)]
    assert ids == [document.id for document in read_jsonl(other, Document)][::-1]
    assert ids[0] == Document(text="a").id
    assert len(set(ids)) == 2


def test_same_content_twice_gets_numbered_ids(tmp_path):
    path = lines(tmp_path / "a.jsonl", {"text": "a"}, {"text": "a"}, {"text": "a"})
    ids = [document.id for document in read_jsonl(path, Document)]
    assert ids == [ids[0], f"{ids[0]}-2", f"{ids[0]}-3"]


def test_unknown_columns_and_blank_lines_are_passed_over(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('\ufeff{"text": "a", "url": "x", "date": 3}\r\n\r\n\n{"text": "b"}')
    assert [document.text for document in read_jsonl(path, Document)] == ["a", "b"]


@pytest.mark.parametrize(
    ("kind", "change", "parts"),
    [
        (Document, {"text": 3}, ["'text'", "the number 3", "a string"]),
        (Document, {"text": None}, ["'text'", "null"]),
        (Document, {"facts": "f1"}, ["'facts'", "a list of strings"]),
        (Document, {"facts": ["f1", 2]}, ["'facts'"]),
        (Document, {"repeat": 0}, ["'repeat'", "whole number from 1"]),
        (Document, {"repeat": True}, ["'repeat'", "true"]),
        (Document, {"planted": "soon"}, ["'planted'", '"early", "late" or null']),
        (Document, {"fact": ["f1"]}, ["'fact'", "'facts'"]),
        (Document, {"Languge": "en"}, ["'Languge'", "'language'"]),
        (Item, {"label": 2}, ["'label'", "one of 0, 1"]),
        (Item, {"label": True}, ["'label'"]),
        (Item, {"choices": ["one"]}, ["'choices'", "a list of 2 strings", "a list of 1"]),
        (Probe, {"scope": "far"}, ["'scope'", "hard-out"]),
        (Forget, {"split": "train"}, ["'split'", '"dev", "test"']),
    ],
)
def test_wrong_fields_are_named_with_file_and_line(tmp_path, kind, change, parts):
    path = lines(tmp_path / "a.jsonl", LEAST[kind], LEAST[kind] | {"id": "x"} | change)
    message = refusal(path, kind)
    assert f"{path}, line 2" in message
    for part in parts:
        assert part in message


def test_missing_field_names_the_one_that_was_meant(tmp_path):
    message = refusal(lines(tmp_path / "a.jsonl", {"Text": "a"}))
    assert "line 1" in message
    assert "'text' is missing" in message
    assert "Is 'Text' meant?" in message


def test_ids_given_twice_are_refused(tmp_path):
    path = lines(tmp_path / "a.jsonl", {"id": "d", "text": "a"}, {"id": "d", "text": "b"})
    message = refusal(path)
    assert "line 2" in message
    assert "line 1" in message


@pytest.mark.parametrize(
    "line",
    ["{", "[1]", "3", '"text"', '{"text": NaN}', "[" * 100_000, '{"text": "\\ud800"}', "text"],
)
def test_lines_that_are_no_objects(tmp_path, line):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "fine"}\n' + line)
    message = refusal(path)
    assert f"{path}, line 2" in message
    message.encode("utf-8")
    assert len(message) < 500


@pytest.mark.parametrize(
    "content",
    [b"", b"\n\n", b'{"text": "a\0"}', b'{"text": "a\xff"}'],
    ids=["empty", "blank", "binary", "not UTF-8"],
)
@pytest.mark.parametrize("packed", [False, True])
def test_files_that_are_no_text(tmp_path, content, packed):
    path = tmp_path / ("a.jsonl.gz" if packed else "a.jsonl")
    path.write_bytes(gzip.compress(content) if packed else content)
    assert str(path) in refusal(path)


def test_missing_truncated_and_huge_files(tmp_path, monkeypatch):
    assert "no file" in refusal(tmp_path / "none.jsonl")
    assert "no file" in refusal(tmp_path / "none.jsonl.gz")
    assert "folder" in refusal(tmp_path)
    path = tmp_path / "a.jsonl.gz"
    write_jsonl(path, [Document(text=f"number {n}") for n in range(100)])
    whole = path.read_bytes()
    with monkeypatch.context() as small:
        small.setattr("palimpsest.core.files.MAX_TEXT_BYTES", 1000)
        assert "unpacks to more" in refusal(path)
    path.write_bytes(whole[: len(whole) // 2])
    assert "no whole gzip" in refusal(path)
    path.write_bytes(b"plain text")
    assert "no whole gzip" in refusal(path)
