"""What candidates add to their reference, and what they cost."""

from strokelib.evaluation.beyond import MARGIN, MOST_COST, is_told, named
from strokelib.figures.style import finish, interval, panels, styled
from strokelib.run.checks import require_columns
from strokelib.vocabulary import BLUE, GRAY, METRICS, ORANGE


@styled
def gains(tests, costs: dict[str, float], kept, label: str):
    """Draw what each candidate adds, a panel a metric, and its cost; the largest gain in DSC at the top.

    Parameters
    ----------
    tests : frame of beyond.beside: metric, new, mean_difference, low, high, p_holm, low_lent, high_lent
    costs : {candidate: prediction, times that of its reference}; what has none, a vote or another seed, is gray
    kept : names, drawn in orange
    """
    require_columns(tests, "metric", "new", "mean_difference", "low", "high", "p_holm", "low_lent", "high_lent")
    metrics = [*dict.fromkeys(tests["metric"])]
    order = tests[tests["metric"] == "dsc"].sort_values("mean_difference", ascending=False)["new"].tolist()
    fig, axes = panels(1, len(metrics) + 1, 10, 1.4 + 0.36 * len(order), share_y=True)
    for ax, metric in zip(axes[0], metrics, strict=False):
        scale = METRICS[metric].scale
        ax.axvline(0, color="0.6", linewidth=1, zorder=0)
        if metric == "dsc":
            ax.axvline(scale * MARGIN, color=GRAY, linewidth=1, linestyle=":", zorder=0)
        for row in tests[tests["metric"] == metric].itertuples():
            place = order.index(row.new)
            color = ORANGE if row.new in kept else GRAY if row.new not in costs else BLUE
            values = (scale * row.low, scale * row.mean_difference, scale * row.high)
            interval(ax, place, values, color, is_told(row))
        ax.set_xlabel(METRICS[metric].difference.replace(" (", "\n(") + ",\ncandidate − reference")
        ax.margins(x=0.12)
    last = axes[0, -1]
    last.axvline(1, color="0.6", linewidth=1, zorder=0)
    last.axvline(MOST_COST, color=GRAY, linewidth=1, linestyle=":", zorder=0)
    for name, cost in costs.items():
        place = order.index(name)
        last.plot([1, cost], [place, place], color=GRAY, linewidth=1.5)
        last.plot(cost, place, "s", color=GRAY, markersize=5)
    last.set(xlabel="cost of a prediction\n(times the reference)", ylim=(len(order) - 0.4, -0.6))
    last.set_xlim(left=0)
    axes[0, 0].set_yticks(range(len(order)), [named(name) for name in order])
    marks = "filled: significant with own and the reference's pairs; orange: carried forward; gray: votes, seeds"
    return finish(fig, label, f"95 % intervals by patient; {marks}; dotted: set beforehand")
