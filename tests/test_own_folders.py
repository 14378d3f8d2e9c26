"""Folders of scans: one or many, how they are called, and which files are which."""

import sys
from types import SimpleNamespace

import dicom_made
import nibabel as nib
import numpy as np
import pytest
import segment

from strokelib.nifti import CaseError
from strokelib.own import folders
from strokelib.own.scan import OwnScan


def image(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"not read here")
    return path


def maps(folder, names=("CT", "CBF", "CBV", "MTT", "Tmax"), suffix=".nii.gz"):
    for name in names:
        image(folder / f"{name}{suffix}")
    return folder


def found(*given):
    return [(place.name, place.folder, place.dicom) for place in folders.find_scans(given)]


def test_a_folder_of_images_is_one_scan(tmp_path):
    folder = maps(tmp_path / "Mrs Ünal, 3")
    assert found(folder) == [("Mrs_Ünal_3", folder, False)]


def test_folders_without_an_image_are_passed_over_by_name(tmp_path):
    maps(tmp_path / "all" / "pat1"), maps(tmp_path / "all" / "pat2" / "visit")
    image(tmp_path / "all" / "pat3" / "scan.zip"), image(tmp_path / "all" / "pat4" / "ct.nrrd")
    (tmp_path / "all" / "pat5").mkdir()
    places = folders.find_scans([tmp_path / "all"])
    assert [place.name for place in places] == ["pat1", "visit"]
    assert folders.passed_over([tmp_path / "all"], places) == ["pat3", "pat4", "pat5"]
    alone = [tmp_path / "all" / "pat1"]
    assert folders.passed_over(alone, folders.find_scans(alone)) == []


def test_a_stray_image_beside_several_scans_is_passed_over_by_name(tmp_path):
    for name in ("A", "B"):
        maps(tmp_path / "cohort" / name)
    image(tmp_path / "cohort" / "brainmask.nii.gz")
    places = folders.find_scans([tmp_path / "cohort"])
    assert [place.name for place in places] == ["A", "B"]
    assert folders.passed_over([tmp_path / "cohort"], places) == ["brainmask.nii.gz"]
    image(tmp_path / "cohort" / "CT.nii")  # a scan of its own, as far as names tell
    assert [place.name for place in folders.find_scans([tmp_path / "cohort"])] == ["cohort"]


def test_a_name_is_the_same_whatever_form_its_letters_have(tmp_path):
    """macOS writes an umlaut as a letter and its dots."""
    assert folders.plain("Mu\u0308ller") == folders.plain("M\u00fcller") == "M\u00fcller"


def test_images_each_in_a_folder_of_its_own_are_one_scan(tmp_path):
    """As the challenge has them."""
    for name in ("CT", "CT_CBF", "CT_CBV", "CT_MTT", "CT_Tmax"):
        image(tmp_path / "case_7" / f"SMIR.Brain.XX.O.{name}.12" / f"SMIR.Brain.XX.O.{name}.12.nii")
    assert found(tmp_path / "case_7") == [("case_7", tmp_path / "case_7", False)]
    assert found(tmp_path) == [("case_7", tmp_path / "case_7", False)]


def test_maps_in_a_folder_beside_that_of_the_head_are_one_scan(tmp_path):
    image(tmp_path / "head" / "CT.nii")
    maps(tmp_path / "maps", ("CBF", "CBV", "MTT", "Tmax"))
    assert found(tmp_path) == [(tmp_path.name, tmp_path, False)]


def test_folders_of_scans_are_many_in_order(tmp_path):
    for name in ("b", "a", "c"):
        maps(tmp_path / "hospital" / name)
    assert [name for name, _, _ in found(tmp_path)] == ["a", "b", "c"]
    assert [name for name, _, _ in found(tmp_path / "hospital" / "c", tmp_path)] == ["c", "a", "b"], "each once"


def test_scans_of_one_name_are_called_by_the_folders_above_as_well(tmp_path):
    for patient in ("sub-01", "sub-02"):
        for visit in ("day0", "day1"):
            maps(tmp_path / patient / visit / "nifti")
    maps(tmp_path / "sub-03" / "other")
    parts = [("sub-01", "day0"), ("sub-01", "day1"), ("sub-02", "day0"), ("sub-02", "day1")]
    expected = [(f"{one}_{two}_nifti", tmp_path / one / two / "nifti", False) for one, two in parts]
    assert found(tmp_path) == [*expected, ("other", tmp_path / "sub-03" / "other", False)]
    assert found(tmp_path / "sub-01") == [(f"{two}_nifti", path, dicom) for (_, two), (_, path, dicom) in
                                          zip(parts[:2], expected[:2], strict=True)]  # fmt: skip


def test_names_by_many_folders_keep_their_ends(tmp_path):
    for patient in ("a", "b"):
        maps(tmp_path / patient / ("long" * 25) / "scan")
    with pytest.raises(CaseError, match=r"several scans would be called 'scan' .*/a/.*/b/"):
        folders.find_scans([tmp_path])
    for patient in ("c", "d"):
        maps(tmp_path / "few" / ("long" * 25) / patient / "scan")
    names = [name for name, _, _ in found(tmp_path / "few")]
    assert names == ["c_scan", "d_scan"]


def test_a_folder_without_images_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("nothing")
    with pytest.raises(FileNotFoundError, match=r"no image in .*unpack archives first, .*\.nrrd, .*as NIfTI"):
        folders.find_scans([tmp_path])
    with pytest.raises(FileNotFoundError, match=r"no folder .*nowhere"):
        folders.find_scans([tmp_path / "nowhere"])
    with pytest.raises(FileNotFoundError, match=r"notes\.txt is a file and no folder; name the one"):
        folders.find_scans([tmp_path / "notes.txt"])


def test_dicom_is_told_by_what_a_file_says_of_itself(tmp_path):
    content = b"\0" * 128 + b"DICM"
    path = tmp_path / "scan" / "IM0001"
    path.parent.mkdir()
    path.write_bytes(content)
    (tmp_path / "scan" / "DICOMDIR").write_bytes(content)
    image(tmp_path / "scan" / "a.txt")
    assert found(tmp_path / "scan") == [("scan", tmp_path / "scan", True)]


@pytest.mark.parametrize(
    "given", ["CT=head.nii CBF=a=b.nii", "CT:head.nii CBF:a=b.nii", ["CT=head.nii", "CBF=a=b.nii"]]
)
def test_words_say_which_file_is_which(given):
    assert folders.pairs(given) == {"CT": "head.nii", "CBF": "a=b.nii"}


def test_a_name_with_spaces_is_quoted_and_backslashes_are_kept():
    assert folders.pairs("CT:'head 5.0.nii' CBF=maps\\flow.nii") == {"CT": "head 5.0.nii", "CBF": "maps\\flow.nii"}
    assert folders.pairs(["CT=head 5.0.nii"]) == {"CT": "head 5.0.nii"}


def test_an_image_that_is_named_twice_is_refused():
    with pytest.raises(ValueError, match=r"CT is given 2 times \(CT=a ct=b\); name each image once"):
        folders.pairs("CT=a ct=b")


def test_a_folder_is_absolute_and_a_link_is_called_as_it_is(tmp_path, monkeypatch):
    """A link may hide a patient's name; remarks leave out the folders of absolute paths."""
    maps(tmp_path / "Mueller_Hans")
    (tmp_path / "patient01").symlink_to(tmp_path / "Mueller_Hans")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for given in ("patient01", "~/patient01"):
        (place,) = folders.find_scans([given])
        assert place.name == "patient01" and place.folder == tmp_path / "patient01"


def test_a_file_that_may_not_be_read_stops_no_other_scan(tmp_path, monkeypatch):
    for name in ("a", "b"):
        dicom_scan(tmp_path / name)
    (tmp_path / "a" / "lock").write_bytes(b"")
    looked_at = folders.is_dicom

    def locked(path):
        if path.name == "lock":
            raise PermissionError(13, "Permission denied", str(path))
        return looked_at(path)

    monkeypatch.setattr(folders, "is_dicom", locked)
    assert [place.name for place in folders.find_scans([tmp_path])] == ["a", "b"]


@pytest.mark.parametrize("given", ["CT", "CT=", "=head.nii"])
def test_other_words_are_refused(given):
    with pytest.raises(ValueError, match=f"expected words such as CT=head.nii.gz, got '{given}'"):
        folders.pairs(given)
    assert folders.pairs("") == {}


@pytest.mark.parametrize(("name", "plain"), [("a/b: c", "a_b_c"), ("...", "scan"), ("P 07 (copy)", "P_07_copy")])
def test_names_are_made_plain(name, plain):
    assert folders.plain(name) == plain


def test_a_scan_is_read_under_the_name_of_its_place(tmp_path):
    nib.Nifti1Image(np.zeros((4, 4, 2), np.float32), np.eye(4)).to_filename(tmp_path / "ct.nii")
    with pytest.raises(CaseError, match="CBF"):
        folders.read(folders.Place("a_scan", tmp_path, dicom=False))
    with pytest.raises(CaseError, match="is DICOM, whose images say when they were taken; give no seconds_per_frame"):
        folders.read(folders.Place("a_scan", tmp_path, dicom=True), seconds_per_frame=2.0)


def test_names_are_neither_devices_of_windows_nor_too_long():
    assert [folders.plain(name) for name in ("Con", "lpt1.old", "console")] == ["Con_", "lpt1.old_", "console"]
    assert len(folders.plain("a" * 300)) == 80


def test_names_that_differ_in_capitals_alone_are_refused(tmp_path):
    """Where capitals do not count, one would be written over the other."""
    maps(tmp_path / "ward" / "P 1")
    maps(tmp_path / "ward" / "p_1")
    with pytest.raises(CaseError, match=r"several scans would be called 'P_1' .*P 1.*p_1"):
        folders.find_scans([tmp_path])
    maps(tmp_path / "east" / "Q 1")
    maps(tmp_path / "west" / "q_1")
    assert [name for name, _, _ in found(tmp_path / "east", tmp_path / "west")] == ["east_Q_1", "west_q_1"]


def test_one_scan_is_taken_from_a_folder_of_one(tmp_path):
    maps(tmp_path / "a")
    assert folders.find_scan(tmp_path).name == "a"
    maps(tmp_path / "b c")
    with pytest.raises(CaseError, match=r"holds 2 scans \(a, b c\); name the folder of one of them"):
        folders.find_scan(tmp_path)


def test_results_that_lie_among_scans_are_no_scan(tmp_path):
    maps(tmp_path / "a")
    for name in ("core.nii.gz", "probability.nii.gz", "registry.json"):
        image(tmp_path / "results" / "a" / name)
    assert found(tmp_path) == [("a", tmp_path / "a", False)]


def test_results_beside_a_scan_of_dicom_do_not_hide_it(tmp_path):
    folder = tmp_path / "P1"
    folder.mkdir()
    (folder / "IM1").write_bytes(b"\0" * 128 + b"DICM")
    for name in ("core.nii.gz", "registry.json"):
        image(folder / "out" / "P1" / name)
    assert found(folder) == [("P1", folder, True)]


def dicom_scan(folder, names=("CT", "CBF", "CBV", "MTT", "Tmax")):
    for name in names:
        dicom_made.write(folder / name, np.ones((4, 4, 2)), np.eye(4), name, study=folder.name)
    return folder


@pytest.mark.parametrize("above", ["a/b/c/d/e/f/g", "a/b/c/d/e"])
def test_images_are_found_at_any_depth(tmp_path, above):
    """Of an export as DICOM/PA0/ST0/SE0 in some folders nothing was found."""
    pytest.importorskip("pydicom", reason="the extra dicom is not installed")
    dicom_scan(tmp_path / "one" / above / "P1")
    ((place),) = folders.find_scans([tmp_path / "one"])
    assert place.dicom and place.name == "P1" and len(folders.read_headers(place.folder)) == 10
    maps(tmp_path / "two" / above / "P2")
    assert found(tmp_path / "two") == [("P2", tmp_path / "two" / above / "P2", False)]
    maps(tmp_path / "three" / above / "P3", ("flow", "volume"))
    with pytest.raises(CaseError, match=r"it holds flow\.nii\.gz, volume\.nii\.gz; expected a CT"):
        folders.read(folders.find_scan(tmp_path / "three"))


def test_a_circle_of_links_is_one_scan(tmp_path):
    for name in ("CT", "CBF", "CBV", "MTT", "Tmax"):
        image(tmp_path / "P1" / name / f"{name}.nii")
    (tmp_path / "P1" / "again").symlink_to(tmp_path / "P1")
    (tmp_path / "P1" / "CT" / "up").symlink_to(tmp_path)
    assert found(tmp_path / "P1") == [("P1", tmp_path / "P1", False)]
    assert found(tmp_path) == [("P1", tmp_path / "P1", False)]


@pytest.mark.parametrize("beside", [["mask.nii"], ["CT.nii"], ["CT.nii", "lesion.nii"], ["ct.nii", "cbf.nii"]])
@pytest.mark.parametrize("below", ["", "drawn"])
def test_nifti_that_makes_no_scan_hides_no_dicom(tmp_path, beside, below):
    pytest.importorskip("pydicom", reason="the extra dicom is not installed")
    for patient in ("P1", "P2"):
        dicom_scan(tmp_path / patient)
    for name in beside:
        image(tmp_path / "P1" / below / name)
    assert found(tmp_path / "P1") == [("P1", tmp_path / "P1", True)]
    assert found(tmp_path) == [(name, tmp_path / name, True) for name in ("P1", "P2")]
    dicom_scan(tmp_path / "odd", ("A", "B", "C"))  # words that say nothing
    image(tmp_path / "odd" / "mask.nii")
    assert found(tmp_path / "odd") == [("odd", tmp_path / "odd", True)]


def test_a_file_of_dicom_hides_no_nifti(tmp_path):
    """Neither a whole scan, nor one whose names do not tell, which are given with --files."""
    for patient, names in (("P1", ("CT", "CBF", "CBV", "MTT", "Tmax")), ("P2", ("ct", "flow", "volume", "delay"))):
        maps(tmp_path / patient, names)
        (tmp_path / patient / "report.dcm").write_bytes(b"\0" * 128 + b"DICM")
        assert found(tmp_path / patient) == [(patient, tmp_path / patient, False)]
    assert [(name, dicom) for name, _, dicom in found(tmp_path)] == [("P1", False), ("P2", False)]


def test_what_lies_beside_in_the_other_form_is_told(tmp_path, monkeypatch):
    """As a remark of the scan, or with the error; files that are named decide."""
    pytest.importorskip("pydicom", reason="the extra dicom is not installed")
    dicom_scan(tmp_path)
    image(tmp_path / "mask.nii")
    own = OwnScan("P1", None, None, None, "maps", remarks=("one",))
    monkeypatch.setattr(folders.dicom, "read_dicom", lambda *given: own)
    said = "it was read as DICOM, without 1 NIfTI file beside it (mask.nii); if this is the scan, move it out of"
    assert [remark[: len(said)] for remark in read(tmp_path).remarks] == ["one", said]
    (tmp_path / "mask.nii").unlink()
    assert read(tmp_path) is own
    maps(tmp_path, ("CT", "CBF"))
    monkeypatch.undo()
    with pytest.raises(CaseError, match=r"without 2 NIfTI files beside it \(CBF.nii.gz, CT.nii.gz\); if these are the"):
        read(tmp_path)
    with pytest.raises(CaseError, match=r"from one form alone: .* convert the DICOM to NIfTI \(dcm2niix\) and put all"):
        read(tmp_path)
    with pytest.raises(CaseError, match=r"read as NIfTI, without 10 DICOM files beside it \(.*, \.\.\.\)"):
        read(tmp_path, {"CT": "CT.nii.gz"})
    maps(tmp_path)
    with pytest.raises(CaseError, match=r"CT\.nii\.gz .*; it was read as NIfTI, without 10 DICOM files beside it"):
        read(tmp_path)


def read(folder, files=None):
    return folders.read(folders.find_scan(folder), files)


def test_reports_beside_the_series_of_a_scan_stop_nothing(tmp_path):
    pytest.importorskip("pydicom", reason="the extra dicom is not installed")
    folder = dicom_scan(tmp_path / "P1")
    image(folder / "reports" / "report.pdf")
    assert found(folder) == [("P1", folder, True)]


def test_a_damaged_file_of_one_scan_stops_no_other(tmp_path):
    pytest.importorskip("pydicom", reason="the extra dicom is not installed")
    good, bad = dicom_scan(tmp_path / "good"), dicom_scan(tmp_path / "bad")
    (bad / "CBF" / "cut").write_bytes(b"\0" * 128 + b"DICM" + b"\x02\0\0\0UL\x04\0\xff\xff")
    assert found(tmp_path) == [("bad", bad, True), ("good", good, True)]


def test_maps_of_dicom_in_one_folder_and_the_head_in_another_are_one_scan(tmp_path):
    pytest.importorskip("pydicom", reason="the extra dicom is not installed")
    for patient in ("P1", "P2"):
        dicom_scan(tmp_path / patient, ("CT",))
        for name in ("CBF", "CBV", "MTT", "Tmax"):
            dicom_made.write(tmp_path / patient / "PERF" / name, np.ones((4, 4, 2)), np.eye(4), name, study=patient)
    assert found(tmp_path / "P1") == [("P1", tmp_path / "P1", True)]
    assert found(tmp_path) == [(name, tmp_path / name, True) for name in ("P1", "P2")]


def test_patients_whose_series_have_words_that_say_nothing_are_told_apart(tmp_path):
    pytest.importorskip("pydicom", reason="the extra dicom is not installed")
    names = ("A", "B", "C")
    assert found(dicom_scan(tmp_path / "P1", names), dicom_scan(tmp_path / "P2", names))
    assert found(tmp_path) == [(name, tmp_path / name, True) for name in ("P1", "P2")]


def test_the_example_is_the_scan_with_most_late_tissue_in_milliliters(monkeypatch):
    late = {1: (40, 1.0), 2: (30, 2.0), 3: (50, 1.0)}  # voxels over 6 s, and their size in mm³

    def load(scan):
        voxels, size = late[scan.number]
        tmax = np.where(np.arange(64).reshape(8, 8, 1) < voxels, 6.5, 6.0)
        return SimpleNamespace(image={"Tmax": tmax}.get, spacing=(size, 1.0, 1.0))

    monkeypatch.setattr(folders, "load_case", load)
    assert folders.example([SimpleNamespace(number=number) for number in late]).number == 2


@pytest.mark.parametrize("beside", ["cta", "t1", "ct_bone", "mask"])
def test_a_cta_beside_the_head_tears_no_scan_apart(tmp_path, beside):
    """As anat/ct, anat/cta and perf/cbf, ...: it became two scans, neither whole."""
    for patient in ("P1", "P2"):
        maps(tmp_path / patient / "anat", ("ct", beside))
        maps(tmp_path / patient / "perf", ("cbf", "cbv", "mtt", "tmax"))
    assert found(tmp_path / "P1") == [("P1", tmp_path / "P1", False)]
    assert [name for name, _, _ in found(tmp_path)] == ["P1", "P2"]


def test_scans_whose_maps_have_names_that_do_not_tell_are_told_apart(tmp_path):
    """Which is which is then given for all of them, with --files."""
    for patient in ("P1", "P2"):
        maps(tmp_path / patient, ("ct", "flow", "volume", "transit", "delay"))
    assert [name for name, _, _ in found(tmp_path)] == ["P1", "P2"]


@pytest.mark.parametrize("order", [("a_scan", "link"), ("link", "a_scan")])
def test_a_folder_goes_before_a_link_to_it(tmp_path, order):
    maps(tmp_path / "a_scan")
    (tmp_path / "link").symlink_to(tmp_path / "a_scan")
    assert found(*(tmp_path / name for name in order)) == [("a_scan", tmp_path / "a_scan", False)]
    assert found(tmp_path) == [("a_scan", tmp_path / "a_scan", False)]
    assert found(tmp_path / "link") == [("link", tmp_path / "link", False)], "as it is called where it alone is named"


@pytest.mark.parametrize("given", ["{a}/ct.nii.gz", "../a/ct.nii.gz"])
def test_a_file_of_one_patient_is_taken_for_no_other(tmp_path, monkeypatch, given):
    """It was taken for the CT of all scans without a word."""
    for name in ("a", "b"):
        maps(tmp_path / "ward" / name)
    words = ["segment.py", str(tmp_path / "ward"), "--out", str(tmp_path / "out"), "--files"]
    monkeypatch.setattr(sys, "argv", [*words, f"CT={given.format(a=tmp_path / 'ward' / 'a')}"])
    monkeypatch.setattr(segment.segment, "load_networks", None)
    monkeypatch.setattr(segment.runtime, "prepare_torch", lambda *_: None)
    with pytest.raises(SystemExit, match=r"outside of .*b, CT \(ct\.nii\.gz\): one .* for all 2 scans; name files by"):
        segment.main()
    assert not (tmp_path / "out").exists()


def test_files_in_a_scans_own_folder_are_told_from_others(tmp_path):
    maps(tmp_path / "a", ("ct", "one"))
    (tmp_path / "a" / "linked.nii").symlink_to(tmp_path / "elsewhere.nii")
    (tmp_path / "alias").symlink_to(tmp_path / "a")
    for folder in (tmp_path / "a", tmp_path / "alias"):
        place = folders.Place("a", folder, dicom=False)
        inside = {"CT": "ct.nii.gz", "CBF": "./deep/../one.nii.gz", "CBV": "linked.nii", "MTT": f"{tmp_path}/a/one.nii"}
        assert folders.outside_of(place, inside) == folders.outside_of(place, None) == []
        assert folders.outside_of(place, inside | {"CBF": "../b/c.nii"}) == ["CBF (c.nii)"]
    series = folders.Place("a", tmp_path / "a", dicom=True)
    assert folders.outside_of(series, {"CT": "/head/native"}) == [], "which is a description"
    assert folders.outside_of(series, {"CT": "/head/ct.nii"}) == ["CT (ct.nii)"]


def test_a_file_from_elsewhere_is_remarked_for_one_scan(tmp_path, monkeypatch):
    maps(tmp_path / "a")
    own = OwnScan("a", None, None, None, "maps", remarks=("one",))
    monkeypatch.setattr(folders.arrival, "read_folder", lambda *given: own)
    assert read(tmp_path / "a", {"CT": "ct.nii.gz"}) is own
    said = "taken from outside of the scan's own folder, as named: CT (x.nii); are all of one patient?"
    assert read(tmp_path / "a", {"CT": "../x.nii"}).remarks == ("one", said)
