"""The scans as a whole: lesions, curves of contrast, how well heads were registered, shares of lesion."""

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from strokelib.figures.style import color_bar, finish, panels, styled
from strokelib.run.checks import require_columns
from strokelib.vocabulary import BLUE, BROWN, GRAY, GREEN, ORANGE, PINK, PURPLE, RED

SHARES = {"brain voxels": BLUE, "all voxels of the patches": "#9ac6e0"}  # of which voxels lesion has a share


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
    """Draw the share of lesion voxels by stage of the sampling, beside what section 3.1 of the paper gives.

    Parameters
    ----------
    frame : a row a (stage, voxels), columns stage (the first is before the sampling, the last what training uses),
        voxels (of which the share is taken, see SHARES) and lesion_fraction (0 to 1)
    """
    require_columns(frame, "stage", "voxels", "lesion_fraction")
    stages = list(dict.fromkeys(frame["stage"]))
    fig, axes = panels(1, 1, 7.5, 1.6 + 0.55 * len(stages))
    ax = axes[0, 0]
    beside = {"transform": ax.get_yaxis_transform(), "va": "center", "ha": "right", "fontsize": 8}
    for stage, own in frame.groupby("stage", sort=False):
        for row, shift in zip(own.itertuples(), (-0.2, 0.2) if len(own) > 1 else (0,), strict=True):
            place, percent, color = stages.index(stage) + shift, 100 * row.lesion_fraction, SHARES[row.voxels]
            ax.barh(place, percent, color=color, height=0.36)
            ax.text(1.08, place, f"{percent:.1f} %", **beside)
    for percent, place in ((5, 0), (12, len(stages) - 1)):
        ax.plot([percent, percent], [place - 0.47, place + 0.47], color=RED, linewidth=2.5)
    ax.set_yticks(range(len(stages)), stages)
    largest = 100 * frame["lesion_fraction"].max()
    ax.set(xlim=(0, 1.05 * max(12, largest)), ylim=(len(stages) - 0.4, -0.6), xlabel="lesion voxels (%)")
    handles = [Patch(color=color, label=f"of {voxels}") for voxels, color in SHARES.items()]
    handles.append(Line2D([], [], color=RED, linewidth=2.5, label="the paper: 5 % before, 12 % after"))
    fig.legend(handles=handles, loc="outside upper center", ncols=3)
    return finish(fig, label)
