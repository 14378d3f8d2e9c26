import numpy as np
import pytest
import SimpleITK
from medpy.metric import binary
from scipy import ndimage

from strokelib import metrics
from strokelib.vocabulary import METRICS

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


def brute_distances(first, second, spacing):
    """Find the distance of each border voxel of one mask to the nearest of the other, all against all."""
    one, other = (np.argwhere(metrics.border(mask)) * spacing for mask in (first, second))
    return np.linalg.norm(one[:, None] - other[None], axis=2).min(axis=1)


def test_distances_between_borders_are_those_of_all_against_all():
    for prediction, truth in pairs(4):
        found = metrics.border_distances(prediction, truth, SPACING)
        expected = brute_distances(prediction, truth, SPACING), brute_distances(truth, prediction, SPACING)
        for one_way, brute in zip(found, expected, strict=True):
            np.testing.assert_allclose(one_way, brute, rtol=1e-12)
        assert max(map(np.max, found)) == pytest.approx(metrics.hausdorff(prediction, truth, SPACING), rel=1e-12)


def test_hd95_and_nsd_worked_by_hand():
    truth = mask_of(*((x, 0, 0) for x in range(10)), shape=(20, 3, 1))
    prediction = mask_of(*((x, 0, 0) for x in range(5, 15)), shape=(20, 3, 1))
    distances = metrics.border_distances(prediction, truth, (1, 1, 5))
    assert [sorted(one_way) for one_way in distances] == [[0, 0, 0, 0, 0, 1, 2, 3, 4, 5]] * 2
    assert metrics.hausdorff95(distances) == pytest.approx(4.55)  # 95 % of the way along nine steps: 4 + 0.55
    assert metrics.nsd(distances) == pytest.approx(14 / 20)  # five at 0, one at 1 and one at exactly 2, twice
    assert metrics.nsd(distances, tolerance_mm=1.9) == pytest.approx(12 / 20)
    far = metrics.border_distances(truth, truth | mask_of((19, 2, 0), shape=truth.shape), (1, 1, 5))
    assert metrics.hausdorff95(far) == np.percentile([0] * 10 + [np.hypot(10, 2)], 95)  # the larger of the two ways


@pytest.mark.parametrize("slices", [1, 8])
def test_hd95_agrees_with_medpys_surface_distances(slices):
    both_ways = getattr(binary, "__surface_distances")
    for prediction, truth in pairs(slices):
        options = {"voxelspacing": SPACING, "connectivity": 3}
        one_way, back = (both_ways(*masks, **options) for masks in ((prediction, truth), (truth, prediction)))
        distances = metrics.border_distances(prediction, truth, SPACING)
        peer = max(np.percentile(one_way, 95), np.percentile(back, 95))
        assert metrics.hausdorff95(distances) == pytest.approx(peer, rel=1e-12)
        assert metrics.nsd(distances) == pytest.approx(np.mean(np.concatenate([one_way, back]) <= 2))
        together = binary.hd95(prediction, truth, **options)  # medpy's own is of both ways together
        assert together <= metrics.hausdorff95(distances) <= metrics.hausdorff(prediction, truth, SPACING)


def test_distances_do_not_depend_on_place_and_order():
    for prediction, truth in pairs(4):
        scores = metrics.further_metrics(prediction, truth, SPACING)
        swapped = metrics.further_metrics(truth, prediction, SPACING)
        assert swapped | {"lesion_f1": scores["lesion_f1"]} == pytest.approx(scores)  # it counts true lesions found
        wide = [np.pad(mask, ((30, 7), (2, 50), (0, 3))) for mask in (prediction, truth)]
        assert metrics.further_metrics(*wide, SPACING) == pytest.approx(scores)


def test_further_metrics_of_empty_and_of_equal_masks():
    perfect = {"hd95_mm": 0, "nsd": 1, "lesion_f1": 1, "lesion_count_difference": 0, "volume_error_ml": 0}
    assert metrics.further_metrics(EMPTY, EMPTY, SPACING) == perfect
    assert metrics.further_metrics(FULL, FULL, SPACING) == perfect
    for masks in ((FULL, EMPTY), (EMPTY, FULL)):
        scores = metrics.further_metrics(*masks, SPACING)
        assert scores["hd95_mm"] == np.inf and scores["nsd"] == scores["lesion_f1"] == 0
        assert scores["lesion_count_difference"] == 1
        assert scores["volume_error_ml"] == metrics.volume_ml(FULL, SPACING)


def test_lesions_worked_by_hand():
    truth = mask_of((1, 1, 0), (2, 2, 1), (6, 6, 0), (9, 9, 3))  # the first two touch by a corner: three lesions
    prediction = mask_of((2, 2, 1), (6, 6, 0), (6, 7, 0), (1, 8, 0), (4, 8, 3))  # two right, two wrong
    lesions = metrics.lesion_counts(prediction, truth)
    assert lesions == {"true": 3, "predicted": 4, "found": 2, "wrong": 2}
    assert metrics.lesion_f1(lesions) == pytest.approx(2 * 2 / (2 * 2 + 1 + 2))
    assert metrics.lesion_count_difference(lesions) == 1


def test_one_prediction_may_find_several_lesions_and_several_be_right_in_one():
    two, bridge = mask_of((1, 1, 0), (5, 1, 0)), mask_of(*((x, 1, 0) for x in range(1, 6)))
    assert metrics.lesion_counts(bridge, two) == {"true": 2, "predicted": 1, "found": 2, "wrong": 0}
    assert metrics.lesion_counts(two, bridge) == {"true": 1, "predicted": 2, "found": 1, "wrong": 0}
    for masks in ((bridge, two), (two, bridge)):
        lesions = metrics.lesion_counts(*masks)
        assert metrics.lesion_f1(lesions) == 1 and metrics.lesion_count_difference(lesions) == 1


def test_lesions_agree_with_simpleitk():
    rng = np.random.default_rng(3)
    for _ in range(6):
        truth, prediction = (rng.random((24, 20, 5)) < 0.03 for _ in range(2))
        labels = []
        for mask in (truth, prediction):
            image = SimpleITK.GetImageFromArray(mask.astype(np.uint8).T)
            labels.append(SimpleITK.GetArrayFromImage(SimpleITK.ConnectedComponent(image, True)).T)
        true, predicted = (range(1, 1 + part.max()) for part in labels)
        expected = {
            "true": len(true),
            "predicted": len(predicted),
            "found": sum(prediction[labels[0] == lesion].any() for lesion in true),
            "wrong": sum(not truth[labels[1] == lesion].any() for lesion in predicted),
        }
        assert metrics.lesion_counts(prediction, truth) == expected
        assert 0 < expected["found"] < len(true) > 20


def test_further_metrics_gathers_all():
    prediction, truth = next(pairs(4))
    distances, lesions = metrics.border_distances(prediction, truth, SPACING), metrics.lesion_counts(prediction, truth)
    scores = metrics.further_metrics(prediction, truth, SPACING)
    assert scores == {
        "hd95_mm": metrics.hausdorff95(distances),
        "nsd": metrics.nsd(distances),
        "lesion_f1": metrics.lesion_f1(lesions),
        "lesion_count_difference": metrics.lesion_count_difference(lesions),
        "volume_error_ml": abs(metrics.volume_ml(prediction, SPACING) - metrics.volume_ml(truth, SPACING)),
    }
    assert scores["volume_error_ml"] > 0
    assert {*metrics.case_metrics(prediction, truth, SPACING), *scores} >= {*METRICS}


def test_wrong_input_is_named():
    with pytest.raises(ValueError, match=r"prediction must be bool .*binarize"):
        metrics.further_metrics(np.full(FULL.shape, 0.7), FULL, SPACING)
    with pytest.raises(ValueError, match="spacing must be three positive"):
        metrics.border_distances(FULL, FULL, (1, 1))
    with pytest.raises(ValueError, match="one shape"):
        metrics.lesion_counts(FULL, FULL[..., :2])
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
