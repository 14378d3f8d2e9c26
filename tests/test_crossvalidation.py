import dataclasses

import numpy as np
import pytest
import torch
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


def test_a_second_network_depends_on_how_the_scans_were_predicted_that_its_patches_are_chosen_by(folds, tmp_path):
    def digests(**prediction):
        settings = dataclasses.replace(SETTINGS, prediction=dataclasses.replace(SETTINGS.prediction, **prediction))
        jobs = crossvalidation.jobs(folds[1], VARIANTS["baseline"], settings, tmp_path, ["a", "b"])
        return [job.digest for job in jobs]

    first, second = digests()
    for changed in ({"step": 20}, {"flips": True}):
        assert digests(**changed)[0] == first and digests(**changed)[1] != second
    assert digests(batch_size=7) == [first, second], "which changes speed alone"


@pytest.mark.parametrize(
    ("module", "anew"), [("strokelib.crossvalidation", [True, True]), ("strokelib.inference", [False, True])]
)
def test_networks_depend_on_the_code_that_lists_their_patches(folds, tmp_path, monkeypatch, module, anew):
    def digests():
        return [job.digest for job in crossvalidation.jobs(folds[1], VARIANTS["baseline"], SETTINGS, tmp_path, ["a"])]

    before, code = digests(), crossvalidation.module_digest
    edited = {module: " edited"}
    monkeypatch.setattr(crossvalidation, "module_digest", lambda name, *of: code(name, *of) + edited.get(name, ""))
    assert [one != other for one, other in zip(before, digests(), strict=True)] == anew


def test_mistaken_is_what_the_first_network_calls_lesion(folds):
    network, row = Network(5).eval(), dataclasses.replace(VARIANTS["baseline"], patch_size=48)
    found = dict(crossvalidation.mistaken(folds[0], network, row, SETTINGS))
    assert set(found) == set(folds[0].train.tolist()) | set(folds[0].stop.tolist())
    i = int(folds[0].train[0])
    one = folds[0].scans[i]
    how = inference.Sweep(24, patch_size=48)
    expected = inference.predict([network], one.provided, one.mask, how).probability > 0.5
    assert np.array_equal(found[i], expected) and 0 < expected.sum() < one.mask.sum()


def thick(number, slices):
    """A scan of several slices, the last of them without brain."""
    parts = [scan(number, 10 * number + k) for k in range(slices)]
    images, mask, lesion = (
        np.concatenate([getattr(part, name) for part in parts], axis=-1) for name in ("images", "mask", "lesion")
    )
    mask[..., -1] = lesion[..., -1] = False
    return dataclasses.replace(parts[0], images=images * mask, mask=mask, lesion=lesion)


@pytest.fixture(scope="module")
def sliced():
    scans = [thick(number, slices) for number, slices in ((1, 2), (2, 4), (3, 5), (4, 3))]
    how = dataclasses.replace(SETTINGS, folds=dataclasses.replace(SETTINGS.folds, scheme="by_slice"))
    return scans, how, [crossvalidation.split(scans, number, how) for number in range(3)]


def slices_of(fold, part):
    """List (case, slice) of the brain in some copies of a fold."""
    return [(fold.scans[i].number, k) for i in part for k in np.flatnonzero(fold.scans[i].mask.any(axis=(0, 1)))]


def test_by_slice_every_slice_of_brain_is_judged_once_and_by_no_network_trained_on_it(sliced):
    scans, _, folds = sliced
    every = sorted((one.number, k) for one in scans for k in np.flatnonzero(one.mask.any(axis=(0, 1))))
    assert sorted(pair for fold in folds for pair in slices_of(fold, fold.evaluate)) == every
    for fold in folds:
        seen, judged = slices_of(fold, fold.train), slices_of(fold, fold.evaluate)
        assert not set(seen) & set(judged) and sorted(seen + judged) == every
        assert np.array_equal(fold.stop, fold.evaluate)
        for copy, place in zip(fold.scans, fold.place, strict=True):
            whole = scans[place]
            assert copy.images is whole.images and copy.number == whole.number, "shared, hence whole"
            held = copy.mask.any(axis=(0, 1))
            assert np.array_equal(copy.mask, whole.mask & held)
            assert np.array_equal(copy.lesion & copy.mask, whole.lesion & copy.mask)
            assert not (copy.lesion & ~copy.mask & whole.mask).any()
    assert all(one.mask[..., :-1].any(axis=(0, 1)).all() for one in scans), "what was given is as it was"


def test_by_slice_patches_lie_in_the_slices_of_their_copies_with_the_labels_of_the_cohort(sliced):
    scans, how, folds = sliced
    row = VARIANTS["rt"]
    stack = crossvalidation.resident(scans, row, how, "cpu")
    assert len(stack.images) == sum(one.mask.shape[2] for one in scans), "images lie there once"
    first = dict(zip([one.number for one in scans], stack.first_slice, strict=True))
    for fold in folds:
        sets = crossvalidation.sets(fold, stack, row, how)
        for found, part in ((sets.training, fold.train), (sets.stopping, fold.stop)):
            assert set(found.starts[:, 0]) == {first[number] + k for number, k in slices_of(fold, part)}
        network = Network(5).eval()
        seen = dict(crossvalidation.mistaken(fold, network, dataclasses.replace(row, patch_size=48), how))
        assert set(seen) == {*fold.train.tolist(), *fold.stop.tolist()}
        assert all(not (found & ~fold.scans[i].mask).any() for i, found in seen.items())


def test_by_slice_a_network_depends_on_the_slices_and_copies_without_brain_train_nothing(sliced, tmp_path):
    scans, how, folds = sliced
    row = VARIANTS["rt"]
    other = dataclasses.replace(folds[0], scans=[*folds[0].scans[1:], folds[0].scans[0]])
    (job,), (another,) = (crossvalidation.jobs(fold, row, how, tmp_path, ["a"]) for fold in (folds[0], other))
    assert job.digest != another.digest
    of = [np.zeros(one.mask.shape[2], int) for one in scans]
    of[1][:] = 1
    found = crossvalidation._split_slices(scans, 0, of, how)
    assert found.train.tolist() == [1] and [found.scans[i].number for i in found.evaluate] == [1, 3, 4]
    with pytest.raises(ValueError, match="fold 2 holds no slice with brain"):
        crossvalidation._split_slices(scans, 2, of, how)


def test_by_slice_inner_folds_hold_patients_back_of_the_training_slices(sliced):
    scans, how, _ = sliced
    inner = dataclasses.replace(how, folds=dataclasses.replace(how.folds, inner_split=True))
    fold = crossvalidation.split(scans, 1, inner)
    held, kept = ({fold.scans[i].patient for i in part} for part in (fold.stop, fold.train))
    assert held and not held & kept and max(fold.stop) < len(scans) <= min(fold.evaluate)


def test_beside_a_network_lie_those_of_its_own_training_alone(folds, tmp_path):
    """Snapshots of an older budget and the state to go on from lie in the same folder."""
    (job,) = crossvalidation.jobs(folds[0], VARIANTS["rt"], SETTINGS, tmp_path, ["a"] * 6)
    made = {".at60": job.digest, ".dice": job.digest, ".at30": "that of an older one", ".checkpoint": job.digest}
    for kept, digest in made.items():
        inference.save_network(job.kept_file(kept), Network(5), {"digest": digest})
    inference.save_network(job.network_file, Network(5), {"digest": job.digest})
    assert crossvalidation.beside(job) == [job.kept_file(".at60"), job.kept_file(".dice")]


def test_inputs_that_are_many_lie_in_half_the_memory():
    assert SETTINGS.compute.resident == "float32"
    for extra, dtype in (("", torch.float32), ("curves", torch.float16)):
        row = dataclasses.replace(VARIANTS["rt_sm"], extra=extra)
        assert crossvalidation.resident([scan(1, 1)], row, SETTINGS, "cpu").images.dtype == dtype
