"""Scores of many scans: over the grid of thresholds, by variant, by group, as volumes and as probabilities."""

import itertools
import textwrap

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.colors import to_rgb
from matplotlib.patches import Patch, Rectangle

from strokelib.evaluation.tables import NONE, mean_sd
from strokelib.figures.reliability import diagram
from strokelib.figures.style import finish, minus, panels, styled, two_lines, variants_of
from strokelib.run.checks import require_columns
from strokelib.vocabulary import BLUE, COLORS, COMPARED, GROUPS, METRICS, NAMES, PINK, RED

HEATMAPS = (  # column of optimum.frequencies: heading, format, colors
    ("dsc", "mean DSC", ".3f", "viridis"),
    ("hd_mm", "mean HD (mm), undefined as the diagonal", ".1f", "viridis_r"),
    ("chosen", "chosen by its own ranks (% of samples)", ".0f", "Blues"),
    ("chosen_stable", "chosen by its neighborhood's ranks (% of samples)", ".0f", "Blues"),
)


@styled
def grid_heatmaps(points, choice, stable, label: str, title: str = ""):
    """Draw mean DSC and mean HD over the grid of T and S_min, brighter is better, and how often each pair is chosen.

    Parameters
    ----------
    points : frame of optimum.frequencies: a row a pair, columns threshold, min_lesion_voxels, dsc, hd_mm, near_best
        (these have their DSC in bold), chosen and chosen_stable (shares of bootstrap samples of the patients)
    choice, stable : postprocess.Pair of the grid, chosen by its own ranks and by those of its neighborhood; each is
        marked
    """
    columns = [name for name, *_ in HEATMAPS]
    require_columns(points, "threshold", "min_lesion_voxels", "near_best", *columns)
    tables = points.pivot(index="threshold", columns="min_lesion_voxels")
    thresholds, sizes = tables["dsc"].index, tables["dsc"].columns
    for pair in (choice, stable):
        if pair.threshold not in thresholds or pair.min_lesion_voxels not in sizes:
            raise ValueError(f"{pair} is not in the grid of {[*thresholds]} and {[*sizes]}")
    places = [(sizes.get_loc(pair.min_lesion_voxels), thresholds.get_loc(pair.threshold)) for pair in (choice, stable)]
    fig, axes = panels(2, 2, 10, 8)
    for ax, (name, heading, digits, cmap) in zip(axes.flat, HEATMAPS, strict=True):
        shown = tables[name] * (100 if name.startswith("chosen") else 1)
        style = {"annot": True, "fmt": digits, "annot_kws": {"fontsize": 8}, "cmap": cmap}
        sns.heatmap(shown, ax=ax, cbar_kws={"label": heading, "aspect": 20}, **style)
        for place, color, line in ((places[0], RED, "-"), (places[1], PINK, "--")):
            ax.add_patch(Rectangle(place, 1, 1, fill=False, edgecolor=color, lw=2.5, ls=line, clip_on=False))
        ax.tick_params(length=0, rotation=0)
        ax.set(xlabel="$S_{min}$ (voxels)", ylabel="threshold $T$")
    for text, near in zip(axes[0, 0].texts, tables["near_best"].to_numpy().flat, strict=True):
        text.set_fontweight("bold" if near else "normal")
    fig.suptitle(title)
    red, dashed = (f"T = {pair.threshold:g}, Smin = {pair.min_lesion_voxels}" for pair in (choice, stable))
    bold = "bold: within a point of DSC of the best"
    return finish(fig, label, f"red: {red}; dashed, by its neighborhood: {dashed}; {bold}")


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
    ax.set(ylabel=METRICS[metric].axis, ylim=(-0.02, 1.02) if METRICS[metric].unit == "%" else (0, None))


@styled
def by_group(frame, column: str, label: str, metrics=("dsc", "hd_mm")):
    """Draw metrics within groups of scans that are not empty, variant beside variant, their number of scans below.

    Parameters
    ----------
    frame : a row a (variant, scan), columns variant, case, the metrics and `column`, a categorical
        such as agreement.volume_groups makes
    """
    variants = variants_of(frame)
    require_columns(frame, "case", column, *metrics)
    groups = [group for group in frame[column].cat.categories if (frame[column] == group).any()]
    fig, axes = panels(len(metrics), 1, 9, 2.9 * len(metrics) + 0.7)
    for ax, metric in zip(axes[:, 0], metrics, strict=True):
        ticks, lacking = [], False
        for place, group in enumerate(groups):
            scans = frame[frame[column] == group]
            for v, variant in enumerate(variants):
                values = scans.loc[scans["variant"] == variant, metric].to_numpy(float)
                middle = place + 0.8 * ((v + 0.5) / len(variants) - 0.5)
                left_out = _box(ax, middle, values, COLORS[variant], 0.66 / len(variants))
                lacking |= left_out > 0
                below = {"transform": ax.get_xaxis_transform(), "ha": "center", "va": "top", "fontsize": 7}
                ax.text(middle, -0.015, f"{left_out}" if left_out else "", color=COLORS[variant], **below)
            ticks.append(f"{group}\nn = {scans['case'].nunique()}")
        if lacking:
            ax.tick_params(axis="x", pad=12)
        ax.set_xticks(range(len(groups)), ticks)
        ax.set_xlim(-0.5, len(groups) - 0.5)
        for edge in range(1, len(groups)):
            ax.axvline(edge - 0.5, color="0.85", linewidth=0.8)
        _scored(ax, metric)
    axes[-1, 0].set_xlabel(GROUPS.get(column, column))
    handles = [Patch(facecolor=(*to_rgb(COLORS[v]), 0.35), edgecolor=COLORS[v], label=NAMES[v]) for v in variants]
    in_a_row = len(variants) if len(variants) <= 5 else -(-len(variants) // 2)
    fig.legend(handles=handles, loc="outside upper center", ncols=in_a_row)
    defined = np.isfinite(frame[[*metrics]].to_numpy(float)).all()
    undefined = "" if defined else "; under a box: in how many of them its metric is undefined"
    return finish(fig, label, f"n: scans{undefined}")


@styled
def metric_boxes(frame, label: str):
    """Draw each metric's distribution over the scans, variant beside variant.

    Parameters
    ----------
    frame : a row a (variant, scan), columns variant and each of COMPARED

    Values that are not finite (HD of an empty mask, PPV of an empty prediction) cannot be drawn:
    their number is written below.
    """
    variants = variants_of(frame)
    require_columns(frame, *COMPARED)
    rows = -(-len(COMPARED) // 2)
    narrow = len(variants) > 5
    fig, axes = panels(rows, 2, 10 if narrow else 9, 3.4 * rows)
    for ax in axes.flat[len(COMPARED) :]:
        ax.set_visible(False)
    for ax, metric in zip(axes.flat, COMPARED, strict=False):
        ticks = []
        for place, variant in enumerate(variants):
            values = frame.loc[frame["variant"] == variant, metric].to_numpy(float)
            left_out = _box(ax, place, values, COLORS[variant])
            words = NAMES[variant].replace(" + ", "\n+ ").replace(" and ", "\nand ")
            words = "\n".join(textwrap.fill(line, 11 if narrow else 14) for line in words.splitlines())
            ticks.append(f"{words}\nundefined:\n{left_out}" if left_out else words)
        ax.set_xticks(range(len(variants)), ticks, fontsize="x-small")
        _scored(ax, metric)
    return finish(fig, label)


@styled
def volumes(frame, r2, label: str):
    """Draw predicted against true lesion volume, a panel a variant.

    Parameters
    ----------
    frame : a row a (variant, scan), columns variant, volume_ml, truth_volume_ml
    r2 : dict of variant to (R2 of the fitted line, R2 about the identity line)
    """
    variants = variants_of(frame)
    require_columns(frame, "volume_ml", "truth_volume_ml")
    width = min(10, 2.6 * len(variants) + 0.6)
    height = width / len(variants) + 1
    fig, axes = panels(1, len(variants), width, height, share_x=True, share_y=True)
    largest = 1.05 * frame[["volume_ml", "truth_volume_ml"]].to_numpy().max()
    for ax, variant in zip(axes[0], variants, strict=True):
        own = frame[frame["variant"] == variant]
        ax.plot([0, largest], [0, largest], color="0.6", linewidth=1)
        ax.scatter(own["truth_volume_ml"], own["volume_ml"], s=14, color=COLORS[variant], alpha=0.8)
        fitted, identity = r2[variant]
        numbers = f"$R^2$ = {fitted:.2f}\nabout identity {identity:.2f}"
        ax.set_title(f"{NAMES[variant]}\n{numbers}", fontsize=8)
        ax.set(xlim=(0, largest), ylim=(0, largest), aspect="equal", xlabel="true volume (mL)")
    axes[0, 0].set_ylabel("predicted volume (mL)")
    return finish(fig, label)


@styled
def bland_altman(frame, agreement, label: str):
    """Draw the difference of predicted and true lesion volume against their mean, a panel a variant.

    Parameters
    ----------
    frame : a row a (variant, scan), columns variant, and mean_ml and difference_ml of agreement.volume_differences
    agreement : dict of variant to what agreement.bland_altman finds

    Volumes are on a logarithmic axis that is linear from 0 to 1 mL, so that an empty prediction of a small lesion has
    its place; differences are not, since their limits are numbers of mL.
    """
    variants = variants_of(frame)
    require_columns(frame, "mean_ml", "difference_ml")
    fig, axes = panels(1, len(variants), min(10, 1.9 * len(variants) + 2.4), 3.9, share_x=True, share_y=True)
    for ax, variant in zip(axes[0], variants, strict=True):
        own, found = frame[frame["variant"] == variant], agreement[variant]
        ax.axhline(0, color="0.6", linewidth=1, linestyle=":")
        ax.scatter(own["mean_ml"], own["difference_ml"], s=12, color=COLORS[variant], alpha=0.8)
        for name, style in (("lower", "--"), ("bias", "-"), ("upper", "--")):
            ax.axhspan(found[f"{name}_low_ml"], found[f"{name}_high_ml"], color="0.85", zorder=0)
            ax.axhline(found[f"{name}_ml"], color="0.2", linestyle=style, linewidth=1)
        numbers = f"bias {found['bias_ml']:.1f} mL\nlimits {found['lower_ml']:.0f} to {found['upper_ml']:.0f} mL"
        ax.set_title(f"{two_lines(NAMES[variant])}\n{minus(numbers)}", fontsize=8)
        ax.set_xlabel("mean of both (mL),\nlinear below 1")
    axes[0, 0].set_xscale("symlog", linthresh=1)
    axes[0, 0].set_xlim(-0.1, 1.3 * frame["mean_ml"].max())
    axes[0, 0].xaxis.set_major_formatter("{x:g}")
    axes[0, 0].set_ylabel("predicted − true (mL)")
    return finish(fig, label, "dashed: limits of agreement; gray: 95 % by patient")


def reliability(curves, errors, label: str):
    """Draw how often lesion was there against how probable it was called, and how the voxels spread over the bins.

    Parameters
    ----------
    curves : dict of variant to a frame of agreement.reliability
    errors : dict of variant to its expected calibration error, 0 to 1
    """
    styles = dict(zip(curves, itertools.cycle(("-", "--", ":")), strict=False))
    looks = {NAMES[variant]: {"color": COLORS[variant], "linestyle": styles[variant]} for variant in curves}
    named, errors = ({NAMES[variant]: of[variant] for variant in curves} for of in (curves, errors))
    return diagram(named, errors, looks, label)


@styled
def leaderboard(table, label: str):
    """Draw mean DSC by rank, as Table 2, and our own run in a panel of its own: other scans make another scale.

    Parameters
    ----------
    table : frame of submission.table2: a row an entry, best first, columns rank, user, reference
        ("ours" for the paper's entry, in bold), n, dsc_mean, dsc_sd, dsc_low, dsc_high, source ("this run" for our own)
    label : names the scans of our own run
    """
    require_columns(table, "rank", "user", "reference", "n", "dsc_mean", "dsc_sd", "dsc_low", "dsc_high", "source")
    own = table["source"] == "this run"
    parts = [(table[~own], BLUE, "ISLES 2018, {} testing scans, as the paper prints them")]
    if own.any():
        parts.append((table[own], RED, f"another data set, not to be compared with it: {label}, {{}} testing scans"))
    heights = [len(part) + 1.2 for part, _, _ in parts]
    fig = plt.figure(figsize=(7.5, 1 + 0.3 * sum(heights)), layout="constrained")
    axes = np.ravel(fig.subplots(len(parts), 1, height_ratios=heights, squeeze=False))
    for ax, (part, color, title) in zip(axes, parts, strict=True):
        for place, row in enumerate(part.itertuples()):
            low, high = row.dsc_mean - row.dsc_sd, row.dsc_mean + row.dsc_sd
            ax.plot([low, high], [place, place], color=color, linewidth=1, alpha=0.6)
            ax.plot([row.dsc_low, row.dsc_high], [place, place], color=color, linewidth=4, solid_capstyle="butt")
            ax.plot(row.dsc_mean, place, "o", color=color, markerfacecolor="white", markersize=5)
            ax.text(1.02, place, mean_sd(row.dsc_mean, row.dsc_sd, 2), va="center", fontsize=8, color=color)
        ranks = [NONE if pd.isna(rank) else f"{rank:.0f}" for rank in part["rank"]]
        ax.set_yticks(range(len(part)), [f"{rank}  {user}" for rank, user in zip(ranks, part["user"], strict=True)])
        for text, bold in zip(ax.get_yticklabels(), part["reference"] == "ours", strict=True):
            text.set_fontweight("bold" if bold else "normal")
        ax.set_title(title.format(part["n"].iloc[0]), loc="left")
        ax.set(xlim=(0, 1), ylim=(len(part) - 0.4, -0.6))
    axes[-1].set_xlabel("DSC: mean, its 95 % interval (thick), SD over the testing scans (thin)")
    whence = "ISLES 2018 as published" + (f"; this run: {label}" if own.any() else "")
    return finish(fig, whence, "Table 2; bold: Clèrigues et al.")
