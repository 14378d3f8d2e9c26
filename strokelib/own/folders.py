"""Which folders hold a scan: one, or many side by side."""

import dataclasses
import os
import re
import shlex
import unicodedata
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from strokelib import layouts
from strokelib.cases import load_case
from strokelib.evaluation.tables import counted
from strokelib.nifti import CaseError
from strokelib.own import arrival, dicom, kinds, registry
from strokelib.own.dicom_files import Header, is_dicom, read_headers
from strokelib.own.scan import OwnScan
from strokelib.postprocess import PUBLISHED

_LETTERS = 80  # of a name
_TOLD = 3  # names of files that a remark holds
_DEVICES = {"CON", "PRN", "AUX", "NUL", *(f"{port}{n}" for port in ("COM", "LPT") for n in range(1, 10))}  # of Windows


@dataclass(frozen=True)
class Place:
    """Where one scan lies, what it will be called, and which reader it needs."""

    name: str
    folder: Path
    dicom: bool


def find_scans(folders) -> list[Place]:
    """Find the scans in folders: each is one scan, or holds one scan in each of its folders.

    A folder is one scan if it directly holds images, or if none of its folders is a scan by itself: the challenge's
    own layout and most exports keep each image of a scan in a folder of its own. Beside several scans in folders of
    their own, images that hold no CT by their names, such as a mask for all, are passed over.

    Parameters
    ----------
    folders : paths; ~ is the user's own folder. A scan is called as its folder, or as the link to it; where several
        would be called alike, as those of BIDS, by the folders above as well: sub-01_ses-01, sub-02_ses-01.

    Raises
    ------
    FileNotFoundError : no such folder, or no image in it.
    CaseError : two scans would go by the same name all the same, such as "P 1" and "P_1" beside each other.
    """
    found = []
    for folder in map(_whole_path, folders):
        if not folder.is_dir():
            what = f"{folder} is a file and no folder" if folder.exists() else f"no folder {folder}"
            raise FileNotFoundError(
                f"{what}; name the one that holds the images of a scan, or of many, unpacked where it was an archive"
            )
        inside = _scans(folder)
        if not inside:
            raise FileNotFoundError(
                f"no image in {folder}: neither NIfTI (.nii, .nii.gz) nor DICOM; unpack archives first, save other "
                "formats (.nrrd, .mha, .hdr with .img) as NIfTI, and name the folder that holds the images of a scan"
            )
        found += inside
    first = {}
    for place in found:
        if (real := place.folder.resolve()) not in first or place.folder == real:  # which a link beside it leads to
            first[real] = place
    found = [*first.values()]
    names = _told_apart(found)
    if alike := _alike(names):
        first = [place for place, name in zip(found, names, strict=True) if name.casefold() == alike[0].casefold()]
        where = ", ".join(str(place.folder) for place in first)
        raise CaseError(
            f"several scans would be called {first[0].name!r} ({where}); segment them one by one "
            f"(command: {kinds.COMMAND} --name ...)"
        )
    return [dataclasses.replace(place, name=name) for place, name in zip(found, names, strict=True)]


def passed_over(given, places: list[Place]) -> list[str]:
    """Name the folders in folders of scans that hold no image that is read: empty ones, archives, other formats.

    So are images beside them that belong to none of the scans.

    Parameters
    ----------
    given : as `find_scans` takes them
    places : what it found in them
    """
    scans = {place.folder.resolve() for place in places}
    holding = scans.union(*(scan.parents for scan in scans))
    several = [folder for folder in map(_whole_path, given) if folder.resolve() not in scans]
    inside = [path for folder in several for path in layouts.subfolders(folder)]
    stray = [path.name for folder in several for path in _images(folder) if path.parent == folder]
    return [path.name for path in inside if path.resolve() not in holding] + stray


def _told_apart(places: list[Place]) -> list[str]:
    """Name scans, and those that are called alike by the folders above them, too, as many as it takes."""
    names = [place.name for place in places]
    for depth in range(2, max(len(place.folder.parts) for place in places)):
        alike = _alike(names)
        for i, place in enumerate(places):
            if names[i] in alike:
                names[i] = plain("_".join(place.folder.parts[1:][-depth:])[-_LETTERS:])
    return names


def _alike(names) -> list[str]:
    """List those that occur more than once where capitals do not count, as on Windows and macOS."""
    folded = [name.casefold() for name in names]
    return [name for name in names if folded.count(name.casefold()) > 1]


def find_scan(folder) -> Place:
    """Find the one scan of a folder, as `find_scans`.

    Raises
    ------
    CaseError : there are several.
    """
    found = find_scans([folder])
    if len(found) > 1:
        names = ", ".join(place.folder.name for place in found)
        raise CaseError(f"{folder} holds {len(found)} scans ({names}); name the folder of one of them")
    return found[0]


def example(files):
    """Choose a scan of a data set to show: the one with most late tissue, be it core or penumbra.

    Parameters
    ----------
    files : list of cases.CaseFiles, one at least

    Returns
    -------
    one of them. Its label has no say, since a scan of one's own has none.
    """
    sizes = {}
    for scan in files:
        case = load_case(scan)
        sizes[scan.number] = np.count_nonzero(case.image("Tmax") > PUBLISHED.tmax_s) * float(np.prod(case.spacing))
    return max(files, key=lambda scan: (sizes[scan.number], -scan.number))


def pairs(words) -> dict[str, str]:
    """Read which file is which image: "CT=head.nii.gz CBF='flow 2.nii'", or a list of such words; a colon does, too.

    Raises
    ------
    ValueError : a word without either, or an image twice.
    """
    if isinstance(words, str):
        split = shlex.shlex(words, posix=True)
        split.whitespace_split, split.escape, split.commenters = True, "", ""  # Windows has backslashes in paths
        words = list(split)
    found = [re.split("[=:]", word, maxsplit=1) for word in words]
    if bad := [word for word, parts in zip(words, found, strict=True) if len(parts) < 2 or not all(parts)]:
        raise ValueError(f"expected words such as CT=head.nii.gz, got {bad[0]!r}")
    given = [kind.casefold() for kind, _ in found]
    if twice := [kind for kind, _ in found if given.count(kind.casefold()) > 1]:
        raise ValueError(f"{twice[0]} is given {len(twice)} times ({' '.join(words)}); name each image once")
    return dict(found)


def read(place: Place, files: dict[str, str] | None = None, seconds_per_frame: float | None = None) -> OwnScan:
    """Read a scan of either kind.

    Parameters
    ----------
    place : of `find_scans`
    files : which file, or series of DICOM, is which image, where names do not say; files of NIfTI are read as such
    seconds_per_frame : of a raw series, where its header does not say

    Raises
    ------
    CaseError : the scan cannot be used; see `arrival.read_folder` and `dicom.read_dicom`. Seconds for DICOM, whose
        images say when they were taken. What lies beside the scan in the other form is named, as it is in a remark.
    ImportError : DICOM, and what reads it is not installed.
    """
    as_dicom, outside = _as_dicom(place, files), outside_of(place, files)
    if as_dicom and seconds_per_frame is not None:
        raise CaseError(f"{place.folder} is DICOM, whose images say when they were taken; give no seconds_per_frame")
    beside = _beside(place.folder, as_dicom)
    try:
        if as_dicom:
            scan = dicom.read_dicom(place.folder, place.name, files or None)
        else:
            scan = arrival.read_folder(place.folder, files or None, place.name, seconds_per_frame)
    except CaseError as error:
        if not beside:
            raise
        mixed = "a scan is read from one form alone: where its images are of both, convert the DICOM to NIfTI"
        raise CaseError(f"{error}; {beside}; {mixed} (dcm2niix) and put all into one folder") from error
    more = [beside] if beside else []
    if outside:
        more.append(
            f"taken from outside of the scan's own folder, as named: {', '.join(outside)}; are all of one patient?"
        )
    return dataclasses.replace(scan, remarks=(*scan.remarks, *more)) if more else scan


def outside_of(place: Place, files: dict[str, str] | None) -> list[str]:
    """List the images whose files, of those given, lie outside of the scan's own folder, such as "CT (ct.nii)".

    Parameters
    ----------
    place, files : as of `read`. Series of DICOM lie nowhere else; a link in the folder is in it, wherever it leads.
    """
    if _as_dicom(place, files):
        return []
    paths = {kind: place.folder / file for kind, file in (files or {}).items()}
    return [f"{kind} ({path.name})" for kind, path in paths.items() if not _is_within(path, place.folder)]


def _is_within(path: Path, folder: Path) -> bool:
    return Path(os.path.abspath(path)).is_relative_to(folder) or path.resolve().is_relative_to(folder.resolve())


def _as_dicom(place: Place, files: dict[str, str] | None) -> bool:
    """Tell whether a scan is read from its DICOM files: where they are there and what is named are none of NIfTI."""
    return place.dicom and not any(map(layouts.is_image, (files or {}).values()))


def plain(name: str) -> str:
    """Make a name that every file system takes: letters, digits, point, dash and underscore, and not too many."""
    made = re.sub(r"[^\w.-]+", "_", unicodedata.normalize("NFC", name)).strip("._-")[:_LETTERS].strip("._-") or "scan"
    return f"{made}_" if made.partition(".")[0].upper() in _DEVICES else made


def _scans(folder: Path) -> list[Place]:
    here = folder.resolve()
    inner = [path for path in layouts.subfolders(folder) if path.resolve() not in (here, *here.parents)]  # no circles
    images = _images(folder)
    slices = [] if images and _is_nifti(folder) else _slices(folder)
    direct = any(path.parent == folder for path in slices or images)
    whole = _whole_by_study if slices else _whole_by_name
    # Beside several scans in folders of their own a NIfTI file that is no CT by its name, such as a mask, is none.
    stray = direct and not slices and "CT" not in {kinds.kind_of(path.name) for path in images if path.parent == folder}
    if (not direct and any(map(whole, inner))) or (stray and sum(map(whole, inner)) > 1):
        return [scan for path in inner for scan in _scans(path)]
    return [Place(plain(folder.name), folder, dicom=bool(slices))] if slices or images else []


def _is_nifti(folder: Path) -> bool:
    """Tell whether a scan is read from NIfTI files where DICOM lies beside them: if they make one by their names.

    Anything less, such as a mask or the CT that it was drawn on, hides no DICOM. Beside a CT, names that do not tell
    may be those of its maps: then they count unless DICOM holds a scan by its words.
    """
    there = _kinds(folder)
    return kinds.whole(there) or ({"CT", None} <= there and not dicom.holds_scan(_headers(folder)))


def _beside(folder: Path, as_dicom: bool) -> str:
    """Say which images of the other form lie in a folder and are not read; "" where there are none."""
    form, other = ("DICOM", "NIfTI") if as_dicom else ("NIfTI", "DICOM")
    left = [path.name for path in (_images(folder) if as_dicom else _slices(folder))]
    if not left:
        return ""
    told = ", ".join(left[:_TOLD]) + (", ..." if len(left) > _TOLD else "")
    these, them = ("these are", "them") if len(left) > 1 else ("this is", "it")
    return (
        f"it was read as {form}, without {counted(len(left), f'{other} file', f'{other} files')} beside it ({told}); "
        f"if {these} the scan, move {them} out of this folder"
    )


def _images(folder: Path) -> list[Path]:
    return [path for path in _files(folder) if layouts.is_image(path.name)]


def _slices(folder: Path) -> list[Path]:
    return [path for path in _files(folder) if not layouts.is_image(path.name) and _may_be_dicom(path)]


def _whole_path(folder) -> Path:
    """Return an absolute path, whose folders are known as such wherever a remark names a file; links are kept."""
    return Path(os.path.abspath(Path(folder).expanduser()))


def _may_be_dicom(path: Path) -> bool:
    """Tell a DICOM file; one that may not be read is none here, and is named when its own scan is read."""
    try:
        return is_dicom(path)
    except OSError:
        return False


def _files(folder: Path) -> list[Path]:
    """List the files below a folder without results that were written there before: those are no scans."""
    files = kinds.files_below(folder)
    results = {path.parent for path in files if path.name == registry.FILE}
    return [path for path in files if path.parent not in results]


def _whole_by_name(folder: Path) -> bool:
    """Tell whether a folder, with those in it, holds a CT by its name and a map or a series: then it is a scan itself.

    Images whose names do not tell may be its maps as well, or a CTA and the like beside the CT: then the maps lie in a
    folder of their own, which has no CT.
    """
    there = _kinds(folder)
    if "CT" not in there:
        return False
    if there - {"CT", None}:
        return True
    others = [_kinds(path) for path in layouts.subfolders(folder.parent) if path != folder]
    return None in there and not any("CT" not in other and other - {None} for other in others)


def _kinds(folder: Path) -> set[str | None]:
    """Return which images of a scan a folder holds by their names, None for those whose names do not tell."""
    return {kinds.kind_of(path.name) for path in _images(folder)}


def _whole_by_study(folder: Path) -> bool:
    """Tell whether a folder holds a CT and another series of DICOM, or several of a study of which no other has any.

    Of exports that keep all maps of a scan in one folder and the CT in another, the first is none.
    """
    headers = _headers(folder)
    if dicom.holds_scan(headers):
        return True
    if len({header.series for header in headers}) < 2:
        return False
    studies = {header.study for header in headers}
    others = [path for path in layouts.subfolders(folder.parent) if path != folder]
    return not any(studies & {header.study for header in _headers(other)} for other in others)


def _headers(folder: Path) -> tuple[Header, ...]:
    """Read the headers of a folder; none where that fails, which is said when the scan is read and stops no other."""
    try:
        return read_headers(folder)
    except CaseError:  # reports beside the images, or damaged
        return ()
