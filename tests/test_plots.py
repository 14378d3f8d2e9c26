"""What each figure shows: its panels, units, colors and label; and that drawing leaves nothing behind."""

import io
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure

from strokelib import agreement, figures, network, plots, stats, submission
from strokelib.config import VARIANTS
from strokelib.postprocess import Pair

LABEL = "synthetic cohort"
SIDE, SLICES, K = 48, 3, 1


@pytest.fixture(autouse=True, scope="module")
def _agg():
    before = mpl.get_backend()
    plt.switch_backend("agg")
    yield
    plt.switch_backend(before)


@pytest.fixture(autouse=True)
def _closed():
    """Close what a test has opened, and only that."""
    before = plt.get_fignums()
    yield
    for number in set(plt.get_fignums()) - set(before):
        plt.close(number)
    assert plt.get_fignums() == before


def head():
    """Build five maps (5, x, y, slice) in file units and a lesion off the middle, in front and on one side."""
    x, y, _ = np.indices((SIDE, SIDE, SLICES))
    inside = (x - 22) ** 2 / 14**2 + (y - 25) ** 2 / 19**2 < 1
    ct = np.where(inside, 35.0, -23.0)
    values = np.array([300.0, 40.0, 6.0, 3.0])[:, None, None, None]
    lesion = (x - 14) ** 2 + (y - 34) ** 2 < 16
    return np.concatenate([ct[None], values * inside]).astype(np.float32), lesion


def cohort():
    return pd.DataFrame(
        {
            "patient": ["A", "A", "B", "C"],
            "slices": [2, 2, 8, 8],
            "volume_ml": [0.0, 1.5, 20.0, 150.0],
            "lesion_fraction": [0.0, 0.01, 0.05, 0.2],
        }
    )


def registrations():
    return pd.DataFrame(
        {
            "flip_score": [0.7, 0.8, 0.9],
            "score": [0.9, 0.85, 0.9],
            "yaw_error_deg": [-0.2, 0.1, 0.3],
            "midline_error_mm": [0.1, -0.6, 0.2],
        }
    )


def epochs():
    return pd.DataFrame(
        {
            "epoch": [1, 2, 3, 4],
            "loss": [1.0, 0.6, 0.4, 0.3],
            "accuracy": [0.8, 0.9, 0.95, 0.96],
            "validation_loss": [0.9, 0.7, 0.8, 0.9],
            "validation_accuracy": [0.8, 0.88, 0.9, 0.9],
            "monitored": [0.4, 0.3, 0.2, 0.25],
            "validation_dsc": [0.1, 0.3, 0.4, 0.42],
            "best": [True, True, True, False],
        }
    )


def grid():
    pairs = [(t, s) for t in (0.1, 0.2, 0.3) for s in (10, 200)]
    return pd.DataFrame(
        {
            "threshold": [t for t, _ in pairs],
            "min_lesion_voxels": [s for _, s in pairs],
            "dsc": [0.1, 0.2, 0.3, 0.6, 0.5, 0.4],
            "hd_mm": [40.0, 35.0, 30.0, 20.0, 25.0, 28.0],
        }
    )


def scores():
    rows = []
    for v, variant in enumerate(plots.NAMES):
        for number in range(6):
            dsc = 0.2 + 0.1 * v + 0.05 * number
            rows.append((variant, number, dsc, dsc, dsc, 30.0 - number, 10.0 * number, 9.0 * number))
    names = ["variant", "number", "dsc", "ppv", "sensitivity", "hd_mm", "volume_ml", "truth_volume_ml"]
    frame = pd.DataFrame(rows, columns=names)
    frame.loc[frame["variant"].eq("rt") & frame["number"].lt(2), "hd_mm"] = np.inf
    frame.loc[frame["variant"].eq("rt") & frame["number"].eq(0), "ppv"] = np.nan
    return frame


def grouped():
    """Sort the six scans of `scores`, 0 to 45 mL, into groups; the last one stays empty."""
    frame = scores().rename(columns={"number": "case"})
    return frame.assign(volume_group=agreement.volume_groups(frame["truth_volume_ml"]))


def by_seed():
    rows = [("variant", v, s, 0.5 + 0.1 * i + 0.01 * s) for i, v in enumerate(("rt", "rt_sm")) for s in (1, 2, 4)]
    rows += [("difference", "rt_sm over rt", s, 0.1 + 0.001 * s) for s in (1, 2, 4)]
    return pd.DataFrame(rows, columns=["kind", "name", "seed", "value"]).assign(metric="dsc")


def differences():
    rows = [
        ("rt - baseline", "dsc", 0.04, 0.01, 0.07, 0.02),
        ("rt - baseline", "hd_mm", -3.0, -6.0, 1.0, 0.3),
        ("rt_sm - rt", "dsc", 0.01, -0.02, 0.03, 1.0),
        ("rt_sm - rt", "hd_mm", -5.0, -8.0, -2.0, 0.0001),
    ]
    columns = ["pair", "metric", "mean_difference", "low", "high", "p_holm"]
    return pd.DataFrame(rows, columns=columns)


def entries():
    ours = {"rank": None, "user": "this work", "reference": None, "dsc_mean": 0.45, "dsc_sd": 0.2}
    ours |= {f"{name}_{part}": 0.5 for name in ("ppv", "sensitivity") for part in ("mean", "sd")}
    ours |= {"hd_millions_mean": 0.0, "hd_millions_sd": 0.0, "n": 8, "hd_undefined": 0}
    return submission.table2(ours=ours)


def field():
    moved = np.zeros((2, 16, 16))
    moved[0], moved[1] = 2.0, -1.0
    return moved


IMAGES, LESION = head()
CT = IMAGES[0]
PATCH, PATCH_LABEL = CT[8:24, 24:40, K], LESION[8:24, 24:40, K].astype(int)
STAGES = pd.DataFrame({"stage": ["brain", "patches"], "lesion_fraction": [0.052, 0.118]})
TIME = np.arange(10.0)
TISSUE = {"healthy": TIME, "core": 0.2 * TIME}
R2 = dict.fromkeys(plots.NAMES, (0.8, 0.7))
MASKS = [LESION[:, :, K], np.roll(LESION[:, :, K], 3, axis=0)]
AGREEMENT = dict.fromkeys(plots.NAMES, agreement.bland_altman([9.0, 25.0, 60.0], [10.0, 20.0, 40.0]))
COUNTS = np.array([[900.0, 0, 60, 40], [20.0, 0, 36, 36], [9.0, 0, 30, 38]])
CURVES = dict.fromkeys(("rt_sm", "rt_sm_uf"), agreement.reliability(COUNTS))
ECE = {"rt_sm": 0.0193, "rt_sm_uf": 0.25}
PROBABILITY, SPREAD = np.where(LESION, 0.8, 0.01), np.where(LESION, 0.2, 0.005)
WORST = ([CT[:, :, K]] * 5, [IMAGES[1][:, :, K]] * 5, MASKS[:1] * 5, MASKS[1:] * 5)
LAYERS = network.layer_table(network.Network(10))

# figure: how it is drawn, its axes with those of color bars, units that stand on it
FIGURES = {
    "modalities": (
        lambda: plots.modalities(IMAGES, K, LABEL, LESION, "case 1"),
        10,
        ["(HU)", "(mL/100 g/min)", "(mL/100 g)", "(s)"],
    ),
    "provided_and_mirrored": (
        lambda: plots.provided_and_mirrored(IMAGES, IMAGES[:, ::-1], K, LABEL, LESION),
        15,
        ["(HU)", "(mL/100 g/min)", "(mL/100 g)", "(s)"],
    ),
    "cohort_summary": (lambda: plots.cohort_summary(cohort(), LABEL), 4, ["(mL)", "(%)"]),
    "curves": (lambda: plots.curves(TIME, TIME**2, TISSUE, LABEL), 2, ["(s)", "(HU)"]),
    "registration": (lambda: plots.registration(CT, CT[::-1], CT, K, LABEL), 8, ["(HU)"]),
    "registration_errors": (
        lambda: plots.registration_errors(registrations(), LABEL),
        3,
        ["(°)", "(mm)"],
    ),
    "centers": (
        lambda: plots.centers(CT, LESION, [(14, 34), (30, 20)], [True, False], K, LABEL),
        1,
        ["HU"],
    ),
    "patch_examples": (
        lambda: plots.patch_examples([PATCH] * 7, [PATCH_LABEL] * 7, list("abcdefg"), LABEL),
        8,
        [],
    ),
    "elastic": (
        lambda: plots.elastic(PATCH, PATCH, PATCH_LABEL, PATCH_LABEL, field(), LABEL),
        2,
        [],
    ),
    "class_fractions": (lambda: plots.class_fractions(STAGES, LABEL), 1, ["(%)"]),
    "network_diagram": (lambda: plots.network_diagram(LAYERS, 10, LABEL), 1, ["side×side"]),
    "history": (lambda: plots.history(epochs(), "rt_sm", "l1_error", LABEL), 4, ["epoch"]),
    "probability": (lambda: plots.probability(CT, 0.5 * LESION, LESION, K, LABEL), 3, ["HU"]),
    "segmentations": (
        lambda: plots.segmentations(
            [CT[:, :, K]] * 3, MASKS[:1] * 3, [MASKS] * 3, list("xyz"), list("ab"), LABEL
        ),
        6,
        ["HU"],
    ),
    "worst_cases": (
        lambda: plots.worst_cases(*WORST, ["scan 1, 3.2 mL\nDSC 0.12, found 12.3 mL"] * 5, LABEL),
        21,
        ["HU", "(mL/100 g/min)", "mL\nDSC"],
    ),
    "uncertainty": (
        lambda: plots.uncertainty(CT, PROBABILITY, SPREAD, LESION, LESION, K, LABEL),
        5,
        ["HU", "(units of probability)"],
    ),
    "reliability": (lambda: plots.reliability(CURVES, ECE, LABEL), 2, ["(%)", "probability"]),
    "by_group": (lambda: plots.by_group(grouped(), "volume_group", LABEL), 2, ["(mL)", "(mm)"]),
    "bland_altman": (lambda: plots.bland_altman(scores(), AGREEMENT, LABEL), 10, ["(mL)"]),
    "seeds": (lambda: plots.seeds(by_seed(), stats.seed_spread(by_seed()), "dsc", LABEL), 2, ["DSC"]),
    "grid_heatmaps": (
        lambda: plots.grid_heatmaps(grid(), Pair(0.2, 200), LABEL),
        4,
        ["(mm)", "(voxels)"],
    ),
    "metric_boxes": (lambda: plots.metric_boxes(scores(), LABEL), 4, ["(mm)"]),
    "volumes": (lambda: plots.volumes(scores(), R2, LABEL), 5, ["(mL)"]),
    "paired_differences": (lambda: plots.paired_differences(differences(), LABEL), 2, ["(mm)"]),
    "claims": (lambda: plots.claims(told(), LABEL), 1, ["$d_z$", "points", "voxels"]),
    "leaderboard": (lambda: plots.leaderboard(entries(), LABEL), 1, ["DSC"]),
    "sweeps": (lambda: plots.sweeps({"step": swept()}, LABEL), 2, ["(mm)"]),
    "stopping": (lambda: plots.stopping(stops(), LABEL), 2, ["DSC"]),
}


def is_text(artist) -> bool:
    return isinstance(artist, mpl.text.Text) and artist.get_visible() and artist.get_text() != ""


def texts(fig) -> str:
    """Join every text on a figure."""
    return "\n".join(text.get_text() for text in fig.findobj(is_text))


def picture(ax, index=0) -> np.ndarray:
    return np.asarray(ax.images[index].get_array())


def png(fig, dpi=60) -> bytes:
    buffer = io.BytesIO()
    fig.savefig(buffer, dpi=dpi)
    return buffer.getvalue()


def test_every_public_function_is_drawn_here():
    public = {
        name
        for name, thing in vars(plots).items()
        if callable(thing)
        and getattr(thing, "__module__", "").startswith("strokelib.figures.")
        and not name.startswith("_")
        and not isinstance(thing, type)
    }
    assert public == set(FIGURES)


@pytest.mark.parametrize("name", FIGURES)
def test_figure_has_its_axes_units_and_label_and_nothing_is_cut_off(name):
    draw, n_axes, units = FIGURES[name]
    settings = dict(mpl.rcParams)
    fig = draw()
    assert isinstance(fig, Figure)
    assert len(fig.axes) == n_axes
    assert fig.get_size_inches()[0] <= 10
    assert dict(mpl.rcParams) == settings
    seen = texts(fig)
    for text in (LABEL, *units):
        assert text in seen
    fig.draw_without_rendering()
    assert min(text.get_fontsize() for text in fig.findobj(is_text)) >= 7
    drawn, (width, height) = fig.get_tightbbox(), fig.get_size_inches()  # inches
    assert drawn.x0 > -0.02 and drawn.y0 > -0.02
    assert drawn.x1 < width + 0.02 and drawn.y1 < height + 0.02


@pytest.mark.parametrize("name", ["segmentations", "metric_boxes"])
def test_png_of_the_same_data_is_the_same(name):
    draw = FIGURES[name][0]
    first, second = png(draw()), png(draw())
    assert first == second
    assert first.startswith(b"\x89PNG")


def test_import_leaves_the_reader_s_settings_alone():
    assert plots.STYLE["axes.spines.top"] is False
    assert mpl.rcParams["axes.spines.top"] is True
    source = "".join(path.read_text(encoding="utf-8") for path in Path(figures.__file__).parent.glob("*.py"))
    assert "plt.show" not in source
    assert "rcParams" not in source


def test_every_variant_has_a_name_and_a_color_of_its_own():
    assert set(VARIANTS) < set(plots.NAMES)
    assert {variant.monitor for variant in VARIANTS.values()} == set(plots.MONITORS)
    assert list(plots.NAMES) == list(plots.COLORS)
    assert len(set(plots.COLORS.values())) == len(plots.COLORS)


def test_modalities_are_shown_upright_in_their_units():
    fig = plots.modalities(IMAGES, K, LABEL, LESION)
    ct, cbf = fig.axes[:2]
    np.testing.assert_array_equal(picture(ct), np.rot90(CT[:, :, K]))
    # File values of CBF are ten times mL/100 g/min.
    assert picture(cbf).max() == pytest.approx(30)
    for ax, window in zip(fig.axes[:5], plots.WINDOWS.values(), strict=True):
        assert ax.images[0].get_clim() == (window.vmin, window.vmax)
        assert ax.images[0].get_cmap().name == window.cmap
    # The lesion lies at low x and high y: left and above the middle.
    outline = ct.collections[0]
    box = outline.get_paths()[0].get_extents()
    assert to_hex(outline.get_edgecolor()[0]) == plots.LESION
    assert (box.x0 + box.x1) / 2 == pytest.approx(14, abs=0.5)
    assert (box.y0 + box.y1) / 2 == pytest.approx(SIDE - 1 - 34, abs=0.5)


def test_a_scan_without_lesion_has_no_outline(recwarn):
    for lesion in (None, np.zeros_like(LESION)):
        fig = plots.modalities(IMAGES, K, LABEL, lesion)
        assert not any(ax.collections for ax in fig.axes[:5])
    assert not recwarn.list
    assert "lesion core" not in texts(plots.modalities(IMAGES, K, LABEL))


def test_view_is_limited_to_the_head_and_survives_an_empty_slice():
    ax = plots.modalities(IMAGES, K, LABEL).axes[0]
    inside = np.flatnonzero((CT[:, :, K] > -23).any(1))
    assert ax.get_xlim() == (inside[0] - 4, inside[-1] + 4)
    bottom, top = ax.get_ylim()
    assert bottom > top  # rows run downward
    ax = plots.modalities(np.zeros_like(IMAGES), K, LABEL).axes[0]
    assert ax.get_xlim() == (-0.5, SIDE - 0.5)


def test_mirrored_row_is_below_in_the_same_window():
    fig = plots.provided_and_mirrored(IMAGES, IMAGES[:, ::-1], K, LABEL)
    above, below = fig.axes[1], fig.axes[6]
    np.testing.assert_array_equal(picture(below), picture(above)[:, ::-1])
    assert below.images[0].get_clim() == above.images[0].get_clim()
    assert below.get_position().y1 < above.get_position().y0


def test_cohort_volumes_are_on_log_axes_and_empty_scans_are_counted():
    fig = plots.cohort_summary(cohort(), LABEL)
    volumes, slices, both = fig.axes[:3]
    assert volumes.get_xscale() == "log" and both.get_yscale() == "log"
    assert slices.get_xscale() == "linear"
    assert sum(bar.get_height() for bar in volumes.patches) == 3
    assert sorted(bar.get_height() for bar in slices.patches) == [2, 2]
    assert volumes.get_title() == "4 scans, 3 patients, 1 empty"
    assert len(both.collections[0].get_offsets()) == 3


def test_curves_keep_the_artery_on_its_own_axis():
    artery, tissue = plots.curves(TIME, 50 * TIME, TISSUE, LABEL).axes
    np.testing.assert_array_equal(artery.lines[0].get_ydata(), 50 * TIME)
    assert [line.get_label() for line in tissue.lines] == list(TISSUE)
    assert artery.get_ylim()[1] > 400 > tissue.get_ylim()[1]


def test_registration_shows_absolute_differences():
    fig = plots.registration(CT, CT[::-1], CT, K, LABEL)
    top, bottom = fig.axes[:3], fig.axes[3:6]
    assert [ax.get_visible() for ax in bottom] == [False, True, True]
    np.testing.assert_array_equal(picture(top[1]), np.rot90(CT[::-1, :, K]))
    assert picture(bottom[1]).max() == 35 and picture(bottom[1]).min() == 0  # air counts as 0 HU
    assert not picture(bottom[2]).any()


def test_registration_does_not_count_what_the_window_hides():
    bone = np.where(CT > 0, 900.0, -23.0)
    other = np.where(CT > 0, 1500.0, 0.0)
    fig = plots.registration(bone, other, bone + 0, K, LABEL)
    assert not picture(fig.axes[4]).any()


def test_registration_errors_are_drawn_where_known():
    assert len(plots.registration_errors(registrations(), LABEL).axes) == 3
    short = registrations()[["score", "flip_score"]]
    ax = plots.registration_errors(short, "ISLES 2018").axes[0]
    np.testing.assert_allclose(ax.collections[0].get_offsets(), short[["flip_score", "score"]])
    histogram = plots.registration_errors(registrations(), LABEL).axes[2]
    assert sum(bar.get_height() for bar in histogram.patches) == 3
    assert min(bar.get_x() for bar in histogram.patches) == pytest.approx(0.1)  # sizes, not signs


def test_centers_lie_where_the_image_shows_them():
    fig = plots.centers(CT, LESION, [(14, 34), (30, 20), (2, 47)], [True, False, True], K, LABEL)
    ax = fig.axes[0]
    healthy, of_lesion = (c.get_offsets() for c in ax.collections[-2:])
    np.testing.assert_array_equal(healthy, [(30, SIDE - 1 - 20)])
    np.testing.assert_array_equal(of_lesion, [(14, SIDE - 1 - 34), (2, 0)])
    assert ax.get_xlim()[0] <= 2 and ax.get_ylim()[1] <= 0  # seen, though off the head
    assert {text.get_text() for text in fig.legends[0].get_texts()} == {
        "healthy centers",
        "lesion centers, moved at random",
        "lesion core",
    }


def test_a_slice_without_centers_is_drawn():
    fig = plots.centers(CT, None, np.empty((0, 2), int), np.empty(0, bool), K, LABEL)
    assert [len(c.get_offsets()) for c in fig.axes[0].collections] == [0, 0]


def test_patches_share_one_window_and_spare_panels_are_hidden():
    fig = plots.patch_examples([PATCH, 2 * PATCH] * 4, [PATCH_LABEL] * 8, list("abcdefgh"), LABEL)
    assert len(fig.axes) == 8  # two rows of four
    assert len({ax.images[0].get_clim() for ax in fig.axes}) == 1
    fig = plots.patch_examples([PATCH] * 7, [PATCH_LABEL] * 7, list("abcdefg"), LABEL)
    assert [ax.get_visible() for ax in fig.axes] == [True] * 7 + [False]
    with pytest.raises(ValueError, match="zip"):
        plots.patch_examples([PATCH], [PATCH_LABEL], ["a", "b"], LABEL)


def test_elastic_grid_is_where_the_patch_was_sampled():
    before, after = plots.elastic(PATCH, PATCH, PATCH_LABEL, PATCH_LABEL, field(), LABEL).axes
    straight, moved = after.lines[0].get_xydata(), before.lines[0].get_xydata()
    # Two voxels along x are two columns; minus one along y is one row further down.
    np.testing.assert_allclose(moved - straight, np.broadcast_to((2.0, 1.0), straight.shape))
    assert straight[:, 0].tolist() == [0.0] * 16


def test_class_fractions_stand_beside_the_paper_s():
    fig = plots.class_fractions(STAGES, LABEL)
    ax = fig.axes[0]
    assert [bar.get_width() for bar in ax.patches] == pytest.approx([5.2, 11.8])
    assert [line.get_xdata()[0] for line in ax.lines] == [5, 12]
    seen = texts(fig)
    assert "5.2 %" in seen and "11.8 %" in seen and "paper: 12 %" in seen


def test_network_diagram_shows_every_stage_and_where_dropout_acts():
    fig = plots.network_diagram(LAYERS, 10)
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


def test_history_marks_the_last_improvement():
    fig = plots.history(epochs(), "rt_sm", "l1_error", LABEL)
    assert "best epoch, 3\n" in texts(fig)
    loss, accuracy, monitored, dsc = fig.axes
    assert [len(ax.lines) for ax in fig.axes] == [3, 3, 3, 2]
    assert monitored.get_ylabel() == "L1 loss + error rate"
    assert monitored.lines[-1].get_xydata().tolist() == [[3, 0.2]]
    assert loss.lines[0].get_label() == "training" and dsc.get_xlabel() == "epoch"
    assert accuracy.lines[1].get_ydata().tolist() == epochs()["validation_accuracy"].tolist()
    assert "Single + RT + SM" in texts(fig)


def test_probability_leaves_the_ct_bare_where_it_is_low():
    values = np.where(LESION, 0.5, 0.01)
    left, right, bar = plots.probability(CT, values, None, K, LABEL).axes
    shown = right.images[1].get_array()
    np.testing.assert_array_equal(~shown.mask, np.rot90(LESION[:, :, K]))
    assert right.images[1].get_clim() == (0, 1)
    assert len(left.images) == 1 and bar.get_ylabel() == "probability"


def test_segmentations_color_each_voxel_by_outcome():
    truth, prediction = np.zeros((2, SIDE, SIDE), bool)
    truth[10, 30] = truth[11, 30] = True
    prediction[11, 30] = prediction[12, 30] = True
    fig = plots.segmentations(
        [CT[:, :, K]], [truth], [[prediction]], ["case 1"], ["Baseline"], LABEL
    )
    ax = fig.axes[0]
    colors = picture(ax, 1)
    row = SIDE - 1 - 30
    assert tuple(colors[row, 11]) == (*plots.OUTCOMES["true positive"], 1)
    assert tuple(colors[row, 12]) == (*plots.OUTCOMES["false positive"], 1)
    assert tuple(colors[row, 10]) == (*plots.OUTCOMES["false negative"], 1)
    assert np.count_nonzero(colors[..., 3]) == 3
    # As in the paper: green, red and blue.
    assert [int(np.argmax(color)) for color in plots.OUTCOMES.values()] == [1, 0, 2]
    assert [t.get_text() for t in fig.legends[0].get_texts()] == list(plots.OUTCOMES)
    assert ax.get_ylabel() == "case 1" and ax.get_title() == "Baseline"


def test_segmentations_reach_the_png_in_those_colors():
    truth = MASKS[0]
    fig = plots.segmentations([CT[:, :, K]], [truth], [MASKS], ["case 1"], ["a", "b"], LABEL)
    pixels = plt.imread(io.BytesIO(png(fig)))[..., :3]
    for color in plots.OUTCOMES.values():
        assert (abs(pixels - color).max(-1) < 0.01).sum() > 20


def test_worst_cases_show_the_scan_then_the_map_then_the_truth_then_the_outcome():
    tmax = [100.0 * (LESION[:, :, K] + 1)] * 2
    ct, _, truths, masks = (part[:2] for part in WORST)
    fig = plots.worst_cases(ct, tmax, truths, masks, ["first", "second"], LABEL, "Tmax")
    rows = np.reshape(fig.axes[:8], (2, 4))
    assert [ax.get_title() for ax in rows[0]] == ["CT", "Tmax", "true lesion", "prediction"]
    assert [row[0].get_ylabel() for row in rows] == ["first", "second"]
    for row in rows:
        assert row[1].images[0].get_clim() == plots.WINDOWS["Tmax"][:2]
        assert picture(row[1]).max() == 200  # in s, as in the file
        assert [len(ax.collections) for ax in row] == [0, 0, 1, 0]  # the outline
        assert [len(ax.images) for ax in row] == [1, 1, 1, 2]
        shown = picture(row[3], 1)[..., 3]
        np.testing.assert_array_equal(shown > 0, np.rot90(truths[0] | masks[0]))
    assert fig.axes[8].get_xlabel() == "Tmax (s)"
    with pytest.raises(ValueError, match="zip"):
        plots.worst_cases(ct, tmax, truths, masks, ["first"], LABEL)


def test_worst_case_without_a_prediction_is_all_missed():
    nothing = [np.zeros_like(MASKS[0])] * 2
    fig = plots.worst_cases(*(part[:2] for part in WORST[:3]), nothing, ["a", "b"], LABEL)
    colors = picture(fig.axes[3], 1)
    found = np.unique(colors[colors[..., 3] > 0], axis=0)
    np.testing.assert_array_equal(found, [(*plots.OUTCOMES["false negative"], 1)])


def test_uncertainty_is_shown_on_its_own_scale_in_the_place_of_the_lesion():
    fig = plots.uncertainty(CT, PROBABILITY, SPREAD, LESION, np.roll(LESION, 3, axis=0), K, LABEL)
    mean, spread, outcome = fig.axes[:3]
    assert mean.images[1].get_clim() == (0, 1) and spread.images[1].get_clim() == (0, 0.2)
    for ax in (mean, spread):
        np.testing.assert_array_equal(~ax.images[1].get_array().mask, np.rot90(LESION[:, :, K]))
        assert to_hex(ax.collections[0].get_edgecolor()[0]) == plots.LESION
    assert np.count_nonzero(picture(outcome, 1)[..., 3]) == np.count_nonzero(MASKS[0] | MASKS[1])
    bars = [ax.get_ylabel() for ax in fig.axes[3:]]
    assert bars == ["probability of lesion", "SD (units of probability)"]


def test_a_slice_without_spread_or_lesion_is_drawn(recwarn):
    nothing = np.zeros_like(LESION)
    fig = plots.uncertainty(CT, 0.0 * CT, 0.0 * CT, nothing, nothing, K, LABEL)
    assert fig.axes[1].images[1].get_array().mask.all() and not recwarn.list


def test_reliability_stands_beside_the_share_of_voxels():
    fig = plots.reliability(CURVES, ECE, LABEL)
    curve, share = fig.axes
    assert curve.lines[0].get_xydata().tolist() == [[0, 0], [1, 1]]
    for line, variant in zip(curve.lines[1:], CURVES, strict=True):
        # The second bin is empty.
        np.testing.assert_allclose(line.get_xydata(), [[1 / 45, 0.01], [0.6, 0.5], [0.9, 0.95]])
        assert line.get_color() == plots.COLORS[variant]
    steps = share.patches[0].get_data()
    assert steps.values.tolist() == pytest.approx([90, 0, 6, 4]) and steps.edges.tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert share.get_yscale() == "log"
    seen = texts(fig)
    assert "Single + RT + SM, ECE 0.019" in seen and "Single + RT + SM + UF, ECE 0.250" in seen


def test_heatmaps_mark_the_chosen_pair_and_show_the_better_brighter():
    fig = plots.grid_heatmaps(grid(), Pair(0.2, 200), LABEL, "Single + RT")
    dsc, hd = fig.axes[:2]
    for ax in (dsc, hd):
        marks = [patch for patch in ax.patches if not patch.get_fill()]
        assert [mark.get_xy() for mark in marks] == [(0.5, 0.5)]  # around second S_min, second T
        image = ax.images[0]
        best, worst = (sum(image.to_rgba(picture(ax)[place])[:3]) for place in ((1, 1), (0, 0)))
        assert best > worst
        inks = [ax.texts[n].get_color() for n in (3, 0)]
        assert inks == ["black", "white"]
    np.testing.assert_array_equal(picture(dsc), [[0.1, 0.2], [0.3, 0.6], [0.5, 0.4]])
    seen = texts(fig)
    assert "0.600" in seen and "20.0" in seen and "T = 0.2 and Smin = 200 voxels" in seen


def test_a_pair_that_is_not_in_the_grid_is_refused():
    with pytest.raises(ValueError, match=r"threshold=0.25.* is not in the grid of \[0.1, 0.2, 0.3\]"):
        plots.grid_heatmaps(grid(), Pair(0.25, 200), LABEL)


def test_boxes_leave_out_and_count_what_is_not_finite():
    fig = plots.metric_boxes(scores(), LABEL)
    dsc, ppv, _, hd = fig.axes
    ticks = [text.get_text() for text in hd.get_xticklabels()]
    assert ticks[2] == "Single\n+ RT\n(2 not finite)"
    assert ppv.get_xticklabels()[2].get_text().endswith("(1 not finite)")
    assert not any("finite" in text.get_text() for text in dsc.get_xticklabels())
    points = [line for line in hd.lines if line.get_marker() == "."]
    assert [len(line.get_xdata()) for line in points] == [6, 6, 4, 6, 6]
    assert [line.get_color() for line in points] == list(plots.COLORS.values())
    assert hd.get_ylim()[0] == 0
    median = [line for line in dsc.lines if line.get_color() == "black"][-1]
    assert median.get_ydata()[0] == pytest.approx(0.2 + 0.4 + 0.125)


def test_groups_have_their_scans_counted_below():
    fig = plots.by_group(grouped(), "volume_group", LABEL)
    dsc, hd = fig.axes
    # 0, 9, 18, 27, 36 and 45 mL; the second scan of rt and the first have no HD.
    assert [t.get_text() for t in dsc.get_xticklabels()] == ["< 5\nn = 1", "5–20\nn = 2", "20–60\nn = 3", "> 60\nn = 0"]
    assert hd.get_xticklabels()[0].get_text() == "< 5\nn = 1\nnot finite: 1"
    assert hd.get_xticklabels()[2].get_text() == "20–60\nn = 3"
    assert (dsc.get_ylabel(), hd.get_ylabel()) == ("DSC", "HD (mm)")
    assert hd.get_xlabel() == "true lesion volume (mL)"
    points = [line for line in dsc.lines if line.get_marker() == "." and len(line.get_xdata())]
    assert [line.get_color() for line in points] == list(plots.COLORS.values()) * 3
    for n, line in enumerate(points):  # each within its group, variants from left to right
        assert (abs(line.get_xdata() - n // 5) < 0.5).all()
    middles = [line.get_xdata().mean() for line in points]
    assert middles == sorted(middles)
    drawn = np.concatenate([line.get_ydata() for line in points])
    assert sorted(drawn) == pytest.approx(sorted(grouped()["dsc"]))
    assert [t.get_text() for t in fig.legends[0].get_texts()] == list(plots.NAMES.values())


def test_groups_of_another_kind_are_named_by_their_column():
    frame = grouped().assign(slice_group=agreement.slice_groups([2] * 30), scanner=pd.Categorical(["a"] * 30))
    assert plots.by_group(frame, "slice_group", LABEL, ("ppv",)).axes[0].get_xlabel() == "slices a scan"
    assert plots.by_group(frame, "scanner", LABEL, ("ppv",)).axes[0].get_xlabel() == "scanner"


def test_bland_altman_draws_the_limits_below_the_volumes():
    fig = plots.bland_altman(scores(), AGREEMENT, LABEL)
    above, below = fig.axes[:5], fig.axes[5:]
    found = AGREEMENT["rt"]
    for ax in above:
        assert ax.get_xscale() == ax.get_yscale() == "symlog"
        low, high = ax.get_xlim()
        assert low < 0 < 60 < high  # an empty prediction has its place
        np.testing.assert_allclose(ax.collections[0].get_offsets()[3], (27, 30))
    for ax in below:
        assert ax.get_xscale() == "symlog" and ax.get_yscale() == "linear"
        np.testing.assert_allclose(ax.collections[0].get_offsets()[3], (28.5, 3))
        levels = [line.get_ydata()[0] for line in ax.lines]
        assert levels == [found["lower_ml"], found["bias_ml"], found["upper_ml"]]
        bands = [(patch.get_y(), patch.get_y() + patch.get_height()) for patch in ax.patches]
        assert bands[0] == pytest.approx((found["lower_low_ml"], found["lower_high_ml"]))
    assert "bias 8.0 mL\nlimits −13 to 29 mL" in texts(fig)


def test_bland_altman_of_one_variant_has_room_for_its_note():
    fig = plots.bland_altman(scores().query("variant == 'rt'"), AGREEMENT, LABEL)
    fig.draw_without_rendering()
    assert len(fig.axes) == 2
    assert fig.get_tightbbox().x0 > -0.02


def test_seeds_are_told_apart_and_stand_beside_their_differences():
    spread = stats.seed_spread(by_seed())
    fig = plots.seeds(by_seed(), spread, "dsc", LABEL)
    means, gap = fig.axes
    assert [t.get_text() for t in means.get_yticklabels()] == ["Single + RT", "Single + RT + SM"]
    assert [t.get_text() for t in gap.get_yticklabels()] == ["Single + RT + SM\n− Single + RT"]
    points = [line for line in means.lines if line.get_marker() in "os^" and len(line.get_xdata())]
    assert [line.get_xdata()[0] for line in points] == pytest.approx([0.51, 0.52, 0.54, 0.61, 0.62, 0.64])
    assert len({line.get_marker() for line in points}) == 3
    assert [line.get_color() for line in points] == [plots.COLORS["rt"]] * 3 + [plots.COLORS["rt_sm"]] * 3
    row = spread.query("kind == 'difference'").iloc[0]
    assert gap.lines[0].get_xdata().tolist() == [row["low"], row["high"]]
    assert (means.get_xlabel(), gap.get_xlabel()) == ("mean DSC", "difference in mean DSC")
    assert [t.get_text() for t in fig.legends[0].get_texts()] == ["seed 1", "seed 2", "seed 4"]
    assert f"SD {row['sd']:.2g}" in texts(fig)


def test_a_single_seed_is_drawn_without_a_spread(recwarn):
    values = by_seed().query("seed == 1")
    assert "one seed" in texts(plots.seeds(values, stats.seed_spread(values), "dsc", LABEL))
    assert not recwarn.list


def test_variants_come_in_the_paper_s_order_and_unknown_ones_are_refused():
    some = scores().query("variant in ('rt_sm_uf', 'baseline')").iloc[::-1]
    fig = plots.volumes(some, R2, LABEL)
    titles = [ax.get_title().split("\n")[0] for ax in fig.axes]
    assert titles == ["Baseline", "Single + RT + SM + UF"]
    with pytest.raises(ValueError, match=r"unknown variants unet.*baseline"):
        plots.volumes(some.assign(variant="unet"), R2, LABEL)


def test_volumes_lie_about_the_identity_line():
    fig = plots.volumes(scores(), R2, LABEL)
    for ax in fig.axes:
        assert ax.get_xlim() == ax.get_ylim() == (0, pytest.approx(52.5))
        assert ax.lines[0].get_xydata().tolist() == [[0, 0], [52.5, 52.5]]
        np.testing.assert_allclose(ax.collections[0].get_offsets()[1], (9, 10))
    assert "$R^2$ = 0.80, about identity 0.70" in texts(fig)


def test_differences_are_filled_where_significant():
    fig = plots.paired_differences(differences(), LABEL)
    dsc, hd = fig.axes
    assert (dsc.get_xlabel(), hd.get_xlabel()) == ("difference in DSC", "difference in HD (mm)")
    middle = [line for line in hd.lines if line.get_marker() == "o"]
    assert [line.get_xdata()[0] for line in middle] == [-3.0, -5.0]
    assert [line.get_markerfacecolor() for line in middle] == ["white", plots.BLUE]
    assert hd.lines[1].get_xdata().tolist() == [-6.0, 1.0]
    seen = texts(fig)
    assert "p = 0.020" in seen and "p < 0.001" in seen
    low, high = dsc.get_ylim()
    assert low > high  # the first pair on top


def told():
    """Two claims by scan and by patient: one that holds, and one of a lower HD that comes out opposite."""
    facts = {"new": ["rt_sm", "rt_sm_uf"], "old": ["rt", "rt_sm"], "metric": ["ppv", "hd_voxels"]}
    facts |= {"mean_difference": [0.05, 2.0], "d_z": [0.5, 0.25], "d_z_low": [0.1, 0.05], "d_z_high": [0.9, 0.5]}
    facts |= {"p": [0.0004, 0.03], "paper_direction": ["up", "down"], "verdict": ["holds", "opposite"]}
    return pd.concat(pd.DataFrame(facts | {"unit": unit}) for unit in stats.UNITS)


def test_claims_point_to_the_right_where_the_papers_sign_is_ours():
    ax = plots.claims(told(), LABEL).axes[0]
    marks = {marker: [line for line in ax.lines if line.get_marker() == marker] for marker in "os"}
    places = [(line.get_xdata()[0], line.get_color()) for line in marks["o"][:2]]
    assert places == [(0.5, plots.GREEN), (-0.25, plots.RED)], "a higher HD, and the paper's is lower: on the left"
    assert [line.get_markerfacecolor() for line in marks["s"][:2]] == ["white", "white"]
    bars = [sorted(line.get_xdata()) for line in ax.lines if len(line.get_xdata()) == 2][1:3]
    assert bars == [[0.1, 0.9], [-0.5, -0.05]]
    words = [text.get_text() for text in ax.get_yticklabels()]
    assert words == ["RT + SM − RT: PPV up", "RT + SM + UF − RT + SM: HD down"]
    seen = texts(ax.figure)
    assert "+5.0 points, p < 0.001: holds" in seen and "+2.0 voxels, p = 0.030: opposite" in seen


def swept():
    return pd.DataFrame(
        {
            "value": [32, 32, 64, 64, 96, 96],
            "metric": ["dsc", "hd_mm"] * 3,
            "mean_difference": [-0.02, 3.0, 0.0, 0.0, 0.01, -2.0],
            "low": [-0.04, 1.0, 0.0, 0.0, -0.01, -4.0],
            "high": [0.0, 6.0, 0.0, 0.0, 0.02, 1.0],
            "reference": [False, False, True, True, False, False],
        }
    )


def stops():
    rows = [("rt", 0, "validation_loss", -0.2, 0.04), ("rt", 1, "validation_loss", -0.6, 0.0)]
    rows += [("rt", 0, "monitored", -0.9, 0.01), ("rt", 1, "monitored", np.nan, 0.03)]
    return pd.DataFrame(rows, columns=["network", "fold", "quantity", "rank", "cost"])


def test_sweeps_stand_in_order_with_the_reference_open():
    fig = plots.sweeps({"patch side (voxels)": swept().iloc[::-1], "step": swept().iloc[:4]}, LABEL)
    dsc, other, hd, _ = fig.axes
    assert (dsc.get_ylabel(), hd.get_ylabel()) == ("difference in DSC", "difference in HD (mm)")
    assert hd.get_xlabel() == "patch side (voxels)" and other.get_ylabel() == ""
    assert [text.get_text() for text in hd.get_xticklabels()] == ["32", "64", "96"]
    line = next(line for line in dsc.lines if len(line.get_xdata()) == 3)
    assert list(line.get_ydata()) == [-0.02, 0.0, 0.01]
    (bars,) = dsc.collections
    assert np.allclose(bars.get_segments()[0], [[0, -0.04], [0, 0.0]])
    opened = [line for line in dsc.lines if line.get_markerfacecolor() == "white"]
    assert [list(line.get_xdata()) for line in opened] == [[1]]


def test_stopping_draws_a_point_a_network_and_their_mean():
    rank, cost = plots.stopping(stops(), LABEL).axes
    assert [text.get_text() for text in rank.get_yticklabels()] == ["validation loss", "L1 loss + error rate"]
    points = [sorted(line.get_xdata()) for line in rank.lines if line.get_marker() == "o"]
    assert points == [[-0.6, -0.2], [-0.9]]
    means = [line.get_xdata()[0] for line in cost.lines if line.get_marker() != "o"]
    assert means == pytest.approx([0.02, 0.02])


def test_a_difference_without_a_test_is_drawn():
    columns = ["mean_difference", "low", "high", "p_holm"]
    undefined = differences().assign(**dict.fromkeys(columns, np.nan))
    assert "p undefined" in texts(plots.paired_differences(undefined, LABEL))


def test_leaderboard_sets_our_entries_apart():
    ax = plots.leaderboard(entries(), LABEL).axes[0]
    ticks = ax.get_yticklabels()
    names = [text.get_text() for text in ticks]
    assert names[:2] == ["1  songt1", "2  clera2"] and names[-1] == "–  this work"
    bold = [text.get_text() for text in ticks if text.get_fontweight() == "bold"]
    assert bold == ["2  clera2", "–  this work"]
    colors = [text.get_color() for text in ax.texts]
    assert colors == [plots.BLUE] * 10 + [plots.RED]
    assert ax.texts[0].get_text() == "0.51 ± 0.31"


@pytest.mark.parametrize(
    ("draw", "frame", "column"),
    [
        (lambda f: plots.cohort_summary(f, LABEL), cohort(), "volume_ml"),
        (lambda f: plots.registration_errors(f, LABEL), registrations(), "flip_score"),
        (lambda f: plots.class_fractions(f, LABEL), STAGES, "stage"),
        (lambda f: plots.history(f, "rt", "monitored", LABEL), epochs(), "validation_dsc"),
        (lambda f: plots.grid_heatmaps(f, Pair(0.2, 200), LABEL), grid(), "hd_mm"),
        (lambda f: plots.metric_boxes(f, LABEL), scores(), "hd_mm"),
        (lambda f: plots.volumes(f, R2, LABEL), scores(), "truth_volume_ml"),
        (lambda f: plots.paired_differences(f, LABEL), differences(), "p_holm"),
        (lambda f: plots.by_group(f, "volume_group", LABEL), grouped(), "volume_group"),
        (lambda f: plots.bland_altman(f, AGREEMENT, LABEL), scores(), "truth_volume_ml"),
        (lambda f: plots.reliability({"rt": f}, {"rt": 0.1}, LABEL), agreement.reliability(COUNTS), "share"),
        (lambda f: plots.seeds(f, stats.seed_spread(by_seed()), "dsc", LABEL), by_seed(), "seed"),
        (lambda f: plots.sweeps({"step": f}, LABEL), swept(), "low"),
        (lambda f: plots.claims(f, LABEL), told(), "d_z_low"),
        (lambda f: plots.leaderboard(f, LABEL), entries(), "source"),
    ],
)
def test_a_missing_column_is_named(draw, frame, column):
    before = plt.get_fignums()
    with pytest.raises(ValueError, match=f"lacks the columns {column}; it has "):
        draw(frame.drop(columns=column))
    assert plt.get_fignums() == before
