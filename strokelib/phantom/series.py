"""The raw series of a synthetic scan, drawn again where the cohort did not write it."""

import numpy as np

from strokelib.phantom.scan import FRAME_S, make_case
from strokelib.run.settings import Cohort


def draw_series(cohort: Cohort, split: str, number: int) -> tuple[np.ndarray, float]:
    """Draw the raw series of a scan again, as `cohort.make_cohort` writes it for the first cohort.series_cases.

    Parameters
    ----------
    cohort : its settings
    split : "TRAINING" or "TESTING"
    number : of the case, from 1

    Returns
    -------
    (x, y, slice, frame) float32 HU, whole numbers as in the file; s from one frame to the next.

    Raises
    ------
    ValueError : no such case in this cohort.

    Written for all scans it would take gigabytes; what made the maps stays the same, since a scan is decided by the
    cohort's seed and its number.
    """
    series = make_case(cohort, split, number, keep_series=True).series
    return np.rint(series).astype(np.float32), FRAME_S
