"""Differences between variants: paired tests, the paper's claims, seeds, and one thing changed at a time."""

import itertools

import numpy as np
from matplotlib.ticker import MaxNLocator

from strokelib.evaluation.tables import claim, difference, p_text, p_value, step
from strokelib.figures.style import finish, interval, minus, panels, styled
from strokelib.run.checks import require_columns
from strokelib.vocabulary import BLUE, COLORS, COMPARED, GRAY, METRICS, NAMES, OPTIMIZED, VERDICTS, changed

# Where the tests of one claim or step stand around its line, and how large their marks are.
OFFSETS = {("nested", "scan"): -0.27, ("nested", "patient"): -0.09, ("all folds", "scan"): 0.11}
OFFSETS[("all folds", "patient")] = 0.27
SIZES = {"nested": 5.5, "all folds": 3.5}
VOXELS = "HD in voxels, as in the paper's Table 1"


def _forest(axes, rows, metric: str, color: str = BLUE, size: float = 5) -> None:
    """Draw a metric's mean differences with their intervals, one below the other, in the metric's unit."""
    scale = METRICS[metric].scale
    axes.axvline(0, color="0.6", linewidth=1, zorder=0)
    for place, row in rows:
        values = (scale * row.low, scale * row.mean_difference, scale * row.high)
        interval(axes, place, values, color, row.p_holm < 0.05, size)
    axes.set_xlabel(METRICS[metric].difference.replace(" (", "\n("))
    axes.xaxis.set_major_locator(MaxNLocator(4))


@styled
def paired_differences(tests, label: str):
    """Draw the mean difference of each pair of variants, with its 95 % interval, metric by metric.

    Parameters
    ----------
    tests : frame of stats.paired_tests by scan, of both choices: a row a (choice, pair, metric), columns choice,
        pair, new, old, metric, mean_difference, low, high, p_holm, p_wilcoxon_holm
    """
    require_columns(tests, "choice", "pair", "new", "old", "metric", "mean_difference", "low", "high", "p_holm")
    require_columns(tests, "p_wilcoxon_holm")
    metrics = [name for name in COMPARED if name in set(tests["metric"])]
    pairs = tests.drop_duplicates("pair")
    places = {pair: place for place, pair in enumerate(pairs["pair"])}
    width, height = min(10, 2.1 * len(metrics) + 1.6), 1.8 + 0.65 * len(pairs)
    fig, axes = panels(1, len(metrics), width, height, share_y=True)
    for ax, metric in zip(axes[0], metrics, strict=True):
        own = tests[tests["metric"] == metric]
        for choice, color, off in (("all folds", GRAY, 0.22), ("nested", BLUE, 0)):
            rows = [(places[row.pair] + off, row) for row in own[own["choice"] == choice].itertuples()]
            _forest(ax, rows, metric, color, SIZES[choice])
        for place, row in rows:
            middle, told = METRICS[metric].scale * row.mean_difference, p_text(row.p_holm)
            if told[-1].isdigit():
                told += f" (W {p_value(row.p_wilcoxon_holm)})"
            words = ax.text(middle, place - 0.17, told, ha="center", va="bottom", fontsize=7)
            words.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 0.5})  # over the line at 0
        ax.set_ylim(len(pairs) - 0.5, -0.7)
        ax.margins(x=0.25)
    axes[0, 0].set_yticks(range(len(pairs)), [step(row).replace(" − ", "\n− ") for row in pairs.itertuples()])
    for choice, color, words in (
        ("nested", BLUE, "pairs chosen on the other folds"),
        ("all folds", GRAY, "on all folds, as in the paper"),
    ):
        axes[0, 0].plot([], [], "o", color=color, markersize=SIZES[choice], label=words)
    fig.legend(loc="outside upper center", ncols=2)
    return finish(fig, label, "95 % intervals by scan; p after Holm, by t-test (W: Wilcoxon); filled: p < 0.05")


@styled
def changes(tests, label: str):
    """Draw what each change of notebook 09 makes of each metric, by kind of change.

    Parameters
    ----------
    tests : frame of stats.paired_tests by patient, a row a (change, metric), columns new (the change's name), metric,
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
    return finish(fig, label, "change − reference; 95 % bootstrap intervals by patient; filled: p < 0.05 after Holm")


@styled
def claims(table, label: str):
    """Draw what became of each of the paper's claims: its effect size here, positive where the paper's sign is ours.

    Parameters
    ----------
    table : frame of stats.claims_table, of both choices and one unit or both: columns choice, unit, new, old, metric,
        mean_difference, d_z, d_z_low, d_z_high, d_z_margin, share, p, p_wilcoxon, paper_direction and verdict
    """
    require_columns(table, "choice", "unit", "new", "old", "metric", "mean_difference", "d_z", "d_z_low", "d_z_high")
    require_columns(table, "d_z_margin", "share", "p", "p_wilcoxon", "paper_direction", "verdict")
    nested = table[(table["unit"] == "scan") & (table["choice"] == "nested")]
    places = {(row.new, row.old, row.metric): place for place, row in enumerate(nested.itertuples())}
    fig, axes = panels(1, 1, 10, 2 + 0.62 * len(places))
    ax = axes[0, 0]
    ax.axvline(0, color="0.6", linewidth=1, zorder=0)
    for row in table.itertuples():
        place = places[row.new, row.old, row.metric] + OFFSETS[row.choice, row.unit]
        sign, color, size = 1 if row.paper_direction == "up" else -1, VERDICTS[row.verdict], SIZES[row.choice]
        ax.plot([sign * row.d_z_low, sign * row.d_z_high], [place, place], color=color, linewidth=0.3 * size)
        marker, filling = "s" if row.unit == "patient" else "o", color if row.choice == "nested" else "white"
        ax.plot(sign * row.d_z, place, marker, color=color, mfc=filling, ms=size)
    left, right = ax.get_xlim()
    for place, row in enumerate(nested.itertuples()):
        there = abs(row.d_z_margin)  # it lies on the paper's side
        mark = ("|", there) if not there > right else (">", right)  # where differences hardly scatter, far off
        ax.plot(mark[1], place - 0.27, mark[0], color="black", ms=10 if mark[0] == "|" else 4, clip_on=False)
    ax.set_xlim(left, right)
    _lines_of_claims(ax, nested)
    for marker, size, filling, words in (
        ("o", 5.5, "0.3", "scans as the unit"),
        ("s", 5.5, "0.3", "patients"),
        ("o", 3.5, "white", "pairs chosen on all folds, as in the paper"),
    ):
        ax.plot([], [], marker, color="0.3", mfc=filling, ms=size, label=words)
    share = f"{100 * table['share'].iloc[0]:g} % of the paper's difference (▸: beyond)"
    ax.plot([], [], "|", color="black", ms=10, label=share)
    fig.legend(loc="outside upper center", ncols=4)
    note = f"95 % intervals of $d_z$ (noncentral t); text: scans, pairs chosen on the other folds; {VOXELS}"
    return finish(fig, label, note)


def _lines_of_claims(ax, rows) -> None:
    """Name the claims at the left, a line each, write what became of them at the right, and verdicts to the legend."""
    ax.set_yticks(range(len(rows)), [claim(row) for row in rows.itertuples()])
    ax.set(ylim=(len(rows) - 0.45, -0.55), xlabel="effect size $d_z$; positive: as the paper says")
    for place in range(1, len(rows)):
        ax.axhline(place - 0.5, color="0.92", linewidth=0.8, zorder=0)
    notes = [
        f"{_without_sign_of_zero(difference(row.mean_difference, row.metric))}: {row.verdict}\n{p_text(row.p)}, "
        f"Wilcoxon {p_text(row.p_wilcoxon)}"
        for row in rows.itertuples()
    ]
    beside = ax.secondary_yaxis("right")
    beside.set_yticks(range(len(rows)), [minus(note) for note in notes])
    beside.spines[:].set_visible(False)
    beside.tick_params(length=0, labelsize=8)
    for verdict, color in VERDICTS.items():
        ax.plot([], [], "o", color=color, ms=5.5, label=verdict)


def _without_sign_of_zero(text: str) -> str:
    return text[1:] if text[1:].startswith("0.0 ") else text


@styled
def claims_by_seed(table, label: str):
    """Draw the effect size of each of the paper's claims for every seed, and with its interval averaged over them.

    Parameters
    ----------
    table : frame of stats.claims_table, of one unit, a row a (claim, seed): columns seed (NaN where all seeds are
        averaged), new, old, metric, mean_difference, d_z, d_z_low, d_z_high, p, p_wilcoxon, paper_direction, verdict
    """
    require_columns(table, "seed", "new", "old", "metric", "mean_difference", "d_z", "d_z_low", "d_z_high", "p")
    require_columns(table, "p_wilcoxon", "paper_direction", "verdict")
    averaged = table[table["seed"].isna()]
    markers = _markers(table["seed"].dropna())
    fig, axes = panels(1, 1, 10, 1.8 + 0.5 * len(averaged))
    ax = axes[0, 0]
    ax.axvline(0, color="0.6", linewidth=1, zorder=0)
    places = {(row.new, row.old, row.metric): place for place, row in enumerate(averaged.itertuples())}
    for row in table.itertuples():
        place, color = places[row.new, row.old, row.metric], VERDICTS[row.verdict]
        sign = 1 if row.paper_direction == "up" else -1
        if np.isnan(row.seed):
            ax.plot([sign * row.d_z_low, sign * row.d_z_high], [place + 0.17] * 2, color=color, linewidth=1.6)
            ax.plot(sign * row.d_z, place + 0.17, "D", color=color, ms=5)
        else:
            ax.plot(sign * row.d_z, place - 0.17, markers[row.seed], color=color, ms=5, mfc="none", mew=1.3)
    _lines_of_claims(ax, averaged)
    for seed, marker in markers.items():
        ax.plot([], [], marker, color="0.3", ms=5, mfc="none", mew=1.3, label=f"seed {seed:.0f}")
    ax.plot([], [], "D", color="0.3", ms=5, label="averaged over the seeds, scan by scan")
    fig.legend(loc="outside upper center", ncols=4)
    return finish(fig, label, f"95 % interval of $d_z$ (noncentral t) and text: averaged over the seeds; {VOXELS}")


def _markers(seeds) -> dict:
    """Give each seed a mark, in their order."""
    return dict(zip(sorted(set(seeds)), itertools.cycle("os^v<>"), strict=False))


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
    markers = _markers(values["seed"])
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
    gray = "; gray: its 95 % interval" if differences["low"].notna().any() else ""
    return finish(fig, label, f"line: mean of the seeds{gray}")


@styled
def sweeps(tests: dict, label: str):
    """Draw how DSC and HD change with a number, such as the patch side, against a reference.

    Parameters
    ----------
    tests : frame of paired tests by patient, by the number's name, a row a (value, metric), columns value, metric,
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
        ax.set_ylabel(METRICS[metric].difference.replace(" (", "\n(") + ",\nchange − reference")
    return finish(fig, label, "open: the reference; bars: 95 % by patient")
