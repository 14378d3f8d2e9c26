"""Intervals of volumes: worked out by hand, and held as often as promised where scans are exchangeable."""

import dataclasses
import json

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from strokelib.evaluation import conformal
from strokelib.evaluation.conformal import Coverage, VolumeInterval
from strokelib.run.runtime import ROOT, rng

SHIPPED = ROOT / "networks" / "volume_interval.json"


def cohort(generator, patients, slabs=3, scatter=1.0):
    """Volumes of patients with one to so many slabs whose errors are alike: predicted, true, and whose they are."""
    count = generator.integers(1, slabs + 1, patients)
    whose = np.repeat(np.arange(patients), count)
    true = generator.lognormal(2.5, 1, patients)[whose] * generator.uniform(0.5, 1.5, len(whose))
    error = generator.standard_t(3, patients)[whose] + 0.3 * generator.normal(size=len(whose))
    return np.maximum(np.sqrt(true) + scatter * (error - 0.4), 0) ** 2, true, whose


def test_a_quantile_worked_out_by_hand():
    """19 patients with residuals 1 to 19 in mL: of 20 votes, a twentieth at either end is one, the one at infinity."""
    true = np.arange(1.0, 20)
    made = conformal.fit(np.zeros(19), true, np.arange(19), 0.9, scale="volume")
    assert (made.low, made.high) == (1, 19) and made.of(0.0) == (1, 19) and made.of(5.0) == (6, 24)
    made = conformal.fit(np.zeros(19), true, np.arange(19), 0.8, scale="volume")
    assert (made.low, made.high) == (2, 18)


def test_slabs_of_a_patient_share_one_vote():
    """Patient A has residuals 1 and 9 (half a vote each), B to D 2, 3 and 4; of five votes one stands at infinity."""
    residuals, patients = np.array([1.0, 9, 2, 3, 4]), list("AABCD")
    made = conformal.fit(np.zeros(5), residuals, patients, 0.5, scale="volume")
    # Three quarters of five votes are 3.75: 1 has reached 0.5, 2 1.5, 3 2.5, 4 3.5 and 9 all 4.
    assert made.high == 9
    # From above: 9 has reached 0.5, 4 1.5, 3 2.5, 2 3.5, 1 all 4.
    assert made.low == 1
    assert conformal.fit(np.zeros(5), residuals, list("ABCDE"), 0.6, scale="volume").high == 9
    made = conformal.fit(np.zeros(5), residuals, patients, 0.4, scale="volume")  # 0.7 of five votes: 3.5
    assert (made.low, made.high, made.scans, made.patients) == (2, 4, 5, 4)


@pytest.mark.parametrize(("level", "patients"), [(0.5, 3), (0.8, 9), (0.9, 19), (0.95, 39)])
def test_with_too_few_patients_there_are_no_ends(level, patients):
    assert conformal.needed(level) == patients
    true = np.arange(patients) + 1.0
    assert np.isfinite(conformal.fit(true, true, true, level).of(4.0)).all()
    made = conformal.fit(true[1:], true[1:], true[1:], level)
    assert made.of(4.0) == (0, np.inf)
    assert conformal.calibrated(patients - 1, level)[0] != conformal.calibrated(patients - 1, level)[0]
    with pytest.raises(ValueError, match=f"it takes {patients}"):
        conformal.as_rows([made])


@pytest.mark.parametrize("scale", conformal.SCALES)
def test_what_is_exchangeable_is_held_as_often_as_promised(scale):
    """1,200 draws of 30 patients to calibrate on and one new one, a scan of whom is drawn."""
    generator, held, tries, level = rng(0, "coverage", scale), 0, 1200, 0.8
    for _ in range(tries):
        predicted, true, whose = cohort(generator, 31)
        known = whose < 30
        made = conformal.fit(predicted[known], true[known], whose[known], level, scale=scale)
        one = generator.choice(np.flatnonzero(~known))
        low, high = made.of(predicted[one])
        held += low <= true[one] <= high
    assert stats.binom.cdf(held, tries, level) > 0.001, f"{held / tries:.3f} of {level}"
    assert held / tries < level + 0.08, "nor is it held for nothing"


def test_a_calibration_of_scans_as_if_they_were_patients_promises_too_much():
    """Why patients vote: patients with many slabs, who err more, would be counted as often as they were scanned."""
    generator, held, tries = rng(0, "as if"), {"by patient": 0, "by scan": 0}, 800
    for _ in range(tries):
        slabs = np.where(generator.random(21) < 0.5, 1, 12)
        whose = np.repeat(np.arange(21), slabs)
        residual = generator.normal(0, np.where(slabs == 1, 3.0, 1.0)[whose])
        known, one = whose < 20, generator.choice(np.flatnonzero(whose == 20))
        for name, patients in (("by patient", whose), ("by scan", np.arange(len(whose)))):
            base = np.full(known.sum(), 50.0)
            made = conformal.fit(base, base + residual[known], patients[known], 0.8, scale="volume")
            held[name] += made.low <= residual[one] <= made.high
    assert held["by patient"] / tries > 0.77 and held["by scan"] / tries < 0.72


@pytest.mark.parametrize("scale", conformal.SCALES)
def test_an_interval_grows_with_the_volume_and_never_falls_below_0(scale):
    predicted, true, whose = cohort(rng(0, "grows"), 60)
    made = conformal.fit(predicted, true, whose, 0.9, scale=scale)
    low, high = made.of(np.linspace(0, 200, 50))
    assert (low >= 0).all() and (np.diff(low) >= 0).all() and (np.diff(high) > 0).all()
    assert made.of(20.0) == pytest.approx([end[0] for end in made.of(np.array([20.0]))])
    wider = conformal.fit(predicted, true, whose, 0.95, scale=scale)
    assert wider.low <= made.low and wider.high >= made.high


def test_the_order_of_scans_does_not_matter():
    predicted, true, whose = cohort(rng(0, "order"), 40)
    order = rng(0, "shuffled").permutation(len(true))
    assert conformal.fit(predicted, true, whose) == conformal.fit(predicted[order], true[order], whose[order])


def test_volumes_that_networks_miss_on_one_side_move_the_interval_there():
    true = np.linspace(4, 100, 60)
    made = conformal.fit(0.5 * true, true, np.arange(60))
    assert made.low > 0 and made.of(20.0)[0] > 20, "it need not hold the predicted volume"


def test_coverage_worked_out_by_hand():
    """Patient A has one scan of two held, B and C theirs: two and a half of three patients, three scans of four."""
    made = VolumeInterval(0.9, "exact", "volume", -5, 5, 62, 40)
    seen = conformal.coverage(made, [10, 10, 10, 3], [10, 16, 5, 0], list("AABC"), "a cohort")
    assert (seen.scans, seen.held, seen.patients, seen.cohort) == (4, 3, 3, "a cohort")
    assert seen.share == pytest.approx(2.5 / 3) and (seen.below, seen.above) == (0, 1)
    assert seen.median_width_ml == 10 and seen.low < seen.share < seen.high
    assert conformal.coverage(made, [10.0], [4.9], ["A"]).below == 1


def test_an_end_is_inside():
    predicted, true, whose = cohort(rng(0, "ends"), 40, slabs=1)
    for scale in conformal.SCALES:
        made = conformal.fit(predicted, true, whose, 0.9, scale=scale)
        # Of 41 votes 38.95 are to be reached from either side, by 39 patients: one residual lies beyond each end.
        assert conformal.coverage(made, predicted, true, whose).held == 38


@pytest.mark.parametrize(("held", "of"), [(0, 9), (1, 9), (37, 40), (40, 40)])
def test_clopper_pearson_is_that_of_statsmodels(held, of):
    assert conformal.clopper_pearson(held, of) == pytest.approx(proportion_confint(held, of, 0.05, "beta"))


def test_half_a_patient_lies_between_whole_ones():
    low, high = zip(*(conformal.clopper_pearson(held, 40) for held in (36, 36.5, 37)), strict=True)
    assert list(low) == sorted(low) and list(high) == sorted(high)


def test_the_range_of_calibrations_is_that_of_simulated_ones():
    """The coverage of intervals that are made once, of normal residuals, where it can be reckoned."""
    generator, shares = rng(0, "calibrations"), []
    for _ in range(1000):
        residuals = generator.normal(size=40)
        made = conformal.fit(np.full(40, 50.0), 50 + residuals, np.arange(40), 0.9, scale="volume")
        shares.append(stats.norm.cdf(made.high) - stats.norm.cdf(made.low))
    mean, low, high = conformal.calibrated(40, 0.9)
    assert mean == pytest.approx(37 / 41) and np.mean(shares) == pytest.approx(mean, abs=0.006)
    assert np.quantile(shares, (0.025, 0.975)) == pytest.approx((low, high), abs=0.02)


def test_a_shortfall_is_seen_four_times_in_five():
    short = conformal.smallest_shortfall(100, 0.9)
    counts = np.arange(101)
    most = counts[stats.binom.cdf(counts, 100, 0.9) <= 0.025].max()
    assert stats.binom.cdf(most, 100, 0.9 - short) == pytest.approx(0.8)
    assert conformal.smallest_shortfall(400, 0.9) < short
    assert np.isnan(conformal.smallest_shortfall(1, 0.9)), "a single miss is no surprise"


def test_an_interval_from_the_other_patients_takes_one_more():
    """19 patients make an interval of 90 % with ends, so of 19 that leave one out none has an upper end; of 20 all."""
    for count, ends in ((conformal.needed(0.9), False), (conformal.needed(0.9) + 1, True)):
        values = np.arange(1.0, count + 1)
        _, high = conformal.left_out(values, values + 1, range(count), 0.9)
        assert (np.isfinite(high) == ends).all()


def test_each_scan_is_left_out_with_its_patient():
    predicted, true, whose = cohort(rng(0, "left out"), 25)
    low, high = conformal.left_out(predicted, true, whose, 0.8)
    for name in (0, 7):
        own = whose == name
        made = conformal.fit(predicted[~own], true[~own], whose[~own], 0.8)
        assert low[own] == pytest.approx(made.of(predicted[own])[0])
        assert high[own] == pytest.approx(made.of(predicted[own])[1])
    other = true.copy()
    other[whose == 3] *= 9  # what a patient's own truth is does not move the patient's own interval
    assert np.array_equal(conformal.left_out(predicted, other, whose, 0.8)[1][whose == 3], high[whose == 3])
    assert conformal.left_out([1.0, 2], [1.0, 2], ["A", "A"])[1].tolist() == [np.inf, np.inf]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"true_ml": [1, -2, 3]}, "volumes of 0 mL or more, got -2"),
        ({"true_ml": [1, np.nan, 3]}, "2 finite ones of 3 and 3 patients"),
        ({"predicted_ml": [1, 2]}, "two lists of volumes of one length"),
        ({"patients": ["A"]}, "3 finite ones of 3 and 1 patients"),
        ({"level": 1.0}, "level must lie between 0 and 1, got 1.0"),
        ({"mode": "whole"}, "mode must be one of slices, exact, got 'whole'"),
        ({"scale": "log"}, "scale must be one of volume, square root, cube root, got 'log'"),
    ],
)
def test_what_cannot_be_calibrated_on_is_refused(wrong, message):
    given = {"predicted_ml": [1, 2, 3], "true_ml": [1, 2, 3], "patients": list("ABC")} | wrong
    with pytest.raises(ValueError, match=message):
        conformal.fit(**given)


@pytest.mark.parametrize("volume", [-1.0, np.nan, np.array([1.0, np.inf])])
def test_a_volume_that_is_none_has_no_interval(volume):
    with pytest.raises(ValueError, match="expected volumes of 0 mL or more"):
        VolumeInterval(0.9, "exact", "volume", -5, 5, 62, 40).of(volume)


def test_what_is_written_is_read(tmp_path):
    seen = Coverage(156, 140, 103, 0.9, 0.83, 0.95, 6, 10, 21.5, "another cohort")
    made = [VolumeInterval(0.9, mode, "square root", -1.5, 2.25, 62, 40, seen) for mode in conformal.MODES]
    made[0] = dataclasses.replace(made[0], coverage=None)
    path = tmp_path / "intervals.json"
    path.write_text(json.dumps(conformal.as_rows(made)), encoding="utf-8")
    assert [conformal.load_interval(path, mode) for mode in conformal.MODES] == made


@pytest.mark.parametrize(
    "text", ["", "{}", "[1]", '{"modes": {"exact": {"level": 0.9}}}', '{"modes": {"exact": 5}}', '{"modes": []}',
             '{"modes": {"exact": {"level": 0.9, "mode": "exact", "scale": "log", "low": 0, "high": 1, "scans": 1, '
             '"patients": 1, "coverage": null}}}']
)  # fmt: skip
def test_a_damaged_file_is_refused_by_its_name(tmp_path, text):
    path = tmp_path / "intervals.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"intervals\.json holds no intervals of this project"):
        conformal.load_interval(path)


def test_a_file_or_mode_that_is_not_there_is_said(tmp_path):
    path = tmp_path / "intervals.json"
    with pytest.raises(FileNotFoundError, match=r"tools/calibrate_volumes\.py writes them"):
        conformal.load_interval(path)
    rows = conformal.as_rows([VolumeInterval(0.9, "slices", "volume", -5, 5, 62, 40)])
    path.write_text(json.dumps(rows))
    with pytest.raises(ValueError, match="there are intervals for slices, and none for 'exact'"):
        conformal.load_interval(path)


def test_what_ships_is_of_the_networks_that_ship_and_was_measured_on_other_scans():
    facts, held = (json.loads((SHIPPED.parent / name).read_text()) for name in ("facts.json", SHIPPED.name))
    assert held["networks"] == {row["file"]: row["sha256"] for row in facts["networks"]}
    assert all(held[name] == facts[name] for name in ("threshold", "min_lesion_voxels"))
    intervals = conformal.load_intervals()
    assert "slices" in intervals
    for mode, made in intervals.items():
        assert (made.level, made.scans, made.patients, made.mode) == (0.9, 62, 40, mode)
        assert made.coverage.scans > 0 and "seed 2018" not in made.coverage.cohort
        low, high = made.of(20.0)
        assert 0 <= low < 20 < high < 100
