"""A folder with a scan of one's own: what is wrong with it, and what the networks can take.

Either a CT and the four maps, or a CT and the raw perfusion series, as NIfTI of any size, spacing and orientation. All
is checked before anything is computed from it; nothing is written.
"""

import dataclasses
import hashlib
import itertools
import re
from pathlib import Path

import numpy as np

from strokelib import plausibility, preprocess, units
from strokelib.cases import Case
from strokelib.modalities import ISLES, MODALITIES
from strokelib.nifti import CaseError
from strokelib.own import checks, grid, series
from strokelib.own.kinds import COMMAND, HEAD, MAPS, SERIES, find_files
from strokelib.own.scan import Curves, OwnScan
from strokelib.own.volumes import NO_TIME_UNIT, Volume, from_networks, read_volume

NUMBER = 0  # of the case; a scan of one's own has a name
FILLED = (-1, -1000, -1024, -2000, -2048, -3024, -32768)  # what programs write outside the brain
LEAST_FILLED = 0.05  # of the voxels
NO_TISSUE_HU = -200.0  # in a series: its field ends there, or it was filled
LEAST_TMAX = 0.85  # 5th percentile by median; 0.56 on the phantom, 0.91 where 18 s go before, as in a time to peak
FEW_SLICES = 40  # a head of so few millimeters is rarely scanned
HEAD_MM = (90.0, 300.0)  # between which lies the longer side of what a map shows


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
    seconds_per_frame : of a series, where its header is wrong

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
    _check_twins(maps)
    said += _pictures(maps) + _lost_spacing(volumes)
    filled = {kind: _filled(volume) for kind, volume in maps.items()}
    for kind, volume in maps.items():
        said += _holes(kind, maps, filled)
        volumes = volumes | {kind: _emptied(kind, volume, filled[kind][0])}
        _check_size(kind, volumes[kind])
    for kind in (HEAD, SERIES):
        if kind in volumes and np.isnan(volumes[kind].values).any():
            raise CaseError(f"{volumes[kind].path} holds NaN, expected HU everywhere; replace the file")
    if SERIES in volumes:
        _check_filled(volumes[SERIES])
    brought = grid.to_networks(HEAD, volumes)
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
        said = [*plausibility.remarks(case, mask), *checks.fit(brain, mask), *checks.exchanged(case, mask)]
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
        raise CaseError(f"{volume.path} holds one image, expected a series (x, y, slice, frame); name the right file")
    if kind != SERIES and frames > 1:
        raise CaseError(f"{volume.path} holds {frames} images, expected one {kind} (x, y, slice); name the right file")


def _pictures(maps: dict[str, Volume]) -> list[str]:
    """Say which maps look like pictures that were stored anew: whole numbers that end at 255, as few maps do."""
    found = [
        kind
        for kind, own in maps.items()
        if own.values.min() == 0 and own.values.max() == 255 and not np.mod(own.values, 1).any()
    ]
    if not found:
        return []
    return [
        f"{', '.join(found)}: whole numbers from 0 to 255, as a picture of a map has; if it is one, every figure "
        "made of it is wrong: ask for the map itself"
    ]


def _check_twins(maps: dict[str, Volume]) -> None:
    """Refuse one image that is there under two names: a file given twice, or a copy that is called otherwise."""
    for one, other in itertools.combinations(maps, 2):
        if np.array_equal(maps[one].values, maps[other].values, equal_nan=True):
            raise CaseError(
                f"{maps[one].path} ({one}) and {maps[other].path} ({other}) hold the same values, expected two maps; "
                "name the right files"
            )


def _lost_spacing(volumes: dict[str, Volume]) -> list[str]:
    """Say which images have voxels of 1 mm on all sides in few slices, as what was written without its header has."""
    lost = [kind for kind, own in volumes.items() if (own.spacing == 1).all() and own.shape[2] < FEW_SLICES]
    if not lost:
        return []
    return [
        f"{', '.join(lost)}: voxels of 1 x 1 x 1 mm in {volumes[lost[0]].shape[2]} slices: was the spacing lost when "
        "the file was written? Every volume depends on it"
    ]


def _exchanged_units(found) -> list[str]:
    """Ask whether CBV and MTT are exchanged where each looks as if it were stored ten times too large or too small."""
    cbv, mtt = found.get("CBV"), found.get("MTT")
    if not (cbv and mtt and cbv.factor == 10 and mtt.factor == 0.1):
        return []
    return ["CBV without its factor 10 and MTT in tenths of a second at once: are the two exchanged?"]


def _check_filled(series: Volume) -> None:
    """Refuse a series with an empty frame: taken for a fall of all curves, it would make other maps without a word.

    So would one slice that is empty in some frames; one that is in all of them is none of the head. Looked for in the
    file's own values, since on the grid of a larger CT there is air around.
    """
    values, frames = series.values, series.values.shape[3]
    flat = values.min((0, 1)) == values.max((0, 1))  # (slice, frame)
    if (whole := np.flatnonzero(flat.all(0))).size:
        raise CaseError(
            f"{series.path}: frame {whole[0] + 1} of {frames} is {values[..., whole[0]].flat[0]:g} everywhere "
            f"({len(whole)} such in all), expected an image; export the series anew, or end it before the first empty "
            "one"
        )
    if (some := np.argwhere(flat & ~flat.all(1, keepdims=True))).size:
        k, frame = some[0]
        raise CaseError(
            f"{series.path}: slice {k + 1} of frame {frame + 1} is {values[0, 0, k, frame]:g} everywhere ({len(some)} "
            "such in all), and not so in all other frames, expected an image; export the series anew, or leave that "
            "slice out of all frames"
        )


def _filled(volume: Volume) -> tuple[np.ndarray, list[str]]:
    """Return where NaN, or a known mark of the background, stands in a map, and what stands there."""
    filled = np.isnan(volume.values)
    marks = ["NaN or padding"] if filled.any() else []
    for mark in FILLED:
        marked = volume.values == mark
        if marked.mean() >= LEAST_FILLED:
            filled, marks = filled | marked, [*marks, f"{mark}"]
    return filled, marks


def _holes(kind: str, maps: dict[str, Volume], filled) -> list[str]:
    """Say where a map is filled, and refuse it where that is in the brain: where another map on its grid has values.

    A program that writes nothing where its fit failed, or beyond what it measures, leaves out the latest tissue.
    """
    volume, (empty, marks) = maps[kind], filled[kind]
    if not marks:
        return []
    alike = [other for other in maps if _on_one_grid(volume, maps[other])]
    shown = {other: (maps[other].values != 0) & ~filled[other][0] for other in alike}
    brain = np.logical_or.reduce([*shown.values()])
    holes, voxel_ml = np.count_nonzero(empty & brain), float(np.prod(volume.spacing)) / 1000
    if holes > checks.MOST_HOLES * np.count_nonzero(brain):
        others = [other for other, values in shown.items() if (values & empty).any()]
        raise CaseError(
            f"{volume.path} is {' and '.join(marks)} in {holes * voxel_ml:.1f} mL of the brain, where "
            f"{', '.join(others)} {'has' if len(others) == 1 else 'have'} values "
            f"({100 * holes / np.count_nonzero(brain):.1f} % of it), expected {kind} there; fill it in the perfusion "
            "program, or export the map without a limit"
        )
    words = f"{kind} is {' and '.join(marks)} in {100 * empty.mean():.0f} % of its voxels"
    if len(shown) == 1:
        return [f"{words}: taken for 0; no other map on its grid tells whether some of these lie in the brain"]
    return [f"{words}, outside the brain{f' but for {holes * voxel_ml:.1g} mL' if holes else ''}: taken for 0"]


def _on_one_grid(one: Volume, other: Volume) -> bool:
    """Tell whether voxels of two maps lie on each other; a header that does not say is taken to mean so."""
    silent = one.affine is None or other.affine is None
    return one.shape == other.shape and (silent or np.allclose(one.place, other.place, atol=grid.SNAP))


def _emptied(kind: str, volume: Volume, filled) -> Volume:
    """Return a map with 0 where it is filled."""
    values = np.where(filled, volume.values.dtype.type(0), volume.values) if filled.any() else volume.values
    if values.min() == values.max():
        raise CaseError(f"{volume.path} is {values.min():g} everywhere, expected a {kind} map; replace the file")
    return dataclasses.replace(volume, values=values)


def _from_series(
    images, spacing, volume: Volume, said: list[str], from_file: bool
) -> tuple[dict[str, np.ndarray], Curves]:
    """Return the CT with maps made from the series, and the curves that were found in it.

    What is `from_file` is NIfTI, whose time between frames the user may give; DICOM's images say when they were taken.
    """
    if volume.frame_s is None:
        raise CaseError(
            f"the header of {volume.path} does not say how many seconds lie between frames; give seconds_per_frame "
            f"(command: {COMMAND} --seconds-per-frame 1.5)"
        )
    frame_s = volume.frame_s
    if frame_s > 100:
        frame_s /= 1000
        said.append(f"{volume.frame_s:g} s between frames, as the header or the caller says: taken for milliseconds")
    try:
        maps, curves, remarks = series.maps_of_series(images[SERIES], images[HEAD], spacing, frame_s)
    except CaseError as error:
        told = f"{volume.path}: {error}"
        if from_file and told.endswith("correct its header"):
            told += f", or give seconds_per_frame (command: {COMMAND} --seconds-per-frame 1.5)"
        raise CaseError(told) from error
    said += [*remarks, *_untold(images, spacing)]
    return {HEAD: images[HEAD], **maps}, curves


def _untold(images, spacing) -> list[str]:
    """Say how much of the CT's brain a series holds nothing of, which the maps made of it leave out."""
    brain = series.brain_of(images[HEAD], spacing)
    nothing = brain & (images[SERIES].min(3) < NO_TISSUE_HU)
    if np.count_nonzero(nothing) <= checks.MOST_HOLES * np.count_nonzero(brain):
        return []
    return [
        f"the series holds no tissue in {np.count_nonzero(nothing) * np.prod(spacing) / 1000:.1f} mL of the {HEAD}'s "
        f"brain (less than {NO_TISSUE_HU:g} HU in some frame): the maps leave it out, and so does every volume"
    ]


def _check_units(images, found, volumes: dict[str, Volume]) -> None:
    """Refuse times in no unit that is known, or that begin late: a rule in seconds takes them for what they are not."""
    late = images["Tmax"][images["Tmax"] > 0]
    if late.size and (least := np.quantile(late, 0.05) / np.median(late)) > LEAST_TMAX:
        raise CaseError(
            f"{volumes['Tmax'].path}: a twentieth of the brain lies below {100 * least:.0f} % of the median and hardly "
            "anything near 0, expected a Tmax, which most tissue has near 0 s; is it the time to peak? Save Tmax itself"
        )
    for kind, unit in found.items():
        if unit is None and MODALITIES[kind].unit == "s":
            shown = images[kind][images[kind] > 0]
            raise CaseError(
                f"{volumes[kind].path} has a median of {np.median(shown):.3g} in the brain, and all but a hundredth "
                f"lies below {units.tops(shown)[0]:.3g}: {kind} in no unit that is known here; save it in seconds, or "
                "replace the file"
            )


def _in_range(kind: str, image, volumes: dict[str, Volume]) -> np.ndarray:
    """Refuse what no scan can hold."""
    low, high, most = image.min(), image.max(), MODALITIES[kind].largest
    if low < -most or high > most:
        raise CaseError(
            f"{volumes[kind].path} holds {low:g} to {high:g}, expected {kind} within {-most} to {most}; check its "
            "unit, byte order and scale, or replace the file"
        )
    if low == high:
        raise CaseError(
            f"{volumes[kind].path} is {low:g} everywhere in the field of the {HEAD}, expected a {kind} image; replace "
            "the file, or check its header"
        )
    return image


def _check_size(kind: str, volume: Volume) -> None:
    """Refuse a map of something much smaller or larger than a head."""
    order = np.abs(from_networks(volume)[:3, :3]).argmax(0)
    shown = volume.values != 0
    sides = [
        (np.ptp(np.flatnonzero(shown.any(tuple({0, 1, 2} - {axis})))) + 1) * volume.spacing[axis] for axis in order[:2]
    ]
    if not HEAD_MM[0] <= max(sides) <= HEAD_MM[1]:
        raise CaseError(
            f"{volume.path} is not of a head: what the {kind} shows is {sides[0]:.0f} x {sides[1]:.0f} mm, expected "
            f"{HEAD_MM[0]:.0f} to {HEAD_MM[1]:.0f} mm; check the file, its spacing, and that it is 0 outside the brain"
        )
