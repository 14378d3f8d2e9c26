"""What measures of uncertainty are worth: do they mark wrong voxels, and say which scans to hand to somebody?

Three measures of a voxel: how far the stochastic passes of a network lie apart, how far the networks lie apart, and
p (1 - p), which costs nothing beyond the vote. A scan is ranked by the mean of a measure where there is something to
doubt, by how little the networks' masks overlap, and, as what any of these must beat, by the volume found alone.
"""

import itertools
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from strokelib import metrics, postprocess
from strokelib.evaluation import agreement, power, resampling
from strokelib.evaluation.resampling import interval
from strokelib.evaluation.stats import holm, paired_tests, side_in_words
from strokelib.run.checks import require_columns

DOUBTED = 0.05  # probability above which there is something to doubt
BINS = 10  # of a curve of errors by rank


@dataclass(frozen=True)
class Measure:
    """A measure of uncertainty: its name in words, and what it costs."""

    name: str
    cost: str


VOXEL = {
    "passes": Measure("spread of passes", "several passes a network"),
    "networks": Measure("spread of networks", "a pass a network"),
    "doubt": Measure("p (1 − p) of the vote", "a pass a network"),
}
SCAN = VOXEL | {
    "disagreement": Measure("1 − DSC between the networks", "a pass a network"),
    "smallness": Measure("small predicted volume", "nothing beyond the mask"),
}
REFERENCE = "smallness"  # what a measure of a scan must beat


def measures(probability, each, spread) -> dict[str, np.ndarray]:
    """Compute the measures of a scan's voxels.

    Parameters
    ----------
    probability : float (x, y, slice), of the vote, in a pass without dropout
    each : float (network, x, y, slice), its networks, as `inference.predict` keeps them
    spread : float (x, y, slice), how far stochastic passes lie apart, as it keeps that

    Returns
    -------
    dict of the names in VOXEL to float32 (x, y, slice); the two spreads are standard deviations, of the networks with
    divisor n

    Raises
    ------
    ValueError : a single network, or different shapes.
    """
    each, probability = np.asarray(each, np.float32), np.asarray(probability, np.float32)
    shapes = {probability.shape, np.shape(spread), each.shape[1:]}
    if len(each) < 2 or len(shapes) > 1:
        raise ValueError(f"expected maps of two networks or more, all of one shape, got {len(each)} and {shapes}")
    doubt = np.clip(probability * (1 - probability), 0, None)
    return {"passes": np.asarray(spread, np.float32), "networks": each.std(axis=0), "doubt": doubt}


def zones(probability, mask) -> dict[str, np.ndarray]:
    """Mark the voxels where a measure is asked: the brain, and where there is something to doubt; bool each."""
    mask = np.asarray(mask, bool)
    return {"brain": mask, f"p > {DOUBTED:g}": mask & (np.asarray(probability) > DOUBTED)}


def rank_scan(found, probability, each, mask, pair, spacing) -> dict[str, float]:
    """Say how uncertain a whole scan is.

    Parameters
    ----------
    found : of `measures`
    probability, each : as there
    mask : bool (x, y, slice), the brain
    pair : postprocess.Pair, by which masks are made
    spacing : (3,) mm

    Returns
    -------
    dict of the names in SCAN to numbers, higher where less certain: the mean of a measure over the brain's voxels with
    p > DOUBTED; 1 - the mean DSC between the masks of every two networks; and minus the vote's volume in mL. A scan
    without a mask is infinitely uncertain: where nothing is found, nothing speaks for it.
    """
    doubted = list(zones(probability, mask).values())[-1]
    row = {name: float(values[doubted].mean()) if doubted.any() else np.inf for name, values in found.items()}
    masks = [postprocess.binarize(one, pair) for one in each]
    shared = [metrics.dsc(one, other) for one, other in itertools.combinations(masks, 2)]
    size = metrics.volume_ml(postprocess.binarize(probability, pair), spacing)
    row |= {"disagreement": 1 - float(np.mean(shared)), "smallness": -size}
    return row if size else dict.fromkeys(row, np.inf)


def error_detection(found, wrong, where) -> list[dict]:
    """Ask of one scan how well each measure marks the wrong voxels, zone by zone.

    Parameters
    ----------
    found : of `measures`
    wrong : bool (x, y, slice), where mask and truth differ
    where : of `zones`

    Returns
    -------
    rows : zone, measure, errors (in the whole scan), and what `agreement.error_detection` finds
    """
    return [
        {"zone": zone, "measure": name, "errors": int(np.count_nonzero(wrong))}
        | agreement.error_detection(values, wrong, inside)
        for zone, inside in where.items()
        for name, values in found.items()
    ]


def error_counts(found, wrong, zone) -> dict[str, np.ndarray]:
    """Count the wrong voxels of one scan by the rank of each measure, from the most certain tenth to the least.

    Parameters
    ----------
    found : of `measures`
    wrong, zone : bool (x, y, slice); ranks are those within the zone, equal values sharing one

    Returns
    -------
    dict of the names in `found` to float64 (3, BINS), as `agreement.reliability_counts`, with ranks, 0 to 1, for
    probabilities. The counts of several scans may be added; `agreement.reliability` turns them into a curve, whose
    lesion_fraction is the share of wrong voxels then.

    Our choice: ranks and not values, for the spread of passes fills a hundredth of the values that it can have.
    """
    ranks = {name: (stats.rankdata(values[zone]) - 0.5) / max(1, zone.sum()) for name, values in found.items()}
    return {name: agreement.reliability_counts(own, wrong[zone], bins=BINS) for name, own in ranks.items()}


def compare(frame, value: str, by: str, pairs, generator=None) -> pd.DataFrame:
    """Compare a number between measures on the same scans, with patients drawn anew.

    Parameters
    ----------
    frame : a row per (scan, measure): columns case, patient, `by` and `value`
    value : str, such as "auc"
    by : str, the column that names the measures
    pairs : sequence of (new, old)
    generator : numpy.random.Generator; a fixed one by default

    Returns
    -------
    frame of stats.paired_tests, a row a pair, with patients as the unit and Holm's correction over the pairs; and
    scans (with a value of both) and verdict: the higher one, or "inconclusive".

    Raises
    ------
    ValueError : a column that is missing.
    """
    require_columns(frame, "case", "patient", by, value)
    tests = paired_tests(frame.assign(variant=frame[by]), value, pairs, "patient", generator)
    scans = [frame.loc[frame[by] == row.new, "case"].nunique() - row.n_dropped for row in tests.itertuples()]
    words = [side_in_words(row, row.new, row.old) for row in tests.itertuples()]
    return tests.assign(scans=scans, verdict=words)


def selective(uncertainty, score) -> pd.DataFrame:
    """Average a score over the scans kept when the least certain ones are handed to somebody, one after another.

    Parameters
    ----------
    uncertainty : float sequence (scan,), higher where less certain; scans of one value count as in random order
    score : float sequence (scan,), such as the DSC; finite

    Returns
    -------
    frame, a row a number of scans kept: kept (their share, 1 / n to 1), mean (their expected mean score)

    Raises
    ------
    ValueError : sequences of different lengths or none, or a number that is missing.
    """
    order, values = _in_order(uncertainty, score)
    count = np.arange(1, len(values) + 1)
    return pd.DataFrame({"kept": count / len(values), "mean": np.cumsum(values[order]) / count})


def _in_order(uncertainty, score):
    """Return the order of scans from the most certain on, and scores, shared among scans of one uncertainty."""
    uncertainty, score = np.asarray(uncertainty, float), np.asarray(score, float)
    whole = not np.isnan(uncertainty).any() and np.isfinite(score).all()
    if uncertainty.shape != score.shape or not score.size or not whole:
        raise ValueError(
            f"expected an uncertainty and a finite score for each of one scan or more, got {uncertainty.shape} and "
            f"{score.shape}, {np.isnan(uncertainty).sum()} and {(~np.isfinite(score)).sum()} of them missing"
        )
    _, tied = np.unique(uncertainty, return_inverse=True)
    shared = (np.bincount(tied, score) / np.bincount(tied))[tied]
    return np.argsort(uncertainty, kind="stable"), shared


def selective_area(uncertainty, score, weights=None):
    """Compute the area under the curve of `selective`: the mean score, averaged over all shares kept.

    Parameters
    ----------
    uncertainty, score : as there
    weights : int (resample, scan), how often each scan was drawn; each once by default. A scan drawn twice comes twice

    Returns
    -------
    float, or an array (resample,)
    """
    order, _ = _in_order(uncertainty, score)
    drawn = np.ones((1, len(order)), int) if weights is None else np.asarray(weights, int)
    drawn, score = drawn[:, order], np.asarray(score, float)[order]
    _, begins = np.unique(np.asarray(uncertainty)[order], return_index=True)
    # Of scans with one uncertainty the j-th to come brings the mean to (above + j * mean) / (before + j).
    count, total = (np.add.reduceat(part, begins, axis=1) for part in (drawn, drawn * score))
    before, above = count.cumsum(axis=1) - count, total.cumsum(axis=1) - total
    mean = total / np.maximum(count, 1)
    harmonic = np.concatenate([[0], np.cumsum(1 / np.arange(1, drawn.sum(axis=1).max() + 1))])
    areas = count * mean + (above - before * mean) * (harmonic[before + count] - harmonic[before])
    areas = areas.sum(axis=1) / drawn.sum(axis=1)
    return float(areas[0]) if weights is None else areas


def selective_areas(frame, score: str, generator) -> pd.DataFrame:
    """Compare how well the measures of a scan choose which scans to keep.

    Parameters
    ----------
    frame : a row a scan: columns patient, `score` and those of SCAN
    score : str, such as "dsc"
    generator : numpy.random.Generator, by which patients are drawn anew

    Returns
    -------
    frame, a row a measure: measure, scans, patients; area with low and high (95 %); chance (the mean score: scans kept
    at random) and best (kept by the score itself); gain (area - chance), gain_low, gain_high; over_reference (area -
    that of REFERENCE), with over_low and over_high; share_of_best, gain / (best - chance); detectable, the smallest
    over_reference that this many patients show four times in five, by the spread of the resamples; p of the bootstrap,
    for an area has no t-test, and p_holm, over all measures but the reference; verdict: "better" or "worse" than the
    reference by the interval and p_holm, or "inconclusive"

    Raises
    ------
    ValueError : a column that is missing, or fewer than two patients.
    """
    require_columns(frame, "patient", score, *SCAN)
    patients = frame["patient"].nunique()
    if patients < 2:
        raise ValueError(f"expected scans of two patients or more, got {patients}")
    values = frame[score].to_numpy(float)
    drawn_patients, place = resampling.draw(frame["patient"], generator)
    weights = drawn_patients[:, place]
    areas = {name: selective_area(frame[name], values) for name in SCAN}
    drawn = {name: selective_area(frame[name], values, weights) for name in SCAN}
    chance, best = values.mean(), selective_area(-values, values)
    by_chance = weights @ values / weights.sum(axis=1)
    rows = []
    for name, area in areas.items():
        row = {"measure": name, "scans": len(frame), "patients": patients, "area": area, "chance": chance}
        row |= {"best": best, "gain": area - chance, "over_reference": area - areas[REFERENCE]}
        row["share_of_best"] = row["gain"] / (best - chance) if best > chance else np.nan
        beyond = drawn[name] - drawn[REFERENCE]
        for word, resampled in (("", drawn[name]), ("gain_", drawn[name] - by_chance), ("over_", beyond)):
            row[f"{word}low"], row[f"{word}high"] = interval(resampled)
        row["p"] = np.nan if name == REFERENCE else resampling.p_of_draws(beyond)
        rows.append(row | {"detectable": power.factor(patients - 1) * beyond.std(ddof=1)})
    table = pd.DataFrame(rows)
    table["p_holm"] = holm(table["p"])
    over = table[["over_low", "over_high", "p_holm"]].set_axis(["low", "high", "p_holm"], axis=1)
    told = [side_in_words(row, "better", "worse") for row in over.itertuples()]
    return table.assign(verdict=np.where(table["measure"] == REFERENCE, "the reference", told))
