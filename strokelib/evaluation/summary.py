"""The scores of a variant's scans in a few numbers: mean, SD and R², the rows of Table 1, the paper's beside them."""

import numpy as np
import pandas as pd
from scipy import stats

from strokelib.evaluation import resampling
from strokelib.run.checks import require_columns
from strokelib.run.runtime import ROOT, rng
from strokelib.vocabulary import METHODS, METRICS

PARTS = ("mean", "sd", "undefined", "low", "high")  # of each metric's columns in Table 1


def r_squared(predicted, true) -> float:
    """Compute the squared Pearson correlation of volumes, the R² of a fitted line; NaN where undefined.

    Source: Clèrigues et al. 2019, sec. 4. Our choice: this reading of "coefficient of
    determination".
    """
    predicted, true = finite_pairs(predicted, true)
    if len(true) < 2 or np.ptp(predicted) == 0 or np.ptp(true) == 0:
        return float("nan")
    x, y = predicted - predicted.mean(), true - true.mean()
    return float((x @ y) ** 2 / ((x @ x) * (y @ y)))


def identity_r_squared(predicted, true) -> float:
    """Compute 1 - SSres/SStot of volumes about the line predicted = true; NaN where undefined.

    Unlike `r_squared` it falls where volumes are biased, and below 0 where their mean would predict
    better.
    """
    predicted, true = finite_pairs(predicted, true)
    if len(true) < 2 or np.ptp(true) == 0:
        return float("nan")
    return float(1 - np.sum((true - predicted) ** 2) / np.sum((true - true.mean()) ** 2))


def finite_pairs(first, second):
    """Return two lists of volumes without the places where either is not finite.

    Raises
    ------
    ValueError : lists of different lengths.
    """
    first, second = np.asarray(first, float), np.asarray(second, float)
    if first.shape != second.shape or first.ndim != 1:
        raise ValueError(f"expected two lists of volumes of one length, got {first.shape} and {second.shape}")
    keep = np.isfinite(first) & np.isfinite(second)
    return first[keep], second[keep]


def summarize(values) -> tuple[float, float, int]:
    """Return mean and population SD of the finite values, and how many are not finite.

    Our choice: the population SD (divided by n), which the authors' code and the leaderboard use.
    The paper drops undefined values silently; we count them.
    """
    values = np.asarray(values, float)
    finite = values[np.isfinite(values)]
    if not len(finite):
        return float("nan"), float("nan"), len(values)
    return float(finite.mean()), float(finite.std()), len(values) - len(finite)


def mean_interval(mean, sd, n) -> tuple[float, float]:
    """Compute the 95 % interval of a mean of n values by Student's t from their population SD; NaN for fewer than 2."""
    reach = stats.t.ppf(0.975, n - 1) * sd / np.sqrt(n - 1) if n > 1 else float("nan")
    return mean - reach, mean + reach


def patient_interval(values, patients, generator=None) -> tuple[float, float]:
    """Compute the 95 % interval of a mean over scans by drawing patients, all scans of each together.

    Parameters
    ----------
    values : float sequence, one a scan; those that are not finite are left out
    patients : sequence, whose scan each is
    generator : numpy.random.Generator, optional
        Of the bootstrap; a fixed one by default.

    Returns
    -------
    low, high : NaN where fewer than two patients have a finite value

    Our choice: percentiles of the bootstrap over patients, for two slabs of one head are not independent. Of means
    alone: such an interval of a median fails. With few patients it is somewhat too short.
    """
    values, patients = np.asarray(values, float), np.asarray(patients)
    finite = np.isfinite(values)
    if len(set(patients[finite])) < 2:
        return float("nan"), float("nan")
    generator = rng(0, "patients") if generator is None else generator
    low, high = resampling.interval(resampling.patient_means(values[finite, None], patients[finite], generator))
    return float(low[0]), float(high[0])


def variant_means(scores, metrics, seed: int, stage: str) -> pd.DataFrame:
    """Average metrics over the scans of each variant, with intervals by patient.

    Parameters
    ----------
    scores : a row per (variant, case), columns variant, patient and the metrics, of which values that are not finite
        are left out
    metrics : sequence of str
    seed, stage : of the bootstrap, which draws the same patients for every variant

    Returns
    -------
    frame, a row per (variant, metric), in the order of the variants : scans and patients (with a finite value), mean,
    low, high.
    """
    require_columns(scores, "variant", "patient", *metrics)
    rows = []
    for variant, own in scores.groupby("variant", sort=False):
        for metric in metrics:
            finite = own[np.isfinite(own[metric])]
            mean, _, _ = summarize(finite[metric])
            low, high = patient_interval(finite[metric], finite["patient"], rng(seed, stage, metric))
            row = {"variant": variant, "metric": metric, "scans": len(finite)}
            row |= {"patients": finite["patient"].nunique(), "mean": mean, "low": low, "high": high}
            rows.append(row)
    return pd.DataFrame(rows)


def paper_table(name) -> pd.DataFrame:
    """Read "table1" or "table2" of the paper from data/paper, numbers in the units that it prints."""
    path = ROOT / "data" / "paper" / f"{name}.csv"
    if not path.is_file():
        raise FileNotFoundError(f"no {path}; the paper's tables are 'table1' and 'table2'")
    return pd.read_csv(path, keep_default_na=False, na_values=[""], dtype={"reference": str})


def scans_of(frame, variant) -> pd.DataFrame:
    """Return the rows of a variant.

    Raises
    ------
    ValueError : it has none.
    """
    scans = frame[frame["variant"] == variant]
    if scans.empty:
        raise ValueError(f"variant {variant!r} is not in the frame; it has {sorted(frame['variant'].unique())}")
    return scans


def with_volume_error(frame) -> pd.DataFrame:
    """Add volume_error_ml, how far the volume of each scan is off, to a frame with volume_ml and truth_volume_ml."""
    require_columns(frame, "volume_ml", "truth_volume_ml")
    return frame.assign(volume_error_ml=(frame["volume_ml"] - frame["truth_volume_ml"]).abs())


def table1(frame, choices, source="this run") -> pd.DataFrame:
    """Make the rows of Table 1 from our scores.

    Parameters
    ----------
    frame : a row per (variant, case), with patient, volume_ml, truth_volume_ml and those of METRICS that were
        measured: dsc, ppv, sensitivity, hd_mm, hd_voxels, ...
    choices : dict, variant to its pair (with .threshold and .min_lesion_voxels), or to None where
        it has none. Its order is that of the rows.
    source : str, whose numbers these are

    Returns
    -------
    frame, a row per variant: variant, source, n (scans), threshold, min_lesion_voxels; _mean, _sd,
    _undefined (number of scans), _low and _high (95 % interval of the mean by patient, see `patient_interval`) of each
    metric, overlaps as fractions, volume_error_ml the absolute difference of the volumes; r2 (fitted line) and
    r2_identity.

    Raises
    ------
    ValueError : a variant has no row in the frame; a column is missing.

    Source: Clèrigues et al. 2019, Table 1. Our choice: population SD over the finite values, see
    `summarize`.
    """
    require_columns(frame, "variant", "patient", "volume_ml", "truth_volume_ml", "dsc")
    frame = with_volume_error(frame)
    rows = []
    for variant, pair in choices.items():
        scans = scans_of(frame, variant)
        row = {"variant": variant, "source": source, "n": len(scans)}
        row["threshold"] = float("nan") if pair is None else pair.threshold
        row["min_lesion_voxels"] = float("nan") if pair is None else pair.min_lesion_voxels
        for metric in (name for name in METRICS if name in scans):
            numbers = (*summarize(scans[metric]), *patient_interval(scans[metric], scans["patient"]))
            row |= dict(zip((f"{metric}_{part}" for part in PARTS), numbers, strict=True))
        row["r2"] = r_squared(scans["volume_ml"], scans["truth_volume_ml"])
        row["r2_identity"] = identity_r_squared(scans["volume_ml"], scans["truth_volume_ml"])
        rows.append(row)
    return pd.DataFrame(rows)


def paper_table1() -> pd.DataFrame:
    """Return the paper's Table 1 in the columns and units of `table1`, as far as it prints them.

    Its HD is in voxel units, by the authors' code.
    """
    printed = paper_table("table1")
    rows = printed[["variant", "threshold", "min_lesion_voxels", "r2"]].assign(source="paper")
    for part in ("mean", "sd"):
        for metric in ("dsc", "ppv", "sensitivity"):
            rows[f"{metric}_{part}"] = printed[f"{metric}_percent_{part}"] / 100
        rows[f"hd_voxels_{part}"] = printed[f"hd_{part}"]
    return rows


def beside_paper(*tables) -> pd.DataFrame:
    """Join tables of `table1` and the paper's: method by method, in the order of METHODS, the paper's row last."""
    order = {method: place for place, method in enumerate(METHODS)}
    joined = pd.concat([*tables, paper_table1()], ignore_index=True)
    return joined.sort_values("variant", key=lambda names: names.map(order), kind="stable", ignore_index=True)
