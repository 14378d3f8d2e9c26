"""Fig. 2: the network, stage by stage."""

import itertools

import numpy as np
from matplotlib.patches import Patch, Rectangle

from strokelib.figures.style import finish, panels, styled
from strokelib.network import STOCHASTIC_LEVEL

_STAGES = {  # kind of stage: color, what it is
    "enter": ("#d9d9d9", "3×3 convolution"),
    "encoder": ("#9ecae1", "residual block, two 3×3 convolutions"),
    "down": ("#deebf7", "3×3 convolution with stride 2, beside 2×2 max-pooling"),
    "up": ("#e5f5e0", "3×3 transposed convolution with stride 2"),
    "decoder": ("#a1d99b", "residual block, one 3×3 convolution"),
    "leave": ("#d9d9d9", ""),
}
_HALF = (0.74, 0.26)  # half a box of the diagram, in its own units
_STAIRS = (1.55, 1.95)  # from box to box on the way down and up


def _place(kind: str, level: int, deepest: int) -> tuple[float, float]:
    """Place a stage of the diagram: stairs down to the deepest level and up again."""
    down, up = _STAIRS
    turn = down * deepest
    x = {
        "enter": 0.0,
        "down": down * (level - 1),
        "encoder": down * level,
        "up": turn + up * (deepest - 1 - level),
        "decoder": turn + up * (deepest - level),
        "leave": turn + up * (deepest - 1) + down,
    }[kind]
    return x, -1.15 * (level - 1)


def _arrow(ax, start, end, color="0.25") -> None:
    style = {"arrowstyle": "-|>", "mutation_scale": 8, "shrinkA": 0, "shrinkB": 0, "color": color}
    ax.annotate("", end, start, arrowprops=style)


def _stage(ax, row: dict, x: float, y: float) -> None:
    """Draw a stage, and where prediction dropout acts in it."""
    kind, (wide, high) = row["kind"], _HALF
    corner, paint = (x - wide, y - high), {"facecolor": _STAGES[kind][0], "edgecolor": "0.4"}
    ax.add_patch(Rectangle(corner, 2 * wide, 2 * high, linewidth=0.8, **paint))
    parameters = f"{row['parameters']:,}".replace(",", " ")
    text = f"{row['maps']} @ {row['side']}×{row['side']}\n{parameters}"
    ax.text(x, y, text, ha="center", va="center", fontsize=7, linespacing=1.3)
    if kind in ("encoder", "decoder") and row["level"] >= STOCHASTIC_LEVEL:
        side = x - 0.4 if kind == "encoder" else x + 0.4
        _arrow(ax, (side, y + high + 0.32), (side, y + high), "red")


@styled
def network_diagram(layers: list[dict], in_channels: int, label: str = ""):
    """Draw Fig. 2, the network, from the rows of network.layer_table: maps @ sides, parameters.

    Red arrows mark where the dropout of uncertainty filtering acts.
    Source: Clèrigues et al. 2019, Fig. 2.
    """
    fig, axes = panels(1, 1, 10, 4.8)
    ax = axes[0, 0]
    ax.set_axis_off()
    deepest = max(row["level"] for row in layers)
    places = [_place(row["kind"], row["level"], deepest) for row in layers]
    wide, high = _HALF
    for row, (x, y) in zip(layers, places, strict=True):
        _stage(ax, row, x, y)
        if row["kind"] == "decoder":  # the long skip: over the stairs, into a sum before the block
            start, total = _place("encoder", row["level"], deepest)[0], x - _STAIRS[1] / 2
            over = y + 0.48
            ax.plot([start, start, total], [y + high, over, over], color="0.25", linewidth=1)
            _arrow(ax, (total, over), (total, y + 0.1))
            ax.plot(total, y, marker=r"$\oplus$", markersize=11, color="0.25", markeredgewidth=0.4)
    for (x, y), (next_x, next_y) in itertools.pairwise(places):
        if y == next_y:
            _arrow(ax, (x + wide, y), (next_x - wide, y))
        else:
            step = np.sign(next_y - y) * high
            _arrow(ax, (x, y + step), (x, next_y - step))
    end, floor = places[-1][0], places[0][1] - 1.15 * (deepest - 1)
    ax.text(0, high + 0.08, f"{in_channels} modalities", ha="center", va="bottom", fontsize=8)
    ax.text(end, high + 0.08, "softmax, 2 classes", ha="center", va="bottom", fontsize=8)
    ax.set(xlim=(-1, end + 1), ylim=(floor - 0.5, 0.7))
    kinds = [(color, text) for color, text in _STAGES.values() if text]
    handles = [Patch(facecolor=color, edgecolor="0.4", label=text) for color, text in kinds]
    ax.plot([], [], "k", ls="", marker=r"$\oplus$", ms=9, label="sum with the encoder's maps")
    ax.plot([], [], "r", marker=">", ms=5, label="dropout at prediction")
    ax.legend(handles=handles + ax.get_legend_handles_labels()[0], loc="lower right")
    return finish(fig, label, "maps @ side×side, parameters below")
