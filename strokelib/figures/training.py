"""How networks were trained, and when to stop."""

import numpy as np
from matplotlib.ticker import MaxNLocator

from strokelib.figures.style import finish, panels, styled
from strokelib.run.checks import require_columns
from strokelib.vocabulary import BLUE, METRICS, MONITORS, NAMES, ORANGE, STOPPING


@styled
def history(frame, variant: str, monitor_name: str, label: str):
    """Draw Fig. 3: how one network was trained.

    Parameters
    ----------
    frame : frame of training.read_history, a row a validation; the last that is best gave the weights
    variant : name in code
    monitor_name : what early stopping watches, Variant.monitor or words
    """
    shown = (
        ("loss", {"loss": "training", "validation_loss": "validation"}),
        ("accuracy", {"accuracy": "training", "validation_accuracy": "validation"}),
        (MONITORS.get(monitor_name, monitor_name), {"monitored": "validation patches"}),
        ("DSC", {"validation_dsc": "validation scans"}),
    )
    require_columns(frame, "updates", "best", *(column for _, lines in shown for column in lines))
    best = frame[frame["best"].astype(bool)].tail(1)
    fig, axes = panels(2, 2, 9, 5.6, share_x=True)
    for ax, (title, lines) in zip(axes.flat, shown, strict=True):
        for column, name in lines.items():
            color = BLUE if name == "training" else ORANGE
            ax.plot(frame["updates"], frame[column], ".-", color=color, markersize=4, label=name)
        for updates in best["updates"]:
            ax.axvline(updates, color="0.5", linestyle=":", lw=1, label=f"kept, {updates:g}")
        ax.set_ylabel(title)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.legend()
    axes[1, 0].plot(best["updates"], best["monitored"], "o", color=ORANGE, ms=8, mfc="none")
    for ax in axes[1]:
        ax.set_xlabel("updates")
    fig.suptitle(NAMES.get(variant, variant))
    return finish(fig, label)


@styled
def stopping(costs, means, label: str):
    """Draw how well two quantities to stop on follow the validation DSC, a point a network.

    Parameters
    ----------
    costs : frame of stopping.stopping_costs, columns quantity, rank and cost
    means : frame of stopping.stopping_means of these
    """
    require_columns(costs, "network", "fold", "quantity", "rank", "cost")
    fig, axes = panels(1, 2, 9, 2.6, share_y=True)
    for ax, column, scale, words in (
        (axes[0, 0], "rank", 1, "rank correlation with validation DSC"),
        (axes[0, 1], "cost", METRICS["dsc"].scale, "DSC lost by stopping there (points)"),
    ):
        for place, (quantity, color) in enumerate(zip(STOPPING, (ORANGE, BLUE), strict=True)):
            values = scale * costs.loc[costs["quantity"] == quantity, column].dropna().to_numpy()
            spread = np.linspace(-0.22, 0.22, len(values)) if len(values) > 1 else np.zeros(len(values))
            ax.plot(values, place + spread, "o", color=color, ms=4, mfc="none")
            if quantity in means.index:
                ax.plot([scale * means.loc[quantity, column]] * 2, [place - 0.35, place + 0.35], "k", linewidth=1.5)
        ax.set_xlabel(words)
    axes[0, 0].axvline(0, color="0.6", linewidth=1, zorder=0)
    axes[0, 0].set_yticks(range(len(STOPPING)), STOPPING.values())
    axes[0, 0].set_ylim(len(STOPPING) - 0.5, -0.5)
    return finish(fig, label, "a point a network; line: mean")
