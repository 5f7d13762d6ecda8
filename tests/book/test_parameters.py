"""Parameters: what is declared, what is given, what holds, and what is refused."""

from dataclasses import dataclass, field
from pathlib import Path

import pytest
import toy
import yaml

from palimpsest.book import parameters
from palimpsest.book.contents import Book, this_book
from palimpsest.book.parameters import Common, Parameter, convert, declared
from palimpsest.core.errors import UserError


@pytest.mark.parametrize(
    ("kind", "given", "expected"),
    [
        (int, "8", 8), (int, 8, 8), (float, "1e-4", 1e-4), (float, 3, 3.0), (str, "8", "8"),
        (bool, "yes", True), (bool, False, False), (bool, "0", False),
        (list[int], "[1, 2]", [1, 2]), (list[int], "1,2", [1, 2]), (list[str], "a, b", ["a", "b"]),
        (tuple[float, ...], [1, 2.5], (1.0, 2.5)), (int | None, "none", None), (int | None, 3, 3),
    ],
)  # fmt: skip
def test_values_are_read_as_their_type(kind, given, expected):
    got = convert(Parameter("p", kind, None), given, "test")
    assert got == expected
    assert type(got) is type(expected)


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        (int, "8.5"), (int, 8.5), (int, True), (int, "eight"), (int, None), (int, [8]),
        (float, "nan"), (float, "x"), (float, False), (bool, 1), (bool, "maybe"), (str, 8),
        (list[int], 3), (list[int], "a,b"), (list[int], {"a": 1}), (int, "1" * 5000),
    ],
)  # fmt: skip
def test_values_of_another_type_are_refused(kind, given):
    with pytest.raises(UserError, match=r"parameter 'p' is of type .* Its default is 7\."):
        convert(Parameter("p", kind, 7), given, "test")


def test_a_choice_names_the_nearest():
    with pytest.raises(UserError, match="did you mean 'cuda'"):
        convert(parameters.COMMON["device"], "coda", "test")


def test_declared_reads_types_defaults_and_factories():
    @dataclass(frozen=True)
    class Own:
        k: int = 4
        layers: list[int] = field(default_factory=lambda: [1])

    found = declared(Own)
    assert found["k"].default == 4
    assert found["layers"].default == [1]
    assert found["layers"].type_name == "list[int]"


def test_the_cell_agrees_with_the_dataclass(shared_book):
    assert parameters.disagreements(shared_book, "01_toy") == []


def test_the_written_chapters_agree_with_their_dataclasses():
    book = this_book()
    for name in book.written():
        assert parameters.disagreements(book, name) == []
        stated = parameters.read_profiles(book)[name]
        assert "quick" in stated
        for profile in stated:
            parameters.resolve(book, name, profile, {})


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("rate: float | None = None  # learning rate\n", "", "'rate' is missing in the cell"),
        ("rate: float |", "rate: int |", "'rate' is 'int | None' in the cell"),
        ("  # learning rate", "", "'rate' has no help"),
        ("rate: float", "speed: float", "'speed' is in the cell but not declared"),
    ],
)
def test_disagreements_are_found(book, old, new, problem):
    toy.edit(book, "01_toy", old, new)
    assert any(problem in text for text in parameters.disagreements(book, "01_toy"))


@pytest.mark.parametrize("line", ["rate = None", "rate: float | None = 3.0", "print()"])
def test_a_line_of_another_form_is_refused(book, line):
    toy.edit(book, "01_toy", "rate: float | None = None", line)
    with pytest.raises(UserError, match="is not of the form"):
        parameters.read_cell(book.notebook("01_toy"))


def test_later_layers_win(shared_book):
    resolved = parameters.resolve(shared_book, "01_toy", "quick", {"rate": "0.5"})
    assert resolved.values["people"] == 6
    assert resolved.origin["people"] == "profile"
    assert resolved.values["rate"] == 0.5
    assert resolved.origin["rate"] == "given"
    assert resolved.values["label"] == "toy"
    assert resolved.origin["label"] == "default"
    assert parameters.resolve(shared_book, "01_toy", "quick", {"people": 9}).values["people"] == 9


def test_unknown_names_name_the_nearest(shared_book):
    with pytest.raises(UserError, match="did you mean 'people'"):
        parameters.resolve(shared_book, "01_toy", "quick", {"peple": 3})
    with pytest.raises(UserError, match="Known: quick, smoke"):
        parameters.resolve(shared_book, "01_toy", "paper", {})
    with pytest.raises(UserError, match="did you mean 'standard'"):
        parameters.resolve_common({"profile": "standardd"})
    with pytest.raises(UserError, match="did you mean 'seed'"):
        parameters.resolve_common({"sed": 1})


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_seed_out_of_range_is_refused(seed):
    with pytest.raises(UserError, match="must lie between"):
        parameters.resolve_common({"seed": seed})


def test_data_must_exist(tmp_path):
    assert parameters.resolve_common({"data": str(tmp_path)}) == Common(data=str(tmp_path))
    with pytest.raises(UserError, match="neither 'world' nor"):
        parameters.resolve_common({"data": str(tmp_path / "none")})


def test_distribute_sorts_flat_and_nested_values(shared_book):
    names = ["01_toy", "02_second_toy"]
    common, given = parameters.distribute(
        shared_book, names, {"seed": "3", "rate": 1, "2": {"people": 7}, "toy": {"fast": "no"}}, "f"
    )
    assert common == {"seed": 3}
    assert given == {
        "01_toy": {"rate": 1.0, "fast": False},
        "02_second_toy": {"rate": 1.0, "people": 7},
    }


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"peple": 3}, "did you mean 'people'"),
        ({"toy": {"peple": 3}}, "did you mean 'people'"),
        ({"toy": {"seed": 3}}, "common to all chapters"),
        ({"second": {"people": 3}}, "not among those to run"),
        ({"tyo": {"people": 3}}, "There is no chapter 'tyo'; did you mean 'toy'"),
    ],
)
def test_distribute_refuses(shared_book, values, message):
    with pytest.raises(UserError, match=message):
        parameters.distribute(shared_book, ["01_toy"], values, "f")


@pytest.mark.parametrize("text", ["people", "=3", "a b=3", ".people=3", "people.=3"])
def test_a_malformed_setting_is_refused(text):
    with pytest.raises(UserError, match=r"expected \[CHAPTER\.\]PARAM=VALUE"):
        parameters.split_setting(text)


def test_settings_are_split():
    assert parameters.split_setting("people = a=b") == (None, "people", "a=b")
    assert parameters.split_setting("03_goldfish.k=8") == ("03_goldfish", "k", "8")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\x00\x01\x02", "is a binary file"),
        (b"label: \xe9", "is not UTF-8"),
        (b"a: b: c", "neither YAML nor JSON"),
        (b"- 1\n- 2", "a mapping of names to values was expected"),
        (b"just words", "a mapping of names to values was expected"),
        (b"[" * 2000, "neither YAML nor JSON|nested too deeply"),
        (b"a: !!python/object/apply:os.system ['true']", "neither YAML nor JSON"),
    ],
)
def test_a_broken_parameter_file_is_refused(tmp_path, content, message):
    path = tmp_path / "p.yaml"
    path.write_bytes(content)
    with pytest.raises(UserError, match=message):
        parameters.read_parameter_file(path)


def test_a_huge_or_missing_parameter_file_is_refused(tmp_path):
    path = tmp_path / "p.yaml"
    with path.open("wb") as stream:
        stream.truncate(3 * 1024**2)
    with pytest.raises(UserError, match="more than the 1 MiB"):
        parameters.read_parameter_file(path)
    with pytest.raises(UserError, match="There is no file"):
        parameters.read_parameter_file(tmp_path / "none.yaml")
    with pytest.raises(UserError, match="is a folder"):
        parameters.read_parameter_file(tmp_path)


def test_a_bomb_of_aliases_gives_a_short_message(tmp_path):
    path = tmp_path / "p.yaml"
    lines = ["a0: &a0 [1,1,1,1,1,1,1,1,1]"]
    lines += [f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 20)]
    path.write_text("\n".join(lines))
    value = parameters.read_parameter_file(path)["a19"]
    with pytest.raises(UserError) as caught:
        convert(Parameter("people", int, 5), value, "file")
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"01_tyo": {}}, "no chapter '01_tyo'"),
        ({"01_toy": {"quickly": {}}}, "did you mean 'quick'"),
        ({"01_toy": {"quick": {"seconds": 3}}}, "needs exactly"),
        ({"01_toy": {"quick": {"seconds": "x", "memory_mb": 1, "parameters": {}}}}, "type float"),
    ],
)
def test_a_malformed_file_of_profiles_is_refused(book, content, message):
    (book.chapters / "profiles.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(UserError, match=message):
        parameters.read_profiles(book)


@pytest.mark.parametrize("word", ["1", "01", "toy", "01_toy", "to", "01_t", "TOY", "01-toy"])
def test_a_chapter_is_found(shared_book, word):
    assert shared_book.find(word) == "01_toy"


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("4", "There is no chapter '4'"),
        ("scond_toy", "did you mean 'second_toy'"),
        ("0", "There is no chapter"),
        ("", "There is no chapter"),
        ("../x", "There is no chapter"),
    ],
)
def test_an_unknown_chapter_names_the_nearest(shared_book, word, message):
    with pytest.raises(UserError, match=message):
        shared_book.find(word)


def test_an_ambiguous_start_names_what_it_may_mean():
    book = Book(Path(), dict.fromkeys(("01_toy_one", "02_toy_two")))
    with pytest.raises(UserError, match="'toy' may mean 01_toy_one or 02_toy_two"):
        book.find("toy")


def test_all_five_chapters_are_known_by_number():
    book = this_book()
    assert [book.find(str(n))[:2] for n in range(1, 6)] == ["01", "02", "03", "04", "05"]
    assert book.find("goldfish") == "03_goldfish_loss"
