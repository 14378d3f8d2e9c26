"""A core that is written as DICOM SEG is read back voxel by voxel, in the place of the CT it was written on."""

import dataclasses

import dicom_made
import nibabel as nib
import numpy as np
import pytest

from strokelib.cases import Case
from strokelib.modalities import ISLES
from strokelib.nifti import CaseError
from strokelib.own import dicom_files, dicom_volume, segmentation_object
from strokelib.own.registry import without_folders
from strokelib.own.scan import DISCLAIMER, Grid, OwnScan
from strokelib.own.segmentation_object import CORE, UNCERTAIN, read_segmentation, write_segmentation

pydicom = pytest.importorskip("pydicom", reason="the extra dicom is not installed")
pytest.importorskip("highdicom", reason="the extra dicom is not installed")
SHAPE = (20, 16, 5)
WAYS = {"straight": (0.0, 1), "turned": (30.0, 1), "downwards": (0.0, -1)}


def placed(angle, up):
    a = np.radians(angle)
    affine = np.eye(4)
    affine[:3, :3] = [[-np.cos(a), -np.sin(a), 0], [np.sin(a), -np.cos(a), 0], [0, 0, 1]]
    affine[:3, :3] *= [0.9, 0.8, 5.0]
    affine[:3, 3] = 8.25, 10.5, -30.5
    return affine if up > 0 else affine @ np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, -1, 4], [0, 0, 0, 1]])


def scan_of(folder, way="straight", change=None):
    """Write a CT as DICOM and return a scan on a grid whose axes point right, front and up, as it would be read."""
    image = np.random.default_rng(3).integers(0, 80, SHAPE).astype(np.float32)
    dicom_made.write(folder / "ct", image, placed(*WAYS[way]), "CT", change=change)
    volume = dicom_volume.volume_of("CT", dicom_files.read_headers(folder / "ct"))
    turn = nib.io_orientation(volume.affine)
    inner = nib.apply_orientation(volume.array, turn)
    onto = np.linalg.inv(nib.orientations.inv_ornt_aff(turn, volume.array.shape))
    case = Case(inner[None], None, np.array([0.9, 0.8, 5.0]), 1, "P1", ("CT",))
    grid = Grid(volume.array.shape, volume.affine, onto, inner.shape)
    return OwnScan("P1", case, grid, None, "maps", slices=volume.files)


def blob(scan, seed=1):
    return np.random.default_rng(seed).random(scan.grid.inner) < 0.2


@pytest.mark.parametrize("way", WAYS)
def test_it_is_read_back_voxel_by_voxel_and_where_it_was(tmp_path, way):
    scan = scan_of(tmp_path, way)
    core = blob(scan)
    path = write_segmentation(tmp_path / "core.dcm", scan, core, "0.1.0", {"mode": "slices"})
    masks, affine = read_segmentation(path)
    own = scan.grid.back(core, order=0)
    assert list(masks) == [CORE] and masks[CORE].sum() == core.sum() > 100
    assert {(*p,) for p in millimeters(masks[CORE], affine)} == {(*p,) for p in millimeters(own, scan.grid.affine)}
    assert np.allclose(affine, scan.grid.affine, atol=1e-4) and np.array_equal(masks[CORE], own)


def millimeters(mask, affine):
    return nib.affines.apply_affine(affine, np.argwhere(mask)).round(2) + 0.0


def test_pydicom_alone_finds_each_frame_on_its_slice(tmp_path):
    """The frames are those of the CT's files, by reference and by position, row by row."""
    scan = scan_of(tmp_path)
    core = blob(scan)
    found = pydicom.dcmread(write_segmentation(tmp_path / "core.dcm", scan, core, "0.1.0"))
    own, frames = scan.grid.back(core, order=0), found.pixel_array
    assert (found.Modality, found.SegmentationType, found.NumberOfFrames) == ("SEG", "BINARY", SHAPE[2])
    ct = {dataset.SOPInstanceUID: (k, dataset) for k, dataset in enumerate(map(pydicom.dcmread, scan.slices))}
    seen = set()
    for frame, item in zip(frames, found.PerFrameFunctionalGroupsSequence, strict=True):
        k, source = ct[item.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID]
        assert np.array_equal(frame, own[:, :, k].T)
        assert np.allclose(item.PlanePositionSequence[0].ImagePositionPatient, source.ImagePositionPatient)
        seen.add(k)
    assert seen == {*range(SHAPE[2])}
    source = next(iter(ct.values()))[1]
    for keyword in ("PatientID", "PatientName", "StudyInstanceUID", "FrameOfReferenceUID"):
        assert found[keyword].value == source[keyword].value
    assert found.SeriesInstanceUID != source.SeriesInstanceUID


def test_it_says_what_it_is_and_is_not(tmp_path):
    scan = scan_of(tmp_path)
    path = write_segmentation(tmp_path / "core.dcm", scan, blob(scan), "0.1.0", {"mode": "slices", "threshold": "0.4"})
    found = pydicom.dcmread(path)
    (segment,) = found.SegmentSequence
    assert segment.SegmentLabel == CORE and found.SeriesDescription == CORE
    assert segment.SegmentDescription == found.ContentDescription == DISCLAIMER and len(DISCLAIMER) <= 64
    assert segment.SegmentAlgorithmType == "AUTOMATIC"
    (algorithm,) = segment.SegmentationAlgorithmIdentificationSequence
    assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion) == ("strokelib", "0.1.0")
    told = str(algorithm.AlgorithmParameters)
    assert DISCLAIMER in told and "slices" in told and "0.4" in told
    codes = {
        keyword: (segment[keyword][0].CodingSchemeDesignator, segment[keyword][0].CodeValue)
        for keyword in (
            "SegmentedPropertyCategoryCodeSequence", "SegmentedPropertyTypeCodeSequence", "AnatomicRegionSequence",
        )
    }  # fmt: skip
    assert [*codes.values()] == [("SCT", "49755003"), ("SCT", "55641003"), ("SCT", "12738006")]


def test_the_codes_that_the_dictionary_of_pydicom_knows_mean_the_same():
    from pydicom.sr.codedict import codes

    known = {
        segmentation_object.CATEGORY: codes.SCT.MorphologicallyAbnormalStructure,
        segmentation_object.REGION: codes.SCT.Brain,
        segmentation_object.FAMILY: codes.DCM.ArtificialIntelligence,
        segmentation_object.TYPES[UNCERTAIN]: codes.SCT.Lesion,
    }
    for (value, scheme, meaning), code in known.items():
        assert (value, scheme, meaning) == (code.value, code.scheme_designator, code.meaning)


def test_uncertain_voxels_are_a_second_segment_that_may_overlap(tmp_path):
    scan = scan_of(tmp_path)
    core, uncertain = blob(scan), blob(scan, seed=2)
    assert (core & uncertain).any()
    masks, _ = read_segmentation(write_segmentation(tmp_path / "a.dcm", scan, core, "0.1.0", uncertain=uncertain))
    assert list(masks) == [CORE, UNCERTAIN]
    assert np.array_equal(masks[CORE], scan.grid.back(core, order=0))
    assert np.array_equal(masks[UNCERTAIN], scan.grid.back(uncertain, order=0))


def test_an_empty_core_is_written_too(tmp_path):
    scan = scan_of(tmp_path)
    masks, affine = read_segmentation(
        write_segmentation(tmp_path / "a.dcm", scan, np.zeros(scan.grid.inner, bool), "0.1.0")
    )
    assert masks[CORE].shape == SHAPE and not masks[CORE].any() and np.allclose(affine, scan.grid.affine, atol=1e-4)


def test_each_file_has_a_number_of_its_own(tmp_path):
    scan = scan_of(tmp_path)
    found = [
        pydicom.dcmread(write_segmentation(tmp_path / f"{n}.dcm", scan, blob(scan), "0.1.0")).SOPInstanceUID
        for n in range(2)
    ]
    assert found[0] != found[1]


def test_a_study_whose_names_were_removed_is_written_without_any(tmp_path):
    def nameless(dataset, k, t):
        for keyword in ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "AccessionNumber"):
            delattr(dataset, keyword)

    scan = scan_of(tmp_path, change=nameless)
    path = write_segmentation(tmp_path / "core.dcm", scan, blob(scan), "0.1.0")
    found = pydicom.dcmread(path)
    assert not found.PatientName and not found.PatientID and dicom_made.MARK.encode() not in path.read_bytes()


def test_what_it_cannot_lie_on_is_refused_and_nothing_is_left(tmp_path):
    scan = scan_of(tmp_path)
    out, core = tmp_path / "out" / "core.dcm", blob(scan)

    def refused(scan, words, core=core):
        with pytest.raises((CaseError, ValueError), match=words):
            write_segmentation(out, scan, core, "0.1.0")
        assert not out.exists() and not [*out.parent.glob("*")]

    refused(dataclasses.replace(scan, slices=()), "P1 did not come as DICOM")
    refused(dataclasses.replace(scan, slices=scan.slices[1:]), "4 DICOM files and 5 slices")
    refused(scan, "expected a volume of shape", core[1:])
    moved = dataclasses.replace(scan, slices=(tmp_path / "gone", *scan.slices[1:]))
    refused(moved, "gone cannot be read .* put the scan's DICOM files back")
    other = dicom_made.write(tmp_path / "other", np.zeros((7, 7, 2)), placed(0, 1), "CT")
    refused(dataclasses.replace(scan, slices=(other[0], *scan.slices[1:])), r"has \(7, 7\) pixels, expected \(20, 16\)")
    dataset = pydicom.dcmread(scan.slices[0])
    del dataset.FrameOfReferenceUID
    dataset.save_as(scan.slices[0])
    refused(scan, "no FrameOfReferenceUID, without which a DICOM SEG lies nowhere; export the CT with it")
    del dataset.SOPClassUID, dataset.StudyInstanceUID
    dataset.save_as(scan.slices[0], enforce_file_format=False)
    refused(scan, "no SOPClassUID, no StudyInstanceUID, no FrameOfReferenceUID, .*; export the CT with them")


def test_a_ct_whose_images_share_a_number_is_refused(tmp_path):
    """It would name one image for all slices."""

    def shared(dataset, k, t):
        if k in (1, 3):
            dataset.SOPInstanceUID = dicom_made.uid("one for two")

    scan = scan_of(tmp_path, change=shared)
    assert len(scan.slices) == SHAPE[2]
    first, second = scan.slices[1].name, scan.slices[3].name
    told = f"{first} and {second} have one SOPInstanceUID, by which a DICOM SEG names the image that it lies on; export"
    with pytest.raises(CaseError, match=f"^{told}") as caught:
        write_segmentation(tmp_path / "core.dcm", scan, blob(scan), "0.1.0")
    assert told in without_folders(f"core.dcm was not written, because {caught.value}"), "and not half of it"


def test_a_ct_that_is_gone_is_told_in_a_remark_as_well(tmp_path):
    scan = scan_of(tmp_path)
    gone = dataclasses.replace(scan, slices=(tmp_path / "gone", *scan.slices[1:]))
    with pytest.raises(CaseError) as caught:
        write_segmentation(tmp_path / "core.dcm", gone, blob(scan), "0.1.0")
    said = without_folders(f"core.dcm was not written, because {caught.value}")
    assert said.startswith("core.dcm was not written, because gone cannot be read (No such file or directory); put")


def test_another_file_is_no_segmentation(tmp_path):
    scan = scan_of(tmp_path)
    with pytest.raises(CaseError, match="cannot be read as a DICOM segmentation"):
        read_segmentation(scan.slices[0])


def test_a_scan_with_a_segmentation_beside_it_is_read_as_before(tmp_path):
    scan = scan_of(tmp_path)
    write_segmentation(tmp_path / "ct" / "core.dcm", scan, blob(scan), "0.1.0")
    assert len(dicom_files.read_headers(tmp_path / "ct")) == SHAPE[2]


def test_modalities_of_the_scan_do_not_matter(tmp_path):
    """The SEG lies on the CT, whatever else came with it."""
    scan = scan_of(tmp_path)
    images = np.repeat(scan.case.images, len(ISLES), axis=0)
    more = dataclasses.replace(scan, case=dataclasses.replace(scan.case, images=images, modalities=ISLES))
    core = blob(scan)
    found = [read_segmentation(write_segmentation(tmp_path / "a.dcm", s, core, "0.1.0")) for s in (scan, more)]
    assert np.array_equal(found[0][0][CORE], found[1][0][CORE])


@pytest.mark.parametrize("empty", [True, False])
def test_slices_that_do_not_say_how_thick_they_are_are_as_thick_as_they_lie_apart(tmp_path, empty):
    def change(dataset, k, t):
        dataset.SliceThickness = None
        if not empty:
            del dataset.SliceThickness

    scan = scan_of(tmp_path, change=change)
    core = blob(scan)
    path = write_segmentation(tmp_path / "core.dcm", scan, core, "0.1.0")
    masks, affine = read_segmentation(path)
    assert np.array_equal(masks[CORE], scan.grid.back(core, order=0)) and np.allclose(affine, scan.grid.affine)
    assert pydicom.dcmread(path).SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].SliceThickness == 5
