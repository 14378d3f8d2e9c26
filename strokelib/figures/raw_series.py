"""What a raw series holds: its curves, fitted maps beside the provided ones, and what each says about the lesion."""

import numpy as np

from strokelib.evaluation.information import BESIDE, named
from strokelib.figures.style import (
    BLACK_NOTE,
    SIDES_NOTE,
    color_bar,
    finish,
    interval,
    outline,
    panels,
    picture,
    styled,
    zoom,
)
from strokelib.run.checks import require_columns
from strokelib.vocabulary import BLUE, GRAY, METRICS, ORANGE

REACH = 2.5  # standard deviations shown to either side


@styled
def fits(time_s, measured: dict, modelled: dict, label: str):
    """Draw the curves of some regions as they were measured and as the model has them, a panel a region.

    Parameters
    ----------
    time_s : (frame,) s
    measured, modelled : {region: (frame,) HU}, each less its mean over time
    """
    fig, axes = panels(1, len(measured), 3.2 * len(measured) + 0.4, 2.9, share_y=True)
    for ax, (name, curve) in zip(axes[0], measured.items(), strict=True):
        ax.plot(time_s, curve, "o", color=GRAY, markersize=3, label="measured")
        ax.plot(time_s, modelled[name], color=BLUE, linewidth=1.5, label="fitted")
        ax.set(title=name, xlabel="time (s)")
    axes[0, 0].set_ylabel("enhancement less its mean (HU)")
    axes[0, -1].legend()
    return finish(fig, label)


@styled
def maps(images: dict, k: int, lesion, label: str):
    """Draw the provided maps and under each the fitted one, normalized, in one slice.

    Parameters
    ----------
    images : {name: (x, y, slice)} in standard deviations from the mean of the brain; all names of BESIDE
    k : slice
    lesion : bool (x, y, slice)
    """
    fig, axes = panels(2, len(BESIDE), 2.3 * len(BESIDE) + 0.6, 5.4)
    for (above, below), names in zip(axes.T, BESIDE.items(), strict=True):
        for ax, name in zip((above, below), names, strict=True):
            shown = picture(ax, images[name][:, :, k], cmap="RdBu_r", vmin=-REACH, vmax=REACH)
            outline(ax, lesion[:, :, k], "black")
            ax.set_title(name)
    zoom(axes, [images["CBF"][:, :, k]] * 2)
    color_bar(fig, shown, axes, "standard deviations from the mean", extend="both")
    return finish(fig, label, f"{BLACK_NOTE}; {SIDES_NOTE}")


@styled
def areas(table, label: str):
    """Draw the areas under the ROC curve of provided and fitted maps, and their difference with its 95 % interval.

    Parameters
    ----------
    table : frame of information.compare_aucs
    """
    require_columns(table, "map", "fitted", "provided_auc", "fitted_auc", "gain", "low", "high")
    fig, axes = panels(1, 2, 9, 1.3 + 0.5 * len(table), share_y=True)
    both, gain = axes[0]
    places = np.arange(len(table))
    both.plot(table["provided_auc"], places, "o", color=GRAY, label="provided")
    both.plot(table["fitted_auc"], places, "o", color=ORANGE, label="fitted")
    both.set(xlabel="mean area under the ROC curve, voxel by voxel", ylim=(len(table) - 0.4, -0.6))
    both.set_yticks(places, [f"{row.map} and {row.fitted}" for row in table.itertuples()])
    gain.axvline(0, color="0.6", linewidth=1, zorder=0)
    gain.hlines(places, table["low"], table["high"], color=ORANGE, linewidth=1.5)
    gain.plot(table["gain"], places, "o", color=ORANGE)
    gain.set(xlabel="gain of the fitted one")
    gain.margins(x=0.12)
    fig.legend(loc="outside upper center", ncols=2)
    return finish(fig, label, "means over scans; 95 % bootstrap intervals by patient")


@styled
def gains(table, tests, metrics, label: str):
    """Draw the mean of each row, and what fitted maps or shapes of curves add, with 95 % intervals; a column a metric.

    Parameters
    ----------
    table : frame of summary.table1, variants as `information.judge` names them
    tests : frame of stats.paired_tests: new, old, metric, mean_difference, low, high, p_holm
    metrics : names in vocabulary.METRICS
    """
    require_columns(tests, "new", "old", "metric", "mean_difference", "low", "high", "p_holm")
    require_columns(table, "variant", *(f"{metric}_{part}" for metric in metrics for part in ("mean", "low", "high")))
    variants, steps = list(table["variant"]), list(dict.fromkeys(tests["new"]))
    fig, axes = panels(2, len(metrics), 10, 2.4 + 0.3 * (len(variants) + len(steps)), share_y="row")
    rows = table.set_index("variant")
    for (above, below), metric in zip(axes.T, metrics, strict=True):
        scale = METRICS[metric].scale
        for place, name in enumerate(variants):
            low, mean, high = (scale * rows.loc[name, f"{metric}_{part}"] for part in ("low", "mean", "high"))
            interval(above, place, (low, mean, high), GRAY if name.endswith("provided") else ORANGE)
        below.axvline(0, color="0.6", linewidth=1, zorder=0)
        for row in tests[tests["metric"] == metric].itertuples():
            values = (scale * row.low, scale * row.mean_difference, scale * row.high)
            interval(below, steps.index(row.new), values, ORANGE, row.p_holm < 0.05)
        for ax in (above, below):
            ax.margins(x=0.12)
        above.set(xlabel=f"mean {METRICS[metric].column}", ylim=(len(variants) - 0.4, -0.6))
        below.set(xlabel=METRICS[metric].difference.replace(" (", "\n("), ylim=(len(steps) - 0.4, -0.6))
    axes[0, 0].set_yticks(range(len(variants)), [named(name) for name in variants])
    axes[1, 0].set_yticks(range(len(steps)), [f"{named(name)},\nless as provided" for name in steps])
    note = "95 % bootstrap intervals by patient; below, filled: p < 0.05 by t-test, after Holm"
    return finish(fig, label, f"{note}; above means over scans, below over patients who have both")
