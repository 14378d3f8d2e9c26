import numpy as np
import pandas as pd
import pytest
from scipy import stats

from strokelib.evaluation import resampling
from strokelib.run.runtime import rng


class Drawn:
    """A generator that draws what it is told: how often each patient, a row a resample."""

    def __init__(self, *counts):
        self.counts = np.array(counts)

    def multinomial(self, n, shares, size):
        assert n == len(shares) == self.counts.shape[1] and np.allclose(shares, 1 / n)
        return self.counts


def test_a_patient_is_drawn_with_all_scans_and_the_mean_is_over_scans():
    values, patients = [[0.2, 1.0], [0.4, 2.0], [0.9, 9.0]], ["A", "A", "B"]
    means = resampling.patient_means(values, patients, Drawn([1, 1], [2, 0], [0, 2]))
    assert means.tolist() == pytest.approx(np.array([[0.5, 4.0], [0.3, 1.5], [0.9, 9.0]]))


def test_patients_need_no_order():
    values, patients, other = rng(0, "values").random((7, 2)), np.array([*"ABCABBC"]), rng(1, "order").permutation(7)
    means = resampling.patient_means(values, patients, rng(2, "drawn"))
    assert np.allclose(means, resampling.patient_means(values[other], patients[other], rng(2, "drawn")))


def test_with_one_scan_a_patient_it_is_the_bootstrap_of_scipy():
    values = rng(3, "values").gamma(2.0, size=40)
    drawn = resampling.patient_means(values[:, None], range(40), rng(4, "drawn"))
    low, high = np.ravel(resampling.interval(drawn))
    theirs = stats.bootstrap((values,), np.mean, method="percentile", rng=rng(5, "theirs")).confidence_interval
    spread = values.std() / np.sqrt(40)
    assert drawn.mean() == pytest.approx(values.mean(), abs=0.05 * spread)
    assert drawn.std() == pytest.approx(spread, rel=0.05)
    assert (low, high) == pytest.approx((theirs.low, theirs.high), abs=0.15 * spread)


def test_scans_that_are_alike_within_a_patient_do_not_narrow_the_interval():
    values = rng(6, "values").normal(size=30)
    once = resampling.patient_means(values[:, None], range(30), rng(7, "drawn"))
    thrice = resampling.patient_means(np.repeat(values, 3)[:, None], np.repeat(range(30), 3), rng(7, "drawn"))
    assert np.allclose(once, thrice)


@pytest.mark.parametrize(
    ("values", "patients", "words"),
    [
        (np.zeros((2, 1)), ["A"], "1 patients"),
        (np.zeros((0, 1)), [], r"\(0, 1\)"),
        (np.zeros(3), ["A"] * 3, r"\(3,\)"),
        ([[1.0], [np.inf]], ["A", "B"], "1 values are not finite"),
    ],
)
def test_what_cannot_be_drawn_is_refused(values, patients, words):
    with pytest.raises(ValueError, match=words):
        resampling.patient_means(values, patients, rng(0, "drawn"))


def test_networks_of_a_scan_are_averaged_and_cases_of_two_splits_are_told_apart():
    frame = pd.DataFrame({"patient": ["B", "A", "A"], "case": [1, 1, 1], "dsc": [0.1, 0.5, 0.7]})
    values = resampling.by_case(frame, "dsc")
    assert values.to_dict() == pytest.approx({("A", 1): 0.6, ("B", 1): 0.1})


def test_intervals_of_few_patients_leave_0_out_too_often():
    """Of normal values the interval is the mean ± 1.96 s_n / sqrt(n), s_n divided by n, all but exactly."""
    for patients, share in ((7, 0.12), (20, 0.071), (resampling.ENOUGH, 0.066), (200, 0.051)):
        reached = stats.norm.ppf(0.975) * np.sqrt((patients - 1) / patients)
        assert 2 * stats.t.sf(reached, patients - 1) == pytest.approx(share, abs=0.001)


def test_who_has_too_few_patients_or_updates_is_told_of_which():
    enough = resampling.ENOUGH, resampling.ENOUGH_UPDATES
    assert resampling.caution(*enough) == resampling.caution(enough[0]) == ""
    assert resampling.caution(7, enough[1]).startswith("7 patients show how the question is asked; they are **no evid")
    assert resampling.caution(7, 120).startswith("7 patients and 120 updates show ")
    assert resampling.caution(63, 120).startswith("120 updates show ")


def test_p_of_draws_by_hand():
    """Of 99 draws 3 lie below 0, so p = 2 (3 + 1) / (99 + 1) = .08; of draws at 0 alone it is 1."""
    assert resampling.p_of_draws(np.r_[-np.ones(3), np.ones(96)]) == pytest.approx(0.08)
    assert resampling.p_of_draws(np.zeros(99)) == 1 and np.isnan(resampling.p_of_draws(np.zeros(0)))


def test_patients_are_drawn_with_all_their_scans():
    drawn, place = resampling.draw(["b", "a", "b"], np.random.default_rng(0), 50)
    assert drawn.shape == (50, 2) and (drawn.sum(axis=1) == 2).all() and place.tolist() == [1, 0, 1]
