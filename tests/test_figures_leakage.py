import numpy as np
import pandas as pd
import pytest
from drawing import LABEL, check, check_column, closed, public, texts  # noqa: F401, closed is a fixture

from strokelib.evaluation.leakage import GROUPS
from strokelib.figures import leakage


def table(groups=GROUPS):
    rows = [
        {"group": group, "scheme": scheme, "metric": metric, "mean_difference": 0.02 * place,
         "low": 0.02 * place - 0.03, "high": 0.02 * place + 0.03, "p_holm": 0.01 if place == 2 else 0.4}
        for group in groups for place, scheme in enumerate(("by scan, shuffled", "by slice, shuffled"))
        for metric in ("dsc", "hd_mm")
    ]
    return pd.DataFrame(rows)


def test_every_figure_is_tested():
    assert public(leakage) == {"effects"}


def test_effects_have_units_groups_and_schemes():
    words = ("points", "mm", *GROUPS, "by slice,\nshuffled", "95 % intervals by patient")
    check(lambda: leakage.effects(table(), LABEL), 2, words)


def test_marks_lie_at_the_differences_in_the_unit_of_the_metric():
    ax = leakage.effects(table(GROUPS[:1]), LABEL).axes[0]
    marks = [line.get_xdata()[0] for line in ax.lines if line.get_marker() == "o" and len(line.get_xdata()) == 1]
    assert marks == pytest.approx([0, 2])
    ends = [list(line.get_xdata()) for line in ax.lines if line.get_marker() == "None" and len(line.get_xdata()) == 2]
    assert [-3, 3] in [[pytest.approx(x) for x in end] for end in ends] and np.ravel(ends).max() == pytest.approx(5)


@pytest.mark.parametrize("column", ["group", "low", "p_holm"])
def test_a_missing_column_is_named(column):
    check_column(lambda frame: leakage.effects(frame, LABEL), table(), column)
