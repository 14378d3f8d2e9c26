"""Figures of losses against imbalance: what is drawn, in which units, and that nothing is cut off."""

import numpy as np
import pandas as pd
import pytest
from drawing import LABEL, check, closed, public  # noqa: F401, closed is a fixture

from strokelib.evaluation.imbalance import ESTIMATORS
from strokelib.figures import imbalance
from strokelib.vocabulary import LOSSES

METRICS = ("dsc", "ppv", "sensitivity", "volume_error_ml")
CELLS = [(loss, balanced) for loss in LOSSES for balanced in (True, False)]


def means():
    rows = [(loss, balanced, metric, 0.5 + 0.02 * n) for n, (loss, balanced) in enumerate(CELLS) for metric in METRICS]
    frame = pd.DataFrame(rows, columns=["loss", "balanced", "metric", "mean"])
    return frame.assign(low=frame["mean"] - 0.1, high=frame["mean"] + 0.1)


def bias():
    groups = ("< 5", "5–20", "20–60", "> 60", "all")
    rows = [(words, loss, balanced, group, n - 5.0) for words in ESTIMATORS.values()
            for n, (loss, balanced) in enumerate(CELLS) for group in groups]
    frame = pd.DataFrame(rows, columns=["estimator", "loss", "balanced", "group", "bias_ml"])
    frame = frame.assign(low_ml=frame.bias_ml - 3, high_ml=frame.bias_ml + 4, scans=7)
    frame.loc[frame.group == "< 5", ["bias_ml", "low_ml", "high_ml"]] = np.nan  # no scan of that size
    return frame


def curve(slope):
    x = np.linspace(0.05, 0.95, 10)
    return pd.DataFrame({"mean_probability": x, "lesion_fraction": slope * x})


def decided():
    rows = [(loss, balanced, done, unit) for unit in ("scan", "patient") for loss, balanced in CELLS
            for done in (False, True)]
    frame = pd.DataFrame(rows, columns=["loss", "balanced", "recalibrated", "unit"])
    return frame.assign(agree=0.8, agree_low=0.7, agree_high=0.9, large=8, n=37)


FIGURES = {
    "scores": (lambda: imbalance.scores(means(), METRICS, LABEL), 4, ["DSC (%)", "|ΔV| (mL)", "GDL 1/v²", "focal"]),
    "volumes": (lambda: imbalance.volumes(bias(), LABEL), 4,
                ["voxels above the threshold\nless true volume (mL)", "summed probability\nless true volume (mL)",
                 "> 60\n7", "patches as they come"]),
    "reliability": (lambda: imbalance.reliability({cell: curve(0.5 + 0.03 * n) for n, cell in enumerate(CELLS)}, LABEL),
                    2, ["predicted probability", "lesion fraction", "calibrated"]),
    "decisions": (lambda: imbalance.decisions(decided(), 70, LABEL), 4,
                  ["scans on the correct side of 70 mL (%)", "patients on the correct side", "smaller than 70 mL",
                   "Dice + cross-entropy"]),
}  # fmt: skip


def test_every_figure_is_looked_at():
    assert public(imbalance) == {*FIGURES}


@pytest.mark.parametrize("name", FIGURES)
def test_figures_have_axes_units_and_label(name):
    check(*FIGURES[name])


def test_one_way_of_sampling_has_one_panel():
    alone = means().query("balanced")
    assert len(imbalance.volumes(bias().query("balanced"), LABEL).axes) == 2
    assert len(imbalance.scores(alone, METRICS[:1], LABEL).axes) == 1


def test_a_loss_has_one_mark_of_its_own_in_every_figure():
    marks = imbalance.MARKERS
    assert len({*marks.values()}) == len(LOSSES)
    ax = imbalance.scores(means(), METRICS[:1], LABEL).axes[0]
    drawn = [line.get_marker() for line in ax.lines if len(line.get_xdata()) == 1]
    assert drawn == [marks[loss] for loss, _ in CELLS]
    curves = imbalance.reliability({cell: curve(0.5) for cell in CELLS}, LABEL).axes[0]
    assert [line.get_marker() for line in curves.lines[1:]] == [*marks.values()]
    bars = imbalance.volumes(bias(), LABEL).axes[0].containers
    assert [bar.lines[0].get_marker() for bar in bars] == [*marks.values()]


def test_a_loss_that_nobody_knows_is_refused():
    with pytest.raises(ValueError, match="unknown losses tversky"):
        imbalance.scores(means().assign(loss="tversky"), METRICS, LABEL)
