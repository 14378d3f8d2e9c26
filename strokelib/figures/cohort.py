"""The scans as a whole: lesions, curves of contrast, how well heads were registered, shares of lesion."""

import numpy as np
from matplotlib.ticker import MaxNLocator

from strokelib.figures.style import color_bar, finish, panels, styled
from strokelib.stats import require_columns
from strokelib.vocabulary import BLUE, BROWN, GRAY, GREEN, ORANGE, PINK, PURPLE, RED


@styled
def cohort_summary(frame, label: str):
    """Draw lesion volumes, slices a scan, and one against the other.

    Parameters
    ----------
    frame : a row a scan, columns patient, slices, volume_ml and lesion_fraction (0 to 1, of the
        brain's voxels)
    """
    require_columns(frame, "patient", "slices", "volume_ml", "lesion_fraction")
    fig, axes = panels(1, 3, 10, 3.2)
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
    color_bar(fig, shown, both, "lesion share of the brain (%)")
    return finish(fig, label)


@styled
def curves(time_s, aif, curves, label: str):
    """Draw an arterial input function and tissue curves (dict by name), (time,) above baseline, HU."""
    fig, axes = panels(2, 1, 7, 4.6, share_x=True)
    artery, tissue = axes[:, 0]
    artery.plot(time_s, aif, color="black")
    artery.set(ylabel="enhancement (HU)", title="arterial input function")
    tissue.set_prop_cycle(color=[BLUE, ORANGE, GREEN, RED, PURPLE, BROWN, PINK, GRAY])
    for name, curve in curves.items():
        tissue.plot(time_s, curve, label=name)
    tissue.set(xlabel="time (s)", ylabel="enhancement (HU)", title="tissue")
    tissue.legend()
    return finish(fig, label)


@styled
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
    fig, axes = panels(1, 1 + len(errors), 3.3 * (1 + len(errors)), 3.3)
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
    return finish(fig, label)


@styled
def class_fractions(frame, label: str):
    """Draw the share of lesion voxels by stage, beside the paper's 5 % and 12 % of section 3.1.

    Parameters
    ----------
    frame : columns stage, lesion_fraction (0 to 1)
    """
    require_columns(frame, "stage", "lesion_fraction")
    fig, axes = panels(1, 1, 7, 1.5 + 0.4 * len(frame))
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
    return finish(fig, label)
