"""One slice of a scan as the viewer shows it: an image, the lesion probability over it, the core outlined."""

from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np

from strokelib.figures.style import draw_slice, finish, outline, picture, styled, zoom
from strokelib.modalities import MODALITIES

LEAST = 0.05  # of the probability; below it the image stays bare
PICTURE, BAR, ABOVE, BELOW = 5.0, 0.9, 0.3, 0.35  # inches: a side of the picture, a bar with its label, room


@dataclass(frozen=True, eq=False)
class Layers:
    """What can be looked at: volumes (x, y, slice) of one shape."""

    images: dict[str, np.ndarray]  # by modality, in file units
    core: np.ndarray | None  # bool
    probability: np.ndarray | None  # 0 to 1
    spacing: tuple[float, float, float]  # mm, along x, y and between slices
    head: np.ndarray  # (x, y), what differs from its corner is in view
    label: str  # whose scan it is


@styled
def layers(shown: Layers, modality: str, k: int, opacity: float = 0.5, outlined: bool = True):
    """Draw slice k of one modality with true sides, under the lesion probability and the core's outline.

    Parameters
    ----------
    opacity : of the probability, 0 to 1; at 0 it is not drawn, nor is its color bar
    outlined : whether the core is
    """
    volume, row = shown.images[modality], MODALITIES[modality]
    side = shown.spacing[1] / shown.spacing[0]
    width, height = PICTURE + 2 * BAR, PICTURE * side + ABOVE + BELOW
    fig = plt.figure(figsize=(width, height))
    # Placed by hand: a layout looked for anew at every slice takes half of the time and moves from one to the next.
    ax, *bars = (
        fig.add_axes((left / width, BELOW / height, wide / width, PICTURE * side / height))
        for left, wide in ((0.1, PICTURE - 0.2), (PICTURE, 0.2), (PICTURE + BAR, 0.2))
    )
    fig.colorbar(draw_slice(ax, volume, k, modality), bars[0], label=f"{modality} ({row.unit})", extend="max")
    if shown.probability is not None and opacity > 0:
        likely = np.ma.masked_less(shown.probability[:, :, k], LEAST)
        over = picture(ax, likely, cmap="viridis", vmin=0, vmax=1)
        fig.colorbar(over, bars[1], label="probability of lesion")
        over.set_alpha(opacity)  # of the picture alone: the bar keeps its full colors
    else:
        bars[1].set_visible(False)
    note = ""
    if shown.core is not None and outlined:
        outline(ax, shown.core[:, :, k])
        note = "light blue line: core found"
    zoom([ax], [shown.head])
    ax.set_aspect(side)
    ax.set_title(f"{modality}, slice {k + 1} of {volume.shape[2]}, {shown.spacing[2]:.3g} mm apart")
    return finish(fig, shown.label, note)
