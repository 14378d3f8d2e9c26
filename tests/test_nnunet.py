"""Our scans and folds in nnU-Net's format, and its predictions by our metrics; all of it without nnU-Net."""

import dataclasses
import json
import subprocess
import sys
import types

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk
import torch
import twin
from test_settings import changed, tool

from strokelib import cases, crossvalidation, metrics
from strokelib.preprocess import Preprocessed
from strokelib.run.settings import load_settings

nnunet, steps = tool("nnunet"), tool("nnunet_steps")
NUMBERS = (1, 2, 3, 4, 5)  # of three patients: slabs A and B, A and B, A
PATIENTS = ["Train_01", "Train_01", "Train_02", "Train_02", "Train_03"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Settings of three folds of five scans, and the folder that they were converted to."""
    folder = tmp_path_factory.mktemp("nnunet")
    root = twin.write(folder / "isles", twin.scans("TRAINING", NUMBERS))
    given = {"data.source": "isles2018", "data.folder": str(root), "folds.count": 3, "compute.portable": False}
    settings = load_settings(changed(folder, given))
    return settings, folder / "out", nnunet.convert(settings, folder / "out")


def raw(target):
    return target / "nnUNet_raw" / nnunet.DATASET


def test_files_are_named_as_nnunet_reads_them(made):
    _, target, _ = made
    images = sorted(path.name for path in (raw(target) / "imagesTr").iterdir())
    assert images == [f"case_00{n}_000{k}.nii.gz" for n in NUMBERS for k in range(5)]
    assert sorted(path.name for path in (raw(target) / "labelsTr").iterdir()) == [f"case_00{n}.nii.gz" for n in NUMBERS]
    facts = json.loads((raw(target) / "dataset.json").read_text())
    assert facts == {
        "channel_names": {"0": "CT", "1": "CBF", "2": "CBV", "3": "MTT", "4": "Tmax"},
        "labels": {"background": 0, "core": 1},
        "numTraining": 5,
        "file_ending": ".nii.gz",
    }


def test_voxels_and_spacing_are_those_of_the_scan_whoever_reads_them(made):
    settings, target, _ = made
    for file in cases.find_cases(settings.data_root, "TRAINING"):
        case, name = cases.load_case(file), f"case_{file.number:03d}"
        for place, array in enumerate(case.images):
            path = raw(target) / "imagesTr" / f"{name}_{place:04d}.nii.gz"
            image, other = nib.load(path), sitk.ReadImage(path)
            assert np.array_equal(np.asarray(image.dataobj), array) and image.get_data_dtype() == np.float32
            assert np.allclose(image.header.get_zooms(), case.spacing)
            assert np.allclose(image.affine, np.diag([*case.spacing, 1])), "the challenge's files have the identity"
            assert np.allclose(other.GetSpacing(), case.spacing)
            assert np.array_equal(sitk.GetArrayFromImage(other).T, array)
        label = nib.load(raw(target) / "labelsTr" / f"{name}.nii.gz")
        assert np.array_equal(np.asarray(label.dataobj), case.lesion) and label.get_data_dtype() == np.uint8
        assert {*np.unique(label.dataobj)} == {0, 1} and np.allclose(label.affine, image.affine)


def test_splits_are_our_folds_and_no_patient_is_on_both_sides(made):
    _, target, table = made
    parts = json.loads((target / "nnUNet_preprocessed" / nnunet.DATASET / "splits_final.json").read_text())
    assert len(parts) == 3 and table["patient"].tolist() == PATIENTS
    of = dict(zip((f"case_00{n}" for n in NUMBERS), PATIENTS, strict=True))
    for part in parts:
        assert sorted(part["train"] + part["val"]) == sorted(of) and part["val"]
        assert not {of[name] for name in part["train"]} & {of[name] for name in part["val"]}
    assert sorted(name for part in parts for name in part["val"]) == sorted(of), "each is judged once"


@pytest.mark.parametrize("scheme", ["contiguous", "balanced"])
def test_folds_are_those_that_our_networks_are_trained_on(made, scheme):
    settings = made[0]
    settings = dataclasses.replace(settings, folds=dataclasses.replace(settings.folds, scheme=scheme))
    slices = [2, 4, 8, 8, 2]
    scans = [
        Preprocessed(np.zeros((10, 4, 4, z)), np.ones((4, 4, z), bool), None, np.ones(3), n, p, np.eye(3), 1.0, 1.0)
        for n, p, z in zip(NUMBERS, PATIENTS, slices, strict=True)
    ]
    parts = nnunet.splits(NUMBERS, nnunet.our_folds(PATIENTS, slices, settings))
    for fold, part in enumerate(parts):
        own = crossvalidation.split(scans, fold, settings)
        assert part["val"] == [f"case_00{scan.number}" for scan in own.evaluated]
        assert part["train"] == [f"case_00{NUMBERS[i]}" for i in own.train]


def test_folds_that_leak_are_refused(made):
    settings = dataclasses.replace(made[0], folds=dataclasses.replace(made[0].folds, scheme="by_scan"))
    with pytest.raises(ValueError, match=r"folds.scheme = 'by_scan' leaks; choose 'contiguous' or 'balanced'"):
        nnunet.our_folds(PATIENTS, [2] * 5, settings)


def test_a_folder_of_other_scans_is_refused_and_one_of_the_same_is_written_again(made, tmp_path):
    settings, _, table = made
    labels = raw(tmp_path) / "labelsTr"
    labels.mkdir(parents=True)
    (labels / "case_001.nii.gz").write_bytes(b"old")
    assert nnunet.convert(settings, tmp_path).equals(table)
    (labels / "case_090.nii.gz").write_bytes(b"")
    with pytest.raises(ValueError, match="holds 1 scans that these settings have not, such as case_090; remove it"):
        nnunet.convert(settings, tmp_path)


def test_a_scan_that_cannot_be_used_stops_it_or_is_left_out(made, tmp_path):
    root = twin.write(tmp_path / "isles", twin.scans("TRAINING", NUMBERS))
    broken = next((root / "TRAINING" / "case_5").glob("*CBF*/*.nii"))
    broken.write_bytes(broken.read_bytes()[:500])
    settings = dataclasses.replace(made[0], data=dataclasses.replace(made[0].data, folder=str(root)))
    settings = dataclasses.replace(settings, folds=dataclasses.replace(settings.folds, count=2))
    with pytest.raises(ValueError, match=r"1 training scans cannot be used: case_5: .*skip_bad_cases = true"):
        nnunet.usable(settings)
    left = dataclasses.replace(settings, data=dataclasses.replace(settings.data, skip_bad_cases=True))
    assert [file.number for file in nnunet.usable(left)] == [1, 2, 3, 4]


def test_a_scan_without_a_lesion_is_named(made, tmp_path):
    (first, *_) = cases.find_cases(made[0].data_root, "TRAINING")
    case = dataclasses.replace(cases.load_case(first), lesion=None)
    with pytest.raises(ValueError, match=r"case_1 has no lesion \(OT\)"):
        nnunet.write_scan(tmp_path, case)


def test_who_has_no_nnunet_is_told_how_to_get_it(made, tmp_path):
    bare = tmp_path / "python"  # as one without the package answers
    bare.write_text("#!/bin/sh\nexit 1\n")
    bare.chmod(0o755)
    for python in (str(bare), str(tmp_path / "no" / "python")):
        with pytest.raises(ValueError, match=r"has no nnunetv2; install it .*requirements-nnunet.txt"):
            nnunet.version(python)
    with pytest.raises(FileNotFoundError, match=r"no folds.csv in .* convert writes it"):
        nnunet.train(tmp_path, nnunet.Budget(), sys.executable, "cpu", 1)


def trained(target, budget, numbers):
    """Write what a training leaves in trainings.csv."""
    kind = {"trainer": nnunet.TRAINERS[budget.epochs], "configuration": budget.configuration}
    for fold in numbers:
        row = {"fold": fold, **kind, "updates": budget.updates, "data": nnunet.scans_digest(target)}
        nnunet.keep_row(target / "trainings.csv", row)


def predicted(target, budget, table, flip=()):
    """Write what nnU-Net would have: each scan's lesion, and nothing for some."""
    trained(target, budget, sorted({*table["fold"]}))
    for row in table.itertuples():
        name = f"case_{row.case:03d}.nii.gz"
        label = nib.load(raw(target) / "labelsTr" / name)
        mask = np.asarray(label.dataobj) * (row.case not in flip)
        path = target / "nnUNet_results" / nnunet.DATASET / budget.folder / f"fold_{row.fold}" / "validation" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        nib.save(nib.Nifti1Image(mask.astype(np.uint8), label.affine), path)
    return path.parent


def test_predictions_are_scored_by_our_metrics(made):
    settings, target, table = made
    budget = nnunet.Budget(5, 250)
    assert budget.updates == 1250 and budget.folder == "nnUNetTrainer_5epochs__nnUNetPlans__2d"
    predicted(target, budget, table, flip={3})
    scores = nnunet.score(settings, target, budget).set_index("case")
    assert scores["dsc"].to_dict() == {1: 1, 2: 1, 3: 0, 4: 1, 5: 1} and np.isinf(scores.loc[3, "hd_mm"])
    case = cases.load_case(cases.find_cases(settings.data_root, "TRAINING", [4])[0])
    expected = metrics.case_metrics(case.lesion, case.lesion, case.spacing)
    assert all(scores.loc[4, key] == value for key, value in expected.items())
    assert scores["fold"].tolist() == table["fold"].tolist() and scores["patient"].tolist() == PATIENTS
    kept = pd.read_csv(target / "nnunet_metrics.csv")
    assert kept["variant"].eq("nnunet").all() and kept["updates"].eq(1250).all() and len(kept) == 5
    line = nnunet.row_of(scores.reset_index(), settings)
    assert line.startswith("nnU-Net: DSC 80.0 % (") and "3 of 3 folds, 1250 updates each, 5 scans" in line


def test_a_row_that_was_trained_too_little_or_lacks_a_fold_is_not_run(made, tmp_path):
    settings, _, table = made
    nnunet.convert(settings, tmp_path)
    little = nnunet.Budget(1, 2)
    predicted(tmp_path, little, table[table["fold"] == 1])
    scores = nnunet.score(settings, tmp_path, little)
    assert set(scores["fold"]) == {1}
    line = nnunet.row_of(scores, settings)
    assert line.startswith("nnU-Net: not run (1 of 3 folds, 2 updates each") and line.endswith("is no evidence)")


def test_updates_are_those_that_a_fold_took_whatever_is_asked_of_score(made, tmp_path):
    settings, _, table = made
    nnunet.convert(settings, tmp_path)
    predicted(tmp_path, nnunet.Budget(1, 2), table)
    trained(tmp_path, nnunet.Budget(5, 100), [0])  # of another trainer
    trained(tmp_path, nnunet.Budget(1, 100, "3d_fullres"), [0])
    scores = nnunet.score(settings, tmp_path, nnunet.Budget(1, 250))
    assert scores["updates"].eq(2).all() and len(scores) == 5
    assert "3 of 3 folds, 2 updates each" in nnunet.row_of(scores, settings)
    trained(tmp_path, nnunet.Budget(1, 7), [0, 1, 2])
    assert nnunet.score(settings, tmp_path, nnunet.Budget(1, 250))["updates"].eq(7).all(), "the latest row counts"


def test_folds_that_were_trained_on_other_scans_are_refused(made, tmp_path):
    settings, _, table = made
    nnunet.convert(settings, tmp_path)
    predicted(tmp_path, nnunet.Budget(1, 2), table)
    nnunet.score(settings, tmp_path, nnunet.Budget(1, 2))
    label = next(iter(sorted(raw(tmp_path).glob("labelsTr/*"))))
    label.write_bytes(label.read_bytes() + b" ")
    with pytest.raises(ValueError, match=r"fold 0 was trained on other scans or folds than now lie in .* --folds 0"):
        nnunet.score(settings, tmp_path, nnunet.Budget(1, 2))


def test_a_fold_whose_updates_are_unknown_or_others_is_refused(made, tmp_path):
    settings, _, table = made
    nnunet.convert(settings, tmp_path)
    budget = nnunet.Budget(5, 100)
    predicted(tmp_path, budget, table)
    trained(tmp_path, nnunet.Budget(5, 2), [1])
    message = r"has {} for fold {} of nnUNetTrainer_5epochs in 2d, expected {} updates, .* train --folds {} --epochs 5 "
    with pytest.raises(ValueError, match=message.format("10 updates", 1, 500, 1) + "--iterations 100"):
        nnunet.score(settings, tmp_path, budget)
    rows = pd.read_csv(tmp_path / "trainings.csv")
    rows[rows["fold"] == 0].to_csv(tmp_path / "trainings.csv", index=False)
    with pytest.raises(ValueError, match=message.format("no row", 1, 500, 1) + "--iterations 100"):
        nnunet.score(settings, tmp_path, budget)
    (tmp_path / "trainings.csv").unlink()
    with pytest.raises(ValueError, match=message.format("no row", 0, 1250, 0) + "--iterations 250"):
        nnunet.score(settings, tmp_path, nnunet.Budget(5))


def test_a_missing_or_odd_prediction_is_named(made, tmp_path):
    settings, _, table = made
    nnunet.convert(settings, tmp_path)
    budget = nnunet.Budget(10)
    with pytest.raises(FileNotFoundError, match=r"no fold is predicted in .* train comes first"):
        nnunet.score(settings, tmp_path, budget)
    folder = predicted(tmp_path, budget, table)
    path = folder / "case_005.nii.gz"
    image = nib.load(path)
    nib.save(nib.Nifti1Image(np.full(image.shape, 2, np.uint8), image.affine), path)
    with pytest.raises(ValueError, match=r"case_005.nii.gz is no mask of 0 and 1 of shape \(32, 32, 8\)"):
        nnunet.score(settings, tmp_path, budget)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"fold 2 lacks .*case_005.nii.gz; train this fold again"):
        nnunet.score(settings, tmp_path, budget)


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A converted data set of one scan, what nnU-Net was called for, and a stand-in for it that behaves likewise."""
    (raw(tmp_path) / "imagesTr").mkdir(parents=True)
    (raw(tmp_path) / "labelsTr").mkdir()
    (raw(tmp_path) / "dataset.json").write_text("{}")
    (raw(tmp_path) / "imagesTr" / "case_001_0000.nii.gz").write_bytes(b"a")
    (raw(tmp_path) / "labelsTr" / "case_001.nii.gz").write_bytes(b"b")
    pd.DataFrame({"case": [1], "patient": ["p"], "slices": [2], "fold": [0]}).to_csv(tmp_path / "folds.csv")
    prepared = tmp_path / "nnUNet_preprocessed" / nnunet.DATASET
    prepared.mkdir(parents=True)
    calls, plans = [], {"2d": 12, "3d_fullres": 2}  # configurations that it plans, and their batches

    def run(asked, check=False, **_):
        asked = [*map(str, asked)]
        if asked[2] == nnunet.VERSION:
            return subprocess.CompletedProcess(asked, 0, "2.8.1\n")
        if asked[2] != nnunet.PLAN:
            calls.append(("train", *asked[2:7]))
            return None
        calls.append(("prepare", asked[asked.index("-c", 3) + 1]))
        kept = prepared / "dataset_fingerprint.json"
        if not kept.is_file():
            kept.write_bytes((raw(tmp_path) / "imagesTr" / "case_001_0000.nii.gz").read_bytes())
        known = {name: {"batch_size": batch, "patch_size": [64, 32]} for name, batch in plans.items() if batch}
        if (prepared / "nnUNetPlans.json").is_file():
            known = json.loads((prepared / "nnUNetPlans.json").read_text())["configurations"] | known
        (prepared / "nnUNetPlans.json").write_text(json.dumps({"configurations": known}))
        if plans.get("killed"):
            raise subprocess.CalledProcessError(-9, asked)

    monkeypatch.setattr(nnunet.subprocess, "run", run)
    return tmp_path, calls, plans


def prepared_for(target, calls, configuration="2d"):
    """Train, and return for which configurations nnU-Net prepared the scans at it."""
    calls.clear()
    nnunet.train(target, nnunet.Budget(1, 2, configuration), "python", "cpu", 3)
    return [what for kind, what, *_ in calls if kind == "prepare"]


def test_what_was_preprocessed_of_these_scans_is_taken_and_each_configuration_is(package):
    target, calls, _ = package
    assert prepared_for(target, calls) == ["2d"]
    assert calls[1] == ("train", "2", "3", "118", "2d", "0"), "updates and threads, then nnU-Net's own arguments"
    assert prepared_for(target, calls) == []
    assert prepared_for(target, calls, "3d_fullres") == ["3d_fullres"]
    assert prepared_for(target, calls, "3d_fullres") == prepared_for(target, calls) == []
    rows = pd.read_csv(target / "trainings.csv")
    assert rows[["configuration", "updates", "batch", "patch", "threads"]].to_numpy().tolist() == [
        ["3d_fullres", 2, 2, "64x32", 3],
        ["2d", 2, 12, "64x32", 3],
    ]


@pytest.mark.parametrize("name", ["dataset.json", "imagesTr/case_001_0000.nii.gz", "labelsTr/case_002.nii.gz"])
def test_other_scans_are_planned_and_preprocessed_anew(package, name):
    target, calls, _ = package
    prepared_for(target, calls), prepared_for(target, calls, "3d_fullres")
    (raw(target) / name).write_bytes(b"c")
    fingerprint = target / "nnUNet_preprocessed" / nnunet.DATASET / "dataset_fingerprint.json"
    fingerprint.write_text("old")
    assert prepared_for(target, calls) == ["2d"] and fingerprint.read_text() in ("a", "c")
    assert prepared_for(target, calls) == []
    assert prepared_for(target, calls, "3d_fullres") == ["3d_fullres"]


def test_scans_that_come_back_are_preprocessed_anew_since_the_plans_are_others(package):
    target, calls, _ = package
    image = raw(target) / "imagesTr" / "case_001_0000.nii.gz"
    assert prepared_for(target, calls) == ["2d"]
    image.write_bytes(b"c")
    assert prepared_for(target, calls, "3d_fullres") == ["3d_fullres"]
    image.write_bytes(b"a")
    assert prepared_for(target, calls) == ["2d"]


def test_preprocessing_that_was_killed_is_done_again(package):
    target, calls, plans = package
    plans["killed"] = True
    with pytest.raises(subprocess.CalledProcessError):
        prepared_for(target, calls)
    del plans["killed"]
    assert prepared_for(target, calls) == ["2d"] and prepared_for(target, calls) == []
    (target / "nnUNet_preprocessed" / nnunet.DATASET / "nnUNetPlans.json").unlink()
    assert prepared_for(target, calls) == ["2d"]


def test_a_configuration_that_is_not_planned_is_one_error(package):
    target, calls, plans = package
    assert prepared_for(target, calls, "3d_fullres") == ["3d_fullres"]
    plans["3d_fullres"] = None  # as for scans of one slice; nnU-Net would keep the old plan
    (raw(target) / "imagesTr" / "case_001_0000.nii.gz").write_bytes(b"c")
    for _ in range(2):
        with pytest.raises(ValueError, match="have no configuration 3d_fullres, only 2d; choose another by --config"):
            prepared_for(target, calls, "3d_fullres")
    assert prepared_for(target, calls) == ["2d"]


def test_a_data_set_that_was_removed_is_asked_for_and_what_was_made_of_it_stays(package):
    target, calls, _ = package
    prepared_for(target, calls)
    (raw(target) / "dataset.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"no data set in .* convert writes it"):
        prepared_for(target, calls)
    (raw(target) / "dataset.json").write_text("{}")
    assert prepared_for(target, calls) == []


def test_scans_that_are_converted_again_have_the_same_digest(made, tmp_path):
    settings, target, _ = made
    nnunet.convert(settings, tmp_path)
    assert nnunet.data_digest(raw(tmp_path)) == nnunet.data_digest(raw(target))


def test_a_later_training_of_a_fold_takes_the_place_of_an_earlier_one(tmp_path):
    path, row = tmp_path / "trainings.csv", {"fold": 0, "trainer": "a", "configuration": "2d", "updates": 2}
    for fold, seconds in ((0, 5), (1, 6), (0, 7)):
        nnunet.keep_row(path, row | {"fold": fold, "seconds": seconds})
    assert pd.read_csv(path)[["fold", "seconds"]].to_numpy().tolist() == [[1, 6], [0, 7]]


def test_nnunet_finds_its_folders_by_its_variables(tmp_path):
    found = nnunet.surroundings(tmp_path, 3)
    for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        assert found[name] == str(tmp_path / name)
    assert found["OMP_NUM_THREADS"] == found["nnUNet_n_proc_DA"] == "3"


def test_a_trainer_is_shortened_whatever_it_is_made_with():
    class Trainer:
        def __init__(self, plans, fold=0):
            self.plans, self.fold = plans, fold
            self.num_iterations_per_epoch, self.num_val_iterations_per_epoch = 250, 50

    steps.shorten(Trainer, 10)
    made = Trainer("plans", fold=3)
    assert (made.num_iterations_per_epoch, made.num_val_iterations_per_epoch) == (10, 2)
    assert made.plans == "plans" and made.fold == 3


ENTRY = """
def run_training(*asked, device):
    seen.append((device.type, torch.get_num_threads(), asked))

def run_training_entry():  # as nnU-Net's does, whatever OMP_NUM_THREADS says
    torch.set_num_threads(7 if kind == "cpu" else 1)
    run_training(*sys.argv[1:], device=torch.device(kind))
"""


@pytest.mark.parametrize(("kind", "threads"), [("cpu", 3), ("cuda", 1)])
def test_a_training_takes_as_many_threads_as_it_is_said_to_have(monkeypatch, kind, threads):
    class Trainer:
        pass

    entry, base = types.ModuleType("nnunetv2.run.run_training"), types.ModuleType("nnUNetTrainer")
    seen, base.nnUNetTrainer = [], Trainer
    vars(entry).update(seen=seen, kind=kind, torch=torch, sys=sys)
    exec(ENTRY, vars(entry))
    home = types.ModuleType("nnunetv2.run")
    home.run_training = entry
    for name in ("nnunetv2", "nnunetv2.training", "nnunetv2.training.nnUNetTrainer"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, "nnunetv2.run", home)
    monkeypatch.setitem(sys.modules, "nnunetv2.run.run_training", entry)
    monkeypatch.setitem(sys.modules, "nnunetv2.training.nnUNetTrainer.nnUNetTrainer", base)
    monkeypatch.setattr(sys, "argv", ["nnunet_steps.py", "250", "3", "118", "2d", "0"])
    before = torch.get_num_threads()
    try:
        steps.main()
    finally:
        torch.set_num_threads(before)
    assert seen == [(kind, threads, ("118", "2d", "0"))]
