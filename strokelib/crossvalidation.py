"""One fold of one row of Table 1: its scans, its patches, what its networks are trained from."""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from strokelib import folds, inference, patches
from strokelib.extra_inputs import HALVED
from strokelib.network import margin_of
from strokelib.patches import PatchList
from strokelib.preprocess import Preprocessed
from strokelib.run.digest import digest, module_digest
from strokelib.run.runtime import rng
from strokelib.run.settings import Settings
from strokelib.run.variants import AT_PREDICTION, Variant
from strokelib.stack import Resident, stack_scans
from strokelib.steps import Recipe
from strokelib.training import NO_WEIGHT, Job, Sets

CODE = ("strokelib.crossvalidation", (*NO_WEIGHT, "strokelib.extra_inputs"))  # whose images enter by their contents


@dataclass(frozen=True, eq=False)
class Fold:
    """The scans of one fold: indices of those to train on, to stop early on and to evaluate, and all of them.

    Where folds are made of slices, `scans` holds copies, each with the brain and the lesion of some slices alone: those
    to train on of every scan, then those to evaluate of the scans that have any. `place` says which scan of the cohort
    each is a copy of; they share its images. None: `scans` is the cohort.
    """

    number: int
    scans: list[Preprocessed]
    train: np.ndarray
    stop: np.ndarray
    evaluate: np.ndarray
    place: np.ndarray | None = None

    @property
    def evaluated(self) -> list[Preprocessed]:
        return [self.scans[i] for i in self.evaluate]


def split(scans, number: int, settings: Settings) -> Fold:
    """Split the scans of a cohort for one fold, as `[folds]` of the settings asks for: by patient, but for notebook 17.

    Of "by_slice" every slice is evaluated in one fold; see `Fold`. A copy to train or to stop on without any healthy
    brain gives no patches, and is not listed among them.

    Raises
    ------
    ValueError : as `folds.assign_folds`, `folds.assign_slices` and `folds.split_fold`.
    """
    patients, slices = [scan.patient for scan in scans], [scan.mask.shape[2] for scan in scans]
    how = settings.folds
    if how.scheme == "by_slice":
        return _split_slices(scans, number, folds.assign_slices(slices, how.count, settings.seed), settings)
    fold_of = folds.assign_folds(patients, how.count, how.scheme, settings.seed, slices)
    return Fold(number, scans, *folds.split_fold(fold_of, number, patients, how.inner_split, settings.seed, slices))


def _split_slices(scans, number: int, fold_of, settings: Settings) -> Fold:
    """Split the slices of a cohort for one fold, given the fold of each slice of each scan."""
    copies = [_only(scan, of != number) for scan, of in zip(scans, fold_of, strict=True)]
    held = [_only(scan, of == number) for scan, of in zip(scans, fold_of, strict=True)]
    judged = [i for i, copy in enumerate(held) if copy.mask.any()]
    if not judged:
        raise ValueError(f"fold {number} holds no slice with brain; add scans or lower folds.count")
    place = np.array([*range(len(scans)), *judged])
    copies += [held[i] for i in judged]
    which = np.where(np.arange(len(copies)) < len(scans), -1, number)  # -1: to train on
    patients, slices = [copy.patient for copy in copies], [copy.mask.shape[2] for copy in copies]
    parts = folds.split_fold(which, number, patients, settings.folds.inner_split, settings.seed, slices)
    healthy = np.array([(copy.mask & ~copy.lesion).any() for copy in copies])
    train, stop = (part[healthy[part]] for part in parts[:2])
    return Fold(number, copies, train, stop, parts[2], place)


def _only(scan: Preprocessed, kept) -> Preprocessed:
    """Copy a scan with the brain and lesion of some slices, bool (slice,), alone; the images are shared and whole."""
    return dataclasses.replace(scan, mask=scan.mask & kept, lesion=scan.lesion & kept)


def resident(scans, variant: Variant, settings: Settings, device: str) -> Resident:
    """Put the scans of a cohort into one tensor on the device, as a variant takes its patches from it.

    Whole scans for every fold: a patch lies in one slice, so it has the labels of that slice whatever the others hold.
    In the type of compute.resident, but for inputs that are too many for it.
    """
    pad = variant.patch_size // 2 + margin_of(variant.network)
    dtype = "float16" if variant.extra in HALVED else settings.compute.resident
    return stack_scans(scans, variant.mirrored, device, pad, dtype)


def patch_set(fold: Fold, indices, stack: Resident, variant: Variant, settings: Settings, preferred=None) -> PatchList:
    """List the patches of some scans of a fold, a function of seed, fold and scans alone.

    Parameters
    ----------
    indices : int sequence, the scans
    preferred : mapping from index to bool (x, y, slice), or None; see `patches.sample_centers`

    The stack is that of the cohort; a copy lies where the scan does that it is of. Variants share seed and fold, hence
    their centers, too: the paired t-test stays paired.
    """
    centers = []
    for i in indices:
        scan, first = fold.scans[i], None if preferred is None else preferred[i]
        generator = rng(settings.seed, "patches", fold.number, scan.number)
        centers.append(
            patches.sample_centers(scan.lesion, scan.mask, settings.sampling, variant.patch_size, generator, first)
        )
    places = indices if fold.place is None else fold.place[indices]
    return patches.patch_list(centers, [stack.first_slice[i] for i in places], stack.pad, variant.patch_size)


def sets(fold: Fold, stack: Resident, variant: Variant, settings: Settings, preferred=None) -> Sets:
    """List the patches to train on and those to stop early on, as `patch_set` does each."""
    parts = (patch_set(fold, part, stack, variant, settings, preferred) for part in (fold.train, fold.stop))
    return Sets(*parts, fold.evaluated)


def mistaken(fold: Fold, network, variant: Variant, settings: Settings) -> Iterator[tuple[int, np.ndarray]]:
    """Tell where the first network of a cascade sees lesion, scan by scan; the second one's `preferred`.

    Yields
    ------
    index of a scan to train or to stop on, and bool (x, y, slice) : its probability is above 0.5.
    """
    how = inference.sweep(variant, settings.prediction)
    for i in [*fold.train, *np.setdiff1d(fold.stop, fold.train)]:
        scan = fold.scans[i]
        found = inference.predict([network], scan.inputs(variant.mirrored), scan.mask, how)
        yield int(i), found.probability > 0.5


def jobs(fold: Fold, variant: Variant, settings: Settings, folder, sha256) -> list[Job]:
    """Say what the networks of a fold are trained from: one, or two in a cascade.

    Parameters
    ----------
    variant, settings : as `variants.method` returns them
    folder : where the networks go
    sha256 : sequence of str, of the preprocessed scans
    """
    parts = [part.tolist() for part in (fold.train, fold.stop, fold.evaluate)]
    if fold.place is not None:  # which slices the copies hold
        parts += [[np.flatnonzero(copy.mask.any(axis=(0, 1))).tolist() for copy in fold.scans]]
    made_from = digest(list(sha256), *parts, settings.sampling, module_digest(*CODE))
    seen = dataclasses.replace(inference.sweep(variant, settings.prediction), batch_size=0)  # which changes speed alone
    mined = digest(made_from, seen, module_digest("strokelib.inference"))  # what `mistaken` gives the second network
    trained = dataclasses.replace(variant, **dict.fromkeys(AT_PREDICTION, False))
    elastic = (settings.sampling.elastic_alpha, settings.sampling.elastic_gamma)
    how = (settings.training, settings.compute, elastic, settings.sampling.flips, settings.threads)
    recipe = Recipe(settings.seed, fold.number, trained, *how)
    data = {"network": made_from, "network2": mined}
    return [Job(name, folder, recipe, data[name]) for name in [*data][: variant.networks]]


def beside(job: Job) -> list:
    """List the files of networks that the training of a job kept beside the final one; see `training.training_steps`.

    What a training with another budget or of other data left there is none of them.
    """
    files = sorted(job.folder.glob(f"{job.name}.*.safetensors"))
    return [f for f in files if f != job.checkpoint_file and inference.read_facts(f).get("digest") == job.digest]
