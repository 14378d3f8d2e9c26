"""What the paper remarks on in passing, held against numbers: harm, scans made worse, volumes, copies, passes."""

import numpy as np
import pandas as pd

from strokelib.evaluation import resampling, tables
from strokelib.evaluation.imbalance import share_interval
from strokelib.evaluation.stats import ends, holm, side_in_words
from strokelib.evaluation.summary import r_squared, scans_of
from strokelib.network import STOCHASTIC_LEVEL
from strokelib.run.checks import require_columns
from strokelib.run.runtime import rng
from strokelib.vocabulary import METRICS

MARGIN = 0.02  # of DSC, named before any run: a loss below it is called no harm
HAIR = {"dsc": 0.01, "hd_mm": 5.0}  # a hair's breadth: a scan that changes by no more is neither better nor worse
LARGEST = 22  # slices, of the largest scans of ISLES 2018
VERDICTS = ("holds", "does not hold", "smaller", "inconclusive", "not tested", "not measured")


def no_harm(row, margin: float = MARGIN) -> str:
    """Judge a remark that something does no harm by the 95 % interval of what it does, in which less is worse.

    Parameters
    ----------
    row : of `stats.paired_tests`, as `stats.ends` takes it
    margin : what may be lost

    Returns
    -------
    "holds" where the interval lies above -margin, "does not hold" where it lies below, "inconclusive" else, an
    undefined one included

    Our choice: the margin; the rule is that of a test of no inferiority.
    """
    low, high = ends(row)
    if low > -margin:
        return "holds"
    return "does not hold" if high < -margin else "inconclusive"


def helps(row) -> str:
    """Judge a remark that something is better by the side of 0 that it lies on, of a row as `stats.side` takes it."""
    return side_in_words(row, "holds", "does not hold")


def together(verdicts, p_holm) -> str:
    """Join verdicts on the parts of a remark: it holds where all do, does not where one does not; none: not tested.

    Parameters
    ----------
    verdicts : of `no_harm` or `helps`, one a part
    p_holm : of each part, corrected for the number of parts at least; not asked where there is a single part

    Of several parts one comes out against the remark by chance sooner than a single one would, so "does not hold"
    counts only where p_holm < 0.05. That all hold needs no correction.
    """
    found = [*zip(verdicts, p_holm, strict=True)]
    if not found:
        return "not tested"
    chance = [len(found) > 1 and name == "does not hold" and not p < 0.05 for name, p in found]
    found = ["inconclusive" if by_chance else name for (name, _), by_chance in zip(found, chance, strict=True)]
    if "does not hold" in found:
        return "does not hold"
    return "holds" if {*found} == {"holds"} else "inconclusive"


def changed_scans(scores, new: str, old: str, metric: str = "dsc", generator=None) -> dict:
    """Count the scans that a step makes worse and better, by more than a hair's breadth.

    Parameters
    ----------
    scores : a row per (variant, case) : variant, case, patient, the metric
    new, old : variants
    metric : a key of HAIR: "dsc", in which less is worse, or "hd_mm", in which more is; a scan that one of the two
        leaves without any lesion has no HD and is left out
    generator : numpy.random.Generator, optional
        Of the bootstrap over patients; a fixed one by default.

    Returns
    -------
    dict : new, old, metric, n (scans), n_dropped (left out), worse, same, better, share_worse with its 95 % interval
    low and high by patient (see `imbalance.share_interval`; NaN without a scan), and most_lost, the largest change of a
    scan for the worse, in the metric's unit. A change of just HAIR counts as none.

    Raises
    ------
    ValueError : a variant without a row, or the two differ in their scans.
    """
    require_columns(scores, "variant", "case", "patient", metric)
    first, second = (scans_of(scores, name).set_index("case") for name in (new, old))
    if set(first.index) != set(second.index):
        raise ValueError(f"{new} and {old} differ in their scans; predict the same with both")
    both = pd.concat([first[metric], second[metric].reindex(first.index)], axis=1, keys=["new", "old"])
    both = both[np.isfinite(both).all(axis=1)]
    gains = (both["new"] - both["old"]) * (-1 if metric == "hd_mm" else 1)
    found = {"new": new, "old": old, "metric": metric, "n": len(gains), "n_dropped": len(first) - len(gains)}
    worse, better = (gains < -HAIR[metric]).to_numpy(), int((gains > HAIR[metric]).sum())
    found |= {"worse": int(worse.sum()), "same": len(gains) - int(worse.sum()) - better, "better": better}
    if not len(gains):
        return found | dict.fromkeys(("share_worse", "low", "high", "most_lost"), float("nan"))
    generator = rng(0, "changed scans") if generator is None else generator
    low, high = share_interval(worse, first.loc[gains.index, "patient"], generator)
    found |= {"share_worse": float(worse.mean()), "low": float(low), "high": float(high)}
    return found | {"most_lost": float(max(0.0, -gains.min()))}


def with_pairs_of(grid, choice, lender: str, variants) -> pd.DataFrame:
    """Score variants with the nested pairs of one of them, so that they differ in their maps alone.

    Parameters
    ----------
    grid : frame of notebook 06, a row per (variant, case, threshold, min_lesion_voxels), with fold
    choice : frame of notebook 06: variant, choice, fold, threshold, min_lesion_voxels
    lender : whose pairs, chosen on the other folds
    variants : whose scores

    Returns
    -------
    the rows of grid that are left, one per (variant, case).

    Raises
    ------
    ValueError : the lender has no nested pair, or not for every fold of the grid.
    """
    pairs = choice[(choice["variant"] == lender) & (choice["choice"] == "nested")]
    pairs = pairs[["fold", "threshold", "min_lesion_voxels"]].astype({"fold": int})
    own = grid[grid["variant"].isin([*variants])]
    if {*own["fold"]} - {*pairs["fold"]}:
        raise ValueError(f"{lender} has nested pairs for the folds {sorted(pairs['fold'])}, wanted {set(own['fold'])}")
    return own.merge(pairs, on=["fold", "threshold", "min_lesion_voxels"])


def in_words(changed: dict) -> str:
    """Write what `changed_scans` counts, with the unit of its metric."""
    metric = METRICS[changed["metric"]]
    if not changed["n"]:
        return f"no scan has {metric.name} by both"
    hair = tables.number(metric.scale * HAIR[changed["metric"]], 0)
    step = metric.step.removesuffix("s") if hair == "1" else metric.step
    left = f"; {changed['n_dropped']} without {metric.name} by one of the two" if changed["n_dropped"] else ""
    return (
        f"{changed['worse']} of {changed['n']} scans worse in {metric.name} by more than {hair} {step}, "
        f"{changed['better']} better; {100 * changed['share_worse']:.0f} % worse, 95 % interval "
        f"{100 * changed['low']:.0f} to {100 * changed['high']:.0f}; most lost "
        f"{metric.scale * changed['most_lost']:.1f} {metric.step}{left}"
    )


def volume_steps(scores, variants, generator=None) -> pd.DataFrame:
    """Compute R² of the volumes of each variant, and what it is above that of the one before, with intervals.

    Parameters
    ----------
    scores : a row per (variant, case) : variant, case, patient, volume_ml, truth_volume_ml
    variants : sequence of str, in the order of the steps
    generator : numpy.random.Generator, optional
        Of the bootstrap over patients; a fixed one by default. All variants share its draws.

    Returns
    -------
    frame, a row a variant : variant, n, r2, low and high (95 % interval), and gain, gain_low, gain_high over the
    variant before, gain_p (twice the smaller share of the draws to one side of 0) and gain_p_holm (corrected for the
    number of steps); NaN for the first.

    Source: Clèrigues et al. 2019, sec. 4.1 ("all introduced improvements raise the COD"). Our choice: the squared
    Pearson correlation, as `summary.r_squared`; patients are drawn, the same for all variants.
    """
    require_columns(scores, "variant", "case", "patient", "volume_ml", "truth_volume_ml")
    generator = rng(0, "volume steps") if generator is None else generator
    parts, cases = [], scans_of(scores, variants[0]).set_index("case")
    for name in variants:
        own = scans_of(scores, name).set_index("case").reindex(cases.index)
        x, y = own["volume_ml"].to_numpy(float), own["truth_volume_ml"].to_numpy(float)
        x, y = x - x.mean(), y - y.mean()  # centered, so that no digits are lost below
        parts.append(np.stack([x, y, x * x, y * y, x * y], axis=1))
    drawn = resampling.patient_means(np.hstack(parts), cases["patient"], generator)
    rows, before = [], None
    for place, name in enumerate(variants):
        x, y, xx, yy, xy = drawn[:, 5 * place : 5 * place + 5].T
        spread = (xx - x * x) * (yy - y * y)
        some = spread > 1e-9  # a draw of one patient alone has no R²
        values = np.where(some, (xy - x * y) ** 2 / np.where(some, spread, 1), np.nan)
        own = scans_of(scores, name)
        row = {"variant": name, "n": len(own), "r2": r_squared(own["volume_ml"], own["truth_volume_ml"])}
        row["low"], row["high"] = np.nanquantile(values, (0.025, 0.975)) if some.any() else (np.nan, np.nan)
        gains = np.full(len(values), np.nan) if before is None else values - before[1]
        row["gain"] = np.nan if before is None else row["r2"] - before[0]
        told = np.isfinite(gains).any()
        row["gain_low"], row["gain_high"] = np.nanquantile(gains, (0.025, 0.975)) if told else (np.nan, np.nan)
        row["gain_p"] = resampling.p_of_draws(gains[np.isfinite(gains)])
        rows.append(row)
        before = row["r2"], values
    table = pd.DataFrame(rows)
    return table.assign(gain_p_holm=holm(table["gain_p"]))


def augmented_share(lesion_voxels, patches: int) -> float:
    """Compute the share of patches that are deformed copies, which lesion sizes alone decide.

    Parameters
    ----------
    lesion_voxels : int sequence, one a scan; a scan without lesion has no copies
    patches : int, of a scan, half of them centered on lesion

    Source: Clèrigues et al. 2019, sec. 3.1: centers repeat only where a scan has fewer lesion voxels than wanted.
    """
    sizes = np.asarray(lesion_voxels, float)
    return float(np.where(sizes > 0, np.maximum(0, patches // 2 - sizes), 0).mean() / patches)


def augmented_bounds(quantiles: dict, patches: int) -> tuple[float, float, float]:
    """Bound the share of deformed copies where quantiles of the lesion sizes are all that is known.

    Parameters
    ----------
    quantiles : share of the scans, from 0 up, to the lesion size in voxels; scans above the last count no copies
    patches : int, of a scan

    Returns
    -------
    least and largest share, and that of sizes spread evenly between two quantiles

    Our choice: the last is a guess, the first two are not.
    """
    shares, sizes = (np.asarray(values, float) for values in zip(*sorted(quantiles.items()), strict=True))
    fine = np.linspace(shares[0], shares[-1], 10_001)
    missing = np.maximum(0, patches // 2 - sizes)
    width, whole = np.diff(shares), shares[-1] - shares[0]
    even = np.maximum(0, patches // 2 - np.interp(fine, shares, sizes)).mean() * whole
    return tuple(float(value / patches) for value in (width @ missing[1:], width @ missing[:-1], even))


def bounds_of_all(least: float, most: float, known: int, scans: int) -> tuple[float, float]:
    """Widen bounds of the share of deformed copies from the scans whose lesion sizes are known to all scans.

    Parameters
    ----------
    least, most : of `augmented_bounds`, of the known scans
    known, scans : numbers of scans; of the others nothing is known, so they may have no copies, or copies for all of
        the half of their patches that is to lie on lesion

    Returns
    -------
    least and largest share of all scans

    Raises
    ------
    ValueError : more known scans than there are.
    """
    if not 0 < known <= scans:
        raise ValueError(f"expected 1 to {scans} known scans, got {known}")
    return least * known / scans, (most * known + 0.5 * (scans - known)) / scans


def multiplications(layers) -> float:
    """Count the multiplications of one pass of a patch, from `network.layer_table`."""
    # A transposed convolution works at its input, of half the side.
    return float(sum(row["parameters"] * (row["side"] / (2 if row["kind"] == "up" else 1)) ** 2 for row in layers))


def passes_cost(layers, passes: int, level: int = STOCHASTIC_LEVEL) -> float:
    """Count the multiplications of several stochastic passes over those of one, what comes before the dropout shared.

    Parameters
    ----------
    layers : list of dict, of `network.layer_table`
    passes : int
    level : the first resolution step with dropout; of its block in the encoder, half comes before the dropout

    Normalization and activation are left out, so that a measured time may differ.
    """
    whole, shared = multiplications(layers), 0.0
    for row in layers:
        count = multiplications([row])
        early = row["kind"] in ("enter", "encoder", "down") and row["level"] <= level
        if early or row["kind"] == "coarse":
            shared += count / 2 if row["kind"] == "encoder" and row["level"] == level else count
    return (shared + passes * (whole - shared)) / whole


def largest_scan(timed, machine, limit_s: float = 120) -> tuple[str, str]:
    """Say how long LARGEST slices take by the published benchmarks, and whether that is short enough.

    Parameters
    ----------
    timed : frame, figures/benchmarks/benchmarks.csv: columns subject, work, contender, seconds (a slice), threads
    machine : dict, figures/benchmarks/machine.json, that these were measured on: processor, gpu
    limit_s : float, what the paper takes at most

    Returns
    -------
    what was measured, where and on what, in words; "holds" where even one core without a GPU is fast enough, else "not
    measured": of the paper's GPU a slower machine says nothing.
    """
    require_columns(timed, "subject", "work", "contender", "seconds", "threads")
    exact = timed[(timed["subject"] == "prediction") & (timed["contender"] == "ours")]
    if exact.empty:
        return "figures/benchmarks/benchmarks.csv times no prediction", "not measured"
    row = exact.iloc[0]
    seconds, cores = row["seconds"] * LARGEST, f"{row['threads']:g} core{'s' if row['threads'] > 1 else ''}"
    text = (
        f"not of this run: {row['work']}, {row['seconds']:.1f} s on {cores} of {machine['processor']}, GPU: "
        f"{machine['gpu']} (figures/benchmarks/benchmarks.csv and machine.json); reckoned from it {seconds:.0f} s for "
        f"the {LARGEST} slices of the largest scans of ISLES 2018, before pre-processing"
    )
    return text, "holds" if seconds < limit_s else "not measured"
