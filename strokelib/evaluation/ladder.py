"""From the simplest method to what the phantom alone can know, step by step on the same scans and folds."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from strokelib import metrics, voxelwise
from strokelib.evaluation import gridsearch, stats
from strokelib.evaluation.agreement import auc
from strokelib.run.runtime import rng
from strokelib.vocabulary import BLUE, BROWN, GRAY, GREEN, ORANGE


@dataclass(frozen=True)
class Rung:
    """How a method is named and drawn."""

    name: str  # in tables
    short: str  # where two stand in one line
    color: str
    mirrored: bool  # whether it sees mirror images, or the other hemisphere


RUNGS = {  # from the ground up
    "conventional_tuned": Rung("clinical rule, tuned", "tuned rule", BROWN, True),
    "logistic": Rung("logistic regression, as provided", "logistic", BLUE, False),
    "logistic_sm": Rung("logistic regression, and mirrored", "logistic + SM", BLUE, True),
    "trees": Rung("boosted trees, as provided", "trees", ORANGE, False),
    "trees_sm": Rung("boosted trees, and mirrored", "trees + SM", ORANGE, True),
    "rt": Rung("network RT, as provided", "RT", GREEN, False),
    "rt_sm": Rung("network RT + SM, and mirrored", "RT + SM", GREEN, True),
    "flow_one": Rung("true flow, one threshold", "true flow, one T", GRAY, True),
    "flow_best": Rung("true flow, each scan's best threshold", "true flow, best T", GRAY, True),
    "core": Rung("true core", "true core", GRAY, True),
}
TAUGHT = {  # voxel by voxel, here
    "logistic": ("logistic", False),
    "logistic_sm": ("logistic", True),
    "trees": ("trees", False),
    "trees_sm": ("trees", True),
}
NETWORKS = ("rt", "rt_sm")
TRUTHS = ("flow_one", "flow_best", "core")
STEPS = (  # (new, old): one rung up, and what the mirror images add to each kind
    ("logistic_sm", "conventional_tuned"),
    ("logistic_sm", "logistic"),
    ("trees", "logistic"),
    ("trees_sm", "logistic_sm"),
    ("trees_sm", "trees"),
    ("rt", "trees"),
    ("rt_sm", "trees_sm"),
    ("rt_sm", "rt"),
    ("flow_one", "rt_sm"),
    ("flow_best", "flow_one"),
    ("core", "flow_best"),
)
TOLD = ("dsc", "hd95_mm", "volume_error_ml")  # metrics of the ladder
# Shares of normal flow that the true flow is cut at; what is below is core.
FLOWS = tuple(np.round(np.arange(0.100, 0.601, 0.025), 3).tolist())


def steps_of(scores) -> tuple[tuple[str, str], ...]:
    """Return those STEPS of which a frame with a column variant has both ends."""
    there = set(scores["variant"])
    return tuple(step for step in STEPS if {*step} <= there)


def teach(name: str, brains, fold_of, seed: int) -> tuple[dict, dict]:
    """Fit a voxel-wise method for each fold on the scans of the others, and predict each scan by its own fold's.

    Parameters
    ----------
    name : in TAUGHT
    brains : sequence of voxelwise.Voxels
    fold_of : dict, case to fold
    seed : of the voxels that are drawn; all methods learn from the same

    Returns
    -------
    {fold: voxelwise.Model}, {case: probabilities (x, y, slice)}
    """
    kind, mirrored = TAUGHT[name]
    models, maps = {}, {}
    for fold in sorted({fold_of[voxels.number] for voxels in brains}):
        others = [voxels for voxels in brains if fold_of[voxels.number] != fold]
        generator = rng(seed, "ladder", fold)
        drawn = [voxelwise.draw(voxels, generator) for voxels in others]
        models[fold] = voxelwise.fit(kind, others, mirrored, drawn)
        maps |= {own.number: models[fold].predict(own) for own in brains if fold_of[own.number] == fold}
    return models, maps


def judge(maps, fold_of, thresholds, min_lesion_voxels) -> pd.DataFrame:
    """Choose a pair for each fold on the other folds, and compute the metrics of each scan with its fold's pair.

    Parameters
    ----------
    maps : sequence of (scan, probabilities)
    fold_of : dict, case to fold
    thresholds, min_lesion_voxels : as `gridsearch.grid_search`

    Returns
    -------
    frame, a row a scan : case, patient, fold, threshold, min_lesion_voxels, what `metrics.case_metrics` and
    `metrics.further_metrics` compute.

    Our choice: the stable pair, as for the nested rows of notebook 06.
    """
    return _nested(maps, fold_of, gridsearch.search_maps(maps, thresholds, min_lesion_voxels))


def judge_flow(maps, fold_of) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Cut maps of `lost_flow` at FLOWS: at one for a fold, chosen on the other folds, and at each scan's own best.

    Takes `maps` and returns twice what `judge` does. The second gives each scan the level with which its own DSC is
    highest, of equals the highest: what no method may do, as a bound. No size is asked of a lesion.
    """
    grid = gridsearch.search_maps(maps, [1 - flow for flow in FLOWS], [1])
    best = grid.loc[grid.groupby("case", sort=False)["dsc"].idxmax()]
    return _nested(maps, fold_of, grid), further(maps, best.assign(fold=best["case"].map(fold_of)))


def _nested(maps, fold_of, grid) -> pd.DataFrame:
    grid = grid.assign(fold=grid["case"].map(fold_of))
    folds = grid.drop_duplicates("case")["fold"]
    pairs = gridsearch.nested_choice(grid, folds, gridsearch.choose_stable_pair)
    return further(maps, grid.merge(pd.DataFrame([{"fold": fold, **vars(pair)} for fold, pair in pairs.items()])))


def further(maps, chosen) -> pd.DataFrame:
    """Add patients and the further metrics to the rows of a grid that were chosen, a row a scan; returns as `judge`."""
    beside = gridsearch.further_scores(maps, chosen)
    patients = {scan.number: scan.patient for scan, _ in maps}
    scores = chosen.merge(beside, on=["case", *gridsearch.PAIR]).drop(columns="diagonal_mm")
    return scores.assign(patient=scores["case"].map(patients)).sort_values("case", ignore_index=True)


def judge_masks(masks) -> pd.DataFrame:
    """Compute the metrics of masks as they are, from a sequence of (scan, mask); rows as those of `judge`."""
    rows = []
    for scan, mask in masks:
        facts = {"case": scan.number, "patient": scan.patient}
        both = metrics.case_metrics, metrics.further_metrics
        measured = [measure(mask, scan.lesion, scan.spacing) for measure in both]
        rows.append(facts | measured[0] | measured[1])
    return pd.DataFrame(rows)


def lost_flow(truth, mask) -> np.ndarray:
    """Return 1 - flow of a phantom.truth.Truth in the brain mask and 0 elsewhere, as a map to be cut at thresholds."""
    return np.where(mask, 1 - truth.flow, np.float32(0))


def side(row) -> str:
    """Say on which side of 0 a step lies: "above 0" or "below 0", else "inconclusive", as `stats.side`.

    Parameters
    ----------
    row : of stats.paired_tests
    """
    return stats.side_in_words(row, "above 0", "below 0")


def stopped_on_judged(new: str, old: str, inner_split: bool) -> bool:
    """Tell whether a step is flattered: its upper end alone is a network whose weights the judged scans chose.

    Parameters
    ----------
    new, old : in RUNGS
    inner_split : folds.inner_split of the settings, whether weights were kept by scans of the training folds
    """
    return not inner_split and new in NETWORKS and old not in NETWORKS


def coefficients(models) -> pd.DataFrame:
    """Average the coefficients of logistic regressions over the folds.

    Parameters
    ----------
    models : dict of `teach`, fold to voxelwise.Model of kind "logistic"

    Returns
    -------
    frame, a row a feature : image, smoothing_mm, squared, coefficient (log odds a standard deviation), low and high
    (the least and the largest over the folds).
    """
    first = next(iter(models.values()))
    values = np.stack([model.classifier.coef_[0] for model in models.values()])
    named = pd.DataFrame([vars(feature) for feature in first.features])
    return named.assign(coefficient=values.mean(axis=0), low=values.min(axis=0), high=values.max(axis=0))


def importances(models, brains, fold_of, seed: int) -> pd.DataFrame:
    """Measure how much worse a method tells lesion from brain once an image is shuffled among voxels.

    Parameters
    ----------
    models, brains, fold_of, seed : as of `teach`

    Returns
    -------
    frame, a row a (fold, image) : fold, image, auc (of the scans held out, at voxels half of which are lesion), drop
    (of it, when all features of the image are shuffled together)

    Source: permutation importance (Breiman 2001), of an image with its smoothed copies and squares. Two images that
    tell the same share the work, so that each may seem to matter little; and as the weights were learnt with all of
    them, a drop does not say what could be done without one.
    """
    rows = []
    for fold, model in models.items():
        generator = rng(seed, "importances", fold)
        held_out = [voxels for voxels in brains if fold_of[voxels.number] == fold]
        drawn = [voxelwise.draw(voxels, generator) for voxels in held_out]
        pairs = list(zip(held_out, drawn, strict=True))
        values = np.concatenate([voxelwise.design(voxels, model.mirrored, chosen)[0] for voxels, chosen in pairs])
        lesion = np.concatenate([voxels.lesion[chosen] for voxels, chosen in pairs])
        order, whole = generator.permutation(len(values)), auc(model.log_odds(values), lesion)
        for image in dict.fromkeys(feature.image for feature in model.features):
            columns = [place for place, feature in enumerate(model.features) if feature.image == image]
            shuffled = values.copy()
            shuffled[:, columns] = values[order][:, columns]
            row = {"fold": fold, "image": image, "auc": whole}
            rows.append(row | {"drop": whole - auc(model.log_odds(shuffled), lesion)})
    return pd.DataFrame(rows)
