"""The mixed model against the analysis of variance, the interval of one reader, and flips counted by hand."""

import warnings

import numpy as np
import pandas as pd
import pytest
from scipy import stats as distributions

from strokelib.evaluation import cohorts
from strokelib.run.runtime import ROOT


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
    assert np.isnan([told["honest"], told["ratio_of_few"]]).all() and told["usual"] > 0
    row = pd.Series({"metric": "dsc", "cohorts": 1, "mean": found.mean, "error": found.error})
    assert "cannot tell" in cohorts.in_words(row)


def test_the_honest_interval_is_the_wider_one_and_knows_every_part():
    variances = {"cohort": 4.0, "training": 1.0, "patient": 6.0, "rest": 2.0}
    told = cohorts.reader(cohorts.Mixed(0, 1, variances, {}, cohorts=5, trainings=2, patients=16, remarks=()))
    assert told["usual"] == pytest.approx(2.131450 * np.sqrt(8 / 16), rel=1e-5)  # t of 15 degrees
    # Mean squares: trainings 2 + 16 = 18, cohorts 18 + 2 (6 + 64) = 158; (158 + 18) / 32 = 5.5 = 8 / 16 + 4 + 1.
    freedom = 5.5**2 / ((158 / 32) ** 2 / 4 + (18 / 32) ** 2 / 5)
    assert freedom == pytest.approx(4.9125, abs=1e-3)
    quantiles = [distributions.t.ppf(share, freedom) for share in (0.975, 0.8)]
    assert told["honest"] == pytest.approx(quantiles[0] * np.sqrt(5.5), rel=1e-5)
    assert told["detectable"] == pytest.approx(sum(quantiles) * np.sqrt(5.5), rel=1e-5)
    few = 0.5**2 / ((14 / 32) ** 2 / 4 + (2 / 32) ** 2 / 5)  # without cohorts and trainings: 2 + 2 * 6 and 2
    assert told["ratio_of_few"] == pytest.approx(distributions.t.ppf(0.975, few) / 2.131450, rel=1e-5)


def test_one_training_a_cohort_has_the_degrees_of_freedom_of_the_cohorts():
    """Where these do not differ, the few of them make the whole ratio."""
    variances = {"cohort": 0.0, "training": np.nan, "patient": np.nan, "rest": 8.0}
    told = cohorts.reader(cohorts.Mixed(0, 1, variances, {}, cohorts=2, trainings=1, patients=7, remarks=()))
    assert told["ratio"] == told["ratio_of_few"] == pytest.approx(12.706205 / 2.446912, rel=1e-5)  # t of 1 and of 6


def test_the_honest_interval_covers_the_mean_as_often_as_it_says():
    """A further reader's mean, and a width by what five cohorts show, their parts by mean squares."""
    sizes, covered = (5, 2, 20), {"usual": 0, "honest": 0}
    for seed in range(1000):
        generator = np.random.default_rng(seed)
        frame = balanced(generator, 0.6, 0.6, 3.0, 1.0, sizes)
        parts = {name: max(0.0, value) for name, value in by_mean_squares(frame, sizes).items()}
        told = cohorts.reader(cohorts.Mixed(0, 1, parts, {}, *sizes, remarks=()))
        one = balanced(generator, 0.6, 0.6, 3.0, 1.0, (1, 1, 20))["value"].mean()
        for name in covered:
            covered[name] += abs(one - 5) <= told[name]
    assert 940 <= covered["honest"] <= 980 and covered["usual"] < 850


@pytest.mark.parametrize("seed", [5, 13])
def test_where_the_analysis_of_variance_has_a_part_below_nothing_it_is_none(seed):
    """An optimizer that stops beside the edge finds a part that is not there."""
    frame = balanced(np.random.default_rng(seed), cohort=0.0, sizes=(5, 2, 26))
    found = cohorts.mixed(frame)
    assert by_mean_squares(frame, (5, 2, 26))["cohort"] < 0
    assert found.variances["cohort"] < 1e-3 and found.p["cohort"] == pytest.approx(0.5, abs=0.01)


def test_the_fit_to_the_kept_cohorts_is_no_lower_than_any_optimizers():
    from statsmodels.regression.mixed_linear_model import MixedLM

    kept = pd.read_csv(ROOT / "figures" / "study_750" / "behind" / "cohorts_metrics.csv")
    each = cohorts.differences(cohorts.shared(kept.assign(cohort=kept["cohort_seed"])), "hd_mm", "rt_sm", "rt")
    found, height, said = cohorts._fitted(each, ["cohort", "patient", "training"])
    assert np.sqrt(found["patient"]) == pytest.approx(8.14, abs=0.02) and not said
    frame = each.assign(value=each["value"] / each["value"].std(), of=each["cohort"].astype(str) + each["patient"])
    parts = {"patient": "0 + C(of)", "training": "0 + C(seed)"}
    model = MixedLM.from_formula("value ~ 1", frame, groups="cohort", vc_formula=parts, re_formula="1")
    for method in ("lbfgs", "bfgs", "cg"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert model.fit(reml=True, method=[method]).llf < height + 1e-4


def test_a_part_is_asked_for_by_the_likelihood_without_it():
    """Of values about one mean the model without any part is the normal distribution, restricted."""
    found = cohorts.mixed(balanced(np.random.default_rng(4), sizes=(6, 3, 12)))
    assert found.p["cohort"] < 1e-3 and found.p["training"] < 0.05
    values = [(c, 7, f"p{p}", float(p % 3)) for c in range(4) for p in range(9)]  # cohorts are alike
    frame = pd.DataFrame(values, columns=["cohort", "seed", "patient", "value"])
    (_, whole, _), (spread, alone, _) = cohorts._fitted(frame, ["cohort"]), cohorts._fitted(frame, [])
    assert whole == pytest.approx(alone, abs=1e-6) and spread["rest"] == pytest.approx(frame["value"].var())
    p = cohorts.mixed(frame).p
    assert p["cohort"] == pytest.approx(0.5, abs=1e-3) and np.isnan(p["training"])


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


def test_without_a_difference_between_cohorts_the_error_is_that_of_all_patients():
    """The model's own error is none where a variance is 0."""
    rows = [(c, 7, f"p{p}", float(value)) for c in (1, 2) for p, value in enumerate((1, 2, 3, 4, 5))]
    frame = pd.DataFrame(rows, columns=["cohort", "seed", "patient", "value"])
    found = cohorts.mixed(frame)
    assert found.variances["cohort"] == pytest.approx(0, abs=1e-4) and found.mean == pytest.approx(3)
    spread = 20 / 9  # of ten values about one mean
    assert found.variances["rest"] == pytest.approx(spread, rel=0.01)
    assert found.error == pytest.approx(np.sqrt(spread / 10), rel=0.01)


def test_cohorts_alike_but_not_equal_have_the_mean_and_spread_of_all_patients():
    """Cohorts of unequal size whose means lie closer than patients let them: the part of cohorts is 0."""
    values = {1: (-4.0, 1.0, 6.0, 5.0), 2: (-3.0, 2.0, 7.0, 0.0, 4.5, 2.5)}
    rows = [(c, 7, f"p{p}", value) for c, own in values.items() for p, value in enumerate(own)]
    frame = pd.DataFrame(rows, columns=["cohort", "seed", "patient", "value"])
    found, spread = cohorts.mixed(frame), frame["value"].var()
    assert found.variances["cohort"] == pytest.approx(0, abs=1e-3)
    assert found.mean == pytest.approx(frame["value"].mean(), abs=0.01)
    assert found.variances["rest"] == pytest.approx(spread, rel=0.01)
    assert found.error == pytest.approx(np.sqrt(spread / 10), rel=0.01)


def test_one_training_a_cohort_leaves_trainings_and_patients_untold():
    sizes = (5, 1, 12)
    frame = balanced(np.random.default_rng(2), sizes=sizes)
    found, means = cohorts.mixed(frame), frame.groupby("cohort")["value"].mean()
    assert np.isnan([found.variances["training"], found.variances["patient"]]).all()
    within = frame.groupby("cohort")["value"].var().mean()
    assert found.variances["rest"] == pytest.approx(within, rel=0.01)
    assert found.variances["cohort"] == pytest.approx(means.var() - within / 12, rel=0.01)
    assert found.error == pytest.approx(means.std() / np.sqrt(5), rel=0.01)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("varied", [{}, {"cohort": 0.0, "training": 0.0, "patient": 0.0}])
def test_a_handful_of_patients_has_a_mean_and_an_error(seed, varied):
    frame = balanced(np.random.default_rng(seed), sizes=(2, 1, 2), **varied)
    found = cohorts.mixed(frame)
    values = frame["value"]
    assert values.min() <= found.mean <= values.max() and 0 <= found.error <= np.ptp(values) + 1e-9


def test_what_does_not_vary_has_no_error():
    frame = balanced(np.random.default_rng(0), 0.0, 0.0, 0.0, 0.0, sizes=(2, 1, 3))
    found = cohorts.mixed(frame)
    assert (found.mean, found.error) == (pytest.approx(5), pytest.approx(0, abs=1e-6))


def test_a_single_patient_is_refused():
    with pytest.raises(ValueError, match="needs two patients"):
        cohorts.mixed(balanced(np.random.default_rng(0), sizes=(2, 2, 1)))


def test_a_summary_says_what_the_fit_warned_of_and_how_often_readers_differ():
    rng = np.random.default_rng(5)
    rows = [
        {"cohort": c, "seed": 7, "variant": name, "case": p, "patient": f"p{p}", **dict.fromkeys(cohorts.TOLD, value)}
        for c in (1, 2) for p in range(6) for name, value in (("rt", rng.random()), ("rt_sm", rng.random()))
    ]  # fmt: skip
    scores = pd.DataFrame(rows)
    told = cohorts.verdicts(scores, [("rt_sm", "rt")], 2018)
    assert len(told) == 2 * len(cohorts.TOLD) and {*told.verdict} <= {"higher", "lower", "inconclusive"}
    found = cohorts.summary(scores, told, "rt_sm", "rt")
    assert [*found.metric] == [*cohorts.TOLD] and (found.flips_pairs == 1).all() and (found.honest > found.usual).all()
    assert found.remarks.map(type).eq(str).all()
    words = cohorts.in_words(next(found.itertuples()))
    assert "over 2 cohorts" in words
    told = f"{found.ratio[0]:.1f} times as wide, 4.9 for so few cohorts alone"
    assert told in words, "12.706 / 2.571, of 1 and of 5 degrees"


def test_a_metric_that_hardly_any_scan_has_is_not_fitted_and_the_others_are():
    rng = np.random.default_rng(6)
    rows = [(c, 7, name, p, f"p{p}") for c in (1, 2) for p in range(6) for name in ("rt", "rt_sm")]
    scores = pd.DataFrame(rows, columns=["cohort", "seed", "variant", "case", "patient"])
    scores = scores.assign(**{metric: rng.random(len(rows)) for metric in cohorts.TOLD})
    scores.loc[scores["case"] > 0, "hd_mm"] = np.inf
    told = cohorts.verdicts(scores, [("rt_sm", "rt")], 2018)
    found = cohorts.summary(scores, told, "rt_sm", "rt").set_index("metric")
    assert np.isnan(found.loc["hd_mm", ["mean", "honest", "detectable"]].astype(float)).all()
    assert found.drop(index="hd_mm")["honest"].notna().all()
    row = next(found.loc[["hd_mm"]].reset_index().itertuples())
    assert cohorts.in_words(row) == "HD: no cohort has two patients in which it is defined"


def test_methods_are_compared_on_the_scans_that_all_judged():
    """The network judged cases 1 and 2, the regression 1 to 3, and 1 and 2 once more with the line moved."""
    rows = [("rt", 1, 0.0, 0.5), ("rt", 2, 0.0, 0.7)]
    rows += [("logistic", 1, 0.0, 0.4), ("logistic", 2, 0.0, 0.4), ("logistic", 3, 0.0, 1.0)]
    rows += [("logistic_sm", n, mm, dsc) for mm, dsc in ((0.0, 0.5), (5.0, 0.9)) for n in (1, 2, 3)]
    scores = pd.DataFrame(rows, columns=["variant", "case", "misfit_mm", "dsc"]).assign(misfit_deg=0.0)
    found = cohorts.shared(scores)
    means = found.groupby("variant").dsc.mean().to_dict()
    assert {*found.case} == {1, 2} and means == pytest.approx({"rt": 0.6, "logistic": 0.4, "logistic_sm": 0.5})


def test_a_patient_takes_the_pair_of_the_others():
    """The third scan alone would take a threshold below 0.25, the others one above 0.45; all are of one fold."""
    from test_voxelwise import scan

    from strokelib.run.settings import load_settings

    how = load_settings("demo").postprocess
    scans = [scan(n) for n in range(3)]
    around = [np.roll(each.lesion, 12, axis=0) & ~each.lesion for each in scans]
    maps = [0.95 * each.lesion + 0.45 * wrong for each, wrong in zip(scans[:2], around[:2], strict=True)]
    maps = list(zip(scans, [*maps, 0.25 * scans[2].lesion], strict=True))
    judged = cohorts.judge(maps, {each.number: 0 for each in scans}, how)
    assert judged.case.tolist() == [0, 1, 2] and judged.patient.tolist() == ["p0", "p1", "p2"]
    assert (judged.fold == 0).all() and judged.threshold[2] >= 0.5 and judged.dsc[2] == 0


def test_a_perfect_map_is_judged_perfect():
    from test_voxelwise import scan

    from strokelib.run.settings import load_settings

    scans = [scan(n) for n in range(2)]
    maps = [(each, each.lesion.astype(np.float32)) for each in scans]
    judged = cohorts.judge(maps, {0: 0, 1: 1}, load_settings("demo").postprocess)
    assert (judged.dsc == 1).all() and judged.fold.tolist() == [0, 1] and "volume_ml" in judged
