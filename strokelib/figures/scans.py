"""Slices of scans: modalities, mirrored ones, patches, probabilities, and what a mask has right or wrong."""

from dataclasses import dataclass

import numpy as np
from matplotlib.colors import to_rgba
from matplotlib.patches import Patch

from strokelib.figures.style import (
    LESION,
    LESION_NOTE,
    SIDES_NOTE,
    color_bar,
    draw_slice,
    finish,
    outline,
    panels,
    picture,
    styled,
    zoom,
)
from strokelib.modalities import MODALITIES, head
from strokelib.vocabulary import ORANGE, OUTCOMES, SKY

NORMALIZED = "normalized value (SD of the brain)"


@dataclass(frozen=True)
class Row:
    """One slice of a scan, what is true there and what was predicted: a row of a figure."""

    title: str  # at the left
    ct: np.ndarray  # (x, y), HU
    truth: np.ndarray  # bool (x, y)
    predictions: tuple[np.ndarray, ...]  # bool (x, y) each, a panel each
    notes: tuple[str, ...] = ()  # below these panels
    image: np.ndarray | None = None  # (x, y), a perfusion map in file units


def _modality_rows(stacks, k: int, lesion, height: float):
    """Draw the modalities of each stack, (x, y, slice) by name, in a row, one color bar a column."""
    fig, axes = panels(len(stacks), len(stacks[0]), 10, height)
    for column, name in zip(axes.T, stacks[0], strict=True):
        for ax, stack in zip(column, stacks, strict=True):
            shown = draw_slice(ax, stack[name], k, name, lesion)
        color_bar(fig, shown, column, f"{name} ({MODALITIES[name].unit})", "bottom", "max")
    zoom(axes, [stacks[0][head(stacks[0])][:, :, k]] * len(stacks))
    return fig, axes


@styled
def modalities(images, k: int, label: str, lesion=None, title: str = ""):
    """Draw one slice of the provided modalities, (x, y, slice) by name in file units, as `Case.named` has them."""
    fig, _ = _modality_rows([images], k, lesion, 3.2)
    fig.suptitle(title)
    return finish(fig, label, SIDES_NOTE if lesion is None else f"{LESION_NOTE}; {SIDES_NOTE}")


@styled
def provided_and_mirrored(raw, mirrored, k: int, label: str, lesion=None):
    """Draw Fig. 1: provided modalities above mirrored ones, both (x, y, slice) by name in file units."""
    fig, axes = _modality_rows([raw, mirrored], k, lesion, 5.3)
    axes[0, 0].set_ylabel("provided")
    axes[1, 0].set_ylabel("mirrored and registered")
    return finish(fig, label, SIDES_NOTE if lesion is None else f"{LESION_NOTE}; {SIDES_NOTE}")


@styled
def registration(ct, flipped, mirrored, k: int, label: str):
    """Draw the CT, its plain flip and the registered flip (HU), and how far each is from the CT.

    Differences are taken between values clipped to the CT's window, as they are seen above: neither
    the skull's thousands of HU nor the air count.
    """
    window = MODALITIES["CT"].window
    fixed = np.clip(ct[:, :, k], *window)
    fig, axes = panels(2, 3, 9, 6.4)
    shown = draw_slice(axes[0, 0], ct, k)
    axes[0, 0].set_title("CT")
    for column, volume, name in ((1, flipped, "flipped CT"), (2, mirrored, "mirrored CT")):
        draw_slice(axes[0, column], volume, k)
        axes[0, column].set_title(name)
        distance = abs(fixed - np.clip(volume[:, :, k], *window))
        distant = picture(axes[1, column], distance, cmap="inferno", vmin=0, vmax=40)
        axes[1, column].set_title(f"|CT − {name}|")
    color_bar(fig, shown, axes[0], "CT (HU)", extend="max")
    color_bar(fig, distant, axes[1], "absolute difference within 0 to 80 HU", extend="max")
    axes[1, 0].set_visible(False)
    zoom(axes, [np.maximum(ct[:, :, k], flipped[:, :, k])] * 2)
    return finish(fig, label, SIDES_NOTE)


@styled
def centers(ct, lesion, centers_xy, is_lesion, k: int, label: str):
    """Draw the patch centers of one slice on the CT (HU).

    Parameters
    ----------
    centers_xy : int (n, 2), the centers that lie in slice k
    is_lesion : bool (n,), which of them were drawn for the lesion
    """
    centers_xy, is_lesion = np.asarray(centers_xy).reshape(-1, 2), np.asarray(is_lesion, bool)
    fig, axes = panels(1, 1, 5.6, 6.6)
    ax = axes[0, 0]
    draw_slice(ax, ct, k, "CT")
    seen = ct[:, :, k] != ct[0, 0, k]
    seen[tuple(centers_xy.T)] = True  # a moved center may lie off the head
    zoom(axes, [seen])
    for chosen, marker, color, name in (
        (~is_lesion, "x", SKY, "healthy centers"),
        (is_lesion, "o", ORANGE, "lesion centers, moved at random"),
    ):
        x, y = centers_xy[chosen].T
        ax.scatter(x, ct.shape[1] - 1 - y, s=16, marker=marker, color=color, lw=1.2, alpha=0.8, label=name)
    if lesion is not None:
        outline(ax, lesion[:, :, k])  # over the centers
    ax.plot([], [], color=LESION, label="lesion label")
    fig.legend(loc="outside upper center", ncols=3, markerscale=1.8)
    return finish(fig, label, f"CT, 0 to 80 HU; {SIDES_NOTE}")


@styled
def patch_examples(images, labels, titles, label: str):
    """Draw normalized patches (n, h, w) in one gray window, their labels (n, h, w) outlined, a title each."""
    images, labels = np.asarray(images), np.asarray(labels)
    rows = -(-len(images) // 6)
    columns = -(-len(images) // rows)
    low, high = np.percentile(images, (1, 99))
    fig, axes = panels(rows, columns, 1.6 * columns + 0.2, 1.85 * rows + 0.3)
    for ax in axes.flat[len(images) :]:
        ax.set_visible(False)
    axes = axes.flat[: len(images)]
    for ax, image, mask, title in zip(axes, images, labels, titles, strict=True):
        shown = picture(ax, image, cmap="gray", vmin=low, vmax=high)
        outline(ax, mask)
        ax.set_title(title, fontsize=8)
    color_bar(fig, shown, list(axes), NORMALIZED, extend="both")
    return finish(fig, label, LESION_NOTE)


@styled
def elastic(before, after, label_before, label_after, field, label: str):
    """Draw a patch before and after elastic deformation, with the grid that takes one to the other.

    Parameters
    ----------
    before, after : (h, w), one normalized modality; label_before and label_after their labels
    field : (2, h, w) voxels; `after` at (i, j) is `before` at (i, j) + field[:, i, j]
    """
    side_x, side_y = before.shape
    place = np.indices(before.shape).astype(float)
    low, high = np.percentile(before, (1, 99))
    fig, axes = panels(1, 2, 8.4, 4.3)
    for ax, image, mask, (x, y), title in (
        (axes[0, 0], before, label_before, place + field, "before, with the sampled grid"),
        (axes[0, 1], after, label_after, place, "after: the grid made straight"),
    ):
        shown = picture(ax, image, cmap="gray", vmin=low, vmax=high)
        step = max(1, side_x // 10)
        for along, across in ((x[::step].T, y[::step].T), (x[:, ::step], y[:, ::step])):
            ax.plot(along, side_y - 1 - across, color=ORANGE, linewidth=0.8)
        outline(ax, mask)
        ax.set(title=title, xlim=(-0.5, side_x - 0.5), ylim=(side_y - 0.5, -0.5))
    color_bar(fig, shown, axes, NORMALIZED, extend="both")
    return finish(fig, label, LESION_NOTE)


@styled
def probability(ct, probability, lesion, k: int, label: str):
    """Draw a slice of the CT (HU), and the same under the lesion probability, 0.05 to 1."""
    fig, axes = panels(1, 2, 7.6, 4.6)
    for ax, title in zip(axes[0], ("CT, 0 to 80 HU", "lesion probability"), strict=True):
        draw_slice(ax, ct, k, "CT", lesion)
        ax.set_title(title)
    seen = np.ma.masked_less(probability[:, :, k], 0.05)
    shown = picture(axes[0, 1], seen, cmap="inferno", vmin=0, vmax=1)
    zoom(axes, [ct[:, :, k]])
    color_bar(fig, shown, axes[0, 1], "probability")
    return finish(fig, label, SIDES_NOTE if lesion is None else f"{LESION_NOTE}; {SIDES_NOTE}")


def _outcomes(ax, ct, truth, mask, colors: str) -> None:
    """Draw an (x, y) slice of CT under what a mask has right, too much or missed."""
    draw_slice(ax, ct[:, :, None], 0)
    painted = np.zeros((*truth.shape, 4))  # transparent where both masks are empty
    for where, color in zip((mask & truth, mask & ~truth, truth & ~mask), OUTCOMES[colors].values(), strict=True):
        painted[where] = to_rgba(color)
    picture(ax, painted)


def _outcome_legend(fig, colors: str) -> None:
    handles = [Patch(color=color, label=name) for name, color in OUTCOMES[colors].items()]
    fig.legend(handles=handles, loc="outside upper center", ncols=3)


def _row_title(ax, title: str) -> None:
    ax.set_ylabel(title, rotation="horizontal", ha="right", va="center", multialignment="left", labelpad=8)


@styled
def segmentations(rows, column_titles, label: str, colors: str = "paper"):
    """Draw Fig. 4: predicted lesions of a few scans, by what is right, too much or missed.

    Parameters
    ----------
    rows : sequence of Row, each with a prediction a column, and a note below each or none
    colors : a key of vocabulary.OUTCOMES
    """
    columns = len(column_titles)
    width, left = min(10, 2.2 * columns + 1.2), 1.1
    fig, axes = panels(len(rows), columns, width, (width - left) / columns * 1.28 * len(rows) + 0.8)
    for places, row in zip(axes, rows, strict=True):
        for ax, mask in zip(places, row.predictions, strict=True):
            _outcomes(ax, row.ct, row.truth, mask, colors)
        for ax, note in zip(places, row.notes, strict=bool(row.notes)):
            ax.set_xlabel(note)
        _row_title(places[0], row.title)
    zoom(axes, [row.ct for row in rows])
    for ax, title in zip(axes[0], column_titles, strict=True):
        ax.set_title(title)
    _outcome_legend(fig, colors)
    return finish(fig, label, f"CT, 0 to 80 HU; {SIDES_NOTE}")


@styled
def worst_cases(rows, label: str, modality: str = "CBF", colors: str = "paper"):
    """Draw a row a scan: CT, one perfusion map, the lesion's label on the CT, and what the prediction made of it.

    Parameters
    ----------
    rows : sequence of Row, each with one prediction, and the map of the modality as image
    colors : a key of vocabulary.OUTCOMES
    """
    fig, axes = panels(len(rows), 4, 9, 2.1 * len(rows) + 1.2)
    for places, row in zip(axes, rows, strict=True):
        draw_slice(places[0], row.ct[:, :, None], 0)
        shown = draw_slice(places[1], row.image[:, :, None], 0, modality)
        draw_slice(places[2], row.ct[:, :, None], 0, "CT", row.truth[:, :, None])
        _outcomes(places[3], row.ct, row.truth, *row.predictions, colors)
        _row_title(places[0], row.title)
    zoom(axes, [row.ct for row in rows])
    for ax, title in zip(axes[0], ("CT", modality, "label", "prediction"), strict=True):
        ax.set_title(title)
    bar = {"location": "bottom", "extend": "max", "aspect": 15, "shrink": 0.3, "pad": 0.02 / len(rows)}
    fig.colorbar(shown, ax=axes, label=f"{modality} ({MODALITIES[modality].unit})", **bar)
    _outcome_legend(fig, colors)
    return finish(fig, label, f"CT, 0 to 80 HU; {LESION_NOTE}; {SIDES_NOTE}")


@styled
def uncertainty(row, probability, spread, label: str, colors: str = "paper"):
    """Draw a slice's lesion probability, the spread of its stochastic passes, and its errors, on the CT.

    Parameters
    ----------
    row : Row with one prediction; its truth is outlined on the first two panels
    probability, spread : float (x, y); mean and SD of the passes, both in units of probability
    colors : a key of vocabulary.OUTCOMES
    """
    fig, axes = panels(1, 3, 10, 3.9)
    highest = max(float(spread.max()), 1e-6)
    for ax, image, top, title, text in (
        (axes[0, 0], probability, 1, "mean of the passes", "probability of lesion"),
        (axes[0, 1], spread, highest, "spread of the passes", "SD (units of probability)"),
    ):
        draw_slice(ax, row.ct[:, :, None], 0)
        shown = picture(ax, np.ma.masked_less(image, 0.05 * top), cmap="inferno", vmin=0, vmax=top)
        outline(ax, row.truth)
        ax.set_title(title)
        color_bar(fig, shown, ax, text)
    _outcomes(axes[0, 2], row.ct, row.truth, *row.predictions, colors)
    axes[0, 2].set_title("prediction against truth")
    zoom(axes, [row.ct])
    _row_title(axes[0, 0], row.title)
    _outcome_legend(fig, colors)
    return finish(fig, label, f"CT, 0 to 80 HU; {LESION_NOTE}; {SIDES_NOTE}")
