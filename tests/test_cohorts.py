"""The mixed model against the analysis of variance, the interval of one reader, and flips counted by hand."""

import numpy as np
import pandas as pd
import pytest

from strokelib.evaluation import cohorts


def balanced(generator, cohort=8.0, training=1.0, patient=3.0, rest=1.0, sizes=(6, 3, 12)):
    """Draw a design with every training and every patient of a cohort crossed."""
    rows = []
    for c in range(sizes[0]):
        mean = 5 + cohort * generator.standard_normal()
        trained = training * generator.standard_normal(sizes[1])
        own = patient * generator.standard_normal(sizes[2])
        for s, p in np.ndindex(sizes[1], sizes[2]):
            rows.append((c, s, f"p{p}", mean + trained[s] + own[p] + rest * generator.standard_normal()))
    return pd.DataFrame(rows, columns=["cohort", "seed", "patient", "value"])


def by_mean_squares(frame, sizes):
    """Solve the expected mean squares of the balanced design for the variances."""
    count, trainings, patients = sizes
    values = frame["value"].to_numpy().reshape(sizes)
    whole = values.mean(axis=(1, 2), keepdims=True)
    by_training, by_patient = values.mean(axis=2, keepdims=True), values.mean(axis=1, keepdims=True)
    rest = ((values - by_training - by_patient + whole) ** 2).sum() / (count * (trainings - 1) * (patients - 1))
    of_patient = trainings * ((by_patient - whole) ** 2).sum() / (count * (patients - 1))
    of_training = patients * ((by_training - whole) ** 2).sum() / (count * (trainings - 1))
    of_cohort = trainings * patients * np.var(whole, ddof=1)
    return {
        "rest": rest,
        "patient": (of_patient - rest) / trainings,
        "training": (of_training - rest) / patients,
        "cohort": (of_cohort - of_patient - of_training + rest) / (trainings * patients),
    }


def test_a_balanced_design_has_the_components_of_the_analysis_of_variance():
    sizes = (6, 3, 12)
    frame = balanced(np.random.default_rng(4), sizes=sizes)
    expected, found = by_mean_squares(frame, sizes), cohorts.mixed(frame)
    assert min(expected.values()) > 0
    assert found.variances == pytest.approx(expected, rel=0.01)
    assert found.mean == pytest.approx(frame["value"].mean())
    assert found.error == pytest.approx(frame.groupby("cohort")["value"].mean().std() / np.sqrt(6), rel=0.01)


def test_one_cohort_says_that_it_cannot_tell():
    frame = balanced(np.random.default_rng(1), sizes=(1, 1, 9))
    found = cohorts.mixed(frame)
    assert np.isnan([found.variances[name] for name in ("cohort", "training", "patient")]).all()
    assert found.variances["rest"] == pytest.approx(frame["value"].var())
    told = cohorts.reader(found)
    assert np.isnan(told["honest"]) and told["usual"] > 0
    row = pd.Series({"metric": "dsc", "cohorts": 1, "mean": found.mean, "error": found.error})
    assert "cannot tell" in cohorts.in_words(row)


def test_the_honest_interval_is_the_wider_one_and_knows_every_part():
    variances = {"cohort": 4.0, "training": 1.0, "patient": 6.0, "rest": 2.0}
    told = cohorts.reader(cohorts.Mixed(0, 1, variances, cohorts=5, trainings=2, patients=16, remarks=()))
    assert told["usual"] == pytest.approx(2.131450 * np.sqrt(8 / 16), rel=1e-5)  # t of 15 degrees
    assert told["honest"] == pytest.approx(2.776445 * np.sqrt(8 / 16 + 5), rel=1e-5)  # of 4
    assert told["detectable"] == pytest.approx(2.801585 * np.sqrt(5.5), rel=1e-5)


def test_flips_are_counted_between_readers_of_other_cohorts_alone():
    rows = [(1, 7, 1.0, "higher"), (1, 8, -1.0, "inconclusive"), (2, 7, -2.0, "lower")]
    table = pd.DataFrame(rows, columns=["cohort", "seed", "mean_difference", "verdict"])
    (row,) = cohorts.flips(table.assign(metric="dsc", new="rt_sm", old="rt")).itertuples()
    assert (row.pairs, row.sign, row.verdict, row.opposite) == (2, 0.5, 1.0, 0.5)


def test_differences_pair_scans_and_average_a_patients_own():
    rows = [("rt", 1, "a", 0.1), ("rt", 2, "a", 0.3), ("rt_sm", 1, "a", 0.2), ("rt_sm", 2, "a", 0.6)]
    rows += [("rt", 3, "b", 0.5), ("rt_sm", 3, "b", np.inf)]
    scores = pd.DataFrame(rows, columns=["variant", "case", "patient", "dsc"]).assign(cohort=1, seed=7)
    (row,) = cohorts.differences(scores, "dsc", "rt_sm", "rt").itertuples()
    assert (row.patient, row.value) == ("a", pytest.approx(0.2))
