"""Gains by mirror images against symmetry and misfit, and how alike the sides are."""

import pandas as pd
import pytest
from drawing import LABEL, check, check_column, closed, public, texts  # noqa: F401, closed is a fixture

from strokelib.figures import symmetry

METRICS = ("dsc", "sensitivity", "ppv")
MISFITS = ((0.0, 0.0), (5.0, 0.0), (0.0, 10.0))


def table():
    worlds = [(0.0, "rigid"), (0.5, "rigid"), (0.92, "rigid"), (0.92, "affine")]
    rows = [
        {"symmetry": share, "registration": kind, "misfit_mm": mm, "misfit_deg": deg, "new": new, "metric": metric,
         "mean_difference": 0.1 * share - 0.001 * (mm + deg), "low": -0.05, "high": 0.15}
        for share, kind in worlds for mm, deg in MISFITS for new in ("logistic_sm", "rt_sm") for metric in METRICS
        if new == "logistic_sm" or mm == deg == 0
    ]  # fmt: skip
    return pd.DataFrame(rows)


def alike():
    rows = [(share, name, 0.3 + 0.5 * share + 0.1 * n) for share in (0.0, 0.5, 1.0) for name in ("CT", "CBF")
            for n in range(3)]  # fmt: skip
    return pd.DataFrame(rows, columns=["symmetry", "modality", "correlation"])


def points(ax, color):
    """Return (x, y) of marks of one color, filled and open."""
    marks = [line for line in ax.lines if line.get_marker() == "o" and line.get_color() == color]
    place = [(line.get_xdata()[0], line.get_ydata()[0]) for line in marks]
    filled = [line.get_markerfacecolor() != "white" for line in marks]
    return [[at for at, full in zip(place, filled, strict=True) if full is wanted] for wanted in (True, False)]


def test_every_figure_is_tested():
    assert public(symmetry) == {"dose", "misfits", "likeness"}


def test_dose_and_response_has_units_methods_and_the_other_registration_open():
    words = ("network", "logistic regression", "(points)", "share of mirror-symmetric anatomy", "affine registration")
    check(lambda: symmetry.dose(table(), METRICS, "affine", LABEL), len(METRICS), words)
    ax = symmetry.dose(table(), METRICS, "affine", LABEL).axes[0]
    filled, aside = points(ax, symmetry.KINDS["rt_sm"][1])
    assert [y for _, y in filled] == pytest.approx([0, 5, 9.2]) and [y for _, y in aside] == pytest.approx([9.2])
    assert aside[0][0] < filled[-1][0] <= 1, "no share is above 1"


def test_where_no_network_was_trained_the_dose_names_none():
    alone = table().query("new == 'logistic_sm'")
    (legend,) = symmetry.dose(alone, METRICS, "affine", LABEL).legends
    assert [text.get_text() for text in legend.get_texts()] == ["logistic regression"]


def test_misfits_have_units_and_leave_the_other_registration_out():
    words = ("moved (mm)", "turned (degrees)", "0.92", "logistic regression")
    check(lambda: symmetry.misfits(table(), "affine", LABEL), 2, words)
    moved, turned = symmetry.misfits(table(), "affine", LABEL).axes
    for ax, off in ((moved, 0.5), (turned, 1.0)):
        lines = [line for line in ax.lines if line.get_marker() in symmetry.MARKERS]
        marks = [line.get_ydata()[0] for line in lines if len(line.get_ydata()) == 1]
        assert marks == pytest.approx([0, -off, 5, 5 - off, 9.2, 9.2 - off])
        assert len({(line.get_marker(), line.get_color()) for line in lines}) == 3, "each share by mark and color"


def test_likeness_shows_scans_and_means():
    check(lambda: symmetry.likeness(alike(), LABEL), 2, ("CT", "CBF", "correlation with its own flip", "black: means"))
    ax = symmetry.likeness(alike(), LABEL).axes[0]
    dots, means = ax.lines
    assert len(dots.get_xdata()) == 9 and [*means.get_ydata()] == pytest.approx([0.4, 0.65, 0.9])


@pytest.mark.parametrize("column", ["symmetry", "registration", "high"])
def test_a_missing_column_is_named(column):
    check_column(lambda frame: symmetry.dose(frame, METRICS, "affine", LABEL), table(), column)
    check_column(lambda frame: symmetry.misfits(frame, "affine", LABEL), table(), column)


def test_a_missing_modality_is_named():
    check_column(lambda frame: symmetry.likeness(frame, LABEL), alike(), "modality")
