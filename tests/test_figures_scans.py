"""What the figures of slices show: orientation, windows, outlines, colors of outcomes."""

import io

import matplotlib.pyplot as plt
import numpy as np
import pytest
from drawing import (  # noqa: F401
    CT,
    FLIPPED,
    IMAGES,
    LABEL,
    LESION,
    SIDE,
    K,
    check,
    closed,
    picture,
    png,
    public,
    texts,
)
from matplotlib.colors import to_hex, to_rgba

from strokelib.figures import scans
from strokelib.figures.style import LESION as LESION_COLOR
from strokelib.modalities import ISLES, MODALITIES
from strokelib.vocabulary import OUTCOMES


def field():
    moved = np.zeros((2, 16, 16))
    moved[0], moved[1] = 2.0, -1.0
    return moved


PATCH, PATCH_LABEL = CT[8:24, 24:40, K], LESION[8:24, 24:40, K].astype(int)
MASKS = [LESION[:, :, K], np.roll(LESION[:, :, K], 3, axis=0)]
PROBABILITY, SPREAD = np.where(MASKS[0], 0.8, 0.01), np.where(MASKS[0], 0.2, 0.005)


def row(title="case 1", truth=MASKS[0], predictions=(MASKS[1],), notes=(), image=None):
    return scans.Row(title, CT[:, :, K], truth, predictions, notes, image)


WORST = [row("scan 1\n3.2 mL,\nfound 12.3 mL\nDSC 0.12", image=IMAGES["CBF"][:, :, K])] * 5
# figure: how it is drawn, its axes with those of color bars, units that stand on it
FIGURES = {
    "modalities": (
        lambda: scans.modalities(IMAGES, K, LABEL, LESION, "case 1"),
        10,
        ["(HU)", "(mL/100 g/min)", "(mL/100 g)", "(s)"],
    ),
    "provided_and_mirrored": (
        lambda: scans.provided_and_mirrored(IMAGES, FLIPPED, K, LABEL, LESION),
        15,
        ["(HU)", "(mL/100 g/min)", "(mL/100 g)", "(s)"],
    ),
    "registration": (lambda: scans.registration(CT, CT[::-1], CT, K, LABEL), 8, ["(HU)"]),
    "centers": (
        lambda: scans.centers(CT, LESION, [(14, 34), (30, 20)], [True, False], K, LABEL),
        1,
        ["HU"],
    ),
    "patch_examples": (
        lambda: scans.patch_examples([PATCH] * 7, [PATCH_LABEL] * 7, list("abcdefg"), LABEL),
        9,
        ["(SD of the brain)"],
    ),
    "elastic": (
        lambda: scans.elastic(PATCH, PATCH, PATCH_LABEL, PATCH_LABEL, field(), LABEL),
        3,
        ["(SD of the brain)"],
    ),
    "probability": (lambda: scans.probability(CT, 0.5 * LESION, LESION, K, LABEL), 3, ["HU"]),
    "segmentations": (
        lambda: scans.segmentations([row("x\n3 mL", predictions=MASKS, notes=("DSC 1", "DSC 0.4"))] * 3, "ab", LABEL),
        6,
        ["HU", "DSC 0.4"],
    ),
    "worst_cases": (lambda: scans.worst_cases(WORST, LABEL), 21, ["HU", "(mL/100 g/min)", "mL\nDSC"]),
    "uncertainty": (
        lambda: scans.uncertainty(row(), PROBABILITY, SPREAD, LABEL),
        5,
        ["HU", "(units of probability)"],
    ),
}


def test_every_public_function_is_drawn_here():
    assert public(scans) == set(FIGURES)


@pytest.mark.parametrize("name", FIGURES)
def test_figure_has_its_axes_units_and_label_and_nothing_is_cut_off(name):
    check(*FIGURES[name])


def test_modalities_are_shown_upright_in_their_units():
    fig = scans.modalities(IMAGES, K, LABEL, LESION)
    ct, cbf = fig.axes[:2]
    np.testing.assert_array_equal(picture(ct), np.rot90(CT[:, :, K]))
    # File values of CBF are ten times mL/100 g/min.
    assert picture(cbf).max() == pytest.approx(30)
    for ax, name in zip(fig.axes[:5], ISLES, strict=True):
        assert ax.images[0].get_clim() == MODALITIES[name].window
        assert ax.images[0].get_cmap().name == MODALITIES[name].colors
    # The lesion lies at low x and high y: left and above the middle.
    outline = ct.collections[0]
    box = outline.get_paths()[0].get_extents()
    assert to_hex(outline.get_edgecolor()[0]) == LESION_COLOR
    assert (box.x0 + box.x1) / 2 == pytest.approx(14, abs=0.5)
    assert (box.y0 + box.y1) / 2 == pytest.approx(SIDE - 1 - 34, abs=0.5)


def test_a_scan_without_lesion_has_no_outline(recwarn):
    for lesion in (None, np.zeros_like(LESION)):
        fig = scans.modalities(IMAGES, K, LABEL, lesion)
        assert not any(ax.collections for ax in fig.axes[:5])
    assert not recwarn.list
    assert "lesion core" not in texts(scans.modalities(IMAGES, K, LABEL))


def test_view_is_limited_to_the_head_and_survives_an_empty_slice():
    ax = scans.modalities(IMAGES, K, LABEL).axes[0]
    inside = np.flatnonzero((CT[:, :, K] > -23).any(1))
    assert ax.get_xlim() == (inside[0] - 4, inside[-1] + 4)
    bottom, top = ax.get_ylim()
    assert bottom > top  # rows run downward
    ax = scans.modalities(dict.fromkeys(ISLES, 0 * CT), K, LABEL).axes[0]
    assert ax.get_xlim() == (-0.5, SIDE - 0.5)


def test_mirrored_row_is_below_in_the_same_window():
    fig = scans.provided_and_mirrored(IMAGES, FLIPPED, K, LABEL)
    above, below = fig.axes[1], fig.axes[6]
    np.testing.assert_array_equal(picture(below), picture(above)[:, ::-1])
    assert below.images[0].get_clim() == above.images[0].get_clim()
    assert below.get_position().y1 < above.get_position().y0


def test_registration_shows_absolute_differences():
    fig = scans.registration(CT, CT[::-1], CT, K, LABEL)
    top, bottom = fig.axes[:3], fig.axes[3:6]
    assert [ax.get_visible() for ax in bottom] == [False, True, True]
    np.testing.assert_array_equal(picture(top[1]), np.rot90(CT[::-1, :, K]))
    assert picture(bottom[1]).max() == 35 and picture(bottom[1]).min() == 0  # air counts as 0 HU
    assert not picture(bottom[2]).any()


def test_registration_does_not_count_what_the_window_hides():
    bone = np.where(CT > 0, 900.0, -23.0)
    other = np.where(CT > 0, 1500.0, 0.0)
    fig = scans.registration(bone, other, bone + 0, K, LABEL)
    assert not picture(fig.axes[4]).any()


def test_centers_lie_where_the_image_shows_them():
    fig = scans.centers(CT, LESION, [(14, 34), (30, 20), (2, 47)], [True, False, True], K, LABEL)
    ax = fig.axes[0]
    healthy, of_lesion = (c.get_offsets() for c in ax.collections[:2])
    np.testing.assert_array_equal(healthy, [(30, SIDE - 1 - 20)])
    np.testing.assert_array_equal(of_lesion, [(14, SIDE - 1 - 34), (2, 0)])
    assert ax.get_xlim()[0] <= 2 and ax.get_ylim()[1] <= 0  # seen, though off the head
    assert {text.get_text() for text in fig.legends[0].get_texts()} == {
        "healthy centers",
        "lesion centers, moved at random",
        "lesion label",
    }


def test_a_slice_without_centers_is_drawn():
    fig = scans.centers(CT, None, np.empty((0, 2), int), np.empty(0, bool), K, LABEL)
    assert [len(c.get_offsets()) for c in fig.axes[0].collections] == [0, 0]


def test_patches_share_one_window_and_spare_panels_are_hidden():
    fig = scans.patch_examples([PATCH, 2 * PATCH] * 4, [PATCH_LABEL] * 8, list("abcdefgh"), LABEL)
    assert len(fig.axes) == 9  # two rows of four, and the color bar
    assert len({ax.images[0].get_clim() for ax in fig.axes[:8]}) == 1
    fig = scans.patch_examples([PATCH] * 7, [PATCH_LABEL] * 7, list("abcdefg"), LABEL)
    assert [ax.get_visible() for ax in fig.axes[:8]] == [True] * 7 + [False]
    with pytest.raises(ValueError, match="zip"):
        scans.patch_examples([PATCH], [PATCH_LABEL], ["a", "b"], LABEL)


def test_elastic_grid_is_where_the_patch_was_sampled():
    before, after, _ = scans.elastic(PATCH, PATCH, PATCH_LABEL, PATCH_LABEL, field(), LABEL).axes
    straight, moved = after.lines[0].get_xydata(), before.lines[0].get_xydata()
    # Two voxels along x are two columns; minus one along y is one row further down.
    np.testing.assert_allclose(moved - straight, np.broadcast_to((2.0, 1.0), straight.shape))
    assert straight[:, 0].tolist() == [0.0] * 16


def test_probability_leaves_the_ct_bare_where_it_is_low():
    values = np.where(LESION, 0.5, 0.01)
    left, right, bar = scans.probability(CT, values, None, K, LABEL).axes
    shown = right.images[1].get_array()
    np.testing.assert_array_equal(~shown.mask, np.rot90(LESION[:, :, K]))
    assert right.images[1].get_clim() == (0, 1)
    assert len(left.images) == 1 and bar.get_ylabel() == "probability"


@pytest.mark.parametrize("colors", OUTCOMES)
def test_segmentations_color_each_voxel_by_outcome(colors):
    truth, prediction = np.zeros((2, SIDE, SIDE), bool)
    truth[10, 30] = truth[11, 30] = True
    prediction[11, 30] = prediction[12, 30] = True
    fig = scans.segmentations(
        [row(truth=truth, predictions=[prediction], notes=["DSC 0.50"])], ["Baseline"], LABEL, colors
    )
    ax = fig.axes[0]
    painted = picture(ax, 1)
    line = SIDE - 1 - 30
    assert tuple(painted[line, 11]) == to_rgba(OUTCOMES[colors]["true positive"])
    assert tuple(painted[line, 12]) == to_rgba(OUTCOMES[colors]["false positive"])
    assert tuple(painted[line, 10]) == to_rgba(OUTCOMES[colors]["false negative"])
    assert np.count_nonzero(painted[..., 3]) == 3
    assert [t.get_text() for t in fig.legends[0].get_texts()] == list(OUTCOMES[colors])


def test_segmentations_have_their_dsc_below_and_their_title_unturned_at_the_left():
    fig = scans.segmentations([row("scan 3\n12 mL", predictions=MASKS, notes=("DSC 1.00", "DSC 0.41"))], "ab", LABEL)
    left, right = fig.axes
    assert (left.get_title(), right.get_title()) == ("a", "b")
    assert (left.get_xlabel(), right.get_xlabel()) == ("DSC 1.00", "DSC 0.41")
    assert left.get_ylabel() == "scan 3\n12 mL" and left.yaxis.label.get_rotation() == 0
    with pytest.raises(ValueError, match="zip"):
        scans.segmentations([row(predictions=MASKS, notes=("DSC 1.00",))], "ab", LABEL)


def test_segmentations_reach_the_png_in_those_colors():
    for colors, outcomes in OUTCOMES.items():
        fig = scans.segmentations([row(predictions=MASKS)], ["a", "b"], LABEL, colors)
        pixels = plt.imread(io.BytesIO(png(fig)))[..., :3]
        for color in outcomes.values():
            assert (abs(pixels - to_rgba(color)[:3]).max(-1) < 0.01).sum() > 20


def test_png_of_the_same_data_is_the_same():
    first, second = (png(scans.segmentations([row(predictions=MASKS)], "ab", LABEL)) for _ in range(2))
    assert first == second


def test_worst_cases_show_the_scan_then_the_map_then_the_truth_then_the_outcome():
    tmax = 100.0 * (LESION[:, :, K] + 1)
    fig = scans.worst_cases([row("first", image=tmax), row("second", image=tmax)], LABEL, "Tmax")
    rows = np.reshape(fig.axes[:8], (2, 4))
    assert [ax.get_title() for ax in rows[0]] == ["CT", "Tmax", "label", "prediction"]
    assert [places[0].get_ylabel() for places in rows] == ["first", "second"]
    for places in rows:
        assert places[1].images[0].get_clim() == MODALITIES["Tmax"].window
        assert picture(places[1]).max() == 200  # in s, as in the file
        assert [len(ax.collections) for ax in places] == [0, 0, 1, 0]  # the outline
        assert [len(ax.images) for ax in places] == [1, 1, 1, 2]
        shown = picture(places[3], 1)[..., 3]
        np.testing.assert_array_equal(shown > 0, np.rot90(MASKS[0] | MASKS[1]))
    assert fig.axes[8].get_xlabel() == "Tmax (s)"


def test_worst_case_without_a_prediction_is_all_missed():
    nothing = row(predictions=(np.zeros_like(MASKS[0]),), image=IMAGES["CBF"][:, :, K])
    fig = scans.worst_cases([nothing], LABEL)
    painted = picture(fig.axes[3], 1)
    found = np.unique(painted[painted[..., 3] > 0], axis=0)
    np.testing.assert_array_equal(found, [to_rgba(OUTCOMES["paper"]["false negative"])])


def test_uncertainty_is_shown_on_its_own_scale_in_the_place_of_the_lesion():
    fig = scans.uncertainty(row(), PROBABILITY, SPREAD, LABEL)
    mean, spread, outcome = fig.axes[:3]
    assert mean.images[1].get_clim() == (0, 1) and spread.images[1].get_clim() == (0, 0.2)
    for ax in (mean, spread):
        np.testing.assert_array_equal(~ax.images[1].get_array().mask, np.rot90(MASKS[0]))
        assert to_hex(ax.collections[0].get_edgecolor()[0]) == LESION_COLOR
    assert np.count_nonzero(picture(outcome, 1)[..., 3]) == np.count_nonzero(MASKS[0] | MASKS[1])
    bars = [ax.get_ylabel() for ax in fig.axes[3:]]
    assert bars == ["probability of lesion", "SD (units of probability)"]


def test_a_slice_without_spread_or_lesion_is_drawn(recwarn):
    nothing = np.zeros((SIDE, SIDE), bool)
    fig = scans.uncertainty(row(truth=nothing, predictions=(nothing,)), 0.0 * nothing, 0.0 * nothing, LABEL)
    assert fig.axes[1].images[1].get_array().mask.all() and not recwarn.list
