"""The grid on which the networks see a scan, and how images of any size and place come onto it.

ISLES 2018, and so what networks are trained on, has slices of 256 x 256 voxels, 0.79 to 1.09 mm wide, 4 to 12 mm thick.
An image like that passes through, bit for bit; another is averaged, interpolated, cut or padded until it is one, and
`Grid.back` leads back.
"""

import dataclasses
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from strokelib.modalities import MODALITIES
from strokelib.nifti import CaseError
from strokelib.own import field, slices
from strokelib.own.scan import Grid
from strokelib.own.volumes import Volume, from_networks, in_words
from strokelib.run.runtime import rng

SIDE = 256  # voxels along x and y
SEEN_MM = (0.785, 1.086)  # voxels of ISLES 2018 in plane, see data/isles18_cases.csv; resampled to USUAL_MM otherwise
USUAL_MM = 0.89
AIR = -1000.0  # HU around an image of the head
LEAST_COVERED = 0.5 - 1e-9  # of a voxel, that it may have a value
LEAST_OVERLAP = 0.5  # of a map's voxels that are not 0 lie in the field of the reference image, or it lies elsewhere
ENOUGH = 20000  # voxels of a map to tell that share from
SNAP = 0.02  # voxels; headers round their numbers
SQUARE = 1e-3


@dataclass(frozen=True, eq=False)
class OnGrid:
    """The images of a scan on the networks' grid, (x, y, slice) or (x, y, slice, frame) float32 by name."""

    grid: Grid
    spacing: np.ndarray  # (3,) mm
    images: dict[str, np.ndarray]
    remarks: tuple[str, ...]


def to_networks(reference: str, volumes: dict[str, Volume]) -> OnGrid:
    """Bring all images of a scan onto the networks' grid.

    Parameters
    ----------
    reference : which of them shows the head; its slices are kept
    volumes : by name; maps are 0 outside the brain, a series has frames

    Returns
    -------
    OnGrid : the reference image and all others, with what was done to them in plain sentences. Slices that one of the
        others does not reach are left out.

    Raises
    ------
    CaseError : a header does not say where its image lies and the size is another than that of the reference; an image
        lies elsewhere by its header.

    Our choice: the reference image's own axes are kept but for exchanges and flips, so that a tilted gantry's slices
    stay as they were scanned; where a voxel becomes wider or thicker, its value is the average over it, of a map over
    its brain.
    """
    volumes, said = _placed(reference, volumes)
    grid, spacing = plan(volumes[reference], {name: v for name, v in volumes.items() if name != reference})
    said += _changes(volumes[reference], grid, spacing, reference) + _elsewhere(volumes, reference)
    for name, volume in volumes.items():
        if name != reference:
            _check_overlap(name, volume, volumes[reference], grid)
    grid = _slices(grid, *_covered([volume for name, volume in volumes.items() if name != reference], grid))
    said += field.cut_off(volumes, grid)
    reached = field.reached(volumes[reference], grid)
    if left_out := slices.left_out(grid):
        said.append(
            f"{left_out[0]} of {left_out[1]} slices are left out, because a map or the series does not reach them"
        )
    images = {name: _bring(name, volume, volumes, grid) for name, volume in volumes.items()}
    for name in images if not reached.all() else ():
        if name in MODALITIES and not MODALITIES[name].head:
            images[name] = np.where(reached, images[name], np.float32(0))  # no brain is known where there is no CT
    return OnGrid(grid, spacing, images, tuple(said))


def plan(reference: Volume, others: dict[str, Volume] | None = None) -> tuple[Grid, np.ndarray]:
    """Choose the networks' grid for an image of the head; return it and its spacing, (3,) mm.

    Maps or a series, by name, say where the brain is, which the grid shall not cut.

    Our choice: in plane, the smallest multiple of a voxel's side that lies in ISLES 2018's range, else 0.89
    mm, the middle of it; 256 x 256 such voxels around the head. Slices below 4 mm make slabs: as thick as the slices
    of the maps where these are thick themselves, else as many to each as come nearest to 5 mm. Where the maps end
    within the image, slabs begin there: one that they fill by half would count whole in every volume.
    """
    turned = from_networks(reference)
    order = np.abs(turned[:3, :3]).argmax(0)  # which axis of the image becomes x, y and slice
    shape, sides = np.array(reference.shape)[order], reference.spacing[order]
    across = _in_plane(*sides[:2])
    given = [*(others or {}).values()]
    thick = max((slices.thickness(volume, reference, turned) for volume in given), default=0.0)
    reaches = [slices.reach(volume, reference, turned) for volume in given]
    fewest = int(np.ceil(slices.THICK_MM / sides[2] - 1e-2))
    count, per_slab, begin = slices.slabs(shape[2], slices.per_slab(sides[2], thick), reaches, fewest)
    step = np.array([*across, per_slab])
    inner, start = np.array([SIDE, SIDE, count]), np.array([0.0, 0.0, begin])
    if (step[:2] != 1).any() or (shape[:2] != SIDE).any():
        middle = (np.linalg.inv(turned) @ [*field.middle(reference), 1])[:2] + 0.5
        room = shape[:2] - SIDE * step[:2]  # negative where the image is smaller than the grid
        start[:2] = np.rint(np.clip(middle - SIDE * step[:2] / 2, np.minimum(room, 0), np.maximum(room, 0)))
        if (room > 0).any() and others:
            start[:2] = field.around_brain(start[:2], SIDE * step[:2], reference, others)
    scale = np.eye(4)
    scale[:3, :3], scale[:3, 3] = np.diag(step), start + (step - 1) / 2
    onto = np.linalg.inv(turned @ scale)
    return Grid(reference.shape, reference.place, onto, tuple(map(int, inner)), bool(reference.axes)), sides * step


def resample(volume: Volume, grid: Grid, fill: float, inside=None) -> np.ndarray:
    """Bring an image onto the networks' grid by its place in space.

    Parameters
    ----------
    volume : finite values
    fill : value where the image does not reach
    inside : bool (x, y, slice) of the image, voxels that count in averages, optional; voxels of which less than half
        is inside become `fill`

    Returns
    -------
    float32, (x, y, slice) of shape `grid.inner`, with the frames of a series behind. Where the two grids differ by
    flips, exchanged axes and whole voxels alone, values are moved and not changed.
    """
    onto = _snapped(np.linalg.inv(volume.place) @ grid.affine @ np.linalg.inv(grid.onto), grid.inner)
    straight = _axes(onto, grid.inner)
    move = _separably if straight is not None else _obliquely

    def bring(values):
        return move(values, onto, grid.inner, straight)

    frames = volume.values[..., None] if volume.values.ndim == 3 else volume.values
    brought = np.empty((*grid.inner, frames.shape[3]), np.float32)
    weight = bring(np.ones(volume.shape, np.float32) if inside is None else inside.astype(np.float32))
    there = weight >= LEAST_COVERED
    weight = np.where(there, weight, 1)
    for k in range(frames.shape[3]):
        values = np.asarray(frames[..., k], np.float32)
        values = bring(values if inside is None else np.where(inside, values, np.float32(0)))
        brought[..., k] = np.where(there, values / weight, np.float32(fill))
    return brought[..., 0] if volume.values.ndim == 3 else brought


def _placed(reference: str, volumes: dict[str, Volume]) -> tuple[dict[str, Volume], list[str]]:
    """Give an image whose header does not say where it lies the place of one that it is like, or refuse it."""
    first, said = volumes[reference], []
    stated = {name: volume for name, volume in volumes.items() if volume.affine is not None}
    if not (silent := [name for name in volumes if name not in stated]):
        return volumes, said
    for volume in volumes.values():
        if volume.shape != first.shape or not np.allclose(volume.spacing, first.spacing, rtol=1e-2):
            raise CaseError(
                f"{volume.label} has {in_words(volume.shape)} voxels of {in_words(volume.spacing)} mm, the {reference} "
                f"{in_words(first.shape)} of {in_words(first.spacing)}, and the header of {', '.join(silent)} does not "
                "say where it lies; resample them to one grid, or save them with headers that say"
            )
    if len({volume.axes for volume in stated.values()}) > 1:
        raise CaseError(
            f"the header of {', '.join(volumes[name].label for name in silent)} does not say where its axes point, and "
            f"those of the others disagree: {', '.join(f'{v.axes} ({name})' for name, v in stated.items())}; correct "
            "the headers, or save all images with the same axes"
        )
    if not stated:
        said.append(
            "the headers do not say where the axes point: they are taken to go across, to the front and up, as those "
            "of ISLES 2018 do; which side is the left of the patient is unknown"
        )
        return volumes, said
    other = reference if reference in stated else next(iter(stated))
    place = stated[other].affine
    said.append(f"the header of {', '.join(silent)} does not say where it lies: taken to lie as the {other} does")
    return {
        name: dataclasses.replace(volume, affine=place) if name in silent else volume
        for name, volume in volumes.items()
    }, said


def _changes(volume: Volume, grid: Grid, spacing, name: str) -> list[str]:
    """Say how the networks' grid differs from the reference image's own."""
    said = []
    order = np.abs(np.linalg.inv(grid.onto)[:3, :3]).argmax(0)
    own, shape = volume.spacing[order], np.array(volume.shape)[order]
    if volume.axes and volume.axes != "LAS":
        said.append(f"the {name} has its axes to {volume.axes} by its header: turned to LAS for the networks")
    if not np.allclose(own[:2], spacing[:2], rtol=SQUARE):
        said.append(
            f"the {name} has voxels of {own[0]:.3g} x {own[1]:.3g} mm in plane: resampled to {spacing[0]:.3g} mm, "
            f"since networks are trained on {SEEN_MM[0]:.2f} to {SEEN_MM[1]:.2f}"
        )
    if own[2] < spacing[2] * (1 - SQUARE):
        said.append(
            f"the {name} has {shape[2]} slices of {own[2]:.3g} mm: averaged into {grid.inner[2]} "
            f"{'slab' if grid.inner[2] == 1 else 'slabs'} of {spacing[2]:.3g} mm"
        )
    return said


def _elsewhere(volumes: dict[str, Volume], reference: str) -> list[str]:
    """Say which images have another grid than the reference image."""
    first, grids = volumes[reference], {}
    for name, volume in volumes.items():
        if volume.shape != first.shape or not np.allclose(volume.place, first.place, atol=SNAP):
            grids.setdefault(f"{in_words(volume.shape)} voxels, axes to {volume.axes}", []).append(name)
    return [
        f"{', '.join(names)}: another grid than the {reference} by the header ({which}), brought onto that of the "
        f"{reference}"
        for which, names in grids.items()
    ]


def _in_plane(*sides: float) -> tuple[float, float]:
    """Return how many voxels of the image make one of the networks' grid along x and y."""
    low, high = SEEN_MM[0] * (1 - SQUARE), SEEN_MM[1] * (1 + SQUARE)
    multiples = [n * side for side in sides for n in range(1, 12) if low <= n * side <= high]
    target = multiples[0] if multiples else USUAL_MM
    steps = [target / side for side in sides]
    # Whole numbers where they are meant: sides in a header are rounded.
    return tuple(float(round(s)) if round(s) and abs(s / round(s) - 1) < SQUARE else s for s in steps)


def _check_overlap(name: str, volume: Volume, reference: Volume, grid: Grid) -> None:
    """Refuse an image that lies elsewhere than the reference image does."""
    one = volume.values if volume.values.ndim == 3 else volume.values[..., 0]
    voxels = np.argwhere(one != 0 if name in MODALITIES else one > 0)
    if len(voxels) > ENOUGH:  # drawn, since every sixth voxel of six slices lies in one slice
        voxels = voxels[rng(0, "overlap").choice(len(voxels), ENOUGH, replace=False)]
    onto = np.linalg.inv(grid.affine) @ volume.place
    there = voxels @ onto[:3, :3].T + onto[:3, 3]
    inside = (there > -0.5) & (there < np.array(grid.shape) - 0.5)
    share = inside.all(1).mean() if len(there) else 0
    across = (inside | (np.arange(3) == grid.through)).all(1).mean() if len(there) else 0
    if 0 < share < LEAST_OVERLAP <= across:
        raise CaseError(
            f"{reference.label} has {grid.shape[grid.through]} slices, between which lie {100 * share:.0f} % of what "
            f"{volume.label} shows, expected {100 * LEAST_OVERLAP:.0f} % at least: what lies above and below could not "
            "be segmented; export the CT of all that the maps show, or correct the wrong header"
        )
    if share < LEAST_OVERLAP:
        raise CaseError(
            f"{volume.label} lies elsewhere than {reference.label} by their headers: {100 * share:.0f} % of what it "
            f"shows is in the field of that, expected {100 * LEAST_OVERLAP:.0f} % at least; correct the wrong header, "
            "or register the two"
        )


def _covered(others: list[Volume], grid: Grid) -> tuple[int, int]:
    """Return the first slice of the grid that all images reach, and the one after the last."""
    middle = np.array([[(SIDE - 1) / 2, (SIDE - 1) / 2, k, 1] for k in range(grid.inner[2])])
    reached = np.ones(grid.inner[2], bool)
    for volume in others:
        onto = np.linalg.inv(volume.place) @ grid.affine @ np.linalg.inv(grid.onto)
        there = middle @ onto[:3].T
        through = np.abs(onto[:3, 2]).argmax()  # its axis along the slices
        reached &= (there[:, through] > -0.5 - SNAP) & (there[:, through] < volume.shape[through] - 0.5 + SNAP)
    if not reached.any():
        labels = ", ".join(volume.label for volume in others)
        raise CaseError(f"no slice of the head is reached by all of {labels}; check their headers, or register them")
    return int(np.flatnonzero(reached)[0]), int(np.flatnonzero(reached)[-1]) + 1


def _slices(grid: Grid, first: int, last: int) -> Grid:
    """Return a grid of some of the slices."""
    onto = grid.onto.copy()
    onto[2, 3] -= first
    return dataclasses.replace(grid, onto=onto, inner=(*grid.inner[:2], last - first))


def _bring(name: str, volume: Volume, volumes: dict[str, Volume], grid: Grid) -> np.ndarray:
    if volume.values.ndim == 4 or name not in MODALITIES or MODALITIES[name].head:
        return resample(volume, grid, max(AIR, float(volume.values.min())))
    # A 0 of one map in the brain of another is a value: no delay, no flow.
    alike = [
        other.values != 0
        for key, other in volumes.items()
        if key in MODALITIES and not MODALITIES[key].head and other.shape == volume.shape
        if np.allclose(other.place, volume.place, atol=SNAP)
    ]
    return resample(volume, grid, 0.0, np.logical_or.reduce(alike))


def _corners(inner) -> np.ndarray:
    return np.array([[*corner, 1] for corner in np.ndindex(2, 2, 2)]) * [*(np.array(inner) - 1), 1]


def _snapped(onto, inner) -> np.ndarray:
    """Round a matrix to halves where that moves no voxel by more than headers' rounding does."""
    halves = np.rint(2 * onto) / 2
    moved = np.abs(_corners(inner) @ (halves - onto)[:3].T).max()
    return halves if moved < SNAP else onto


def _axes(onto, inner) -> np.ndarray | None:
    """Return which axis of the grid goes along each of the image; None where that is none alone."""
    axes = np.abs(onto[:3, :3]).argmax(1)
    aside = onto[:3].copy()
    aside[:, 3] = 0
    aside[np.arange(3), axes] = 0
    if sorted(axes) != [0, 1, 2] or np.abs(_corners(inner) @ aside.T).max() > 5 * SNAP:
        return None
    return axes


def _separably(values, onto, inner, axes) -> np.ndarray:
    """Average or interpolate along one axis after the other; what is outside of the image counts as 0."""
    for own, axis in enumerate(axes):
        weights = _weights(values.shape[own], inner[axis], onto[own, axis], onto[own, 3])
        values = np.moveaxis(values, own, 0)
        values = _selected(values, weights)
        values = np.moveaxis(values, 0, own)
    return np.transpose(values, np.argsort(axes))


def _selected(values, weights) -> np.ndarray:
    """Multiply by a matrix of weights; where each row takes one value, that is taken as it is."""
    taken = weights.argmax(1)
    if np.isin(weights, (0, 1)).all() and (weights.sum(1) <= 1).all():
        there = weights.any(1).reshape(-1, *[1] * (values.ndim - 1))
        return np.where(there, values[taken], values.dtype.type(0))
    return np.tensordot(weights, values, 1)


def _weights(size: int, wanted: int, step: float, start: float) -> np.ndarray:
    """Return (wanted, size) shares of each voxel of the image in each of the grid along one axis.

    A voxel of the grid is as wide as it is in the image, or as one of the image where it is narrower: then this is
    linear interpolation.
    """
    middle, width = np.arange(wanted)[:, None] * step + start, max(abs(step), 1.0)
    voxel = np.arange(size)[None]
    low = np.maximum(middle - width / 2, voxel - 0.5)
    high = np.minimum(middle + width / 2, voxel + 0.5)
    return (np.clip(high - low, 0, None) / width).astype(np.float32)


def _obliquely(values, onto, inner, axes) -> np.ndarray:
    """Interpolate an image whose axes are turned against the grid's, blurred first where voxels become larger."""
    width = np.abs(onto[:3, :3]).sum(1)
    sigma = np.sqrt(np.clip(width**2 - 1, 0, None) / 12)
    blurred = ndimage.gaussian_filter(values, sigma, mode="constant") if sigma.any() else values
    return ndimage.affine_transform(
        blurred, onto[:3, :3], onto[:3, 3], tuple(inner), order=1, mode="grid-constant", output=np.float32
    )
