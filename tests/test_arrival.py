import csv
import dataclasses
import json
import shutil

import nibabel as nib
import numpy as np
import pytest
import twin

from strokelib import arrival
from strokelib.run.settings import load_settings

SETTINGS = load_settings("isles2018")
SOME = [1, 2, 3, 5, 7, 9]  # of five patients


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return twin.write(tmp_path_factory.mktemp("twin"), twin.scans(numbers=SOME), series=False)


@pytest.fixture
def copy(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "my scans")


def look(root, **data):
    settings = dataclasses.replace(SETTINGS, data=dataclasses.replace(SETTINGS.data, **data))
    found = arrival.look(root, settings)
    return found, arrival.text(found, "results/isles2018/data_check.csv")


def image(root, split, number, modality):
    (path,) = (root / split / f"case_{number}").glob(f"*.{modality}.*/*.nii")
    return path


def strip_names(root, split):
    for path in [*(root / split).rglob("*.nii")]:
        path.rename(path.with_name(f"{path.name.split('.')[4].split('_')[-1]}.nii"))
    for path in (root / split).rglob("*.json"):
        path.unlink()


def test_all_of_isles_is_said_to_be_there(tmp_path):
    """Nothing is amiss with a whole copy, and only the raw series, which the twin leaves out here, is said to lack."""
    found, said = look(twin.write(tmp_path))
    assert found.runs and not found.problems
    assert "94 training scans of 63 patients; slices: 51 of 2, 19 of 4, 9 of 8, 13 of 16, 2 of 22" in said
    assert "62 testing scans of 40 patients" in said
    assert found.lines[0].startswith("shape: the challenge's file names, such as SMIR.")
    (series,) = found.lines[3:]
    assert series.startswith("no raw perfusion series: ")
    assert "notebook 23, and the rows of notebooks 24 and 26 that take its maps" in series
    assert "(such as fitted and song), cannot be made; Table 1 is not affected" in series
    assert said.splitlines()[-1] == f"the study can run on it: make isles2018 DATA={tmp_path}"


def test_the_raw_series_is_no_gap_where_it_lies(tmp_path):
    found, said = look(twin.write(tmp_path, twin.scans("TRAINING", SOME), series=True))
    assert found.runs and "raw perfusion series" not in said


def test_a_part_of_isles_costs_what_is_said(copy):
    found, said = look(copy)
    assert found.runs
    assert "6 of 94 training scans: every table and figure says so" in found.lines
    assert "6 of 62 testing scans: every table and figure says so; the submission is not complete, Table 1" in said
    assert said.endswith(f"make isles2018 DATA='{copy}'")
    shutil.rmtree(copy / "TESTING")
    found, said = look(copy)
    assert found.runs
    assert "no testing scans here: no submission will be written; Table 1 is not affected" in found.lines


def test_testing_scans_without_ids_are_known_at_once(copy):
    strip_names(copy, "TESTING")
    found, said = look(copy)
    assert found.runs and not found.problems
    assert "6 testing scans have no image id in the name of their MTT file" in said
    assert "no submission will be written; Table 1 is not affected" in said and "are unknown" not in said
    (copy / "TESTING" / "case_1").rename(copy / "TESTING" / "case_60")
    found, said = look(copy)
    assert found.runs and "the patients of 6 testing scans are unknown: each scan counts as one" in said
    assert "1 of 12 scans are not ISLES 2018 by data/isles18_cases.csv" in said and "of 94" not in said


def test_ids_that_the_challenge_would_not_know(copy):
    for split in ("TRAINING", "TESTING"):
        for path in [*(copy / split).rglob("*.nii")]:
            name, number = path.name.removesuffix(".nii").replace("CT_", "MR_").rsplit(".", 1)
            path.rename(path.with_name(f"{name}.{int(number) - 6000}.nii"))
        for path in (copy / split).rglob("*.json"):
            path.unlink()
    found, said = look(copy)
    assert found.runs and "those of its early release (MR_)" in found.lines[0] and "not ISLES 2018" not in said
    assert "6 testing scans have other image ids than those by which the challenge knows them" in said


def test_scans_of_another_study_are_not_called_isles(copy):
    strip_names(copy, "TRAINING")
    for number in SOME:
        (copy / "TRAINING" / f"case_{number}").rename(copy / "TRAINING" / f"case_{number + 80}")
    found, said = look(copy)
    assert not found.runs and len(found.problems) == 6 and "patients.csv" in said
    assert "none of the 6 training scans can be used, mend them as the first says" in said.splitlines()[-1]
    rows = "".join(f"{number + 80},P{number}\n" for number in SOME)
    (copy / "patients.csv").write_text(f"case,patient\n{rows}")
    found, said = look(copy)
    assert found.runs and "6 of 12 scans are not ISLES 2018" in said and "file names without image ids" in said


def test_a_voxel_size_that_was_lost_is_seen(copy):
    for path in copy.rglob("TRAINING/case_2/*/*.nii"):
        header = bytearray(path.read_bytes())
        header[80:92] = np.ones(3, np.float32).tobytes()
        path.write_bytes(header)
    found, said = look(copy)
    assert found.runs, "the Dice coefficient needs no millimeter"
    assert "1 scans have other slices or voxels than ISLES 2018's, such as TRAINING case_2: 8 slices of [1." in said
    assert "expected 8 of 0.976562 and 5.0003: volumes in mL and distances in mm will be others" in said


def shorter(path):
    path.write_bytes(path.read_bytes()[:-1])


def other_shape(path):
    array, header = nib.load(path).get_fdata(), nib.load(path).header
    changed = nib.Nifti1Image(array[:-1], None, header)
    path.write_bytes(changed.to_bytes())


def oblong(path):
    content = bytearray(path.read_bytes())
    content[80:84] = np.float32(0.5).tobytes()
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "modality", "message"),
    [
        (lambda path: path.unlink(), "CT_MTT", "case_7 has no MTT image"),
        (shorter, "CT_CBF", "its header promises"),
        (other_shape, "OT", r"has shape (31, 32, 8) and spacing"),
        (oblong, "CT_Tmax", "they must agree"),
    ],
)
def test_a_scan_that_cannot_be_used_is_named(copy, damage, modality, message):
    damage(image(copy, "TRAINING", 7, modality))
    found, said = look(copy)
    ((split, number, problem),) = found.problems
    assert (split, number) == ("TRAINING", 7) and message in problem and problem in said
    assert not found.runs and "mend the scan above, or set skip_bad_cases = true in [data] of isles2018.toml" in said
    found, said = look(copy, skip_bad_cases=True)
    few = "5 folds need as many patients, there are 4; training scans that can be used: 5; add scans or lower folds"
    assert not found.runs and few in said


def test_a_scan_left_out_on_purpose_hinders_nothing(copy):
    image(copy, "TESTING", 7, "CT_MTT").unlink()
    assert not look(copy)[0].runs
    found, said = look(copy, skip_bad_cases=True)
    assert found.runs and len(found.problems) == 1 and "5 of 62 testing scans" in said


def test_all_images_of_a_scan_may_have_other_axes_but_not_wide_voxels(copy):
    """Files of one scan in different orders of axes are turned when they are read."""
    path = image(copy, "TRAINING", 7, "CT_CBF")
    array, header = nib.load(path).get_fdata(), nib.load(path).header
    turned = nib.Nifti1Image(array.transpose(2, 0, 1), None)
    turned.header["pixdim"][1:4] = header["pixdim"][[3, 1, 2]]
    path.write_bytes(turned.to_bytes())
    assert look(copy)[0].problems == ()
    for path in (copy / "TRAINING" / "case_9").rglob("*.nii"):
        oblong(path)
    assert "expected voxels as wide as high" in look(copy)[1]


def test_training_scans_share_a_size(copy):
    for path in (copy / "TRAINING" / "case_7").rglob("*.nii"):
        other_shape(path)
    ((_, number, problem),) = look(copy)[0].problems
    assert number == 7 and "its slices have (31, 32) voxels, those of most training scans (32, 32)" in problem


def test_each_kind_of_problem_is_shown_once_and_all_are_written(copy, tmp_path):
    for number in SOME:
        image(copy, "TRAINING", number, "CT_MTT").unlink()
    image(copy, "TESTING", 1, "CT_MTT").unlink()
    found, said = look(copy)
    assert "7 scans cannot be used:" in said and said.count("has no MTT image") == 2
    assert "download again; so with case_2, case_3, case_5, case_7, case_9\n" in said
    assert "the whole list: results/isles2018/data_check.csv" in said
    arrival.write_list(found, tmp_path / "results" / "list.csv")
    with open(tmp_path / "results" / "list.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["split"], int(row["case"])) for row in rows] == [("TRAINING", n) for n in SOME] + [("TESTING", 1)]
    assert [row["problem"] for row in rows] == [problem for *_, problem in found.problems]


def test_five_kinds_are_shown_and_five_scans_of_each():
    words = "abcdefg"
    problems = [("TRAINING", n, f"case_{n}: {words[n % 7]}") for n in range(1, 50)]
    lines = arrival.text(arrival.Arrival((), tuple(problems), False, "stopped"), "list.csv").splitlines()
    assert len(lines) == 1 + 5 + 1 + 2
    assert lines[1] == "  TRAINING case_1: b; so with case_8, case_15, case_22, case_29, case_36 and 1 more"
    assert lines[6] == "  and 2 other kinds of problems"


def test_names_that_are_no_text_can_be_printed(copy):
    path = image(copy, "TRAINING", 7, "CT_CBF")
    shorter(path)
    path.rename(path.with_name("Gr\udcfc.CT_CBF.7.nii"))
    said = look(copy)[1]
    assert "Gr?.CT_CBF.7.nii" in said and said.encode()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda root: None, "cannot be opened (No such file or directory)"),
        (lambda root: root.mkdir(), "holds nothing"),
        (lambda root: (root / "photos").mkdir(parents=True), "holds photos"),
    ],
)
def test_nothing_there_is_said_with_what_is(tmp_path, make, message):
    make(tmp_path / "data")
    found, said = look(tmp_path / "data")
    assert not found.runs and message in said
    assert "data/README.md tells how to get them; then run python tools/check_data.py" in said.splitlines()[-1]


def test_testing_scans_alone_make_no_table_1(copy):
    shutil.rmtree(copy / "TRAINING")
    found, said = look(copy)
    assert not found.runs and "6 testing scans, no training scans" in said


def test_what_is_wrong_with_a_whole_folder_is_one_line(copy):
    shutil.copytree(copy / "TRAINING", copy / "old" / "training")
    assert look(copy)[0].runs, "what lies deeper is another copy"
    shutil.copytree(copy / "TRAINING", copy / "train")
    found, said = look(copy)
    assert not found.runs and said.startswith("stopped: ") and "several folders of TRAINING" in said


def test_nnunets_layout_is_named(copy, tmp_path):
    for place, modality in enumerate(("CT", "CT_CBF", "CT_CBV", "CT_MTT", "CT_Tmax")):
        for number in SOME:
            (tmp_path / "set" / "imagesTr").mkdir(parents=True, exist_ok=True)
            target = tmp_path / "set" / "imagesTr" / f"isles_{number:03d}_{place:04d}.nii"
            image(copy, "TRAINING", number, modality).rename(target)
    for number in SOME:
        (tmp_path / "set" / "labelsTr").mkdir(exist_ok=True)
        image(copy, "TRAINING", number, "OT").rename(tmp_path / "set" / "labelsTr" / f"isles_{number:03d}.nii")
    names = {str(place): name for place, name in enumerate(("CT", "CBF", "CBV", "MTT", "Tmax"))}
    (tmp_path / "set" / "dataset.json").write_text(json.dumps({"channel_names": names}))
    found, _ = look(tmp_path / "set")
    assert found.runs and "nnU-Net's layout, such as isles_001_0000.nii" in found.lines[0]


def test_other_sources_are_not_held_against_isles(copy):
    found, said = look(copy, source="synthetic")
    assert found.runs and "ISLES 2018" not in said and found.lines[0].startswith("6 training scans of 5 patients")


def test_the_command_is_that_of_the_settings(copy):
    small = arrival.look(copy, dataclasses.replace(SETTINGS, name="isles2018_small"))
    assert small.advice.endswith(f"make isles2018_small DATA='{copy}'")
    image(copy, "TRAINING", 1, "CT").unlink()
    small = arrival.look(copy, dataclasses.replace(SETTINGS, name="isles2018_small"))
    assert small.advice.endswith(f"then run python tools/check_data.py '{copy}' isles2018_small")


def test_settings_of_ones_own_run_by_their_name(copy):
    settings = dataclasses.replace(SETTINGS, name="mine")
    assert arrival.look(copy, settings).advice.endswith(f"STROKELIB_DATA='{copy}' python tools/run.py mine.toml")
