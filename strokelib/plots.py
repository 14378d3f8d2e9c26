"""Every figure of the notebooks: arrays or frames in, a Figure out; only display windows are computed.

Words shared by all functions: `label` names the scans (Settings.label) and stands at the figure's
foot; `k` is the slice shown; volumes are (x, y, slice); `lesion` is a bool volume to outline, or None.
Slices are drawn upright, the front of the head at the top. Frames that lack a column raise a
ValueError that names it. The caller saves the figure and closes it.
"""

import itertools
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.colors import to_rgb
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import MaxNLocator

from strokelib.cases import MODALITIES
from strokelib.evaluation.stats import require_columns
from strokelib.evaluation.tables import p_text
from strokelib.network import STOCHASTIC_LEVEL


class Window(NamedTuple):
    """How a modality is shown: file values / divisor, from vmin to vmax in unit."""

    vmin: float
    vmax: float
    unit: str
    divisor: float
    cmap: str


WINDOWS = {
    "CT": Window(0, 80, "HU", 1, "gray"),
    "CBF": Window(0, 60, "mL/100 g/min", 10, "inferno"),
    "CBV": Window(0, 8, "mL/100 g", 10, "inferno"),
    "MTT": Window(0, 20, "s", 1, "inferno"),
    "Tmax": Window(0, 20, "s", 1, "inferno"),
}
NAMES = {
    "conventional": "rCBF < 30 % and Tmax > 6 s",
    "baseline": "Baseline",
    "rt": "Single + RT",
    "rt_sm": "Single + RT + SM",
    "rt_sm_uf": "Single + RT + SM + UF",
}
MONITORS = {"l1_error": "L1 loss + error rate", "dice": "probabilistic Dice loss"}
METRICS = {"dsc": "DSC", "ppv": "PPV", "sensitivity": "sensitivity", "hd_mm": "HD (mm)"}
GROUPS = {"volume_group": "true lesion volume (mL)", "slice_group": "slices a scan"}
# Seaborn's palette for color-blind readers.
BLUE, ORANGE, GREEN, RED, PURPLE, BROWN, PINK, GRAY = sns.color_palette("colorblind", 8).as_hex()
COLORS = {"conventional": GRAY, "baseline": BLUE, "rt": ORANGE, "rt_sm": GREEN, "rt_sm_uf": PURPLE}
# The paper's colors of Fig. 4.
OUTCOMES = {
    "true positive": (0.0, 0.75, 0.2),
    "false positive": (0.9, 0.1, 0.1),
    "false negative": (0.15, 0.35, 1.0),
}
LESION = "#00e5ff"  # stands out from gray and from inferno alike
LESION_NOTE = "light blue line: lesion core"
STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "image.interpolation": "nearest",
    "figure.titlesize": 10,
}
# A context entered at every call, so that importing this module changes nobody's settings.
_styled = plt.rc_context(STYLE)


def _panels(rows: int, columns: int, width: float, height: float, share_x=False, share_y=False):
    """Make a figure of width x height inches; its axes are an array (rows, columns)."""
    size, share = (width, height), {"sharex": share_x, "sharey": share_y}
    return plt.subplots(rows, columns, figsize=size, layout="constrained", squeeze=False, **share)


def _finish(fig, label: str, note: str = ""):
    """Write at the foot what the figure was made from."""
    for ax in fig.axes:  # ticks are made when drawn, when the style is left: set their size now
        ax.tick_params(which="both", labelsize=8)
    text = " · ".join(part for part in (note, label) if part)
    if text:
        fig.supxlabel(text, x=0.995, ha="right", fontsize=8, color="0.35")
    return fig


def _variants(frame) -> list[str]:
    """List the variants of a frame in the paper's order."""
    require_columns(frame, "variant")
    there = set(frame["variant"])
    unknown = ", ".join(sorted(map(str, there - set(NAMES))))
    if unknown:
        raise ValueError(f"unknown variants {unknown}; the known ones are {', '.join(NAMES)}")
    return [name for name in NAMES if name in there]


def _picture(ax, image, **window):
    """Draw an (x, y) image upright, without ticks."""
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
    return ax.imshow(np.rot90(image), **window)


def _outline(ax, mask) -> None:
    if mask.any():  # contour warns where there is nothing to outline
        ax.contour(np.rot90(mask), [0.5], colors=[LESION], linewidths=1)


def _slice(ax, volume, k: int, modality: str = "CT", lesion=None):
    """Draw slice k of a volume in its modality's window, with the lesion's outline."""
    vmin, vmax, _, divisor, cmap = WINDOWS[modality]
    shown = _picture(ax, volume[:, :, k] / divisor, cmap=cmap, vmin=vmin, vmax=vmax)
    if lesion is not None:
        _outline(ax, lesion[:, :, k])
    return shown


def _zoom(axes, image, margin: int = 4) -> None:
    """Limit the view to the head: to what differs from the (x, y) image's corner."""
    head = np.rot90(image != image[0, 0])
    rows, columns = np.flatnonzero(head.any(1)), np.flatnonzero(head.any(0))
    for ax in np.ravel(axes) if len(rows) else ():
        ax.set_xlim(columns[0] - margin, columns[-1] + margin)
        ax.set_ylim(rows[-1] + margin, rows[0] - margin)


def _scale(fig, shown, axes, text: str, location: str = "right", extend: str = "neither") -> None:
    aspect = 12 if location == "bottom" else 20
    fig.colorbar(shown, ax=axes, label=text, location=location, extend=extend, aspect=aspect)


def _modality_rows(stacks, k: int, lesion, height: float):
    """Draw the five modalities of each stack (5, x, y, slice) in a row, one color bar a column."""
    fig, axes = _panels(len(stacks), len(MODALITIES), 10, height)
    for m, name in enumerate(MODALITIES):
        for ax, stack in zip(axes[:, m], stacks, strict=True):
            shown = _slice(ax, stack[m], k, name, lesion)
        _scale(fig, shown, axes[:, m], f"{name} ({WINDOWS[name].unit})", "bottom", "max")
    _zoom(axes, stacks[0][0][:, :, k])
    return fig, axes


@_styled
def modalities(images, k: int, label: str, lesion=None, title: str = ""):
    """Draw one slice of the five provided modalities, images (5, x, y, slice) in file units."""
    fig, _ = _modality_rows([images], k, lesion, 3.2)
    fig.suptitle(title)
    return _finish(fig, label, "" if lesion is None else LESION_NOTE)


@_styled
def provided_and_mirrored(raw, mirrored, k: int, label: str, lesion=None):
    """Draw Fig. 1: provided modalities above mirrored ones, (5, x, y, slice) in file units."""
    fig, axes = _modality_rows([raw, mirrored], k, lesion, 5.3)
    axes[0, 0].set_ylabel("provided")
    axes[1, 0].set_ylabel("mirrored and registered")
    return _finish(fig, label, "" if lesion is None else LESION_NOTE)


@_styled
def cohort_summary(frame, label: str):
    """Draw lesion volumes, slices a scan, and one against the other.

    Parameters
    ----------
    frame : a row a scan, columns patient, slices, volume_ml and lesion_fraction (0 to 1, of the
        brain's voxels)
    """
    require_columns(frame, "patient", "slices", "volume_ml", "lesion_fraction")
    fig, axes = _panels(1, 3, 10, 3.2)
    volumes, slices, both = axes[0]
    some = frame[frame["volume_ml"] > 0]
    edges = np.geomspace(some["volume_ml"].min() * 0.9, some["volume_ml"].max() * 1.1, 16)
    volumes.hist(some["volume_ml"], bins=edges, color=BLUE, edgecolor="white")
    volumes.set(xscale="log", xlabel="lesion volume (mL)", ylabel="scans")
    patients, empty = frame["patient"].nunique(), len(frame) - len(some)
    volumes.set_title(f"{len(frame)} scans, {patients} patients, {empty} empty")
    counts = frame["slices"].value_counts()
    slices.bar(counts.index, counts, color=BLUE)
    slices.set(xlabel="slices a scan", ylabel="scans")
    percent = 100 * some["lesion_fraction"]
    shown = both.scatter(some["slices"], some["volume_ml"], c=percent, s=18, vmin=0)
    both.set(yscale="log", xlabel="slices a scan", ylabel="lesion volume (mL)")
    for axis in (volumes.yaxis, slices.xaxis, slices.yaxis, both.xaxis):
        axis.set_major_locator(MaxNLocator(integer=True))
    for axis in (volumes.xaxis, both.yaxis):
        axis.set_major_formatter("{x:g}")
    _scale(fig, shown, both, "lesion share of the brain (%)")
    return _finish(fig, label)


@_styled
def curves(time_s, aif, curves, label: str):
    """Draw an arterial input function and tissue curves (dict by name), (time,) above baseline, HU."""
    fig, axes = _panels(2, 1, 7, 4.6, share_x=True)
    artery, tissue = axes[:, 0]
    artery.plot(time_s, aif, color="black")
    artery.set(ylabel="enhancement (HU)", title="arterial input function")
    tissue.set_prop_cycle(color=[BLUE, ORANGE, GREEN, RED, PURPLE, BROWN, PINK, GRAY])
    for name, curve in curves.items():
        tissue.plot(time_s, curve, label=name)
    tissue.set(xlabel="time (s)", ylabel="enhancement (HU)", title="tissue")
    tissue.legend()
    return _finish(fig, label)


@_styled
def registration(ct, flipped, mirrored, k: int, label: str):
    """Draw the CT, its plain flip and the registered flip (HU), and how far each is from the CT.

    Differences are taken between values clipped to the CT's window, as they are seen above: neither
    the skull's thousands of HU nor the air count.
    """
    window = WINDOWS["CT"][:2]
    fixed = np.clip(ct[:, :, k], *window)
    fig, axes = _panels(2, 3, 9, 6.4)
    shown = _slice(axes[0, 0], ct, k)
    axes[0, 0].set_title("CT")
    for column, volume, name in ((1, flipped, "flipped CT"), (2, mirrored, "mirrored CT")):
        _slice(axes[0, column], volume, k)
        axes[0, column].set_title(name)
        distance = abs(fixed - np.clip(volume[:, :, k], *window))
        distant = _picture(axes[1, column], distance, cmap="inferno", vmin=0, vmax=40)
        axes[1, column].set_title(f"|CT − {name}|")
    _scale(fig, shown, axes[0], "CT (HU)", extend="max")
    _scale(fig, distant, axes[1], "difference of what is seen above (HU)", extend="max")
    axes[1, 0].set_visible(False)
    _zoom(axes, np.maximum(ct[:, :, k], flipped[:, :, k]))
    return _finish(fig, label)


@_styled
def registration_errors(frame, label: str):
    """Draw each registration's score against the plain flip's, and the errors where they are known.

    Parameters
    ----------
    frame : a row a scan, columns score, flip_score (correlations) and, where the true line of
        symmetry is known, yaw_error_deg and midline_error_mm; their size is shown, not the sign
    """
    require_columns(frame, "score", "flip_score")
    errors = {
        "yaw_error_deg": "error of the angle (°)",
        "midline_error_mm": "error of the line of symmetry (mm)",
    }
    errors = {name: text for name, text in errors.items() if name in frame}
    fig, axes = _panels(1, 1 + len(errors), 3.3 * (1 + len(errors)), 3.3)
    ax = axes[0, 0]
    low = min(frame["score"].min(), frame["flip_score"].min())
    ax.plot([low, 1], [low, 1], color="0.6", linewidth=1, label="no gain")
    ax.scatter(frame["flip_score"], frame["score"], s=16, color=BLUE, label="a scan")
    ax.set(xlabel="correlation of the plain flip", ylabel="correlation after registration")
    ax.set_aspect("equal")
    ax.legend(loc="lower right")
    for ax, (name, text) in zip(axes[0, 1:], errors.items(), strict=True):
        ax.hist(frame[name].abs(), bins=15, color=BLUE, edgecolor="white")
        ax.set(xlabel=text, ylabel="scans")
        ax.yaxis.set_major_locator(MaxNLocator(integer=True))
    return _finish(fig, label)


@_styled
def centers(ct, lesion, centers_xy, is_lesion, k: int, label: str):
    """Draw the patch centers of one slice on the CT (HU).

    Parameters
    ----------
    centers_xy : int (n, 2), the centers that lie in slice k
    is_lesion : bool (n,), which of them were drawn for the lesion
    """
    centers_xy, is_lesion = np.asarray(centers_xy).reshape(-1, 2), np.asarray(is_lesion, bool)
    fig, axes = _panels(1, 1, 5.6, 6.6)
    ax = axes[0, 0]
    _slice(ax, ct, k, "CT", lesion)
    seen = ct[:, :, k] != ct[0, 0, k]
    seen[tuple(centers_xy.T)] = True  # a moved center may lie off the head
    _zoom(ax, seen)
    for chosen, marker, color, name in (
        (~is_lesion, "x", PINK, "healthy centers"),
        (is_lesion, "o", ORANGE, "lesion centers, moved at random"),
    ):
        x, y = centers_xy[chosen].T
        ax.scatter(x, ct.shape[1] - 1 - y, s=9, marker=marker, color=color, lw=0.8, label=name)
    ax.plot([], [], color=LESION, label="lesion core")
    fig.legend(loc="outside upper center", ncols=3, markerscale=1.8)
    return _finish(fig, label, "CT, 0 to 80 HU")


@_styled
def patch_examples(images, labels, titles, label: str):
    """Draw patches (n, h, w) in one gray window, their labels (n, h, w) outlined, a title each."""
    images, labels = np.asarray(images), np.asarray(labels)
    rows = -(-len(images) // 6)
    columns = -(-len(images) // rows)
    low, high = np.percentile(images, (1, 99))
    fig, axes = _panels(rows, columns, 1.6 * columns + 0.2, 1.85 * rows + 0.3)
    for ax in axes.flat[len(images) :]:
        ax.set_visible(False)
    axes = axes.flat[: len(images)]
    for ax, image, mask, title in zip(axes, images, labels, titles, strict=True):
        _picture(ax, image, cmap="gray", vmin=low, vmax=high)
        _outline(ax, mask)
        ax.set_title(title, fontsize=8)
    return _finish(fig, label, LESION_NOTE)


@_styled
def elastic(before, after, label_before, label_after, field, label: str):
    """Draw a patch before and after elastic deformation, with the grid that takes one to the other.

    Parameters
    ----------
    before, after : (h, w), one modality; label_before and label_after their labels
    field : (2, h, w) voxels; `after` at (i, j) is `before` at (i, j) + field[:, i, j]
    """
    side_x, side_y = before.shape
    place = np.indices(before.shape).astype(float)
    low, high = np.percentile(before, (1, 99))
    fig, axes = _panels(1, 2, 7.6, 4.3)
    for ax, image, mask, (x, y), title in (
        (axes[0, 0], before, label_before, place + field, "before, with the sampled grid"),
        (axes[0, 1], after, label_after, place, "after: the grid made straight"),
    ):
        _picture(ax, image, cmap="gray", vmin=low, vmax=high)
        step = max(1, side_x // 10)
        for along, across in ((x[::step].T, y[::step].T), (x[:, ::step], y[:, ::step])):
            ax.plot(along, side_y - 1 - across, color=ORANGE, linewidth=0.8)
        _outline(ax, mask)
        ax.set(title=title, xlim=(-0.5, side_x - 0.5), ylim=(side_y - 0.5, -0.5))
    return _finish(fig, label, LESION_NOTE)


@_styled
def class_fractions(frame, label: str):
    """Draw the share of lesion voxels by stage, beside the paper's 5 % and 12 % of section 3.1.

    Parameters
    ----------
    frame : columns stage, lesion_fraction (0 to 1)
    """
    require_columns(frame, "stage", "lesion_fraction")
    fig, axes = _panels(1, 1, 7, 1.5 + 0.4 * len(frame))
    ax = axes[0, 0]
    percent = 100 * frame["lesion_fraction"].to_numpy()
    bars = ax.barh(frame["stage"].astype(str), percent, color=BLUE, height=0.6)
    ax.bar_label(bars, [f"{value:.1f} %" for value in percent], padding=3, fontsize=8)
    ax.invert_yaxis()
    for value, when, side in ((5, "before", "right"), (12, "after", "left")):
        ax.axvline(value, color=RED, linestyle="--", linewidth=1)
        above = {"transform": ax.get_xaxis_transform(), "ha": side, "color": RED, "fontsize": 8}
        ax.text(value, 1.02, f"paper: {value} %\n{when}", **above)
    ax.set(xlim=(0, 1.15 * max(12, percent.max())), xlabel="lesion voxels (%)")
    return _finish(fig, label)


_STAGES = {  # kind of stage: color, what it is
    "enter": ("#d9d9d9", "3×3 convolution"),
    "encoder": ("#9ecae1", "residual block, two 3×3 convolutions"),
    "down": ("#deebf7", "3×3 convolution with stride 2, beside 2×2 max-pooling"),
    "up": ("#e5f5e0", "3×3 transposed convolution with stride 2"),
    "decoder": ("#a1d99b", "residual block, one 3×3 convolution"),
    "leave": ("#d9d9d9", ""),
}
_HALF = (0.66, 0.26)  # half a box of the diagram, in its own units
_STAIRS = (1.55, 1.95)  # from box to box on the way down and up


def _place(kind: str, level: int, deepest: int) -> tuple[float, float]:
    """Place a stage of the diagram: stairs down to the deepest level and up again."""
    down, up = _STAIRS
    turn = down * deepest
    x = {
        "enter": 0.0,
        "down": down * (level - 1),
        "encoder": down * level,
        "up": turn + up * (deepest - 1 - level),
        "decoder": turn + up * (deepest - level),
        "leave": turn + up * (deepest - 1) + down,
    }[kind]
    return x, -1.15 * (level - 1)


def _arrow(ax, start, end, color="0.25") -> None:
    style = {"arrowstyle": "-|>", "mutation_scale": 8, "shrinkA": 0, "shrinkB": 0, "color": color}
    ax.annotate("", end, start, arrowprops=style)


def _stage(ax, row: dict, x: float, y: float) -> None:
    """Draw a stage, and where prediction dropout acts in it."""
    kind, (wide, high) = row["kind"], _HALF
    corner, paint = (x - wide, y - high), {"facecolor": _STAGES[kind][0], "edgecolor": "0.4"}
    ax.add_patch(Rectangle(corner, 2 * wide, 2 * high, linewidth=0.8, **paint))
    parameters = f"{row['parameters']:,}".replace(",", " ")
    text = f"{row['maps']} @ {row['side']}×{row['side']}\n{parameters}"
    ax.text(x, y, text, ha="center", va="center", fontsize=7, linespacing=1.3)
    if kind in ("encoder", "decoder") and row["level"] >= STOCHASTIC_LEVEL:
        side = x - 0.4 if kind == "encoder" else x + 0.4
        _arrow(ax, (side, y + high + 0.32), (side, y + high), "red")


@_styled
def network_diagram(layers: list[dict], in_channels: int, label: str = ""):
    """Draw Fig. 2, the network, from the rows of network.layer_table: maps @ sides, parameters.

    Red arrows mark where the dropout of uncertainty filtering acts.
    Source: Clèrigues et al. 2019, Fig. 2.
    """
    fig, axes = _panels(1, 1, 10, 4.8)
    ax = axes[0, 0]
    ax.set_axis_off()
    deepest = max(row["level"] for row in layers)
    places = [_place(row["kind"], row["level"], deepest) for row in layers]
    wide, high = _HALF
    for row, (x, y) in zip(layers, places, strict=True):
        _stage(ax, row, x, y)
        if row["kind"] == "decoder":  # the long skip: over the stairs, into a sum before the block
            start, total = _place("encoder", row["level"], deepest)[0], x - _STAIRS[1] / 2
            over = y + 0.48
            ax.plot([start, start, total], [y + high, over, over], color="0.25", linewidth=1)
            _arrow(ax, (total, over), (total, y + 0.1))
            ax.plot(total, y, marker=r"$\oplus$", markersize=11, color="0.25", markeredgewidth=0.4)
    for (x, y), (next_x, next_y) in itertools.pairwise(places):
        if y == next_y:
            _arrow(ax, (x + wide, y), (next_x - wide, y))
        else:
            step = np.sign(next_y - y) * high
            _arrow(ax, (x, y + step), (x, next_y - step))
    end, floor = places[-1][0], places[0][1] - 1.15 * (deepest - 1)
    ax.text(0, high + 0.08, f"{in_channels} modalities", ha="center", va="bottom", fontsize=8)
    ax.text(end, high + 0.08, "softmax, 2 classes", ha="center", va="bottom", fontsize=8)
    ax.set(xlim=(-1, end + 1), ylim=(floor - 0.5, 0.7))
    kinds = [(color, text) for color, text in _STAGES.values() if text]
    handles = [Patch(facecolor=color, edgecolor="0.4", label=text) for color, text in kinds]
    ax.plot([], [], "k", ls="", marker=r"$\oplus$", ms=9, label="sum with the encoder's maps")
    ax.plot([], [], "r", marker=">", ms=5, label="dropout at prediction")
    ax.legend(handles=handles + ax.get_legend_handles_labels()[0], loc="lower right")
    return _finish(fig, label, "maps @ side×side, parameters below")


@_styled
def history(frame, variant: str, monitor_name: str, label: str):
    """Draw Fig. 3: how one network was trained.

    Parameters
    ----------
    frame : a row an epoch, columns epoch, loss, accuracy, validation_loss, validation_accuracy,
        monitored, validation_dsc and best (did it improve? the last that did gave the weights)
    variant : name in code
    monitor_name : what early stopping watches, Variant.monitor or words
    """
    panels = (
        ("loss", {"loss": "training", "validation_loss": "validation"}),
        ("accuracy", {"accuracy": "training", "validation_accuracy": "validation"}),
        (MONITORS.get(monitor_name, monitor_name), {"monitored": "validation patches"}),
        ("DSC", {"validation_dsc": "validation scans"}),
    )
    require_columns(frame, "epoch", "best", *(column for _, lines in panels for column in lines))
    best = frame[frame["best"].astype(bool)].tail(1)
    fig, axes = _panels(2, 2, 9, 5.6, share_x=True)
    for ax, (title, lines) in zip(axes.flat, panels, strict=True):
        for column, name in lines.items():
            color = BLUE if name == "training" else ORANGE
            ax.plot(frame["epoch"], frame[column], ".-", color=color, markersize=4, label=name)
        for epoch in best["epoch"]:
            ax.axvline(epoch, color="0.5", linestyle=":", lw=1, label=f"best epoch, {epoch:g}")
        ax.set_ylabel(title)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.legend()
    axes[1, 0].plot(best["epoch"], best["monitored"], "o", color=ORANGE, ms=8, mfc="none")
    for ax in axes[1]:
        ax.set_xlabel("epoch")
    fig.suptitle(NAMES.get(variant, variant))
    return _finish(fig, label)


@_styled
def probability(ct, probability, lesion, k: int, label: str):
    """Draw a slice of the CT (HU), and the same under the lesion probability, 0.05 to 1."""
    fig, axes = _panels(1, 2, 7.6, 4.6)
    for ax, title in zip(axes[0], ("CT, 0 to 80 HU", "lesion probability"), strict=True):
        _slice(ax, ct, k, "CT", lesion)
        ax.set_title(title)
    seen = np.ma.masked_less(probability[:, :, k], 0.05)
    shown = _picture(axes[0, 1], seen, cmap="inferno", vmin=0, vmax=1)
    _zoom(axes, ct[:, :, k])
    _scale(fig, shown, axes[0, 1], "probability")
    return _finish(fig, label, "" if lesion is None else LESION_NOTE)


def _outcomes(ax, ct, truth, mask) -> None:
    """Draw an (x, y) slice of CT under what a mask has right, too much or missed."""
    _slice(ax, ct[:, :, None], 0)
    colors = np.zeros((*truth.shape, 4))  # transparent where both masks are empty
    for where, color in zip((mask & truth, mask & ~truth, truth & ~mask), OUTCOMES.values(), strict=True):
        colors[where] = (*color, 1)
    _picture(ax, colors)


def _outcome_legend(fig) -> None:
    handles = [Patch(color=color, label=name) for name, color in OUTCOMES.items()]
    fig.legend(handles=handles, loc="outside upper center", ncols=3)


@_styled
def segmentations(ct_slices, truths, predictions, row_titles, column_titles, label: str):
    """Draw Fig. 4: predicted lesions of a few scans, by what is right, too much or missed.

    Parameters
    ----------
    ct_slices, truths : an (x, y) slice of CT (HU) and a bool (x, y) mask a row
    predictions : for every row a list of bool (x, y) masks, one a column
    """
    rows, columns = len(ct_slices), len(column_titles)
    width = min(10, 2.3 * columns + 0.4)
    fig, axes = _panels(rows, columns, width, (width - 0.4) / columns * 1.18 * rows + 0.8)
    scans = zip(axes, ct_slices, truths, predictions, row_titles, strict=True)
    for row, ct, truth, masks, title in scans:
        for ax, mask in zip(row, masks, strict=True):
            _outcomes(ax, ct, truth, mask)
        _zoom(row, ct)
        row[0].set_ylabel(title)
    for ax, title in zip(axes[0], column_titles, strict=True):
        ax.set_title(title)
    _outcome_legend(fig)
    return _finish(fig, label, "CT, 0 to 80 HU")


@_styled
def worst_cases(ct_slices, maps, truths, predictions, row_titles, label: str, modality: str = "CBF"):
    """Draw a row a scan: CT, one perfusion map, the true lesion on the CT, and what the prediction made of it.

    Parameters
    ----------
    ct_slices, maps : an (x, y) slice of CT (HU) and of the modality (file units) a row
    truths, predictions : a bool (x, y) mask a row
    """
    fig, axes = _panels(len(ct_slices), 4, 8.5, 2.1 * len(ct_slices) + 1.2)
    for row, ct, image, truth, mask, title in zip(
        axes, ct_slices, maps, truths, predictions, row_titles, strict=True
    ):
        _slice(row[0], ct[:, :, None], 0)
        shown = _slice(row[1], image[:, :, None], 0, modality)
        _slice(row[2], ct[:, :, None], 0, "CT", truth[:, :, None])
        _outcomes(row[3], ct, truth, mask)
        _zoom(row, ct)
        row[0].set_ylabel(title)
    for ax, title in zip(axes[0], ("CT", modality, "true lesion", "prediction"), strict=True):
        ax.set_title(title)
    bar = {"location": "bottom", "extend": "max", "aspect": 15, "shrink": 0.3, "pad": 0.02 / len(ct_slices)}
    fig.colorbar(shown, ax=axes, label=f"{modality} ({WINDOWS[modality].unit})", **bar)
    _outcome_legend(fig)
    return _finish(fig, label, f"CT, 0 to 80 HU; {LESION_NOTE}")


@_styled
def uncertainty(ct, probability, spread, truth, prediction, k: int, label: str):
    """Draw a slice's lesion probability, the spread of its stochastic passes, and its errors, on the CT (HU).

    Parameters
    ----------
    probability, spread : float volumes; mean and SD of the passes, both in units of probability
    truth, prediction : bool volumes; the truth is outlined on the first two panels
    """
    fig, axes = _panels(1, 3, 10, 3.9)
    highest = max(float(spread[:, :, k].max()), 1e-6)
    for ax, volume, top, title, text in (
        (axes[0, 0], probability, 1, "mean of the passes", "probability of lesion"),
        (axes[0, 1], spread, highest, "spread of the passes", "SD (units of probability)"),
    ):
        _slice(ax, ct, k)
        seen = np.ma.masked_less(volume[:, :, k], 0.05 * top)
        shown = _picture(ax, seen, cmap="inferno", vmin=0, vmax=top)
        _outline(ax, truth[:, :, k])
        ax.set_title(title)
        _scale(fig, shown, ax, text)
    _outcomes(axes[0, 2], ct[:, :, k], truth[:, :, k], prediction[:, :, k])
    axes[0, 2].set_title("prediction against truth")
    _zoom(axes, ct[:, :, k])
    _outcome_legend(fig)
    return _finish(fig, label, f"CT, 0 to 80 HU; {LESION_NOTE}")


@_styled
def reliability(curves, errors, label: str):
    """Draw how often lesion was there against how probable it was called, and how the voxels spread over the bins.

    Parameters
    ----------
    curves : dict of variant to a frame of agreement.reliability
    errors : dict of variant to its expected calibration error, 0 to 1
    """
    for frame in curves.values():
        require_columns(frame, "low", "high", "share", "mean_probability", "lesion_fraction")
    fig, axes = _panels(1, 2, 9, 4.2)
    curve, share = axes[0]
    curve.plot([0, 1], [0, 1], color="0.6", linewidth=1, label="calibrated")
    for (variant, frame), style in zip(curves.items(), itertools.cycle(("-", "--", ":")), strict=False):
        name, color = NAMES[variant], COLORS[variant]
        some, percent = frame.dropna(), 100 * frame["share"]
        paint = {"color": color, "linestyle": style}
        text = f"{name}, ECE {errors[variant]:.3f}"
        curve.plot(some["mean_probability"], some["lesion_fraction"], marker="o", ms=4, label=text, **paint)
        share.stairs(percent, [*frame["low"], frame["high"].iloc[-1]], label=name, lw=1.5, **paint)
    curve.set(xlim=(0, 1), ylim=(0, 1), aspect="equal", xlabel="predicted probability", ylabel="lesion fraction")
    share.set(xlim=(0, 1), yscale="log", xlabel="predicted probability", ylabel="voxels in the bin (%)")
    share.yaxis.set_major_formatter("{x:g}")
    for ax in axes[0]:
        ax.legend()
    return _finish(fig, label, "ECE: expected calibration error")


@_styled
def grid_heatmaps(grid_mean, choice, label: str, title: str = ""):
    """Draw mean DSC and mean HD over the grid of T and S_min; brighter is better in both.

    Parameters
    ----------
    grid_mean : a row a pair, columns threshold, min_lesion_voxels, dsc, hd_mm
    choice : postprocess.Pair of the grid, marked
    """
    require_columns(grid_mean, "threshold", "min_lesion_voxels", "dsc", "hd_mm")
    tables = grid_mean.pivot(index="threshold", columns="min_lesion_voxels")
    thresholds, sizes = tables["dsc"].index, tables["dsc"].columns
    if choice.threshold not in thresholds or choice.min_lesion_voxels not in sizes:
        raise ValueError(f"{choice} is not in the grid of {[*thresholds]} and {[*sizes]}")
    row, column = thresholds.get_loc(choice.threshold), sizes.get_loc(choice.min_lesion_voxels)
    fig, axes = _panels(1, 2, 10, 4.2)
    for ax, metric, name, digits, cmap in (
        (axes[0, 0], "dsc", "mean DSC", 3, "viridis"),
        (axes[0, 1], "hd_mm", "mean HD (mm)", 1, "viridis_r"),
    ):
        shown = ax.imshow(tables[metric], cmap=cmap, aspect="auto")
        for (r, c), value in np.ndenumerate(tables[metric].to_numpy()):
            ink = "white" if sum(shown.to_rgba(value)[:3]) < 1.4 else "black"
            ax.text(c, r, f"{value:.{digits}f}", ha="center", va="center", fontsize=8, color=ink)
        corner = (column - 0.5, row - 0.5)
        ax.add_patch(Rectangle(corner, 1, 1, fill=False, edgecolor=RED, lw=2.5, clip_on=False))
        ax.set_xticks(range(len(sizes)), sizes)
        ax.set_yticks(range(len(thresholds)), thresholds)
        ax.set(xlabel="$S_{min}$ (voxels)", ylabel="threshold $T$")
        _scale(fig, shown, ax, name)
    fig.suptitle(title)
    chosen = f"T = {choice.threshold:g} and Smin = {choice.min_lesion_voxels} voxels"
    return _finish(fig, label, f"red: chosen, {chosen}")


def _box(ax, place: float, values, color: str, width: float = 0.6) -> int:
    """Draw the finite ones of some values as a box under its points; return how many are not."""
    finite = values[np.isfinite(values)]
    spread = (np.arange(len(finite)) * 0.618) % 1 - 0.5  # even, and the same every time
    ax.plot(place + width * spread * 2 / 3, finite, ".", color=color, markersize=3.5)
    paint = {
        "boxprops": {"facecolor": (*to_rgb(color), 0.35), "edgecolor": "0.3"},
        "medianprops": {"color": "black"},
    }
    ax.boxplot(finite, positions=[place], widths=width, sym="", patch_artist=True, **paint)
    return len(values) - len(finite)


def _scored(ax, metric: str) -> None:
    ax.set(ylabel=METRICS[metric], ylim=(0, None) if metric == "hd_mm" else (-0.02, 1.02))


@_styled
def by_group(frame, column: str, label: str, metrics=("dsc", "hd_mm")):
    """Draw metrics within groups of scans, variant beside variant, with the number of scans under each group.

    Parameters
    ----------
    frame : a row a (variant, scan), columns variant, case, the metrics and `column`, a categorical
        such as agreement.volume_groups makes
    """
    variants = _variants(frame)
    require_columns(frame, "case", column, *metrics)
    groups = frame[column].cat.categories
    fig, axes = _panels(len(metrics), 1, 9, 2.9 * len(metrics) + 0.7)
    for ax, metric in zip(axes[:, 0], metrics, strict=True):
        ticks = []
        for place, group in enumerate(groups):
            scans = frame[frame[column] == group]
            left_out = 0
            for v, variant in enumerate(variants):
                values = scans.loc[scans["variant"] == variant, metric].to_numpy(float)
                middle = place + 0.8 * ((v + 0.5) / len(variants) - 0.5)
                left_out += _box(ax, middle, values, COLORS[variant], 0.66 / len(variants))
            ticks.append(f"{group}\nn = {scans['case'].nunique()}")
            ticks[-1] += f"\nnot finite: {left_out}" if left_out else ""
        ax.set_xticks(range(len(groups)), ticks)
        ax.set_xlim(-0.5, len(groups) - 0.5)
        for edge in range(1, len(groups)):
            ax.axvline(edge - 0.5, color="0.85", linewidth=0.8)
        _scored(ax, metric)
    axes[-1, 0].set_xlabel(GROUPS.get(column, column))
    handles = [Patch(facecolor=(*to_rgb(COLORS[v]), 0.35), edgecolor=COLORS[v], label=NAMES[v]) for v in variants]
    fig.legend(handles=handles, loc="outside upper center", ncols=len(variants))
    return _finish(fig, label, "n: scans")


@_styled
def metric_boxes(frame, label: str):
    """Draw each metric's distribution over the scans, variant beside variant.

    Parameters
    ----------
    frame : a row a (variant, scan), columns variant, dsc, ppv, sensitivity, hd_mm

    Values that are not finite (HD of an empty mask, PPV of an empty prediction) cannot be drawn:
    their number is written below.
    """
    variants = _variants(frame)
    require_columns(frame, *METRICS)
    fig, axes = _panels(2, 2, 9, 6.8)
    for ax, metric in zip(axes.flat, METRICS, strict=True):
        ticks = []
        for place, variant in enumerate(variants):
            values = frame.loc[frame["variant"] == variant, metric].to_numpy(float)
            left_out = _box(ax, place, values, COLORS[variant])
            words = NAMES[variant].replace(" + ", "\n+ ").replace(" and ", "\nand ")
            ticks.append(f"{words}\n({left_out} not finite)" if left_out else words)
        ax.set_xticks(range(len(variants)), ticks, fontsize="x-small")
        _scored(ax, metric)
    return _finish(fig, label)


@_styled
def volumes(frame, r2, label: str):
    """Draw predicted against true lesion volume, a panel a variant.

    Parameters
    ----------
    frame : a row a (variant, scan), columns variant, volume_ml, truth_volume_ml
    r2 : dict of variant to (R2 of the fitted line, R2 about the identity line)
    """
    variants = _variants(frame)
    require_columns(frame, "volume_ml", "truth_volume_ml")
    width = min(10, 2.6 * len(variants) + 0.6)
    height = width / len(variants) + 1
    fig, axes = _panels(1, len(variants), width, height, share_x=True, share_y=True)
    largest = 1.05 * frame[["volume_ml", "truth_volume_ml"]].to_numpy().max()
    for ax, variant in zip(axes[0], variants, strict=True):
        own = frame[frame["variant"] == variant]
        ax.plot([0, largest], [0, largest], color="0.6", linewidth=1)
        ax.scatter(own["truth_volume_ml"], own["volume_ml"], s=14, color=COLORS[variant], alpha=0.8)
        fitted, identity = r2[variant]
        numbers = f"$R^2$ = {fitted:.2f}, about identity {identity:.2f}"
        ax.set_title(f"{NAMES[variant]}\n{numbers}", fontsize=8)
        ax.set(xlim=(0, largest), ylim=(0, largest), aspect="equal", xlabel="true volume (mL)")
    axes[0, 0].set_ylabel("predicted volume (mL)")
    return _finish(fig, label)


@_styled
def bland_altman(frame, agreement, label: str):
    """Draw predicted against true lesion volume, and below it their difference against their mean.

    Parameters
    ----------
    frame : a row a (variant, scan), columns variant, volume_ml, truth_volume_ml
    agreement : dict of variant to what agreement.bland_altman finds

    Volumes are on a logarithmic axis that is linear from 0 to 1 mL, so that an empty prediction has its
    place; differences are not, since their limits are numbers of mL.
    """
    variants = _variants(frame)
    require_columns(frame, "volume_ml", "truth_volume_ml")
    fig, axes = _panels(2, len(variants), min(10, 1.9 * len(variants) + 2.4), 6.2, share_x=True, share_y="row")
    largest = 1.3 * frame[["volume_ml", "truth_volume_ml"]].to_numpy().max()
    for (above, below), variant in zip(axes.T, variants, strict=True):
        own, found, color = frame[frame["variant"] == variant], agreement[variant], COLORS[variant]
        predicted, true = own["volume_ml"], own["truth_volume_ml"]
        above.plot([0, largest], [0, largest], color="0.6", linewidth=1)
        above.scatter(true, predicted, s=12, color=color, alpha=0.8)
        below.scatter((predicted + true) / 2, predicted - true, s=12, color=color, alpha=0.8)
        for name, style in (("lower", "--"), ("bias", "-"), ("upper", "--")):
            below.axhspan(found[f"{name}_low_ml"], found[f"{name}_high_ml"], color="0.85", zorder=0)
            below.axhline(found[f"{name}_ml"], color="0.2", linestyle=style, linewidth=1)
        numbers = f"bias {found['bias_ml']:.1f} mL\nlimits {found['lower_ml']:.0f} to {found['upper_ml']:.0f} mL"
        below.set_title(numbers.replace("-", "−"), fontsize=8)
        above.set_title(NAMES[variant].replace(" and ", "\nand "), fontsize=8)
        above.set_xlabel("true volume (mL)")
        below.set_xlabel("mean of both (mL)")
        above.tick_params(labelbottom=True)
    axes[0, 0].set_xscale("symlog", linthresh=1)
    axes[0, 0].set_yscale("symlog", linthresh=1)
    axes[0, 0].set(xlim=(-0.1, largest), ylim=(-0.1, largest))
    for axis in (axes[0, 0].xaxis, axes[0, 0].yaxis):
        axis.set_major_formatter("{x:g}")
    axes[0, 0].set_ylabel("predicted volume (mL)")
    axes[1, 0].set_ylabel("predicted − true (mL)")
    return _finish(fig, label, "dashed: limits of agreement; gray: 95 % intervals")


@_styled
def paired_differences(tests, label: str):
    """Draw the mean difference of each pair of variants, with its 95 % interval, metric by metric.

    Parameters
    ----------
    tests : a row a (pair, metric), columns pair, metric, mean_difference, low, high, p_holm
    """
    require_columns(tests, "pair", "metric", "mean_difference", "low", "high", "p_holm")
    metrics = [name for name in METRICS if name in set(tests["metric"])]
    pairs = list(dict.fromkeys(tests["pair"]))
    width, height = min(10, 2.1 * len(metrics) + 1.6), 1.5 + 0.5 * len(pairs)
    fig, axes = _panels(1, len(metrics), width, height, share_y=True)
    for ax, metric in zip(axes[0], metrics, strict=True):
        ax.axvline(0, color="0.6", linewidth=1)
        for row in tests[tests["metric"] == metric].itertuples():
            place, middle = pairs.index(row.pair), row.mean_difference
            ax.plot([row.low, row.high], [place, place], color=BLUE)
            filling = BLUE if row.p_holm < 0.05 else "white"
            ax.plot(middle, place, "o", color=BLUE, markerfacecolor=filling)
            ax.text(middle, place - 0.17, p_text(row.p_holm), ha="center", va="bottom", fontsize=7)
        ax.set(xlabel=f"difference in {METRICS[metric]}", ylim=(len(pairs) - 0.5, -0.7))
        ax.margins(x=0.15)
        ax.xaxis.set_major_locator(MaxNLocator(4))
    axes[0, 0].set_yticks(range(len(pairs)), [str(pair) for pair in pairs])
    return _finish(fig, label, "95 % bootstrap intervals; filled: p < 0.05 after Holm")


@_styled
def claims(table, label: str):
    """Draw what became of each of the paper's claims: its effect size here, positive where the paper's sign is ours.

    Parameters
    ----------
    table : frame of stats.claims_table, of one unit or both: columns new, old, metric, unit, mean_difference, d_z,
        d_z_low, d_z_high, p, paper_direction and verdict
    """
    require_columns(table, "new", "old", "metric", "unit", "mean_difference", "d_z", "d_z_low", "d_z_high", "p")
    require_columns(table, "paper_direction", "verdict")
    colors = {"holds": GREEN, "opposite": RED, "cannot be told": GRAY}
    scans = table[table["unit"] == "scan"]
    rows = [(row.new, row.old, row.metric) for row in scans.itertuples()]
    fig, axes = _panels(1, 1, 10, 1.6 + 0.42 * len(rows))
    ax = axes[0, 0]
    ax.axvline(0, color="0.6", linewidth=1, zorder=0)
    for row in table.itertuples():
        place = rows.index((row.new, row.old, row.metric)) + (0.15 if row.unit == "patient" else -0.15)
        sign, color = 1 if row.paper_direction == "up" else -1, colors[row.verdict]
        ax.plot([sign * row.d_z_low, sign * row.d_z_high], [place, place], color=color, linewidth=1.5)
        marker, filling = ("s", "white") if row.unit == "patient" else ("o", color)
        ax.plot(sign * row.d_z, place, marker, color=color, mfc=filling, ms=5)
    short = {variant: name.removeprefix("Single + ") for variant, name in NAMES.items()}
    words, notes = [], []
    for row in scans.itertuples():
        metric, points = METRICS.get(row.metric, "HD"), not row.metric.startswith("hd")
        words.append(f"{short[row.new]} − {short[row.old]}: {metric} {row.paper_direction}")
        value = f"{100 * row.mean_difference:+.1f} points" if points else f"{row.mean_difference:+.1f} voxels"
        notes.append(f"{value}, {p_text(row.p)}: {row.verdict}".replace("-", "−"))
    ax.set_yticks(range(len(rows)), words)
    ax.set(ylim=(len(rows) - 0.5, -0.6), xlabel="effect size $d_z$; positive: as the paper says")
    beside = ax.secondary_yaxis("right")
    beside.set_yticks(range(len(rows)), notes)
    beside.spines[:].set_visible(False)
    beside.tick_params(length=0, labelsize=8)
    for verdict, color in colors.items():
        ax.plot([], [], "o", color=color, ms=5, label=verdict)
    ax.plot([], [], "s", color="0.3", mfc="white", ms=5, label="patients as the unit")
    fig.legend(loc="outside upper center", ncols=4)
    return _finish(fig, label, "95 % bootstrap intervals; text and circles: scans as the unit")


@_styled
def leaderboard(table, label: str):
    """Draw mean DSC with its SD by rank, as Table 2, our own run in another color.

    Parameters
    ----------
    table : frame of submission.table2: a row an entry, best first, columns rank, user, reference
        ("ours" for the paper's entry, in bold), dsc_mean, dsc_sd, source ("this run" for our own)
    """
    require_columns(table, "rank", "user", "reference", "dsc_mean", "dsc_sd", "source")
    fig, axes = _panels(1, 1, 7, 1.1 + 0.3 * len(table))
    ax = axes[0, 0]
    for place, row in enumerate(table.itertuples()):
        color = RED if row.source == "this run" else BLUE
        ax.errorbar(row.dsc_mean, place, xerr=row.dsc_sd, fmt="o", color=color, capsize=2)
        numbers = f"{row.dsc_mean:.2f} ± {row.dsc_sd:.2f}"
        ax.text(1.02, place, numbers, va="center", fontsize=8, color=color)
    ranks = table["rank"].astype("Int64").astype("string").fillna("–")
    ax.set_yticks(range(len(table)), ranks + "  " + table["user"])
    bold = (table["reference"] == "ours") | (table["source"] == "this run")
    for text, own in zip(ax.get_yticklabels(), bold, strict=True):
        text.set_fontweight("bold" if own else "normal")
    ax.set(xlabel="DSC, mean ± SD over the testing scans", xlim=(0, 1))
    ax.set_ylim(len(table) - 0.4, -0.6)
    return _finish(fig, label)


@_styled
def seeds(values, spread, metric: str, label: str):
    """Draw a metric's mean for every seed and variant, and beside it the differences between variants.

    Parameters
    ----------
    values : frame of stats.seed_values, a point a row
    spread : frame of stats.seed_spread of these values: means, and intervals of the differences
    """
    require_columns(values, "kind", "name", "metric", "seed", "value")
    require_columns(spread, "kind", "name", "metric", "mean", "sd", "low", "high")
    values, spread = values[values["metric"] == metric], spread[spread["metric"] == metric]
    means, differences = (spread[spread["kind"] == kind] for kind in ("variant", "difference"))
    markers = dict(zip(sorted(values["seed"].unique()), itertools.cycle("os^Dv<>"), strict=False))
    fig, axes = _panels(1, 2, 10, 1.8 + 0.5 * max(len(means), len(differences)))
    for ax, rows in zip(axes[0], (means, differences), strict=True):
        for place, row in enumerate(rows.itertuples()):
            color = COLORS.get(row.name, BLUE)
            if row.kind == "difference":
                ax.plot([row.low, row.high], [place, place], color="0.75", linewidth=5, solid_capstyle="butt")
            ax.plot([row.mean, row.mean], [place - 0.28, place + 0.28], color="black", linewidth=1.5)
            text = "one seed" if np.isnan(row.sd) else f"SD {row.sd:.2g}"
            ax.text(row.mean, place - 0.3, text, ha="center", va="bottom", fontsize=7)
            for point in values[values["name"] == row.name].itertuples():
                ax.plot(point.value, place, markers[point.seed], color=color, ms=5, mfc="none", mew=1.3)
        words = ["\n− ".join(NAMES.get(part, part) for part in name.split(" over ")) for name in rows["name"]]
        ax.set_yticks(range(len(rows)), words)
        ax.set_ylim(len(rows) - 0.4, -0.75)
        ax.margins(x=0.1)
    axes[0, 1].axvline(0, color="0.6", linewidth=1, zorder=0)
    axes[0, 0].set_xlabel(f"mean {METRICS[metric]}")
    axes[0, 1].set_xlabel(f"difference in mean {METRICS[metric]}")
    for seed, marker in markers.items():
        axes[0, 0].plot([], [], marker, color="0.3", ms=5, mfc="none", mew=1.3, label=f"seed {seed}")
    fig.legend(loc="outside upper center", ncols=8)
    return _finish(fig, label, "line: mean of the seeds; gray: its 95 % interval")


@_styled
def sweeps(tests: dict, label: str):
    """Draw how DSC and HD change with a number, such as the patch side, against a reference.

    Parameters
    ----------
    tests : frame of paired tests by the number's name, a row a (value, metric), columns value, metric,
        mean_difference, low, high and reference (bool: the row that the others are held against)
    """
    for frame in tests.values():
        require_columns(frame, "value", "metric", "mean_difference", "low", "high", "reference")
    metrics = ("dsc", "hd_mm")
    fig, axes = _panels(len(metrics), len(tests), min(10, 2.9 * len(tests) + 1.4), 4.6, "col", "row")
    for column, (name, frame) in zip(axes.T, tests.items(), strict=True):
        values = sorted(frame["value"].unique())
        for ax, metric in zip(column, metrics, strict=True):
            rows = frame[frame["metric"] == metric].sort_values("value")
            places = [values.index(value) for value in rows["value"]]  # as categories: sides and steps double
            middle = rows["mean_difference"].to_numpy()
            ax.axhline(0, color="0.6", linewidth=1)
            reach = [middle - rows["low"], rows["high"] - middle]
            ax.errorbar(places, middle, reach, color=BLUE, marker="o", ms=4, lw=1)
            itself = [place for place, here in zip(places, rows["reference"], strict=True) if here]
            ax.plot(itself, [0] * len(itself), "o", color=BLUE, mfc="white", ms=6, zorder=3)
            ax.set_xticks(range(len(values)), [f"{value:g}" for value in values])
        column[-1].set_xlabel(name)
    for ax, metric in zip(axes[:, 0], metrics, strict=True):
        ax.set_ylabel(f"difference in {METRICS[metric]}")
    return _finish(fig, label, "open: the reference; bars: 95 % bootstrap intervals")


@_styled
def stopping(table, label: str):
    """Draw how well two quantities to stop on follow the validation DSC, a point a network.

    Parameters
    ----------
    table : a row a (network, fold, quantity), columns quantity ("validation_loss" or "monitored"), rank (Spearman's
        correlation with the DSC over the epochs) and cost (DSC lost by stopping where the quantity is least)
    """
    require_columns(table, "network", "fold", "quantity", "rank", "cost")
    names = {"validation_loss": "validation loss", "monitored": "L1 loss + error rate"}
    fig, axes = _panels(1, 2, 9, 2.6, share_y=True)
    for ax, column, words in zip(
        axes[0], ("rank", "cost"), ("rank correlation with validation DSC", "DSC lost by stopping there"), strict=True
    ):
        for place, (quantity, color) in enumerate(zip(names, (ORANGE, BLUE), strict=True)):
            values = table.loc[table["quantity"] == quantity, column].dropna().to_numpy()
            spread = np.linspace(-0.22, 0.22, len(values)) if len(values) > 1 else np.zeros(len(values))
            ax.plot(values, place + spread, "o", color=color, ms=4, mfc="none")
            if len(values):
                ax.plot([values.mean()] * 2, [place - 0.35, place + 0.35], color="black", linewidth=1.5)
        ax.set_xlabel(words)
    axes[0, 0].axvline(0, color="0.6", linewidth=1, zorder=0)
    axes[0, 0].set_yticks(range(len(names)), names.values())
    axes[0, 0].set_ylim(len(names) - 0.5, -0.5)
    return _finish(fig, label, "a point a network; line: mean")
