import dataclasses

import numpy as np
import pytest
from test_training import DEMO, scan

from strokelib import crossvalidation, inference, patches
from strokelib.network import Network
from strokelib.run.runtime import rng
from strokelib.run.variants import VARIANTS

SETTINGS = dataclasses.replace(
    DEMO,
    folds=dataclasses.replace(DEMO.folds, count=3),
    sampling=dataclasses.replace(DEMO.sampling, patches_per_case=16),
    prediction=dataclasses.replace(DEMO.prediction, step=24),
)


@pytest.fixture(scope="module")
def folds():
    scans = [scan(n, n) for n in range(1, 7)]
    return [crossvalidation.split(scans, number, SETTINGS) for number in range(3)]


def test_every_scan_is_evaluated_once_by_networks_that_never_saw_its_patient(folds):
    assert sorted(np.concatenate([fold.evaluate for fold in folds])) == list(range(6))
    for fold in folds:
        seen = {fold.scans[i].patient for i in [*fold.train]}
        assert not seen & {one.patient for one in fold.evaluated} and len(fold.evaluated) == 2


def test_patches_are_those_of_the_scans_asked_for(folds):
    row = VARIANTS["rt"]
    stack = crossvalidation.resident(folds[0].scans, row, SETTINGS, "cpu")
    assert stack.images.shape[-1] == 5 and stack.pad == 32
    listed = crossvalidation.patch_set(folds[0], folds[0].train, stack, row, SETTINGS)
    assert len(listed) == 16 * len(folds[0].train) and set(listed.starts[:, 0]) == set(folds[0].train)


def test_the_patches_of_a_scan_are_those_of_its_own_generator_at_its_place_in_the_stack(folds):
    row, fold = VARIANTS["rt"], folds[1]
    stack = crossvalidation.resident(fold.scans, row, SETTINGS, "cpu")
    listed = crossvalidation.patch_set(fold, [4, 2], stack, row, SETTINGS)
    expected = []
    for i in (4, 2):
        one, generator = fold.scans[i], rng(SETTINGS.seed, "patches", 1, fold.scans[i].number)
        centers = patches.sample_centers(one.lesion, one.mask, SETTINGS.sampling, 64, generator)
        expected.append(np.column_stack([centers.voxels[:, 2] + i, centers.voxels[:, :2]]))  # a slice a scan
    assert np.array_equal(listed.starts, np.concatenate(expected))
    other = crossvalidation.patch_set(dataclasses.replace(fold, number=2), [4, 2], stack, row, SETTINGS)
    assert not np.array_equal(other.starts, listed.starts), "each fold draws its own"


def test_variants_share_their_centers(folds):
    """The paired test relies on it: mirrored inputs and another loss change no patch, another side its offset alone."""
    fold, centers = folds[0], {}
    for name in ("baseline", "rt", "rt_sm"):
        stack = crossvalidation.resident(fold.scans, VARIANTS[name], SETTINGS, "cpu")
        centers[name] = crossvalidation.patch_set(fold, fold.train, stack, VARIANTS[name], SETTINGS).starts
    assert np.array_equal(centers["rt"], centers["rt_sm"])
    assert np.array_equal(centers["rt"][8:16], centers["baseline"][8:16]), "healthy centers of the first scan"


def test_preferred_voxels_are_those_of_the_scan_they_are_given_for(folds):
    fold, row = folds[0], VARIANTS["rt"]
    stack = crossvalidation.resident(fold.scans, row, SETTINGS, "cpu")
    preferred = {int(i): np.zeros_like(fold.scans[i].mask) for i in fold.train}
    for i, mask in preferred.items():
        mask[10 + i, 10, 0] = True
    listed = crossvalidation.patch_set(fold, fold.train, stack, row, SETTINGS, preferred)
    for i in fold.train:
        assert [i, 10 + i, 10] in listed.starts.tolist(), "a center, as the pad is half a patch"


def test_the_sets_of_a_fold_are_its_training_and_stopping_patches_and_its_evaluated_scans(folds):
    fold, row = folds[2], VARIANTS["rt"]
    stack = crossvalidation.resident(fold.scans, row, SETTINGS, "cpu")
    sets = crossvalidation.sets(fold, stack, row, SETTINGS)
    for found, part in ((sets.training, fold.train), (sets.stopping, fold.stop)):
        expected = crossvalidation.patch_set(fold, part, stack, row, SETTINGS)
        assert np.array_equal(found.starts, expected.starts) and np.array_equal(found.deform, expected.deform)
    assert sets.evaluated == fold.evaluated


def test_a_cascade_is_two_jobs_and_uncertainty_filtering_trains_nothing_of_its_own(folds, tmp_path):
    def jobs(name, settings=SETTINGS):
        return crossvalidation.jobs(folds[1], VARIANTS[name], settings, tmp_path, ["a", "b"])

    assert [job.name for job in jobs("baseline")] == ["network", "network2"]
    assert jobs("rt_sm")[0].digest == jobs("rt_sm_uf")[0].digest != jobs("rt")[0].digest
    other = dataclasses.replace(SETTINGS, sampling=dataclasses.replace(SETTINGS.sampling, patches_per_case=8))
    assert jobs("rt", other)[0].digest != jobs("rt")[0].digest


def test_mistaken_is_what_the_first_network_calls_lesion(folds):
    network, row = Network(5).eval(), dataclasses.replace(VARIANTS["baseline"], patch_size=48)
    found = dict(crossvalidation.mistaken(folds[0], network, row, SETTINGS))
    assert set(found) == set(folds[0].train.tolist()) | set(folds[0].stop.tolist())
    i = int(folds[0].train[0])
    one = folds[0].scans[i]
    how = inference.Sweep(24, patch_size=48)
    expected = inference.predict([network], one.provided, one.mask, how).probability > 0.5
    assert np.array_equal(found[i], expected) and 0 < expected.sum() < one.mask.sum()
