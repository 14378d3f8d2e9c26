import numpy as np
import pandas as pd
import pytest
from scipy import stats

from strokelib import facts
from strokelib.evaluation import leakage


def isles():
    rows = [row for (split, _), row in facts.case_table().items() if split == "TRAINING"]
    return [row["patient"] for row in rows], [int(row["slices"]) for row in rows]


def test_what_each_scheme_splits_of_isles_2018():
    """By scan, two scans of a patient part with 1 - (4 * 19 * 18 + 18 * 17) / (94 * 93) = .8085: 25 of 31."""
    patients, slices = isles()
    found = leakage.schemes(patients, slices, seeds=60).set_index("scheme")
    assert found["patients"].tolist() == [63] * 4 and found["units"].tolist() == [94, 94, 94, sum(slices)]
    assert found["split"].iloc[:2].tolist() == [0, 1] and found["judged_share"].iloc[:2].tolist() == [0, 2 / 94]
    shuffled = found.loc["by scan, shuffled"]
    assert shuffled["split"] == pytest.approx(25.07, abs=1) and shuffled["low"] <= 24 <= shuffled["high"]
    assert shuffled["judged_share"] == pytest.approx(2 * shuffled["split"] / 94)
    sliced = found.loc["by slice, shuffled"]
    assert sliced["split"] > 55 and sliced["judged_share"] > 0.95


def test_by_hand_of_four_scans():
    """a has both blocks' scans; of the four scans, two are judged by a network that saw the other of a."""
    found = leakage.schemes(["b", "a", "a", "c"], [1, 1, 1, 1], n_folds=2, seeds=5).set_index("scheme")
    blocks = found.loc["by scan, blocks in case order"]
    assert (blocks["split"], blocks["judged_share"]) == (1, 0.5)
    assert found.loc["by patient, case order", "split"] == 0
    one, other = found.loc["by scan, shuffled"], found.loc["by slice, shuffled"]
    assert one.drop("unit").equals(other.drop("unit")), "scans of one slice are slices"
    assert np.isfinite(found["judged_share"]).all()


def test_every_scan_needs_its_slices():
    with pytest.raises(ValueError, match="the slices of each of 3 scans, got 2"):
        leakage.schemes(list("abc"), [2, 2])


NAMES = ("rt_sm_at_9", "rt_sm_balanced", "rt_sm_by_scan", "rt_sm_by_slice")


def scores():
    """Patients a and b have two scans, c and d one; by scan a and b gain .10 and .20, c and d .02 and .06."""
    patients, fair = ["a", "a", "b", "b", "c", "d"], [0.5, 0.4, 0.6, 0.2, 0.3, 0.7]
    gained = {"rt_sm_by_scan": [0.05, 0.15, 0.2, 0.2, 0.02, 0.06], "rt_sm_by_slice": [0.3] * 6}
    rows = [
        {"variant": name, "case": case, "patient": patients[case], "dsc": fair[case] + gained.get(name, [0] * 6)[case]}
        for name in NAMES for case in range(6)
    ]
    return pd.DataFrame(rows)


def test_names_are_those_of_the_trainings():
    assert tuple(leakage.names(9)) == NAMES
    assert NAMES[1] == leakage.FAIR and tuple(leakage.LEAKS) == (NAMES[2], NAMES[3])


def test_effects_by_hand():
    found = leakage.effects(scores(), 9, ["dsc"], 1)
    assert list(dict.fromkeys(found["group"])) == list(leakage.GROUPS)
    own = found[(found["unit"] == "patient") & (found["new"] == "rt_sm_by_scan")].set_index("group")
    assert own["n"].tolist() == [4, 2, 2] and (own["scheme"] == "by scan, shuffled").all()
    assert own["mean_difference"].to_numpy() == pytest.approx([0.095, 0.04, 0.15])
    each = np.array([0.1, 0.2, 0.02, 0.06])
    expected = stats.ttest_1samp(each, 0)
    assert own["p"].iloc[0] == pytest.approx(expected.pvalue) and own["t"].iloc[0] == pytest.approx(expected.statistic)
    assert own["detectable"].iloc[0] == pytest.approx((3.18245 + 0.97847) * each.std(ddof=1) / 2, rel=1e-4), "t of 3"
    by_scan = found[(found["unit"] == "scan") & (found["new"] == "rt_sm_by_scan")].set_index("group")
    assert by_scan["n"].tolist() == [6, 2, 4] and by_scan["mean_difference"].iloc[0] == pytest.approx(0.68 / 6)
    same = found[found["new"] == "rt_sm_at_9"]
    assert (same["mean_difference"] == 0).all() and same["p"].isna().all(), "the fair folds under another name"


def test_patients_with_several_scans_gain_beyond_those_with_one():
    found = leakage.beside_one(scores(), 1).set_index("step")
    assert found["mean_difference"].to_numpy() == pytest.approx([0.15 - 0.04, 0])
    assert not found["paired"].any() and found["flattered_patients"].tolist() == [2, 2]
    assert found.loc["rt_sm_by_scan", "low"] <= 0.11 <= found.loc["rt_sm_by_scan", "high"]
    one = scores().query("case in (0, 4, 5)")
    assert leakage.beside_one(one, 1).empty and list(leakage.by_scans(one)) == list(leakage.GROUPS[:2])


@pytest.mark.parametrize(
    ("low", "high", "p_holm", "said"),
    [(0.01, 0.05, 0.01, "flatters"), (-0.05, -0.01, 0.049, "costs"), (-0.01, 0.05, 0.01, "inconclusive"),
     (0.01, 0.05, 0.05, "inconclusive"), (-0.05, -0.01, 0.2, "inconclusive"), (0.01, 0.05, np.nan, "inconclusive"),
     (np.nan, np.nan, np.nan, "inconclusive")],
)  # fmt: skip
def test_verdict_and_what_is_left(low, high, p_holm, said):
    row = pd.Series({"mean_difference": 0.02, "low": low, "high": high, "p_holm": p_holm})
    assert leakage.verdict(row) == said
    assert leakage.without(0.6, row) == pytest.approx((0.58, 0.6 - high, 0.6 - low), nan_ok=True)
