from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.weightstats import DescrStatsW

from strokelib.evaluation import power, stats
from strokelib.evaluation.summary import paper_table
from strokelib.run.runtime import rng
from strokelib.run.variants import VARIANTS

METRICS = ("dsc", "ppv", "sensitivity", "hd_mm", "hd_voxels")


def scores(n=20, gain=0.05, variants=VARIANTS, seed=0):
    """Make a metrics frame in which each variant is a little better than the one before."""
    generator = np.random.default_rng(seed)
    rows = []
    ease = generator.normal(0, 0.1, n)
    for v, variant in enumerate(variants):
        for case in range(n):
            row = {"variant": variant, "case": case + 1, "patient": f"Train_{case // 2:02d}"}
            for metric in METRICS:
                value = 0.5 + ease[case] + gain * v + generator.normal(0, 0.03)
                row[metric] = value if not metric.startswith("hd") else 30 * (1.5 - value)
            row["truth_volume_ml"] = 20 + 5 * case
            row["volume_ml"] = row["truth_volume_ml"] + generator.normal(0, 3)
            rows.append(row)
    return pd.DataFrame(rows)


def two(differences, patients=None):
    """Make a frame of two variants whose dsc differs by the given numbers."""
    n = len(differences)
    patients = list(range(n)) if patients is None else patients
    old = pd.DataFrame({"variant": "old", "case": range(n), "patient": patients, "dsc": 0.0})
    return pd.concat([old, old.assign(variant="new", dsc=np.array(differences, float))], ignore_index=True)


def compare(differences, **more):
    return stats.paired_tests(two(differences, more.pop("patients", None)), "dsc", [("new", "old")], **more).iloc[0]


def test_numbers_agree_with_scipy():
    frame = scores()
    table = stats.paired_tests(frame, "dsc", [("rt", "baseline"), ("rt_sm", "rt")])
    for _, row in table.iterrows():
        new, old = (frame.loc[frame["variant"] == v, "dsc"].to_numpy() for v in (row["new"], row["old"]))
        peer = scipy.stats.ttest_rel(new, old)
        assert (row["t"], row["p"], row["df"]) == pytest.approx((peer.statistic, peer.pvalue, peer.df), rel=1e-10)
        assert row["p_wilcoxon"] == pytest.approx(scipy.stats.wilcoxon(new, old).pvalue, rel=1e-10)
        assert row["mean_difference"] == pytest.approx(new.mean() - old.mean())
        assert (row["n"], row["n_dropped"]) == (20, 0)


def test_hand_worked_differences():
    row = compare([1.0, 2.0, 3.0])
    assert row["pair"] == "new over old"
    assert row["mean_difference"] == 2 and row["d_z"] == pytest.approx(2.0)
    assert row["t"] == pytest.approx(2 * np.sqrt(3)) and row["df"] == 2


def test_swapping_the_pair_turns_the_sign_only():
    there, back = (stats.paired_tests(scores(), "ppv", [pair]).iloc[0] for pair in (("rt", "rt_sm"), ("rt_sm", "rt")))
    assert there["mean_difference"] == pytest.approx(-back["mean_difference"])
    assert there["d_z"] == pytest.approx(-back["d_z"]) and there["p"] == pytest.approx(back["p"])


def test_rows_of_the_frame_may_come_in_any_order():
    frame = scores()
    pairs = [("rt", "baseline")]
    shuffled = frame.sample(frac=1, random_state=3)
    first, second = (stats.paired_tests(f, "dsc", pairs) for f in (frame, shuffled))
    assert first["p"].item() == pytest.approx(second["p"].item(), rel=1e-12)


@pytest.mark.parametrize("p", [[0.01, 0.04, 0.03], [0.5, 0.9, 0.2, 0.2], [0.001], [1e-9, 0.6, 0.6, 0.02, 0.02]])
def test_holm_agrees_with_statsmodels(p):
    assert stats.holm(p) == pytest.approx(multipletests(p, method="holm")[1])


def test_holm_leaves_nan_out_of_the_count():
    corrected = stats.holm([0.01, np.nan, 0.04])
    assert corrected[[0, 2]] == pytest.approx([0.02, 0.04]) and np.isnan(corrected[1])
    assert stats.holm([]).shape == (0,)


def test_holm_is_over_all_pairs():
    pairs = [("rt", "baseline"), ("rt_sm", "rt"), ("rt_sm_uf", "rt_sm")]
    table = stats.paired_tests(scores(gain=0.01), "dsc", pairs)
    assert table["p_holm"].to_numpy() == pytest.approx(multipletests(table["p"], method="holm")[1])
    assert (table["p_holm"] >= table["p"]).all()


def test_interval_is_seeded_and_near_that_of_t():
    frame, pairs = scores(n=60), [("rt", "baseline")]
    first, again, default = (
        stats.paired_tests(frame, "dsc", pairs, generator=g).iloc[0] for g in (rng(5, "x"), rng(5, "x"), None)
    )
    assert (first["low"], first["high"]) == (again["low"], again["high"])
    assert default["low"] == stats.paired_tests(frame, "dsc", pairs)["low"].item()
    new, old = (frame.loc[frame["variant"] == v, "dsc"].to_numpy() for v in ("rt", "baseline"))
    peer = scipy.stats.ttest_rel(new, old).confidence_interval()
    assert first["low"] < first["mean_difference"] < first["high"]
    width = peer.high - peer.low
    assert abs(first["low"] - peer.low) < 0.1 * width and abs(first["high"] - peer.high) < 0.1 * width


def test_patients_are_averaged_first():
    row = compare([1.0, 3.0, 5.0, 6.0], patients=["a", "a", "b", "c"], unit="patient")
    peer = scipy.stats.ttest_1samp([2.0, 5.0, 6.0], 0)
    assert row["n"] == 3 and (row["t"], row["p"]) == pytest.approx((peer.statistic, peer.pvalue))
    assert compare([1.0, 3.0, 5.0, 6.0], patients=["a", "a", "b", "c"])["n"] == 4


def test_single_scan_patients_are_the_same_unit():
    differences = [0.1, 0.3, -0.2, 0.4]
    by_scan, by_patient = (compare(differences, unit=unit) for unit in stats.UNITS)
    assert by_scan["p"] == by_patient["p"]


def test_pairs_that_are_not_finite_are_dropped_and_counted():
    frame = scores(variants=("rt", "rt_sm"))
    frame.loc[0, "hd_mm"] = np.inf  # case 1 of rt
    frame.loc[22, "hd_mm"] = np.nan  # case 3 of rt_sm
    frame.loc[[5, 25], "hd_mm"] = np.inf  # case 6 of both
    frame = frame.drop(index=30)  # case 11 of rt_sm
    row = stats.paired_tests(frame, "hd_mm", [("rt_sm", "rt")]).iloc[0]
    kept = [c for c in range(20) if c not in (0, 2, 5, 10)]
    peer = scipy.stats.ttest_rel(
        *(scores(variants=("rt", "rt_sm"))["hd_mm"].to_numpy()[[b + c for c in kept]] for b in (20, 0))
    )
    assert (row["n"], row["n_dropped"]) == (16, 4)
    assert row["p"] == pytest.approx(peer.pvalue)


@pytest.mark.parametrize("differences", [[], [0.3], [0.0, 0.0, 0.0], [0.1, 0.1, 0.1], [np.nan, 1.0], [np.nan] * 3])
@pytest.mark.parametrize("unit", stats.UNITS)
def test_undefined_tests_are_nan_without_a_word(differences, unit):
    frame = two(differences) if differences else two([1.0, 1.0]).iloc[[0, 3]]  # two variants without a scan in common
    row = stats.paired_tests(frame, "dsc", [("new", "old")], unit=unit).iloc[0]
    assert np.isnan([row[c] for c in ("t", "p", "p_holm", "p_wilcoxon", "d_z")]).all()
    finite = [d for d in differences if np.isfinite(d)]
    assert row["n"] == len(finite)
    assert row["mean_difference"] == pytest.approx(np.mean(finite)) if finite else np.isnan(row["mean_difference"])


def test_small_samples_with_zeros_and_ties_pass():
    row = compare([0.0, 0.1, 0.1, -0.1, 0.2, 0.0])
    assert 0 < row["p_wilcoxon"] <= 1 and 0 < row["p"] < 1


def test_wrong_input_is_named():
    frame = scores()
    with pytest.raises(ValueError, match="'final' is not in the frame"):
        stats.paired_tests(frame, "dsc", [("final", "rt")])
    with pytest.raises(ValueError, match="hd95"):
        stats.paired_tests(frame, "hd95", [("rt", "baseline")])
    with pytest.raises(ValueError, match="unit"):
        stats.paired_tests(frame, "dsc", [("rt", "baseline")], unit="slice")
    with pytest.raises(ValueError, match="'rt' holds a case twice"):
        stats.paired_tests(pd.concat([frame, frame]), "dsc", [("rt", "baseline")])


def test_claims_are_the_papers():
    said = {(c.new, c.old, c.metric): (c.direction, c.p_bound) for c in stats.CLAIMS}
    assert said == {
        ("rt", "baseline", "dsc"): (1, 0.02),
        ("rt", "baseline", "sensitivity"): (1, 0.02),
        ("rt_sm", "rt", "ppv"): (1, 0.05),
        ("rt_sm", "rt", "sensitivity"): (-1, 0.05),
        ("rt_sm_uf", "rt_sm", "hd_voxels"): (-1, 0.03),
        ("rt_sm_uf", "rt_sm", "sensitivity"): (-1, 0.03),
        ("rt_sm_uf", "baseline", "dsc"): (1, 0.05),
        ("rt_sm_uf", "baseline", "hd_voxels"): (-1, 0.05),
        ("rt_sm_uf", "baseline", "ppv"): (1, 0.05),
    }


def test_claims_agree_with_the_papers_own_means():
    paper = paper_table("table1").set_index("variant")
    column = {"dsc": "dsc_percent_mean", "ppv": "ppv_percent_mean", "sensitivity": "sensitivity_percent_mean"}
    for claim in stats.CLAIMS:
        name = column.get(claim.metric, "hd_mean")
        assert claim.direction * (paper.loc[claim.new, name] - paper.loc[claim.old, name]) > 0


def test_verdicts():
    table = stats.claims_table(scores()).set_index(["new", "old", "metric"])
    assert len(table) == len(stats.CLAIMS)
    # Every metric grows from variant to variant here, so the claims of a lower sensitivity are turned round.
    assert table.loc[("rt", "baseline", "dsc"), "verdict"] == "holds"
    assert table.loc[("rt_sm_uf", "rt_sm", "hd_voxels"), "verdict"] == "holds"
    assert table.loc[("rt_sm", "rt", "sensitivity"), "verdict"] == "opposite"
    assert table["p_holm"].to_numpy() == pytest.approx(multipletests(table["p"], method="holm")[1])
    assert table.loc[("rt", "baseline", "dsc"), "paper_direction"] == "up"


@pytest.mark.parametrize(
    ("low", "high", "p_holm", "expected"),
    [(0.1, 0.3, 0.049, 1), (-0.3, -0.1, 0.049, -1), (0.1, 0.3, 0.05, 0), (-0.1, 0.3, 0.01, 0),
     (0.1, 0.3, np.nan, 0), (np.nan, np.nan, 0.01, 0)],
)  # fmt: skip
def test_a_side_of_0_is_told_by_interval_and_p_together(low, high, p_holm, expected):
    row = pd.Series({"low": low, "high": high, "p_holm": p_holm, "p": 0.01})
    assert stats.side(row) == expected
    assert stats.side(row, "p") == int(low > 0) - int(high < 0), "another p-value can be asked"
    word = {1: "more", -1: "less", 0: "inconclusive"}
    assert stats.side_in_words(row, "more", "less") == word[expected]
    assert stats.side_in_words(row, "more", "less", "p") == word[stats.side(row, "p")]


T_AND_N = [(2.5, 30), (-10.4, 94), (50.0, 5), (0.001, 2), (8.0, 3000), (300.0, 10), (8.7, 3)]


@pytest.mark.parametrize(("t", "n"), T_AND_N)
def test_the_interval_of_an_effect_size_agrees_with_another_inversion(t, n):
    low, high = power.effect_size_interval(t, n)
    peer = [scipy.special.nctdtrinc(n - 1, part, t) / np.sqrt(n) for part in (0.975, 0.025)]
    assert (low, high) == pytest.approx(peer, rel=1e-4)
    assert low < t / np.sqrt(n) < high
    assert power.effect_size_interval(-t, n) == pytest.approx((-high, -low))


def test_the_interval_of_no_effect_is_known():
    """The noncentral t lies below 0 with the chance that a normal of that shift does, whatever its degrees."""
    assert power.effect_size_interval(0.0, 25) == pytest.approx((-1.959964 / 5, 1.959964 / 5), rel=1e-6)


@pytest.mark.parametrize("t", [1e5, -1e6, np.inf])
def test_an_effect_beyond_all_measure_has_no_interval(t):
    assert np.isnan(power.effect_size_interval(t, 7)).all()
    low, high = power.effect_size_interval(2e4, 7)
    assert 0 < low < 2e4 / np.sqrt(7) < high


def test_differences_that_are_all_but_the_same_can_be_compared():
    row = compare([0.1, 0.1 + 1e-7, 0.1 + 2e-7])
    assert row["low"] > 0 and row["p"] < 1e-6 and np.isnan(row["d_z_low"])


def test_the_bounds_of_an_effect_size_are_what_they_are_said_to_be():
    """Draw paired t from their definition, with the effect size of each bound: one in forty is as far as ours."""
    generator, n = np.random.default_rng(4), 15
    low, high = power.effect_size_interval(2.2, n)
    for bound, beyond in ((low, lambda t: t >= 2.2), (high, lambda t: t <= 2.2)):
        x = generator.normal(bound, 1, (40_000, n))
        t = x.mean(axis=1) / x.std(axis=1, ddof=1) * np.sqrt(n)
        assert beyond(t).mean() == pytest.approx(0.025, abs=0.003)


def covered(draw, effect, n, repetitions):
    """Return how often the interval of d_z holds the true one, and how often one of the mean over a fixed SD does."""
    x = draw(np.random.default_rng(5), (repetitions, n))
    d = x.mean(axis=1) / x.std(axis=1, ddof=1)
    ours = [power.effect_size_interval(value * np.sqrt(n), n) for value in d]
    reach = scipy.stats.t.ppf(0.975, n - 1) / np.sqrt(n)
    return np.mean([low < effect < high for low, high in ours]), np.mean(np.abs(d - effect) < reach)


def test_the_interval_of_an_effect_size_covers_it_where_a_fixed_sd_does_not():
    found, fixed = covered(lambda generator, shape: generator.normal(1.5, 1, shape), 1.5, 12, 400)
    assert found == pytest.approx(0.95, abs=0.03) and fixed < 0.88
    # What the function's words say of skewed differences.
    skewed, _ = covered(lambda generator, shape: generator.exponential(1, shape) - 1.5, -0.5, 94, 300)
    assert skewed == pytest.approx(0.81, abs=0.05)


def test_an_effect_size_has_its_interval_in_the_table():
    row = compare([0.1, 0.3, 0.2, -0.1, 0.4])
    assert (row["d_z_low"], row["d_z_high"]) == power.effect_size_interval(row["t"], 5)
    assert row["sd"] == pytest.approx(np.std([0.1, 0.3, 0.2, -0.1, 0.4], ddof=1))


def test_verdict_without_evidence():
    same = scores(gain=0.0, n=8)
    same[list(METRICS)] = same.groupby("case")[list(METRICS)].transform("first")
    assert (stats.claims_table(same)["verdict"] == "inconclusive").all()
    weak = stats.claims_table(scores(gain=0.0, n=6, seed=2), unit="patient")
    untold = weak.loc[weak["p"] >= 0.05, "verdict"]
    assert set(untold) == {"inconclusive", "smaller"}


def claimed(differences, direction=1, **more):
    """Hold one claim, of a DSC that the paper's step from baseline to RT raises by 4.5 points, against differences."""
    frame = two(differences).replace({"variant": {"old": "baseline", "new": "rt"}})
    claim = stats.Claim("rt", "baseline", "dsc", direction, 0.02)
    return stats.claims_table(frame, claims=(claim,), **more).iloc[0]


def test_smaller_by_hand():
    """Mean 0, SD 0.01, 25 scans: error 0.002. Half of the paper's 4.5 points is 11.25 errors above."""
    shape = np.tile([-1, 1, 0, 1, -1], 5)
    row = claimed(differences := 0.01 * shape / shape.std(ddof=1))
    assert row["paper_difference"] == pytest.approx(0.045) and row["margin"] == pytest.approx(0.0225)
    assert row["d_z_margin"] == pytest.approx(2.25) and row["share"] == 0.5
    assert row["p_smaller"] == pytest.approx(scipy.stats.t.cdf(-11.25, 24))
    reach = 1.7108820799 * 0.002  # Student's 95 % point with 24 degrees
    assert (row["low_90"], row["high_90"]) == pytest.approx((-reach, reach))
    assert row["verdict"] == "smaller"
    assert claimed(differences, share=0.05)["verdict"] == "inconclusive", "0.225 points are 1.1 errors away"


@pytest.mark.parametrize(
    ("mean", "sd", "verdict"),
    [
        (0.044, 0.03, "holds"),
        (0.010, 0.02, "holds"),  # and smaller, too: the one that the paper says comes first
        (-0.030, 0.03, "opposite"),  # of course smaller, too
        (0.002, 0.03, "smaller"),
        (0.008, 0.06, "inconclusive"),
        (0.017, 0.06, "inconclusive"),
    ],
)
def test_the_order_of_verdicts(mean, sd, verdict):
    shape = np.random.default_rng(0).normal(0, 1, 40)
    row = claimed(mean + sd * (shape - shape.mean()) / shape.std(ddof=1))
    assert row["verdict"] == verdict
    assert (row["p_smaller"] < 0.05) == (row["high_90"] < row["margin"]), "the interval redoes the test"
    assert (row["p_smaller"] < 0.05) == (verdict in ("opposite", "smaller") or (mean, sd) == (0.010, 0.02))


def test_smaller_looks_in_the_papers_direction():
    """A lower HD: the paper's is 3.1 voxels, ours 0.2 with an error of 0.1. Then 3 higher, which is opposite."""
    shape = np.random.default_rng(0).normal(0, 1, 100)
    shape = (shape - shape.mean()) / shape.std(ddof=1)
    claim = (stats.Claim("rt_sm_uf", "rt_sm", "hd_voxels", -1, 0.03),)
    for mean, verdict, p in ((-0.2, "holds", 0), (-0.1, "smaller", 0), (3.0, "opposite", 0), (-1.5, "holds", 0.309)):
        frame = two(mean + shape).rename(columns={"dsc": "hd_voxels"})
        frame = frame.replace({"variant": {"old": "rt_sm", "new": "rt_sm_uf"}})
        row = stats.claims_table(frame, claims=claim).iloc[0]
        assert (row["paper_difference"], row["margin"]) == pytest.approx((-3.1, -1.55))
        assert row["verdict"] == verdict and row["p_smaller"] == pytest.approx(p, abs=0.001)
        assert (row["low_90"] > row["margin"]) == (row["p_smaller"] < 0.05)


def test_the_margin_agrees_with_statsmodels():
    differences = scores(n=30, gain=0.01).pivot(index="case", columns="variant", values="dsc").diff(axis=1)["rt"]
    peer = DescrStatsW(differences).ttest_mean(0.0225, alternative="smaller")
    assert claimed(differences)["p_smaller"] == pytest.approx(peer[1])


def test_nothing_is_smaller_than_what_the_paper_does_not_print():
    claim = stats.Claim("rt", "baseline", "hd_mm", -1, 0.05)
    row = stats.claims_table(scores(gain=0.0), claims=(claim,)).iloc[0]
    assert np.isnan(row[["paper_difference", "margin", "p_smaller"]].astype(float)).all()
    assert row["verdict"] in ("inconclusive", "opposite", "holds")
    none = [0.01, -0.01, 0.02, -0.02]
    unknown = stats.claims_table(two(none), claims=(stats.Claim("new", "old", "dsc", 1, 0.05),))
    assert unknown["verdict"][0] == "inconclusive"
    assert claimed(none, direction=-1)["verdict"] == "inconclusive", "the paper's difference is the other way"


def test_every_claim_has_a_difference_of_the_papers():
    table = stats.claims_table(scores())
    assert (table["paper_difference"] * [claim.direction for claim in stats.CLAIMS] > 0).all()
    assert table["paper_difference"].tolist() == pytest.approx(
        [0.045, 0.088, 0.065, -0.023, -3.1, -0.028, 0.057, -6.0, 0.109]
    )
    corrected = multipletests(table["p_smaller"], method="holm")[1]
    strict = (table["p_holm"] >= 0.05) & (corrected < 0.05)
    assert (table.loc[strict, "verdict_holm"] == "smaller").all()
    assert ((table["verdict_holm"] == "holds") == ((table["verdict"] == "holds") & (table["p_holm"] < 0.05))).all()


def test_the_verdict_after_holm_is_the_stricter():
    """Nine claims in one direction: each p of 0.02 holds alone, none among nine."""
    shape = np.random.default_rng(0).normal(0, 1, 40)
    shape = (shape - shape.mean()) / shape.std(ddof=1)
    frame = two(0.06 * (shape + 0.39)).replace({"variant": {"old": "baseline", "new": "rt"}})
    table = stats.claims_table(frame, claims=(stats.Claim("rt", "baseline", "dsc", 1, 0.02),) * 9)
    assert (table["p"] < 0.05).all() and (table["p_holm"] > 0.05).all()
    assert set(table["verdict"]) == {"holds"} and set(table["verdict_holm"]) == {"inconclusive"}


@pytest.mark.parametrize("share", [0, -0.5, 1.5, np.nan])
def test_a_share_that_is_none_is_named(share):
    with pytest.raises(ValueError, match="share must lie in"):
        stats.claims_table(scores(), share=share)


def test_verdicts_are_told_by_nested_pairs():
    table = pd.DataFrame({"choice": ["nested", "all folds"], "verdict": ["smaller", "holds"]})
    assert stats.told(table)["verdict"].tolist() == ["smaller"]
    assert stats.told(table[["verdict"]]).equals(table[["verdict"]]), "an earlier run has no such column"


def test_a_detectable_difference_is_found_in_four_of_five_repetitions_whatever_the_number():
    """By the t-test itself: with 7 units 3.35 standard errors, where the normal approximation has 2.80."""
    for n, reach in ((7, 3.3525), (60, 2.8487)):
        least = power.detectable(2.0, n)
        assert least == pytest.approx(reach * 2 / np.sqrt(n), rel=1e-4)
        drawn = np.random.default_rng(3).normal(least, 2, (20_000, n))
        found = (scipy.stats.ttest_1samp(drawn, 0, axis=1).pvalue < 0.05).mean()
        assert found == pytest.approx(0.8, abs=0.015)
    assert np.isnan(power.detectable(2.0, 1))


def test_what_is_detectable_is_of_the_units_that_were_tested():
    frame = scores()
    for unit in stats.UNITS:
        row = stats.paired_tests(frame, "dsc", [("rt", "baseline")], unit).iloc[0]
        assert row["detectable"] == power.detectable(row["sd"], row["n"]) > 0


def seeded(seeds=3, shift=(0.0, 0.02, -0.01), **more):
    """Make one metrics frame a seed, each moved as a whole."""
    return pd.concat([scores(**more).assign(seed=k, dsc=lambda f, k=k: f["dsc"] + shift[k]) for k in range(seeds)])


def test_seeds_by_hand():
    frame = pd.DataFrame(
        [(v, k, c, f"p{c}") for v in ("rt", "rt_sm") for k in (1, 2, 3) for c in (1, 2)],
        columns=["variant", "seed", "case", "patient"],
    ).assign(dsc=[0.4, 0.6, 0.5, 0.7, 0.6, 0.8, 0.5, 0.7, 0.7, 0.9, 0.9, 1.1])
    values = stats.seed_values(frame, "dsc", [("rt_sm", "rt")])
    assert values["value"].tolist() == pytest.approx([0.5, 0.6, 0.7, 0.6, 0.8, 1.0, 0.1, 0.2, 0.3])
    assert values["name"].tolist() == ["rt"] * 3 + ["rt_sm"] * 3 + ["rt_sm over rt"] * 3
    assert values["seed"].tolist() == [1, 2, 3] * 3 and (values["n"] == 2).all()
    spread = stats.seed_spread(values).set_index("name")
    assert spread["sd"].tolist() == pytest.approx([0.1, 0.2, 0.1])
    assert spread["mean"].tolist() == pytest.approx([0.6, 0.8, 0.2])
    reach = 4.302652729911275 * 0.1 / np.sqrt(3)
    row = spread.loc["rt_sm over rt"]
    assert [row["low"], row["high"]] == pytest.approx([0.2 - reach, 0.2 + reach])
    assert [row["seeds"], row["lowest"], row["highest"]] == pytest.approx([3, 0.1, 0.3])


def test_seed_spread_agrees_with_statsmodels():
    frame = pd.concat([scores(seed=k, gain=0.02).assign(seed=k) for k in range(5)])
    values = stats.seed_values(frame, "ppv", [("rt_sm", "rt")])
    for _, row in stats.seed_spread(values).iterrows():
        peer = DescrStatsW(values.loc[values["name"] == row["name"], "value"])
        assert (row["low"], row["high"]) == pytest.approx(peer.tconfint_mean())
        assert row["mean"] == pytest.approx(peer.mean)


def test_a_seed_that_moves_all_variants_alike_leaves_their_difference():
    pairs = [("rt", "baseline"), ("rt_sm", "rt")]
    spread = stats.seed_spread(stats.seed_values(seeded(), "dsc", pairs)).set_index("name")
    moved = np.std([0.0, 0.02, -0.01], ddof=1)
    assert spread.loc[list(VARIANTS), "sd"].to_numpy() == pytest.approx(moved)
    once = stats.paired_tests(scores(), "dsc", pairs).set_index("pair")["mean_difference"]
    assert spread.loc[once.index, "mean"].to_numpy() == pytest.approx(once.to_numpy())
    assert spread.loc[once.index, "sd"].to_numpy() == pytest.approx(0, abs=1e-12)


def test_seed_differences_leave_out_the_same_scans_on_both_sides():
    frame = seeded(seeds=2, variants=("rt", "rt_sm")).reset_index(drop=True)
    frame.loc[frame["variant"].eq("rt") & frame["seed"].eq(1) & frame["case"].eq(4), "hd_mm"] = np.inf
    values = stats.seed_values(frame, "hd_mm", [("rt_sm", "rt")]).set_index(["name", "seed"])
    assert values.loc[("rt", 1), ["n", "n_dropped"]].tolist() == [19, 1]
    assert values.loc[("rt_sm", 1), ["n", "n_dropped"]].tolist() == [20, 0]
    assert values.loc[("rt_sm over rt", 1), ["n", "n_dropped"]].tolist() == [19, 1]
    kept = frame.query("seed == 1 and case != 4").pivot(index="case", columns="variant", values="hd_mm")
    assert values.loc[("rt_sm over rt", 1), "value"] == pytest.approx((kept["rt_sm"] - kept["rt"]).mean())


def test_a_single_seed_has_no_spread_and_a_pair_takes_the_seeds_it_shares():
    frame = seeded(variants=("rt", "rt_sm"))
    frame = frame[(frame["variant"] == "rt_sm") | (frame["seed"] == 1)]
    values = stats.seed_values(frame, "dsc", [("rt_sm", "rt")])
    spread = stats.seed_spread(values).set_index("name")
    assert spread["seeds"].to_dict() == {"rt": 1, "rt_sm": 3, "rt_sm over rt": 1}
    assert np.isnan(spread.loc["rt", ["sd", "low", "high"]].astype(float)).all()
    assert spread.loc["rt", "mean"] == spread.loc["rt", "highest"]


def test_seeds_that_cannot_be_compared_are_named():
    frame = seeded(variants=("rt", "rt_sm"))
    pairs = [("rt_sm", "rt")]
    with pytest.raises(ValueError, match="holds a case twice"):
        stats.seed_values(pd.concat([frame, frame]), "dsc", pairs)
    with pytest.raises(ValueError, match="the seeds of 'rt' differ in their scans"):
        stats.seed_values(frame[(frame["variant"] != "rt") | (frame["seed"] != 1) | (frame["case"] > 2)], "dsc", pairs)
    apart = frame[(frame["variant"] == "rt") ^ (frame["seed"] == 1)]
    with pytest.raises(ValueError, match="'rt_sm' and 'rt' have no seed in common"):
        stats.seed_values(apart, "dsc", pairs)
    with pytest.raises(ValueError, match="'unet' and 'rt' have no seed"):
        stats.seed_values(frame, "dsc", [("unet", "rt")])
    with pytest.raises(ValueError, match="seed"):
        stats.seed_values(frame.drop(columns="seed"), "dsc", pairs)


def three_scans():
    """Two variants, two seeds, three scans; one value is missing in one seed of one variant, and one scan in both."""
    rows = [  # case, patient, seed, old, new
        (1, "a", 1, 0.10, 0.20),
        (1, "a", 2, 0.30, 0.60),
        (2, "a", 1, np.nan, 0.90),
        (2, "a", 2, 0.50, 0.40),
        (3, "b", 1, 0.20, 0.30),
        (3, "b", 2, 0.20, 0.50),
        (4, "c", 1, np.nan, 0.70),
        (4, "c", 2, 0.10, np.nan),
    ]
    wide = pd.DataFrame(rows, columns=["case", "patient", "seed", "old", "new"])
    return wide.melt(["case", "patient", "seed"], ["old", "new"], "variant", "ppv")


def test_averaging_over_seeds_keeps_the_pairs_by_hand():
    """Scan 1: (0.1 + 0.3) / 2; scan 2: seed 2 alone, -0.1; scan 3: (0.1 + 0.3) / 2; scan 4: no seed has both."""
    row = stats.paired_tests(three_scans(), "ppv", [("new", "old")]).iloc[0]
    assert row["mean_difference"] == pytest.approx((0.2 - 0.1 + 0.2) / 3)
    assert (row["n"], row["n_dropped"], row["n_incomplete"]) == (3, 1, 1)
    assert row["sd"] == pytest.approx(np.std([0.2, -0.1, 0.2], ddof=1))
    # What is averaged first and then subtracted is another thing: scan 2 has 0.65 - 0.5 there, scan 4 0.7 - 0.1.
    means = three_scans().groupby(["variant", "case"])["ppv"].mean()
    assert (means["new"] - means["old"]).mean() == pytest.approx((0.2 + 0.15 + 0.2 + 0.6) / 4)


def test_averaging_over_seeds_by_patient_averages_scans_after_seeds():
    row = stats.paired_tests(three_scans(), "ppv", [("new", "old")], unit="patient").iloc[0]
    assert row["mean_difference"] == pytest.approx(((0.2 - 0.1) / 2 + 0.2) / 2)
    assert (row["n"], row["n_dropped"], row["n_incomplete"]) == (2, 1, 1)


def test_seeds_without_a_gap_are_as_if_averaged_beforehand():
    frame = seeded()
    plain = frame.groupby(["variant", "case", "patient"], as_index=False)[list(METRICS)].mean()
    pairs = [("rt_sm", "rt"), ("rt", "baseline")]
    for unit in stats.UNITS:
        kept, before = (stats.paired_tests(f, "hd_mm", pairs, unit).drop(columns="pair") for f in (frame, plain))
        pd.testing.assert_frame_equal(kept, before)
    assert (kept["n_incomplete"] == 0).all()


def test_one_seed_is_no_seed():
    frame = scores(gain=0.01)
    pd.testing.assert_frame_equal(stats.claims_table(frame.assign(seed=7)), stats.claims_table(frame))


def test_averaging_takes_the_seeds_that_both_have():
    frame = seeded(shift=(0.0, 0.5, -0.5))
    frame = frame[(frame["variant"] != "rt") | (frame["seed"] == 1)]
    row = stats.paired_tests(frame, "dsc", [("rt_sm", "rt")]).iloc[0]
    alone = stats.paired_tests(scores(), "dsc", [("rt_sm", "rt")]).iloc[0]
    assert row["mean_difference"] == pytest.approx(alone["mean_difference"]) and row["n_incomplete"] == 0
    with pytest.raises(ValueError, match=r"'rt_sm' and 'rt' have no seed in common; they have .*\[0, 2\].*\[1\]"):
        stats.paired_tests(frame[(frame["variant"] == "rt") | (frame["seed"] != 1)], "dsc", [("rt_sm", "rt")])


def test_the_wider_interval_clears_a_margin_that_is_the_truth_as_seldom_as_it_says():
    """Seven normal differences whose mean is 0: both ends leave it out in 2.5 %, the bootstrap's in 6 % each."""
    cleared = {"bootstrap": 0, "ends": 0}
    for seed in range(2000):
        differences = rng(seed, "margin").standard_normal(7)
        draws = rng(seed, "margin", "draws").choice(differences, (1000, 7)).mean(axis=1)
        low, high = np.quantile(draws, (0.025, 0.975))
        row = SimpleNamespace(n=7, sd=differences.std(ddof=1), mean_difference=differences.mean(), low=low, high=high)
        found = stats.ends(row)
        assert found[0] <= low and found[1] >= high
        cleared["bootstrap"] += low > 0
        cleared["ends"] += found[0] > 0
    assert cleared["ends"] <= 0.035 * 2000 < 0.045 * 2000 < cleared["bootstrap"]


def test_the_wider_interval_of_nothing_is_undefined():
    nothing = SimpleNamespace(n=1, sd=np.nan, mean_difference=0.1, low=np.nan, high=np.nan)
    assert np.isnan(stats.ends(nothing)).all()
