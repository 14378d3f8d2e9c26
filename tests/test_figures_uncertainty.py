"""Figures of uncertainty: what is drawn, in which units, and that nothing is cut off."""

import numpy as np
import pandas as pd
import pytest
from drawing import CT, LABEL, LESION, K, check, check_column, closed, public, texts  # noqa: F401, closed is a fixture

from strokelib.evaluation.uncertainty import SCAN, VOXEL
from strokelib.figures import uncertainty
from strokelib.vocabulary import RED

SLICE = CT[:, :, K]
TRUTH = LESION[:, :, K]
MASK = np.roll(TRUTH, 2, 0)
P = np.where(MASK, 0.8, 0.02) * (SLICE > 0)
FOUND = {"passes": 0.1 * P, "networks": 0.2 * P, "doubt": P * (1 - P)}


def curve(slope=1.0):
    low = np.linspace(0, 0.9, 10)
    frame = pd.DataFrame({"low": low, "high": low + 0.1, "share": np.geomspace(0.9, 1e-4, 10), "voxels": 50})
    return frame.assign(mean_probability=low + 0.05, lesion_fraction=slope * (low + 0.05))


def kept(last=0.5):
    return pd.DataFrame({"kept": [0.25, 0.5, 0.75, 1.0], "mean": [0.9, 0.8, 0.7, last]})


def volumes():
    facts = {"volume_ml": [30.0, 2.0, 10.0], "low_ml": [12.0, 0.0, 2.0], "high_ml": [55.0, 9.0, 25.0]}
    return pd.DataFrame(facts | {"truth_volume_ml": [60.0, 1.0, 25.0]})


def held():
    rows = [("this run", 0.5, 0.55, 0.4, 0.7), ("this run", 0.9, 0.93, 0.8, 0.98), ("another", 0.9, 0.8, 0.7, 0.88)]
    return pd.DataFrame(rows, columns=["kind", "level", "share", "low", "high"])


FIGURES = {
    "measures": (lambda: uncertainty.measures(SLICE, TRUTH, MASK, P, FOUND, LABEL), 8,
                 ["probability of lesion", "SD (probability)", "variance (probability²)", VOXEL["doubt"].name]),
    "calibration": (lambda: uncertainty.calibration({"vote": curve(), "single": curve(0.8)},
                                                    {"vote": 0.01, "single": 0.02}, LABEL), 2,
                    ["predicted probability", "voxels in the bin (%)", "vote, ECE 0.010"]),
    "errors": (lambda: uncertainty.errors(dict.fromkeys(VOXEL, curve(0.5)), LABEL), 1,
               ["wrong voxels (%)", "rank of the measure within the scan (%), least certain voxels last",
                VOXEL["passes"].name, "all of them"]),
    "selective": (lambda: uncertainty.selective(dict.fromkeys(SCAN, kept()), kept(), LABEL), 1,
                  ["mean DSC of the scans kept (%)", "scans kept, the most certain ones (%)", "4 scans"]),
    "volumes": (lambda: uncertainty.volumes(volumes(), 0.9, LABEL), 1, ["volume (mL)", "90 % intervals"]),
    "coverage": (lambda: uncertainty.coverage(held(), LABEL), 1,
                 ["nominal coverage (%)", "observed coverage of true volumes (%)"]),
}  # fmt: skip


def test_every_figure_is_looked_at():
    assert public(uncertainty) == {*FIGURES}


@pytest.mark.parametrize("name", FIGURES)
def test_figures_have_axes_units_and_label(name):
    check(*FIGURES[name])


def test_each_measure_is_drawn_upright_in_its_own_scale():
    axes = uncertainty.measures(SLICE, TRUTH, MASK, P, FOUND, LABEL).axes[:4]
    for ax, image in zip(axes, (P, *FOUND.values()), strict=True):
        drawn = ax.images[1]
        assert np.array_equal(np.asarray(drawn.get_array()), np.rot90(image))
        assert drawn.get_clim() == (0, 1 if image is P else pytest.approx(image.max()))


def test_a_slice_without_prediction_or_measure_is_drawn():
    nothing, found = np.zeros_like(P), dict.fromkeys(VOXEL, np.zeros_like(P))
    check(lambda: uncertainty.measures(SLICE, TRUTH, MASK & False, nothing, found, LABEL), 8, [])


def test_curves_are_in_percent_and_the_limit_is_dotted():
    ax = uncertainty.selective({"doubt": kept(0.4)}, kept(0.5), LABEL).axes[0]
    limit, doubt, chance = ax.lines
    assert limit.get_linestyle() == ":" and limit.get_ydata()[-1] == 50
    assert doubt.get_xdata().tolist() == [25, 50, 75, 100] and doubt.get_ydata()[-1] == 40
    assert chance.get_ydata()[0] == 50


def test_volumes_outside_are_told_from_those_inside_and_an_end_is_inside():
    ax = uncertainty.volumes(volumes(), 0.9, LABEL).axes[0]
    inside, outside = ax.lines[1:3]
    assert inside.get_ydata().tolist() == [1, 25] and inside.get_xdata().tolist() == [0, 1]
    assert outside.get_ydata().tolist() == [60] and outside.get_color() == RED


def test_an_interval_without_an_end_is_said():
    frame = volumes()
    frame.loc[0, "high_ml"] = np.inf
    seen = texts(uncertainty.volumes(frame, 0.9, LABEL))
    assert "1 without an upper end" in seen
    frame["high_ml"] = np.inf
    check(lambda: uncertainty.volumes(frame, 0.9, LABEL), 1, ["3 without an upper end"])


def test_what_was_held_stands_beside_what_was_promised():
    ax = uncertainty.coverage(held(), LABEL).axes[0]
    own, other = (line for line in ax.lines if line.get_marker() == "o")
    assert own.get_ydata().tolist() == pytest.approx([55, 93]) and other.get_ydata().tolist() == pytest.approx([80])
    assert own.get_xdata()[1] < 90 < other.get_xdata()[0], "aside of each other"


@pytest.mark.parametrize(
    ("draw", "frame", "column"),
    [
        (lambda f: uncertainty.calibration({"vote": f}, {"vote": 0}, LABEL), curve(), "lesion_fraction"),
        (lambda f: uncertainty.errors({"doubt": f}, LABEL), curve(), "lesion_fraction"),
        (lambda f: uncertainty.selective({"doubt": f}, kept(), LABEL), kept(), "mean"),
        (lambda f: uncertainty.volumes(f, 0.9, LABEL), volumes(), "low_ml"),
        (lambda f: uncertainty.coverage(f, LABEL), held(), "level"),
    ],
)
def test_a_missing_column_is_named(draw, frame, column):
    check_column(draw, frame, column)
