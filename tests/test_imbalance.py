import numpy as np
import pandas as pd
import pytest
from scipy import stats

from strokelib import metrics
from strokelib.evaluation import agreement, imbalance


def scans(volumes, truths, folds=None, variant="loss"):
    count = len(volumes)
    return pd.DataFrame({
        "variant": variant, "case": range(count), "patient": [f"p{n}" for n in range(count)],
        "fold": folds or [0] * count, "volume_ml": volumes, "truth_volume_ml": truths,
    })  # fmt: skip


def generator():
    return np.random.default_rng(0)


def test_bias_is_the_mean_error_in_each_size_and_over_all():
    frame = scans([6.0, 0.0, 14.0, 90.0, 50.0], [4.0, 2.0, 10.0, 100.0, 80.0])
    table = imbalance.volume_bias(frame, generator()).set_index("group")
    assert table.bias_ml.to_dict() == pytest.approx(
        {"< 5": 0.0, "5–20": 4.0, "20–60": np.nan, "> 60": -20.0, "all": -7.2}, nan_ok=True
    )
    assert table.scans.to_dict() == {"< 5": 2, "5–20": 1, "20–60": 0, "> 60": 2, "all": 5}
    for group in ("< 5", "> 60", "all"):
        assert table.low_ml[group] <= table.bias_ml[group] <= table.high_ml[group]
    assert table.low_ml[["5–20", "20–60"]].isna().all(), "one patient has no interval"
    assert (table.low_ml["> 60"], table.high_ml["> 60"]) == (-30.0, -10.0), "of two patients, one or the other twice"


def test_an_interval_draws_patients_and_not_scans():
    frame = scans([10.0, 10.0, 30.0, 30.0], [0.0] * 4).assign(patient=["a", "a", "b", "b"])
    table = imbalance.volume_bias(frame, generator()).set_index("group")
    assert (table.low_ml["all"], table.high_ml["all"]) == (10.0, 30.0)


def test_a_factor_comes_from_the_other_patients_and_takes_a_common_bias_away():
    truths = [10.0, 20.0, 30.0, 40.0]
    found = imbalance.recalibrated(scans([2 * v for v in truths], truths, [0, 0, 1, 1]))
    assert found.factor.tolist() == [0.5] * 4 and found.volume_ml.tolist() == truths
    frame = scans([10.0, 10.0, 40.0, 40.0], [20.0, 20.0, 20.0, 20.0]).assign(patient=["a", "b", "c", "c"])
    found = imbalance.recalibrated(frame)
    assert found.factor.tolist() == pytest.approx([60 / 90, 60 / 90, 2.0, 2.0]), "each patient by the others"
    assert found.volume_ml.tolist() == pytest.approx([10 * 60 / 90, 10 * 60 / 90, 80.0, 80.0])


def test_each_variant_has_its_own_factor_and_a_patient_alone_takes_its_own():
    frame = pd.concat([scans([10.0, 30.0], [20.0, 20.0]), scans([80.0], [20.0], variant="other")], ignore_index=True)
    found = imbalance.recalibrated(frame)
    assert found.factor.tolist() == pytest.approx([20 / 30, 2.0, 0.25])
    nothing = imbalance.recalibrated(scans([0.0, 5.0], [4.0, 5.0]))
    assert nothing.factor.tolist()[0] == 1.0 and np.isnan(nothing.factor[1])


def test_decisions_at_the_limit_by_hand():
    """Three large cores, two of them called large; of two small ones one is called large. 70 mL itself is large."""
    frame = scans([80.0, 70.0, 69.9, 20.0, 75.0], [70.0, 90.0, 75.0, 10.0, 69.9])
    row, same = imbalance.decisions(frame, generator()).to_dict("records")
    assert (row["unit"], row["n"], row["large"]) == ("scan", 5, 3)
    assert (row["found"], row["spared"], row["agree"]) == pytest.approx((2 / 3, 1 / 2, 3 / 5))
    assert row | {"unit": "patient"} == same, "each patient has one scan"
    exact = stats.binomtest(3, 5).proportion_ci(method="exact")
    assert (row["agree_low"], row["agree_high"]) == pytest.approx((exact.low, exact.high))
    unknown = pd.concat([frame, scans([np.nan], [90.0])], ignore_index=True)
    assert imbalance.decisions(unknown, generator())["agree"].tolist() == pytest.approx([3 / 5, 1 / 2]), "of 4 patients"
    small = imbalance.decisions(scans([10.0, 20.0], [5.0, 6.0]), generator())
    assert small["found"].isna().all() and (small["spared"] == 1).all() and (small["agree"] == 1).all()


def test_a_patient_with_several_scans_counts_once_by_their_sum():
    """Two slabs of 40 mL are a core of 80 mL: large, by the patient alone. Of c a scan has no volume."""
    frame = scans([40.0, 20.0, 90.0, 5.0, np.nan], [40.0, 40.0, 80.0, 5.0, 5.0])
    frame["patient"] = ["a", "a", "b", "c", "c"]
    summed = imbalance.by_patient(frame).set_index("patient")
    assert summed.truth_volume_ml.to_dict() == {"a": 80.0, "b": 80.0, "c": 10.0}
    assert summed.volume_ml[["a", "b"]].tolist() == [60.0, 90.0] and np.isnan(summed.volume_ml["c"])
    scan, patient = imbalance.decisions(frame, generator()).to_dict("records")
    assert (scan["n"], scan["large"], scan["agree"]) == (4, 1, 1.0)
    assert (patient["n"], patient["large"], patient["agree"], patient["found"]) == (2, 2, 0.5, 0.5)


@pytest.mark.parametrize(("same", "whose", "successes"), [
    ([True] * 6, "aabbcc", 3), ([False] * 6, "aabbcc", 0), ([True] * 4, "abcd", 4), ([True, False, True], "abc", 2),
])  # fmt: skip
def test_where_all_agree_or_patients_have_one_scan_the_interval_is_exact(same, whose, successes):
    exact = stats.binomtest(successes, len(set(whose))).proportion_ci(method="exact")
    found = imbalance.share_interval(same, [*whose], generator())
    assert found == pytest.approx((exact.low, exact.high)) and found[1] - found[0] > 0.5


def test_other_shares_of_scans_are_drawn_by_patient():
    found = imbalance.share_interval([True, True, False, False], ["a", "a", "b", "b"], generator())
    assert found == (0.0, 1.0), "of two patients, one or the other twice"
    assert np.isnan(imbalance.share_interval([], [], generator())).all()


def both_ways():
    """Balance gives cross-entropy 0.2, 0.1, 0.3 and 0.2, and focal 0.1 less of each but of the last, 0.1 more."""
    gains = {"ce": [0.2, 0.1, 0.3, 0.2], "focal": [0.1, 0.0, 0.2, 0.3]}
    rows = [(f"{loss}{way}", case, "aabc"[case], 0.3 + (gain if way == "" else 0) + 0.01 * case)
            for loss, own in gains.items() for case, gain in enumerate(own) for way in ("", "_unbalanced")]
    return pd.DataFrame(rows, columns=["variant", "case", "patient", "dsc"])  # fmt: skip


TWINS = {"cross_entropy": ("ce", "ce_unbalanced"), "focal": ("focal", "focal_unbalanced")}


def test_an_interaction_is_a_difference_of_differences_by_patient():
    (row,) = imbalance.interaction(both_ways(), "dsc", TWINS, "cross_entropy", generator()).to_dict("records")
    beyond = np.array([-0.1, -0.1, 0.1])  # of a, whose two scans count once, b and c
    assert (row["loss"], row["reference"], row["n"]) == ("focal", "cross_entropy", 3)
    assert row["mean_difference"] == pytest.approx(beyond.mean())
    assert row["p"] == row["p_holm"] == pytest.approx(stats.ttest_1samp(beyond, 0).pvalue)
    assert row["low"] <= row["mean_difference"] <= row["high"]
    reach = stats.t.ppf(0.975, 2) + stats.t.ppf(0.8, 2)
    assert row["detectable"] == pytest.approx(reach * beyond.std(ddof=1) / np.sqrt(3))


def test_an_interaction_is_the_other_way_round_from_the_other_loss_and_corrected_over_all():
    one = imbalance.interaction(both_ways(), "dsc", TWINS, "cross_entropy", generator())
    other = imbalance.interaction(both_ways(), "dsc", TWINS, "focal", generator())
    assert one.mean_difference.tolist() == pytest.approx((-other.mean_difference).tolist())
    third = both_ways().assign(variant=lambda rows: rows.variant.str.replace("focal", "dice"))
    table = pd.concat([both_ways(), third.query("variant.str.startswith('dice')")])
    three = imbalance.interaction(table, "dsc", TWINS | {"dice": ("dice", "dice_unbalanced")}, "focal", generator())
    assert three.loss.tolist() == ["cross_entropy", "dice"] and three.n.tolist() == [3, 3]
    assert three.p_holm[0] == three.p[0] and np.isnan(three.p[1]), "a loss without any difference is not tested"


def test_an_interaction_says_what_is_missing():
    rows = both_ways().query("variant != 'focal_unbalanced'")
    with pytest.raises(ValueError, match="no scores of focal_unbalanced; make imbalance"):
        imbalance.interaction(rows, "dsc", TWINS, "cross_entropy", generator())
    with pytest.raises(ValueError, match="reference 'gdl' must be one of the losses trained both ways: cross_entropy"):
        imbalance.interaction(both_ways(), "dsc", TWINS, "gdl", generator())
    alone = imbalance.interaction(both_ways(), "dsc", {"focal": TWINS["focal"]}, "focal", generator())
    assert alone.empty and {"loss", "detectable", "p_holm"} <= {*alone}


def test_summed_probabilities_are_the_volume_of_a_sure_mask_and_count_inside_the_brain_alone():
    lesion, brain = np.zeros((4, 4, 2), bool), np.ones((4, 4, 2), bool)
    lesion[1:3, 1:3] = True
    brain[0] = False
    spacing = (1.0, 2.0, 5.0)  # 10 mm3
    sure = lesion.astype(np.float32)
    assert imbalance.summed_volume(sure, brain, spacing) == pytest.approx(metrics.volume_ml(lesion, spacing)) == 0.08
    doubtful = np.full(lesion.shape, 0.25, np.float32)
    assert imbalance.summed_volume(doubtful, brain, spacing) == pytest.approx(0.25 * 24 * 10 / 1000)


def test_bias_is_of_the_estimator_that_is_asked_for():
    frame = scans([6.0, 4.0], [4.0, 2.0]).assign(summed_ml=[3.0, 2.0])
    biases = {name: imbalance.volume_bias(frame, generator(), name).set_index("group").bias_ml["all"]
              for name in imbalance.ESTIMATORS}  # fmt: skip
    assert biases == {"volume_ml": 2.0, "summed_ml": -0.5}
    with pytest.raises(ValueError, match="lacks the columns summed_ml"):
        imbalance.volume_bias(frame.drop(columns="summed_ml"), generator(), "summed_ml")


def test_the_interval_of_a_calibration_error_draws_patients():
    """a is 0.2 off in each voxel, b 0.6 in as many: together 0.4, and either alone in a quarter of the draws."""
    off = {"a": [[10.0], [5.0], [3.0]], "b": [[10.0], [8.0], [2.0]]}
    counts, patients = np.array([off["a"], off["a"], off["b"], off["b"]]), ["a", "a", "b", "b"]
    assert agreement.expected_calibration_error(counts.sum(axis=0)) == pytest.approx(0.4)
    assert imbalance.calibration_interval(counts, patients, generator()) == pytest.approx((0.2, 0.6))
    assert np.isnan(imbalance.calibration_interval(counts[:2], ["a", "a"], generator())).all()
    assert np.isnan(imbalance.calibration_interval(0 * counts, patients, generator())).all()


def test_a_patient_without_a_voxel_counted_adds_nothing_to_a_calibration_error():
    counts = np.array([[[10.0], [5.0], [3.0]], [[0.0], [0.0], [0.0]]])
    assert imbalance.calibration_interval(counts, ["a", "b"], generator()) == pytest.approx((0.2, 0.2))


def test_what_lacks_a_column_is_refused_by_name():
    frame = scans([1.0], [1.0]).drop(columns="patient")
    for function in (lambda f: imbalance.volume_bias(f, generator()), imbalance.recalibrated):
        with pytest.raises(ValueError, match="lacks the columns patient"):
            function(frame)
