"""What all figures share, and what they leave alone."""

from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
from drawing import closed  # noqa: F401

from strokelib import figures
from strokelib.figures import style
from strokelib.modalities import MODALITIES


def test_import_leaves_the_reader_s_settings_alone():
    assert style.STYLE["axes.spines.top"] is False
    assert mpl.rcParams["axes.spines.top"] is True
    source = "".join(path.read_text(encoding="utf-8") for path in Path(figures.__file__).parent.glob("*.py"))
    assert "plt.show" not in source
    assert "rcParams" not in source


@pytest.mark.parametrize("name", MODALITIES)
def test_a_slice_is_shown_in_the_window_and_colors_of_its_modality(name):
    volume, row = np.full((6, 4, 2), 30.0), MODALITIES[name]
    _, ax = plt.subplots()
    shown = style.draw_slice(ax, volume, 1, name)
    assert shown.get_clim() == row.window and shown.get_cmap().name == row.colors
    assert np.array_equal(shown.get_array(), np.full((4, 6), 30 / row.divisor))


def test_heads_of_different_sizes_are_shown_at_one_scale():
    small, large = np.zeros((40, 40)), np.zeros((40, 40))
    small[10:20, 12:20] = 1
    large[4:36, 2:30] = 1
    _, axes = plt.subplots(2, 1, squeeze=False)
    style.zoom(axes, [small, large], margin=2)
    spans = [(np.ptp(ax.get_xlim()), np.ptp(ax.get_ylim())) for ax in axes[:, 0]]
    assert spans[0] == spans[1] == (31 + 4, 27 + 4)
    assert np.mean(axes[0, 0].get_xlim()) == (10 + 19) / 2
    assert np.mean(axes[0, 0].get_ylim()) == (39 - 19 + 39 - 12) / 2  # upright: y runs upward
    assert axes[0, 0].get_ylim()[0] > axes[0, 0].get_ylim()[1]


@pytest.mark.parametrize(
    ("name", "broken"),
    [
        ("Baseline", "Baseline"),
        ("Single + RT", "Single + RT"),
        ("Single + RT + SM + UF", "Single + RT\n+ SM + UF"),
        ("rCBF < 30 % and Tmax > 6 s", "rCBF < 30 %\nand Tmax > 6 s"),
    ],
)
def test_long_names_are_broken_between_their_parts(name, broken):
    assert style.two_lines(name) == broken


def test_the_foot_says_what_the_figure_was_made_from():
    fig, _ = style.panels(1, 1, 3, 2)
    assert style.finish(fig, "ISLES 2018", "n: scans").get_supxlabel() == "n: scans · ISLES 2018"
