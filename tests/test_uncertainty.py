"""Measures of uncertainty: worked out by hand, and right about who knows the errors and who knows nothing."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from strokelib.evaluation import agreement, uncertainty
from strokelib.postprocess import Pair, binarize
from strokelib.run.runtime import rng

SHAPE = (12, 10, 2)
PAIR = Pair(0.3, 1)
SPACING = (1.0, 1.0, 5.0)


def predicted(seed=0, networks=5):
    """A scan's vote, its networks and the spread of its passes."""
    generator = rng(seed, "predicted")
    each = generator.random((networks, *SHAPE), dtype=np.float32) ** 3
    return each.mean(axis=0), each, 0.2 * generator.random(SHAPE, dtype=np.float32)


def ranked(scores, patients=None):
    """A frame of scans whose measures are their DSC, backwards, but for one that knows nothing of it."""
    frame = pd.DataFrame({"dsc": scores, "patient": np.arange(len(scores)) if patients is None else patients})
    frame = frame.assign(case=np.arange(len(frame)), **dict.fromkeys(uncertainty.SCAN, -frame["dsc"]))
    return frame.assign(smallness=rng(0, "smallness").permutation(len(frame)).astype(float))


def test_measures_worked_out_by_hand():
    each = np.array([0.2, 0.6], np.float32).reshape(2, 1, 1, 1)
    found = uncertainty.measures(each.mean(axis=0), each, np.full((1, 1, 1), 0.1))
    assert {name: values.item() for name, values in found.items()} == pytest.approx(
        {"passes": 0.1, "networks": 0.2, "doubt": 0.24}
    )
    assert tuple(found) == tuple(uncertainty.VOXEL)


def test_no_measure_passes_its_largest_value():
    each = np.zeros((2, *SHAPE), np.float32)
    each[1] = 1
    found = uncertainty.measures(each.mean(axis=0), each, np.full(SHAPE, 0.5))
    assert {name: float(values.max()) for name, values in found.items()} == {
        "passes": 0.5, "networks": 0.5, "doubt": 0.25
    }  # fmt: skip
    over = np.full(SHAPE, 1 + 1e-7, np.float32)  # a mean of float32 may pass 1 by rounding
    assert uncertainty.measures(over, each, np.zeros(SHAPE))["doubt"].min() >= 0


@pytest.mark.parametrize(("each", "spread"), [(1, SHAPE), (5, (3, 3, 3))])
def test_maps_that_do_not_fit_are_refused(each, spread):
    p, _, _ = predicted()
    with pytest.raises(ValueError, match="maps of two networks or more, all of one shape"):
        uncertainty.measures(p, np.zeros((each, *SHAPE)), np.zeros(spread))


def test_a_scan_is_ranked_where_there_is_something_to_doubt():
    p, each, spread = predicted()
    mask = np.zeros(SHAPE, bool)
    mask[3:9, 2:8] = True
    p, each, spread = p * mask, each * mask, spread * mask
    found = uncertainty.measures(p, each, spread)
    row = uncertainty.rank_scan(found, p, each, mask, PAIR, SPACING)
    assert set(row) == set(uncertainty.SCAN)
    assert row["passes"] == pytest.approx(spread[mask & (p > 0.05)].mean(), rel=1e-6)
    assert row["smallness"] == pytest.approx(-0.005 * binarize(p, PAIR).sum())
    assert 0 < row["disagreement"] < 1


def test_networks_that_agree_do_not_disagree():
    p, _, spread = predicted()
    each = np.stack([p] * 3)
    row = uncertainty.rank_scan(uncertainty.measures(p, each, spread), p, each, np.ones(SHAPE, bool), PAIR, SPACING)
    assert (row["disagreement"], row["networks"]) == pytest.approx((0, 0), abs=1e-6)


@pytest.mark.parametrize("value", [0.0, 0.1])
def test_a_scan_without_a_lesion_is_the_least_certain_by_all_measures(value):
    p = np.full(SHAPE, value, np.float32)
    each = np.stack([p, p])
    found = uncertainty.measures(p, each, np.zeros(SHAPE))
    row = uncertainty.rank_scan(found, p, each, np.ones(SHAPE, bool), PAIR, SPACING)
    assert row == dict.fromkeys(uncertainty.SCAN, np.inf)


def test_error_detection_is_the_area_of_scipy_in_each_zone():
    p, each, spread = predicted()
    mask, wrong = np.ones(SHAPE, bool), rng(0, "wrong").random(SHAPE) < p
    mask[0] = False
    found, zones = uncertainty.measures(p, each, spread), uncertainty.zones(p, mask)
    rows = uncertainty.error_detection(found, wrong, zones)
    assert len(rows) == 6 and {row["errors"] for row in rows} == {wrong.sum()}
    for row in rows:
        inside = zones[row["zone"]]
        values, errors = found[row["measure"]][inside], wrong[inside]
        above = stats.mannwhitneyu(values[errors], values[~errors]).statistic
        assert row["auc"] == pytest.approx(above / errors.sum() / (~errors).sum())
        assert row["wrong"] == wrong[inside].sum()


def test_errors_are_counted_by_the_rank_of_each_measure_within_the_zone():
    """Twenty voxels of the zone in ten tenths of two; whatever the values of a measure, ranks fill all of them."""
    values, zone = np.r_[np.geomspace(1e-6, 0.01, 20), 0.5], np.arange(21) < 20
    wrong = np.isin(np.arange(21), [17, 18, 19, 20])
    counts = uncertainty.error_counts({"passes": values, "doubt": -values}, wrong, zone)
    passes, doubt = (agreement.reliability(counts[name]) for name in ("passes", "doubt"))
    assert passes["voxels"].tolist() == [2] * 10 and passes["lesion_fraction"].tolist() == [0] * 8 + [0.5, 1]
    assert doubt["lesion_fraction"].tolist() == [1, 0.5] + [0] * 8, "backwards"
    assert passes["mean_probability"].tolist() == pytest.approx(np.linspace(0.05, 0.95, 10).tolist())


def test_equal_values_share_a_rank_and_an_empty_zone_counts_nothing():
    counts = uncertainty.error_counts({"doubt": np.zeros(4)}, np.ones(4, bool), np.ones(4, bool))["doubt"]
    assert counts[0, 5] == 4 == counts[2].sum() and counts[1].sum() == pytest.approx(4 * 0.5)
    assert not uncertainty.error_counts({"doubt": np.zeros(4)}, np.ones(4, bool), np.zeros(4, bool))["doubt"].any()


def test_a_selective_curve_worked_out_by_hand():
    curve = uncertainty.selective([3, 1, 2], [0.3, 0.9, 0.6])
    assert curve["kept"].tolist() == pytest.approx([1 / 3, 2 / 3, 1])
    assert curve["mean"].tolist() == pytest.approx([0.9, 0.75, 0.6])
    assert uncertainty.selective_area([3, 1, 2], [0.3, 0.9, 0.6]) == pytest.approx((0.9 + 0.75 + 0.6) / 3)


def test_scans_of_one_uncertainty_count_as_in_random_order():
    curve = uncertainty.selective([1, np.inf, np.inf], [0.9, 0.0, 0.6])
    assert curve["mean"].tolist() == pytest.approx([0.9, 0.6, 0.5])
    other = uncertainty.selective([1, np.inf, np.inf], [0.9, 0.6, 0.0])
    assert other["mean"].tolist() == pytest.approx(curve["mean"].tolist())
    flat = uncertainty.selective(np.zeros(5), [0, 0.1, 0.2, 0.3, 0.9])
    assert np.allclose(flat["mean"], 0.3), "nothing known, nothing gained"


def test_a_measure_is_judged_by_its_order_alone():
    generator = rng(0, "order")
    values, scores = generator.random(30), generator.random(30)
    area = uncertainty.selective_area(values, scores)
    assert uncertainty.selective_area(np.exp(5 * values) - 7, scores) == pytest.approx(area)
    assert uncertainty.selective_area(-scores, scores) >= max(area, uncertainty.selective_area(-values, scores))
    assert uncertainty.selective_area(scores, scores) <= area


def test_weights_of_one_are_no_weights_and_those_of_two_repeat_the_scan():
    generator = rng(0, "weights")
    values, scores = generator.permutation(8), generator.random(8)
    area = uncertainty.selective_area(values, scores)
    assert uncertainty.selective_area(values, scores, np.ones((3, 8))) == pytest.approx([area] * 3)
    for same in (values, values // 3, np.where(values > 3, np.inf, values)):
        twice = generator.integers(0, 3, (20, 8))
        drawn = [np.repeat(np.arange(8), times) for times in twice]
        drawn_out = [uncertainty.selective_area(same[which], scores[which]) for which in drawn]
        assert uncertainty.selective_area(same, scores, twice) == pytest.approx(drawn_out)
        for which, area in zip(drawn, drawn_out, strict=True):
            assert uncertainty.selective(same[which], scores[which])["mean"].mean() == pytest.approx(area)


@pytest.mark.parametrize(
    ("values", "scores"), [([1, 2], [0.5]), ([1, np.nan], [0.5, 0.5]), ([1, 2], [0.5, np.inf]), ([], [])]
)
def test_what_cannot_be_ranked_is_refused(values, scores):
    with pytest.raises(ValueError, match="expected an uncertainty and a finite score for each"):
        uncertainty.selective(values, scores)


def test_who_knows_the_score_gains_all_and_who_knows_nothing_none():
    scores = np.linspace(0.1, 0.9, 60)
    table = uncertainty.selective_areas(ranked(scores), "dsc", rng(0, "areas")).set_index("measure")
    assert table.loc["doubt", "area"] == pytest.approx(table.loc["doubt", "best"])
    assert table.loc["doubt", "share_of_best"] == pytest.approx(1)
    assert table.loc["doubt", "gain_low"] > 0.1 and table.loc["doubt", "over_low"] > 0
    blind = table.loc["smallness"]
    assert blind["gain_low"] < 0 < blind["gain_high"]
    assert (blind["over_reference"], blind["over_low"], blind["detectable"]) == (0, 0, 0)
    assert (table["low"] <= table["area"]).all() and (table["area"] <= table["high"]).all()
    assert table["chance"].eq(scores.mean()).all()
    assert table.loc[["doubt", "smallness"], "verdict"].tolist() == ["better", "the reference"]
    assert np.isnan(table.loc["smallness", "p"]) and table.loc["doubt", "p_holm"] < 0.05


def test_one_of_four_measures_needs_more_than_its_own_interval():
    """Holm asks the best of four for p below 0.0125; its interval alone leaves 0 out below 0.05."""
    scores = np.linspace(0.1, 0.9, 60)
    draw = rng(1, "faint")
    noise = {name: draw.permutation(60) for name in ("passes", "networks", "disagreement")}
    faint = ranked(scores).assign(doubt=-scores + draw.normal(0, 0.5, 60), **noise)
    table = uncertainty.selective_areas(faint, "dsc", rng(0, "faint")).set_index("measure")
    doubt = table.loc["doubt"]
    assert doubt["over_low"] > 0 and 0.0125 < doubt["p"] < 0.05
    assert doubt["p_holm"] == pytest.approx(min(4 * doubt["p"], 1)) and doubt["verdict"] == "inconclusive"


def test_patients_are_drawn_and_not_scans():
    """Ten patients with six equal slabs each know as much as ten scans, and no more."""
    few = ranked(np.linspace(0.1, 0.9, 10))
    many = few.loc[few.index.repeat(6)].reset_index(drop=True)
    for _, row in uncertainty.selective_areas(many, "dsc", rng(0, "slabs")).iterrows():
        assert row["patients"] == 10 and row["scans"] == 60
    wide, narrow = (
        uncertainty.selective_areas(frame, "dsc", rng(0, "slabs")).set_index("measure").loc["doubt"]
        for frame in (many, many.assign(patient=np.arange(60)))
    )
    assert wide["high"] - wide["low"] > 1.8 * (narrow["high"] - narrow["low"])
    with pytest.raises(ValueError, match="two patients or more, got 1"):
        uncertainty.selective_areas(many.assign(patient="A"), "dsc", rng(0, "one"))
    with pytest.raises(ValueError, match="lacks the columns doubt"):
        uncertainty.selective_areas(many.drop(columns="doubt"), "dsc", rng(0, "lacking"))


def asked(difference, scatter, count=40):
    """AUCs of two measures on the same scans, two of each patient."""
    generator = rng(0, "asked")
    base, noise = generator.uniform(0.6, 0.9, count), generator.normal(0, scatter, count)
    rows = [{"case": case, "patient": case // 2, "measure": name, "auc": value}
            for case in range(count) for name, value in
            (("passes", base[case] + difference + noise[case]), ("doubt", base[case]))]  # fmt: skip
    return pd.DataFrame(rows)


@pytest.mark.parametrize(("difference", "verdict"), [(0.05, "passes"), (-0.05, "doubt"), (0.0, "inconclusive")])
def test_measures_are_compared_on_the_same_scans(difference, verdict):
    frame = asked(difference, 0.02)
    row = uncertainty.compare(frame, "auc", "measure", [("passes", "doubt")], rng(0, "compare")).iloc[0]
    assert row["verdict"] == verdict and row["low"] < row["mean_difference"] < row["high"]
    assert (row["scans"], row["n"]) == (40, 20)
    by = frame.pivot(index=["patient", "case"], columns="measure", values="auc").groupby("patient").mean()
    expected = stats.ttest_rel(by["passes"], by["doubt"])
    assert row["p"] == row["p_holm"] == pytest.approx(expected.pvalue)


def test_without_a_generator_the_same_patients_are_drawn_each_time():
    frame, pairs = asked(0.0, 0.02), [("passes", "doubt")]
    first, second = (uncertainty.compare(frame, "auc", "measure", pairs).iloc[0] for _ in range(2))
    assert (first["low"], first["high"]) == (second["low"], second["high"])


def test_a_verdict_of_several_pairs_is_told_after_correction():
    frame = asked(0.0015, 0.02)
    third = frame[frame["measure"] == "doubt"].assign(measure="networks")
    pairs = [("passes", "doubt"), ("networks", "doubt"), ("passes", "networks")]
    table = uncertainty.compare(pd.concat([frame, third]), "auc", "measure", pairs, rng(0, "compare"))
    assert table["p"].iloc[0] < 0.05 < table["p_holm"].iloc[0] and (table["verdict"] == "inconclusive").all()


def test_a_scan_without_errors_takes_no_part():
    frame = asked(0.0, 0.02)
    frame.loc[frame["case"].isin([0, 5]) & (frame["measure"] == "doubt"), "auc"] = np.nan
    row = uncertainty.compare(frame, "auc", "measure", [("passes", "doubt")], rng(0, "compare")).iloc[0]
    assert row["scans"] == 38
    one = frame[frame["patient"] == 7]
    row = uncertainty.compare(one, "auc", "measure", [("passes", "doubt")], rng(0, "compare")).iloc[0]
    assert np.isnan(row["low"]) and np.isnan(row["detectable"]) and row["verdict"] == "inconclusive"
