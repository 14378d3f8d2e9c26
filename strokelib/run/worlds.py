"""Other synthetic cohorts than the settings' own, each with one thing changed: another seed, other heads, another fit.

Each is a *world* of notebook 20, which trains the same rows there. Its scans lie in results/<settings>/worlds/<name>/.
"""

import dataclasses
from dataclasses import dataclass

from strokelib.run.checks import nearest, require
from strokelib.run.settings import Cohort, Settings, check_sensitivity

CONFIRMING = "confirming"  # the world of notebook 27
CONFIRMED = ("rt_sm_uf", "beyond")  # its rows: what the last is held against, and the last of the chain
ROWS = ("rt", "rt_sm")  # of Table 1: without mirror images and with them
NOTEBOOKS = ("20_another_cohort", "21_cohorts", "22_symmetry")
CURVE = "25_learning_curve"  # which makes cohorts by itself
VOTED = "15_uncertainty"  # which holds the vote of all networks against the truth of testing scans


@dataclass(frozen=True)
class World:
    """What is other than in the settings, and what is made there."""

    seed: int  # of the cohort
    registration: str  # of a scan with its mirror image
    symmetry: float | None = None  # share of mirror-symmetric anatomy; None for that of cohort.difficulty
    rows: tuple[str, ...] = ROWS  # networks that are trained
    voxelwise: bool = False  # whether the logistic regression is fitted, with the line of symmetry moved, too
    folds: int = 0  # the first so many; 0 for sensitivity.folds
    seeds: tuple[int, ...] = ()  # of the networks; () for further.training_seeds
    truths: bool = False  # whether what the phantom alone knows is judged, too
    inner: bool = False  # whether weights are kept by scans of the training folds, and not by those that are judged


def worlds(settings: Settings) -> dict[str, World]:
    """Name the worlds that the settings ask for; none where their data are not synthetic.

    Returns
    -------
    {"cohort_2101": World, ...} for each of further.cohort_seeds; {"symmetry_0.50": World, ...} for each of
    further.symmetries, with networks where further.symmetry_networks has it; the one that the line of symmetry is
    found in by the other kind of registration, "affine" or "rigid", at the largest symmetry that has networks; and the
    one that a chain of changes is confirmed on, in all folds, where there is a chain.

    Worlds of symmetry have the cohort's own seed, hence its patients, strokes and noise: they pair scan by scan.
    """
    asked, own = settings.further, settings.preprocess.registration
    if not settings.synthetic:
        return {}
    known = {f"cohort_{seed}": World(seed, own) for seed in asked.cohort_seeds}
    if asked.symmetries:
        seed = settings.cohort.seed
        for share in sorted(asked.symmetries):
            rows = ROWS if share in asked.symmetry_networks else ()
            known[f"symmetry_{share:.2f}"] = World(seed, own, share, rows, voxelwise=True)
        other = "affine" if own == "rigid" else "rigid"
        rows = ROWS[1:] if asked.symmetry_networks else ()  # what has no mirror images needs no registration
        largest = max(asked.symmetry_networks or asked.symmetries)
        known[other] = World(seed, other, largest, rows, voxelwise=True)
    if asked.chain and asked.confirming_training_seeds:
        how = {"folds": settings.folds.count, "seeds": asked.confirming_training_seeds, "truths": True, "inner": True}
        known[CONFIRMING] = World(asked.confirming_seed, own, rows=CONFIRMED, **how)
    return known


def of_cohorts(settings: Settings) -> list[str]:
    """Name the worlds of notebook 21."""
    return [name for name in worlds(settings) if name.startswith("cohort_")]


def of_symmetry(settings: Settings) -> list[str]:
    """Name the worlds of notebook 22, by rising symmetry, the one with the other registration last."""
    return [name for name in worlds(settings) if not name.startswith("cohort_") and name != CONFIRMING]


def of_chain(settings: Settings) -> list[str]:
    """Name the world of notebook 27; none where there is no chain, or where scans are real."""
    return [name for name in worlds(settings) if name == CONFIRMING]


def listed(notebook: str, settings: Settings) -> list[str]:
    """Name the worlds that a notebook that is made when asked for reads; of most there are none."""
    return {"21": of_cohorts, "22": of_symmetry, "27": of_chain}.get(notebook[:2], lambda _: [])(settings)


def cohort_of(settings: Settings, world: World) -> Cohort:
    """Return the cohort of a world: one testing scan stands for all, which nobody predicts, and there is no series."""
    return dataclasses.replace(settings.cohort, seed=world.seed, testing_patients=1, series_cases=0)


def folds_of(settings: Settings, world: World) -> Settings:
    """Return the settings by which the scans of a world are split."""
    inner = world.inner or settings.folds.inner_split
    return dataclasses.replace(settings, folds=dataclasses.replace(settings.folds, inner_split=inner))


def check_worlds(settings: Settings, notebook: str, world: str = "") -> None:
    """Refuse settings that notebooks 20 to 22 cannot be run with, before anything is made.

    Parameters
    ----------
    settings : Settings
    notebook : one of NOTEBOOKS
    world : of notebook 20, its own

    Raises
    ------
    SettingsError : scans that nobody can make anew, no world to look at, an unknown one, no seed to train from, more
        folds than there are.
    """
    _check_synthetic(settings, notebook)
    check_sensitivity(settings)
    require(bool(settings.further.training_seeds), f"further.training_seeds of {settings.name} is empty: name one")
    known = worlds(settings)
    if notebook == "20_another_cohort":
        allowed = f"must be one of {', '.join(known) or 'none'}, got {world!r}{nearest(world, known)}"
        require(world in known, f"world {allowed}")
    else:
        key = "cohort_seeds" if notebook == "21_cohorts" else "symmetries"
        there = bool(listed(notebook, settings))
        require(there, f"further.{key} of {settings.name} is empty: there is nothing to look at")


def check_curve(settings: Settings) -> None:
    """Refuse settings that notebook 25 cannot be run with, before anything is made.

    Raises
    ------
    SettingsError : scans that nobody can make more of, no row to train, or no two sizes to compare.
    """
    _check_synthetic(settings, CURVE)
    there = bool(settings.further.curve_rows)
    require(there, f"further.curve_rows of {settings.name} is empty: there is nothing to look at")
    sizes = list(settings.further.curve_scans)
    require(len(sizes) > 1, f"further.curve_scans of {settings.name} must hold two numbers at least, got {sizes}")


def check_truth(settings: Settings) -> None:
    """Refuse settings that notebook 15 cannot be run with, before anything is made.

    Raises
    ------
    SettingsError : testing scans whose truth is not known.
    """
    message = f"notebook {VOTED} needs testing scans with a known truth, as synthetic cohorts have; those of "
    require(settings.synthetic, f"{message}{settings.data.source}, which {settings.name} names, are not public")


def _check_synthetic(settings: Settings, notebook: str) -> None:
    message = f"notebook {notebook} makes cohorts, which needs data.source = 'synthetic'; {settings.name} has the scans"
    require(settings.synthetic, f"{message} of {settings.data.source}")


def has_cohorts(notebook: str, settings: Settings) -> bool:
    """Tell whether a notebook finds the cohorts, and the truth, that it cannot do without; most need the training scans
    of the settings alone."""
    if notebook in (CURVE, VOTED):
        return settings.synthetic
    return notebook not in NOTEBOOKS or bool(listed(notebook, settings))
