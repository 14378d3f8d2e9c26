"""How much a crossvalidated score flatters itself, step by step, in one table."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from strokelib.evaluation.resampling import by_case, interval, patient_means
from strokelib.run.checks import require_columns


@dataclass(frozen=True, eq=False)
class Estimate:
    """The scores of a variant's scans, and in words how they came about."""

    how: str
    scores: pd.DataFrame | None  # case, patient, the metric; a row a scan, or one a network of it. None: not run


@dataclass(frozen=True, eq=False)
class Comparison:
    """One thing that may flatter a score: with it and without."""

    step: str
    variant: str
    flattered: Estimate
    fair: Estimate


_COLUMNS = (
    *("step", "variant", "flattered", "fair", "metric", "flattered_mean", "fair_mean", "mean_difference", "low"),
    *("high", "flattered_scans", "fair_scans", "flattered_patients", "fair_patients", "paired"),
)


def budget(comparisons, generator, metric="dsc") -> pd.DataFrame:
    """Tell for each thing that may flatter a score what it is worth: flattered less fair, with its 95 % interval.

    Parameters
    ----------
    comparisons : sequence of Comparison
    generator : numpy.random.Generator
    metric : str, a column of the scores, finite

    Returns
    -------
    frame, a row a Comparison : step, variant, flattered and fair (how each came about), metric, flattered_mean and
    fair_mean (over scans), mean_difference, low, high, scans and patients of both, and paired: where both hold the same
    scans, patients are drawn once for both, else for each alone. NaN, and 0 scans, where one of the two was not run.

    Raises
    ------
    ValueError : a column is missing; or two that share some patients and not all scans, which are neither paired nor
        independent.

    Our choice: networks of a scan are averaged first, patients are drawn with all their scans (see `resampling`).
    """
    return pd.DataFrame([_row(comparison, generator, metric) for comparison in comparisons], columns=list(_COLUMNS))


def _row(comparison, generator, metric) -> dict:
    values, row = {}, {"step": comparison.step, "variant": comparison.variant, "metric": metric, "paired": False}
    for name in ("flattered", "fair"):
        estimate = getattr(comparison, name)
        values[name] = None
        if estimate.scores is not None:
            require_columns(estimate.scores, "case", "patient", metric)
            values[name] = by_case(estimate.scores, metric)
        count = 0 if values[name] is None else len(values[name])
        row |= {name: estimate.how, f"{name}_mean": values[name].mean() if count else float("nan")}
        row |= {f"{name}_scans": count, f"{name}_patients": _patients(values[name]).nunique()}
    if not row["flattered_scans"] or not row["fair_scans"]:
        return row | dict.fromkeys(("mean_difference", "low", "high"), float("nan"))
    flattered, fair = values["flattered"], values["fair"]
    row["paired"] = flattered.index.equals(fair.index)
    if not row["paired"] and set(_patients(flattered)) & set(_patients(fair)):
        raise ValueError(
            f"{comparison.step}: the two share patients, but not all of their scans, {len(flattered)} and {len(fair)}; "
            "give both the same scans, or scans of other patients"
        )
    if row["paired"]:
        differences = patient_means((flattered - fair).to_numpy()[:, None], _patients(fair), generator)
    else:
        drawn = [patient_means(one.to_numpy()[:, None], _patients(one), generator) for one in (flattered, fair)]
        differences = drawn[0] - drawn[1]
    low, high = np.ravel(interval(differences))
    return row | {"mean_difference": flattered.mean() - fair.mean(), "low": low, "high": high}


def _patients(values) -> pd.Series:
    """Return the patient of each scan of `by_case`; of none, none."""
    return pd.Series(dtype=object) if values is None else values.index.get_level_values("patient").to_series()
