"""What a loss that answers imbalance does to volumes: bias by lesion size, volumes set right, decisions at a limit."""

import numpy as np
import pandas as pd

from strokelib.evaluation.agreement import VOLUME_GROUPS, volume_groups
from strokelib.evaluation.summary import patient_interval, summarize
from strokelib.run.checks import require_columns

ALL = "all"  # scans of every size together
LARGE_ML = 70.0  # a core from which on trials of thrombectomy did not treat
_NEEDED = ("variant", "case", "patient", "fold", "volume_ml", "truth_volume_ml")


def volume_bias(frame, generator) -> pd.DataFrame:
    """Average predicted less true volume by true lesion size, with intervals by patient.

    Parameters
    ----------
    frame : a row per (variant, case), columns variant, case, patient, fold, volume_ml, truth_volume_ml
    generator : numpy.random.Generator

    Returns
    -------
    frame, a row per (variant, group), group being one of agreement.VOLUME_GROUPS or "all", in the order of the
    variants: scans, bias_ml, low_ml and high_ml (its 95 % interval; NaN of fewer than two patients).
    """
    require_columns(frame, *_NEEDED)
    rows = []
    for variant, own in frame.groupby("variant", sort=False):
        groups = volume_groups(own["truth_volume_ml"])
        for name in (*VOLUME_GROUPS, ALL):
            some = own if name == ALL else own[groups == name]
            error = (some["volume_ml"] - some["truth_volume_ml"]).to_numpy()
            low, high = patient_interval(error, some["patient"], generator)
            bias = error.mean() if len(some) else np.nan
            row = {"variant": variant, "group": name, "scans": len(some)}
            rows.append(row | {"bias_ml": bias, "low_ml": low, "high_ml": high})
    return pd.DataFrame(rows)


def recalibrated(frame) -> pd.DataFrame:
    """Set volumes right by one factor for each variant and fold: the true by the predicted volume of the other folds.

    Parameters
    ----------
    frame : as for `volume_bias`; a variant with one fold alone takes the factor of its own scans

    Returns
    -------
    the frame with volume_ml set right, and factor, that it was multiplied by; NaN where the other folds found nothing.

    Our choice: a factor, which is what a loss that calls too much or too little of every lesion is off by. It moves no
    outline: DSC and HD stay.
    """
    require_columns(frame, *_NEEDED)
    factor = pd.Series(np.nan, index=frame.index)
    for _, own in frame.groupby("variant", sort=False):
        alone = own["fold"].nunique() == 1
        for fold in own["fold"].unique():
            here = own["fold"] == fold
            others = own if alone else own[~here]
            predicted = others["volume_ml"].sum()
            factor[own.index[here]] = others["truth_volume_ml"].sum() / predicted if predicted > 0 else np.nan
    return frame.assign(factor=factor, volume_ml=frame["volume_ml"] * factor)


def means(scores, metrics, generator) -> pd.DataFrame:
    """Average metrics over the scans of each variant, with intervals by patient.

    Parameters
    ----------
    scores : a row per (variant, case), columns variant, patient and the metrics, of which values that are not finite
        are left out

    Returns
    -------
    frame, a row per (variant, metric) : mean, low, high.
    """
    require_columns(scores, "variant", "patient", *metrics)
    rows = []
    for variant, own in scores.groupby("variant", sort=False):
        for metric in metrics:
            low, high = patient_interval(own[metric], own["patient"], generator)
            mean, _, _ = summarize(own[metric])
            rows.append({"variant": variant, "metric": metric, "mean": mean, "low": low, "high": high})
    return pd.DataFrame(rows)


def decisions(frame, generator, limit_ml: float = LARGE_ML) -> pd.DataFrame:
    """Ask whether a predicted volume falls on the same side of a limit as the true one.

    Parameters
    ----------
    frame : as for `volume_bias`
    limit_ml : a core of so much or more is large

    Returns
    -------
    frame, a row a variant : scans (with a predicted volume; others are left out), large (of them, by the truth),
    found (of these, the share called large), spared (of the others, the share not called large), agree (the share on
    the same side), agree_low and agree_high (its 95 % interval by patient). A share of nothing is NaN.

    Source: the limit of 70 mL of trials such as EXTEND-IA (Campbell et al., N. Engl. J. Med. 2015).
    """
    require_columns(frame, *_NEEDED)
    rows = []
    for variant, own in frame[np.isfinite(frame["volume_ml"])].groupby("variant", sort=False):
        called, large = (own[name].to_numpy() >= limit_ml for name in ("volume_ml", "truth_volume_ml"))
        same = (called == large).astype(float)
        low, high = patient_interval(same, own["patient"], generator)
        found = called[large].mean() if large.any() else np.nan
        spared = (~called[~large]).mean() if (~large).any() else np.nan
        row = {"variant": variant, "scans": len(own), "large": int(large.sum()), "found": found, "spared": spared}
        rows.append(row | {"agree": same.mean(), "agree_low": low, "agree_high": high})
    return pd.DataFrame(rows)
