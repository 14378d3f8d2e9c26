"""Scores against the number of training scans, below the ceiling that labels set, and the losses beneath."""

from strokelib.evaluation.learning_curve import CORE, named
from strokelib.figures.style import finish, panels, styled
from strokelib.run.checks import require_columns
from strokelib.vocabulary import BLUE, GREEN, METRICS, ORANGE, PURPLE

COLORS = (GREEN, ORANGE, BLUE, PURPLE)  # row by row


@styled
def curve(table, label: str):
    """Draw DSC against training scans on a log axis, a line a row, and the losses of training and held-out patches.

    Parameters
    ----------
    table : frame of learning_curve.means
    """
    columns = ("metric", "variant", "training_scans", "mean", "low", "high", "training_loss", "held_out_loss")
    require_columns(table, *columns)
    dsc, scale = table[table["metric"] == "dsc"], METRICS["dsc"].scale
    fig, axes = panels(2, 1, 6.5, 6.5, share_x=True)
    above, below = axes[:, 0]
    for core in dsc[dsc["variant"] == CORE].itertuples():
        above.axhspan(scale * core.low, scale * core.high, color="0.9", linewidth=0, zorder=0)
        above.axhline(scale * core.mean, color="0.4", linewidth=1, label="true core against the label")
    rows = [row for row in dict.fromkeys(dsc["variant"]) if row != CORE]
    for place, row in enumerate(rows):
        own, color = dsc[dsc["variant"] == row].sort_values("training_scans"), COLORS[place % len(COLORS)]
        x = own["training_scans"] * 1.02 ** (place - (len(rows) - 1) / 2)  # side by side, so that intervals are seen
        reach = scale * (own["mean"] - own["low"]), scale * (own["high"] - own["mean"])
        above.errorbar(x, scale * own["mean"], reach, color=color, marker="o", markersize=5, label=named(row))
        below.plot(x, own["training_loss"], "o-", color=color, markersize=4, label=f"{named(row)}, training scans")
        below.plot(x, own["held_out_loss"], "s--", color=color, markersize=4, label=f"{named(row)}, held-out scans")
    ticks = sorted({int(n) for n in dsc["training_scans"].dropna()})
    for ax in (above, below):
        ax.set_xscale("log", base=2)
        ax.set_xticks(ticks, [str(n) for n in ticks])
        ax.minorticks_off()
        ax.legend(loc="upper left", bbox_to_anchor=(0, 1.0 if ax is below else 1.22), ncols=2)
    above.set(ylabel=METRICS["dsc"].column)
    below.set(ylabel="loss of patches", xlabel="training scans")
    below.margins(y=0.35)
    return finish(fig, label, "95 % bootstrap intervals by patient")
