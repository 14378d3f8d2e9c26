"""How far to trust the numbers: rankings of bootstrapped patients, optimism, longer training, and RT taken apart."""

import matplotlib as mpl
import numpy as np
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator

from strokelib.evaluation.tables import difference, number
from strokelib.figures.style import color_bar, finish, minus, panels, styled, variants_of
from strokelib.run.checks import require_columns
from strokelib.vocabulary import BLUE, COLORS, METHODS, METRICS, NAMES, ORANGE, PARTS

ACROSS = 3  # panels of metrics in a row


@styled
def ranks(table, label: str):
    """Draw in what share of the resamples each variant has each rank, a panel a metric.

    Parameters
    ----------
    table : frame of ranking.ranks: columns metric, variant, rank_1, rank_2, ...
    """
    require_columns(table, "metric", "variant", "rank_1")
    variants, metrics = variants_of(table), list(dict.fromkeys(table["metric"]))
    columns = [f"rank_{rank + 1}" for rank in range(len(variants))]
    colors = mpl.colormaps["Blues_r"](np.linspace(0.1, 0.9, len(columns)))
    down, across = -(-len(metrics) // ACROSS), min(ACROSS, len(metrics))
    width, height = 1.8 + 2.7 * across, 0.9 + down * (0.7 + 0.26 * len(variants))
    fig, axes = panels(down, across, min(10, width), height, "all", "all")
    for ax in axes.flat[len(metrics) :]:
        ax.set_visible(False)
    for ax, metric in zip(axes.flat, metrics, strict=False):
        own = table[table["metric"] == metric].set_index("variant").loc[variants, columns]
        share = own.div(own.sum(axis=1), axis=0) * 100
        left = np.zeros(len(variants))
        for column, color in zip(columns, colors, strict=True):
            ax.barh(range(len(variants)), share[column], left=left, color=color, edgecolor="white", linewidth=0.5)
            left += share[column].to_numpy()
        for place, first in enumerate(share["rank_1"]):
            ax.text(103, place, f"{first:.0f}", va="center", fontsize=8)
        ax.text(103, -0.6, "first (%)", va="bottom", fontsize=8)
        ax.set(title=METRICS[metric].axis, xlim=(0, 100), ylim=(len(variants) - 0.4, -0.6))
    axes[0, 0].set_yticks(range(len(variants)), [METHODS[name].short for name in variants])
    for column in range(across):
        last = [ax for ax in axes[:, column] if ax.get_visible()][-1]
        last.tick_params(labelbottom=True)
        last.set_xlabel("% of resamples")
    handles = [mpl.patches.Patch(color=color, label=f"rank {rank + 1}") for rank, color in enumerate(colors)]
    fig.legend(handles=handles, loc="outside upper center", ncols=len(handles))
    return finish(fig, label, "first: % of resamples in which it comes first, ties shared")


@styled
def kendall(table, label: str):
    """Draw Kendall's tau between the rankings of every two metrics: its mean over the resamples, and its interval.

    Parameters
    ----------
    table : frame of ranking.kendall: columns metric, other, tau_mean, tau_low, tau_high
    """
    require_columns(table, "metric", "other", "tau_mean", "tau_low", "tau_high")
    names = list(dict.fromkeys([*table["metric"], *table["other"]]))
    rows, columns = names[1:], names[:-1]
    grid = np.full((len(rows), len(columns)), np.nan)
    side = max(len(rows), 2)
    fig, axes = panels(1, 1, min(10, 3.2 + 1.05 * side), 1.2 + 0.62 * side)
    ax = axes[0, 0]
    for row in table.itertuples():
        place = rows.index(row.other), columns.index(row.metric)
        grid[place] = row.tau_mean
        text = f"{row.tau_mean:z.2f}\n{row.tau_low:z.2f} to {row.tau_high:z.2f}"
        color = "white" if abs(row.tau_mean) > 0.7 else "black"
        ax.text(place[1], place[0], minus(text), ha="center", va="center", fontsize=7, color=color)
    shown = ax.imshow(grid, cmap="RdBu", vmin=-1, vmax=1, aspect="auto")
    ax.set_xticks(range(len(columns)), [METRICS[name].axis for name in columns], rotation=30, ha="right")
    ax.set_yticks(range(len(rows)), [METRICS[name].axis for name in rows])
    ax.spines[:].set_visible(False)
    color_bar(fig, shown, ax, "Kendall's tau")
    return finish(fig, label, "mean over the resamples, and 95 % interval")


@styled
def optimism(table, label: str):
    """Draw what each thing that flatters a score is worth, with its interval.

    Parameters
    ----------
    table : frame of optimism.budget: columns step, variant, flattered, fair, metric, flattered_mean, fair_mean,
        mean_difference, low, high, flattered_scans, fair_scans, paired
    """
    require_columns(table, "step", "variant", "flattered", "fair", "metric", "flattered_mean", "fair_mean")
    require_columns(table, "mean_difference", "low", "high", "flattered_scans", "fair_scans", "paired")
    metric = METRICS[table["metric"].iloc[0]]
    fig, axes = panels(1, 1, 10, 1.1 + 0.6 * len(table))
    ax = axes[0, 0]
    ax.axvline(0, color="0.6", linewidth=1, zorder=0)
    notes = []
    for place, row in enumerate(table.itertuples()):
        if np.isnan(row.mean_difference):
            notes.append("not run")
            continue
        low, middle, high = (metric.scale * value for value in (row.low, row.mean_difference, row.high))
        ax.plot([low, high], [place, place], color=BLUE)
        ax.plot(middle, place, "o", color=BLUE, mfc=BLUE if row.paired else "white", ms=5)
        means = [number(metric.scale * mean, 1) for mean in (row.flattered_mean, row.fair_mean)]
        scans = f"{row.flattered_scans}" if row.paired else f"{row.flattered_scans} and {row.fair_scans}"
        worth = minus(difference(row.mean_difference, row.metric))
        notes.append(f"{worth}\n{' → '.join(means)} {metric.unit}, {scans} scans")
    words = [f"{row.step}, {METHODS[row.variant].short}\n{row.flattered} → {row.fair}" for row in table.itertuples()]
    ax.set_yticks(range(len(table)), words)
    ax.set(ylim=(len(table) - 0.4, -0.6), xlabel=f"optimism in {metric.name} ({metric.step})")
    beside = ax.secondary_yaxis("right")
    beside.set_yticks(range(len(table)), notes)
    beside.spines[:].set_visible(False)
    beside.tick_params(length=0, labelsize=8)
    return finish(fig, label, "95 % bootstrap intervals by patient; open: other scans, so unpaired")


@styled
def budget(curve, outlook, epoch: float, label: str):
    """Draw a metric against updates, on a log axis with the paper's epochs above, and how two forms would go on.

    Parameters
    ----------
    curve : frame of budget.curve: columns row, updates, metric, mean, low, high
    outlook : frame of budget.outlook of all rows, or None: columns row, form, updates, mean
    epoch : updates of an epoch of the paper
    """
    require_columns(curve, "row", "updates", "metric", "mean", "low", "high")
    ticks, styles = set(curve["updates"]), {}
    if outlook is not None:
        require_columns(outlook, "row", "form", "updates", "mean")
        ticks |= set(outlook["updates"])
        styles = dict(zip(outlook["form"].unique(), ("--", ":"), strict=False))
    metric, rows = METRICS[curve["metric"].iloc[0]], list(dict.fromkeys(curve["row"]))
    fig, axes = panels(1, 1, 8, 4)
    ax = axes[0, 0]
    for place, row in enumerate(rows):
        own = curve[curve["row"] == row].sort_values("updates")
        aside = own["updates"] * 1.025 ** (place - (len(rows) - 1) / 2)  # so that the bars do not hide each other
        ax.vlines(aside, metric.scale * own["low"], metric.scale * own["high"], color=COLORS[row], linewidth=1.5)
        ax.plot(aside, metric.scale * own["mean"], "o-", color=COLORS[row], ms=5, label=NAMES[row])
        for form, style in styles.items():
            beyond = outlook[(outlook["row"] == row) & (outlook["form"] == form)]
            if len(beyond):  # not every row need be carried on
                x = [*own["updates"].tail(1), *beyond["updates"]]
                y = metric.scale * np.array([*own["mean"].tail(1), *beyond["mean"]])
                ax.plot(x, y, style, color=COLORS[row], linewidth=1)
    for form, style in styles.items():
        ax.plot([], [], style, color="0.3", linewidth=1, label=form)
    ax.set_xscale("log")
    ax.set_xlabel("updates of a row and fold, at most")
    ax.set_ylabel(f"mean {metric.column}")
    ax.xaxis.set_major_locator(FixedLocator(sorted(ticks)))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xticks(sorted(ticks), [f"{tick:,.0f}".replace(",", " ") for tick in sorted(ticks)])
    above = ax.secondary_xaxis("top", functions=(lambda updates: updates / epoch, lambda epochs: epochs * epoch))
    above.set_xticks(sorted(tick / epoch for tick in ticks), [f"{tick / epoch:.2g}" for tick in sorted(ticks)])
    above.xaxis.set_minor_locator(NullLocator())
    above.set_xlabel("epochs of the paper")
    above.tick_params(labelsize=8)
    fig.legend(loc="outside upper center", ncols=4)
    note = "; broken lines are no measurement" if styles else ""
    return finish(fig, label, f"bars: 95 % bootstrap intervals by patient{note}")


@styled
def parts(effects, monitors, label: str):
    """Draw what each part of RT does from both ends, and what the monitor does in every cell.

    Parameters
    ----------
    effects : frame of factors.effects, of one metric: columns part, end, metric, mean_difference, low, high
    monitors : frame of factors.monitors, of the same metric: columns row, part, mean_difference, low, high
    """
    require_columns(effects, "part", "end", "metric", "mean_difference", "low", "high")
    require_columns(monitors, "row", "part", "mean_difference", "low", "high")
    metric, names = METRICS[effects["metric"].iloc[0]], list(dict.fromkeys(effects["part"]))
    fig, axes = panels(1, 2, 10, 1.6 + 0.3 * max(2 * len(names), len(monitors)))
    looks = {
        "baseline": (-0.18, "o", BLUE, "added to the baseline"),
        "rt": (0.18, "s", ORANGE, "there in RT, against RT without it"),
    }
    for end, (aside, marker, color, words) in looks.items():
        for row in effects[effects["end"] == end].itertuples():
            _effect(axes[0, 0], row, names.index(row.part) + aside, marker, color, metric.scale)
        axes[0, 0].plot([], [], marker, color=color, ms=5, label=words)
    for place, row in enumerate(monitors.itertuples()):
        _effect(axes[0, 1], row, place, "o", "0.3", metric.scale)
    axes[0, 0].set_yticks(range(len(names)), [",\nnot ".join(PARTS[name]) for name in names])
    axes[0, 0].set(ylim=(len(names) - 0.5, -0.5), title="each part of RT")
    there = {"baseline": 0, "rt": 1}  # a cell of the baseline has a part as RT has it, and the other way round
    words = [[METHODS[row.row].short, *([PARTS[row.part][there[row.row]]] if row.part else [])]
             for row in monitors.itertuples()]
    axes[0, 1].set_yticks(range(len(monitors)), [", ".join(parts) for parts in words])
    axes[0, 1].set(ylim=(len(monitors) - 0.5, -0.5), title=f"{PARTS['monitor'][0]}, in each cell")
    for ax in axes[0]:
        ax.axvline(0, color="0.6", linewidth=1, zorder=0)
        ax.set_xlabel(f"{metric.difference}, with − without it")
        ax.xaxis.set_major_locator(MaxNLocator(5))
    fig.legend(loc="outside upper left")
    return finish(fig, label, "95 % bootstrap intervals by patient")


def _effect(ax, row, place, marker, color, scale) -> None:
    """Draw a difference with its interval."""
    ax.plot([scale * row.low, scale * row.high], [place, place], color=color)
    ax.plot(scale * row.mean_difference, place, marker, color=color, ms=5)
