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


@dataclass(frozen=True)
class Rule:
    """The numbers of the clinical rule."""

    relative_cbf: float = 0.30  # of the healthy hemisphere's mean; the core lies below
    tmax_s: float = 6.0  # s; the core lies above
    min_lesion_voxels: int = 200


PUBLISHED = Rule()


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


def conventional_rule(cbf, tmax, mask, midline_distance, rule=PUBLISHED) -> np.ndarray:
    """Segment the core as perfusion software does: CBF under 30 % of the healthy side, and Tmax over 6 s.

    Parameters
    ----------
    cbf, tmax : float arrays, (x, y, slice)
        CBF in any one unit, since only its ratio counts, and Tmax in s.
    mask : bool array, (x, y, slice), the brain
    midline_distance : float array, (x, y)
        Signed distance from the mid-sagittal line; its sign tells the hemispheres apart.
    rule : Rule

    Returns
    -------
    bool array, (x, y, slice)

    Raises
    ------
    ValueError : shapes that do not fit, or a hemisphere without brain.

    The core of `rule_core`, without components under 200 voxels.

    Our choice, beyond the paper: the comparison without learning.
    """
    core = rule_core(cbf, tmax, mask, midline_distance, rule.relative_cbf, rule.tmax_s)
    return drop_small(core, rule.min_lesion_voxels)


def rule_core(cbf, tmax, mask, midline_distance, relative_cbf: float, tmax_s: float) -> np.ndarray:
    """Find what the clinical rule takes for core before small components are dropped.

    Takes and raises what `conventional_rule` does. The reference is the mean CBF over the brain of
    the hemisphere with fewer voxels of Tmax over `tmax_s`. The voxels below `relative_cbf` times it
    pass a median filter of 3 x 3 in plane; what this adds outside the brain does not count.
    """
    cbf, tmax, distance = map(np.asarray, (cbf, tmax, midline_distance))
    mask = np.asarray(mask, bool)
    if not cbf.shape == tmax.shape == mask.shape or distance.shape != mask.shape[:2]:
        raise ValueError(
            "expected cbf, tmax and mask (x, y, slice) and midline_distance (x, y), got "
            f"{cbf.shape}, {tmax.shape}, {mask.shape} and {distance.shape}"
        )
    around = _around(mask)
    cbf, brain, distance = cbf[around], mask[around], distance[around[:2]]
    late = brain & (tmax[around] > tmax_s)
    sides = [brain & (sign * distance > 0)[..., None] for sign in (-1, 1)]
    if not all(side.any() for side in sides):
        raise ValueError("midline_distance leaves a hemisphere without brain; check the registration of this scan")
    healthy = min(sides, key=lambda side: np.count_nonzero(late & side))
    core = late & (cbf < relative_cbf * cbf[healthy].mean(dtype=np.float64))
    count, three = core.astype(np.uint8), np.ones(3, np.uint8)
    for axis in (0, 1):  # the median of nine is on where five are
        count = ndimage.correlate1d(count, three, axis)
    found = np.zeros(mask.shape, bool)
    found[around] = (count > 4) & brain
    return found


def _around(mask) -> tuple[slice, slice, slice]:
    """Return the box around a mask, a voxel wider in plane where the image is, so that a filter of 3 x 3 fits."""
    if not mask.any():
        return (slice(None),) * 3
    x, y, level = metrics.bounding_box(mask)
    return slice(max(x.start - 1, 0), x.stop + 1), slice(max(y.start - 1, 0), y.stop + 1), level
