"""The files that install the book must not drift apart."""

import re
import subprocess
import tomllib

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from palimpsest.core.places import root

PROJECT = tomllib.loads((root() / "pyproject.toml").read_text())["project"]


def locked() -> dict[str, str]:
    lines = (root() / "requirements.lock").read_text().splitlines()
    pins = [line for line in lines if line.strip() and not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.!+_-]+", line) for line in pins), pins
    return {canonicalize_name(name): version for name, version in (p.split("==") for p in pins)}


def test_lock_pins_what_the_book_needs():
    pins = locked()
    assert pins["torch"] == "2.13.0"
    assert pins["jupyter-book"] == "1.0.4.post1"
    assert not {"torchvision", "torchaudio"} & set(pins)
    assert not [name for name in pins if name.startswith("nvidia")]


@pytest.mark.parametrize("line", PROJECT["dependencies"] + PROJECT["optional-dependencies"]["dev"])
def test_every_dependency_is_locked_inside_a_bounded_range(line: str):
    requirement = Requirement(line)
    version = locked()[canonicalize_name(requirement.name)]
    assert requirement.specifier.contains(version, prereleases=True)
    bounded = [s for s in requirement.specifier if s.operator in ("<", "==", "<=")]
    assert bounded, f"{line} has no upper bound"


def test_torchvision_is_nowhere_required():
    for name in ("pyproject.toml", "requirements.lock", "environment.yml", "constraints.txt"):
        assert "torchvision" not in (root() / name).read_text()


def test_conda_supplies_python_and_pip_reads_the_lock():
    environment = yaml.safe_load((root() / "environment.yml").read_text())
    conda = [entry for entry in environment["dependencies"] if isinstance(entry, str)]
    (pip,) = [e["pip"] for e in environment["dependencies"] if isinstance(e, dict)]
    (python,) = [entry for entry in conda if entry.startswith("python ")]
    assert python.removeprefix("python").strip() == PROJECT["requires-python"]
    assert {entry.split()[0] for entry in conda} == {"python", "pip"}
    assert pip == ["-r requirements.lock", "-e ."]


def test_make_help_lists_the_targets_of_the_readme():
    listing = subprocess.run(
        ["make", "--no-print-directory", "help"],
        cwd=root(), capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    for target in ("book", "test", "install", "read", "lint", "clean", "help", "lock"):
        assert f"make {target} " in listing


def test_ci_calls_the_readme_test_command():
    assert "make test" in (root() / ".ci" / "run").read_text()
    assert "make test" in (root() / "README.md").read_text()
