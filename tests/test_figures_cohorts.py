"""Readers of one cohort side by side, and what one of them should have."""

import numpy as np
import pandas as pd
import pytest
from drawing import LABEL, check, check_column, closed, public, texts  # noqa: F401, closed is a fixture

from strokelib.evaluation.cohorts import TOLD
from strokelib.figures import cohorts

VERDICTS = ("higher", "lower", "inconclusive")


def table():
    rows = [
        {"cohort": 2101 + place, "seed": 7, "metric": metric, "new": "rt_sm", "old": "rt",
         "mean_difference": 0.02 * place,
         "low": 0.02 * place - 0.03, "high": 0.02 * place + 0.03, "verdict": verdict}
        for place, verdict in enumerate(VERDICTS) for metric in TOLD
    ]  # fmt: skip
    return pd.DataFrame(rows)


def summary(honest=0.2):
    return pd.DataFrame([{"metric": metric, "mean": 0.05, "usual": 0.1, "honest": honest} for metric in TOLD])


def test_every_figure_is_tested():
    assert public(cohorts) == {"differences"}


def test_readers_have_names_units_and_a_note():
    words = ("cohort 2101, seed 7", "width for one cohort: patients alone", "(points)", "(mm)", "RT + SM − RT", "95 %")
    check(lambda: cohorts.differences(table(), summary(), LABEL), len(TOLD), words)


def test_intervals_lie_where_the_numbers_say_and_verdicts_have_colors():
    axes = cohorts.differences(table(), summary(), LABEL).axes
    ax, distance = axes[0], axes[TOLD.index("hd_mm")]
    marks, others = ([line for line in panel.lines if line.get_marker() == "o"] for panel in (ax, distance))
    assert [line.get_xdata()[0] for line in marks] == pytest.approx([0, 2, 4])
    better, worse, neither = (cohorts.COLORS[word] for word in ("better", "worse", "inconclusive"))
    assert [line.get_color() for line in marks] == [better, worse, neither], "higher, lower, inconclusive"
    assert [line.get_color() for line in others] == [worse, better, neither], "a shorter HD is better"
    thick = [list(line.get_xdata()) for line in ax.lines if line.get_linewidth() == 2.5]
    assert thick == [pytest.approx([-5, 15]), pytest.approx([-15, 25])], "usual above, honest below"


def test_one_cohort_has_no_honest_interval():
    ax = cohorts.differences(table(), summary(np.nan), LABEL).axes[0]
    assert len([line for line in ax.lines if line.get_linewidth() == 2.5]) == 1


@pytest.mark.parametrize("column", ["cohort", "new", "low", "verdict"])
def test_a_missing_column_is_named(column):
    check_column(lambda frame: cohorts.differences(frame, summary(), LABEL), table(), column)
