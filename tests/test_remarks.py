from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from strokelib.evaluation import remarks
from strokelib.network import Network, layer_table


def row(low, high, p_holm=0.01):
    return SimpleNamespace(low=low, high=high, p_holm=p_holm, mean_difference=(low + high) / 2, sd=0.0, n=20)


def test_verdicts_by_intervals():
    ends = [(-0.01, 0.3), (-0.2, -0.1), (-0.1, -0.01), (-0.1, 0.1), (np.nan, np.nan)]
    assert [remarks.no_harm(row(*both)) for both in ends] == [
        "holds", "does not hold", "inconclusive", "inconclusive", "inconclusive"], "a loss within the margin is no harm"
    ends = [(0.1, 0.2, 0.01), (-0.2, -0.1, 0.01), (-1, 1, 0.01), (0.1, 0.2, 0.06), (np.nan, np.nan, np.nan)]
    assert [remarks.helps(row(*both)) for both in ends] == [
        "holds", "does not hold", "inconclusive", "inconclusive", "inconclusive"], "by its interval and by p after Holm"
    assert remarks.together([], []) == "not tested" and remarks.together(["holds", "holds"], [0.9, 0.9]) == "holds"
    assert remarks.together(["holds", "inconclusive"], [0.01, 0.5]) == "inconclusive"
    assert remarks.together(["does not hold", "holds"], [0.04, 0.9]) == "does not hold"


def test_one_of_several_parts_speaks_against_a_remark_after_correction_alone():
    """Its interval is below 0 by p = .03, but of two changes one reaches that by chance more often: p_holm = .06."""
    assert remarks.together(["does not hold", "holds"], [0.06, 0.9]) == "inconclusive"
    assert remarks.together(["does not hold", "holds"], [np.nan, 0.9]) == "inconclusive"
    assert remarks.together(["does not hold"], [0.06]) == "does not hold", "a single part is not one of many"
    with pytest.raises(ValueError, match="shorter"):
        remarks.together(["holds", "holds"], [0.5])


def scores(**dsc):
    frame = pd.DataFrame(dsc).melt(var_name="variant", value_name="dsc")
    count = len(next(iter(dsc.values())))
    return frame.assign(case=[*range(count)] * len(dsc), patient=[f"p{i // 2}" for i in range(count)] * len(dsc))


def test_scans_that_change_by_more_than_a_hair():
    found = remarks.changed_scans(scores(new=[0.4, 0.495, 0.7, 0.2], old=[0.5, 0.5, 0.6, 0.5]), "new", "old")
    assert (found["n"], found["worse"], found["same"], found["better"]) == (4, 2, 1, 1)
    assert found["share_worse"] == 0.5 and found["most_lost"] == pytest.approx(0.3)
    assert found["low"] == found["high"] == 0.5, "each of the two patients has one of two scans worse"
    none = remarks.changed_scans(scores(new=[0.5] * 8, old=[0.5] * 8), "new", "old")
    assert none["worse"] == none["low"] == 0 and none["high"] == pytest.approx(1 - 0.025**0.25), "none of 4 patients"
    assert remarks.in_words(found) == (
        "2 of 4 scans worse in DSC by more than 1 point, 1 better; 50 % worse, 95 % interval 50 to 50; "
        "most lost 30.0 points")
    with pytest.raises(ValueError, match="differ in their scans"):
        remarks.changed_scans(scores(new=[0.1, 0.2], old=[0.1, 0.2]).iloc[:-1], "new", "old")


def test_an_outlier_lengthens_the_hd():
    """Longer by 5 mm is a hair, by 6 an outlier more; a scan that one of the two leaves empty is left out."""
    frame = scores(new=[20, 26, np.inf, 10, 7.0], old=[15, 20, 30, 40, np.nan]).rename(columns={"dsc": "hd_mm"})
    found = remarks.changed_scans(frame, "new", "old", "hd_mm")
    assert [found[name] for name in ("n", "n_dropped", "worse", "same", "better")] == [3, 2, 1, 1, 1]
    assert found["most_lost"] == 6
    assert remarks.in_words(found).endswith("most lost 6.0 mm; 2 without HD by one of the two")
    none = remarks.changed_scans(frame[frame["case"].isin([2, 4])], "new", "old", "hd_mm")
    assert none["worse"] == 0 and np.isnan(none["low"]) and remarks.in_words(none) == "no scan has HD by both"


def test_r2_by_step():
    true = np.array([1.0, 5, 20, 80, 3, 40])
    frame = pd.concat([scores(a=true).assign(volume_ml=2 * true + 1, truth_volume_ml=true),
                       scores(b=true).assign(volume_ml=true[::-1], truth_volume_ml=true)])
    found = remarks.volume_steps(frame, ["b", "a"]).set_index("variant")
    assert found.r2["a"] == pytest.approx(1) and found.low["a"] == pytest.approx(1)
    assert found.r2["b"] == pytest.approx(np.corrcoef(true, true[::-1])[0, 1] ** 2)
    assert found.gain["a"] == pytest.approx(1 - found.r2["b"]) and np.isnan(found.gain["b"])
    assert found.low["b"] <= found.r2["b"] <= found.high["b"]
    assert np.isnan(found.gain_p["b"]) and found.gain_p_holm["a"] == found.gain_p["a"], "of one step p is not corrected"


def test_share_of_copies_by_hand():
    """Of 4000 patches 2000 are to lie on lesion: of 500 voxels 1500 are missing, of 2000 or none no copy is made."""
    assert remarks.augmented_share([500, 2000, 9000, 0], 4000) == pytest.approx(1500 / 4000 / 4)
    least, most, even = remarks.augmented_bounds({0: 0, 0.5: 1000, 1: 3000}, 4000)
    assert least == pytest.approx(0.5 * 1000 / 4000) and most == pytest.approx((0.5 * 2000 + 0.5 * 1000) / 4000)
    assert even == pytest.approx((0.5 * 1500 + 0.25 * 500) / 4000, rel=1e-3)


def test_bounds_of_the_known_scans_are_none_of_all_scans():
    """Of 8 scans at 5 to 10 % and 2 of which nothing is known: .8 * .05, and .8 * .10 + .2 * .5."""
    assert remarks.bounds_of_all(0.05, 0.1, 8, 10) == pytest.approx((0.04, 0.18))
    assert remarks.bounds_of_all(0.05, 0.1, 10, 10) == pytest.approx((0.05, 0.1))
    with pytest.raises(ValueError, match="1 to 10 known scans, got 11"):
        remarks.bounds_of_all(0.05, 0.1, 11, 10)


def test_passes_that_share_nothing_cost_their_number():
    layers = layer_table(Network(10))
    assert remarks.passes_cost(layers, 1) == pytest.approx(1)
    costs = [remarks.passes_cost(layers, 3, level) for level in (5, 3, 1)]
    assert 1 < costs[0] < costs[1] < costs[2] < 3


def timed(seconds=9.772, contender="ours"):
    row = {"subject": "prediction", "work": "exact prediction of a slice", "contender": contender}
    return pd.DataFrame([row | {"subject": "sampling", "seconds": 1.0, "threads": 1},
                         row | {"seconds": seconds, "threads": 1}])  # fmt: skip


@pytest.mark.parametrize(("seconds", "verdict"), [(9.772, "not measured"), (5.4, "holds")])
def test_the_largest_scans_seconds_say_where_they_come_from(seconds, verdict):
    text, found = remarks.largest_scan(timed(seconds), {"processor": "AMD EPYC", "gpu": "none"})
    assert found == verdict and f"{22 * seconds:.0f} s for the 22 slices" in text
    said = ("not of this run", "1 core of AMD EPYC, GPU: none", "figures/benchmarks/benchmarks.csv and machine.json")
    assert all(words in text for words in said)


def test_where_no_prediction_was_timed_nothing_is_said_of_it():
    text, verdict = remarks.largest_scan(timed(contender="the plain way"), {})
    assert verdict == "not measured" and "times no prediction" in text and verdict in remarks.VERDICTS


def test_maps_that_are_alike_change_no_scan_whatever_pairs_their_rows_chose():
    """Both rows of each scan are alike; the one chose a threshold of 0.3, the other 0.5."""
    grid = pd.DataFrame([
        {"variant": name, "case": case, "patient": f"p{case}", "fold": case % 2, "threshold": threshold,
         "min_lesion_voxels": 10, "dsc": threshold + 0.1 * case}
        for name in ("rt_sm", "rt_sm_uf") for case in range(4) for threshold in (0.3, 0.5)
    ])  # fmt: skip
    choice = pd.DataFrame([
        {"variant": name, "choice": "nested", "fold": float(fold), "threshold": threshold, "min_lesion_voxels": 10}
        for name, threshold in (("rt_sm", 0.3), ("rt_sm_uf", 0.5)) for fold in (0, 1)
    ])  # fmt: skip
    lent = remarks.with_pairs_of(grid, choice, "rt_sm", ["rt_sm_uf", "rt_sm"])
    found = remarks.changed_scans(lent, "rt_sm_uf", "rt_sm")
    assert (found["worse"], found["better"], found["same"]) == (0, 0, 4) and (lent["threshold"] == 0.3).all()
    with pytest.raises(ValueError, match=r"pairs for the folds \[0\], wanted"):
        remarks.with_pairs_of(grid, choice[choice["fold"] == 0], "rt_sm", ["rt_sm"])
