"""How predictions agree with the truth beyond a mean: within groups of scans, in volume, and as probabilities."""

import numpy as np
import pandas as pd
import scipy.stats

from strokelib.evaluation.resampling import patient_means
from strokelib.evaluation.summary import summarize
from strokelib.run.checks import require_columns
from strokelib.run.runtime import rng

VOLUME_GROUPS = ("< 5", "5–20", "20–60", "> 60")  # mL
SLICE_GROUPS = ("≤ 2", "3–4", "5–8", "> 8")


def volume_groups(volume_ml) -> pd.Categorical:
    """Sort true lesion volumes into VOLUME_GROUPS: [0, 5), [5, 20), [20, 60] and (60, ∞) mL.

    Parameters
    ----------
    volume_ml : sequence of n numbers, mL; a missing one gets no group

    Returns
    -------
    ordered categorical, (n,), which has every group, also one without a scan

    Raises
    ------
    ValueError : a negative volume.

    Our choice: the groups. 5 mL are no longer "< 5", and 60 mL not yet "> 60".
    """
    volume = np.asarray(volume_ml, float)
    return _labeled(volume, VOLUME_GROUPS, volume >= 5, volume >= 20, volume > 60)


def slice_groups(slices) -> pd.Categorical:
    """Sort scans by their number of slices into SLICE_GROUPS; as `volume_groups`.

    Our choice: the groups. ISLES 2018 has scans of 2, 4, 8, 16 and 22 slices; the last two share one.
    """
    slices = np.asarray(slices, float)
    return _labeled(slices, SLICE_GROUPS, slices > 2, slices > 4, slices > 8)


def _labeled(values, labels, *above) -> pd.Categorical:
    """Label each value by the number of conditions that it fulfills."""
    if (values < 0).any():
        raise ValueError(f"expected numbers of 0 or more, got {np.nanmin(values):g}")
    codes = np.where(np.isnan(values), -1, np.sum(above, axis=0))
    return pd.Categorical.from_codes(codes, labels, ordered=True)


def by_group(frame, column, metrics=("dsc", "hd_mm")) -> pd.DataFrame:
    """Summarize metrics within groups of scans, variant by variant.

    Parameters
    ----------
    frame : a row per (variant, case), with the columns variant, `column` and the metrics
    column : str, the groups' column, such as one made by `volume_groups`; all groups of a
        categorical count, also those without a scan
    metrics : sequence of str

    Returns
    -------
    frame, a row per (variant, group, metric), in the order of the variants and of the groups: scans,
    undefined (of them, with a value that is missing or not finite), mean, sd and median of the
    others, NaN where there are none.

    Raises
    ------
    ValueError : an unknown column.

    Our choice: population SD, see `summarize`.
    """
    require_columns(frame, "variant", column, *metrics)
    groups = pd.Categorical(frame[column]).categories
    rows = []
    for variant in frame["variant"].unique():
        for group in groups:
            scans = frame[(frame["variant"] == variant) & (frame[column] == group)]
            for metric in metrics:
                mean, sd, undefined = summarize(scans[metric])
                finite = scans.loc[np.isfinite(scans[metric]), metric]
                row = {"variant": variant, "group": group, "metric": metric, "scans": len(scans)}
                rows.append(row | {"undefined": undefined, "mean": mean, "sd": sd, "median": finite.median()})
    table = pd.DataFrame(rows)
    table["group"] = pd.Categorical(table["group"], groups, ordered=True)
    return table


def bland_altman(predicted, true, patients=None, generator=None) -> dict[str, float]:
    """Compute bias and 95 % limits of agreement of volumes, each with its 95 % interval by patient.

    Parameters
    ----------
    predicted, true : sequences of n volumes, mL; pairs that are not finite are left out
    patients : sequence of n, the patient of each pair; by default each is of another one
    generator : numpy.random.Generator, by which patients are drawn anew; a fixed one by default

    Returns
    -------
    dict : n (pairs), patients (their number), bias_ml (mean of predicted - true), sd_ml (of the differences, divided by
    n - 1), lower_ml and upper_ml (bias ± 1.96 SD), and of these three ..._low_ml and ..._high_ml. NaN where undefined:
    SD and limits need two pairs, intervals two patients.

    Raises
    ------
    ValueError : sequences of different lengths.

    Source: Bland and Altman, Stat. Methods Med. Res. 8 (1999) 135-160, sec. 2. They take one bias and one scatter for
    all sizes; errors of a volume grow with it, so the limits are too wide for small lesions and too narrow for large.
    Our choice: two slabs of one head are no two witnesses, so the error of a line is its scatter when patients are
    drawn anew, in place of their s / √n and s √(1/n + 1.96² / (2 (n - 1))), and Student's t is that of the patients;
    percentiles of few patients would be too short (of 7, for a limit, they hold it in 69 % of runs, these in 87 %).
    """
    predicted, true = np.asarray(predicted, float), np.asarray(true, float)
    patients = np.arange(len(predicted)) if patients is None else np.asarray(patients)
    if len({len(predicted), len(true), len(patients)}) > 1:
        raise ValueError(
            f"expected volumes and patients of one length, got {len(predicted)}, {len(true)} and {len(patients)}"
        )
    keep = np.isfinite(predicted) & np.isfinite(true)
    difference, patients = (predicted - true)[keep], patients[keep]
    n, count = len(difference), len(np.unique(patients))
    bias = difference.mean() if n else float("nan")
    sd = difference.std(ddof=1) if n > 1 else float("nan")
    reach = _reach(difference - bias, patients, count, generator) if count > 1 else np.full(3, np.nan)
    found = {"bias_ml": bias, "sd_ml": sd}
    lines = {"bias": bias, "lower": bias - 1.96 * sd, "upper": bias + 1.96 * sd}
    for (name, line), half in zip(lines.items(), reach, strict=True):
        found |= {f"{name}_ml": line, f"{name}_low_ml": line - half, f"{name}_high_ml": line + half}
    return {"n": n, "patients": count} | {name: float(value) for name, value in found.items()}


def _reach(centered, patients, count: int, generator) -> np.ndarray:
    """Return how far the intervals of bias and limits reach to either side, (3,), of differences less their mean."""
    generator = rng(0, "agreement") if generator is None else generator
    mean, square = patient_means(np.column_stack([centered, centered**2]), patients, generator).T
    wider = np.sqrt(count / (count - 1))  # draws scatter like deviations from a mean that is known
    wide = 1.96 * wider * np.sqrt(np.maximum(square - mean**2, 0))
    scatter = np.std([mean, mean - wide, mean + wide], axis=1)
    return scipy.stats.t.ppf(0.975, count - 1) * wider * scatter


def volume_differences(frame) -> pd.DataFrame:
    """Add what a Bland-Altman plot draws: mean_ml of predicted and true volume, and difference_ml, predicted - true.

    Parameters
    ----------
    frame : a row a scan, columns volume_ml and truth_volume_ml
    """
    require_columns(frame, "volume_ml", "truth_volume_ml")
    predicted, true = frame["volume_ml"], frame["truth_volume_ml"]
    return frame.assign(mean_ml=(predicted + true) / 2, difference_ml=predicted - true)


def reliability_counts(probability, truth, mask=None, bins=10) -> np.ndarray:
    """Count what a reliability curve needs of one scan; the counts of several scans may be added.

    Parameters
    ----------
    probability : float array, 0 to 1, any shape
    truth : bool array of that shape, the lesion
    mask : bool array of that shape, the voxels that count; all by default
    bins : int, of equal width; the last one includes 1

    Returns
    -------
    float64 array, (3, bins) : voxels, sum of their probabilities, lesion voxels

    Raises
    ------
    ValueError : different shapes, or a probability that is missing or not from 0 to 1.
    """
    values, lesion = _inside(mask, probability, truth)
    if not ((values > -1e-5) & (values < 1 + 1e-5)).all():  # a mean of float32 may pass 1 by rounding
        raise ValueError(f"probabilities must lie from 0 to 1, got {values.min():g} to {values.max():g}")
    values, lesion = np.clip(values.astype(np.float64), 0, 1), lesion.astype(bool)
    voxels = np.histogram(values, bins, (0, 1))[0]
    sums = np.histogram(values, bins, (0, 1), weights=values)[0]
    return np.stack([voxels, sums, np.histogram(values[lesion], bins, (0, 1))[0]]).astype(np.float64)


def _inside(mask, *arrays) -> list[np.ndarray]:
    """Return the values of arrays of one shape within a mask, or all of them."""
    arrays = [np.asarray(array) for array in arrays]
    shapes = {array.shape for array in arrays} | (set() if mask is None else {np.shape(mask)})
    if len(shapes) > 1:
        raise ValueError(f"expected arrays and a mask of one shape, got {sorted(shapes)}")
    return [array.ravel() if mask is None else array[np.asarray(mask, bool)] for array in arrays]


def reliability(counts) -> pd.DataFrame:
    """Make the reliability curve of counts: what was predicted and what was there, bin by bin.

    Parameters
    ----------
    counts : array, (3, bins), of `reliability_counts`, or a sum of such arrays

    Returns
    -------
    frame, a row a bin : low, high (its edges), voxels, share (of all voxels), mean_probability and
    lesion_fraction, NaN in an empty bin.
    """
    voxels, probability, lesion = np.asarray(counts, float)
    edges = np.linspace(0, 1, len(voxels) + 1)
    curve = pd.DataFrame({"low": edges[:-1], "high": edges[1:], "voxels": voxels.astype(int)})
    curve["share"] = curve["voxels"] / curve["voxels"].sum()
    some = np.where(voxels > 0, voxels, np.nan)
    return curve.assign(mean_probability=probability / some, lesion_fraction=lesion / some)


def expected_calibration_error(counts) -> float:
    """Compute the mean distance between probability and lesion fraction, each bin by its voxels.

    Parameters
    ----------
    counts : array, (3, bins), of `reliability_counts`, or a sum of such arrays. Most of a brain is
        healthy beyond doubt, so its lowest bin outweighs the rest; counts[:, 1:] leaves it out.

    Returns
    -------
    float, 0 to 1; NaN without a voxel.

    Source: Guo et al., ICML 2017, sec. 2, with the probability of lesion in place of the confidence.
    """
    voxels, probability, lesion = np.asarray(counts, float)
    return float(np.abs(probability - lesion).sum() / voxels.sum()) if voxels.any() else float("nan")


def auc(score, positive) -> float:
    """Compute the area under the ROC curve: the chance that a positive has a higher score than a negative.

    Parameters
    ----------
    score : float array (n,)
    positive : bool array (n,)

    Returns
    -------
    float, a tie counting half; NaN where all are positive or none is.

    Source: the Mann-Whitney U statistic over the number of pairs.
    """
    n_positive, n_negative = np.count_nonzero(positive), np.count_nonzero(~positive)
    if not n_positive or not n_negative:
        return float("nan")
    above = scipy.stats.rankdata(score)[positive].sum() - n_positive * (n_positive + 1) / 2
    return float(above / n_positive / n_negative)


def error_detection(score, wrong, mask=None) -> dict[str, float]:
    """Ask of one scan whether a voxel-wise score, such as the spread of passes, marks the errors.

    Parameters
    ----------
    score : float array, any shape; higher means less certain
    wrong : bool array of that shape, where prediction and truth differ
    mask : bool array of that shape, the voxels that count; all by default. Over a whole brain the
        score has only to tell the lesion's surroundings from the rest, so take a narrower one, too.

    Returns
    -------
    dict : voxels, wrong (their number), auc (the chance that a wrong voxel has a higher score than a
    right one, a tie counting half; NaN where all are wrong or all are right), score_wrong and
    score_right (mean scores).

    Raises
    ------
    ValueError : different shapes, or a score that is missing.
    """
    score, wrong = _inside(mask, score, wrong)
    score, wrong = score.astype(np.float64), wrong.astype(bool)
    if np.isnan(score).any():
        raise ValueError(f"{np.isnan(score).sum()} of {score.size} scores are missing; narrow the mask")
    found = {"voxels": wrong.size, "wrong": np.count_nonzero(wrong), "auc": auc(score, wrong)}
    for name, those in (("score_wrong", score[wrong]), ("score_right", score[~wrong])):
        found[name] = float(those.mean()) if those.size else float("nan")
    return found
