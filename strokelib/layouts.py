"""How a copy of ISLES 2018 may be laid out: where its scans lie, and which file is which image. No image is opened.

Known are the challenge's own folders (TRAINING/case_1/SMIR.Brain.XX.O.CT_CBF.345563/...), in any case of letters and
below one or two outer folders; copies whose files are called ct, cbf, cbv, mtt, tmax and ot, lesion or mask, after the
name of their case or alone; and nnU-Net's imagesTr, labelsTr and imagesTs, whose dataset.json says which channel is
what.
"""

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from strokelib.modalities import ISLES, MODALITIES, OUTLINE, SERIES
from strokelib.nifti import CaseError
from strokelib.run.checks import Missing

SPLITS = ("TRAINING", "TESTING")
MARKS = {name: MODALITIES[name].mark for name in ISLES} | {"OT": OUTLINE, "4DPWI": SERIES}
# What else the last word of a file name may be.
_WORDS = {mark.strip("._").casefold(): key for key, mark in MARKS.items()} | {"lesion": "OT", "mask": "OT"}
# Before "mask"; any other word makes it the mask of something else, such as the brain.
_BESIDE_MASK = {"case", "training", "train", "testing", "test", "lesion", "core", "ot"}
_SPLIT_NAME = re.compile(r"(?:isles[ _-]*(?:2018)?[ _-]*)?(train|test)(?:ing)?(?:[ _-]*(?:set|data))?", re.IGNORECASE)
_CASE = r"(?:case|training|train|testing|test)[ _-]*0*([0-9]+)"
_CASE_NAME = re.compile(_CASE, re.IGNORECASE)
_CASE_FILE = re.compile(rf"{_CASE}[ _.-].*\.nii(\.gz)?", re.IGNORECASE)
_ALIKE = re.compile(r"case[^a-z0-9]*([0-9]+)", re.IGNORECASE)  # "case 7 (copy)"
NNUNET = {"imagestr": "TRAINING", "imagests": "TESTING"}  # its folders of images, in small letters
_OUTER = 2  # folders between the one that is named and the one that holds TRAINING
_INNER = 4  # folders between the one of a case and its images


@dataclass(frozen=True)
class Place:
    """Where one scan may lie: a folder, or some files of a folder."""

    name: str
    folder: Path
    files: tuple[Path, ...] = ()  # of several scans in one folder; else all that the folder holds


@dataclass(frozen=True)
class Split:
    """Where the scans of one split lie."""

    name: str
    folder: Path  # of the cases, or nnU-Net's images
    places: dict[int, list[Place]]  # by case
    alike: dict[int, list[Path]]  # folders such as "case 7 (copy)", where there is no case_7
    channels: dict[str, str]  # modality by number of the channel, such as "0000": "CT"; nnU-Net's layout alone
    labels: Path | None  # folder of the outlines; nnU-Net's layout alone


@dataclass(frozen=True)
class Scan:
    """The files of one scan, and their image ids, by modality; "OT" and "4DPWI" where they are there."""

    number: int
    folder: Path
    files: dict[str, Path]
    ids: dict[str, int]
    descriptions: tuple[Path, ...]  # json files beside the images


def find_split(root, split: str) -> Split:
    """Find the scans of one split in a folder or in folders therein.

    Raises
    ------
    FileNotFoundError : no such folder, or no case in it.
    CaseError : there are several, or nnU-Net's dataset.json does not say which channel is what.
    """
    root = Path(root)
    if root.suffix.lower() in (".zip", ".parquet") and root.is_file():
        root = root.parent  # where `unpacking` puts what it holds
    level, empty = [root], None
    for depth in range(_OUTER + 1):
        found, below = [], []
        for inner in [inner for folder in level for inner in subfolders(folder)]:
            named, holds = split_of(inner.name), any(True for _ in _cases(inner))
            if NNUNET.get(inner.name.lower()) == split or (named == split and holds):
                found.append(inner)
            elif not holds and not inner.name.lower().startswith(("imagest", "labelst")):
                below.append(inner)
                empty = empty or (inner if named == split else None)
        if depth == 0 and not found and _is_bare(root, split):
            found = [root]
        found = list({_identity(folder): folder for folder in found}.values())
        if len(found) > 1:
            raise CaseError(
                f"{root} holds several folders of {split} scans: {', '.join(map(str, found))}; name the folder that "
                "holds the one that is meant, or remove the others"
            )
        if found:
            return (_nnunet if found[0].name.lower() in NNUNET else _folders)(found[0], split)
        level = below
    if empty:
        raise FileNotFoundError(f"no case_N folder in {empty}")
    raise Missing(
        f"no folder {split} in {root}; it should hold case_1, case_2, ... (data/README.md tells how to get ISLES 2018, "
        "and python tools/check_data.py unpacks it; the synthetic cohort is made by notebook 01)"
    )


def split_of(name: str) -> str | None:
    """Return the split that a folder is called after, None if after none: ISLES2018_Training is TRAINING."""
    match = _SPLIT_NAME.fullmatch(name)
    return match and ("TRAINING" if match[1].lower() == "train" else "TESTING")


def subfolders(folder: Path) -> list[Path]:
    """List the folders in a folder, by name; none of a hidden one, of what a Mac adds, or where none may be read."""
    try:
        inside = sorted(folder.iterdir())
    except OSError:
        return []
    return [path for path in inside if not path.name.startswith((".", "__MACOSX")) and path.is_dir()]


def files_in(folder: Path, depth: int | None = _INNER) -> list[Path]:
    """List the files below a folder, as deep as told or wherever they lie, in the order of their paths.

    Links are followed, but each folder is listed once and none above, since a link may lead back to where it lies.
    Hidden files and folders are left out, and what a Mac adds.
    """
    found, seen = [], {*map(str, Path(folder).resolve().parents)}
    for where, folders, names in os.walk(folder, followlinks=True):
        if (real := os.path.realpath(where)) in seen:
            folders.clear()
            continue
        seen.add(real)
        near = depth is None or len(Path(where).relative_to(folder).parts) < depth
        folders[:] = sorted(name for name in folders if near and not name.startswith((".", "__MACOSX")))
        # Of a Mac come .DS_Store and, for every file, a ._ file of the same name.
        found += [Path(where, name) for name in names if not name.startswith(".")]
    return sorted(found)


def is_image(name: str) -> bool:
    """Tell whether a file is called like a NIfTI file."""
    return name.lower().endswith((".nii", ".nii.gz"))


def modality_of(name: str) -> str | None:
    """Return which image of a scan a file is by its name: a modality, "OT", "4DPWI", or None.

    The last word tells, but for an image id: Tmax in SMIR.Brain.XX.O.CT_Tmax.345567.nii and in case_1_tmax.nii.gz.
    """
    words = re.split(r"[^0-9a-z]+", re.sub(r"\.nii(\.gz)?$", "", name.casefold()))
    words = [word for word in words if word and not word.isdigit()]
    last = words[-1] if words else ""
    if last == "mask" and not _BESIDE_MASK.issuperset(words[:-1]):
        return None
    # A copy of a file, called "... copy", counts as one: who has both must choose.
    return _WORDS.get(last) or next((key for key, mark in MARKS.items() if mark.casefold() in name.casefold()), None)


def _cases(folder: Path) -> Iterator[Path]:
    """Yield what is called like a case, or like a file of one."""
    try:
        for path in folder.iterdir():
            if _CASE_NAME.fullmatch(path.name) or _ALIKE.match(path.name):
                yield path
    except OSError:
        return


def _is_bare(root: Path, split: str) -> bool:
    """Tell whether a folder holds cases of a split without a folder TRAINING or TESTING around them."""
    cases = sorted(_cases(root))
    files = [path for case in cases[:3] for path in [case, *files_in(case)] if is_image(path.name)]
    outlined = any(modality_of(path.name) == "OT" for path in files)
    return bool(cases) and (split_of(root.name) or ("TRAINING" if outlined else "TESTING")) == split


def _folders(folder: Path, split: str) -> Split:
    places, files, alike = {}, {}, {}
    for path in sorted(folder.iterdir()):
        if match := _CASE_NAME.fullmatch(path.name):
            places.setdefault(int(match[1]), []).append(Place(path.name, path))
        elif (match := _CASE_FILE.fullmatch(path.name)) and not path.is_dir():
            files.setdefault(int(match[1]), []).append(path)
        elif (match := _ALIKE.match(path.name)) and path.is_dir():
            alike.setdefault(int(match[1]), []).append(path)
    if not places:
        places = {number: [Place(f"case_{number}", folder, tuple(some))] for number, some in files.items()}
    if not places and not alike:
        raise FileNotFoundError(f"no case_N folder in {folder}")
    return Split(split, folder, places, alike, {}, None)


def _nnunet(folder: Path, split: str) -> Split:
    """Group the files of nnU-Net's images by case; its number is the last in the name."""
    described = folder.parent / "dataset.json"
    try:
        facts = json.loads(described.read_text(encoding="utf-8"))
        told = facts.get("channel_names") or facts["modality"]
        channels = {f"{int(number):04d}": modality_of(str(name)) for number, name in told.items()}
    except (OSError, ValueError, AttributeError, KeyError, TypeError, RecursionError) as error:
        raise CaseError(
            f"{folder} is laid out as nnU-Net's, and {described} does not say which channel is what ({error!r}); put "
            'it there, with "channel_names": {"0": "CT", "1": "CBF", ...}'
        ) from error
    if lacking := [name for name in ISLES if name not in channels.values()]:
        raise CaseError(
            f"{described} names the channels {', '.join(map(str, told.values()))}, expected {', '.join(ISLES)} among "
            f"them; {', '.join(lacking)} cannot be done without: correct the names, or convert the scans again"
        )
    groups = {}
    for path in files_in(folder, depth=0):
        if match := re.fullmatch(r"(.*?([0-9]+)[^0-9]*)_([0-9]{4})\.nii(\.gz)?", path.name, re.IGNORECASE):
            number = int(re.findall("[0-9]+", match[1])[-1])
            groups.setdefault((number, match[1]), []).append(path)
    if not groups:
        raise FileNotFoundError(f"no case_N_0000.nii.gz in {folder}")
    places = {}
    for (number, name), files in sorted(groups.items()):
        places.setdefault(number, []).append(Place(name, folder, tuple(files)))
    beside = [path for path in subfolders(folder.parent) if path.name.lower() == "labelstr" and split == "TRAINING"]
    return Split(split, folder, places, {}, channels, beside[0] if beside else None)


def read_scan(split: Split, number: int) -> Scan:
    """Tell which file of a scan is which image.

    Raises
    ------
    CaseError : the scan is not there or there twice, lacks a modality, or holds one twice.
    """
    here = split.places.get(number, [])
    if len(here) != 1:
        found = [place.name for place in here] or [path.name for path in split.alike.get(number, [])]
        what = "one scan of that number" if split.channels else f"one folder case_{number}"
        raise CaseError(
            f"case_{number} needs {what} in {split.folder}, found {', '.join(map(repr, found)) or 'none'}; rename or "
            "remove what is too many, or unpack the download again"
        )
    place = here[0]
    try:
        inside = list(place.files) or (list(place.folder.iterdir()) and files_in(place.folder))
    except OSError as error:
        raise CaseError(
            f"case_{number}: {place.folder} is no folder that can be opened ({error.strerror}); replace it"
        ) from error
    named = [(modality_of(path.name), path) for path in inside if is_image(path.name)]
    named = _channels(split, place) if split.channels else named
    files, ids, missing = {}, {}, []
    for key in MARKS:
        if key == "OT" and split.name == "TESTING":
            continue  # where there is one, it is for scoring alone
        found = list({_identity(path): path for kind, path in named if kind == key}.values())
        if len(found) > 1:
            names = ", ".join(os.path.relpath(path, place.folder) for path in found)
            raise CaseError(f"case_{number} has {len(found)} {key} images in {place.folder}: {names}; keep one")
        if found:
            files[key] = found[0]
            if digits := re.search(r"\.(\d+)\.nii(\.gz)?$", found[0].name, re.IGNORECASE):
                ids[key] = int(digits[1])
        elif key in ISLES or (key == "OT" and split.name == "TRAINING"):
            missing.append(key)
    if missing:
        raise CaseError(
            f"case_{number} has no {', no '.join(missing)} image in {place.folder} (looked for "
            f"{', '.join(_looked_for(split, place, key) for key in missing)}); rename the file, or unpack the download "
            "again"
        )
    descriptions = [path for path in inside if path.suffix.lower() == ".json" and path.is_file()]
    return Scan(number, place.folder, files, ids, tuple(descriptions))


def _identity(path: Path) -> str:
    """Return where a file lies in truth: a link beside it, or a second way to it, is no second image."""
    return os.path.realpath(path) if path.exists() else str(path)


def _channels(split: Split, place: Place) -> list[tuple[str | None, Path]]:
    """Return the images of a scan in nnU-Net's layout with what they are; a raw series cannot be one of them."""
    channel = {path: re.sub(r"\.nii(\.gz)?$", "", path.name, flags=re.IGNORECASE)[-4:] for path in place.files}
    named = [(split.channels.get(number), path) for path, number in channel.items()]
    labels = [] if split.labels is None else files_in(split.labels, depth=0)
    own = re.compile(re.escape(place.name) + r"\.nii(\.gz)?", re.IGNORECASE)
    named += [("OT", path) for path in labels if own.fullmatch(path.name)]
    return [pair for pair in named if pair[0] != "4DPWI"]


def _looked_for(split: Split, place: Place, key: str) -> str:
    if not split.channels:
        return f"*{MARKS[key]}*.nii or {MARKS[key].strip('._').lower()}.nii, or .nii.gz"
    if key == "OT":
        return f"labelsTr/{place.name}.nii.gz"
    return next(f"{place.name}_{number}.nii.gz" for number, name in split.channels.items() if name == key)
