"""The cache: the same value back, a new key for whatever matters, and never half an entry."""

import importlib
import math
import os
import signal
import subprocess
import sys
import time
from collections import OrderedDict
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import cache_cells as cells
import numpy as np
import pandas as pd
import pytest
import torch

from palimpsest.core import digests, files, serial
from palimpsest.core.cache import Cache, CacheWarning
from palimpsest.core.records import Fact

HERE = Path(__file__).parent


@pytest.fixture
def cache(tmp_path):
    return Cache(tmp_path / "cache")


def entries(cache):
    return sorted(cache.folder.glob("*/*.safetensors"))


def same(one, other):
    assert type(one) is type(other)
    if isinstance(one, np.ndarray):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)
    elif isinstance(one, torch.Tensor):
        assert one.dtype == other.dtype
        assert torch.equal(one, other)
    elif isinstance(one, pd.DataFrame):
        pd.testing.assert_frame_equal(one, other)
    elif isinstance(one, dict):
        assert list(one) == list(other)
        for key in one:
            same(one[key], other[key])
    elif isinstance(one, list | tuple):
        assert len(one) == len(other)
        for mine, theirs in zip(one, other, strict=True):
            same(mine, theirs)
    else:
        assert one == other or (one != one and other != other)


FRAME = pd.DataFrame(
    {
        "n": [1, 2, 3],
        "x": [0.1 + 0.2, math.nan, math.inf],
        "s": ["θ", None, ""],
        "flag": [True, False, True],
        "kind": pd.Categorical(["a", "b", "a"]),
        "when": pd.to_datetime(["2024-01-01", "2024-01-02", None]),
    },
    index=pd.Index([5, 6, 7], name="doc"),
)


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        3,
        10**40,
        0.1 + 0.2,
        math.nan,
        -math.inf,
        "θ \ud800 \0",
        b"\0\xff",
        [],
        (),
        {},
        [1, (2, [3.0, None]), {"a": {1: "b", (2, 3): "c"}}],
        ["dict", [["a", 1]]],
        np.float32(0.1),
        np.int64(7),
        np.array(3.5),
        np.arange(12, dtype=np.int16).reshape(3, 4)[:, ::2],
        np.empty((0, 3), np.float64),
        np.array(["a", "θθ"]),
        np.array([1 + 2j]),
        np.array(["2024-01-01"], dtype="datetime64[D]"),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        torch.arange(6, dtype=torch.bfloat16).reshape(2, 3).T,
        torch.tensor(True),
        torch.empty(0, 2),
        {"weight": torch.ones(2, 2), "steps": torch.tensor(3)},
        FRAME,
        FRAME.drop(columns="kind").iloc[:0],
        Fact(subject="Ada", relation="home", object="Brell"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_values_come_back_as_they_were(value):
    same(serial.from_bytes(serial.to_bytes(value, {}), ("palimpsest",)), value)


def test_values_made_again_are_ones_own(cache):
    first = cache.cell(cells.curve, n=4)
    again = cache.cell(cells.curve, n=4)
    assert again.end == first.end
    same(again.loss, first.loss)
    again.loss[0] = 9.0
    assert cache.cell(cells.curve, n=4).loss[0] == 1.0


def test_tied_weights_are_kept_once_each(cache):
    weight = torch.ones(3)
    tied = cache.cell(cells.give, value=OrderedDict(embed=weight, head=weight))
    assert tied["embed"].data_ptr() != tied["head"].data_ptr()
    assert torch.equal(tied["embed"], weight)


def test_a_cell_is_computed_once_and_says_so(cache, tmp_path):
    log = str(tmp_path / "log")
    assert cache.look_up(cells.count, log=log, n=3)[1]
    value, computed = cache.look_up(cells.count, n=3, log=log)
    assert not computed
    assert value["squares"].tolist() == [0, 1, 4]
    cache.cell(cells.count, log=log, n=4)
    assert Path(log).read_text() == "x\nx\n"


class Model:
    """As much of a language model as a key sees."""

    def __init__(self, weights="a", device="cpu", dtype="float32"):
        self.weights, self.device, self.dtype, self.max_length = weights, device, dtype, 8

    def fingerprint(self):
        return self.weights


DIFFERENT = [
    None, False, 0, 0.0, -0.0, "", "0", b"", [], (), {}, [[]], [0, 0], [[0], 0], [[0, 0]],
    {"a": 1, "b": 2}, {"b": 2, "a": 1}, {"a": [1], "b": 2}, {1, 2}, {1, 3}, math.nan, math.inf,
    np.float64(0), np.float32(0), np.zeros(1), np.zeros((1, 1)), np.zeros(1, np.float32),
    np.array(["a"]), torch.zeros(1), torch.zeros(1, dtype=torch.bfloat16), torch.float32,
    torch.device("cpu"), FRAME, FRAME.rename(columns={"n": "m"}), FRAME.iloc[::-1],
    SimpleNamespace(k=4), SimpleNamespace(k=8), cells.give, cells.count, Model(), Model("b"),
    Model(device="cuda"), Model(dtype="bfloat16"), Fact(subject="a", relation="b", object="c"),
    Fact(subject="a", relation="b", object="d"),
]  # fmt: skip


def test_every_difference_in_an_input_is_another_key():
    keys = [digests.of_inputs({"x": value}) for value in DIFFERENT]
    assert len(set(keys)) == len(keys)
    assert keys == [digests.of_inputs({"x": value}) for value in DIFFERENT]
    assert digests.of_inputs({"a": 1, "b": 2}) == digests.of_inputs({"b": 2, "a": 1})
    assert digests.of_inputs({"a": 1}) != digests.of_inputs({"b": 1})


def test_paths_count_by_content(cache, tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("one")
    folder = digests.of_inputs({"path": tmp_path})
    assert cache.cell(cells.size_of, path=path) == 3
    path.write_text("three")
    assert cache.cell(cells.size_of, path=path) == 5
    assert digests.of_inputs({"path": tmp_path}) != folder


@pytest.mark.parametrize("value", [object(), np.array([object()]), Model, partial(cells.give, 1)])
def test_inputs_without_content_are_refused(cache, value):
    with pytest.raises(TypeError, match="the input 'value' cannot be part of a cache key"):
        cache.cell(cells.give, value=value)


def test_values_that_need_pickling_are_refused(cache):
    with pytest.raises(TypeError, match=r"cells\.unkeepable: a builtins\.object cannot be kept"):
        cache.cell(cells.unkeepable)


def test_closures_lambdas_methods_and_notebook_functions_are_refused(cache):
    def closure():
        return 1

    exec("def typed_in(): return 1", sys.modules["__main__"].__dict__)
    typed_in = sys.modules["__main__"].typed_in
    main_file = sys.modules["__main__"].__dict__.pop("__file__", None)
    try:
        for function in (closure, lambda: 1, Model().fingerprint, partial(cells.give, 1), len, int):
            with pytest.raises(TypeError, match="top level of a module"):
                cache.cell(function)
        with pytest.raises(TypeError, match="no file"):
            cache.cell(typed_in)
    finally:
        if main_file is not None:
            sys.modules["__main__"].__file__ = main_file


def package(folder, **modules):
    (folder / "toy").mkdir(exist_ok=True)
    for name, source in {"__init__": "", **modules}.items():
        (folder / "toy" / f"{name}.py").write_text(source)


def toy_key(folder):
    """The key of ``toy.top.cell`` in a fresh process."""
    script = (
        "from toy.top import cell; from palimpsest.core import digests; "
        "print(digests.of_function(cell))"
    )
    environment = os.environ | {"PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout


def test_a_change_of_code_anywhere_below_is_another_key(tmp_path):
    top = "from . import middle\ndef cell(): return middle.f()\n"
    middle = "def f():\n    from toy.low import g\n    return g()\n"
    package(tmp_path, top=top, middle=middle, low="def g(): return 1\n", other="X = 1\n")
    first = toy_key(tmp_path)
    package(tmp_path, top=top, middle=middle, low="def g(): return 2\n", other="X = 1\n")
    changed = toy_key(tmp_path)
    assert changed != first
    prose = '"""Doc."""\n\n\ndef g():  # why\n    """More."""\n    return 2\n'
    package(tmp_path, top=top, middle=middle, low=prose, other="X = 2\n")
    assert toy_key(tmp_path) == changed


def test_the_reach_of_a_module_follows_every_import():
    reach = digests._reach("palimpsest.core.cache")
    assert {"palimpsest", "palimpsest.core", "palimpsest.core.serial", "palimpsest.core.files",
            "palimpsest.core.errors"} <= reach.keys()  # fmt: skip
    assert "palimpsest.core.study" not in reach
    assert all(path.is_file() for path in reach.values())


def test_code_edited_while_it_runs_keeps_its_old_digest(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    path = tmp_path / "edited_later.py"
    path.write_text("def cell(): return 1\n")
    cell = importlib.import_module("edited_later").cell
    before = digests.of_function(cell)
    path.write_text("def cell(): return 2\n")
    assert digests.of_function(cell) == before


@pytest.mark.parametrize("harm", ["cut", "flip", "empty", "text"])
def test_a_corrupt_entry_is_a_miss(cache, tmp_path, harm):
    log = str(tmp_path / "log")
    cache.cell(cells.count, log=log, n=50)
    [path] = entries(cache)
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(
        {"cut": content[:-5], "flip": content, "empty": b"", "text": b"no such thing"}[harm]
    )
    value, computed = cache.look_up(cells.count, log=log, n=50)
    assert computed
    assert value["squares"][-1] == 49**2
    assert not cache.look_up(cells.count, log=log, n=50)[1]


def test_every_cut_of_a_file_is_noticed():
    content = serial.to_bytes({"a": np.arange(3), "b": [1, "x"]}, {"function": "f"})
    for length in range(len(content)):
        with pytest.raises(serial.BrokenError):
            serial.from_bytes(content[:length], ("palimpsest",))


def test_a_foreign_class_in_a_file_is_never_imported(cache):
    content = serial.to_bytes(cells.curve(2), {})
    with pytest.raises(serial.BrokenError, match="foreign package"):
        serial.from_bytes(content, ("palimpsest",))


def test_the_least_recently_used_go_first(tmp_path):
    cache = Cache(tmp_path / "cache", limit_bytes=35_000)
    for seed in range(3):
        cache.cell(cells.large, bytes_=10_000, seed=seed)
        for path in entries(cache):
            os.utime(path, (path.stat().st_atime, path.stat().st_mtime - 100))
    assert not cache.look_up(cells.large, bytes_=10_000, seed=0)[1]
    cache.cell(cells.large, bytes_=10_000, seed=3)
    assert not cache.look_up(cells.large, bytes_=10_000, seed=0)[1]
    assert cache.look_up(cells.large, bytes_=10_000, seed=1)[1]
    assert sum(path.stat().st_size for path in entries(cache)) <= 35_000


def test_a_value_larger_than_the_cache_is_still_a_value(tmp_path):
    cache = Cache(tmp_path / "cache", limit_bytes=1000)
    with pytest.warns(CacheWarning, match="of the 1000 allowed"):
        assert len(cache.cell(cells.large, bytes_=5000)) == 5000
    assert not entries(cache)


def no_space(path, content):
    raise OSError(28, "No space left on device")


def test_a_full_disk_costs_only_time(cache, monkeypatch):
    monkeypatch.setattr(files, "write_bytes", no_space)
    for _ in range(2):
        with pytest.warns(CacheWarning, match="No space left"):
            assert cache.look_up(cells.give, value=3) == (3, True)


def test_a_cache_that_cannot_be_a_folder_costs_only_time(tmp_path):
    (tmp_path / "file").write_text("in the way")
    cache = Cache(tmp_path / "file" / "cache")
    with pytest.warns(CacheWarning):
        assert cache.cell(cells.give, value=3) == 3
    assert cache.entries() == []
    assert cache.clear() == 0


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_cache_still_serves(cache):
    cache.cell(cells.give, value=3)
    for folder in (entries(cache)[0].parent, cache.folder):
        folder.chmod(0o500)
    try:
        assert cache.look_up(cells.give, value=3) == (3, False)
        with pytest.warns(CacheWarning):
            assert cache.cell(cells.give, value=4) == 4
    finally:
        for folder in (cache.folder, entries(cache)[0].parent):
            folder.chmod(0o700)


def process(cache, call, **options):
    script = (
        f"from palimpsest.core.cache import Cache; import cache_cells as cells; "
        f"from pathlib import Path; cache = Cache(Path({str(cache.folder)!r})); {call}"
    )
    environment = os.environ | {"PYTHONPATH": str(HERE), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-c", script], env=environment, stdout=subprocess.PIPE, text=True
    )


def test_two_processes_may_compute_the_same_cell(cache):
    call = "print(int(cache.cell(cells.large, bytes_=300_000).sum()))"
    both = [process(cache, call) for _ in range(2)]
    sums = {one.communicate(timeout=120)[0] for one in both}
    assert sums == {f"{int(cells.large(300_000).sum())}\n"}
    assert len(entries(cache)) == 1
    assert not cache.look_up(cells.large, bytes_=300_000)[1]


def test_a_process_killed_while_writing_leaves_no_entry(cache):
    killed = process(cache, "cache.cell(cells.killed_while_renaming)")
    killed.communicate(timeout=120)
    assert killed.returncode == -signal.SIGKILL
    assert not entries(cache)
    [left] = cache.folder.glob(f"*/{files.TEMPORARY}*")
    cache.cell(cells.give, value=1)
    assert left.exists()  # it might belong to a process that is still writing
    os.utime(left, (time.time() - 10**6,) * 2)
    cache.cell(cells.give, value=2)
    assert not left.exists()


def test_show_and_clear(cache):
    cache.cell(cells.give, value=1)
    cache.cell(cells.give, value=2)
    cache.cell(cells.large, bytes_=10_000)
    kept = cache.entries()
    assert sorted(entry.function.split(".")[-1] for entry in kept) == ["give", "give", "large"]
    assert "3 values" in cache.show()
    assert "cells.give: 2 values" in cache.show()
    min(entries(cache), key=lambda path: path.stat().st_size).write_bytes(b"\xff" * 20)
    assert len(cache.entries()) == 2
    stranger = cache.folder / "notes.txt"
    stranger.write_text("mine")
    assert cache.clear() >= 10_000
    assert not entries(cache)
    assert stranger.exists()
    assert "0 values" in cache.show()
