"""Differences between variants in each fold: folds are other networks, so how they scatter is a training's chance."""

import pandas as pd

from strokelib.evaluation import stats
from strokelib.run.checks import require_columns


def differences(frame, metric, pairs) -> pd.DataFrame:
    """Average the differences of pairs within each fold.

    Parameters
    ----------
    frame : as `stats.paired_tests`, with the column fold
    metric, pairs : as `stats.paired_tests`

    Returns
    -------
    frame, a row per new, a column a fold : mean over the fold's patients, whose scans are averaged first
    """
    require_columns(frame, "fold")
    parts = {fold: stats.paired_tests(own, metric, pairs, "patient") for fold, own in frame.groupby("fold")}
    return pd.DataFrame({fold: tests.set_index("new")["mean_difference"] for fold, tests in parts.items()})


def in_words(row) -> str:
    """Write the differences of a row of DSC by fold, in points: "+1.2, -0.4"."""
    return ", ".join(f"{100 * value:+.1f}" for value in row)
