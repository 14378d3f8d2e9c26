import numpy as np
import pandas as pd
import pytest
from drawing import LABEL, check, check_column, closed, public, texts  # noqa: F401, closed is a fixture

from strokelib.evaluation.published import GROUPED
from strokelib.figures import published


def results():
    facts = {"name": ["first, hidden", "ours, by patient", "optimist"], "mean": [0.51, 0.547, 0.714]}
    ends = {"low": [0.43, 0.497, np.nan], "high": [0.59, 0.597, np.nan]}
    return pd.DataFrame(facts | ends).assign(grouped_by=["hidden test", "patient", "not stated"])


def lines():
    steps = np.linspace(0, 1, 5)
    return pd.concat(pd.DataFrame({"correlation": steps, "difference": count**0.2 * (0.11 - 0.1 * steps)})
                     .assign(comparisons=count) for count in (1, 9, 45))


def own():
    return pd.DataFrame({"name": ["rule and network", "two networks"], "correlation": [0.7, 0.95]})


def decoded():
    facts = {"user": ["one", "two"], "undefined": [6, 12], "low": [0.04, 0.1], "high": [0.2, 0.31]}
    return pd.DataFrame(facts).assign(p_first=[1.0, 0.03125])


def shares():
    facts = {"user": ["one", "two"] * 2, "correlation": [0.7, 0.7, 0.95, 0.95], "first": [0.6, 0.4, 0.9, 0.1]}
    return pd.DataFrame(facts)


def leads():
    return {0.7: np.linspace(0, 0.1, 50), 0.95: np.linspace(0, 0.04, 50)}


PRINTED = {"first − tenth": 0.04}
DRAWN = {
    "results": (lambda: published.results(results(), LABEL), 1, ["mean DSC", "folds by patient", "no interval"]),
    "least_difference": (
        lambda: published.least_difference(lines(), own(), PRINTED, LABEL), 1,
        ["one comparison", "45 comparisons at once", "two networks, r = 0.95", "first − tenth"],
    ),
    "undefined": (lambda: published.undefined(decoded(), 62, LABEL), 1, ["scans (of 62)", "p ≥ 0.031"]),
    "places": (
        lambda: published.places(shares(), leads(), 0.04, LABEL), 2,
        ["% of the resamples", "correlation r = 0.95", "as printed", "all are equally good"],
    ),
}


@pytest.mark.parametrize("name", DRAWN)
def test_figure(name):
    check(*DRAWN[name])


def test_every_figure_is_tested():
    assert {*DRAWN} == public(published)


def test_every_grouping_has_a_color_and_another_is_refused_by_name():
    assert {*GROUPED} < published.GROUPED.keys()
    with pytest.raises(ValueError, match="unknown grouping by head; known are hidden test"):
        published.results(results().replace({"grouped_by": {"patient": "by head"}}), LABEL)


def test_a_mean_without_an_interval_is_open_and_has_no_bar():
    ax = published.results(results(), LABEL).axes[0]
    bars = [drawn for drawn in ax.lines if len(drawn.get_xdata()) == 2]
    points = [drawn for drawn in ax.lines if len(drawn.get_xdata()) == 1]
    assert [list(bar.get_xdata()) for bar in bars] == [[0.43, 0.59], [0.497, 0.597]]
    assert [point.get_xdata()[0] for point in points] == [0.51, 0.547, 0.714]
    assert [point.get_markerfacecolor() == "white" for point in points] == [False, False, True]


def test_our_own_rows_have_a_panel_apart():
    table = pd.concat([results(), results().iloc[:1].assign(name="ours", grouped_by="this run")])
    fig = published.results(table, LABEL)
    assert [[text.get_text() for text in ax.get_yticklabels()] for ax in fig.axes] == [[*results()["name"]], ["ours"]]
    assert [ax.get_xlim() for ax in fig.axes] == [(0, 1)] * 2 and "own rows" in fig.axes[1].get_title("left")


def test_shares_are_bars_in_percent_and_equals_a_rising_line():
    left, right = published.places(shares(), leads(), 0.04, LABEL).axes
    assert [bar.get_width() for bar in left.patches] == pytest.approx([60, 40, 90, 10])
    rising = [line for line in right.lines if len(line.get_xdata()) > 2]
    assert [line.get_xdata()[-1] for line in rising] == [0.1, 0.04]
    assert all((np.diff(line.get_ydata()) > 0).all() for line in rising)


@pytest.mark.parametrize(
    ("draw", "frame", "column"),
    [
        (lambda f: published.results(f, LABEL), results(), "low"),
        (lambda f: published.least_difference(f, own(), PRINTED, LABEL), lines(), "comparisons"),
        (lambda f: published.least_difference(lines(), f, PRINTED, LABEL), own(), "name"),
        (lambda f: published.undefined(f, 62, LABEL), decoded(), "p_first"),
        (lambda f: published.places(f, leads(), 0.04, LABEL), shares(), "first"),
    ],
)
def test_a_missing_column_is_named(draw, frame, column):
    check_column(draw, frame, column)
