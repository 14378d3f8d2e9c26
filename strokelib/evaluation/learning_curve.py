"""What more training scans bring: scores against their number, what each doubling adds, and where labels stop it."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.stats

from strokelib import cases, inference, learning
from strokelib.evaluation import beyond, gridsearch, ladder, stats, summary, tables
from strokelib.evaluation.symmetry import ONCE
from strokelib.phantom.truth import truth_of
from strokelib.run import saved
from strokelib.run.checks import require_columns
from strokelib.run.digest import digest, module_digest
from strokelib.run.runtime import rng
from strokelib.vocabulary import NAMES

TOLD = ("dsc", "hd_mm", "volume_error_ml")
CORE = "core"  # the phantom's true core, held against the label
FACTS = ("updates", "kept", "patches", "passes", "last_loss", "training_loss", "held_out_loss")
SIZE = ("variant", "scans", "training_scans", "training_patients")  # of a network
COLUMNS = ("case", "patient", "threshold", "min_lesion_voxels", "dsc", "ppv", "sensitivity", "hd_mm", "hd_voxels")
COLUMNS += ("volume_ml", "truth_volume_ml")


def named(row: str) -> str:
    """Name a row of Table 1 or a change in words."""
    return NAMES.get(row) or beyond.named(row)


def scores_of(folder, part, testing, row: str, settings, device, watch=None) -> pd.DataFrame:
    """Train the network of a set, score the testing scans by it and write that whole; what is there is taken as it is.

    Parameters
    ----------
    folder : of this network and its scores
    part : of `learning.together`
    testing : sequence of learning.Stored
    row : one of further.curve_rows
    settings : Settings
    device : torch device
    watch : as `training.train_fold`

    Returns
    -------
    frame, a row a testing scan : COLUMNS, what `learning.train` returns, and made_from

    Our choice: threshold and smallest lesion are the stable pair of the held-out scans, which are the same for all sets
    and on which the weights were chosen, too; no testing scan chooses anything.
    """
    path, job = Path(folder) / "scores.csv", learning.job_of(part, row, settings, folder)
    how, asked = learning.settings_of(settings, row)[1].prediction, settings.postprocess
    of = [scan.made_from for scan in testing]
    made = "of " + digest(  # a word, which no reader takes for a number
        job.digest, module_digest("strokelib.evaluation.learning_curve"), of, _numbers(how), asked
    )
    if path.is_file() and (found := saved.read(path))["made_from"].eq(made).all() and len(found) == len(testing):
        return found
    facts = learning.train(part, row, settings, folder, device, watch)
    network, _ = inference.load_network(job.network_file, device)
    held_out = [part.scans[i] for i in part.stop]
    grid = gridsearch.search_maps(
        learning.predict(network, held_out, row, settings), asked.thresholds, asked.min_lesion_voxels
    )
    pair = gridsearch.choose_stable_pair(grid)
    maps = learning.predict(network, testing, row, settings)
    judged = gridsearch.search_maps(maps, [pair.threshold], [pair.min_lesion_voxels])
    patients = {scan.number: scan.patient for scan in testing}
    judged = judged.assign(patient=judged["case"].map(patients), **facts)
    saved.write_table(path, judged[[*COLUMNS, *FACTS]].assign(made_from=made))
    return saved.read(path)  # as it will be read again


def _numbers(how) -> dict:
    """Return what of [prediction] decides numbers."""
    return {key: value for key, value in vars(how).items() if key != "batch_size"}


def ceiling(root, cohort) -> pd.DataFrame:
    """Hold the true core against the label on the testing scans: what a network that knew it would score.

    Parameters
    ----------
    root, cohort : of the testing scans, as `learning.cohorts` names it

    Returns
    -------
    frame, a row a scan, of `ladder.judge_masks`
    """
    raw = (cases.load_case(file) for file in cases.find_cases(root, "TRAINING"))
    scores = ladder.judge_masks((case, truth_of(root, cohort, "TRAINING", case).core) for case in raw)
    return scores.assign(patient=[f"{learning.TESTING} {patient}" for patient in scores["patient"]])


def _points(scores) -> pd.DataFrame:
    """Name each row and size as a variant of its own."""
    require_columns(scores, *SIZE, "case", "patient", "dsc", "hd_mm", "volume_ml", "truth_volume_ml")
    own = scores["variant"] + " " + scores["scans"].astype(str)
    return summary.with_volume_error(scores).assign(row=scores["variant"], variant=own)


def means(scores, core, seed: int) -> pd.DataFrame:
    """Average over testing scans, with intervals by patient.

    Parameters
    ----------
    scores : a row per (variant, scans, case): SIZE, COLUMNS and FACTS
    core : frame of `ceiling`
    seed : of the bootstrap, which draws the same patients for all

    Returns
    -------
    frame, a row per (metric, variant, scans) and one a metric for CORE, without a size : metric, SIZE, testing_scans,
    patients, mean, low, high, FACTS.
    """
    points = _points(scores)
    require_columns(points, *FACTS)
    both = pd.concat([points, summary.with_volume_error(core).assign(variant=CORE)], ignore_index=True)
    table = summary.variant_means(both, TOLD, seed, "learning curve").rename(columns={"scans": "testing_scans"})
    facts = points.drop_duplicates("variant")[["variant", "row", *SIZE[1:], *FACTS]]
    table = table.merge(facts, on="variant", how="left")
    table["variant"] = table.pop("row").fillna(CORE)
    return table[["metric", *SIZE, "testing_scans", "patients", "mean", "low", "high", *FACTS]]


def steps(scores, seed: int) -> pd.DataFrame:
    """Test each size against the one before, and the slope of DSC per doubling against none, by patient.

    Parameters
    ----------
    scores, seed : as of `means`

    Returns
    -------
    frame : kind ("step" or "slope"), variant, before and after (numbers of scans; of a slope the first and the last),
    the columns of `stats.paired_tests`; of a slope networks, network_low and network_high: how many lie on its line and
    its 95 % interval over them, by the t distribution; undefined of two. Holm's correction is over all steps of a
    metric, and over the slopes of all rows.

    Our choice: the slope is that of a line through a scan's own DSC at all sizes, over log2 of the scans that each set
    truly has. A curve that levels off has one, too; look at its steps. Patients say how surely these networks differ;
    that each was trained once, on one draw of scans, only the scatter of the networks about the line can say.
    """
    points, found = _points(scores), []
    rows = points.groupby("row", sort=False)["scans"]
    sizes = {row: own.drop_duplicates().sort_values().tolist() for row, own in rows}
    of = {(f"{row} {b}", f"{row} {a}"): (row, a, b) for row, all_of in sizes.items() for a, b in pairwise(all_of)}
    for metric in TOLD:
        tests = stats.paired_tests(points, metric, list(of), "patient", rng(seed, "learning curve", metric))
        found.append(_labelled(tests, "step", list(of.values())))
    lines = pd.concat([_slopes(points, row) for row in sizes])
    pairs, generator = [(f"{row} slope", f"{row} flat") for row in sizes], rng(seed, "learning curve", "slope")
    tests = stats.paired_tests(lines, "dsc", pairs, "patient", generator)
    ends = [(row, all_of[0], all_of[-1]) for row, all_of in sizes.items()]
    over = pd.DataFrame([_over_networks(points[points["row"] == row]) for row in sizes])
    found.append(pd.concat([_labelled(tests, "slope", ends), over], axis=1))
    return pd.concat(found, ignore_index=True)


def _labelled(tests, kind: str, of) -> pd.DataFrame:
    named_as = pd.DataFrame(of, columns=["variant", "before", "after"])
    return pd.concat([named_as.assign(kind=kind), tests.reset_index(drop=True)], axis=1)


def _over_networks(own) -> dict:
    """Bound the slope of the networks' mean DSC per doubling, with patients as the unit, each network one point."""
    each = own.groupby(["training_scans", "patient"])["dsc"].mean().groupby("training_scans").mean()
    low = high = float("nan")
    if len(each) > 2:
        line = scipy.stats.linregress(np.log2(each.index.to_numpy(float)), each.to_numpy())
        half = scipy.stats.t.ppf(0.975, len(each) - 2) * line.stderr
        low, high = line.slope - half, line.slope + half
    return {"networks": len(each), "network_low": low, "network_high": high}


def _slopes(points, row: str) -> pd.DataFrame:
    """Return the slope of each scan's DSC per doubling, as a variant, and none, as another."""
    own = points[points["row"] == row]
    table = own.pivot(index=["patient", "case"], columns="training_scans", values="dsc").dropna()
    x = np.log2(table.columns.to_numpy(float))
    x = x - x.mean()
    slope = table.to_numpy() @ x / (x @ x)
    both = [
        table.index.to_frame(index=False).assign(variant=f"{row} {kind}", dsc=value)
        for kind, value in (("slope", slope), ("flat", 0.0))
    ]
    return pd.concat(both)


def verdict(slope) -> str:
    """Say what a slope of `steps` shows: "more scans help", "more scans hurt", "inconclusive", or `symmetry.ONCE`.

    By patient, interval and p after Holm decide; what they tell holds where the interval over networks tells it, too.
    Our choice: patients alone would take the luck of a training for what its scans brought.
    """
    told = stats.side(slope)
    if told and not beyond.agrees(told, slope.network_low, slope.network_high):
        return ONCE
    return stats.side_in_words(slope, "more scans help", "more scans hurt")


def in_words(row: str, table, tests) -> str:
    """Say what a row gains by more scans, and what is left to the true core.

    Parameters
    ----------
    row : of the curve
    table, tests : frames of `means` and `steps`
    """
    dsc = table[table["metric"] == "dsc"]
    own, core = dsc[dsc["variant"] == row].sort_values("scans"), dsc[dsc["variant"] == CORE].iloc[0]
    first, last = own.iloc[0], own.iloc[-1]
    slope = tests[(tests["kind"] == "slope") & (tests["variant"] == row)].iloc[0]
    over = f", {100 * slope.network_low:+.1f} to {100 * slope.network_high:+.1f} over {slope.networks:.0f} networks"
    return (
        f"{named(row)}: {100 * first['mean']:.1f} % with {first.training_scans:.0f} scans, "
        f"{100 * last['mean']:.1f} % with {last.training_scans:.0f}; "
        f"{tables.difference(slope.mean_difference, 'dsc')} a doubling, 95 % interval {tables.interval(slope)} over "
        f"patients{over if slope.networks > 2 else ', none over two networks'}: **{verdict(slope)}** (smallest "
        f"detectable {100 * slope.detectable:.1f}). The true core scores {100 * core['mean']:.1f} % against the label: "
        f"{100 * (core['mean'] - last['mean']):+.1f} points to go"
    )
