"""What mirror images are worth, by how alike the two sides are and how well the line between them is found."""

import matplotlib as mpl

from strokelib.figures.style import finish, panels, styled
from strokelib.run.checks import require_columns
from strokelib.vocabulary import BLUE, GREEN, METRICS

KINDS = {"logistic_sm": ("logistic regression", BLUE), "rt_sm": ("network", GREEN)}  # by what has mirror images
MARKERS = "osD^v<>"  # of shares, one after the other
WITH = "with − without mirror images"


def _point(ax, row, place: float, scale: float, color, marker: str = "o", filled=True):
    ax.plot([place, place], [scale * row.low, scale * row.high], color=color, linewidth=1.5)
    ax.plot(place, scale * row.mean_difference, marker, color=color, markerfacecolor=color if filled else "white")


@styled
def dose(table, metrics, other: str, label: str):
    """Draw the gain by mirror images against the symmetry of the heads, a panel a metric.

    Parameters
    ----------
    table : frame of symmetry.responses of several metrics
    metrics : names in vocabulary.METRICS
    other : the registration that is drawn with open points, "affine" or "rigid"
    """
    require_columns(table, "symmetry", "registration", "misfit_mm", "misfit_deg", "new")
    require_columns(table, "metric", "mean_difference", "low", "high")
    own = table[(table["misfit_mm"] == 0) & (table["misfit_deg"] == 0)]
    fig, axes = panels(1, len(metrics), 10, 3.6)
    for ax, metric in zip(axes[0], metrics, strict=True):
        scale = METRICS[metric].scale
        ax.axhline(0, color="0.6", linewidth=1, zorder=0)
        for shift, (name, (words, color)) in enumerate(KINDS.items()):
            rows = own[(own["metric"] == metric) & (own["new"] == name)].sort_values("symmetry")
            if rows.empty:  # as of networks where none was trained
                continue
            main = rows[rows["registration"] != other]
            place = 0.012 * (shift - 0.5)
            ax.plot(main["symmetry"] + place, scale * main["mean_difference"], color=color, linewidth=1, label=words)
            for row in rows.itertuples():
                aside = row.registration == other
                _point(ax, row, row.symmetry + place - 0.03 * aside, scale, color, filled=not aside)
        ax.set(xlabel="share of mirror-symmetric anatomy", ylabel=f"{METRICS[metric].difference},\n{WITH}")
    fig.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=2)
    return finish(fig, label, f"95 % bootstrap intervals by patient; open, moved aside: {other} registration")


@styled
def misfits(table, other: str, label: str):
    """Draw the gain of the logistic regression in DSC against how far the line of symmetry is off, a line a symmetry.

    Parameters
    ----------
    table : frame of symmetry.responses
    other : the registration that is left out
    """
    require_columns(table, "symmetry", "registration", "misfit_mm", "misfit_deg", "new")
    require_columns(table, "metric", "mean_difference", "low", "high")
    rows = table[(table["new"] == "logistic_sm") & (table["metric"] == "dsc") & (table["registration"] != other)]
    fig, axes = panels(1, 2, 10, 3.6, share_y=True)
    shares = sorted(rows["symmetry"].unique())
    for ax, (column, still, words) in zip(
        axes[0],
        (("misfit_mm", "misfit_deg", "line of symmetry moved (mm)"), ("misfit_deg", "misfit_mm", "turned (degrees)")),
        strict=True,
    ):
        ax.axhline(0, color="0.6", linewidth=1, zorder=0)
        for number, share in enumerate(shares):
            own = rows[(rows["symmetry"] == share) & (rows[still] == 0)].sort_values(column)
            color = mpl.colormaps["viridis"](0.9 * number / max(1, len(shares) - 1))
            marker = MARKERS[number % len(MARKERS)]
            offset = 0.12 * (number - (len(shares) - 1) / 2)
            means = 100 * own["mean_difference"]
            ax.plot(own[column] + offset, means, marker, color=color, linewidth=1, linestyle="-", label=f"{share:g}")
            for row in own.itertuples():
                _point(ax, row, getattr(row, column) + offset, 100, color, marker)
        ax.set_xlabel(words)
    axes[0, 0].set_ylabel(f"{METRICS['dsc'].difference},\n{WITH}")
    title = "share of mirror-\nsymmetric anatomy"
    fig.legend(*axes[0, 0].get_legend_handles_labels(), title=title, loc="outside right center")
    return finish(fig, label, "logistic regression; 95 % bootstrap intervals by patient; points moved aside")


@styled
def likeness(table, label: str):
    """Draw how scans correlate with their own mirror images at each symmetry, a dot a scan, a panel a modality.

    Parameters
    ----------
    table : frame, columns symmetry, modality, correlation
    """
    require_columns(table, "symmetry", "modality", "correlation")
    names = list(dict.fromkeys(table["modality"]))
    fig, axes = panels(1, len(names), 10, 2.8, share_y=True)
    for ax, name in zip(axes[0], names, strict=True):
        own = table[table["modality"] == name]
        ax.plot(own["symmetry"], own["correlation"], ".", color=BLUE, alpha=0.4, markersize=4)
        means = own.groupby("symmetry")["correlation"].mean()
        ax.plot(means.index, means, "o-", color="black", markersize=4, linewidth=1)
        ax.set_title(name)
        ax.set(xlabel="symmetry")
    axes[0, 0].set_ylabel("correlation with its own flip")
    return finish(fig, label, "symmetry: share of mirror-symmetric anatomy; dots: scans, black: means")
