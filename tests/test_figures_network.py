"""What the diagram of the network shows."""

import numpy as np
from drawing import LABEL, check, closed, public, texts  # noqa: F401
from matplotlib.colors import to_rgb

from strokelib.figures import network
from strokelib.network import Network, layer_table

LAYERS = layer_table(Network(10))


def test_the_diagram_has_its_label_and_nothing_is_cut_off():
    assert public(network) == {"network_diagram"}
    check(lambda: network.network_diagram(LAYERS, 10, LABEL), 1, ["side×side"])


def test_network_diagram_shows_every_stage_and_where_dropout_acts():
    fig = network.network_diagram(LAYERS, 10)
    ax = fig.axes[0]
    boxes = [text.get_text() for text in ax.texts if "@" in text.get_text()]
    assert boxes[0] == "8 @ 64×64\n728" and "128 @ 4×4\n295 936" in boxes
    assert len(boxes) == len(LAYERS) == len(ax.patches)
    arrows = [text.arrow_patch for text in ax.texts if getattr(text, "arrow_patch", None)]
    red = [arrow for arrow in arrows if to_rgb(arrow.get_edgecolor()) == to_rgb("red")]
    assert len(red) == 5  # encoder levels 3, 4, 5 and decoder levels 4, 3
    # One arrow from each stage to the next, one into each of the four sums.
    assert len(arrows) - len(red) == len(LAYERS) - 1 + 4
    assert "10 modalities" in texts(fig)
    corners = np.array([patch.get_xy() for patch in ax.patches])
    assert len(np.unique(corners.round(6), axis=0)) == len(LAYERS)  # no box over another
