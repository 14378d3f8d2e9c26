"""A download of ISLES 2024: which of its files is which image of which scan. No image is opened.

Files are told by how their names end, since the archive and its own description name folders and scans differently:
train/raw_data/sub-stroke0001/ses-01/..._ncct.nii.gz, or rawdata/sub-strokecase0001/ses-0001/.... Its scans answer
another question than those of ISLES 2018: the outline is the infarct that magnetic resonance shows two to nine days
after the CT, and not the core at the time of the CT.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from strokelib.layouts import files_in, is_image
from strokelib.modalities import ISLES
from strokelib.nifti import CaseError

SCANS = 149  # in train.7z; their numbers run from 1 to 189 with gaps
_SCAN = re.compile(r"sub-[a-z]*0*([0-9]+)", re.IGNORECASE)  # folder of a scan
_VISIT = re.compile(r"ses-0*([0-9]+)", re.IGNORECASE)  # folder of a visit: 1 with the CT, 2 with the outline
# How a name ends, but for .nii.gz, and the visit; circles of Willis and occlusions are outlined in files of their own.
_ENDS = {
    "CT": (1, re.compile(r"ncct")),
    **{name: (1, re.compile(name.lower())) for name in ISLES if name != "CT"},
    "OT": (2, re.compile(r"lesion[-_](?:msk|mask)")),
}
_ON_CT = re.compile(r"space[-_]ncct[-_]", re.IGNORECASE)  # in the name of an image that was resampled to the CT's grid
_DEPTH = 8  # folders between the one that is named and an image


@dataclass(frozen=True)
class Download:
    """The files of one scan, by modality in the order of `modalities.ISLES`, then "OT"."""

    number: int
    name: str  # of its folder, such as sub-stroke0001
    files: dict[str, Path]


def image_of(path) -> tuple[int, str, str] | None:
    """Tell what a file of the download is: number and name of the scan, and a modality or "OT".

    Parameters
    ----------
    path : of a file, with the folders of scan and visit in it

    Returns
    -------
    None for what no slab is made of, such as the CT angiography, the raw series, a map on another grid than the CT's
    (the name has no space-ncct), or outlines of vessels.
    """
    path = Path(path)
    scans = [(match, part) for part in path.parts[:-1] if (match := _SCAN.fullmatch(part))]
    visits = [match for part in path.parts[:-1] if (match := _VISIT.fullmatch(part))]
    if not scans or not visits or not is_image(path.name):
        return None
    (number, name), stem = scans[-1], re.sub(r"\.nii(\.gz)?$", "", path.name, flags=re.IGNORECASE)
    for image, (visit, end) in _ENDS.items():
        beside = re.search(rf"(?:^|[_-]){end.pattern}$", stem, re.IGNORECASE)
        if not beside or int(visits[-1][1]) != visit:
            continue
        moved = bool(_ON_CT.search(stem))
        if image == "OT" or moved == (image != "CT"):
            return int(number[1]), name, image
    return None


def list_scans(root) -> tuple[list[Download], dict[int, str]]:
    """List the scans of a download in numeric order, those that lack an image apart.

    Parameters
    ----------
    root : path of the unpacked archive, or of a folder around it or in it that holds images and outlines

    Returns
    -------
    Download of each scan with all images and an outline, and what is wrong with each other scan by its number.

    Raises
    ------
    FileNotFoundError : no such folder, an archive that was not unpacked, or no scan in it.
    """
    root = Path(root)
    if root.is_file():
        raise FileNotFoundError(
            f"{root} is a file, expected a folder; unpack it first, as data/README.md tells, and name the folder"
        )
    if not root.is_dir():
        raise FileNotFoundError(f"there is no folder {root}; name the one that the archive was unpacked into")
    found, names = {}, {}
    for path in files_in(root, _DEPTH):
        if told := image_of(path.relative_to(root.parent)):
            number, name, image = told
            found.setdefault(number, {}).setdefault(image, []).append(path)
            names.setdefault(number, set()).add(name)
    if not found:
        raise FileNotFoundError(
            f"no scan of ISLES 2024 in {root}: no sub-strokeNNNN/ses-01/..._ncct.nii.gz or the like; data/README.md "
            "tells how to get and unpack them"
        )
    scans, problems = [], {}
    for number in sorted(found):
        try:
            files = _one_each(number, found[number], root)
            scans.append(Download(number, min(names[number]), files))
        except CaseError as error:
            problems[number] = str(error)
    return scans, problems


def _one_each(number: int, found: dict[str, list[Path]], root: Path) -> dict[str, Path]:
    """Return the one file of each image; an outline that was resampled to the CT's grid goes before another."""
    files, missing = {}, []
    for image in (*ISLES, "OT"):
        paths = list({os.path.realpath(path): path for path in found.get(image, [])}.values())
        if image == "OT" and len(paths) > 1:
            paths = [path for path in paths if _ON_CT.search(path.name)] or paths
        if len(paths) > 1:
            told = ", ".join(os.path.relpath(path, root) for path in paths)
            raise CaseError(f"case_{number} has {len(paths)} files of its {image} in {root}: {told}; keep one")
        if paths:
            files[image] = paths[0]
        else:
            missing.append(image)
    if missing:
        raise CaseError(
            f"case_{number} has no {', no '.join(missing)} in {root} (looked for "
            f"{', '.join(map(_looked_for, missing))}); unpack that scan again, or go on without it"
        )
    return files


def _looked_for(image: str) -> str:
    if image == "CT":
        return "ses-01/*_ncct.nii.gz"
    return "ses-02/*lesion-msk.nii.gz" if image == "OT" else f"ses-01/*space-ncct_{image.lower()}.nii.gz"
