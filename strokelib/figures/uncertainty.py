"""Uncertainty: its measures on a slice, errors by measure, scores of the scans kept, intervals of volumes."""

import numpy as np

from strokelib.evaluation.uncertainty import DOUBTED, SCAN, VOXEL
from strokelib.figures.reliability import diagram
from strokelib.figures.style import (
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
from strokelib.run.checks import require_columns
from strokelib.vocabulary import BLUE, GRAY, GREEN, ORANGE, PURPLE, RED

COLORS = dict(zip(SCAN, (ORANGE, BLUE, GREEN, PURPLE, GRAY), strict=True))
UNITS = {"passes": "SD (probability)", "networks": "SD (probability)", "doubt": "variance (probability²)"}


@styled
def measures(ct, truth, mask, probability, found, label: str):
    """Draw a slice's lesion probability and each measure of its uncertainty, on the CT.

    Parameters
    ----------
    ct : (x, y) HU
    truth, mask : bool (x, y), the lesion, and what the vote makes of it
    probability : float (x, y)
    found : dict of the names in evaluation.uncertainty.VOXEL to float (x, y)
    """
    fig, axes = panels(1, 1 + len(found), 10, 3.4)
    shown = [("probability of the vote", probability, 1.0, "probability of lesion")]
    shown += [(VOXEL[name].name, image, max(float(image.max()), 1e-6), UNITS[name]) for name, image in found.items()]
    for ax, (title, image, top, text) in zip(axes[0], shown, strict=True):
        draw_slice(ax, ct[:, :, None], 0)
        drawn = picture(ax, np.ma.masked_less(image, 0.05 * top), cmap="inferno", vmin=0, vmax=top)
        outline(ax, truth)
        if mask.any():
            ax.contour(np.rot90(mask), [0.5], colors=["white"], linewidths=0.8, linestyles="--")
        ax.set_title(title)
        color_bar(fig, drawn, ax, text, "bottom")
    zoom(axes, [ct])
    return finish(fig, label, f"CT, 0 to 80 HU; {LESION_NOTE}; broken white line: predicted; {SIDES_NOTE}")


def calibration(curves, errors, label: str):
    """Draw how often lesion was there against how probable it was called, and how the voxels spread over the bins.

    Parameters
    ----------
    curves : dict of who predicted, in words, to a frame of agreement.reliability
    errors : dict of the same to the expected calibration error, 0 to 1
    """
    looks = {name: {"color": color} for name, color in zip(curves, (GREEN, BLUE, ORANGE, PURPLE), strict=False)}
    return diagram(curves, errors, looks, label)


@styled
def errors(curves, label: str):
    """Draw which share of the voxels is wrong, from those that a measure calls most certain to the least certain.

    Parameters
    ----------
    curves : dict of the names in evaluation.uncertainty.VOXEL to a frame of agreement.reliability, of error_counts
    """
    for frame in curves.values():
        require_columns(frame, "voxels", "mean_probability", "lesion_fraction")
    fig, axes = panels(1, 1, 7.5, 4)
    ax = axes[0, 0]
    for name, frame in curves.items():
        some = frame.dropna()
        ranks, wrong = 100 * some["mean_probability"], 100 * some["lesion_fraction"]
        ax.plot(ranks, wrong, "o-", ms=4, color=COLORS[name], label=VOXEL[name].name)
    every = 100 * (some["lesion_fraction"] @ some["voxels"]) / some["voxels"].sum()
    ax.axhline(every, color="0.6", linewidth=1, label="all of them")
    ax.set(xlim=(0, 100), xlabel="rank of the measure within the scan (%), least certain voxels last")
    ax.set(ylim=(0, None), ylabel="wrong voxels (%)")
    ax.legend()
    return finish(fig, label, f"voxels with p > {DOUBTED:g}, in tenths")


@styled
def selective(curves, best, label: str):
    """Draw the mean DSC of the scans that are kept, by which measure decides.

    Parameters
    ----------
    curves : dict of the names in evaluation.uncertainty.SCAN to a frame of uncertainty.selective
    best : frame of the same, where the DSC itself decides
    """
    for frame in (*curves.values(), best):
        require_columns(frame, "kept", "mean")
    fig, axes = panels(1, 1, 7.5, 4.4)
    ax = axes[0, 0]
    ax.plot(100 * best["kept"], 100 * best["mean"], color="0.2", linestyle=":", label="by the DSC itself: the limit")
    for name, frame in curves.items():
        style = "--" if name == "smallness" else "-"
        ax.plot(100 * frame["kept"], 100 * frame["mean"], style, color=COLORS[name], label=SCAN[name].name)
    ax.axhline(100 * best["mean"].iloc[-1], color="0.6", linewidth=1, label="at random, on average")
    ax.set(xlim=(0, 101), xlabel="scans kept, the most certain ones (%)", ylabel="mean DSC of the scans kept (%)")
    ax.set_xticks(range(0, 101, 20))
    ax.legend()
    return finish(fig, label, f"{len(best)} scans; few are at the left end")


@styled
def volumes(frame, level: float, label: str):
    """Draw the interval of each scan's volume and the true one, in the order of the predicted volumes.

    Parameters
    ----------
    frame : a row a scan: columns volume_ml, low_ml, high_ml, truth_volume_ml
    level : of the intervals
    """
    require_columns(frame, "volume_ml", "low_ml", "high_ml", "truth_volume_ml")
    own = frame.sort_values("volume_ml", kind="stable").reset_index(drop=True)
    held = own["truth_volume_ml"].between(own["low_ml"] - 1e-9, own["high_ml"] + 1e-9)
    fig, axes = panels(1, 1, 10, 4)
    ax = axes[0, 0]
    ends = own["high_ml"].replace(np.inf, np.nan)
    largest = 1.1 * max(own["truth_volume_ml"].max(), own["volume_ml"].max(), ends.max() if ends.notna().any() else 0)
    bounded = ends.notna()
    ax.vlines(own.index, own["low_ml"], ends.fillna(2 * largest), color=BLUE, linewidth=2, alpha=0.35)
    ax.plot(own.index, own["volume_ml"], "_", color=BLUE, ms=6, label="predicted")
    ax.plot(own.index[held], own["truth_volume_ml"][held], "o", color="0.2", ms=4, label="true, inside")
    ax.plot(own.index[~held], own["truth_volume_ml"][~held], "D", color=RED, ms=5, label="true, outside")
    ax.set_yscale("symlog", linthresh=1, linscale=0.5)
    ax.set(ylim=(-0.1, largest), ylabel="volume (mL), linear below 1", xlim=(-1, len(own)), xticks=[])
    ax.set_xlabel(f"scans in the order of predicted volume, n = {len(own)}")
    ax.yaxis.set_major_formatter("{x:g}")
    ax.legend(loc="lower right")
    note = "" if bounded.all() else f", {(~bounded).sum()} without an upper end"
    return finish(fig, label, f"bars: {100 * level:g} % intervals{note}")


@styled
def coverage(table, label: str):
    """Draw the observed coverage of intervals of volume against the nominal one.

    Parameters
    ----------
    table : frame, a row a (kind, level): columns kind (in words), level, share, low, high
    """
    require_columns(table, "kind", "level", "share", "low", "high")
    fig, axes = panels(1, 1, 5.5, 4.6)
    ax = axes[0, 0]
    ax.plot([0, 100], [0, 100], color="0.6", linewidth=1, label="as nominal")
    kinds = list(dict.fromkeys(table["kind"]))
    for place, (kind, color) in enumerate(zip(kinds, (BLUE, ORANGE, GREEN, PURPLE), strict=False)):
        own = table[table["kind"] == kind]
        aside = 100 * own["level"] + 1.2 * (place - (len(kinds) - 1) / 2)  # so that the bars do not hide each other
        ax.vlines(aside, 100 * own["low"], 100 * own["high"], color=color)
        ax.plot(aside, 100 * own["share"], "o", color=color, ms=5, label=kind)
    ax.set(xlim=(40, 102), ylim=(0, 102), xlabel="nominal coverage (%)", ylabel="observed coverage of true volumes (%)")
    ax.legend(loc="lower right")
    return finish(fig, label, "bars: 95 % intervals by patient, moved aside")
