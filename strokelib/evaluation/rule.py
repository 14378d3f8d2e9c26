"""The clinical rule, tuned: its numbers searched over as many combinations as the networks' pairs."""

import numpy as np
import pandas as pd

from strokelib import metrics
from strokelib.evaluation import optimum
from strokelib.evaluation.gridsearch import Place, mask_rows
from strokelib.postprocess import Rule, rule_core

# Fixed before any of them was tried: 54 combinations, as the paper's grid of T and S_min has, the published rule
# (0.30, 6 s, 200 voxels) among them.
RELATIVE_CBF = (0.20, 0.25, 0.30, 0.35, 0.40, 0.45)
TMAX_S = (4.0, 6.0, 8.0)
MIN_LESION_VOXELS = (10, 50, 200)
AXES = ("relative_cbf", "tmax_s", "min_lesion_voxels")


def search_rule(cbf, tmax, mask, midline_distance, truth, spacing) -> pd.DataFrame:
    """Compute the metrics of one scan for every combination of the rule's numbers.

    Parameters
    ----------
    cbf, tmax, mask, midline_distance : as `postprocess.conventional_rule`
    truth : bool array, (x, y, slice)
    spacing : (3,) mm

    Returns
    -------
    frame, a row per (relative_cbf, tmax_s, min_lesion_voxels), 54 in all: the columns of
    `gridsearch.grid_search`, of the masks that `postprocess.conventional_rule` makes, without the case.

    Raises
    ------
    ValueError : as `postprocess.conventional_rule` and `metrics.hausdorff`.

    Our choice: relative CBF 0.20, 0.25, ... 0.45; Tmax 4, 6 and 8 s; S_min 10, 50 and 200 voxels. So the rule has as
    many chances as a network with its nine thresholds and six sizes, and a comparison of the two is one of methods.
    """
    cores = {
        (relative_cbf, tmax_s): rule_core(cbf, tmax, mask, midline_distance, relative_cbf, tmax_s)
        for tmax_s in TMAX_S
        for relative_cbf in RELATIVE_CBF
    }
    widest, truth = metrics.check_masks(np.logical_or.reduce(list(cores.values())), truth)
    either = widest | truth
    box = metrics.bounding_box(either) if either.any() else (slice(0, 1),) * 3
    masks = (
        ({"relative_cbf": relative_cbf, "tmax_s": tmax_s}, np.ascontiguousarray(core[box]))
        for (relative_cbf, tmax_s), core in cores.items()
    )
    place = Place(box, truth.shape, metrics.check_spacing(spacing))
    return pd.DataFrame(list(mask_rows(masks, truth, place, [*MIN_LESION_VOXELS])))


def choose_rule(grid) -> Rule:
    """Choose the rule's numbers on rows of `search_rule` with their case, as `gridsearch.choose_stable_pair` does."""
    return Rule(**optimum.best_point(optimum.scores_of(grid, AXES), stable=True))
