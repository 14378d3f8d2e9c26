"""Overlap, distance and volume of a predicted lesion against the true one."""

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree


def dsc(prediction, truth) -> float:
    """Compute the Dice similarity coefficient of two masks.

    Parameters
    ----------
    prediction, truth : bool arrays (0/1 integers will do), (x, y, slice)

    Returns
    -------
    float, 0 to 1; 1 where both are empty, 0 where exactly one is.

    Raises
    ------
    ValueError : different shapes, not 3-D, or values other than 0 and 1 (a probability map, say).

    Source: Clèrigues et al. 2019, sec. 4. Our choice: the empty cases, where the paper is silent.
    """
    return overlap_scores(*_counts(prediction, truth))["dsc"]


def ppv(prediction, truth) -> float:
    """Compute the positive predictive value: the share of predicted voxels that are lesion.

    Returns
    -------
    float, 0 to 1; NaN where the prediction is empty.

    Takes and raises what `dsc` does. Source: Clèrigues et al. 2019, sec. 4.
    """
    return overlap_scores(*_counts(prediction, truth))["ppv"]


def sensitivity(prediction, truth) -> float:
    """Compute the sensitivity: the share of lesion voxels that are predicted.

    Returns
    -------
    float, 0 to 1; NaN where the truth is empty.

    Takes and raises what `dsc` does. Source: Clèrigues et al. 2019, sec. 4.
    """
    return overlap_scores(*_counts(prediction, truth))["sensitivity"]


def overlap_scores(shared: int, predicted: int, true: int) -> dict[str, float]:
    """Compute dsc, ppv and sensitivity from voxels shared, in the prediction and in the truth."""
    both = predicted + true
    return {
        "dsc": float(2 * shared / both) if both else 1.0,
        "ppv": float(shared / predicted) if predicted else float("nan"),
        "sensitivity": float(shared / true) if true else float("nan"),
    }


def hausdorff(prediction, truth, spacing) -> float:
    """Compute the Hausdorff distance, maximum and symmetric, between the borders of two masks.

    Parameters
    ----------
    prediction, truth : bool arrays (0/1 integers will do), (x, y, slice)
    spacing : three positive numbers
        Voxel size in mm, from the header's zooms; (1, 1, 1) gives voxel units, as the authors' code
        does.

    Returns
    -------
    float, in the unit of spacing; 0 where both are empty, infinite where exactly one is.

    Raises
    ------
    ValueError : as `dsc`, or a spacing that is not three positive numbers.

    Source: Clèrigues et al. 2019, sec. 4. Our choice: the empty cases, and the border of `border`,
    which is that of medpy with 26 neighbors (as the authors call it). With 6 neighbors the distance
    differs only where it is attained inside the other mask, as around a cavity.
    """
    prediction, truth = check_masks(prediction, truth)
    spacing = check_spacing(spacing)
    if not prediction.any() or not truth.any():
        return 0.0 if prediction.any() == truth.any() else float("inf")
    box = bounding_box(prediction | truth)
    start = [side.start for side in box]
    first, second = border(prediction[box]), border(truth[box])
    first_tree = voxel_tree(np.argwhere(first) + start, spacing)
    second_tree = voxel_tree(np.argwhere(second) + start, spacing)
    # A voxel on both borders is at distance 0: not looked up, but still there to be found.
    one_way = farthest(np.argwhere(first & ~second) + start, [second_tree], spacing)
    return farthest(np.argwhere(second & ~first) + start, [first_tree], spacing, one_way)


def border(mask) -> np.ndarray:
    """Keep the voxels of a mask with one of their 26 neighbors outside it, or outside the array."""
    inside = np.pad(mask, 1)
    for axis in range(mask.ndim):  # a cube is the product of three lines
        moved = np.moveaxis(inside, axis, 0)
        inside = np.moveaxis(moved[:-2] & moved[1:-1] & moved[2:], 0, axis)
    return mask & ~inside


def voxel_tree(voxels, spacing) -> cKDTree:
    """Build the search tree of voxel indices (n, 3), placed in mm by the spacing."""
    return cKDTree(voxels * spacing, compact_nodes=False, balanced_tree=False)


_CELL = np.array([4, 4, 1])  # voxels; slices lie far apart


def farthest(voxels, trees, spacing, floor=0.0) -> float:
    """Find how far the farthest voxel lies from the nearest one of some trees.

    Parameters
    ----------
    voxels : int array, (n, 3), indices in the scan
    trees : list of `voxel_tree`, at least one; together they hold the voxels to be near to
    spacing : (3,) array, mm
    floor : float, mm; smaller distances need not be told apart

    Returns
    -------
    float, mm, at least floor

    Exact: one voxel of each small cell is looked up, and then all those of the cells that can still
    hold the farthest, because the distance changes by no more than the step from one voxel to the
    next.
    """
    if not len(voxels):
        return floor

    def distance(chosen):
        return np.minimum.reduce([tree.query(chosen * spacing)[0] for tree in trees])

    cell = voxels // _CELL
    key = np.ravel_multi_index(cell.T, cell.max(axis=0) + 1)
    _, one_each, of_voxel = np.unique(key, return_index=True, return_inverse=True)
    rough = distance(voxels[one_each])
    reach = np.linalg.norm((_CELL - 1) * spacing)
    # The margin is for rounding: a cell less is a wrong distance, a cell more costs nothing.
    open_cells = rough + reach >= max(floor, rough.max()) * (1 - 1e-9)
    return float(distance(voxels[open_cells[of_voxel]]).max(initial=floor))


def bounding_box(mask) -> tuple[slice, slice, slice]:
    """Return the slices of the smallest box around the voxels of an (x, y, slice) mask, one at least."""
    rows = np.flatnonzero(mask.any(axis=(1, 2)))
    plane = mask[rows[0] : rows[-1] + 1].any(axis=0)
    columns, levels = np.flatnonzero(plane.any(axis=1)), np.flatnonzero(plane.any(axis=0))
    return tuple(slice(int(side[0]), int(side[-1]) + 1) for side in (rows, columns, levels))


def volume_ml(mask, spacing) -> float:
    """Compute the volume of a mask in mL from the voxel size in mm."""
    return float(np.count_nonzero(mask) * np.prod(check_spacing(spacing)) / 1000)


def case_metrics(prediction, truth, spacing) -> dict[str, float]:
    """Compute every metric of one scan.

    Parameters
    ----------
    prediction, truth : bool arrays, (x, y, slice)
    spacing : (3,) mm

    Returns
    -------
    dict with dsc, ppv, sensitivity, hd_mm, hd_voxels, volume_ml and truth_volume_ml.

    Raises
    ------
    ValueError : as `hausdorff`.

    Source: Clèrigues et al. 2019, sec. 4. Differs: HD in mm first; the authors' code has voxel
    units, kept as hd_voxels.
    """
    scores = overlap_scores(*_counts(prediction, truth))
    return scores | {
        "hd_mm": hausdorff(prediction, truth, spacing),
        "hd_voxels": hausdorff(prediction, truth, (1, 1, 1)),
        "volume_ml": volume_ml(prediction, spacing),
        "truth_volume_ml": volume_ml(truth, spacing),
    }


def border_distances(prediction, truth, spacing) -> tuple[np.ndarray, np.ndarray]:
    """Find how far each border voxel of a mask lies from the border of the other, for both masks.

    Parameters
    ----------
    prediction, truth, spacing : as `hausdorff`, whose borders these are

    Returns
    -------
    two float arrays, a number a border voxel of prediction and of truth, in the unit of spacing;
    infinite where the other mask is empty.

    Raises
    ------
    ValueError : as `hausdorff`.
    """
    prediction, truth = check_masks(prediction, truth)
    spacing, either = check_spacing(spacing), prediction | truth
    if not either.any():
        return np.zeros(0), np.zeros(0)
    box = bounding_box(either)
    borders = border(prediction[box]), border(truth[box])
    voxels = [np.argwhere(own) for own in borders]
    found = []
    for own, other in ((0, 1), (1, 0)):
        distances = np.full(len(voxels[own]), np.inf)
        if len(voxels[other]):
            apart = ~borders[other][tuple(voxels[own].T)]  # a voxel on both borders is not looked up
            distances[~apart] = 0
            distances[apart] = voxel_tree(voxels[other], spacing).query(voxels[own][apart] * spacing)[0]
        found.append(distances)
    return found[0], found[1]


def hausdorff95(distances) -> float:
    """Compute the larger of the two 95th percentiles of `border_distances`; 0 of empty masks, infinite if one is.

    Beyond the paper: the robust Hausdorff distance as the field has it. Some code, medpy's among
    it, takes one percentile of both directions together.
    """
    if not all(map(len, distances)):
        return float("inf") if any(map(len, distances)) else 0.0
    return float(max(np.percentile(one_way, 95) for one_way in distances))


def nsd(distances, tolerance_mm=2.0) -> float:
    """Compute the normalized surface Dice, the share of both borders that lies near the other one.

    Parameters
    ----------
    distances : two arrays of `border_distances`, in mm
    tolerance_mm : float, the largest distance that counts as near

    Returns
    -------
    float, 0 to 1; 1 where both masks are empty, 0 where exactly one is.

    Source: Nikolov et al. 2021 (J Med Internet Res 23(7):e26151). Differs: voxels of the borders
    are counted, where they add up pieces of surface. Our choice: 2 mm, less than from slice to
    slice, and the empty cases.
    """
    both = np.concatenate(distances)
    return float((both <= tolerance_mm).mean()) if len(both) else 1.0


def lesion_counts(prediction, truth) -> dict[str, int]:
    """Count lesions, which are 26-connected components.

    Returns
    -------
    dict with true and predicted (lesions), found (true ones with a predicted voxel) and wrong
    (predicted ones without a true voxel).

    Takes and raises what `dsc` does. Source: the ISLES challenges of 2022 and 2024 (de la Rosa et
    al.), to which one common voxel is enough.
    """
    prediction, truth = check_masks(prediction, truth)
    either = prediction | truth
    if not either.any():
        return dict.fromkeys(("true", "predicted", "found", "wrong"), 0)
    box = bounding_box(either)
    shared, cube = (prediction & truth)[box], np.ones((3, 3, 3))
    (true, n_true), (predicted, n_predicted) = (ndimage.label(mask[box], cube) for mask in (truth, prediction))
    found, right = (len(np.unique(labels[shared])) for labels in (true, predicted))
    return {"true": n_true, "predicted": n_predicted, "found": found, "wrong": n_predicted - right}


def lesion_f1(lesions) -> float:
    """Compute the F1 of `lesion_counts`, 2 found / (2 found + missed + wrong); 1 where there is no lesion at all.

    One prediction may find several lesions, so that prediction and truth cannot be swapped.
    """
    every = lesions["found"] + lesions["true"] + lesions["wrong"]  # found, found or missed, wrong
    return 2 * lesions["found"] / every if every else 1.0


def lesion_count_difference(lesions) -> int:
    """Compute by how much the numbers of predicted and of true lesions of `lesion_counts` differ."""
    return abs(lesions["predicted"] - lesions["true"])


def further_metrics(prediction, truth, spacing) -> dict[str, float]:
    """Compute what the field reports beside the paper's metrics, of one scan whose mask has been chosen.

    Parameters
    ----------
    prediction, truth, spacing : as `case_metrics`

    Returns
    -------
    dict with hd95_mm, nsd (at 2 mm), lesion_f1, lesion_count_difference and volume_error_ml, the
    absolute difference of the volumes.

    Raises
    ------
    ValueError : as `hausdorff`.

    Source: the last three, with DSC, are those of the ISLES challenges since 2022.
    """
    distances, lesions = border_distances(prediction, truth, spacing), lesion_counts(prediction, truth)
    return {
        "hd95_mm": hausdorff95(distances),
        "nsd": nsd(distances),
        "lesion_f1": lesion_f1(lesions),
        "lesion_count_difference": lesion_count_difference(lesions),
        "volume_error_ml": abs(volume_ml(prediction, spacing) - volume_ml(truth, spacing)),
    }


def check_spacing(spacing) -> np.ndarray:
    """Return the spacing as (3,) float64, or raise a ValueError that shows it."""
    array = np.asarray(spacing, np.float64)
    if array.shape != (3,) or not (np.isfinite(array).all() and (array > 0).all()):
        raise ValueError(f"spacing must be three positive numbers in mm, got {spacing!r}")
    return array


def check_masks(prediction, truth) -> tuple[np.ndarray, np.ndarray]:
    """Return both masks as bool arrays, or raise a ValueError that says what is wrong with them."""
    prediction, truth = np.asarray(prediction), np.asarray(truth)
    if prediction.shape != truth.shape or prediction.ndim != 3:
        raise ValueError(
            f"prediction and truth must be (x, y, slice) masks of one shape, got {prediction.shape} and {truth.shape}"
        )
    for name, mask in (("prediction", prediction), ("truth", truth)):
        if mask.dtype != bool and not (mask.dtype.kind in "ui" and np.isin(mask, (0, 1)).all()):
            raise ValueError(
                f"{name} must be bool or 0/1 integers, got {mask.dtype} from {mask.min()} to "
                f"{mask.max()}; turn a probability map into a mask with postprocess.binarize"
            )
    return prediction.astype(bool, copy=False), truth.astype(bool, copy=False)


def _counts(prediction, truth) -> tuple[int, int, int]:
    prediction, truth = check_masks(prediction, truth)
    return tuple(int(np.count_nonzero(m)) for m in (prediction & truth, prediction, truth))
