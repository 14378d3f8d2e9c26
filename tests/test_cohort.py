import csv
import dataclasses
import hashlib
import itertools
import json
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from scipy import ndimage

from strokelib import cases
from strokelib.modalities import ISLES
from strokelib.phantom import perfusion
from strokelib.phantom.cohort import finished, iter_cohort, make_case, make_cohort, plan_cohort
from strokelib.phantom.pathology import KNOBS, Knobs
from strokelib.run import runtime
from strokelib.run.settings import Cohort

COHORT = Cohort(
    seed=3, training_patients=2, testing_patients=1, max_slices=2, difficulty="real", series_cases=1, compress=False,
    jobs=1,
)  # fmt: skip
FULL = replace(COHORT, training_patients=63, testing_patients=40, max_slices=22)
QUIET = replace(Knobs(), noise=0.0, motion=0.0, p_zero_csf=0.0, p_recanalized=0.0)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cohort") / "small"
    make_cohort(folder, COHORT)
    return folder


@pytest.fixture(scope="module")
def summary(root):
    return json.loads((root / "phantom.json").read_text())


@pytest.fixture(scope="module")
def quiet():
    """Return a scan without noise and motion, smoothed hardly at all, and its 4-D series."""
    return make_case(COHORT, "TRAINING", 1, replace(QUIET, smooth=0.5), keep_series=True)


def hashes(folder):
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


# Plan


def test_the_full_cohort_has_the_geometry_of_the_real_one():
    with open(runtime.ROOT / "data" / "isles18_cases.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    plans = plan_cohort(FULL)
    assert len(rows) == len(plans) == 94 + 62
    for row, plan in zip(rows, plans, strict=True):
        assert (row["split"] == "train") == (plan.split == "TRAINING")
        assert (int(row["case"]), int(row["patient"]), row["slab"]) == (plan.number, plan.patient, plan.slab)
        assert (int(row["slices"]), int(row["timepoints"])) == (plan.slices, plan.frames)
        assert (float(row["spacing_x_mm"]), float(row["spacing_z_mm"])) == (plan.px_mm, plan.dz_mm)


def test_a_smaller_cohort_keeps_the_mix_the_limit_and_whole_patients():
    plans = plan_cohort(replace(COHORT, training_patients=20, testing_patients=8, max_slices=8))
    assert {p.slices for p in plans} == {2, 4, 8}
    for split, count in (("TRAINING", 20), ("TESTING", 8)):
        own = [p for p in plans if p.split == split]
        assert [p.number for p in own] == list(range(1, len(own) + 1))
        assert sorted({p.patient for p in own}) == list(range(1, count + 1))
        for patient in range(1, count + 1):
            slabs = [p for p in own if p.patient == patient]
            assert [p.slab for p in slabs] == ["A", "B"][: len(slabs)]
            assert len({(p.slices, p.quantile, p.reperfusion, p.two_slabs) for p in slabs}) == 1
            assert slabs[0].two_slabs == (len(slabs) == 2)
        # Each patient has a volume stratum of its own.
        strata = sorted({p.quantile for p in own})
        np.testing.assert_allclose(strata, (np.arange(count) + 0.5) / count)
        # So is the chance of reperfusion: a tenth of a split has it, give or take one patient.
        chance = sorted({p.reperfusion for p in own})
        np.testing.assert_array_equal(np.floor(np.array(chance) * count), np.arange(count))


def test_too_many_patients_are_refused():
    with pytest.raises(ValueError, match=r"training_patients is 60 but only \d+ have at most 2 slices"):
        plan_cohort(replace(COHORT, training_patients=60))
    with pytest.raises(ValueError, match="no TESTING case 99; this cohort has cases 1 to"):
        make_case(COHORT, "TESTING", 99)


# Layout


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


def test_ids_are_unique_and_of_no_real_case():
    with open(runtime.ROOT / "data" / "isles18_cases.csv", newline="") as file:
        real = {int(r[c]) for r in csv.DictReader(file) for c in r if c.endswith("_id") and r[c]}
    ids = [n for plan in plan_cohort(FULL) for n in plan.ids.values()]
    assert len(ids) == len(set(ids)) == 7 * 156
    assert not real & set(ids)
    first = plan_cohort(COHORT)[0].ids
    assert first["CT_4DPWI"] == 900000 and first["OT"] == 900005 and first["CT_Tmax"] == 900006


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


# Physics


def test_the_series_gives_the_maps(quiet):
    how = perfusion.Deconvolution(smoothing_px=0.5)
    maps = perfusion.maps_from_series(quiet.series, quiet.brain, quiet.aif, 1.0, how)
    shown = quiet.images["CT_Tmax"] + quiet.images["CT_CBV"] > 0
    assert shown.sum() > 0.9 * quiet.brain.sum()
    for name, scale, step in (("CBF", 10, 1), ("CBV", 10, 1), ("MTT", 1, 0.1), ("Tmax", 1, 0.1)):
        difference = np.abs(scale * maps[name] - quiet.images[f"CT_{name}"])[shown]
        assert np.mean(difference <= 0.51 * step + 1e-3) > 0.99, name


def test_noise_free_maps_follow_the_truth(quiet):
    gray = (quiet.truth["G"] > 0.9) & (quiet.images["CT_CBV"] > 0) & (quiet.truth["cbv"] < 7)
    measured, true = quiet.images["CT_CBV"][gray] / 10, quiet.truth["cbv"][gray]
    assert np.median(np.abs(measured / true - 1)) < 0.15
    assert np.corrcoef(measured, true)[0, 1] > 0.8
    cbf = quiet.images["CT_CBF"][gray] / 10
    assert 0.4 < np.median(cbf / quiet.truth["cbf"][gray]) < 1  # deconvolution flattens peaks
    assert np.corrcoef(cbf, quiet.truth["cbf"][gray])[0, 1] > 0.8
    solid = (quiet.truth["G"] + quiet.truth["W"] > 0.9) & (quiet.images["CT_CBV"] > 0)
    delay, tmax = quiet.truth["delay"][solid], quiet.images["CT_Tmax"][solid]
    edges = np.quantile(delay, np.linspace(0, 1, 9))
    means = [tmax[(delay >= a) & (delay <= b)].mean() for a, b in itertools.pairwise(edges)]
    assert (np.diff(means) > 0).all()


def test_noise_reaches_the_maps():
    smooth = replace(QUIET, smooth=2.4)
    clean = make_case(COHORT, "TRAINING", 1, smooth)
    noisy = make_case(COHORT, "TRAINING", 1, replace(smooth, noise=3.0))
    np.testing.assert_array_equal(clean.images["CT"], noisy.images["CT"])
    np.testing.assert_array_equal(clean.images["OT"], noisy.images["OT"])
    inside = clean.truth["G"] + clean.truth["W"] > 0.9
    for name, low, high in (("CT_CBF", 3, 60), ("CT_CBV", 0.5, 8), ("CT_Tmax", 0.1, 3)):
        change = (noisy.images[name].astype(float) - clean.images[name])[inside]
        assert low < change.std() < high, name


def test_ct_noise_has_the_asked_standard_deviation():
    flat = make_case(COHORT, "TRAINING", 1, replace(QUIET, ct_noise=0.0))
    noisy = make_case(COHORT, "TRAINING", 1, replace(QUIET, ct_noise=3.5))
    difference = (noisy.images["CT"] - flat.images["CT"])[flat.brain]
    assert difference.std() == pytest.approx(3.5, rel=0.1)


def test_a_confounder_changes_maps_but_not_the_stroke():
    plain = make_case(COHORT, "TRAINING", 2, replace(QUIET, p_old=0.0))
    scarred = make_case(COHORT, "TRAINING", 2, replace(QUIET, p_old=1.0))
    for name in ("core", "f", "G"):
        np.testing.assert_array_equal(plain.truth[name], scarred.truth[name], err_msg=name)
    np.testing.assert_array_equal(plain.images["OT"], scarred.images["OT"])
    assert scarred.record["lesion"]["old_infarcts"] and not plain.record["lesion"]["old_infarcts"]


def test_two_slabs_of_a_patient_share_head_and_side_and_lie_on_top_of_each_other(summary):
    first, second = summary["cases"][:2]
    assert (first["patient"], first["slab"]) == (second["patient"], "A") and second["slab"] == "B"
    assert first["head"] == second["head"]
    assert first["lesion"]["side"] == second["lesion"]["side"]
    assert second["center_z"] - first["center_z"] == pytest.approx(first["slices"] * first["dz_mm"])


def test_difficulty_moves_label_and_noise():
    def ceiling(difficulty):
        dice = []
        for number in (1, 3, 4):
            case = make_case(replace(COHORT, difficulty=difficulty), "TRAINING", number)
            core, label = case.truth["core"], case.images["OT"] > 0
            dice.append(2 * (core & label).sum() / (core.sum() + label.sum()))
        return np.mean(dice)

    assert ceiling("easy") > 0.93 > ceiling("hard")


def test_the_head_looks_like_its_reflection_at_the_midline_and_nowhere_else():
    case = make_case(COHORT, "TRAINING", 1)
    ct = np.clip(case.images["CT"][..., 0], 0, 100).astype(float)
    (nx, ny, offset) = case.truth["midline"][0]

    def likeness(turn_deg=0.0, shift_px=0.0):
        angle = np.arctan2(ny, nx) + np.deg2rad(turn_deg)
        normal = np.array([np.cos(angle), np.sin(angle)])
        # A point of the line in the middle of the head, and the reflection at the line through it.
        point = np.array([127.5, 127.5]) + (offset - 127.5 * (nx + ny)) * np.array([nx, ny]) + shift_px * normal
        matrix = np.eye(2) - 2 * np.outer(normal, normal)
        mirrored = ndimage.affine_transform(ct, matrix, 2 * (normal @ point) * normal, order=1)
        return np.corrcoef(mirrored.ravel(), ct.ravel())[0, 1]

    best = likeness()
    assert best > 0.75
    assert best > max(likeness(shift_px=-5), likeness(shift_px=5), likeness(turn_deg=-6), likeness(turn_deg=6)) + 0.03
