"""What is judged has no say in what judges it: patients, testing lesions, the pair of threshold and size."""

import dataclasses
import sys

import numpy as np
import pandas as pd
import pytest
import torch

from strokelib import cases, crossvalidation, folds, inference, nifti, preprocess, training
from strokelib.crossvalidation import Fold
from strokelib.evaluation import gridsearch
from strokelib.network import Network
from strokelib.phantom.cohort import finished, make_cohort
from strokelib.run import runtime
from strokelib.run.settings import load_settings
from strokelib.run.variants import VARIANTS
from strokelib.stack import stack_scans
from strokelib.steps import Recipe

PAIRS = [(t, s) for t in (0.2, 0.4, 0.6) for s in (10, 100)]


def random_cohort(seed):
    """Draw the patient and the slices of each scan: one to four scans a patient, mixed up in half of the cohorts."""
    generator = np.random.default_rng(seed)
    names = [f"p{n}" for n in range(generator.integers(4, 40))]
    patients = [name for name in names for _ in range(generator.integers(1, 5))]
    if seed % 2:
        patients = generator.permutation(patients).tolist()
    return patients, generator.integers(2, 23, len(patients)).tolist(), int(generator.integers(2, 5))


@pytest.mark.parametrize("scheme", ["contiguous", "balanced"])
@pytest.mark.parametrize("inner", [False, True])
def test_no_patient_is_on_two_sides(scheme, inner):
    for seed in range(150):
        patients, slices, count = random_cohort(seed)
        fold_of = folds.assign_folds(patients, count, scheme, seed, slices)
        assert set(fold_of.tolist()) == set(range(count))
        assert all(len(set(fold_of[np.array(patients) == name])) == 1 for name in patients)
        seen = []
        for fold in range(count):
            if inner and len({p for p, f in zip(patients, fold_of, strict=True) if f != fold}) < 2:
                with pytest.raises(ValueError, match="trains on one patient"):
                    folds.split_fold(fold_of, fold, patients, inner, seed, slices)
                seen += np.flatnonzero(fold_of == fold).tolist()
                continue
            train, stop, evaluate = folds.split_fold(fold_of, fold, patients, inner, seed, slices)
            sides = [{patients[i] for i in part} for part in (train, stop, evaluate)]
            assert all(len(part) for part in sides)
            assert not sides[0] & sides[2] and not sides[0] & sides[1]
            assert sides[1] == sides[2] if not inner else not sides[1] & sides[2]
            assert sorted({*train.tolist(), *stop.tolist(), *evaluate.tolist()}) == list(range(len(patients)))
            seen += evaluate.tolist()
        assert sorted(seen) == list(range(len(patients))), "every scan is evaluated once"


def scan(number, seed):
    """A small scan of noise, with a lesion."""
    generator = np.random.default_rng(seed)
    mask = np.zeros((48, 48, 1), bool)
    mask[6:42, 6:42] = True
    lesion = np.zeros_like(mask)
    lesion[12:24, generator.integers(10, 28) :][:, :10] = True
    images = generator.standard_normal((10, *mask.shape)).astype(np.float32) * mask
    return preprocess.Preprocessed(
        images, mask, lesion & mask, np.array([1.0, 1.0, 5.0]), number, f"p{number}", np.eye(3), 0.9, 0.8
    )


def trained(folder, scans, train, stop, evaluate):
    """Train one network for an epoch of four steps, as notebook 05 does; return its weights."""
    demo = load_settings("demo")
    settings = dataclasses.replace(demo.training, batch_size=8, max_updates=4, validate_every=4, snapshots=())
    variant = dataclasses.replace(VARIANTS["rt_sm"], patch_size=16)
    stack = stack_scans(scans, True, "cpu", 8)
    sampling = dataclasses.replace(demo.sampling, patches_per_case=16)
    fold, how = Fold(0, scans, train, stop, evaluate), dataclasses.replace(demo, seed=1, sampling=sampling)
    job = training.Job("network", folder, Recipe(1, 0, variant, settings, demo.compute, (2.5, 0.12)), "scans")
    training.train_fold(job, stack, crossvalidation.sets(fold, stack, variant, how))
    return inference.load_network(job.network_file)[0].state_dict()


@pytest.mark.parametrize(("changed", "same"), [("evaluate", True), ("train", False)])
def test_a_network_does_not_depend_on_the_scans_it_is_judged_on(changed, same, tmp_path):
    """With an inner split; without one the judged scans decide when to stop, as in the paper."""
    scans = [scan(n, n) for n in range(1, 9)]
    patients, slices = [s.patient for s in scans], [1] * len(scans)
    fold_of = folds.assign_folds(patients, 2)
    found = folds.split_fold(fold_of, 0, patients, True, 1, slices)
    parts = dict(zip(("train", "stop", "evaluate"), found, strict=True))
    before = trained(tmp_path / "a", scans, **parts)
    for i in parts[changed]:
        scans[i] = dataclasses.replace(scan(scans[i].number, 100 + i))
    after = trained(tmp_path / "b", scans, **parts)
    assert all(torch.equal(after[name], value) for name, value in before.items()) == same


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    """Two training scans and one or two testing scans of the synthetic cohort."""
    root = tmp_path_factory.mktemp("cohort")
    tiny = load_settings(runtime.ROOT / "tests" / "tiny.toml")
    make_cohort(root, dataclasses.replace(tiny.cohort, training_patients=2, testing_patients=1, jobs=1))
    return root


OPENED = []


def note(event, arguments):
    if event == "open" and OPENED and OPENED[0] == "noting":
        OPENED.append(str(arguments[0]))


sys.addaudithook(note)  # which cannot be taken away again


@pytest.fixture
def opened():
    """Give the names of the files opened since; the list starts with a mark."""
    OPENED[:] = ["noting"]
    yield OPENED
    OPENED.clear()


def test_a_testing_scan_is_prepared_and_predicted_without_its_truth(cohort, opened, tmp_path):
    hidden = next((cohort / ".truth" / "testing_ot").iterdir())
    (ct,) = (cohort / "TESTING" / "case_1").glob("*CT.*")
    planted = ct.with_name(ct.name.replace(".CT.", ".OT.")) / hidden.name.replace("case_1", "SMIR.Brain.XX.O.OT.1")
    planted.parent.mkdir()
    planted.write_bytes(hidden.read_bytes())
    del opened[1:]
    usable, bad = preprocess.check_cases(cohort)
    assert bad.empty
    for files in [*usable["TESTING"], *cases.find_cases(cohort, "TESTING")]:
        case = cases.load_case(files)
        assert case.lesion is None and "OT" not in files.files
        prepared = preprocess.preprocess_case(case, "rigid", "cpu")
        preprocess.save_preprocessed(tmp_path / "case.npz", prepared)
        back = preprocess.load_preprocessed(tmp_path / "case.npz")
        assert back.lesion is None
        found = inference.predict([Network(10)], back.images, back.mask, inference.Sweep(48))
        nifti.save_map(tmp_path / "map.nii.gz", found.probability, files.reference, np.float32)
    images = [name for name in opened if "TESTING" in name and ".nii" in name]
    assert len(images) >= 10, "the five images of a scan at least, twice"
    assert not [name for name in opened if ".truth" in name or ("TESTING" in name and ".OT." in name)]
    nifti.read_image(cases.hidden_truth(cohort, 1), 1)
    assert [name for name in opened if ".truth" in name], "what is looked for is found where it is opened"


def test_a_training_scan_keeps_its_lesion(cohort):
    for files in cases.find_cases(cohort, "TRAINING"):
        case = cases.load_case(files)
        assert case.lesion.any()
        assert np.array_equal(preprocess.preprocess_case(case, "rigid", "cpu").lesion, case.lesion)


def test_a_finished_cohort_is_found_so_without_its_truth(cohort, opened):
    tiny = load_settings(runtime.ROOT / "tests" / "tiny.toml")
    same = dataclasses.replace(tiny.cohort, training_patients=2, testing_patients=1, jobs=1)
    assert finished(cohort, same)
    make_cohort(cohort, same)
    assert not [name for name in opened if "testing_ot" in name or "TESTING_case" in name]


def test_the_lesion_does_not_enter_the_prepared_images(cohort):
    files = cases.find_cases(cohort, "TRAINING")[0]
    case = cases.load_case(files)
    first = preprocess.preprocess_case(case, "rigid", "cpu")
    inside = preprocess.brain_mask(case.maps)
    other = np.random.default_rng(1).random(inside.shape) < 0.3
    for lesion in (None, other & inside):
        p = preprocess.preprocess_case(dataclasses.replace(case, lesion=lesion), "rigid", "cpu")
        for name in ("images", "mask", "matrix", "score", "flip_score"):
            assert np.array_equal(getattr(p, name), getattr(first, name)), name


def random_grid(seed, n_cases=12):
    """Draw what `gridsearch.grid_search` gives, and the fold of each case."""
    generator = np.random.default_rng(seed)
    rows = [
        {"case": case, "threshold": t, "min_lesion_voxels": s, "diagonal_mm": 300.0}
        for case in range(n_cases)
        for t, s in PAIRS
    ]
    frame = pd.DataFrame(rows)
    frame["dsc"], frame["hd_mm"] = generator.random(len(frame)), generator.random(len(frame)) * 100
    frame.loc[generator.random(len(frame)) < 0.1, "hd_mm"] = np.inf
    return frame, generator.permutation(np.arange(n_cases) % 3)


def test_no_scan_chooses_its_own_pair():
    moved = 0
    for seed in range(60):
        grid, folds = random_grid(seed)
        before = gridsearch.nested_choice(grid, folds)
        for fold in before:
            own = grid["case"].isin(np.flatnonzero(folds == fold))
            generator = np.random.default_rng(1000 + seed)
            other = grid.copy()
            other.loc[own, "dsc"] = generator.random(own.sum())
            other.loc[own, "hd_mm"] = generator.random(own.sum()) * 100
            after = gridsearch.nested_choice(other, folds)
            assert after[fold] == before[fold]
            moved += sum(after[k] != before[k] for k in before if k != fold)
    assert moved > 100, "the other folds' pairs do depend on these scans"


def test_the_nested_choice_in_shuffled_order_is_the_same():
    for seed in range(20):
        grid, folds = random_grid(seed)
        order = np.random.default_rng(seed).permutation(12)
        shuffled = pd.concat([grid[grid.case == case] for case in order])
        assert gridsearch.nested_choice(shuffled, folds[order]) == gridsearch.nested_choice(grid, folds)
