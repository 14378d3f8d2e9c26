"""The segmented core as a DICOM segmentation object (SEG) that lies on the CT's own images, and the way back."""

from pathlib import Path

import numpy as np

from strokelib.nifti import CaseError
from strokelib.own.dicom_files import package
from strokelib.own.scan import DISCLAIMER, OwnScan
from strokelib.run.runtime import write_whole

CORE, UNCERTAIN = "Ischemic core (research)", "Uncertain (research)"
MAKER, MODEL = "strokelib", "five networks on CT perfusion, trained on synthetic scans"
SERIES_NUMBER = 9001  # far from those of a scanner
# SNOMED CT, as DICOM's context groups 7150 (categories) and 7159 (lesions) have them; an infarct is none of the second,
# which may be extended.
CATEGORY = ("49755003", "SCT", "Morphologically Abnormal Structure")
TYPES = {CORE: ("55641003", "SCT", "Infarct"), UNCERTAIN: ("52988006", "SCT", "Lesion")}
REGION = ("12738006", "SCT", "Brain")
FAMILY = ("123110", "DCM", "Artificial Intelligence")
COLORS = {CORE: (53.2, 80.1, 67.2), UNCERTAIN: (97.1, -21.6, 94.5)}  # CIELab of red and of yellow
_EMPTY = ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyID", "StudyDate", "StudyTime",
          "AccessionNumber", "ReferringPhysicianName")  # fmt: skip  # which a file has to have, be they empty
# Without which a SEG cannot say whose images it lies on: no scanner leaves one out, but programs that edit files may.
_NUMBERS = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")


def write_segmentation(
    path, scan: OwnScan, core, version: str, settings: dict[str, str] | None = None, uncertain=None
) -> Path:
    """Write the core as a binary DICOM SEG in the grid of the CT that came as DICOM.

    Parameters
    ----------
    path : of the file to write, .dcm
    scan : with the CT's files in `slices`
    core : bool (x, y, slice) on the networks' grid
    version : of this software and its networks
    settings : what else decided the result, such as mode and threshold, by name
    uncertain : another mask, a second segment; optional

    Returns
    -------
    the path.

    It takes over patient and study from the CT's files, since a viewer shows it on those by them, and gives a number
    of its own (UID) to itself and its series each time it is written.

    Raises
    ------
    CaseError : highdicom is not installed; the scan did not come as DICOM; its files are gone, were changed, or lack
        one of the numbers (UIDs) of image, series, study and frame of reference, or share one of an image.
    OSError : the file cannot be written.

    Our choice: where the CT does not say how thick its slices are, they are as thick as they lie apart; every slice is
    written, empty ones too, so that a reader which knows no gaps shows it rightly.
    """
    sources = _sources(scan)
    masks = {CORE: core} if uncertain is None else {CORE: core, UNCERTAIN: uncertain}
    stacked = np.stack([scan.grid.back(np.asarray(mask, bool), order=0).transpose(2, 1, 0) for mask in masks.values()])
    highdicom, seg = package("highdicom"), package("highdicom.seg")
    facts = {"note": DISCLAIMER, **(settings or {})}
    algorithm = highdicom.AlgorithmIdentificationSequence(
        MAKER, highdicom.sr.CodedConcept(*FAMILY), version, parameters={str(k): str(v) for k, v in facts.items()}
    )
    segments = [
        seg.SegmentDescription(
            number,
            label,
            highdicom.sr.CodedConcept(*CATEGORY),
            highdicom.sr.CodedConcept(*TYPES[label]),
            seg.SegmentAlgorithmTypeValues.AUTOMATIC,
            algorithm,
            anatomic_regions=[highdicom.sr.CodedConcept(*REGION)],
            display_color=highdicom.color.CIELabColor(*COLORS[label]),
        )
        for number, label in enumerate(masks, start=1)
    ]
    for segment in segments:
        segment.SegmentDescription = DISCLAIMER
    written = seg.Segmentation(
        sources,
        np.moveaxis(stacked, 0, -1).astype(np.uint8),
        seg.SegmentationTypeValues.BINARY,
        segments,
        highdicom.UID(),
        SERIES_NUMBER,
        highdicom.UID(),
        1,
        MAKER,
        MODEL,
        version,
        "none",
        content_description=DISCLAIMER,
        content_label="CORE",
        omit_empty_frames=False,
        series_description=CORE,
    )
    return write_whole(Path(path), lambda temporary: written.save_as(temporary, enforce_file_format=True))


def read_segmentation(path) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Read the masks of a DICOM SEG that this project wrote.

    Returns
    -------
    bool (x, y, slice) by label, and the affine (4, 4) to mm in NIfTI's world (RAS).

    Raises
    ------
    CaseError : highdicom is not installed, or it is no segmentation that can be read.
    """
    seg = package("highdicom.seg")
    try:
        found = seg.segread(path)
        volume = found.get_volume(combine_segments=False)
        labels = [found.get_segment_description(number).SegmentLabel for number in found.segment_numbers]
    except Exception as error:  # pydicom and highdicom raise their own
        raise CaseError(f"{path} cannot be read as a DICOM segmentation ({error}); write it again") from error
    # highdicom counts (slice, row, column, segment), slices against their normal; `Volume` counts them along it.
    values = (np.asarray(volume.array) > 0)[::-1].transpose(2, 1, 0, 3)
    affine = np.array(volume.affine)[:, [2, 1, 0, 3]]
    affine[:3, 3] += (values.shape[2] - 1) * affine[:3, 2]
    affine[:, 2] *= -1
    return {label: values[..., k] for k, label in enumerate(labels)}, np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine


def _sources(scan: OwnScan) -> list:
    """Read the CT's files without their pixels, and look that they are those of the scan."""
    if not scan.slices:
        raise CaseError(f"{scan.name} did not come as DICOM, so there are no images that a DICOM SEG could lie on")
    pydicom = package("pydicom")
    columns, rows, count = scan.grid.shape
    if len(scan.slices) != count:
        raise CaseError(f"{scan.name} has {len(scan.slices)} DICOM files and {count} slices; read it again")
    found = []
    for path in scan.slices:
        try:
            dataset = pydicom.dcmread(path, stop_before_pixels=True, force=True)
            shape = dataset.Columns, dataset.Rows
            lacking = [keyword for keyword in _NUMBERS if not dataset.get(keyword)]
        except Exception as error:  # each kind of damage has its own
            why = getattr(error, "strerror", None) or error  # an OSError's own words repeat the path
            raise CaseError(f"{path} cannot be read ({why}); put the scan's DICOM files back") from error
        if shape != (columns, rows):
            raise CaseError(f"{path} has {shape} pixels, expected {(columns, rows)}; put the scan's own file back")
        if lacking:
            raise CaseError(
                f"{path} has no {', no '.join(lacking)}, without which a DICOM SEG lies nowhere; export the CT with "
                f"{'it' if len(lacking) == 1 else 'them'}"
            )
        for keyword in _EMPTY:
            if keyword not in dataset:
                setattr(dataset, keyword, "")
        if not dataset.get("SliceThickness"):  # without which a SEG cannot be read back
            dataset.SliceThickness = f"{np.linalg.norm(scan.grid.affine[:3, 2]):.6g}"
        found.append(dataset)
    first = {}
    for path, dataset in zip(scan.slices, found, strict=True):
        if (other := first.setdefault(dataset.SOPInstanceUID, path)) != path:
            raise CaseError(
                f"{other.name} and {path.name} have one SOPInstanceUID, by which a DICOM SEG names the image that it "
                "lies on; export the CT with one of its own for each image"
            )
    return found
