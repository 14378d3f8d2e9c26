import json

import nibabel as nib
import numpy as np
import pytest

from strokelib import cases
from strokelib.modalities import ISLES
from strokelib.nifti import CaseError

SHAPE, SPACING = (32, 32, 3), (0.9, 0.9, 5.0)
NAMES = {"CT": "CT", "CBF": "CT_CBF", "CBV": "CT_CBV", "MTT": "CT_MTT", "Tmax": "CT_Tmax", "OT": "OT"}


def write_image(folder, modality, number, array, suffix=".nii", spacing=SPACING, prefix="SMIR.Brain.XX.O."):
    name = f"{prefix}{modality}.{number}"
    image = nib.Nifti1Image(array, None)
    image.header["pixdim"][1:4] = spacing
    image.header.set_sform(np.eye(4), 2)
    (folder / name).mkdir(parents=True)
    image.to_filename(folder / name / (name + suffix))
    return folder / name / (name + suffix)


def write_case(root, number=1, split="TRAINING", suffix=".nii", description="ISLES 2018 - TRAIN - Train_01_A - CT"):
    rng = np.random.default_rng(number)
    folder = root / split / f"case_{number}"
    paths = {}
    for m, (key, modality) in enumerate(NAMES.items()):
        if key == "OT" and split == "TESTING":
            continue
        array = rng.integers(0, 2 if key == "OT" else 90, SHAPE).astype(np.uint8 if key == "OT" else np.int32)
        paths[key] = write_image(folder, modality, 900000 + 7 * number + m, array, suffix)
    if description:
        paths["CT"].with_name("info.json").write_text(json.dumps({"description": description}))
    return paths


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_a_case_is_found_and_loaded(tmp_path, suffix):
    paths = write_case(tmp_path, suffix=suffix)
    (found,) = cases.find_cases(tmp_path, "TRAINING")
    assert (found.number, found.patient, found.slab) == (1, "Train_01", "A")
    assert found.files == paths and found.ids["MTT"] == 900010
    case = cases.load_case(found)
    assert case.images.shape == (5, *SHAPE) and case.images.dtype == np.float32
    assert np.allclose(case.spacing, SPACING)  # although the affine says 1 mm
    assert found.modalities == case.modalities == ISLES and found.reference == paths["CT"]
    for modality in ISLES:
        assert np.array_equal(case.image(modality), nib.load(paths[modality]).get_fdata())
    assert case.lesion.dtype == bool and case.lesion.sum() == nib.load(paths["OT"]).get_fdata().sum()


def test_cases_come_in_numeric_order_and_testing_has_no_lesion(tmp_path):
    for number in (10, 9, 2):
        write_case(tmp_path, number, "TESTING", description=f"ISLES 2018 - TEST - Test_{number:02d}_A - CT")
    found = cases.find_cases(tmp_path, "TESTING")
    assert [f.number for f in found] == [2, 9, 10]
    assert cases.load_case(found[0]).lesion is None


def test_the_early_release_with_MR_names_is_read(tmp_path):
    paths = write_case(tmp_path)
    old = paths["CBF"]
    old.rename(old.with_name(old.name.replace("CT_CBF", "MR_CBF")))
    assert cases.find_cases(tmp_path, "TRAINING")[0].files["CBF"].name.startswith("SMIR.Brain.XX.O.MR_CBF")


def test_the_real_test_scans_say_testing(tmp_path):
    write_case(tmp_path, 3, "TESTING", description="ISLES 2018 - TEST - Testing_07_B - CT")
    found = cases.find_cases(tmp_path, "TESTING")[0]
    assert (found.patient, found.slab) == ("Test_07", "B")


def test_a_missing_modality_names_case_and_pattern(tmp_path):
    write_case(tmp_path)["Tmax"].unlink()
    with pytest.raises(CaseError, match=r"case_1 has no Tmax image .*_Tmax"):
        cases.find_cases(tmp_path, "TRAINING")


def test_a_duplicate_modality_is_refused(tmp_path):
    write_case(tmp_path)
    write_image(tmp_path / "TRAINING" / "case_1", "CT_MTT", 5, np.zeros(SHAPE, np.int32))
    with pytest.raises(CaseError, match="case_1 has 2 MTT images"):
        cases.find_cases(tmp_path, "TRAINING")


def test_every_bad_folder_is_in_one_message_and_the_good_ones_can_be_had(tmp_path):
    for number in (1, 2, 3, 12):
        paths = write_case(tmp_path, number)
        if number in (2, 12):
            paths["CBV"].unlink()
    found, problems = cases.list_cases(tmp_path, "TRAINING")
    assert [f.number for f in found] == [1, 3] and sorted(problems) == [2, 12]
    with pytest.raises(CaseError, match=r"(?s)^case_2 has no CBV image .*\ncase_12 has no CBV image [^\n]*$"):
        cases.find_cases(tmp_path, "TRAINING")
    assert cases.find_cases(tmp_path, "TRAINING", np.array([3, 1])) == found
    with pytest.raises(CaseError, match=r"^case_4 needs one folder case_4 in .*, found none; "):
        cases.find_cases(tmp_path, "TRAINING", [1, 4])
    assert cases.find_cases(tmp_path, "TRAINING", []) == []


def test_missing_folders_say_what_was_looked_for(tmp_path):
    with pytest.raises(FileNotFoundError, match="no folder TRAINING"):
        cases.find_cases(tmp_path, "TRAINING")
    (tmp_path / "TRAINING").mkdir()
    with pytest.raises(FileNotFoundError, match="no case_N folder"):
        cases.find_cases(tmp_path, "TRAINING")
    with pytest.raises(ValueError, match="split must be one of"):
        cases.find_cases(tmp_path, "training")


def test_the_patient_comes_from_the_table_by_image_id(tmp_path):
    """A folder without json falls back on the facts of the real data set: case 2 is slab B of patient 1."""
    paths = write_case(tmp_path, 2, description=None)
    with pytest.raises(CaseError, match="patient of case_2 is unknown"):
        cases.find_cases(tmp_path, "TRAINING")
    ct = paths["CT"]
    ct.rename(ct.with_name("SMIR.Brain.XX.O.CT.345569.nii"))
    found = cases.find_cases(tmp_path, "TRAINING")[0]
    assert (found.patient, found.slab) == ("Train_01", "B")


def test_a_folder_holds_one_split_or_both_or_none(tmp_path):
    assert cases.splits_there(tmp_path) == () and cases.splits_there(tmp_path / "gone") == ()
    write_case(tmp_path, 1)
    assert cases.splits_there(tmp_path) == ("TRAINING",)
    (tmp_path / "TESTING").mkdir()
    assert cases.splits_there(tmp_path) == ("TRAINING",)
    with pytest.raises(FileNotFoundError):
        cases.find_cases(tmp_path, "TESTING")
    write_case(tmp_path, 1, "TESTING", description="ISLES 2018 - TEST - Test_01_A - CT")
    assert cases.splits_there(tmp_path) == cases.splits_there(tmp_path, "synthetic") == cases.SPLITS


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a[:, :, :2], "must agree"),
        (lambda a: np.where(a == a.max(), np.nan, a).astype(np.float32), "NaN or infinite"),
        (lambda a: a[..., None].repeat(2, 3), "4-D"),
    ],
)
def test_a_damaged_modality_is_one_clear_error(tmp_path, change, message):
    paths = write_case(tmp_path)
    array = nib.load(paths["CBV"]).get_fdata()
    image = nib.Nifti1Image(change(array), None)
    image.header["pixdim"][1:4] = SPACING
    image.to_filename(paths["CBV"])
    with pytest.raises(CaseError, match=message) as error:
        cases.load_case(cases.find_cases(tmp_path, "TRAINING")[0])
    assert "case_1" in str(error.value) and "CT_CBV" in str(error.value)


def test_a_truncated_file_and_a_foreign_label_are_named(tmp_path):
    paths = write_case(tmp_path, suffix=".nii.gz")
    whole = paths["MTT"].read_bytes()
    paths["MTT"].write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CaseError, match=r"cannot read .*CT_MTT"):
        cases.load_case(cases.find_cases(tmp_path, "TRAINING")[0])
    paths["MTT"].write_bytes(whole)
    nib.Nifti1Image(np.full(SHAPE, 3, np.uint8), None, nib.load(paths["OT"]).header).to_filename(paths["OT"])
    with pytest.raises(CaseError, match="values other than 0 and 1"):
        cases.load_case(cases.find_cases(tmp_path, "TRAINING")[0])


def test_the_raw_series_is_read_or_named(tmp_path):
    write_case(tmp_path)
    frames = np.random.default_rng(0).normal(50, 9, (*SHAPE, 5)).astype(np.float32)
    path = write_image(tmp_path / "TRAINING" / "case_1", "CT_4DPWI", 4, frames, spacing=SPACING)

    def write(array, step):
        image = nib.Nifti1Image(array, None)
        image.header["pixdim"][1:5] = (*SPACING, step)
        image.to_filename(path)

    (found,) = cases.find_cases(tmp_path, "TRAINING")
    write(frames, 1.5)
    series, step = cases.load_series(found)
    assert np.array_equal(series, frames) and series.dtype == np.float32 and step == 1.5
    for array, step, message in (
        (frames[:-1], 1.5, "expected the CT's"),
        (frames, 0.0, "a positive time"),
        (frames, np.nan, "a positive time"),
        (frames[..., 0], 1.5, r"expected \(x, y, slice, time\)"),
        (frames * np.nan, 1.5, "NaN"),
    ):
        write(array, step)
        with pytest.raises(CaseError, match=rf"case_1: .*CT_4DPWI.*{message}"):
            cases.load_series(found)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CaseError, match=r"case_1: cannot read .*CT_4DPWI"):
        cases.load_series(found)
