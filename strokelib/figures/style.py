"""What all figures share: style, display windows, the line at the foot, and how a slice is drawn."""

import matplotlib.pyplot as plt
import numpy as np

from strokelib.modalities import MODALITIES
from strokelib.run.checks import require_columns
from strokelib.vocabulary import METHODS

LESION = "#00e5ff"  # stands out from gray and from inferno alike
LESION_NOTE = "light blue line: label of the lesion core"  # somebody's outline, which is not quite the core itself
SIDES_NOTE = "front up, sides as stored"  # ISLES 2018's files do not tell left from right
BLACK_NOTE = LESION_NOTE.replace("light blue", "black")  # on maps from blue to red
STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "lines.solid_capstyle": "butt",  # an interval ends where it ends
    "image.interpolation": "nearest",
    "figure.titlesize": 10,
}
# A context entered at every call, so that importing this module changes nobody's settings.
styled = plt.rc_context(STYLE)


def panels(rows: int, columns: int, width: float, height: float, share_x=False, share_y=False):
    """Make a figure of width x height inches; its axes are an array (rows, columns)."""
    size, share = (width, height), {"sharex": share_x, "sharey": share_y}
    return plt.subplots(rows, columns, figsize=size, layout="constrained", squeeze=False, **share)


def finish(fig, label: str, note: str = ""):
    """Write at the foot what the figure was made from, and return it."""
    for ax in fig.axes:  # ticks are made when drawn, when the style is left: set their size now
        ax.tick_params(which="both", labelsize=8)
    text = " · ".join(part for part in (note, label) if part)
    if text:
        fig.supxlabel(text, x=0.995, ha="right", fontsize=8, color="0.35")
    return fig


def variants_of(frame) -> list[str]:
    """List the variants of a frame in the paper's order."""
    require_columns(frame, "variant")
    there = set(frame["variant"])
    unknown = ", ".join(sorted(map(str, there - set(METHODS))))
    if unknown:
        raise ValueError(f"unknown variants {unknown}; the known ones are {', '.join(METHODS)}")
    return [name for name in METHODS if name in there]


def minus(text: str) -> str:
    """Write the signs of numbers as matplotlib writes those of its axes."""
    return text.replace("-", "−")


def two_lines(name: str) -> str:
    """Break a long name of a method before its last part."""
    for joint in (" and ", " + SM", " tuned on "):
        name = name.replace(joint, "\n" + joint.lstrip(), 1)
    return name


def interval(ax, place: float, values, color: str, filled: bool = True, size: float = 5) -> None:
    """Draw an interval on its line and a mark at its middle, open where it is not to stand out.

    Parameters
    ----------
    values : low, middle and high, in the unit of the axis
    """
    low, middle, high = values
    ax.plot([low, high], [place, place], color=color, linewidth=0.3 * size)
    ax.plot(middle, place, "o", color=color, markerfacecolor=color if filled else "white", markersize=size)


def picture(ax, image, cmap=None, vmin=None, vmax=None):
    """Draw an (x, y) image upright, without ticks."""
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
    return ax.imshow(np.rot90(image), cmap=cmap, vmin=vmin, vmax=vmax)


def outline(ax, mask, color: str = LESION) -> None:
    """Draw the outline of an (x, y) mask, if there is anything in it."""
    if mask.any():  # contour warns where there is nothing to outline
        ax.contour(np.rot90(mask), [0.5], colors=[color], linewidths=1)


def draw_slice(ax, volume, k: int, modality: str = "CT", lesion=None):
    """Draw slice k of a volume in its modality's window, with the lesion's outline."""
    row = MODALITIES[modality]
    low, high = row.window
    shown = picture(ax, volume[:, :, k] / row.divisor, cmap=row.colors, vmin=low, vmax=high)
    if lesion is not None:
        outline(ax, lesion[:, :, k])
    return shown


def zoom(rows, images, margin: int = 4) -> None:
    """Limit the views of rows of axes to the heads on (x, y) images, one a row, and all to one size.

    The head is what differs from the image's corner; where there is none, the whole image is shown.
    """
    boxes = []
    for image in images:
        head = np.rot90(image != image[0, 0])
        across, down = np.flatnonzero(head.any(0)), np.flatnonzero(head.any(1))
        if not len(down):
            return
        boxes.append((across[0] + across[-1], down[0] + down[-1], np.ptp(across), np.ptp(down)))
    width, height = np.max(boxes, axis=0)[2:] + 2 * margin
    for axes, (twice_x, twice_y, _, _) in zip(rows, boxes, strict=True):
        for ax in np.ravel(axes):
            ax.set_xlim((twice_x - width) / 2, (twice_x + width) / 2)
            ax.set_ylim((twice_y + height) / 2, (twice_y - height) / 2)


def color_bar(fig, shown, axes, text: str, location: str = "right", extend: str = "neither") -> None:
    """Add a color bar with its label beside or below axes."""
    aspect = 12 if location == "bottom" else 20
    fig.colorbar(shown, ax=axes, label=text, location=location, extend=extend, aspect=aspect)
