"""How alike two entries are, by rows of our own, and who comes first among entries made up to printed numbers."""

import itertools

import numpy as np
import pandas as pd

from strokelib.run.checks import require_columns
from strokelib.submission import TEST_CASES

PARTICIPANTS = 41  # on the leaderboard, by section 4.2
DRAWS = 10_000


def correlations(frame, by: str = "variant", metric: str = "dsc") -> pd.DataFrame:
    """Correlate scores of the same scans, row by row of our own.

    Parameters
    ----------
    frame : a row a (by, case), with columns by, case and the metric
    by : the column that names the rows, such as variant or network

    Returns
    -------
    frame, a row a pair, in the order of the frame : one, other, correlation (Pearson's, over the scans in which both
    are finite), scans. NaN where a row is the same on all scans.

    Raises
    ------
    ValueError : a column is missing, or a row holds a scan twice.
    """
    require_columns(frame, by, "case", metric)
    if frame.duplicated([by, "case"]).any():
        raise ValueError(f"a {by} holds a scan twice; give one row per ({by}, case)")
    table = frame.pivot(index="case", columns=by, values=metric)
    table = table.where(np.isfinite(table))
    rows = []
    for one, other in itertools.combinations(frame[by].unique(), 2):
        both = table[[one, other]].dropna().to_numpy()
        varies = len(both) > 1 and np.ptp(both, axis=0).min() > 0
        value = float(np.corrcoef(both.T)[0, 1]) if varies else float("nan")
        rows.append({"one": one, "other": other, "correlation": value, "scans": len(both)})
    return pd.DataFrame(rows, columns=["one", "other", "correlation", "scans"])


def own_correlations(nested, singles=None) -> pd.DataFrame:
    """Collect what our own rows say of how alike two entries are.

    Parameters
    ----------
    nested : a row a (variant, case), such as metrics_nested.csv
    singles : a row a (network, case) of one method trained on other scans each, such as test_metrics_single.csv;
        optional

    Returns
    -------
    frame : name, correlation (the mean over the pairs), least and most (of them), pairs, scans. A name without a pair
    is left out; NaN where no pair has a correlation.

    Our choice: of variants, those with networks of their own (RT + SM without filtering shares them), for what differs
    between two teams is at the least a training.
    """
    found = correlations(nested)
    trained, rule = {"baseline", "rt", "rt_sm_uf"}, {"conventional", "conventional_tuned"}
    both = found["one"].isin(trained) & found["other"].isin(trained)
    mixed = (found["one"].isin(trained) & found["other"].isin(rule)) | (
        found["one"].isin(rule) & found["other"].isin(trained)
    )
    groups = {"a rule and a network": found[mixed], "two networks, other methods": found[both]}
    if singles is not None:
        groups["two networks, one method"] = correlations(singles, "network")
    rows = [
        {"name": name, "correlation": own["correlation"].mean(), "least": own["correlation"].min()}
        | {"most": own["correlation"].max(), "pairs": len(own), "scans": own["scans"].max()}
        for name, own in groups.items()
        if len(own)
    ]
    return pd.DataFrame(rows, columns=["name", "correlation", "least", "most", "pairs", "scans"])


def levels(own) -> tuple[float, ...]:
    """Return the correlations of `own_correlations`, to two decimals within [0, 1], rising, each once.

    Our choice: where there is none, as where a network finds nothing at all, 0.9.
    """
    known = own["correlation"].dropna().clip(0, 1).round(2)
    return tuple(sorted({float(value) for value in known})) or (0.9,)


def template(*sources) -> tuple[str, np.ndarray]:
    """Return the first of several lists of scores that can stand for how hard scans are, and whose they are.

    Parameters
    ----------
    sources : (words, scores or None); scores that are not finite are left out

    Returns
    -------
    words, scores : of the first with scores that differ; if there is none, evenly spaced numbers
    """
    for words, scores in sources:
        if scores is not None:
            finite = np.asarray(scores, float)
            finite = finite[np.isfinite(finite)]
            if len(finite) > 1 and np.ptp(finite) > 0:
                return words, finite
    return "evenly spaced numbers", np.linspace(0, 1, TEST_CASES)


def simulate(table, scores, correlation: float, generator) -> pd.DataFrame:
    """Make up scores, scan by scan, that have the printed means and SDs and one correlation between every two entries.

    Parameters
    ----------
    table : frame with user, mean, sd and scans, the same number n everywhere
    scores : float sequence, per-scan scores of our own, of however many scans
    correlation : float in [0, 1]
    generator : numpy.random.Generator

    Returns
    -------
    frame, a row a (user, case) : variant (the user, the name by which `ranking` knows it), case, patient (one a scan),
    dsc.

    Raises
    ------
    ValueError : scores that are all the same or not finite, a correlation outside of [0, 1], or no more scans than
        entries + 1.

    Our choice, and all of it is assumed: how hard a scan is, which all entries share, has the distribution of our
    scores (their n quantiles); what is an entry's own has it, too, in another order; all pairs are equally correlated;
    scores may leave [0, 1], for a mean over many scans knows of means and SDs alone; scans are independent.
    """
    require_columns(table, "user", "mean", "sd", "scans")
    n, count, scores = int(table["scans"].iloc[0]), len(table), np.asarray(scores, float)
    if not 0 <= correlation <= 1:
        raise ValueError(f"the correlation must lie in [0, 1], got {correlation}")
    if not len(scores) or not np.isfinite(scores).all() or np.ptp(scores) == 0:
        raise ValueError("expected finite scores of several scans that are not all the same")
    if n < count + 2:
        raise ValueError(f"{count} entries need {count + 2} scans or more to be made up, got {n}")
    shared = np.quantile(scores, (np.arange(n) + 0.5) / n, method="hazen")
    own = np.column_stack([generator.permutation(shared) for _ in range(count)])
    # Mean 0, SD 1, and no correlation between any two of them, in these very scans and not on average alone.
    basis, triangle = np.linalg.qr(np.column_stack([np.ones(n), shared, own]))
    parts = basis * np.sqrt(n) * np.sign(np.diag(triangle))
    mixed = np.sqrt(correlation) * parts[:, [1]] + np.sqrt(1 - correlation) * parts[:, 2:]
    values = table["mean"].to_numpy() + table["sd"].to_numpy() * mixed
    facts = {"variant": np.repeat(table["user"].to_numpy(), n), "case": np.tile(np.arange(1, n + 1), count)}
    return pd.DataFrame(facts).assign(patient=lambda rows: rows["case"], dsc=values.T.ravel())


def spreads(sd: float, correlation: float, generator, shown: int = 10, entries: int = 10, n: int = TEST_CASES):
    """Draw how far the first lies ahead of the last shown, where all entries are equally good.

    Parameters
    ----------
    sd : float, of every entry over the scans
    correlation : float in [0, 1], of every two, scan by scan
    generator : numpy.random.Generator
    shown : int, entries that the table has; the best of them
    entries : int, that took part
    n : int, scans

    Returns
    -------
    float array (DRAWS,), differences of the mean of the first and of the last shown

    Raises
    ------
    ValueError : fewer than two shown, more shown than took part, or a correlation outside of [0, 1].

    Our choice: means over n other scans are normal; what all entries share shifts all of them alike and cancels.
    """
    if not 2 <= shown <= entries:
        raise ValueError(f"expected two entries shown or more, of {entries}, got {shown}")
    if not 0 <= correlation <= 1:
        raise ValueError(f"the correlation must lie in [0, 1], got {correlation}")
    means = np.sort(generator.standard_normal((DRAWS, entries)), axis=1)
    return (means[:, -1] - means[:, -shown]) * sd * np.sqrt((1 - correlation) / n)
