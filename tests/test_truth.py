"""What the phantom knows of a scan: it is what the seed makes again, and no other scan gets it."""

import dataclasses

import numpy as np
import pytest

from strokelib import cases
from strokelib.phantom.cohort import make_cohort
from strokelib.phantom.scan import make_case
from strokelib.phantom.truth import truth_of
from strokelib.run.settings import Cohort

COHORT = Cohort(
    seed=5, training_patients=1, testing_patients=1, max_slices=2, difficulty="real", series_cases=0, compress=False,
    jobs=1,
)  # fmt: skip


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("truth") / "small"
    make_cohort(folder, COHORT)
    return folder


@pytest.fixture(scope="module")
def scan(root):
    return cases.load_case(cases.find_cases(root, "TRAINING")[0])


def test_truth_is_what_the_seed_makes_again(root, scan):
    truth, again = truth_of(root, COHORT, "TRAINING", scan), make_case(COHORT, "TRAINING", scan.number)
    assert np.array_equal(again.images["OT"] > 0, scan.lesion), "the outline tells that it is this scan"
    assert np.array_equal(truth.core, again.truth["core"])
    np.testing.assert_allclose(truth.flow, again.truth["f"], atol=6e-4)
    assert truth.flow.dtype == np.float32 and truth.core.any() and truth.flow[truth.core].max() < 0.8


def test_a_testing_scan_has_a_truth_without_its_outline_being_known(root):
    scan = cases.load_case(cases.find_cases(root, "TESTING")[0])
    assert scan.lesion is None and truth_of(root, COHORT, "TESTING", scan).core.any()


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        (lambda scan: {"patient": "Train_09"}, "its patient is Train_09, but the truth .* for Train_01"),
        (lambda scan: {"spacing": scan.spacing * 2}, "its voxel in mm is "),
        (lambda scan: {"images": scan.images[:, :, :, :1]}, r"its size is \(256, 256, 1\)"),
        (lambda scan: {"lesion": np.zeros_like(scan.lesion)}, "its number of outlined voxels is 0, "),
    ],
)
def test_another_scan_is_refused_by_what_differs(root, scan, changed, words):
    with pytest.raises(ValueError, match=f"case_1: {words}"):
        truth_of(root, COHORT, "TRAINING", dataclasses.replace(scan, **changed(scan)))


def test_another_cohort_or_none_is_refused(root, scan, tmp_path):
    with pytest.raises(ValueError, match=r"seed 6\), whose truth was asked for; run notebook 01 again"):
        truth_of(root, dataclasses.replace(COHORT, seed=6), "TRAINING", scan)
    with pytest.raises(ValueError, match="does not hold the whole synthetic cohort"):
        truth_of(tmp_path, COHORT, "TRAINING", scan)
