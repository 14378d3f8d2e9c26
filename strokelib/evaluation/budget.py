"""What training longer brings: scores against updates, how long networks were trained, and a look beyond."""

import itertools
import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from strokelib.evaluation import stats
from strokelib.evaluation.resampling import by_case, interval, patient_means
from strokelib.run.checks import require_columns
from strokelib.run.variants import CURVE, at


@dataclass(frozen=True)
class Point:
    """One budget of a row of Table 1."""

    row: str  # of Table 1, such as "rt_sm"
    name: str  # what was predicted with it: a snapshot such as "rt_sm_at_1500", or the row itself
    updates: int  # at most


def points_of(settings) -> dict[str, list[Point]]:
    """Return the budgets of each row that has a curve: training.snapshots and the whole training, shortest first."""
    how = settings.training
    kept = {row: [Point(row, at(row, n), n) for n in how.snapshots] for row in CURVE}
    return {row: [*points, Point(row, row, how.max_updates)] for row, points in kept.items()}


def curve(scores, points, generator, metric="dsc") -> pd.DataFrame:
    """Average a metric at each budget, with the 95 % interval over bootstrapped patients.

    Parameters
    ----------
    scores : a row per (variant, case) : variant, case, patient, the metric
    points : sequence of Point
    generator : numpy.random.Generator
    metric : str, a column, finite

    Returns
    -------
    frame, a row a Point : row, name, updates, metric, mean, low, high, scans, patients. All points share their draws of
    patients, so that their intervals rise and fall together.

    Raises
    ------
    ValueError : a column or a point is missing, or points that differ in their scans.
    """
    require_columns(scores, "variant", "case", "patient", metric)
    table = _by_name(scores, [point.name for point in points], metric)
    patients = table.index.get_level_values("patient")
    low, high = interval(patient_means(table.to_numpy(), patients, generator))
    means = {"metric": metric, "mean": table.mean().to_numpy(), "low": low, "high": high}
    return pd.DataFrame(map(vars, points)).assign(**means, scans=len(table), patients=patients.nunique())


def _by_name(scores, names, metric):
    """Return the metric of each scan, a column a name; refuse a name without scans, or with others than the rest."""
    there = set(scores["variant"])
    missing = [name for name in names if name not in there]
    if missing:
        raise ValueError(f"no scores of {', '.join(missing)}; there are {', '.join(sorted(there))}")
    table = pd.concat([by_case(scores[scores["variant"] == name], metric) for name in names], axis=1, keys=names)
    if table.isna().any(axis=None):
        counts = ", ".join(f"{name} {count}" for name, count in table.count().items())
        raise ValueError(f"the points of a curve must hold the same scans, with {metric} of each; they hold {counts}")
    return table


def trained(histories, most: int) -> pd.DataFrame:
    """Tell how long the networks of each row and fold were trained, and whether the patience ended it.

    Parameters
    ----------
    histories : dict, (row, fold) to its history: a row a validation, columns network, updates, epochs (of the paper)
        and best
    most : int
        Updates of a row and fold at most; the networks of a cascade share them evenly.

    Returns
    -------
    frame, a row a (row, fold) : row, fold, networks, updates (done, of all networks together), epochs (likewise),
    kept (the updates after which the last network's weights were kept), validations and since_best (of the last
    network: in all, and after the best), and stopped_early.
    """
    rows = []
    for (row, fold), history in histories.items():
        require_columns(history, "network", "updates", "epochs", "best")
        networks = [own.sort_values("updates") for _, own in history.groupby("network", sort=False)]
        done = sum(int(own["updates"].iloc[-1]) for own in networks)
        last = networks[-1].reset_index(drop=True)
        best = int(np.flatnonzero(last["best"].astype(bool))[-1])
        rows.append(
            {
                "row": row,
                "fold": fold,
                "networks": len(networks),
                "updates": done,
                "epochs": sum(own["epochs"].iloc[-1] for own in networks),
                "kept": int(last["updates"][best]),
                "validations": len(last),
                "since_best": len(last) - 1 - best,
                "stopped_early": done < most // len(networks) * len(networks),
            }
        )
    return pd.DataFrame(rows)


def at_half(predictions, points, generator) -> pd.DataFrame:
    """Test the steps of a curve, and its last point against its first, at one threshold of 0.5 for all: no choice.

    A pair that is chosen anew for each point can flip, and a step is then seen where no network has changed.

    Parameters
    ----------
    predictions : a row per (variant, case) : variant, fold, case, patient, dsc_at_half
    points : dict, a row of Table 1 to its Points, the shortest training first
    generator : numpy.random.Generator

    Returns
    -------
    frame, a row a pair of points, as of `stats.paired_tests` by patient, without correction; and row, changed (folds in
    which any scan's DSC differs: networks that are not the same), folds.
    """
    require_columns(predictions, "variant", "fold", "case", "patient", "dsc_at_half")
    scores, parts = predictions.rename(columns={"dsc_at_half": "dsc"}), []
    for row, own in points.items():
        names = [point.name for point in own]
        steps = [(late, early) for early, late in itertools.pairwise(names)]
        pairs = [*dict.fromkeys([*steps, (names[-1], names[0])])]
        tests = stats.paired_tests(scores, "dsc", pairs, "patient", generator)
        table = _by_name(scores, names, "dsc").reset_index()
        fold = table["case"].map(scores.drop_duplicates("case").set_index("case")["fold"])
        changed = [int((table[new] != table[old]).groupby(fold).any().sum()) for new, old in pairs]
        parts.append(tests.assign(row=row, changed=changed, folds=fold.nunique()))
    return pd.concat(parts, ignore_index=True).drop(columns=["p_holm", "p_wilcoxon_holm"])


FORMS = ("DSC = A + B log(updates)", "DSC = A − B / updates")


def outlook(scores, points, targets, generator, metric="dsc") -> pd.DataFrame:
    """Extend the last step of a curve to longer trainings, in two forms that are stated and not believed.

    The first brings as much at every further doubling as the last step did per doubling: no curve does so for ever. The
    second brings half as much at every doubling as at the one before, and at its end B / updates more.

    Parameters
    ----------
    scores, metric : as `curve`
    points : two of Point, of one row, the shorter training first
    targets : sequence of updates, more than the second point's
    generator : numpy.random.Generator

    Returns
    -------
    frame, a row a (form, target) : row, form, updates, metric, mean_difference (from the second point to the target),
    low, high (the 95 % interval of the last step over bootstrapped patients, extended likewise), mean (at the target).

    Raises
    ------
    ValueError : budgets that do not rise.

    Our choice. The interval holds what another draw of patients would change, not whether either form is right.
    """
    before, after = points
    if not 0 < before.updates < after.updates < min(targets):
        asked = [before.updates, after.updates, *targets]
        raise ValueError(f"budgets must rise from the first point to the second to the targets, got {asked}")
    table = _by_name(scores, [before.name, after.name], metric)
    step = (table[after.name] - table[before.name]).to_numpy()
    low, high = np.ravel(interval(patient_means(step[:, None], table.index.get_level_values("patient"), generator)))
    rows = []
    for form in FORMS:
        for target in targets:
            factor = _reach(form, before.updates, after.updates, target)
            row = {"row": after.row, "form": form, "updates": target, "metric": metric}
            row |= {"mean_difference": factor * step.mean(), "low": factor * low, "high": factor * high}
            rows.append(row | {"mean": table[after.name].mean() + factor * step.mean()})
    return pd.DataFrame(rows)


def _reach(form, before, after, target) -> float:
    """Return what a form gains from `after` to `target`, in units of its gain from `before` to `after`."""
    if form == FORMS[0]:
        return math.log(target / after) / math.log(after / before)
    return (1 / after - 1 / target) / (1 / before - 1 / after)
