"""The scans of a data set: find, check and load them.

One reader serves all copies of the challenge's download (`layouts`) and the synthetic cohort, which is written in its
form.
"""

import math
import re
import statistics
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from strokelib import layouts, modalities, units
from strokelib.layouts import SPLITS
from strokelib.modalities import ISLES, MODALITIES
from strokelib.nifti import CaseError, directions, read_axes, read_image
from strokelib.patients import patients_of


@dataclass(frozen=True)
class CaseFiles:
    """Where one scan lies. `files` and `ids` (SMIR image numbers) go by modality, "OT" where labelled.

    The modalities come in the order in which a network takes them.
    """

    number: int
    patient: str
    slab: str
    folder: Path
    files: dict[str, Path]
    ids: dict[str, int]

    @property
    def modalities(self) -> tuple[str, ...]:
        return tuple(name for name in self.files if name in MODALITIES)

    @property
    def reference(self) -> Path:
        """The image that shows the head: its size and header are those of the scan."""
        return self.files[modalities.head(self.modalities)]


@dataclass(frozen=True)
class Case:
    """One scan: images (modality, x, y, slice) float32 in file units, lesion (x, y, slice) bool or None.

    `remarks` tell what was mended when it was read, and what looks wrong.
    """

    images: np.ndarray
    lesion: np.ndarray | None
    spacing: np.ndarray  # (3,) mm
    number: int
    patient: str
    modalities: tuple[str, ...] = ISLES
    remarks: tuple[str, ...] = ()

    def image(self, name: str) -> np.ndarray:
        """Return one modality, (x, y, slice)."""
        return self.images[self.modalities.index(name)]

    @property
    def named(self) -> dict[str, np.ndarray]:
        """All modalities by name, (x, y, slice) each."""
        return dict(zip(self.modalities, self.images, strict=True))

    @property
    def head(self) -> np.ndarray:
        """The modality that shows the head, (x, y, slice)."""
        return self.image(modalities.head(self.modalities))

    @property
    def maps(self) -> np.ndarray:
        """The perfusion maps, (map, x, y, slice)."""
        return self.images[modalities.maps(self.modalities)]


def find_cases(root, split, numbers=None, source: str = "isles2018") -> list[CaseFiles]:
    """List the scans of one split in numeric order.

    Parameters
    ----------
    root : path of the folder that holds TRAINING/ and TESTING/
    split : "TRAINING" or "TESTING"
    numbers : the cases wanted, all by default; no other is looked at
    source : data.source of the settings, a name in LAYOUTS

    Raises
    ------
    FileNotFoundError : no such folder, or no case_N folder in it.
    CaseError : a scan lacks a modality or holds one twice, or its patient is unknown; a wanted one is not there. One
        error tells of all such scans; `list_cases` does without raising, `preprocess.check_cases` reads them, too.
    """
    found, problems = list_cases(root, split, numbers, source)
    if problems:
        raise CaseError("\n".join(problems.values()))
    return found


def list_cases(root, split, numbers=None, source: str = "isles2018") -> tuple[list[CaseFiles], dict[int, str]]:
    """List the scans of one split, those whose folder is not in order apart.

    Parameters
    ----------
    root, split, numbers, source : as of `find_cases`

    Returns
    -------
    CaseFiles in numeric order, and what is wrong with each other scan by its number.

    Raises
    ------
    FileNotFoundError : no such folder, or no case_N folder in it.
    """
    if split not in SPLITS:
        raise ValueError(f"split must be one of {SPLITS}, got {split!r}")
    return LAYOUTS[source](root, split, numbers)


def odd_sizes(sides: dict[int, tuple[int, int]]) -> dict[int, str]:
    """Say what is wrong with scans of another size in plane than most; training scans share one tensor.

    Parameters
    ----------
    sides : voxels along x and y by case

    Returns
    -------
    the problem by case, of those alone that have one.
    """
    most = statistics.mode(sides.values()) if sides else None
    return {
        number: f"case_{number}: its slices have {side} voxels, those of most training scans {most}; resample the "
        "scan, or remove it"
        for number, side in sides.items()
        if side != most
    }


def splits_there(root, source: str = "isles2018") -> tuple[str, ...]:
    """Name the splits that a folder holds: "TRAINING", "TESTING", both or none.

    A copy with the training scans alone is a valid one. `find_cases` of a split that is not there raises
    FileNotFoundError.

    Parameters
    ----------
    root, source : as of `find_cases`
    """
    there = []
    for split in SPLITS:
        try:
            LAYOUTS[source](root, split, [])
        except FileNotFoundError:
            continue
        there.append(split)
    return tuple(there)


def files_of(root, source: str = "isles2018") -> list[Path]:
    """List all files that the scans are read from, links followed, so that a change of one of them is noticed.

    Parameters
    ----------
    root, source : as of `find_cases`
    """
    if LAYOUTS[source] is not _list_isles:
        return layouts.files_in(Path(root), depth=6)
    splits = [layouts.find_split(root, split) for split in splits_there(root, source)]
    folders = [folder for split in splits for folder in (split.folder, split.labels) if folder]
    found = {path for folder in folders for path in layouts.files_in(folder, depth=6)}
    for place in {Path(root), *(split.folder.parent for split in splits)}:
        found |= {path for name in ("patients.csv", "dataset.json") if (path := place / name).is_file()}
    return sorted(found)


def _list_isles(root, split, numbers) -> tuple[list[CaseFiles], dict[int, str]]:
    """List the scans of a copy of ISLES 2018, in any of the `layouts`; see `list_cases`."""
    place = layouts.find_split(root, split)
    scans, problems = [], {}
    for number in sorted({*place.places, *place.alike} if numbers is None else {int(n) for n in numbers}):
        try:
            scans.append(layouts.read_scan(place, number))
        except CaseError as error:
            problems[number] = str(error)
    patients, found = patients_of(root, place, scans), []
    for scan in scans:
        told = patients[scan.number]
        if isinstance(told, CaseError):
            problems[scan.number] = str(told)
        else:
            found.append(CaseFiles(scan.number, *told, scan.folder, scan.files, scan.ids))
    return found, dict(sorted(problems.items()))


def _list_slabs(root, split, numbers) -> tuple[list[CaseFiles], dict[int, str]]:
    """List the slabs that tools/make_slabs.py made of ISLES 2024, training scans all of them; see `list_cases`."""
    found, problems, folder = [], {}, Path(root) / split
    named = [re.fullmatch("case_([1-9][0-9]*)", path.name) for path in layouts.subfolders(folder)]
    there = sorted(int(match[1]) for match in named if match)
    if not there:
        raise FileNotFoundError(
            f"no case_N folder in {folder}; python tools/make_slabs.py FOLDER makes them of your download of ISLES "
            "2024 (data/README.md)"
        )
    for number in there if numbers is None else sorted({int(n) for n in numbers}):
        inside = folder / f"case_{number}"
        files = {name: inside / f"{name.lower()}.nii.gz" for name in ISLES} | {"OT": inside / "lesion.nii.gz"}
        if lacking := [path.name for path in (*files.values(), inside / "slab.json") if not path.is_file()]:
            told = f"is no slab of tools/make_slabs.py: it has no {', '.join(lacking)}; name the folder that this wrote"
            problems[number] = f"case_{number}: {inside} {told} (STROKELIB_DATA names another where it is set)"
        else:
            found.append(CaseFiles(number, f"sub-stroke{number:04d}", "A", inside, files, {}))
    return found, problems


# How each source's folder is laid out: a function as `_list_isles`.
LAYOUTS = {"synthetic": _list_isles, "isles2018": _list_isles, "isles2024": _list_slabs}


def load_case(case_files: CaseFiles) -> Case:
    """Load the modalities and the lesion of one scan.

    Files whose headers say that they have other axes than the image of the head are turned to its axes, and maps in
    another unit that is known are brought to that of ISLES 2018; the scan's `remarks` say so.

    Returns
    -------
    Case : images in file units (CT in HU; CBF and CBV ten times mL/100 g/min and mL/100 g; MTT and Tmax in s).

    Raises
    ------
    CaseError : an unreadable file; shapes or spacings that differ, axes that differ where the headers contradict each
        other, voxels that are not as wide as high; values beyond all measure, the same everywhere, times in no unit
        that is known, or maps without a background of 0; a label other than 0 and 1.
    """
    number, files, reference = case_files.number, case_files.files, case_files.reference
    first, spacing = read_image(reference, number)
    if not np.isclose(spacing[0], spacing[1], rtol=1e-3):
        raise CaseError(
            f"case_{number}: {reference} has spacing {spacing} mm, expected voxels as wide as high; "
            "correct its header, or resample the scan"
        )
    stored = {
        name: first if files[name] == reference else _like(first, spacing, reference, files[name], number)
        for name in (*case_files.modalities, *(["OT"] if "OT" in files else []))
    }
    remarks = _turned(case_files, stored)
    if (label := stored.pop("OT", None)) is not None:
        if not np.isin(label, (0, 1)).all():
            raise CaseError(
                f"case_{number}: {files['OT']} holds values other than 0 and 1: {np.unique(label)[:8]}; replace it by "
                "a mask of the core"
            )
        label = label.astype(bool)
    found = units.find(stored)
    images = {
        name: _checked(units.convert(image, found.get(name)), name, files[name], number)
        for name, image in stored.items()
    }
    for name in [name for name, unit in found.items() if unit is None and MODALITIES[name].unit == "s"]:
        raise CaseError(
            f"case_{number}: {files[name]} has a median of {np.median(stored[name][stored[name] > 0]):.3g} in the "
            f"brain, which is {name} in no unit that is known here; save it in seconds, or replace the file"
        )
    remarks += units.remarks(images, found)
    array = np.stack([*images.values()])
    return Case(array, label, spacing, number, case_files.patient, case_files.modalities, tuple(remarks))


def _turned(case_files: CaseFiles, names) -> list[str]:
    """Say which files were turned to the axes of the image of the head; refuse a scan where that one does not say."""
    stated = {name: directions(case_files.files[name]) for name in names}
    head = modalities.head(case_files.modalities)
    others = {name: axes for name, axes in stated.items() if axes and axes != stated[head]}
    if not stated[head] and len({*others.values()}) > 1:
        told = ", ".join(f"{axes} ({name})" for name, axes in others.items())
        raise CaseError(
            f"case_{case_files.number}: by their headers the axes of its images point to {told}, and the header of "
            f"{case_files.reference} does not say; correct the headers, or save all images with the same axes"
        )
    if not stated[head]:
        return []
    return [
        f"{name} has other axes than the {head} by its header ({axes}, {stated[head]}): turned to those when read"
        for name, axes in others.items()
    ]


def _like(first, spacing, reference: Path, path: Path, number: int) -> np.ndarray:
    array, own = read_image(path, number, reference)
    if array.shape != first.shape:
        raise CaseError(
            f"case_{number}: {path} has shape {array.shape}, the CT {first.shape}; they must agree, replace the wrong "
            "one"
        )
    if not np.allclose(own, spacing, rtol=1e-3):
        raise CaseError(
            f"case_{number}: {path} has spacing {own} mm, the CT {spacing}; they must agree, correct the wrong one"
        )
    return array


def _checked(array, modality: str, path: Path, number: int) -> np.ndarray:
    """Return the values as float32; refuse what no scan can hold."""
    low, high, most = array.min(), array.max(), MODALITIES[modality].largest
    if low < -most or high > most:
        raise CaseError(
            f"case_{number}: {path} holds {low:g} to {high:g}, expected {modality} within {-most} to {most}; check its "
            "unit, byte order and scale, or replace the file"
        )
    values = array.astype(np.float32)
    if values.min() == values.max():
        raise CaseError(f"case_{number}: {path} is {low:g} everywhere, expected a {modality} image; replace the file")
    if not MODALITIES[modality].head and values.all():
        raise CaseError(
            f"case_{number}: {path} is nowhere 0, expected 0 outside the brain (that makes the brain mask); replace "
            "the file, or save it with a background of 0"
        )
    return values


def load_series(case_files: CaseFiles) -> tuple[np.ndarray, float]:
    """Load the raw perfusion series of one scan, which `files` lists as "4DPWI".

    Returns
    -------
    (x, y, slice, time) float32 in HU, seconds from one frame to the next.

    Raises
    ------
    CaseError : an unreadable file, another shape than the CT's, or a time step that is not positive.
    """
    number, path = case_files.number, case_files.files["4DPWI"]
    ct, _ = read_image(case_files.reference, number)
    series, spacing = read_axes(path, number, ("x", "y", "slice", "time"), case_files.reference)
    if series.shape[:3] != ct.shape or not 0 < spacing[3] < math.inf:
        raise CaseError(
            f"case_{number}: {path} has shape {series.shape} and {spacing[3]} s between frames, expected the CT's "
            f"{ct.shape} and a positive time; replace the file, or correct its header"
        )
    return series.astype(np.float32), float(spacing[3])


def hidden_truth(root, number: int) -> Path:
    """Name the testing lesion of the synthetic cohort; what is finished is judged by it, and nothing is chosen."""
    return Path(root) / ".truth" / "testing_ot" / f"case_{number}.nii.gz"
