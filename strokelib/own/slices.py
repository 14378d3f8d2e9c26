"""How slices of a scan of one's own become those that the networks see: as they are, or averaged into slabs."""

import numpy as np

from strokelib.own.scan import Grid
from strokelib.own.volumes import Volume

THICK_MM, SLAB_MM = 4.0, 5.0  # thinner slices than the first are averaged into slabs near the second
THICKEST_MM = 12.0  # of ISLES 2018


def per_slab(side: float, beside: float = 0.0) -> int:
    """Return how many slices of a thickness make one of the networks' grid, of maps with slices so thick beside."""
    if side >= THICK_MM * (1 - 1e-2):
        return 1
    if THICK_MM <= beside <= THICKEST_MM and abs((whole := round(beside / side)) * side / beside - 1) < 1e-2:
        return whole
    counts = np.arange(1, 101)
    thick = counts * side
    fitting = np.where(thick >= THICK_MM * (1 - 1e-2), np.abs(thick - SLAB_MM), np.inf)
    return int(counts[np.flatnonzero(fitting <= fitting.min() + 1e-6)[0]])


def thickness(volume: Volume, reference: Volume, turned) -> float:
    """Return how far the slices of an image lie apart along those of the reference image, `turned` as in `reach`."""
    along = turned[:3, 2] @ reference.place[:3, :3].T
    return float(volume.spacing[np.abs(along @ volume.place[:3, :3] / volume.spacing).argmax()])


def reach(volume: Volume, reference: Volume, turned) -> tuple[float, float]:
    """Return between which slices of the reference image, turned to the networks' axes, an image lies, edge to edge."""
    middle = np.abs(turned[:3, :3]).T @ (np.array(reference.shape) - 1) / 2
    onto = np.linalg.inv(volume.place) @ reference.place @ turned
    through = np.abs(onto[:3, 2]).argmax()  # its axis along the slices
    begin, step = onto[through] @ [*middle[:2], 0, 1], onto[through, 2]
    ends = (np.array([-0.5, volume.shape[through] - 0.5]) - begin) / step
    return float(ends.min()), float(ends.max())


def slabs(slices: int, step: int, reaches, fewest: int = 1) -> tuple[int, int, int]:
    """Return how many slabs are made of slices, how many make one, and at which the first begins.

    Parameters
    ----------
    slices : of the reference image
    step : how many of them are to make a slab
    reaches : of the other images, as of `reach`
    fewest : slices that a slab must have

    Where the others end within the reference image, the step is adapted so that slabs fill what they reach.
    """
    low = max([-0.5, *(low for low, _ in reaches)])
    high = min([slices - 0.5, *(high for _, high in reaches)])
    if step == 1 or high - low > slices - 1 or high <= low:  # the others reach all, or nothing: see `grid.to_networks`
        count = -(-slices // step)
        return count, step, -((count * step - slices) // 2)  # an incomplete slab at either end
    count = max(1, round((high - low) / step))
    if (filling := round((high - low) / count)) < fewest:
        count = max(1, count - 1)
        filling = max(fewest, round((high - low) / count))
    return count, filling, round((low + high + 1 - count * filling) / 2)


def left_out(grid: Grid) -> tuple[int, int] | None:
    """Return how many slices of the reference image are on no slice of the grid, and how many there are."""
    count = grid.shape[grid.through]
    there = grid.onto[2, grid.through] * np.arange(count) + grid.onto[2, 3]
    kept = np.count_nonzero((there > -0.5) & (there < grid.inner[2] - 0.5))
    return (count - kept, count) if kept < count else None
