"""What the figures of differences show: tests, claims, seeds, changes."""

import numpy as np
import pandas as pd
import pytest
from drawing import LABEL, check, check_column, closed, public, texts  # noqa: F401

from strokelib.evaluation import stats
from strokelib.figures import comparisons
from strokelib.vocabulary import BLUE, COLORS, GRAY, GREEN, RED, VERDICTS


def by_seed():
    rows = [("variant", v, s, 0.5 + 0.1 * i + 0.01 * s) for i, v in enumerate(("rt", "rt_sm")) for s in (1, 2, 4)]
    rows += [("difference", "rt_sm over rt", s, 0.1 + 0.001 * s) for s in (1, 2, 4)]
    return pd.DataFrame(rows, columns=["kind", "name", "seed", "value"]).assign(metric="dsc")


def differences():
    rows = [
        ("rt", "baseline", "dsc", 0.04, 0.01, 0.07, 0.02),
        ("rt", "baseline", "hd_mm", -3.0, -6.0, 1.0, 0.3),
        ("rt_sm", "rt", "dsc", 0.01, -0.02, 0.03, 1.0),
        ("rt_sm", "rt", "hd_mm", -5.0, -8.0, -2.0, 0.0001),
    ]
    columns = ["new", "old", "metric", "mean_difference", "low", "high", "p_holm"]
    table = pd.DataFrame(rows, columns=columns)
    return table.assign(pair=table["new"] + " over " + table["old"], p_wilcoxon_holm=0.0462)


def of_both_choices():
    """The same differences with nested pairs, and half as large again with the paper's."""
    other = {name: 1.5 * differences()[name] for name in ("mean_difference", "low", "high")}
    return pd.concat([differences().assign(choice="nested"), differences().assign(choice="all folds", **other)])


def changed():
    names = ["patch_16", "patch_96", "gdl_squared", "rate_40"]
    table = pd.concat([differences().iloc[:1]] * 4).assign(new=names, p_holm=[0.02, 1.0, 0.3, np.nan])
    return pd.concat([table, table.assign(metric="hd_mm", mean_difference=3.0, low=-1.0, high=5.0)])


def told():
    """Two claims by scan and by patient: one that holds, and one of a lower HD that comes out opposite.

    With the paper's pairs the first is smaller, the second inconclusive.
    """
    facts = {"new": ["rt_sm", "rt_sm_uf"], "old": ["rt", "rt_sm"], "metric": ["ppv", "hd_voxels"]}
    facts |= {"mean_difference": [0.05, 2.0], "d_z": [0.5, 0.25], "d_z_low": [0.1, 0.05], "d_z_high": [0.9, 0.5]}
    facts |= {"p": [0.0004, 0.03], "p_wilcoxon": [0.002, 0.2], "d_z_margin": [0.3, -8.0], "share": 0.5}
    facts |= {"paper_direction": ["up", "down"], "verdict": ["holds", "opposite"], "choice": "nested"}
    other = facts | {"d_z": [0.2, 0.2], "verdict": ["smaller", "inconclusive"], "choice": "all folds"}
    return pd.concat(pd.DataFrame(rows | {"unit": unit}) for rows in (facts, other) for unit in stats.UNITS)


def told_by_seed():
    """The claims of `told` for two seeds and averaged over them."""
    nested = told().query("choice == 'nested' and unit == 'scan'")
    seeds = {2018: 0.4, 2019: 0.6, np.nan: 0.5}
    rows = [nested.assign(seed=seed, d_z=d_z * np.array([1, -1])) for seed, d_z in seeds.items()]
    rows[0]["verdict"] = ["inconclusive", "smaller"]
    return pd.concat(rows)


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


# figure: how it is drawn, its axes with those of color bars, units that stand on it
FIGURES = {
    "paired_differences": (lambda: comparisons.paired_differences(of_both_choices(), LABEL), 2, ["(points)", "(mm)"]),
    "changes": (lambda: comparisons.changes(changed(), LABEL), 2, ["(points)", "(mm)"]),
    "claims": (lambda: comparisons.claims(told(), LABEL), 1, ["$d_z$", "points", "voxels"]),
    "claims_by_seed": (lambda: comparisons.claims_by_seed(told_by_seed(), LABEL), 1, ["$d_z$", "points", "voxels"]),
    "seeds": (lambda: comparisons.seeds(by_seed(), stats.seed_spread(by_seed()), "dsc", LABEL), 2, ["(%)", "(points)"]),
    "sweeps": (lambda: comparisons.sweeps({"step": swept()}, LABEL), 2, ["(points)", "(mm)"]),
}


def test_every_public_function_is_drawn_here():
    assert public(comparisons) == set(FIGURES)


@pytest.mark.parametrize("name", FIGURES)
def test_figure_has_its_axes_units_and_label_and_nothing_is_cut_off(name):
    check(*FIGURES[name])


def test_differences_are_filled_where_significant_with_the_papers_way_below():
    fig = comparisons.paired_differences(of_both_choices(), LABEL)
    dsc, hd = fig.axes
    assert (dsc.get_xlabel(), hd.get_xlabel()) == ("difference in DSC\n(points)", "difference in HD\n(mm)")
    marks = {
        (ax, color): [line for line in ax.lines if line.get_marker() == "o" and line.get_color() == color
                      and len(line.get_xdata())]
        for ax in (dsc, hd) for color in (BLUE, GRAY)
    }
    assert [line.get_xdata()[0] for line in marks[hd, BLUE]] == [-3.0, -5.0]
    assert [line.get_xdata()[0] for line in marks[dsc, BLUE]] == pytest.approx([4.0, 1.0])
    assert [line.get_xdata()[0] for line in marks[hd, GRAY]] == [-4.5, -7.5]
    assert [line.get_markerfacecolor() for line in marks[hd, BLUE]] == ["white", BLUE]
    assert [line.get_ydata()[0] for line in marks[hd, BLUE]] == [0, 1]
    assert all(line.get_ydata()[0] > place for place, line in enumerate(marks[hd, GRAY]))
    assert marks[hd, GRAY][0].get_markersize() < marks[hd, BLUE][0].get_markersize()
    bars = [line.get_xdata().tolist() for line in hd.lines if line.get_marker() != "o" and line.get_color() == BLUE]
    assert bars == [[-6.0, 1.0], [-8.0, -2.0]]
    assert [text.get_text() for text in dsc.get_yticklabels()] == ["RT\n− baseline", "RT + SM\n− RT"]
    seen = texts(fig)
    assert "p = 0.020 (W 0.046)" in seen and "p < 0.001 (W 0.046)" in seen
    assert "pairs chosen on the other folds" in seen and "on all folds, as in the paper" in seen
    low, high = dsc.get_ylim()
    assert low > high  # the first pair on top


def test_a_difference_without_a_test_is_drawn():
    columns = ["mean_difference", "low", "high", "p_holm", "p_wilcoxon_holm"]
    undefined = of_both_choices().assign(**dict.fromkeys(columns, np.nan))
    assert "p undefined" in texts(comparisons.paired_differences(undefined, LABEL)).splitlines()


def test_changes_stand_below_their_kind_in_words_and_without_a_wall_of_p():
    fig = comparisons.changes(changed(), LABEL)
    dsc, hd = fig.axes
    lines = [text.get_text() for text in dsc.get_yticklabels()]
    assert lines == [
        "patch side, RT + SM",
        "16 voxels",
        "96 voxels",
        "training, RT + SM",
        "Dice weights 1/v²",
        "dropout at prediction, RT + SM + UF",
        "40 %",
    ]
    bold = [text.get_text() for text in dsc.get_yticklabels() if text.get_fontweight() == "bold"]
    assert bold == [lines[0], lines[3], lines[5]]
    middle = [line for line in dsc.lines if line.get_marker() == "o"]
    assert [line.get_ydata()[0] for line in middle] == [1, 2, 4, 6]
    assert [line.get_xdata()[0] for line in middle] == pytest.approx([4.0] * 4)
    assert [line.get_markerfacecolor() for line in middle] == [BLUE, "white", "white", "white"]
    assert len(hd.lines) == 1 + 2 * 4 and "p =" not in texts(fig)


def drawn(ax, marker):
    """Return the marks of one shape that stand on an axis, those of its legend left out."""
    return [line for line in ax.lines if line.get_marker() == marker and len(line.get_xdata()) == 1]


def test_claims_point_to_the_right_where_the_papers_sign_is_ours():
    ax = comparisons.claims(told(), LABEL).axes[0]
    scans, patients = drawn(ax, "o"), drawn(ax, "s")
    assert [(line.get_xdata()[0], line.get_color()) for line in scans] == [
        *((0.5, GREEN), (-0.25, RED)),  # a higher HD, and the paper's is lower: on the left
        *((0.2, BLUE), (-0.2, GRAY)),
    ]
    assert [line.get_markerfacecolor() for line in scans] == [GREEN, RED, "white", "white"], "nested ones are filled"
    assert [line.get_markerfacecolor() for line in patients] == [GREEN, RED, "white", "white"]
    assert scans[0].get_markersize() > scans[2].get_markersize()
    above = [line.get_ydata()[0] for line in (scans[0], patients[0], scans[2], patients[2])]
    assert above == sorted(above) and len(set(above)) == 4 and max(np.abs(above)) < 0.5
    bars = [sorted(line.get_xdata()) for line in ax.lines if len(line.get_xdata()) == 2][1:3]
    assert bars == [[0.1, 0.9], [-0.5, -0.05]]
    words = [text.get_text() for text in ax.get_yticklabels()]
    assert words == ["RT + SM − RT: PPV up", "RT + SM + UF − RT + SM: HD down"]
    seen = texts(ax.figure)
    assert "+5.0 points: holds\np < 0.001, Wilcoxon p = 0.002" in seen
    assert "+2.0 voxels: opposite\np = 0.030, Wilcoxon p = 0.200" in seen
    assert "HD in voxels" in seen


def test_a_difference_that_rounds_to_zero_has_no_sign():
    seen = texts(comparisons.claims(told().assign(mean_difference=[-0.0004, 0.04] * 4), LABEL))
    assert "\n0.0 points: holds" in seen and "\n0.0 voxels: opposite" in seen


def test_the_margin_stands_on_the_papers_side_and_one_far_off_at_the_rim():
    ax = comparisons.claims(told(), LABEL).axes[0]
    (near,), (far,) = drawn(ax, "|"), drawn(ax, ">")
    assert near.get_xdata()[0] == 0.3 and far.get_xdata()[0] == ax.get_xlim()[1] < 2
    assert near.get_ydata()[0] == drawn(ax, "o")[0].get_ydata()[0], "beside the nested test of scans"
    assert "50 % of the paper's difference" in texts(ax.figure)
    without = comparisons.claims(told().assign(d_z_margin=np.nan), LABEL).axes[0]
    assert drawn(without, ">") == []


def test_every_verdict_has_a_color_of_its_own():
    assert len(set(VERDICTS.values())) == len(VERDICTS) == 4
    for color in ("holds", "opposite", "smaller", "inconclusive"):
        assert color in texts(comparisons.claims(told(), LABEL))


def test_claims_by_seed_have_a_mark_a_seed_and_the_interval_of_all():
    ax = comparisons.claims_by_seed(told_by_seed(), LABEL).axes[0]
    assert [(line.get_xdata()[0], line.get_color()) for line in drawn(ax, "o")] == [(0.4, GRAY), (0.4, BLUE)]
    assert [(line.get_xdata()[0], line.get_color()) for line in drawn(ax, "s")] == [(0.6, GREEN), (0.6, RED)]
    assert [(line.get_xdata()[0], line.get_color()) for line in drawn(ax, "D")] == [(0.5, GREEN), (0.5, RED)]
    bars = [sorted(line.get_xdata()) for line in ax.lines if len(line.get_xdata()) == 2][1:3]
    assert bars == [[0.1, 0.9], [-0.5, -0.05]], "one a claim, of the average"
    seen = texts(ax.figure)
    assert "seed 2018" in seen and "seed 2019" in seen and "+5.0 points: holds" in seen


def test_seeds_are_told_apart_and_stand_beside_their_differences():
    spread = stats.seed_spread(by_seed())
    fig = comparisons.seeds(by_seed(), spread, "dsc", LABEL)
    means, gap = fig.axes
    assert [t.get_text() for t in means.get_yticklabels()] == ["Single + RT", "Single + RT + SM"]
    assert [t.get_text() for t in gap.get_yticklabels()] == ["Single + RT + SM\n− Single + RT"]
    points = [line for line in means.lines if line.get_marker() in "os^" and len(line.get_xdata())]
    assert [line.get_xdata()[0] for line in points] == pytest.approx([51, 52, 54, 61, 62, 64])
    assert len({line.get_marker() for line in points}) == 3
    assert [line.get_color() for line in points] == [COLORS["rt"]] * 3 + [COLORS["rt_sm"]] * 3
    row = spread.query("kind == 'difference'").iloc[0]
    assert gap.lines[0].get_xdata() == pytest.approx([100 * row["low"], 100 * row["high"]])
    assert (means.get_xlabel(), gap.get_xlabel()) == ("mean DSC (%)", "difference in mean DSC (points)")
    assert [t.get_text() for t in fig.legends[0].get_texts()] == ["seed 1", "seed 2", "seed 4"]
    assert f"SD {100 * row['sd']:.1f}" in texts(fig) and "gray: its 95 % interval" in texts(fig)


def test_a_single_seed_is_drawn_without_a_spread(recwarn):
    values = by_seed().query("seed == 1")
    seen = texts(comparisons.seeds(values, stats.seed_spread(values), "dsc", LABEL))
    assert "one seed" in seen and "gray" not in seen, "no interval is drawn"
    assert not recwarn.list


def test_sweeps_stand_at_their_numbers_unjoined_with_the_reference_open():
    fig = comparisons.sweeps({"patch side (voxels)": swept().iloc[::-1], "step": swept().iloc[:4]}, LABEL)
    dsc, other, hd, _ = fig.axes
    assert dsc.get_ylabel() == "difference in DSC\n(points),\nchange − reference"
    assert hd.get_ylabel().startswith("difference in HD\n(mm)") and hd.get_xlabel() == "patch side (voxels)"
    assert other.get_ylabel() == ""
    assert [text.get_text() for text in hd.get_xticklabels()] == ["32", "64", "96"]
    points = {line.get_xdata()[0]: line for line in dsc.lines if line.get_marker() == "o"}
    assert {x: line.get_ydata()[0] for x, line in points.items()} == pytest.approx({96: 1.0, 64: 0.0, 32: -2.0})
    assert [x for x, line in points.items() if line.get_markerfacecolor() == "white"] == [64]
    bars = [line for line in dsc.lines if line.get_marker() != "o" and len(set(line.get_ydata())) == 2]
    assert [(set(bar.get_xdata()), *sorted(bar.get_ydata())) for bar in bars] == [({96}, -1.0, 2.0), ({32}, -4.0, 0.0)]
    assert not [line for line in dsc.lines if len(line.get_xdata()) > 2], "nothing joins one number with the next"


@pytest.mark.parametrize(
    ("draw", "frame", "column"),
    [
        (lambda f: comparisons.paired_differences(f, LABEL), of_both_choices(), "p_wilcoxon_holm"),
        (lambda f: comparisons.changes(f, LABEL), changed(), "low"),
        (lambda f: comparisons.seeds(f, stats.seed_spread(by_seed()), "dsc", LABEL), by_seed(), "seed"),
        (lambda f: comparisons.sweeps({"step": f}, LABEL), swept(), "low"),
        (lambda f: comparisons.claims(f, LABEL), told(), "d_z_low"),
        (lambda f: comparisons.claims(f, LABEL), told(), "choice"),
        (lambda f: comparisons.claims_by_seed(f, LABEL), told_by_seed(), "seed"),
    ],
)
def test_a_missing_column_is_named(draw, frame, column):
    check_column(draw, frame, column)
