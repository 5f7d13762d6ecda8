"""The benchmark compares the same items; how fast they are answered is no test."""

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from tiny import tiny_lm

from palimpsest.core import models, places
from palimpsest.core.cache import Cache
from palimpsest.core.errors import UserError
from palimpsest.forgetting.items import load_items

TASKS = ("pal_people_facts", "pal_nli", "pal_addition")


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    path = places.root() / "benchmarks" / "forgetting.py"
    spec = importlib.util.spec_from_file_location("forgetting_benchmark", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_both_give_every_item_the_same_answer(benchmark: ModuleType, architecture: str) -> None:
    lm = tiny_lm(architecture, "bpe-bos" if architecture == "llama" else "bpe-eos-only")
    found = load_items(TASKS, train_cap=32, test_cap=32)
    items = [item for task in found.values() for item in task.test]
    result = benchmark.compare(lm, items, batch_sizes=(4, 16), repeats=1)
    assert (result.items, result.pairs) == (96, 192)
    assert result.different_answers == 0
    assert result.largest_difference < 1e-4
    assert result.theirs.keys() == {4, 16}
    times = {size: one.processor for size, one in result.theirs.items()}
    assert result.ratios["default"] == pytest.approx(times[4] / result.ours.processor)
    assert result.ratios["best"] == pytest.approx(min(times.values()) / result.ours.processor)
    assert result.ratios["best_first"] == pytest.approx(
        min(times.values()) / result.first.processor
    )


def test_the_line_goes_through_every_number_of_tasks_and_items(benchmark: ModuleType) -> None:
    found = load_items(TASKS, train_cap=32, test_cap=32)
    tasks = [task.test for task in found.values()]
    result = benchmark.growth(tiny_lm(), tasks, (8, 16), (1, 3, 9), repeats=1)
    assert [row["items"] for row in result.rows] == [8, 16, 24, 48]
    assert [row["tasks"] for row in result.rows] == [1, 1, 3, 3]
    for row in result.rows:
        assert row["milliseconds"] == pytest.approx(1000 * row["processor"] / row["items"])
    assert 0 <= result.r_squared <= 1


def test_the_report_is_written_and_names_no_place(
    benchmark: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    settings = vars(benchmark.Parameters()) | {
        "tasks": TASKS, "train_items": 32, "test_items": 32, "tuning_epochs": 1, "epochs": 1,
    }  # fmt: skip
    lm = tiny_lm()
    monkeypatch.setattr(models, "load", lambda *_: lm)
    monkeypatch.setattr(benchmark, "fields", lambda _: _defaults(settings))
    monkeypatch.setattr(benchmark, "Cache", lambda: Cache(tmp_path / "cache"))
    monkeypatch.setattr(benchmark, "REPEATS", 1)
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "false")
    out = tmp_path / "report.json"
    benchmark.main(["--items", "32", "--machine", "a machine", "--out", str(out)])
    report = json.loads(out.read_text())
    assert report["machine"] == "a machine"
    assert report["comparison"]["different_answers"] == 0
    assert [row["task"] for row in report["whole_tasks"]] == [
        "pal_people_facts",
        "pal_nli",
        "pal_addition",
    ]
    assert [row["items"] for row in report["growth"]["rows"]] == [24, 48, 96]
    assert str(tmp_path) not in out.read_text()
    assert "lm-eval, by batch size" in capsys.readouterr().out
    with pytest.raises(UserError, match="--items is 5; at least 32"):
        benchmark.main(["--items", "5"])


def _defaults(settings: dict[str, object]) -> list[SimpleNamespace]:
    return [SimpleNamespace(name=name, default=value) for name, value in settings.items()]
