"""The profiles of chapter 2: settings that exist, and a `paper` profile that is the paper's."""

from pathlib import Path
from types import SimpleNamespace

import lm_eval.tasks
import pytest
import torch
import yaml
from lm_eval.tasks import TaskManager
from lm_eval.tasks._yaml_loader import load_yaml

from palimpsest.book.contents import PROFILES, this_book
from palimpsest.book.parameters import convert, declared
from palimpsest.studies.controls import scaled
from palimpsest.studies.random_label_forgetting.parameters import Parameters

CHAPTER = "02_random_label_forgetting"
# Where lm-eval keeps the tasks of the `paper` profile; an index of all takes half a minute.
FOLDERS = (
    "arc", "glue", "hellaswag", "mathqa", "openbookqa", "piqa", "sciq", "siqa", "super_glue",
    "toxigen", "winogrande",
)  # fmt: skip
NAMED = {  # of the paper's tasks, those that descriptions of it name
    "piqa", "sciq", "arc_easy", "arc_challenge", "boolq", "rte", "qnli", "wnli", "cb", "wic",
}  # fmt: skip


def stated() -> dict[str, dict]:
    text = (this_book().chapters / "profiles.yaml").read_text("utf-8")
    profiles = yaml.safe_load(text).get(CHAPTER)
    if profiles is None:
        pytest.skip(f"profiles.yaml says nothing on {CHAPTER} yet")
    return profiles


def parameters(profile: str) -> Parameters:
    own = declared(Parameters)
    values = stated()[profile]["parameters"]
    return Parameters(**{name: convert(own[name], value, "test") for name, value in values.items()})


@pytest.mark.parametrize("profile", PROFILES)
def test_every_profile_is_valid(profile: str) -> None:
    found = parameters(profile)
    assert isinstance(found.tasks, tuple)
    assert isinstance(found.relatives, tuple)
    assert set(stated()[profile]) == {"seconds", "memory_mb", "parameters"}


def test_standard_is_the_default_and_quick_looks_at_no_other_model() -> None:
    assert parameters("standard") == Parameters()
    for profile in ("smoke", "quick", "paper"):
        assert (parameters(profile).earlier, parameters(profile).relatives) == ("", ())


def test_the_paper_profile_has_what_is_known_of_the_paper() -> None:
    found = parameters("paper")
    assert (found.train_items, found.fewer_items, found.sources) == (1000, 100, 0)
    assert len(found.tasks) == len(set(found.tasks)) == 21
    assert set(found.tasks) >= NAMED | {"cola"}
    wide = SimpleNamespace(model=torch.nn.Module())  # only the width of the embeddings is looked at
    wide.model.get_input_embeddings = lambda: torch.nn.Embedding(1, 4096, device="meta")
    assert scaled(wide, found.learning_rate) == pytest.approx(1e-4)


def test_lm_eval_knows_the_papers_tasks_and_all_can_be_trained_on() -> None:
    root = Path(lm_eval.tasks.__file__).parent
    paths = [str(root / folder) for folder in FOLDERS]
    index = TaskManager(include_path=paths, include_defaults=False).task_index
    for task in parameters("paper").tasks:
        assert task in index
        config = load_yaml(index[task].yaml_path, resolve_func=False)
        assert config["output_type"] == "multiple_choice"
        assert config["training_split"]
        asked = config.get("test_split") or config["validation_split"]
        assert asked != config["training_split"]
