import numpy as np
import own_scans
import pytest
from own_scans import images, place

from strokelib.own import field, grid
from strokelib.own.scan import Grid
from strokelib.own.volumes import Volume, from_networks

WIDE = place(origin=(115.0 + 128 * 0.9, -110.0 - 128 * 0.9, 20.0))  # of a field of 512 voxels around one of 256


def volume(image, affine=WIDE):
    return Volume("somewhere/ct.nii", image, np.linalg.norm(affine[:3, :3], axis=0), affine)


def corner(ct, others, begin):
    return field.around_brain(np.array(begin, float), np.array([256.0, 256.0]), volume(ct), others).tolist()


@pytest.fixture(scope="module")
def ct():
    return own_scans.wide(images()["CT"], fill=-1000)[0]


@pytest.fixture(scope="module")
def cbf():
    return own_scans.wide(images()["CBF"])[0]


def ends(image, axis):
    there = np.flatnonzero((image != 0).any(tuple({0, 1, 2} - {axis})))
    return there[0], there[-1] + 1


@pytest.mark.parametrize("others", ["maps", "series"])
def test_a_corner_that_keeps_the_brain_stays_and_another_goes_around_it(ct, cbf, others):
    given = {"CBF": volume(cbf)} if others == "maps" else {"series": volume(np.zeros((512, 512, 4, 1)))}
    (low_x, high_x), (low_y, high_y) = ends(cbf, 0), ends(cbf, 1)
    for begin in ([128, 128], [low_x - 8, high_y - 248]):  # still whole
        assert corner(ct, given, begin) == begin
    x, y = corner(ct, given, [low_x + 20, 128])
    assert y == 128 and x == pytest.approx((low_x + high_x) / 2 - 128, abs=3)
    x, y = corner(ct, given, [128, high_y - 256 - 20])
    assert x == 128 and y == pytest.approx((low_y + high_y) / 2 - 128, abs=3)


def test_a_ct_that_shows_no_head_moves_nothing(cbf):
    assert corner(np.zeros((512, 512, 4), np.int16), {"series": volume(cbf)}, [3, 250]) == [3, 250]


def test_what_is_larger_than_the_window_is_kept_as_far_as_it_goes(ct):
    """A map of 300 voxels, of which 256 are the most that can be kept: the corner stays, and the rest is told."""
    long = np.zeros((512, 512, 4))
    long[100:400, 250:260] = 1
    assert corner(ct, {"CBF": volume(long)}, [128, 128]) == [128, 128]
    shift = np.array([[1, 0, 0, 128], [0, 1, 0, 128], [0, 0, 1, 0], [0, 0, 0, 1.0]])
    seen = Grid((512, 512, 4), WIDE, np.linalg.inv(shift), (256, 256, 4))
    (said,) = field.cut_off({"CT": volume(ct), "CBF": volume(long)}, seen)
    missing = 44 * 10 * 4 * 0.9 * 0.9 * 5 / 1000
    assert said.startswith(f"{missing:.1f} mL of the CBF lie beyond the field that the networks see, 256 x 256 voxels")
    assert field.cut_off({"CT": volume(ct), "CBF": volume(long[128:384, 128:384], WIDE @ shift)}, seen) == []
    low = Grid((512, 512, 4), WIDE, np.linalg.inv(shift), (256, 256, 1))
    aside, over = field.cut_off({"CT": volume(ct), "CBF": volume(long)}, low)
    assert aside == said and over.startswith(
        f"{256 * 10 * 3 * 0.9 * 0.9 * 5 / 1000:.1f} mL of the CBF lie above or below the 1 slices"
    ), "what is beyond both ways is told once"


@pytest.mark.parametrize("axes", ["LAS", "RPI", "ASL"])
def test_the_grid_of_a_wide_field_is_around_the_head_and_holds_the_brain_beside_a_headrest(ct, cbf, axes):
    rest = own_scans.on_headrest(images()["CT"])
    turned = {name: volume(*own_scans.turned(image, WIDE, axes)) for name, image in (("CT", rest), ("CBF", cbf))}
    found = grid.to_networks("CT", turned)
    assert np.count_nonzero(found.images["CBF"]) == np.count_nonzero(cbf)
    alone, _ = grid.plan(turned["CT"])
    cut = grid.resample(turned["CBF"], alone, 0.0)
    assert np.count_nonzero(cut) < np.count_nonzero(cbf), "as it was"
    usual = {"CT": volume(*own_scans.turned(ct, WIDE, axes)), "CBF": turned["CBF"]}
    plan, _ = grid.plan(usual["CT"])
    assert np.array_equal(grid.to_networks("CT", usual).grid.onto, plan.onto), "which needs not move"


def test_the_middle_is_half_way_between_the_ends_of_what_is_dense():
    image = np.full((60, 60, 3), -1000, np.int16)
    image[10:41, 20:31] = 40
    assert np.allclose(field.middle(volume(image)), (25, 25, 1), atol=1)
    assert np.allclose(field.middle(volume(np.zeros((60, 50, 3)))), (29.5, 24.5, 1))
    assert np.allclose(from_networks(volume(image)), np.eye(4))
