"""The learning curve drawn: intervals where the numbers say, the ceiling above, losses beneath."""

import pytest
from drawing import LABEL, check, check_column, closed, public  # noqa: F401, closed is a fixture
from test_learning_curve import core, scores

from strokelib.evaluation import learning_curve
from strokelib.figures import learning_curve as figures


def table(**how):
    return learning_curve.means(scores(**how), core(), 7)


def test_every_figure_is_tested():
    assert public(figures) == {"curve"}


def test_it_has_names_units_and_a_note():
    words = ("DSC (%)", "training scans", "loss of patches", "Single + RT + SM", "true core", "95 % bootstrap")
    check(lambda: figures.curve(table(), LABEL), 2, words)


def test_points_lie_where_the_numbers_say_and_ticks_at_the_sizes():
    frame = table(rows=("rt_sm",))
    above, below = figures.curve(frame, LABEL).axes
    own = frame[(frame.metric == "dsc") & (frame.variant == "rt_sm")]
    (points,) = [line for line in above.lines if line.get_marker() == "o"]
    assert list(points.get_xdata()) == [10, 20, 40]
    assert list(points.get_ydata()) == pytest.approx(list(100 * own["mean"]))
    (line,) = [line for line in above.lines if line.get_label() == "true core against the label"]
    assert list(line.get_ydata()) == pytest.approx([80, 80])
    assert [line.get_linestyle() for line in below.lines] == ["-", "--"] and list(below.get_xticks()) == [10, 20, 40]
    assert list(below.lines[0].get_ydata()) == pytest.approx([1 / 10, 1 / 20, 1 / 40])


def test_rows_stand_side_by_side_in_colors_of_their_own():
    above = figures.curve(table(), LABEL).axes[0]
    points = [line for line in above.lines if line.get_marker() == "o"]
    assert len({line.get_color() for line in points}) == 2
    assert points[0].get_xdata()[0] < points[1].get_xdata()[0] < 1.05 * points[0].get_xdata()[0]


@pytest.mark.parametrize("column", ["training_scans", "low", "training_loss"])
def test_a_missing_column_is_named(column):
    check_column(lambda frame: figures.curve(frame, LABEL), table(), column)
