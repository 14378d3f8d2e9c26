"""The Hausdorff distance of a scan, and the search of the 54 pairs of threshold and smallest lesion.

Work: six synthetic scans of 256 x 256 x 8 voxels, each with a probability map such as a network gives: smooth, near the
truth, with some dozens of false lesions of all sizes.

Distance: each truth with its map above 0.3, 0.5 and 0.7, in mm. Peers get the masks in their own type beforehand. Ours
must equal medpy (its border by 26 neighbors, as ours) and SimpleITK to 1e-9 mm, and MONAI to 1e-4 mm (it has float32).

Grid: 9 thresholds x 6 sizes on the first two scans. The plain way thresholds, labels, drops the small, and computes DSC
and medpy's distance for one pair after the other. DSC must be equal to the last bit, distances to 1e-9.
"""

import itertools
import os

import measure
import numpy as np
import torch
from scipy import ndimage

from strokelib import metrics
from strokelib.evaluation import gridsearch
from strokelib.phantom.scan import make_case
from strokelib.run import runtime
from strokelib.run.settings import Cohort

THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
SIZES = (10, 50, 100, 200, 300, 500)


def scan(seed: int) -> tuple[np.ndarray, np.ndarray, tuple]:
    """Make one scan; return its probability map, its truth and its spacing in mm."""
    geometry = {"training_patients": 63, "testing_patients": 40, "max_slices": 22}  # all of the real cohort's
    cohort = Cohort(seed, **geometry, difficulty="real", series_cases=0, compress=True, jobs=1)
    case = make_case(cohort, "TRAINING", 1)  # the first one has 8 slices
    truth, rng = case.images["OT"] > 0, runtime.rng(seed, "evaluation")
    inside, outside = (ndimage.distance_transform_edt(mask, case.spacing) for mask in (truth, ~truth))
    logit = np.clip((inside - outside) / 3, -5, 4)  # unsure within some mm of the outline
    for sigma, height in (((6, 6, 0.8), 1.9), ((2, 2, 0.4), 0.7)):  # false lesions, and ragged borders
        field = ndimage.gaussian_filter(rng.standard_normal(truth.shape), sigma)
        logit += height * field / field.std()
    return (case.brain / (1 + np.exp(-logit))).astype(np.float32), truth, case.spacing


def by_simpleitk(sitk, pairs):
    """Return the function that computes the distance of every pair."""

    def image(mask, spacing):
        made = sitk.GetImageFromArray(mask.astype(np.uint8).T)
        made.SetSpacing(spacing)
        return made

    def distance(first, second):
        measured = sitk.HausdorffDistanceImageFilter()
        measured.Execute(first, second)
        return measured.GetHausdorffDistance()

    images = [(image(first, spacing), image(second, spacing)) for first, second, spacing in pairs]
    return lambda: [distance(*both) for both in images]


def by_monai(monai, pairs):
    """Return the function that computes the distance of every pair."""
    tensors = [(*(torch.from_numpy(mask)[None, None].float() for mask in pair[:2]), pair[2]) for pair in pairs]
    distance = monai.compute_hausdorff_distance
    return lambda: [distance(p, t, include_background=True, spacing=spacing).item() for p, t, spacing in tensors]


PEERS = {  # by module: distribution, how to prepare it, agreement asked for in mm, least ratio asked for
    "medpy.metric": ("medpy", lambda peer, pairs: lambda: [peer.hd(*pair, connectivity=3) for pair in pairs], 1e-9, 5),
    "SimpleITK": ("SimpleITK", by_simpleitk, 1e-9, None),
    "monai.metrics": ("monai", by_monai, 1e-4, None),
}


def distances(scans, repeats: int) -> list:
    """Compare the distance of one scan."""
    cuts = [np.float32(threshold) for threshold in (0.3, 0.5, 0.7)]
    pairs = [(probability > cut, truth, spacing) for probability, truth, spacing in scans for cut in cuts]
    work = f"Hausdorff distance of a scan, 256 x 256 x 8 (mean of {len(pairs)})"
    contenders = {"ours": lambda: [metrics.hausdorff(*pair) for pair in pairs]}
    ours, agreement, target, absent = np.array(contenders["ours"]()), {}, {}, []
    for module, (distribution, prepare, allowed, least) in PEERS.items():
        loaded, label = measure.peer(module, distribution)
        if loaded is None:
            absent += measure.missing(work, label)
            continue
        contenders[label], target[label] = prepare(loaded, pairs), least
        off = np.abs(ours - contenders[label]()).max()
        if not off <= allowed:
            raise SystemExit(f"ours and {label} differ by {off:.3g} mm, more than {allowed:g} mm")
        agreement[label] = f"|difference| <= {allowed:g} mm (largest {off:.1g})"
    seconds = {name: value / len(pairs) for name, value in measure.in_turn(contenders, repeats).items()}
    return measure.rows(work, seconds, "ours", agreement, repeats, target) + absent


def plain_grid(scans, hd, units) -> np.ndarray:
    """Do what grid_search does, one pair at a time: a row of DSC and distances for each."""
    rows = []
    for (probability, truth, spacing), threshold, size in itertools.product(scans, THRESHOLDS, SIZES):
        labels, _ = ndimage.label(probability > np.float32(threshold))
        mask = (np.bincount(labels.ravel()) >= size)[labels] & (labels > 0)
        rows.append([2 * np.count_nonzero(mask & truth) / (np.count_nonzero(mask) + np.count_nonzero(truth))])
        for unit in units:  # medpy raises where a mask is empty
            rows[-1].append(hd(mask, truth, spacing if unit == "hd_mm" else None, 3) if mask.any() else np.inf)
    return np.array(rows)


def grid(scans, repeats: int) -> list:
    """Compare the search of all pairs."""
    work = f"grid search of {len(THRESHOLDS) * len(SIZES)} pairs, {len(scans)} scans of 256 x 256 x 8"
    medpy, label = measure.peer("medpy.metric", "medpy")
    if medpy is None:
        return measure.missing(work, label)
    units, both, one = ["hd_mm", "hd_voxels"], f"plain way, {label}", f"plain way, {label}, HD in mm alone"
    found = gridsearch.grid_search(*zip(*scans, strict=True), THRESHOLDS, SIZES)[["dsc", *units]].to_numpy()
    expected = plain_grid(scans, medpy.hd, units)
    np.testing.assert_array_equal(found[:, 0], expected[:, 0], "DSC of the grid search and the plain way")
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9, err_msg="distances of grid search and plain way")
    contenders = {
        "ours": lambda: gridsearch.grid_search(*zip(*scans, strict=True), THRESHOLDS, SIZES),
        both: lambda: plain_grid(scans, medpy.hd, units),  # as ours, which gives both units
        one: lambda: plain_grid(scans, medpy.hd, units[:1]),
    }
    repeats = min(repeats, 2)  # the plain way takes half a minute
    agreement = dict.fromkeys((both, one), "DSC equal, |HD difference| <= 1e-9")
    return measure.rows(work, measure.in_turn(contenders, repeats), "ours", agreement, repeats, {both: 15})


def compare(repeats: int) -> list:
    os.environ["ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"] = str(measure.threads())  # read when SimpleITK is loaded
    scans = [scan(seed) for seed in range(1, 7)]
    return distances(scans, repeats) + grid(scans[:2], repeats)


if __name__ == "__main__":
    measure.main(compare)
