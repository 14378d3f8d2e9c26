import numpy as np
import pandas as pd
import pytest
from drawing import LABEL, LESION, check, check_column, closed, head, public  # noqa: F401, closed is a fixture

from strokelib.evaluation.information import BESIDE, STEPS
from strokelib.figures import raw_series

TIME = np.arange(20.0)
CURVES = {"lesion": np.sin(TIME), "rest": np.cos(TIME)}
METRICS = ("dsc", "hd95_mm")


def images():
    shown = head()[0]
    return dict.fromkeys((*BESIDE, *BESIDE.values()), shown["CBF"] / 300.0)


def areas():
    rows = [
        {"map": name, "fitted": other, "provided_auc": 0.7, "fitted_auc": 0.8, "gain": 0.1, "low": 0.05, "high": 0.15}
        for name, other in BESIDE.items()
    ]
    return pd.DataFrame(rows)


def means():
    rows = [{"variant": name} | {f"{metric}_{part}": value for metric in METRICS for part, value in
            (("low", 0.3), ("mean", 0.4), ("high", 0.5))} for name in dict.fromkeys(np.ravel(STEPS))]
    return pd.DataFrame(rows)


def differences(p=0.01):
    rows = [
        {"new": new, "old": old, "metric": metric, "mean_difference": 0.02, "low": 0.01, "high": 0.03, "p_holm": p}
        for new, old in STEPS for metric in METRICS
    ]  # fmt: skip
    return pd.DataFrame(rows)


FIGURES = {
    "fits": (lambda: raw_series.fits(TIME, CURVES, CURVES, LABEL), 2, ["(HU)", "time (s)", "measured", "lesion"]),
    "maps": (
        lambda: raw_series.maps(images(), 1, LESION, LABEL), 8 + 1,
        ["fitted delay", "standard deviations", "black line: label"],
    ),
    "areas": (lambda: raw_series.areas(areas(), LABEL), 2, ["area under the ROC", "Tmax and fitted delay", "gain"]),
    "gains": (
        lambda: raw_series.gains(means(), differences(), METRICS, LABEL), 4,
        ["(points)", "HD95 (mm)", "trees: provided and fitted maps,\nless as provided"],
    ),
}  # fmt: skip


def test_every_public_function_is_drawn_here():
    assert public(raw_series) == set(FIGURES)


@pytest.mark.parametrize("name", FIGURES)
def test_figure_has_its_axes_units_and_label_and_nothing_is_cut_off(name):
    check(*FIGURES[name])


def test_gains_lie_where_the_table_says_and_are_filled_where_they_count():
    for p, filled in ((0.01, True), (0.4, False)):
        below = raw_series.gains(means(), differences(p), METRICS, LABEL).axes[2]
        marks = [line for line in below.lines if line.get_marker() == "o"]
        assert [line.get_xdata()[0] for line in marks] == pytest.approx([2] * len(STEPS))
        assert {line.get_markerfacecolor() != "white" for line in marks} == {filled}


def test_areas_stand_on_their_lines_and_their_legend_is_outside():
    fig = raw_series.areas(areas(), LABEL)
    both, gain = fig.axes
    assert both.get_legend() is None
    assert [text.get_text() for text in fig.legends[0].get_texts()] == ["provided", "fitted"]
    assert [list(line.get_xdata()) for line in both.lines] == [[0.7] * 4, [0.8] * 4]
    assert list(gain.lines[-1].get_xdata()) == pytest.approx([0.1] * 4)


@pytest.mark.parametrize(
    ("draw", "frame", "column"),
    [
        (lambda f: raw_series.areas(f, LABEL), areas(), "gain"),
        (lambda f: raw_series.gains(f, differences(), METRICS, LABEL), means(), "dsc_low"),
        (lambda f: raw_series.gains(means(), f, METRICS, LABEL), differences(), "p_holm"),
    ],
)
def test_a_missing_column_is_named(draw, frame, column):
    check_column(draw, frame, column)
