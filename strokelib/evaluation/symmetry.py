"""How alike the two sides of a head are, and what mirror images are worth at each degree of likeness."""

import numpy as np
import pandas as pd
from scipy import ndimage

from strokelib import registration
from strokelib.evaluation import ladder, stats, summary
from strokelib.evaluation.remarks import MARGIN
from strokelib.run.checks import require_columns
from strokelib.run.runtime import rng

SMOOTHING_MM = 5.0  # SD of a Gaussian in plane, before the sides are compared: noise is alike on no side
ONCE = "not told, one training each"
PAIRS = (("logistic_sm", "logistic"), ("rt_sm", "rt"))  # with mirror images and without


def opposite_lesion(scan) -> np.ndarray:
    """Mark where the other hemisphere lies opposite of a scan's lesion, (x, y, slice) bool, without the lesion itself.

    Parameters
    ----------
    scan : preprocess.Preprocessed, with a lesion

    It is the lesion's mirror image, by the alignment of the scan's own CT.
    """
    flipped = registration.mirror(scan.lesion[None].astype(np.float32), scan.alignment, "cpu")[0] > 0.5
    return flipped & ~scan.lesion


def own_flip(scan) -> dict[str, float]:
    """Correlate each modality of a preprocessed scan with its own mirror image; of anybody's scan.

    Parameters
    ----------
    scan : preprocess.Preprocessed

    Returns
    -------
    {modality: Pearson's r over the voxels that are brain on both sides}, NaN where a modality does not vary there.
    An outlined lesion is left out, with the place opposite to it.

    Our choice: smoothed by a Gaussian of 5 mm in plane within the brain, so that anatomy counts and noise does not.
    """
    both = scan.mask & (scan.mirrored != 0).all(axis=0)
    if scan.lesion is not None:
        both &= ~(scan.lesion | opposite_lesion(scan))
    weights = both.astype(np.float32)
    sigma = (*(SMOOTHING_MM / side for side in scan.spacing[:2]), 0)

    def smooth(image):
        return ndimage.gaussian_filter(image * weights, sigma)[both] / ndimage.gaussian_filter(weights, sigma)[both]

    values = {}
    for name, image, mirrored in zip(scan.modalities, scan.provided, scan.mirrored, strict=True):
        one, other = smooth(image).astype(np.float64), smooth(mirrored).astype(np.float64)
        varied = len(one) > 1 and one.std() > 0 and other.std() > 0
        values[name] = float(np.corrcoef(one, other)[0, 1]) if varied else float("nan")
    return values


def completed(scores) -> pd.DataFrame:
    """Give the world with the other registration the methods without mirror images of the one with the same heads.

    Registration changes nothing of what they are given, so they were not trained again.

    Parameters
    ----------
    scores : as of `responses`
    """
    parts = [scores]
    for world, own in scores.groupby("world", sort=False):
        missing = {old for _, old in PAIRS} - {*own["variant"]}
        share, registration = own[["symmetry", "registration"]].iloc[0]
        twin = scores[(scores["symmetry"] == share) & (scores["registration"] != registration)]
        if not twin.empty:
            borrowed = twin[twin["variant"].isin(missing)]
            parts.append(borrowed.assign(world=world, registration=registration))
    return pd.concat(parts, ignore_index=True)


def responses(scores, metric: str, seed: int) -> pd.DataFrame:
    """Test what mirror images add, world by world and misfit by misfit, with patients as the unit.

    Parameters
    ----------
    scores : frame, a row per (world, variant, seed, case, misfit), with the columns world, symmetry, registration,
        variant, seed, case, patient, misfit_mm, misfit_deg and the metric; methods without mirror images have no misfit
    metric : a column
    seed : of the bootstrap

    Returns
    -------
    frame, a row per (world, misfit, pair): world, symmetry, registration, misfit_mm, misfit_deg, the columns of
    stats.paired_tests, and old_mean and new_mean, of the scans of that world
    """
    facts = ["world", "symmetry", "registration"]
    require_columns(scores, *facts, "variant", "seed", "case", "patient", "misfit_mm", "misfit_deg", metric)
    rows = []
    for world, own in scores.groupby(facts, sort=False):
        for pair in PAIRS:
            old = own[own["variant"] == pair[1]]
            for misfit, new in own[own["variant"] == pair[0]].groupby(["misfit_mm", "misfit_deg"]):
                if len(old):
                    tests = stats.paired_tests(
                        pd.concat([old, new]), metric, [pair], "patient", rng(seed, "symmetry", *world, *misfit)
                    )
                    named = dict(zip((*facts, "misfit_mm", "misfit_deg"), (*world, *misfit), strict=True))
                    means = {"old_mean": old[metric].mean(), "new_mean": new[metric].mean()}
                    rows.append(tests.assign(**named, **means))
    if not rows:
        raise ValueError("no world holds a method both with mirror images and without; run notebook 20 again")
    return pd.concat(rows, ignore_index=True)


def slopes(scores, metric: str, seed: int) -> pd.DataFrame:
    """Fit each patient's gain by mirror images to the symmetry of the worlds, by least squares, and average the slopes.

    Parameters
    ----------
    scores, metric, seed : as `responses`, of one registration; the patients of all worlds are the same, each with
        other anatomy

    Returns
    -------
    frame, a row a pair : new, old, worlds, patients, trainings (of each method in each world), slope (of the gain from
    symmetry 0 to 1), low, high (95 % bootstrap interval over patients), p (t-test), p_holm (over the pairs),
    detectable. Without two worlds the slope is NaN. A scan counts in a training where it has a finite value with mirror
    images and without; else the two means would be of different scans.

    Raises
    ------
    ValueError : two worlds of one symmetry, whose scans would be taken for each other.
    """
    worlds = scores.drop_duplicates(["symmetry", "registration"])
    if worlds["symmetry"].duplicated().any():
        raise ValueError("one symmetry has two registrations; give the worlds of one of them")
    aligned = scores[(scores["misfit_mm"] == 0) & (scores["misfit_deg"] == 0)]
    rows = []
    for new, old in PAIRS:
        keys = ["symmetry", "patient", "seed", "case"]
        both = [aligned[aligned["variant"] == name].set_index(keys)[metric] for name in (new, old)]
        each = (both[0] - both[1]).replace([np.inf, -np.inf], np.nan).dropna()
        gains = each.groupby(keys[:2]).mean().unstack("symmetry").dropna()
        row = {"new": new, "old": old, "worlds": gains.shape[1], "patients": len(gains)}
        row["trainings"] = aligned.loc[aligned["variant"] == new, "seed"].nunique()
        row |= dict.fromkeys(("slope", "low", "high", "p", "detectable"), float("nan"))
        if min(gains.shape) > 1:
            shares = gains.columns.to_numpy(float) - gains.columns.to_numpy(float).mean()
            each = gains.to_numpy() @ shares / (shares**2).sum()
            rising = pd.DataFrame({"case": gains.index, "patient": gains.index, "slope": each, "variant": "slope"})
            both = pd.concat([rising, rising.assign(slope=0.0, variant="flat")])
            test = stats.paired_tests(both, "slope", [("slope", "flat")], generator=rng(seed, "slopes", new)).iloc[0]
            row |= {"slope": test["mean_difference"], **test[["low", "high", "p", "detectable"]]}
        rows.append(row)
    table = pd.DataFrame(rows)
    return table.assign(p_holm=stats.holm(table["p"]))


def _once(method: str, row) -> bool:
    return method in ladder.NETWORKS and row.trainings < 2


def rising(row) -> str:
    """Say what a row of `slopes` shows; of networks that were trained once nothing, for each has a draw of its own."""
    if _once(row.new, row):
        return ONCE
    return stats.side_in_words(row, "rises", "falls")


def same(row, margin: float = MARGIN) -> str:
    """Judge two ways by the 95 % interval of their difference, in which more is better.

    Parameters
    ----------
    row : of `stats.paired_tests`
    margin : within which two ways count as one

    Returns
    -------
    "the same" where the interval of `stats.ends` lies within the margin to both sides, else "better" or "worse" by
    `stats.side`, else "inconclusive", an undefined one included

    Our choice: the margin; the rule is that of a test of equivalence (Schuirmann 1987), stricter by its 95 %.
    """
    low, high = stats.ends(row)
    if -margin < low and high < margin:
        return "the same"
    return stats.side_in_words(row, "better", "worse", "p")


def registrations(scores, metric: str, other: str, seed: int) -> pd.DataFrame:
    """Hold the other registration against the settings' own on the same heads, with patients as the unit.

    Parameters
    ----------
    scores, metric, seed : as `responses`
    other : "affine" or "rigid", of which there is one world

    Returns
    -------
    frame, a row per method with mirror images: method, symmetry, the columns of stats.paired_tests with the
    registrations as new and old, and verdict of `same`; of networks that were trained once with each none

    Raises
    ------
    ValueError : no world with the other registration, or none with the same heads and the own one.
    """
    aligned = scores[(scores["misfit_mm"] == 0) & (scores["misfit_deg"] == 0)]
    share = aligned.loc[aligned["registration"] == other, "symmetry"].unique()
    heads = aligned[aligned["symmetry"].isin(share)]
    if heads["registration"].nunique() != 2:
        found = sorted(heads["registration"].unique())
        raise ValueError(f"two registrations of the same heads are compared, got {found}; run notebook 20 again")
    (own,) = {*heads["registration"]} - {other}
    rows = []
    for method, _ in PAIRS:
        both = heads[heads["variant"] == method]
        if len(both):
            generator = rng(seed, "registrations", method)
            both = both.assign(variant=both["registration"])
            tests = stats.paired_tests(both, metric, [(other, own)], "patient", generator)
            rows.append(tests.assign(method=method, trainings=both["seed"].nunique()))
    table = pd.concat(rows, ignore_index=True).assign(symmetry=share[0])
    return table.assign(verdict=[ONCE if _once(row.method, row) else same(row) for row in table.itertuples()])


def place(likeness, value: float) -> float:
    """Read off the symmetry at which the phantom's scans correlate with their own flip as a scan does.

    Parameters
    ----------
    likeness : Series, mean correlation by symmetry
    value : correlation of a scan, of `own_flip`

    Returns
    -------
    symmetry by linear interpolation, the nearest end where the value lies beyond all; NaN for fewer than two.
    """
    known = likeness.dropna().sort_index()
    if len(known) < 2 or np.isnan(value):
        return float("nan")
    rising = np.maximum.accumulate(known.to_numpy())  # more symmetry is no less likeness, but for chance
    return float(np.interp(value, rising, known.index.to_numpy(float)))


def placed(scans, likeness) -> pd.DataFrame:
    """Place scans, such as those of patients, on the axis of symmetry by each of their modalities.

    Parameters
    ----------
    scans : iterable of preprocess.Preprocessed
    likeness : frame, mean correlation of the phantom's scans, a row a modality, a column a symmetry

    Returns
    -------
    frame, a row a modality : scans, correlation (mean with its own flip) with low and high (95 %, by patient), symmetry
    (of `place`) with symmetry_low and symmetry_high, where the ends of that interval are placed: an interval that
    reaches from end to end of the axis says that the scans cannot be placed.
    """
    found = pd.DataFrame([own_flip(scan) | {"patient": scan.patient} for scan in scans])
    rows = []
    for name in likeness.index.intersection(found.columns, sort=False):
        mean, (low, high) = found[name].mean(), summary.patient_interval(found[name], found["patient"])
        row = {"modality": name, "scans": int(found[name].count()), "correlation": mean, "low": low, "high": high}
        ends = {"symmetry": mean, "symmetry_low": low, "symmetry_high": high}
        rows.append(row | {end: place(likeness.loc[name], value) for end, value in ends.items()})
    return pd.DataFrame(rows)
