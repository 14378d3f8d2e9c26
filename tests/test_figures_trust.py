import numpy as np
import pandas as pd
import pytest
from drawing import LABEL, check, check_column, closed, public, texts  # noqa: F401, closed is a fixture
from matplotlib.patches import Rectangle

from strokelib.figures import trust
from strokelib.vocabulary import BLUE, COLORS

FORMS = ("DSC = A + B log(updates)", "DSC = A − B / updates")


def ranked(metrics=("dsc", "ppv", "hd_mm", "volume_error_ml")):
    facts = {"variant": ["rt", "rt_sm"], "rank_1": [25.0, 75.0], "rank_2": [75.0, 25.0]}
    return pd.concat(pd.DataFrame(facts).assign(metric=name) for name in metrics)


def agreement():
    rows = [("dsc", "ppv", 0.9, 0.3, 1.0), ("dsc", "hd_mm", -0.5, -1.0, 0.0), ("ppv", "hd_mm", np.nan, np.nan, np.nan)]
    return pd.DataFrame(rows, columns=["metric", "other", "tau_mean", "tau_low", "tau_high"])


def flattered():
    table = pd.DataFrame({"step": ["pair", "early stopping", "all of it"], "variant": ["rt_sm", "rt_sm", "rt_sm_uf"]})
    facts = {"flattered": "on all scans", "fair": "on the other folds", "metric": "dsc", "flattered_mean": 0.58}
    table = table.assign(**facts, fair_mean=[0.57, np.nan, 0.53], mean_difference=[0.01, np.nan, 0.05])
    table = table.assign(low=[0.005, np.nan, -0.05], high=[0.02, np.nan, 0.15], flattered_scans=94)
    return table.assign(fair_scans=[94, 0, 62], paired=[True, False, False])


def line():
    facts = {"updates": [750, 1500, 6000], "mean": [0.5, 0.52, 0.53], "low": [0.45, 0.47, 0.48]}
    facts |= {"high": [0.55, 0.57, 0.58], "metric": "dsc"}
    return pd.concat(pd.DataFrame(facts).assign(row=name) for name in ("rt", "rt_sm"))


def beyond():
    rows = [(form, n, 0.53 + k / 100) for form in FORMS for k, n in enumerate((94000, 188000), start=1)]
    return pd.DataFrame(rows, columns=["form", "updates", "mean"]).assign(row="rt_sm")


def taken_apart():
    ends = {"baseline": 0.01, "rt": -0.02, "mean": 0.0, "interaction": -0.03}
    rows = [(part, end, worth) for part in ("networks", "loss") for end, worth in ends.items()]
    table = pd.DataFrame(rows, columns=["part", "end", "mean_difference"]).assign(metric="dsc")
    return table.assign(low=table["mean_difference"] - 0.01, high=table["mean_difference"] + 0.01)


def monitored():
    facts = {"row": ["baseline", "baseline", "rt", "rt"], "part": ["", "networks", "", "networks"]}
    return pd.DataFrame(facts | {"mean_difference": 0.01, "low": -0.01, "high": 0.03})


FIGURES = {
    "ranks": (lambda: trust.ranks(ranked(), LABEL), 6, ["HD (mm)", "% of resamples", "rank 2", "first (%)"]),
    "kendall": (lambda: trust.kendall(agreement(), LABEL), 2, ["Kendall's tau", "HD (mm)"]),
    "optimism": (lambda: trust.optimism(flattered(), LABEL), 1, ["(points)", "not run"]),
    "budget": (lambda: trust.budget(line(), beyond(), 4700, LABEL), 1, ["DSC (%)", "epochs of the paper"]),
    "parts": (lambda: trust.parts(taken_apart(), monitored(), LABEL), 2, ["(points)", "with − without", "one network"]),
}


def test_every_public_function_is_drawn_here():
    assert public(trust) == set(FIGURES)


@pytest.mark.parametrize("name", FIGURES)
def test_figure_has_its_axes_units_and_label_and_nothing_is_cut_off(name):
    check(*FIGURES[name])


def test_bars_of_ranks_fill_the_axis_and_name_the_share_of_first_places():
    fig = trust.ranks(ranked(), LABEL)
    bars = [bar for bar in fig.axes[0].patches if isinstance(bar, Rectangle)]
    assert [(bar.get_x(), bar.get_width()) for bar in bars] == [(0, 25), (0, 75), (25, 75), (75, 25)]
    assert [text.get_text() for text in fig.axes[0].texts] == ["25", "75", "first (%)"]
    assert [ax.get_visible() for ax in fig.axes] == [True] * 4 + [False] * 2
    assert [text.get_text() for text in fig.axes[0].get_yticklabels()] == ["RT", "RT + SM"]


def test_one_metric_has_one_panel():
    assert len(trust.ranks(ranked(["dsc"]), LABEL).axes) == 1


def test_agreement_stands_below_the_diagonal():
    ax = trust.kendall(agreement(), LABEL).axes[0]
    grid = np.asarray(ax.images[0].get_array().filled(np.nan))
    assert np.allclose(grid, [[0.9, np.nan], [-0.5, np.nan]], equal_nan=True)
    assert [text.get_text() for text in ax.get_yticklabels()] == ["PPV", "HD (mm)"]
    assert "−0.50\n−1.00 to 0.00" in texts(ax.figure)


def test_optimism_opens_the_mark_where_scans_differ_and_says_what_was_not_run():
    ax = trust.optimism(flattered(), LABEL).axes[0]
    marks = [mark for mark in ax.lines if mark.get_marker() == "o"]
    assert [(mark.get_xdata()[0], mark.get_ydata()[0]) for mark in marks] == [(1.0, 0), (5.0, 2)]
    assert [mark.get_markerfacecolor() for mark in marks] == [BLUE, "white"]
    seen = texts(ax.figure)
    assert "+1.0 points\n58.0 → 57.0 %, 94 scans" in seen and "94 and 62 scans" in seen
    assert "early stopping, RT + SM\non all scans → on the other folds" in seen


def test_the_budget_is_on_a_log_axis_with_epochs_above_and_what_is_no_measurement_broken():
    ax = trust.budget(line(), beyond(), 4700, LABEL).axes[0]
    assert ax.get_xscale() == "log"
    assert [text.get_text() for text in ax.get_xticklabels()] == ["750", "1 500", "6 000", "94 000", "188 000"]
    above = ax.child_axes[0]
    assert [text.get_text() for text in above.get_xticklabels()] == ["0.16", "0.32", "1.3", "20", "40"]
    broken = [drawn for drawn in ax.lines if drawn.get_linestyle() in ("--", ":") and len(drawn.get_xdata())]
    assert [drawn.get_xdata().tolist() for drawn in broken] == [[6000, 94000, 188000]] * 2
    assert [drawn.get_color() for drawn in broken] == [COLORS["rt_sm"]] * 2
    assert broken[0].get_ydata().tolist() == pytest.approx([53, 54, 55])


def test_a_budget_without_an_outlook_or_of_one_point_is_drawn():
    assert "broken lines are no measurement" in texts(trust.budget(line(), beyond(), 4700, LABEL))
    assert "broken" not in texts(trust.budget(line(), None, 4700, LABEL))
    check(lambda: trust.budget(line().query("updates == 6000"), None, 4700, LABEL), 1, ["DSC (%)"])


def test_parts_are_drawn_from_both_ends_and_cells_named_by_what_differs():
    left, right = trust.parts(taken_apart(), monitored(), LABEL).axes
    points = [drawn for drawn in left.lines if len(drawn.get_xdata()) == 1]
    marks = {marker: [drawn for drawn in points if drawn.get_marker() == marker] for marker in "os"}
    assert [mark.get_xdata()[0] for mark in marks["o"]] == pytest.approx([1.0, 1.0])
    assert [mark.get_xdata()[0] for mark in marks["s"]] == pytest.approx([-2.0, -2.0])
    assert [mark.get_ydata()[0] for mark in marks["o"]] == pytest.approx([-0.18, 0.82])
    words = [text.get_text() for text in right.get_yticklabels()]
    assert words == ["baseline", "baseline, one network", "RT", "RT, cascade"]


@pytest.mark.parametrize(
    ("draw", "frame", "column"),
    [
        (lambda f: trust.ranks(f, LABEL), ranked(), "rank_1"),
        (lambda f: trust.kendall(f, LABEL), agreement(), "tau_low"),
        (lambda f: trust.optimism(f, LABEL), flattered(), "paired"),
        (lambda f: trust.budget(f, None, 4700, LABEL), line(), "low"),
        (lambda f: trust.budget(line(), f, 4700, LABEL), beyond(), "form"),
        (lambda f: trust.parts(f, monitored(), LABEL), taken_apart(), "end"),
        (lambda f: trust.parts(taken_apart(), f, LABEL), monitored(), "part"),
    ],
)
def test_a_missing_column_is_named(draw, frame, column):
    check_column(draw, frame, column)
