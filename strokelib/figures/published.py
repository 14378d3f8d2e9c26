"""What published numbers can tell: their intervals, differences that scans could show, undefined HD, first places."""

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.ticker import MaxNLocator

from strokelib.figures.style import finish, panels, styled
from strokelib.run.checks import require_columns
from strokelib.vocabulary import BLUE, BROWN, GRAY, GREEN, ORANGE, PURPLE, RED

GROUPED = {  # what a result says of patients with several scans: words for the legend, color
    "hidden test": ("hidden testing scans", BLUE),
    "patient": ("folds by patient", GREEN),
    "scan": ("folds by scan", RED),
    "not stated": ("grouping not stated", ORANGE),
    "nothing trained": ("a rule, nothing trained", GRAY),
    "this run": ("ours", PURPLE),
}
LEVELS = (BLUE, ORANGE, GREEN, PURPLE, BROWN)  # of correlations, from the least


@styled
def results(table, label: str):
    """Draw each published mean DSC with its 95 % interval; open where there is no SD; our own rows apart.

    Parameters
    ----------
    table : frame in the order from top to bottom: name, mean, low, high (NaN where unknown), grouped_by (see GROUPED)

    Raises
    ------
    ValueError : a missing column, or a grouping that has no color.
    """
    require_columns(table, "name", "mean", "low", "high", "grouped_by")
    there = dict.fromkeys(table["grouped_by"])
    if unknown := there.keys() - GROUPED.keys():
        raise ValueError(f"unknown grouping {', '.join(sorted(map(str, unknown)))}; known are {', '.join(GROUPED)}")
    own = table["grouped_by"] == "this run"
    parts = [(table[~own], "as published"), (table[own], "our own rows, comparable only where the scans are the same")]
    parts = [(part, title) for part, title in parts if len(part)]
    heights = [len(part) + 1.4 for part, _ in parts]
    fig = plt.figure(figsize=(9, 1 + 0.24 * sum(heights)), layout="constrained")
    axes = np.ravel(fig.subplots(len(parts), 1, height_ratios=heights, squeeze=False))
    for ax, (part, title) in zip(axes, parts, strict=True):
        for place, row in enumerate(part.itertuples()):
            color, known = GROUPED[row.grouped_by][1], np.isfinite(row.low)
            if known:
                ax.plot([row.low, row.high], [place, place], color=color, linewidth=3, alpha=0.6)
            ax.plot(row.mean, place, "o", color=color, mfc=color if known else "white", ms=5)
        ax.set_yticks(range(len(part)), part["name"])
        ax.set(xlim=(0, 1), ylim=(len(part) - 0.4, -0.6))
        ax.set_title(title, loc="left")
        ax.grid(axis="x", color="0.9", linewidth=0.8)
        ax.set_axisbelow(True)
    axes[-1].set_xlabel("mean DSC and its 95 % interval")
    handles = [mpl.lines.Line2D([], [], marker="o", ls="", color=GROUPED[name][1], label=GROUPED[name][0])
               for name in there]
    fig.legend(handles=handles, loc="outside upper center", ncols=3)
    return finish(fig, label, "open: no SD or number of scans at hand, so no interval")


@styled
def least_difference(lines, own, printed, label: str):
    """Draw the least difference that a paired test sees against the correlation between two entries.

    Parameters
    ----------
    lines : frame: comparisons (made at once), correlation, difference (of means)
    own : frame: name, correlation; of pairs of our own rows, marked on the axis
    printed : dict, words to a difference that Table 2 prints

    Raises
    ------
    ValueError : a missing column.
    """
    require_columns(lines, "comparisons", "correlation", "difference")
    require_columns(own, "name", "correlation")
    fig, axes = panels(1, 1, 9, 4.6)
    ax = axes[0, 0]
    for color, (count, line) in zip(LEVELS, lines.groupby("comparisons"), strict=False):
        words = "one comparison" if count == 1 else f"{count} comparisons at once"
        ax.plot(line["correlation"], line["difference"], color=color, label=words)
    for words, difference in printed.items():
        ax.axhline(difference, color="0.6", linewidth=1, ls="--", zorder=0)
        ax.text(0.01, difference, words, va="bottom", fontsize=8, color="0.35")
    top = lines["difference"].max() * 1.05
    for place, row in enumerate(own.dropna(subset=["correlation"]).sort_values("correlation").itertuples()):
        ax.axvline(row.correlation, color=RED, linewidth=1, alpha=0.5, zorder=0)
        words = f"{row.name}, r = {row.correlation:.2f}"
        ax.text(row.correlation - 0.004, top * (0.99 - 0.075 * place), words, ha="right", va="top", fontsize=8,
                color=RED, bbox={"facecolor": "white", "edgecolor": "none", "pad": 1})
    ax.set(xlim=(0, 1), ylim=(0, top), xlabel="correlation of two entries' DSC, scan by scan",
           ylabel="least difference in mean DSC\nthat a paired t-test sees")
    fig.legend(loc="outside upper center", ncols=3)
    return finish(fig, label, "red: pairs of our own rows; dashed: differences that Table 2 prints")


@styled
def undefined(table, n: int, label: str):
    """Draw how many of n scans of each entry have no Hausdorff distance, with the interval of the share.

    Parameters
    ----------
    table : frame of published.decode_hausdorff: user, undefined, low, high, p_first
    """
    require_columns(table, "user", "undefined", "low", "high", "p_first")
    fig, axes = panels(1, 1, 8, 1.1 + 0.28 * len(table))
    ax = axes[0, 0]
    for place, row in enumerate(table.itertuples()):
        ax.plot([n * row.low, n * row.high], [place, place], color=BLUE, linewidth=3, alpha=0.5, solid_capstyle="butt")
        ax.plot(row.undefined, place, "o", color=BLUE, ms=5)
    ax.set_yticks(range(len(table)), table["user"])
    beside = ax.secondary_yaxis("right")
    words = ["" if p == 1 else f"p ≥ {p:.3f}" for p in table["p_first"]]
    beside.set_yticks(range(len(table)), words)
    beside.spines[:].set_visible(False)
    beside.tick_params(length=0)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set(xlim=(0, None), ylim=(len(table) - 0.4, -0.6), xlabel=f"scans (of {n}) without a Hausdorff distance")
    note = "smallest possible McNemar p against the entry with the fewest; blank: 1"
    return finish(fig, label, f"bar: 95 % interval; right: {note}")


@styled
def places(table, drawn, printed: float, label: str):
    """Draw in what share of the resamples each entry comes first, and how far equal entries would lie apart.

    Parameters
    ----------
    table : frame: user, correlation, first (share of the resamples), a row an entry and correlation
    drawn : dict, correlation to the drawn leads of the first over the last, where all are equal
    printed : that lead as printed

    Raises
    ------
    ValueError : a missing column.
    """
    require_columns(table, "user", "correlation", "first")
    fig, axes = panels(1, 2, 10, 4.4)
    users, levels = list(dict.fromkeys(table["user"])), sorted(drawn)
    height = 0.8 / len(levels)
    for place, (level, color) in enumerate(zip(levels, LEVELS, strict=False)):
        own = table[table["correlation"] == level].set_index("user").loc[users, "first"] * 100
        axes[0, 0].barh(np.arange(len(users)) + (place - (len(levels) - 1) / 2) * height, own, height, color=color,
                        label=f"correlation r = {level:.2f}")
        spread = pd.Series(np.sort(drawn[level]))
        axes[0, 1].plot(spread, np.linspace(0, 100, len(spread)), color=color)
    axes[0, 0].set_yticks(range(len(users)), users)
    axes[0, 0].set(ylim=(len(users) - 0.5, -0.5), xlim=(0, 100), xlabel="first in % of the resamples",
                   title="if the printed means are the true ones")
    axes[0, 1].axvline(printed, color="0.3", linewidth=1, ls="--", label="as printed")
    axes[0, 1].set(xlim=(0, None), ylim=(0, 100), xlabel="lead of the first over the last in mean DSC",
                   ylabel="% of the draws with a lead up to this", title="if all are equally good")
    fig.legend(loc="outside upper center", ncols=len(levels) + 1)
    return finish(fig, label, "simulated entries with the means and SDs of Table 2")
