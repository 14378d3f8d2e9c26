"""Losses against imbalance, each with balanced patches and without: scores, volumes, probabilities, decisions."""

import numpy as np

from strokelib.evaluation.imbalance import ALL
from strokelib.figures.reliability import curves_on
from strokelib.figures.style import finish, panels, styled
from strokelib.run.checks import require_columns
from strokelib.vocabulary import BLUE, BROWN, GREEN, LOSSES, METRICS, ORANGE, PURPLE, RED, SKY

COLORS = dict(zip(LOSSES, (BROWN, SKY, BLUE, GREEN, ORANGE, PURPLE, RED), strict=True))
MARKERS = dict(zip(LOSSES, "osD^v<>", strict=True))  # for whoever cannot tell the colors apart
SAMPLING = {True: "balanced patches", False: "patches as they come"}


def _losses_of(frame) -> list[str]:
    """List the losses of a frame in the vocabulary's order."""
    require_columns(frame, "loss", "balanced")
    unknown = ", ".join(sorted({*map(str, frame["loss"])} - {*LOSSES}))
    if unknown:
        raise ValueError(f"unknown losses {unknown}; the known ones are {', '.join(LOSSES)}")
    return [name for name in LOSSES if name in set(frame["loss"])]


@styled
def scores(table, metrics, label: str):
    """Draw the mean of each loss with its 95 % interval, a panel a metric; filled with balanced patches, open without.

    Parameters
    ----------
    table : frame, a row per (loss, balanced, metric): mean, low, high, in the file's units
    metrics : sequence of names in METRICS
    """
    losses = _losses_of(table)
    require_columns(table, "metric", "mean", "low", "high")
    fig, axes = panels(1, len(metrics), min(10, 2.1 * len(metrics) + 1.6), 1.3 + 0.5 * len(losses), share_y=True)
    for ax, metric in zip(axes[0], metrics, strict=True):
        known = METRICS[metric]
        for row in table[table["metric"] == metric].itertuples():
            y = losses.index(row.loss) + (-0.15 if row.balanced else 0.15)
            color, filling = COLORS[row.loss], COLORS[row.loss] if row.balanced else "white"
            ax.plot([known.scale * row.low, known.scale * row.high], [y, y], color=color, linewidth=1.5)
            ax.plot(known.scale * row.mean, y, MARKERS[row.loss], color=color, mfc=filling, ms=5)
        ax.set(xlabel=known.column, ylim=(len(losses) - 0.5, -0.5))
        ax.grid(axis="x", color="0.9")
    axes[0, 0].set_yticks(range(len(losses)), [LOSSES[name] for name in losses])
    return finish(fig, label, "mean and 95 % interval by patient; filled: balanced patches, open: as they come")


@styled
def volumes(bias, label: str):
    """Draw predicted less true volume by true lesion size: a column a way of sampling, a row an estimator.

    Parameters
    ----------
    bias : frame of imbalance.volume_bias with the columns loss, balanced and estimator (in words)
    """
    losses = _losses_of(bias)
    require_columns(bias, "estimator", "group", "bias_ml", "low_ml", "high_ml", "scans")
    sampled = [kind for kind in SAMPLING if kind in set(bias["balanced"])]
    estimators = [*dict.fromkeys(bias["estimator"])]
    height = 0.9 + 3 * len(estimators)
    fig, axes = panels(len(estimators), len(sampled), 4 * len(sampled) + 2, height, share_x=True, share_y=True)
    groups = [name for name in dict.fromkeys(bias["group"]) if name != ALL] + [ALL]
    for row, estimator in zip(axes, estimators, strict=True):
        row[0].set_ylabel(f"{estimator}\nless true volume (mL)")
        for ax, balanced in zip(row, sampled, strict=True):
            ax.axhline(0, color="0.6", linewidth=1, zorder=0)
            some = bias[(bias["balanced"] == balanced) & (bias["estimator"] == estimator)]
            for place, loss in enumerate(losses):
                own = some[some["loss"] == loss].set_index("group").reindex(groups)
                x = np.arange(len(groups)) + 0.8 * (place + 0.5) / len(losses) - 0.4
                error = np.abs(own[["low_ml", "high_ml"]].to_numpy().T - own["bias_ml"].to_numpy())
                style = {"color": COLORS[loss], "label": LOSSES[loss], "markersize": 4, "linewidth": 1.2}
                ax.errorbar(x, own["bias_ml"], error, fmt=MARKERS[loss], **style)
            counts = some.drop_duplicates("group").set_index("group").scans
            ax.set_xticks(range(len(groups)), [f"{name}\n{counts.get(name, 0)}" for name in groups])
    for ax, balanced in zip(axes[0], sampled, strict=True):
        ax.set_title(SAMPLING[balanced])
    for ax in axes[-1]:
        ax.set_xlabel("true lesion volume (mL), and scans")
    handles, names = axes[0, 0].get_legend_handles_labels()
    fig.legend(handles, names, loc="outside right upper")
    return finish(fig, label, "mean and 95 % interval by patient, of one scan none")


@styled
def reliability(curves, label: str):
    """Draw how often lesion was there against how probable it was called, a panel a way of sampling.

    Parameters
    ----------
    curves : {(loss, balanced): frame of agreement.reliability}
    """
    sampled = [kind for kind in SAMPLING if any(balanced == kind for _, balanced in curves)]
    fig, axes = panels(1, len(sampled), 3.7 * len(sampled) + 1.9, 3.9, share_y=True)
    for ax, balanced in zip(axes[0], sampled, strict=True):
        own = {LOSSES[loss]: curves[loss, balanced] for loss in LOSSES if (loss, balanced) in curves}
        styles = {LOSSES[loss]: {"color": COLORS[loss], "marker": MARKERS[loss], "linewidth": 1.3} for loss in LOSSES}
        curves_on(ax, own, styles)
        ax.set_title(SAMPLING[balanced])
    axes[0, 0].set_ylabel("lesion fraction")
    found = {}
    for ax in axes[0]:
        found |= dict(zip(*reversed(ax.get_legend_handles_labels()), strict=True))
    fig.legend(found.values(), found.keys(), loc="outside right upper")
    return finish(fig, label)


@styled
def decisions(table, limit_ml: float, label: str):
    """Draw the share on the correct side of a limit, before and after volumes were set right; a row a unit.

    Parameters
    ----------
    table : frame, a row per (loss, balanced, recalibrated, unit): agree, agree_low, agree_high; large and n
    """
    losses = _losses_of(table)
    require_columns(table, "recalibrated", "unit", "agree", "agree_low", "agree_high", "large", "n")
    sampled, units = [kind for kind in SAMPLING if kind in set(table["balanced"])], [*dict.fromkeys(table["unit"])]
    height = 0.6 + len(units) * (0.9 + 0.4 * len(losses))
    fig, axes = panels(len(units), len(sampled), 3.6 * len(sampled) + 1.6, height, share_y=True)
    for row, unit in zip(axes, units, strict=True):
        for ax, balanced in zip(row, sampled, strict=True):
            some = table[(table["balanced"] == balanced) & (table["unit"] == unit)]
            for own in some.itertuples():
                y = losses.index(own.loss) + (0.15 if own.recalibrated else -0.15)
                color = RED if own.recalibrated else "0.35"
                ax.plot([100 * own.agree_low, 100 * own.agree_high], [y, y], color=color, linewidth=1.5)
                ax.plot(100 * own.agree, y, "s" if own.recalibrated else "o", color=color, markersize=5)
            always = 100 * (1 - some["large"] / some["n"]).mean()
            ax.axvline(always, color="0.6", linewidth=1, linestyle=":", zorder=0)
            ax.set(xlabel=f"{unit}s on the correct side of {limit_ml:g} mL (%)", xlim=(0, 103))
            ax.set_ylim(len(losses) - 0.5, -0.5)
            ax.set_yticks(range(len(losses)), [LOSSES[name] for name in losses])
    for ax, balanced in zip(axes[0], sampled, strict=True):
        ax.set_title(SAMPLING[balanced])
    marks = f"circle: as predicted; square: volumes recalibrated; dotted: all called smaller than {limit_ml:g} mL"
    return finish(fig, label, f"{marks}; 95 % intervals")
