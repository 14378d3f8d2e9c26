"""A chain of rows from RT + SM to all that was found beyond the paper: its steps, and whether it is confirmed."""

import numpy as np
import pandas as pd
from scipy import stats as distributions

from strokelib.evaluation import stats
from strokelib.evaluation.agreement import VOLUME_GROUPS, volume_groups
from strokelib.evaluation.beyond import GOAL, named
from strokelib.evaluation.resampling import interval as interval_of
from strokelib.evaluation.resampling import patient_means
from strokelib.evaluation.summary import with_volume_error
from strokelib.run.checks import require_columns
from strokelib.run.runtime import rng
from strokelib.vocabulary import METRICS, Metric

# Named before any run: what is confirmed, how sure the goal has to be, and what HD may grow by and still be no worse.
P_GOAL = 0.01
HD_MARGIN_MM = 2.0
BIAS = Metric("ΔV", "mL", "mL", 1, compared=False)  # predicted less true volume, of which the mean is the bias
TOLD = {name: METRICS[name] for name in ("dsc", "hd_mm", "volume_error_ml")} | {"volume_bias_ml": BIAS}
BIAS_SIZE = "bias_size_ml"  # |mean of the new row's ΔV| - |that of the old|
CLAIMS = {"dsc": "DSC higher", "hd_mm": f"HD no worse by {HD_MARGIN_MM:g} mm", BIAS_SIZE: "bias of volume smaller"}
REACHED, MISSED, INCONCLUSIVE = "reached", "not reached", "inconclusive"
ALL = "all"
VOTING = "_voting"  # what the name of a row ends in whose trainings vote


def with_volumes(scores) -> pd.DataFrame:
    """Add volume_error_ml and volume_bias_ml to scores with the columns volume_ml and truth_volume_ml."""
    scores = with_volume_error(scores)
    return scores.assign(volume_bias_ml=scores["volume_ml"] - scores["truth_volume_ml"])


def titles(names, chain) -> dict[str, str]:
    """Say in words what the rows of a chain add.

    Parameters
    ----------
    names : its rows, of `variants.chain_rows`
    chain : the changes by which they were made, as the settings name them
    """
    return {name: f"+ {named(change)}" for name, change in zip(names, chain, strict=True)}


def steps(scores, rows, against: str, seed: int) -> pd.DataFrame:
    """Hold each row of a chain against the one before it, and the last against another, with patients as the unit.

    Parameters
    ----------
    scores : a row per (variant, case): variant, case, patient, dsc, hd_mm, volume_ml, truth_volume_ml
    rows : names of two rows at least, the first that of RT + SM
    against : the row of Table 1 that the last is held against
    seed : of the bootstrap; each step has draws of its own, in their order

    Returns
    -------
    frame, a row per (metric of TOLD, step) : step ("1", "2", ..., "whole"), and what `stats.paired_tests`
    returns, where Holm's correction is over the steps of a metric.

    Raises
    ------
    ValueError : fewer rows than two; a column or a row that is missing.
    """
    if len(rows) < 2:
        raise ValueError(f"a chain needs two rows at least, got {list(rows)}; name changes in further.chain")
    pairs = [*zip(rows[1:], rows[:-1], strict=True), (rows[-1], against)]
    words, scores = [*map(str, range(1, len(rows))), "whole"], with_volumes(scores)
    found = [stats.paired_tests(scores, name, pairs, "patient", rng(seed, "chain", name)) for name in TOLD]
    return pd.concat([each.assign(step=words) for each in found], ignore_index=True)


def confirm(scores, new: str, old: str, seed: int) -> pd.DataFrame:
    """Hold two rows against each other on the confirming cohort: trained once, and averaged over all trainings.

    Parameters
    ----------
    scores : a row per (variant, seed, case), with the columns of `steps` and seed
    new, old : rows
    seed : of the bootstrap

    Returns
    -------
    frame, a row per (training, metric) : training (a seed, or ALL: the mean of each scan's differences over the seeds),
    metric (of TOLD, and BIAS_SIZE), new, old, n (patients; of BIAS_SIZE scans), n_dropped, missed (by how many more
    scans the new row lacks the metric than the old one), mean_difference, sd, low, high, detectable, p (two-sided,
    t-test; as sd and detectable NaN of BIAS_SIZE), claim (of CLAIMS, "" for none), p_claim and p_claim_holm (corrected
    over the claims, of ALL alone).

    "DSC higher" is tested two-sided, as all differences; "HD no worse" by the one-sided t-test that the mean difference
    is below HD_MARGIN_MM; "bias smaller" by the share of the bootstrap's draws in which it is not. Our choice. A scan
    without an HD in any training of either row is left out of it in ALL: a row that misses a lesion in two trainings of
    three must not be judged by the third alone.
    """
    require_columns(scores, "variant", "seed", "case", "patient")
    scores = with_volumes(scores[scores["variant"].isin((new, old))])
    everywhere = np.isfinite(scores["hd_mm"]).groupby(scores["case"]).transform("all")
    whole = scores.assign(hd_mm=scores["hd_mm"].where(everywhere))
    parts, rows = {str(training): own for training, own in scores.groupby("seed")} | {ALL: whole}, []
    for training, own in parts.items():
        for metric in TOLD:
            draws = rng(seed, "confirmed", metric)
            row = stats.paired_tests(own, metric, [(new, old)], "patient", draws).iloc[0].to_dict()
            missed = _missed(scores if training == ALL else own, metric, new, old)
            rows.append(row | {"training": training, "missed": missed})
        rows.append(_bias(own, new, old, rng(seed, "confirmed", BIAS_SIZE)) | {"training": training})
    table = pd.DataFrame(rows)
    table["claim"] = table["metric"].map(CLAIMS).fillna("")
    below = (table["mean_difference"] - HD_MARGIN_MM) / (table["sd"] / table["n"] ** 0.5)
    no_worse = distributions.t.cdf(below, table["n"] - 1)  # below is infinite where all differences are the same
    table["p_claim"] = np.select(
        [table["metric"] == "dsc", table["metric"] == "hd_mm", table["metric"] == BIAS_SIZE],
        [table["p"], no_worse, table["p_smaller"]],
        np.nan,
    )
    whole = table["training"] == ALL
    table.loc[whole, "p_claim_holm"] = stats.holm(table.loc[whole, "p_claim"])
    columns = ["training", "metric", "new", "old", "n", "n_dropped", "missed", "mean_difference", "sd", "low", "high"]
    return table[[*columns, "detectable", "p", "claim", "p_claim", "p_claim_holm"]]


def votes(scores, rows, seed: int) -> pd.DataFrame:
    """Hold the votes of the trainings of two rows against single trainings, which is outside of the chain.

    Parameters
    ----------
    scores : a row per (variant, seed, case) as of `confirm`, and of each row's vote (its name and VOTING) one per case
    rows : the row that the chain ends in, and the one that it is held against
    seed : of the bootstrap

    Returns
    -------
    frame of `stats.paired_tests` by patient, three pairs a metric of dsc and hd_mm: each vote less the single trainings
    of its row, and the first row's vote less those of the other; a difference of a scan is the mean over the trainings.
    """
    single = scores[scores["variant"].isin(rows)]
    voted = scores[scores["variant"].isin([f"{row}{VOTING}" for row in rows])]
    frame = pd.concat([single, *(voted.assign(seed=training) for training in single["seed"].unique())])
    pairs = [*((f"{row}{VOTING}", row) for row in rows), (f"{rows[0]}{VOTING}", rows[1])]
    tests = [stats.paired_tests(frame, name, pairs, "patient", rng(seed, "votes", name)) for name in ("dsc", "hd_mm")]
    return pd.concat(tests, ignore_index=True)


def _missed(scores, metric: str, new: str, old: str) -> int:
    """Say in how many more scans the new row has no finite value in some training than the old row."""
    lacking = (~np.isfinite(scores[metric])).groupby([scores["variant"], scores["case"]]).any()
    return int(lacking[new].sum() - lacking[old].sum())


def _bias(scores, new: str, old: str, generator) -> dict:
    """Compare the size of two biases: means over scans whose trainings are averaged, patients drawn anew."""
    each = scores.groupby(["variant", "patient", "case"])["volume_bias_ml"].mean()
    both = np.stack([each[new], each[old]], axis=1)
    patients = each[new].index.get_level_values("patient")
    row = {"metric": BIAS_SIZE, "new": new, "old": old, "n": len(both), "n_dropped": 0, "missed": 0}
    row["mean_difference"] = float(np.abs(both.mean(axis=0)) @ (1, -1))
    if len(set(patients)) < 2:
        return row | {"low": np.nan, "high": np.nan, "p_smaller": np.nan}
    drawn = np.abs(patient_means(both, patients, generator)) @ (1, -1)
    low, high = interval_of(drawn)
    return row | {"low": low, "high": high, "p_smaller": (1 + (drawn >= 0).sum()) / (1 + len(drawn))}


def goal(row) -> str:
    """Say whether the goal is reached: no more than the interval says.

    Parameters
    ----------
    row : of `confirm`, of DSC

    Returns
    -------
    "reached" where the whole interval, that of `stats.ends`, is GOAL or more and Holm's p below P_GOAL; "not reached:
    +3.1 of +8" where all of it is less; else "inconclusive", with where mean and interval lie.
    """
    ends = stats.ends(row)
    mean, low, high = (100 * value for value in (row.mean_difference, *ends))
    if ends[0] >= GOAL and row.p_claim_holm < P_GOAL:
        return f"{REACHED}: {mean:+.1f} of {100 * GOAL:+.0f}"
    if ends[1] < GOAL:
        return f"{MISSED}: {mean:+.1f} of {100 * GOAL:+.0f}"
    return f"{INCONCLUSIVE}: {mean:+.1f} of {100 * GOAL:+.0f}, and the interval goes from {low:+.1f} to {high:+.1f}"


def held(row) -> str:
    """Say what became of a claim, one of CLAIMS: "confirmed", or "not confirmed" and why, where that is shown.

    Parameters
    ----------
    row : of `confirm`, over all trainings

    A claim that is not confirmed is not refuted: the opposite is said where the interval lies on the other side alone
    and p says so, too, before correction. Whoever outlines nothing is spared the worst distances, so no HD is confirmed
    of a row that lacks it in more scans than the other.
    """
    if row.metric == "hd_mm" and row.missed > 0:
        more = f"{row.missed} scans" if row.missed > 1 else "one scan"
        return f"not confirmed, nothing is outlined in {more} more"
    signed = row.mean_difference if row.metric == "dsc" else -row.mean_difference
    if row.p_claim_holm < 0.05 and (signed > 0 or row.metric == "hd_mm"):
        return "confirmed"
    if row.metric == "dsc":
        worse = stats.side(row, "p") < 0
    else:  # of one side: p_claim is near 1 where the other is
        worse = row.p_claim > 0.975 and row.low > (HD_MARGIN_MM if row.metric == "hd_mm" else 0)
    return "not confirmed, the opposite is seen" if worse else "not confirmed"


def by_size(scores, new: str, old: str, seed: int) -> pd.DataFrame:
    """Tell the difference in DSC of small and large lesions apart.

    Parameters
    ----------
    scores, new, old, seed : as of `confirm`; without a column seed as one training

    Returns
    -------
    frame, a row per group of agreement.VOLUME_GROUPS that has a scan : volume_group, new_mean and old_mean (over
    scans), scans, and the columns of `stats.paired_tests` by patient; what was not to be tested, so without correction.
    """
    scores = scores.assign(volume_group=np.asarray(volume_groups(scores["truth_volume_ml"]), dtype=object))
    rows = []
    for group in VOLUME_GROUPS:
        own = scores[(scores["volume_group"] == group) & scores["variant"].isin((new, old))]
        if own.empty:
            continue
        found = stats.paired_tests(own, "dsc", [(new, old)], "patient", rng(seed, "sizes", group)).iloc[0].to_dict()
        means = own.groupby("variant")["dsc"].mean()
        row = {"volume_group": group, "scans": own["case"].nunique(), "new_mean": means[new], "old_mean": means[old]}
        rows.append(row | found)
    return pd.DataFrame(rows)


def difference(row, value: str = "mean_difference") -> str:
    """Write a difference in its unit, "+1.2 points"; of the bias and its size, too."""
    metric = TOLD.get(row.metric, BIAS)
    return f"{metric.scale * getattr(row, value):+.1f} {metric.step}"


def interval(row) -> str:
    """Write the 95 % interval of a row of `steps` or `confirm` in its unit: "-1.8 to +2.1"."""
    scale = TOLD.get(row.metric, BIAS).scale
    return f"{scale * row.low:+.1f} to {scale * row.high:+.1f}"


def title(metric: str) -> str:
    """Name what a row of `steps` or `confirm` is about."""
    return "|bias of volume|" if metric == BIAS_SIZE else TOLD[metric].name
