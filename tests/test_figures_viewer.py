"""What a slice in the viewer shows: the image in its window, the probability over it, the outline, true sides."""

import dataclasses

import numpy as np
import pytest
from drawing import CT, IMAGES, LABEL, LESION, SIDE, SLICES, K, check, closed, picture, public, texts  # noqa: F401
from matplotlib.colors import to_hex

from strokelib.figures import viewer
from strokelib.figures.style import LESION as LESION_COLOR
from strokelib.modalities import ISLES, MODALITIES

HEAD = (CT > 0).any(axis=2)
SHOWN = viewer.Layers(IMAGES, LESION, np.where(LESION, 0.7, 0.01), (1.0, 1.0, 12.0), HEAD, LABEL)


def test_every_public_function_is_drawn_here():
    assert public(viewer) == {"layers"}


@pytest.mark.parametrize("name", ISLES)
def test_figure_has_its_axes_units_and_label_and_nothing_is_cut_off(name):
    unit = f"{name} ({MODALITIES[name].unit})"
    title = f"{name}, slice {K + 1} of {SLICES}, 12 mm apart"
    check(lambda: viewer.layers(SHOWN, name, K), 3, [unit, "probability of lesion", "core found", title])


def test_the_image_is_upright_in_its_window_below_the_probability():
    fig = viewer.layers(SHOWN, "CBF", K, 0.3)
    ax = fig.axes[0]
    assert picture(ax).max() == pytest.approx(30), "file values of CBF are ten times mL/100 g/min"
    assert ax.images[0].get_clim() == MODALITIES["CBF"].window
    over = ax.images[1]
    np.testing.assert_array_equal(~over.get_array().mask, np.rot90(LESION[:, :, K]))
    assert over.get_alpha() == 0.3 and over.get_clim() == (0, 1)
    box = ax.collections[0].get_paths()[0].get_extents()
    assert to_hex(ax.collections[0].get_edgecolor()[0]) == LESION_COLOR
    assert (box.y0 + box.y1) / 2 == pytest.approx(SIDE - 1 - 34, abs=0.5), "the lesion is in front: above the middle"


def test_what_is_turned_off_or_not_there_is_not_drawn():
    fig = viewer.layers(SHOWN, "CT", K, 0.0, outlined=False)
    assert len(fig.axes[0].images) == 1 and not fig.axes[0].collections
    assert not fig.axes[2].get_visible() and "core found" not in texts(fig)
    bare = dataclasses.replace(SHOWN, core=None, probability=None)
    fig = viewer.layers(bare, "CT", K)
    assert len(fig.axes[0].images) == 1 and not fig.axes[2].get_visible() and "core found" not in texts(fig)


@pytest.mark.parametrize("side", [1.0, 1.5])
def test_a_voxel_has_its_true_sides(side):
    fig = viewer.layers(dataclasses.replace(SHOWN, spacing=(0.8, 0.8 * side, 5.0)), "CT", K)
    fig.draw_without_rendering()
    ax = fig.axes[0]
    (x0, y0), (x1, y1) = ax.transData.transform([(10, 10), (20, 20)])
    assert abs(y1 - y0) / abs(x1 - x0) == pytest.approx(side)


def test_the_frame_stays_where_it_is_from_slice_to_slice_and_image_to_image():
    places = {
        tuple(np.round(ax.get_position().bounds, 6) for ax in viewer.layers(SHOWN, name, k).axes).__repr__()
        for name in ("CT", "Tmax")
        for k in (0, 2)
    }
    views = {viewer.layers(SHOWN, name, k).axes[0].get_xlim() for name in ("CT", "Tmax") for k in (0, 2)}
    assert len(places) == len(views) == 1
