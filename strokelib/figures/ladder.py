"""From the simplest method to what the phantom alone can know: the rungs, the steps, and what the methods look at."""

import numpy as np

from strokelib.evaluation.ladder import RUNGS
from strokelib.figures.style import (
    LESION,
    LESION_NOTE,
    SIDES_NOTE,
    color_bar,
    finish,
    minus,
    outline,
    panels,
    picture,
    styled,
    zoom,
)
from strokelib.run.checks import require_columns
from strokelib.vocabulary import METRICS

LINE_NOTE = LESION_NOTE.replace("light blue", "black or light blue")
SHOWN = {False: (-3, 3), True: (0, 9)}  # window of a value in standard deviations, and of its square


def _rungs_of(frame) -> list[str]:
    """List the rungs of a frame from the ground up."""
    require_columns(frame, "variant")
    unknown = ", ".join(sorted({*map(str, frame["variant"])} - {*RUNGS}))
    if unknown:
        raise ValueError(f"unknown rungs {unknown}; the known ones are {', '.join(RUNGS)}")
    return [name for name in RUNGS if name in set(frame["variant"])]


@styled
def features(volumes, k: int, label: str, lesion=None):
    """Draw what a voxel-wise method is given, images down, smoothing and squares across, in one slice.

    Parameters
    ----------
    volumes : {voxelwise.Feature: (x, y, slice)}, normalized values; every image with the same smoothings and squares
    """
    images = list(dict.fromkeys(feature.image for feature in volumes))
    kinds = list(dict.fromkeys((feature.smoothing_mm, feature.squared) for feature in volumes))
    fig, axes = panels(len(images), len(kinds), min(10, 1.6 * len(kinds) + 1), 1.4 + 1.75 * len(images))
    shown = {}
    for feature, volume in volumes.items():
        ax = axes[images.index(feature.image), kinds.index((feature.smoothing_mm, feature.squared))]
        low, high = SHOWN[feature.squared]
        colors = "magma" if feature.squared else "RdBu_r"
        shown[feature.squared] = picture(ax, volume[:, :, k], cmap=colors, vmin=low, vmax=high)
        if lesion is not None:
            outline(ax, lesion[:, :, k], LESION if feature.squared else "black")
    for ax, kind in zip(axes[0], kinds, strict=True):
        ax.set_title(_heading(*kind))
    for ax, image in zip(axes[:, 0], images, strict=True):
        ax.set_ylabel(image)
    zoom(axes, [next(iter(volumes.values()))[:, :, k]] * len(images))
    for squared, mappable in shown.items():
        text = "squared standard deviations" if squared else "standard deviations from the mean"
        below = axes[:, [kind[1] == squared for kind in kinds]]
        extend, aspect = "max" if squared else "both", 12 * below.shape[1]  # bars of one height
        fig.colorbar(mappable, ax=below, label=text, location="bottom", extend=extend, aspect=aspect)
    return finish(fig, label, SIDES_NOTE if lesion is None else f"{LINE_NOTE}; {SIDES_NOTE}")


def _heading(smoothing_mm: float, squared: bool) -> str:
    return (f"{smoothing_mm:g} mm" if smoothing_mm else "voxel") + (", squared" if squared else "")


@styled
def rungs(table, metrics, label: str):
    """Draw the mean of each rung with its 95 % interval, the simplest method lowest, a panel a metric.

    Parameters
    ----------
    table : frame of summary.table1, columns variant, and of each metric dsc_mean, dsc_low, dsc_high ...
    metrics : names in vocabulary.METRICS
    """
    names = _rungs_of(table)
    require_columns(table, *(f"{metric}_{part}" for metric in metrics for part in ("mean", "low", "high")))
    rows = table.set_index("variant")
    fig, axes = panels(1, len(metrics), 10, 1.2 + 0.34 * len(names), share_y=True)
    for ax, metric in zip(axes[0], metrics, strict=True):
        scale = METRICS[metric].scale
        for place, name in enumerate(names):
            low, mean, high = (scale * rows.loc[name, f"{metric}_{part}"] for part in ("low", "mean", "high"))
            if np.isnan(mean):  # no scan has a distance
                continue
            color, filling = RUNGS[name].color, RUNGS[name].color if RUNGS[name].mirrored else "white"
            ax.plot([low, high], [place, place], color=color, linewidth=1.5)
            ax.plot(mean, place, "o", color=color, markerfacecolor=filling, markersize=6)
            ax.annotate(f"{mean:.1f}", (mean, place), (0, 5), textcoords="offset points", ha="center", fontsize=8)
        ax.set(xlabel=f"mean {METRICS[metric].column}", ylim=(-0.6, len(names) - 0.3))
        ax.margins(x=0.12)
    axes[0, 0].set_yticks(range(len(names)), [RUNGS[name].name for name in names])
    return finish(fig, label, "means over scans; 95 % intervals by patient; open: without the other side of the head")


@styled
def steps(tests, label: str):
    """Draw the mean difference of each step with its 95 % interval, a panel a metric.

    Parameters
    ----------
    tests : frame of stats.paired_tests of one unit, columns new, old, metric, mean_difference, low, high, p_holm
    """
    require_columns(tests, "new", "old", "metric", "mean_difference", "low", "high", "p_holm")
    metrics, pairs = list(dict.fromkeys(tests["metric"])), [*tests.groupby(["new", "old"], sort=False).groups]
    fig, axes = panels(1, len(metrics), 10, 1.2 + 0.34 * len(pairs), share_y=True)
    for ax, metric in zip(axes[0], metrics, strict=True):
        ax.axvline(0, color="0.6", linewidth=1, zorder=0)
        for row in tests[tests["metric"] == metric].itertuples():
            place, scale, color = pairs.index((row.new, row.old)), METRICS[metric].scale, RUNGS[row.new].color
            ax.plot([scale * row.low, scale * row.high], [place, place], color=color, linewidth=1.5)
            filling = color if row.p_holm < 0.05 else "white"
            ax.plot(scale * row.mean_difference, place, "o", color=color, markerfacecolor=filling, markersize=5)
        ax.set(xlabel=METRICS[metric].difference.replace(" (", "\n("), ylim=(-0.6, len(pairs) - 0.4))
        ax.margins(x=0.12)
    words = [f"{RUNGS[new].short} − {RUNGS[old].short}" for new, old in pairs]
    axes[0, 0].set_yticks(range(len(pairs)), words)
    note = "means over patients who have both; 95 % bootstrap intervals; filled: p < 0.05 by t-test, after Holm"
    return finish(fig, label, note)


@styled
def coefficients(tables, label: str):
    """Draw the coefficients of logistic regressions, images down, smoothing and squares across, a panel a method.

    Parameters
    ----------
    tables : {heading: frame of ladder.coefficients}, columns image, smoothing_mm, squared, coefficient
    """
    grids = {}
    for heading, table in tables.items():
        require_columns(table, "image", "smoothing_mm", "squared", "coefficient")
        wide = table.pivot(index="image", columns=["squared", "smoothing_mm"], values="coefficient")
        grids[heading] = wide.loc[list(dict.fromkeys(table["image"]))].sort_index(axis=1)
    most = max(np.abs(grid.to_numpy()).max() for grid in grids.values())
    longest = max(map(len, grids.values()))
    fig, axes = panels(1, len(grids), 10, 2.6 + 0.3 * longest)
    for ax, (heading, grid) in zip(axes[0], grids.items(), strict=True):
        shown = ax.imshow(grid, cmap="RdBu_r", vmin=-most, vmax=most, aspect="auto")
        for place, value in np.ndenumerate(grid.to_numpy()):
            color = "white" if abs(value) > 0.65 * most else "black"
            ax.text(place[1], place[0], minus(f"{value:z.1f}"), ha="center", va="center", fontsize=7, color=color)
        words = [_heading(mm, squared) for squared, mm in grid.columns]
        ax.xaxis.tick_top()
        ax.set_xticks(range(len(words)), words, rotation=40, ha="left")
        ax.set_yticks(range(len(grid)), grid.index)
        ax.set_title(heading)
        ax.spines[:].set_visible(False)
        ax.set_ylim(longest - 0.5, -0.5)  # rows of one height in all panels
    color_bar(fig, shown, axes, "log odds per standard deviation")
    return finish(fig, label, "means over the folds; mm: SD of the Gaussian that smoothed")


@styled
def importances(tables, label: str):
    """Draw how much of the AUC each image carries, a panel a method, a dot a fold.

    Parameters
    ----------
    tables : {heading: frame of ladder.importances}, columns fold, image, auc, drop
    """
    for table in tables.values():
        require_columns(table, "fold", "image", "auc", "drop")
    longest = max(table["image"].nunique() for table in tables.values())
    fig, axes = panels(1, len(tables), 10, 1.4 + 0.27 * longest, share_x=True)
    for ax, (heading, table) in zip(axes[0], tables.items(), strict=True):
        names = list(dict.fromkeys(table["image"]))
        mean = table.groupby("image")["drop"].mean()[names]
        ax.barh(range(len(names)), mean, color="0.75")
        for row in table.itertuples():
            ax.plot(row.drop, names.index(row.image), ".", color="0.2", markersize=5)
        ax.axvline(0, color="0.6", linewidth=1)
        ax.set_yticks(range(len(names)), names)
        auc = table.drop_duplicates("fold")["auc"].mean()
        ax.set(title=f"{heading}, AUC {auc:.3f}", xlabel="loss of AUC, image shuffled", ylim=(longest - 0.5, -0.5))
    return finish(fig, label, "bars: mean over the folds, dots: folds; scans held out")
