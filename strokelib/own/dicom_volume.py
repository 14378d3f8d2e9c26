"""One DICOM series as an array with its place in the patient, or the one sentence that says why it cannot be."""

import dataclasses
import itertools
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from strokelib.nifti import CaseError
from strokelib.own.dicom_files import CLOCKS, DAY_S, Header, read_values

FEWEST_FRAMES = 10  # images at a position from which on a series is one of perfusion; reconstructions are fewer
# Our choice: what is taken for rounding in a header.
TILT_DEGREES = 0.5
APART_MM = 0.05  # between images at one position
STEP_SHARE, STEP_MM = 0.02, 0.02  # of a step between slices
FRAME_SHARE = 0.25  # of the mean time between frames, that a frame may be away from an even series
MOST_GAPS, LONGEST_GAP = 2, 3.5  # of slices that are missing; more or longer ones (by a step) part slabs
LONGEST_SHARE = 1.6  # the longest step of a series by its mean
CUT_S = 1.0  # by how much a time is off that was cut to full seconds
MOST_BYTES = 2**32  # of one volume
AIR_HU = -1024  # where a CT is padded


@dataclass(frozen=True, eq=False)
class Stack:
    """One series: array (x, y, slice) or (x, y, slice, frame) float32, in HU or the unit of its files.

    `label` names it in errors, such as `CBV (series "NeuroPCT CBV")`. `affine` (4, 4) takes a voxel to mm in NIfTI's
    world (RAS). `seconds` (frame,) are the frames' times after the first, None where there are none. `files` are those
    of the slices in their order, of the first frame of a series.
    """

    label: str
    array: np.ndarray
    affine: np.ndarray
    seconds: np.ndarray | None
    files: tuple[Path, ...]
    remarks: tuple[str, ...] = ()


def volume_of(name: str, headers, background: float = 0.0) -> Stack:
    """Stack the images of one series that holds one image at each position.

    Parameters
    ----------
    name : of the series, in errors
    headers : of its files, in any order
    background : what padded voxels are set to, AIR_HU for a CT, NaN for a map

    Raises
    ------
    CaseError : pictures instead of values, several images in a file, no place in the patient, sizes or orientations
        that differ, one slice alone, a missing slice, several slabs, slices at uneven distances, a tilted gantry,
        several images at a position, or values that cannot be decoded.
    """
    places = _places(name, headers)
    if (most := max(map(len, places))) > 1:
        raise CaseError(
            f"{name}: {most} images lie at one position, expected one; ask for one reconstruction in a series, or put "
            "the files of one of them into the folder alone"
        )
    affine = _affine(name, [place[0] for place in places])
    return _read(name, [[place[0]] for place in places], affine, background)


def series_volume(name: str, headers) -> Stack:
    """Stack the images of a raw perfusion series: as many at each position, one after another.

    Parameters
    ----------
    name : of the series, in errors
    headers : of its files, in any order

    Raises
    ------
    CaseError : as of `volume_of`; a missing image, images that do not say when they were taken, or uneven times.
    """
    places = _places(name, headers)
    affine = _affine(name, [place[0] for place in places])
    counts = Counter(map(len, places))
    if len(counts) > 1:
        usual = counts.most_common(1)[0][0]
        odd = [place for place in places if len(place) != usual]
        raise CaseError(
            f"{name}: {_mm(_along(odd[0][0]))} has {len(odd[0])} images and most positions {usual}; images are missing "
            "or several scans are in one series: export it again, whole and alone"
        )
    places, seconds, remarks = _in_time(name, places)
    stack = _read(name, places, affine, AIR_HU)
    return dataclasses.replace(stack, seconds=seconds, remarks=(*stack.remarks, *remarks))


def images_at_a_position(headers) -> int:
    """Count the images that most positions of a series hold; 0 where one of them has no place in the patient."""
    if any(header.position is None or header.axes is None for header in headers):
        return 0
    return Counter(len(place) for place in _grouped(headers)).most_common(1)[0][0]


def extent(headers) -> tuple[float, float] | None:
    """Return between which positions along the first image's normal a series lies, mm; None where it does not say."""
    if any(header.position is None or header.axes is None for header in headers):
        return None
    along = [float(header.position @ _normal(headers[0])) for header in headers]
    return min(along), max(along)


def picture(headers) -> str:
    """Say why the images of a series hold no values but pictures of them, or are no slices; "" where they are good."""
    for header in headers:
        if header.colors not in ("MONOCHROME1", "MONOCHROME2", ""):  # "" is refused where the values are read
            return (
                f"it holds pictures in color ({header.colors}), from which no value can be had; ask the scanner or the "
                "perfusion program for parametric maps as 16-bit DICOM with rescale (gray values, no color table)"
            )
        if 0 < header.bits < 16:
            return (
                f"it holds {header.bits} bits a pixel, a picture and no map of values; ask the scanner or the "
                "perfusion program for parametric maps as 16-bit DICOM with rescale"
            )
        if header.frames > 1:
            return (
                "its files hold several images each (multi-frame, such as Enhanced CT), which are not read here; ask "
                "for the classic form with one image a file, or convert it to NIfTI with dcm2niix"
            )
        if header.position is None or header.axes is None or header.spacing is None:
            return (
                "its images do not say where in the patient they lie (a screen capture); ask for the images with "
                "ImagePositionPatient, ImageOrientationPatient and PixelSpacing, not for captures"
            )
    return ""


def _places(name: str, headers) -> list[list[Header]]:
    """Group images by position along their common normal, in its order; refuse what does not form one stack."""
    if problem := picture(headers):
        raise CaseError(f"{name}: {problem}")
    first = headers[0]
    sizes = Counter(header.shape for header in headers)
    if len(sizes) > 1:
        told = ", ".join(f"{count} of {columns} x {rows}" for (columns, rows), count in sizes.most_common())
        raise CaseError(f"{name}: its images have several sizes ({told} pixels); export one reconstruction alone")
    if any(np.abs(header.axes - first.axes).max() > 1e-3 for header in headers):
        raise CaseError(
            f"{name}: its images lie in several directions; export the axial ones alone, without reformatted images"
        )
    if any(not np.allclose(header.spacing, first.spacing, rtol=1e-3) for header in headers):
        raise CaseError(f"{name}: its images have several pixel spacings; export one reconstruction alone")
    if not np.allclose(first.axes @ first.axes.T, np.eye(2), atol=1e-3) or not (first.spacing > 0).all():
        raise CaseError(f"{name}: its ImageOrientationPatient or PixelSpacing is damaged; export it again")
    if any(abs(header.tilt) > TILT_DEGREES for header in headers):
        _refuse_tilt(name, max((header.tilt for header in headers), key=abs), "by GantryDetectorTilt")
    places = _grouped(headers)
    for place in places:
        if max(np.linalg.norm(header.position - place[0].position) for header in place) > APART_MM:
            raise CaseError(
                f"{name}: images at {_mm(_along(place[0]))} lie beside each other; two scans are in one series: export "
                "them apart"
            )
    return places


def _grouped(headers) -> list[list[Header]]:
    normal = _normal(headers[0])
    ordered = sorted(headers, key=lambda header: float(header.position @ normal))
    groups = [[ordered[0]]]
    for header in ordered[1:]:
        if float((header.position - groups[-1][0].position) @ normal) > APART_MM:
            groups.append([])
        groups[-1].append(header)
    return groups


def _normal(header: Header) -> np.ndarray:
    return np.cross(*header.axes)


def _along(header: Header) -> float:
    return float(header.position @ _normal(header))


def _mm(place: float) -> str:
    return f"{place:.1f} mm"


def _affine(name: str, slices: list[Header]) -> np.ndarray:
    """Return the matrix from voxels to RAS mm of slices in order; refuse them where no straight, even stack is one."""
    if len(slices) < 2:
        raise CaseError(f"{name}: it holds one slice, expected two or more; export the whole series")
    normal = _normal(slices[0])
    positions = np.array([header.position for header in slices])
    _check_steps(name, positions @ normal)
    step = (positions[-1] - positions[0]) / (len(slices) - 1)
    across = np.linalg.norm(step - (step @ normal) * normal)
    if (degrees := float(np.degrees(np.arctan2(across, step @ normal)))) > TILT_DEGREES:
        _refuse_tilt(name, degrees, "by where its slices lie")
    even = positions[0] + np.arange(len(slices))[:, None] * step
    if (shift := np.linalg.norm(positions - even, axis=1).max()) > STEP_SHARE * np.linalg.norm(step) + STEP_MM:
        raise CaseError(f"{name}: its slices are shifted by up to {_mm(shift)} against each other; export it again")
    affine = np.eye(4)
    affine[:3, 0] = slices[0].axes[0] * slices[0].spacing[0]
    affine[:3, 1] = slices[0].axes[1] * slices[0].spacing[1]
    affine[:3, 2], affine[:3, 3] = step, positions[0]
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine


def _check_steps(name: str, along: np.ndarray) -> None:
    """Refuse slices at uneven distances, and tell a missing slice from several slabs."""
    steps = np.diff(along)
    usual = float(np.median(np.sort(steps)[: (len(steps) + 1) // 2]))  # of the smaller half: gaps do not count
    tolerance = STEP_SHARE * usual + STEP_MM
    gaps = [k for k, step in enumerate(steps) if step > usual + tolerance]
    if not gaps:
        return
    slabs = np.split(along, np.array(gaps) + 1)
    told = "; ".join(f"{slab[0]:.1f} to {_mm(slab[-1])} ({len(slab)} slices)" for slab in slabs)
    whole = all(abs(steps[k] - round(steps[k] / usual) * usual) < 2 * tolerance for k in gaps)
    if whole and len(gaps) <= MOST_GAPS and max(steps) < LONGEST_GAP * usual:
        missing = ", ".join(
            _mm(place) for k in gaps for place in np.arange(along[k] + usual, along[k + 1] - usual / 2, usual)
        )
        raise CaseError(f"{name}: slices are missing at {missing} (steps of {_mm(usual)}); export the series again")
    if all(len(slab) > 1 for slab in slabs):
        raise CaseError(
            f"{name}: it holds several slabs along its slices' normal, {told}; ask for one series of each slab, and "
            "put each with its maps into a folder of its own: they are segmented one by one"
        )
    raise CaseError(
        f"{name}: its slices lie at uneven distances of {steps.min():.2f} to {steps.max():.2f} mm; ask for a "
        "reconstruction with even distances"
    )


def _refuse_tilt(name: str, degrees: float, whence: str) -> None:
    raise CaseError(
        f"{name}: its gantry was tilted by {abs(degrees):.1f} degrees {whence}, so its slices do not lie straight on "
        "each other; ask for an axial reconstruction without tilt, or correct it with dcm2niix (its file _Tilt) and "
        "use NIfTI"
    )


def _in_time(name: str, places) -> tuple[list[list[Header]], np.ndarray, list[str]]:
    """Order the images at each position by time; refuse times that are not even."""
    shared = {}
    for clock, keyword in enumerate(CLOCKS):
        told = [[header.times[clock] for header in place] for place in places]
        if not any(time is None for line in told for time in line):
            told = _past_midnight(np.array(told))
            orders = np.argsort(told, axis=1, kind="stable")
            times = np.take_along_axis(told, orders, axis=1)
            if (np.diff(times, axis=1) > 0).all():
                break
            if np.ptp(told, axis=1).any():  # one that stands still, such as the start of the series, says nothing
                shared[keyword] = told
    else:
        raise CaseError(
            f"{name}: its images do not say when they were taken; ask for the series with AcquisitionTime kept (some "
            "programs remove it with the patient's name)"
        )
    for other, told in shared.items():
        _check_pace(name, {other: np.take_along_axis(told, orders, axis=1), keyword: times})
    frames = times.mean(axis=0)
    seconds, steps = frames - frames[0], np.diff(frames)
    count, mean = len(frames), float(steps.mean())
    away = np.abs(seconds - np.polyval(np.polyfit(np.arange(count), seconds, 1), np.arange(count))).max()
    if away > FRAME_SHARE * mean or steps.max() > LONGEST_SHARE * mean:
        late = int(np.argmax(steps))
        raise CaseError(
            f"{name}: its times are uneven, {steps.min():.2f} to {steps.max():.2f} s between frames (the longest from "
            f"{seconds[late]:.1f} to {seconds[late + 1]:.1f} s); ask for the series at one interval, or for the "
            "scanner's own maps (CBF, CBV, MTT, Tmax), which may be used instead"
        )
    spread = float(np.ptp(times, axis=0).max())
    remarks = []
    if spread > mean / 2:
        remarks.append(f"slices of one frame were taken up to {spread:.1f} s apart, and are taken as if at once")
    placed = [[place[k] for k in order] for place, order in zip(places, orders, strict=True)]
    return placed, seconds, remarks


def _check_pace(name: str, clocks: dict[str, np.ndarray]) -> None:
    """Refuse two clocks, (position, frame) s each, that do not tell the same times but for those cut to full seconds.

    The first is when images were taken, and some share a time; the second may be when they were made, as evenly, at
    another pace.
    """
    one, other = (times - times[:, :1] for times in clocks.values())
    allowed = CUT_S + FRAME_SHARE * float(np.diff(other, axis=1).mean())
    place, frame = np.unravel_index(np.abs(one - other).argmax(), one.shape)
    if abs(one[place, frame] - other[place, frame]) > allowed:
        told = " and ".join(f"{s[place, frame]:.1f} s by {c}" for c, s in zip(clocks, (one, other), strict=True))
        raise CaseError(
            f"{name}: its clocks contradict each other, {told} from the first frame to frame {frame + 1} of "
            f"{one.shape[1]}, and by {next(iter(clocks))} several frames were taken at once; ask for the series with "
            "times in fractions of a second, or for the scanner's own maps (CBF, CBV, MTT, Tmax), which may be used "
            "instead"
        )


def _past_midnight(times: np.ndarray) -> np.ndarray:
    return np.where(times < times.max() - DAY_S / 2, times + DAY_S, times) if np.ptp(times) < DAY_S else times


def _read(name: str, places, affine, background: float) -> Stack:
    columns, rows = places[0][0].shape
    shape = (columns, rows, len(places), len(places[0]))
    if 4 * np.prod(shape, dtype=float) > MOST_BYTES:
        raise CaseError(f"{name}: {shape} values are more than is read here; ask for thicker slices (4 mm or more)")
    array = np.empty(shape, np.float32)
    for k, frame in itertools.product(range(shape[2]), range(shape[3])):
        values = read_values(places[k][frame], background)
        if values.shape != shape[:2]:
            raise CaseError(f"{places[k][frame].path}: it holds {values.shape} values, expected {shape[:2]}")
        array[:, :, k, frame] = values
    remarks = []
    if any(header.lossy for place in places for header in place):
        remarks.append(f"{name} was compressed with loss before it came here")
    array = array[..., 0] if shape[3] == 1 else array
    return Stack(name, array, affine, None, tuple(place[0].path for place in places), tuple(remarks))
