import itertools
import warnings

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from test_stats import scores

from strokelib.evaluation import agreement
from strokelib.run.variants import VARIANTS


@pytest.fixture(autouse=True)
def _no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def test_volume_groups_and_their_edges():
    groups = agreement.volume_groups([0, 4.99, 5, 19.99, 20, 60, 60.01, 300, np.nan])
    assert list(groups)[:8] == ["< 5", "< 5", "5–20", "5–20", "20–60", "20–60", "> 60", "> 60"]
    assert groups.isna().tolist() == [False] * 8 + [True]
    assert groups.ordered and groups.min() == "< 5" and groups.max() == "> 60"
    assert list(agreement.volume_groups([1.0]).categories) == list(agreement.VOLUME_GROUPS)
    with pytest.raises(ValueError, match="-1"):
        agreement.volume_groups([3, -1])


def test_groups_grow_with_what_they_sort():
    values = np.sort(np.random.default_rng(0).uniform(0, 100, 500))
    for groups in (agreement.volume_groups(values), agreement.slice_groups(np.round(values))):
        assert (np.diff(groups.codes) >= 0).all() and set(groups.codes) == {0, 1, 2, 3}


def test_slice_groups_of_the_challenge():
    assert list(agreement.slice_groups([2, 4, 8, 16, 22])) == ["≤ 2", "3–4", "5–8", "> 8", "> 8"]


def test_groups_agree_with_pandas():
    frame = scores().assign(group=lambda f: agreement.volume_groups(f["truth_volume_ml"]))
    table = agreement.by_group(frame, "group", ("dsc", "ppv")).set_index(["variant", "group", "metric"])
    peers = frame.groupby(["variant", "group"], observed=False)["dsc"]
    ours = table.xs("dsc", level="metric")
    assert len(table) == len(VARIANTS) * 4 * 2
    assert ours.index.get_level_values("variant").unique().tolist() == list(VARIANTS)  # in the frame's order
    for column, peer in (("mean", peers.mean()), ("median", peers.median()), ("sd", peers.std(ddof=0))):
        pd.testing.assert_series_equal(
            ours[column].sort_index(), peer.sort_index(), check_names=False, check_index_type=False
        )
    # 20, 25, ... 115 mL: 9 scans up to 60 mL.
    assert ours.loc["rt", "scans"].tolist() == [0, 0, 9, 11]


def test_groups_are_a_partition_of_the_scans():
    frame = scores().assign(group=lambda f: agreement.volume_groups(f["truth_volume_ml"] / 5))
    table = agreement.by_group(frame, "group", ("dsc",)).query("variant == 'rt'")
    whole = frame.loc[frame["variant"] == "rt", "dsc"].mean()
    some = table[table["scans"] > 0]
    assert table["scans"].sum() == 20
    assert (some["mean"] * some["scans"]).sum() / 20 == pytest.approx(whole)
    assert np.isnan(table.loc[table["scans"] == 0, ["mean", "sd", "median"]].to_numpy()).all()


def test_groups_by_hand_with_what_is_not_finite():
    frame = pd.DataFrame({"variant": "rt", "group": ["a", "a", "a", "b"], "hd_mm": [1.0, 5.0, np.inf, np.nan]})
    first, second = agreement.by_group(frame, "group", ["hd_mm"]).to_dict("records")
    assert first == {
        **{"variant": "rt", "group": "a", "metric": "hd_mm", "scans": 3},
        **{"undefined": 1, "mean": 3.0, "sd": 2.0, "median": 3.0},
    }
    assert (second["scans"], second["undefined"]) == (1, 1) and np.isnan(second["median"])
    with pytest.raises(ValueError, match="size"):
        agreement.by_group(frame, "size", ["hd_mm"])


# Peak expiratory flow by two meters, L/min: Bland and Altman, Lancet 327 (1986) 307-310, table 1, first readings.
WRIGHT = [494, 395, 516, 434, 476, 557, 413, 442, 650, 433, 417, 656, 267, 478, 178, 423, 427]
MINI = [512, 430, 520, 428, 500, 600, 364, 380, 658, 445, 432, 626, 260, 477, 259, 350, 451]


def test_bland_altman_of_the_authors_own_data():
    found = agreement.bland_altman(WRIGHT, MINI)
    assert found["n"] == 17
    assert found["bias_ml"] == pytest.approx(-2.1, abs=0.05) and found["sd_ml"] == pytest.approx(38.8, abs=0.05)
    # They print limits of 2 SD.
    assert found["bias_ml"] - 2 * found["sd_ml"] == pytest.approx(-79.7, abs=0.1)
    # A patient each, so ours, of patients drawn anew, is theirs but for chance: 2 % of 20 L/min.
    assert [found["bias_low_ml"], found["bias_high_ml"]] == pytest.approx([-22.0, 17.8], abs=0.4)
    # Their interval of a limit takes 3 s² / n for its variance, as of normal differences: 34.6 to either side.
    half = (found["upper_high_ml"] - found["upper_low_ml"]) / 2
    assert half == pytest.approx(34.6, rel=0.15)


def test_bland_altman_by_hand():
    found = agreement.bland_altman([12.0, 18.0, 33.0], [10.0, 20.0, 30.0])  # differences 2, -2, 3
    sd, t = np.sqrt(7.0), 4.302652729911275  # of 2 degrees of freedom
    assert found["bias_ml"] == pytest.approx(1) and found["sd_ml"] == pytest.approx(sd)
    assert [found["lower_ml"], found["upper_ml"]] == pytest.approx([1 - 1.96 * sd, 1 + 1.96 * sd])
    assert (found["n"], found["patients"]) == (3, 3)
    assert found["bias_high_ml"] - 1 == pytest.approx(t * sd / np.sqrt(3), rel=0.02)
    draws = np.array(list(itertools.product([2.0, -2.0, 3.0], repeat=3)))  # all 27 that can come
    for name, side in (("lower", -1), ("upper", 1)):
        lines = draws.mean(axis=1) + side * 1.96 * draws.std(axis=1) * np.sqrt(3 / 2)
        reach = t * np.sqrt(3 / 2) * lines.std()
        assert found[f"{name}_ml"] - found[f"{name}_low_ml"] == pytest.approx(reach, rel=0.02)
        assert found[f"{name}_high_ml"] - found[f"{name}_ml"] == pytest.approx(reach, rel=0.02)


def test_bland_altman_of_two_patients_by_hand():
    found = agreement.bland_altman([2.0, -2.0, 3.0], np.zeros(3), ["a", "a", "b"])
    # Drawn are a and a (mean 0), a and b (mean 1, twice as often), b and b (mean 3).
    scatter = np.sqrt((0 + 2 * 1 + 9) / 4 - 1.25**2)
    assert (found["n"], found["patients"], found["bias_ml"]) == (3, 2, pytest.approx(1))
    assert found["bias_high_ml"] - 1 == pytest.approx(12.7062 * np.sqrt(2) * scatter, rel=0.02)


def test_two_identical_scans_of_each_patient_know_as_much_as_one():
    differences, patients = np.random.default_rng(3).normal(2, 10, 20), np.arange(20)
    one = agreement.bland_altman(differences, np.zeros(20), patients)
    twice = agreement.bland_altman(np.tile(differences, 2), np.zeros(40), np.tile(patients, 2))
    by_scan = agreement.bland_altman(np.tile(differences, 2), np.zeros(40))
    assert (twice["n"], twice["patients"], by_scan["patients"]) == (40, 20, 40)
    for name in ("bias", "lower", "upper"):
        reach, same, narrow = (found[f"{name}_high_ml"] - found[f"{name}_ml"] for found in (one, twice, by_scan))
        assert same == pytest.approx(reach)
        assert narrow < 0.75 * reach, "scans pass for independent ones"


@pytest.mark.parametrize("count", [5, 20, 60])
def test_with_a_scan_a_patient_intervals_are_nearly_those_of_the_formula(count):
    differences = scipy.stats.norm.ppf((np.arange(count) + 0.5) / count, 3, 8)  # as normal as so many can be
    found = agreement.bland_altman(differences, np.zeros(count))
    t, sd = scipy.stats.t.ppf(0.975, count - 1), differences.std(ddof=1)
    assert found["bias_high_ml"] - found["bias_ml"] == pytest.approx(t * sd / np.sqrt(count), rel=0.03)
    reach = t * sd * np.sqrt(1 / count + 1.96**2 / (2 * (count - 1)))
    assert found["upper_high_ml"] - found["upper_ml"] == pytest.approx(reach, rel=0.2)


def test_bland_altman_moves_and_turns_with_the_volumes():
    generator = np.random.default_rng(4)
    true = generator.uniform(0, 100, 40)
    predicted = true + generator.normal(3, 8, 40)
    found, moved = agreement.bland_altman(predicted, true), agreement.bland_altman(predicted + 5, true)
    back = agreement.bland_altman(true, predicted)
    for name in ("bias", "lower", "upper"):
        assert moved[f"{name}_ml"] == pytest.approx(found[f"{name}_ml"] + 5)
    assert back["upper_ml"] == pytest.approx(-found["lower_ml"])
    assert back["bias_low_ml"] == pytest.approx(-found["bias_high_ml"])
    peer = scipy.stats.ttest_rel(predicted, true).confidence_interval()
    assert (found["bias_low_ml"], found["bias_high_ml"]) == pytest.approx((peer.low, peer.high), rel=0.03)


def test_intervals_hold_the_true_limits_where_a_patient_has_alike_scans():
    """Of thirty patients with three scans each, whose differences share most of their scatter."""
    generator, patients, repeats = np.random.default_rng(5), np.repeat(np.arange(30), 3), 60
    held = dict.fromkeys(("by patient", "by scan"), 0)
    for _ in range(repeats):
        differences = 2 + 9 * generator.normal(size=30)[patients] + np.sqrt(19) * generator.normal(size=90)  # SD 10
        for name, of in (("by patient", patients), ("by scan", None)):
            found = agreement.bland_altman(differences, np.zeros(90), of)
            held[name] += found["upper_low_ml"] < 2 + 1.96 * 10 < found["upper_high_ml"]
    assert held["by patient"] / repeats > 0.88 > 0.8 > held["by scan"] / repeats


def test_limits_of_agreement_hold_19_of_20_differences():
    many = np.random.default_rng(5).normal(2, 10, 20_000)
    found = agreement.bland_altman(many, np.zeros(20_000), np.arange(20_000) % 50)
    assert np.mean((many > found["lower_ml"]) & (many < found["upper_ml"])) == pytest.approx(0.95, abs=0.005)


@pytest.mark.parametrize(("volumes", "bias"), [(([], []), np.nan), (([5.0, np.nan], [3.0, 1.0]), 2.0)])
def test_bland_altman_undefined(volumes, bias):
    found = agreement.bland_altman(*volumes)
    assert found.pop("n") == found.pop("patients") == int(np.isfinite(bias))
    assert found.pop("bias_ml") == pytest.approx(bias, nan_ok=True)
    assert len(found) == 9 and np.isnan(list(found.values())).all()


def test_bland_altman_keys_are_the_same_for_any_number_of_scans():
    assert list(agreement.bland_altman([], [])) == list(agreement.bland_altman([1.0, 2.0], [3.0, 5.0]))
    with pytest.raises(ValueError, match="one length"):
        agreement.bland_altman([1.0], [1.0, 2.0])
    with pytest.raises(ValueError, match="one length, got 2, 2 and 3"):
        agreement.bland_altman([1.0, 2.0], [1.0, 2.0], ["a", "b", "c"])
    one = agreement.bland_altman([1.0, 2.0, np.nan], [3.0, 5.0, 1.0], ["a", "a", "b"])
    assert (one["n"], one["patients"]) == (2, 1) and one["sd_ml"] > 0 and np.isnan(one["upper_low_ml"])


def calibrated(n=60_000, seed=6):
    """Draw probabilities, and a truth that comes true just as often."""
    generator = np.random.default_rng(seed)
    probability = generator.beta(0.5, 1.5, n).reshape(-1, 30, 4)
    return probability, generator.random(probability.shape) < probability


def test_reliability_by_hand():
    probability = np.array([0.1, 0.2, 0.5, 0.9, 1.0]).reshape(5, 1, 1)
    truth = np.array([0, 1, 0, 1, 1], bool).reshape(5, 1, 1)
    counts = agreement.reliability_counts(probability, truth, bins=2)  # 0.5 lies in the upper one
    assert counts.tolist() == [[2, 3], [pytest.approx(0.3), pytest.approx(2.4)], [1, 2]]
    curve = agreement.reliability(counts)
    assert curve[["low", "high", "voxels"]].to_numpy().tolist() == [[0, 0.5, 2], [0.5, 1, 3]]
    assert curve["share"].tolist() == [0.4, 0.6]
    assert curve["mean_probability"].tolist() == pytest.approx([0.15, 0.8])
    assert curve["lesion_fraction"].tolist() == pytest.approx([0.5, 2 / 3])
    assert agreement.expected_calibration_error(counts) == pytest.approx(0.4 * 0.35 + 0.6 * (0.8 - 2 / 3))
    assert agreement.expected_calibration_error(counts[:, 1:]) == pytest.approx(0.8 - 2 / 3)


def test_reliability_agrees_with_monai():
    torch = pytest.importorskip("torch")
    from monai.metrics.calibration import calibration_binning

    probability, truth = calibrated(3000)
    tensors = [torch.from_numpy(a.astype(np.float32))[None, None] for a in (probability, truth)]
    for bins in (5, 10, 15):
        curve = agreement.reliability(agreement.reliability_counts(probability.astype(np.float32), truth, bins=bins))
        means, lesions, voxels = (t[0, 0].numpy() for t in calibration_binning(*tensors, num_bins=bins))
        assert curve["voxels"].tolist() == voxels.tolist()
        assert curve["mean_probability"].to_numpy() == pytest.approx(means, rel=1e-4, nan_ok=True)
        assert curve["lesion_fraction"].to_numpy() == pytest.approx(lesions, rel=1e-4, nan_ok=True)


def test_counts_of_scans_add_up_to_those_of_the_cohort():
    scans = [calibrated(600, seed) for seed in (1, 2, 3)]
    added = sum(agreement.reliability_counts(p, t) for p, t in scans)
    whole = [np.concatenate(parts) for parts in zip(*scans, strict=True)]
    np.testing.assert_allclose(added, agreement.reliability_counts(*whole), rtol=1e-12)
    probability, truth = scans[0]
    for mask in (probability > 0.3, np.zeros(truth.shape, bool)):
        inside, outside = (agreement.reliability_counts(probability, truth, m) for m in (mask, ~mask))
        np.testing.assert_allclose(inside + outside, agreement.reliability_counts(probability, truth))
        assert inside[0].sum() == mask.sum()


def test_calibrated_probabilities_have_no_calibration_error():
    probability, truth = calibrated()
    counts = agreement.reliability_counts(probability, truth)
    assert agreement.expected_calibration_error(counts) < 0.006
    overconfident = np.clip(0.5 + 2 * (probability - 0.5), 0, 1)
    assert agreement.expected_calibration_error(agreement.reliability_counts(overconfident, truth)) > 0.1
    certain = agreement.reliability_counts(truth.astype(float), truth)
    assert agreement.expected_calibration_error(certain) == 0
    assert agreement.expected_calibration_error(agreement.reliability_counts(1 - truth.astype(float), truth)) == 1


def test_calibration_error_lies_between_that_of_one_bin_and_that_of_finer_bins():
    generator = np.random.default_rng(7)
    probability, truth = generator.random((20, 20, 5)), generator.random((20, 20, 5)) < 0.3
    errors = [
        agreement.expected_calibration_error(agreement.reliability_counts(probability, truth, bins=b))
        for b in (1, 2, 4, 8)
    ]
    assert errors[0] == pytest.approx(abs(probability.mean() - truth.mean()))
    assert errors == sorted(errors) and errors[-1] <= 1


def test_reliability_without_a_voxel_and_at_the_ends(recwarn):
    empty = agreement.reliability_counts(np.zeros((2, 2, 2)), np.zeros((2, 2, 2)), np.zeros((2, 2, 2)))
    assert np.isnan(agreement.expected_calibration_error(empty))
    assert np.isnan(agreement.reliability(empty)[["share", "mean_probability"]].to_numpy()).all()
    rounded = np.array([-1e-7, 1 + 1e-7], np.float32)
    assert agreement.reliability_counts(rounded, [False, True], bins=4)[0].tolist() == [1, 0, 0, 1]
    assert not recwarn.list


def test_what_is_no_probability_is_refused():
    truth = np.zeros((2, 2), bool)
    for wrong, word in ((3.0, "3"), (np.nan, "nan")):
        with pytest.raises(ValueError, match=f"from 0 to 1, got .*{word}"):
            agreement.reliability_counts(np.full((2, 2), wrong), truth)
    with pytest.raises(ValueError, match="one shape"):
        agreement.reliability_counts(np.zeros((2, 3)), truth)
    with pytest.raises(ValueError, match="one shape"):
        agreement.reliability_counts(np.zeros((2, 2)), truth, np.ones(4, bool))


@pytest.mark.parametrize("digits", [1, 2, 12])  # with many ties, some, none
def test_error_detection_agrees_with_scipy(digits):
    generator = np.random.default_rng(8)
    wrong = generator.random((30, 20, 3)) < 0.1
    spread = np.round(generator.gamma(2, 0.1, wrong.shape) + 0.1 * wrong, digits).astype(np.float32)
    found = agreement.error_detection(spread, wrong)
    peer = scipy.stats.mannwhitneyu(spread[wrong], spread[~wrong]).statistic
    assert found["auc"] == pytest.approx(peer / wrong.sum() / (~wrong).sum(), rel=1e-12)
    assert (found["voxels"], found["wrong"]) == (1800, wrong.sum())
    assert found["score_wrong"] == pytest.approx(spread[wrong].mean())
    assert found["score_right"] == pytest.approx(spread[~wrong].mean())


def test_error_detection_by_hand():
    # Of six pairs wrong > right: (3, 1), (3, 2), half of (3, 3); (2, 1), half of (2, 2), not (2, 3).
    found = agreement.error_detection([3.0, 2.0, 1.0, 2.0, 3.0], [True, True, False, False, False])
    assert found == {
        **{"voxels": 5, "wrong": 2, "auc": pytest.approx(4 / 6)},
        **{"score_wrong": 2.5, "score_right": pytest.approx(2.0)},
    }


def test_error_detection_goes_by_ranks_within_the_mask():
    generator = np.random.default_rng(9)
    spread, wrong, mask = generator.random((8, 8, 8)), generator.random((8, 8, 8)) < 0.2, np.zeros((8, 8, 8), bool)
    mask[2:6] = True
    auc = agreement.error_detection(spread, wrong, mask)["auc"]
    assert auc == agreement.error_detection(np.exp(9 * spread), wrong, mask)["auc"]
    assert auc == pytest.approx(1 - agreement.error_detection(-spread, wrong, mask)["auc"])
    assert auc == agreement.error_detection(spread[2:6], wrong[2:6])["auc"]
    assert agreement.error_detection(np.where(mask, spread, 99), wrong, mask)["auc"] == auc
    assert agreement.error_detection(wrong * 1.0, wrong)["auc"] == 1
    assert agreement.error_detection(np.zeros((8, 8, 8)), wrong)["auc"] == 0.5


@pytest.mark.parametrize("wrong", [[True, True], [False, False], []])
def test_error_detection_undefined(wrong):
    found = agreement.error_detection(np.full(len(wrong), 0.3), wrong)
    assert np.isnan(found["auc"]) and found["wrong"] == sum(wrong)
    assert np.isnan(found["score_wrong"]) == (not sum(wrong))


def test_missing_scores_are_refused_unless_masked():
    score, wrong = np.array([0.1, np.nan, 0.3]), np.array([True, False, False])
    with pytest.raises(ValueError, match="1 of 3 scores are missing"):
        agreement.error_detection(score, wrong)
    assert agreement.error_detection(score, wrong, ~np.isnan(score))["auc"] == 0


def test_volume_differences_are_about_the_mean_of_both():
    table = agreement.volume_differences(pd.DataFrame({"volume_ml": [12.0, 0.0], "truth_volume_ml": [8.0, 3.0]}))
    assert table["mean_ml"].tolist() == [10.0, 1.5] and table["difference_ml"].tolist() == [4.0, -3.0]
    with pytest.raises(ValueError, match="lacks the columns truth_volume_ml"):
        agreement.volume_differences(table.drop(columns="truth_volume_ml"))
