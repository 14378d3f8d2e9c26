"""The chain of rows from RT + SM to all that was found beyond the paper, and its confirmation."""

from strokelib.evaluation.beyond import GOAL, MOST_COST
from strokelib.evaluation.chain import ALL, BIAS_SIZE, HD_MARGIN_MM, TOLD, held
from strokelib.figures.style import finish, interval, panels, styled
from strokelib.run.checks import require_columns
from strokelib.vocabulary import BLUE, GRAY, ORANGE


@styled
def rows(table, steps, costs: dict[str, float], words: dict[str, str], label: str):
    """Draw the mean DSC of each row, what each step adds, and what a prediction costs.

    Parameters
    ----------
    table : frame of summary.table1: variant, dsc_mean, dsc_low, dsc_high; the row held against first
    steps : frame of chain.steps
    costs : {row: prediction, times that of RT + SM}
    words : {row: its name}
    """
    require_columns(table, "variant", "dsc_mean", "dsc_low", "dsc_high")
    require_columns(steps, "metric", "step", "new", "mean_difference", "low", "high", "p_holm")
    order = table["variant"].tolist()
    fig, axes = panels(1, 3, 10, 1.9 + 0.42 * (len(order) + 1), share_y=True)
    means, added, price = axes[0]
    for place, row in enumerate(table.itertuples()):
        color = GRAY if place == 0 else BLUE
        interval(means, place, (100 * row.dsc_low, 100 * row.dsc_mean, 100 * row.dsc_high), color)
    means.set_xlabel("DSC (%)")
    added.axvline(0, color="0.6", linewidth=1, zorder=0)
    added.axvline(100 * GOAL, color=GRAY, linewidth=1, linestyle=":", zorder=0)
    for row in steps[steps["metric"] == "dsc"].itertuples():
        whole = row.step == "whole"
        place, color = len(order) if whole else order.index(row.new), ORANGE if whole else BLUE
        values = (100 * row.low, 100 * row.mean_difference, 100 * row.high)
        interval(added, place, values, color, row.p_holm < 0.05)
    added.set_xlabel("difference in DSC (points)\nfrom the row above")
    added.margins(x=0.1)
    price.axvline(1, color="0.6", linewidth=1, zorder=0)
    price.axvline(MOST_COST, color=GRAY, linewidth=1, linestyle=":", zorder=0)
    for place, name in enumerate(order):
        price.plot([1, costs[name]], [place, place], color=GRAY, linewidth=1.5)
        price.plot(costs[name], place, "s", color=GRAY, markersize=5)
    price.set(xlabel="cost of a prediction\n(times RT + SM)", ylim=(len(order) + 0.6, -0.6))
    price.set_xlim(left=0)
    names = [words.get(name, name) for name in order]
    means.set_yticks(range(len(order) + 1), [*names, f"the last row − {names[0]}"])
    filled = "filled: p < 0.05 by t-test, after Holm; dotted: set before the run"
    note = f"95 % bootstrap intervals by patient; {filled}; means over scans, differences over patients"
    return finish(fig, label, note)


@styled
def confirmed(table, label: str):
    """Draw what the confirming cohort says, a panel a metric: each training, and below all of them averaged.

    Parameters
    ----------
    table : frame of chain.confirm
    """
    require_columns(table, "training", "metric", "mean_difference", "low", "high", "p", "p_claim", "p_claim_holm")
    metrics, trainings = [*TOLD, BIAS_SIZE], [*dict.fromkeys(table["training"])]
    bounds = {"dsc": 100 * GOAL, "hd_mm": HD_MARGIN_MM}
    fig, axes = panels(1, len(metrics), 10, 1.7 + 0.36 * len(trainings), share_y=True)
    for ax, metric in zip(axes[0], metrics, strict=True):
        scale = TOLD[metric].scale if metric in TOLD else 1
        ax.axvline(0, color="0.6", linewidth=1, zorder=0)
        if metric in bounds:
            ax.axvline(bounds[metric], color=GRAY, linewidth=1, linestyle=":", zorder=0)
        for row in table[table["metric"] == metric].itertuples():
            place, color = trainings.index(row.training), ORANGE if row.training == ALL else GRAY
            values = (scale * row.low, scale * row.mean_difference, scale * row.high)
            interval(ax, place, values, color, row.training != ALL or held(row) == "confirmed")
        words = TOLD[metric].difference if metric in TOLD else "difference in |bias of volume| (mL)"
        ax.set_xlabel(words.replace("difference in ", "difference in\n"))
        ax.margins(x=0.12)
    names = ["all, averaged by scan" if name == ALL else f"training seed {name}" for name in trainings]
    axes[0, 0].set_yticks(range(len(trainings)), names)
    axes[0, 0].set_ylim(len(trainings) - 0.4, -0.6)
    note = "95 % intervals by patient; the average alone is tested: filled where confirmed; dotted: set before the run"
    return finish(fig, label, note)
