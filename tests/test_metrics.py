import numpy as np
import pytest
import SimpleITK
from medpy.metric import binary
from scipy import ndimage

from strokelib import metrics

SPACING = np.array([0.9, 0.9, 5.0])
EMPTY, FULL = np.zeros((4, 5, 3), bool), np.ones((4, 5, 3), bool)


def blobs(rng, shape, share):
    """Smooth random blobs that cover the given share of the volume."""
    field = ndimage.gaussian_filter(rng.standard_normal(shape), (2.0, 2.0, 0.7))
    return field > np.quantile(field, 1 - share)


def pairs(slices, count=6):
    """Draw pairs of masks, from alike to unrelated."""
    rng = np.random.default_rng([7, slices])
    for k in range(count):
        first = blobs(rng, (40, 36, slices), 0.02 + 0.1 * rng.random())
        other = blobs(rng, (40, 36, slices), 0.02 + 0.1 * rng.random())
        yield first, (first ^ (other & (rng.random(first.shape) < 0.2))) if k % 2 else other


def hollow_ball(outer, inner, shape=(25, 25, 13), center=(12, 12, 6)):
    place = np.indices(shape) - np.reshape(center, (3, 1, 1, 1))
    radius = np.sqrt((place**2).sum(axis=0))
    return (radius <= outer) & (radius >= inner)


def mask_of(*voxels, shape=(10, 10, 4)):
    mask = np.zeros(shape, bool)
    for voxel in voxels:
        mask[voxel] = True
    return mask


def test_hand_worked_overlap():
    truth = mask_of((1, 1, 1), (1, 2, 1), (1, 3, 1), (1, 4, 1))
    prediction = mask_of((1, 3, 1), (1, 4, 1), (1, 5, 1))
    assert metrics.dsc(prediction, truth) == pytest.approx(4 / 7)
    assert metrics.ppv(prediction, truth) == pytest.approx(2 / 3)
    assert metrics.sensitivity(prediction, truth) == pytest.approx(1 / 2)


@pytest.mark.parametrize("slices", [2, 8])
def test_overlap_agrees_with_medpy(slices):
    for prediction, truth in pairs(slices):
        assert metrics.dsc(prediction, truth) == pytest.approx(binary.dc(prediction, truth), rel=1e-12)
        assert metrics.ppv(prediction, truth) == pytest.approx(binary.precision(prediction, truth), rel=1e-12)
        assert metrics.sensitivity(prediction, truth) == pytest.approx(binary.recall(prediction, truth), rel=1e-12)


def test_overlap_is_symmetric_and_swaps_ppv_with_sensitivity():
    for prediction, truth in pairs(4):
        assert metrics.dsc(prediction, truth) == metrics.dsc(truth, prediction)
        assert metrics.ppv(prediction, truth) == metrics.sensitivity(truth, prediction)
        assert metrics.hausdorff(prediction, truth, SPACING) == metrics.hausdorff(truth, prediction, SPACING)


def test_a_mask_equals_itself():
    for mask, _ in pairs(4):
        scores = metrics.case_metrics(mask, mask, SPACING)
        assert scores["dsc"] == scores["ppv"] == scores["sensitivity"] == 1
        assert scores["hd_mm"] == scores["hd_voxels"] == 0
        assert scores["volume_ml"] == scores["truth_volume_ml"]


def test_empty_masks():
    assert metrics.dsc(EMPTY, EMPTY) == 1
    assert metrics.dsc(FULL, EMPTY) == metrics.dsc(EMPTY, FULL) == 0
    assert metrics.hausdorff(EMPTY, EMPTY, SPACING) == 0
    assert metrics.hausdorff(FULL, EMPTY, SPACING) == metrics.hausdorff(EMPTY, FULL, SPACING) == np.inf
    assert np.isnan(metrics.ppv(EMPTY, FULL)) and metrics.ppv(FULL, EMPTY) == 0
    assert np.isnan(metrics.sensitivity(FULL, EMPTY)) and metrics.sensitivity(EMPTY, FULL) == 0


def test_hand_worked_distance():
    first, second = mask_of((1, 1, 1)), mask_of((4, 5, 1), (1, 1, 3))
    assert metrics.hausdorff(first, second, (1, 1, 1)) == 5  # 3-4-5 in plane
    assert metrics.hausdorff(first, second, (1, 1, 2.5)) == 5
    assert metrics.hausdorff(first, second, (1, 1, 3)) == 6  # two slices up


@pytest.mark.parametrize("slices", [1, 2, 8, 16])
def test_distance_agrees_with_medpy(slices):
    for prediction, truth in pairs(slices):
        for spacing in (SPACING, (1, 1, 1), (0.8, 0.7, 6.0)):
            ours = metrics.hausdorff(prediction, truth, spacing)
            for neighbors in (1, 3):  # masks as predicted: the border makes no difference
                peer = binary.hd(prediction, truth, voxelspacing=spacing, connectivity=neighbors)
                assert ours == pytest.approx(peer, rel=1e-12)


@pytest.mark.parametrize("spacing", [(1, 1, 1), (0.9, 0.9, 2.0), (2.0, 0.5, 1.0)])
def test_distance_agrees_with_medpy_around_cavities(spacing):
    solid = hollow_ball(10, 0)
    pinhole = solid & ~mask_of((9, 12, 6), shape=solid.shape)
    for other in (hollow_ball(10, 4), hollow_ball(11, 7.5), hollow_ball(5, 2), pinhole):
        for first, second in ((solid, other), (hollow_ball(9, 6), other)):
            peer = binary.hd(first, second, voxelspacing=spacing, connectivity=3)
            assert metrics.hausdorff(first, second, spacing) == pytest.approx(peer, rel=1e-12)


def test_distance_agrees_with_simpleitk():
    for prediction, truth in pairs(8, count=4):
        images = []
        for mask in (prediction, truth):
            image = SimpleITK.GetImageFromArray(mask.astype(np.uint8).T)
            image.SetSpacing(SPACING.tolist())
            images.append(image)
        peer = SimpleITK.HausdorffDistanceImageFilter()
        peer.Execute(*images)
        assert metrics.hausdorff(prediction, truth, SPACING) == pytest.approx(peer.GetHausdorffDistance(), rel=1e-5)


def test_distance_does_not_depend_on_place_or_memory_order():
    first, second = next(pairs(4))
    expected = metrics.hausdorff(first, second, (1, 1, 1))
    wide = [np.pad(m, ((30, 7), (2, 50), (0, 0))) for m in (first, second)]
    assert metrics.hausdorff(*wide, (1, 1, 1)) == expected
    assert metrics.hausdorff(np.asfortranarray(first), second.astype(np.uint8), (1, 1, 1)) == expected


def test_a_far_false_positive_sets_the_distance():
    truth = hollow_ball(5, 0)
    prediction = truth | mask_of((24, 12, 6), shape=truth.shape)
    assert metrics.hausdorff(prediction, truth, (1, 1, 1)) == 24 - 17


def test_border_is_the_mask_less_its_erosion_by_a_cube():
    for mask, _ in pairs(8):
        inside = ndimage.binary_erosion(mask, np.ones((3, 3, 3)))
        assert np.array_equal(metrics.border(mask), mask & ~inside)
    assert metrics.border(FULL).sum() == FULL.size - 2 * 3 * 1  # the array's edge is border, too


def test_bounding_box_holds_all_and_no_more():
    mask = mask_of((2, 3, 1), (7, 3, 2))
    assert metrics.bounding_box(mask) == (slice(2, 8), slice(3, 4), slice(1, 3))


def test_volume_counts_voxels():
    assert metrics.volume_ml(FULL, (2.0, 2.0, 5.0)) == pytest.approx(60 * 20 / 1000)
    assert metrics.volume_ml(EMPTY, SPACING) == 0


def test_case_metrics_gathers_all():
    prediction, truth = next(pairs(4))
    scores = metrics.case_metrics(prediction, truth, SPACING)
    assert scores == {
        "dsc": metrics.dsc(prediction, truth),
        "ppv": metrics.ppv(prediction, truth),
        "sensitivity": metrics.sensitivity(prediction, truth),
        "hd_mm": metrics.hausdorff(prediction, truth, SPACING),
        "hd_voxels": metrics.hausdorff(prediction, truth, (1, 1, 1)),
        "volume_ml": metrics.volume_ml(prediction, SPACING),
        "truth_volume_ml": metrics.volume_ml(truth, SPACING),
    }


def test_wrong_input_is_named():
    with pytest.raises(ValueError, match=r"\(4, 5, 3\) and \(4, 5, 2\)"):
        metrics.dsc(FULL, FULL[..., :2])
    with pytest.raises(ValueError, match="one shape"):
        metrics.dsc(FULL[0], FULL[0])
    with pytest.raises(ValueError, match=r"prediction must be bool .*binarize"):
        metrics.hausdorff(np.full(FULL.shape, 0.7), FULL, SPACING)
    with pytest.raises(ValueError, match="truth must be bool"):
        metrics.ppv(FULL, 2 * FULL.astype(int))
    for spacing in ((1, 1), (1, 1, 0), (1, 1, np.nan)):
        with pytest.raises(ValueError, match="spacing must be three positive"):
            metrics.hausdorff(FULL, FULL, spacing)
