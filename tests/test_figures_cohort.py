"""What the figures of the whole cohort show."""

import numpy as np
import pandas as pd
import pytest
from drawing import LABEL, check, check_column, closed, public, texts  # noqa: F401
from matplotlib.colors import to_hex

from strokelib.figures import cohort


def scans():
    return pd.DataFrame(
        {
            "patient": ["A", "A", "B", "C"],
            "slices": [2, 2, 8, 8],
            "volume_ml": [0.0, 1.5, 20.0, 150.0],
            "lesion_fraction": [0.0, 0.01, 0.05, 0.2],
        }
    )


def registrations():
    return pd.DataFrame(
        {
            "flip_score": [0.7, 0.8, 0.9],
            "score": [0.9, 0.85, 0.9],
            "yaw_error_deg": [-0.2, 0.1, 0.3],
            "midline_error_mm": [0.1, -0.6, 0.2],
        }
    )


STAGES = pd.DataFrame(
    {
        "stage": ["brain", "spread", "spread", "balanced", "balanced"],
        "voxels": ["brain voxels", *["all voxels of the patches", "brain voxels"] * 2],
        "lesion_fraction": [0.052, 0.041, 0.055, 0.088, 0.118],
    }
)
TIME = np.arange(10.0)
TISSUE = {"healthy": TIME, "core": 0.2 * TIME}
# figure: how it is drawn, its axes with those of color bars, units that stand on it
FIGURES = {
    "cohort_summary": (lambda: cohort.cohort_summary(scans(), LABEL), 4, ["(mL)", "(%)"]),
    "curves": (lambda: cohort.curves(TIME, TIME**2, TISSUE, LABEL), 2, ["(s)", "(HU)"]),
    "registration_errors": (lambda: cohort.registration_errors(registrations(), LABEL), 3, ["(°)", "(mm)"]),
    "class_fractions": (lambda: cohort.class_fractions(STAGES, LABEL), 1, ["(%)"]),
}


def test_every_public_function_is_drawn_here():
    assert public(cohort) == set(FIGURES)


@pytest.mark.parametrize("name", FIGURES)
def test_figure_has_its_axes_units_and_label_and_nothing_is_cut_off(name):
    check(*FIGURES[name])


def test_cohort_volumes_are_on_log_axes_and_empty_scans_are_counted():
    fig = cohort.cohort_summary(scans(), LABEL)
    volumes, slices, both = fig.axes[:3]
    assert volumes.get_xscale() == "log" and both.get_yscale() == "log"
    assert slices.get_xscale() == "linear"
    assert sum(bar.get_height() for bar in volumes.patches) == 3
    assert sorted(bar.get_height() for bar in slices.patches) == [2, 2]
    assert volumes.get_title() == "4 scans, 3 patients, 1 empty"
    assert len(both.collections[0].get_offsets()) == 3


def test_curves_keep_the_artery_on_its_own_axis():
    artery, tissue = cohort.curves(TIME, 50 * TIME, TISSUE, LABEL).axes
    np.testing.assert_array_equal(artery.lines[0].get_ydata(), 50 * TIME)
    assert [line.get_label() for line in tissue.lines] == list(TISSUE)
    assert artery.get_ylim()[1] > 400 > tissue.get_ylim()[1]


def test_registration_errors_are_drawn_where_known():
    assert len(cohort.registration_errors(registrations(), LABEL).axes) == 3
    short = registrations()[["score", "flip_score"]]
    ax = cohort.registration_errors(short, "ISLES 2018").axes[0]
    np.testing.assert_allclose(ax.collections[0].get_offsets(), short[["flip_score", "score"]])
    histogram = cohort.registration_errors(registrations(), LABEL).axes[2]
    assert sum(bar.get_height() for bar in histogram.patches) == 3
    assert min(bar.get_x() for bar in histogram.patches) == pytest.approx(0.1)  # sizes, not signs


def test_class_fractions_stand_beside_the_paper_s():
    fig = cohort.class_fractions(STAGES, LABEL)
    ax = fig.axes[0]
    assert [bar.get_width() for bar in ax.patches] == pytest.approx([5.2, 4.1, 5.5, 8.8, 11.8])
    # One color a denominator, and a legend that says which.
    blue, light = cohort.SHARES.values()
    assert [to_hex(bar.get_facecolor()) for bar in ax.patches] == [blue, light, blue, light, blue]
    assert "of brain voxels" in texts(fig) and "of all voxels of the patches" in texts(fig)
    # The paper's numbers stand at the stages that they are about, across no label.
    marks = [(line.get_xdata()[0], *line.get_ydata()) for line in ax.lines]
    assert marks == [(5, -0.47, 0.47), pytest.approx((12, 1.53, 2.47))]
    assert [text.get_text() for text in ax.texts] == ["5.2 %", "4.1 %", "5.5 %", "8.8 %", "11.8 %"]
    assert all(text.get_position()[0] > 1 for text in ax.texts), "beside the axes"
    assert [text.get_text() for text in ax.get_yticklabels()] == ["brain", "spread", "balanced"]


@pytest.mark.parametrize(
    ("draw", "frame", "column"),
    [
        (lambda f: cohort.cohort_summary(f, LABEL), scans(), "volume_ml"),
        (lambda f: cohort.registration_errors(f, LABEL), registrations(), "flip_score"),
        (lambda f: cohort.class_fractions(f, LABEL), STAGES, "voxels"),
    ],
)
def test_a_missing_column_is_named(draw, frame, column):
    check_column(draw, frame, column)
