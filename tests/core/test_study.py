"""Studies: how they are declared, what they are given, and what their cells tell a person."""

from types import SimpleNamespace

import cache_cells as cells
import matplotlib as mpl
import pytest

from palimpsest.core import plots
from palimpsest.core.cache import Cache
from palimpsest.core.results import Claim, Figure, Result, Value
from palimpsest.core.study import Context, Study, study


def claim(number):
    return Claim(f"toy-{number}", "It is small.", "a paper, section 1", "P", "m", "m < 1")


@study(claims=[claim(1)])
def squares(ctx):
    """How large are squares?

    More words.
    """
    value = ctx.cell(cells.count, log=ctx.data, n=ctx.parameters.n)
    return Result(values={"m": Value(float(value["squares"].max()))})


@pytest.fixture
def context(tmp_path):
    lines = []
    made = Context(
        lm=None,
        parameters=SimpleNamespace(n=3),
        seed=0,
        data=str(tmp_path / "log"),
        cache=Cache(tmp_path / "cache"),
        progress=lines.append,
    )
    made.lines = lines
    return made


def test_a_study_is_its_function_with_a_name_and_a_question(context):
    assert isinstance(squares, Study)
    assert (squares.name, squares.summary) == ("squares", "How large are squares?")
    assert squares.claims == (claim(1),)
    assert squares(context).values["m"].value == 4.0


def test_cells_report_one_line_each(context):
    squares(context)
    squares(context)
    assert [line.rpartition(", ")[2] for line in context.lines] == ["computed", "cached"]
    assert all(line.startswith("count: ") and " s, " in line for line in context.lines)


def test_what_a_study_draws_has_the_style_of_the_book(context):
    @study()
    def draws(ctx):
        """How does it look?"""
        drawn, axes = plots.figure()
        axes.set_title("left")
        return Result(figures={"one": Figure(drawn, "A title.", "A title on the left.")})

    before = dict(mpl.rcParams)
    axes = draws(context).figures["one"].draw.axes[0]
    assert axes.get_title(loc="left") == "left"
    assert dict(mpl.rcParams) == before


def test_a_study_has_at_most_three_claims_with_different_ids():
    def asks(ctx):
        """A question?"""

    study(claims=[claim(n) for n in range(3)])(asks)
    with pytest.raises(ValueError, match="4 claims"):
        study(claims=[claim(n) for n in range(4)])(asks)
    with pytest.raises(ValueError, match="one id"):
        study(claims=[claim(1), claim(1)])(asks)


def test_a_study_states_its_question_and_returns_a_result(context):
    with pytest.raises(ValueError, match="docstring"):
        study()(lambda ctx: Result())

    @study()
    def forgets(ctx):
        """What comes back?"""

    with pytest.raises(TypeError, match="returned NoneType"):
        forgets(context)


def test_once_is_made_once_a_context(context):
    calls = []

    def make(ctx, number):
        assert ctx is context
        calls.append(number)
        return [number]

    assert context.once(make, 1) is context.once(make, 1)
    assert context.once(make, 2) == [2]
    assert calls == [1, 2]
