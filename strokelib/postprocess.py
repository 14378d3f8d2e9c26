"""Probability map to mask: threshold and smallest lesion; and the clinical rule that learns nothing."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from strokelib import metrics


@dataclass(frozen=True)
class Pair:
    """A threshold T and a smallest lesion S_min in voxels."""

    threshold: float
    min_lesion_voxels: int


def binarize(probability, pair: Pair) -> np.ndarray:
    """Turn a probability map into a lesion mask.

    Parameters
    ----------
    probability : float array, (x, y, slice)
    pair : Pair
        A voxel is lesion where its probability, as float32, is strictly greater than the threshold.
        Connected components with fewer voxels than `min_lesion_voxels` are dropped; one with
        exactly as many stays.

    Returns
    -------
    bool array, (x, y, slice)

    Raises
    ------
    ValueError : the map is not 3-D or holds NaN.

    Source: Clèrigues et al. 2019, sec. 3.3. Our choice (after the authors' code): "strictly
    greater", and components in 3-D, connected by faces.
    """
    mask = float32_map(probability) > float(pair.threshold)
    return drop_small(mask, pair.min_lesion_voxels)


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


def float32_map(probability) -> np.ndarray:
    """Return the map as float32, refusing one that is not (x, y, slice) or holds NaN."""
    # Maps are stored as float32; comparing in that type gives one answer before and after saving.
    array = np.asarray(probability, np.float32)
    if array.ndim != 3 or np.isnan(array).any():
        what = f"shape {array.shape}" if array.ndim != 3 else "NaN values"
        raise ValueError(f"a probability map must be (x, y, slice) without NaN, got {what}; predict it again")
    return array


def conventional_rule(
    cbf, tmax, mask, midline_distance, relative_cbf=0.30, tmax_s=6.0, min_lesion_voxels=200
) -> np.ndarray:
    """Segment the core as perfusion software does: CBF under 30 % of the healthy side, and Tmax over 6 s.

    Parameters
    ----------
    cbf, tmax : float arrays, (x, y, slice)
        CBF in any one unit, since only its ratio counts, and Tmax in s.
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
    cbf, tmax, distance = map(np.asarray, (cbf, tmax, midline_distance))
    mask = np.asarray(mask, bool)
    if not cbf.shape == tmax.shape == mask.shape or distance.shape != mask.shape[:2]:
        raise ValueError(
            "expected cbf, tmax and mask (x, y, slice) and midline_distance (x, y), got "
            f"{cbf.shape}, {tmax.shape}, {mask.shape} and {distance.shape}"
        )
    late = mask & (tmax > tmax_s)
    sides = [mask & (sign * distance > 0)[..., None] for sign in (-1, 1)]
    if not all(side.any() for side in sides):
        raise ValueError("midline_distance leaves a hemisphere without brain; check the registration of this scan")
    healthy = min(sides, key=lambda side: np.count_nonzero(late & side))
    core = late & (cbf < relative_cbf * cbf[healthy].mean(dtype=np.float64))
    smooth = ndimage.median_filter(core.astype(np.uint8), (3, 3, 1)) > 0
    return drop_small(smooth, min_lesion_voxels)
