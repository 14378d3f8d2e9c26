"""Reliability diagrams: what is drawn, in which units, and that nothing is cut off."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from drawing import LABEL, check, check_column, closed, public, texts  # noqa: F401, closed is a fixture

from strokelib.evaluation import agreement
from strokelib.figures import reliability

COUNTS = np.array([[900.0, 0, 60, 40], [20.0, 0, 36, 36], [9.0, 0, 30, 38]])
CURVES = {"one": agreement.reliability(COUNTS), "other": agreement.reliability(2 * COUNTS)}
LOOKS = {"one": {"color": "red"}, "other": {"color": "blue", "linestyle": "--"}}


def diagram(curves=None):
    return reliability.diagram(curves or CURVES, {"one": 0.0193, "other": 0.25}, LOOKS, LABEL)


def test_every_public_function_is_drawn_here():
    assert public(reliability) == {"diagram", "curves_on"}


def test_a_diagram_has_axes_units_and_label():
    check(diagram, 2, ["voxels in the bin (%)", "predicted probability", "lesion fraction", "other, ECE 0.250"])
    check_column(lambda frame: diagram({"one": frame}), CURVES["one"], "share")


def test_curves_pass_by_empty_bins_and_shares_do_not():
    curve, share = diagram().axes
    assert curve.lines[0].get_xydata().tolist() == [[0, 0], [1, 1]]
    for line, color in zip(curve.lines[1:], ("red", "blue"), strict=True):
        np.testing.assert_allclose(line.get_xydata(), [[1 / 45, 0.01], [0.6, 0.5], [0.9, 0.95]])
        assert line.get_color() == color
    assert share.patches[0].get_data().values.tolist() == pytest.approx([90, 0, 6, 4])
    assert share.get_yscale() == "log"


def test_curves_alone_have_the_words_or_what_is_said_instead_as_labels():
    figure, ax = plt.subplots()
    reliability.curves_on(ax, CURVES, {"one": {}, "other": {"label": "another"}})
    ax.legend()
    assert all(text in texts(figure) for text in ("calibrated", "one", "another"))
    assert ax.get_xlabel() == "predicted probability" and ax.get_xlim() == ax.get_ylim() == (0, 1)
