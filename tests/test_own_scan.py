import numpy as np
import pytest
from own_scans import place

from strokelib.own import grid
from strokelib.own.scan import DISCLAIMER, ORIGINS, Grid
from strokelib.own.volumes import Volume


def straight(inner=(4, 5, 3), shape=(5, 4, 3)):
    """Exchange the first two axes and turn the third around."""
    onto = np.array([[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, -1, 2], [0, 0, 0, 1.0]])
    return Grid(shape, np.eye(4), onto, inner)


def test_flips_and_exchanged_axes_move_values_and_change_none():
    values = np.random.default_rng(0).normal(size=(4, 5, 3)).astype(np.float32)
    expected = values.transpose(1, 0, 2)[:, :, ::-1]
    assert np.array_equal(straight().back(values), expected)
    assert straight().back(values).dtype == np.float32
    mask = values > 0
    back = straight().back(mask, order=0)
    assert back.dtype == bool and np.array_equal(back, expected > 0)


def test_a_number_of_a_component_keeps_its_type():
    labels = np.arange(60).reshape(4, 5, 3).astype(np.int16)
    assert straight().back(labels, order=0).dtype == np.int16
    assert sorted(straight().back(labels, order=0).ravel()) == list(range(60))


def test_an_averaged_slab_goes_back_to_all_its_slices():
    """Ten slices made two slabs; the first and the last slice lie at the slabs' ends and are not darker."""
    onto = np.eye(4)
    onto[2, 2], onto[2, 3] = 1 / 5, -2 / 5
    back = Grid((2, 2, 10), np.eye(4), onto, (2, 2, 2)).back(np.full((2, 2, 2), 0.75))
    assert np.allclose(back, 0.75)
    slabs = np.stack([np.zeros((2, 2)), np.ones((2, 2))], -1) > 0
    mask = Grid((2, 2, 10), np.eye(4), onto, (2, 2, 2)).back(slabs, order=0)
    assert not mask[..., :5].any() and mask[..., 5:].all()


def test_what_the_grid_does_not_reach_is_0():
    onto = np.eye(4)
    onto[0, 3] = -2
    back = Grid((8, 3, 1), np.eye(4), onto, (3, 3, 1)).back(np.ones((3, 3, 1)))
    assert back[:, 0, 0].tolist() == [0, 0, 1, 1, 1, 0, 0, 0]


@pytest.mark.parametrize(("shape", "order"), [((5, 4, 3), 0), ((4, 5), 1), ((4, 5, 3), 2)])
def test_another_shape_or_order_is_refused(shape, order):
    with pytest.raises(ValueError, match=r"expected a volume of shape \(4, 5, 3\) and order 0 or 1"):
        straight().back(np.zeros(shape), order)


@pytest.mark.parametrize("sides", [(0.45, 0.45, 1.25), (0.7, 0.6, 2.5), (1.4, 1.4, 5.0), (0.9, 0.9, 5.0)])
def test_a_mask_goes_there_and_back(sides):
    """An ellipsoid in the reference image, brought to the networks' grid and back, is nearly itself."""
    shape = np.ceil(np.array([120, 140, 80]) / sides).astype(int)
    x, y, z = (np.arange(n) * side - n * side / 2 for n, side in zip(shape, sides, strict=True))
    body = (x[:, None, None] / 36) ** 2 + (y[:, None] / 46) ** 2 + (z / 33) ** 2 < 1
    head = np.where((x[:, None, None] / 52) ** 2 + (y[:, None] / 62) ** 2 + 0 * z < 1, 40, -1000).astype(np.int16)
    plan, spacing = grid.plan(Volume("ct.nii", head, np.array(sides), place(sides)))
    soft = grid.resample(Volume("mask.nii", body, np.array(sides), place(sides)), plan, 0.0)
    there = soft >= 0.5
    back = plan.back(there, order=0)
    dice = 2 * (back & body).sum() / (back.sum() + body.sum())
    assert dice == 1 if sides == (0.9, 0.9, 5.0) else dice > 0.95
    soft = plan.back(soft) >= 0.5
    assert 2 * (soft & body).sum() / (soft.sum() + body.sum()) >= min(dice, 0.98)
    volumes_ml = there.sum() * spacing.prod() / 1000, body.sum() * np.prod(sides) / 1000
    assert volumes_ml[0] == pytest.approx(volumes_ml[1], rel=0.05)


def test_what_a_report_says_of_a_scan():
    assert ORIGINS == ("maps", "series") and "not for clinical use" in DISCLAIMER
