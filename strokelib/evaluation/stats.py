"""Differences between variants: paired tests, the paper's claims on our numbers, and the spread between seeds.

Every test is made twice: with pairs of threshold and smallest lesion that the other folds chose ("nested"), by which
verdicts are told, and with the paper's, chosen on the judged scans ("all folds"). `tables` turns them into text.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from strokelib.evaluation import power
from strokelib.evaluation.resampling import RESAMPLES
from strokelib.evaluation.summary import paper_table1, scans_of, summarize
from strokelib.run.checks import require_columns
from strokelib.run.runtime import rng

UNITS = ("scan", "patient")
# From row to row of Table 1, and from its first to its last.
STEPS = (("rt", "baseline"), ("rt_sm", "rt"), ("rt_sm_uf", "rt_sm"), ("rt_sm_uf", "baseline"))


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
    frame : a row per (variant, case), with the columns variant, case, patient and the metric; or one per (variant,
        seed, case) with a column seed, too: then the difference of a scan is the mean over the seeds of both variants
        in which both values are finite, so that the pairs are kept
    metric : str, a column
    pairs : sequence of (new, old) variants; differences are new - old
    unit : "scan", or "patient" to average the scans of a patient first (two slabs of one head are
        not independent)
    generator : numpy.random.Generator, optional
        For the bootstrap; a fixed one by default.

    Returns
    -------
    frame, a row per pair: pair ("rt over baseline"), metric, new, old, unit; n (units tested),
    n_dropped (scans left out, because either value is missing or not finite), n_incomplete (scans averaged over
    fewer seeds than the others, for the same reason), mean_difference, sd (of the differences, divided by n - 1),
    detectable (of so many units of such scatter, see `detectable`), low and high (the mean's 95 % percentile bootstrap
    interval), t, df, p (two-sided paired t-test), p_holm (corrected over these pairs), p_wilcoxon and p_wilcoxon_holm,
    d_z (Cohen's, mean over SD of the differences), d_z_low and d_z_high (its interval, see `effect_size_interval`).
    NaN where a number is undefined: fewer than two units, or differences that are all the same.

    Raises
    ------
    ValueError : an unknown column, variant or unit, a case that a variant holds twice, or two variants without a seed
        in common.

    Source: Clèrigues et al. 2019, sec. 4 (the t-test). Our choice, beyond the paper: all the rest.
    """
    generator = rng(0, "bootstrap") if generator is None else generator
    rows = [_compare(frame, metric, new, old, unit, generator) for new, old in pairs]
    return _corrected(pd.DataFrame(rows, columns=list(_COLUMNS)))


_COLUMNS = (
    *("pair", "metric", "new", "old", "unit", "n", "n_dropped", "n_incomplete", "mean_difference", "sd", "detectable"),
    *("low", "high", "t", "df", "p", "p_holm", "p_wilcoxon", "p_wilcoxon_holm", "d_z", "d_z_low", "d_z_high"),
)


def _corrected(table) -> pd.DataFrame:
    return table.assign(p_holm=holm(table["p"]), p_wilcoxon_holm=holm(table["p_wilcoxon"]))


def _compare(frame, metric, new, old, unit, generator) -> dict:
    differences, dropped, incomplete = _differences(frame, metric, new, old, unit)
    n, row = len(differences), dict.fromkeys(_COLUMNS, float("nan"))
    row |= {"pair": f"{new} over {old}", "metric": metric, "new": new, "old": old, "unit": unit}
    row |= {"n": n, "n_dropped": dropped, "n_incomplete": incomplete}
    if not n:
        return row
    row["mean_difference"] = differences.mean()
    if n < 2:
        return row
    picks = generator.integers(0, n, (RESAMPLES, n))
    row["low"], row["high"] = np.quantile(differences[picks].mean(axis=1), (0.025, 0.975))
    sd = row["sd"] = differences.std(ddof=1)
    row["detectable"] = power.detectable(sd, n)
    if sd <= 1e-12 * np.abs(differences).max():  # rounding alone; every difference is the same
        return row
    t = row["t"] = row["mean_difference"] / (sd / np.sqrt(n))
    row |= {"df": n - 1, "p": 2 * stats.t.sf(abs(t), n - 1), "d_z": row["mean_difference"] / sd}
    row["d_z_low"], row["d_z_high"] = power.effect_size_interval(t, n)
    row["p_wilcoxon"] = stats.wilcoxon(differences).pvalue
    return row


def _differences(frame, metric, new, old, unit):
    """Return new - old of every scan (or patient) with two finite values, how many scans had not, and in some seeds."""
    if unit not in UNITS:
        raise ValueError(f"unit must be one of {UNITS}, got {unit!r}")
    require_columns(frame, "variant", "case", "patient", metric)
    frame = frame if "seed" in frame else frame.assign(seed=0)
    values = {}
    for name in (new, old):
        rows = scans_of(frame, name)
        if rows.duplicated(["seed", "case"]).any():
            raise ValueError(f"variant {name!r} holds a case twice; give the frame one row per (variant, case)")
        values[name] = rows.set_index(["seed", "case"])[metric].astype(float)
    both = pd.concat([values[new], values[old]], axis=1, keys=["new", "old"])
    shared = set.intersection(*(set(own.index.unique("seed")) for own in values.values()))
    if not shared:
        has = {name: sorted(own.index.unique("seed")) for name, own in values.items()}
        raise ValueError(f"{new!r} and {old!r} have no seed in common; they have {has}")
    both = both[both.index.get_level_values("seed").isin(shared)]
    finite = both[np.isfinite(both).all(axis=1)]
    by_case = (finite["new"] - finite["old"]).groupby("case", sort=False)
    differences, incomplete = by_case.mean(), int((by_case.size() < len(shared)).sum())
    dropped = both.index.unique("case").size - len(differences)
    if unit == "patient":
        patients = frame.drop_duplicates("case").set_index("case")["patient"]
        differences = differences.groupby(patients.reindex(differences.index)).mean()
    return differences.to_numpy(), dropped, incomplete


def holm(p_values) -> np.ndarray:
    """Correct p-values for their number by Holm's method; NaN stays NaN and counts for nothing."""
    p = np.asarray(p_values, float)
    corrected = np.full(p.shape, np.nan)
    tested = np.flatnonzero(np.isfinite(p))
    order = tested[np.argsort(p[tested], kind="stable")]
    scaled = p[order] * np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(np.maximum.accumulate(scaled), 1.0)
    return corrected


def side(row, p: str = "p_holm") -> int:
    """Say on which side of 0 a difference lies: 1 above it or -1 below, by its interval and its p-value, else 0.

    Parameters
    ----------
    row : of `paired_tests`, or alike: low, high and a p-value, in fractions or any unit
    p : which p-value: "p", or "p_holm" where several differences are told

    Our choice to ask both: the bootstrap alone leaves 0 out too often where patients are few.
    """
    if not getattr(row, p) < 0.05:  # NaN is not, either
        return 0
    return 1 if row.low > 0 else -1 if row.high < 0 else 0


def side_in_words(row, above: str, below: str, p: str = "p_holm") -> str:
    """Say by words of one's own on which side of 0 a difference lies, or "inconclusive"; parameters as `side`."""
    return {1: above, -1: below, 0: "inconclusive"}[side(row, p)]


def ends(row) -> tuple[float, float]:
    """Return the ends of the wider of two 95 % intervals of a difference, the bootstrap's and Student's, end by end.

    Parameters
    ----------
    row : of `paired_tests`

    For what is told by an interval alone, that a difference lies within a margin: the bootstrap's is too short where
    patients are few, so that of seven it clears a margin on which the true mean lies in 6 % of repetitions.
    """
    reach = stats.t.ppf(0.975, max(row.n - 1, 1)) * row.sd / np.sqrt(max(row.n, 1))
    found = np.minimum(row.low, row.mean_difference - reach), np.maximum(row.high, row.mean_difference + reach)
    return float(found[0]), float(found[1])


def claims_table(frame, unit="scan", generator=None, claims=CLAIMS, share=0.5) -> pd.DataFrame:
    """Hold the paper's significance claims against our numbers.

    Parameters
    ----------
    frame, unit, generator : as `paired_tests`
    claims : sequence of Claim
    share : float in (0, 1], of the paper's own difference: ours is "smaller" if it is told to be below. To be named
        before a run

    Returns
    -------
    frame, a row per claim: the columns of `paired_tests` (Holm's correction over all claims together); the
    paper's paper_direction and paper_p_bound, and paper_difference (new - old of its Table 1, NaN where it has none);
    share and margin (share of that difference), d_z_margin (over our SD); p_smaller (one-sided t-test: ours is below
    the margin, in the paper's direction), low_90 and high_90 (Student's interval of our difference, that lies below
    the margin where p_smaller < 0.05); verdict, and verdict_holm by the corrected p. The verdict is "holds" where our
    difference has the paper's sign and p < 0.05, "opposite" where it has the other and p < 0.05, else "smaller" where
    p_smaller < 0.05, else "inconclusive".

    Raises
    ------
    ValueError : a share outside of (0, 1]; see also `paired_tests`.

    Source: Clèrigues et al. 2019, sec. 4.1. Our choice: the verdict goes by the uncorrected p, as the paper's does;
    "smaller" is one half of the two one-sided tests of equivalence (Schuirmann 1987).
    """
    if not 0 < share <= 1:
        raise ValueError(f"share must lie in (0, 1], a part of the paper's difference, got {share}")
    generator = rng(0, "bootstrap") if generator is None else generator
    paper, rows = paper_table1().set_index("variant"), []
    for claim in claims:
        row = _compare(frame, claim.metric, claim.new, claim.old, unit, generator)
        theirs = paper.get(f"{claim.metric}_mean", pd.Series(dtype=float))
        row["paper_direction"] = "up" if claim.direction > 0 else "down"
        row["paper_p_bound"] = claim.p_bound
        gap = row["paper_difference"] = theirs.get(claim.new, np.nan) - theirs.get(claim.old, np.nan)
        row |= {"share": share, "margin": share * gap if claim.direction * gap > 0 else np.nan}
        error = row["sd"] / np.sqrt(row["n"]) if row["df"] > 0 else np.nan  # NaN where there is no t
        row["d_z_margin"] = row["margin"] / row["sd"] if error > 0 else np.nan
        below = claim.direction * (row["mean_difference"] - row["margin"]) / error
        row["p_smaller"] = stats.t.cdf(below, row["df"])
        reach = stats.t.ppf(0.95, row["df"]) * error
        row |= {"low_90": row["mean_difference"] - reach, "high_90": row["mean_difference"] + reach}
        rows.append(row)
    table = _corrected(pd.DataFrame(rows))
    signed = table["mean_difference"] * [claim.direction for claim in claims]
    for column, p, p_smaller in (
        ("verdict", table["p"], table["p_smaller"]),
        ("verdict_holm", table["p_holm"], holm(table["p_smaller"])),
    ):
        told = [p < 0.05, p_smaller < 0.05]  # False for NaN
        table[column] = np.select(told, [np.where(signed > 0, "holds", "opposite"), "smaller"], "inconclusive")
    return table


def told(table) -> pd.DataFrame:
    """Return the rows of a table of tests by which a verdict is told: those with nested pairs.

    A table of one choice alone, such as of a run before there was a column choice, is returned whole.
    """
    return table[table["choice"] == "nested"] if "choice" in table else table


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
            differences, dropped, _ = _differences(frame[frame["seed"] == seed], metric, new, old, "scan")
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
