import numpy as np
import pandas as pd
import pytest
from drawing import LABEL, LESION, check, check_column, closed, head, public, texts  # noqa: F401, closed is a fixture
from matplotlib.colors import to_rgba

from strokelib.evaluation.ladder import RUNGS, TOLD
from strokelib.figures import ladder
from strokelib.voxelwise import Feature

NAMES = ("logistic", "logistic_sm", "rt_sm", "core")


def means(names=NAMES):
    rows = []
    for place, name in enumerate(names):
        row = {"variant": name}
        for metric in TOLD:
            row |= {f"{metric}_mean": 0.5 + 0.1 * place, f"{metric}_low": 0.4, f"{metric}_high": 0.95}
        rows.append(row)
    return pd.DataFrame(rows)


def differences():
    rows = [
        (new, old, metric, 0.1, 0.05, 0.15, p)
        for metric in TOLD
        for new, old, p in (("logistic_sm", "logistic", 0.01), ("rt_sm", "trees_sm", 0.4))
    ]
    return pd.DataFrame(rows, columns=["new", "old", "metric", "mean_difference", "low", "high", "p_holm"])


def weights():
    rows = [
        (image, mm, squared, 0.5 * (-1) ** place + mm)
        for place, image in enumerate(("CT", "Tmax"))
        for squared in (False, True)
        for mm in (0.0, 2.0)
    ]
    return pd.DataFrame(rows, columns=["image", "smoothing_mm", "squared", "coefficient"])


def drops():
    rows = [
        (fold, image, 0.9 + fold / 100, drop + fold / 100)
        for fold in (0, 1)
        for image, drop in (("CT", 0.01), ("Tmax", 0.2))
    ]
    return pd.DataFrame(rows, columns=["fold", "image", "auc", "drop"])


def volumes():
    images, _ = head()
    kinds = [(mm, squared) for squared in (False, True) for mm in (0.0, 2.0)]
    return {Feature(name, mm, squared): images[name] for name in ("CT", "CBF") for mm, squared in kinds}


FIGURES = {
    "features": (lambda: ladder.features(volumes(), 1, LABEL, LESION), 8 + 2,
                 ["2 mm, squared", "CBF", "black or light blue line"]),
    "rungs": (lambda: ladder.rungs(means(), TOLD, LABEL), 3, ["DSC (%)", "HD95 (mm)", "|ΔV| (mL)", "true core"]),
    "steps": (lambda: ladder.steps(differences(), LABEL), 3, ["(points)", "(mm)", "(mL)", "logistic + SM − logistic"]),
    "coefficients": (lambda: ladder.coefficients({"a": weights(), "b": weights()}, LABEL), 3, ["log odds", "Tmax"]),
    "importances": (lambda: ladder.importances({"trees": drops()}, LABEL), 1, ["loss of AUC", "trees, AUC 0.905"]),
}


def test_every_public_function_is_drawn_here():
    assert public(ladder) == set(FIGURES)


@pytest.mark.parametrize("name", FIGURES)
def test_figure_has_its_axes_units_and_label_and_nothing_is_cut_off(name):
    check(*FIGURES[name])


def test_rungs_stand_from_the_ground_up_and_are_open_without_the_other_side():
    ax = ladder.rungs(means(NAMES[::-1]), TOLD, LABEL).axes[0]
    assert [text.get_text() for text in ax.get_yticklabels()] == [RUNGS[name].name for name in NAMES]
    marks = [line for line in ax.lines if line.get_marker() == "o"]
    assert [mark.get_ydata()[0] for mark in marks] == [0, 1, 2, 3]
    assert [mark.get_markerfacecolor() for mark in marks] == ["white", *(RUNGS[name].color for name in NAMES[1:])]
    assert marks[0].get_xdata()[0] == pytest.approx(80), "the frame is in another order, the figure is not"


def test_an_unknown_rung_is_named():
    with pytest.raises(ValueError, match="unknown rungs forest"):
        ladder.rungs(means(("logistic", "forest")), TOLD, LABEL)


def test_steps_are_filled_where_p_is_small_and_in_the_unit_of_their_metric():
    left, middle, _ = ladder.steps(differences(), LABEL).axes
    marks = [line for line in left.lines if line.get_marker() == "o"]
    assert [mark.get_xdata()[0] for mark in marks] == pytest.approx([10, 10])
    assert [mark.get_markerfacecolor() for mark in marks] == [RUNGS["logistic_sm"].color, "white"]
    assert [line.get_xdata()[0] for line in middle.lines if line.get_marker() == "o"] == pytest.approx([0.1, 0.1])


def test_coefficients_are_a_grid_about_nought_with_rows_of_one_height():
    short = weights().query("image == 'CT'")
    left, right, _ = ladder.coefficients({"one": short, "two": weights()}, LABEL).axes
    grid = np.asarray(right.images[0].get_array())
    assert grid.tolist() == [[0.5, 2.5, 0.5, 2.5], [-0.5, 1.5, -0.5, 1.5]]
    assert left.get_ylim() == right.get_ylim() and right.images[0].get_clim() == (-2.5, 2.5)
    heads = [text.get_text() for text in right.get_xticklabels()]
    assert heads == ["voxel", "2 mm", "voxel, squared", "2 mm, squared"]
    assert "−0.5" in texts(left.figure)


def test_importances_are_bars_of_means_under_dots_of_folds():
    ax = ladder.importances({"trees": drops()}, LABEL).axes[0]
    assert [bar.get_width() for bar in ax.patches] == pytest.approx([0.015, 0.205])
    dots = [line.get_xdata()[0] for line in ax.lines if line.get_marker() == "."]
    assert dots == pytest.approx([0.01, 0.2, 0.02, 0.21])


def test_features_are_upright_under_their_headings_with_the_lesion():
    fig = ladder.features(volumes(), 1, LABEL, LESION)
    first = fig.axes[0]
    assert np.array_equal(np.asarray(first.images[0].get_array()), np.rot90(head()[0]["CT"][:, :, 1]))
    assert [ax.get_title() for ax in fig.axes[:4]] == ["voxel", "2 mm", "voxel, squared", "2 mm, squared"]
    assert [ax.get_ylabel() for ax in fig.axes[:8:4]] == ["CT", "CBF"]
    colors = [collection.get_edgecolor()[0] for collection in first.collections]
    assert colors and np.allclose(colors[0], to_rgba("black")), "on red and blue"
    squared = fig.axes[2].collections[0].get_edgecolor()[0]
    assert np.allclose(squared, to_rgba("#00e5ff")), "on dark"
    assert "light blue" not in texts(ladder.features(volumes(), 1, LABEL))


@pytest.mark.parametrize(
    ("draw", "frame", "column"),
    [
        (lambda f: ladder.rungs(f, TOLD, LABEL), means(), "hd95_mm_low"),
        (lambda f: ladder.steps(f, LABEL), differences(), "p_holm"),
        (lambda f: ladder.coefficients({"one": f}, LABEL), weights(), "squared"),
        (lambda f: ladder.importances({"one": f}, LABEL), drops(), "drop"),
    ],
)
def test_a_missing_column_is_named(draw, frame, column):
    check_column(draw, frame, column)
