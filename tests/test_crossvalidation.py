import dataclasses

import numpy as np
import pytest
from test_training import DEMO, scan

from strokelib import crossvalidation, inference
from strokelib.network import Network
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
    expected = inference.predict_case([network], one.images[:5], one.mask, 24, patch_size=48) > 0.5
    assert np.array_equal(found[i], expected)
