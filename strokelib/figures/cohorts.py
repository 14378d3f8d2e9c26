"""The same difference on one cohort after another."""

from strokelib.evaluation.cohorts import TOLD
from strokelib.evaluation.tables import step
from strokelib.figures.style import finish, interval, panels, styled
from strokelib.run.checks import require_columns
from strokelib.vocabulary import METRICS, VERDICTS

COLORS = {"better": VERDICTS["holds"], "worse": VERDICTS["opposite"], "inconclusive": VERDICTS["inconclusive"]}


@styled
def differences(table, summary, label: str):
    """Draw the difference of each cohort and training with its interval, and below what one reader should have.

    Parameters
    ----------
    table : frame of cohorts.verdicts of one pair
    summary : frame of cohorts.summary
    """
    require_columns(table, "cohort", "seed", "metric", "new", "old", "mean_difference", "low", "high")
    require_columns(table, "verdict")
    require_columns(summary, "metric", "mean", "usual", "honest")
    pair = step(table.iloc[0])
    readers = list(dict.fromkeys(zip(table["cohort"], table["seed"], strict=True)))
    fig, axes = panels(1, len(TOLD), 10, 2.1 + 0.28 * len(readers), share_y=True)
    for ax, metric in zip(axes[0], TOLD, strict=True):
        scale = METRICS[metric].scale
        ends = ("lower", "higher") if metric == "hd_mm" else ("higher", "lower")
        said = dict(zip(ends, ("better", "worse"), strict=True))
        ax.axvline(0, color="0.6", linewidth=1, zorder=0)
        for row in table[table["metric"] == metric].itertuples():
            place = len(readers) - readers.index((row.cohort, row.seed)) + 1
            color = COLORS[said.get(row.verdict, row.verdict)]
            values = (scale * row.low, scale * row.mean_difference, scale * row.high)
            interval(ax, place, values, color, row.verdict != "inconclusive")
        own = summary[summary["metric"] == metric].iloc[0]
        for place, width, color in ((1, own.usual, "0.5"), (0, own.honest, "black")):
            if width == width:  # not NaN
                ends = [scale * (own["mean"] - width), scale * (own["mean"] + width)]
                ax.plot(ends, [place, place], color=color, linewidth=2.5)
                ax.plot(scale * own["mean"], place, "s", color=color, markersize=5)
        ax.set(xlabel=METRICS[metric].difference.replace(" (", "\n(") + f",\n{pair}", ylim=(-0.6, len(readers) + 1.6))
        ax.margins(x=0.1)
    words = [f"cohort {cohort:g}, seed {seed:g}" for cohort, seed in reversed(readers)]
    words = ["width for one cohort: all that varies", "width for one cohort: patients alone", *words]
    axes[0, 0].set_yticks(range(len(words)), words)
    note = "95 % intervals; filled: better (green) or worse (red), by t-test, too; open: inconclusive"
    return finish(fig, label, note)
