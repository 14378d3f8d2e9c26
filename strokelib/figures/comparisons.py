"""Differences between variants: paired tests, the paper's claims, seeds, and one thing changed at a time."""

import itertools

import numpy as np
from matplotlib.ticker import MaxNLocator

from strokelib.figures.style import finish, panels, styled
from strokelib.stats import p_text, require_columns
from strokelib.vocabulary import BLUE, COLORS, COMPARED, GRAY, GREEN, METHODS, METRICS, NAMES, RED


@styled
def paired_differences(tests, label: str):
    """Draw the mean difference of each pair of variants, with its 95 % interval, metric by metric.

    Parameters
    ----------
    tests : a row a (pair, metric), columns pair, metric, mean_difference, low, high, p_holm
    """
    require_columns(tests, "pair", "metric", "mean_difference", "low", "high", "p_holm")
    metrics = [name for name in COMPARED if name in set(tests["metric"])]
    pairs = list(dict.fromkeys(tests["pair"]))
    width, height = min(10, 2.1 * len(metrics) + 1.6), 1.5 + 0.5 * len(pairs)
    fig, axes = panels(1, len(metrics), width, height, share_y=True)
    for ax, metric in zip(axes[0], metrics, strict=True):
        ax.axvline(0, color="0.6", linewidth=1)
        for row in tests[tests["metric"] == metric].itertuples():
            place, middle = pairs.index(row.pair), row.mean_difference
            ax.plot([row.low, row.high], [place, place], color=BLUE)
            filling = BLUE if row.p_holm < 0.05 else "white"
            ax.plot(middle, place, "o", color=BLUE, markerfacecolor=filling)
            ax.text(middle, place - 0.17, p_text(row.p_holm), ha="center", va="bottom", fontsize=7)
        ax.set(xlabel=f"difference in {METRICS[metric].axis}", ylim=(len(pairs) - 0.5, -0.7))
        ax.margins(x=0.15)
        ax.xaxis.set_major_locator(MaxNLocator(4))
    axes[0, 0].set_yticks(range(len(pairs)), [str(pair) for pair in pairs])
    return finish(fig, label, "95 % bootstrap intervals; filled: p < 0.05 after Holm")


@styled
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
    fig, axes = panels(1, 1, 10, 1.6 + 0.42 * len(rows))
    ax = axes[0, 0]
    ax.axvline(0, color="0.6", linewidth=1, zorder=0)
    for row in table.itertuples():
        place = rows.index((row.new, row.old, row.metric)) + (0.15 if row.unit == "patient" else -0.15)
        sign, color = 1 if row.paper_direction == "up" else -1, colors[row.verdict]
        ax.plot([sign * row.d_z_low, sign * row.d_z_high], [place, place], color=color, linewidth=1.5)
        marker, filling = ("s", "white") if row.unit == "patient" else ("o", color)
        ax.plot(sign * row.d_z, place, marker, color=color, mfc=filling, ms=5)
    words, notes = [], []
    for row in scans.itertuples():
        metric, points = METRICS[row.metric].name, not row.metric.startswith("hd")
        words.append(f"{METHODS[row.new].short} − {METHODS[row.old].short}: {metric} {row.paper_direction}")
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
    return finish(fig, label, "95 % bootstrap intervals; text and circles: scans as the unit")


@styled
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
    fig, axes = panels(1, 2, 10, 1.8 + 0.5 * max(len(means), len(differences)))
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
    axes[0, 0].set_xlabel(f"mean {METRICS[metric].axis}")
    axes[0, 1].set_xlabel(f"difference in mean {METRICS[metric].axis}")
    for seed, marker in markers.items():
        axes[0, 0].plot([], [], marker, color="0.3", ms=5, mfc="none", mew=1.3, label=f"seed {seed}")
    fig.legend(loc="outside upper center", ncols=8)
    return finish(fig, label, "line: mean of the seeds; gray: its 95 % interval")


@styled
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
    fig, axes = panels(len(metrics), len(tests), min(10, 2.9 * len(tests) + 1.4), 4.6, "col", "row")
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
        ax.set_ylabel(f"difference in {METRICS[metric].axis}")
    return finish(fig, label, "open: the reference; bars: 95 % bootstrap intervals")
