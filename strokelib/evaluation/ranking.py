"""How stable a ranking of variants is: who comes first under which metric, over bootstrapped patients."""

import itertools
from dataclasses import dataclass

import numpy as np
import pandas as pd

from strokelib.evaluation.resampling import RESAMPLES, interval, patient_means
from strokelib.run.checks import require_columns
from strokelib.vocabulary import METRICS

DIGITS = 10  # decimals to which two means are the same: the rest is the rounding of sums


@dataclass(frozen=True, eq=False)
class Means:
    """Means over scans of some variants under some metrics, of all patients and of patients drawn anew."""

    variants: tuple[str, ...]
    metrics: tuple[str, ...]
    of_all: np.ndarray  # (metric, variant)
    of_drawn: np.ndarray  # (metric, resample, variant)
    undefined: np.ndarray  # (metric, variant): scans whose value was missing and counts as the worst


def higher_is_better(metric: str) -> bool:
    """Say whether more of a metric is better: of a share, in %, it is; of a distance, volume or count it is not."""
    return METRICS[metric].unit == "%"


def resample(frame, metrics, generator, resamples=RESAMPLES) -> Means:
    """Average metrics over the scans of all patients and of bootstrapped ones, the same for all variants and metrics.

    Parameters
    ----------
    frame : a row per (variant, case) : variant, case, patient, the metrics, and diagonal_mm where one is in mm
    metrics : sequence of str, columns named in vocabulary.METRICS
    generator : numpy.random.Generator
    resamples : int

    Raises
    ------
    ValueError : an unknown column, variants that differ in their scans, a scan twice, or a value that is not finite and
        for which no worst value is known.

    Our choice: a distance that is undefined counts as the scan's diagonal, a share such as the PPV of an empty mask as
    0, so that no variant comes first by finding nothing.
    """
    metrics = tuple(metrics)
    require_columns(frame, "variant", "case", "patient", *metrics)
    variants = tuple(frame["variant"].unique())
    patients = frame.drop_duplicates("case").set_index("case")["patient"].sort_index()
    counts = frame.groupby("case")["variant"].agg(["size", "nunique"])
    if not (counts == len(variants)).all(axis=None):
        raise ValueError(f"each of {', '.join(variants)} must hold each of the {len(patients)} scans once")
    values, undefined = [], []
    for metric in metrics:
        value, missing = _worst_if_undefined(frame, metric)
        table = frame.assign(value=value).pivot(index="case", columns="variant", values="value")
        values.append(table.loc[patients.index, list(variants)].to_numpy())
        undefined.append(missing.groupby(frame["variant"]).sum()[list(variants)].to_numpy())
    drawn = patient_means(np.concatenate(values, axis=1), patients.to_numpy(), generator, resamples)
    return Means(
        variants,
        metrics,
        np.array([value.mean(axis=0) for value in values]),
        drawn.reshape(resamples, len(metrics), len(variants)).transpose(1, 0, 2),
        np.array(undefined),
    )


def _worst_if_undefined(frame, metric):
    """Return the values of a metric, the worst in place of what is not finite, and where that was."""
    value = frame[metric].astype(float)
    missing = ~np.isfinite(value)
    if not missing.any():
        return value, missing
    if higher_is_better(metric):
        return value.where(~missing, 0.0), missing
    if METRICS[metric].unit != "mm":
        raise ValueError(
            f"{metric} is not finite in {missing.sum()} rows, and the worst it can be is known of shares and of "
            "distances in mm alone; leave it out of the ranking"
        )
    require_columns(frame, "diagonal_mm")
    return value.where(~missing, frame["diagonal_mm"]), missing


def _ranks(means, metric):
    """Return how many variants are better, and how many as good, itself included; both like means, (..., variant)."""
    score = np.round(means, DIGITS) * (1 if higher_is_better(metric) else -1)
    other, own = score[..., None, :], score[..., :, None]
    return (other > own).sum(axis=-1), (other == own).sum(axis=-1)


def ranks(means: Means) -> pd.DataFrame:
    """Count in how many resamples of patients each variant has each rank.

    Returns
    -------
    frame, a row a (metric, variant), in their order : metric, variant, mean (of all scans), undefined (scans), place
    (its rank there; equals share the better one), and rank_1, rank_2, ... : the number of resamples with that rank.
    Where k variants are equal, each has 1/k of each of the k ranks they share, so rows and columns both sum to the
    number of resamples.

    Our choice, after Maier-Hein et al., Nat. Commun. 9:5217 (2018): ranks of means, over bootstrapped patients.
    """
    count, rows = len(means.variants), []
    for i, metric in enumerate(means.metrics):
        better, equal = _ranks(means.of_drawn[i], metric)
        rank = np.arange(count)
        shared = (rank >= better[..., None]) & (rank < (better + equal)[..., None])
        held = (shared / equal[..., None]).sum(axis=0)  # (variant, rank)
        place = 1 + _ranks(means.of_all[i], metric)[0]
        for j, variant in enumerate(means.variants):
            row = {"metric": metric, "variant": variant, "mean": means.of_all[i, j]}
            row |= {"undefined": means.undefined[i, j], "place": place[j]}
            rows.append(row | {f"rank_{k + 1}": held[j, k] for k in range(count)})
    return pd.DataFrame(rows)


def kendall(means: Means) -> pd.DataFrame:
    """Compute Kendall's tau-b between the rankings that two metrics give, of all scans and over the resamples.

    Returns
    -------
    frame, a row a pair of metrics : metric, other, tau (of all scans), tau_mean, tau_low and tau_high (mean and 95 %
    interval over the resamples), same_first (the share of resamples in which one variant is first under both; one of
    equals will do). tau is NaN where a metric finds all variants equal; such resamples are left out.

    Source: Kendall, Biometrika 33 (1945) 239-251 (the correction for equals).
    """
    rows = []
    for i, j in itertools.combinations(range(len(means.metrics)), 2):
        pair = [means.metrics[i], means.metrics[j]]
        drawn = _tau(means.of_drawn[i], means.of_drawn[j], *pair)
        first = [_ranks(means.of_drawn[k], means.metrics[k])[0] == 0 for k in (i, j)]
        row = {"metric": pair[0], "other": pair[1], "tau": _tau(means.of_all[i], means.of_all[j], *pair)}
        known = drawn[np.isfinite(drawn)]
        low, high = interval(known) if len(known) else (float("nan"),) * 2
        row |= {"tau_mean": known.mean() if len(known) else float("nan"), "tau_low": low, "tau_high": high}
        rows.append(row | {"same_first": (first[0] & first[1]).any(axis=-1).mean()})
    return pd.DataFrame(rows)


def _tau(one, other, metric, other_metric):
    """Return tau-b over the last axis, the variants."""
    signs = []
    for means, name in ((one, metric), (other, other_metric)):
        score = np.round(means, DIGITS) * (1 if higher_is_better(name) else -1)
        first, second = np.triu_indices(score.shape[-1], 1)
        signs.append(np.sign(score[..., first] - score[..., second]))
    untied = np.sqrt(np.abs(signs[0]).sum(axis=-1) * np.abs(signs[1]).sum(axis=-1))
    with np.errstate(invalid="ignore"):  # 0 / 0 where all are equal
        return (signs[0] * signs[1]).sum(axis=-1) / untied
