"""What the figures of training show."""

import numpy as np
import pandas as pd
import pytest
from drawing import LABEL, check, check_column, closed, public, texts  # noqa: F401

from strokelib.evaluation.stopping import stopping_means
from strokelib.figures import training


def validations():
    return pd.DataFrame(
        {
            "updates": [250, 500, 750, 1000],
            "loss": [1.0, 0.6, 0.4, 0.3],
            "accuracy": [0.8, 0.9, 0.95, 0.96],
            "validation_loss": [0.9, 0.7, 0.8, 0.9],
            "validation_accuracy": [0.8, 0.88, 0.9, 0.9],
            "monitored": [0.4, 0.3, 0.2, 0.25],
            "validation_dsc": [0.1, 0.3, 0.4, 0.42],
            "best": [True, True, True, False],
        }
    )


def stops():
    rows = [("rt", 0, "validation_loss", -0.2, 0.04), ("rt", 1, "validation_loss", -0.6, 0.0)]
    rows += [("rt", 0, "monitored", -0.9, 0.01), ("rt", 1, "monitored", np.nan, 0.03)]
    return pd.DataFrame(rows, columns=["network", "fold", "quantity", "rank", "cost"]).assign(validations=6)


# figure: how it is drawn, its axes with those of color bars, units that stand on it
FIGURES = {
    "history": (lambda: training.history(validations(), "rt_sm", "l1_error", LABEL), 4, ["updates"]),
    "stopping": (lambda: training.stopping(stops(), stopping_means(stops()), LABEL), 2, ["DSC", "(points)"]),
}


def test_every_public_function_is_drawn_here():
    assert public(training) == set(FIGURES)


@pytest.mark.parametrize("name", FIGURES)
def test_figure_has_its_axes_units_and_label_and_nothing_is_cut_off(name):
    check(*FIGURES[name])


def test_history_marks_the_last_improvement():
    fig = training.history(validations(), "rt_sm", "l1_error", LABEL)
    assert "kept, 750\n" in texts(fig)
    loss, accuracy, monitored, dsc = fig.axes
    assert [len(ax.lines) for ax in fig.axes] == [3, 3, 3, 2]
    assert monitored.get_ylabel() == "L1 loss + error rate"
    assert monitored.lines[-1].get_xydata().tolist() == [[750, 0.2]]
    assert loss.lines[0].get_label() == "training" and dsc.get_xlabel() == "updates"
    assert accuracy.lines[1].get_ydata().tolist() == validations()["validation_accuracy"].tolist()
    assert "Single + RT + SM" in texts(fig)


def test_stopping_draws_a_point_a_network_and_the_mean_it_is_given():
    means = stopping_means(stops())
    rank, cost = training.stopping(stops(), means, LABEL).axes
    assert [text.get_text() for text in rank.get_yticklabels()] == ["validation loss", "L1 loss + error rate"]
    points = [sorted(line.get_xdata()) for line in rank.lines if line.get_marker() == "o"]
    assert points == [[-0.6, -0.2], [-0.9]]
    drawn = [line.get_xdata()[0] for line in cost.lines if line.get_marker() != "o"]
    assert drawn == pytest.approx([2, 2]) and means["cost"].tolist() == pytest.approx([0.02, 0.02])


@pytest.mark.parametrize(
    ("draw", "frame", "column"),
    [
        (lambda f: training.history(f, "rt", "monitored", LABEL), validations(), "validation_dsc"),
        (lambda f: training.stopping(f, stopping_means(stops()), LABEL), stops(), "cost"),
    ],
)
def test_a_missing_column_is_named(draw, frame, column):
    check_column(draw, frame, column)
