"""What published means and SDs can tell: intervals, the least difference that scans could show, undefined distances.

Everybody on a leaderboard is scored on the same scans, and a hard scan is hard for all. So two entries differ more
surely than their intervals say, by how much depends on the correlation of their scores from scan to scan, and that is
never printed; `entries` takes it from rows of our own.
"""

import itertools

import numpy as np
import pandas as pd
from scipy import stats

from strokelib.evaluation.summary import mean_interval, paper_table
from strokelib.run.checks import require_columns
from strokelib.submission import TEST_CASES, decode_leaderboard_hd

COLUMNS = ("year", "authors", "method", "protocol", "data", "measure", "mean", "sd", "scans", "grouped_by", "source")
# Which scans of a patient may lie on both sides: none, some, nobody says; the challenge's own; there is no training.
GROUPED = ("hidden test", "patient", "scan", "not stated", "nothing trained")
ROUNDING = 0.01  # at most: two means of Table 2, of two decimals each, may differ by so much more or less than printed


def load(table=None) -> pd.DataFrame:
    """Read the published results, a row a result, and check them.

    Parameters
    ----------
    table : frame, optional; data/paper/published.csv by default

    Returns
    -------
    frame with COLUMNS, certain (what of it is stated), low and high (see `intervals`).

    Raises
    ------
    ValueError : a column is missing; a row, by authors and year: a DSC outside of [0, 1], an SD without a mean, a
        grouping that is none of GROUPED, or no word on what is certain.
    """
    table = paper_table("published") if table is None else table
    require_columns(table, *COLUMNS, "certain")
    table = table.astype({"year": "Int64"})
    for row in table.itertuples():
        who = f"data/paper/published.csv, {row.authors} {row.year}"
        if not pd.isna(row.mean) and not 0 <= row.mean <= 1:
            raise ValueError(f"{who}: the mean must lie in [0, 1], got {row.mean:g}; write percent as a fraction")
        if pd.isna(row.mean) and not pd.isna(row.sd):
            raise ValueError(f"{who}: there is an SD of {row.sd:g} and no mean; give both or neither")
        if row.grouped_by not in GROUPED:
            raise ValueError(f"{who}: grouped_by must be one of {', '.join(GROUPED)}, got {row.grouped_by!r}")
        if pd.isna(row.certain):
            raise ValueError(f"{who}: say in the column certain what is stated, or why there is no number")
    return intervals(table)


def intervals(table) -> pd.DataFrame:
    """Add the 95 % interval of each mean, by Student's t from its SD and number of scans.

    Parameters
    ----------
    table : frame with mean, sd and scans

    Returns
    -------
    frame with low and high added, NaN where SD or number are not known.

    Our choice: an SD is read as the population's (divided by n), as the authors' code and the leaderboard have it; and
    each scan counts as a witness of its own, though some are two slabs of a head, so true intervals are rather wider.
    """
    require_columns(table, "mean", "sd", "scans")
    ends = [mean_interval(row.mean, row.sd, row.scans) for row in table.itertuples()]
    return table.assign(low=[low for low, _ in ends], high=[high for _, high in ends])


def leaderboard() -> pd.DataFrame:
    """Return Table 2 in the form of the published results: user, mean, sd, scans, low and high of the DSC."""
    table = paper_table("table2").rename(columns={"dsc_mean": "mean", "dsc_sd": "sd"})
    return intervals(table[["user", "mean", "sd"]].assign(scans=TEST_CASES))


def sd_of_difference(sd: float, other_sd: float, correlation: float) -> float:
    """Compute the SD of the differences between two scores of the same scans.

    Raises
    ------
    ValueError : a correlation outside of [-1, 1].
    """
    if not -1 <= correlation <= 1:
        raise ValueError(f"a correlation lies in [-1, 1], got {correlation}")
    return float(np.sqrt(max(0.0, sd**2 + other_sd**2 - 2 * correlation * sd * other_sd)))


def _times_error(n: int, comparisons: int) -> float:
    """Return what the SD of the differences is multiplied by: Student's t over the root of n - 1."""
    if n < 2 or comparisons < 1:
        raise ValueError(f"expected two scans or more and one comparison or more, got {n} and {comparisons}")
    return float(stats.t.ppf(1 - 0.025 / comparisons, n - 1) / np.sqrt(n - 1))


def least_difference(sd: float, other_sd: float, n: int, correlation: float, comparisons: int = 1) -> float:
    """Compute the smallest difference of two means over the same scans that a paired t-test at 5 % would see.

    Parameters
    ----------
    sd, other_sd : float, population SDs over the scans
    n : int, scans
    correlation : float, of the two scores, scan by scan
    comparisons : int, that are made at once (Bonferroni)

    Raises
    ------
    ValueError : a correlation outside of [-1, 1], fewer than two scans, no comparison.
    """
    return _times_error(n, comparisons) * sd_of_difference(sd, other_sd, correlation)


def needed_correlation(difference: float, sd: float, other_sd: float, n: int, comparisons: int = 1) -> float:
    """Compute the correlation above which a paired t-test at 5 % would see a difference: `least_difference` inverted.

    Parameters as there. Returns -1 where any correlation would do, and NaN where none would.
    """
    sd_seen = abs(difference) / _times_error(n, comparisons)
    found = (sd**2 + other_sd**2 - sd_seen**2) / (2 * sd * other_sd)
    return float("nan") if found > 1 else float(max(found, -1))


def pairs(table) -> pd.DataFrame:
    """Compare every two entries that were scored on the same scans.

    Parameters
    ----------
    table : frame with user, mean, sd and scans, the same number everywhere; such as `leaderboard`

    Returns
    -------
    frame, a row a pair : first and second (users; the first has no smaller mean), difference, needed (correlation from
    which it is seen), needed_of_all (the same, corrected for the number of pairs), needed_at_best (as needed, if
    rounding hides as much of the difference as it can).

    Raises
    ------
    ValueError : entries with different numbers of scans.
    """
    require_columns(table, "user", "mean", "sd", "scans")
    if table["scans"].nunique() > 1:
        raise ValueError(f"entries must share their scans, got numbers {sorted(table['scans'].unique())}")
    rows, count = [], len(table) * (len(table) - 1) // 2
    ranked = table.sort_values("mean", ascending=False, kind="stable")
    for first, second in itertools.combinations(ranked.itertuples(), 2):
        gap, known = first.mean - second.mean, (first.sd, second.sd, first.scans)
        row = {"first": first.user, "second": second.user, "difference": gap}
        row |= {"needed": needed_correlation(gap, *known), "needed_of_all": needed_correlation(gap, *known, count)}
        rows.append(row | {"needed_at_best": needed_correlation(gap + ROUNDING, *known)})
    return pd.DataFrame(rows)


def told_apart(needed, correlation: float) -> int:
    """Count the pairs whose needed correlation lies below one; a pair that needs more than 1 is never among them."""
    return int((np.asarray(needed, float) < correlation).sum())


def decode_hausdorff(table=None, n: int = TEST_CASES) -> pd.DataFrame:
    """Decode the leaderboard's HD: how many scans of each entry had no distance, and how surely that is known.

    Parameters
    ----------
    table : frame with user, hd_millions_mean and hd_millions_sd; Table 2 of the paper by default
    n : int, scans

    Returns
    -------
    frame, a row an entry : user, undefined (k of n, see `submission.decode_leaderboard_hd`), share, low and high
    (its 95 % interval by Clopper and Pearson), p_first (see `best_case`, against the entry with the fewest).

    Raises
    ------
    ValueError : a printed HD is no such number.
    """
    table = paper_table("table2") if table is None else table
    require_columns(table, "user", "hd_millions_mean", "hd_millions_sd")
    rows = []
    for row in table.itertuples():
        k = decode_leaderboard_hd(row.hd_millions_mean, row.hd_millions_sd, n)
        low, high = stats.binomtest(k, n).proportion_ci(method="exact")
        rows.append({"user": row.user, "undefined": k, "share": k / n, "low": low, "high": high})
    fewest = min(row["undefined"] for row in rows)
    return pd.DataFrame([row | {"p_first": best_case(row["undefined"] - fewest)} for row in rows])


def best_case(more: int) -> float:
    """Compute the least p with which so many more undefined scans could differ from another entry's.

    The least is reached where one entry lacks all scans that the other lacks, and some more: then McNemar's exact
    test has these alone to go by, and p = 2 / 2**more. Any other overlap gives a larger one.
    """
    return min(1.0, 2.0 ** (1 - abs(int(more))))
