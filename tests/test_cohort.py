import dataclasses
import hashlib
import json
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from strokelib import cases
from strokelib.modalities import ISLES
from strokelib.phantom.cohort import finished, iter_cohort, make_cohort
from strokelib.phantom.patient import KNOBS
from strokelib.phantom.scan import make_case, plan_cohort
from strokelib.run.settings import Cohort

COHORT = Cohort(
    seed=3, training_patients=2, testing_patients=1, max_slices=2, difficulty="real", series_cases=1, compress=False,
    jobs=1,
)  # fmt: skip


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cohort") / "small"
    make_cohort(folder, COHORT)
    return folder


@pytest.fixture(scope="module")
def summary(root):
    return json.loads((root / "phantom.json").read_text())


def hashes(folder):
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def test_scans_are_found_and_loaded_like_the_challenge(root):
    plans = plan_cohort(COHORT)
    for split in cases.SPLITS:
        found = cases.find_cases(root, split)
        own = [p for p in plans if p.split == split]
        assert [(c.number, c.patient, c.slab) for c in found] == [(p.number, p.name, p.slab) for p in own]
        for files, plan in zip(found, own, strict=True):
            case = cases.load_case(files)
            assert case.images.shape == (5, 256, 256, plan.slices)
            np.testing.assert_allclose(case.spacing, (plan.px_mm, plan.px_mm, plan.dz_mm), rtol=1e-6)
            assert (case.lesion is None) == (split == "TESTING")
            assert {k: files.ids[k] for k in files.modalities} == {
                k: plan.ids["CT" if k == "CT" else f"CT_{k}"] for k in ISLES
            }


def test_headers_and_number_types_are_those_of_the_challenge(root):
    (files, *_) = cases.find_cases(root, "TRAINING")
    types = {"CT": "i4", "CBF": "u2", "CBV": "u2", "MTT": "f8", "Tmax": "f8", "OT": "u1", "4DPWI": "f4"}
    plan = plan_cohort(COHORT)[0]
    for key, kind in types.items():
        image = nib.load(files.files[key])
        header = image.header
        assert header.get_data_dtype() == np.dtype(kind), key
        assert (int(header["sform_code"]), int(header["qform_code"])) == (2, 0)
        np.testing.assert_array_equal(image.affine, np.eye(4))
        assert header["pixdim"][0] == -1 and int(header["xyzt_units"]) == 0
        assert np.isnan(header["scl_slope"])
        # A second reader takes the spacing from pixdim, too.
        spacing = sitk.ReadImage(str(files.files[key])).GetSpacing()
        np.testing.assert_allclose(spacing[:3], (plan.px_mm, plan.px_mm, plan.dz_mm), rtol=1e-6)
    assert nib.load(files.files["4DPWI"]).shape == (256, 256, plan.slices, plan.frames)


def test_background_and_ranges(root):
    for files in cases.find_cases(root, "TRAINING"):
        case = cases.load_case(files)
        ct, maps = case.head, case.maps
        mask = maps.sum(0) > 0
        assert ct.min() == -23 and ct[0, 0, 0] == -23 and 500 < ct.max() <= 3071
        assert not maps[:, ~mask].any()
        assert (ct[mask] > 200).mean() < 0.01  # no skull
        assert 25 < np.median(ct[mask]) < 45
        area = mask.sum((0, 1)).max() * case.spacing[0] ** 2
        assert 9000 < area < 25000
        assert (maps.max((1, 2, 3)) <= (2000, 200, 25, 20)).all()
        assert case.lesion.sum() >= 60
        assert (case.lesion & mask).sum() > 0.9 * case.lesion.sum()


def test_testing_truth_lies_apart(root, summary):
    assert not [p for p in (root / "TESTING").rglob("*") if ".OT." in p.name]
    testing = [c for c in summary["cases"] if c["split"] == "TESTING"]
    assert testing and not any(key in c for key in ("lesion", "quantile", "reperfusion") for c in testing)
    assert all("lesion" in c for c in summary["cases"] if c["split"] == "TRAINING")
    for files in cases.find_cases(root, "TESTING"):
        label = np.asarray(nib.load(cases.hidden_truth(root, files.number)).dataobj)
        assert label.dtype == np.uint8 and set(np.unique(label)) == {0, 1}
        assert label.shape == cases.load_case(files).images.shape[1:]
        assert (root / ".truth" / f"TESTING_case_{files.number}.npz").is_file()
    assert "synthetic" in (root / "LICENSE.txt").read_text()


def test_truth_files_hold_what_they_promise(root):
    for files in cases.find_cases(root, "TRAINING"):
        case = cases.load_case(files)
        with np.load(root / ".truth" / f"TRAINING_case_{files.number}.npz", allow_pickle=False) as truth:
            record = json.loads(str(truth["record"]))
            core, f = truth["core"], truth["f"].astype(float)
            solid = truth["G"].astype(float) + truth["W"].astype(float)
            assert truth["midline"].shape == (core.shape[2], 3)
            assert truth["yaw_deg"] == record["head"]["yaw_deg"]
            assert truth["aif"].shape == (record["frames"],)
            assert f.min() >= 0 and f.max() <= 1.0 and solid.max() <= 1.01
        assert (solid[core] > 0.48).all()
        assert f[core].mean() < 0.5 < f[(solid > 0.5) & ~core].mean()
        dice = 2 * (core & case.lesion).sum() / (core.sum() + case.lesion.sum())
        assert dice > 0.4
        assert record["lesion"]["label_voxels"] == case.lesion.sum()
        # The stroke is on the side it should be.
        i, j, k = np.nonzero(core)
        normal = midline_of(root, files.number)[k]
        side = np.sign(normal[:, 0] * i + normal[:, 1] * j - normal[:, 2])
        assert (side == record["lesion"]["side"]).mean() > 0.95


def midline_of(root, number):
    with np.load(root / ".truth" / f"TRAINING_case_{number}.npz", allow_pickle=False) as truth:
        return truth["midline"]


# Determinism


def test_files_do_not_depend_on_jobs_or_on_the_folder(root, tmp_path):
    progress = list(iter_cohort(tmp_path / "again", replace(COHORT, jobs=2)))
    total = len(plan_cohort(COHORT))
    assert progress == [(n, total) for n in range(1, total + 1)]
    assert hashes(tmp_path / "again") == hashes(root)


def test_a_case_alone_is_the_case_in_the_cohort(root):
    files = cases.find_cases(root, "TRAINING")[2]
    alone = make_case(COHORT, "TRAINING", 3)
    for key, path in files.files.items():
        array = np.asarray(nib.load(path).dataobj)
        found = alone.images[key if key in ("CT", "OT") else f"CT_{key}"]
        assert found.dtype == array.dtype
        np.testing.assert_array_equal(found, array, err_msg=key)


def test_a_finished_cohort_is_left_alone(root):
    before = {p: p.stat().st_mtime_ns for p in root.rglob("*")}
    total = len(plan_cohort(COHORT))
    assert list(iter_cohort(root, replace(COHORT, jobs=2))) == [(total, total)]
    assert {p: p.stat().st_mtime_ns for p in root.rglob("*")} == before
    assert finished(root, COHORT)
    for change in ({"seed": 4}, {"difficulty": "hard"}, {"compress": True}, {"series_cases": 0}):
        assert not finished(root, replace(COHORT, **change)), change


def test_a_series_written_beside_the_maps_changes_none_of_them(tmp_path):
    """However many scans get one: all other files have the same sha256."""
    made = {}
    for count in (0, 1, 9):
        make_cohort(tmp_path / str(count), replace(COHORT, series_cases=count))
        made[count] = {name: digits for name, digits in hashes(tmp_path / str(count)).items() if name.endswith(".nii")}
    series = {count: {name for name in files if "4DPWI" in name} for count, files in made.items()}
    training = sum(plan.split == "TRAINING" for plan in plan_cohort(COHORT))
    assert {count: len(names) for count, names in series.items()} == {0: 0, 1: 1, 9: training}
    for count, files in made.items():
        assert {name: digits for name, digits in files.items() if name not in series[count]} == made[0], count


def test_an_interrupted_run_goes_on_where_it_was(root, tmp_path):
    folder = tmp_path / "a"
    run = iter_cohort(folder, COHORT)
    done, total = next(run)
    run.close()
    assert done == 1 and not finished(folder, COHORT)
    half = folder / "TRAINING" / "case_2"
    half.mkdir()
    (half / ".1.part.SMIR.Brain.XX.O.CT.900008.nii").write_bytes(b"half a file")
    first = next((folder / "TRAINING" / "case_1").rglob("*.CT.*.nii"))
    written = first.stat().st_mtime_ns
    progress = list(iter_cohort(folder, COHORT))
    assert progress == [(n, total) for n in range(2, total + 1)]
    assert first.stat().st_mtime_ns == written
    assert hashes(folder) == hashes(root)


def test_another_cohort_of_ours_is_replaced_and_other_files_stay(tmp_path):
    other, tiny = replace(COHORT, seed=4), replace(COHORT, training_patients=1, testing_patients=1, series_cases=0)
    next(iter_cohort(tmp_path, other))
    (tmp_path / "README").write_text("mine")
    stale = next(tmp_path.rglob("*.CT.*.nii")).read_bytes()
    make_cohort(tmp_path, replace(tiny, compress=True))
    assert finished(tmp_path, replace(tiny, compress=True))
    assert (tmp_path / "README").read_text() == "mine"
    images = [p for p in tmp_path.rglob("*") if ".nii" in p.name]
    assert images and all(p.name.endswith(".nii.gz") for p in images)
    (files, *_) = cases.find_cases(tmp_path, "TRAINING")
    assert nib.load(files.files["CT"]).to_bytes() != stale


def test_scans_of_others_are_never_touched(tmp_path):
    (tmp_path / "TRAINING" / "case_1").mkdir(parents=True)
    (tmp_path / "TRAINING" / "case_1" / "scan.nii").write_bytes(b"real")
    with pytest.raises(ValueError, match=r"holds TRAINING but no \.synthetic"):
        make_cohort(tmp_path, COHORT)
    assert (tmp_path / "TRAINING" / "case_1" / "scan.nii").read_bytes() == b"real"
    assert not (tmp_path / ".synthetic").exists()


def test_the_summary_names_the_settings_and_the_poses(summary):
    assert summary["cohort"] == {k: v for k, v in dataclasses.asdict(COHORT).items() if k != "jobs"}
    assert summary["knobs"] == dataclasses.asdict(KNOBS["real"])
    assert [c["name"] for c in summary["cases"]][:2] == ["Train_01_A", "Train_01_B"]
    assert all(abs(c["head"]["yaw_deg"]) <= 12 for c in summary["cases"])


def test_two_slabs_of_a_patient_share_head_and_side_and_lie_on_top_of_each_other(summary):
    first, second = summary["cases"][:2]
    assert (first["patient"], first["slab"]) == (second["patient"], "A") and second["slab"] == "B"
    assert first["head"] == second["head"]
    assert first["lesion"]["side"] == second["lesion"]["side"]
    assert second["center_z"] - first["center_z"] == pytest.approx(first["slices"] * first["dz_mm"])
