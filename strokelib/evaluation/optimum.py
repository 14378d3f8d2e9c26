"""The best point of a grid by mean DSC and mean HD, how flat the grid is about it, and how firm the choice."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from strokelib.evaluation.resampling import draw

WITHIN = 0.01  # of the best mean DSC: as good, for all that some tens of scans can tell


@dataclass(frozen=True)
class Scores:
    """The two metrics that choose, scan by scan and point by point of a grid."""

    cases: np.ndarray  # (case,), in the order in which they first appear
    points: pd.DataFrame  # (point,), a column an axis of the grid, in order
    dsc: np.ndarray  # (case, point)
    hd_mm: np.ndarray  # (case, point); an infinite one as the scan's diagonal


def scores_of(grid, axes) -> Scores:
    """Turn a grid into arrays.

    Parameters
    ----------
    grid : frame, a row per (case, point): case, the axes, dsc, hd_mm, diagonal_mm
    axes : the columns that name a point of the grid

    Raises
    ------
    ValueError : a point is missing for some case, or there twice.
    """
    axes, cases = [*axes], grid["case"].unique()
    counts = grid.groupby(axes)["case"].nunique()
    if grid.empty or (counts != len(cases)).any() or len(grid) != counts.sum():
        raise ValueError("the grid must hold every pair exactly once for every case; search it again")
    hd = grid["hd_mm"].where(np.isfinite(grid["hd_mm"]), grid["diagonal_mm"])
    wide = grid.assign(hd_mm=hd).pivot(index="case", columns=axes, values=["dsc", "hd_mm"]).loc[cases]
    dsc, hd = (wide[name].sort_index(axis=1) for name in ("dsc", "hd_mm"))
    return Scores(cases, dsc.columns.to_frame(index=False), dsc.to_numpy(float), hd.to_numpy(float))


def means_of(scores) -> pd.DataFrame:
    """Return the points of `scores_of` in order, with mean dsc and mean hd_mm over the scans."""
    return scores.points.assign(dsc=scores.dsc.mean(axis=0), hd_mm=scores.hd_mm.mean(axis=0))


def neighborhoods(points) -> np.ndarray:
    """Make the weights (point, point) that average each point with those at most one step off along every axis.

    Parameters
    ----------
    points : frame, a row a point, a column an axis. At the rim there are fewer of them, so that each weighs more.
    """
    steps = np.stack([np.unique(points[axis], return_inverse=True)[1] for axis in points], axis=1)
    near = (np.abs(steps[:, None] - steps) <= 1).all(axis=2)
    return near / near.sum(axis=1, keepdims=True)


def best_columns(dsc, hd_mm, weights=(1.0, 1.0)) -> np.ndarray:
    """Find in each row the column with the least weighted sum of the ranks of DSC and HD.

    Parameters
    ----------
    dsc, hd_mm : float arrays, (row, point)
    weights : two floats, of the rank in DSC and of that in HD

    Returns
    -------
    int array, (row,); ties go to the higher DSC, then the lower HD, then the first.
    """
    # Points that leave the same masks are equal, whatever the order in which their scans were added up.
    loss, hd_mm = np.round(-dsc, 9), np.round(hd_mm, 9)
    ranks = weights[0] * rankdata(loss, "min", axis=1) + weights[1] * rankdata(hd_mm, "min", axis=1)
    return np.lexsort((hd_mm, loss, ranks), axis=1)[:, 0]


def best_point(scores, stable=False, weights=(1.0, 1.0)) -> dict:
    """Choose the point that is jointly best in mean DSC and mean HD; return its numbers by axis.

    Parameters
    ----------
    scores : Scores
    stable : bool, rank means over each point's neighborhood instead of the point's own
    weights : as `best_columns`

    Source: as `gridsearch.choose_pair` and `gridsearch.choose_stable_pair`.
    """
    dsc, hd = scores.dsc.mean(axis=0)[None], scores.hd_mm.mean(axis=0)[None]
    if stable:
        near = neighborhoods(scores.points)
        dsc, hd = dsc @ near.T, hd @ near.T
    best = best_columns(dsc, hd, weights)[0]
    return {axis: scores.points[axis].iloc[best].item() for axis in scores.points}


def frequencies(scores, patients, samples: int, generator) -> pd.DataFrame:
    """Count how often each point is chosen over bootstrap samples of the patients, and say which come near the best.

    Parameters
    ----------
    scores : Scores
    patients : sequence, the patient of each case; one who is drawn brings all scans
    samples : bootstrap samples
    generator : numpy.random.Generator

    Returns
    -------
    frame, a row a point: the axes, dsc and hd_mm (means over the scans), near_best (mean DSC within WITHIN of the
    best), chosen and chosen_stable (shares of the samples: by ranks of the means, and of the neighborhoods')

    Raises
    ------
    ValueError : another number of patients than cases.

    Our choice, beyond the paper: patients are drawn, because scans of one patient are alike.
    """
    if len(patients) != len(scores.cases):
        raise ValueError(f"expected the patient of each of {len(scores.cases)} cases, got {len(patients)}")
    drawn, place = draw(patients, generator, samples)
    weight = drawn[:, place] / drawn[:, place].sum(axis=1, keepdims=True)
    dsc, hd, near = weight @ scores.dsc, weight @ scores.hd_mm, neighborhoods(scores.points).T
    means = means_of(scores)
    return means.assign(
        near_best=means["dsc"] >= means["dsc"].max() - WITHIN,
        chosen=_shares(best_columns(dsc, hd), len(means)),
        chosen_stable=_shares(best_columns(dsc @ near, hd @ near), len(means)),
    )


def _shares(chosen, count: int) -> np.ndarray:
    return np.bincount(chosen, minlength=count) / len(chosen)


def flatness(points) -> dict[str, float]:
    """Say how flat a grid is about its best point, and how firm either choice is.

    Parameters
    ----------
    points : frame of `frequencies`

    Returns
    -------
    dict with points and near_best (how many there are, and near the best), dsc (the best mean), hd_low_mm and
    hd_high_mm (mean HD among those near the best); then for either choice, "" and "_stable", same (how probable it is
    that two samples choose the same point), different (how many points the samples chose), hd_sd_mm (SD over the
    samples of the mean HD, over all scans, of what they chose).
    """
    near = points[points["near_best"]]
    found = {"points": len(points), "near_best": len(near), "dsc": points["dsc"].max()}
    found |= {"hd_low_mm": near["hd_mm"].min(), "hd_high_mm": near["hd_mm"].max()}
    for way in ("", "_stable"):
        shares = points[f"chosen{way}"]
        found |= {f"same{way}": float((shares**2).sum()), f"different{way}": int((shares > 0).sum())}
        away = points["hd_mm"] - (shares * points["hd_mm"]).sum()
        found[f"hd_sd_mm{way}"] = float(np.sqrt((shares * away**2).sum()))
    return found
