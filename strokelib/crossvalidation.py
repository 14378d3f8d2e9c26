"""One fold of one row of Table 1: its scans, its patches, what its networks are trained from."""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from strokelib import folds, inference, patches
from strokelib.patches import PatchList
from strokelib.preprocess import Preprocessed
from strokelib.run.digest import digest
from strokelib.run.runtime import rng
from strokelib.run.settings import Settings
from strokelib.run.variants import Variant
from strokelib.stack import Resident, stack_scans
from strokelib.steps import Recipe
from strokelib.training import Job, Sets


@dataclass(frozen=True, eq=False)
class Fold:
    """The scans of one fold: indices of those to train on, to stop early on and to evaluate, and all of them."""

    number: int
    scans: list[Preprocessed]
    train: np.ndarray
    stop: np.ndarray
    evaluate: np.ndarray

    @property
    def evaluated(self) -> list[Preprocessed]:
        return [self.scans[i] for i in self.evaluate]


def split(scans, number: int, settings: Settings) -> Fold:
    """Split the scans of a cohort for one fold, by patient, as `[folds]` of the settings asks for.

    Raises
    ------
    ValueError : as `folds.assign_folds` and `folds.split_fold`.
    """
    patients, slices = [scan.patient for scan in scans], [scan.mask.shape[2] for scan in scans]
    how = settings.folds
    fold_of = folds.assign_folds(patients, how.count, how.scheme, settings.seed, slices)
    return Fold(number, scans, *folds.split_fold(fold_of, number, patients, how.inner_split, settings.seed, slices))


def resident(scans, variant: Variant, settings: Settings, device: str) -> Resident:
    """Put the scans into one tensor on the device, as a variant takes its patches from it."""
    pad = variant.patch_size // 2
    return stack_scans(scans, variant.mirrored, device, pad, settings.compute.resident)


def patch_set(fold: Fold, indices, stack: Resident, variant: Variant, settings: Settings, preferred=None) -> PatchList:
    """List the patches of some scans of a fold, a function of seed, fold and scans alone.

    Parameters
    ----------
    indices : int sequence, the scans
    preferred : mapping from index to bool (x, y, slice), or None; see `patches.sample_centers`

    Variants share seed and fold, hence their centers, too: the paired t-test stays paired.
    """
    centers = []
    for i in indices:
        scan, first = fold.scans[i], None if preferred is None else preferred[i]
        generator = rng(settings.seed, "patches", fold.number, scan.number)
        centers.append(
            patches.sample_centers(scan.lesion, scan.mask, settings.sampling, variant.patch_size, generator, first)
        )
    return patches.patch_list(centers, [stack.first_slice[i] for i in indices], stack.pad, variant.patch_size)


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
    made_from = digest(list(sha256), *parts, settings.sampling)
    trained = dataclasses.replace(variant, uncertainty_filtering=False)  # which acts at prediction
    elastic = (settings.sampling.elastic_alpha, settings.sampling.elastic_gamma)
    recipe = Recipe(settings.seed, fold.number, trained, settings.training, settings.compute, elastic)
    return [Job(name, folder, recipe, made_from) for name in ("network", "network2")[: variant.networks]]


def beside(job: Job) -> list:
    """List the files of networks that were kept beside the final one of a job; see `training.training_steps`."""
    return sorted(file for file in job.folder.glob(f"{job.name}.*.safetensors") if file != job.checkpoint_file)
