"""How a run shows itself in a terminal, or in a log."""

import shutil
import time
from typing import TextIO

from palimpsest.book.runs import Outcome
from palimpsest.core.progress import duration


class Console:
    """Prints a line for each chapter and each study cell; the code cell that is being executed is
    shown in a line that the next one replaces (in a log it gets a line of its own)."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.live = stream.isatty()
        self.transient = False
        self.where = ""
        self.started = time.monotonic()

    def chapter(self, name: str, title: str, number: int, total: int) -> None:
        self.started = time.monotonic()
        self.line(f"[{number}/{total}] {name}: {title}")

    def cell(self, number: int, total: int) -> None:
        self.where = f"  cell {number}/{total}"
        passed = duration(time.monotonic() - self.started)
        if self.live:
            self.status(f"({passed})")
        else:
            self._print(f"{self.where} ({passed})\n")

    def line(self, text: str) -> None:
        self.clear()
        inside = "    " if self.where else ""
        self._print(f"{inside}{text}\n")

    def status(self, text: str) -> None:
        if not self.live:
            return
        self.clear()
        width = shutil.get_terminal_size().columns
        self._print(f"{self.where} {text}"[: width - 1])
        self.transient = True

    def ended(self, outcome: Outcome) -> None:
        self.where = ""
        how = "failed" if outcome.failure else "finished"
        self.line(f"  {how} after {duration(time.monotonic() - self.started)}")

    def clear(self) -> None:
        """Wipe the transient line."""
        if self.transient:
            self._print("\r\x1b[K")
            self.transient = False

    def _print(self, text: str) -> None:
        self.stream.write(text)
        self.stream.flush()
