"""Differences between variants: paired tests, the paper's claims, seeds, and one thing changed at a time."""

import itertools

import numpy as np
from matplotlib.ticker import MaxNLocator

from strokelib.evaluation.tables import claim, difference, p_text, step
from strokelib.figures.style import finish, minus, panels, styled
from strokelib.run.checks import require_columns
from strokelib.vocabulary import BLUE, COLORS, COMPARED, METRICS, NAMES, OPTIMIZED, VERDICTS, changed


def _forest(axes, rows, metric: str) -> None:
    """Draw a metric's mean differences with their intervals, one below the other, in the metric's unit."""
    scale = METRICS[metric].scale
    axes.axvline(0, color="0.6", linewidth=1)
    for place, row in rows:
        axes.plot([scale * row.low, scale * row.high], [place, place], color=BLUE)
        filling = BLUE if row.p_holm < 0.05 else "white"
        axes.plot(scale * row.mean_difference, place, "o", color=BLUE, markerfacecolor=filling, markersize=5)
    axes.set_xlabel(METRICS[metric].difference.replace(" (", "\n("))
    axes.xaxis.set_major_locator(MaxNLocator(4))


@styled
def paired_differences(tests, label: str):
    """Draw the mean difference of each pair of variants, with its 95 % interval, metric by metric.

    Parameters
    ----------
    tests : frame of stats.paired_tests, of one unit: a row a (pair, metric), columns pair, new, old, metric,
        mean_difference, low, high, p_holm
    """
    require_columns(tests, "pair", "new", "old", "metric", "mean_difference", "low", "high", "p_holm")
    metrics = [name for name in COMPARED if name in set(tests["metric"])]
    pairs = tests.drop_duplicates("pair")
    places = {pair: place for place, pair in enumerate(pairs["pair"])}
    width, height = min(10, 2.1 * len(metrics) + 1.6), 1.5 + 0.5 * len(pairs)
    fig, axes = panels(1, len(metrics), width, height, share_y=True)
    for ax, metric in zip(axes[0], metrics, strict=True):
        rows = [(places[row.pair], row) for row in tests[tests["metric"] == metric].itertuples()]
        _forest(ax, rows, metric)
        for place, row in rows:
            middle = METRICS[metric].scale * row.mean_difference
            words = ax.text(middle, place - 0.17, p_text(row.p_holm), ha="center", va="bottom", fontsize=7)
            words.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 0.5})  # over the line at 0
        ax.set_ylim(len(pairs) - 0.5, -0.7)
        ax.margins(x=0.15)
    axes[0, 0].set_yticks(range(len(pairs)), [step(row).replace(" − ", "\n− ") for row in pairs.itertuples()])
    return finish(fig, label, "95 % bootstrap intervals; filled: p < 0.05 after Holm")


@styled
def changes(tests, label: str):
    """Draw what each change of notebook 09 makes of each metric, by kind of change.

    Parameters
    ----------
    tests : frame of stats.paired_tests, a row a (change, metric), columns new (the change's name), metric,
        mean_difference, low, high, p_holm
    """
    require_columns(tests, "new", "metric", "mean_difference", "low", "high", "p_holm")
    metrics = [name for name in COMPARED if name in set(tests["metric"])]
    kinds = {}
    for name in dict.fromkeys(tests["new"]):
        heading, words = changed(name)
        kinds.setdefault(heading, []).append((name, words))
    lines = [line for heading, rows in kinds.items() for line in ((None, heading), *rows)]
    places = {name: place for place, (name, _) in enumerate(lines)}
    fig, axes = panels(1, len(metrics), 10, 1 + 0.25 * len(lines), share_y=True)
    for ax, metric in zip(axes[0], metrics, strict=True):
        _forest(ax, [(places[row.new], row) for row in tests[tests["metric"] == metric].itertuples()], metric)
        ax.tick_params(left=False)
        for place, (name, _) in enumerate(lines):
            if name is None:
                ax.axhspan(place - 0.5, place + 0.5, color="0.94", zorder=0)
        ax.set_ylim(len(lines) - 0.5, -0.5)
    axes[0, 0].set_yticks(range(len(lines)), [words for _, words in lines])
    for text, (name, _) in zip(axes[0, 0].get_yticklabels(), lines, strict=True):
        text.set_fontweight("bold" if name is None else "normal")
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
    scans = table[table["unit"] == "scan"]
    rows = [(row.new, row.old, row.metric) for row in scans.itertuples()]
    fig, axes = panels(1, 1, 10, 1.6 + 0.42 * len(rows))
    ax = axes[0, 0]
    ax.axvline(0, color="0.6", linewidth=1, zorder=0)
    for row in table.itertuples():
        place = rows.index((row.new, row.old, row.metric)) + (0.15 if row.unit == "patient" else -0.15)
        sign, color = 1 if row.paper_direction == "up" else -1, VERDICTS[row.verdict]
        ax.plot([sign * row.d_z_low, sign * row.d_z_high], [place, place], color=color, linewidth=1.5)
        marker, filling = ("s", "white") if row.unit == "patient" else ("o", color)
        ax.plot(sign * row.d_z, place, marker, color=color, mfc=filling, ms=5)
    ax.set_yticks(range(len(rows)), [claim(row) for row in scans.itertuples()])
    ax.set(ylim=(len(rows) - 0.5, -0.6), xlabel="effect size $d_z$; positive: as the paper says")
    beside = ax.secondary_yaxis("right")
    notes = [f"{difference(r.mean_difference, r.metric)}, {p_text(r.p)}: {r.verdict}" for r in scans.itertuples()]
    beside.set_yticks(range(len(rows)), [minus(note) for note in notes])
    beside.spines[:].set_visible(False)
    beside.tick_params(length=0, labelsize=8)
    for verdict, color in VERDICTS.items():
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
    scale = METRICS[metric].scale
    values, spread = values[values["metric"] == metric], spread[spread["metric"] == metric]
    means, differences = (spread[spread["kind"] == kind] for kind in ("variant", "difference"))
    markers = dict(zip(sorted(values["seed"].unique()), itertools.cycle("os^Dv<>"), strict=False))
    fig, axes = panels(1, 2, 10, 1.8 + 0.5 * max(len(means), len(differences)))
    for ax, rows in zip(axes[0], (means, differences), strict=True):
        for place, row in enumerate(rows.itertuples()):
            color = COLORS.get(row.name, BLUE)
            if row.kind == "difference":
                ax.plot([scale * row.low, scale * row.high], [place, place], color="0.75", lw=5, solid_capstyle="butt")
            ax.plot([scale * row.mean] * 2, [place - 0.28, place + 0.28], color="black", linewidth=1.5)
            text = "one seed" if np.isnan(row.sd) else f"SD {scale * row.sd:.1f}"
            ax.text(scale * row.mean, place - 0.3, text, ha="center", va="bottom", fontsize=7)
            for point in values[values["name"] == row.name].itertuples():
                ax.plot(scale * point.value, place, markers[point.seed], color=color, ms=5, mfc="none", mew=1.3)
        words = ["\n− ".join(NAMES.get(part, part) for part in name.split(" over ")) for name in rows["name"]]
        ax.set_yticks(range(len(rows)), words)
        ax.set_ylim(len(rows) - 0.4, -0.75)
        ax.margins(x=0.1)
    axes[0, 1].axvline(0, color="0.6", linewidth=1, zorder=0)
    axes[0, 0].set_xlabel(f"mean {METRICS[metric].column}")
    axes[0, 1].set_xlabel(METRICS[metric].difference.replace("in ", "in mean "))
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
    fig, axes = panels(len(OPTIMIZED), len(tests), min(10, 2.9 * len(tests) + 1.4), 4.6, "col", "row")
    for column, (name, frame) in zip(axes.T, tests.items(), strict=True):
        for ax, metric in zip(column, OPTIMIZED, strict=True):
            ax.axhline(0, color="0.6", linewidth=1)
            for row in frame[frame["metric"] == metric].itertuples():
                low, middle, high = (METRICS[metric].scale * x for x in (row.low, row.mean_difference, row.high))
                ax.plot([row.value, row.value], [low, high], color=BLUE, linewidth=1.5)
                filling = "white" if row.reference else BLUE
                ax.plot(row.value, middle, "o", color=BLUE, markerfacecolor=filling, markersize=5)
            values = sorted(frame["value"].unique())
            ax.set_xticks(values, [f"{value:g}" for value in values])
            ax.margins(x=0.08)
        column[-1].set_xlabel(name)
    for ax, metric in zip(axes[:, 0], OPTIMIZED, strict=True):
        ax.set_ylabel(METRICS[metric].difference.replace(" (", "\n("))
    return finish(fig, label, "open: the reference; bars: 95 % bootstrap intervals")
