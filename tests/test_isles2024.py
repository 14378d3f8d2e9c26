import json
import shutil

import pytest
import twin2024

from strokelib import cases, isles2024
from strokelib.modalities import ISLES, SOURCES
from strokelib.run.runtime import ROOT
from strokelib.run.settings import load_settings

IMAGES = (*ISLES, "OT")
each_style = pytest.mark.parametrize("style", twin2024.STYLES)


@each_style
def test_a_twin_is_found_whatever_its_folders_are_called(tmp_path, style):
    root = twin2024.write(tmp_path, (12, 3, 189), style)
    found, problems = isles2024.list_scans(root)
    assert [scan.number for scan in found] == [3, 12, 189] and problems == {}
    for scan in found:
        assert scan.name == twin2024.folders(style, scan.number)[1]
        assert scan.files == {name: twin2024.path_of(root, style, scan.number, name) for name in IMAGES}
        assert tuple(scan.files) == IMAGES  # in the order in which a network takes them


def test_a_folder_around_the_archive_or_in_it_is_the_same(tmp_path):
    root = twin2024.write(tmp_path / "download" / "isles24", (1, 5))
    for named in (tmp_path, root.parent, root, root / "train"):
        assert [scan.number for scan in isles2024.list_scans(named)[0]] == [1, 5]


def test_one_scan_alone_is_found_by_its_own_folder(tmp_path):
    root = tmp_path / "sub-stroke0007"
    for name in IMAGES:
        path = twin2024.path_of(tmp_path / "twin", "archive", 7, name)
        (root / path.parent.name / path.name).parent.mkdir(parents=True, exist_ok=True)
        target = root / ("ses-02" if name == "OT" else "ses-01") / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.touch()
    assert [scan.number for scan in isles2024.list_scans(root)[0]] == [7]


@pytest.mark.parametrize(
    ("path", "image"),
    [
        ("raw_data/sub-stroke0001/ses-01/sub-stroke0001_ses-01_ncct.nii.gz", "CT"),
        ("rawdata/sub-strokecase0001/ses-0001/sub-strokecase0001_ses-0001_ncct.nii", "CT"),
        ("derivatives/sub-stroke0001/ses-01/perfusion-maps/sub-stroke0001_ses-01_space-ncct_TMAX.nii.gz", "Tmax"),
        ("derivatives/sub-stroke0001/ses-02/sub-stroke0001_ses-02_lesion-msk.nii.gz", "OT"),
        ("derivatives/sub-stroke0001/ses-02/sub-stroke0001_ses-02_space-ncct_lesion-msk.nii.gz", "OT"),
        ("derivatives/sub-stroke0001/ses-01/sub-stroke0001_ses-01_lesion-msk.nii.gz", None),  # of another visit
        ("derivatives/sub-stroke0001/ses-01/sub-stroke0001_ses-01_cow-msk.nii.gz", None),
        ("derivatives/sub-stroke0001/ses-01/perfusion-maps/sub-stroke0001_ses-01_cbf.nii.gz", None),  # another grid
        ("raw_data/sub-stroke0001/ses-01/sub-stroke0001_ses-01_ctp.nii.gz", None),
        ("raw_data/sub-stroke0001/ses-01/sub-stroke0001_ses-01_ncct.json", None),
        ("raw_data/sub-stroke0001/sub-stroke0001_ncct.nii.gz", None),  # of no visit
        ("raw_data/ses-01/ncct.nii.gz", None),  # of no scan
    ],
)
def test_a_file_is_told_by_how_its_name_ends(path, image):
    assert isles2024.image_of(path) == (image and (1, path.split("/")[1], image))


@pytest.mark.parametrize(("name", "looked"), [("Tmax", "*space-ncct_tmax"), ("OT", "lesion-msk"), ("CT", "_ncct")])
def test_a_scan_that_lacks_an_image_is_told_apart(tmp_path, name, looked):
    root = twin2024.write(tmp_path, (1, 2))
    twin2024.path_of(root, "archive", 2, name).unlink()
    found, problems = isles2024.list_scans(root)
    assert [scan.number for scan in found] == [1] and list(problems) == [2]
    assert problems[2].startswith(f"case_2 has no {name} in") and looked in problems[2]


def test_a_second_file_of_an_image_is_refused_but_not_an_outline_on_another_grid_nor_a_link(tmp_path):
    root = twin2024.write(tmp_path, (1, 2))
    outline = twin2024.path_of(root, "archive", 1, "OT")
    moved = outline.with_name(outline.name.replace("lesion", "space-ncct_lesion"))
    shutil.copy(outline, moved)
    link = twin2024.path_of(root, "archive", 1, "CT")
    link.with_name(f"copy_{link.name}").symlink_to(link)
    cbf = twin2024.path_of(root, "archive", 2, "CBF")
    shutil.copy(cbf, cbf.with_name(f"old_{cbf.name}"))
    found, problems = isles2024.list_scans(root)
    assert [scan.files["OT"] for scan in found] == [moved]
    assert "case_2 has 2 files of its CBF" in problems[2] and f"old_{cbf.name}" in problems[2]


def test_what_holds_no_scan_is_refused_with_what_to_do(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no scan of ISLES 2024 in .*data/README\.md"):
        isles2024.list_scans(tmp_path)
    (tmp_path / "train.7z").write_bytes(b"7z")
    with pytest.raises(FileNotFoundError, match=r"train\.7z is a file.*unpack it first"):
        isles2024.list_scans(tmp_path / "train.7z")


def test_settings_and_label_name_the_other_question():
    settings = load_settings("isles2024")
    assert settings.data.source == "isles2024" and not settings.synthetic
    assert settings.source == SOURCES["isles2024"].label == "ISLES 2024 (infarct of days 2 to 9)"


def test_scans_that_are_no_slabs_are_never_called_isles_2024(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"tools/make_slabs\.py FOLDER"):
        cases.find_cases(twin2024.write(tmp_path / "download", (1,)), "TRAINING", source="isles2024")
    other = tmp_path / "isles2018" / "TRAINING" / "case_1"
    other.mkdir(parents=True)
    (other / "ct.nii.gz").touch()
    found, problems = cases.list_cases(tmp_path / "isles2018", "TRAINING", source="isles2024")
    assert found == [] and "is no slab of tools/make_slabs.py" in problems[1]


def test_no_network_trained_on_patients_ships():
    facts = json.loads((ROOT / "networks" / "facts.json").read_text())
    assert facts["cohort"] == SOURCES["synthetic"].label
    assert {network["settings"] for network in facts["networks"]} == {"study"} and load_settings("study").synthetic
