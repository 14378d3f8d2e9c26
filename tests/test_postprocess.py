import numpy as np
import pandas as pd
import pytest
from scipy import ndimage

from strokelib import metrics, postprocess
from strokelib.evaluation import gridsearch
from strokelib.postprocess import Pair, Rule

SHAPE, SPACING = (48, 44, 6), np.array([0.9, 0.8, 5.0])


THRESHOLDS, SIZES = (0.1, 0.3, 0.5, 0.7, 0.9), (1, 10, 50, 200, 500)


def scan(seed, shape=SHAPE, noise=1.0):
    """Draw a truth and a probability map that is right, more or less."""
    rng = np.random.default_rng([11, seed])
    smooth = ndimage.gaussian_filter(rng.standard_normal(shape), (3, 3, 0.8))
    rough = ndimage.gaussian_filter(rng.standard_normal(shape), (1.5, 1.5, 0.5))
    truth = smooth > np.quantile(smooth, 0.93)
    logit = smooth / smooth.std() - 1.5 + noise * rough / rough.std()
    return (1 / (1 + np.exp(-2 * logit))).astype(np.float32), truth


def search(scans, thresholds=THRESHOLDS, sizes=SIZES, **names):
    maps, truths = zip(*scans, strict=True)
    return gridsearch.grid_search(maps, truths, [SPACING] * len(scans), thresholds, sizes, **names)


def plain(scans, thresholds=THRESHOLDS, sizes=SIZES):
    """Do what grid_search does, one pair at a time."""
    rows = []
    for case, (probability, truth) in enumerate(scans):
        for threshold in thresholds:
            for size in sizes:
                mask = postprocess.binarize(probability, Pair(threshold, size))
                pair = {"case": case, "threshold": threshold, "min_lesion_voxels": size}
                rows.append(pair | metrics.case_metrics(mask, truth, SPACING))
    return pd.DataFrame(rows)


def test_threshold_is_strict_and_in_float32():
    probability = np.array([0.2, 0.3, np.nextafter(np.float32(0.3), np.float32(1))], np.float32).reshape(3, 1, 1)
    for stored in (probability, probability.astype(np.float64)):  # float32(0.3) as float64 is above 0.3
        assert postprocess.binarize(stored, Pair(0.3, 1)).ravel().tolist() == [False, False, True]


def test_components_are_connected_by_faces_in_three_dimensions():
    probability = np.zeros((6, 6, 3))
    probability[0, 0, :] = 1  # three voxels through the slices
    probability[3, 3, 0] = probability[4, 4, 0] = probability[3, 4, 1] = 1  # touching by edges only
    mask = postprocess.binarize(probability, Pair(0.5, 3))
    assert np.argwhere(mask).tolist() == [[0, 0, 0], [0, 0, 1], [0, 0, 2]]
    assert postprocess.binarize(probability, Pair(0.5, 1)).sum() == 6
    assert not postprocess.binarize(probability, Pair(0.5, 4)).any()


def test_binarize_drops_what_plain_labelling_drops():
    for seed in range(4):
        probability, _ = scan(seed)
        labels, count = ndimage.label(probability > np.float32(0.4))
        expected = np.zeros(SHAPE, bool)
        for component in range(1, count + 1):
            if (labels == component).sum() >= 20:
                expected |= labels == component
        assert expected.any()
        assert np.array_equal(postprocess.binarize(probability, Pair(0.4, 20)), expected)


def test_an_empty_map_gives_an_empty_mask():
    mask = postprocess.binarize(np.zeros(SHAPE, np.float32), Pair(0.1, 10))
    assert mask.shape == SHAPE and mask.dtype == bool and not mask.any()


def test_a_map_with_nan_is_refused():
    probability = np.zeros(SHAPE, np.float32)
    probability[3, 3, 3] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        postprocess.binarize(probability, Pair(0.5, 10))
    with pytest.raises(ValueError, match=r"\(48, 44\)"):
        postprocess.binarize(probability[..., 0], Pair(0.5, 10))


@pytest.mark.parametrize("slices", [1, 2, 6, 14])
@pytest.mark.parametrize("noise", [0.3, 2.0])
def test_grid_equals_the_plain_way(slices, noise):
    scans = [scan(seed, (40, 36, slices), noise) for seed in range(2)]
    ours, expected = search(scans), plain(scans)
    assert len(ours) == 2 * len(THRESHOLDS) * len(SIZES)
    assert expected["dsc"].nunique() > 15
    pd.testing.assert_frame_equal(ours[list(expected)], expected, check_exact=True)


def test_grid_equals_the_plain_way_on_edge_cases():
    probability, truth = scan(0)
    nothing, everything = np.zeros(SHAPE, np.float32), np.ones(SHAPE, np.float32)
    hollow = np.array(everything)
    hollow[15:30, 15:30, 2:4] = 0
    scans = [
        (nothing, truth),
        (probability, np.zeros(SHAPE, bool)),
        (nothing, np.zeros(SHAPE, bool)),
        (everything, truth),
        (hollow, np.ones(SHAPE, bool)),
        (truth.astype(np.float32), truth),
    ]
    ours, expected = search(scans), plain(scans)
    pd.testing.assert_frame_equal(ours[list(expected)], expected, check_exact=True)
    assert np.isinf(ours["hd_mm"]).sum() > 0 and (ours.loc[ours["case"] == 2, "dsc"] == 1).all()


def test_the_diagonal_is_longer_than_any_distance():
    probability = np.zeros(SHAPE, np.float32)
    truth = np.zeros(SHAPE, bool)
    probability[0, 0, 0] = truth[-1, -1, -1] = True
    grid = search([(probability, truth)], (0.5,), (1,))
    assert grid["hd_mm"].item() == pytest.approx(np.linalg.norm((np.array(SHAPE) - 1) * SPACING))
    assert grid["diagonal_mm"].item() > grid["hd_mm"].item()


def head(core=(slice(6, 22), slice(10, 34), slice(0, 2)), shape=(64, 48, 2)):
    """Make a head, CBF and Tmax, with CBF 500 in both hemispheres and a core of 20 % on the left; then its midline."""
    cbf, tmax = np.zeros((2, *shape), np.float32)
    mask = np.zeros(shape, bool)
    mask[2:62, 2:46] = True
    cbf[mask], tmax[mask] = 500, 2
    cbf[core], tmax[core] = 100, 9
    return cbf, tmax, mask, np.broadcast_to(np.arange(shape[0])[:, None] - 31.5, shape[:2])


def test_rule_finds_the_core_on_either_side():
    cbf, tmax, mask, distance = head()
    truth = tmax == 9
    found = postprocess.conventional_rule(cbf, tmax, mask, distance)
    assert found.dtype == bool and metrics.dsc(found, truth) > 0.98  # the median filter rounds the corners
    mirrored = postprocess.conventional_rule(cbf[::-1], tmax[::-1], mask[::-1], distance)
    assert np.array_equal(mirrored[::-1], found)


def plain_rule(cbf, tmax, mask, distance, rule):
    """Do what conventional_rule does on the whole image, with a median filter and plain labels."""
    late = mask & (tmax > rule.tmax_s)
    sides = [mask & (distance < 0)[..., None], mask & (distance > 0)[..., None]]
    healthy = sides[0] if (late & sides[0]).sum() <= (late & sides[1]).sum() else sides[1]
    core = late & (cbf < rule.relative_cbf * cbf[healthy].mean(dtype=float))
    labels, count = ndimage.label(ndimage.median_filter(core.astype(np.uint8), (3, 3, 1)) * mask)
    sizes = ndimage.sum_labels(labels > 0, labels, range(1, count + 1))
    return np.isin(labels, 1 + np.flatnonzero(sizes >= rule.min_lesion_voxels))


@pytest.mark.parametrize("edge", [0, 5])  # brain up to the image's edge, or a margin of air
def test_rule_is_thresholds_median_and_components(edge):
    for seed in range(6):
        rng = np.random.default_rng([13, edge, seed])
        cbf, tmax = (ndimage.gaussian_filter(rng.random((40, 32, 3)), (1.5, 1.5, 0.5)) for _ in range(2))
        mask = np.zeros(cbf.shape, bool)
        mask[edge : 40 - edge, edge : 32 - edge] = True
        line = np.arange(40)[:, None] - 19.5 + np.zeros((40, 32))
        for rule in (Rule(0.97, np.quantile(tmax, 0.6), 3), Rule(1.0, np.quantile(tmax, 0.4), 30)):
            found = postprocess.conventional_rule(cbf, tmax, mask, line, rule)
            assert found.any() and np.array_equal(found, plain_rule(cbf, tmax, mask, line, rule))


def test_the_core_of_the_rule_lies_in_the_brain():
    """A hole of one voxel in a core, as a vessel leaves it, is no core, though the median of its neighbors is."""
    cbf, tmax, mask = np.full((20, 20, 1), 50.0), np.ones((20, 20, 1)), np.ones((20, 20, 1), bool)
    cbf[12:18, 5:15], tmax[12:18, 5:15], mask[15, 10] = 5, 10, False
    line = np.arange(20)[:, None] - 9.5 + np.zeros((20, 20))
    found = postprocess.rule_core(cbf, tmax, mask, line, 0.3, 6.0)
    assert found[14, 10, 0] and not found[15, 10, 0] and not (found & ~mask).any()


def test_rule_does_not_depend_on_the_unit_of_cbf():
    cbf, tmax, mask, distance = head()
    expected = postprocess.conventional_rule(cbf, tmax, mask, distance)
    assert expected.any()
    assert np.array_equal(postprocess.conventional_rule(cbf / 10, tmax, mask, distance), expected)


def test_rule_needs_both_low_flow_and_delay():
    cbf, tmax, mask, distance = head()
    core = tmax == 9
    for flow, delay, found in ((100, 9, True), (160, 9, False), (100, 6, False)):  # CBF at 32 %, Tmax not above 6 s
        cbf[core], tmax[core] = flow, delay
        assert postprocess.conventional_rule(cbf, tmax, mask, distance).any() == found


def test_rule_takes_the_healthy_hemisphere_as_reference():
    cbf, tmax, mask, distance = head()
    cbf[:32] *= 0.5  # the sick hemisphere's own mean is lower still, and would hide the core
    core = tmax == 9
    cbf[core] = 140  # 28 % of the healthy 500, over 50 % of the sick side
    assert metrics.dsc(postprocess.conventional_rule(cbf, tmax, mask, distance), core) > 0.98


def test_rule_drops_specks_and_small_lesions():
    cbf, tmax, mask, distance = head(core=(slice(6, 20), slice(10, 20), slice(0, 1)))  # 140 voxels
    assert not postprocess.conventional_rule(cbf, tmax, mask, distance).any()
    assert postprocess.conventional_rule(cbf, tmax, mask, distance, Rule(min_lesion_voxels=100)).any()
    cbf, tmax, mask, distance = head()
    cbf[50, 30, 1], tmax[50, 30, 1] = 10, 20  # a speck elsewhere
    assert not postprocess.conventional_rule(cbf, tmax, mask, distance, Rule(min_lesion_voxels=1))[50, 30, 1]


def test_rule_names_wrong_input():
    cbf, tmax, mask, distance = head()
    with pytest.raises(ValueError, match="midline_distance"):
        postprocess.conventional_rule(cbf, tmax, mask, distance[1:])
    with pytest.raises(ValueError, match="expected cbf, tmax and mask"):
        postprocess.conventional_rule(cbf, tmax[1:], mask, distance)
    with pytest.raises(ValueError, match="hemisphere without brain"):
        postprocess.conventional_rule(cbf, tmax, mask, np.ones_like(distance))
