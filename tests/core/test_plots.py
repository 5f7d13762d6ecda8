"""Figures: the same bytes every time, nothing global touched, and text that stays legible."""

import hashlib
import re
import subprocess
import sys
from html.parser import HTMLParser

import matplotlib as mpl
import numpy as np
import pytest

from palimpsest.core import plots

DRAW = """
import numpy as np
from palimpsest.core import plots

def draw():
    drawn, axes = plots.panels(3, 7, 2.5, share_y=False)
    steps = np.arange(12)
    ends = np.stack([steps / 20, steps / 10], axis=1)
    for control in plots.COLOURS:
        plots.dots(axes[0], steps / 15, steps, control, ends)
        plots.curve(axes[1], steps, steps / 15, control, ends)
    plots.pairs(axes[2], np.sin(steps), np.cos(steps), ("theta_u", "theta_r"))
    axes[1].set_title("θ_u & θ_r < 1")
    plots.legend_below(drawn, axes[0])
    return drawn
"""
exec(DRAW)


def drawing():
    return globals()["draw"]()


def test_the_same_drawing_has_the_same_bytes_in_every_process():
    script = DRAW + (
        "import hashlib; d = draw(); "
        "print([hashlib.sha256(x).hexdigest() for x in (plots.svg(d), plots.png(d))])"
    )
    environment = {"PATH": "/usr/bin:/bin", "MPLBACKEND": "agg", "PYTHONHASHSEED": "77"}
    other = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
    )
    drawn = drawing()
    mine = [hashlib.sha256(part).hexdigest() for part in (plots.svg(drawn), plots.png(drawn))]
    assert other.stdout.strip() == str(mine)
    assert plots.svg(drawn) == plots.svg(drawn)


def test_an_svg_holds_text_a_white_ground_and_no_date():
    text = plots.svg(drawing()).decode()
    assert "θ_u &amp; θ_r &lt; 1" in text
    assert "retrained twin" in text
    assert "fill: #ffffff" in text
    assert "dc:date" not in text
    assert "Matplotlib" not in text
    assert "sans-serif" in text


def test_import_and_drawing_leave_the_global_settings_alone():
    script = (
        "import matplotlib as mpl; before = dict(mpl.rcParams); from palimpsest.core import plots; "
        "d, a = plots.figure(); a.plot([1]); plots.png(d); "
        "assert dict(mpl.rcParams) == before; import sys; "
        "print(len(sys.modules['matplotlib.pyplot'].get_fignums())"
        " if 'matplotlib.pyplot' in sys.modules else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "0"
    before = dict(mpl.rcParams)
    plots.svg(drawing())
    assert dict(mpl.rcParams) == before


def test_every_control_has_a_colour_a_marker_and_a_name_of_its_own():
    shown = set(plots.COLOURS) - {"theta_u"}  # which is the unlearned one where there is only one
    assert {"theta_o", "ascent", "difference", "theta_r", "twin", "theta_0"} == shown
    for kinds in (plots.COLOURS, plots.MARKERS, plots.NAMES):
        assert kinds.keys() == plots.COLOURS.keys()
        assert len({kinds[name] for name in shown}) == len(shown)


def test_a_figure_has_the_size_asked_for():
    drawn, _ = plots.figure(5, 2)
    assert tuple(drawn.get_size_inches()) == (5, 2)
    width = int.from_bytes(plots.png(drawn)[16:20], "big")
    assert width == 5 * plots.PNG_DPI


@pytest.mark.parametrize("entries", [1, 3, 6, 7])
def test_a_legend_is_no_wider_than_its_figure(entries):
    drawn, axes = plots.figure(5.0, 3.0)
    for number in range(entries):
        axes.plot([0, 1], [0, number], label=f"a model with a name, number {number}")
    plots.legend_below(drawn, axes)
    drawn.draw_without_rendering()
    (legend,) = drawn.legends
    assert legend.get_window_extent().width <= drawn.bbox.width
    assert len(legend.get_texts()) == entries


def test_missing_values_leave_a_gap():
    drawn, axes = plots.figure()
    values = np.array([0.1, np.nan, 0.3])
    ends = np.array([[0.0, 0.2], [np.nan, np.nan], [0.2, 0.4]])
    plots.dots(axes, values, np.arange(3), "theta_u", ends)
    plots.curve(axes, np.arange(3), values, "theta_r", ends)
    assert plots.svg(drawn)


def test_pairs_are_in_the_order_of_their_difference():
    _, axes = plots.figure()
    plots.pairs(axes, np.array([0.0, 0.0, 0.0]), np.array([0.1, 0.9, 0.5]), ("theta_u", "theta_r"))
    second = axes.lines[1]
    assert second.get_xdata().tolist() == [0.9, 0.5, 0.1]
    assert axes.yaxis_inverted()


class Text(HTMLParser):
    """The text and the tags of a piece of HTML."""

    def __init__(self, html):
        super().__init__()
        self.text, self.tags = "", []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)

    def handle_data(self, data):
        self.text += data


def test_what_a_model_writes_is_text_and_never_markup():
    tokens = ['<script>alert("1")</script>', "&amp;", "' onmouseover='x", "\n", "\x1b[0m", "\0\t"]
    strip = Text(plots.token_strip(tokens, [0.5] * 6, meaning="<b>p</b>"))
    assert set(strip.tags) == {"figure", "p", "span", "figcaption"}
    assert strip.text.startswith("<script>alert(\"1\")</script>&amp;' onmouseover='x↵\n␛[0m␀␉")
    assert "<b>p</b>" in strip.text
    assert plots.token_strip(["\ud800"], [0.0]).encode()


def test_a_strip_tells_its_numbers_without_colour():
    strip = plots.token_strip([" a", " b"], [0.25, float("nan")], meaning="probability")
    assert 'title="0.25"' in strip
    assert 'title="no number"' in strip
    assert "probability: " in strip
    assert "<script" not in strip
    with pytest.raises(ValueError, match="2 tokens but 1"):
        plots.token_strip(["a", "b"], [1.0])
    with pytest.raises(ValueError, match="must go up"):
        plots.token_strip(["a"], [1.0], low=1.0, high=1.0)


def layers(strip):
    found = re.findall(r"rgba\((\d+),(\d+),(\d+),([\d.]+)\)", strip)
    return [(tuple(int(part) for part in one[:3]), float(one[3])) for one in found]


def test_colours_follow_the_scale_and_its_sign():
    shares = layers(plots.token_strip("abcd", [0.0, 0.5, 1.0, 7.0]))[:4]
    assert [opacity for _, opacity in shares] == [0.0, 0.275, 0.55, 0.55]
    signed = layers(plots.token_strip("abc", [-2.0, 0.0, 1.0], low=-2.0, high=2.0))[:3]
    assert [opacity for _, opacity in signed] == [0.55, 0.0, 0.275]
    assert [colour for colour, _ in signed] == [plots.AGAINST, plots.FOR, plots.FOR]
    logs = layers(plots.token_strip("ab", [-10.0, 0.0], low=-10.0, high=0.0))[:2]
    assert [opacity for _, opacity in logs] == [0.55, 0.0]


def luminance(colour):
    parts = [part / 255 for part in colour]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize(
    ("page", "ink"), [((255, 255, 255), (50, 50, 50)), ((18, 18, 18), (206, 214, 221))]
)
@pytest.mark.parametrize("layer", [plots.FOR, plots.AGAINST])
def test_text_on_the_strongest_colour_is_legible_in_light_and_dark_mode(page, ink, layer):
    ground = [
        plots.OPACITY * mine + (1 - plots.OPACITY) * p for mine, p in zip(layer, page, strict=True)
    ]
    light, dark = sorted([luminance(ground), luminance(ink)], reverse=True)
    assert (light + 0.05) / (dark + 0.05) > 4.5
