"""lm-eval's tasks on our models: the adapter, and a table with one row for each item.

:class:`HarnessLM` answers lm-eval's three kinds of request with :mod:`palimpsest.core.scoring` and
:mod:`palimpsest.core.generation`, so lm-eval runs any of its tasks on it. :func:`evaluate_tasks`
runs tasks from a folder of YAML files, or made by :func:`make_task`: without the network, in
silence, and without moving the global random states, none of which lm-eval promises itself.
:func:`read_questions` gives the items of multiple-choice tasks themselves, for whoever trains on
them.
"""

import contextlib
import difflib
import logging
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from lm_eval.api.model import TemplateLM

from palimpsest.core import places
from palimpsest.core.errors import DataError, UserError, nearest
from palimpsest.core.generation import Sampling, continue_texts
from palimpsest.core.models import LanguageModel
from palimpsest.core.records import Item, as_dict
from palimpsest.core.scoring import TokenPair, encode, score, score_tokens

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance
    from lm_eval.api.task import Task
    from lm_eval.tasks import TaskManager

COLUMNS = ["task", "doc_id", "item", "label", "margin", "p", "correct"]
MAX_NEW_TOKENS = 256  # lm-eval's default for tasks that state no limit
FEWSHOT_SEED = 1234  # lm-eval's default


@dataclass(frozen=True)
class Question:
    """One item of a multiple-choice task, as lm-eval asks it.

    Attributes:
        id: the item's own ``id`` if it has one, else "task/split/place"; unique in the task.
        choices: the choices as the task words them.
        pairs: for each choice the (context, continuation) that is scored for it, few-shot examples,
            description and delimiter included. Most tasks share the context; those shaped like
            Winogrande share the continuation.
        right: indices of the right choices, usually one; none if the label is missing or out of
            range.
    """

    id: str
    choices: tuple[str, ...]
    pairs: tuple[tuple[str, str], ...]
    right: tuple[int, ...]


class HarnessLM(TemplateLM):
    """A :class:`LanguageModel` as lm-eval wants to see it.

    It holds a reference: weights trained later are seen. ``seed`` is that of sampled generations.
    """

    backend = "causal"

    def __init__(
        self,
        lm: LanguageModel,
        batch_tokens: int | None = None,
        progress: str | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.lm = lm
        self.tokenizer = lm.tokenizer
        self.batch_tokens, self.progress, self.seed = batch_tokens, progress, seed
        self._device = lm.device

    @property
    def eot_token_id(self) -> int:
        return self.tokenizer.eos_token_id

    @property
    def prefix_token_id(self) -> int:
        """What stands before a text that nothing precedes: BOS, else EOS.

        Raises:
            DataError: the tokenizer has neither.
        """
        if self.lm.start_id is None:
            raise DataError(
                f"The tokenizer of {self.lm.name} has neither a BOS nor an EOS token, and this "
                "task scores texts that nothing precedes. Choose another task or another model."
            )
        return self.lm.start_id

    @property
    def max_length(self) -> int:
        return self.lm.max_length

    @property
    def max_gen_toks(self) -> int:
        """New tokens where a task states no limit; half the window must stay for the prompt."""
        return min(MAX_NEW_TOKENS, self.max_length // 2)

    @property
    def tokenizer_name(self) -> str:
        return self.tokenizer.name_or_path.replace("/", "__")

    def tok_encode(
        self,
        string: str,
        add_special_tokens: bool | None = None,
        left_truncate_len: int | None = None,
        **_: Any,
    ) -> list[int]:
        """Token ids of a text; with ``left_truncate_len`` the last so many."""
        ids = encode(self.lm, [string], add_special_tokens)[0]
        return ids[-left_truncate_len:] if left_truncate_len else ids

    def tok_decode(self, tokens: Any, skip_special_tokens: bool = True) -> str:
        return self.tokenizer.decode(tokens, skip_special_tokens=skip_special_tokens)

    def apply_chat_template(
        self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True
    ) -> str:
        """A conversation as one text, by the tokenizer's template.

        A template that knows no system role gets the conversation without it, as in lm-eval.
        """
        import jinja2

        options = {
            "tokenize": False,
            "add_generation_prompt": add_generation_prompt,
            "continue_final_message": not add_generation_prompt,
        }
        try:
            return self.tokenizer.apply_chat_template(chat_history, **options)
        except jinja2.exceptions.TemplateError:
            others = [message for message in chat_history if message["role"] != "system"]
            return self.tokenizer.apply_chat_template(others, **options)

    def loglikelihood(
        self, requests: list["Instance"], disable_tqdm: bool = True
    ) -> list[tuple[float, bool]]:
        """(log-probability in nats, whether greedy) of each (context, continuation)."""
        pairs = [request.args for request in requests]
        scores = score(self.lm, pairs, self.batch_tokens, self.progress)
        answers = [(found.logprob, found.is_greedy) for found in scores]
        for pair, answer in zip(pairs, answers, strict=True):
            self.cache_hook.add_partial("loglikelihood", pair, answer)
        return answers

    def _loglikelihood_tokens(
        self, requests: list[tuple[tuple[str, str], list[int], list[int]]], **_: Any
    ) -> list[tuple[float, bool]]:
        pairs: list[TokenPair] = [(context, rest) for _, context, rest in requests]
        scores = score_tokens(self.lm, pairs, self.batch_tokens, self.progress)
        return [(found.logprob, found.is_greedy) for found in scores]

    def loglikelihood_rolling(
        self, requests: list["Instance"], disable_tqdm: bool = True
    ) -> list[float]:
        """Log-probability in nats of whole texts, each token predicted once, in windows."""
        texts = [request.args[0] for request in requests]
        start = self.prefix_token_id
        pairs: list[TokenPair] = [([start], ids) for ids in encode(self.lm, texts)]
        answers = [
            found.logprob
            for found in score_tokens(self.lm, pairs, self.batch_tokens, self.progress)
        ]
        for text, answer in zip(texts, answers, strict=True):
            self.cache_hook.add_partial("loglikelihood_rolling", (text,), answer)
        return answers

    def generate_until(self, requests: list["Instance"], disable_tqdm: bool = True) -> list[str]:
        """Continuations up to the requests' stop strings, by their ``gen_kwargs``."""
        groups: dict[str, list[int]] = {}
        for index, request in enumerate(requests):
            groups.setdefault(repr(request.args[1]), []).append(index)
        answers = [""] * len(requests)
        for indices in groups.values():
            prompts = [requests[index].args[0] for index in indices]
            texts = self._continue(prompts, requests[indices[0]].args[1])
            for index, text in zip(indices, texts, strict=True):
                answers[index] = text
                self.cache_hook.add_partial("generate_until", requests[index].args, text)
        return answers

    def _continue(self, prompts: list[str], gen_kwargs: dict[str, Any]) -> list[str]:
        from lm_eval.models.utils import handle_stop_sequences, normalize_gen_kwargs

        settings: dict[str, Any] = dict(normalize_gen_kwargs(gen_kwargs, self.max_gen_toks))
        end = None
        if self.eot_token_id is not None:
            end = self.tok_decode(self.eot_token_id, skip_special_tokens=False)
        stop = handle_stop_sequences(settings.pop("until"), eos=end)
        new_tokens = settings.pop("max_gen_toks")
        if new_tokens >= self.max_length:
            new_tokens = self.max_gen_toks
        settings.pop("max_length", None)
        temperature = settings.pop("temperature", 0.0) or 1.0
        sampling = None
        if settings.pop("do_sample", False):
            top_p, top_k = settings.pop("top_p", 1.0), settings.pop("top_k", 0)
            sampling = Sampling(float(temperature), float(top_p), int(top_k))
        return continue_texts(
            self.lm,
            prompts,
            new_tokens,
            sampling=sampling,
            stop=stop,
            seed=self.seed,
            progress=self.progress,
            settings=settings,
        )


def make_task(name: str, items: Sequence[Item]) -> dict[str, Any]:
    """An lm-eval task made of two-way items in memory, for :func:`evaluate_tasks` or lm-eval.

    All items are evaluated, whatever their ``split``. The model reads the prompt, a space, and
    either choice; the right one is ``choices[label]``.

    Raises:
        DataError: no items, or an item whose choices are equal.
    """
    if not items:
        raise DataError(f"The task '{name}' has no items; at least one was expected.")
    for item in items:
        if item.choices[0] == item.choices[1]:
            raise DataError(
                f"The item '{item.id}' of the task '{name}' offers {item.choices[0]!r} twice. Give "
                "two different choices."
            )
    records = [as_dict(item) for item in items]

    def dataset(**_: Any) -> dict[str, Any]:
        from datasets import Dataset

        return {"test": Dataset.from_list(records)}

    return {
        "task": name,
        "output_type": "multiple_choice",
        "custom_dataset": dataset,
        "test_split": "test",
        "num_fewshot": 0,
        "doc_to_text": "prompt",
        "doc_to_choice": "choices",
        "doc_to_target": "label",
        "target_delimiter": " ",
        "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
        "metadata": {"version": 1.0},
    }


def evaluate_tasks(
    lm: LanguageModel,
    tasks: Sequence[str | dict[str, Any]],
    include_path: Path | None = None,
    limit: int | None = None,
    split: str = "test",
    *,
    defaults: bool = False,
    progress: str | None = None,
) -> pd.DataFrame:
    """Run lm-eval tasks and return one row for each item.

    Args:
        tasks: names of tasks, groups or tags in ``include_path``; or configs (:func:`make_task`).
        include_path: folder of task files; None is ``data/tasks``.
        limit: the first so many items of each task.
        split: ``test`` is what the task itself evaluates on; ``train``, ``validation`` or any split
            of its data.
        defaults: look names that the folder lacks up among lm-eval's own tasks (their data must be
            in the local cache, or the network reachable).
        progress: label of a progress report, None for none.

    Returns:
        Columns ``task``, ``doc_id`` (place in the split), ``item`` (the item's ``id``, else
        "task/place"), ``label`` (index of the right choice), ``margin`` (log-probability of the
        right choice minus the best wrong one, nats), ``p`` (probability of the right choice among
        the choices), ``correct``. A task without choices has its first metric in ``correct`` and,
        where it scores one continuation, that continuation's probability in ``p``; the rest is NaN.

    Raises:
        UserError: an unknown task; the message names the nearest.
        DataError: a broken or missing task file, items or split.
    """
    with _hushed(offline=not defaults), _kept_random_states():
        loaded = _load_all(tasks, include_path, defaults)
        harness = HarnessLM(lm, progress=progress)
        for name, task in loaded.items():
            _build(name, task, split, limit)
        _answer(harness, loaded)
        rows = [row for name, task in loaded.items() for row in _rows(name, task)]
    return pd.DataFrame(rows, columns=COLUMNS)


def read_questions(
    tasks: Sequence[str | dict[str, Any]],
    include_path: Path | None = None,
    *,
    defaults: bool = False,
    most: int,
    seed: int,
) -> dict[str, dict[str, list[Question]]]:
    """The training and test items of multiple-choice tasks, worded as lm-eval words them.

    Args:
        tasks, include_path, defaults: as in :func:`evaluate_tasks`.
        most: of a split with more documents than this, so many are drawn before they are worded;
            some tasks have hundreds of thousands.
        seed: of that draw.

    Returns:
        For each task ``{"train": [...], "test": [...]}``, in the order of the task's data; ``test``
        is what the task itself evaluates on (its validation split if it has no test split).

    Raises:
        UserError: an unknown task; one that is no multiple choice, or has no training split.
        DataError: a broken or missing task file, items or split.
    """
    with _hushed(offline=not defaults), _kept_random_states():
        loaded = _load_all(tasks, include_path, defaults)
        for name, task in loaded.items():
            _check_trainable(name, task)
        return {name: _questions(name, task, most, seed) for name, task in loaded.items()}


# --- loading ------------------------------------------------------------------------------------


def _load_all(
    tasks: Sequence[str | dict[str, Any]], include_path: Path | None, defaults: bool
) -> dict[str, "Task"]:
    folder = Path(include_path) if include_path is not None else places.tasks()
    names = [name for name in tasks if isinstance(name, str)]
    manager = _manager(folder, names, defaults) if names else None
    loaded: dict[str, Task] = {}
    for task in tasks:
        loaded.update(_load(task, manager))
    return loaded


def _manager(folder: Path, names: list[str], defaults: bool) -> "TaskManager":
    from lm_eval.tasks import TaskManager

    if not folder.is_dir():
        raise DataError(
            f"There is no folder of tasks {folder}. Give a folder of lm-eval YAML files."
        )
    manager = TaskManager(include_path=str(folder), include_defaults=False)
    own = list(manager.all_tasks)
    unknown = [name for name in names if name not in own]
    if unknown and defaults:
        # Indexing lm-eval's own fourteen thousand files takes half a minute, so only when asked.
        manager = TaskManager(include_path=str(folder), include_defaults=True)
        unknown = [name for name in names if name not in manager.all_tasks]
    for name in unknown:
        _check_files(folder, name)
        where, known = str(folder), own
        if defaults:
            where = f"{folder} or among lm-eval's own"
            known = difflib.get_close_matches(name, manager.all_tasks, n=10) or own  # of thousands
        raise UserError(f"There is no task '{name}' in {where}: {nearest(name, known)}")
    return manager


def _check_files(folder: Path, name: str) -> None:
    """lm-eval passes broken files over in silence; say so if the task asked for is one of them."""
    from lm_eval.tasks._yaml_loader import load_yaml

    for path in sorted(folder.rglob(f"{name}.y*ml")):
        try:
            config = load_yaml(path, resolve_func=False)
        except Exception as error:
            raise DataError(
                f"The task file {path} cannot be read: {_cause(error)}. Correct it, or give "
                "another task."
            ) from error
        if "task" not in config:
            raise DataError(
                f"The task file {path} has no entry 'task' with the task's name. Add it, or give "
                "another task."
            )


def _load(task: str | dict[str, Any], manager: "TaskManager | None") -> dict[str, "Task"]:
    from lm_eval.tasks import TaskManager

    if manager is None:
        manager = TaskManager(include_defaults=False)
    name = task if isinstance(task, str) else str(task.get("task"))
    with _as_data_error(f"The task '{name}' cannot be loaded"):
        try:
            return manager.load([task])["tasks"]
        except IndexError as error:
            # lm-eval looks at the first letter of each choice of the first item.
            if "string index" not in str(error):
                raise
            raise DataError(
                f"The task '{name}' cannot be loaded: a choice of its first item is empty. Give "
                "every item choices that say something."
            ) from error


def _build(name: str, task: "Task", split: str, limit: int | None) -> None:
    """Choose the split and make the task's requests."""
    if split != "test":
        own = {"train": task.config.training_split, "validation": task.config.validation_split}
        wanted = own.get(split) or split
        if wanted not in task.dataset:
            raise UserError(
                f"The task '{name}' has no split '{split}': {nearest(split, task.dataset)}"
            )
        task.config.test_split = wanted
    if limit is not None and limit < 1:
        raise UserError(f"limit is {limit}; at least one item per task was expected.")
    task.set_fewshot_seed(FEWSHOT_SEED)
    with _as_data_error(f"The items of the task '{name}' cannot be turned into questions"):
        task.build_all_requests(limit=limit)


def _answer(harness: HarnessLM, tasks: Mapping[str, "Task"]) -> None:
    """Let the model answer the requests of all tasks together, kind by kind."""
    by_kind: dict[str, list[Instance]] = {}
    for task in tasks.values():
        for request in task.instances:
            by_kind.setdefault(request.request_type, []).extend([request] * (request.repeats or 1))
    for kind, requests in by_kind.items():
        for request, answer in zip(requests, getattr(harness, kind)(requests), strict=True):
            request.resps.append(answer)


# --- reading items ------------------------------------------------------------------------------


def _check_trainable(name: str, task: "Task") -> None:
    if task.OUTPUT_TYPE != "multiple_choice":
        raise UserError(
            f"The task '{name}' is no multiple choice (its output_type is {task.OUTPUT_TYPE}). "
            "Give a task whose items have choices, one of them right."
        )
    own = task.config.training_split
    if own is None or own not in task.dataset:
        found = f"its training split '{own}' is not in its data" if own else "it names none"
        raise UserError(
            f"The task '{name}' has no training split to train on: {found}. Name one in its YAML "
            f"file (training_split: {' or '.join(task.dataset)}; not the one it evaluates on), or "
            "choose another task."
        )


def _questions(name: str, task: "Task", most: int, seed: int) -> dict[str, list[Question]]:
    own = task.config.test_split
    found: dict[str, list[Question]] = {}
    ids: list[str] = []
    for split in ("test", "train"):
        # The requests of a split are made by calling it the test split.
        task.config.test_split = own
        wanted = task.config.training_split if split == "train" else own
        wanted = wanted or task.config.validation_split
        with _as_data_error(f"The split '{wanted}' of the task '{name}' cannot be read"):
            size = len(task.dataset[wanted])
            if size > most:
                chosen = np.random.default_rng(seed).choice(size, most, replace=False)
                part = task.dataset[wanted].select(np.sort(chosen))
                task.dataset = {**task.dataset, wanted: part}
        _build(name, task, split, None)
        for doc_id, requests in _by_document(task).items():
            with _as_data_error(f"Item {doc_id} of the task '{name}' cannot be read"):
                doc = requests[0].doc
                choices = tuple(task.doc_to_choice(doc))
                # Mutual-information tasks append unconditional requests; the choices come first.
                pairs = tuple(tuple(request.args) for request in requests[: len(choices)])
                right = tuple(_right(task, doc, choices))
                ids.append(str(doc.get("id", "")))
            question = Question(f"{name}/{split}/{doc_id}", choices, pairs, right)
            found.setdefault(split, []).append(question)
    task.config.test_split = own
    if "" in ids or len(set(ids)) < len(ids):
        return {split: found[split] for split in ("train", "test")}
    named = iter(ids)
    given = {split: [replace(one, id=next(named)) for one in found[split]] for split in found}
    return {split: given[split] for split in ("train", "test")}


def _by_document(task: "Task") -> dict[int, list["Instance"]]:
    """A task's requests, document by document, in the order of the choices."""
    requests: dict[int, list[Instance]] = {}
    for request in task.instances:
        requests.setdefault(request.doc_id, []).append(request)
    for own in requests.values():
        own.sort(key=lambda request: request.idx)
    return requests


def _gold(task: "Task", doc: dict[str, Any]) -> Any:
    """An item's label as the task gives it: an index, a choice, or a list of these."""
    return task.doc_to_text(doc) if task.multiple_input else task.doc_to_target(doc)


def _right(task: "Task", doc: dict[str, Any], choices: Sequence[str]) -> list[int]:
    """Indices of the right choices, as far as the label names any."""
    gold = _gold(task, doc)
    found = []
    for entry in gold if isinstance(gold, list) else [gold]:
        if isinstance(entry, str):
            found += [choices.index(entry)] if entry in choices else []
        elif entry is not None and entry == entry and 0 <= int(entry) < len(choices):  # no NaN
            found.append(int(entry))
    return found


# --- reading results ----------------------------------------------------------------------------


def _rows(name: str, task: "Task") -> Iterator[dict[str, Any]]:
    task.apply_filters()
    filter_ = next(iter(task.instances[0].filtered_resps))
    for doc_id, own in _by_document(task).items():
        answers = [request.filtered_resps[filter_] for request in own]
        doc = own[0].doc
        with _as_data_error(f"Item {doc_id} of the task '{name}' cannot be judged"):
            metrics = task.process_results(doc, list(answers))
            if task.OUTPUT_TYPE == "multiple_choice":
                judged = _judge(task, doc, answers)
            else:
                judged = _metric(task, metrics, answers)
        yield {"task": name, "doc_id": doc_id, "item": doc.get("id", f"{name}/{doc_id}"), **judged}


def _judge(task: "Task", doc: dict[str, Any], answers: list[Any]) -> dict[str, Any]:
    choices = task.doc_to_choice(doc)
    golds = _right(task, doc, choices)
    # Mutual-information tasks append the unconditional scores; the choices come first.
    logprobs = np.array([logprob for logprob, _ in answers[: len(choices)]])
    right = np.isin(np.arange(len(choices)), golds)
    if not right.any():
        label = _gold(task, doc)
        raise ValueError(f"its label {label} is none of its {len(choices)} choices")
    best_wrong = logprobs[~right].max() if (~right).any() else -np.inf
    shares = np.exp(logprobs - np.logaddexp.reduce(logprobs))
    return {
        "label": golds[0],
        "margin": float(logprobs[right].max() - best_wrong),
        "p": float(shares[right].sum()),
        "correct": bool(right[int(np.argmax(logprobs))]),  # the first of equals, as in lm-eval
    }


def _metric(task: "Task", metrics: Mapping[str, Any], answers: list[Any]) -> dict[str, Any]:
    value = next(iter(metrics.values()), np.nan)
    probability = np.nan
    if task.OUTPUT_TYPE == "loglikelihood":
        probability = float(np.exp(answers[0][0]))
        value = metrics.get("acc", bool(answers[0][1]))
    numeric = isinstance(value, int | float | np.number)
    correct = float(value) if numeric else np.nan
    return {"label": np.nan, "margin": np.nan, "p": probability, "correct": correct}


# --- surroundings -------------------------------------------------------------------------------


@contextlib.contextmanager
def _as_data_error(what: str) -> Iterator[None]:
    """Whatever a task's files or items make lm-eval stumble over is the data's fault."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise DataError(
            f"{what}: {_cause(error)}. Check the task's YAML file and its items."
        ) from error


def _cause(error: BaseException) -> str:
    text = " ".join(str(error).split())[:300].rstrip(".")
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


@contextlib.contextmanager
def _hushed(offline: bool) -> Iterator[None]:
    """No bars or log lines from lm-eval and datasets and, on request, no look at the network."""
    import datasets
    import huggingface_hub
    from lm_eval.api import task as harness_task

    bars = not datasets.are_progress_bars_disabled()
    loggers = [logging.getLogger(name) for name in ("lm_eval", "datasets")]
    levels = [logger.level for logger in loggers]
    bar = harness_task.tqdm
    switches = [(huggingface_hub.constants, "HF_HUB_OFFLINE"), (datasets.config, "HF_HUB_OFFLINE")]
    before = [getattr(module, name) for module, name in switches]
    datasets.disable_progress_bars()
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    harness_task.tqdm = lambda entries, **_: entries
    for module, name in switches if offline else []:
        setattr(module, name, True)
    try:
        yield
    finally:
        for (module, name), value in zip(switches, before, strict=True):
            setattr(module, name, value)
        harness_task.tqdm = bar
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        if bars:
            datasets.enable_progress_bars()


@contextlib.contextmanager
def _kept_random_states() -> Iterator[None]:
    """Loading tasks moves Python's global generator; whoever trains must not notice."""
    kept = random.getstate(), np.random.get_state(), torch.random.get_rng_state()  # noqa: NPY002
    try:
        yield
    finally:
        random.setstate(kept[0])
        np.random.set_state(kept[1])  # noqa: NPY002
        torch.random.set_rng_state(kept[2])
