"""How far a long task has come: a bar for people, plain lines for logs, nothing for tests.

A terminal gets a tqdm bar on stderr. A notebook gets one line of text that vanishes when the task
ends, so that an executed chapter is not littered with bars. Anything else (a log file, a pipe) gets
a whole line now and then.
"""

import sys
import time
from html import escape
from types import TracebackType
from typing import Any, Literal, Protocol, Self

from tqdm import tqdm

Style = Literal["auto", "bar", "notebook", "lines", "silent"]

LINE_SECONDS = 10.0  # between two lines in a log; grows with the time passed
LINE_SHARE = 0.1
NOTEBOOK_SECONDS = 0.25


class Progress(Protocol):
    """Something to report to; a context manager that closes itself."""

    def update(self, done: int = 1, **shown: float | str) -> None:
        """``done`` more units are done; ``shown`` are numbers worth showing, by name."""

    def close(self) -> None:
        """The task has ended, well or not."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


def track(
    total: int, label: str | None, *, unit: str = "step", start: int = 0, style: Style = "auto"
) -> Progress:
    """Begin to report on a task.

    Args:
        total: how many units there are.
        label: what is being done, as "training"; None is silent.
        unit: what is counted.
        start: how many units were done before (a resumed task).
        style: "auto" chooses by where stderr goes.
    """
    if label is None or style == "silent":
        return _Silent()
    if style == "auto":
        style = "notebook" if _in_notebook() else "bar" if sys.stderr.isatty() else "lines"
    kinds: dict[str, type[_Counter]] = {"bar": _Bar, "notebook": _Notebook, "lines": _Lines}
    return kinds[style](total, label, unit, start)


def duration(seconds: float) -> str:
    """``0:07``, ``12:30``, ``3:05:00``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


class _Silent:
    def update(self, done: int = 1, **shown: float | str) -> None:
        pass

    def close(self) -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Counter(_Silent):
    """Counts, and says in one line how far things are."""

    def __init__(self, total: int, label: str, unit: str, start: int) -> None:
        self.total, self.label, self.unit = total, label, unit
        self.start = self.done = start
        self.shown: dict[str, float | str] = {}
        self.began = time.monotonic()

    def update(self, done: int = 1, **shown: float | str) -> None:
        self.done += done
        self.shown |= shown

    def line(self) -> str:
        passed = time.monotonic() - self.began
        here = self.done - self.start
        parts = [f"{self.label}: {self.done}/{self.total} {self.unit}s"]
        parts += [f"{name} {_number(value)}" for name, value in self.shown.items()]
        if here > 0 and self.done < self.total:
            parts.append(f"{duration(passed / here * (self.total - self.done))} left")
        else:
            parts.append(duration(passed))
        return ", ".join(parts)


class _Bar(_Counter):
    def __init__(self, total: int, label: str, unit: str, start: int) -> None:
        super().__init__(total, label, unit, start)
        self.bar: tqdm[Any] = tqdm(
            total=total, desc=label, unit=unit, initial=start, leave=False, dynamic_ncols=True
        )

    def update(self, done: int = 1, **shown: float | str) -> None:
        super().update(done, **shown)
        if shown:
            text = ", ".join(f"{name} {_number(value)}" for name, value in self.shown.items())
            self.bar.set_postfix_str(text, refresh=False)
        self.bar.update(done)

    def close(self) -> None:
        self.bar.close()


class _Lines(_Counter):
    def __init__(self, total: int, label: str, unit: str, start: int) -> None:
        super().__init__(total, label, unit, start)
        self.next = self.began + LINE_SECONDS

    def update(self, done: int = 1, **shown: float | str) -> None:
        super().update(done, **shown)
        now = time.monotonic()
        if now >= self.next:
            print(self.line(), file=sys.stderr, flush=True)
            self.next = now + max(LINE_SECONDS, LINE_SHARE * (now - self.began))

    def close(self) -> None:
        # A task that never printed was over before anyone could have wondered.
        if self.next > self.began + LINE_SECONDS:
            print(self.line(), file=sys.stderr, flush=True)


class _Notebook(_Counter):
    def __init__(self, total: int, label: str, unit: str, start: int) -> None:
        from IPython.display import HTML, display

        super().__init__(total, label, unit, start)
        self.html = HTML
        self.handle = display(HTML(""), display_id=True)
        self.next = self.began + NOTEBOOK_SECONDS

    def update(self, done: int = 1, **shown: float | str) -> None:
        super().update(done, **shown)
        now = time.monotonic()
        if now >= self.next:
            self.handle.update(self.html(f"<small>{escape(self.line())}</small>"))
            self.next = now + NOTEBOOK_SECONDS

    def close(self) -> None:
        self.handle.update(self.html(""))


def _number(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.4g}"


def _in_notebook() -> bool:
    """Whether the code runs in a Jupyter kernel, which shows rich output."""
    if "IPython" not in sys.modules:
        return False
    shell = sys.modules["IPython"].get_ipython()
    return shell is not None and shell.__class__.__name__ == "ZMQInteractiveShell"
