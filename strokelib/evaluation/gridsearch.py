"""The search for the best pair of threshold and smallest lesion, over all scans or fold by fold."""

import itertools
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import ndimage

from strokelib import metrics
from strokelib.evaluation import optimum
from strokelib.postprocess import Pair, binarize, float32_map

PAIR = ("threshold", "min_lesion_voxels")  # the axes of the grid


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
    probability = float32_map(probability)
    lowest, truth = metrics.check_masks(probability > thresholds[0], truth)
    either = lowest | truth
    box = metrics.bounding_box(either) if either.any() else (slice(0, 1),) * 3
    place = Place(box, probability.shape, metrics.check_spacing(spacing))
    probability = np.ascontiguousarray(probability[box])
    masks = (({"threshold": threshold}, probability > threshold) for threshold in thresholds)
    yield from mask_rows(masks, truth, place, smallest)


@dataclass(frozen=True)
class Place:
    """Where in a scan some masks lie, and how large its voxels are."""

    box: tuple[slice, slice, slice]  # holds all that the masks have, and all lesion
    shape: tuple[int, int, int]  # of the whole scan
    spacing: np.ndarray  # (3,) mm


def mask_rows(masks, truth, place, min_lesion_voxels):
    """Yield the metrics of some masks of one scan, each without its components below some sizes.

    Parameters
    ----------
    masks : iterable of (dict of what made it, bool array of the shape of the box)
    truth : bool array, (x, y, slice), of the whole scan
    place : Place
    min_lesion_voxels : sorted list of int

    Yields
    ------
    dict, a row of `grid_search` without the case, mask by mask, sizes from the smallest up
    """
    spacing, start = place.spacing, [side.start for side in place.box]
    common = {
        "truth_volume_ml": metrics.volume_ml(truth, spacing),
        "diagonal_mm": float(np.linalg.norm(place.shape * spacing)),
    }
    truth = np.ascontiguousarray(truth[place.box])
    units = {
        "hd_mm": _prepare(truth, start, spacing),
        "hd_voxels": _prepare(truth, start, np.ones(3)),
    }
    for made, mask in masks:
        labels, count = ndimage.label(mask)
        sizes = np.bincount(labels.ravel(), minlength=count + 1)
        shared = np.bincount(labels[truth], minlength=count + 1)
        sizes[0] = shared[0] = 0  # the background
        # A border voxel of the whole mask is one of its component, too: between two components lies
        # background.
        border = np.where(metrics.border(mask), labels, 0)
        hausdorff = {name: _nested_hausdorff(unit, border, sizes, min_lesion_voxels) for name, unit in units.items()}
        for least in min_lesion_voxels:
            kept = sizes >= least
            predicted = int(sizes[kept].sum())
            yield (
                made
                | {"min_lesion_voxels": least}
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


def further_scores(maps, chosen) -> pd.DataFrame:
    """Compute the further metrics of masks at chosen pairs, which the search over all pairs has no time for.

    Parameters
    ----------
    maps : as `search_maps`
    chosen : frame, columns case, threshold, min_lesion_voxels: rows of a grid, such as those of the chosen pairs; a
        row that is there twice counts once

    Returns
    -------
    frame, a row per (case, threshold, min_lesion_voxels): what `metrics.further_metrics` computes.
    """
    rows, pairs_of = [], {case: own[[*PAIR]].drop_duplicates() for case, own in chosen.groupby("case")}
    for scan, probability in maps:
        for pair in itertools.starmap(Pair, pairs_of[scan.number].itertuples(index=False)):
            mask = binarize(probability, pair)
            row = {"case": scan.number} | vars(pair)
            rows.append(row | metrics.further_metrics(mask, scan.lesion, scan.spacing))
    return pd.DataFrame(rows)


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
    return Pair(**optimum.best_point(optimum.scores_of(grid, PAIR), weights=weights))


def choose_stable_pair(grid, weights=(1.0, 1.0)) -> Pair:
    """Choose the pair with the best neighborhood: by `choose_pair`'s ranks, of means over the pair and those around it.

    Takes, returns and raises what `choose_pair` does. Our choice, beyond the paper: the optimum is flat, so that single
    scans decide between neighbors, and their noise is less in a mean over nine pairs. How much firmer that is,
    `optimum.frequencies` counts. Unlike the pair most often chosen over bootstrap samples it needs no random numbers.
    """
    return Pair(**optimum.best_point(optimum.scores_of(grid, PAIR), stable=True, weights=weights))


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


def nested_choice(grid, folds, choose=choose_pair) -> dict:
    """Choose for each fold what is best on all other folds, so that no scan chooses its own.

    Parameters
    ----------
    grid : frame of `grid_search`, or what `choose` takes
    folds : int or str sequence
        The fold of each case, or its patient, in the order in which cases first appear in the grid.
    choose : function of a grid, such as `choose_pair`, `choose_stable_pair`, `rule.choose_rule`

    Returns
    -------
    dict, fold to what was chosen, folds in increasing order

    Raises
    ------
    ValueError : another number of folds than cases, or fewer than two different folds.

    Our choice, beyond the paper, which chooses on all folds at once.
    """
    cases, folds = grid["case"].unique(), np.asarray(folds)
    names = np.unique(folds).tolist()
    if len(cases) != len(folds) or len(names) < 2:
        raise ValueError(
            f"folds must give one fold (or patient) for each of the {len(cases)} cases, two different ones at least; "
            f"got {len(folds)} values, {len(names)} different"
        )
    return {fold: choose(grid[grid["case"].isin(cases[folds != fold])]) for fold in names}


def choice_of_patients(grid, choose=choose_pair, borrowed=None) -> pd.DataFrame:
    """Choose the pair of each variant and patient on the scans of all other patients; of its own where it is alone.

    Parameters
    ----------
    grid : frame of `grid_search` with the columns variant and patient
    choose : as for `nested_choice`
    borrowed : dict, optional
        Of variants that choose nothing to the variant whose pairs they take, such as changes of prediction.

    Returns
    -------
    frame, a row per (variant, patient), variants in the order of the grid : threshold, min_lesion_voxels. Merged with
    the grid, a row a scan is left.

    Raises
    ------
    ValueError : a variant is to take the pairs of one that is not in the grid, or chooses none itself.

    Our choice where few folds are tried: the other fold's pair, of some twenty scans and of another network, moves a
    mean by as much as what is asked. With patients left out one by one nearly all scans choose, of each network too.
    """
    borrowed, found = borrowed or {}, {}
    for variant, own in grid.groupby("variant", sort=False):
        if variant not in borrowed:
            patients = own.drop_duplicates("case")["patient"]
            alone = patients.nunique() == 1
            found[variant] = {patients.iloc[0]: choose(own)} if alone else nested_choice(own, patients, choose)
    rows = []
    for variant in grid["variant"].unique():
        lender = borrowed.get(variant, variant)
        if lender not in found:
            raise ValueError(f"{variant} is to take the pairs of {lender}, which chooses none; the grid lacks it")
        rows += [{"variant": variant, "patient": patient, **vars(pair)} for patient, pair in found[lender].items()]
    return pd.DataFrame(rows)
