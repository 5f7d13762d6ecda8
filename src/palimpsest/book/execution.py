"""Executing one notebook with papermill, in a kernel of this very Python, with progress."""

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import nbformat
from jupyter_client import AsyncKernelManager
from jupyter_client.kernelspec import KernelSpec
from nbclient.exceptions import DeadKernelError
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import NBClientEngine, papermill_engines
from papermill.exceptions import PapermillExecutionError
from papermill.execute import execute_notebook, remove_error_markers
from papermill.log import logger

from palimpsest.core.files import read_text

ENGINE = "palimpsest"
SOLUTION_TAG = "solution"
INJECTED_TAG = "injected-parameters"
STARTUP_SECONDS = 180


class Watcher(Protocol):
    """Who is told how far a chapter has come."""

    def cell(self, number: int, total: int) -> None:
        """Code cell ``number`` of ``total`` begins."""

    def line(self, text: str) -> None:
        """The chapter says something worth keeping on the screen."""

    def status(self, text: str) -> None:
        """How far a long task in the cell has come; replaced by the next."""


@dataclass(frozen=True)
class Failure:
    """Why a chapter stopped: its code cell (counted from 1), that cell's first line, the cause."""

    cell: int | None
    source: str
    cause: str


@dataclass(frozen=True)
class Played:
    """An executed notebook, what went wrong in it if anything did, and the seconds that its cells
    took without those tagged ``solution``."""

    notebook: nbformat.NotebookNode
    failure: Failure | None
    seconds: float


def play(path: Path, parameters: Mapping[str, Any], watcher: Watcher) -> Played:
    """Execute the notebook at ``path``, giving it ``parameters``, in the current folder.

    A failing cell ends the execution and is reported, not raised.
    """
    notebook = nbformat.reads(read_text(path, what="notebook"), as_version=4)
    seen = _Seen(watcher, sum(c.cell_type == "code" for c in notebook.cells))
    failure = None
    # papermill's own log repeats what the watcher shows.
    logger.disabled = True
    try:
        execute_notebook(
            notebook,
            None,
            parameters=dict(parameters),
            engine_name=ENGINE,
            kernel_name="python3",
            language="python",
            progress_bar=False,
            start_timeout=STARTUP_SECONDS,
            seen=seen,
        )
    except PapermillExecutionError as error:
        failure = Failure(None, error.source, _cause(error))
    except DeadKernelError:
        failure = Failure(
            None, "", "the Python process of the chapter ended suddenly (often: out of memory)"
        )
    except RuntimeError as error:
        if seen.notebook is not None:
            raise
        failure = Failure(None, "", f"the chapter's Python process did not start: {error}")
    executed = remove_error_markers(notebook if seen.notebook is None else seen.notebook)
    if failure is not None:
        first = (failure.source or seen.source).strip().partition("\n")[0]
        failure = Failure(seen.number or None, first, failure.cause)
    seconds = sum(
        cell.metadata.get("papermill", {}).get("duration") or 0.0
        for cell in executed.cells
        if SOLUTION_TAG not in cell.metadata.get("tags", [])
    )
    return Played(_tidy(executed, failure is not None), failure, seconds)


def _cause(error: PapermillExecutionError) -> str:
    # The package's errors for people are whole sentences; others need their kind.
    text = error.evalue.strip()
    own = error.ename in ("UserError", "ModelError", "DataError", "RunError")
    return text if own else f"{error.ename}: {text}"


def _tidy(notebook: nbformat.NotebookNode, failed: bool) -> nbformat.NotebookNode:
    """Leave what the same run would give again: no times, no folders of this machine, no progress
    (on standard error, which is kept where it may explain a failure)."""
    notebook.metadata.pop("papermill", None)
    for cell in notebook.cells:
        cell.metadata.pop("papermill", None)
        if INJECTED_TAG in cell.metadata.get("tags", []):
            cell["id"] = INJECTED_TAG
        if not cell.metadata.get("tags"):
            cell.metadata.pop("tags", None)
        if cell.cell_type == "code" and not failed:
            cell.outputs = [output for output in cell.outputs if not _is_progress(output)]
    return notebook


def _is_progress(output: nbformat.NotebookNode) -> bool:
    if output.output_type == "stream":
        return output.name == "stderr"
    return output.output_type == "display_data" and output.data.get("text/html") == ""


class _Seen:
    """What the client has seen of the execution so far."""

    def __init__(self, watcher: Watcher, total: int) -> None:
        self.watcher, self.total = watcher, total
        self.notebook: nbformat.NotebookNode | None = None
        self.number = 0
        self.source = ""
        self.rest = ""

    def start(self, cell: Any, cell_index: int) -> None:
        if cell.cell_type == "code" and INJECTED_TAG not in cell.metadata.get("tags", []):
            self.number += 1
            self.source = cell.source
            self.watcher.cell(self.number, self.total)

    # The client writes the kernel's standard error here.
    def write(self, text: str) -> None:
        *whole, self.rest = (self.rest + text).split("\n")
        for line in whole:
            # A bar redraws its line with carriage returns; only what it ends with is kept.
            if shown := line.rstrip("\r").rpartition("\r")[2].strip():
                self.watcher.line(shown)

    def flush(self) -> None:
        pass


class _Kernel(AsyncKernelManager):
    """Starts the kernel with this interpreter, whatever kernels are installed on the machine."""

    @property
    def kernel_spec(self) -> KernelSpec:
        return KernelSpec(
            argv=[
                sys.executable, "-m", "palimpsest.book.kernel", "-f", "{connection_file}",
                "--log-level=ERROR",
            ],
            display_name="Python 3",
            language="python",
        )  # fmt: skip


class _Client(PapermillNotebookClient):
    def __init__(self, manager: Any, seen: _Seen, **options: Any) -> None:
        super().__init__(manager, **options)
        self.seen = seen

    def process_message(self, msg: Any, cell: Any, cell_index: int) -> Any:
        if msg["msg_type"] == "update_display_data":
            html = msg["content"]["data"].get("text/html", "")
            if text := re.sub(r"<[^>]*>", "", html).strip():
                self.seen.watcher.status(text)
        return super().process_message(msg, cell, cell_index)


class _Engine(NBClientEngine):
    @classmethod
    def execute_managed_notebook(
        cls,
        nb_man: Any,
        kernel_name: str,
        *,
        seen: _Seen,
        start_timeout: int = STARTUP_SECONDS,
        **_: Any,
    ) -> Any:
        seen.notebook = nb_man.nb
        client = _Client(
            nb_man,
            seen,
            kernel_name=kernel_name,
            kernel_manager_class=_Kernel,
            shutdown_kernel="immediate",
            startup_timeout=start_timeout,
            timeout=None,
            record_timing=False,
            on_cell_start=seen.start,
            stderr_file=seen,
        )
        return client.execute()


papermill_engines.register(ENGINE, _Engine)
