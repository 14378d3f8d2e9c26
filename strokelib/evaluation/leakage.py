"""What a way of making folds leaks: the patients it splits, counted before any training, and the points it is worth."""

import numpy as np
import pandas as pd

from strokelib.evaluation import stats
from strokelib.evaluation.optimism import Comparison, Estimate, budget
from strokelib.evaluation.resampling import by_case
from strokelib.folds import assign_folds, split_patients
from strokelib.run.checks import require_columns
from strokelib.run.runtime import rng
from strokelib.run.variants import LEAKAGE, at

SEEDS = 200  # of folds that are shuffled
FAIR, *LEAKS = LEAKAGE  # by patient and shuffled, as those that leak are; so scanners are mixed in all of them
GROUPS = ("all patients", "with one scan", "with several scans")


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


def names(updates: int) -> dict[str, str]:
    """Return the four trainings of notebook 17 in words, by name; the first is that of the settings' own folds."""
    words = ("by patient, as the settings have it", "by patient, shuffled", "by scan, shuffled", "by slice, shuffled")
    return dict(zip((at("rt_sm", updates), *LEAKAGE), words, strict=True))


def by_scans(scores) -> dict[str, pd.DataFrame]:
    """Part the scores by how many scans their patients have, in GROUPS; a group without a patient is not there.

    Parameters
    ----------
    scores : frame, columns variant, case, patient
    """
    require_columns(scores, "variant", "case", "patient")
    count = scores["patient"].map(scores.drop_duplicates(["patient", "case"]).groupby("patient").size())
    parts = dict(zip(GROUPS, (count > 0, count == 1, count > 1), strict=True))
    return {name: scores[own] for name, own in parts.items() if own.any()}


def effects(scores, updates: int, metrics, seed: int) -> pd.DataFrame:
    """Hold each way to make folds against FAIR on the same scans: what a score owes to its folds.

    Parameters
    ----------
    scores : frame, a row a (variant, case): variant (in `names`), case, patient and the metrics

    Returns
    -------
    frame, a row a (group, metric, unit, scheme) : group (in GROUPS), scheme (in words), the columns of
    stats.paired_tests. Holm's correction is over the schemes of a group, metric and unit.

    Raises
    ------
    ValueError : as `stats.paired_tests`.
    """
    words = names(updates)
    pairs = [(name, FAIR) for name in words if name != FAIR]
    parts = [
        stats.paired_tests(own, metric, pairs, unit, rng(seed, "leakage", group, metric, unit)).assign(group=group)
        for group, own in by_scans(scores).items()
        for metric in metrics
        for unit in stats.UNITS
    ]
    table = pd.concat(parts, ignore_index=True)
    table = table.assign(scheme=table["new"].map(words))
    first = ["group", "scheme"]
    return table[first + [name for name in table if name not in first]]


def beside_one(scores, seed: int, metric: str = "dsc") -> pd.DataFrame:
    """Compare what leaks to patients with several scans with what seems to leak to those with one.

    By scan, who has one scan cannot leak: what such patients gain is the chance of another training, and what the
    others gain beyond it is not.

    Returns
    -------
    frame of `optimism.budget`, a row a way that leaks : step (its name), mean_difference (several less one), low, high
    (other patients, so unpaired) ...; without rows where one of the groups is empty.
    """
    groups, comparisons = by_scans(scores), []
    for name in LEAKS if len(groups) == len(GROUPS) else ():
        parts = []
        for words in GROUPS[1:]:
            own = {one: by_case(groups[words][groups[words]["variant"] == one], metric) for one in (name, FAIR)}
            gained = (own[name] - own[FAIR]).rename(metric).reset_index()
            parts.append(Estimate(words, gained[np.isfinite(gained[metric])]))
        comparisons.append(Comparison(name, name, parts[1], parts[0]))
    return budget(comparisons, rng(seed, "leakage", "groups"), metric)


def without(mean: float, effect) -> tuple[float, float, float]:
    """Return a score less what its folds would have given it: its value and the ends by the interval of the effect.

    Parameters
    ----------
    mean : float, as published
    effect : row of `effects`, of the DSC
    """
    return mean - effect.mean_difference, mean - effect.high, mean - effect.low


def verdict(effect) -> str:
    """Say in words what a row of `effects`, one of three ways, allows to be said: by its interval and p after Holm."""
    return stats.side_in_words(effect, "flatters", "costs")
