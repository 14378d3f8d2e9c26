"""The challenge's other finalists in our reading: their scores, and differences from our rows."""

from strokelib.evaluation.finalists import words
from strokelib.figures.style import finish, interval, panels, styled
from strokelib.run.checks import require_columns
from strokelib.vocabulary import BLUE, COLORS, METRICS


@styled
def differences(means, tests, label: str):
    """Draw the mean DSC of each row, and beside it how far the entries are from our rows, with what could be found.

    Parameters
    ----------
    means : a row a variant, in the order from the top down : variant, mean, low, high, of DSC as a fraction
    tests : of finalists.compare, DSC alone : new, old, mean_difference, low, high, detectable
    """
    require_columns(means, "variant", "mean", "low", "high")
    require_columns(tests, "new", "old", "mean_difference", "low", "high", "detectable")
    known, names = METRICS["dsc"], [*means["variant"]]
    bases = [*dict.fromkeys(tests["old"])]
    fig, axes = panels(1, 2, 10, 1.8 + 0.42 * len(names), share_y=True)
    left, right = axes[0]
    for place, row in enumerate(means.itertuples()):
        values = (known.scale * row.low, known.scale * row.mean, known.scale * row.high)
        interval(left, place, values, _color(row.variant))
    right.axvline(0, color="0.6", linewidth=1, zorder=0)
    for order, base in enumerate(bases):
        own, shift = tests[tests["old"] == base], 0.3 * (order - (len(bases) - 1) / 2)
        color, name = _color(base), f"from {words(base)}"
        for row in own.itertuples():
            place, reach = names.index(row.new) + shift, known.scale * row.detectable
            right.plot([-reach, reach], [place, place], color="0.85", linewidth=6, solid_capstyle="butt", zorder=0)
            right.plot([known.scale * row.low, known.scale * row.high], [place, place], color=color, linewidth=1.5)
            mark = {"color": color, "markersize": 5, "label": name}
            right.plot(known.scale * row.mean_difference, place, "os"[order % 2], **mark)
            name = None
    left.set_yticks(range(len(names)), [words(name) for name in names])
    left.set(ylim=(len(names) - 0.5, -0.5), xlabel=known.column)
    right.set(xlabel=f"{known.difference}, entry − our row")
    left.grid(axis="x", color="0.9")
    fig.legend(loc="outside upper right", ncols=len(bases))
    gray = "gray: below the detectable difference (80 % power, before correction)"
    return finish(fig, label, f"bars: 95 % intervals by patient; {gray}; means over scans, differences over patients")


def _color(name: str) -> str:
    """Return the color of one of our rows, and blue for what is none."""
    return COLORS.get(name.partition("_at_")[0], BLUE)
