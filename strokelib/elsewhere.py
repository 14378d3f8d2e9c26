"""The same rows on another synthetic cohort: its scans, its networks, and mirror images about a line that is off."""

import dataclasses
from dataclasses import dataclass

import numpy as np

from strokelib import (
    cases,
    crossvalidation,
    extra_inputs,
    inference,
    preprocess,
    raw_series,
    registration,
    training,
    warp,
)
from strokelib.phantom.patient import KNOBS, Knobs
from strokelib.run.runtime import rng
from strokelib.run.settings import Cohort, Settings
from strokelib.run.variants import OF_FILES, OF_SERIES, Variant, at_changes_budget, weights
from strokelib.run.worlds import World


@dataclass(frozen=True)
class Misfit:
    """How far the line of symmetry is moved off the one that registration found, to a side drawn for each scan."""

    mm: float = 0.0
    degrees: float = 0.0


# Half a slab of cortex, and more than ten times what registration is off by on the phantom.
MISFITS = (Misfit(), Misfit(mm=2.0), Misfit(mm=5.0), Misfit(mm=10.0), Misfit(degrees=5.0), Misfit(degrees=10.0))


def knobs_of(settings: Settings, world: World) -> Knobs:
    """Return the knobs of a world: those of cohort.difficulty, and its own symmetry where it has one."""
    known = KNOBS[settings.cohort.difficulty]
    return known if world.symmetry is None else dataclasses.replace(known, symmetry=world.symmetry)


def prepare(root, world: World):
    """Load and preprocess the training scans of a world, one by one, as notebook 02 does on the CPU.

    Yields
    ------
    cases.Case, preprocess.Preprocessed
    """
    for files in cases.find_cases(root, "TRAINING"):
        case = cases.load_case(files)
        yield case, preprocess.preprocess_case(case, world.registration, device="cpu")


def extended(scans, extra: str, root, cohort: Cohort) -> list[preprocess.Preprocessed]:
    """Give the scans of a world what a row takes beside the modalities, as notebooks 23 and 05 do.

    Parameters
    ----------
    scans : sequence of preprocess.Preprocessed
    extra : of the row; see `extra_inputs.extended`
    root : folder of the world's cohort
    cohort : its settings, of `worlds.cohort_of`, by which a series that was not written is drawn again
    """
    if extra not in (*OF_SERIES, *OF_FILES):
        return [extra_inputs.extended(scan, extra) for scan in scans]
    files = {file.number: file for file in cases.find_cases(root, "TRAINING")}
    made = [
        extra_inputs.extended(scan, extra, raw_series.beside(extra, files[scan.number], scan, "TRAINING", cohort))
        for scan in scans
    ]
    extra_inputs.without_series(made, extra)  # which refuses a world without any
    return made


def method_of(settings: Settings, row: str, seed: int) -> tuple[Variant, Settings]:
    """Look up how a row is trained and predicted in a world: with the budget of single changes, and this seed.

    Returns
    -------
    Variant, and the settings with sensitivity.updates, or what the change of a batch makes of them
    """
    variant, how = at_changes_budget(row, settings)
    return variant, dataclasses.replace(how, seed=seed)


def train_and_predict(fold, row: str, settings: Settings, seed: int, folder, device, watch=None) -> tuple[dict, str]:
    """Train the network of one fold, or take it where it is there already, and predict the scans it has not seen.

    Parameters
    ----------
    fold : crossvalidation.Fold, of scans that are `extended` for the row
    row : a row of Table 1 or a change of one, of one network
    settings : Settings, of the run
    seed : of the network
    folder : where the network goes; rows that share one (`variants.weights`) give the same
    device : torch device
    watch : as `training.train_fold`

    Returns
    -------
    {case: float32 (x, y, slice)}, and what tells the network from others
    """
    variant, how = method_of(settings, weights(row, settings), seed)
    (job,) = crossvalidation.jobs(fold, variant, how, folder, map(preprocess.contents_sha256, fold.scans))
    if not training.is_finished(job):
        stack = crossvalidation.resident(fold.scans, variant, how, device.type)
        training.train_fold(job, stack, crossvalidation.sets(fold, stack, variant, how), device, watch)
    network, facts = inference.load_network(job.network_file, device)
    variant, how = method_of(settings, row, seed)
    sweep, maps = inference.sweep(variant, how.prediction), {}
    for scan in fold.evaluated:
        generator = inference.dropout_generator(seed, fold.number, scan.number)  # drawn from where there are passes
        found = inference.predict([network], scan.inputs(variant.mirrored), scan.mask, sweep, generator)
        maps[scan.number] = found.probability
    return maps, facts["digest"]


def moved(alignment: registration.Alignment, shape, shift: float, degrees: float) -> registration.Alignment:
    """Move the line of symmetry that an alignment has found off its place, as an error of registration would.

    Parameters
    ----------
    alignment : of a scan
    shape : (x, y) or (x, y, slice) of the scan
    shift : of the line, in voxels toward larger x; what is mirrored moves by twice as much
    degrees : by which the line is turned about the center of the slice, from x toward y

    Returns
    -------
    Alignment with another matrix; its correlations are those of the line that was found.
    """
    center = (np.asarray(shape[:2]) - 1) / 2
    flip = np.array([[-1.0, 0, shape[0] - 1], [0, 1, 0], [0, 0, 1]])
    move = np.eye(3)
    move[0, 2] = shift
    move = move @ warp.turn(-np.deg2rad(degrees), center)
    reflection = move @ flip @ alignment.matrix @ np.linalg.inv(move)  # about the line where it is now
    return dataclasses.replace(alignment, matrix=flip @ reflection)


def misaligned(case, scan, misfit: Misfit, world: World, seed: int):
    """Preprocess a scan about a line of symmetry that is off.

    Parameters
    ----------
    case : cases.Case
    scan : preprocess.Preprocessed, the same aligned as registration found it
    misfit : Misfit
    world : World
    seed : of the side to which the line is moved and turned

    Returns
    -------
    preprocess.Preprocessed, the scan itself where the misfit is none
    """
    if misfit == Misfit():
        return scan
    side = rng(seed, "misfit", scan.number).choice((-1, 1), 2)
    off = moved(scan.alignment, scan.mask.shape, side[0] * misfit.mm / scan.spacing[0], side[1] * misfit.degrees)
    return preprocess.preprocess_aligned(case, off, device="cpu")
