"""Slices laid side by side in one picture, which is drawn many times faster than axes for each of them."""

from dataclasses import dataclass

import numpy as np
from contourpy import contour_generator
from matplotlib.colors import to_rgba
from matplotlib.patches import PathPatch
from matplotlib.path import Path

from strokelib.figures.style import LESION
from strokelib.modalities import MODALITIES
from strokelib.vocabulary import RED, SKY

AROUND_MM = 6  # shown around the brain
MOST = 8  # slices
DIVERGING = "RdBu"  # colors of a difference; the outline is black on them
FAINT = 0.05  # share of the largest value below which the CT is seen


@dataclass(frozen=True, eq=False)
class Row:
    """A row of slices."""

    name: str
    unit: str  # of the color bar
    volume: np.ndarray | None  # in that unit; None for core and penumbra
    window: tuple[float, float] = (0, 1)
    colors: str = "inferno"
    over: bool = False  # drawn on the CT, where it is not faint


def choose_slices(core, brain, most: int = MOST) -> list[int]:
    """Choose the slices of a page, in their order.

    Parameters
    ----------
    core, brain : bool (x, y, slice)
    most : how many

    Returns
    -------
    All slices with brain where they are few; else the half of `most` with the largest core, where there is core, and
    then, time and again, the one farthest from those chosen, so that the rest spreads evenly.
    """
    there = np.flatnonzero(brain.any(axis=(0, 1)))
    if len(there) <= most:
        return there.tolist()
    size = np.count_nonzero(core, axis=(0, 1))[there]
    largest = [k for k in np.argsort(-size, kind="stable")[: (most + 1) // 2] if size[k]]
    chosen = largest or [0, len(there) - 1]
    while len(chosen) < most:
        apart = abs(np.subtract.outer(np.arange(len(there)), chosen)).min(axis=1)
        chosen.append(int(apart.argmax()))
    return there[sorted(chosen)].tolist()


def box(brain, spacing) -> tuple[slice, slice]:
    """Return the slices in x and y of the brain's box, some millimeters wider but not wider than the image.

    Parameters
    ----------
    brain : bool (x, y, slice), not empty
    spacing : (3,) in mm
    """
    sides = []
    for axis, other in ((0, 1), (1, 0)):
        seen, margin = np.flatnonzero(brain.any(axis=(other, 2))), round(AROUND_MM / spacing[axis])
        sides.append(slice(max(seen[0] - margin, 0), min(seen[-1] + margin + 1, brain.shape[axis])))
    return tuple(sides)


def lay(volume, chosen, inside) -> np.ndarray:
    """Lay slices side by side, upright, with a line of NaN after each.

    Parameters
    ----------
    volume : (x, y, slice)
    chosen : the slices, by number
    inside : of `box`

    Returns
    -------
    (row, column) float32.
    """
    tiles = [np.rot90(np.array(volume[*inside, k], np.float32)) for k in chosen]
    for tile in tiles:
        tile[:, -1] = np.nan  # a white line between two slices
    return np.concatenate(tiles, axis=1)


def paint(ax, ct, core, late) -> None:
    """Paint the core and, around it, what is late on the CT; all of `lay`, the CT may be None."""
    if ct is not None:
        show(ax, ct, "CT")
    painted = np.zeros((*core.shape, 4), np.float32)
    painted[late > 0] = to_rgba(SKY, 0.75)
    painted[core > 0] = to_rgba(RED, 0.9)
    ax.imshow(painted, aspect="auto")


def show(ax, image, name: str) -> None:
    """Draw what `lay` made of a modality in its unit, in its window."""
    low, high = MODALITIES[name].window
    ax.imshow(image, cmap=MODALITIES[name].colors, vmin=low, vmax=high, aspect="auto")


def draw(ax, row: Row, image, ct, line: Path):
    """Draw a row of slices with an outline; a row that is drawn over the CT, where it is not faint.

    Parameters
    ----------
    row : Row
    image, ct : of `lay`; without a CT (None), the row is drawn alone
    line : of `outline`

    Returns
    -------
    the image, for its color bar.
    """
    if row.over and ct is not None:
        show(ax, ct, "CT")
        image = np.ma.masked_less(image, FAINT * row.window[1])
    drawn = ax.imshow(image, cmap=row.colors, vmin=row.window[0], vmax=row.window[1], aspect="auto")
    color = "black" if row.colors == DIVERGING else LESION
    ax.add_patch(PathPatch(line, facecolor="none", edgecolor=color, linewidth=0.6))
    return drawn


def outline(mask) -> Path:
    """Find the outline of a mask of `lay`, once for all rows."""
    lines = contour_generator(z=np.nan_to_num(mask)).lines(0.5)
    return Path.make_compound_path(*map(Path, lines)) if lines else Path(np.empty((0, 2)))
