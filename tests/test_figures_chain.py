"""What the figures of the chain and of its confirmation say."""

import numpy as np
import pytest
from drawing import LABEL, check, check_column, closed, public  # noqa: F401, closed is a fixture
from test_beyond import scores
from test_chain import told, trained

from strokelib.evaluation import chain
from strokelib.evaluation.summary import table1
from strokelib.figures import chain as figures
from strokelib.vocabulary import GRAY, ORANGE

NAMES = ["rt_sm_uf", "rt_sm", "beyond_1", "beyond"]
WORDS = {"rt_sm_uf": "filtered", "rt_sm": "plain", "beyond_1": "+ one", "beyond": "+ two"}
COSTS = dict(zip(NAMES, (2.2, 1.0, 1.0, 2.0), strict=True))
SCORES = scores(rt_sm_uf=0.01, beyond_1=0.03, beyond=0.05).assign(ppv=0.5, sensitivity=0.5)
TABLE, STEPS = table1(SCORES, dict.fromkeys(NAMES)), chain.steps(SCORES, NAMES[1:], "rt_sm_uf", 0)
TOLD = chain.confirm(trained(0.05), "beyond", "rt_sm_uf", 0)
DRAWN = {
    "rows": (lambda: figures.rows(TABLE, STEPS, COSTS, WORDS, LABEL), 3,
             ["+ two", "the last row − filtered", "by patient", "cost of a prediction", "DSC (%)"]),
    "confirmed": (lambda: figures.confirmed(TOLD, LABEL), 5,
                  ["training seed 2", "all, averaged by scan", "|bias of volume|", "HD", "ΔV"]),
}  # fmt: skip


@pytest.mark.parametrize("name", DRAWN)
def test_figure(name):
    check(*DRAWN[name])


def test_every_figure_is_tested():
    assert public(figures) == {*DRAWN}


def points(ax, marker="o"):
    return {line.get_ydata()[0]: line.get_xdata()[0] for line in ax.lines if line.get_marker() == marker}


def test_points_stand_at_means_differences_and_costs():
    means, added, price = DRAWN["rows"][0]().axes
    assert points(means) == pytest.approx(dict(enumerate(100 * TABLE.dsc_mean)))
    dsc = 100 * STEPS[STEPS.metric == "dsc"].mean_difference.to_numpy()
    assert points(added) == pytest.approx(dict(zip((2, 3, 4), dsc, strict=True))), "the whole stands below"
    assert points(price, "s") == dict(enumerate(COSTS.values()))


def test_each_training_and_all_of_them_stand_at_their_differences():
    axes = DRAWN["confirmed"][0]().axes
    for ax, metric in zip(axes, [*chain.TOLD, chain.BIAS_SIZE], strict=True):
        scale = 100 if metric == "dsc" else 1
        expected = [scale * told(TOLD, metric, name).mean_difference for name in ("1", "2", "3", chain.ALL)]
        assert points(ax) == pytest.approx(dict(enumerate(expected)))
    dotted = [line.get_xdata()[0] for ax in axes for line in ax.lines if line.get_linestyle() == ":"]
    assert dotted == pytest.approx([8, chain.HD_MARGIN_MM]), "the goal and the margin"


def test_a_missing_column_is_named():
    check_column(lambda frame: figures.rows(frame, STEPS, COSTS, WORDS, LABEL), TABLE, "dsc_low")
    check_column(lambda frame: figures.rows(TABLE, frame, COSTS, WORDS, LABEL), STEPS, "p_holm")
    check_column(lambda frame: figures.confirmed(frame, LABEL), TOLD.assign(n=np.nan), "p_claim_holm")


def test_what_is_worse_is_not_drawn_as_confirmed():
    """The average is filled where DSC is higher beyond chance, open where it is lower; single trainings are gray."""
    for gain, filled in ((0.05, True), (-0.05, False)):
        ax = figures.confirmed(chain.confirm(trained(gain), "beyond", "rt_sm_uf", 0), LABEL).axes[0]
        marks = [line for line in ax.lines if line.get_marker() == "o"]
        assert [line.get_color() for line in marks] == [GRAY] * 3 + [ORANGE]
        assert (marks[-1].get_markerfacecolor() != "white") == filled
