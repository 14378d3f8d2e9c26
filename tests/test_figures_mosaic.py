import numpy as np
import pytest
from drawing import CT, LESION, SIDE, closed, picture  # noqa: F401
from matplotlib import pyplot as plt
from matplotlib.colors import to_rgb

from strokelib.figures import mosaic
from strokelib.figures.style import LESION as LESION_COLOR
from strokelib.vocabulary import RED, SKY

WHOLE = (slice(0, SIDE), slice(0, SIDE))


def brain(slices):
    return np.ones((4, 4, slices), bool)


def core_in(slices, **sizes):
    core = np.zeros((4, 4, slices), bool)
    for name, size in sizes.items():
        core[:, :, int(name[1:])].flat[:size] = True
    return core


def test_few_slices_are_all_shown_but_for_those_without_brain():
    assert mosaic.choose_slices(brain(3) & False | core_in(3), brain(3)) == [0, 1, 2]
    there = brain(8)
    there[..., [0, 5]] = False
    assert mosaic.choose_slices(core_in(8), there) == [1, 2, 3, 4, 6, 7]


def test_many_slices_show_the_largest_core_and_spread_evenly():
    found = mosaic.choose_slices(core_in(22, k3=2, k10=9, k11=8, k12=7, k13=6), brain(22))
    assert len(found) == 8 and found == sorted(found)
    assert {10, 11, 12, 13} <= set(found) and {0, 21} <= set(found)
    assert np.diff(found).max() <= 6
    found = mosaic.choose_slices(core_in(22), brain(22))  # no core
    assert len(set(found)) == 8 and {0, 21} <= set(found) and np.diff(found).max() <= 5
    found = mosaic.choose_slices(core_in(22, k5=1), brain(22))
    assert 5 in found and len(set(found)) == 8


def test_box_is_that_of_the_brain_some_millimeters_wider_and_inside_the_image():
    there = np.zeros((40, 60, 2), bool)
    there[10:20, 1:30] = True
    assert mosaic.box(there, (2.0, 1.0, 5.0)) == (slice(7, 23), slice(0, 36))


def test_slices_lie_side_by_side_upright_and_stay_as_they_are():
    volume = np.arange(SIDE * SIDE * 3, dtype=np.float32).reshape(SIDE, SIDE, 3)
    before = volume.copy()
    laid = mosaic.lay(volume, [2, 0], WHOLE)
    assert laid.shape == (SIDE, 2 * SIDE) and laid.dtype == np.float32
    np.testing.assert_array_equal(laid[:, : SIDE - 1], np.rot90(volume[:, :, 2])[:, :-1])
    np.testing.assert_array_equal(laid[:, SIDE:-1], np.rot90(volume[:, :, 0])[:, :-1])
    assert np.isnan(laid[:, [SIDE - 1, -1]]).all()
    np.testing.assert_array_equal(volume, before)
    assert mosaic.lay(LESION, [1], WHOLE)[SIDE - 1 - 34, 14] == 1  # a mask is laid as well


def test_outline_goes_around_the_core_where_it_is_seen():
    path = mosaic.outline(mosaic.lay(LESION, [0, 1], WHOLE))
    assert path.contains_point((14, SIDE - 1 - 34)) and path.contains_point((SIDE + 14, SIDE - 1 - 34))
    assert not path.contains_point((34, SIDE - 1 - 34))
    assert len(mosaic.outline(mosaic.lay(0 * LESION, [0], WHOLE)).vertices) == 0


@pytest.mark.parametrize(("colors", "line"), [("inferno", LESION_COLOR), (mosaic.DIVERGING, "black")])
def test_a_row_has_its_window_and_an_outline_that_stands_out(colors, line):
    ax = plt.figure().add_subplot()
    row = mosaic.Row("x", "s", CT, (0, 20), colors)
    core = mosaic.outline(mosaic.lay(LESION, [0], WHOLE))
    drawn = mosaic.draw(ax, row, mosaic.lay(CT, [0], WHOLE), None, core)
    assert drawn.get_clim() == (0, 20) and drawn.get_cmap().name == colors
    assert ax.patches[0].get_edgecolor()[:3] == to_rgb(line)


def test_what_is_faint_leaves_the_ct_bare():
    ax = plt.figure().add_subplot()
    values = np.where(LESION, 0.5, 0.01).astype(np.float32)
    row = mosaic.Row("probability", "of core", values, over=True)
    nothing = mosaic.outline(np.zeros((4, 4), np.float32))
    drawn = mosaic.draw(ax, row, mosaic.lay(values, [0], WHOLE), mosaic.lay(CT, [0], WHOLE), nothing)
    assert len(ax.images) == 2 and ax.images[0].get_clim() == (0, 80)
    seen = ~np.ma.getmaskarray(drawn.get_array())
    np.testing.assert_array_equal(seen[:, :-1], np.rot90(LESION[:, :, 0])[:, :-1])


def test_the_core_lies_over_what_is_late():
    ax = plt.figure().add_subplot()
    late = LESION | np.roll(LESION, 3, axis=0)
    mosaic.paint(ax, None, mosaic.lay(LESION, [0], WHOLE), mosaic.lay(late, [0], WHOLE))
    painted = picture(ax)
    row = SIDE - 1 - 34
    np.testing.assert_allclose(painted[row, 14, :3], to_rgb(RED), atol=1e-6)
    np.testing.assert_allclose(painted[row, 14 + 5, :3], to_rgb(SKY), atol=1e-6)
    assert painted[row, 40, 3] == 0


def test_a_modality_is_shown_in_its_window():
    ax = plt.figure().add_subplot()
    mosaic.show(ax, mosaic.lay(CT, [0], WHOLE), "Tmax")
    assert ax.images[0].get_clim() == (0, 20)
