"""A folder with a scan of one's own: what is wrong with it, and what the networks can take.

Either a CT and the four maps, or a CT and the raw perfusion series, as NIfTI of any size, spacing and orientation. All
is checked before anything is computed from it; nothing is written.
"""

import dataclasses
import hashlib
import re
from pathlib import Path

import numpy as np

from strokelib import plausibility, preprocess, units
from strokelib.cases import Case
from strokelib.modalities import ISLES, MODALITIES
from strokelib.nifti import CaseError
from strokelib.own import checks, grid, series, stored
from strokelib.own.kinds import COMMAND, HEAD, MAPS, SERIES, find_files
from strokelib.own.scan import Curves, OwnScan
from strokelib.own.volumes import NO_TIME_UNIT, Volume, read_volume

NUMBER = 0  # of the case; a scan of one's own has a name
NO_TISSUE_HU = -200.0  # in a series: its field ends there, or it was filled
LEAST_TMAX = 0.85  # 5th percentile by median; 0.56 on the phantom, 0.91 where 18 s go before, as in a time to peak


def read_folder(
    folder, names: dict[str, str] | None = None, name: str = "", seconds_per_frame: float | None = None
) -> OwnScan:
    """Read a scan of one's own from NIfTI files, check it, and bring it onto the networks' grid.

    Parameters
    ----------
    folder : path of the folder, or of one with folders in it
    names : file names by CT, CBF, CBV, MTT, Tmax and series, as far as they are to be given; paths count from the
        folder. What is not given is told from the file names: their last word, such as cbf, ncct or ctp.
    name : of the scan; that of the folder by default
    seconds_per_frame : of a series, where its header is wrong; NIfTI says nothing of single frames, so all are taken to
        lie as far apart

    Returns
    -------
    OwnScan : with a remark for everything that was mended or guessed.

    Raises
    ------
    CaseError : one error that says which file, what was expected and what to do. An image is missing, or there twice;
        a file is damaged, a picture, of colors, or lies elsewhere than the CT; the CT is no head in HU; a map is in no
        unit that is known, empty, without values in parts of the brain, or not 0 outside of it; a series is too short
        or shows no artery.
    """
    folder = Path(folder)
    files, said = find_files(folder, names)
    volumes, doubts = {}, {}
    for kind, path in files.items():
        volumes[kind] = volume = read_volume(path)
        _check_frames(kind, volume)
        if kind in MAPS and volume.values.dtype.itemsize == 1:  # as stored; values with a slope are floats by now
            raise CaseError(
                f"{path} holds 8 bits a voxel and no slope, a picture and no map of values; ask for the map itself"
            )
        given = kind == SERIES and seconds_per_frame is not None
        for remark in volume.remarks:
            if not (given and remark == NO_TIME_UNIT):
                doubts.setdefault(remark, []).append(kind)
    said += [f"{', '.join(kinds)}: {remark}" for remark, kinds in doubts.items()]
    if seconds_per_frame is not None:
        if SERIES in volumes:
            volumes[SERIES] = dataclasses.replace(volumes[SERIES], frame_s=float(seconds_per_frame))
        else:
            said.append(f"no series is read that {seconds_per_frame:g} s a frame, as given, could be of")
    return assemble(name or folder.absolute().name, volumes, files[HEAD], tuple(said))


def assemble(
    name: str, volumes: dict[str, Volume], reference: Path | None, said: tuple[str, ...] = (), slices=()
) -> OwnScan:
    """Make a scan of one's own of images that are in memory, wherever they came from.

    Parameters
    ----------
    name : of the scan
    volumes : CT and the four maps by name, or CT and series
    reference : NIfTI file of the CT, None where it came as DICOM
    said : remarks so far
    slices : DICOM files of the CT in the order of its slices, where it came as that

    Returns
    -------
    OwnScan

    Raises
    ------
    CaseError : see `read_folder`.
    """
    said, sha256 = [*said], _sha256(volumes)
    maps = {kind: volumes[kind] for kind in MAPS if kind in volumes}
    stored.check_twins(maps)
    lost = stored.lost_spacing(volumes)
    maps, doubts = stored.emptied(maps)
    said, volumes = [*said, *stored.pictures(maps), *lost, *doubts], volumes | maps
    for kind, volume in maps.items():
        stored.check_size(kind, volume)
    for kind in (HEAD, SERIES):
        if kind in volumes and np.isnan(volumes[kind].values).any():
            raise CaseError(f"{volumes[kind].label} holds NaN, expected HU everywhere; replace the file")
    if SERIES in volumes:
        stored.check_empty_frames(volumes[SERIES])
    try:
        brought = grid.to_networks(HEAD, volumes)
    except CaseError as error:  # that images lie apart may come of it
        raise CaseError("; ".join([str(error), *lost])) from error
    said += brought.remarks
    images, curves = brought.images, None
    if SERIES in images:
        images, curves = _from_series(images, brought.spacing, volumes[SERIES], said, reference is not None)
        found = {}
    else:
        found = units.find(images)
        _check_units(images, found, volumes)
        images = {
            kind: _in_range(kind, units.convert(image, found.get(kind)), volumes) for kind, image in images.items()
        }
        said += units.remarks(images, found) + _exchanged_units(found)
    stack = np.stack([np.float32(images[kind]) for kind in ISLES])
    case = Case(stack, None, brought.spacing, NUMBER, name, ISLES, tuple(said))
    try:
        mask = preprocess.check_case(case)
        brain = checks.brain_by_ct(case)
        said = [*plausibility.remarks(case, mask), *checks.fit(brain, mask), *checks.mirrored(case)]
        said += checks.exchanged(case, mask)
        said += [*checks.empty_parts(case), *checks.left_out(case, mask), *checks.cut_off(case, mask)]
        if SERIES not in volumes:  # of a series `_untold` says it
            said += checks.without_maps(case, brain, mask)
    except CaseError as error:
        raise CaseError(re.sub(rf"^case_{NUMBER}\b", lambda _: name, str(error))) from error
    case = dataclasses.replace(case, remarks=tuple(said))
    origin = "series" if SERIES in volumes else "maps"
    return OwnScan(name, case, brought.grid, reference, origin, curves, tuple(said), tuple(slices), sha256)


def _sha256(volumes: dict[str, Volume]) -> str:
    """Return the sha256 of the values of all images."""
    found = hashlib.sha256()
    for kind in sorted(volumes):
        found.update(kind.encode())
        found.update(np.ascontiguousarray(volumes[kind].values.T))  # as nibabel has it, so that nothing is copied
    return found.hexdigest()


def _check_frames(kind: str, volume: Volume) -> None:
    frames = volume.values.shape[3] if volume.values.ndim == 4 else 1
    if kind == SERIES and frames == 1:
        raise CaseError(f"{volume.label} holds one image, expected a series (x, y, slice, frame); name the right file")
    if kind != SERIES and frames > 1:
        raise CaseError(f"{volume.label} holds {frames} images, expected one {kind} (x, y, slice); name the right file")


def _exchanged_units(found) -> list[str]:
    """Ask whether CBV and MTT are exchanged where each looks as if it were stored ten times too large or too small."""
    cbv, mtt = found.get("CBV"), found.get("MTT")
    if not (cbv and mtt and cbv.factor == 10 and mtt.factor == 0.1):
        return []
    return ["CBV without its factor 10 and MTT in tenths of a second at once: are the two exchanged?"]


def _from_series(
    images, spacing, volume: Volume, said: list[str], from_file: bool
) -> tuple[dict[str, np.ndarray], Curves]:
    """Return the CT with maps made from the series, and the curves that were found in it.

    What is `from_file` is NIfTI, whose time between frames the user may give; DICOM's images say when they were taken.
    """
    if volume.frame_s is None:
        raise CaseError(
            f"the header of {volume.label} does not say how many seconds lie between frames; give seconds_per_frame "
            f"(command: {COMMAND} --seconds-per-frame 1.5)"
        )
    frame_s = volume.frame_s
    if frame_s > 100:
        frame_s /= 1000
        said.append(f"{volume.frame_s:g} s between frames, as the header or the caller says: taken for milliseconds")
    try:
        maps, curves, remarks = series.maps_of_series(images[SERIES], images[HEAD], spacing, frame_s)
    except CaseError as error:
        told = f"{volume.label}: {error}"
        if from_file and told.endswith("correct its header"):
            told += f", or give seconds_per_frame (command: {COMMAND} --seconds-per-frame 1.5)"
        raise CaseError(told) from error
    said += [*remarks, *_untold(images, spacing)]
    return {HEAD: images[HEAD], **maps}, curves


def _untold(images, spacing) -> list[str]:
    """Say how much of the CT's brain a series holds nothing of, which the maps made of it leave out."""
    brain = series.brain_of(images[HEAD], spacing)
    least = images[SERIES].min(3)
    nothing = brain & ((least < NO_TISSUE_HU) | (least == images[SERIES].max(3)))
    if np.count_nonzero(nothing) <= checks.MOST_HOLES * np.count_nonzero(brain):
        return []
    return [
        f"the series holds no tissue in {np.count_nonzero(nothing) * np.prod(spacing) / 1000:.1f} mL of the {HEAD}'s "
        f"brain (less than {NO_TISSUE_HU:g} HU in some frame, or one value in all): the maps leave it out, and so does "
        "every volume"
    ]


def _check_units(images, found, volumes: dict[str, Volume]) -> None:
    """Refuse times in no unit that is known, or that begin late: a rule in seconds takes them for what they are not."""
    late = images["Tmax"][images["Tmax"] > 0]
    least = np.quantile(late, 0.05) / np.median(late) if late.size else 0
    if least == 1:
        raise CaseError(
            f"{volumes['Tmax'].label} is {np.median(late):g} in most of its voxels, expected 0 outside the brain and "
            "times within; set the background to 0, or replace the file"
        )
    if least > LEAST_TMAX:
        raise CaseError(
            f"{volumes['Tmax'].label}: a twentieth of the brain lies below {100 * least:.0f} % of the median and "
            "hardly anything near 0, expected a Tmax, which most tissue has near 0 s; is it the time to peak? Save "
            "Tmax itself"
        )
    for kind, unit in found.items():
        if unit is None and MODALITIES[kind].unit == "s":
            shown = images[kind][images[kind] > 0]
            raise CaseError(
                f"{volumes[kind].label} has a median of {np.median(shown):.3g} in the brain, and all but a hundredth "
                f"lies below {units.tops(shown)[0]:.3g}: {kind} in no unit that is known here; save it in seconds, or "
                "replace the file"
            )


def _in_range(kind: str, image, volumes: dict[str, Volume]) -> np.ndarray:
    """Refuse what no scan can hold."""
    low, high, most = image.min(), image.max(), MODALITIES[kind].largest
    if low < -most or high > most:
        raise CaseError(
            f"{volumes[kind].label} holds {low:g} to {high:g}, expected {kind} within {-most} to {most}; check its "
            "unit, byte order and scale, or replace the file"
        )
    if low == high:
        raise CaseError(
            f"{volumes[kind].label} is {low:g} everywhere in the field of the {HEAD}, expected a {kind} image; replace "
            "the file, or check its header"
        )
    return image
