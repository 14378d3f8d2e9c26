"""Probability map to mask: threshold, smallest lesion, and the search for the best pair of them."""

import itertools
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import ndimage
from scipy.stats import rankdata

from strokelib import metrics
from strokelib.cases import MODALITIES


@dataclass(frozen=True)
class Pair:
    """A threshold T and a smallest lesion S_min in voxels."""

    threshold: float
    min_lesion_voxels: int


def binarize(probability, threshold, min_lesion_voxels) -> np.ndarray:
    """Turn a probability map into a lesion mask.

    Parameters
    ----------
    probability : float array, (x, y, slice)
    threshold : float
        A voxel is lesion where its probability, as float32, is strictly greater.
    min_lesion_voxels : int
        Connected components with fewer voxels than this are dropped; one with exactly as many
        stays.

    Returns
    -------
    bool array, (x, y, slice)

    Raises
    ------
    ValueError : the map is not 3-D or holds NaN.

    Source: Clèrigues et al. 2019, sec. 3.3. Our choice (after the authors' code): "strictly
    greater", and components in 3-D, connected by faces.
    """
    mask = _probability(probability) > float(threshold)
    return drop_small(mask, min_lesion_voxels)


def drop_small(mask, min_lesion_voxels) -> np.ndarray:
    """Keep the face-connected 3-D components of a mask with at least so many voxels."""
    kept = np.zeros(mask.shape, bool)
    if mask.any():
        box = metrics.bounding_box(mask)
        labels, count = ndimage.label(mask[box])
        large = np.bincount(labels.ravel(), minlength=count + 1) >= min_lesion_voxels
        large[0] = False  # the background
        kept[box] = large[labels]
    return kept


def _probability(probability) -> np.ndarray:
    # Maps are stored as float32; comparing in that type gives one answer before and after saving.
    array = np.asarray(probability, np.float32)
    if array.ndim != 3 or np.isnan(array).any():
        what = f"shape {array.shape}" if array.ndim != 3 else "NaN values"
        raise ValueError(f"a probability map must be (x, y, slice) without NaN, got {what}; predict it again")
    return array


def grid_search(probabilities, truths, spacings, thresholds, min_lesion_voxels, cases=None) -> pd.DataFrame:
    """Compute the metrics of every scan for every pair of threshold and smallest lesion.

    Parameters
    ----------
    probabilities : iterable of float arrays, (x, y, slice); read one at a time, so a generator
        keeps memory small
    truths : iterable of bool arrays, (x, y, slice)
    spacings : iterable of (3,) mm
    thresholds : sequence of float
    min_lesion_voxels : sequence of int
    cases : sequence, optional
        What the column `case` holds for each scan; 0, 1, 2, ... by default.

    Returns
    -------
    frame, a row per (case, threshold, min_lesion_voxels): dsc, ppv, sensitivity, hd_mm, hd_voxels,
    volume_ml, truth_volume_ml as `metrics.case_metrics(binarize(...))` would give them, and
    diagonal_mm, the scan's diagonal.

    Raises
    ------
    ValueError : different numbers of maps, truths, spacings or cases; a map that does not fit its
        truth; no pair.

    Components are found once for each threshold. A smaller S_min only adds components, so from the
    largest S_min down overlaps are summed up and distances updated by the components that are new.

    Source: Clèrigues et al. 2019, sec. 3.3.
    """
    thresholds = sorted({float(t) for t in thresholds})
    smallest = sorted({int(s) for s in min_lesion_voxels})
    if not thresholds or not smallest or smallest[0] < 1:
        raise ValueError(f"the grid needs thresholds and min_lesion_voxels >= 1, got {thresholds} and {smallest}")
    rows = []
    for scan in itertools.zip_longest(probabilities, truths, spacings):
        if any(part is None for part in scan):
            raise ValueError(f"probabilities, truths and spacings differ in number: scan {len(rows)} lacks one")
        rows.append(pd.DataFrame(list(_scan_rows(*scan, thresholds, smallest))))
    if not rows:
        raise ValueError("grid_search was given no scan")
    if cases is None:
        cases = range(len(rows))
    if len(cases) != len(rows):
        raise ValueError(f"cases names {len(cases)} scans, but there are {len(rows)} probability maps")
    return pd.concat(rows, keys=cases, names=["case"]).reset_index("case").reset_index(drop=True)


def _scan_rows(probability, truth, spacing, thresholds, smallest):
    """Yield the rows of one scan, thresholds and sizes from the smallest up."""
    probability, spacing = _probability(probability), metrics.check_spacing(spacing)
    lowest, truth = metrics.check_masks(probability > thresholds[0], truth)
    common = {
        "truth_volume_ml": metrics.volume_ml(truth, spacing),
        "diagonal_mm": float(np.linalg.norm(probability.shape * spacing)),
    }
    either = lowest | truth
    box = metrics.bounding_box(either) if either.any() else (slice(0, 1),) * 3
    probability, truth = np.ascontiguousarray(probability[box]), np.ascontiguousarray(truth[box])
    start = [side.start for side in box]
    units = {
        "hd_mm": _prepare(truth, start, spacing),
        "hd_voxels": _prepare(truth, start, np.ones(3)),
    }
    for threshold in thresholds:
        mask = probability > threshold
        labels, count = ndimage.label(mask)
        sizes = np.bincount(labels.ravel(), minlength=count + 1)
        shared = np.bincount(labels[truth], minlength=count + 1)
        sizes[0] = shared[0] = 0  # the background
        # A border voxel of the whole mask is one of its component, too: between two components lies
        # background.
        border = np.where(metrics.border(mask), labels, 0)
        hausdorff = {name: _nested_hausdorff(unit, border, sizes, smallest) for name, unit in units.items()}
        for least in smallest:
            kept = sizes >= least
            predicted = int(sizes[kept].sum())
            yield (
                {"threshold": threshold, "min_lesion_voxels": least}
                | metrics.overlap_scores(int(shared[kept].sum()), predicted, int(np.count_nonzero(truth)))
                | {name: distances[least] for name, distances in hausdorff.items()}
                | {"volume_ml": float(predicted * np.prod(spacing) / 1000)}
                | common
            )


@dataclass(frozen=True)
class _Truth:
    """What the distances to one truth need, in one unit, whatever the prediction."""

    voxels: np.ndarray  # (n, 3), its border, counted from start
    start: list[int]  # the corner of the box in the scan
    spacing: np.ndarray
    tree: object  # of the border; None without lesion
    distance: np.ndarray | None  # of every voxel to the border


def _prepare(truth, start, spacing) -> _Truth:
    border = metrics.border(truth)
    voxels = np.argwhere(border)
    if not len(voxels):
        return _Truth(voxels, start, spacing, None, None)
    distance = ndimage.distance_transform_edt(~border, sampling=spacing)
    return _Truth(voxels, start, spacing, metrics.voxel_tree(voxels + start, spacing), distance)


def _nested_hausdorff(truth, border, sizes, smallest) -> dict[int, float]:
    """Return the Hausdorff distance of the components of at least S voxels for each S, from the largest down.

    `border` holds the component of each border voxel and 0 elsewhere; `sizes` the voxels of each
    component.
    """
    if not len(truth.voxels):
        return {least: float("inf") if (sizes >= least).any() else 0.0 for least in smallest}

    def place(indices):
        return np.stack(np.unravel_index(indices, border.shape), axis=1) + truth.start

    flat = np.flatnonzero(border)
    component, away = border.ravel()[flat], truth.distance.ravel()[flat]
    of_truth = border[tuple(truth.voxels.T)]  # the component that has a truth border voxel on its own border
    missed = np.ones(len(truth.voxels), bool)
    outward, inward = 0.0, float("inf")  # from the components to the truth, and back
    trees, above, distances = [], np.inf, {}
    for least in reversed(smallest):
        new = (sizes >= least) & (sizes < above)
        above = least
        if new.any():
            fresh = new[component]
            # The map finds the farthest; the tree gives it the very number metrics.hausdorff would.
            far = fresh & (away >= away[fresh].max() * (1 - 1e-9))
            outward = metrics.farthest(place(flat[far]), [truth.tree], truth.spacing, outward)
            # More components bring outward up and inward down: once below, inward counts no more.
            if inward > outward:
                trees.append(metrics.voxel_tree(place(flat[fresh]), truth.spacing))
                missed &= ~new[of_truth]
                lost = truth.voxels[missed] + truth.start
                inward = metrics.farthest(lost, trees, truth.spacing, outward)
        distances[least] = max(outward, inward)
    return distances


def choose_pair(grid, weights=(1.0, 1.0)) -> Pair:
    """Choose the pair that is jointly best in mean DSC and mean HD.

    Parameters
    ----------
    grid : frame of `grid_search`, every pair for every case
    weights : two floats
        Of the rank in mean DSC and of the rank in mean HD (mm).

    Returns
    -------
    Pair with the least weighted sum of the two ranks (1 = best, equals share the better rank); ties
    go to the higher DSC, then the lower HD, the lower threshold and the lower S_min.

    Raises
    ------
    ValueError : a pair is missing for some case.

    Source: Clèrigues et al. 2019, sec. 3.3 ("jointly optimize the DSC and HD"). Our choice: the sum
    of ranks; and an infinite HD counts as the scan's diagonal, so that missing a lesion never looks
    better than finding it.
    """
    means = pair_means(grid)
    ranks = weights[0] * rankdata(-means["dsc"], "min") + weights[1] * rankdata(means["hd_mm"], "min")
    ranked = means.assign(ranks=ranks, loss=-means["dsc"])
    best = ranked.sort_values(["ranks", "loss", "hd_mm", "threshold", "min_lesion_voxels"]).iloc[0]
    return Pair(float(best["threshold"]), int(best["min_lesion_voxels"]))


def pair_means(grid) -> pd.DataFrame:
    """Return mean dsc and mean hd_mm (infinite ones as the scan's diagonal) of every pair, in order."""
    pair = ["threshold", "min_lesion_voxels"]
    counts = grid.groupby(pair)["case"].nunique()
    if grid.empty or (counts != grid["case"].nunique()).any() or len(grid) != counts.sum():
        raise ValueError("the grid must hold every pair exactly once for every case; search it again")
    hd = grid["hd_mm"].where(np.isfinite(grid["hd_mm"]), grid["diagonal_mm"])
    return grid.assign(hd_mm=hd).groupby(pair, as_index=False)[["dsc", "hd_mm"]].mean()


def nested_choice(grid, folds, weights=(1.0, 1.0)) -> dict[int, Pair]:
    """Choose for each fold the pair that is best on all other folds, so that no scan chooses its own.

    Parameters
    ----------
    grid : frame of `grid_search`
    folds : int sequence
        The fold of each case, in the order in which cases first appear in the grid.
    weights : as `choose_pair`

    Returns
    -------
    dict, fold to Pair, folds in increasing order

    Raises
    ------
    ValueError : another number of folds than cases, or fewer than two different folds.

    Our choice, beyond the paper, which chooses on all folds at once.
    """
    cases, folds = grid["case"].unique(), np.asarray(folds)
    names = np.unique(folds).tolist()
    if len(cases) != len(folds) or len(names) < 2:
        raise ValueError(
            f"folds must give one fold for each of the {len(cases)} cases, two different ones at least; got "
            f"{len(folds)} values of {len(names)} folds"
        )
    return {fold: choose_pair(grid[grid["case"].isin(cases[folds != fold])], weights) for fold in names}


def conventional_rule(
    case_images, mask, midline_distance, relative_cbf=0.30, tmax_s=6.0, min_lesion_voxels=200
) -> np.ndarray:
    """Segment the core as perfusion software does: CBF under 30 % of the healthy side, and Tmax over 6 s.

    Parameters
    ----------
    case_images : float array, (5, x, y, slice)
        CT, CBF, CBV, MTT, Tmax as in the files; CBF in any one unit, since only its ratio counts.
    mask : bool array, (x, y, slice), the brain
    midline_distance : float array, (x, y)
        Signed distance from the mid-sagittal line; its sign tells the hemispheres apart.
    relative_cbf, tmax_s, min_lesion_voxels : the rule's numbers

    Returns
    -------
    bool array, (x, y, slice)

    Raises
    ------
    ValueError : shapes that do not fit, or a hemisphere without brain.

    The reference is the mean CBF over the brain of the hemisphere with fewer voxels of Tmax over 6
    s. The voxels below it pass a median filter of 3 x 3 in plane, then components under 200 voxels
    are dropped.

    Our choice, beyond the paper: the comparison without learning.
    """
    images, mask, distance = (
        np.asarray(case_images),
        np.asarray(mask, bool),
        np.asarray(midline_distance),
    )
    if images.shape != (len(MODALITIES), *mask.shape) or distance.shape != mask.shape[:2]:
        raise ValueError(
            "expected images (5, x, y, slice), mask (x, y, slice) and midline_distance (x, y), got "
            f"{images.shape}, {mask.shape} and {distance.shape}"
        )
    cbf, tmax = images[MODALITIES.index("CBF")], images[MODALITIES.index("Tmax")]
    late = mask & (tmax > tmax_s)
    sides = [mask & (sign * distance > 0)[..., None] for sign in (-1, 1)]
    if not all(side.any() for side in sides):
        raise ValueError("midline_distance leaves a hemisphere without brain; check the registration of this scan")
    healthy = min(sides, key=lambda side: np.count_nonzero(late & side))
    core = late & (cbf < relative_cbf * cbf[healthy].mean(dtype=np.float64))
    smooth = ndimage.median_filter(core.astype(np.uint8), (3, 3, 1)) > 0
    return drop_small(smooth, min_lesion_voxels)
