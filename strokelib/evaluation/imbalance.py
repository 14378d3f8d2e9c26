"""What a loss that answers imbalance does: beside balanced patches, to volumes, to probabilities, to a decision."""

import numpy as np
import pandas as pd

from strokelib.evaluation import resampling
from strokelib.evaluation.agreement import VOLUME_GROUPS, volume_groups
from strokelib.evaluation.conformal import clopper_pearson
from strokelib.evaluation.stats import UNITS, paired_tests
from strokelib.evaluation.summary import patient_interval
from strokelib.metrics import check_spacing
from strokelib.run.checks import require_columns

ALL = "all"  # scans of every size together
ESTIMATORS = {"volume_ml": "voxels above the threshold", "summed_ml": "summed probability"}  # of a lesion's volume
LARGE_ML = 70.0  # a core from which on trials of thrombectomy did not treat
_NEEDED = ("variant", "case", "patient", "volume_ml", "truth_volume_ml")


def interaction(scores, metric, twins, reference, generator) -> pd.DataFrame:
    """Ask under which loss balanced patches do more: what they do under each, less what they do under one of them.

    Parameters
    ----------
    scores : a row per (variant, case), columns variant, case, patient and the metric
    metric : str
    twins : dict of loss to (variant with balanced patches, variant with patches as they come)
    reference : of the losses, the one that the others are held against
    generator : numpy.random.Generator

    Returns
    -------
    frame, a row a loss but the reference : loss, reference, the columns of `stats.paired_tests` with patients as the
    unit, of which mean_difference is a difference of differences, above 0 where balance does more than under the
    reference. Holm's correction is over the losses.

    Raises
    ------
    ValueError : the reference is none of the losses, or a variant is missing; see also `stats.paired_tests`.
    """
    require_columns(scores, "variant", "case", "patient", metric)
    if reference not in twins:
        raise ValueError(f"the reference {reference!r} must be one of the losses trained both ways: {', '.join(twins)}")
    missing = sorted({name for pair in twins.values() for name in pair} - {*scores["variant"]})
    if missing:
        raise ValueError(f"no scores of {', '.join(missing)}; make imbalance predicts them")
    wide = scores.pivot(index=["case", "patient"], columns="variant", values=metric).replace([np.inf], np.nan)
    gains = {loss: wide[balanced] - wide[without] for loss, (balanced, without) in twins.items()}
    frame = pd.concat(gain.rename(metric).reset_index().assign(variant=loss) for loss, gain in gains.items())
    others = [loss for loss in twins if loss != reference]
    tests = paired_tests(frame, metric, [(loss, reference) for loss in others], "patient", generator)
    return tests.drop(columns="pair").rename(columns={"new": "loss", "old": "reference"})


def summed_volume(probability, mask, spacing) -> float:
    """Add up the probabilities of a brain's voxels as a volume in mL: what is to be expected if they are calibrated.

    Parameters
    ----------
    probability : float array, (x, y, slice), 0 to 1
    mask : bool array of that shape, the brain
    spacing : (3,) mm
    """
    return float(probability[mask].sum(dtype=np.float64) * np.prod(check_spacing(spacing)) / 1000)


def calibration_interval(counts, patients, generator) -> tuple[float, float]:
    """Compute the 95 % interval of the expected calibration error by drawing patients, all scans of each together.

    Parameters
    ----------
    counts : array (scan, 3, bins), of `agreement.reliability_counts`, one a scan
    patients : sequence, whose scan each is
    generator : numpy.random.Generator

    Returns
    -------
    low, high : NaN of fewer than two patients, or where no voxel is counted

    Drawing anew can only add chance to the distances from the line, so the interval lies rather high: where a network
    is nearly calibrated, it may lie above the error itself.
    """
    counts, patients = np.asarray(counts, float), np.asarray(patients)
    if len(set(patients.tolist())) < 2:
        return float("nan"), float("nan")
    drawn = resampling.patient_means(counts.reshape(len(counts), -1), patients, generator)
    voxels, probability, lesion = np.moveaxis(drawn.reshape(-1, *counts.shape[1:]), 1, 0)
    some = voxels.any(axis=1)  # a draw may have no voxel in the bins that were given
    if not some.any():
        return float("nan"), float("nan")
    errors = np.abs(probability - lesion).sum(axis=1)[some] / voxels.sum(axis=1)[some]
    low, high = resampling.interval(errors)
    return float(low), float(high)


def volume_bias(frame, generator, estimator: str = "volume_ml") -> pd.DataFrame:
    """Average predicted less true volume by true lesion size, with intervals by patient.

    Parameters
    ----------
    frame : a row per (variant, case), columns variant, case, patient, volume_ml, truth_volume_ml, and the
        estimator
    generator : numpy.random.Generator
    estimator : of ESTIMATORS, the column that holds the predicted volume, mL

    Returns
    -------
    frame, a row per (variant, group), group being one of agreement.VOLUME_GROUPS or "all", in the order of the
    variants: scans, bias_ml, low_ml and high_ml (its 95 % interval; NaN of fewer than two patients).
    """
    require_columns(frame, *_NEEDED, estimator)
    rows = []
    for variant, own in frame.groupby("variant", sort=False):
        groups = volume_groups(own["truth_volume_ml"])
        for name in (*VOLUME_GROUPS, ALL):
            some = own if name == ALL else own[groups == name]
            error = (some[estimator] - some["truth_volume_ml"]).to_numpy()
            low, high = patient_interval(error, some["patient"], generator)
            bias = error.mean() if len(some) else np.nan
            row = {"variant": variant, "group": name, "scans": len(some)}
            rows.append(row | {"bias_ml": bias, "low_ml": low, "high_ml": high})
    return pd.DataFrame(rows)


def recalibrated(frame) -> pd.DataFrame:
    """Set volumes right by a factor for each variant and patient: true by predicted volume of all other patients.

    Parameters
    ----------
    frame : as for `volume_bias`; a patient alone takes the factor of its own scans

    Returns
    -------
    the frame with volume_ml set right, and factor, that it was multiplied by; NaN where the others have none found.

    Our choice: a factor, which is what a loss that calls too much or too little of every lesion is off by. It moves no
    outline: DSC and HD stay.
    """
    require_columns(frame, *_NEEDED)
    volumes = ["truth_volume_ml", "volume_ml"]
    patients = frame.groupby(["variant", "patient"])[volumes].transform("sum")
    whole = frame.groupby("variant")[volumes].transform("sum")
    alone = frame.groupby("variant")["patient"].transform("nunique") == 1
    others = (whole - patients).where(~alone, whole)
    factor = (others["truth_volume_ml"] / others["volume_ml"]).where(others["volume_ml"] > 0)
    return frame.assign(factor=factor, volume_ml=frame["volume_ml"] * factor)


def by_patient(frame) -> pd.DataFrame:
    """Add up the volumes of a patient's scans, so that each patient counts once.

    Parameters
    ----------
    frame : as for `volume_bias`

    Returns
    -------
    frame, a row per (variant, patient) : variant, patient, volume_ml, truth_volume_ml, the sums over the scans; of a
    patient of whom a scan has no volume, NaN.

    Our choice: scans of a patient are slabs of one head at one hour, and the core that is decided on is all of it. What
    two slabs share counts twice, in truth and prediction alike.
    """
    require_columns(frame, *_NEEDED)
    by = frame.groupby(["variant", "patient"], sort=False)[["volume_ml", "truth_volume_ml"]]
    return by.agg(lambda volumes: volumes.sum(skipna=False)).reset_index()


def share_interval(values, patients, generator) -> tuple[float, float]:
    """Compute the 95 % interval of a share of scans, also of none and of all.

    Parameters
    ----------
    values : bool sequence, one a scan
    patients : sequence, whose scan each is
    generator : numpy.random.Generator

    Returns
    -------
    low, high : NaN without a scan

    Source: Clopper and Pearson 1934, exact, where each patient has one scan. Our choice: where some have several, the
    bootstrap by patient; and where all scans are of one kind, which no drawing makes another, patients as the trials of
    the exact interval.
    """
    values, trials = np.asarray(values, float), len(set(np.asarray(patients).tolist()))
    if not trials:
        return float("nan"), float("nan")
    if trials == len(values) or len({*values.tolist()}) == 1:
        return clopper_pearson(values.mean() * trials, trials)
    return patient_interval(values, patients, generator)


def decisions(frame, generator, limit_ml: float = LARGE_ML) -> pd.DataFrame:
    """Ask whether a predicted volume falls on the same side of a limit as the true one, by scan and by patient.

    Parameters
    ----------
    frame : as for `volume_bias`
    generator : numpy.random.Generator
    limit_ml : a core of so much or more is large

    Returns
    -------
    frame, a row per (variant, unit), unit of stats.UNITS, a patient's volumes being those of `by_patient` : n (units
    with a predicted volume; others are left out), large (of them, by the truth), found (of these, the share called
    large), spared (of the others, the share not called large), agree (the share on the same side), agree_low and
    agree_high (see `share_interval`). A share of nothing is NaN.

    Source: the limit of 70 mL of trials such as EXTEND-IA (Campbell et al., N. Engl. J. Med. 2015).
    """
    require_columns(frame, *_NEEDED)
    rows, units = [], dict(zip(UNITS, (frame, by_patient(frame)), strict=True))
    for unit, counted in units.items():
        for variant, own in counted[np.isfinite(counted["volume_ml"])].groupby("variant", sort=False):
            called, large = (own[name].to_numpy() >= limit_ml for name in ("volume_ml", "truth_volume_ml"))
            same = called == large
            low, high = share_interval(same, own["patient"], generator)
            found = called[large].mean() if large.any() else np.nan
            spared = (~called[~large]).mean() if (~large).any() else np.nan
            row = {"variant": variant, "unit": unit, "n": len(own), "large": int(large.sum()), "found": found}
            rows.append(row | {"spared": spared, "agree": same.mean(), "agree_low": low, "agree_high": high})
    return pd.DataFrame(rows)
