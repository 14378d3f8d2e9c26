"""What the figures of scores show: by threshold, variant, group, volume, probability and rank."""

import itertools

import numpy as np
import pandas as pd
import pytest
from drawing import LABEL, check, check_column, closed, picture, png, public, texts  # noqa: F401

from strokelib import submission
from strokelib.evaluation import agreement
from strokelib.figures import scores
from strokelib.postprocess import Pair
from strokelib.vocabulary import BLUE, COLORS, NAMES, RED


def grid():
    pairs = [(t, s) for t in (0.1, 0.2, 0.3) for s in (10, 200)]
    return pd.DataFrame(
        {
            "threshold": [t for t, _ in pairs],
            "min_lesion_voxels": [s for _, s in pairs],
            "dsc": [0.1, 0.2, 0.3, 0.6, 0.5, 0.4],
            "hd_mm": [40.0, 35.0, 30.0, 20.0, 25.0, 28.0],
            "near_best": [False, False, False, True, True, False],
            "chosen": [0.0, 0.0, 0.25, 0.5, 0.25, 0.0],
            "chosen_stable": [0.0, 0.0, 0.0, 0.125, 0.875, 0.0],
        }
    )


def metrics():
    rows = []
    for v, variant in enumerate(NAMES):
        for number in range(6):
            dsc = 0.2 + 0.1 * v + 0.05 * number
            rows.append((variant, number, dsc, dsc, dsc, 30.0 - number, 10.0 * number, 9.0 * number))
    names = ["variant", "number", "dsc", "ppv", "sensitivity", "hd_mm", "volume_ml", "truth_volume_ml"]
    frame = pd.DataFrame(rows, columns=names)
    frame.loc[frame["variant"].eq("rt") & frame["number"].lt(2), "hd_mm"] = np.inf
    frame.loc[frame["variant"].eq("rt") & frame["number"].eq(0), "ppv"] = np.nan
    return frame


def grouped():
    """Sort the six scans of `metrics`, 0 to 45 mL, into groups; the last one stays empty."""
    frame = metrics().rename(columns={"number": "case"})
    return frame.assign(volume_group=agreement.volume_groups(frame["truth_volume_ml"]))


def entries():
    ours = {"rank": None, "user": "this work", "reference": None, "dsc_mean": 0.45, "dsc_sd": 0.2}
    ours |= {f"{name}_{part}": 0.5 for name in ("ppv", "sensitivity") for part in ("mean", "sd")}
    ours |= {"hd_millions_mean": 0.0, "hd_millions_sd": 0.0, "n": 8, "hd_undefined": 0}
    return submission.table2(ours=ours)


PAIRS = Pair(0.2, 200), Pair(0.3, 10)
R2 = dict.fromkeys(NAMES, (0.8, 0.7))
AGREEMENT = dict.fromkeys(NAMES, agreement.bland_altman([9.0, 25.0, 60.0], [10.0, 20.0, 40.0]))
COUNTS = np.array([[900.0, 0, 60, 40], [20.0, 0, 36, 36], [9.0, 0, 30, 38]])
CURVES = dict.fromkeys(("rt_sm", "rt_sm_uf"), agreement.reliability(COUNTS))
ECE = {"rt_sm": 0.0193, "rt_sm_uf": 0.25}
DIFFERENCES = agreement.volume_differences(metrics())
# figure: how it is drawn, its axes with those of color bars, units that stand on it
FIGURES = {
    "reliability": (lambda: scores.reliability(CURVES, ECE, LABEL), 2, ["(%)", "probability"]),
    "by_group": (lambda: scores.by_group(grouped(), "volume_group", LABEL), 2, ["(mL)", "(mm)"]),
    "bland_altman": (lambda: scores.bland_altman(DIFFERENCES, AGREEMENT, LABEL), 6, ["(mL)"]),
    "grid_heatmaps": (lambda: scores.grid_heatmaps(grid(), *PAIRS, LABEL), 8, ["(mm)", "(voxels)", "(% of samples)"]),
    "metric_boxes": (lambda: scores.metric_boxes(metrics(), LABEL), 4, ["(mm)"]),
    "volumes": (lambda: scores.volumes(metrics(), R2, LABEL), 6, ["(mL)"]),
    "leaderboard": (lambda: scores.leaderboard(entries(), LABEL), 2, ["DSC"]),
}


def test_every_public_function_is_drawn_here():
    assert public(scores) == set(FIGURES)


@pytest.mark.parametrize("name", FIGURES)
def test_figure_has_its_axes_units_and_label_and_nothing_is_cut_off(name):
    check(*FIGURES[name])


def test_png_of_the_same_data_is_the_same():
    first, second = png(scores.metric_boxes(metrics(), LABEL)), png(scores.metric_boxes(metrics(), LABEL))
    assert first == second
    assert first.startswith(b"\x89PNG")


def test_reliability_stands_beside_the_share_of_voxels():
    fig = scores.reliability(CURVES, ECE, LABEL)
    curve, share = fig.axes
    assert curve.lines[0].get_xydata().tolist() == [[0, 0], [1, 1]]
    for line, variant in zip(curve.lines[1:], CURVES, strict=True):
        # The second bin is empty.
        np.testing.assert_allclose(line.get_xydata(), [[1 / 45, 0.01], [0.6, 0.5], [0.9, 0.95]])
        assert line.get_color() == COLORS[variant]
    steps = share.patches[0].get_data()
    assert steps.values.tolist() == pytest.approx([90, 0, 6, 4]) and steps.edges.tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert share.get_yscale() == "log"
    seen = texts(fig)
    assert "Single + RT + SM, ECE 0.019" in seen and "Single + RT + SM + UF, ECE 0.250" in seen


def test_heatmaps_mark_both_chosen_pairs_and_show_the_better_brighter():
    fig = scores.grid_heatmaps(grid(), *PAIRS, LABEL, "Single + RT")
    dsc, hd, chosen, stable = fig.axes[:4]
    for ax in (dsc, hd, chosen, stable):
        marks = [patch for patch in ax.patches if not patch.get_fill()]
        assert [mark.get_xy() for mark in marks] == [(1, 1), (0, 2)]  # second S_min and T; first S_min, third T
        assert [mark.get_linestyle() for mark in marks] == ["-", "--"]
    for ax in (dsc, hd):
        cells = ax.collections[0]
        best, worst = (sum(cells.to_rgba(cells.get_array()[place])[:3]) for place in ((1, 1), (0, 0)))
        assert best > worst
        inks = [ax.texts[n].get_color() for n in (3, 0)]
        assert inks == [".15", "w"]  # seaborn's dark and light
    np.testing.assert_array_equal(dsc.collections[0].get_array(), [[0.1, 0.2], [0.3, 0.6], [0.5, 0.4]])
    np.testing.assert_array_equal(chosen.collections[0].get_array(), [[0, 0], [25, 50], [25, 0]])
    np.testing.assert_array_equal(stable.collections[0].get_array(), [[0, 0], [0, 12.5], [87.5, 0]])
    seen = texts(fig)
    assert "0.600" in seen and "20.0" in seen
    assert "red: T = 0.2, Smin = 200; dashed, by its neighborhood: T = 0.3, Smin = 10" in seen


def test_pairs_near_the_best_have_their_dsc_in_bold():
    dsc, hd = scores.grid_heatmaps(grid(), *PAIRS, LABEL).axes[:2]
    assert [text.get_text() for text in dsc.texts if text.get_fontweight() == "bold"] == ["0.600", "0.500"]
    assert not any(text.get_fontweight() == "bold" for text in hd.texts)


def test_the_foot_of_the_heatmaps_has_room_for_a_long_label():
    fig = scores.grid_heatmaps(grid(), *PAIRS, "ISLES 2018, a part of 24 training scans")
    fig.draw_without_rendering()
    assert fig.get_tightbbox().x0 > -0.02


@pytest.mark.parametrize("pairs", [(Pair(0.25, 200), PAIRS[1]), (PAIRS[0], Pair(0.25, 200))])
def test_a_pair_that_is_not_in_the_grid_is_refused(pairs):
    with pytest.raises(ValueError, match=r"threshold=0.25.* is not in the grid of \[0.1, 0.2, 0.3\]"):
        scores.grid_heatmaps(grid(), *pairs, LABEL)


def test_boxes_leave_out_and_count_what_is_not_finite():
    fig = scores.metric_boxes(metrics(), LABEL)
    dsc, ppv, _, hd = fig.axes
    ticks = [text.get_text() for text in hd.get_xticklabels()]
    assert ticks[:2] == ["rCBF < 30 %\nand Tmax >\n6 s", "The same\nrule, tuned\non the\nother folds"]
    assert ticks[3] == "Single\n+ RT\nundefined:\n2"
    assert ppv.get_xticklabels()[3].get_text().endswith("\nundefined:\n1")
    assert not any("undefined" in text.get_text() for text in dsc.get_xticklabels())
    points = [line for line in hd.lines if line.get_marker() == "."]
    assert [len(line.get_xdata()) for line in points] == [6, 6, 6, 4, 6, 6]
    assert [line.get_color() for line in points] == list(COLORS.values())
    assert hd.get_ylim()[0] == 0
    median = [line for line in dsc.lines if line.get_color() == "black"][-1]
    assert median.get_ydata()[0] == pytest.approx(0.2 + 0.5 + 0.125)


def test_ticks_of_six_methods_do_not_touch():
    many = pd.concat([metrics()] * 10)
    many.loc[many["variant"].isin([*NAMES][:2]), ["hd_mm", "ppv"]] = np.nan  # 60 of each, beside each other
    fig = scores.metric_boxes(many, LABEL)
    fig.draw_without_rendering()
    for ax in fig.axes:
        boxes = [text.get_window_extent() for text in ax.get_xticklabels()]
        assert all(left.x1 < right.x0 for left, right in itertools.pairwise(boxes))


def test_groups_have_their_scans_counted_below():
    fig = scores.by_group(grouped(), "volume_group", LABEL)
    dsc, hd = fig.axes
    # 0, 9, 18, 27, 36 and 45 mL, so none above 60; the second scan of rt and the first have no HD.
    assert [t.get_text() for t in dsc.get_xticklabels()] == ["< 5\nn = 1", "5–20\nn = 2", "20–60\nn = 3"]
    assert [t.get_text() for t in hd.get_xticklabels()] == [t.get_text() for t in dsc.get_xticklabels()]
    counts = [text.get_text() for text in hd.texts]
    places = [divmod(place, len(COLORS)) for place, count in enumerate(counts) if count == "1"]
    assert places == [(0, [*COLORS].index("rt")), (1, [*COLORS].index("rt"))] and {*counts} == {"", "1"}
    assert not any(text.get_text() for text in dsc.texts)
    assert (dsc.get_ylabel(), hd.get_ylabel()) == ("DSC", "HD (mm)")
    assert hd.get_xlabel() == "true lesion volume (mL)"
    points = [line for line in dsc.lines if line.get_marker() == "." and len(line.get_xdata())]
    assert [line.get_color() for line in points] == list(COLORS.values()) * 3
    for n, line in enumerate(points):  # each within its group, variants from left to right
        assert (abs(line.get_xdata() - n // len(COLORS)) < 0.5).all()
    middles = [line.get_xdata().mean() for line in points]
    assert middles == sorted(middles)
    drawn = np.concatenate([line.get_ydata() for line in points])
    assert sorted(drawn) == pytest.approx(sorted(grouped()["dsc"]))
    assert [t.get_text() for t in fig.legends[0].get_texts()] == list(NAMES.values())


def test_groups_of_another_kind_are_named_by_their_column():
    frame = grouped().assign(slice_group=agreement.slice_groups([2] * 36), scanner=pd.Categorical(["a"] * 36))
    assert scores.by_group(frame, "slice_group", LABEL, ("ppv",)).axes[0].get_xlabel() == "slices a scan"
    assert scores.by_group(frame, "scanner", LABEL, ("ppv",)).axes[0].get_xlabel() == "scanner"


def test_bland_altman_draws_the_differences_and_their_limits():
    fig = scores.bland_altman(DIFFERENCES, AGREEMENT, LABEL)
    found = AGREEMENT["rt"]
    for ax in fig.axes:
        assert ax.get_xscale() == "symlog" and ax.get_yscale() == "linear"
        low, high = ax.get_xlim()
        assert low < 0 < 47.5 < high  # an empty prediction has its place
        np.testing.assert_allclose(ax.collections[0].get_offsets()[3], (28.5, 3))
        levels = [line.get_ydata()[0] for line in ax.lines]
        assert levels == [0, found["lower_ml"], found["bias_ml"], found["upper_ml"]]
        bands = [(patch.get_y(), patch.get_y() + patch.get_height()) for patch in ax.patches]
        assert bands[0] == pytest.approx((found["lower_low_ml"], found["lower_high_ml"]))
    titles = [ax.get_title() for ax in fig.axes]
    assert titles[2] == "Baseline\nbias 8.0 mL\nlimits −13 to 29 mL"
    assert titles[0].startswith("rCBF < 30 %\nand Tmax > 6 s\n") and titles[5].startswith("Single + RT\n+ SM + UF\n")
    assert titles[1].startswith("The same rule,\ntuned on the other folds\n")


def test_bland_altman_of_one_variant_has_room_for_its_note():
    fig = scores.bland_altman(DIFFERENCES.query("variant == 'rt'"), AGREEMENT, LABEL)
    fig.draw_without_rendering()
    assert len(fig.axes) == 1
    assert fig.get_tightbbox().x0 > -0.02


def test_variants_come_in_the_paper_s_order_and_unknown_ones_are_refused():
    some = metrics().query("variant in ('rt_sm_uf', 'baseline')").iloc[::-1]
    fig = scores.volumes(some, R2, LABEL)
    titles = [ax.get_title().split("\n")[0] for ax in fig.axes]
    assert titles == ["Baseline", "Single + RT + SM + UF"]
    with pytest.raises(ValueError, match=r"unknown variants unet.*baseline"):
        scores.volumes(some.assign(variant="unet"), R2, LABEL)


def test_volumes_lie_about_the_identity_line():
    fig = scores.volumes(metrics(), R2, LABEL)
    for ax in fig.axes:
        assert ax.get_xlim() == ax.get_ylim() == (0, pytest.approx(52.5))
        assert ax.lines[0].get_xydata().tolist() == [[0, 0], [52.5, 52.5]]
        np.testing.assert_allclose(ax.collections[0].get_offsets()[1], (9, 10))
    assert "$R^2$ = 0.80\nabout identity 0.70" in texts(fig)


def test_leaderboard_sets_our_run_apart_on_an_axis_of_its_own():
    paper, ours = scores.leaderboard(entries(), LABEL).axes
    names = [text.get_text() for text in paper.get_yticklabels()]
    assert names[:2] == ["1  songt1", "2  clera2"] and len(names) == 10
    assert [text.get_text() for text in ours.get_yticklabels()] == ["–  this work"]
    bold = [text.get_text() for text in paper.get_yticklabels() if text.get_fontweight() == "bold"]
    assert bold == ["2  clera2"]
    assert {text.get_color() for text in paper.texts} == {BLUE} and [t.get_color() for t in ours.texts] == [RED]
    assert paper.texts[0].get_text() == "0.51 ± 0.31"
    assert "ISLES 2018, 62 testing scans" in paper.get_title("left")
    assert "not to be compared with it: synthetic cohort, 8 testing scans" in ours.get_title("left")
    foot = paper.figure.get_supxlabel()
    assert foot == "Table 2; bold: Clèrigues et al. · ISLES 2018 as published; this run: synthetic cohort"
    sd, interval, mean = paper.lines[:3]
    assert sd.get_xdata() == pytest.approx([0.2, 0.82]) and mean.get_xdata()[0] == 0.51
    # t = 2.0 at 61 degrees of freedom: 0.31 / sqrt(61) to each side, twice.
    assert interval.get_xdata() == pytest.approx([0.431, 0.589], abs=0.001)


def test_a_leaderboard_without_our_run_has_one_panel():
    (ax,) = scores.leaderboard(submission.table2(), LABEL).axes
    assert len(ax.get_yticklabels()) == 10
    assert ax.figure.get_supxlabel() == "Table 2; bold: Clèrigues et al. · ISLES 2018 as published"


@pytest.mark.parametrize(
    ("draw", "frame", "column"),
    [
        (lambda f: scores.grid_heatmaps(f, *PAIRS, LABEL), grid(), "hd_mm"),
        (lambda f: scores.grid_heatmaps(f, *PAIRS, LABEL), grid(), "chosen_stable"),
        (lambda f: scores.metric_boxes(f, LABEL), metrics(), "hd_mm"),
        (lambda f: scores.volumes(f, R2, LABEL), metrics(), "truth_volume_ml"),
        (lambda f: scores.by_group(f, "volume_group", LABEL), grouped(), "volume_group"),
        (lambda f: scores.bland_altman(f, AGREEMENT, LABEL), DIFFERENCES, "difference_ml"),
        (lambda f: scores.reliability({"rt": f}, {"rt": 0.1}, LABEL), agreement.reliability(COUNTS), "share"),
        (lambda f: scores.leaderboard(f, LABEL), entries(), "source"),
    ],
)
def test_a_missing_column_is_named(draw, frame, column):
    check_column(draw, frame, column)
