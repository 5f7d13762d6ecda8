"""The figure and the table of speed are what the committed measurement says."""

import importlib.util
import json

from palimpsest.core import places, plots

FIGURES = places.root() / "book" / "figures"


def test_drawn_from_the_committed_measurement() -> None:
    spec = importlib.util.spec_from_file_location("speed", FIGURES / "speed.py")
    speed = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(speed)
    told = json.loads(speed.REPORT.read_text(encoding="utf-8"))
    assert (FIGURES / "speed-items.svg").read_bytes() == plots.svg(speed.growth(told))
    table = speed.beside(told).to_csv(index=False, lineterminator="\n")
    assert (FIGURES / "speed-lm-eval.csv").read_text(encoding="utf-8") == table
    assert told["comparison"]["different_answers"] == 0
    assert told["growth"]["r_squared"] > 0.95
