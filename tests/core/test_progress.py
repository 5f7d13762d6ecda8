"""Progress, wherever it goes."""

import io
import sys
from types import SimpleNamespace

import pytest

from palimpsest.core import progress
from palimpsest.core.progress import duration, track


class Clock:
    now = 0.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


def test_durations():
    assert [duration(s) for s in (0.4, 7, 750, 11100)] == ["0:00", "0:07", "12:30", "3:05:00"]


def test_a_log_gets_whole_lines_now_and_then(clock, capsys):
    with track(200, "training") as bar:  # the tests' stderr is no terminal
        for step in range(200):
            clock.now = float(step + 1)
            bar.update(1, **({"loss": 1.23456, "tokens/s": "1,000"} if step % 10 == 0 else {}))
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "training: 10/200 steps, loss 1.235, tokens/s 1,000, 3:10 left"
    assert lines[-1] == "training: 200/200 steps, loss 1.235, tokens/s 1,000, 3:20"
    assert 10 < len(lines) < 20  # fewer and fewer
    assert not any("\r" in line for line in lines)


def test_a_resumed_task_counts_from_where_it_was(clock, capsys):
    bar = track(100, "scoring", unit="item", start=50, style="lines")
    clock.now = 20.0
    bar.update(10)
    assert capsys.readouterr().err == "scoring: 60/100 items, 1:20 left\n"


def test_what_is_soon_over_prints_nothing(clock, capsys):
    with track(3, "scoring") as bar:
        bar.update(3)
    with track(3, None) as bar:
        bar.update(3, loss=1.0)
    assert capsys.readouterr().err == ""


def test_a_terminal_gets_a_bar(monkeypatch):
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", terminal)
    with track(4, "training") as bar:
        for _ in range(4):
            bar.update(1, loss=0.5)
        bar.bar.refresh()
    assert "training: 100%" in terminal.getvalue()
    assert "loss 0.5" in terminal.getvalue()
    assert "\n" not in terminal.getvalue()


def test_a_notebook_gets_a_line_that_vanishes(monkeypatch, clock):
    shown = []
    handle = SimpleNamespace(update=lambda html: shown.append(html.data))
    shell = type("ZMQInteractiveShell", (), {})()
    monkeypatch.setattr("IPython.display.display", lambda html, display_id: handle)
    monkeypatch.setattr("IPython.get_ipython", lambda: shell)
    with track(4, "learning <i>") as bar:
        for second in range(4):
            clock.now = float(second + 1)
            bar.update(1)
    assert shown[0] == "<small>learning &lt;i&gt;: 1/4 steps, 0:03 left</small>"
    assert shown[-1] == ""
