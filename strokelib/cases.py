"""The ISLES 2018 layout: find, check, load and save scans; patients; folds.

One reader serves the challenge's own download and the synthetic cohort, which is written in exactly its form.
"""

import csv
import gzip
import json
import math
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import nibabel as nib
import numpy as np

from strokelib.run.runtime import ROOT, rng, write_whole

MODALITIES = ("CT", "CBF", "CBV", "MTT", "Tmax")
SPLITS = ("TRAINING", "TESTING")
# What names a modality in a SMIR file name. An early release wrote MR_ for CT_, hence no prefix.
_MARKS = {
    "CT": ".CT.",
    "CBF": "_CBF.",
    "CBV": "_CBV.",
    "MTT": "_MTT.",
    "Tmax": "_Tmax.",
    "OT": ".OT.",
    "4DPWI": "_4DPWI.",
}
# Largest values, in file units: far beyond what a scan holds (CBF and CBV are stored tenfold, MTT and Tmax in s),
# and below what a wrong byte order, number type or unit makes of it.
_LARGEST = {"CT": 32767, "CBF": 30000, "CBV": 10000, "MTT": 1000, "Tmax": 1000}
_SPACING_MM = (0.1, 30.0)  # outside lie meters, micrometers and damaged headers; ISLES 2018 has 0.8 to 12
_MOST_BYTES = 2**30  # of one volume; a damaged header or archive must not take all memory


class CaseError(ValueError):
    """A scan cannot be used; the message names the case, the file and what to do."""


@dataclass(frozen=True)
class CaseFiles:
    """Where one scan lies. `files` and `ids` (SMIR image numbers) go by modality, "OT" where labelled."""

    number: int
    patient: str
    slab: str
    folder: Path
    files: dict[str, Path]
    ids: dict[str, int]


@dataclass(frozen=True)
class Case:
    """One scan: images (5, x, y, slice) float32 in file units, lesion (x, y, slice) bool or None."""

    images: np.ndarray
    lesion: np.ndarray | None
    spacing: np.ndarray  # (3,) mm
    number: int
    patient: str


def find_cases(root, split, numbers=None) -> list[CaseFiles]:
    """List the scans of one split in numeric order.

    Parameters
    ----------
    root : path of the folder that holds TRAINING/ and TESTING/
    split : "TRAINING" or "TESTING"
    numbers : the cases wanted, all by default; no other is looked at

    Raises
    ------
    FileNotFoundError : no such folder, or no case_N folder in it.
    CaseError : a scan lacks a modality or holds one twice, or its patient is unknown; a wanted one is not there. One
        error tells of all such scans; `list_cases` does without raising, `preprocess.check_cases` reads them, too.
    """
    found, problems = list_cases(root, split, numbers)
    if problems:
        raise CaseError("\n".join(problems.values()))
    return found


def list_cases(root, split, numbers=None) -> tuple[list[CaseFiles], dict[int, str]]:
    """List the scans of one split, those whose folder is not in order apart.

    Parameters
    ----------
    root, split, numbers : as of `find_cases`

    Returns
    -------
    CaseFiles in numeric order, and what is wrong with each other scan by its number.

    Raises
    ------
    FileNotFoundError : no such folder, or no case_N folder in it.
    """
    if split not in SPLITS:
        raise ValueError(f"split must be one of {SPLITS}, got {split!r}")
    # Released file lists write the folders in lower case, too.
    folder = next((Path(root) / s for s in (split, split.lower()) if (Path(root) / s).is_dir()), None)
    if folder is None:
        raise FileNotFoundError(
            f"no folder {split} in {root}; it should hold case_1, case_2, ... (data/README.md tells how to get "
            "ISLES 2018; the synthetic cohort is made by notebook 01)"
        )
    named, alike = {}, {}  # alike: Case_7, "case 7 (copy)", which count only where there is no case_7
    for path in sorted(folder.iterdir()):
        if match := re.fullmatch(r"case_([0-9]+)", path.name):
            named.setdefault(int(match[1]), []).append(path)
        elif (match := re.match(r"case[^a-z0-9]*([0-9]+)", path.name, re.IGNORECASE)) and path.is_dir():
            alike.setdefault(int(match[1]), []).append(path)
    if not named and not alike:
        raise FileNotFoundError(f"no case_N folder in {folder}")
    found, problems = [], {}
    for number in sorted({*named, *alike} if numbers is None else {int(n) for n in numbers}):
        here = named.get(number) or alike.get(number, [])
        try:
            if len(here) != 1 or number not in named:
                raise CaseError(
                    f"case_{number} needs one folder case_{number} in {folder}, found "
                    f"{', '.join(repr(p.name) for p in here) or 'none'}; rename or remove what is too many, or unpack "
                    "the download again"
                )
            found.append(_case_files(number, here[0], split))
        except CaseError as error:
            problems[number] = str(error)
    return found, problems


def _case_files(number: int, folder: Path, split: str) -> CaseFiles:
    try:
        list(folder.iterdir())
    except OSError as error:
        raise CaseError(
            f"case_{number}: {folder} is no folder that can be opened ({error.strerror}); replace it"
        ) from error
    # Of a Mac come .DS_Store and, for every file, a ._ file of the same name.
    inside = [p for p in sorted(folder.rglob("*")) if not re.search(r"(^|/)\.", p.relative_to(folder).as_posix())]
    images = [p for p in inside if p.name.endswith((".nii", ".nii.gz")) and not p.is_dir()]
    files, ids, missing = {}, {}, []
    for key, mark in _MARKS.items():
        if key == "OT" and split == "TESTING":
            continue  # where there is one, it is for scoring alone
        found = [p for p in images if mark in p.name]
        if len(found) > 1:
            names = ", ".join(str(p.relative_to(folder)) for p in found)
            raise CaseError(f"case_{number} has {len(found)} {key} images in {folder}: {names}; keep one")
        if found:
            files[key] = found[0]
            digits = re.search(r"\.(\d+)\.nii(\.gz)?$", found[0].name)
            if digits:
                ids[key] = int(digits[1])
        elif key in MODALITIES or (key == "OT" and split == "TRAINING"):
            missing.append(key)
    if missing:
        raise CaseError(
            f"case_{number} has no {', no '.join(missing)} image in {folder} (looked for "
            f"{', '.join(f'*{_MARKS[key]}*.nii' for key in missing)} and .nii.gz); rename the file, or unpack the "
            "download again"
        )
    descriptions = [p for p in inside if p.suffix == ".json" and p.is_file()]
    patient, slab = _patient(number, folder, split, ids, descriptions)
    return CaseFiles(number, patient, slab, folder, files, ids)


def _patient(number, folder, split, ids, descriptions) -> tuple[str, str]:
    """Read patient and slab from the SMIR json beside an image, else from the table of facts by image id."""
    for path in descriptions:
        try:
            description = str(json.loads(path.read_text()).get("description", ""))
        except (OSError, ValueError, AttributeError, RecursionError):
            continue  # the images do not depend on it, and the table may know the patient
        match = re.search(r"(Train|Test)(?:ing)?_(\d+)_([A-Z])\b", description)
        if match:
            return f"{match[1]}_{match[2]}", match[3]
    row = case_table().get((split, ids.get("CT")))
    if row is None:
        raise CaseError(
            f"the patient of case_{number} is unknown: no json in {folder} has a description like "
            f"'ISLES 2018 - TRAIN - Train_01_A - CT', and CT image {ids.get('CT')} is not in "
            "data/isles18_cases.csv. Folds need the patient: add such a json beside the CT"
        )
    return f"{'Train' if split == 'TRAINING' else 'Test'}_{int(row['patient']):02d}", row["slab"]


@cache
def case_table() -> dict[tuple[str, int], dict[str, str]]:
    """Read data/isles18_cases.csv, the facts of the real data set, keyed by (split, CT image id)."""
    with open(ROOT / "data" / "isles18_cases.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    split = {"train": "TRAINING", "test": "TESTING"}
    return {(split[row["split"]], int(row["ct_id"])): row for row in rows}


def read_image(path, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Read one 3-D NIfTI volume.

    Returns
    -------
    array (x, y, slice) in the file's own type, spacing (3,) in mm.

    The spacing comes from the header's zooms: in ISLES 2018 the affine is the identity whatever the voxel size.

    Raises
    ------
    CaseError : unreadable, damaged or cut short; not 3-D, no real numbers, NaN or infinite values; a spacing outside
        of 0.1 to 30 mm.
    """
    return _read(path, number, ("x", "y", "slice"))


def _read(path, number: int, axes) -> tuple[np.ndarray, np.ndarray]:
    try:
        return _decode(Path(path), axes)
    except Exception as error:  # nibabel, gzip and zlib each raise their own
        raise CaseError(
            f"case_{number}: cannot read {path} ({error}); replace the file, or correct its header"
        ) from error


def _decode(path: Path, axes) -> tuple[np.ndarray, np.ndarray]:
    """Return the values of a NIfTI file and the spacing along each axis, or say what is wrong with it.

    It is read to its end, where gzip keeps the checksum. The spacing is looked at before nibabel does, which makes
    1 mm of a 0 and takes the sign off a negative one.
    """
    if not path.is_file():
        raise OSError("no file, or a link that leads to none")
    with (gzip.open if path.suffix == ".gz" else open)(path, "rb") as file:
        content = file.read(_MOST_BYTES)
    kind = next((k for k in (nib.Nifti1Image, nib.Nifti2Image) if k.header_class.may_contain_header(content)), None)
    if kind is None:
        raise OSError("not a NIfTI file")
    raw = kind.header_class(content[: kind.header_class.sizeof_hdr], check=False)
    spacing, (low, high) = raw["pixdim"][1 : len(axes) + 1].astype(float), _SPACING_MM
    if not ((spacing[:3] >= low) & (spacing[:3] <= high)).all():
        raise ValueError(f"its spacing is {spacing[:3]} mm, expected {low:g} to {high:g}")
    image = kind.from_bytes(content)
    sides = [int(side) for side in image.shape]
    if len(sides) != len(axes) or min(sides) < 1:
        raise ValueError(f"it is {len(sides)}-D {sides}, expected ({', '.join(axes)})")
    size = image.dataobj.offset + math.prod(sides) * image.get_data_dtype().itemsize
    if size > len(content):
        raise OSError(f"its header promises {size} bytes, it holds {len(content)}")
    array = np.asanyarray(image.dataobj)
    if array.dtype.kind not in "iuf":
        raise ValueError(f"it holds {array.dtype}, expected real numbers")
    if not np.isfinite(array).all():
        raise ValueError("it holds NaN or infinite values")
    return array, spacing


def load_case(case_files: CaseFiles) -> Case:
    """Load the five modalities and the lesion of one scan.

    Returns
    -------
    Case : images in file units (CT in HU; CBF and CBV ten times mL/100 g/min and mL/100 g; MTT and Tmax in s).

    Raises
    ------
    CaseError : an unreadable file; shapes or spacings that differ, voxels that are not as wide as high; values beyond
        all measure, the same everywhere, or maps without a background of 0; a label other than 0 and 1.
    """
    number, files = case_files.number, case_files.files
    first, spacing = read_image(files["CT"], number)
    if not np.isclose(spacing[0], spacing[1], rtol=1e-3):
        raise CaseError(
            f"case_{number}: {files['CT']} has spacing {spacing} mm, expected voxels as wide as high; correct its "
            "header, or resample the scan"
        )
    images = np.empty((len(MODALITIES), *first.shape), np.float32)
    for m, modality in enumerate(MODALITIES):
        array = _like(first, spacing, files[modality], number) if m else first
        images[m] = _checked(array, modality, files[modality], number)
    lesion = None
    if "OT" in files:
        label = _like(first, spacing, files["OT"], number)
        if not np.isin(label, (0, 1)).all():
            raise CaseError(
                f"case_{number}: {files['OT']} holds values other than 0 and 1: {np.unique(label)[:8]}; replace it by "
                "a mask of the core"
            )
        lesion = label.astype(bool)
    return Case(images, lesion, spacing, number, case_files.patient)


def _like(first, spacing, path: Path, number: int) -> np.ndarray:
    array, own = read_image(path, number)
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
    low, high, most = array.min(), array.max(), _LARGEST[modality]
    if low < -most or high > most:
        raise CaseError(
            f"case_{number}: {path} holds {low:g} to {high:g}, expected {modality} within {-most} to {most}; check its "
            "unit, byte order and scale, or replace the file"
        )
    values = array.astype(np.float32)
    if values.min() == values.max():
        raise CaseError(f"case_{number}: {path} is {low:g} everywhere, expected a {modality} image; replace the file")
    if modality != "CT" and values.all():
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
    ct, _ = read_image(case_files.files["CT"], number)
    series, spacing = _read(path, number, ("x", "y", "slice", "time"))
    if series.shape[:3] != ct.shape or not 0 < spacing[3] < math.inf:
        raise CaseError(
            f"case_{number}: {path} has shape {series.shape} and {spacing[3]} s between frames, expected the CT's "
            f"{ct.shape} and a positive time; replace the file, or correct its header"
        )
    return series.astype(np.float32), float(spacing[3])


def save_map(path, array, like, dtype) -> Path:
    """Write an (x, y, slice) array as NIfTI with the geometry of another image, its header quirks included.

    Parameters
    ----------
    path : .nii or .nii.gz
    like : path of the image whose affine, codes and spacing are taken
    dtype : type on disk
    """
    source = nib.load(like)
    if tuple(array.shape) != tuple(source.shape[:3]):
        raise ValueError(f"array of shape {array.shape} cannot take the header of {like}, shape {source.shape}")
    header = source.header.copy()
    header.set_data_dtype(dtype)
    header.set_slope_inter(1, 0)
    header["cal_min"] = header["cal_max"] = 0
    # affine=None keeps the header's own sform, qform and pixdim.
    image = nib.Nifti1Image(np.asarray(array, dtype), None, header)
    return write_whole(Path(path), image.to_filename)


def hidden_truth(root, number: int) -> Path:
    """Name the testing lesion of the synthetic cohort. Only the scoring step of notebook 07 opens it."""
    return Path(root) / ".truth" / "testing_ot" / f"case_{number}.nii.gz"


def assign_folds(patients, n_folds: int, scheme: str = "contiguous", seed: int = 0, slices=None):
    """Give every scan a fold such that no patient is in two.

    Parameters
    ----------
    patients : sequence, the patient of each scan
    n_folds : int
    scheme : "contiguous" (case order, as the authors' code, moved to whole patients) or "balanced" (patients
        shuffled by the seed and dealt out by slice count, so that every fold sees every protocol)
    slices : int sequence, slices of each scan; needed by "balanced"

    Returns
    -------
    int array, one fold a scan.

    Raises
    ------
    ValueError : fewer patients than folds, or an unknown scheme.

    Source: Clèrigues et al. 2019, sec. 4.1 (75 training and 19 validation scans a fold, grouped by patient).
    Our choice: the assignment, where the paper is silent.
    """
    patients = list(patients)
    names = list(dict.fromkeys(patients))
    scans = np.array([patients.count(name) for name in names])
    if len(names) < n_folds:
        raise ValueError(f"{n_folds} folds need as many patients, there are {len(names)}; lower folds.count")
    if scheme == "contiguous":
        fold_of = _deal_in_order(scans, n_folds)
    elif scheme == "balanced":
        if slices is None:
            raise ValueError("the balanced scheme needs the slices of each scan")
        thick = np.array([max(s for s, p in zip(slices, patients, strict=True) if p == name) for name in names])
        order = rng(seed, "folds").permutation(len(names))
        order = order[np.argsort(thick[order], kind="stable")]
        fold_of, load = np.zeros(len(names), int), np.zeros(n_folds, int)
        for start in range(0, len(order), n_folds):
            # One patient of similar slice count to each fold; who has most scans goes where fewest are.
            some = order[start : start + n_folds]
            some = some[np.argsort(-scans[some], kind="stable")]
            fold_of[some] = np.argsort(load, kind="stable")[: len(some)]
            np.add.at(load, fold_of[some], scans[some])
    else:
        raise ValueError(f"scheme must be 'contiguous' or 'balanced', got {scheme!r}")
    lookup = dict(zip(names, fold_of.tolist(), strict=True))
    return np.array([lookup[p] for p in patients])


def _deal_in_order(scans: np.ndarray, n_folds: int) -> np.ndarray:
    """Close a fold once it holds its share of the scans, keeping one patient for every fold to come."""
    fold_of, fold, done = np.zeros(len(scans), int), 0, 0
    for patient, count in enumerate(scans):
        fold_of[patient] = fold
        done += count
        left = len(scans) - patient - 1
        if fold < n_folds - 1 and (done >= (fold + 1) * scans.sum() / n_folds or left == n_folds - 1 - fold):
            fold += 1
    return fold_of


def split_fold(folds, fold: int, patients, inner: bool = False, seed: int = 0, slices=None):
    """Return the scans to train on, to stop early on and to evaluate, as index arrays.

    In the paper the evaluated scans of a fold are also its early-stopping set, which flatters the result a little.
    `inner` holds a fifth of the training patients back for early stopping instead, and leaks nothing.

    Raises
    ------
    ValueError : the fold is empty, or leaves too few patients for `inner`.
    """
    folds = np.asarray(folds)
    evaluate, train = np.flatnonzero(folds == fold), np.flatnonzero(folds != fold)
    if not len(evaluate):
        raise ValueError(f"fold {fold} is empty; folds are {sorted(set(folds.tolist()))}")
    if not inner:
        return train, evaluate, evaluate
    parts = min(5, len({patients[i] for i in train}))
    if parts < 2:
        raise ValueError(
            f"fold {fold} trains on one patient, so none can be held back to stop on; set folds.inner_split = false"
        )
    inside = assign_folds(
        [patients[i] for i in train], parts, "balanced", seed, [slices[i] for i in train]
    )
    return train[inside != 0], train[inside == 0], evaluate
