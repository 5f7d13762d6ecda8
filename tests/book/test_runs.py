"""Runs: executed chapters, failures, resume, signals, and papermill by itself."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import papermill
import psutil
import pytest
import toy

from palimpsest.book import execution, manifest
from palimpsest.book.contents import Book
from palimpsest.book.manifest import read_manifest
from palimpsest.cli import main
from palimpsest.core import files
from palimpsest.core.results import ChapterResults, Result, Value, read_results


def test_a_failing_chapter_leaves_the_others_intact(half):
    out, code, _ = half
    assert code == 1
    found = read_manifest(out)
    assert list(found["chapters"]) == ["01_toy", "02_second_toy"]
    first, second = found["chapters"].values()
    assert (first["status"], second["status"]) == ("finished", "failed")
    assert second["error"] == {
        "cell": 4, "source": 'width = chapter.study("width")', "cause": "ValueError: boom <b>",
    }  # fmt: skip
    # What the failed chapter had measured before it failed is kept.
    assert set(read_results(out / "results" / "02_second_toy")["values"]) == {"size"}


def test_the_summary_names_the_cell_the_cause_and_how_to_resume(half):
    out, _, said = half
    assert '02_second_toy failed in code cell 4 (`width = chapter.study("width")`): ' in said
    assert "ValueError: boom <b>." in said
    assert f"palimpsest run --out {out} --resume" in said
    assert "Traceback" not in said


def test_progress_is_visible(half):
    _, _, said = half
    assert "[1/2] 01_toy: The toy" in said
    assert "  cell 9/9 (" in said
    assert "    draw: " in said


def test_the_manifest_says_what_was_run(half, model):
    out, _, _ = half
    found = read_manifest(out)
    assert (found["schema"], found["model"], found["profile"], found["seed"]) == (
        1, str(model), "smoke", 0)  # fmt: skip
    assert len(found["weights_sha256"]) == len(found["tokenizer_sha256"]) == 64
    assert found["parameters"]["01_toy"]["people"] == 3
    assert found["given"]["02_second_toy"] == {"rate": 0.5, "fail": True}
    assert {"python", "torch", "transformers", "palimpsest"} <= set(found["versions"])
    assert (found["device"], found["dtype"]) == ("cpu", "float32")
    assert "process" not in found
    entry = found["chapters"]["01_toy"]
    assert entry["start"] <= entry["end"]
    assert entry["seconds"] > 0
    assert entry["peak_memory_mb"] > 50
    assert len(entry["source_sha256"]) == 64


def test_results_and_the_executed_notebook_are_there(half):
    out, _, _ = half
    results = read_results(out / "results" / "01_toy")
    assert results["values"]["size"] == {
        "value": 0.9, "ci95": [0.8, 0.95], "n": 3, "unit": "fraction"}  # fmt: skip
    assert [claim["verdict"] for claim in results["claims"]] == [
        "holds", "not-tested", "inconclusive"]  # fmt: skip
    notebook = nbformat.read(out / "chapters" / "01_toy.ipynb", as_version=4)
    nbformat.validate(notebook)
    # The same run gives the same notebook: it has no times, random ids or progress.
    for cell in notebook.cells:
        assert not {"papermill", "execution"} & set(cell.metadata)
        assert cell.id == "injected-parameters" or cell.id.startswith("01-")
    shown = [o for c in notebook.cells if c.cell_type == "code" for o in c.outputs]
    assert not [o for o in shown if o.get("name") == "stderr"]
    figures = [o.metadata["palimpsest"] for o in shown if "palimpsest" in o.get("metadata", {})]
    assert [figure["figure"] for figure in figures] == ["sizes", "bars"]
    assert figures[1]["alt"] == "Bars & more."
    assert not list(out.rglob(f"{files.TEMPORARY}*"))


def played_without_a_kernel(path, parameters, watcher):
    """Stands in for the execution of a notebook: records results as the notebook would."""
    recorded = ChapterResults(path.stem, {"people": 3}, "cpu")
    recorded.add("width", Result(values={"width": Value(0.3, (0.2, 0.4), 7)}))
    recorded.write(Path(parameters["out"]) / "results" / path.stem)
    return execution.Played(nbformat.v4.new_notebook(), None, 1.0)


def test_resume_skips_what_is_done_and_keeps_what_was_given(
    half, shared_book, capsys, tmp_path, monkeypatch
):
    monkeypatch.setattr(execution, "play", played_without_a_kernel)
    out = tmp_path / "run"
    shutil.copytree(half.out, out)
    before = (out / "results" / "01_toy" / "results.json").stat().st_mtime_ns
    argv = ["run", "--out", str(out), "--resume", "--set", "2.fail=false"]
    assert main(argv, book=shared_book) == 0
    said = capsys.readouterr()
    assert "01_toy is up to date." in said.err
    assert "[1/1] 02_second_toy" in said.err
    assert "2 of 2 chapters" in said.out
    found = read_manifest(out)
    assert [entry["status"] for entry in found["chapters"].values()] == ["finished"] * 2
    # What was given before holds still, what is given now wins; the profile is the run's.
    assert found["given"]["02_second_toy"] == {"rate": 0.5, "fail": False}
    assert found["profile"] == "smoke"
    assert (out / "results" / "01_toy" / "results.json").stat().st_mtime_ns == before
    # Nothing is left to do.
    assert main(["run", "--out", str(out), "--resume"], book=shared_book) == 0
    assert "[1/" not in capsys.readouterr().err


def test_chapters_may_be_added_to_a_run(shared_book, model, tmp_path, monkeypatch):
    monkeypatch.setattr(execution, "play", played_without_a_kernel)
    out = tmp_path / "run"
    assert main(["run", "2", "--model", str(model), "--out", str(out)], book=shared_book) == 0
    assert main(["run", "1", "--out", str(out), "--resume"], book=shared_book) == 0
    found = read_manifest(out)
    assert list(found["chapters"]) == ["01_toy", "02_second_toy"]
    assert set(found["parameters"]) == {"01_toy", "02_second_toy"}


def test_the_default_folder_names_model_profile_and_seed(
    shared_book, model, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(execution, "play", played_without_a_kernel)
    monkeypatch.chdir(tmp_path)
    argv = ["run", "1", "--model", str(model), "--profile", "smoke", "--seed", "7"]
    assert main(argv, book=shared_book) == 0
    assert (tmp_path / "runs" / "toy-model-smoke-7" / "manifest.json").is_file()
    assert main(argv, book=shared_book) == 2
    assert "Continue that run with --resume" in capsys.readouterr().err
    assert main([*argv, "--resume"], book=shared_book) == 0


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--profile", "quick"], "is a run with profile smoke, and quick was asked for"),
        (["--seed", "1"], "is a run with seed 0, and 1 was asked for"),
    ],
)
def test_a_run_is_never_continued_with_another(half, shared_book, capsys, more, message):
    before = (half[0] / "manifest.json").read_bytes()
    assert main(["run", "--out", str(half[0]), "--resume", *more], book=shared_book) == 2
    assert message in capsys.readouterr().err
    assert (half[0] / "manifest.json").read_bytes() == before


def test_a_run_is_never_continued_with_another_model(half, shared_book, capsys, tmp_path):
    other = toy.make_model(tmp_path / "other", seed=1)
    argv = ["run", "--out", str(half[0]), "--resume", "--model", str(other)]
    assert main(argv, book=shared_book) == 2
    assert "is a run with model" in capsys.readouterr().err


def test_changed_code_is_stale_and_changed_prose_is_not(half, shared_book, book, model):
    from palimpsest.book import runs

    def plan(of: Book) -> tuple[str, ...]:
        return runs.plan(of, ["1"], out=half[0], resume=True).done

    assert plan(shared_book) == ("01_toy",)
    toy.edit(book, "01_toy", str(book.root), str(shared_book.root))
    assert plan(book) == ("01_toy",)
    toy.edit(book, "01_toy", "# The toy", "# The better toy")
    toy.edit(book, "01_toy", "  # learning rate", "  # how fast")
    assert plan(book) == ("01_toy",)
    toy.edit(book, "01_toy", 'size.figure("sizes")', 'size.figure("bars")')
    assert plan(book) == ()


def test_papermill_alone_does_the_same_as_run(half, shared_book, model, tmp_path):
    out = tmp_path / "run"
    given = {"model": str(model), "profile": "smoke", "rate": 0.5, "out": str(out)}
    executed = out / "chapters" / "01_toy.ipynb"
    executed.parent.mkdir(parents=True)
    manifest.write_manifest(out, read_manifest(half[0]) | {"chapters": {}})
    # papermill looks its kernel up by name; the surroundings have a broken one of that name.
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JUPYTER_DATA_DIR", str(tmp_path))
        papermill.execute_notebook(
            shared_book.notebook("01_toy"), executed, given, progress_bar=False
        )
    ours, theirs = (read_results(run / "results" / "01_toy") for run in (out, half[0]))
    for timed in (ours, theirs):
        del timed["seconds"], timed["peak_memory_mb"]
    assert ours == theirs
    alone, within = read_manifest(out), read_manifest(half[0])
    for key in ("weights_sha256", "tokenizer_sha256", "profile", "seed", "device"):
        assert alone[key] == within[key]
    assert alone["chapters"]["01_toy"]["status"] == "finished"
    assert alone["parameters"]["01_toy"] == within["parameters"]["01_toy"]
    for name in ("figures/sizes.svg", "tables/numbers.csv"):
        path = Path("results") / "01_toy" / name
        assert (out / path).read_bytes() == (half[0] / path).read_bytes()


def test_a_misspelt_parameter_of_papermill_is_refused(shared_book):
    from palimpsest.book.chapter import open_chapter
    from palimpsest.core.errors import UserError

    namespace = {"In": ["", "x = 1", "# Parameters\npeple = 3\n"], "peple": 3}
    with pytest.raises(UserError, match="did you mean 'people'"):
        open_chapter("01_toy", namespace, book=shared_book)


def test_without_out_nothing_is_recorded(shared_book, model, tmp_path, monkeypatch):
    from palimpsest.book.chapter import open_chapter
    from palimpsest.core.errors import UserError

    monkeypatch.chdir(tmp_path)
    given = {"model": str(model), "people": 4, "profile": None}
    chapter = open_chapter("1", given, book=shared_book)
    view = chapter.study("size")
    assert str(view.value("size")) == "0.9 (95 % interval 0.8 to 0.95, n = 4)"
    assert f"{view.value('size'):.2f}" == "0.90"
    assert len(view.table("numbers")) == 4
    html = view.table("numbers")._repr_html_()
    assert "size of toy" in html
    assert "palimpsest-table" in html
    for call in (view.figure, view.table, view.value, chapter.study):
        with pytest.raises(UserError, match="Known: "):
            call("none")
    chapter.close()
    assert list(tmp_path.iterdir()) == []
    assert "people     4" in repr(chapter)
    assert "<td>people</td><td>4</td><td>given</td>" in chapter._repr_html_()
    assert "toy-1" in repr(view)
    assert "The toy is large." in view._repr_html_()


def test_an_execution_that_fills_the_disk_says_so(
    shared_book, model, tmp_path, capsys, monkeypatch
):
    real = files.write_bytes

    def fill(path: Path, content: bytes) -> None:
        if path.suffix == ".ipynb":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(path, content)

    monkeypatch.setattr(execution, "play", played_without_a_kernel)
    monkeypatch.setattr(files, "write_bytes", fill)
    out = tmp_path / "run"
    assert main(["run", "1", "--model", str(model), "--out", str(out)], book=shared_book) == 2
    assert "Free some space and call the same command with --resume" in capsys.readouterr().err
    assert read_manifest(out)["chapters"]["01_toy"]["status"] == "running"
    assert not list(out.rglob(f"{files.TEMPORARY}*"))


# --- stopped runs ------------------------------------------------------------------------------

COMMAND = """\
import sys
sys.path[:0] = [{tests!r}, {chapters!r}]
from pathlib import Path
from palimpsest.book.contents import Book
from palimpsest.cli import main
from palimpsest.studies import ChapterSpec
specs = {{n: ChapterSpec(n, t, m) for n, t, m in {specs!r}}}
sys.exit(main(sys.argv[1:], book=Book(Path({root!r}), specs)))
"""


def start(book: Book, mark: Path, *argv: str) -> subprocess.Popen:
    """Start the command in a process of its own and wait until its slow cell has begun."""
    listed = [(spec.name, spec.title, spec.module) for spec in book.specs.values()]
    code = COMMAND.format(
        tests=str(Path(__file__).parent), chapters=str(book.chapters), specs=listed,
        root=str(book.root),
    )  # fmt: skip
    mark.unlink(missing_ok=True)
    process = subprocess.Popen(
        [sys.executable, "-c", code, *argv], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True,
    )  # fmt: skip
    while not mark.exists():
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.05)
    return process


def kernels(process: subprocess.Popen) -> list[psutil.Process]:
    found = psutil.Process(process.pid).children(recursive=True)
    assert found, "the run has no kernel"
    return found


def assert_gone(processes: list[psutil.Process]) -> None:
    _, alive = psutil.wait_procs(processes, timeout=10)
    assert not [p for p in alive if p.status() != psutil.STATUS_ZOMBIE]


def test_a_stopped_run_is_resumed(shared_book, model, tmp_path, capsys):
    out, mark = tmp_path / "run", tmp_path / "mark"
    argv = ["run", "1", "--model", str(model), "--out", str(out), "--set", f"counter={mark}",
            "--set", "slow=100", "--resume"]  # fmt: skip

    process = start(shared_book, mark, *argv)
    children = kernels(process)
    assert main(argv, book=shared_book) == 2
    assert "Another run is writing to" in capsys.readouterr().err
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=60)[0]
    assert process.returncode == 130
    assert f"palimpsest run 01_toy --out {out} --resume" in said
    assert "Traceback" not in said
    assert_gone(children)
    assert read_manifest(out)["chapters"]["01_toy"]["status"] == "pending"
    assert set(read_results(out / "results" / "01_toy")["values"]) == {"size"}

    process = start(shared_book, mark, *argv)
    children = kernels(process)
    process.kill()
    said = process.communicate(timeout=60)[0]
    assert "cached" in said
    assert_gone(children)
    assert read_manifest(out)["chapters"]["01_toy"]["status"] == "running"
    assert json.loads((out / "results" / "01_toy" / "results.json").read_text())["schema"] == 1

    for place in (out, out / "chapters"):
        place.mkdir(exist_ok=True)
        (place / f"{files.TEMPORARY}left").write_text("half written")
    assert main([*argv, "--set", "slow=0"], book=shared_book) == 0
    assert not list(out.rglob(f"{files.TEMPORARY}*"))
    found = read_manifest(out)
    assert found["chapters"]["01_toy"]["status"] == "finished"
    assert "process" not in found
    assert set(read_results(out / "results" / "01_toy")["values"]) == {"size", "width"}
