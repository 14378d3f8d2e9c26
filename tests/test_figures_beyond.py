"""What the figure of the candidates says."""

import pytest
from drawing import LABEL, check
from test_beyond import scores

from strokelib.evaluation import beyond
from strokelib.figures import beyond as figures

NAMES = {"one_cycle": "rt_sm", "flips_twice": "rt_sm", beyond.VOTE: "rt_sm"}


@pytest.fixture(scope="module")
def found():
    tests = beyond.gains(scores(one_cycle=0.0, flips_twice=0.03, vote=0.02), NAMES, 0)
    tests = beyond.beside(tests, tests.assign(low=tests["low"].where(tests["new"] != beyond.VOTE, -0.01)))
    return figures.gains(tests, {"one_cycle": 1.0, "flips_twice": 2.0}, ["flips_twice"], LABEL), tests


def test_a_line_each_the_largest_gain_at_the_top_in_words(found):
    figure, _ = found
    words = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert words == [beyond.named(name) for name in ("flips_twice", beyond.VOTE, "one_cycle")]
    low, high = figure.axes[0].get_ylim()
    assert low > high, "the first stands at the top"


def test_points_stand_at_the_differences_and_costs_at_their_ratio(found):
    figure, tests = found
    dsc = tests[tests.metric == "dsc"].set_index("new").mean_difference
    points = {line.get_ydata()[0]: line.get_xdata()[0] for line in figure.axes[0].lines if line.get_marker() == "o"}
    assert points == {place: pytest.approx(100 * dsc[name]) for place, name in enumerate(dsc.sort_values()[::-1].index)}
    squares = {line.get_ydata()[0]: line.get_xdata()[0] for line in figure.axes[-1].lines if line.get_marker() == "s"}
    assert squares == {0: 2.0, 2: 1.0}, "the vote has no cost"


def test_what_hangs_on_the_choice_of_pair_is_drawn_open(found):
    figure, tests = found
    dsc = tests[tests["metric"] == "dsc"].set_index("new")
    assert (dsc.loc[["flips_twice", beyond.VOTE], "p_holm"] < 0.05).all()
    marks = {line.get_ydata()[0]: line for line in figure.axes[0].lines if line.get_marker() == "o"}
    filled = [marks[place].get_markerfacecolor() == marks[place].get_markeredgecolor() for place in range(3)]
    assert filled == [True, False, False], "flips, their vote by its own pairs alone, one cycle"


def test_the_cohort_is_named_and_a_missing_column_is_refused(found):
    figure, tests = found
    check(lambda: figure, len(figure.axes), ["(points)", "candidate − reference"])
    with pytest.raises(ValueError, match="low"):
        figures.gains(tests.drop(columns="low"), {}, [], "x")
