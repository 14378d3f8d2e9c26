"""One fold of one row of Table 1: its scans, its patches, what its networks are trained from."""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from strokelib import cases, inference, patches, preprocess
from strokelib.patches import PatchList
from strokelib.preprocess import Preprocessed, Resident
from strokelib.run.digest import digest
from strokelib.run.settings import Settings
from strokelib.run.variants import Variant
from strokelib.training import Job


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
    ValueError : as `cases.assign_folds` and `cases.split_fold`.
    """
    patients, slices = [scan.patient for scan in scans], [scan.mask.shape[2] for scan in scans]
    how = settings.folds
    folds = cases.assign_folds(patients, how.count, how.scheme, settings.seed, slices)
    return Fold(number, scans, *cases.split_fold(folds, number, patients, how.inner_split, settings.seed, slices))


def resident(scans, variant: Variant, settings: Settings, device: str) -> Resident:
    """Put the scans into one tensor on the device, as a variant takes its patches from it."""
    pad = variant.patch_size // 2
    return preprocess.resident(scans, variant.mirrored, device, pad, settings.compute.resident)


def patch_set(fold: Fold, indices, stack: Resident, variant: Variant, settings: Settings, preferred=None) -> PatchList:
    """List the patches of some scans of a fold; `preferred` as in `patches.sample_set`."""
    how = settings.sampling
    return patches.sample_set(
        fold.scans,
        indices,
        stack.first_slice,
        stack.pad,
        how.patches_per_case,
        variant.patch_size,
        settings.seed,
        fold.number,
        preferred,
        how.lesion_offset,
        how.balanced,
    )


def mistaken(fold: Fold, network, variant: Variant, settings: Settings) -> Iterator[tuple[int, np.ndarray]]:
    """Tell where the first network of a cascade sees lesion, scan by scan; the second one's `preferred`.

    Yields
    ------
    index of a scan to train or to stop on, and bool (x, y, slice) : its probability is above 0.5.
    """
    channels, how = network.in_channels, settings.prediction
    for i in [*fold.train, *np.setdiff1d(fold.stop, fold.train)]:
        scan = fold.scans[i]
        probability = inference.predict_case(
            [network],
            scan.images[:channels],
            scan.mask,
            how.step,
            patch_size=variant.patch_size,
            batch_size=how.batch_size,
        )
        yield int(i), probability > 0.5


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
    return [
        Job(name, folder, fold.number, settings.seed, trained, settings.training, settings.compute, elastic, made_from)
        for name in ("network", "network2")[: variant.networks]
    ]
