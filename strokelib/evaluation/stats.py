"""Numbers about the scores of many scans.

Paired tests between variants, the paper's claims on our numbers, R², the rows of Table 1, the spread
between seeds, and what each rule of early stopping costs. `tables` turns them into text.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from strokelib.run.runtime import ROOT, rng
from strokelib.vocabulary import METRICS, STOPPING

UNITS = ("scan", "patient")
RESAMPLES = 10_000


@dataclass(frozen=True)
class Claim:
    """A difference that the paper calls significant. `direction` is +1 where `new` is the higher."""

    new: str
    old: str
    metric: str
    direction: int
    p_bound: float  # the paper says p < this


# Section 4.1. The paper's HD is in voxel units, by the authors' code, so that is what its claims
# are held against.
CLAIMS = (
    Claim("rt", "baseline", "dsc", +1, 0.02),
    Claim("rt", "baseline", "sensitivity", +1, 0.02),
    Claim("rt_sm", "rt", "ppv", +1, 0.05),
    Claim("rt_sm", "rt", "sensitivity", -1, 0.05),
    Claim("rt_sm_uf", "rt_sm", "hd_voxels", -1, 0.03),
    Claim("rt_sm_uf", "rt_sm", "sensitivity", -1, 0.03),
    Claim("rt_sm_uf", "baseline", "dsc", +1, 0.05),
    Claim("rt_sm_uf", "baseline", "hd_voxels", -1, 0.05),
    Claim("rt_sm_uf", "baseline", "ppv", +1, 0.05),
)


def paired_tests(frame, metric, pairs, unit="scan", generator=None) -> pd.DataFrame:
    """Test the differences between variants on the same scans.

    Parameters
    ----------
    frame : a row per (variant, case), with the columns variant, case, patient and the metric
    metric : str, a column
    pairs : sequence of (new, old) variants; differences are new - old
    unit : "scan", or "patient" to average the scans of a patient first (two slabs of one head are
        not independent)
    generator : numpy.random.Generator, optional
        For the bootstrap; a fixed one by default.

    Returns
    -------
    frame, a row per pair: pair ("rt over baseline"), metric, new, old, unit; n (units tested),
    n_dropped (scans left out, because either value is missing or not finite), mean_difference, low
    and high (its 95 % percentile bootstrap interval), t, df, p (two-sided paired t-test), p_holm
    (corrected over these pairs), p_wilcoxon, d_z (Cohen's, mean over SD of the differences), d_z_low
    and d_z_high (the interval over that SD). NaN where a number is undefined: fewer than two units, or
    differences that are all the same.

    Raises
    ------
    ValueError : an unknown column, variant or unit, or a case that a variant holds twice.

    Source: Clèrigues et al. 2019, sec. 4 (the t-test). Our choice, beyond the paper: all the rest.
    """
    generator = rng(0, "bootstrap") if generator is None else generator
    rows = [_compare(frame, metric, new, old, unit, generator) for new, old in pairs]
    table = pd.DataFrame(rows, columns=list(_COLUMNS))
    table["p_holm"] = holm(table["p"])
    return table


_COLUMNS = (
    *("pair", "metric", "new", "old", "unit", "n", "n_dropped", "mean_difference"),
    *("low", "high", "t", "df", "p", "p_holm", "p_wilcoxon", "d_z", "d_z_low", "d_z_high"),
)


def _compare(frame, metric, new, old, unit, generator) -> dict:
    differences, dropped = _differences(frame, metric, new, old, unit)
    n, row = len(differences), dict.fromkeys(_COLUMNS, float("nan"))
    row |= {"pair": f"{new} over {old}", "metric": metric, "new": new, "old": old, "unit": unit}
    row |= {"n": n, "n_dropped": dropped}
    if not n:
        return row
    row["mean_difference"] = differences.mean()
    if n < 2:
        return row
    picks = generator.integers(0, n, (RESAMPLES, n))
    row["low"], row["high"] = np.quantile(differences[picks].mean(axis=1), (0.025, 0.975))
    sd = differences.std(ddof=1)
    if sd <= 1e-12 * np.abs(differences).max():  # rounding alone; every difference is the same
        return row
    t = row["mean_difference"] / (sd / np.sqrt(n))
    row |= {
        "t": t,
        "df": n - 1,
        "p": 2 * stats.t.sf(abs(t), n - 1),
        "d_z": row["mean_difference"] / sd,
        "d_z_low": row["low"] / sd,
        "d_z_high": row["high"] / sd,
    }
    row["p_wilcoxon"] = stats.wilcoxon(differences).pvalue
    return row


def _differences(frame, metric, new, old, unit):
    """Return new - old of every scan (or patient) with two finite values, and how many scans had not."""
    if unit not in UNITS:
        raise ValueError(f"unit must be one of {UNITS}, got {unit!r}")
    require_columns(frame, "variant", "case", "patient", metric)
    values = {}
    for name in (new, old):
        rows = frame[frame["variant"] == name]
        if rows.empty:
            known = sorted(frame["variant"].unique())
            raise ValueError(f"variant {name!r} is not in the frame; it has {known}")
        if rows["case"].duplicated().any():
            raise ValueError(f"variant {name!r} holds a case twice; give the frame one row per (variant, case)")
        values[name] = rows.set_index("case")[metric].astype(float)
    both = pd.concat([values[new], values[old]], axis=1, keys=["new", "old"])
    finite = both[np.isfinite(both).all(axis=1)]
    differences = finite["new"] - finite["old"]
    if unit == "patient":
        patients = frame.drop_duplicates("case").set_index("case")["patient"]
        differences = differences.groupby(patients.reindex(differences.index)).mean()
    return differences.to_numpy(), len(both) - len(finite)


def require_columns(frame, *columns: str) -> None:
    """Refuse a frame that lacks a column.

    Raises
    ------
    ValueError : names what is missing and what there is.
    """
    missing = [name for name in columns if name not in frame.columns]
    if missing:
        there = ", ".join(map(str, frame.columns))
        raise ValueError(f"the frame lacks the columns {', '.join(missing)}; it has {there}")


def holm(p_values) -> np.ndarray:
    """Correct p-values for their number by Holm's method; NaN stays NaN and counts for nothing."""
    p = np.asarray(p_values, float)
    corrected = np.full(p.shape, np.nan)
    tested = np.flatnonzero(np.isfinite(p))
    order = tested[np.argsort(p[tested], kind="stable")]
    scaled = p[order] * np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(np.maximum.accumulate(scaled), 1.0)
    return corrected


def claims_table(frame, unit="scan", generator=None, claims=CLAIMS) -> pd.DataFrame:
    """Hold the paper's significance claims against our numbers.

    Parameters
    ----------
    frame, unit, generator : as `paired_tests`
    claims : sequence of Claim

    Returns
    -------
    frame, a row per claim: the columns of `paired_tests` (p_holm over all claims together), the
    paper's direction and p_bound, and verdict: "holds" where our difference has the paper's sign
    and p < 0.05, "opposite" where it has the other sign and p < 0.05, else "inconclusive".

    Source: Clèrigues et al. 2019, sec. 4.1. Our choice: the verdict goes by the uncorrected p, as
    the paper's does.
    """
    generator = rng(0, "bootstrap") if generator is None else generator
    rows = []
    for claim in claims:
        row = _compare(frame, claim.metric, claim.new, claim.old, unit, generator)
        signed = claim.direction * row["mean_difference"]
        told = row["p"] < 0.05  # False for NaN
        row["paper_direction"] = "up" if claim.direction > 0 else "down"
        row["paper_p_bound"] = claim.p_bound
        row["verdict"] = ("holds" if signed > 0 else "opposite") if told else "inconclusive"
        rows.append(row)
    table = pd.DataFrame(rows)
    table["p_holm"] = holm(table["p"])
    return table


def r_squared(predicted, true) -> float:
    """Compute the squared Pearson correlation of volumes, the R² of a fitted line; NaN where undefined.

    Source: Clèrigues et al. 2019, sec. 4. Our choice: this reading of "coefficient of
    determination".
    """
    predicted, true = finite_pairs(predicted, true)
    if len(true) < 2 or np.ptp(predicted) == 0 or np.ptp(true) == 0:
        return float("nan")
    x, y = predicted - predicted.mean(), true - true.mean()
    return float((x @ y) ** 2 / ((x @ x) * (y @ y)))


def identity_r_squared(predicted, true) -> float:
    """Compute 1 - SSres/SStot of volumes about the line predicted = true; NaN where undefined.

    Unlike `r_squared` it falls where volumes are biased, and below 0 where their mean would predict
    better.
    """
    predicted, true = finite_pairs(predicted, true)
    if len(true) < 2 or np.ptp(true) == 0:
        return float("nan")
    return float(1 - np.sum((true - predicted) ** 2) / np.sum((true - true.mean()) ** 2))


def finite_pairs(first, second):
    """Return two lists of volumes without the places where either is not finite.

    Raises
    ------
    ValueError : lists of different lengths.
    """
    first, second = np.asarray(first, float), np.asarray(second, float)
    if first.shape != second.shape or first.ndim != 1:
        raise ValueError(f"expected two lists of volumes of one length, got {first.shape} and {second.shape}")
    keep = np.isfinite(first) & np.isfinite(second)
    return first[keep], second[keep]


def summarize(values) -> tuple[float, float, int]:
    """Return mean and population SD of the finite values, and how many are not finite.

    Our choice: the population SD (divided by n), which the authors' code and the leaderboard use.
    The paper drops undefined values silently; we count them.
    """
    values = np.asarray(values, float)
    finite = values[np.isfinite(values)]
    if not len(finite):
        return float("nan"), float("nan"), len(values)
    return float(finite.mean()), float(finite.std()), len(values) - len(finite)


def paper_table(name) -> pd.DataFrame:
    """Read "table1" or "table2" of the paper from data/paper, numbers in the units that it prints."""
    path = ROOT / "data" / "paper" / f"{name}.csv"
    if not path.is_file():
        raise FileNotFoundError(f"no {path}; the paper's tables are 'table1' and 'table2'")
    return pd.read_csv(path, keep_default_na=False, na_values=[""], dtype={"reference": str})


def table1(frame, choices, source="this run") -> pd.DataFrame:
    """Make the rows of Table 1 from our scores.

    Parameters
    ----------
    frame : a row per (variant, case), with dsc, ppv, sensitivity, hd_mm, hd_voxels, volume_ml,
        truth_volume_ml
    choices : dict, variant to its pair (with .threshold and .min_lesion_voxels), or to None where
        it has none. Its order is that of the rows.
    source : str, whose numbers these are

    Returns
    -------
    frame, a row per variant: variant, source, n (scans), threshold, min_lesion_voxels; _mean, _sd and
    _undefined (number of scans) of each metric, overlaps as fractions, volume_error_ml the absolute
    difference of the volumes; r2 (fitted line) and r2_identity.

    Raises
    ------
    ValueError : a variant has no row in the frame.

    Source: Clèrigues et al. 2019, Table 1. Our choice: population SD over the finite values, see
    `summarize`.
    """
    rows = []
    for variant, pair in choices.items():
        scans = frame[frame["variant"] == variant]
        if scans.empty:
            raise ValueError(f"variant {variant!r} is not in the frame; it has {sorted(frame['variant'].unique())}")
        scans = scans.assign(volume_error_ml=(scans["volume_ml"] - scans["truth_volume_ml"]).abs())
        row = {"variant": variant, "source": source, "n": len(scans)}
        row["threshold"] = float("nan") if pair is None else pair.threshold
        row["min_lesion_voxels"] = float("nan") if pair is None else pair.min_lesion_voxels
        for metric in METRICS:
            row |= dict(zip(_names(metric), summarize(scans[metric]), strict=True))
        row["r2"] = r_squared(scans["volume_ml"], scans["truth_volume_ml"])
        row["r2_identity"] = identity_r_squared(scans["volume_ml"], scans["truth_volume_ml"])
        rows.append(row)
    return pd.DataFrame(rows)


def _names(metric: str) -> tuple[str, str, str]:
    return f"{metric}_mean", f"{metric}_sd", f"{metric}_undefined"


def paper_table1() -> pd.DataFrame:
    """Return the paper's Table 1 in the columns and units of `table1`, as far as it prints them.

    Its HD is in voxel units, by the authors' code.
    """
    printed = paper_table("table1")
    rows = printed[["variant", "threshold", "min_lesion_voxels", "r2"]].assign(source="paper")
    for part in ("mean", "sd"):
        for metric in ("dsc", "ppv", "sensitivity"):
            rows[f"{metric}_{part}"] = printed[f"{metric}_percent_{part}"] / 100
        rows[f"hd_voxels_{part}"] = printed[f"hd_{part}"]
    return rows


def beside_paper(*tables) -> pd.DataFrame:
    """Join tables of `table1` and the paper's: variant by variant, in the order of the first, the paper's row last."""
    order = {variant: place for place, variant in enumerate(tables[0]["variant"])}
    joined = pd.concat([*tables, paper_table1()], ignore_index=True)
    return joined.sort_values("variant", key=lambda names: names.map(order), kind="stable", ignore_index=True)


def seed_values(frame, metric, pairs) -> pd.DataFrame:
    """Average a metric over the scans for each seed: of each variant, and of differences between two.

    Parameters
    ----------
    frame : a row per (variant, seed, case), with the columns variant, seed, case, patient and the
        metric
    metric : str, a column
    pairs : sequence of (new, old) variants; differences are new - old within a seed and a scan

    Returns
    -------
    frame, a row per (name, seed) : kind ("variant" or "difference"), name (the variant, or "rt over
    baseline"), new and old (of a difference), metric, seed, n (scans), n_dropped (without a finite
    value), value. Differences come from the seeds that both variants have.

    Raises
    ------
    ValueError : an unknown column or variant, a scan twice, seeds of a variant that differ in their
        scans, or a pair without a seed in common.
    """
    require_columns(frame, "variant", "seed", "case", "patient", metric)
    if frame.duplicated(["variant", "seed", "case"]).any():
        raise ValueError("a variant holds a case twice in one seed; give one row per (variant, seed, case)")
    rows, seeds = [], {}
    for variant, own in frame.groupby("variant", sort=False):
        scans = own.groupby("seed")["case"].agg(frozenset)
        if scans.nunique() > 1:
            raise ValueError(f"the seeds of {variant!r} differ in their scans; predict all scans with each seed")
        seeds[variant] = set(scans.index)
        for seed, values in own.groupby("seed")[metric]:
            mean, _, undefined = summarize(values)
            row = {"kind": "variant", "name": variant, "new": None, "old": None, "seed": seed}
            rows.append(row | {"n": len(values) - undefined, "n_dropped": undefined, "value": mean})
    for new, old in pairs:
        common = sorted(seeds.get(new, set()) & seeds.get(old, set()))
        if not common:
            raise ValueError(f"{new!r} and {old!r} have no seed in common; the frame has {seeds}")
        for seed in common:
            differences, dropped = _differences(frame[frame["seed"] == seed], metric, new, old, "scan")
            row = {"kind": "difference", "name": f"{new} over {old}", "new": new, "old": old, "seed": seed}
            mean = differences.mean() if len(differences) else float("nan")
            rows.append(row | {"n": len(differences), "n_dropped": dropped, "value": mean})
    return pd.DataFrame(rows).assign(metric=metric)


def seed_spread(values) -> pd.DataFrame:
    """Summarize `seed_values` over the seeds.

    Parameters
    ----------
    values : frame of `seed_values`, of one metric or several

    Returns
    -------
    frame, a row per (metric, kind, name) : seeds (their number), mean, sd (between seeds, divided by
    n - 1), low and high (95 % interval of the mean by Student's t), lowest and highest. SD and
    interval are NaN for a single seed.

    Our choice: the interval is about other seeds on the same scans; that of `paired_tests` is about
    other scans with the same networks. Neither contains the other.
    """
    rows = []
    for (metric, kind, name), own in values.groupby(["metric", "kind", "name"], sort=False):
        value = own["value"].dropna()
        n, mean, sd = len(value), value.mean(), value.std(ddof=1)
        reach = stats.t.ppf(0.975, n - 1) * sd / np.sqrt(n) if n > 1 else float("nan")
        row = {"metric": metric, "kind": kind, "name": name, "seeds": n, "mean": mean, "sd": sd}
        rows.append(row | {"low": mean - reach, "high": mean + reach, "lowest": value.min(), "highest": value.max()})
    return pd.DataFrame(rows)


def stopping_costs(histories) -> pd.DataFrame:
    """Ask of each network's training which quantity to stop on would have served it better.

    Parameters
    ----------
    histories : dict of (network, fold) to a frame, a row an epoch, with validation_loss, monitored and
        validation_dsc

    Returns
    -------
    frame, a row per (network, fold, quantity): epochs, rank (Spearman's correlation of the quantity with
    the validation DSC over the epochs; -1 is perfect) and cost (the DSC lost by stopping where the quantity
    is least).
    """
    rows = []
    for (network, fold), history in histories.items():
        dsc = history["validation_dsc"]
        for quantity in STOPPING:
            row = {"network": network, "fold": fold, "quantity": quantity, "epochs": len(history)}
            row["rank"] = history[quantity].corr(dsc, method="spearman")
            rows.append(row | {"cost": dsc.max() - dsc[history[quantity].idxmin()]})
    return pd.DataFrame(rows, columns=["network", "fold", "quantity", "epochs", "rank", "cost"])


def stopping_means(costs) -> pd.DataFrame:
    """Average `stopping_costs` over the networks, a row a quantity: networks, epochs, rank and cost."""
    by = costs.groupby("quantity")
    return pd.DataFrame(
        {"networks": by.size(), "epochs": by["epochs"].mean(), "rank": by["rank"].mean(), "cost": by["cost"].mean()}
    )


def mean_interval(mean, sd, n) -> tuple[float, float]:
    """Compute the 95 % interval of a mean of n values by Student's t from their population SD; NaN for fewer than 2."""
    reach = stats.t.ppf(0.975, n - 1) * sd / np.sqrt(n - 1) if n > 1 else float("nan")
    return mean - reach, mean + reach
