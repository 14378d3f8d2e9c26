"""What of a difference between two rows belongs to the cohort, the training and the patient; and how often it flips."""

import itertools
import warnings
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats as distributions

from strokelib.evaluation import gridsearch, ladder, power, stats
from strokelib.run.checks import require_columns
from strokelib.run.runtime import rng
from strokelib.vocabulary import METRICS

PARTS = ("cohort", "training", "patient", "rest")  # of the variance of a difference
ASKED = PARTS[:2]  # whether they are there at all
# Without gradients: those stop beside the edge where a part is 0. Of two, for either may stop too early.
OPTIMIZERS = ("powell", "nm")
TOLD = ("dsc", "ppv", "sensitivity", "hd_mm")


def judge(maps, fold_of, how) -> pd.DataFrame:
    """Compute the metrics of scans, each patient's with the stable pair of the other patients.

    Parameters
    ----------
    maps : sequence of (scan, probabilities), of one row or method
    fold_of : dict, case to fold
    how : Postprocess of the settings

    Returns
    -------
    frame, as of `ladder.judge`

    Source: `gridsearch.choice_of_patients`.
    """
    grid = gridsearch.search_maps(maps, how.thresholds, how.min_lesion_voxels)
    patients = {scan.number: scan.patient for scan, _ in maps}
    grid = grid.assign(variant="", patient=grid["case"].map(patients), fold=grid["case"].map(fold_of))
    chosen = gridsearch.choice_of_patients(grid, gridsearch.choose_stable_pair)
    return ladder.further(maps, grid.merge(chosen).drop(columns="variant"))


def shared(scores) -> pd.DataFrame:
    """Keep the rows that methods can be compared by: of scans that all of them judged, with the line left in its place.

    Parameters
    ----------
    scores : frame, a row per (variant, seed, case, misfit), columns variant, case, misfit_mm and misfit_deg; networks
        judge the first folds alone, the voxel-wise methods all
    """
    require_columns(scores, "variant", "case", "misfit_mm", "misfit_deg")
    own = scores[(scores["misfit_mm"] == 0) & (scores["misfit_deg"] == 0)]
    return own[own.groupby("case")["variant"].transform("nunique") == own["variant"].nunique()]


def differences(scores, metric: str, new: str, old: str) -> pd.DataFrame:
    """Return new - old of every patient in every training, the patient's scans averaged.

    Parameters
    ----------
    scores : frame, a row per (cohort, variant, seed, case), with these columns, patient and the metric

    Returns
    -------
    frame : cohort, seed, patient, value; scans without a finite value in both are left out.
    """
    keys = ["cohort", "seed", "patient", "case"]
    require_columns(scores, *keys, "variant", metric)
    both = [scores[scores["variant"] == name].set_index(keys)[metric] for name in (new, old)]
    each = (both[0] - both[1]).replace([np.inf, -np.inf], np.nan).dropna()
    return each.groupby(keys[:3]).mean().rename("value").reset_index()


@dataclass(frozen=True)
class Mixed:
    """A mean difference and its variance in parts; NaN of what such a design cannot tell apart."""

    mean: float
    error: float  # standard error of the mean
    variances: dict[str, float]  # by PARTS
    p: dict[str, float]  # by ASKED, that the part is none
    cohorts: int
    trainings: int  # of a cohort
    patients: int  # of a cohort, on average
    remarks: tuple[str, ...]  # of the fit, in words


def mixed(each) -> Mixed:
    """Fit a mixed model: one mean; cohorts, trainings within a cohort and patients within a cohort at random.

    Parameters
    ----------
    each : frame of `differences`

    Returns
    -------
    Mixed. One cohort tells nothing of cohorts; one training a cohort is not told apart from its cohort, nor a patient
    from the rest: these parts are NaN, and lie in the part that is left.

    Raises
    ------
    ValueError : fewer than two patients.

    Source: restricted maximum likelihood of statsmodels' MixedLM; in a balanced design, where all parts are positive,
    it gives what the analysis of variance does. Mean and its error are those of generalized least squares with these
    variances: the model's own error is meaningless where a part is 0. Whether a part is there is asked of the ratio of
    likelihoods with it and without it, half of the chi-square with one degree of freedom since no variance is below 0
    (Self and Liang 1987).
    """
    cohorts = each["cohort"].nunique()
    trainings = int(each.groupby("cohort")["seed"].nunique().max()) if len(each) else 0
    patients = each.groupby("cohort")["patient"].nunique()
    if not len(patients) or patients.max() < 2:
        raise ValueError(f"a mixed model needs two patients of a cohort at least, got {patients.to_dict()}")
    asked = ["cohort"] * (cohorts > 1) + ["patient", "training"] * (trainings > 1)
    variances, p = (dict.fromkeys(names, float("nan")) for names in (PARTS, ASKED))
    facts = cohorts, trainings, round(patients.mean())
    if not asked:
        spread = each["value"].std(ddof=1)
        variances["rest"] = float(spread**2)
        return Mixed(float(each["value"].mean()), float(spread / np.sqrt(len(each))), variances, p, *facts, ())
    found, height, said = _fitted(each, asked)
    variances |= found
    for name in {*asked} & {*ASKED}:
        _, without, _ = _fitted(each, [other for other in asked if other != name])
        p[name] = float(distributions.chi2.sf(max(0.0, 2 * (height - without)), 1) / 2)
    mean, error, factor = _weighted(each, variances)
    return Mixed(mean, error, {name: value * factor for name, value in variances.items()}, p, *facts, said)


def _fitted(each, asked) -> tuple[dict[str, float], float, tuple[str, ...]]:
    """Return the variances of the parts asked for and of the rest, the log-likelihood, and what the fit warns of."""
    from statsmodels.regression.mixed_linear_model import MixedLM  # takes seconds to load

    size, count = float(each["value"].std()) or 1.0, len(each)  # the fit is steadier where numbers are about 1
    if not asked:
        return {"rest": size**2}, -0.5 * ((count - 1) * (1 + np.log(2 * np.pi)) + np.log(count)), ()
    frame = each.assign(value=each["value"] / size, cohort=each["cohort"].astype(str))
    frame["patient"] = frame["cohort"] + " " + frame["patient"].astype(str)
    columns = {"patient": "patient", "training": "seed"}
    parts = {name: f"0 + C({column})" for name, column in columns.items() if name in asked}
    model = MixedLM.from_formula(
        "value ~ 1", frame, groups="cohort", vc_formula=parts or None, re_formula="1" if "cohort" in asked else "0"
    )
    with warnings.catch_warnings(record=True):  # of a part at its edge, which the numbers show
        fits = [model.fit(reml=True, method=[method]) for method in OPTIMIZERS]
    best = max(fits, key=lambda fit: fit.llf)
    variances = {"cohort": float(best.cov_re.iloc[0, 0])} if "cohort" in asked else {}
    variances |= dict(zip(model.exog_vc.names, map(float, best.vcomp), strict=True)) | {"rest": float(best.scale)}
    said = () if best.converged else ("it did not converge",)
    return {name: value * size**2 for name, value in variances.items()}, float(best.llf), said


def _weighted(each, variances) -> tuple[float, float, float]:
    """Return the mean and its standard error by generalized least squares, and what the variances are off by.

    Cohorts are independent. The factor is 1 where the fit found its mean, which it misses where a part is 0.
    """
    part = {name: 0.0 if np.isnan(value) else value for name, value in variances.items()}
    weight = total = square = 0.0
    for _, own in each.groupby("cohort"):
        values = own["value"].to_numpy()
        same = {key: own[key].to_numpy()[:, None] == own[key].to_numpy() for key in ("seed", "patient")}
        spread = part["cohort"] + part["training"] * same["seed"] + part["patient"] * same["patient"]
        inverse = np.linalg.pinv(spread + part["rest"] * np.eye(len(own)), hermitian=True)
        weight, total = weight + inverse.sum(), total + inverse.sum(axis=0) @ values
        square += values @ inverse @ values
    if weight <= 0:  # nothing varies
        return float(each["value"].mean()), 0.0, 1.0
    mean = total / weight
    factor = max(0.0, square - mean * total) / (len(each) - 1)
    return float(mean), float(np.sqrt(factor / weight)), float(factor)


def reader(found: Mixed) -> dict[str, float]:
    """Say how wide an interval is that a reader of one cohort, trained once, is given, and how wide it should be.

    Parameters
    ----------
    found : of `mixed`

    Returns
    -------
    usual : half of the 95 % interval over patients alone; honest : half of the one that knows of other cohorts and
    other trainings, too, NaN where cohorts cannot be told; ratio; ratio_of_few : what the ratio would be if cohorts
    and trainings did not vary at all, for so few cohorts alone; detectable : the smallest difference that one cohort
    shows in four of five repetitions, by the degrees of freedom of honest.

    The degrees of freedom are those of Satterthwaite (1946): of such a mean the variance is a sum of the mean squares
    of cohorts and of trainings in a balanced design, of which it takes what the fitted parts would let one expect.
    """
    if not found.cohorts:
        return dict.fromkeys(("usual", "honest", "ratio", "ratio_of_few", "detectable"), float("nan"))
    known = {name: 0.0 if np.isnan(value) else value for name, value in found.variances.items()}
    quantile = distributions.t.ppf(0.975, found.patients - 1)
    usual = quantile * np.sqrt((known["patient"] + known["rest"]) / found.patients)
    told = {"usual": usual} | dict.fromkeys(("honest", "ratio", "ratio_of_few", "detectable"), float("nan"))
    if found.cohorts > 1:
        error, freedom = _of_a_cohort(known, found)
        patients_alone, few = _of_a_cohort(known | dict.fromkeys(ASKED, 0.0), found)
        told |= {"honest": distributions.t.ppf(0.975, freedom) * error, "detectable": power.factor(freedom) * error}
        told["ratio"] = told["honest"] / usual if usual > 0 else float("nan")
        told["ratio_of_few"] = distributions.t.ppf(0.975, few) * patients_alone / usual if usual > 0 else float("nan")
    return {name: float(value) for name, value in told.items()}


def _of_a_cohort(part, found: Mixed) -> tuple[float, float]:
    """Return the standard error of the mean of one cohort and one training, and its degrees of freedom."""
    trainings, patients = max(found.trainings, 1), found.patients
    of_training = part["rest"] + patients * part["training"]
    of_cohort = of_training + trainings * (part["patient"] + patients * part["cohort"])
    counts = {found.cohorts - 1: of_cohort, found.cohorts * (trainings - 1): (trainings - 1) * of_training}
    terms = {freedom: square / (trainings * patients) for freedom, square in counts.items() if freedom}
    total, spread = sum(terms.values()), sum(square**2 / freedom for freedom, square in terms.items())
    return float(np.sqrt(total)), float(total**2 / spread) if spread else float(found.cohorts - 1)


def verdicts(scores, pairs, seed: int) -> pd.DataFrame:
    """Tell each difference as the reader of each cohort and each training would, by patients.

    Parameters
    ----------
    scores : as of `differences`
    pairs : sequence of (new, old)
    seed : of the bootstrap

    Returns
    -------
    frame, a row per (cohort, seed, metric of TOLD, pair): cohort, seed, the columns of stats.paired_tests, and verdict:
    "higher" or "lower" by interval and p, as `stats.side`, else "inconclusive".
    """
    rows = []
    for (cohort, training), own in scores.groupby(["cohort", "seed"]):
        for metric in TOLD:
            generator = rng(seed, "cohorts", int(cohort), int(training), metric)
            tests = stats.paired_tests(own, metric, pairs, "patient", generator)
            rows.append(tests.assign(cohort=cohort, seed=training))
    table = pd.concat(rows, ignore_index=True)
    return table.assign(verdict=[stats.side_in_words(row, "higher", "lower", "p") for row in table.itertuples()])


def flips(table) -> pd.DataFrame:
    """Count how often two readers of different cohorts come to different ends.

    Parameters
    ----------
    table : frame of `verdicts`

    Returns
    -------
    frame, a row per (metric, new, old): pairs (of readers of two cohorts), sign (share whose means have other signs),
    verdict (share whose verdicts differ), opposite (share that say "higher" and "lower"); NaN without two cohorts.
    """
    rows = []
    for (metric, new, old), own in table.groupby(["metric", "new", "old"], sort=False):
        both = [(a, b) for a, b in itertools.combinations(own.itertuples(), 2) if a.cohort != b.cohort]
        row = {"metric": metric, "new": new, "old": old, "pairs": len(both)}
        found = {
            "sign": [a.mean_difference * b.mean_difference < 0 for a, b in both],
            "verdict": [a.verdict != b.verdict for a, b in both],
            "opposite": [{a.verdict, b.verdict} == {"higher", "lower"} for a, b in both],
        }
        rows.append(row | {name: float(np.mean(each)) if each else float("nan") for name, each in found.items()})
    return pd.DataFrame(rows)


def summary(scores, table, new: str, old: str) -> pd.DataFrame:
    """Put mixed model, interval of a reader and flips of each metric in a row.

    Parameters
    ----------
    scores, table : as of `differences` and `verdicts`

    Returns
    -------
    frame, a row a metric of TOLD: new, old, metric, mean, error, low and high (95 %, over cohorts; NaN of one),
    sd_cohort, sd_training, sd_patient, sd_rest, p_cohort and p_training (that the part is none), what `reader` returns,
    cohorts, trainings, patients, remarks (of the fit), and what `flips` counts. Where no cohort has two patients with
    the metric there is nothing to fit: NaN.
    """
    counted, rows = flips(table).set_index(["metric", "new", "old"]), []
    for metric in TOLD:
        each = differences(scores, metric, new, old)
        enough = (each.groupby("cohort")["patient"].nunique() > 1).any()
        unknown = Mixed(np.nan, np.nan, *(dict.fromkeys(names, np.nan) for names in (PARTS, ASKED)), 0, 0, 0, ())
        found = mixed(each) if enough else unknown
        row = {"new": new, "old": old, "metric": metric, "mean": found.mean, "error": found.error}
        reach = distributions.t.ppf(0.975, found.cohorts - 1) * found.error if found.cohorts > 1 else float("nan")
        row |= {"low": found.mean - reach, "high": found.mean + reach}
        row |= {f"sd_{name}": np.sqrt(value) for name, value in found.variances.items()}
        row |= {f"p_{name}": value for name, value in found.p.items()} | reader(found)
        row |= {"cohorts": found.cohorts, "trainings": found.trainings, "patients": found.patients}
        row["remarks"] = ", ".join(found.remarks)
        own = counted.loc[(metric, new, old)]
        rows.append(row | {f"flips_{name}": own[name] for name in ("pairs", "sign", "verdict", "opposite")})
    return pd.DataFrame(rows)


def in_words(row) -> str:
    """Say what a reader of one cohort should make of a difference.

    Parameters
    ----------
    row : of `summary`
    """
    metric = METRICS[row.metric]
    if not row.cohorts:
        return f"{metric.name}: no cohort has two patients in which it is defined"
    if row.cohorts < 2:
        return f"{metric.name}: one cohort cannot tell how far another one lies; **inconclusive**"
    sign = "**inconclusive**"
    if row.low > 0 or row.high < 0:
        sign = "higher over cohorts" if row.low > 0 else "lower over cohorts"
    usual, honest, low, high = (metric.scale * end for end in (row.usual, row.honest, row.low, row.high))
    widths = f"±{usual:.1f} by patients alone, ±{honest:.1f} with all that varies"
    return (
        f"{metric.name}: {metric.scale * row.mean:+.1f} {metric.step} over {row.cohorts} cohorts, 95 % interval "
        f"{low:+.1f} to {high:+.1f}, {sign}; one cohort's reader: {widths}, {row.ratio:.1f} times as wide, "
        f"{row.ratio_of_few:.1f} for so few cohorts alone; smallest "
        f"detectable {metric.scale * row.detectable:.1f}; of two cohorts' readers "
        f"{100 * row.flips_sign:.0f} % see other signs, {100 * row.flips_verdict:.0f} % another verdict"
    )
