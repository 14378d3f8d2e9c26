import numpy as np
import pandas as pd
import pytest

from strokelib.evaluation import imbalance


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


def test_a_factor_comes_from_the_other_folds_and_takes_a_common_bias_away():
    truths = [10.0, 20.0, 30.0, 40.0]
    found = imbalance.recalibrated(scans([2 * v for v in truths], truths, [0, 0, 1, 1]))
    assert found.factor.tolist() == [0.5] * 4 and found.volume_ml.tolist() == truths
    found = imbalance.recalibrated(scans([10.0, 10.0, 40.0, 40.0], [20.0, 20.0, 20.0, 20.0], [0, 0, 1, 1]))
    assert found.factor.tolist() == [0.5, 0.5, 2.0, 2.0], "each fold by the other"
    assert found.volume_ml.tolist() == [5.0, 5.0, 80.0, 80.0]


def test_each_variant_has_its_own_factor_and_one_fold_takes_its_own():
    frame = pd.concat([scans([10.0, 30.0], [20.0, 20.0]), scans([80.0], [20.0], variant="other")], ignore_index=True)
    found = imbalance.recalibrated(frame)
    assert found.factor.tolist() == [1.0, 1.0, 0.25]
    nothing = imbalance.recalibrated(scans([0.0, 5.0], [4.0, 5.0], [0, 1]))
    assert nothing.factor.tolist()[0] == 1.0 and np.isnan(nothing.factor[1])


def test_decisions_at_the_limit_by_hand():
    """Three large cores, two of them called large; of two small ones one is called large. 70 mL itself is large."""
    frame = scans([80.0, 70.0, 69.9, 20.0, 75.0], [70.0, 90.0, 75.0, 10.0, 69.9])
    (row,) = imbalance.decisions(frame, generator()).to_dict("records")
    assert (row["scans"], row["large"]) == (5, 3)
    assert (row["found"], row["spared"], row["agree"]) == pytest.approx((2 / 3, 1 / 2, 3 / 5))
    assert 0 <= row["agree_low"] <= 0.6 <= row["agree_high"] <= 1
    unknown = pd.concat([frame, scans([np.nan], [90.0])], ignore_index=True)
    assert imbalance.decisions(unknown, generator()).to_dict("records")[0]["agree"] == pytest.approx(3 / 5)
    (small,) = imbalance.decisions(scans([10.0, 20.0], [5.0, 6.0]), generator()).to_dict("records")
    assert np.isnan(small["found"]) and small["spared"] == small["agree"] == 1


def test_means_leave_out_what_is_not_finite():
    frame = scans([1.0] * 3, [1.0] * 3).assign(dsc=[0.2, 0.4, 0.6], hd_mm=[10.0, np.inf, 30.0])
    table = imbalance.means(frame, ("dsc", "hd_mm"), generator()).set_index("metric")
    assert table["mean"].to_dict() == pytest.approx({"dsc": 0.4, "hd_mm": 20.0})
    assert (table.low <= table["mean"]).all() and (table["mean"] <= table.high).all()


def test_what_lacks_a_column_is_refused_by_name():
    frame = scans([1.0], [1.0]).drop(columns="patient")
    for function in (lambda f: imbalance.volume_bias(f, generator()), imbalance.recalibrated):
        with pytest.raises(ValueError, match="lacks the columns patient"):
            function(frame)
