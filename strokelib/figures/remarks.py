"""Figures of notebook 19: changes against their reference, rates of the optimizers, what the steps do scan by scan."""

import numpy as np

from strokelib.evaluation.remarks import HAIR, MARGIN
from strokelib.figures.style import finish, interval, panels, styled
from strokelib.run.checks import require_columns
from strokelib.vocabulary import BLUE, COLORS, GREEN, METHODS, METRICS, ORANGE, RED

OPTIMIZERS = {"adadelta": ("Adadelta", BLUE, "o"), "adamw": ("AdamW", ORANGE, "s")}
OPTIMIZERS |= {"sgd": ("SGD, momentum", GREEN, "^")}


@styled
def differences(tests, label: str):
    """Draw the difference in DSC of every change from its reference, with its interval.

    Parameters
    ----------
    tests : columns words (the change), mean_difference, low, high, n
    """
    require_columns(tests, "words", "mean_difference", "low", "high", "n")
    scale = METRICS["dsc"].scale
    fig, axes = panels(1, 1, 7, 1.3 + 0.32 * len(tests))
    ax = axes[0, 0]
    ax.axvline(0, color="0.6", linewidth=1)
    ax.axvline(scale * MARGIN, color="0.3", linewidth=1, linestyle="--")
    for place, row in enumerate(tests.itertuples()):
        interval(ax, place, (scale * row.low, scale * row.mean_difference, scale * row.high), BLUE)
    ax.set_yticks(range(len(tests)), tests["words"])
    ax.set_ylim(len(tests) - 0.5, -0.5)
    ax.set_xlabel(f"{METRICS['dsc'].difference}, change − reference")
    return finish(fig, label, f"bars: 95 % bootstrap intervals by patient; broken: margin of {100 * MARGIN:g} points")


@styled
def rates(means, label: str):
    """Draw the mean DSC of every optimizer against its learning rate.

    Parameters
    ----------
    means : columns optimizer, learning_rate, mean, low, high, of DSC as a fraction
    """
    require_columns(means, "optimizer", "learning_rate", "mean", "low", "high")
    scale = METRICS["dsc"].scale
    fig, axes = panels(1, 1, 6, 3.8)
    for name, (words, color, marker) in OPTIMIZERS.items():
        own = means[means["optimizer"] == name].sort_values("learning_rate")
        if own.empty:
            continue
        middle = scale * own["mean"]
        reach = np.abs(scale * own[["low", "high"]].to_numpy().T - middle.to_numpy())
        axes[0, 0].errorbar(
            own["learning_rate"], middle, reach, fmt=f"-{marker}", color=color, label=words, capsize=2, ms=5
        )
    axes[0, 0].set(xscale="log", xlabel="learning rate", ylabel=f"mean {METRICS['dsc'].column}")
    fig.legend(loc="outside upper center", ncols=3)
    return finish(fig, label, "bars: 95 % intervals of the mean by patient")


@styled
def steps(gains: dict, volumes, label: str):
    """Draw what each step does to each scan, sorted, and R² of the volumes step by step beside the paper's.

    Parameters
    ----------
    gains : differences in DSC of the scans, as fractions, by the words of the step; below the dotted line a scan counts
        as worse
    volumes : columns variant, r2, low, high, and paper, its own R²
    """
    require_columns(volumes, "variant", "r2", "low", "high", "paper")
    scale = METRICS["dsc"].scale
    fig, axes = panels(1, len(gains) + 1, 10, 3.6)
    for ax, (words, values) in zip(axes[0], gains.items(), strict=False):
        ordered = scale * np.sort(np.asarray(values, float))
        ax.bar(range(1, len(ordered) + 1), ordered, width=1, color=np.where(ordered < 0, RED, BLUE))
        ax.axhline(0, color="0.6", linewidth=1)
        ax.axhline(-scale * HAIR["dsc"], color="0.3", linewidth=1, linestyle=":")
        ax.set(title=words, xlabel="scans, sorted", ylabel=METRICS["dsc"].difference)
    ax = axes[0, -1]
    for place, row in enumerate(volumes.itertuples()):
        ax.plot([place, place], [row.low, row.high], color=COLORS[row.variant], linewidth=1.5)
        ax.plot(place, row.r2, "o", color=COLORS[row.variant], markersize=5, label="" if place else "here")
        ax.plot(place + 0.2, row.paper, "x", color="0.3", markersize=5, label="" if place else "the paper")
    ax.set_xticks(range(len(volumes)), [METHODS[name].short.replace(" + ", "\n+ ") for name in volumes["variant"]])
    ax.set_ylabel("R² of the volumes")
    ax.legend(loc="lower center")
    ax.set(ylim=(0, 1.02), xlim=(-0.5, len(volumes) - 0.3))
    return finish(fig, label, "pairs chosen on the other folds; bars at R²: 95 % bootstrap intervals by patient")
