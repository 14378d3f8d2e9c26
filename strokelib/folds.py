"""Folds by patient: which scans a network is trained on, stopped early on and judged by."""

import numpy as np

from strokelib.run.runtime import rng


def check_folds(patients, n_folds: int, problems=()) -> None:
    """Refuse more folds than there are patients, as soon as these are known and not after hours.

    Parameters
    ----------
    patients : sequence, the patient of each training scan
    n_folds : int
    problems : list of str, what is wrong with training scans that cannot be used, which are then what to mend

    Raises
    ------
    ValueError : fewer patients than folds.
    """
    people = len({*patients})
    if people < n_folds:
        instead = "add scans or lower folds.count"
        if len(problems):
            instead = f"{len(problems)} more cannot be used, mend these first: {problems[0]}"
        raise ValueError(
            f"{n_folds} folds need as many patients, there are {people}; training scans that can be used: "
            f"{len(patients)}; {instead}"
        )


def assign_folds(patients, n_folds: int, scheme: str = "contiguous", seed: int = 0, slices=None):
    """Give every scan a fold such that no patient is in two; of "by_scan" alone this is not true.

    Parameters
    ----------
    patients : sequence, the patient of each scan
    n_folds : int
    scheme : "contiguous" (case order, as the authors' code, moved to whole patients) or "balanced" (patients
        shuffled by the seed and dealt out by slice count, so that every fold sees every protocol), or "by_scan" (scans
        shuffled by the seed, whoever they are of: a leak, to be measured and for nothing else; see `split_patients`)
    slices : int sequence, slices of each scan; needed by "balanced"

    Returns
    -------
    int array, one fold a scan.

    Raises
    ------
    ValueError : fewer patients than folds, or an unknown scheme.

    Slices are dealt out by `assign_slices`.

    Source: Clèrigues et al. 2019, sec. 4.1 (75 training and 19 validation scans a fold, grouped by patient).
    Our choice: the assignment, where the paper is silent.
    """
    patients = list(patients)
    names = list(dict.fromkeys(patients))
    scans = np.array([patients.count(name) for name in names])
    check_folds(patients, n_folds)
    if scheme == "contiguous":
        fold_of = _deal_in_order(scans, n_folds)
    elif scheme == "balanced":
        if slices is None:
            raise ValueError("the balanced scheme needs the slices of each scan")
        thick = np.array([max(s for s, p in zip(slices, patients, strict=True) if p == name) for name in names])
        order = rng(seed, "folds").permutation(len(names))
        order = order[np.argsort(thick[order], kind="stable")]
        fold_of, load = np.zeros(len(names), int), np.zeros(n_folds, int)
        for start in range(0, len(order), n_folds):
            # One patient of similar slice count to each fold; who has most scans goes where fewest are.
            some = order[start : start + n_folds]
            some = some[np.argsort(-scans[some], kind="stable")]
            fold_of[some] = np.argsort(load, kind="stable")[: len(some)]
            np.add.at(load, fold_of[some], scans[some])
    elif scheme == "by_scan":
        found = np.empty(len(patients), int)
        found[rng(seed, "folds", "by_scan").permutation(len(patients))] = np.arange(len(patients)) % n_folds
        return found
    else:
        raise ValueError(f"scheme must be 'contiguous', 'balanced' or 'by_scan', got {scheme!r}")
    lookup = dict(zip(names, fold_of.tolist(), strict=True))
    return np.array([lookup[p] for p in patients])


def assign_slices(slices, n_folds: int, seed: int = 0) -> list[np.ndarray]:
    """Give every slice of every scan a fold, whichever scan and patient it is of: the largest leak, to be measured.

    Parameters
    ----------
    slices : int sequence, slices of each scan
    n_folds : int
    seed : int, of the draw

    Returns
    -------
    list, an int array a scan, one fold a slice; folds differ by one slice at most.

    Raises
    ------
    ValueError : fewer slices than folds.
    """
    counts = np.asarray(slices, int)
    if counts.sum() < n_folds:
        raise ValueError(f"{n_folds} folds need as many slices, got {counts.sum()}; add scans or lower folds.count")
    found = np.empty(counts.sum(), int)
    found[rng(seed, "folds", "by_slice").permutation(len(found))] = np.arange(len(found)) % n_folds
    return np.split(found, counts.cumsum()[:-1])


def split_patients(patients, folds) -> list:
    """Name the patients who are in more than one fold, so that a network is judged by a head it was trained on.

    Parameters
    ----------
    patients : sequence, the patient of each scan, or of each slice
    folds : sequence of int, the fold of each

    Raises
    ------
    ValueError : another number of folds than of patients.
    """
    if len(patients) != len(folds):
        raise ValueError(f"expected a fold for each of {len(patients)} scans, got {len(folds)}")
    of = {}
    for patient, fold in zip(patients, folds, strict=True):
        of.setdefault(patient, set()).add(int(fold))
    return [patient for patient, found in of.items() if len(found) > 1]


def _deal_in_order(scans: np.ndarray, n_folds: int) -> np.ndarray:
    """Close a fold once it holds its share of the scans, keeping one patient for every fold to come."""
    fold_of, fold, done = np.zeros(len(scans), int), 0, 0
    for patient, count in enumerate(scans):
        fold_of[patient] = fold
        done += count
        left = len(scans) - patient - 1
        if fold < n_folds - 1 and (done >= (fold + 1) * scans.sum() / n_folds or left == n_folds - 1 - fold):
            fold += 1
    return fold_of


def split_fold(folds, fold: int, patients, inner: bool = False, seed: int = 0, slices=None):
    """Return the scans to train on, to stop early on and to evaluate, as index arrays.

    In the paper the evaluated scans of a fold are also its early-stopping set, which flatters the result a little.
    `inner` holds a fifth of the training patients back for early stopping instead, and leaks nothing.

    Raises
    ------
    ValueError : the fold is empty, or leaves too few patients for `inner`.
    """
    folds = np.asarray(folds)
    evaluate, train = np.flatnonzero(folds == fold), np.flatnonzero(folds != fold)
    if not len(evaluate):
        raise ValueError(f"fold {fold} is empty; folds are {sorted(set(folds.tolist()))}")
    if not inner:
        return train, evaluate, evaluate
    parts = min(5, len({patients[i] for i in train}))
    if parts < 2:
        raise ValueError(
            f"fold {fold} trains on one patient, so none can be held back to stop on; set folds.inner_split = false"
        )
    inside = assign_folds(
        [patients[i] for i in train], parts, "balanced", seed, [slices[i] for i in train]
    )
    return train[inside != 0], train[inside == 0], evaluate
