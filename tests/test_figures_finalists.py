"""The figure of the other finalists: what is drawn, in which units, and that nothing is cut off."""

import pandas as pd
import pytest
from drawing import LABEL, check, check_column, closed, public  # noqa: F401, closed is a fixture

from strokelib.figures import finalists

ROWS = ("liu", "chen", "song", "hu", "rt_at_1500", "rt_sm")


def means():
    frame = pd.DataFrame({"variant": ROWS, "mean": [0.5, 0.52, 0.48, 0.3, 0.51, 0.56]})
    return frame.assign(low=frame["mean"] - 0.05, high=frame["mean"] + 0.06)


def made():
    rows = [(new, old, 0.01 * n - 0.02) for n, new in enumerate(ROWS[:4]) for old in ROWS[4:]]
    frame = pd.DataFrame(rows, columns=["new", "old", "mean_difference"])
    return frame.assign(low=frame.mean_difference - 0.03, high=frame.mean_difference + 0.04, detectable=0.035)


def draw():
    return finalists.differences(means(), made(), LABEL)


def test_every_figure_is_looked_at():
    assert public(finalists) == {"differences"}
    check(draw, 2, ["DSC (%)", "difference in DSC (points)", "Chen: an encoder a modality", "from Single + RT + SM",
                    "Single + RT", "80 % power"])  # fmt: skip


def test_points_stand_at_their_values_in_points():
    right = draw().axes[1]
    marks = [line for line in right.lines if line.get_marker() in "os" and len(line.get_xdata()) == 1]
    assert [round(float(line.get_xdata()[0]), 6) for line in marks] == [-2, -1, 0, 1] * 2
    gray = [line.get_xdata() for line in right.lines if line.get_color() == "0.85"]
    assert all(list(ends) == pytest.approx([-3.5, 3.5]) for ends in gray) and len(gray) == 8


@pytest.mark.parametrize("column", ["mean", "low"])
def test_a_missing_column_of_the_means_is_named(column):
    check_column(lambda frame: finalists.differences(frame, made(), LABEL), means(), column)


@pytest.mark.parametrize("column", ["old", "detectable"])
def test_a_missing_column_of_the_tests_is_named(column):
    check_column(lambda frame: finalists.differences(means(), frame, LABEL), made(), column)
