import numpy as np
import pandas as pd
import pytest
import scipy.stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.weightstats import DescrStatsW

from strokelib.evaluation import stats
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


def test_the_effect_size_has_the_interval_of_the_mean():
    row = compare([0.1, 0.3, 0.2, -0.1, 0.4])
    sd = np.std([0.1, 0.3, 0.2, -0.1, 0.4], ddof=1)
    assert (row["d_z_low"], row["d_z_high"]) == pytest.approx((row["low"] / sd, row["high"] / sd))


def test_verdict_without_evidence():
    same = scores(gain=0.0, n=8)
    same[list(METRICS)] = same.groupby("case")[list(METRICS)].transform("first")
    assert (stats.claims_table(same)["verdict"] == "inconclusive").all()
    weak = stats.claims_table(scores(gain=0.0, n=6, seed=2), unit="patient")
    assert (weak.loc[weak["p"] >= 0.05, "verdict"] == "inconclusive").all() and (weak["p"] >= 0.05).any()


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
