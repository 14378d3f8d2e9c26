"""What folds that leak are worth: differences from fair folds, all patients and those with one scan or several."""

from strokelib.figures.style import finish, panels, styled
from strokelib.run.checks import require_columns
from strokelib.vocabulary import BLUE, GRAY, METRICS, RED

COLORS = (BLUE, GRAY, RED)  # of groups of patients, in their order


@styled
def effects(table, label: str):
    """Draw the mean difference of each way to make folds from the fair one with its 95 % interval, a panel a metric.

    Parameters
    ----------
    table : frame of leakage.effects of one unit: group, scheme, metric, mean_difference, low, high, p_holm
    """
    require_columns(table, "group", "scheme", "metric", "mean_difference", "low", "high", "p_holm")
    groups, schemes, metrics = (list(dict.fromkeys(table[name])) for name in ("group", "scheme", "metric"))
    fig, axes = panels(1, len(metrics), 10, 1.5 + 0.75 * len(schemes), share_y=True)
    apart = 0.22
    for ax, metric in zip(axes[0], metrics, strict=True):
        ax.axvline(0, color="0.6", linewidth=1, zorder=0)
        scale = METRICS[metric].scale
        for row in table[table["metric"] == metric].itertuples():
            group = groups.index(row.group)
            place, color = schemes.index(row.scheme) + apart * (group - (len(groups) - 1) / 2), COLORS[group]
            ax.plot([scale * row.low, scale * row.high], [place, place], color=color, linewidth=1.5)
            filling = color if row.p_holm < 0.05 else "white"
            ax.plot(scale * row.mean_difference, place, "o", color=color, markerfacecolor=filling, markersize=5)
        ax.set(xlabel=METRICS[metric].difference.replace(" (", "\n("), ylim=(len(schemes) - 0.4, -0.6))
        ax.margins(x=0.12)
    axes[0, 0].set_yticks(range(len(schemes)), [scheme.replace(", ", ",\n") for scheme in schemes])
    handles = [axes[0, 0].plot([], [], "o-", color=color, label=group)[0]
               for group, color in zip(groups, COLORS, strict=False)]
    fig.legend(handles=handles, loc="outside upper center", ncols=len(handles))
    note = "difference: folds at the left − folds by patient, shuffled"
    return finish(fig, label, f"{note}; 95 % intervals by patient; filled: p < 0.05 after Holm")
