"""The search for the best pair of threshold and smallest lesion, over all scans or fold by fold."""

import itertools
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import ndimage
from scipy.stats import rankdata

from strokelib import metrics
from strokelib.postprocess import Pair, float32_map


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


def search_maps(maps, thresholds, min_lesion_voxels) -> pd.DataFrame:
    """Search the grid on the maps of one variant.

    Parameters
    ----------
    maps : iterable of (preprocessed scan, probabilities), as a run yields them
    thresholds, min_lesion_voxels : as `grid_search`

    Returns
    -------
    frame of `grid_search`, cases by their numbers
    """
    return pd.concat(
        [
            grid_search([probability], [scan.lesion], [scan.spacing], thresholds, min_lesion_voxels, [scan.number])
            for scan, probability in maps
        ],
        ignore_index=True,
    )


def _scan_rows(probability, truth, spacing, thresholds, smallest):
    """Yield the rows of one scan, thresholds and sizes from the smallest up."""
    probability, spacing = float32_map(probability), metrics.check_spacing(spacing)
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


def chosen_pair(choice, variant: str) -> Pair:
    """Return the pair that notebook 06 chose for a variant over all folds.

    Parameters
    ----------
    choice : frame, a row a (variant, fold): threshold, min_lesion_voxels; without a fold where all have chosen

    Raises
    ------
    ValueError : not one such row.
    """
    rows = choice[(choice["variant"] == variant) & choice["fold"].isna()]
    if len(rows) != 1:
        raise ValueError(f"{len(rows)} pairs chosen over all folds for {variant}, expected 1; run notebook 06 again")
    return Pair(float(rows["threshold"].iloc[0]), int(rows["min_lesion_voxels"].iloc[0]))


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
