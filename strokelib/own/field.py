"""Where the head lies in an image that is larger than the networks' grid, so that the grid cuts off no brain."""

import nibabel as nib
import numpy as np

from strokelib.modalities import MODALITIES
from strokelib.nifti import CaseError
from strokelib.own.scan import Grid
from strokelib.own.series import brain_of
from strokelib.own.volumes import Volume, from_networks, turn_to_networks

COARSE_MM, SLICES = 0.9, 20  # voxels and slices, about, in which the brain of a CT is looked for
LEAST_ML = 0.1  # that a map shows beyond the grid, or nothing is said


def middle(volume: Volume) -> np.ndarray:
    """Return the voxel in the middle of the head: half way between the ends of what is denser than water."""
    dense, found = volume.values > 0, []
    for axis in range(3):
        counts = dense.sum(tuple(other for other in range(3) if other != axis))
        if not counts.any():
            return (np.array(volume.shape) - 1) / 2
        share = np.cumsum(counts) / counts.sum()
        found.append((np.searchsorted(share, 0.02) + np.searchsorted(share, 0.98)) / 2)
    return np.array(found)


def around_brain(begin, width, reference: Volume, others: dict[str, Volume]) -> np.ndarray:
    """Keep the corner of a window in plane, or move it where it cuts the brain and another would not, or less.

    Parameters
    ----------
    begin : (2,) whole voxels of the reference image turned to the networks' axes, the corner around the head
    width : (2,) voxels, of the window
    reference : the image of the head
    others : maps or series, by name

    Returns
    -------
    (2,) the corner. What lies beside the head, such as a headrest, counts as head where only density tells; the brain
    is what the maps show, or for a series what the skull encloses. A window that has to move is put around the brain.
    """
    turned, moved = from_networks(reference), np.array(begin)
    order = np.abs(turned[:3, :3]).argmax(0)
    room = np.array(reference.shape)[order][:2] - width
    brain = _maps(others) or _enclosed(reference)
    places = [_places(volume, np.linalg.inv(reference.place @ turned)) for volume in brain.values()]
    for axis in (0, 1) if places else ():
        along = np.sort(np.concatenate([place[:, axis] for place in places]))
        first, last = min(begin[axis], 0), max(begin[axis], np.ceil(room[axis]))
        begins = np.arange(first, last + 1) if room[axis] > 0 else begin[axis : axis + 1]
        kept = np.searchsorted(along, begins + width[axis] - 0.5) - np.searchsorted(along, begins - 0.5)
        best = begins[kept == kept.max()]
        if begin[axis] not in best:
            wanted = np.quantile(along, (0.02, 0.98)).mean() + 0.5 - width[axis] / 2
            moved[axis] = best[np.abs(best - wanted).argmin()]
    return moved


def cut_off(volumes: dict[str, Volume], grid: Grid) -> list[str]:
    """Say how much of what the maps show lies beyond the networks' grid or the image of the head, whichever is smaller.

    Parameters
    ----------
    volumes : by name
    grid : Grid

    Returns
    -------
    a sentence for each, none where all lies in it.
    """
    beside, aside, over = {}, {}, {}
    for name, volume in _maps(volumes).items():
        at, voxel_ml = _places(volume, np.linalg.inv(grid.affine)), np.prod(volume.spacing) / 1000
        there = at @ grid.onto[:3, :3].T + grid.onto[:3, 3]
        outside = np.delete((at < -0.5) | (at >= np.array(grid.shape) - 0.5), grid.through, axis=1).any(1)
        beyond = (there < -0.5) | (there >= np.array(grid.inner) - 0.5)
        far = beyond[:, :2].any(1) & ~outside
        for lost, where in ((beside, outside), (aside, far), (over, beyond[:, 2] & ~far & ~outside)):
            lost[name] = np.count_nonzero(where) * voxel_ml
    field = f"the field that the networks see, {grid.inner[0]} x {grid.inner[1]} voxels around the head"
    slices = f"or below the {grid.inner[2]} slices that the CT and all maps have in common"
    return [
        f"{', '.join(told)} lie {where}: they are left out of every volume"
        for lost, where in ((beside, "beside the CT"), (aside, f"beyond {field}"), (over, f"above {slices}"))
        if (told := [f"{ml:.1f} mL of the {name}" for name, ml in lost.items() if ml >= LEAST_ML])
    ]


def reached(reference: Volume, grid: Grid) -> np.ndarray:
    """Return where the image of the head lies on the networks' grid, bool (x, y, slice)."""
    onto, there = np.linalg.inv(grid.onto), np.ones(grid.inner, bool)
    for axis, side in enumerate(reference.shape):
        own = int(np.abs(onto[axis, :3]).argmax())  # the axis of the grid along this one
        at = onto[axis, own] * np.arange(grid.inner[own]) + onto[axis, 3]
        if own < 2:  # a slab at the end may lack a slice or two
            along = [1, 1, 1]
            along[own] = -1
            there &= ((at > -0.5) & (at < side - 0.5)).reshape(along)
    return there


def _maps(volumes: dict[str, Volume]) -> dict[str, Volume]:
    return {name: volume for name, volume in volumes.items() if name in MODALITIES and not MODALITIES[name].head}


def _places(volume: Volume, onto) -> np.ndarray:
    """Return where the voxels of a volume that are not 0 lie, (voxel, 3), by a matrix from mm."""
    matrix = onto @ volume.place
    return np.argwhere(volume.values != 0) @ matrix[:3, :3].T + matrix[:3, 3]


def _enclosed(reference: Volume) -> dict[str, Volume]:
    """Find the brain of a CT on a coarser grid; none where it shows no head, which is said when the maps are made."""
    turned = from_networks(reference)
    order = np.abs(turned[:3, :3]).argmax(0)
    head = nib.orientations.apply_orientation(reference.values, turn_to_networks(reference))
    sides = reference.spacing[order]
    x, y = (max(1, round(COARSE_MM / side)) for side in sides[:2])
    step = np.array([x, y, max(1, head.shape[2] // SLICES)])
    try:
        brain = brain_of(head[:: step[0], :: step[1], :: step[2]], sides * step)
    except CaseError:
        return {}
    return {"brain": Volume(reference.label, brain, sides * step, reference.place @ turned @ np.diag([*step, 1.0]))}
