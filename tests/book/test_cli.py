"""The command: what it answers to good and to bad input, without executing a chapter."""

import errno
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from palimpsest.book import manifest
from palimpsest.cli import main
from palimpsest.core import files


def refused(capsys, book, *argv: str) -> str:
    """Call the command with bad input: exit code 2 and one paragraph, which is returned."""
    assert main(list(argv), book=book) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("palimpsest: ")
    assert said.err.count("\n") == 1
    assert "Traceback" not in said.err
    return said.err


def test_help_is_quick_and_imports_nothing_heavy():
    code = (
        "import sys, contextlib, io\n"
        "from palimpsest.cli import main\n"
        "with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()) as out:\n"
        "    main(['run', '--help'])\n"
        "assert '--resume' in out.getvalue()\n"
        "heavy = {'torch', 'numpy', 'pandas', 'matplotlib', 'yaml', 'sphinx', 'nbformat'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "needs a command; Known: run, build"),
        (["rnu"], "There is no command 'rnu'; did you mean 'run'?"),
        (["cache"], "'cache' needs a command; Known: show, clear."),
        (["cache", "shw"], "There is no command 'shw'; did you mean 'show'?"),
        (["world", "mak"], "There is no command 'mak'; did you mean 'make'?"),
        (["run", "--modle", "x"], "'--modle' is not understood; did you mean '--model'?"),
        (["run", "--model"], "expected one argument"),
        (["claims"], "required: DIR"),
        (["build", "--edition", "studnt"], "no edition 'studnt'; did you mean 'student'?"),
        (["claims", "x", "--format", "jsn"], "no format 'jsn'; did you mean 'json'?"),
        (["doctor", "--profile", "quickly"], "no profile 'quickly'; did you mean 'quick'?"),
        (["world", "make", "--seed", "x"], "'x' is not a whole number"),
        (["world", "show", "--task", "pal_nope"], "pal_nope"),
        (["world", "show", "--person", "Nobody Here"], "Nobody Here"),
        (["world", "show", "--size", "xxl"], "xxl"),
        (["run", "golfish"], "There is no chapter 'golfish'"),
        (["run", "3"], "Chapter 03_unwritten ('The unwritten') is not written yet."),
        (["run", "1", "--profile", "quickly"], "no profile 'quickly'; did you mean 'quick'?"),
        (["run", "1", "--profile", "paper"], "no profile 'paper' for chapter 01_toy"),
        (["run", "1", "--seed", "x"], "'seed' is of type int"),
        (["run", "1", "--seed", "-1"], "must lie between"),
        (["run", "1", "--device", "gpu"], "'gpu' is no value of 'device'"),
        (["run", "1", "--dtype", "float"], "did you mean 'float32'"),
        (["run", "1", "--set", "peple=3"], "no parameter 'peple'; did you mean 'people'?"),
        (["run", "1", "--set", "people=many"], "'people' is of type int"),
        (["run", "1", "--set", "people"], "expected [CHAPTER.]PARAM=VALUE"),
        (["run", "1", "--set", "second.people=3"], "not among those to run: 01_toy"),
        (["run", "1", "--set", "toy.seed=3"], "common to all chapters"),
        (["run", "1", "--params", "none.yaml"], "There is no file none.yaml"),
        (["run", "1", "--model", "./none"], "none"),
        (["run", "1", "--model", "palimpsest-x"], "palimpsest-x"),
        (["run", "1", "--model", ""], "empty"),
        (["build", "--run", "none"], "There is no run folder none"),
        (["claims", "none"], "There is no run folder none"),
        (["compare", "none"], "Two runs at least"),
    ],
)
def test_bad_usage(capsys, shared_book, tmp_path, monkeypatch, argv, message):
    monkeypatch.chdir(tmp_path)
    assert message in refused(capsys, shared_book, *argv)
    assert list(tmp_path.iterdir()) == []


def test_a_broken_model_is_refused_before_anything_is_written(capsys, shared_book, model, tmp_path):
    broken = tmp_path / "broken"
    broken.mkdir()
    for path in model.iterdir():
        (broken / path.name).write_bytes(path.read_bytes())
    weights = broken / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    out = tmp_path / "out"
    refused(capsys, shared_book, "run", "1", "--model", str(broken), "--out", str(out))
    assert not out.exists()


def test_help_of_every_command(capsys):
    for argv in (["run"], ["build"], ["claims"], ["compare"], ["chapters"], ["doctor"],
                 ["world", "make"], ["world", "train"], ["world", "show"], ["cache", "show"],
                 ["cache", "clear"]):  # fmt: skip
        with pytest.raises(SystemExit) as stop:
            main([*argv, "--help"])
        assert stop.value.code == 0
        assert "usage: palimpsest" in capsys.readouterr().out


def test_chapters_tells_parameters_and_costs(capsys, shared_book):
    assert main(["chapters"], book=shared_book) == 0
    shown = capsys.readouterr().out
    assert "03_unwritten: The unwritten (not written yet)" in shown
    assert "about 10 s and 500 MiB" in shown
    assert main(["chapters", "--format", "json"], book=shared_book) == 0
    found = json.loads(capsys.readouterr().out)
    assert [c["written"] for c in found["chapters"]] == [True, True, False]
    people = found["chapters"][0]["parameters"][0]
    assert people == {"name": "people", "type": "int", "default": 5, "help": "how many"}
    assert found["chapters"][0]["profiles"]["smoke"]["parameters"] == {"people": 3}
    assert [p["name"] for p in found["common"]][:3] == ["model", "profile", "seed"]


def test_the_real_book_lists_its_chapters(capsys):
    assert main(["chapters", "--format", "json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["chapters"]) == 5


def test_cache_show_and_clear(capsys):
    assert main(["cache", "show"]) == 0
    assert "MiB of at most" in capsys.readouterr().out
    assert main(["cache", "clear"]) == 0
    assert "freed" in capsys.readouterr().out


# --- places that cannot hold a run -----------------------------------------------------------


def run_into(book, model: Path, out: Path, *more: str) -> list[str]:
    return ["run", "1", "--model", str(model), "--out", str(out), *more]


def test_an_existing_folder_needs_resume(capsys, shared_book, model, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    message = refused(capsys, shared_book, *run_into(shared_book, model, tmp_path))
    assert "exists already. Continue that run with --resume" in message
    message = refused(capsys, shared_book, *run_into(shared_book, model, tmp_path, "--resume"))
    assert "is not a run folder" in message
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_file_in_the_way_is_refused(capsys, shared_book, model, tmp_path):
    (tmp_path / "file").write_text("mine")
    message = refused(capsys, shared_book, *run_into(shared_book, model, tmp_path / "file"))
    assert "is not a folder" in message
    below = tmp_path / "file" / "run"
    assert "cannot be written" in refused(capsys, shared_book, *run_into(shared_book, model, below))


def test_a_place_that_takes_no_folders_is_refused(capsys, shared_book, model):
    out = Path("/proc/palimpsest-run")
    assert "cannot be written" in refused(capsys, shared_book, *run_into(shared_book, model, out))


def test_a_read_only_place_is_refused(capsys, shared_book, model, tmp_path, monkeypatch):
    def refuse(self: Path, *args: object, **options: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(Path, "mkdir", refuse)
    out = tmp_path / "run"
    message = refused(capsys, shared_book, *run_into(shared_book, model, out))
    assert "Read-only file system. Choose another folder with --out." in message


def test_a_full_place_is_refused(capsys, shared_book, model, tmp_path, monkeypatch):
    real = os.statvfs(tmp_path)
    full = os.statvfs_result((*real[:4], 0, *real[5:]))
    monkeypatch.setattr(manifest.os, "statvfs", lambda path: full)
    out = tmp_path / "run"
    message = refused(capsys, shared_book, *run_into(shared_book, model, out))
    assert "are free on its device. Free some space" in message
    assert not out.exists()


def test_a_place_that_fills_up_at_once_is_left_clean(
    capsys, shared_book, model, tmp_path, monkeypatch
):
    real = files.write_bytes

    def fill(path: Path, content: bytes) -> None:
        if content:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(path, content)

    monkeypatch.setattr(files, "write_bytes", fill)
    out = tmp_path / "run"
    message = refused(capsys, shared_book, *run_into(shared_book, model, out))
    assert "No space left on device. Free some space and call the same command" in message
    assert not out.exists()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b'{"schema": 9}'])
def test_a_broken_manifest_is_refused(capsys, shared_book, model, tmp_path, content):
    path = tmp_path / "manifest.json"
    path.write_bytes(content)
    message = refused(capsys, shared_book, *run_into(shared_book, model, tmp_path, "--resume"))
    assert "manifest.json" in message
    assert path.read_bytes() == content
    assert "manifest.json" in refused(capsys, shared_book, "claims", str(tmp_path))
    assert "manifest.json" in refused(capsys, shared_book, "build", "--run", str(tmp_path))


def test_two_runs_never_write_to_one_folder(capsys, shared_book, model, tmp_path):
    out = tmp_path / "run"
    out.mkdir()
    with manifest.locked(out):
        message = refused(capsys, shared_book, *run_into(shared_book, model, out))
    assert "Another run is writing to" in message
    assert list(out.iterdir()) == []
    with manifest.locked(out):  # the lock is free again
        pass


def test_the_lock_goes_with_its_process(tmp_path):
    code = (
        "import sys, time\nfrom palimpsest.book.manifest import locked\nfrom pathlib import Path\n"
        f"with locked(Path({str(tmp_path)!r})):\n"
        "    print('held', flush=True)\n    time.sleep(60)\n"
    )
    holder = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    holder.stdout.readline()
    with pytest.raises(manifest.RunError), manifest.locked(tmp_path):
        pass
    holder.kill()
    holder.wait()
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            with manifest.locked(tmp_path):
                return
        except manifest.RunError:
            time.sleep(0.1)
    pytest.fail("the lock outlived its process")


def test_a_params_file_is_used(capsys, shared_book, model, tmp_path):
    path = tmp_path / "p.yaml"
    path.write_text("people: many\n")
    argv = run_into(shared_book, model, tmp_path / "out", "--params", str(path))
    message = refused(capsys, shared_book, *argv)
    assert f"{path}: parameter 'people' is of type int, and 'many' (str) is not." in message


def test_output_that_nobody_reads_is_no_error():
    reader, writer = os.pipe()
    os.close(reader)
    code = "import sys\nfrom palimpsest.cli import main\nsys.exit(main(['cache', 'show']))"
    ran = subprocess.run(
        [sys.executable, "-c", code], stdout=writer, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(writer)
    assert ran.stderr == ""
