"""A scan of one's own from a folder of DICOM files: which series is which, and what the scan is made of.

What is accepted, what is refused and what to ask the scanner for stands in docs/dicom.md.
"""

import dataclasses
import itertools
import re
from pathlib import Path

import numpy as np

from strokelib import modalities
from strokelib.nifti import CaseError
from strokelib.own import arrival, dicom_volume, kinds, volumes
from strokelib.own.dicom_files import Header, passed_over, read_headers
from strokelib.own.dicom_volume import AIR_HU, APART_MM, FEWEST_FRAMES, Stack
from strokelib.own.scan import OwnScan

BONE = r"\bbone\b"  # the kernel of a native CT that a soft one is taken before


def series_of(folder, names: dict[str, str] | None = None) -> dict[str, Stack]:
    """Read the CT and the maps of a scan or, where a map lacks, the CT and its raw perfusion series.

    Parameters
    ----------
    folder : path of the folder with the DICOM files of one scan, at any depth and with any names
    names : SeriesDescription or SeriesInstanceUID by modality ("CT", "CBF", "CBV", "MTT", "Tmax", "series") of those
        that are not known by their words, or by the wrong ones; the others are found

    Returns
    -------
    Stack by modality, "series" the raw one. Each on its own grid, in HU or the unit of its files; what is padded in
    a map is NaN.

    Raises
    ------
    CaseError : pydicom is not installed; names of other images than these; no CT, or neither four maps nor a raw
        series; several series that could be one modality; series of several studies; a series that cannot be used,
        such as color pictures, several slabs, uneven times or a tilted gantry, with what to ask for.

    Our choice: what words mean (`kinds.MAP_WORDS`, NATIVE and OTHER), and that a series with ten images at a position
    or more is a raw perfusion series, and ten series or more of one name and size are one.
    """
    names = kinds.by_kind(names)
    there = _joined(_by_series(read_headers(folder)), {*names.values()})
    found = {name: _named(name, wanted, there) for name, wanted in names.items()}
    is_a = {uid: _kind(headers) for uid, headers in there.items()}
    for name in (*modalities.ISLES, kinds.SERIES):
        candidates = [uid for uid, kind in is_a.items() if kind == name and uid not in found.values()]
        if name not in found and (chosen := _chosen(name, candidates, there)):
            found[name] = chosen
    maps = [name for name in kinds.MAPS if name not in found]
    wanted = ["CT", kinds.SERIES] if maps else [*modalities.ISLES]
    if lacking := [name for name in wanted if name not in found]:
        parts = {"CT": "CT without contrast", kinds.SERIES: f"{_listed(maps)}, no raw perfusion series to make them of"}
        raise CaseError(
            f"{folder} has no {', no '.join(parts[name] for name in lacking)}; it holds {_told(there)}{_thin(there)}"
            f"{_passed_over(folder)}. Add what lacks, or name the right series by its description or UID (names; "
            f"command: {kinds.COMMAND} --files ...)"
        )
    chosen = {name: there[found[name]] for name in wanted}
    said = [*_together(chosen, bool(names)), *kinds.unused(found)]
    read = {name: _volume(name, headers) for name, headers in chosen.items()}
    return read | {"CT": dataclasses.replace(read["CT"], remarks=(*read["CT"].remarks, *said))}


def read_dicom(folder, name: str = "", names: dict[str, str] | None = None) -> OwnScan:
    """Read a scan of one's own from DICOM files.

    Parameters
    ----------
    folder, names : as of `series_of`
    name : of the scan on every page and in every file name; that of the folder by default

    Returns
    -------
    OwnScan, with the CT as reference image and its files in `slices`.

    Raises
    ------
    CaseError : as of `series_of` and `arrival.assemble`.
    """
    folder = Path(folder)
    read = series_of(folder, names)
    said = tuple(remark for volume in read.values() for remark in volume.remarks)
    assembled = {kind: _as_file(volume) for kind, volume in read.items()}
    return arrival.assemble(name or folder.absolute().name, assembled, None, said, read["CT"].files)


def holds_scan(headers) -> bool:
    """Tell whether files hold, by their words, a CT and something else of a scan."""
    there = {_kind(series) for series in _joined(_by_series(headers), set()).values()} - {""}
    return "CT" in there and len(there) > 1


def _as_file(stack: Stack) -> volumes.Volume:
    """Give a series the form that a NIfTI file has once it is read."""
    spacing = np.linalg.norm(stack.affine[:3, :3], axis=0)
    frame_s = None if stack.seconds is None else float(stack.seconds[-1] / (len(stack.seconds) - 1))
    return volumes.Volume(stack.label, stack.array, spacing, stack.affine, frame_s)


def _together(chosen: dict[str, list[Header]], named: bool) -> list[str]:
    """Refuse series of several studies, which may be of several patients; say what lies in several frames."""
    studies = {name: headers[0].study for name, headers in chosen.items()}
    apart = [name for name, study in studies.items() if study != studies["CT"]]
    if apart and not named:
        raise CaseError(
            f"{_listed(apart)} and the CT come from several studies, perhaps of several patients; leave the files of "
            f"one patient in the folder, and name each series (names; command: {kinds.COMMAND} --files ...) if these "
            "belong"
        )
    frames = {name: headers[0].frame_of_reference for name, headers in chosen.items()}
    others = [name for name, frame in frames.items() if frame and frames["CT"] and frame != frames["CT"]]
    said = (
        [f"{_listed(apart)} and the CT come from several studies, and were named to belong together"] if apart else []
    )
    if others:
        said.append(
            f"{_listed(others)} and the CT have different frames of reference: that they lie on each other is not "
            "known; look at the page"
        )
    return said


def _volume(name: str, headers) -> Stack:
    label = _label(name, headers)
    if name == kinds.SERIES:
        return dicom_volume.series_volume(label, headers)
    return dicom_volume.volume_of(label, headers, AIR_HU if name == "CT" else np.nan)


def _by_series(headers) -> dict[str, list[Header]]:
    found = {}
    for header in headers:
        found.setdefault(header.series, []).append(header)
    return found


def _joined(there: dict[str, list[Header]], named) -> dict[str, list[Header]]:
    """Join what a scanner wrote as one series a frame: as many of one name, but for numbers, and of one size."""
    alike = {}
    for uid, headers in there.items():
        if uid not in named and headers[0].modality == "CT" and not dicom_volume.picture(headers):
            name = re.sub(r"\d+", "#", headers[0].description)
            alike.setdefault((headers[0].study, name, len(headers), headers[0].shape), []).append(uid)
    joined = dict(there)
    for uids in alike.values():
        if len(uids) >= FEWEST_FRAMES:
            joined[uids[0]] = [header for uid in uids for header in joined.pop(uid)]
    return joined


def _words(headers) -> str:
    return kinds.spaced(" ".join((headers[0].description, *headers[0].kind)))


def _kind(headers) -> str:
    """Tell what a series is by its words and its images: a modality, "series", or "" for what is not needed."""
    words = _words(headers)
    maps = [name for name, pattern in kinds.MAP_WORDS.items() if re.search(pattern, words)]
    if maps:
        return maps[0] if len(maps) == 1 else ""
    if headers[0].modality != "CT":
        return ""
    if dicom_volume.picture(headers):  # a CT in another form, and no screen capture
        return "CT" if headers[0].kind[:1] == ("ORIGINAL",) else ""
    low, high = dicom_volume.extent(headers)
    if high - low < APART_MM:  # one slice, or where the arrival of contrast was waited for
        return ""
    return kinds.SERIES if dicom_volume.images_at_a_position(headers) >= FEWEST_FRAMES else "CT"


def _named(name: str, wanted: str, there: dict[str, list[Header]]) -> str:
    """Return the one series with this UID or description."""
    same = [uid for uid in there if uid == wanted]
    same = same or [uid for uid, h in there.items() if h[0].description.casefold() == wanted.strip().casefold()]
    if len(same) != 1:
        raise CaseError(
            f"{len(same)} series are called {wanted!r}, expected one for {name}; there are {_told(there)}: name it by "
            "its SeriesInstanceUID"
        )
    return same[0]


def _chosen(name: str, candidates: list[str], there: dict[str, list[Header]]) -> str:
    """Choose the series of a modality, "" where there is none; refuse to guess among several."""
    good = [uid for uid in candidates if not dicom_volume.picture(there[uid])]
    if name == "CT":
        native = [uid for uid in good if re.search(kinds.NATIVE, _words(there[uid]))]
        soft = [uid for uid in native if not re.search(BONE, _words(there[uid]))]
        good = soft or native or [uid for uid in good if not re.search(kinds.OTHER, _words(there[uid]))]
        candidates = [uid for uid in candidates if uid in good or dicom_volume.picture(there[uid])]
    if candidates and not good:  # said here, since an answer to what lacks has to be asked of the scanner
        uid = candidates[0]
        raise CaseError(f"{_label(name, there[uid])}: {dicom_volume.picture(there[uid])}")
    if len(good) < 2:
        return good[0] if good else ""
    ends = sorted(dicom_volume.extent(there[uid]) for uid in good)
    if all(before[1] < after[0] for before, after in itertools.pairwise(ends)):
        told = "; ".join(f"{low:.1f} to {high:.1f} mm" for low, high in ends)
        raise CaseError(
            f"{name}: {len(good)} series hold a slab each, {told} along their slices' normal; put each slab with its "
            "maps into a folder of its own: they are segmented one by one"
        )
    told = _told({uid: there[uid] for uid in good})
    uids = ", ".join(good)
    raise CaseError(
        f"{name}: {len(good)} series could be it, {told}; say which by its description or UID (names; "
        f"command: {kinds.COMMAND} --files {name}=...; the UIDs are {uids}), or leave one of them in the folder alone"
    )


def _label(name: str, headers) -> str:
    return f'{name} (series "{headers[0].description}")' if headers[0].description else name


def _told(there: dict[str, list[Header]]) -> str:
    """List series by description and number of images."""
    counted = [f'"{h[0].description}" ({len(h)} image{"s" if len(h) > 1 else ""})' for h in there.values()]
    return ", ".join(sorted(counted))


def _thin(there: dict[str, list[Header]]) -> str:
    """Say which series show one slice alone, of which no CT and no raw series can be made."""
    ends = {uid: dicom_volume.extent(h) for uid, h in there.items() if h[0].modality == "CT" and not _kind(h)}
    thin = sorted(f'"{there[uid][0].description}"' for uid, end in ends.items() if end and end[1] - end[0] < APART_MM)
    return f", of which {_listed(thin)} cannot be the CT or the raw series: one slice, expected more" if thin else ""


def _passed_over(folder) -> str:
    """Say how many images of other machines lie there, by their Modality."""
    counts = passed_over(folder)
    told = ", ".join(f"{number} of Modality {name or 'nothing'}" for name, number in sorted(counts.items()))
    return f"; passed over were images that say they are of no CT scanner ({told})" if told else ""


def _listed(names) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else "".join(names)
