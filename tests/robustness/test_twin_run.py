"""The whole study on a few scans of the twin of ISLES 2018, from the two zips to the submission."""

import csv
import io
import json
import zipfile

import nibabel as nib
import numpy as np
import pytest
import shapes
import twin
from project import TINY, call, copy_project

from strokelib.run.variants import VARIANTS

SETTINGS = "tests/twin.toml"
SIDE = 96  # voxels, more than a patch has
TRAINING = twin.scans("TRAINING", (34, 35, 36, 37, 38, 41, 42))  # four patients
TESTING = twin.scans("TESTING", (1, 10, 11))
LABEL = "ISLES 2018, 7 of 94 training scans, 3 of 62 testing scans"


def rows(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A copy of the project whose settings name the folder that the zips were downloaded to."""
    folder = copy_project(tmp_path_factory.mktemp("project"))
    written = twin.write(tmp_path_factory.mktemp("twin"), TRAINING + TESTING, SIDE)
    shapes.zips(written, tmp_path_factory.mktemp("downloads", numbered=False))
    text = (folder / TINY).read_text()
    for old, new in {
        '"synthetic"': '"isles2018"',
        "data/synthetic/tiny": str(written.parent / "downloads"),
        "seeds = [7]": "seeds = []",
    }.items():
        assert old in text
        text = text.replace(old, new)
    (folder / SETTINGS).write_text(text)
    return folder


@pytest.fixture(scope="module")
def downloads(project):
    return project.parent / "downloads"


@pytest.fixture(scope="module")
def checked(project, downloads):
    return call(project, "tools/check_data.py", downloads, SETTINGS)


@pytest.fixture(scope="module")
def finished(project, checked):
    return call(project, "tools/run.py", SETTINGS)


@pytest.fixture(scope="module")
def results(project, finished):
    assert finished.returncode == 0, finished.stdout[-3000:] + finished.stderr[-3000:]
    return project / "results" / "twin"


def test_the_check_unpacks_the_zips_and_says_what_is_there(checked, downloads):
    assert checked.returncode == 0, checked.stdout + checked.stderr
    for words in ("7 of 94 training scans", "3 of 62 testing scans", "not complete", "unpacked"):
        assert words in checked.stdout
    assert len([*downloads.glob("TRAINING/case_*")]) == len(TRAINING)
    assert len([*downloads.glob("TESTING/case_*")]) == len(TESTING)
    assert not (downloads / "__MACOSX").exists()


def test_a_second_check_unpacks_nothing(checked, project, downloads):
    before = {path: path.stat().st_mtime_ns for path in downloads.rglob("*.nii")}
    told = call(project, "tools/check_data.py", downloads, SETTINGS)
    assert told.returncode == 0 and "unpacking" not in told.stdout
    assert before == {path: path.stat().st_mtime_ns for path in downloads.rglob("*.nii")}


def test_table_1_stands_beside_the_papers_rows(results, finished):
    table = rows(results / "figures" / "table1.csv")
    assert {row["variant"] for row in table if row["source"] == "this run"} == {"conventional", *VARIANTS}
    assert {row["variant"] for row in table if row["source"] == "paper"} == {*VARIANTS}
    assert f"Table 1, {LABEL}" in finished.stdout


def test_every_table_says_how_many_scans_it_was_made_from(results):
    labels = {path.name: {row.get("cohort", LABEL) for row in rows(path)} for path in results.glob("*.csv")}
    assert {name: found for name, found in labels.items() if found and found != {LABEL}} == {}


def test_slabs_of_a_patient_share_a_fold_and_every_scan_is_predicted_once(results):
    folds = {}
    for fold in (0, 1):
        for row in rows(results / "rt_sm" / f"fold{fold}" / "predictions.csv"):
            folds.setdefault(int(row["case"]), set()).add(fold)
    assert sorted(folds) == [scan.number for scan in TRAINING]
    assert {len(where) for where in folds.values()} == {1}
    patients = {}
    for scan in TRAINING:
        patients.setdefault(scan.patient, set()).update(folds[scan.number])
    assert {len(where) for where in patients.values()} == {1} and len(patients) == 4


def test_the_submission_is_read_back_as_the_challenge_would(results, downloads):
    (path,) = (results / "submission").glob("*.zip")
    with zipfile.ZipFile(path) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    ids = {int(name.split(".")[-2]): name for name in files}
    assert sorted(ids) == [346294, 346416, 346424] == sorted(scan.ids["CT_MTT"] for scan in TESTING)
    assert {name.split(".")[0] for name in files} == {"SMIR"} and {len(name.split(".")) for name in files} == {4}
    for scan in TESTING:
        image = nib.Nifti1Image.from_stream(io.BytesIO(files[ids[scan.ids["CT_MTT"]]]))
        (ct,) = downloads.glob(f"TESTING/case_{scan.number}/*.CT.*/*.nii")
        assert image.shape == (SIDE, SIDE, scan.slices) and image.get_data_dtype() == np.uint16
        assert np.isin(np.asanyarray(image.dataobj), (0, 1)).all()
        assert np.allclose(image.header["pixdim"][:4], (-1, *scan.spacing))
        for field in ("pixdim", "qform_code", "sform_code", "srow_x", "srow_y", "srow_z"):
            assert np.array_equal(image.header[field], nib.load(ct).header[field]), field


def test_a_reader_of_the_last_notebook_sees_that_the_submission_is_not_complete(results):
    book = json.loads((results / "07_leaderboard_submission.ipynb").read_text())
    outputs = [output for cell in book["cells"] for output in cell.get("outputs", [])]
    said = "".join("".join(output.get("text", "")) for output in outputs)
    assert "not complete" in said and "3 of 62" in said
