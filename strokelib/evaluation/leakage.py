"""How many patients a way of making folds splits: counted from patients and slices alone, before any training."""

import numpy as np
import pandas as pd

from strokelib.folds import assign_folds, split_patients

SEEDS = 200  # of folds that are shuffled


def schemes(patients, slices, n_folds: int = 5, seeds: int = SEEDS) -> pd.DataFrame:
    """Count, for four ways to make folds, the patients who end up on both sides.

    Parameters
    ----------
    patients : sequence, the patient of each scan, in case order
    slices : int sequence, slices of each scan
    n_folds : int
    seeds : int, of those that are shuffled

    Returns
    -------
    frame, a row a scheme : scheme, unit (what is given a fold), units (their number), patients (all there are), split
    (patients in several folds, the mean over the seeds), low and high (the middle 95 % of the seeds), judged_share (of
    the units, the share judged by a network that was trained on another unit of the same patient).

    Raises
    ------
    ValueError : other numbers of slices than of scans; see also `folds.assign_folds`.

    Source: the authors' released code takes blocks of equal size in case order. Our choice: the other three.
    """
    patients = list(patients)
    if len(patients) != len(slices):
        raise ValueError(f"expected the slices of each of {len(patients)} scans, got {len(slices)}")
    of_slices = [patient for patient, count in zip(patients, slices, strict=True) for _ in range(int(count))]
    blocks = np.arange(len(patients)) // -(-len(patients) // n_folds)
    rows = [
        _row("by patient, case order", "scan", patients, [assign_folds(patients, n_folds)]),
        _row("by scan, blocks in case order", "scan", patients, [blocks]),
    ]
    for scheme, unit, whose in (("by scan, shuffled", "scan", patients), ("by slice, shuffled", "slice", of_slices)):
        found = [assign_folds(whose, n_folds, "by_scan", seed) for seed in range(seeds)]
        rows.append(_row(scheme, unit, whose, found))
    return pd.DataFrame(rows)


def _row(scheme, unit, patients, assigned) -> dict:
    """Count what several assignments of one scheme split."""
    split, judged = [], []
    for folds in assigned:
        split.append(len(split_patients(patients, folds)))
        counts = pd.crosstab(np.asarray(patients), np.asarray(folds)).to_numpy()
        elsewhere = counts.sum(axis=1, keepdims=True) > counts  # something of the patient is in another fold
        judged.append(counts[elsewhere].sum() / len(patients))
    low, high = np.quantile(split, (0.025, 0.975))
    row = {"scheme": scheme, "unit": unit, "units": len(patients), "patients": len(set(patients))}
    return row | {"split": np.mean(split), "low": low, "high": high, "judged_share": np.mean(judged)}
