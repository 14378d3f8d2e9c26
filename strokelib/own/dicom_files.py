"""DICOM files as they lie in a folder: what each one says of its image, and its values. Of the patient nothing is read.

pydicom comes with the extra "dicom"; it is imported when it is needed and not before.
"""

import datetime
import importlib
import math
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from strokelib.nifti import CaseError
from strokelib.own import kinds

LINES = ("CT", "OT")  # values of Modality that images and maps of a CT scanner have; others are no pictures of it
CLOCKS = ("AcquisitionDateTime", "AcquisitionTime", "ContentTime", "TriggerTime")  # the first that tells frames apart
_COUNTED = ("SOPInstanceUID", "InstanceNumber", "AcquisitionNumber")  # as each image of a series is
_TAGS = (
    "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "SeriesDescription", "ImageType",
    "Modality", "Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "PhotometricInterpretation", "BitsAllocated",
    "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "GantryDetectorTilt", "LossyImageCompression",
    *_COUNTED, *CLOCKS,
)  # fmt: skip
_PIXELS = (
    "Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation", "BitsAllocated", "BitsStored", "HighBit",
    "PixelRepresentation", "PlanarConfiguration", "PixelData", "RescaleSlope", "RescaleIntercept",
    "RealWorldValueMappingSequence", "PixelPaddingValue", "PixelPaddingRangeLimit",
)  # fmt: skip
_NEEDED = ("SamplesPerPixel", "PhotometricInterpretation", "BitsAllocated", "BitsStored", "PixelRepresentation")
_IMPLICIT, _EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"  # transfer syntaxes, little endian
_FIRST = ((2, 0), (8, 0), (8, 5), (8, 8), (8, 22))  # tags
DAY_S = 86400
_IMAGES = tuple(f"1.2.840.10008.5.1.4.1.1.{n}" for n in ("2", "2.1", "2.2", "7"))  # CT, enhanced CT, secondary capture
_SUFFIXES = ("", ".dcm", ".ima")  # that images have


@dataclass(frozen=True, eq=False)
class Header:
    """What one DICOM file says of its image, in DICOM's coordinates (LPS, mm); None where it does not say."""

    path: Path
    study: str  # StudyInstanceUID
    series: str  # SeriesInstanceUID
    frame_of_reference: str  # FrameOfReferenceUID
    description: str
    kind: tuple[str, ...]  # ImageType
    modality: str
    syntax: str  # name of the transfer syntax
    shape: tuple[int, int]  # columns, rows
    frames: int
    colors: str  # PhotometricInterpretation
    bits: int  # allocated for a value
    lossy: bool  # was compressed with loss
    position: np.ndarray | None  # (3,) center of the first pixel
    axes: np.ndarray | None  # (2, 3) unit vectors along columns' and rows' indices
    spacing: np.ndarray | None  # (2,) between columns, between rows
    tilt: float  # of the gantry, degrees
    times: tuple[float | None, ...]  # s, one of each of CLOCKS


def package(name: str):
    """Import a package of the extra "dicom", or say how to install it.

    Raises
    ------
    CaseError : it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise CaseError(f'DICOM needs {name.partition(".")[0]}: pip install -e ".[dicom]"') from error


def read_headers(folder) -> tuple[Header, ...]:
    """Read the headers of all images in a folder, however deep they lie and whatever their names are.

    Files of other kinds are passed over, so are hidden ones, DICOMDIR, reports, segmentations and overview pictures for
    planning (localizers); an image that is there twice is taken once.

    Parameters
    ----------
    folder : path

    Raises
    ------
    CaseError : no such folder, no DICOM image in it, one whose header cannot be read, or one of no series.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise CaseError(f"{folder} is no folder; name the one that holds the scan's DICOM files")
    pydicom = package("pydicom")
    found, seen = [], set()
    for path in kinds.files_below(folder):
        try:
            if not is_dicom(path):
                _check_whole(path)
                continue
            dataset = pydicom.dcmread(path, stop_before_pixels=True, force=True, specific_tags=[*_TAGS])
            header = _header(path, dataset)
        except Exception as error:  # each kind of damage has its own
            raise CaseError(
                f"{path}: its header cannot be read ({error}); copy the file again, or remove it"
            ) from error
        if header and (own := _own(dataset, header)) not in seen:
            found.append(header)
            if dataset.get("SOPInstanceUID"):
                seen.add(own)
    if not found:
        raise CaseError(f"{folder} holds no DICOM image of a CT scanner; name the folder that the scan was exported to")
    if single := [header.path for header in found if not header.series]:
        raise CaseError(
            f"{single[0]} has no SeriesInstanceUID ({len(single)} of {len(found)} images here), expected one, by which "
            "images are known to belong together; export the scan with it, or remove what is none of the scan's"
        )
    return tuple(found)


def passed_over(folder) -> Counter:
    """Count the images in a folder that `read_headers` passes over because of their Modality, such as MR, by that."""
    tags, counts = ["Modality", "Rows", "Columns"], Counter()
    for path in kinds.files_below(folder):
        if is_dicom(path):
            dataset = package("pydicom").dcmread(path, stop_before_pixels=True, force=True, specific_tags=tags)
            if dataset.get("Rows") and str(dataset.get("Modality", "")) not in (*LINES, "SEG"):
                counts[str(dataset.get("Modality", ""))] += 1
    return counts


def read_values(header: Header, background: float) -> np.ndarray:
    """Read the values of one image, rescaled as its file says.

    Parameters
    ----------
    header : of `read_headers`
    background : what padded pixels are set to; NaN leaves those that are 0, which is a value of a map, too

    Returns
    -------
    (column, row) float32, in the unit of the file: HU for a CT.

    Raises
    ------
    CaseError : values that cannot be decoded or are cut short, or whose header does not say what they mean.
    """
    try:
        dataset = package("pydicom").dcmread(header.path, force=True, specific_tags=[*_PIXELS])
        slope, intercept = _rescaling(header.path, dataset)
        if lacking := [keyword for keyword in _NEEDED if dataset.get(keyword) in (None, "")]:
            raise CaseError(
                f"{header.path} has no {', no '.join(lacking)}, without which its values mean nothing; export it again"
            )
        if "TransferSyntaxUID" not in dataset.file_meta:  # an old file, of bytes as they are
            implicit, _ = dataset.original_encoding
            dataset.file_meta.TransferSyntaxUID = _IMPLICIT if implicit else _EXPLICIT
        stored = dataset.pixel_array
        values = stored * slope + intercept
        padded = _padded(header.path, stored, dataset)
        values[padded & (values != 0) if math.isnan(background) else padded] = background
    except CaseError:
        raise
    except Exception as error:  # pydicom and each decoder raise their own
        raise CaseError(
            f"{header.path}: its values cannot be decoded ({header.syntax}; {_first_line(error)}); ask for an export "
            "without compression (Explicit VR Little Endian), install python-gdcm, which pydicom then decodes more "
            "kinds with, or copy the file again if it is cut short"
        ) from error
    return values.T.astype(np.float32)


def is_dicom(path: Path) -> bool:
    """Tell a DICOM file by its first bytes: a preamble and DICM or, in old files, the first element itself."""
    if not path.is_file():
        return False
    with open(path, "rb") as file:
        start = file.read(132)
    # The first element of files before 1993: file meta, or group length, character set, image type or class.
    return start[128:] == b"DICM" or start[:4] in {bytes((group, 0, n, 0)) for group, n in _FIRST}


def _check_whole(path: Path) -> None:
    """Refuse an empty file that is named as images are: a slice that was not copied would be missed by nobody."""
    if path.is_file() and path.stat().st_size == 0 and path.suffix.lower() in _SUFFIXES:
        raise ValueError("it is empty")


def _header(path: Path, dataset) -> Header | None:
    """Return what counts of a file, None for one that shows no slice."""
    kind = tuple(str(word).upper() for word in _several(dataset.get("ImageType")))
    modality, shape = str(dataset.get("Modality", "")), (dataset.get("Columns"), dataset.get("Rows"))
    image = str(dataset.file_meta.get("MediaStorageSOPClassUID", "")) in _IMAGES and modality in ("", *LINES)
    if image and not all(shape):
        raise ValueError("it ends before the size of its image")
    if modality not in LINES or not all(shape) or "LOCALIZER" in kind:
        return None
    syntax = getattr(dataset.file_meta, "TransferSyntaxUID", None)
    axes, spacing = _numbers(dataset, "ImageOrientationPatient", 6), _numbers(dataset, "PixelSpacing", 2)
    return Header(
        path,
        *(str(dataset.get(f"{of}UID", "")) for of in ("StudyInstance", "SeriesInstance", "FrameOfReference")),
        str(dataset.get("SeriesDescription", "")).strip(),
        kind,
        modality,
        "no transfer syntax" if syntax is None else syntax.name,
        (int(shape[0]), int(shape[1])),
        int(dataset.get("NumberOfFrames") or 1),
        str(dataset.get("PhotometricInterpretation", "")),
        int(dataset.get("BitsAllocated") or 0),
        str(dataset.get("LossyImageCompression", "")) == "01",
        _numbers(dataset, "ImagePositionPatient", 3),
        None if axes is None else axes.reshape(2, 3),
        None if spacing is None else spacing[::-1],  # DICOM names the distance between rows first
        float(dataset.get("GantryDetectorTilt") or 0),
        tuple(_seconds(clock, dataset.get(clock)) for clock in CLOCKS),
    )


def _own(dataset, header: Header) -> tuple:
    """Return what two files share if they hold the same image.

    That is more than its number (SOPInstanceUID): some programs that remove names give one number to many images.
    """
    place = [None if values is None else (*values.ravel(),) for values in (header.position, header.axes)]
    # As they are written: a number that is none is no fault here.
    counted = [str(getattr(dataset.get_item(tag), "value", "")) for tag in _COUNTED]
    return (*place, header.series, header.shape, header.times, *counted)


def _several(value) -> list:
    """Return the values of an element of which there may be none, one or several."""
    if value is None or value == "":
        return []
    return [value] if isinstance(value, str | int | float) else [*value]


def _numbers(dataset, tag: str, count: int) -> np.ndarray | None:
    values = np.array([float(value) for value in _several(dataset.get(tag))])
    return values if len(values) == count and np.isfinite(values).all() else None


def _seconds(clock: str, value) -> float | None:
    """Read a time of day, or a date and a time, which then counts from the calendar's first day."""
    if value in (None, ""):
        return None
    if clock == "TriggerTime":  # ms
        return float(value) / 1000
    date = r"(\d{8})" if clock.endswith("DateTime") else "()"
    parts = re.match(date + r"(\d\d)(\d\d)?(\d\d(?:\.\d+)?)?", str(value).replace(":", ""))
    if parts is None:
        return None
    day, hours, minutes, seconds = (float(part or 0) for part in parts.groups())
    days = datetime.datetime.strptime(parts[1], "%Y%m%d").toordinal() if day else 0
    return days * DAY_S + 3600 * hours + 60 * minutes + seconds


def _number(path: Path, dataset, keyword: str, absent: float | None = None) -> float | None:
    """Return the number of an element; one that is there and empty says as little as one that is absent."""
    value = dataset.get(keyword)
    if value is None or not str(value).strip():
        return absent
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise CaseError(f"{path}: its {keyword} is {str(value)!r}, expected one number; ask for another export")
    return number


def _rescaling(path: Path, dataset) -> tuple[float, float]:
    """Return slope and intercept: the Rescale ones or, where there are none, those of the first real world map."""
    slope, intercept = (_number(path, dataset, keyword) for keyword in ("RescaleSlope", "RescaleIntercept"))
    if slope is None and (mapped := dataset.get("RealWorldValueMappingSequence")):
        slope = _number(path, mapped[0], "RealWorldValueSlope")
        intercept = _number(path, mapped[0], "RealWorldValueIntercept")
        if slope is None:
            told = "told by a table (RealWorldValueLUTData)" if "RealWorldValueLUTData" in mapped[0] else "not told"
            raise CaseError(f"{path}: what its values mean is {told}; ask for an export with a slope and an intercept")
    slope, intercept = 1.0 if slope is None else slope, intercept or 0.0
    if slope == 0:
        raise CaseError(f"{path}: it is rescaled with a slope of 0, which leaves no values; ask for another export")
    return slope, intercept


def _padded(path: Path, stored: np.ndarray, dataset) -> np.ndarray:
    padding = _number(path, dataset, "PixelPaddingValue")
    if padding is None:
        return np.zeros(stored.shape, bool)
    low, high = sorted((padding, _number(path, dataset, "PixelPaddingRangeLimit", padding)))
    return (stored >= low) & (stored <= high)


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__
