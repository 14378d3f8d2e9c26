import hashlib
from dataclasses import replace

import numpy as np
import pytest

from strokelib.phantom import anatomy
from strokelib.phantom.anatomy import Head, Slab
from strokelib.run import runtime

UPRIGHT = Head(0.0, 0.0, 0.0, (0.0, 0.0), (1.0, 1.0, 1.0), 0.3, 0.1)
SLAB = Slab(0.95, 2, 12.0, 14.0)
KEY = (5, "TRAINING", 1)


@pytest.fixture(scope="module")
def head():
    return anatomy.build_anatomy(KEY, UPRIGHT, SLAB, 0.92)


def full(found, array):
    out = np.zeros((256, 256, array.shape[2]), array.dtype)
    out[found.box] = array
    return out


# Template and pose


def test_the_committed_template_is_the_one_its_notice_names():
    folder = runtime.ROOT / "data"
    digest = hashlib.sha256((folder / "anatomy.npz").read_bytes()).hexdigest()
    notice = (folder / "anatomy_NOTICE.txt").read_text()
    assert digest in notice
    assert "Copyright (C) 1993-2009 Louis Collins" in notice


def test_template_is_symmetric_and_has_fractions():
    template = anatomy.load_template()
    assert template.shape == (99, 117, 95, 3)
    np.testing.assert_array_equal(template, template[::-1])
    assert template.min() == 0 and template.max() == 1


def test_rotation_is_proper_and_yaw_turns_in_plane():
    turn = anatomy.rotation(replace(UPRIGHT, yaw_deg=7.0, pitch_deg=-4.0, roll_deg=2.0))
    np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(turn) == pytest.approx(1)
    yaw = anatomy.rotation(replace(UPRIGHT, yaw_deg=30.0))
    np.testing.assert_allclose(yaw[0], [np.cos(np.pi / 6), 0.5, 0])


def test_midline_by_hand():
    np.testing.assert_allclose(anatomy.midline(UPRIGHT, SLAB), [[1, 0, 127.5]] * 2)
    shifted = anatomy.midline(replace(UPRIGHT, shift_mm=(9.5, 3.0)), SLAB)
    np.testing.assert_allclose(shifted, [[1, 0, 137.5]] * 2)  # 9.5 mm are 10 voxels
    rolled = anatomy.midline(replace(UPRIGHT, roll_deg=10.0), SLAB)
    # A slice higher, the plane x = 0 lies tan(10 degrees) 12 mm further to the side.
    assert rolled[0, 2] - rolled[1, 2] == pytest.approx(np.tan(np.pi / 18) * 12 / 0.95)


def test_midline_is_where_template_x_vanishes():
    head = Head(8.0, 10.0, -4.0, (3.0, -5.0), (1.05, 0.97, 1.0), 0.3, 0.1)
    voxels = np.arange(256)
    x = anatomy._head_coordinates(head, SLAB, voxels, voxels)[0]
    i, j = np.indices((256, 256))
    for k, (a, b, offset) in enumerate(anatomy.midline(head, SLAB)):
        distance = a * i + b * j - offset
        assert (np.sign(distance) == np.sign(x[..., k]))[np.abs(distance) > 0.01].all()


@pytest.mark.parametrize("seed", range(40))
def test_a_small_field_of_view_holds_the_brain(seed):
    head = anatomy.draw_head(np.random.default_rng(seed), 256 * 0.785)
    reach = anatomy.HALF_LENGTH * head.scale[1] + abs(head.shift_mm[1])
    assert reach <= 256 * 0.785 / 2 + 1e-6
    assert head.scale[1] > 0.8


# Tissue


def test_tissue_fractions_fill_the_brain(head):
    total = head.gray + head.white + head.csf
    np.testing.assert_allclose(total[head.brain], 1, atol=1e-4)
    assert not total[~head.brain].any()
    assert min(head.gray.min(), head.white.min(), head.csf.min()) >= 0
    shares = [part[head.brain].mean() for part in (head.gray, head.white, head.csf)]
    assert 0.3 < shares[0] < 0.6 and 0.15 < shares[1] < 0.5 and 0.05 < shares[2] < 0.4


def test_brain_is_of_human_size_and_depth_is_zero_outside(head):
    area = head.brain.sum((0, 1)) * SLAB.px_mm**2
    assert (area > 11000).all() and (area < 22000).all()  # mm2 of an axial cut through the middle
    assert not head.depth[~head.brain].any()
    assert 50 < head.depth.max() < 90


def test_the_brain_is_nearly_symmetric(head):
    gray = full(head, head.gray)
    mirror = gray[::-1]  # the midline of an upright head is the middle of the grid
    both = full(head, head.brain) & full(head, head.brain)[::-1]
    assert np.corrcoef(gray[both], mirror[both])[0, 1] > 0.4


def test_slices_at_one_height_agree_between_slabs():
    thick = anatomy.build_anatomy(KEY, UPRIGHT, Slab(0.95, 2, 12.0, 14.0), 0.92)
    thin = anatomy.build_anatomy(KEY, UPRIGHT, Slab(0.95, 4, 4.0, 14.0), 0.92)
    np.testing.assert_allclose(full(thick, thick.gray)[..., 1], full(thin, thin.gray)[..., 3], atol=1e-3)


def test_patients_differ_and_a_patient_repeats(head):
    again = anatomy.build_anatomy(KEY, UPRIGHT, SLAB, 0.92)
    np.testing.assert_array_equal(again.gray, head.gray)
    other = anatomy.build_anatomy((5, "TRAINING", 2), UPRIGHT, SLAB, 0.92)
    assert np.abs(full(other, other.gray) - full(head, head.gray)).max() > 0.5


def test_bounding_box_by_hand():
    mask = np.zeros((9, 9), bool)
    mask[3:5, 6] = True
    assert anatomy.bounding_box(mask) == (slice(3, 5), slice(6, 7))
    assert anatomy.bounding_box(mask, 2) == (slice(1, 7), slice(4, 9))
